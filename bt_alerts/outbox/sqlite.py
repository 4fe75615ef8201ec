"""The outbox on SQLite: one file, WAL, any number of processes on one machine.

One connection serves this process's planner and couriers, a lock in front of it; their transactions are short. Readers
open a connection of their own, and WAL keeps both out of each other's way. ``emit`` never comes here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bt_alerts.alert import Alert, Priority, plain, safe_text
from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import (
    AlertState,
    Claim,
    DeadLetter,
    DeliveryState,
    Ledger,
    NewDelivery,
    Outbox,
    Question,
    Settlement,
    Transaction,
)
from bt_alerts.outbox.sqlite_planning import INSERT_ALERT, SqliteTransaction, alert_row, insert_deliveries
from bt_alerts.outbox.sqlite_trouble import StoreLocked, why
from bt_alerts.rules import pacing

OPEN_SECONDS = 0.2  # how long opening waits for a lock: a strategy's start must not wait for somebody else
BUSY_SECONDS = 5.0  # how long planner and couriers wait for somebody else's lock before they try again later
SLICE = 0.02  # seconds of that wait in one go; in between, other threads of ours may read, and the process may fork
FORK_SECONDS = 1.0  # how long a fork waits for a transaction of ours to end
PAGE = 500
MAX_DETAIL = 2_000  # characters kept of what a service said


class SqliteOutbox(Outbox):
    """The store in a file.

    Args:
        path: the database file; its folder is made where it is missing.
        durable: also safe against power cuts, at the price of an fsync a commit.
        busy: seconds to wait for another process's lock.

    Raises:
        StoreError: where the file cannot be opened, is no database of ours, or is of a newer version.
    """

    def __init__(self, path: str | Path, *, durable: bool = False, busy: float = BUSY_SECONDS) -> None:
        self.path = Path(path).expanduser()
        self.name = str(path)
        self.journals: Path | None = self.path.with_name(self.path.name + ".journal")
        self.attachments: Path | None = self.path.with_name(self.path.name + ".files")
        self._lock = threading.RLock()
        self._held_for_fork = self._reopen = False
        self._durable, self._busy = durable, busy
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._db = self._connect(str(self.path), busy)
            if new:
                self.path.chmod(0o600)
        except (OSError, sqlite3.Error) as exc:
            raise StoreError(why(exc, self.path)) from None
        self._ready = False
        self._set_up(patience=OPEN_SECONDS)
        _living.add(self)

    # Opening -----------------------------------------------------------------------------------------

    @staticmethod
    def _connect(name: str, busy: float, *, uri: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(name, timeout=busy, isolation_level=None, check_same_thread=False, uri=uri)

    def _set_up(self, patience: float) -> None:
        """Bring the file to our schema. Where another process has it locked, that is left for the first write."""
        if self._reopen:
            self._db, self._reopen = self._connect(str(self.path), patience), False
        db = self._db
        try:
            db.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            if schema.is_foreign(db):
                raise StoreError(f"the store {self.path} is a database of another program: give `store:` another path")
            if schema.version_of(db) == 0:
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only works before the first table
            newer = schema.version_of(db)
            if newer > schema.VERSION:
                raise StoreError(
                    f"the store {self.path} was written by a newer bt_alerts (schema {newer}, this one knows "
                    f"{schema.VERSION}): upgrade with `pip install -U bt-alerts`"
                )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")  # idle() does it, when nobody waits
            schema.migrate(db)
            db.execute(f"PRAGMA busy_timeout = {int(SLICE * 1000)}")
        except sqlite3.Error as exc:
            if "locked" in str(exc):
                return
            self._reopen = True
            db.close()
            raise StoreError(why(exc, self.path)) from None
        except StoreError:
            self._reopen = True
            db.close()
            raise
        self._ready = True

    def forked(self) -> Outbox:
        return self  # the connection was changed as the process forked, see below

    def _hold_for_fork(self) -> None:
        self._held_for_fork = self._lock.acquire(timeout=FORK_SECONDS)

    def _forked_in_parent(self) -> None:
        if self._held_for_fork:
            self._lock.release()

    def _forked_in_child(self) -> None:
        """Close the parent's connection, which is harmless between transactions, and open one of our own when needed.

        While it stays open, SQLite takes the parent's file locks for ours, and ours are never really taken: the last
        one to close the store would then delete a log (WAL) that we still write to.
        """
        if self._held_for_fork:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        else:
            _parents.append(self._db)
        self._lock = threading.RLock()
        self._ready, self._reopen = False, True

    # Writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        db = self._begin()  # with the lock
        try:
            yield db
            db.execute("COMMIT")
        except sqlite3.Error as exc:
            raise StoreError(why(exc, self.path)) from None
        finally:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            self._lock.release()

    def _begin(self) -> sqlite3.Connection:
        """Wait for our turn to write. Raises :class:`StoreError` where it does not come."""
        deadline = time.monotonic() + self._busy
        while True:
            self._lock.acquire()
            try:
                with self._reading():
                    self._db.execute("BEGIN IMMEDIATE")
                return self._db
            except StoreLocked:
                self._lock.release()
                if time.monotonic() >= deadline:
                    raise
            except BaseException:
                self._lock.release()
                raise
            time.sleep(SLICE / 10)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._write() as db:
            yield SqliteTransaction(db)

    def record(self, alerts: Iterable[Alert], reason: str) -> int:
        with self._write() as db:
            before = db.total_changes
            now = time.time()
            db.executemany(INSERT_ALERT, (alert_row(alert, AlertState.RECORDED, reason, now) for alert in alerts))
            return db.total_changes - before

    # Delivering --------------------------------------------------------------------------------------

    def claim(self, channel: str, owner: str, now: float, lease: float, rate: float) -> Claim | None:
        with self._write() as db:
            while True:
                row = db.execute(_CLAIM, {"channel": channel, "now": now}).fetchone()
                if row is None:
                    return None
                if row[13]:  # the oldest leads a digest, so that a repeat after a crash has the same key
                    row = db.execute(_LEADER, {"channel": channel, "target": row[2], "now": now}).fetchone()
                target, tokens, tokens_at = row[2], row[9], row[10]
                if row[14] > now:  # not to be sent, but to be given up: it expires before it may be
                    break
                bucket = pacing.take(tokens, tokens_at, rate, now)
                db.execute(
                    "UPDATE targets SET tokens = ?, tokens_at = ?, not_before = max(not_before, ?) "
                    "WHERE channel = ? AND target = ?",
                    (bucket.tokens, now, bucket.not_before, channel, target),
                )
                if bucket.granted:
                    break
            db.execute(
                "UPDATE targets SET owner = ?, leased_until = ? WHERE channel = ? AND target = ?",
                (owner, now + lease, channel, target),
            )
            return Claim(
                seq=row[0],
                key=row[1],
                channel=channel,
                target=target,
                alert=Alert.from_json(row[3]),
                promised=row[4],
                expires=row[5],
                silent=bool(row[6]),
                attempts=row[7],
                answers=row[8],
                failures=row[11],
                replies_to=self._replies_to(db, channel, target, row[12]),
                memory=self._memory(db, channel),
                gathers=bool(row[13]),
                held_until=row[14],
            )

    @staticmethod
    def _replies_to(db: sqlite3.Connection, channel: str, target: str, thread: str) -> tuple[str, ...]:
        if not thread:
            return ()
        found = [db.execute(f"{_IN_THREAD} {order} LIMIT 1", (channel, target, thread)).fetchone() for order in _ENDS]
        return tuple(dict.fromkeys(row[0] for row in found if row is not None))

    @staticmethod
    def _memory(db: sqlite3.Connection, channel: str) -> dict[str, Any]:
        rows = db.execute("SELECT target, memory FROM targets WHERE channel = ? AND memory != ''", (channel,))
        return {target: json.loads(memory) for target, memory in rows.fetchall()}

    def gathered(self, claim: Claim, now: float) -> list[tuple[int, Alert]]:
        with self._reading():
            rows = self._db.execute(_GATHERED, (claim.channel, claim.target, now, now, claim.seq)).fetchall()
        return [(seq, Alert.from_json(body)) for seq, body in rows]

    def claim_question(self, channel: str, now: float, lease: float) -> Question | None:
        with self._write() as db:
            row = db.execute(_QUESTION, (channel, now)).fetchone()
            if row is None:
                return None
            db.execute("UPDATE deliveries SET ask_at = ? WHERE seq = ?", (now + lease, row[0]))
            others = db.execute(_IN_THE_SAME, (channel, row[1], row[3])).fetchall() if row[3] else []
            said = db.execute("SELECT facts FROM attempts WHERE delivery = ? ORDER BY seq", (row[0],)).fetchall()
        facts: dict[str, Any] = {}
        for (each,) in said:
            facts |= json.loads(each)
        digested = {seq: Alert.from_json(body) for seq, body in others}
        return Question(row[0], channel, row[1], Alert.from_json(row[2]), row[3], facts, row[4] or now, digested)

    def settle_question(
        self,
        question: Question,
        settlement: Settlement,
        now: float,
        *,
        acknowledged: bool = False,
        not_arrived: Mapping[int, Sequence[NewDelivery]] | None = None,
    ) -> None:
        done, detail = settlement, safe_text(settlement.detail, MAX_DETAIL)
        with self._write() as db:
            db.execute(
                "INSERT INTO attempts (delivery, started, took, outcome, detail, service_id, facts) "
                "VALUES (?, ?, 0, ?, ?, ?, ?)",
                (question.seq, now, done.outcome, detail, question.service_id, json.dumps(plain(done.facts))),
            )
            db.execute(
                "UPDATE deliveries SET outcome = ?, detail = ?, ask_at = ? WHERE seq = ?",
                (done.outcome, detail, done.ask_at, question.seq),
            )
            of = {question.seq: question.alert, **question.digested}
            for alert in of.values() if acknowledged else ():
                SqliteTransaction(db).acknowledge(alert.id, now)
            for seq, instead in (not_arrived or {}).items():
                state = DeliveryState.FAILED_OVER if instead else DeliveryState.DEAD
                db.execute(
                    "UPDATE deliveries SET state = ?, outcome = ?, detail = ?, ask_at = NULL, settled = ? "
                    "WHERE seq = ?",
                    (state, done.outcome, detail, now, seq),
                )
                alert_seq = db.execute("SELECT alert FROM deliveries WHERE seq = ?", (seq,)).fetchone()[0]
                insert_deliveries(db, alert_seq, of[seq].priority.rank, instead, now)

    def settle(self, claim: Claim, settlement: Settlement, owner: str, started: float, now: float) -> bool:
        done = settlement
        with self._write() as db:
            still_ours = db.execute(
                "SELECT 1 FROM targets WHERE channel = ? AND target = ? AND owner = ?",
                (claim.channel, claim.target, owner),
            ).fetchone()
            if still_ours is None:  # another took over after our lease ran out: its word counts
                return False
            # What a service says can be anything, and a settlement that fails is a message sent twice.
            detail, service_id = safe_text(done.detail, MAX_DETAIL), safe_text(done.service_id, MAX_DETAIL)
            if done.attempted:
                db.execute(
                    "INSERT INTO attempts (delivery, started, took, outcome, detail, service_id, facts) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (claim.seq, started, max(0.0, now - started), done.outcome, detail, service_id,
                     json.dumps(plain(done.facts))),
                )  # fmt: skip
            # Somebody may have cancelled or held it while it was under way: it arrived all the same, or that stands.
            state, outcome = db.execute("SELECT state, outcome FROM deliveries WHERE seq = ?", (claim.seq,)).fetchone()
            if state == DeliveryState.PENDING or done.state is DeliveryState.DELIVERED:
                state, outcome = done.state, done.outcome
            db.execute(
                "UPDATE deliveries SET state = ?, outcome = ?, detail = ?, due = max(due, ?), settled = ?, "
                "service_id = ?, attempts = attempts + ?, answers = answers + ?, ask_at = ?, gather = ? WHERE seq = ?",
                (state, outcome, detail, done.due, None if state == DeliveryState.PENDING else now,
                 service_id, int(done.attempted), int(done.answered), done.ask_at, int(done.gather), claim.seq),
            )  # fmt: skip
            db.executemany(
                "UPDATE deliveries SET state = 'digested', outcome = 'digested', detail = ?, settled = ?, "
                "service_id = ? WHERE seq = ? AND state IN ('pending', 'held')",
                [(f"went in one message with alert {claim.alert.id}", now, service_id, seq) for seq in done.digested],
            )
            if done.remember is not None:
                db.execute(
                    "UPDATE targets SET memory = ? WHERE channel = ? AND target = ?",
                    (json.dumps(plain(done.remember)), claim.channel, claim.target),
                )
            failed = done.attempted and done.state is not DeliveryState.DELIVERED
            db.execute(
                "UPDATE targets SET owner = NULL, leased_until = 0, disabled = CASE WHEN ? != '' THEN ? ELSE disabled "
                "END, failures = CASE WHEN ? THEN failures + 1 ELSE 0 END, not_before = max(not_before, ?), "
                "tokens = tokens + ? WHERE channel = ? AND target = ?",
                (done.disable_target, done.disable_target, failed, done.hold_target or 0.0,
                 int(not done.attempted), claim.channel, claim.target),
            )  # fmt: skip
            if done.hold_channel:
                db.execute("UPDATE channels SET not_before = ? WHERE channel = ?", (done.hold_channel, claim.channel))
            if done.disable_channel:
                db.execute("UPDATE channels SET disabled = ? WHERE channel = ?", (done.disable_channel, claim.channel))
            if done.disable_channel or done.disable_target:
                self._hold(db, claim, done)
            alert_seq = db.execute("SELECT alert FROM deliveries WHERE seq = ?", (claim.seq,)).fetchone()[0]
            if done.instead:
                insert_deliveries(db, alert_seq, claim.alert.priority.rank, done.instead, now)
            if done.cancel_others:
                db.execute(
                    "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', settled = ?, "
                    "detail = 'another channel failed first, and fail_fast is on' "
                    "WHERE alert = ? AND state = 'pending' AND seq != ?",
                    (now, alert_seq, claim.seq),
                )
        return True

    @staticmethod
    def _hold(db: sqlite3.Connection, claim: Claim, done: Settlement) -> None:
        """What waits for a channel or target that will not work is held, not lost: it goes on with new settings."""
        which = "" if done.disable_channel else " AND target = ?"
        below = len(Priority) if done.hold_below is None else done.hold_below.rank
        values = (done.disable_channel or done.disable_target, claim.channel, below)
        db.execute(
            "UPDATE deliveries SET state = 'held', detail = ? WHERE channel = ? AND state = 'pending' "
            f"AND priority < ?{which}",
            values if done.disable_channel else (*values, claim.target),
        )

    def position(self, journal: str) -> int:
        with self._reading():
            row = self._db.execute("SELECT position FROM journals WHERE journal = ?", (journal,)).fetchone()
        return row[0] if row else 0

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if not self._ready:
                self._set_up(patience=SLICE)
            if not self._ready:
                raise StoreLocked(why(sqlite3.OperationalError("database is locked"), self.path))
            try:
                yield
            except sqlite3.Error as exc:
                kind = StoreLocked if "locked" in str(exc) else StoreError
                raise kind(why(exc, self.path)) from None

    def next_due(self, channel: str) -> float | None:
        with self._reading():
            row = self._db.execute(_NEXT_DUE, {"channel": channel}).fetchone()
            asked = self._db.execute(_NEXT_QUESTION, (channel,)).fetchone()
        return min((due for due in (row[0], asked[0]) if due is not None), default=None)

    def release(self, owner: str) -> None:
        with self._write() as db:
            db.execute("UPDATE targets SET owner = NULL, leased_until = 0 WHERE owner = ?", (owner,))

    def dead_letters(self, numbers: Collection[int] | None = None) -> Iterator[DeadLetter]:
        for number, state, channel, label, attempts, detail, settled, body in self.rows(_DEAD):
            if numbers is None or number in numbers:
                yield DeadLetter(
                    number, DeliveryState(state), channel, label, attempts, detail, settled, Alert.from_json(body)
                )

    def retry_dead(self, numbers: Collection[int] | None, now: float, time_to_live: float) -> int:
        with self._write() as db:
            again = [
                (state, disabled, now, now + time_to_live, number)
                for number, disabled in db.execute(_DEAD_AND_DISABLED).fetchall()
                if numbers is None or number in numbers
                for state in (DeliveryState.HELD if disabled else DeliveryState.PENDING,)
            ]
            db.executemany(
                "UPDATE deliveries SET state = ?, outcome = '', detail = ?, due = ?, expires = ?, answers = 0, "
                "settled = NULL WHERE seq = ?",
                again,
            )
        return len(again)

    def purge_dead(self, numbers: Collection[int] | None) -> int:
        with self._write() as db:
            gone = [
                (number,)
                for number, _ in db.execute(_DEAD_AND_DISABLED).fetchall()
                if numbers is None or number in numbers
            ]
            db.executemany(
                "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', detail = 'purged' WHERE seq = ?",
                gone,
            )
        return len(gone)

    def enable_channel(self, channel: str, fingerprint: str) -> None:
        with self._write() as db:
            known = db.execute("SELECT fingerprint FROM channels WHERE channel = ?", (channel,)).fetchone()
            if known is not None and known[0] == fingerprint:
                return
            db.execute(
                "INSERT INTO channels (channel, fingerprint) VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET "
                "fingerprint = excluded.fingerprint, disabled = '', not_before = 0",
                (channel, fingerprint),
            )
            db.execute("UPDATE targets SET disabled = '', not_before = 0 WHERE channel = ?", (channel,))
            db.execute(
                "UPDATE deliveries SET state = 'pending', detail = '' WHERE channel = ? AND state = 'held'", (channel,)
            )

    def disabled(self) -> dict[str, str]:
        return dict(self.rows("SELECT channel, disabled FROM channels WHERE disabled != ''"))

    def pending(self, channels: Sequence[str]) -> tuple[int, float | None]:
        marks = ",".join("?" * len(channels))
        with self._reading():
            count = self._db.execute(
                f"SELECT count(*) FROM deliveries WHERE state = 'pending' AND channel IN ({marks})", tuple(channels)
            ).fetchone()[0]
            dues = [self._db.execute(_NEXT_TRY, {"channel": channel}).fetchone()[0] for channel in channels]
        return count, min((due for due in dues if due is not None), default=None)

    # Reading -----------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            reader = self._connect(f"{self.path.absolute().as_uri()}?mode=ro", BUSY_SECONDS, uri=True)
        except sqlite3.Error as exc:
            raise StoreError(why(exc, self.path)) from None
        try:
            cursor = reader.execute(sql, parameters)
            while page := cursor.fetchmany(PAGE):
                yield from page
        except sqlite3.Error as exc:
            raise StoreError(why(exc, self.path)) from None
        finally:
            reader.close()

    def ledger(self) -> Ledger:
        with self._reading(), contextlib.closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN")  # one snapshot for both ledgers
            try:
                accepted = cursor.execute("SELECT count(*) FROM alerts").fetchone()[0]
                states = dict(cursor.execute("SELECT state, count(*) FROM alerts GROUP BY state").fetchall())
                reasons = dict(
                    cursor.execute("SELECT reason, count(*) FROM alerts WHERE reason != '' GROUP BY reason").fetchall()
                )
                created = cursor.execute("SELECT count(*) FROM deliveries").fetchone()[0]
                sent = dict(cursor.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
                unreadable = cursor.execute("SELECT count(*) FROM unreadable").fetchone()[0]
            finally:
                cursor.execute("COMMIT")
        return Ledger(
            accepted=accepted,
            recorded=states.get("recorded", 0),
            suppressed=states.get("suppressed", 0),
            planned=states.get("planned", 0),
            waiting=states.get("waiting", 0),
            created=created,
            deliveries={state.value: sent.get(state.value, 0) for state in DeliveryState},
            reasons=reasons,
            unreadable=unreadable,
        )

    # Keeping -----------------------------------------------------------------------------------------

    def idle(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._db.execute("PRAGMA incremental_vacuum(64)").fetchall()

    def backup(self, path: Path) -> None:
        if path.exists():
            raise StoreError(f"{path} exists: name a new file, a backup never overwrites")
        try:
            path.touch(mode=0o600, exist_ok=False)
            with contextlib.closing(self._connect(str(path), BUSY_SECONDS)) as copy, self._reading():
                self._db.backup(copy)
        except (OSError, sqlite3.Error, StoreError) as exc:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            reason = str(exc) if isinstance(exc, StoreError) else why(exc, path)
            raise StoreError(f"the backup was not made: {reason}") from None

    def close(self) -> None:
        with self._lock:
            _living.discard(self)
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.close()
            self._ready, self._reopen = False, True  # whoever asks afterwards opens it again


#: Connections of a parent process that was in the middle of something when it forked. Not even closing them is safe.
_parents: list[sqlite3.Connection] = []
_living: weakref.WeakSet[SqliteOutbox] = weakref.WeakSet()


def _each(call: Callable[[SqliteOutbox], None]) -> Callable[[], None]:
    def for_each() -> None:
        for outbox in list(_living):
            call(outbox)

    return for_each


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(SqliteOutbox._hold_for_fork),
        after_in_parent=_each(SqliteOutbox._forked_in_parent),
        after_in_child=_each(SqliteOutbox._forked_in_child),
    )


_CLAIM = """
SELECT d.seq, d.key, d.target, a.body, d.promised, d.expires, d.silent, d.attempts, d.answers,
       t.tokens, t.tokens_at, t.failures, d.thread, d.gather, max(t.not_before, c.not_before)
