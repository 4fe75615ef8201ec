"""The pictures of a report: the equity curve for a phone, and a document of a few pages. Needs the extra ``charts``.

Both draw what :func:`bt_alerts.render.report_files.shown` leaves, so privacy is no matter of theirs.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bt_alerts.compose import duration, money, number, signed
from bt_alerts.render.drawing import LIGHT, Colours, new_figure, one_line, result_colour, short, theme
from bt_alerts.summary import heading, local, trades_in_words

Report = Mapping[str, Any]

WIDTH, HEIGHT = 900, 560  # pixels, as other pictures of alerts have
PAGE = 827, 1169  # of A4, in hundredths of an inch
WORDS, TICKS = 13.0, 12.5  # points
MOST_DOTS = 120  # points; with more the curve has none at its steps
ROWS = 46  # trades on a page
MOST_PAGES = 5  # of trades
MOST_HELD = 5  # open positions on the first page, and as many strategies
_DAY = 86_400.0


def report_png(report: Report, *, dark: bool = False) -> bytes:
    """Draw the equity of a report with its drawdown below, of 900 × 560 pixels.

    Args:
        report: of :func:`~bt_alerts.render.report_files.shown`.
        dark: light lines on a dark ground.

    Raises:
        ImportError: matplotlib is not installed.
    """
    colours = theme(dark)
    figure = new_figure(WIDTH, HEIGHT, colours)
    figure.text(0.03, 0.93, _heading(report), fontsize=21, fontweight="bold", color=colours.ink, va="center")
    facts = one_line(_in_short(report), 110)
    figure.text(0.03, 0.868, facts, fontsize=min(13.5, 13.5 * 76 / len(facts)), color=colours.faint, va="center")
    _draw_equity(figure, report, colours, left=_left(report), right=0.96, top=0.765, bottom=0.085)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def report_pdf(report: Report) -> bytes:
    """Write a report as a document: its figures, the equity curve, what is open, and its trades.

    Args:
        report: of :func:`~bt_alerts.render.report_files.shown`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    new_figure(*PAGE, LIGHT)  # says what to install
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    content = io.BytesIO()
    about = {"Title": _heading(report), "Creator": "bt_alerts", "Producer": None, "CreationDate": None}
    with matplotlib.rc_context({"pdf.fonttype": 42}), PdfPages(content, metadata=about) as pages:  # text that is found
        made = [first_page(report), *_trade_pages(report)]
        for number_, page in enumerate(made, start=1):
            _write(page, 7.67, 11.42, f"{number_} of {len(made)}", size=8, colour=LIGHT.faint, right=True)
            pages.savefig(page)
    return content.getvalue()


# ------------------------------------------------------------------------------------------------- the equity curve


def _left(report: Report) -> float:
    """Room for the words beside the curve, as a share of the picture."""
    if not report["scale"]:
        return 0.035
    values = [value for _, value in report["equity"]]
    longest = max(len(_amount(value, report)) for value in (*values, -1.5))
    return 0.045 + 0.0108 * max(longest, 6)


def _amount(value: float, report: Report) -> str:
    """As the words beside the curve have it."""
    if report["scale"] == "percent":
        return _percent(value, "+" if round(value, 2) else "")
    return (short(round(value, 2)) if abs(value) >= 1e7 else f"{value:,.0f}").replace("-", "−")


def _draw_equity(figure: Any, report: Report, colours: Colours, **edges: float) -> None:
    """The realised equity as steps, the trades on it, and below how far it was under its highest."""
    moments = np.array([moment for moment, _ in report["equity"]])
    values = np.array([value for _, value in report["equity"]], dtype=float)
    grid = figure.add_gridspec(2, 1, height_ratios=[2.6, 1], hspace=0.26, **edges)
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    for axes in (upper, lower):
        axes.set_facecolor(colours.paper)
        axes.grid(True, color=colours.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=colours.faint, length=0, labelsize=TICKS)
        for spine in axes.spines.values():
            spine.set_visible(False)
    _draw_curve(upper, report, moments, values, colours)
    _draw_drawdown(lower, report, moments, values, colours)
    upper.tick_params(labelbottom=False)
    _draw_times(lower, report)


def _name(axes: Any, words: str, colours: Colours) -> None:
    axes.text(
        0, 1.02, words, transform=axes.transAxes, fontsize=TICKS, color=colours.ink, va="bottom", ha="left",
    )  # fmt: skip


