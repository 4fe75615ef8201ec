import datetime as dt
import itertools
import pickle

import backtrader as bt
import pytest

from bt_alerts.demo import feed as module
from bt_alerts.demo import prices
from bt_alerts.demo.feed import ScriptedFeed, bars, replay, shift_to_now


def bar(day, close=10.0):
    return ("bar", dt.datetime(2013, 1, day), close, close + 1, close - 1, close, 100)


SCRIPT = [
    ("status", "DELAYED"),
    bar(1),
    bar(2),
    ("status", "LIVE"),
    bar(3),
    ("wait", 2),
    ("status", "DISCONNECTED", "the line is down"),
    ("wait",),
    ("status", "LIVE"),
    bar(4),
]

TOLD = ["DELAYED", 1, 2, "LIVE", 3, "DISCONNECTED", "LIVE", 4]


class Diary(bt.Strategy):
    """What a strategy is told, in order: states by name, bars by their day."""

    def __init__(self):
        self.told = []
        self.details = []

    def notify_data(self, data, status, *details, **more):
        self.told.append(data._getstatusname(status))
        self.details += details

    def next(self):
        self.told.append(self.data.datetime.date(0).day)


def run(*feeds, strategy=Diary, **how):
    engine = bt.Cerebro(**how)
    for feed in feeds:
        engine.adddata(feed)
    engine.addstrategy(strategy)
    return engine.run()[0]


@pytest.mark.parametrize(
    "how",
    [{}, {"exactbars": 1}, {"exactbars": -1}, {"exactbars": -2}, {"oldsync": True}, {"quicknotify": True}],
    ids=str,
)
def test_states_and_bars_reach_the_strategy_in_the_order_of_the_script(how):
    strategy = run(ScriptedFeed(script=SCRIPT), **how)
    assert strategy.told == TOLD
    assert strategy.details == ["the line is down"]


def test_a_feed_plays_again_in_every_run():
    engine = bt.Cerebro()
    engine.adddata(ScriptedFeed(script=SCRIPT))
    engine.addstrategy(Diary)
    assert [engine.run()[0].told for _ in range(2)] == [TOLD, TOLD]


def test_cerebro_takes_it_for_live():
    engine = bt.Cerebro()
    feed = engine.adddata(ScriptedFeed(script=[bar(1)], name="X"))
    assert (feed.islive(), engine._dolive, feed._name) == (True, True, "X")


def test_a_bar_carries_all_its_numbers():
    class Bar(bt.Strategy):
        def next(self):
            data = self.data
            self.seen = [
                line[0] for line in (data.open, data.high, data.low, data.close, data.volume, data.openinterest)
            ]

    assert run(ScriptedFeed(script=[("bar", dt.datetime(2013, 1, 1), 2, 4, 1, 3, 50, 7)]), strategy=Bar).seen == [
        2, 4, 1, 3, 50, 7,
    ]  # fmt: skip
    assert run(ScriptedFeed(script=[("bar", dt.datetime(2013, 1, 1), 2, 4, 1, 3)]), strategy=Bar).seen[4:] == [0, 0]


def test_a_time_with_a_zone_is_turned_to_utc():
    tokyo = dt.timezone(dt.timedelta(hours=9))
    strategy = run(ScriptedFeed(script=[("bar", dt.datetime(2013, 1, 1, 12, tzinfo=tokyo), 1, 1, 1, 1)]))
    assert strategy.data.datetime.datetime(0) == dt.datetime(2013, 1, 1, 3)


def test_a_wait_lets_cerebro_go_round_without_a_bar():
    class Round(bt.Cerebro):
        rounds = 0

        def _storenotify(self):
            self.rounds += 1
            super()._storenotify()

    def rounds(*steps):
        engine = Round()
        engine.adddata(ScriptedFeed(script=[bar(1), *steps, bar(2)]))
        engine.addstrategy(Diary)
        assert engine.run()[0].told == [1, 2]
        return engine.rounds

    plain = rounds()
    assert rounds(("wait",)) == plain + 1
    assert rounds(("wait", 5)) == plain + 5
    assert rounds(("wait",), ("wait",)) == plain + 2


