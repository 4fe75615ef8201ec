"""Translation: snapshots in, alerts out. Pure: what it knows of a run it was told, what it remembers is in itself.

One action, one message: the alerts of one fill share an ``action``, and the best teller comes first. An exit is told by
the trade that it closes (profit, commission, duration and why), an entry by the order that was filled.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bt_alerts.alert import UTC, Alert, Priority, Source
from bt_alerts.compose import duration, money, number, signed
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.snapshot import ACCEPTED, COMPLETED, MARGIN, PARTIAL, REJECTED, Batch, OrderSnap, TradeSnap
from bt_alerts.kinds import KINDS, Setting, setting_of

STATUS = ("created", "submitted", "accepted", "partial", "completed", "canceled", "expired", "margin", "rejected")
EXECTYPE = ("market", "close", "limit", "stop", "stop limit", "trailing stop", "trailing stop limit", "historical")
_MARKET, _CLOSE, _LIMIT = 0, 1, 2
_STOPS = {3, 4, 5, 6}
_ENDINGS = ("canceled", "expired", "margin", "rejected")
_REFUSED = (MARGIN, REJECTED)
_EPSILON = 1e-9
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = 719_163
_FLOAT_ERROR = 20  # microseconds: all that a float of days since year 1 can tell apart


def bar_time(number_: float) -> dt.datetime | None:
    """Backtrader's float (days since year 1, UTC) as an aware time; None where there is none yet."""
    if not number_ or not math.isfinite(number_):
        return None
    micros = round((number_ - _EPOCH_ORDINAL) * 86_400_000_000)
    rest = micros % 1_000_000
    if rest < _FLOAT_ERROR:
        micros -= rest
    elif rest > 1_000_000 - _FLOAT_ERROR:
        micros += 1_000_000 - rest
    return _EPOCH + dt.timedelta(microseconds=micros)


@dataclasses.dataclass(slots=True)
class Position:
    """What one strategy holds of one feed, derived from executed orders."""

    size: float = 0.0
    price: float = 0.0
    opened: float = 0.0
    commission: float = 0.0
    pnl: float = 0.0
    shut: float = 0.0  # how much of it was closed so far


@dataclasses.dataclass(slots=True)
class _Fill:
    """What one fill did to the position."""

    size: float
    price: float
    before: float
    after: Position
    entry_price: float
    opened_at: float
    part: float  # profit of what this fill closed, before commission
    pnl: float  # realised by the position so far, as are the two below
    shut: float
    commission: float
    paid: float  # commission of this fill
    closes: bool
    opens: bool
    reverses: bool


@dataclasses.dataclass(slots=True)
class _Said:
    """What all alerts of one order or trade have in common."""

    source: Source
    now: dt.datetime | None
    action: str = ""
    thread: str = ""


