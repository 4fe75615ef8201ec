"""Mistakes in rules: each is told at its line, with what to write instead; what may not be meant so is a warning."""

from __future__ import annotations

import datetime as dt
import logging
import textwrap
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from settings_loading import loaded, problems

from bt_alerts.alert import AlertType
from bt_alerts.kinds import KINDS
from bt_alerts.rules.pipeline import build
from bt_alerts.settings import assemble, inspect
from bt_alerts.settings.rule_logic import contradiction, covers, never_both
from bt_alerts.settings.rules import WhenBlock

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC).timestamp()  # a Saturday
CHANNELS = """
alerts:
  phone: {type: console}
  desk: {type: console}
  mail: {type: webhook, urls: "https://a.test"}
  spare: {type: console, enabled: false}
  ntfy: {topics: abc, enabled: false}
  pager-of-ann: {type: pager, token: tttt, numbers: [1], enabled: false}
"""
LINES = CHANNELS.strip().count("\n") + 1
TYPES = ", ".join(AlertType)
ORDERS = ", ".join(kind for kind in KINDS if kind.startswith("order."))


def written(text: str) -> str:
    """Rules below the channels; the first line of ``text`` is line 1."""
    return CHANNELS.strip() + "\n" + textwrap.dedent(text).lstrip("\n")


def told(lines: list[str]) -> list[str]:
    """The sentences, with lines counted from the first rule."""
    found = []
    for line in lines:
        file, number, rest = line.split(":", 2)
        assert file == "alerts.yaml"
        found.append(f"{int(number) - LINES}:{rest}")
    return found


# ------------------------------------------------------------------------------- what the models refuse already

REFUSED = [
    (
        "routes: [{to: phone, when: {type: [trade, sgnal]}}]",
        f"routes[0].when.type[1]: write one of {TYPES}, not `sgnal`; did you mean `signal`?",
    ),
    (
        "routes: [{to: phone, when: {type: 'trade, sgnal'}}]",
        f"routes[0].when.type: write one of {TYPES}, not `sgnal`; did you mean `signal`?",
    ),
    (
        "routes: [{to: phone, when: {priority: hihg}}]",
        "routes[0].when.priority: write one of critical, high, medium, low, info, not `hihg`; did you mean `high`?",
    ),
    (
        "routes: [{to: phone, when: {source: liv}}]",
        "routes[0].when.source: write one of history, live, direct, not `liv`; did you mean `live`?",
    ),
    (
        "routes: [{to: phone, when: {data: pnl below 3}}]",
        "routes[0].when.data: write a field, a sign and a value, such as pnl < -500; `pnl below 3` is none",
    ),
    (
        "routes: [{to: phone, when: {data: [pnl < 3, side < buy]}}]",
        "routes[0].when.data[1]: `side < buy`: only numbers are less or more; write == or !=, or a number",
    ),
    ("routes: [{to: phone, contineu: true}]", "routes[0].contineu: unknown key; did you mean `continue`?"),
    ("routes: [{when: {type: trade}}]", "routes[0].to: missing; write `to:`"),
    (
        "quiet_hours: [{hours: 22:00-07:00 Europe/Berln}]",
        "quiet_hours[0].hours: `Europe/Berln` is no time zone and no day; write hours such as 09:30-16:00 "
        "America/New_York mon-fri, with a zone such as UTC or Europe/Berlin and days from mon to sun",
    ),
    (
        "quiet_hours: [{hours: [22:00-07:00, 25:00-26:00]}]",
        "quiet_hours[0].hours[1]: `25:00` is no time of the day; write 00:00 to 24:00",
    ),
    (
        "quiet_hours: [{hours: [00:00-12:00, 12:00-24:00]}]",
        "quiet_hours[0].hours: these hours never end, so nothing would ever be sent; write hours that end, or "
        "`enabled: false`",
    ),
    (
        "quiet_hours: [{hours: 22:00-07:00, then: drop}]",
        "quiet_hours[0].then: write one of digest, each, record, not `drop`",
    ),
    (
        "quiet_hours: [{hours: []}]",
        "quiet_hours[0].hours: write a list, or one line separated by commas; it is empty, and needs one at least",
    ),
    (
        "rules: {cooldown: [{every: soon}]}",
        "rules.cooldown[0].every: write a duration such as 30s, 15m, 12h, 90d, or a number of seconds",
    ),
    (
        "rules: {cooldown: [{every: 0}]}",
        "rules.cooldown[0].every: write a duration (30s, 15m, 12h, 90d) above 0s, at most 365d, not `0`",
    ),
    (
        "rules: {cooldown: [{every: 1m, key: 'kind, sym'}]}",
        "rules.cooldown[0].key: `sym` is no field to tell alerts apart by: use type, kind, priority, symbol, "
        "strategy, title, message, thread, run or data.… such as data.order",
    ),
    (
        "rules: {cooldown: [{every: 1m, through: urgent}]}",
        "rules.cooldown[0].through: write one of critical, high, medium, low, info, none, not `urgent`",
    ),
    (
        "rules: {maintenance: [{until: tomorrow}]}",
        "rules.maintenance[0].until: `tomorrow` is no time: write 2026-12-24 or 2026-12-24T18:00+01:00",
    ),
    (
        "digests: [{at: '7'}]",
        "digests[0].at: write a time such as 07:30 Europe/Berlin mon-fri; `7` has no time in front",
    ),
    (
        "digests: [{at: 07:30, report: weekl}]",
        "digests[0].report: write one of daily, weekly, not `weekl`; did you mean `weekly`?",
    ),
    (
        "escalation: [{steps: []}]",
        "escalation[0].steps: write a list of blocks of keys, each beginning with `- `; it is empty, and needs one "
        "at least",
    ),
    ("escalation: [{steps: [{to: phone}]}]", "escalation[0].steps[0].after: missing; write `after:`"),
]


