"""What a user holds: the promised calls, what they return, and how a manager begins, forks and ends."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from alerts_kit import Clock, ahead, alert, python, rest, run_python, until, webhook

from bt_alerts import Alert, AlertManager, AlertType, configure, default_manager
from bt_alerts.alert import FIELDS, Attachment, Priority
from bt_alerts.channels import AlertChannel
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.errors import SettingsError, StoreError
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.testing import FakeService, capture_alerts

Manage = Callable[..., AlertManager]


def sent(service: FakeService) -> list[dict[str, Any]]:
    return [request.json()["data"] for request in service.requests]


# The promised calls ----------------------------------------------------------------------------------


def test_send_alert_shows_the_value(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    assert manager.send_alert("buy", "AAPL", 150.5, 10)
    assert manager.send_alert("SELL", "AAPL", 151)
    rest(manager)
    first, second = sent(service)
    assert (first["title"], first["type"], first["kind"]) == ("BUY AAPL", "trade", "direct.trade")
    assert "Value: 1,505" in first["message"]
    assert first["data"] == {"action": "BUY", "price": 150.5, "size": 10, "value": 1505.0}
    assert "Value" not in second["message"]


def test_each_promised_call_makes_its_kind_of_alert(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    assert manager.send_strategy_signal("SMA", "BUY", "AAPL", conditions=["fast > slow"])
    assert manager.send_error_alert("ConnectionError", "no feed", context={"feed": "AAPL"})
    assert manager.send_market_update("AAPL", 110.0, 10.0, volume=1000)
    assert manager.send_custom_alert("text")
    assert manager.send_custom_alert("text", "Title", priority="critical", symbol="MSFT")
    rest(manager)
    by_kind = {data["kind"]: data for data in sent(service)}
    assert by_kind["direct.signal"]["strategy"] == "SMA"
    assert "• fast > slow" in by_kind["direct.signal"]["message"]
    assert by_kind["direct.error"]["priority"] == "high"
    assert "feed: AAPL" in by_kind["direct.error"]["message"]
    assert by_kind["direct.market"]["priority"] == "low"
    assert by_kind["direct.market"]["data"]["change_percent"] == 10.0
    titles = [data["title"] for data in sent(service)]
    assert titles.count("Trading Alert") == titles.count("Title") == 1


def test_create_alert_keeps_it_until_it_is_triggered(manage: Manage, service: FakeService, clock: Clock) -> None:
    manager = manage(hook=service.url, webhook=service.url)
    made = manager.create_alert(
        alert_type=AlertType.RISK, priority=Priority.CRITICAL, title="T", message="M",
        channels=[AlertChannel.WEBHOOK], symbol="AAPL", data={"x": 1},
    )  # fmt: skip
    everywhere = manager.create_alert(title="all")
    rest(manager)
    assert not service.requests
    clock.advance(200_000)  # much later than the time to live: it happens when it is triggered
    assert manager.trigger_alert(made.id)
    assert manager.trigger_alert(everywhere)
    rest(manager)
    assert sorted(data["title"] for data in sent(service)) == ["T", "all", "all"]
    assert all(data["late_seconds"] is None for data in sent(service))
    with pytest.raises(KeyError, match=r"create_alert\(\) returns the alert, use its \.id"):
        manager.trigger_alert(made.id)
    with pytest.raises(ValueError, match="is not an alert priority"):
        manager.create_alert(priority="urgent")


def test_send_notification_reports_each_channel(manage: Manage, service: FakeService, other: FakeService) -> None:
    other.answer(400)
    manager = manage(good=service.url, bad=other.url)
    report = manager.send_notification(alert())
    assert [(r.channel, r.state, r.success) for r in report.results] == [
        ("good", "delivered", True),
        ("bad", "dead", False),
    ]
    assert (report.success, report.success_rate) == (False, 50.0)
    assert json.loads(report.to_json())["results"][1]["detail"].endswith("(HTTP 400)")
    assert report.results[0].latency is not None
    assert manager.report(report.alert_id) == report
    assert manager.report("unknown") is None


def test_wait_says_whether_it_arrived(manage: Manage, service: FakeService, other: FakeService) -> None:
    other.answer(400)
    manager = manage(good=service.url, bad=other.url)
    assert not manager.send_alert("BUY", "AAPL", 1.0, wait=10)
    assert manager.send_custom_alert("x", channels=["good"], wait=10)
    assert not manager.send_custom_alert("x", channels=["bad"], wait=10)
    assert not manager.send_custom_alert("recorded, so nothing arrived", channels=["nobody"], wait=10)


def test_an_alert_for_a_channel_that_is_not_enabled_is_recorded_and_said(
    manage: Manage, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manage(phone=service.url)
    assert manager.send_custom_alert("x", title="Hi", channels=["phnoe"])
    assert manager.ledger().reasons == {"no-channel": 1}
    assert "'Hi' is for the channel phnoe, which is not enabled; enabled are: phone" in caplog.text
    assert manager.send_custom_alert("y", channels=[AlertChannel.WEBHOOK], wait=10)  # by type, where no name is that


def test_wait_waits_for_its_own_alert_only(manage: Manage, service: FakeService, other: FakeService) -> None:
    gate = threading.Event()
    other.answer(200, gate=gate)
    manager = manage(good=service.url, slow=other.url)
    manager.emit(alert(channels=["slow"]))
    manager.schedule_alert(alert(), at=manager.clock() + 86_000)
    other.wait_for(1)
    assert manager.send_custom_alert("x", channels=["good"], wait=20)
    assert manager.send_notification(alert(channels=["good"])).success
    gate.set()


def test_wait_ends_at_its_time(manage: Manage, service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)
    manager = manage(hook=service.url)
    assert manager.send_custom_alert("x", wait=0.3) is False
    assert manager.send_notification(alert(), timeout=0.1).success is False
    gate.set()


def test_what_nobody_decides_about_has_not_arrived_when_the_time_is_over(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url, delivery={"worker": "external"})
    report = manager.send_notification(alert(), timeout=0.05)
    assert (report.state, report.success) == ("waiting", False), "there is no worker"


def test_acknowledge_snooze_and_mute(manage: Manage, service: FakeService, clock: Clock) -> None:
    manager = manage(hook=service.url)
    pending, told = alert(title="pending"), alert(title="told")
    manager.schedule_alert(pending, at=clock() + 100)
    manager.emit(told)
    rest(manager)
    assert manager.acknowledge(pending.id)
    assert manager.snooze(told.id, clock() + 300)
    assert manager.mute(symbol="AAPL", until=clock() + 500)
    manager.emit(alert(symbol="AAPL", title="muted"))
    ahead(manager, clock, 300)
    assert [data["title"] for data in sent(service)] == ["told", "told"]
    ledger = manager.ledger()
    assert (ledger.suppressed, ledger.reasons) == (1, {"muted": 1})
    assert ledger.deliveries["cancelled"] == 1
    assert manager.mute(symbol="AAPL", until=clock() - 1)  # ends it
    manager.emit(alert(symbol="AAPL", title="heard"))
    rest(manager)
    assert sent(service)[-1]["title"] == "heard"
    assert manager.acknowledge("unknown")  # kept, and said in the log when it is looked for
    with pytest.raises(ValueError, match=r"to send nothing at all use mode=.record."):
        manager.mute(until=clock() + 1)
    with pytest.raises(ValueError, match="sms"):
        manager.mute(until=clock() + 1, type="sms")


def test_a_time_that_is_none_is_a_value_error(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    with pytest.raises(ValueError, match="tomorrow"):
        manager.schedule_alert(alert(), at="tomorrow")
    assert manager.emit(alert(), due=float("nan"))
    assert manager.emit(alert(), due=float("inf"))
    rest(manager)
    assert len(service.requests) == 2


def test_history_and_export(manage: Manage, tmp_path: Path) -> None:
    manager = manage()
    for i in range(5):
        manager.emit(alert(f"{i}", symbol="A" if i % 2 else "B", priority="high" if i > 2 else "low"))
    table = manager.history(symbol="A")
    assert list(table.columns) == list(FIELDS)
    assert table["message"].tolist() == ["1", "3"]
    assert manager.history(priority="high", limit=1)["message"].tolist() == ["4"]
    assert isinstance(manager.history(symbol="none"), pd.DataFrame)
    path = manager.export(tmp_path / "a.jsonl")
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == list("01234")
    seen: list[tuple[int, int]] = []
    manager.export(tmp_path / "a.csv", progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (5, 5)
    with pytest.raises(ValueError, match="names no format"):
        manager.export(tmp_path / "a.xml")


def test_statistics_health_and_recent_deliveries(manage: Manage, service: FakeService) -> None:
    service.answer(200).answer(400).answer(200)
    manager = manage(hook=service.url)
    for name in ("one", "two", "three", "four"):
        manager.emit(alert(title=name, type="order", kind=f"own.{name}", priority="low"))
    manager.emit(alert(kind="order.submitted", type="order"))
    rest(manager)
    figures = manager.get_statistics()
    assert (figures["alerts"], figures["planned"], figures["recorded"]) == (5, 4, 1)
    assert figures["by_type"] == {"order": 5}
    assert figures["by_priority"] == {"low": 4, "medium": 1}
    assert figures["success_rate"] == 75.0
    assert (figures["in_memory"], figures["lost"]) == (0, 0)
    health = manager.get_channel_health()["hook"]
    assert (health["sent"], health["failed"], health["success_rate"]) == (3, 1, 75.0)
    assert "HTTP 400" in health["last_error"]
    assert health["latency_p50"] == 0.0  # by the clock, which stands still
    recent = manager.get_recent_deliveries(limit=3)
    assert [(row["title"], row["state"]) for row in recent] == [
        ("four", "delivered"), ("three", "delivered"), ("two", "dead"),
    ]  # fmt: skip


# Channels --------------------------------------------------------------------------------------------


def test_a_channel_is_added_while_it_runs(manage: Manage, service: FakeService, other: FakeService) -> None:
    manager = manage(hook=service.url)
    manager.emit(alert())
    rest(manager)
    manager.add_channel("more", WebhookDispatcher(other.url), rate=0)
    manager.emit(alert(title="for both"))
    rest(manager)
    assert [data["title"] for data in sent(other)] == ["for both"]
    assert list(manager.channels) == ["hook", "more"]
    with pytest.raises(ValueError, match="there is a channel 'more' already"):
        manager.add_channel("more", WebhookDispatcher(other.url))


def test_a_channel_is_tested_past_the_store(manage: Manage, service: FakeService, other: FakeService) -> None:
    other.answer(401)
    manager = manage(good=service.url, bad=other.url)
    good = manager.test_channel("good")
    assert good
    assert (good.success, good.results[0].success, len(service.requests)) == (True, True, 1)
    bad = manager.test_notification_channel("bad")
    assert not bad.success
    assert "refused the credentials" in bad.results[0].reason
    unknown = manager.test_channel("nobody")
    assert not unknown
    assert unknown.problem == "there is no enabled channel 'nobody'; enabled are: good, bad"
    assert manager.test_all_connections() == {"good": True, "bad": False}
    assert manager.ledger().accepted == 0


# Beginnings and ends ---------------------------------------------------------------------------------


def test_without_configuration_nothing_is_sent_and_the_store_is_in_memory(tmp_path: Path) -> None:
    with AlertManager() as manager:
        assert isinstance(manager.outbox, MemoryOutbox)
        assert manager.send_custom_alert("x")
        assert manager.ledger().reasons == {"no-channel": 1}
    assert list(tmp_path.iterdir()) == []


def test_mode_record_sends_nothing(service: FakeService) -> None:
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store="memory", mode="record") as manager:
        assert not manager.send_custom_alert("x", wait=5)
        assert manager.ledger().reasons == {"mode-record": 1}
    assert not service.requests


def test_wrong_settings_raise_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="webhok"):
        AlertManager({"alerts": {"webhok": {}}}, store=str(tmp_path / "s.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_used_raises_and_does_not_stop_a_run(
    tmp_path: Path, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    config = {"alerts": {"hook": webhook(service.url)}}
    with pytest.raises(StoreError, match=r"file/s\.db"):
        AlertManager(config, store=str(tmp_path / "file" / "s.db"))
    manager = AlertManager.for_run(config, store=str(tmp_path / "file" / "s.db"))
    assert isinstance(manager.outbox, MemoryOutbox)
    assert "Until then alerts are kept in memory only" in caplog.text
    manager.send_custom_alert("still heard", wait=10)
    until(lambda: len(service.requests) == 2)
    assert {data["kind"] for data in sent(service)} == {"direct.custom", "outbox.trouble"}
    manager.close()


def test_closing_twice_is_closing_once_and_what_comes_after_is_found_at_the_next_start(
    manage: Manage, service: FakeService
) -> None:
    manager = manage(hook=service.url)
    manager.emit(alert(title="before"))
    manager.close()
    manager.close()
    assert [data["title"] for data in sent(service)] == ["before"]
    assert manager.emit(alert(title="after"))
    second = manage(hook=service.url)
    second.start()
    rest(second)
    assert [data["title"] for data in sent(service)] == ["before", "after"]


def test_a_closed_manager_without_a_disk_says_what_it_cannot_keep(caplog: pytest.LogCaptureFixture) -> None:
    manager = AlertManager({})
    manager.emit(alert("before"))
    manager.close()
    assert manager.emit(alert("after")) is False
    assert "came after its manager was closed" in caplog.text
    assert manager.get_statistics()["lost"] == 1
    assert manager.history()["message"].tolist() == ["before"]  # what it had can still be read


def test_a_manager_is_a_context_and_leaves_no_thread_behind(service: FakeService) -> None:
    before = set(threading.enumerate())
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store="memory") as manager:
        manager.send_custom_alert("x")
    assert len(service.requests) == 1
    assert not [t.name for t in set(threading.enumerate()) - before if t.name.startswith("bt_alerts")]


def test_the_journal_is_gone_after_an_orderly_end(manage: Manage, service: FakeService, tmp_path: Path) -> None:
    manager = manage(hook=service.url)
    manager.emit(alert())
    manager.close()
    assert list((tmp_path / "store.db.journal").iterdir()) == []
    again = manage(hook=service.url)
    assert list(again.outbox.rows("SELECT * FROM journals")) == []


def test_a_process_that_just_ends_delivers_first(tmp_path: Path, service: FakeService) -> None:
    script = """
    import sys
    from bt_alerts import configure
    manager = configure({"alerts": {"hook": {"type": "webhook", "urls": sys.argv[1]}}}, store=sys.argv[2])
    manager.send_custom_alert("bye")
    """
    run_python(script, service.url, tmp_path / "s.db")
    assert [data["message"] for data in sent(service)] == ["bye"]


def test_an_alert_of_an_exit_handler_is_not_lost(tmp_path: Path, service: FakeService) -> None:
    script = """
    import atexit, sys
    atexit.register(lambda: print(manager.send_custom_alert("last words")))
    from bt_alerts import AlertManager
    manager = AlertManager({"alerts": {"hook": {"type": "webhook", "urls": sys.argv[1]}}}, store=sys.argv[2])
    manager.send_custom_alert("first words")
    """
    assert run_python(script, service.url, tmp_path / "s.db").strip() == "True"
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "s.db")) as manager:
        manager.start()
        rest(manager)
    assert [data["message"] for data in sent(service)] == ["first words", "last words"]


def test_repr_and_html_tell_what_it_is(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    manager.emit(alert("<script>", title="a & b"))
    rest(manager)
    assert re.fullmatch(r"<AlertManager .*store\.db: hook; mode auto>", repr(manager))
    shown = manager._repr_html_()
    assert "a &amp; b" in shown
    assert "<script>" not in shown
    assert "no channels" in repr(AlertManager({}))


# The default manager ---------------------------------------------------------------------------------


def test_configure_makes_the_default_and_closes_the_one_before() -> None:
    first = configure({})
    assert default_manager() is first
    second = configure({}, mode="record")
    assert default_manager() is second
    assert first.closed
    second.close()
    assert default_manager() is not second


def test_wrong_settings_do_not_stop_a_strategy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("alerts: {webhok: {}}\n")
    monkeypatch.setenv("BT_ALERTS_CONFIG", str(wrong))
    manager = default_manager()
    assert "alerts are recorded in memory only, because the settings are wrong" in caplog.text
    assert manager.send_custom_alert("x")


def test_capture_alerts_collects_and_sends_nothing(service: FakeService, tmp_path: Path) -> None:
    before = configure({})
    with capture_alerts() as alerts:
        default_manager().send_custom_alert("from the default")
        assert alerts[0].message == "from the default"
        mine = AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "s.db"))
        mine.send_alert("BUY", "AAPL", 1.0)
        assert len(alerts) == 2
    assert [a.kind for a in alerts] == ["direct.custom", "direct.trade"]
    assert isinstance(alerts[1], Alert)
    assert "BUY AAPL" in repr(alerts)
    assert mine.closed
    assert default_manager() is before
    assert not service.requests
    assert not (tmp_path / "s.db").exists()


def test_capture_alerts_collects_a_backtest() -> None:
    bt = pytest.importorskip("backtrader")
    from bt_alerts import Notifier

    class Buyer(Notifier, bt.Strategy):
        def next(self) -> None:
            if len(self) == 3:
                self.buy()

    with capture_alerts() as alerts:
        cerebro = bt.Cerebro(stdstats=False)
        frame = pd.DataFrame(
            {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0},
            index=pd.date_range("2026-01-01", periods=6),
        )
        cerebro.adddata(bt.feeds.PandasData(dataname=frame), name="AAPL")
        cerebro.addstrategy(Buyer)
        cerebro.run()
    assert "order.completed" in [a.kind for a in alerts]


# emit never raises -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thing",
    [None, "text", 3, alert().replace(data={"x": object()}), alert().replace(attachments=("a.png",))],
    ids=["nothing", "text", "number", "data", "attachment"],
)
def test_emit_never_raises_and_counts_what_it_could_not_take(manage: Manage, thing: Any) -> None:
    manager = manage()
    accepted = manager.emit(thing)
    assert accepted or manager.get_statistics()["lost"] == 1
    assert manager.emit(alert())


def test_emit_survives_threads_that_cannot_be_started(
    manage: Manage, monkeypatch: pytest.MonkeyPatch, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    manager = manage(hook=service.url)
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", fails)
        assert manager.emit(alert(title="kept"))
        manager.close(timeout=0)
    assert "alerts wait in the journal for the next start" in caplog.text
    second = manage(hook=service.url)
    rest(second)
    assert [data["title"] for data in sent(service)] == ["kept"]


def test_emit_from_many_threads_accepts_each(manage: Manage) -> None:
    manager = manage()

    def work(n: int) -> None:
        for i in range(200):
            assert manager.emit(alert(f"{n}-{i}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manager.drained(60)
    assert manager.ledger().accepted == 1600


# Attachments -----------------------------------------------------------------------------------------


def test_attachments_are_copied_by_hash(manage: Manage, service: FakeService, tmp_path: Path) -> None:
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"first")
    manager = manage(hook=service.url)
    manager.emit(alert("one", attachments=[Attachment.from_path(picture)]))
    manager.emit(alert("two", attachments=[Attachment.from_path(picture)]))
    picture.unlink()
    digest = hashlib.sha256(b"first").hexdigest()
    first, second = manager.alerts()
    assert first.attachments == second.attachments
    assert Path(first.attachments[0].path) == (tmp_path / "store.db.files" / digest).resolve()
    assert first.attachments[0].read() == b"first"
    assert [file.name for file in (tmp_path / "store.db.files").iterdir()] == [digest]
    rest(manager)
    assert sent(service)[0]["attachments"][0] == {
        "name": "chart.png", "content_type": "image/png", "size": 5, "sha256": digest,
    }  # fmt: skip


def test_a_file_that_changed_is_kept_as_it_is_now_and_one_that_is_gone_is_left_out(
    manage: Manage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"then")
    changed = Attachment.from_path(file)
    file.write_bytes(b"now")
    manager = manage()
    assert manager.emit(alert(attachments=[changed, Attachment("gone", "text/plain", "0" * 64, 1, "/nowhere/x")]))
    (kept,) = manager.alerts()[0].attachments
    assert kept.sha256 == hashlib.sha256(b"now").hexdigest() == Path(kept.path).name
    assert kept.size == 3
    assert "the alert goes without it" in caplog.text


# Disks -----------------------------------------------------------------------------------------------

FULL = """
import resource, sys, time
from bt_alerts import AlertManager
LIMIT = resource.RLIM_INFINITY
def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, LIMIT))
config = {"alerts": {"hook": {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}}}
manager = AlertManager(config, store=sys.argv[1])
print(manager.send_custom_alert("before", wait=10))
size = manager._intake.journal.end()
room(size + 1)  # the journal takes no line any more
print([manager.send_custom_alert(f"{i}") for i in range(50)].count(True))
print(manager.get_statistics()["in_memory"])
sys.stdout.flush()
sys.stdin.readline()
room(LIMIT)
if sys.argv[3] == "another alert":
    print(manager.send_custom_alert("after"))
