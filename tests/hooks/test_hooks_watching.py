"""Watches in real runs: told once, over once, in a backtest, live, in an optimisation, and without changing a trade."""

from __future__ import annotations

import datetime as dt
import pickle
import uuid

import backtrader as bt
import pytest
from hooks_kit import (
    DAY,
    MINUTE,
    Clock,
    Exchange,
    Scripted,
    Told,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    messages,
    of,
    one,
    run,
)  # fmt: skip

from bt_alerts import AlertAnalyzer, Notifier, SettingsError, attach, watch
from bt_alerts.alert import AlertType, Priority, Source
from bt_alerts.demo import prices
from bt_alerts.kinds import KINDS, data_of
from bt_alerts.redact import register_secret
from bt_alerts.settings.watches import WATCHES, WatchLevel


class Crossing(bt.Strategy):
    """Trades the crossing of two averages with nearly all of its money."""

    def __init__(self):
        self.fast = bt.indicators.SMA(period=10)
        self.slow = bt.indicators.SMA(period=30)
        self.rsi = bt.indicators.RSI(period=14)
        self.cross = bt.indicators.CrossOver(self.fast, self.slow)

    def next(self):
        if self.cross > 0 and not self.position:
            self.order_target_percent(target=0.9)
        elif self.cross < 0 and self.position:
            self.close()


EVERY = [
    watch("drawdown", above=10, back=8),
    watch("drawdown", above=12_000, unit="money"),
    watch("position_drawdown", above=12),
    watch("daily_loss", above=4),
    watch("exposure", above=92),
    watch("position_risk", above=91),
    watch("losses", above=3),
    watch("margin", below=9, back=12),
    watch("time_in_trade", above="40d"),
    watch("performance", below=-10),
    watch("milestone", every=2),
    watch("price", above=30, symbol="AAPL"),
    watch("move", above=15, within="5d"),
    watch("rise", above=12),
    watch("fall", above=12, symbol="A*"),
    watch("volume", above=4),
    watch("indicator", condition="rsi > 75", back=60),
]


def on_prices(**how):
    """A run on the bundled prices."""
    cerebro = bt.Cerebro(stdstats=False, **how)
    for symbol in ("AAPL", "IBM"):
        cerebro.adddata(prices.feed(symbol, end="2002-06-01"), name=symbol)
    cerebro.addstrategy(Crossing)
    cerebro.broker.setcash(100_000)
    return cerebro


@pytest.fixture(scope="module")
def told():
    cerebro = on_prices()
    manager = attach(cerebro, {}, watches=EVERY)
    cerebro.run()
    return [alert for alert in manager.alerts() if alert.kind.startswith("watch.")]


def test_there_is_a_kind_for_every_watch_and_one_for_its_end():
    expected = {f"watch.{name}{end}" for name in WATCHES for end in ("", ".back")} - {"watch.milestone.back"}
    assert {kind for kind in KINDS if kind.startswith("watch.")} == expected | {"watch.broken"}
    assert {made.watch for made in EVERY} == set(WATCHES)
    assert all(KINDS[kind].priority is Priority.LOW for kind in expected if kind.endswith(".back"))


@pytest.mark.parametrize("name", WATCHES)
def test_every_watch_is_told_on_real_prices(told, name):
    found = of(told, f"watch.{name}")
    assert found
    for alert in found:
        known = KINDS[alert.kind]
        assert (alert.type, alert.priority) == (known.type, known.priority)
        assert alert.thread.startswith(f"watch:Crossing:{name} ")
        assert bool(alert.symbol) == WATCHES[name].of_feed
        assert alert.data["watch"] == name
        assert "resolves" not in alert.data
        assert alert.source is Source.HISTORY
        assert alert.time == alert.bar_time
        assert alert.data.keys() <= data_of(alert.kind)
    if name != "milestone":
        assert of(told, f"watch.{name}.back")


