"""What a rule remembers of an alert that another rule may still hold back.

A cooldown must not begin with an alert that nobody was told of, nor a cause excuse what follows from it. So what rules
want to remember waits until every stage was asked. What they want to forget does not: what is over is over.
"""

from __future__ import annotations

from typing import Any

from bt_alerts.outbox.base import RuleState


class Held(RuleState):
    """A memory whose new values wait. Each rule has keys of its own, so none reads what another wants to remember.

    Args:
        state: what is really remembered.
    """

    def __init__(self, state: RuleState) -> None:
        self._state = state
        #: What is to be remembered, in order: rule, key, value, and until when.
        self.waiting: list[tuple[str, str, Any, float | None]] = []

    def get(self, rule: str, key: str) -> Any:
        return self._state.get(rule, key)

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self.waiting.append((rule, key, value, until))

    def drop(self, rule: str, key: str) -> None:
        self._state.drop(rule, key)

    def items(self, rule: str) -> list[tuple[str, Any]]:
        return self._state.items(rule)

    def forget(self, now: float) -> None:
        self._state.forget(now)

    def keep(self, since: int = 0) -> None:
        """Remember what waits, from the value of this number on; the rest is not remembered."""
        for rule, key, value, until in self.waiting[since:]:
            self._state.put(rule, key, value, until)
        self.waiting.clear()
