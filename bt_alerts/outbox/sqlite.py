"""The outbox on SQLite: one file, WAL, any number of processes on one machine.

One connection serves this process's planner and couriers, a lock in front of it; their transactions are short. Readers
open a connection of their own, and WAL keeps both out of each other's way. ``emit`` never comes here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import Outbox, Size, Transaction
from bt_alerts.outbox.bell import Bell, NoBell
from bt_alerts.outbox.fifo import FifoBell
from bt_alerts.outbox.sql import SqlOutbox
from bt_alerts.outbox.sql_db import Cursor, Db
from bt_alerts.outbox.sql_planning import SqlTransaction
from bt_alerts.outbox.sqlite_trouble import StoreLocked, why

OPEN_SECONDS = 0.2  # how long opening waits for a lock: a strategy's start must not wait for somebody else
BUSY_SECONDS = 5.0  # how long planner and couriers wait for somebody else's lock before they try again later
SLICE = 0.02  # seconds of that wait in one go; in between, other threads of ours may read, and the process may fork
FORK_SECONDS = 1.0  # how long a fork waits for a transaction of ours to end
PAGE = 500


class SqliteOutbox(SqlOutbox):
    """The store in a file.

    Args:
        path: the database file; its folder is made where it is missing.
        durable: also safe against power cuts, at the price of an fsync a commit.
        busy: seconds to wait for another process's lock.
        read_only: only look: nothing is made, brought to our schema or changed, whatever is called.

    Raises:
        StoreError: where the file cannot be opened, is no database of ours, or is of a newer version.
    """

    _read_only = False

    def __init__(
        self, path: str | Path, *, durable: bool = False, busy: float = BUSY_SECONDS, read_only: bool = False
    ) -> None:
        self.path = Path(path).expanduser()
        self.name = str(path)
        self.journals: Path | None = self.path.with_name(self.path.name + ".journal")
        self.attachments: Path | None = self.path.with_name(self.path.name + ".files")
        self._lock = threading.RLock()
        self._held_for_fork = self._reopen = False
        self._durable, self._busy, self._read_only = durable, busy, read_only
        try:
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._db = self._reader(busy) if read_only else self._connect(str(self.path), busy)
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

    def _reader(self, busy: float) -> sqlite3.Connection:
        return self._connect(f"{self.path.absolute().as_uri()}?mode=ro", busy, uri=True)

    def _set_up(self, patience: float) -> None:
        """Bring the file to our schema. Where another process has it locked, that is left for the first write."""
        if self._reopen:
            self._db = self._reader(patience) if self._read_only else self._connect(str(self.path), patience)
            self._reopen = False
        db = self._db
        try:
            db.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            if schema.is_foreign(db):
                raise StoreError(f"the store {self.path} is a database of another program: give `store:` another path")
            version = schema.version_of(db)
            if version > schema.VERSION:
                raise StoreError(schema.newer(str(self.path), version))
            if self._read_only:
                if version < schema.VERSION:
                    raise StoreError(schema.older(str(self.path)))
            else:
                if version == 0:
                    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only works before the first table
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
            self._refuse_newer()
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

    def _refuse_newer(self) -> None:
        """A later version of this package may have made the store its own since it was opened."""
        version = schema.version_of(self._db)
        if version > schema.VERSION:
            raise StoreError(schema.newer(str(self.path), version))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._write() as db:
            yield SqlTransaction(_InTransaction(db))

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

    @contextlib.contextmanager
    def _read(self) -> Iterator[Db]:
        with self._reading():
            yield self._db

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Db]:
        with self._reading(), contextlib.closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN")
            try:
                yield self._db
            finally:
                cursor.execute("COMMIT")

    # Reading -----------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            reader = self._reader(BUSY_SECONDS)
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

    def bell(self) -> Bell:
        return NoBell() if self.journals is None else FifoBell(self.path.with_name(self.path.name + ".bell"))

    # Keeping -----------------------------------------------------------------------------------------

    def size(self) -> Size:
        page, pages, free = next(iter(self.rows(_SIZE)))
        return Size(page * pages, page * free)

    def idle(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._db.executescript("PRAGMA incremental_vacuum(64)")  # execute() would stop after the first page

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


_SIZE = "SELECT page_size, page_count, freelist_count FROM pragma_page_size, pragma_page_count, pragma_freelist_count"


class _InTransaction:
    """A full disk can end a transaction by itself; what came after it would then be kept without what came before."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _checked(self) -> sqlite3.Connection:
        if not self._db.in_transaction:
            raise StoreError("the store could not go on with a transaction; it is tried again")
        return self._db

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        return self._checked().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        return self._checked().executemany(sql, parameters)


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
