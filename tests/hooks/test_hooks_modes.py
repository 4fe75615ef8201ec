"""The hooks hold under every way in which Backtrader can be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import backtrader as bt
import pytest
from hooks_kit import DAY, MONDAY, ROUND_TRIP, Scripted, Told, engine, feed, kinds, of, one, ran, run

from bt_alerts import AlertAnalyzer, AlertingAnalyzer, AlertingObserver, Notifier, attach, default_manager

TOLD = [
    "strategy.started",
    "order.submitted", "order.accepted", "order.completed", "position.opened", "trade.opened",
    "order.submitted", "order.accepted", "trade.closed", "order.completed", "position.closed",
    "strategy.stopped",
]  # fmt: skip


class Own(Scripted):
    """Overrides everything and calls nobody."""

    def __init__(self):
        self.heard = []

    def start(self):
        pass

    def stop(self):
        pass

    def notify_order(self, order):
        self.heard.append(order.status)

    def notify_trade(self, trade):
        self.heard.append("trade")

    def notify_cashvalue(self, cash, value):
        pass

    def notify_fund(self, cash, value, fundvalue, shares):
        pass


class OwnTold(Notifier, Own):
    """The same, with the mixin."""


MODES = [
    {},
    {"runonce": False},
    {"preload": False},
    {"preload": False, "runonce": False},
    {"quicknotify": True},
    {"quicknotify": True, "runonce": False},
    {"exactbars": 1},
    {"exactbars": -1},
    {"exactbars": -2},
    {"cheat_on_open": True},
    {"oldsync": True},
    {"live": True},
    {"stdstats": True},
    {"tradehistory": True},
    {"objcache": True},
]


@pytest.mark.parametrize("how", MODES, ids=str)
@pytest.mark.parametrize("strategy", [Scripted, Own, Told, OwnTold])
def test_the_same_is_told_in_every_mode(how, strategy):
    alerts = run(engine(strategy=strategy, steps=ROUND_TRIP, **how))
    told = kinds(alerts)
    if how.get("quicknotify"):  # the broker tells of both orders of a bar at once, and of trades with them
        assert sorted(told) == sorted(TOLD)
    else:
        assert told == TOLD
    assert one(alerts, "trade.closed").data["pnl"] == 50.0


@pytest.mark.parametrize("how", MODES, ids=str)
def test_what_is_told_at_the_end_has_the_time_of_the_last_bar(how):
    class Last(Notifier, bt.Strategy):
        def stop(self):
            self.alert("done")

    alerts = run(engine(strategy=Last, **how))
    for kind in ("custom", "strategy.stopped"):
        assert one(alerts, kind).time.replace(tzinfo=None) == MONDAY + 29 * DAY


def test_what_the_strategy_itself_hears_is_the_same():
    plain = engine(strategy=Own, steps=ROUND_TRIP).run()[0].heard
    (with_hooks,), _ = ran(engine(strategy=Own, steps=ROUND_TRIP))
    assert with_hooks.heard == plain
    (with_mixin,) = engine(strategy=OwnTold, steps=ROUND_TRIP).run()
    assert with_mixin.heard == plain


def test_cheat_on_open_orders_are_told():
    class Cheats(bt.Strategy):
        def next_open(self):
            if len(self) == 5:
                self.buy(size=1, coo=True)

    alerts = run(engine(strategy=Cheats, cheat_on_open=True))
    assert one(alerts, "order.completed").data["fill_size"] == 1


def test_cheat_on_close_orders_are_told():
    cerebro = engine(steps=ROUND_TRIP)
    cerebro.broker.set_coc(True)
    assert kinds(run(cerebro)) == TOLD


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"exactbars": 1}], ids=str)
def test_several_feeds_are_told_by_their_names(how):
    steps = {
        3: lambda s: [s.buy(data=d, size=n) for n, d in enumerate(s.datas, 1)],
        8: lambda s: [s.close(data=d) for d in s.datas],
    }
    feeds = [feed(name="AAA"), feed([50] * 30, name="BBB"), feed(range(200, 230), name="CCC")]
    alerts = run(engine(*feeds, steps=steps, **how))
    assert [(a.symbol, a.data["pnl"]) for a in of(alerts, "trade.closed")] == [("AAA", 5), ("BBB", 0), ("CCC", 15)]


@pytest.mark.parametrize("method", ["resampledata", "replaydata"])
@pytest.mark.parametrize("how", [{}, {"runonce": False, "preload": False}], ids=str)
def test_resampled_and_replayed_feeds_are_told_by_names_of_their_own(method, how):
    if method == "replaydata":
        how = {**how, "preload": False}
    cerebro = bt.Cerebro(stdstats=False, **how)
    daily = cerebro.adddata(feed(range(100, 140)))
    getattr(cerebro, method)(daily, timeframe=bt.TimeFrame.Weeks)
    seen = []

    class Both(bt.Strategy):
        def next(self):
            seen.append(len(self))
            if len(seen) == 3:
                self.buy(data=self.data0, size=1)
                self.buy(data=self.data1, size=2)

    cerebro.addstrategy(Both)
    alerts = run(cerebro)
    assert one(alerts, "strategy.started").data["symbols"] == ["AAA", "AAA 1 Week"]
    assert {(a.symbol, a.data["fill_size"]) for a in of(alerts, "order.completed")} == {("AAA", 1), ("AAA 1 Week", 2)}


def test_two_strategies_of_one_class_are_two():
    cerebro = engine(strategy=Told, steps={3: lambda s: s.alert("one")})
    cerebro.addstrategy(Told, steps={3: lambda s: s.alert("two")})
    cerebro.addstrategy(Own, steps={})
    alerts = run(cerebro)
    assert [(a.strategy, a.message) for a in of(alerts, "custom")] == [("Told", "one"), ("Told-2", "two")]
    assert [a.strategy for a in of(alerts, "strategy.stopped")] == ["Told", "Told-2", "Own"]


def test_two_runs_with_the_mixin_alone_are_two():
    cerebro = engine(strategy=Told, steps=ROUND_TRIP)
    cerebro.run()
    cerebro.run()
    alerts = default_manager().alerts()
    first, second = dict.fromkeys(alert.run for alert in alerts)
    assert [kinds(alert for alert in alerts if alert.run == name) for name in (first, second)] == [TOLD, TOLD]


def test_two_runs_with_the_analyzer_alone_are_two_and_each_counts_its_own():
    cerebro = engine(steps=ROUND_TRIP)
    cerebro.addanalyzer(AlertAnalyzer)
    analyses = [cerebro.run()[0].analyzers.alertanalyzer for _ in range(2)]
    assert [sum(a.get_analysis()["by_type"].values()) for a in analyses] == [12, 12]
    assert len({a.get_analysis()["run"] for a in analyses}) == 2


# Lines and writers ---------------------------------------------------------------------------------------


class Plain(bt.Strategy):
    """Holds nothing but its lines."""

    def __init__(self):
        self.average = bt.indicators.SMA(period=3)

    def next(self):
        if len(self) == 5:
            self.buy(size=1)


class Lined(Plain):
    """Has a line of its own."""

    lines = ("mine",)
    params = (("own", 1),)

    def next(self):
        self.lines.mine[0] = len(self)
        super().next()


class Other:
    """A plain mixin of the user's."""


