"""Text messages: what leaves the program by each provider, what their answers mean, and what is spent."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from alerts_kit import Clock, ahead, rest
from alerts_kit import alert as made
from timeouts_kit import request_timeouts
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http.http_client import HttpClient as SdkHttpClient
from twilio.http.response import Response as SdkResponse
from twilio.rest import Client

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers import twilio
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, News, Receipt
from bt_alerts.dispatchers.sms import SmsDispatcher, gsm
from bt_alerts.dispatchers.sms.providers import Vonage
from bt_alerts.testing import FakeService, FaultServer, Received, faults
from bt_alerts.testing.contract import closed_port

ACCOUNT, TOKEN = "AC" + "1b" * 16, "tok" + "7e" * 14
KEY, SECRET = "k3y8a1b2", "s3cr3tS3cr3tS3cr"
FROM, TO, OTHER = "+15005550006", "+4915112345678", "+4915187654321"
SID = "SM" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
TAKEN = {"sid": SID, "status": "queued", "num_segments": "1", "error_code": None}
VONAGE_TOOK = {"message-count": "1", "messages": [{"to": TO[1:], "message-id": "0C0000002", "status": "0"}]}
SNS_TOOK = "<PublishResponse><PublishResult><MessageId>94f20ce6-13c5</MessageId></PublishResult></PublishResponse>"
NOON = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
HELLO = Alert.make("hello", title="Title")


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(201, TAKEN)


@pytest.fixture
def second() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def vonage(second: FakeService) -> FakeService:
    return second.answer(200, VONAGE_TOOK)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA00000000EXAMPLE0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/of+aws/" + "x" * 26)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def sms(api: FakeService | str, **options: Any) -> SmsDispatcher:
    url = api if isinstance(api, str) else api.url
    given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": FROM, "to": TO, "api_url": url}
    return SmsDispatcher(**{**given, **options})


def through_vonage(api: FakeService, **options: Any) -> SmsDispatcher:
    return sms(api, provider="vonage", api_key=KEY, api_secret=SECRET, **options)


def both(first: FakeService | str, second: FakeService, **options: Any) -> SmsDispatcher:
    """Twilio, and Vonage where that fails."""
    urls = [first if isinstance(first, str) else first.url, second.url]
    options = {"from_number": [FROM, "Alerts"], "api_key": KEY, "api_secret": SECRET, **options}
    return sms("", provider=["twilio", "nexmo"], **{**options, "api_url": urls})


def deliver(dispatcher: SmsDispatcher, alert: Alert = HELLO, **context: Any) -> Receipt:
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOON, **context}))


def failure(dispatcher: SmsDispatcher, alert: Alert = HELLO, **context: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert, **context)
    return caught.value


# -------------------------------------------------------------------------------------- through Twilio


class Recorder(SdkHttpClient):
    """What Twilio's own client would send, and an answer for it."""

    def __init__(self, status: int = 201, body: str = '{"sid": "SM1"}') -> None:
        self.asked: dict[str, Any] = {}
        self.answer = SdkResponse(status, body)

    def request(self, method: str, url: str, **how: Any) -> SdkResponse:  # type: ignore[override]
        self.asked = {"method": method, "url": url, **how}
        return self.answer


def of_the_sdk(send: Callable[[Client], Any]) -> dict[str, Any]:
    recorder = Recorder()
    send(Client(ACCOUNT, TOKEN, http_client=recorder))
    return recorder.asked


def assert_as_the_sdk(sent: Received, wanted: dict[str, Any]) -> None:
    assert sent.method == wanted["method"]
    assert sent.path == wanted["url"].removeprefix("https://api.twilio.com")
    assert sent.form() == (wanted["data"] or {})
    assert sent.query == (wanted["params"] or {})
    kind, _, encoded = sent.headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", ":".join(wanted["auth"]))


@pytest.mark.parametrize(
    "text", ["hello", "a & b = c + d %", "Цена выросла\nвторая строка", "€{}[]\\~^|", "line\nline", "x" * 400]
)
def test_it_sends_what_the_sdk_of_twilio_sends(api: FakeService, text: str) -> None:
    deliver(sms(api, keep_unicode=True), Alert.make(text, title="BUY AAPL"))
    wanted = of_the_sdk(lambda client: client.messages.create(to=TO, from_=FROM, body=f"BUY AAPL\n{text}"))
    assert_as_the_sdk(api.requests[0], wanted)
    assert api.requests[0].headers["content-type"] == wanted["headers"]["Content-Type"]


def test_a_messaging_service_sends_as_in_the_sdk(api: FakeService) -> None:
    deliver(sms(api, from_number=SERVICE))
    body = "Title\nhello"
    wanted = of_the_sdk(lambda client: client.messages.create(to=TO, messaging_service_sid=SERVICE, body=body))
    assert_as_the_sdk(api.requests[0], wanted)


