"""Slack passes the contract of every dispatcher that speaks HTTP, by a bot and by webhooks."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import slack_reader

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.slack import SlackDispatcher
from bt_alerts.dispatchers.slack.blocks import MAX_TOTAL
from bt_alerts.dispatchers.slack.talk import MAX_FILE
from bt_alerts.testing import FakeService, HttpDispatcherContract, Received

CAPITALS = string.ascii_uppercase + string.digits


class TestSlackContract(HttpDispatcherContract):
    answer = {"ok": True, "channel": "C0123456789", "ts": "1503435956.000247", "message": {"text": "x"}}
    failures: ClassVar[dict[int, Failure | None]] = {204: Failure.UNKNOWN}  # without a body it is not Slack
    limit = MAX_TOTAL + 500  # with the header and what part it is
    many_targets = takes_pictures = True
    picture_limit = MAX_FILE

    def program(self, service: FakeService) -> None:
        super().program(service)
        place = {"ok": True, "upload_url": f"{service.url}/upload/v1/ABC123", "file_id": "F123ABC456"}
        service.on("POST", "/api/files.getUploadURLExternal").answer(200, place)
        service.on("POST", "/upload/*").answer(200, "OK - 3")

    def make(self, url: str, *, addresses: Sequence[str] = ("C0123456789",), **settings: Any) -> SlackDispatcher:
        return SlackDispatcher(bot_token=f"xoxb-{self.secret('token')}", channel_ids=addresses, api_url=url, **settings)

    def address(self, number: int) -> str:
        return f"C00000000{number}"

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [slack_reader.shown(request.json()) for request in requests if is_message(request)]

    def refusal(self, status: int) -> Any:
        return {"ok": False, "error": "not_taken"}

    def assert_markup(self, request: Received) -> None:
        if is_message(request):
            slack_reader.assert_accepted(request.json())

    def calls(self, dispatcher: SlackDispatcher) -> Mapping[str, Callable[[], object]]:
        return {"check": lambda: dispatcher.check(dispatcher.targets()[0])}


class TestSlackWebhookContract(TestSlackContract):
    answer = "ok"
    picture_limit = None

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> SlackDispatcher:
        names = addresses or [self.address(0)]
        team, app = (self.secret(name, length=11, alphabet=CAPITALS) for name in ("team", "app"))
        return SlackDispatcher([f"{url}/services/{team}/{app}/{name}" for name in names], api_url=url, **settings)

    def address(self, number: int) -> str:
        return self.secret(f"hook {number}", length=24)

    def refusal(self, status: int) -> Any:
        return "not_taken"

    def unconfigured(self) -> SlackDispatcher:
        return SlackDispatcher()

    def _needs_pictures(self) -> None:
        import pytest

        pytest.skip("a webhook takes no files")


def is_message(request: Received) -> bool:
    return "json" in request.headers["content-type"]
