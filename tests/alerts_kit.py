"""What the tests of storage and delivery share: a clock that is told the time, and processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from bt_alerts import Alert, AlertManager
from bt_alerts.delivery.engine import Engine
from bt_alerts.errors import StoreError

ROOT = Path(__file__).parent.parent


class Clock:
    """Unix seconds, whole ones; stands still until it is told to go on."""

    def __init__(self, now: float | None = None) -> None:
        self.now = float(int(time.time())) if now is None else now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def alert(message: object = "something happened", **fields: Any) -> Alert:
    return Alert.make(message, **fields)


def webhook(*urls: str, **more: Any) -> dict[str, Any]:
    """Settings of a webhook channel; without a limit, so that pacing is a test's own choice."""
    return {"type": "webhook", "urls": list(urls), "rate_limit": 0, **more}


# In one statement, because a courier can begin or end between two.
_BUSY = """
SELECT count(*) FROM deliveries d
JOIN targets t ON t.channel = d.channel AND t.target = d.target
JOIN channels c ON c.channel = d.channel
WHERE d.state = 'pending'
AND (t.owner IS NOT NULL OR max(d.due, t.not_before, t.open_until, t.paced_until, c.not_before) <= ?)
"""


def rest(manager: AlertManager) -> None:
    """Wait until nothing that is due by the manager's clock is left to do."""

    manager.start()
    engine = manager._intake.engine

    def resting() -> bool:
        alarm = getattr(engine, "_alarm", None)
        if alarm is not None and alarm <= manager.clock():  # the rules want to hear what time it is
            return False
        with contextlib.suppress(StoreError):
            return next(manager.outbox.rows(_BUSY, (manager.clock(),)))[0] == 0
        return False

    def twice() -> bool:  # what is given up is told after it is settled, and planned after that
        if not resting() or getattr(engine, "_delivering", None) or _planning(engine):
            return False
        return bool(manager.ledger()) and resting()

    until(lambda: manager.ledger() and (manager.flush(0), twice())[1], timeout=30)


def _planning(engine: object) -> bool:
    """Whether the engine's planner is about something."""
    for frame in sys._current_frames().values():
        step: FrameType | None = frame
        while step is not None:
            if step.f_code is Engine._plan_once.__code__ and step.f_locals["self"] is engine:
                return True
            step = step.f_back
    return False


def ahead(manager: AlertManager, clock: Clock, seconds: float) -> None:
    """Let time pass, after everything that is due now, and everything that is due by then happen."""
    rest(manager)
    clock.advance(seconds)
    rest(manager)


def until(condition: Callable[[], Any], timeout: float = 20.0) -> None:
    """Wait for what another thread or process does. Raises where it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come within {timeout:g} s")
        time.sleep(0.005)


def python(script: str, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    """Start a program with its output in a pipe."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        **more,
    )


def run_python(script: str, *arguments: object, timeout: float = 60.0) -> str:
    """Run a program to its end and return what it printed. Raises with its errors where it failed."""
    process = python(script, *arguments)
    out, err = process.communicate(timeout=timeout)
    if process.returncode != 0:
        raise AssertionError(f"exit {process.returncode}: {err.decode()}")
    return out.decode()
