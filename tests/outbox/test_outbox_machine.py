"""Anything may happen in any order: after every step both ledgers balance, and the store agrees with a plain model.

The machine emits, plans, claims, delivers, is killed at any point of it, starts again with other settings, has its
clock set, and is asked to acknowledge, snooze, mute and forget, while a second worker waits for a lease to run out. The
model knows what was accepted and what arrived. It does not know how the store works.
"""

from __future__ import annotations

import collections
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from alerts_kit import Clock, alert
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from postgres_server import PostgresServer

from bt_alerts.alert import Alert, Source
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import LEASE_MARGIN, Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.dispatchers.base import (
    Context,
    DeliveryFailed,
    Dispatcher,
    Failure,
    Receipt,
    Target,
    delivery_key,
)
from bt_alerts.outbox import journal as journals
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.entries import Accepted, Acknowledged, Muted, Retried, Snoozed, decode, encode
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sql_claim import CLOCK_SLACK
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.batching import NO_BATCHES, BatchSettings
from bt_alerts.rules.breaker import LONGEST_REST
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.pacing import RESERVE, SLOWEST
from bt_alerts.rules.pipeline import RuleSettings

START = 1_800_000_000.0
HOUR = 3_600.0
TIME_TO_LIVE = {"all": HOUR}
RATE = 30.0
LONGEST_PACING = (1 + RATE * RESERVE) / (RATE * SLOWEST / 60)  # seconds until a token comes that is not of the reserve
SYMBOLS = st.sampled_from(["AAPL", "MSFT", ""])
#: States that a delivery leaves no more, and what somebody may ask for where it was given up.
FINAL = {"delivered": set(), "digested": set(), "failed-over": set(), "cancelled": {"delivered"}}
GIVEN_UP = {"dead", "expired"}

# What a delivery can come to. Those in words are about the process that makes it.
ARRIVES = "arrives"
ARRIVES_UNHEARD = "arrives, and no answer comes"
KILLED_BEFORE = "killed before it was sent"
KILLED_AFTER = "killed after it was sent"
HANGS = "hangs until the lease is over and the second worker sends it"
OUTCOMES = st.sampled_from(
    [
        *[ARRIVES] * 5,
        *[KILLED_BEFORE, KILLED_AFTER, ARRIVES_UNHEARD, HANGS, HANGS],
        *(DeliveryFailed(failure, "no") for failure in Failure),
        DeliveryFailed(Failure.RETRY_AFTER, "later", retry_after=120.0),
        DeliveryFailed(Failure.RETRY_AFTER, "much later", retry_after=2 * HOUR),
        DeliveryFailed(Failure.RETRY_AFTER, "the cap is reached", retry_after=240.0, digest=True),
        *[DeliveryFailed(Failure.RETRY, "away", answered=False)] * 2,
        DeliveryFailed(Failure.RETRY, "half of it", progress={"pages": 1}),
        DeliveryFailed(Failure.PERMANENT, "gone", dead_target=True),
        ZeroDivisionError("a fault of the dispatcher"),
    ]
)


class Killed(BaseException):
    """The process ends here, and nothing of it cleans up."""


class Phone(Dispatcher):
    """Some addresses, and the outcome that the machine has chosen."""

    type = "phone"
    timeout = 30.0

    def __init__(self, machine: StoreMachine, name: str, addresses: int) -> None:
        self._machine = machine
        self._name = name
        self._addresses = addresses

    def targets(self) -> list[Target]:
        self._machine.asks_for_addresses()
        return [Target(f"{self._name}{number}", f"{number}") for number in range(self._addresses)]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        return self._machine.send(self._name, alert, target.key, context)

    def check(self, target: Target) -> Receipt:
        return Receipt()


