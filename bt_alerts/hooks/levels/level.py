"""A level with hysteresis: told when a value reaches it, over when the value is back, and nothing in between.

Pure: ``(level, value, state) -> (state, change)``. A value that is no number changes nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import math


class Change(enum.Enum):
    """What a value did to a level."""

    CROSSED = "crossed"
    RECOVERED = "recovered"


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """Where something is told, and where it is over.

    Args:
        at: reached at this value or beyond it.
        back: over at this value or on its other side; never beyond ``at``.
        rising: beyond is above; else below.
        strict: reached only beyond ``at``, as a condition such as ``rsi > 70`` means it.
    """

    at: float
    back: float
    rising: bool = True
    strict: bool = False

    def reached(self, value: float) -> bool:
        """Whether a value is at the level or beyond it."""
        if value == self.at:
            return not self.strict
        return value > self.at if self.rising else value < self.at

    def over(self, value: float) -> bool:
        """Whether a value is back."""
        return not self.reached(value) and (value <= self.back if self.rising else value >= self.back)


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Where a value stands.

    Args:
        crossed: the level was told to be reached, and is not over.
        worst: the value farthest beyond the level since then; NaN before.
    """

    crossed: bool = False
    worst: float = math.nan


def step(level: Level, value: float, state: State) -> tuple[State, Change | None]:
    """A value came.

    Returns:
        The new state, and what there is to tell.
    """
    if math.isnan(value):
        return state, None
    if not state.crossed:
        return (State(True, value), Change.CROSSED) if level.reached(value) else (state, None)
    if level.over(value):
        return State(False, state.worst), Change.RECOVERED
    farther = value > state.worst if level.rising else value < state.worst
    return (State(True, value) if farther else state), None


def milestone(value: float, every: float, reached: int) -> tuple[int, bool]:
    """How many steps a value has made at most, and whether the last one is new.

    Args:
        value: the return so far.
        every: size of a step, above 0.
        reached: as it was before.
    """
    if not math.isfinite(value):
        return reached, False
    steps = math.floor(value / every + 1e-9)
    return (steps, True) if steps > reached else (reached, False)
