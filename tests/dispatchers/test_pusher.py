"""Pusher Channels: the events that leave the program, how they are signed, and what each answer means."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pusher as sdk
import pytest

from bt_alerts import compose
from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt
from bt_alerts.dispatchers.http import Answer
from bt_alerts.dispatchers.pusher import PusherDispatcher
from bt_alerts.dispatchers.pusher import api as pusher_api
from bt_alerts.dispatchers.pusher.api import MAX_DATA, Event, TooLarge
from bt_alerts.dispatchers.pusher.events import FIELDS, close_reason, shaped, strategy_id
from bt_alerts.render.look import Look
from bt_alerts.settings import load
from bt_alerts.testing import FakeService, HttpDispatcherContract, Received

APP, KEY, SECRET = "3", "278d425bdf160c739803", "7ad3773142a6692b25b8"
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
EURUSD: dict[str, Any] = {"symbol": "EURUSD", "strategy": "Cross", "time": NOW}


def pusher(service: FakeService, **options: Any) -> PusherDispatcher:
    return PusherDispatcher(**{"app_id": APP, "key": KEY, "secret": SECRET, "api_url": service.url, **options})


def deliver(dispatcher: PusherDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def failure(dispatcher: PusherDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


def events(request: Received) -> list[tuple[str, str, dict[str, Any]]]:
    """Channel, name and data of each event of a request."""
    body = request.json()
    sent = body.get("batch") or [{**body, "channel": body["channels"][0]}]
    return [(event["channel"], event["name"], json.loads(event["data"])) for event in sent]


def told(service: FakeService, alert: Alert, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events that an alert becomes."""
    deliver(pusher(service, **options), alert)
    return [(name, data) for _, name, data in events(service.requests[-1])]


# ------------------------------------------------------------------------------------------ the request


def by_their_library(call: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, now: float) -> Any:
    """The request that the service's own Python library makes, signed at ``now``."""
    monkeypatch.setattr("pusher.http.time.time", lambda: now)
    client = sdk.pusher_client.PusherClient(APP, KEY, SECRET, cluster="eu", backend=lambda client: None)
    return call(client)


def assert_the_same(ours: Received, theirs: Any) -> None:
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.body == theirs.body
    assert ours.query == {name: values[0] for name, values in parse_qs(urlsplit(theirs.url).query).items()}
    assert set(theirs.headers) - {"X-Pusher-Library"} == {"Content-Type"} & set(theirs.headers)
    if ours.body:
        assert ours.headers["content-type"] == theirs.headers["Content-Type"]


