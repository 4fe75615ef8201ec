"""A progress bar for work that turns out to take long; short work shows nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PATIENCE = 1.0  # seconds before a bar appears


@contextlib.contextmanager
def slow_progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Give a ``progress(done, of)`` that draws a bar on stderr once the work has taken longer than a second."""
    began = time.monotonic()
    bar = None
    task = None

    def progress(done: int, of: int) -> None:
        nonlocal bar, task
        if bar is None and time.monotonic() - began > PATIENCE and done < of:
            from rich.console import Console
            from rich.progress import Progress

            # In a notebook it would ask for one more package, and draw each step on a line of its own.
            console = Console(stderr=True, force_jupyter=False)
            bar = Progress(console=console, transient=True, disable=not getattr(sys.stderr, "isatty", bool)())
            bar.start()
            task = bar.add_task(doing, total=of)
        if bar is not None and task is not None:
            bar.update(task, completed=done, total=of)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.stop()
