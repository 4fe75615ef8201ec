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
import dataclasses
import gc
import io
import os
import re
import sqlite3
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
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bt_alerts import Alert, AlertManager, AlertType, attach
from bt_alerts.alert import Source

BARS = 100_000
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = re.compile(r"(<!-- table: strategy_thread -->\n).*?(<!-- end -->)", re.DOTALL)

console = Console()


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; ``bound`` is the highest ratio that we allow ourselves."""

    what: str
    measured: str
    ratio: float
    bound: float | None = None
    unit: str = "×"

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return ""
        return "within" if self.ratio <= self.bound else "OUT OF BOUNDS"


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
        f"{plain:.2f} CPU seconds plain; pairs {', '.join(f'{r:.3f}' for r in ratios['memory'])}",
        statistics.median(ratios["memory"]),
        1.05,
    )
    yield Row(
        f"the same with {recorded:,} alerts made and written to SQLite at the end",
        f"pairs {', '.join(f'{r:.3f}' for r in ratios['sqlite'])}",
        statistics.median(ratios["sqlite"]),
    )


# ------------------------------------------------------------------------------------------------ live


def some_alerts(count: int) -> list[Alert]:
    """Alerts as the hooks make them."""
    return [
        Alert.make(
            "Bought 10 at 150.50, worth 1,505\nPosition: long 10 at 150.50",
            title="BUY AAPL filled",
            type=AlertType.ORDER,
            kind="order.completed",
            symbol="AAPL",
            strategy="SmaCross",
            run="benchmark",
            source=Source.LIVE,
            data={"order": i, "side": "buy", "size": 10, "price": 150.5, "commission": 1.5},
        )
        for i in range(count)
    ]


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


def bare_sqlite(path: Path) -> Callable[[Alert], object]:
    """An insert and a commit of the alert's JSON, and nothing else; the JSON is made inside, as ``emit`` makes it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE alerts (seq INTEGER PRIMARY KEY, body TEXT)")

    def insert(alert: Alert) -> None:
        body = alert.to_json()
        db.execute("BEGIN")
        db.execute("INSERT INTO alerts (body) VALUES (?)", (body,))
        db.execute("COMMIT")

    return insert


def rival() -> Callable[[Alert], object] | None:
    """AlgoTradeKit's notifier: queues a text in memory and returns. None where it is not installed."""
    try:
        from AlgoTradeKit.notify import WebhookNotifier
    except ImportError:
        return None
    # A port of loopback where nobody listens: what is measured is the call, not the delivery.
    notifier = WebhookNotifier({"bench": "http://127.0.0.1:9/"}, timeout=0.2)
    return lambda alert: notifier.send_text(f"{alert.title}\n{alert.message}", wait=False)


LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for order in sys.stdin:
    db.execute(order)
    print("done", flush=True)