def test_status_and_account_are_asked_as_in_the_sdk(api: FakeService, service: FakeService) -> None:
    dispatcher = sms(api)
    dispatcher.follow_up(deliver(dispatcher))
    assert_as_the_sdk(api.requests[1], of_the_sdk(lambda client: client.messages(SID).fetch()))
    dispatcher.check(dispatcher.targets()[0])
    assert_as_the_sdk(api.requests[2], of_the_sdk(lambda client: client.api.accounts(ACCOUNT).fetch()))


def test_the_receipt_tells_id_segments_and_when_to_ask(api: FakeService) -> None:
    receipt = deliver(sms(api))
    assert (receipt.id, receipt.follow_up, receipt.note) == (SID, 15.0, "")
    assert receipt.facts == {"provider": "twilio", "segments": 1, "encoding": "GSM-7"}
    assert deliver(sms(api, status_poll=False)).follow_up is None
    api.answer(201, {**TAKEN, "num_segments": "4"})
    assert deliver(sms(api)).facts["segments"] == 4, "who is paid counts"


#: What Twilio answers, and what is to follow.
REFUSALS: list[tuple[int, dict[str, Any], Failure, bool, str]] = [
    (401, {"code": 20003, "message": "Authenticate"}, Failure.AUTH, False, "account_sid and auth_token"),
    (404, {"code": 20404, "message": "not found"}, Failure.AUTH, False, "does not know account_sid"),
    (400, {"code": 21211, "message": "The 'To' number is not valid"}, Failure.PERMANENT, True, "no phone number"),
    (400, {"code": 21610, "message": "unsubscribed recipient"}, Failure.PERMANENT, True, "answered STOP"),
    (400, {"code": 21614, "message": "not a mobile"}, Failure.PERMANENT, True, "takes no text messages"),
    (400, {"code": 21608, "message": "unverified"}, Failure.PERMANENT, False, "trial account"),
    (400, {"code": 21606, "message": "not SMS-capable"}, Failure.PERMANENT, False, "from_number cannot send"),
    (400, {"code": 21408, "message": "region"}, Failure.PERMANENT, False, "Geo permissions"),
    (400, {"code": 21617, "message": "exceeds 1600"}, Failure.TOO_LARGE, False, "too long"),
    (400, {"code": 99999, "message": "something new"}, Failure.PERMANENT, False, "something new"),
    (429, {"code": 20429, "message": "Too many requests"}, Failure.RETRY, False, "too many messages"),
    (429, {"code": 63038, "message": "exceeded the 50 daily"}, Failure.RETRY_AFTER, False, "messages of the day"),
    (500, {"code": 20500, "message": "Internal"}, Failure.RETRY, False, "is in trouble"),
    (503, {"code": 21211, "message": "odd"}, Failure.RETRY, False, "is in trouble"),
]


@pytest.mark.parametrize(("status", "body", "kind", "dead", "words"), REFUSALS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("newer", [False, True])
def test_a_refusal_has_the_class_of_its_code(  # noqa: PLR0917
    service: FakeService, status: int, body: dict[str, Any], kind: Failure, dead: bool, words: str, newer: bool
) -> None:
    if newer:  # RFC 9457
        body = {"type": "https://x.example", "title": "Bad", "detail": body["message"], "code": body["code"]}
        body["status"] = status
    service.answer(status, body)
    failed = failure(sms(service))
    assert (failed.failure, failed.dead_target) == (kind, dead)
    assert words in failed.reason
    assert failed.reason.startswith("127.0.0.1")
    # The SDK reads the same code and the same words out of it.
    client = Client(ACCOUNT, TOKEN, http_client=Recorder(status, json.dumps(body)))
    with pytest.raises((TwilioRestException, TwilioServiceException)) as caught:
        client.messages.create(to=TO, from_=FROM, body="x")
    code, said = twilio.error_of(body)
    assert code == caught.value.code
    assert said in str(caught.value)
    if status < 500:
        assert str(code) in failed.reason or kind in {Failure.RETRY, Failure.RETRY_AFTER}


def test_the_wait_that_twilio_asks_for_is_told(service: FakeService) -> None:
    service.answer(429, {"code": 20429, "message": "x"}, headers={"Retry-After": "7"})
    failed = failure(sms(service))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 7.0)


def test_a_page_that_is_not_twilio_leaves_the_outcome_unknown(service: FakeService) -> None:
    service.answer(200, "<html>please log in</html>")
    failed = failure(sms(service))
    assert failed.failure is Failure.UNKNOWN
    assert "login page" in failed.reason