class StoreMachine(RuleBasedStateMachine):
    """On SQLite."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock(START)
        self.began = False
        self.left_open: list[Outbox] = []
        self.version = 0
        self.outcome: Any = ARRIVES
        self.kill_at: int | None = None
        # The model.
        self.accepted: set[str] = set()
        self.forgotten: set[str] = set()
        self.deliveries: dict[str, tuple[str, str]] = {}  # key: alert, state
        self.arrived: collections.Counter[str] = collections.Counter()  # by key
        self.told: collections.Counter[tuple[str, str, str]] = collections.Counter()  # by alert and address
        self.may_repeat: collections.Counter[Any] = collections.Counter()
        self.progress: dict[str, Any] = {}
        self.told_to_wait: dict[tuple[str, str], float] = {}
        self.pending: dict[str, tuple[int, str, int, float, int, str]] = {}

    # The store, and a process that works with it -------------------------------------------------------

    def open_store(self) -> Outbox:
        return SqliteOutbox(self.folder / "s.db")

    @initialize(fail_fast=st.booleans(), batches=st.booleans())
    def begin(self, fail_fast: bool, batches: bool) -> None:
        self.fail_fast, self.addresses, self.rate = fail_fast, 2, RATE
        self.batches = BatchSettings(True, 3, 60.0) if batches else NO_BATCHES
        self.outbox, self.other = self.open_store(), self.open_store()
        self.open()
        self.began = True
        for priority in ("high", "medium", "low"):
            self.emit_one(0.0, priority=priority, kind="custom", source=Source.LIVE)
        self.planner.drain(self.journal)

    def open(self) -> None:
        assert self.outbox.journals is not None
        self.journal = Journal(self.outbox.journals)
        fingerprint = f"v{self.version}"
        self.channels = {
            "a": Channel("a", Phone(self, "a", self.addresses), self.rate, "b", fingerprint, batches=self.batches),
            "b": Channel("b", Phone(self, "b", 1), fingerprint=fingerprint),
        }
        self.configure()
        self.planner = Planner(self.outbox, RuleSettings(), self.channels, time_to_live=TIME_TO_LIVE, clock=self.clock)
        self.couriers = {name: self.courier(name, self.outbox, self.journal.owner) for name in self.channels}
        self.second = {name: self.courier(name, self.other, "second") for name in self.channels}
        self.planner.adopt()

    def configure(self) -> None:
        for name, channel in self.channels.items():
            self.outbox.enable_channel(name, channel.fingerprint)

    def courier(self, name: str, outbox: Outbox, owner: str) -> Courier:
        return Courier(
            outbox,
            self.channels[name],
            self.channels,
            owner=owner,
            retry=RetrySettings(max_retries=2),
            time_to_live=TIME_TO_LIVE,
            fail_fast=self.fail_fast,
            clock=self.clock,
        )

    def kill(self, *, graceful: bool = False) -> None:
        """What is in memory is gone; the journal is unlocked, the database is as it is. Then it starts again."""
        if graceful:
            self.journal.close()
        else:
            journals._let_go(self.journal._fd)
        before, self.outbox = self.outbox, self.open_store()
        self.left_open.append(before)
        self.kill_at = None
        self.open()

    # What the dispatchers do --------------------------------------------------------------------------

    def asks_for_addresses(self) -> None:
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                raise Killed

    def send(self, channel: str, alert: Alert, target: str, context: Context) -> Receipt:
        self.check_turn(channel, alert, target, context)
        what = self.outcome
        if what == KILLED_BEFORE:
            raise Killed
        if what == HANGS:
            self.outcome = ARRIVES
            self.clock.advance(Phone.timeout + LEASE_MARGIN + 1)
            self.may_repeat_now(channel, alert, target, context)
            self.second[channel].deliver_one()
        if isinstance(what, Exception):
            if isinstance(what, DeliveryFailed):
                if what.retry_after and not what.digest:
                    self.told_to_wait[channel, target] = self.clock() + what.retry_after
                if what.progress is not None:
                    self.progress[context.key] = what.progress
            raise what
        self.arrived[context.key] += 1
        for id_ in self.alerts_in(alert):
            self.told[id_, channel, target] += 1
        if what in {KILLED_AFTER, ARRIVES_UNHEARD}:
            self.may_repeat_now(channel, alert, target, context)
        if what == KILLED_AFTER:
            raise Killed
        if what == ARRIVES_UNHEARD:
            raise DeliveryFailed(Failure.UNKNOWN, "no answer", answered=False)
        return Receipt("id")

    @staticmethod
    def alerts_in(message: Alert) -> list[str]:
        return list(message.data.get("alerts", [message.id]))

    def may_repeat_now(self, channel: str, alert: Alert, target: str, context: Context) -> None:
        self.may_repeat[context.key] += 1
        for id_ in self.alerts_in(alert):
            self.may_repeat[id_, channel, target] += 1

    def check_turn(self, channel: str, alert: Alert, target: str, context: Context) -> None:
        """Whether this is the message whose turn it is, under its own key."""
        now = self.clock()
        self.take_pending(channel)
        own = delivery_key(alert.id, channel, target)
        assert context.key == own or context.key.startswith(f"{own}_"), "a key of its own for each delivery"
        assert context.progress == self.progress.get(context.key, {})
        assert now >= self.told_to_wait.get((channel, target), 0.0), "a 429 waits exactly as told"
        seq, _, rank, _, attempts, batch = self.pending[context.key]
        for older, at, urgency, due, tried, other in self.pending.values():
            if at == target and attempts == tried == 0 and due <= now and not batch and not other:
                assert (urgency, -older) <= (rank, -seq), "first in, first out within a priority"

    # Few rules with a choice inside each, because Hypothesis switches rules off at random to go deeper in others.

    def emit_one(self, due: float, **fields: Any) -> None:
        made = alert(time=self.clock(), **fields)
        self.journal.append(encode(Accepted(made, due and self.clock() + due)))
        self.accepted.add(made.id)

    @rule(
        priority=st.sampled_from(["critical", "high", "medium", "low", "info"]),
        kind=st.sampled_from(["custom", "custom", "order.submitted", "own.kind", "order.partial", "order.completed"]),
        type=st.sampled_from(["custom", "error"]),
        source=st.sampled_from([Source.LIVE, Source.LIVE, Source.LIVE, Source.HISTORY]),
        symbol=SYMBOLS,
        action=st.sampled_from(["", "", "", "fill-1", "fill-2"]),
        dedupe_key=st.sampled_from([None, None, None, "bar-1"]),
        due=st.sampled_from([0.0, 0.0, 0.0, 600.0]),
        n=st.integers(1, 5),
        plan=st.sampled_from(["", "", "plan", "plan", "killed"]),
    )
    def emit(self, due: float, n: int, plan: str, **fields: Any) -> None:
        for _ in range(n):
            self.emit_one(due, data={"order": "o1"}, **fields)
        if plan == "plan":
            self.planner.drain(self.journal)
        elif plan == "killed":
            self.killed_while_planning(n)

    def killed_while_planning(self, n: int) -> None:
        self.kill_at = n
        try:
            self.planner.drain(self.journal)
        except Killed:
            self.kill()
        self.kill_at = None

    @rule(
        seconds=st.sampled_from([0.0, 1.0, 5.0, 70.0, 300.0, HOUR, -HOUR]),
        channel=st.sampled_from("aab"),
        outcome=OUTCOMES,
        n=st.sampled_from([1, 2, 4, 8]),
        plan=st.booleans(),
        together=st.booleans(),
    )
    def deliver(  # noqa: PLR0917 - as Hypothesis hands them over
        self, seconds: float, channel: str, outcome: Any, n: int, plan: bool, together: bool
    ) -> None:
        self.pass_time(seconds)
        if plan:
            self.planner.drain(self.journal)
        try:
            for _ in range(n):
                self.outcome = outcome
                if not self.deliver_one(channel, together=together):
                    break
            self.couriers[channel].settle()
        except Killed:
            self.kill()
        self.outcome = ARRIVES

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if seconds < -CLOCK_SLACK:  # what was written by the old clock holds nothing up
            self.told_to_wait.clear()

    def deliver_one(self, channel: str, *, together: bool = False) -> bool:
        """Deliver one; ``together`` settles it in the commit that claims the next."""
        courier = self.couriers[channel]
        if courier.deliver_next() if together else courier.deliver_one():
            return True
        self.take_pending(channel)
        due = self.outbox.next_due(channel, self.clock())
        assert due is None or due > self.clock(), "a courier that finds nothing can sleep until something is due"
        assert (due is None) == (not self.pending)
        return False

    def take_pending(self, channel: str) -> None:
        rows = self.outbox.rows(
            "SELECT key, seq, target, priority, due, attempts, batch FROM deliveries "
            "WHERE channel = ? AND state = 'pending'",
            (channel,),
        )
        self.pending = {row[0]: tuple(row[1:]) for row in rows}  # type: ignore[misc]

    @rule(graceful=st.booleans(), change=st.sampled_from(["", "", "addresses", "rate", "batches", "fail_fast"]))
    def start_again(self, graceful: bool, change: str) -> None:
        if change:
            self.version += 1
            self.told_to_wait.clear()
        if change == "addresses":
            self.addresses = 3 - self.addresses
        elif change == "rate":
            self.rate = RATE - self.rate
        elif change == "batches":
            self.batches = BatchSettings(True, 3, 60.0) if self.batches is NO_BATCHES else NO_BATCHES
        elif change == "fail_fast":
            self.fail_fast = not self.fail_fast
        self.kill(graceful=graceful)

    @rule(what=st.sampled_from(["acknowledge", "snooze", "mute"]), n=st.integers(0, 50), symbol=SYMBOLS,
          seconds=st.sampled_from([60.0, 2 * HOUR, -60.0]))  # fmt: skip
    def somebody_asks(self, what: str, n: int, symbol: str, seconds: float) -> None:
        ids = sorted(self.accepted)
        id_ = ids[n % len(ids)]
        entries = {
            "acknowledge": Acknowledged(id_),
            "snooze": Snoozed(id_, self.clock() + seconds),
            "mute": Muted({"symbol": symbol} if symbol else {"channel": "a"}, self.clock() + seconds),
        }
        self.journal.append(encode(entries[what]))
        if what == "snooze":  # it is to come once more
            self.may_repeat[id_] += 1

    @rule(what=st.sampled_from(["configure", "drain twice", "retry dead", "purge dead", "prune"]), n=st.integers(1, 9))
    def something_happens(self, what: str, n: int) -> None:
        if what == "configure":
            self.version += 1
            self.told_to_wait.clear()
            for name in self.channels:
                self.outbox.enable_channel(name, f"v{self.version}")
        elif what == "retry dead":
            self.journal.append(encode(Retried(None)))
        elif what == "purge dead":
            self.outbox.purge_dead(None)
        elif what == "prune":
            before = self.ids()
            pruned = self.outbox.prune(time.time() + 60, n)
            gone = before - self.ids()
            assert pruned.alerts == len(gone) <= n
            self.forgotten |= gone
        elif not self.forgotten:
            with self.outbox.transaction() as tx:
                tx.set_position(self.journal.name, 0)
            self.planner.adopt()  # as the housekeeping does
            self.planner.drain(self.journal)

    # What always holds -------------------------------------------------------------------------------

    def ids(self) -> set[str]:
        return {row[0] for row in self.outbox.rows("SELECT id FROM alerts")}

    @invariant()
    def every_alert_is_in_one_place(self) -> None:
        if not self.began:
            return
        died = {row[0] for row in self.outbox.rows("SELECT id FROM alerts WHERE kind = 'process.died'")}
        self.accepted |= died
        kept, forgotten = self.ids(), self.forgotten
        lines, _ = self.journal.read(self.outbox.position(self.journal.name), 10_000)
        unread = {entry.alert.id for entry in map(decode, lines) if isinstance(entry, Accepted)}
        assert kept | unread | forgotten == self.accepted
        assert len(kept) + len(unread) + len(forgotten) == len(self.accepted)
        ledger = self.outbox.ledger()
        assert ledger.balanced
        assert ledger.unreadable == ledger.waiting == 0
        assert ledger.accepted == len(kept) + len(forgotten)

    @invariant()
    def every_delivery_is_in_one_place(self) -> None:
        if not self.began:
            return
        now = {
            key: (id_, state, channel, target)
            for key, id_, state, channel, target in self.outbox.rows(
                "SELECT d.key, a.id, d.state, d.channel, d.target FROM deliveries d JOIN alerts a ON a.seq = d.alert"
            )
        }
        for key, (id_, before) in self.deliveries.items():
            assert key in now or id_ in self.forgotten, "a delivery is gone"
            after = now[key][1] if key in now else before
            assert before not in FINAL or after == before or after in FINAL[before], (before, after)
        self.deliveries |= {key: (id_, state) for key, (id_, state, _, _) in now.items()}
        ledger = self.outbox.ledger()
        assert ledger.created == len(self.deliveries)
        counted = collections.Counter(state for _, state in self.deliveries.values())
        assert {state: n for state, n in ledger.deliveries.items() if n} == dict(counted)
        for id_, state, channel, target in now.values():
            if state in {"delivered", "digested"}:
                assert self.told[id_, channel, target], "the store says that it arrived"

    @invariant()
    def nothing_arrives_twice(self) -> None:
        for key, times in self.arrived.items():
            assert times <= 1 + self.may_repeat[key]
        for (id_, channel, target), times in self.told.items():
            assert times <= 1 + self.may_repeat[id_, channel, target] + self.may_repeat[id_]

    @invariant()
    def targets_are_as_they_can_be(self) -> None:
        if not self.began:
            return
        for (owner, leased_until, leased_at, tokens, tokens_at, paced_until, pace, failures, trips, open_until,
             held_at) in self.outbox.rows(
            "SELECT owner, leased_until, leased_at, tokens, tokens_at, paced_until, pace, failures, trips, open_until, "
            "held_at FROM targets"
        ):  # fmt: skip
            assert (owner, leased_until, leased_at) == (None, 0, 0), "whoever is done gives the target back"
            assert tokens is None or -1e-6 <= tokens <= RATE + 1e-6
            assert SLOWEST <= pace <= 1.0
            assert paced_until <= tokens_at + LONGEST_PACING + CLOCK_SLACK
            assert 0 <= trips <= failures
            assert not trips or open_until <= held_at + LONGEST_REST + CLOCK_SLACK

    def teardown(self) -> None:
        try:
            if self.began:
                self.end_well()
        finally:
            for outbox in (self.outbox, self.other, *self.left_open) if self.began else ():
                outbox.close()
            if self.began:
                journals._let_go(self.journal._fd)
            shutil.rmtree(self.folder)

    def end_well(self) -> None:
        """The services are well again: everything comes to an end, and somebody who waits sleeps until it is due."""
        self.version += 1
        for name in self.channels:
            self.outbox.enable_channel(name, f"v{self.version}")
        self.told_to_wait.clear()
        self.planner.drain(self.journal)
        for _ in range(2_000):
            for name in self.channels:
                while self.deliver_one(name):
                    pass
            dues = [due for name in self.channels if (due := self.outbox.next_due(name, self.clock())) is not None]
            if not dues:
                break
            self.clock.now = max(self.clock(), min(dues))
        self.every_alert_is_in_one_place()
        self.every_delivery_is_in_one_place()
        self.nothing_arrives_twice()
        left = self.outbox.ledger().deliveries
        assert (left["pending"], left["held"]) == (0, 0)


StoreMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40)
TestStore = StoreMachine.TestCase


class PostgresMachine(StoreMachine):
    """On PostgreSQL, with a database of its own for each example."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.server = server
        self.address = server.fresh_database()

    def open_store(self) -> Outbox:
        return PostgresOutbox(self.address, self.folder, connections=1)

    def teardown(self) -> None:
        super().teardown()
        self.server.release(self.address)


def test_the_same_on_postgresql(postgres: PostgresServer) -> None:
    profile = settings(max_examples=8, stateful_step_count=30)
    run_state_machine_as_test(lambda: PostgresMachine(postgres), settings=profile)  # type: ignore[arg-type]
