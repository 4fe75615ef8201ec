"""Hours of the week: how they are written, and when so much time in them has gone by."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest

from bt_alerts import hours
from bt_alerts.hours import ALWAYS, DAY, WEEKDAYS, Hours, read_hours

NEW_YORK = "09:30-16:00 America/New_York mon-fri"
GLOBEX = "17:00-16:00 America/Chicago sun-thu"


def at(text: str, zone: str = "UTC") -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def shown(when: float | None, zone: str = "UTC") -> str:
    assert when is not None
    return f"{dt.datetime.fromtimestamp(when, zoneinfo.ZoneInfo(zone)):%a %H:%M}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEW_YORK, Hours(34_200, 57_600, "America/New_York", frozenset(range(5)))),
        ("09:30 – 16:00  mon - fri America/New_York", Hours(34_200, 57_600, "America/New_York", frozenset(range(5)))),
        ("9:30-16:00", Hours(34_200, 57_600)),
        ("00:00-24:00 Asia/Tokyo Sunday", Hours(0, DAY, "Asia/Tokyo", frozenset({6}))),
        ("08:00-09:00 mon wed fri-sun", Hours(28_800, 32_400, "UTC", frozenset({0, 2, 4, 5, 6}))),
        (GLOBEX, Hours(61_200, 57_600 + DAY, "America/Chicago", frozenset({6, 0, 1, 2, 3}))),
        ("Always", ALWAYS),
        ("09:00-17:00 America/Port-au-Prince", Hours(32_400, 61_200, "America/Port-au-Prince")),
    ],
)
def test_hours_are_read(text: str, expected: Hours) -> None:
    assert read_hours(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "write hours such as 09:30-16:00"),
        ("9 to 5", "`9 to 5` has no hours in front"),
        ("mon-fri 09:30-16:00", "has no hours in front"),
        ("09:30-16:00 Mars/Base", "`Mars/Base` is no time zone and no day"),
        ("09:30-16:00 ../etc", "`../etc` is no time zone"),
        ("09:30-16:00 montag", "`montag` is no time zone and no day"),
        ("09:30-16:00 UTC Europe/Berlin", "has two time zones"),
        ("09:30-09:30", "write 00:00-24:00 for the whole day"),
        ("24:00-03:00", "write 00:00-24:00 for the whole day"),
        ("09:60-16:00", "`09:60` is no time of the day"),
        ("09:30-25:00", "`25:00` is no time of the day"),
    ],
)
def test_what_are_no_hours_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        read_hours(text)


@pytest.mark.parametrize(
    ("session", "start", "seconds", "end"),
    [
        (NEW_YORK, "2024-01-08T15:00", 180, "Mon 15:03"),
        (NEW_YORK, "2024-01-08T15:59", 180, "Tue 09:32"),  # the night does not count
        (NEW_YORK, "2024-01-12T15:59", 180, "Mon 09:32"),  # nor does the weekend
        (NEW_YORK, "2024-01-08T03:00", 60, "Mon 09:31"),
        (NEW_YORK, "2024-01-08T09:30", 6.5 * 3600, "Mon 16:00"),  # to the last second of the session
        (NEW_YORK, "2024-01-08T09:30", 6.5 * 3600 + 1, "Tue 09:30"),
        ("22:00-02:00 America/New_York fri", "2024-01-12T23:00", 2 * 3600, "Sat 01:00"),
        ("22:00-02:00 America/New_York fri", "2024-01-13T03:00", 60, "Fri 22:01"),
    ],
)
def test_only_time_in_the_hours_counts(session: str, start: str, seconds: float, end: str) -> None:
    zone = "America/New_York"
    assert shown(hours.after([read_hours(session)], at(start, zone), seconds), zone) == end


@pytest.mark.parametrize(
    ("start", "opens"),
    [
        ("2024-03-08T21:00", "Mon 13:31"),  # the clocks of New York went forward on Sunday
        ("2024-03-01T21:00", "Mon 14:31"),
        ("2024-11-01T20:00", "Mon 14:31"),  # and back
        ("2024-10-25T20:00", "Mon 13:31"),
    ],
)
def test_a_session_keeps_to_the_clock_on_the_wall(start: str, opens: str) -> None:
    assert shown(hours.after([read_hours(NEW_YORK)], at(start), 60)) == opens


def test_the_night_in_which_the_clocks_change_is_as_long_as_it_is() -> None:
    night = [read_hours("20:00-08:00 Europe/Berlin")]
    long = {
        day: hours.open_seconds(night, at(f"2024-{day}T12:00"), at(f"2024-{day}T12:00") + DAY) / 3600
        for day in ("03-29", "03-30", "10-26", "10-27")
    }
    assert long == {"03-29": 12, "03-30": 11, "10-26": 13, "10-27": 12}


def test_hours_that_overlap_count_once() -> None:
    both = [read_hours("09:00-12:00"), read_hours("11:00-13:00"), read_hours("13:00-14:00")]
    assert hours.windows(both, at("2024-01-08T00:00"), at("2024-01-09T00:00")) == [
        (at("2024-01-08T09:00"), at("2024-01-08T14:00"))
    ]


def test_what_is_too_far_away_never_comes() -> None:
    assert hours.after([read_hours("09:00-09:01 mon")], at("2024-01-08T00:00"), DAY) is None


@pytest.mark.parametrize(
    ("session", "length", "open_for"),
    [
        ([ALWAYS], 60, 60),
        ([ALWAYS], DAY, DAY),
        ([WEEKDAYS], DAY, DAY),
        ([WEEKDAYS], 7 * DAY, 5 * DAY),
        ([read_hours(NEW_YORK)], 3600, 3600),
        ([read_hours(NEW_YORK)], 12 * 3600, 6.5 * 3600),  # it cannot be longer than the trading day
        ([read_hours(NEW_YORK)], DAY, 6.5 * 3600),
        ([read_hours(NEW_YORK)], 2 * DAY, 13 * 3600),
        ([read_hours(NEW_YORK)], 7 * DAY, 5 * 6.5 * 3600),
    ],
)
def test_a_bar_is_as_long_as_the_market_is_open_in_it(session: list[Hours], length: float, open_for: float) -> None:
    assert hours.bar_seconds(session, length) == open_for
