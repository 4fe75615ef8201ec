"""The same week at other times of the year: what a reader's clock shows is the same, whatever the clocks do that night.

A scenario is told in local time, as a reader lives it. It is lived through in an ordinary week, over both changes of
the clocks, and over a leap day; each time by the simulator, by the real thing, and by the real thing that is restarted
in the middle of the window.
"""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock
from fidelity_kit import fates, live, services, simulated_fates

from bt_alerts.alert import Alert, Source, derived_id
from bt_alerts.settings import load
from bt_alerts.simulate import simulate

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

#: Saturdays: the nights to the Sundays are the ones in which something happens to the clocks, or nothing.
SATURDAYS = {
    "an ordinary night": dt.date(2026, 6, 13),
    "the clocks go forward": dt.date(2026, 3, 28),
    "the clocks go back": dt.date(2026, 10, 24),
}
LEAP_DAY = dt.date(2028, 2, 28)  # the day before it
BEFORE_A_MARCH = dt.date(2027, 2, 27)  # the same weekday distance without one

#: Day after the first, local time, kind, priority.
TOLD = [
    (0, "20:00", "order.completed", "medium"),
    (0, "21:59", "trade.closed", "medium"),
    (0, "22:00", "order.completed", "medium"),
    (0, "23:30", "error", "critical"),
    (1, "00:10", "trade.closed", "medium"),
    (1, "04:30", "order.completed", "low"),
    (1, "06:59", "order.rejected", "high"),
    (1, "07:00", "order.completed", "medium"),
    (1, "17:59", "custom", "low"),
    (1, "18:00", "custom", "low"),
    (2, "03:15", "trade.closed", "medium"),
]

CONFIG: dict[str, Any] = {
    "store": "memory",
    "mode": "send",
    "quiet_hours": [{"hours": "22:00-07:00 Europe/Berlin"}],
    "digests": [{"at": "18:00 Europe/Berlin", "through": "medium", "when": {"kind": "custom"}}],
    "rules": {"maintenance": [{"hours": "04:00-05:00 Europe/Berlin"}]},
    "escalation": [{"when": {"priority": "critical"}, "steps": [{"after": "10m", "to": "hook"}], "repeat": 1}],
}


def at(first: dt.date, day: int, time: str) -> float:
    hour, minute = map(int, time.split(":"))
    local = dt.datetime.combine(first + dt.timedelta(days=day), dt.time(hour, minute), BERLIN)
    return local.timestamp()


def alerts(first: dt.date) -> list[Alert]:
    return [
        Alert.make(
            kind,
            title=f"{day} {time}",
            kind=kind,
            type=kind.split(".")[0],
            priority=priority,
            time=(when := at(first, day, time)),
            source=Source.LIVE,
            symbol="AAPL",
            id=derived_id(when, str(n)),
        )
        for n, (day, time, kind, priority) in enumerate(TOLD)
    ]


def local(first: dt.date, time: float) -> str:
    """As the reader's clock shows it: the day counted from the first, and the time."""
    when = dt.datetime.fromtimestamp(time, BERLIN)
    return f"{(when.date() - first).days} {when:%H:%M:%S}"


def read(found: dict[str, Any], told: list[Alert], first: dt.date) -> list[Any]:
    """Fates in local time."""
    return [
        (
            alert.title,
            *found[alert.id][:3],
            [(channel, state, reason, local(first, settled)) for channel, state, _, reason, _, settled, *_ in
             found[alert.id][3]],
        )
        for alert in told
    ]  # fmt: skip


def lived(first: dt.date, folder: Path, restarts: list[tuple[int, str]]) -> dict[str, list[Any]]:
    """What became of it: by the simulator, really, and really with restarts."""
    told = alerts(first)
    outcomes = {}
    for name, ends in (("live", []), ("restarted", [at(first, day, time) + 1.0 for day, time in restarts])):
        clock = Clock(at(first, 0, "12:00"))
        with services(["hook"], clock, [], {}) as there:
            tried = load({**CONFIG, "alerts": {"hook": {"type": "webhook", "urls": there["hook"].url}}})
            if name == "live":
                simulation = simulate(told, tried, latency={"hook": 0.0})
                outcomes["simulated"] = read(simulated_fates(simulation), told, first)
            life = live(folder / name, tried, clock, there, told, restarts=ends)
            try:
                outcomes[name] = read(fates(life), told, first)
            finally:
                life.close()
    return outcomes


RESTARTS = [(0, "23:31"), (1, "03:30"), (1, "18:00"), (2, "06:00")]


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ordinary")
    return lived(SATURDAYS["an ordinary night"], folder, RESTARTS)["live"]


def test_in_an_ordinary_week_the_night_is_quiet_and_the_morning_has_one_message(ordinary: list[Any]) -> None:
    arrived = {title: deliveries[0][3] for title, *_, deliveries in ordinary if deliveries}
    assert arrived == {
        "0 20:00": "0 20:00:00",
        "0 21:59": "0 21:59:00",
        "0 22:00": "1 07:00:00",
        "0 23:30": "0 23:30:00",
        "1 00:10": "1 07:00:00",
        "1 06:59": "1 07:00:00",
        "1 07:00": "1 07:00:00",
        "1 17:59": "1 18:00:00",
        "1 18:00": "2 18:00:00",
        "2 03:15": "2 07:00:00",
    }
    suppressed = [(title, reason) for title, state, reason, *_ in ordinary if state == "suppressed"]
    assert suppressed == [("1 04:30", "maintenance")]
    (escalated,) = [deliveries for title, *_, deliveries in ordinary if title == "0 23:30"]
    assert [(reason, time) for _, _, reason, time in escalated] == [
        ("", "0 23:30:00"), ("escalated", "0 23:40:00"), ("escalated", "0 23:50:00"),
    ]  # fmt: skip


@pytest.mark.parametrize("night", SATURDAYS)
def test_a_night_in_which_the_clocks_change_is_like_any_other(night: str, ordinary: list[Any], tmp_path: Path) -> None:
    outcomes = lived(SATURDAYS[night], tmp_path, RESTARTS)
    assert outcomes == dict.fromkeys(("simulated", "live", "restarted"), ordinary)


@pytest.mark.parametrize("first", [LEAP_DAY, LEAP_DAY + dt.timedelta(days=1), BEFORE_A_MARCH], ids=str)
def test_a_leap_day_is_a_day_like_any_other(first: dt.date, ordinary: list[Any], tmp_path: Path) -> None:
    outcomes = lived(first, tmp_path, RESTARTS)
    assert outcomes == dict.fromkeys(("simulated", "live", "restarted"), ordinary)


@pytest.mark.parametrize("restart", list(itertools.islice(TOLD, 2, 7)), ids=lambda told: f"{told[0]} {told[1]}")
def test_a_restart_in_the_middle_of_the_night_changes_nothing(
    restart: tuple[int, str, str, str], ordinary: list[Any], tmp_path: Path
) -> None:
    first = SATURDAYS["an ordinary night"]
    assert lived(first, tmp_path, [(restart[0], restart[1])])["restarted"] == ordinary