def test_an_alert_and_its_end_take_turns_in_one_thread(told):
    threads = {}
    for alert in told:
        threads.setdefault(alert.thread, []).append(alert)
    for name, alerts in threads.items():
        if "milestone" in name:
            continue
        for i, alert in enumerate(alerts):
            assert alert.data.get("resolves", False) is bool(i % 2), name
            assert alert.kind.endswith(".back") is bool(i % 2), name
            level, back, value = (alert.data[key] for key in ("level", "back", "value"))
            if i % 2:
                assert value <= back if back <= level and "below" not in name else value >= back


def test_every_alert_has_a_key_of_its_own_that_repeats(told):
    assert len({alert.dedupe_key for alert in told}) == len(told)
    again = run(on_prices(), watches=EVERY)
    assert [a.dedupe_key for a in again if a.kind.startswith("watch.")] == [alert.dedupe_key for alert in told]


@pytest.mark.parametrize(
    "how",
    [{"runonce": False}, {"preload": False}, {"exactbars": 1}, {"exactbars": -1}, {"quicknotify": True}],
    ids=str,
)
def test_every_mode_tells_the_same(told, how):
    again = [alert for alert in run(on_prices(**how), watches=EVERY) if alert.kind.startswith("watch.")]
    assert [(a.kind, a.bar_time, a.title, a.message) for a in again] == [
        (a.kind, a.bar_time, a.title, a.message) for a in told
    ]


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"quicknotify": True}], ids=str)
def test_trades_and_value_are_the_same_with_and_without(how):
    def result(**hook):
        cerebro = on_prices(**how)
        cerebro.adddata(prices.feed("MSFT", start="2001-01-02", end="2001-06-01"), name="MSFT")  # begins and ends apart
        cerebro.addanalyzer(bt.analyzers.Transactions)
        cerebro.addanalyzer(bt.analyzers.TimeReturn)
        if hook:
            attach(cerebro, {}, **hook)
        (strategy,) = cerebro.run()
        analyzers = strategy.analyzers
        kept = [data._name for data in cerebro.broker.positions]
        return (
            dict(analyzers.transactions.get_analysis()),
            dict(analyzers.timereturn.get_analysis()),
            cerebro.broker.getvalue(),
            kept,
        )

    plain = result()
    assert plain == result(watches=EVERY)
    assert plain == result(watches=())


# ------------------------------------------------------------------------------------ each, by numbers


