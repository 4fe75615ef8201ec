"""The bell of a store in a file: a FIFO beside it.

Ringing is one ``write`` of one byte; nobody needs to listen. Who listens sleeps in ``select`` and costs nothing. A ring
is left there for a moment, because a byte can be read only once and everybody who listens should hear it; where
somebody does not after all, it looks by itself a second later (``look_every``).

There are no threads on the ringing side, and what it holds may be inherited by a fork. Where there are no FIFOs
(Windows, some network file systems) rings are lost, and who listens looks more often by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("bt_alerts.bell")

LINGER = 0.004  # seconds that a ring is left for the others who listen; also the pause between two calls
LONGEST_LINGER = 0.016  # seconds of that pause while rings keep coming
TRY_AGAIN = 1.0  # seconds after which a FIFO that could not be opened is tried again
_AT_ONCE = 65536


class FifoBell:
    """Rings and hears rings; see :class:`bt_alerts.outbox.bell.Bell`.

    Args:
        path: of the FIFO; made where it is missing, for this user alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._next_try = 0.0
        self._lock = threading.Lock()

    #: Seconds after which a listener looks by itself, because a ring can get lost.
    look_every = 0.25 if sys.platform == "win32" else 1.0

    def ring(self) -> None:
        """Wake whoever listens. Never blocks, never raises."""
        descriptor = self._fd
        if descriptor < 0:
            if time.monotonic() < self._next_try or not self._lock.acquire(blocking=False):
                return
            try:
                self._next_try = time.monotonic() + TRY_AGAIN
                descriptor = self._fd = open_fifo(self._path)
            finally:
                self._lock.release()
        if descriptor >= 0:
            # BlockingIOError: it is full of rings that nobody has heard yet.
            with contextlib.suppress(OSError):
                os.write(descriptor, b"!")

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call ``heard`` on a thread of its own at each ring; returns what ends it."""
        descriptor = open_fifo(self._path)
        if descriptor < 0:
            return lambda: None
        wake, waker = os.pipe()
        ended = threading.Lock()

        def run() -> None:
            try:
                while not _wait(descriptor, wake):
                    heard()
                    known, pause, more = 1, LINGER, True  # the ring that woke us is still there
                    # While they keep coming, nobody sleeps in `select`: to wake us can cost who rings the processor.
                    while more and not ended.locked():
                        time.sleep(pause)
                        more = _take(descriptor) > known
                        # What was rung meanwhile may be gone with the rest, read by us or by another who listens.
                        heard()
                        known, pause = 0, min(2 * pause, LONGEST_LINGER)
            except OSError:
                log.debug("the bell %s cannot be heard any more", self._path, exc_info=True)
            finally:
                os.close(descriptor)
                os.close(wake)

        thread = threading.Thread(target=run, name="bt_alerts bell", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no new threads while the interpreter shuts down
            for each in (descriptor, wake, waker):
                os.close(each)
            return lambda: None

        def end() -> None:
            if ended.acquire(blocking=False):
                os.write(waker, b"!")  # closing it says nothing while a child that was forked holds it too
                os.close(waker)
                thread.join(1.0)

        return end

    def close(self) -> None:
        """Let go of the FIFO; the next ring opens it again."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)


def _wait(descriptor: int, wake: int) -> bool:
    """Wait for a ring; True where it is to end. Unlike `select`, `poll` takes descriptors above 1023."""
    poll = select.poll()
    for each in (descriptor, wake):
        poll.register(each, select.POLLIN)
    return any(found == wake for found, _ in poll.poll())


def _take(descriptor: int) -> int:
    """Read the rings that are there; returns how many there were."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while read := len(os.read(descriptor, _AT_ONCE)):
            count += read
            if read < _AT_ONCE:
                break
    return count


def open_fifo(path: Path) -> int:
    """Open a FIFO, made where it is missing; -1 where there can be none."""
    if not hasattr(os, "mkfifo"):
        return -1
    try:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # For reading too, on both sides: nobody need listen for it to be opened, and writing never raises SIGPIPE,
        # which would end a strategy whose program does not ignore it.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        log.debug("no bell at %s: %s", path, exc)
        return -1
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    log.debug("no bell at %s: that is something else", path)
    return -1
