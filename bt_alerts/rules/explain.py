"""Explanation: what each stage of the pipeline did about one alert, in words, and where the alert goes.

It runs the alert through the pipeline's own :func:`decide <bt_alerts.rules.pipeline.decide>` and looks on, so it says
what would be decided, not what somebody else thinks that would be. It runs on an :class:`Overlay` of what rules
remember: explaining changes nothing. What channels and services then do is not its business, but for one thing: a
channel that is disabled and has a fallback hands over what is urgent.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, Priority
from bt_alerts.outbox.base import AlertState, RuleState
from bt_alerts.rules import pipeline
from bt_alerts.rules.base import Aim
from bt_alerts.rules.escalation import Escalations
from bt_alerts.rules.failover import stand_ins, wait_of
from bt_alerts.rules.stage import Note, Plan, Reason, Stage, Verdict, name_of

#: Why a stage that has no rules of its own lets an alert pass, by its name in :func:`title_of`.
_PASSES = {
    "mode": "the mode is not `record`",
    "history": "it was not made on an old bar, or the mode is `send`",
    "events": "its kind of event is not set to `record` or `off`",
    "scheduled": "nobody named a time for it",
    "duplicates": "it does not repeat an event that was told",
    "mutes": "nobody muted it",
    "one message an action": "no other alert told of the same action",
    "resolves": "it ends nothing that somebody would be called for",
    "batching": "it need not wait for others that are alike",
    "reports": "they are made at set times, whatever alerts come",
}
_NO_RULES = "there is no rule of this kind"


class Overlay(RuleState):
    """What rules remember, with changes that are kept here and reach nobody.

    Args:
        below: what is really remembered; it is only read. Nothing where it is left out.
    """

    def __init__(self, below: RuleState | None = None) -> None:
        self._below = below
        #: JSON text, as a store keeps it; None for what was dropped.
        self._changed: dict[tuple[str, str], str | None] = {}

    def get(self, rule: str, key: str) -> Any:
        if (rule, key) in self._changed:
            text = self._changed[rule, key]
            return None if text is None else json.loads(text)
        return None if self._below is None else self._below.get(rule, key)

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self._changed[rule, key] = json.dumps(value)

    def drop(self, rule: str, key: str) -> None:
        self._changed[rule, key] = None

    def items(self, rule: str) -> list[tuple[str, Any]]:
        found = {} if self._below is None else dict(self._below.items(rule))
        for (owner, key), text in self._changed.items():
            if owner == rule and text is None:
                found.pop(key, None)
            elif owner == rule and text is not None:
                found[key] = json.loads(text)
        return list(found.items())

    def forget(self, now: float) -> None:
        """Nothing: what is below is not ours, and what is here does not live long."""


class Did(enum.StrEnum):
    """What a stage did."""

    PASSED = "passed"
    ACTED = "acted"
    ENDED = "ended it"
    BROKEN = "failed"
    NOT_ASKED = "not asked"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How one rule of a stage saw the alert.

    Args:
        rule: its name, as settings call it.
        why_not: why it is not about the alert; empty where it is.
        about: which alerts it is about, in words.
        does: what it does with them, in words.
    """

    rule: str
    why_not: str
    about: str = ""
    does: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What one stage did.

    Args:
        stage: what to call it.
        did: the word for it.
        words: the same as a sentence's part.
        looks: how each of its rules saw the alert.
        reasons: the named reasons that it gave.
        rule: the rule that it gave them by; empty where none did.
    """

    stage: str
    did: Did
    words: str
    looks: tuple[Look, ...] = ()
    reasons: tuple[Reason, ...] = ()
    rule: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Going:
    """Where an alert goes.

    Args:
        channel: the channel's name.
        at: when, in Unix seconds; None for at once.
        reason: why it waits, or goes there; None where there is nothing to say.
        gathers: what it shares its message with: fills, similar, batch, quiet or digest; empty where it goes alone.
        silent: without sound.
        held: the channel is disabled, so that it waits until that is mended.
    """

    channel: str
    at: float | None = None
    reason: Reason | None = None
    gathers: str = ""
    silent: bool = False
    held: bool = False

    @property
    def words(self) -> str:
        """When and how it goes, without the channel's name."""
        parts = ["at once" if self.at is None else f"at {clock(self.at)}"]
        if self.gathers:
            parts.append("in one message with what else waits until then")
        if self.silent:
            parts.append("without sound")
        if self.reason is not None:
            parts.append(self.reason.words)
        if self.held:
            parts.append("the channel is disabled, and it is held there until that is mended")
        return "; ".join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What is decided about an alert, and how that comes about.

    Args:
        alert: the alert.
        time: when it is decided, in Unix seconds.
        steps: every stage, in order.
        state: planned, recorded or suppressed.
        reason: why it is not planned; None where it is.
        rule: which rule gave that reason; empty for what is always there.
        goes: where it goes.
        trail: what rules had to say.
    """

    alert: Alert
    time: float
    steps: tuple[Step, ...]
    state: AlertState
    reason: Reason | None = None
    rule: str = ""
    goes: tuple[Going, ...] = ()
    trail: tuple[Note, ...] = ()

    @property
    def summary(self) -> str:
        """The decision as a sentence."""
        if self.reason is None:
            return f"It goes to {', '.join(going.channel for going in self.goes)}."
        return f"It is {self.state}{f' by {self.rule}' if self.rule else ''}: {self.reason.words}."

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; times are ISO 8601 text."""
        return {
            "time": _iso(self.time),
            "state": self.state.value,
            "reason": "" if self.reason is None else self.reason.value,
            "words": "" if self.reason is None else self.reason.words,
            "rule": self.rule,
            "channels": [
                {
                    "channel": going.channel,
                    "at": None if going.at is None else _iso(going.at),
                    "reason": "" if going.reason is None else going.reason.value,
                    "gathers": going.gathers,
                    "silent": going.silent,
                    "held": going.held,
                    "words": going.words,
                }
                for going in self.goes
            ],
            "stages": [
                {
                    "stage": step.stage,
                    "did": step.did.value,
                    "words": step.words,
                    "reasons": [reason.value for reason in step.reasons],
                    "rule": step.rule,
                    "rules": [dataclasses.asdict(look) for look in step.looks],
                }
                for step in self.steps
            ],
        }


