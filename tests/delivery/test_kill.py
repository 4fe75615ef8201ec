"""Processes killed with SIGKILL at random moments: what ``emit`` accepted arrives; only what was in flight, twice.

Strategies go on emitting, each on its own journal and all on one store, while one process after the other is killed and
replaced: strategies, the processes that deliver for them, workers. How much was in flight is not guessed: each process
is stopped first, and what it has leased is read from the store.

The short form is part of the suite; ``make kill`` runs three hundred.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import chaos_kit
import pytest
from alerts_kit import python, rest, until, webhook
from chaos_kit import Child, Nursery, audit, come_to_rest, end_workers, settings_for

from bt_alerts import AlertManager
from bt_alerts.outbox.base import Outbox
from bt_alerts.settings import load
from bt_alerts.settings.store import open_store
from bt_alerts.testing import FakeService

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

STRATEGIES, WORKERS = 2, 2
LONGEST_LIFE = 0.6  # seconds between two kills
FASTEST = 0.02  # seconds between two alerts of one strategy
ALERTS = 300


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


# Everybody, again and again --------------------------------------------------------------------------


@dataclasses.dataclass
class City:
    """Some strategies and whoever delivers for them, on one store."""

    nursery: Nursery
    store: str
    urls: list[str]
    worker: str
    chance: random.Random

    def __post_init__(self) -> None:
        self.outbox: Outbox = open_store(load(settings_for(self.urls), overrides={"store": self.store}))
        self.talkers: list[Child] = []
        self.alive: dict[int, Child | None] = {}
        self.killed = Counter[str]()
        self.in_flight = 0
        for _ in range(STRATEGIES):
            self.start_strategy()
        for _ in range(WORKERS if self.worker == "external" else 0):
            self.start_worker()

    def start_strategy(self) -> None:
        child = self.nursery.start(chaos_kit.strategy, self.store, self.urls, 1_000_000, self.worker, FASTEST)
        self.talkers.append(child)
        self.alive[child.pid] = child

    def start_worker(self) -> None:
        child = self.nursery.start(chaos_kit.deliver_for_others, self.store, self.urls)
        self.alive[child.pid] = child

    def kill_one(self) -> None:
        """Kill somebody, and start another one in its place."""
        children: list[int] = []
        if self.worker == "process" and self.chance.random() < 0.5:  # it needs a moment to be there
            until(self.deliverers)
            children = self.deliverers()
        victim = self.chance.choice(children or list(self.alive))
        role = self.kill(victim)
        if role == "strategy":
            self.start_strategy()
        elif victim not in children:  # a strategy starts its own again
            self.start_worker()

    def deliverers(self) -> list[int]:
        """The processes that deliver for strategies which live."""
        found = [p for p in self.outbox.processes() if p.role == "worker" and p.ended is None]
        return [pid for p in found if _parent_of(pid := int(p.about["pid"])) in self.alive]

    def kill(self, pid: int) -> str:
        """Kill a process, and count what it had in flight: what it had leased, when it stood still."""
        os.kill(pid, signal.SIGSTOP)
        leased = "SELECT count(*) FROM targets WHERE owner LIKE ?"
        self.in_flight += next(self.outbox.rows(leased, (f"{pid}-%",)))[0]
        os.kill(pid, signal.SIGKILL)
        child = self.alive.pop(pid, None)
        if child is not None:
            assert child.wait() == -signal.SIGKILL, child.log
        role = "strategy" if child in self.talkers else "worker"
        self.killed[role] += 1
        return role

    def end(self) -> None:
        """Kill the strategies too, and let somebody else bring everything to its end."""
        for child in [child for child in self.talkers if child.pid in self.alive]:
            self.kill(child.pid)
        manager = AlertManager(settings_for(self.urls), store=self.store)
        manager.start()
        come_to_rest(self.outbox, 120)
        manager.close(timeout=0)


def _parent_of(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return 0


def kill_everybody(nursery: Nursery, store: str, worker: str, times: int) -> str:
    """Kill so many processes, and return what became of it in words. Raises where anything was lost."""
    with FakeService() as service:
        urls = [f"{service.url}/first", f"{service.url}/second"]
        city = City(nursery, store, urls, worker, random.Random(times))
        for _ in range(times - STRATEGIES):
            enough = len(service.requests) + city.chance.randrange(40)
            until(lambda: len(service.requests) >= enough, 60)  # noqa: B023 - called at once
            time.sleep(city.chance.random() * LONGEST_LIFE)
            city.kill_one()
        city.end()
        found = audit(city.outbox, [child.said for child in city.talkers], service.requests, city.in_flight)
        end_workers(city.outbox)
        city.outbox.close()
    said = (
        f"{sum(city.killed.values())} processes killed ({city.killed['strategy']} strategies, {city.killed['worker']} "
        f"that deliver): {found.accepted:,} alerts accepted, {found.lost} lost, {len(service.requests):,} requests, "
        f"{city.in_flight} deliveries in flight at a kill, {found.repeated} repeated under the same key"
    )
    assert found.complaints == (), said
    assert found.accepted > 0
    assert sum(city.killed.values()) == times
    return said


@pytest.mark.parametrize(
    ("worker", "database", "times"),
    [
        ("thread", "sqlite", 4),
        ("external", "sqlite", 4),
        ("process", "sqlite", 4),
        ("external", "postgres", 4),
        pytest.param("thread", "sqlite", 100, marks=pytest.mark.long),
        pytest.param("external", "sqlite", 60, marks=pytest.mark.long),
        pytest.param("process", "sqlite", 40, marks=pytest.mark.long),
        pytest.param("thread", "postgres", 40, marks=pytest.mark.long),
        pytest.param("external", "postgres", 60, marks=pytest.mark.long),
    ],
)
def test_nothing_that_was_accepted_is_lost_whoever_is_killed(  # noqa: PLR0917 - fixtures
    request: pytest.FixtureRequest,
    nursery: Nursery,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    worker: str,
    database: str,
    times: int,
) -> None:
    store = str(request.getfixturevalue("postgres_dsn") if database == "postgres" else tmp_path / "store.db")
    said = kill_everybody(nursery, store, worker, times)
    with capsys.disabled():
        print(f"\n{database}, delivery by {worker}: {said}")


# One process, at a moment to the millisecond -----------------------------------------------------------

EMITTER = """
import os, sys, time
from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Source
hook = {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}
manager = AlertManager({"alerts": {"hook": hook}}, store=sys.argv[1])
for i in range(int(sys.argv[3])):
    alert = Alert.make(f"number {i}", kind="signal", type="signal", source=Source.LIVE, run="r")
    if manager.emit(alert):
        os.write(1, (alert.id + "\\n").encode())  # unbuffered: what is printed was accepted
