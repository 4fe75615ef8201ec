"""A dispatcher of somebody else passes the contract: what it takes is this file."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from beacon import LIMIT, Beacon

from bt_alerts.dispatchers.base import Failure
from bt_alerts.testing import HttpDispatcherContract, Received


class TestBeaconContract(HttpDispatcherContract):
    answer = {"id": 1024}
    failures = {204: Failure.UNKNOWN}
    limit = LIMIT
    many_targets = True

    def make(self, url: str, *, addresses: Sequence[str] = ("lobby",), **settings: Any) -> Beacon:
        return Beacon(self.secret("token"), addresses, url, **settings)

    def address(self, number: int) -> str:
        return f"room-{number}"

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [html.unescape(request.json()["html"]) for request in requests]

    def assert_markup(self, request: Received) -> None:
        shown = request.json()["html"]
        assert len(shown) <= LIMIT
        assert re.search(r"<|&(?!(amp|lt|gt);)", shown) is None
