"""Alerts in the terminal, coloured by priority.

Written to standard error, because the output of a backtest belongs to its strategy. What an alert says is never taken
for markup or for control codes of the terminal, and what a terminal cannot show is replaced, not refused.
"""

from __future__ import annotations

import sys
import threading
import unicodedata
from collections.abc import Sequence
from typing import Annotated, ClassVar, TextIO

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import About, Context, DeliveryFailed, Dispatcher, Failure, Receipt, Target

STREAMS = ("stderr", "stdout")


class ConsoleDispatcher(Dispatcher):
    """Prints alerts.

    Args:
        stream: ``"stderr"`` or ``"stdout"``.
        enabled: False prints nothing.

    Raises:
        ValueError: where ``stream`` is neither.
    """

    type: ClassVar[str] = "console"

    def __init__(
        self,
        stream: Annotated[str, About("stderr, or stdout where nothing else is printed there")] = "stderr",
        enabled: Annotated[bool, About("false prints nothing")] = True,
    ) -> None:
        if stream not in STREAMS:
            raise ValueError(f"stream must be one of {', '.join(STREAMS)}, not {stream!r}")
        self.stream = stream
        self.enabled = enabled
        self._lock = threading.Lock()

    def targets(self) -> Sequence[Target]:
        return [Target(self.stream, self.stream)]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        file = self._file()
        view = self.view(alert, context)
        heading = _shown(f"{alert.time:%Y-%m-%d %H:%M:%S} {view.title}", file)
        body = _shown("".join(f"\n  {line}" for line in view.message.splitlines()), file)
        shown = _coloured(file, heading, body, alert.priority.style.terminal)
        try:
            with self._lock:  # two threads must not mix their lines
                file.write(shown)
                file.flush()
        except (OSError, ValueError) as exc:  # a pipe that nobody reads any more, a file that was closed
            raise DeliveryFailed(Failure.PERMANENT, f"{self.stream} cannot be written: {exc}") from None
        return Receipt()

    def check(self, target: Target) -> Receipt:
        self._file()
        return Receipt()

    def _file(self) -> TextIO:
        """Looked up each time: notebooks, test runners and pipes replace it."""
        file: TextIO | None = getattr(sys, self.stream)
        if file is None or file.closed:
            raise DeliveryFailed(Failure.PERMANENT, f"this process has no {self.stream}: leave the console channel out")
        return file


def _coloured(file: TextIO, heading: str, body: str, style: str) -> str:
    """The text with the codes that ``file`` understands: none where it is no terminal."""
    from rich.console import Console
    from rich.text import Text

    # Captured, not printed: on a broken pipe rich ends the whole program, and in a notebook it answers in the cell's
    # output. The width matters to nobody, since lines are not wrapped, but rich shows nothing where it is 0.
    console = Console(file=file, force_jupyter=False, width=1000)
    with console.capture() as captured:
        console.print(Text.assemble((heading, style), body), markup=False, highlight=False, emoji=False, soft_wrap=True)
    return captured.get()


def _shown(text: str, file: TextIO) -> str:
    """``text`` without control codes, in what the file's encoding can hold."""
    safe = "".join(char if char in "\n\t" or unicodedata.category(char) != "Cc" else "�" for char in text)
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        return safe.encode(encoding, "replace").decode(encoding, "replace")
    except LookupError:
        return safe.encode("ascii", "replace").decode("ascii")
