"""What every chart of ours is drawn with: colours, axes, candles, volume, dates. Needs the extra ``charts``.

It draws with matplotlib's own objects, not through ``pyplot``: it keeps no global state and chooses no back end for the
caller, so it may be used in a strategy's process, in a notebook and in a thread. Bars are counted, not dated, so that
nights and weekends leave no holes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bt_alerts.alert import PRIORITY_STYLES, Priority
from bt_alerts.render.drawing_process import MISSING

MOST_CANDLES = 260  # bars; with more the closes are drawn as a line
DPI = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Colours:
    """One theme."""

    paper: str
    ink: str
    faint: str
    grid: str
    rise: str
    fall: str
    line: str


LIGHT = Colours("#ffffff", "#20252b", "#6b7280", "#e6e8eb", "#6fae8d", "#d1857d", "#33587f")
DARK = Colours("#14181d", "#e6e8eb", "#949ca6", "#272d35", "#4d9a74", "#b8645d", "#8fb8e8")


def theme(dark: bool) -> Colours:
    """The colours of a dark or a light picture."""
    return DARK if dark else LIGHT


@dataclasses.dataclass(frozen=True, slots=True)
class Bars:
    """Bars as columns of numbers; NaN where there is none.

    Args:
        times: of the bars.
        open: prices, as are the next three.
        volume: None where the bars have no volume at all.
    """

    times: Sequence[dt.datetime]
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any = None

    @classmethod
    def of(cls, times: Sequence[dt.datetime], columns: Mapping[str, Any]) -> Bars:
        """From columns named open, high, low, close and, if any, volume; what is missing in one may be NaN or None."""
        prices = {name: np.asarray(columns[name], dtype=float) for name in ("open", "high", "low", "close")}
        volume = np.asarray(columns["volume"], dtype=float) if "volume" in columns else None
        has_volume = volume is not None and bool(np.any(np.nan_to_num(volume) > 0))
        return cls(times, **prices, volume=volume if has_volume else None)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def extent(self) -> tuple[float, float]:
        """The lowest and the highest price. Raises ``ValueError`` where there is none."""
        known = np.concatenate([self.low, self.high, self.close])
        known = known[np.isfinite(known)]
        if not known.size:
            raise ValueError("the bars have no prices")
        return float(known.min()), float(known.max())

    @property
    def tints(self) -> Any:
        """Whether each bar rose; one that stayed did."""
        return np.asarray(self.open <= self.close)


def new_figure(width: int, height: int, colours: Colours) -> Any:
    """An empty picture of so many pixels. Raises ``ImportError`` with what to install where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError(MISSING) from missing
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=colours.paper)
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Any, bars: Bars, colours: Colours, *, size: float = 10, **edges: float) -> tuple[Any, Any]:
    """Axes for the prices, and for the volume where there is any, else None.

    Args:
        figure: where to put them.
        bars: what will be drawn.
        colours: the theme.
        size: of the ticks' words, in points.
        edges: left, right, top and bottom, as shares of the picture.
    """
    ratios = [5, 1] if bars.volume is not None else [1]
    grid = figure.add_gridspec(len(ratios), 1, height_ratios=ratios, hspace=0.04, **edges)
    prices = figure.add_subplot(grid[0])
    volumes = figure.add_subplot(grid[1], sharex=prices) if bars.volume is not None else None
    for axes in (prices, volumes):
        if axes is None:
            continue
        axes.set_facecolor(colours.paper)
        axes.grid(True, color=colours.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=colours.faint, length=0, labelsize=size)
        for spine in axes.spines.values():
            spine.set_visible(False)
    if volumes is not None:
        prices.tick_params(labelbottom=False)
    prices.set_xlim(-1.5, len(bars) + 0.5)
    return prices, volumes


def draw_prices(axes: Any, bars: Bars, colours: Colours) -> None:
    """Candles; with very many bars, or where there are closes alone, a line."""
    if len(bars) > MOST_CANDLES or not np.isfinite(bars.open + bars.high + bars.low).any():
        axes.plot(range(len(bars)), bars.close, color=colours.line, linewidth=1.4, zorder=3)
        return
    tints = np.where(bars.tints, colours.rise, colours.fall)
    low, high = bars.extent
    least = 0.0008 * (high - low)  # so that a doji is seen
    places = range(len(bars))
    axes.vlines(places, bars.low, bars.high, colors=tints, linewidth=1.1, zorder=2)
    heights = np.maximum(np.abs(bars.close - bars.open), least)
    lower = np.minimum(bars.open, bars.close)
    axes.bar(places, heights, bottom=lower, width=0.68, color=tints, linewidth=0, zorder=3)


