"""Live runs whose feeds fall silent: told while the strategy is stuck in its feed, once, and once more at the end."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
import time

import backtrader as bt
import pytest
from hooks_kit import (
    MINUTE,
    Clock,
    Scripted,
    delivered,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    of,
    one,
    ran,
    tick,
    webhook,
)  # fmt: skip

from bt_alerts import AlertManager, Notifier, attach, configure
from bt_alerts.hooks.session import ATTRIBUTE
from bt_alerts.testing import FakeService

WATCHED = ("data.silent", "data.resumed")


class Market:
    """A Cerebro with one live feed that follows a script; a step can let time pass until something was told.

    Minute bars, and three may be missing.
    """

    def __init__(self, service: FakeService, *, name: str = "AAA") -> None:
        self.clock = Clock()
        self.service = service
        self.name = name
        self.script: list = [("status", "LIVE")]
        self.threads: list[str] = []

    def bars(self, count: int = 1):
        for _ in range(count):
            self.script += [("call", self.clock.on()), ("bar", None, 100.0, 101.0, 99.0, 100.0, 1.0)]
        return self

    def status(self, word: str):
        self.script += [("status", word), ("wait",)]
        return self

    def pass_(self, minutes: float, *, told: int | None = None):
        """Let time pass, and wait until so many alerts of silence were delivered."""

        def go() -> None:
            self.clock.time += minutes * MINUTE
            if told is None:
                self.lookout.watch.look()  # here and now, since there is nothing to wait for
            else:
                self.lookout.watch.wake()
                self.until(told)

        self.script += [("wait",), ("call", go)]
        return self

    def until(self, told: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.told()) < told and time.monotonic() < deadline:
            time.sleep(0.005)
        self.threads = sorted(t.name for t in threading.enumerate() if t.name.startswith("bt_alerts watch"))

    def told(self) -> list[str]:
        return [alert["kind"] for alert in delivered(self.service) if alert["kind"] in WATCHED]

    @property
    def lookout(self):
        return self.cerebro.__dict__[ATTRIBUTE].lookout

    def run(self, **settings):
        self.cerebro = engine(
            live_feed(self.clock, *self.script, name=self.name), strategy=Scripted, steps=settings.pop("steps", None)
        )
        config = webhook(self.service, **settings)
        with attach(self.cerebro, config, clock=self.clock) as manager:
            self.cerebro.run()
            assert manager.flush(10)
            return manager.alerts()


@pytest.fixture
def service():
    with FakeService() as service:
        yield service


def test_a_feed_that_falls_silent_is_told_and_so_is_its_return(service):
    market = Market(service).bars(3).pass_(2).pass_(1.5, told=1).pass_(30).bars().pass_(0).pass_(1, told=2).bars(2)
    alerts = market.run()
    assert market.told() == ["data.silent", "data.resumed"]
    assert market.threads == ["bt_alerts watch"]
    silent, resumed = one(alerts, "data.silent"), one(alerts, "data.resumed")
    assert (silent.title, silent.symbol, silent.priority.value) == ("AAA: no bars for 3 min", "AAA", "high")
    assert silent.message.startswith("A bar of AAA is expected every 1 min.\nIf this market is closed now")
    assert dict(silent.data) == {"status": "silent", "seconds": 210.0, "since": "2024-06-03T14:03:00+00:00"}
    assert (resumed.title, resumed.message) == ("AAA: bars again", "The feed of AAA was silent for 34 min.")
    assert {silent.thread, resumed.thread} == {"feed:AAA"} == {one(alerts, "data.live").thread}
    assert silent.run == one(alerts, "strategy.started").run


def test_the_watch_ends_with_the_run(service):
    Market(service).bars(2).run()
    deadline = time.monotonic() + 20
    while any(t.name == "bt_alerts watch" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_outside_the_session_silence_is_nothing(service):
    market = Market(service).bars(3).pass_(119).pass_(10).pass_(600)  # 14:03 to 16:02 and on
    alerts = market.run(watch={"session": "09:00-14:05 UTC mon-fri"})
    assert kinds(alerts, *WATCHED) == []


def test_with_a_session_a_feed_that_never_says_anything_is_silent_too(service):
    market = Market(service)
    market.script = []
    market.pass_(4, told=1)
    alerts = market.run(watch={"session": "14:00-15:00 UTC"})
    assert "If this market is closed" not in one(alerts, "data.silent").message


def test_without_one_it_is_not_watched_before_it_is_live(service):
    market = Market(service)
    market.script = [("status", "DELAYED"), ("wait",), tick(market.clock)]
    assert kinds(market.pass_(400).run(), *WATCHED) == []


def test_a_lost_connection_is_not_told_as_silence_too_and_comes_back_once(service):
    market = Market(service).bars(2).status("DISCONNECTED").pass_(60).status("LIVE").bars(2)
    alerts = market.run()
    assert kinds(alerts, "data") == ["data.live", "data.disconnected", "data.live"]


def test_a_connection_that_comes_back_without_a_word_is_told_and_watched_again(service):
    market = Market(service).bars(2).status("DISCONNECTED").pass_(60).bars().pass_(0).pass_(1, told=1)
    alerts = market.pass_(10, told=2).run()
    assert kinds(alerts, "data") == ["data.live", "data.disconnected", "data.resumed", "data.silent"]
    assert one(alerts, "data.resumed").message == "The feed of AAA was silent for 1 h 1 min."


def test_silence_that_ends_with_live_is_told_to_end_once(service):
    market = Market(service).bars(2).pass_(10, told=1).status("CONNECTED").status("LIVE").bars(2).pass_(0)
    alerts = market.run()
    assert kinds(alerts, "data") == ["data.live", "data.silent", "data.other", "data.live"]


@pytest.mark.parametrize("setting", ["record", "off"])
def test_where_nobody_hears_of_connections_silence_is_told(service, setting):
    market = Market(service).bars(2).status("DISCONNECTED").pass_(60, told=1).status("LIVE").bars(2).pass_(1, told=2)
    market.run(events={"data.disconnected": setting, "data.live": setting})
    assert market.told() == ["data.silent", "data.resumed"]


@pytest.mark.parametrize("how", [{"watch": {"silence": 0}}, {"events": {"data.silent": "off", "data.resumed": "off"}}])
def test_it_can_be_turned_off(service, how):
    assert kinds(Market(service).bars(2).pass_(60).bars(2).run(**how), *WATCHED) == []


def test_mode_record_records_it_and_sends_nothing(service):
    market = Market(service).bars(2).pass_(60)
    alerts = market.run(mode="record")
    assert len(of(alerts, "data.silent")) == 1
    assert delivered(service) == []


def test_a_session_of_one_symbol(service):
    watch = {"session": "01:00-02:00 UTC", "sessions": {"AAA": "always"}}
    alerts = Market(service).bars(2).pass_(4, told=1).run(watch=watch)
    assert kinds(alerts, *WATCHED) == ["data.silent"]


def test_a_session_of_a_feed_that_is_not_there_is_said(service, caplog):
    Market(service).bars().run(watch={"sessions": {"APPL": "always"}})
    assert "watch.sessions names 'APPL'; the live feeds are AAA" in caplog.text


@pytest.mark.parametrize("method", ["resampledata", "replaydata"])
def test_a_clone_is_watched_by_its_source(method):
    clock = Clock()
    cerebro = bt.Cerebro(stdstats=False)
    source = cerebro.adddata(live_feed(clock, *live_script(clock, 3)))
    getattr(cerebro, method)(source, timeframe=bt.TimeFrame.Minutes, compression=30)
    seen = []

    class Looks(Scripted):
        def next(self):
            seen.append(list(self.cerebro.__dict__[ATTRIBUTE].lookout.watch._feeds.values()))

    cerebro.addstrategy(Looks)
    ran(cerebro, clock=clock)
    assert [(each.symbol, each.length) for each in seen[-1]] == [("AAA", 60.0)]


def test_a_feed_that_is_taken_for_live_is_watched_and_one_that_is_not_is_none():
    clock = Clock()
    told = []

    class Looks(Scripted):
        def next(self):
            told.append({w.symbol for w in self.cerebro.__dict__[ATTRIBUTE].lookout.watch._feeds.values()})

    feeds = [live_feed(clock, tick(clock), tick(clock, clock.time + MINUTE), name=name) for name in ("AAA", "BBB")]
    cerebro = engine(*feeds, strategy=Looks)
    ran(cerebro, clock=clock, live={"AAA": "always", "BBB": "never"})
    assert told[-1] == {"AAA"}


def test_a_manager_inside_a_strategy_alone_watches_nothing_because_it_sees_no_bars():
    clock, seen = Clock(), []

    class Inside(bt.Strategy):
        def __init__(self):
            self.alerts = AlertManager({}, clock=clock)

        def next(self):
            self.alerts.send_custom_alert("x")
            seen.append(self.cerebro.__dict__[ATTRIBUTE].lookout)

    engine(live_feed(clock, *live_script(clock, 3)), strategy=Inside).run()
    assert set(seen) == {None}


@pytest.mark.parametrize("crash", [False, True])
def test_the_mixin_alone_is_watched_over_until_its_end(crash):
    clock, seen = Clock(), []

    class Mine(Notifier, bt.Strategy):
        def next(self):
            seen.append(self.cerebro.__dict__[ATTRIBUTE].lookout)
            if crash:
                raise KeyError("x")

    configure({}, clock=clock)
    with pytest.raises(KeyError) if crash else contextlib.nullcontext():
        engine(live_feed(clock, *live_script(clock, 3)), strategy=Mine).run()
    assert seen[-1].watch._ended


def test_backtests_have_no_lookout_and_no_thread():
    before = set(threading.enumerate())
    seen = []

    class Looks(Scripted):
        def next(self):
            seen.append((self.cerebro.__dict__[ATTRIBUTE].lookout, *(set(threading.enumerate()) - before)))

    cerebro = engine(feed(), strategy=Looks)
    ran(cerebro, watch={"session": "always", "ping_url": "http://127.0.0.1:9/x"})
    assert set(seen) == {(None,)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_child_of_a_live_run_neither_watches_nor_hangs(service):
    market = Market(service)
    codes = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            lookout = market.lookout
            lookout.watch.wake()
            lookout.watch.expects(next(iter(lookout.watch._feeds)))
            lookout.end("")
            lookout.wait()
            os._exit(7 if threading.active_count() == 1 else 8)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    market.bars(2)
    market.script.append(("call", fork))
    market.bars(2).run(watch={"ping_url": f"{service.url}/check-0000000000001"})
    assert codes == [7]


@pytest.mark.our_code_fails
def test_a_watch_that_fails_costs_the_run_nothing(service, caplog, monkeypatch):
    from bt_alerts.hooks import lookout

    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(lookout, "read_session", broken)
    alerts = Market(service).bars(3).run(watch={"session": "always"})
    assert kinds(alerts, "strategy")[0] == "strategy.started"
    assert "bt_alerts failed while the watch over a live run began" in caplog.text
    caplog.clear()


def test_the_alert_has_the_time_and_no_bar():
    from bt_alerts.hooks.silence import News, watched
    from bt_alerts.hooks.watch import alert_of

    now = Clock(dt.datetime(2024, 6, 3, 15, 0))()
    alert = alert_of(watched("AAA", 86_400, 3, ()), News("data.silent", now - 90, 90), run="r", now=now)
    assert (alert.time.timestamp(), alert.bar_time, alert.source.value) == (now, None, "live")
    assert "every 1 d" in alert.message
