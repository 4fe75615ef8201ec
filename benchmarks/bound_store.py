"""A store with a million alerts beside an empty one, and how fast the planner plans."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kit import Child, Row, median_ratio, micros
from measuring import Run, turns
from peers import some_alerts

from bt_alerts.alert import Alert, AlertType, Source
from bt_alerts.cli.reading import COUNTED
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.planner import Planner
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.outbox import history
from bt_alerts.outbox.base import DeliveryState, Outbox, Settlement
from bt_alerts.outbox.entries import Accepted, encode
from bt_alerts.outbox.history import Query
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.schema import VERSION
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.breaker import CLOSED
from bt_alerts.rules.pipeline import RuleSettings

DAYS = 365  # over which the million is spread
BATCH = 20_000
TOTAL = (1_000_000, 50_000)  # alerts in the big store, and with --quick
WAITING = (100_000, 5_000)
NOWHERE = "http://127.0.0.1:9/million"


# ----------------------------------------------------------------------------------- making a big store


def big_store(run: Run) -> Path:
    """A copy of a store with a million alerts, half of them delivered and half from backtests, and more that wait.

    It is made once.
    """
    count, waiting = run.pick(*TOTAL), run.pick(*WAITING)
    made = run.cache / f"alerts-{VERSION}-{count}-{waiting}.db"
    if not made.exists():
        run.cache.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        for leftover in run.cache.glob(f"{part.name}*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        _make(part, count, waiting, run.say)
        shutil.rmtree(part.with_name(f"{part.name}.journal"), ignore_errors=True)
        part.rename(made)
    copy = run.folder / "million.db"
    if not copy.exists():
        run.say("copying the big store")
        shutil.copyfile(made, copy)
    return copy


def _make(path: Path, count: int, waiting: int, say: Callable[[str], None]) -> None:
    outbox = SqliteOutbox(path)
    outbox._db.execute("PRAGMA synchronous = OFF")  # it is made, not kept: nothing depends on it yet
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(days=DAYS)
    step = dt.timedelta(days=DAYS) / count
    for start in range(0, count, BATCH):
        say(f"making a store with {count:,} alerts: {start:,}")
        outbox.record((_old(number, begin + number * step) for number in range(start, start + BATCH)), "history")
        outbox.idle()
    say("giving half of them a delivery")
    _deliver_half(outbox)
    say(f"planning {waiting:,} that wait")
    for start in range(0, waiting, BATCH):
        _plan(outbox, {"phone": _channel(NOWHERE)}, some_alerts(min(BATCH, waiting - start), start))
    outbox.close()


def _readdress(outbox: SqliteOutbox, url: str) -> None:
    """What waits is for the service of this run; its deliveries' time to live begins now."""
    (target,) = _channel(url).dispatcher.targets()
    with outbox._write() as db:
        db.execute("UPDATE targets SET target = ? WHERE channel = 'phone'", (target.key,))
        db.execute(
            "UPDATE deliveries SET target = ?, expires = ? WHERE channel = 'phone'", (target.key, time.time() + 1e6)
        )


def _old(number: int, when: dt.datetime) -> Alert:
    symbol = f"SYM{number % 50}"
    return Alert.make(
        f"Bought 10 at {100 + number % 100}.50, worth 1,505\nPosition: long 10 at 150.50",
        title=f"BUY {symbol} filled",
        type=(AlertType.ORDER, AlertType.TRADE, AlertType.SIGNAL, AlertType.ERROR)[number % 4],
        kind="order.completed",
        time=when,
        symbol=symbol,
        strategy=f"Strategy{number % 7}",
        run=f"run{number // 5000:06d}",
        source=Source.LIVE,
        data={"order": number, "side": "buy", "size": 10, "price": 150.5, "commission": 1.5},
    )


