"""What rules of settings have in common: a name, what they are about, and which priority passes them by."""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import operator
from collections.abc import Callable

from bt_alerts.alert import Alert, Priority
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Verdict
from bt_alerts.rules.when import ANY, When, field_of

#: What of an alert a key can name besides ``data.…``.
KEY_FIELDS = ("type", "kind", "priority", "symbol", "strategy", "title", "message", "thread", "run")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a rule of settings is about.

    Args:
        name: as settings call it: its own, or its place, such as ``cooldown 2``.
        when: what it is about.
        through: alerts of this priority and above pass it by; None where none does.
    """

    name: str
    when: When = ANY
    through: Priority | None = Priority.CRITICAL

    @property
    def words(self) -> str:
        """What it does, in a few words."""
        return ""

    @property
    def about(self) -> str:
        """Which alerts it is about, in a few words: ``trade, pnl < -500, below critical``."""
        if self.through is None:
            return self.when.words
        return f"{self.when.words}, below {self.through.value}"

    def why_not(self, alert: Alert, now: float) -> str:
        """Why the rule is not about an alert, in words; empty where it is."""
        if self.through is not None and alert.priority.rank >= self.through.rank:
            return f"its priority is {alert.priority}, which passes this rule by"
        return "" if self.when is ANY else self.when.why_not(alert, now)

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each rule in this stage its name, and why it is not about an alert."""
        return [(self.name, self.why_not(alert, now))]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Aim, abc.ABC):
    """One rule as a stage of its own."""

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        return plan if self.why_not(alert, max(now, plan.due)) else self.judge(alert, plan, state, now)

    @abc.abstractmethod
    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """What becomes of an alert that the rule is about."""


def for_each(fields: tuple[str, ...]) -> str:
    """What tells alerts apart, in words: ``for each kind, symbol and strategy``."""
    words = [field.removeprefix("data.") for field in fields]
    return f"for each {', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else f"for each {''.join(words)}"


def key_of(rule: str, alert: Alert, fields: tuple[str, ...]) -> str:
    """A short key that alerts share which are the same in these fields."""
    values = [str(value) for value in _getter(fields)(alert)]
    return hashlib.sha256("\0".join((rule, *values)).encode("utf-8", "replace")).hexdigest()[:20]


@functools.lru_cache(maxsize=256)
def _getter(fields: tuple[str, ...]) -> Callable[[Alert], tuple[object, ...]]:
    """What gets these fields of an alert."""
    if len(fields) > 1 and not any(field.startswith("data.") for field in fields):
        return operator.attrgetter(*fields)
    return lambda alert: tuple(
        field_of(alert.data, field[5:]) if field.startswith("data.") else getattr(alert, field) for field in fields
    )