def watched(closes, *levels, steps=None, cash=10_000.0, volume=1000.0, step=DAY, **how):
    """A run over closes: what its watches told, as ``(kind without "watch.", number of the bar, title)``."""
    cerebro = engine(feed(closes, volume=volume, step=step), steps=steps or {}, **how)
    cerebro.broker.setcash(cash)
    alerts = [alert for alert in run(cerebro, watches=levels) if alert.kind.startswith("watch.")]
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return [(a.kind.removeprefix("watch."), (a.bar_time - begin) // step + 1, a.title) for a in alerts]


BUY = {1: lambda s: s.buy(size=50)}  # at 100 on the second bar: half of the account
CRASH = [100, 100, 120, 100, 80, 60, 80, 104, 120]


def test_drawdown_of_the_account():
    # 10,000, then 11,000 at the peak, 10,000, 9,000, 8,000, 9,000, 10,200
    assert watched(CRASH, watch("drawdown", above=10, back=8), steps=BUY) == [
        ("drawdown", 5, "Drawdown 18.2 % (level 10 %)"),
        ("drawdown.back", 8, "Drawdown back at 7.27 % (level 10 %)"),
    ]


def test_its_text_has_the_peak_and_its_end_the_worst():
    cerebro = engine(feed(CRASH), steps=BUY)
    alerts = run(cerebro, watches=[watch("drawdown", above=10, back=8, priority="critical")])
    crossed, over = one(alerts, "watch.drawdown"), one(alerts, "watch.drawdown.back")
    assert crossed.message == "Account 9,000 of a peak of 11,000."
    assert over.message == "Account 10,200 of a peak of 11,000.\nAt its highest: 27.3 %."
    assert (crossed.priority, over.priority) == (Priority.CRITICAL, Priority.LOW)
    assert (crossed.type, crossed.symbol, crossed.strategy) == (AlertType.RISK, "", "Scripted")
    assert crossed.thread == over.thread == "watch:Scripted:drawdown above 10"
    assert crossed.data == {
        "watch": "drawdown", "value": pytest.approx(18.1818, abs=1e-4), "level": 10.0, "back": 8.0, "unit": "percent",
        "account": 9000.0, "peak": 11000.0,
    }  # fmt: skip
    assert (over.data["resolves"], over.data["worst"]) == (True, pytest.approx(27.2727, abs=1e-4))


def test_drawdown_in_money_and_daily_loss():
    assert watched(CRASH, watch("drawdown", above=2500, unit="money"), steps=BUY) == [
        ("drawdown", 6, "Drawdown 3,000 (level 2,500)"),
        ("drawdown.back", 7, "Drawdown back at 2,000 (level 2,500)"),
    ]
    assert watched(CRASH, watch("daily_loss", above=11), steps=BUY) == [
        ("daily_loss", 6, "Daily loss 11.1 % (level 11 %)"),
        ("daily_loss.back", 7, "Daily loss made up, or a new day (level 11 %)"),
    ]


def test_a_daily_loss_is_of_the_whole_day():
    closes = [100, 100, 98, 97, 96, 95, 95, 95]
    told = watched(closes, watch("daily_loss", above=2), steps=BUY, step=dt.timedelta(hours=6))
    # The day of bars 1 to 4 loses 1.5 %, that of bars 5 to 8 one of 1.0 %: no bar-by-bar count is meant.
    assert told == []
    assert watched(closes, watch("daily_loss", above=1.5), steps=BUY, step=dt.timedelta(hours=6)) == [
        ("daily_loss", 4, "Daily loss 1.5 % (level 1.5 %)"),
        ("daily_loss.back", 5, "Daily loss back at 0.51 % (level 1.5 %)"),
    ]


def test_drawdown_of_a_position_and_its_end_by_a_sale():
    steps = {**BUY, 6: lambda s: s.close()}
    level = watch("position_drawdown", above=30)
    assert watched(CRASH, level, steps=BUY) == [
        ("position_drawdown", 5, "AAA: position behind its best 33.3 % (level 30 %)"),
        ("position_drawdown.back", 8, "AAA: position behind its best back at 13.3 % (level 30 %)"),
    ]
    assert watched(CRASH, level, steps=steps)[1] == ("position_drawdown.back", 7, "AAA: position closed")


def test_performance_and_milestones():
    closes = [100, 100, 110, 122, 130, 128, 142, 139, 90]
    assert watched(closes, watch("milestone", every=5), steps=BUY) == [
        ("milestone", 3, "Milestone: +5 % since the start"),
        ("milestone", 4, "Milestone: +10 % since the start"),
        ("milestone", 5, "Milestone: +15 % since the start"),
        ("milestone", 7, "Milestone: +20 % since the start"),
    ]
    assert watched(closes, watch("performance", above=20, back=19.8), steps=BUY) == [
        ("performance", 7, "Return 21 % (level 20 %)"),
        ("performance.back", 8, "Return back at 19.5 % (level 20 %)"),
    ]
    assert watched(closes, watch("performance", below=-500, unit="money"), steps=BUY) == [
        ("performance", 9, "Return −500 (level −500)")
    ]


def test_exposure_position_risk_and_free_cash():
    closes = [100, 100, 100, 150, 150]
    steps = {1: lambda s: s.sell(size=40), 4: lambda s: s.close()}
    # Sold short 40 at 100; at 150 they are 6,000 of an account of 8,000.
    assert watched(closes, watch("exposure", above=50), steps=steps) == [
        ("exposure", 4, "Exposure 75 % (level 50 %)"),
        ("exposure.back", 5, "Exposure back at 0 % (level 50 %)"),
    ]
    assert watched(closes, watch("position_risk", above=50), steps=steps) == [
        ("position_risk", 4, "AAA: share of the account 75 % (level 50 %)"),
        ("position_risk.back", 5, "AAA: position closed"),
    ]
    assert watched(closes, watch("margin", below=60), steps={**BUY, 3: lambda s: s.close()}) == [
        ("margin", 2, "Free cash 50 % (level 60 %)"),
        ("margin.back", 4, "Free cash back at 100 % (level 60 %)"),
    ]


def test_an_account_that_is_worth_nothing():
    levels = [watch("exposure", above=200), watch("margin", below=5), watch("drawdown", above=99)]
    told = watched([100, 100, 160, 260], *levels, steps={1: lambda s: s.sell(size=100)})
    assert told == [
        ("exposure", 3, "Exposure 400 % (level 200 %)"),
        ("margin", 4, "Free cash 0 % (level 5 %)"),
        ("drawdown", 4, "Drawdown 160 % (level 99 %)"),
    ]
    told = watched([100, 100, 260], watch("exposure", above=200), steps={1: lambda s: s.sell(size=100)})
    assert told == [("exposure", 3, "Exposure ∞ % (level 200 %)")]


def test_losses_in_a_row():
    falling = [100 - i for i in range(12)] + [89 + i for i in range(8)]
    steps = {i: (lambda s: s.close()) if i % 2 == 0 else (lambda s: s.buy(size=1)) for i in range(1, 20)}
    assert watched(falling, watch("losses", above=3), steps=steps) == [
        ("losses", 7, "3 losses in a row (level 3)"),
        ("losses.back", 15, "The losing streak is over"),
    ]


def test_time_in_trade():
    steps = {1: lambda s: s.buy(size=1), 7: lambda s: s.close()}
    flat = [100.0] * 10
    assert watched(flat, watch("time_in_trade", above="4d"), steps=steps) == [
        ("time_in_trade", 6, "AAA: in trade for 4 d (level 4 d)"),
        ("time_in_trade.back", 8, "AAA: position closed"),
    ]
    assert watched(flat, watch("time_in_trade", above=5, unit="bars"), steps=steps)[0][1] == 7


def test_price_above_below_and_crossing():
    closes = [190, 201, 199, 201, 197, 203]
    assert watched(closes, watch("price", above=200, back=198)) == [
        ("price", 2, "AAA above 200: 201"),
        ("price.back", 5, "AAA back below 198: 197"),
        ("price", 6, "AAA above 200: 203"),
    ]
    assert watched([210, *closes], watch("price", crosses=200, back=198)) == [
        ("price", 2, "AAA crossed below 198: 190"),
        ("price", 3, "AAA crossed above 200: 201"),
        ("price", 6, "AAA crossed below 198: 197"),
        ("price", 7, "AAA crossed above 200: 203"),
    ]
    assert watched(closes, watch("price", below=197)) == [
        ("price", 1, "AAA below 197: 190"),
        ("price.back", 2, "AAA back above 197.985: 201"),
        ("price", 5, "AAA below 197: 197"),
        ("price.back", 6, "AAA back above 197.985: 203"),
    ]


def test_moves_and_volume():
    closes = [100, 101, 107, 107, 100, 100]
    assert watched(closes, watch("move", above=5)) == [
        ("move", 3, "AAA moved 5.94 % within 1d (level 5 %)"),
        ("move.back", 4, "AAA calm again: 0 % within 1d"),
        ("move", 5, "AAA moved 6.54 % within 1d (level 5 %)"),
        ("move.back", 6, "AAA calm again: 0 % within 1d"),
    ]
    assert watched(closes, watch("rise", above=6, within="2 bars"))[0][:2] == ("rise", 3)
    assert watched(closes, watch("fall", above=6))[0][:2] == ("fall", 5)
    assert watched(closes, watch("volume", above=2, within="3 bars")) == []


def test_an_average_volume_and_a_spike():
    data = feed([100] * 8)
    data.p.dataname["volume"] = [10.0, 20, 30, 80, 30, 20, 10, 10]
    alerts = run(engine(data, steps={}), watches=[watch("volume", above=4, within="3 bars")])
    spike = one(alerts, "watch.volume")
    assert spike.title == "AAA: volume 4 × (level 4 ×)"
    assert spike.message == "Volume 80, on average of 3 bars 20."
    assert one(alerts, "watch.volume.back").bar_time.day == 5


class Indicators(Notifier, bt.Strategy):
    """Has indicators of its own, a number, and something that is not there yet."""

    params = (("limit", 105.0),)

    def __init__(self):
        self.fast = bt.indicators.SMA(period=2)
        self.slow = bt.indicators.SMA(period=4)
        self.macd = bt.indicators.MACD(period_me1=2, period_me2=4, period_signal=2)
        self.both = bt.indicators.SMA(period=1) - self.slow
        self.target = None
        self.watch("indicator", condition="fast crosses above slow")

    def next(self):
        self.stop_price = 101.5


ZIGZAG = [100, 99, 98, 97, 96, 99, 103, 107, 106, 101, 97, 95, 99, 104]


def conditions(*levels, strategy=Indicators, closes=ZIGZAG):
    alerts = run(engine(feed(closes), strategy=strategy), watches=levels)
    return [(a.kind.removeprefix("watch."), a.bar_time.day, a.message) for a in alerts if a.kind.startswith("watch.")]


def test_conditions_of_indicators_by_name():
    crossed = [("indicator", 6, "fast 97.50, slow 97.50."), ("indicator", 7, "fast 101, slow 98.75.")]
    assert conditions()[0] == crossed[1]
    assert conditions(watch("indicator", condition="slow < fast"))[0][:2] == ("indicator", 7)
    assert [c[:2] for c in conditions(watch("indicator", condition="close > p.limit"))] == [
        ("indicator", 7), ("indicator", 8), ("indicator.back", 10), ("indicator", 14)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "first"),
    [
        ("close >= 107", 8),
        ("volume > 999", 1),
        ("AAA.close < 97", 5),
        ("data.high > 107", 8),
        ("macd.macd > macd.signal", 6),
        ("both > 4", 7),
        ("data0 > slow", 6),
        ("close crosses below 100", 2),
        ("close crosses above slow", 6),
    ],
)
def test_a_name_is_an_attribute_a_line_or_a_number(condition, first):
    found = conditions(watch("indicator", condition=condition, symbol="AAA"))
    assert next(day for kind, day, text in found if "fast" not in text) == first


def test_a_number_that_is_not_there_yet_is_waited_for():
    class Later(Indicators):
        def __init__(self):
            super().__init__()
            self.stop_price = None

    found = conditions(watch("indicator", condition="close > stop_price"), strategy=Later)
    assert found[0][:2] == ("indicator", 7)


def test_a_condition_has_hysteresis_against_a_number():
    level = watch("indicator", condition="close > 100", back=97)
    found = [c[:2] for c in conditions(level) if "fast" not in c[2]]
    assert found == [("indicator", 7), ("indicator.back", 11), ("indicator", 14)]


def test_a_crossing_is_an_event_without_an_end():
    alerts = run(engine(feed(ZIGZAG), strategy=Indicators))
    assert kinds(alerts, "watch.") == ["watch.indicator"] * 2
    assert of(alerts, "watch.indicator")[0].data == {
        "watch": "indicator", "value": 2.25, "condition": "fast crosses above slow", "left": 101.0, "right": 98.75
    }  # fmt: skip


# --------------------------------------------------------------------------------- what cannot be watched


def test_an_unknown_name_is_said_once_and_the_rest_goes_on(caplog):
    levels = [watch("indicator", condition="fsat > slow"), watch("price", above=105)]
    alerts = run(engine(feed(ZIGZAG), strategy=Indicators), watches=levels)
    broken = one(alerts, "watch.broken")
    assert broken.title == "Not watched: indicator fsat > slow"
    assert broken.message.startswith("Indicators has no `fsat`; did you mean `fast`?\n")
    assert (broken.type, broken.priority) == (AlertType.HEALTH, Priority.HIGH)
    assert of(alerts, "watch.price")
    assert [r.getMessage() for r in caplog.records] == [
        "the watch `indicator fsat > slow` is left out, the strategy goes on: Indicators has no `fsat`; did you mean "
        "`fast`?"
    ]


def test_without_a_likely_slip_it_says_what_there_is():
    alerts = run(engine(feed(ZIGZAG), strategy=Indicators), watches=[watch("indicator", condition="zz > 3")])
    told = one(alerts, "watch.broken").message
    assert told.startswith("Indicators has no `zz`; it has fast, slow, macd, both, and its feeds have close, low, high")
    alerts = run(engine(feed(ZIGZAG), steps={}), watches=[watch("indicator", condition="rsi > 3")])
    assert one(alerts, "watch.broken").message.startswith("Scripted has no `rsi`; it has no indicators, and its feeds")
    alerts = run(engine(feed(ZIGZAG), steps={}), watches=[watch("indicator", condition="buy > 3")])
    assert "`buy` is no indicator, no line and no number, but a method" in one(alerts, "watch.broken").message


def test_a_watch_that_raises_is_left_out_and_the_strategy_goes_on(caplog):
    secret = uuid.uuid4().hex
    register_secret(secret)

    class Moody(Scripted):
        @property
        def mood(self):
            if len(self) == 5:
                raise ZeroDivisionError(f"{secret} of the data service")
            return 1.0

    cerebro = engine(feed(ZIGZAG), strategy=Moody, steps={3: lambda s: s.buy(size=1)})
    cerebro.broker.setcash(100_000)
    alerts = run(cerebro, watches=[watch("indicator", condition="mood > 0"), watch("price", above=105)])
    broken = one(alerts, "watch.broken")
    assert "ZeroDivisionError" in broken.message
    assert broken.bar_time.day == 5
    assert secret not in broken.message + str(broken.data) + caplog.text
    assert of(alerts, "watch.price")
    assert of(alerts, "order.completed")
    assert len([r for r in caplog.records if "is left out" in r.getMessage()]) == 1


def test_a_broker_that_raises_costs_only_the_watches_that_ask_it():
    class Deaf(bt.brokers.BackBroker):
        asked = 0

        def getvalue(self, datas=None):
            caller = type(self)
            caller.asked += 1
            if caller.asked > 20:
                raise ConnectionError("no answer")
            return super().getvalue(datas)

    class Quiet(Scripted):
        def _notify(self, qorders=(), qtrades=()):  # else Backtrader itself would ask
            pass

        def _stop(self):
            Deaf.asked = -100
            super()._stop()

    cerebro = engine(feed([100] * 30), strategy=Quiet, steps={})
    cerebro.broker = Deaf()
    alerts = run(cerebro, watches=[watch("drawdown", above=10), watch("price", above=99)])
    assert "ConnectionError" in one(alerts, "watch.broken").message
    assert of(alerts, "watch.price")


def test_an_unknown_symbol_is_warned_of_once_with_the_names_of_the_feeds(caplog):
    cerebro = engine(feed(name="AAA"), feed(name="BBB"), steps={})
    manager = attach(cerebro, {}, watches=[watch("price", above=1, symbol="CCC"), watch("move", above=1, symbol="CCC")])
    cerebro.run()
    cerebro.run()
    assert kinds(manager.alerts(), "watch.") == []
    assert [r.getMessage() for r in caplog.records] == [
        "a watch of `price` names the symbol 'CCC', but there are only the feeds AAA, BBB; it is left out"
    ]


def test_the_account_is_asked_once_a_bar():
    class Counting(bt.brokers.BackBroker):
        asked = 0

        def getvalue(self, datas=None):
            type(self).asked += 1
            return super().getvalue(datas)

    def count(**hook):
        Counting.asked = 0
        cerebro = engine(feed([100] * 50), strategy=None)
        cerebro.addstrategy(Told, steps={})
        cerebro.addstrategy(Told, steps={1: lambda s: s.watch("exposure", above=1)})
        cerebro.broker = Counting()
        attach(cerebro, {}, **hook)
        cerebro.run()
        return Counting.asked

    levels = [watch("drawdown", above=1), watch("daily_loss", above=1), watch("performance", above=1)]
    assert count(watches=levels) - count() <= 50


# --------------------------------------------------------------------------------------- ways to say it


def test_in_yaml(tmp_path):
    file = tmp_path / "alerts.yaml"
    file.write_text(
        "watch:\n  levels:\n    - watch: price\n      symbol: AAA\n      above: 105\n      priority: high\n"
        "    - {watch: drawdown, above: 10 %}\n"
    )
    alerts = run(engine(feed(CRASH), steps=BUY), file)
    assert [a.priority for a in of(alerts, "watch.price")] == [Priority.HIGH] * 2
    assert one(alerts, "watch.drawdown").data["level"] == 10


def test_from_inside_a_strategy_and_what_is_wrong_is_said_in_the_log(caplog):
    class Mine(Notifier, Scripted):
        def __init__(self):
            self.watch(watch("price", above=119))
            self.watch("price", below=61)
            self.watch("drawdwn", above=10)
            self.watch("drawdown", abve=10)

    alerts = run(engine(feed(CRASH), strategy=Mine, steps={}))
    assert [a.title for a in of(alerts, "watch.price")] == [
        "AAA above 119: 120",
        "AAA below 61: 60",
        "AAA above 119: 120",
    ]
    logged = [r.getMessage() for r in caplog.records]
    assert len(logged) == 2
    assert "did you mean `drawdown`?; it is not watched" in logged[0]
    assert "unexpected keyword argument 'abve'" in logged[1]


def test_with_the_mixin_alone_the_settings_count():
    from bt_alerts import configure

    manager = configure({"watch": {"levels": [{"watch": "price", "above": 105}]}})
    engine(feed(CRASH), strategy=Told, steps={}).run()
    assert len(of(manager.alerts(), "watch.price")) == 2
    manager.close()


def test_only_watches_are_taken():
    with pytest.raises(TypeError, match=r"watches= takes what bt_alerts\.watch"):
        attach(engine(), {}, watches=["drawdown"])
    with pytest.raises(SettingsError, match=r"watch\('drawdown'\): `drawdown` needs a level: write `above: 10`"):
        watch("drawdown")
    made = watch("drawdown", above=10)
    assert made == watch("drawdown", above=10.0)
    assert len({made, watch("drawdown", above=10)}) == 1
    with pytest.raises(ValueError, match="frozen"):
        made.above = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(made)) == made


