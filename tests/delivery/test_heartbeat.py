"""Pings of an outside check: they mean that alerts are handled, are in nobody's way, and keep their address secret."""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from alerts_kit import alert, until, webhook

from bt_alerts import AlertManager, attach
from bt_alerts import manager as managers
from bt_alerts.delivery import heartbeat
from bt_alerts.delivery.heartbeat import Heartbeat
from bt_alerts.demo.feed import ScriptedFeed
from bt_alerts.testing import FakeService


@pytest.fixture
def check() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


class Beats:
    """A heartbeat whose health is told to it."""

    def __init__(self, service: FakeService, every: float = 0.02) -> None:
        self.key = secrets.token_hex(16)
        self.service = service
        self.trouble = ""
        self.heartbeat = Heartbeat(f"{service.url}/{self.key}", lambda: self.trouble, every=every, about="AAPL")

    def signals(self) -> list[tuple[str, str]]:
        """What the check got: ("start", "AAPL"), ("", ""), ("fail", "…") …"""
        return [(r.path.removeprefix(f"/{self.key}").strip("/"), r.body.decode()) for r in self.service.requests]


def test_it_starts_goes_on_and_ends(check: FakeService) -> None:
    beats = Beats(check)
    beats.heartbeat.start()
    check.wait_for(4)
    beats.heartbeat.end()
    beats.heartbeat.wait()
    signals = beats.signals()
    assert signals[0] == ("start", "AAPL")
    assert set(signals[1:-1]) == {("", "")}
    assert signals[-1] == ("", "ended")
    assert {request.method for request in check.requests} == {"POST"}


def test_a_crash_is_a_failure(check: FakeService) -> None:
    beats = Beats(check, every=60)
    beats.heartbeat.start()
    check.wait_for(2)
    beats.heartbeat.end("KeyError")
    beats.heartbeat.wait()
    assert beats.signals() == [("start", "AAPL"), ("", ""), ("fail", "ended by KeyError")]


def test_trouble_is_told_once_and_then_there_is_no_ping_until_it_is_over(check: FakeService) -> None:
    beats = Beats(check)
    beats.trouble = "the store of alerts cannot be written"
    beats.heartbeat.start()
    check.wait_for(2)
    time.sleep(0.2)  # ten times the interval
    assert beats.signals() == [("start", "AAPL"), ("fail", beats.trouble)]
    beats.trouble = ""
    check.wait_for(3)
    assert beats.signals()[2] == ("", "")
    beats.trouble = "again"
    until(lambda: beats.signals()[-1] == ("fail", "again"))
    beats.heartbeat.end()
    beats.heartbeat.wait()
    assert beats.signals()[-1] == ("fail", "again")  # an end in trouble is no success