def pairs():
    """Classes with the mixin, and the plain ones that they must look like."""
    between = type("Between", (Notifier,), {"__module__": __name__})
    base = type("Base", (Notifier, bt.Strategy), {"__module__": __name__})
    yield "front", type("S", (Notifier, Plain), {}), Plain
    yield "behind", type("S", (Plain, Notifier), {}), Plain
    yield "own lines, front", type("S", (Notifier, Lined), {}), Lined
    yield "own lines, behind", type("S", (Lined, Notifier), {}), Lined
    yield "a base between", type("S", (between, Plain), {}), Plain
    yield "a common base", type("S", (base,), {"next": Plain.next}), type("S", (bt.Strategy,), {"next": Plain.next})
    yield "subclass", type("T", (type("S", (Notifier, Lined), {}),), {}), Lined
    yield "another mixin in front", type("S", (Other, Notifier, Plain), {}), type("S", (Other, Plain), {})
    yield "another mixin behind", type("S", (Notifier, Other, Plain), {}), Plain
    yield "signals, front", type("S", (Notifier, bt.SignalStrategy), {}), bt.SignalStrategy
    yield "signals, behind", type("S", (bt.SignalStrategy, Notifier), {}), bt.SignalStrategy


@pytest.mark.parametrize(("mixed", "plain"), [p[1:] for p in pairs()], ids=[p[0] for p in pairs()])
def test_lines_params_and_the_columns_of_a_writer_are_those_of_the_plain_strategy(mixed, plain, tmp_path):
    assert mixed.lines._getlines() == plain.lines._getlines()
    assert dict(mixed.params._getpairs()) == dict(plain.params._getpairs())
    assert columns(mixed, tmp_path) == columns(plain, tmp_path)


