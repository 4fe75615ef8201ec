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
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

from bt_alerts.errors import SettingsError
from bt_alerts.settings import Settings, reread

log = logging.getLogger("bt_alerts.settings")


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
        self._seen = _stamps(settings.files)
        self._fault = ""
        self._lock = threading.Lock()
        self._asked = threading.Event()
        _living.add(self)

    def ask(self) -> None:
        """Read everything again at the next look, changed or not."""
        self._asked.set()

    def look(self) -> None:
        """Read the files again where one of them changed."""
        now = _stamps(self._settings.files)
        if not self._asked.is_set() and now == self._seen:
            return
        with contextlib.suppress(SettingsError):  # told already
            self.reload()

    def reload(self) -> Settings:
        """Read the files again and apply what they say.

        Raises:
            SettingsError: where they cannot be used; everything is left as it was.
        """
        with self._lock:
            self._asked.clear()
            self._seen = _stamps(self._settings.files)
            try:
                settings = reread(self._settings)
                self._apply(settings)
            except SettingsError as exc:
                if str(exc) != self._fault:
                    self._fault = str(exc)
                    log.error("the changed settings cannot be used, the old ones stay: %s", exc)
                    self._complain(self._fault)
                raise
            self._fault = ""
            self._settings = settings
            self._seen = _stamps(settings.files)
            return settings


def _stamps(files: Iterable[Path]) -> dict[Path, tuple[int, int, int] | None]:
    """What tells that a file changed. Editors and secret managers put a new file in the old one's place."""
    found: dict[Path, tuple[int, int, int] | None] = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found[file] = None
        else:
            found[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


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
