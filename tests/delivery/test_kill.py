"""Processes killed with SIGKILL: what ``emit`` accepted is in the store, and nothing is sent more than twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from alerts_kit import python, rest, webhook

from bt_alerts import AlertManager
from bt_alerts.testing import FakeService

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

ALERTS = 1_000

EMITTER = """
import os, sys
from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Source
hook = {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}
manager = AlertManager({"alerts": {"hook": hook}}, store=sys.argv[1])
for i in range(int(sys.argv[3])):
    alert = Alert.make(f"number {i}", kind="signal", type="signal", source=Source.LIVE, run="r")
    if manager.emit(alert):
        os.write(1, (alert.id + "\\n").encode())  # unbuffered: what is printed was accepted
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
    """Start an emitter, kill it at a random moment, and return the ids whose ``emit`` had returned."""
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


def kill_again_and_again(folder: Path, times: int, *, locked: bool) -> str:
    chance = random.Random(times)
    acknowledged, lost, repeated, found_by_adoption = 0, 0, 0, 0
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
            rest(manager)
            kept = {row[0] for row in manager.outbox.rows("SELECT id FROM alerts")}
            ledger = manager.ledger()
            counts = Counter(request.headers["webhook-id"] for request in service.requests)
            acknowledged += len(ids)
            lost += len(set(ids) - kept)
            repeated += sum(count - 1 for count in counts.values())
            found_by_adoption += ledger.accepted - before
            assert ledger.balanced
            assert ledger.unreadable == 0
            assert ledger.deliveries["delivered"] == ledger.created == len(counts)
            assert max(counts.values()) <= 2
            assert sum(count - 1 for count in counts.values()) <= 1  # only what was in flight
            manager.close(timeout=0)
            assert list((folder / f"{number}.db.journal").glob("*.jsonl")) == []
    how = "with the database locked by another process" if locked else "at a random moment"
    said = (
        f"{times} processes killed {how}: {acknowledged:,} alerts accepted, {found_by_adoption:,} of them found in "
        f"journals, {lost} lost, {repeated} repeated under the same key"
    )
    assert lost == 0, said
    return said


@pytest.mark.parametrize(
    ("times", "locked"),
    [
        (5, False),
        (3, True),
        pytest.param(100, False, marks=pytest.mark.long),
        pytest.param(100, True, marks=pytest.mark.long),
    ],
    ids=lambda value: {True: "locked", False: "open"}[value] if isinstance(value, bool) else str(value),
)
def test_nothing_that_was_accepted_is_lost_by_a_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: int, locked: bool
) -> None:
    said = kill_again_and_again(tmp_path, times, locked=locked)
    with capsys.disabled():
        print(f"\n{said}")


SENDER = """
import sys, time
from bt_alerts import AlertManager
hook = {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}
manager = AlertManager({"alerts": {"hook": hook}}, store=sys.argv[1])
for i in range(5):
    manager.send_custom_alert(f"number {i}")
time.sleep(60)
"""


@pytest.mark.parametrize("answered", [False, True])
def test_a_kill_between_sending_and_settling_repeats_that_one_under_the_same_key(
    tmp_path: Path, answered: bool
) -> None:
    store, gate = tmp_path / "store.db", threading.Event()
    with FakeService() as service:
        service.answer(200).answer(200, gate=gate).answer(200)
        process = python(SENDER, store, service.url)
        service.wait_for(2)  # the second is with the service, and not settled
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if answered:
            gate.set()
        manager = AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(store))
        manager.start()
        rest(manager)
        gate.set()
        counts = Counter(request.headers["webhook-id"] for request in service.requests)
        assert sorted(counts.values()) == [1, 1, 1, 1, 2]
        assert manager.ledger().deliveries["delivered"] == 5
        assert manager.ledger().balanced
        manager.close()


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