@pytest.mark.parametrize(("rules", "sentence"), REFUSED, ids=[rules for rules, _ in REFUSED])
def test_what_no_model_takes(alerts_yaml, rules, sentence):
    assert told(problems(alerts_yaml(written(f"mode: auto\n{rules}")))) == [f"2: {sentence}"]


@pytest.mark.parametrize(("rules", "sentence"), REFUSED, ids=[rules for rules, _ in REFUSED])
def test_what_no_model_takes_in_python_and_as_an_argument(rules, sentence):
    tree = yaml.load(rules, yaml.BaseLoader)
    channels = yaml.safe_load(CHANNELS)
    assert problems({**channels, **tree}) == [f"config: {sentence}"]
    assert problems(channels, tree) == [f"argument {sentence}"]


def test_a_zone_from_the_environment_is_told_at_its_line(alerts_yaml):
    config = alerts_yaml(written('quiet_hours:\n  - hours: "22:00-07:00 ${ZONE}"\n'))
    assert loaded(config, environ={"ZONE": "Europe/Berlin"}).quiet_hours
    (problem,) = problems(config, environ={"ZONE": "Europe/Berln"})
    assert problem.startswith(f"alerts.yaml:{LINES + 2}: quiet_hours[0].hours: `Europe/Berln` is no time zone")


# ------------------------------------------------------------------------------------- what is found besides

