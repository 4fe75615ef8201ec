"""The bell of a store on PostgreSQL: NOTIFY where something was planned, and a FIFO for the processes of this machine.

Ringing never goes over the network: it is the FIFO's. What other machines are to hear is said by the transaction that
planned it (see postgres.py), and arrives when that is committed.

Who listens has a connection and a thread of its own; both sleep until something comes. A connection that was lost is
opened anew, with growing pauses, and then there may be news that was missed, so that counts as a ring.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

import psycopg

from bt_alerts.errors import StoreError
from bt_alerts.outbox.fifo import FifoBell
from bt_alerts.outbox.postgres_connections import LONGEST, SOONEST, Link

log = logging.getLogger("bt_alerts.bell")

CHANNEL = "bt_alerts"


class PostgresBell:
    """Rings and hears rings; see :class:`bt_alerts.outbox.bell.Bell`.

    Args:
        local: the bell of this machine.
        open_: opens a connection to listen on.
        is_ours: whether a process of the server serves this one: what it tells is known here.
    """

    def __init__(self, local: FifoBell, open_: Callable[[], Link], is_ours: Callable[[int], bool]) -> None:
        self._local = local
        self._open = open_
        self._is_ours = is_ours

    #: Seconds after which a listener looks by itself, because a ring can get lost.
    look_every = FifoBell.look_every

    def ring(self) -> None:
        """Wake whoever listens on this machine. Never blocks, never raises."""
        self._local.ring()

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call ``heard`` on a thread of its own at each ring; returns what ends it."""
        end_local = self._local.listen(heard)
        ear = _Ear(heard, self._open, self._is_ours)

        def end() -> None:
            ear.end()
            end_local()

        return end

    def close(self) -> None:
        """Let go of the FIFO; the next ring opens it again."""
        self._local.close()


class _Ear:
    """Listens on a thread of its own until it is told to end."""

    def __init__(self, heard: Callable[[], None], open_: Callable[[], Link], is_ours: Callable[[int], bool]) -> None:
        self._heard = heard
        self._open = open_
        self._is_ours = is_ours
        self._ended = threading.Lock()
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run, name="bt_alerts listener", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no new threads while the interpreter shuts down
            self._ended.acquire()
            os.close(self._wake)
            os.close(self._waker)

    def end(self) -> None:
        if self._ended.acquire(blocking=False):
            os.close(self._waker)
            self._thread.join(1.0)

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._told_to_end(pause):
                link = None
                try:
                    link = self._open()
                    link.ask(f"LISTEN {CHANNEL}")
                    pause = SOONEST
                    self._heard()
                    self._listen(link)
                except (StoreError, psycopg.Error, OSError) as exc:
                    log.debug("cannot listen to the store just now: %s", exc)
                    pause = min(LONGEST, max(SOONEST, 2 * pause))
                finally:
                    if link is not None:
                        link.let_go()
        finally:
            os.close(self._wake)

    def _told_to_end(self, seconds: float) -> bool:
        return bool(select.select([self._wake], [], [], seconds)[0])

    def _listen(self, link: Link) -> None:
        """Returns when it is told to end. Raises ``psycopg.Error`` where the connection is lost."""
        while self._wake not in select.select([link.fileno(), self._wake], [], [])[0]:
            link.pgconn.consume_input()
            news = False
            while (note := link.pgconn.notifies()) is not None:
                news |= not self._is_ours(note.be_pid)
            if news:
                self._heard()
