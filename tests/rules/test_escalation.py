"""Escalation: what nobody acknowledges goes further, step by step; and what ends that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from planner_kit import Desk
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert
from bt_alerts.outbox.entries import Accepted, Muted, Snoozed
from bt_alerts.outbox.entries import Acknowledged as Ack
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.escalation import FORGOTTEN, OTHERS, Escalation, Escalations, Resolutions, Step
from bt_alerts.rules.stage import Acknowledged, Batch, Further, Lost, Note, Plan, Reason, Tick
from bt_alerts.rules.stage import Snoozed as SnoozedEvent
from bt_alerts.rules.when import When

ENABLED = ("phone", "chat", "mail")
ALICE, BOB = Step(300.0, ("chat",)), Step(600.0, ("mail",))


def rules(*steps: Step, repeat: int = 0, name: str = "e", enabled: Sequence[str] = ENABLED, **more: Any) -> Escalations:
    rule = Escalation(name=name, through=None, steps=steps or (ALICE, BOB), repeat=repeat, **more)
    return Escalations([rule], tuple(enabled))


TWO = rules()


def open_one(stage: Escalations, state: Remembered, now: float = NOW, plan: Plan | None = None, **fields: Any) -> Alert:
    """An alert for the phone comes."""
    made = alert(**fields)
    assert isinstance(stage(made, plan or Plan(channels=("phone",)), state, now), Plan)
    return made


def tick(stage: Escalations, state: Remembered, now: float, acknowledged: Sequence[str] = ()) -> list[Further]:
    found = stage.hear(Tick(lambda id_: id_ in acknowledged), state, now)
    assert all(isinstance(each, Further) for each in found)
    return found  # type: ignore[return-value]  # as was just looked at


def told(stage: Escalations, state: Remembered, until: float, now: float = NOW) -> list[tuple[float, tuple[str, ...]]]:
    """Who is told when, as seconds from now, by somebody who wakes only when they are asked to."""
    found, begin = [], now
    while (at := stage.wakes(state, now)) is not None and at <= begin + until:
        now = max(now, at)
        found += [(now - begin, further.channels) for further in tick(stage, state, now)]
        assert len(found) < 100, "it goes further for ever"
    return found


def left(state: Remembered) -> int:
    return len(state.items("escalation"))


# Steps -----------------------------------------------------------------------------------------------


def test_each_step_counts_from_the_one_before_and_after_the_last_there_is_none(state: Remembered) -> None:
    open_one(TWO, state)
    assert told(TWO, state, 86_400) == [(300, ("chat",)), (900, ("mail",))]
    assert left(state) == 0
    assert TWO.wakes(state, NOW) is None


def test_the_steps_are_gone_through_again_as_often_as_the_settings_say(state: Remembered) -> None:
    again = rules(repeat=2)
    open_one(again, state)
    assert [at for at, _ in told(again, state, 86_400)] == [300, 900, 1200, 1800, 2100, 2700]
    assert left(state) == 0


def test_what_is_decided_says_who_why_and_the_how_manieth_time(state: Remembered) -> None:
    made = open_one(TWO, state)
    note = Note(Reason.ESCALATED, "e", about="chat, after 5 min")
    assert tick(TWO, state, NOW + 300) == [Further(made.id, ("chat",), 0, note)]
    assert [further.turn for further in tick(TWO, state, NOW + 900)] == [1]


def test_the_first_rule_that_is_about_an_alert_takes_it(state: Remembered) -> None:
    first = Escalation(name="a", when=When(kinds=("error",)), through=None, steps=(ALICE,))
    both = Escalations([first, Escalation(name="b", through=None, steps=(BOB,))], ENABLED)
    open_one(both, state, kind="error")
    open_one(both, state, kind="custom")
    assert told(both, state, 86_400) == [(300, ("chat",)), (600, ("mail",))]
    none = Escalations([first], ENABLED)
    open_one(none, state, kind="custom")
    assert left(state) == 0


def test_it_says_that_it_will_go_further(state: Remembered) -> None:
    decided = TWO(alert(), Plan(channels=("phone",)), state, NOW)
    assert isinstance(decided, Plan)
    assert decided.trail == (Note(Reason.ESCALATES, "e", until=NOW + 300, about="chat"),)


@pytest.mark.parametrize(
    ("plan", "counts_from"),
    [
        (Plan(channels=("phone",)), 0),
        (Plan(channels=("phone",), due=NOW + 3600), 3600),
        (Plan(channels=("phone", "chat"), batches={"phone": Batch("q", NOW + 60), "chat": Batch("q", NOW + 90)}), 60),
        (Plan(channels=("phone", "chat"), batches={"phone": Batch("q", NOW + 60)}), 0),
        (Plan(channels=("phone",), batches={"phone": Batch("", NOW, full=True)}), 0),
    ],
)
def test_the_first_step_counts_from_when_the_first_channel_has_it(
    state: Remembered, plan: Plan, counts_from: float
) -> None:
    open_one(TWO, state, plan=plan)
    assert told(TWO, state, 86_400)[0] == (counts_from + 300, ("chat",))


def test_a_step_is_passed_over_where_none_of_its_channels_is_turned_on(state: Remembered) -> None:
    gone = Step(60.0, ("pager",))
    stage = rules(gone, Step(300.0, ("pager", "chat")), gone, BOB, gone)
    open_one(stage, state)
    assert told(stage, state, 86_400) == [(60, ("chat",)), (120, ("mail",)), (180, ())]
    nobody = rules(gone, gone, repeat=3)
    open_one(nobody, state)
    assert told(nobody, state, 86_400) == [(60, ())], "that is said once"
    assert left(state) == 0


# What ends it ----------------------------------------------------------------------------------------


def test_an_acknowledgement_ends_it(state: Remembered) -> None:
    made = open_one(TWO, state)
    tick(TWO, state, NOW + 300)
    TWO.hear(Acknowledged(made.id), state, NOW + 301)
    assert told(TWO, state, 86_400) == []
    TWO.hear(Acknowledged("of nothing"), state, NOW + 301)


def test_one_that_only_the_service_knows_of_ends_it_when_its_turn_comes(state: Remembered) -> None:
    made, other = open_one(TWO, state), open_one(TWO, state)
    assert [further.alert for further in tick(TWO, state, NOW + 300, acknowledged=[made.id])] == [other.id]
    assert left(state) == 1


def test_who_snoozed_it_is_left_alone_until_then(state: Remembered) -> None:
    made = open_one(TWO, state)
    TWO.hear(SnoozedEvent(made.id, NOW + 7200), state, NOW + 10)
    assert told(TWO, state, 86_400) == [(7200, ("chat",)), (7800, ("mail",))]
    made = open_one(TWO, state)
    TWO.hear(SnoozedEvent(made.id, NOW + 20), state, NOW + 10)
    assert told(TWO, state, 86_400)[0] == (300, ("chat",)), "a shorter time does not make it earlier"


def test_what_did_not_arrive_goes_to_the_next_step_at_once(state: Remembered) -> None:
    made = open_one(TWO, state)
    TWO.hear(Lost(made.id), state, NOW + 10)
    assert told(TWO, state, 86_400) == [(10, ("chat",)), (610, ("mail",))]
    TWO.hear(Lost("of nothing"), state, NOW)
    assert left(state) == 0


def test_what_did_not_arrive_does_not_wake_who_snoozed_it(state: Remembered) -> None:
    made = open_one(TWO, state)
    TWO.hear(SnoozedEvent(made.id, NOW + 7200), state, NOW + 10)
    TWO.hear(Lost(made.id), state, NOW + 20)
    assert told(TWO, state, 86_400)[0] == (7200, ("chat",))


RESOLVES = {"kind": "data.live", "thread": "feed"}


def test_what_resolves_it_ends_it_and_goes_to_everybody_who_was_called_at_once(state: Remembered) -> None:
    made = open_one(TWO, state, thread="feed")
    open_one(TWO, state, thread="another feed")
    open_one(TWO, state)
    tick(TWO, state, NOW + 300)
    plan = Plan(channels=("mail",))
    decided = Resolutions(ENABLED)(alert(**RESOLVES), plan, state, NOW + 400)
    assert decided == Plan(channels=ENABLED, at_once=frozenset({"phone", "chat"}), ends=(made.id,))
    assert left(state) == 2
    assert Resolutions(ENABLED)(alert(**RESOLVES), plan, state, NOW + 500) == plan, "nothing is left to end"


def test_who_muted_a_channel_is_not_told_there_that_it_is_over(state: Remembered) -> None:
    open_one(TWO, state, thread="feed", plan=Plan(channels=("phone", "chat")))
    plan = Plan(channels=("chat",), muted=frozenset({"phone"}))
    decided = Resolutions(ENABLED)(alert(**RESOLVES), plan, state, NOW)
    assert isinstance(decided, Plan)
    assert decided.channels == ("chat",)


def test_what_says_that_it_is_over_ends_it_even_where_nobody_is_told(state: Remembered) -> None:
    open_one(TWO, state, thread="feed")
    Resolutions(ENABLED).overhear(alert(kind="custom", thread="feed"), state, NOW)
    assert left(state) == 1
    Resolutions(ENABLED).overhear(alert(**RESOLVES), state, NOW)
    assert left(state) == 0


def test_what_resolves_something_is_not_called_about_itself(state: Remembered) -> None:
    open_one(TWO, state, **RESOLVES)
    assert left(state) == 0


def test_without_a_thread_nothing_is_resolved(state: Remembered) -> None:
    open_one(TWO, state)
    Resolutions(ENABLED)(alert(kind="data.live"), Plan(), state, NOW)
    assert left(state) == 1


# Clocks and other processes --------------------------------------------------------------------------


@pytest.mark.parametrize("back", [120, 3600, 400 * 86_400])
def test_a_clock_that_went_back_does_not_put_it_off(state: Remembered, back: float) -> None:
    open_one(TWO, state)
    begin = NOW - back
    assert told(TWO, state, 86_400, now=begin) == [(300, ("chat",)), (900, ("mail",))]


def test_nor_where_another_alert_comes_first(state: Remembered) -> None:
    open_one(TWO, state, NOW)
    open_one(TWO, state, NOW - 86_400)
    assert told(TWO, state, 4000, now=NOW - 86_400) == [
        (300, ("chat",)),
        (300, ("chat",)),
        (900, ("mail",)),
        (900, ("mail",)),
    ]


@pytest.mark.parametrize("back", [120, 86_400])
def test_a_time_that_somebody_named_stays_the_same_when_the_clock_goes_back(state: Remembered, back: float) -> None:
    open_one(TWO, state, plan=Plan(channels=("phone",), due=NOW + 3600))
    made = open_one(TWO, state)
    TWO.hear(SnoozedEvent(made.id, NOW + 7200), state, NOW)
    found = told(TWO, state, 2 * 86_400, now=NOW - back)
    assert [at - back for at, _ in found] == [3900, 4500, 7200, 7800]


def test_after_a_long_absence_one_step_is_made_and_the_next_counts_from_then(state: Remembered) -> None:
    open_one(TWO, state)
    late = NOW + 3 * 86_400
    assert told(TWO, state, 86_400, now=late) == [(0, ("chat",)), (600, ("mail",))]


def test_what_another_process_has_the_rule_of_is_left_to_it_for_a_day(state: Remembered) -> None:
    theirs = rules(name="theirs")
    open_one(theirs, state)
    open_one(TWO, state)
    assert told(TWO, state, OTHERS) == [(300, ("chat",)), (900, ("mail",))], "it wakes for its own only"
    assert left(state) == 1
    assert told(theirs, state, 86_400, now=NOW + 1000) == [(0, ("chat",)), (600, ("mail",))]


def test_what_nobody_has_the_rule_of_is_given_up_after_a_day(state: Remembered) -> None:
    open_one(rules(name="theirs"), state)
    tick(TWO, state, NOW + 300 + OTHERS)
    assert left(state) == 1
    tick(TWO, state, NOW + 301 + OTHERS)
    assert left(state) == 0


def test_a_rule_that_has_fewer_steps_now_goes_on_with_those(state: Remembered) -> None:
    long = rules(ALICE, BOB, ALICE, BOB)
    open_one(long, state)
    tick(long, state, NOW + 300)
    tick(long, state, NOW + 900)
    assert [further.channels for further in tick(rules(ALICE), state, NOW + 1200)] == [("chat",)]
    assert left(state) == 0


def test_what_nobody_looked_at_is_forgotten_in_the_end(state: Remembered) -> None:
    open_one(TWO, state)
    state.forget(NOW + FORGOTTEN)
    assert left(state) == 1
    state.forget(NOW + 301 + FORGOTTEN)
    assert state.kept == {}


@given(
    events=st.lists(
        st.tuples(
            st.one_of(st.floats(0, 700), st.sampled_from([0.0, -3600.0, 7200.0])),
            st.sampled_from(["open", "open", "tick", "tick", "ack", "snooze", "lose", "theirs", "resolve"]),
        ),
        max_size=25,
    )
)
def test_it_always_wakes_in_time_for_what_is_open(events: list[tuple[float, str]]) -> None:
    """Whoever reads everything that is open, as a tick does, finds nothing earlier than what ``wakes`` says."""
    state, now, made, theirs = Remembered(), NOW, alert(thread="feed"), rules(name="theirs")
    for gap, what in events:
        now += gap
        state.forget(now)
        if what in ("open", "theirs"):
            made = open_one(TWO if what == "open" else theirs, state, now, thread="feed")
        elif what == "resolve":
            Resolutions(ENABLED).overhear(alert(**RESOLVES), state, now)
        else:
            event = {
                "tick": Tick(), "ack": Acknowledged(made.id), "snooze": SnoozedEvent(made.id, now + 900),
                "lose": Lost(made.id),
            }[what]  # fmt: skip
            TWO.hear(event, state, now)
        own = [waits["at"] for _, waits in state.items("escalation") if waits["rule"] == "e"]
        at = TWO.wakes(state, now)
        assert (at is not None and at <= max(now, min(own))) if own else True
        if what == "tick":
            assert at == min(own, default=None)
            assert at is None or at > now


def test_thousands_that_are_open_cost_nothing_while_nothing_is_due(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    with outbox.transaction() as tx:
        for _ in range(5000):
            TWO(alert(), Plan(channels=("phone",)), tx.state, NOW)
    reads = 0
    with outbox.transaction() as tx:
        items = tx.state.items

        def counted(rule: str) -> list[tuple[str, Any]]:
            nonlocal reads
            reads += 1
            return items(rule)

        tx.state.items = counted  # type: ignore[method-assign]  # to look on; it does what it did
        TWO(alert(), Plan(channels=("phone",)), tx.state, NOW + 1)
        assert TWO.wakes(tx.state, NOW + 1) == NOW + 300
    assert reads == 0, "what is open is not read to know when the next is due"
    outbox.close()


# In the planner --------------------------------------------------------------------------------------

PHONE_FIRST = """
routes: [{to: phone}]
escalation: [{when: {priority: high}, steps: [{after: 5m, to: chat}], repeat: 1}]
"""


def test_the_same_alert_again_is_called_about_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST)
    made = desk.emit(priority="high")
    desk.clock.advance(200)
    desk.take(*[entry_of(made)] * 2)
    desk.clock.advance(100)
    desk.planner.tick()
    assert channels_of(desk, made) == ["phone", "chat"]
    desk.close()


def test_who_acknowledges_in_the_very_second_in_which_it_would_go_further_is_heard(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST)
    made = desk.emit(priority="high")
    desk.clock.advance(300)
    desk.take(Ack(made.id))
    desk.planner.tick()
    assert channels_of(desk, made) == ["phone"]
    desk.close()


def test_what_quiet_hours_keep_in_the_history_is_called_about_to_nobody(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST + "quiet_hours: [{hours: 07:00-09:00, channels: phone, then: record}]\n")
    made = desk.emit(priority="high")
    desk.clock.advance(300)
    desk.planner.tick()
    assert desk.stored(made).reason == Reason.QUIET_RECORD
    assert channels_of(desk, made) == []
    desk.close()


def test_nobody_is_called_about_what_nobody_could_see_because_of_quiet_hours(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST + "quiet_hours: [{hours: 07:00-09:00, channels: phone}]\n")
    made = desk.emit(priority="high")
    desk.clock.advance(3600)  # it is nine
    desk.planner.tick()
    assert channels_of(desk, made) == ["phone"]
    desk.clock.advance(300)
    desk.planner.tick()
    assert channels_of(desk, made) == ["phone", "chat"]
    desk.close()


def test_a_step_to_a_channel_that_is_muted_is_noted_as_that_and_nothing_else(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST + "quiet_hours: [{hours: 12:00-13:00}]\n")
    made = desk.emit(priority="high")
    desk.take(Muted({"channel": "chat"}, NOW + 3600))
    desk.clock.advance(300)
    desk.planner.tick()
    stored = desk.stored(made)
    assert channels_of(desk, made) == ["phone"]
    assert {Reason.ESCALATED, Reason.MUTED} <= stored.reasons
    assert Reason.QUIET_RECORD not in stored.reasons
    desk.close()


def test_snooze_holds_for_the_planner_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, PHONE_FIRST)
    made = desk.emit(priority="high")
    desk.take(Snoozed(made.id, NOW + 3600))
    desk.clock.advance(3599)
    desk.planner.tick()
    assert "chat" not in channels_of(desk, made)
    desk.clock.advance(1)
    desk.planner.tick()
    assert "chat" in channels_of(desk, made)
    desk.close()


def entry_of(made: Alert) -> Any:
    return Accepted(made, 0.0)


def channels_of(desk: Desk, made: Alert) -> list[str]:
    return [channel for channel, *_ in desk.stored(made).deliveries]


def test_in_words() -> None:
    assert rules(repeat=3).rules[0].words == "after 5 min to chat, after 10 min to mail; 3 times again"
