"""``AlertHandler``: what a program logs becomes alerts.

Promises
--------
*Nothing is slowed or stopped.* A record becomes an alert where it is logged, and is appended to the journal; nothing
waits for a network or a database, no lock is held meanwhile, and nothing is raised.

*No loops.* What ``bt_alerts`` and the libraries that it delivers with log is passed by, and so is everything that is
logged while an alert is made or delivered, whoever logs it.

*A backtest sends nothing.* What is logged in a strategy's method, or anywhere below ``cerebro.run()``, is gated as the
alerts of the hooks are; an optimisation makes no alert at all.

It does not configure logging, does not close its manager, and does not see records that a filter or a level kept back.
A record that another thread hands over (``QueueListener``) has left its strategy: it counts as logged outside a run.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source, safe_text
from bt_alerts.hooks.crash import MOST, words_of
from bt_alerts.hooks.guard import never_raises
from bt_alerts.kinds import KINDS, Setting, setting_of
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager

#: Loggers whose records never become alerts, with everything below them: ours, and those that requests are made with.
PASSED_BY = ("bt_alerts", "urllib3", "requests")

#: From the most severe: the level from which a record is of this kind.
_KINDS = ((logging.CRITICAL, "log.critical"), (logging.ERROR, "log.error"), (logging.WARNING, "log.warning"))

#: Parts of this package that call a user's code: what that logs is told. The others make and deliver alerts.
_CALL_USERS = frozenset({"aio", "cli", "demo", "hooks", "logging_bridge", "pusher_emitter", "testing"})

_making = threading.local()


class AlertHandler(logging.Handler):
    """A handler of :mod:`logging` that turns records into alerts.

    The alert's kind is ``log.critical``, ``log.error``, ``log.warning`` or ``log.info`` by the record's level, its
    priority critical, high, medium or low. Its title is the logger's name and the first line; its message is what the
    formatter makes, where one is set, else the text with the exception. ``extra={"symbol": …, "strategy": …}`` names
    what it is about; inside a strategy's method both are known without.

    Args:
        manager: takes the alerts; the process-wide default, at the first record, where it is left out.
        level: of the least severe records that become alerts.
        channels: names of channels; those that routes pick where it is left out.
        ignore: names of more loggers to pass by, with everything below them.
    """

    def __init__(
        self,
        manager: AlertManager | None = None,
        level: int | str = logging.ERROR,
        *,
        channels: Sequence[str] | str | None = None,
        ignore: Collection[str] = (),
    ) -> None:
        super().__init__(level)
        self._manager = manager
        self._channels = channels
        self._passed_by = tuple(f"{name}." for name in (*PASSED_BY, *([ignore] if isinstance(ignore, str) else ignore)))
        self._closed = False

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record, unless it is passed by. Without the handler's lock: threads do not wait for each other."""
        if self._closed or f"{record.name}.".startswith(self._passed_by) or getattr(_making, "at_it", False):
            return False
        _making.at_it = True
        try:
            with never_raises("a record of the log became an alert", "this record has no alert"):
                found: Any = self.filter(record)  # from Python 3.12 on a filter may give back another record
                if found:
                    self.emit(found if isinstance(found, logging.LogRecord) else record)
                return bool(found)
        finally:
            _making.at_it = False
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Make an alert of a record, and give it to the manager."""
        frames = list(_stack())
        if any(_is_ours(frame) for frame in frames):
            return
        cerebro = _cerebro(frames)
        if getattr(cerebro, "_dooptimize", False):
            return
        manager = self._manager or _default()
        kind = next((name for level, name in _KINDS if record.levelno >= level), "log.info")
        if setting_of(kind, manager.events) is Setting.OFF:
            return
        alert = self._alert(record, kind)
        if manager.gated(alert):
            return
        if cerebro is None or _is_live(cerebro, manager):
            manager.emit(alert)
        else:
            manager.keep(alert.replace(source=Source.HISTORY))

    def close(self) -> None:
        """Take no more records. The manager stays as it is: others may use it."""
        self._closed = True
        super().close()

    def _alert(self, record: logging.LogRecord, kind: str) -> Alert:
        known = KINDS[kind]
        text = redact(_text(record))
        data = {
            "logger": record.name,
            "level": record.levelname,
            "place": f"{record.filename}, line {record.lineno}, in {record.funcName}",
        }
        parts = [text]
        exc = record.exc_info[1] if record.exc_info else None
        if exc is not None:
            crash = words_of(exc)
            data |= {"exception": crash.name, "what": crash.what, "traceback": crash.traceback}
            parts.append(f"{crash.name}: {crash.text}" if crash.what else crash.text)
        elif record.exc_text:  # it comes from another process, or a queue: only the text of it is left
            data["traceback"] = redact(record.exc_text)[-MOST:]
            parts.append(data["traceback"])
        if record.stack_info:
            parts.append(redact(record.stack_info)[-MOST:])
        return Alert.make(
            self._formatted(record) or "\n".join(parts),
            title=f"{record.name}: {next(iter(text.strip().splitlines()), record.levelname)}",
            type=known.type,
            kind=kind,
            priority=known.priority,
            time=record.created,
            symbol=redact(_name(getattr(record, "symbol", ""))),
            strategy=redact(_name(getattr(record, "strategy", ""))),
            data=data,
            channels=self._channels,
        )

    def _formatted(self, record: logging.LogRecord) -> str:
        """What the formatter makes of a record; empty where there is none, or it cannot."""
        if self.formatter is None:
            return ""
        with never_raises("a formatter was asked for the text of an alert", "the alert has the text without it"):
            return redact(safe_text(self.formatter.format(record)))
        return ""


def _name(given: Any) -> str:
    """A symbol or strategy: its name, a feed, or the strategy itself."""
    if isinstance(given, str) or given is None:
        return given or ""
    name = getattr(given, "_name", "")
    return name if isinstance(name, str) and name else type(given).__name__


def _text(record: logging.LogRecord) -> str:
    try:
        return safe_text(record.getMessage())
    except Exception:  # its arguments do not fit: better told as it is than not at all
        return safe_text(f"{safe_text(record.msg)} {safe_text(record.args)}")


def _default() -> AlertManager:
    """The process-wide manager; also a closed one, because at the end of a process none is begun any more."""
    from bt_alerts import manager as managers

    return managers._default or managers.default_manager()


# ---------------------------------------------------------------------------------------- who is logging


def _stack() -> Iterator[FrameType]:
    """The frames of who logs, from the innermost."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_ours(frame: FrameType) -> bool:
    """Something of ours that makes or delivers alerts is at work: the log of that is not an alert."""
    package, _, rest = str(frame.f_globals.get("__name__", "")).partition(".")
    return package == "bt_alerts" and rest.partition(".")[0] not in _CALL_USERS


def _cerebro(frames: Sequence[FrameType]) -> Any:
    """The Cerebro below which it is logged; None outside of one."""
    if "backtrader" not in sys.modules and "backtrader_next" not in sys.modules:
        return None
    from bt_alerts.hooks.seam import bt

    for frame in frames:
        owner = frame.f_locals.get("self")
        if isinstance(owner, bt.Cerebro):
            return owner
    return None


def _is_live(cerebro: Any, manager: AlertManager) -> bool:
    """Whether what happens outside the strategies of a run is sent."""
    from bt_alerts.hooks.gate import Gate, feed_names
    from bt_alerts.hooks.session import ATTRIBUTE

    if manager.mode == "send":
        return True
    session = cerebro.__dict__.get(ATTRIBUTE)
    if session is not None and session.gate is not None:
        return bool(session.immediate)
    feeds = zip(feed_names(cerebro.datas), cerebro.datas, strict=True)
    return Gate("auto" if session is None else session.live, time.time).live_run(feeds)
