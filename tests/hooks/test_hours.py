"""Hours of the week: how they are written, when they are open, and when so much time in them has gone by.

What the clocks on the wall show is looked up minute by minute, and held against what is computed.
"""

from __future__ import annotations

import bisect
import datetime as dt
import functools
import itertools
import zoneinfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bt_alerts import hours
from bt_alerts.hours import ALWAYS, DAY, WEEKDAYS, Hours, Moment, read_hours, read_moment

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


# The clocks on the wall, minute by minute ------------------------------------------------------------

#: Zones, and a day around which something happens to their clocks, or nothing does.
PLACES = (
    ("UTC", "2027-03-28"),
    ("Asia/Kolkata", "2027-03-28"),
    ("Europe/Berlin", "2027-03-28"),
    ("Europe/Berlin", "2027-10-31"),
    ("America/New_York", "2027-03-14"),
    ("America/New_York", "2027-11-07"),
    ("America/St_Johns", "2027-03-14"),
    ("Australia/Adelaide", "2027-04-04"),
    ("Australia/Adelaide", "2027-10-03"),
    ("Australia/Lord_Howe", "2027-04-04"),  # by half an hour
    ("Australia/Lord_Howe", "2027-10-03"),
    ("America/Havana", "2027-03-14"),  # at midnight
    ("America/Havana", "2027-11-07"),
    ("Pacific/Apia", "2011-12-30"),  # which was left out
    ("Pacific/Apia", "2012-04-01"),
)
BEFORE, AFTER = 12, 12  # days
MINUTES_A_DAY = DAY // 60


class Wall:
    """What the clocks of a zone show around a day, minute by minute."""

    def __init__(self, zone: str, day: str) -> None:
        self.zone = zone
        self.day = dt.date.fromisoformat(day)
        self.begin = int(at(day)) - BEFORE * DAY
        tz = zoneinfo.ZoneInfo(zone)
        self.times = range(self.begin, self.begin + (BEFORE + AFTER) * DAY, 60)
        self.shown = [dt.datetime.fromtimestamp(when, tz).replace(tzinfo=None) for when in self.times]
        #: The latest that was shown so far: from when on a time has been reached.
        self.latest = list(itertools.accumulate(self.shown, max))

    def reached(self, wanted: dt.datetime) -> int:
        """The first minute (its number) at which a time or a later one is shown."""
        return bisect.bisect_left(self.latest, wanted)

    def is_open(self, windows: list[Hours]) -> list[bool]:
        """For each minute, whether any of these is open."""
        found = [False] * len(self.shown)
        for each in windows:
            for number in range(-BEFORE + 3, AFTER - 3):
                day = self.day + dt.timedelta(days=number)
                if day.weekday() in each.days:
                    midnight = dt.datetime.combine(day, dt.time())
                    first = self.reached(midnight + dt.timedelta(seconds=each.begin))
                    last = self.reached(midnight + dt.timedelta(seconds=each.end))
                    found[first:last] = [True] * (last - first)
        return found

    def moments(self, moment: Moment) -> list[int]:
        """When a time of the day comes, in Unix seconds."""
        found = []
        for number in range(-BEFORE + 2, AFTER - 2):
            day = self.day + dt.timedelta(days=number)
            if day.weekday() in moment.days:
                wanted = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=moment.seconds)
                minute = self.reached(wanted)
                if self.shown[minute] != wanted:  # passed over: as much later as the clocks are put forward
                    ahead = self.shown[minute] - self.shown[minute - 1] - dt.timedelta(minutes=1)
                    minute = self.reached(wanted + ahead)
                found.append(self.times[minute])
        return sorted(set(found))


wall = functools.lru_cache(maxsize=None)(Wall)
minutes = st.one_of(
    st.integers(0, MINUTES_A_DAY - 1),
    st.sampled_from([0, 30, 60, 90, 105, 119, 120, 150, 165, 179, 180, 720, 1320, 1439]),
)
days = st.one_of(st.just(frozenset(range(7))), st.frozensets(st.integers(0, 6), min_size=1))


