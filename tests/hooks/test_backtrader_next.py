"""``backtrader_next`` in place of Backtrader: each test is a program of its own, for a process has one of the two."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("backtrader_next") is None, reason="pip install backtrader_next"
)

#: What every program begins with: a strategy, and prices as a frame.
BEGIN = """
import datetime as dt
import json
import sys

import backtrader_next as bt
import pandas as pd

from bt_alerts import Notifier, attach, watch
from bt_alerts.demo.feed import ScriptedFeed
from bt_alerts.testing import FakeService

frame = pd.DataFrame(
    {name: [100.0 + i % 7 for i in range(30)] for name in ("open", "high", "low", "close")} | {"volume": 1000.0},
    index=pd.date_range("2024-01-01", periods=30),
)


class Mine(Notifier, bt.Strategy):
    params = (("size", 10),)

    def next(self):
        if len(self) == 3:
            self.signal("BUY")
            self.buy(size=self.p.size)
        if len(self) == 8:
            self.close()
            self.alert("leaving")


def tell(**found):
    print(json.dumps(found))
"""


def program(code: str, begin: str = BEGIN) -> Any:
    """Run it; what it told last."""
    command = [sys.executable, "-W", "ignore", "-c", begin + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_backtest_records_what_it_would_have_told_and_trades_as_without() -> None:
    found = program("""
def value(alerts):
    cerebro = bt.Cerebro()
    cerebro.adddata(bt.feeds.PandasData(dataframe=frame), name="AAA")
    cerebro.addstrategy(Mine)
    manager = attach(cerebro, {}, watches=[watch("price", above=105)]) if alerts else None
    cerebro.run()
    return cerebro.broker.getvalue(), manager.alerts() if manager else []

plain, _ = value(False)
value, alerts = value(True)
tell(same=plain == value, kinds=[a.kind for a in alerts], sources=sorted({a.source.value for a in alerts}),
     engine="backtrader" in sys.modules)
""")
    assert found["same"]
    assert not found["engine"], "Backtrader itself is not imported beside it"
    assert found["sources"] == ["history"]
    told = [kind for kind in found["kinds"] if not kind.startswith(("order.submitted", "order.accepted", "watch"))]
    assert told == [
        "strategy.started", "signal", "order.completed", "position.opened", "trade.opened", "signal.status", "custom",
        "trade.closed", "order.completed", "position.closed", "strategy.stopped",
    ]  # fmt: skip
    assert "watch.price" in found["kinds"]


def test_a_live_feed_is_gated_and_each_alert_sent_once() -> None:
    found = program("""
now = dt.datetime(2024, 6, 3, 14, 0)
minute = dt.timedelta(minutes=1)

def step():
    global now
    now += minute

def bar(when, close):
    return ("bar", when, close, close + 1, close - 1, close, 100.0)

script = [("status", "DELAYED"), *(bar(now - (6 - i) * minute, 100.0 + i) for i in range(6)), ("status", "LIVE")]
for i in range(4):
    script += [("call", step), bar(now + (i + 1) * minute, 106.0 + i)]

cerebro = bt.Cerebro()
data = ScriptedFeed(script=script, clock=lambda: now, qcheck=0.0, timeframe=bt.TimeFrame.Minutes)
cerebro.adddata(data, name="AAA")
cerebro.addstrategy(Mine)
with FakeService() as service:
    config = {"alerts": {"webhook": {"enabled": True, "urls": service.url, "rate_limit": 0}}, "store": "memory"}
    with attach(cerebro, config, clock=lambda: now.replace(tzinfo=dt.UTC).timestamp()) as manager:
        cerebro.run()
        manager.flush(10)
        stored = [(a.kind, a.source.value) for a in manager.alerts()]
    bodies = [request.json() for request in service.requests]
sent = [body["data"]["kind"] for body in bodies if body["type"] != "bt_alerts.check"]
tell(sent=sorted(sent), history=[kind for kind, source in stored if source == "history"])
""")
    assert [kind for kind in found["sent"] if not kind.startswith("strategy")] == [
        "custom",
        "data.live",
        "trade.closed",
    ]
    assert {"signal", "order.completed"} <= set(found["history"])


def test_a_crash_is_told_and_raised() -> None:
    found = program("""
class Bad(bt.Strategy):
    def next(self):
        raise RuntimeError("no")

cerebro = bt.Cerebro()
cerebro.adddata(bt.feeds.PandasData(dataframe=frame), name="AAA")
cerebro.addstrategy(Bad)
manager = attach(cerebro, {})
try:
    cerebro.run()
except RuntimeError as exc:
    tell(raised=str(exc), titles=[a.title for a in manager.alerts() if a.kind == "error"])
""")
    assert found == {"raised": "no", "titles": ["Bad crashed: RuntimeError"]}


def test_an_optimisation_counts_by_parameter() -> None:
    found = program("""
cerebro = bt.Cerebro(maxcpus=1)
cerebro.adddata(bt.feeds.PandasData(dataframe=frame), name="AAA")
cerebro.optstrategy(Mine, size=[1, 2])
attach(cerebro, {})
runs = cerebro.run()
tell(told=[run[0].analyzers.alertanalyzer.get_analysis()["by_type"]["custom"] for run in runs])
""")
    assert found == {"told": [1, 1]}


@pytest.mark.parametrize(("taken", "given"), [("backtrader", "backtrader_next"), ("backtrader_next", "backtrader")])
def test_a_cerebro_of_the_other_engine_is_answered_with_what_to_do(taken: str, given: str) -> None:
    code = f"""
import json
import {taken}
from bt_alerts import attach
import {given} as other

class Mine(other.Cerebro):
    pass

try:
    attach(Mine(), {{}})
except TypeError as exc:
    print(json.dumps(str(exc)))
"""
    assert f"write `import {given}` above what imports bt_alerts" in program(code, begin="")
