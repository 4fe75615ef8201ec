"""Escalation: what nobody acknowledges goes further, step by step, until somebody does or there is no step left.

It begins with an alert that is delivered. It ends with an acknowledgement, wherever that came from; with an alert that
*resolves* it (the feed is back), which goes wherever the first one went; or after the last step. One that could not
be delivered goes to the next step at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.compose import duration
from bt_alerts.kinds import resolves
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Aim
from bt_alerts.rules.stage import (
    Acknowledged,
    Decision,
    Event,
    Further,
    Listener,
    Lost,
    Note,
    Plan,
    Reason,
    Snoozed,
    Tick,
    Verdict,
)

OTHERS = 86_400.0  # seconds for which a step is left to a process whose settings have its rule


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Where an alert goes next.

    Args:
        after: seconds without an acknowledgement, since the step before.
        to: channels.
    """

    after: float
    to: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Escalation(Aim):
    """One escalation.

    Args:
        steps: in order; at least one.
        repeat: how often all steps are gone through again.
    """

    steps: tuple[Step, ...]
    repeat: int = 0

    @property
    def words(self) -> str:
        steps = ", ".join(f"after {duration(step.after)} to {' and '.join(step.to)}" for step in self.steps)
        return f"{steps}; {self.repeat} times again" if self.repeat else steps


@dataclasses.dataclass(frozen=True, slots=True)
class Escalations(Listener):
    """All escalations: the first that is about an alert takes it.

    Args:
        rules: in the order of settings.
        enabled: names of the channels.
    """

    rules: Sequence[Escalation]
    enabled: tuple[str, ...]
    name: str = "escalation"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        if resolves(alert):
            return self._close(alert, plan, state)
        rule = next((rule for rule in self.rules if not rule.why_not(alert, now)), None)
        if rule is None:
            return plan
        at = max(now, plan.due) + rule.steps[0].after
        open_one = {"rule": rule.name, "turn": 0, "at": at, "thread": alert.thread, "told": list(plan.channels)}
        state.put("escalation", alert.id, open_one)
        return plan.noted(Note(Reason.ESCALATES, rule.name, until=at, about=", ".join(rule.steps[0].to)))

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each rule its name, and why it is not about an alert."""
        return [(rule.name, rule.why_not(alert, now)) for rule in self.rules]

    def hear(self, event: Event, state: RuleState, now: float) -> list[Decision]:
        """Go further with what nobody acknowledged; end what somebody did."""
        match event:
            case Acknowledged(alert):
                state.drop("escalation", alert)
            case Snoozed(alert, until):
                waits = state.get("escalation", alert)
                if waits is not None:  # they have seen it, and want to think of it later
                    state.put("escalation", alert, {**waits, "at": max(waits["at"], until)})
            case Lost(alert):
                waits = state.get("escalation", alert)
                if waits is not None:
                    state.put("escalation", alert, {**waits, "at": now})
            case Tick(acknowledged):
                due = [(key, waits) for key, waits in state.items("escalation") if waits["at"] <= now]
                found: list[Decision] = []
                for alert, waits in sorted(due, key=lambda pair: (pair[1]["at"], pair[0])):
                    rule = self._rule(waits)
                    if acknowledged(alert) or (rule is None and waits["at"] < now - OTHERS):
                        state.drop("escalation", alert)
                    elif rule is not None:
                        found.append(self._go_further(alert, rule, waits, state, now))
                return found
            case _:
                pass
        return []

    def wakes(self, state: RuleState, now: float) -> float | None:
        """When the next step is due."""
        if not self.rules:
            return None
        return min((waits["at"] for _, waits in state.items("escalation") if self._rule(waits)), default=None)

    def _rule(self, waits: dict[str, Any]) -> Escalation | None:
        """The rule that took it; None where another process has it, or nobody any more."""
        return next((rule for rule in self.rules if rule.name == waits["rule"]), None)

    def _go_further(self, alert: str, rule: Escalation, waits: dict[str, Any], state: RuleState, now: float) -> Further:
        turn = int(waits["turn"])
        step = rule.steps[turn % len(rule.steps)]
        if turn + 1 < len(rule.steps) * (rule.repeat + 1):
            at = now + rule.steps[(turn + 1) % len(rule.steps)].after
            told = list(dict.fromkeys([*waits["told"], *step.to]))
            state.put("escalation", alert, {**waits, "turn": turn + 1, "at": at, "told": told})
        else:
            state.drop("escalation", alert)
        note = Note(Reason.ESCALATED, rule.name, about=f"{', '.join(step.to)}, after {duration(step.after)}")
        return Further(alert, tuple(name for name in step.to if name in self.enabled), turn, note)

    def _close(self, alert: Alert, plan: Plan, state: RuleState) -> Plan:
        """End what an alert resolves. Who was called because of it hears so at once, even in quiet hours."""
        told: list[str] = []
        ended: list[str] = []
        for key, waits in state.items("escalation"):
            if waits["thread"] == alert.thread:
                state.drop("escalation", key)
                ended.append(key)
                told += waits["told"]
        also = frozenset(told) & frozenset(self.enabled)
        if not ended:
            return plan
        channels = tuple(name for name in self.enabled if name in also or name in plan.channels)
        return plan.noted(
            Note(Reason.RESOLVES, about=", ".join(channels)),
            channels=channels,
            at_once=plan.at_once | also,
            ends=tuple(ended),
        )
