"""The SQLite file: opening it under every circumstance, growing, copying, forking."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alerts_kit import alert, python, run_python
from outbox_kit import claim, plan, settle

from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import AlertState
from bt_alerts.outbox.sql_planning import alert_row
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Reason

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


@contextlib.contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the database until the block ends."""
    process = python(LOCKER, path, how, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n", process.communicate()
    yield process
    process.communicate(b"\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


# Opening ---------------------------------------------------------------------------------------------


def test_a_new_file_is_private_and_its_folder_is_made(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "a" / "b" / "store.db")
    plan(outbox, "a")
    modes = {file.name: file.stat().st_mode & 0o777 for file in outbox.path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_what_was_kept_is_there_after_opening_again(path: Path) -> None:
    outbox = SqliteOutbox(path)
    plan(outbox, "a")
    outbox.close()
    again = SqliteOutbox(path)
    assert again.ledger().deliveries["pending"] == 1


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    SqliteOutbox(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 7}")
    told = rf"newer bt_alerts \(schema {schema.VERSION + 7}, this one knows {schema.VERSION}\): upgrade"
    with pytest.raises(StoreError, match=told):
        SqliteOutbox(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert schema.version_of(db) == schema.VERSION + 7


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"my shopping list, much longer than a header\n" * 100)
    with pytest.raises(StoreError, match="is not a database of bt_alerts: give `store:` another path"):
        SqliteOutbox(path)
    assert path.read_bytes().startswith(b"my shopping list")


def test_the_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE customers (name)")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program: give `store:` another path"):
        SqliteOutbox(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["folder", "under a file", "folder of that name"])
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "store.db").mkdir()
    path = {"folder": tmp_path, "under a file": tmp_path / "file" / "x.db"}.get(where, tmp_path / "store.db")
    with pytest.raises(StoreError, match=r"the store .* cannot be (opened|used)"):
        SqliteOutbox(path)


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0 and _mounted_read_only(folder)
    if not mounted:
        folder.chmod(0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere and may not mount")
    try:
        with pytest.raises(StoreError, match=r"cannot be (opened|used|written)"):
            SqliteOutbox(folder / "store.db")
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)
        folder.chmod(0o700)


def _mounted_read_only(folder: Path) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, check=False)
    return done.returncode == 0


# Versions --------------------------------------------------------------------------------------------


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    outbox = SqliteOutbox(path)
    plan(outbox, "a")
    assert outbox.ledger().accepted == 1


def test_an_older_store_takes_every_step_to_the_newest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = SqliteOutbox(path)
    made = plan(old, "a")
    old.close()
    now = schema.VERSION
    monkeypatch.setattr(schema, "VERSION", now + 2)
    steps = ["ALTER TABLE alerts ADD COLUMN seen REAL;", "CREATE TABLE later (x);\nINSERT INTO later VALUES (7);"]
    monkeypatch.setattr(schema, "STEPS", schema.STEPS | dict(enumerate(steps, start=now)))
    outbox = SqliteOutbox(path)
    assert list(outbox.rows("SELECT id, seen, (SELECT x FROM later) FROM alerts")) == [(made.id, None, 7)]
    assert list(outbox.rows("PRAGMA user_version")) == [(now + 2,)]


def test_a_store_of_the_first_version_goes_on_with_all_it_holds(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(schema.STEPS[0] + "PRAGMA user_version = 1;")
        made = alert("from before")
        columns = "id, type, kind, priority, time, symbol, strategy, run, source, body, state, reason, stored"
        db.execute(
            f"INSERT INTO alerts ({columns}) VALUES ({', '.join('?' * 13)})",
            alert_row(made, AlertState.PLANNED, "", 1.0)[:13],
        )
        db.execute("INSERT INTO channels (channel) VALUES ('a')")
        db.execute("INSERT INTO targets (channel, target, label) VALUES ('a', 't', 'x')")
        db.execute(
            "INSERT INTO deliveries (key, alert, channel, target, priority, silent, due, promised, created, expires, "
            "state) VALUES ('k', 1, 'a', 't', 2, 0, 1, 1, 1, 1e12, 'pending')"
        )
        db.commit()
    outbox = SqliteOutbox(path)
    claimed = claim(outbox)
    assert claimed is not None
    assert (claimed.alert, claimed.replies_to, claimed.memory, claimed.batch) == (made, (), {}, "")
    assert outbox.ledger().balanced


def test_a_step_that_fails_leaves_the_store_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteOutbox(path).close()
    with monkeypatch.context() as later:
        half = {schema.VERSION: "CREATE TABLE half (x); CREATE TABLE alerts (x);"}
        later.setattr(schema, "STEPS", schema.STEPS | half)
        later.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreError, match="already exists"):
            SqliteOutbox(path)
    outbox = SqliteOutbox(path)
    assert list(outbox.rows("SELECT name FROM sqlite_master WHERE name = 'half'")) == []