def _draw_curve(axes: Any, report: Report, moments: Any, values: Any, colours: Colours) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    room = 0.09 * ((high - low) or abs(high) or 1.0)
    axes.set_ylim(low - room, high + room)
    axes.axhline(values[0], color=colours.faint, linewidth=1, linestyle=(0, (4, 4)), zorder=2)
    width = 2.2 if len(values) <= 300 else 1.4
    axes.plot(moments, values, color=colours.line, linewidth=width, drawstyle="steps-post", zorder=3)
    axes.fill_between(moments, values, values[0], step="post", color=colours.line, alpha=0.1, linewidth=0, zorder=1)
    if len(moments) <= MOST_DOTS:
        steps = np.diff(values)[:-1]
        tints = [result_colour(1) if step > 0 else result_colour(-1) if step < 0 else colours.faint for step in steps]
        axes.scatter(
            moments[1:-1], values[1:-1], s=58 if len(moments) <= 40 else 26, c=tints, edgecolors=colours.paper,
            linewidths=0.9, zorder=4,
        )  # fmt: skip
    of = {"money": "Realised equity", "percent": "Realised return"}.get(report["scale"], "Realised equity, no scale")
    if report["scale"] == "money" and report["value_begin"] is None:
        of = "Realised profit"
    _name(axes, of, colours)
    if report["scale"]:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=report["scale"] == "money" and high - low > 5))
        axes.yaxis.set_major_formatter(lambda value, _: _amount(value, report))
    else:
        axes.set_yticks([])


def _draw_drawdown(axes: Any, report: Report, moments: Any, values: Any, colours: Colours) -> None:
    from matplotlib.ticker import MaxNLocator

    peaks = np.maximum.accumulate(values)
    percent = report["scale"] == "percent" or (report["scale"] == "money" and report["value_begin"] is not None)
    if report["scale"] == "percent":
        falls = -100 * (peaks - values) / (100 + peaks)
    elif percent and peaks[0] > 0:
        falls = -100 * (peaks - values) / peaks
    else:
        falls, percent = values - peaks, False
    axes.fill_between(moments, falls, 0, step="post", color=result_colour(-1), alpha=0.28, linewidth=0, zorder=2)
    width = 1.5 if len(values) <= 300 else 0.8
    axes.plot(moments, falls, color=result_colour(-1), linewidth=width, drawstyle="steps-post", zorder=3)
    deepest = float(falls.min())
    axes.set_ylim(1.15 * deepest if deepest else -1.0, -0.04 * deepest if deepest else 0.04)
    _name(axes, "Drawdown" if report["scale"] else "Drawdown, no scale", colours)
    if report["scale"] and deepest:
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(
            (lambda value, _: f"{value:.{_decimals(deepest)}f} %".replace("-", "−"))
            if percent
            else (lambda value, _: f"{value:,.{0 if deepest < -5 else 2}f}".replace("-", "−"))
        )
    else:
        axes.set_yticks([0.0] if report["scale"] else [], ["0 %" if percent else "0"] if report["scale"] else [])


def _decimals(deepest: float) -> int:
    return 0 if deepest < -8 else 1 if deepest < -0.8 else 2


def _draw_times(axes: Any, report: Report) -> None:
    """Hours of a day, or days of a week, as a clock in the report's zone shows them."""
    since, until = (dt.datetime.fromisoformat(report[name]).timestamp() for name in ("since", "until"))
    until = max(until, since + 1)
    axes.set_xlim(since - 0.012 * (until - since), until + 0.012 * (until - since))
    hours = 4 if until - since <= 1.5 * _DAY else 24 * max(1, round((until - since) / (7 * _DAY)))
    places, words = [], []
    for moment in np.arange(since - since % 3600, until + 1, 3600):
        clock = local(float(moment), report["zone"])
        whole = clock.hour % 24 == 0 if hours >= 24 else clock.hour % hours == 0
        if whole and moment >= since and (hours < 48 or (clock.toordinal() * 24) % hours == 0):
            places.append(float(moment))
            words.append(f"{clock:%H:%M}" if hours < 24 else f"{clock:%a %d}")
    axes.set_xticks(places, words)


# -------------------------------------------------------------------------------------------------------- in words


def _heading(report: Report) -> str:
    since, until = (dt.datetime.fromisoformat(report[name]).timestamp() for name in ("since", "until"))
    return heading(report["period"], since, until, report["zone"])


def _in_short(report: Report) -> str:
    """The line below the title: what privacy leaves of it."""
    found = []
    if "net" in report:
        found.append(f"{signed(report['net'])} realised")
    if report.get("return_percent") is not None:
        found.append(_percent(report["return_percent"]))
    found.append(trades_in_words(report))
    if report.get("drawdown_percent"):
        found.append(f"drawdown {report['drawdown_percent']:.2f} %")
    return "  ·  ".join(found)


