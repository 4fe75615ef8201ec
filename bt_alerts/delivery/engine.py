"""The engine: one thread that drains and plans, and the couriers' threads. Nothing here runs on the strategy's thread.

Threads block until there is something to do; a wake-up is an event, the wait ends at the next due time. They are
daemons: a process that ends flushes first (:meth:`Engine.flush`), with a deadline, and what is left is sent at the next
start.
"""

from __future__ import annotations

import collections
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

GATHER = 0.002  # seconds of quiet that end a burst of alerts, which is planned in one go and not beside the strategy
LONGEST_BURST = 10  # times GATHER, after which planning begins all the same
STORE_RETRY = 0.5  # seconds before a store that could not be written is tried again
LOOK_EVERY = 2.0  # seconds between two looks whether settings changed
HOUSEKEEPING = 30.0  # seconds after which the store is tidied, and looked at: another process may have left something


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
        catch_up: called before planning; False where something could not be written and is to be tried again soon.
        look: called every :data:`LOOK_EVERY` seconds.
        clock: Unix seconds.
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
        catch_up: Callable[[], bool] = lambda: True,
        look: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._planner = planner
        self._channels = channels
        self._make_courier = make_courier
        self._parallel = parallel
        self._on_store_trouble = on_store_trouble
        self._catch_up = catch_up
        self._look = look
        self._clock = clock
        self._trouble = ""
        self._look_at = 0.0
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._bells: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._moved = threading.Condition()
        self._jobs: set[object] = set()
        #: What the store must be told before planning goes on, in order; each stays until it has succeeded.
        self._chores: collections.deque[Callable[[], object]] = collections.deque()

    # Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: adopt what dead processes left, then plan and deliver. The store is not touched on this thread."""
        for name in list(self._channels):
            self.add_channel(name)
        self._chores.append(self._planner.adopt)
        self._threads.append(self._spawn("bt_alerts planner", self._plan))
        self._work.set()

    def add_channel(self, name: str) -> None:
        """Deliver for one more channel."""
        fingerprint = self._channels[name].fingerprint
        self._chores.append(lambda: self._outbox.enable_channel(name, fingerprint))
        shared = next(iter(self._bells.values()), None)
        self._bells[name] = threading.Event() if self._parallel or shared is None else shared
        if self._parallel or shared is None:
            title = f"bt_alerts courier {name if self._parallel else ''}".rstrip()
            self._threads.append(self._spawn(title, lambda: self._deliver(name)))
        self._work.set()

    def change_channel(self, name: str) -> None:
        """Deliver for a channel as it is now; its courier takes the new one up when it has nothing under way."""
        if name not in self._bells:
            self.add_channel(name)
            return
        fingerprint = self._channels[name].fingerprint
        self._chores.append(lambda: self._outbox.enable_channel(name, fingerprint))
        self._work.set()

    @staticmethod
    def _spawn(name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:  # the interpreter ends, or the system has no threads left
            log.error("%s cannot begin (%s): alerts wait in the journal for the next start", name, exc)
        return thread

    def wake(self) -> None:
        """There is something in the journal."""
        if not self._work.is_set():
            self._work.set()

    def run_soon(self, job: Callable[[], None]) -> None:
        """Run something slow on a thread of its own, where it delays nothing (checks of channels, news of trouble)."""
        token = object()
        self._jobs.add(token)

        def run() -> None:
            try:
                job()
            except Exception:
                log.exception("a background job of bt_alerts failed")
            self._jobs.discard(token)
            with self._moved:
                self._moved.notify_all()

        if not self._spawn("bt_alerts job", run).ident:
            self._jobs.discard(token)

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for something that planning or delivering brings about; False after ``timeout`` seconds."""
        return self._wait_for(lambda _: done(), timeout)

    def drained(self, timeout: float) -> bool:
        """Wait until the planner has read everything that the journal holds; False after ``timeout`` seconds."""
        return self._wait_for(lambda _: self._is_drained(), timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until everything accepted is planned and nothing due is pending; False after ``timeout`` seconds.

        Deliveries whose next try comes later than that are not waited for.
        """

        def done(deadline: float) -> bool:
            if not self._is_drained() or self._jobs:
                return False
            pending, due = self._outbox.pending(tuple(self._channels))
            return pending == 0 or due is None or due - self._clock() > deadline - time.monotonic()

        try:
            return self._wait_for(done, timeout) and self._outbox.pending(tuple(self._channels))[0] == 0
        except StoreError:
            return False

    def _is_drained(self) -> bool:
        end = self._journal.end()  # first: a new file may take the old one's place in between
        return not self._chores and self._outbox.position(self._journal.name) >= end

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
        for bell in list(self._bells.values()):
            bell.set()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread.ident:
                thread.join(max(0.0, deadline - time.monotonic()))

    # The planner's thread ----------------------------------------------------------------------------

    def _gather(self) -> None:
        """Let a burst end: planning takes the interpreter's lock, and the strategy is about to want it."""
        end = -1
        for _ in range(LONGEST_BURST):
            if self._stopping.is_set() or end == self._journal.end():
                return
            end = self._journal.end()
            self._stopping.wait(GATHER)

    def _plan(self) -> None:
        tidy_at = time.monotonic() + HOUSEKEEPING
        while not self._stopping.is_set():
            if not self._wait_for_work(tidy_at):
                continue
            self._gather()
            self._work.clear()
            if time.monotonic() >= tidy_at:
                tidy_at = time.monotonic() + HOUSEKEEPING
                self._outbox.idle()
                self._chores.append(self._planner.adopt)
            caught_up = self._catch_up()
            if not (self._try_store(self._plan_once) and caught_up):
                self._stopping.wait(STORE_RETRY)
                self._work.set()
            for bell in set(self._bells.values()):
                bell.set()
            with self._moved:
                self._moved.notify_all()

    def _wait_for_work(self, until: float) -> bool:
        """Wait until there is something to plan or to tidy; False where it was only time to look at the settings."""
        if self._look is None:
            self._work.wait(max(0.0, until - time.monotonic()))
            return True
        if self._work.wait(max(0.0, min(LOOK_EVERY, until - time.monotonic()))) and time.monotonic() < self._look_at:
            return True
        self._look_at = time.monotonic() + LOOK_EVERY
        try:
            self._look()
        except Exception:
            log.exception("settings could not be looked at; it is tried again")
        return self._work.is_set() or time.monotonic() >= until

    def _plan_once(self) -> None:
        while self._chores:
            self._chores[0]()
            self._chores.popleft()
        self._planner.drain(self._journal)
        if isinstance(self._journal, Journal):
            name = self._journal.name
            with contextlib.suppress(OSError):  # no room for a new file: the old one grows on
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

    # A courier's thread ------------------------------------------------------------------------------

    def _deliver(self, name: str) -> None:
        couriers: dict[str, Courier] = {}
        bell = self._bells[name]
        while not self._stopping.is_set():
            bell.clear()
            for each in [name] if self._parallel else list(self._channels):
                self._renew(each, couriers)
            for gone in couriers.keys() - self._channels.keys():
                _close(couriers.pop(gone))
            # A round over all, until none has anything due; one that fails leaves the others be.
            dues: dict[str, float | None] = {}
            while len(dues) < len(couriers) and not self._stopping.is_set():
                for name_, courier in couriers.items():
                    if self._channels.get(name_) is not courier.channel:  # changed: nothing more with the old settings
                        dues[name_] = self._clock()
                    elif name_ not in dues:
                        self._deliver_one(courier, dues)
                        with self._moved:
                            self._moved.notify_all()
            waits = [due - self._clock() for due in dues.values() if due is not None]
            bell.wait(max(0.001, min([*waits, HOUSEKEEPING])))

    def _renew(self, name: str, couriers: dict[str, Courier]) -> None:
        """Have a courier for the channel as it is configured now."""
        channel, known = self._channels.get(name), couriers.get(name)
        if channel is not None and (known is None or known.channel is not channel):
            couriers[name] = self._make_courier(channel)
            if known is not None:
                _close(known)

    def _deliver_one(self, courier: Courier, dues: dict[str, float | None]) -> None:
        """Deliver one, or note when there is something to do again."""
        name = courier.channel.name
        try:
            if not courier.deliver_one():
                dues[name] = self._outbox.next_due(name)
            elif courier.handed_over in self._bells:
                self._bells[courier.handed_over].set()
        except StoreError as exc:
            log.info("%s", exc)  # the planner says it louder, once
            dues[name] = self._clock() + STORE_RETRY
        except Exception:
            log.exception("delivering for channel %s failed; it is tried again", name)
            dues[name] = self._clock() + STORE_RETRY


def _close(courier: Courier) -> None:
    """Let go of the connections of a channel that is no longer so."""
    try:
        courier.channel.dispatcher.close()
    except Exception:
        log.exception("channel %s could not be closed", courier.channel.name)