def _deliver_half(outbox: SqliteOutbox) -> None:
    """One goes the whole way; its rows are the pattern for the others, whatever columns there are."""
    channel = _channel("http://127.0.0.1:9/old", "old")
    now = time.time()
    _plan(outbox, {"old": channel}, some_alerts(1))
    claim = outbox.claim("old", "bench", now, 60.0, 0.0)
    assert claim is not None
    outbox.settle(claim, _sent(), "bench", now, now + 0.1)
    db = outbox._db
    for table, own in (
        ("deliveries", {"seq": "NULL", "key": "'msg_' || a.id", "alert": "a.seq", "settled": "a.time + 1"}),
        ("attempts", {"seq": "NULL", "delivery": "a.seq"}),
    ):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        # A settled row's delivery number is that of its alert here: one delivery an alert, in the same order.
        picks = ", ".join(own.get(column, f"p.{column}") for column in columns)
        which = "a.seq % 2 = 0" if table == "deliveries" else "a.seq IN (SELECT seq FROM deliveries)"
        db.execute("BEGIN")
        db.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {picks} FROM alerts a, "
            f"(SELECT * FROM {table} LIMIT 1) p WHERE {which}"
        )
        db.execute("COMMIT")
        outbox.idle()
    db.execute("BEGIN")
    db.execute("UPDATE alerts SET state = 'planned', reason = '' WHERE seq IN (SELECT alert FROM deliveries)")
    db.execute("COMMIT")
    outbox.idle()


def _channel(url: str, name: str = "phone") -> Channel:
    return Channel(name, WebhookDispatcher(url))


def _sent() -> Settlement:
    return Settlement(DeliveryState.DELIVERED, "sent", answered=True, breaker=CLOSED)


def _plan(
    outbox: SqliteOutbox, channels: dict[str, Channel], alerts: list[Alert], rules: RuleSettings | None = None
) -> float:
    """Journal and planner, as an engine runs them; returns the seconds that planning took."""
    assert outbox.journals is not None
    journal = Journal(outbox.journals)
    for alert in alerts:
        journal.append(encode(Accepted(alert, 0.0)))
    planner = Planner(outbox, rules or RuleSettings(), channels)
    began = time.perf_counter()
    read = planner.drain(journal)
    took = time.perf_counter() - began
    assert read == len(alerts)
    journal.close(drained_to=journal.end())
    planner.forget(journal)
    outbox.idle()
    return took


# ------------------------------------------------------------------------------------------ measurements


def planner(run: Run) -> Iterator[Row]:
    """Alerts a second from the journal into the store, each with the rules' decision and a delivery."""
    count, speeds = run.pick(6000, 2000), []
    for number in range(run.pick(5, 2)):
        run.say(f"planning, round {number + 1}")
        outbox = SqliteOutbox(run.folder / f"planner-{number}.db")
        speeds.append(count / _plan(outbox, {"phone": _channel("http://127.0.0.1:9/x")}, some_alerts(count)))
        outbox.close()
    run.found("planner", "alerts a second", statistics.median(speeds))
    yield Row(
        "alerts planned a second, SQLite",
        statistics.median(speeds),
        "/s",
        least=5000,
        figures=f"{min(speeds):,.0f} to {max(speeds):,.0f}",
        goal=True,
    )


def million(run: Run) -> Iterator[Row]:
    """``emit``, claim, the first page of history, and a start: in the big store and in an empty one."""
    big = big_store(run)
    total, waiting = run.pick(*TOTAL), run.pick(*WAITING)
    url = f"{run.service.url}/million"
    outbox = SqliteOutbox(big)
    _readdress(outbox, url)
    outbox.close()
    yield from _emitting(run, big, total)
    outbox = SqliteOutbox(big)
    run.say("planning with a big store")
    count = run.pick(6000, 2000)
    took = _plan(outbox, {"phone": _channel(url)}, some_alerts(count, 10_000_000))
    yield Row(f"alerts planned a second with {total:,} in the store", count / took, "/s")
    yield from _claiming(run, outbox, url, total, waiting)
    yield from _reading(run, outbox, total)
    outbox.close()
    yield from _starting(run, big, url, waiting)


def _emitting(run: Run, big: Path, total: int) -> Iterator[Row]:
    rounds, count = run.pick(12, 4), run.pick(250, 100)
    wanted = {
        "empty": ("bt_alerts", {"store": str(run.folder / "emit-empty.db")}),
        "big": ("bt_alerts", {"store": str(big)}),
    }
    took: dict[str, list[float]] = {name: [] for name in wanted}
    every: list[float] = []
    with run.children(**wanted) as (children, _):
        for number in range(rounds + 1):
            run.say(f"emit with a big store, round {number} of {rounds}")
            for name in turns(list(children), number):
                done = children[name].ask("accept", count=count, first=number * count, pause=0.001)["took"]
                children[name].ask("finish")
                if number:
                    took[name].append(statistics.median(done))
                    every += done if name == "big" else []
    yield Row(
        f"emit with {total:,} alerts in the store ÷ an empty one, median",
        median_ratio(took["big"], took["empty"]),
        most=1.2,
        figures=micros(every),
    )


