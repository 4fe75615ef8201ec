"""A rule that fails is passed over: the alert goes on, wherever the rule stands, and the fault is told once an hour."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from planner_kit import Desk
from rules_kit import NOW

from bt_alerts.alert import Alert
from bt_alerts.delivery.planner import Planner
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.explain import Did, Overlay, explain
from bt_alerts.rules.pipeline import RuleSettings, build
from bt_alerts.rules.stage import Plan, Reason, Stage, Verdict, name_of

RULES = """
routes: [{when: {type: order}, to: [chat]}]
rules:
  maintenance: [{until: 2027-01-01}]
  inhibit: [{cause: {kind: a}, ends: {kind: b}}]
  at_least: [{field: pnl, least: 1}]
  levels: [{field: level, above: 1}]
  once_per_bar: [{}]
  repeats: [{within: 1s}]
  cooldown: [{every: 1s}]
quiet_hours: [{hours: 07:00-09:00}]
digests: [{at: "18:00"}, {at: "19:00", report: daily}]
escalation: [{when: {priority: critical}, steps: [{after: 5m, to: phone}]}]
"""


def faulty(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
    raise ZeroDivisionError("of a rule")


def planner_with(change: Callable[[list[Stage]], list[Stage]]) -> type[Planner]:
    """A planner whose pipeline is changed, and nothing else."""

    class Changed(Planner):
        def _current_stages(self) -> list[Stage]:
            return change(super()._current_stages())

    return Changed


def length(tmp_path: Path) -> int:
    desk = Desk(tmp_path, RULES)
    try:
        return len(desk.stages)
    finally:
        desk.close()


@pytest.mark.parametrize("instead", [False, True], ids=["one more", "in its place"])
def test_wherever_a_rule_fails_a_critical_alert_goes_to_all_channels_and_the_fault_is_told_once_an_hour(
    tmp_path: Path, instead: bool
) -> None:
    for place in range(length(tmp_path) + (not instead)):
        folder = tmp_path / str(place)
        folder.mkdir()

        def change(stages: list[Stage], place: int = place) -> list[Stage]:
            if instead:
                return [failing(stage) if i == place else stage for i, stage in enumerate(stages)]
            return [*stages[:place], faulty, *stages[place:]]

        desk = Desk(folder, RULES, planner=planner_with(change))
        for _ in range(3):
            made = desk.emit(message=str(desk.clock()), priority="critical")
            stored = desk.stored(made)
            assert [(channel, due <= NOW + 60) for channel, due, _ in stored.deliveries] == [
                ("phone", True), ("chat", True),
            ], (place, stored)  # fmt: skip
            (fault,) = [note for note in stored.trail if note.reason is Reason.RULE_BROKEN]
            assert fault.about == "ZeroDivisionError"
            desk.clock.advance(20)
        assert told(desk) == [f"The rule {fault.rule} does not work"], place
        desk.clock.advance(3600)
        desk.emit(message="later", priority="critical")
        assert told(desk) == [f"The rule {fault.rule} does not work"] * 2, place
        desk.close()


def failing(real: Stage) -> Stage:
    """A stage that fails, and is otherwise what the real one is."""
    if not dataclasses.is_dataclass(real):

        def stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
            return faulty(alert, plan, state, now)

        stage.__name__ = name_of(real)
        return stage
    kind = type(real)
    changed: Stage = object.__new__(
        type(f"Faulty{kind.__name__}", (kind,), {"__call__": lambda _, *what: faulty(*what)})
    )
    for field in dataclasses.fields(real):
        object.__setattr__(changed, field.name, getattr(real, field.name))
    return changed


def told(desk: Desk) -> list[str]:
    """The titles of the alerts about a broken rule that are to be delivered."""
    rows = desk.outbox.rows("SELECT body FROM alerts WHERE kind = 'rule.broken' AND state = 'planned' ORDER BY seq")
    return [Alert.from_json(body).title for (body,) in rows]


def test_the_explanation_names_the_rule_that_failed(tmp_path: Path) -> None:
    found = explain([*build(RuleSettings(channels=("a",))), faulty], Alert.make("x"), Overlay(), NOW)
    assert (found.steps[-1].stage, found.steps[-1].did) == ("faulty", Did.BROKEN)
    assert "a rule failed, and it went on without that rule (faulty; ZeroDivisionError)" in found.steps[-1].words
    assert [going.channel for going in found.goes] == ["a"]


def test_a_route_that_fails_sends_to_every_channel_but_those_that_are_muted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RULES)
    stages = [failing(stage) if name_of(stage) == "route" else stage for stage in desk.stages]
    memory = Overlay()
    memory.put("mute", '{"channel": "phone"}', NOW + 60)
    found = explain(stages, desk.make(priority="critical"), memory, NOW)
    assert [going.channel for going in found.goes] == ["chat"]
    desk.close()


@pytest.mark.parametrize("broken", ["mutes", "quiet hours"])
def test_an_escalation_goes_further_where_a_rule_fails(tmp_path: Path, broken: str) -> None:
    def change(stages: list[Stage]) -> list[Stage]:
        return [failing(stage) if name_of(stage) == broken else stage for stage in stages]

    desk = Desk(tmp_path, RULES, planner=planner_with(change))
    made = desk.emit(priority="critical", channels=["chat"])
    desk.clock.advance(301)
    desk.planner.tick()
    stored = desk.stored(made)
    assert [(channel, reason) for channel, _, reason in stored.deliveries] == [("chat", ""), ("phone", "escalated")]
    assert [note.rule for note in stored.trail if note.reason is Reason.RULE_BROKEN] == [broken] * 2
    desk.close()


def test_a_fault_of_the_store_is_not_taken_for_one_of_a_rule() -> None:
    def full(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        raise StoreError("full")

    with pytest.raises(StoreError):
        explain([full], Alert.make("x"), Overlay(), NOW)
