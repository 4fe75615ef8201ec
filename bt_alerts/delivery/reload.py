"""Settings that change while strategies run: their files are looked at, and read again when they changed or on SIGHUP.

A file that cannot be used leaves everything as it was, and that is said. SIGHUP is listened to only in a process
without a terminal, where nobody has taken it: elsewhere it says that the terminal was closed, and must end the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from bt_alerts.errors import SettingsError
from bt_alerts.redact import redact
from bt_alerts.settings import Settings, reread
from bt_alerts.settings.stamps import Stamp, stamp

log = logging.getLogger("bt_alerts.settings")

TRY_AGAIN = 30.0  # seconds after which settings that could not be used are read again


class Reloader:
    """Keeps settings up to date.

    Args:
        settings: as they are now.
        apply: told the new settings.
        complain: told in words why changed files cannot be used, once for each fault.
    """

    def __init__(self, settings: Settings, apply: Callable[[Settings], None], complain: Callable[[str], None]) -> None:
        self._settings = settings
        self._apply = apply
        self._complain = complain
        self._seen = dict(settings.files)
        self._changing: dict[Path, Stamp] | None = None
        self._fault = ""
        self._try_again = 0.0
        self._lock = threading.Lock()
        # No Event: setting one takes a lock, and a signal can come while the same thread holds it.
        self._asked = False
        _living.add(self)

    def ask(self) -> None:
        """Read everything again at the next look, changed or not."""
        self._asked = True

    def forked(self) -> None:
        """In a forked child: the parent's thread may have held the lock."""
        self._lock = threading.Lock()

    def look(self) -> None:
        """Read the files again where one of them changed, and has stayed the same since the last look.

        A file that is being written is read when that is over; files that cannot be used are tried again now and then,
        because what they lack may appear.
        """
        now = {file: stamp(file) for file in self._settings.files}
        retry = bool(self._fault) and time.monotonic() >= self._try_again
        if not self._asked and not retry and now == self._seen:
            return
        if not self._asked and not retry and now != self._changing:
            self._changing = now
            return
        with contextlib.suppress(SettingsError):  # told already
            self.reload()

    def reload(self) -> Settings:
        """Read the files again and apply what they say.

        Raises:
            SettingsError: where they cannot be used; everything is left as it was.
        """
        with self._lock:
            self._asked, self._changing = False, None
            self._try_again = time.monotonic() + TRY_AGAIN
            self._seen = {file: stamp(file) for file in self._settings.files}
            try:
                settings = reread(self._settings)
                self._apply(settings)
            except Exception as exc:
                told = (
                    exc if isinstance(exc, SettingsError) else SettingsError([f"{type(exc).__name__}: {redact(exc)}"])
                )
                if str(told) != self._fault:
                    self._fault = str(told)
                    log.error("the changed settings cannot be used, the old ones stay: %s", told)
                    self._complain(self._fault)
                raise told from None
            self._fault = ""
            self._settings = settings
            self._seen = dict(settings.files)
            return settings


_living: weakref.WeakSet[Reloader] = weakref.WeakSet()


def listen_to_sighup() -> bool:
    """Let SIGHUP ask every manager of this process to read its settings again, where that means nothing else.

    Returns:
        Whether it does so now.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGHUP) is _on_sighup:
        return True
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL or _has_terminal():
        return False
    signal.signal(signal.SIGHUP, _on_sighup)
    return True


def _on_sighup(number: int, frame: object) -> None:
    for reloader in list(_living):
        reloader.ask()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
