"""Two settings side by side on the same run: the figures of both, the messages of both, and whose fate differs.

An alert's fate is where it arrived, when and how, or why it was not sent. Two fates differ where anything of that does;
of the time, where it is a minute or more.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert
from bt_alerts.compose import number
from bt_alerts.simulate import figures, frames, periods
from bt_alerts.simulate.periods import Unit
from bt_alerts.simulate.phone import MAX_BYTES, phone_data, shown
from bt_alerts.simulate.result import Simulation
from bt_alerts.simulate.rows import SimulatedAlert, SimulatedDelivery
from bt_alerts.simulate.svg import Series, bars, channel_series

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 200  # alerts whose fate differs, in the report
MINUTE = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One headline figure of both, ready to be read."""

    words: str
    a: str
    b: str
    difference: str


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One alert that came to two ends."""

    alert: Alert
    a: str
    b: str


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two simulations of one run. Made by :func:`compare`.

    Args:
        a: under the first settings.
        b: under the second.
        differences: the alerts whose fate differs, in the order of their times.
    """

    a: Simulation
    b: Simulation
    differences: tuple[Difference, ...]

    @property
    def labels(self) -> tuple[str, str]:
        """How the settings are called."""
        first, second = (shown(one.config, 200) for one in (self.a, self.b))
        if first != second:
            return first or "A", second or "B"
        return f"{first or 'settings'} (A)", f"{second or 'settings'} (B)"

    @property
    def sentence(self) -> str:
        """The difference in one sentence."""
        n, m = len(self.a), len(self.b)
        if n == m:
            told = f"Both send {figures.count(n, 'message')}"
        elif n == 0:
            told = f"{self.labels[1]} sends {figures.count(m, 'message')}, where {self.labels[0]} sends none"
        else:
            share = f" ({abs(m - n) / n:.0%} {'fewer' if m < n else 'more'})"
            told = f"{self.labels[1]} sends {figures.count(m, 'message')} where {self.labels[0]} sends {n:,}{share}"
        if not self.differences:
            return f"{told}; every alert has the same fate."
        have = "has" if len(self.differences) == 1 else "have"
        of = [f"{len(one.alerts):,}" for one in (self.a, self.b)]  # watches that differ tell of different things
        changed = figures.count(len(self.differences), "alert")
        return f"{told}; {changed} of {' and '.join(dict.fromkeys(of))} {have} another fate."

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The headline figures."""
        first, second = self.a.headline, self.b.headline
        rows: list[tuple[str, float, float]] = [
            ("Messages", first.messages, second.messages),
            ("Messages a day", first.a_day, second.a_day),
            ("In the busiest hour", first.busiest.messages, second.busiest.messages),
            ("With sound", first.loud, second.loud),
            ("With sound at night", first.at_night, second.at_night),
            ("Digests", first.digests, second.digests),
            ("Kept back by a rule", first.suppressed, second.suppressed),
            ("Held", first.held, second.held),
            ("Lost, expired or cancelled", first.lost, second.lost),
            ("More than a minute late", first.late, second.late),
            ("Limits reached", first.bites, second.bites),
            ("To pay", first.cost, second.cost),
        ]
        return tuple(Figure(words, _said(a), _said(b), _signed(b - a)) for words, a, b in rows)

    @property
    def unit(self) -> Unit:
        """The length of the bars that both are shown in."""
        fitting = [unit for unit in periods.units(self.a) if unit in periods.units(self.b)]
        return fitting[0] if fitting else periods.UNITS[-1]

    def charts(self, height: int = 120) -> Iterator[tuple[str, str]]:
        """Label and SVG of the messages over time of each, on one scale and over the same time."""
        first, last = zip(periods.ends(self.a), periods.ends(self.b), strict=True)
        days = min(first), max(last)
        made = [periods.bars(one, self.unit, periods.by_channel, days=days) for one in (self.a, self.b)]
        most = max((bar.total for both in made for bar in both), default=0)
        for label, one in zip(self.labels, made, strict=True):
            about = f"{label}: messages a {self.unit.name}, by channel"
            yield label, bars(one, self._series(), about=about, height=height, most=most)

    def _series(self) -> list[Series]:
        return channel_series(sorted({*figures.channels(self.a), *figures.channels(self.b)}))

    def frame(self) -> pd.DataFrame:
        """The headline figures: figure, a, b, difference."""
        import pandas as pd

        rows = [(row.words, row.a, row.b, row.difference) for row in self.figures]
        return pd.DataFrame(rows, columns=["figure", "a", "b", "difference"])

    def per_day(self) -> pd.DataFrame:
        """Messages of both by day, channel and priority, and the difference."""
        keys = ["day", "channel", "priority"]
        both = [frames.per_day(one).set_index(keys)["messages"] for one in (self.a, self.b)]
        joined = both[0].to_frame("a").join(both[1].to_frame("b"), how="outer").fillna(0).astype("int64")
        joined["difference"] = joined["b"] - joined["a"]
        return joined.reset_index()

    def differences_frame(self) -> pd.DataFrame:
        """Every alert whose fate differs: time, kind, priority, symbol, title, a, b, id."""
        import pandas as pd

        from bt_alerts.redact import redact

        rows = [
            {
                "time": row.alert.time,
                "kind": row.alert.kind,
                "priority": row.alert.priority.value,
                "symbol": redact(row.alert.symbol),
                "title": redact(row.alert.title),
                "a": row.a,
                "b": row.b,
                "id": row.alert.id,
            }
            for row in self.differences
        ]
        frame = pd.DataFrame(rows, columns=["time", "kind", "priority", "symbol", "title", "a", "b", "id"])
        zone = figures.zone_of(self.a.zone)
        frame["time"] = pd.Series(pd.to_datetime(frame["time"].tolist(), utc=True), index=frame.index).dt.tz_convert(
            zone
        )
        return frame

    def moment(self, row: Difference) -> str:
        """When it happened, on the wall."""
        return f"{row.alert.time.astimezone(figures.zone_of(self.a.zone)):%Y-%m-%d %H:%M}"

    def to_html(self, path: str | Path) -> Path:
        """Write the report with both phones side by side: one file, no network.

        Raises:
            OSError: where it cannot be written; no half file is left.
        """
        from bt_alerts.simulate import page_file

        return page_file.write(path, self.report())

    def report(self, limit: int = MAX_BYTES) -> str:
        """The report as HTML; ``limit`` is of both phones together, in bytes."""
        from markupsafe import Markup

        from bt_alerts.simulate import page_file
        from bt_alerts.simulate.report import common

        first, second = phone_data(self.a, limit // 2), phone_data(self.b, limit // 2)
        names = [channel["name"] for data in (first, second) for channel in data["channels"]]
        facts: dict[str, Any] = {
            **common(self.a),
            "page_title": f"{self.labels[0]} and {self.labels[1]}: two settings, one run",
            "sentence": self.sentence,
            "labels": self.labels,
            "figures": self.figures,
            "unit": self.unit.name,
            "charts": [{"label": label, "svg": Markup(svg)} for label, svg in self.charts()],
            "series": self._series(),
            "differences": [
                {"time": self.moment(row), "colour": row.alert.priority.style.colour, "a": row.a, "b": row.b}
                | {"title": shown(row.alert.title, 300)}
                for row in self.differences[:SHOWN]
            ],
            "differences_lead": _lead(len(self.differences)),
            "channels": list(dict.fromkeys(names)),
            "priorities": sorted({*figures.priorities(self.a), *figures.priorities(self.b)}, key=lambda one: -one.rank),
            "phone_a": first,
            "phone_b": second,
        }
        return page_file.page("compare.html.j2", facts, {"data-phone-a": first, "data-phone-b": second})

    def __repr__(self) -> str:
        return f"<Comparison: {self.sentence}>"

    def _repr_html_(self) -> str:
        from bt_alerts.simulate.card import comparison_card

        return comparison_card(self)


def compare(a: Simulation, b: Simulation) -> Comparison:
    """Put two simulations of one run side by side.

    A run that was made twice has other ids: its alerts are then matched by what they are and when they were.

    Raises:
        ValueError: where they have no alert in common, and both have any.
    """
    first, second = {row.alert.id: row for row in a.alerts}, {row.alert.id: row for row in b.alerts}
    if not first.keys() & second.keys():
        first, second = _by_what(a), _by_what(b)
    if first and second and not first.keys() & second.keys():
        raise ValueError("these are simulations of two runs: simulate the same run under both settings")
    ends_a, ends_b = _deliveries(a), _deliveries(b)
    found = []
    for key in [*first, *(key for key in second if key not in first)]:
        one, other = first.get(key), second.get(key)
        fate_a, fate_b = _fate(a, one, ends_a), _fate(b, other, ends_b)
        if not fate_a.same(fate_b):
            row = one or other
            assert row is not None
            found.append(Difference(row.alert, fate_a.words(), fate_b.words()))
    return Comparison(a, b, tuple(sorted(found, key=lambda row: row.alert.time)))


# ------------------------------------------------------------------------------------------- an alert's fate


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    """How it went at one address: the channel, the state, when it arrived, with how many others."""

    channel: str
    target: str
    state: str
    when: float | None
    others: int
    silent: bool

    def same(self, other: _End) -> bool:
        near = self.when == other.when or (
            self.when is not None and other.when is not None and abs(self.when - other.when) < MINUTE
        )
        return near and dataclasses.replace(self, when=None) == dataclasses.replace(other, when=None)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fate:
    """What became of an alert; when it was made, and the zone, are for its words."""

    state: str
    reason: str
    rule: str
    ends: tuple[_End, ...]
    made: float
    zone: str

    def same(self, other: _Fate) -> bool:
        if (self.state, self.reason, len(self.ends)) != (other.state, other.reason, len(other.ends)):
            return False
        return all(one.same(two) for one, two in zip(self.ends, other.ends, strict=True))

    def words(self) -> str:
        if not self.state:
            return "not in this run"
        if self.reason:
            rule = f" ({self.rule})" if self.rule else ""
            return shown(f"not sent: {figures.reason_words(self.reason)}{rule}", 400)
        return shown("; ".join(map(self._end, self.ends)) or "sent nowhere", 400)

    def _end(self, end: _End) -> str:
        if end.when is None:
            return f"{end.channel}: {end.state.replace('-', ' ')}"
        zone = figures.zone_of(self.zone)
        when = figures.local(end.when, zone)
        another_day = when.date() != figures.local(self.made, zone).date()
        said = f"{end.channel} at {when:%H:%M}" + (f" on {when:%Y-%m-%d}" if another_day else "")
        if end.others:
            said += f", with {end.others} other{'s' if end.others > 1 else ''}"
        return said + (", no sound" if end.silent else "")


def _fate(simulation: Simulation, row: SimulatedAlert | None, ends: dict[str, list[SimulatedDelivery]]) -> _Fate:
    if row is None:
        return _Fate("", "", "", (), 0.0, simulation.zone)
    made = []
    for delivery in ends.get(row.alert.id, ()):
        message = None if delivery.message is None else simulation.messages[delivery.message]
        others = len(message.alerts) - 1 if message else 0
        # What arrived in a digest and what arrived alone differ by `others`, not by the word for its state.
        state = "arrived" if message else delivery.state
        when = message.time if message else None
        made.append(_End(delivery.channel, delivery.target, state, when, others, delivery.silent))
    ordered = tuple(sorted(made, key=lambda end: (end.channel, end.target, end.when or 0.0)))
    return _Fate(row.state, row.reason, row.rule, ordered, row.alert.time.timestamp(), simulation.zone)


def _deliveries(simulation: Simulation) -> dict[str, list[SimulatedDelivery]]:
    found: dict[str, list[SimulatedDelivery]] = {}
    for row in simulation.deliveries:
        found.setdefault(row.alert, []).append(row)
    return found


def _by_what(simulation: Simulation) -> dict[Any, SimulatedAlert]:
    counted: collections.Counter[Any] = collections.Counter()
    found = {}
    for row in simulation.alerts:
        alert = row.alert
        key = alert.kind, alert.symbol, alert.strategy, alert.time, alert.title
        found[*key, counted[key]] = row
        counted[key] += 1
    return found


def _lead(n: int) -> str:
    more = f" The first {SHOWN} are shown; differences_frame() has them all." if n > SHOWN else ""
    return f"{figures.count(n, 'alert')}.{more}"


def _said(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else number(round(value, 2))


def _signed(value: float) -> str:
    if not round(value, 2):
        return "–"
    return ("+" if value > 0 else "−") + _said(abs(value))
