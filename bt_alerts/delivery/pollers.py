"""Pollers: hear what people say through a channel (a button, a command), answer it, and hand it to the planner.

Promises
--------
*One listens.* Of all processes on a store, one at a time listens to an account; the lease says which. Another takes
over when the lease ends.

*Once.* How far an account was heard is kept in the store, in one transaction with what was asked for; only then does it
go into the journal. What comes again after that, from the service or after a restart, does nothing; what a crash left
between store and journal is handed on by whoever listens next. No press is lost to a store that cannot be written: it
is heard again. An answer is given once at most: one that a crash cut off is asked for again by whoever misses it.

*Only who may.* Who is listed commands; who is listed as a reader may ask for what changes nothing. What anybody else
says is counted, told once for each person in the log, and not answered. So is what one person asks too often.

*Kept.* Who asked for what, when, and what came of it is an alert of the kind ``command``, in one transaction with how
far was heard. It is recorded and goes nowhere. Of people who may not, so many an hour are kept, because anybody can
write.

*Trouble.* A service that is away is asked again with growing pauses, one that says when to come exactly then. Wrong
credentials end the listening and are told once; where somebody else listens, that is told and tried again slowly. The
store keeps it, and the channel's health shows it.

*The end.* Nobody waits for a question that is under way: what it still brings is left for the next time.

What is known of the service is in its :class:`~bt_alerts.dispatchers.base.Listener`; here is none of it. What is heard
becomes a :class:`~bt_alerts.dispatchers.base.Wish`, of which :func:`entry_of` makes a line of the journal, or a
:class:`~bt_alerts.dispatchers.base.Command`, which :mod:`bt_alerts.delivery.commands` answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, Attachment, derived_id, safe_text
from bt_alerts.compose import duration
from bt_alerts.delivery import commands
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.engine import spawn
from bt_alerts.delivery.health import LISTENING
from bt_alerts.dispatchers.base import Command, DeliveryFailed, Failure, Heard, Listener, Wish
from bt_alerts.errors import StoreError
from bt_alerts.kinds import KINDS
from bt_alerts.outbox.base import AlertState, Outbox, Transaction
from bt_alerts.outbox.entries import Acknowledged, Entry, Muted, Snoozed, decode, encode
from bt_alerts.redact import redact
from bt_alerts.render.look import PLAIN
from bt_alerts.rules.stage import Reason

log = logging.getLogger("bt_alerts.pollers")

WAIT = 10.0  # seconds for which a service is asked to wait for something to be said
LEASE = 60.0  # seconds for which one process listens before it must say so again; far longer than it waits
ASK_AGAIN = 15.0  # seconds after which a process that does not listen asks whether it may
LEAST = 1.0  # seconds between two questions to a service that does not wait
STORE_PAUSE = 5.0  # seconds before a store that could not be used is tried again
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a service that could not be reached is asked again
CONFLICT_PAUSE = 60.0  # seconds before somebody is asked again who answered that another listens
#: Seconds after which a service may begin to count anew (Telegram: a week), so the old number says nothing any more.
COUNTS_FOR = 6 * 86_400.0
REMEMBERED = 30 * 86_400.0  # seconds after which an account that nobody listens to any more is forgotten
MOST_STRANGERS = 1_000  # people who are told of by name
MOST_ASKED, ASKED_IN = 20, 60.0  # commands that one person is answered in so many seconds
MOST_REFUSED, REFUSED_IN = 20, 3600.0  # things said by people who may not that are kept in so many seconds
MOST_TEXT = 300  # characters of a command that are kept

#: Has the picture of an alert drawn for a channel; None where there is none.
Draw = Callable[[Channel, Alert], Attachment | None]


@dataclasses.dataclass(slots=True)
class _Memory:
    """What the store keeps of an account.

    Args:
        after: what has a lower number was heard.
        at: when that was, in Unix seconds.
        open: lines for the journal that may not be in it yet.
        ignored: how often somebody spoke who may not.
        trouble: why nobody hears anything just now.
    """

    after: int = 0
    at: float = 0.0
    open: list[str] = dataclasses.field(default_factory=list)
    ignored: int = 0
    trouble: str = ""

    @classmethod
    def of(cls, value: Any) -> _Memory:
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in value.items() if k in names}) if isinstance(value, dict) else cls()

    def next(self, now: float) -> int:
        """The number from which on to listen; 0 for everything."""
        return self.after if abs(now - self.at) < COUNTS_FOR else 0


class Pollers:
    """The pollers of one process, one for each account that its channels use.

    Args:
        outbox: the store.
        channels: the enabled channels by name; may change while they listen.
        ask: puts what somebody asks for into the journal of this process.
        owner: name under which accounts are leased.
        history: alerts of old bars are told too (``mode: send``).
        draw: has the picture of an alert drawn.
        clock: Unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        ask: Callable[[Entry], bool],
        *,
        owner: str,
        history: bool = False,
        draw: Draw | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._channels = channels
        self._ask = ask
        self._owner = owner
        self._history = history
        self._draw = draw
        self._clock = clock
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._running: dict[str, tuple[Poller, threading.Thread]] = {}

    def look(self) -> None:
        """Begin to listen to every account that nobody here listens to; the store is not touched on this thread."""
        with self._looking:
            for name in {listener.name for _, listener in self._listeners()}:
                running = self._running.get(name)
                if self._stopping.is_set() or (running is not None and running[1].is_alive()):
                    continue
                poller = self.poller(name)
                self._running[name] = poller, spawn("bt_alerts poller", poller.run)

    def poller(self, name: str) -> Poller:
        """That of one account."""

        def listeners() -> list[tuple[str, Listener]]:
            return [each for each in self._listeners() if each[1].name == name]

        return Poller(
            name,
            listeners,
            self._outbox,
            self._ask,
            self._stopping,
            channels=self._channels,
            owner=self._owner,
            history=self._history,
            draw=self._draw,
            clock=self._clock,
        )

    def stop(self, timeout: float) -> None:
        """End; what was heard may be handed on until ``timeout`` seconds, and nobody waits for what is to be heard."""
        self._stopping.set()
        deadline = time.monotonic() + timeout
        for poller, _ in list(self._running.values()):
            if poller.busy.acquire(timeout=max(0.0, deadline - time.monotonic())):
                poller.busy.release()

    def _listeners(self) -> list[tuple[str, Listener]]:
        found = []
        for name, channel in list(self._channels.items()):
            try:
                listener = channel.dispatcher.listener() if channel.dispatcher.listens else None
            except Exception:  # a dispatcher's own fault must not keep alerts from being delivered
                log.exception("channel %s cannot listen", name)
                continue
            if listener is not None:
                found.append((name, listener))
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Reply:
    """What comes of one thing that was heard.

    Args:
        heard: what was said.
        channel: whose listener answers, as ``listener``; None where nobody is answered.
        text: what to say.
        entries: what goes into the journal.
        chart: the alert whose picture goes along.
        bars: what is said in place of a picture that there is not.
        kept: what the store keeps of it.
        ignored: it counts as ignored.
        stranger: by somebody who may not.
    """

    heard: Heard
    channel: str = ""
    listener: Listener | None = None
    text: str = ""
    entries: tuple[Entry, ...] = ()
    chart: Alert | None = None
    bars: str = ""
    kept: Alert | None = None
    ignored: bool = False
    stranger: bool = False


