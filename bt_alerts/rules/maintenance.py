"""Maintenance windows: times in which alerts are expected and nobody is to be told. They are kept in the history."""

from __future__ import annotations

import dataclasses
import datetime as dt

from bt_alerts.alert import Alert
from bt_alerts.hours import Hours, is_open
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Rule
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed
from bt_alerts.rules.when import hours_words


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance(Rule):
    """Hours that return every week, or one stretch of time, or the hours within that stretch.

    Args:
        hours: of the week; empty for all.
        begins: Unix seconds; None for always.
        ends: Unix seconds; None for never.
    """

    hours: tuple[Hours, ...] = ()
    begins: float | None = None
    ends: float | None = None

    @property
    def words(self) -> str:
        parts = [
            " or ".join(map(hours_words, self.hours)),
            f"from {_shown(self.begins)}" if self.begins is not None else "",
            f"until {_shown(self.ends)}" if self.ends is not None else "",
        ]
        return f"not told {' '.join(part for part in parts if part)}".strip()

    def why_not(self, alert: Alert, now: float) -> str:
        if (self.begins is not None and now < self.begins) or (self.ends is not None and now >= self.ends):
            return "it is not the time of this window"
        if self.hours and not is_open(self.hours, now):
            return "it is outside the hours of this window"
        return Rule.why_not(self, alert, now)

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        return suppressed(Reason.MAINTENANCE, self.name)


def _shown(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC"