@pytest.mark.parametrize(
    "text", ["plain", 'quotes " and \\', "Umlaute äöü €", "🚀 emoji", "</script>", "a=b&c=d", "\u2028", "\x07"]
)
def test_one_event_is_the_request_of_their_library(
    service: FakeService, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher(service, executor_id="7").trigger([Event("alert", {"message": text})], NOW.timestamp())
    data = json.dumps({"message": text}, ensure_ascii=False, separators=(",", ":"))
    call = lambda client: client.trigger.make_request("executor-7", "alert", data)  # noqa: E731
    assert_the_same(service.requests[0], by_their_library(call, monkeypatch, NOW.timestamp()))


def test_several_events_are_the_batch_of_their_library(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    pusher(service).trigger([Event(f"e{n}", {"n": n, "text": "é"}) for n in range(10)], NOW.timestamp())
    batch = [{"channel": "executor-default", "name": f"e{n}", "data": f'{{"n":{n},"text":"é"}}'} for n in range(10)]
    theirs = by_their_library(
        lambda client: client.trigger_batch.make_request(batch, already_encoded=True), monkeypatch, NOW.timestamp()
    )
    assert theirs.path == "/apps/3/batch_events"
    assert_the_same(service.requests[0], theirs)


def test_a_check_is_the_request_of_their_library(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = pusher(service, executor_id="a,b=c@d;e.f_g-h")
    dispatcher.check(dispatcher.targets()[0])
    ours = service.requests[0]
    call = lambda client: client.channels_info.make_request("executor-a,b=c@d;e.f_g-h")  # noqa: E731
    theirs = by_their_library(call, monkeypatch, float(ours.query["auth_timestamp"]))
    assert (ours.method, ours.path) == ("GET", "/apps/3/channels")
    # Their library leaves a "=" of a value as it is on the wire; ours is what a server reads back as the same.
    assert ours.query == theirs.query_params


def test_the_time_of_the_attempt_is_signed(service: FakeService) -> None:
    dispatcher = pusher(service)
    deliver(dispatcher)
    deliver(dispatcher, now=NOW + dt.timedelta(hours=1))
    assert [request.query["auth_timestamp"] for request in service.requests] == ["1779278400", "1779282000"]


def test_a_path_of_a_proxy_is_not_signed(service: FakeService) -> None:
    deliver(pusher(service), alert := Alert.make("x"))
    deliver(pusher(service, api_url=f"{service.url}/proxy/"), alert)
    direct, proxied = service.requests
    assert (direct.path, proxied.path) == ("/apps/3/events", "/proxy/apps/3/events")
    assert direct.query == proxied.query


def test_the_address_is_that_of_the_cluster() -> None:
    assert PusherDispatcher(APP, KEY, SECRET, "ap2").api_url == "https://api-ap2.pusher.com"


@pytest.mark.parametrize(
    ("options", "channel"),
    [
        ({}, "executor-default"),
        ({"executor_id": "42"}, "executor-42"),
        ({"executor_id": ""}, "executor-default"),
        ({"executor_id": "42", "channel": "private-desk"}, "private-desk"),
    ],
)
def test_events_go_to_the_channel_of_the_executor(service: FakeService, options: dict[str, str], channel: str) -> None:
    dispatcher = pusher(service, **options)
    deliver(dispatcher)
    assert events(service.requests[0])[0][0] == channel
    assert dispatcher.targets()[0].label == f"channel {channel}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executor_id": "a b"}, "executor_id must have letters, digits"),
        ({"executor_id": "x" * 156}, "executor_id must have .* at most 164"),
        ({"channel": "über"}, "channel must have letters, digits"),
        ({"channel": "private-encrypted-x"}, "channel must not begin with private-encrypted-"),
        ({"app_id": "3/../4"}, "app_id must have digits only"),
        ({"cluster": "eu.evil.example/"}, "cluster must have letters"),
        ({"key": "a key"}, "key must have letters and digits only"),
        ({"secret": "s3cr3t\u00e9"}, "secret must have letters and digits only"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        PusherDispatcher(**{"app_id": APP, "key": KEY, "secret": SECRET, "cluster": "eu", **options})
    assert "s3cr3t" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    assert PusherDispatcher(APP, KEY).missing() == (
        "set secret (WE_V2_PUSHER_SECRET) and cluster (WE_V2_PUSHER_CLUSTER) to send through Pusher"
    )
    assert PusherDispatcher(APP, KEY, SECRET, api_url="http://127.0.0.1:9").missing() == ""


def test_the_environment_alone_makes_the_channel() -> None:
    environ = {
        "PUSHER_NOTIFICATIONS_ENABLED": "true",
        "WE_V2_PUSHER_APP_ID": APP,
        "WE_V2_PUSHER_KEY": KEY,
        "WE_V2_PUSHER_SECRET": SECRET,
        "WE_V2_PUSHER_CLUSTER": "eu",
        "WE_V2_EXECUTOR_ID": "7",
    }
    dispatcher = load(environ=environ).channels["pusher"].build()
    assert (dispatcher.missing(), dispatcher.targets()[0].label) == ("", "channel executor-7")


# ------------------------------------------------------------------------------------------- the events


def test_every_promised_event_has_its_fields_in_their_case() -> None:
    promised = {
        "trading-signal": "id timestamp symbol type entryPrice stopLoss takeProfit confidence strategy timeframe "
        "indicators status reason",
        "signal-status-update": "id status reason timestamp",
        "position-opened": "ticket symbol type volume entry_price stop_loss take_profit strategy timestamp",
        "position-closed": "ticket symbol type volume entry_price exit_price profit duration_seconds close_reason "
        "timestamp",
        "strategy-status": "strategyId strategyName status reason timestamp",
        "account-update": "balance equity margin margin_level profit timestamp",
        "error": "type message context timestamp",
    }
    for name, fields in promised.items():
        assert list(shaped(name, {})) == list(FIELDS[name]) == fields.split()


def test_a_signal_of_a_strategy_is_a_trading_signal(service: FakeService) -> None:
    alert = Alert.make(
        "Price 1.0871",
        type="signal",
        kind="signal",
        data={
            "action": "BUY",
            "price": 1.0871,
            "conditions": ["fast above slow", "volume rises"],
            "stop_loss": 1.08,
            "take_profit": 1.1,
            "confidence": 80,
            "indicators": {"rsi": 31.5},
            "timeframe": "H1",
        },
        **EURUSD,
    )
    assert told(service, alert) == [
        (
            "trading-signal",
            {
                "id": alert.id,
                "timestamp": "2026-05-20T12:00:00+00:00",
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
                "reason": "fast above slow; volume rises",
            },
        )
    ]
    assert uuid.UUID(alert.id)


@pytest.mark.parametrize(
    ("alert", "side", "reason"),
    [
        (compose.signal("Cross", "buy", "EURUSD", ["RSI below 30"]), "BUY", "RSI below 30"),
        (compose.signal("Cross", "SHORT", "EURUSD", {"RSI": 71}), "SELL", "RSI: 71"),
        (compose.signal("Cross", "LONG", "EURUSD"), "BUY", ""),
        (compose.trade_call("SELL", "EURUSD", 1.0871, 1000), "SELL", ""),
    ],
)
def test_direct_signals_and_trades_are_trading_signals(
    service: FakeService, alert: Alert, side: str, reason: str
) -> None:
    ((name, data),) = told(service, alert)
    assert (name, data["type"], data["reason"], data["symbol"]) == ("trading-signal", side, reason, "EURUSD")


def test_what_is_neither_buy_nor_sell_is_no_trading_signal(service: FakeService) -> None:
    assert [name for name, _ in told(service, compose.signal("Cross", "CLOSE", "EURUSD"))] == ["alert"]


@pytest.mark.parametrize("status", ["executed", "rejected", "expired", "cancelled"])
def test_what_became_of_a_signal_is_a_status_update(service: FakeService, status: str) -> None:
    data = {"signal_id": "0198", "status": status, "reason": "the order that followed"}
    alert = Alert.make("x", type="signal", kind=f"signal.{status}", data=data, **EURUSD)
    expected = {"id": "0198", "status": status, "reason": "the order that followed", "timestamp": NOW.isoformat()}
    assert told(service, alert) == [("signal-status-update", expected)]


ENTRY = {
    "order": 5, "side": "buy", "size": 10.0, "order_type": "market", "status": "completed", "filled": 10.0,
    "fill_size": 10.0, "fill_price": 100.5, "value": 1005.0, "commission": 1.0, "position_size": 10.0,
    "position_price": 100.5,
}  # fmt: skip
EXIT = {
    "order": 8, "side": "sell", "size": 10.0, "order_type": "stop", "status": "completed", "filled": 10.0,
    "fill_size": 10.0, "fill_price": 95.0, "value": 950.0, "commission": 1.0, "close_reason": "stop", "pnl": -55.0,
    "pnlcomm": -57.0, "trade_commission": 2.0, "entry_price": 100.5, "exit_price": 95.0, "duration_seconds": 3600,
}  # fmt: skip


def alert_of(kind: str, data: dict[str, Any], thread: str = "Cross:EURUSD:0:2026-05-20T11:00:00+00:00") -> Alert:
    return Alert.make("text", title=kind, type=kind.partition(".")[0], kind=kind, data=data, thread=thread, **EURUSD)


@pytest.mark.parametrize("kind", ["order.completed", "position.opened"])
def test_an_entry_opens_a_position(service: FakeService, kind: str) -> None:
    ((name, data),) = told(service, alert_of(kind, ENTRY))
    assert isinstance(data.pop("ticket"), int)
    assert (name, data) == (
        "position-opened",
        {
            "symbol": "EURUSD",
            "type": "BUY",
            "volume": 10.0,
            "entry_price": 100.5,
            "stop_loss": None,
            "take_profit": None,
            "strategy": "Cross",
            "timestamp": NOW.isoformat(),
        },
    )


@pytest.mark.parametrize("kind", ["trade.closed", "order.completed", "position.closed"])
def test_an_exit_closes_the_position_under_the_same_ticket(service: FakeService, kind: str) -> None:
    ((_, opened),) = told(service, alert_of("order.completed", ENTRY))
    ((name, data),) = told(service, alert_of(kind, {**EXIT, "direction": "long", "trade": 3}))
    assert (name, data) == (
        "position-closed",
        {
            "ticket": opened["ticket"],
            "symbol": "EURUSD",
            "type": "BUY",
            "volume": 10.0,
            "entry_price": 100.5,
            "exit_price": 95.0,
            "profit": -57.0,
            "duration_seconds": 3600,
            "close_reason": "SL",
            "timestamp": NOW.isoformat(),
        },
    )


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("stop", "SL"),
        ("target", "TP"),
        ("signal", "Manual"),
        ("manual", "Manual"),
        (None, "Manual"),
        ("SL", "SL"),
        ("take_profit", "TP"),
        ("PartialExit", "PartialExit"),
        ("partial_exit", "PartialExit"),
        ("Stop Out", "Manual"),
    ],
)
def test_why_a_position_was_closed_is_one_of_four_words(word: str | None, sent: str) -> None:
    assert close_reason(word) == sent


