"""Materiality and levels: what a number in the alert says about whether it is worth a message.

A level with *hysteresis* is told when it is crossed, and again only after the number has been back: a drawdown that
hovers at ten percent is one message.
"""

from __future__ import annotations

import dataclasses

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Rule, for_each, key_of
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed
from bt_alerts.rules.when import as_number, field_of

LEVEL_REMEMBERED = 366 * 86_400.0  # seconds without any alert about it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast(Rule):
    """A number must be so large, whatever its sign; an alert without it passes.

    Args:
        field: of the alert's data.
        least: what it must be at least.
    """

    field: str
    least: float

    @property
    def words(self) -> str:
        return f"not told where {self.field} is less than {self.least:g}, whatever its sign"

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        value = as_number(field_of(alert.data, self.field))
        return suppressed(Reason.IMMATERIAL, self.name) if value is not None and abs(value) < self.least else plan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Level(Rule):
    """Told when a number crosses a level, and again only after it was back.

    Args:
        field: of the alert's data; an alert without it passes.
        level: what is to be crossed.
        back: where it counts as back: below the level for a rise, above it for a fall.
        rising: whether it is crossed upwards.
        key: fields by which levels are told apart.
    """

    field: str
    level: float
    back: float
    rising: bool
    key: tuple[str, ...]

    @property
    def words(self) -> str:
        sign, back = (">=", "<") if self.rising else ("<=", ">")
        told = f"told when {self.field} {sign} {self.level:g}"
        return f"{told}, and again after {self.field} {back} {self.back:g}, {for_each(self.key)}"

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        value = as_number(field_of(alert.data, self.field))
        if value is None:
            return plan
        key = key_of(self.name, alert, self.key)
        beyond = state.get("level", key) is not None
        if self._beyond(value, self.level) and not beyond:
            state.put("level", key, value, until=now + LEVEL_REMEMBERED)
            return plan
        if beyond and self._beyond(value, self.back):
            state.put("level", key, value, until=now + LEVEL_REMEMBERED)
            return suppressed(Reason.SAME_LEVEL, self.name)
        if beyond:
            state.drop("level", key)
        return suppressed(Reason.IMMATERIAL, self.name)

    def _beyond(self, value: float, level: float) -> bool:
        return value >= level if self.rising else value <= level
