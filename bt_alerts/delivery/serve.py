"""The life of a worker: from its start to a graceful end.

:func:`serve` delivers until it is told to end, finishes what is in flight, gives back what was leased, and checks out.
:func:`serve_once` delivers what is due now.
"""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from bt_alerts.outbox.base import Outbox


class Deliverer(Protocol):
    """What delivers in this process: an :class:`~bt_alerts.AlertManager`."""

    clock: Callable[[], float]

    @property
    def at_rest(self) -> bool: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def channels(self) -> Mapping[str, Any]: ...

    def start(self) -> None: ...

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool: ...

    def close(self, timeout: float | None = None, *, flush: bool = True) -> None: ...


class Ending:
    """SIGTERM and Ctrl-C as something to wait for, without polling. A second one ends the process at once.

    A context manager, for the main thread. Its handler takes no lock, because the thread that it interrupts may hold
    it. The interpreter writes each signal into a pipe: a process that was frozen may get it on another thread, which
    would leave the main one asleep.
    """

    def __init__(self) -> None:
        self.asked = False
        self._wake, self._waker = os.pipe()
        self._before: dict[signal.Signals, Any] = {}
        self._waker_before = -1

    def __enter__(self) -> Self:
        if os.name != "nt":  # where it takes no pipes
            os.set_blocking(self._waker, False)
            self._waker_before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if os.name != "nt":
            signal.set_wakeup_fd(self._waker_before)
        os.close(self._wake)
        os.close(self._waker)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True

    def wait(self, seconds: float | None) -> bool:
        """Wait until somebody asked for the end; whether it came."""
        if os.name == "nt":  # where select takes no pipes
            time.sleep(0.0 if self.asked else 0.2 if seconds is None else min(0.2, seconds))
            return self.asked
        end = None if seconds is None else time.monotonic() + seconds
        while not self.asked:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._wake], [], [], left)[0]:
                break
            os.read(self._wake, 4096)  # another signal may have been the reason
        return self.asked


def serve(manager: Deliverer, ending: Ending, tell: Callable[[], None] | None = None) -> None:
    """Deliver until the end is asked for, then finish what is in flight, give back what was leased, and check out.

    Args:
        manager: what delivers here.
        ending: what asks for the end.
        tell: called every second, to show how it goes.
    """
    manager.start()
    try:
        while not ending.wait(None if tell is None else 1.0):
            if tell is not None:
                tell()
    finally:
        manager.close(flush=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """What one go of a worker came to, for one channel.

    Args:
        channel: its name.
        delivered: went out.
        failed: are dead letters, expired, or held because the channel refused its credentials.
        waiting: failed and are to be tried again later.
        later: are due later anyway.
    """

    channel: str
    delivered: int
    failed: int
    waiting: int
    later: int


def serve_once(manager: Deliverer, ending: Ending, longest: float = 3600.0) -> list[Done]:
    """Plan what there is, deliver what is due now, and tell what became of it.

    Args:
        manager: what delivers here.
        ending: asks for an end before.
        longest: seconds after which it ends in any case.

    Raises:
        StoreError: where the store cannot be written, so that nothing can be delivered.
    """
    outbox, names = manager.outbox, tuple(manager.channels)
    with outbox.transaction():
        pass
    before = _counts(outbox, names)
    manager.start()

    def over() -> bool:
        if ending.asked:
            return True
        if not manager.at_rest:
            return False
        now = manager.clock()
        pending, due = outbox.pending(names, now)
        return pending == 0 or due is None or due > now

    manager.wait_until(over, longest)
    after = _counts(outbox, names)

    def more(name: str, *states: str) -> int:
        return sum(after.get((name, state), 0) - before.get((name, state), 0) for state in states)

    tried = dict(outbox.rows(_TRIED))
    return [
        Done(
            channel=name,
            delivered=more(name, "delivered", "digested"),
            failed=more(name, "dead", "expired", "held"),
            waiting=tried.get(name, 0),
            later=after.get((name, "pending"), 0) - tried.get(name, 0),
        )
        for name in names
    ]


_TRIED = "SELECT channel, count(*) FROM deliveries WHERE state = 'pending' AND attempts > 0 GROUP BY channel"


def _counts(outbox: Outbox, names: tuple[str, ...]) -> dict[tuple[str, str], int]:
    rows = outbox.rows("SELECT channel, state, count(*) FROM deliveries GROUP BY channel, state")
    return {(channel, state): n for channel, state, n in rows if channel in names}
