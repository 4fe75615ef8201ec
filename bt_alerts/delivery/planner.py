"""The planner: reads a journal, lets the rules decide, and writes decisions, rule state and position together.

A crash anywhere leaves either all of a batch in the store or none of it, and the position says which. Draining again
does no harm: an alert that the store has is passed over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from bt_alerts.alert import Alert, AlertType, as_utc, derived_id
from bt_alerts.delivery import own_alerts
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.death import death_of
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import AlertState, DeliveryState, NewDelivery, Outbox, Transaction
from bt_alerts.outbox.entries import Accepted, Acknowledged, Closed, Entry, Muted, Remembered, Retried, Snoozed, decode
from bt_alerts.outbox.journal import AnyJournal, DeadJournal, dead_journals
from bt_alerts.rules import pipeline, stage
from bt_alerts.rules.expiry import ALL, DAY
from bt_alerts.rules.expiry import time_to_live as lives
from bt_alerts.rules.failover import stand_ins, wait_of
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.rules.stage import Decision, Failed, Further, Note, Plan, Reason, Stage, Tick, ToReport, Verdict
from bt_alerts.summary import summary

log = logging.getLogger("bt_alerts.planner")

BATCH = 40  # lines a transaction: some 5 ms, so that couriers are not kept waiting
GIVE_WAY = 0.0003  # seconds between two of them, in which a courier that waits for the store gets its turn
OPENED_BEFORE = 90 * 86_400.0  # seconds before a report's time in which what is open then is looked for
BROKEN_EVERY = 3600.0  # seconds between two alerts about the same broken rule


class Planner:
    """Plans for one set of channels and rules.

    Args:
        outbox: the store.
        settings: what the rules need of the configuration; its ``channels`` are filled in from ``channels``.
        channels: the enabled channels by name; may change while the planner lives.
        time_to_live: seconds after which an undelivered alert expires, by type; see :mod:`bt_alerts.rules.expiry`.
        decides: False leaves every alert waiting in the store, for a planner elsewhere to decide about.
        clock: Unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: RuleSettings,
        channels: Mapping[str, Channel],
        *,
        time_to_live: Mapping[str, float] | None = None,
        decides: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._channels = channels
        self._changed = False
        self._time_to_live = dict(time_to_live or {})
        self._decides = decides
        self._clock = clock
        self._stages: Sequence[Stage] = ()
        self._built_for: dict[str, Channel] | None = None
        #: When the rules want to hear that time passed, in Unix seconds; None for never.
        self._wakes_at: float | None = 0.0
        #: How far journals are known to be drained: to look again whether there is nothing need not cost a transaction.
        self._drained: dict[str, int] = {}

    def change(self, settings: RuleSettings) -> None:
        """Decide by other rules from now on. What rules remember stays."""
        self._settings, self._changed = settings, True

    def drain(self, journal: AnyJournal) -> int:
        """Plan what a journal holds, a batch at a time; returns how many lines were read.

        Raises:
            StoreError: where the store cannot be written just now; the journal still has everything.
        """
        lines_read, most = 0, BATCH
        while self._drained.get(journal.name, -1) < journal.end():
            try:
                read = self._drain_some(journal, most)
            except StoreError:
                raise
            except Exception:
                if most > 1:
                    log.exception(
                        "journal %s: what could not be planned together is planned line by line", journal.name
                    )
                    most = 1
                    continue
                read, most = self._put_aside(journal), BATCH
            if not read:
                break
            lines_read += read
            if read == BATCH:
                time.sleep(GIVE_WAY)
        return lines_read

    def _drain_some(self, journal: AnyJournal, most: int) -> int:
        """One transaction."""
        with self._outbox.transaction() as tx:
            position = tx.position(journal.name)
            lines, after = journal.read(position, most)
            now = self._clock()
            if lines:
                tx.state.forget(now)
                for line in lines:
                    self._plan_line(tx, journal.name, position, line, now)
                self._set_alarm(tx, now)
                tx.set_position(journal.name, after)
        self._drained[journal.name] = after if lines else position
        return len(lines)

    def _put_aside(self, journal: AnyJournal) -> int:
        """Pass over one line that cannot be planned: it must not keep back all that come behind it."""
        log.exception("a line of journal %s cannot be planned; it is kept in the store, in `unreadable`", journal.name)
        with self._outbox.transaction() as tx:
            position = tx.position(journal.name)
            lines, after = journal.read(position, 1)
            for line in lines:
                tx.unreadable(journal.name, position, line)
                tx.set_position(journal.name, after)
        return len(lines)

    def plan_waiting(self) -> int:
        """Decide about the alerts that processes elsewhere left for a planner; returns how many there were.

        Raises:
            StoreError: where the store cannot be written just now.
        """
        planned = 0
        while True:
            with self._outbox.transaction() as tx:
                waiting = tx.waiting(BATCH)
                now = self._clock()
                if waiting:
                    tx.state.forget(now)
                    for seq, alert, due in waiting:
                        self._decide(tx, seq, alert, due, now)
                    self._set_alarm(tx, now)
            planned += len(waiting)
            if len(waiting) < BATCH:
                return planned

    def take(self, entries: Sequence[Entry]) -> None:
        """Plan entries that come from no journal, in one transaction. Raises :class:`StoreError`."""
        with self._outbox.transaction() as tx:
            now = self._clock()
            tx.state.forget(now)
            for entry in entries:
                self._take(tx, entry, now)
            self._set_alarm(tx, now)

    # Time ----------------------------------------------------------------------------------------------

    def tick(self, now: float | None = None) -> float | None:
        """Tell the rules that time passed, where they want to hear it now.

        Args:
            now: Unix seconds; by the clock where it is left out.

        Returns:
            When they want to hear it next, in Unix seconds; None where they do not wait for anything.

        Raises:
            StoreError: where the store cannot be written just now.
        """
        if not (self._decides and self._settings.ticks):
            return None
        now = self._clock() if now is None else now
        if self._wakes_at is not None and now >= self._wakes_at:
            with self._outbox.transaction() as tx:
                tx.state.forget(now)
                self._hear(tx, Tick(tx.acknowledged), now)
                self._set_alarm(tx, now)
        return self._wakes_at

    def _set_alarm(self, tx: Transaction, now: float) -> None:
        if self._decides and self._settings.ticks:
            self._wakes_at = pipeline.wakes(self._current_stages(), tx.state, now)

    def _hear(self, tx: Transaction, event: stage.Event, now: float) -> None:
        for decision in pipeline.hear(self._current_stages(), event, tx.state, now):
            try:
                self._do(tx, decision, now)
            except StoreError:
                raise
            except Exception as exc:  # the others are wanted all the same
                log.exception("what a rule decided could not be done; it is passed over: %r", decision)
                name = decision.name if isinstance(decision, ToReport) else decision.note.rule
                self._tell_broken(tx, Note(Reason.RULE_BROKEN, name, about=type(exc).__name__), None, now)

    def _do(self, tx: Transaction, decision: Decision, now: float) -> None:
        match decision:
            case Further():
                self._go_further(tx, decision, now)
            case ToReport():
                self.plan(tx, self._report(tx, decision, now), 0.0, now)
            case Failed(note):
                self._tell_broken(tx, note, None, now)

    def _go_further(self, tx: Transaction, decision: Further, now: float) -> None:
        found = tx.find(decision.alert)
        if found is None:  # pruned
            return
        seq, alert = found
        plan = pipeline.further(self._current_stages(), alert, decision.channels, tx.state, now)
        notes = [decision.note, *plan.trail]
        if isinstance(plan, Verdict):
            notes.append(Note(plan.reason, plan.rule))
        else:
            wanted = self._deliveries(tx, alert, plan, now, reason=decision.note.reason)
            fates = tx.fates(alert.id)
            again = [
                dataclasses.replace(new, key=f"{new.key}_e{decision.turn}", promised=max(now, new.due))
                for new in wanted
                if DeliveryState.PENDING not in fates.get((new.channel, new.target), ())  # it is on its way there
            ]
            tx.add_deliveries(seq, again, now)
            self._hasten(tx, plan, now)
        for note in notes:
            if note.reason is Reason.RULE_BROKEN:
                self._tell_broken(tx, note, alert, now)
            tx.add_to_trail(seq, note.to_list())

    def _report(self, tx: Transaction, asked: ToReport, now: float) -> Alert:
        sent = self._settings.mode == "send"  # then those of backtests count as well
        told = summary(
            tx.alerts(list(AlertType), asked.since, asked.until, history=sent),
            name=asked.name,
            period="weekly" if asked.period == "weekly" else "daily",
            since=asked.since,
            until=asked.until,
            zone=asked.zone,
            now=now,
            before=tx.alerts(_OPENING, asked.since - OPENED_BEFORE, asked.since, history=sent),
        )
        return told.replace(channels=asked.channels, id=derived_id(asked.until, "report", asked.name))

    def adopt(self, alive_lately: Collection[str] = ()) -> int:
        """Drain the journals of processes that are gone, give back the targets that they had leased, and tell who died.

        Args:
            alive_lately: owners that were seen alive moments ago.
        """
        self._wakes_at = 0.0  # another process may have begun something, and be gone
        self._drained.clear()  # a server may have been set back to a state of before, and the journals still know more
        if self._outbox.journals is None:
            return 0
        found = 0
        for journal in dead_journals(self._outbox.journals):
            try:
                if self._decides:
                    self.plan_waiting()  # what it had put into the store by itself comes before what is left here
                found += self.drain(journal)
                self._tell_death(journal, alive_lately)
                self._outbox.release(journal.owner)
                if not journal.read_by_others:
                    self.forget(journal)
            except StoreError:
                journal.release()
                raise
            except Exception:  # this one must not keep back the others, nor the journal of this process
                journal.release()
                log.exception("the journal %s of a process that is gone could not be read; it stays", journal.name)
                continue
            journal.remove()
            if journal.read_by_others:  # last, so that nobody who has it open reads it from its beginning
                self.forget(journal)
        if found:
            log.info("%d lines of processes that are gone were found and planned", found)
        return found

    def _tell_death(self, journal: DeadJournal, alive_lately: Collection[str]) -> None:
        if not journal.died:
            return
        now, seen = self._clock(), journal.seen
        if journal.owner in alive_lately:
            seen = now
        else:
            with contextlib.suppress(StoreError):
                seen = max([seen, *(p.seen for p in self._outbox.processes() if p.owner == journal.owner)])
        seen = min(seen, now)
        alert = death_of(journal, seen)
        if alert is None:
            return
        log.error("%s: %s", alert.title, alert.message)
        # It is late by then, but it must not have expired: its time to live counts from the last sign of life.
        earliest = as_utc(now - lives(alert.type, self._time_to_live) / 2)
        alert = alert.replace(time=max(alert.time, earliest or alert.time))
        with self._outbox.transaction() as tx:
            self.plan(tx, alert, 0.0, now)

    def forget(self, journal: AnyJournal) -> None:
        """A drained journal is about to be removed: keep no position of it."""
        self._drained.pop(journal.name, None)
        with self._outbox.transaction() as tx:
            tx.set_position(journal.name, -1)

    # One line ----------------------------------------------------------------------------------------

    def _plan_line(self, tx: Transaction, journal: str, position: int, line: bytes, now: float) -> None:
        try:
            entry = decode(line)
        except ValueError:
            log.error("a line of journal %s is unreadable; it is kept in the store, in the table `unreadable`", journal)
            tx.unreadable(journal, position, line)
            return
        self._take(tx, entry, now)

    def _take(self, tx: Transaction, entry: Entry, now: float) -> None:
        match entry:
            case Closed():
                pass
            case Accepted(alert, due):
                self.plan(tx, alert, due, now)
            case Acknowledged(id_):
                if tx.acknowledge(id_, now):
                    self._hear(tx, stage.Acknowledged(id_), now)
                    for other in tx.together(id_):  # whoever acknowledges a message has seen all that is in it
                        tx.acknowledge(other, now)
                        self._hear(tx, stage.Acknowledged(other), now)
                else:
                    log.warning("there is no alert %s to acknowledge", id_)
            case Snoozed(id_, until):
                if tx.snooze(id_, until, now):
                    self._hear(tx, stage.Snoozed(id_, until), now)
                else:
                    log.warning("there is no alert %s to snooze", id_)
            case Muted(selector, until):
                self._hear(tx, stage.Muted(selector, until), now)
            case Retried(numbers):
                tx.retry_dead(None if numbers is None else set(numbers), now, self._time_to_live.get(ALL, DAY))
            case Remembered(key, None):
                tx.state.drop("seen", key)
            case Remembered(key, value):
                tx.state.put("seen", key, value)

    def plan(self, tx: Transaction, alert: Alert, due: float, now: float) -> None:
        """Decide about one alert and write the decision."""
        # The alert first, to learn whether it is new: rules must see each alert once.
        seq = tx.add_alert(alert, AlertState.WAITING, due=due)
        if seq is not None and self._decides:
            self._decide(tx, seq, alert, due, now)

    def _decide(self, tx: Transaction, seq: int, alert: Alert, due: float, now: float) -> None:
        decision = pipeline.decide(self._current_stages(), alert, tx.state, now, due)
        if alert.kind == own_alerts.LOST and isinstance(lost := alert.data.get("alert"), str):
            states = set().union(*tx.fates(lost).values())
            if not states & _TO_BE_SEEN:  # nobody has it, and nobody will
                self._hear(tx, stage.Lost(lost), now)
        for note in decision.trail:
            if note.reason is Reason.RULE_BROKEN and alert.kind != "rule.broken":
                self._tell_broken(tx, note, alert, now)
        trail = [note.to_list() for note in decision.trail]
        if isinstance(decision, Plan):
            wanted = self._deliveries(tx, alert, decision, now)
            if wanted:
                tx.add_deliveries(seq, wanted, now)
                self._hasten(tx, decision, now)
                tx.decide(seq, AlertState.PLANNED, trail=trail)
                for ended in decision.ends:
                    tx.resolve(ended, now)
                return
            decision = Verdict(AlertState.RECORDED, Reason.NO_CHANNEL)
        if decision.reason is Reason.NO_CHANNEL and alert.channels:
            asked, known = ", ".join(alert.channels), ", ".join(self._channels) or "none"
            log.warning("%r is for the channel %s, which is not enabled; enabled are: %s", alert.title, asked, known)
        tx.decide(seq, decision.state, decision.reason, decision.rule, trail)

    @staticmethod
    def _hasten(tx: Transaction, plan: Plan, now: float) -> None:
        for name, batch in plan.batches.items():
            if batch.full:
                tx.hasten(name, batch.name, now)

    def _tell_broken(self, tx: Transaction, note: Note, alert: Alert | None, now: float) -> None:
        """Tell that a rule failed, of each rule once an hour; past the rules' own memory, which may be what fails."""
        if tx.state.get("broken", note.rule) is None:
            tx.state.put("broken", note.rule, now, until=now + BROKEN_EVERY)
            self.plan(tx, own_alerts.rule_broken(note.rule, note.about, alert, now=now), 0.0, now)

    def _deliveries(
        self, tx: Transaction, alert: Alert, plan: Plan, now: float, reason: Reason | None = None
    ) -> list[NewDelivery]:
        """What a plan comes to: one delivery for each address.

        Args:
            tx: the transaction.
            alert: what to deliver.
            plan: where and when.
            now: Unix seconds.
            reason: why it goes there; the plan's own reasons where it is left out.
        """
        urgent = {
            name: fallback
            for name in plan.channels
            if (fallback := self._channels[name].fallback_for(alert))
            and fallback in self._channels
            and fallback not in plan.muted
        }
        disabled = tx.disabled() if urgent else set()
        dead = tx.dead_targets() if urgent else set()
        wanted: list[NewDelivery] = []
        served = stand_ins(plan.channels, disabled, urgent)
        waiting = list(served.items())
        while waiting:
            name, failed_over = waiting.pop(0)
            batch, why = wait_of(plan, name, now, failed_over)
            try:
                made = list(
                    self._channels[name].deliveries(
                        alert,
                        now=now,
                        due=batch.due,
                        time_to_live=lives(alert.type, self._time_to_live),
                        silent=plan.silent,
                        anew=reason is not None,
                        batch=batch.name,
                        reason=reason or why or "",
                    )
                )
            except Exception:  # a dispatcher's own fault must not keep back the other channels
                log.exception("channel %s cannot tell its addresses; the alert %s goes without it", name, alert.id)
                continue
            if name in urgent and any((name, new.target) in dead for new in made):
                made = [new for new in made if (name, new.target) not in dead]
                if urgent[name] not in served:  # an address that is gone has the same stand-in as a channel
                    served[urgent[name]] = Reason.FAILED_OVER
                    waiting.append((urgent[name], Reason.FAILED_OVER))
            wanted += made
        return wanted

    def _current_stages(self) -> Sequence[Stage]:
        channels = dict(self._channels)
        if channels != self._built_for or self._changed:
            self._changed = False
            types = {name: channel.dispatcher.type for name, channel in channels.items()}
            batches = {name: channel.batches for name, channel in channels.items()}
            settings = dataclasses.replace(self._settings, channels=tuple(types), types=types, batches=batches)
            self._stages = pipeline.build(settings)
            self._built_for = channels
        return self._stages


#: Where a delivery stands that somebody sees, or will.
_TO_BE_SEEN = {DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DIGESTED}

#: Alerts from which it can be told what was open, and what the account was worth.
_OPENING = (AlertType.POSITION, AlertType.TRADE, AlertType.STRATEGY, AlertType.HEALTH)
