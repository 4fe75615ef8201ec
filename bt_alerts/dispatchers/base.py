"""What a dispatcher is: a class that knows one service.

Contract
--------
*Targets.* :meth:`Dispatcher.targets` lists the addresses that one alert goes to. Each is delivered, retried and counted
by itself.

*Delivering.* :meth:`Dispatcher.deliver` sends one alert to one target **now**, on the calling thread, within
``self.timeout`` seconds in total, and returns a :class:`Receipt`. Anything else is a :class:`DeliveryFailed` with its
class. It never retries, never sleeps, never queues: that is the courier's work. It may be called from several threads.

*Listening.* Where people may answer, :meth:`Dispatcher.listener` hears them. Only who is listed may.

*Checking.* :meth:`Dispatcher.check` finds out whether the credentials work, without sending where the service allows.

*Settings.* The constructor's signature is the one declaration from which settings, environment names and documentation
are made: annotate with :class:`Credential`, :class:`Env` and :class:`About`.

Used alone, every dispatcher has the promised ``send_*`` methods, which deliver at once and return whether the service
took it, and keeps its own history in memory.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import datetime as dt
import enum
import hashlib
import inspect
import json
import logging
import threading
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bt_alerts import compose
from bt_alerts.alert import Alert, Attachment, Priority, utcnow
from bt_alerts.redact import redact, register_secret
from bt_alerts.render.look import PLAIN, Escape, Look, View, as_is

log = logging.getLogger("bt_alerts.dispatchers")


# ------------------------------------------------------------------ annotations of constructor arguments


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """This argument is secret: masked in every output, written to no store."""


@dataclasses.dataclass(frozen=True, slots=True)
class Env:
    """The environment variable that gives this argument (and ``NAME_FILE`` a file that holds it)."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """One sentence for settings, forms and documentation."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Suggested:
    """Words that editors and forms offer for this argument, each with what it is; others may be taken too."""

    words: Mapping[str, str]


# ---------------------------------------------------------------------------------- what a send can be


class Failure(enum.StrEnum):
    """The class of a failed delivery; it decides what the courier does next."""

    RETRY = "retry"  # passing: try again with backoff
    RETRY_AFTER = "retry-after"  # passing: try again after exactly `retry_after` seconds
    PERMANENT = "permanent"  # this message will never be taken: dead letter
    AUTH = "auth"  # wrong credentials: the channel is disabled, loudly, elsewhere
    TOO_LARGE = "too-large"  # permanent for this message as it is
    UNKNOWN = "unknown-outcome"  # written, but no answer: it may have arrived


#: Failures after which the same request is made again: a repeat is better than a loss.
PASSING = (Failure.RETRY, Failure.RETRY_AFTER, Failure.UNKNOWN)


