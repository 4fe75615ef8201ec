"""Bars, strategies and runs that the tests of the hooks share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

import backtrader as bt
import pandas as pd

from bt_alerts import Notifier, attach
from bt_alerts.demo.feed import ScriptedFeed
from bt_alerts.testing import FakeService

DAY = dt.timedelta(days=1)
MINUTE = dt.timedelta(minutes=1)
MONDAY = dt.datetime(2024, 1, 1)


def feed(
    closes: Iterable[float] = range(100, 130),
    name: str = "AAA",
    *,
    step: dt.timedelta = DAY,
    volume: float = 1000,
    start: dt.datetime = MONDAY,
    **params: Any,
) -> Any:
    """A feed of bars that open where the one before closed and reach one beyond both."""
    closes = [float(close) for close in closes]
    opens = [closes[0], *closes[:-1]]
    frame = pd.DataFrame(
        {
            "open": opens,
            "high": [max(pair) + 1 for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) - 1 for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": [float(volume)] * len(closes),
        },
        index=pd.DatetimeIndex([start + i * step for i in range(len(closes))]),
    )
    timeframe = bt.TimeFrame.Days if step >= DAY else bt.TimeFrame.Minutes
    return bt.feeds.PandasData(dataname=frame, name=name, timeframe=timeframe, **params)


class Scripted(bt.Strategy):
    """Does what ``steps`` says: ``{number of the bar: function of the strategy}``."""

    params = (("steps", {}),)

    def next(self):
        step = self.p.steps.get(len(self))
        if step is not None:
            step(self)


class Told(Notifier, Scripted):
    """The same, with the mixin."""


ROUND_TRIP = {3: lambda s: s.buy(size=10), 8: lambda s: s.close()}


def engine(*feeds: Any, strategy: Any = Scripted, steps: Any = None, commission: float = 0.0, **how: Any) -> Any:
    """A Cerebro with feeds and a strategy."""
    cerebro = bt.Cerebro(**{"stdstats": False, **how})
    for each in feeds or (feed(),):
        cerebro.adddata(each)
    if strategy is not None:
        cerebro.addstrategy(strategy, **({"steps": steps} if steps is not None else {}))
    cerebro.broker.setcommission(commission)
    return cerebro


def run(cerebro: Any, config: Any = None, **settings: Any) -> list[Any]:
    """Run with ``attach`` and return the alerts."""
    return ran(cerebro, config, **settings)[1]


def ran(cerebro: Any, config: Any = None, **settings: Any) -> tuple[Any, list[Any]]:
    """Run with ``attach`` and return the strategies and the alerts."""
    manager = attach(cerebro, {} if config is None else config, **settings)
    strategies = cerebro.run()
    return strategies, manager.alerts()


def kinds(alerts: Iterable[Any], *prefixes: str) -> list[str]:
    """The kinds of the alerts; only those that begin so, where prefixes are given."""
    return [alert.kind for alert in alerts if not prefixes or alert.kind.startswith(prefixes)]


def of(alerts: Iterable[Any], kind: str) -> list[Any]:
    """The alerts of one kind."""
    return [alert for alert in alerts if alert.kind == kind]


def one(alerts: Iterable[Any], kind: str) -> Any:
    """The only alert of a kind."""
    (found,) = of(alerts, kind)
    return found


def webhook(service: FakeService, **more: Any) -> dict[str, Any]:
    """A configuration whose only channel is ``service``."""
    return {"alerts": {"webhook": {"enabled": True, "urls": service.url, "rate_limit": 0}}, "store": "memory", **more}


def delivered(service: FakeService) -> list[dict[str, Any]]:
    """The alerts that reached a service, as they happened: what is urgent overtakes the rest on the way."""
    bodies = [request.json() for request in service.requests]
    return sorted((body["data"] for body in bodies if body["type"] != "bt_alerts.check"), key=lambda data: data["id"])


def messages(cerebro: Any, *, live: bool = False, **settings: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Run with a real planner and a real service: what a person got, and what was stored.

    What tells of the run itself (started, stopped, armed) is left out of the first.
    """
    if not live:
        settings.setdefault("mode", "send")
    if "live_" in settings:
        settings["live"] = settings.pop("live_")
    with FakeService() as service:
        manager = attach(cerebro, webhook(service), **settings)
        try:
            cerebro.run()
        finally:
            assert manager.flush(10)
            told = [alert for alert in delivered(service) if alert["type"] != "strategy"]
            stored = manager.alerts()
            manager.close()
    return told, stored


