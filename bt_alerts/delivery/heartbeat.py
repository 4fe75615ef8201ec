"""The heartbeat: pings an outside check while a live run goes on, so that somebody hears of a machine that is gone.

The check is of the healthchecks.io kind: it expects a ping every so often and raises the alarm itself where none comes.

Promises
--------
*A ping means something.* It is sent only after a line went through this process's journal and planner into the store.
Where that fails, or the run crashes, the check is told to fail, and gets no ping until it works again.

*In nobody's way.* One thread of its own; a ping takes :data:`TIMEOUT` seconds at most and is not repeated: the next
one is as good. A check that cannot be reached is said once in the log, and once when it is back.

*The address is a secret.* It is in no log and no exception. What is sent along is a line of plain text without details.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from bt_alerts.redact import redact, register_secret

if TYPE_CHECKING:
    from bt_alerts.dispatchers.http import HttpClient

log = logging.getLogger("bt_alerts.heartbeat")

TIMEOUT = 5.0  # seconds for one ping
LAST_SECONDS = 6.0  # how long the end of a run waits for the last ping


class Heartbeat:
    """Pings one check from :meth:`start` to :meth:`end`.

    Args:
        url: of the check; secret.
        trouble: says why alerts are not handled just now, and "" where they are; may take seconds.
        every: seconds between two pings.
        about: a line for the first ping, such as the names of the strategies.
    """

    def __init__(self, url: str, trouble: Callable[[], str], *, every: float = 60.0, about: str = "") -> None:
        _register(url)
        self._url = url
        self._trouble = trouble
        self._every = every
        self._about = about
        self._client: HttpClient | None = None
        self._over = threading.Event()
        self._crash = ""
        self._failing = False  # the check was told to fail
        self._unreachable = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        """Begin to ping."""
        self._thread = threading.Thread(target=self._run, name="bt_alerts ping", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:  # the interpreter ends, or the system has no threads left
            self._thread = None
            log.error("the check of watch.ping_url gets no pings (%s)", exc)

    def end(self, crash: str = "") -> None:
        """The run is over: as it should be, or by a crash of this name. The last ping is sent by the thread."""
        if self._thread is not None and os.getpid() == self._pid:  # in a forked child it is the parent's to end
            self._crash = crash
            self._over.set()

    def wait(self, timeout: float = LAST_SECONDS) -> None:
        """Wait for the last ping, so many seconds at most."""
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.join(timeout)

    # The thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._ping("/start", self._about)
            while not self._over.is_set():
                self._beat()
                self._over.wait(self._every)
            if self._crash:
                self._ping("/fail", f"ended by {self._crash}")
            elif not self._failing:
                self._ping("", "ended")
        except Exception as exc:  # nothing of it is the strategy's matter; the check raises the alarm
            log.error("the pings of watch.ping_url end: %s", type(exc).__name__)
        finally:
            if self._client is not None:
                self._client.close()

    def _beat(self) -> None:
        trouble = self._trouble()
        if not trouble:
            if self._ping("", ""):
                self._failing = False
        elif not self._failing:
            self._failing = self._ping("/fail", trouble)

    def _ping(self, signal: str, body: str) -> bool:
        from bt_alerts.dispatchers.base import DeliveryFailed
        from bt_alerts.dispatchers.http import HttpClient, raise_for_status

        if self._client is None:
            self._client = HttpClient(connections=1)
        try:
            answer = self._client.request(
                "POST",
                _with(self._url, signal),
                timeout=TIMEOUT,
                data=redact(body)[:500].encode(),
                headers={"Content-Type": "text/plain; charset=utf-8"},
            )
            raise_for_status(answer)
            unknown = b"not found" in answer.body[:100]  # healthchecks.io says so with a status of 200
            problem = f"{answer.host} does not know this check" if unknown else ""
        except DeliveryFailed as failed:
            problem = failed.reason
        if problem and not self._unreachable:
            log.warning("the check of watch.ping_url got no ping: %s; it is tried every %g s", problem, self._every)
        elif self._unreachable and not problem:
            log.info("the check of watch.ping_url gets its pings again")
        self._unreachable = bool(problem)
        return not problem


def _with(url: str, signal: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + signal if signal else parts.path))


def _register(url: str) -> None:
    """The path is what is secret of it, and logs show parts of it; the last of several can be an ordinary word."""
    parts = urlsplit(url)
    pieces = [*parts.path.split("/"), *re.split(r"[&=]", parts.query)]
    pieces = [piece for piece in pieces if len(piece) >= 16 or (len(piece) >= 8 and re.search(r"\d", piece))]
    path = parts.path.strip("/")
    for text in (url, path if len(path) >= 8 else "", parts.password or "", *pieces):
        register_secret(text)
