"""What a notebook shows of a simulation and of a comparison. Styles stand at the elements and nothing has an id, so
several fit on a page; what is not a priority's colour takes that of the text, light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from bt_alerts.render.html import table
from bt_alerts.simulate import figures, periods
from bt_alerts.simulate.phone import icon, shown
from bt_alerts.simulate.svg import Bar, bars, channel_series

if TYPE_CHECKING:
    from bt_alerts.simulate.compare import Comparison
    from bt_alerts.simulate.result import Simulation
    from bt_alerts.simulate.rows import SimulatedMessage

LAST = 6  # messages
FIRST = 8  # alerts whose fate differs
_SOFT = "opacity:.65;font-size:85%"


def simulation_card(simulation: Simulation) -> str:
    """The sentence, the figures, messages over time, what was not sent, and the last messages as a phone shows them."""
    from bt_alerts.simulate.report import tiles

    head = figures.headline(simulation)
    last = simulation.messages[-LAST:]
    parts = [
        _sentence(figures.sentence(simulation)),
        f'<div style="{_SOFT}">{_about(simulation)}</div>',
        _tiles((tile["figure"], tile["words"]) for tile in tiles(head)),
    ]
    if simulation.messages:
        unit, chart, legend = _chart(simulation)
        parts += [_heading(f"Messages a {unit}"), chart, legend]
    suppressed = figures.suppressed(simulation)
    if suppressed:
        rows = [
            (
                escape(figures.capital(shown(row.words, 300)))
                + (f" ({escape(shown(row.rule, 200))})" if row.rule else ""),
                f"{row.n:,}",
            )
            for row in suppressed[:10]
        ]
        parts += [_heading("Not sent"), table(rows)]
    if last:
        parts += [_heading(f"The last {len(last)} on the phone"), _phone(simulation, reversed(last))]
    return f'<div style="max-width:54em">{"".join(parts)}</div>'


def comparison_card(comparison: Comparison) -> str:
    """The figures of both with their difference, the messages over time of both, and alerts whose fate differs."""
    a, b = (escape(label) for label in comparison.labels)
    cell = 'style="text-align:right;padding:1px 0 1px 1.6em"'
    rows = "".join(
        f'<tr><td style="text-align:left;opacity:.65">{escape(row.words)}</td><td {cell}>{row.a}</td>'
        f"<td {cell}>{row.b}</td><td {cell}>{row.difference}</td></tr>"
        for row in comparison.figures
    )
    parts = [
        _sentence(comparison.sentence),
        f"<table><tr><th></th><th {cell}>{a}</th><th {cell}>{b}</th><th {cell}>difference</th></tr>{rows}</table>",
    ]
    for label, chart in comparison.charts(height=70):
        parts += [_heading(f"{escape(label)}: messages a {comparison.unit.name}"), chart]
    if comparison.differences:
        parts.append(_heading(f"{figures.count(len(comparison.differences), 'alert')} with another fate"))
        parts += [
            f'<div style="border-left:4px solid {row.alert.priority.style.colour};padding:2px 10px;margin:4px 0">'
            f'<b dir="auto">{escape(shown(row.alert.title, 300))}</b> '
            f'<span style="{_SOFT}">{escape(comparison.moment(row))}</span>'
            f"<div>{escape(row.a)} → {escape(row.b)}</div></div>"
            for row in comparison.differences[:FIRST]
        ]
    return f'<div style="max-width:54em">{"".join(parts)}</div>'


def _sentence(words: str) -> str:
    return f'<div style="font-size:115%;font-weight:600;margin:4px 0">{escape(shown(words, 500))}</div>'


def _about(simulation: Simulation) -> str:
    zone = figures.zone_of(simulation.zone)
    first, last = (f"{figures.local(when, zone):%Y-%m-%d}" for when in (simulation.began, simulation.ended))
    words = [
        shown(simulation.name, 200),
        shown(simulation.config, 200),
        f"{first} to {last}",
        f"times in {simulation.zone}",
    ]
    return " · ".join(f"<bdi>{escape(word)}</bdi>" for word in words if word)


def _heading(html: str) -> str:
    return f'<div style="font-weight:600;margin:14px 0 4px">{html}</div>'


def _tiles(pairs: Iterable[tuple[str, str]]) -> str:
    made = "".join(
        '<div style="padding:6px 12px;border:1px solid rgba(128,128,128,.35);border-radius:8px;min-width:6.5em;flex:1">'
        f'<div style="font-size:145%;font-weight:600;line-height:1.25">{escape(figure)}</div>'
        f'<div style="{_SOFT}">{escape(words)}</div></div>'
        for figure, words in pairs
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:10px 0">{made}</div>'


def _chart(simulation: Simulation) -> tuple[str, str, str]:
    fitting = periods.units(simulation)
    unit = next((one for one in fitting if len(periods.bars(simulation, one, periods.by_channel)) <= 130), fitting[-1])
    made: list[Bar] = periods.bars(simulation, unit, periods.by_channel)
    series = channel_series(list(figures.channels(simulation)))
    legend = "".join(
        f'<span style="margin-right:1.2em"><span style="color:{one.colour}">■</span> '
        f"<bdi>{escape(one.name)}</bdi></span>"
        for one in series
    )
    chart = bars(made, series, about=f"Messages a {unit.name}, by channel", height=90)
    return unit.name, chart, f'<div style="{_SOFT}">{legend}</div>'


def _phone(simulation: Simulation, messages: Iterable[SimulatedMessage]) -> str:
    zone = figures.zone_of(simulation.zone)
    made = []
    for message in messages:
        colour, _ = icon(message.type)
        when = f"{figures.local(message.time, zone):%Y-%m-%d %H:%M}"
        tags = [escape(message.channel), message.priority.value, when]
        tags += ["no sound"] if message.silent else []
        tags += [f"{len(message.alerts)} alerts in it"] if len(message.alerts) > 1 else []
        made.append(
            '<div style="display:flex;gap:10px;padding:8px 12px;margin:6px 0;border-radius:14px;max-width:30em;'
            f'background:rgba(128,128,128,.13);border-left:4px solid {message.priority.style.colour}">'
            f'<div style="flex:none;width:2em;height:2em;border-radius:8px;background:{colour};color:#fff;'
            f'text-align:center;line-height:2em;font-weight:600">{escape(message.channel[:1].upper())}</div>'
            f'<div style="min-width:0;overflow-wrap:anywhere"><div style="{_SOFT}">{" · ".join(tags)}</div>'
            f'<b dir="auto">{escape(shown(message.title, 300))}</b>'
            f'<div dir="auto" style="white-space:pre-wrap">{escape(shown(message.text, 500))}</div></div></div>'
        )
    return "".join(made)