class Clock:
    """A clock that the test moves. Unix seconds; ``naive`` is the same as a feed wants it."""

    def __init__(self, now: dt.datetime = dt.datetime(2024, 6, 3, 14, 0)) -> None:
        self.time = now

    def __call__(self) -> float:
        return self.time.replace(tzinfo=dt.UTC).timestamp()

    def naive(self) -> dt.datetime:
        return self.time

    def on(self, step: dt.timedelta = MINUTE) -> Callable[[], None]:
        """Move on by ``step``, as a step of a feed's script."""

        def move() -> None:
            self.time += step

        return move


def tick(clock: Clock, when: dt.datetime | None = None, close: float = 100.0) -> tuple[Any, ...]:
    """One bar of a live feed."""
    return ("bar", when if when is not None else clock.time, close, close + 1, close - 1, close, 100.0)


def live_feed(clock: Clock, *steps: Any, name: str = "AAA", **params: Any) -> Any:
    """A live feed of minute bars that follows a script."""
    params.setdefault("timeframe", bt.TimeFrame.Minutes)
    return ScriptedFeed(script=steps, name=name, clock=clock.naive, qcheck=0.0, **params)


def live_script(clock: Clock, bars: int, *, backfill: int = 3, close: Callable[[int], float] = lambda i: 100.0 + i):
    """Backfill as history, LIVE, then one bar a minute while the clock goes on."""
    script: list[Any] = [("status", "DELAYED")]
    script += [tick(clock, clock.time - (backfill - i) * MINUTE, close(i)) for i in range(backfill)]
    script += [("wait",), ("status", "LIVE")]
    for i in range(bars):
        when = clock.time + (i + 1) * MINUTE
        script += [("call", clock.on()), tick(clock, when, close(backfill + i))]
    return script


class ExchangeOrder(bt.OrderBase):
    """In the style of bt-ccxt-store: attributes instead of params, and one object for the order's whole life."""

    def __init__(self, owner, data, side, amount):
        self.owner = owner
        self.data = data
        self.ordtype = self.Buy if side == "buy" else self.Sell
        self.size = float(amount)
        super().__init__()


class Exchange(bt.broker.BrokerBase):
    """A real broker as those stores write one: it fills at the close and leaves closed and opened at 0."""

    startingcash = 10_000.0
    steps = (1.0,)

    def start(self):
        super().start()
        self.notifications, self.orders, self.held = [], [], bt.position.Position()

    def getcash(self):
        return 10_000.0

    def getvalue(self, datas=None):
        return 10_000.0

    def getposition(self, data, clone=True):
        return self.held

    def get_notification(self):
        return self.notifications.pop(0) if self.notifications else None

    def _submit(self, owner, data, side, amount):
        order = ExchangeOrder(owner, data, side, abs(amount))
        order.price = None
        self.orders.append((order, abs(amount)))
        self.notifications.append(order)
        return order

    def buy(self, owner, data, size, **kwargs):
        return self._submit(owner, data, "buy", size)

    def sell(self, owner, data, size, **kwargs):
        return self._submit(owner, data, "sell", size)

    def next(self):
        for order, amount in self.orders:
            for i, part in enumerate(self.steps, 1):
                price = order.data.close[0] + i
                order.execute("2024-06-03T14:00:00Z", part * amount, price, 0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
                (order.completed if i == len(self.steps) else order.partial)()
                self.notifications.append(order)
            self.held.update(amount if order.isbuy() else -amount, order.data.close[0])
        self.orders = []
