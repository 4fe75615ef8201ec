"""The alerts behind the five promised ``send_*`` calls, made the same way by a manager and by a dispatcher alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority, safe_text


def number(value: float | int | str | None) -> str:
    """``value`` for reading: thousands separated, and as many decimals as it has: 150.50, 1.0871, 0.0000123.

    What is no round number, such as an average price, gets two decimals, below 10 four, below 1 four figures.
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    for decimals in range(2, 6):
        if abs(round(value, decimals) - value) <= 1e-9 * max(1.0, abs(value)) and round(value, decimals):
            return f"{value:,.{decimals}f}"
    if abs(value) >= 1:
        return f"{value:,.{2 if abs(value) >= 10 else 4}f}"
    return f"{value:.{3 - math.floor(math.log10(abs(value)))}f}".rstrip("0")


def money(value: float | None) -> str:
    """An amount of money: two decimals, and more only where two would show nothing of it."""
    return number(round(value, 2) if value is not None and math.isfinite(value) and abs(value) >= 1 else value)


def signed(value: float) -> str:
    """A profit or a loss: an amount of money with its sign."""
    return f"{'+' if value >= 0 else '−'}{money(abs(value))}"


def no_formula(value: Any) -> Any:
    """A cell of CSV: text that begins like a formula gets a quote before it (OWASP, CSV injection)."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return value


def duration(seconds: float) -> str:
    """``"3 d 4 h"``, ``"25 min"``, ``"40 s"``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        rest = hours - 24 * days
        return f"{days} d {rest} h" if rest else f"{days} d"
    if hours:
        rest = minutes - 60 * hours
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def figure(value: Any) -> float | None:
    """``value`` as a number; None where it is none. What a strategy hands over must not stop it."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def shown(value: Any) -> str:
    """Any value for reading: a number as such, everything else as safe text."""
    known = figure(value)
    return number(known) if known is not None and not isinstance(value, str) else safe_text(value, 200)


def bullets(conditions: Any) -> list[str]:
    """Conditions, as sentences or as ``{name: value}``, a line each; anything else is one line."""
    if isinstance(conditions, Mapping):
        return [f"• {safe_text(name)}: {shown(value)}" for name, value in conditions.items()]
    if conditions is None or conditions == "":
        return []
    several = not isinstance(conditions, str) and isinstance(conditions, Iterable)
    return [f"• {safe_text(line)}" for line in (conditions if several else [conditions])]


def trade_call(action: str, symbol: str, price: float, size: float | None = None) -> Alert:
    """``send_alert("BUY", "AAPL", 150.5, 10)``: a trade, with its value where the size is known."""
    word = str(action).upper()
    data: dict[str, Any] = {"action": word, "price": price}
    lines = [f"Price: {shown(price)}"]
    if size is not None:
        data["size"] = size
        lines.append(f"Size: {shown(size)}")
        each, units = figure(price), figure(size)
        if each is not None and units is not None:
            data["value"] = each * units
            lines.append(f"Value: {money(each * units)}")
    return Alert.make(
        "\n".join(lines), title=f"{word} {symbol}", type=AlertType.TRADE, kind="direct.trade", symbol=symbol, data=data
    )


def signal(
    strategy: str, signal: str, symbol: str, conditions: Sequence[str] | Mapping[str, Any] | None = None
) -> Alert:
    """``send_strategy_signal(...)``: what a strategy saw, and why."""
    lines = [f"Strategy: {strategy}", f"Signal: {signal}"]
    reasons = bullets(conditions)
    if reasons:
        lines += ["Conditions:", *reasons]
    return Alert.make(
        "\n".join(lines),
        title=f"{signal} signal: {symbol}",
        type=AlertType.SIGNAL,
        kind="direct.signal",
        symbol=symbol,
        strategy=strategy,
        data={"signal": signal, "conditions": conditions or []},
    )


def error(error_type: str, message: str, context: Mapping[str, Any] | str | None = None) -> Alert:
    """``send_error_alert(...)``: high priority."""
    lines = [str(message)]
    if isinstance(context, Mapping):
        lines += [f"{key}: {value}" for key, value in context.items()]
    elif context:
        lines.append(str(context))
    return Alert.make(
        "\n".join(lines),
        title=f"Error: {error_type}",
        type=AlertType.ERROR,
        kind="direct.error",
        priority=Priority.HIGH,
        data={"error_type": error_type, "context": context},
    )


def market_update(
    symbol: str, price: float, change: float, change_percent: float | None = None, volume: float | None = None
) -> Alert:
    """``send_market_update(...)``: low priority; the percentage is computed where it is not given."""
    now, step = figure(price), figure(change)
    if change_percent is None and now is not None and step is not None and now != step:
        change_percent = 100.0 * step / (now - step)
    part = figure(change_percent)
    percent = "" if part is None else f" ({part:+.2f} %)"
    lines = [f"Price: {shown(price)}"]
    if change is not None:
        lines.append(f"Change: {'+' if step is not None and step >= 0 else ''}{shown(change)}{percent}")
    if volume is not None:
        lines.append(f"Volume: {shown(volume)}")
    return Alert.make(
        "\n".join(lines),
        title=f"Market update: {symbol}",
        type=AlertType.MARKET,
        kind="direct.market",
        priority=Priority.LOW,
        symbol=symbol,
        data={"price": price, "change": change, "change_percent": change_percent, "volume": volume},
    )


def custom(message: str, title: str = "Trading Alert") -> Alert:
    """``send_custom_alert(...)``."""
    return Alert.make(message, title=title, type=AlertType.CUSTOM, kind="direct.custom")
