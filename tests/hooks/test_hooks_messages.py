"""One action, one message: runs with the real planner and a real service, and what a person got."""

from __future__ import annotations

import backtrader as bt
import pytest
from hooks_kit import (
    DAY,
    ROUND_TRIP,
    Clock,
    Scripted,
    Told,
    delivered,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    messages,
    webhook,
)  # fmt: skip

from bt_alerts import Notifier, attach
from bt_alerts.kinds import data_of
from bt_alerts.testing import FakeService


def titles(told):
    return [alert["title"] for alert in told]


def test_an_entry_is_one_message_with_the_position_and_an_exit_one_with_the_profit():
    told, stored = messages(engine(steps=ROUND_TRIP, commission=0.001))
    assert titles(told) == ["BUY AAA filled", "AAA closed: +47.91"]
    entry, left = told
    assert entry["message"].endswith("Position: long 10 at 102")
    assert {name: left["data"][name] for name in ("pnl", "trade_commission", "duration_seconds", "close_reason")} == {
        "pnl": 50.0, "trade_commission": pytest.approx(2.09), "duration_seconds": 432_000, "close_reason": "manual",
    }  # fmt: skip
    finer = {"order.submitted", "order.accepted", "trade.opened", "position.opened", "position.closed"}
    assert finer <= set(kinds(stored))


def test_the_messages_of_one_position_are_a_thread_and_those_of_the_next_another():
    _, stored = messages(
        engine(steps={3: lambda s: s.buy(size=10), 6: lambda s: s.sell(size=5), 8: lambda s: s.close(),
                      12: lambda s: s.buy(size=1), 14: lambda s: s.close()})
    )  # fmt: skip
    fills = [alert for alert in stored if alert.kind == "order.completed"]
    assert [alert.thread == fills[0].thread for alert in fills] == [True, True, True, False, False]
    assert fills[3].thread == fills[4].thread
    assert all(alert.thread for alert in fills)
    assert {alert.thread for alert in stored if alert.kind == "trade.closed"} == {fills[0].thread, fills[3].thread}


def test_a_thread_is_the_same_after_a_restart():
    threads = [
        {alert.thread for alert in messages(engine(steps=ROUND_TRIP))[1] if alert.kind == "trade.closed"}
        for _ in range(2)
    ]
    assert threads[0] == threads[1]


@pytest.mark.parametrize(
    ("order", "became"),
    [
        (lambda s: s.buy(size=10), "executed"),
        (lambda s: s.buy(size=1e9), "rejected"),
        (lambda s: s.buy(size=10, exectype=bt.Order.Limit, price=2), "cancelled"),
        (lambda s: s.buy(size=10, exectype=bt.Order.Limit, price=1, valid=DAY), "expired"),
        (lambda s: s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=90, limitprice=104), "executed"),
    ],
    ids=["executed", "rejected", "cancelled", "expired", "bracket"],
)
def test_a_signal_has_a_life_that_the_order_on_its_bar_ends(order, became):
    def act(s):
        s.signal("BUY")
        s.mine = order(s)
        s.buy(size=1)  # another order changes nothing

    def cancel(s):
        if became == "cancelled":
            s.cancel(s.mine)

    told, stored = messages(engine(strategy=Told, steps={3: act, 6: cancel}))
    (status,) = [alert for alert in stored if alert.kind == "signal.status"]
    (signal,) = [alert for alert in stored if alert.kind == "signal"]
    assert (status.data["signal_id"], status.data["status"]) == (signal.id, became)
    assert status.id not in [alert["id"] for alert in told], "it is recorded, and wakes nobody"


def test_a_signal_without_an_order_is_pending_for_good():
    _, stored = messages(engine(strategy=Told, steps={3: lambda s: s.signal("BUY"), 5: lambda s: s.buy(size=1)}))
    assert "signal.status" not in kinds(stored)


def test_the_data_of_every_kind_is_known_to_templates():
    def stop(s):
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=90, limitprice=104)

    def refused(s):
        s.buy(size=1e9)

    steps = {3: stop, 10: lambda s: s.buy(size=10), 12: lambda s: s.sell(size=20), 14: refused, 16: lambda s: s.close()}
    _, stored = messages(engine(steps=steps, commission=0.001))
    assert {"order.margin", "trade.closed", "position.opened", "strategy.stopped"} <= set(kinds(stored))
    unknown = {
        (alert.kind, key) for alert in stored for key in alert.data.keys() - (data_of(alert.kind) or alert.data.keys())
    }
    assert unknown == set()


def test_a_live_feed_tells_the_same():
    clock = Clock()
    cerebro = engine(
        live_feed(clock, *live_script(clock, 15)), steps={5: lambda s: s.buy(size=10), 9: lambda s: s.close()}
    )
    told, _ = messages(cerebro, live=True, clock=clock)
    assert [title for title in titles(told) if "live" not in title] == ["BUY AAA filled", "AAA closed: +40"]


def test_a_reversal_is_one_message():
    told, _ = messages(
        engine(steps={3: lambda s: s.buy(size=10), 8: lambda s: s.sell(size=20), 12: lambda s: s.close()})
    )
    assert titles(told) == ["BUY AAA filled", "AAA reversed: +50", "AAA closed: −40"]


@pytest.mark.parametrize(
    ("closes", "why"), [(range(100, 130), "target"), (range(130, 100, -1), "stop")], ids=["target", "stop"]
)
def test_a_bracket_is_one_message_in_and_one_out(closes, why):
    closes = list(closes)
    begin = closes[2]

    def bracket(s):
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=begin - 5, limitprice=begin + 5)

    told, stored = messages(engine(feed(closes), steps={3: bracket}))
    entry, left = told
    assert entry["title"] == "BUY AAA filled"
    assert left["data"]["close_reason"] == why
    assert kinds(stored, "order.canceled") == ["order.canceled"]


