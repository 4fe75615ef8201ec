"""The gate: what is made on an old bar is recorded, on a live one it is sent, and silence is never the failure."""

from __future__ import annotations

import datetime as dt

import backtrader as bt
import pytest
from hooks_kit import (
    MINUTE,
    Clock,
    Exchange,
    Scripted,
    Told,
    delivered,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    messages,
    of,
    one,
    ran,
    run,
    tick,
    webhook,
)  # fmt: skip

from bt_alerts import AlertAnalyzer, AlertManager, Notifier, attach, default_manager
from bt_alerts.alert import Source
from bt_alerts.testing import FakeService


class EachBar(Notifier, bt.Strategy):
    """Tells of every bar."""

    params = (("feed", 0),)

    def next(self):
        data = self.datas[self.p.feed]
        self.alert(f"{data.datetime.datetime(0):%H:%M}", data=data)


def sources(alerts):
    """``{text: source}`` of a strategy's own alerts."""
    return {alert.message: alert.source.value for alert in of(alerts, "custom")}


def script_of_a_day(clock):
    """DELAYED, LIVE, DISCONNECTED, LIVE again with a backfill of what was missed."""
    t = clock.time  # 14:00
    return [
        ("status", "DELAYED"),
        tick(clock, t - 60 * MINUTE), tick(clock, t - MINUTE),
        ("wait",), ("status", "LIVE"),
        ("call", clock.on()), tick(clock, t + MINUTE),
        ("call", clock.on()), tick(clock, t + 2 * MINUTE),
        ("wait",), ("status", "DISCONNECTED"),
        ("call", clock.on()), tick(clock, t + 3 * MINUTE),
        ("wait",), ("status", "LIVE"),
        ("call", clock.on(60 * MINUTE)),
        tick(clock, t + 20 * MINUTE), tick(clock, t + 40 * MINUTE),
        ("call", clock.on()), tick(clock, t + 64 * MINUTE),
    ]  # fmt: skip


DAY_OF = {
    "13:00": "history", "13:59": "history", "14:01": "live", "14:02": "live", "14:03": "history",
    "14:20": "history", "14:40": "history", "15:04": "live",
}  # fmt: skip


def test_only_young_bars_of_a_live_feed_are_live():
    clock = Clock()
    told, stored = messages(engine(live_feed(clock, *script_of_a_day(clock)), strategy=EachBar), live=True, clock=clock)
    assert sources(stored) == DAY_OF
    live = [text for text, source in DAY_OF.items() if source == "live"]
    assert [alert["message"] for alert in told if alert["kind"] == "custom"] == live
    assert kinds(stored, "data") == ["data.delayed", "data.live", "data.disconnected", "data.live"]
    said = [alert["kind"] for alert in told if alert["type"] == "data"]
    assert said == ["data.live", "data.disconnected", "data.live"]


@pytest.mark.parametrize("how", [{}, {"exactbars": 1}, {"quicknotify": True}, {"oldsync": True}], ids=str)
def test_so_are_they_in_every_mode(how):
    clock = Clock()
    cerebro = engine(live_feed(clock, *script_of_a_day(clock)), strategy=EachBar, **how)
    assert sources(run(cerebro, clock=clock)) == DAY_OF


def test_a_live_alert_has_the_clocks_time_and_a_history_one_too_but_keeps_its_bar():
    clock = Clock()
    alerts = run(engine(live_feed(clock, *script_of_a_day(clock)), strategy=EachBar), clock=clock)
    last = of(alerts, "custom")[-1]
    assert f"{last.time:%H:%M} {last.bar_time:%H:%M}" == "15:04 15:04"
    missed = of(alerts, "custom")[-2]
    assert f"{missed.time:%H:%M} {missed.bar_time:%H:%M}" == "15:03 14:40"


