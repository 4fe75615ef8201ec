"""Discord passes the contract of every dispatcher that speaks HTTP: as embeds, and where those are refused as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from discord_reader import assert_within_limits, payload, read

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.discord import DiscordDispatcher
from bt_alerts.testing import FakeService, HttpDispatcherContract, Received
from bt_alerts.testing.contract import PICTURE

MESSAGE = {"id": "1503381912345678901", "channel_id": "1400000000000000001", "type": 0}


def wait_in_body(seconds: float) -> dict[str, Any]:
    return {"message": "You are being rate limited.", "retry_after": seconds, "global": False}


class TestDiscordContract(HttpDispatcherContract):
    answer = MESSAGE
    retry_after_in_body = staticmethod(wait_in_body)
    limit = 256 + 1 + 4096
    many_targets = takes_pictures = True
    picture_limit = 10 * 1024 * 1024

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> DiscordDispatcher:
        tokens = list(addresses) or [self.secret("token", length=68)]
        urls = [f"https://discord.com/api/webhooks/{id_of(token)}/{token}" for token in tokens]
        return DiscordDispatcher(urls, api_url=url, **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [read(request) for request in requests]

    def refusal(self, status: int) -> Any:
        return {"message": f"{status}: no", "code": 0}

    def assert_markup(self, request: Received) -> None:
        files = request.parts() if request.headers["content-type"].startswith("multipart/") else {}
        assert_within_limits(payload(request), len(files) - bool(files))


class TestDiscordContractAsText(TestDiscordContract):
    """The service refuses every embed."""

    limit = 2000

    def program(self, service: FakeService) -> None:
        super().program(service)
        refused = {"message": "Invalid Form Body", "code": 50035, "errors": {"embeds": ["0"]}}
        service.on(where=lambda request: b'"embeds"' in request.body).answer(400, refused)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [read(request) for request in requests if "content" in payload(request)]

    def test_a_picture_arrives_with_its_text(self, tmp_path: Path) -> None:
        (tmp_path / "chart.png").write_bytes(PICTURE)
        with self.ready() as (dispatcher, service):
            alert = Alert.make("with a picture", attachments=[Attachment.from_path(tmp_path / "chart.png")])
            receipt = self.deliver(dispatcher, alert)
            assert self.shows_picture(service.requests[-1], PICTURE)
            self.assert_shows(service.requests, alert)
            assert receipt.note.startswith("sent as plain text: ")


def id_of(token: str) -> str:
    return str(10**18 + sum(ord(char) * 131**place for place, char in enumerate(token)) % 10**17)
