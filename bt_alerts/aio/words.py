"""What is to be told, as the caller of an ``AsyncNotificationManager`` writes it, and the alert that it becomes.

Nothing here is sent or kept. What is wrong with a notification is said in one sentence, before anything is accepted.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping
from typing import Any

from bt_alerts.alert import Alert, AlertType, Attachment, Priority
from bt_alerts.errors import InvalidNotificationError


class NotificationType(enum.StrEnum):
    """What a notification is about. Words of :class:`bt_alerts.AlertType` that are not here are taken too."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    SYSTEM = "system"
    SIGNAL = "signal"
    ORDER = "order"
    TRADE = "trade"
    POSITION = "position"
    MARKET = "market"
    ACCOUNT = "account"
    RISK = "risk"
    PRICE = "price"
    PERFORMANCE = "performance"
    CUSTOM = "custom"


class NotificationPriority(enum.StrEnum):
    """How urgent a notification is; words of :class:`bt_alerts.Priority` are taken too."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"
    CRITICAL = "critical"


_TYPES = {
    **{kind.value: kind for kind in AlertType},
    "info": AlertType.CUSTOM,
    "success": AlertType.CUSTOM,
    "warning": AlertType.CUSTOM,
    "system": AlertType.HEALTH,
}
_PRIORITIES = {
    **{priority.value: priority for priority in Priority},
    "normal": Priority.MEDIUM,
    "urgent": Priority.CRITICAL,
}
#: What a notification can have, in either of its two forms.
KEYS = (
    "channel", "message", "priority", "attachments", "notification_type", "title", "data", "source", "channels",
    "symbol",
)  # fmt: skip


def alert_of(given: Mapping[str, Any], channels: Mapping[str, str], now: float) -> Alert:
    """The alert that a notification is.

    Args:
        given: arguments of ``send_notification``; those left out have its defaults.
        channels: the type of each channel, by name.
        now: Unix seconds.

    Raises:
        InvalidNotificationError: where it cannot be sent as it is written, with what to write instead.
    """
    if unknown := [str(key) for key in given if key not in KEYS]:
        known = ", ".join(KEYS)
        raise InvalidNotificationError(f"a notification has no {', '.join(unknown)}: what it can have is {known}")
    word, alert_type = _word(given.get("notification_type", NotificationType.INFO), _TYPES, "notification_type")
    _, priority = _word(given.get("priority", NotificationPriority.NORMAL), _PRIORITIES, "priority")
    message, title = given.get("message"), given.get("title")
    if message in (None, "") and not title:
        raise InvalidNotificationError('nothing is said: give message="…"')
    data = given.get("data")
    if data is not None and not isinstance(data, Mapping):
        raise InvalidNotificationError(f"data must be a mapping such as {{'symbol': 'AAPL'}}, not {_kind(data)}")
    return Alert.make(
        "" if message is None else message,
        title=title or ("Trading Alert" if word == NotificationType.INFO else word.capitalize()),
        type=alert_type,
        kind=f"notification.{word}",
        priority=priority,
        time=now,
        symbol=given.get("symbol") or "",
        strategy=given.get("source") or "",
        data=data,
        channels=_channels(given.get("channel"), given.get("channels"), channels),
        attachments=_attachments(given.get("attachments")),
    )


def _word(given: Any, known: Mapping[str, Any], what: str) -> tuple[str, Any]:
    word = given.strip().lower() if isinstance(given, str) else given
    if not isinstance(word, str) or word not in known:
        raise InvalidNotificationError(f"{given!r:.80} is no {what}: use one of {', '.join(known)}")
    return str(word), known[word]


def _channels(one: Any, several: Any, known: Mapping[str, str]) -> list[str]:
    asked = [] if one is None else [one]
    if several is not None:
        asked += [several] if isinstance(several, str) or not isinstance(several, Iterable) else several
    words = {*known, *known.values()}
    for word in asked:
        if word not in words:  # not quoted where it may be anything, a token in the wrong place among it
            shown = repr(word) if isinstance(word, str) and word.isidentifier() and len(word) < 30 else _kind(word)
            instead = f", or use one of {', '.join(known)}" if known else ""
            raise InvalidNotificationError(f"there is no channel {shown}: add_handler(...) it first{instead}")
    return list(dict.fromkeys(map(str, asked)))


def _attachments(given: Any) -> list[Attachment]:
    """The files, described and hashed; slow where they are large."""
    if given is None:
        return []
    found = []
    for each in [given] if isinstance(given, str | os.PathLike | Attachment) else given:
        if isinstance(each, Attachment):
            found.append(each)
            continue
        if not isinstance(each, str | os.PathLike):
            raise InvalidNotificationError(f"attachments must be paths of files, not {_kind(each)}")
        try:
            found.append(Attachment.from_path(each))
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise InvalidNotificationError(f"the attachment {os.fspath(each)!r} cannot be read: {why}") from None
    return found


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