"""


class SomebodyElse:
    """Another process that holds our database's write lock, or does not."""

    def __init__(self, store: Path) -> None:
        command = [sys.executable, "-c", LOCK, str(store)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, order: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def leave(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def percentile(values: Sequence[float], share: float) -> float:
    """Of a list of seconds, in microseconds."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1e6


def said(values: Sequence[float]) -> str:
    """Median and 99th percentile."""
    return f"{percentile(values, 0.5):.1f} µs, p99 {percentile(values, 0.99):.1f} µs"


def live(rounds: int, tick: Callable[[], None]) -> Iterator[Row]:
    """One ``emit`` against a bare insert and commit, and against the rival."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "alerts.db"
        manager = AlertManager({"store": str(store)})
        manager.emit(some_alerts(1)[0])
        manager.flush()
        bare, queue = bare_sqlite(folder / "bare.db"), rival()
        calls = {"bare": bare, "emit": manager.emit} | ({"rival": queue} if queue else {})
        quiet: dict[str, list[float]] = {who: [] for who in calls}
        paced: dict[str, list[float]] = {who: [] for who in calls}
        locked: list[float] = []
        other = SomebodyElse(store)
        for i in range(rounds):
            names = list(calls)
            names = names[i % len(names) :] + names[: i % len(names)]
            for who in names:
                quiet[who] += timed(calls[who], some_alerts(500), 0.0)
                manager.flush()
            for who in names:
                paced[who] += timed(calls[who], some_alerts(50), 0.002)
                manager.flush()
            other.do("BEGIN IMMEDIATE")
            locked += timed(manager.emit, some_alerts(500), 0.0)
            other.do("COMMIT")
            if not manager.flush(30) or manager.ledger().waiting:
                raise SystemExit("not every alert accepted while the database was locked arrived in the store")
            tick()
        other.leave()
        yield Row(
            "live emit ÷ bare sqlite3 insert + commit, median",
            f"{said(quiet['emit'])}; bare {said(quiet['bare'])}",
            percentile(quiet["emit"], 0.5) / percentile(quiet["bare"], 0.5),
            2.0,
        )
        yield Row("the same, p99", "", percentile(quiet["emit"], 0.99) / percentile(quiet["bare"], 0.99), 5.0)
        yield Row(
            "with 2 ms between two calls (cold caches), median",
            f"{said(paced['emit'])}; bare {said(paced['bare'])}",
            percentile(paced["emit"], 0.5) / percentile(paced["bare"], 0.5),
        )
        for against, words in (("bare", "bare"), ("emit", "emit without the lock")):
            yield Row(
                f"live emit while another process holds the database locked ÷ {words}, median",
                said(locked),
                percentile(locked, 0.5) / percentile(quiet[against], 0.5),
                1.5,
            )
        if queue is None:
            yield Row("AlgoTradeKit is not installed: pip install 'bt-alerts[bench]'", "", float("nan"))
        else:
            yield Row(
                "live emit ÷ AlgoTradeKit's in-memory notifier, median",
                f"AlgoTradeKit {said(quiet['rival'])}",
                percentile(quiet["emit"], 0.5) / percentile(quiet["rival"], 0.5),
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
        yield Row(f"{name}, after import backtrader", "", statistics.median(times[name]), bound_ms, "ms")
        yield Row(f"{name}, memory", "", statistics.median(memory[name]) - base, bound_mb, "MB")


# ----------------------------------------------------------------------------------------------- table


def machine() -> str:
    """The machine, named by cores and memory alone."""
    cores = os.cpu_count()
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else float("nan")
    )
    return f"{cores} cores, {memory:.0f} GiB of memory, CPython {sys.version.split()[0]}"


def shown(rows: Sequence[Row]) -> Table:
    """The table for the terminal."""
    table = Table(title=f"What alerts cost the strategy's thread ({machine()})")
    for name in ("measured", "value", "bound", "", "figures"):
        table.add_column(name, overflow="fold")
    for row in rows:
        bound = "" if row.bound is None else f"≤ {row.bound:g} {row.unit}"
        style = "bold red" if row.verdict.startswith("OUT") else None
        table.add_row(row.what, f"{row.ratio:.2f} {row.unit}", bound, row.verdict, row.measured, style=style)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table for the documentation."""
    lines = [
        f"Measured on {machine()}.",
        "",
        "| measured | value | bound | | figures |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        bound = "" if row.bound is None else f"≤ {row.bound:g} {row.unit}"
        lines.append(f"| {row.what} | {row.ratio:.2f} {row.unit} | {bound} | {row.verdict} | {row.measured} |")
    return "\n".join(lines) + "\n"


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
    console.print(shown(rows))
    if options.write:
        PAGE.write_text(MARK.sub(lambda found: found[1] + markdown(rows) + found[2], PAGE.read_text("utf-8")), "utf-8")
    sys.exit(1 if any(row.verdict.startswith("OUT") for row in rows) else 0)


if __name__ == "__main__":
    main()