def test_a_step_that_another_process_takes_first_is_not_taken_twice(path: Path) -> None:
    """As it happens when many processes open a new store at once."""
    script = "import sys; from bt_alerts.outbox.sqlite import SqliteOutbox; sys.stdin.readline(); o = SqliteOutbox("
    script += "sys.argv[1]); o.position('x') if o._ready else o.release('x'); print('ok')"
    for _ in range(3):
        openers = [python(script, path, stdin=subprocess.PIPE) for _ in range(4)]
        results = []
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write(b"\n")
            opener.stdin.flush()
        for opener in openers:
            out, err = opener.communicate(timeout=60)
            results.append((out, err.decode()))
        assert results == [(b"ok\n", "")] * 4
        for file in path.parent.glob("store.db*"):
            file.unlink() if file.is_file() else shutil.rmtree(file)


def test_a_step_that_another_connection_takes_in_between_is_passed_over(path: Path) -> None:
    class Slow(sqlite3.Connection):
        def executescript(self, script: str, /) -> sqlite3.Cursor:
            SqliteOutbox(path).close()
            return super().executescript(script)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Slow)) as slow:
        schema.migrate(slow)
        assert schema.version_of(slow) == schema.VERSION
        assert not schema.is_foreign(slow)


# Locks, full disks, crashes --------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_store_that_is_locked_at_opening_opens_and_is_written_later(path: Path, exists: bool) -> None:
    if exists:
        SqliteOutbox(path).close()
    with locked(path, "BEGIN EXCLUSIVE"):
        outbox = SqliteOutbox(path, busy=0.05)
        with pytest.raises(StoreError, match="is locked by another process; nothing is lost"):
            plan(outbox, "a")
    plan(outbox, "a")
    assert outbox.ledger().accepted == 1


def test_reading_goes_on_while_another_process_writes(path: Path) -> None:
    outbox = SqliteOutbox(path, busy=0.05)
    plan(outbox, "a")
    with locked(path):
        assert outbox.ledger().accepted == 1
        assert outbox.pending(["a"], 0.0)[0] == 1
        with pytest.raises(StoreError, match="is locked by another process"):
            plan(outbox, "a")
    plan(outbox, "a")


def test_a_full_disk_is_said_and_what_was_there_stays(path: Path) -> None:
    outbox = SqliteOutbox(path)
    plan(outbox, "a")
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="cannot grow, the disk is full: free some space"):
        outbox.record([alert("x" * 20_000) for _ in range(50)], Reason.HISTORY)
    assert outbox.ledger().accepted == 1
    assert outbox.ledger().balanced
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    assert outbox.record([alert("x" * 20_000) for _ in range(50)], Reason.HISTORY) == 50


@pytest.mark.parametrize("cut", [0, 1, 40, 5_000])
def test_a_truncated_log_loses_only_what_it_held(path: Path, tmp_path: Path, cut: int) -> None:
    outbox = SqliteOutbox(path)
    outbox.record([alert() for _ in range(5)], Reason.HISTORY)
    outbox.idle()  # those are in the main file now
    outbox.record([alert() for _ in range(5)], Reason.HISTORY)
    crashed = tmp_path / "crashed.db"
    shutil.copy(path, crashed)
    log = path.with_name("store.db-wal").read_bytes()
    crashed.with_name("crashed.db-wal").write_bytes(log[: len(log) - cut] if cut else b"")
    again = SqliteOutbox(crashed)
    assert again.ledger().accepted in (5, 10)
    assert list(again.rows("PRAGMA integrity_check")) == [("ok",)]
    plan(again, "a")
    settle(again, claim(again))


