"""The picture of one alert: the last bars, where it happened, and the prices that matter. Needs the extra ``charts``.

It is made for a phone: few and large words, the prices of entry, stop and target beside their lines. Prices are all the
amounts that are on it; a profit is in the title at most, and not with ``privacy``.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bt_alerts.alert import PRIORITY_STYLES, Alert, Priority, as_utc
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
from bt_alerts.render.look import Look, without_amounts, zone_named

WIDTH, HEIGHT = 900, 560  # pixels
TOP, BOTTOM = 0.84, 0.075  # shares of the picture
WORDS, TICKS = 14.0, 12.5  # points
ASIDE = 30  # pixels to the right of the last bar, so that what stands at its arrow meets no label
FAR = 1.2  # of the height of all bars: a price farther away is named at the edge

_GREEN, _ORANGE, _RED, _BLUE = (
    PRIORITY_STYLES[priority].colour for priority in (Priority.LOW, Priority.HIGH, Priority.CRITICAL, Priority.INFO)
)
_BUYS, _SELLS = frozenset({"buy", "long"}), frozenset({"sell", "short"})
_DAY = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """A price with a line of its own."""

    name: str
    price: float
    colour: str
    dashed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """An arrow at a bar; without a side a star."""

    bar: int
    side: str
    price: float | None = None
    faint: bool = False

    @property
    def word(self) -> str:
        """What stands beside the arrow."""
        return {"buy": "BUY", "sell": "SELL"}.get(self.side, "")

    @property
    def colour(self) -> str:
        """As in every chart: what was bought is green, what was sold orange."""
        return {"buy": _GREEN, "sell": _ORANGE}.get(self.side, _BLUE)


def alert_chart(alert: Alert, *, dark: bool = False, zone: str = "UTC", privacy: str = "off") -> bytes:
    """Draw an alert's bars, of 900 × 560 pixels.

    Args:
        alert: with :attr:`~bt_alerts.Alert.bars`.
        dark: light lines on a dark ground.
        zone: name of the reader's time zone.
        privacy: as in :class:`~bt_alerts.render.look.Look`: with it no amount is in the title.

    Returns:
        A PNG.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the alert has no bars, or they have no prices.
    """
    png = io.BytesIO()
    _figure(alert, theme(dark), Look(zone=zone, privacy=privacy)).savefig(png, format="png")
    return png.getvalue()


def _figure(alert: Alert, colours: Colours, look: Look) -> Any:
    bars = _bars(alert, look.zone)
    figure = new_figure(WIDTH, HEIGHT, colours)
    from matplotlib.ticker import MaxNLocator

    levels, marks = levels_of(alert.data), marks_of(alert, bars)
    exact = max(2, 3 - math.floor(math.log10(_span(bars))))  # decimals: an average price has sixteen
    labels = [one_line(f"{level.name} {number(round(level.price, exact))}") for level in levels]
    right = 1 - (_widest(figure, labels, WORDS) + (46 if labels else 14)) / WIDTH
    low, high = _limits(bars, levels, marks)
    ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    decimals = 6 - math.floor(math.log10(high - low))
    tick_labels = [number(round(float(tick), decimals)) for tick in ticks]
    left = max((_widest(figure, tick_labels, TICKS) + 22) / WIDTH, 0.075)
    prices, volumes = add_axes(figure, bars, colours, size=TICKS, left=left, right=right, top=TOP, bottom=BOTTOM)
    prices.set_ylim(low, high)
    prices.set_yticks(ticks, tick_labels)
    prices.set_xlim(-1, len(bars) - 0.5 + (len(bars) + 0.5) * ASIDE / ((right - left) * WIDTH - ASIDE))
    draw_prices(prices, bars, colours)
    if volumes is not None:
        draw_volume(volumes, bars, colours)
    draw_dates(volumes or prices, bars.times, fewest=3, most=6)
    _draw_held(prices, alert.data, marks)
    _draw_marks(prices, bars, marks, colours)
    _draw_levels(prices, levels, labels, colours)
    _draw_heading(figure, alert, _pace(bars.times), look, colours)
    return figure


# ------------------------------------------------------------------------------------------------ what is drawn


def _bars(alert: Alert, zone: str) -> Bars:
    """The alert's bars, in the reader's time. Raises ``ValueError`` where there are none."""
    columns = alert.bars or {}
    times = [when for moment in columns.get("time", ()) if (when := as_utc(moment)) is not None]
    if not times:
        raise ValueError("the alert has no bars")
    if any(len(columns.get(name, ())) != len(times) for name in ("open", "high", "low", "close")):
        raise ValueError("the bars have not as many prices as times")
    if _pace(times) < _DAY:  # a day's bar is dated at midnight UTC, which is another day elsewhere
        times = [when.astimezone(zone_named(zone)) for when in times]
    return Bars.of(times, columns)


def _pace(times: Sequence[dt.datetime]) -> float:
    """How far the bars are apart, in seconds; nights and weekends do not count."""
    gaps = sorted((after - before).total_seconds() for before, after in itertools.pairwise(times))
    return gaps[len(gaps) // 4] if gaps else 0.0


def _price(data: Mapping[str, Any], *names: str) -> float | None:
    """The first of these that is a price."""
    for name in names:
        value = data.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value:
            return float(value)
    return None


def levels_of(data: Mapping[str, Any]) -> list[Level]:
    """The prices that an alert's data tells of: where it was entered and left, where stop and target are."""
    why = str(data.get("close_reason") or "")
    left = _price(data, "exit_price")
    entry = _price(data, "entry_price") if left else _price(data, "entry_price", "fill_price", "trade_price")
    stop, target = _price(data, "stop_price", "stop_loss"), _price(data, "target_price", "take_profit")
    found: list[Level] = []
    if left is not None:
        hit = {"stop": stop, "target": target}.get(why)
        name, colour = {"stop": ("stop hit", _RED), "target": ("target hit", _GREEN)}.get(why, ("exit", _ORANGE))
        found.append(Level(name, left, colour, dashed=False))
        if hit is not None and abs(hit - left) <= 1e-6 * abs(left):  # it was left just there: one line
            stop, target = (None, target) if why == "stop" else (stop, None)
    if entry is not None:
        found.append(Level("entry", entry, _BLUE, dashed=left is not None))
    elif left is None and (price := _price(data, "price")) is not None:
        found.append(Level("price", price, _BLUE, dashed=False))
    if stop is not None:
        found.append(Level("stop", stop, _RED))
    if target is not None:
        found.append(Level("target", target, _GREEN))
    return found


