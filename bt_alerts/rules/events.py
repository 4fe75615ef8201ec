"""The ``events:`` block: on, silent, record or off, by kind of event."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bt_alerts.alert import Alert
from bt_alerts.kinds import Setting, setting_of
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Plan, Reason, Stage, Verdict, recorded


def events(settings: Mapping[str, Setting]) -> Stage:
    """``off`` is for the hooks, which then make no alert; one that comes all the same is recorded, never lost."""
    chosen = dict(settings)

    def events_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        setting = setting_of(alert.kind, chosen)
        if setting in (Setting.RECORD, Setting.OFF):
            return recorded(Reason.EVENT_RECORD)
        return dataclasses.replace(plan, silent=True) if setting is Setting.SILENT else plan

    return events_stage
