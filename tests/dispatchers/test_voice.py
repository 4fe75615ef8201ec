"""Calls: what Twilio is asked to say, to whom, and what became of it. Oracle: Twilio's own SDK."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from alerts_kit import Clock, rest, until
from twilio.http.http_client import HttpClient as SdkHttpClient
from twilio.http.response import Response as SdkResponse
from twilio.rest import Client
from twilio.twiml.voice_response import VoiceResponse

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, News, Receipt
from bt_alerts.dispatchers.voice import MAX_TWIML, VoiceDispatcher, spoken
from bt_alerts.testing import FakeService
from bt_alerts.testing.poison import TEXTS

ACCOUNT, TOKEN = "AC" + "1b" * 16, "tok" + "7e" * 14
FROM, TO = "+15005550006", "+4915112345678"
SID = "CA" + "0123456789abcdef" * 2
TAKEN = {"sid": SID, "status": "queued"}
MARGIN = Alert.make("Margin used: 1,234.50", title="Margin call", priority="critical")


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(201, TAKEN)


def voice(api: FakeService, **options: Any) -> VoiceDispatcher:
    given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": FROM, "to": TO, "api_url": api.url}
    return VoiceDispatcher(**{**given, **options})


def deliver(dispatcher: VoiceDispatcher, alert: Alert = MARGIN, **context: Any) -> Receipt:
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **context))


def said(api: FakeService) -> str:
    found = ET.fromstring(api.requests[-1].form()["Twiml"]).find("Say")
    assert found is not None
    return found.text or ""


class Recorder(SdkHttpClient):
    """What Twilio's own client would send."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def request(self, method: str, url: str, **how: Any) -> SdkResponse:  # type: ignore[override]
        self.asked = {"method": method, "url": url, **how}
        return SdkResponse(201, '{"sid": "CA1"}')


@pytest.mark.parametrize("text", ["Margin call", "a & b < c > d \"e\" 'f'", "Grüße, цена", "]]> <Say>x</Say>", "a\nb"])
def test_it_asks_for_the_call_that_the_sdk_of_twilio_asks_for(api: FakeService, text: str) -> None:
    dispatcher = voice(api, voice="Polly.Joanna", language="en-GB", repeat=3)
    receipt = deliver(dispatcher, Alert.make(text, title="Now", priority="critical"))
    response = VoiceResponse()
    response.pause(length=1)
    response.say(f"Critical alert: Now.\n{spoken(text)}", voice="Polly.Joanna", language="en-GB", loop=3)
    recorder = Recorder()
    Client(ACCOUNT, TOKEN, http_client=recorder).calls.create(to=TO, from_=FROM, twiml=str(response))
    sent, wanted = api.requests[0], recorder.asked
    assert (sent.method, f"https://api.twilio.com{sent.path}") == (wanted["method"], wanted["url"])
    ours, theirs = sent.form(), wanted["data"]
    assert ET.canonicalize(ours.pop("Twiml")) == ET.canonicalize(theirs.pop("Twiml"))
    assert ours == theirs
    assert (receipt.id, receipt.follow_up, receipt.facts) == (SID, 15.0, {"called": True})


def test_an_alert_that_is_not_critical_calls_nobody_and_says_so(api: FakeService) -> None:
    for priority in ("high", "medium", "low", "info"):
        receipt = deliver(voice(api), Alert.make("x", priority=priority))
        assert receipt.note == "not called: only alerts of priority critical or more are (min_priority)"
        assert receipt.facts == {"called": False}
        assert (receipt.id, receipt.follow_up) == ("", None)
        assert voice(api).follow_up(receipt) is None
    assert api.requests == []


@pytest.mark.parametrize("least", list(Priority))
def test_the_least_priority_can_be_set(api: FakeService, least: Priority) -> None:
    dispatcher = voice(api, min_priority=str(least.value).upper())
    called = {
        priority for priority in Priority if deliver(dispatcher, Alert.make("x", priority=priority)).facts["called"]
    }
    assert called == {priority for priority in Priority if priority >= least}


def test_used_alone_an_alert_without_a_call_was_not_sent(api: FakeService) -> None:
    assert voice(api).send_custom_alert("x", high_priority=True) is False
    assert voice(api, min_priority="high").send_custom_alert("x", high_priority=True) is True
    assert voice(api, min_priority="high").send_error_alert("Feed", "gone") is True
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("🔴 Margin call 🚨", "Margin call"),
        ("P&L: -1,234.50 USD (+2.5%)", "P&L: minus 1234.50 USD (plus 2.5%)"),
        ("1,000,000 units, 12,5 and 1,23,456", "1000000 units, 12,5 and 1,23,456"),
        ("10-20, A-5, BTC-USD", "10-20, A-5, BTC-USD"),
        ("**bold** _it_ `code` 2*3", "bold it code 2*3"),
        ("stop 150 → 145", "stop 150 to 145"),
        ("see https://example.com/a?b=c now", "see link now"),
        ("• one\n\n• two", "one\ntwo"),
        ("Profit -94.07 · -4.12 %", "Profit minus 94.07, minus 4.12 %"),
        ("RSI < 30", "RSI < 30"),
        ("⏱ 11 min late", "11 min late"),
        ("5€ 20°C ±3", "5€ 20°C ±3"),
    ],
)
def test_a_text_is_made_for_the_ear(text: str, heard: str) -> None:
    assert spoken(text) == heard