def test_a_part_that_is_closed_is_a_partial_exit(service: FakeService) -> None:
    part = {**EXIT, "fill_size": 4.0, "part_pnl": 20.0, "close_reason": "target", "position_size": 6.0}
    del part["pnlcomm"], part["pnl"], part["duration_seconds"]
    ((name, data),) = told(service, alert_of("order.completed", part))
    assert (name, data["close_reason"], data["volume"], data["profit"]) == ("position-closed", "PartialExit", 4.0, 20.0)


def test_a_reversal_closes_one_position_and_opens_another_in_one_request(service: FakeService) -> None:
    data = {**EXIT, "close_reason": "signal", "fill_size": 15.0, "position_size": -5.0, "position_price": 95.0}
    closed, opened = told(service, alert_of("trade.closed", data))
    assert (closed[0], closed[1]["volume"], closed[1]["type"]) == ("position-closed", 10.0, "BUY")
    assert (opened[0], opened[1]["volume"], opened[1]["type"]) == ("position-opened", 5.0, "SELL")
    assert closed[1]["ticket"] != opened[1]["ticket"]
    assert [request.path for request in service.requests] == ["/apps/3/batch_events"]


def test_an_entry_in_parts_opens_one_position_that_grows(service: FakeService) -> None:
    part = {**ENTRY, "status": "partial", "filled": 4.0, "fill_size": 4.0, "position_size": 4.0}
    ((first, some),) = told(service, alert_of("order.partial", part))
    ((second, all_),) = told(service, alert_of("order.completed", {**ENTRY, "fill_size": 6.0}))
    assert (first, second) == ("position-opened", "position-opened")
    assert (some["volume"], all_["volume"]) == (4.0, 10.0)
    assert some["ticket"] == all_["ticket"]


