"""What a worker, a process that delivers for others, does beside delivering; and what every process does to be seen.

A worker's engine delivers as any other does. Beside that it makes rounds: it drains the journals of the living
processes that leave theirs to it, adopts those of the dead, decides about alerts that wait in the store, and checks in.

*One plans.* Of several workers the one that has the planner's lease drains and decides; the others deliver, and one of
them takes over when the lease ends. A second one that plans for a moment, because a clock or a process stood still,
does no harm: planning is one transaction with the position of what was read.

*Waking.* The bell wakes it. A ring that got lost costs a second at most: the files' sizes are looked at that often.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bt_alerts._version import __version__
from bt_alerts.delivery.planner import Planner
from bt_alerts.outbox.base import Outbox, Process
from bt_alerts.outbox.journal import CHILD, SHARED, SUFFIX, flavour_of, live_journal

log = logging.getLogger("bt_alerts.worker")

CHECK_IN = 10.0  # seconds between two signs of life of a worker
STRATEGY_CHECK_IN = 30.0  # … of a strategy's process
LEASE = 10.0  # seconds for which one worker plans before it must say so again
RENEW = 3.0  # seconds between two times that it says so, or that another one asks
LOOK = 1.0  # seconds between two looks at the journals, where nobody rings
SWEEP = 60.0  # seconds between two looks for positions of journals that are gone


@dataclasses.dataclass(frozen=True, slots=True)
class Duty:
    """Whose journals a worker drains besides its own.

    Args:
        parent: the owner of the one process that it works for; empty for every process that leaves its journal to the
            workers.
    """

    parent: str = ""


class Presence:
    """Signs of life, so that others can tell who is there. The base of a worker's rounds.

    Args:
        outbox: the store.
        owner: the name under which the process leases.
        role: ``strategy`` or ``worker``.
        about: plain facts about the process.
        clock: Unix seconds.
    """

    alone = False
    #: What there was to do was done at least once.
    rested = True

    def __init__(
        self,
        outbox: Outbox,
        owner: str,
        role: str,
        about: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._owner = owner
        self._role = role
        self._about = {"pid": os.getpid(), "host": platform.node(), "version": __version__, **(about or {})}
        self._clock = clock
        self._started = clock()
        self._check_in_at = 0.0
        self.every = self._check_in_every = CHECK_IN if role == "worker" else STRATEGY_CHECK_IN

    def serve(self, channels: Iterable[str]) -> None:
        """Say from now on that these channels have somebody who delivers."""
        self._about = {**self._about, "channels": list(channels)}
        self._check_in_at = 0.0

    def look(self) -> bool:
        """Whether it is time to check in."""
        return time.monotonic() >= self._check_in_at

    def go(self) -> None:
        """Check in where it is time. Raises :class:`~bt_alerts.errors.StoreError`."""
        if time.monotonic() >= self._check_in_at:
            self._check_in(None)
            self._check_in_at = time.monotonic() + self._check_in_every

    def end(self) -> None:
        """Check out. Raises :class:`~bt_alerts.errors.StoreError`."""
        self._check_in(self._clock())

    def _check_in(self, ended: float | None) -> None:
        process = Process(self._owner, self._role, self._about, self._started, self._clock(), ended)
        self._outbox.check_in(process)


class WorkerRounds(Presence):
    """What a worker does besides delivering.

    Args:
        outbox: the store.
        planner: decides about what is found.
        owner: the name under which the worker leases.
        duty: whose journals it drains.
        about: plain facts about the worker.
        clock: Unix seconds.
    """

    alone = True

    def __init__(
        self,
        outbox: Outbox,
        planner: Planner,
        owner: str,
        duty: Duty,
        about: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(outbox, owner, "worker", about, clock=clock)
        self.rested = False
        self._planner = planner
        self._duty = duty
        self.bell = outbox.bell()
        self.every = float(getattr(self.bell, "look_every", LOOK))
        #: Whether this worker is the one that decides about what waits in the store.
        self.leads = False
        self._lead_at = 0.0
        self._patient_until = time.monotonic() + 2 * LEASE
        self._sweep_at = time.monotonic() + SWEEP
        #: How far each journal was seen and drained, in bytes.
        self._done: dict[str, int] = {}
        #: Owners that were alive at the last look; that are gone, and whether we saw them alive; and of those, whose
        #: journals were tried.
        self._alive: set[str] = set()
        self._gone: dict[str, bool] = {}
        self._tried: set[str] = set()
        self._orphaned = False

    def orphaned(self) -> None:
        """The process that we work for is gone: its journals are adopted as soon as they are let go of."""
        self.rested = False
        self._orphaned = True

    # Looking -----------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Whether something was written, somebody is gone, or it is time to say that we are here."""
        files = dict(self._files())
        owners = {name.partition(".")[0] for name in files}
        alive = {owner for owner in owners if _is_alive(owner)}
        # Also who began and ended between two looks. A process of another container only seems to be gone, so each is
        # tried once; what is left then is found when the store is tidied.
        self._tried &= owners
        for owner in owners - alive - self._tried:
            self._gone[owner] = owner in self._alive or self._gone.get(owner, False)
        self._alive = alive
        new = (size > self._done.get(name, 0) for name, size in files.items() if self._ours(name))
        written = (self._drains and any(new)) or (self._orphaned and self._left_by_parent())
        now = time.monotonic()
        return written or bool(self._gone) or now >= self._check_in_at or (self._asks and now >= self._lead_at)

    def _files(self) -> Iterator[tuple[str, int]]:
        """The journals in the folder with their sizes."""
        if self._outbox.journals is None:
            return
        with contextlib.suppress(OSError), os.scandir(self._outbox.journals) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(OSError):  # drained and removed meanwhile
                        yield entry.name.removesuffix(SUFFIX), entry.stat().st_size

    def _left_by_parent(self) -> bool:
        return any(name.startswith(f"{self._duty.parent}.") for name, _ in self._files())

    def _ours(self, name: str) -> bool:
        if self._duty.parent:
            return flavour_of(name) == CHILD and name.startswith(f"{self._duty.parent}.")
        return flavour_of(name) == SHARED

    @property
    def _asks(self) -> bool:
        """Whether the planner's lease is any business of ours: a child plans for its parent alone."""
        return not self._duty.parent

    @property
    def _drains(self) -> bool:
        """Whether it is ours to drain the journals of this machine. Where the store is elsewhere, each machine has its
        own, and the lease is about what waits in the store."""
        return self.leads or bool(self._duty.parent) or not self._outbox.local

    # Doing -------------------------------------------------------------------------------------------

    def go(self) -> None:
        super().go()
        renewed = self._asks and time.monotonic() >= self._lead_at
        if renewed:
            self._lead()
        if self._drains:
            self._drain()
        if self.leads and (renewed or not self._outbox.local):
            self._planner.plan_waiting()
        if self._orphaned:
            self._planner.adopt(alive_lately={self._duty.parent})
        if self._gone:
            self._planner.adopt(alive_lately=[owner for owner, seen in self._gone.items() if seen])
            self._tried |= self._gone.keys()
            self._gone = {}
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP
            self._sweep()
        if not self.rested:
            self.rested = not (self._orphaned and self._left_by_parent()) and not self._another_is_to_plan()

    def end(self) -> None:
        self.leads = False  # the lease itself is given back with the others
        super().end()

    def _lead(self) -> None:
        led, self.leads = self.leads, self._outbox.lead(self._owner, self._clock(), LEASE)
        self._lead_at = time.monotonic() + RENEW
        if self.leads and not led:
            log.info("this worker plans now")
        elif led and not self.leads:
            log.info("another worker plans now; this one delivers")

    def _another_is_to_plan(self) -> bool:
        """Whether what we found waits for the worker that plans. That one may be gone: then it is our turn soon."""
        if self.leads or not self._asks or time.monotonic() >= self._patient_until:
            return False
        if any(size > self._outbox.position(name) for name, size in self._files() if self._ours(name)):
            return True
        return bool(next(iter(self._outbox.rows("SELECT count(*) FROM alerts WHERE state = 'waiting'")))[0])

    def _drain(self) -> None:
        for name, size in list(self._files()):
            if not self._ours(name) or size <= self._done.get(name, 0):
                continue
            assert self._outbox.journals is not None
            journal = live_journal(self._outbox.journals / f"{name}{SUFFIX}")
            if journal is None:
                continue
            try:
                self._planner.drain(journal)
            finally:
                journal.close()
            self._done[name] = size

    def _sweep(self) -> None:
        """Forget the positions of journals that are gone. Their names never come again."""
        folder = self._outbox.journals
        if folder is None:
            return
        names = [row[0] for row in self._outbox.rows("SELECT journal FROM journals")]
        for name in names:
            here = self._outbox.local or name in self._done  # those of other machines are not ours to judge
            # Looked at after the store was: a position that is there now belongs to a file that was there before.
            if here and flavour_of(name) in {SHARED, CHILD} and not _exists(folder / f"{name}{SUFFIX}"):
                self._done.pop(name, None)
                with self._outbox.transaction() as tx:
                    tx.set_position(name, -1)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True


def _is_alive(owner: str) -> bool:
    """Whether there is such a process. Only a hint: the lock of its journal is what counts."""
    pid = owner.partition("-")[0]
    if not pid.isdigit() or os.name == "nt":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