def columns(strategy, tmp_path, name="S", prepare=lambda cerebro: None):
    """The columns and rows that a writer makes, without the name of the class."""
    cerebro = engine(strategy=None)
    cerebro.addstrategy(strategy)
    out = tmp_path / "out.csv"
    cerebro.addwriter(bt.WriterFile, csv=True, out=str(out))
    prepare(cerebro)
    (ran_,) = cerebro.run()
    assert ran_.lines.datetime[0] == ran_.data.datetime[0]
    rows = [line.replace(strategy.__name__, name) for line in out.read_text().splitlines() if line[:1].isalnum()]
    return [str(ran_[0]), *(row for row in rows if row[0] == "I" or row[0].isdigit())]


def test_attach_changes_no_column_of_a_writer(tmp_path):
    plain = columns(Lined, tmp_path)
    assert len(plain) == 32
    assert plain[0] == "738915.0"  # self[0] of a strategy is its time
    assert len(plain) == 32
    assert plain[0] == "738915.0"  # self[0] of a strategy is its time
    assert columns(Lined, tmp_path, prepare=lambda cerebro: attach(cerebro, {})) == plain


def test_the_mixin_of_observers_changes_no_column_of_a_writer(tmp_path):
    class Range(bt.Observer):
        lines = ("span",)

        def next(self):
            self.lines.span[0] = 1.0

    told = [type("Range", (AlertingObserver, Range), {}), type("Range", (Range, AlertingObserver), {})]
    found = [columns(Plain, tmp_path, prepare=lambda c, o=o: c.addobserver(o)) for o in (Range, *told)]
    assert found[0] == found[1] == found[2]
    assert "span" in found[0][1]


def test_a_users_own_analyzer_keeps_its_params():
    class Mine(AlertingAnalyzer, bt.Analyzer):
        params = (("limit", 5),)

    cerebro = engine()
    cerebro.addanalyzer(Mine, limit=7)
    assert cerebro.run()[0].analyzers.mine.p.limit == 7


@pytest.mark.parametrize(
    "bases", [(Notifier, bt.SignalStrategy), (bt.SignalStrategy, Notifier)], ids=["front", "behind"]
)
def test_a_signal_strategy_trades_and_tells(bases):
    strategy = type("Sig", bases, {"__init__": add_cross, "__module__": __name__})
    plain = type("Sig", (bt.SignalStrategy,), {"__init__": add_cross, "__module__": __name__})
    closes = [100 + abs(10 - i % 20) for i in range(80)]
    values = []
    for each in (plain, strategy):
        cerebro = engine(feed(closes), strategy=None)
        cerebro.addstrategy(each)
        cerebro.run()
        values.append(cerebro.broker.getvalue())
    assert values[0] == values[1] != 10_000
    closed = of(default_manager().alerts(), "trade.closed")
    assert {alert.data["close_reason"] for alert in closed} == {"signal"}


def add_cross(self):
    self.signal_add(bt.SIGNAL_LONGSHORT, bt.indicators.CrossOver(self.data.close, bt.indicators.SMA(period=5)))


