"""Anything may happen in any order: after every step both ledgers balance, and the store agrees with a plain model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from alerts_kit import Clock, alert
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bt_alerts.alert import Alert, Source
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, Receipt, Target
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.entries import Accepted, Acknowledged, Muted, Snoozed, encode
from bt_alerts.outbox.journal import AnyJournal, Journal, MemoryJournal
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.pipeline import RuleSettings

TIME_TO_LIVE = 3_600.0
SYMBOLS = st.sampled_from(["AAPL", "MSFT", ""])


class Scripted(Dispatcher):
    """Two addresses, and the outcome that the machine has chosen."""

    type = "scripted"

    def __init__(self) -> None:
        self.outcome: Any = None
        self.sent: list[str] = []

    def targets(self) -> list[Target]:
        return [Target("one", "one"), Target("two", "two")]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        if self.outcome is not None:
            raise self.outcome
        self.sent.append(context.key)
        return Receipt("id")

    def check(self, target: Target) -> Receipt:
        return Receipt()


OUTCOMES = st.sampled_from(
    [
        None,
        None,
        *(DeliveryFailed(failure, "no") for failure in Failure),
        DeliveryFailed(Failure.RETRY_AFTER, "later", retry_after=120.0),
        DeliveryFailed(Failure.RETRY_AFTER, "much later", retry_after=2 * TIME_TO_LIVE),
        DeliveryFailed(Failure.RETRY, "away", answered=False),
        DeliveryFailed(Failure.PERMANENT, "gone", dead_target=True),
        ZeroDivisionError("a fault of the dispatcher"),
    ]
)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock(1_800_000_000.0)
        self.accepted: list[str] = []
        self.version = 0
        self.fail_fast = False

    @initialize(on_disk=st.booleans(), fail_fast=st.booleans())
    def begin(self, on_disk: bool, fail_fast: bool) -> None:
        self.on_disk, self.fail_fast = on_disk, fail_fast
        self.outbox: Outbox = SqliteOutbox(self.folder / "s.db") if on_disk else MemoryOutbox()
        self.open()
        for priority in ("high", "medium", "low"):
            self.emit_one(0.0, priority=priority, kind="custom", source=Source.LIVE)
        self.planner.drain(self.journal)

    def emit_one(self, due: float, **fields: Any) -> None:
        made = alert(time=self.clock(), **fields)
        self.journal.append(encode(Accepted(made, due and self.clock() + due)))
        self.accepted.append(made.id)

    def open(self) -> None:
        self.journal: AnyJournal = Journal(self.outbox.journals) if self.outbox.journals else MemoryJournal()
        self.channels = {
            "a": Channel("a", Scripted(), rate=30, fallback="b", fingerprint=f"v{self.version}"),
            "b": Channel("b", Scripted(), fingerprint=f"v{self.version}"),
        }
        for channel in self.channels.values():
            self.outbox.enable_channel(channel.name, channel.fingerprint)
        self.planner = Planner(self.outbox, RuleSettings(), self.channels, time_to_live=TIME_TO_LIVE, clock=self.clock)
        self.couriers = {
            name: Courier(
                self.outbox, channel, self.channels, owner=self.journal.owner, retry=RetrySettings(max_retries=2),
                time_to_live=TIME_TO_LIVE, fail_fast=self.fail_fast, clock=self.clock,
            )
            for name, channel in self.channels.items()
        }  # fmt: skip
        self.planner.adopt()

    # Few rules with a choice inside each, because Hypothesis switches rules off at random to go deeper in others.

    @rule(
        priority=st.sampled_from(["critical", "high", "medium", "low", "info"]),
        kind=st.sampled_from(["custom", "custom", "order.submitted", "own.kind"]),
        source=st.sampled_from([Source.LIVE, Source.LIVE, Source.LIVE, Source.HISTORY]),
        symbol=SYMBOLS,
        action=st.sampled_from(["", "", "", "fill-1", "fill-2"]),
        dedupe_key=st.sampled_from([None, None, None, "bar-1"]),
        due=st.sampled_from([0.0, 0.0, 0.0, 600.0]),
        n=st.integers(1, 3),
        plan=st.booleans(),
    )
    def emit(self, due: float, n: int, plan: bool, **fields: Any) -> None:
        for _ in range(n):
            self.emit_one(due, **fields)
        if plan:
            self.planner.drain(self.journal)

    @rule(
        seconds=st.sampled_from([1.0, 5.0, 300.0, 4_000.0, -600.0]),
        channel=st.sampled_from("ab"),
        outcome=OUTCOMES,
        n=st.integers(1, 4),
    )
    def deliver(self, seconds: float, channel: str, outcome: Any, n: int) -> None:
        self.clock.advance(seconds)
        self.planner.drain(self.journal)
        dispatcher: Any = self.channels[channel].dispatcher
        dispatcher.outcome = outcome
        for _ in range(n):
            self.couriers[channel].deliver_one()

    @rule(under_way=st.sampled_from(["", "a", "b"]))
    def crash(self, under_way: str) -> None:
        if under_way:
            self.outbox.claim(under_way, self.journal.owner, self.clock(), 45.0, 0.0)
        if self.on_disk:  # what a kill leaves: an unlocked journal, and a database that nobody closed
            assert isinstance(self.journal, Journal)
            self.journal.close()
            self.outbox = SqliteOutbox(self.folder / "s.db")
            self.open()

    @rule(what=st.sampled_from(["acknowledge", "snooze", "mute"]), n=st.integers(0, 50), symbol=SYMBOLS,
          seconds=st.sampled_from([60.0, 7_200.0, -60.0]))  # fmt: skip
    def somebody_asks(self, what: str, n: int, symbol: str, seconds: float) -> None:
        id_ = self.accepted[n % len(self.accepted)] if self.accepted else "unknown"
        entries = {
            "acknowledge": Acknowledged(id_),
            "snooze": Snoozed(id_, self.clock() + seconds),
            "mute": Muted({"symbol": symbol} if symbol else {"channel": "a"}, self.clock() + seconds),
        }
        self.journal.append(encode(entries[what]))

    @rule(what=st.sampled_from(["configure", "drain twice", "retry dead"]))
    def something_happens(self, what: str) -> None:
        if what == "configure":
            self.version += 1
            for name in self.channels:
                self.outbox.enable_channel(name, f"v{self.version}")
        elif what == "retry dead":
            self.outbox.retry_dead(None, self.clock(), TIME_TO_LIVE)
        elif self.on_disk:
            with self.outbox.transaction() as tx:
                tx.set_position(self.journal.name, 0)

    @invariant()
    def both_ledgers_balance(self) -> None:
        if hasattr(self, "outbox"):
            ledger = self.outbox.ledger()
            assert ledger.balanced
            assert ledger.unreadable == ledger.waiting == 0
            assert ledger.accepted <= len(self.accepted)
            assert ledger.created == next(self.outbox.rows("SELECT count(*) FROM deliveries"))[0]

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.planner.drain(self.journal)
        if self.accepted:
            kept = {row[0] for row in self.outbox.rows("SELECT id FROM alerts")}
            assert kept == set(self.accepted)
        # No address gets a delivery twice, whatever happened.
        for channel in self.channels.values():
            sent = channel.dispatcher.sent  # type: ignore[attr-defined]
            assert len(sent) == len(set(sent))
        self.outbox.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStore = StoreMachine.TestCase
