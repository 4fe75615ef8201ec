"""What stands in the engine's place in a process whose alerts are delivered by a worker elsewhere.

The strategy's process appends to its journal and rings the worker's bell; there is no planner here and no courier. One
thread stands by: it keeps the journal small, writes what a full disk kept back, and sees that there is a worker. Where
the store is on another machine, an engine without channels feeds it from the journal.

Who waits for a delivery asks the store.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.engine import STORE_RETRY, Engine, Jobs, nothing_due, spawn
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.bell import Bell
from bt_alerts.outbox.journal import Journal

log = logging.getLogger("bt_alerts.handover")

SOONEST, LONGEST = 0.002, 0.05  # seconds between two questions to the store, for somebody who waits
WATCH_EVERY = 30.0  # seconds between two looks whether there is a worker
SILENT = 60.0  # seconds without a sign of life after which a worker counts as gone
PATIENCE = 0.5  # seconds that somebody waits where there is no worker at all


class Keeper(Protocol):
    """Sees that there is a worker."""

    def stand_by(self, look: Callable[[], float], stopping: threading.Event) -> None:
        """Stay until ``stopping``; call ``look`` now and then, which says in how many seconds it wants to be called."""

    def hurry(self) -> None:
        """Have ``look`` called soon."""

    def leave(self) -> None:
        """This process has no more for the worker."""

    @property
    def missing(self) -> bool:
        """There is no worker just now, as far as is known."""


class WorkerWatch:
    """Sees whether a worker of somebody else's is there (``delivery.worker: external``). It only reads the store.

    Args:
        outbox: the store.
        behind: whether alerts of this process wait.
        on_died: told in words, once, that they wait and no worker is there; it cannot be told through the store.
        on_recovered: there is one again.
        clock: Unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        behind: Callable[[], bool],
        on_died: Callable[[str, bool], None],
        on_recovered: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._behind = behind
        self._on_died = on_died
        self._on_recovered = on_recovered
        self._clock = clock
        self._work = threading.Event()
        self._told = False

    @property
    def missing(self) -> bool:
        """No worker has checked in for a while."""
        try:
            return self._last_seen() < self._clock() - SILENT
        except StoreError:
            return False

    def _last_seen(self) -> float:
        seen = [p.seen for p in self._outbox.processes() if p.role == "worker" and p.ended is None]
        return max(seen, default=0.0)

    def stand_by(self, look: Callable[[], float], stopping: threading.Event) -> None:
        """See :class:`Keeper`."""
        watch_at = time.monotonic() + WATCH_EVERY
        while not stopping.is_set():
            again = look()
            self._work.wait(max(0.0, min(again, watch_at - time.monotonic())))
            self._work.clear()
            if time.monotonic() >= watch_at and not stopping.is_set():
                watch_at = time.monotonic() + WATCH_EVERY
                try:
                    self.watch()
                except StoreError as exc:
                    log.info("%s", exc)

    def watch(self) -> None:
        """Look once. Raises :class:`~bt_alerts.errors.StoreError`."""
        seen = self._last_seen()
        gone = seen < self._clock() - SILENT
        if gone and not self._told and self._behind():
            self._told = True
            since = f"for {self._clock() - seen:,.0f} s" if seen else "at all"
            reason = f"no worker has been at {self._outbox.name} {since}: start `bt-alerts worker` with these settings"
            log.error("alerts wait, and %s", reason)
            self._on_died(reason, False)
        elif self._told and not gone:
            self._told = False
            self._on_recovered()

    def hurry(self) -> None:
        """See :class:`Keeper`."""
        self._work.set()

    def leave(self) -> None:
        """See :class:`Keeper`."""
        self._work.set()


