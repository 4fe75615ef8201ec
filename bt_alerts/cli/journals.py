"""What waits in journals beside the store: counted and told, and left where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt_alerts.cli.shell import complain

if TYPE_CHECKING:
    from bt_alerts.outbox.base import Outbox


def unread(outbox: Outbox) -> tuple[int, int]:
    """How many journals hold lines that are not in the store yet, and how many bytes. Nothing is opened or locked."""
    files = size = 0
    for path in sorted(outbox.journals.glob("*.jsonl")) if outbox.journals is not None else ():
        try:
            left = path.stat().st_size - outbox.position(path.stem)
        except OSError:  # drained and removed meanwhile
            continue
        if left > 0:
            files, size = files + 1, size + left
    return files, size


def journal_words(files: int, size: int) -> str:
    """What waits, as a sentence; empty where nothing does."""
    if not files:
        return ""
    which = "1 journal holds" if files == 1 else f"{files:,} journals hold"
    return (
        f"{which} {size:,} bytes of alerts that are not in the store yet: a running process is about to put them "
        "there, or the next one that delivers will."
    )


def mention_journals(outbox: Outbox) -> None:
    """Say on standard error that something waits, where it does."""
    words = journal_words(*unread(outbox))
    if words:
        complain(words, style="yellow")