def test_the_check_knows_a_suspended_account_and_quotes_no_account(
    service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    other = "another-token-of-the-account"
    dispatcher = sms(service.answer(200, {"status": "active", "auth_token": other}))
    receipt = dispatcher.check(dispatcher.targets()[0])
    assert receipt.facts == {"status": "active"}
    service.answer(200, {"status": "suspended", "auth_token": other})
    with pytest.raises(DeliveryFailed, match="account is suspended") as caught:
        dispatcher.check(dispatcher.targets()[0])
    assert caught.value.failure is Failure.AUTH
    service.answer(200, {"auth_token": other})
    with pytest.raises(DeliveryFailed) as odd:
        dispatcher.check(dispatcher.targets()[0])
    assert other not in f"{receipt!r} {caught.value!r} {odd.value!r} {caplog.text}"


# ---------------------------------------------------------------------------------------- what became


def ask(service: FakeService, age: float = 15.0, **said: Any) -> News:
    made_at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    created = made_at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    service.answer(200, {"sid": SID, "date_created": created, **said})
    news = sms(service).follow_up(Receipt(SID, facts={"provider": "twilio"}))
    assert news is not None
    return news


def test_a_delivered_message_is_told_with_its_price(service: FakeService) -> None:
    news = ask(service, status="delivered", price="-0.0079", price_unit="USD", num_segments="1", error_code=None)
    assert (news.text, news.failed, news.again) == ("delivered to the phone", False, None)
    assert news.facts == {"status": "delivered", "price": "-0.0079", "price_unit": "USD", "num_segments": "1"}


@pytest.mark.parametrize("status", ["undelivered", "failed"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (30003, "the phone is off, out of reach"),
        (30007, "filtered it as spam"),
        (30034, "A2P 10DLC"),
        (39999, "in their own words"),
        (None, "gives no reason"),
    ],
)
def test_a_message_that_did_not_arrive_says_why(
    service: FakeService, status: str, code: int | None, words: str
) -> None:
    news = ask(service, status=status, error_code=code, error_message="in their own words")
    assert news.failed
    assert news.again is None
    assert words in news.text
    assert code is None or str(code) in news.text


@pytest.mark.parametrize(
    ("age", "again"), [(0, 15), (15, 15), (30, 30), (100, 100), (1000, 1000), (2000, 1200), (3700, None)]
)
def test_a_message_under_way_is_asked_for_less_and_less_often(service: FakeService, age: float, again: float) -> None:
    began = time.monotonic()
    news = ask(service, age=age, status="sent")
    passed = 3 + time.monotonic() - began
    assert not news.failed
    assert news.again == (again if again is None else pytest.approx(again, abs=passed))
    assert news.text.startswith("the network has it")
    assert ("has not confirmed" in news.text) == (again is None)


def test_the_questions_end_where_twilio_does_not_tell_the_time(service: FakeService) -> None:
    service.answer(200, {"status": "queued"})
    news = sms(service).follow_up(Receipt(SID, facts={"provider": "twilio"}))
    assert news is not None
    assert news.again is None


def test_providers_that_do_not_tell_are_not_asked(vonage: FakeService) -> None:
    dispatcher = through_vonage(vonage)
    receipt = deliver(dispatcher)
    assert receipt.follow_up is None
    assert dispatcher.follow_up(receipt) is None
    assert len(vonage.requests) == 1


# -------------------------------------------------------------------------------------------- the text


def body(api: FakeService) -> str:
    return api.requests[-1].form()["Body"]


def test_typographic_signs_do_not_triple_the_price(api: FakeService) -> None:
    text = "“Filled” — 10 × 150 → 1500 … " + "x" * 110
    receipt = deliver(sms(api), Alert.make(text, title="BUY AAPL"))
    assert body(api) == 'BUY AAPL\n"Filled" - 10 x 150 -> 1500 ... ' + "x" * 110
    assert receipt.facts["segments"] == 1
    assert deliver(sms(api, keep_unicode=True), Alert.make(text, title="BUY AAPL")).facts["segments"] == 3
    assert body(api) == f"BUY AAPL\n{text}"


def test_it_is_short_without_emoji_and_footer(api: FakeService) -> None:
    deliver(sms(api), Alert.make("hello", title="Title", strategy="Momentum"), late=dt.timedelta(minutes=11))
    assert body(api) == "Title\n11 min late\nhello"
    deliver(sms(api), Alert.make("hello", title="Feed gone", priority="critical"))
    assert body(api) == "CRITICAL: Feed gone\nhello"


def test_a_long_message_is_shortened_to_its_segments(api: FakeService) -> None:
    receipt = deliver(sms(api), Alert.make("word " * 1000, title="Title"))
    assert body(api).startswith("Title\nword word")
    assert body(api).endswith("word...")
    assert receipt.facts["segments"] == 3
    assert deliver(sms(api, max_segments=10), Alert.make("word " * 1000)).facts["segments"] == 10
    assert len(body(api)) <= 1600
    assert deliver(sms(api, one_segment=True), Alert.make("word " * 1000, title="Title")).facts["segments"] == 1
    assert 150 < len(body(api)) <= 160
    assert deliver(sms(api, one_segment=True), Alert.make("слово " * 1000, title="Цена")).facts["segments"] == 1
    assert body(api).startswith("Цена\nслово")
    assert len(body(api)) <= 70


def test_a_long_title_leaves_room_for_the_message(api: FakeService) -> None:
    deliver(sms(api, one_segment=True), Alert.make("the message", title="t" * 500))
    assert body(api) == "t" * 73 + "...\nthe message"


def test_attachments_stay_behind(api: FakeService, tmp_path: Any) -> None:
    file = tmp_path / "chart.png"
    file.write_bytes(b"\x89PNG")
    receipt = deliver(sms(api), HELLO.replace(attachments=(Attachment.from_path(file),)))
    assert receipt.note == "sent without its 1 file(s)"
    assert api.requests[0].form() == {"To": TO, "From": FROM, "Body": "Title\nhello"}


def test_a_preview_shows_the_request_and_sends_nothing(api: FakeService) -> None:
    dispatcher = sms(api)
    (request,) = dispatcher.preview(HELLO, dispatcher.targets()[0], Context(key="k"))
    assert request.line == f"POST {api.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert request.body == f"To: {TO}\nFrom: {FROM}\nBody: Title\nhello"
    assert api.requests == []


# ----------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "written",
    [TO, "+49 151 1234-5678", "+49 (151) 12345678", "+49/151/12345678", " +49.151.1234.5678 ", "+49–151–12345678"],
)
def test_a_number_may_be_written_for_the_eye(api: FakeService, written: str) -> None:
    deliver(sms(api, to=written))
    assert api.requests[0].form()["To"] == TO


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("4915112345678", "there is no plus. Outside of quotes some YAML readers drop it"),
        (4915112345678, "there is no plus"),
        ("015112345678", "with its country's code"),
        ("004915112345678", "a plus instead of the 00"),
        ("+49 (0) 151 12345678", r"leave out the \(0\)"),
        ("+0151123456", "7 to 15 digits"),
        ("+49151", "7 to 15 digits"),
        ("+4915112345678901", "7 to 15 digits"),
        ("anna@example.com", "7 to 15 digits"),
        ("+49151123456７８", "7 to 15 digits"),
        (["+4915112345678", "+49 15x"], "7 to 15 digits"),
    ],
)
def test_a_number_that_cannot_be_right_is_told_without_showing_it(written: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        sms("http://127.0.0.1:9", to=written)
    assert str(caught.value).startswith("to must be written as +447700900123")
    assert str(written) not in str(caught.value)


def test_numbers_are_a_list_or_one_text_and_show_four_digits() -> None:
    for given in ([TO, OTHER, "+49 151 12345678"], f"{TO}, {OTHER},{TO}"):
        dispatcher = sms("http://127.0.0.1:9", to=given)
        assert [target.address for target in dispatcher.targets()] == [TO, OTHER]
        assert [target.label for target in dispatcher.targets()] == ["…5678", "…4321"]
    labels = [target.label for target in sms("http://127.0.0.1:9", to=[TO, "+4367712345678"]).targets()]
    assert len(set(labels)) == 2
    assert all(label.startswith("…5678 #") for label in labels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"provider": "pigeon"}, "provider must be one or several of twilio, vonage, aws_sns, not 'pigeon'"),
        ({"provider": []}, "provider must be one or several"),
        ({"max_segments": 0}, "max_segments must be 1 to 10"),
        ({"max_segments": 11}, "max_segments must be 1 to 10"),
        ({"account_sid": "AC/../x"}, "account_sid must be AC and 32"),
        ({"from_number": "4915112345678"}, "from_number must be written as"),
        ({"from_number": "MG123456789012"}, "from_number must be MG and 32"),
        ({"from_number": "A name that is long"}, "from_number must be"),
        ({"from_number": [FROM, FROM]}, "from_number must have one value for each of twilio"),
        ({"provider": "vonage", "from_number": SERVICE}, "from_number must be a number or a name"),
        ({"provider": ["twilio", "vonage"]}, "api_url must have one value for each of twilio, vonage"),
        ({"daily_segments": -1}, "daily_segments, daily_cost and price_per_segment must be 0 or more"),
        ({"daily_segments": 2}, "daily_segments and daily_cost must allow one message"),
        ({"daily_cost": 5}, "price_per_segment must be set where daily_cost is"),
        ({"monthly_cost": 0.01, "price_per_segment": 0.1}, "monthly_segments and monthly_cost must allow"),
        ({"provider": "aws_sns", "aws_region": "a/b"}, "aws_region must be the name of a region"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sms("http://127.0.0.1:9", **options)


def test_what_is_missing_is_named() -> None:
    assert SmsDispatcher().missing() == (
        "set account_sid (TWILIO_ACCOUNT_SID), auth_token (TWILIO_AUTH_TOKEN), from_number (TWILIO_FROM_NUMBER), "
        "to (SMS_TO) to send text messages through Twilio"
    )
    lacking = SmsDispatcher(["nexmo", "aws-sns"], from_number=["Alerts", "-"], to=TO).missing()
    assert lacking == (
        "set api_key (VONAGE_API_KEY), api_secret (VONAGE_API_SECRET), aws_region (AWS_REGION) "
        "to send text messages through Vonage and AWS SNS"
    )
    assert SmsDispatcher().targets() == []


# -------------------------------------------------------------------------------------- through Vonage


def test_vonage_gets_the_fields_of_its_sms_api(vonage: FakeService) -> None:
    receipt = deliver(through_vonage(vonage))
    sent = vonage.requests[0]
    assert (sent.method, sent.path) == ("POST", "/sms/json")
    fields = {"from": FROM[1:], "to": TO[1:], "text": "Title\nhello", "api_key": KEY, "api_secret": SECRET}
    assert sent.form() == fields
    assert (receipt.id, receipt.facts["provider"]) == ("0C0000002", "vonage")
    deliver(through_vonage(vonage, from_number="Alerts"), Alert.make("Цена", title="t"))
    assert vonage.requests[1].form() == {**fields, "from": "Alerts", "text": "t\nЦена", "type": "unicode"}


VONAGE_REFUSALS = {"1": Failure.RETRY, "4": Failure.AUTH, "5": Failure.RETRY, "6": Failure.PERMANENT}
VONAGE_REFUSALS |= {"7": Failure.PERMANENT, "9": Failure.RETRY_AFTER, "12": Failure.TOO_LARGE, "15": Failure.PERMANENT}
VONAGE_REFUSALS |= {"29": Failure.PERMANENT, "33": Failure.PERMANENT, "99": Failure.PERMANENT}


@pytest.mark.parametrize(("status", "kind"), VONAGE_REFUSALS.items())
def test_vonage_says_in_the_body_what_is_wrong(service: FakeService, status: str, kind: Failure) -> None:
    service.answer(200, {"message-count": "1", "messages": [{"status": status, "error-text": "in its words"}]})
    failed = failure(through_vonage(service))
    assert failed.failure is kind
    assert failed.dead_target == (status in {"7", "33"})
    assert f"(Vonage status {status}: in its words)" in failed.reason
    assert Vonage.MEANING.get(status, (kind,))[0] is kind


def test_a_message_that_vonage_took_in_part_is_not_repeated(service: FakeService) -> None:
    parts = [{"status": "0", "message-id": "a"}, {"status": "1", "error-text": "Throttled"}]
    service.answer(200, {"message-count": "2", "messages": parts})
    receipt = deliver(through_vonage(service), Alert.make("x" * 200))
    assert receipt.id == "a"
    assert "1 of 2 segments were refused" in receipt.note
    assert "too many messages" in receipt.note


def test_vonage_is_checked_without_the_secret_in_the_address(service: FakeService) -> None:
    dispatcher = through_vonage(service.answer(200, {"value": 9.42, "autoReload": False}))
    assert dispatcher.check(dispatcher.targets()[0]).facts == {"balance": 9.42}
    sent = service.requests[0]
    assert (sent.method, sent.path, sent.query) == ("GET", "/account/get-balance", {})
    assert base64.b64decode(sent.headers["authorization"].split()[1]).decode() == f"{KEY}:{SECRET}"


# ------------------------------------------------------------------------------------- through AWS SNS


def through_aws(api: FakeService, **options: Any) -> SmsDispatcher:
    return sms(api, **{"provider": "aws_sns", "aws_region": "eu-central-1", "from_number": None, **options})


@pytest.mark.parametrize(
    ("sender", "attribute"),
    [(None, None), ("Alerts", "AWS.SNS.SMS.SenderID"), (FROM, "AWS.MM.SMS.OriginationNumber")],
)
def test_sns_gets_what_boto3_sends(
    service: FakeService, second: FakeService, aws: None, sender: str | None, attribute: str | None
) -> None:
    import boto3

    receipt = deliver(
        through_aws(service.answer(200, SNS_TOOK), from_number=sender), Alert.make("a & “b” д", title="t")
    )
    attributes = {"AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"}}
    if attribute:
        attributes[attribute] = {"DataType": "String", "StringValue": str(sender)}
    second.answer(200, SNS_TOOK)
    client = boto3.client("sns", region_name="eu-central-1", endpoint_url=second.url)
    client.publish(PhoneNumber=TO, Message="t\na & “b” д", MessageAttributes=attributes)
    ours, theirs = service.requests[0], second.requests[0]
    assert ours.form() == theirs.form()
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    scope = ours.headers["authorization"].split("/", 1)[1].split(",")[0]
    assert scope == theirs.headers["authorization"].split("/", 1)[1].split(",")[0]
    assert receipt.id == "94f20ce6-13c5"