def test_signals_of_a_cerebro_are_told():
    closes = [100 + abs(10 - i % 20) for i in range(80)]

    class Above(bt.Indicator):
        lines = ("signal",)

        def __init__(self):
            self.lines.signal = self.data - bt.indicators.SMA(period=5)

    cerebro = engine(feed(closes), strategy=None)
    cerebro.add_signal(bt.SIGNAL_LONG, Above)
    alerts = run(cerebro)
    closed = of(alerts, "trade.closed")
    assert closed
    assert {alert.strategy for alert in closed} == {"SignalStrategy"}
    assert {alert.data["close_reason"] for alert in closed} == {"signal"}


def test_a_cerebro_without_a_strategy_runs():
    assert kinds(run(engine(strategy=None))) == ["strategy.started", "strategy.stopped"]


def test_timers_work_and_may_tell():
    class Timed(Notifier, bt.Strategy):
        def __init__(self):
            self.add_timer(when=bt.timer.SESSION_START, weekdays=[1])

        def notify_timer(self, timer, when, *args, **kwargs):
            self.alert("monday")

    assert len(of(run(engine(strategy=Timed)), "custom")) == 5


def test_the_old_names_of_the_notifications_work():
    class Old(bt.Strategy):
        def __init__(self):
            self.heard = 0

        def notify(self, order):
            self.heard += 1

        def next(self):
            if len(self) == 3:
                self.buy()

    (strategy,), alerts = ran(engine(strategy=Old))
    assert strategy.heard == 3
    assert len(of(alerts, "order.completed")) == 1


def test_a_subclass_of_cerebro_with_a_run_of_its_own_is_called():
    class Mine(bt.Cerebro):
        def run(self, *args, **kwargs):
            self.called = args, kwargs
            return super().run(**kwargs)

    cerebro = Mine(stdstats=False)
    cerebro.adddata(feed())
    with attach(cerebro, {}):
        cerebro.run("fast", runonce=False)
    assert cerebro.called == (("fast",), {"runonce": False})


def test_nothing_is_printed(capfd):
    cerebro = engine(strategy=Told, steps={**ROUND_TRIP, 5: lambda s: (s.alert("x"), s.signal("BUY"))})
    manager = attach(cerebro, {}, plot=True)
    cerebro.run()
    manager.alerts()
    manager.close()
    assert capfd.readouterr() == ("", "")


BARS = "".join(f"2024-01-{day:02d},{100 + day},{102 + day},{99 + day},{101 + day},1000,0\n" for day in range(1, 31))
BUYS = """
import backtrader as bt

class Buys(bt.Strategy):
    def next(self):
        if len(self) == 3:
            self.buy()
        if len(self) == 8:
            self.close()
"""


@pytest.mark.parametrize("way", ["a file of the package", "a file of one line"])
def test_btrun_takes_the_analyzer(way, tmp_path):
    import bt_alerts

    (tmp_path / "bars.csv").write_text("Date,Open,High,Low,Close,Volume,OpenInterest\n" + BARS)
    (tmp_path / "buys.py").write_text(BUYS)
    (tmp_path / "alerts.py").write_text("from bt_alerts import AlertAnalyzer\n")
    package = Path(bt_alerts.__file__).parent
    named = {"a file of the package": str(package / "__init__"), "a file of one line": "alerts"}[way]
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from backtrader.btrun import btrun; btrun()"
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-c", code, str(package.parent), "--nostdstats", "--data", "bars.csv",
            "--format", "btcsv", "--strategy", "buys:Buys", "--analyzer", f"{named}:AlertAnalyzer", "--pranalyzer",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip(" -") for line in done.stdout.splitlines()]
    assert {"AlertAnalyzer:", "order: 6", "trade: 2", "suppressed: 0"} <= set(lines)
    plain = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-c", code, str(package.parent), "--nostdstats", "--data", "bars.csv",
            "--strategy", "buys:Buys", "--analyzer", f"{named}:AlertAnalyzer",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "", "")
