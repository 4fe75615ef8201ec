"""Copying a whole store into another: SQLite to PostgreSQL, back, and from file to file.

Promises
--------
*All or nothing.* A copy that breaks off leaves no store that looks whole. On SQLite it is made under another name
(``….migrating``) and gets its own when everything is there; on PostgreSQL it is one transaction.

*Everything, with its numbers.* Every table, the attachments, and the journals of processes that are gone: whoever
starts with the copy drains them from where they had been read.

*Checked.* What is in the copy is read back: rows and a checksum of each table, and both ledgers.

*The original is only read*, and must be nobody's meanwhile: while a process works with it, nothing is copied.

What it does not do: bring journals from other machines; change settings; copy a store of an older version.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import Ledger
from bt_alerts.outbox.journal import SUFFIX, DeadJournal, dead_journals
from bt_alerts.outbox.postgres_address import is_postgres
from bt_alerts.outbox.sql import ledger_of
from bt_alerts.outbox.sql_db import Db

PAGE = 500  # rows read at a time
MARK = ".migrating"  # ends the name of what is not whole yet
#: Tables in which an empty store may have something all the same: somebody opened it once.
HARMLESS = frozenset({"channels", "targets", "journals", "leases", "processes"})

Row = tuple[Any, ...]
Progress = Callable[[int, int], None]


class Table(NamedTuple):
    """A table of the schema.

    Args:
        name: its name.
        columns: all of them, in order.
        key: those of the primary key.
        numbered: whether the store gives the keys itself.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbered: bool


@functools.cache
def tables() -> tuple[Table, ...]:
    """The tables of a store of this version, those that others refer to first."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for step in schema.STEPS.values():
            db.executescript(step)
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
        return tuple(_table(db, name) for name in names)


def _table(db: sqlite3.Connection, name: str) -> Table:
    columns = db.execute(f"SELECT name, type, pk FROM pragma_table_info('{name}') ORDER BY cid").fetchall()
    key = sorted((pk, column, kind) for column, kind, pk in columns if pk)
    numbered = [kind for _, _, kind in key] == ["INTEGER"]
    return Table(name, tuple(column for column, _, _ in columns), tuple(column for _, column, _ in key), numbered)


class End(abc.ABC):
    """One end of a copy: a store that is read, or that is written."""

    #: What to call it in a sentence.
    name: str
    journals: Path
    attachments: Path
    #: The file; None for a store on a server.
    place: Path | None = None
    #: The connection, in a transaction.
    db: Db

    @abc.abstractmethod
    def rows(self, table: Table) -> Iterator[Row]:
        """A table by its key, texts in the order of their bytes; a page at a time."""

    def ledger(self) -> Ledger:
        """Both ledgers."""
        return ledger_of(self.db)

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of it; a copy that is not finished is gone then."""

    def count(self, table: Table) -> int:
        """How many rows a table has."""
        return int(self.db.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])


class Source(End):
    """The original."""

    @abc.abstractmethod
    def living(self) -> str:
        """Who works with it now, in words; empty for nobody. Its journals are looked at elsewhere."""

    @abc.abstractmethod
    def refresh(self) -> None:
        """See it from now on as it is now."""


class Target(End):
    """The copy."""

    @abc.abstractmethod
    def write(self, table: Table, rows: Iterable[Row]) -> None:
        """Fill an empty table."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Make it a store: from here on it is whole."""