@pytest.mark.parametrize("method", ["resampledata", "replaydata"])
def test_a_clone_is_as_live_as_the_feed_that_it_repeats(method):
    clock = Clock(dt.datetime(2024, 6, 3, 14, 0))
    script = live_script(clock, 8, backfill=4)
    cerebro = bt.Cerebro(stdstats=False)
    source = cerebro.adddata(live_feed(clock, *script))
    getattr(cerebro, method)(source, timeframe=bt.TimeFrame.Minutes, compression=2)
    cerebro.addstrategy(EachBar, feed=1)
    alerts = run(cerebro, clock=clock)
    found = {f"{alert.bar_time:%H:%M}": alert.source.value for alert in of(alerts, "custom")}
    assert {source for time, source in found.items() if time < "14:00"} == {"history"}
    # A resampled bar up to 14:00 is complete only when the first live one arrives.
    assert {source for time, source in found.items() if time >= "14:00"} == {"live"}
    assert {alert.symbol for alert in of(alerts, "custom")} == {"AAA 2 Minutes"}


def test_a_store_that_says_live_at_the_start_and_then_delivers_old_candles():
    clock = Clock()
    start = clock.time
    script = [("status", "LIVE"), *(tick(clock, start - (25 - i) * MINUTE) for i in range(20))]
    for i in range(4):
        script += [("call", clock.on()), tick(clock, start + (i + 1) * MINUTE)]
    told, stored = messages(engine(live_feed(clock, *script), strategy=EachBar), live=True, clock=clock)
    assert len([alert for alert in told if alert["kind"] == "custom"]) == 4
    assert kinds(stored, "data.held") == []
    assert one(stored, "strategy.stopped").message.endswith("Bars held back as history: 20")


def at_pace(clock, bars, behind, status):
    """Bars that come as a market makes them, dated ``behind`` the clock."""
    script = [("status", status)]
    for _ in range(bars):
        clock_now = clock.time
        script += [("call", clock.on()), ("wait",)]
        script += [tick(clock, clock_now + MINUTE * (len(script) // 3) - behind)]
    return script


def test_a_wrong_time_zone_is_one_alert():
    clock = Clock()
    script = at_pace(clock, 12, dt.timedelta(hours=5), "LIVE")
    told, stored = messages(engine(live_feed(clock, *script), strategy=EachBar), live=True, clock=clock)
    held = one(stored, "data.held")
    assert "says LIVE, but its bars are 5.0 hours old" in held.message
    assert "time zone" in held.message
    assert [alert["kind"] for alert in told] == ["data.live", "data.held"]


def test_a_feed_that_never_says_live_is_one_alert():
    clock = Clock()
    script = at_pace(clock, 12, dt.timedelta(0), "DELAYED")
    told, stored = messages(engine(live_feed(clock, *script), strategy=EachBar), live=True, clock=clock)
    assert "does not say LIVE" in one(stored, "data.held").message
    assert [alert["kind"] for alert in told] == ["data.held"]
    assert kinds(stored, "strategy.armed") == []


@pytest.mark.parametrize(
    ("live", "sent"),
    [
        ("auto", []),
        ("always", ["AAA", "BBB"]),
        ("never", []),
        ({"BBB": "always"}, ["BBB"]),
        ({"AAA": "always", "BBB": "never"}, ["AAA"]),
    ],
    ids=str,
)
def test_the_word_of_the_feed_can_be_overridden(live, sent):
    clock = Clock()

    def tell(s):
        s.alert("a", data=s.data0)
        s.alert("b", data=s.data1)

    feeds = feed(name="AAA"), feed(name="BBB")
    told, _ = messages(engine(*feeds, strategy=Told, steps={5: tell}), live=True, clock=clock, live_=live)
    assert [alert["symbol"] for alert in told] == sent


def test_never_holds_a_live_feed_back():
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 5)), strategy=EachBar)
    told, stored = messages(cerebro, live=True, clock=clock, live_="never")
    assert told == []
    assert set(sources(stored).values()) == {"history"}


