"""Messages over time of one simulation or of two, as the bars of a chart; knows no Streamlit."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bt_alerts.simulate import Simulation, figures, periods

HOURLY = 3 * figures.DAY  # seconds; what is shorter is shown by the hour


class Bar(NamedTuple):
    """The messages of a channel in one step of a chart, drawn between two times on the wall, which have no zone.

    It stands upon those of other channels: from ``above`` to ``top``.
    """

    time: dt.datetime
    until: dt.datetime
    channel: str
    messages: int
    above: int
    top: int


@dataclasses.dataclass(frozen=True, slots=True)
class Timelines:
    """Messages over time of several simulations of a run.

    Args:
        unit: what a bar is: an hour, a day, a week …
        bars: of each simulation, without empty ones.
        ends: the time that all of them are shown over.
        most: messages of the highest bar of all, channels together.
        channels: that have any.
    """

    unit: str
    bars: Sequence[Sequence[Bar]]
    ends: tuple[dt.datetime, dt.datetime]
    most: int
    channels: Sequence[str]


def timelines(simulations: Sequence[Simulation]) -> Timelines:
    """What the charts of one or two simulations show."""
    times = [time for one in simulations for time in (one.began, one.ended, *(row.time for row in one.messages))]
    zone = figures.zone_of(simulations[0].zone)
    first, last = (figures.local(when, zone).replace(tzinfo=None) for when in (min(times), max(times)))
    unit: Callable[[dt.datetime], dt.datetime]
    if max(times) - min(times) < HOURLY:
        name, unit = "hour", lambda when: when.replace(minute=0, second=0, microsecond=0)
        long = dt.timedelta(hours=1)
        last += long
    else:
        coarse = max((periods.units(one)[0] for one in simulations), key=periods.UNITS.index)
        name, unit = coarse.name, lambda when: dt.datetime.combine(coarse.first(when.date()), dt.time())
        long = dt.timedelta(days={"day": 1, "week": 7, "month": 28, "year": 365}.get(name, 1))
        last = dt.datetime.combine(coarse.following(coarse.first(last.date())), dt.time())
    made = []
    for one in simulations:
        counts: collections.Counter[tuple[dt.datetime, str]] = collections.Counter()
        for row in one.messages:
            counts[unit(figures.local(row.time, zone).replace(tzinfo=None)), row.channel] += 1
        tops: collections.Counter[dt.datetime] = collections.Counter()
        stacked = []
        for (at, channel), n in sorted(counts.items()):
            stacked.append(Bar(at, at + 0.85 * long, channel, n, tops[at], tops[at] + n))
            tops[at] += n
        made.append(stacked)
    channels = sorted({bar.channel for each in made for bar in each})
    return Timelines(
        name, made, (unit(first), last), max((bar.top for each in made for bar in each), default=0), channels
    )