FROM deliveries d
JOIN targets t ON t.channel = d.channel AND t.target = d.target
JOIN channels c ON c.channel = d.channel
JOIN alerts a ON a.seq = d.alert
WHERE d.channel = :channel AND d.state = 'pending' AND d.due <= :now AND t.leased_until <= :now
  AND (max(t.not_before, c.not_before) <= :now OR max(t.not_before, c.not_before) >= d.expires)
ORDER BY d.priority DESC, d.seq
LIMIT 1
"""

_IN_THREAD = """
SELECT service_id FROM deliveries
WHERE channel = ? AND target = ? AND thread = ? AND thread != '' AND service_id != '' AND state = 'delivered'
ORDER BY settled
"""
_ENDS = ("ASC", "DESC")

_GATHERED = """
SELECT d.seq, a.body FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.target = ? AND d.state = 'pending' AND d.gather AND d.due <= ? AND d.expires > ?
  AND d.seq != ?
ORDER BY d.seq
"""

_LEADER = _CLAIM.replace("ORDER BY d.priority DESC, d.seq", "AND d.target = :target AND d.gather ORDER BY d.seq")

_IN_THE_SAME = """
SELECT d.seq, a.body FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.target = ? AND d.state = 'digested' AND d.service_id = ? ORDER BY d.seq
"""

_NEXT_QUESTION = "SELECT min(ask_at) FROM deliveries WHERE channel = ? AND ask_at IS NOT NULL"

_QUESTION = """
SELECT d.seq, d.target, a.body, d.service_id, d.settled FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.ask_at <= ? AND d.ask_at IS NOT NULL ORDER BY d.ask_at LIMIT 1
"""

_DEAD = """
SELECT d.seq, d.state, d.channel, t.label, d.attempts, d.detail, d.settled, a.body
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE d.state IN ('dead', 'expired') ORDER BY d.seq
"""

_DEAD_AND_DISABLED = """
SELECT d.seq, c.disabled || t.disabled
FROM deliveries d JOIN channels c ON c.channel = d.channel
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE d.state IN ('dead', 'expired')
"""

_WHEN = """
SELECT min(max(CASE WHEN max(t.not_before, c.not_before) >= d.expires THEN d.due ELSE max({times}) END, {lease}))
FROM deliveries d
JOIN targets t ON t.channel = d.channel AND t.target = d.target
JOIN channels c ON c.channel = d.channel
WHERE d.channel = :channel AND d.state = 'pending'
"""
_TIMES = "d.due, t.not_before, c.not_before"
_NEXT_DUE = _WHEN.format(times=_TIMES, lease="t.leased_until")
_NEXT_TRY = _WHEN.format(times=_TIMES, lease="0")  # what is in flight is being tried now
