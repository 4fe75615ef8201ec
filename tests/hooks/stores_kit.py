"""The habits of live stores, each as small as it can be: what feeds say and when, how brokers tell of an order.

Written from what the stores do, without their code: Interactive Brokers and Oanda as Backtrader ships them,
bt-ccxt-store, alpaca-backtrader-api 0.15 and backtrader_binance 2.0.5. Nothing here connects to anything.
"""

from __future__ import annotations

import collections
import datetime as dt
import time
from types import SimpleNamespace
from typing import Any

import backtrader as bt
from hooks_kit import MINUTE, Clock, Exchange, engine, live_feed, webhook

from bt_alerts import attach
from bt_alerts.hooks.session import ATTRIBUTE
from bt_alerts.testing import FakeService


class Store:
    """A store as Cerebro sees one: it starts, stops and says things."""

    def __init__(self, **params: Any) -> None:
        self.p = SimpleNamespace(**params)
        self.said: list[Any] = []

    def start(self, data: Any = None, broker: Any = None) -> None: ...
    def stop(self) -> None: ...

    def put_notification(self, message: Any, /, *args: Any, **kwargs: Any) -> None:
        self.said.append((message, args, kwargs))

    def get_notifications(self) -> list[Any]:
        said, self.said = self.said, []
        return said


class IbMessage:
    """A message of Interactive Brokers: the store hands over the object, and all its fields again as arguments."""

    def __init__(self, name: str = "error", **fields: Any) -> None:
        self.name, self.fields = name, fields

    def __str__(self) -> str:
        return f"<{self.name} {', '.join(f'{key}={value}' for key, value in self.fields.items())}>"


