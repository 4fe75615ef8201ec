"""A picture of a run: prices and volume, with the alerts where they happened. Needs the extra ``charts`` (matplotlib).

It draws with matplotlib's own objects, not through ``pyplot``: it keeps no global state and chooses no back end for the
caller, so it may be used in a strategy's process, in a notebook and in a thread.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import PRIORITY_STYLES, Alert, AlertType, Priority
from bt_alerts.compose import number

if TYPE_CHECKING:
    import pandas as pd

MOST_CANDLES = 260  # bars; with more the closes are drawn as a line
FEWEST_TICKS, MOST_TICKS = 4, 12
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Colours:
    paper: str
    ink: str
    faint: str
    grid: str
    rise: str
    fall: str
    line: str


_LIGHT = _Colours("#ffffff", "#20252b", "#6b7280", "#e6e8eb", "#6fae8d", "#d1857d", "#33587f")
_DARK = _Colours("#14181d", "#e6e8eb", "#949ca6", "#272d35", "#4d9a74", "#b8645d", "#8fb8e8")


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
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError('Charts need matplotlib: pip install "bt-alerts[charts]"') from missing
    lacking = [name for name in ("open", "high", "low", "close") if name not in frame.columns]
    if lacking:
        raise ValueError(f"the bars have no column {', '.join(lacking)}")
    if frame.empty:
        raise ValueError("there are no bars to draw")
    path = Path(path)
    colours = _DARK if dark else _LIGHT
    placed = _place(frame, alerts)
    figure = Figure(figsize=(12, 7), dpi=100, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    prices, volumes = _axes(figure, frame, colours)
    _draw_held(prices, placed)
    _draw_prices(prices, frame, colours)
    if volumes is not None:
        _draw_volume(volumes, frame, colours)
    _draw_marks(prices, frame, placed, colours)
    _draw_dates(volumes or prices, frame)
    _draw_words(figure, title, frame, placed, colours)
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


def _axes(figure: Any, frame: pd.DataFrame, colours: _Colours) -> tuple[Any, Any]:
    has_volume = "volume" in frame.columns and float(frame["volume"].fillna(0).max()) > 0
    ratios = [5, 1] if has_volume else [1]
    grid = figure.add_gridspec(
        len(ratios), 1, height_ratios=ratios, hspace=0.04, left=0.065, right=0.985, top=0.885, bottom=0.075
    )
    prices = figure.add_subplot(grid[0])
    volumes = figure.add_subplot(grid[1], sharex=prices) if has_volume else None
    for axes in (prices, volumes):
        if axes is None:
            continue
        axes.set_facecolor(colours.paper)
        axes.grid(True, color=colours.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=colours.faint, length=0, labelsize=10)
        for spine in axes.spines.values():
            spine.set_visible(False)
    if has_volume:
        prices.tick_params(labelbottom=False)
    prices.set_xlim(-1.5, len(frame) + 0.5)
    return prices, volumes


def _draw_prices(axes: Any, frame: pd.DataFrame, colours: _Colours) -> None:
    if len(frame) > MOST_CANDLES:
        axes.plot(range(len(frame)), frame["close"].to_numpy(), color=colours.line, linewidth=1.4, zorder=3)
        return
    begin, end = frame["open"].to_numpy(), frame["close"].to_numpy()
    tints = [colours.rise if b <= e else colours.fall for b, e in zip(begin, end, strict=True)]
    least = 0.0008 * float(frame["high"].max() - frame["low"].min())  # so that a doji is seen
    bars = range(len(frame))
    axes.vlines(bars, frame["low"].to_numpy(), frame["high"].to_numpy(), colors=tints, linewidth=1.1, zorder=2)
    heights = [max(abs(e - b), least) for b, e in zip(begin, end, strict=True)]
    lower = [min(b, e) for b, e in zip(begin, end, strict=True)]
    axes.bar(bars, heights, bottom=lower, width=0.68, color=tints, linewidth=0, zorder=3)


def _draw_volume(axes: Any, frame: pd.DataFrame, colours: _Colours) -> None:
    volume = frame["volume"].fillna(0).to_numpy()
    if len(frame) > MOST_CANDLES:
        axes.fill_between(range(len(frame)), volume, color=colours.line, alpha=0.45, linewidth=0)
    else:
        tints = [colours.rise if b <= e else colours.fall for b, e in zip(frame["open"], frame["close"], strict=True)]
        axes.bar(range(len(frame)), volume, width=0.8, color=tints, alpha=0.6, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_major_locator(_few_ticks())


def _draw_held(axes: Any, placed: _Placed) -> None:
    """How long each trade lasted: green where it won."""
    for first, last, profit in placed.held:
        axes.axvspan(first - 0.5, last + 0.5, color=_result_colour(profit), alpha=0.07, linewidth=0, zorder=0)


def _draw_marks(axes: Any, frame: pd.DataFrame, placed: _Placed, colours: _Colours) -> None:
    low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
    whole = float(high.max() - low.min()) or abs(float(high.max())) or 1.0
    step = 0.028 * whole
    for name, mark in _MARKS.items():
        bars = sorted(placed.marks[name])
        if bars:
            edge = high if mark.side > 0 else low
            axes.scatter(
                bars, [edge[bar] + mark.side * step for bar in bars], marker=mark.sign, s=mark.size, color=mark.colour,
                edgecolors=colours.paper, linewidths=0.9, label=mark.label, zorder=6 - 0.1 * abs(mark.side),
            )  # fmt: skip
    if len(placed.results) <= MOST_LABELS:
        from matplotlib.patheffects import withStroke

        halo = [withStroke(linewidth=3, foreground=colours.paper)]
        for bar, profit in placed.results:
            text = ("+" if profit > 0 else "−" if profit < 0 else "") + number(round(abs(profit)))
            axes.annotate(
                text, (bar, high[bar] + step), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9,
                fontweight="bold", color=_result_colour(profit), path_effects=halo, zorder=7,
            )  # fmt: skip
    axes.set_ylim(low.min() - 4.2 * step, high.max() + 4.2 * step)


#: When a period begins, and how a tick there reads; the first that gives enough ticks is taken.
_PERIODS = (("%Y", "%Y"), ("%Y %m", "%b %Y"), ("%Y %m %d", "%d %b"), ("%Y %m %d %H", "%H:%M"), ("%c", "%H:%M:%S"))


def _draw_dates(axes: Any, frame: pd.DataFrame) -> None:
    """Bars are counted, not dated, so that nights and weekends leave no holes. A tick is where a period begins."""
    times = list(frame.index)
    for period, form in _PERIODS:
        chosen = [bar for bar in range(1, len(times)) if f"{times[bar]:{period}}" != f"{times[bar - 1]:{period}}"]
        words = form
        if len(chosen) >= FEWEST_TICKS:
            break
    chosen = [bar for bar in chosen if bar < 0.97 * len(times)] or [0]  # a word at the edge would be cut
    chosen = chosen[:: 1 + (len(chosen) - 1) // MOST_TICKS]
    axes.set_xticks(chosen, [f"{times[bar]:{words}}" for bar in chosen])


def _draw_words(figure: Any, title: str, frame: pd.DataFrame, placed: _Placed, colours: _Colours) -> None:
    figure.text(0.065, 0.945, _one_line(title) or "Alerts", fontsize=17, fontweight="bold", color=colours.ink)
    times = frame.index
    facts = f"{times[0]:%d %b %Y} – {times[-1]:%d %b %Y}"
    if placed.results:
        won = sum(profit > 0 for _, profit in placed.results)
        facts += f"  ·  {len(placed.results)} closed trades, {won} won"
    figure.text(0.065, 0.908, facts, fontsize=11, color=colours.faint)


def _draw_legend(axes: Any, colours: _Colours) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(_MARKS), frameon=False, fontsize=11,
        labelcolor=colours.ink, handletextpad=0.2, columnspacing=1.4, borderaxespad=0.3,
    )  # fmt: skip


def _one_line(title: str) -> str:
    # A dollar would begin a formula for matplotlib.
    return " ".join(title.split())[:90].replace("$", r"\$")


def _result_colour(profit: float) -> str:
    return PRIORITY_STYLES[Priority.LOW if profit > 0 else Priority.CRITICAL].colour


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=2, integer=True, prune="upper")


def _short(value: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
