"""What channels have in common that post one JSON message to each of their addresses.

The file of such a channel holds only what is special about its service; ``ntfy.py`` is one to begin with. It names its
arguments, hands those that all have to :meth:`SimpleDispatcher.set_up`, makes its message in ``deliver``, and gives it
to :meth:`SimpleDispatcher.post`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import About, DeliveryFailed, Failure, Target, arguments, register_secrets_in, several
from bt_alerts.dispatchers.http import Answer, HttpDispatcher
from bt_alerts.render.look import View
from bt_alerts.render.text import split

Enabled = Annotated[bool, About("false sends nothing")]
RateLimit = Annotated[int, About("messages a minute; 0 means no limit")]
Timeout = Annotated[float, About("seconds for one request in total")]
CaFile = Annotated[str | None, About("PEM file of certificate authorities to trust instead")]


class SimpleDispatcher(HttpDispatcher):
    """Base of dispatchers whose first argument is their addresses."""

    def set_up(
        self,
        addresses: str | Sequence[str] | None,
        enabled: bool,
        rate_limit: int,
        timeout: float,
        ca_file: str | None,
    ) -> None:
        """Take the arguments that all have; addresses may be a list or one text with commas."""
        self.enabled, self.rate_limit, self.timeout, self.ca_file = enabled, rate_limit, timeout, ca_file
        self.addresses = several(addresses)
        register_secrets_in(self.addresses)

    def label(self, target: Target) -> str:
        """What may be shown of an address; the address itself is a secret."""
        return f"{self.type} #{target.key[:6]}"

    def missing(self) -> str:
        first = arguments(type(self))[0]
        return "" if self.addresses else f"set {first.name} ({first.env}) to send to {self.type}"

    def targets(self) -> Sequence[Target]:
        return [Target(address, self.label(Target(address))) for address in self.addresses]

    def post(self, url: str, message: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Post ``message`` as JSON. Raises :class:`DeliveryFailed` where it is not taken."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.request("POST", url, data=in_json(message), headers=sent)

    def refused(self, answer: Answer, reason: str) -> DeliveryFailed:
        """What to raise where credentials are wrong that belong to one address; it must not silence the others."""
        if len(self.addresses) == 1:
            return answer.failed(Failure.AUTH, reason)
        return answer.failed(Failure.PERMANENT, reason, dead_target=True)


def notes(alert: Alert, view: View, more: str = "") -> str:
    """What a receipt says of a message that was sent in another way than it was meant."""
    files = "sent without its files: this channel takes text only" if alert.attachments else ""
    return "; ".join(filter(None, (view.note, files, more)))


def in_json(value: object) -> bytes:
    """``value`` as it is sent."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def fitted(text: str, limit: int, size: Callable[[str], int]) -> str:
    """``text`` in at most ``limit``, with "…" where something was cut off.

    Args:
        text: what may be too long.
        limit: what the service takes.
        size: how the service counts.
    """
    return text if size(text) <= limit else split(text, limit - size("…"), size)[0].rstrip() + "…"
