"""What a user writes: Notifier, AlertAnalyzer, AlertObserver, the mixins and attach."""

from __future__ import annotations

import math

import backtrader as bt
import pytest
from hooks_kit import MONDAY, ROUND_TRIP, Scripted, Told, engine, feed, kinds, of, one, ran, run

from bt_alerts import (
    AlertAnalyzer,
    AlertingAnalyzer,
    AlertingObserver,
    AlertManager,
    AlertObserver,
    AlertType,
    Notifier,
    Priority,
    attach,
    default_manager,
)
from bt_alerts.alert import Source


def test_an_alert_of_a_strategy_says_all_that_it_was_given():
    told = []

    def tell(s):
        told.append(s.alert("volume is up", title="Busy", type="market", priority="high", channels="phone", ratio=2.5))

    alert = one(run(engine(strategy=Told, steps={5: tell})), "custom")
    assert (alert.title, alert.message, alert.type, alert.priority) == (
        "Busy", "volume is up", AlertType.MARKET, Priority.HIGH,
    )  # fmt: skip
    assert (alert.channels, alert.data, alert.symbol, alert.strategy) == (("phone",), {"ratio": 2.5}, "AAA", "Told")
    assert alert.bar_time.replace(tzinfo=None) == MONDAY.replace(day=5)
    assert (alert.time, alert.source) == (alert.bar_time, Source.HISTORY)
    assert told[0].id == alert.id


def test_an_alert_can_be_about_another_feed_or_symbol():
    cerebro = engine(feed(name="AAA"), feed(name="BBB"), strategy=Told, steps={
        3: lambda s: (s.alert("feed", data=s.data1), s.alert("symbol", symbol="GOLD"), s.alert("plain")),
    })  # fmt: skip
    assert {alert.message: alert.symbol for alert in of(run(cerebro), "custom")} == {
        "feed": "BBB", "symbol": "GOLD", "plain": "AAA",
    }  # fmt: skip


def test_a_wrong_word_is_said_in_the_log_and_the_alert_is_kept(caplog):
    alerts = run(engine(strategy=Told, steps={3: lambda s: s.alert("x", type="nonsense", priority="loud")}))
    assert (one(alerts, "custom").type, one(alerts, "custom").priority) == (AlertType.CUSTOM, Priority.MEDIUM)
    assert "nonsense" in caplog.text


def test_a_signal_says_all_that_it_was_given():
    alert = one(
        run(engine(strategy=Told, steps={4: lambda s: s.signal(
            "buy", conditions=["RSI below 30"], stop_loss=95, take_profit=120, confidence=80,
            indicators={"rsi": 28.5, "note": "low"}, timeframe="D1", priority="high",
        )})),
        "signal",
    )  # fmt: skip
    assert (alert.title, alert.type, alert.priority) == ("BUY signal: AAA", AlertType.SIGNAL, Priority.HIGH)
    assert alert.message == "Price 103 · Stop 95 · Target 120 · Confidence 80 %\n• RSI below 30\nrsi 28.50, note low"
    assert alert.data == {
        "action": "BUY", "price": 103.0, "conditions": ["RSI below 30"], "stop_loss": 95, "take_profit": 120,
        "confidence": 80, "indicators": {"rsi": 28.5, "note": "low"}, "timeframe": "D1",
    }  # fmt: skip


def test_a_signal_of_the_second_feed_has_its_symbol_and_price():
    cerebro = engine(feed(name="AAA"), feed([50] * 30, name="BBB"), strategy=Told, steps={
        3: lambda s: s.signal("SELL", conditions={"spread": 2}, data=s.data1),
    })  # fmt: skip
    alert = one(run(cerebro), "signal")
    assert (alert.symbol, alert.data["price"], alert.message) == ("BBB", 50.0, "Price 50\n• spread: 2")


def test_alerts_in_init_start_and_stop_are_kept_too():
    class Talks(Notifier, bt.Strategy):
        def __init__(self):
            self.alert("init")

        def start(self):
            self.alert("start")

        def stop(self):
            self.alert("stop")

    alerts = run(engine(strategy=Talks))
    assert [alert.message for alert in of(alerts, "custom")] == ["init", "start", "stop"]
    assert len({alert.run for alert in alerts}) == 1


def test_the_mixin_alone_is_enough():
    engine(strategy=Told, steps=ROUND_TRIP).run()
    alerts = default_manager().alerts()
    assert kinds(alerts, "strategy", "trade.closed") == ["strategy.started", "trade.closed", "strategy.stopped"]


