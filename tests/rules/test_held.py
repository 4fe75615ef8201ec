"""What one rule held back counts for no other: nobody was told of it."""

from __future__ import annotations

import pytest
from alerts_kit import alert
from rules_kit import NOW, Remembered

from bt_alerts.rules import pipeline
from bt_alerts.rules.inhibit import DISCONNECTED
from bt_alerts.rules.material import Level
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.rules.route import Route
from bt_alerts.rules.stage import Plan, Reason, Verdict
from bt_alerts.rules.throttle import SAME_KIND, SAME_TEXT, Throttle
from bt_alerts.rules.when import When

REPEATS = Throttle(name="same", seconds=21_600.0, key=SAME_TEXT, reason=Reason.REPEATED)
COOLDOWN = Throttle(name="calm", seconds=600.0, key=SAME_KIND, reason=Reason.COOLDOWN)
LEVEL = Level(name="ten", field="drawdown", level=10.0, back=8.0, rising=True, key=("symbol",))
NOWHERE = Route(name="nowhere", when=When(symbols=("quiet",)), through=None)


def told(state: Remembered, at: float, settings: RuleSettings, **fields: object) -> Reason | None:
    """None where it is told, else why it is not."""
    now = NOW + at
    state.forget(now)
    decision = pipeline.decide(pipeline.build(settings), alert(**{"kind": "custom", **fields}), state, now)
    return decision.reason if isinstance(decision, Verdict) else None


def test_what_a_cooldown_held_back_is_no_repeat_afterwards(state: Remembered) -> None:
    rules = RuleSettings(channels=("phone",), noise=(REPEATS, COOLDOWN))
    assert told(state, 0, rules, message="one") is None
    assert told(state, 60, rules, message="two") is Reason.COOLDOWN
    assert told(state, 900, rules, message="two") is None, "nobody was told of it yet"
    assert told(state, 1_800, rules, message="two") is Reason.REPEATED


def test_a_level_that_was_crossed_in_a_cooldown_is_told_after_it(state: Remembered) -> None:
    rules = RuleSettings(channels=("phone",), noise=(LEVEL, COOLDOWN))
    assert told(state, 0, rules) is None
    assert told(state, 60, rules, data={"drawdown": 12}) is Reason.COOLDOWN
    assert told(state, 900, rules, data={"drawdown": 13}) is None
    assert told(state, 1_800, rules, data={"drawdown": 14}) is Reason.SAME_LEVEL


def test_what_a_route_sends_nowhere_begins_no_cooldown(state: Remembered) -> None:
    calm = Throttle(name="calm", seconds=600.0, key=("kind",), reason=Reason.COOLDOWN)
    rules = RuleSettings(channels=("phone",), noise=(calm,), routes=(NOWHERE,))
    assert told(state, 0, rules, symbol="quiet") is Reason.NOWHERE
    assert told(state, 1, rules, symbol="loud") is None


@pytest.mark.parametrize("cause_is_told", [True, False])
def test_a_cause_that_nobody_was_told_of_excuses_nothing(state: Remembered, cause_is_told: bool) -> None:
    rules = RuleSettings(channels=("phone",), routes=() if cause_is_told else (NOWHERE,))
    assert DISCONNECTED in pipeline.build(rules)
    told(state, 0, rules, kind="data.disconnected", type="data", symbol="quiet")
    silent = told(state, 60, RuleSettings(channels=("phone",)), kind="data.silent", type="data", symbol="quiet")
    assert silent is (Reason.INHIBITED if cause_is_told else None)


def test_what_is_over_is_over_whether_or_not_it_was_told(state: Remembered) -> None:
    rules = RuleSettings(channels=("phone",), noise=(COOLDOWN,))
    assert told(state, 0, rules, kind="data.disconnected", type="data", symbol="A") is None
    assert told(state, 1, rules, kind="data.live", type="data", symbol="B") is None
    assert told(state, 2, rules, kind="data.live", type="data", symbol="A") is None
    assert told(state, 3, rules, kind="data.silent", type="data", symbol="A") is None


def test_a_scheduled_alert_is_judged_by_the_time_that_it_is_for(state: Remembered) -> None:
    morning = NOW - NOW % 86_400 + 8 * 3_600
    from bt_alerts.hours import read_hours
    from bt_alerts.rules.maintenance import Maintenance

    rules = RuleSettings(
        channels=("phone", "chat"),
        maintenance=(Maintenance(name="work", hours=(read_hours("07:00-09:00"),)),),
        routes=(Route(name="evening", when=When(hours=(read_hours("19:00-21:00"),)), through=None, to=("chat",)),),
    )
    stages = pipeline.build(rules)
    assert isinstance(pipeline.decide(stages, alert(), state, morning), Verdict)
    plan = pipeline.decide(stages, alert(), state, morning, due=morning + 12 * 3_600)
    assert isinstance(plan, Plan)
    assert plan.channels == ("chat",)
