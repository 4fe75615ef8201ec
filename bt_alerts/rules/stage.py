"""What a stage of the pipeline is, what it is told, what it can decide, and the named reasons of its decisions.

A stage is a pure function ``(alert, plan, state, now) -> Plan | Verdict``. It returns the plan, perhaps changed, for
the next stage; or a verdict, which ends the matter. A stage that also acts when no alert comes is a :class:`Listener`:
it hears of other :data:`events <Event>` and decides what is to be done. Stages remember only through ``state`` and know
only the time that they are given, so the same stage runs live, in a test and over ten simulated years.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import AlertState, RuleState


class Reason(enum.StrEnum):
    """Why an alert was not delivered, not at once, or not there where it would have gone by itself."""

    # It is not delivered.
    HISTORY = "history"
    MODE_RECORD = "mode-record"
    EVENT_RECORD = "event-record"
    TOLD_BY_ACTION = "told-by-action"
    DUPLICATE = "duplicate"
    MUTED = "muted"
    NO_CHANNEL = "no-channel"
    NOWHERE = "routed-nowhere"
    MAINTENANCE = "maintenance"
    INHIBITED = "inhibited"
    IMMATERIAL = "immaterial"
    SAME_LEVEL = "same-level"
    ONCE_PER_BAR = "once-per-bar"
    REPEATED = "repeated"
    COOLDOWN = "cooldown"
    QUIET_RECORD = "quiet-record"
    # It waits.
    SCHEDULED = "scheduled"
    QUIET_HOURS = "quiet-hours"
    DIGEST = "digest"
    BATCH = "batch"
    # It goes elsewhere, or further.
    ROUTED = "routed"
    FAILED_OVER = "failed-over"
    ESCALATES = "escalates"
    ESCALATED = "escalated"
    RESOLVES = "resolves"
    # Of a rule.
    RULE_BROKEN = "rule-broken"

    @property
    def words(self) -> str:
        """The reason as a sentence."""
        return _WORDS[self]


_WORDS = {
    Reason.HISTORY: "it was made on an old bar, so it is recorded and never sent",
    Reason.MODE_RECORD: "`mode: record` sends nothing",
    Reason.EVENT_RECORD: "its kind of event is set to `record`",
    Reason.TOLD_BY_ACTION: "another alert told of the same action",
    Reason.DUPLICATE: "the same event was told before",
    Reason.MUTED: "somebody muted it",
    Reason.NO_CHANNEL: "no channel is configured and enabled for it",
    Reason.NOWHERE: "the route that takes it names no channel",
    Reason.MAINTENANCE: "it came in a maintenance window",
    Reason.INHIBITED: "another alert told of the cause",
    Reason.IMMATERIAL: "it is about too little to be told",
    Reason.SAME_LEVEL: "the level was told, and it was not left since",
    Reason.ONCE_PER_BAR: "one was told on this bar",
    Reason.REPEATED: "the same was told a short time ago",
    Reason.COOLDOWN: "one of its kind was told a short time ago",
    Reason.QUIET_RECORD: "it came in quiet hours, which record it",
    Reason.SCHEDULED: "it is to be delivered at a time",
    Reason.QUIET_HOURS: "it waits for the end of quiet hours",
    Reason.DIGEST: "it waits for a digest",
    Reason.BATCH: "it waits for others that are alike",
    Reason.ROUTED: "a route chose its channels",
    Reason.FAILED_OVER: "the channel that it was for could not deliver it",
    Reason.ESCALATES: "it goes further where nobody acknowledges it",
    Reason.ESCALATED: "nobody acknowledged it in time",
    Reason.RESOLVES: "it ends what an earlier alert told of, and goes where that went",
    Reason.RULE_BROKEN: "a rule failed, and it went on without that rule",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What a rule had to say about an alert, for history, explanation and simulation.

    Args:
        reason: its name.
        rule: the rule, as settings call it; empty for one that is always there.
        channel: which channel it is about; empty for all.
        until: until when it waits, in Unix seconds; None where it does not.
        about: a few words more: channels, a number.
    """

    reason: Reason
    rule: str = ""
    channel: str = ""
    until: float | None = None
    about: str = ""

    def to_list(self) -> list[object]:
        """As plain JSON, without empty fields at the end."""
        row: list[object] = [self.reason.value, self.rule, self.channel, self.until, self.about]
        while not row[-1]:
            row.pop()
        return row

    @classmethod
    def from_list(cls, row: Sequence[object]) -> Note | None:
        """The opposite of :meth:`to_list`; None for what a newer version wrote."""
        known = {reason.value: reason for reason in Reason}
        reason = known.get(str(row[0])) if row else None
        if reason is None:
            return None
        filled: list[object] = [*row[1:5], *["", "", None, ""][len(row) - 1 :]]
        rule, channel, until, about = filled
        when = float(until) if isinstance(until, int | float) else None
        return cls(reason, str(rule), str(channel), when, str(about))

    @property
    def words(self) -> str:
        """As a sentence's part, without the time: "it waits for the end of quiet hours (night; phone)"."""
        more = "; ".join(part for part in (self.rule, self.channel, self.about) if part)
        return f"{self.reason.words} ({more})" if more else self.reason.words


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """That an alert waits on a channel, and perhaps goes in one message with others.

    Args:
        name: of the batch; its part before the colon says what gathers: ``fills``, ``similar``, ``batch``, ``quiet`` or
            ``digest``. Empty where it goes alone.
        due: when it goes, in Unix seconds.
        full: it goes now, with everything that waits for it.
        reason: why it waits.
    """

    name: str
    due: float
    full: bool = False
    reason: Reason = Reason.BATCH


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with an alert, so far.

    Args:
        channels: names of the channels; empty until routing.
        muted: channels that somebody muted.
        silent: without sound.
        due: not before this time, in Unix seconds.
        batches: what it waits for, by channel; it goes at once and alone on those that are not named.
        at_once: channels on which it must not wait.
        ends: ids of alerts whose matter it ends: nobody needs to acknowledge them any more.
        trail: what rules had to say.
    """

    channels: tuple[str, ...] = ()
    muted: frozenset[str] = frozenset()
    silent: bool = False
    due: float = 0.0
    batches: Mapping[str, Batch] = dataclasses.field(default_factory=dict)
    at_once: frozenset[str] = frozenset()
    ends: tuple[str, ...] = ()
    trail: tuple[Note, ...] = dataclasses.field(default=(), compare=False)

    def noted(self, *notes: Note, **changes: object) -> Plan:
        """A copy with some fields changed and with what a rule had to say."""
        # As dataclasses.replace() does it, which takes several times as long; most alerts pass here more than once.
        given = changes.get
        return Plan(
            given("channels", self.channels),  # type: ignore[arg-type]
            given("muted", self.muted),  # type: ignore[arg-type]
            given("silent", self.silent),  # type: ignore[arg-type]
            given("due", self.due),  # type: ignore[arg-type]
            given("batches", self.batches),  # type: ignore[arg-type]
            given("at_once", self.at_once),  # type: ignore[arg-type]
            given("ends", self.ends),  # type: ignore[arg-type]
            (*self.trail, *notes),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The alert is not delivered: recorded as a matter of course, or suppressed by a rule."""

    state: AlertState
    reason: Reason
    rule: str = ""
    trail: tuple[Note, ...] = dataclasses.field(default=(), compare=False)


