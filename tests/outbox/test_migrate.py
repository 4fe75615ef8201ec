"""Copying a store: everything arrives as it was, the original stays as it is, and a copy that broke off is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert, python, until
from outbox_kit import SENT, T0, again, claim, plan, settle, state_of

from bt_alerts import Alert
from bt_alerts.alert import Attachment
from bt_alerts.errors import StoreError
from bt_alerts.outbox import migrate as migration
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import AlertState, DeliveryState, Outbox, Process, Settlement
from bt_alerts.outbox.entries import Accepted, encode
from bt_alerts.outbox.journal import Journal, dead_journals
from bt_alerts.outbox.migrate import Copied, migrate, tables
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Reason

Ends = tuple[str, str]


class Place:
    """Where the stores of a test are, and how to open them."""

    def __init__(self, folder: Path, fresh: Callable[[], str]) -> None:
        self.folder = folder
        self._fresh = fresh
        self._count = 0

    def name(self, kind: str) -> str:
        if kind == "postgres":
            return self._fresh()
        self._count += 1
        return str(self.folder / f"store{self._count}.db")

    def open(self, store: str) -> Any:
        if store.startswith("postgres"):
            return PostgresOutbox(store, self.folder / "state")
        return SqliteOutbox(store)

    def migrate(self, source: str, target: str, **more: Any) -> Copied:
        return migrate(source, target, self.folder / "state", **more)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    made: list[str] = []

    def fresh() -> str:
        dsn: str = request.getfixturevalue("postgres").fresh_database()
        made.append(dsn)
        return dsn

    yield Place(tmp_path, fresh)
    for dsn in made:
        request.getfixturevalue("postgres").release(dsn)


@pytest.fixture(params=["sqlite-sqlite", "sqlite-postgres", "postgres-sqlite", "postgres-postgres"])
def ends(request: pytest.FixtureRequest, place: Place) -> Ends:
    source, target = request.param.split("-")
    return place.name(source), place.name(target)


STRANGE = "€ 漢字 👩\u200d👧 \\ ' \" \t \\N \\. \u202e e\u0301 é"


def fill(outbox: Any) -> list[Alert]:
    """Something in every table, and text that a careless copy would change."""
    made = [plan(outbox, "a", "b/x"), plan(outbox, "a", message=STRANGE, symbol=STRANGE), plan(outbox)]
    assert settle(outbox, claim(outbox, "a"))
    assert settle(outbox, claim(outbox, "a"), Settlement(DeliveryState.DEAD, "permanent", STRANGE))
    assert settle(outbox, claim(outbox, "b"), again(T0 + 5, remember={"n": 1.5}))
    gone = plan(outbox, "c")
    assert settle(outbox, claim(outbox, "c"))
    with outbox._write() as db:
        db.execute("UPDATE alerts SET stored = 1.25 WHERE id = ?", (gone.id,))
    assert outbox.prune(2.0, 10).alerts == 1
    outbox.record([alert(i, priority="high") for i in range(1_203)], Reason.HISTORY)
    with outbox.transaction() as tx:
        tx.add_alert(alert(), AlertState.WAITING)
        tx.state.put("duplicate", STRANGE, {"n": [1, 2.5, None]}, until=1e300)
        tx.state.put("duplicate", "Zz", 1)
        tx.state.put("duplicate", "aa", 1)
        tx.set_position("journal", 2**40)
        tx.unreadable("journal", 7, bytes(range(256)))
    outbox.lead("gone", 1.0, 1.0)
    outbox.check_in(Process("9-x", "worker", {"pid": 9}, 1.0, 2.0, 3.0))
    return made


def contents(outbox: Outbox) -> dict[str, list[str]]:
    return {
        table.name: sorted(
            repr(tuple(bytes(v) if isinstance(v, memoryview) else v for v in row))
            for row in outbox.rows(f"SELECT {', '.join(table.columns)} FROM {table.name}")
        )
        for table in tables()
    }


# Everything arrives ----------------------------------------------------------------------------------


def test_every_table_arrives_as_it_was(place: Place, ends: Ends) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
        before = contents(source)
        assert all(before.values()), [name for name, rows in before.items() if not rows]
        ledger = source.ledger()
    told: list[tuple[int, int]] = []
    done = place.migrate(*ends, progress=lambda *at: told.append(at))
    with contextlib.closing(place.open(ends[1])) as copy:
        assert contents(copy) == before
        assert copy.ledger() == ledger == done.ledger
        assert ledger.balanced
    with contextlib.closing(place.open(ends[0])) as source:
        assert contents(source) == before
    assert done.rows == {name: len(rows) for name, rows in before.items()}
    assert told[-1][0] == told[-1][1] == 2 * sum(done.rows.values())
    assert told == sorted(told)
    assert "@" not in done.target or "trader@" in done.target  # a name, not a password


def test_the_copy_goes_on_where_the_original_was(place: Place, ends: Ends) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        made = fill(source)
    place.migrate(*ends)
    with contextlib.closing(place.open(ends[1])) as copy:
        assert claim(copy, "b", now=T0 + 4) is None
        claimed = claim(copy, "b", now=T0 + 5)
        assert claimed is not None
        assert (claimed.attempts, dict(claimed.memory)) == (1, {"x": {"n": 1.5}})
        assert settle(copy, claimed, SENT, now=T0 + 5)
        assert state_of(copy, made[0]) == ["delivered", "delivered"]
        new = plan(copy, "a")  # numbers go on after those that are taken
        assert settle(copy, claim(copy, "a"))
        assert next(copy.rows("SELECT max(seq) = (SELECT seq FROM alerts WHERE id = ?) FROM alerts", (new.id,)))[0]
        assert len(list(copy.dead_letters())) == 1
        assert copy.ledger().balanced


def test_there_and_back_again_is_the_same(place: Place) -> None:
    first, server, last = place.name("sqlite"), place.name("postgres"), place.name("sqlite")
    with contextlib.closing(place.open(first)) as outbox:
        fill(outbox)
        before = contents(outbox)
    place.migrate(first, server)
    place.migrate(server, last)
    with contextlib.closing(place.open(last)) as outbox:
        assert contents(outbox) == before
        assert next(outbox.rows("PRAGMA auto_vacuum"))[0] == 2
        assert next(outbox.rows("PRAGMA integrity_check"))[0] == "ok"
    assert Path(last).stat().st_mode & 0o077 == 0


def test_an_empty_store_is_copied_too(place: Place, ends: Ends) -> None:
    place.open(ends[0]).close()
    assert place.migrate(*ends).ledger.accepted == 0


def test_a_store_that_somebody_only_opened_counts_as_empty(place: Place, ends: Ends) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
    with contextlib.closing(place.open(ends[1])) as target:
        target.enable_channel("a", "fingerprint")
        target.check_in(Process("1-x", "worker", {}, 1.0, 2.0, 3.0))
    place.migrate(*ends)
    with contextlib.closing(place.open(ends[1])) as copy:
        assert copy.ledger().accepted == 1_208
        assert [each.owner for each in copy.processes()] == ["9-x"]


# Files -----------------------------------------------------------------------------------------------


def test_attachments_come_along_and_alerts_say_where_they_are(place: Place, ends: Ends) -> None:
    content = b"a picture"
    digest = hashlib.sha256(content).hexdigest()
    with contextlib.closing(place.open(ends[0])) as source:
        source.attachments.mkdir(parents=True, exist_ok=True)
        kept = source.attachments / digest
        kept.write_bytes(content)
        (source.attachments / "x.12-34.part").write_bytes(b"half")
        plan(source, "a", attachments=[Attachment("chart.png", "image/png", digest, len(content), str(kept.resolve()))])
        elsewhere = Attachment("b.png", "image/png", "b" * 64, 1, "/elsewhere/b.png")
        plan(source, "b", message='say "attachments"', attachments=[elsewhere])
        old = source.attachments
    assert place.migrate(*ends).attachments == 1
    with contextlib.closing(place.open(ends[1])) as copy:
        claimed = claim(copy, "a")
        assert claimed is not None
        (found,) = claimed.alert.attachments
        assert found.read() == content
        assert Path(found.path).parent == copy.attachments.resolve() != old.resolve()
        other = claim(copy, "b")
        assert other is not None
        assert other.alert.attachments == (elsewhere,)
        assert [path.name for path in copy.attachments.iterdir()] == [digest]
        assert list(copy.attached()) == [digest, "b" * 64]
    assert kept.exists()


def test_journals_of_dead_processes_come_along_and_are_read_on(place: Place, ends: Ends) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        source_journals = source.journals
        journal = Journal(source.journals, flavour="shared")
        first, second = alert("read before"), alert("not read yet")
        journal.append(encode(Accepted(first)))
        with source.transaction() as tx:
            tx.add_alert(first, AlertState.RECORDED)
            tx.set_position(journal.name, journal.end())
        journal.append(encode(Accepted(second)))
        journal.close()
        with journal.path.open("ab") as torn:
            torn.write(b'{"alert": {"id"')
        drained = Journal(source.journals)
        drained.append(b"{}")
        drained.close()
        with source.transaction() as tx:
            tx.set_position(drained.name, drained.path.stat().st_size)
    done = place.migrate(*ends)
    assert done.journals == 1
    with contextlib.closing(place.open(ends[1])) as copy:
        (found,) = dead_journals(copy.journals)
        assert (found.name, found.flavour) == (journal.name, "shared")
        lines, _ = found.read(copy.position(found.name), 10)
        assert json.loads(lines[0])["alert"]["id"] == second.id
        found.release()
        assert found.path.stat().st_mode & 0o077 == 0
    assert len(list(source_journals.glob("*.jsonl"))) == 2


# Refusals --------------------------------------------------------------------------------------------


def refused(place: Place, source: str, target: str) -> str:
    with pytest.raises(StoreError) as caught:
        place.migrate(source, target)
    said = str(caught.value)
    assert caught.value.__cause__ is None
    for store in (source, target):
        password = re.search(r"://\w+:([^@]+)@", store)
        assert password is None or password[1] not in said
    return said


def test_a_target_that_is_not_empty_is_refused_and_left_as_it_is(place: Place, ends: Ends) -> None:
    place.open(ends[0]).close()
    with contextlib.closing(place.open(ends[1])) as target:
        plan(target, "a")
        before = contents(target)
    assert "is not empty" in refused(place, *ends)
    with contextlib.closing(place.open(ends[1])) as target:
        assert contents(target) == before


def test_a_target_for_which_alerts_wait_in_journals_is_refused(place: Place, ends: Ends) -> None:
    place.open(ends[0]).close()
    with contextlib.closing(place.open(ends[1])) as target:
        journal = Journal(target.journals)
    assert "alerts wait for it in" in refused(place, *ends)
    journal.close(drained_to=0)
    place.migrate(*ends)


def test_a_store_that_a_living_process_uses_is_not_copied(place: Place, ends: Ends) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
        script = """
        import sys
        from pathlib import Path
        from bt_alerts.outbox.journal import Journal
        journal = Journal(Path(sys.argv[1]))
        print("ready", flush=True)
        sys.stdin.read()
        """
        process = python(script, source.journals, stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert f"is in use (process {process.pid}): stop strategies and workers" in refused(place, *ends)
        assert list(dead_journals(source.journals)) == []
        process.kill()
        process.communicate()
    assert place.migrate(*ends).rows["alerts"] == 1_207


def test_a_store_on_a_server_that_another_machine_uses_is_not_copied(place: Place) -> None:
    server, file = place.name("postgres"), place.name("sqlite")
    now = time.time()
    with contextlib.closing(place.open(server)) as source:
        source.check_in(Process("77-x", "worker", {}, now, now))
        assert "is in use (worker 77)" in refused(place, server, file)
        source.check_in(Process("77-x", "worker", {}, now, now, now))
    place.migrate(server, file)


def test_a_store_that_changes_meanwhile_is_not_copied(
    place: Place, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
        real = migration._copy_attachments

        def meanwhile(*folders: Path) -> int:
            plan(source, "a")
            return real(*folders)

        monkeypatch.setattr(migration, "_copy_attachments", meanwhile)
        assert "was changed meanwhile" in refused(place, *ends)
        monkeypatch.undo()
        place.migrate(*ends)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_is_not_copied_into_itself(place: Place, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = place.name(kind)
    with contextlib.closing(place.open(name)) as outbox:
        plan(outbox, "a")
    assert "itself" in refused(place, name, name) or kind == "postgres"
    monkeypatch.chdir(place.folder)
    if kind == "sqlite":
        (place.folder / "link.db").symlink_to(name)
        assert "itself" in refused(place, name, Path(name).name)
        assert "itself" in refused(place, name, "link.db")
    with contextlib.closing(place.open(name)) as outbox:
        assert outbox.ledger().accepted == 1


def test_what_is_no_store_is_told_in_a_sentence(place: Place, tmp_path: Path) -> None:
    good = place.name("sqlite")
    place.open(good).close()
    target = str(tmp_path / "new.db")
    text, foreign, folder = tmp_path / "text.db", tmp_path / "foreign.db", tmp_path / "folder"
    text.write_bytes(b"hello " * 200)
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()
    for source, told in [
        ("nowhere.db", "there is no store nowhere.db"),
        ("memory", "is no store that can be copied"),
        ("", "is no store that can be copied"),
        ("mysql://x/y", "is no store that can be copied"),
        (str(text), "is not a database of bt_alerts"),
        (str(foreign), "is no store of bt_alerts"),
        (str(folder), "there is no store"),
        ("postgresql://127.0.0.1/", "name the database"),
        ("postgresql://127.0.0.1:1/nothing", "cannot be reached"),
    ]:
        assert told in refused(place, source, target)
    for wrong, told in [
        ("memory", "is no store that can be copied"),
        (str(text), "is no store of bt_alerts"),
        (str(foreign), "is a database of another program"),
        (str(folder), "is a folder"),
        (str(text / "x.db"), "cannot be"),
        ("postgresql://127.0.0.1:1/nothing", "cannot be reached"),
    ]:
        assert told in refused(place, good, wrong)
    assert text.read_bytes() == b"hello " * 200
    assert not Path(target).exists()


def test_a_database_without_a_store_is_not_made_one_by_reading_it(place: Place) -> None:
    server = place.name("postgres")
    assert "there is no store in" in refused(place, server, place.name("sqlite"))
    import psycopg

    with psycopg.connect(server) as db:
        assert db.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'bt_alerts'").fetchone() == (0,)


def test_stores_of_other_versions_are_refused_and_left_as_they_are(place: Place, tmp_path: Path) -> None:
    older, newer = tmp_path / "older.db", tmp_path / "newer.db"
    for path, steps, version in ((older, 1, 1), (newer, schema.VERSION, schema.VERSION + 1)):
        with contextlib.closing(sqlite3.connect(path)) as db:
            for step in range(steps):
                db.executescript(schema.STEPS[step])
            db.execute(f"PRAGMA user_version = {version}")
            db.commit()
    assert "is of an older version" in refused(place, str(older), str(tmp_path / "new.db"))
    assert "pip install -U" in refused(place, str(newer), str(tmp_path / "new.db"))
    with contextlib.closing(sqlite3.connect(older)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


# All or nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["_copy_attachments", "_copied_journals", "_with_paths"])
def test_a_copy_that_breaks_off_is_none_and_can_be_made_again(
    place: Place, ends: Ends, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
        plan(source, attachments=[Attachment("a", "text/plain", "c" * 64, 1, "/x")])
        journal = Journal(source.journals)
        journal.append(b"{}")
        journal.close()

    def breaks(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(migration, at, breaks)
    with pytest.raises(KeyboardInterrupt):
        place.migrate(*ends)
    monkeypatch.undo()
    if not ends[1].startswith("postgres"):
        assert not list(place.folder.glob(f"{Path(ends[1]).name}*"))
    done = place.migrate(*ends)
    assert (done.rows["alerts"], done.journals) == (1_208, 1)


def test_a_copy_that_is_not_the_same_is_given_up(place: Place, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
        with source._write() as db:
            db.execute("UPDATE alerts SET files = 1 WHERE seq = 1")
    calls = iter(range(10))
    monkeypatch.setattr(migration, "_with_paths", lambda body, old, new: f"{body}{next(calls)}")

    class Forgetful(migration._Checked):
        @property
        def sum(self) -> tuple[int, str]:
            return self.count, f"{id(self)}"

    monkeypatch.setattr(migration, "_Checked", Forgetful)
    assert "or not as they were" in refused(place, *ends)
    monkeypatch.undo()
    assert place.migrate(*ends).rows["alerts"] == 1_207


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_a_copy_that_was_killed_is_none_and_says_so(place: Place, target: str) -> None:
    ends = place.name("sqlite"), place.name(target)
    with contextlib.closing(place.open(ends[0])) as source:
        fill(source)
    script = """
    import sys, time
    from pathlib import Path
    from bt_alerts.outbox import migrate

    def stuck(*_):
        print("ready", flush=True)
        time.sleep(600)

    migrate._copy_attachments = stuck
    migrate.migrate(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    """
    process = python(script, *ends, place.folder / "state")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    if target == "sqlite":
        assert "another copy is being made, or one was broken off" in refused(place, *ends)
    process.kill()
    process.communicate()
    if target == "sqlite":
        assert not Path(ends[1]).exists()
        assert "another copy is being made, or one was broken off" in refused(place, *ends)
        Path(f"{ends[1]}.migrating").unlink()
        place.migrate(*ends)
    else:

        def migrated() -> bool:  # the server needs a moment to see that its client is gone
            with contextlib.suppress(StoreError):
                place.migrate(*ends)
                return True
            return False

        until(migrated, timeout=30)
    with contextlib.closing(place.open(ends[1])) as copy:
        assert copy.ledger().accepted == 1_208


def test_a_full_disk_is_told_and_leaves_nothing(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bt_alerts.outbox import migrate_sqlite

    source, target = place.name("sqlite"), place.name("sqlite")
    with contextlib.closing(place.open(source)) as outbox:
        fill(outbox)
    real = migrate_sqlite.SqliteTarget.__init__

    def small(self: Any, path: Path) -> None:
        real(self, path)
        self.db.execute("PRAGMA max_page_count = 50").fetchall()

    monkeypatch.setattr(migrate_sqlite.SqliteTarget, "__init__", small)
    assert "the disk is full" in refused(place, source, target)
    assert not list(tmp_path.glob(f"{Path(target).name}*"))


@pytest.mark.long
@pytest.mark.parametrize("pair", ["sqlite-sqlite", "sqlite-postgres", "postgres-sqlite"])
def test_memory_does_not_grow_with_the_store(place: Place, pair: str) -> None:
    peaks = []
    for count in (20_000, 200_000):
        source, target = (place.name(kind) for kind in pair.split("-"))
        with contextlib.closing(place.open(source)) as outbox:
            outbox.record((alert(f"{i} {'x' * 300}") for i in range(count)), Reason.HISTORY)
        script = """
        import resource, sys
        from pathlib import Path
        from bt_alerts.outbox.migrate import migrate
        migrate(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        status = Path("/proc/self/status")  # what getrusage tells on Linux begins with the size of who started us
        lines = status.read_text().splitlines() if status.exists() else []
        own = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        print(*own or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
        """
        process = python(script, source, target, place.folder / "state")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        peaks.append(int(out) / (1 if sys.platform != "darwin" else 1024) / 1024)
    assert peaks[1] < 150
    assert peaks[1] < peaks[0] + 30
