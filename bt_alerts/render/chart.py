"""A picture of a run: prices and volume, with the alerts where they happened. Needs the extra ``charts``."""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import PRIORITY_STYLES, Alert, AlertType, Priority
from bt_alerts.compose import number
from bt_alerts.render.drawing import (
    Bars,
    Colours,
    add_axes,
    draw_dates,
    draw_mark,
    draw_prices,
    draw_volume,
    halo,
    new_figure,
    one_line,
    result_colour,
    shade_held,
    theme,
)

if TYPE_CHECKING:
    import pandas as pd

MOST_LABELS = 30  # exits; with more their results are not written beside them

_ORDER_PROBLEMS = frozenset({"order.rejected", "order.margin", "order.expired", "order.canceled"})
_TROUBLE = frozenset({AlertType.ERROR, AlertType.RISK})
_TOLD = frozenset({AlertType.SIGNAL, AlertType.CUSTOM, AlertType.PRICE, AlertType.PERFORMANCE, AlertType.MILESTONE})


@dataclasses.dataclass(frozen=True, slots=True)
class _Mark:
    """How one group of alerts is marked, and on which side of the bar: -1 below, 1 above; 2 is farther away."""

    label: str
    sign: str
    priority: Priority
    size: float
    side: float

    @property
    def colour(self) -> str:
        return PRIORITY_STYLES[self.priority].colour


_MARKS = {
    "entry": _Mark("entry", "^", Priority.LOW, 110, -1),
    "exit": _Mark("exit", "v", Priority.HIGH, 110, 1),
    "problem": _Mark("problem", "X", Priority.CRITICAL, 90, 2.5),
    "note": _Mark("signal or note", "*", Priority.INFO, 120, -2.5),
}


@dataclasses.dataclass(slots=True)
class _Placed:
    """Alerts by the bar that they belong to."""

    marks: dict[str, set[int]]
    results: list[tuple[int, float]]  # bar and profit of each closed trade
    held: list[tuple[int, int, float]]  # first bar, last bar, profit


def chart(
    frame: pd.DataFrame, alerts: Iterable[Alert], path: str | Path, title: str = "", *, dark: bool = False
) -> Path:
    """Draw prices with alerts and write a picture of 1200 × 700 pixels.

    Args:
        frame: bars: an index of times (naive is UTC) and columns open, high, low, close and, if any, volume.
        alerts: of any run and in any order; those outside the bars and those about no bar are left out.
        path: of the picture; its ending names the format, such as ``.png`` or ``.svg``.
        title: above the picture.
        dark: light lines on a dark ground.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are no bars, a column is missing, or matplotlib cannot write such a file.
    """
    lacking = [name for name in ("open", "high", "low", "close") if name not in frame.columns]
    if lacking:
        raise ValueError(f"the bars have no column {', '.join(lacking)}")
    if frame.empty:
        raise ValueError("there are no bars to draw")
    path, colours = Path(path), theme(dark)
    figure = new_figure(1200, 700, colours)
    bars, placed = Bars.of(list(frame.index), frame), _place(frame, alerts)
    prices, volumes = add_axes(figure, bars, colours, left=0.065, right=0.985, top=0.885, bottom=0.075)
    for first, last, profit in placed.held:
        shade_held(prices, first, last, result_colour(profit))
    draw_prices(prices, bars, colours)
    if volumes is not None:
        draw_volume(volumes, bars, colours)
    _draw_marks(prices, bars, placed, colours)
    draw_dates(volumes or prices, bars.times)
    _draw_words(figure, title, bars, placed, colours)
    if any(placed.marks.values()):
        _draw_legend(prices, colours)
    figure.savefig(path, facecolor=colours.paper)
    return path


# --------------------------------------------------------------------------------------------- where alerts belong