class Handover:
    """Hands alerts over to a worker.

    Args:
        outbox: the store; it is only read.
        journal: of this process, drained elsewhere.
        channels: the channels by name.
        keeper: sees that there is a worker.
        feeder: drains the journal into a store on another machine; None where a worker reads the journal itself.
        catch_up: called now and then; False where something could not be written and is to be tried again soon.
        clock: Unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        journal: Journal,
        channels: Mapping[str, Channel],
        keeper: Keeper,
        *,
        feeder: Engine | None = None,
        catch_up: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._channels = channels
        self.keeper = keeper
        self._feeder = feeder
        self._catch_up = catch_up
        self._clock = clock
        self._bell: Bell = outbox.bell()
        self._jobs = Jobs()
        self._stopping = threading.Event()

    # Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin. Neither the store nor the worker is touched on this thread."""
        if self._feeder is not None:
            self._feeder.start()
        spawn("bt_alerts standby", lambda: self.keeper.stand_by(self._look, self._stopping))
        self._bell.ring()

    def stop(self, timeout: float) -> None:
        """The worker goes on with what there is."""
        self._stopping.set()
        self.keeper.leave()
        if self._feeder is not None:
            self._feeder.stop(timeout)
        self._bell.ring()

    def say_goodbye(self) -> None:
        """The journal does; a feeder tells the store. Raises :class:`~bt_alerts.errors.StoreError`."""
        if self._feeder is not None:
            self._feeder.say_goodbye()

    def add_channel(self, name: str) -> None:
        """Nothing: a worker has the channels of its settings."""

    def change_channel(self, name: str) -> None:
        """Nothing: the worker reads changed settings itself."""

    # What is called for each alert -------------------------------------------------------------------

    def wake(self) -> None:
        """There is something in the journal."""
        if self._feeder is not None:
            self._feeder.wake()
        else:
            self._bell.ring()

    def catch_up_soon(self) -> None:
        """Something could not be written; it is to be tried again."""
        self.keeper.hurry()

    def run_soon(self, job: Callable[[], None]) -> None:
        """See :meth:`Engine.run_soon`."""
        self._jobs.run_soon(job)

    # Waiting -----------------------------------------------------------------------------------------

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for something that the worker brings about; False after ``timeout`` seconds."""
        return self._wait_for(lambda _: done(), timeout)

    def drained(self, timeout: float) -> bool:
        """Wait until the store has everything that the journal holds; False after ``timeout`` seconds."""
        return self._wait_for(lambda _: self._is_drained(), timeout, patience=PATIENCE)

    def flush(self, timeout: float) -> bool:
        """See :meth:`Engine.flush`. Where there is no worker, nobody waits for one."""

        def done(deadline: float) -> bool:
            if bool(self._jobs) or self.behind():  # in this order: a job may end with an alert
                return False
            return nothing_due(self._outbox, self._names(), self._clock(), deadline - time.monotonic())

        try:
            settled = self._wait_for(done, timeout, patience=PATIENCE)
            return settled and self._outbox.pending(self._names(), self._clock())[0] == 0
        except StoreError:
            return False

    @property
    def at_rest(self) -> bool:
        """The store has everything that was accepted, as far as it can be read."""
        with contextlib.suppress(StoreError):
            return self._is_drained()
        return False

    def behind(self) -> bool:
        """Whether alerts of this process wait for a worker. Raises :class:`~bt_alerts.errors.StoreError`."""
        return not self._is_drained() or self._waiting()

    def _is_drained(self) -> bool:
        end = self._journal.end()  # first: a new file may take the old one's place in between
        return self._outbox.position(self._journal.name) >= end

    def _waiting(self) -> bool:
        """Whether alerts wait in the store for a planner."""
        if self._feeder is None:
            return False
        return bool(next(iter(self._outbox.rows("SELECT count(*) FROM alerts WHERE state = 'waiting'")))[0])

    def _names(self) -> tuple[str, ...]:
        """Our channels; where this process has none because its worker has them, all that the store knows."""
        own = tuple(self._channels)
        return own or tuple(row[0] for row in self._outbox.rows("SELECT channel FROM channels"))

    def _wait_for(self, done: Callable[[float], bool], timeout: float, patience: float | None = None) -> bool:
        begun = time.monotonic()
        deadline, pause = begun + timeout, SOONEST
        self.wake()
        while True:
            with contextlib.suppress(StoreError):
                if done(deadline):
                    return True
            now = time.monotonic()
            if now >= deadline or self._stopping.is_set():
                return False
            if patience is not None and now - begun > patience and self.keeper.missing:
                log.warning("there is no worker that delivers, so nobody waits for it: alerts stay where they are")
                return False
            time.sleep(min(pause, deadline - now))
            pause = min(LONGEST, pause * 1.5)

    # The thread that stands by -----------------------------------------------------------------------

    def _look(self) -> float:
        """Keep the journal small, and write what waits in memory. Returns in how many seconds to come again."""
        caught_up = self._catch_up()
        if self._feeder is None:
            with contextlib.suppress(StoreError, OSError):
                self._journal.rotate_if_drained(self._outbox.position(self._journal.name))
        return float("inf") if caught_up else STORE_RETRY
