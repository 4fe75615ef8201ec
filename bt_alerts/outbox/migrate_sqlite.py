"""The ends of a copy that are files: the original, only read, and the copy, which is no store before it is whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.migrate import HARMLESS, MARK, PAGE, Row, Source, Table, Target
from bt_alerts.outbox.sqlite_trouble import why


def _paths(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.journal"), path.with_name(f"{path.name}.files")


def _by_key(db: sqlite3.Connection, table: Table) -> Iterator[Row]:
    cursor = db.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {', '.join(table.key)}")
    while page := cursor.fetchmany(PAGE):
        yield from page


class SqliteSource(Source):
    """A file that is copied.

    Raises:
        StoreError: where there is none, or none of ours and of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = path.resolve()
        self.name = str(path)
        self.journals, self.attachments = _paths(path)
        self.db = _opened_to_read(path)
        try:
            version = schema.version_of(self.db)
            if schema.is_foreign(self.db) or version == 0:
                raise StoreError(f"{path} is no store of bt_alerts")
            if version > schema.VERSION:
                raise StoreError(schema.newer(str(path), version))
            if version < schema.VERSION:
                raise StoreError(
                    f"the store {path} is of an older version, and a copy leaves it as it is: bring it up to date with "
                    "any command that opens it, such as `bt-alerts health`, then copy it"
                )
            self.db.execute("BEGIN")
            self.db.execute("SELECT 1 FROM alerts LIMIT 1").fetchall()  # from here on it is seen as it is now
        except sqlite3.Error as exc:
            self.db.close()
            raise StoreError(why(exc, path)) from None
        except StoreError:
            self.db.close()
            raise

    db: sqlite3.Connection

    def rows(self, table: Table) -> Iterator[Row]:
        try:
            yield from _by_key(self.db, table)
        except sqlite3.Error as exc:
            raise StoreError(why(exc, self.path)) from None

    def living(self) -> str:
        return ""  # whoever works with a file has a journal beside it

    def refresh(self) -> None:
        self.db.execute("COMMIT")
        self.db.execute("BEGIN")

    def close(self) -> None:
        self.db.close()


def _opened_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError(f"there is no store {path}")
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    except sqlite3.Error as exc:
        raise StoreError(why(exc, path)) from None


class SqliteTarget(Target):
    """A new file, or one that holds nothing.

    Raises:
        StoreError: where something is there already, or it cannot be written.
    """

    db: sqlite3.Connection

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.journals, self.attachments = _paths(path)
        self._part = path.with_name(path.name + MARK)
        _refuse_unless_empty(path)
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._part.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise StoreError(
                f"{self._part} is there: another copy is being made, or one was broken off. If none is running, remove "
                "that file and try again"
            ) from None
        except OSError as exc:
            raise StoreError(why(exc, path)) from None
        self.db = sqlite3.connect(self._part, isolation_level=None)
        with self._told():
            self.db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            schema.migrate(self.db)
            # Nobody else has it, and it counts for nothing until it is whole.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32000"):
                self.db.execute(f"PRAGMA {pragma}").fetchall()
            self.db.execute("BEGIN")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as exc:
            raise StoreError(why(exc, self.path)) from None

    def rows(self, table: Table) -> Iterator[Row]:
        with self._told():
            yield from _by_key(self.db, table)

    def write(self, table: Table, rows: Iterable[Row]) -> None:
        columns, marks = ", ".join(table.columns), ", ".join("?" * len(table.columns))
        with self._told():
            self.db.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", rows)

    def finish(self) -> None:
        with self._told():
            self.db.execute("COMMIT")
            self.db.close()
            with self._part.open("rb+") as file:
                os.fsync(file.fileno())
        _refuse_unless_empty(self.path)
        with self._told():
            for ending in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            try:
                os.link(self._part, self.path)  # unlike a rename, never over a file that appeared meanwhile
            except FileExistsError:
                raise StoreError(f"{self.path} was made meanwhile: name another file") from None
            except OSError:  # a file system without links
                self._part.rename(self.path)

    def close(self) -> None:
        self.db.close()
        for ending in ("", "-journal", "-wal", "-shm"):
            self._part.with_name(self._part.name + ending).unlink(missing_ok=True)


def _refuse_unless_empty(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file in it")
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(_opened_to_read(path)) as db:
            if schema.is_foreign(db) or schema.version_of(db) == 0:
                raise StoreError(f"{path} is a database of another program: name another file")
            there = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            held = {name for name in there if db.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() is not None}
    except sqlite3.Error as exc:
        raise StoreError(f"{path} is there and is no store of bt_alerts ({exc}): name another file") from None
    if not held <= HARMLESS:
        raise StoreError(f"the store {path} is not empty: name a new file, a copy never adds to what is there")
