"""The outbox on PostgreSQL: any number of processes on any number of machines.

The tables are in a schema of their own, ``bt_alerts``, or in the first of the ``search_path`` that the address chooses.
Journals and attachments are on this machine, in the user's state folder, so that ``emit`` needs no server.

Promises
--------
*A server that is away* stops nothing: alerts wait in the journal, whoever asks is told in a sentence at once, and the
first use after it is back goes on. Opening the store then succeeds too; a wrong password or database is told at once.

*Two at once.* One planner plans at a time, under an advisory lock. A settlement is repeated where the server undid it
because of a deadlock. What cannot be settled before the lease ends may be sent once more, as after a crash.

*Times* are those of the machines that use the store, not the server's: their clocks must agree within a minute.

Needs psycopg 3 (extra ``postgres``); importing this without it raises ``ImportError``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from bt_alerts.alert import Alert
from bt_alerts.errors import StoreError
from bt_alerts.outbox import schema
from bt_alerts.outbox.base import AlertState, NewDelivery, Outbox, Size, Transaction
from bt_alerts.outbox.bell import Bell
from bt_alerts.outbox.fifo import FifoBell
from bt_alerts.outbox.postgres_address import Address, taken_apart
from bt_alerts.outbox.postgres_bell import CHANNEL, PostgresBell
from bt_alerts.outbox.postgres_connections import Gate, Link, Pool, Silent, Transacted, translated
from bt_alerts.outbox.postgres_trouble import StoreAway, StoreConflict, why
from bt_alerts.outbox.sql import SqlOutbox
from bt_alerts.outbox.sql_db import Db
from bt_alerts.outbox.sql_planning import SqlTransaction

log = logging.getLogger("bt_alerts.postgres")

OPEN_SECONDS = 1.0  # how long opening waits for the server: a strategy's start must not wait for the network
CONNECTIONS = 4  # for planner and couriers of one process
PAUSES = (0.01, 0.05, 0.1, 0.25, 0.5)  # seconds before a transaction that the server undid is repeated
PAGE = 500

SCHEMA = "bt_alerts"  # where the tables are, unless the address chooses
_LOCKS = 1_651_794_290  # "btal": the class of our advisory locks, told apart by schema
_PLANNING = f"SELECT pg_advisory_xact_lock({_LOCKS}, hashtext(current_schema()))"
_MIGRATING = f"SELECT pg_advisory_xact_lock({_LOCKS + 1}, hashtext(?))"

#: The server's part of "nothing waits for ever". A reader may think for long between two pages.
_WRITER = {"statement_timeout": "15s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
_READER = {"statement_timeout": "10min", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "1h"}
_READER_PATIENCE = 660.0

P = ParamSpec("P")
R = TypeVar("R")


def _repeated(method: Callable[Concatenate[SqlOutbox, P], R]) -> Callable[Concatenate[SqlOutbox, P], R]:
    """Repeat a transaction that was undone because another one was in its way."""

    @functools.wraps(method)
    def again(self: SqlOutbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES:
            try:
                return method(self, *args, **kwargs)
            except StoreConflict as exc:
                log.debug("%s", exc)
                time.sleep(pause)
        return method(self, *args, **kwargs)

    return again


class PostgresOutbox(SqlOutbox):
    """The store on a server.

    Args:
        address: ``postgresql://user:password@host:port/database``; whatever libpq understands beside that.
        folder: where journals and attachments of all such stores are, on this machine.
        secrets: what was taken out of the address, such as its ``password``.
        connections: for planner and couriers of this process, at most.
        read_only: only look: nothing is made, brought to our schema or changed, whatever is called.

    Raises:
        StoreError: where the address is wrong, the server refuses us, or the store is of a newer version. Not where the
            server cannot be reached: that is told at each use, until it can.
    """

    local = False

    def __init__(
        self,
        address: str,
        folder: Path,
        *,
        secrets: Mapping[str, str] | None = None,
        connections: int = CONNECTIONS,
        read_only: bool = False,
    ) -> None:
        try:
            taken = taken_apart(address)
            told = conninfo_to_dict(taken.url)
        except (ValueError, psycopg.Error) as exc:
            raise StoreError(f"the store cannot be used: {exc}") from None
        self.name = taken.name
        self._read_only = read_only
        self._chosen = _search_path(told)
        here = folder / taken.key(os.environ.get("PGHOST", "localhost"), os.environ.get("PGPORT", "5432"), self._chosen)
        self.journals: Path | None = here / "journal"
        self.attachments: Path | None = here / "files"
        try:
            here.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise StoreError(
                f"the journals of the store {self.name} cannot be kept in {here}: {exc.strerror}"
            ) from None
        parameters = {key: str(value) for key, value in told.items() if value is not None}
        self._address, self._folder = Address(taken.url, {**taken.secrets, **(secrets or {})}), folder
        parameters |= self._address.secrets
        self._gate, self._ear_gate = Gate(self.name, parameters), Gate(self.name, parameters)
        self._pool = Pool(self._open_writer, most=connections, kept=connections)
        self._readers = Pool(self._open_reader, most=None, kept=1)
        self._bell_path = here / "bell"
        self._begin()
        _living.add(self)

    # Opening -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Try to connect, but not for long; only a server that can be reached can refuse us."""
        refused: list[StoreError] = []

        def connect() -> None:
            try:
                with self._pool.use():
                    pass
            except StoreAway as exc:
                log.info("%s", exc)
            except StoreError as exc:
                refused.append(exc)

        thread = threading.Thread(target=connect, name="bt_alerts connect", daemon=True)
        with contextlib.suppress(RuntimeError):  # no new threads while the interpreter shuts down
            thread.start()
            thread.join(OPEN_SECONDS)
        if refused:
            raise StoreError(str(refused[0])) from None

    def _open_writer(self) -> Link:
        return self._gate.open(lambda link: self._prepare(link, _WRITER))

    def _open_reader(self) -> Link:
        link = self._gate.open(lambda link: self._prepare(link, _READER))
        link.patience = _READER_PATIENCE
        return link

    def _open_ear(self) -> Link:
        """By a gate of its own: it waits by itself, and must not keep the others waiting."""
        return self._ear_gate.open(lambda link: self._prepare(link, _WRITER))

    def _prepare(self, link: Link, timeouts: dict[str, str]) -> None:
        """Look whether it is a store of ours and of our version; make it one where it is empty."""
        settings = timeouts if self._chosen else {"search_path": SCHEMA, **timeouts}
        if self._read_only:
            settings = {**settings, "default_transaction_read_only": "on"}
        names = ", ".join(f"set_config('{name}', ?, false)" for name in settings)
        link.ask(f"SELECT {names}", tuple(settings.values()))
        version = self._version(link)
        if version < schema.VERSION and self._read_only:
            raise StoreError(schema.older(self.name))
        if version < schema.VERSION:
            self._migrate(link)
        elif version > schema.VERSION:
            raise StoreError(schema.newer(self.name, version))

    def _version(self, link: Link) -> int:
        """The version that the store says it has; 0 where there is none yet."""
        row = link.ask("SELECT to_regclass('schema_version'), current_schema()").fetchone()
        assert row is not None
        if row[0] is None:
            return 0
        try:
            found = link.ask("SELECT max(version) FROM schema_version").fetchone()
        except psycopg.errors.UndefinedColumn:
            raise self._foreign("schema_version") from None
        return int(found[0] or 0) if found is not None else 0

    def _foreign(self, table: str) -> StoreError:
        return StoreError(
            f"the store {self.name} has a table {table} of another program: give `store:` another database, or "
            "another schema (docs/postgres.md)"
        )

    def _migrate(self, link: Link) -> None:
        """Bring the store to our version, in one transaction; who comes at the same time waits, and finds it done."""
        link.ask("BEGIN")
        try:
            link.ask("SET LOCAL statement_timeout = 0")
            link.ask("SET LOCAL lock_timeout = '60s'")
            link.ask(_MIGRATING, (self._chosen or SCHEMA,))
            if not self._chosen and link.ask("SELECT to_regnamespace(?)", (SCHEMA,)).fetchone() == (None,):
                link.ask(f"CREATE SCHEMA {SCHEMA}")
            if link.ask("SELECT current_schema()").fetchone() == (None,):
                raise StoreError(f"the store {self.name} chooses a schema that does not exist: CREATE SCHEMA …")
            version = self._version(link)
            if version == 0:
                for table in ("alerts", "deliveries", "targets", "channels"):
                    if link.ask("SELECT to_regclass(current_schema() || '.' || ?)", (table,)).fetchone() != (None,):
                        raise self._foreign(table)
                link.ask("CREATE TABLE schema_version (version BIGINT NOT NULL)")
                link.ask("INSERT INTO schema_version VALUES (0)")
            for step in range(version, schema.VERSION):
                link.execute(schema.for_postgres(schema.STEPS[step]))
            link.ask("UPDATE schema_version SET version = ?", (max(version, schema.VERSION),))
            link.ask("COMMIT")
        except psycopg.Error as exc:
            raise why(exc, self.name, broken=link.closed) from None

    def forked(self) -> Outbox:
        return self  # the connections were changed as the process forked, see below

    def _forked_in_child(self) -> None:
        self._gate, self._ear_gate = self._gate.forked(), self._ear_gate.forked()
        self._pool, self._readers = self._pool.forked(), self._readers.forked()

    # Writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self, pool: Pool) -> Iterator[Link]:
        """A connection; what fails on it is told in our words, and what was begun on it and not ended is undone."""
        with pool.use() as link:
            try:
                yield link
            except psycopg.Error as exc:
                broken = link.closed or link.pgconn.status != pq.ConnStatus.OK or isinstance(exc, Silent)
                if broken or isinstance(exc, _NOT_AS_IT_WAS):
                    link.let_go()
                told = why(exc, self.name, broken=broken)
                raise (self._gate.lost(told) if isinstance(told, StoreAway) else told) from None
            finally:
                with contextlib.suppress(psycopg.Error):
                    if not link.closed and link.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                        link.ask("ROLLBACK")

    @contextlib.contextmanager
    def _write(self) -> Iterator[Db]:
        with self._connected(self._pool) as link, Transacted(link, "BEGIN") as db:
            yield db

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Db]:
        with self._write() as db:
            db.execute(_PLANNING)
            yield db
            db.execute(f"NOTIFY {CHANNEL}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._write() as db:
            db.execute(_PLANNING)
            planning = _Planning(db)
            yield planning
            if planning.news:
                db.execute(f"NOTIFY {CHANNEL}")

    @contextlib.contextmanager
    def _read(self) -> Iterator[Db]:
        with self._connected(self._pool) as link:
            yield Transacted(link)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Db]:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        with self._connected(self._pool) as link, Transacted(link, begin) as db:
            yield db

    def record(self, alerts: Iterable[Alert], reason: str) -> int:
        return _repeated(SqlOutbox.record)(self, list(alerts), reason)

    claim = _repeated(SqlOutbox.claim)
    settle = _repeated(SqlOutbox.settle)
    settle_and_claim = _repeated(SqlOutbox.settle_and_claim)
    unclaim = _repeated(SqlOutbox.unclaim)
    claim_question = _repeated(SqlOutbox.claim_question)
    settle_question = _repeated(SqlOutbox.settle_question)
    release = _repeated(SqlOutbox.release)
    hold = _repeated(SqlOutbox.hold)
    check_in = _repeated(SqlOutbox.check_in)
    purge_dead = _repeated(SqlOutbox.purge_dead)
    enable_channel = _repeated(SqlOutbox.enable_channel)
    prune = _repeated(SqlOutbox.prune)

    # Reading -----------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with self._connected(self._readers) as link:
            link.ask("BEGIN READ ONLY")
            with psycopg.RawServerCursor(link, "page", scrollable=False) as cursor:
                cursor.execute(translated(sql), parameters)
                while page := cursor.fetchmany(PAGE):
                    yield from page
            link.ask("COMMIT")

    def bell(self) -> Bell:
        return PostgresBell(FifoBell(self._bell_path), self._open_ear, self._is_ours)

    def _is_ours(self, backend: int) -> bool:
        return backend in self._pool.backends

    def size(self) -> Size:
        tables = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c "
        tables += "WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relkind = 'r'"
        return Size(next(iter(self.rows(tables)))[0] or 0, 0)

    # Keeping -----------------------------------------------------------------------------------------

    def idle(self) -> None:
        """The server tidies up by itself; what is left here is to give back connections that a burst needed."""
        self._pool.shrink()

    def backup(self, path: Path) -> None:
        """Copy it into a SQLite file. What the server's own tools make is faster, and for the server alone."""
        from bt_alerts.outbox.migrate import migrate

        if path.exists():
            raise StoreError(f"{path} exists: name a new file, a backup never overwrites")
        migrate(self._address.full, str(path), self._folder)

    def close(self) -> None:
        _living.discard(self)
        self._pool.close()
        self._readers.close()


