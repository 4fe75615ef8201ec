"""``delivery.worker: process``, the child: delivers for one strategy's process, and outlives it.

When its standard input ends the parent is gone, however it ended: the child drains what is left, tells of a death where
no goodbye was said, delivers, and ends when nothing is pending or nothing moves any more. What is left then is for the
next start.

It has a session of its own: Ctrl-C and the end of the terminal are not for it. SIGTERM, which a service manager sends
to all that belongs to a service, lets it go on for as long as its parent lives, and then for ``flush_timeout`` seconds;
a second one ends it at once. It writes nothing to its parent's terminal; what it logs goes through a pipe into the
parent's log, and is dropped where nobody reads it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import pickle
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import safe_text
from bt_alerts.delivery.keeper import HEAD, Orders
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.delivery.serve import Ending
    from bt_alerts.manager import AlertManager

log = logging.getLogger("bt_alerts.worker")

MOST_PRINTED = 600  # characters in one line to the parent, which must fit into what a pipe takes whole
TICK = 10.0  # seconds between two signs of life
LET_GO = 0.05  # seconds for a parent that ends to let go of its journal too; a pipe can be the first to go


class _Parent:
    """The pipe to the parent. Nothing that is said to it may hold anything up: what it does not take is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._lock = threading.Lock()
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):  # Windows: a pipe of ours blocks
                os.set_blocking(descriptor, False)

    def say(self, row: dict[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        if len(line) > 4000:  # not atomic any more
            return
        with self._lock, contextlib.suppress(OSError):
            os.write(self._fd, line)


class _Printed(io.TextIOBase):
    """What a console channel prints comes out where the strategy prints."""

    def __init__(self, parent: _Parent, stream: str) -> None:
        self._parent = parent
        self._stream = stream

    def write(self, text: str) -> int:
        for start in range(0, len(text), MOST_PRINTED):
            self._parent.say({"print": [self._stream, text[start : start + MOST_PRINTED]]})
        return len(text)


class _Told(logging.Handler):
    """Sends the log to the parent."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__(logging.INFO)
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            text = safe_text(redact(record.getMessage()), 2000)
            if record.exc_info and record.exc_info[0] is not None:
                text += f" ({record.exc_info[0].__name__})"
            self._parent.say({"log": [record.levelno, record.name, text]})


def main() -> None:
    """The life of a child."""
    parent = _Parent(os.dup(1))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = _Printed(parent, "stdout"), _Printed(parent, "stderr")
    try:
        orders = _read_orders()
        if orders is not None:
            _deliver(orders, parent)
    except Exception as exc:  # a traceback would be lost, or quote what is secret
        parent.say({"reason": safe_text(redact(f"{type(exc).__name__}: {exc}"), 500)})
        sys.exit(1)


def _deliver(orders: Orders, parent: _Parent) -> None:
    """Deliver until the parent is gone, and what it left after that."""
    from bt_alerts.delivery.engine import spawn
    from bt_alerts.delivery.serve import Ending
    from bt_alerts.delivery.worker import Duty
    from bt_alerts.manager import AlertManager

    logger = logging.getLogger("bt_alerts")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Told(parent))
    ending = Ending().__enter__()  # for the rest of this process
    manager = AlertManager.for_worker(orders.settings, Duty(parent=orders.parent))
    manager.start()
    parent.say({"ready": os.getpid()})
    gone = threading.Event()
    spawn("bt_alerts parent", functools.partial(_wait_for_the_end, gone))
    while not gone.wait(TICK):
        parent.say({"tick": time.time()})
    time.sleep(LET_GO)
    manager.orphaned()
    _linger(manager, ending, orders.linger)
    manager.close(flush=False)


def _wait_for_the_end(gone: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    gone.set()


def _linger(manager: AlertManager, ending: Ending, longest: float) -> None:
    """Deliver what the parent left, until nothing is pending, nothing has moved for long, or we are to end."""
    pause, moved_at = 0.02, time.monotonic()
    until = fewest = float("inf")
    while time.monotonic() < until:
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
        if ending.asked:
            until = min(until, time.monotonic() + manager.settings.delivery.flush_timeout)
        left = manager.left_to_do()
        if left == 0:
            return
        if left < fewest:
            fewest, moved_at = left, time.monotonic()
        elif time.monotonic() - moved_at > longest:
            log.warning("nothing moved for %.0f min: %d deliveries are left to the next start", longest / 60, left)
            return


def _read_orders() -> Orders | None:
    try:
        (length,) = HEAD.unpack(_read(HEAD.size))
        orders = pickle.loads(_read(length))  # from our parent alone: it is our standard input
    except EOFError:
        return None
    return orders if isinstance(orders, Orders) else None


def _read(size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        more = os.read(0, size - len(found))
        if not more:
            raise EOFError
        found += more
    return bytes(found)


if __name__ == "__main__":
    main()
