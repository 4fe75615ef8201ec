"""``health``: what it shows, its exit codes, and ``--watch`` on a terminal and into a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from alerts_kit import ROOT, until

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import AlertState, DeliveryState, NewDelivery, Process, Settlement
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.breaker import Breaker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")


@pytest.fixture
def store(tmp_path):
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    yield outbox
    outbox.close()


@pytest.fixture
def config(settings):
    return settings("store: alerts.db\n")


def plan(store, *targets, ago=0.0, after=0.0):
    """A delivery of ``phone`` to each target, planned so many seconds ago, to go so many seconds later."""
    now = time.time() - ago
    alert = Alert.make("x")
    with store.transaction() as tx:
        seq = tx.add_alert(alert, AlertState.WAITING)
        due = now + after
        new = [NewDelivery(f"{alert.id}{t}", "phone", t, f"{t}@•••", due, due, due + 1e6) for t in targets or ("anna",)]
        tx.add_deliveries(seq, new, now)
        tx.decide(seq, AlertState.PLANNED)


def settle(store, **settlement):
    now = time.time()
    claim = store.claim("phone", "me", now, 30.0, 0.0)
    assert store.settle(claim, Settlement(**settlement), "me", started=now - 0.5, now=now)


def looked(run, config, *options):
    done = run("health", "--json", *options, "-c", config)
    return done.code, json.loads(done.out)


# Well or not -----------------------------------------------------------------------------------------


def test_a_channel_that_works_is_0(run, webhook):
    assert run("send", "x", "-c", webhook).code == 0
    done = run("health", "-c", webhook)
    assert done.code == 0
    assert "hook ok 1 0 100.0 %" in done.said
    assert done.out.count("✓ balanced") == 2
    code, row = looked(run, webhook)
    assert (code, row["ok"], row["problems"]) == (0, True, [])
    assert (row["channels"]["hook"]["sent"], row["channels"]["hook"]["breaker"]) == (1, "closed")
    assert row["ledger"]["balanced"] is True
    assert row["ledger"]["deliveries"]["delivered"] == 1
    assert row["journals"] == {"files": 0, "unread_bytes": 0}


def test_a_channel_that_refuses_its_credentials_is_1(run, webhook, service):
    service.answer(401, "[bold]wrong key[/bold]")
    run("send", "x", "-c", webhook)
    done = run("health", "-c", webhook)
    assert done.code == 1
    assert "hook is disabled" in done.said
    assert "bt-alerts test hook" in done.said
    code, row = looked(run, webhook)
    assert code == 1
    assert row["channels"]["hook"]["status"] == "disabled"


def test_a_ledger_that_does_not_balance_is_1(run, store, config, tmp_path):
    plan(store)
    settle(store, state=DeliveryState.DELIVERED, outcome="sent")
    assert run("health", "-c", config).code == 0
    with sqlite3.connect(tmp_path / "alerts.db") as db:
        db.execute("UPDATE alerts SET state = 'lost' WHERE seq = 1")
    db.close()
    done = run("health", "-c", config)
    assert done.code == 1
    assert "does not balance" in done.out
    code, row = looked(run, config)
    assert (code, row["ledger"]["balanced"]) == (1, False)


def test_a_dead_letter_is_1(run, store, config):
    plan(store)
    settle(store, state=DeliveryState.DEAD, outcome="permanent", detail="[red]no[/red] such chat")
    plan(store)
    settle(store, state=DeliveryState.DELIVERED, outcome="sent")
    done = run("health", "-c", config)
    assert done.code == 1
    assert "phone: 1 dead letter in the last 24 hours: bt-alerts dead list" in done.out
    assert re.search(r"the last error was at .* UTC: \[red\]no\[/red\] such chat", done.out)


def test_a_table_of_80_columns_breaks_no_number(run, store, config, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # however long the machine takes, 40 s are 40 s
    for ago in (0, 40, 10_000):
        plan(store, ago=ago)
        settle(store, state=DeliveryState.DELIVERED, outcome="sent")
    with contextlib.closing(sqlite3.connect(store.path)) as db:  # what retention forgot is counted
        db.execute("INSERT INTO pruned VALUES ('deliveries', 'delivered', 'phone', 1234567)")
        db.commit()
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("health", "-c", config).out.splitlines()
    assert "channel   status        sent   failed   success   queue   median   95 %" in lines
    assert any(re.search(r"^phone +ok +1,234,570 +0 +100.0 % +0 +40 s +3 h$", line) for line in lines), lines
    assert max(map(len, lines)) <= 80


def test_what_waits_too_long_is_1(run, store, config):
    plan(store, ago=700)
    done = run("health", "-c", config)
    assert done.code == 1
    assert "phone ok 0 0 1 0 12 min" in done.said  # nothing was sent, so there is no rate of success
    assert "1 pending, and the oldest should have arrived 12 min ago" in done.said
    assert run("health", "--oldest", 15, "-c", config).code == 0


def test_what_is_scheduled_for_later_does_not_wait(run, store, config):
    plan(store, ago=86_400, after=2 * 86_400)
    code, row = looked(run, config)
    assert (code, row["channels"]["phone"]["queue"], row["channels"]["phone"]["oldest_pending"]) == (0, 1, None)


def test_an_open_breaker_is_1_and_says_which_address(run, store, config):
    plan(store, "anna", "ben")
    until_ = time.time() + 240
    failed = {"state": DeliveryState.PENDING, "outcome": "retry", "detail": "HTTP 503", "due": until_}
    settle(store, **failed, breaker=Breaker(5, 1, until_))
    settle(store, state=DeliveryState.DELIVERED, outcome="sent")
    done = run("health", "-c", config)
    assert done.code == 1
    assert re.search(r"phone failing .* open 1 of 2 addresses until \d\d:\d\d:\d\d", done.said)
    assert "fails again and again (1 of 2 addresses), it is left alone until" in done.said
    _, row = looked(run, config)
    assert [each["breaker"] for each in row["channels"]["phone"]["targets"]] == ["open", "closed"]


def test_a_worker_that_is_gone_is_1(run, store, config):
    now = time.time()
    about = {"pid": 4711, "host": "desk\x1b[31m"}
    store.check_in(Process("4711-a", "worker", about, now - 100, now - 5))
    done = run("health", "-c", config)
    assert done.code == 0
    assert re.search(r"worker 4711 desk�\[31m alive \d s ago", done.said)
    store.check_in(Process("4711-a", "worker", about, now - 1000, now - 300))
    done = run("health", "-c", config)
    assert done.code == 1
    assert re.search(r"worker 4711 desk�\[31m gone 5 min ago", done.said)
    assert "ended without a goodbye" in done.said
    _, row = looked(run, config)
    assert [(each["role"], each["alive"]) for each in row["processes"]] == [("worker", False)]


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_the_table_fits_the_terminal(run, store, config, columns, monkeypatch):
    plan(store, "anna", "ben")
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("health", "-c", config).out.splitlines()
    assert max(map(len, lines)) <= columns
    assert any("breaker" in line for line in lines) is (columns == 200)


def test_a_store_that_is_not_there_is_a_sentence(run, settings, tmp_path):
    done = run("health", "-c", settings("store: nothing.db\n"))
    assert done.code == 1
    assert "There is no store" in done.said
    assert "nothing.db yet" in done.said
    assert not (tmp_path / "nothing.db").exists()


def test_a_server_is_looked_at_and_may_be_away(run, settings, own_postgres, tmp_path):
    dsn = own_postgres.fresh_database()
    password = urlsplit(dsn).password
    config = settings(f"store: {dsn}\n")
    outbox = PostgresOutbox(dsn, tmp_path)
    plan(outbox)
    settle(outbox, state=DeliveryState.DELIVERED, outcome="sent")
    code, row = looked(run, config)
    assert (code, row["channels"]["phone"]["sent"], row["ledger"]["balanced"]) == (0, 1, True)
    shown = json.dumps(row) + run("health", "-c", config).said
    outbox.close()
    own_postgres.stop()
    done = run("health", "-c", config)
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "The store postgresql://" in done.err
    for command in (["history"], ["prune", "--keep", "1h"], ["dead", "list"], ["export", "x.csv"]):
        away = run(*command, "-c", config)
        assert (away.code, away.out) == (1, ""), command  # neither the command nor the settings are wrong
        assert away.err.endswith("; try again later.\n")
    for secret in (password, unquote(password)):
        assert secret not in shown + done.err


@contextlib.contextmanager
def locked(path):
    """Somebody has the database for themselves, and lets nobody read."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE channels SET not_before = 0")
    other.execute("COMMIT")
    try:
        yield
    finally:
        other.close()