def test_events_silence_a_watch_or_its_end():
    levels = [watch("price", above=105, back=100), watch("drawdown", above=10)]
    alerts = run(
        engine(feed(CRASH), steps=BUY), events={"watch.price.back": "off", "watch.drawdown": "off"}, watches=levels
    )
    assert kinds(alerts, "watch.") == ["watch.price", "watch.price"]


def test_the_same_watch_twice_is_one():
    level = {"watch": "price", "above": 105}
    alerts = run(engine(feed(CRASH), steps={}), {"watch": {"levels": [level]}}, watches=[watch("price", above=105)])
    assert len(of(alerts, "watch.price")) == 2


# ------------------------------------------------------------------------------- several, resampled, live


def test_with_several_strategies_the_account_is_told_once_and_trades_by_each():
    cerebro = engine(feed(CRASH), strategy=None)
    cerebro.addstrategy(Scripted, steps=BUY)
    cerebro.addstrategy(Indicators)
    levels = [
        watch("drawdown", above=10), watch("price", above=119), watch("losses", above=1),
        watch("indicator", condition="fast > slow"), watch("indicator", condition="close > 110"),
    ]  # fmt: skip
    alerts = run(cerebro, watches=levels)
    assert kinds(alerts, "watch.drawdown", "watch.broken") == ["watch.drawdown", "watch.drawdown.back"]
    assert one(alerts, "watch.drawdown").strategy == "Scripted, Indicators"
    assert [a.strategy for a in of(alerts, "watch.price")] == ["Scripted, Indicators"] * 2
    by = {}
    for alert in of(alerts, "watch.indicator"):
        by.setdefault(alert.data["condition"], set()).add(alert.strategy)
    assert by == {
        "fast > slow": {"Indicators"}, "fast crosses above slow": {"Indicators"},
        "close > 110": {"Scripted", "Indicators"},
    }  # fmt: skip


