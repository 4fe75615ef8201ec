"""Nothing that a user or a broker hands over, and no fault of our own, is the strategy's crash."""

from __future__ import annotations

import logging

import backtrader as bt
import pytest
from hooks_kit import ROUND_TRIP, Clock, Scripted, Told, engine, feed, kinds, live_feed, live_script, of, one, ran, run

from bt_alerts import AlertObserver, attach
from bt_alerts.hooks import capture, session, snapshot

our_code_fails = pytest.mark.our_code_fails


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_feed_without_a_name_is_called_by_its_number_and_said_so_once(caplog):
    cerebro = engine(feed(name=""), feed(name="BBB"), feed(name=""), strategy=Told, steps={3: lambda s: s.alert("x")})
    cerebro.addstrategy(Scripted, steps=ROUND_TRIP)
    manager = attach(cerebro, {})
    cerebro.run()
    cerebro.run()
    (sentence,) = warnings(caplog)
    assert sentence == "a data feed has no name, so alerts call it 'data0': cerebro.adddata(feed, name='AAPL')"
    assert of(manager.alerts(), "strategy.started")[0].data["symbols"] == ["data0", "BBB", "data2"]
    assert of(manager.alerts(), "custom")[0].symbol == "data0"


def test_feeds_of_one_name_are_told_apart(caplog):
    feeds = [feed(name="AAA") for _ in range(3)]
    steps = {3: lambda s: [s.buy(data=d, size=n) for n, d in enumerate(s.datas, 1)]}
    alerts = run(engine(*feeds, steps=steps))
    found = [(alert.symbol, alert.data["fill_size"]) for alert in of(alerts, "order.completed")]
    assert found == [("AAA", 1), ("AAA 1 Day", 2), ("AAA 1 Day'", 3)]
    assert warnings(caplog) == []


def test_a_word_for_a_feed_that_is_not_there_is_said(caplog):
    run(engine(), live={"AAAA": "never"})
    assert warnings(caplog) == ["live= names 'AAAA', but there are only the feeds AAA"]


class Weird:
    """An order that is none."""

    Historical, exectype, histnotify = bt.Order.Historical, bt.Order.Market, False
    ref = property(lambda self: 1 / 0)
    params = property(lambda self: 1 / 0)


class WeirdBroker(bt.brokers.BackBroker):
    """Slips something into the notifications that no hook can read."""

    def next(self):
        super().next()
        for strategy in self.cerebro.runningstrats:
            if len(strategy) == 4:
                strategy._orderspending.insert(0, Weird())


class Deaf(Scripted):
    """Looks at no order, so that only we do."""

    def notify_order(self, order):
        pass


@our_code_fails
@pytest.mark.parametrize("live", [False, True])
def test_an_order_that_cannot_be_read_is_logged_and_the_others_are_told(live, caplog):
    clock = Clock()
    data = live_feed(clock, *live_script(clock, 12)) if live else feed()
    cerebro = engine(data, strategy=Deaf, steps=ROUND_TRIP)
    cerebro.broker = WeirdBroker()
    plain = engine(steps=ROUND_TRIP)
    plain.run()
    alerts = run(cerebro, clock=clock)
    assert kinds(alerts, "trade.closed", "position.closed") == ["trade.closed", "position.closed"]
    assert cerebro.broker.getvalue() == plain.broker.getvalue() or live
    assert warnings(caplog) == [
        "bt_alerts failed while an order was notified; the strategy goes on, this event has no alert"
    ]
    assert "ZeroDivisionError" in caplog.text


@our_code_fails
def test_a_snapshot_that_cannot_be_told_costs_no_other(caplog, monkeypatch):
    real = snapshot.order_snap

    def odd(order, index, leaders):
        taken = real(order, index, leaders)
        return taken._replace(size="ten") if taken.status == 2 else taken

    monkeypatch.setattr(capture, "order_snap", odd)
    alerts = run(engine(steps=ROUND_TRIP))
    assert kinds(alerts, "trade.closed", "strategy") == ["strategy.started", "trade.closed", "strategy.stopped"]
    assert kinds(alerts, "order.accepted") == []
    assert "an order was told" in caplog.text


