"""An exception in words, for an alert: what it says, where in the user's own code it happened, and its traceback."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from bt_alerts.alert import safe_text
from bt_alerts.redact import redact

MOST = 6000  # characters of a message and of a traceback


class Crash(NamedTuple):
    """An exception, without secrets.

    Args:
        name: of its class.
        what: what it says; empty where it says nothing.
        text: what a person reads: what it says, where it happened, the last of the user's own frames.
        traceback: all of it, or its end where it is long.
    """

    name: str
    what: str
    text: str
    traceback: str


def words_of(exc: BaseException) -> Crash:
    """Put an exception into words. What it says itself may fail to be text; then it says that."""
    name, what = type(exc).__name__, redact(safe_text(exc))
    frames = traceback.format_exception(type(exc), exc, exc.__traceback__, limit=-12)
    where, theirs = _place(exc)
    text = redact(f"{what or name}\n{where}\n\n{theirs}")[:MOST].rstrip()
    return Crash(name, what, text, redact("".join(frames))[-MOST:])


def _place(exc: BaseException) -> tuple[str, str]:
    """Where it happened, in a line, and the user's own frames: a phone shows the beginning of a text only."""
    frames = traceback.extract_tb(exc.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_not_theirs())] or list(frames)
    last = theirs[-1] if theirs else None
    where = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}: {last.line}" if last else ""
    return where, "".join(traceback.format_list(theirs[-8:]))


def _not_theirs() -> tuple[str, ...]:
    """Folders whose frames say nothing about a user's mistake."""
    engines = [sys.modules.get(name) for name in ("backtrader", "backtrader_next")]
    files = [engine.__file__ for engine in engines if engine is not None and engine.__file__]
    return (str(Path(__file__).parents[1]), *(str(Path(file).parent) for file in files))
