"""``delivery.worker: process``, the parent's side: has a child that delivers, for as long as this process lives.

The parent starts ``python -m bt_alerts.delivery.child`` and writes the settings, credentials among them, to its
standard input: they are in no argument and no variable. That pipe stays open, and when it ends the child knows that the
parent is gone. What the child says comes back through its standard output, a line of JSON each.

A child that died is started again, with growing pauses, and both are told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bt_alerts.alert import safe_text
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.settings import Settings

log = logging.getLogger("bt_alerts.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0  # seconds before a child that died is started again
HEALTHY_AFTER = 60.0  # seconds that a child must have lived for the pauses to begin anew
TELL_PAST_STORE = 3  # failed starts in a row after which it is told without a worker
LINGER = 600.0  # seconds without progress after which an orphaned child leaves the rest to the next start
HEAD = struct.Struct(">I")  # the length of the orders, in front of them


@dataclasses.dataclass(frozen=True)
class Orders:
    """What a child is told: settings with credentials, and for whose journal it is."""

    settings: Settings
    parent: str
    linger: float = LINGER


class ChildKeeper:
    """Has a child that delivers, for as long as this process lives.

    Args:
        orders: what it is told.
        on_died: told in words why the child is gone, and whether it can be told through the store (a next one will
            deliver) or must be told past it.
        on_recovered: a child delivers again.
    """

    def __init__(self, orders: Orders, on_died: Callable[[str, bool], None], on_recovered: Callable[[], None]) -> None:
        self._orders = orders
        self._on_died = on_died
        self._on_recovered = on_recovered
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._told = self._told_past_store = False
        self._reason = ""  # of its end, as a child put it
        self._pid = os.getpid()
        self._leaving = threading.Event()
        self._again = threading.Event()
        self._starting = threading.Lock()
        _living.add(self)

    @property
    def missing(self) -> bool:
        """Children ended as soon as they were started."""
        return self._failures >= TELL_PAST_STORE

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        process = self._process
        return None if process is None else process.pid

    def stand_by(self, look: Callable[[], float], stopping: threading.Event) -> None:
        """Have a child until ``stopping``; see :class:`bt_alerts.delivery.handover.Keeper`."""
        while not stopping.is_set():
            begun = time.monotonic()
            reason = self._live(look, stopping)
            if stopping.is_set():
                return
            if time.monotonic() - begun > HEALTHY_AFTER:
                self._failures = 0
            self._failures += 1
            self._tell_died(reason)
            look()
            self._again.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 4 ** (self._failures - 1)))

    def _tell_died(self, reason: str) -> None:
        log.error("the process that delivers is gone (%s); it is started again", reason)
        if not self._told:
            self._told = True
            self._on_died(reason, True)
        if self.missing and not self._told_past_store:
            self._told_past_store = True
            self._on_died(reason, False)

    def _live(self, look: Callable[[], float], stopping: threading.Event) -> str:
        """One child, from its start to its end; returns why it ended."""
        try:
            with self._starting:
                if self._leaving.is_set():
                    return ""
                process = self._process = _start(self._orders)
        except (OSError, NoPython) as exc:
            return safe_text(redact(exc))
        assert process.stdout is not None
        with io.BufferedReader(process.stdout) as said, contextlib.suppress(OSError, ValueError):  # type: ignore[type-var]
            for line in said:
                self._hear(line)
                if not stopping.is_set():
                    look()
        code = process.wait()
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        reason, self._reason = self._reason, ""
        return f"{ended}: {reason}" if reason else ended

    def _hear(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            if "log" in row:
                level, name, text = row["log"]
                logging.getLogger(str(name)).log(int(level), "%s", text)
            if "print" in row:
                stream, text = row["print"]
                file = sys.stdout if stream == "stdout" else sys.stderr
                if file is not None:
                    file.write(str(text))
                    file.flush()
            if "reason" in row:
                self._reason = redact(row["reason"])
            if "ready" in row and self._told:
                self._told = self._told_past_store = False
                self._on_recovered()

    def hurry(self) -> None:
        """The child's signs of life are what makes us look; there is one every few seconds."""

    def leave(self) -> None:
        """Let the child know that nothing more will come. It goes on until everything is delivered."""
        self._leaving.set()
        self._again.set()
        with self._starting:
            process = self._process
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()

    def abandon(self) -> None:
        """In a forked process: the child must see its parent's end, so nobody else may hold its pipe."""
        self._starting = threading.Lock()
        process = self._process
        if process is not None and os.getpid() != self._pid:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        os.close(pipe.fileno())
            process.returncode = 0  # not ours to wait for
            self._process = None


class NoPython(Exception):
    """There is no interpreter to start; the text says what to do."""


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    python = sys.executable or ""
    if getattr(sys, "frozen", False) or not re.match(r"(?i)(python|pypy)", Path(python).name):
        raise NoPython(
            "`delivery: {worker: process}` needs an ordinary Python, and this program brings its own: write `worker: "
            "thread`, or `worker: external` and run `bt-alerts worker`"
        )
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    process = subprocess.Popen(
        [python, "-P", "-m", "bt_alerts.delivery.child"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Not ours: who waits for the end of our output would wait for the child's.
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    content = pickle.dumps(orders)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once; its end says more
        _write(process.stdin, HEAD.pack(len(content)) + content)
    return process


def _write(pipe: IO[bytes], content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[pipe.write(left) or 0 :]


#: Keepers of this process; a fork must let go of their pipes.
_living: weakref.WeakSet[ChildKeeper] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for keeper in list(_living):
        keeper.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
