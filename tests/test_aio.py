"""``AsyncNotificationManager``: what a program on asyncio gets told, and what it never has to wait for."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
import logging
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import backtrader as bt
import pytest
from alerts_kit import Clock, run_python

from bt_alerts import (
    AlertsError,
    AlertType,
    AsyncNotificationManager,
    EmailHandler,
    NetworkError,
    NotificationError,
    NotificationPriority,
    NotificationType,
    RateLimitError,
    SMSHandler,
    TelegramHandler,
    WebhookHandler,
    initialize_notification_manager,
)
from bt_alerts.aio.manager import _failure
from bt_alerts.delivery.report import Attempt, ChannelResult, DeliveryReport
from bt_alerts.errors import InvalidNotificationError, QueueFullError, SettingsError
from bt_alerts.redact import redact
from bt_alerts.testing import FakeService
from bt_alerts.testing.canary import found_in, fresh_canary, logged, shown_by

T = TypeVar("T")

TOKEN = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-made-up"
LONG = 30.0  # seconds that a test waits for what comes at once


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def hook(service: FakeService, **more: Any) -> WebhookHandler:
    return WebhookHandler(service.url, rate_limit=0, **more)


def sent(service: FakeService) -> list[dict[str, Any]]:
    """The notifications that came, without what the engine itself tells."""
    found = [request.json()["data"] for request in service.requests]
    return [data for data in found if data["kind"].startswith("notification.")]


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what another thread does, and let the loop go on."""
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.005)


async def received(service: FakeService, count: int) -> None:
    await asyncio.to_thread(service.wait_for, count, LONG)


async def too_short(manager: AsyncNotificationManager) -> list[DeliveryReport]:
    """Reports of waits that ended first, the last one after it was planned: a busy machine takes its time for that."""
    reports: list[DeliveryReport] = []
    wait = 0.5
    while not reports or not reports[-1].results:
        assert wait < LONG
        reports.append(await manager.send_notification(message="too short a wait", wait=wait))
        wait *= 2
    return reports


class Ticker:
    """A task that goes on only while the loop does."""

    def __init__(self) -> None:
        self.ticks = 0
        self.longest = 0.0

    async def _tick(self) -> None:
        before = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(0.005)
            now = asyncio.get_running_loop().time()
            self.ticks, self.longest, before = self.ticks + 1, max(self.longest, now - before), now

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()


@pytest.fixture
def gate(service: FakeService) -> Iterator[threading.Event]:
    """The service answers nothing before this is set."""
    gate = threading.Event()
    service.answer(200, gate=gate)
    yield gate
    gate.set()


# Two forms -------------------------------------------------------------------------------------------


def test_the_first_form(service: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service))
            report = await manager.send_notification(channel="webhook", message="filled", priority="normal")
            assert report.state == "accepted"
            assert report
        (data,) = sent(service)
        assert (data["id"], data["message"], data["priority"]) == (report.alert_id, "filled", "medium")
        assert (data["title"], data["type"], data["kind"]) == ("Trading Alert", "custom", "notification.info")

    run(main())


def test_the_second_form(service: FakeService, other: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service), name="phone")
            manager.add_handler(hook(other), name="desk")
            report = await manager.send_notification(
                notification_type=NotificationType.ERROR,
                title="No feed",
                message="for a minute",
                priority=NotificationPriority.HIGH,
                data={"feed": "EURUSD"},
                source="Cross",
                channels=["phone"],
                wait=LONG,
            )
        (data,) = sent(service)
        assert (data["title"], data["message"], data["type"], data["priority"]) == (
            "No feed", "for a minute", "error", "high",
        )  # fmt: skip
        assert (data["data"], data["strategy"]) == ({"feed": "EURUSD"}, "Cross")
        assert [(result.channel, result.state) for result in report.results] == [("phone", "delivered")]
        assert report.success
        assert not other.requests

    run(main())


