"""Connections to PostgreSQL: opened when needed, a few for all threads, and opened anew with patience when lost.

Promises
--------
*Nothing waits for ever.* Connecting, a statement, a lock and an answer each have their time; a link that is dead is
noticed although nobody speaks.

*A server that is away is not hammered.* After a failure nobody tries before :data:`SOONEST` seconds, then twice as
long, at most :data:`LONGEST`. Until then who asks is told at once.

*A fork.* The child never speaks on a connection of its parent: it lets go of the socket without a word.

What it does not do: speak to a pooler that shares a session between transactions (PgBouncer's ``transaction`` mode).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import re
import select
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, LiteralString, Self

import psycopg
from psycopg import pq
from psycopg.abc import PQGen

from bt_alerts.errors import StoreError
from bt_alerts.outbox.postgres_trouble import StoreAway, StoreBusy, away, why_not_opened

log = logging.getLogger("bt_alerts.postgres")

CONNECT_SECONDS = 3  # for one address of a server; two is the least that libpq takes
SOONEST, LONGEST = 0.5, 5.0  # seconds between two tries to connect
QUEUE_SECONDS = 5.0  # how long a thread waits for a connection that others have
ANSWER_SECONDS = 20.0  # after which a server that says nothing at all is given up

#: A connection over which nothing comes is looked after by the system: it is given up after a minute, and after 20
#: seconds where something was sent that never arrived.
_NETWORK: dict[str, str] = {
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "fallback_application_name": "bt_alerts",
}


class Silent(psycopg.OperationalError):
    """The server does not answer."""


class Link(psycopg.Connection[tuple[Any, ...]]):
    """A connection that speaks our SQL, and that does not wait for ever for an answer."""

    #: Seconds for one answer.
    patience = ANSWER_SECONDS
    #: The server's process at the other end.
    backend = 0

    def wait(self, gen: PQGen[Any], *args: Any, **kwargs: Any) -> Any:
        """See psycopg; every tenth of a second the generator has its turn, answer or not."""
        return super().wait(_limited(gen, time.monotonic() + self.patience), *args, **kwargs)

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement of the shared SQL."""
        return self.execute(translated(sql), parameters)

    @property
    def lost(self) -> bool:
        """Whether the server hung up. For a connection in which nothing is under way."""
        # There is something to read that nobody asked for: that is a goodbye, or not worth to tell from one.
        return self.closed or bool(select.select([self.fileno()], [], [], 0)[0])

    def let_go(self) -> None:
        """Close it, whatever state it is in."""
        _open.discard(self)
        with contextlib.suppress(psycopg.Error):
            self.close()


def _limited(gen: PQGen[Any], deadline: float) -> Generator[Any, Any, Any]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if time.monotonic() > deadline and not ready:
                raise Silent("the server does not answer")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


@functools.lru_cache(maxsize=1_000)
def translated(sql: str) -> LiteralString:
    """The shared SQL in PostgreSQL's words: numbered placeholders, and the locks that stand in comments."""
    numbers = itertools.count(1)
    sql = re.sub(r"/\* (FOR \w[\w ]*) \*/", r"\1", sql)
    sql = re.sub(r"'[^']*'|\?", lambda found: f"${next(numbers)}" if found[0] == "?" else found[0], sql)
    return sql


