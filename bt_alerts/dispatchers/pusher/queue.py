"""The events of a live page on their way: a bounded queue in memory, and one daemon thread that sends batches of it.

Putting an event in never waits for the network. Account updates are state: the newest replaces the one that waits, and
one a second goes. What cannot be delivered after a few attempts is dropped, counted, and said once. After a fork the
child begins with an empty queue: what waited is its parent's to send.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from bt_alerts.dispatchers.base import DeliveryFailed, Failure
from bt_alerts.dispatchers.pusher.api import MAX_BATCH, Event

log = logging.getLogger("bt_alerts.pusher")

MAX_WAITING = 1_000  # events; then the oldest goes
ACCOUNT_EVERY = 1.0  # seconds
TRIES = 4
FIRST_WAIT, MAX_WAIT = 0.5, 10.0  # seconds between attempts
GATHER = 0.02  # seconds that the first event waits for others of its bar
IDLE = 10.0  # seconds after which the thread ends; the next event begins another

_queues: weakref.WeakSet[LiveQueue] = weakref.WeakSet()


class LiveQueue:
    """Sends what is put into it, in order.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        #: Sends at most ten events now or raises ``DeliveryFailed``; None where nothing is to be sent.
        self.send: Callable[[list[Event]], object] | None = None
        self._clock = clock
        self._begin()
        _queues.add(self)

    def _begin(self) -> None:
        #: Events that were dropped: too many waited, or they could not be delivered.
        self.dropped = 0
        self._changed = threading.Condition()
        self._waiting: collections.deque[Event] = collections.deque()
        self._account = Newest(ACCOUNT_EVERY)
        self._thread: threading.Thread | None = None
        self._sending = False
        self._leaving = threading.Event()
        self._said = ""

    def put(self, event: Event) -> None:
        """Take an event; it is sent soon."""
        with self._changed:
            if event.name == "account-update":
                self._account.put(event)
            else:
                if len(self._waiting) >= MAX_WAITING:
                    self._waiting.popleft()
                    self._drop(1, f"more than {MAX_WAITING:,} events wait for Pusher: the oldest are dropped")
                self._waiting.append(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bt_alerts-pusher", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is left, or ``timeout`` seconds; whether nothing is."""
        with self._changed:
            return self._changed.wait_for(self._nothing_left, max(timeout, 0.0))

    def close(self, timeout: float) -> None:
        """Send what is left, without waiting between attempts, for ``timeout`` seconds at most."""
        self._leaving.set()
        with self._changed:
            self._changed.notify_all()
        if not self.flush(timeout):
            self.complain(f"not all events reached Pusher within {timeout:g} s at the end")

    def complain(self, why: str, exc: Exception | None = None) -> None:
        """Log it once, until something else is to be said or events arrive again."""
        if why and why != self._said:
            self._said = why
            log.warning("%s", why, exc_info=exc)

    # The thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._deliver(batch)
            except Exception as exc:
                self._drop(len(batch), f"events cannot be sent: {type(exc).__name__}", exc)
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _next(self) -> list[Event]:
        """What is to be sent next; nothing where the thread is to end."""
        idle_until = time.monotonic() + IDLE
        with self._changed:
            while True:
                if self._waiting:
                    self._changed.wait_for(lambda: len(self._waiting) >= MAX_BATCH or self._leaving.is_set(), GATHER)
                now = self._clock()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
                if len(batch) < MAX_BATCH and (newest := self._account.take(now)) is not None:
                    batch.append(newest)
                if batch:
                    self._sending = True
                    return batch
                wait = self._account.wait(now)
                left = idle_until - time.monotonic()
                if wait is None and (left <= 0 or self._leaving.is_set()):
                    self._thread = None
                    return []
                self._changed.wait(left if wait is None else wait)

    def _deliver(self, batch: list[Event]) -> None:
        wait = FIRST_WAIT
        for attempt in range(1, TRIES + 1):
            if self.send is None:
                return self._drop(len(batch))
            try:
                self.send(batch)
            except DeliveryFailed as exc:
                failed = exc
            else:
                self._said = ""
                return None
            if failed.failure is Failure.AUTH:
                self.send = None
                return self._drop(len(batch), f"the page is not updated any more: {failed.reason}")
            if failed.failure in {Failure.PERMANENT, Failure.TOO_LARGE}:
                if len(batch) == 1:
                    return self._drop(1, f"an event {batch[0].name} was refused: {failed.reason}")
                for event in batch:  # so that one bad event does not take the others with it
                    self._deliver([event])
                return None
            if attempt < TRIES:
                self._leaving.wait(min(failed.retry_after or wait, MAX_WAIT))
                wait *= 3
        return self._drop(len(batch), f"events for the page are dropped: {failed.reason}")

    def _nothing_left(self) -> bool:
        return not self._waiting and self._account.empty and not self._sending

    def _drop(self, count: int, why: str = "", exc: Exception | None = None) -> None:
        with self._changed:  # which this thread may hold already
            self.dropped += count
        self.complain(why, exc)


class Newest:
    """Keeps the newest value only, and lets one out each so many seconds. Pure: it is told the time.

    Args:
        every: seconds between two values.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._value: Any = None
        self._last: float | None = None

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return self._value is None

    def put(self, value: Any) -> None:
        """Replace what waits."""
        self._value = value

    def wait(self, now: float) -> float | None:
        """Seconds until the next value may go; None where none waits."""
        if self._value is None:
            return None
        return 0.0 if self._last is None else max(0.0, self._last + self._every - now)

    def take(self, now: float) -> Any:
        """The newest value if it may go now, else None."""
        if self.wait(now) != 0.0:
            return None
        value, self._value, self._last = self._value, None, now
        return value


def _close_all() -> None:
    for queue in list(_queues):
        queue.close(5.0)


def _forget_after_fork() -> None:
    for queue in list(_queues):
        queue._begin()  # its locks may be held by a thread that does not exist here


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
