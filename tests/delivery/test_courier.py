"""What a courier does with what receipts ask for: threads, memory, digests, and questions to the service later on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from alerts_kit import Clock, ahead, alert, rest, until

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, News, Receipt, Target
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]


class Meter(Dispatcher):
    """A service that takes ``cap`` messages until its period ends, and is asked later what became of them."""

    type = "meter"

    def __init__(self, cap: int = 100, news: Sequence[News | Exception] = (), at: float = 0.0) -> None:
        self.cap, self.news, self.at = cap, list(news), at
        self.sent: list[Alert] = []
        self.contexts: list[Context] = []
        self.asked: list[Receipt] = []

    def targets(self) -> Sequence[Target]:
        return [Target("one", "one")]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        spent = int(context.memory.get(target.key, {}).get("spent", 0))
        if spent >= self.cap and context.now.timestamp() < self.at and alert.priority is not Priority.CRITICAL:
            wait = self.at - context.now.timestamp()
            raise DeliveryFailed(Failure.RETRY_AFTER, "the cap is reached", retry_after=wait, digest=True)
        self.sent.append(alert)
        self.contexts.append(context)
        return Receipt(f"m{len(self.sent)}", remember={"spent": spent + 1}, follow_up=30.0 if self.news else None)

    def follow_up(self, receipt: Receipt) -> News | None:
        self.asked.append(receipt)
        told = self.news[min(len(self.asked), len(self.news)) - 1]
        if isinstance(told, Exception):
            raise told
        return told


def metered(manage: Manage, meter: Meter, fallback: str = "", **channels: Any) -> AlertManager:
    manager = manage(**channels)
    manager.add_channel("meter", meter, fallback=fallback)
    return manager


def ask(manager: AlertManager, clock: Clock, seconds: float) -> None:
    """Let time pass, and the next question be asked and its answer be written down."""
    before = noted(manager)
    clock.advance(seconds)
    until(lambda: (manager.flush(0), noted(manager) > before)[1])


def noted(manager: AlertManager) -> int:
    return int(next(manager.outbox.rows("SELECT count(*) FROM attempts WHERE took = 0 AND outcome != 'retry'"))[0])


def test_messages_of_one_thread_know_what_they_reply_to(manage: Manage) -> None:
    meter = Meter()
    manager = metered(manage, meter)
    for thread in ("AAPL 1", "AAPL 1", "MSFT 1", "AAPL 1"):
        manager.emit(alert(thread=thread))
        rest(manager)
    assert [context.replies_to for context in meter.contexts] == [(), ("m1",), (), ("m1", "m2")]


def test_what_a_receipt_wants_remembered_comes_back_with_the_next_delivery(manage: Manage) -> None:
    meter = Meter()
    manager = metered(manage, meter)
    for _ in range(3):
        manager.emit(alert())
        rest(manager)
    (target,) = meter.targets()
    assert [context.memory.get(target.key) for context in meter.contexts] == [None, {"spent": 1}, {"spent": 2}]


def test_what_a_cap_holds_back_comes_as_one_digest(manage: Manage, clock: Clock) -> None:
    meter = Meter(cap=1, at=clock() + 3600)
    manager = metered(manage, meter)
    for title in ("first", "second", "third", "fourth"):
        manager.emit(alert(title=title, priority="high" if title == "third" else "low"))
        rest(manager)
    manager.emit(alert(title="urgent", priority="critical"))
    rest(manager)
    assert [sent.title for sent in meter.sent] == ["first", "urgent"], "what batch holds back nothing urgent"
    ahead(manager, clock, 3600)
    assert [sent.title for sent in meter.sent] == ["first", "urgent", "3 alerts that waited"]
    digest = meter.sent[-1]
    assert [line.split()[-1] for line in digest.message.splitlines()] == ["third", "second", "fourth"]
    assert digest.priority is Priority.HIGH
    states = manager.ledger().deliveries
    assert (states["delivered"], states["digested"], states["pending"]) == (3, 2, 0)
    assert manager.ledger().balanced


def test_an_acknowledgement_at_the_service_is_one_here(manage: Manage, clock: Clock, service: FakeService) -> None:
    service.answer(503)
    meter = Meter(news=[News("not yet", again=15.0), News("acknowledged by anna", acknowledged=True)])
    manager = metered(manage, meter, hook=service.url)
    manager.emit(alert())
    rest(manager)
    ask(manager, clock, 30)
    ahead(manager, clock, 14)
    assert len(meter.asked) == 1
    ask(manager, clock, 1)
    assert meter.asked[0].id == "m1"
    (when,) = next(manager.outbox.rows("SELECT acknowledged FROM alerts"))
    assert when == clock()
    assert manager.ledger().deliveries == {**manager.ledger().deliveries, "delivered": 1, "cancelled": 1, "pending": 0}
    ahead(manager, clock, 3600)
    assert len(meter.asked) == 2, "who has it acknowledged is asked no more"


def test_what_did_not_arrive_after_all_goes_to_the_fallback_or_to_the_dead_letters(
    manage: Manage, clock: Clock, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    meter = Meter(news=[News("the phone is switched off", failed=True)])
    manager = metered(manage, meter, fallback="spare", spare=service.url)
    manager.emit(alert(title="calm", channels=["meter"]))
    manager.emit(alert(title="urgent", priority="critical", channels=["meter"]))
    rest(manager)
    assert service.requests == []
    clock.advance(30)
    until(lambda: (manager.flush(0), len(meter.asked) == 2 and manager.ledger().deliveries["delivered"] == 2)[1])
    told = {request.json()["data"]["title"] for request in service.requests}
    assert told == {"urgent", "Channel meter could not deliver an alert"}
    states = manager.ledger().deliveries
    assert (states["dead"], states["failed-over"], states["delivered"]) == (1, 1, 2)
    assert "'calm' did not arrive: the phone is switched off" in caplog.text


def test_a_question_that_fails_is_asked_again_and_changes_nothing(manage: Manage, clock: Clock) -> None:
    meter = Meter(news=[RuntimeError("odd"), DeliveryFailed(Failure.RETRY, "away"), News("delivered to the phone")])
    manager = metered(manage, meter)
    manager.emit(alert())
    rest(manager)
    for seconds in (30, 60, 60):
        ask(manager, clock, seconds)
    ahead(manager, clock, 3600)
    assert len(meter.asked) == 3
    (row,) = manager.get_recent_deliveries()
    assert (row["state"], row["detail"]) == ("delivered", "delivered to the phone")


def test_a_digest_that_did_not_arrive_takes_all_that_was_in_it_elsewhere(
    manage: Manage, clock: Clock, service: FakeService
) -> None:
    meter = Meter(cap=1, at=clock() + 3600, news=[News("delivered"), News("switched off", failed=True)])
    manager = metered(manage, meter, fallback="spare", spare=service.url)
    for title in ("first", "second", "third", "fourth"):
        manager.emit(alert(title=title, priority="high", channels=["meter"]))
        rest(manager)
    ask(manager, clock, 30)
    ahead(manager, clock, 3600)
    assert len(meter.sent) == 2
    clock.advance(30)
    until(lambda: (manager.flush(0), len(service.requests) == 3)[1])
    assert sorted(request.json()["data"]["title"] for request in service.requests) == ["fourth", "second", "third"]
    rest(manager)
    assert manager.ledger().deliveries["failed-over"] == 3
    assert manager.ledger().balanced


def test_wrong_credentials_while_asking_end_no_question(manage: Manage, clock: Clock) -> None:
    meter = Meter(news=[DeliveryFailed(Failure.AUTH, "who are you"), News("seen", acknowledged=True)])
    manager = metered(manage, meter)
    manager.emit(alert())
    rest(manager)
    ask(manager, clock, 30)
    ask(manager, clock, 60)
    assert len(meter.asked) == 2