def test_a_failure_that_did_not_arrive_is_told_again(check: FakeService) -> None:
    check.answer(200).answer(500).answer(500).answer(200)
    beats = Beats(check)
    beats.trouble = "x"
    beats.heartbeat.start()
    check.wait_for(4)
    time.sleep(0.1)
    assert beats.signals() == [("start", "AAPL")] + [("fail", "x")] * 3
    beats.heartbeat.end()
    beats.heartbeat.wait()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, "", "is in trouble (HTTP 500)"),
        (404, "", "does not know this address (HTTP 404)"),
        (302, "", "answered with a redirect"),
        (200, "OK (not found)", "does not know this check"),  # as healthchecks.io answers
    ],
)
def test_a_check_that_does_not_take_pings_is_said_once_and_once_when_it_does(
    check: FakeService, caplog: pytest.LogCaptureFixture, status: int, body: str, told: str
) -> None:
    caplog.set_level(logging.DEBUG)
    check.answer(status, body)
    beats = Beats(check)
    beats.heartbeat.start()
    check.wait_for(5)
    check.answer(200)
    until(lambda: "gets its pings again" in caplog.text)
    beats.heartbeat.end()
    beats.heartbeat.wait()
    (said,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert said.startswith("the check of watch.ping_url got no ping: 127.0.0.1:")
    assert told in said
    assert caplog.text.count("gets its pings again") == 1
    assert beats.key not in caplog.text, "nor do the HTTP libraries write it down"


def test_a_check_that_is_away_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    key = secrets.token_hex(16)
    beat = Heartbeat(f"http://127.0.0.1:9/{key}", lambda: "", every=0.01)
    beat.start()
    until(lambda: beat._unreachable)
    time.sleep(0.1)
    beat.end()
    beat.wait()
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "connection refused" in record.getMessage()
    assert key not in caplog.text
    assert key not in repr(beat)


def test_a_check_that_hangs_delays_nobody(check: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TIMEOUT", 0.2)
    check.answer(200, gate=check.over)
    beats = Beats(check)
    beats.heartbeat.start()
    check.wait_for(3)  # it goes on
    beats.heartbeat.end()
    beats.heartbeat.wait(0.0)


def test_secrets_are_not_told_to_the_check(check: FakeService) -> None:
    from bt_alerts.redact import register_secret

    secret = secrets.token_hex(12)
    register_secret(secret)
    beats = Beats(check)
    beats.trouble = f"no {secret} here"
    beats.heartbeat.start()
    check.wait_for(2)
    beats.heartbeat.end()
    beats.heartbeat.wait()
    assert beats.signals()[1] == ("fail", "no ••• here")


def test_signals_go_in_front_of_a_query(check: FakeService) -> None:
    beat = Heartbeat(f"{check.url}/api/push/{secrets.token_hex(10)}/?rid=1", lambda: "", every=60)
    beat.start()
    check.wait_for(2)
    beat.end()
    beat.wait()
    assert check.requests[0].path.endswith("/start")
    assert check.requests[0].query == check.requests[1].query == {"rid": "1"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_leaves_it_alone(check: FakeService) -> None:
    beats = Beats(check, every=60)
    beats.heartbeat.start()
    check.wait_for(2)
    child = os.fork()
    if child == 0:
        beats.heartbeat.end("x")
        beats.heartbeat.wait()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(check.requests) == 2
    beats.heartbeat.end()
    beats.heartbeat.wait()


# ------------------------------------------------------------------------- what a ping means


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService) -> Iterator[AlertManager]:
    monkeypatch.setattr(managers, "RECALL_SECONDS", 60.0)  # where it works, a busy machine may take its time
    made = AlertManager({"alerts": {"hook": webhook(service.url)}}, store=str(tmp_path / "alerts.db"))
    yield made
    made.close(timeout=1)


def test_a_manager_that_works_is_in_no_trouble(manager: AlertManager) -> None:
    assert manager.trouble() == ""
    rows = dict(manager.outbox.rows("SELECT key, value FROM rule_state WHERE rule = 'seen'"))
    assert float(rows["heartbeat"]) <= time.time()
    assert manager.ledger().balanced


def test_a_store_that_is_locked_is_trouble_and_then_is_none(
    manager: AlertManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.start()
    assert manager.trouble() == ""
    other = sqlite3.connect(tmp_path / "alerts.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with monkeypatch.context() as patch:
        patch.setattr(managers, "RECALL_SECONDS", 0.3)
        assert "not planned" in manager.trouble()
    other.execute("ROLLBACK")
    until(lambda: manager.trouble() == "")
    other.close()


def test_a_planner_that_is_gone_is_trouble(manager: AlertManager) -> None:
    manager.start()
    assert manager.trouble() == ""
    engine = manager._intake.engine
    assert engine is not None
    engine.stop(5)
    assert "the planner does not answer" in manager.trouble()


def test_a_journal_that_cannot_be_written_is_trouble(manager: AlertManager) -> None:
    manager.start()
    assert manager._intake.journal is not None

    def full(line: bytes) -> None:
        raise OSError(28, "No space left on device")

    append, manager._intake.journal.append = manager._intake.journal.append, full  # type: ignore[method-assign]
    assert manager.trouble() == "the store of alerts cannot be written"
    manager._intake.journal.append = append  # type: ignore[method-assign]
    until(lambda: manager.trouble() == "")


# ------------------------------------------------------------------------------- a live run


def live(check: FakeService, key: str, *steps: Any, **settings: Any) -> list[str]:
    """One live run with pings to ``check``; the signals that it got."""
    cerebro = bt.Cerebro(stdstats=False)
    bars = [("bar", None, 1.0, 1.0, 1.0, 1.0, 1.0)] * 2

    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC).replace(tzinfo=None)

    cerebro.adddata(ScriptedFeed(script=[("status", "LIVE"), *bars, *steps], name="AAPL", clock=now, qcheck=0.0))
    cerebro.addstrategy(bt.Strategy)
    config = {"watch": {"ping_url": f"{check.url}/{key}", "ping_every": 10}, "store": "memory", **settings}
    with attach(cerebro, config):
        cerebro.run()
    return [request.path.removeprefix(f"/{key}").strip("/") for request in check.requests]


def test_a_live_run_pings(check: FakeService) -> None:
    key = secrets.token_hex(16)
    wait = ("call", lambda: check.wait_for(2))
    assert live(check, key, wait) == ["start", "", ""]
    assert check.requests[0].body == b"AAPL"
    until(lambda: not [t for t in threading.enumerate() if t.name == "bt_alerts ping"])


def test_a_live_run_that_crashes_says_so(check: FakeService) -> None:
    key, secret = secrets.token_hex(16), secrets.token_hex(16)
    wait = ("call", lambda: check.wait_for(2))
    with pytest.raises(KeyError):
        live(check, key, wait, ("raise", KeyError(secret)))
    last = check.requests[-1]
    assert (last.path, last.body) == (f"/{key}/fail", b"ended by KeyError")


def test_a_live_run_that_somebody_stops_ends_well(check: FakeService) -> None:
    with pytest.raises(KeyboardInterrupt):
        live(check, secrets.token_hex(16), ("raise", KeyboardInterrupt()))
    assert not check.requests[-1].path.endswith("/fail")


def test_a_check_that_hangs_does_not_hold_up_the_end_of_a_run_beyond_flush_timeout(check: FakeService) -> None:
    gate = threading.Event()
    check.answer(200, gate=gate)
    before = set(threading.enumerate())
    live(check, secrets.token_hex(16), delivery={"flush_timeout": 0})
    pings = [thread for thread in set(threading.enumerate()) - before if thread.name == "bt_alerts ping"]
    assert len(pings) == 1  # nobody waited for it
    gate.set()
    pings[0].join(10)


def test_mode_record_sends_no_ping(check: FakeService) -> None:
    assert live(check, secrets.token_hex(16), mode="record") == []


def test_the_address_is_nowhere(check: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = secrets.token_hex(16)
    check.answer(500)
    live(check, key, ("call", lambda: check.wait_for(2)), store=str(tmp_path / "alerts.db"))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert written
    assert key.encode() not in written
    assert key not in caplog.text
    manager = AlertManager({"watch": {"ping_url": f"{check.url}/{key}"}})
    manager.emit(alert())
    assert key not in repr(manager.settings) + str(manager.settings.model_dump()) + manager.settings.hash
    manager.close()
