"""The figures of an alert are those of Backtrader's own trades: by tradeid, in parts, with a late multiplier."""

from __future__ import annotations

import backtrader as bt
import pytest

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices


def run(steps, *, base=(bt.Strategy,), start=None, **feed):
    """A strategy that does ``steps[bar]`` on a bar; returns its alerts, those that would be messages, its trades."""
    trades = []

    def next_(self):
        if len(self) in steps:
            steps[len(self)](self)

    def notify_trade(self, trade):
        if trade.isclosed:
            trades.append((trade.tradeid, trade.pnl, trade.pnlcomm))

    body = {"next": next_, "notify_trade": notify_trade, "__module__": __name__}
    if start is not None:
        body["start"] = start
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(prices.feed("IBM", start="2010-01-01", end="2010-06-01"))
    cerebro.broker.setcommission(commission=0.001)
    cerebro.addstrategy(type("Steps", base, body))
    manager = attach(cerebro, {})
    cerebro.run()
    return manager.alerts(), list(manager.simulate().told), trades


def test_each_tradeid_is_a_position_of_its_own():
    steps = {
        3: lambda s: s.buy(size=2, tradeid=1),
        6: lambda s: s.buy(size=2, tradeid=2),
        12: lambda s: s.sell(size=2, tradeid=1),
        20: lambda s: s.sell(size=2, tradeid=2),
    }
    _, told, trades = run(steps)
    closed = [alert for alert in told if alert.kind == "trade.closed"]
    assert [alert.data["pnlcomm"] for alert in closed] == pytest.approx([pnlcomm for _, _, pnlcomm in trades])
    assert len(told) == 2 + 2 + 2  # started and stopped, two entries, two exits
    assert all("Held" in alert.message and alert.data["close_reason"] == "manual" for alert in closed)


def test_the_parts_of_an_exit_add_up_to_the_trade():
    steps = {3: lambda s: s.buy(size=10), 10: lambda s: s.sell(size=5), 15: lambda s: s.sell(size=5)}
    alerts, told, trades = run(steps)
    reduced = next(alert for alert in told if "reduced" in alert.title)
    assert "pnlcomm" not in reduced.data
    ((_, pnl, pnlcomm),) = trades
    assert [a.data["pnlcomm"] for a in alerts if a.kind == "trade.closed"] == pytest.approx([pnlcomm])
    last = next(alert for alert in alerts if alert.kind == "order.completed" and "closed" in alert.title)
    assert reduced.data["part_pnl"] + 5 * (last.data["exit_price"] - last.data["entry_price"]) == pytest.approx(pnl)


def test_a_multiplier_set_in_start_counts():
    steps = {3: lambda s: s.buy(size=1), 10: lambda s: s.sell(size=1)}
    alerts, _, trades = run(steps, start=lambda s: s.broker.setcommission(commission=2.0, margin=100.0, mult=50.0))
    fill = next(alert for alert in alerts if alert.kind == "order.completed")
    assert fill.data["value"] == pytest.approx(50 * fill.data["fill_price"])
    closed = next(alert for alert in alerts if alert.kind == "trade.closed")
    assert closed.data["pnl"] == pytest.approx(trades[0][1])


def test_the_position_that_a_reversal_opens_has_no_profit_of_the_one_before():
    alerts, _, _ = run({3: lambda s: s.buy(size=1), 10: lambda s: s.sell(size=2)})
    opened = [alert for alert in alerts if alert.kind == "position.opened"][-1]
    assert opened.data["position_size"] == -1
    assert not {"pnl", "pnlcomm", "close_reason", "duration_seconds"} & set(opened.data)


def test_a_backtest_starts_on_its_first_bar_with_orders_or_without():
    for steps in ({}, {30: lambda s: s.buy()}):
        alerts, _, _ = run(steps)
        started = next(alert for alert in alerts if alert.kind == "strategy.started")
        assert f"{started.time:%Y-%m-%d}" == "2010-01-04"


def test_odd_arguments_of_a_signal_are_told_and_not_lost():
    steps = {
        3: lambda s: s.signal("BUY", indicators=[1, 2]),
        4: lambda s: s.signal("BUY", conditions=5),
        5: lambda s: s.signal("BUY", data=s.data.close),
        6: lambda s: s.signal("BUY", priority="hgh"),
    }
    alerts, _, _ = run(steps, base=(Notifier, bt.Strategy))
    assert sum(alert.kind == "signal" for alert in alerts) == 4
