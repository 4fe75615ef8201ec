"""Reports at set times: each time is made up for once, whatever the process and the clocks do."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import Remembered

from bt_alerts.hours import read_moment
from bt_alerts.rules.reports import DAILY, WEEKLY, Report, Reports
from bt_alerts.rules.stage import Acknowledged, Plan, Tick, ToReport


def at(text: str, zone: str = "UTC") -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def report(text: str = "18:00", name: str = "evening", period: str = DAILY) -> Report:
    return Report(name, period, read_moment(text), ("mail",))


FRIDAY = at("2027-01-15T12:00")
DAY = 86_400.0


def made(stage: Reports, state: Remembered, now: float) -> list[ToReport]:
    found = stage.hear(Tick(), state, now)
    assert all(isinstance(each, ToReport) for each in found)
    return found  # type: ignore[return-value]  # as was just looked at


def live(stage: Reports, state: Remembered, now: float, until: float) -> list[ToReport]:
    """What is made by somebody who wakes only when they are asked to."""
    found = []
    while (wakes := stage.wakes(state, now)) is not None and wakes <= until:
        now = max(now, wakes)
        found += made(stage, state, now)
        assert stage.wakes(state, now) != wakes, "it wakes for the same again"
    return found


def test_the_first_time_only_begins_to_count(state: Remembered) -> None:
    stage = Reports([report()])
    assert stage.wakes(state, FRIDAY) == FRIDAY
    assert made(stage, state, FRIDAY) == []
    assert stage.wakes(state, FRIDAY) == at("2027-01-15T18:00")


def test_a_report_is_about_the_time_since_the_one_before(state: Remembered) -> None:
    found = live(Reports([report()]), state, FRIDAY, FRIDAY + 2 * DAY)
    assert found == [
        ToReport("evening", "daily", at("2027-01-14T18:00"), at("2027-01-15T18:00"), "UTC", ("mail",)),
        ToReport("evening", "daily", at("2027-01-15T18:00"), at("2027-01-16T18:00"), "UTC", ("mail",)),
    ]


def test_that_of_a_monday_is_about_the_weekend_too(state: Remembered) -> None:
    friday, monday = live(Reports([report("18:00 mon-fri")]), state, FRIDAY, FRIDAY + 4 * DAY)
    assert (friday.until, monday.since, monday.until) == (at("2027-01-15T18:00"), friday.until, at("2027-01-18T18:00"))


def test_times_that_were_missed_are_made_up_for_once_with_the_latest(state: Remembered) -> None:
    stage = Reports([report()])
    made(stage, state, FRIDAY)
    (late,) = made(stage, state, FRIDAY + 30 * DAY)
    assert late.until == at("2027-02-13T18:00")
    assert late.since == late.until - DAY
    assert made(stage, state, FRIDAY + 30 * DAY) == []
    assert stage.wakes(state, FRIDAY + 30 * DAY) == at("2027-02-14T18:00")


def test_a_time_is_reported_at_its_very_second_and_not_before_and_not_again(state: Remembered) -> None:
    stage, due = Reports([report()]), at("2027-01-15T18:00")
    made(stage, state, FRIDAY)
    assert made(stage, state, due - 0.001) == []
    assert len(made(stage, state, due)) == 1
    assert made(stage, state, due) == made(stage, state, due + 3600) == []


@pytest.mark.parametrize("back", [0.5, 3600, DAY, 400 * DAY])
def test_a_clock_that_went_back_begins_to_count_anew_and_does_not_stop(state: Remembered, back: float) -> None:
    stage = Reports([report()])
    live(stage, state, FRIDAY, FRIDAY + DAY)
    begin = FRIDAY + DAY / 4 - back  # the report of 18:00 was just made
    again = live(stage, state, begin, begin + DAY)
    assert [found.until for found in again] == [stage.rules[0].at.next(begin)]


def test_reports_of_two_names_do_not_know_of_each_other(state: Remembered) -> None:
    stage = Reports([report(), report("18:00", "also"), report("18:00 sun", "week", WEEKLY)])
    assert [found.name for found in live(stage, state, FRIDAY, FRIDAY + DAY)] == ["evening", "also"]
    more = Reports([*stage.rules, report("19:00", "new")])
    assert more.wakes(state, FRIDAY + DAY) == FRIDAY + DAY
    assert made(more, state, FRIDAY + DAY) == []


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2027-03-28", [24, 23, 24]), ("2027-10-31", [24, 25, 24])],
)
def test_days_on_which_the_clocks_change_are_as_long_as_they_are(state: Remembered, day: str, hours: list[int]) -> None:
    zone = "Europe/Berlin"
    begin = at(day, zone) - DAY
    found = live(Reports([report(f"18:00 {zone}")]), state, begin, begin + 3 * DAY)
    assert [(each.until - each.since) / 3600 for each in found] == hours
    assert {f"{dt.datetime.fromtimestamp(each.until, zoneinfo.ZoneInfo(zone)):%H:%M}" for each in found} == {"18:00"}
    assert {each.zone for each in found} == {zone}


@pytest.mark.parametrize("text", ["02:30 Europe/Berlin", "03:00 Europe/Berlin", "02:15 Australia/Lord_Howe", "24:00"])
def test_there_is_one_a_day_at_a_time_that_the_clocks_pass_over_or_show_twice(state: Remembered, text: str) -> None:
    begin = at("2027-01-01T12:00")
    found = live(Reports([report(text)]), state, begin, begin + 365 * DAY)
    assert len(found) == 365
    assert all(first.until == second.since for first, second in itertools.pairwise(found))


@given(gaps=st.lists(st.one_of(st.floats(0, 3 * DAY), st.sampled_from([0.0, -3600.0, -DAY, 90 * DAY])), max_size=20))
def test_no_time_is_reported_twice_while_the_clock_goes_on_and_none_is_left_out(gaps: list[float]) -> None:
    stage, state, now = Reports([report(), report("09:00 sat", "week", WEEKLY)]), Remembered(), FRIDAY
    made(stage, state, now)
    seen: dict[str, float] = {}
    for gap in gaps:
        now += gap
        if gap < 0:
            seen.clear()
            made(stage, state, now)
        for found in made(stage, state, now):
            assert found.since < found.until <= now
            assert found.until > seen.get(found.name, 0.0)
            seen[found.name] = found.until
        assert (stage.wakes(state, now) or 0.0) > now


def test_alerts_pass_and_other_events_are_nothing_to_it(state: Remembered) -> None:
    stage = Reports([report()])
    assert stage(alert(), Plan(), state, FRIDAY) == Plan()
    assert stage.hear(Acknowledged("x"), state, FRIDAY) == []
    assert state.kept == {}
    assert Reports([]).wakes(state, FRIDAY) is None


def test_in_words() -> None:
    assert report("18:00 Europe/Berlin mon-fri").words == "a daily report at 18:00 Europe/Berlin mon-fri to mail"