PROBLEMS = [
    # Channels that are not there.
    ("routes:\n  - to: phne", ["2: routes[0].to: there is no channel `phne`; did you mean `phone`?"]),
    (
        "quiet_hours:\n  - hours: 22:00-07:00\n    channels:\n      - phone\n      - zzz",
        [
            "5: quiet_hours[0].channels[1]: there is no channel `zzz`; use one of phone, desk, mail, spare, ntfy, "
            "pager-of-ann, console, webhook, pager, all"
        ],
    ),
    ("digests:\n  - at: 07:30\n    channels: desk, mial", ["3: digests[0].channels: there is no channel `mial`; "
    "did you mean `mail`?"]),
    (
        "escalation:\n  - steps:\n      - {after: 5m, to: phone}\n      - after: 5m\n        to: [dsk]",
        ["5: escalation[0].steps[1].to[0]: there is no channel `dsk`; did you mean `desk`?"],
    ),
    (
        "escalation:\n  - steps:\n      - {after: 5m, to: pager}",
        ["3: escalation[0].steps[0].to: no channel of type `pager` is enabled; name one that is"],
    ),
    # Rules without what they need.
    (
        "rules:\n  levels:\n    - field: pnl",
        ["3: rules.levels[0]: write `above:` or `below:`: the level that is told when it is reached"],
    ),
    (
        "rules:\n  levels:\n    - field: pnl\n      above: 3\n      below: 4",
        ["5: rules.levels[0].below: `above:` is given as well; write a rule for each of them"],
    ),
    (
        "rules:\n  levels:\n    - field: pnl\n      above: 3\n      back: 4",
        ["5: rules.levels[0].back: write 3 or less, not `4`: it is told again after the number was back there"],
    ),
    (
        "rules:\n  levels:\n    - field: pnl\n      back: -4\n      below: -3",
        ["4: rules.levels[0].back: write -3 or more, not `-4`: it is told again after the number was back there"],
    ),
    (
        "rules:\n  maintenance:\n    - when: {type: store}",
        ["3: rules.maintenance[0]: write `hours:`, or `from:` and `until:`; without them it would never end"],
    ),
    (
        "rules:\n  maintenance:\n    - from: 2026-12-24T18:00\n      until: 2026-12-24T18:00+01:00",
        ["4: rules.maintenance[0].until: write a time after `from:`, which is 2026-12-24T18:00"],
    ),
    (
        "digests:\n  - at: 07:30\n    report: daily\n    when: {type: trade}\n    through: low",
        [
            "4: digests[0].when: a report gathers no alerts; remove this, or `report:`",
            "5: digests[0].through: a report gathers no alerts; remove this, or `report:`",
        ],
    ),
    (
        "digests:\n  - report: weekly\n    at: [07:30 mon, 08:30 Europe/Berlin]",
        ["3: digests[0].at[1]: a weekly report is made on one day; write it, such as 08:30 Europe/Berlin mon"],
    ),
    # Names.
    ('routes:\n  - to: phone\n    name: " "', ["3: routes[0].name: write a name, or remove the key: a name is "
    "not needed"]),
    (
        "quiet_hours:\n  - hours: 01:00-02:00\n    name: night\n  - hours: 03:00-04:00\n    name: night",
        ["5: quiet_hours[1].name: `night` on line {2} has this name already; write another"],
    ),
    (
        "rules:\n  cooldown:\n    - every: 1m\n      name: x\n  repeats:\n    - within: 1m\n      name: x",
        ["4: rules.cooldown[0].name: `x` on line {6} has this name already; write another"],
    ),
    (
        "rules:\n  cooldown:\n    - {every: 1m, name: cooldown 2}\n    - every: 2m",
        ["3: rules.cooldown[0].name: rules.cooldown[1] on line {4} has this name already; write another"],
    ),
    # Kinds and fields that are not there.
    (
        "routes:\n  - to: phone\n    when:\n      kind: [mine, eror]",
        ["4: routes[0].when.kind[1]: there is no kind of event `eror`; did you mean `error`?"],
    ),
    (
        "routes:\n  - to: phone\n    when: {kind: order.filled}",
        [f"3: routes[0].when.kind: there is no kind of event `order.filled`; use one of {ORDERS}"],
    ),
    (
        "routes:\n  - to: phone\n    when: {kind: order.fil*}",
        [f"3: routes[0].when.kind: there is no kind of event `order.fil*`; use one of {ORDERS}"],
    ),
    (
        "rules:\n  inhibit:\n    - cause: {kind: data.disconected}\n      ends: {kind: data.live}\n      when: "
        "{kind: error}",
        [
            "3: rules.inhibit[0].cause.kind: there is no kind of event `data.disconected`; did you mean "
            "`data.disconnected`?"
        ],
    ),
    (
        "routes:\n  - to: phone\n    when:\n      type: trade\n      data: [pnl < 3, pnlcom < 4]",
        ["5: routes[0].when.data[1]: alerts of this kind have no field `pnlcom`; did you mean `pnlcomm`?"],
    ),
    (
        "rules:\n  at_least:\n    - when: {kind: order.*}\n      field: sise\n      least: 3",
        ["4: rules.at_least[0].field: alerts of this kind have no field `sise`; did you mean `size`?"],
    ),
    (
        "rules:\n  cooldown:\n    - when: {kind: store.message}\n      every: 1m\n      key: [kind, data.zzz]",
        ["5: rules.cooldown[0].key[1]: alerts of this kind have no field `zzz`; use one of message, resolves"],
    ),
    (
        "rules:\n  inhibit:\n    - when: {kind: data.silent}\n"
        "      cause: {kind: store.message, data: message == down}\n"
        "      ends: {kind: store.message, priority: high}\n      equal: data.zzz",
        [
            "6: rules.inhibit[0].equal: alerts of this kind have no field `zzz`; use one of bars, message, reason, "
            "resolves, seconds, since, status"
        ],
    ),
    # Never.
    (
        "routes:\n  - to: phone\n    when:\n      kind: order.*, trade.closed\n      type: error",
        [
            "5: routes[0].when.type: this never matches: order.*, trade.closed is of type order; write that, or "
            "remove `type:`"
        ],
    ),
    (
        "rules:\n  cooldown:\n    - every: 1m\n      when:\n        priority: critical",
        [
            "5: rules.cooldown[0].when.priority: this never matches: critical alerts pass the rule by (`through: "
            "critical` is the default), and it is about none below critical; write `through: none`"
        ],
    ),
    (
        "rules:\n  cooldown:\n    - every: 1m\n      when: {priority: high}\n      through: medium",
        [
            "5: rules.cooldown[0].through: this never matches: alerts of medium priority and above pass the rule by, "
            "and it is about none below high; write `through: critical`"
        ],
    ),
    (
        "digests:\n  - at: 07:30\n    when: {priority: high}",
        [
            "3: digests[0].when.priority: this never matches: alerts of high priority and above pass the rule by "
            "(`through: high` is the default), and it is about none below high; write `through: critical`"
        ],
    ),
    (
        "routes:\n  - to: phone\n    when:\n      data:\n        - pnl < 0\n        - size > 1\n        - pnl > 10",
        [
            "7: routes[0].when.data[2]: this never matches: pnl < 0 and pnl > 10 are never true together; write a "
            "rule for each"
        ],
    ),
    (
        "routes:\n  - to: phone\n    when: {source: history}",
        [
            "3: routes[0].when.source: this never matches: alerts of old bars get to no rule unless `mode: send`; "
            "write live, or remove it"
        ],
    ),
    (
        "routes:\n  - to: phone\n  - to: desk\n    when: {type: trade}",
        [
            "3: routes[1]: no alert gets here: routes[0] on line {2} takes every alert; move this above it, remove "
            "it, or write `continue: true` there"
        ],
    ),
    (
        "routes:\n  - to: phone\n    name: money\n    when: {type: 'trade, order', priority: low}\n  - to: desk\n    "
        "when: {type: order, priority: high}",
        [
            "5: routes[1]: no alert gets here: `money` on line {2} takes all of these; move this above it, remove "
            "it, or write `continue: true` there"
        ],
    ),
    (
        "rules:\n  maintenance:\n    - hours: 22:00-06:00 Europe/Berlin\n      when:\n        hours: 06:00-22:00 "
        "Europe/Berlin",
        [
            "5: rules.maintenance[0].when.hours: this never matches: these hours are all outside the `hours:` of "
            "the window"
        ],
    ),
    (
        "rules:\n  maintenance:\n    - hours: 10:00-12:00 sun\n      from: 2026-11-23\n      until: 2026-11-28",
        ["3: rules.maintenance[0].hours: this never matches: none of these hours is from `from:` to `until:`"],
    ),
    (
        "rules:\n  inhibit:\n    - when: {type: data}\n      cause: {type: 'data, store'}\n      ends: {kind: "
        "order.completed}",
        [
            "4: rules.inhibit[0].cause: this never matches: whatever it is about is its `cause:` itself, and that is "
            "always told; narrow this, with `kind:` for one"
        ],
    ),
    (
        "rules:\n  inhibit:\n    - when: {kind: error}\n      cause: {type: data}\n      ends: {type: data, kind: "
        "data.live}",
        ["5: rules.inhibit[0].ends: every end would be a cause again; write what tells them apart"],
    ),
    (
        "escalation:\n  - steps: [{after: 5m, to: phone}]\n  - when: {type: error}\n    steps: [{after: 5m, to: desk}]",
        [
            "3: escalation[1]: no alert gets here: escalation[0] on line {2} takes every alert; move this above it, or "
            "remove it"
        ],
    ),
    # Circles.
    (
        "escalation:\n  - steps:\n      - {after: 5m, to: phone}\n      - {after: 5m, to: desk}\n      - {after: 5m, "
        "to: phone}",
        [
            "5: escalation[0].steps[2].to: `phone` is told in step 1 already; name another channel, or write "
            "`repeat:` to go through all steps again"
        ],
    ),
    (
        "escalation:\n  - steps:\n      - {after: 5m, to: [phone, desk]}\n      - {after: 5m, to: [mail, console]}",
        [
            "4: escalation[0].steps[1].to[1]: all that `console` names are told in the steps before; name another "
            "channel, or write `repeat:` to go through all steps again"
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "sentences"), PROBLEMS, ids=[sentences[0][:70] for _, sentences in PROBLEMS])
def test_what_is_refused(alerts_yaml, rules, sentences):
    expected = [_with_lines(sentence) for sentence in sentences]
    assert told(problems(alerts_yaml(written(rules)))) == expected


def _with_lines(sentence: str) -> str:
    """``{2}`` is the second line of the rules."""
    for line in range(1, 10):
        sentence = sentence.replace(f"{{{line}}}", str(LINES + line))
    return sentence


def test_mistakes_of_rules_are_told_together_with_all_others(alerts_yaml):
    config = alerts_yaml(
        written("mode: sned\nroutes:\n  - to: phne\n  - to: 3\n    when: {priority: hi}\n  - {to: [dsek], name: ' '}\n")
    )
    assert [line.split(":")[0] for line in told(problems(config))] == ["1", "3", "5", "6", "6", "6"]


def test_a_rule_without_any_channel_says_what_is_missing():
    assert problems({"routes": [{"to": "phone"}]}) == [
        "config: routes[0].to: there is no channel `phone`; write its block under `alerts:`"
    ]


GOOD = [
    "routes:\n  - {to: all}",
    "routes:\n  - {to: []}",
    "routes:\n  - {to: [console, mail]}",
    "routes:\n  - {to: phone, continue: true}\n  - {to: desk}",
    "routes:\n  - {to: phone, when: {priority: high}}\n  - {to: desk, when: {priority: low}}",
    "routes:\n  - {to: phone, when: {hours: 09:00-17:00}}\n  - {to: desk, when: {hours: 10:00-11:00}}",
    "routes:\n  - {to: phone, when: {kind: [mine, my.*, '*', signal.mine, ORDER.Completed]}}",
    "routes:\n  - {to: phone, when: {type: custom, data: mine > 3}}",
    "routes:\n  - {to: phone, when: {type: trade, data: mine > 3}}",  # an alert that a program makes itself
    "routes:\n  - {to: phone, when: {kind: trade.closed, data: resolves == true}}",
    "routes:\n  - {to: phone, when: {type: trade, data: [pnl < 0, pnl > -10, pnl != 4, status == Closed]}}",
    "routes:\n  - {to: phone, when: {kind: mine, type: error}}",
    "mode: send\nroutes:\n  - {to: phone, when: {source: history}}",
    "mode: record\nroutes:\n  - {to: phone, when: {source: history}}",
    "routes:\n  - {to: phone, when: {source: [history, live]}}",
    "rules: {levels: [{field: pnl, above: 3, back: 3}, {field: pnl, below: -3, back: 0}]}",
    "rules: {maintenance: [{from: 2027-01-01, until: 2027-01-02}, {hours: 10:00-11:00 mon, when: {hours: "
    "10:30-12:00}}]}",
    "rules: {cooldown: [{every: 1m, when: {priority: high}}]}",
    "rules: {cooldown: [{every: 1m, name: x}]}\nroutes: [{to: phone, name: x}]",
    "digests:\n  - {at: 07:30 mon, report: weekly}\n  - {at: '07:30 mon, 07:30 fri', report: weekly}",
    "escalation:\n  - steps: [{after: 5m, to: phone}, {after: 5m, to: all}]\n    repeat: 3",
    "escalation:\n  - steps: [{after: 5m, to: phone}, {after: 5m, to: [desk, mail]}]",
]


@pytest.mark.parametrize("rules", GOOD)
def test_what_is_no_mistake(alerts_yaml, rules):
    settings = inspect(alerts_yaml(written(rules)), environ={}, now=NOW)
    assert settings.warnings == ()
    assert build(settings.rule_settings())


def test_fallbacks_in_a_circle_of_three_and_one_over_an_escalation(alerts_yaml):
    rules = "escalation:\n  - steps: [{after: 5m, to: c}, {after: 5m, to: a}]\n"
    open_chain = "alerts:\n  a: {type: console, fallback: b}\n  b: {type: console, fallback: c}\n  c: {type: console}\n"
    assert loaded(alerts_yaml(open_chain + rules)).escalation
    circle = open_chain.replace("c: {type: console}", "c: {type: console, fallback: a}")
    assert problems(alerts_yaml(circle + rules)) == [
        "alerts.yaml:2: alerts.a.fallback: fallbacks go in a circle (a → b → c → a); remove one of them"
    ]


# ---------------------------------------------------------------------------------------------------- warnings

SPRING = "on Sunday 28 March 2027 the clocks go forward in it: it is {} long instead of {}"
AUTUMN = "on Sunday 31 October 2027 the clocks go back in it: it is {} long instead of {}"
WARNINGS = [
    (
        "routes:\n  - to: [phone, spare]",
        [
            "2: routes[0].to[1]: the channel `spare` is not enabled, so nothing goes there; write `enabled: true` "
            "in its block"
        ],
    ),
    (
        "routes:\n  - to: pager",
        ["2: routes[0].to: no channel of type `pager` is enabled, so nothing goes there"],
    ),
    (
        "escalation:\n  - steps: [{after: 5m, to: ntfy}]",
        [
            "2: escalation[0].steps[0].to: the channel `ntfy` is not enabled, so nothing goes there; write `enabled: "
            "true` in its block"
        ],
    ),
    (
        "quiet_hours:\n  - hours: 22:00-07:00\n    through: none",
        ["3: quiet_hours[0].through: even critical alerts wait; `through: critical` lets these pass"],
    ),
    (
        "quiet_hours:\n  - hours: 22:00-07:00\n    through: none\n    then: record",
        [
            "3: quiet_hours[0].through: even critical alerts can be held back for good; `through: critical` lets "
            "these pass"
        ],
    ),
    (
        "rules:\n  cooldown:\n    - {every: 1m, through: none}",
        [
            "3: rules.cooldown[0].through: even critical alerts can be held back for good; `through: critical` "
            "lets these pass"
        ],
    ),
    (
        "digests:\n  - {at: 07:30, through: none}",
        ["2: digests[0].through: even critical alerts wait; `through: critical` lets these pass"],
    ),
    (
        "rules:\n  maintenance:\n    - from: 2026-01-01\n      until: 2026-11-21T12:00",
        ["4: rules.maintenance[0].until: this window is over; remove it"],
    ),
    # Overlaps.
    (
        "quiet_hours:\n  - {hours: 22:00-07:00, name: night}\n  - {hours: 06:00-08:00, channels: phone}",
        [
            "3: quiet_hours[1].hours: `night` on line {2} is quiet then too on phone, sun 06:00-07:00 UTC; the first "
            "of them counts while both are open"
        ],
    ),
    (
        "quiet_hours:\n  - {hours: 00:00-02:00 mon}\n  - {hours: 09:30-12:00 Asia/Tokyo mon}",
        [
            "3: quiet_hours[1].hours: quiet_hours[0] on line {2} is quiet then too, mon 09:30-11:00 Asia/Tokyo; the "
            "first of them counts while both are open"
        ],
    ),
    (
        "quiet_hours:\n  - {hours: 01:00-03:00, when: {type: trade}}\n  - {hours: 02:00-04:00, when: {type: 'trade, "
        "order'}}",
        [
            "3: quiet_hours[1].hours: quiet_hours[0] on line {2} is quiet then too, sun 02:00-03:00 UTC; the first "
            "of them counts while both are open"
        ],
    ),
    (
        "rules:\n  maintenance:\n    - hours: 01:00-03:00 tue\n    - from: 2026-12-01\n      until: 2026-12-10",
        [
            "4: rules.maintenance[1].from: rules.maintenance[0] on line {3} is open then too, tue 01:00-03:00 UTC; "
            "one of them is enough there"
        ],
    ),
    (
        "rules:\n  maintenance:\n    - {from: 2026-12-01, until: 2026-12-10}\n    - {from: 2026-12-09, until: "
        "2026-12-20}",
        [
            "4: rules.maintenance[1].from: rules.maintenance[0] on line {3} is open then too, wed 00:00-thu 00:00 "
            "UTC; one of them is enough there"
        ],
    ),
    # Clocks.
    (
        "quiet_hours:\n  - hours:\n      - 22:00-07:00 Europe/Berlin\n      - 12:00-13:00 Europe/Berlin",
        [f"3: quiet_hours[0].hours[0]: {SPRING.format('8 h', '9 h')}; {AUTUMN.format('10 h', '9 h')}"],
    ),
    (
        "rules:\n  maintenance:\n    - hours: 02:30-04:00 Europe/Berlin sun",
        [
            f"3: rules.maintenance[0].hours: {SPRING.format('1 h', '1 h 30 min')}; "
            f"{AUTUMN.format('2 h 30 min', '1 h 30 min')}"
        ],
    ),
    (
        "rules:\n  maintenance:\n    - hours: 01:00-04:00 Europe/Berlin\n      from: 2026-12-01\n      until: "
        "2027-09-01",
        [f"3: rules.maintenance[0].hours: {SPRING.format('2 h', '3 h')}"],
    ),
    (
        "digests:\n  - at: [02:30 America/New_York, 07:30 America/New_York]",
        [
            "2: digests[0].at[0]: on Sunday 14 March 2027 the clocks go forward over 02:30: it is 1 h later"
        ],
    ),
    (
        "digests:\n  - at: 01:30 America/New_York\n    report: daily",
        ["2: digests[0].at: on Sunday 7 November 2027 the clocks show 01:30 twice: the first time counts"],
    ),
    ("digests:\n  - at: 02:30 America/New_York mon-sat", []),
    (  # it begins at a time that the clocks pass over
        "quiet_hours:\n  - hours: 02:30-01:00 Europe/Berlin sun",
        [
            f"2: quiet_hours[0].hours: {SPRING.format('22 h', '22 h 30 min')}; "
            f"{AUTUMN.format('23 h 30 min', '22 h 30 min')}"
        ],
    ),
    # What does not overlap.
    ("quiet_hours:\n  - {hours: 22:00-07:00}\n  - {hours: 07:00-08:00}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00, channels: phone}\n  - {hours: 01:00-03:00, channels: webhook}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00 mon}\n  - {hours: 01:00-03:00 tue}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00, when: {type: trade}}\n  - {hours: 01:00-03:00, when: {type: order}}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00, when: {symbol: A}}\n  - {hours: 01:00-03:00, when: {symbol: b}}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00, when: {data: pnl < 0}}\n  - {hours: 01:00-03:00, when: {data: pnl "
    "> 0}}", []),
    ("quiet_hours:\n  - {hours: 01:00-03:00, through: high}\n  - {hours: 01:00-03:00, when: {priority: high}}", []),
    ("rules:\n  maintenance:\n    - {from: 2026-12-01, until: 2026-12-10}\n    - {from: 2026-12-10}", []),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "sentences"), WARNINGS, ids=[f"{n}" for n in range(len(WARNINGS))])
