"""What a courier does when a service is unwell: the circuit breaker, poison, the fallback, what is late, and batches.

Planner and courier are called by hand and time is passed in, so each test says what happens when.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, alert

from bt_alerts.alert import Alert, Attachment, as_utc
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, News, Receipt, Target
from bt_alerts.errors import StoreError
from bt_alerts.kinds import Setting
from bt_alerts.outbox.base import Claim
from bt_alerts.outbox.entries import Accepted, Acknowledged, Entry, Snoozed, encode
from bt_alerts.outbox.journal import MemoryJournal
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.rules.batching import BatchSettings
from bt_alerts.rules.breaker import FIRST_REST, LONGEST_REST, OTHER_PROBE, THRESHOLD
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.pipeline import RuleSettings

AWAY = DeliveryFailed(Failure.RETRY, "nobody answers", answered=False)
GONE = DeliveryFailed(Failure.PERMANENT, "nobody lives there any more", dead_target=True)
BUSY = DeliveryFailed(Failure.RETRY, "503 Service Unavailable")


class Service(Dispatcher):
    """A service that does what ``answer`` says of each alert; an exception is its refusal."""

    type = "service"

    def __init__(self, addresses: Sequence[str] = ("one",)) -> None:
        self.addresses = addresses
        self.answer: Callable[[Alert, Target], DeliveryFailed | None] = lambda alert, target: None
        self.tried: list[tuple[str, Context]] = []
        self.took: list[str] = []

    def targets(self) -> Sequence[Target]:
        return [Target(address, address) for address in self.addresses]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        self.tried.append((alert.title, context))
        refusal = self.answer(alert, target)
        if refusal is not None:
            raise refusal
        self.took.append(alert.title)
        return Receipt(f"m{len(self.took)}")


class World:
    """A store, its planner and a courier for each channel, without threads."""

    def __init__(self, clock: Clock, **channels: Channel) -> None:
        self.clock, self.outbox, self.journal = clock, MemoryOutbox(), MemoryJournal()
        self.planner = Planner(self.outbox, RuleSettings(), channels, clock=clock)
        self.lost: list[str] = []
        self.made: dict[str, Alert] = {}
        self.couriers = {name: self.courier(channel, channels) for name, channel in channels.items()}

    def courier(self, channel: Channel, channels: dict[str, Channel], **more: Any) -> Courier:
        return Courier(
            self.outbox,
            channel,
            channels,
            owner="me",
            retry=RetrySettings(),
            on_lost=lambda where, alert, why, expired: self.lost.append(f"{where.name}: {alert.title}"),
            clock=self.clock,
            **more,
        )

    def emit(self, *titles: str, due: float = 0.0, **fields: Any) -> None:
        for title in titles:
            self.made[title] = alert(title=title, time=as_utc(self.clock()), **fields)
            self.journal.append(encode(Accepted(self.made[title], due)))
        self.planner.drain(self.journal)

    def ask(self, entry: Entry) -> None:
        self.journal.append(encode(entry))
        self.planner.drain(self.journal)

    def deliver(self) -> None:
        """Everything that is due now."""
        while any([courier.deliver_one() for courier in self.couriers.values()]):  # noqa: C419 - each has its turn
            assert self.outbox.ledger().balanced

    def until(self, seconds: float) -> None:
        """Let time pass, from one due time to the next."""
        end = self.clock() + seconds
        while True:
            self.deliver()
            dues = [self.outbox.next_due(name, self.clock()) for name in self.couriers]
            next_due = min((due for due in dues if due is not None), default=end)
            if next_due >= end:
                break
            self.clock.advance(max(0.001, next_due - self.clock()))
        self.clock.advance(end - self.clock())
        self.deliver()

    def states(self) -> dict[str, int]:
        return {state: n for state, n in self.outbox.ledger().deliveries.items() if n}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def world(clock: Clock, service: Service) -> Iterator[World]:
    made = World(clock, main=Channel("main", service))
    yield made
    assert made.outbox.ledger().balanced
    made.outbox.close()


def test_a_service_that_is_away_is_left_alone_more_and_more_and_everything_arrives_in_order(
    world: World, service: Service
) -> None:
    service.answer = lambda alert, target: AWAY
    world.emit("one", "two", "three")
    world.until(6 * 3600)
    assert len(service.tried) < 6 * 3600 / (0.9 * LONGEST_REST) + 10
    service.answer = lambda alert, target: None
    world.until(LONGEST_REST)
    assert service.took == ["one", "two", "three"]
    late = service.tried[-1][1].late
    assert late is not None
    assert late.total_seconds() > 6 * 3600


def test_while_the_breaker_is_open_failing_answers_use_up_no_messages(world: World, service: Service) -> None:
    service.answer = lambda alert, target: BUSY
    world.emit("first")
    world.until(3600)
    world.emit("second", "third")
    world.until(3600)
    assert world.states() == {"dead": 1, "pending": 2}, "only the first one's answers counted"
    service.answer = lambda alert, target: None
    world.until(LONGEST_REST)
    assert sorted(service.took) == ["second", "third"]


def test_a_message_whose_repeats_are_paid_is_not_repeated_for_ever_while_the_breaker_is_open(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "repeats_cost", True)
    service.answer = lambda alert, target: DeliveryFailed(Failure.UNKNOWN, "it may have arrived", answered=True)
    world.emit("first", "second")
    world.until(12 * 3600)
    tries = [title for title, _ in service.tried]
    assert (tries.count("first"), tries.count("second")) == (4, 4), "max_retries of three, for each of them"
    assert world.states() == {"dead": 2}


def test_poison_goes_to_the_dead_letters_alone(world: World, service: Service) -> None:
    service.answer = lambda alert, target: BUSY if alert.title == "poison" else None
    world.emit("before", "poison", "after", "last")
    world.until(60)
    assert service.took == ["before", "after", "last"]
    assert world.states() == {"delivered": 3, "dead": 1}


def test_poison_that_breaks_the_connection_is_no_probe_for_ever_and_holds_nothing_up(
    world: World, service: Service, clock: Clock
) -> None:
    service.answer = lambda alert, target: AWAY if alert.title == "poison" else None
    world.emit("poison", "after")
    begun = clock()
    world.until(2**OTHER_PROBE * FIRST_REST)
    assert service.took == ["after"]
    for i in range(20):
        world.emit(f"more {i}")
        world.until(60)
    assert len(service.took) == 21
    assert all(context.late is None for title, context in service.tried if title.startswith("more"))
    world.until(86_400 - (clock() - begun))
    assert world.states() == {"delivered": 21, "expired": 1}


def test_an_address_that_is_down_opens_no_breaker_but_its_own(clock: Clock) -> None:
    service = Service(["up", "down"])
    service.answer = lambda alert, target: AWAY if target.address == "down" else None
    world = World(clock, main=Channel("main", service))
    for i in range(30):
        world.emit(f"{i}")
        world.until(60)
    assert service.took == [f"{i}" for i in range(30)]
    trips = dict(world.outbox.rows("SELECT label, trips > 0 FROM targets"))
    assert trips == {"up": 0, "down": 1}


def test_what_is_urgent_takes_the_fallback_when_the_breaker_opens_and_while_it_is_open(clock: Clock) -> None:
    main, spare = Service(), Service()
    main.answer = lambda alert, target: AWAY
    world = World(clock, main=Channel("main", main, fallback="spare"), spare=Channel("spare", spare))
    world.emit("stop", priority="high", channels=["main"])
    world.emit("chat", priority="low", channels=["main"])
    world.until(120)
    assert spare.took == ["stop"]
    assert len(main.tried) >= THRESHOLD
    tried = len(main.tried)
    world.emit("crash", priority="critical", channels=["main"])
    world.deliver()
    assert spare.took == ["stop", "crash"], "at once, because the service is known to be away"
    assert len(main.tried) == tried
    assert world.states() == {"delivered": 2, "failed-over": 2, "pending": 1}


def test_a_settlement_that_the_store_did_not_take_is_made_good_before_anything_else_is_sent(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(MemoryOutbox):
        full = True

        def settle(self, *args: Any, **kwargs: Any) -> bool:
            if self.full:
                raise StoreError("the disk is full")
            return super().settle(*args, **kwargs)

        def settle_and_claim(self, *args: Any, **kwargs: Any) -> tuple[bool, Claim | None]:
            if self.full:
                raise StoreError("the disk is full")
            return super().settle_and_claim(*args, **kwargs)

    full = Full()
    world.outbox = full
    channel = Channel("main", service)
    world.planner = Planner(full, RuleSettings(), {"main": channel}, clock=world.clock)
    courier = Courier(full, channel, {"main": channel}, owner="me", retry=RetrySettings(), clock=world.clock)
    world.couriers = {"main": courier}
    world.emit("one", "two")
    for _ in range(3):
        with pytest.raises(StoreError):
            courier.deliver_one()
        world.clock.advance(60)
    assert service.took == ["one"], "sent once, and not again though its lease has ended"
    full.full = False
    world.deliver()
    assert service.took == ["one", "two"]
    assert world.states() == {"delivered": 2}


def test_an_address_that_is_gone_costs_nobody_the_lease_of_the_same_tick(clock: Clock) -> None:
    """A wall clock may tick 15 ms long, and two couriers of a channel claim within it."""
    service = Service(["gone", "there"])
    service.answer = lambda alert, target: GONE if target.label == "gone" else None
    channel = Channel("main", service)
    world = World(clock, main=channel)
    one, other = world.couriers["main"], world.courier(channel, {"main": channel})
    world.emit("a")
    assert one.deliver_next()
    assert other.deliver_next()
    assert not one.deliver_next()  # settles that the address is gone, and finds that all is leased
    assert not one.deliver_next()
    other.settle()
    world.deliver()
    assert service.took == ["a"]
    assert world.states() == {"delivered": 1, "held": 1}
    world.outbox.close()


def pair(clock: Clock, **fallbacks: str) -> tuple[World, Service, Service]:
    """A world of two channels, "main" and "spare", that do not work."""
    main, spare = Service(), Service()
    main.answer = spare.answer = lambda alert, target: AWAY
    channels = {
        name: Channel(name, service, fallback=fallbacks.get(name, ""))
        for name, service in (("main", main), ("spare", spare))
    }
    return World(clock, **channels), main, spare


def test_where_each_is_the_fallback_of_the_other_what_both_gave_up_is_a_dead_letter_and_told(clock: Clock) -> None:
    world, _, _ = pair(clock, main="spare", spare="main")
    world.emit("stop", priority="critical", channels=["main"])
    world.until(300)
    assert world.states() == {"failed-over": 1, "dead": 1}
    assert world.lost == ["spare: stop"]


def test_a_fallback_without_an_address_takes_nothing_from_a_service_that_comes_back(clock: Clock) -> None:
    world, main, spare = pair(clock, main="spare")
    spare.addresses = ()
    world.emit("stop", priority="critical", channels=["main"])
    world.until(300)
    main.answer = lambda alert, target: None
    world.until(LONGEST_REST)
    assert main.took == ["stop"]


def test_a_fallback_that_is_disabled_takes_nothing_from_a_service_that_comes_back(clock: Clock) -> None:
    world, main, spare = pair(clock, main="spare")
    spare.answer = lambda alert, target: DeliveryFailed(Failure.AUTH, "who are you")
    world.emit("hello", channels=["spare"])
    world.deliver()
    world.emit("stop", priority="critical", channels=["main"])
    world.until(300)
    main.answer = lambda alert, target: None
    world.until(LONGEST_REST)
    assert main.took == ["stop"]
    assert world.states() == {"delivered": 1, "held": 1}


def test_what_is_handed_over_is_as_late_and_as_quiet_as_it_was(clock: Clock) -> None:
    world, main, spare = pair(clock, main="spare")
    main.answer = lambda alert, target: DeliveryFailed(Failure.PERMANENT, "no")
    spare.answer = lambda alert, target: None
    world.planner._settings = RuleSettings(events={"custom": Setting.SILENT})
    world.emit("stop", due=clock() + 7200, priority="high", channels=["main"])
    world.until(7260)
    ((title, context),) = spare.tried
    assert (title, context.late, context.silent) == ("stop", None, True), "it was to come two hours after it was made"


def test_what_somebody_acknowledged_while_it_was_under_way_goes_nowhere_else(clock: Clock) -> None:
    world, main, spare = pair(clock, main="spare")

    def answer(alert: Alert, target: Target) -> DeliveryFailed:
        world.ask(Acknowledged(alert.id))
        return DeliveryFailed(Failure.PERMANENT, "no")

    main.answer = answer
    world.emit("stop", priority="critical", channels=["main"])
    world.until(60)
    assert spare.tried == []
    assert world.states() == {"cancelled": 1}


def test_fail_fast_takes_no_fallback_away(clock: Clock) -> None:
    world, main, spare = pair(clock, main="spare")
    channels = {name: courier.channel for name, courier in world.couriers.items()}
    world.couriers = {name: world.courier(each, channels, fail_fast=True) for name, each in channels.items()}
    main.answer, spare.answer = lambda alert, target: BUSY, lambda alert, target: None
    world.emit("stop", priority="critical")
    world.until(60)
    assert spare.took == ["stop"]
    assert world.lost == []


def test_what_did_not_arrive_after_all_is_told_where_nothing_takes_its_place(clock: Clock) -> None:
    class Phone(Service):
        def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
            return Receipt(super().deliver(alert, target, context).id, follow_up=10)

        def follow_up(self, receipt: Receipt) -> News:
            return News("it is switched off", failed=True)

    world = World(clock, main=Channel("main", Phone()))
    world.emit("stop")
    world.until(60)
    assert world.states() == {"dead": 1}
    assert world.lost == ["main: stop"]


def test_a_retry_waits_for_no_clock_that_went_back(world: World, service: Service, clock: Clock) -> None:
    service.answer = lambda alert, target: AWAY
    world.emit("one")
    world.until(30)
    clock.advance(-3600)
    world.until(5)
    service.answer = lambda alert, target: None
    world.until(LONGEST_REST)
    assert service.took == ["one"]


def test_a_courier_that_stands_in_another_ones_place_writes_down_what_is_still_open(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = world.couriers["main"].channel
    old, new = (world.courier(channel, {"main": channel}) for _ in range(2))
    world.emit("one")
    with monkeypatch.context() as full:
        full.setattr(world.outbox, "settle", refuse)
        with pytest.raises(StoreError):
            old.deliver_one()
    new.take_over(old)
    world.clock.advance(3600)
    assert not new.deliver_one()
    assert service.took == ["one"]
    assert world.states() == {"delivered": 1}


def refuse(*args: Any, **kwargs: Any) -> bool:
    raise StoreError("the disk is full")


# Batches ---------------------------------------------------------------------------------------------


def gathering(clock: Clock, service: Service, size: int = 10) -> World:
    return World(clock, main=Channel("main", service, batches=BatchSettings(enabled=True, size=size, timeout=5)))


@pytest.mark.parametrize("refusal", [DeliveryFailed(Failure.PERMANENT, "bad text"), BUSY])
def test_poison_in_a_batch_takes_nothing_with_it(clock: Clock, service: Service, refusal: DeliveryFailed) -> None:
    service.answer = lambda alert, target: refusal if "poison" in alert.title + alert.message else None
    world = gathering(clock, service)
    world.emit("one", "two", "poison", "three")
    world.until(120)
    assert service.took == ["one", "two", "three"]
    assert world.lost == ["main: poison"]
    assert world.states() == {"delivered": 3, "dead": 1}


def test_a_batch_that_fails_while_others_arrive_waits_as_long_as_any(clock: Clock, service: Service) -> None:
    tries: list[float] = []

    def answer(alert: Alert, target: Target) -> DeliveryFailed | None:
        if "alerts" not in alert.title:
            return None
        tries.append(clock())
        return AWAY

    service.answer = answer
    world = gathering(clock, service)
    world.emit("one", "two", kind="signal")
    for i in range(20):
        world.until(1)
        world.emit(f"now {i}", priority="critical")
    assert len(tries) > 3
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(tries))


def test_what_is_snoozed_leaves_its_batch(clock: Clock, service: Service) -> None:
    world = gathering(clock, service)
    world.emit("one", "two")
    world.ask(Snoozed(world.made["one"].id, clock() + 3600))
    world.until(60)
    assert service.took == ["two"]
    world.until(3600)
    assert service.took == ["two", "one"]


def test_what_arrived_in_a_batch_comes_again_when_it_is_snoozed(clock: Clock, service: Service) -> None:
    world = gathering(clock, service)
    world.emit("one", "two")
    world.until(60)
    for _ in range(2):
        world.ask(Snoozed(world.made["two"].id, clock() + 3600))
    world.until(4000)
    assert service.took == ["2 alerts: custom", "two"]


def test_a_batch_waits_for_no_clock_that_went_back(clock: Clock, service: Service) -> None:
    world = gathering(clock, service, size=2)
    for titles in ("a", "bc"):
        world.emit(*titles)
        clock.advance(-3600)
        world.until(60)
    assert service.took == ["a", "2 alerts: custom"]


def test_a_digest_is_quiet_only_where_all_that_is_in_it_is(world: World, service: Service, clock: Clock) -> None:
    end = clock() + 600
    cap = DeliveryFailed(Failure.RETRY_AFTER, "the cap is reached", retry_after=600, digest=True)
    service.answer = lambda alert, target: cap if clock() < end else None
    world.planner._settings = RuleSettings(events={"custom": Setting.SILENT})
    world.emit("quiet", kind="custom")
    world.emit("loud", kind="signal", priority="high")
    world.until(700)
    assert service.took == ["2 alerts that waited"]
    assert not service.tried[-1][1].silent


def test_an_alert_with_a_file_goes_alone_because_a_list_brings_none(
    clock: Clock, service: Service, tmp_path: Path
) -> None:
    file = tmp_path / "chart.png"
    file.write_bytes(b"x")
    world = gathering(clock, service)
    world.emit("with a file", attachments=[Attachment.from_path(file)])
    world.deliver()
    assert service.took == ["with a file"]


def test_what_gathers_goes_as_one_message_and_stays_in_the_ledger(clock: Clock, service: Service) -> None:
    channel = Channel("main", service, batches=BatchSettings(enabled=True, size=4, timeout=10))
    world = World(clock, main=channel)
    world.emit("one", "two")
    world.emit("now", priority="critical")
    world.deliver()
    assert service.took == ["now"]
    world.until(10)
    assert service.took == ["now", "2 alerts: custom"]
    assert service.tried[-1][1].late is None
    world.emit(*"abcd")
    world.deliver()
    assert service.took[-1] == "4 alerts: custom", "full, so it went at once"
    assert world.states() == {"delivered": 3, "digested": 4}


def test_a_batch_that_fails_is_tried_again_whole_with_what_came_meanwhile(clock: Clock, service: Service) -> None:
    channel = Channel("main", service, batches=BatchSettings(enabled=True, size=10, timeout=10))
    world = World(clock, main=channel)
    service.answer = lambda alert, target: AWAY
    world.emit("one", "two")
    world.until(9)
    world.emit("three")
    world.until(3)
    service.answer = lambda alert, target: None
    world.until(60)
    assert service.took == ["3 alerts: custom"]
    assert len({context.key for _, context in service.tried}) == 1
    assert world.states() == {"delivered": 1, "digested": 2}


def test_a_storm_of_errors_reaches_the_phone_as_three_messages_and_one(world: World, service: Service) -> None:
    for i in range(40):
        world.emit(f"feed error {i}", kind="direct.error", type="error")
        world.until(1)
    world.until(60)
    assert service.took == ["feed error 0", "feed error 1", "feed error 2", "+37 similar: feed error 3"]
    assert world.states() == {"delivered": 4, "digested": 36}


def test_alerts_expire_by_their_type(clock: Clock, service: Service) -> None:
    world = World(clock, main=Channel("main", service))
    world.planner._time_to_live = {"market": 600.0}
    service.answer = lambda alert, target: AWAY
    world.emit("price", type="market")
    world.emit("fill", type="order")
    world.until(3600)
    assert world.states() == {"expired": 1, "pending": 1}


def test_a_batch_that_is_handed_over_is_one_message_on_the_fallback_too(clock: Clock, service: Service) -> None:
    spare = Service()
    main = Channel("main", service, fallback="spare", batches=BatchSettings(enabled=True, size=20, timeout=5))
    world = World(clock, main=main, spare=Channel("spare", spare))
    service.answer = lambda alert, target: AWAY
    world.emit(*(f"{i}" for i in range(12)), priority="high", channels=["main"])
    world.until(120)
    assert spare.took == ["12 alerts: custom"]
    assert world.states() == {"failed-over": 12, "delivered": 1, "digested": 11}


def test_what_waited_alone_for_others_says_how_late_it_is(world: World, service: Service) -> None:
    for i in range(4):
        world.emit(f"feed error {i}", kind="direct.error", type="error")
    world.until(61)
    world.emit("feed error 4", kind="direct.error", type="error")  # the storm goes on, and its window is longer
    world.until(180)
    assert service.took[-1] == "feed error 4"
    late = service.tried[-1][1].late
    assert late is not None
    assert late.total_seconds() == pytest.approx(120, abs=2)


def test_a_critical_alert_that_a_service_takes_only_as_a_digest_is_not_put_with_others(
    clock: Clock, service: Service
) -> None:
    world = World(clock, main=Channel("main", service))
    full = DeliveryFailed(Failure.RETRY_AFTER, "the quota is used up", retry_after=3600, digest=True)
    until = clock() + 3600
    service.answer = lambda alert, target: full if clock() < until else None
    world.emit("one", "two")
    world.emit("stop", priority="critical")
    world.until(3700)
    assert service.took[0] == "stop"
    assert service.took[1:] == ["2 alerts that waited"]


def test_a_claim_is_not_left_lying_where_what_came_before_cannot_be_told(
    clock: Clock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(where: Channel, alert: Alert, why: str, expired: bool) -> None:
        raise ZeroDivisionError

    channels = {"main": Channel("main", service)}
    world = World(clock, **channels)
    courier = Courier(
        world.outbox, channels["main"], channels, owner="me", retry=RetrySettings(), on_lost=broken, clock=clock
    )
    service.answer = lambda alert, target: DeliveryFailed(Failure.PERMANENT, "no") if alert.title == "bad" else None
    world.emit("bad", "good")
    assert courier.deliver_next()
    assert courier.deliver_next()
    courier.settle()
    assert service.took == ["good"]
    assert world.states() == {"dead": 1, "delivered": 1}
    assert "what became of 'bad' could not be told" in caplog.text


def test_after_a_claim_whose_answer_was_lost_the_address_waits_for_no_lease(clock: Clock, service: Service) -> None:
    class Lossy(MemoryOutbox):
        lossy = True

        def claim(self, *args: Any, **kwargs: Any) -> Claim | None:
            found = super().claim(*args, **kwargs)
            if self.lossy:
                self.lossy = False
                raise StoreError("the connection broke after the commit")
            return found

    channels = {"main": Channel("main", service)}
    world = World(clock, **channels)
    world.outbox = Lossy()
    world.planner = Planner(world.outbox, RuleSettings(), channels, clock=clock)
    courier = Courier(world.outbox, channels["main"], channels, owner="me", retry=RetrySettings(), clock=clock)
    world.emit("one")
    with pytest.raises(StoreError):
        courier.deliver_one()
    clock.advance(0.5)
    assert courier.deliver_one()
    assert service.took == ["one"]


def test_where_the_store_fails_between_the_claim_and_the_sending_the_address_waits_for_no_lease(
    clock: Clock, service: Service
) -> None:
    class Failing(MemoryOutbox):
        failing = True

        def gathered(self, claim: Claim, now: float) -> list[tuple[int, Alert]]:
            if self.failing:
                self.failing = False
                raise StoreError("locked")
            return super().gathered(claim, now)

    channels = {"main": Channel("main", service, batches=BatchSettings(enabled=True, size=2, timeout=5))}
    world = World(clock, **channels)
    world.outbox = Failing()
    world.planner = Planner(
        world.outbox, RuleSettings(batches={"main": channels["main"].batches}), channels, clock=clock
    )
    courier = Courier(world.outbox, channels["main"], channels, owner="me", retry=RetrySettings(), clock=clock)
    world.emit("one", "two")
    with pytest.raises(StoreError):
        courier.deliver_next()
    clock.advance(0.5)
    assert courier.deliver_one()
    assert service.took == ["2 alerts: custom"]