def test_a_request_to_sns_is_signed(service: FakeService, aws: None) -> None:
    """The signature is computed here once more, by the four steps of the AWS documentation."""
    deliver(through_aws(service.answer(200, SNS_TOOK)))
    sent = service.requests[0]
    kind, _, rest_of = sent.headers["authorization"].partition(" ")
    assert kind == "AWS4-HMAC-SHA256"
    given = dict(part.strip().split("=", 1) for part in rest_of.split(","))
    names = given["SignedHeaders"].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    headers = "".join(f"{name}:{' '.join(sent.headers[name].split())}\n" for name in names)
    digest = hashlib.sha256(sent.body).hexdigest()
    canonical = f"POST\n/\n\n{headers}\n{given['SignedHeaders']}\n{digest}"
    key_id, date, region, name, end = given["Credential"].split("/")
    assert (key_id, region, name) == ("AKIA00000000EXAMPLE0", "eu-central-1", "sns")
    stamp = f"{kind}\n{sent.headers['x-amz-date']}\n{date}/{region}/{name}/{end}\n"
    stamp += hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + b"secret/of+aws/" + b"x" * 26
    for part in (date, region, name, end, stamp):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert given["Signature"] == key.hex()


@pytest.mark.parametrize(
    ("status", "code", "said", "kind", "dead"),
    [
        (403, "InvalidClientTokenId", "The security token is invalid", Failure.AUTH, False),
        (403, "SignatureDoesNotMatch", "the request signature", Failure.AUTH, False),
        (403, "AuthorizationError", "not authorized to perform: SNS:Publish", Failure.AUTH, False),
        (400, "Throttling", "Rate exceeded", Failure.RETRY, False),
        (400, "InvalidParameter", "Invalid parameter: PhoneNumber", Failure.PERMANENT, False),
        (400, "InvalidParameter", "phone number is opted out", Failure.PERMANENT, True),
        (500, "InternalError", "x", Failure.RETRY, False),
    ],
)
def test_an_error_of_sns_has_its_class(  # noqa: PLR0917
    service: FakeService, aws: None, status: int, code: str, said: str, kind: Failure, dead: bool
) -> None:
    error = f"<ErrorResponse><Error><Code>{code}</Code><Message>{said}</Message></Error></ErrorResponse>"
    service.answer(status, error)
    failed = failure(through_aws(service))
    assert (failed.failure, failed.dead_target) == (kind, dead)
    assert status == 500 or code in failed.reason