def test_what_is_a_warning(alerts_yaml, rules, sentences):
    settings = inspect(alerts_yaml(written(rules)), environ={}, now=NOW)
    assert told(list(settings.warnings)) == [_with_lines(sentence) for sentence in sentences]
    assert build(settings.rule_settings())


def test_warnings_are_logged_once_but_those_about_clocks(alerts_yaml, caplog, monkeypatch):
    monkeypatch.setattr(assemble, "_logged", set())
    config = alerts_yaml(written("quiet_hours:\n  - hours: 22:00-07:00 Europe/Berlin\n    through: none\n"))
    with caplog.at_level(logging.WARNING, "bt_alerts"):
        assert len(inspect(config, environ={}).warnings) == 2
        assert caplog.messages == []
        assert len(loaded(config).warnings) == 2
        assert len(loaded(config).warnings) == 2
    assert told(caplog.messages) == [
        "3: quiet_hours[0].through: even critical alerts wait; `through: critical` lets these pass"
    ]


def test_warnings_are_no_part_of_the_settings_themselves(alerts_yaml):
    text = written("quiet_hours:\n  - {hours: 22:00-07:00 Europe/Berlin}\n")
    now, before_the_zone = (inspect(alerts_yaml(text), environ={}, now=at) for at in (NOW, -3e9))
    assert now.warnings
    assert not before_the_zone.warnings
    assert now.hash == before_the_zone.hash
    assert "warnings" not in now.model_dump()


