"""Where delivery runs: in a child, in workers of their own. Real processes, real files, real loopback servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import ROOT, Clock, alert, python, rest, until, webhook

from bt_alerts import AlertManager, Priority
from bt_alerts.alert import Source
from bt_alerts.delivery import keeper
from bt_alerts.delivery.death import death_of
from bt_alerts.delivery.handover import Handover, WorkerWatch
from bt_alerts.delivery.planner import Planner
from bt_alerts.delivery.worker import LEASE, Duty, WorkerRounds
from bt_alerts.errors import SettingsError
from bt_alerts.outbox.base import Process
from bt_alerts.outbox.entries import Accepted, Snoozed, encode
from bt_alerts.outbox.journal import SHARED, Journal, dead_journals
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.settings import load
from bt_alerts.settings.store import open_store
from bt_alerts.testing import FakeService, Received

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and locks")

STRATEGY = """
import os, sys, time
from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Source
store, url, worker, count, then, timeout = sys.argv[1:7]
hook = {"type": "webhook", "urls": url.split(","), "rate_limit": 0}
delivery = {"worker": worker, "flush_timeout": float(timeout)}
manager = AlertManager({"alerts": {"hook": hook}, "delivery": delivery}, store=store)
for i in range(int(count)):
    manager.emit(Alert.make(f"number {i}", kind="signal", type="signal", source=Source.LIVE, strategy="SMA Cross"))
    os.write(1, b"emitted\\n")
if then == "close":
    manager.close()
    os.write(1, b"closed\\n")
elif then == "flush":
    print(manager.flush(20), flush=True)
elif then == "stop":
    from bt_alerts import Alert
    manager.emit(Alert.make("done", kind="strategy.stopped", type="strategy", strategy="SMA Cross"))
    manager.flush(20)
sys.stdin.readline()
if then == "last words":
    manager.emit(Alert.make("last words", kind="signal", type="signal", source=Source.LIVE, strategy="SMA Cross"))