def test_the_analyzer_takes_the_override_too():
    cerebro = engine(strategy=EachBar)
    cerebro.addanalyzer(AlertAnalyzer, live="always")
    cerebro.run()
    assert set(sources(default_manager().alerts()).values()) == {"live"}
    cerebro = engine()
    cerebro.addanalyzer(AlertAnalyzer, live="perhaps")
    with pytest.raises(ValueError, match="perhaps"):
        cerebro.run()


def test_orders_of_a_real_broker_are_live_whatever_the_feed_says():
    clock = Clock()
    script = [("status", "DELAYED"), *(tick(clock, clock.time - (90 - i) * MINUTE) for i in range(6))]
    cerebro = engine(live_feed(clock, *script), steps={2: lambda s: s.buy(size=1)})
    cerebro.broker = Exchange()
    told, stored = messages(cerebro, live=True, clock=clock)
    assert [alert["title"] for alert in told] == ["BUY AAA filled"]
    assert one(stored, "strategy.started").message.splitlines()[1] == "Account: REAL (Exchange), value 10,000"


def test_orders_of_the_simulated_broker_are_gated():
    clock = Clock()
    script = [("status", "DELAYED"), *(tick(clock, clock.time - (90 - i) * MINUTE) for i in range(6))]
    told, stored = messages(
        engine(live_feed(clock, *script), steps={2: lambda s: s.buy(size=1)}), live=True, clock=clock
    )
    assert told == []
    assert one(stored, "order.completed").source is Source.HISTORY


def test_the_first_live_bar_arms_the_strategy_once_and_says_which_channels_answer():
    clock = Clock()
    with FakeService() as good, FakeService() as bad:
        bad.answer(401)
        config = webhook(good)
        config["alerts"]["broken"] = {"type": "webhook", "enabled": True, "urls": bad.url}
        feeds = live_feed(clock, *live_script(clock, 4), name="AAA"), live_feed(clock, ("status", "LIVE"), name="BBB")
        cerebro = engine(*feeds)
        manager = attach(cerebro, config, clock=clock)
        cerebro.run()
        manager.flush(10)
        armed = one(manager.alerts(), "strategy.armed")
        assert armed.title == "Scripted is armed"
        assert armed.message == (
            "Account: PAPER (Backtrader's simulated broker)\nSymbols: AAA, BBB\n"
            "Channels: webhook ✓, broken ✗ does not answer"
        )
        assert f"{armed.time:%H:%M}" == "14:01"
        assert [alert["kind"] for alert in delivered(good)].count("strategy.armed") == 1
        manager.close()


class Inside(bt.Strategy):
    """Makes its manager itself, as people do, and knows nothing of hooks."""

    params = (("config", None), ("clock", None))

    def __init__(self):
        self.alerts = AlertManager(self.p.config, clock=self.p.clock)

    def next(self):
        self.sent = self.alerts.send_alert("BUY", self.data._name, self.data.close[0], 10)


def test_a_manager_made_in_a_strategy_sends_nothing_in_a_backtest():
    with FakeService() as service:
        cerebro = engine(strategy=None)
        cerebro.addstrategy(Inside, config=webhook(service), clock=Clock())
        (strategy,) = cerebro.run()
        assert strategy.sent is True
        told = strategy.alerts.alerts()
        assert len(told) == 30
        assert {(alert.source, alert.strategy, alert.symbol) for alert in told} == {(Source.HISTORY, "Inside", "AAA")}
        assert told[0].time == told[0].bar_time
        strategy.alerts.close()
        assert service.requests == []


def test_a_manager_can_be_called_before_the_first_bar():
    manager = AlertManager(store="memory")

    class Early(bt.Strategy):
        def start(self):
            self.accepted = manager.send_custom_alert("I begin")

    cerebro = engine(strategy=Early)
    (strategy,) = cerebro.run()
    assert strategy.accepted
    assert [alert.message for alert in manager.alerts()] == ["I begin"]


