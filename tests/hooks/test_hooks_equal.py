"""With and without alerts a backtest gives the same trades and the same final value."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import backtrader as bt
import pytest
from hooks_kit import DAY, engine, feed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_alerts import AlertAnalyzer, Notifier, attach

ROOT = Path(__file__).parents[2]


class Fills(bt.Analyzer):
    """Every execution of a run, without what counts on from one run to the next."""

    def start(self):
        self.fills = []

    def notify_order(self, order):
        if order.status in (order.Partial, order.Completed):
            done = order.executed
            self.fills.append((order.data._name, done.dt, done.size, done.price, done.comm, done.pnl))
        elif not order.alive():
            self.fills.append((order.data._name, order.getstatusname(), order.created.size, order.created.dt))


def result(cerebro):
    cerebro.addanalyzer(Fills, _name="fills")
    strategies = cerebro.run()
    return [strategy.analyzers.fills.fills for strategy in strategies], cerebro.broker.getvalue()


SILENT = """
class Notifier(bt.Strategy):
    def signal(self, *args, **kwargs): pass
    def alert(self, *args, **kwargs): pass
"""


def example(name, *, silent):
    """One of the example strategies; silent, it has no mixin of ours at all."""
    source = (ROOT / "strategies" / f"{name}.py").read_text("utf-8")
    if silent:
        source = source.replace("from bt_alerts import Notifier, attach", SILENT)
    module = types.ModuleType(f"equal_{name}_{silent}")
    sys.modules[module.__name__] = module  # Backtrader looks a strategy's module up when it is made
    exec(source, module.__dict__)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "strategies").glob("*.py")))
def test_the_examples_trade_the_same(name):
    results = []
    for silent, attached in ((True, False), (True, True), (False, False), (False, True)):
        cerebro = example(name, silent=silent).cerebro()
        if attached:
            attach(cerebro, {})
        results.append(result(cerebro))
    assert len(results[0][0][0]) > 5
    assert results[0] == results[1] == results[2] == results[3]


class Random(bt.Strategy):
    """Does what a generated plan says, bar by bar."""

    params = (("plan", ()),)

    def __init__(self):
        self.orders = []

    def next(self):
        for bar, what, numbers in self.p.plan:
            if bar == len(self):
                self.act(what, *numbers)

    def act(self, what, size, offset, valid, pick):
        price = self.data.close[0]
        near = price * (1 + offset / 100)
        rest = {"valid": valid and valid * DAY, "data": self.datas[pick % len(self.datas)]}
        side = self.buy if size > 0 else self.sell
        size = abs(size)
        if what == "market":
            self.orders.append(side(size=size, **rest))
        elif what == "close":
            self.close(data=rest["data"])
        elif what == "limit":
            self.orders.append(side(size=size, exectype=bt.Order.Limit, price=near, **rest))
        elif what == "stop":
            self.orders.append(side(size=size, exectype=bt.Order.Stop, price=near, **rest))
        elif what == "stoplimit":
            self.orders.append(side(size=size, exectype=bt.Order.StopLimit, price=near, plimit=price, **rest))
        elif what == "trail":
            self.orders.append(side(size=size, exectype=bt.Order.StopTrail, trailpercent=0.02, **rest))
        elif what == "bracket":
            self.orders += self.buy_bracket(
                size=size, exectype=bt.Order.Market, stopprice=price * 0.97, limitprice=price * 1.03, **rest
            )
        elif what == "oco":
            first = side(size=size, exectype=bt.Order.Limit, price=price * 0.98, **rest)
            self.orders += [first, side(size=size, exectype=bt.Order.Stop, price=price * 1.02, oco=first, **rest)]
        elif what == "cancel" and self.orders:
            self.cancel(self.orders[pick % len(self.orders)])


class RandomTold(Notifier, Random):
    """The same, with the mixin."""


steps = st.tuples(
    st.integers(1, 55),
    st.sampled_from(["market", "close", "limit", "stop", "stoplimit", "trail", "bracket", "oco", "cancel"]),
    st.tuples(
        st.integers(-60, 60).filter(bool), st.integers(-5, 5), st.sampled_from([None, None, 1, 4]), st.integers(0, 7)
    ),
)
ways = st.fixed_dictionaries({
    "runonce": st.booleans(),
    "quicknotify": st.booleans(),
    "filler": st.sampled_from([None, 7, 25]),
    "coc": st.booleans(),
})  # fmt: skip


@settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(steps, min_size=3, max_size=25), closes=st.lists(st.integers(80, 120), min_size=60, max_size=60),
       how=ways)  # fmt: skip
def test_generated_strategies_trade_the_same(plan, closes, how):
    results = []
    for strategy, hook in ((Random, None), (Random, "attach"), (RandomTold, None), (RandomTold, "both")):
        feeds = feed(closes, name="AAA"), feed(reversed(closes), name="BBB")
        cerebro = engine(*feeds, strategy=None, runonce=how["runonce"], quicknotify=how["quicknotify"])
        cerebro.addstrategy(strategy, plan=plan)
        cerebro.broker.setcommission(0.001)
        cerebro.broker.set_coc(how["coc"])
        if how["filler"]:
            cerebro.broker.set_filler(bt.fillers.FixedSize(size=how["filler"]))
        if hook:
            cerebro.addanalyzer(AlertAnalyzer)
            manager = attach(cerebro, {}, plot=hook == "both")
        results.append(result(cerebro))
        if hook:
            check_ledger(manager.alerts(), cerebro, results[-1])
    assert results[0] == results[1] == results[2] == results[3]


def check_ledger(alerts, cerebro, result):
    """What the alerts say adds up to what the broker has: positions and commission."""
    filled, paid = {}, 0.0
    for alert in alerts:
        if alert.kind in ("order.completed", "order.partial") and "fill_size" in alert.data:
            sign = 1 if alert.data["side"] == "buy" else -1
            filled[alert.symbol] = filled.get(alert.symbol, 0) + sign * alert.data["fill_size"]
            paid += alert.data["commission"]
    for data in cerebro.datas:
        assert filled.get(data._name, 0) == pytest.approx(cerebro.broker.getposition(data).size)
    orders = [fills for fills in result[0][0] if len(fills) == 6]
    assert len(orders) == sum("fill_size" in a.data for a in alerts if a.kind in ("order.completed", "order.partial"))
    trades = [alert for alert in alerts if alert.kind == "trade.closed"]
    for alert in trades:
        assert alert.data["pnlcomm"] == pytest.approx(alert.data["pnl"] - alert.data["trade_commission"])
