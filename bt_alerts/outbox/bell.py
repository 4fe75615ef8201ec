"""The bell: what one process rings so that another, which sleeps, looks into the store at once.

A bell carries no news, only "look". A ring that gets lost costs time, never an alert: who listens looks by itself now
and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Bell(Protocol):
    """Rings and hears rings."""

    def ring(self) -> None:
        """Wake whoever listens. Never blocks, never raises; cheap enough for a strategy's thread."""

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call ``heard`` on a thread of the bell's own at each ring; returns what ends it."""


class NoBell:
    """For a store that one process has to itself."""

    def ring(self) -> None:
        """Nobody else could hear it."""

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        return lambda: None
