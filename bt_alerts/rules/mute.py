"""Mutes: quiet for a symbol, a strategy, a type or a channel, until a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed

SELECTORS = ("symbol", "strategy", "type", "channel")


def mute_key(selector: Mapping[str, str]) -> str:
    """The name of a mute: equal selectors are one mute."""
    return json.dumps({name: selector[name] for name in SELECTORS if selector.get(name)}, ensure_ascii=False)


def mutes(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
    """Suppress what a mute names; a mute of a channel takes that channel away."""
    quiet: set[str] = set()
    for key, until in state.items("mute"):
        if until <= now:
            continue
        wanted = json.loads(key)
        channel = wanted.pop("channel", None)
        if all(getattr(alert, name) == value for name, value in wanted.items()):
            if channel is None:
                return suppressed(Reason.MUTED)
            quiet.add(channel)
    return dataclasses.replace(plan, muted=frozenset(quiet)) if quiet else plan
