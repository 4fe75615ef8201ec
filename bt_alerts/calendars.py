"""Sessions of an exchange with its holidays and half days: ``XNYS``. Read from the library ``exchange_calendars``.

It stands beside :mod:`bt_alerts.hours`, and answers the same question: when is it open? The library is imported when
that is asked for the first time, which only the watch over a live run does. What it does not know yet, because an
exchange has not published its holidays that far ahead, counts as open on the usual days at the usual hours; the log
says so once.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import difflib
import functools
import importlib
import importlib.util
import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from bt_alerts.hours import DAY, Hours, Openings, read_hours

log = logging.getLogger("bt_alerts.calendars")

LIBRARY = "exchange_calendars"
INSTALL = "pip install 'bt-alerts[calendars]'"
_CODE = re.compile(r"[A-Z][A-Z0-9]{2,7}")  # capitals, so that it is no slip of `always` or of a day


class CalendarError(ValueError):
    """The sessions of an exchange cannot be known; the message says what to do."""


class CalendarMissing(CalendarError):
    """The library is missing, or cannot be imported."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """The sessions of one exchange.

    Args:
        code: its market identifier (MIC, ISO 10383) such as ``XNYS``, or a name that the library knows, such as NYSE.
    """

    code: str

    @property
    def days(self) -> frozenset[int]:
        """Weekdays of its sessions, 0 for Monday. Raises as :meth:`between`."""
        return _known(self.code).usual.days

    def between(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Each time that it is open, in Unix seconds, and perhaps one before ``start`` and one after ``end``.

        A break at noon, which some exchanges have, is no time that it is open.

        Raises:
            CalendarMissing: where there is no library.
            CalendarError: where it does not know the exchange.
        """
        # A session can begin on the evening of the day before the one that it is named after.
        for year in range(_year(start - 2 * DAY), _year(end + 2 * DAY) + 1):
            opens, closes = _windows(self.code, year)
            first, last = bisect.bisect_left(closes, start), bisect.bisect_right(opens, end)
            yield from zip(opens[first:last], closes[first:last], strict=True)


def read_session(text: str) -> Openings:
    """Read the code of an exchange (``XNYS``), or hours as :func:`bt_alerts.hours.read_hours` does.

    The library is not asked whether there is such an exchange: :func:`check` does that.

    Raises:
        ValueError: with what to write instead.
    """
    word = text.strip()
    if _CODE.fullmatch(word):
        return Exchange(word)
    try:
        return read_hours(text)
    except ValueError as exc:
        if len(word.split()) > 1:
            raise
        raise ValueError(f"{exc}; or the code of an exchange in capitals, such as XNYS") from None


def installed() -> bool:
    """Whether the library is there. It is not imported for that."""
    return importlib.util.find_spec(LIBRARY) is not None


def check(code: str) -> None:
    """Ask the library for an exchange.

    Raises:
        CalendarMissing: where there is no library.
        CalendarError: where it does not know the exchange.
    """
    _known(code)


# ------------------------------------------------------------------------------------------ the library


class _Known(NamedTuple):
    """What the library knows of an exchange."""

    usual: Hours  # on a day without anything special
    first: dt.date | None  # of the days that it knows; None for no limit
    last: dt.date | None


def _library() -> Any:
    try:
        return importlib.import_module(LIBRARY)
    except ImportError as exc:
        if installed():  # it is there and cannot be imported: say why
            raise CalendarMissing(f"the library {LIBRARY} cannot be imported ({exc}): {INSTALL}") from None
        raise CalendarMissing(f"sessions of an exchange need the library {LIBRARY}: {INSTALL}") from None


@functools.lru_cache(maxsize=64)
def _known(code: str) -> _Known:
    library = _library()
    names = library.get_calendar_names(include_aliases=True)
    if code not in names:
        near = difflib.get_close_matches(code, names, 1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "write a code such as XNYS, XLON or XETR, or hours"
        raise CalendarError(f"there is no exchange {code}; {hint}")
    today = dt.datetime.now(dt.UTC).date()
    start = today.replace(year=today.year - 1, day=1)
    try:
        calendar = library.get_calendar(code, start=f"{start}", end=f"{start + dt.timedelta(days=30)}")
    except Exception as exc:
        raise CalendarError(f"the sessions of {code} cannot be read ({exc}): pip install -U {LIBRARY}") from None
    opens = _seconds(calendar.open_times[-1][1]) + DAY * int(calendar.open_offset)
    closes = _seconds(calendar.close_times[-1][1]) + DAY * int(calendar.close_offset)
    days = frozenset(day for day, mark in enumerate(calendar.weekmask) if mark == "1")
    lower, upper = calendar.bound_min(), calendar.bound_max()
    return _Known(
        Hours(opens, closes if closes > opens else closes + DAY, str(calendar.tz), days),
        None if lower is None else lower.date(),
        None if upper is None else upper.date(),
    )


@functools.lru_cache(maxsize=256)
def _windows(code: str, year: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """When the sessions that are named after days of a year open and close, in order."""
    from pandas import notna

    known = _known(code)
    first, last = dt.date(year, 1, 1), dt.date(year, 12, 31)
    begin = first if known.first is None else max(first, known.first)
    end = last if known.last is None else min(last, known.last)
    found: list[tuple[float, float]] = []
    if begin <= end:
        calendar = _library().get_calendar(code, start=f"{begin}", end=f"{end}")
        for row in calendar.schedule.itertuples():
            times = [row.open, row.break_start, row.break_end, row.close]
            moments = [time.timestamp() for time in times if notna(time)]  # most have no break
            found += zip(moments[::2], moments[1::2], strict=True)
    if known.last is not None and end < last:
        _say_once(code, known.last)
        after = found[-1][1] if found else _midnight(first) - DAY
        found += [window for window in known.usual.between(after, _midnight(last) + DAY) if window[0] >= after]
    return tuple(opens for opens, _ in found), tuple(closes for _, closes in found)


@functools.cache
def _say_once(code: str, until: dt.date) -> None:
    log.warning(
        "the holidays of %s are known until %s; after that every usual day counts as a session: pip install -U %s",
        code,
        until,
        LIBRARY,
    )


def _seconds(time: dt.time) -> int:
    return time.hour * 3600 + time.minute * 60 + time.second


def _midnight(day: dt.date) -> float:
    return dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()


def _year(at: float) -> int:
    return dt.datetime.fromtimestamp(at, dt.UTC).year