@our_code_fails
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (session.Session, "begin"), (session.Session, "join"), (session.Session, "started"),
        (session.Session, "stopped"), (session.Session, "_tell"), (session.Session, "bar"),
        (session.Session, "source"), (session.Session, "symbol"), (capture.Capture, "stamp"),
        (capture.Capture, "pass_on"), (capture.Capture, "_mark"), (session.account, "label"),
        (capture, "order_snap"), (capture, "trade_snap"), (AlertObserver, "_draw"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)  # fmt: skip
@pytest.mark.parametrize("live", [False, True])
def test_a_fault_of_ours_never_reaches_the_strategy(owner, name, live, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("our fault")

    clock = Clock()

    def cerebro():
        data = live_feed(clock := Clock(), *live_script(clock, 12)) if live else feed()
        return engine(data, strategy=Told, steps={
            **ROUND_TRIP, 5: lambda s: (s.alert("x"), s.signal("BUY"), s.buy(size=1e9)),
        })  # fmt: skip

    plain = cerebro()
    plain.run()
    attached = cerebro()
    monkeypatch.setattr(owner, name, broken)
    attach(attached, {}, clock=clock, plot=True)
    (strategy,) = attached.run()
    assert len(strategy) == len(plain.runstrats[0][0])
    assert attached.broker.getvalue() == plain.broker.getvalue()
    assert strategy.analyzers.alertanalyzer.get_analysis() is not None


@our_code_fails
def test_the_users_own_exception_passes_a_fault_of_ours_unchanged(monkeypatch):
    boom = RuntimeError("the user's")

    def broken(*args, **kwargs):
        raise ZeroDivisionError("our fault")

    def crash(s):
        raise boom

    cerebro = engine(steps={3: crash})
    attach(cerebro, {})
    monkeypatch.setattr(session.Session, "_culprit", broken)
    with pytest.raises(RuntimeError) as caught:
        cerebro.run()
    assert caught.value is boom


def test_the_same_fault_shows_its_traceback_once(caplog):
    from bt_alerts.hooks.guard import never_raises

    for _ in range(3):
        with never_raises("a test ran"):
            raise ZeroDivisionError
    assert caplog.text.count("Traceback") == 1
    assert [record.getMessage() for record in caplog.records][1:] == [
        "bt_alerts failed again while a test ran: ZeroDivisionError"
    ] * 2
    caplog.clear()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_inside_our_code_is_not_held_up(stop):
    from bt_alerts.hooks.guard import never_raises

    with pytest.raises(stop), never_raises("a test ran"):
        raise stop


def test_anything_can_be_told():
    class Mute:
        def __str__(self):
            raise RuntimeError

    def tell(s):
        s.alert(None)
        s.alert(Mute(), title=Mute(), what=Mute(), line=s.data.close, nan=float("nan"), channels=["a", 1])
        s.alert("details", data={"rsi": 28.5})
        s.signal(Mute(), conditions=[Mute()], indicators={"line": s.data.close, "x": None}, stop_loss=float("nan"))
        s.signal(None, conditions={}, confidence="high", take_profit="far")

    alerts = run(engine(strategy=Told, steps={5: tell}))
    assert len(of(alerts, "custom")) == 3
    assert of(alerts, "custom")[2].data == {"rsi": 28.5}
    assert len(of(alerts, "signal")) == 2


def test_an_order_with_details_of_its_own_keeps_them():
    alerts = run(engine(steps={3: lambda s: s.buy(size=1, note="by hand", level=7)}))
    assert one(alerts, "order.completed").data["info"] == {"note": "by hand", "level": 7}


def test_a_strategy_that_is_used_after_its_run_may_still_tell():
    (strategy,), _ = ran(engine(strategy=Told, steps={}))
    assert strategy.alert("late") is not None
    assert strategy.__dict__.get("_notify") is None
