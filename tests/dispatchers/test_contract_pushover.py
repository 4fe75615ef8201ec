"""Pushover passes the contract of every dispatcher that speaks HTTP, with its messages plain and in HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.pushover import MAX_MESSAGE, MAX_PICTURE, MAX_TITLE, PAUSE, PushoverDispatcher
from bt_alerts.testing import HttpDispatcherContract, Received

FIRST_LINE = re.compile(r'<b><font color="#[0-9a-f]{6}">([^<>]*)</font></b>')
FIRST = r"\1"


class TestPushoverContract(HttpDispatcherContract):
    answer = {"status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b"}
    failures = {204: Failure.UNKNOWN}  # without a body it is not Pushover that answers
    limit = MAX_TITLE + 1 + MAX_MESSAGE
    many_targets = takes_pictures = True
    picture_limit = MAX_PICTURE

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> PushoverDispatcher:
        users = addresses or self.secret("user")
        return PushoverDispatcher(self.secret("token"), users, api_url=url, **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [f"{form['title']}\n{form['message']}" for form in (request.form() for request in requests)]

    def refusal(self, status: int) -> Any:
        return {"status": 0, "request": "r", "errors": ["not taken"]}

    def wait_for(self, status: int, told: float) -> float:
        return max(told, PAUSE) if status >= 500 else told

    def assert_markup(self, request: Received) -> None:
        form = request.form()
        assert len(form["title"]) <= MAX_TITLE
        assert len(form["message"]) <= MAX_MESSAGE

    def calls(self, dispatcher: PushoverDispatcher) -> Mapping[str, Callable[[], object]]:
        return {
            "receipt_status": lambda: dispatcher.receipt_status("rLqVuqTRh62UzxtmqiaLzQmVcPgiCy"),
            "sounds": dispatcher.sounds,
        }


class TestPushoverContractInHtml(TestPushoverContract):
    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> PushoverDispatcher:
        """With credentials that are set later."""
        dispatcher = PushoverDispatcher(api_url=url, html=True, **settings)
        dispatcher.set_credentials(self.secret("token"), addresses or self.secret("user"))
        return dispatcher

    def texts(self, requests: Sequence[Received]) -> list[str]:
        forms = [request.form() for request in requests]
        return [f"{form['title']}\n{html.unescape(FIRST_LINE.sub(FIRST, form['message']))}" for form in forms]

    def assert_markup(self, request: Received) -> None:
        super().assert_markup(request)
        rest = FIRST_LINE.sub("", request.form()["message"])
        assert "<" not in rest
        assert re.search(r"&(?!(amp|lt|gt);)", rest) is None