def draw_volume(axes: Any, bars: Bars, colours: Colours) -> None:
    """What was traded in each bar."""
    from matplotlib.ticker import MaxNLocator

    volume = np.nan_to_num(bars.volume)
    if len(bars) > MOST_CANDLES:
        axes.fill_between(range(len(bars)), volume, color=colours.line, alpha=0.45, linewidth=0)
    else:
        tints = np.where(bars.tints, colours.rise, colours.fall)
        axes.bar(range(len(bars)), volume, width=0.8, color=tints, alpha=0.6, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True, prune="upper"))


def draw_mark(axes: Any, places: Iterable[tuple[float, float]], sign: str, colour: str, **how: Any) -> None:
    """Marks of one kind at so many places (bar, price), with an edge that sets them off from the candles."""
    across, up = zip(*places, strict=True)
    axes.scatter(across, up, marker=sign, color=colour, linewidths=0.9, **how)


def shade_held(axes: Any, first: float, last: float, colour: str) -> None:
    """The bars over which something was held."""
    axes.axvspan(first - 0.5, last + 0.5, color=colour, alpha=0.07, linewidth=0, zorder=0)


def halo(colours: Colours) -> list[Any]:
    """Keeps words on top of candles readable."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground=colours.paper)]


def result_colour(profit: float) -> str:
    """Green for what won, red for what lost."""
    return PRIORITY_STYLES[Priority.LOW if profit > 0 else Priority.CRITICAL].colour


def one_line(text: str, most: int = 90) -> str:
    """A text as one line of so many characters that matplotlib takes for no formula, as it would after a dollar."""
    return " ".join(text.split())[:most].replace("$", r"\$")


def short(value: float) -> str:
    """A large number in few characters: ``1.5 m``."""
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


# ----------------------------------------------------------------------------------------------------------- dates

_Period = Callable[[dt.datetime], object]

#: When a period begins, and how a tick there reads; the first that gives enough ticks is taken.
_PERIODS: tuple[tuple[_Period, str], ...] = (
    (lambda t: t.year, "%Y"),
    (lambda t: (t.year, t.month), "%b %Y"),
    (lambda t: tuple(t.isocalendar())[:2], "%d %b"),
    (lambda t: t.date(), "%d %b"),
    (lambda t: (t.date(), t.hour // 4), "%H:%M"),
    (lambda t: (t.date(), t.hour), "%H:%M"),
    (lambda t: (t.date(), t.hour, t.minute // 15), "%H:%M"),
    (lambda t: (t.date(), t.hour, t.minute // 5), "%H:%M"),
    (lambda t: (t.date(), t.hour, t.minute), "%H:%M"),
    (lambda t: (t.date(), t.hour, t.minute, t.second // 15), "%H:%M:%S"),
    (lambda t: t, "%H:%M:%S"),
)


def draw_dates(axes: Any, times: Sequence[dt.datetime], *, fewest: int = 4, most: int = 12) -> None:
    """About so many ticks, each where a period begins: a year, a month, …, a second."""
    chosen, words = _ticks(times, fewest)
    count = len(times)
    chosen = [bar for bar in chosen if 0.04 * count < bar < 0.97 * count] or [0]  # words at an edge would be cut
    kept: list[int] = []
    for bar in chosen[:: 1 + (len(chosen) - 1) // most]:
        if not kept or bar - kept[-1] > count / (1.6 * most):  # a week of holidays is short
            kept.append(bar)
    labels, day = [], times[0].date()
    for bar in kept:
        new_day = times[bar].date() != day and words.startswith("%H")
        labels.append(f"{times[bar]:{'%d %b' if new_day else words}}")
        day = times[bar].date()
    axes.set_xticks(kept, labels)


def _ticks(times: Sequence[dt.datetime], fewest: int) -> tuple[list[int], str]:
    chosen: list[int] = []
    words = ""
    for period, words in _PERIODS:  # noqa: B007 - the last one stays
        chosen = [bar for bar in range(1, len(times)) if period(times[bar]) != period(times[bar - 1])]
        if len(chosen) >= fewest:
            break
    return chosen, words
