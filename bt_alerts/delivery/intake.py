"""The intake: accepts alerts for one process. :meth:`Intake.accept` is all that runs on a strategy's thread.

Promises
--------
*Accepting* appends one line to this process's journal and wakes the engine. It never waits for a network or a database.
True means that the line survives ``kill -9``.

*A disk that takes nothing.* Lines wait in memory, in order, are counted, and are written when there is room. Every
channel that works is told, past the store.

*Who delivers* is the engine's business, or that of whatever stands in its place: ``make_engine`` decides, and the
flavour of the journal says who drains it.

*A fork.* The child gets a journal, an engine and locks of its own; what waits in the parent's memory is the parent's.

*After the end.* What comes when everything is closed is left in a journal that the next start finds.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bt_alerts.alert import Alert, Attachment
from bt_alerts.delivery import own_alerts
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.engine import AnyEngine
from bt_alerts.dispatchers.base import Context, delivery_key
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.entries import Accepted, Entry, encode
from bt_alerts.outbox.journal import OWN, AnyJournal, Journal, MemoryJournal

log = logging.getLogger("bt_alerts.intake")

OVERFLOW = 100_000  # lines kept in memory while the disk takes none
AT_ONCE = 20  # of them that a strategy's thread writes by itself; more would make it wait


class Intake:
    """Accepts for one outbox and one set of channels.

    Args:
        outbox: the store; :attr:`outbox` is its child's after a fork.
        channels: the channels by name.
        make_engine: makes the engine, from the journal, for this intake.
        durable: force each line to the disk.
        flavour: who drains the journal, see :mod:`bt_alerts.outbox.journal`.
        quiet: tell nobody about a disk that is full (``mode: record``).
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: dict[str, Channel],
        make_engine: Callable[[AnyJournal], AnyEngine],
        *,
        durable: bool = False,
        flavour: str = OWN,
        quiet: bool = False,
    ) -> None:
        self.outbox = outbox
        self.engine: AnyEngine | None = None
        self.journal: AnyJournal | None = None
        self.trouble = ""
        self.lost = 0
        self.closed = False
        self._channels = channels
        self._make_engine = make_engine
        self._durable = durable
        self._flavour = flavour
        self._quiet = quiet
        self._pid = os.getpid()
        self._overflow: collections.deque[bytes] = collections.deque()
        self._announced = ""
        self.new_locks()

    # Accepting ---------------------------------------------------------------------------------------

    def accept(self, alert: Alert, due: float = 0.0) -> bool:
        """Accept an alert; see :meth:`bt_alerts.AlertManager.emit`. Never raises."""
        try:
            if alert.attachments:
                alert = self._keep_attachments(alert)
            return self._append(encode(Accepted(alert, due)))
        except Exception:
            self.lost += 1
            log.exception("an alert could not be accepted; the strategy goes on")
            return False

    def ask(self, entry: Entry) -> bool:
        """Accept what somebody asks for: to acknowledge, to snooze, to mute, to try again. Never raises."""
        try:
            return self._append(encode(entry))
        except Exception:
            log.exception("what was asked for could not be kept")
            return False

    @property
    def in_memory(self) -> int:
        """How many lines wait in memory for a disk that takes them."""
        return len(self._overflow)

    def _append(self, line: bytes) -> bool:
        journal, engine = self.journal, self.engine
        if journal is None or engine is None or os.getpid() != self._pid:
            if self.closed:
                return self._leave(line)
            journal, engine = self.begin()
        try:
            if self._overflow and not self._write_overflow(None if self.closed else AT_ONCE):
                self._wait_in_memory(line)
                engine.catch_up_soon()
                return False
            journal.append(line)
        except OSError as exc:
            if self.closed:
                return self._leave(line)
            self._keep_in_memory(line, exc)
            engine.catch_up_soon()
            return False
        engine.wake()
        return isinstance(journal, Journal) or self.outbox.journals is None

    def _leave(self, line: bytes) -> bool:
        folder = self.outbox.journals
        if folder is None:
            self.lost += 1
            log.error("an alert came after its manager was closed, and is lost with it because the store is in memory")
            return False
        journal = Journal(folder)
        try:
            journal.append(line)
        finally:
            journal.close()
        return True

    def _keep_attachments(self, alert: Alert) -> Alert:
        """Copy files beside the store, by hash: what the caller does with them afterwards changes nothing."""
        folder = self.outbox.attachments
        kept: list[Attachment] = []
        for attachment in alert.attachments:
            try:
                kept.append(attachment if folder is None else _copied(attachment, folder))
            except Exception as exc:
                log.error("the attachment %r cannot be kept (%s); the alert goes without it", attachment, exc)
        return alert.replace(attachments=tuple(a for a in kept if isinstance(a, Attachment)))

    # A disk that takes nothing -----------------------------------------------------------------------

    def _keep_in_memory(self, line: bytes, exc: OSError) -> None:
        self._wait_in_memory(line)
        if not self.trouble:
            folder = self.outbox.journals
            self.in_trouble(
                f"the journal in {folder} cannot be written ({exc.strerror or exc}): free some space; alerts wait in "
                "memory meanwhile"
            )

    def _wait_in_memory(self, line: bytes) -> None:
        """Without the lock: the engine may be writing for long."""
        if len(self._overflow) < OVERFLOW:
            self._overflow.append(line)
        else:
            self.lost += 1

    def _write_overflow(self, most: int | None = None) -> bool:
        """Write what waited in memory, oldest first. Raises ``OSError`` where the disk is still full.

        Returns:
            False where that is left to the engine: it is more than ``most`` lines, or another thread is at it.
        """
        journal = self.journal
        assert journal is not None
        if (most is not None and len(self._overflow) > most) or not self._overflow_lock.acquire(blocking=most is None):
            return False
        try:
            if not self._overflow:
                return True
            while self._overflow:
                journal.append(self._overflow[0])
                self._overflow.popleft()
        finally:
            self._overflow_lock.release()
        log.warning("the journal can be written again; everything that waited in memory is in it")
        self.in_trouble("")
        return True

    def catch_up(self) -> bool:
        """Called by the engine now and then, because the strategy may have nothing more to say."""
        with contextlib.suppress(OSError):
            self._write_overflow()
        return not self._overflow

    def in_trouble(self, reason: str) -> None:
        """The store cannot be written (or, with "", can again): say so past the store, on every channel that works."""
        self.trouble = reason
        if not reason and self._announced:
            self._announced = ""
            self.accept(own_alerts.store_recovered())
        elif self._announced != reason and self.engine is not None and not self._quiet:
            self._announced = reason
            self.tell_past_store(own_alerts.store_trouble(reason))

    def tell_past_store(self, alert: Alert) -> None:
        """Send what cannot go the usual way, on every channel; nothing keeps it."""
        if self.engine is None or self._quiet:
            return
        for channel in list(self._channels.values()):  # each by itself: one that does not answer delays no other
            self.engine.run_soon(functools.partial(_tell_past_store, channel, alert))

    # Life --------------------------------------------------------------------------------------------

    def begin(self) -> tuple[AnyJournal, AnyEngine]:
        """Open the journal and start the engine, where that was not done yet in this process."""
        with self._lock:
            self.after_fork()
            if self.journal is None:
                self.journal = self._open_journal()
            if self.engine is None:
                self.engine = self._make_engine(self.journal)
                self.engine.start()
                if self.trouble:
                    self.in_trouble(self.trouble)
            return self.journal, self.engine

    def _open_journal(self) -> AnyJournal:
        folder = self.outbox.journals
        if folder is None:
            return MemoryJournal()
        try:
            journal = Journal(folder, fsync=self._durable, flavour=self._flavour)
            _say_goodbye_at_the_end(journal)
            return journal
        except OSError as exc:
            self.trouble = f"the journal in {folder} cannot be written ({exc.strerror or exc})"
            log.error("%s: alerts are kept in memory only", self.trouble)
            return MemoryJournal()

    @property
    def forked(self) -> bool:
        """This is a child that has not said or asked anything yet."""
        return os.getpid() != self._pid

    def after_fork(self) -> None:
        """In a child: what waited in memory is the parent's to write; threads, files and locks are left behind."""
        if not self.forked:
            return
        if isinstance(self.journal, Journal):
            self.journal.abandon()
        self.journal = self.engine = None
        self._overflow.clear()
        self.lost = 0
        self.outbox = self.outbox.forked()
        self._pid = os.getpid()

    def new_locks(self) -> None:
        """In a child: whoever held a lock is not there to give it back."""
        self._lock = threading.RLock()
        self._overflow_lock = threading.Lock()

    def close(self, timeout: float, *, flush: bool = True) -> None:
        """Deliver what is due within ``timeout`` seconds, end the threads; a journal that is not drained stays.

        Without ``flush`` only what is in flight may end.
        """
        self.closed = True
        if self.engine is not None:
            began = time.monotonic()
            if flush:
                self.engine.flush(timeout)
            self.engine.stop(max(1.0, timeout - (time.monotonic() - began)))
        if isinstance(self.journal, Journal):
            self._close_journal(self.journal)
        self.journal = None  # what is emitted now is left for the next start
        if self.lost or self._overflow:
            log.error("%d alerts could not be written anywhere", self.lost + len(self._overflow))

    def _close_journal(self, journal: Journal) -> None:
        self.catch_up()
        position = -1
        with contextlib.suppress(StoreError):
            if self.engine is not None and not journal.read_by_others:
                self.outbox.release(journal.owner)
                self.engine.say_goodbye()
            position = self.outbox.position(journal.name)
        # Of a journal that others read, the position is theirs to forget, when they see that it is gone.
        if journal.close(drained_to=position) and not journal.read_by_others:
            with contextlib.suppress(StoreError), self.outbox.transaction() as tx:
                tx.set_position(journal.name, -1)


def _say_goodbye_at_the_end(journal: Journal) -> None:
    """A worker of ``multiprocessing`` ends without calling what is registered for a process's end, and died of nothing.

    What its journal still holds is found by the next start.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(journal, journal.say_goodbye, exitpriority=0)


def _tell_past_store(channel: Channel, alert: Alert) -> None:
    for target in channel.dispatcher.targets():
        context = Context(key=delivery_key(alert.id, channel.name, target.key))
        with contextlib.suppress(Exception):
            channel.dispatcher.deliver(alert, target, context)


def _copied(attachment: Attachment, folder: Path) -> Attachment:
    target = folder / attachment.sha256
    if target.exists():
        with contextlib.suppress(OSError):
            os.utime(target)  # so that it is not tidied away before this alert is in the store
    else:
        content = attachment.read()
        attachment = dataclasses.replace(  # the file may have changed since it was described
            attachment, sha256=hashlib.sha256(content).hexdigest(), size=len(content)
        )
        target = folder / attachment.sha256
        folder.mkdir(mode=0o700, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return dataclasses.replace(attachment, path=str(target.resolve()))
