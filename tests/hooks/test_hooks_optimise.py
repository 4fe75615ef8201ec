"""Optimisations: nothing is sent, nothing is stored, and the counts travel back with the analyzers."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import backtrader as bt
import pytest
from hooks_kit import engine

from bt_alerts import attach
from bt_alerts.hooks.session import Session
from bt_alerts.testing import FakeService

STRATEGY = """
import backtrader as bt
from bt_alerts import Notifier

class Cross(bt.Strategy):
    params = (("period", 5), ("unused", 0))

    def __init__(self):
        self.cross = bt.indicators.CrossOver(self.data.close, bt.indicators.SMA(period=self.p.period))

    def next(self):
        if self.cross > 0 and not self.position:
            self.buy(size=1)
        elif self.cross < 0 and self.position:
            self.close()


class Told(Notifier, Cross):
    def next(self):
        if len(self) == 10:
            self.alert("ten", priority="high")
        super().next()


class Analyzed(bt.Analyzer):
    def notify_order(self, order):
        if order.status == order.Completed:
            self.rets["fills"] = self.rets.get("fills", 0) + 1
"""

MAIN = """
import json, logging, multiprocessing, os, sys
logging.basicConfig(stream=sys.stderr)
import backtrader as bt
import pandas as pd
import bt_alerts
from bt_alerts import AlertAnalyzer, attach, default_manager
import optimised

def main(hook, method, maxcpus, optreturn, strategy, url):
    if method != "none":
        multiprocessing.set_start_method(method)
    closes = [100 + abs(10 - i % 20) + i % 3 for i in range(90)]
    frame = pd.DataFrame({name: [float(c) for c in closes] for name in ("open", "high", "low", "close")},
                         index=pd.date_range("2024-01-01", periods=90)).assign(volume=1.0)
    cerebro = bt.Cerebro(maxcpus=maxcpus, optreturn=optreturn, stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.optstrategy(getattr(optimised, strategy), period=[4, 6, 9])
    cerebro.addanalyzer(optimised.Analyzed, _name="own")
    manager = None
    if hook == "attach":
        alerts = {"webhook": {"enabled": True, "urls": url}}
        manager = attach(cerebro, {"alerts": alerts}, store="alerts.db", mode="send")
    elif hook == "analyzer":
        cerebro.addanalyzer(AlertAnalyzer)
    called = []
    cerebro.optcallback(called.append)
    results = [strategy for (strategy,) in cerebro.run()]
    told = [r.analyzers.alertanalyzer.get_analysis() if hook != "plain" else {} for r in results]
    out = {
        "periods": [r.p.period for r in results],
        "fills": [r.analyzers.own.get_analysis() for r in results],
        "told": told,
        "called": len(called),
        "wrapped": sum("_notify" in vars(r) for r in results),
        "stored": len((manager or default_manager()).alerts()),
    }
    json.dump(out, open("out.json", "w"))

if __name__ == "__main__":
    hook, method, maxcpus, optreturn, strategy, url = sys.argv[1:]
    main(hook, method, int(maxcpus), optreturn == "True", strategy, url)
"""


def optimise(folder, hook, *, method="none", maxcpus=1, optreturn=True, strategy="Cross", url="http://127.0.0.1:9/"):
    """Run an optimisation in a process of its own; what came back."""
    (folder / "optimised.py").write_text(STRATEGY)
    (folder / "main.py").write_text(MAIN)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "main.py", hook, method, str(maxcpus), str(optreturn), strategy, url],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr[-2000:], done.returncode) == ("", "", 0)
    return json.loads((folder / "out.json").read_text())


WAYS = [("none", 1), ("fork", 2), ("spawn", 2)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return optimise(tmp_path_factory.mktemp("plain"), "plain")


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(("hook", "strategy"), [("attach", "Cross"), ("analyzer", "Told")])
def test_counts_travel_and_nothing_is_sent_or_stored(hook, strategy, way, tmp_path, plain):
    with FakeService() as service:
        found = optimise(tmp_path, hook, method=way[0], maxcpus=way[1], strategy=strategy, url=service.url)
        assert service.requests == []
    assert found["stored"] == 0
    for name in ("periods", "fills", "called"):
        assert found[name] == plain[name]
    for told, fills in zip(found["told"], plain["fills"], strict=True):
        assert told["by_type"]["order"] == 3 * fills["fills"]
        assert told["by_type"]["strategy"] == 2
        assert told["by_type"].get("custom", 0) == (strategy == "Told")
        assert sum(told["by_type"].values()) == sum(told["by_priority"].values())
        assert told["suppressed"] == 0
    assert len({told["run"] for told in found["told"]}) == 3


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(("hook", "strategy"), [("attach", "Cross"), ("analyzer", "Told")])
def test_whole_strategies_come_back_as_they_do_without_alerts(hook, strategy, way, tmp_path, plain):
    found = optimise(tmp_path, hook, method=way[0], maxcpus=way[1], optreturn=False, strategy=strategy)
    assert found["fills"] == plain["fills"]
    assert found["wrapped"] == 0
    assert [told["by_type"]["strategy"] for told in found["told"]] == [2, 2, 2]


def test_only_plain_values_of_a_session_are_pickled():
    cerebro = engine(steps={})
    manager = attach(cerebro, {}, live={"AAA": "never"}, events={"order.accepted": "off"})
    cerebro.run()
    session = pickle.loads(pickle.dumps(cerebro)).__dict__["_bt_alerts"]
    assert isinstance(session, Session)
    assert (session.live, session.events, session.guarded) == ({"AAA": "never"}, dict(manager.events), True)
    assert session.captures == []
    assert isinstance(session.cerebro, bt.Cerebro)
