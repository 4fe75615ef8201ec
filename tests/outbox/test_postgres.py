"""What a store on PostgreSQL does beyond the contract: a server that goes away, several machines, forks, secrets."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg
import pytest
from alerts_kit import alert, python, run_python, until, webhook
from outbox_kit import T0, again, claim, new, plan, settle, state_of
from postgres_server import PostgresServer

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, Source
from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import AlertState, DeliveryState, Settlement
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.postgres_connections import Link, translated
from bt_alerts.outbox.postgres_trouble import StoreAway, StoreBusy
from bt_alerts.rules.stage import Reason
from bt_alerts.settings import load
from bt_alerts.testing import FakeService

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told only where it comes in time, and a busy machine takes its time; who is away says so at once."""
    monkeypatch.setattr("bt_alerts.outbox.postgres.OPEN_SECONDS", 30.0)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., PostgresOutbox]]:
    made: list[PostgresOutbox] = []

    def opened(dsn: str, **more: Any) -> PostgresOutbox:
        made.append(PostgresOutbox(dsn, tmp_path, **more))
        return made[-1]

    yield opened
    for outbox in made:
        outbox.close()


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        for statement in statements:
            db.execute(statement.encode())


def keep(outbox: PostgresOutbox, text: str) -> None:
    with outbox.transaction() as tx:
        tx.add_alert(alert(text), AlertState.RECORDED)


def waiting_for_a_lock(postgres: PostgresServer) -> int:
    """How many do."""
    return int(postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0])


# Opening ---------------------------------------------------------------------------------------------


def test_the_tables_are_in_a_schema_of_their_own(postgres_dsn: str, opened: Any) -> None:
    plan(opened(postgres_dsn), "a")
    with psycopg.connect(postgres_dsn) as db:
        found = db.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tableowner = current_user").fetchall()
    assert found == [("bt_alerts",)]
    assert opened(postgres_dsn).ledger().deliveries["pending"] == 1


def test_the_address_can_choose_another_schema(postgres_dsn: str, opened: Any) -> None:
    execute(postgres_dsn, "CREATE SCHEMA mine")
    outbox = opened(f"{postgres_dsn}?options=-csearch_path%3Dmine")
    plan(outbox, "a")
    assert next(outbox.rows("SELECT count(*) FROM mine.alerts")) == (1,)
    assert opened(postgres_dsn).ledger().accepted == 0
    assert opened(postgres_dsn).journals != outbox.journals
    with pytest.raises(StoreError, match="chooses a schema that does not exist"):
        opened(f"{postgres_dsn}?options=-csearch_path%3Dnowhere")


def test_a_store_of_a_newer_version_is_refused_also_where_the_server_was_upgraded_under_us(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    outbox = opened(postgres_dsn)
    keep(outbox, "before")
    execute(postgres_dsn, f"UPDATE bt_alerts.schema_version SET version = {schema.VERSION + 7}")
    told = rf"newer bt_alerts \(schema {schema.VERSION + 7}, this one knows {schema.VERSION}\): upgrade"
    with pytest.raises(StoreError, match=told):
        opened(postgres_dsn)
    outbox.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=told):
            keep(outbox, "after")


def test_the_database_of_another_program_is_refused_and_left_as_it_is(postgres_dsn: str, opened: Any) -> None:
    for number, columns in enumerate(("alerts (name text)", "schema_version (installed_rank int)")):
        execute(postgres_dsn, f"CREATE SCHEMA other{number}", f"CREATE TABLE other{number}.{columns}")
        with pytest.raises(StoreError, match="of another program: give `store:` another database"):
            opened(f"{postgres_dsn}?options=-csearch_path%3Dother{number}")
        with psycopg.connect(postgres_dsn) as db:
            query = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
            assert db.execute(query, (f"other{number}",)).fetchone() == (1,)


