"""The errors a user can meet; each carries one clear sentence that says what to do."""

from __future__ import annotations


class AlertsError(Exception):
    """Base of the errors that this package raises on purpose."""


class SettingsError(AlertsError, ValueError):
    """Settings that cannot be used. ``problems`` holds every one of them, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(AlertsError):
    """The store cannot be opened or used."""
