"""Every named reason is given by the real planner on a real store, and is shown in words by ``route --explain``.

What the explanation says before an alert comes is what the planner then decides, and explaining changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from planner_kit import Desk
from rules_kit import NOW

from bt_alerts.alert import Alert, Source, as_utc
from bt_alerts.cli import app
from bt_alerts.outbox.base import RuleState
from bt_alerts.outbox.entries import Accepted, Muted
from bt_alerts.rules.base import Rule
from bt_alerts.rules.explain import Did
from bt_alerts.rules.stage import Plan, Reason, Verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Faulty(Rule):
    """A rule that always fails."""

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        raise ZeroDivisionError


@dataclasses.dataclass(frozen=True)
class Scenario:
    """How a reason comes about.

    Args:
        fields: of the alert that gets it.
        rules: settings.
        before: what happens first.
        due: when the alert is to go, in seconds from now.
        after: what happens then.
        rule: which rule gave the reason.
        more: a rule that no settings can ask for.
    """

    fields: dict[str, object] = dataclasses.field(default_factory=dict)
    rules: str = ""
    before: Callable[[Desk], object] = lambda desk: None
    due: float = 0.0
    after: Callable[[Desk], object] = lambda desk: None
    rule: str = ""
    more: tuple[Rule, ...] = ()


def first(**fields: object) -> Callable[[Desk], object]:
    return lambda desk: desk.emit(**fields)


def five_minutes(desk: Desk) -> None:
    desk.clock.advance(300)
    desk.planner.tick()


PRICE = {"kind": "data.silent", "type": "data", "symbol": "AAPL", "priority": "high"}
ESCALATION = "escalation: [{when: {priority: high}, steps: [{after: 5m, to: phone}]}]"

SCENARIOS = {
    Reason.HISTORY: Scenario({"source": Source.HISTORY}),
    Reason.MODE_RECORD: Scenario(rules="mode: record"),
    Reason.EVENT_RECORD: Scenario({"kind": "order.submitted", "type": "order"}),
    Reason.TOLD_BY_ACTION: Scenario({"action": "fill 1"}, before=first(action="fill 1")),
    Reason.DUPLICATE: Scenario({"dedupe_key": "k"}, before=first(dedupe_key="k")),
    Reason.MUTED: Scenario(
        {"symbol": "AAPL"}, before=lambda desk: desk.take(Muted({"symbol": "AAPL"}, desk.clock() + 60))
    ),
    Reason.NO_CHANNEL: Scenario({"channels": ["pager"]}),
    Reason.NOWHERE: Scenario({"symbol": "X"}, "routes: [{when: {symbol: X}, to: []}]", rule="route 1"),
    Reason.MAINTENANCE: Scenario(rules="rules: {maintenance: [{until: 2027-01-16}]}", rule="maintenance 1"),
    Reason.INHIBITED: Scenario(
        PRICE, before=first(kind="data.disconnected", type="data", symbol="AAPL"), rule="feed disconnected"
    ),
    Reason.IMMATERIAL: Scenario(
        {"data": {"pnl": -5}}, "rules: {at_least: [{field: pnl, least: 100}]}", rule="at_least 1"
    ),
    Reason.SAME_LEVEL: Scenario(
        {"data": {"drawdown": 12}},
        "rules: {levels: [{name: deep, field: drawdown, above: 10}]}",
        before=first(data={"drawdown": 11}),
        rule="deep",
    ),
    Reason.ONCE_PER_BAR: Scenario(
        {"bar_time": as_utc(NOW)}, "rules: {once_per_bar: [{}]}", before=first(bar_time=as_utc(NOW)),
        rule="once_per_bar 1",
    ),
    Reason.REPEATED: Scenario(rules="rules: {repeats: [{within: 10m}]}", before=first(), rule="repeats 1"),
    Reason.COOLDOWN: Scenario(
        {"message": "another"}, "rules: {cooldown: [{every: 1h}]}", before=first(), rule="cooldown 1"
    ),
    Reason.QUIET_RECORD: Scenario(rules="quiet_hours: [{hours: 07:00-09:00, then: record}]", rule="quiet_hours 1"),
    Reason.SCHEDULED: Scenario(due=600.0),
    Reason.QUIET_HOURS: Scenario(
        rules="quiet_hours: [{name: morning, hours: 07:00-09:00, channels: phone}]", rule="morning"
    ),
    Reason.DIGEST: Scenario(rules="""digests: [{name: evening, at: "18:00"}]""", rule="evening"),
    Reason.BATCH: Scenario(rules="delivery: {enable_batching: true}"),
    Reason.ROUTED: Scenario({"type": "order"}, "routes: [{when: {type: order}, to: chat}]", rule="route 1"),
    Reason.FAILED_OVER: Scenario(
        {"priority": "high", "channels": ["phone"]}, before=lambda desk: desk.disable("phone")
    ),
    Reason.ESCALATES: Scenario({"priority": "high"}, ESCALATION, rule="escalation 1"),
    Reason.ESCALATED: Scenario({"priority": "high"}, ESCALATION, after=five_minutes, rule="escalation 1"),
    Reason.RESOLVES: Scenario(
        {"kind": "data.live", "type": "data", "thread": "feed"},
        ESCALATION,
        before=first(kind="data.disconnected", type="data", thread="feed", priority="high"),
    ),
    Reason.RULE_BROKEN: Scenario(more=(Faulty(name="mine"),), rule="mine"),
}  # fmt: skip


@pytest.fixture
def desk_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Scenario], Desk]]:
    monkeypatch.setenv("COLUMNS", "300")
    made: list[Desk] = []

    def make(scenario: Scenario) -> Desk:
        made.append(Desk(tmp_path, scenario.rules, more=scenario.more))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


def command(*arguments: str) -> str:
    """What a command says, without the line breaks of tables."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
        app(list(arguments), prog_name="bt-alerts")
    return " ".join(out.getvalue().split())


