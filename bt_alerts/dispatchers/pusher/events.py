"""The promised Pusher events: the fields that a page reads, and which alert becomes which event.

The field names and their case are fixed. One action makes one event, because one alert of an action is delivered. A
reversal is the one alert that makes two: it closes a position and opens another. What none of the promised events is
made for goes as ``alert``, so that nothing is lost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any

from bt_alerts.alert import Alert, AlertType, as_utc, plain, safe_text, utcnow
from bt_alerts.dispatchers.pusher.api import Event
from bt_alerts.render.look import View

#: The fields of each event, in their order.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "trading-signal": (
        "id", "timestamp", "symbol", "type", "entryPrice", "stopLoss", "takeProfit", "confidence", "strategy",
        "timeframe", "indicators", "status", "reason",
    ),
    "signal-status-update": ("id", "status", "reason", "timestamp"),
    "position-opened": (
        "ticket", "symbol", "type", "volume", "entry_price", "stop_loss", "take_profit", "strategy", "timestamp",
    ),
    "position-closed": (
        "ticket", "symbol", "type", "volume", "entry_price", "exit_price", "profit", "duration_seconds",
        "close_reason", "timestamp",
    ),
    "strategy-status": ("strategyId", "strategyName", "status", "reason", "timestamp"),
    "account-update": ("balance", "equity", "margin", "margin_level", "profit", "timestamp"),
    "error": ("type", "message", "context", "timestamp"),
    "alert": ("id", "type", "kind", "priority", "title", "message", "symbol", "strategy", "data", "timestamp"),
}  # fmt: skip

#: What a field is where nothing is given for it; null where it is not named here.
_EMPTY: Mapping[str, Any] = {
    "symbol": "", "strategy": "", "strategyName": "", "reason": "", "message": "", "title": "", "type": "",
}  # fmt: skip
#: Other names under which a field may be given, besides the same in snake_case or camelCase.
_ALSO: Mapping[str, Mapping[str, str]] = {
    "trading-signal": {"strategyname": "strategy", "side": "type", "action": "type", "price": "entryPrice"},
    "signal-status-update": {"signalid": "id"},
    "position-opened": {"strategyname": "strategy", "side": "type", "size": "volume"},
    "position-closed": {"side": "type", "size": "volume", "pnl": "profit", "duration": "duration_seconds"},
    "strategy-status": {"strategy": "strategyName"},
    "error": {"errortype": "type"},
}
_SIDES = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_CLOSED_BY = {
    **dict.fromkeys(("stop", "sl", "stoploss"), "SL"),
    **dict.fromkeys(("target", "tp", "takeprofit"), "TP"),
    **dict.fromkeys(("part", "partial", "partialexit"), "PartialExit"),
}
_LIVES = ("executed", "rejected", "expired", "cancelled")
_EPSILON = 1e-9
#: The time at the end of a position's thread, when the position was opened.
_OPENED = re.compile(r":(?:before|\d{4}-\d\d-\d\dT[\d:.+]+)\Z")


# ------------------------------------------------------------------------------------------ the fields


def shaped(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an event: every field of it and no other, as plain JSON.

    Args:
        name: of the event.
        given: fields by their names, in snake_case or camelCase; others are left out.
    """
    known = {_bare(field): field for field in FIELDS[name]} | dict(_ALSO.get(name, {}))
    found: dict[str, Any] = {}
    for key, value in given.items():
        field = known.get(_bare(str(key)))
        if field and (value is not None or field not in found):
            found[field] = value
    data = {field: _safe(found.get(field, _EMPTY.get(field))) for field in FIELDS[name]}
    data |= {field: _EMPTY[field] for field in _EMPTY.keys() & data.keys() if data[field] is None}
    data["timestamp"] = timestamp(found.get("timestamp"))
    if name in {"trading-signal", "position-opened", "position-closed"}:
        data["type"] = side(data["type"])
    if name == "trading-signal":
        data |= {"id": data["id"] or str(uuid.uuid4()), "status": data["status"] or "pending"}
        data["indicators"] = data["indicators"] if isinstance(data["indicators"], dict) else {}
        if isinstance(data["confidence"], int | float):
            data["confidence"] = min(max(data["confidence"], 0), 100)
    if name == "position-closed":
        data["close_reason"] = close_reason(data["close_reason"])
    if name == "strategy-status" and not data["strategyId"]:
        data["strategyId"] = strategy_id(data["strategyName"])
    if name == "error" and data["context"] is None:
        data["context"] = {}
    return data


