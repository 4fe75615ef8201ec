"""Windows of rules on the calendar: which of them overlap, and what the days do to them on which clocks are changed.

Everything here is told for a time that is given, and looks a year ahead of it.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator, Sequence

from bt_alerts.compose import duration
from bt_alerts.hours import DAY, DAYS, Hours, Moment, open_seconds, shifts, windows
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.when import clock

AHEAD = 365 * DAY  # seconds
WEEK = 7 * DAY
Span = tuple[float, float]

_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_WINTER, _SUMMER = (dt.datetime(2024, month, 8, tzinfo=dt.UTC).timestamp() for month in (1, 7))


def date_words(day: dt.date) -> str:
    """``Sunday 28 March 2027``, whatever the language of the process."""
    return f"{_DAY_NAMES[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"


# ------------------------------------------------------------------------------------------------ overlaps


def week(hours: Sequence[Hours], start: float) -> list[Span]:
    """When they are open in the week from a time on, in Unix seconds."""
    return windows(hours, start, start + WEEK)


def common(first: Sequence[Span], second: Sequence[Span]) -> Span | None:
    """The first time that is in both; None where there is none."""
    return min(
        ((max(a, c), min(b, d)) for a, b in first for c, d in second if max(a, c) < min(b, d)),
        default=None,
    )


def open_all_week(hours: Sequence[Hours], now: float) -> bool:
    """Whether hours leave nothing of the coming week out."""
    week = 7 * 86_400.0
    return open_seconds(hours, now, now + week) >= week - 1.0


def apart_all_week(first: Sequence[Hours], second: Sequence[Hours]) -> bool:
    """Whether two that return every week are never open together, neither in winter nor in summer."""
    return not any(common(week(first, start), week(second, start)) for start in (_WINTER, _SUMMER))


def maintenance_overlap(first: Maintenance, second: Maintenance, now: float) -> Span | None:
    """The first time in which both windows are open: the coming week, or the week in which both begin to count."""
    start = max(now, first.begins or now, second.begins or now)
    if start > now + AHEAD:
        return None
    return common(_open(first, start), _open(second, start))


def _open(window: Maintenance, start: float) -> list[Span]:
    end = min(start + WEEK, window.ends if window.ends is not None else start + WEEK)
    if end <= start:
        return []
    return windows(window.hours, start, end) if window.hours else [(start, end)]


def never_opens(window: Maintenance) -> bool:
    """Whether its hours are nowhere between its begin and its end."""
    if window.begins is None or window.ends is None or not window.hours or window.ends - window.begins > WEEK:
        return False
    try:
        return not windows(window.hours, window.begins, window.ends)
    except (OverflowError, ValueError):  # at the end of the calendar
        return False


def span_words(span: Span, zone: str) -> str:
    """``mon 22:00-23:00 Europe/Berlin``."""
    begin, end = (dt.datetime.fromtimestamp(at, zoneinfo.ZoneInfo(zone)) for at in span)
    day = "" if end - begin < dt.timedelta(days=1) else f"{DAYS[end.weekday()]} "
    return f"{DAYS[begin.weekday()]} {begin:%H:%M}-{day}{end:%H:%M} {zone}"


# ------------------------------------------------------------------------------------------ changes of clocks


def changes(hours: Hours, start: float, end: float) -> str:
    """What changes of clocks do to a window between two times, in words; empty where there are none."""
    return "; ".join(
        f"on {date_words(_day_of_change(hours.zone, opens - abs(longer), closes))} the clocks go "
        f"{'back' if longer > 0 else 'forward'} in it: it is {duration(closes - opens)} long instead of "
        f"{duration(hours.end - hours.begin)}"
        for opens, closes, longer in shifts(hours, start, end)
        if closes > start and opens < end
    )


def _day_of_change(name: str, low: float, high: float) -> dt.date:
    """The day between two times on which the clocks of a zone are changed."""
    zone = zoneinfo.ZoneInfo(name)
    before = _at(low, zone).utcoffset()
    while high - low > 60:
        middle = (low + high) / 2
        low, high = (middle, high) if _at(middle, zone).utcoffset() == before else (low, middle)
    return _at(high, zone).date()


def _at(seconds: float, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, zone)


def odd_days(moment: Moment, start: float, end: float) -> str:
    """On which days between two times the clocks do not show a time of the day, or show it twice; else empty."""
    return "; ".join(_odd_days(moment, start, end))


def _odd_days(moment: Moment, start: float, end: float) -> Iterator[str]:
    zone = zoneinfo.ZoneInfo(moment.zone)
    day, last = _at(start, zone).date(), _at(end, zone).date()
    days, seconds = divmod(moment.seconds, DAY)  # `24:00` is on the next day
    time = dt.time(seconds // 3600, seconds // 60 % 60)
    while day <= last:
        wall = dt.datetime.combine(day + dt.timedelta(days=days), time, zone)
        first, second = wall.utcoffset(), wall.replace(fold=1).utcoffset()
        if moment.days >= {day.weekday()} and first is not None and second is not None and first != second:
            told = f"on {date_words(wall.date())} the clocks "
            if second > first:  # the offset after a change forward is the larger one
                yield f"{told}go forward over {clock(moment.seconds)}: it is {duration((second - first).seconds)} later"
            else:
                yield f"{told}show {clock(moment.seconds)} twice: the first time counts"
        day += dt.timedelta(days=1)
