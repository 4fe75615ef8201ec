"""The pipeline, top to bottom: what happens to an alert between being accepted and being planned."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

from bt_alerts.alert import Alert
from bt_alerts.errors import StoreError
from bt_alerts.kinds import Setting
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.action import one_message_an_action
from bt_alerts.rules.batching import BatchSettings, batching
from bt_alerts.rules.duplicate import duplicates
from bt_alerts.rules.events import events
from bt_alerts.rules.mute import mutes
from bt_alerts.rules.origin import history, mode
from bt_alerts.rules.route import route
from bt_alerts.rules.stage import Plan, Stage, Verdict

log = logging.getLogger("bt_alerts.rules")


@dataclasses.dataclass(frozen=True, slots=True)
class RuleSettings:
    """What the rules need of the configuration.

    Args:
        mode: ``auto``, ``send`` or ``record``.
        events: settings of kinds that differ from the default.
        channels: names of the enabled channels, in order.
        types: the type of each channel, by name; an alert may name a channel by either.
        batches: what each channel gathers, by name.
    """

    mode: str = "auto"
    events: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] = ()
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, BatchSettings] = dataclasses.field(default_factory=dict)


def build(settings: RuleSettings) -> list[Stage]:
    """The stages, in the order in which an alert passes them."""
    return [
        mode(settings.mode),  # `record` sends nothing
        history(settings.mode),  # made on an old bar: recorded, never sent
        events(settings.events),  # on, silent, record or off, by kind
        duplicates,  # the same event of a restarted strategy
        mutes,  # somebody asked for quiet
        one_message_an_action,  # an exit fill is one message, not three
        route(settings.channels, settings.types),  # to the named channels, or to all
        batching(settings.batches),  # what is alike and comes together goes together
    ]


def decide(stages: list[Stage], alert: Alert, state: RuleState, now: float, due: float = 0.0) -> Plan | Verdict:
    """Run an alert through the stages.

    A stage that raises is passed over and says so in the log: a broken rule must never silence an alert. A fault of the
    store is no rule's; it ends the transaction.
    """
    plan = Plan(due=due)
    for stage in stages:
        try:
            result = stage(alert, plan, state, now)
        except StoreError:
            raise
        except Exception:
            name = getattr(stage, "__name__", repr(stage))
            log.exception("the rule %s failed; the alert %s goes on without it", name, alert.id)
            continue
        if isinstance(result, Verdict):
            return result
        plan = result
    return plan