class Day:
    """What happens at a store, minute by minute, as the script of a feed. It begins on a Monday at 14:00 UTC.

    Args:
        dated: minutes added to the time of each bar: −1 where bars are named after the minute that they begin.
    """

    def __init__(self, *, dated: int = 0) -> None:
        self.clock = Clock()
        self.store = Store()
        self.steps: list[Any] = []
        self._dated = dated
        self._now = self.clock.time  # the clock's time when the script will be here
        self._close = 99.0

    def status(self, *words: str) -> Day:
        """The feed says a state, or some in one go."""
        self.steps += [("status", word) for word in words]
        return self

    def then(self) -> Day:
        """The strategy finds the feed in the state that it said."""
        self.steps += [("wait",)]
        return self

    def old(self, bars: int) -> Day:
        """Bars that fill a gap, as fast as they can be read; the newest is a minute old."""
        self.steps += [self._bar(self._now - i * MINUTE) for i in range(bars, 0, -1)]
        return self

    def live(self, bars: int, *, behind: int = 0) -> Day:
        """A bar a minute, dated ``behind`` minutes too early."""
        for _ in range(bars):
            self._now += MINUTE
            self.steps += [("call", self._on()), self._bar(self._now - behind * MINUTE)]
        return self

    def _on(self, *far: Any) -> Any:
        """The clock goes on when all that was told before is planned: what gathers does so by the clock."""
        on = self.clock.on(*far)

        def go() -> None:
            session = self.cerebro.__dict__.get(ATTRIBUTE)
            assert session is None or session.manager.drained(20)
            on()

        return go

    def says(self, message: Any, /, *args: Any, **kwargs: Any) -> Day:
        """The store says something."""
        self.steps += [("call", lambda: self.store.put_notification(message, *args, **kwargs)), ("wait",)]
        return self

    def ib_says(self, name: str = "error", **fields: Any) -> Day:
        """The store of Interactive Brokers says something."""
        return self.says(IbMessage(name, **fields), *fields.values(), **fields)

    def do(self, what: Any) -> Day:
        """Anything else, between two bars."""
        self.steps += [("call", what), ("wait",)]
        return self

    def nothing(self, minutes: int, *, told: str = "data.silent") -> Day:
        """No bars, until somebody was told so, or ``told``."""
        self._now += minutes * MINUTE
        self.steps += [("wait",), ("call", self._on(minutes * MINUTE))]
        return self.until(told)

    def until(self, kind: str, *, passing: bool = False) -> Day:
        """The feed waits until somebody was told this; ``passing`` seconds, where what is told gathers first."""

        def told() -> bool:
            return any(request.json()["data"].get("kind") == kind for request in self.service.requests)

        def wait() -> None:
            self.cerebro.__dict__[ATTRIBUTE].lookout.watch.wake()
            deadline = time.monotonic() + 30
            while not told() and time.monotonic() < deadline:
                self.clock.time += dt.timedelta(seconds=passing)
                time.sleep(0.005)

        self.steps += [("wait",), ("call", wait)]
        return self

    def breaks(self, exc: Exception) -> Day:
        """The feed raises."""
        self.steps += [("raise", exc)]
        return self

    def _bar(self, when: dt.datetime) -> tuple[Any, ...]:
        self._close += 1
        close = self._close
        return ("bar", when + self._dated * MINUTE, close, close + 1, close - 1, close, 100.0)

    def run(
        self,
        broker: Any = None,
        *,
        steps: Any = None,
        strategy: Any = None,
        store: str = "memory",
        **settings: Any,
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """Play it: what a person got and what was stored; what tells of the run itself is left out of the first."""
        more = {} if strategy is None else {"strategy": strategy}
        data = live_feed(self.clock, *self.steps, name="AAA")
        self.cerebro = cerebro = engine(data, steps=steps, **more)
        cerebro.addstore(self.store)
        if broker is not None:
            cerebro.broker = broker
        with FakeService() as self.service:
            with attach(cerebro, webhook(self.service, store=store), clock=self.clock, **settings) as manager:
                try:
                    cerebro.run()
                finally:
                    assert manager.flush(10)
                    self.stored = manager.alerts()
            bodies = [request.json() for request in self.service.requests]
        told = sorted((b["data"] for b in bodies if b["type"] != "bt_alerts.check"), key=lambda data: data["id"])
        return [alert for alert in told if alert["type"] != "strategy"], self.stored


class Remote(bt.broker.BrokerBase):
    """Interactive Brokers, Oanda, Alpaca: its own account, threads that answer, a clone of the order for each answer.

    Args:
        answers: what becomes of an order, in order: ``submit accept fill reject cancel expire``, and ``fill:0.4`` for
            that part of it. ``some:1`` fills as much and says that there is more to come, ``last:0.5`` that this was
            all: an order that was made bigger at the broker, of which Backtrader knows the first size only.
        positions: ``{symbol: (size, price)}`` of the account.
        fee: commission of a fill.
        store: kept as ``o``, where Oanda and Alpaca keep theirs.
    """

    def __init__(
        self, answers: str = "submit accept fill", *, positions: Any = None, fee: float = 0.0, store: Any = None
    ) -> None:
        super().__init__()
        self.answers = answers.split()
        self.positions = {name: bt.position.Position(*held) for name, held in (positions or {}).items()}
        self.fee = fee
        self.o = store or Store()

    def start(self) -> None:
        super().start()
        self.startingcash = self.startingvalue = 10_000.0
        self.notifications: collections.deque[Any] = collections.deque()
        self.sent: list[Any] = []

    def getcash(self) -> float:
        return 10_000.0

    def getvalue(self, datas: Any = None) -> float:
        return 10_000.0

    def getposition(self, data: Any, clone: bool = True) -> Any:
        held = self.positions.setdefault(data._name, bt.position.Position())
        return held.clone() if clone else held

    def get_notification(self) -> Any:
        return self.notifications.popleft() if self.notifications else None

    def notify(self, order: Any) -> None:
        self.notifications.append(order.clone())

    def tell_what_is_held(self, data: Any) -> None:
        """Oanda and Alpaca: a position that is there already comes as a simulated order."""
        held = self.getposition(data)
        order = bt.BuyOrder(data=data, size=held.size, price=held.price, exectype=bt.Order.Market, simulated=True)
        order.addcomminfo(self.getcommissioninfo(data))
        order.execute(0, held.size, held.price, 0, 0.0, 0.0, held.size, 0.0, 0.0, 0.0, 0.0, held.size, held.price)
        order.completed()
        self.notify(order)

    def _transmit(self, kind: Any, owner: Any, data: Any, size: float, more: dict[str, Any]) -> Any:
        known = {key: more[key] for key in ("price", "exectype", "valid", "tradeid") if key in more}
        order = kind(owner=owner, data=data, size=size, **known)
        order.addcomminfo(self.getcommissioninfo(data))
        self.sent.append(order)
        return order

    def buy(self, owner: Any, data: Any, size: float, **more: Any) -> Any:
        return self._transmit(bt.BuyOrder, owner, data, size, more)

    def sell(self, owner: Any, data: Any, size: float, **more: Any) -> Any:
        return self._transmit(bt.SellOrder, owner, data, size, more)

    def next(self) -> None:
        sent, self.sent = self.sent, []
        for order in sent:
            for answer in self.answers:
                word, _, part = answer.partition(":")
                if word in ("fill", "some", "last"):
                    self._fill(order, float(part or 1))
                    {"fill": lambda: None, "some": order.partial, "last": order.completed}[word]()
                else:
                    getattr(order, word)(*([self] if word in ("submit", "accept") else []))
                self.notify(order)

    def _fill(self, order: Any, part: float) -> None:
        data, size = order.data, part * order.created.size
        price = data.close[0]
        was = self.getposition(data).price
        held, average, opened, closed = self.getposition(data, clone=False).update(size, price)
        fees = (self.fee, 0.0) if closed else (0.0, self.fee)
        pnl = -closed * (price - was) if closed else 0.0
        order.execute(
            data.datetime[0], size, price, closed, abs(closed) * was, fees[0], opened, abs(opened) * price, fees[1],
            0.0, pnl, held, average,
        )  # fmt: skip
        (order.partial if abs(order.executed.remsize) > 1e-9 else order.completed)()


class CCXTBroker(Exchange):
    """bt-ccxt-store: an order is asked for on every bar, and nothing is said of it but ``closed`` or ``canceled``.

    Every answer lists all fills so far, and each is executed again, its id noted in ``executed_fills``; the position is
    counted from zero in every run.

    Args:
        polls: what the exchange answers, bar by bar: fills so far as ``(part of the order, price)`` and the status.
        numbered: the exchange gives its fills an id.
    """

    def __init__(self, *polls: tuple[list[tuple[float, float]], str], numbered: bool = True) -> None:
        super().__init__()
        self.polls = polls or (([(1.0, 0.0)], "closed"),)
        self.numbered = numbered

    def start(self) -> None:
        super().start()
        self.asked: collections.Counter[int] = collections.Counter()

    def _submit(self, owner: Any, data: Any, side: str, amount: float) -> Any:
        order = super()._submit(owner, data, side, amount)
        order.ccxt_order = {"id": f"x{order.ref}", "side": side, "amount": amount}
        order.executed_fills = []
        return order

    def next(self) -> None:
        for entry in list(self.orders):
            order, amount = entry
            fills, status = self.polls[min(self.asked[order.ref], len(self.polls) - 1)]
            self.asked[order.ref] += 1
            for i, (part, price) in enumerate(fills):
                at = price or order.data.close[0]
                order.execute("2024-06-03T14:00:00Z", part * amount, at, 0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
                order.executed_fills.append(f"t{i}" if self.numbered else None)
            if status == "closed":
                self.held.update(order.size, order.data.close[0])
                order.completed()
            elif status == "canceled":
                order.cancel()
            if status != "open":
                self.orders.remove(entry)
                self.notifications.append(order)


class BinanceBroker(Exchange):
    """backtrader_binance: a market order is filled before ``buy()`` returns, and comes once, as completed.

    A limit order waits in ``open``. The socket's thread hands the same object over again and again: what the strategy
    finds in it is what is in it then. Commission is in coins.
    """

    def __init__(self, store: Any = None) -> None:
        super().__init__()
        self._store = store or SimpleNamespace(binance=SimpleNamespace(testnet=False))

    def start(self) -> None:
        super().start()
        self.open: list[Any] = []

    def buy(self, owner: Any, data: Any, size: float, **more: Any) -> Any:
        return self._send(owner, data, "buy", size, more)

    def sell(self, owner: Any, data: Any, size: float, **more: Any) -> Any:
        return self._send(owner, data, "sell", size, more)

    def next(self) -> None: ...

    def _send(self, owner: Any, data: Any, side: str, size: float, more: dict[str, Any]) -> Any:
        order = self._submit(owner, data, side, size)
        order.binance_order = {"orderId": 1000 + order.ref, "side": side.upper()}
        order.accept()
        self.orders.clear()
        if more.get("exectype") == bt.Order.Limit:
            order.exectype = bt.Order.Limit
            order.created.price = more["price"]
            self.open.append(order)
        else:
            self.notifications.clear()
            self.report(order, 1.0, data.close[0])
        return order

    def report(self, order: Any, part: float, price: float) -> None:
        """The exchange reports a fill."""
        size = part * abs(order.created.size)
        order.execute(dt.datetime(2024, 6, 3, 14), size, price, 0, size * price, 1e-6, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
        done = abs(order.executed.size) >= abs(order.created.size) - 1e-9
        (order.completed if done else order.partial)()
        self.held.update(size if order.isbuy() else -size, price)
        self.notifications.append(order)
