"""ntfy: what leaves the program, and what each of the service's answers means."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.ntfy import NtfyDispatcher
from bt_alerts.render.look import Look
from bt_alerts.testing import FakeService

TOPIC, TOKEN = "trading-8hX2kq", "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
TOOK = {"id": "hwQ2YpKdmg", "time": 1_777_593_600, "event": "message", "topic": TOPIC}
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(200, TOOK)


def ntfy(api: FakeService, topics: Any = TOPIC, **options: Any) -> NtfyDispatcher:
    return NtfyDispatcher(topics, api_url=f"{api.url}/", **options)


def deliver(dispatcher: NtfyDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title", time=NOW)
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(**{"key": "msg_1", "now": NOW, **context}))


def failure(dispatcher: NtfyDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_it_publishes_json_to_the_server(api: FakeService) -> None:
    alert = Alert.make("Price: 150\nSize: 10", title="BUY *AAPL*", time=NOW, strategy="SmaCross", priority="high")
    receipt = deliver(ntfy(api, token=TOKEN, click="https://x.example/"), alert)
    sent = api.requests[0]
    assert (sent.method, sent.path, sent.query) == ("POST", "/", {})
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.json() == {
        "topic": TOPIC,
        "title": "BUY *AAPL*",
        "message": "Price: 150\nSize: 10\n2026-05-20 12:00 UTC · SmaCross",
        "priority": 4,
        "tags": ["orange_circle"],
        "click": "https://x.example/",
    }
    assert (receipt.id, receipt.note) == ("hwQ2YpKdmg", "")


def test_each_priority_has_its_level_and_its_emoji(api: FakeService) -> None:
    for silent in (False, True):
        for priority in Priority:
            deliver(ntfy(api), Alert.make("x", priority=priority), silent=silent)
    sent = [request.json() for request in api.requests]
    assert [each["priority"] for each in sent] == [5, 4, 3, 2, 1, 2, 2, 2, 2, 1]
    emoji = ["red_circle", "orange_circle", "yellow_circle", "green_circle", "information_source"]
    assert [each["tags"] for each in sent] == [[name] for name in emoji * 2]


def test_a_user_and_a_password_are_sent_where_there_is_no_token(api: FakeService) -> None:
    deliver(ntfy(api, username="trader", password="pässword"))
    kind, _, pair = api.requests[0].headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", "trader:pässword")
    deliver(ntfy(api))
    assert "authorization" not in api.requests[1].headers


def test_a_template_that_fails_is_noted_and_the_alert_goes(api: FakeService) -> None:
    dispatcher = ntfy(api)
    dispatcher.look = Look({"all": {"title": "{{ titel }}"}})
    receipt = deliver(dispatcher)
    assert receipt.note.startswith("the built-in title was used")
    assert b"Title" in api.requests[0].body


def test_a_late_message_says_how_late(api: FakeService) -> None:
    deliver(ntfy(api), late=dt.timedelta(minutes=11))
    assert api.requests[0].json()["message"] == "⏱ 11 min late\nhello\n2026-05-20 12:00 UTC"


def test_files_are_left_out_and_the_receipt_says_so(api: FakeService, tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(b"\x89PNG")
    receipt = deliver(ntfy(api), Alert.make("x", attachments=[Attachment.from_path(tmp_path / "chart.png")]))
    assert receipt.note == "sent without its files: this channel takes text only"


#: Letters, and what takes more bytes in UTF-8 or in JSON than it has characters.
PIECES = ["a", " ", "\n", '"', "\\", "é", "€", "🚀", "👨‍👩‍👧‍👦", "\x01", "\x7f"]


@settings(max_examples=40)
@example(piece='"', size=4096, title="a")
@example(piece="🚀", size=32_768, title="🚀")
@given(
    piece=st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    size=st.integers(1, 32_768) | st.integers(800, 4200),
    title=st.sampled_from(PIECES),
)
def test_the_largest_alerts_obey_both_limits(piece: str, size: int, title: str) -> None:
    alert = Alert.make((piece * size)[:size], title=title * 500)
    dispatcher = NtfyDispatcher(TOPIC)
    (request,) = dispatcher.preview(alert, dispatcher.targets()[0], Context(key="k"))
    with FakeService() as service:
        service.answer(200, TOOK)
        deliver(ntfy(service), alert)
    sent = service.requests[0]
    assert len(sent.body) <= 2 * 4096  # beyond it: 41303
    message = sent.json()["message"]
    assert 1 <= len(message.encode()) <= 4096  # beyond it ntfy makes a file of it
    if len(alert.message.encode()) * 6 <= 4000:
        assert message.startswith(alert.message.strip())
    assert request.line.startswith("POST https://ntfy.sh/")


# ---------------------------------------------------------------------------------------- answers


def error(code: int, text: str) -> dict[str, Any]:
    return {"code": code, "http": code // 100, "error": text, "link": "https://ntfy.sh/docs"}


@pytest.mark.parametrize(
    ("code", "meaning", "words"),
    [
        (40009, Failure.PERMANENT, "topic invalid"),
        (40101, Failure.AUTH, "look at token, or username and password"),
        (40301, Failure.AUTH, "look at its access rights"),
        (40401, Failure.PERMANENT, "does not know this address"),
        (41303, Failure.TOO_LARGE, "too large"),
        (42901, Failure.RETRY, "too many"),
        (42905, Failure.RETRY, "too many"),
        (50001, Failure.RETRY, "in trouble"),
        (50701, Failure.RETRY, "in trouble"),
    ],
)
def test_an_answer_means_what_its_code_says(service: FakeService, code: int, meaning: Failure, words: str) -> None:
    service.answer(code // 100, error(code, "topic invalid"))
    failed = failure(ntfy(service))
    assert (failed.failure, failed.dead_target) == (meaning, False)
    assert words in failed.reason


def until_midnight(now: dt.datetime) -> float:
    tomorrow = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
    return (tomorrow - now).total_seconds()


def test_a_used_up_day_waits_for_midnight_utc(service: FakeService) -> None:
    service.answer(429, error(42908, "limit reached: daily message quota reached"))
    before = dt.datetime.now(dt.UTC)
    failed = failure(ntfy(service))
    after = dt.datetime.now(dt.UTC)
    assert failed.failure is Failure.RETRY_AFTER
    wait = pytest.approx(failed.retry_after, abs=1 + (after - before).total_seconds())
    assert wait in [until_midnight(before), until_midnight(after)]  # there may be one between them
    assert "until midnight UTC" in failed.reason


def test_a_closed_topic_of_several_ends_only_its_own_target(service: FakeService) -> None:
    service.answer(403, error(40301, "forbidden")).answer(401, error(40101, "unauthorized"))
    dispatcher = ntfy(service, [TOPIC, "other-topic"], token=TOKEN)
    failed = failure(dispatcher)
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)
    assert failure(dispatcher).failure is Failure.AUTH, "a wrong token is wrong for every topic"


def test_a_200_that_is_not_ntfy_s_leaves_the_outcome_unknown(service: FakeService) -> None:
    service.answer(200, "<html>Please log in</html>")
    assert failure(ntfy(service)).failure is Failure.UNKNOWN


@pytest.mark.parametrize(
    ("options", "path"),
    [({"token": TOKEN}, f"/{TOPIC}/auth"), ({"username": "u"}, f"/{TOPIC}/auth"), ({}, "/v1/health")],
)
def test_a_check_sends_nothing(service: FakeService, options: dict[str, Any], path: str) -> None:
    service.answer(200, {"success": True, "healthy": True})
    dispatcher = ntfy(service, **options)
    assert dispatcher.test_connection()
    assert (service.requests[0].method, service.requests[0].path) == ("GET", path)
    assert ("authorization" in service.requests[0].headers) is bool(options)
    service.answer(403, error(40301, "forbidden"))
    assert not dispatcher.test_connection()


# ---------------------------------------------------------------------------------------- settings and secrets


def test_a_topic_is_a_secret(service: FakeService) -> None:
    service.answer(400, error(40009, f"topic {TOPIC} and {TOKEN} invalid"))
    dispatcher = ntfy(service, token=TOKEN)
    assert [target.label for target in dispatcher.targets()] == ["topic tra…"]
    shown = failure(dispatcher).reason + repr(dispatcher)
    assert TOPIC not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("topic", ["two words", "https://ntfy.sh/alerts", "t" * 65, "ä1", "a/b"])
def test_what_is_no_topic_is_refused_and_not_shown(topic: str) -> None:
    with pytest.raises(ValueError, match=r"^topics must be names of 1 to 64 letters") as caught:
        NtfyDispatcher([TOPIC, topic])
    assert topic not in str(caught.value)


def test_several_topics_are_targets_of_their_own(api: FakeService) -> None:
    dispatcher = ntfy(api, "one-topic, two_topic ,one-topic,")
    assert dispatcher.send_custom_alert("x")
    assert [request.json()["topic"] for request in api.requests] == ["one-topic", "two_topic"]


def test_without_topics_it_says_what_to_set() -> None:
    assert NtfyDispatcher().missing() == "set topics (NTFY_TOPICS) to send to ntfy"


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(NtfyDispatcher)}
    assert list(known)[:5] == ["topics", "api_url", "token", "username", "password"]
    secret = {name: argument.env for name, argument in known.items() if argument.credential}
    assert secret == {"topics": "NTFY_TOPICS", "token": "NTFY_TOKEN", "password": ""}
    assert {"enabled", "timeout", "ca_file", "rate_limit"} <= set(known)
    assert all(argument.about for argument in known.values())