time.sleep(600)  # it ends by a kill, however late that comes
"""

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


def kill_an_emitter(store: Path, service: FakeService, chance: random.Random) -> list[str]:
    """Start an emitter, kill it in the middle of a burst, and return the ids whose ``emit`` had returned."""
    process = python(EMITTER, store, service.url, ALERTS)
    assert process.stdout is not None
    wanted, seen = chance.randrange(1, ALERTS), [process.stdout.readline()]
    while len(seen) < wanted:
        seen.append(process.stdout.readline())
    time.sleep(chance.random() * 0.002)
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.readlines()  # not communicate(): it would pass over what is buffered
    assert process.stderr is not None
    err = process.stderr.read()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, err.decode()
    assert all(len(line) == 37 for line in seen), err.decode()
    return b"".join(seen).decode().splitlines()


def kill_in_a_burst(folder: Path, times: int, *, locked: bool) -> str:
    chance = random.Random(times)
    accepted, lost, repeated, found_by_adoption = 0, 0, 0, 0
    for number in range(times):
        store = folder / f"{number}.db"
        with FakeService() as service:
            config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"flush_timeout": 0}}
            AlertManager(config, store=str(store)).close()
            locker = python(LOCKER, store, stdin=subprocess.PIPE) if locked else None
            if locker is not None:
                assert locker.stdout is not None
                assert locker.stdout.readline() == b"locked\n"
            ids = kill_an_emitter(store, service, chance)
            if locker is not None:
                locker.communicate(b"\n")
            manager = AlertManager(config, store=str(store))
            before = manager.outbox.ledger().accepted
            manager.start()
            come_to_rest(manager.outbox)
            found = audit(manager.outbox, [ids], service.requests, in_flight=1)
            found_by_adoption += manager.outbox.ledger().accepted - before
            accepted, lost, repeated = accepted + found.accepted, lost + found.lost, repeated + found.repeated
            manager.close(timeout=0)
            assert found.complaints == ()
            assert list((folder / f"{number}.db.journal").glob("*.jsonl")) == []
    how = "with the database locked by another process" if locked else "in the middle of a burst"
    return (
        f"{times} strategies killed {how}: {accepted:,} alerts accepted, {found_by_adoption:,} of them found in "
        f"journals, {lost} lost, {repeated} repeated under the same key"
    )


@pytest.mark.parametrize(
    ("times", "locked"),
    [
        (2, False),
        (2, True),
        pytest.param(30, False, marks=pytest.mark.long),
        pytest.param(30, True, marks=pytest.mark.long),
    ],
    ids=lambda value: {True: "locked", False: "open"}[value] if isinstance(value, bool) else str(value),
)
def test_nothing_is_lost_by_a_kill_in_a_burst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: int, locked: bool
) -> None:
    said = kill_in_a_burst(tmp_path, times, locked=locked)
    with capsys.disabled():
        print(f"\n{said}")


def test_of_two_starts_after_a_crash_one_adopts_the_journal(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    with FakeService() as service:
        config = {"alerts": {"hook": webhook(service.url)}}
        AlertManager(config, store=str(store)).close()
        kill_an_emitter(store, service, random.Random(1))
        managers = [AlertManager(config, store=str(store)) for _ in range(2)]
        threads = [threading.Thread(target=manager.start) for manager in managers]
        for thread in threads:
            thread.start()
        for manager in managers:
            rest(manager)
        ledgers = [manager.ledger() for manager in managers]
        assert ledgers[0] == ledgers[1]
        assert ledgers[0].unreadable == 0
        counts = Counter(request.headers["webhook-id"] for request in service.requests)
        assert sum(count - 1 for count in counts.values()) <= 1
        for manager in managers:
            manager.close()
        assert list((tmp_path / "store.db.journal").iterdir()) == []