def test_sns_without_credentials_says_what_to_do(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    failed = failure(through_aws(service))
    assert failed.failure is Failure.AUTH
    assert "AWS_SECRET_ACCESS_KEY" in failed.reason
    assert service.requests == []


def test_a_user_of_aws_who_may_only_publish_passes_the_check(service: FakeService, aws: None) -> None:
    error = "<ErrorResponse><Error><Code>AuthorizationError</Code><Message>no</Message></Error></ErrorResponse>"
    dispatcher = through_aws(service.answer(403, error))
    assert "sns:GetSMSAttributes" in dispatcher.check(dispatcher.targets()[0]).note
    assert dict(parse_qsl(service.requests[0].body.decode()))["Action"] == "GetSMSAttributes"


# ---------------------------------------------------------------------------------- one after the other


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, {"code": 20003, "message": "Authenticate"}),
        (400, {"code": 21606, "message": "From cannot send"}),
        (429, {"code": 20429, "message": "Too many"}),
        (503, {"message": "maintenance"}),
    ],
)
def test_a_provider_that_refuses_is_followed_by_the_next(
    service: FakeService, vonage: FakeService, status: int, said: Any
) -> None:
    service.answer(status, said)
    receipt = deliver(both(service, vonage))
    assert (receipt.id, receipt.facts["provider"]) == ("0C0000002", "vonage")
    assert receipt.note.startswith("sent through Vonage; Twilio failed: 127.0.0.1")
    assert vonage.requests[0].form()["from"] == "Alerts"
    assert receipt.follow_up is None


