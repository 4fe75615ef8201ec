"""An exception in any of the user's methods is told, stored first, and goes on to the caller as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import backtrader as bt
import pytest
from alerts_kit import until
from hooks_kit import (
    Clock,
    Scripted,
    Told,
    delivered,
    engine,
    feed,
    kinds,
    live_feed,
    live_script,
    of,
    one,
    run,
    tick,
    webhook,
)  # fmt: skip

from bt_alerts import AlertManager, Notifier, Priority, attach, default_manager
from bt_alerts.redact import register_secret
from bt_alerts.testing import FakeService

METHODS = [
    "__init__", "start", "prenext", "nextstart", "next", "next_open", "notify_order", "notify_trade",
    "notify_cashvalue", "notify_fund", "notify_timer", "stop",
]  # fmt: skip


class Boom(Exception):
    """Something that nobody catches."""


def breaking(*methods, base=bt.Strategy, boom=None):
    """A strategy that trades, and raises in one of its methods."""
    boom = boom or Boom("the exchange says 'no'")

    def fail(self, *args, **kwargs):
        raise boom

    class Breaks(base):
        def __init__(self):
            self.average = bt.indicators.SMA(period=4)
            self.add_timer(when=bt.timer.SESSION_START)

        def next(self):
            if len(self) == 6:
                self.buy(size=1)
            if len(self) == 9:
                self.close()

    for name in methods:
        setattr(Breaks, name, fail)
    return Breaks, boom


def crash(cerebro, boom, **settings):
    """Run until it raises; the manager."""
    manager = attach(cerebro, {}, **settings)
    with pytest.raises(type(boom)) as caught:
        cerebro.run()
    assert caught.value is boom
    return manager


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"quicknotify": True}, {"exactbars": 1}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_an_exception_in_a_strategy_is_a_critical_alert(method, how):
    strategy, boom = breaking(method)
    alerts = crash(engine(strategy=strategy, cheat_on_open=True, **how), boom).alerts()
    error = one(alerts, "error")
    assert error.priority is Priority.CRITICAL
    assert error.title == "Breaks crashed: Boom"
    # A phone shows the beginning: what happened, and where in the user's own code.
    assert error.message.startswith("the exchange says 'no'\ntest_hooks_errors.py, line ")
    assert "raise boom" in error.message.splitlines()[1]
    assert "backtrader/cerebro.py" not in error.message
    assert error.data["traceback"].startswith("Traceback")
    assert "in fail" in error.data["traceback"]
    assert (error.data["exception"], error.strategy) == ("Boom", "Breaks")
    begun = method not in ("__init__", "start")
    assert kinds(alerts, "strategy") == (["strategy.started", "strategy.stopped"] if begun else [])


@pytest.mark.parametrize("method", [m for m in METHODS if m != "__init__"])
@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"quicknotify": True}], ids=str)
def test_with_the_mixin_alone_it_is_told_as_well(method, how):
    class Base(Notifier, bt.Strategy):
        pass

    strategy, boom = breaking(method, base=Base)
    cerebro = engine(strategy=strategy, cheat_on_open=True, **how)
    with pytest.raises(Boom) as caught:
        cerebro.run()
    assert caught.value is boom
    assert len(of(default_manager().alerts(), "error")) == 1


@pytest.mark.parametrize("mixin", [False, True])
@pytest.mark.parametrize("method", ["notify_data", "notify_store"])
def test_an_exception_in_what_feeds_and_stores_say_is_told(method, mixin):
    class Base(Notifier, bt.Strategy):
        pass

    strategy, boom = breaking(method, base=Base if mixin else bt.Strategy)
    clock = Clock()
    cerebro = engine(live_feed(clock, ("status", "LIVE"), tick(clock)), strategy=strategy)
    cerebro.addstore(Talking())
    if mixin:
        with pytest.raises(Boom):
            cerebro.run()
        assert len(of(default_manager().alerts(), "error")) == 1
    else:
        assert len(of(crash(cerebro, boom, clock=clock).alerts(), "error")) == 1


class Talking(bt.Store):
    """A store that says one thing."""

    def start(self, data=None, broker=None):
        self._started = False
        super().start(data, broker)
        self.put_notification("hello")


@pytest.mark.parametrize(
    "method", ["__init__", "start", "next", "notify_order", "notify_trade", "stop", "get_analysis"]
)
def test_an_exception_in_an_analyzer_is_told(method):
    boom = Boom("analyzer")

    def fail(self, *args):
        raise boom

    analyzer = type("Bad", (bt.Analyzer,), {method: fail, "__module__": __name__})
    cerebro = engine(steps={3: lambda s: s.buy(), 6: lambda s: s.close()})
    cerebro.addanalyzer(analyzer)
    assert one(crash(cerebro, boom).alerts(), "error").data["what"] == "analyzer"


@pytest.mark.parametrize("method", ["__init__", "start", "next"])
def test_an_exception_in_an_observer_is_told(method):
    boom = Boom("observer")

    def fail(self, *args):
        raise boom

    observer = type("Bad", (bt.Observer,), {method: fail, "lines": ("x",), "__module__": __name__})
    cerebro = engine()
    cerebro.addobserver(observer)
    assert len(of(crash(cerebro, boom).alerts(), "error")) == 1


@pytest.mark.parametrize(("method", "how"), [("__init__", {}), ("next", {"runonce": False}), ("once", {})])
def test_an_exception_in_an_indicator_is_told(method, how):
    boom = Boom("indicator")

    def fail(self, *args):
        raise boom

    indicator = type("Bad", (bt.Indicator,), {method: fail, "lines": ("x",), "__module__": __name__})
    cerebro = engine(**how)
    cerebro.addindicator(indicator)
    assert len(of(crash(cerebro, boom).alerts(), "error")) == 1


def test_an_exception_in_a_sizer_is_told():
    boom = Boom("sizer")

    class Bad(bt.Sizer):
        def _getsizing(self, comminfo, cash, data, isbuy):
            raise boom

    cerebro = engine(steps={3: lambda s: s.buy()})
    cerebro.addsizer(Bad)
    assert one(crash(cerebro, boom).alerts(), "error").strategy == "Scripted"


def test_a_feed_that_breaks_is_told():
    boom = Boom("feed")
    clock = Clock()
    cerebro = engine(live_feed(clock, tick(clock), ("raise", boom)))
    assert one(crash(cerebro, boom, clock=clock).alerts(), "error").title == "Scripted crashed: Boom"


def test_the_alert_is_on_disk_before_the_exception_arrives(tmp_path):
    strategy, _ = breaking("next")
    cerebro = engine(strategy=strategy)
    attach(cerebro, {}, store=str(tmp_path / "alerts.db"))
    with pytest.raises(Boom):
        cerebro.run()
    with AlertManager({}, store=str(tmp_path / "alerts.db")) as other:
        assert len(of(other.alerts(), "error")) == 1


def test_what_was_told_in_init_before_it_raised_is_kept():
    boom = Boom("late")

    class Talks(Notifier, bt.Strategy):
        def __init__(self):
            self.alert("I am here")
            raise boom

    assert kinds(crash(engine(strategy=Talks), boom).alerts()) == ["custom", "error"]


def test_the_next_run_after_a_crash_is_a_run_like_any_other():
    strategy, boom = breaking("stop")
    cerebro = engine(strategy=strategy)
    manager = crash(cerebro, boom)
    del strategy.stop
    cerebro.run()
    (last,) = [a for a in of(manager.alerts(), "strategy.stopped") if a.run != one(manager.alerts(), "error").run]
    assert last.title == "Breaks stopped"


def test_with_the_mixin_alone_the_next_run_after_a_crash_is_one_too():
    strategy, _ = breaking("next", base=type("Base", (Notifier, bt.Strategy), {"__module__": __name__}))
    cerebro = engine(strategy=strategy)
    for _ in range(2):
        with pytest.raises(Boom):
            cerebro.run()
    alerts = default_manager().alerts()
    runs = sorted({alert.run for alert in alerts})
    assert len(runs) == 2
    for each in runs:
        assert kinds([a for a in alerts if a.run == each]) == ["strategy.started", "error", "strategy.stopped"]


def test_of_two_strategies_the_one_that_crashed_is_named():
    strategy, boom = breaking("next")
    cerebro = engine(strategy=Scripted)
    cerebro.addstrategy(strategy)
    alerts = crash(cerebro, boom).alerts()
    assert one(alerts, "error").strategy == "Breaks"
    assert kinds(alerts, "strategy.stopped") == ["strategy.stopped"] * 2


def test_an_exception_that_cannot_be_shown_is_told_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    strategy, boom = breaking("next", boom=Mute())
    assert one(crash(engine(strategy=strategy), boom).alerts(), "error").data["exception"] == "Mute"


def test_secrets_are_not_in_the_traceback():
    register_secret("hunter2-token")
    strategy, boom = breaking("next", boom=Boom("https://host/hunter2-token/x"))
    assert "hunter2" not in one(crash(engine(strategy=strategy), boom).alerts(), "error").to_json()


@pytest.mark.usefixtures("uncollected")
def test_the_end_of_recursion_is_told():
    class Deep(bt.Strategy):
        def next(self):
            self.next()

    manager = attach(cerebro := engine(strategy=Deep), {})
    with pytest.raises(RecursionError):
        cerebro.run()
    assert one(manager.alerts(), "error").strategy == "Deep"


@pytest.mark.parametrize("boom", [KeyboardInterrupt(), SystemExit(3)], ids=["ctrl-c", "exit"])
def test_an_interruption_is_told_as_one_and_no_error(boom):
    strategy, _ = breaking("next", boom=boom)
    alerts = crash(engine(strategy=strategy), boom).alerts()
    assert kinds(alerts, "error") == []
    assert one(alerts, "interrupted").title == "Breaks was interrupted"
    assert one(alerts, "strategy.stopped").data["why"] == type(boom).__name__
    assert one(alerts, "strategy.stopped").action == one(alerts, "interrupted").action


def test_runstop_ends_with_the_summary():
    alerts = run(engine(strategy=Told, steps={5: lambda s: s.env.runstop()}))
    assert one(alerts, "strategy.stopped").data["bars"] == 5


def test_runstop_of_a_live_run_flushes():
    clock = Clock()
    script = live_script(clock, 10)
    with FakeService() as service:
        cerebro = engine(live_feed(clock, *script), steps={6: lambda s: s.env.runstop()})
        manager = attach(cerebro, webhook(service), clock=clock)
        cerebro.run()
        assert "strategy.stopped" in {alert["kind"] for alert in delivered(service)}
        manager.close()


LIVE_FOREVER = """
    import datetime as dt, sys
    import backtrader as bt
    from bt_alerts import attach
    from bt_alerts.demo.feed import ScriptedFeed

    def now(): return dt.datetime.now(dt.UTC)

    class Waits(bt.Strategy):
        def next(self):
            open("ready", "w").close()

    cerebro = bt.Cerebro()
    cerebro.adddata(ScriptedFeed(
        script=[("status", "LIVE"), ("bar", None, 1, 1, 1, 1), ("pause", 60.0)], clock=now, name="AAA",
        timeframe=bt.TimeFrame.Minutes))
    cerebro.addstrategy(Waits)
    attach(cerebro, {"alerts": {"webhook": {"enabled": True, "urls": sys.argv[1]}}}, store="alerts.db")
    cerebro.run()
