"""The console passes the contract of every dispatcher."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from bt_alerts.dispatchers.console import ConsoleDispatcher
from bt_alerts.testing import DispatcherContract


class Screen:
    """Standard error, a request for each write."""

    url = "the screen"
    encoding = "utf-8"
    closed = False

    def __init__(self) -> None:
        self.requests: list[str] = []

    def write(self, text: str) -> int:
        if text:
            self.requests.append(text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


class TestConsoleContract(DispatcherContract):
    @contextlib.contextmanager
    def serve(self) -> Iterator[Screen]:
        screen, before = Screen(), sys.stderr
        sys.stderr = screen  # type: ignore[assignment]
        try:
            yield screen
        finally:
            sys.stderr = before

    def make(self, url: str, **settings: Any) -> ConsoleDispatcher:
        return ConsoleDispatcher()

    def texts(self, requests: Sequence[str]) -> list[str]:
        return [text[len("2026-05-01 12:00:00 ") :].replace("\n  ", "\n") for text in requests]

    def as_read(self, text: str) -> str:
        """Each kind of line end begins an indented line; a tab goes to the next column of eight."""
        lines = ("  " + "".join(map(_visible, line)) for line in text.splitlines())
        return "\n".join(line.expandtabs(8)[2:] for line in lines)

    def title_as_read(self, title: str) -> str:
        return "".join(map(_visible, title))


def _visible(char: str) -> str:
    return char if char == "\t" or unicodedata.category(char) != "Cc" else "�"