def _place(frame: pd.DataFrame, alerts: Iterable[Alert]) -> _Placed:
    """Each action once: the alerts of one fill are one mark."""
    times = [_naive(when.to_pydatetime()) for when in frame.index]
    placed = _Placed({kind: set() for kind in _MARKS}, [], [])
    told: set[str] = set()
    opened: int | None = None
    for alert in sorted(alerts, key=lambda alert: (alert.bar_time or alert.time, alert.id)):
        kind = _kind(alert)
        bar = bisect.bisect_right(times, _naive(alert.bar_time or alert.time)) - 1
        if not kind or (alert.action and alert.action in told):
            continue
        told.add(alert.action)
        if bar == len(times) - 1 and _naive(alert.bar_time or alert.time) > _after(times):
            continue
        if bar < 0:  # what was opened before the first bar was held from there on
            opened = {"entry": 0, "exit": None}.get(kind, opened)
            continue
        placed.marks[kind].add(bar)
        if kind == "entry" and opened is None:
            opened = bar
        profit = _profit(alert)
        if profit is not None:
            placed.results.append((bar, profit))
            if opened is not None:
                placed.held.append((opened, bar, profit))
            opened = bar if alert.data.get("position_size") else None  # reversed: the other side begins
    return placed


def _kind(alert: Alert) -> str:
    """Which mark an alert gets; nothing for what is no matter of one bar."""
    if alert.kind in ("order.completed", "order.partial", "trade.closed"):
        return "exit" if "close_reason" in alert.data or alert.kind == "trade.closed" else "entry"
    if alert.kind in _ORDER_PROBLEMS or alert.type in _TROUBLE or alert.kind == "data.disconnected":
        return "problem"
    return "note" if alert.type in _TOLD else ""


def _profit(alert: Alert) -> float | None:
    """What a trade made, where this alert tells of its end and not of a part that was sold."""
    ended = alert.kind == "trade.closed" or (alert.kind == "order.completed" and not alert.data.get("position_size"))
    value = alert.data.get("pnlcomm")
    return float(value) if ended and isinstance(value, int | float) else None


def _naive(when: dt.datetime) -> dt.datetime:
    return when if when.tzinfo is None else when.astimezone(dt.UTC).replace(tzinfo=None)


def _after(times: Sequence[dt.datetime]) -> dt.datetime:
    """When the last bar is over; what happened later belongs to bars that are not drawn."""
    return times[-1] + (times[-1] - times[-2] if len(times) > 1 else dt.timedelta(days=1))


# --------------------------------------------------------------------------------------------------------- drawing


def _draw_marks(axes: Any, bars: Bars, placed: _Placed, colours: Colours) -> None:
    least, most = bars.extent
    step = 0.028 * ((most - least) or abs(most) or 1.0)
    for name, mark in _MARKS.items():
        edge = bars.high if mark.side > 0 else bars.low
        places = [(bar, edge[bar] + mark.side * step) for bar in sorted(placed.marks[name])]
        if places:
            draw_mark(
                axes, places, mark.sign, mark.colour,
                s=mark.size, edgecolors=colours.paper, label=mark.label, zorder=6 - 0.1 * abs(mark.side),
            )  # fmt: skip
    if len(placed.results) <= MOST_LABELS:
        for bar, profit in placed.results:
            text = ("+" if profit > 0 else "−" if profit < 0 else "") + number(round(abs(profit)))
            axes.annotate(
                text, (bar, bars.high[bar] + step), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9,
                fontweight="bold", color=result_colour(profit), path_effects=halo(colours), zorder=7,
            )  # fmt: skip
    axes.set_ylim(least - 4.2 * step, most + 4.2 * step)


def _draw_words(figure: Any, title: str, bars: Bars, placed: _Placed, colours: Colours) -> None:
    figure.text(0.065, 0.945, one_line(title) or "Alerts", fontsize=17, fontweight="bold", color=colours.ink)
    facts = f"{bars.times[0]:%d %b %Y} – {bars.times[-1]:%d %b %Y}"
    if placed.results:
        won = sum(profit > 0 for _, profit in placed.results)
        facts += f"  ·  {len(placed.results)} closed trades, {won} won"
    figure.text(0.065, 0.908, facts, fontsize=11, color=colours.faint)


def _draw_legend(axes: Any, colours: Colours) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(_MARKS), frameon=False, fontsize=11,
        labelcolor=colours.ink, handletextpad=0.2, columnspacing=1.4, borderaxespad=0.3,
    )  # fmt: skip
