"""Finds dispatchers by the word that settings call them: through the entry-point group ``bt_alerts.dispatchers``.

Ours stand in that group like a third party's, so there is one way in. A table of our own types is kept as well, because
a copy that was not installed (``PYTHONPATH``) has no entry points.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.metadata import entry_points

from bt_alerts.dispatchers.base import Dispatcher

GROUP = "bt_alerts.dispatchers"
BUILT_IN = {
    "apprise": "bt_alerts.dispatchers.apprise:AppriseDispatcher",
    "console": "bt_alerts.dispatchers.console:ConsoleDispatcher",
    "discord": "bt_alerts.dispatchers.discord:DiscordDispatcher",
    "email": "bt_alerts.dispatchers.email:EmailDispatcher",
    "ntfy": "bt_alerts.dispatchers.ntfy:NtfyDispatcher",
    "pagerduty": "bt_alerts.dispatchers.pagerduty:PagerDutyDispatcher",
    "pusher": "bt_alerts.dispatchers.pusher:PusherDispatcher",
    "pushover": "bt_alerts.dispatchers.pushover:PushoverDispatcher",
    "slack": "bt_alerts.dispatchers.slack:SlackDispatcher",
    "sms": "bt_alerts.dispatchers.sms:SmsDispatcher",
    "teams": "bt_alerts.dispatchers.teams:TeamsDispatcher",
    "telegram": "bt_alerts.dispatchers.telegram:TelegramDispatcher",
    "voice": "bt_alerts.dispatchers.voice:VoiceDispatcher",
    "webhook": "bt_alerts.dispatchers.webhook:WebhookDispatcher",
}


class UnknownChannelType(ValueError):
    """No dispatcher has this name; the message says which names there are."""


def channel_types() -> list[str]:
    """Every type that a channel can have, sorted."""
    return sorted({*BUILT_IN, *(found.name for found in entry_points(group=GROUP))})


def dispatcher_class(channel_type: str) -> type[Dispatcher]:
    """The class for a channel type.

    Raises:
        UnknownChannelType: where none has that name, or what is installed under it is no dispatcher.
    """
    if channel_type in BUILT_IN:
        module, name = BUILT_IN[channel_type].split(":")
        found = getattr(importlib.import_module(module), name)
    else:
        entry = next(iter(entry_points(group=GROUP, name=channel_type)), None)
        if entry is None:
            known = channel_types()
            near = difflib.get_close_matches(channel_type, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
            raise UnknownChannelType(f"there is no channel type {channel_type!r}: {hint}")
        try:
            found = entry.load()
        except Exception as exc:
            raise UnknownChannelType(
                f"channel type {channel_type!r} ({entry.value}) cannot be loaded: {exc}; reinstall its package"
            ) from exc
    if not (inspect.isclass(found) and issubclass(found, Dispatcher)):
        raise UnknownChannelType(f"channel type {channel_type!r} names {found!r}, which is no Dispatcher subclass")
    return found
