"""What rules need to be tried by themselves: a memory, and a time."""

from __future__ import annotations

import json
from typing import Any

from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.mute import mute_key

NOW = 1_800_000_000.0


class Remembered(RuleState):
    """A rule's memory as a dictionary: all that the contract asks for."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[str, float | None]] = {}

    def get(self, rule: str, key: str) -> Any:
        return json.loads(self.kept[rule, key][0]) if (rule, key) in self.kept else None

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self.kept[rule, key] = json.dumps(value), until

    def drop(self, rule: str, key: str) -> None:
        self.kept.pop((rule, key), None)

    def items(self, rule: str) -> list[tuple[str, Any]]:
        return [(key, json.loads(value)) for (r, key), (value, _) in self.kept.items() if r == rule]

    def forget(self, now: float) -> None:
        self.kept = {k: v for k, v in self.kept.items() if v[1] is None or v[1] > now}

    def mute(self, until: float, **selector: str) -> None:
        self.put("mute", mute_key(selector), until)
