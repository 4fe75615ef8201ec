"""Maintenance windows: hours of the week, one stretch of time, or the hours within it."""

from __future__ import annotations

import datetime as dt

import pytest
from alerts_kit import alert
from rules_kit import Remembered

from bt_alerts.hours import read_hours
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.stage import Plan, Reason, suppressed
from bt_alerts.rules.when import When


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


NIGHTLY = Maintenance(name="restarts", hours=(read_hours("17:00-17:15 America/New_York mon-fri"),))
MOVING = Maintenance(name="moving", begins=at("2026-12-24T18:00"), ends=at("2026-12-27"))
BOTH = Maintenance(name="both", hours=(read_hours("02:00-03:00"),), begins=at("2026-12-24"), ends=at("2026-12-26"))


@pytest.mark.parametrize(
    ("rule", "now", "told"),
    [
        (NIGHTLY, "2027-01-15T21:59:59", True),
        (NIGHTLY, "2027-01-15T22:00", False),
        (NIGHTLY, "2027-01-15T22:15", True),
        (NIGHTLY, "2027-07-16T21:05", False),  # the clocks there are put forward
        (NIGHTLY, "2027-07-16T22:05", True),
        (NIGHTLY, "2027-01-16T22:05", True),  # a Saturday
        (MOVING, "2026-12-24T17:59:59", True),
        (MOVING, "2026-12-24T18:00", False),
        (MOVING, "2026-12-26T23:59:59", False),
        (MOVING, "2026-12-27T00:00", True),
        (BOTH, "2026-12-25T02:30", False),
        (BOTH, "2026-12-25T03:30", True),
        (BOTH, "2026-12-26T02:30", True),
        (Maintenance(name="from then on", begins=at("2026-12-24")), "2029-01-01", False),
        (Maintenance(name="until then", ends=at("2026-12-24")), "2020-01-01", False),
        (Maintenance(name="always"), "2020-01-01", False),
    ],
)
def test_nobody_is_told_in_a_window(state: Remembered, rule: Maintenance, now: str, told: bool) -> None:
    found = rule(alert(), Plan(), state, at(now))
    assert found == (Plan() if told else suppressed(Reason.MAINTENANCE, rule.name))
    assert state.kept == {}


def test_what_is_critical_is_told_unless_the_settings_say_otherwise(state: Remembered) -> None:
    now = at("2026-12-25T02:30")
    assert BOTH(alert(priority="critical"), Plan(), state, now) == Plan()
    strict = Maintenance(name="all", through=None)
    assert strict(alert(priority="critical"), Plan(), state, now) == suppressed(Reason.MAINTENANCE, "all")


def test_what_it_is_not_about_is_told(state: Remembered) -> None:
    rule = Maintenance(name="feeds", when=When(kinds=("data.*",)))
    assert rule(alert(kind="error"), Plan(), state, 0.0) == Plan()
    assert rule.why_not(alert(kind="error"), 0.0) == "its kind is error"


def test_why_not_in_words() -> None:
    assert MOVING.why_not(alert(), at("2027-12-24")) == "it is not the time of this window"
    assert BOTH.why_not(alert(), at("2026-12-25T04:00")) == "it is outside the hours of this window"
    assert BOTH.words == ("not told 02:00-03:00 UTC from 2026-12-24 00:00 UTC until 2026-12-26 00:00 UTC")