def marks_of(alert: Alert, bars: Bars) -> list[Mark]:
    """Where it happened; for a trade that ended also where that began, if these bars go back so far."""
    data = alert.data
    here = _bar_of(bars, alert.bar_time)
    here = len(bars) - 1 if here is None else here
    word = str(data.get("side") or data.get("action") or data.get("signal") or data.get("direction") or "").lower()
    if "direction" in data and alert.kind == "trade.closed" and not data.get("side"):
        word = "sell" if word == "long" else "buy"
    side = "buy" if word in _BUYS else "sell" if word in _SELLS else ""
    at = _price(data, "exit_price", "fill_price", *(("trade_price",) if alert.kind == "trade.opened" else ()))
    marks = [Mark(here, side, _near(bars, at))]
    held = data.get("duration_seconds")
    if isinstance(held, int | float) and alert.bar_time is not None and _price(data, "exit_price"):
        begun = _bar_of(bars, alert.bar_time - dt.timedelta(seconds=held))
        if begun is not None:
            other = {"buy": "sell", "sell": "buy"}.get(side, "")
            marks.append(Mark(begun, other, _near(bars, _price(data, "entry_price")), faint=True))
    return marks


def _bar_of(bars: Bars, when: dt.datetime | None) -> int | None:
    """The bar in which a moment lies; None where it is before the first."""
    if when is None:
        return None
    bar = bisect.bisect_right(bars.times, when + dt.timedelta(seconds=0.5)) - 1
    return bar if bar >= 0 else None


def _span(bars: Bars) -> float:
    low, high = bars.extent
    return (high - low) or 0.01 * abs(high) or 1.0


def _near(bars: Bars, price: float | None) -> float | None:
    """A price that is not so far from the bars that they would be flat beside it."""
    low, high = bars.extent
    room = FAR * _span(bars)
    return price if price is not None and low - room <= price <= high + room else None


def _limits(bars: Bars, levels: Sequence[Level], marks: Sequence[Mark]) -> tuple[float, float]:
    """From the lowest to the highest price of the picture, with room for arrows and their words."""
    low, high = bars.extent
    near = [level.price for level in levels if _near(bars, level.price) is not None]
    bottom, top = min([low, *near]), max([high, *near])
    span = max(top - bottom, _span(bars))
    least, most = bottom - 0.05 * span, top + 0.05 * span
    for mark in marks:
        if mark.side == "sell":
            most = max(most, _edge(bars, mark) + 0.2 * span)
        else:
            least = min(least, _edge(bars, mark) - 0.2 * span)
    return least, most


def _edge(bars: Bars, mark: Mark) -> float:
    """Where the arrow points to: what was sold from above the bar, everything else from below."""
    sold = mark.side == "sell"
    candidates = [(bars.high if sold else bars.low)[mark.bar], bars.close[mark.bar], mark.price]
    known = [float(value) for value in candidates if value is not None and math.isfinite(value)]
    return (max if sold else min)(known or [bars.extent[1 if sold else 0]])


# ------------------------------------------------------------------------------------------------------ drawing


