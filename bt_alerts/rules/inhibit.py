"""Inhibition: while a cause is known, its consequences are not told. A lost connection silences stale-data alerts.

What tells of the end ends it, whether it is told or not: a cause that somebody muted the end of is no excuse for ever.
An alert that is both cause and end counts as the end.
"""

from __future__ import annotations

import dataclasses

from bt_alerts.alert import Alert, Priority
from bt_alerts.compose import duration
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Rule, for_each, key_of
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed
from bt_alerts.rules.when import When


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inhibit(Rule):
    """While one alert's matter lasts, others are not told.

    Args:
        cause: the alert that tells of the cause.
        ends: the alert that tells of its end.
        equal: fields in which cause, end and consequence are the same.
        longest: seconds after which the cause is no excuse any more.
    """

    cause: When
    ends: When
    equal: tuple[str, ...]
    longest: float

    @property
    def words(self) -> str:
        lasts = f"from {self.cause.words} to {self.ends.words}, {duration(self.longest)} at most"
        return f"not told {lasts}, {for_each(self.equal)}"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        if self.ends.matches(alert, now):
            state.drop("inhibit", self._key(alert))
            return plan
        if self.cause.matches(alert, now):
            state.put("inhibit", self._key(alert), now, until=now + self.longest)
            return plan
        return Rule.__call__(self, alert, plan, state, now)

    def overhear(self, alert: Alert, state: RuleState, now: float) -> None:
        """An alert is not told; where it is about the end, it ends the cause all the same."""
        if self.ends.matches(alert, now):
            state.drop("inhibit", self._key(alert))

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        since = state.get("inhibit", self._key(alert))
        lasts = since is not None and 0 <= now - since < self.longest
        return suppressed(Reason.INHIBITED, self.name) if lasts else plan

    def _key(self, alert: Alert) -> str:
        return key_of(self.name, alert, self.equal)


#: What is always there: a feed that lost its connection yields no bars.
DISCONNECTED = Inhibit(
    name="feed disconnected",
    when=When(kinds=("data.silent", "data.delayed", "data.held")),
    through=Priority.CRITICAL,
    cause=When(kinds=("data.disconnected",)),
    ends=When(kinds=("data.live", "data.resumed")),
    equal=("symbol",),
    longest=12 * 3600.0,
)
