"""PusherEmitter: what reaches the page, when, and that it is never in a strategy's way."""

from __future__ import annotations

import datetime as dt
import gc
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from hooks_kit import MINUTE, Clock, Exchange, engine, feed, live_feed, live_script, tick

from bt_alerts import PusherEmitter, attach
from bt_alerts.dispatchers.pusher import queue as pusher_queue
from bt_alerts.dispatchers.pusher.queue import LiveQueue, Newest
from bt_alerts.testing import FakeService

APP = ("3", "278d425bdf160c739803", "7ad3773142a6692b25b8", "eu")
SIGNAL = {
    "symbol": "EURUSD",
    "type": "BUY",
    "entry_price": 1.0871,
    "stop_loss": 1.08,
    "take_profit": 1.1,
    "strategy_name": "Cross",
    "timeframe": "H1",
    "confidence": 80,
    "indicators": {"rsi": 31.5},
    "reason": "fast above slow",
}


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WE_V2_"):
            monkeypatch.delenv(name)


@pytest.fixture
def emitter(service: FakeService) -> Iterator[PusherEmitter]:
    with PusherEmitter() as emitter:
        assert emitter.initialize(*APP, "7", api_url=service.url) is True
        yield emitter


def sent(service: FakeService) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event that reached the service."""
    found = []
    for request in service.requests:
        body = request.json()
        for event in body.get("batch", [body]):
            assert event.get("channel", *event.get("channels", [])) == "executor-7"
            found.append((event["name"], json.loads(event["data"])))
    return found


def names(service: FakeService) -> list[str]:
    return [name for name, _ in sent(service)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ------------------------------------------------------------------------------------------- the events


def test_a_trading_signal_is_given_in_snake_case_and_sent_in_camel_case(
    service: FakeService, emitter: PusherEmitter
) -> None:
    signal_id = emitter.emit_trading_signal(SIGNAL)
    assert emitter.flush()
    ((name, data),) = sent(service)
    when = dt.datetime.fromisoformat(data.pop("timestamp"))
    assert abs((dt.datetime.now(dt.UTC) - when).total_seconds()) < 10
    assert (name, data) == (
        "trading-signal",
        {
            "id": signal_id,
            "symbol": "EURUSD",
            "type": "BUY",
            "entryPrice": 1.0871,
            "stopLoss": 1.08,
            "takeProfit": 1.1,
            "confidence": 80,
            "strategy": "Cross",
            "timeframe": "H1",
            "indicators": {"rsi": 31.5},
            "status": "pending",
            "reason": "fast above slow",
        },
    )
    assert str(uuid.UUID(signal_id)) == signal_id


def test_every_event_has_its_fields(service: FakeService, emitter: PusherEmitter) -> None:
    at = dt.datetime(2026, 5, 20, 12, 0)
    emitter.emit_signal_status_update("0198", "executed", "filled at 1.0872", timestamp=at)
    position = {"ticket": 5, "symbol": "EURUSD", "type": "long", "volume": 10, "entry_price": 1.0872}
    emitter.emit_position_opened({**position, "strategy": "Cross", "timestamp": at}, stop_loss=1.08, take_profit=1.1)
    closed = {"exit_price": 1.1, "profit": 12.5, "duration_seconds": 60, "close_reason": "target"}
    emitter.emit_position_closed({**position, **closed, "timestamp": at})
    emitter.emit_strategy_status("Cross", "started", timestamp=at)
    emitter.emit_error("Feed", "no bars", {"symbol": "EURUSD"}, timestamp=at)
    emitter.emit_account_update(balance=10_000, equity=10_050.5, profit=50.5, timestamp=at)
    assert emitter.flush()
    when = "2026-05-20T12:00:00+00:00"
    shared = {"ticket": 5, "symbol": "EURUSD", "type": "BUY", "volume": 10, "entry_price": 1.0872}
    assert sent(service) == [
        (
            "signal-status-update",
            {"id": "0198", "status": "executed", "reason": "filled at 1.0872", "timestamp": when},
        ),
        ("position-opened", {**shared, "stop_loss": 1.08, "take_profit": 1.1, "strategy": "Cross", "timestamp": when}),
        (
            "position-closed",
            {
                **shared,
                "exit_price": 1.1,
                "profit": 12.5,
                "duration_seconds": 60,
                "close_reason": "TP",
                "timestamp": when,
            },
        ),
        (
            "strategy-status",
            {
                "strategyId": str(uuid.uuid5(uuid.NAMESPACE_DNS, "Cross")),
                "strategyName": "Cross",
                "status": "started",
                "reason": "",
                "timestamp": when,
            },
        ),
        ("error", {"type": "Feed", "message": "no bars", "context": {"symbol": "EURUSD"}, "timestamp": when}),
        (
            "account-update",
            {
                "balance": 10_000,
                "equity": 10_050.5,
                "margin": None,
                "margin_level": None,
                "profit": 50.5,
                "timestamp": when,
            },
        ),
    ]


def test_a_mapping_and_keywords_say_the_same(service: FakeService, emitter: PusherEmitter) -> None:
    at = 1_779_278_400
    emitter.emit_error("Feed", "gone", {"n": 1}, timestamp=at)
    emitter.emit_error({"error_type": "Feed", "message": "gone", "context": {"n": 1}, "timestamp": at})
    emitter.emit_error(error_type="Feed", message="gone", context={"n": 1}, timestamp=at)
    emitter.emit_strategy_status("Cross", "stopped", "done", timestamp=at)
    emitter.emit_strategy_status(strategy_name="Cross", status="stopped", reason="done", timestamp=at)
    emitter.emit_signal_status_update("1", "expired", timestamp=at)
    emitter.emit_signal_status_update({"id": "1", "status": "expired", "timestamp": at})
    assert emitter.flush()
    one, two, three, *rest = [data for _, data in sent(service)]
    assert one == two == three
    assert (rest[0], rest[2]) == (rest[1], rest[3])


def test_several_events_go_in_batches_of_ten_and_in_order(service: FakeService, emitter: PusherEmitter) -> None:
    gate = threading.Event()
    service.answer(200, {}, gate=gate)
    emitter.emit_error("Feed", "0")
    service.wait_for(1)
    for number in range(1, 25):  # while the first is on its way
        emitter.emit_error("Feed", str(number))
    gate.set()
    assert emitter.flush()
    assert [data["message"] for _, data in sent(service)] == [str(number) for number in range(25)]
    assert {request.path for request in service.requests} == {"/apps/3/batch_events", "/apps/3/events"}
    assert [len(request.json().get("batch", "1")) for request in service.requests] == [1, 10, 10, 4]


def test_what_is_no_json_is_made_json(service: FakeService, emitter: PusherEmitter) -> None:
    emitter.emit_account_update(balance=np.float64(1.5), equity=float("nan"), margin=np.int64(3), profit=float("inf"))
    emitter.emit_trading_signal({**SIGNAL, "confidence": 250, "indicators": {"x": np.array([1, 2])}, "more": object()})
    assert emitter.flush()
    data = dict(sent(service))
    assert [data["account-update"][name] for name in ("balance", "equity", "margin", "profit")] == [1.5, None, 3, "inf"]
    assert (data["trading-signal"]["confidence"], data["trading-signal"]["indicators"]) == (100, {"x": [1, 2]})


@pytest.mark.parametrize(("word", "side"), [("buy", "BUY"), ("Short", "SELL"), ("LONG", "BUY"), (" sell ", "SELL")])
def test_a_side_is_buy_or_sell(service: FakeService, emitter: PusherEmitter, word: str, side: str) -> None:
    emitter.emit_trading_signal({**SIGNAL, "type": word})
    assert emitter.flush()
    assert sent(service)[0][1]["type"] == side


def test_a_signal_that_is_neither_is_refused_with_a_line_in_the_log(
    service: FakeService, emitter: PusherEmitter, caplog: pytest.LogCaptureFixture
) -> None:
    assert emitter.emit_trading_signal({**SIGNAL, "type": "HOLD"})
    assert emitter.flush()
    assert service.requests == []
    assert warnings(caplog) == ["a trading signal must be BUY or SELL, not 'HOLD': it does not go to the page"]


class Odd:
    """Whatever a strategy may hand over."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "odd", [Odd(), 5, "text", [1], np.array([1, 2]), {Odd(): Odd()}, {"symbol": Odd(), "type": Odd()}]
)
def test_nothing_that_a_strategy_hands_over_raises_into_it(
    service: FakeService, emitter: PusherEmitter, odd: Any
) -> None:
    emitter.emit_trading_signal(odd)
    emitter.emit_trading_signal({**SIGNAL, "id": odd, "symbol": odd, "indicators": odd})
    emitter.emit_signal_status_update(odd, odd, odd)
    emitter.emit_position_opened(odd)
    emitter.emit_position_closed(odd, close_reason=odd)
    emitter.emit_strategy_status(odd, odd, odd)
    emitter.emit_account_update(odd)
    emitter.emit_error(odd, odd, odd)
    assert emitter.flush()
    emitter.emit_error("Feed", "still there")
    assert emitter.flush()
    assert names(service)[-1] == "error"


