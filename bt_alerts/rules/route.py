"""Routing: to the channels that the alert names, or to all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Stage, Verdict, recorded, suppressed


def route(enabled: tuple[str, ...], types: Mapping[str, str] | None = None) -> Stage:
    """Choose channels: those that an alert names, by name or else by type, or all. With none left it is recorded."""
    kind_of = dict(types or {})

    def named(word: str) -> set[str]:
        return {word} if word in enabled else {name for name in enabled if kind_of.get(name) == word}

    def route_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        asked = set().union(*map(named, alert.channels)) if alert.channels else set(enabled)
        wanted = [name for name in enabled if name in asked]
        heard = tuple(name for name in wanted if name not in plan.muted)
        if not heard:
            return suppressed(Reason.MUTED) if wanted else recorded(Reason.NO_CHANNEL)
        return dataclasses.replace(plan, channels=heard)

    return route_stage
