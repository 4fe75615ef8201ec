"""An example of each type and of the commonest kinds of alert, for ``bt-alerts preview`` and for pictures."""

from __future__ import annotations

from bt_alerts import compose
from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.kinds import KINDS

_THREAD = "TrendFollower:AAPL:0:2026-03-02T14:30:00+00:00"
_FILL = {
    "order": 41, "side": "buy", "size": 10, "order_type": "market", "status": "completed", "filled": 10,
    "fill_size": 10, "fill_price": 228.4, "value": 2284.0, "commission": 2.28, "position_size": 10,
    "position_price": 228.4, "stop_price": 219.5, "target_price": 246.0,
}  # fmt: skip
_EXIT = {
    "order": 42, "side": "sell", "size": 10, "order_type": "stop", "price": 219.5, "status": "completed", "filled": 10,
    "fill_size": 10, "fill_price": 219.44, "value": 2194.4, "commission": 2.19, "close_reason": "stop", "pnl": -89.6,
    "pnlcomm": -94.07, "trade_commission": 4.47, "entry_price": 228.4, "exit_price": 219.44,
    "duration_seconds": 277_200,
}  # fmt: skip

#: ``{kind: (title, message, data)}``
_TOLD: dict[str, tuple[str, str, dict[str, object]]] = {
    "order.completed": (
        "BUY AAPL filled",
        "Bought 10 at 228.40, worth 2,284\nPosition: long 10 at 228.40",
        _FILL,
    ),
    "order.rejected": (
        "BUY order rejected: AAPL",
        "BUY 10 AAPL, limit at 227.50\nThe broker refused it.",
        {"order": 43, "side": "buy", "size": 10, "order_type": "limit", "price": 227.5, "status": "rejected"},
    ),
    "trade.closed": (
        "AAPL closed: −94.07",
        "Sold 10 at 219.44, worth 2,194.40 (stop)\nProfit −94.07 · −4.12 % after 4.47 commission\nHeld 3 d 5 h, 9 bars",
        _EXIT,
    ),
    "position.closed": ("Position closed: AAPL", "Sold 10 at 219.44, worth 2,194.40 (stop)", _EXIT),
    "signal": (
        "BUY signal: AAPL",
        "Fast average crossed above the slow one\n• rsi: 61.20\n• volume: 1.8 × its average",
        {"signal": "BUY", "entry_price": 228.4, "stop_loss": 219.5, "take_profit": 246.0, "rsi": 61.2},
    ),
    "strategy.stopped": (
        "TrendFollower stopped",
        "Value 100,000 → 104,310.55 (+4.31 %)\nBars: 1,258\nTrades: 31 closed, 17 won, net +4,310.55",
        {"value_begin": 100_000, "value_end": 104_310.55, "bars": 1258, "trades": 31, "won": 17, "pnlcomm": 4310.55},
    ),
    "data.disconnected": ("AAPL: disconnected", "The feed of AAPL says DISCONNECTED.", {"status": "DISCONNECTED"}),
    "store.message": ("Message of the store", "Connectivity between IB and TWS has been lost.", {}),
    "error": (
        "TrendFollower crashed: ZeroDivisionError",
        "float division by zero\nstrategy.py, line 88, in next: risk = cash / (entry - stop)",
        {"exception": "ZeroDivisionError", "what": "float division by zero"},
    ),
    "channel.disabled": (
        "Channel phone is disabled",
        "api.pushover.net does not know app_token\nWhat waits for it is held: bt-alerts test phone",
        {"channel": "phone"},
    ),
}
_OF_TYPE = {
    AlertType.ORDER: "order.completed",
    AlertType.TRADE: "trade.closed",
    AlertType.POSITION: "position.closed",
    AlertType.STRATEGY: "strategy.stopped",
    AlertType.DATA: "data.disconnected",
    AlertType.STORE: "store.message",
    AlertType.HEALTH: "channel.disabled",
}


def example(word: str = "trade.closed") -> Alert:
    """An alert such as a strategy could send.

    Args:
        word: an alert type or a kind of event.

    Raises:
        ValueError: where there is no such word; the text names those there are.
    """
    name = word.strip().lower()
    kind = _OF_TYPE.get(AlertType(name), name) if name in set(AlertType) else name
    if kind in _TOLD:
        title, message, data = _TOLD[kind]
        known = KINDS[kind]
        louder = Priority.HIGH if data.get("close_reason") == "stop" else known.priority
        return Alert.make(
            message,
            title=title,
            type=known.type,
            kind=kind,
            priority=louder,
            symbol="AAPL",
            strategy="TrendFollower",
            data=data,
            thread=_THREAD if data in (_FILL, _EXIT) else "",
        )
    if kind == "market":
        return compose.market_update("AAPL", 228.4, 3.1, volume=48_200_000)
    if kind in KINDS or name in set(AlertType):
        known_kind = KINDS.get(kind)
        kind_type = known_kind.type if known_kind else AlertType(name)
        about = known_kind.about if known_kind else "something worth telling happened"
        priority = known_kind.priority if known_kind else Priority.MEDIUM
        return Alert.make(
            f"An example: {about}.",
            title=f"AAPL: {kind}",
            type=kind_type,
            kind=kind,
            priority=priority,
            symbol="AAPL",
            strategy="TrendFollower",
        )
    words = ", ".join([*(each.value for each in AlertType), *KINDS])
    raise ValueError(f"there is no type or kind of alert {word!r}: use one of {words}")