"""


def kinds(service: FakeService) -> list[str]:
    return [request.json()["data"]["kind"] for request in list(service.requests)]


def messages(service: FakeService) -> list[str]:
    return [request.json()["data"]["message"] for request in list(service.requests)]


def keys(requests: list[Received]) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in requests)


def strategy(
    store: Path | str, url: str, worker: str, count: int = 1, then: str = "wait", *, flush_timeout: float = 2
) -> subprocess.Popen[bytes]:
    """A program that emits and then stays; its emits have returned when this does."""
    process = python(STRATEGY, store, url, worker, count, then, flush_timeout, stdin=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline() == b"emitted\n", process.stderr and process.stderr.read().decode()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def the_child(process: subprocess.Popen[bytes]) -> int:
    """The one process that a strategy's process has started."""
    found: list[int] = []
    until(lambda: found.extend(children(process.pid)) or found)
    (child,) = set(found)
    return child


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def threads(process: subprocess.Popen[bytes]) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Workers:
    """Starts `bt-alerts worker` processes, and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, store: Path | str, *urls: str, more: tuple[str, ...] = (), **delivery: Any
    ) -> subprocess.Popen[bytes]:
        file = self._folder / f"worker{len(self._running)}.json"
        settings = {"alerts": {"hook": webhook(*urls)}, "delivery": {"worker": "external", **delivery}}
        file.write_text(json.dumps({**settings, "store": str(store)}))
        file.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", "bt_alerts", "worker", "-c", str(file), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._running.append(process)
        if "--once" not in more:  # before that it does not listen to signals
            assert process.stdout is not None
            assert b"delivers for" in process.stdout.readline()
        return process

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=30)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.end()


def ended(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a worker, which must be a good one; what it printed."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err.decode()
    return out.decode()


def states(store: Path) -> Counter[str]:
    outbox = SqliteOutbox(store)
    try:
        assert outbox.ledger().balanced
        return Counter({state: n for state, n in outbox.ledger().deliveries.items() if n})
    finally:
        outbox.close()


def leased(store: Path) -> list[tuple[Any, ...]]:
    """Whatever somebody says to be at work on."""
    leases = "SELECT name, owner FROM leases UNION ALL SELECT target, owner FROM targets WHERE owner IS NOT NULL"
    return list(SqliteOutbox(store).rows(leases))


# A child of its own ----------------------------------------------------------------------------------


def test_a_child_delivers_and_every_call_that_waits_works(tmp_path: Path, service: FakeService) -> None:
    before = set(threading.enumerate())  # a manager of another test may be open still
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": "process"}}
    with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
        assert manager.send_custom_alert("one", wait=20)
        assert manager.send_notification(alert("two"), timeout=20).success
        manager.emit(alert("three"))
        assert manager.flush(20)
        assert messages(service) == ["one", "two", "three"]
        assert manager.ledger().deliveries["delivered"] == 3
        assert not [t for t in set(threading.enumerate()) - before if "courier" in t.name or "planner" in t.name]
        with pytest.raises(ValueError, match="another process delivers"):
            manager.add_channel("late", manager.channels["hook"].dispatcher)
    until(lambda: list((tmp_path / "store.db.journal").iterdir()) == [])
    assert kinds(service) == ["custom"] * 3 or "process.died" not in kinds(service)


def test_a_killed_strategy_is_told_of_by_its_child_once(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "process", 20)
    service.wait_for(1, timeout=20)
    kill(process)
    until(lambda: "process.died" in kinds(service), timeout=20)
    until(lambda: list((tmp_path / "store.db.journal").iterdir()) == [], timeout=20)
    assert [text for text in messages(service) if text.startswith("number")] == [f"number {i}" for i in range(20)]
    (told,) = [r.json()["data"] for r in service.requests if r.json()["data"]["kind"] == "process.died"]
    assert (told["title"], told["priority"]) == ("Strategy SMA Cross died", "critical")
    assert told["data"]["pid"] == process.pid
    assert told["late_seconds"] is None
    assert states(tmp_path / "store.db") == {"delivered": 21}
    assert max(keys(service.requests).values()) == 1


def test_a_killed_strategy_whose_alerts_could_not_go_yet(tmp_path: Path, service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate).answer(200)
    process = strategy(tmp_path / "store.db", service.url, "process", 5)
    service.wait_for(1, timeout=20)
    kill(process)
    gate.set()
    until(lambda: len(service.requests) == 6, timeout=20)
    assert Counter(kinds(service)) == {"signal": 5, "process.died": 1}
    assert max(keys(service.requests).values()) == 1


def test_the_child_of_a_program_that_ends_as_it_should_ends_in_silence(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "process", 3)
    child = the_child(process)
    _, err = process.communicate(b"\n", timeout=30)
    assert process.returncode == 0, err
    until(lambda: not is_running(child), timeout=20)
    assert kinds(service) == ["signal"] * 3
    assert list((tmp_path / "store.db.journal").iterdir()) == []


def test_a_killed_child_is_started_again_and_nothing_is_lost(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "process", 10)
    until(lambda: states(tmp_path / "store.db") == {"delivered": 10}, timeout=20)
    child = the_child(process)
    os.kill(child, signal.SIGKILL)
    until(lambda: kinds(service)[10:] == ["worker.died", "worker.recovered"], timeout=30)
    assert "signal 9" in messages(service)[10]
    until(lambda: states(tmp_path / "store.db") == {"delivered": 12}, timeout=20)
    assert the_child(process) != child
    process.communicate(b"\n", timeout=30)
    assert "process.died" not in kinds(service)


def test_what_ends_a_whole_service_leaves_the_child_the_time_to_tell(tmp_path: Path, service: FakeService) -> None:
    """A strategy is killed, and systemd sends SIGTERM to what is left of its service."""
    process = strategy(tmp_path / "store.db", service.url, "process", flush_timeout=20)
    service.wait_for(1, timeout=20)
    child = the_child(process)
    os.kill(child, signal.SIGSTOP)
    kill(process)
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    until(lambda: not is_running(child), timeout=20)
    assert kinds(service) == ["signal", "process.died"]


def test_a_child_that_is_told_to_end_goes_on_while_its_parent_does(tmp_path: Path, service: FakeService) -> None:
    """`systemctl stop` sends SIGTERM to both, and the parent needs the child to deliver what it has to say still."""
    process = strategy(tmp_path / "store.db", service.url, "process", 2, "last words", flush_timeout=20)
    service.wait_for(2, timeout=20)
    child = the_child(process)
    os.kill(child, signal.SIGTERM)
    process.communicate(b"\n", timeout=30)
    until(lambda: not is_running(child), timeout=20)
    assert kinds(service) == ["signal"] * 3


def test_ctrl_c_in_the_terminal_is_not_for_the_child(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "process")
    service.wait_for(1, timeout=20)
    child = the_child(process)
    assert os.getsid(child) != os.getsid(process.pid)
    process.communicate(b"\n", timeout=30)
    until(lambda: not is_running(child), timeout=20)


def test_credentials_reach_the_child_through_its_input_alone(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "tok-" + os.urandom(12).hex()
    hook = webhook(service.url, headers={"Authorization": f"Bearer {secret}"})
    config = {"alerts": {"hook": hook}, "delivery": {"worker": "process"}}
    with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
        assert manager.send_custom_alert("hello", wait=20)
        assert isinstance(manager._intake.engine, Handover)
        child = manager._intake.engine.keeper.pid
        for name in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{child}/{name}").read_bytes()
    assert service.requests[0].headers["authorization"] == f"Bearer {secret}"
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


def test_a_console_channel_prints_where_the_strategy_prints(tmp_path: Path) -> None:
    script = """
    import sys
    from bt_alerts import AlertManager
    config = {"alerts": {"console": {"stream": "stdout"}}, "delivery": {"worker": "process"}}
    with AlertManager(config, store=sys.argv[1]) as manager:
        assert manager.send_custom_alert("seen on the terminal", wait=20)
    """
    process = python(script, tmp_path / "store.db")
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err.decode()
    assert "seen on the terminal" in out.decode()


def test_a_child_that_cannot_be_started_is_told_past_the_store(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": "process", "flush_timeout": 1}}
    manager = AlertManager(config, store=str(tmp_path / "store.db"))
    assert manager.emit(alert("waits"))
    service.wait_for(1, timeout=10)
    assert kinds(service) == ["worker.died"]
    assert not manager.flush(10)  # at once, as there is nobody to wait for
    manager.close()
    monkeypatch.undo()
    after = AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "store.db"))
    rest(after)
    assert "waits" in messages(service)
    assert "process.died" not in kinds(service)
    after.close()


def test_a_child_that_cannot_begin_says_why(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": "process", "flush_timeout": 0}}
    store = tmp_path / "store.db"
    manager = AlertManager(config, store=str(store))
    store.unlink()
    with contextlib.closing(sqlite3.connect(store)) as other:
        other.execute("CREATE TABLE theirs (name)")
    manager.emit(alert("waits"))
    service.wait_for(1, timeout=20)
    assert "exit code 1: StoreError: the store" in messages(service)[0]
    assert "is a database of another program" in messages(service)[0]
    manager.close()


@pytest.mark.parametrize("worker", ["process", "external"])
def test_a_worker_of_its_own_needs_a_store_on_disk(worker: str, service: FakeService) -> None:
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": worker}}
    with pytest.raises(SettingsError, match="needs a store on disk, because another process delivers: write `store"):
        AlertManager(config, store="memory")


# Who died --------------------------------------------------------------------------------------------


def test_in_thread_mode_the_next_start_tells_of_a_death(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "thread", 2)
    until(lambda: states(tmp_path / "store.db") == {"delivered": 2}, timeout=20)
    kill(process)
    config = {"alerts": {"hook": webhook(service.url)}}
    for _ in range(2):
        with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
            rest(manager)
    assert kinds(service) == ["signal", "signal", "process.died"]


def test_a_process_whose_strategies_had_ended_is_not_missed(tmp_path: Path, service: FakeService) -> None:
    process = strategy(tmp_path / "store.db", service.url, "thread", 2, "stop")
    service.wait_for(3, timeout=20)
    kill(process)
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "store.db")) as manager:
        rest(manager)
    assert "process.died" not in kinds(service)


def test_a_death_that_is_told_late_says_so_and_has_not_expired(manage: Any, service: FakeService, clock: Clock) -> None:
    first = manage(hook=service.url)
    folder = first.outbox.journals
    journal = Journal(folder)
    journal.append(encode(Accepted(alert("a", kind="order.completed", type="order", strategy="A", channels=["none"]))))
    journal.append(encode(Accepted(alert("b", kind="order.completed", type="order", strategy="B", channels=["none"]))))
    journal.abandon()  # as the end of a process does
    from bt_alerts.outbox import journal as module

    module._own.clear()
    long_ago = clock() - 20 * 86_400
    os.utime(journal.path, (long_ago, long_ago))
    rest(first)
    (told,) = [r.json()["data"] for r in service.requests if r.json()["data"]["kind"] == "process.died"]
    assert told["title"] == "Strategies A, B died"
    assert told["late_seconds"] > 3600


def test_a_worker_of_multiprocessing_did_not_die(tmp_path: Path, service: FakeService) -> None:
    script = """
    import multiprocessing, sys
    from bt_alerts import AlertManager
    config = {"alerts": {"hook": {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}}}
    def work(store):
        AlertManager(config, store=store).send_custom_alert("from a worker")
    for method in ("fork", "spawn"):
        if __name__ == "__main__":
            process = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1],))
            process.start(); process.join()
            print(process.exitcode)
    """
    process = python(script, tmp_path / "store.db", service.url)
    out, err = process.communicate(timeout=60)
    assert out.split() == [b"0", b"0"], err.decode()
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "store.db")) as manager:
        rest(manager)
    assert set(messages(service)) == {"from a worker"}


# Workers of their own --------------------------------------------------------------------------------


def test_a_worker_delivers_for_several_strategies_and_ends_gracefully(
    tmp_path: Path, service: FakeService, workers: Workers
) -> None:
    store = tmp_path / "store.db"
    worker = workers.start(store, service.url)
    strategies = [strategy(store, service.url, "external", 20, "flush") for _ in range(2)]
    for process in strategies:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
    assert sorted(messages(service)) == sorted(2 * [f"number {i}" for i in range(20)])
    for process in strategies:
        process.communicate(b"\n", timeout=30)
        assert process.returncode == 0
    until(lambda: not list((store.parent / "store.db.journal").glob("*.shared.jsonl")), timeout=20)
    worker.terminate()
    assert "The worker has ended" in ended(worker)
    assert list((tmp_path / "store.db.journal").iterdir()) == []
    (seen,) = [process for process in SqliteOutbox(store).processes() if process.role == "worker"]
    assert seen.ended is not None
    assert states(store) == {"delivered": 40}
    assert leased(store) == []


def test_a_strategy_that_is_killed_while_a_worker_watches(
    tmp_path: Path, service: FakeService, workers: Workers
) -> None:
    store = tmp_path / "store.db"
    workers.start(store, service.url)
    process = strategy(store, service.url, "external", 3)
    service.wait_for(3, timeout=20)
    kill(process)
    until(lambda: kinds(service) == ["signal"] * 3 + ["process.died"], timeout=20)
    until(lambda: not list((tmp_path / "store.db.journal").glob("*.shared.jsonl")))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that have nothing to say again for a while, however long the machine takes for them."""
    monkeypatch.setattr("bt_alerts.delivery.worker.RENEW", 600.0)
    monkeypatch.setattr("bt_alerts.delivery.worker.CHECK_IN", 600.0)


