"""Mutes: quiet for a symbol, a strategy, a type or a channel, until a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Decision, Event, Listener, Muted, Note, Plan, Reason, Verdict, suppressed

SELECTORS = ("symbol", "strategy", "type", "channel")


def mute_key(selector: Mapping[str, str]) -> str:
    """The name of a mute: equal selectors are one mute."""
    return json.dumps({name: selector[name] for name in SELECTORS if selector.get(name)}, ensure_ascii=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Mutes(Listener):
    """What people asked for while the program runs."""

    name: str = "mutes"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """Suppress what a mute names; a mute of a channel takes that channel away."""
        notes = []
        for key, until in state.items("mute"):
            if until <= now:
                continue
            wanted = json.loads(key)
            channel = wanted.pop("channel", None)
            if all(getattr(alert, name) == value for name, value in wanted.items()):
                if channel is None:
                    return suppressed(Reason.MUTED)
                notes.append(Note(Reason.MUTED, channel=channel))
        return plan.noted(*notes, muted=frozenset(note.channel for note in notes)) if notes else plan

    def hear(self, event: Event, state: RuleState, now: float) -> list[Decision]:
        """Somebody mutes, or ends a mute."""
        if isinstance(event, Muted):
            key = mute_key(event.selector)
            if event.until <= now:
                state.drop("mute", key)
            else:
                state.put("mute", key, event.until, until=event.until)
        return []

    def wakes(self, state: RuleState, now: float) -> float | None:
        """Never: a mute that is over needs nobody."""
        return None


mutes = Mutes()
