"""The engine: one thread that drains and plans, and the couriers' threads. Nothing here runs on the strategy's thread.

Threads block until there is something to do; a wake-up is an event, the wait ends at the next due time. They are
daemons: a process that ends flushes first (:meth:`Engine.flush`), with a deadline, and what is left is sent at the next
start.

A channel with several addresses has several couriers, so that one address that hangs does not delay the others; each
leases the address that it sends to.

In a worker the same engine also makes :mod:`rounds <bt_alerts.delivery.worker>` over the journals of others. Where a
worker elsewhere delivers, :class:`~bt_alerts.delivery.handover.Handover` stands in the engine's place.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.delivery.retention import Retention
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.bell import Bell
from bt_alerts.outbox.journal import AnyJournal, Journal

if TYPE_CHECKING:
    from bt_alerts.delivery.pollers import Pollers

__all__ = ["AnyEngine", "Engine", "Jobs", "Rounds"]

log = logging.getLogger("bt_alerts.engine")

GATHER = 0.002  # seconds of quiet that end a burst of alerts, which is planned in one go and not beside the strategy
LONGEST_BURST = 10  # times GATHER, after which planning begins all the same
LOOK_AGAIN = 0.005  # seconds between two looks of somebody who waits for deliveries
STORE_RETRY = 0.5  # seconds before a store that could not be written is tried again
LOOK_EVERY = 2.0  # seconds between two looks whether settings changed
HOUSEKEEPING = 30.0  # seconds after which the store is tidied, and looked at: another process may have left something


class AnyEngine(Protocol):
    """What a process needs of whatever delivers its alerts, here or elsewhere."""

    def start(self) -> None: ...

    def stop(self, timeout: float) -> None: ...

    def wake(self) -> None: ...

    def catch_up_soon(self) -> None: ...

    def add_channel(self, name: str) -> None: ...

    def change_channel(self, name: str) -> None: ...

    def run_soon(self, job: Callable[[], None]) -> None: ...

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool: ...

    def drained(self, timeout: float) -> bool: ...

    def flush(self, timeout: float) -> bool: ...

    @property
    def at_rest(self) -> bool: ...

    def say_goodbye(self) -> None: ...


class Rounds(Protocol):
    """What an engine does besides its own journal and channels, on the planner's thread."""

    #: Seconds between two looks.
    every: float
    #: There is no strategy in this process that would want the interpreter.
    alone: bool
    #: What there was to do was done at least once.
    rested: bool

    def look(self) -> bool:
        """Whether there is something to do; called every so many seconds, and to cost next to nothing."""

    def go(self) -> None:
        """Do it. Raises :class:`~bt_alerts.errors.StoreError` where the store cannot be used just now."""

    def end(self) -> None:
        """The process ends as it should."""


class Jobs:
    """Runs what is slow on threads of its own, and tells who waits that something moved."""

    def __init__(self) -> None:
        self.moves = 0
        self._moved = threading.Condition()
        self._running: set[object] = set()

    def __bool__(self) -> bool:
        return bool(self._running)

    def run_soon(self, job: Callable[[], None]) -> None:
        """Run something on a thread of its own."""
        token = object()
        self._running.add(token)

        def run() -> None:
            try:
                job()
            except Exception:
                log.exception("a background job of bt_alerts failed")
            self._running.discard(token)
            self.tell()

        if not spawn("bt_alerts job", run).ident:
            self._running.discard(token)

    def tell(self) -> None:
        """Something moved."""
        with self._moved:
            self.moves += 1
            self._moved.notify_all()

    def wait(self, seen: int, timeout: float) -> None:
        """Wait until there were more moves than ``seen``, at most ``timeout`` seconds."""
        with self._moved:
            self._moved.wait_for(lambda: self.moves != seen, timeout)


