"""A dispatcher as somebody else would write one, for a service that there is not."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Sequence
from typing import Annotated, Any

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import About, Context, Credential, DeliveryFailed, Env, Failure, Receipt, Target
from bt_alerts.dispatchers.http import HttpDispatcher

LIMIT = 600


def escape(text: str) -> str:
    return html.escape(text, quote=False)


class Beacon(HttpDispatcher):
    """Beacon shows a little HTML, at most 600 characters of it a message, in rooms."""

    type = "beacon"
    rate = 30
    escape = staticmethod(escape)

    def __init__(
        self,
        token: Annotated[str, Credential(), Env("BEACON_TOKEN"), About("the token of the integration")] = "",
        rooms: Annotated[Sequence[str], About("names of rooms")] = ("lobby",),
        url: Annotated[str, About("address of the service")] = "https://beacon.example",
        timeout: Annotated[float, About("seconds for one delivery in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.token, self.rooms, self.url = token.strip(), list(dict.fromkeys(rooms)), url
        self.timeout, self.ca_file = timeout, ca_file

    def missing(self) -> str:
        return "" if self.token else "set token (BEACON_TOKEN) to send to Beacon"

    def targets(self) -> Sequence[Target]:
        return [Target(room, f"room {room}") for room in self.rooms] if self.token else []

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        until = time.monotonic() + self.timeout
        said: dict[str, Any] = {}
        for number, page in enumerate(self.pages(alert, context, LIMIT)):
            said = self.post("messages", until, room=target.address, html=page, key=f"{context.key}-{number}")
        return Receipt(id=str(said["id"]))

    def check(self, target: Target) -> Receipt:
        self.post("rooms", time.monotonic() + self.timeout, room=target.address)
        return Receipt()

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data, left = json.dumps(body).encode(), until - time.monotonic()
        said = self.request("POST", f"{self.url}/{path}", data=data, headers=headers, timeout=left).json()
        if "id" not in said:
            raise DeliveryFailed(Failure.UNKNOWN, "this is not how Beacon answers")
        return said
