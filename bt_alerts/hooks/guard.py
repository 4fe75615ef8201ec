"""Keeps our faults out of the user's program: what goes wrong here is logged once and never raised into a strategy."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

log = logging.getLogger("bt_alerts.hooks")

_seen: set[tuple[str, str]] = set()


@contextlib.contextmanager
def never_raises(doing: str) -> Iterator[None]:
    """Log what goes wrong while ``doing`` something, with its traceback the first time, and go on."""
    try:
        yield
    except Exception as exc:
        key = (doing, type(exc).__name__)
        if key in _seen:
            log.error("bt_alerts failed again while %s: %s", doing, type(exc).__name__)
        else:
            _seen.add(key)
            log.exception("bt_alerts failed while %s; the strategy goes on, this event has no alert", doing)
