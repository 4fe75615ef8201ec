"""Snapshots: plain values of orders and trades, taken at once, because Backtrader goes on changing the objects.

Taking one is all that happens on the strategy's thread in a backtest, so it reads instance attributes where it can:
``order.size`` and the like go through ``Order.__getattr__`` into the parameters and cost several times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

PARTIAL, COMPLETED = 3, 4  # Order.Partial, Order.Completed


class OrderSnap(NamedTuple):
    """One order at one moment. Times are Backtrader's floats (days), ``data`` is the index of the feed."""

    dt: float
    ref: int
    status: int
    data: int
    isbuy: bool
    size: float
    price: float | None
    exectype: int
    created: float
    group: int  # bracket or OCO group: the ref of the parent or of the order it names; 0 for none
    tradeid: int
    filled: float = 0.0
    fill_price: float = 0.0
    commission: float = 0.0
    new_commission: float = 0.0
    new_price: float = 0.0
    info: Mapping[str, Any] | None = None


class TradeSnap(NamedTuple):
    """One trade at one moment."""

    dt: float
    ref: int
    data: int
    tradeid: int
    long: bool
    size: float
    price: float
    pnl: float
    pnlcomm: float
    commission: float
    closed: bool
    opened: bool
    dtopen: float
    dtclose: float
    bars: int


class Batch(NamedTuple):
    """What one ``_notify`` call brought."""

    dt: float
    orders: list[OrderSnap]
    trades: list[TradeSnap]


def order_snap(order: Any, index: Mapping[int, int]) -> OrderSnap:
    """Take an order. ``index`` maps ``id(data)`` to the position of the feed."""
    params = order.params
    made = order.created
    data = params.data
    status = order.status
    parent, oco = params.parent, params.oco
    group = parent.ref if parent is not None else (oco.ref if oco is not None else 0)
    exectype = params.exectype or 0
    info = order.info
    if status in (PARTIAL, COMPLETED):
        done = order.executed
        commission = price = size = 0.0
        for bit in done.iterpending():
            if bit is not None:
                commission += (bit.closedcomm or 0.0) + (bit.openedcomm or 0.0)
                price += bit.price * abs(bit.size)
                size += abs(bit.size)
        return OrderSnap(
            done.dt or data.datetime[0], order.ref, status, index.get(id(data), 0), order.ordtype == 0, made.size,
            made.price, exectype, made.dt, group, params.tradeid, done.size, done.price, done.comm,
            commission, price / size if size else done.price, dict(info) if info else None,
        )  # fmt: skip
    return OrderSnap(
        data.datetime[0] if len(data) else made.dt, order.ref, status, index.get(id(data), 0), order.ordtype == 0,
        made.size, made.price, exectype, made.dt, group, params.tradeid,
        info=dict(info) if info else None,
    )  # fmt: skip


def trade_snap(trade: Any, index: Mapping[int, int]) -> TradeSnap:
    """Take a trade."""
    data = trade.data
    return TradeSnap(
        data.datetime[0], trade.ref, index.get(id(data), 0), trade.tradeid, bool(trade.long), trade.size, trade.price,
        trade.pnl, trade.pnlcomm, trade.commission, bool(trade.isclosed), bool(trade.justopened), trade.dtopen,
        trade.dtclose, trade.barlen,
    )  # fmt: skip
