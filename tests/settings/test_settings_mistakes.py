"""Every mistake at once, each with its place and what to write instead."""

from __future__ import annotations

import pytest
from settings_loading import loaded, problems

from bt_alerts import AlertManager, SettingsError
from bt_alerts.settings import Settings


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(alerts_yaml):
    config = alerts_yaml("""
        mode: sned
        alerts:
          pushover:
            app_token: aaaa
            user_key: uuuu
            priorty: 1
          pager:
            token: tttt
            numbers: [1]
            volume: loud
            vibrate: perhaps
            level: LOUDER
            repeat: 1.5
        delivery:
          max_retires: 1
          retry_delay: -1
          durability: always
        events:
          order.compleated: on
          signal: loud
        """)
    assert problems(config, {"storre": "x"}, {"NOTIFICATION_FAIL_FAST": "often"}) == [
        "environment: NOTIFICATION_FAIL_FAST: write true or false, not `often`",
        "argument storre: unknown key; did you mean `store`?",
        "alerts.yaml:1: mode: write one of auto, send, record, not `sned`; did you mean `send`?",
        "alerts.yaml:6: alerts.pushover.priorty: unknown key; did you mean `priority`?",
        "alerts.yaml:10: alerts.pager.volume: write a number, not `loud`",
        "alerts.yaml:11: alerts.pager.vibrate: write true or false, not `perhaps`",
        "alerts.yaml:12: alerts.pager.level: write one of Loud, quiet, not `LOUDER`; did you mean `Loud`?",
        "alerts.yaml:13: alerts.pager.repeat: write a whole number, not `1.5`",
        "alerts.yaml:15: delivery.max_retires: unknown key; did you mean `max_retries`?",
        "alerts.yaml:16: delivery.retry_delay: write a number from 0 to 86400, not `-1`",
        "alerts.yaml:17: delivery.durability: write one of process, fsync, not `always`",
        "alerts.yaml:19: events.order.compleated: unknown kind of event; did you mean `order.completed`?",
        "alerts.yaml:20: events.signal: write one of on, silent, record, off, not `loud`",
    ]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"alerts": {"webhok": {}}},
            "config: alerts.webhok: there is no channel type 'webhok': did you mean 'webhook'?",
        ),
        ({"alerts": {"p": {"type": "pushovr"}}}, "config: alerts.p.type: there is no channel type 'pushovr': did you"),
        ({"alerts": {"zzz": {}}}, "use one of apprise, broken-pager, console, discord,"),
        ({"alerts": {"gone": {}}}, "config: alerts.gone: channel type 'gone' (thirdparty_gone:Gone) cannot be loaded"),
        ({"alerts": {"broken-pager": {}}}, "which is no Dispatcher subclass"),
        ({"alerts": {"a": {"type": ["x"]}}}, "config: alerts.a.type: write one of apprise, broken-pager, console"),
        ({"alerts": {"console": True}}, "config: alerts.console: write a block of keys beneath it, such as `enabled:"),
        ({"alerts": ["console"]}, "config: alerts: write one block a channel beneath it, such as `console:`"),
        ({"alerts": {" ": {}}}, "a channel needs a name of printable characters"),
        ({"alerts": {"a\nb": {}}}, "config: alerts.a\\nb: a channel needs a name of printable characters"),
        ({"alerts": {"console": {"name": "x"}}}, "config: alerts.console.name: a channel is named by its block"),
        ({"alerts": {"console": {"api_url": "x"}}}, "config: alerts.console.api_url: unknown key; remove it, or use"),
        ({"alerts": {"console": {"rate_limit": -1}}}, "rate_limit: write a whole number from 0 to 1000000, not `-1`"),
        ({"alerts": {"console": {"timeout": 0}}}, "timeout: write a number above 0, at most 3600, not `0`"),
        ({"delivery": []}, "config: delivery: write a block of keys beneath it, not a list"),
        ({"events": "on"}, "config: events: write a block of `name: value` lines, not `on`"),
        ({"mode": {"a": 1}}, "config: mode: write one of auto, send, record, not a block of keys"),
        ({"store": ["x"]}, "config: store: write text, not a list"),
        (
            {"delivery": {"retry_delay": float("nan")}},
            "delivery.retry_delay: write a number from 0 to 86400, not `nan`",
        ),
        ({1: 2}, "config: 1: a key must be text"),
        ({"max_retries": 1}, "config: max_retries: this stands under `delivery:`; write `delivery:` and below it"),
        (
            {"pushover": {}},
            "config: pushover: channels stand under `alerts:`; write `alerts:` and below it `pushover:`",
        ),
    ],
)
def test_what_to_write_instead(config, told):
    (problem,) = problems(config)
    assert told in problem