@pytest.mark.parametrize("method", ["resampledata", "replaydata"])
def test_a_clone_is_not_told_again_but_can_be_named(method):
    def alerts(*levels):
        cerebro = engine(strategy=None)
        cerebro.datas.clear()
        cerebro.datasbyname.clear()
        source = cerebro.adddata(feed([100 + i % 40 for i in range(80)], step=MINUTE), name="AAA")
        getattr(cerebro, method)(source, timeframe=bt.TimeFrame.Minutes, compression=5)
        cerebro.addstrategy(Scripted, steps={})
        return run(cerebro, watches=levels)

    assert {a.symbol for a in of(alerts(watch("price", above=120)), "watch.price")} == {"AAA"}
    named = of(alerts(watch("price", above=120, symbol="AAA 5 Minutes")), "watch.price")
    assert {a.symbol for a in named} == {"AAA 5 Minutes"}
    assert len(named) == 2


def test_live_it_is_sent_and_on_old_bars_recorded():
    clock = Clock()
    script = live_script(clock, 8, backfill=4, close=lambda i: 100.0 + (i % 4) * 3)
    cerebro = engine(live_feed(clock, *script), strategy=Told, steps={})
    told, stored = messages(cerebro, live=True, clock=clock, watches=[watch("price", above=105, back=104)])
    history = [a for a in of(stored, "watch.price") if a.source is Source.HISTORY]
    live = [a for a in of(stored, "watch.price") if a.source is Source.LIVE]
    assert (len(history), len(live)) == (1, 2)
    sent = [
        (alert["kind"], alert["data"].get("resolves", False)) for alert in told if alert["kind"].startswith("watch.")
    ]
    assert sent.count(("watch.price", False)) == 2
    assert sent.count(("watch.price.back", True)) == 2
    assert live[0].time >= live[0].bar_time