@dataclasses.dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Args:
        source: what the original is called.
        target: what the copy is called.
        rows: by table.
        ledger: of both.
        journals: how many journals of processes that are gone.
        attachments: how many files.
    """

    source: str
    target: str
    rows: dict[str, int]
    ledger: Ledger
    journals: int
    attachments: int


def migrate(source: str, target: str, folder: Path, progress: Progress = lambda done, of: None) -> Copied:
    """Copy a store into another.

    Args:
        source: path of a file, or ``postgresql://…``.
        target: the same; it must not exist yet, or be empty.
        folder: where journals and attachments of stores on a server are, on this machine.
        progress: called with how many rows are done, of how many.

    Raises:
        StoreError: where it cannot be copied, or the copy is not the same. Then there is no copy.
    """
    with contextlib.ExitStack() as opened:
        original = _opened(source, folder, reading=True)
        opened.callback(original.close)
        if not is_postgres(target) and Path(target).expanduser().resolve() == original.place:
            raise StoreError(f"{original.name} cannot be copied into itself: name another store")
        copy = _opened(target, folder, reading=False)
        opened.callback(copy.close)
        return copy_store(original, copy, progress)


def _opened(store: str, folder: Path, *, reading: bool) -> Any:
    if is_postgres(store):
        try:
            from bt_alerts.outbox import migrate_postgres
        except ImportError:
            raise StoreError('PostgreSQL needs psycopg: pip install "bt-alerts[postgres]"') from None
        return (migrate_postgres.PostgresSource if reading else migrate_postgres.PostgresTarget)(store, folder)
    if not store.strip() or re.match(r"\w+://", store) or store.strip().lower() in {"memory", ":memory:"}:
        raise StoreError(f"{store!r} is no store that can be copied: write the path of a file, or postgresql://…")
    from bt_alerts.outbox import migrate_sqlite

    path = Path(store).expanduser()
    return (migrate_sqlite.SqliteSource if reading else migrate_sqlite.SqliteTarget)(path)


def copy_store(source: Source, target: Target, progress: Progress = lambda done, of: None) -> Copied:
    """Copy from one end to the other; see :func:`migrate`."""
    if target.journals.is_dir() and (left := [path.name for path in target.journals.glob(f"*{SUFFIX}")]):
        raise StoreError(
            f"the store {target.name} is in use, or alerts wait for it in {target.journals} ({left[0]}): name another"
        )
    with contextlib.ExitStack() as held:
        journals = _locked_journals(source, held)
        unread = [journal for journal in journals if journal.end() > _position(source, journal)]
        ledger = source.ledger()
        rows = _copy_rows(source, target, progress)
        if target.ledger() != ledger:
            raise StoreError("the copy was given up: its ledgers are not those of the original; please report it")
        attachments = _copy_attachments(source.attachments, target.attachments)
        with _copied_journals(unread, target.journals) as show:
            source.refresh()
            _refuse_if_in_use(source, journals)
            if source.ledger() != ledger:
                raise StoreError(f"the store {source.name} was changed meanwhile: stop what uses it and try again")
            show()
            target.finish()
    return Copied(source.name, target.name, rows, ledger, len(unread), attachments)


def _locked_journals(source: Source, held: contextlib.ExitStack) -> list[DeadJournal]:
    """Lock what dead processes left, so that nobody drains it meanwhile."""
    journals = list(dead_journals(source.journals))
    for journal in journals:
        held.callback(journal.release)
    _refuse_if_in_use(source, journals)
    return journals


def _refuse_if_in_use(source: Source, ours: Sequence[DeadJournal]) -> None:
    there = set(source.journals.glob(f"*{SUFFIX}")) if source.journals.is_dir() else set()
    others = [path.name.partition("-")[0] for path in sorted(there - {journal.path for journal in ours})]
    who = f"process {', '.join(dict.fromkeys(others))}" if others else source.living()
    if who:
        raise StoreError(f"the store {source.name} is in use ({who}): stop strategies and workers and try again")


def _position(source: Source, journal: DeadJournal) -> int:
    row = source.db.execute("SELECT position FROM journals WHERE journal = ?", (journal.name,)).fetchone()
    return int(row[0]) if row else 0


# Rows ------------------------------------------------------------------------------------------------


class _Checked:
    """Passes rows on, counts them and sums them up."""

    def __init__(self, rows: Iterable[Row], tick: Callable[[], None] = lambda: None) -> None:
        self._rows = rows
        self._tick = tick
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self._hash.update(repr(row).encode("utf-8", "surrogatepass"))
            self.count += 1
            if self.count % PAGE == 0:
                self._tick()
            yield row

    @property
    def sum(self) -> tuple[int, str]:
        return self.count, self._hash.hexdigest()


def _copy_rows(source: Source, target: Target, progress: Progress) -> dict[str, int]:
    """Copy every table and read it back."""
    total = 2 * sum(source.count(table) for table in tables())  # each is written and read back
    done = 0

    def tick() -> None:
        nonlocal done
        done += PAGE
        progress(min(done, total), total)

    counts = {}
    for table in tables():
        rows = source.rows(table)
        if table.name == "alerts":
            rows = _moved(table, rows, source.attachments, target.attachments)
        written = _Checked(rows, tick)
        target.write(table, written)
        read = _Checked(target.rows(table), tick)
        for _ in read:
            pass
        if read.sum != written.sum:
            raise StoreError(
                f"the copy was given up: in the table {table.name}, {written.count:,} rows went and {read.count:,} "
                "arrived, or not as they were; please report it"
            )
        counts[table.name] = written.count
    progress(total, total)
    return counts


def _moved(table: Table, rows: Iterable[Row], old: Path, new: Path) -> Iterator[Row]:
    """Alerts whose attachments are where the copy has them."""
    files, body = table.columns.index("files"), table.columns.index("body")
    for row in rows:
        yield (*row[:body], _with_paths(row[body], old, new), *row[body + 1 :]) if row[files] else row


def _with_paths(body: str, old: Path, new: Path) -> str:
    alert = json.loads(body)
    for file in alert.get("attachments", ()):
        if Path(file["path"]).parent == old.resolve():
            file["path"] = str(new.resolve() / Path(file["path"]).name)
    return json.dumps(alert, ensure_ascii=False, separators=(",", ":"))


# Files -----------------------------------------------------------------------------------------------


def _copy_attachments(old: Path, new: Path) -> int:
    """Copy what is not there yet; their names are their content's hash."""
    count = 0
    for file in sorted(old.iterdir()) if old.is_dir() else ():
        if file.is_file() and not file.name.endswith(".part"):
            with _told(file):
                new.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not (new / file.name).exists():
                    part = new / f"{file.name}{MARK}"
                    shutil.copy2(file, part)
                    part.replace(new / file.name)
            count += 1
    return count


@contextlib.contextmanager
def _copied_journals(journals: Sequence[DeadJournal], folder: Path) -> Iterator[Callable[[], None]]:
    """Copy journals under other names; the call that this gives shows them. Whatever fails, none is left."""
    made: list[Path] = []
    for journal in journals:
        part = folder / f"{journal.name}{MARK}"
        with _told(journal.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(part, "wb", opener=_private) as file:
                made.append(part)
                _copy_journal(journal, file)

    def show() -> None:
        for i, part in enumerate(made):
            made[i] = part.with_name(part.name.removesuffix(MARK) + SUFFIX)
            part.replace(made[i])

    try:
        yield show
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _copy_journal(journal: DeadJournal, file: Any) -> None:
    """Every whole line where it was, so that positions hold; never opened anew, which would give back its lock."""
    position = 0
    while True:
        lines, position = journal.read(position, 10_000)
        if not lines:
            break
        file.writelines(line + b"\n" for line in lines)
    file.flush()
    os.fsync(file.fileno())
    os.utime(file.fileno(), (journal.seen, journal.seen))  # the last sign of life that is known of its process


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(f"{file} cannot be copied ({exc.strerror or exc}); nothing was changed") from None
