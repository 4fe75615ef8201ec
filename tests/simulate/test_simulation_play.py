"""Playing a run: at the close, beside a live manager, on several threads, the same each time; no store changes."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, until

from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Attachment, Source
from bt_alerts.delivery import engine, worker
from bt_alerts.dispatchers.pushover import _line
from bt_alerts.settings import Settings, load
from bt_alerts.simulate import Outage, Simulation, compare, simulate
from bt_alerts.testing import FakeService

MONDAY = dt.datetime(2026, 6, 8, tzinfo=dt.UTC)
PHONE: dict[str, Any] = {"type": "pushover", "app_token": "a" * 30, "user_key": "u" * 30}
CHAT: dict[str, Any] = {"type": "telegram", "bot_token": "123456:" + "A" * 35, "chat_ids": "-100200"}


def alert(number: int = 0, *, time: dt.datetime = MONDAY, **more: Any) -> Alert:
    fields: dict[str, Any] = {"title": f"title {number}", "symbol": "AAPL", "strategy": "Trend", "run": "run", **more}
    return Alert.make(f"text {number}", time=time, id=f"alert-{number}", **fields)


def a_run(n: int = 40) -> list[Alert]:
    """With something of everything that happens."""
    kinds = ["order.completed", "trade.closed", "custom", "data.disconnected", "error"]
    words = ["low", "medium", "high", "critical"]
    return [
        alert(
            number,
            time=MONDAY + dt.timedelta(minutes=37 * number),
            kind=kinds[number % 5],
            priority=words[number % 4],
            data={"pnl": 10.0 * number - 100},
        )
        for number in range(n)
    ]


def settings(**more: Any) -> Settings:
    config: dict[str, Any] = {"store": "memory", "alerts": {"phone": PHONE, "chat": CHAT}, **more}
    return load(config)


BUSY: dict[str, Any] = {
    "quiet_hours": [{"channels": "phone", "hours": "22:00-07:00 Europe/Berlin", "through": "high"}],
    "digests": [{"at": "18:00 UTC", "channels": "chat"}, {"at": "08:00 UTC", "report": "daily", "channels": "chat"}],
    "escalation": [{"when": {"priority": "critical"}, "steps": [{"after": "10m", "to": "chat"}]}],
    "rules": {"cooldown": [{"every": "2h", "key": "kind"}]},
}


# When it counts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "close", "hour"),
    [
        ("2026-01-15", "16:00 America/New_York", 21),
        ("2026-07-15", "16:00 America/New_York", 20),
        ("2026-03-08", "16:00 America/New_York", 20),
        ("2026-07-15", "17:30", 17),
        ("2026-07-15", None, 0),
    ],
)
def test_bars_of_a_day_count_when_the_market_closes(day: str, close: str | None, hour: int) -> None:
    made = alert(time=dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC))
    told = simulate([made], settings(), close=close)
    assert told.alerts[0].alert.time.hour == hour
    assert f"{told.alerts[0].alert.time:%Y-%m-%d}" == day


def test_what_has_a_time_of_its_own_keeps_it_at_the_close():
    during = alert(1, time=MONDAY + dt.timedelta(hours=9, minutes=30))
    of_a_bar = alert(2, time=MONDAY, bar_time=MONDAY - dt.timedelta(hours=1))
    told = simulate([during, of_a_bar], settings(), close="16:00 America/New_York")
    assert {row.alert.id: row.alert.time for row in told.alerts} == {"alert-1": during.time, "alert-2": MONDAY}


# What a run can be ---------------------------------------------------------------------------------------


def test_an_empty_run_is_an_empty_phone(tmp_path):
    told = simulate([], settings(**BUSY))
    assert (told.alerts, told.deliveries, told.messages, told.bites) == ((), (), (), ())
    assert told.to_html(tmp_path / "x.html").is_file()
    assert told.to_csv(tmp_path / "x.csv").read_text(encoding="utf-8").count("\n") == 1


def test_an_alert_whose_own_channel_is_not_there_goes_nowhere_as_it_would_live():
    told = simulate([alert(1, channels=("pager",)), alert(2, channels=("chat", "pager"))], settings())
    assert [(row.state, row.reason) for row in told.alerts] == [("recorded", "no-channel"), ("planned", "")]
    assert [(message.channel, message.alerts) for message in told.messages] == [("chat", ("alert-2",))]


def test_settings_without_a_channel_have_a_phone():
    told = simulate([alert()], load({"store": "memory"}))
    assert [(message.channel, message.type) for message in told.messages] == [("phone", "console")]


@pytest.mark.parametrize("mode", ["record", "auto", "send"])
@pytest.mark.parametrize("source", [Source.HISTORY, Source.LIVE])
def test_it_is_as_if_it_had_been_live(mode: str, source: Source) -> None:
    assert len(simulate([alert().replace(source=source)], settings(mode=mode)).messages) == 2


def test_files_that_are_gone_and_bars_do_not_matter(tmp_path):
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    file = Attachment.from_path(picture)
    picture.unlink()
    bars = {name: [1, 2, 3] for name in ("time", "open", "high", "low", "close")}
    blocks = {"phone": {**PHONE, "charts": "light"}, "chat": CHAT}
    alerts = [alert(1, attachments=[file]), alert(2).replace(bars=bars)]
    told = simulate(alerts, settings(alerts=blocks))
    assert [row.state for row in told.deliveries] == ["delivered"] * 4


def test_the_order_in_which_alerts_are_given_does_not_matter():
    run = a_run()
    assert simulate(iter(run[::-1]), settings(**BUSY)) == simulate(run, settings(**BUSY))


# The same each time --------------------------------------------------------------------------------------


def outages() -> list[Outage]:
    at = MONDAY.timestamp()
    return [Outage("phone", at + 3_600, at + 9_000), Outage("chat", at + 20_000, at + 30_000, 429, 600.0)]


def seen(alert: Alert) -> float | None:
    return 300.0 if alert.priority == "critical" else None


def everything() -> Simulation:
    return simulate(a_run(), settings(**BUSY), outages=outages(), acknowledges=seen)


def test_the_same_run_gives_the_same_rows_and_the_same_report(tmp_path):
    first, second = everything(), everything()
    assert first == second
    assert first.messages
    assert {row.state for row in first.deliveries} >= {"delivered", "digested", "cancelled"}
    assert first.to_html(tmp_path / "a.html").read_bytes() == second.to_html(tmp_path / "b.html").read_bytes()
    assert first.to_csv(tmp_path / "a.csv").read_bytes() == second.to_csv(tmp_path / "b.csv").read_bytes()
    assert compare(first, second).differences == ()


def test_two_threads_and_an_event_loop_do_not_disturb_each_other():
    expected = everything()
    found: list[Any] = []

    def work() -> None:
        found.extend(everything() for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()

    async def in_a_loop() -> Simulation:
        return everything()

    assert asyncio.run(in_a_loop()) == expected
    for thread in threads:
        thread.join()
    assert len(found) == 9
    assert all(each == expected for each in found)


# Beside the real thing -----------------------------------------------------------------------------------


def test_it_says_nothing_in_the_log_and_lets_others_speak(caplog):
    caplog.set_level(logging.DEBUG, logger="bt_alerts")
    log = logging.getLogger("bt_alerts.courier")
    meanwhile: list[int | None] = []

    def acknowledges(alert: Alert) -> float | None:
        return None

    def progress(done: int, of: int) -> None:
        if not meanwhile:  # another thread logs while this one is in the middle of it
            thread = threading.Thread(target=lambda: log.error("of the real courier"))
            thread.start()
            thread.join()
            meanwhile.append(thread.ident)

    lost = [Outage("phone", MONDAY.timestamp() - 1, MONDAY.timestamp() + 1e6, 400)]
    told = simulate(a_run(), settings(), outages=lost, acknowledges=acknowledges, progress=progress)
    assert "dead" in {row.state for row in told.deliveries}
    ours = {threading.get_ident(), *meanwhile}  # not what a thread of another test says late
    said = [record.getMessage() for record in caplog.records if record.thread in ours]
    assert said == ["of the real courier"]
    log.error("afterwards")
    assert [r.getMessage() for r in caplog.records if r.thread in ours] == [*said, "afterwards"]


def test_a_simulation_that_fails_leaves_the_log_as_it_was(caplog):
    def progress(done: int, of: int) -> None:
        raise KeyError("of the caller")

    with pytest.raises(KeyError):
        simulate(a_run(2), settings(), progress=progress)
    logging.getLogger("bt_alerts.courier").error("afterwards")
    ours = [record for record in caplog.records if record.thread == threading.get_ident()]
    assert [record.getMessage() for record in ours] == ["afterwards"]


def fingerprint(folder: Path) -> Mapping[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_nothing_in_the_managers_store_changes(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HOUSEKEEPING", 3_600.0)  # what the manager writes by itself comes not in between
    monkeypatch.setattr(worker, "STRATEGY_CHECK_IN", 3_600.0)
    folder = tmp_path / "life"
    folder.mkdir()
    hook = {"type": "webhook", "urls": service.url, "rate_limit": 0}
    manager = AlertManager(
        {"alerts": {"hook": hook}, "delivery": {"enable_batching": False}},
        store=str(folder / "alerts.db"),
        mode="send",
        clock=Clock(MONDAY.timestamp() + 8 * 3_600),
    )
    try:
        for each in a_run(12):
            manager.emit(each)
        manager.flush(20)
        until(manager.outbox.processes)  # its sign of life comes after what it planned
        sent, ledger = len(service.requests), manager.outbox.ledger()
        assert sent == 12
        assert ledger.balanced
        manager.simulate(run=None)  # what is read for the first time may be checkpointed
        before = fingerprint(folder)
        away = Outage("hook", MONDAY.timestamp() - 1, MONDAY.timestamp() + 1e6, 410)
        told = manager.simulate(run=None, outages=[away], acknowledges=lambda alert: 1.0)
        assert "channel.disabled" in {row.alert.kind for row in told.alerts}
        assert fingerprint(folder) == before
        assert manager.outbox.ledger() == ledger
        assert len(service.requests) == sent
        manager.emit(alert(99))  # and the channel still works
        manager.flush(20)
        assert len(service.requests) == sent + 1
    finally:
        manager.close(timeout=0)


def test_a_live_service_that_hangs_does_not_hold_up_a_simulation():
    """Pushover allows two connections for the whole process. A simulation needs none of them."""
    _, turns = _line("https://api.pushover.net", None, os.getpid())
    assert turns.acquire(blocking=False)
    assert turns.acquire(blocking=False)
    try:
        told = simulate(
            [alert()], settings(alerts={"phone": {**PHONE, "timeout": 0.2}}, delivery={"time_to_live": "1m"})
        )
    finally:
        turns.release()
        turns.release()
    assert [(row.state, row.attempts) for row in told.deliveries] == [("delivered", 1)]


def test_the_dispatchers_given_are_used_again_afterwards(service: FakeService) -> None:
    from bt_alerts.dispatchers.base import Context

    tried = settings(alerts={"hook": {"type": "webhook", "urls": service.url}})
    real: Any = tried.dispatcher("hook")
    assert simulate([alert()], tried, dispatchers={"hook": real}).messages
    assert service.requests == []
    real.deliver(alert(), real.targets()[0], Context("key"))
    assert len(service.requests) == 1


# Through the manager -------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    made = AlertManager({"alerts": {"phone": PHONE}}, store=str(tmp_path / "s.db"), mode="record")
    made.emit(alert(1, time=MONDAY, run="2026-first"))
    made.emit(alert(2, time=MONDAY + dt.timedelta(days=1), run="2026-second", kind="order.submitted"))
    yield made
    made.close(timeout=0)


def test_the_manager_plays_the_newest_run_one_that_is_named_or_all(manager):
    assert [row.alert.id for row in manager.simulate().alerts] == ["alert-2"]
    assert [row.alert.id for row in manager.simulate(run="2026-first").alerts] == ["alert-1"]
    assert len(manager.simulate(run=None).alerts) == 2


def test_the_manager_tries_other_events_and_other_settings(manager):
    assert len(manager.simulate().messages) == 0  # recorded only
    assert len(manager.simulate(events={"order.submitted": "on"}).messages) == 1
    assert len(manager.simulate(run="2026-first").messages) == 1
    assert len(manager.simulate(run="2026-first", events={"custom": "off"}).messages) == 0
    other = {"store": "memory", "alerts": {"chat": CHAT, "phone": PHONE}, "events": {"order.submitted": "silent"}}
    assert {message.channel for message in manager.simulate(config=other).messages} == {"chat", "phone"}
    assert manager.events == {}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"run": "2026-third"}, "there is no run '2026-third' in the store: history"),
        ({"events": {"custom": "loud"}}, "events: custom is 'loud': write one of on, silent, record, off"),
        ({"outages": [Outage("fone", 1, 2)]}, "there is no channel 'fone' in these settings: there is phone, pushover"),
        ({"latency": {"fone": 1}}, "latency: there is no channel 'fone'"),
        ({"prices": {"phone": -1}}, "prices of phone: write a number"),
        ({"close": "late"}, "`late` has no time in front"),
    ],
)
def test_the_manager_refuses_in_a_sentence(manager: AlertManager, how: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r".") as failed:
        manager.simulate(**how)
    assert words in str(failed.value)


def test_a_manager_without_a_run_has_an_empty_simulation():
    with AlertManager(store="memory") as manager:
        assert manager.simulate().messages == ()


# Many ----------------------------------------------------------------------------------------------------


def test_the_work_goes_with_the_number_of_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: ten times the alerts are ten times the statements, and no more."""
    from bt_alerts.outbox.memory import MemoryOutbox

    asked: list[int] = []
    connect: Callable[..., Any] = MemoryOutbox._connect

    def counting(*how: Any) -> Any:
        db = connect(*how)
        db.set_trace_callback(lambda statement: asked.append(1))
        return db

    monkeypatch.setattr(MemoryOutbox, "_connect", staticmethod(counting))

    def statements(n: int) -> int:
        asked.clear()
        alerts: Sequence[Alert] = [
            alert(number, time=MONDAY + dt.timedelta(minutes=20 * number)) for number in range(n)
        ]
        told = simulate(alerts, settings())
        assert len(told.messages) == 2 * n
        return len(asked)

    assert statements(400) < 13 * statements(40)


def test_a_simulation_is_immutable():
    told = simulate([alert()], settings())
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.name = "other"  # type: ignore[misc]