def test_a_store_of_the_first_version_goes_on_with_all_it_holds(postgres_dsn: str, opened: Any) -> None:
    made = alert("from before")
    execute(
        postgres_dsn,
        f"CREATE SCHEMA bt_alerts; SET search_path TO bt_alerts; {schema.for_postgres(schema.STEPS[0])}"
        "CREATE TABLE schema_version (version BIGINT NOT NULL); INSERT INTO schema_version VALUES (1)",
    )
    with psycopg.connect(postgres_dsn) as db:
        db.execute(
            "INSERT INTO bt_alerts.alerts (id, type, kind, priority, time, symbol, strategy, run, source, body, state, "
            "reason, stored) VALUES (%s, 'custom', 'custom', 2, 1, '', '', '', 'live', %s, 'planned', '', 1)",
            (made.id, made.to_json()),
        )
        db.execute("INSERT INTO bt_alerts.channels (channel) VALUES ('a')")
        db.execute("INSERT INTO bt_alerts.targets (channel, target, label) VALUES ('a', 't', 'x')")
        db.execute(
            "INSERT INTO bt_alerts.deliveries (key, alert, channel, target, priority, silent, due, promised, created, "
            "expires, state) VALUES ('k', 1, 'a', 't', 2, 0, 1, 1, 1, 1e12, 'pending')"
        )
    outbox = opened(postgres_dsn)
    claimed = claim(outbox)
    assert claimed is not None
    assert (claimed.alert, claimed.batch) == (made, "")
    settle(outbox, claimed)
    plan(outbox, "a")
    assert outbox.ledger().balanced


def test_a_step_that_fails_leaves_the_store_as_it_was(
    postgres_dsn: str, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(postgres_dsn)
    with monkeypatch.context() as later:
        half = {schema.VERSION: "CREATE TABLE half (x INTEGER); CREATE TABLE alerts (x INTEGER);"}
        later.setattr(schema, "STEPS", schema.STEPS | half)
        later.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreError, match="already exists"):
            opened(postgres_dsn)
    assert list(opened(postgres_dsn).rows("SELECT to_regclass('half')::text")) == [(None,)]


def test_processes_that_start_at_once_on_an_empty_database_do_not_fight(postgres_dsn: str, tmp_path: Path) -> None:
    script = """
    import sys
    from pathlib import Path
    from bt_alerts.outbox.postgres import PostgresOutbox
    sys.stdin.readline()
    outbox = PostgresOutbox(sys.argv[1], Path(sys.argv[2]))
    outbox.release("nobody")
    print("ok")
    """
    openers = [python(script, postgres_dsn, tmp_path, stdin=subprocess.PIPE) for _ in range(4)]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"\n")
        opener.stdin.flush()
    assert [opener.communicate(timeout=60) for opener in openers] == [(b"ok\n", b"")] * 4