def test_without_a_channel_it_goes_to_all(service: FakeService, other: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            assert manager.add_handler(hook(service)) == "webhook"
            assert manager.add_handler(hook(other)) == "webhook-2"
            assert (await manager.send_notification(message="all", wait=LONG)).success
            assert (await manager.send_notification(channel="webhook-2", message="one", wait=LONG)).success
        assert [data["message"] for data in sent(service)] == ["all"]
        assert [data["message"] for data in sent(other)] == ["all", "one"]

    run(main())


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        ("normal", "medium"),
        ("NORMAL ", "medium"),
        (NotificationPriority.NORMAL, "medium"),
        ("medium", "medium"),
        ("low", "low"),
        ("info", "info"),
        (NotificationPriority.HIGH, "high"),
        ("urgent", "critical"),
        (NotificationPriority.URGENT, "critical"),
        ("critical", "critical"),
    ],
)
def test_words_for_priorities(word: str, priority: str) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(mode="record") as manager:
            report = await manager.send_notification(message="x", priority=word, notification_type=AlertType.MILESTONE)
            (kept,) = await asyncio.to_thread(manager.manager.alerts)
            assert (kept.id, kept.priority, kept.type) == (report.alert_id, priority, AlertType.MILESTONE)

    run(main())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"message": "x", "priority": "huge"}, "'huge' is no priority: use one of critical, high, medium, low"),
        ({"message": "x", "priority": 1}, "1 is no priority"),
        ({"message": "x", "notification_type": "news"}, "'news' is no notification_type: use one of signal, order"),
        (
            {"message": "x", "channel": "telegrm"},
            r"no channel 'telegrm': add_handler\(...\) it first, or use one of hook",
        ),
        ({"message": "x", "channels": ["hook", "desk"]}, "no channel 'desk'"),
        ({"message": "x", "channels": [hook]}, "no channel a function"),
        ({}, 'nothing is said: give message="…"'),
        ({"message": "x", "data": "y"}, "data must be a mapping"),
        ({"message": "x", "attachments": ["nowhere.png"]}, "attachment 'nowhere.png' cannot be read: No such file"),
        ({"message": "x", "attachments": [1]}, "attachments must be paths of files, not a int"),
    ],
)
def test_what_cannot_be_sent_is_said_and_not_accepted(service: FakeService, given: dict[str, Any], told: str) -> None:
    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service), name="hook")
            with pytest.raises(InvalidNotificationError, match=told) as caught:
                await manager.send_notification(**given)
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value, NotificationError)
            assert (await asyncio.to_thread(manager.manager.ledger)).accepted == 0

    run(main())


def test_an_attachment_is_sent(service: FakeService, tmp_path: Path) -> None:
    service.answer(200, {"ok": True, "result": {"message_id": 1}})
    file = tmp_path / "report.csv"
    file.write_text("a,b\n1,2\n")

    async def main() -> None:
        async with AsyncNotificationManager(store=tmp_path / "store.db") as manager:
            manager.add_handler(TelegramHandler(TOKEN, -100123, 0, api_url=service.url))
            await manager.send_notification(channel="telegram", message="today", attachments=[file])
            file.unlink()  # accepted means that it is kept
        (content,) = [part[2] for request in service.requests for part in request.parts().values() if part[0]]
        assert content == b"a,b\n1,2\n"

    run(main())


# Never in the way ------------------------------------------------------------------------------------


def test_the_loop_goes_on_while_a_channel_hangs(service: FakeService, gate: threading.Event) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(), Ticker() as ticker:
            manager = await initialize_notification_manager(handlers=[hook(service)])
            waiting = [asyncio.create_task(manager.send_notification(message=f"{i}", wait=LONG)) for i in range(50)]
            await received(service, 1)
            before = ticker.ticks
            await until(lambda: ticker.ticks - before > 20)
            assert not any(task.done() for task in waiting)
            reports = await too_short(manager)
            assert not reports[-1].success
            assert [result.state for result in reports[-1].results] == ["pending"]
            status = manager.get_queue_status()
            assert status["queue_size"] == 50 + len(reports)
            gate.set()
            assert all(report.success for report in await asyncio.gather(*waiting))
            await manager.stop()
            assert len(service.requests) == 50 + len(reports)
            assert ticker.longest < 5  # a generous bound: what hung did so for all of this test

    run(main())


def test_a_locked_store_is_not_waited_for(service: FakeService, tmp_path: Path) -> None:
    store = tmp_path / "store.db"

    async def main() -> None:
        async with AsyncNotificationManager(store=store) as manager, Ticker() as ticker:
            manager.add_handler(hook(service))
            await manager.send_notification(message="first", wait=LONG)
            with closing(sqlite3.connect(store, isolation_level=None)) as somebody:
                manager.manager.outbox._busy = 60.0  # type: ignore[attr-defined]
                somebody.execute("BEGIN EXCLUSIVE")
                manager.add_handler(hook(service), name="new")
                assert manager.get_channel_statistics()["new"]["sent"] == 0
                for i in range(20):
                    await manager.send_notification(message=f"{i}", channel="webhook")
                    manager.get_queue_status()
                    manager.get_channel_statistics()
                    await asyncio.sleep(0)
                async with asyncio.timeout(20):  # a generous bound: the store is tried for longer
                    report = await manager.send_notification(message="waits", channel="webhook", wait=0.3)
                assert (report.state, report.results, report.success) == ("waiting", (), False)
                waiting = asyncio.create_task(
                    manager.send_notification(message="waits longer", channel="webhook", wait=LONG)
                )
                before = ticker.ticks
                await until(lambda: ticker.ticks - before > 5 and manager.get_queue_status()["queue_size"] >= 22)
                assert not waiting.done()
                assert ticker.longest < 20  # a question to the store takes 60 s now
                somebody.execute("ROLLBACK")
            assert (await waiting).success
            assert await manager.stop()
        assert [data["message"] for data in sent(service)] == [
            "first",
            *(f"{i}" for i in range(20)),
            "waits",
            "waits longer",
        ]

    run(main())


