"""Forgetting what is old: what still matters stays, ledgers balance after each step, attachments and space go too."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import sqlite3 as sqlite_library
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert, until
from outbox_kit import SENT, T0, again, claim, plan, settle, state_of

from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Attachment
from bt_alerts.delivery import retention
from bt_alerts.delivery.report import report_of
from bt_alerts.delivery.retention import Retention
from bt_alerts.errors import StoreError
from bt_alerts.outbox import history, schema, sql
from bt_alerts.outbox.base import AlertState, DeliveryState, Outbox, Pruned, Settlement
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Reason

DAY = 86_400.0


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteOutbox]:
    made = SqliteOutbox(tmp_path / "s.db")
    yield made
    made.close()


def age(outbox: Any, made: Alert, days: float) -> None:
    """As if an alert had been stored so many days ago."""
    with outbox._write() as db:
        db.execute("UPDATE alerts SET stored = ? WHERE id = ?", (time.time() - days * DAY, made.id))


def old(outbox: Any, *deliveries: str, days: float = 100, **fields: Any) -> Alert:
    made = plan(outbox, *deliveries, **fields)
    age(outbox, made, days)
    return made


def delivered(outbox: Any, *deliveries: str, **more: Any) -> Alert:
    made = old(outbox, *deliveries, **more)
    for each in deliveries:
        assert settle(outbox, claim(outbox, each.partition("/")[0]))
    return made


def prune(outbox: Any, days: float = 90, most: int = 1000) -> Pruned:
    """Prune, and see that the ledgers say the same afterwards as before."""
    before = outbox.ledger()
    pruned: Pruned = outbox.prune(time.time() - days * DAY, most)
    after = outbox.ledger()
    assert after.balanced
    assert dataclasses.asdict(after) == dataclasses.asdict(before)
    return pruned


def ids(outbox: Outbox) -> list[str]:
    return [row[0] for row in outbox.rows("SELECT id FROM alerts ORDER BY seq")]


# What goes and what stays ----------------------------------------------------------------------------


def test_an_alert_goes_with_everything_that_hangs_on_it(outbox: Any) -> None:
    delivered(outbox, "a", "b")
    young = plan(outbox)
    assert prune(outbox) == Pruned(1, 2, 2)
    assert ids(outbox) == [young.id]
    assert [next(outbox.rows(f"SELECT count(*) FROM {table}"))[0] for table in ("deliveries", "attempts")] == [0, 0]
    assert prune(outbox) == Pruned()


def test_only_what_is_older_goes_the_oldest_first_and_no_more_than_asked_for(outbox: Any) -> None:
    made = [old(outbox, days=days) for days in (95, 120, 89, 110)]
    assert prune(outbox, most=2).alerts == 2
    assert ids(outbox) == [made[0].id, made[2].id]
    assert prune(outbox, most=2).alerts == 1
    assert ids(outbox) == [made[2].id]


def test_more_than_one_statement_takes_at_once_goes_in_one_step(outbox: Any) -> None:
    outbox.record([alert(i) for i in range(1_203)], Reason.HISTORY)
    assert prune(outbox, days=-1, most=1_202) == Pruned(1_202, 0, 0)
    assert prune(outbox, days=-1).alerts == 1
    assert outbox.ledger().reasons == {"history": 1_203}


def test_what_is_pending_held_or_waiting_stays_however_old_it_is(outbox: Any) -> None:
    pending = old(outbox, "a", days=4000)
    half = old(outbox, "b", "c", days=4000)
    assert settle(outbox, claim(outbox, "b"))
    held = old(outbox, "d", days=4000)
    assert settle(outbox, claim(outbox, "d"), Settlement(DeliveryState.HELD, "auth", disable_channel="wrong token"))
    with outbox.transaction() as tx:
        waits = alert()
        assert tx.add_alert(waits, AlertState.WAITING) is not None
    age(outbox, waits, 4000)
    assert prune(outbox) == Pruned()
    assert settle(outbox, claim(outbox, "a"))
    assert settle(outbox, claim(outbox, "c"))
    assert prune(outbox) == Pruned(2, 3, 3)
    assert ids(outbox) == [held.id, waits.id]
    assert pending.id not in ids(outbox)
    assert half.id not in ids(outbox)


def test_what_is_in_flight_stays_and_can_be_settled(outbox: Any) -> None:
    made = old(outbox, "a")
    claimed = claim(outbox)
    assert prune(outbox) == Pruned()
    assert settle(outbox, claimed, again(T0 + 5))
    assert prune(outbox) == Pruned()
    assert settle(outbox, claim(outbox, now=T0 + 5), now=T0 + 5)
    assert state_of(outbox, made) == ["delivered"]
    assert prune(outbox).alerts == 1


def test_what_is_asked_about_stays_with_all_that_went_in_the_same_message(outbox: Any) -> None:
    leader, companion = old(outbox, "a"), old(outbox, "a")
    claimed = claim(outbox)
    assert claimed is not None
    others = [row[0] for row in outbox.rows("SELECT seq FROM deliveries WHERE seq != ?", (claimed.seq,))]
    sent = dataclasses.replace(SENT, service_id="m1", ask_at=T0 + 60, digested=others)
    assert settle(outbox, claimed, sent)
    assert state_of(outbox, companion) == ["digested"]
    assert prune(outbox) == Pruned()
    question = outbox.claim_question("a", T0 + 60, 30)
    assert prune(outbox) == Pruned()
    assert list(question.digested.values()) == [companion]
    lost = dict.fromkeys((question.seq, *question.digested), ())
    outbox.settle_question(question, Settlement(DeliveryState.DEAD, "undelivered"), T0 + 61, not_arrived=lost)
    assert prune(outbox) == Pruned(2, 2, 2)
    assert leader.id not in ids(outbox)


def test_the_ledgers_keep_every_state_and_reason_of_what_is_gone(outbox: Any) -> None:
    states = [DeliveryState.DEAD, DeliveryState.EXPIRED, DeliveryState.CANCELLED, DeliveryState.DELIVERED]
    for state in states:
        made = old(outbox, "a")
        assert settle(outbox, claim(outbox), Settlement(state, state.value))
        assert state_of(outbox, made) == [state.value]
    with outbox.transaction() as tx:
        assert tx.add_alert(alert(), AlertState.SUPPRESSED, Reason.MUTED) is not None
    outbox.record([alert()], Reason.HISTORY)
    assert len(list(outbox.dead_letters())) == 2
    assert prune(outbox, days=-1, most=3).alerts == 3  # prune() itself compares the ledgers
    assert prune(outbox, days=-1).alerts == 3
    ledger = outbox.ledger()
    assert (ledger.accepted, ledger.planned, ledger.suppressed, ledger.recorded) == (6, 4, 1, 1)
    assert {name: n for name, n in ledger.deliveries.items() if n} == dict.fromkeys([s.value for s in states], 1)
    assert ledger.reasons == {"history": 1, "muted": 1}
    assert list(outbox.dead_letters()) == []
    with outbox.transaction() as tx:
        assert tx.retry_dead(None, T0, 60) == 0
    plan(outbox, "a")
    assert outbox.ledger().accepted == 7


def test_rule_state_positions_and_unreadable_lines_stay(outbox: Any) -> None:
    delivered(outbox, "a")
    with outbox.transaction() as tx:
        tx.state.put("duplicate", "key", {"n": 3}, until=T0)
        tx.set_position("journal", 77)
        tx.unreadable("journal", 7, b"?")
    assert prune(outbox).alerts == 1
    with outbox.transaction() as tx:
        assert tx.state.get("duplicate", "key") == {"n": 3}
    assert outbox.position("journal") == 77
    assert outbox.ledger().unreadable == 1


def test_what_is_gone_is_gone_for_every_reader_and_can_be_told_from_what_never_was(outbox: Any) -> None:
    made = delivered(outbox, "a")
    assert report_of(outbox, made.id) is not None
    prune(outbox)
    assert report_of(outbox, made.id) is None
    assert list(history.alerts(outbox, history.Query())) == []
    with outbox.transaction() as tx:
        assert not tx.acknowledge(made.id, T0)
        assert not tx.snooze(made.id, T0 + 60, T0)
    assert outbox.forgotten() == 1


def test_what_would_go_is_counted_without_touching_it(outbox: Any) -> None:
    delivered(outbox, "a", "b")
    old(outbox, "a")
    plan(outbox)
    assert outbox.prunable(time.time() - 90 * DAY) == Pruned(1, 2, 2)
    assert len(ids(outbox)) == 3
    assert outbox.prunable(0.0) == Pruned()


# Speed -----------------------------------------------------------------------------------------------


def test_a_look_at_a_store_with_nothing_old_reads_no_table(sqlite: SqliteOutbox) -> None:
    statement = f"{sql._OLD} AND {sql._HISTORY} ORDER BY a.stored LIMIT ?"
    steps = [row[3] for row in sqlite.rows(f"EXPLAIN QUERY PLAN {statement}", (0.0, 200))]
    assert any("alerts_by_stored" in step and "stored<?" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN")]
    steps = [row[3] for row in sqlite.rows(f"EXPLAIN QUERY PLAN {sql._WITH_FILES}")]
    assert any("alerts_with_files" in step for step in steps)


def test_planning_and_claiming_go_on_while_much_is_forgotten(
    sqlite: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite.record((alert(i) for i in range(6_000)), Reason.HISTORY)
    gone = threading.Event()
    pauses: list[float] = []
    done = 0

    def pause(seconds: float) -> None:
        """However long a busy machine takes for it: one is planned, claimed and settled in each pause."""
        pauses.append(seconds)
        before = done
        until(lambda: done > before)

    def forget() -> None:
        try:
            for _ in retention.prune(sqlite, time.time() + 1):
                pass
        finally:
            gone.set()

    monkeypatch.setattr(retention, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    thread = threading.Thread(target=forget)
    thread.start()
    while not gone.is_set():  # each of these would raise where the store stayed locked
        made = plan(sqlite, "a")
        assert settle(sqlite, claim(sqlite))
        done += state_of(sqlite, made) in ([], ["delivered"])
    thread.join()
    assert len(pauses) >= 6_000 / retention.BATCH
    assert min(pauses) >= retention.SHORTEST_PAUSE
    assert done >= len(pauses)
    assert sqlite.ledger().balanced
    assert sqlite.ledger().recorded == 6_000


def test_space_is_given_back_in_small_steps(sqlite: SqliteOutbox) -> None:
    sqlite.record((alert("x" * 2_000) for _ in range(3_000)), Reason.HISTORY)
    sqlite.idle()
    full = sqlite.path.stat().st_size
    for _ in retention.prune(sqlite, time.time() + 1):
        pass
    left = list(retention.give_back(sqlite))
    assert len(left) > 5
    assert left == sorted(left, reverse=True)
    assert [a - b for a, b in itertools.pairwise(left)][:-1] == [64 * 4096] * (len(left) - 2)
    assert sqlite.size().spare == 0
    assert sqlite.path.stat().st_size < full / 10


def test_a_store_that_gives_no_space_back_is_no_endless_loop(
    sqlite: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite.record((alert("x" * 2_000) for _ in range(3_000)), Reason.HISTORY)
    for _ in retention.prune(sqlite, time.time() + 1):
        pass
    monkeypatch.setattr(sqlite, "idle", lambda: None)
    assert len(list(retention.give_back(sqlite))) == 1


# Retention -------------------------------------------------------------------------------------------


def test_retention_tidies_a_bit_at_a_time_until_nothing_is_left(sqlite: SqliteOutbox) -> None:
    sqlite.record((alert("x" * 4_000) for _ in range(1_000)), Reason.HISTORY)
    kept = plan(sqlite, "a")
    now = time.time() + 100 * DAY
    keeper = Retention(sqlite, 90 * DAY, clock=lambda: now)
    sizes = []
    while keeper.tidy():
        sizes.append(len(ids(sqlite)))
        assert sqlite.ledger().balanced
    assert sizes[:5] == [801, 601, 401, 201, 1]
    assert ids(sqlite) == [kept.id]
    assert sqlite.size().spare <= retention.SPARE
    assert not keeper.tidy()


def test_a_clock_that_is_told_decides_what_is_old(sqlite: SqliteOutbox) -> None:
    made = old(sqlite, days=0)
    now = [time.time()]
    keeper = Retention(sqlite, 90 * DAY, clock=lambda: now[0])
    keeper.tidy()
    assert ids(sqlite) == [made.id]
    now[0] += 91 * DAY
    keeper.tidy()
    assert ids(sqlite) == []


def test_the_thread_tidies_at_once_and_ends_when_it_is_told(sqlite: SqliteOutbox) -> None:
    old(sqlite)
    stopping = threading.Event()
    thread = threading.Thread(target=Retention(sqlite, 90 * DAY).run, args=(stopping,))
    thread.start()
    until(lambda: ids(sqlite) == [])
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_manager_forgets_what_its_settings_say_and_nothing_without(tmp_path: Path, sqlite: SqliteOutbox) -> None:
    gone, kept = old(sqlite, days=91), old(sqlite, days=89)
    with AlertManager({"history": {"keep": "90d"}}, store=str(tmp_path / "s.db")) as manager:
        manager.start()
        until(lambda: ids(sqlite) == [kept.id])
        assert manager.report(gone.id) is None
    names = {thread.name for thread in threading.enumerate()}
    assert "bt_alerts retention" not in names
    age(sqlite, kept, 4000)
    with AlertManager(store=str(tmp_path / "s.db")) as manager:
        manager.start()
        assert manager.flush()
        assert "bt_alerts retention" not in {thread.name for thread in threading.enumerate()}
    assert ids(sqlite) == [kept.id]


def test_a_store_that_cannot_be_used_just_now_is_tried_again(
    sqlite: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY", 0.01)
    old(sqlite)
    calls: list[int] = []
    real = sqlite.prune

    def failing(before: float, most: int) -> Pruned:
        calls.append(1)
        if len(calls) < 3:
            raise StoreError("is locked") if len(calls) == 1 else RuntimeError("our own fault")
        return real(before, most)

    monkeypatch.setattr(sqlite, "prune", failing)
    stopping = threading.Event()
    thread = threading.Thread(target=Retention(sqlite, 90 * DAY).run, args=(stopping,))
    thread.start()
    until(lambda: ids(sqlite) == [])
    stopping.set()
    thread.join(10)


# Attachments -----------------------------------------------------------------------------------------


def keep_file(outbox: Outbox, content: bytes, days: float = 2) -> Attachment:
    folder = outbox.attachments
    assert folder is not None
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    file = folder / digest
    file.write_bytes(content)
    then = time.time() - days * DAY
    os.utime(file, (then, then))
    return Attachment("chart.png", "image/png", digest, len(content), str(file))


def files(outbox: Outbox) -> set[str]:
    assert outbox.attachments is not None
    return {path.name for path in outbox.attachments.iterdir()}


def tidy(outbox: Outbox) -> None:
    keeper = Retention(outbox, 90 * DAY)
    while keeper.tidy():
        pass


def test_attachments_go_with_the_last_alert_that_has_them(sqlite: SqliteOutbox) -> None:
    both, alone = keep_file(sqlite, b"both"), keep_file(sqlite, b"alone")
    old(sqlite, attachments=[both, alone])
    young = plan(sqlite, attachments=[both])
    tidy(sqlite)
    assert files(sqlite) == {both.sha256}
    age(sqlite, young, 100)
    tidy(sqlite)
    assert files(sqlite) == set()


def test_attachments_of_alerts_that_are_recorded_in_bulk_are_known_too(sqlite: SqliteOutbox) -> None:
    file = keep_file(sqlite, b"x")
    sqlite.record([alert(attachments=[file])], Reason.HISTORY)
    tidy(sqlite)
    assert files(sqlite) == {file.sha256}


def test_a_file_that_was_just_handed_over_stays_and_so_does_what_is_not_ours(sqlite: SqliteOutbox) -> None:
    fresh, stale = keep_file(sqlite, b"fresh", days=0), keep_file(sqlite, b"stale")
    assert sqlite.attachments is not None
    picture = sqlite.attachments / f"{'a' * 64}.png"
    strange = sqlite.attachments / "notes.txt"
    for file in (picture, strange):
        file.write_bytes(b"x")
        os.utime(file, (1, 1))
    (sqlite.attachments / ("b" * 64)).mkdir()
    assert retention.sweep(sqlite, time.time(), remove=False) == (2, 6)
    assert stale.sha256 in files(sqlite)
    tidy(sqlite)
    assert files(sqlite) == {fresh.sha256, strange.name, "b" * 64}


def test_while_journals_hold_unread_lines_no_attachment_goes(sqlite: SqliteOutbox) -> None:
    file = keep_file(sqlite, b"x")
    assert sqlite.journals is not None
    journal = Journal(sqlite.journals)
    journal.append(b"{}")
    assert retention.sweep(sqlite, time.time()) is None
    assert files(sqlite) == {file.sha256}
    with sqlite.transaction() as tx:
        tx.set_position(journal.name, journal.end())
    assert retention.sweep(sqlite, time.time()) == (1, 1)
    journal.close(drained_to=journal.end())


def test_an_attachment_that_is_handed_over_again_is_young_again(
    manage: Callable[..., AlertManager], tmp_path: Path
) -> None:
    manager = manage()
    given = tmp_path / "chart.png"
    given.write_bytes(b"picture")
    attachment = Attachment.from_path(given)
    assert manager.emit(alert(attachments=[attachment]))
    assert manager.flush()
    kept = tmp_path / "store.db.files" / attachment.sha256
    os.utime(kept, (1, 1))
    assert manager.emit(alert(attachments=[attachment]))
    assert kept.stat().st_mtime > time.time() - 100


def test_attachments_that_would_go_with_what_is_old_are_counted(sqlite: SqliteOutbox) -> None:
    file = keep_file(sqlite, b"four")
    old(sqlite, attachments=[file])
    now = time.time()
    assert retention.sweep(sqlite, now, before=now - 90 * DAY, remove=False) == (1, 4)
    assert retention.sweep(sqlite, now, before=now - 101 * DAY, remove=False) == (0, 0)
    assert files(sqlite) == {file.sha256}


def test_a_store_of_an_older_version_knows_which_alerts_have_attachments(tmp_path: Path) -> None:
    made = alert(attachments=[Attachment("a", "text/plain", "c" * 64, 1, "x")])
    plain = alert('say "attachments":[{ and nothing else')
    with contextlib.closing(sqlite_library.connect(tmp_path / "s.db")) as db:
        db.executescript(schema.STEPS[0] + schema.STEPS[1] + "PRAGMA user_version = 2;")
        for each in (made, plain):
            db.execute(
                "INSERT INTO alerts (id, type, kind, priority, time, symbol, strategy, run, source, body, state, "
                "reason, stored) VALUES (?, '', '', 0, 0, '', '', '', '', ?, 'recorded', '', 1)",
                (each.id, each.to_json()),
            )
        db.commit()
    outbox = SqliteOutbox(tmp_path / "s.db")
    assert list(outbox.attached()) == ["c" * 64]
    outbox.close()