def _safe(value: object) -> Any:
    """As :func:`~bt_alerts.alert.plain`, for texts as long as a message's."""
    return safe_text(value) if type(value) is str else plain(value)


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def side(word: object) -> str:
    """``"BUY"`` or ``"SELL"``; another word stays as it is, in capitals."""
    text = str(word or "").strip().upper()
    return _SIDES.get(text, text)


def close_reason(word: object) -> str:
    """``"SL"``, ``"TP"``, ``"PartialExit"``, else ``"Manual"``."""
    return _CLOSED_BY.get(_bare(str(word or "")), "Manual")


def strategy_id(name: str) -> str:
    """A version-5 UUID of a strategy's name, in the DNS name space: the same in every run and on every machine."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def timestamp(when: object = None) -> str:
    """A time as ISO 8601 with its offset; now where none is given or it is none."""
    try:
        moment = as_utc(when) if isinstance(when, dt.datetime | int | float | str) else None
    except (ValueError, OverflowError, OSError):
        moment = None
    return (moment or utcnow()).isoformat()


# ------------------------------------------------------------------------------- alerts become events


def events_of(alert: Alert, view: View, *, hide: bool = False) -> list[Event]:
    """The events that tell of an alert: one, or two where a position was reversed.

    Args:
        alert: which one.
        view: its texts, as the channel shows them.
        hide: leave amounts out, because the channel's ``privacy`` says so.
    """
    events = [Event(name, shaped(name, {"timestamp": alert.time, **given})) for name, given in _told(alert, view)]
    return [Event(event.name, _without_amounts(event.data)) for event in events] if hide else events


def _told(alert: Alert, view: View) -> list[tuple[str, dict[str, Any]]]:
    data = alert.data
    if alert.type is AlertType.SIGNAL and str(data.get("status", "")).lower() in _LIVES and data.get("signal_id"):
        given = {"id": data["signal_id"], "status": str(data["status"]).lower(), "reason": data.get("reason")}
        return [("signal-status-update", given)]
    called = side(data.get("action") or data.get("signal"))
    if (alert.type is AlertType.SIGNAL or alert.kind == "direct.trade") and called in {"BUY", "SELL"}:
        return [("trading-signal", _signal(alert, called))]
    if alert.kind.partition(".")[0] in {"order", "trade", "position"} and (told := _position(alert)):
        return told
    if alert.kind in {"strategy.started", "strategy.stopped", "interrupted"}:
        status = "started" if alert.kind == "strategy.started" else "stopped"
        reason = view.message if alert.kind == "interrupted" else data.get("why")
        return [("strategy-status", {"strategyName": alert.strategy, "status": status, "reason": reason})]
    if alert.type is AlertType.ERROR:
        kind = data.get("error_type") or data.get("exception") or alert.title
        return [("error", {"type": kind, "message": view.message, "context": _context(alert)})]
    row = {name: getattr(alert, name) for name in ("id", "type", "kind", "priority", "symbol", "strategy", "data")}
    return [("alert", {**row, "title": view.title, "message": view.message})]


def _signal(alert: Alert, called: str) -> dict[str, Any]:
    data = alert.data
    conditions = data.get("conditions")
    if isinstance(conditions, Mapping):
        conditions = [f"{name}: {value}" for name, value in conditions.items()]
    reason = "; ".join(map(str, conditions)) if isinstance(conditions, list) else conditions
    return {
        **{name: data.get(name) for name in ("stop_loss", "take_profit", "confidence", "timeframe", "indicators")},
        "id": alert.id,
        "symbol": alert.symbol,
        "type": called,
        "entry_price": data.get("entry_price") or data.get("price"),
        "strategy": alert.strategy,
        "reason": data.get("reason") or reason,
    }


def _context(alert: Alert) -> dict[str, Any]:
    context = alert.data.get("context")
    told = dict(context) if isinstance(context, Mapping) else {"context": context} if context else {}
    rest = {k: v for k, v in alert.data.items() if k not in {"context", "error_type", "exception", "traceback", "what"}}
    return {k: v for k, v in {"strategy": alert.strategy, "symbol": alert.symbol, **told, **rest}.items() if v != ""}


def _position(alert: Alert) -> list[tuple[str, dict[str, Any]]]:
    """What an order, a trade or a position told of: opened, closed, a part closed, or both; else nothing."""
    data = alert.data
    held = _number(data.get("position_size"))
    part = "part_pnl" in data
    closed = alert.kind in {"trade.closed", "position.closed"} or "close_reason" in data
    if alert.kind == "position.opened" or (not closed and _opens(alert, held)):
        return [("position-opened", _opened(alert, held, alert.thread))]
    if not closed:
        return []
    left = 0.0 if part else abs(held)  # of a reversal: what it opened on the other side
    filled = abs(_number(data.get("fill_size")))
    bought = data["side"] == "buy" if "side" in data else data.get("direction") == "short"
    told: list[tuple[str, dict[str, Any]]] = [
        (
            "position-closed",
            {
                "ticket": _ticket(alert, alert.thread),
                "symbol": alert.symbol,
                "type": "SELL" if bought else "BUY",  # what is bought back was sold
                "volume": filled - left if filled else None,
                "entry_price": data.get("entry_price") or data.get("trade_price"),
                "exit_price": data.get("exit_price"),
                "profit": data.get("part_pnl") if part else data.get("pnlcomm"),
                "duration_seconds": data.get("duration_seconds"),
                "close_reason": "partial" if part else data.get("close_reason"),
            },
        )
    ]
    if left and alert.kind != "position.closed":
        began = f":{alert.bar_time.isoformat()}" if alert.bar_time else ""
        told.append(("position-opened", _opened(alert, held, _OPENED.sub("", alert.thread) + began)))
    return told


def _opens(alert: Alert, held: float) -> bool:
    """An entry whose order made the whole position, be it in parts; one that adds to a position does not open it."""
    if alert.kind == "trade.opened":
        return True
    filled = abs(_number(alert.data.get("filled")))
    return alert.kind in {"order.completed", "order.partial"} and filled > 0 and abs(abs(held) - filled) <= _EPSILON


def _opened(alert: Alert, held: float, thread: str) -> dict[str, Any]:
    data = alert.data
    held = held or _number(data.get("trade_size"))
    return {
        "ticket": _ticket(alert, thread),
        "symbol": alert.symbol,
        "type": "BUY" if held > 0 else "SELL",
        "volume": abs(held),
        "entry_price": data.get("position_price") or data.get("trade_price"),
        "stop_loss": data.get("stop_loss") or data.get("stop_price"),
        "take_profit": data.get("take_profit") or data.get("target_price"),
        "strategy": alert.strategy,
    }


def _ticket(alert: Alert, thread: str) -> Any:
    """An integer that the opening and the end of a position share: the broker's where it is known."""
    if alert.data.get("ticket") is not None:
        return alert.data["ticket"]
    if not thread:
        return alert.data.get("trade", alert.data.get("order"))
    return int(hashlib.sha256(thread.encode("utf-8", "replace")).hexdigest()[:12], 16)  # JavaScript has 53 bits


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _without_amounts(data: Mapping[str, Any]) -> dict[str, Any]:
    keep = {"ticket", "confidence", "duration_seconds"}
    hidden = {name: None if isinstance(v, int | float) and name not in keep else v for name, v in data.items()}
    hidden |= {name: {} for name in {"indicators", "context", "data"} & data.keys()}
    return hidden | ({"reason": ""} if "confidence" in data else {})
