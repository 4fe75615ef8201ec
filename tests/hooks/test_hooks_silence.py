"""A feed that yields no bars: when it is told, when not, and that it is told once. Pure, with a clock passed in."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from bt_alerts.hooks.silence import Sight, Watched, look, watched
from bt_alerts.hours import DAY, read_hours

MINUTE = 60.0
NEW_YORK = [read_hours("09:30-16:00 America/New_York mon-fri")]


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


class Line:
    """A feed in time: bars come, the clock goes on, and what is told is written down."""

    def __init__(self, feed: Watched, last: float) -> None:
        self.feed = feed
        self.sight = Sight(last=last)
        self.told: list[tuple[str, float]] = []

    def bar(self, when: float) -> None:
        self.sight.last = when

    def looked(self, now: float) -> float | None:
        """Look until there is nothing more to tell; when to look again."""
        while True:
            self.sight, news, due = look(self.feed, self.sight, now)
            if news is None:
                return due
            self.told.append((news.kind, news.seconds))


T = at("2024-06-03T14:00")  # Monday, New York is open


def minutes(session: object = ()) -> Line:
    return Line(watched("AAA", MINUTE, 3, session), T)  # type: ignore[arg-type]


def test_three_bars_that_do_not_come_are_silence_and_it_is_told_once() -> None:
    line = minutes()
    assert line.looked(T + 179) == T + 180
    assert line.told == []
    assert line.looked(T + 180) is None
    assert line.looked(T + 1_000) is None
    assert line.told == [("data.silent", 180)]


def test_bars_that_come_again_are_told_once_with_how_long_it_was_silent() -> None:
    line = minutes()
    line.looked(T + 200)
    line.bar(T + 1_500)
    assert line.looked(T + 1_501) == T + 1_560  # the feed has a minute to say that it is live again
    assert line.told == [("data.silent", 200)]
    line.bar(T + 1_560)
    assert line.looked(T + 1_561) == T + 1_740
    assert line.told == [("data.silent", 200), ("data.resumed", 1_500)]


def test_it_is_told_anew_each_time() -> None:
    line = minutes()
    for start in (0, 1_000, 2_000):
        line.bar(T + start)
        line.looked(T + start + 61)
        line.looked(T + start + 500)
    assert [kind for kind, _ in line.told] == ["data.silent"] + ["data.resumed", "data.silent"] * 2


def test_bars_that_came_and_went_while_nobody_looked_are_both_told() -> None:
    line = minutes()
    line.looked(T + 200)
    line.bar(T + 300)
    line.looked(T + 10_000)
    assert line.told == [("data.silent", 200), ("data.resumed", 300), ("data.silent", 9_700)]


def test_a_bar_in_time_moves_the_limit_on() -> None:
    line = minutes()
    for minute in range(1, 100):
        line.bar(T + 60 * minute)
        assert line.looked(T + 60 * minute + 30) == T + 60 * minute + 180
    assert line.told == []


def test_only_session_hours_count() -> None:
    line = minutes(NEW_YORK)
    line.bar(at("2024-06-07T20:00"))  # Friday's close
    monday = at("2024-06-10T13:30")
    assert line.looked(monday - 1) == monday + 180
    assert line.told == []
    line.looked(monday + 180)
    assert [kind for kind, _ in line.told] == ["data.silent"]


def test_the_clocks_that_change_over_a_weekend_change_the_session() -> None:
    line = minutes(NEW_YORK)
    line.bar(at("2024-03-08T21:00"))
    assert line.looked(at("2024-03-09T12:00")) == at("2024-03-11T13:33")


def test_a_feed_of_which_nothing_was_expected_yet_is_not_silent() -> None:
    line = Line(watched("AAA", MINUTE, 3, ()), 0.0)
    assert line.looked(T + 10 * DAY) is None
    assert line.told == []


def test_zero_tells_nothing() -> None:
    line = Line(watched("AAA", MINUTE, 0, ()), T)
    assert line.looked(T + 10 * DAY) is None
    assert line.told == []


def test_a_connection_whose_loss_was_told_is_not_told_again_as_silence() -> None:
    line = minutes()
    line.sight.down = T
    assert line.looked(T + 10_000) is None
    assert line.told == []


def test_bars_after_a_lost_connection_are_told_where_it_does_not_say_live() -> None:
    line = minutes()
    line.sight.down = T
    line.bar(T + 600)
    assert line.looked(T + 601) == T + 660  # it has a minute to say so
    line.bar(T + 660)
    assert line.looked(T + 661) == T + 840
    line.looked(T + 840)
    assert line.told == [("data.resumed", 600), ("data.silent", 180)]


def test_live_that_is_said_after_the_bars_that_fill_a_gap_is_the_one_message() -> None:
    line = minutes()
    line.sight.down = T
    line.bar(T + 600)
    line.looked(T + 601)
    line.sight = dataclasses.replace(line.sight, down=0.0, back=T + 605)
    line.looked(T + 700)
    line.sight = dataclasses.replace(line.sight, down=T + 710)  # and anew
    line.bar(T + 720)
    assert line.looked(T + 721) == T + 780
    assert line.told == []


def test_live_that_is_said_after_the_bars_that_fill_a_silence_is_the_one_message() -> None:
    line = minutes()
    line.looked(T + 180)
    for second in range(500, 520):  # the gap is filled, and each bar of it may be looked at
        line.bar(T + second)
        assert line.looked(T + second) == T + 560
    line.sight = dataclasses.replace(line.sight, last=T + 520, back=T + 520)  # data.live was told
    assert line.looked(T + 700) is None
    assert line.told == [("data.silent", 180), ("data.silent", 180)]


def test_a_feed_that_lost_its_connection_before_its_return_was_told_is_not_told_to_be_back() -> None:
    line = minutes()
    line.looked(T + 180)
    line.bar(T + 500)
    line.looked(T + 501)
    line.sight.down = T + 510
    assert line.looked(T + 9_000) is None
    assert line.told == [("data.silent", 180)]
    line.bar(T + 9_100)
    line.looked(T + 9_101)
    line.looked(T + 9_160)
    assert line.told == [("data.silent", 180), ("data.resumed", 9_100)]


def test_what_says_that_it_is_live_again_is_not_told_twice() -> None:
    line = minutes()
    line.looked(T + 180)
    line.sight = dataclasses.replace(line.sight, last=T + 500, back=T + 500)  # data.live was told
    assert line.looked(T + 501) == T + 680
    line.bar(T + 560)
    line.looked(T + 561)
    assert line.told == [("data.silent", 180)]
    line.looked(T + 740)
    assert [kind for kind, _ in line.told] == ["data.silent", "data.silent"]


def test_a_live_that_was_told_before_the_silence_does_not_stand_for_its_end() -> None:
    line = minutes()
    line.sight.back = T
    line.looked(T + 180)
    line.bar(T + 500)
    line.looked(T + 560)
    assert [kind for kind, _ in line.told] == ["data.silent", "data.resumed"]


@pytest.mark.parametrize(
    ("length", "factor", "session", "allowed"),
    [
        (1.0, 3, (), 60),  # ticks and seconds: a minute at least
        (5.0, 3, (), 60),
        (300.0, 3, (), 900),
        (300.0, 1.5, (), 450),
        (DAY, 3, (), 3 * DAY),
        (DAY, 3, NEW_YORK, 3 * 6.5 * 3600),  # three trading days
        (7 * DAY, 2, NEW_YORK, 2 * 5 * 6.5 * 3600),
    ],
)
def test_how_long_may_a_feed_be_silent(length: float, factor: float, session: object, allowed: float) -> None:
    assert watched("AAA", length, factor, session).allowed == allowed  # type: ignore[arg-type]


def test_daily_bars_without_a_session_are_not_expected_at_the_weekend() -> None:
    line = Line(watched("AAA", DAY, 3, ()), at("2024-06-07T22:00"))  # Friday
    assert line.looked(at("2024-06-10T22:00")) == at("2024-06-12T22:00")
    assert line.told == []
