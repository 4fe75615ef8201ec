"""``AlertChannel``: the channel types as words, for ``create_alert(channels=[AlertChannel.PUSHOVER])``."""

from __future__ import annotations

import enum


class AlertChannel(enum.StrEnum):
    """Channel types of this package. A channel that was given a name of its own is named by that."""

    APPRISE = "apprise"
    CONSOLE = "console"
    DISCORD = "discord"
    EMAIL = "email"
    NTFY = "ntfy"
    PAGERDUTY = "pagerduty"
    PUSHER = "pusher"
    PUSHOVER = "pushover"
    SLACK = "slack"
    SMS = "sms"
    TEAMS = "teams"
    TELEGRAM = "telegram"
    VOICE = "voice"
    WEBHOOK = "webhook"
