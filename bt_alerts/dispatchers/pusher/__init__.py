"""Pusher Channels: events on a web page of your own while it is open (https://pusher.com/docs/channels).

An alert becomes one of the promised events (:mod:`bt_alerts.dispatchers.pusher.events`) on the channel
``executor-{executor_id}``. Pusher passes events on to the pages that listen right now and keeps none.

It takes no idempotency key, so an event whose outcome is unknown is sent again: a page knows the repeat by the same
``id`` or ``ticket``, and a position that is missing on it is worse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

from bt_alerts.alert import Alert, utcnow
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    Receipt,
    Target,
)
from bt_alerts.dispatchers.http import Answer, HttpDispatcher
from bt_alerts.dispatchers.pusher import api as pusher_api
from bt_alerts.dispatchers.pusher.api import Event, TooLarge
from bt_alerts.dispatchers.pusher.events import events_of


class PusherDispatcher(HttpDispatcher):
    """Sends every alert as an event to the pages that listen.

    Raises:
        ValueError: where an argument cannot be right; the text shows no credential.
    """

    type: ClassVar[str] = "pusher"
    kit = "pusher"

    def __init__(
        self,
        app_id: Annotated[
            str | None, Env("WE_V2_PUSHER_APP_ID"), About("number of your app, from its App Keys page")
        ] = None,
        key: Annotated[str | None, Credential(), Env("WE_V2_PUSHER_KEY"), About("key of the app")] = None,
        secret: Annotated[str | None, Credential(), Env("WE_V2_PUSHER_SECRET"), About("secret of the app")] = None,
        cluster: Annotated[
            str | None, Env("WE_V2_PUSHER_CLUSTER"), About("cluster of the app, such as eu or mt1")
        ] = None,
        executor_id: Annotated[
            str | None, Env("WE_V2_EXECUTOR_ID"), About("events go to the channel executor-{executor_id}")
        ] = None,
        *,
        channel: Annotated[str | None, About("another name for the channel, such as private-executor-1")] = None,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 0,
        api_url: Annotated[
            str | None, About("address instead of https://api-{cluster}.pusher.com, for proxies and tests")
        ] = None,
        timeout: Annotated[float, About("seconds for one request in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        self.app_id = _checked("app_id", app_id, "digits", r"[0-9A-Za-z_-]+")
        self._key = _checked("key", key, "letters and digits", r"[!-~]+")
        self._secret = _checked("secret", secret, "letters and digits", r"[!-~]+")
        self.cluster = _checked("cluster", cluster, "letters, digits and hyphens, such as eu", r"[0-9A-Za-z-]+")
        argument, name = ("channel", channel) if channel else ("executor_id", f"executor-{executor_id or 'default'}")
        try:
            self.channel = pusher_api.checked_channel(str(name).strip())
        except ValueError as exc:
            raise ValueError(f"{argument} {exc}") from None
        self.api_url = (api_url or f"https://api-{self.cluster}.pusher.com").rstrip("/")
        self._has_address = bool(api_url or self.cluster)

    def missing(self) -> str:
        names = [
            ("app_id (WE_V2_PUSHER_APP_ID)", self.app_id),
            ("key (WE_V2_PUSHER_KEY)", self._key),
            ("secret (WE_V2_PUSHER_SECRET)", self._secret),
            ("cluster (WE_V2_PUSHER_CLUSTER)", self._has_address),
        ]
        unset = [name for name, value in names if not value]
        return f"set {' and '.join(unset)} to send through Pusher" if unset else ""

    def targets(self) -> Sequence[Target]:
        return [] if self.missing() else [Target(f"{self.app_id}/{self.channel}", f"channel {self.channel}")]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        view = self.view(alert, context)
        events = events_of(alert, view, hide=self.look.privacy != "off")
        cut = self.trigger(events, context.now.timestamp())
        notes = [view.note, "shortened, because Pusher takes 10 KB an event" if cut else ""]
        return Receipt(note="; ".join(filter(None, notes)), facts={"events": [event.name for event in events]})

    def trigger(self, events: Sequence[Event], now: float) -> bool:
        """Send at most ten events in one request, at ``now`` in Unix seconds; True where something was cut off.

        Raises:
            DeliveryFailed: where they were not taken.
        """
        too_large = ""
        try:
            texts = [pusher_api.encoded(event) for event in events]
        except TooLarge as exc:
            too_large = str(exc)
        if too_large:
            raise DeliveryFailed(Failure.TOO_LARGE, too_large)
        pairs = [(event.name, text) for event, (text, _) in zip(events, texts, strict=True)]
        what, body = pusher_api.request_for(self.channel, pairs)
        path = f"/apps/{self.app_id}/{what}"
        query = pusher_api.signed(self._key, self._secret, "POST", path, body, now=now)
        url = pusher_api.with_query(self.api_url + path, query)
        self.request("POST", url, data=body, headers={"Content-Type": "application/json"})
        return any(cut for _, cut in texts)

    def check(self, target: Target) -> Receipt:
        """Ask which pages listen: a signed request that sends nothing."""
        path = f"/apps/{self.app_id}/channels"
        asked = {"filter_by_prefix": self.channel}
        query = pusher_api.signed(self._key, self._secret, "GET", path, b"", now=utcnow().timestamp(), params=asked)
        found = self.request("GET", pusher_api.with_query(self.api_url + path, query)).json().get("channels")
        listening = isinstance(found, dict) and self.channel in found
        note = f"a page listens on {self.channel}" if listening else f"no page listens on {self.channel} right now"
        return Receipt(note=note, facts={"listening": listening})

    def raise_for_answer(self, answer: Answer) -> None:
        pusher_api.raise_for_answer(answer)


def _checked(argument: str, value: object, words: str, pattern: str) -> str:
    text = "" if value is None else str(value).strip()
    if text and not re.fullmatch(pattern, text):
        raise ValueError(f"{argument} must have {words} only: copy it from the App Keys page of your app")
    return text
