"""Opens the store that settings name: in memory, a SQLite file, or a database on PostgreSQL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bt_alerts.errors import StoreError
from bt_alerts.outbox.postgres_address import is_postgres
from bt_alerts.settings.environment import state_folder

if TYPE_CHECKING:
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.settings.models import Settings


def open_store(settings: Settings, *, read_only: bool = False) -> Outbox:
    """Open it.

    Args:
        settings: which name it.
        read_only: only look: nothing is made or changed, whatever is called.

    Raises:
        StoreError: where it cannot be used. A server that cannot be reached just now is no reason.
    """
    if settings.store == "memory":
        from bt_alerts.outbox.memory import MemoryOutbox

        return MemoryOutbox()
    if is_postgres(settings.store):
        return _on_postgres(settings, read_only)
    from bt_alerts.outbox.sqlite import SqliteOutbox

    return SqliteOutbox(settings.store, durable=settings.delivery.durability == "fsync", read_only=read_only)


def _on_postgres(settings: Settings, read_only: bool) -> Outbox:
    try:
        from bt_alerts.outbox.postgres import PostgresOutbox
    except ImportError:
        raise StoreError('a store at postgresql:// needs psycopg: pip install "bt-alerts[postgres]"') from None
    try:
        folder = state_folder(os.environ) / "postgres"
    except RuntimeError:
        raise StoreError("there is no home folder to keep the journal in: set HOME or XDG_STATE_HOME") from None
    return PostgresOutbox(settings.store, folder, secrets=settings.store_secrets, read_only=read_only)