def test_what_adds_to_a_position_opens_none(service: FakeService) -> None:
    assert [name for name, _ in told(service, alert_of("order.completed", {**ENTRY, "position_size": 30.0}))] == [
        "alert"
    ]


def test_the_broker_s_own_ticket_is_used_where_it_is_known(service: FakeService) -> None:
    ((_, data),) = told(service, alert_of("order.completed", {**ENTRY, "ticket": 123456}))
    assert data["ticket"] == 123456
    ((_, data),) = told(service, alert_of("order.completed", ENTRY, thread=""))
    assert data["ticket"] == 5


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [("strategy.started", "started", ""), ("strategy.stopped", "stopped", "KeyError"), ("interrupted", "stopped", "x")],
)
def test_a_strategy_s_start_and_end_are_its_status(service: FakeService, kind: str, status: str, reason: str) -> None:
    data = {"why": "KeyError"} if kind == "strategy.stopped" else {}
    ((name, sent),) = told(service, Alert.make("x", type="strategy", kind=kind, data=data, **EURUSD))
    assert (name, sent) == (
        "strategy-status",
        {
            "strategyId": str(uuid.uuid5(uuid.NAMESPACE_DNS, "Cross")),
            "strategyName": "Cross",
            "status": status,
            "reason": reason,
            "timestamp": NOW.isoformat(),
        },
    )


def test_the_id_of_a_strategy_is_the_same_everywhere() -> None:
    assert strategy_id("Cross") == "f0deee9d-83f6-59b9-a05c-9e179087de29"
    assert strategy_id("Cross") != strategy_id("cross")


