"""ntfy passes the contract of every dispatcher that speaks HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.ntfy import NtfyDispatcher
from bt_alerts.testing import HttpDispatcherContract, Received


class TestNtfyContract(HttpDispatcherContract):
    answer = {"id": "hwQ2YpKdmg", "time": 1_777_593_600, "event": "message"}
    failures = {204: Failure.UNKNOWN}  # without a body it is not ntfy that answers
    limit = 1000 + 1 + 4096
    many_targets = True

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> NtfyDispatcher:
        topics = addresses or self.secret("topic")
        return NtfyDispatcher(topics, api_url=url, token=self.secret("token"), **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [f"{sent['title']}\n{sent['message']}" for sent in (request.json() for request in requests)]

    def length(self, text: str) -> int:
        return len(text.encode())

    def refusal(self, status: int) -> Any:
        return {"code": status * 100 + 1, "http": status, "error": "no", "link": "https://ntfy.sh/docs"}

    def assert_markup(self, request: Received) -> None:
        assert len(request.body) <= 2 * 4096
        assert 1 <= len(request.json()["message"].encode()) <= 4096


class TestNtfyContractWithPassword(TestNtfyContract):
    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> NtfyDispatcher:
        topics = addresses or self.secret("topic")
        return NtfyDispatcher(topics, api_url=url, username="trader", password=self.secret("password"), **settings)
