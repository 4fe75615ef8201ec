"""What rules remember, read without a transaction: to explain a decision must keep nobody from making one."""

from __future__ import annotations

import json
from typing import Any

from bt_alerts.outbox.base import Outbox, RuleState


class Recalled(RuleState):
    """Rule state that can only be read; :class:`bt_alerts.rules.explain.Overlay` takes changes.

    Args:
        outbox: the store.
        now: Unix seconds; what may be forgotten by then is, as a planner forgets it before it decides.
        without: id of an alert whose own traces are left out, so that it is no repeat of itself.
    """

    def __init__(self, outbox: Outbox, now: float, *, without: str = "") -> None:
        self._outbox = outbox
        self._now = now
        self._without = without

    def get(self, rule: str, key: str) -> Any:
        """The value, or None. Raises :class:`StoreError`, as all of them do, where the store cannot be read."""
        rows = self._outbox.rows(f"SELECT value FROM rule_state WHERE {_KEPT} AND key = ?", (rule, self._now, key))
        found = next(iter([json.loads(value) for (value,) in rows]), None)
        whose = found[0] if isinstance(found, list) and found else found
        return None if self._without and whose == self._without else found

    def items(self, rule: str) -> list[tuple[str, Any]]:
        rows = self._outbox.rows(f"SELECT key, value FROM rule_state WHERE {_KEPT}", (rule, self._now))
        return [(key, json.loads(value)) for key, value in rows]

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        raise TypeError("this memory is only read")

    def drop(self, rule: str, key: str) -> None:
        raise TypeError("this memory is only read")

    def forget(self, now: float) -> None:
        raise TypeError("this memory is only read")


_KEPT = "rule = ? AND (until IS NULL OR until > ?)"