class _Planning(SqlTransaction):
    """Notes whether there is something that another process waits for."""

    def __init__(self, db: Db) -> None:
        super().__init__(db)
        self._undecided: set[int] = set()
        self._planned = False

    @property
    def news(self) -> bool:
        """Something is to be delivered, or waits for a planner elsewhere."""
        return self._planned or bool(self._undecided)

    def add_alert(self, alert: Alert, state: AlertState, reason: str = "", due: float = 0.0) -> int | None:
        seq = super().add_alert(alert, state, reason, due)
        if seq is not None and state is AlertState.WAITING:
            self._undecided.add(seq)
        return seq

    def decide(
        self, alert_seq: int, state: AlertState, reason: str = "", rule: str = "", trail: Sequence[Any] = ()
    ) -> None:
        super().decide(alert_seq, state, reason, rule, trail)
        if state is not AlertState.WAITING:
            self._undecided.discard(alert_seq)

    def add_deliveries(self, alert_seq: int, deliveries: Iterable[NewDelivery], now: float) -> None:
        super().add_deliveries(alert_seq, deliveries, now)
        self._planned = True

    def hasten(self, channel: str, batch: str, now: float) -> None:
        super().hasten(channel, batch, now)
        self._planned = True

    def retry_dead(self, numbers: Collection[int] | None, now: float, time_to_live: float) -> int:
        count = super().retry_dead(numbers, now, time_to_live)
        self._planned |= count > 0
        return count


#: After these a connection knows tables that are not there any more, or not so: the next one looks anew.
_NOT_AS_IT_WAS = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ReadOnlySqlTransaction,
)


def _search_path(told: dict[str, Any]) -> str:
    """What the address chooses as search path; empty where it leaves that to us."""
    options = f"{told.get('options') or os.environ.get('PGOPTIONS', '')}"
    return options.partition("search_path")[2].lstrip(" =").split(" ")[0]


_living: weakref.WeakSet[PostgresOutbox] = weakref.WeakSet()


def _each_forked_in_child() -> None:
    for outbox in list(_living):
        outbox._forked_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_each_forked_in_child)
