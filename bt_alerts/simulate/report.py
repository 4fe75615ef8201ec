"""The report of a simulation: one HTML file that is read in any browser, on a phone or a wide screen, light or dark.

Everything that came from alerts is data and never markup, secrets of this process are masked, and nothing is loaded
from anywhere. The phone holds the newest messages that fit in :data:`bt_alerts.simulate.phone.MAX_BYTES` and says where
there are more.
"""

from __future__ import annotations

import collections
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts.compose import duration, number
from bt_alerts.simulate import figures, frames, page_file, periods
from bt_alerts.simulate.phone import MAX_BYTES, phone_data, shown
from bt_alerts.simulate.svg import PALETTE, Series, bars, channel_series, heat_map, one_bar, priority_series

if TYPE_CHECKING:
    from bt_alerts.simulate.result import Simulation

NOISIEST = 10


def write(simulation: Simulation, path: str | Path) -> Path:
    """Write the report. Raises ``OSError``; no half file is left."""
    return page_file.write(path, report(simulation))


def report(simulation: Simulation, limit: int = MAX_BYTES) -> str:
    """The report as HTML.

    Args:
        simulation: the result.
        limit: bytes of messages that the phone may hold.
    """
    from markupsafe import Markup

    data = phone_data(simulation, limit)
    head = figures.headline(simulation)
    charts, units = _charts(simulation)
    facts = {
        **common(simulation),
        "page_title": f"{shown(simulation.name, 200) or 'A run'}: its alerts, simulated",
        "sentence": shown(figures.sentence(simulation), 500),
        "tiles": tiles(head),
        "charts": charts,
        "units": units,
        "default_unit": units[0],
        "heat": Markup(heat_map(figures.hour_of_week(simulation), about=_busiest(head))) if head.messages else "",
        "busiest": _busiest(head),
        "suppressed": _suppressed(simulation),
        "suppressed_lead": f"{figures.count(head.suppressed + head.recorded, 'alert')} of {head.alerts:,}.",
        "held": [
            {"words": shown(row.words, 200), "channel": row.channel, "n": row.n}
            | {"median": seconds_words(row.median), "longest": seconds_words(row.longest)}
            for row in figures.held(simulation)
        ],
        "lost": _lost(simulation),
        "waits": [
            {"channel": row.channel, "priority": row.priority.value, "colour": row.priority.style.colour, "n": row.n}
            | {name: seconds_words(getattr(row, name)) for name in ("median", "p95", "longest")}
            for row in figures.waits(simulation)
        ],
        "bites": [
            {"limit": shown(row.limit, 300), "channel": row.channel, "times": row.times, "over": row.over}
            | {"worst": shown(row.worst, 300), "first": moment(simulation, row.first)}
            for row in simulation.bites
        ],
        "cost": _cost(simulation),
        "noise": _noise(simulation),
        "channels": [channel["name"] for channel in data["channels"]],
        "priorities": figures.priorities(simulation),
        "phone_data": data,
    }
    return page_file.page("report.html.j2", facts, {"data-phone": data})


def common(simulation: Simulation) -> dict[str, Any]:
    """What every page says of the run."""
    zone = figures.zone_of(simulation.zone)
    first, last = (figures.local(when, zone) for when in (simulation.began, simulation.ended))
    times = [simulation.began, simulation.ended, *(row.time for row in simulation.messages)]
    return {
        "name": shown(simulation.name, 200) or "A run",
        "config": shown(simulation.config, 200),
        "zone": simulation.zone,
        "zone_short": f"{last:%Z}",
        "began": day_words(first),
        "ended": day_words(last),
        "first_day": figures.local(min(times), zone).date().isoformat(),
        "last_day": figures.local(max(times), zone).date().isoformat(),
    }


def day_words(when: dt.datetime | dt.date) -> str:
    """``"2 January 2014"``."""
    return f"{when.day} {when:%B %Y}"


def moment(simulation: Simulation, when: float) -> str:
    """A time on the wall: ``"2014-01-02 15:30"``."""
    return f"{figures.local(when, figures.zone_of(simulation.zone)):%Y-%m-%d %H:%M}"


def seconds_words(seconds: float) -> str:
    """A wait for reading: ``"0.4 s"``, ``"12 s"``, ``"7 h 30 min"``."""
    return f"{seconds:.1f} s" if 0 < seconds < 9.95 else duration(round(seconds))


