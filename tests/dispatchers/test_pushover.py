"""Pushover: what leaves the program, and what each of the service's answers means."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, News, Receipt, arguments
from bt_alerts.dispatchers.pushover import MAX_PICTURE, SOUNDS, PushoverDispatcher
from bt_alerts.testing import FakeService

TOKEN = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
USER = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
GROUP = "gznej3rKEVAvPUxu9vvNnqpmZpokzF"
RECEIPT = "rLqVuqTRh62UzxtmqiaLzQmVcPgiCy"
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
TOOK = {"status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b"}


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(200, TOOK)


def pushover(api: FakeService, **options: Any) -> PushoverDispatcher:
    return PushoverDispatcher(**{"app_token": TOKEN, "user_key": USER, "api_url": api.url, **options})


def deliver(dispatcher: PushoverDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def failure(dispatcher: PushoverDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_it_sends_the_fields_of_the_api(api: FakeService) -> None:
    alert = Alert.make("Price: 150", title="BUY AAPL", time=dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    receipt = deliver(pushover(api, sound="magic", device=["phone", "desk"], ttl=600, url="https://x.example/"), alert)
    sent = api.requests[0]
    assert (sent.method, sent.path) == ("POST", "/1/messages.json")
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sent.form() == {
        "token": TOKEN,
        "user": USER,
        "message": "Price: 150",
        "title": "🟡 BUY AAPL",
        "priority": "0",
        "timestamp": "1777593600",
        "sound": "magic",
        "device": "phone,desk",
        "ttl": "600",
        "url": "https://x.example/",
    }
    assert receipt.id == TOOK["request"]


@pytest.mark.parametrize(
    ("setting", "levels"),
    [
        (-2, {"critical": 2, "high": 1, "medium": -2, "low": -2, "info": -2}),
        (-1, {"critical": 2, "high": 1, "medium": -1, "low": -1, "info": -2}),
        (0, {"critical": 2, "high": 1, "medium": 0, "low": -1, "info": -2}),
        (1, {"critical": 2, "high": 1, "medium": 1, "low": -1, "info": -2}),
        (2, {"critical": 2, "high": 2, "medium": 2, "low": -1, "info": -2}),
    ],
)
def test_each_priority_has_its_level(api: FakeService, setting: int, levels: dict[str, int]) -> None:
    dispatcher = pushover(api, priority=setting)
    for priority in Priority:
        deliver(dispatcher, Alert.make("x", priority=priority))
        sent = api.requests[-1].form()
        assert sent["priority"] == str(levels[priority])
        assert ("retry" in sent, "expire" in sent) == (sent["priority"] == "2",) * 2


@pytest.mark.parametrize(
    ("priority", "level"), [("critical", "2"), ("high", "-1"), ("medium", "-1"), ("low", "-1"), ("info", "-2")]
)
def test_a_silent_delivery_makes_no_sound_unless_it_is_critical(api: FakeService, priority: str, level: str) -> None:
    deliver(pushover(api), Alert.make("x", priority=priority), silent=True)
    assert api.requests[0].form()["priority"] == level


@pytest.mark.parametrize(
    ("retry", "expire", "sent"),
    [(60, 3600, ("60", "3600")), (1, 99_999, ("30", "10800")), (99_999, 1, ("10800", "30"))],
)
def test_an_emergency_repeats_within_what_the_service_allows(
    api: FakeService, retry: int, expire: int, sent: tuple[str, str]
) -> None:
    deliver(pushover(api, retry=retry, expire=expire, ttl=60), Alert.make("x", priority="critical"))
    form = api.requests[0].form()
    assert (form["retry"], form["expire"]) == sent
    assert "ttl" not in form


def test_the_text_of_a_link_is_shortened(api: FakeService) -> None:
    deliver(pushover(api, url="https://x.example", url_title="u" * 200))
    assert len(api.requests[0].form()["url_title"]) == 100


def test_1024_characters_are_sent_whole(api: FakeService) -> None:
    deliver(pushover(api), Alert.make("🚀" * 1024))
    assert api.requests[0].form()["message"] == "🚀" * 1024


def test_an_alert_of_a_title_only_has_a_message(api: FakeService) -> None:
    deliver(pushover(api), Alert.make(" ", title="Up"))
    assert api.requests[0].form()["message"] == "Up"


def test_html_is_escaped_and_coloured_and_keeps_the_limit(api: FakeService) -> None:
    dispatcher = pushover(api, html=True)
    deliver(dispatcher, Alert.make("a <b> & c\nsecond"))
    form = api.requests[0].form()
    assert form["html"] == "1"
    assert form["message"] == '<b><font color="#f2c200">a &lt;b&gt; &amp; c</font></b>\nsecond'
    deliver(dispatcher, Alert.make("&" * 2000))
    message = api.requests[1].form()["message"]
    assert 1000 < len(message) <= 1024
    assert message.replace("&amp;", "") == '<b><font color="#f2c200">…</font></b>'


def test_monospace_is_asked_for(api: FakeService) -> None:
    deliver(pushover(api, monospace=True))
    assert api.requests[0].form()["monospace"] == "1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"html": True, "monospace": True}, "html and monospace"),
        ({"priority": 3}, "priority must be -2, -1, 0, 1 or 2"),
        ({"ttl": 0}, "ttl must be a positive number"),
        ({"url": "https://x.example/" + "x" * 512}, "Pushover takes 512"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PushoverDispatcher(TOKEN, USER, **options)


def test_an_alert_can_choose_its_sound_and_link(api: FakeService) -> None:
    own = {"pushover": {"sound": "siren", "url": "https://x.example/1", "url_title": "Chart"}}
    deliver(pushover(api, sound="bike", url="https://x.example"), Alert.make("x", data=own))
    form = api.requests[0].form()
    assert (form["sound"], form["url"], form["url_title"]) == ("siren", "https://x.example/1", "Chart")


# ---------------------------------------------------------------------------------------- used alone


def test_sound_and_high_priority_can_be_given_per_call(api: FakeService) -> None:
    dispatcher = pushover(api, sound="bike")
    assert dispatcher.send_alert("BUY", "AAPL", 150.5, 10, sound="cashregister")
    assert dispatcher.send_custom_alert("x", high_priority=True)
    assert dispatcher.send_error_alert("Feed", "gone", sound="siren", high_priority=True)
    forms = [request.form() for request in api.requests]
    assert [(form["sound"], form["priority"]) for form in forms] == [
        ("cashregister", "0"),
        ("bike", "1"),
        ("siren", "1"),
    ]
    with pytest.raises(TypeError, match="does not know the argument volume"):
        dispatcher.send_custom_alert("x", volume=11)


def test_credentials_priority_and_sound_can_be_set_later(api: FakeService) -> None:
    dispatcher = PushoverDispatcher(api_url=api.url)
    assert (
        dispatcher.missing()
        == "set app_token (PUSHOVER_APP_TOKEN) and user_key (PUSHOVER_USER_KEY) to send through Pushover"
    )
    assert dispatcher.send_custom_alert("x") is False
    assert api.requests == []
    dispatcher.set_credentials(TOKEN, USER)
    dispatcher.set_priority(1)
    dispatcher.set_sound("echo")
    assert dispatcher.send_custom_alert("x")
    form = api.requests[0].form()
    assert (form["token"], form["user"], form["priority"], form["sound"]) == (TOKEN, USER, "1", "echo")
    with pytest.raises(ValueError, match="priority must be"):
        dispatcher.set_priority(5)


def test_several_user_keys_are_targets_of_their_own(api: FakeService) -> None:
    dispatcher = pushover(api, user_key=f"{USER}, {GROUP},{USER}")
    assert [target.label for target in dispatcher.targets()] == ["user …VRsG", "user …okzF"]
    assert dispatcher.send_custom_alert("x")
    assert [request.form()["user"] for request in api.requests] == [USER, GROUP]
    assert [target.address for target in pushover(api, user_key=[USER, GROUP]).targets()] == [USER, GROUP]


def test_every_built_in_sound_has_a_description() -> None:
    promised = (
        "pushover bike bugle cashregister classical cosmic falling gamelan incoming intermission magic mechanical "
        "pianobar siren spacealarm tugboat alien climb persistent echo updown vibrate none"
    )
    assert list(SOUNDS) == promised.split()
    assert all(SOUNDS.values())


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(PushoverDispatcher)}
    assert list(known)[:5] == ["app_token", "user_key", "enabled", "priority", "sound"]
    assert {name: argument.env for name, argument in known.items() if argument.credential} == {
        "app_token": "PUSHOVER_APP_TOKEN",
        "user_key": "PUSHOVER_USER_KEY",
    }


# ---------------------------------------------------------------------------------------- pictures


def picture(tmp_path: Path, content: bytes = b"\x89PNG picture", name: str = "chart.png") -> Alert:
    (tmp_path / name).write_bytes(content)
    return Alert.make("with a picture", attachments=[Attachment.from_path(tmp_path / name)])


def test_the_first_picture_goes_with_the_message(api: FakeService, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text", encoding="ascii")
    alert = picture(tmp_path)
    alert = alert.replace(attachments=(Attachment.from_path(tmp_path / "notes.txt"), *alert.attachments))
    receipt = deliver(pushover(api), alert)
    assert api.requests[0].parts()["attachment"] == ("chart.png", "image/png", b"\x89PNG picture")
    assert api.requests[0].form()["message"] == "with a picture"
    assert receipt.note == ""


def test_the_largest_picture_is_sent(api: FakeService, tmp_path: Path) -> None:
    receipt = deliver(pushover(api), picture(tmp_path, b"x" * MAX_PICTURE))
    assert b"filename=" in api.requests[0].body
    assert receipt.note == ""


def test_a_picture_that_is_invalid_stays_and_the_text_goes(service: FakeService, tmp_path: Path) -> None:
    invalid = {"attachment": "invalid", "errors": ["attachment could not be decoded"], "status": 0}
    service.answer(400, invalid).answer(200, TOOK)
    receipt = deliver(pushover(service), picture(tmp_path))
    assert "sent without its picture" in receipt.note
    assert [b"filename=" in request.body for request in service.requests] == [True, False]


def test_another_refusal_of_a_message_with_a_picture_is_not_tried_again(service: FakeService, tmp_path: Path) -> None:
    service.answer(400, {"message": "cannot be blank", "errors": ["message cannot be blank"], "status": 0})
    with pytest.raises(DeliveryFailed):
        deliver(pushover(service), picture(tmp_path))
    assert len(service.requests) == 1


# ---------------------------------------------------------------------------------------- answers


def test_it_handles_receipt_and_quota(service: FakeService) -> None:
    quota = {"X-Limit-App-Limit": "10000", "X-Limit-App-Remaining": "7496", "X-Limit-App-Reset": "1780290000"}
    service.answer(200, {**TOOK, "receipt": RECEIPT}, quota)
    receipt = deliver(pushover(service), Alert.make("x", priority="critical"))
    assert receipt.facts == {
        "receipt": RECEIPT,
        "quota_limit": 10_000,
        "quota_remaining": 7496,
        "quota_reset": 1_780_290_000,
    }
    assert receipt.hold_until is None


def test_it_holds_the_channel_when_the_last_message_of_the_month_went(service: FakeService) -> None:
    service.answer(200, TOOK, {"X-Limit-App-Remaining": "0", "X-Limit-App-Reset": "1780290000"})
    assert deliver(pushover(service)).hold_until == 1_780_290_000


def test_it_waits_until_the_quota_is_reset_and_not_a_day(service: FakeService) -> None:
    reset = int(time.time()) + 12 * 86_400
    service.answer(429, {"status": 0, "errors": ["quota"]}, {"X-Limit-App-Reset": str(reset)})
    failed = failure(pushover(service))
    assert failed.failure is Failure.RETRY_AFTER
    assert failed.retry_after == pytest.approx(reset - time.time(), abs=5)
    assert f"used up until {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(reset))}" in failed.reason


@pytest.mark.parametrize("reset", ["", "soon", "-1", "9" * 30])
def test_a_429_without_a_date_is_tried_again(service: FakeService, reset: str) -> None:
    service.answer(429, {"status": 0}, {"X-Limit-App-Reset": reset})
    assert failure(pushover(service)).failure is Failure.RETRY


@pytest.mark.parametrize("status", [500, 502, 503, 599])
@pytest.mark.parametrize(("told", "wait"), [("", 5.0), ("2", 5.0), ("90", 90.0)])
def test_it_pauses_five_seconds_or_more_after_trouble(
    service: FakeService, status: int, told: str, wait: float
) -> None:
    service.answer(status, headers={"Retry-After": told})
    failed = failure(pushover(service))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, wait)


def test_it_handles_a_wrong_token(service: FakeService) -> None:
    service.answer(400, {"token": "invalid", "errors": ["application token is invalid"], "status": 0, "request": "r"})
    failed = failure(pushover(service, user_key=[USER, GROUP]))
    assert (failed.failure, failed.dead_target) == (Failure.AUTH, False)
    assert "app_token: application token is invalid" in failed.reason


def test_it_handles_a_wrong_user_key(service: FakeService) -> None:
    service.answer(400, {"user": "invalid", "errors": ["user identifier is invalid"], "status": 0, "request": "r"})
    failed = failure(pushover(service))
    assert (failed.failure, failed.dead_target) == (Failure.AUTH, False)
    assert "user_key: user identifier is invalid" in failed.reason


def test_one_wrong_user_key_of_several_ends_only_its_own_target(service: FakeService) -> None:
    service.answer(400, {"user": "invalid", "errors": ["user identifier is invalid"], "status": 0, "request": "r"})
    failed = failure(pushover(service, user_key=[USER, GROUP]))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)


@pytest.mark.parametrize("status", [400, 404, 405, 422])
def test_it_handles_any_other_refusal_as_permanent(service: FakeService, status: int) -> None:
    service.answer(status, {"message": "cannot be blank", "errors": ["message cannot be blank"], "status": 0})
    failed = failure(pushover(service))
    assert failed.failure is Failure.PERMANENT
    assert "message cannot be blank" in failed.reason


def test_a_200_whose_status_is_not_1_is_permanent(service: FakeService) -> None:
    service.answer(200, {"status": 0, "errors": ["no"]})
    assert failure(pushover(service)).failure is Failure.PERMANENT


@pytest.mark.parametrize("body", ["<html>Please log in</html>", "", "[1]", "1"])
def test_a_200_that_is_not_pushover_s_leaves_the_outcome_unknown(service: FakeService, body: str) -> None:
    service.answer(200, body)
    failed = failure(pushover(service))
    assert (failed.failure, failed.answered) == (Failure.UNKNOWN, True)


# ---------------------------------------------------------------------------------------- other calls


def test_a_check_validates_without_sending(service: FakeService) -> None:
    service.answer(200, {"status": 1, "devices": ["phone"], "licenses": ["iOS"], "request": "r"})
    dispatcher = pushover(service, device="phone")
    assert dispatcher.check(dispatcher.targets()[0]).facts == {"devices": ["phone"]}
    assert service.requests[0].path == "/1/users/validate.json"
    assert service.requests[0].form() == {"token": TOKEN, "user": USER, "device": "phone"}
    service.answer(400, {"user": "invalid", "errors": ["user key is invalid"], "status": 0})
    assert dispatcher.test_connection() is False


def test_a_receipt_can_be_looked_up_and_cancelled(service: FakeService) -> None:
    service.answer(200, {"status": 1, "acknowledged": 1, "acknowledged_by": USER})
    dispatcher = pushover(service)
    assert dispatcher.receipt_status(RECEIPT)["acknowledged"] == 1
    asked = service.requests[0]
    assert (asked.method, asked.path, asked.query) == ("GET", f"/1/receipts/{RECEIPT}.json", {"token": TOKEN})
    dispatcher.cancel_receipt(RECEIPT)
    asked = service.requests[1]
    assert (asked.method, asked.path, asked.form()) == ("POST", f"/1/receipts/{RECEIPT}/cancel.json", {"token": TOKEN})


def test_an_emergency_is_followed_until_somebody_acknowledges_it(service: FakeService) -> None:
    service.answer(200, {**TOOK, "receipt": RECEIPT})
    dispatcher = pushover(service)
    receipt = deliver(dispatcher, Alert.make("x", priority="critical"))
    assert receipt.follow_up == 15.0
    service.answer(200, {"status": 1, "acknowledged": 0, "expired": 0})
    assert dispatcher.follow_up(receipt) == News("delivered, not acknowledged yet", again=15.0)
    service.answer(200, {"status": 1, "acknowledged": 1, "acknowledged_by": USER, "acknowledged_at": 1_780_290_000})
    news = dispatcher.follow_up(receipt)
    assert news is not None
    assert (news.acknowledged, news.again) == (True, None)
    assert news.text == f"acknowledged on the phone by user …{USER[-4:]}"
    service.answer(200, {"status": 1, "acknowledged": 0, "expired": 1})
    assert dispatcher.follow_up(receipt) == News("nobody acknowledged it before its repeats ended")


def test_only_an_emergency_is_followed(service: FakeService) -> None:
    service.answer(200, TOOK)
    assert deliver(pushover(service), Alert.make("x", priority="high")).follow_up is None


@pytest.mark.parametrize("receipt", ["", "../sounds", "a/b", "a?b", "é"])
def test_what_is_no_receipt_is_not_asked_for(service: FakeService, receipt: str) -> None:
    with pytest.raises(ValueError, match="letters and digits only"):
        pushover(service).receipt_status(receipt)
    assert service.requests == []


def test_the_sounds_of_the_account_can_be_listed(service: FakeService) -> None:
    service.answer(200, {"status": 1, "sounds": {"pushover": "Pushover (default)", "mine": "Mine"}})
    assert pushover(service).sounds() == {"pushover": "Pushover (default)", "mine": "Mine"}
    assert service.requests[0].query == {"token": TOKEN}


def test_at_most_two_connections_are_used_at_once(service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, TOOK, gate=gate)
    channels = [pushover(service), pushover(service)]
    threads = [threading.Thread(target=deliver, args=(channels[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    service.wait_for(2)
    gate.set()
    for thread in threads:
        thread.join()
    assert len(service.requests) == 6
    assert service.most_at_once == 2
    assert len({request.connection for request in service.requests}) <= 2


def test_waiting_for_a_connection_counts_against_the_deadline(service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, TOOK, gate=gate)
    threads = [threading.Thread(target=deliver, args=(pushover(service),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    service.wait_for(2)
    failed = failure(pushover(service, timeout=0.1))
    gate.set()
    for thread in threads:
        thread.join()
    assert (failed.failure, failed.answered) == (Failure.RETRY, False)
    assert "busy" in failed.reason
