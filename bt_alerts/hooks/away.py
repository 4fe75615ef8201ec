"""What changed while a strategy was away. Pure: what was last seen at the broker, and what is there now, in; words out.

An order is the same one where the broker's ids say so. Without ids it is taken for the same where feed, side, size and
price agree, because Backtrader's own numbers begin anew with every process.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

from bt_alerts.alert import Priority
from bt_alerts.compose import duration, number

_EPSILON = 1e-9

Position = Mapping[str, Any]  # {"size": 100.0, "price": 150.5}
Order = Mapping[str, Any]  # {"ref": 17, "id": "", "symbol": "AAPL", "side": "buy", "size": 50.0, "price": 310.0, …}


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """What was last seen.

    Args:
        positions: by symbol, those that are not zero.
        orders: those that were open.
        last: the last sign of the run before, in Unix seconds; 0 where it is not known.
        ended: how that run ended, ``stopped`` or the name of an exception; "" where it did not.
        elsewhere: that run seems to go on, in another process.
    """

    positions: Mapping[str, Position]
    orders: Sequence[Order]
    last: float
    ended: str
    elsewhere: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Now:
    """What is at the broker now.

    Args:
        positions: by symbol; None where the broker cannot say.
        orders: those that are open; None where the broker cannot say.
        why_no_positions: a few words.
        why_no_orders: a few words.
        simulated: Backtrader's simulated broker, which begins anew with every run.
    """

    positions: Mapping[str, Position] | None
    orders: Sequence[Order] | None
    why_no_positions: str = ""
    why_no_orders: str = ""
    simulated: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What is told at a restart."""

    title: str
    text: str
    priority: Priority
    data: Mapping[str, Any]


def report(strategy: str, before: Before, now: Now, at: float, zone: str) -> Report:
    """Tell what changed.

    Args:
        strategy: its name.
        before: what was last seen.
        now: what is there.
        at: the time now, in Unix seconds.
        zone: the reader's time zone.
    """
    lines: list[str] = []
    unclean = bool(before.last) and not before.ended  # else nothing is known of that run's end
    if unclean:
        lines.append(_not_ended(before, zone))
    elif before.ended not in {"", "stopped"}:
        lines.append(f"The run before was ended by {before.ended}.")
    moves, orders, unsure = _moves(before, now), _order_changes(before, now), _unsure(before, now)
    changed = bool(moves or orders)
    if now.simulated and changed:
        lines.append("Backtrader's simulated broker begins anew with every run. What it had:")
    lines += [move["text"] for move in moves] + [order["text"] for order in orders] + unsure
    if not changed and not unsure:
        held = ", ".join(f"{symbol} {_held(p)}" for symbol, p in before.positions.items())
        lines.append("Nothing changed while it was away." + (f" Position: {held}." if held else ""))
        if before.orders:
            lines.append(f"Open orders: {len(before.orders)}.")
    away = max(0.0, at - before.last) if before.last else None
    loud = (changed and not now.simulated) or unclean
    return Report(
        title=f"{strategy} is back" + (f" after {duration(away)}" if away is not None else ""),
        text="\n".join(lines),
        priority=Priority.HIGH if loud else Priority.MEDIUM if unsure else Priority.LOW,
        data={
            "away_seconds": away,
            "last_sign": _when(before.last, "UTC") if before.last else None,
            "ended": before.ended,
            "changed": changed,
            "positions": [{k: v for k, v in move.items() if k != "text"} for move in moves],
            "orders": [{k: v for k, v in order.items() if k != "text"} for order in orders],
        },
    )


def unreadable(strategy: str) -> Report:
    """What was kept could not be read in time, so nothing is known of an earlier run."""
    return Report(
        title=f"{strategy} started, and what it saw before is not known",
        text="What was kept could not be read: the store is locked, or nobody reads the journal. If the strategy ran "
        "before, compare positions and orders yourself.",
        priority=Priority.MEDIUM,
        data={"changed": None},
    )


# ------------------------------------------------------------------------------------------- the pieces


def _not_ended(before: Before, zone: str) -> str:
    if before.elsewhere:
        return "Another process seems to run the same strategy on the same symbols and store still."
    return f"It was not ended properly; its last sign was at {_when(before.last, zone)}."


def _moves(before: Before, now: Now) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if now.positions is None:
        return found
    for symbol in dict.fromkeys([*before.positions, *now.positions]):
        old, new = before.positions.get(symbol, {}), now.positions.get(symbol, {})
        had, has = float(old.get("size", 0.0)), float(new.get("size", 0.0))
        if abs(had - has) <= _EPSILON:
            continue
        what = "closed" if not has else "opened" if not had else "turned" if had * has < 0 else "changed"
        how = "" if now.simulated else f" ({what} while away)"
        found.append({
            "symbol": symbol, "before": had, "after": has, "price_before": old.get("price"),
            "price_after": new.get("price"), "change": what,
            "text": f"{symbol}: {number(had)} → {number(has)}{how}",
        })  # fmt: skip
    return found


def _order_changes(before: Before, now: Now) -> list[dict[str, Any]]:
    if now.orders is None:
        return []
    gone, new = list(before.orders), list(now.orders)
    for order in list(gone):
        twin = _twin(order, new)
        if twin is not None:
            gone.remove(order)
            new.remove(twin)
    how = "open before" if now.simulated else "no longer open"
    return [
        *({**order, "change": "gone", "text": f"{named(order)}: {how}"} for order in gone),
        *(
            {**order, "change": "new", "text": f"{named(order)}: open, and not seen before"}
            for order in new
            if order.get("symbol")
        ),
    ]


def _twin(order: Order, among: Sequence[Order]) -> Order | None:
    for other in among:
        if order.get("id") and other.get("id"):
            if order["id"] == other["id"]:
                return other
        elif all(order.get(key) == other.get(key) for key in ("symbol", "side", "size", "price")):
            return other
    return None


def _unsure(before: Before, now: Now) -> list[str]:
    lines = []
    if now.positions is None:
        held = ", ".join(f"{symbol} {_held(p)}" for symbol, p in before.positions.items()) or "none"
        lines.append(f"Positions are not known: {now.why_no_positions}. When last seen: {held}.")
    if now.orders is None and before.orders:
        listed = "; ".join(named(order) for order in before.orders)
        lines.append(f"Open orders are not known: {now.why_no_orders}. When last seen: {listed}.")
    return lines


def named(order: Order) -> str:
    """``order 17 buy 50 MSFT limit 310``."""
    words = ["order", str(order.get("id") or order.get("ref") or ""), str(order.get("side") or "")]
    words += [number(order["size"]) if order.get("size") else "", str(order.get("symbol") or "")]
    words += [str(order.get("type") or ""), number(order["price"]) if order.get("price") else ""]
    return " ".join(word for word in words if word)


def _held(position: Position) -> str:
    return f"{number(position.get('size', 0.0))} at {number(position.get('price', 0.0))}"


def _when(at: float, zone: str) -> str:
    try:
        there: dt.tzinfo = zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        there = dt.UTC
    return f"{dt.datetime.fromtimestamp(at, there):%Y-%m-%d %H:%M:%S %Z}"