def test_a_provider_that_cannot_be_reached_is_followed_by_the_next(vonage: FakeService) -> None:
    receipt = deliver(both(f"http://127.0.0.1:{closed_port()}", vonage))
    assert receipt.facts["provider"] == "vonage"


def test_a_provider_that_takes_the_message_is_the_only_one(api: FakeService, vonage: FakeService) -> None:
    assert deliver(both(api, vonage)).note == ""
    assert vonage.requests == []


@pytest.mark.parametrize("behave", [faults.resets_instead_of_an_answer, faults.never_answers, faults.speaks_no_http])
def test_a_message_that_may_have_gone_is_not_sent_by_another(behave: Any, vonage: FakeService) -> None:
    with FaultServer(behave) as server:
        failed = failure(both(server.url, vonage, timeout=4.0))  # half of it for the first
    assert failed.failure is Failure.UNKNOWN
    assert vonage.requests == []


@pytest.mark.parametrize("code", [21610, 21211, 21614])
def test_nobody_writes_around_a_stop(service: FakeService, vonage: FakeService, code: int) -> None:
    service.answer(400, {"code": code, "message": "x"})
    failed = failure(both(service, vonage))
    assert failed.dead_target
    assert vonage.requests == []


@pytest.mark.parametrize(
    ("first", "then", "kind", "wait"),
    [
        ((401, {"code": 20003}), "4", Failure.AUTH, None),
        ((401, {"code": 20003}), "1", Failure.RETRY, None),
        ((401, {"code": 20003}), "15", Failure.PERMANENT, None),
        ((500, {}), "4", Failure.RETRY, None),
        ((400, {"code": 21606}), "9", Failure.RETRY_AFTER, 3600.0),
        ((400, {"code": 21606}), "12", Failure.TOO_LARGE, None),
        ((400, {"code": 21606}), "7", Failure.PERMANENT, None),
    ],
)
def test_where_all_fail_the_one_with_most_hope_decides(  # noqa: PLR0917
    service: FakeService, second: FakeService, first: tuple[int, Any], then: str, kind: Failure, wait: float | None
) -> None:
    service.answer(*first)
    second.answer(200, {"messages": [{"status": then, "error-text": "x"}]})
    failed = failure(both(service, second))
    assert (failed.failure, failed.retry_after, failed.dead_target) == (kind, wait, then == "7")
    assert "Twilio failed: " in failed.reason
    assert "Vonage failed: " in failed.reason