@pytest.mark.parametrize("attached", [False, True])
def test_a_manager_made_in_a_strategy_sends_on_live_bars(attached):
    clock = Clock()
    with FakeService() as service:
        cerebro = engine(live_feed(clock, *live_script(clock, 5, backfill=3)), strategy=None)
        cerebro.addstrategy(Inside, config=webhook(service), clock=clock)
        if attached:
            attach(cerebro, {}, clock=clock)
        (strategy,) = cerebro.run()
        assert strategy.alerts.flush(10)
        sent = [alert for alert in delivered(service) if alert["kind"] == "direct.trade"]
        assert [alert["data"]["price"] for alert in sent] == [103, 104, 105, 106, 107]
        assert len(of(strategy.alerts.alerts(), "direct.trade")) == 8
        strategy.alerts.close()


def test_a_restart_repeats_no_signal_and_drops_no_fill(tmp_path):
    def enter(s):
        s.signal("BUY")
        s.alert("first")
        s.alert("second")
        s.buy(size=1)

    got = []
    with FakeService() as service:
        for _ in range(2):
            clock = Clock()
            cerebro = engine(live_feed(clock, *live_script(clock, 6)), strategy=Told, steps={5: enter})
            config = webhook(service, store=str(tmp_path / "alerts.db"))
            with attach(cerebro, config, clock=clock) as manager:
                cerebro.run()
                manager.flush(10)
            told = [alert["kind"] for alert in delivered(service) if alert["type"] in ("signal", "custom", "order")]
            got.append(sorted(told))
    assert got == [
        ["custom", "custom", "order.completed", "signal"],
        ["custom", "custom", "order.completed", "order.completed", "signal"],
    ]


def test_what_is_said_of_two_feeds_on_one_bar_is_no_repeat():
    def tell(s):
        for data in (s.data0, s.data1, s.data0, s.data1):
            s.alert("x", data=data)

    cerebro = bt.Cerebro(stdstats=False)
    daily = cerebro.adddata(feed(range(100, 140)))
    cerebro.resampledata(daily, timeframe=bt.TimeFrame.Weeks)
    cerebro.addstrategy(Told, steps={20: tell})
    keys = [alert.dedupe_key for alert in of(run(cerebro), "custom")]
    assert len(set(keys)) == len(keys) == 4


def test_keys_of_a_bar_are_the_same_in_every_run():
    def keys():
        cerebro = engine(strategy=Told, steps={5: lambda s: (s.alert("a"), s.alert("b")), 6: lambda s: s.alert("a")})
        return [alert.dedupe_key for alert in of(run(cerebro), "custom")]

    first = keys()
    assert first == keys()
    assert len(set(first)) == 3


@pytest.mark.parametrize(("mode", "sent"), [("auto", 5), ("record", 0), ("send", 8)])
def test_the_mode_decides_over_history_and_live(mode, sent):
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 5, backfill=3)), strategy=EachBar)
    told, stored = messages(cerebro, live=True, clock=clock, mode=mode)
    assert len([alert for alert in told if alert["kind"] == "custom"]) == sent
    assert len(of(stored, "custom")) == 8


def test_mode_send_of_a_backtest_keeps_the_bars_time():
    told, stored = messages(engine(strategy=Told, steps={5: lambda s: s.alert("x")}))
    assert [alert["message"] for alert in told] == ["x"]
    assert one(stored, "custom").time == one(stored, "custom").bar_time


def test_a_live_feed_of_paused_rounds_before_its_first_bar_is_harmless():
    clock = Clock()
    script = [("status", "CONNECTED"), ("wait", 3), ("status", "LIVE"), ("wait", 3), tick(clock)]
    (strategy,), alerts = ran(engine(live_feed(clock, *script), strategy=Scripted, steps={}), clock=clock)
    assert len(strategy) == 1
    assert kinds(alerts, "error") == []


def test_the_analysis_counts_what_a_live_run_told():
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 5, backfill=3)), strategy=EachBar)
    (strategy,), alerts = ran(cerebro, clock=clock)
    counted = strategy.analyzers.alertanalyzer.get_analysis()["by_type"]
    assert counted == {"strategy": 2, "data": 2, "custom": 8}
    assert len(alerts) == sum(counted.values()) + len(of(alerts, "strategy.armed"))
