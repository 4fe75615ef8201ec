"""A live strategy that starts again: nothing is repeated or lost, and it tells what changed while it was away."""

from __future__ import annotations

import datetime as dt
import re
import signal
import sqlite3
import sys
from pathlib import Path

import backtrader as bt
import pytest
from alerts_kit import python, until
from hooks_kit import (
    Clock,
    Exchange,
    ExchangeOrder,
    Told,
    delivered,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    of,
    one,
    webhook,
)  # fmt: skip

from bt_alerts import attach
from bt_alerts.hooks.seen import broker_id
from bt_alerts.testing import FakeService

HOUR = dt.timedelta(hours=1)


class Account(Exchange):
    """A real broker whose account outlives the process: positions by symbol and open orders as ccxt tells them."""

    def __init__(self, positions=None, orders=()):
        super().__init__()
        self.positions = dict(positions or {})
        self.open = list(orders)

    def getposition(self, data, clone=True):
        size, price = self.positions.get(data._name, (0, 0.0))
        return bt.position.Position(size, price)

    def get_orders_open(self, safe=False):
        return self.open

    def next(self):
        for order, amount in self.orders:
            if order.exectype == bt.Order.Limit:
                continue
            price = order.data.close[0]
            order.execute("2024-06-03T14:00:00Z", amount, price, 0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
            order.completed()
            self.notifications.append(order)
            self.positions[order.data._name] = amount if order.isbuy() else 0, price
        self.orders = []

    def _submit(self, owner, data, side, amount, price=None, exectype=None):  # noqa: PLR0917 - as brokers are called
        order = ExchangeOrder(owner, data, side, abs(amount))
        order.created.price, order.params.exectype = price, exectype or bt.Order.Market
        order.exectype = order.params.exectype
        order.ccxt_order = {"id": f"x{order.ref}"}
        order.accept(self)
        self.orders.append((order, abs(amount)))
        self.notifications.append(order)
        return order

    def buy(self, owner, data, size, price=None, exectype=None, **kwargs):
        return self._submit(owner, data, "buy", size, price, exectype)


class Silent(Account):
    """A broker that tells nothing: no list of open orders, and an answer to nothing at all."""

    get_orders_open = None

    def getposition(self, data, clone=True):
        raise ConnectionError("no")


def live(path, service, broker, *, clock=None, steps=None, after=0.0, lag=0, symbols=("AAA",), **settings):
    """One live run, ``after`` hours later, whose bars come ``lag`` seconds late; the alerts of the store, the clock."""
    clock = clock or Clock()
    clock.time += after * HOUR
    feeds = [live_feed(clock, *(live_script(clock, 6) if i == 0 else ())) for i, _ in enumerate(symbols)]
    clock.time += dt.timedelta(seconds=lag)
    for each, symbol in zip(feeds, symbols, strict=True):
        each._name = symbol
    cerebro = engine(*feeds, strategy=Told, steps=steps or {})
    if broker is not None:
        cerebro.broker = broker
    config = webhook(service, store=str(path / "alerts.db"), **settings)
    with attach(cerebro, config, clock=clock) as manager:
        try:
            cerebro.run()
        finally:
            manager.flush(10)
        alerts = manager.alerts()
    return alerts, clock


@pytest.fixture
def service():
    with FakeService() as service:
        yield service


def recalled(s):
    """Wait until what was seen last was read."""
    until(lambda: s.cerebro.__dict__["_bt_alerts"].lookout._memories["Told"]._recalled)


BUY = {5: lambda s: s.buy(size=10)}


def test_a_first_start_has_nothing_to_tell(tmp_path, service):
    alerts, _ = live(tmp_path, service, Account({"AAA": (5, 100.0)}))
    assert kinds(alerts, "strategy.restarted") == []


def test_a_start_after_which_nothing_changed_says_so_quietly(tmp_path, service):
    account = Account()
    _, clock = live(tmp_path, service, account, steps=BUY)
    account.open = []
    alerts, _ = live(tmp_path, service, account, clock=clock, after=3.2)
    back = one(alerts, "strategy.restarted")
    assert back.title == "Told is back after 3 h 12 min"
    assert back.message == "Nothing changed while it was away. Position: AAA 10 at 105."
    assert (back.priority.value, back.data["ended"], back.strategy) == ("low", "stopped", "Told")
    assert back.run == of(alerts, "strategy.started")[-1].run
    assert "strategy.restarted" in [alert["kind"] for alert in delivered(service)]


def test_what_changed_at_the_broker_is_told_loudly(tmp_path, service):
    def act(s):
        s.buy(size=100)
        s.buy(size=50, price=90.0, exectype=bt.Order.Limit)
        s.buy(size=7, price=80.0, exectype=bt.Order.Limit)

    account = Account()
    _, clock = live(tmp_path, service, account, steps={5: act})
    (kept,) = [row for row in store(tmp_path) if row[0].startswith("seen|")]
    assert kept[0] == "seen|Told|AAA"
    ids = [o["id"] for o in kept[1]["orders"]]
    account.positions = {}
    account.open = [
        {"id": ids[1], "symbol": "AAA", "side": "buy", "amount": 7.0, "price": 80.0, "type": "limit"},
        {"id": "new", "symbol": "AAA", "side": "sell", "amount": 1.0, "price": 99.0, "type": "limit"},
        {"id": "theirs", "symbol": "ZZZ", "side": "sell", "amount": 1.0, "price": 99.0, "type": "limit"},
    ]
    alerts, _ = live(tmp_path, service, account, clock=clock, after=1)
    back = one(alerts, "strategy.restarted")
    assert back.message.splitlines() == [
        "AAA: 100 → 0 (closed while away)",
        f"order {ids[0]} buy 50 AAA limit 90: no longer open",
        "order new sell 1 AAA limit 99: open, and not seen before",
    ]
    assert back.priority.value == "high"
    assert [(p["symbol"], p["before"], p["after"]) for p in back.data["positions"]] == [("AAA", 100.0, 0.0)]
    # What is there now is what the next start compares with.
    alerts, _ = live(tmp_path, service, account, clock=clock, after=1)
    again = of(alerts, "strategy.restarted")[-1]
    assert again.message == "Nothing changed while it was away.\nOpen orders: 2."
    account.open = []
    alerts, _ = live(tmp_path, service, account, clock=clock, after=1)
    assert of(alerts, "strategy.restarted")[-1].message.count("no longer open") == 2
    assert [key for key, _ in store(tmp_path)] == ["run|Told|AAA"]  # nothing held, nothing kept


def store(path: Path) -> list[tuple[str, object]]:
    import json

    with sqlite3.connect(path / "alerts.db") as db:
        rows = db.execute("SELECT key, value FROM rule_state WHERE rule = 'seen' ORDER BY key").fetchall()
    return [(key, json.loads(value)) for key, value in rows]


def test_only_what_changed_is_written(tmp_path, service, monkeypatch):
    from bt_alerts.manager import AlertManager

    written = []
    remember = AlertManager.remember
    monkeypatch.setattr(AlertManager, "remember", lambda self, k, v: (written.append(k), remember(self, k, v)))
    live(tmp_path, service, Account(), steps={4: recalled, **BUY})
    assert [key for key in written if key.startswith("seen|")] == ["seen|Told|AAA"]  # at the fill


@pytest.mark.our_code_fails  # it asks, and the broker raises
def test_a_broker_that_tells_nothing_is_said_and_stops_nobody(tmp_path, service):
    waits = {5: lambda s: s.buy(size=9, price=1.0, exectype=bt.Order.Limit)}
    _, clock = live(tmp_path, service, Account(), steps=waits)
    alerts, _ = live(tmp_path, service, Silent(), clock=clock, after=1)
    back = one(alerts, "strategy.restarted")
    assert back.message.splitlines()[0] == (
        "Positions are not known: the broker could not tell them (ConnectionError). When last seen: none."
    )
    assert "Open orders are not known: this broker does not tell them. When last seen: order x" in back.message
    assert back.priority.value == "medium"
    assert len(of(alerts, "strategy.stopped")) == 2


def test_the_simulated_broker_begins_anew_and_that_is_said_quietly(tmp_path, service):
    _, clock = live(tmp_path, service, None, steps=BUY)
    alerts, _ = live(tmp_path, service, None, clock=clock, after=1)
    back = one(alerts, "strategy.restarted")
    assert back.message.splitlines() == [
        "Backtrader's simulated broker begins anew with every run. What it had:", "AAA: 10 → 0",
    ]  # fmt: skip
    assert back.priority.value == "low"


def test_a_crash_is_told_at_the_next_start(tmp_path, service):
    def crash(s):
        raise KeyError("x")

    clock = Clock()
    with pytest.raises(KeyError):
        live(tmp_path, service, Account(), clock=clock, steps={5: crash})
    alerts, _ = live(tmp_path, service, Account(), clock=clock, after=1)
    assert one(alerts, "strategy.restarted").message.startswith("The run before was ended by KeyError.")


def test_two_strategies_on_one_account(tmp_path, service):
    """An order of one is not news for the other, and a fill of one is known to both."""

    class Other(Told):
        pass

    account, clock = Account(), Clock()
    for after in (0, 1):
        clock.time += after * HOUR
        cerebro = engine(live_feed(clock, *live_script(clock, 6)), strategy=None)
        place = {5: lambda s: (s.buy(size=10), s.buy(size=5, price=1.0, exectype=bt.Order.Limit))}
        cerebro.addstrategy(Told, steps={} if after else place)
        cerebro.addstrategy(Other, steps={})
        cerebro.broker = account
        with attach(cerebro, webhook(service, store=str(tmp_path / "alerts.db")), clock=clock) as manager:
            cerebro.run()
            manager.flush(10)
            alerts = manager.alerts()
        (order_id,) = [o["id"] for key, value in store(tmp_path) for o in value.get("orders", ())] or [""]
        account.open = [{"id": order_id, "symbol": "AAA", "side": "buy", "amount": 5.0, "price": 1.0, "type": "limit"}]
    told = {alert.strategy: alert.message for alert in of(alerts, "strategy.restarted")}
    assert told == {
        "Told": "Nothing changed while it was away. Position: AAA 10 at 105.\nOpen orders: 1.",
        "Other": "Nothing changed while it was away. Position: AAA 10 at 105.",
    }


def test_a_backtest_remembers_nothing(tmp_path, service):
    for mode in ("auto", "send"):
        cerebro = engine(feed(), strategy=Told, steps=BUY)
        config = webhook(service, store=str(tmp_path / "alerts.db"), mode=mode)
        with attach(cerebro, config) as manager:
            cerebro.run()
            assert manager.flush(10)
    assert store(tmp_path) == []


def test_it_can_be_turned_off_and_is_remembered_all_the_same(tmp_path, service):
    account = Account()
    _, clock = live(tmp_path, service, account, steps=BUY, events={"strategy.restarted": "off"})
    alerts, _ = live(tmp_path, service, account, clock=clock, events={"strategy.restarted": "off"})
    assert kinds(alerts, "strategy.restarted") == []
    assert [key for key, _ in store(tmp_path)] == ["run|Told|AAA", "seen|Told|AAA"]


def test_a_locked_store_does_not_delay_the_start_and_is_said(tmp_path, service, monkeypatch):
    from bt_alerts import manager as managers

    account = Account()
    _, clock = live(tmp_path, service, account, steps=BUY)
    monkeypatch.setattr(managers, "RECALL_SECONDS", 0.3)
    other = sqlite3.connect(tmp_path / "alerts.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    def first(s):  # the first bar: the start did not wait for the lock
        until(lambda: any("not known" in alert.title for alert in emitted))
        other.execute("ROLLBACK")

    emitted = []
    emit = managers.AlertManager.emit
    monkeypatch.setattr(managers.AlertManager, "emit", lambda self, a, **k: (emitted.append(a), emit(self, a, **k))[1])
    alerts, _ = live(tmp_path, service, account, clock=clock, steps={1: first}, after=1)
    assert one(alerts, "strategy.restarted").title == "Told started, and what it saw before is not known"


KILLED = """
import os, signal, sys, time
sys.path[:0] = sys.argv[3:5]
import pathlib
from alerts_kit import rest
from hooks_kit import Clock
import test_hooks_restart as t

def signals(s):
    s.signal("BUY")
    s.alert("first")
    s.buy(size=100)

def die(s):
    t.recalled(s)
    manager = s.cerebro.__dict__["_bt_alerts"].manager
    t.until(lambda: next(manager.outbox.rows("SELECT count(*) FROM attempts"))[0] > 0)
    rest(manager)  # what it sent was answered, and its clock stands still
    print("dies", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

class At:
    url = sys.argv[2]

t.live(pathlib.Path(sys.argv[1]), At, t.Account(), steps={5: signals, 8: die})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_after_kill_9_nothing_is_repeated_nothing_is_lost_and_the_death_is_told(tmp_path, service):
    service.answer(503)  # what the first process accepted stays pending
    here = Path(__file__).parent
    process = python(KILLED, tmp_path, service.url, here, here.parent)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"dies\n", -signal.SIGKILL), err.decode()
    service.requests.clear()
    service.answer(200)

    def signals(s):
        s.signal("BUY")
        s.alert("first")

    # The same bars again, as after a backfill.
    alerts, _ = live(tmp_path, service, Account({"AAA": (40, 101.0)}), steps={5: signals}, lag=265)
    told = [alert for alert in delivered(service) if alert["type"] in ("signal", "custom", "order")]
    assert sorted(alert["kind"] for alert in told) == ["custom", "order.completed", "signal"]  # of the first, once
    assert {alert["run"] for alert in told} == {of(alerts, "strategy.started")[0].run}
    assert all(alert["late_seconds"] > 60 for alert in told), "and it is said how late they are"
    back = one(alerts, "strategy.restarted")
    died, moved = back.message.splitlines()
    assert re.fullmatch(r"It was not ended properly; its last sign was at 2024-06-03 14:0\d:00 UTC\.", died)
    assert moved == "AAA: 100 → 40 (changed while away)"
    assert back.priority.value == "high"
    assert back.data["ended"] == ""


def test_an_id_that_the_broker_gave_is_found_where_stores_put_it():
    class Order:
        pass

    for name, value in (("ccxt_order", {"id": "a"}), ("m_orderId", 7), ("binance_order", {"orderId": 9})):
        order = Order()
        order.ref, order.info = 3, {}
        setattr(order, name, value)
        assert broker_id(order) == {"ccxt_order": "a", "m_orderId": "7", "binance_order": "9"}[name]
    assert broker_id(Order()) == ""
