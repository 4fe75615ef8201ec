"""What pages share: the settings, read anew when their file changes, and the store, opened to be looked at.

There is one house for the process, whoever visits.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from zoneinfo import ZoneInfo

import streamlit as st

from bt_alerts.asking import ask
from bt_alerts.errors import SettingsError, StoreError
from bt_alerts.outbox.postgres_address import is_postgres
from bt_alerts.settings import CONFIG_VARIABLE, load
from bt_alerts.settings.stamps import stamp
from bt_alerts.settings.store import open_store

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.settings import Settings

T = TypeVar("T")


class NoStore(Exception):
    """Why there is nothing to look at, and what to do, in sentences."""


class House:
    """Settings and store of one dashboard.

    Args:
        config: the settings file; None for the one that ``$BT_ALERTS_CONFIG`` names, or the environment alone.
    """

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        self._outbox: Outbox | None = None
        self._opened: tuple[Any, ...] = ()
        self._kept: dict[str, tuple[Any, float, Any]] = {}

    @property
    def settings(self) -> Settings:
        """The settings as they are now.

        Raises:
            SettingsError: where they are wrong just now.
        """
        with self._lock:
            known = self._settings
            if known is None or any(stamp(path) != was for path, was in known.files.items()):
                self._settings = None  # what was right a minute ago is not what the file says now
                known = self._settings = load(self.config)
            return known

    @property
    def file(self) -> Path | None:
        """The settings file, which may be wrong just now; None where there is none."""
        if self.config is not None:
            return self.config
        with contextlib.suppress(SettingsError):
            return self.settings.file
        named = os.environ.get(CONFIG_VARIABLE, "").strip()
        return Path(named) if named else None

    @property
    def zone(self) -> ZoneInfo:
        """In which times are shown."""
        with contextlib.suppress(SettingsError):
            return ZoneInfo(self.settings.templates.timezone)
        return ZoneInfo("UTC")

    @property
    def outbox(self) -> Outbox:
        """The store, to be looked at.

        Raises:
            NoStore: where there is none yet.
            StoreError: where it cannot be read.
            SettingsError: where the settings are wrong just now.
        """
        settings = self.settings
        with self._lock:
            found = _identity(settings.store)
            if self._outbox is None or self._opened != found:
                if self._outbox is not None:
                    self._outbox.close()
                    self._outbox = None
                self._outbox, self._opened = open_store(settings, read_only=True), found
            return self._outbox

    def ask(self, *wishes: Callable[[AlertManager], bool]) -> str:
        """Write events, as :func:`bt_alerts.asking.ask` does. Returns why it is not done, or nothing."""
        try:
            return ask(self.settings, *wishes)
        except (StoreError, SettingsError) as exc:
            return f"{exc}."

    def fresh(self, name: str, make: Callable[[Outbox], T], *, seconds: float = 5.0, version: Any = None) -> T:
        """What was made of the store at most so many seconds ago, for all who visit.

        Args:
            name: of the answer; with its arguments in it.
            make: asks the store.
            seconds: after which it is made again.
            version: made again when this changes too.

        Raises:
            NoStore, StoreError, SettingsError: as :attr:`outbox`.
        """
        outbox = self.outbox
        with self._lock:
            known, until, value = self._kept.get(name, (None, 0.0, None))
        if time.monotonic() < until and known == (id(outbox), version):
            return cast("T", value)  # what is kept under this name was made by the same question
        made = make(outbox)
        with self._lock:
            if len(self._kept) > _MOST_KEPT:
                self._kept.clear()
            self._kept[name] = (id(outbox), version), time.monotonic() + seconds, made
        return made


_MOST_KEPT = 200


def _identity(store: str) -> tuple[Any, ...]:
    """What tells a store from another one of its name: a file can be deleted and made anew.

    Raises:
        NoStore: where there is none.
    """
    if store == "memory":
        raise NoStore(
            "These settings keep alerts in memory only, where nobody else can see them. Write `store: alerts.db` into "
            "the settings file, and start the strategy again."
        )
    if is_postgres(store):
        return (store,)
    with contextlib.suppress(OSError):
        found = Path(store).stat()
        return store, found.st_dev, found.st_ino
    raise NoStore(
        f"There is no store {store} yet. The first run of a strategy with these settings makes it; or send yourself an "
        'alert: `bt-alerts send "Hello"`.'
    )


@st.cache_resource
def _house(config: str | None) -> House:
    return House(Path(config) if config is not None else None)


def house() -> House:
    """The house of this process."""
    return _house(sys.argv[1] if len(sys.argv) > 1 else None)
