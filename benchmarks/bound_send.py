"""From an accepted alert to the service that has it: how many a second, how soon, and what waiting costs."""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from kit import Row, median_ratio, percentile
from measuring import Run, turns

SLOW = 200  # milliseconds that a slow service takes
SENDERS = ("bt_alerts", "requests.Session", "QueueHandler", "huey", "Apprise")


def throughput(run: Run) -> Iterator[Row]:
    """Accept so many, until all are delivered, one channel; the same service for everybody."""
    rounds, count = run.pick(30, 5), run.pick(200, 150)
    wanted = {
        name: (name, {"url": f"{run.service.url}/fast/{name}", "store": str(run.folder / f"send-{name}.db")})
        for name in SENDERS
    }
    paced = {"AlgoTradeKit": ("AlgoTradeKit", {"url": f"{run.service.url}/fast/AlgoTradeKit"})}
    with run.children(**wanted, **paced) as (children, missing):
        speeds: dict[str, list[float]] = {name: [] for name in children}
        cpu: dict[str, list[float]] = {name: [] for name in children}
        for name in children:
            if name in wanted:
                children[name].ask("send", count=20, first=900_000)  # connected and compiled
        for number in range(rounds):
            run.say(f"sending, round {number + 1} of {rounds}")
            for name in turns([name for name in children if name in wanted], number):
                used = children[name].ask("cpu")["seconds"]
                done = children[name].ask("send", count=count, first=number * count)
                if not done["finished"]:
                    raise RuntimeError(f"{name} did not deliver everything")
                speeds[name].append(count / done["seconds"])
                cpu[name].append((children[name].ask("cpu")["seconds"] - used) / count * 1e3)
        for _ in range(run.pick(2, 1) if "AlgoTradeKit" in children else 0):
            few = run.pick(40, 25)
            done = children["AlgoTradeKit"].ask("send", count=few, first=len(speeds["AlgoTradeKit"]) * few)
            speeds["AlgoTradeKit"].append(few / done["seconds"])
    arrived = {number for _, number in run.service.arrivals("fast/bt_alerts")}
    if len(arrived) != rounds * count + 20:
        raise RuntimeError(f"{len(arrived)} of {rounds * count + 20} alerts of ours arrived")
    ours = statistics.median(speeds["bt_alerts"])
    for name, values in speeds.items():
        run.found("sending", name, statistics.median(values))
    for name, words, least in (
        ("requests.Session", "a bare requests.Session loop", 0.75),
        ("Apprise", "Apprise", 1.5),
        ("huey", "huey on SQLite with a requests task", None),
        ("QueueHandler", "logging's QueueHandler and a session, in memory", None),
    ):
        what = f"one channel through the durable outbox, messages a second ÷ {words}"
        if name in missing:
            yield Row(what, None, least=least, skipped=missing[name])
            continue
        used_by = f"CPU {statistics.median(cpu['bt_alerts']):.2f} / {statistics.median(cpu[name]):.2f} ms each"
        figures = f"{ours:,.0f} / {statistics.median(speeds[name]):,.0f} a second; {used_by}"
        yield Row(what, median_ratio(speeds["bt_alerts"], speeds[name]), least=least, figures=figures)
    what = "the same ÷ AlgoTradeKit's notifier, which paces itself at 10 a second"
    if "AlgoTradeKit" in missing:
        yield Row(what, None, skipped=missing["AlgoTradeKit"])
    else:
        theirs = statistics.median(speeds["AlgoTradeKit"])
        yield Row(what, ours / theirs, figures=f"{ours:,.0f} / {theirs:,.0f} a second")


def parallel(run: Run) -> Iterator[Row]:
    """One alert to four services, each of which takes its time."""
    rounds = run.pick(15, 5)
    names = ("one", "two", "three", "four")

    def channels(who: str) -> dict[str, str]:
        return {name: f"{run.service.url}/slow/{SLOW}/{who}/{name}" for name in names}

    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "bt_alerts": ("bt_alerts", {"store": str(run.folder / "parallel.db"), "channels": channels("ours")}),
        "Apprise": ("Apprise", {"channels": channels("apprise")}),
    }
    ratios: list[float] = []
    totals: dict[str, list[float]] = {name: [] for name in wanted}
    with run.children(**wanted) as (children, _):
        for number in range(rounds + 1):
            run.say(f"four slow channels, round {number} of {rounds}")
            for name, child in children.items():
                done = child.ask("one", first=number)
                if name == "bt_alerts" and done["delivered"] != len(names):
                    raise RuntimeError(f"{done['delivered']} of {len(names)} channels have it")
                if number:  # the first connects and compiles
                    totals[name].append(done["total"])
                    if name == "bt_alerts":
                        ratios.append(done["total"] / done["slowest"])
    for name, values in totals.items():
        if values:
            run.found("four channels", name, statistics.median(values))
    rival = f"; Apprise {statistics.median(totals['Apprise']) * 1e3:.0f} ms" if totals["Apprise"] else ""
    yield Row(
        f"one alert to four channels of {SLOW} ms each, until the last has it ÷ the slowest",
        statistics.median(ratios),
        most=1.15,
        figures=f"{statistics.median(totals['bt_alerts']) * 1e3:.0f} ms in all{rival}",
    )


