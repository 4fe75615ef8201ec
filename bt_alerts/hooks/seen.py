"""What a live strategy has seen at its broker: remembered for its next start, which then tells what changed meanwhile.

The positions of its feeds and its open orders are kept in the store, through the journal, whenever they changed; and so
is how the run ended, with a sign of life now and then, so that the next start knows of a process that was killed.

The broker is asked on the strategy's thread alone: at the start, and for positions after an order. The store is read in
the background. Nothing is written before it was read, so that a strategy that is killed at its start loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bt_alerts.alert import plain
from bt_alerts.hooks import away
from bt_alerts.hooks.away import Before, Now, Position, Report
from bt_alerts.hooks.gate import source_feed
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.snapshot import PARTIAL
from bt_alerts.hooks.translate import EXECTYPE, STATUS

FRESH = 150.0  # seconds: a sign of life that is younger can be that of a process that lives
_IDS = ("id", "orderId", "order_id", "m_orderId")
_MARKET = 0  # Order.Market
_EPSILON = 1e-9
_FORGETFUL = ("CCXTBroker", "BinanceBroker")  # they do not ask the exchange for positions, and begin with none


class Memory:
    """What one strategy has seen in one live run.

    Args:
        strategy: the strategy.
        name: what alerts call it.
        symbol_of: what alerts call a feed.
        simulated: the broker is Backtrader's own.
        remember: keeps something in the store, by a key.
        tell: takes the report of a restart, in the background.
        zone: the reader's time zone.
        clock: Unix seconds.
    """

    def __init__(
        self,
        strategy: Any,
        name: str,
        symbol_of: Callable[[Any], str],
        *,
        simulated: bool,
        remember: Callable[[str, Any], object],
        tell: Callable[[Report], object],
        zone: str,
        clock: Callable[[], float],
    ) -> None:
        self._broker = strategy.broker
        self._name = name
        self._simulated = simulated
        self._forgets = type(strategy.broker).__name__ in _FORGETFUL
        self._before: Mapping[str, Position] = {}  # what was last seen, where the broker counts from zero
        self._remember = remember
        self._tell = tell
        self._zone = zone
        self._clock = clock
        self._symbols = {id(data): symbol_of(data) for data in strategy.datas}
        self._names = {symbol: symbol for symbol in self._symbols.values()}  # by what a broker may call them
        for data in strategy.datas:
            if isinstance(getattr(data, "_dataname", None), str):
                self._names.setdefault(data._dataname, symbol_of(data))
        self._feeds = [(symbol_of(data), data) for data in _with_positions(strategy.datas, simulated)]
        self._orders: dict[int, dict[str, Any]] = {}  # that are open, by Backtrader's number
        self._found: list[dict[str, Any]] = []  # open at the start already: nobody tells how they end
        self._positions: dict[str, dict[str, float]] | None = None  # that are not zero; None where it is not known
        self._kept: dict[str, Any] = {}  # as in the store
        self._run_key = f"run|{name}|{','.join(symbol for symbol, _ in self._feeds)[:200]}"
        self._started = clock()
        self._ended = ""
        self._recalled = False
        self._lock = threading.Lock()  # the strategy's thread, that which recalls, and the watch

    # The strategy's thread ---------------------------------------------------------------------------

    def start(self, recall: Callable[[Callable[[Mapping[str, Any] | None], None]], None]) -> None:
        """The strategy starts: see what is at the broker, and compare it with what was seen last, in the background."""
        now = self._now()
        if now.positions is not None:
            self._positions = {symbol: dict(position) for symbol, position in now.positions.items()}
        recall(lambda found: self._on_recalled(found, now))

    def note(self, orders: Any) -> None:
        """Orders were notified."""
        for order in orders:
            with contextlib.suppress(Exception):  # it was said already that this one cannot be read
                # A late answer may say accepted of an order that is filled. But one that was made bigger at the broker
                # is partly filled, whatever is left of its first size.
                left = order.executed.remsize or order.status == PARTIAL
                if order.alive() and left and not order.params.simulated:
                    self._note_open(order.ref, self._record(order))
                else:
                    self._orders.pop(order.ref, None)

    def _note_open(self, ref: int, record: dict[str, Any]) -> None:
        if record["symbol"]:
            self._orders[ref] = record
            self._found = [each for each in self._found if not (each["id"] and each["id"] == record["id"])]

    def look(self) -> None:
        """Something may have changed: see positions again, and keep what is new."""
        self._positions = self._ask_positions()
        self._write()

    def sign(self) -> None:
        """A sign of life."""
        with self._lock:
            if self._recalled and not self._ended:
                self._write_run()

    def end(self, why: str) -> None:
        """The run is over: as it should be, or by ``why``."""
        with never_raises("the broker was asked for positions", "the next start compares with those from before"):
            self.look()
        with self._lock:
            self._ended = why or "stopped"
            if self._recalled:
                self._write_run()

    # Asking the broker -------------------------------------------------------------------------------

    def _now(self) -> Now:
        if self._simulated:  # it has nothing yet, and being asked makes it look for a bar that is not there
            return Now({}, [], simulated=True)
        positions: dict[str, dict[str, float]] | None = None
        orders: list[dict[str, Any]] | None = None
        no_positions = no_orders = ""
        try:
            if self._forgets:
                no_positions = "this broker counts them from zero in every run"
            else:
                positions = self._ask_positions()
        except Exception as exc:
            no_positions = f"the broker could not tell them ({type(exc).__name__})"
            log.warning("the positions of %s at its start are not known: %s", self._name, type(exc).__name__)
        ask = getattr(self._broker, "get_orders_open", None)
        if not callable(ask):
            no_orders = "this broker does not tell them"
        else:
            try:
                orders = [self._record(order) for order in ask() or ()]
            except Exception as exc:
                no_orders = f"the broker could not tell them ({type(exc).__name__})"
                log.warning("the open orders of %s at its start are not known: %s", self._name, type(exc).__name__)
        return Now(positions, orders, no_positions, no_orders)

    def _ask_positions(self) -> dict[str, dict[str, float]]:
        found = {}
        for symbol, data in self._feeds:
            held = self._broker.getposition(data)
            if held.size:
                found[symbol] = {"size": float(held.size), "price": float(held.price or 0.0)}
        return found

    def _record(self, order: Any) -> dict[str, Any]:
        """An order as it is kept; its symbol is empty where it is of no feed of this strategy."""
        if isinstance(order, Mapping):  # as ccxt tells them
            kind = str(order.get("type") or "").lower()
            record = {
                "ref": 0,
                "id": _id_in(order),
                "symbol": self._names.get(str(order.get("symbol")), ""),
                "side": str(order.get("side") or "").lower(),
                "size": abs(float(order.get("amount") or 0.0)),
                "price": float(order.get("price") or 0.0) if kind != "market" else 0.0,
                "type": kind,
                "status": str(order.get("status") or ""),
            }
        elif isinstance(order, bt.OrderBase):
            data = order.params.data if order.params.data is not None else getattr(order, "data", None)
            made, kind_number = order.created, order.exectype or _MARKET
            record = {
                "ref": order.ref,
                "id": broker_id(order),
                "symbol": self._symbols.get(id(data), ""),
                "side": "buy" if order.isbuy() else "sell",
                "size": abs(float(made.size or 0.0)),
                "price": float(made.price or 0.0) if kind_number != _MARKET else 0.0,
                "type": EXECTYPE[kind_number] if kind_number < len(EXECTYPE) else "",
                "status": STATUS[order.status] if order.status < len(STATUS) else "",
            }
        else:
            known = str(getattr(order, "symbol", ""))
            record = {"ref": 0, "id": _id_of(order), "symbol": self._names.get(known, "")}
        return dict(plain(record))

    # The store ---------------------------------------------------------------------------------------

    def _key(self, symbol: str) -> str:
        return f"seen|{self._name}|{symbol}"

    def _on_recalled(self, found: Mapping[str, Any] | None, now: Now) -> None:
        """Runs in the background: tell what changed, and write from now on."""
        with never_raises("what changed while a strategy was away was looked for"):
            told = away.unreadable(self._name) if found is None else self._report(found, now)
            if told is not None:
                self._tell(told)
        with self._lock:
            keys = {self._key(symbol) for symbol in self._symbols.values()}
            self._kept = {key: value for key, value in (found or {}).items() if key in keys}
            if self._forgets:
                own = {symbol: (self._kept.get(self._key(symbol)) or {}).get("position") for symbol, _ in self._feeds}
                self._before = {symbol: position for symbol, position in own.items() if position}
            self._recalled = True
            self._write_run()
        self._write()

    def _report(self, found: Mapping[str, Any], now: Now) -> Report | None:
        run = found.get(self._run_key) or {}
        own = {symbol: found.get(self._key(symbol)) or {} for symbol in dict.fromkeys(self._symbols.values())}
        orders = [order for value in own.values() for order in value.get("orders", ())]
        if now.orders is not None:
            mine = self._mine(now.orders, orders, found)
            now = Now(now.positions, mine, now.why_no_positions, now.why_no_orders, now.simulated)
            told = {order["id"] for order in self._orders.values()}
            self._found = [order for order in mine if order["symbol"] and order["id"] not in told]
        if not run and not any(own.values()):
            return None  # it never ran before
        before = Before(
            positions={symbol: value["position"] for symbol, value in own.items() if value.get("position")},
            orders=orders,
            last=float(run.get("sign") or 0.0),
            ended=str(run.get("ended") or ""),
            elsewhere=_lives(run, self._started),
        )
        return away.report(self._name, before, now, self._started, self._zone)

    def _mine(
        self, there: Sequence[Mapping[str, Any]], orders: Sequence[Mapping[str, Any]], found: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The open orders of an account without those of other strategies; a symbol in other words is the known one."""
        known = {order["id"]: order["symbol"] for order in orders if order["id"]}
        others = {
            order["id"]
            for key, value in found.items()
            if key.startswith("seen|") and not key.startswith(self._key(""))
            for order in value.get("orders", ())
            if order["id"]
        }
        mine = [order for order in there if order["id"] not in others]
        return [{**order, "symbol": order["symbol"] or known.get(order["id"], "")} for order in mine]

    def _write(self) -> None:
        with self._lock:
            if not self._recalled:
                return
            orders: dict[str, list[dict[str, Any]]] = {}
            for order in [*self._found, *self._orders.values()]:
                orders.setdefault(order["symbol"], []).append(order)
            for symbol in dict.fromkeys(self._symbols.values()):
                value: dict[str, Any] = {}
                key = self._key(symbol)
                seen = (self._kept.get(key) or {}).get("position") if self._positions is None else None
                position = seen or _together(self._before.get(symbol), (self._positions or {}).get(symbol))
                if position:
                    value["position"] = position
                if symbol in orders:
                    value["orders"] = orders[symbol]
                if (value or None) != self._kept.get(key):
                    self._kept[key] = value or None
                    self._remember(key, value or None)

    def _write_run(self) -> None:
        self._remember(
            self._run_key,
            {
                "started": self._started,
                "sign": self._clock(),
                "ended": self._ended,
                "pid": os.getpid(),
                "host": platform.node(),
            },
        )


