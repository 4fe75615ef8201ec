"""Telegram passes the contract of every dispatcher that speaks HTTP, in both of its markups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from telegram_reader import read

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.telegram import MAX_CAPTION, MAX_TEXT, TelegramDispatcher
from bt_alerts.dispatchers.telegram.api import MAX_FILE
from bt_alerts.testing import HttpDispatcherContract, Received


def fields(request: Received) -> dict[str, Any]:
    return dict(request.json() if "json" in request.headers["content-type"] else request.form())


class TestTelegramContract(HttpDispatcherContract):
    answer = {"ok": True, "result": {"message_id": 77, "date": 1, "chat": {"id": -100123, "title": "Alerts"}}}
    failures: ClassVar[dict[int, Failure | None]] = {
        204: Failure.UNKNOWN,  # without a body it is not Telegram that answers
        403: Failure.PERMANENT,  # the chat, not the token
        404: Failure.AUTH,  # the token is a part of the path
    }
    limit = MAX_TEXT
    many_targets = takes_pictures = True
    picture_limit = MAX_FILE
    parse_mode: ClassVar[str] = "HTML"

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> TelegramDispatcher:
        # Of a token it is the part after the colon that is secret.
        return TelegramDispatcher(
            f"123456:{self.secret('token')}",
            addresses or "-1001234567890",
            parse_mode=self.parse_mode,
            api_url=url,
            **settings,
        )

    def address(self, number: int) -> str:
        return f"-10012345{number}7890"

    def texts(self, requests: Sequence[Received]) -> list[str]:
        sent = [fields(request) for request in requests if "/send" in request.path]
        return [
            read(each.get("text") or each.get("caption", ""), each.get("parse_mode", ""))
            for each in sent
            if {"text", "caption"} & each.keys()
        ]

    def refusal(self, status: int) -> Any:
        return {"ok": False, "error_code": status, "description": "Not taken"}

    @staticmethod
    def retry_after_in_body(told: Any) -> Any:
        words = f"Too Many Requests: retry after {told}"
        return {"ok": False, "error_code": 429, "description": words, "parameters": {"retry_after": told}}

    def length(self, text: str) -> int:
        return len(text.encode("utf-16-le")) // 2

    def assert_markup(self, request: Received) -> None:
        sent = fields(request)
        raw = sent.get("text") or sent.get("caption") or ""
        assert len(raw.encode()) <= 32_768
        if "caption" in sent:
            assert self.length(read(raw, sent.get("parse_mode", ""))) <= MAX_CAPTION
        assert sent.get("parse_mode", "") == (self.parse_mode if raw else "")

    def calls(self, dispatcher: TelegramDispatcher) -> Mapping[str, Callable[[], object]]:
        return {"test_connection": dispatcher.test_connection}


class TestTelegramContractInMarkdown(TestTelegramContract):
    parse_mode = "MarkdownV2"
