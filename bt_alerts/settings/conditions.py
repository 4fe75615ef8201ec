"""A condition between two indicators, as a person writes it: ``rsi > 70``, ``sma_fast crosses above sma_slow``.

On each side stands a number or a name; what a name means is found out by whoever reads the condition in a strategy.
"""

from __future__ import annotations

import dataclasses
import math
import re

EXAMPLE = "rsi > 70"
_OPERATORS = (">=", "<=", ">", "<", "crosses above", "crosses below")
_FORM = re.compile(r"(\S+?)\s*(>=|<=|>|<|\s+crosses\s+(?:above|below)\s+)\s*(\S+)", re.IGNORECASE)
_ADVICE = f"write a condition such as `{EXAMPLE}` or `sma_fast crosses above sma_slow`"


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Two sides and what is asked of them.

    Args:
        left: a name or a number.
        operator: ``>``, ``>=``, ``<``, ``<=``, ``crosses above`` or ``crosses below``.
        right: a name or a number.
    """

    left: str
    operator: str
    right: str

    @property
    def crossing(self) -> bool:
        """It is an event that happens, not a state that lasts."""
        return self.operator.startswith("crosses")

    @property
    def rising(self) -> bool:
        """It asks for the left side to be the greater one."""
        return self.operator in (">", ">=", "crosses above")

    @property
    def names(self) -> tuple[str, ...]:
        """The sides that are no numbers."""
        return tuple(side for side in (self.left, self.right) if as_number(side) is None)

    @property
    def level(self) -> float | None:
        """The number on the right side, if it is one."""
        return as_number(self.right)

    def holds(self, left: float, right: float) -> bool:
        """Whether it is true of two values; a crossing is asked which side it is on."""
        if self.operator == ">=":
            return left >= right
        if self.operator == "<=":
            return left <= right
        return left > right if self.rising else left < right

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


def as_number(side: str) -> float | None:
    """A side of a condition as a number; None where it is a name."""
    try:
        number = float(side)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_condition(text: str) -> Condition:
    """Read ``rsi > 70``.

    Raises:
        ValueError: with what to write instead.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{_ADVICE}: a name or a number on each side of one of {', '.join(_OPERATORS)}")
    left, operator, right = found[1], " ".join(found[2].lower().split()), found[3]
    condition = Condition(left, operator, right)
    wrong = next((side for side in condition.names if not re.fullmatch(r"[\w^][^\s<>=!&|()\[\]]*", side)), None)
    if wrong is not None:
        raise ValueError(f"`{wrong[:40]}` is no name and no number; {_ADVICE}")
    if not condition.names:
        raise ValueError(f"both sides are numbers; {_ADVICE}")
    return condition