def test_warnings_of_python_name_the_key():
    settings = loaded({**yaml.safe_load(CHANNELS), "routes": [{"to": ["spare"]}]})
    assert settings.warnings == (
        "config: routes[0].to[0]: the channel `spare` is not enabled, so nothing goes there; write `enabled: true` "
        "in its block",
    )


# ------------------------------------------------------------------------------------------- what is never, or the same


@pytest.mark.parametrize(
    ("comparisons", "place"),
    [
        (["a < 1", "a > 1"], 1), (["a <= 1", "a >= 1"], None), (["a < 1", "a >= 1"], 1), (["a == 1", "a != 1"], 1),
        (["a > 1", "a <= 1"], 1), (["a >= 1", "a < 1"], 1),
        (["a == 1", "a == 2"], 1), (["a == 1", "a > 0", "a < 2"], None), (["a > 1", "b < 0"], None),
        (["a > 1", "a > 2", "a < 1.5"], 2), (["a == x", "a == Y"], 1), (["a == x", "a == X"], None),
        (["a == x", "a != X"], 1), (["a == x", "a > 3"], 1), (["a != x", "a > 3"], None), (["a == '5'", "a > 3"], None),
        (["a >= 1", "a <= 1", "a != 1"], 2), (["a < 5", "a < 3", "a == 4"], 2),
    ],
)  # fmt: skip
def test_comparisons_that_are_never_true_together(comparisons, place):
    found = contradiction(WhenBlock(data=comparisons).when().data)
    assert (found and found[0]) == place


WHENS: list[tuple[Mapping[str, Any], Mapping[str, Any], bool, bool]] = [
    ({}, {"type": "trade"}, True, False),
    ({"type": "trade"}, {}, False, False),
    ({"type": "trade"}, {"type": "order"}, False, True),
    ({"kind": "a, b"}, {"kind": "B"}, True, False),
    ({"kind": "a*"}, {"kind": "abc"}, False, False),
    ({"priority": "low"}, {"priority": "high"}, True, False),
    ({"priority": "high"}, {"priority": "high"}, True, False),
    ({"priority": "high"}, {"priority": "low"}, False, False),
    ({"data": "pnl < 0"}, {"data": "pnl < 0, size > 3"}, True, False),
    ({"data": "pnl < 0"}, {"data": "pnl > 3"}, False, True),
    ({"source": "live"}, {"source": "direct"}, False, True),
]


@pytest.mark.parametrize(("first", "second", "within", "apart"), WHENS)
def test_which_alerts_two_rules_share(first, second, within, apart):
    one, other = (WhenBlock.model_validate(each).when() for each in (first, second))
    assert (covers(one, other), never_both(one, other), never_both(other, one)) == (within, apart, apart)