class Translator:
    """Turns the events of one strategy in one run into alerts.

    Args:
        strategy: its name.
        run: id of the run.
        symbols: name of each feed, by index.
        events: the ``events:`` settings; kinds that are ``off`` are not made.
        multiplier: value of one point of a feed, by its index; asked late, because a strategy may set it.
        by_signal: every order is made by a signal (``SignalStrategy``).
    """

    def __init__(
        self,
        strategy: str,
        run: str,
        symbols: Sequence[str],
        *,
        events: Mapping[str, Setting] | None = None,
        multiplier: Callable[[int], float] = lambda data: 1.0,
        by_signal: bool = False,
    ) -> None:
        self.strategy = strategy
        self.run = run
        self.symbols = list(symbols)
        self._events = dict(events or {})
        self._multiplier = multiplier
        self._by_signal = by_signal
        self._positions: dict[tuple[int, int], Position] = {}  # by feed and tradeid, as Backtrader's trades
        self._filled: dict[int, tuple[float, float, float]] = {}  # by order: size, value and commission so far
        self._status: dict[int, int] = {}  # by order: the last that was told
        self._revived: dict[int, int] = {}  # by order: how often it lived again after it was refused
        self._ended: dict[int, tuple[int, str, str]] = {}  # by group: the order that ended it, its action, how
        self._oco_leaders: set[int] = set()
        self._signals: dict[int, tuple[float, str]] = {}  # by feed: the bar and the id of its last signal
        self._answers: dict[int, str] = {}  # by order: the id of the signal that it answers
        self._levels: dict[int, dict[str, float]] = {}  # by the parent of a bracket: prices of its stop and target

    # What a strategy holds already (a live strategy that starts again) --------------------------------

    def holds(self, data: int, size: float, price: float) -> None:
        """The broker's position when the run began."""
        self._positions[data, 0] = Position(size=size, price=price)

    def signalled(self, data: int, when: float, signal: str) -> None:
        """The strategy told of a signal, by its alert's id, on this bar: an order made on it was made by the signal."""
        self._signals[data] = when, signal

    # Orders and trades -------------------------------------------------------------------------------

    def batch(self, batch: Batch, source_of: Callable[[int], Source], now: dt.datetime | None) -> list[Alert]:
        """The alerts of one notification.

        Args:
            batch: what Backtrader notified.
            source_of: whether the bar of a feed, by index, is live.
            now: the clock's time in a live run; None in a backtest, where the bar's time counts.
        """
        opened = [trade for trade in batch.trades if trade.opened and not trade.closed]
        closed = [trade for trade in batch.trades if trade.closed]
        alerts: list[Alert] = []
        for order in batch.orders:
            with never_raises("an order was told"):
                alerts += self._order(order, opened, closed, _Said(source_of(order.data), now))
        for trade in (*opened, *closed):  # trades of orders that were not notified (order history, simulated)
            with never_raises("a trade was told"):
                alerts.append(self._stray_trade(trade, _Said(source_of(trade.data), now)))
        return [alert for alert in alerts if setting_of(alert.kind, self._events) is not Setting.OFF]

    def _order(self, order: OrderSnap, opened: list[TradeSnap], closed: list[TradeSnap], said: _Said) -> list[Alert]:
        if order.oco != order.ref:
            self._oco_leaders.add(order.oco)
        self._note_level(order)
        fill = self._fill(order)
        before = self._status.get(order.ref, 0)  # 0: made, and not yet on its way
        # Late answers of some brokers come after the end, such as accepted; and an order ends once. But one that was
        # refused can be taken after all: Interactive Brokers says so of an order that is inactive for a while.
        revived = before in _REFUSED and (order.status == ACCEPTED or fill is not None)
        repeated = order.status == before or (before >= COMPLETED and not revived)
        self._status[order.ref] = before if repeated else order.status
        if revived and not repeated:
            self._revived[order.ref] = self._revived.get(order.ref, 0) + 1
            self._ended = {group: end for group, end in self._ended.items() if end[0] != order.ref}
        if fill is not None:
            broken_off = order.status > COMPLETED
            part = order._replace(status=PARTIAL) if broken_off else order
            alerts = self._filled_alerts(part, fill, opened, closed, said)
            if broken_off and not repeated:
                alerts.append(self._status_alert(order, said))
            return [*alerts, *self._signal_alert(order, said)]
        if repeated:
            return []
        return [self._status_alert(order, said, revived=revived), *self._signal_alert(order, said)]

    def _signal_alert(self, order: OrderSnap, said: _Said) -> list[Alert]:
        """What became of the signal that an order answers; only its first order counts, and only its end."""
        when, signal = self._signals.get(order.data, (0.0, ""))
        if signal and when == order.created and not order.parent and signal not in self._answers.values():
            self._answers[order.ref] = signal
        answered = self._answers.get(order.ref)
        word = {"completed": "executed", "margin": "rejected", "canceled": "cancelled"}.get(
            status := STATUS[order.status] if order.status < len(STATUS) else "", status
        )
        if not answered or word not in {"executed", "rejected", "expired", "cancelled"}:
            return []
        reason = "not enough cash or margin" if status == "margin" else ""
        text = f"The signal was {word}" + (f": {reason}" if reason else "")
        data = {"signal_id": answered, "status": word, "reason": reason, "order": order.ref}
        title = f"Signal {word}: {self.symbols[order.data]}"
        return [self._make("signal.status", order, title, text, data, said)]

    def _note_level(self, order: OrderSnap) -> None:
        """Where the children of a bracket wait: an entry and an exit tell of it."""
        name = "stop_price" if order.exectype in _STOPS else "target_price" if order.exectype == _LIMIT else ""
        if not (order.parent and name and order.price):
            return
        if order.status > COMPLETED and order.parent not in self._filled:  # before there was anything to leave
            self._levels.get(order.parent, {}).pop(name, None)
        else:
            self._levels.setdefault(order.parent, {})[name] = order.price

    def _status_alert(self, order: OrderSnap, said: _Said, *, revived: bool = False) -> Alert:
        """An order that went on or ended without a fill."""
        status = STATUS[order.status] if order.status < len(STATUS) else "submitted"
        side, symbol = _side(order), self.symbols[order.data]
        text = f"{side} {number(abs(order.size))} {symbol}, {EXECTYPE[order.exectype]}"
        if order.price and order.exectype not in (_MARKET, _CLOSE):
            text += f" at {number(order.price)}"
        if status == "margin":
            text += "\nThe account has not enough cash or margin for it."
        if revived:
            text += "\nIt was refused before, and is alive again."
        if status in _ENDINGS:
            said.action, how = self._ending(order, status)
            text += how
        elif order.ref in self._filled:  # a fill that was told, now with another status
            said.action = self._action(order, repr(self._filled[order.ref][0]))
        data = {**self._order_data(order), "status": status}
        return self._make(f"order.{status}", order, f"{side} order {_said(status)}: {symbol}", text, data, said)

    def _ending(self, order: OrderSnap, status: str) -> tuple[str, str]:
        """The action that an order ends by without a fill, and a sentence where that action is another order's.

        What is left of a bracket or of an OCO group goes with the order that ended it: that is one action.
        """
        groups = (-(order.parent or order.ref), order.oco)
        if status in ("canceled", "rejected"):
            for group in groups:
                by, action, how = self._ended.get(group, (order.ref, "", ""))
                if by != order.ref:
                    return action, f"\nThe order that it belongs to was {how}."
        again = self._revived.get(order.ref)  # refused twice is told twice: each is an action of its own
        action = self._action(order, f"{status}:{again}" if again else status)
        self._ended.update(dict.fromkeys(groups, (order.ref, action, _said(status))))
        return action, ""

    def _action(self, order: OrderSnap, what: str) -> str:
        return f"{self.run}:{self.strategy}:{order.ref}:{what}"

    def _thread(self, order: OrderSnap, opened: float) -> str:
        """What the alerts of one position share, from its opening to its end, also over a restart."""
        began = bar_time(opened)
        when = "before" if began is None else began.isoformat()
        return f"{self.strategy}:{self.symbols[order.data]}:{order.tradeid}:{when}"

    def _filled_alerts(
        self, order: OrderSnap, fill: _Fill, opened: list[TradeSnap], closed: list[TradeSnap], said: _Said
    ) -> list[Alert]:
        said.action = action = self._action(order, repr(self._filled[order.ref][0]))
        said.thread = self._thread(order, fill.after.opened if fill.opens else fill.opened_at)
        # A parent's fill ends nothing: its children begin to work then.
        groups = (-order.parent, order.oco) if order.parent else (order.oco,)
        self._ended.update(dict.fromkeys(groups, (order.ref, action, "filled")))
        ended = _take(closed, order) if fill.closes or fill.reverses else None
        began = _take(opened, order)
        kind = "order.partial" if order.status == PARTIAL else "order.completed"
        data = self._fill_data(order, fill)
        if fill.closes or fill.reverses:
            title, text, more = self._exit_words(order, fill, ended)
        elif fill.before * fill.size < 0:
            title, text, more = self._reduction_words(order, fill)
        else:
            title, text, more = self._entry_words(order, fill)
        data |= more
        symbol = self.symbols[order.data]
        alerts: list[Alert] = []
        if ended is not None:
            alerts.append(self._make("trade.closed", order, title, text, {**data, **_trade_data(ended)}, said))
        alerts.append(self._make(kind, order, title, text, data, said))
        if fill.closes or fill.reverses:
            alerts.append(self._make("position.closed", order, f"Position closed: {symbol}", text, data, said))
        if fill.opens or fill.reverses:
            words = _holding(fill.after)
            held = self._fill_data(order, fill) | _held_data(fill.after)  # nothing of the trade that a reversal closed
            alerts.append(self._make("position.opened", order, f"Position opened: {symbol}", words, held, said))
        if began is not None:
            title, text = f"Trade opened: {symbol}", _trade_words(began)
            alerts.append(self._make("trade.opened", order, title, text, _trade_data(began), said))
        return alerts

    def _stray_trade(self, trade: TradeSnap, said: _Said) -> Alert:
        symbol = self.symbols[trade.data]
        if trade.closed:
            title = f"{symbol} closed: {signed(trade.pnlcomm)}"
            text = f"Profit {signed(trade.pnlcomm)} after {money(trade.commission)} commission"
            return self._make("trade.closed", trade, title, text, _trade_data(trade), said)
        title = f"Trade opened: {symbol}"
        return self._make("trade.opened", trade, title, _trade_words(trade), _trade_data(trade), said)

    # Words -------------------------------------------------------------------------------------------

    def _entry_words(self, order: OrderSnap, fill: _Fill) -> tuple[str, str, dict[str, Any]]:
        symbol = self.symbols[order.data]
        part = "partly filled" if order.status == PARTIAL else "filled"
        lines = [self._bought(fill, order), f"Position: {_holding(fill.after)}"]
        return f"{_side(order)} {symbol} {part}", "\n".join(lines), _held_data(fill.after)

    def _reduction_words(self, order: OrderSnap, fill: _Fill) -> tuple[str, str, dict[str, Any]]:
        """A part was closed: its profit is its own, and the trade's comes when the trade is closed."""
        symbol = self.symbols[order.data]
        why = self._why(order)
        lines = [
            f"{self._bought(fill, order)} ({why})",
            f"Profit of this part {signed(fill.part)} before commission",
            f"Position: {_holding(fill.after)}",
        ]
        more = {"close_reason": why, "part_pnl": fill.part, "entry_price": fill.entry_price, "exit_price": fill.price}
        return f"{symbol} reduced: {signed(fill.part)}", "\n".join(lines), more | _held_data(fill.after)

    def _exit_words(self, order: OrderSnap, fill: _Fill, ended: TradeSnap | None) -> tuple[str, str, dict[str, Any]]:
        symbol = self.symbols[order.data]
        why = self._why(order)
        pnl = ended.pnlcomm if ended is not None else fill.pnl - fill.commission
        commission = ended.commission if ended is not None else fill.commission
        lines = [f"{self._bought(fill, order)} ({why})"]
        cost = abs(fill.entry_price) * fill.shut * self._multiplier(order.data)
        percent = f" · {100 * pnl / cost:+.2f} %".replace("-", "−") if cost else ""
        lines.append(f"Profit {signed(pnl)}{percent} after {money(commission)} commission")
        more: dict[str, Any] = {
            "close_reason": why,
            "pnl": fill.pnl if ended is None else ended.pnl,
            "pnlcomm": pnl,
            "trade_commission": commission,
            "entry_price": fill.entry_price,
            "exit_price": fill.price,
        }
        if fill.opened_at:
            seconds = (order.dt - fill.opened_at) * 86_400
            more["duration_seconds"] = round(seconds)
            bars = "" if ended is None else f", {ended.bars} bar{'' if ended.bars == 1 else 's'}"
            lines.append(f"Held {duration(seconds)}{bars}")
        if abs(fill.after.size) > _EPSILON:
            lines.append(f"Position: {_holding(fill.after)}")
            more |= _held_data(fill.after)
        word = "reversed" if fill.reverses else "closed"
        return f"{symbol} {word}: {signed(pnl)}", "\n".join(lines), more

    def _why(self, order: OrderSnap) -> str:
        """Why a position was left: stop, target, signal or manual."""
        if order.exectype in _STOPS:
            return "stop"
        if order.exectype == _LIMIT and (order.parent or order.oco != order.ref or order.ref in self._oco_leaders):
            return "target"
        if self._by_signal or self._signals.get(order.data, (None, ""))[0] == order.created:
            return "signal"
        return "manual"

    # Figures -----------------------------------------------------------------------------------------

    def _bought(self, fill: _Fill, order: OrderSnap) -> str:
        verb = "Bought" if order.isbuy else "Sold"
        # One that was made bigger at the broker is filled beyond the size that is known here.
        known = order.status == PARTIAL and self._filled[order.ref][0] <= abs(order.size) + _EPSILON
        of = f" of {number(abs(order.size))}" if known else ""
        worth = money(self._worth(order, fill))
        return f"{verb} {number(abs(fill.size))}{of} at {number(fill.price)}, worth {worth}"

    def _worth(self, order: OrderSnap, fill: _Fill) -> float:
        return abs(fill.size) * fill.price * self._multiplier(order.data)

    def _fill(self, order: OrderSnap) -> _Fill | None:
        """Apply what is new of an order's execution to the position; None where nothing is."""
        if order.status < PARTIAL:
            return None
        # Some brokers say completed and report no execution: then all of it was, at the order's price. What they do
        # report counts also beyond the order's size: it may have been made bigger at the broker, past Backtrader.
        total = abs(order.filled) or (abs(order.size) if order.status == COMPLETED else 0.0)
        average = order.fill_price or order.price or 0.0
        told, worth, paid = self._filled.get(order.ref, (0.0, 0.0, 0.0))
        new = total - told
        if new <= _EPSILON:
            return None
        self._filled[order.ref] = total, total * average, order.commission
        price = round((total * average - worth) / new, 9) if told else average
        new_commission = round(order.commission - paid, 9) if told else order.commission
        size = new if order.isbuy else -new
        held = self._positions.setdefault((order.data, order.tradeid), Position())
        before, entry_price, opened_at = held.size, held.price, held.opened
        after = 0.0 if abs(before + size) <= _EPSILON else before + size
        part = 0.0
        if before * size < 0:
            shut = min(abs(before), abs(size))
            points = (price - entry_price) * (1 if before > 0 else -1)
            part = shut * points * self._multiplier(order.data)
            held.shut += shut
            held.pnl += part
        share = abs(after) / abs(size) if before * after < 0 else 0.0  # of the fill, that opens the other side
        held.commission += new_commission * (1 - share)
        fill = _Fill(
            size=size,
            price=price,
            before=before,
            after=held,
            entry_price=entry_price,
            opened_at=opened_at,
            pnl=held.pnl,
            part=part,
            shut=held.shut,
            commission=held.commission,
            paid=new_commission,
            closes=bool(before) and not after,
            opens=bool(after) and not before,
            reverses=before * after < 0,
        )
        if fill.opens or fill.reverses:
            held = Position(after, price, order.dt, new_commission * (share or 1.0))
        elif fill.closes:
            held = Position()
        else:
            if abs(after) > abs(before):  # added to: the average price moves
                held.price = (abs(before) * entry_price + abs(size) * price) / abs(after)
            held.size = after
        self._positions[order.data, order.tradeid] = held
        fill.after = dataclasses.replace(held)
        return fill

    def _order_data(self, order: OrderSnap) -> dict[str, Any]:
        data: dict[str, Any] = {
            "order": order.ref,
            "side": "buy" if order.isbuy else "sell",
            "size": abs(order.size),
            "order_type": EXECTYPE[order.exectype],
        }
        if order.price:
            data["price"] = order.price
        if order.parent:
            data["parent"] = order.parent
        if order.info:
            data["info"] = dict(order.info)
        return data

    def _fill_data(self, order: OrderSnap, fill: _Fill) -> dict[str, Any]:
        return {
            **self._order_data(order),
            "status": "partial" if order.status == PARTIAL else "completed",
            "filled": self._filled[order.ref][0],
            "fill_size": abs(fill.size),
            "fill_price": fill.price,
            "value": self._worth(order, fill),
            "commission": fill.paid,
            **self._levels.get(order.parent or order.ref, {}),
        }

    # Making ------------------------------------------------------------------------------------------

    def _make(  # noqa: PLR0917 - called often, in one way
        self, kind: str, snap: OrderSnap | TradeSnap, title: str, text: str, data: Mapping[str, Any], said: _Said
    ) -> Alert:
        known = KINDS[kind]
        bar = bar_time(snap.dt)
        return Alert.make(
            text,
            title=title,
            type=known.type,
            kind=kind,
            priority=_louder(known.priority, kind, data),
            time=said.now or bar,
            bar_time=bar,
            symbol=self.symbols[snap.data],
            strategy=self.strategy,
            run=self.run,
            source=said.source,
            data=data,
            action=said.action,
            thread=said.thread,
        )