def test_nothing_is_written_unasked(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"WEBHOOK_NOTIFICATIONS_ENABLED": "true", "WEBHOOK_URLS": service.url}.items():
        monkeypatch.setenv(name, value)

    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            await manager.send_notification(channel="webhook", message="a channel from the environment")
        assert len(service.requests) == 1

    run(main())
    assert list(tmp_path.iterdir()) == []


# Back-pressure ---------------------------------------------------------------------------------------


def test_a_full_queue_raises_and_loses_nothing(service: FakeService, gate: threading.Event) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(max_queue_size=3) as manager:
            manager.add_handler(hook(service))
            for i in range(3):
                await manager.send_notification(message=f"{i}")
            with pytest.raises(QueueFullError, match=r"3 notifications wait .* max_queue_size is 3: wait and"):
                await manager.send_notification(message="refused")
            assert issubclass(QueueFullError, NotificationError)
            assert issubclass(NotificationError, AlertsError)
            gate.set()
            await received(service, 3)
            await until(lambda: manager.get_queue_status()["queue_size"] < 3)
            await manager.send_notification(message="3")
        assert [data["message"] for data in sent(service)] == ["0", "1", "2", "3"]
        assert manager.manager.ledger().accepted == 4

    run(main())


def test_the_store_is_asked_before_a_notification_is_refused(service: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(max_queue_size=2) as manager:
            manager.add_handler(hook(service))
            for i in range(20):  # each is settled before the next, but nobody asked for that
                await manager.send_notification(message=f"{i}", wait=LONG)
        assert len(service.requests) == 20

    run(main())


def test_many_tasks_share_the_room_that_there_is(service: FakeService, gate: threading.Event) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(max_queue_size=10) as manager:
            manager.add_handler(hook(service))
            results = await asyncio.gather(
                *(manager.send_notification(message=f"{i}") for i in range(50)), return_exceptions=True
            )
            refused = [result for result in results if isinstance(result, QueueFullError)]
            assert len(refused) == 40
            gate.set()
        assert len(service.requests) == 10

    run(main())


def test_a_channel_that_is_disabled_fills_no_queue(service: FakeService, other: FakeService) -> None:
    other.answer(401)

    async def main() -> None:
        async with AsyncNotificationManager(max_queue_size=5) as manager:
            manager.add_handler(hook(service), name="good")
            manager.add_handler(hook(other), name="bad")
            with pytest.raises(NotificationError, match="held, and goes when the channel is mended"):
                await manager.send_notification(channel="bad", message="x", wait=LONG)
            for i in range(12):
                await manager.send_notification(message=f"{i}", channels=["good", "bad"])
                await until(lambda: manager.get_queue_status()["queue_size"] < 5)
        assert [data["message"] for data in sent(service)] == [f"{i}" for i in range(12)]

    run(main())


def test_what_was_pruned_from_the_store_does_not_fill_the_queue(
    service: FakeService, gate: threading.Event, tmp_path: Path
) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(store=tmp_path / "store.db", max_queue_size=2) as manager:
            manager.add_handler(hook(service), name="hook")
            manager.add_handler(hook(service), name="quick")
            for _ in range(2):
                await manager.send_notification(message="x")
            await until(manager.manager.drained)
            with closing(sqlite3.connect(tmp_path / "store.db")) as somebody, somebody:
                somebody.executescript("DELETE FROM attempts; DELETE FROM deliveries; DELETE FROM alerts;")
            await manager.send_notification(message="there is room")
            gate.set()

    run(main())


# The end ---------------------------------------------------------------------------------------------


def test_stop_delivers_what_is_pending(service: FakeService) -> None:
    async def main() -> None:
        manager = AsyncNotificationManager()
        manager.add_handler(hook(service))
        await manager.start()
        await manager.start()  # does nothing
        for i in range(100):
            await manager.send_notification(message=f"{i}")
        assert await manager.stop()
        assert [data["message"] for data in sent(service)] == [f"{i}" for i in range(100)]
        assert await manager.stop()
        assert manager.get_queue_status()["queue_size"] == 0
        assert manager.get_channel_statistics()["webhook"]["sent"] == 100
        with pytest.raises(NotificationError, match="was stopped and takes nothing more: make a new one"):
            await manager.send_notification(message="late")
        with pytest.raises(NotificationError, match="make a new one"):
            await manager.start()

    run(main())


def test_what_stop_cannot_deliver_is_delivered_at_the_next_start(
    service: FakeService, gate: threading.Event, tmp_path: Path
) -> None:
    async def first() -> None:
        manager = await initialize_notification_manager(store=tmp_path / "store.db", handlers=[hook(service)])
        for i in range(3):
            await manager.send_notification(message=f"{i}")
        waiting = asyncio.create_task(manager.send_notification(message="3", wait=LONG))
        await received(service, 1)
        assert not await manager.stop(timeout=0.1)
        async with asyncio.timeout(10):
            assert not (await waiting).success  # it does not wait for what will not come

    async def second() -> None:
        async with AsyncNotificationManager(store=tmp_path / "store.db") as manager:
            manager.add_handler(hook(service))
        assert {data["message"] for data in sent(service)} == {"0", "1", "2", "3"}

    run(first())
    gate.set()
    run(second())


def test_a_store_in_memory_says_what_is_lost_with_it(
    service: FakeService, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        manager = await initialize_notification_manager(handlers=[hook(service)])
        await manager.send_notification(message="x")
        await received(service, 1)
        assert not await manager.stop(timeout=0.1)

    run(main())
    assert "1 notifications were not delivered within 0.1 s and are lost" in caplog.text
    assert 'give store="notifications.db"' in caplog.text


def test_a_program_that_forgets_to_stop_still_delivers() -> None:
    with FakeService() as service:
        run_python(
            """
            import asyncio, sys
            from bt_alerts import AsyncNotificationManager, WebhookHandler
            async def main():
                manager = AsyncNotificationManager()
                manager.add_handler(WebhookHandler(sys.argv[1]))
                await manager.start()
                await manager.send_notification(message="x")
            asyncio.run(main())
            """,
            service.url,
        )
        assert len(service.requests) == 1


def test_a_cancelled_task_loses_nothing(service: FakeService, gate: threading.Event, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * 1_000_000)

    async def main() -> None:
        async with AsyncNotificationManager(store=tmp_path / "store.db", delivery={"durability": "fsync"}) as manager:
            manager.add_handler(hook(service))
            waiting = asyncio.create_task(manager.send_notification(message="waited for", wait=LONG))
            await received(service, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await manager.send_notification(message="timed out", wait=LONG)
            accepting = [asyncio.create_task(manager.send_notification(message=f"{i}")) for i in range(20)]
            await asyncio.sleep(0)  # each is being written now
            for task in accepting:
                task.cancel()
            await asyncio.gather(*accepting, return_exceptions=True)
            before_it_began = asyncio.create_task(manager.send_notification(message="never", attachments=[file]))
            before_it_began.cancel()
            gate.set()
        messages = {data["message"] for data in sent(service)}
        assert messages == {"waited for", "timed out", *(f"{i}" for i in range(20))}
        assert manager.manager.ledger().accepted == 22
        assert manager.get_queue_status()["queue_size"] == 0

    run(main())


def test_stop_goes_on_where_its_task_is_cancelled(service: FakeService, gate: threading.Event) -> None:
    async def main() -> AsyncNotificationManager:
        manager = await initialize_notification_manager(handlers=[hook(service)])
        await manager.send_notification(message="x")
        await received(service, 1)
        stopping = asyncio.create_task(manager.stop())
        await asyncio.sleep(0.01)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        gate.set()
        assert await manager.stop()
        return manager

    assert run(main()).manager.closed
    assert len(service.requests) == 1


# What waiting finds ----------------------------------------------------------------------------------


def failing(manager_of: Callable[[], AsyncNotificationManager], handler: WebhookHandler) -> NotificationError:
    async def main() -> NotificationError:
        async with manager_of() as manager:
            manager.add_handler(handler)
            with pytest.raises(NotificationError) as caught:
                await manager.send_notification(message="x", wait=LONG)
            return caught.value

    return run(main())


def test_a_message_that_is_refused_is_a_notification_error(service: FakeService) -> None:
    service.answer(400)
    error = failing(AsyncNotificationManager, hook(service))
    assert type(error) is NotificationError
    assert "webhook: " in str(error)
    assert "(HTTP 400)" in str(error)
    assert error.report is not None
    assert [result.state for result in error.report.results] == ["dead"]


def test_wrong_credentials_are_a_notification_error_and_what_waits_is_held(service: FakeService) -> None:
    service.answer(401)
    error = failing(AsyncNotificationManager, hook(service))
    assert type(error) is NotificationError
    assert str(error).endswith("It is held, and goes when the channel is mended.")


def test_a_service_that_fails_is_a_network_error(service: FakeService) -> None:
    service.answer(500)
    error = failing(lambda: AsyncNotificationManager(max_retries=0), hook(service))
    assert type(error) is NetworkError
    assert len(service.requests) == 1


def test_a_service_that_cannot_be_reached_is_a_network_error(clock: Clock) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"

        async def main() -> NotificationError:
            settings = {"time_to_live": 60}
            async with AsyncNotificationManager(retry_delay=0.1, delivery=settings, clock=clock) as manager:
                manager.add_handler(WebhookHandler(url))
                sending = asyncio.create_task(manager.send_notification(message="x", wait=LONG))
                await until(lambda: next(manager.manager.outbox.rows("SELECT count(*) FROM attempts"))[0])
                clock.advance(61)
                with pytest.raises(NotificationError) as caught:
                    await sending
                await manager.stop(timeout=0)  # that it was lost is pending, and time stands still
                return caught.value

        error = run(main())
    assert type(error) is NetworkError
    assert "does not answer: connection refused" in str(error)


def test_what_came_too_late_says_what_the_service_had_answered() -> None:
    tried = Attempt(dt.datetime.now(dt.UTC), 0.1, "retry", "example.org does not answer", "me")
    late = ChannelResult("hook", "example.org", "expired", False, 1, "its time to live ended", None, "", trail=[tried])
    error = _failure(DeliveryReport("1", "planned", "", (late,)))
    assert str(error) == "not delivered: hook: its time to live ended (example.org does not answer)."


def test_a_service_that_takes_too_few_is_a_rate_limit_error(service: FakeService) -> None:
    service.answer(429, headers={"Retry-After": "600"})
    error = failing(lambda: AsyncNotificationManager(delivery={"time_to_live": 60}), hook(service))
    assert type(error) is RateLimitError
    assert error.report is not None
    assert len(service.requests) == 1


def test_what_is_still_tried_is_no_error(service: FakeService) -> None:
    service.answer(429, headers={"Retry-After": "600"})

    async def main() -> None:
        manager = await initialize_notification_manager(handlers=[hook(service)])
        *_, report = await too_short(manager)
        assert (report.success, [result.state for result in report.results]) == (False, ["pending"])
        await manager.stop(timeout=0)

    run(main())


def test_a_fallback_that_took_it_is_no_error(service: FakeService, other: FakeService) -> None:
    service.answer(400)

    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service), name="first", fallback="second")
            manager.add_handler(hook(other), name="second")
            report = await manager.send_notification(channel="first", message="x", priority="urgent", wait=LONG)
            assert [result.state for result in report.results] == ["failed-over", "delivered"]

    run(main())


# Batches ---------------------------------------------------------------------------------------------


def test_a_batch_in_both_forms_and_in_order(service: FakeService, other: FakeService) -> None:
    other.answer(400)

    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service), name="good")
            manager.add_handler(hook(other), name="bad")
            batch = [
                {"channel": "good", "message": "one", "priority": "low"},
                {"notification_type": "trade", "title": "T", "message": "two", "channels": ["bad"]},
                {"message": "three", "channels": ["good"]},
            ]
            reports = await manager.send_batch_notification(batch, wait=LONG)
            assert [report.success for report in reports] == [True, False, True]
            accepted = await manager.send_batch_notification(batch[:1])
            assert [report.state for report in accepted] == ["accepted"]
            assert await manager.send_batch_notification([]) == []
            assert await manager.send_batch_notification([], wait=LONG) == []
        assert {data["id"]: data["message"] for data in sent(service)} == {
            reports[0].alert_id: "one",
            reports[2].alert_id: "three",
            accepted[0].alert_id: "one",
        }

    run(main())