"""


def test_a_real_ctrl_c_of_a_live_run_is_delivered_and_ends_the_process_as_it_would(tmp_path):
    (tmp_path / "live.py").write_text(textwrap.dedent(LIVE_FOREVER), "utf-8")
    with FakeService() as service:
        root = str(Path(__file__).parents[2])
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "live.py", service.url],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        service.wait_for(3, timeout=30)  # started, live, the check of the channel
        until(lambda: (tmp_path / "ready").exists() or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert out == ""
        assert err.rstrip().endswith("KeyboardInterrupt")
        told = [alert["kind"] for alert in delivered(service)]
        assert told.count("interrupted") == 1
        assert "strategy.stopped" not in told  # the same action


def test_a_user_who_catches_the_exception_himself_is_not_disturbed():
    class Careful(Scripted):
        def next(self):
            try:
                raise Boom("mine")
            except Boom:
                pass

    assert kinds(run(engine(strategy=Careful)), "error") == []


def test_feeds_are_not_needed_for_a_run():
    cerebro = bt.Cerebro()
    manager = attach(cerebro, {})
    assert cerebro.run() == []
    assert manager.alerts() == []


def test_the_feed_is_kept_out_of_it_when_a_strategy_skips_itself():
    class Skips(bt.Strategy):
        def __init__(self):
            raise bt.errors.StrategySkipError

    cerebro = engine(feed(), strategy=Skips)
    assert run(cerebro) == []