def _louder(priority: Priority, kind: str, data: Mapping[str, Any]) -> Priority:
    """A stop that was hit is more urgent than another exit."""
    stopped = data.get("close_reason") == "stop" and kind in ("trade.closed", "order.completed")
    return Priority.HIGH if stopped else priority


def _take(trades: list[TradeSnap], order: OrderSnap) -> TradeSnap | None:
    """The first trade that this order opened or closed."""
    for i, trade in enumerate(trades):
        if trade.data == order.data and trade.tradeid == order.tradeid:
            return trades.pop(i)
    return None


def _trade_data(trade: TradeSnap) -> dict[str, Any]:
    data: dict[str, Any] = {
        "trade": trade.ref,
        "direction": "long" if trade.long else "short",
        "trade_price": trade.price,
        "bars": trade.bars,
        "trade_commission": trade.commission,
    }
    if trade.closed:
        data |= {"pnl": trade.pnl, "pnlcomm": trade.pnlcomm}
    else:
        data["trade_size"] = trade.size
    return data


def _side(order: OrderSnap) -> str:
    return "BUY" if order.isbuy else "SELL"


def _said(status: str) -> str:
    return {"margin": "failed for want of cash", "canceled": "cancelled"}.get(status, status)


def _trade_words(trade: TradeSnap) -> str:
    return f"{'Long' if trade.long else 'Short'} {number(abs(trade.size))} at {number(trade.price)}"


def _held_data(position: Position) -> dict[str, Any]:
    return {"position_size": position.size, "position_price": position.price}


def _holding(position: Position) -> str:
    if abs(position.size) <= _EPSILON:
        return "none"
    side = "long" if position.size > 0 else "short"
    return f"{side} {number(abs(position.size))} at {number(position.price)}"
