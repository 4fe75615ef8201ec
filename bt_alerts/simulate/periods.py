"""Messages by day, month or year: as many bars as an eye can take."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from bt_alerts.simulate import figures
from bt_alerts.simulate.svg import Bar

if TYPE_CHECKING:
    from bt_alerts.simulate.result import Simulation

MOST_BARS = 200  # beside each other on a wide screen


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A length of time: what it is called, its first day, the first day of the next, and what a bar is labelled."""

    name: str
    first: Callable[[dt.date], dt.date]
    following: Callable[[dt.date], dt.date]
    label: Callable[[dt.date], str]


def _next_month(day: dt.date) -> dt.date:
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


UNITS = (
    Unit("day", lambda day: day, lambda day: day + dt.timedelta(days=1), lambda day: f"{day.day} {day:%b %Y}"),
    Unit(
        "week",
        lambda day: day - dt.timedelta(days=day.weekday()),
        lambda day: day + dt.timedelta(days=7),
        lambda day: f"{day.day} {day:%b %Y}",
    ),
    Unit("month", lambda day: day.replace(day=1), _next_month, lambda day: f"{day:%b %Y}"),
    Unit(
        "year",
        lambda day: day.replace(month=1, day=1),
        lambda day: day.replace(year=day.year + 1, month=1, day=1),
        lambda day: f"{day.year}",
    ),
)

By = Callable[[tuple[str, str]], str]


def by_channel(pair: tuple[str, str]) -> str:
    """The channel of ``(channel, priority)``."""
    return pair[0]


def by_priority(pair: tuple[str, str]) -> str:
    """The priority of ``(channel, priority)``."""
    return pair[1]


def units(simulation: Simulation) -> list[Unit]:
    """Those in which the run fits, the finest first; one at least."""
    first, last = ends(simulation)
    counted = [(unit, sum(1 for _ in _steps(unit, first, last))) for unit in UNITS]
    return [unit for unit, n in counted if n <= MOST_BARS and (n > 1 or unit is UNITS[0])] or [UNITS[-1]]


def bars(
    simulation: Simulation,
    unit: Unit,
    by: By,
    counts: figures.Counts | None = None,
    days: tuple[dt.date, dt.date] | None = None,
) -> list[Bar]:
    """A bar for each period of the run, empty ones too.

    Args:
        simulation: the result.
        unit: how long a period is.
        by: what the parts of a bar are.
        counts: those of each day, where they are known.
        days: the first and the last that are shown; those of :func:`ends` unless given.
    """
    found: Mapping[dt.date, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for day, pairs in (figures.per_day(simulation) if counts is None else counts).items():
        for (channel, priority), n in pairs.items():
            found[unit.first(day)][by((channel, priority.value))] += n
    return [Bar(unit.label(day), found[day]) for day in _steps(unit, *(days or ends(simulation)))]


def _steps(unit: Unit, first: dt.date, last: dt.date) -> Iterator[dt.date]:
    day = unit.first(first)
    while day <= last:
        yield day
        day = unit.following(day)


def ends(simulation: Simulation) -> tuple[dt.date, dt.date]:
    """First and last day; a digest can come after the run's end."""
    zone = figures.zone_of(simulation.zone)
    times = [simulation.began, simulation.ended, *(row.time for row in simulation.messages)]
    return figures.local(min(times), zone).date(), figures.local(max(times), zone).date()
