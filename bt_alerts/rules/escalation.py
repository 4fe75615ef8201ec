"""Escalation: what nobody acknowledges goes further, step by step, until somebody does or there is no step left.

It begins with an alert that is delivered, and its time when the first channel has it. It ends with an acknowledgement,
wherever that came from; with an alert that *resolves* it (the feed is back), which goes wherever the first one went; or
after the last step. One that could not be delivered goes to the next step at once, and a step is passed over where none
of its channels is turned on.

What is open is kept by alert, and for each rule when its next step is due, so that nobody needs to read all that is
open to know that. That time may be too early, never too late.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.compose import duration
from bt_alerts.kinds import resolves
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Aim
from bt_alerts.rules.stage import (
    Acknowledged,
    Decision,
    Event,
    Further,
    Listener,
    Lost,
    Note,
    Plan,
    Reason,
    Snoozed,
    Tick,
    Verdict,
)

log = logging.getLogger("bt_alerts.rules")

OTHERS = 86_400.0  # seconds for which a step is left to a process whose settings have its rule
FORGOTTEN = 30 * 86_400.0  # seconds after a step's time, in which no process looked, or nothing resolved it
CLOCKS = 60.0  # seconds by which the clocks of two machines may differ; more is a clock that was set back


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Where an alert goes next.

    Args:
        after: seconds without an acknowledgement, since the step before.
        to: channels.
    """

    after: float
    to: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Escalation(Aim):
    """One escalation.

    Args:
        steps: in order; at least one.
        repeat: how often all steps are gone through again.
    """

    steps: tuple[Step, ...]
    repeat: int = 0

    @property
    def words(self) -> str:
        steps = ", ".join(f"after {duration(step.after)} to {' and '.join(step.to)}" for step in self.steps)
        return f"{steps}; {self.repeat} times again" if self.repeat else steps