@st.composite
def windows_of(draw: st.DrawFn) -> tuple[int, int, frozenset[int]]:
    begin = draw(minutes)
    length = draw(st.one_of(st.integers(1, MINUTES_A_DAY), st.sampled_from([1, 30, 60, MINUTES_A_DAY])))
    return begin * 60, (begin + length) * 60, draw(days)


EVERY_DAY = frozenset(range(7))
HALF_HOURS = [(begin * 60, (begin + 30) * 60, EVERY_DAY) for begin in range(90, 240, 30)]  # one after the other


@settings(max_examples=30)
@given(place=st.sampled_from(PLACES), given_windows=st.lists(windows_of(), min_size=1, max_size=4))
@example(("Europe/Berlin", "2027-03-28"), [(150 * 60, 195 * 60, EVERY_DAY)])  # 02:30-03:15, of which 02:30 is left out
@example(("Australia/Lord_Howe", "2027-10-03"), [(135 * 60, 145 * 60, EVERY_DAY)])  # all of which is left out
@example(("Europe/Berlin", "2027-10-31"), [(150 * 60, 180 * 60, EVERY_DAY)])
@example(("America/Havana", "2027-03-14"), [(0, 60 * 60, EVERY_DAY), (23 * 3600, DAY, EVERY_DAY)])
@example(("Europe/Berlin", "2027-03-28"), HALF_HOURS)
@example(("Europe/Berlin", "2027-10-31"), HALF_HOURS)
def test_hours_are_open_when_the_clocks_on_the_wall_say_so_and_until_then(
    place: tuple[str, str], given_windows: list[tuple[int, int, frozenset[int]]]
) -> None:
    clocks = wall(*place)
    these = [Hours(begin, end, clocks.zone, on) for begin, end, on in given_windows]
    expected = clocks.is_open(these)
    ends = len(expected)
    for minute in range((BEFORE + 4) * MINUTES_A_DAY, (BEFORE - 4) * MINUTES_A_DAY, -1):
        if not expected[minute]:
            ends = minute
            found = hours.open_at(these, clocks.times[minute])
            assert found is None, (clocks.shown[minute], found)
        elif ends < len(expected):
            assert hours.open_at(these, clocks.times[minute]) == clocks.times[ends], clocks.shown[minute]
            assert hours.open_at(these, clocks.times[minute] + 59.5) == clocks.times[ends]
        assert hours.is_open(these, clocks.times[minute]) is expected[minute]


@settings(max_examples=30)
@given(place=st.sampled_from(PLACES), seconds=minutes.map(lambda minute: minute * 60), on=days)
@example(("Europe/Berlin", "2027-03-28"), 150 * 60, EVERY_DAY)
@example(("Europe/Berlin", "2027-10-31"), 150 * 60, EVERY_DAY)
@example(("Australia/Lord_Howe", "2027-10-03"), 135 * 60, EVERY_DAY)
@example(("Europe/Berlin", "2027-10-31"), DAY, frozenset({6}))
def test_a_time_of_the_day_comes_once_a_day_by_the_clocks_on_the_wall(
    place: tuple[str, str], seconds: int, on: frozenset[int]
) -> None:
    clocks = wall(*place)
    moment = Moment(seconds, clocks.zone, on)
    expected = clocks.moments(moment)
    for minute in range((BEFORE - 3) * MINUTES_A_DAY, (BEFORE + 2) * MINUTES_A_DAY):
        now = clocks.times[minute]
        later = bisect.bisect_right(expected, now)
        if later < len(expected):
            assert moment.next(now) == expected[later], clocks.shown[minute]
        if later:
            assert moment.last(now) == expected[later - 1]
            assert moment.last(now + 0.5) == expected[later - 1]


