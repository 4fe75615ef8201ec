"""The pipeline, top to bottom: what happens to an alert between being accepted and being planned.

An alert passes the stages in their order. Some of them act on other events too: *time passed* (reports, escalation),
*somebody acknowledged* or *muted*, *it could not be delivered*. What one attempt to deliver leads to is decided where
its outcome is known, for each address by itself, by :mod:`outcome <bt_alerts.rules.outcome>`,
:mod:`breaker <bt_alerts.rules.breaker>` and :mod:`pacing <bt_alerts.rules.pacing>`, which are as pure.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from bt_alerts.alert import Alert
from bt_alerts.errors import StoreError
from bt_alerts.kinds import Setting, setting_of
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.action import one_message_an_action
from bt_alerts.rules.base import Rule
from bt_alerts.rules.batching import BATCHING, BatchSettings, batching
from bt_alerts.rules.duplicate import duplicates
from bt_alerts.rules.escalation import Escalation, Escalations, Resolutions
from bt_alerts.rules.events import events
from bt_alerts.rules.held import Held
from bt_alerts.rules.inhibit import DISCONNECTED, Inhibit
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.mute import Mutes, mutes
from bt_alerts.rules.origin import history, mode, scheduled
from bt_alerts.rules.quiet import Digest, Quiet, QuietHours
from bt_alerts.rules.reports import Report, Reports
from bt_alerts.rules.route import Route, Routing, route
from bt_alerts.rules.stage import (
    NOT_NOW,
    Decision,
    Event,
    Failed,
    Listener,
    Note,
    Plan,
    Reason,
    Stage,
    Verdict,
    name_of,
)

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
        routes: which alerts go where.
        maintenance: windows in which nobody is told.
        inhibit: what is not told while its cause is known.
        noise: levels, materiality, once per bar, repeats and cooldowns, in the order in which they are asked.
        quiet: quiet hours.
        digests: what goes in one message at set times.
        reports: summaries at set times.
        escalation: what goes further unless it is acknowledged.
    """

    mode: str = "auto"
    events: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] = ()
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, BatchSettings] = dataclasses.field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    inhibit: tuple[Inhibit, ...] = ()
    noise: tuple[Rule, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    digests: tuple[Digest, ...] = ()
    reports: tuple[Report, ...] = ()
    escalation: tuple[Escalation, ...] = ()

    @property
    def ticks(self) -> bool:
        """Whether any of it has to do with time that passes while no alert comes."""
        return bool(self.reports or self.escalation)


def build(settings: RuleSettings) -> list[Stage]:
    """The stages, in the order in which an alert passes them."""
    comes_back = all(setting_of(kind, dict(settings.events)) is not Setting.OFF for kind in DISCONNECTED.ends.kinds)
    goes_further = settings.escalation if settings.mode != "record" else ()
    return [
        mode(settings.mode),  # `record` sends nothing
        history(settings.mode),  # made on an old bar: recorded, never sent
        events(settings.events),  # on, silent, record or off, by kind
        scheduled,  # not before a time
        duplicates,  # the same event of a restarted strategy
        mutes,  # somebody asked for quiet
        *settings.maintenance,  # alerts are expected now
        *([DISCONNECTED] if comes_back else []),  # a feed without a connection yields no bars, and that is known
        *settings.inhibit,  # the cause was told
        one_message_an_action,  # an exit fill is one message, not three
        *settings.noise,  # levels, materiality, once per bar, repeats, cooldowns
        route(settings.channels, settings.types, settings.routes),  # to the named channels, or a route's, or all
        Resolutions(settings.channels),  # to everybody who was called because of what it ends
        *settings.digests,  # into one message at a time of the day
        *([QuietHours(settings.quiet)] if settings.quiet else []),  # not now, unless it is urgent
        batching(settings.batches),  # what is alike and comes together goes together
        Escalations(goes_further, settings.channels),  # further, unless somebody acknowledges it
        *([Reports(settings.reports)] if settings.reports else []),  # a summary, when it is time
    ]


def decide(
    stages: Sequence[Stage],
    alert: Alert,
    state: RuleState,
    now: float,
    due: float = 0.0,
    *,
    of: Plan | None = None,
    watch: Callable[[Stage, Plan, Plan | Verdict], None] | None = None,
) -> Plan | Verdict:
    """Run an alert through the stages.

    A stage that raises is passed over, and the trail says so: a broken rule must never silence an alert. A fault of the
    store is no rule's; it ends the transaction.

    Args:
        stages: in order.
        alert: what to decide about.
        state: what rules remember.
        now: Unix seconds.
        due: not before this time, in Unix seconds.
        of: what was decided before; nothing where it is left out.
        watch: told of each stage that was asked, with the plan before it and what it made of that.
    """
    plan = Plan(due=due) if of is None else of
    held = Held(state)
    waiting = held.waiting
    left = iter(stages)
    for stage in left:
        before = len(waiting)
        try:
            # By this name and not by isinstance(), which asks an abstract class for ten times as long.
            result = stage(alert, plan, held if hasattr(stage, "judge") else state, now)
        except StoreError:
            raise
        except Exception as exc:
            result = _without(stage, alert, plan, exc)
        if watch is not None:
            watch(stage, plan, result)
        if result is plan:
            continue
        if isinstance(result, Verdict):
            held.keep(before)  # what that stage itself learned; to the others it is as if the alert had not come
            if result.reason not in NOT_NOW:
                _overheard(left, alert, state, now)
            return dataclasses.replace(result, trail=plan.trail)
        plan = result
    held.keep()
    return plan


def _overheard(stages: Iterable[Stage], alert: Alert, state: RuleState, now: float) -> None:
    """Tell the stages that were not asked of an alert that is not told: what it says to be over is over."""
    for stage in stages:
        overhear = getattr(stage, "overhear", None)
        if overhear is None:
            continue
        try:
            overhear(alert, state, now)
        except StoreError:
            raise
        except Exception:
            log.exception("the rule %s failed; what the alert %s ends goes on", name_of(stage), alert.id)


def _without(stage: Stage, alert: Alert, plan: Plan, exc: Exception) -> Plan:
    """The plan after a stage that raised; it says so."""
    log.error("the rule %s failed; the alert %s goes on without it", name_of(stage), alert.id, exc_info=exc)
    plan = plan.noted(Note(Reason.RULE_BROKEN, name_of(stage), about=type(exc).__name__))
    if isinstance(stage, Routing):  # no rule that failed may be why nobody is told
        return dataclasses.replace(plan, channels=tuple(name for name in stage.enabled if name not in plan.muted))
    return plan


def further(
    stages: Sequence[Stage], alert: Alert, channels: tuple[str, ...], state: RuleState, now: float
) -> Plan | Verdict:
    """Where an alert that was decided about goes as well: mutes, quiet hours and batches have a say."""
    plan: Plan | Verdict = Plan(channels=channels)
    for stage in stages:
        if (isinstance(stage, Mutes | QuietHours) or name_of(stage) == BATCHING) and isinstance(plan, Plan):
            plan = decide([stage], alert, state, now, of=plan)
            if isinstance(plan, Plan) and plan.muted:
                plan = dataclasses.replace(
                    plan, channels=tuple(name for name in plan.channels if name not in plan.muted), muted=frozenset()
                )
    return plan


def hear(stages: Sequence[Stage], event: Event, state: RuleState, now: float) -> list[Decision]:
    """Tell the stages of an event; what they decide is to be done, in their order."""
    found: list[Decision] = []
    for stage in stages:
        if not isinstance(stage, Listener):
            continue
        try:
            found += stage.hear(event, state, now)
        except StoreError:
            raise
        except Exception as exc:
            log.exception("the rule %s failed; what happened (%s) is passed over", name_of(stage), type(event).__name__)
            found.append(Failed(Note(Reason.RULE_BROKEN, name_of(stage), about=type(exc).__name__)))
    return found


def wakes(stages: Sequence[Stage], state: RuleState, now: float) -> float | None:
    """When the stages are to hear that time passed, in Unix seconds; None where none of them waits."""
    times: list[float] = []
    for stage in stages:
        if not isinstance(stage, Listener):
            continue
        try:
            at = stage.wakes(state, now)
        except StoreError:
            raise
        except Exception:
            log.exception("the rule %s failed; it is not told that time passes", name_of(stage))
            continue
        if at is not None:
            times.append(at)
    return min(times, default=None)
