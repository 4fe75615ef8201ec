"""The process that draws: ``python -m bt_alerts.render.drawing_process``, and this side of the pipes to it.

It reads requests as lines of JSON from its standard input, and answers each with a frame on its standard output: a
letter, a length of four bytes, the content. The first frame says whether it can draw at all. It ends with its input,
and so with the process that started it, however that one ends.

It gets what it is to draw and an environment without the variables that hold credentials. What it writes to its
standard error goes nowhere, and Ctrl-C in the terminal is not for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from bt_alerts.alert import Alert, safe_text

LONGEST = 60.0  # seconds after which it ends by itself in the middle of a picture
MISSING = 'Charts need matplotlib: pip install "bt-alerts[charts]"'
LARGEST = 16 * 1024 * 1024  # bytes of an answer

READY, PICTURE, ERROR, HOPELESS = b"R", b"P", b"E", b"X"
Answer = tuple[bytes, bytes]  # one of these letters, and the content
_HEAD = struct.Struct(">cI")

#: What a Python and its libraries may need of the environment. Everything else stays here: it may be a credential.
_ENVIRONMENT = frozenset({
    "APPDATA", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOCALAPPDATA",
    "MPLCONFIGDIR", "PATH", "PYTHONHOME", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "USERPROFILE",
    "WINDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
})  # fmt: skip


def has_matplotlib() -> bool:
    """Whether matplotlib is installed; it is not imported."""
    return importlib.util.find_spec("matplotlib") is not None


class NoPython(Exception):
    """There is no interpreter to start; the text says why."""


class DrawingProcess:
    """A process that was started, and the thread that talks with it: a pipe that nobody reads must hold nobody else.

    Attributes:
        began: when, in monotonic seconds.
        ready: set when it can draw, and when it ended.

    Raises:
        OSError: it cannot be started.
        RuntimeError: there is no thread for it.
    """

    def __init__(self, command: list[str]) -> None:
        self.began = time.monotonic()
        self.ready = threading.Event()
        self._over = False
        self._jobs: queue.SimpleQueue[tuple[bytes, Future[Answer]] | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # Ctrl-C in the terminal is not for it: what the interruption sets off may still have a picture.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            threading.Thread(target=self._talk, name="bt_alerts drawer", daemon=True).start()
        except RuntimeError:  # the interpreter ends, or the system has no threads left
            self._process.kill()
            raise

    @property
    def ended(self) -> bool:
        """It is of no use any more."""
        return self._over or self._process.poll() is not None

    def ask(self, request: bytes) -> Future[Answer]:
        """Have something drawn: a letter and the content of the answer."""
        answer: Future[Answer] = Future()
        self._jobs.put((request, answer))
        if self._over:
            self._refuse()
        return answer

    def _talk(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer: Future[Answer] | None = None
        try:
            frame = _read_frame(stdout)
            self.ready.set()
            while (job := self._jobs.get()) is not None:
                request, answer = job
                if frame[0] == READY:
                    _write(stdin, request)
                    answer.set_result(_read_frame(stdout))
                else:
                    answer.set_result(frame)
                answer = None
        except (OSError, ValueError, EOFError) as exc:
            if answer is not None:
                answer.set_exception(EOFError(safe_text(exc) or "without an answer"))
        finally:
            self._over = True
            self.ready.set()
            self._refuse()
            self._process.kill()
            for pipe in (stdin, stdout):
                pipe.close()
            self._process.wait()

    def _refuse(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job[1].set_exception(EOFError("it is gone"))

    def end(self) -> None:
        """End the process; the thread cleans up behind it."""
        self._over = True
        self._process.kill()
        self._jobs.put(None)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's pipes."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.returncode = 0  # not ours to wait for


def python_command() -> list[str]:
    """Raises ``NoPython`` where this is no plain one: to start the program again could start a second strategy."""
    python = sys.executable or ""
    if getattr(sys, "frozen", False) or not re.match(r"(?i)(python|pypy)", Path(python).name):
        raise NoPython("charts need an ordinary Python, and this program brings its own")
    return [python, "-P", "-m", "bt_alerts.render.drawing_process"]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.upper() in _ENVIRONMENT}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def request(alert: Alert, *, dark: bool, zone: str, privacy: str) -> bytes:
    """A line that asks for a picture, with no more of the alert than is drawn."""
    lean = alert.replace(message="", attachments=(), data={k: v for k, v in alert.data.items() if _is_short(v)})
    return json.dumps({"alert": lean.to_json(), "dark": dark, "zone": zone, "privacy": privacy}).encode() + b"\n"


def report_request(report: Mapping[str, Any], what: str, *, dark: bool) -> bytes:
    """A line that asks for the picture or the document of a report.

    Args:
        report: as its reader may see it: :func:`bt_alerts.render.report_files.shown`.
        what: name of the file.
        dark: light lines on a dark ground.
    """
    return json.dumps({"report": report, "what": what, "dark": dark}).encode() + b"\n"


def _is_short(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 40)


def _write(pipe: IO[bytes], content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[pipe.write(left) or 0 :]


def _read_frame(pipe: IO[bytes]) -> Answer:
    kind, length = _HEAD.unpack(_read(pipe, _HEAD.size))
    if length > LARGEST:
        raise ValueError("it sent something else")
    return kind, _read(pipe, length)


def _read(pipe: IO[bytes], size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        more = pipe.read(size - len(found))
        if not more:
            raise EOFError("without an answer")
        found += more
    return bytes(found)


# ------------------------------------------------------------------------------------------- in the drawing process


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not get among the answers

    def answer(kind: bytes, content: bytes) -> None:
        answers.write(_HEAD.pack(kind, len(content)) + content)
        answers.flush()

    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(5)  # the strategy comes first
    try:
        import matplotlib
        import matplotlib.backends.backend_agg
        import matplotlib.figure

        from bt_alerts.render.alert_chart import alert_chart
    except ImportError as exc:
        answer(HOPELESS, (f"Charts cannot be drawn here: {exc}" if has_matplotlib() else MISSING).encode())
        return
    matplotlib.rcdefaults()  # not as somebody has set it up for other things
    answer(READY, b"")
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            answer(*_drawn(line, alert_chart))


def _drawn(line: bytes, draw: Callable[..., bytes]) -> Answer:
    import faulthandler

    faulthandler.dump_traceback_later(LONGEST, exit=True)  # even where nobody is left to end this process
    try:
        request = json.loads(line)
        if "report" in request:
            return PICTURE, _drawn_report(**request)
        alert = Alert.from_json(request.pop("alert"))
        return PICTURE, draw(alert, **request)
    except Exception as exc:
        return ERROR, f"{type(exc).__name__}: {safe_text(exc, 300)}".encode()
    finally:
        faulthandler.cancel_dump_traceback_later()


def _drawn_report(report: Mapping[str, Any], what: str, dark: bool) -> bytes:
    from bt_alerts.render import report_files, report_picture

    if what == report_files.DOCUMENT:
        return report_picture.report_pdf(report)
    return report_picture.report_png(report, dark=dark)


if __name__ == "__main__":
    serve()
