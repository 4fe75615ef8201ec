"""Alerts for Backtrader: orders, trades, signals and crashes reach your phone, once, and a backtest sends nothing.

Names are loaded when they are first used, so that importing this package costs next to nothing::

    from bt_alerts import attach

    manager = attach(cerebro, "alerts.yaml")   # one line; the strategy stays as it is
    cerebro.run()
    manager.history()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bt_alerts._version import __version__

if TYPE_CHECKING:
    from bt_alerts.aio.handlers import EmailHandler as EmailHandler
    from bt_alerts.aio.handlers import SMSHandler as SMSHandler
    from bt_alerts.aio.handlers import TelegramHandler as TelegramHandler
    from bt_alerts.aio.handlers import WebhookHandler as WebhookHandler
    from bt_alerts.aio.manager import AsyncNotificationManager as AsyncNotificationManager
    from bt_alerts.aio.manager import initialize_notification_manager as initialize_notification_manager
    from bt_alerts.aio.words import NotificationPriority as NotificationPriority
    from bt_alerts.aio.words import NotificationType as NotificationType
    from bt_alerts.alert import Alert as Alert
    from bt_alerts.alert import AlertPriority as AlertPriority
    from bt_alerts.alert import AlertType as AlertType
    from bt_alerts.alert import Attachment as Attachment
    from bt_alerts.alert import Priority as Priority
    from bt_alerts.channels import AlertChannel as AlertChannel
    from bt_alerts.delivery.report import DeliveryReport as DeliveryReport
    from bt_alerts.dispatchers.base import Dispatcher as Dispatcher
    from bt_alerts.dispatchers.console import ConsoleDispatcher as ConsoleDispatcher
    from bt_alerts.dispatchers.pushover import PushoverDispatcher as PushoverDispatcher
    from bt_alerts.dispatchers.webhook import WebhookDispatcher as WebhookDispatcher
    from bt_alerts.errors import AlertsError as AlertsError
    from bt_alerts.errors import NetworkError as NetworkError
    from bt_alerts.errors import NotificationError as NotificationError
    from bt_alerts.errors import RateLimitError as RateLimitError
    from bt_alerts.errors import SettingsError as SettingsError
    from bt_alerts.errors import StoreError as StoreError
    from bt_alerts.hooks.analyzer import AlertAnalyzer as AlertAnalyzer
    from bt_alerts.hooks.analyzer import AlertingAnalyzer as AlertingAnalyzer
    from bt_alerts.hooks.attach import attach as attach
    from bt_alerts.hooks.notifier import Notifier as Notifier
    from bt_alerts.hooks.observer import AlertingObserver as AlertingObserver
    from bt_alerts.hooks.observer import AlertObserver as AlertObserver
    from bt_alerts.logging_bridge import AlertHandler as AlertHandler
    from bt_alerts.manager import AlertManager as AlertManager
    from bt_alerts.manager import configure as configure
    from bt_alerts.manager import default_manager as default_manager
    from bt_alerts.pusher_emitter import PusherEmitter as PusherEmitter
    from bt_alerts.settings import ConfigManager as ConfigManager
    from bt_alerts.settings.watches import WatchLevel as WatchLevel
    from bt_alerts.settings.watches import watch as watch

_WHERE = {
    "Alert": "alert",
    "AlertAnalyzer": "hooks.analyzer",
    "AlertChannel": "channels",
    "AlertHandler": "logging_bridge",
    "AlertManager": "manager",
    "AlertObserver": "hooks.observer",
    "AlertPriority": "alert",
    "AlertType": "alert",
    "AlertingAnalyzer": "hooks.analyzer",
    "AlertingObserver": "hooks.observer",
    "AlertsError": "errors",
    "AsyncNotificationManager": "aio.manager",
    "Attachment": "alert",
    "ConfigManager": "settings",
    "ConsoleDispatcher": "dispatchers.console",
    "DeliveryReport": "delivery.report",
    "Dispatcher": "dispatchers.base",
    "EmailHandler": "aio.handlers",
    "NetworkError": "errors",
    "NotificationError": "errors",
    "NotificationPriority": "aio.words",
    "NotificationType": "aio.words",
    "Notifier": "hooks.notifier",
    "Priority": "alert",
    "PusherEmitter": "pusher_emitter",
    "PushoverDispatcher": "dispatchers.pushover",
    "RateLimitError": "errors",
    "SMSHandler": "aio.handlers",
    "SettingsError": "errors",
    "StoreError": "errors",
    "TelegramHandler": "aio.handlers",
    "WatchLevel": "settings.watches",
    "WebhookDispatcher": "dispatchers.webhook",
    "WebhookHandler": "aio.handlers",
    "attach": "hooks.attach",
    "configure": "manager",
    "default_manager": "manager",
    "initialize_notification_manager": "aio.manager",
    "watch": "settings.watches",
}

__all__ = [
    "Alert",
    "AlertAnalyzer",
    "AlertChannel",
    "AlertHandler",
    "AlertManager",
    "AlertObserver",
    "AlertPriority",
    "AlertType",
    "AlertingAnalyzer",
    "AlertingObserver",
    "AlertsError",
    "AsyncNotificationManager",
    "Attachment",
    "ConfigManager",
    "ConsoleDispatcher",
    "DeliveryReport",
    "Dispatcher",
    "EmailHandler",
    "NetworkError",
    "NotificationError",
    "NotificationPriority",
    "NotificationType",
    "Notifier",
    "Priority",
    "PusherEmitter",
    "PushoverDispatcher",
    "RateLimitError",
    "SMSHandler",
    "SettingsError",
    "StoreError",
    "TelegramHandler",
    "WatchLevel",
    "WebhookDispatcher",
    "WebhookHandler",
    "__version__",
    "attach",
    "configure",
    "default_manager",
    "initialize_notification_manager",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'bt_alerts' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"bt_alerts.{_WHERE[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