class Poller:
    """Listens to one account.

    Args:
        name: of the account.
        listeners: the channels that use it now, by name; none ends the listening.
        outbox: the store.
        ask: puts what somebody asks for into the journal.
        stopping: ends it.
        channels: all that are enabled, by name.
        owner: name under which the account is leased.
        history: alerts of old bars are told too.
        draw: has the picture of an alert drawn.
        clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        listeners: Callable[[], Sequence[tuple[str, Listener]]],
        outbox: Outbox,
        ask: Callable[[Entry], bool],
        stopping: threading.Event,
        *,
        channels: Mapping[str, Channel],
        owner: str,
        history: bool = False,
        draw: Draw | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        #: Held while something that was heard is handed on.
        self.busy = threading.Lock()
        self._listeners = listeners
        self._channels = channels
        self._outbox = outbox
        self._ask = ask
        self._stopping = stopping
        self._owner = owner
        self._history = history
        self._draw = draw
        self._clock = clock
        #: None where the store may know better: we have not listened, or could not write.
        self._memory: _Memory | None = None
        self._failures = 0
        self._told: Failure | None = None
        self._strangers: set[str] = set()
        self._began = False
        #: Who asked lately: the number of what was said, and when; of all who may not together under "".
        self._asked: dict[str, list[tuple[int, float]]] = {}

    def run(self) -> None:
        """Listen until it ends."""
        pause: float | None = 0.0
        while pause is not None and not self._stopping.wait(pause):
            try:
                pause = self.step()
            except Exception:
                if self._stopping.is_set():  # the store was closed meanwhile
                    return
                log.exception("listening to %s failed; it is tried again", self._channel)
                self._memory, pause = None, LONGEST_PAUSE

    def step(self) -> float | None:
        """Listen once; returns in how many seconds to come again, None for never."""
        mine = self._listeners()
        if not mine:
            return None
        try:
            if not self._outbox.hold(self._lease, self._owner, self._clock(), LEASE):
                self._memory = None
                return ASK_AGAIN
            if self._memory is None:
                self._memory = self._recall()
            after, began = self._memory.next(self._clock()), time.monotonic()
            try:
                heard = mine[0][1].hear(after, WAIT)
            except DeliveryFailed as failed:
                return self._failed(failed)
            except Exception as exc:  # a dispatcher's own fault
                return self._failed(DeliveryFailed(Failure.RETRY, f"{type(exc).__name__}: {safe_text(exc)}"))
            with self.busy:
                if self._stopping.is_set():  # another may be listening by now: it hears the same
                    return None
                self._works(mine[0][1])
                if any(each.number >= after for each in heard):
                    self._take(mine, heard)
                    return 0.0
        except StoreError as exc:
            log.info("%s", exc)  # the planner says it louder, once
            self._memory = None
            return STORE_PAUSE
        return max(0.0, LEAST - (time.monotonic() - began))

    @property
    def _lease(self) -> str:
        return f"{LISTENING} {self.name}"

    @property
    def _channel(self) -> str:
        return ", ".join(name for name, _ in self._listeners()) or self.name

    # What was heard ----------------------------------------------------------------------------------

    def _take(self, mine: Sequence[tuple[str, Listener]], heard: Sequence[Heard]) -> None:
        now = self._clock()
        known = 0 if self._memory is None else self._memory.next(now)
        each_once = {each.number: each for each in heard if each.number >= known}
        # Read before the transaction, which is to be short; a store that cannot be read has all of it heard again.
        replies = [self._reply(mine, each_once[number], now) for number in sorted(each_once)]
        with self._changed() as (tx, memory):
            after = memory.next(now)  # as the store has it: another process may have listened meanwhile
            fresh = [each for each in replies if each.heard.number >= after]
            entries = [entry for each in fresh for entry in each.entries]
            for each in fresh:
                memory.ignored += each.ignored
                if each.kept is not None:
                    tx.add_alert(each.kept, AlertState.RECORDED, Reason.EVENT_RECORD)
            if fresh:
                memory.after, memory.at = fresh[-1].heard.number + 1, now
                memory.open = [encode(entry).decode() for entry in entries]
        for entry in entries:
            self._ask(entry)
        for each in fresh:
            if each.stranger:
                self._ignore(each.heard.who)
            elif each.listener is not None:
                self._answer(each, each.listener)
        if entries:
            self._close()

    def _reply(self, mine: Sequence[tuple[str, Listener]], heard: Heard, now: float) -> _Reply:
        asked = heard.command
        if asked is not None and not asked.certain and asked.name not in commands.COMMANDS:
            return _Reply(heard)  # another bot's
        commanded = next(((name, each) for name, each in mine if each.may(heard)), None)
        obeys = commanded
        if obeys is None and asked is not None:
            obeys = next(((name, each) for name, each in mine if each.may_read(heard)), None)
        if obeys is None:
            said = heard.who and (asked or heard.wish)
            few = bool(said) and self._few("", heard.number, now, MOST_REFUSED, REFUSED_IN)
            kept = self._kept(heard, "", "ignored", now) if few else None
            # What cannot be read was said by nobody.
            return _Reply(heard, kept=kept, ignored=bool(heard.who), stranger=bool(heard.who))
        name, listener = obeys
        if asked is not None:
            if not self._few(heard.who, heard.number, now, MOST_ASKED, ASKED_IN):
                return _Reply(heard, ignored=True)
            told = self._told_of(asked, name, commanded is not None, now)
            kept = self._kept(heard, name, told.outcome, now)
            return _Reply(heard, name, listener, told.text, told.entries, told.chart, told.bars, kept)
        if heard.wish is None:
            return _Reply(heard)
        entry, text = entry_of(heard.wish, self._symbol(heard.wish.alert), now)
        kept = self._kept(heard, name, "nothing" if entry is None else "done", now)
        return _Reply(heard, name, listener, text, () if entry is None else (entry,), kept=kept)

    def _told_of(self, asked: Command, channel: str, may_write: bool, now: float) -> commands.Answer:
        used = self._channels.get(channel)
        look = PLAIN if used is None else used.dispatcher.look
        made_of = commands.Asked(
            [safe_text(word, MOST_TEXT) for word in asked.arguments],  # a store may refuse some text, for ever
            self._outbox,
            dict(self._channels),
            look,
            self._history,
            may_write,
            now,
        )
        try:
            return commands.answer(asked, made_of)
        except StoreError:
            raise
        except Exception:  # it would be heard, and fail, for ever
            log.exception("the command /%s cannot be answered", asked.name)
            return commands.Answer("This cannot be answered: see the log of who delivers.", outcome="failed")

    def _few(self, who: str, number: int, now: float, most: int, seconds: float) -> bool:
        """Whether somebody said less than ``most`` in these seconds; counts what is said."""
        lately = [each for each in self._asked.get(who, ()) if abs(now - each[1]) < seconds and each[0] != number]
        few = len(lately) < most
        self._asked[who] = [*lately, (number, now)] if few else lately
        return few

    def _kept(self, heard: Heard, channel: str, outcome: str, now: float) -> Alert:
        """What the audit trail has of it."""
        wish = heard.wish
        said = "" if wish is None else " ".join(filter(None, ["button", wish.action, wish.symbol or wish.alert]))
        said = redact(safe_text(heard.command or said, MOST_TEXT))
        kind = KINDS["command"]
        data = {
            "user": heard.who,
            "command": said,
            "allowed": outcome not in {"ignored", "refused"},
            "outcome": outcome,
        }
        return Alert.make(
            f"User {heard.who}: {said}\n{outcome}",
            title=f"Asked for: {said}",
            type=kind.type,
            kind=kind.name,
            priority=kind.priority,
            time=now,
            data={**data, "channel": channel or self._channel},
            id=derived_id(now, kind.name, self.name, str(heard.number)),
        )

    def _close(self) -> None:
        """Everything is in the journal."""
        with self._changed() as (_, memory):
            memory.open = []

    def _recall(self) -> _Memory:
        """What the store knows; what whoever listened before could not hand on is handed on."""
        with self._outbox.transaction() as tx:
            memory = _Memory.of(tx.state.get(LISTENING, self.name))
        for line in memory.open:
            entry = decode(line.encode())
            if not _past(entry, self._clock()):
                self._ask(entry)
        if memory.open:
            self._close()
        return memory

    @contextlib.contextmanager
    def _changed(self) -> Iterator[tuple[Transaction, _Memory]]:
        """What the store knows, to be changed; raises :class:`~bt_alerts.errors.StoreError`."""
        with self._outbox.transaction() as tx:
            memory = _Memory.of(tx.state.get(LISTENING, self.name))
            yield tx, memory
            value = {**dataclasses.asdict(memory), "channels": [name for name, _ in self._listeners()]}
            tx.state.put(LISTENING, self.name, value, until=self._clock() + REMEMBERED)
        self._memory = memory

    def _symbol(self, alert: str) -> str | None:
        """The symbol of an alert; None where there is no such alert here."""
        rows = list(self._outbox.rows("SELECT symbol FROM alerts WHERE id = ?", (alert,))) if alert else []
        return str(rows[0][0]) if rows else None

    def _ignore(self, who: str) -> None:
        if who and who not in self._strangers and len(self._strangers) < MOST_STRANGERS:
            self._strangers.add(who)
            log.warning("channel %s: user %s may not command it, and is ignored and counted", self._channel, who)

    def _answer(self, reply: _Reply, listener: Listener) -> None:
        try:
            files = self._pictures(reply)
            text = f"{reply.text}\n{reply.bars}" if reply.bars and not files else reply.text
            if files:
                listener.answer(reply.heard, text, files)
            else:
                listener.answer(reply.heard, text)
        except DeliveryFailed as failed:  # what was asked for is done: not to say so is no failure of that
            log.info("channel %s: an answer did not arrive, or not whole: %s", self._channel, failed.reason)
        except Exception as exc:
            log.error("channel %s cannot answer: %s: %s", self._channel, type(exc).__name__, redact(safe_text(exc)))

    def _pictures(self, reply: _Reply) -> list[Attachment]:
        alert, channel = reply.chart, self._channels.get(reply.channel)
        if alert is None:
            return []
        drawn = self._draw(channel, alert) if self._draw is not None and channel is not None else None
        return [drawn] if drawn else [file for file in alert.attachments if file.content_type.startswith("image/")][:1]

    # Trouble -----------------------------------------------------------------------------------------

    def _failed(self, failed: DeliveryFailed) -> float | None:
        if self._stopping.is_set():
            return None
        self._failures += 1
        lasting = failed.failure in {Failure.AUTH, Failure.PERMANENT}
        if failed.failure is not self._told:
            self._told = failed.failure
            level = logging.ERROR if lasting else logging.WARNING
            ends = "; nobody listens until its settings change" if failed.failure is Failure.AUTH else ""
            log.log(level, "channel %s does not hear buttons or commands: %s%s", self._channel, failed.reason, ends)
            if lasting:
                with contextlib.suppress(StoreError):  # the log has it
                    self._note(failed.reason)
        match failed.failure:
            case Failure.AUTH:
                return None
            case Failure.PERMANENT:
                pause = CONFLICT_PAUSE
            case Failure.RETRY_AFTER:
                pause = failed.retry_after or FIRST_PAUSE
            case _:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        with contextlib.suppress(StoreError):  # nobody else is to ask meanwhile
            self._outbox.hold(self._lease, self._owner, self._clock(), pause + LEASE)
        return pause

    def _works(self, listener: Listener) -> None:
        if not self._began:
            self._began = True
            try:
                listener.began(commands.listed())
            except Exception as exc:  # a menu that is not shown keeps nobody from writing
                log.info("channel %s shows no menu of commands: %s", self._channel, redact(safe_text(exc)))
        if self._told is not None:
            log.info("channel %s hears buttons and commands again", self._channel)
        self._failures, self._told = 0, None
        if self._memory is not None and self._memory.trouble:
            self._note("")

    def _note(self, trouble: str) -> None:
        with self._changed() as (_, memory):
            memory.trouble = trouble


# ------------------------------------------------------------------------------------- from wish to entry


def entry_of(wish: Wish, symbol: str | None, now: float) -> tuple[Entry | None, str]:
    """What goes into the journal for a wish, and what to answer.

    Args:
        wish: what was asked for.
        symbol: of its alert; None where the store has no such alert.
        now: Unix seconds.
    """
    match wish.action:
        case "mute":
            # A service may have had room for the beginning alone; the alert has all of it.
            whole = symbol if symbol and symbol.startswith(wish.symbol) else wish.symbol
            return Muted({"symbol": whole}, now + wish.seconds), f"{whole} is muted for {duration(wish.seconds)}"
        case "ack" | "snooze" if symbol is None:
            return None, "This alert is not known here any more"
        case "ack":
            return Acknowledged(wish.alert), "Acknowledged"
        case "snooze":
            return Snoozed(wish.alert, now + wish.seconds), f"It comes again in {duration(wish.seconds)}"
    return None, "Nothing here can do that"


def _past(entry: Entry, now: float) -> bool:
    return isinstance(entry, Snoozed) and entry.until <= now