class DeliveryFailed(Exception):
    """A delivery that did not succeed.

    Args:
        failure: its class.
        reason: one sentence for a person; secrets are masked here.
        retry_after: seconds to wait; only with ``RETRY_AFTER``.
        answered: True where the service answered. ``max_retries`` counts answers; a service that cannot be reached is
            tried until the alert's time to live ends.
        dead_target: the address will never work again (HTTP 410, an unknown chat): disable the target.
        digest: with ``RETRY_AFTER``: what has gathered for the target by then goes as one message that lists it.
        progress: plain data about what of this message the service has already; the next attempt gets it back in
            :attr:`Context.progress` and goes on from there. None keeps what was known before.
    """

    def __init__(
        self,
        failure: Failure,
        reason: str,
        *,
        retry_after: float | None = None,
        answered: bool = True,
        dead_target: bool = False,
        digest: bool = False,
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(redact(reason))
        self.failure = failure
        self.reason = redact(reason)
        self.retry_after = retry_after
        self.answered = answered
        self.dead_target = dead_target
        self.digest = digest
        self.progress = progress


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """The service took the message.

    Args:
        id: the service's own id of the message, empty where it gives none.
        note: one sentence for a person ("sent as plain text: the formatting was refused").
        facts: plain data worth keeping, such as a remaining quota or a Pushover receipt.
        hold_until: Unix seconds before which the channel must not be used again (a quota that is now used up).
        hold_target_until: the same for this target alone (a service that says when its next message may come).
        remember: plain data about this target that every later delivery gets back in :attr:`Context.memory` (a chat's
            new id, what was spent); replaces what was remembered before. None keeps that.
        follow_up: seconds after which :meth:`Dispatcher.follow_up` is to ask what became of the message; None never.
    """

    id: str = ""
    note: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hold_until: float | None = None
    hold_target_until: float | None = None
    remember: Mapping[str, Any] | None = None
    follow_up: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """What a service tells later about a message that it took.

    Args:
        text: one sentence for a person ("delivered to the phone", "acknowledged by anna").
        acknowledged: somebody confirmed that the alert was seen.
        failed: it did not arrive after all.
        again: seconds after which to ask once more; None where nothing more can come.
        facts: plain data worth keeping.
    """

    text: str
    acknowledged: bool = False
    failed: bool = False
    again: float | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One address of a channel.

    Args:
        address: what the service needs; it can be a secret and is never shown.
        label: what may be shown to a person.
    """

    address: str = dataclasses.field(repr=False)
    label: str = ""

    @property
    def key(self) -> str:
        """A hash of the address: what the store keeps instead of it."""
        return hashlib.sha256(self.address.encode("utf-8", "replace")).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What is known about one attempt besides the alert.

    Args:
        key: idempotency key, the same for every attempt of this delivery; letters, digits, ``_`` and ``-`` only.
        attempt: 1 for the first.
        late: how late this delivery is, None where it is in time.
        silent: deliver without sound.
        now: the time of the attempt, aware UTC.
        replies_to: ids that the service gave to the first and the last message of the alert's ``thread`` to this
            target; empty where this is the first.
        memory: what receipts asked to remember, by the key of the channel's targets.
        buttons: somebody listens to buttons (acknowledge, snooze, mute); without that none is shown.
        progress: what an earlier attempt of this delivery said that the service has already.
    """

    key: str
    attempt: int = 1
    late: dt.timedelta | None = None
    silent: bool = False
    now: dt.datetime = dataclasses.field(default_factory=utcnow)
    replies_to: tuple[str, ...] = ()
    memory: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    buttons: bool = False
    progress: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request as a preview shows it.

    Args:
        line: method and address, or whatever else begins it.
        headers: by name.
        body: as text; files are named, not shown.
    """

    line: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str = ""


# ------------------------------------------------------------------------------- what people answer


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for through a service.

    Args:
        action: ``"ack"``, ``"snooze"`` or ``"mute"``.
        alert: id of the alert that it was said of; empty where it is of none, or that is not known.
        symbol: what to mute; only its beginning where the service had no room for more.
        seconds: how long to snooze or to mute.
    """

    action: str
    alert: str = ""
    symbol: str = ""
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What a person asks in words, such as ``/mute AAPL 1h``.

    Args:
        name: the word behind the slash, in lower case.
        arguments: the words that follow.
        certain: it is meant for us even where we have no such command; others may listen in the same chat.
    """

    name: str
    arguments: tuple[str, ...] = ()
    certain: bool = True

    def __str__(self) -> str:
        return " ".join([f"/{self.name}", *self.arguments])


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """One thing that somebody said to a channel.

    Args:
        number: counts what was said; larger for each, the same when it comes again.
        who: the service's id of the person, which may be shown; empty where it is not known.
        wish: what is asked for; None for what asks nothing of us, and for what cannot be read.
        reply: what the listener itself needs to answer.
        command: what is asked in words.
    """

    number: int
    who: str = ""
    wish: Wish | None = None
    reply: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: Command | None = None


class Listener(Protocol):
    """Hears what people say to a channel; run by :mod:`bt_alerts.delivery.pollers`. Keeps no state of its own."""

    #: Of the account: the same for all that would take each other's messages away. No secret can be told from it.
    name: str

    def hear(self, after: int, wait: float) -> Sequence[Heard]:
        """Wait for what is said, at most ``wait`` seconds; what has a number below ``after`` is forgotten.

        Raises:
            DeliveryFailed: ``AUTH`` where the credentials are wrong; ``PERMANENT`` where somebody else listens;
                ``RETRY_AFTER`` where the service told when to come again; another class for what passes.
        """

    def may(self, heard: Heard) -> bool:
        """Whether that person may command."""

    def may_read(self, heard: Heard) -> bool:
        """Whether that person may ask for what changes nothing; asked only of a command in words."""

    def answer(self, heard: Heard, text: str, files: Sequence[Attachment] = ()) -> None:
        """Say what came of it: of a button in one short sentence, of a command in words as long as it takes.

        Args:
            heard: what is answered.
            text: plain.
            files: go along with the answer to a command.

        Raises:
            DeliveryFailed: it did not arrive, or not all of it.
        """

    def began(self, commands: Sequence[tuple[str, str]]) -> None:
        """Listening works: called once, with names of commands and what they are for, to be shown where people write.

        Raises:
            DeliveryFailed: which does no harm.
        """


def late_text(late: dt.timedelta | None) -> str:
    """``"⏱ 11 min late"``, or nothing where it is in time."""
    if late is None:
        return ""
    seconds = int(late.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"⏱ {seconds // size} {unit} late"
    return f"⏱ {seconds} s late"


# ---------------------------------------------------------------------------------------- dispatcher


class Dispatcher(abc.ABC):
    """Base of every dispatcher; see the module's docstring for the contract.

    Class attributes:
        type: the channel type in settings.
        rate: messages a minute that a channel starts with; 0 means no limit.
        repeat_unknown: what the courier does after a timeout once the request was written: True sends again (the
            service takes our idempotency key, or a repeat is better than a loss), False makes it a dead letter.
        repeats_cost: each repeat is paid or rings a phone, so an unknown outcome that counts as an answer does so also
            of a service that is known to be unwell, whose answers count for nothing else.
    """

    type: ClassVar[str] = ""
    rate: ClassVar[int] = 0
    repeat_unknown: ClassVar[bool] = True
    repeats_cost: ClassVar[bool] = False
    #: How many of its addresses are served at the same time at most; 0 for as many as settings allow.
    concurrent: int = 0
    #: Named here so that settings know them for every type, whether or not a constructor asks for them.
    timeout: float = 30.0

    enabled: bool = True
    #: The priority of the alert that a test sends.
    test_priority: ClassVar[Priority] = Priority.MEDIUM
    #: The service takes pictures, so a chart is drawn for it where its channel asks for charts.
    takes_pictures: ClassVar[bool] = False
    #: It takes documents and tables too, so a report brings all its files along.
    takes_files: ClassVar[bool] = False
    #: Somebody may answer through it (:meth:`listener`), so messages show buttons.
    listens: bool = False
    #: How alerts are put into words: the user's templates and time zone.
    look: Look = PLAIN
    #: The built-in set of templates, and what makes text safe in the service's markup: a function, not a method.
    kit: str = "default"
    escape: Escape = staticmethod(as_is)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _registering_secrets(cls.__init__)  # type: ignore[method-assign]

    # What a service's own file fills in ------------------------------------------------------------

    @abc.abstractmethod
    def targets(self) -> Sequence[Target]:
        """The addresses that an alert goes to; empty where a credential is missing."""

    @abc.abstractmethod
    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        """Send now. Raises :class:`DeliveryFailed`."""

    @abc.abstractmethod
    def check(self, target: Target) -> Receipt:
        """See whether the credentials work, without sending where possible. Raises :class:`DeliveryFailed`."""

    def follow_up(self, receipt: Receipt) -> News | None:
        """Ask what became of a message; called where its receipt asked for it. Raises :class:`DeliveryFailed`."""
        return None

    def withdraw(self, receipt: Receipt) -> News | None:
        """The alert was acknowledged elsewhere: end what still calls for it. Raises :class:`DeliveryFailed`.

        Called in place of :meth:`follow_up`. None where the service has nothing to end, and is asked as usual.
        """
        return None

    def listener(self) -> Listener | None:
        """What hears people answer; None where nobody's answer counts, and :attr:`listens` is False."""
        return None

    def preview(self, alert: Alert, target: Target, context: Context) -> list[Request]:
        """The requests that :meth:`deliver` would make; nothing is sent. Secrets are masked by whoever shows them."""
        view = self.view(alert, context)
        return [Request(f"to {target.label}", body=f"{view.title}\n{view.message}")]

    # What a service's own file uses ------------------------------------------------------------------

    def view(self, alert: Alert, context: Context) -> View:
        """The alert's parts in this service's markup."""
        return self.look.view(alert, late_text(context.late), escape=self.escape, kit=self.kit)

    def pages(self, alert: Alert, context: Context, limit: int, size: Callable[[str], int] = len) -> list[str]:
        """The whole alert as text in this service's markup, in as few messages of at most ``limit`` as it takes."""
        late = late_text(context.late)
        return self.look.pages(alert, late, limit=limit, escape=self.escape, kit=self.kit, size=size)

    def missing(self) -> str:
        """What must still be set before this channel can send, as one sentence; empty where nothing is missing."""
        return ""

    def close(self) -> None:  # noqa: B027 - a service without connections has nothing to do here
        """Let go of connections."""

    # Used alone ------------------------------------------------------------------------------------

    def send(self, alert: Alert, context: Context | None = None) -> bool:
        """Deliver to every target now; True where each took it. Keeps the alert in this object's own history."""
        self._sent().append(alert)
        if not self.enabled:
            return False
        problem = self.missing()
        if problem:
            log.warning("%s: %s", self.type, problem)
            return False
        took_all = True
        memory: dict[str, Mapping[str, Any]] = self.__dict__.setdefault("_own_memory", {})
        for target in self.targets():
            key = delivery_key(alert.id, self.type, target.key)
            try:
                receipt = self.deliver(alert, target, context or Context(key=key, memory=memory))
                if receipt.remember is not None:
                    memory[target.key] = receipt.remember
            except DeliveryFailed as failed:
                log.warning("%s: not delivered to %s: %s", self.type, target.label, failed.reason)
                took_all = False
        return took_all

    def send_alert(self, action: str, symbol: str, price: float, size: float | None = None, **how: Any) -> bool:
        """A trade: ``send_alert("BUY", "AAPL", 150.5, 10)`` shows the value (price × size) too."""
        return self._send(compose.trade_call(action, symbol, price, size), **how)

    def send_strategy_signal(
        self,
        strategy: str,
        signal: str,
        symbol: str,
        conditions: Sequence[str] | Mapping[str, Any] | None = None,
        **how: Any,
    ) -> bool:
        """What a strategy saw, with the conditions that held."""
        return self._send(compose.signal(strategy, signal, symbol, conditions), **how)

    def send_error_alert(
        self, error_type: str, message: str, context: Mapping[str, Any] | str | None = None, **how: Any
    ) -> bool:
        """An error; high priority."""
        return self._send(compose.error(error_type, message, context), **how)

    def send_market_update(
        self,
        symbol: str,
        price: float,
        change: float,
        change_percent: float | None = None,
        volume: float | None = None,
        **how: Any,
    ) -> bool:
        """A price change in units and percent; low priority. The percentage is computed where it is not given."""
        return self._send(compose.market_update(symbol, price, change, change_percent, volume), **how)

    def send_custom_alert(self, message: str, title: str = "Trading Alert", **how: Any) -> bool:
        """Any text."""
        return self._send(compose.custom(message, title), **how)

    def _send(self, alert: Alert, *, high_priority: bool = False, **how: Any) -> bool:
        if high_priority:
            alert = alert.replace(priority=max(alert.priority, Priority.HIGH))
        if how:
            names = ", ".join(sorted(how))
            raise TypeError(f"{type(self).__name__} does not know the argument {names}: leave it out")
        return self.send(alert)

    def test_connection(self) -> bool:
        """Whether every target answers a check."""
        problem = self.missing()
        if problem:
            log.warning("%s: %s", self.type, problem)
            return False
        try:
            for target in self.targets():
                self.check(target)
        except DeliveryFailed as failed:
            log.warning("%s: %s", self.type, failed.reason)
            return False
        return True

    def enable(self) -> None:
        """Send from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Send nothing from now on; alerts are still kept in the history."""
        self.enabled = False

    def get_alerts_history(self) -> list[Alert]:
        """The alerts sent through this object, oldest first."""
        return list(self._sent())

    def get_alerts_by_type(self, alert_type: str) -> list[Alert]:
        """Those of one type: ``"BUY"``, ``"SELL"``, ``"signal"``, ``"error"``, ``"market"``, ``"custom"`` …"""
        wanted = str(alert_type).lower()
        return [alert for alert in self._sent() if _own_word(alert).lower() == wanted]

    def get_alerts_count(self) -> dict[str, int]:
        """``{type: number}`` of the history."""
        return dict(collections.Counter(_own_word(alert) for alert in self._sent()))

    def clear_history(self) -> None:
        """Forget the history of this object."""
        self._sent().clear()

    def export_alerts(self, filename: str | None = None) -> Path:
        """Write the history as a JSON list and return the file's path."""
        path = Path(filename or f"{self.type}_alerts_{utcnow():%Y%m%d_%H%M%S}.json")
        rows = [alert.to_dict() for alert in self._sent()]
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
        return path

    def _sent(self) -> collections.deque[Alert]:
        # Made on first use, because a subclass need not call super().__init__().
        sent: collections.deque[Alert] = self.__dict__.setdefault("_own_history", collections.deque(maxlen=10_000))
        return sent

    def __repr__(self) -> str:
        labels = ", ".join(target.label for target in self.targets()) if not self.missing() else "not configured"
        return f"<{type(self).__name__} {labels}>"


def _own_word(alert: Alert) -> str:
    """A dispatcher alone files trades under their action ("BUY"), everything else under its type."""
    action = alert.data.get("action")
    return str(action) if alert.kind == "direct.trade" and action else alert.type.value


def delivery_key(alert_id: str, channel: str, target_key: str) -> str:
    """The idempotency key of one delivery: the same for every attempt, whoever makes it."""
    digest = hashlib.sha256(f"{alert_id}\0{channel}\0{target_key}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


# ------------------------------------------------------------------------------ constructor arguments


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """One constructor argument, as settings, forms and documentation need it."""

    name: str
    annotation: Any
    default: Any
    credential: bool
    env: str
    about: str
    suggested: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def arguments(dispatcher: type[Dispatcher]) -> list[Argument]:
    """The constructor's arguments, read from its signature and annotations."""
    init = inspect.unwrap(dispatcher.__init__)
    hints = typing.get_type_hints(init, include_extras=True)
    found = []
    for parameter in list(inspect.signature(init).parameters.values())[1:]:
        hint = hints.get(parameter.name, Any)
        notes = getattr(hint, "__metadata__", ())
        found.append(
            Argument(
                name=parameter.name,
                annotation=hint.__origin__ if notes else hint,
                default=parameter.default,
                credential=any(isinstance(note, Credential) for note in notes),
                env=next((note.name for note in notes if isinstance(note, Env)), ""),
                about=next((note.text for note in notes if isinstance(note, About)), ""),
                suggested=next((note.words for note in notes if isinstance(note, Suggested)), {}),
            )
        )
    return found


def _registering_secrets(init: Any) -> Any:
    """Wrap a constructor so that what it takes as credentials is known to be secret before it runs."""
    import functools

    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Dispatcher, *args: Any, **kwargs: Any) -> None:
        secret_names = _credential_names(type(self), init)
        try:
            given = signature.bind_partial(self, *args, **kwargs).arguments
        except TypeError:
            given = {}
        for name in secret_names & given.keys():
            register_secrets_in(given[name])
        init(self, *args, **kwargs)

    return wrapped


_credentials: dict[Any, frozenset[str]] = {}
_credentials_lock = threading.Lock()


def _credential_names(dispatcher: type[Dispatcher], init: Any) -> frozenset[str]:
    with _credentials_lock:
        if init not in _credentials:
            hints = typing.get_type_hints(init, include_extras=True)
            _credentials[init] = frozenset(
                name
                for name, hint in hints.items()
                if any(isinstance(note, Credential) for note in getattr(hint, "__metadata__", ()))
            )
        return _credentials[init]


def mark_of(alert: Alert) -> str:
    """What a dispatcher notes with the progress of a delivery: a digest can grow between two attempts.

    What was noted of another text must not be gone on with.
    """
    return hashlib.sha256(f"{alert.title}\0{alert.message}".encode("utf-8", "replace")).hexdigest()[:16]


def several(value: str | Iterable[object] | None) -> list[str]:
    """A list, or one text with commas, as a list of texts without blanks and without repeats."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    return list(dict.fromkeys(text for part in parts if (text := str(part).strip())))


def register_secrets_in(value: Any) -> None:
    """Register a secret, or each secret of a list or mapping of them."""
    if isinstance(value, str):
        register_secret(value)
    elif isinstance(value, Mapping):
        for member in value.values():
            register_secrets_in(member)
    elif isinstance(value, Sequence):
        for member in value:
            register_secrets_in(member)
