"""``AsyncNotificationManager``: the alert manager for programs that run on asyncio.

``manager.py`` is the face, ``words.py`` reads what is to be told, ``handlers.py`` makes dispatchers of the promised
arguments. The engine behind it is :class:`bt_alerts.AlertManager`'s: same outbox, same retries, same ledger.
"""

from __future__ import annotations

from bt_alerts.aio.handlers import EmailHandler, SMSHandler, TelegramHandler, WebhookHandler
from bt_alerts.aio.manager import AsyncNotificationManager, initialize_notification_manager
from bt_alerts.aio.words import NotificationPriority, NotificationType

__all__ = [
    "AsyncNotificationManager",
    "EmailHandler",
    "NotificationPriority",
    "NotificationType",
    "SMSHandler",
    "TelegramHandler",
    "WebhookHandler",
    "initialize_notification_manager",
]