def test_the_analyzer_alone_is_enough():
    cerebro = engine(steps=ROUND_TRIP)
    cerebro.addanalyzer(AlertAnalyzer)
    cerebro.run()
    alerts = default_manager().alerts()
    assert kinds(alerts, "strategy", "trade.closed") == ["strategy.started", "trade.closed", "strategy.stopped"]


def test_mixin_analyzer_observer_and_attach_together_tell_each_event_once():
    cerebro = engine(strategy=Told, steps=ROUND_TRIP)
    cerebro.addanalyzer(AlertAnalyzer)
    cerebro.addobservermulti(AlertObserver)
    together = kinds(run(cerebro))
    assert together == kinds(run(engine(steps=ROUND_TRIP)))


def test_the_analyzer_counts_by_type_and_priority():
    (strategy,), alerts = ran(engine(strategy=Told, steps={**ROUND_TRIP, 5: lambda s: s.alert("x", priority="high")}))
    analysis = strategy.analyzers.alertanalyzer.get_analysis()
    assert type(analysis) is dict
    assert analysis["by_type"] == {"order": 6, "trade": 2, "position": 2, "strategy": 2, "custom": 1}
    assert sum(analysis["by_priority"].values()) == len(alerts) == 13
    assert set(analysis["by_priority"]) == {"critical", "high", "medium", "low", "info"}
    assert analysis["by_priority"]["high"] == 1
    assert (analysis["suppressed"], analysis["run"]) == (0, alerts[0].run)


def test_no_attribute_of_the_analyzer_begins_with_data():
    (strategy,), _ = ran(engine())
    plain = bt.Cerebro(stdstats=False)
    plain.adddata(feed())
    plain.addanalyzer(bt.Analyzer)
    theirs = set(dir(plain.run()[0].analyzers[0]))
    assert [name for name in set(dir(strategy.analyzers.alertanalyzer)) - theirs if name.startswith("data")] == []


MARKED = {
    3: lambda s: s.buy(size=10),  # filled on bar 4
    8: lambda s: s.close(),  # filled on bar 9
    12: lambda s: s.buy(size=1e9),  # no cash for it on bar 13
    15: lambda s: s.alert("look"),
}


def test_the_observer_marks_the_price_chart_of_each_feed():
    steps = {**MARKED, 20: lambda s: s.alert("there", data=s.data1)}
    cerebro = engine(feed(name="AAA"), feed([50] * 30, name="BBB"), strategy=Told, steps=steps)
    manager = attach(cerebro, {}, plot=True)
    (strategy,) = cerebro.run()
    first, second = strategy.observers.alertobserver
    assert marks(first) == {
        "buy": {4: 101 * 0.988},  # below the low
        "sell": {9: 109 * 1.012},  # above the high
        "problem": {13: 113 * 1.024},
        "note": {15: 112 * 0.976},
    }
    assert marks(second) == {"buy": {}, "sell": {}, "problem": {}, "note": {20: 49 * 0.976}}
    assert len(manager.alerts()) > 0


def marks(observer):
    """What an observer's lines hold: ``{line: {bar: price}}``."""
    found = {}
    for name in observer.lines.getlinealiases():
        values = getattr(observer.lines, name).array
        found[name] = {i + 1: pytest.approx(v) for i, v in enumerate(values) if not math.isnan(v)}
    return found


def test_an_observer_of_all_feeds_does_not_pile_up_marks():
    cerebro = engine(feed(name="AAA"), feed(name="BBB"), strategy=Told, steps={
        n: lambda s: s.alert("x", data=s.data1) for n in range(30)
    })  # fmt: skip
    cerebro.addobserver(AlertObserver)
    (strategy,) = cerebro.run()
    assert strategy.__dict__["_bt_alerts_capture"].marks == []


