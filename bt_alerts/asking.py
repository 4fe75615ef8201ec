"""What a person answers to alerts from a process of its own: the shell, or the dashboard.

Each answer is an entry of a journal, planned at once, so it works beside a strategy or a worker that delivers and where
nobody does. Nothing is delivered here: what is to be called off could be on its way before it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bt_alerts.manager import AlertManager

if TYPE_CHECKING:
    from bt_alerts.settings import Settings

PATIENCE = 10.0  # seconds until the store must have it


def ask(settings: Settings, *wishes: Callable[[AlertManager], bool]) -> str:
    """Write down what is asked for, and see it into the store.

    Args:
        settings: of the store.
        wishes: each asks one thing of a manager, such as ``manager.acknowledge(id)``, and says whether it was kept.

    Returns:
        Why it is not done, in a sentence; empty where it is.

    Raises:
        StoreError: where the store cannot be used.
    """
    manager = AlertManager.for_worker(settings, delivers=False)
    try:
        kept = [wish(manager) for wish in wishes]
        done = manager.drained(PATIENCE)
        manager.outbox.bell().ring()  # who delivers may have something to do, or nothing any more
    finally:
        manager.close(timeout=0.0)
    if not all(kept):
        return "It could not be written down: is there room on the disk of the store?"
    return "" if done else "It is written down, and done as soon as the store can be written; it cannot just now."