def _draw_marks(axes: Any, bars: Bars, marks: Sequence[Mark], colours: Colours) -> None:
    low, high = axes.get_ylim()
    for mark in marks:
        sold = mark.side == "sell"
        away = (0.045 if mark.side else 0.05) * (high - low) * (1 if sold else -1)
        sign = {"buy": "^", "sell": "v"}.get(mark.side, "*")
        size = (130 if mark.faint else 230) * (1 if mark.side else 1.5)
        place = (mark.bar, _edge(bars, mark) + away)
        draw_mark(axes, [place], sign, mark.colour, s=size, edgecolors=colours.paper, zorder=7)
        if mark.price is not None:
            draw_mark(axes, [(mark.bar, mark.price)], "o", mark.colour, s=46, edgecolors=colours.paper, zorder=7)
        if mark.word:
            axes.annotate(
                mark.word, place, xytext=(0, 12 if sold else -12), textcoords="offset points", ha="center",
                va="bottom" if sold else "top", fontsize=WORDS - 2, fontweight="bold", color=mark.colour,
                path_effects=halo(colours), zorder=8,
            )  # fmt: skip


def _draw_held(axes: Any, data: Mapping[str, Any], marks: Sequence[Mark]) -> None:
    """The bars of a trade that ended: green where it won."""
    profit = data.get("pnlcomm", data.get("part_pnl"))
    if len(marks) == 2 and isinstance(profit, int | float):
        shade_held(axes, marks[1].bar, marks[0].bar, result_colour(profit))


def _draw_levels(axes: Any, levels: Sequence[Level], labels: Sequence[str], colours: Colours) -> None:
    """Lines across, and their names to the right of them, none on top of another."""
    low, high = axes.get_ylim()
    pixels = axes.get_position().height * HEIGHT
    shares = [(level.price - low) / (high - low) for level in levels]
    places = spread([min(max(share, 0.0), 1.0) for share in shares], 34 / pixels, 17 / pixels)
    for level, label, share, place in zip(levels, labels, shares, places, strict=True):
        arrow = " ↑" if share > 1 else " ↓" if share < 0 else ""
        if not arrow:
            line = (0, (5, 4)) if level.dashed else "-"
            axes.axhline(level.price, color=level.colour, linewidth=1.6, linestyle=line, alpha=0.9, zorder=5)
            axes.plot(
                [1, 1.012], [share, place], transform=axes.transAxes, color=level.colour, linewidth=1.6, clip_on=False
            )
        axes.text(
            1.014, place, label + arrow, transform=axes.transAxes, ha="left", va="center", fontsize=WORDS,
            color=_on(level.colour), zorder=9,
            bbox={"boxstyle": "round,pad=0.28", "facecolor": level.colour, "edgecolor": colours.paper},
        )  # fmt: skip


def _on(colour: str) -> str:
    """Black or white, whichever is read better on this colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else "#14181d"


def spread(places: Sequence[float], gap: float, margin: float) -> list[float]:
    """Move places on a line from 0 to 1 as little as it takes to be ``gap`` apart and ``margin`` from both ends."""
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[tuple[float, int]] = []  # sum and count of those that are moved together
    for rank, i in enumerate(order):
        total, count = places[i] - rank * gap, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            total, count = total + groups[-1][0], count + groups[-1][1]
            groups.pop()
        groups.append((total, count))
    means = [total / count for total, count in groups for _ in range(count)]
    last = 1 - margin - (len(places) - 1) * gap
    moved = {
        i: max(min(mean, last), margin) + rank * gap for rank, (i, mean) in enumerate(zip(order, means, strict=True))
    }
    return [moved[i] for i in range(len(places))]


def _draw_heading(figure: Any, alert: Alert, pace: float, look: Look, colours: Colours) -> None:
    title, size, room = one_line(without_amounts(alert.title, look.privacy, alert.symbol), 120), 21.0, 0.94 * WIDTH
    while _width(figure, title, size, bold=True) > room and size > 15:
        size -= 1
    while _width(figure, title, size, bold=True) > room:
        title = title[:-2].rstrip("\\ …") + "…"
    figure.text(0.03, 0.93, title, fontsize=size, fontweight="bold", color=colours.ink, va="center")
    facts = one_line("  ·  ".join(fact for fact in (alert.strategy, look.when(alert.time), _length(pace)) if fact), 120)
    figure.text(0.03, 0.875, facts, fontsize=12.5, color=colours.faint, va="center")


def _length(seconds: float) -> str:
    """``"5-minute bars"``."""
    if seconds == _DAY:
        return "daily bars"
    if seconds == 7 * _DAY:
        return "weekly bars"
    for size, unit in ((_DAY, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second")):
        if seconds >= size and not seconds % size:
            return f"{seconds / size:g}-{unit} bars"
    return ""


def _widest(figure: Any, texts: Sequence[str], size: float) -> float:
    return max((_width(figure, text, size) for text in texts), default=0.0)


def _width(figure: Any, text: str, size: float, bold: bool = False) -> float:
    """Of a text, in pixels."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return float(figure.canvas.get_renderer().get_text_width_height_descent(text, font, False)[0])