# ------------------------------------------------------------------------------------------ credentials


def test_without_credentials_it_is_disabled_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    emitter = PusherEmitter()
    assert emitter.initialize("3", "key", None, "eu", None) is False
    for _ in range(3):
        assert emitter.emit_trading_signal(SIGNAL)
        assert emitter.emit_error("Feed", "gone") is False
    emitter.initialize(None, None, None, None, None)
    assert warnings(caplog) == [
        "PusherEmitter is disabled, so no page is updated: set secret (WE_V2_PUSHER_SECRET) to send through Pusher"
    ]
    assert emitter._queue._thread is None


def test_a_credential_that_cannot_be_right_disables_it_and_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    emitter = PusherEmitter()
    assert emitter.initialize("3", "k", "s3cr3t with a space", "eu", "7") is False
    assert len(warnings(caplog)) == 1
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("call", [True, False], ids=["initialize()", "the first event"])
def test_the_environment_gives_what_initialize_does_not(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: bool
) -> None:
    (tmp_path / "secret").write_text(APP[2])
    for name, value in {
        "WE_V2_PUSHER_APP_ID": APP[0],
        "WE_V2_PUSHER_KEY": APP[1],
        "WE_V2_PUSHER_SECRET_FILE": str(tmp_path / "secret"),
        "WE_V2_PUSHER_CLUSTER": "eu",
        "WE_V2_EXECUTOR_ID": "7",
    }.items():
        monkeypatch.setenv(name, value)
    emitter = PusherEmitter()
    monkeypatch.setattr("bt_alerts.dispatchers.pusher.PusherDispatcher.request", lambda *_, **__: None)
    if call:
        assert emitter.initialize() is True
    assert emitter.emit_error("Feed", "gone") is True
    sender = emitter._sender
    assert sender is not None
    assert (sender.api_url, sender.channel, sender.missing()) == ("https://api-eu.pusher.com", "executor-7", "")
    emitter.close()