def tiles(head: figures.Headline) -> list[dict[str, str]]:
    """The headline figures, each with its words; what is nothing is left out where it says nothing."""
    rate, _, per = figures.rate_words(head.a_day).partition(" ")
    found = [
        (
            f"{head.messages:,}",
            f"message{'' if head.messages == 1 else 's'} from {figures.count(head.alerts, 'alert')}",
        ),
        (rate, f"{per}, on average"),
        (f"{head.busiest.messages:,}", "in the busiest hour"),
        (f"{head.suppressed:,}", "kept back by a rule"),
    ]
    if not head.one_time_of_day:
        found.insert(3, (f"{head.at_night:,}", "with sound at night, 22:00 to 07:00"))
    if head.digests:
        found.append((f"{head.digests:,}", "of them digests" if head.digests > 1 else "of them a digest"))
    if head.lost:
        found.append((f"{head.lost:,}", "deliveries lost, expired or cancelled"))
    if head.late:
        found.append((f"{head.late:,}", "more than a minute late"))
    if head.cost:
        found.append((number(round(head.cost, 2)), "to pay, by the price table"))
    return [{"figure": figure, "words": words} for figure, words in found]


def _charts(simulation: Simulation) -> tuple[list[dict[str, Any]], list[str]]:
    from markupsafe import Markup

    fitting = periods.units(simulation)
    names = [unit.name for unit in fitting]
    if not simulation.messages:
        return [], names
    by: list[tuple[str, periods.By, list[Series]]] = [
        ("channel", periods.by_channel, channel_series(list(figures.channels(simulation)))),
        ("priority", periods.by_priority, priority_series(figures.priorities(simulation))[::-1]),
    ]
    charts, counts = [], figures.per_day(simulation)
    for unit in fitting:
        for word, key, series in by:
            made = periods.bars(simulation, unit, key, counts)
            sums: collections.Counter[str] = sum(
                (collections.Counter(bar.parts) for bar in made), collections.Counter()
            )
            charts.append(
                {
                    "by": word,
                    "unit": unit.name,
                    "hidden": unit is not fitting[0] or word != "channel",
                    "bars": made,
                    "svg": Markup(bars(made, series, about=f"Messages a {unit.name}, by {word}")),
                    "series": [{"name": s.name, "colour": s.colour, "n": sums[s.name]} for s in series if sums[s.name]],
                }
            )
    return charts, names


def _busiest(head: figures.Headline) -> str:
    began = head.busiest.began
    if began is None:
        return ""
    return (
        f"The busiest hour began on {began:%A}, {day_words(began)} at {began:%H:%M}, "
        f"with {figures.count(head.busiest.messages, 'message')}."
    ) + (" The bars are daily, so hours say little here." if head.one_time_of_day else "")


def _suppressed(simulation: Simulation) -> list[dict[str, Any]]:
    from markupsafe import Markup

    rows = figures.suppressed(simulation)
    most = max((row.n for row in rows), default=1)
    return [
        {"words": figures.capital(shown(row.words, 300)), "state": row.state, "rule": shown(row.rule, 200), "n": row.n}
        | {"bar": Markup(one_bar(row.n / most, PALETTE[0]))}
        for row in rows
    ]


def _lost(simulation: Simulation) -> str:
    ends = collections.Counter(row.state for row in simulation.deliveries)
    parts = [f"{ends[state]:,} {words}" for state, words in _ENDS.items() if ends[state]]
    return f"Of {len(simulation.deliveries):,} deliveries {', '.join(parts)}." if parts else ""


_ENDS = {
    "failed-over": "were handed over to another channel",
    "expired": "expired",
    "dead": "were given up",
    "cancelled": "were cancelled",
    "pending": "still waited at the end",
    "held": "were still held at the end",
}


def _cost(simulation: Simulation) -> str:
    spent: dict[str, tuple[float, int]] = {}
    for row in simulation.messages:
        if row.cost:
            cost, units = spent.get(row.channel, (0.0, 0))
            spent[row.channel] = cost + row.cost, units + row.units
    return " ".join(
        f"{name}: {number(round(cost, 2))} for {figures.count(units, 'unit')}." for name, (cost, units) in spent.items()
    )


def _noise(simulation: Simulation) -> list[dict[str, Any]]:
    from markupsafe import Markup

    rows = frames.noisiest(simulation, NOISIEST).to_dict("records")
    most = max((row["messages"] for row in rows), default=1)
    made, covered = [], set()
    for row in rows:
        facts = {name: shown(row[name], 2_000) for name in ("kind", "symbol", "strategy", "rule", "why")}
        if facts["rule"] in covered or row["kind"] in covered:
            facts |= {"rule": "", "why": "The rule above is for these too."}
        if facts["rule"].startswith("events"):
            covered.add(row["kind"])  # for all its symbols
        if facts["rule"].startswith("delivery"):
            covered.add(facts["rule"])  # for all that is alike
        counted = f"{figures.count(row['messages'], 'message')}, {figures.count(row['alerts'], 'alert')}"
        made.append(
            facts
            | {
                "said": counted,
                "n": f"{row['messages']:,}",
                "bar": Markup(one_bar(row["messages"] / most, PALETTE[0], height=5)),
            }
        )
    return made