def latency(run: Run) -> Iterator[Row]:
    """From ``emit`` in a process at rest until the service has answered; planning waits a little for a burst to end."""
    count, dice = run.pick(100, 30), random.Random(4)
    options = {"store": str(run.folder / "latency.db"), "url": f"{run.service.url}/latency"}
    for worker in ("thread", "process"):
        wanted = {"it": ("bt_alerts", {**options, "worker": worker, "store": f"{options['store']}.{worker}"})}
        what = f"idle to delivered, loopback, `worker: {worker}`, p50"
        most = 10.0 if worker == "thread" else None
        with run.children(**wanted) as (children, missing):
            if missing:
                yield Row(what, None, "ms", most, skipped=missing["it"])
                continue
            totals = []
            for number in range(count + 3):
                time.sleep(dice.uniform(0.03, 0.08))
                run.say(f"idle to delivered ({worker}), {number} of {count}")
                totals.append(children["it"].ask("one", first=number)["total"] * 1e3)
            totals = totals[3:]
        run.found("idle to delivered", worker, totals)
        figures = f"p99 {percentile(totals, 0.99):.1f} ms, longest {max(totals):.1f} ms"
        yield Row(what, percentile(totals, 0.5), "ms", most, figures=figures)


def idle(run: Run) -> Iterator[Row]:
    """CPU time of processes that have nothing to do, all at the same time."""
    seconds = run.pick(30, 6)
    store, url = run.folder / "idle-external.db", f"{run.service.url}/idle"
    config = run.folder / "idle.yaml"
    config.write_text(
        f"store: {store}\nalerts:\n  phone: {{type: webhook, urls: [{url}]}}\ndelivery: {{worker: external}}\n"
    )
    ours = {"url": url}
    wanted = {
        "thread": ("bt_alerts", {**ours, "store": str(run.folder / "idle-thread.db")}),
        "process": ("bt_alerts", {**ours, "store": str(run.folder / "idle-process.db"), "worker": "process"}),
    }
    command = [sys.executable, "-m", "bt_alerts", "worker", "--config", str(config)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with run.children(**wanted) as (children, missing):
            watched = {name: [psutil.Process(child.pid)] for name, child in children.items()}
            for child in children.values():
                child.ask("send", count=3)
            time.sleep(3.0)  # started up and at rest
            for name in watched:
                if name == "process":
                    watched[name] += watched[name][0].children(recursive=True)
            if worker.poll() is None:
                watched["worker"] = [psutil.Process(worker.pid)]
            else:
                missing["worker"] = f"the command ended with {worker.returncode}"
            before = {name: _cpu(processes) for name, processes in watched.items()}
            run.say(f"watching idle workers for {seconds} s")
            time.sleep(seconds)
            after = {name: _cpu(processes) for name, processes in watched.items()}
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
    for name, words in (
        ("thread", "a process that delivers in a thread"),
        ("process", "a process with its child (`worker: process`)"),
        ("worker", "`bt-alerts worker`"),
    ):
        what = f"CPU of {words}, idle for {seconds} s"
        if name in missing:
            yield Row(what, None, "%", 0.2, skipped=missing[name])
            continue
        used = after[name] - before[name]
        run.found("idle", name, 100 * used / seconds)
        yield Row(what, 100 * used / seconds, "%", 0.2, figures=f"{used * 1e3:.0f} ms of CPU")


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(_cpu_of(process) for process in processes)


def _cpu_of(process: psutil.Process) -> float:
    """Seconds; on Linux to the nanosecond where the system counts them, and else to a hundredth."""
    with contextlib.suppress(OSError, ValueError):
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        if nanoseconds := sum(int(thread.read_text().split()[0]) for thread in threads):
            return nanoseconds / 1e9
    return float(sum(process.cpu_times()[:2]))
