"""Throttles: of alerts that share a key, one is told, and for a while no other. The memory outlives restarts.

*Repeats* are the same again: their key is the whole text, or what the rule names. A *cooldown* is of a kind: whatever
the text. *Once per bar* goes by the bar that alerts were made on, not by the clock.
"""

from __future__ import annotations

import dataclasses

from bt_alerts.alert import Alert
from bt_alerts.compose import duration
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Rule, for_each, key_of
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed

SAME_TEXT = ("kind", "symbol", "strategy", "title", "message")
SAME_KIND = ("kind", "symbol", "strategy")
BAR_REMEMBERED = 40 * 86_400.0  # seconds: longer than a bar of a month


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Rule):
    """So many in a time, and then none until it is over.

    Args:
        seconds: the time, from the first one that was told.
        most: so many are told in it.
        key: fields that alerts share.
        reason: why the others are not told.
    """

    seconds: float
    most: int = 1
    key: tuple[str, ...]
    reason: Reason

    @property
    def words(self) -> str:
        most = "one" if self.most == 1 else f"{self.most}"
        return f"{most} in {duration(self.seconds)} {for_each(self.key)}"

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        key = key_of(self.name, alert, self.key)
        seen = state.get("throttle", key)
        since, told = seen if seen is not None and 0 <= now - seen[0] < self.seconds else (now, 0)
        if told >= self.most:
            return suppressed(self.reason, self.name)
        state.put("throttle", key, [since, told + 1], until=since + self.seconds)
        return plan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OncePerBar(Rule):
    """One on each bar; what was made on no bar passes.

    Args:
        key: fields that alerts share.
    """

    key: tuple[str, ...] = SAME_KIND

    @property
    def words(self) -> str:
        return f"one on each bar {for_each(self.key)}"

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        if alert.bar_time is None:
            return plan
        key, bar = key_of(self.name, alert, self.key), alert.bar_time.timestamp()
        if state.get("bar", key) == bar:
            return suppressed(Reason.ONCE_PER_BAR, self.name)
        state.put("bar", key, bar, until=now + BAR_REMEMBERED)
        return plan