def test_there_is_a_scenario_for_every_reason_and_words_for_it() -> None:
    assert set(SCENARIOS) == set(Reason)
    assert all(len(reason.words.split()) >= 3 for reason in Reason)
    assert len({reason.words for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_the_planner_gives_the_reason_and_the_command_line_shows_it_in_words(
    desk_of: Callable[[Scenario], Desk], reason: Reason
) -> None:
    scenario = SCENARIOS[reason]
    desk = desk_of(scenario)
    scenario.before(desk)
    made = desk.make(**scenario.fields)
    desk.take(Accepted(made, NOW + scenario.due if scenario.due else 0.0))
    scenario.after(desk)
    stored = desk.stored(made)
    assert reason in stored.reasons
    if scenario.rule:
        assert scenario.rule in {stored.rule, *(note.rule for note in stored.trail if note.reason is reason)}
    said = command("route", made.id, "--explain", "-c", str(desk.file))
    assert reason.words in said
    assert scenario.rule in said
    why = command("history", "--why", "-c", str(desk.file))
    assert reason.words in why


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ESCALATED])
def test_the_explanation_is_what_the_planner_then_does_and_changes_nothing(
    desk_of: Callable[[Scenario], Desk], reason: Reason
) -> None:
    scenario = SCENARIOS[reason]
    desk = desk_of(scenario)
    scenario.before(desk)
    made, due = desk.make(**scenario.fields), NOW + scenario.due if scenario.due else 0.0
    memory = desk.memory()
    told = desk.explain(made, due)
    assert desk.memory() == memory
    desk.take(Accepted(made, due))
    stored = desk.stored(made)
    assert (told.state, told.reason or "", told.rule) == (stored.state, stored.reason, stored.rule)
    assert list(told.trail) == stored.trail
    planned = [(channel, at if at > NOW else None, why) for channel, at, why in stored.deliveries]
    assert [(going.channel, going.at, going.reason or "") for going in told.goes] == planned
    given = {each for step in told.steps for each in step.reasons} | {going.reason for going in told.goes}
    assert reason in given | {told.reason}
    assert [step.did for step in told.steps].count(Did.ENDED) == (0 if told.goes else 1)
