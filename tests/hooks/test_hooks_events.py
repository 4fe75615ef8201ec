"""What attach tells of a strategy that knows nothing of alerts."""

from __future__ import annotations

import datetime as dt

import backtrader as bt
import pytest
from hooks_kit import (
    DAY,
    MONDAY,
    ROUND_TRIP,
    Clock,
    Exchange,
    Told,
    engine,
    feed,
    kinds,
    live_feed,
    of,
    one,
    run,
    tick,
)  # fmt: skip

from bt_alerts import AlertType, Priority, attach
from bt_alerts.alert import Source

ORDERS = ("order",)


def test_a_round_trip_is_told_from_end_to_end():
    alerts = run(engine(steps=ROUND_TRIP, commission=0.001))
    assert kinds(alerts) == [
        "strategy.started",
        "order.submitted", "order.accepted", "order.completed", "position.opened", "trade.opened",
        "order.submitted", "order.accepted", "trade.closed", "order.completed", "position.closed",
        "strategy.stopped",
    ]  # fmt: skip
    assert {alert.source for alert in alerts} == {Source.HISTORY}
    assert len({alert.run for alert in alerts}) == 1
    assert {alert.strategy for alert in alerts} == {"Scripted"}
    assert [alert.id for alert in alerts] == sorted(alert.id for alert in alerts) or alerts
    times = [alert.time for alert in alerts]
    assert times == sorted(times)


def test_an_entry_says_what_was_bought_and_what_is_held():
    alert = one(run(engine(steps={3: lambda s: s.buy(size=10)}, commission=0.001)), "order.completed")
    assert (alert.title, alert.type, alert.symbol) == ("BUY AAA filled", AlertType.ORDER, "AAA")
    assert alert.message == "Bought 10 at 102, worth 1,020\nPosition: long 10 at 102"
    assert alert.data["commission"] == pytest.approx(1.02)
    assert (alert.data["fill_price"], alert.data["fill_size"], alert.data["value"]) == (102.0, 10, 1020.0)
    assert (alert.data["position_size"], alert.data["position_price"]) == (10, 102.0)
    assert alert.bar_time == (MONDAY + 3 * DAY).replace(tzinfo=dt.UTC)


def test_an_exit_says_profit_commission_duration_and_why():
    alert = one(run(engine(steps=ROUND_TRIP, commission=0.001)), "trade.closed")
    assert alert.title == "AAA closed: +47.91"
    assert alert.message == (
        "Sold 10 at 107, worth 1,070 (manual)\nProfit +47.91 · +4.70 % after 2.09 commission\nHeld 5 d, 5 bars"
    )
    wanted = {
        "close_reason": "manual", "pnl": 50.0, "pnlcomm": 47.91, "trade_commission": 2.09, "entry_price": 102.0,
        "exit_price": 107.0, "duration_seconds": 5 * 86_400, "bars": 5, "direction": "long",
    }  # fmt: skip
    assert {name: alert.data[name] for name in wanted} == pytest.approx(wanted)


def test_a_loss_on_a_short_position_has_its_sign():
    alert = one(run(engine(steps={3: lambda s: s.sell(size=10), 8: lambda s: s.close()})), "trade.closed")
    assert alert.title == "AAA closed: −50"
    assert "−4.90 %" in alert.message
    assert (alert.data["direction"], alert.data["pnl"]) == ("short", -50.0)


def test_money_of_a_future_is_counted_by_its_multiplier():
    cerebro = engine(steps={3: lambda s: s.buy(size=2), 8: lambda s: s.close()})
    cerebro.broker.setcommission(commission=2.0, margin=500.0, mult=10.0)
    alerts = run(cerebro)
    entry, closed = of(alerts, "order.completed")[0], one(alerts, "trade.closed")
    assert entry.data["value"] == 2 * 102 * 10
    assert closed.data["pnl"] == 2 * 5 * 10
    assert "+4.51 %" in closed.message  # (100 - 8 commission) / 2,040
    assert closed.data["pnlcomm"] == pytest.approx(92.0)


