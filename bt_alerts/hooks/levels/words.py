"""A watch in words: its title when it is reached and when it is over, as a trader would say it."""

from __future__ import annotations

import math
from collections.abc import Callable

from bt_alerts.compose import duration, money, number
from bt_alerts.hooks.levels.level import Change
from bt_alerts.settings.watches import WatchLevel

_NOUNS = {
    "drawdown": "Drawdown",
    "position_drawdown": "position behind its best",
    "daily_loss": "Daily loss",
    "exposure": "Exposure",
    "position_risk": "share of the account",
    "margin": "Free cash",
    "time_in_trade": "in trade for",
    "performance": "Return",
    "volume": "volume",
}


def percent(value: float) -> str:
    """``"12.3 %"``: one decimal, and two below ten."""
    if not math.isfinite(value):
        return "∞ %" if value > 0 else "–"
    text = f"{value:,.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")
    return f"{'0' if text in ('-0', '') else text} %".replace("-", "−")


def shown(watch: WatchLevel, value: float) -> str:
    """A value in the unit of a watch."""
    unit = watch.unit_of_level
    if watch.watch == "indicator":
        return number(value)
    if unit == "percent":
        return percent(value)
    if unit == "time":
        return duration(value)
    if unit == "money":
        return money(value).replace("-", "−")
    return {"bars": f"{value:g} bars", "times": f"{value:.3g} ×", "losses": f"{value:g}"}.get(unit) or number(value)


def title(watch: WatchLevel, symbol: str, value: float, change: Change, *, gone: bool = False) -> str:
    """What happened, in one line.

    Args:
        watch: which one.
        symbol: the feed that it is of; empty for one of the account.
        value: the figure.
        change: what it did.
        gone: the position that it is about was closed.
    """
    over = change is Change.RECOVERED
    now, level = shown(watch, value), "" if watch.watch == "indicator" else shown(watch, watch.level)
    special = _SPECIAL.get(watch.watch)
    if special is not None:
        return special(watch, symbol, now, value, over)
    if over and gone:
        return f"{symbol}: position closed"
    if over and watch.watch == "daily_loss" and value <= 0:
        return f"Daily loss made up, or a new day (level {level})"
    noun = _NOUNS[watch.watch]
    text = f"{symbol}: {noun}" if symbol else noun
    return f"{text} {'back at ' if over else ''}{now} (level {level})"


def _indicator(watch: WatchLevel, symbol: str, now: str, value: float, over: bool) -> str:
    return f"{symbol}: no longer {watch.condition}" if over else f"{symbol}: {watch.condition}"


def _price(watch: WatchLevel, symbol: str, now: str, value: float, over: bool) -> str:
    level = number(watch.over_at if over else watch.level)
    side = "above" if over == (watch.key == "below") else "below"
    verb = "crossed " if watch.key == "crosses" else "back " if over else ""
    return f"{symbol} {verb}{side} {level}: {now}"


def _losses(watch: WatchLevel, symbol: str, now: str, value: float, over: bool) -> str:
    return "The losing streak is over" if over else f"{now} losses in a row (level {shown(watch, watch.level)})"


def _milestone(watch: WatchLevel, symbol: str, now: str, value: float, over: bool) -> str:
    step = shown(watch, math.floor(value / watch.level + 1e-9) * watch.level)
    return f"Milestone: {'' if step.startswith('−') else '+'}{step} since the start"


def _move(watch: WatchLevel, symbol: str, now: str, value: float, over: bool) -> str:
    within = watch.within or watch.about.within
    if over:
        return f"{symbol} calm again: {now} within {within}"
    verb = {"move": "moved", "rise": "rose", "fall": "fell"}[watch.watch]
    return f"{symbol} {verb} {now} within {within} (level {shown(watch, watch.level)})"


_SPECIAL: dict[str, Callable[[WatchLevel, str, str, float, bool], str]] = {
    "indicator": _indicator,
    "price": _price,
    "losses": _losses,
    "milestone": _milestone,
    "move": _move,
    "rise": _move,
    "fall": _move,
}
