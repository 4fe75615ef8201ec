"""Keeps our faults out of the user's program: what goes wrong here is logged and never raised into a strategy."""

from __future__ import annotations

import logging

log = logging.getLogger("bt_alerts.hooks")

_seen: set[tuple[str, str]] = set()


class never_raises:
    """Log what goes wrong while ``doing`` something, with its traceback the first time, and go on.

    ``cost`` is what the user goes without.

    Ctrl-C and the like pass. (A class, because ``contextlib.contextmanager`` costs four times as much.)
    """

    __slots__ = ("_cost", "_doing")

    def __init__(self, doing: str, cost: str = "this event has no alert") -> None:
        self._doing = doing
        self._cost = cost

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> bool:
        if not isinstance(exc, Exception):
            return False
        key = (self._doing, type(exc).__name__)
        if key in _seen:
            log.error("bt_alerts failed again while %s: %s", *key)
        else:
            _seen.add(key)
            log.error("bt_alerts failed while %s; the strategy goes on, %s", self._doing, self._cost, exc_info=exc)
        return True
