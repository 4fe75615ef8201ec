"""Text messages and calls pass the contract of every dispatcher that speaks HTTP, with each provider."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import pytest

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.sms import SmsDispatcher, gsm
from bt_alerts.dispatchers.voice import VoiceDispatcher, spoken
from bt_alerts.testing import HttpDispatcherContract, Received

SID = "SM" + "0123456789abcdef" * 2
#: What comes with a success: a message, a call, or (``check``) an account.
TAKEN = {"sid": SID, "status": "active", "num_segments": "1", "date_created": "Fri, 20 Nov 2026 12:00:00 +0000"}


class SmsContract(HttpDispatcherContract):
    many_targets = True
    segments = 3
    field = "Body"

    def address(self, number: int) -> str:
        return "+" + self.secret(f"number {number}", length=13, alphabet="123456789")

    def as_read(self, text: str) -> str:
        return gsm.economical(text.replace("⏱ ", ""))

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [request.form()[self.field] for request in requests]

    def assert_markup(self, request: Received) -> None:
        assert gsm.segments(request.form()[self.field]) <= self.segments


class TestSmsContract(SmsContract):
    answer, answer_status = TAKEN, 201
    failures = {204: Failure.UNKNOWN}  # without a body it is not Twilio that answers
    limit = 3 * gsm.EACH_GSM

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> SmsDispatcher:
        to = addresses or self.address(0)
        token = self.secret("auth token")
        return SmsDispatcher("twilio", "AC" + "0" * 32, token, "+15005550006", to, api_url=url, **settings)

    def refusal(self, status: int) -> Any:
        return {"code": 99_999, "message": "not taken", "more_info": "https://twilio.example", "status": status}


class TestSmsContractInOneSegmentOfUnicode(TestSmsContract):
    limit = gsm.ONE_GSM
    segments = 1

    def make(self, url: str, **settings: Any) -> SmsDispatcher:
        return super().make(url, one_segment=True, keep_unicode=True, **settings)

    def as_read(self, text: str) -> str:
        return text.replace("⏱ ", "")


class TestSmsContractThroughVonage(SmsContract):
    answer = {"message-count": "1", "messages": [{"to": "49", "message-id": "0A00", "status": "0"}], "value": 9.5}
    failures = {204: Failure.UNKNOWN}
    limit = 3 * gsm.EACH_GSM
    field = "text"

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> SmsDispatcher:
        secrets = {"api_key": self.secret("key", length=8), "api_secret": self.secret("secret", length=16)}
        to = addresses or self.address(0)
        return SmsDispatcher("vonage", from_number="Alerts", to=to, api_url=url, **secrets, **settings)

    def is_for(self, request: Received, address: str) -> bool:
        return request.form().get("to") == address.removeprefix("+")


class TestSmsContractThroughAws(SmsContract):
    answer = "<PublishResponse><PublishResult><MessageId>94f20ce6-13c5</MessageId></PublishResult></PublishResponse>"
    failures = {204: Failure.UNKNOWN}
    limit = 3 * gsm.EACH_GSM
    field = "Message"

    @pytest.fixture(autouse=True)
    def _keys(self, _contract: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0000000000000000")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret("aws", length=40))

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> SmsDispatcher:
        to = addresses or self.address(0)
        return SmsDispatcher("aws_sns", to=to, aws_region="eu-central-1", api_url=url, **settings)

    def refusal(self, status: int) -> Any:
        return "<ErrorResponse><Error><Type>Sender</Type></Error></ErrorResponse>"


class TestVoiceContract(TestSmsContract):
    answer = {**TAKEN, "sid": "CA" + SID[2:]}
    limit = None

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> VoiceDispatcher:
        to, token = addresses or self.address(0), self.secret("auth token")
        return VoiceDispatcher("AC" + "0" * 32, token, "+15005550006", to, min_priority="info", api_url=url, **settings)

    def as_read(self, text: str) -> str:
        return spoken(text)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        says = [ET.fromstring(request.form()["Twiml"]).find("Say") for request in requests]
        return [say.text or "" for say in says if say is not None]

    def assert_markup(self, request: Received) -> None:
        assert len(request.form()["Twiml"]) <= 4000