class Transacted:
    """Statements on a connection as the shared SQL wants them; see :class:`bt_alerts.outbox.sql_db.Db`.

    In a transaction what is only written is sent with the next question, and not waited for: a server that is a
    millisecond away costs that for each answer. So an error may be told by a later statement, or by the end.

    Args:
        link: the connection.
        begin: what begins the transaction; empty for statements that stand alone.
    """

    def __init__(self, link: Link, begin: str = "") -> None:
        self._link = link
        self._begin = begin
        self._pipeline: psycopg.Pipeline | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._begin:
            if psycopg.Pipeline.is_supported():  # since libpq 14
                self._pipeline = self._stack.enter_context(self._link.pipeline())
            self._link.ask(self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            if self._begin:
                self._link.ask("COMMIT")
            self._stack.close()
        else:  # without the reason, or psycopg would log what else went wrong
            with contextlib.suppress(psycopg.Error):
                self._stack.close()

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Answer:
        return Answer(self._link.ask(sql, parameters), self._pipeline)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Answer:
        cursor = self._link.cursor()
        cursor.executemany(translated(sql), parameters)
        return Answer(cursor, self._pipeline)


class Answer:
    """The answer to a statement, waited for when it is looked at; see :class:`bt_alerts.outbox.sql_db.Cursor`."""

    __slots__ = ("_cursor", "_pipeline", "fetchall", "fetchone")

    def __init__(self, cursor: psycopg.Cursor[tuple[Any, ...]], pipeline: psycopg.Pipeline | None) -> None:
        self._cursor = cursor
        self._pipeline = pipeline
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    @property
    def rowcount(self) -> int:
        if self._pipeline is not None:
            self._pipeline.sync()
        return self._cursor.rowcount


class Gate:
    """Opens connections, one at a time, and keeps threads from hammering a server that is away.

    Args:
        name: of the store, for sentences.
        parameters: libpq's.
    """

    def __init__(self, name: str, parameters: dict[str, str]) -> None:
        self._name = name
        self._parameters = {**_NETWORK, **parameters}
        self._lock = threading.Lock()
        self._next_try = 0.0
        self._pause = SOONEST
        self._told: StoreError | None = None

    def forked(self) -> Gate:
        """The same for a child: whoever held the lock is not there."""
        return Gate(self._name, self._parameters)

    def open(self, prepare: Callable[[Link], None]) -> Link:
        """A new connection, prepared. Raises :class:`~bt_alerts.errors.StoreError`."""
        if not self._lock.acquire(timeout=QUEUE_SECONDS):
            raise self._again() or away(self._name, "it does not answer")
        try:
            if time.monotonic() < self._next_try and (told := self._again()) is not None:
                raise told
            try:
                link = self._connected(prepare)
            except StoreError as exc:
                raise self._noted(exc) from None
            self._told, self._pause = None, SOONEST
            return link
        finally:
            self._lock.release()

    def lost(self, exc: StoreAway) -> StoreError:
        """A connection broke. Returns what to raise: until there is a new one, each that breaks is told alike."""
        if not isinstance(self._told, StoreAway):
            self._told = exc
        return self._again() or exc

    def _again(self) -> StoreError | None:
        """What was told last; another object, because one that is raised again and again grows."""
        told = self._told
        return None if told is None else type(told)(str(told))

    def _noted(self, exc: StoreError) -> StoreError:
        """Wait longer before the next try. Returns what to raise."""
        self._next_try = time.monotonic() + self._pause
        self._pause = min(LONGEST, 2 * self._pause)
        # One outage has many faces (refused, hung up, starting up): who is told of it is told one and the same.
        if isinstance(exc, StoreAway) and isinstance(self._told, StoreAway):
            log.debug("%s", exc)
            return type(exc)(str(self._told))
        self._told = type(exc)(str(exc))
        return exc

    def _connected(self, prepare: Callable[[Link], None]) -> Link:
        try:
            link = Link.connect(
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
                **self._parameters,  # type: ignore[arg-type]  # they are text, each of them
            )
        except (psycopg.Error, OSError, UnicodeError) as exc:
            raise why_not_opened(exc, self._name) from None
        link.backend = link.pgconn.backend_pid
        _open.add(link)
        try:
            prepare(link)
        except psycopg.Error as exc:
            link.let_go()
            raise why_not_opened(exc, self._name) from None
        except BaseException:
            link.let_go()
            raise
        return link


class Pool:
    """A few connections for all threads.

    Args:
        open_: opens one more.
        most: how many at the same time; None for no limit.
        kept: how many stay open while nobody needs them.
    """

    def __init__(self, open_: Callable[[], Link], *, most: int | None, kept: int) -> None:
        self._open = open_
        self._most = most
        self._kept = kept
        self._free: list[Link] = []
        self._made = 0
        self._round = 0
        self._changed = threading.Condition()
        #: The server's processes behind these connections.
        self.backends: set[int] = set()

    @contextlib.contextmanager
    def use(self) -> Iterator[Link]:
        """A connection for a while. One that is closed or in a transaction afterwards is thrown away."""
        link, round_ = self._take()
        try:
            yield link
        finally:
            self._give(link, round_)

    def _take(self) -> tuple[Link, int]:
        with self._changed:
            round_ = self._round
            while True:
                while self._free:
                    link = self._free.pop()
                    if not link.lost:
                        return link, round_
                    self._made -= 1
                    self._let_go([link])
                if self._most is None or self._made < self._most:
                    self._made += 1
                    break
                if not self._changed.wait(QUEUE_SECONDS):
                    raise StoreBusy("all connections to the store are in use for long; it is tried again")
        try:
            link = self._open()
            self.backends.add(link.backend)
            return link, round_
        except BaseException:
            with self._changed:
                self._made -= round_ == self._round
                self._changed.notify()
            raise

    def _give(self, link: Link, round_: int) -> None:
        usable = not link.closed and link.pgconn.transaction_status == pq.TransactionStatus.IDLE
        with self._changed:
            if round_ != self._round:  # everything was closed meanwhile
                usable = False
            elif usable and len(self._free) < self._kept:
                self._free.append(link)
            else:
                usable = False
                self._made -= 1
            self._changed.notify()
        if not usable:
            self._let_go([link])

    def _let_go(self, links: Iterable[Link]) -> None:
        for link in links:
            self.backends.discard(link.backend)
            link.let_go()

    def close(self) -> None:
        """Close what is free now, and what is in use when it is given back; whoever asks again opens anew."""
        with self._changed:
            links, self._free = self._free, []
            self._made = 0
            self._round += 1
        self._let_go(links)

    def shrink(self) -> None:
        """Close what was not needed lately: all free ones but the one that was used last."""
        with self._changed:
            links, self._free = self._free[:-1], self._free[-1:]
            self._made -= len(links)
        self._let_go(links)

    def forked(self) -> Pool:
        """The same for a child, which has none of them."""
        return Pool(self._open, most=self._most, kept=self._kept)


class _NotOurs(logging.Filter):
    """psycopg warns where a transaction ends because its connection broke; that is told already, in a sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = record.args[0] if isinstance(record.args, tuple) and record.args else None
        return not (isinstance(about, psycopg.Pipeline) and isinstance(getattr(about, "_conn", None), Link))


logging.getLogger("psycopg").addFilter(_NotOurs())


# Forks -----------------------------------------------------------------------------------------------

_open: weakref.WeakSet[Link] = weakref.WeakSet()
#: Connections of a parent process. They are never closed here, for that would say goodbye in the parent's name.
_parents: list[Link] = []


def _forked_in_child() -> None:
    """Put nothing in the place of each socket: the server must see the parent's end although the child lives on."""
    links = list(_open)
    _open.clear()
    _parents.extend(links)
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        for link in links:
            with contextlib.suppress(psycopg.Error, OSError):
                os.dup2(nothing, link.fileno(), inheritable=False)
        os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked_in_child)