def test_a_locked_store_is_a_sentence_and_1(run, store, config, tmp_path, monkeypatch):
    monkeypatch.setattr("bt_alerts.outbox.sqlite.BUSY_SECONDS", 0.1)
    plan(store)
    store.close()
    with locked(tmp_path / "alerts.db"):
        done = run("health", "-c", config)
    assert (done.code, done.out) == (1, "")
    assert done.err.strip().endswith("is locked by another process; nothing is lost, try again later.")


# Watching --------------------------------------------------------------------------------------------


def start(config: Path, *options: str, stdout: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bt_alerts", "health", "--watch", "--every", "0.2", *options, "-c", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, start_new_session=True)


def more(process: subprocess.Popen[bytes]) -> bytes:
    """What it says next. Fails where it has ended."""
    assert process.stdout is not None
    said = os.read(process.stdout.fileno(), 65536)
    assert said, process.communicate()[1]
    return said


def end(process: subprocess.Popen[bytes]) -> str:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    return err.decode()


def test_into_a_pipe_each_look_goes_below_the_one_before(store, config):
    plan(store)
    process = start(config, stdout=subprocess.PIPE)
    assert process.stdout is not None
    seen = b""
    while seen.count(b"\nphone") < 3:
        seen += more(process)
    assert end(process) == ""
    assert b"\x1b" not in seen
    assert b"every 0.2 s; Ctrl-C ends it" in seen


def test_watched_json_is_an_object_a_line(store, config):
    plan(store)
    process = start(config, "--json", stdout=subprocess.PIPE)
    assert process.stdout is not None
    rows = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert end(process) == ""
    assert [row["channels"]["phone"]["queue"] for row in rows] == [1, 1, 1]


def test_a_terminal_is_drawn_over_without_being_cleared(store, config, tmp_path):
    plan(store)
    terminal, inner = pty.openpty()
    process = start(config, stdout=inner)
    os.close(inner)
    seen = bytearray()

    def read() -> bytearray:
        while select.select([terminal], [], [], 0.05)[0]:
            try:
                seen.extend(os.read(terminal, 65536))
            except OSError:
                break
        return seen

    until(lambda: read().count(b"phone") >= 2, timeout=30)
    settle(store, state=DeliveryState.DEAD, outcome="permanent", detail="no such chat")
    until(lambda: b"1 dead letter in the last 24 hours" in read(), timeout=30)
    assert end(process) == ""
    read()
    os.close(terminal)
    assert b"\x1b[2J" not in seen, "clearing the screen flickers"
    assert b"\x1b[1A" in seen
    assert seen.rstrip().endswith(b"\x1b[?25h"), "the cursor is back"


def test_watching_goes_on_while_the_store_cannot_be_read(store, config, tmp_path):
    plan(store)
    store.close()
    file, aside = tmp_path / "alerts.db", tmp_path / "aside.db"
    process = start(config, stdout=subprocess.PIPE)
    assert process.stdout is not None
    seen = more(process)
    file.rename(aside)
    while b"alerts.db cannot be opened: " not in seen:
        seen += more(process)
    aside.rename(file)
    seen = b""
    while b"\nphone" not in seen:
        seen += more(process)
    assert end(process) == ""
