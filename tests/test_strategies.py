"""Every example in ``strategies/`` runs as it is, trades, and repeats itself."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import backtrader as bt
import pytest

from bt_alerts import attach
from bt_alerts.alert import utcnow
from bt_alerts.demo import prices
from bt_alerts.demo.feed import replay
from bt_alerts.demo.strategy import DemoStrategy

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "strategies").glob("*.py"))

#: At least so many fills in its nine years.
FILLS = {"sma_cross": 40, "rsi_volume": 60, "atr_breakout": 60, "pairs": 100, "drawdown_hold": 8}


@pytest.fixture(params=NAMES)
def example(request):
    name = f"strategies_{request.param}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "strategies" / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader looks a strategy's module up when it is made
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


class Fills(bt.Analyzer):
    def start(self):
        self.fills = []

    def notify_order(self, order):
        if order.status == order.Completed:
            self.fills.append((order.data._name, order.executed.dt, order.executed.size, order.executed.price))


def run(engine):
    engine.addanalyzer(Fills, _name="fills")
    strategy = engine.run()[0]
    return strategy.analyzers.fills.fills, engine.broker.getvalue()


def test_there_are_five_of_them():
    assert set(NAMES) == set(FILLS)


def test_it_trades_and_two_runs_are_the_same(example):
    fills, value = run(example.cerebro())
    assert len(fills) >= FILLS[Path(example.__file__).stem]
    assert value > 0
    assert run(example.cerebro()) == (fills, value)


def test_its_engine_runs_the_strategy_that_it_names(example):
    engine = example.cerebro()
    assert issubclass(example.STRATEGY, bt.Strategy)
    assert [strategy for ((strategy, _, _),) in engine.strats] == [example.STRATEGY]
    assert all(isinstance(data, bt.feeds.PandasData) for data in engine.datas)


def test_alerts_change_nothing_and_are_there_at_the_end(example):
    plain = run(example.cerebro())
    engine = example.cerebro()
    alerts = attach(engine)
    assert run(engine) == plain
    assert len(alerts.history()) > 0


def test_it_is_short(example):
    assert len(Path(example.__file__).read_text("utf-8").splitlines()) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_a_script(name, tmp_path):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "strategies" / f"{name}.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, columns = done.stdout.splitlines()[:2]
    assert first.startswith("Final value: ")
    assert columns.split() == ["time", "type", "symbol", "title"]
    assert list(tmp_path.iterdir()) == []


def test_the_strategy_of_the_demo_trades_on_a_live_feed_as_in_a_backtest():
    frame = prices.load("GOOG", "2011-01-03", "2012-12-31")
    ends = []
    for feed in (prices.feed("GOOG", "2011-01-03", "2012-12-31"), replay(frame, name="GOOG", clock=utcnow)):
        engine = bt.Cerebro()
        engine.adddata(feed)
        engine.addstrategy(DemoStrategy)
        engine.broker.setcash(100_000)
        fills, value = run(engine)
        ends.append(([(size, price) for _, _, size, price in fills], value))
    assert len(ends[0][0]) == 22
    assert ends[0][1] == pytest.approx(103_965.23, abs=0.01)
    assert ends[0] == ends[1]