def _percent(value: float | None, sign: str = "+") -> str:
    return "–" if value is None else f"{value:{sign}.2f} %".replace("-", "−")


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    """What stands in the table of the first page."""
    amounts = {"value_begin": "Value at the beginning", "value_end": "Value at the end, realised"}
    for key, words in amounts.items():
        if report.get(key) is not None:
            yield words, money(report[key])
    if "net" in report:
        yield "Realised profit after commission", signed(report["net"])
    if report.get("return_percent") is not None:
        yield "Return", _percent(report["return_percent"])
    yield "Trades closed", f"{report['closed']:,}"
    yield "Won, lost", f"{report['won']:,}, {report['lost']:,}"
    if "commission" in report:
        yield "Commission", money(report["commission"])
    for key in ("best", "worst"):
        trade = report[key]
        parts = [trade["symbol"]]
        if "pnlcomm" in trade:
            parts.append(signed(trade["pnlcomm"]))
        if trade.get("account_percent") is not None:
            parts.append(f"({_percent(trade['account_percent'])})")
        yield f"{key.capitalize()} trade", " ".join(parts)
    fall = [money(report["drawdown"])] if "drawdown" in report else []
    if report.get("drawdown_percent") is not None:
        fall.append(f"({report['drawdown_percent']:.2f} %)" if fall else f"{report['drawdown_percent']:.2f} %")
    if fall:
        yield "Largest drawdown", " ".join(fall)
    alerts = ", ".join(f"{n:,} {priority}" for priority, n in report["alerts"].items())
    yield "Alerts", alerts or "none"
    yield "Errors", f"{report['errors']:,}"
    yield "Feed troubles", f"{report['feed_troubles']:,}"
    yield "Orders refused", f"{report['orders_refused']:,}"


# -------------------------------------------------------------------------------------------------------- the pages


def _write(
    figure: Any, across: float, down: float, words: str, *, size: float = 9.5, colour: str = LIGHT.ink,
    bold: bool = False, right: bool = False, most: int = 90,
) -> None:  # fmt: skip
    """Put words on a page; places are in inches from its upper left corner."""
    figure.text(
        across / PAGE[0] * 100, 1 - down / PAGE[1] * 100, one_line(words, most), fontsize=size, color=colour,
        fontweight="bold" if bold else "normal", ha="right" if right else "left", va="baseline",
    )  # fmt: skip


def _rule(figure: Any, down: float, first: float = 0.6, last: float = 7.67) -> None:
    from matplotlib.lines import Line2D

    height = 1 - down / PAGE[1] * 100
    ends = [first / PAGE[0] * 100, last / PAGE[0] * 100]
    figure.add_artist(Line2D(ends, [height, height], color=LIGHT.grid, linewidth=0.8))


def first_page(report: Report) -> Any:
    """The page with the figures, as a figure of matplotlib."""
    page = new_figure(*PAGE, LIGHT)
    _write(page, 0.6, 0.9, _heading(report), size=20, bold=True)
    begin, end = (local(dt.datetime.fromisoformat(report[k]).timestamp(), report["zone"]) for k in ("since", "until"))
    period = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} {end.tzname() or report['zone']}"
    _write(page, 0.6, 1.17, f"{period}  ·  {report['name']}", size=10, colour=LIGHT.faint)
    down = 1.62
    figures = list(_figures(report))
    half = (len(figures) + 1) // 2
    for column, rows in enumerate((figures[:half], figures[half:])):
        left, edge = (0.6, 3.95) if not column else (4.32, 7.67)
        for row, (name, value) in enumerate(rows):
            at = down + 0.25 * row
            _write(page, left, at, name, colour=LIGHT.faint)
            _write(page, edge, at, value, right=True, most=44)
            _rule(page, at + 0.075, left, edge)
    down += 0.25 * half + 0.45
    bottom = down + 3.25
    _draw_equity(
        page, report, LIGHT, left=0.6 / 8.27 + 0.085 * bool(report["scale"]), right=7.67 / 8.27,
        top=1 - down / 11.69, bottom=1 - bottom / 11.69,
    )  # fmt: skip
    for axes in page.axes:
        axes.tick_params(labelsize=8.5)
        for words in axes.texts:
            words.set_fontsize(9.5)
    down = bottom + 0.62
    if len(report["by_strategy"]) > 1:
        down = _strategies(page, report["by_strategy"], down)
    down = _held(page, report["positions"], down)
    note = (
        "Realised: profit of closed trades after commission, on the value at the last start. Open trades are left out."
    )
    _write(page, 0.6, down + 0.1, note, size=8, colour=LIGHT.faint, most=130)
    thinned = report["equity_points"] - len(report["equity"])
    if thinned > 0:
        words = f"The curve shows {len(report['equity']):,} of {report['equity_points']:,} points, with its extremes."
        _write(page, 0.6, down + 0.26, words, size=8, colour=LIGHT.faint, most=130)
    return page


