"""The outbox: the durable store that journals drain into. This file is its contract; sql.py and its kin fulfil it.

Two ledgers always balance. Alerts: ``accepted = recorded + suppressed + planned + waiting``. Deliveries: ``created =
delivered + pending + held + digested + failed over + expired + cancelled + dead``. Nothing disappears uncounted: what
is pruned stays counted where it stood.

Planning happens inside :meth:`Outbox.transaction`: alerts, decisions, rule state and the journal's position commit
together or not at all. Delivering is :meth:`Outbox.claim`, which leases one *target*, and :meth:`Outbox.settle`.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import enum
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.outbox.bell import Bell
from bt_alerts.rules.breaker import CLOSED, Breaker


class DeliveryState(enum.StrEnum):
    """Where one delivery stands."""

    PENDING = "pending"
    HELD = "held"
    DELIVERED = "delivered"
    DIGESTED = "digested"
    FAILED_OVER = "failed-over"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DEAD = "dead"


class AlertState(enum.StrEnum):
    """Where one alert stands."""

    WAITING = "waiting"
    RECORDED = "recorded"
    SUPPRESSED = "suppressed"
    PLANNED = "planned"


@dataclasses.dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery as the planner wants it. Times are Unix seconds.

    Args:
        key: idempotency key, unique in the store.
        channel: the channel's name.
        target: hash of the target's address.
        label: what may be shown of the address.
        due: not before.
        promised: when it should arrive; lateness is measured from here.
        expires: not after.
        silent: without sound.
        thread: of its alert; empty for none.
        batch: goes in one message with the target's others of this name, when the first of them is due; empty for none.
        reason: why it waits, or goes there (a word of :class:`bt_alerts.rules.stage.Reason`); empty where it goes at
            once where the alert goes by itself.
    """

    key: str
    channel: str
    target: str
    label: str
    due: float
    promised: float
    expires: float
    silent: bool = False
    thread: str = ""
    batch: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A delivery whose target we have leased.

    Besides what the delivery itself holds: ``replies_to``, the service's ids of the first and the last message of its
    thread to this target; ``memory``, what was remembered of the channel's targets, by their keys; ``batch``: it goes
    in one message with the target's others of that name; ``breaker``, its target's; ``progress``, what an earlier
    attempt had done already; ``reason``, why it waited or goes there. ``held_until``, when the target may be used
    again, in Unix seconds: what expires before that, or is to be handed over, is claimed to be given up. ``leased_at``
    tells this lease from a later one.
    """

    seq: int
    key: str
    channel: str
    target: str
    alert: Alert
    promised: float
    expires: float
    silent: bool
    attempts: int
    answers: int
    replies_to: tuple[str, ...] = ()
    memory: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    batch: str = ""
    held_until: float = 0.0
    breaker: Breaker = CLOSED
    progress: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    leased_at: float = 0.0
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A message that was delivered, and of which the service is to be asked what became of it.

    Args:
        seq: of the delivery.
        channel: the channel's name.
        target: hash of the target's address.
        alert: what was delivered.
        service_id: the service's id of the message.
        facts: what the service said of it so far.
        delivered: when the service took it, in Unix seconds.
        digested: the alerts that were in the same message, by the numbers of their deliveries.
        acknowledged: somebody acknowledged the alert, here or elsewhere.
    """

    seq: int
    channel: str
    target: str
    alert: Alert
    service_id: str
    facts: Mapping[str, Any]
    delivered: float
    digested: Mapping[int, Alert] = dataclasses.field(default_factory=dict)
    acknowledged: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claim.

    Args:
        state: where the delivery stands now; ``PENDING`` for another try.
        outcome: the word for the attempt ("sent", "retry", …).
        detail: one sentence for a person, without secrets.
        due: when to try again, where it is still pending.
        service_id: the service's id of the message.
        answered: whether the service answered.
        attempted: whether anything was tried at all (an expiry is settled without).
        hold_target: no delivery to this target before this time.
        hold_channel: no delivery to any target of the channel before this time.
        disable_target: the address is dead, with the reason.
        disable_channel: the credentials are wrong, with the reason.
        hold_below: with one of these, what waits is held below this priority only: the rest has a fallback.
        instead: deliveries on the fallback channel that take its place. Where none of them can (that channel gave the
            alert up before), it is a dead letter.
        cancel_others: the alert's other pending deliveries are cancelled (``fail_fast``).
        remember: what every later claim of this target brings; None keeps what was remembered before.
        ask_at: when to ask the service what became of the message, in Unix seconds; None never.
        batch: it waits for its due time to go in one message with the target's others of that name.
        digested: numbers of the deliveries that were in the same message.
        apart: what is left of the claim's batch goes one by one: one of them may be what the service refuses.
        breaker: the target's from now on; None leaves it as it is.
        slow_down: the service said "too many": the target is sent less a minute from now on.
        progress: what the next attempt need not do again; None keeps what was known before.
    """

    state: DeliveryState
    outcome: str
    detail: str = ""
    due: float = 0.0
    service_id: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    answered: bool = False
    attempted: bool = True
    hold_target: float | None = None
    hold_channel: float | None = None
    disable_target: str = ""
    disable_channel: str = ""
    hold_below: Priority | None = None
    instead: Sequence[NewDelivery] = ()
    cancel_others: bool = False
    remember: Mapping[str, Any] | None = None
    ask_at: float | None = None
    batch: str = ""
    digested: Sequence[int] = ()
    apart: bool = False
    breaker: Breaker | None = None
    slow_down: bool = False
    progress: Mapping[str, Any] | None = None

    @property
    def touches_others(self) -> bool:
        """Whether it changes more than its own delivery and target."""
        return bool(
            self.instead
            or self.digested
            or self.apart
            or self.cancel_others
            or self.hold_channel
            or self.disable_channel
            or self.disable_target
        )


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up, or whose time to live ended. Times are Unix seconds.

    Args:
        number: what to call it by in :meth:`Transaction.retry_dead` and :meth:`Outbox.purge_dead`.
        state: ``DEAD`` or ``EXPIRED``.
        channel: the channel's name.
        label: what may be shown of the address.
        attempts: how often it was tried.
        detail: the last answer, in words.
        settled: when it was given up.
        alert: what was not delivered.
    """

    number: int
    state: DeliveryState
    channel: str
    label: str
    attempts: int
    detail: str
    settled: float
    alert: Alert


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """The two ledgers, counted from the rows themselves."""

    accepted: int
    recorded: int
    suppressed: int
    planned: int
    waiting: int
    created: int
    deliveries: Mapping[str, int]
    reasons: Mapping[str, int]
    unreadable: int = 0

    @property
    def balanced(self) -> bool:
        """Whether nothing disappeared uncounted."""
        alerts = self.recorded + self.suppressed + self.planned + self.waiting
        return self.accepted == alerts and self.created == sum(self.deliveries.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A process that works with the store.

    Args:
        owner: the name under which it leases.
        role: ``strategy`` or ``worker``.
        about: plain facts: pid, host, version, channels, strategies …
        started: Unix seconds.
        seen: its last sign of life, in Unix seconds.
        ended: when it said goodbye; None where it did not.
    """

    owner: str
    role: str
    about: Mapping[str, Any]
    started: float
    seen: float
    ended: float | None = None


class Pruned(NamedTuple):
    """How much was forgotten, or would be."""

    alerts: int = 0
    deliveries: int = 0
    attempts: int = 0


class Size(NamedTuple):
    """Bytes of a store, without journals and attachments: all of them, and those that hold nothing at the moment."""

    total: int
    spare: int


class RuleState(abc.ABC):
    """What rules remember. Values are plain JSON; ``until`` is when a value may be forgotten, in Unix seconds."""

    @abc.abstractmethod
    def get(self, rule: str, key: str) -> Any:
        """The value, or None."""

    @abc.abstractmethod
    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        """Remember ``value``."""

    @abc.abstractmethod
    def drop(self, rule: str, key: str) -> None:
        """Forget a value."""

    @abc.abstractmethod
    def items(self, rule: str) -> list[tuple[str, Any]]:
        """Everything that one rule remembers."""

    @abc.abstractmethod
    def forget(self, now: float) -> None:
        """Drop what may be forgotten; done before rules look, so that what they see does not depend on when it was."""


class Transaction(abc.ABC):
    """Planning: everything in it commits together."""

    state: RuleState

    @abc.abstractmethod
    def add_alert(self, alert: Alert, state: AlertState, reason: str = "", due: float = 0.0) -> int | None:
        """Keep an alert; None where the store has it already (a journal drained twice).

        ``due``, in Unix seconds, is for one that waits for a planner elsewhere.
        """

    @abc.abstractmethod
    def waiting(self, most: int) -> list[tuple[int, Alert, float]]:
        """Alerts that nobody has decided about, oldest first: number, alert, and when it is due in Unix seconds."""

    @abc.abstractmethod
    def decide(
        self, alert_seq: int, state: AlertState, reason: str = "", rule: str = "", trail: Sequence[Any] = ()
    ) -> None:
        """Write what was decided about an alert: why, by which rule, and what rules had to say (plain JSON)."""

    @abc.abstractmethod
    def add_to_trail(self, alert_seq: int, note: Any) -> None:
        """Something more was decided about an alert (plain JSON)."""

    @abc.abstractmethod
    def find(self, alert_id: str) -> tuple[int, Alert] | None:
        """The number of an alert, and the alert; None where there is none or it is damaged."""

    @abc.abstractmethod
    def acknowledged(self, alert_id: str) -> bool:
        """Whether somebody acknowledged an alert, or it is forgotten."""

    @abc.abstractmethod
    def alerts(self, types: Collection[AlertType], since: float, until: float, *, history: bool = False) -> list[Alert]:
        """The alerts of some types that happened in a time (Unix seconds), oldest first.

        Those that were made on an old bar are among them with ``history`` only.
        """

    @abc.abstractmethod
    def fates(self, alert_id: str) -> dict[tuple[str, str], set[DeliveryState]]:
        """Where the deliveries of an alert stand, by channel and target."""

    @abc.abstractmethod
    def together(self, alert_id: str) -> list[str]:
        """Ids of the alerts that arrived in one message with this one, which led it."""

    @abc.abstractmethod
    def dead_targets(self) -> set[tuple[str, str]]:
        """Channel and target of each address that will not work any more."""

    @abc.abstractmethod
    def add_deliveries(self, alert_seq: int, deliveries: Iterable[NewDelivery], now: float) -> None:
        """Plan deliveries of an alert."""

    @abc.abstractmethod
    def hasten(self, channel: str, batch: str, now: float) -> None:
        """A batch is full: what is pending of it is due now."""

    @abc.abstractmethod
    def position(self, journal: str) -> int:
        """How far a journal is drained."""

    @abc.abstractmethod
    def set_position(self, journal: str, position: int) -> None:
        """Say how far a journal is drained."""

    @abc.abstractmethod
    def unreadable(self, journal: str, position: int, line: bytes) -> None:
        """Keep a line that is no alert, so that it is counted."""

    @abc.abstractmethod
    def disabled(self) -> set[str]:
        """Disabled channels."""

    @abc.abstractmethod
    def acknowledge(self, alert_id: str, now: float) -> bool:
        """Mark an alert as acknowledged and cancel what is pending of it; False where there is no such alert."""

    @abc.abstractmethod
    def resolve(self, alert_id: str, now: float) -> None:
        """What an alert told of is over: nobody needs to acknowledge it, and nobody further is called."""

    @abc.abstractmethod
    def snooze(self, alert_id: str, until: float, now: float) -> bool:
        """Deliver again at ``until`` what was delivered, and what is pending not before it."""

    @abc.abstractmethod
    def retry_dead(self, numbers: Collection[int] | None, now: float, time_to_live: float) -> int:
        """Deliver dead letters after all.

        They are pending again, due ``now``, with a new time to live; on a channel or target that is disabled they are
        held. Failed answers are counted anew, attempts go on.

        Args:
            numbers: which; None for all. A number that names no dead letter is passed over.
            now: Unix seconds.
            time_to_live: seconds after which they expire again.

        Returns:
            How many there were.
        """


#: Seconds for which what is overdue is left to a courier of its channel, which may only be starting.
GRACE = 3600.0
#: Name of the lease that the worker has which plans; see :meth:`Outbox.hold`.
PLANNER = "planner"


class Done(NamedTuple):
    """A claim that was attempted, and what became of it; ``started`` and ``ended`` in Unix seconds."""

    claim: Claim
    settlement: Settlement
    started: float
    ended: float


class Outbox(abc.ABC):
    """The store."""

    #: Where journals of this store live; None for a store in memory.
    journals: Path | None
    #: Where copies of attachments live; None for a store in memory.
    attachments: Path | None

    #: What to call this store in a sentence.
    name: str
    #: Whether it is on this machine: then its workers are too, and drain journals themselves.
    local: bool = True

    @abc.abstractmethod
    def forked(self) -> Outbox:
        """The same store for a forked child, which must not touch its parent's connection."""

    @abc.abstractmethod
    def position(self, journal: str) -> int:
        """How far a journal is drained."""

    @abc.abstractmethod
    def transaction(self) -> contextlib.AbstractContextManager[Transaction]:
        """Begin planning. Raises :class:`~bt_alerts.errors.StoreError` where the store cannot be written."""

    @abc.abstractmethod
    def record(self, alerts: Iterable[Alert], reason: str) -> int:
        """Keep alerts that are not to be delivered, in bulk; returns how many were new."""

    @abc.abstractmethod
    def claim(
        self,
        channel: str,
        owner: str,
        now: float,
        lease: float,
        rate: float,
        *,
        hand_over: Priority | None = None,
    ) -> Claim | None:
        """Lease the target of the channel's most urgent due delivery, for ``lease`` seconds.

        What is urgent goes before what is not, and what is older before what is newer. Now and then the probe of a
        half-open circuit breaker is the delivery that was tried least: a message that the service cannot take must not
        be the probe for ever. What a wall clock that was set back would hold up is not held up.

        Args:
            channel: the channel's name.
            owner: who leases; the leases of a dead owner are released by :meth:`release`.
            now: Unix seconds.
            lease: seconds after which another may take the target.
            rate: messages a minute that a target takes; 0 for no limit.
            hand_over: from this priority on, what waits for an open breaker is claimed to be handed over; None for
                nothing.
        """

    @abc.abstractmethod
    def settle(self, claim: Claim, settlement: Settlement, owner: str, started: float, now: float) -> bool:
        """Write down what became of a claim and give the target back; False where the lease was lost meanwhile."""

    @abc.abstractmethod
    def unclaim(self, channel: str, owner: str, leased_at: float) -> None:
        """Give back what a claim made at ``leased_at`` has leased, if anything: its answer may have been lost."""

    def settle_and_claim(
        self, done: Done, owner: str, now: float, lease: float, rate: float, *, hand_over: Priority | None = None
    ) -> tuple[bool, Claim | None]:
        """Settle a delivery and claim the next of its channel, in one commit where the store can.

        Args:
            done: what to settle; the other arguments are those of :meth:`claim`.

        Returns:
            What :meth:`settle` and :meth:`claim` return.

        Raises:
            StoreError: where either could not be, or its answer was lost. Settling it again does no harm.
        """
        settled = self.settle(done.claim, done.settlement, owner, done.started, done.ended)
        return settled, self.claim(done.claim.channel, owner, now, lease, rate, hand_over=hand_over)

    @abc.abstractmethod
    def gathered(self, claim: Claim, now: float) -> list[tuple[int, Alert]]:
        """What goes in one message with a claim: the target's other deliveries of its batch, in order."""

    @abc.abstractmethod
    def claim_question(self, channel: str, now: float, lease: float) -> Question | None:
        """The next message of a channel to ask about; nobody else gets it for ``lease`` seconds."""

    @abc.abstractmethod
    def settle_question(
        self,
        question: Question,
        settlement: Settlement,
        now: float,
        *,
        acknowledged: bool = False,
        not_arrived: Mapping[int, Sequence[NewDelivery]] | None = None,
    ) -> list[int]:
        """Write down what the service told.

        Args:
            question: what was asked.
            settlement: its ``outcome``, ``detail``, ``facts`` and ``ask_at`` count.
            now: Unix seconds.
            acknowledged: what else is pending of the alerts is cancelled.
            not_arrived: the message did not arrive after all: its deliveries by number, with those that take each one's
                place; where none does, it is a dead letter.

        Returns:
            The numbers of the dead letters.
        """

    @abc.abstractmethod
    def expire(self, but: Collection[str], now: float) -> list[tuple[str, Alert]]:
        """Let what is overdue expire on channels that nobody delivers for, because no courier will see it.

        Args:
            but: channels that have a courier, here or elsewhere.
            now: Unix seconds; what is overdue for less than :data:`GRACE` may have one that is about to begin.

        Returns:
            The channel and the alert of each delivery that expired.
        """

    @abc.abstractmethod
    def next_due(self, channel: str, now: float) -> float | None:
        """When the channel next has something to do, in Unix seconds; None where nothing is pending."""

    @abc.abstractmethod
    def release(self, owner: str) -> None:
        """Give back every lease of an owner who is dead or stops, that of the planner included."""

    @abc.abstractmethod
    def hold(self, name: str, owner: str, now: float, lease: float) -> bool:
        """Have what only one may have, for ``lease`` seconds from ``now``; False where another one has it."""

    def lead(self, owner: str, now: float, lease: float) -> bool:
        """Be the one worker that plans, for ``lease`` seconds from ``now``; False where another one is."""
        return self.hold(PLANNER, owner, now, lease)

    @abc.abstractmethod
    def check_in(self, process: Process) -> None:
        """Say that a process lives, or (with ``ended``) that it ends as it should."""

    @abc.abstractmethod
    def processes(self) -> list[Process]:
        """The processes that work or worked with the store, the newest first."""

    @abc.abstractmethod
    def bell(self) -> Bell:
        """What wakes the other processes that work with the store."""

    @abc.abstractmethod
    def dead_letters(self, numbers: Collection[int] | None = None) -> Iterator[DeadLetter]:
        """Deliveries that were given up or expired, oldest first: these, or all with None."""

    @abc.abstractmethod
    def purge_dead(self, numbers: Collection[int] | None) -> int:
        """Give dead letters up for good: they stay in the ledger, as cancelled.

        Args:
            numbers: which; None for all. A number that names no dead letter is passed over.

        Returns:
            How many there were.
        """

    @abc.abstractmethod
    def enable_channel(self, channel: str, fingerprint: str) -> None:
        """A channel starts: where its configuration changed since it was disabled, what was held becomes pending."""

    @abc.abstractmethod
    def disabled(self) -> dict[str, str]:
        """Disabled channels with the reason."""

    @abc.abstractmethod
    def pending(self, channels: Sequence[str], now: float) -> tuple[int, float | None]:
        """How many deliveries of these channels are pending, and when the next try is; now for what is in flight."""

    @abc.abstractmethod
    def ledger(self) -> Ledger:
        """Count everything."""

    @abc.abstractmethod
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Read, a page at a time; never blocks a writer."""

    @abc.abstractmethod
    def prune(self, before: float, most: int) -> Pruned:
        """Forget alerts stored before a time, with everything that hangs on them; the ledgers go on counting them.

        What waits, is pending or held, goes further or is still asked about is no history yet and stays, however old it
        is.

        Args:
            before: Unix seconds.
            most: how many alerts at most, in one short transaction.

        Returns:
            What was forgotten; no alert where there is none left.
        """

    @abc.abstractmethod
    def prunable(self, before: float) -> Pruned:
        """Count what :meth:`prune` would forget in all."""

    @abc.abstractmethod
    def forgotten(self) -> int:
        """How many alerts were forgotten so far."""

    @abc.abstractmethod
    def attached(self, before: float = 0.0) -> Iterator[str]:
        """Hashes of the attachments of all alerts, but for those that pruning ``before`` a time would forget."""

    def size(self) -> Size:
        """How large the store is."""
        return Size(0, 0)

    @abc.abstractmethod
    def idle(self) -> None:
        """Housekeeping while nobody waits: checkpoint, incremental vacuum."""

    @abc.abstractmethod
    def backup(self, path: Path) -> None:
        """Copy the live store."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the store."""
