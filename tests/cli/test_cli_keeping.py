"""``prune`` and ``migrate``: what they show, what they leave alone, and what they refuse."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bt_alerts.alert import Alert, Attachment
from bt_alerts.outbox.base import AlertState, NewDelivery
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox

DAY = 86_400.0


@pytest.fixture
def config(settings: Callable[[str], Path]) -> Path:
    return settings("store: alerts.db\nhistory: {keep: 90d}\n")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    yield outbox
    outbox.close()


def fill(outbox: SqliteOutbox, old: int = 300, young: int = 5) -> None:
    """Old alerts, one of which is pending and one has an attachment, and young ones."""
    outbox.record((Alert.make("x" * 1_000, title=f"old {i}") for i in range(old)), "history")
    with outbox.transaction() as tx:
        pending = tx.add_alert(Alert.make("pending"), AlertState.PLANNED)
        assert pending is not None
        tx.add_deliveries(pending, [NewDelivery("k", "a", "t", "label", 0.0, 0.0, 1e12)], 0.0)
    assert outbox.attachments is not None
    outbox.attachments.mkdir()
    digest = hashlib.sha256(b"picture").hexdigest()
    file = outbox.attachments / digest
    file.write_bytes(b"picture")
    os.utime(file, (1, 1))
    outbox.record([Alert.make("", attachments=[Attachment("p.png", "image/png", digest, 7, str(file))])], "history")
    with outbox._write() as db:
        db.execute("UPDATE alerts SET stored = ?", (time.time() - 100 * DAY,))
    outbox.record((Alert.make("", title=f"young {i}") for i in range(young)), "history")


def count(outbox: SqliteOutbox) -> int:
    return int(next(outbox.rows("SELECT count(*) FROM alerts"))[0])


def cells(said: str) -> dict[str, str]:
    return dict(
        re.findall(r"^(alerts|deliveries|attempts|attachments|space in the store) +(.+?) *$", said, re.MULTILINE)
    )


# ----------------------------------------------------------------------------------------------------------- prune


def test_prune_forgets_what_is_old_and_nothing_that_is_pending(run, store, config):
    fill(store)
    done = run("prune", "--yes", "-c", config)
    assert (done.code, done.err) == (0, "")
    said = cells(done.out.split("Done:")[1])
    assert (said["alerts"], said["deliveries"], said["attachments"]) == ("301", "0", "1 (7 bytes)")
    assert "The store takes" in done.out
    assert count(store) == 6
    assert store.ledger().balanced
    assert store.ledger().accepted == 307
    assert list((store.attachments or Path()).iterdir()) == []
    shown = run("history", "-c", config).said
    assert "301 older alerts were pruned" in shown
    assert "old 7" not in shown
    again = run("prune", "--yes", "-c", config)
    assert again.code == 0
    assert "There is nothing to forget from before" in again.out


def test_prune_says_what_would_go_and_leaves_it(run, store, config):
    fill(store)
    done = run("prune", "--dry-run", "-c", config)
    assert done.code == 0
    said = cells(done.out)
    assert (said["alerts"], said["attachments"]) == ("301", "1 (7 bytes)")
    assert said["space in the store"].startswith("about ")
    assert count(store) == 307


def test_prune_asks_first(run, store, config):
    fill(store)
    done = run("prune", "-c", config, answer="n\n")
    assert done.code == 1
    assert "Forget 301 alerts for good?" in done.out
    assert "Nothing was changed." in done.err
    assert count(store) == 307
    assert run("prune", "-c", config, answer="y\n").code == 0
    assert count(store) == 6


def test_prune_gives_space_back(run, store, config, tmp_path):
    fill(store, old=3_000)
    store.idle()
    size = (tmp_path / "alerts.db").stat().st_size
    done = run("prune", "--yes", "-c", config)
    assert (tmp_path / "alerts.db").stat().st_size < size / 10
    took, was = re.findall(r"([\d.]+) (?:KB|MB)", done.out.split("The store takes")[1])
    assert float(was) > 1
    assert took


@pytest.mark.parametrize(
    ("options", "left"),
    [(["--keep", "99d"], 6), (["--keep", "101d"], 307), (["--keep", "1h"], 6), (["--before", "2001-01-01"], 307),
     (["--keep", "2400h"], 6)],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_prune_by_age_or_date(run, store, config, options, left):
    fill(store)
    assert run("prune", "--yes", *options, "-c", config).code == 0
    assert count(store) == left


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--keep", "soon"], "Write a duration such as 30s, 15m, 12h, 90d"),
        (["--keep", "-1d"], "Write a duration"),
        (["--keep", ""], "Write a duration"),
        (["--keep", "90"], "'90' lacks a unit: write 90d for days"),
        (["--keep", "0d"], "Nothing can be kept for '0d'"),
        (["--keep", "99999999999d"], "Nothing can be kept for"),
        (["--before", "yesterday"], "'yesterday' is no time: write it as 2026-01-31"),
        (["--before", "2999-01-01"], "has yet to come"),
        (["--before", "2020-01-01", "--keep", "1d"], "Give --keep or --before, not both."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_prune_refuses_what_it_does_not_understand(run, store, config, options, told):
    fill(store)
    done = run("prune", "--yes", *options, "-c", config)
    assert done.code == 2
    assert told in done.err
    assert count(store) == 307


def test_prune_wants_to_know_how_much(run, store, settings):
    fill(store)
    done = run("prune", "--yes", "-c", settings("store: alerts.db\n"))
    assert done.code == 2
    assert "--keep 90d, --before 2026-01-31, or `history: {keep: 90d}`" in done.err
    assert count(store) == 307


def test_prune_of_a_store_that_is_named(run, store, tmp_path):
    fill(store)
    assert run("prune", "--yes", "--keep", "90d", "--store", tmp_path / "alerts.db").code == 0
    assert count(store) == 6
    done = run("prune", "--yes", "--keep", "90d", "--store", "nowhere.db")
    assert done.code == 1
    assert "There is no store" in done.err
    assert not (tmp_path / "nowhere.db").exists()
    assert "in memory" in run("prune", "--keep", "90d", "--store", "memory").said or "no store" in done.said


def test_prune_leaves_attachments_while_journals_wait(run, store, config):
    fill(store)
    assert store.journals is not None
    journal = Journal(store.journals)
    journal.append(b"{}")
    done = run("prune", "--yes", "-c", config)
    assert done.code == 0
    assert cells(done.out)["attachments"] == "not looked at"
    assert "Attachments stay for now" in done.err
    assert len(list((store.attachments or Path()).iterdir())) == 1
    journal.close(drained_to=journal.end())


# --------------------------------------------------------------------------------------------------------- migrate


def test_prune_on_a_server_promises_no_space(run, settings, tmp_path, postgres_dsn):
    with contextlib.closing(PostgresOutbox(postgres_dsn, tmp_path / "state")) as outbox:
        outbox.record([Alert.make("x")], "history")
        with outbox._write() as db:
            db.execute("UPDATE alerts SET stored = 1.0")
    done = run("prune", "--yes", "--keep", "1h", "-c", settings(f"store: {postgres_dsn}\n"))
    assert done.code == 0
    assert cells(done.out) == {"alerts": "1", "deliveries": "0", "attempts": "0", "attachments": "0 (0 bytes)"}
    assert re.search(r"The store takes [\d.]+ KB; what is free in it the server uses for what comes next\.", done.out)


def test_migrate_copies_to_a_server_and_back(run, store, tmp_path, postgres_dsn):
    fill(store)
    ledger = store.ledger()
    done = run("migrate", tmp_path / "alerts.db", postgres_dsn)
    assert (done.code, done.err) == (0, "")
    assert "307" in done.out
    assert "The copy is the same: rows, checksums and both ledgers (307 alerts, 1 delivery)." in done.out
    assert "Copied too: 1 attachment." in done.out
    password = re.search(r"://\w+:([^@]+)@", postgres_dsn)
    assert password is not None
    assert password[1] not in done.said
    assert "write in your settings file: store: postgresql://trader@127.0.0.1" in done.out
    back = run("migrate", postgres_dsn, "back.db")
    assert (back.code, back.err) == (0, "")
    assert f"store: {tmp_path / 'back.db'}" in back.said
    with contextlib.closing(SqliteOutbox(tmp_path / "back.db")) as copy:
        assert copy.ledger() == ledger


def test_migrate_refuses_in_a_sentence(run, store, tmp_path):
    fill(store)
    for arguments, told, code in [
        (("alerts.db", "alerts.db"), "cannot be copied into itself", 2),
        (("nowhere.db", "new.db"), "There is no store nowhere.db", 2),
        (("alerts.db", "memory"), "is no store that can be copied", 2),
        (("alerts.db", "postgresql://trader:CANARY-77@127.0.0.1:1/x"), "cannot be reached", 1),
    ]:
        done = run("migrate", *arguments)
        assert done.code == code
        assert told in done.err
        assert "CANARY" not in done.said
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == sorted(
        path.name for path in tmp_path.glob("alerts.db*")
    )
    assert run("migrate", "alerts.db").code == 2


def test_migrate_while_a_strategy_runs_is_refused(run, store, tmp_path):
    fill(store)
    assert store.journals is not None
    journal = Journal(store.journals)
    done = run("migrate", "alerts.db", "new.db")
    assert done.code == 2
    assert f"is in use (process {os.getpid()}): stop strategies and workers and try again." in done.err
    assert not (tmp_path / "new.db").exists()
    journal.close(drained_to=journal.end())
    assert run("migrate", "alerts.db", "new.db").code == 0


def test_migrate_says_that_journals_came_along(run, store, tmp_path):
    fill(store)
    assert store.journals is not None
    journal = Journal(store.journals)
    journal.append(b"{}")
    journal.close()
    done = run("migrate", "alerts.db", "new.db")
    assert "Copied too: 1 journal; whoever first uses the copy delivers what is in it." in done.out
    assert len(list((tmp_path / "new.db.journal").glob("*.jsonl"))) == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db")) as db:
        assert db.execute("SELECT count(*) FROM alerts").fetchone() == (307,)
