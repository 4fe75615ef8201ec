"""What alerts cost the strategy's thread, as ratios within one run.

    python benchmarks/strategy_thread.py            # all of it, about three minutes
    python benchmarks/strategy_thread.py --quick    # the same with fewer repetitions
    python benchmarks/strategy_thread.py --write    # and write the table into docs/performance.md

Two things are measured. *A backtest*: an SMA 10/30 cross over 100,000 minute bars, without standard observers,
recording everything with ``attach``, against the same Cerebro with an analyzer whose ``notify_order`` and
``notify_trade`` only count; the runs alternate, and the median of the pairs' ratios counts. *Live*: one ``emit``, which
survives ``kill -9``, against a bare sqlite3 insert and commit (WAL, synchronous NORMAL) of the same JSON, in turns
and with the threads of planner and courier at work, and again while another process holds our database locked.

Times are of one machine and one hour; the ratios are what counts. Where AlgoTradeKit is installed (extra ``bench``),
its in-memory notifier is measured beside ours: it queues a text and returns, and what it holds goes with the process.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from absent import Unavailable
from kit import Child, Row, machine, markdown, micros, percentile, shown, write_into_page
from peers import AlgoTradeKit, BareSqlite, some_alerts
from rich.console import Console
from rich.progress import Progress

from bt_alerts import Alert, AlertManager, attach

BARS = 100_000

console = Console()


# ------------------------------------------------------------------------------------------ a backtest


class SmaCross(bt.Strategy):
    """The strategy of the measurement: one order a cross."""

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=10), bt.ind.SMA(period=30))

    def next(self) -> None:
        if self.cross[0] > 0:
            self.buy()
        elif self.cross[0] < 0 and self.position:
            self.close()


class Counting(bt.Analyzer):
    """The least that any hook would do."""

    def start(self) -> None:
        self.orders = self.trades = 0

    def notify_order(self, order: Any) -> None:
        self.orders += 1

    def notify_trade(self, trade: Any) -> None:
        self.trades += 1


def minute_bars() -> pd.DataFrame:
    """A random walk with a fixed seed."""
    steps = np.random.default_rng(1).normal(0, 0.0005, BARS)
    close = 100 * np.exp(np.cumsum(steps))
    index = pd.date_range("2024-01-01", periods=BARS, freq="min")
    return pd.DataFrame(
        {"open": close, "high": close * 1.0003, "low": close * 0.9997, "close": close, "volume": 1000.0}, index=index
    )


def run(frame: pd.DataFrame, *, alerts: bool, store: str = "memory") -> tuple[float, float, int]:
    """CPU seconds of ``cerebro.run()``, the final value, and how many alerts were recorded."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes), name="WALK")
    cerebro.addstrategy(SmaCross)
    manager = attach(cerebro, {"store": store}) if alerts else None
    if manager is None:
        cerebro.addanalyzer(Counting)
    gc.collect()
    began = time.process_time()  # of all our threads; what else runs on the machine disturbs it less than the clock
    strategies = cerebro.run()
    took = time.process_time() - began
    recorded = manager.ledger().accepted if manager is not None else 0
    if manager is not None:
        manager.close()
    return took, strategies[0].broker.getvalue(), recorded


def backtest(pairs: int, tick: Callable[[], None]) -> Iterator[Row]:
    """Recording against counting."""
    frame = minute_bars()
    run(frame, alerts=False)
    plain_times: list[float] = []
    ratios: dict[str, list[float]] = {"memory": [], "sqlite": []}
    for i in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            stores = {"memory": "memory", "sqlite": str(Path(folder) / "alerts.db")}
            order = ["plain", "memory", "sqlite"]
            order = order[i % 3 :] + order[: i % 3]  # whoever goes first finds a colder machine
            took: dict[str, float] = {}
            values = set()
            for name in order:
                took[name], value, recorded = run(frame, alerts=name != "plain", store=stores.get(name, ""))
                values.add(value)
                tick()
            if len(values) != 1:
                raise SystemExit(f"the results differ: {values}")
        plain_times.append(took["plain"])
        for name, found in ratios.items():
            found.append(took[name] / took["plain"])
    plain = statistics.median(plain_times)
    yield Row(
        "backtest recording everything ÷ an analyzer that counts",
        statistics.median(ratios["memory"]),
        most=1.05,
        figures=f"{plain:.2f} CPU seconds plain; pairs {', '.join(f'{r:.3f}' for r in ratios['memory'])}",
    )
    yield Row(
        f"the same with {recorded:,} alerts made and written to SQLite at the end",
        statistics.median(ratios["sqlite"]),
        figures=f"pairs {', '.join(f'{r:.3f}' for r in ratios['sqlite'])}",
    )


# ------------------------------------------------------------------------------------------------ live


def timed(work: Callable[[Alert], object], alerts: Sequence[Alert], rest: float) -> list[float]:
    """Seconds of each call; ``rest`` seconds between two, as bars come."""
    took = []
    for alert in alerts:
        began = time.perf_counter()
        work(alert)
        took.append(time.perf_counter() - began)
        if rest:
            time.sleep(rest)
    return took


