"""The spending cap of a channel: how many segments a day and a month, in UTC.

What was spent is remembered with each target (:attr:`~bt_alerts.dispatchers.base.Receipt.remember`) and summed over all
targets of the channel. Messages to several numbers at the same time do not see each other, so the cap can be passed by
one message for each further number. Each number is told once that the cap is reached, which is one segment more.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

Memory = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """A cap that the next message would pass, or that a number was told of.

    Args:
        of: ``"day"`` or ``"month"``.
        segments: the cap.
        period: which day or month, such as ``"2026-11-20"``.
        until: when the next one begins, aware UTC.
    """

    of: str
    segments: int
    period: str
    until: dt.datetime

    @property
    def mark(self) -> str:
        """What a target remembers when it was told: another one as soon as the cap is changed."""
        return f"{self.period}/{self.segments}"

    def told(self, own: Mapping[str, Any]) -> bool:
        """Whether a target was told."""
        return own.get("told") == self.mark

    @property
    def text(self) -> str:
        """What is told, once, to each number."""
        when = f"{self.until:%H:%M} UTC" if self.of == "day" else f"{self.until:%Y-%m-%d %H:%M} UTC"
        return (
            f"SMS cap of the {self.of} reached ({self.segments} segments): further alerts wait until {when}, "
            "critical ones excepted"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Cap:
    """At most so many segments.

    Args:
        day: of a day; 0 is no cap.
        month: of a month; 0 is no cap.
    """

    day: int = 0
    month: int = 0

    def reached(self, memory: Memory, own: Mapping[str, Any], now: dt.datetime, segments: int) -> Reached | None:
        """The cap that holds a message back, the month's first; None where there is room.

        Args:
            memory: of all targets.
            own: of the target that the message is for. What was told stays true, even for a message that has room.
            now: aware UTC.
            segments: of the message.
        """
        for of, most in (("month", self.month), ("day", self.day)):
            cap = Reached(of, most, period(of, now), _end(of, now))
            spent = sum(_segments(each, of, now) for each in memory.values())
            if most and (spent + segments > most or cap.told(own)):
                return cap
        return None


def period(of: str, now: dt.datetime) -> str:
    """The name of the day or the month."""
    return f"{now:%Y-%m-%d}" if of == "day" else f"{now:%Y-%m}"


def remembered(own: Mapping[str, Any], now: dt.datetime, segments: int) -> dict[str, Any]:
    """What a target remembers after ``segments`` more.

    Args:
        own: what it remembered before.
        now: aware UTC.
        segments: of this message.
    """
    spent: dict[str, Any] = {"told": str(own.get("told", ""))[:40]}
    for of in ("day", "month"):
        spent |= {of: period(of, now), f"{of}_segments": _segments(own, of, now) + segments}
    return spent


def _segments(own: Mapping[str, Any], of: str, now: dt.datetime) -> int:
    count = own.get(f"{of}_segments")
    return count if own.get(of) == period(of, now) and isinstance(count, int) and count > 0 else 0


def _end(of: str, now: dt.datetime) -> dt.datetime:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # 32 days after the first of a month is always in the next one.
    return (
        today + dt.timedelta(days=1) if of == "day" else (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    )