def test_an_error_is_an_error(service: FakeService) -> None:
    ((name, data),) = told(service, compose.error("Feed", "no bars", {"feed": "EURUSD"}))
    assert (name, data["type"], data["message"], data["context"]) == (
        "error",
        "Feed",
        "no bars\nfeed: EURUSD",
        {"feed": "EURUSD"},
    )
    crash = {"exception": "KeyError", "what": "'x'", "traceback": "Traceback …"}
    ((name, data),) = told(service, Alert.make("boom", type="error", kind="error", data=crash, **EURUSD))
    assert (data["type"], data["context"]) == ("KeyError", {"strategy": "Cross", "symbol": "EURUSD"})


@pytest.mark.parametrize(
    "kind", ["order.rejected", "order.canceled", "order.submitted", "data.live", "custom", "my.own"]
)
def test_what_no_promised_event_tells_goes_as_an_alert(service: FakeService, kind: str) -> None:
    alert = Alert.make(
        "body", title="Title", type="custom", kind=kind, priority="high", data={"order": 5, "why": None}, **EURUSD
    )
    assert told(service, alert) == [
        (
            "alert",
            {
                "id": alert.id,
                "type": "custom",
                "kind": kind,
                "priority": "high",
                "title": "Title",
                "message": "body",
                "symbol": "EURUSD",
                "strategy": "Cross",
                "data": {"order": 5, "why": None},
                "timestamp": NOW.isoformat(),
            },
        )
    ]


def test_every_priority_goes_with_its_word(service: FakeService) -> None:
    sent = [told(service, Alert.make("x", priority=priority))[0][1]["priority"] for priority in Priority]
    assert sent == ["critical", "high", "medium", "low", "info"]


def test_a_template_that_fails_is_told_in_the_receipt(service: FakeService) -> None:
    dispatcher = pusher(service)
    dispatcher.look = Look(own={"all": {"title": "{{ nonsense }}"}})
    receipt = deliver(dispatcher)
    assert receipt.note.startswith("the built-in title was used")
    assert b"Title" in service.requests[0].body


def test_amounts_are_left_out_where_the_channel_hides_them(service: FakeService) -> None:
    dispatcher = pusher(service)
    dispatcher.look = Look(privacy="hide_amounts")
    deliver(dispatcher, alert_of("trade.closed", EXIT))
    deliver(dispatcher, Alert.make("Value 12,345.60", data={"value": 12345.6}))
    (_, _, closed), (_, _, plain) = events(service.requests[0])[0], events(service.requests[1])[0]
    assert (closed["profit"], closed["volume"], closed["exit_price"]) == (None, None, None)
    assert (closed["duration_seconds"], closed["close_reason"]) == (3600, "SL")
    assert (plain["message"], plain["data"]) == ("Value •••", {})


# ------------------------------------------------------------------------------------------------ size


@pytest.mark.parametrize("char", ["a", "é", "🚀", '"', "\\", "\x07", "€"])
def test_an_event_that_is_too_large_is_shortened_to_fit(service: FakeService, char: str) -> None:
    receipt = deliver(pusher(service), Alert.make(char * 30_000, title="Title"))
    data = service.requests[0].json()["data"]
    assert MAX_DATA - 30 <= len(data.encode()) <= MAX_DATA
    message = json.loads(data)["message"]
    assert message.endswith("…")
    assert set(message) <= {char, "…"}
    assert receipt.note == "shortened, because Pusher takes 10 KB an event"


def test_details_are_cut_before_the_message() -> None:
    data = {"message": "m" * 4000, "data": {f"key{n}": "v" * 100 for n in range(200)}}
    text, cut = pusher_api.encoded(Event("alert", data))
    sent = json.loads(text)
    assert cut
    assert sent["message"] == data["message"]
    kept = len(sent["data"]) - 1
    assert 40 < kept < 60
    assert sent["data"]["…"] == f"{200 - kept} more"


def test_an_event_of_exactly_the_limit_is_sent_whole() -> None:
    text, cut = pusher_api.encoded(Event("e", {"message": "a" * (MAX_DATA - 14)}))
    assert (len(text), cut) == (MAX_DATA, False)
    text, cut = pusher_api.encoded(Event("e", {"message": "a" * (MAX_DATA - 13)}))
    assert (len(text) <= MAX_DATA, cut) == (True, True)