def _table(
    page: Any, down: float, columns: Sequence[tuple[float, bool]], names: Sequence[str], rows: Sequence[Sequence[str]],
    *, step: float = 0.2, size: float = 9.0,
) -> float:  # fmt: skip
    """A table; where each column is, in inches, and whether its words end there. Returns where it ends."""
    for (across, right), name in zip(columns, names, strict=True):
        _write(page, across, down, name, size=size, colour=LIGHT.faint, right=right)
    _rule(page, down + 0.07)
    down += 0.04
    for row in rows:
        down += step
        for (across, right), words in zip(columns, row, strict=True):
            colour = LIGHT.ink
            if words in ("won", "lost"):
                colour = result_colour(1 if words == "won" else -1)
            _write(page, across, down, words, size=size, right=right, colour=colour, most=30)
    return down + 0.42


def _strategies(page: Any, strategies: Sequence[Report], down: float) -> float:
    rows = []
    for each in strategies[:MOST_HELD]:
        net = signed(each["net"]) if "net" in each else ""
        part = _percent(each["return_percent"]) if "return_percent" in each else ""
        counts = [f"{each[key]:,}" for key in ("closed", "won", "lost")]
        rows.append([each["strategy"] or "–", *counts, part, net])
    if len(strategies) > MOST_HELD:
        rows.append([f"… and {len(strategies) - MOST_HELD} more", "", "", "", "", ""])
    names = ["Strategy", "Trades", "Won", "Lost", "Return" if "return_percent" in strategies[0] else ""]
    columns = [(0.6, False), (3.6, True), (4.3, True), (5.0, True), (6.3, True), (7.67, True)]
    return _table(page, down, columns, [*names, "Profit" if "net" in strategies[0] else ""], rows)


def _held(page: Any, positions: Sequence[Report], down: float) -> float:
    if not positions:
        _write(page, 0.6, down, "Open positions: none", size=9.0)
        return down + 0.32
    rows = []
    for held in positions[:MOST_HELD]:
        size = number(abs(held["size"])) if "size" in held else ""
        price = number(held["price"]) if held.get("price") is not None else ""
        rows.append([held["symbol"], held["strategy"], held["direction"], size, price])
    if len(positions) > MOST_HELD:
        rows.append([f"… and {len(positions) - MOST_HELD} more", "", "", "", ""])
    sized = "size" in positions[0]
    names = ["Open position", "Strategy", "Side", "Size" if sized else "", "Price" if sized else ""]
    return _table(page, down, [(0.6, False), (2.6, False), (5.0, False), (6.6, True), (7.67, True)], names, rows)


#: Columns of the trades: where, whether right, name, key; those that privacy hides are left out.
_TRADE_COLUMNS = (
    (0.6, False, "Closed", "time"),
    (1.76, False, "Symbol", "symbol"),
    (2.78, False, "Side", "direction"),
    (3.72, True, "Size", "size"),
    (4.52, True, "Entry", "entry_price"),
    (5.32, True, "Exit", "exit_price"),
    (6.14, True, "Held", "duration_seconds"),
    (6.3, False, "By", "close_reason"),
    (7.67, True, "Profit", "pnlcomm"),
)


def _trade_pages(report: Report) -> Iterator[Any]:
    trades = report["trades"]
    listed = trades[-ROWS * MOST_PAGES :]
    columns = [column for column in _TRADE_COLUMNS if column[3] in trades[0]]
    if "pnlcomm" not in trades[0]:
        key = "account_percent" if "account_percent" in trades[0] else "result"
        columns.append((7.67, True, {"account_percent": "Of the account", "result": "Result"}[key], key))
    for first in range(0, len(listed), ROWS):
        page = new_figure(*PAGE, LIGHT)
        _write(page, 0.6, 0.9, "Trades" if not first else "Trades, continued", size=14, bold=True)
        rows = [[_cell(trade, key, report["zone"]) for *_, key in columns] for trade in listed[first : first + ROWS]]
        down = _table(page, 1.25, [each[:2] for each in columns], [each[2] for each in columns], rows, size=8.0)
        left_out = len(trades) - len(listed) + report["trades_left_out"]
        if first + ROWS >= len(listed) and left_out:
            words = f"The newest {len(listed):,} of {report['closed']:,} trades; trades.csv has {len(trades):,}."
            _write(page, 0.6, down, words, size=8, colour=LIGHT.faint, most=130)
        yield page


def _cell(trade: Report, key: str, zone: str) -> str:
    value = trade.get(key)
    if value is None:
        return "–"
    if key == "time":
        return f"{local(dt.datetime.fromisoformat(value).timestamp(), zone):%Y-%m-%d %H:%M}"
    if key == "pnlcomm":
        return signed(value)
    if key == "account_percent":
        return _percent(value)
    if key == "duration_seconds":
        return duration(value)
    return number(value) if isinstance(value, int | float) else str(value)[:14]
