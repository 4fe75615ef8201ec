"""Retention: what is older than ``history.keep`` is forgotten, a little at a time.

Promises
--------
*Nothing that still matters goes.* An alert that waits, is pending or held, or is asked about stays, however old it is.
What goes stays counted, so that the ledgers go on balancing; rule state is left alone.

*Nobody waits.* ``emit`` never comes near the store. Planner and couriers wait for one short step at most: after each
there is a pause as long as the step, so that at least half of the time is theirs. So it is with giving space back.

*Attachments* go when no alert refers to them any more. One that was handed over within the last day stays: its alert
may not be in the store yet. While journals hold lines that nobody has read, no attachment goes.

What it does not do: shrink a file at once. SQLite gives back what is spare a few pages at a time, PostgreSQL uses it
again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox, Pruned
from bt_alerts.outbox.journal import SUFFIX

log = logging.getLogger("bt_alerts.retention")

BATCH = 200  # alerts a step: some ten milliseconds
EVERY = 60.0  # seconds between two looks
SHORTEST_PAUSE = 0.01  # seconds between two steps
SPARE = 1024 * 1024  # bytes that may stay spare; what comes next fills them
GRACE = 86_400.0  # seconds for which a file stays that nothing seems to refer to

_COPY = re.compile(r"[0-9a-f]{64}(\.(png|pdf|csv))?")  # an attachment, or what was drawn and can be drawn again


class Swept(NamedTuple):
    """Attachments that were removed, or would be."""

    files: int = 0
    size: int = 0


class Retention:
    """Keeps a store as long as the settings say.

    Args:
        outbox: the store.
        keep: seconds for which alerts are kept.
        clock: Unix seconds.
    """

    def __init__(self, outbox: Outbox, keep: float, *, clock: Callable[[], float] = time.time) -> None:
        self._outbox = outbox
        self._keep = keep
        self._clock = clock
        self._spare: int | None = None  # bytes, before the last step that gave some back
        self._sweep = True

    def run(self, stopping: threading.Event) -> None:
        """Tidy until ``stopping`` is set; for a thread of its own."""
        while not stopping.is_set():
            began = time.monotonic()
            try:
                more = self.tidy()
            except StoreError as exc:
                log.info("%s", exc)  # the planner says it louder
                more = False
            except Exception:
                log.exception("old alerts could not be forgotten; it is tried again")
                more = False
            stopping.wait(pause(time.monotonic() - began) if more else EVERY)

    def tidy(self) -> bool:
        """One short step; True where there is more to do. Raises :class:`~bt_alerts.errors.StoreError`."""
        if self._outbox.prune(self._clock() - self._keep, BATCH).alerts:
            self._outbox.idle()
            self._spare, self._sweep = None, True
            return True
        spare = self._outbox.size().spare
        if spare > SPARE and (self._spare is None or spare < self._spare):
            self._outbox.idle()
            self._spare = spare
            return True
        if self._sweep:
            self._sweep = sweep(self._outbox, self._clock()) is None
        return False


def tidy(outbox: Outbox, keep: float, now: float) -> int:
    """Forget a few alerts that were stored more than ``keep`` seconds before ``now``; returns how many they were."""
    return outbox.prune(now - keep, BATCH).alerts


def pause(took: float) -> float:
    """Seconds to leave to the others after a step that took so many."""
    return max(SHORTEST_PAUSE, took)


def prune(outbox: Outbox, before: float) -> Iterator[Pruned]:
    """Forget everything stored before a time, with a pause after each step; yields what is gone so far."""
    gone = Pruned()
    while True:
        began = time.monotonic()
        now = outbox.prune(before, BATCH)
        if not now.alerts:
            return
        outbox.idle()
        gone = Pruned(*(a + b for a, b in zip(gone, now, strict=True)))
        yield gone
        time.sleep(pause(time.monotonic() - began))


def give_back(outbox: Outbox) -> Iterator[int]:
    """Give spare bytes back to the disk, with a pause after each step; yields how many are left."""
    before: int | None = None
    while (spare := outbox.size().spare) and (before is None or spare < before):
        began = time.monotonic()
        before = spare
        outbox.idle()
        yield spare
        time.sleep(pause(time.monotonic() - began))
    outbox.idle()  # a file shrinks at the checkpoint after


def sweep(outbox: Outbox, now: float, *, before: float = 0.0, remove: bool = True) -> Swept | None:
    """Remove the attachments that no alert refers to.

    Args:
        outbox: the store.
        now: Unix seconds.
        before: as if alerts stored before this time, in Unix seconds, had been pruned.
        remove: False only counts them.

    Returns:
        What was removed; None where journals hold lines that nobody has read, which may refer to some.
    """
    folder = outbox.attachments
    if folder is None or not folder.is_dir():
        return Swept()
    unused = dict(_old_files(folder, now - GRACE))
    if not unused:
        return Swept()
    if _unread(outbox):
        return None
    for digest in outbox.attached(before):
        unused.pop(digest, None)
    swept = Swept()
    for name, size in unused.items():
        if remove and not _removed(folder / name, now - GRACE):
            continue
        swept = Swept(swept.files + 1, swept.size + size)
    return swept


def _old_files(folder: Path, before: float) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _COPY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if status.st_mtime < before:
                        yield entry.name, status.st_size


def _removed(file: Path, before: float) -> bool:
    try:
        if file.stat().st_mtime >= before:  # handed over again meanwhile
            return False
        file.unlink()
    except OSError as exc:
        log.info("the attachment %s could not be removed: %s", file, exc.strerror or exc)
        return False
    return True


def _unread(outbox: Outbox) -> bool:
    """Whether a journal holds lines that are not in the store. None is opened: closing it could give back its lock."""
    for path in outbox.journals.glob(f"*{SUFFIX}") if outbox.journals is not None else ():
        with contextlib.suppress(OSError):  # drained and removed meanwhile
            if path.stat().st_size > outbox.position(path.name.removesuffix(SUFFIX)):
                return True
    return False