Stage = Callable[[Alert, Plan, RuleState, float], "Plan | Verdict"]

#: What is not told for one of these reasons did not happen now, and ends nothing.
NOT_NOW = frozenset({Reason.HISTORY, Reason.MODE_RECORD, Reason.DUPLICATE})


class Overhearing(Protocol):
    """What a stage has that learns also from alerts that it is not asked about: they may say that something is over."""

    def overhear(self, alert: Alert, state: RuleState, now: float) -> None:
        """An alert is not told, for a reason that is not in :data:`NOT_NOW`."""


def recorded(reason: Reason, rule: str = "") -> Verdict:
    """Kept in the history; nobody wanted it sent."""
    return Verdict(AlertState.RECORDED, reason, rule)


def suppressed(reason: Reason, rule: str = "") -> Verdict:
    """Kept in the history; a rule held it back."""
    return Verdict(AlertState.SUPPRESSED, reason, rule)


def name_of(stage: Stage) -> str:
    """What to call a stage in a sentence."""
    return str(getattr(stage, "name", "") or getattr(stage, "__name__", "") or type(stage).__name__)


# ------------------------------------------------------------------------------------- what is told besides alerts


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """Time passed.

    Args:
        acknowledged: tells of an alert, by its id, whether somebody acknowledged it; it may have been on the phone,
            where the service knows of it before anybody here.
    """

    acknowledged: Callable[[str], bool] = lambda _: False


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledged:
    """Somebody has seen an alert."""

    alert: str


@dataclasses.dataclass(frozen=True, slots=True)
class Snoozed:
    """Somebody wants an alert again at a time, in Unix seconds."""

    alert: str
    until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """An alert did not arrive on one of its channels, and will not."""

    alert: str


@dataclasses.dataclass(frozen=True, slots=True)
class Muted:
    """Somebody wants quiet until a time in Unix seconds; one in the past ends that."""

    selector: Mapping[str, str]
    until: float


Event = Tick | Acknowledged | Snoozed | Lost | Muted


# ------------------------------------------------------------------------------------ what can be decided besides plans


@dataclasses.dataclass(frozen=True, slots=True)
class Further:
    """An alert goes to further channels.

    Args:
        alert: its id.
        channels: where to.
        turn: how often it was decided before, so that the same channel can be told again.
        note: why.
    """

    alert: str
    channels: tuple[str, ...]
    turn: int
    note: Note


@dataclasses.dataclass(frozen=True, slots=True)
class ToReport:
    """A report is to be made.

    Args:
        name: as settings call it.
        period: ``daily`` or ``weekly``.
        since: begin of its time, in Unix seconds.
        until: end of it.
        zone: of its times.
        channels: where to.
    """

    name: str
    period: str
    since: float
    until: float
    zone: str
    channels: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A rule failed on something else than an alert."""

    note: Note


Decision = Further | ToReport | Failed


class Listener(abc.ABC):
    """A stage that also acts on other events than an alert."""

    __slots__ = ()

    @abc.abstractmethod
    def hear(self, event: Event, state: RuleState, now: float) -> list[Decision]:
        """What is to be done."""

    @abc.abstractmethod
    def wakes(self, state: RuleState, now: float) -> float | None:
        """When it wants to hear that time passed, in Unix seconds; None where it does not."""
