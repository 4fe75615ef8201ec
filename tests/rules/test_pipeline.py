"""What holds for the rules together, whatever somebody writes into the settings, and whatever the clock does.

A critical alert is never silenced by a rule that nobody told to. What is decided follows from alert, memory and time
alone, and from nothing that a process would lose when it ends.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_kit import BEGIN, CHANNELS, Uncopied, alerts, gaps, restarted, rule_settings
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert, Priority, Source
from bt_alerts.kinds import Setting
from bt_alerts.outbox.base import AlertState, RuleState
from bt_alerts.rules.escalation import Escalation, Step
from bt_alerts.rules.pipeline import RuleSettings, build, decide, further, hear, wakes
from bt_alerts.rules.stage import (
    Acknowledged,
    Event,
    Further,
    Lost,
    Muted,
    Plan,
    Reason,
    Snoozed,
    Stage,
    Tick,
    Verdict,
)

Story = Sequence[tuple[float, Alert | str]]
WORDS = ("tick", "acknowledge", "snooze", "lose", "mute", "unmute")
story = st.lists(st.tuples(gaps, st.one_of(alerts(), alerts(), st.sampled_from(WORDS))), max_size=12)
# Whole pipelines are drawn, which takes long.
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def event_of(word: str, last: str, now: float) -> Event:
    return {
        "tick": Tick(lambda id_: id_.endswith("3")),
        "acknowledge": Acknowledged(last),
        "snooze": Snoozed(last, now + 900),
        "lose": Lost(last),
        "mute": Muted({"symbol": "AAPL"}, now + 600),
        "unmute": Muted({"symbol": "AAPL"}, 0.0),
    }[word]


def live(stages: Sequence[Stage], told: Story, state: RuleState, *, restarts: bool = False) -> list[Any]:
    """What is decided, one event after the other."""
    now, last, found = BEGIN, "", []
    for gap, what in told:
        now += gap
        if restarts:
            assert isinstance(state, Remembered)
            state = restarted(state)
        state.forget(now)
        if isinstance(what, Alert):
            decided = decide(stages, what, state, now)
            found.append((decided, decided.trail))
            last = what.id
        else:
            decisions = hear(stages, event_of(what, last, now), state, now)
            found.append(decisions)
            for each in decisions:
                if isinstance(each, Further):
                    found.append(further(stages, alert_of(told, each.alert), each.channels, state, now))
        found.append(wakes(stages, state, now))
    return found


def alert_of(told: Story, id_: str) -> Alert:
    return next(what for _, what in told if isinstance(what, Alert) and what.id == id_)


@quick
@given(rules=rule_settings, before=story, critical=alerts(Priority.CRITICAL), gap=gaps)
def test_no_rule_holds_back_a_critical_alert_unless_somebody_says_so(
    rules: RuleSettings, before: Story, critical: Alert, gap: float
) -> None:
    stages, state = build(rules), Remembered()
    told = [(gap, what) for gap, what in before if what != "mute"]
    live(stages, [(gap, of_no_critical_action(what)) for gap, what in told], state)
    now = BEGIN + sum(gap for gap, _ in told) + gap
    decided = decide(stages, critical, state, now)
    assert isinstance(decided, Plan), decided
    assert decided.channels
    assert not decided.batches, "it waits for nothing"
    assert decided.due <= now


def of_no_critical_action(what: Alert | str) -> Alert | str:
    """Of two critical alerts about one action the second is no news."""
    return what.replace(action="") if isinstance(what, Alert) and what.priority is Priority.CRITICAL else what


@quick
@given(rules=rule_settings, told=story)
def test_no_rule_fails_whatever_alerts_hold_and_wherever_the_clock_goes(rules: RuleSettings, told: Story) -> None:
    for decided in live(build(rules), told, Remembered()):
        if isinstance(decided, tuple):
            assert Reason.RULE_BROKEN not in {note.reason for note in decided[1]}, decided


@quick
@given(rules=rule_settings, told=story)
def test_what_is_decided_is_the_same_after_a_restart_between_any_two_events(rules: RuleSettings, told: Story) -> None:
    at_once = live(build(rules), told, Uncopied())
    assert live(build(rules), told, Remembered(), restarts=True) == at_once
    assert live(build(rules), told, Remembered()) == at_once


@quick
@given(rules=rule_settings, before=story, alert=alerts(), gap=gaps)
def test_a_decision_follows_from_alert_memory_and_time_and_changes_nothing_else(
    rules: RuleSettings, before: Story, alert: Alert, gap: float
) -> None:
    stages, state = build(rules), Remembered()
    live(stages, before, state)
    now = BEGIN + gap
    as_it_was, again = copy.deepcopy(alert.to_json()), restarted(state)
    first = decide(stages, alert, state, now)
    second = decide(stages, alert, again, now)
    assert (first, first.trail) == (second, second.trail)
    assert state.kept == again.kept
    assert alert.to_json() == as_it_was


@quick
@given(rules=rule_settings, before=story, alert=alerts(), gap=gaps)
def test_a_stage_does_not_change_the_plan_that_it_was_given(
    rules: RuleSettings, before: Story, alert: Alert, gap: float
) -> None:
    stages, state = build(rules), Remembered()
    live(stages, before, state)
    plan: Plan | Verdict = Plan()
    for stage in stages:
        assert isinstance(plan, Plan)
        given_one, shown = plan, copy.deepcopy(plan)
        plan = stage(alert, plan, state, BEGIN + gap)
        assert (given_one, given_one.trail) == (shown, shown.trail)
        if isinstance(plan, Verdict):
            break


@quick
@given(rules=rule_settings, before=story, alert=alerts(), gap=gaps)
def test_to_all_rules_but_the_one_that_held_it_back_it_is_as_if_the_alert_had_not_come(
    rules: RuleSettings, before: Story, alert: Alert, gap: float
) -> None:
    stages, state = build(rules), Remembered()
    live(stages, before, state)
    was, alone = dict(state.kept), restarted(state)
    asked: list[Stage] = []
    decided = decide(stages, alert, state, BEGIN + gap, watch=lambda stage, *_: asked.append(stage))
    if isinstance(decided, Verdict):
        asked[-1](alert, Plan(), alone, BEGIN + gap)
        learned = {key for key, value in state.kept.items() if was.get(key) != value}
        own = {key for key, value in alone.kept.items() if was.get(key) != value}
        assert {rule for rule, _ in learned - own} <= {"action"}, "which the next tellers of the action ask for"
        forgotten = {rule for rule, _ in set(was) - set(state.kept) - (set(was) - set(alone.kept))}
        assert forgotten <= {"inhibit", "escalation", "called", "level"}, "what is over is over"


def test_what_is_recorded_as_old_ends_nothing_that_goes_on_now() -> None:
    stages, state = build(RuleSettings(channels=CHANNELS)), Remembered()
    down = Alert.make("down", kind="data.disconnected", type="data", symbol="AAPL")
    silent = Alert.make("silent", kind="data.silent", type="data", symbol="AAPL", priority="high")
    decide(stages, down, state, NOW)
    old = Alert.make("live", kind="data.live", type="data", symbol="AAPL", source=Source.HISTORY)
    decide(stages, old, state, NOW)
    inhibited = Verdict(AlertState.SUPPRESSED, Reason.INHIBITED, "feed disconnected")
    assert decide(stages, silent, state, NOW) == inhibited


def test_an_end_that_is_muted_or_recorded_is_one_all_the_same() -> None:
    for rules in (
        RuleSettings(channels=CHANNELS),
        RuleSettings(channels=CHANNELS, events={"data.live": Setting.RECORD}),
    ):
        stages, state = build(rules), Remembered()
        about = {"type": "data", "symbol": "AAPL", "thread": "feed"}
        decide(stages, Alert.make("down", kind="data.disconnected", **about), state, NOW)
        hear(stages, Muted({"symbol": "AAPL"}, NOW + 60), state, NOW)
        assert isinstance(decide(stages, Alert.make("live", kind="data.live", **about), state, NOW + 30), Verdict)
        silent = decide(stages, Alert.make("silent", kind="data.silent", **about), state, NOW + 90)
        assert isinstance(silent, Plan), "it is away once more, and nobody was told why"


def test_a_rule_that_fails_where_it_only_overhears_harms_nobody() -> None:
    class Faulty:
        def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
            return plan

        def overhear(self, alert: Alert, state: RuleState, now: float) -> None:
            raise ZeroDivisionError

    stages = [*build(RuleSettings(channels=())), Faulty()]
    assert decide(stages, Alert.make("x"), Remembered(), NOW) == Verdict(AlertState.RECORDED, Reason.NO_CHANNEL)


def test_mode_record_calls_nobody_about_what_is_open() -> None:
    rules = RuleSettings(
        channels=CHANNELS, escalation=(Escalation(name="e", through=None, steps=(Step(60.0, ("chat",)),)),)
    )
    state = Remembered()
    decide(build(rules), Alert.make("x"), state, NOW)
    quiet = build(dataclasses.replace(rules, mode="record"))
    assert hear(quiet, Tick(), state, NOW + 120) == []
    assert hear(build(rules), Tick(), state, NOW + 120) != []


def test_a_lost_connection_is_no_excuse_where_nothing_would_tell_that_it_is_back() -> None:
    rules = RuleSettings(channels=CHANNELS, events={"data.live": Setting.OFF})
    names = [getattr(stage, "name", "") for stage in build(rules)]
    assert "feed disconnected" not in names
    assert "feed disconnected" in [getattr(stage, "name", "") for stage in build(dataclasses.replace(rules, events={}))]


def test_of_one_action_a_critical_alert_is_told_as_well_and_a_second_one_is_not() -> None:
    stages, state = build(RuleSettings(channels=CHANNELS)), Remembered()
    told_before = Verdict(AlertState.RECORDED, Reason.TOLD_BY_ACTION)
    decided = [
        decide(stages, Alert.make("fill", action="fill 1", priority=priority), state, NOW) != told_before
        for priority in ("medium", "high", "critical", "critical", "medium")
    ]
    assert decided == [True, False, True, False, False]