def explain(
    stages: Sequence[Stage],
    alert: Alert,
    state: RuleState,
    now: float,
    due: float = 0.0,
    *,
    disabled: Collection[str] = (),
    fallbacks: Mapping[str, str] | None = None,
) -> Explanation:
    """Decide about an alert and say how that came about. Nothing is changed.

    Args:
        stages: in order, as :func:`bt_alerts.rules.pipeline.build` makes them.
        alert: the alert.
        state: what rules remember; it is only read.
        now: when it is decided, in Unix seconds.
        due: not before this time, in Unix seconds.
        disabled: names of channels that do not work just now.
        fallbacks: the channel that takes over, by name of the channel.
    """
    asked: list[tuple[Stage, Plan, Plan | Verdict]] = []
    decision = pipeline.decide(stages, alert, Overlay(state), now, due, watch=lambda *what: asked.append(what))
    steps = [_step(stage, before, after, alert, now) for stage, before, after in asked]
    steps += [Step(title_of(stage), Did.NOT_ASKED, "the matter was decided before") for stage in stages[len(asked) :]]
    if isinstance(decision, Plan) and decision.channels:
        goes = _goes(decision, alert, now, disabled, fallbacks or {})
        return Explanation(alert, now, tuple(steps), AlertState.PLANNED, goes=goes, trail=decision.trail)
    if isinstance(decision, Plan):  # nobody chose a channel
        decision = Verdict(AlertState.RECORDED, Reason.NO_CHANNEL, trail=decision.trail)
    return Explanation(alert, now, tuple(steps), decision.state, decision.reason, decision.rule, trail=decision.trail)


def title_of(stage: Stage) -> str:
    """What to call a stage: a rule of settings by its name, another by its own words."""
    return name_of(stage).removesuffix("_stage").replace("_", " ")


def told(note: Note) -> str:
    """A note with its time: "it waits for the end of quiet hours (night; phone), 2026-01-31 07:00:00 UTC"."""
    return note.words if note.until is None else f"{note.words}, {clock(note.until)}"


def clock(at: float) -> str:
    """A time for people; ``at`` in Unix seconds."""
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _step(stage: Stage, before: Plan, after: Plan | Verdict, alert: Alert, now: float) -> Step:
    name, looks = title_of(stage), _looks(stage, alert, now)
    if isinstance(after, Verdict):
        return Step(name, Did.ENDED, after.reason.words, looks, (after.reason,), after.rule)
    notes = after.trail[len(before.trail) :]
    reasons = tuple(note.reason for note in notes)
    words = "; ".join([*map(told, notes), *_changes(before, after)])
    if Reason.RULE_BROKEN in reasons:
        return Step(name, Did.BROKEN, words, (), reasons, notes[-1].rule)
    if isinstance(stage, Escalations):  # the first takes it
        took = [note.rule for note in notes if note.reason is Reason.ESCALATES]
        looks = tuple(
            look if look.why_not or look.rule in took or not took else
            dataclasses.replace(look, why_not=f"{took[0]} took it before")
            for look in looks
        )  # fmt: skip
    if words:
        return Step(name, Did.ACTED, words, looks, reasons, next((note.rule for note in notes if note.rule), ""))
    return Step(name, Did.PASSED, _passes(name, looks), looks)


def _looks(stage: Stage, alert: Alert, now: float) -> tuple[Look, ...]:
    explained = getattr(stage, "explained", None)
    if explained is None:
        return ()
    known = {rule.name: rule for rule in _rules_of(stage) if isinstance(rule, Aim)}
    try:
        return tuple(
            Look(name, why_not, known[name].about, known[name].words) if name in known else Look(name, why_not)
            for name, why_not in explained(alert, now)
        )
    except Exception:  # it failed in the pipeline too, and that is told
        return ()


def _rules_of(stage: Stage) -> Sequence[Any]:
    return getattr(stage, "rules", None) or [stage]


def _changes(before: Plan, after: Plan) -> list[str]:
    changes = []
    if after.silent and not before.silent:
        changes.append("without sound")
    if after.channels != before.channels:
        changes.append(f"to {', '.join(after.channels) or 'no channel'}")
    return changes


def _passes(name: str, looks: Sequence[Look]) -> str:
    if not looks:
        return _PASSES.get(name, _NO_RULES)
    if any(not look.why_not for look in looks):
        return "it is about the alert, and lets it pass"
    return looks[0].why_not if len(looks) == 1 else "none of its rules is about the alert"


def _goes(
    plan: Plan, alert: Alert, now: float, disabled: Collection[str], fallbacks: Mapping[str, str]
) -> tuple[Going, ...]:
    urgent = fallbacks if alert.priority >= Priority.HIGH else {}
    found = []
    for name, failed_over in stand_ins(plan.channels, disabled, urgent).items():
        batch, reason = wait_of(plan, name, now, failed_over)
        gathers, due = batch.name.partition(":")[0], batch.due if batch.due > now else None
        found.append(Going(name, due, reason, gathers, plan.silent, name in disabled))
    return tuple(found)


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat()
