"""``when:``: which alerts a rule is about. Everything that it names must hold; what it does not name holds always.

Each part that names several things holds where any one of them does. Names of kinds, symbols and strategies may have
``*`` and ``?``. A comparison of ``data`` holds only where the alert has that field.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority, Source
from bt_alerts.hours import DAY, DAYS, Hours, Moment, is_open

_COMPARISON = re.compile(r"\s*([\w.]+)\s*(<=|>=|==|!=|=|<|>)\s*((?![<>=!]).+?)\s*", re.DOTALL)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """``pnl < -500``: a field of the alert's data and what it is compared with.

    Args:
        field: a key of ``data``; dots go down: ``context.depth``.
        sign: one of ``< <= > >= == !=``.
        value: a number or a text.
    """

    field: str
    sign: str
    value: float | str

    def __str__(self) -> str:
        value = f"{self.value:.15g}" if isinstance(self.value, float) else self.value
        return f"{self.field} {self.sign} {value}"

    def why_not(self, data: Mapping[str, Any]) -> str:
        """Why it does not hold; empty where it does."""
        found = field_of(data, self.field)
        if found is None:
            return f"it has no {self.field}"
        if isinstance(self.value, float):
            number = as_number(found)
            if number is None:
                return f"{self.field} is no number"
            holds = _OPERATORS[self.sign](number, self.value)
        else:
            holds = _OPERATORS[self.sign](str(found).casefold(), self.value.casefold())
        return "" if holds else f"{self.field} is {str(found)[:60]}, and not {self.sign} {str(self).split(' ', 2)[2]}"


def read_comparison(text: str) -> Comparison:
    """Read ``pnl < -500``.

    Raises:
        ValueError: with what to write instead.
    """
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise ValueError(f"write a field, a sign and a value, such as pnl < -500; `{text[:60]}` is none")
    field, sign, word = found.groups()
    sign = "==" if sign == "=" else sign
    try:
        value: float | str = float(word.replace("_", "").removesuffix("%").strip())
        if not math.isfinite(float(value)):
            raise ValueError
    except ValueError:
        value = word.strip("\"'")
        if sign not in {"==", "!="}:
            raise ValueError(f"`{text[:60]}`: only numbers are less or more; write == or !=, or a number") from None
    return Comparison(field, sign, value)


def field_of(data: Mapping[str, Any], path: str) -> Any:
    """What stands at a path with dots; None where nothing does."""
    found: Any = data
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def as_number(value: Any) -> float | None:
    """``value`` where it is a finite number, or the text of one as an alert keeps a Decimal; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


@functools.lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob.casefold()) for glob in globs))


@functools.lru_cache(maxsize=4096)  # kinds, symbols and strategies are few, and are asked about for every alert
def fits(name: str, globs: tuple[str, ...]) -> bool:
    """Whether a name is one of these, which may have ``*`` and ``?``; upper and lower case are the same."""
    return _pattern(globs).match(name.casefold()) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """Which alerts a rule is about.

    Args:
        types: alert types.
        kinds: kinds of event.
        priority: at least.
        symbols: names of feeds.
        strategies: names of strategies.
        sources: where it was made.
        data: comparisons, all of which must hold.
        hours: the weekdays and hours in which the rule counts.
    """

    types: frozenset[AlertType] = frozenset()
    kinds: tuple[str, ...] = ()
    priority: Priority | None = None
    symbols: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    sources: frozenset[Source] = frozenset()
    data: tuple[Comparison, ...] = ()
    hours: tuple[Hours, ...] = ()

    def why_not(self, alert: Alert, now: float) -> str:  # noqa: PLR0911 - a list of questions
        """Why the rule is not about an alert, in words; empty where it is. ``now`` in Unix seconds."""
        if self.types and alert.type not in self.types:
            return f"its type is {alert.type}"
        if self.kinds and not fits(alert.kind, self.kinds):
            return f"its kind is {alert.kind}"
        if self.priority is not None and alert.priority.rank < self.priority.rank:
            return f"its priority is {alert.priority}, below {self.priority}"
        if self.symbols and not fits(alert.symbol, self.symbols):
            return f"its symbol is {alert.symbol}" if alert.symbol else "it has no symbol"
        if self.strategies and not fits(alert.strategy, self.strategies):
            return f"its strategy is {alert.strategy}" if alert.strategy else "it is of no strategy"
        if self.sources and alert.source not in self.sources:
            return f"its source is {alert.source}"
        for comparison in self.data:
            if reason := comparison.why_not(alert.data):
                return reason
        if self.hours and not is_open(self.hours, now):
            return "it is outside the hours of this rule"
        return ""

    def matches(self, alert: Alert, now: float) -> bool:
        """Whether the rule is about an alert."""
        return not self.why_not(alert, now)

    @property
    def words(self) -> str:
        """In a few words: ``trade, pnl < -500, BTC*``; parts with commas between them must all hold."""
        parts = [
            " or ".join(sorted(word.value for word in self.types)),
            " or ".join(self.kinds),
            f"{self.priority.value} and above" if self.priority not in {None, Priority.CRITICAL} else "",
            "critical" if self.priority is Priority.CRITICAL else "",
            " or ".join(self.symbols),
            f"strategy {' or '.join(self.strategies)}" if self.strategies else "",
            " or ".join(sorted(word.value for word in self.sources)),
            *map(str, self.data),
            " or ".join(map(hours_words, self.hours)),
        ]
        return ", ".join(part for part in parts if part) or "every alert"


def hours_words(hours: Hours) -> str:
    """Hours as a person writes them: ``22:00-07:00 Europe/Berlin mon-fri``."""
    end = hours.end if hours.end <= DAY else hours.end - DAY
    words = [f"{clock(hours.begin)}-{clock(end)}", hours.zone, days_words(hours.days)]
    return " ".join(word for word in words if word)


def moment_words(moment: Moment) -> str:
    """A time of the day as a person writes it: ``07:30 Europe/Berlin mon-fri``."""
    return " ".join(word for word in (clock(moment.seconds), moment.zone, days_words(moment.days)) if word)


def clock(seconds: int) -> str:
    """``07:30``: a time of the day in seconds after midnight."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}"


def days_words(days: frozenset[int]) -> str:
    """``mon-fri``; empty for every day."""
    if len(days) == len(DAYS):
        return ""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return " ".join(DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs)


#: About every alert.
ANY = When()
