"""Snapshots: plain values of orders and trades, taken at once, because Backtrader goes on changing the objects.

Taking one is all that happens on the strategy's thread in a backtest, so it reads instance attributes where it can:
``order.size`` and the like go through ``Order.__getattr__`` into the parameters and cost several times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

ACCEPTED, PARTIAL, COMPLETED, CANCELED = 2, 3, 4, 5  # Order.Accepted, Order.Partial and so on
MARGIN, REJECTED = 7, 8


class OrderSnap(NamedTuple):
    """One order at one moment. Times are Backtrader's floats (days), ``data`` is the index of the feed.

    ``dt`` is the bar on which it was notified: the time of an execution is text with some brokers.

    ``filled``, ``fill_price`` and ``commission`` are of everything executed so far: what is new in a partial fill is
    the difference to the snapshot before, also where a broker hands over the same order object again and again.
    """

    dt: float
    ref: int
    status: int
    data: int
    isbuy: bool
    size: float
    price: float | None
    exectype: int
    created: float
    parent: int  # bracket: ref of the parent; 0 for none
    oco: int  # ref of the leader of its OCO group; its own ref where it leads one or is in none
    tradeid: int
    filled: float = 0.0
    fill_price: float = 0.0
    commission: float = 0.0
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
    bars: int


class Batch(NamedTuple):
    """What one ``_notify`` call brought."""

    orders: list[OrderSnap]
    trades: list[TradeSnap]


def order_snap(order: Any, index: Mapping[int, int], leaders: Mapping[int, int]) -> OrderSnap:
    """Take an order.

    Args:
        order: the order.
        index: position of each feed, by ``id(data)``.
        leaders: the simulated broker's OCO groups, ref to ref of the leader. It does not pass ``oco`` on to the order.
    """
    params = order.params
    made = order.created
    # bt-ccxt-store and its like set these on the order instead of passing them.
    data = params.data if params.data is not None else order.data
    exectype = order.__dict__.get("exectype", params.exectype)
    ref, status = order.ref, order.status
    parent, oco = params.parent, params.oco
    info = order.info
    filled = price = commission = 0.0
    if status >= PARTIAL:  # some brokers say of a part that was filled only when the rest is cancelled
        filled, price, commission = _executed(order)
    return OrderSnap(
        data.datetime[0] if len(data) else made.dt,
        ref, status, index.get(id(data), 0), order.ordtype == 0, made.size, made.price, exectype or 0,
        made.dt, parent.ref if parent is not None else 0, leaders.get(ref, ref) if oco is None else oco.ref,
        params.tradeid, filled, price, commission, dict(info) if info else None,
    )  # fmt: skip


def _executed(order: Any) -> tuple[float, float, float]:
    """Size, average price and commission of what was executed of an order, each fill once.

    bt-ccxt-store and those made after it execute all known fills of an order at each poll, and note in
    ``executed_fills`` which one every execution was. The same fill is one with the same id, time, size and price. No
    guess is made from size, time and price alone: two lots of one second at one price are two fills elsewhere.
    """
    done = order.executed
    ids = order.__dict__.get("executed_fills")
    if ids and len(ids) == len(done.exbits):
        bits = {(repr(id_), bit.dt, bit.size, bit.price): bit for id_, bit in zip(ids, done.exbits, strict=True)}
        size = sum(bit.size for bit in bits.values())
        if size and len(bits) < len(ids):
            price = sum(bit.size * bit.price for bit in bits.values()) / size
            return size, price, sum(bit.comm for bit in bits.values())
    return done.size, done.price, done.comm


def trade_snap(trade: Any, index: Mapping[int, int]) -> TradeSnap:
    """Take a trade."""
    data = trade.data
    return TradeSnap(
        data.datetime[0], trade.ref, index.get(id(data), 0), trade.tradeid, bool(trade.long), trade.size, trade.price,
        trade.pnl, trade.pnlcomm, trade.commission, bool(trade.isclosed), bool(trade.justopened), trade.barlen,
    )  # fmt: skip