def test_a_process_killed_in_a_transaction_leaves_all_or_nothing(path: Path) -> None:
    SqliteOutbox(path).close()
    script = """
    import sys, time
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.base import AlertState
    from bt_alerts.outbox.sqlite import SqliteOutbox
    outbox = SqliteOutbox(sys.argv[1])
    with outbox.transaction() as tx:
        tx.add_alert(Alert.make("one"), AlertState.RECORDED)
        tx.set_position("j", 5)
    with outbox.transaction() as tx:
        tx.add_alert(Alert.make("two"), AlertState.RECORDED)
        print("in it", flush=True)
        time.sleep(60)
    """
    process = python(script, path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    outbox = SqliteOutbox(path)
    assert (outbox.ledger().accepted, outbox.position("j")) == (1, 5)


def test_housekeeping_brings_the_log_into_the_file(path: Path, tmp_path: Path) -> None:
    outbox = SqliteOutbox(path)
    outbox.record([alert() for _ in range(50)], Reason.HISTORY)
    outbox.idle()
    copy = tmp_path / "without-log.db"
    shutil.copy(path, copy)
    assert SqliteOutbox(copy).ledger().accepted == 50


# Forks -----------------------------------------------------------------------------------------------

FORKED = """
import os
import sys
from bt_alerts.alert import Alert
from bt_alerts.outbox.base import AlertState
from bt_alerts.outbox.sqlite import SqliteOutbox

def keep(outbox, text):
    with outbox.transaction() as tx:
        tx.add_alert(Alert.make(text), AlertState.RECORDED)

outbox = SqliteOutbox(sys.argv[1])
keep(outbox, "before")
to_parent, to_child = os.pipe(), os.pipe()
if os.fork() == 0:
    outbox = outbox.forked()
    keep(outbox, "child, parent alive")
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    keep(outbox, "child, parent closed")
    if sys.argv[2] == "closing":
        outbox.close()
    os._exit(0)
os.read(to_parent[0], 1)
keep(outbox, "parent, child alive")
outbox.close()  # the last one to close a store deletes its log: this is not the last
other = SqliteOutbox(sys.argv[1])
keep(other, "another")
os.write(to_child[1], b".")
os.wait()
other.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("end", ["closing", "dying"])
def test_what_a_forked_child_writes_is_kept_although_its_parent_closes_first(path: Path, end: str) -> None:
    run_python(FORKED, path, end)
    outbox = SqliteOutbox(path)
    assert outbox.ledger().accepted == 5
    assert list(outbox.rows("PRAGMA integrity_check")) == [("ok",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_under_load_neither_hang_nor_harm(path: Path) -> None:
    script = """
    import os, sys, threading
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.base import AlertState
    from bt_alerts.outbox.sqlite import SqliteOutbox
    outbox = SqliteOutbox(sys.argv[1])
    stop = threading.Event()
    def keep():
        with outbox.transaction() as tx:
            tx.add_alert(Alert.make("x"), AlertState.RECORDED)
    def work():
        global n
        while not stop.is_set():
            keep()
            n += 1
    n = 0
    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(10):
        if os.fork() == 0:
            keep()
            os._exit(0)
        os.wait()
    stop.set()
    thread.join()
    print(outbox.ledger().accepted - n)
    """
    assert run_python(script, path).strip() == "10"
    assert list(SqliteOutbox(path).rows("PRAGMA integrity_check")) == [("ok",)]


def test_a_store_that_is_opened_to_look_at_is_never_made_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "alerts.db"
    with pytest.raises(StoreError):
        SqliteOutbox(path, read_only=True)
    assert not path.exists()
    with contextlib.closing(SqliteOutbox(path)) as writer:
        writer.record([alert()], "mode")
        with contextlib.closing(SqliteOutbox(path, read_only=True)) as reader:
            assert reader.ledger().accepted == 1
            with pytest.raises(StoreError, match="cannot be written"):
                reader.record([alert()], "mode")
            writer.record([alert()], "mode")
            assert reader.ledger().accepted == 2  # what others write is seen


def test_a_store_of_an_older_version_is_not_brought_up_to_date_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "alerts.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(f"{schema.STEPS[0]}\nPRAGMA user_version = 1;")
    with pytest.raises(StoreError, match="older bt_alerts: `bt-alerts health`"):
        SqliteOutbox(path, read_only=True)
    with contextlib.closing(sqlite3.connect(path)) as old:
        assert schema.version_of(old) == 1