def test_a_wait_holds_back_one_of_two_feeds_for_the_round():
    class Both(bt.Strategy):
        def __init__(self):
            self.told = []

        def next(self):
            self.told.append(tuple(data.datetime.date(0).day for data in self.datas))

    one = ScriptedFeed(script=[bar(1), bar(2), bar(3)])
    two = ScriptedFeed(script=[bar(1), ("wait",), bar(2), bar(3)])
    # Cerebro asks a feed that gave nothing a second time in a round in which another gave a bar.
    assert run(one, two, strategy=Both).told == [(1, 1), (2, 1), (2, 2), (3, 3)]


def test_feeds_of_equal_times_come_together():
    class Both(bt.Strategy):
        def __init__(self):
            self.told = []

        def next(self):
            self.told.append([len(data) for data in self.datas])

    scripts = [[("status", "LIVE"), bar(1), bar(2), bar(3)], [bar(1), ("status", "LIVE"), bar(2), bar(3)]]
    assert run(*(ScriptedFeed(script=script) for script in scripts), strategy=Both).told == [[1, 1], [2, 2], [3, 3]]


class Hours:
    """In the place of ``time``: goes on only where somebody sleeps, and writes down how long."""

    def __init__(self):
        self.slept = []

    def monotonic(self):
        return 1000.0 + sum(self.slept)

    def sleep(self, seconds):
        self.slept.append(seconds)


@pytest.fixture
def hours(monkeypatch):
    hours = Hours()
    monkeypatch.setattr(module, "time", hours)
    return hours


class Unhurried(ScriptedFeed):
    """For cerebro too no time goes by between two questions: it would take that off ``qcheck``."""

    def do_qcheck(self, onoff, qlapse):
        super().do_qcheck(onoff, 0.0)


def test_a_wait_takes_the_time_of_qcheck_once_a_round(hours):
    run(Unhurried(script=[bar(1), ("wait", 3), bar(2)], qcheck=0.05))
    assert hours.slept == [0.05] * 3


def test_a_pause_takes_its_time_and_cerebro_goes_on(hours):
    seen = []
    script = [bar(1), ("call", lambda: seen.append((hours.monotonic(), feed._round))), ("pause", 0.25), bar(2)]
    script.append(("call", lambda: seen.append((hours.monotonic(), feed._round))))
    feed = ScriptedFeed(script=script, qcheck=0.03125)
    assert run(feed).told == [1, 2]
    assert hours.slept == [0.03125] * 8
    (began, first), (ended, last) = seen
    assert ended - began == 0.25
    assert last - first == 8


def test_what_is_raised_leaves_run_and_states_before_it_were_told():
    class Broken(RuntimeError):
        pass

    told = []
    engine = bt.Cerebro()
    feed = ScriptedFeed(script=[("status", "LIVE"), bar(1), ("raise", Broken("no more")), bar(2)])
    engine.adddata(feed)
    engine.adddatacb(lambda data, status, *_: told.append(data._getstatusname(status)))
    engine.addstrategy(Diary)
    with pytest.raises(Broken, match="no more"):
        engine.run()
    assert told == ["LIVE"]
    assert engine.runningstrats[0].told == ["LIVE", 1]


def test_a_call_and_on_bar_come_before_the_strategy_sees_the_bar():
    seen = []

    class Watch(bt.Strategy):
        def next(self):
            seen.append(("next", len(self)))

    run(
        ScriptedFeed(
            script=[("call", lambda: seen.append("called")), bar(1, 10.0), bar(2, 11.0)],
            on_bar=lambda feed: seen.append(("bar", feed.close[0])),
        ),
        strategy=Watch,
    )
    assert seen == ["called", ("bar", 10.0), ("next", 1), ("bar", 11.0), ("next", 2)]


