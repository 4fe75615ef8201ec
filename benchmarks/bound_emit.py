"""What an accepted alert costs the strategy's thread: quiet, and while others are at work in the same store."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from kit import Child, Row, median_ratio, micros, percentile
from measuring import Run, turns

PAUSE = 0.0015  # seconds between two alerts, so that each finds colder caches, as bars come
BUSY = 400  # alerts that the delivery thread still has to send when measuring begins
RATE = 200.0  # that the other process settles a second
LONGEST = 0.05  # seconds that emit may take, ever


def measured(run: Run) -> Iterator[Row]:
    """Each circumstance in a process of its own, in turns."""
    rounds, count = run.pick(16, 4), run.pick(250, 120)
    stores = {name: str(run.folder / f"emit-{name}.db") for name in ("quiet", "settled", "locked", "thread", "process")}
    ours: dict[str, dict[str, Any]] = {name: {"store": store} for name, store in stores.items()}
    ours["thread"]["url"] = f"{run.service.url}/emit-thread"
    ours["process"] |= {"url": f"{run.service.url}/emit-process", "worker": "process"}
    rivals = {
        "sqlite3": {"store": str(run.folder / "emit-sqlite3.db")},
        "QueueHandler": {},
        "huey": {"store": str(run.folder / "emit-huey.db")},
        "AlgoTradeKit": {},
    }
    wanted = {name: ("bt_alerts", options) for name, options in ours.items()} | {
        name: (name, options) for name, options in rivals.items()
    }
    with run.children(**wanted) as (children, missing):
        settlements = int(rounds * count * (PAUSE + 0.001) * RATE * 2) + 500
        others: dict[str, tuple[str, dict[str, Any]]] = {
            "settler": ("settler", {"store": stores["settled"], "count": settlements}),
            "locker": ("locker", {"store": stores["locked"]}),
        }
        with run.children(**others) as (other, _):
            took, rates, meanwhile = _rounds(run, children, other, rounds, count)
    yield from _rows(run, took, rates, meanwhile, missing)


def _rounds(
    run: Run, children: dict[str, Child], other: dict[str, Child], rounds: int, count: int
) -> tuple[dict[str, list[list[float]]], list[float], dict[str, float]]:
    """Seconds of each call by name and round; what the other process settled a second; what was sent meanwhile."""
    took: dict[str, list[list[float]]] = {name: [] for name in children}
    rates: list[float] = []
    meanwhile, sent = dict.fromkeys([name for name in ("thread", "process") if name in children], 0), 0
    for child in children.values():
        child.ask("accept", count=20, first=900_000)  # compiled, files open
        if child.role == "bt_alerts":
            child.ask("finish")
    for number in range(rounds):
        run.say(f"emit, round {number + 1} of {rounds}")
        for name in turns(list(children), number):
            child, first = children[name], number * (count + BUSY)
            if name == "settled":
                other["settler"].tell("settle", rate=RATE)
            elif name == "locked":
                other["locker"].ask("lock")
            elif name in {"thread", "process"}:
                child.ask("accept", count=BUSY, first=first + count)
                time.sleep(0.1)  # the first of them are planned, and sending is under way
                sent = len(run.service.arrivals(f"emit-{name}"))
            took[name].append(child.ask("accept", count=count, first=first, pause=PAUSE)["took"])
            if name in meanwhile:
                meanwhile[name] += len(run.service.arrivals(f"emit-{name}")) - sent
            if name == "settled":
                other["settler"].tell("stop")
                settled = other["settler"].answer()
                rates.append(settled["settled"] / settled["seconds"])
                other["settler"].answer()
            elif name == "locked":
                other["locker"].ask("unlock")
            if child.role == "bt_alerts" and not child.ask("finish")["finished"]:
                raise RuntimeError(f"not everything accepted ({name}) was planned and delivered")
    ledger = children["locked"].ask("ledger")
    if ledger["accepted"] != rounds * count + 20 or ledger["waiting"]:
        raise RuntimeError(f"alerts accepted while the database was locked are missing: {ledger}")
    return took, rates, {name: number / rounds for name, number in meanwhile.items()}


def _rows(
    run: Run,
    took: dict[str, list[list[float]]],
    rates: list[float],
    meanwhile: dict[str, float],
    missing: dict[str, str],
) -> Iterator[Row]:
    flat = {name: [value for each in rounds for value in each] for name, rounds in took.items()}
    p50 = {name: [percentile(each, 0.5) for each in rounds] for name, rounds in took.items()}
    p99 = {name: [percentile(each, 0.99) for each in rounds] for name, rounds in took.items()}
    words = {
        "quiet": "bt_alerts, quiet",
        "settled": "bt_alerts, another process settles 200/s",
        "locked": "bt_alerts, database locked",
        "thread": "bt_alerts, delivery thread busy",
        "process": "bt_alerts, worker: process busy",
        "sqlite3": "bare sqlite3 commit",
        "huey": "huey enqueue",
        "AlgoTradeKit": "AlgoTradeKit (memory)",
        "QueueHandler": "QueueHandler (memory)",
    }
    for name, values in flat.items():
        run.found("emit", words[name], [percentile(values, 0.5), percentile(values, 0.99), max(values)])

    def at_p99(name: str) -> float:
        return statistics.median(p99[name]) * 1e6

    quiet = micros(flat["quiet"])
    yield Row("live emit, quiet, p99", at_p99("quiet"), "µs", figures=quiet)
    yield Row(
        "live emit while another process settles 200 a second ÷ quiet, p99",
        median_ratio(p99["settled"], p99["quiet"]),
        most=2.0,
        figures=f"{micros(flat['settled'])}; {statistics.median(rates):.0f} settled a second",
    )
    yield Row(
        "live emit while another process holds the database locked, the longest; nothing lost",
        max(flat["locked"]) * 1e3,
        "ms",
        most=LONGEST * 1e3,
        figures=f"{micros(flat['locked'])}; {len(flat['locked']):,} of {len(flat['locked']):,} arrived in the store",
    )
    yield Row(
        "live emit while the delivery thread is busy, p99",
        at_p99("thread") / 1e3,
        "ms",
        figures=f"{micros(flat['thread'])}; {meanwhile['thread']:.0f} sent in each round of {len(took['thread'][0])}",
    )
    for what, by, most in (("p99", p99, 2.0), ("median", p50, None)):
        title = f"live emit with `worker: process` busy ÷ quiet, {what}"
        if "process" in missing:
            yield Row(title, None, most=most, skipped=missing["process"])
        else:
            yield Row(
                title,
                median_ratio(by["process"], by["quiet"]),
                most=most,
                figures=f"{micros(flat['process'])}; {meanwhile['process']:.0f} sent in each round",
            )
    for name, what in (
        ("sqlite3", "a bare sqlite3 insert + commit"),
        ("huey", "huey's enqueue on SQLite"),
        ("AlgoTradeKit", "AlgoTradeKit's notifier, in memory"),
        ("QueueHandler", "logging's QueueHandler, in memory"),
    ):
        if name in missing:
            yield Row(f"live emit ÷ {what}, median", None, skipped=missing[name])
        else:
            yield Row(f"live emit ÷ {what}, median", median_ratio(p50["quiet"], p50[name]), figures=micros(flat[name]))