def test_a_plot_with_the_marks_renders_headless(tmp_path):
    import backtrader.plot  # noqa: F401 - it forces TkAgg, so what follows must come after it
    import matplotlib as mpl

    mpl.use("Agg")
    cerebro = engine(feed(name="AAA"), strategy=Told, steps=MARKED)
    attach(cerebro, {}, plot=True)
    cerebro.run()
    ((figure,),) = cerebro.plot(iplot=False)
    figure.savefig(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5_000


def test_a_users_own_analyzer_can_tell():
    class Deep(AlertingAnalyzer, bt.Analyzer):
        params = (("limit", 5),)

        def next(self):
            if len(self) == self.p.limit:
                self.alert("five bars", priority="low", bars=5)

    cerebro = engine()
    cerebro.addanalyzer(Deep)
    (strategy,), alerts = ran(cerebro)
    alert = one(alerts, "custom")
    assert (alert.title, alert.message, alert.strategy, alert.data) == ("Deep", "five bars", "Scripted", {"bars": 5})
    assert strategy.analyzers.deep.get_analysis() == {}


def test_a_users_own_observer_can_tell_and_keeps_its_lines():
    class Range(AlertingObserver, bt.Observer):
        lines = ("span",)

        def next(self):
            self.lines.span[0] = self.data.high[0] - self.data.low[0]
            if len(self) == 6:
                self.alert("six")

    cerebro = engine()
    cerebro.addobserver(Range)
    (strategy,), alerts = ran(cerebro)
    assert one(alerts, "custom").message == "six"
    assert strategy.observers.range.lines.getlinealiases() == ("span",)
    assert strategy.observers.range.lines.span[0] == 3


def snapshot(cerebro):
    """The state of a Cerebro that attach may touch."""
    state = dict(cerebro.__dict__)
    return {name: list(value) if isinstance(value, list) else value for name, value in state.items()}


def test_attach_gives_a_manager_and_as_a_context_leaves_no_trace():
    cerebro = engine()
    cerebro.addanalyzer(AlertAnalyzer)
    cerebro.addobservermulti(AlertObserver)
    before = snapshot(cerebro)
    with attach(cerebro, {}, plot=True) as manager:
        assert isinstance(manager, AlertManager)
        assert cerebro.run is not type(cerebro).run
    assert snapshot(cerebro) == before
    assert "run" not in vars(cerebro)


def test_closing_after_a_run_leaves_no_trace_of_attach_either():
    cerebro = engine(steps=ROUND_TRIP)
    callbacks = list(cerebro.datacbs), list(cerebro.storecbs)
    with attach(cerebro, {}) as manager:
        cerebro.run()
    assert len(manager.alerts()) == 12
    assert (cerebro.datacbs, cerebro.storecbs) == callbacks
    assert (cerebro.analyzers, cerebro.observers) == ([], [])
    (strategy,) = cerebro.run()
    assert len(strategy.analyzers) == 0
    assert len(manager.alerts()) == 12


def test_attaching_twice_is_attaching_once(caplog):
    cerebro = engine(steps=ROUND_TRIP)
    manager = attach(cerebro, {})
    assert attach(cerebro) is manager
    assert caplog.text == ""
    assert attach(cerebro, {}, mode="record") is manager
    assert "attached to this Cerebro already" in caplog.text
    cerebro.run()
    assert kinds(manager.alerts(), "trade.closed") == ["trade.closed"]


def test_attach_after_a_run_with_the_mixin_takes_over():
    cerebro = engine(strategy=Told)
    cerebro.run()
    first = len(default_manager().alerts())
    with attach(cerebro, {}) as manager:
        cerebro.run()
        assert len(cerebro.datacbs) == 1
    assert len(manager.alerts()) == first == len(default_manager().alerts())


def test_a_wrong_word_for_live_is_refused_at_once():
    with pytest.raises(ValueError, match="alwys"):
        attach(engine(), {}, live="alwys")
    with pytest.raises(ValueError, match="sometimes"):
        attach(engine(), {}, live={"AAA": "sometimes"})


def test_the_manager_comes_before_or_after_strategies_and_feeds():
    cerebro = bt.Cerebro(stdstats=False)
    manager = attach(cerebro, {})
    cerebro.adddata(feed())
    cerebro.addstrategy(Scripted, steps=ROUND_TRIP)
    cerebro.run()
    assert kinds(manager.alerts(), "trade") == ["trade.opened", "trade.closed"]


def test_names_that_a_user_takes_for_himself_change_nothing():
    class Mine(Notifier, bt.Strategy):
        def __init__(self):
            self.signal = bt.indicators.SMA(period=3)
            self.alert = bt.indicators.CrossOver(self.data.close, self.signal)

        def next(self):
            if len(self) == 5:
                self.buy(size=1)
            if len(self) == 7:
                Notifier.alert(self, "by the class")

    alerts = run(engine(strategy=Mine))
    assert kinds(alerts, "order.completed", "custom") == ["order.completed", "custom"]
