"""The drawer: has pictures of alerts drawn by a process of its own, so that drawing never slows a strategy.

Drawing takes a tenth of a second of the interpreter's lock, and importing what it needs half a second; in a thread the
strategy would wait for both. The process (:mod:`bt_alerts.render.drawing_process`) is started by the first picture, and
ends when it was idle for a minute, when :meth:`Drawer.close` is called, or with this process, however that ends.

Promises
--------
*The text does not wait long.* A picture has one deadline, with everything that it takes. What is not there by then is
None, and a process that failed twice in a row is left alone for a minute.

*Nothing leaks.* The process gets what it draws, and an environment without the variables that hold credentials. What
it writes to its standard error goes nowhere.

*A fork* of this process starts a drawing process of its own.

The files of a report are made the same way, within one deadline for all of them; its table is written here, because it
needs no matplotlib and takes no time.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import hashlib
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bt_alerts.alert import Alert, Attachment
from bt_alerts.render.drawing_process import (
    HOPELESS,
    PICTURE,
    DrawingProcess,
    NoPython,
    python_command,
    report_request,
    request,
)

log = logging.getLogger("bt_alerts.charts")

DEADLINE = 10.0  # seconds for one picture
IDLE = 60.0  # seconds after which the process is ended
REST = 60.0  # seconds without pictures after two failures in a row
STARTING = 120.0  # seconds that the first start on a machine may take: matplotlib looks through all fonts
KEPT_FOR = 86_400.0  # seconds after which a picture's file is removed; it can be drawn again
REMEMBERED = 64  # pictures: one alert goes to several channels

_FILE = re.compile(r"[0-9a-f]{64}\.(png|pdf|csv)")


class Spoiled(enum.Enum):
    """What a failure says of the pictures to come."""

    NOTHING = enum.auto()
    PROCESS = enum.auto()  # it is gone; the next one has another
    ALERT = enum.auto()  # this one cannot be drawn
    EVERYTHING = enum.auto()  # none can


class NotDrawn(Exception):
    """There is no picture; the text says why."""

    def __init__(self, why: str, spoiled: Spoiled = Spoiled.NOTHING) -> None:
        super().__init__(why)
        self.spoiled = spoiled


class _Style(NamedTuple):
    dark: bool
    zone: str
    privacy: str


_Key = tuple[str, _Style, str]  # id of the alert, how it was drawn, and the name of the file


class _Job(NamedTuple):
    """One file that is asked for: of which alert, what it is called, and what asks for it."""

    key: _Key
    title: str
    what: str
    content_type: str
    request: Callable[[], bytes]

    @property
    def name(self) -> str:
        return self.key[2]


class Drawer:
    """Draws for one manager. May be called from several threads.

    Args:
        folder: where pictures are kept for a day; None for a temporary folder, which goes with the drawer.
        deadline: seconds for one picture.
        idle: seconds without a picture after which the process is ended.
        command: what draws; for tests.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        deadline: float = DEADLINE,
        idle: float = IDLE,
        command: list[str] | None = None,
    ) -> None:
        self._given_folder = folder
        self._deadline = deadline
        self._idle = idle
        self._command = command
        self._closed = False
        self._hopeless = False
        self._forget_process()
        _living.add(self)

    def _forget_process(self) -> None:
        self._lock = threading.Lock()
        self._process: DrawingProcess | None = None
        self._timer: threading.Timer | None = None
        self._folder: Path | None = None
        self._clean_up: weakref.finalize[..., Drawer] | None = None  # removes a temporary folder
        self._tidied = 0.0
        self._failures = 0
        self._rest_until = 0.0
        self._drawn: collections.OrderedDict[_Key, Attachment | None] = collections.OrderedDict()

    def draw(self, alert: Alert, *, dark: bool = False, zone: str = "UTC", privacy: str = "off") -> Attachment | None:
        """The picture of an alert that has bars; None where there is none, and a line in the log says why.

        Args:
            alert: which one.
            dark: light lines on a dark ground.
            zone: name of the reader's time zone.
            privacy: as in :func:`~bt_alerts.render.alert_chart.alert_chart`.
        """
        if alert.bars is None or self._closed or self._hopeless:
            return None
        style = _Style(dark, zone, privacy)
        key = alert.id, style, _file_name(alert.symbol)
        job = _Job(key, alert.title, "picture", "image/png", lambda: request(alert, **style._asdict()))
        return self._safely(job, time.monotonic() + self._deadline)

    def report(
        self, alert: Alert, *, dark: bool = False, privacy: str = "off", files: bool = True
    ) -> tuple[Attachment, ...]:
        """The files of a report: those that could be made, and a line in the log about each other one.

        Args:
            alert: of :func:`bt_alerts.summary.summary`; another one, and one without a closed trade, has none.
            dark: as in :meth:`draw`; a document is always light.
            privacy: as in :func:`bt_alerts.render.report_files.shown`.
            files: False for the picture alone.
        """
        if self._closed or not alert.kind.startswith("report."):
            return ()
        from bt_alerts.render import report_files

        try:
            told = report_files.report_of(alert)
            if told is None:
                return ()
            seen = report_files.shown(told, privacy)
        except Exception as exc:  # not as a report of ours is, or of a newer version
            log.warning("no files of %r: %s: %s", alert.title, type(exc).__name__, exc)
            return ()

        def content_of(name: str) -> bytes:
            table = name == report_files.TABLE
            return report_files.trades_csv(seen) if table else report_request(seen, name, dark=dark)

        until = time.monotonic() + self._deadline
        found = []
        for name in report_files.CONTENT_TYPES if files else (report_files.PICTURE,):
            key = alert.id, _Style(dark and name == report_files.PICTURE, "", privacy), name
            job = _Job(key, alert.title, name, report_files.CONTENT_TYPES[name], functools.partial(content_of, name))
            found.append(self._safely(job, until, written=name == report_files.TABLE))
        return tuple(file for file in found if file is not None)

    def _safely(self, job: _Job, until: float, *, written: bool = False) -> Attachment | None:
        """A file by ``until`` (monotonic seconds): drawn, or ``written`` here."""
        if self._hopeless and not written:
            return None
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            log.warning("no %s of %r: others take too long", job.what, job.title)
            return None
        try:
            return self._write(job) if written else self._draw(job, until)
        except Exception as exc:  # whatever it is, the text must go
            log.warning("no %s of %r: %s: %s", job.what, job.title, type(exc).__name__, exc)
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, and remove the temporary folder. What is drawn afterwards is None."""
        self._closed = True
        if (process := self._process) is not None:
            process.end()  # before the lock: it may be held for a picture that takes long
        with self._lock:
            self._end()
            if self._clean_up is not None:
                self._clean_up()

    # With the lock -----------------------------------------------------------------------------------

    def _draw(self, job: _Job, until: float) -> Attachment | None:
        if job.key in self._drawn:
            known = self._drawn[job.key]
            if known is None or self._still_there(known):
                return known
        if time.monotonic() < self._rest_until:
            return None
        try:
            content = self._ask(job.request(), until)
        except NotDrawn as exc:
            log.warning("no %s of %r: %s%s", job.what, job.title, exc, self._consequence(exc, job.key))
            return None
        finally:
            self._end_when_idle()
        self._failures = 0
        picture = self._keep(content, job.name, job.content_type)
        self._remember(job.key, picture)
        return picture

    def _write(self, job: _Job) -> Attachment:
        known = self._drawn.get(job.key)
        if known is None or not self._still_there(known):
            known = self._keep(job.request(), job.name, job.content_type)
            self._remember(job.key, known)
        return known

    def _ask(self, request: bytes, until: float) -> bytes:
        """Have one drawn by ``until`` (monotonic seconds). Raises ``NotDrawn``."""
        if self._process is not None and self._process.ended:
            self._end()
        process = self._process = self._process or _started(self._command)
        if not process.ready.wait(max(0.0, min(until, process.began + self._deadline) - time.monotonic())):
            if time.monotonic() - process.began > STARTING:
                raise NotDrawn("the drawing process does not start", Spoiled.PROCESS)
            raise NotDrawn("the drawing process is still starting, which takes long the first time on a machine")
        try:
            kind, content = process.ask(request).result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            raise NotDrawn(f"it was not drawn within {self._deadline:g} s", Spoiled.PROCESS) from None
        except EOFError as exc:
            raise NotDrawn(f"the drawing process ended: {exc}", Spoiled.PROCESS) from None
        if kind == PICTURE:
            return content
        raise NotDrawn(content.decode("utf-8", "replace"), Spoiled.EVERYTHING if kind == HOPELESS else Spoiled.ALERT)

    def _consequence(self, failed: NotDrawn, key: _Key) -> str:
        """What a failure means for the pictures to come, also in words."""
        if failed.spoiled is Spoiled.ALERT:
            self._remember(key, None)
        elif failed.spoiled is Spoiled.EVERYTHING:
            self._hopeless = True
            self._end()
            return "; alerts go without pictures"
        elif failed.spoiled is Spoiled.PROCESS:
            self._end()
            self._failures += 1
            if self._failures == 2:
                self._failures, self._rest_until = 0, time.monotonic() + REST
                return f"; for the second time, so alerts go without pictures for {REST:g} s"
        return ""

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        process, self._process, self._timer = self._process, None, None
        if process is not None:
            process.end()

    def _end_when_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._process is not None:
            self._timer = threading.Timer(self._idle, self._idled)
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread can be started: the process ends with this one
                self._timer.start()

    def _idled(self) -> None:
        with self._lock:
            if threading.current_thread() is self._timer:  # otherwise it was in use meanwhile
                self._end()

    # Files -------------------------------------------------------------------------------------------

    def _remember(self, key: _Key, picture: Attachment | None) -> None:
        self._drawn[key] = picture
        while len(self._drawn) > REMEMBERED:
            self._drawn.popitem(last=False)

    @staticmethod
    def _still_there(picture: Attachment) -> bool:
        try:
            os.utime(picture.path)  # so that it is not tidied away while it is sent
        except OSError:
            return False
        return True

    def _keep(self, content: bytes, name: str, content_type: str = "image/png") -> Attachment:
        """Write a file under its hash."""
        digest = hashlib.sha256(content).hexdigest()
        file = self._pictures() / (digest + Path(name).suffix)
        if not file.exists():
            part = file.with_suffix(f".{os.getpid()}.part")
            try:
                part.write_bytes(content)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)
        return Attachment(name, content_type, digest, len(content), str(file.resolve()))

    def _pictures(self) -> Path:
        if self._folder is None:
            self._folder = self._given_folder
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="bt_alerts-"))
                self._clean_up = weakref.finalize(self, shutil.rmtree, self._folder, True)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        if now - self._tidied > KEPT_FOR / 24:
            self._tidied = now
            for file in self._folder.glob("*.*"):
                with contextlib.suppress(OSError):
                    if _FILE.fullmatch(file.name) and now - file.stat().st_mtime > KEPT_FOR:
                        file.unlink()
        return self._folder

    # A fork ------------------------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:
        """Process and folder are the parent's; the process must see its input end when the parent does."""
        if self._process is not None:
            self._process.abandon()
        if self._clean_up is not None:
            self._clean_up.detach()
        self._forget_process()


_living: weakref.WeakSet[Drawer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for drawer in list(_living):
        drawer._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _file_name(symbol: str) -> str:
    """Of the picture of an alert."""
    name = re.sub(r"[^\w.-]+", "_", symbol).strip("._") or "chart"
    return f"{name[:60]}.png"


def _started(command: list[str] | None) -> DrawingProcess:
    try:
        return DrawingProcess(command or python_command())
    except NoPython as exc:
        raise NotDrawn(str(exc), Spoiled.EVERYTHING) from None
    except (OSError, RuntimeError) as exc:
        raise NotDrawn(f"the drawing process cannot be started: {exc}", Spoiled.PROCESS) from None