def test_a_position_that_is_left_in_two_steps_is_reduced_then_closed():
    cerebro = engine(
        steps={3: lambda s: s.buy(size=10), 8: lambda s: s.sell(size=4), 10: lambda s: s.close()}, commission=0.0
    )
    alerts = run(cerebro)
    _, reduced, closed = of(alerts, "order.completed")
    assert reduced.title == "AAA reduced: +20"
    assert reduced.message.endswith("Position: long 6 at 102")
    assert reduced.data["position_size"] == 6
    assert closed.title == "AAA closed: +62"
    assert "+6.08 %" in closed.message  # of all that was bought
    assert kinds(alerts, "position") == ["position.opened", "position.closed"]


def test_adding_to_a_position_moves_its_average_price():
    alerts = run(engine(steps={3: lambda s: s.buy(size=10), 8: lambda s: s.buy(size=10)}))
    assert of(alerts, "order.completed")[1].message.endswith("Position: long 20 at 104.50")
    assert kinds(alerts, "position") == ["position.opened"]


def test_a_reversal_closes_and_opens():
    alerts = run(engine(steps={3: lambda s: s.buy(size=10), 8: lambda s: s.sell(size=25)}, commission=0.001))
    closed = one(alerts, "trade.closed")
    assert closed.title == "AAA reversed: +47.91"
    assert closed.message.endswith("Position: short 15 at 107")
    assert kinds(alerts, "position") == ["position.opened", "position.closed", "position.opened"]
    assert one(alerts, "position.closed").data["pnlcomm"] == pytest.approx(47.91)
    assert kinds(alerts, "trade") == ["trade.opened", "trade.closed", "trade.opened"]


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("order.canceled", {"exectype": bt.Order.Limit, "price": 50}),
        ("order.expired", {"exectype": bt.Order.Limit, "price": 50, "valid": 2 * DAY}),
        ("order.margin", {"size": 1e9}),
    ],
    ids=["canceled", "expired", "margin"],
)
def test_an_order_that_comes_to_nothing_is_told(kind, order):
    def cancel(s):
        if kind == "order.canceled":
            s.cancel(s.order)

    def place(s):
        s.order = s.buy(**{"size": 10, **order})

    alert = one(run(engine(steps={3: place, 6: cancel})), kind)
    assert alert.title.startswith("BUY order ")
    assert alert.priority is {"order.margin": Priority.HIGH}.get(kind, Priority.LOW)
    assert ("limit at 50" in alert.message) is (kind != "order.margin")
    assert alert.action


class Refusing(bt.brokers.BackBroker):
    """A broker that takes no order."""

    def submit(self, order, check=True):
        order.submit(self)
        order.reject(self)
        self.notify(order)
        return order


def test_a_rejection_is_told():
    cerebro = engine(steps={3: lambda s: s.buy(size=10)})
    cerebro.broker = Refusing()
    alerts = run(cerebro)
    assert kinds(alerts, "order") == ["order.rejected"]
    assert one(alerts, "order.rejected").priority is Priority.HIGH


def test_partial_fills_are_told_one_by_one():
    cerebro = engine(feed(volume=10), steps={3: lambda s: s.buy(size=25)}, commission=0.01)
    cerebro.broker.set_filler(bt.fillers.FixedSize(size=10))
    alerts = run(cerebro)
    first, second, last = [a for a in alerts if a.kind in ("order.partial", "order.completed")]
    assert [a.kind for a in (first, second, last)] == ["order.partial", "order.partial", "order.completed"]
    assert first.title == "BUY AAA partly filled"
    assert first.message == "Bought 10 of 25 at 102, worth 1,020\nPosition: long 10 at 102"
    assert [a.data["fill_price"] for a in (first, second, last)] == [102.0, 103.0, 104.0]
    assert [a.data["commission"] for a in (first, second, last)] == pytest.approx([10.2, 10.3, 5.2])
    assert [a.data["filled"] for a in (first, second, last)] == [10, 20, 25]
    assert last.data["position_price"] == pytest.approx((1020 + 1030 + 520) / 25)
    assert len({first.action, second.action, last.action}) == 3
    assert kinds(alerts, "position", "trade") == ["position.opened", "trade.opened"]