@pytest.mark.usefixtures("unhurried")
def test_a_process_that_began_and_died_between_two_looks_is_found(
    manage: Callable[..., AlertManager], tmp_path: Path
) -> None:
    manager = manage(hook=webhook("http://127.0.0.1:9/"))
    script = """
    import os, sys
    from pathlib import Path
    from bt_alerts import Alert
    from bt_alerts.outbox.entries import Accepted, encode
    from bt_alerts.outbox.journal import SHARED, Journal
    journal = Journal(Path(sys.argv[1]), flavour=SHARED)
    journal.append(encode(Accepted(Alert.make("last words", strategy="SMA Cross"))))
    os.kill(os.getpid(), 9)
    """
    rounds = WorkerRounds(manager.outbox, Planner(manager.outbox, RuleSettings(), manager.channels), "w", Duty())
    rounds.look()
    rounds.go()
    python(script, tmp_path / "store.db.journal").communicate(timeout=30)
    assert rounds.look()
    rounds.go()
    assert [row[0] for row in manager.outbox.rows("SELECT kind FROM alerts ORDER BY seq")] == ["custom", "process.died"]
    assert not rounds.look()  # and that was that


@pytest.mark.usefixtures("unhurried")
def test_of_a_process_that_only_seems_to_be_gone_nothing_is_taken(
    manage: Callable[..., AlertManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in another container: it has another number there, and its lock is what counts."""
    manager = manage(hook=webhook("http://127.0.0.1:9/"))
    process = strategy(tmp_path / "store.db", "http://127.0.0.1:9/", "external")
    monkeypatch.setattr("bt_alerts.delivery.worker._is_alive", lambda owner: False)
    rounds = WorkerRounds(manager.outbox, Planner(manager.outbox, RuleSettings(), manager.channels), "w", Duty())
    assert rounds.look()
    rounds.go()
    assert not rounds.look()  # it is tried once, and not at every look
    assert [row[0] for row in manager.outbox.rows("SELECT kind FROM alerts")] == ["signal"]
    kill(process)


def test_two_workers_on_one_store_deliver_each_alert_once(
    tmp_path: Path, service: FakeService, other: FakeService, workers: Workers
) -> None:
    store = tmp_path / "store.db"
    pair = [workers.start(store, service.url, other.url) for _ in range(2)]
    process = strategy(store, service.url, "external", 300)
    until(lambda: len(service.requests) >= 300 and len(other.requests) >= 300, timeout=60)
    until(lambda: states(store)["delivered"] == 600, timeout=20)
    for each in (service, other):
        counts = keys(each.requests)
        assert (len(counts), set(counts.values())) == (300, {1}), kinds(each)[-3:]
        assert messages(each) == [f"number {i}" for i in range(300)]  # in order, whoever delivered
    process.communicate(b"\n", timeout=30)
    for worker in pair:
        worker.terminate()
        ended(worker)


def test_when_the_worker_that_plans_is_killed_another_takes_over(
    tmp_path: Path, service: FakeService, workers: Workers
) -> None:
    store = tmp_path / "store.db"
    SqliteOutbox(store).close()
    pair = {worker.pid: worker for worker in (workers.start(store, service.url) for _ in range(2))}
    process = strategy(store, service.url, "external")
    service.wait_for(1, timeout=20)
    (owner,) = next(SqliteOutbox(store).rows("SELECT owner FROM leases"))
    kill(pair.pop(int(owner.partition("-")[0])))
    process.communicate(b"\n", timeout=30)
    second = strategy(store, service.url, "external", 3)
    service.wait_for(4, timeout=LEASE + 20)
    second.communicate(b"\n", timeout=30)
    assert "process.died" not in kinds(service)


def test_sigterm_in_the_middle_of_a_delivery_lets_it_end(
    tmp_path: Path, service: FakeService, workers: Workers
) -> None:
    store, gate = tmp_path / "store.db", threading.Event()
    service.answer(200, gate=gate).answer(200)
    worker = workers.start(store, service.url, flush_timeout=20)
    process = strategy(store, service.url, "external", 5)
    service.wait_for(1, timeout=20)
    until(lambda: states(store) == {"pending": 5})
    worker.terminate()
    until(lambda: threads(worker) == 2)  # it has the signal: left are who delivers, and who waits for that
    gate.set()
    ended(worker)
    assert len(service.requests) == 1  # it began nothing more
    assert states(store) == {"delivered": 1, "pending": 4}
    assert leased(store) == []
    ended(workers.start(store, service.url, more=("--once",)))
    process.communicate(b"\n", timeout=30)
    assert messages(service) == [f"number {i}" for i in range(5)]
    assert set(keys(service.requests).values()) == {1}


def test_sigterm_gives_back_what_does_not_end_in_time(tmp_path: Path, service: FakeService, workers: Workers) -> None:
    store, gate = tmp_path / "store.db", threading.Event()
    service.answer(200, gate=gate).answer(200)
    worker = workers.start(store, service.url, flush_timeout=0)
    strategy(store, service.url, "external", 2, "close").communicate(b"\n", timeout=30)
    service.wait_for(1, timeout=20)
    worker.terminate()
    ended(worker)
    assert states(store) == {"pending": 2}
    assert leased(store) == []
    ended(workers.start(store, service.url, more=("--once",)))  # not after the lease of 45 s
    gate.set()
    assert sorted(keys(service.requests).values()) == [1, 2]  # the one in flight again, under the same key
    assert states(store) == {"delivered": 2}


def test_one_go_takes_over_from_a_worker_that_was_killed_just_now(
    tmp_path: Path, service: FakeService, workers: Workers
) -> None:
    store = tmp_path / "store.db"
    SqliteOutbox(store).lead("1-killed", time.time(), 4.0)
    process = strategy(store, service.url, "external")
    ended(workers.start(store, service.url, more=("--once",)))
    assert messages(service) == ["number 0"]
    process.communicate(b"\n", timeout=30)


@pytest.mark.parametrize("attempt", range(3))  # which of its threads gets the signal is the system's choice
def test_sigterm_that_comes_while_it_is_frozen_ends_it(
    tmp_path: Path, service: FakeService, workers: Workers, attempt: int
) -> None:
    worker = workers.start(tmp_path / "store.db", service.url)
    time.sleep(0.5)  # until it sleeps
    worker.send_signal(signal.SIGSTOP)
    worker.terminate()
    worker.send_signal(signal.SIGCONT)
    ended(worker)


def test_a_second_signal_ends_it_at_once(tmp_path: Path, service: FakeService, workers: Workers) -> None:
    service.answer(200, gate=threading.Event())
    worker = workers.start(tmp_path / "store.db", service.url, flush_timeout=600)
    process = strategy(tmp_path / "store.db", service.url, "external")
    service.wait_for(1, timeout=20)
    worker.send_signal(signal.SIGINT)

    def again() -> bool:  # two that come before it looks are one to it
        time.sleep(0.3)
        worker.send_signal(signal.SIGINT)
        return worker.poll() is not None

    until(again)
    assert worker.returncode == 130
    process.communicate(b"\n", timeout=30)


def test_a_snooze_is_done_once_however_often_a_journal_is_drained(tmp_path: Path, service: FakeService) -> None:
    """A worker that still has a removed journal open must not read it from its beginning."""
    from bt_alerts.outbox import journal as module

    manager = AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "store.db"))
    outbox = manager.outbox
    planner = Planner(outbox, RuleSettings(), manager.channels)
    journal = Journal(tmp_path / "store.db.journal", flavour=SHARED)
    journal.append(encode(Accepted(alert(id="0" * 36))))
    journal.append(encode(Snoozed("0" * 36, 5e9)))
    module._own.clear()  # as another process sees it
    stale = module.live_journal(journal.path)
    assert stale is not None
    assert planner.drain(stale) == 2
    module.ROTATE_AT, kept = 1, module.ROTATE_AT
    try:
        assert journal.rotate_if_drained(outbox.position(stale.name)) is not None
    finally:
        module.ROTATE_AT = kept
    rounds = WorkerRounds(outbox, planner, "w", Duty())
    rounds._sweep()
    assert outbox.position(stale.name) == 0
    assert planner.drain(stale) == 0
    stale.close()
    manager.close()


# A worker that is gone -------------------------------------------------------------------------------


class Watched:
    """A watch over a real store, with somebody who listens to it."""

    def __init__(self, store: Path, clock: Clock) -> None:
        self.outbox = SqliteOutbox(store)
        self.behind, self.clock = True, clock
        self.said: list[str] = []
        self.watch = WorkerWatch(
            self.outbox,
            lambda: self.behind,
            lambda reason, through_store: self.said.append(f"died: {reason} {through_store}"),
            lambda: self.said.append("recovered"),
            clock=clock,
        )

    def check_in(self, ended: float | None = None) -> None:
        self.outbox.check_in(Process("1-a", "worker", {}, self.clock(), self.clock(), ended))


def test_a_worker_that_is_gone_is_told_once_and_again_when_it_is_back(tmp_path: Path, clock: Clock) -> None:
    watched = Watched(tmp_path / "store.db", clock)
    watched.check_in()
    clock.advance(59)
    watched.watch.watch()
    assert watched.said == []
    clock.advance(2)
    watched.behind = False
    watched.watch.watch()
    assert watched.said == []  # nothing waits: nobody is missed
    watched.behind = True
    watched.watch.watch()
    watched.watch.watch()
    assert len(watched.said) == 1
    assert "for 61 s: start `bt-alerts worker`" in watched.said[0]
    assert watched.said[0].endswith("False")  # past the store
    watched.check_in()
    watched.watch.watch()
    watched.watch.watch()
    assert watched.said[1:] == ["recovered"]
    watched.check_in(ended=clock())
    watched.watch.watch()
    assert len(watched.said) == 3  # it checked out, and that is the same to who waits


def test_where_there_never_was_a_worker_the_channels_say_so_and_nobody_waits(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bt_alerts.delivery.handover.WATCH_EVERY", 0.2)
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": "external", "flush_timeout": 30}}
    manager = AlertManager(config, store=str(tmp_path / "store.db"))
    assert manager.emit(alert("waits", source=Source.LIVE, priority=Priority.HIGH))
    service.wait_for(1, timeout=10)
    (told,) = [request.json()["data"] for request in service.requests]
    assert told["kind"] == "worker.died"
    assert "no worker has been at" in told["message"]
    assert isinstance(manager._intake.engine, Handover)
    begun = time.monotonic()
    assert not manager.flush()
    manager.close()
    assert time.monotonic() - begun < 20  # not flush_timeout, twice


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_the_end_of_a_program_does_not_wait_again_for_what_the_end_of_its_run_waited_for(
    worker: str, tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)
    waited: dict[str, list[float]] = {}
    before = set(children(os.getpid()))
    for said_after in ("nothing", "last words"):
        config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"worker": worker, "flush_timeout": 0.3}}
        manager = AlertManager(config, store=str(tmp_path / f"{said_after}.db"))
        manager.emit(alert("hangs"))
        assert not manager.flush()  # as the end of a run does
        if said_after == "last words":
            manager.emit(alert("last words"))
        engine, times = manager._intake.engine, waited.setdefault(said_after, [])
        assert engine is not None
        flush = engine.flush
        monkeypatch.setattr(
            engine, "flush", lambda seconds, flush=flush, times=times: times.append(seconds) or flush(0)
        )
        manager.close()
    assert waited == {"nothing": [0.0], "last words": [0.3]}
    gate.set()
    until(lambda: not [pid for pid in set(children(os.getpid())) - before if is_running(pid)], timeout=20)


# Several addresses of one channel --------------------------------------------------------------------


def test_an_address_that_hangs_delays_no_other(manage: Callable[..., AlertManager], service: FakeService) -> None:
    gate = threading.Event()
    with FakeService() as slow:
        slow.answer(200, gate=gate)
        manager = manage(hook=webhook(slow.url, service.url))
        for i in range(5):
            manager.emit(alert(f"{i}"))
        service.wait_for(5, timeout=10)  # while the other has answered none
        assert len(slow.requests) == 1
        gate.set()
        rest(manager)
        assert messages(slow) == messages(service) == ["0", "1", "2", "3", "4"]


def test_without_parallel_delivery_there_is_one_courier(
    manage: Callable[..., AlertManager], service: FakeService, other: FakeService
) -> None:
    before = set(threading.enumerate())
    manager = manage(hook=webhook(other.url, service.url), second=service.url, delivery={"parallel": False})
    manager.emit(alert())
    rest(manager)
    new = set(threading.enumerate()) - before
    assert len([thread for thread in new if thread.name.startswith("bt_alerts courier")]) == 1
    assert (len(service.requests), len(other.requests)) == (2, 1)


@pytest.mark.parametrize(("concurrency", "couriers"), [(1, 1), (2, 2), (8, 3)])
def test_a_channel_has_as_many_couriers_as_it_has_use_for(
    manage: Callable[..., AlertManager], service: FakeService, concurrency: int, couriers: int
) -> None:
    before = set(threading.enumerate())
    urls = [f"{service.url}/{i}" for i in range(3)]
    manager = manage(hook=webhook(*urls), delivery={"concurrency": concurrency})
    manager.emit(alert())
    rest(manager)
    new = set(threading.enumerate()) - before
    assert len([thread for thread in new if thread.name.startswith("bt_alerts courier hook")]) == couriers
    assert len(service.requests) == 3


def test_death_of_a_journal_that_said_goodbye_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(encode(Accepted(alert(strategy="A"))))
    journal.close()
    (dead,) = dead_journals(tmp_path)
    assert not dead.died
    assert death_of(dead, dead.seen) is None
    dead.release()


# A store on another machine --------------------------------------------------------------------------


def pg_states(dsn: str) -> Counter[str]:
    outbox = open_store(load({}, overrides={"store": dsn}))
    try:
        ledger = outbox.ledger()
        assert ledger.balanced
        return Counter({"waiting": ledger.waiting, **ledger.deliveries}) - Counter()
    finally:
        outbox.close()


def test_with_postgres_a_strategy_feeds_the_store_and_a_worker_decides(
    postgres_dsn: str, service: FakeService, workers: Workers
) -> None:
    process = strategy(postgres_dsn, service.url, "external", 5)
    until(lambda: pg_states(postgres_dsn) == {"waiting": 5}, timeout=20)
    assert service.requests == []
    pair = [workers.start(postgres_dsn, service.url) for _ in range(2)]
    until(lambda: pg_states(postgres_dsn) == {"delivered": 5}, timeout=30)
    assert messages(service) == [f"number {i}" for i in range(5)]
    process.communicate(b"\n", timeout=30)
    for worker in pair:
        worker.terminate()
        ended(worker)


def test_with_postgres_a_waiting_strategy_hears_that_it_was_delivered(
    postgres_dsn: str, service: FakeService, workers: Workers
) -> None:
    worker = workers.start(postgres_dsn, service.url)
    process = strategy(postgres_dsn, service.url, "external", 20, "flush")
    assert process.stdout is not None
    assert process.stdout.readline() == b"True\n"
    assert messages(service) == [f"number {i}" for i in range(20)]
    process.communicate(b"\n", timeout=30)
    worker.terminate()
    ended(worker)


def test_with_postgres_a_child_drains_its_parent_and_tells_of_its_death(
    postgres_dsn: str, service: FakeService
) -> None:
    process = strategy(postgres_dsn, service.url, "process", 5)
    service.wait_for(1, timeout=30)
    kill(process)
    until(lambda: pg_states(postgres_dsn) == {"delivered": 6}, timeout=30)
    assert Counter(kinds(service)) == {"signal": 5, "process.died": 1}


# Settings that change, forks -------------------------------------------------------------------------


def test_a_child_follows_changed_settings(tmp_path: Path, service: FakeService, other: FakeService) -> None:
    file = tmp_path / "alerts.yaml"

    def write(url: str) -> None:
        file.write_text(json.dumps({"alerts": {"hook": webhook(url)}, "delivery": {"worker": "process"}}))
        file.chmod(0o600)

    write(service.url)
    with AlertManager(str(file), store=str(tmp_path / "store.db")) as manager:
        assert manager.send_custom_alert("before", wait=20)
        write(other.url)
        until(lambda: manager.send_custom_alert("after", wait=20) and other.requests, timeout=30)
    assert messages(service)[0] == "before"
    assert set(messages(other)) == {"after"}


def test_a_forked_process_has_a_child_of_its_own_and_does_not_keep_its_parents(
    tmp_path: Path, service: FakeService
) -> None:
    script = """
    import os, sys, time
    from bt_alerts import AlertManager
    hook = {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}
    manager = AlertManager({"alerts": {"hook": hook}, "delivery": {"worker": "process"}}, store=sys.argv[1])
    assert manager.send_custom_alert("parent", wait=20)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)  # it holds copies of everything that its parent had open
    print(pid, flush=True)
    sys.stdin.readline()
    """
    process = python(script, tmp_path / "store.db", service.url, stdin=subprocess.PIPE)
    assert process.stdout is not None
    forked = int(process.stdout.readline())
    try:
        (child,) = set(children(process.pid)) - {forked}
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        until(lambda: "process.died" in kinds(service), timeout=20)
        until(lambda: not is_running(child), timeout=20)
    finally:
        os.kill(forked, signal.SIGKILL)
        process.communicate()