def test_what_cannot_be_shortened_is_too_large(service: FakeService) -> None:
    event = Event("position-opened", {"symbol": "s" * 20_000})
    with pytest.raises(TooLarge, match="position-opened has 20,013 bytes"):
        pusher_api.encoded(event)
    with pytest.raises(DeliveryFailed) as caught:
        pusher(service).trigger([event], 0)
    assert caught.value.failure is Failure.TOO_LARGE
    assert service.requests == []


# --------------------------------------------------------------------------------------------- answers


def test_a_clock_that_is_off_is_said_and_tried_again(service: FakeService) -> None:
    service.answer(401, "Timestamp expired: Given timestamp (2026-05-20T12:00:00Z) not within 600s of server time")
    failed = failure(pusher(service))
    assert failed.failure is Failure.RETRY
    assert "refused the time of this machine's clock" in failed.reason
    assert "NTP" in failed.reason


@pytest.mark.parametrize(
    ("date", "kind"),
    [
        ("Wed, 20 May 2026 12:20:00 GMT", Failure.RETRY),
        ("Wed, 20 May 2026 11:49:50 GMT", Failure.RETRY),
        ("Wed, 20 May 2026 12:09:00 GMT", Failure.AUTH),
        ("soon", Failure.AUTH),
        ("", Failure.AUTH),
    ],
)
def test_a_clock_that_is_off_shows_in_the_date_of_the_answer_too(date: str, kind: Failure) -> None:
    answer = Answer(401, {"Date": date}, b"Unauthorized", complete=True, host="pusher", now=NOW)
    with pytest.raises(DeliveryFailed) as caught:
        pusher_api.raise_for_answer(answer)
    assert caught.value.failure is kind


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (401, "Invalid signature: you should have sent HmacSHA256Hex", Failure.AUTH, "check key .* and secret"),
        (401, "Unknown auth_key: x", Failure.AUTH, "check key"),
        (403, "App is disabled", Failure.AUTH, "the app is disabled"),
        (403, "Account is over its message quota", Failure.RETRY_AFTER, "quota is used up"),
        (413, "Daily message limit reached", Failure.RETRY_AFTER, "quota is used up"),
        (413, "The data content of this event exceeds the allowed maximum (10240 bytes)", Failure.TOO_LARGE, "large"),
        (404, "Not found", Failure.AUTH, "check app_id .* and cluster"),
        (400, "Bad channel name", Failure.PERMANENT, "Bad channel name"),
        (200, "<html>please log in</html>", Failure.UNKNOWN, "is there a proxy or a login page"),
    ],
)
def test_each_answer_has_its_class(service: FakeService, status: int, said: str, kind: Failure, words: str) -> None:
    service.answer(status, said)
    with pytest.raises(DeliveryFailed, match=words) as caught:
        deliver(pusher(service))
    assert caught.value.failure is kind
    assert caught.value.retry_after == (900.0 if kind is Failure.RETRY_AFTER else None)


def test_a_check_tells_whether_a_page_listens(service: FakeService) -> None:
    dispatcher = pusher(service)
    service.answer(200, {"channels": {"executor-default": {}}}).answer(200, {"channels": {}})
    target = dispatcher.targets()[0]
    assert dispatcher.check(target).note == "a page listens on executor-default"
    assert dispatcher.check(target).facts == {"listening": False}
    assert service.requests[0].query["filter_by_prefix"] == "executor-default"
    service.answer(401, "Unauthorized")
    assert dispatcher.test_connection() is False


# ---------------------------------------------------------------------------------------- the contract


class TestPusherContract(HttpDispatcherContract):
    failures = {404: Failure.AUTH}

    def make(self, url: str, **settings: Any) -> PusherDispatcher:
        return PusherDispatcher(APP, self.secret("key"), self.secret("secret"), "eu", api_url=url, **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        """An alert's two texts, or whatever another event says."""
        found = [data for request in requests for _, _, data in events(request)]
        return [
            f"{data['title']}\n{data['message']}" if "title" in data else "\n".join(map(str, data.values()))
            for data in found
        ]

    def assert_markup(self, request: Received) -> None:
        assert len(request.json()["data"].encode()) <= MAX_DATA
