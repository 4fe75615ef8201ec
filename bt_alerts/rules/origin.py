"""Old bars and ``mode``: the first question is whether anything may be sent at all. The next is when."""

from __future__ import annotations

from bt_alerts.alert import Alert, Source
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Note, Plan, Reason, Stage, Verdict, recorded


def mode(word: str) -> Stage:
    """``mode: record`` keeps everything and sends nothing."""

    def mode_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        return recorded(Reason.MODE_RECORD) if word == "record" else plan

    return mode_stage


def history(word: str) -> Stage:
    """What was made on an old bar is never sent, except under ``mode: send``."""

    def history_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        old = alert.source is Source.HISTORY and word != "send"
        return recorded(Reason.HISTORY) if old else plan

    return history_stage


def scheduled(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
    """Somebody named a time for it: that is said, and the rules behind decide about that time."""
    return plan.noted(Note(Reason.SCHEDULED, until=plan.due)) if plan.due > now else plan