def _claiming(run: Run, outbox: SqliteOutbox, url: str, total: int, waiting: int) -> Iterator[Row]:
    count = run.pick(600, 200)
    empty = SqliteOutbox(run.folder / "claim-empty.db")
    _plan(empty, {"phone": _channel(url)}, some_alerts(count + 20))
    claims: dict[str, list[float]] = {"empty": [], "big": []}
    settles: dict[str, list[float]] = {"empty": [], "big": []}
    for number in range(count + 20):
        for name in turns(["empty", "big"], number):
            store: Outbox = empty if name == "empty" else outbox
            now = time.time()
            began = time.perf_counter()
            claim = store.claim("phone", "bench", now, 60.0, 0.0)
            middle = time.perf_counter()
            assert claim is not None
            store.settle(claim, _sent(), "bench", now, now)
            if number >= 20:
                claims[name].append(middle - began)
                settles[name].append(time.perf_counter() - middle)
    empty.close()
    for what, by, most in (("claim", claims, 1.2), ("settle", settles, None)):
        yield Row(
            f"{what} with {total:,} alerts in the store and {waiting:,} pending ÷ an empty one, median",
            statistics.median(by["big"]) / statistics.median(by["empty"]),
            most=most,
            figures=f"{micros(by['big'])}; empty {micros(by['empty'])}",
        )


def _reading(run: Run, outbox: SqliteOutbox, total: int) -> Iterator[Row]:
    """What ``bt-alerts history`` reads: the newest fifty, and how many match."""
    rounds = run.pick(15, 5)
    asked = (
        ("first page of history", Query(limit=50), 50.0),
        ("the same, of one symbol", Query(symbol="SYM7", limit=50), None),
        ("the same, of the last run", Query(run="last", limit=50), None),
    )
    for what, query, most in asked:
        run.say(what)
        pages, counts = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            page = list(history.alerts(outbox, query))
            middle = time.perf_counter()
            assert page
            history.count(outbox, Query(symbol=query.symbol, run=query.run, limit=COUNTED))
            pages.append((middle - began) * 1e3)
            counts.append((time.perf_counter() - middle) * 1e3)
        both = statistics.median(one + other for one, other in zip(pages, counts, strict=True))
        yield Row(
            f"{what} with {total:,} alerts in the store, with the number that match",
            both,
            "ms",
            most,
            figures=f"page {statistics.median(pages):.1f} ms, counting {statistics.median(counts):.1f} ms",
        )


def _starting(run: Run, big: Path, url: str, waiting: int) -> Iterator[Row]:
    path = url.rpartition("/")[2]
    took = []
    for number in range(run.pick(4, 2)):
        run.say(f"start with {waiting:,} pending, {number + 1}")
        before = len(run.service.arrivals(path))
        child = Child("bt_alerts", store=str(big), url=url)
        began = child.ask("began")["began"]
        deadline = time.monotonic() + 60
        arrived: list[tuple[float, int]] = []
        while len(arrived) <= before and time.monotonic() < deadline:
            time.sleep(0.05)
            arrived = run.service.arrivals(path)
        child.kill()  # as a crash would: the next start has its leases to give back, too
        took.append(arrived[before][0] - began if len(arrived) > before else float("inf"))
    run.found("start", "seconds", took)
    yield Row(
        f"start with {waiting:,} pending, to the first delivery",
        statistics.median(took),
        "s",
        1.0,
        figures=", ".join(f"{each:.2f}" for each in took),
    )


def export(run: Run) -> Iterator[Row]:
    """Both formats at the same time, each in a process of its own."""
    big = big_store(run)
    run.say("exporting all alerts")
    files = {ending: run.folder / f"all.{ending}" for ending in ("jsonl", "csv")}
    wanted = {ending: ("exporter", {"store": str(big), "file": str(file)}) for ending, file in files.items()}
    with run.children(**wanted) as (children, _):
        for child in children.values():
            child.tell("export")
        done = {ending: child.answer() for ending, child in children.items()}
    for ending, found in done.items():
        os.unlink(files[ending])
        run.found("export", ending, found["mb"])
        yield Row(
            f"export of {run.pick(*TOTAL):,} alerts as {ending}, most memory",
            found["mb"],
            "MB",
            150,
            figures=f"{found['bytes'] / 1e6:,.0f} MB written in {found['seconds']:.0f} s",
        )