def test_the_executor_is_default_where_none_is_named(service: FakeService) -> None:
    with PusherEmitter() as emitter:
        emitter.initialize(*APP, None, api_url=service.url)
        emitter.emit_error("Feed", "gone")
    assert service.requests[0].json()["channels"] == ["executor-default"]


def test_refused_credentials_end_it_with_one_line(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    service.answer(401, "Invalid signature")
    emitter = PusherEmitter()
    emitter.initialize(*APP, "7", api_url=service.url)
    emitter.emit_error("Feed", "gone")
    assert emitter.flush()
    assert emitter.enabled is False
    assert emitter.emit_error("Feed", "gone") is False
    (line,) = warnings(caplog)
    assert "the page is not updated any more: 127.0.0.1" in line
    assert APP[2] not in caplog.text


# ------------------------------------------------------------------------------------- account updates


def test_the_newest_value_goes_and_one_a_second() -> None:
    newest = Newest(1.0)
    assert (newest.wait(0.0), newest.take(0.0)) == (None, None)
    newest.put("a")
    assert (newest.wait(5.0), newest.take(5.0)) == (0.0, "a")
    newest.put("b")
    newest.put("c")
    assert (newest.wait(5.25), newest.take(5.25)) == (0.75, None)
    assert newest.empty is False
    assert (newest.take(5.9999), newest.take(6.0)) == (None, "c")
    assert newest.empty is True
    newest.put("d")
    assert newest.take(100.0) == "d"


def test_account_updates_are_one_a_second_and_the_last_one_is_not_lost(service: FakeService) -> None:
    now = [100.0]
    emitter = PusherEmitter(clock=lambda: now[0])
    emitter.initialize(*APP, "7", api_url=service.url)
    assert emitter.emit_account_update(balance=0)
    assert emitter.flush()
    for balances in (range(1, 65), range(65, 130)):
        for balance in balances:
            assert emitter.emit_account_update(balance=balance)
        now[0] += 1.0
        assert emitter.flush()
    emitter.close()
    assert [data["balance"] for _, data in sent(service)] == [0, 64, 129]


def test_other_events_do_not_wait_for_the_account(service: FakeService) -> None:
    now = [100.0]
    emitter = PusherEmitter(clock=lambda: now[0])
    emitter.initialize(*APP, "7", api_url=service.url)
    emitter.emit_account_update(balance=1)
    assert emitter.flush()
    emitter.emit_account_update(balance=2)
    emitter.emit_error("Feed", "gone")
    service.wait_for(2)
    assert names(service) == ["account-update", "error"]
    now[0] += 1.0
    assert emitter.flush()
    assert sent(service)[-1][1]["balance"] == 2
    emitter.close()


def test_with_a_clock_that_stands_still_the_second_value_waits(service: FakeService) -> None:
    now = [100.0]
    emitter = PusherEmitter(clock=lambda: now[0])
    emitter.initialize(*APP, "7", api_url=service.url)
    emitter.emit_account_update(balance=1)
    assert emitter.flush()
    emitter.emit_account_update(balance=2)
    emitter.emit_account_update(balance=3)
    assert emitter.flush(0.2) is False
    now[0] += 1.0
    emitter.emit_error("Feed", "wakes it")
    assert emitter.flush()
    assert [data.get("balance") for _, data in sent(service)] == [1, None, 3]
    emitter.close()


# ------------------------------------------------------------------------------- never in the way


def test_emitting_does_not_wait_for_a_service_that_is_silent(service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, {}, gate=gate)
    emitter = PusherEmitter()
    emitter.initialize(*APP, "7", api_url=service.url, timeout=30)
    took = []
    for number in range(200):
        began = time.perf_counter()
        emitter.emit_error("Feed", str(number))
        took.append(time.perf_counter() - began)
    gate.set()
    assert sum(took) < 10  # one that waited would take 30 s
    assert emitter.flush()
    assert [data["message"] for _, data in sent(service)] == [str(number) for number in range(200)]
    emitter.close()


def test_the_queue_is_bounded_and_the_oldest_go(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    service.answer(200, {}, gate=gate)
    monkeypatch.setattr(pusher_queue, "MAX_WAITING", 5)
    emitter = PusherEmitter()
    emitter.initialize(*APP, "7", api_url=service.url)
    emitter.emit_error("Feed", "first")
    service.wait_for(1)
    for number in range(12):
        emitter.emit_error("Feed", str(number))
    gate.set()
    assert emitter.flush()
    assert [data["message"] for _, data in sent(service)] == ["first", "7", "8", "9", "10", "11"]
    assert emitter.dropped == 7
    assert warnings(caplog) == ["more than 5 events wait for Pusher: the oldest are dropped"]
    emitter.close()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_passes_is_tried_again(service: FakeService, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(pusher_queue, "FIRST_WAIT", 0.01)
    service.answer(status, "busy").answer(status, "busy").answer(200, {})
    with PusherEmitter() as emitter:
        emitter.initialize(*APP, "7", api_url=service.url)
        emitter.emit_error("Feed", "gone")
        assert emitter.flush()
        assert emitter.dropped == 0
    assert len(service.requests) == 3
    assert len({request.body for request in service.requests}) == 1


def test_what_cannot_be_delivered_is_dropped_and_said_once(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pusher_queue, "FIRST_WAIT", 0.001)
    service.answer(500, "broken")
    with PusherEmitter() as emitter:
        emitter.initialize(*APP, "7", api_url=service.url)
        for _ in range(3):
            emitter.emit_error("Feed", "gone")
            assert emitter.flush()
        assert emitter.dropped == 3
    assert len(service.requests) == 3 * pusher_queue.TRIES
    assert len(warnings(caplog)) == 1


def test_one_bad_event_does_not_take_the_others_of_its_batch_with_it(
    service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.on(where=lambda request: b"bad" in request.body).answer(400, "no")
    with PusherEmitter() as emitter:
        emitter.initialize(*APP, "7", api_url=service.url)
        for text in ("one", "bad", "three"):
            emitter.emit_error("Feed", text)
        emitter.emit_position_opened(symbol="s" * 20_000)
        emitter.emit_error("Feed", "five")
        assert emitter.flush()
    alone = [request.json() for request in service.requests if request.path.endswith("/events")]
    took = [json.loads(event["data"])["message"] for event in alone if "bad" not in event["data"]]
    assert took == ["one", "three", "five"]
    assert emitter.dropped == 2
    assert "position-opened was refused: the event position-opened has" in caplog.text


def test_after_it_was_closed_nothing_is_accepted(service: FakeService) -> None:
    emitter = PusherEmitter()
    emitter.initialize(*APP, "7", api_url=service.url)
    emitter.emit_error("Feed", "one")
    emitter.close()
    assert emitter.emit_error("Feed", "two") is False
    assert [data["message"] for _, data in sent(service)] == ["one"]
    emitter.close()


def test_closing_does_not_wait_for_a_service_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    with FakeService() as service:
        url = service.url
    emitter = PusherEmitter()
    emitter.initialize(*APP, "7", api_url=url)
    emitter.emit_error("Feed", "one")
    began = time.monotonic()
    emitter.close(30)
    assert time.monotonic() - began < 10
    assert emitter.dropped == 1


def test_the_thread_ends_when_it_is_idle_and_comes_again(
    service: FakeService, emitter: PusherEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pusher_queue, "IDLE", 0.05)
    emitter.emit_error("Feed", "one")
    assert emitter.flush()
    deadline = time.monotonic() + 20
    while emitter._queue._thread is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    emitter.emit_error("Feed", "two")
    assert emitter.flush()
    assert len(service.requests) == 2


def test_a_copy_has_no_credentials_and_sends_nothing(emitter: PusherEmitter, caplog: pytest.LogCaptureFixture) -> None:
    raw = pickle.dumps(emitter)
    assert APP[2].encode() not in raw
    assert APP[1].encode() not in raw
    copy = pickle.loads(raw)
    assert copy.emit_error("Feed", "gone") is False
    assert warnings(caplog) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_with_an_empty_queue_and_its_own_thread(service: FakeService) -> None:
    program = f"""
import os, signal, threading
from bt_alerts import PusherEmitter
emitter = PusherEmitter()
emitter.initialize(*{APP!r}, "7", api_url={service.url!r})
held, go = threading.Event(), threading.Event()

def hold():
    with emitter._queue._changed:
        emitter.emit_error("Feed", "of the parent")
        held.set()
        go.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(25)
    emitter.emit_error("Feed", "of the child")
    assert emitter.flush(20), "the child's lock is held by nobody"
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
go.set()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(data["message"] for _, data in sent(service)) == ["of the child", "of the parent"]


def test_what_waits_is_sent_when_the_program_ends(service: FakeService) -> None:
    program = f"""
from bt_alerts import PusherEmitter
emitter = PusherEmitter()
emitter.initialize(*{APP!r}, "7", api_url={service.url!r})
for balance in range(3):
    emitter.emit_account_update(balance=balance)
emitter.emit_strategy_status("Cross", "stopped")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert dict(sent(service))["account-update"]["balance"] == 2
    assert "strategy-status" in names(service)


# ----------------------------------------------------------------------------------- inside a strategy


class Page(bt.Strategy):
    """Tells the page of everything."""

    params = (("emitter", None), ("url", ""))

    def __init__(self) -> None:
        self.emitter = self.p.emitter
        if self.p.url:
            self.emitter = PusherEmitter()
            self.emitter.initialize(*APP, "7", api_url=self.p.url)
        self.told: list[bool] = []

    def start(self) -> None:
        self.told.append(self.emitter.emit_strategy_status("Page", "started"))

    def next(self) -> None:
        symbol = self.data._name
        self.emitter.emit_trading_signal(symbol=symbol, type="BUY", reason=f"{self.data.datetime.datetime(0):%H:%M}")
        self.emitter.emit_account_update(balance=self.broker.getvalue())
        if not self.told[1:]:
            self.told.append(False)
            self.buy(size=1)

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.emitter.emit_position_opened(ticket=order.ref, symbol=self.data._name, type="BUY", volume=1)

    def stop(self) -> None:
        self.emitter.emit_strategy_status("Page", "stopped")


@pytest.mark.parametrize("attached", [True, False], ids=["attach", "alone"])
@pytest.mark.parametrize("made", ["inside", "outside"])
def test_a_backtest_sends_nothing(service: FakeService, emitter: PusherEmitter, attached: bool, made: str) -> None:
    cerebro = engine(feed(), strategy=None)
    given = {"url": service.url} if made == "inside" else {"emitter": emitter}
    cerebro.addstrategy(Page, **given)
    manager = attach(cerebro, {}) if attached else None
    (strategy,) = cerebro.run()
    assert strategy.told[0] is False
    strategy.emitter.flush()
    assert strategy.emitter._queue._thread is None
    if made == "inside":  # called from outside, when the run is over
        assert strategy.emitter.emit_error("Feed", "late") is False
        made_in, strategy = strategy.emitter, None
        del cerebro, manager
        gc.collect()
        assert made_in.emit_error("Feed", "when the strategy is gone") is False
    assert service.requests == []


def test_an_optimisation_sends_nothing_and_takes_an_emitter_as_an_argument(
    service: FakeService, emitter: PusherEmitter
) -> None:
    cerebro = engine(feed(), strategy=None)
    cerebro.optstrategy(Page, emitter=[emitter, emitter])
    cerebro.run(maxcpus=2)
    emitter.flush()
    assert service.requests == []


def now_clock() -> Clock:
    """A clock of today, because an emitter without a manager asks the real one."""
    return Clock(dt.datetime.now(dt.UTC).replace(tzinfo=None, second=0, microsecond=0))


LIVE: dict[str, Callable[..., Any]] = {
    "attach": lambda cerebro, clock: attach(cerebro, {}, clock=clock),
    "alone": lambda cerebro, clock: None,
}


@pytest.mark.parametrize("hook", LIVE)
def test_of_a_live_run_only_what_happens_live_is_sent(service: FakeService, emitter: PusherEmitter, hook: str) -> None:
    clock = now_clock()
    begin = clock.time
    script = [("status", "DELAYED"), *(tick(clock, begin - n * MINUTE) for n in (60, 59, 58)), ("wait",)]
    script += [("status", "LIVE"), tick(clock, begin), tick(clock, begin + 0.5 * MINUTE), ("wait",)]
    cerebro = engine(live_feed(clock, *script), strategy=None)
    cerebro.addstrategy(Page, emitter=emitter)
    LIVE[hook](cerebro, clock)
    cerebro.run()
    assert emitter.flush()
    found = sent(service)
    signals = [data["reason"] for name, data in found if name == "trading-signal"]
    assert signals == [f"{begin:%H:%M}", f"{begin:%H:%M}"]
    statuses = [data["status"] for name, data in found if name == "strategy-status"]
    assert statuses == ["started", "stopped"]
    assert "position-opened" not in names(service), "a simulated broker filled it on an old bar"


@pytest.mark.parametrize("hook", LIVE)
def test_the_orders_of_a_real_broker_are_sent_whatever_the_feed_says(
    service: FakeService, emitter: PusherEmitter, hook: str
) -> None:
    clock = now_clock()
    script = [("status", "DELAYED"), *(tick(clock, clock.time - (90 - n) * MINUTE) for n in range(5))]
    cerebro = engine(live_feed(clock, *script), strategy=None)
    cerebro.setbroker(Exchange())
    cerebro.addstrategy(Page, emitter=emitter)
    LIVE[hook](cerebro, clock)
    cerebro.run()
    assert emitter.flush()
    # These brokers keep one object for an order's whole life, so the strategy sees it completed twice.
    assert len({data["ticket"] for name, data in sent(service) if name == "position-opened"}) == 1
    assert "account-update" in names(service)
    assert "trading-signal" not in names(service)


@pytest.mark.parametrize(("mode", "sends"), [("record", False), ("send", True)])
def test_the_mode_of_the_manager_counts(service: FakeService, emitter: PusherEmitter, mode: str, sends: bool) -> None:
    clock = Clock()
    feeds = feed() if mode == "send" else live_feed(clock, *live_script(clock, 3))
    cerebro = engine(feeds, strategy=None)
    cerebro.addstrategy(Page, emitter=emitter)
    attach(cerebro, {}, mode=mode, clock=clock)
    cerebro.run()
    assert emitter.flush()
    assert ("trading-signal" in names(service)) is sends


def test_the_override_of_attach_counts(service: FakeService, emitter: PusherEmitter) -> None:
    cerebro = engine(feed(), strategy=None)
    cerebro.addstrategy(Page, emitter=emitter)
    attach(cerebro, {}, live="always")
    cerebro.run()
    assert emitter.flush()
    assert names(service).count("trading-signal") == 30


def test_opening_a_position_by_a_fill_makes_one_event_on_the_page(service: FakeService) -> None:
    """Through a channel of a manager: order, trade and position are one action."""
    steps = {
        3: lambda s: s.buy(size=10),
        8: lambda s: s.close(),
        12: lambda s: s.sell(size=5),
        16: lambda s: s.buy(size=9),
        20: lambda s: s.close(),
    }
    cerebro = engine(feed(), steps=steps)
    block = {
        "enabled": True,
        "app_id": "3",
        "key": APP[1],
        "secret": APP[2],
        "executor_id": "7",
        "api_url": service.url,
    }
    manager = attach(cerebro, {"alerts": {"pusher": block}}, mode="send", store="memory")
    cerebro.run()
    assert manager.flush(10)
    manager.close()
    found = sorted(sent(service), key=lambda event: event[1]["timestamp"])
    told = [(name, data["ticket"], data["type"], data["volume"]) for name, data in found if name.startswith("position")]
    opened = [(ticket, side, volume) for name, ticket, side, volume in told if name == "position-opened"]
    closed = [(ticket, side, volume) for name, ticket, side, volume in told if name == "position-closed"]
    assert [(side, volume) for _, side, volume in opened] == [("BUY", 10.0), ("SELL", 5.0), ("BUY", 4.0)]
    assert closed == opened
    assert len({ticket for ticket, *_ in opened}) == 3
    assert [name for name, _ in found if name == "alert"] == []


def test_queues_of_emitters_that_are_gone_are_gone() -> None:
    queue = LiveQueue()
    known = weakref.ref(queue)
    assert queue in pusher_queue._queues
    del queue
    gc.collect()
    assert known() is None
