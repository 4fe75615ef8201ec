"""From ``emit`` to a service and back, over real sockets and a real file. Time is told, not waited for."""

from __future__ import annotations

import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, ahead, alert, rest, until, webhook

from bt_alerts import AlertManager
from bt_alerts.alert import Alert
from bt_alerts.delivery.courier import Courier
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, Receipt, Target
from bt_alerts.outbox.base import GRACE
from bt_alerts.outbox.journal import Journal
from bt_alerts.testing import FakeService, Received

Manage = Callable[..., AlertManager]


def titles(requests: list[Received]) -> list[str]:
    return [request.json()["data"]["title"] for request in requests]


def keys(requests: list[Received]) -> list[str]:
    return [request.headers["webhook-id"] for request in requests]


def states(manager: AlertManager) -> list[str]:
    return [row["state"] for row in reversed(manager.get_recent_deliveries(1000))]


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Where nobody listens, and nobody else can begin to."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{nobody.getsockname()[1]}"


def test_an_alert_arrives(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    assert manager.emit(alert("hello", title="Hi", symbol="AAPL"))
    rest(manager)
    (request,) = service.requests
    assert request.json()["data"]["message"] == "hello"
    assert request.json()["data"]["late_seconds"] is None
    assert states(manager) == ["delivered"]
    assert manager.ledger().balanced


# Each class of failure -------------------------------------------------------------------------------


def test_a_429_waits_exactly_as_told(manage: Manage, service: FakeService, clock: Clock) -> None:
    service.answer(429, headers={"Retry-After": "37"}).answer(200)
    manager = manage(hook=service.url)
    begun = clock()
    manager.emit(alert())
    rest(manager)
    assert manager.outbox.next_due("hook", begun) == begun + 37
    ahead(manager, clock, 36.5)
    assert len(service.requests) == 1
    ahead(manager, clock, 0.5)
    assert len(service.requests) == 2
    assert len(set(keys(service.requests))) == 1
    assert states(manager) == ["delivered"]


def test_what_comes_behind_does_not_overtake_a_wait(manage: Manage, service: FakeService, clock: Clock) -> None:
    service.answer(429, headers={"Retry-After": "10"}).answer(200)
    manager = manage(hook=service.url)
    for name in ("first", "second"):
        manager.emit(alert(title=name))
        rest(manager)
    assert len(service.requests) == 1
    ahead(manager, clock, 10)
    assert titles(service.requests) == ["first", "first", "second"]


def test_answers_of_a_service_in_trouble_are_tried_again(manage: Manage, service: FakeService, clock: Clock) -> None:
    service.answer(500).answer(503).answer(200)
    manager = manage(hook=service.url)
    manager.emit(alert())
    ahead(manager, clock, 1)
    ahead(manager, clock, 2)
    assert states(manager) == ["delivered"]
    assert len(service.requests) == 3


def test_after_max_retries_answers_it_is_a_dead_letter(manage: Manage, service: FakeService, clock: Clock) -> None:
    service.answer(500)
    manager = manage(hook=service.url, delivery={"max_retries": 2})
    manager.emit(alert(priority="low"))
    for seconds in (0, 1, 2, 60):
        ahead(manager, clock, seconds)
    assert states(manager) == ["dead"]
    assert len(service.requests) == 3


def test_a_refused_message_is_a_dead_letter_alone_and_holds_nothing_up(
    manage: Manage, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.answer(400, "bad field").answer(200)
    manager = manage(hook=service.url)
    manager.emit(alert(title="bad", priority="low"))
    manager.emit(alert(title="good", priority="low"))
    rest(manager)
    assert titles(service.requests) == ["bad", "good"]
    assert states(manager) == ["dead", "delivered"]
    assert "'bad' was not delivered (permanent)" in caplog.text
    assert "bad field" in manager.get_recent_deliveries()[1]["detail"]


def test_wrong_credentials_disable_the_channel_loudly_elsewhere(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    service.answer(401)
    manager = manage(phone=service.url, chat=other.url)
    for name in ("one", "two", "three"):
        manager.emit(alert(title=name))
        rest(manager)
    assert len(service.requests) == 1  # a hundred are not refused one by one
    assert titles(other.requests).count("Channel phone is disabled") == 1
    told = next(r.json()["data"] for r in other.requests if "disabled" in r.json()["data"]["title"])
    assert told["priority"] == "high"
    assert "bt-alerts test phone" in told["message"]
    assert manager.ledger().deliveries["held"] == 3
    assert manager.get_channel_health()["phone"]["status"] == "disabled"


def test_what_was_held_goes_on_when_a_test_succeeds(manage: Manage, service: FakeService, other: FakeService) -> None:
    service.answer(401).answer(403).answer(200)
    manager = manage(phone=service.url, chat=other.url)
    manager.emit(alert(title="held", channels=["phone"]))
    rest(manager)
    refused = manager.test_channel("phone")
    assert not refused.success
    assert "refused the credentials" in refused.results[0].reason
    assert manager.ledger().deliveries["held"] == 1
    assert manager.test_channel("phone").success
    rest(manager)
    assert titles(service.requests)[-1] == "held"
    assert manager.ledger().deliveries["held"] == 0


def test_what_was_held_goes_on_with_another_configuration(manage: Manage, service: FakeService) -> None:
    service.answer(401).answer(200)
    first = manage(hook=service.url)
    first.emit(alert(title="held"))
    rest(first)
    first.close()
    same = manage(hook=service.url)
    rest(same)
    same.close()
    assert len(service.requests) == 1
    changed = manage(hook=webhook(service.url, headers={"Authorization": "Bearer another-token"}))
    rest(changed)
    assert changed.ledger().deliveries["delivered"] == 2  # the message, and what was said about the channel
    assert "held" in titles(service.requests)


def test_a_dead_address_is_held_alone(manage: Manage, service: FakeService, other: FakeService, clock: Clock) -> None:
    service.answer(410)
    manager = manage(hook=webhook(service.url, other.url))
    for name in ("one", "two"):
        manager.emit(alert(title=name))
        rest(manager)
    assert len(service.requests) == 1
    assert titles(other.requests)[0] == "one"
    (address, _) = manager.channels["hook"].dispatcher.targets()
    assert sorted(titles(other.requests)[1:]) == [f"Channel hook cannot reach {address.label} any more", "two"]
    assert manager.get_channel_health()["hook"]["disabled"] == ""


def test_an_unknown_outcome_is_repeated_under_the_same_key(manage: Manage, clock: Clock) -> None:
    received: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
                connection, _ = listener.accept()
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data or not data.endswith(b"}}"):
                        data += connection.recv(65536)
                    received.append(data)
                    connection.sendall(answer)  # at first nothing: taken, and never answered

        thread = threading.Thread(target=serve)
        thread.start()
        manager = manage(hook=f"http://127.0.0.1:{listener.getsockname()[1]}")
        manager.emit(alert())
        rest(manager)
        assert [row["outcome"] for row in manager.get_recent_deliveries()] == ["unknown-outcome"]
        ahead(manager, clock, 1)
        thread.join()
    ids = [line for data in received for line in data.split(b"\r\n") if line.lower().startswith(b"webhook-id")]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert states(manager) == ["delivered"]


def test_a_service_that_cannot_be_reached_is_tried_past_max_retries(manage: Manage, clock: Clock, nowhere: str) -> None:
    manager = manage(hook=nowhere, delivery={"max_retries": 0})
    manager.emit(alert())
    rest(manager)
    for _ in range(6):
        ahead(manager, clock, 60)
    assert states(manager) == ["pending"]
    assert manager.get_recent_deliveries()[0]["attempts"] == 7


def test_a_fault_of_a_dispatcher_costs_its_message_at_most(
    manage: Manage, service: FakeService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Dispatcher):
        type = "faulty"
        tries = 0

        def targets(self) -> list[Target]:
            return [Target("x", "x")]

        def check(self, target: Target) -> Receipt:
            raise ZeroDivisionError

        def deliver(self, alert: Alert, target: Target, context: Context) -> Any:
            self.tries += 1
            if alert.title == "bad":
                raise ZeroDivisionError("\ud800 in its text")
            return None  # it forgot the receipt: it did not raise, so it is out

    manager, faulty = manage(hook=service.url), Faulty()
    manager.add_channel("faulty", faulty)
    manager.emit(alert(title="bad"))
    manager.emit(alert(title="good"))
    for seconds in (0, 1, 2, 4, 8, 60):
        ahead(manager, clock, seconds)
    assert [s for s in states(manager) if s != "delivered"] == ["dead"]
    assert faulty.tries == 4 + 1
    assert sorted(titles(service.requests)) == ["Channel faulty could not deliver an alert", "bad", "good"]
    assert "the dispatcher failed: ZeroDivisionError" in caplog.text
    assert manager.test_all_connections() == {"hook": True, "faulty": False}
    assert manager.test_channel("faulty").success


def test_a_dispatcher_that_cannot_tell_its_addresses_keeps_back_no_other_channel(
    manage: Manage, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    class Lost(Dispatcher):
        type = "lost"
        lost = False

        def targets(self) -> list[Target]:
            if self.lost:
                raise KeyError("addresses")
            return [Target("x", "x")]

        def check(self, target: Target) -> Receipt:
            return Receipt()

        def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
            return Receipt()

    manager, lost = manage(hook=service.url), Lost()
    manager.add_channel("lost", lost)
    lost.lost = True
    manager.emit(alert())
    rest(manager)
    assert len(service.requests) == 1
    assert "channel lost cannot tell its addresses" in caplog.text


# Fallback, time to live, lateness --------------------------------------------------------------------


@pytest.mark.parametrize(("priority", "goes"), [("critical", True), ("high", True), ("medium", False)])
def test_what_is_urgent_fails_over(
    manage: Manage, service: FakeService, other: FakeService, priority: str, goes: bool
) -> None:
    service.answer(400)
    manager = manage(main=webhook(service.url, fallback="spare"), spare=other.url)
    manager.emit(alert(priority=priority, channels=["main"]))
    rest(manager)
    told = "Custom" if goes else "Channel main could not deliver an alert"
    assert states(manager) == ["failed-over" if goes else "dead", "delivered"]
    assert titles(other.requests) == [told]


def test_a_wait_beyond_the_time_to_live_fails_over_at_once_and_holds_the_target(
    manage: Manage, service: FakeService, other: FakeService, clock: Clock
) -> None:
    service.answer(429, headers={"Retry-After": "7200"}).answer(200)
    manager = manage(main=webhook(service.url, fallback="spare"), spare=other.url, delivery={"time_to_live": 3600})
    manager.emit(alert(priority="high", channels=["main"]))
    manager.emit(alert(priority="high", channels=["main"], title="behind"))
    rest(manager)
    assert len(other.requests) == 2
    assert len(service.requests) == 1
    assert manager.outbox.next_due("main", clock()) is None
    ahead(manager, clock, 7000)
    manager.emit(alert(channels=["main"], title="soon", time=clock()))
    rest(manager)
    assert len(service.requests) == 1
    assert manager.outbox.next_due("main", clock()) == clock() + 200
    ahead(manager, clock, 200)
    assert titles(service.requests)[-1] == "soon"


def test_what_waits_behind_a_hold_that_outlasts_it_fails_over_too(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    service.answer(429, headers={"Retry-After": "7200"})
    manager = manage(
        main=webhook(service.url, fallback="spare"), spare=other.url, delivery={"time_to_live": 600, "flush_timeout": 5}
    )
    for title in ("first", "second", "third"):
        manager.emit(alert(title=title, priority="critical", channels=["main"]))
    manager.emit(alert(title="calm", channels=["main"]))
    rest(manager)
    lost = "Channel main could not deliver an alert"
    assert sorted(titles(other.requests)) == [lost, "first", "second", "third"]
    assert len(service.requests) == 1
    states = manager.ledger().deliveries
    assert (states["failed-over"], states["expired"], states["delivered"], states["pending"]) == (3, 1, 4, 0)


def test_the_fallback_is_woken_at_once(manage: Manage, service: FakeService, other: FakeService) -> None:
    service.answer(400)
    manager = manage(main=webhook(service.url, fallback="spare"), spare=other.url)
    manager.start()
    time.sleep(0.3)  # both couriers are asleep, and nobody asks the manager anything
    manager.emit(alert(title="urgent", priority="critical", channels=["main"]))
    other.wait_for(1, timeout=15)


def test_urgent_alerts_take_the_fallback_while_the_channel_is_disabled(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    service.answer(401)
    manager = manage(main=webhook(service.url, fallback="spare"), spare=other.url)
    for name, priority in (("first", "high"), ("calm", "medium"), ("urgent", "critical")):
        manager.emit(alert(title=name, priority=priority, channels=["main"]))
        rest(manager)
    assert sorted(titles(other.requests)) == ["Channel main is disabled", "first", "urgent"]
    assert len(service.requests) == 1
    assert manager.ledger().deliveries["held"] == 1


def test_what_is_past_its_time_to_live_expires_visibly(
    manage: Manage, clock: Clock, caplog: pytest.LogCaptureFixture, nowhere: str
) -> None:
    manager = manage(hook=nowhere, delivery={"time_to_live": 600})
    manager.emit(alert(title="too late", priority="low"))
    ahead(manager, clock, 601)
    assert states(manager) == ["expired"]
    assert manager.get_recent_deliveries()[0]["detail"] == "its time to live ended"
    assert "'too late' was not delivered (expired)" in caplog.text
    assert manager.get_channel_health()["hook"]["failed"] == 1


def test_what_is_given_up_is_told_on_the_other_channels(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    service.answer(400, "bad field").answer(200)
    manager = manage(hook=service.url, second=other.url)
    manager.emit(alert(title="bad", channels=["hook"]))
    manager.emit(alert(title="of no weight", priority="low", channels=["hook"]))
    rest(manager)
    assert titles(other.requests) == ["Channel hook could not deliver an alert"]
    assert "bad field" in other.requests[0].json()["data"]["message"]


def test_without_another_channel_what_expired_is_told_on_the_same_one_and_what_was_refused_is_not(
    manage: Manage, service: FakeService, clock: Clock
) -> None:
    service.answer(503)
    manager = manage(hook=service.url, delivery={"time_to_live": {"signal": 60}})
    manager.emit(alert(title="too late", type="signal", time=clock()))
    rest(manager)
    service.answer(400, "bad field").answer(200)
    ahead(manager, clock, 61)
    assert "Channel hook could not deliver an alert" in titles(service.requests)
    before = len(service.requests)
    service.answer(400, "bad field").answer(200)
    manager.emit(alert(title="bad", time=clock()))
    ahead(manager, clock, 600)
    assert titles(service.requests)[before:] == ["bad"]


def test_what_waited_for_a_channel_that_was_taken_out_ends_visibly(
    manage: Manage, service: FakeService, clock: Clock, nowhere: str
) -> None:
    gone = manage(gone=nowhere)
    gone.emit(alert(title="for nobody"))
    rest(gone)
    gone.close(timeout=0)
    manager = manage(hook=service.url)
    clock.advance(86_401 + GRACE)
    manager._expire_unserved()
    rest(manager)
    assert titles(service.requests) == ["Channel gone could not deliver an alert"]
    assert sorted(states(manager)) == ["delivered", "expired"]


@pytest.mark.parametrize(("seconds", "late"), [(61, 61), (59, None)])
def test_a_late_message_says_how_late(
    manage: Manage, service: FakeService, clock: Clock, seconds: float, late: float | None
) -> None:
    service.answer(429, headers={"Retry-After": str(seconds)}).answer(200)
    manager = manage(hook=service.url)
    manager.emit(alert(time=clock()))
    ahead(manager, clock, seconds)
    found = service.requests[1].json()["data"]["late_seconds"]
    assert found == (None if late is None else pytest.approx(late, abs=0.01))


def test_a_silent_event_is_delivered_silently(manage: Manage, service: FakeService, tmp_path: Path) -> None:
    manager = AlertManager(
        {"alerts": {"hook": webhook(service.url)}, "events": {"custom": "silent"}}, store=str(tmp_path / "s.db")
    )
    manager.emit(alert())
    manager.emit(alert(kind="signal", type="signal"))
    rest(manager)
    assert [r.json()["data"]["silent"] for r in service.requests] == [True, False]
    manager.close()


def test_a_scheduled_alert_comes_at_its_time_and_is_not_late(
    manage: Manage, service: FakeService, clock: Clock
) -> None:
    manager = manage(hook=service.url)
    assert manager.schedule_alert(alert(title="later"), at=clock() + 90_000)
    ahead(manager, clock, 89_999)
    assert not service.requests
    ahead(manager, clock, 1)
    assert titles(service.requests) == ["later"]
    assert service.requests[0].json()["data"]["late_seconds"] is None


# Isolation -------------------------------------------------------------------------------------------


def test_a_target_that_hangs_delays_no_other_channel(manage: Manage, service: FakeService, other: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)
    manager = manage(slow=service.url, quick=other.url)
    for name in ("one", "two", "three"):
        manager.emit(alert(title=name))
    other.wait_for(3)
    assert titles(other.requests) == ["one", "two", "three"]
    gate.set()
    rest(manager)
    assert states(manager) == ["delivered"] * 6


def test_an_address_that_is_down_delays_no_other(
    manage: Manage, service: FakeService, clock: Clock, nowhere: str
) -> None:
    manager = manage(hook=webhook(nowhere, service.url))
    for name in ("one", "two"):
        manager.emit(alert(title=name))
        rest(manager)
    assert titles(service.requests) == ["one", "two"]
    assert sorted(states(manager)) == ["delivered", "delivered", "pending", "pending"]


def test_one_message_at_a_time_goes_to_an_address(manage: Manage, service: FakeService) -> None:
    manager = manage(a=service.url, delivery={"parallel": True})
    for i in range(10):
        manager.emit(alert(title=f"{i}"))
    rest(manager)
    assert service.most_at_once == 1
    assert titles(service.requests) == [f"{i}" for i in range(10)]


def test_without_parallel_one_channel_after_the_other_is_served(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    manager = manage(a=service.url, b=other.url, delivery={"parallel": False})
    manager.start()
    names = {thread.name for thread in threading.enumerate()}
    assert "bt_alerts courier" in names
    for i in range(3):
        manager.emit(alert(title=f"{i}"))
    rest(manager)
    assert titles(service.requests) == titles(other.requests) == ["0", "1", "2"]


def test_without_parallel_a_faulty_channel_delays_no_other(manage: Manage, service: FakeService) -> None:
    class Faulty(Dispatcher):
        type = "faulty"

        def targets(self) -> list[Target]:
            return [Target("x", "x")]

        def check(self, target: Target) -> Receipt:
            return Receipt()

        def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
            raise DeliveryFailed(Failure.RETRY, "\ud800")

    manager = manage(b=service.url, delivery={"parallel": False})
    manager.add_channel("a", Faulty())
    manager.start()
    manager.emit(alert())
    service.wait_for(1)


def test_fail_fast_cancels_the_other_channels_of_an_alert(
    manage: Manage, service: FakeService, other: FakeService, clock: Clock
) -> None:
    for each in (service, other):  # either may have the first turn
        each.answer(500).answer(200)
    manager = manage(a=service.url, b=other.url, delivery={"fail_fast": True, "parallel": False})
    manager.emit(alert())
    rest(manager)
    assert sorted(states(manager)) == ["cancelled", "pending"]
    assert len(service.requests) + len(other.requests) == 1
    ahead(manager, clock, 1)
    assert sorted(states(manager)) == ["cancelled", "delivered"]
    assert sorted([len(service.requests), len(other.requests)]) == [0, 2]


def test_pacing_holds_a_burst_back(manage: Manage, service: FakeService, clock: Clock) -> None:
    manager = manage(hook=webhook(service.url, rate_limit=2))
    for i in range(4):
        manager.emit(alert(title=f"{i}"))
    rest(manager)
    assert len(service.requests) == 2
    ahead(manager, clock, 30)
    assert len(service.requests) == 3
    ahead(manager, clock, 30)
    assert titles(service.requests) == ["0", "1", "2", "3"]


def test_pacing_can_be_turned_off(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=webhook(service.url, rate_limit=1), delivery={"enable_rate_limiting": False})
    for _ in range(4):
        manager.emit(alert())
    rest(manager)
    assert len(service.requests) == 4


# Ends and beginnings ---------------------------------------------------------------------------------


def test_flush_ends_at_its_deadline_and_what_is_left_is_sent_at_the_next_start(
    manage: Manage, service: FakeService, clock: Clock
) -> None:
    service.answer(503).answer(200)
    manager = manage(hook=service.url)
    manager.emit(alert(title="left"))
    rest(manager)
    assert manager.flush(0.1) is False
    manager.close(timeout=0.1)
    clock.advance(5)
    second = manage(hook=service.url)
    second.start()
    rest(second)
    assert titles(service.requests) == ["left", "left"]
    assert len(set(keys(service.requests))) == 1


def test_flush_waits_for_the_alert_that_a_background_job_ends_with(
    manage: Manage, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manage(hook=service.url)
    rest(manager)
    engine, looked = manager._intake.engine, threading.Event()
    assert engine is not None

    def job() -> None:
        assert looked.wait(20)
        manager.emit(alert(title="at its end"))

    engine.run_soon(job)
    position = manager.outbox.position

    def the_job_ends_after_this_look(journal: str) -> int:
        found = position(journal)
        if threading.current_thread() is threading.main_thread():
            looked.set()
            while engine._jobs:
                time.sleep(0)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(manager.outbox, "position", the_job_ends_after_this_look)
        threading.Timer(0.2, looked.set).start()  # flush need not look there while the job runs
        assert manager.flush(20)
    assert titles(service.requests) == ["at its end"]


def test_flush_waits_until_a_loss_is_told(
    manage: Manage, service: FakeService, other: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = manage(main=service.url, spare=other.url)
    rest(manager)
    service.answer(404)
    speak_up = Courier._speak_up
    monkeypatch.setattr(Courier, "_speak_up", lambda *of: (time.sleep(0.3), speak_up(*of)))
    manager.emit(alert(title="lost", channels=["main"]))
    assert manager.flush(20)
    assert titles(other.requests) == ["Channel main could not deliver an alert"]


def test_flush_does_not_wait_for_what_is_due_after_its_deadline(manage: Manage, service: FakeService) -> None:
    import time

    manager = manage(hook=service.url)
    manager.schedule_alert(alert(), at=manager.clock() + 3600)
    begun = time.monotonic()
    assert manager.flush(20) is False
    assert time.monotonic() - begun < 10


def test_what_a_hanging_service_has_is_sent_again_after_the_lease(
    manage: Manage, service: FakeService, clock: Clock
) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate).answer(200)
    manager = manage(hook=service.url)
    manager.emit(alert())
    service.wait_for(1)
    manager.close(timeout=0)  # gives its lease back
    second = manage(hook=service.url)
    second.start()
    service.wait_for(2)
    gate.set()
    rest(second)
    assert len(set(keys(service.requests))) == 1
    assert states(second) == ["delivered"]


@pytest.mark.parametrize(
    "poison",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"3",
        b'{"alert": []}',
        b'{"alert": {}}',
        b'{"alert":{"id":"x","type":"custom","priority":"low","title":"t","message":"m","time":1e300}}',
        b'{"alert":{"id":"x","type":"custom","priority":"low","title":"t","message":"m","time":"2026-01-01"},"due":null}',
        b'{"alert":{"id":"x","type":"custom","priority":"low","title":"t","message":"m","time":"2026-01-01"},"due":NaN}',
        b'{"mute": 5, "until": 3}',
        b'{"snooze": "x"}',
        b'{"snooze": "x", "until": Infinity}',
        b'{"retry": "12"}',
        b'{"retry": [1, null]}',
        b'{"colour": "a newer version"}',
    ],
    ids=lambda line: line[:40].decode("latin-1"),
)
@pytest.mark.usefixtures("uncollected")
def test_a_line_that_nobody_can_read_is_kept_and_holds_nothing_up(
    manage: Manage, service: FakeService, tmp_path: Path, poison: bytes
) -> None:
    journal = Journal(tmp_path / "store.db.journal")
    journal.append(poison)
    journal.close()
    manager = manage(hook=service.url)
    manager.emit(alert(title="behind"))
    rest(manager)
    assert titles(service.requests) == ["behind"]
    assert manager.ledger().unreadable == 1
    assert manager.ledger().balanced
    assert list(manager.outbox.rows("SELECT line FROM unreadable")) == [(poison[:65536],)]


def test_the_store_being_locked_delays_and_loses_nothing(
    manage: Manage, service: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manage(hook=service.url)
    manager.emit(alert(title="before"))
    rest(manager)
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        manager.outbox._busy = 0.05  # type: ignore[attr-defined]
        for i in range(20):
            assert manager.emit(alert(title=f"{i}"))
        until(lambda: "outbox.trouble" in str([r.json()["type"] for r in service.requests]))  # past the store
        assert "is locked by another process" in caplog.text
        db.execute("ROLLBACK")
    rest(manager)
    assert [t for t in titles(service.requests) if t.isdigit()] == [f"{i}" for i in range(20)]
    assert manager.ledger().balanced


def test_emit_at_the_very_start_does_not_wait_for_a_locked_store(
    manage: Manage, service: FakeService, tmp_path: Path
) -> None:
    manage(hook=service.url).close()
    manager = manage(hook=service.url)
    manager.outbox._busy = 60.0  # type: ignore[attr-defined]
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        done = threading.Event()

        def emit() -> None:
            manager.emit(alert())
            done.set()

        threading.Thread(target=emit).start()
        assert done.wait(20)
        assert next((tmp_path / "store.db.journal").glob("*.jsonl")).stat().st_size > 100
        db.execute("ROLLBACK")
    service.wait_for(1, timeout=15)


def test_a_store_that_was_locked_at_the_start_still_adopts_and_enables_later(
    manage: Manage, service: FakeService, tmp_path: Path
) -> None:
    manage(hook=service.url).close()
    left = Journal(tmp_path / "store.db.journal")
    from bt_alerts.outbox.entries import Accepted, encode

    left.append(encode(Accepted(alert(title="left"))))
    left.close()
    manager = manage(hook=service.url)
    manager.outbox._busy = 0.05  # type: ignore[attr-defined]
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        manager.emit(alert(title="new"))
        until(lambda: manager._intake.trouble)
        db.execute("ROLLBACK")
    until(lambda: {"left", "new"} <= set(titles(service.requests)))
    known = list(manager.outbox.rows("SELECT fingerprint FROM channels"))
    assert known == [(manager.channels["hook"].fingerprint,)]


def test_a_journal_is_rotated_under_way_and_nothing_is_lost(
    manage: Manage, service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bt_alerts.outbox.journal.ROTATE_AT", 2_000)
    manager = manage(hook=service.url)
    first = None
    for i in range(60):
        manager.emit(alert(title=f"{i}", kind="order.submitted"))
        if i % 10 == 0:
            manager.ledger()
        assert isinstance(manager._intake.journal, Journal)
        first = first or manager._intake.journal.name
    assert manager.ledger().accepted == 60
    assert manager._intake.journal is not None
    assert manager._intake.journal.name != first
    assert len(list((tmp_path / "store.db.journal").glob("*.jsonl"))) == 1
    assert len(list(manager.outbox.rows("SELECT * FROM journals"))) <= 1


def test_secrets_of_settings_are_no_part_of_logs(
    manage: Manage, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        manager = manage(hook=webhook(service.url, headers={"X-Token": "s3cr3t-t0ken-of-mine"}))
        service.answer(401, "s3cr3t-t0ken-of-mine is wrong")
        manager.emit(alert())
        rest(manager)
    assert service.requests[0].headers["x-token"] == "s3cr3t-t0ken-of-mine"
    assert "s3cr3t-t0ken-of-mine" not in caplog.text


def test_the_fallback_is_woken_before_the_next_message_is_tried(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    """The next one may hang for as long as its timeout."""
    release = threading.Event()

    def second(_: Any) -> bytes:
        if len(service.requests) > 1:
            release.wait(30)
        return b""

    service.answer(400, second)
    manager = manage(main=webhook(service.url, fallback="spare"), spare=other.url)
    manager.emit(alert(title="stop", priority="high", channels=["main"]))
    manager.emit(alert(title="behind", priority="low", channels=["main"]))
    try:
        other.wait_for(1, timeout=15)
        assert titles(other.requests)[0] == "stop"
    finally:
        release.set()


def test_taking_turns_an_idle_channel_does_not_wait_for_the_backlog_of_another(
    manage: Manage, service: FakeService, other: FakeService
) -> None:
    manager = manage(busy=service.url, idle=other.url, delivery={"parallel": False})
    gone: list[int] = []

    def slowly(_: Any) -> bytes:
        if len(service.requests) == 3:
            manager.emit(alert(title="stop", priority="critical", channels=["idle"]))
            until(manager.drained)
        gone.append(len(other.requests))
        time.sleep(0.02)
        return b""

    service.answer(200, slowly)
    for i in range(40):
        manager.emit(alert(title=f"{i}", channels=["busy"]))
    rest(manager)
    assert len(service.requests) == 40
    assert gone[-1] == 1, "it had arrived before the other channel was through"
