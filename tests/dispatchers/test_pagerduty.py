"""PagerDuty: the events that leave the program, which of them belong together, and what each answer means."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bt_alerts.alert import Alert, AlertType, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt
from bt_alerts.dispatchers.pagerduty import MAX_EVENT, MAX_SUMMARY, PagerDutyDispatcher
from bt_alerts.render.look import Look
from bt_alerts.testing import FakeService, HttpDispatcherContract, Received

KEY = "e93facc04764012d7bfb002500d5d1a6"
OTHER = "0123456789abcdef0123456789abcdef"
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
TOOK = {"status": "success", "message": "Event processed", "dedup_key": "samplekeyhere"}
FEED = {"type": "data", "thread": "feed:EURUSD", "symbol": "EURUSD"}


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(202, lambda request: {**TOOK, "dedup_key": request.json()["dedup_key"]})


def pagerduty(api: FakeService, **options: Any) -> PagerDutyDispatcher:
    return PagerDutyDispatcher(**{"routing_key": KEY, "api_url": api.url, "source": "host", **options})


def deliver(dispatcher: PagerDutyDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def event(api: FakeService, alert: Alert, **options: Any) -> dict[str, Any]:
    """The event that an alert becomes."""
    deliver(pagerduty(api, **options), alert)
    found: dict[str, Any] = api.requests[-1].json()
    return found


def failure(dispatcher: PagerDutyDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_an_alert_triggers_an_event_with_the_fields_of_the_api(api: FakeService) -> None:
    alert = Alert.make(
        "no bars for 10 minutes",
        title="EURUSD: disconnected",
        kind="data.disconnected",
        priority="high",
        strategy="Cross",
        time=NOW,
        data={"status": "DISCONNECTED", "n": 3},
        **FEED,
    )
    receipt = deliver(pagerduty(api, client_url="https://desk.example/"), alert)
    sent = api.requests[0]
    assert (sent.method, sent.path, sent.headers["content-type"]) == ("POST", "/v2/enqueue", "application/json")
    body = sent.json()
    key = body.pop("dedup_key")
    assert body == {
        "routing_key": KEY,
        "event_action": "trigger",
        "payload": {
            "summary": "EURUSD: disconnected",
            "source": "host",
            "severity": "error",
            "timestamp": "2026-05-20T12:00:00+00:00",
            "component": "EURUSD",
            "group": "Cross",
            "class": "data.disconnected",
            "custom_details": {
                "message": "no bars for 10 minutes",
                "Symbol": "EURUSD",
                "Strategy": "Cross",
                "Time": "2026-05-20 12:00 UTC",
                "Alert": alert.id,
                "data": {"status": "DISCONNECTED", "n": 3},
            },
        },
        "client": "bt_alerts",
        "client_url": "https://desk.example/",
    }
    assert (receipt.id, receipt.note, receipt.facts) == (key, "", {"event_action": "trigger"})
    assert len(key) <= 255


def test_each_priority_has_its_severity(api: FakeService) -> None:
    found = {p.value: event(api, Alert.make("x", priority=p))["payload"]["severity"] for p in Priority}
    assert found == {"critical": "critical", "high": "error", "medium": "warning", "low": "info", "info": "info"}


def test_the_machine_is_the_source_unless_another_is_named(api: FakeService) -> None:
    payload = event(api, Alert.make("x", symbol="EURUSD"), source=None, component="desk 3")["payload"]
    assert (payload["source"], payload["component"]) == (socket.gethostname(), "desk 3")


def test_a_long_title_is_shortened_between_characters(api: FakeService) -> None:
    dispatcher = pagerduty(api)
    dispatcher.look = Look(own={"all": {"title": "{{ title }} " * 10}})
    deliver(dispatcher, Alert.make("x", title="👨‍👩‍👧" * 80))
    summary = api.requests[0].json()["payload"]["summary"]
    assert MAX_SUMMARY - 8 < len(summary) <= MAX_SUMMARY
    assert summary.removesuffix("…").replace("👨‍👩‍👧", "").strip() == ""


def test_what_is_too_large_goes_without_its_data(api: FakeService) -> None:
    alert = Alert.make("m" * 30_000, data={f"k{n}": "é" * 8_000 for n in range(60)})
    receipt = deliver(pagerduty(api), alert)
    assert receipt.note == "sent without its data: PagerDuty takes 512 KB"
    assert len(api.requests[0].body) < MAX_EVENT
    details = api.requests[0].json()["payload"]["custom_details"]
    assert (details["message"], details["data"]) == ("m" * 30_000, {})


def test_files_stay_and_the_receipt_says_so(api: FakeService, tmp_path: Path) -> None:
    file = tmp_path / "chart.png"
    file.write_bytes(b"png")
    receipt = deliver(pagerduty(api), Alert.make("x", attachments=[Attachment.from_path(file)]))
    assert receipt.note == "sent without its files: PagerDuty takes none"


def test_only_links_and_pictures_over_https_go(api: FakeService) -> None:
    own = {
        "links": [{"href": "https://a.example", "text": "A"}, {"href": "http://b.example"}, "https://c.example", {}],
        "images": [{"src": "HTTPS://a.example/x.png"}, {"src": "file:///etc/passwd"}],
    }
    body = event(api, Alert.make("x", data={"pagerduty": own, "n": 1}))
    assert body["links"] == [{"href": "https://a.example", "text": "A"}]
    assert body["images"] == [{"src": "HTTPS://a.example/x.png"}]
    assert body["payload"]["custom_details"]["data"] == {"n": 1}


def test_a_template_that_fails_is_told_in_the_receipt(api: FakeService) -> None:
    dispatcher = pagerduty(api)
    dispatcher.look = Look(own={"all": {"title": "{{ nonsense }}"}})
    receipt = deliver(dispatcher)
    assert receipt.note.startswith("the built-in title was used")
    assert b"Title" in api.requests[0].body


def test_amounts_are_hidden_where_the_channel_says_so(api: FakeService) -> None:
    dispatcher = pagerduty(api)
    dispatcher.look = Look(privacy="hide_amounts")
    deliver(dispatcher, Alert.make("Value 12,345.60", data={"value": 12345.6}, time=NOW).replace(id="x"))
    details = api.requests[0].json()["payload"]["custom_details"]
    assert (details["message"], details["data"]) == ("Value •••", {"Value": "•••"})
    assert "345" not in json.dumps(details)


# ------------------------------------------------------------------------------- which belong together


def test_a_feed_that_is_live_resolves_what_its_loss_triggered(api: FakeService) -> None:
    lost = event(api, Alert.make("gone", kind="data.disconnected", **FEED))
    other = event(api, Alert.make("gone", kind="data.disconnected", **{**FEED, "thread": "feed:GBPUSD"}))
    live = event(api, Alert.make("back", kind="data.live", **FEED))
    assert (lost["event_action"], live["event_action"]) == ("trigger", "resolve")
    assert lost["dedup_key"] == live["dedup_key"] != other["dedup_key"]
    assert set(live) == {"routing_key", "event_action", "dedup_key"}


def test_a_feed_that_is_back_on_one_machine_resolves_nothing_of_another(api: FakeService) -> None:
    lost = event(api, Alert.make("gone", kind="data.disconnected", **FEED))
    live = event(api, Alert.make("back", kind="data.live", **FEED), source="another host")
    assert lost["dedup_key"] != live["dedup_key"]


def test_a_feed_that_is_live_without_a_thread_is_an_event_of_its_own(api: FakeService) -> None:
    body = event(api, Alert.make("back", type="data", kind="data.live"))
    assert (body["event_action"], body["dedup_key"]) == ("trigger", "msg_1")


@pytest.mark.parametrize("type_", [AlertType.ORDER, AlertType.TRADE, AlertType.POSITION, AlertType.SIGNAL])
def test_orders_and_the_like_are_each_an_event_of_their_own(api: FakeService, type_: AlertType) -> None:
    assert event(api, Alert.make("x", type=type_, thread="Cross:EURUSD:0"))["dedup_key"] == "msg_1"


@pytest.mark.parametrize("action", ["acknowledge", "resolve", "Resolve"])
def test_an_alert_can_acknowledge_and_resolve(api: FakeService, action: str) -> None:
    risk = {"type": "risk", "thread": "drawdown"}
    triggered = event(api, Alert.make("10 %", **risk))
    body = event(api, Alert.make("over", data={"pagerduty": {"event_action": action}}, **risk))
    assert (body["event_action"], body["dedup_key"]) == (action.lower(), triggered["dedup_key"])
    own = {"event_action": action, "dedup_key": "mine"}
    body = event(api, Alert.make("over", type="order", data={"pagerduty": own}))
    assert (body["event_action"], body["dedup_key"]) == (action.lower(), "mine")


def test_a_long_key_is_made_short_and_stays_the_same(api: FakeService) -> None:
    keys = [
        event(api, Alert.make("x", data={"pagerduty": {"dedup_key": "k" * n}}))["dedup_key"] for n in (255, 256, 256)
    ]
    assert keys[0] == "k" * 255
    assert keys[1] == keys[2]
    assert len(keys[1]) == 64


def test_what_would_resolve_nothing_is_refused_before_it_is_sent(api: FakeService) -> None:
    with pytest.raises(DeliveryFailed, match="nothing tells which event to resolve") as caught:
        deliver(pagerduty(api), Alert.make("x", data={"pagerduty": {"event_action": "resolve"}}))
    assert caught.value.failure is Failure.PERMANENT
    assert api.requests == []


def test_an_action_that_is_none_triggers(api: FakeService) -> None:
    assert event(api, Alert.make("x", data={"pagerduty": {"event_action": "close"}}))["event_action"] == "trigger"


def test_every_attempt_of_a_delivery_has_one_key(api: FakeService) -> None:
    alert = Alert.make("x")
    for attempt in (1, 2, 3):
        deliver(pagerduty(api), alert, attempt=attempt)
    assert {request.json()["dedup_key"] for request in api.requests} == {"msg_1"}
    assert PagerDutyDispatcher.repeat_unknown is True


# -------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"routing_key": "s3cr3t-too-short"}, "routing_key number 1 must have 32 letters and digits, and has 16"),
        ({"routing_key": [KEY, KEY + "s3cr3t"]}, "routing_key number 2 must have 32"),
        ({"routing_key": "s3cr3t with a space, 32 long..."}, "routing_key number 1"),
        ({"client_url": "http://s.example"}, "client_url must begin with https://"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        PagerDutyDispatcher(**{"routing_key": KEY, **options})
    assert "s3cr3t" not in str(caught.value)


def test_a_check_asks_nothing_and_says_so(api: FakeService) -> None:
    dispatcher = pagerduty(api)
    assert "shows with the first event only" in dispatcher.check(dispatcher.targets()[0]).note
    assert api.requests == []


# --------------------------------------------------------------------------------------------- answers


def refused(*errors: str) -> dict[str, Any]:
    return {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}


def test_a_refusal_quotes_pagerduty(service: FakeService) -> None:
    service.answer(400, refused("'payload.severity' is invalid", "x"))
    failed = failure(pagerduty(service))
    assert failed.failure is Failure.PERMANENT
    assert "refused the event: 'payload.severity' is invalid, x" in failed.reason


@pytest.mark.parametrize(
    "said", ["Length of 'routing_key' is incorrect (should be 32 characters)", "Invalid routing key"]
)
def test_a_wrong_key_stops_the_channel_and_of_several_only_its_own_target(service: FakeService, said: str) -> None:
    service.answer(400, refused(said))
    failed = failure(pagerduty(service))
    assert (failed.failure, failed.dead_target) == (Failure.AUTH, False)
    assert said in failed.reason
    failed = failure(pagerduty(service, routing_key=f"{KEY}, {OTHER}"))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)


@pytest.mark.parametrize("body", [{}, {"errors": "no"}, {"errors": None, "message": "no"}, "no", [1]])
def test_a_refusal_in_another_form_is_permanent_too(service: FakeService, body: Any) -> None:
    service.answer(400, body)
    assert failure(pagerduty(service)).failure is Failure.PERMANENT


# ---------------------------------------------------------------------------------------- the contract


class TestPagerDutyContract(HttpDispatcherContract):
    answer_status = 202
    answer = TOOK
    many_targets = True

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> PagerDutyDispatcher:
        return PagerDutyDispatcher(addresses or self.address(0), api_url=url, **settings)

    def address(self, number: int) -> str:
        return self.secret(f"key {number}", length=32)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        found = [request.json()["payload"] for request in requests]
        return [f"{payload['summary']}\n{payload['custom_details']['message']}" for payload in found]

    def refusal(self, status: int) -> Any:
        return refused("'payload' is not right")

    def assert_markup(self, request: Received) -> None:
        assert len(request.json()["payload"]["summary"]) <= MAX_SUMMARY
        assert len(request.body) <= 512 * 1024