def test_live_data_is_there_until_a_wait_a_pause_or_the_end():
    feed = ScriptedFeed(script=[bar(1), ("wait",), bar(2), ("pause", 0), bar(3)])
    seen = []
    feed.p.on_bar = lambda feed: seen.append(feed.haslivedata())
    assert feed.haslivedata()
    run(feed)
    assert seen == [False, False, False]
    assert not feed.haslivedata()


# ---------------------------------------------------------------------------------- resample, replay

WEEKS = {"timeframe": bt.TimeFrame.Weeks}


class Weekly(bt.Strategy):
    """The time and close of each bar of the second feed, once."""

    def __init__(self):
        self.weeks = []
        self.states = []

    def notify_data(self, data, status, *_, **__):
        self.states.append((data._name, data._getstatusname(status)))

    def next(self):
        week = (self.data1.datetime.date(0), self.data1.close[0])
        if week not in self.weeks:
            self.weeks.append(week)


def weeks(script, clone):
    engine = bt.Cerebro()
    feed = engine.adddata(ScriptedFeed(script=script, name="IBM"))
    getattr(engine, clone)(feed, name="week", **WEEKS)
    engine.addstrategy(Weekly)
    return engine.run()[0]


@pytest.mark.parametrize("clone", ["resampledata", "replaydata"])
def test_a_clone_makes_the_same_bars_with_and_without_waits(clone):
    days = bars(prices.load("IBM", "2013-01-02", "2013-02-08"))
    plain = weeks(days, clone)
    halting = weeks([step for day in days for step in (day, ("wait",))], clone)
    assert halting.weeks == plain.weeks
    if clone == "resampledata":
        assert [week.isoformat() for week, _ in plain.weeks] == [
            "2013-01-04", "2013-01-11", "2013-01-18", "2013-01-25", "2013-02-01", "2013-02-08",
        ]  # fmt: skip


@pytest.mark.parametrize("beside", [True, False], ids=["clone", "alone"])
def test_a_wait_in_old_minutes_does_not_close_the_five_minutes_they_are_in(beside):
    minutes = [("bar", dt.datetime(2013, 1, 2, 14, minute), 10, 11, 9, minute) for minute in range(1, 16)]

    def closes(script):
        engine = bt.Cerebro()
        feed = ScriptedFeed(script=script, timeframe=bt.TimeFrame.Minutes)
        if beside:
            engine.adddata(feed)
        engine.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=5)
        engine.addstrategy(bt.Strategy)
        data = engine.run()[0].datas[-1]
        return data.close.get(size=len(data))

    assert list(closes(minutes)) == [5, 10, 15]
    assert list(closes([step for minute in minutes for step in (minute, ("wait",))])) == [5, 10, 15]


def test_a_clone_never_tells_of_a_state():
    strategy = weeks(
        [("status", "DELAYED"), *bars(prices.load("IBM", "2013-01-02", "2013-01-31")), ("status", "LIVE")],
        "resampledata",
    )
    assert strategy.states == [("IBM", "DELAYED"), ("IBM", "LIVE")]
    assert strategy.data1._laststatus == bt.feed.DataBase.CONNECTED


def test_resampled_alone_it_still_tells_of_its_states():
    engine = bt.Cerebro()
    days = bars(prices.load("IBM", "2013-01-02", "2013-01-31"))
    engine.resampledata(ScriptedFeed(script=[("status", "DELAYED"), *days, ("wait",), ("status", "LIVE")]), **WEEKS)
    engine.addstrategy(Diary)
    assert engine.run()[0].told == ["DELAYED", 4, 11, 18, 25, "LIVE", 31]


def test_an_optimisation_can_pickle_it():
    feed = ScriptedFeed(script=SCRIPT)
    run(feed)
    assert pickle.loads(pickle.dumps(feed))._script == feed._script