def test_who_may_not_come_in_is_told_at_once_and_what_to_do(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    password = quote(unquote(urlsplit(postgres_dsn).password or ""), safe="")
    for dsn, told in (
        (postgres_dsn.replace(password, "wrong-password"), "refuses user or password: mend them in `store:`"),
        (f"{postgres_dsn}_nowhere", r"does not exist: create the database \(`createdb`\)"),
        (f"{postgres_dsn}?sslmode=require", "cannot be reached safely"),
        (f"{postgres_dsn}?port=99999999", "has an address that is wrong: mend `store:`"),
        (f"{postgres_dsn}?whatever=1", "invalid URI query parameter"),
    ):
        with pytest.raises(StoreError, match=told) as raised:
            opened(dsn)
        assert password not in str(raised.value)
        assert "wrong-password" not in str(raised.value)


def test_who_may_read_but_not_write_is_told(postgres: PostgresServer, postgres_dsn: str, opened: Any) -> None:
    plan(opened(postgres_dsn), "a")
    postgres.sql("CREATE ROLE looker LOGIN PASSWORD 'look'")
    execute(postgres_dsn, "GRANT USAGE ON SCHEMA bt_alerts TO looker",
            "GRANT SELECT ON ALL TABLES IN SCHEMA bt_alerts TO looker")  # fmt: skip
    parts = urlsplit(postgres_dsn)
    looker = opened(f"postgresql://looker:look@{parts.hostname}:{parts.port}{parts.path}")
    assert looker.ledger().accepted == 1
    with pytest.raises(StoreError, match="may not be written by this user"):
        plan(looker, "a")


def test_journals_are_on_this_machine_private_and_the_same_for_each_user(postgres_dsn: str, opened: Any) -> None:
    outbox = opened(postgres_dsn)
    parts = urlsplit(postgres_dsn)
    again = opened(f"postgres://{parts.username}@{parts.netloc.rpartition('@')[2]}{parts.path}?sslmode=prefer",
                   secrets={"password": unquote(parts.password or "")})  # fmt: skip
    assert (again.journals, again.attachments) == (outbox.journals, outbox.attachments)
    assert outbox.journals is not None
    assert stat.S_IMODE(outbox.journals.parent.stat().st_mode) == 0o700
    assert not outbox.local


def test_statements_are_put_into_postgresqls_words() -> None:
    said = "SELECT '?' FROM t WHERE a = ? AND b IN (?, ?) /* FOR UPDATE OF t SKIP LOCKED */"
    assert translated(said) == "SELECT '?' FROM t WHERE a = $1 AND b IN ($2, $3) FOR UPDATE OF t SKIP LOCKED"


# A server that goes away -----------------------------------------------------------------------------


def test_a_server_that_is_away_when_the_store_is_opened_is_used_when_it_comes(
    own_postgres: PostgresServer, opened: Any
) -> None:
    dsn = own_postgres.fresh_database()
    own_postgres.stop()
    outbox = opened(dsn)
    for _ in range(3):
        with pytest.raises(StoreAway, match=r"cannot be reached just now \(Connection refused\); it is tried again"):
            plan(outbox, "a")
    own_postgres.start()
    until(lambda: _works(outbox))
    assert outbox.ledger().deliveries["pending"] == 1


def _works(outbox: PostgresOutbox) -> bool:
    with contextlib.suppress(StoreAway):
        plan(outbox, "a")
        return True
    return False


def test_a_server_that_is_away_is_not_hammered(own_postgres: PostgresServer, opened: Any) -> None:
    outbox = opened(own_postgres.fresh_database())
    own_postgres.stop()
    with pytest.raises(StoreAway):
        outbox.position("j")
    tries: list[float] = []
    connect = outbox._gate._connected
    outbox._gate._connected = lambda prepare: (tries.append(time.monotonic()), connect(prepare))[1]
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        with pytest.raises(StoreAway):
            outbox.position("j")
    assert 1 <= len(tries) <= 3  # after 0.5, 1 and 2 seconds


def test_a_server_stopped_in_the_middle_loses_nothing_and_keeps_the_order(
    own_postgres: PostgresServer, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"alerts": {"hook": webhook(service.url)}, "delivery": {"flush_timeout": 0}}
    with AlertManager(config, store=own_postgres.fresh_database()) as manager:

        def emit(numbers: range) -> None:
            for number in numbers:
                priority = "high" if number % 10 == 0 else "medium"
                assert manager.emit(
                    Alert.make(f"{number}", priority=priority, kind="custom", source=Source.LIVE, run="r")
                )

        emit(range(100))
        service.wait_for(30, timeout=30)
        own_postgres.stop("immediate")
        emit(range(100, 200))
        until(lambda: "Nothing is lost: alerts wait in the journal" in caplog.text)
        own_postgres.start()
        emit(range(200, 300))
        assert manager.flush(60)
        assert manager.ledger().balanced
        states = (
            "SELECT d.state, count(*) FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE a.run = 'r' GROUP BY 1"
        )
        assert list(manager.outbox.rows(states)) == [("delivered", 300)]
    by_key: dict[str, dict[str, Any]] = {}
    repeats = 0
    for request in service.requests:
        if request.json()["data"]["kind"] == "custom":
            repeats += request.headers["webhook-id"] in by_key
            by_key.setdefault(request.headers["webhook-id"], request.json()["data"])
    assert len(by_key) == 300
    assert repeats <= 1  # what was in flight
    for priority in ("high", "medium"):
        numbers = [int(each["message"]) for each in by_key.values() if each["priority"] == priority]
        assert numbers == sorted(numbers)


def test_connections_that_were_ended_while_nobody_needed_them_cost_nothing(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    outbox = opened(postgres_dsn)
    made = plan(outbox, "a")
    assert state_of(outbox, made) == ["pending"]
    pid = next(iter(outbox._pool.backends))
    postgres.sql("SELECT pg_terminate_backend({}, 5000)", pid)
    claimed = claim(outbox)
    assert state_of(outbox, made) == ["pending"]
    assert settle(outbox, claimed)
    assert pid not in outbox._pool.backends


def test_a_transaction_whose_connection_ends_leaves_nothing_and_can_be_repeated(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    outbox = opened(postgres_dsn)

    def interrupted() -> None:
        with outbox.transaction() as tx:
            tx.add_alert(alert(), AlertState.RECORDED)
            tx.set_position("j", 5)
            postgres.sql("SELECT pg_terminate_backend({}, 5000)", next(iter(outbox._pool.backends)))
            tx.set_position("j", 6)

    with pytest.raises(StoreAway, match="cannot be reached just now"):
        interrupted()
    assert (outbox.ledger().accepted, outbox.position("j")) == (0, 0)


def test_a_server_that_says_nothing_at_all_is_given_up(
    own_postgres: PostgresServer, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened(own_postgres.fresh_database())
    frozen = psutil.Process(next(iter(outbox._pool.backends)))
    frozen.suspend()
    try:
        with monkeypatch.context() as short:
            short.setattr(Link, "patience", 0.3)
            with pytest.raises(StoreAway, match="the server does not answer"):
                outbox.position("j")
        assert outbox.position("j") == 0  # over another connection
    finally:
        frozen.resume()


def test_when_all_connections_are_in_use_a_thread_waits_and_is_then_told(
    postgres_dsn: str, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bt_alerts.outbox.postgres_connections.QUEUE_SECONDS", 0.1)
    outbox = opened(postgres_dsn, connections=1)
    with outbox.transaction() as tx:
        tx.set_position("j", 1)
        with pytest.raises(StoreBusy, match="all connections to the store are in use"):
            outbox.position("j")
    assert outbox.position("j") == 1


def test_a_store_that_was_closed_opens_again_for_whoever_asks(postgres_dsn: str, opened: Any) -> None:
    outbox = opened(postgres_dsn)
    keep(outbox, "x")
    with outbox.transaction() as tx:
        outbox.close()
        tx.set_position("j", 1)
    assert outbox._pool._free == []
    assert (outbox.position("j"), outbox.ledger().accepted) == (1, 1)
    outbox.idle()
    assert outbox.position("j") == 1


# Several at once -------------------------------------------------------------------------------------


def test_one_planner_plans_at_a_time(postgres: PostgresServer, postgres_dsn: str, opened: Any) -> None:
    one, two = opened(postgres_dsn), opened(postgres_dsn)
    seen: list[int] = []

    def second() -> None:
        with two.transaction() as tx:
            seen.append(tx.position("j"))

    thread = threading.Thread(target=second)
    with one.transaction() as tx:
        assert tx.position("j") == 0
        thread.start()
        until(lambda: waiting_for_a_lock(postgres))
        tx.set_position("j", 5)
    thread.join(10)
    assert seen == [5]


def test_a_settlement_that_the_server_undoes_for_a_deadlock_is_repeated(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    def undo_after(delay: str) -> None:
        """How long who connects from now on waits for a lock before it looks for a deadlock, and then is undone."""
        name = psycopg.sql.Identifier(urlsplit(postgres_dsn).path[1:])
        postgres.sql("ALTER DATABASE {} SET deadlock_timeout = {}", name, delay)

    undo_after("10min")
    with psycopg.connect(postgres_dsn) as first, psycopg.connect(postgres_dsn) as other:
        undo_after("50ms")
        outbox = opened(postgres_dsn)
        made = plan(outbox, "a")
        claimed = claim(outbox)
        settled: list[bool] = []
        told = len(postgres.log)
        first.execute("SELECT 1 FROM bt_alerts.targets FOR UPDATE")
        other.execute("SELECT 1 FROM bt_alerts.deliveries FOR UPDATE")
        settling = threading.Thread(target=lambda: settled.append(settle(outbox, claimed)))
        settling.start()
        until(lambda: waiting_for_a_lock(postgres) == 1)  # it has reserved the targets
        locking = threading.Thread(target=other.execute, args=("LOCK TABLE bt_alerts.targets IN EXCLUSIVE MODE",))
        locking.start()
        until(lambda: waiting_for_a_lock(postgres) == 2)
        first.rollback()  # now it gets the target and wants the delivery of the other, who waits for it
        locking.join(20)
        other.commit()
    settling.join(20)
    assert "deadlock detected" in postgres.log[told:]
    assert settled == [True]
    assert state_of(outbox, made) == ["delivered"]
    assert len(list(outbox.rows("SELECT 1 FROM attempts"))) == 1


def test_what_is_acknowledged_while_it_is_settled_is_not_tried_again(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    outbox = opened(postgres_dsn)
    made = plan(outbox, "a")
    claimed = claim(outbox)
    settled: list[bool] = []
    with outbox.transaction() as tx:
        assert tx.acknowledge(made.id, T0)
        thread = threading.Thread(target=lambda: settled.append(settle(outbox, claimed, again(T0 + 5))))
        thread.start()
        until(lambda: waiting_for_a_lock(postgres))
    thread.join(10)
    assert settled == [True]
    assert state_of(outbox, made) == ["cancelled"]


def test_two_cannot_forget_the_same_alerts(postgres_dsn: str, opened: Any) -> None:
    stores = [opened(postgres_dsn), opened(postgres_dsn)]
    stores[0].record([alert() for _ in range(500)], Reason.HISTORY)
    gate = threading.Barrier(2)
    pruned: list[int] = []

    def prune(outbox: PostgresOutbox) -> None:
        gate.wait()
        pruned.append(outbox.prune(time.time() + 60, 500).alerts)

    threads = [threading.Thread(target=prune, args=(outbox,)) for outbox in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(pruned) == 500
    ledger = stores[0].ledger()
    assert (ledger.accepted, ledger.recorded, ledger.balanced) == (500, 500, True)


WORKER = """
import sys
from pathlib import Path
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.rules.outcome import RetrySettings
dsn, folder, owner, *urls = sys.argv[1:]
outbox = PostgresOutbox(dsn, Path(folder))
channel = Channel("hook", WebhookDispatcher(urls))
courier = Courier(outbox, channel, {"hook": channel}, owner=owner, retry=RetrySettings())
print("ready", flush=True)
sys.stdin.readline()
n = 0
while outbox.next_due("hook", 0) is not None:
    n += courier.deliver_one()
print(n)
"""


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_two_workers_on_two_connections_deliver_each_alert_once(
    postgres_dsn: str, tmp_path: Path, opened: Any, service: FakeService, count: int
) -> None:
    from bt_alerts.delivery.channel import Channel
    from bt_alerts.dispatchers.webhook import WebhookDispatcher

    urls = [f"{service.url}/{number}" for number in range(4)]
    targets = Channel("hook", WebhookDispatcher(urls)).dispatcher.targets()
    outbox = opened(postgres_dsn)
    workers = [python(WORKER, postgres_dsn, tmp_path, name, *urls, stdin=subprocess.PIPE) for name in ("one", "two")]
    made = [alert(f"{number}") for number in range(count)]
    for first in range(0, count, 100):
        with outbox.transaction() as tx:
            for number, each in enumerate(made[first : first + 100], first):
                seq = tx.add_alert(each, AlertState.WAITING)
                assert seq is not None
                key = targets[number % 4].key
                tx.add_deliveries(seq, [new(each, f"hook/{key}", due=0.0, expires=time.time() + 9_999)], 0.0)
                tx.decide(seq, AlertState.PLANNED)
    service.answer(gate=(gate := threading.Event()))
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    service.wait_for(2, timeout=25)  # each waits for its first answer: neither can do all before the other begins
    gate.set()
    said = [worker.communicate(timeout=600) for worker in workers]
    assert [err for _, err in said] == [b"", b""]
    shares = [int(out) for out, _ in said]
    assert sum(shares) == count
    assert min(shares) > 0
    keys = collections.Counter(request.headers["webhook-id"] for request in service.requests)
    assert len(keys) == keys.total() == count
    assert outbox.ledger().deliveries["delivered"] == count
    for path in {request.path for request in service.requests}:
        numbers = [int(request.json()["data"]["message"]) for request in service.requests if request.path == path]
        assert numbers == sorted(numbers)


# The bell --------------------------------------------------------------------------------------------


class Ear:
    """Counts what it hears."""

    def __init__(self, outbox: PostgresOutbox) -> None:
        self.heard = 0
        self.bell = outbox.bell()
        self.end = self.bell.listen(self._hear)
        until(lambda: self.heard)  # once when it begins to listen

    def _hear(self) -> None:
        self.heard += 1

    def hears(self, what: Callable[[], object]) -> bool:
        before = self.heard
        what()
        with contextlib.suppress(TimeoutError):
            until(lambda: self.heard > before)
            return True
        return False


def test_what_another_process_plans_wakes_whoever_listens(
    postgres: PostgresServer, postgres_dsn: str, opened: Any
) -> None:
    here, there = opened(postgres_dsn), opened(postgres_dsn)
    ear = Ear(here)
    try:
        assert ear.hears(lambda: plan(there, "a"))
        with there.transaction() as tx:  # for a planner elsewhere
            tx.add_alert(alert(), AlertState.WAITING)
        until(lambda: ear.heard >= 3)
        count = ear.heard
        keep(there, "only recorded")
        plan(here, "a")  # who plans here knows it
        assert ear.hears(lambda: there.enable_channel("a", "anew"))
        assert ear.heard == count + 1
        settle(here, claim(here), Settlement(DeliveryState.DEAD, "permanent", "no"))

        def retry() -> None:
            with there.transaction() as tx:
                assert tx.retry_dead(None, T0, 1.0) == 1

        assert ear.hears(retry)
        assert ear.hears(postgres.hang_up)  # what was told meanwhile may have been missed
        assert ear.hears(lambda: plan(there, "a"))
        assert ear.hears(here.bell().ring)
    finally:
        ear.end()
        ear.end()
    names = {"bt_alerts listener", "bt_alerts bell"}
    until(lambda: not [each for each in threading.enumerate() if each.name in names])


def test_the_courier_of_another_process_is_woken(postgres_dsn: str, tmp_path: Path, opened: Any) -> None:
    script = """
    import sys, threading
    from pathlib import Path
    from bt_alerts.outbox.postgres import PostgresOutbox
    outbox = PostgresOutbox(sys.argv[1], Path(sys.argv[2]))
    heard = threading.Event()
    end = outbox.bell().listen(heard.set)
    heard.wait(30)  # it listens
    heard.clear()
    while True:
        claimed = outbox.claim("a", "there", 2e9, 30.0, 0.0)
        if claimed is not None:
            print(claimed.key, flush=True)
            break
        print("sleeps", flush=True)
        heard.wait(30) or sys.exit("nobody rang")
        heard.clear()
    end()
    """
    outbox = opened(postgres_dsn)
    outbox.enable_channel("a", "x")
    process = python(script, postgres_dsn, tmp_path / "another machine")
    assert process.stdout is not None
    assert process.stdout.readline() == b"sleeps\n"
    made = plan(outbox, "a", expires=3e9)
    out, err = process.communicate(timeout=30)
    assert out.decode().split()[-1] == f"{made.id}-a-t"
    assert err == b""


# Forks -----------------------------------------------------------------------------------------------


def test_a_forked_child_has_connections_of_its_own_and_does_not_hold_those_of_its_parent(
    postgres: PostgresServer, postgres_dsn: str, tmp_path: Path, opened: Any
) -> None:
    script = """
    import gc, os, sys, threading, warnings
    from pathlib import Path
    from bt_alerts.alert import Alert
    from bt_alerts.outbox import postgres
    from bt_alerts.outbox.base import AlertState
    from bt_alerts.outbox.postgres import PostgresOutbox
    postgres.OPEN_SECONDS = 30.0  # or there could be a second connection while the first is being opened
    warnings.simplefilter("error", ResourceWarning)

    def keep(text):
        with outbox.transaction() as tx:
            tx.add_alert(Alert.make(text), AlertState.RECORDED)

    outbox = PostgresOutbox(sys.argv[1], Path(sys.argv[2]))
    reading = outbox.rows("SELECT generate_series(1, 2000)")
    next(reading)
    end = outbox.bell().listen(lambda: None)
    keep("before")
    backends = set(outbox._pool.backends)
    to_parent, to_child = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        keep("child")
        assert not outbox._pool.backends & backends
        gc.collect()
        os.write(to_parent[1], b".")
        os.read(to_child[0], 1)
        os._exit(0)
    os.read(to_parent[0], 1)
    keep("parent")
    assert outbox._pool.backends == backends
    assert len(list(reading)) == 1999
    print(*backends, child, flush=True)
    os._exit(0)  # while the child lives on
    """
    process = python(script, postgres_dsn, tmp_path)
    assert process.stdout is not None
    backend, child = map(int, process.stdout.readline().split())
    try:
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = {}"
        until(lambda: postgres.sql(gone, backend) == [(0,)])
        assert psutil.Process(child).is_running()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
        _, err = process.communicate(timeout=30)
    assert err == b""
    assert opened(postgres_dsn).ledger().accepted == 3


# Secrets, and the way there ---------------------------------------------------------------------------


def test_the_password_is_nowhere(
    own_postgres: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, run_cli: Callable[..., str]
) -> None:
    caplog.set_level(logging.DEBUG)
    dsn = own_postgres.fresh_database()
    written = dsn.split(":")[2].partition("@")[0]
    settings = tmp_path / "alerts.yaml"
    settings.write_text(f"store: {dsn}\nalerts:\n  console: {{}}\n")
    settings.chmod(0o600)
    said: list[object] = []
    with AlertManager(settings) as manager:
        assert manager.emit(Alert.make("x", kind="custom", source=Source.LIVE))
        assert manager.flush(10)
        own_postgres.stop("immediate")
        with pytest.raises(StoreError) as raised:
            manager.outbox.ledger()
        said += [manager, manager.settings, manager.settings.model_dump(), manager.settings.hash, vars(manager.outbox)]
        said += [raised.value, raised.getrepr(showlocals=False)]
        own_postgres.start()
        until(lambda: manager.flush(1))
        said.append(manager._repr_html_())
    for command in (["--verbose", "check"], ["health"]):
        said.append(run_cli(*command, "-c", settings))
    with pytest.raises(StoreError) as refused:
        AlertManager(settings, store=dsn.replace(written, f"{written}x"))
    said += [refused.value, caplog.text]
    everything = "\n".join(f"{each} {each!r}" for each in said)
    state = Path(os.environ["XDG_STATE_HOME"])
    everything += "".join(path.read_text(errors="replace") for path in state.rglob("*") if path.is_file())
    assert "127.0.0.1" in everything
    assert written not in everything
    assert unquote(written) not in everything


@pytest.fixture
def run_cli() -> Callable[..., str]:
    def run(*arguments: object) -> str:
        process = subprocess.run(
            [sys.executable, "-m", "bt_alerts", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return process.stdout + process.stderr

    return run


def test_without_psycopg_it_is_told_what_to_install() -> None:
    script = """
    import sys
    sys.modules["psycopg"] = None
    from bt_alerts import AlertManager
    try:
        AlertManager(store="postgresql://h/db", alerts={"console": {}})
    except Exception as exc:
        print(type(exc).__name__, exc)
    """
    assert (
        run_python(script) == 'StoreError a store at postgresql:// needs psycopg: pip install "bt-alerts[postgres]"\n'
    )


def test_the_password_can_come_from_the_environment(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(postgres_dsn)
    monkeypatch.setenv("PGPASSWORD", unquote(parts.password or ""))
    settings = load({"store": f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"})
    with AlertManager(settings) as manager:
        assert manager.ledger().accepted == 0


def test_a_store_that_is_opened_to_look_at_is_never_changed(
    postgres_dsn: str, opened: Callable[..., PostgresOutbox]
) -> None:
    with pytest.raises(StoreError, match="older bt_alerts"):
        opened(postgres_dsn, read_only=True)
    writer = opened(postgres_dsn)
    keep(writer, "one")
    reader = opened(postgres_dsn, read_only=True)
    assert reader.ledger().accepted == 1
    with pytest.raises(StoreError, match="read-only"):
        keep(reader, "two")
    assert writer.ledger().accepted == 1
