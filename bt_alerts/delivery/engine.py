"""The engine: one thread that drains and plans, and the couriers' threads. Nothing here runs on the strategy's thread.

Threads block until there is something to do; a wake-up is an event, the wait ends at the next due time. They are daemons:
a process that ends flushes first (:meth:`Engine.stop`), with a deadline, and what is left is sent at the next start.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping

from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.journal import AnyJournal, Journal

log = logging.getLogger("bt_alerts.engine")

GATHER = 0.002  # seconds: a burst of alerts is planned in one transaction instead of many
STORE_RETRY = 0.5  # seconds before a store that could not be written is tried again
HOUSEKEEPING = 30.0  # seconds of quiet before the store is tidied


class Engine:
    """Runs planner and couriers on threads of their own.

    Args:
        outbox: the store.
        journal: the journal of this process.
        planner: plans what the journal holds.
        channels: the channels by name.
        make_courier: makes the courier of a channel.
        parallel: a thread for each channel; False delivers one channel after the other on one thread.
        on_store_trouble: told once when the store cannot be written, and with "" when it can again.
    """

    def __init__(
        self,
        outbox: Outbox,
        journal: AnyJournal,
        planner: Planner,
        channels: Mapping[str, Channel],
        make_courier: Callable[[Channel], Courier],
        *,
        parallel: bool = True,
        on_store_trouble: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._planner = planner
        self._channels = channels
        self._make_courier = make_courier
        self._parallel = parallel
        self._on_store_trouble = on_store_trouble
        self._trouble = ""
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._bells: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._moved = threading.Condition()
        self._jobs: list[Callable[[], None]] = []

    # Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: adopt what dead processes left, then plan and deliver."""
        for channel in self._channels.values():
            self._try_store(lambda name=channel.name, print_=channel.fingerprint: self._outbox.enable_channel(name, print_))
        self._spawn("bt_alerts planner", self._plan)
        for name in self._channels:
            self.add_channel(name)
        self._work.set()

    def add_channel(self, name: str) -> None:
        """Deliver for one more channel."""
        shared = next(iter(self._bells.values()), None)
        self._bells[name] = threading.Event() if self._parallel or shared is None else shared
        if self._parallel or shared is None:
            self._spawn(f"bt_alerts courier {name if self._parallel else ''}".rstrip(), lambda: self._deliver(name))

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def wake(self) -> None:
        """There is something in the journal."""
        if not self._work.is_set():
            self._work.set()

    def run_soon(self, job: Callable[[], None]) -> None:
        """Run something slow on the planner's thread (checks of channels when a strategy goes live)."""
        self._jobs.append(job)
        self._work.set()

    def drained(self, timeout: float) -> bool:
        """Wait until the planner has read everything that the journal holds; False after ``timeout`` seconds."""
        return self._wait_for(lambda _: self._is_drained(), timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until everything accepted is planned and nothing that is due is pending; False after ``timeout`` seconds.

        Deliveries whose next try comes later than that are not waited for.
        """

        def done(deadline: float) -> bool:
            if not self._is_drained() or self._jobs:
                return False
            pending, due = self._outbox.pending(tuple(self._channels))
            return pending == 0 or due is None or due - time.time() > deadline - time.monotonic()

        try:
            return self._wait_for(done, timeout) and self._outbox.pending(tuple(self._channels))[0] == 0
        except StoreError:
            return False

    def _is_drained(self) -> bool:
        return self._outbox.position(self._journal.name) >= self._journal.end()

    def _wait_for(self, done: Callable[[float], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self._work.set()
        with self._moved:
            while True:
                with contextlib.suppress(StoreError):
                    if done(deadline):
                        return True
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping.is_set():
                    return False
                self._moved.wait(min(left, 0.25))

    def stop(self, timeout: float) -> None:
        """End the threads; what is in flight may take until ``timeout`` seconds."""
        self._stopping.set()
        self._work.set()
        for bell in self._bells.values():
            bell.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # The planner's thread ----------------------------------------------------------------------------

    def _plan(self) -> None:
        self._try_store(self._planner.adopt)
        self._ring()
        while not self._stopping.is_set():
            if not self._work.wait(HOUSEKEEPING):
                self._outbox.idle()
                continue
            self._stopping.wait(GATHER)
            self._work.clear()
            planned = self._try_store(lambda: self._planner.drain(self._journal))
            if not planned:
                self._stopping.wait(STORE_RETRY)
                self._work.set()
                continue
            self._rotate()
            self._ring()
            while self._jobs:
                job = self._jobs.pop(0)
                try:
                    job()
                except Exception:
                    log.exception("a background job of bt_alerts failed")
            with self._moved:
                self._moved.notify_all()

    def _rotate(self) -> None:
        if isinstance(self._journal, Journal):
            name = self._journal.name
            if self._journal.rotate_if_drained(self._outbox.position(name)) is not None:
                with self._outbox.transaction() as tx:
                    tx.set_position(name, -1)

    def _try_store(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except StoreError as exc:
            if str(exc) != self._trouble:
                self._trouble = str(exc)
                log.error("%s. Nothing is lost: alerts wait in the journal", exc)
                self._on_store_trouble(self._trouble)
            return False
        except Exception:
            log.exception("planning failed; it is tried again")
            return False
        if self._trouble:
            self._trouble = ""
            self._on_store_trouble("")
        return True

    def _ring(self) -> None:
        for bell in set(self._bells.values()):
            bell.set()

    # A courier's thread ------------------------------------------------------------------------------

    def _deliver(self, name: str) -> None:
        couriers: dict[str, Courier] = {}
        bell = self._bells[name]
        while not self._stopping.is_set():
            bell.clear()
            mine = [name] if self._parallel else list(self._channels)
            for each in mine:
                if each not in couriers:
                    couriers[each] = self._make_courier(self._channels[each])
            try:
                while any([courier.deliver_one() for courier in couriers.values()]):
                    with self._moved:
                        self._moved.notify_all()
                    if self._stopping.is_set():
                        return
                dues = [due for each in mine if (due := self._outbox.next_due(each)) is not None]
            except StoreError as exc:
                log.warning("%s", exc)
                dues = [time.time() + STORE_RETRY]
            except Exception:
                log.exception("delivering for channel %s failed; it is tried again", name)
                dues = [time.time() + STORE_RETRY]
            with self._moved:
                self._moved.notify_all()
            bell.wait(max(0.001, min(dues) - time.time()) if dues else None)