def _with_positions(datas: Any, simulated: bool) -> Iterator[Any]:
    """The feeds that have a position of their own: at a real broker a clone has that of its source."""
    for data in datas:
        source = source_feed(data)
        if simulated or source is data or not any(source is other for other in datas):
            yield data


def _together(before: Position | None, since: Position | None) -> Position | None:
    """A position and what was added to it since; None where there is none."""
    if before is None or since is None:
        return before or since
    size = before["size"] + since["size"]
    if before["size"] * since["size"] > 0:
        price = (before["size"] * before["price"] + since["size"] * since["price"]) / size
    else:
        price = max(before, since, key=lambda position: abs(position["size"]))["price"]
    return {"size": size, "price": price} if abs(size) > _EPSILON else None


def broker_id(order: Any) -> str:
    """What the broker calls an order, where its class keeps that; else empty."""
    kept = vars(order)
    for name in _IDS:
        if isinstance(kept.get(name), str | int) and kept[name]:
            return str(kept[name])
    for value in kept.values():  # ccxt_order, binance_order, info …
        if isinstance(value, Mapping) and (found := _id_in(value)):
            return found
    return ""


def _id_in(order: Mapping[str, Any]) -> str:
    return next((str(order[name]) for name in _IDS if isinstance(order.get(name), str | int) and order[name]), "")


def _id_of(order: Any) -> str:
    return next((str(found) for name in _IDS if (found := getattr(order, name, None))), "")


def _lives(run: Mapping[str, Any], now: float) -> bool:
    """The process of an earlier run seems to be there still: another one, on this machine, heard of just now."""
    pid = int(run.get("pid") or 0)
    here = run.get("host") == platform.node() and pid and pid != os.getpid() and os.name == "posix"
    if run.get("ended") or not here or now - float(run.get("sign") or 0.0) > FRESH:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
