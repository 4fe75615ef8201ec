"""A progress bar for work that turns out to take long; short work shows nothing.

On a terminal it is rich's, on stderr; in a notebook it is the browser's own, because rich would ask for one more
package there. Where nobody can see a bar, in a log or a pipe, there is none. It goes when the work is done.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Protocol

PATIENCE = 1.0  # seconds before a bar appears
_AGAIN = 0.2  # seconds between two pictures of a bar in a notebook


class _Bar(Protocol):
    def show(self, done: int, of: int) -> None: ...
    def stop(self) -> None: ...


@contextlib.contextmanager
def slow_progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Give a ``progress(done, of)`` that draws a bar once the work has taken longer than a second.

    Args:
        doing: what is being done, in a word or two.
    """
    began = time.monotonic()
    bar: _Bar | None = None

    def progress(done: int, of: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - began > PATIENCE and done < of:
            bar = _NotebookBar(doing) if _in_notebook() else _TerminalBar(doing)
        if bar is not None:
            bar.show(done, of)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.stop()


class _TerminalBar:
    def __init__(self, doing: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True, force_jupyter=False)
        self._bar = Progress(console=console, transient=True, disable=not getattr(sys.stderr, "isatty", bool)())
        self._bar.start()
        self._task = self._bar.add_task(doing, total=None)

    def show(self, done: int, of: int) -> None:
        self._bar.update(self._task, completed=done, total=of)

    def stop(self) -> None:
        self._bar.stop()


class _NotebookBar:
    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._output: Any = None
        self._last = float("-inf")

    def show(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._last < _AGAIN and done < of:
            return
        self._last = now
        words = f"{self._doing}: {done:,} of {of:,}"
        bar = f'<progress value="{done}" max="{of}" style="vertical-align:middle"></progress> {escape(words)}'
        self._put({"text/plain": words, "text/html": bar})

    def stop(self) -> None:
        self._put({"text/plain": "", "text/html": ""})

    def _put(self, shown: dict[str, str]) -> None:
        if self._output is None:
            import IPython.display

            display: Any = IPython.display.display
            self._output = display(shown, raw=True, display_id=True)
        else:
            self._output.update(shown, raw=True)


def _in_notebook() -> bool:
    """Whether this runs in a kernel whose output a browser shows."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None
