"""A process killed at each step of a delivery: nothing is lost, and what was in flight is repeated once, under its key.

The same audit must find each of the mistakes that would break this: see the mutants.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import chaos_kit
import pytest
from alerts_kit import until
from chaos_kit import FAILPOINTS, Audit, Child, Nursery, audit, come_to_rest, end_workers, kill_at_request, settings_for

from bt_alerts import AlertManager
from bt_alerts.outbox.base import Outbox
from bt_alerts.settings import load
from bt_alerts.settings.store import open_store
from bt_alerts.testing import FakeService, Received

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

NUMBER = 5


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_dsn"))
    return str(tmp_path / "store.db")


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """Where a process leaves a note that it was killed."""
    return tmp_path / "killed"


def opened(store: str, service: FakeService) -> Outbox:
    return open_store(load(settings_for([service.url]), overrides={"store": store}))


def begin_again(store: str, service: FakeService, killed: list[Child], in_flight: int = 1) -> Audit:
    """Start once more, in this process, let everything come to rest, and see what there is."""
    manager = AlertManager(settings_for([service.url]), store=store)
    manager.start()
    come_to_rest(manager.outbox)
    found = audit(manager.outbox, [child.said for child in killed], service.requests, in_flight)
    manager.close(timeout=0)
    journals = manager.outbox.journals
    assert journals is not None
    assert list(journals.glob("*.jsonl")) == []
    return found


def kill_a_strategy(  # noqa: PLR0917
    nursery: Nursery, store: str, service: FakeService, note: Path, point: str, hit: int = 0, mutant: str = ""
) -> Child:
    """Start a strategy that delivers itself, and wait until it has killed itself."""
    hit = hit or (1 if "planning" in point else 2)
    if point == "after the bytes were sent":
        kill_at_request(service, hit, note)
    armed = {"point": point, "hit": hit, "note": str(note), "mutant": mutant}
    killed = nursery.start(chaos_kit.strategy, store, [service.url], NUMBER, "thread", 0.0, armed)
    assert killed.wait() == -9, killed.log
    return killed


@pytest.mark.parametrize("point", FAILPOINTS)
def test_a_strategy_that_is_killed_there_loses_nothing(
    nursery: Nursery, store: str, service: FakeService, note: Path, point: str
) -> None:
    killed = kill_a_strategy(nursery, store, service, note, point)
    found = begin_again(store, service, [killed])
    assert found.complaints == ()
    assert found.repeated == FAILPOINTS[point]
    assert found.accepted > 0


@pytest.mark.parametrize("point", FAILPOINTS)
def test_a_worker_that_is_killed_there_loses_nothing(
    nursery: Nursery, store: str, service: FakeService, note: Path, point: str
) -> None:
    hit = 1 if "planning" in point else 2
    if point == "after the bytes were sent":
        kill_at_request(service, hit, note)
    armed = {"point": point, "hit": hit, "note": str(note)}
    talker = nursery.start(chaos_kit.strategy, store, [service.url], NUMBER, "external")
    killed = nursery.start(chaos_kit.deliver_for_others, store, [service.url], armed)
    assert killed.wait() == -9, killed.log
    nursery.start(chaos_kit.deliver_for_others, store, [service.url])
    outbox = opened(store, service)
    until(lambda: len(talker.said) == NUMBER)
    come_to_rest(outbox)
    found = audit(outbox, [talker.said], service.requests, in_flight=1)
    outbox.close()
    talker.kill()
    assert found.complaints == ()
    assert found.repeated == FAILPOINTS[point]


@pytest.mark.parametrize("point", ["before the commit of planning", "after the bytes were sent"])
def test_the_worker_process_of_a_strategy_that_is_killed_there_loses_nothing(
    nursery: Nursery, store: str, service: FakeService, note: Path, point: str
) -> None:
    if point == "after the bytes were sent":
        kill_at_request(service, 2, note)
    armed = {"point": point, "hit": 1, "note": str(note)}
    talker = nursery.start(chaos_kit.strategy, store, [service.url], NUMBER, "process", 0.0, armed)
    outbox = opened(store, service)
    until(lambda: note.exists() and len(talker.said) == NUMBER, 30)
    # It starts another one by itself, and has that told when everything else may be at rest already.
    until(lambda: next(outbox.rows("SELECT count(*) FROM alerts WHERE kind = 'worker.recovered'"))[0], 30)
    come_to_rest(outbox)
    found = audit(outbox, [talker.said], service.requests, in_flight=1)
    talker.kill()
    end_workers(outbox)
    outbox.close()
    assert found.complaints == ()
    assert found.repeated == FAILPOINTS[point]


# Versions of our own code that are wrong: the same audit must find each --------------------------------


@pytest.mark.parametrize(
    ("mutant", "point", "hit", "complaint"),
    [
        ("settles before it sends", "after settling", 3, "not told"),
        ("commits the position before the alerts", "after the commit of planning", 1, "lost"),
        ("has a key for each attempt", "after the bytes were sent", 2, "key"),
    ],
)
def test_a_mistake_is_found(  # noqa: PLR0917 - fixtures
    nursery: Nursery, store: str, service: FakeService, note: Path, mutant: str, point: str, hit: int, complaint: str
) -> None:
    killed = kill_a_strategy(nursery, store, service, note, point, hit, mutant)
    assert complaint in kinds(begin_again(store, service, [killed]))


def test_it_is_found_when_the_journal_is_removed_before_the_commit(
    nursery: Nursery, store: str, service: FakeService, note: Path
) -> None:
    point = "before the commit of planning"
    killed = kill_a_strategy(nursery, store, service, note, point)
    armed = {"point": point, "hit": 1, "note": f"{note}-again", "mutant": "removes the journal before the commit"}
    assert nursery.start(chaos_kit.strategy, store, [service.url], 0, "thread", 0.0, armed).wait() == -9
    assert "lost" in kinds(begin_again(store, service, [killed]))


@pytest.mark.parametrize("mutant", ["", "leases nothing", "gives back what others have leased"])
def test_two_workers_send_nothing_twice_and_it_is_found_when_they_do(
    nursery: Nursery, store: str, service: FakeService, note: Path, mutant: str
) -> None:
    """Each request waits a little for a second one, which must not come."""
    both = threading.Event()

    def body(received: Received) -> bytes:
        if service.most_at_once > 1:
            both.set()
        both.wait(0.02)
        return b""

    service.answer(200, body)
    armed = {"point": "", "hit": 0, "note": str(note), "mutant": mutant}
    for _ in range(2):
        nursery.start(chaos_kit.deliver_for_others, store, [service.url], armed)
    outbox = opened(store, service)
    until(lambda: len([p for p in outbox.processes() if p.role == "worker"]) == 2, 30)
    talker = nursery.start(chaos_kit.strategy, store, [service.url], 30, "external", 0.01)
    until(lambda: len(talker.said) == 30, 30)
    come_to_rest(outbox)
    found = audit(outbox, [talker.said], service.requests)
    talker.kill()
    end_workers(outbox)
    outbox.close()
    assert kinds(found) == (["repeated"] if mutant else [])


def kinds(found: Audit) -> list[str]:
    return [complaint.split(":")[0] for complaint in found.complaints]