def rival() -> Callable[[Alert], object] | None:
    """AlgoTradeKit's notifier: queues a text in memory and returns. None where it is not installed."""
    try:
        return AlgoTradeKit(timeout=0.2).accept
    except Unavailable:
        return None


def live(rounds: int, tick: Callable[[], None]) -> Iterator[Row]:
    """One ``emit`` against a bare insert and commit, and against the rival."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "alerts.db"
        manager = AlertManager({"store": str(store)})
        manager.emit(some_alerts(1)[0])
        manager.flush()
        bare = BareSqlite(store=str(folder / "bare.db")).accept
        queue = rival()
        calls: dict[str, Callable[[Alert], object]] = {"bare": bare, "emit": manager.emit}
        if queue is not None:
            calls["rival"] = queue
        quiet: dict[str, list[float]] = {who: [] for who in calls}
        paced: dict[str, list[float]] = {who: [] for who in calls}
        locked: list[float] = []
        other = Child("locker", store=str(store))
        for i in range(rounds):
            names = list(calls)
            names = names[i % len(names) :] + names[: i % len(names)]
            for who in names:
                quiet[who] += timed(calls[who], some_alerts(500), 0.0)
                manager.flush()
            for who in names:
                paced[who] += timed(calls[who], some_alerts(50), 0.002)
                manager.flush()
            other.ask("lock")
            locked += timed(manager.emit, some_alerts(500), 0.0)
            other.ask("unlock")
            if not manager.flush(30) or manager.ledger().waiting:
                raise SystemExit("not every alert accepted while the database was locked arrived in the store")
            tick()
        other.close()
        yield Row(
            "live emit ÷ bare sqlite3 insert + commit, median",
            percentile(quiet["emit"], 0.5) / percentile(quiet["bare"], 0.5),
            most=2.0,
            figures=f"{micros(quiet['emit'])}; bare {micros(quiet['bare'])}",
        )
        yield Row("the same, p99", percentile(quiet["emit"], 0.99) / percentile(quiet["bare"], 0.99), most=5.0)
        yield Row(
            "with 2 ms between two calls (cold caches), median",
            percentile(paced["emit"], 0.5) / percentile(paced["bare"], 0.5),
            figures=f"{micros(paced['emit'])}; bare {micros(paced['bare'])}",
        )
        for against, words in (("bare", "bare"), ("emit", "emit without the lock")):
            yield Row(
                f"live emit while another process holds the database locked ÷ {words}, median",
                percentile(locked, 0.5) / percentile(quiet[against], 0.5),
                most=1.5,
                figures=micros(locked),
            )
        what = "live emit ÷ AlgoTradeKit's in-memory notifier, median"
        if queue is None:
            yield Row(what, None, skipped='it is not installed: pip install "bt-alerts[bench]"')
        else:
            yield Row(
                what,
                percentile(quiet["emit"], 0.5) / percentile(quiet["rival"], 0.5),
                figures=f"AlgoTradeKit {micros(quiet['rival'])}",
            )
        manager.close()


# ----------------------------------------------------------------------------------- import and memory

PROBE = """
import sys, time, resource
import backtrader
began = time.perf_counter()
{statement}
took = (time.perf_counter() - began) * 1000
for line in open("/proc/self/status") if sys.platform == "linux" else []:
    if line.startswith("VmRSS"):
        print(took, int(line.split()[1]) / 1024)
        break
else:
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def importing(rounds: int, tick: Callable[[], None]) -> Iterator[Row]:
    """Milliseconds and MB that importing adds to ``import backtrader``."""
    statements = {
        "import bt_alerts": "import bt_alerts",
        "from bt_alerts import attach, Notifier": "from bt_alerts import attach, Notifier",
        "nothing": "pass",
    }
    times: dict[str, list[float]] = {name: [] for name in statements}
    memory: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            out = subprocess.run(
                [sys.executable, "-c", PROBE.format(statement=statement)], capture_output=True, text=True, check=True
            ).stdout.split()
            times[name].append(float(out[0]))
            memory[name].append(float(out[1]))
        tick()
    base = statistics.median(memory["nothing"])
    for name, bound_ms, bound_mb in (
        ("import bt_alerts", 30.0, 10.0),
        ("from bt_alerts import attach, Notifier", None, None),
    ):
        yield Row(f"{name}, after import backtrader", statistics.median(times[name]), "ms", bound_ms)
        yield Row(f"{name}, memory", statistics.median(memory[name]) - base, "MB", bound_mb)


# ----------------------------------------------------------------------------------------------- table


def main() -> None:
    """Measure, print, and exit with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    pairs, rounds, imports = (3, 4, 5) if options.quick else (7, 20, 15)
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=3 * pairs + rounds + imports)

        def tick() -> None:
            progress.advance(task)

        with contextlib.redirect_stdout(io.StringIO()):  # the rival prints what it could not deliver
            for part in (live(rounds, tick), backtest(pairs, tick), importing(imports, tick)):
                rows += part
    console.print(shown("What alerts cost the strategy's thread", rows))
    if options.write:
        write_into_page("strategy_thread", f"Measured on {machine()}.\n\n{markdown(rows)}")
    sys.exit(1 if any(row.out_of_bounds for row in rows) else 0)


if __name__ == "__main__":
    main()
