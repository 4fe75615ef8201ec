"""The explanation of a decision: what each stage did, in words, and a memory that is only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alerts_kit import alert
from planner_kit import Desk
from rules_kit import NOW, Remembered

from bt_alerts.alert import Source
from bt_alerts.kinds import Setting
from bt_alerts.outbox.base import AlertState, Outbox
from bt_alerts.outbox.recall import Recalled
from bt_alerts.rules.explain import Did, Explanation, Look, Overlay, Step, explain, told
from bt_alerts.rules.pipeline import RuleSettings, build
from bt_alerts.rules.stage import Note, Reason

ROUTES = """
routes:
  - {name: losses, when: {data: "pnl < -500"}, to: [phone]}
  - {name: orders, when: {type: order}, to: [chat]}
  - {name: rest, to: all}
"""


def step(found: Explanation, stage: str) -> Step:
    return next(each for each in found.steps if each.stage == stage)


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(tmp_path, getattr(request, "param", ROUTES))
    yield made
    made.close()


def test_the_route_that_matched_is_named_and_why_the_others_did_not(desk: Desk) -> None:
    found = desk.explain(desk.make(type="order", data={"pnl": -20}))
    route = step(found, "route")
    assert (route.did, route.rule, route.reasons) == (Did.ACTED, "orders", (Reason.ROUTED,))
    assert [(look.rule, look.why_not) for look in route.looks] == [
        ("losses", "pnl is -20, and not < -500"),
        ("orders", ""),
        ("rest", "orders took it before"),
    ]
    assert "to chat" in route.words
    assert [going.channel for going in found.goes] == ["chat"]
    assert found.summary == "It goes to chat."


def test_an_alert_that_names_its_channels_passes_the_routes_by(desk: Desk) -> None:
    found = desk.explain(desk.make(channels=["phone"]))
    assert {look.why_not for look in step(found, "route").looks} == {"the alert names its channels itself"}
    assert [going.channel for going in found.goes] == ["phone"]


def test_what_comes_behind_a_verdict_is_not_asked(desk: Desk) -> None:
    found = desk.explain(desk.make(source=Source.HISTORY))
    assert [each.did for each in found.steps[:2]] == [Did.PASSED, Did.ENDED]
    assert {each.did for each in found.steps[2:]} == {Did.NOT_ASKED}
    assert (found.state, found.reason, found.goes) == (AlertState.RECORDED, Reason.HISTORY, ())
    assert found.summary == "It is recorded: it was made on an old bar, so it is recorded and never sent."


@pytest.mark.parametrize("desk", ["rules: {cooldown: [{name: calm, every: 1h, when: {symbol: A}}]}"], indirect=True)
def test_a_rule_says_whether_it_is_about_the_alert_and_the_one_that_suppresses_is_named(desk: Desk) -> None:
    other = step(desk.explain(desk.make(symbol="B")), "calm")
    assert (other.did, other.words) == (Did.PASSED, "its symbol is B")
    first = step(desk.explain(desk.make(symbol="A")), "calm")
    assert (first.did, first.words) == (Did.PASSED, "it is about the alert, and lets it pass")
    desk.emit(symbol="A")
    found = desk.explain(desk.make(symbol="A", message="another"))
    assert (found.state, found.reason, found.rule) == (AlertState.SUPPRESSED, Reason.COOLDOWN, "calm")
    assert found.summary == "It is suppressed by calm: one of its kind was told a short time ago."
    assert "its priority is critical" in step(desk.explain(desk.make(symbol="A", priority="critical")), "calm").words


@pytest.mark.parametrize("desk", ["quiet_hours: [{name: morning, hours: 07:00-09:00, channels: phone}]"], indirect=True)
def test_where_it_goes_and_when_is_said_for_each_channel(desk: Desk) -> None:
    found = desk.explain(desk.make())
    phone, chat = found.goes
    assert (phone.channel, phone.at, phone.reason, phone.gathers) == ("phone", NOW + 3600, Reason.QUIET_HOURS, "quiet")
    assert phone.words == (
        "at 2027-01-15 09:00:00 UTC; in one message with what else waits until then; it waits for the end of quiet "
        "hours"
    )
    assert (chat.channel, chat.at, chat.words) == ("chat", None, "at once")
    assert step(found, "quiet hours").words == (
        "it waits for the end of quiet hours (morning; phone), 2027-01-15 09:00:00 UTC"
    )


def test_a_channel_that_is_disabled_hands_over_what_is_urgent_and_holds_the_rest(desk: Desk) -> None:
    stages, memory = build(RuleSettings(channels=("phone", "chat"))), Overlay()
    disabled, fallbacks = {"phone"}, {"phone": "chat"}

    def goes(priority: str, *channels: str) -> list[tuple[str, Reason | None, bool]]:
        made = alert(priority=priority, channels=channels)
        found = explain(stages, made, memory, NOW, disabled=disabled, fallbacks=fallbacks)
        return [(going.channel, going.reason, going.held) for going in found.goes]

    assert goes("high", "phone") == [("chat", Reason.FAILED_OVER, False)]
    assert goes("high", "phone", "chat") == [("chat", None, False)]
    assert goes("low", "phone") == [("phone", None, True)]


def test_an_event_without_sound_says_so() -> None:
    stages = build(RuleSettings(channels=("a",), events={"custom": Setting.SILENT}))
    found = explain(stages, alert(), Overlay(), NOW)
    assert step(found, "events").words == "without sound"
    assert found.goes[0].words == "at once; without sound"


@pytest.mark.parametrize(
    "desk",
    [
        """
        escalation:
          - {name: one, when: {type: custom}, steps: [{after: 5m, to: phone}]}
          - {name: mode, when: {priority: medium}, steps: [{after: 5m, to: phone}]}
        """
    ],
    indirect=True,
)
def test_of_two_escalations_the_first_takes_it_whatever_they_are_called(desk: Desk) -> None:
    found = step(desk.explain(desk.make()), "escalation")
    assert [(look.rule, look.why_not) for look in found.looks] == [("one", ""), ("mode", "one took it before")]
    assert found.words == ("it goes further where nobody acknowledges it (one; phone), 2027-01-15 08:05:00 UTC")


@pytest.mark.parametrize("desk", ["rules: {cooldown: [{name: mutes, every: 1h, when: {symbol: A}}]}"], indirect=True)
def test_a_rule_with_the_name_of_a_stage_has_its_own_words(desk: Desk) -> None:
    found = [each.words for each in desk.explain(desk.make(symbol="B")).steps if each.stage == "mutes"]
    assert found == ["nobody muted it", "its symbol is B"]


def test_a_note_has_its_time() -> None:
    assert told(Note(Reason.DIGEST, "evening", "chat", NOW)) == (
        "it waits for a digest (evening; chat), 2027-01-15 08:00:00 UTC"
    )
    assert told(Note(Reason.MUTED)) == "somebody muted it"


def test_an_explanation_is_plain_json(desk: Desk) -> None:
    row = json.loads(json.dumps(desk.explain(desk.make(type="order")).to_dict()))
    assert (row["state"], row["reason"], row["channels"][0]["channel"]) == ("planned", "", "chat")
    route = next(each for each in row["stages"] if each["stage"] == "route")
    assert (route["did"], route["reasons"], route["rule"]) == ("acted", ["routed"], "orders")
    assert route["rules"][0]["why_not"] == "it has no pnl"
    assert Look(**route["rules"][0]).about == "pnl < -500"


# The memory ------------------------------------------------------------------------------------------


def test_an_overlay_reads_through_and_keeps_its_changes_to_itself(state: Remembered) -> None:
    state.put("a", "1", [1])
    state.put("a", "2", 2)
    before = dict(state.kept)
    overlay = Overlay(state)
    overlay.put("a", "1", {"x": None})
    overlay.drop("a", "2")
    overlay.put("a", "3", 3)
    overlay.put("b", "1", "b")
    overlay.drop("a", "nothing")
    overlay.forget(NOW)
    assert overlay.get("a", "1") == {"x": None}
    assert overlay.get("a", "2") is overlay.get("a", "nothing") is overlay.get("c", "1") is None
    assert overlay.items("a") == [("1", {"x": None}), ("3", 3)]
    assert state.kept == before


def test_an_overlay_gives_copies_as_a_store_does() -> None:
    overlay, value = Overlay(), [1]
    overlay.put("a", "1", value)
    value.append(2)
    overlay.get("a", "1").append(3)
    assert overlay.get("a", "1") == [1]


def test_the_memory_of_a_store_is_only_read(desk: Desk) -> None:
    first = desk.emit(dedupe_key="k")
    memory = Recalled(desk.outbox, NOW)
    assert memory.get("duplicate", "k") == first.id
    assert memory.items("duplicate") == [("k", first.id)]
    assert memory.get("duplicate", "other") is None
    assert Recalled(desk.outbox, NOW, without=first.id).get("duplicate", "k") is None
    for change in (lambda: memory.put("a", "b", 1), lambda: memory.drop("a", "b"), lambda: memory.forget(NOW)):
        with pytest.raises(TypeError, match="only read"):
            change()


def test_the_memory_of_every_kind_of_store_is_read(outbox: Outbox) -> None:
    with outbox.transaction() as tx:
        tx.state.put("mute", "{}", NOW, until=NOW)
        tx.state.put("mute", "over", NOW, until=NOW - 1)
        tx.state.put("throttle", "k", [NOW, 1])
    overlay = Overlay(Recalled(outbox, NOW - 1))
    overlay.put("throttle", "k", [NOW, 2])
    assert (overlay.get("throttle", "k"), overlay.items("mute")) == ([NOW, 2], [("{}", NOW)])
    assert Recalled(outbox, NOW).items("throttle") == [("k", [NOW, 1])]
    assert (Recalled(outbox, NOW).get("mute", "{}"), Recalled(outbox, NOW).items("mute")) == (None, [])
