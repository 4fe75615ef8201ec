"""Webhooks pass the contract of every dispatcher that speaks HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from bt_alerts.dispatchers.base import late_text
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.testing import HttpDispatcherContract, Received


class TestWebhookContract(HttpDispatcherContract):
    many_targets = True

    def make(self, url: str, *, addresses: Sequence[str] = ("hook",), **settings: Any) -> WebhookDispatcher:
        url = url.replace("//", f"//me:{self.secret('password')}@")
        urls = [f"{url}/{self.secret('path')}/{address}?token={self.secret('query')}" for address in addresses]
        headers = {"X-Token": self.secret("header"), "Authorization": f"Bearer {self.secret('bearer')}"}
        return WebhookDispatcher(urls, headers=headers, secret=f"whsec_{self.secret('key', length=32)}", **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [_shown(request.json()["data"]) for request in requests]


def _shown(data: dict[str, Any]) -> str:
    late = data["late_seconds"]
    return "\n".join([data["title"], late_text(late and dt.timedelta(seconds=late)), data["message"]])