class Count(bt.Strategy):
    params = (("period", 1),)

    def __init__(self):
        self.average = bt.indicators.SMA(period=self.p.period)


@pytest.mark.skipif(bt.__version__ < "1.9.78", reason="optstrategy of that Backtrader needs a Python before 3.10")
def test_it_can_be_optimised_over():
    engine = bt.Cerebro(maxcpus=2)
    engine.adddata(ScriptedFeed(script=SCRIPT))
    engine.optstrategy(Count, period=[1, 2])
    assert [result[0].p.period for result in engine.run()] == [1, 2]


# -------------------------------------------------------------------------------------- replay, clock


class Clock:
    def __init__(self):
        self.now = dt.datetime(2026, 3, 2, 15, 30, tzinfo=dt.UTC)

    def __call__(self):
        return self.now


def test_a_replay_goes_live_in_the_middle():
    frame = prices.load("MSFT", "2013-01-02", "2013-01-31")
    strategy = run(replay(frame, backfill=5, name="MSFT"))
    days = [when.day for when in frame.index]
    assert strategy.told == ["DELAYED", *days[:5], "LIVE", *days[5:]]
    assert strategy.data._name == "MSFT"
    assert strategy.data.close.get(size=len(frame)) == pytest.approx(frame["close"].tolist())


def test_with_a_clock_the_live_bars_are_dated_when_they_come():
    clock = Clock()
    ages = []

    class Ages(bt.Strategy):
        def next(self):
            ages.append(clock.now.replace(tzinfo=None) - self.data.datetime.datetime(0))
            clock.now += dt.timedelta(hours=1)

    frame = prices.load("MSFT", "2013-01-02", "2013-01-31")
    run(replay(frame.iloc[:6], backfill=3, clock=clock), strategy=Ages)
    hours = [round(age / dt.timedelta(hours=1), 3) for age in ages]
    assert hours == [48, 25, 2, 0, 0, 0]


def test_a_clock_that_stands_still_makes_no_two_bars_of_one_time():
    frame = prices.load("MSFT", "2013-01-02", "2013-01-31")
    strategy = run(replay(frame, backfill=5, clock=Clock()))
    times = strategy.data.datetime.get(size=len(frame))
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("timeframe", "compression", "apart"),
    [(bt.TimeFrame.Minutes, 5, dt.timedelta(minutes=5)), (bt.TimeFrame.Days, 1, dt.timedelta(days=1))],
)
def test_a_frame_can_be_moved_to_now(timeframe, compression, apart):
    frame = prices.load("IBM").tail(10)
    clock = Clock()
    moved = shift_to_now(frame, timeframe, clock, compression, live=2)
    now = clock.now.replace(tzinfo=None)
    assert moved.index.tolist() == [now + step * apart for step in range(-7, 3)]
    assert moved["close"].tolist() == frame["close"].tolist()
    assert frame.index[-1].year == 2013


def test_bars_without_a_length_cannot_be_dated():
    with pytest.raises(ValueError, match="Ticks have no length"):
        shift_to_now(prices.load("IBM").tail(2), bt.TimeFrame.Ticks, Clock())


# ------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (("stauts", "LIVE"), "no step 'stauts': there are status, bar, wait"),
        ((), "no step ''"),
        (("status", "ALIVE"), "no state 'ALIVE': there are CONNECTED, DISCONNECTED"),
        (("bar", dt.datetime(2013, 1, 1), 1, 2), "does not have the arguments of 'bar'"),
        (("bar", None, 1, 2, 1, 2), "needs the feed's clock"),
    ],
)
def test_a_wrong_step_is_told_before_the_run(step, words):
    with pytest.raises(ValueError, match=words):
        ScriptedFeed(script=[bar(1), step])


def test_a_wrong_parameter_is_told():
    with pytest.raises(TypeError, match="scirpt"):
        ScriptedFeed(scirpt=[])
