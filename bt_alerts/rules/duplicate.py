"""Duplicates: what a restarted strategy says again about a bar it has seen before.

An alert's ``dedupe_key`` names the event, not the run. Fills have none: a real fill is never a duplicate.
"""

from __future__ import annotations

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed

REMEMBERED = 14 * 86_400.0  # seconds; a strategy that was away for longer may say it again


def duplicates(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
    """Suppress an event that was told before."""
    if alert.dedupe_key is None:
        return plan
    if state.get("duplicate", alert.dedupe_key) is not None:
        return suppressed(Reason.DUPLICATE)
    state.put("duplicate", alert.dedupe_key, alert.id, until=now + REMEMBERED)
    return plan
