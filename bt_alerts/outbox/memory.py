"""The outbox in memory: the same SQL and so the same behaviour as on disk, gone with the process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bt_alerts.errors import StoreError
from bt_alerts.outbox.sqlite import BUSY_SECONDS, SqliteOutbox


class MemoryOutbox(SqliteOutbox):
    """The store of a backtest, a notebook or a test."""

    def __init__(self) -> None:
        self.path = Path("memory")
        self.name = "in memory"
        self.journals = None
        self.attachments = None
        self._lock = threading.RLock()
        self._durable, self._busy, self._ready, self._reopen = False, BUSY_SECONDS, False, False
        self._db = self._connect(":memory:", BUSY_SECONDS)
        self._set_up(patience=BUSY_SECONDS)

    def forked(self) -> MemoryOutbox:
        return MemoryOutbox()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """As in a file, but all at once on the one connection, because nobody else can open this database."""
        with self._lock:  # not while the reader thinks: couriers wait behind it
            try:
                found = self._db.execute(sql, parameters).fetchall()
            except sqlite3.Error as exc:
                raise StoreError(f"the store cannot be read: {exc}") from None
        yield from found

    def backup(self, path: Path) -> None:
        if path.exists():
            raise StoreError(f"{path} exists: name a new file, a backup never overwrites")
        target = SqliteOutbox(path)
        with self._lock:
            self._db.backup(target._db)
        target.close()