def test_live_on_a_real_broker_positions_and_losses_are_seen():
    clock = Clock()
    closes = [100, 100, 100, 100, 90, 80, 70, 60, 50, 40]
    steps = {5: lambda s: s.buy(size=2), 8: lambda s: s.sell(size=2)}
    script = live_script(clock, 8, backfill=2, close=lambda i: float(closes[i]))
    cerebro = engine(live_feed(clock, *script), strategy=Told, steps=steps)
    cerebro.broker = Exchange()
    levels = [watch("position_drawdown", above=15), watch("losses", above=1)]
    _, stored = messages(cerebro, live=True, clock=clock, watches=levels)
    assert one(stored, "watch.position_drawdown").source is Source.LIVE
    assert one(stored, "watch.position_drawdown.back").title == "AAA: position closed"
    assert one(stored, "watch.losses").source is Source.LIVE


@pytest.mark.parametrize("maxcpus", [1, 2])
def test_in_an_optimisation_they_are_counted(maxcpus):
    cerebro = bt.Cerebro(stdstats=False, maxcpus=maxcpus)
    cerebro.adddata(feed(CRASH))
    cerebro.optstrategy(Scripted, steps=[{}, {}])
    cerebro.addanalyzer(AlertAnalyzer)
    manager = attach(
        cerebro, {"watch": {"levels": [{"watch": "price", "above": 105}]}}, watches=[watch("price", below=61)]
    )
    counts = [strategy.analyzers.alertanalyzer.get_analysis()["by_type"] for (strategy,) in cerebro.run()]
    assert [count["price"] for count in counts] == [5, 5]  # above twice and back, below and back
    assert manager.alerts() == []


def test_without_watches_nothing_looks_at_bars():
    cerebro = engine(
        feed(), strategy=Told, steps={5: lambda s: found.append(s.__dict__["_bt_alerts_capture"].watching)}
    )
    found: list[object] = []
    run(cerebro)
    assert found == [None]


def test_a_watch_is_a_settings_block():
    assert WatchLevel(watch="drawdown", above=10) == watch("drawdown", above=10)