def test_keys_of_a_later_version_are_refused_not_ignored(alerts_yaml, monkeypatch):
    monkeypatch.setattr(Settings, "later", frozenset({"teleport"}))
    told = "`teleport:` is not available in this version; remove it"
    assert problems(alerts_yaml("teleport: {}\n")) == [f"alerts.yaml:1: teleport: {told}"]
    assert problems({}, {"teleport": {}}) == [f"argument teleport: {told}"]
    assert loaded(alerts_yaml("teleport:\n")).mode == "auto"


@pytest.mark.parametrize("key", ["routes", "quiet_hours", "digests", "escalation"])
def test_lists_of_rules_are_lists(alerts_yaml, key):
    told = "write a list of blocks of keys, each beginning with `- `, not a block of keys"
    assert problems(alerts_yaml(f"{key}: {{}}\n")) == [f"alerts.yaml:1: {key}: {told}"]
    assert problems({}, {key: {}}) == [f"argument {key}: {told}"]


def test_a_delivery_key_given_as_an_argument_is_told_where_it_belongs():
    assert problems({}, {"max_retries": 5}) == [
        "argument max_retries: this stands under `delivery:`; write `delivery:` and below it `max_retries:`"
    ]


def test_unknown_keys_of_a_block_are_refused():
    assert problems({"history": {"kep": 1}}) == ["config: history.kep: unknown key; did you mean `keep`?"]


def test_rate_limiting_can_be_turned_off():
    assert loaded({"delivery": {"enable_rate_limiting": "off"}}).delivery.enable_rate_limiting is False


def test_fallbacks_must_lead_to_another_channel(alerts_yaml):
    config = alerts_yaml("""
        alerts:
          console: {fallback: consle2}
          console2: {type: console, fallback: console2}
          a: {type: console, fallback: b}
          b: {type: console, fallback: c}
          c: {type: console, fallback: a}
          d: {type: console, fallback: a}
          e: {type: console, fallback: nobody-at-all}
        """)
    assert problems(config) == [
        "alerts.yaml:2: alerts.console.fallback: there is no channel `consle2`; did you mean `console2`?",
        "alerts.yaml:3: alerts.console2.fallback: a channel cannot be its own fallback; name another channel",
        "alerts.yaml:4: alerts.a.fallback: fallbacks go in a circle (a → b → c → a); remove one of them",
        "alerts.yaml:8: alerts.e.fallback: there is no channel `nobody-at-all`; "
        "use one of console, console2, a, b, c, d, e",
    ]


def test_a_good_fallback_is_kept():
    settings = loaded({"alerts": {"console": {"fallback": "b"}, "b": {"type": "console"}}})
    assert settings.alerts["console"].fallback == "b"


def test_a_mapping_from_another_yaml_reader_may_have_booleans():
    assert loaded({"events": {"signal": True, "custom": False}}).events == {"signal": "on", "custom": "off"}


@pytest.mark.usefixtures("uncollected")
def test_a_mapping_that_holds_itself_is_refused():
    config: dict = {}
    config["events"] = config
    (told,) = problems(config)
    assert told.endswith("nested too deep or too large for settings")


