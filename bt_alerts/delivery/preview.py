"""What a channel would send for an alert, with credentials masked; for the shell and the dashboard. Sends nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

from bt_alerts.dispatchers.base import Context, DeliveryFailed, delivery_key
from bt_alerts.redact import MASK, redact, without_user

if TYPE_CHECKING:
    from bt_alerts.alert import Alert
    from bt_alerts.settings import Settings

MOST_SHOWN = 6_000  # characters of one body
#: They hold a credential in a form that nobody registered: user and password as base64, say.
_CREDENTIALS = {"authorization", "proxy-authorization"}
_SCHEMES = {"basic", "bearer", "digest", "token"}


class CannotPreview(Exception):
    """Why nothing can be shown, in a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request, as it would leave.

    Args:
        line: what is asked of whom: ``POST https://…``.
        headers: a line each.
        body: its text, cut where it is very long.
    """

    line: str
    headers: tuple[str, ...]
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """What would go to one target; no requests where the channel leaves such an alert out."""

    to: str
    requests: tuple[Request, ...]


NOTHING = "Nothing would be sent for this alert: look at the channel's own settings, such as min_priority."


def previews(settings: Settings, channel: str, alert: Alert, late: dt.timedelta | None = None) -> list[Preview]:
    """What would go to each target of a channel.

    Args:
        settings: of the channel, which must be there.
        channel: its name.
        alert: what would be told.
        late: as if it came so much later.

    Raises:
        CannotPreview: where the channel lacks something, or cannot tell.
    """
    dispatcher = settings.dispatcher(channel)
    try:
        missing = dispatcher.missing()
        if missing:
            raise CannotPreview(f"The channel {channel} cannot send: {missing}.")
        found = []
        for target in dispatcher.targets():
            context = Context(key=delivery_key(alert.id, channel, target.key), late=late)
            requests = dispatcher.preview(alert, target, context)
            found.append(
                Preview(
                    target.label,
                    tuple(
                        Request(
                            without_user(redact(each.line)),
                            tuple(_header(name, value) for name, value in each.headers.items()),
                            _cut(redact(each.body)),
                        )
                        for each in requests
                    ),
                )
            )
        return found
    except DeliveryFailed as failed:
        raise CannotPreview(f"It cannot be shown: {failed.reason}.") from None
    finally:
        dispatcher.close()


def _header(name: str, value: str) -> str:
    if name.strip().lower() not in _CREDENTIALS:
        return redact(f"{name}: {value}")
    scheme = str(value).partition(" ")[0]
    return f"{name}: {scheme} {MASK}" if scheme.lower() in _SCHEMES else f"{name}: {MASK}"


def _cut(body: str) -> str:
    more = len(body) - MOST_SHOWN
    return body if more <= 0 else f"{body[:MOST_SHOWN]}\n… {more:,} more characters"