def test_all_providers_share_one_deadline(
    service: FakeService, vonage: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer(503, lambda _: time.sleep(0.3) or {})
    dispatcher = both(service, vonage, timeout=20.0)
    given = request_timeouts(monkeypatch, dispatcher.http)
    assert deliver(dispatcher).facts["provider"] == "vonage"
    first, second = given
    assert first <= 10.0, "the first one leaves half of it"
    assert second <= 19.7, "the time that the first one took is gone"


def test_a_provider_that_hangs_before_it_has_the_message_leaves_time_for_the_next(second: FakeService) -> None:
    def slowly(_: Received) -> Any:
        time.sleep(0.15)
        return VONAGE_TOOK

    second.answer(200, slowly)
    with FaultServer(faults.dribbles_the_handshake) as server:
        receipt = deliver(both(server.url.replace("http:", "https:"), second, timeout=8.0))
    assert receipt.facts["provider"] == "vonage"
    assert "Twilio failed" in receipt.note


def test_every_provider_is_checked(service: FakeService, second: FakeService) -> None:
    service.answer(200, {"status": "active"})
    second.answer(200, {"value": 1.5}).answer(401, {"title": "Unauthorized"})
    dispatcher = both(service, second)
    assert dispatcher.check(dispatcher.targets()[0]).facts == {"status": "active", "balance": 1.5}
    assert dispatcher.test_connection() is False


# ------------------------------------------------------------------------------------------- the cap


def spend(
    dispatcher: SmsDispatcher, memory: dict[str, Any], alert: Alert = HELLO, target: int = 0, **context: Any
) -> Receipt:
    """Deliver as the courier does, which keeps what is to be remembered."""
    where = dispatcher.targets()[target]
    receipt = dispatcher.deliver(alert, where, Context(key="k", memory=memory, **{"now": NOON, **context}))
    assert receipt.remember is not None
    memory[where.key] = dict(receipt.remember)
    return receipt


def held(dispatcher: SmsDispatcher, memory: dict[str, Any], **how: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        spend(dispatcher, memory, **how)
    return caught.value


def test_what_was_spent_is_remembered_by_day_and_month(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api)
    long = Alert.make("x" * 400)
    spend(dispatcher, memory)
    receipt = spend(dispatcher, memory, long)
    assert receipt.remember == {
        "day": "2026-11-20", "day_segments": 4, "month": "2026-11", "month_segments": 4, "told": ""
    }  # fmt: skip
    receipt = spend(dispatcher, memory, now=NOON + dt.timedelta(days=1))
    assert receipt.remember == {**receipt.remember, "day": "2026-11-21", "day_segments": 1, "month_segments": 5}
    receipt = spend(dispatcher, memory, now=NOON + dt.timedelta(days=15))
    assert receipt.remember == {**receipt.remember, "month": "2026-12", "day_segments": 1, "month_segments": 1}


def test_the_first_message_over_the_cap_says_so_and_later_ones_wait(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, daily_segments=3)
    for _ in range(3):
        assert spend(dispatcher, memory).note == ""
    receipt = spend(dispatcher, memory, Alert.make("the message", title="BUY AAPL"))
    assert body(api) == (
        "SMS cap of the day reached (3 segments): further alerts wait until 00:00 UTC, critical ones excepted.\n"
        "BUY AAPL\nthe message"
    )
    assert receipt.facts["segments"] == 1
    assert "cap of the day" in receipt.note
    failed = held(dispatcher, memory)
    assert (failed.failure, failed.retry_after, failed.digest) == (Failure.RETRY_AFTER, 12 * 3600.0, True)
    assert failed.reason == "the cap of the day is reached (3 segments)"
    assert not failed.answered, "to be held is no failed answer"
    assert len(api.requests) == 4
    assert spend(dispatcher, memory, now=NOON + dt.timedelta(hours=12)).note == "", "a new day"


def test_a_long_notice_is_one_segment(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, monthly_segments=3)
    spend(dispatcher, memory, Alert.make("x" * 400))
    spend(dispatcher, memory, Alert.make("y" * 400, title="“BUY”" * 50))
    assert gsm.segments(body(api)) == 1
    assert body(api).endswith('"BUY""B...')
    memory[dispatcher.targets()[0].key]["told"] = ""
    spend(dispatcher, memory, Alert.make("y" * 400, title="Цена" * 50))
    assert gsm.segments(body(api)) == 2, "in another script it takes two to tell until when"
    assert "wait until 2026-12-01 00:00 UTC, critical ones excepted.\nЦена" in body(api)


def test_the_month_is_told_before_the_day_and_waits_until_its_end(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, daily_segments=3, monthly_segments=3)
    spend(dispatcher, memory, Alert.make("x" * 400))
    spend(dispatcher, memory)
    assert "wait until 2026-12-01 00:00 UTC" in body(api)
    failed = held(dispatcher, memory, now=NOON + dt.timedelta(days=1))
    assert failed.retry_after == 9.5 * 86_400
    december = dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    spend(dispatcher, memory, Alert.make("x" * 400), now=december)
    spend(dispatcher, memory, now=december)
    assert "2027-01-01" in body(api)
    assert held(dispatcher, memory, now=december).retry_after == 1.0


def test_a_critical_alert_is_never_held_but_counted(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, daily_segments=3)
    critical = Alert.make("margin call", title="Risk", priority="critical")
    for number in range(1, 6):
        receipt = spend(dispatcher, memory, critical)
        assert receipt.remember is not None
        assert receipt.remember["day_segments"] == number
        assert body(api) == "CRITICAL: Risk\nmargin call"
    assert "cap of the day" in spend(dispatcher, memory).note
    spend(dispatcher, memory, critical)
    assert held(dispatcher, memory).digest, "a critical alert between does not make it told again"


def test_the_cap_is_of_all_numbers_and_each_is_told(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, to=[TO, OTHER], daily_segments=4)
    for target in (0, 1, 0, 1):
        assert spend(dispatcher, memory, target=target).note == ""
    for target in (0, 1):
        assert "cap of the day" in spend(dispatcher, memory, target=target).note
        assert held(dispatcher, memory, target=target).digest


def test_a_message_that_would_still_fit_waits_as_well_once_it_was_told(api: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(api, daily_segments=5)
    for _ in range(3):
        spend(dispatcher, memory)
    spend(dispatcher, memory, Alert.make("x" * 400))  # 3 more would be 6: told, in one
    assert held(dispatcher, memory).digest
    assert spend(sms(api, daily_segments=20), memory).note == "", "a higher cap counts at once"


def test_a_cap_in_money_is_one_in_segments(api: FakeService) -> None:
    assert sms(api, daily_cost=0.3, price_per_segment=0.1).cap.day == 3
    assert sms(api, daily_cost=1, monthly_cost=10, price_per_segment=0.0079).cap.month == 1265
    assert sms(api, daily_cost=10, daily_segments=7, price_per_segment=0.0079).cap.day == 7
    assert (sms(api).cap.day, sms(api).cap.month) == (0, 0)


def test_a_notice_that_did_not_go_is_told_by_the_next(service: FakeService) -> None:
    memory: dict[str, Any] = {}
    dispatcher = sms(service.answer(201, TAKEN).answer(201, TAKEN).answer(201, TAKEN), daily_segments=3)
    for _ in range(3):
        spend(dispatcher, memory)
    service.answer(503).answer(201, TAKEN)
    assert held(dispatcher, memory).failure is Failure.RETRY
    assert "cap of the day" in spend(dispatcher, memory).note


def test_what_was_remembered_wrongly_counts_as_nothing(api: FakeService) -> None:
    dispatcher = sms(api, daily_segments=3)
    key = dispatcher.targets()[0].key
    odd = {key: {"day": "2026-11-20", "day_segments": "many", "told": [1]}, "x": {"day_segments": -5, "day": 7}}
    assert spend(dispatcher, odd).facts["segments"] == 1


def test_used_alone_the_cap_counts_too(api: FakeService) -> None:
    dispatcher = sms(api, daily_segments=3)
    assert [dispatcher.send_custom_alert("x") for _ in range(6)] == [True] * 4 + [False] * 2
    assert len(api.requests) == 4


def test_what_the_cap_held_comes_as_one_message_when_the_day_is_over(api: FakeService) -> None:
    clock = Clock(NOON.timestamp())
    channel = {"type": "sms", "account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": FROM, "to": TO}
    channel |= {"api_url": api.url, "daily_segments": 3, "rate_limit": 0, "status_poll": False}
    with AlertManager({"alerts": {"phone": channel}}, store="memory", clock=clock) as manager:
        for number in range(1, 8):
            manager.emit(made(f"body {number}", title=f"alert {number}"))
            rest(manager)
        manager.emit(made("now", title="urgent", priority="critical"))
        rest(manager)
        titles = [sent.form()["Body"].splitlines()[0] for sent in api.requests]
        assert titles[:3] == ["alert 1", "alert 2", "alert 3"]
        assert titles[3].startswith("SMS cap of the day reached")
        assert titles[4:] == ["CRITICAL: urgent"]
        ahead(manager, clock, 12 * 3600)
        digest = api.requests[-1].form()["Body"]
        assert len(api.requests) == 6
        assert digest.startswith("3 alerts that waited")
        assert all(f"alert {number}" in digest for number in (5, 6, 7))
        assert manager.ledger().balanced