deadline = time.monotonic() + 20
while manager.get_statistics()["in_memory"] and time.monotonic() < deadline:
    time.sleep(0.05)
print(manager.get_statistics()["in_memory"], manager.get_statistics()["lost"])
manager.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("what_follows", ["another alert", "silence"])
def test_while_the_disk_is_full_alerts_wait_in_memory_and_it_is_said(
    tmp_path: Path, service: FakeService, what_follows: str
) -> None:
    process = python(FULL, tmp_path / "s.db", service.url, what_follows, stdin=subprocess.PIPE)
    until(lambda: any(data["kind"] == "outbox.trouble" for data in sent(service)), timeout=30)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    out, err = process.communicate(timeout=60)
    printed = out.decode().split()
    assert process.returncode == 0, err.decode()
    assert printed[:3] == ["True", "0", "50"]
    assert printed[-2:] == ["0", "0"]
    messages = [data["message"] for data in sent(service) if data["kind"] == "direct.custom"]
    after = ["after"] if what_follows == "another alert" else []
    assert messages == ["before", *map(str, range(50)), *after]
    assert "free some space" in next(d["message"] for d in sent(service) if d["kind"] == "outbox.trouble")
    assert b"the journal can be written again" in err


def test_a_full_disk_is_said_where_one_channel_hangs(manage: Manage, service: FakeService, other: FakeService) -> None:
    gate = threading.Event()
    other.answer(200, gate=gate)
    manager = manage(slow=other.url, quick=service.url)
    manager.start()
    assert manager._intake.journal is not None
    append = manager._intake.journal.append

    def full(line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    manager._intake.journal.append = full  # type: ignore[method-assign]
    assert manager.emit(alert(title="waits")) is False
    until(lambda: [data["kind"] for data in sent(service)] == ["outbox.trouble"])
    manager._intake.journal.append = append  # type: ignore[method-assign]
    # Once, and by the way that everything goes: the store works again.
    until(lambda: [data["title"] for data in sent(service)][1:] == ["waits", "bt_alerts can write its store again"])
    gate.set()
    manager.flush(10)
    assert [alert.kind for alert in manager.alerts()] == ["custom", "outbox.recovered"]


def test_a_journal_that_cannot_be_made_is_said_and_the_store_still_takes_alerts(
    manage: Manage, service: FakeService, tmp_path: Path
) -> None:
    manage(hook=service.url).close()
    for _ in range(2):
        (tmp_path / "store.db.journal").rmdir() if (tmp_path / "store.db.journal").is_dir() else None
        (tmp_path / "store.db.journal").write_text("a file in the way")
        manager = manage(hook=service.url)
        assert manager.emit(alert(title="kept")) is False  # a kill would lose it
        manager.emit(alert(title="kept too"))
        rest(manager)
        until(lambda m=manager: m.ledger().waiting == 0)
        manager.close()
        (tmp_path / "store.db.journal").unlink()
    titles = [data["title"] for data in sent(service)]
    assert titles.count("kept") == titles.count("kept too") == 2


# Forks -----------------------------------------------------------------------------------------------

FORKED = """
import os, sys
from bt_alerts import AlertManager
config = {"alerts": {"hook": {"type": "webhook", "urls": sys.argv[2], "rate_limit": 0}}}
manager = AlertManager(config, store=sys.argv[1])
assert manager.send_custom_alert("parent before", wait=10)
for n in range(3):
    if os.fork() == 0:
        if n == 0:  # a child that only looks
            assert manager.history()["message"].tolist()[0] == "parent before"
            os._exit(0)
        assert manager.send_custom_alert(f"child {n}", wait=10)
        if n == 1:
            manager.close()
        os._exit(0)  # the other one's journal is found by whoever looks next
    assert os.wait()[1] == 0
    assert manager.send_custom_alert(f"parent after {n}", wait=10)
print(manager.ledger().balanced, manager.ledger().accepted)
manager.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_parent_and_child_each_go_on(tmp_path: Path, service: FakeService) -> None:
    assert run_python(FORKED, tmp_path / "s.db", service.url).split() == ["True", "6"]
    messages = [data["message"] for data in sent(service)]
    assert messages == ["parent before", "parent after 0", "child 1", "parent after 1", "child 2", "parent after 2"]


FORKED_UNDER_LOCK = """
import os, sys, threading
from bt_alerts import AlertManager
manager = AlertManager({}, store=sys.argv[1])
manager.send_custom_alert("before", wait=10)
held, done = threading.Event(), threading.Event()
def hold():
    with manager._lock, manager._intake._lock, manager._intake._overflow_lock:
        held.set()
        done.wait()
threading.Thread(target=hold).start()
held.wait()
if os.fork() == 0:
    os._exit(0 if manager.send_custom_alert("child") and manager.flush(10) else 1)
print(os.wait()[1])
done.set()
manager.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_is_not_locked_out_by_a_thread_of_its_parent(tmp_path: Path) -> None:
    assert run_python(FORKED_UNDER_LOCK, tmp_path / "s.db").strip() == "0"


# Backtests -------------------------------------------------------------------------------------------


class Run:
    """A backtest that is over, with alerts that nobody has asked for yet."""

    ended = True

    def __init__(self, alerts: list[Alert]) -> None:
        self._alerts = alerts

    def collect(self) -> list[Alert]:
        found, self._alerts = self._alerts, []
        return found


def test_what_a_backtest_keeps_is_stored_when_somebody_looks(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    made = [alert(f"{i}") for i in range(3)]
    for each in made[:2]:
        manager.keep(each)
    source = Run([made[2]])
    manager.add_source(source)
    manager.add_source(source)
    assert manager.ledger().reasons == {"history": 3}
    assert manager.suppressed("") == 0
    assert not service.requests
    assert manager._intake.engine is None  # nothing was started for it


def test_what_could_not_be_stored_is_still_there_for_the_next_look(
    manage: Manage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import sqlite3

    manager = manage()
    manager.outbox._busy = 0.05  # type: ignore[attr-defined]
    manager.keep(alert())
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.ERROR):
        manager.run_ended()
    assert "still in memory" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    assert manager.ledger().recorded == 1


def test_a_closed_manager_still_answers(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    assert manager.send_custom_alert("x", wait=10)
    manager.close()
    assert manager.ledger().deliveries["delivered"] == 1
    assert manager.get_statistics()["alerts"] == 1
    assert len(manager.history()) == 1


def test_a_channel_whose_last_try_failed_is_not_healthy(manage: Manage) -> None:
    manager = manage(hook="http://127.0.0.1:9/")
    manager.send_custom_alert("x")
    rest(manager)
    assert manager.get_channel_health()["hook"]["status"] == "failing"


def test_a_secret_can_be_rotated_in_settings(service: FakeService) -> None:
    old, new = ("whsec_" + base64.b64encode(os.urandom(24)).decode() for _ in range(2))
    with AlertManager({"alerts": {"hook": {"type": "webhook", "urls": service.url, "secret": f"{new} {old}"}}}) as it:
        assert it.send_custom_alert("x", wait=10)
    assert len(service.requests[0].headers["webhook-signature"].split()) == 2
