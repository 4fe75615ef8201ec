"""The ends of a copy that are on a PostgreSQL server: one moment of the original, one transaction for the copy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from bt_alerts.errors import StoreError
from bt_alerts.outbox.migrate import HARMLESS, PAGE, Row, Source, Table, Target, tables
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.postgres_connections import Link, translated
from bt_alerts.outbox.postgres_trouble import why

ALIVE = 120.0  # seconds after its last sign of life in which a process counts as living
PATIENCE = 3600.0  # seconds for one answer: the end of a large copy takes long
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class _Existing(PostgresOutbox):
    """A store that is only read: where there is none, none is made."""

    def _migrate(self, link: Link) -> None:
        if self._version(link) == 0:
            raise StoreError(f"there is no store in {self.name}")
        raise StoreError(f"the store {self.name} is of an older version: bring it up to date with `bt-alerts health`")


def _by_key(link: Link, table: Table) -> Iterator[Row]:
    kinds = link.ask(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND atttypid = 'text'::regtype", (table.name,)
    )
    texts = {row[0] for row in kinds.fetchall()}
    order = ", ".join(f'{column} COLLATE "C"' if column in texts else column for column in table.key)
    with psycopg.RawServerCursor(link, "copied", scrollable=False) as cursor:
        cursor.execute(translated(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {order}"))
        while page := cursor.fetchmany(PAGE):
            yield from page


class _Asked:
    """A connection as the shared SQL wants it; see :class:`bt_alerts.outbox.sql_db.Db`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Row]:
        return self._link.ask(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> psycopg.Cursor[Row]:
        cursor = self._link.cursor()
        cursor.executemany(translated(sql), parameters)
        return cursor


class _OnServer:
    """What both ends have in common."""

    def __init__(self, outbox: PostgresOutbox) -> None:
        assert outbox.journals is not None
        assert outbox.attachments is not None
        self.outbox = outbox
        self.name = outbox.name
        self.journals: Path = outbox.journals
        self.attachments: Path = outbox.attachments
        self._held = contextlib.ExitStack()
        self._held.callback(outbox.close)

    def _begin(self, link: Link, begin: str) -> None:
        link.patience = PATIENCE
        link.ask(begin)
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            link.ask(f"SET LOCAL {setting} = 0")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, UnicodeError) as exc:
            if isinstance(exc, psycopg.Error):
                raise why(exc, self.name, broken=self.link.closed) from None
            raise StoreError(f"the store {self.name} cannot take a text: {exc}") from None

    link: Link

    def rows(self, table: Table) -> Iterator[Row]:
        with self._told():
            yield from _by_key(self.link, table)

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error, AttributeError):
            self.link.ask("ROLLBACK")
        self._held.close()


class PostgresSource(_OnServer, Source):
    """A store on a server that is copied.

    Raises:
        StoreError: where there is none, or the server cannot be reached.
    """

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__(_Existing(address, folder))
        try:
            self.link = self._held.enter_context(self.outbox._readers.use())
        except BaseException:
            self._held.close()
            raise
        self.db = _Asked(self.link)
        with self._told():
            self._begin(self.link, _SNAPSHOT)

    def living(self) -> str:
        with self._told():
            found = self.db.execute(
                "SELECT owner, role FROM processes WHERE ended IS NULL AND seen > ? ORDER BY seen DESC",
                (time.time() - ALIVE,),
            ).fetchall()
        return ", ".join(f"{role} {owner.partition('-')[0]}" for owner, role in found)

    def refresh(self) -> None:
        with self._told():
            self.link.ask("COMMIT")
            self._begin(self.link, _SNAPSHOT)


class PostgresTarget(_OnServer, Target):
    """An empty database, or a store on a server that holds nothing.

    Raises:
        StoreError: where alerts are there already, or it cannot be written.
    """

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__(PostgresOutbox(address, folder))
        try:
            self.link = self._held.enter_context(self.outbox._pool.use())
            self.db = _Asked(self.link)
            with self._told():
                self._begin(self.link, "BEGIN")
                names = ", ".join(table.name for table in tables())
                self._refuse_unless_empty()  # first without a lock, for which others may keep us waiting
                self.link.ask(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")  # who works with it waits for us
                self._refuse_unless_empty()
                self.link.ask(f"TRUNCATE {names}")
        except BaseException:
            self.close()
            raise

    def _refuse_unless_empty(self) -> None:
        for name in [table.name for table in tables() if table.name not in HARMLESS]:
            if self.link.ask(f"SELECT 1 FROM {name} LIMIT 1").fetchone() is not None:
                raise StoreError(f"the store {self.name} is not empty: a copy never adds to what is there")

    def write(self, table: Table, rows: Iterable[Row]) -> None:
        with self._told():
            with self.link.cursor().copy(f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
            if table.numbered:  # what comes next goes on after what is there
                key = table.key[0]
                self.link.ask(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key}'), max({key})) FROM {table.name} "
                    "HAVING count(*) > 0"
                )

    def finish(self) -> None:
        with self._told():
            self.link.ask("COMMIT")
            for table in tables():
                self.link.ask(f"ANALYZE {table.name}")