@given(place=st.sampled_from(PLACES), given_hours=windows_of())
def test_the_windows_in_which_the_clocks_change_are_those_that_are_longer_or_shorter(
    place: tuple[str, str], given_hours: tuple[int, int, frozenset[int]]
) -> None:
    begin, end, on = given_hours
    clocks = wall(*place)
    start = float(clocks.times[BEFORE * MINUTES_A_DAY])
    for opens, closes, longer in hours.shifts(Hours(begin, end, clocks.zone, on), start, start + DAY):
        assert longer == (closes - opens) - (end - begin) != 0
        around = [clocks.day + dt.timedelta(days=number) for number in range(-4, 5)]
        begins = {clocks.reached(dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=begin)) for day in around}
        assert opens in {clocks.times[minute] for minute in begins}
    if clocks.zone in {"UTC", "Asia/Kolkata"}:
        assert not list(hours.shifts(Hours(begin, end, clocks.zone, on), start, start + DAY))


def test_hours_that_the_clocks_pass_over_begin_when_these_are_put_forward() -> None:
    zone = "Europe/Berlin"
    night = [read_hours(f"02:30-04:00 {zone}")]
    assert hours.windows(night, at("2027-03-28T00:00"), at("2027-03-29T00:00")) == [
        (at("2027-03-28T03:00", zone), at("2027-03-28T04:00", zone))
    ]
    lost = [read_hours(f"02:10-02:50 {zone}")]
    assert hours.windows(lost, at("2027-03-28T00:00"), at("2027-03-29T00:00")) == []


def test_what_is_always_open_ends_never() -> None:
    assert hours.open_at([ALWAYS], at("2027-03-28T12:00")) == float("inf")
    both = [read_hours("08:00-20:00 Europe/Berlin"), read_hours("20:00-08:00 Europe/Berlin")]
    assert hours.open_at(both, at("2027-03-28T12:00")) == float("inf")
    assert shown(hours.open_at([WEEKDAYS], at("2027-03-24T12:00"))) == "Sat 00:00"


def test_windows_that_touch_are_one_and_their_ends_are_outside() -> None:
    touching = [read_hours("09:00-12:00"), read_hours("12:00-13:00"), read_hours("13:01-14:00")]
    assert shown(hours.open_at(touching, at("2027-03-24T09:00"))) == "Wed 13:00"
    assert hours.open_at(touching, at("2027-03-24T13:00")) is None
    assert hours.open_at(touching, at("2027-03-24T13:00") - 0.001) == at("2027-03-24T13:00")
    assert hours.open_at([], at("2027-03-24T09:00")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("07:30", Moment(27_000)),
        ("7:30 Europe/Berlin mon-fri", Moment(27_000, "Europe/Berlin", frozenset(range(5)))),
        ("00:00 sun", Moment(0, "UTC", frozenset({6}))),
        ("24:00 America/New_York fri", Moment(DAY, "America/New_York", frozenset({4}))),
    ],
)
def test_a_time_of_the_day_is_read(text: str, expected: Moment) -> None:
    assert read_moment(text) == expected


def test_the_end_of_friday_is_not_its_beginning() -> None:
    moment = read_moment("24:00 America/New_York fri")
    assert shown(moment.next(at("2027-03-24T12:00")), "America/New_York") == "Sat 00:00"
    assert moment.on(dt.date(2027, 3, 26)) == at("2027-03-27T00:00", "America/New_York")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "write a time such as 07:30 Europe/Berlin mon-fri; `` has no time in front"),
        ("half past seven", "has no time in front"),
        ("24:01", "`24:01` is no time of the day"),
        ("07:30 Mars/Base", "`Mars/Base` is no time zone and no day; write a time such as 07:30"),
        ("07:30 UTC Europe/Berlin", "`07:30 UTC Europe/Berlin` has two time zones; write a time such as"),
    ],
)
def test_what_is_no_time_of_the_day_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_moment(text)