@dataclasses.dataclass(frozen=True, slots=True)
class Resolutions:
    """An alert that says that something is over ends its escalation.

    Args:
        enabled: names of the channels.
    """

    enabled: tuple[str, ...]
    name: str = "resolves"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage. Who was called because of it hears so at once, even in quiet hours, but for who muted it."""
        if not resolves(alert):
            return plan
        called = frozenset(state.get("called", alert.thread) or ())
        ended = self._end(alert, state)
        if not (ended or called):
            return plan
        also = (called & frozenset(self.enabled)) - plan.muted
        channels = tuple(name for name in self.enabled if name in also or name in plan.channels)
        return plan.noted(
            Note(Reason.RESOLVES, about=", ".join(channels)),
            channels=channels,
            at_once=plan.at_once | also,
            ends=tuple(ended),
        )

    def overhear(self, alert: Alert, state: RuleState, now: float) -> None:
        """Nobody is told of it, and nobody needs to be called any more."""
        if resolves(alert):
            self._end(alert, state)

    @staticmethod
    def _end(alert: Alert, state: RuleState) -> list[str]:
        state.drop("called", alert.thread)
        ended = [key for key, waits in _open(state) if waits["thread"] == alert.thread]
        for key in ended:
            state.drop("escalation", key)
        return ended


@dataclasses.dataclass(frozen=True, slots=True)
class Escalations(Listener):
    """All escalations: the first that is about an alert takes it.

    Args:
        rules: in the order of settings.
        enabled: names of the channels.
    """

    rules: Sequence[Escalation]
    enabled: tuple[str, ...]
    name: str = "escalation"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        at = max(now, plan.due)
        rule = next((rule for rule in self.rules if not rule.why_not(alert, at)), None)
        if rule is None or resolves(alert) or self._is_of_another(alert, state):
            return plan
        waiting = (plan.batches[name].due if name in plan.batches else plan.due for name in plan.channels)
        due = max(now, min(waiting, default=plan.due))
        at = due + rule.steps[0].after
        open_one = {"rule": rule.name, "turn": 0, "at": at, "thread": alert.thread}
        _keep(state, alert.id, open_one, now, counts=due <= now)
        _called(state, alert.thread, [name for name in plan.channels if name not in plan.batches], now)
        return plan.noted(Note(Reason.ESCALATES, rule.name, until=at, about=", ".join(rule.steps[0].to)))

    @staticmethod
    def _is_of_another(alert: Alert, state: RuleState) -> bool:
        """Whether it is the news that an alert was lost which goes further itself."""
        lost = alert.data.get("alert") if alert.kind == "delivery.lost" else None
        return isinstance(lost, str) and state.get("escalation", lost) is not None

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each rule its name, and why it is not about an alert."""
        return [(rule.name, rule.why_not(alert, now)) for rule in self.rules]

    def hear(self, event: Event, state: RuleState, now: float) -> list[Decision]:
        """Go further with what nobody acknowledged; end what somebody did."""
        match event:
            case Acknowledged(alert):
                state.drop("escalation", alert)
            case Snoozed(alert, until):
                waits = state.get("escalation", alert)
                if waits is not None:  # they have seen it, and want to think of it later
                    _keep(state, alert, {**waits, "at": max(waits["at"], until), "snoozed": until}, now, counts=False)
            case Lost(alert):
                waits = state.get("escalation", alert)
                if waits is not None:
                    at = min(waits["at"], max(now, waits.get("snoozed", now)))
                    _keep(state, alert, {**waits, "at": at}, now, counts=True)
            case Tick(acknowledged):
                return self._pass_time(acknowledged, state, now)
            case _:
                pass
        return []

    def wakes(self, state: RuleState, now: float) -> float | None:
        """When the next step is due, or perhaps earlier; now where the clock was set back."""
        times = [state.get("escalation-due", rule.name) for rule in self.rules]
        return min((now if seen > now + CLOCKS else at for at, seen in filter(None, times)), default=None)

    def _pass_time(self, acknowledged: Callable[[str], bool], state: RuleState, now: float) -> list[Decision]:
        found: list[Decision] = []
        for alert, waits in sorted(_open(state), key=lambda pair: (pair[1]["at"], pair[0])):
            rule, since = self._rule(waits), waits.get("since")
            if rule is None:
                if waits["at"] < now - OTHERS:
                    state.drop("escalation", alert)
            elif (at := _by_this_clock(waits["at"], since, now)) > now:
                if at != waits["at"]:
                    _keep(state, alert, {**waits, "at": at}, now, counts=True)
            elif acknowledged(alert):
                state.drop("escalation", alert)
            else:
                found.append(self._go_further(alert, rule, waits, state, now))
        next_one: dict[str, float] = {}
        for _, waits in _open(state):
            next_one[waits["rule"]] = min(waits["at"], next_one.get(waits["rule"], waits["at"]))
        for rule in self.rules:
            if rule.name in next_one:
                _remind(state, rule.name, next_one[rule.name], now)
            else:
                state.drop("escalation-due", rule.name)
        return found

    def _rule(self, waits: dict[str, Any]) -> Escalation | None:
        """The rule that took it; None where another process has it, or nobody any more."""
        return next((rule for rule in self.rules if rule.name == waits["rule"]), None)

    def _go_further(self, alert: str, rule: Escalation, waits: dict[str, Any], state: RuleState, now: float) -> Further:
        turn, turns = int(waits["turn"]), len(rule.steps) * (rule.repeat + 1)
        while turn + 1 < turns and not self._on(rule.steps[turn % len(rule.steps)]):
            turn += 1
        step = rule.steps[turn % len(rule.steps)]
        if turn + 1 < turns:
            at = now + rule.steps[(turn + 1) % len(rule.steps)].after
            _keep(state, alert, {**waits, "turn": turn + 1, "at": at}, now, counts=True)
        else:
            state.drop("escalation", alert)
        _called(state, waits["thread"], self._on(step), now)
        note = Note(Reason.ESCALATED, rule.name, about=f"{', '.join(step.to)}, after {duration(step.after)}")
        return Further(alert, self._on(step), turn, note)

    def _on(self, step: Step) -> tuple[str, ...]:
        """The channels of a step that are turned on."""
        return tuple(name for name in step.to if name in self.enabled)


def _open(state: RuleState) -> list[tuple[str, dict[str, Any]]]:
    """What goes further, by alert. One that cannot be read is forgotten: it must not keep back the others."""
    found = []
    for alert, waits in state.items("escalation"):
        if (
            isinstance(waits, dict)
            and isinstance(waits.get("at"), int | float)
            and {"rule", "turn", "thread"} <= set(waits)
        ):
            found.append((alert, waits))
        else:
            log.error("what was to become of the alert %s cannot be read; it goes no further", alert)
            state.drop("escalation", alert)
    return found


def _called(state: RuleState, thread: str, channels: Iterable[str], now: float) -> None:
    """Remember who was called because of a matter, for the alert that will say that it is over."""
    if thread:
        known = state.get("called", thread) or ()
        state.put("called", thread, list(dict.fromkeys([*known, *channels])), until=now + FORGOTTEN)


def _keep(state: RuleState, alert: str, waits: dict[str, Any], now: float, *, counts: bool) -> None:
    """Remember what is open of an alert. Its time ``counts`` from now, or else is one that somebody named."""
    state.put("escalation", alert, {**waits, "since": now if counts else None}, until=waits["at"] + FORGOTTEN)
    at, seen = state.get("escalation-due", waits["rule"]) or (waits["at"], now)
    _remind(state, waits["rule"], min(at, waits["at"]), max(seen, now))


def _remind(state: RuleState, rule: str, at: float, seen: float) -> None:
    """Remember when the next step of a rule is due at the earliest, and by which clock."""
    state.put("escalation-due", rule, [at, seen], until=at + FORGOTTEN)


def _by_this_clock(at: float, since: float | None, now: float) -> float:
    """A time that counts from another one, which may be of a clock that was set back."""
    return at if since is None or since <= now + CLOCKS else now + (at - since)
