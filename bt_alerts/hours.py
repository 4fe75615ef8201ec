"""Hours of the week, such as a market's session: ``09:30-16:00 America/New_York mon-fri``. Pure.

Times are those of the clocks on the wall in the zone, also where these are put forward or back; hours may go over
midnight, and then count from the day on which they begin. Several of them together are open where any one is.
Hours that begin or end at a time that the clocks pass over do so when these are put forward; at a time that they show
twice, the first time.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import functools
import re
import statistics
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Protocol

DAY = 86_400
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE = "09:30-16:00 America/New_York mon-fri"
FAR = 400 * DAY  # seconds; what is not reached by then is not waited for

_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_A_WEEK = dt.datetime(2024, 1, 8, tzinfo=dt.UTC).timestamp()  # a Monday
_WEEKS = 13  # of which the middle one is a usual week: without a holiday, and without clocks that change


class Openings(Protocol):
    """When something is open: :class:`Hours`, or an exchange of :mod:`bt_alerts.calendars`."""

    @property
    def days(self) -> frozenset[int]:
        """Weekdays on which it can begin, 0 for Monday."""

    def between(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Each time that it is open, in Unix seconds, and perhaps one before ``start`` and one after ``end``."""


DAYS_KNOWN = 1_000  # for which the windows of hours are kept
_Windows = tuple[tuple[float, ...], tuple[float, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Hours:
    """Hours that return every week.

    Args:
        begin: seconds after midnight.
        end: seconds after the midnight before ``begin``: more than a day's where it is on the next day.
        zone: name of the time zone.
        days: on which it begins, 0 for Monday.
    """

    begin: int
    end: int
    zone: str = "UTC"
    days: frozenset[int] = frozenset(range(7))
    #: What was found out, by day. Rules ask several times for every alert, and to hash all the rest takes longer.
    _found: dict[int, _Windows] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def between(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Each time that it is open, in Unix seconds, and perhaps one before ``start`` and one after ``end``."""
        zone = zoneinfo.ZoneInfo(self.zone)
        day = dt.datetime.fromtimestamp(start, zone).date() - dt.timedelta(days=2)
        last = dt.datetime.fromtimestamp(end, zone).date()
        while day <= last:
            if day.weekday() in self.days:
                yield _reached(day, self.begin, zone), _reached(day, self.end, zone)
            day += dt.timedelta(days=1)


#: At any time.
ALWAYS = Hours(0, DAY)
#: What counts for bars of a day and longer where nobody said when the market is open.
WEEKDAYS = Hours(0, DAY, days=frozenset(range(5)))


def read_hours(text: str) -> Hours:
    """Read ``09:30-16:00 America/New_York mon-fri``: hours, zone (UTC where none is given), days (else every day).

    ``always`` is every hour of the week. Days are ``mon`` … ``sun``, ranges of them, or several with spaces.

    Raises:
        ValueError: with what to write instead.
    """
    words = re.sub(r"\s*[-–]\s*", "-", text.strip()).split()
    if [word.lower() for word in words] == ["always"]:
        return ALWAYS
    times = _TIMES.fullmatch(words[0]) if words else None
    if times is None:
        raise ValueError(f"write hours such as {EXAMPLE}, or always; `{text[:60]}` has no hours in front")
    zone, days = _where_and_when(words[1:], text, f"hours such as {EXAMPLE}")
    begin, end = _seconds(times[1], times[2]), _seconds(times[3], times[4])
    if begin in {end, DAY}:
        raise ValueError(f"`{words[0]}` is no time at all; write 00:00-24:00 for the whole day")
    return Hours(begin, end if end > begin else end + DAY, zone, days)


def _where_and_when(words: Sequence[str], text: str, wanted: str) -> tuple[str, frozenset[int]]:
    """A zone (UTC where none is given) and days (else every day); who wrote something else is told what is wanted."""
    zones: list[str] = []
    days: set[int] = set()
    for word in words:
        found = _days(word)
        if found:
            days |= found
        else:
            zones.append(_zone(word, wanted))
    if len(zones) > 1:
        raise ValueError(f"`{text[:60]}` has two time zones; write {wanted}")
    return zones[0] if zones else "UTC", frozenset(days or range(7))


def _seconds(hour: str, minute: str) -> int:
    seconds = int(hour) * 3600 + int(minute) * 60
    if int(minute) > 59 or seconds > DAY:
        raise ValueError(f"`{hour}:{minute}` is no time of the day; write 00:00 to 24:00")
    return seconds


def _days(word: str) -> set[int]:
    """The days that ``mon`` or ``sun-thu`` name; empty where it is no day."""
    names = [name if name in DAYS else name[:3] if name.endswith("day") else "" for name in word.lower().split("-")]
    if not 1 <= len(names) <= 2 or any(name not in DAYS for name in names):
        return set()
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    return {day % 7 for day in range(first, (last if last >= first else last + 7) + 1)}


def _zone(word: str, wanted: str) -> str:
    try:
        zoneinfo.ZoneInfo(word)
    except (ValueError, OSError, LookupError):
        raise ValueError(
            f"`{word[:60]}` is no time zone and no day; write {wanted}, with a zone such as UTC or Europe/Berlin and "
            "days from mon to sun"
        ) from None
    return word


def _wall(day: dt.date, seconds: int, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    days, rest = divmod(seconds, DAY)
    return dt.datetime.combine(day + dt.timedelta(days=days), dt.time(rest // 3600, rest // 60 % 60), zone)


def _reached(day: dt.date, seconds: int, zone: zoneinfo.ZoneInfo) -> float:
    """When the clocks on the wall show a time or a later one, in Unix seconds."""
    wall = _wall(day, seconds, zone)
    at, other = wall.timestamp(), wall.replace(fold=1).timestamp()
    if other >= at:  # shown once, or twice: the first time
        return at
    low, high = int(other), int(at)  # passed over: between the two the clocks are put forward
    while high - low > 1:
        middle = (low + high) // 2
        early = dt.datetime.fromtimestamp(middle, zone).replace(tzinfo=None) < wall.replace(tzinfo=None)
        low, high = (middle, high) if early else (low, middle)
    return float(high)


# ------------------------------------------------------------------------------------- several together


def windows(hours: Sequence[Openings], start: float, end: float) -> list[tuple[float, float]]:
    """When any of ``hours`` is open between two times (Unix seconds), in order and without overlaps."""
    found: list[tuple[float, float]] = []
    for opens, closes in sorted(window for each in hours for window in each.between(start, end)):
        begin, finish = max(opens, start), min(closes, end)
        if finish <= begin:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], finish)
        else:
            found.append((begin, finish))
    return found


def open_seconds(hours: Sequence[Openings], start: float, end: float) -> float:
    """How long any of ``hours`` is open between two times, in seconds."""
    return sum(closes - opens for opens, closes in windows(hours, start, end))


def after(hours: Sequence[Openings], start: float, seconds: float) -> float | None:
    """When so many open seconds have gone by since ``start``, in Unix seconds; None where that is :data:`FAR` away."""
    at = start
    while at < start + FAR:
        for opens, closes in windows(hours, at, at + 7 * DAY):
            if closes - opens >= seconds:
                return opens + seconds
            seconds -= closes - opens
        at += 7 * DAY
    return None


def is_open(hours: Sequence[Hours], at: float) -> bool:
    """Whether any of ``hours`` is open at a time (Unix seconds)."""
    return any(_closes(each, at) is not None for each in hours)


def open_at(hours: Sequence[Hours], at: float) -> float | None:
    """Until when it is open without a break, in Unix seconds; None where nothing is open at ``at``.

    A time that a window begins with is in it, the one that it ends with is not. What is always open ends never.
    """
    until, begins = None, at
    while True:
        closes = max((end for each in hours if (end := _closes(each, begins)) is not None), default=None)
        if closes is None:
            return until
        if closes > at + FAR:
            return float("inf")
        until = begins = closes


def _closes(hours: Hours, at: float) -> float | None:
    """When the window of ``at`` ends; None where there is none."""
    day = int(at // DAY)
    known = hours._found.get(day)
    if known is None:
        known = hours._found[day] = _around(hours, day)
        if len(hours._found) > DAYS_KNOWN:
            hours._found.clear()
    opens, closes = known
    place = bisect.bisect_right(opens, at) - 1
    return closes[place] if place >= 0 and at < closes[place] else None


def _around(hours: Hours, day: int) -> _Windows:
    """When windows begin and end that may be open on a day (of UTC, since 1970)."""
    found = windows([hours], (day - 3) * DAY, (day + 4) * DAY)
    return tuple(opens for opens, _ in found), tuple(closes for _, closes in found)


def shifts(hours: Hours, start: float, end: float) -> Iterator[tuple[float, float, float]]:
    """The windows between two times in which the clocks on the wall are put forward or back.

    Yields:
        When it begins and ends, in Unix seconds, and how many seconds longer it is than on other days.
    """
    for opens, closes in hours.between(start, end):
        longer = (closes - opens) - (hours.end - hours.begin)
        if longer:
            yield opens, closes, longer


# ------------------------------------------------------------------------------------------ a time of the day


MOMENT_EXAMPLE = "07:30 Europe/Berlin mon-fri"
_TIME = re.compile(r"(\d{1,2}):(\d{2})")


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A time of the day that returns every week: ``07:30 Europe/Berlin mon-fri``.

    Args:
        seconds: after midnight, by the clocks on the wall. One that these pass over is as much later that day as they
            are put forward; one that they show twice counts the first time. A whole day's are its end, ``24:00``.
        zone: name of the time zone.
        days: 0 for Monday.
    """

    seconds: int
    zone: str = "UTC"
    days: frozenset[int] = frozenset(range(7))

    def next(self, after: float) -> float:
        """The first one later than a time (Unix seconds)."""
        times = _times(self, int(after // DAY))
        return times[bisect.bisect_right(times, after)]

    def on(self, day: dt.date) -> float:
        """That time on a day, whatever its weekday, in Unix seconds."""
        return _wall(day, self.seconds, zoneinfo.ZoneInfo(self.zone)).timestamp()

    def last(self, before: float) -> float:
        """The latest one that is not later than a time (Unix seconds)."""
        times = _times(self, int(before // DAY))
        return times[bisect.bisect_right(times, before) - 1]


@functools.lru_cache(maxsize=4096)
def _times(moment: Moment, day: int) -> tuple[float, ...]:
    """Those around a day (of UTC, since 1970): at least one before it, and one after it."""
    first = dt.date(1970, 1, 1) + dt.timedelta(days=day - 9)
    days = (first + dt.timedelta(days=number) for number in range(19))
    return tuple(moment.on(each) for each in days if each.weekday() in moment.days)


def read_moment(text: str) -> Moment:
    """Read ``07:30 Europe/Berlin mon-fri``: a time, a zone (UTC where none is given), days (else every day).

    Raises:
        ValueError: with what to write instead.
    """
    words = re.sub(r"\s*[-–]\s*", "-", text.strip()).split()
    time = _TIME.fullmatch(words[0]) if words else None
    if time is None:
        raise ValueError(f"write a time such as {MOMENT_EXAMPLE}; `{text[:60]}` has no time in front")
    seconds = _seconds(time[1], time[2])
    return Moment(seconds, *_where_and_when(words[1:], text, f"a time such as {MOMENT_EXAMPLE}"))


# ------------------------------------------------------------------------------------------------------ bars


def bar_seconds(hours: Sequence[Openings], length: float, since: float = _A_WEEK) -> float:
    """How long a market is open in the time of one bar, in seconds.

    Args:
        hours: when it is open.
        length: of the bar in seconds; a bar of a day is one of a trading day, whatever its hours.
        since: Unix seconds; what is usual in the quarter of a year that begins there counts.
    """
    weeks = (since + 7 * DAY * number for number in range(_WEEKS))
    week = statistics.median(open_seconds(hours, begin, begin + 7 * DAY) for begin in weeks)
    days = len(frozenset().union(*(each.days for each in hours)))
    a_day = week / days
    if length < DAY:
        return min(length, a_day)
    return a_day * length / DAY if length < 7 * DAY else week * length / (7 * DAY)
