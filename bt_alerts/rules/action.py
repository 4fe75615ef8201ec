"""One action, one message: an exit fill completes an order, closes a trade and closes a position, and is told once.

The hooks emit the alerts of one action with the best teller first. The first that gets this far is delivered. A
critical one is told as well, unless one that was critical came before it.
"""

from __future__ import annotations

from bt_alerts.alert import Alert, Priority
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Verdict, recorded

REMEMBERED = 3_600.0  # seconds; the alerts of one action come together


def one_message_an_action(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
    """Record what another alert has told already."""
    if not alert.action:
        return plan
    teller = state.get("action", alert.action)
    if teller is not None and (alert.priority is not Priority.CRITICAL or Priority.CRITICAL.value in teller):
        return recorded(Reason.TOLD_BY_ACTION)
    state.put("action", alert.action, [alert.id, alert.priority.value], until=now + REMEMBERED)
    return plan