def test_words_are_put_in_for_english_voices_only() -> None:
    assert spoken("-5 → +3", "de-DE") == "-5, +3"
    assert spoken("-5 → +3", "en-AU") == "minus 5 to plus 3"


def test_a_late_call_says_how_late(api: FakeService) -> None:
    deliver(voice(api), late=dt.timedelta(minutes=11))
    assert said(api) == "Critical alert: Margin call.\n11 min late\nMargin used: 1234.50"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_whatever_is_said_is_xml_of_at_most_4000_characters(api: FakeService, name: str) -> None:
    deliver(voice(api), Alert.make(TEXTS[name], title=TEXTS[name], priority="critical"))
    twiml = api.requests[0].form()["Twiml"]
    assert len(twiml) <= MAX_TWIML
    assert [element.tag for element in ET.fromstring(twiml).iter()] == ["Response", "Pause", "Say"]
    assert said(api).strip()


def test_a_long_text_uses_the_room(api: FakeService) -> None:
    deliver(voice(api), Alert.make("word & " * 5000, title="Long", priority="critical"))
    assert 3900 < len(api.requests[0].form()["Twiml"]) <= MAX_TWIML
    assert said(api).endswith("…")


@pytest.mark.parametrize(
    ("status", "more", "words", "failed"),
    [
        ("completed", {"duration": "12"}, "answered, by a person or a voicemail, for 12 s", False),
        ("busy", {}, "not answered: the line was busy", True),
        ("no-answer", {}, "not answered: nobody picked up", True),
        ("failed", {}, "the call failed", True),
        ("canceled", {}, "the call was cancelled", True),
    ],
)
def test_it_is_told_whether_somebody_answered(
    service: FakeService, status: str, more: dict[str, Any], words: str, failed: bool
) -> None:
    service.answer(200, {"sid": SID, "status": status, **more})
    news = voice(service).follow_up(Receipt(SID))
    assert isinstance(news, News)
    assert (news.failed, news.again) == (failed, None)
    assert news.text.startswith(words)
    assert service.requests[0].path == f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{SID}.json"


def test_a_call_under_way_is_asked_for_again(service: FakeService) -> None:
    now = dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    service.answer(200, {"sid": SID, "status": "ringing", "date_created": now})
    news = voice(service).follow_up(Receipt(SID))
    assert news is not None
    assert (news.text, news.again, news.failed) == ("the call is under way (ringing)", 15.0, False)


@pytest.mark.parametrize(
    ("code", "kind", "dead", "words"),
    [
        (20003, Failure.AUTH, False, "account_sid and auth_token"),
        (21211, Failure.PERMANENT, True, "no phone number"),
        (21215, Failure.PERMANENT, False, "Voice, Geo permissions"),
        (21219, Failure.PERMANENT, False, "trial account"),
        (21210, Failure.PERMANENT, False, "from_number is not verified"),
    ],
)
def test_a_refusal_has_the_class_of_its_code(
    service: FakeService, code: int, kind: Failure, dead: bool, words: str
) -> None:
    service.answer(400, {"code": code, "message": "no", "status": 400})
    with pytest.raises(DeliveryFailed) as caught:
        deliver(voice(service))
    assert (caught.value.failure, caught.value.dead_target) == (kind, dead)
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_priority": "urgent"}, "min_priority must be critical, high"),
        ({"repeat": 0}, "repeat must be 1 to 10"),
        ({"voice": 'x" onload="'}, "voice must be the name"),
        ({"language": "english!"}, "language must be"),
        ({"from_number": "MG" + "0" * 32}, "from_number must be written as"),
        ({"to": "0151 123"}, "to must be written as"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VoiceDispatcher(ACCOUNT, TOKEN, **{"from_number": FROM, "to": TO, **options})


def test_what_is_missing_is_named() -> None:
    assert VoiceDispatcher().missing() == (
        "set account_sid (TWILIO_ACCOUNT_SID), auth_token (TWILIO_AUTH_TOKEN), from_number (TWILIO_FROM_NUMBER), "
        "to (VOICE_TO) to make calls through Twilio"
    )


def test_a_call_that_nobody_answers_goes_to_the_fallback(service: FakeService) -> None:
    clock = Clock()
    service.on("POST", "*/Calls.json").answer(201, TAKEN)
    service.on("GET", "*/Calls/*").answer(200, {"sid": SID, "status": "no-answer"})
    call = {"type": "voice", "account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": FROM, "to": TO}
    call |= {"api_url": service.url, "fallback": "hook"}
    hook = {"type": "webhook", "urls": f"{service.url}/hook", "enabled": True}
    with AlertManager({"alerts": {"call": call, "hook": hook}}, store="memory", clock=clock) as manager:
        manager.emit(MARGIN.replace(channels=("call",)))
        rest(manager)
        assert [sent.path.rsplit("/", 1)[-1] for sent in service.requests] == ["Calls.json"]
        clock.advance(15)
        until(lambda: (manager.flush(0), service.requests[-1].path == "/hook")[1])
        assert service.requests[-1].json()["data"]["title"] == "Margin call"
