"""The courier: takes what is due for one channel, sends it, and settles each delivery with an outcome.

It leases a *target* before it sends and gives it back when it settles, so one message at a time goes to an address,
in order of priority and then age, however many processes deliver. It holds no state of its own: what waits, until when,
and why, is in the store.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bt_alerts.alert import Alert, Priority, Source, safe_text
from bt_alerts.compose import duration
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.logs import tell
from bt_alerts.digest import digest
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, News, Receipt
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Claim, DeliveryState, Done, NewDelivery, Outbox, Settlement
from bt_alerts.redact import redact
from bt_alerts.rules import breaker as breakers
from bt_alerts.rules import outcome
from bt_alerts.rules.breaker import CLOSED, LONGEST_REST, Breaker
from bt_alerts.rules.expiry import time_to_live as lives
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.stage import Reason

if TYPE_CHECKING:
    from bt_alerts.render.drawer import Drawer

log = logging.getLogger("bt_alerts.courier")

LATE_AFTER = 60.0  # seconds from which a delivery says how late it is
ASK_AGAIN = 60.0  # seconds after which a service that could not tell is asked again
LONGEST_QUESTION = 7 * 86_400.0  # seconds after a delivery for which anything is asked about it
TOGETHER = 2.0  # seconds in which those of a batch, handed over one by one, come together again
HELD = "held"  # the batch of what a service takes only as a digest
LEASE_MARGIN = 15.0  # seconds that a lease outlasts the dispatcher's own deadline; a picture may take ten of them


class Courier:
    """Delivers for one channel.

    Args:
        outbox: the store.
        channel: whose deliveries.
        channels: all channels, for the fallback.
        owner: name under which targets are leased.
        retry: ``delivery:`` settings.
        time_to_live: seconds that a fallback delivery may take, by alert type; see :mod:`bt_alerts.rules.expiry`.
        fail_fast: the first failure of an alert cancels its other channels.
        on_disabled: told when the channel disables itself, with the reason; and with its label, where it is one address
            that will not work again.
        on_lost: told when an alert is given up or expires, with why, and whether it is only that its time ran out.
        drawer: draws the pictures of alerts, and makes the files of reports; None where this channel takes none.
        clock: Unix seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        channel: Channel,
        channels: Mapping[str, Channel],
        *,
        owner: str,
        retry: RetrySettings,
        time_to_live: Mapping[str, float] | None = None,
        fail_fast: bool = False,
        on_disabled: Callable[[Channel, str, str], None] = lambda channel, reason, label: None,
        on_lost: Callable[[Channel, Alert, str, bool], None] = lambda channel, alert, reason, expired: None,
        drawer: Drawer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self.channel = channel
        self._channels = channels
        self._owner = owner
        self._retry = retry
        self._time_to_live = dict(time_to_live or {})
        self._fail_fast = fail_fast
        self._on_disabled = on_disabled
        self._on_lost = on_lost
        self._drawer = drawer
        self._clock = clock
        #: What was attempted and is not settled yet.
        self._open: Done | None = None
        #: When a claim was made whose answer was lost: the target may be leased, and by nobody who knows it.
        self._maybe_leased: float | None = None
        #: Called when something is settled.
        self.on_settled: Callable[[], None] = lambda: None
        #: The channel that the last delivery was handed over to, whose courier may be asleep.
        self.handed_over = ""
        #: Until then nothing is handed over, because the fallback is disabled.
        self._keeps_until = 0.0

    def take_over(self, other: Courier) -> None:
        """Stand in another one's place, which has nothing under way: what it could not write down is ours to write."""
        self._open, other._open = other._open, None
        self._maybe_leased, other._maybe_leased = other._maybe_leased, None

    def deliver_one(self) -> bool:
        """Send the most urgent due delivery and settle it; False where none is due.

        Raises:
            StoreError: where the store cannot be written just now. A message sent but not settled is sent again under
                the same key: that is the one repeat a crash may cost.
        """
        found = self.deliver_next()
        self.settle()
        return found

    def deliver_next(self) -> bool:
        """Like :meth:`deliver_one`; but the delivery is settled by the next call, in one commit with what that claims.

        Whoever makes no next call at once calls :meth:`settle`.
        """
        now = self._clock()
        lease = self.channel.dispatcher.timeout + LEASE_MARGIN
        self.handed_over = ""
        claim = self._claim(now, lease)
        if claim is None:
            return self._ask_one(now, lease)
        self._maybe_leased = claim.leased_at  # until it was tried: where the store fails before, it is given back
        settlement = self._attempt(claim, now)
        self._maybe_leased = None
        self._open = Done(claim, settlement, now, self._clock())
        return True

    def settle(self) -> None:
        """Write down what became of the last claim; where the store could not be written then, it is tried again first.

        Until then the message is out and nobody knows it: to claim anything else would be to send it twice.
        """
        self._give_back()
        done = self._open
        if done is not None:
            settled = self._outbox.settle(done.claim, done.settlement, self._owner, done.started, done.ended)
            self._settled(done, settled)

    def _claim(self, now: float, lease: float) -> Claim | None:
        """Settle what is open, and claim."""
        rate, hand_over, done = self.channel.rate, self._hands_over(now), self._open
        self._give_back()
        self._maybe_leased, claim, settled = now, None, False
        if done is None:
            claim = self._outbox.claim(self.channel.name, self._owner, now, lease, rate, hand_over=hand_over)
        else:
            settled, claim = self._outbox.settle_and_claim(done, self._owner, now, lease, rate, hand_over=hand_over)
        self._maybe_leased = None
        if done is not None:
            self._settled(done, settled)
        return claim

    def _give_back(self) -> None:
        if self._maybe_leased is not None:
            self._outbox.unclaim(self.channel.name, self._owner, self._maybe_leased)
            self._maybe_leased = None

    def _settled(self, done: Done, settled: bool) -> None:
        self._open = None
        if settled and done.settlement.instead:
            self.handed_over = self.channel.fallback
        try:
            if settled:
                tell(log, self.channel, done.claim, done.settlement, done.ended - done.started)
                self._speak_up(done.claim, done.settlement)
        except Exception:  # the next claim may be ours already, and must not be left lying
            log.exception("channel %s: what became of %r could not be told", self.channel.name, done.claim.alert.title)
        self.on_settled()

    def _hands_over(self, now: float) -> Priority | None:
        """From which priority on something goes to the fallback where this channel's service is unwell."""
        if now < self._keeps_until <= now + LONGEST_REST:
            return None
        return Priority.HIGH if self._has_fallback else None

    @property
    def _has_fallback(self) -> bool:
        other = self._channels.get(self.channel.fallback)
        try:
            return other is not None and bool(other.dispatcher.targets())
        except Exception:  # a dispatcher's own fault; whoever delivers there says so
            return False

    def _attempt(self, claim: Claim, now: float) -> Settlement:
        others: list[tuple[int, Alert]] = []
        if now >= claim.expires:
            return self._give_up(claim, "expired", "its time to live ended", now, attempted=False)
        if claim.held_until > now and claim.held_until < claim.expires:
            reason = f"the service failed {claim.breaker.failures} times in a row and is left alone for a while"
            if self.channel.fallback in self._outbox.disabled():  # there it would be held; here it may soon arrive
                self._keeps_until = claim.held_until
                return Settlement(DeliveryState.PENDING, "circuit-open", reason, attempted=False, batch=claim.batch)
            return self._give_up(claim, "circuit-open", reason, now, attempted=False)
        if claim.held_until >= claim.expires:
            until = dt.datetime.fromtimestamp(claim.held_until, dt.UTC)
            reason = f"the service takes nothing before {until:%Y-%m-%d %H:%M} UTC, and its time to live ends before"
            return self._give_up(claim, "expired", reason, now, attempted=False)
        try:
            target = next((t for t in self.channel.dispatcher.targets() if t.key == claim.target), None)
            if target is None:
                return Settlement(
                    DeliveryState.CANCELLED, "cancelled", "the address is no longer configured", attempted=False
                )
            others = self._outbox.gathered(claim, now) if claim.batch else []
            alert = digest([claim.alert, *(a for _, a in others)], claim.batch) if others else _spoken(claim, now)
            context = self._context(claim, now, alone=not others)
            receipt = self.channel.dispatcher.deliver(self._with_picture(alert), target, context)
        except StoreError:
            raise
        except DeliveryFailed as failed:
            return self._failed(claim, failed, others)
        except Exception as exc:  # a dispatcher's own fault must cost this message at most, and be seen
            fault = f"the dispatcher failed: {type(exc).__name__}: {redact(safe_text(exc))}"
            log.error("channel %s: %s", self.channel.name, fault)
            return self._failed(claim, DeliveryFailed(Failure.RETRY, fault), others)
        if not isinstance(receipt, Receipt):  # it did not raise, so the message is out and must not go again
            receipt = Receipt()
        return Settlement(
            DeliveryState.DELIVERED,
            "sent",
            receipt.note,
            service_id=receipt.id,
            facts=receipt.facts or {},  # a dispatcher of somebody else may say None
            answered=True,
            hold_channel=receipt.hold_until,
            hold_target=receipt.hold_target_until,
            remember=receipt.remember,
            ask_at=None if receipt.follow_up is None else self._clock() + receipt.follow_up,
            digested=[seq for seq, _ in others],
            breaker=CLOSED,
        )

    def _with_picture(self, alert: Alert) -> Alert:
        """The alert with the picture of its bars, a report with its files; as it is where the service takes none, or
        none could be made, because the text must go.

        A report has its files whether or not the channel shows charts: somebody asked for it.
        """
        if self._drawer is None:
            return alert
        dispatcher, dark = self.channel.dispatcher, self.channel.charts == "dark"
        look = dispatcher.look
        if alert.kind.startswith("report."):
            files = self._drawer.report(alert, dark=dark, privacy=look.privacy, files=dispatcher.takes_files)
            return alert.replace(attachments=(*alert.attachments, *files)) if files else alert
        if alert.bars is None or not self.channel.shows_charts:
            return alert
        picture = self._drawer.draw(alert, dark=dark, zone=look.zone, privacy=look.privacy)
        return alert if picture is None else alert.replace(attachments=(*alert.attachments, picture))

    def _ask_one(self, now: float, lease: float) -> bool:
        """Ask the service what became of a message that it took; False where there is nothing to ask."""
        question = self._outbox.claim_question(self.channel.name, now, lease)
        if question is None:
            return False
        try:
            receipt, service = Receipt(question.service_id, facts=question.facts), self.channel.dispatcher
            news = (service.withdraw(receipt) if question.acknowledged else None) or service.follow_up(receipt)
        except Exception as exc:  # the message is out: not to know more of it is no failure of the delivery
            failed = exc if isinstance(exc, DeliveryFailed) else None
            reason = failed.reason if failed else f"{type(exc).__name__}: {redact(safe_text(exc))}"
            gone = failed is not None and failed.failure is Failure.PERMANENT
            news = News(f"what became of it is not known: {reason}", again=None if gone else ASK_AGAIN)
        if not isinstance(news, News):
            news = News("the service tells no more")
        outdated = now - question.delivered > LONGEST_QUESTION
        settlement = Settlement(
            DeliveryState.DELIVERED,
            "acknowledged" if news.acknowledged else "not-arrived" if news.failed else "sent",
            news.text,
            ask_at=None if news.again is None or outdated else self._clock() + max(1.0, news.again),
            facts=news.facts,
        )
        instead = {}
        of = {question.seq: question.alert, **question.digested}
        if news.failed:
            instead = {seq: self._fallback(alert, now) for seq, alert in of.items()}
            self.handed_over = self.channel.fallback
            log.error("channel %s: %r did not arrive: %s", self.channel.name, question.alert.title, news.text)
        lost = self._outbox.settle_question(
            question, settlement, self._clock(), acknowledged=news.acknowledged, not_arrived=instead
        )
        for seq in lost:
            self._on_lost(self.channel, of[seq], news.text, False)
        self.on_settled()
        return True

    def _context(self, claim: Claim, now: float, *, alone: bool) -> Context:
        overdue = now - claim.promised
        if (
            claim.batch and alone and claim.reason in {"", Reason.BATCH} and claim.alert.source is not Source.HISTORY
        ):  # it waited for others, and none came: it is as late as if there had been no batch
            overdue = max(overdue, now - claim.alert.time.timestamp())
        return Context(
            key=claim.key,
            attempt=claim.attempts + 1,
            late=dt.timedelta(seconds=overdue) if overdue > LATE_AFTER else None,
            silent=claim.silent and claim.alert.priority is not Priority.CRITICAL,
            now=dt.datetime.fromtimestamp(now, dt.UTC),
            replies_to=claim.replies_to,
            memory=claim.memory,
            buttons=self.channel.dispatcher.listens,
            progress=claim.progress,
        )

    def _failed(self, claim: Claim, failed: DeliveryFailed, others: Sequence[tuple[int, Alert]]) -> Settlement:
        now = self._clock()
        final = failed.failure is Failure.AUTH or failed.dead_target
        if final and self._channels.get(self.channel.name) is not self.channel:
            # The settings changed while it was under way: what the old ones were refused, the new ones may do.
            return Settlement(
                DeliveryState.PENDING, failed.failure.value, failed.reason, due=now, answered=True, batch=claim.batch
            )
        # Of a service that is known to be unwell, another failing answer says nothing about this message.
        paid = failed.failure is Failure.UNKNOWN and self.channel.dispatcher.repeats_cost
        counted = failed.answered and (paid or not claim.breaker.trips)
        answers = claim.answers + int(counted)
        circuit = self._breaker_after(claim, failed, now)
        attempt = outcome.Attempt(
            failure=failed.failure.value,
            retry_after=failed.retry_after,
            answered=counted,
            number=claim.attempts + 1,
            answers=answers,
            key=claim.key,
            expires=claim.expires,
            repeat_unknown=self.channel.dispatcher.repeat_unknown,
        )
        step = outcome.after(attempt, self._retry, now)
        told = failed.failure is Failure.RETRY_AFTER
        # Where other messages arrived between this one's attempts, it is the message that fails: it waits alone.
        alone = not told and not others and circuit.failures < claim.attempts + 1
        # What gathers for a digest holds back nothing that need not: a critical alert goes at once.
        hold_target = None if failed.digest or alone else step.hold_target
        if step.word == "dead" and others and not final and failed.failure is not Failure.UNKNOWN:
            # One of them may be what is refused: each has its own chance, and its own fate.
            return Settlement(
                DeliveryState.PENDING,
                failed.failure.value,
                failed.reason,
                due=now,
                hold_target=hold_target,
                apart=True,
                breaker=circuit,
            )
        if step.word == "again":
            return Settlement(
                DeliveryState.PENDING,
                failed.failure.value,
                failed.reason,
                due=step.due,
                answered=counted,
                hold_target=hold_target,
                cancel_others=self._fail_fast and not self.channel.fallback_for(claim.alert),
                batch=HELD if failed.digest and claim.alert.priority is not Priority.CRITICAL else claim.batch,
                breaker=circuit,
                slow_down=told and not failed.digest,
                progress=failed.progress,
            )
        return self._give_up(
            claim,
            step.word,
            failed.reason,
            now,
            outcome_word=failed.failure.value,
            answered=counted,
            hold_target=hold_target,
            breaker=circuit,
            disable_channel=failed.reason if failed.failure is Failure.AUTH else "",
            disable_target=failed.reason if failed.dead_target else "",
        )

    @staticmethod
    def _breaker_after(claim: Claim, failed: DeliveryFailed, now: float) -> Breaker:
        match failed.failure:
            case Failure.PERMANENT | Failure.TOO_LARGE:  # about this message alone: the service works
                return CLOSED
            case Failure.RETRY | Failure.UNKNOWN:
                return breakers.failed(claim.breaker, now, claim.key, sick=True)
            case _:
                return breakers.failed(claim.breaker, now, claim.key, sick=False)

    def _give_up(
        self,
        claim: Claim,
        word: str,
        reason: str,
        now: float,
        *,
        attempted: bool = True,
        outcome_word: str = "",
        answered: bool = False,
        hold_target: float | None = None,
        breaker: Breaker | None = None,
        disable_channel: str = "",
        disable_target: str = "",
    ) -> Settlement:
        # It takes this one's place: it is as late, and as quiet.
        instead = tuple(
            # What was sent there before by itself is another message than one that goes further.
            dataclasses.replace(
                new, key=new.key + claim.key[len(new.key) :], promised=claim.promised, silent=claim.silent
            )
            for new in self._fallback(claim.alert, now, claim.batch)
        )
        if instead:
            state = DeliveryState.FAILED_OVER
        elif disable_channel or disable_target:
            state = DeliveryState.HELD  # with new settings it can still arrive
        else:
            state = DeliveryState.EXPIRED if word == "expired" else DeliveryState.DEAD
        return Settlement(
            state,
            outcome_word or word,
            reason,
            answered=answered,
            attempted=attempted,
            hold_target=hold_target,
            breaker=breaker,
            disable_channel=disable_channel,
            disable_target=disable_target,
            hold_below=Priority.HIGH if self._has_fallback else None,
            instead=instead,
            cancel_others=self._fail_fast and not instead,
        )

    def _fallback(self, alert: Alert, now: float, batch: str = "") -> tuple[NewDelivery, ...]:
        other = self._channels.get(self.channel.fallback_for(alert))
        if other is None:
            return ()
        lifetime = lives(alert.type, self._time_to_live)
        due = now + TOGETHER if batch else 0.0
        try:
            return tuple(
                other.deliveries(
                    alert, now=now, due=due, time_to_live=lifetime, anew=True, batch=batch, reason=Reason.FAILED_OVER
                )
            )
        except Exception:  # a dispatcher's own fault must not keep this one's fate from being written down
            log.exception("channel %s cannot tell its addresses; it takes nothing over", other.name)
            return ()

    def _speak_up(self, claim: Claim, settlement: Settlement) -> None:
        if settlement.disable_channel:
            self._on_disabled(self.channel, settlement.disable_channel, "")
        elif settlement.disable_target:
            labels = {target.key: target.label for target in self.channel.dispatcher.targets()}
            self._on_disabled(self.channel, settlement.disable_target, labels.get(claim.target) or "an address")
        elif settlement.state in (DeliveryState.DEAD, DeliveryState.EXPIRED) or self._nobody_took(claim, settlement):
            log.error(
                "channel %s: %r was not delivered (%s): %s. It is among the dead letters: `bt-alerts dead list`",
                self.channel.name,
                claim.alert.title,
                settlement.outcome,
                settlement.detail,
            )
            self._on_lost(self.channel, claim.alert, settlement.detail, settlement.state is DeliveryState.EXPIRED)

    def _nobody_took(self, claim: Claim, settlement: Settlement) -> bool:
        """Whether it was to be handed over, and the fallback had given it up before."""
        if not settlement.instead:
            return False
        states = self._outbox.rows("SELECT state FROM deliveries WHERE seq = ?", (claim.seq,))
        return any(state == DeliveryState.DEAD for (state,) in states)


def _spoken(claim: Claim, now: float) -> Alert:
    """The alert; one that goes further says why somebody is called."""
    if claim.reason != Reason.ESCALATED:
        return claim.alert
    waited = duration(max(0.0, now - claim.alert.time.timestamp()))
    return claim.alert.replace(message=f"{claim.alert.message}\nNobody acknowledged it within {waited}.".lstrip())
