"""Routing: to the channels that the alert names, or to all."""

from __future__ import annotations

import dataclasses

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Stage, Verdict, recorded, suppressed


def route(enabled: tuple[str, ...]) -> Stage:
    """Choose channels. A name that is not enabled is left out; where none is left the alert is recorded."""

    def route_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        wanted = [name for name in enabled if not alert.channels or name in alert.channels]
        heard = tuple(name for name in wanted if name not in plan.muted)
        if not heard:
            return suppressed(Reason.MUTED) if wanted else recorded(Reason.NO_CHANNEL)
        return dataclasses.replace(plan, channels=heard)

    return route_stage