def test_a_bracket_that_is_refused_for_want_of_cash_is_one_message():
    def bracket(s):
        s.buy_bracket(size=1e6, exectype=bt.Order.Market, stopprice=90, limitprice=120)

    told, stored = messages(engine(steps={3: bracket}))
    assert titles(told) == ["BUY order failed for want of cash: AAA"]
    assert len(kinds(stored, "order.rejected")) == 2


def test_a_bracket_that_is_taken_back_is_one_message():
    def bracket(s):
        s.orders = s.buy_bracket(size=1, price=50, stopprice=40, limitprice=120)

    told, stored = messages(engine(steps={3: bracket, 6: lambda s: s.cancel(s.orders[0])}))
    assert titles(told) == ["BUY order cancelled: AAA"]
    assert len(kinds(stored, "order.canceled")) == 3


def test_an_oco_pair_is_one_message():
    def pair(s):
        first = s.buy(size=1, exectype=bt.Order.Limit, price=90)
        s.buy(size=1, exectype=bt.Order.Stop, price=106, oco=first)

    told, _ = messages(engine(steps={3: pair}))
    assert titles(told) == ["BUY AAA filled"]


def test_the_parts_of_a_fill_are_one_message():
    cerebro = engine(feed(volume=10), steps={3: lambda s: s.buy(size=25), 12: lambda s: s.close()})
    cerebro.broker.set_filler(bt.fillers.FixedSize(size=10))
    told, _ = messages(cerebro)
    assert titles(told) == ["BUY AAA filled (3 parts)", "AAA closed: +225 (3 parts)"]
    assert told[0]["message"].splitlines()[-1].startswith("3 parts: 25 at ")


def test_two_strategies_on_one_feed_are_two_messages():
    steps = {3: lambda s: s.buy(size=10), 8: lambda s: s.sell(size=10)}
    cerebro = engine(steps=steps)
    cerebro.addstrategy(Scripted, steps=steps)
    told, _ = messages(cerebro)
    assert sorted((alert["strategy"], alert["kind"]) for alert in told) == [
        ("Scripted", "order.completed"), ("Scripted", "trade.closed"),
        ("Scripted-2", "order.completed"), ("Scripted-2", "trade.closed"),
    ]  # fmt: skip


def test_a_signal_and_the_order_that_follows_are_two_actions():
    def enter(s):
        s.signal("BUY")
        s.buy(size=1)

    told, _ = messages(engine(strategy=Told, steps={3: enter}))
    assert titles(told) == ["BUY signal: AAA", "BUY AAA filled"]


def test_a_crash_is_one_message():
    def crash(s):
        raise RuntimeError("no")

    cerebro = engine(steps={3: crash})
    cerebro.addstrategy(Scripted)
    with pytest.raises(RuntimeError) as caught:
        messages(cerebro)
    assert str(caught.value) == "no"


def test_what_a_crash_stopped_is_not_told_again():
    def crash(s):
        raise RuntimeError("no")

    with FakeService() as service:
        cerebro = engine(steps={3: crash})
        cerebro.addstrategy(Scripted)
        manager = attach(cerebro, webhook(service), mode="send")
        with pytest.raises(RuntimeError):
            cerebro.run()
        assert kinds_of(delivered(service)) == ["strategy.started", "strategy.started", "error"]
        manager.close()


def kinds_of(told):
    return [alert["kind"] for alert in told]


SETTINGS = {
    "on": (["order.accepted", "order.accepted"], 2, False),
    "silent": (["order.accepted", "order.accepted"], 2, True),
    "record": ([], 2, False),
    "off": ([], 0, False),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_kind_of_event_is_on_silent_recorded_or_off(setting):
    told, stored = messages(engine(steps=ROUND_TRIP), events={"order.accepted": setting})
    wanted, recorded, silent = SETTINGS[setting]
    accepted = [alert for alert in told if alert["kind"] == "order.accepted"]
    assert kinds_of(accepted) == wanted
    assert all(alert["silent"] is silent for alert in accepted)
    assert len(kinds(stored, "order.accepted")) == recorded


@pytest.mark.parametrize("setting", ["off", "record"])
def test_where_the_best_teller_is_silenced_the_next_one_tells(setting):
    told, _ = messages(engine(steps=ROUND_TRIP), events={"trade.closed": setting})
    assert [(alert["kind"], alert["title"]) for alert in told] == [
        ("order.completed", "BUY AAA filled"), ("order.completed", "AAA closed: +50"),
    ]  # fmt: skip


def test_what_is_off_is_off_for_a_strategys_own_words_too():
    class Talks(Notifier, bt.Strategy):
        def next(self):
            if len(self) == 3:
                self.told = self.alert("x"), self.signal("BUY")

    cerebro = engine(strategy=Talks)
    told, stored = messages(cerebro, events={"custom": "off", "signal": "off", "strategy.started": "off"})
    assert (told, kinds(stored)) == ([], ["strategy.stopped"])
    assert cerebro.runstrats[0][0].told == (None, None)


def test_mode_record_sends_nothing_of_a_live_feed():
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 12)), steps={5: lambda s: s.buy(size=1)})
    told, stored = messages(cerebro, live=True, clock=clock, mode="record")
    assert told == []
    assert "order.completed" in kinds(stored)


def test_mode_auto_sends_nothing_of_a_backtest():
    told, stored = messages(engine(steps=ROUND_TRIP), mode="auto")
    assert told == []
    assert len(stored) == 12