def test_a_bracket_says_stop_or_target_and_that_the_sibling_went():
    def bracket(s):
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=95, limitprice=106.5)

    alerts = run(engine(steps={3: bracket}))
    assert one(alerts, "trade.closed").data["close_reason"] == "target"
    assert one(alerts, "order.canceled").message.endswith("The order that it belongs to was filled.")
    falling = engine(feed(range(130, 100, -1)), steps={3: lambda s: s.buy_bracket(
        size=10, exectype=bt.Order.Market, stopprice=125, limitprice=150)})  # fmt: skip
    stopped = one(run(falling), "trade.closed")
    assert (stopped.data["close_reason"], stopped.priority) == ("stop", Priority.HIGH)


def test_an_oco_pair_is_one_group_whichever_order_leads_it():
    def pair(first, second):
        def place(s):
            leader = s.sell(size=10, **first)
            s.sell(size=10, oco=leader, **second)

        return {3: lambda s: s.buy(size=10), 5: place}

    target = {"exectype": bt.Order.Limit, "price": 107.5}
    stop = {"exectype": bt.Order.Stop, "price": 90}
    for steps in (pair(target, stop), pair(stop, target)):
        alerts = run(engine(steps=steps))
        assert one(alerts, "trade.closed").data["close_reason"] == "target"
        assert one(alerts, "order.canceled").action == one(alerts, "trade.closed").action


def test_the_sibling_that_the_strategy_cancels_itself_is_no_filled_sibling():
    def bracket(s):
        s.orders = s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=50, limitprice=500)

    alerts = run(engine(steps={3: bracket, 8: lambda s: s.cancel(s.orders[1])}))
    first, second = of(alerts, "order.canceled")
    assert "belongs to" not in first.message
    assert second.message.endswith("The order that it belongs to was cancelled.")
    assert first.action == second.action != of(alerts, "order.completed")[0].action


def test_what_is_left_of_a_partly_filled_order_is_a_cancel_of_its_own():
    cerebro = engine(feed([100] * 30, volume=10), steps={
        3: lambda s: setattr(s, "order", s.buy(size=25)), 5: lambda s: s.cancel(s.order),
    })  # fmt: skip
    cerebro.broker.set_filler(bt.fillers.FixedSize(size=10))
    alerts = run(cerebro)
    gone = one(alerts, "order.canceled")
    assert "belongs to" not in gone.message
    assert gone.action not in {alert.action for alert in of(alerts, "order.partial")}


def test_a_signal_explains_the_exit_that_follows_it():
    def leave(s):
        s.signal("SELL")
        s.close()

    alerts = run(engine(strategy=Told, steps={3: lambda s: s.buy(size=1), 8: leave}))
    assert one(alerts, "trade.closed").data["close_reason"] == "signal"


def test_the_run_ends_with_a_summary():
    stopped = one(run(engine(steps=ROUND_TRIP)), "strategy.stopped")
    assert stopped.title == "Scripted stopped"
    assert stopped.message == ("Value 10,000 → 10,050 (+0.50 %)\nBars: 30\nTrades: 1 closed, 1 won, net +50")
    assert stopped.data == {
        "value_begin": 10_000.0, "value_end": 10_050.0, "bars": 30, "trades": 1, "won": 1, "pnlcomm": 50.0, "why": "",
    }  # fmt: skip


def test_the_start_says_symbols_account_and_parameters():
    started = one(run(engine(feed(name="AAA"), feed(name="BBB"), steps={})), "strategy.started")
    assert started.message == "Symbols: AAA, BBB\nAccount: backtest, value 10,000"
    assert started.data["parameters"] == {"steps": {}}


class Chatty(bt.Store):
    """A store that says something."""

    def start(self, data=None, broker=None):
        super().start(data, broker)
        if data is None and broker is None:
            self.put_notification("connection lost", 1100, code=3)


