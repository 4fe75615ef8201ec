"""The errors a user can meet; each carries one clear sentence that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bt_alerts.delivery.report import DeliveryReport


class AlertsError(Exception):
    """Base of the errors that this package raises on purpose."""


class SettingsError(AlertsError, ValueError):
    """Settings that cannot be used. ``problems`` holds every one of them, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(AlertsError):
    """The store cannot be opened or used. ``passing`` says whether trying again later helps."""

    passing: ClassVar[bool] = False


class NotificationError(AlertsError):
    """A notification was not accepted, or did not arrive.

    Args:
        message: one sentence that says what to do.
        report: what became of it, where it had been accepted; None where it was not, so that it can be sent again.
    """

    def __init__(self, message: str, report: DeliveryReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class InvalidNotificationError(NotificationError, ValueError):
    """A notification that cannot be sent as it is written; nothing was accepted."""


class QueueFullError(NotificationError):
    """As many notifications as may wait are waiting; nothing was accepted."""


class RateLimitError(NotificationError):
    """The service took so few messages that this one's time to live ended."""


class NetworkError(NotificationError):
    """The service could not be reached, did not answer, or failed, until there was no use in trying again."""