def spawn(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon; its ``ident`` is None where it cannot begin."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as exc:  # the interpreter ends, or the system has no threads left
        log.error("%s cannot begin (%s): alerts wait in the journal for the next start", name, exc)
    return thread


@dataclasses.dataclass(slots=True)
class _Look:
    """Something to look at now and then."""

    every: float
    call: Callable[[], object]
    at: float = 0.0


class Engine:
    """Runs planner and couriers on threads of their own.

    Args:
        outbox: the store.
        journal: the journal of this process.
        planner: plans what the journal holds.
        channels: the channels by name.
        make_courier: makes the courier of a channel.
        parallel: threads for each channel; False delivers one channel after the other on one thread.
        concurrency: how many addresses of one channel are served at the same time.
        on_store_trouble: told once when the store cannot be written, and with "" when it can again.
        catch_up: called before planning; False where something could not be written and is to be tried again soon.
        tidy: called every :data:`HOUSEKEEPING` seconds, when the store can be written.
        look: called every :data:`LOOK_EVERY` seconds.
        rounds: what a worker does for others, and every process to be seen by others.
        ring: called when the journal had something, for workers elsewhere.
        bell: heard by this engine, because others write what it plans or delivers.
        retention: forgets what is old, on a thread of its own.
        pollers: listen where people may answer, on threads of their own.
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
        concurrency: int = 1,
        on_store_trouble: Callable[[str], None] = lambda reason: None,
        catch_up: Callable[[], bool] = lambda: True,
        tidy: Callable[[], None] = lambda: None,
        look: Callable[[], None] | None = None,
        rounds: Rounds | None = None,
        ring: Callable[[], None] = lambda: None,
        bell: Bell | None = None,
        retention: Retention | None = None,
        pollers: Pollers | None = None,
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
        self._tidy = tidy
        self._concurrency = concurrency
        self._looks = [] if look is None else [_Look(LOOK_EVERY, look)]
        self._rounds = rounds
        self._gathers = rounds is None or not rounds.alone
        if rounds is not None:
            self._looks.append(_Look(rounds.every, rounds.look))
        self._ring_others = ring
        self._bell = bell
        self._unlisten: Callable[[], None] = lambda: None
        self._retention = retention
        self._pollers = pollers
        self._clock = clock
        self._trouble = ""
        #: When the planner's rules want to hear that time passed, in Unix seconds.
        self._alarm: float | None = None
        self._work = threading.Event()
        self._stopping = threading.Event()
        #: What wakes the couriers of a channel, one for each: what one has heard is news to the others.
        self._bells: dict[str, list[threading.Event]] = {}
        self._threads: list[threading.Thread] = []
        self._jobs = Jobs()
        #: Couriers that are about something just now.
        self._delivering: set[Courier] = set()
        self._users: dict[int, int] = {}
        self._users_lock = threading.Lock()
        #: What the store must be told before planning goes on, in order; each stays until it has succeeded.
        self._chores: collections.deque[Callable[[], object]] = collections.deque()

    # Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: adopt what dead processes left, then plan and deliver. The store is not touched on this thread."""
        for name in list(self._channels):
            self.add_channel(name)
        self._chores.append(self._planner.adopt)
        self._threads.append(spawn("bt_alerts planner", self._plan))
        if self._retention is not None:
            self._threads.append(spawn("bt_alerts retention", functools.partial(self._retention.run, self._stopping)))
        if self._bell is not None:
            self._unlisten = self._bell.listen(self.heard)
        self._work.set()

    def add_channel(self, name: str) -> None:
        """Deliver for one more channel."""
        fingerprint = self._channels[name].fingerprint
        self._chores.append(lambda: self._outbox.enable_channel(name, fingerprint))
        if not self._parallel and self._bells:
            self._bells[name] = next(iter(self._bells.values()))
        else:
            self._bells.setdefault(name, [])
            self._man(name)
        self._look_for_listeners()
        self._work.set()

    def change_channel(self, name: str) -> None:
        """Deliver for a channel as it is now; its couriers take the new one up when they have nothing under way."""
        if name not in self._bells:
            self.add_channel(name)
            return
        fingerprint = self._channels[name].fingerprint
        self._chores.append(lambda: self._outbox.enable_channel(name, fingerprint))
        self._man(name)
        self._look_for_listeners()
        self._work.set()

    def _look_for_listeners(self) -> None:
        if self._pollers is not None:
            self._pollers.look()

    def _man(self, name: str) -> None:
        """Have as many couriers for a channel as it has use for."""
        bells = self._bells[name]
        wanted = self._channels[name].at_once(self._concurrency) if self._parallel else 1
        while len(bells) < wanted:
            bell = threading.Event()
            bells.append(bell)
            title = f"bt_alerts courier {name if self._parallel else ''}".rstrip()
            number = f" {len(bells)}" if len(bells) > 1 else ""
            self._threads.append(spawn(f"{title}{number}", lambda bell=bell: self._deliver(name, bell)))  # type: ignore[misc]

    def wake(self) -> None:
        """There is something in the journal."""
        if not self._work.is_set():
            self._work.set()

    def catch_up_soon(self) -> None:
        """Something could not be written; it is to be tried again."""
        self._work.set()

    def heard(self) -> None:
        """Another process may have written into the store, or into a journal that we drain."""
        self._work.set()

    def run_soon(self, job: Callable[[], None]) -> None:
        """Run something slow on a thread of its own, where it delays nothing (checks of channels, news of trouble)."""
        self._jobs.run_soon(job)

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
            moves = self._jobs.moves
            if bool(self._jobs) or not self._is_drained():  # in this order: a job may end with an alert
                return False
            if not nothing_due(self._outbox, tuple(self._channels), self._clock(), deadline - time.monotonic()):
                return False
            # A courier tells of a loss, with an alert, after it has settled it.
            return not self._delivering and moves == self._jobs.moves

        try:
            return self._wait_for(done, timeout) and self._outbox.pending(tuple(self._channels), self._clock())[0] == 0
        except StoreError:
            return False

    @property
    def at_rest(self) -> bool:
        """Everything accepted is planned, as far as the store can be read."""
        with contextlib.suppress(StoreError):
            return self._is_drained()
        return False

    def _is_drained(self) -> bool:
        if self._rounds is not None and not self._rounds.rested:
            return False
        end = self._journal.end()  # first: a new file may take the old one's place in between
        return not self._chores and self._outbox.position(self._journal.name) >= end

    def _wait_for(self, done: Callable[[float], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self._work.set()
        while True:
            seen = self._jobs.moves
            with contextlib.suppress(StoreError):
                if done(deadline):
                    return True
            left = deadline - time.monotonic()
            if left <= 0 or self._stopping.is_set():
                return False
            self._jobs.wait(seen, min(left, 0.25))
            # Not after every single delivery: each look takes time from what is waited for.
            self._stopping.wait(min(left, LOOK_AGAIN))

    def stop(self, timeout: float) -> None:
        """End the threads; what is in flight may take until ``timeout`` seconds."""
        self._stopping.set()
        self._unlisten()
        self._work.set()
        self._ring()
        deadline = time.monotonic() + timeout
        if self._pollers is not None:
            self._pollers.stop(timeout)
        for thread in list(self._threads):
            if thread.ident:
                thread.join(max(0.0, deadline - time.monotonic()))

    def say_goodbye(self) -> None:
        """Tell the store that this process ends as it should. Raises :class:`~bt_alerts.errors.StoreError`."""
        if self._rounds is not None:
            self._rounds.end()

    def _ring(self, name: str | None = None) -> None:
        """Wake the couriers of a channel, or all."""
        for bells in list(self._bells.values()) if name is None else [self._bells.get(name, [])]:
            for bell in bells:
                bell.set()

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
            if self._gathers:
                self._gather()
            self._work.clear()
            if time.monotonic() >= tidy_at:
                tidy_at = time.monotonic() + HOUSEKEEPING
                self._outbox.idle()
                self._chores += [self._planner.adopt, self._tidy]
            caught_up = self._catch_up()
            if not (self._try_store(self._plan_once) and caught_up):
                self._stopping.wait(STORE_RETRY)
                self._work.set()
            self._ring()
            self._jobs.tell()

    def _wait_for_work(self, until: float) -> bool:
        """Wait until there is something to plan or to tidy; False where it was only time for a look."""
        soonest = min([until, *(look.at for look in self._looks)])
        wait = soonest - time.monotonic()
        if self._alarm is not None:
            wait = min(wait, self._alarm - self._clock())
        self._work.wait(max(0.0, wait))
        for look in self._looks:
            if time.monotonic() < look.at:
                continue
            look.at = time.monotonic() + look.every
            try:
                if look.call():
                    self._work.set()
            except Exception:
                log.exception("it could not be seen whether something changed; it is tried again")
        due = self._alarm is not None and self._clock() >= self._alarm
        return due or self._work.is_set() or time.monotonic() >= until

    def _plan_once(self) -> None:
        # First: what was said by then is heard before the rules hear that it is so late. An acknowledgement at the last
        # moment is one.
        now = self._clock()
        while self._chores:
            self._chores[0]()
            self._chores.popleft()
        if self._planner.drain(self._journal):
            self._ring_others()
        if isinstance(self._journal, Journal):
            name = self._journal.name
            with contextlib.suppress(OSError):  # no room for a new file: the old one grows on
                if self._journal.rotate_if_drained(self._outbox.position(name)) is not None:
                    with self._outbox.transaction() as tx:
                        tx.set_position(name, -1)
        if self._rounds is not None:
            self._rounds.go()
        self._alarm = self._planner.tick(now)

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

    def _deliver(self, name: str, bell: threading.Event) -> None:
        couriers: dict[str, Courier] = {}
        while not self._stopping.is_set():
            bell.clear()
            for each in [name] if self._parallel else list(self._channels):
                self._renew(each, couriers)
            for gone in couriers.keys() - self._channels.keys():
                if _settled(couriers[gone]):
                    self._let_go(couriers.pop(gone))
            # A round over all, until none has anything due; one that fails leaves the others be.
            dues: dict[str, float | None] = {}
            # Where they take turns, news ends the round: it may be for one that had nothing to do.
            news = threading.Event() if self._parallel else bell
            while len(dues) < len(couriers) and not (self._stopping.is_set() or news.is_set()):
                for name_, courier in couriers.items():
                    if self._channels.get(name_) is not courier.channel:  # changed: nothing more with the old settings
                        dues[name_] = self._clock() + (STORE_RETRY if name_ not in self._channels else 0.0)
                    elif name_ not in dues:
                        self._deliver_one(courier, dues)
            waits = [due - self._clock() for due in dues.values() if due is not None]
            bell.wait(max(0.001, min([*waits, HOUSEKEEPING])))
        for courier in couriers.values():
            _settled(courier)

    def _renew(self, name: str, couriers: dict[str, Courier]) -> None:
        """Have a courier for the channel as it is configured now."""
        channel, known = self._channels.get(name), couriers.get(name)
        if channel is not None and (known is None or known.channel is not channel):
            with self._users_lock:
                self._users[id(channel)] = self._users.get(id(channel), 0) + 1
            couriers[name] = self._make_courier(channel)
            couriers[name].on_settled = functools.partial(self._moved, couriers[name])
            if known is not None:
                couriers[name].take_over(known)
                self._let_go(known)

    def _moved(self, courier: Courier) -> None:
        """Something is settled. Who takes over is woken now, not after the next message, which may take its time."""
        if courier.handed_over:
            self._ring(courier.handed_over)
        self._jobs.tell()

    def _let_go(self, courier: Courier) -> None:
        """Close the connections of a channel that is no longer so, when no courier uses them any more."""
        with self._users_lock:
            left = self._users.pop(id(courier.channel)) - 1
            if left:
                self._users[id(courier.channel)] = left
        if not left:
            _close(courier)

    def _deliver_one(self, courier: Courier, dues: dict[str, float | None]) -> None:
        """Deliver one, or note when there is something to do again."""
        name = courier.channel.name
        self._delivering.add(courier)
        try:
            # Alone it is here again at once; where others have their turn first, it settles before them.
            if not (courier.deliver_next() if self._parallel else courier.deliver_one()):
                dues[name] = self._outbox.next_due(name, self._clock())
        except StoreError as exc:
            log.info("%s", exc)  # the planner says it louder, once
            dues[name] = self._clock() + STORE_RETRY
        except Exception:
            log.exception("delivering for channel %s failed; it is tried again", name)
            dues[name] = self._clock() + STORE_RETRY
        finally:
            self._delivering.discard(courier)
            self._jobs.tell()


def nothing_due(outbox: Outbox, channels: tuple[str, ...], now: float, within: float) -> bool:
    """Whether nothing is pending that is to be tried within so many seconds."""
    pending, due = outbox.pending(channels, now)
    return pending == 0 or due is None or due - now > within


def _settled(courier: Courier) -> bool:
    """Settle what is open; False where the store cannot be written just now."""
    try:
        courier.settle()
    except StoreError as exc:
        log.info("%s", exc)
        return False
    except Exception:
        log.exception("what channel %s delivered could not be written down", courier.channel.name)
    return True


def _close(courier: Courier) -> None:
    try:
        courier.channel.dispatcher.close()
    except Exception:
        log.exception("channel %s could not be closed", courier.channel.name)