def test_messages_of_feed_and_store_are_told():
    clock = Clock()
    cerebro = engine(live_feed(
        clock, ("status", "DELAYED"), ("wait",), ("status", "LIVE"), ("wait",), tick(clock), ("wait",),
        ("status", "DISCONNECTED", "line down"), ("wait",), ("status", "CONNBROKEN"), ("wait",), ("status", "UNKNOWN"),
        ("wait",), tick(clock, clock.time + dt.timedelta(minutes=1)),
    ))  # fmt: skip
    Chatty._singleton = None
    cerebro.addstore(Chatty())
    alerts = run(cerebro, clock=clock)
    assert kinds(alerts, "data") == [
        "data.delayed", "data.live", "data.disconnected", "data.disconnected", "data.other",
    ]  # fmt: skip
    assert of(alerts, "data.disconnected")[0].message == "The feed of AAA says DISCONNECTED. line down"
    assert one(alerts, "store.message").message == "connection lost 1100"


def test_positions_are_told_where_the_broker_never_says_what_it_opened_or_closed():
    cerebro = engine(steps={3: lambda s: s.buy(size=2), 8: lambda s: s.sell(size=2)})
    cerebro.broker = Exchange()
    alerts = run(cerebro)
    assert kinds(alerts, "order", "trade", "position") == [
        "order.completed", "position.opened", "order.completed", "position.closed",
    ]  # fmt: skip
    closed = of(alerts, "order.completed")[1]
    assert closed.title == "AAA closed: +10"
    assert closed.message.endswith("Held 5 d")
    assert closed.data["pnl"] == pytest.approx(10.0)
    assert of(alerts, "order.completed")[0].data["fill_price"] == 104.0
    assert closed.bar_time == (MONDAY + 8 * DAY).replace(tzinfo=dt.UTC)


def test_an_order_object_that_is_handed_over_twice_is_counted_once():
    cerebro = engine(steps={3: lambda s: s.buy(size=2)})
    cerebro.broker = Exchange()
    cerebro.broker.steps = (0.5, 0.5)
    alerts = run(cerebro)
    fills = [alert for alert in alerts if alert.kind.startswith("order")]
    assert sum(alert.data.get("fill_size", 0) for alert in fills) == 2
    assert len({alert.action for alert in fills}) == 1
    assert one(alerts, "position.opened").data["position_size"] == 2


def test_a_position_that_was_held_before_a_live_run_is_known():
    clock = Clock()
    minutes = [clock.time + i * dt.timedelta(minutes=1) for i in range(5)]
    script = [("status", "LIVE")]
    for when in minutes:
        script += [("call", clock.on()), tick(clock, when)]
    cerebro = engine(live_feed(clock, *script), steps={2: lambda s: s.sell(size=3)})
    cerebro.broker = Exchange()
    cerebro.broker.start = lambda: (Exchange.start(cerebro.broker), cerebro.broker.held.update(3, 90.0))
    closed = one(run(cerebro, clock=clock), "order.completed")
    assert closed.title == "AAA closed: +33"


def test_order_history_is_told_as_it_is_played():
    cerebro = engine()
    cerebro.add_order_history([["2024-01-04", 10, 102.0], ["2024-01-09", -10, 107.0]], notify=True)
    alerts = run(cerebro)
    assert kinds(alerts, "trade", "position") == [
        "position.opened", "trade.opened", "trade.closed", "position.closed",
    ]  # fmt: skip
    assert one(alerts, "trade.closed").data["pnl"] == 50.0


def test_two_runs_of_one_cerebro_are_both_kept():
    cerebro = engine(steps=ROUND_TRIP)
    manager = attach(cerebro, {})
    cerebro.run()
    cerebro.run()
    alerts = manager.alerts()
    first, second = dict.fromkeys(alert.run for alert in alerts)
    kinds_of = {name: kinds(a for a in alerts if a.run == name) for name in (first, second)}
    assert kinds_of[first] == kinds_of[second]
    assert len(alerts) == 24
