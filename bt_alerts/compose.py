"""The alerts behind the five promised ``send_*`` calls, made the same way by a manager and by a dispatcher alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority


def number(value: float | int | str | None, digits: int = 2) -> str:
    """``value`` for reading: thousands separated, at most ``digits`` decimals more than it needs."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1:
        return f"{value:.{max(digits, 6)}g}"
    return f"{value:,.{digits}f}"


def trade_call(action: str, symbol: str, price: float, size: float | None = None) -> Alert:
    """``send_alert("BUY", "AAPL", 150.5, 10)``: a trade, with its value where the size is known."""
    word = str(action).upper()
    data: dict[str, Any] = {"action": word, "price": price}
    lines = [f"Price: {number(price)}"]
    if size is not None:
        data |= {"size": size, "value": price * size}
        lines += [f"Size: {number(size)}", f"Value: {number(price * size)}"]
    return Alert.make(
        "\n".join(lines), title=f"{word} {symbol}", type=AlertType.TRADE, kind="direct.trade", symbol=symbol, data=data
    )


def signal(
    strategy: str, signal: str, symbol: str, conditions: Sequence[str] | Mapping[str, Any] | None = None
) -> Alert:
    """``send_strategy_signal(...)``: what a strategy saw, and why."""
    lines = [f"Strategy: {strategy}", f"Signal: {signal}"]
    if conditions:
        pairs = conditions.items() if isinstance(conditions, Mapping) else ((None, c) for c in conditions)
        lines += ["Conditions:", *(f"• {c}" if k is None else f"• {k}: {c}" for k, c in pairs)]
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
    if change_percent is None:
        before = price - change
        change_percent = 100.0 * change / before if before else None
    percent = "" if change_percent is None else f" ({change_percent:+.2f} %)"
    lines = [f"Price: {number(price)}", f"Change: {'+' if change >= 0 else ''}{number(change)}{percent}"]
    if volume is not None:
        lines.append(f"Volume: {number(volume)}")
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
