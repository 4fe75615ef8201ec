"""Planning on SQLite: what happens inside one transaction of the planner, and the rows that it writes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import AlertState, DeliveryState, NewDelivery, RuleState, Transaction


class _InTransaction:
    """A full disk can end a transaction by itself; what came after it would then be kept without what came before."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._connection = db

    @property
    def _db(self) -> sqlite3.Connection:
        if not self._connection.in_transaction:
            raise StoreError("the store could not go on with a transaction; it is tried again")
        return self._connection


class SqliteRuleState(_InTransaction, RuleState):
    def get(self, rule: str, key: str) -> Any:
        row = self._db.execute("SELECT value FROM rule_state WHERE rule = ? AND key = ?", (rule, key)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self._db.execute(
            "INSERT INTO rule_state (rule, key, value, until) VALUES (?, ?, ?, ?) ON CONFLICT (rule, key) "
            "DO UPDATE SET value = excluded.value, until = excluded.until",
            (rule, key, json.dumps(value), until),
        )

    def drop(self, rule: str, key: str) -> None:
        self._db.execute("DELETE FROM rule_state WHERE rule = ? AND key = ?", (rule, key))

    def items(self, rule: str) -> list[tuple[str, Any]]:
        rows = self._db.execute("SELECT key, value FROM rule_state WHERE rule = ?", (rule,)).fetchall()
        return [(key, json.loads(value)) for key, value in rows]

    def forget(self, now: float) -> None:
        self._db.execute("DELETE FROM rule_state WHERE until IS NOT NULL AND until <= ?", (now,))


class SqliteTransaction(_InTransaction, Transaction):
    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self.state: RuleState = SqliteRuleState(db)

    def add_alert(self, alert: Alert, state: AlertState, reason: str = "") -> int | None:
        cursor = self._db.execute(INSERT_ALERT, alert_row(alert, state, reason, time.time()))
        return cursor.lastrowid if cursor.rowcount else None

    def decide(self, alert_seq: int, state: AlertState, reason: str = "") -> None:
        self._db.execute("UPDATE alerts SET state = ?, reason = ? WHERE seq = ?", (state.value, str(reason), alert_seq))

    def add_deliveries(self, alert_seq: int, deliveries: Iterable[NewDelivery], now: float) -> None:
        rank = self._db.execute("SELECT priority FROM alerts WHERE seq = ?", (alert_seq,)).fetchone()[0]
        insert_deliveries(self._db, alert_seq, rank, deliveries, now)

    def position(self, journal: str) -> int:
        row = self._db.execute("SELECT position FROM journals WHERE journal = ?", (journal,)).fetchone()
        return row[0] if row else 0

    def set_position(self, journal: str, position: int) -> None:
        if position < 0:
            self._db.execute("DELETE FROM journals WHERE journal = ?", (journal,))
            return
        self._db.execute(
            "INSERT INTO journals (journal, position) VALUES (?, ?) ON CONFLICT (journal) DO UPDATE SET "
            "position = excluded.position",
            (journal, position),
        )

    def unreadable(self, journal: str, position: int, line: bytes) -> None:
        self._db.execute(
            "INSERT INTO unreadable (journal, position, line) VALUES (?, ?, ?)", (journal, position, line[:65536])
        )

    def disabled(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT channel FROM channels WHERE disabled != ''")}

    def acknowledge(self, alert_id: str, now: float) -> bool:
        row = self._db.execute("SELECT seq FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        if row is None:
            return False
        self._db.execute("UPDATE alerts SET acknowledged = coalesce(acknowledged, ?) WHERE seq = ?", (now, row[0]))
        self._db.execute(
            "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', detail = 'acknowledged', settled = ? "
            "WHERE alert = ? AND state IN ('pending', 'held')",
            (now, row[0]),
        )
        return True

    def snooze(self, alert_id: str, until: float, now: float) -> bool:
        row = self._db.execute("SELECT seq FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        if row is None:
            return False
        self._db.execute(
            "UPDATE deliveries SET due = ?, promised = ?, expires = ? + expires - promised "
            "WHERE alert = ? AND state = 'pending'",
            (until, until, until, row[0]),
        )
        again = [
            NewDelivery(f"{key}_{int(until)}", channel, target, "", until, until, until + lives, bool(silent), thread)
            for key, channel, target, lives, silent, thread in self._db.execute(_SNOOZABLE, (row[0],)).fetchall()
        ]
        self.add_deliveries(row[0], again, now)
        return True


INSERT_ALERT = (
    "INSERT OR IGNORE INTO alerts (id, type, kind, priority, time, symbol, strategy, run, source, body, state, reason, "
    "stored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# Each address once: of an alert that was snoozed before, only the first delivery, and none where one is on its way.
_SNOOZABLE = """
SELECT key, channel, target, expires - promised, silent, thread FROM deliveries d
WHERE alert = ? AND state = 'delivered' AND NOT EXISTS (
    SELECT 1 FROM deliveries o WHERE o.alert = d.alert AND o.channel = d.channel AND o.target = d.target
    AND (o.state IN ('pending', 'held') OR (o.state = 'delivered' AND o.seq < d.seq))
)
"""


def alert_row(alert: Alert, state: AlertState, reason: str, now: float) -> tuple[Any, ...]:
    return (
        alert.id,
        alert.type.value,
        alert.kind,
        alert.priority.rank,
        alert.time.timestamp(),
        alert.symbol,
        alert.strategy,
        alert.run,
        alert.source.value,
        alert.to_json(),
        state.value,
        reason,
        now,
    )


def insert_deliveries(
    db: sqlite3.Connection, alert_seq: int, rank: int, deliveries: Iterable[NewDelivery], now: float
) -> None:
    for new in deliveries:
        db.execute("INSERT OR IGNORE INTO channels (channel) VALUES (?)", (new.channel,))
        db.execute(
            "INSERT INTO targets (channel, target, label) VALUES (?, ?, ?) ON CONFLICT (channel, target) DO NOTHING",
            (new.channel, new.target, new.label),
        )
        held = db.execute(
            "SELECT c.disabled || t.disabled FROM channels c JOIN targets t ON t.channel = c.channel "
            "WHERE t.channel = ? AND t.target = ?",
            (new.channel, new.target),
        ).fetchone()[0]
        db.execute(
            "INSERT OR IGNORE INTO deliveries (key, alert, channel, target, priority, silent, due, promised, created, "
            "expires, state, detail, thread) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (new.key, alert_seq, new.channel, new.target, rank, int(new.silent), new.due,
             new.promised, now, new.expires, DeliveryState.HELD if held else DeliveryState.PENDING, held, new.thread),
        )  # fmt: skip