def test_the_traceback_of_a_mistake_is_short():
    with pytest.raises(SettingsError) as told:
        AlertManager({"stroe": "alerts.db"})
    assert [frame.name for frame in told.traceback[1:]] == ["__init__", "load"]
    assert (told.value.__cause__, told.value.__context__) == (None, None)


def test_long_and_strange_values_are_cut_and_escaped():
    (told,) = problems({"mode": "x\n\x1b[31m" + "yyyyyyy " * 63})
    assert told.startswith("config: mode: write one of auto, send, record, not `x\\n\\x1b[31myyy")
    assert len(told) < 150
    assert told.isprintable()


def test_an_address_without_its_scheme_and_authorities_that_are_not_there_are_told(alerts_yaml):
    text = (
        "alerts:\n  ntfy: {topics: abc, api_url: ntfy.example.org}\n"
        "  phone: {type: pushover, app_token: tttt, user_key: uuuu, ca_file: /no/such.pem}\n"
    )
    assert problems(alerts_yaml(text)) == [
        "alerts.yaml:2: alerts.ntfy.api_url: write an address that begins with https:// (or http://)",
        "alerts.yaml:3: alerts.phone.ca_file: `/no/such.pem` cannot be read; name a PEM file",
    ]


def test_an_address_without_its_scheme_is_told_together_with_other_mistakes_of_its_channel(alerts_yaml):
    text = "alerts:\n  ntfy:\n    api_url: ntfy.example.org\n    prioritty: 3\n"
    assert [told.partition(";")[0] for told in problems(alerts_yaml(text))] == [
        "alerts.yaml:3: alerts.ntfy.api_url: write an address that begins with https:// (or http://)",
        "alerts.yaml:4: alerts.ntfy.prioritty: unknown key",
    ]
    text = "alerts:\n  ntfy:\n    api_url: [ntfy.example.org]\n    prioritty: 3\n"
    assert [told.count("ntfy.api_url:") for told in problems(alerts_yaml(text))] == [1, 0]


def test_how_long_the_history_is_kept_is_a_duration_and_not_a_moment():
    assert loaded({}).history.keep is None
    assert loaded({"history": {"keep": "30 d"}}).history.keep == 30 * 86_400
    assert loaded({"history": {"keep": "12h"}}).history.keep == 12 * 3_600
    told = "config: history.keep: write a duration (30s, 15m, 12h, 90d) from 1h to 36500d, not `90`"
    assert problems({"history": {"keep": "90"}}) == [told]  # a plain number is seconds, and nobody means 90 of them
    assert problems({"history": {"keep": 90}}) == [told]
    assert "write a duration" in problems({"history": {"keep": "soon"}})[0]


def test_a_key_that_does_not_exist_is_told_without_a_value_too(alerts_yaml):
    text = (
        "stroe:\npushover:\ndelivery:\n  max_retires:\nevents:\n  order.complete:\nalerts:\n  console:\n    strem: ~\n"
    )
    assert [line.partition("; ")[2] for line in problems(alerts_yaml(text))] == [
        "did you mean `store`?",
        "write `alerts:` and below it `pushover:`",
        "did you mean `max_retries`?",
        "did you mean `order.completed`?",
        "did you mean `stream`?",
    ]


def test_a_key_that_does_not_exist_is_told_in_python_too():
    assert problems({"delivery": {"max_retires": None}, "alerts": {"console": {"strem": None}}}, {"stroe": None}) == [
        "config: delivery.max_retires: unknown key; did you mean `max_retries`?",
        "argument stroe: unknown key; did you mean `store`?",
        "config: alerts.console.strem: unknown key; did you mean `stream`?",
    ]


def test_rules_may_stand_there_empty(alerts_yaml):
    settings = loaded(alerts_yaml("escalation:\nquiet_hours: ~\nroutes: []\nrules: {}\n"))
    assert (settings.escalation, settings.quiet_hours, settings.routes) == ([], [], [])