def test_of_a_batch_all_are_accepted_or_none(service: FakeService, gate: threading.Event) -> None:
    good = {"channel": "hook", "message": "x"}

    async def main() -> None:
        async with AsyncNotificationManager(max_queue_size=5) as manager:
            manager.add_handler(hook(service), name="hook")
            for bad, told in [
                ({"channel": "hook", "message": "x", "priority": "huge"}, "notification 3 of the batch: 'huge' is no"),
                (
                    {"channel": "hook", "mesage": "x"},
                    "3 of the batch: a notification has no mesage: what it",
                ),
                ("x", "3 of the batch: it must be a mapping of its arguments, not a str"),
            ]:
                with pytest.raises(InvalidNotificationError, match=told):
                    await manager.send_batch_notification([good, good, bad])  # type: ignore[list-item]
            with pytest.raises(QueueFullError, match="6 notifications are more than max_queue_size=5: send"):
                await manager.send_batch_notification([good] * 6)
            await manager.send_batch_notification([good] * 3)
            with pytest.raises(QueueFullError):
                await manager.send_batch_notification([good] * 3)
            await manager.send_batch_notification([good] * 2)
            gate.set()
        assert manager.manager.ledger().accepted == 5
        assert len(service.requests) == 5

    run(main())


def test_with_batching_what_is_alike_goes_in_one_message(service: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager(batch_size=3, batch_timeout=3600, enable_batching=True) as manager:
            manager.add_handler(hook(service))
            reports = [await manager.send_notification(message=f"{i}") for i in range(2)]
            reports.append(await manager.send_notification(message="now they are three", wait=LONG))
            await until(lambda: manager.get_queue_status()["queue_size"] == 0)
            assert manager.get_queue_status()["error_rate"] == 0
        assert len(service.requests) == 1
        assert manager.manager.ledger().deliveries["digested"] == 2

    run(main())


# Questions -------------------------------------------------------------------------------------------


def test_status_and_statistics(service: FakeService, other: FakeService, clock: Clock) -> None:
    other.answer(400)

    async def main() -> None:
        async with AsyncNotificationManager(clock=clock, max_queue_size=50) as manager:
            manager.add_handler(hook(service), name="good")
            manager.add_handler(hook(other), name="bad")
            assert manager.get_queue_status() == {
                "queue_size": 0, "max_queue_size": 50, "processing_rate": 0.0, "error_rate": 0.0,
            }  # fmt: skip
            clock.advance(10)
            batch = [{"channel": "good", "message": "x"}] * 3 + [{"channel": "bad", "message": "x"}]
            await manager.send_batch_notification(batch, wait=LONG)
            await until(lambda: manager.get_queue_status()["queue_size"] == 0)
            status = manager.get_queue_status()
            assert (status["processing_rate"], status["error_rate"]) == (0.4, 25.0)
            clock.advance(50)
            assert manager.get_queue_status()["processing_rate"] == pytest.approx(4 / 60)
            clock.advance(11)
            assert manager.get_queue_status()["processing_rate"] == 0
            await until(lambda: manager.get_channel_statistics()["good"]["sent"] >= 3)
            statistics = manager.get_channel_statistics()
            assert (statistics["good"]["failed"], statistics["good"]["success_rate"]) == (0, 100.0)
            assert (statistics["bad"]["sent"], statistics["bad"]["failed"]) == (0, 1)

    run(main())


def test_debug_mode_shows_what_happens_and_no_secret() -> None:
    with FakeService() as service:
        secret = fresh_canary("path")
        script = """
            import asyncio, logging, sys
            from bt_alerts import AsyncNotificationManager, WebhookHandler
            async def main():
                async with AsyncNotificationManager(max_retries=0) as manager:
                    manager.enable_debug_mode()
                    manager.enable_debug_mode()
                    manager.add_handler(WebhookHandler(sys.argv[1]))
                    await manager.send_notification(message="x")
                    logging.getLogger("bt_alerts.engine").warning("quoted: %s", sys.argv[1])
            sys.stderr = sys.stdout
            asyncio.run(main())
        """
        shown = run_python(script, f"{service.url}/{secret}")
    assert shown.count("quoted: ") == 1
    assert "DEBUG bt_alerts.aio: accepting" in shown
    assert found_in(shown, [secret]) == []


def test_no_secret_is_shown(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = fresh_canary("path")
    service.answer(400, f"no such hook {secret}")

    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(WebhookHandler(f"{service.url}/{secret}", headers={"X-Key": secret}))
            with pytest.raises(NotificationError) as caught:
                await manager.send_notification(message="x", wait=LONG)
            with pytest.raises(InvalidNotificationError) as invalid:
                await manager.send_notification(channel=f"{service.url}/{secret}", message="x")
            shown = [shown_by(caught.value), shown_by(invalid.value), repr(manager), logged(caplog.records)]
            shown += [json.dumps(manager.get_channel_statistics(), default=str), repr(manager.get_queue_status())]
            assert found_in("\n".join(shown), [secret]) == []
            assert repr(manager).startswith("<AsyncNotificationManager running: webhook; ")

    run(main())


# Handlers --------------------------------------------------------------------------------------------


def test_the_promised_arguments_make_dispatchers() -> None:
    telegram = TelegramHandler(bot_token=TOKEN, chat_id="-100123", rate_limit=20)
    assert ([target.address for target in telegram.targets()], telegram.rate_limit) == (["-100123"], 20)
    config = {
        "smtp_server": "mail.example.com", "smtp_port": 2525, "user": "me@example.com", "password": fresh_canary("pw"),
        "from_email": "Bot <bot@example.com>", "recipients": ["a@example.com", "b@example.com"], "use_tls": True,
    }  # fmt: skip
    email = EmailHandler(smtp_config=config)
    assert (email.host, email.port, email.username) == ("mail.example.com", 2525, "me@example.com")
    assert [target.address for target in email.targets()] == ["a@example.com", "b@example.com"]
    assert not found_in(redact(str(config)), [config["password"]])
    sms = SMSHandler(
        provider_config={
            "provider": "twilio", "account_sid": "AC" + "0" * 32, "auth_token": fresh_canary("t"),
            "from": "+15005550006", "to_numbers": ["+447700900123"],
        }
    )  # fmt: skip
    assert not sms.missing()
    assert len(sms.targets()) == 1
    assert len(WebhookHandler(webhook_url="https://example.com/x").targets()) == 1
    assert [handler.type for handler in (telegram, email, sms)] == ["telegram", "email", "sms"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: EmailHandler({"host": "h", "recipents": "a@b.example"}),
            "no key 'recipents': what it can have",
        ),
        (lambda: EmailHandler({"host": "h", "smtp_server": "g"}), "smtp_config gives host twice"),
        (lambda: EmailHandler({"to": "a@b.example"}), "smtp_config lacks host"),
        (lambda: EmailHandler("mail.example.com"), "smtp_config must be a mapping"),  # type: ignore[arg-type]
        (lambda: SMSHandler({"provider": "pigeon"}), "pigeon"),
        (lambda: SMSHandler({"number": "1"}), "provider_config has no key 'number'"),
    ],
)
def test_what_makes_no_handler_is_said(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_a_handler_that_cannot_send_is_refused(service: FakeService) -> None:
    manager = AsyncNotificationManager()
    with pytest.raises(ValueError, match=r"set to \(EMAIL_TO\) to send email"):
        manager.add_handler(EmailHandler({"host": "h", "from": "a@b.example"}))
    with pytest.raises(TypeError, match=r"takes a dispatcher such as TelegramHandler\(...\)"):
        manager.add_handler(service.url)  # type: ignore[arg-type]
    manager.add_handler(hook(service), name="x")
    with pytest.raises(ValueError, match="there is a channel 'x' already"):
        manager.add_handler(hook(service), name="x")
    assert dict(manager.manager.channels).keys() == {"x"}


def test_the_rate_of_a_handler_is_that_of_its_channel(service: FakeService) -> None:
    manager = AsyncNotificationManager()
    manager.add_handler(WebhookHandler(service.url, rate_limit=7), name="seven")
    manager.add_handler(WebhookHandler(service.url), name="usual")
    unlimited = AsyncNotificationManager(delivery={"enable_rate_limiting": False})
    unlimited.add_handler(WebhookHandler(service.url), name="none")
    rates = {name: channel.rate for m in (manager, unlimited) for name, channel in m.manager.channels.items()}
    assert rates == {"seven": 7, "usual": 20, "none": 0}


# Settings --------------------------------------------------------------------------------------------


def test_arguments_are_the_delivery_settings() -> None:
    def of(**arguments: Any) -> dict[str, Any]:
        return AsyncNotificationManager(**arguments).manager.settings.delivery.model_dump()

    given: dict[str, Any] = {"max_queue_size": 7, "batch_size": 3, "batch_timeout": 2.0, "max_retries": 9}
    given |= {"retry_delay": 0.5, "enable_batching": True}
    assert {name: value for name, value in of(**given).items() if name in given} == given
    usual = {"max_queue_size": 1000, "batch_size": 10, "batch_timeout": 5.0, "max_retries": 3, "retry_delay": 1.0}
    assert {name: value for name, value in of().items() if name in usual} == usual
    config = {"delivery": {"max_queue_size": 5, "max_retries": 6}}
    mixed = of(config=config, max_retries=7)
    assert (mixed["max_queue_size"], mixed["max_retries"]) == (5, 7)
    with pytest.raises(SettingsError, match=r"delivery\.max_queue_size"):
        of(max_queue_size=0)


def test_settings_bring_their_channels(service: FakeService, tmp_path: Path) -> None:
    config = {"alerts": {"desk": {"type": "webhook", "urls": service.url}}}

    async def main() -> None:
        async with await initialize_notification_manager(config=config, store=tmp_path / "store.db") as manager:
            await manager.send_notification(channel="desk", message="x")
        assert len(service.requests) == 1

    run(main())
    with pytest.raises(SettingsError):
        run(initialize_notification_manager(config={"alrts": {}}))


def test_another_process_delivers_where_settings_say_so(service: FakeService, tmp_path: Path) -> None:
    block = {"type": "webhook", "urls": service.url, "rate_limit": 0}
    config = {"alerts": {"desk": block}, "delivery": {"worker": "process"}}

    async def main() -> None:
        async with AsyncNotificationManager(config=config, store=tmp_path / "store.db") as manager:
            assert (await manager.send_notification(channel="desk", message="x", wait=LONG)).success
            await until(lambda: manager.get_queue_status()["queue_size"] == 0)
            with pytest.raises(ValueError, match="configure it under `alerts:`"):
                manager.add_handler(hook(service))
        assert len(service.requests) == 1

    run(main())


def test_a_store_on_postgresql(service: FakeService, other: FakeService, postgres_dsn: str) -> None:
    other.answer(400)

    async def main() -> None:
        async with AsyncNotificationManager(store=postgres_dsn, max_queue_size=4) as manager, Ticker() as ticker:
            manager.add_handler(hook(service), name="good")
            manager.add_handler(hook(other), name="bad")
            for i in range(8):
                assert (await manager.send_notification(channel="good", message=f"{i}", wait=LONG)).success
            with pytest.raises(NotificationError, match="HTTP 400"):
                await manager.send_notification(channel="bad", message="x", wait=LONG)
            await until(lambda: manager.get_queue_status()["queue_size"] == 0)
            assert manager.get_queue_status()["error_rate"] == pytest.approx(100 / 9)
            await until(lambda: manager.get_channel_statistics()["bad"]["failed"] == 1)
            assert ticker.longest < 5

    run(main())


# Loops -----------------------------------------------------------------------------------------------


def test_it_says_where_it_can_be_used(service: FakeService) -> None:
    manager = AsyncNotificationManager()
    manager.add_handler(hook(service))

    async def not_started() -> None:
        with pytest.raises(NotificationError, match=r"was not started: await its start\(\) first"):
            await manager.send_notification(message="x")

    run(not_started())

    async def elsewhere(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(NotificationError, match="runs in another event loop: make one for each loop"):
            await call()

    async def main() -> None:
        await manager.start()
        for call in (manager.start, manager.stop, lambda: manager.send_notification(message="x")):
            await asyncio.to_thread(run, elsewhere(call))
        await manager.send_notification(message="still here")

    run(main())
    assert repr(manager).startswith("<AsyncNotificationManager running: webhook")

    async def afterwards() -> None:  # the first loop is closed, so this may be the one
        await manager.start()
        await manager.send_notification(message="again", wait=LONG)
        await manager.stop()

    run(afterwards())
    assert [data["message"] for data in sent(service)] == ["still here", "again"]


def test_without_a_loop_it_says_so() -> None:
    manager = AsyncNotificationManager()
    for call in (manager.start(), manager.stop(), manager.send_notification(message="x")):
        with pytest.raises(NotificationError, match=r"run that with asyncio\.run\(\.\.\.\)"):
            call.send(None)
    assert run(manager.stop())  # never started


def test_no_thread_is_left(service: FakeService) -> None:
    async def main() -> None:
        async with AsyncNotificationManager() as manager:
            manager.add_handler(hook(service))
            await manager.send_notification(message="x", wait=LONG)
            manager.get_queue_status()

    before = {thread for thread in threading.enumerate() if thread.name.startswith("bt_alerts")}
    run(main())
    run(asyncio.sleep(0))
    gc.collect()

    async def gone() -> None:
        await until(lambda: not {t for t in threading.enumerate() if t.name.startswith("bt_alerts")} - before)

    run(gone())


# Strategies ------------------------------------------------------------------------------------------


def test_in_a_backtest_nothing_is_sent(service: FakeService, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x")

    class Asks(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            if len(self) == 10:
                asyncio.run(self.tell())

        async def tell(self) -> None:
            async with AsyncNotificationManager() as manager:
                manager.add_handler(hook(service))
                report = await manager.send_notification(message="ten bars")
                assert report.state == "accepted"
                await manager.send_notification(message="with a file", attachments=[file])
                self.env.told = manager

    from bt_alerts.demo import prices

    cerebro = bt.Cerebro()
    cerebro.adddata(prices.feed("AAPL", end="2000-04-01"))
    cerebro.addstrategy(Asks)
    cerebro.run()
    assert not service.requests
    assert cerebro.told.get_queue_status()["queue_size"] == 0
