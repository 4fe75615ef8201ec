"""Scheduled reports: at set times, a summary of the time before. A time that was missed is made up for, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bt_alerts.alert import Alert
from bt_alerts.hours import Moment
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Decision, Event, Listener, Plan, Tick, ToReport, Verdict
from bt_alerts.rules.when import moment_words

DAILY, WEEKLY = "daily", "weekly"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """One report.

    Args:
        name: as settings call it.
        period: ``daily`` or ``weekly``.
        at: when it is made. It is about the time since the one before: that of a Monday about the weekend too.
        channels: where to.
    """

    name: str
    period: str
    at: Moment
    channels: tuple[str, ...]

    @property
    def words(self) -> str:
        """What it does, in a few words."""
        to = f" to {', '.join(self.channels)}" if self.channels else ""
        return f"a {self.period} report at {moment_words(self.at)}{to}"


@dataclasses.dataclass(frozen=True, slots=True)
class Reports(Listener):
    """All reports.

    Args:
        rules: in the order of settings.
    """

    rules: Sequence[Report]
    name: str = "reports"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """Alerts pass."""
        return plan

    def hear(self, event: Event, state: RuleState, now: float) -> list[Decision]:
        """Make the reports whose time has come. The first time only begins to count."""
        if not isinstance(event, Tick):
            return []
        found: list[Decision] = []
        for rule in self.rules:
            made = state.get("report", rule.name)
            until = rule.at.last(now)
            if made is None or made > now:  # never before, or a clock went back
                state.put("report", rule.name, now)
            elif until > made:
                since = rule.at.last(until - 1.0)  # not since `made`: in the months before perhaps nothing ran
                found.append(ToReport(rule.name, rule.period, since, until, rule.at.zone, rule.channels))
                state.put("report", rule.name, until)
        return found

    def wakes(self, state: RuleState, now: float) -> float | None:
        """When the next report is due; now where one has never been."""
        known = [(rule, state.get("report", rule.name)) for rule in self.rules]
        return min((now if made is None or made > now else rule.at.next(made) for rule, made in known), default=None)
