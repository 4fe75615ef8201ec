"""Planning in SQL: what happens inside one transaction of the planner."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from bt_alerts.alert import Alert, AlertType
from bt_alerts.outbox.base import AlertState, DeliveryState, NewDelivery, RuleState, Transaction
from bt_alerts.outbox.sql_db import Db
from bt_alerts.outbox.sql_settle import insert_deliveries


class SqlRuleState(RuleState):
    """What rules remember, in a table."""

    def __init__(self, db: Db) -> None:
        self._db = db
        #: Lists that were read in this transaction, by rule: one planner plans at a time, so that only it changes them.
        self._lists: dict[str, list[tuple[str, Any]]] = {}

    def get(self, rule: str, key: str) -> Any:
        row = self._db.execute("SELECT value FROM rule_state WHERE rule = ? AND key = ?", (rule, key)).fetchone()
        return None if row is None else _value(row[0])

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self._lists.pop(rule, None)
        self._db.execute(
            "INSERT INTO rule_state (rule, key, value, until) VALUES (?, ?, ?, ?) ON CONFLICT (rule, key) "
            "DO UPDATE SET value = excluded.value, until = excluded.until",
            (rule, key, json.dumps(value), until),
        )

    def drop(self, rule: str, key: str) -> None:
        self._lists.pop(rule, None)
        self._db.execute("DELETE FROM rule_state WHERE rule = ? AND key = ?", (rule, key))

    def items(self, rule: str) -> list[tuple[str, Any]]:
        if rule not in self._lists:
            rows = self._db.execute("SELECT key, value FROM rule_state WHERE rule = ?", (rule,)).fetchall()
            self._lists[rule] = [(key, _value(value)) for key, value in rows]
        return list(self._lists[rule])

    def forget(self, now: float) -> None:
        self._lists.clear()
        self._db.execute("DELETE FROM rule_state WHERE until IS NOT NULL AND until <= ?", (now,))


def _value(text: str) -> Any:
    """What was remembered; None where it is damaged, because one value must not keep back all that is planned."""
    try:
        return json.loads(text)
    except ValueError:
        return None


class SqlTransaction(Transaction):
    """A transaction on a connection that is in one."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._working: set[tuple[str, str]] = set()
        self.state: RuleState = SqlRuleState(db)

    def add_alert(self, alert: Alert, state: AlertState, reason: str = "", due: float = 0.0) -> int | None:
        row = self._db.execute(f"{INSERT_ALERT} RETURNING seq", alert_row(alert, state, reason, time.time(), due))
        found = row.fetchone()
        return None if found is None else int(found[0])

    def waiting(self, most: int) -> list[tuple[int, Alert, float]]:
        rows = self._db.execute(
            "SELECT seq, body, due FROM alerts WHERE state = 'waiting' ORDER BY seq LIMIT ?", (most,)
        ).fetchall()
        found = []
        for seq, body, due in rows:
            try:
                found.append((seq, Alert.from_json(body), due))
            except ValueError:  # damaged: it must not keep back all that come behind it
                self.decide(seq, AlertState.RECORDED, "unreadable")
        return found

    def decide(
        self, alert_seq: int, state: AlertState, reason: str = "", rule: str = "", trail: Sequence[Any] = ()
    ) -> None:
        self._db.execute(
            "UPDATE alerts SET state = ?, reason = ?, rule = ?, trail = ? WHERE seq = ?",
            (state.value, str(reason), rule, json.dumps(list(trail)) if trail else "", alert_seq),
        )

    def add_to_trail(self, alert_seq: int, note: Any) -> None:
        row = self._db.execute("SELECT trail FROM alerts WHERE seq = ?", (alert_seq,)).fetchone()
        trail = json.dumps([*json.loads((row and row[0]) or "[]"), note])
        self._db.execute("UPDATE alerts SET trail = ? WHERE seq = ?", (trail, alert_seq))

    def find(self, alert_id: str) -> tuple[int, Alert] | None:
        row = self._db.execute("SELECT seq, body FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        try:
            return None if row is None else (int(row[0]), Alert.from_json(row[1]))
        except ValueError:
            return None

    def acknowledged(self, alert_id: str) -> bool:
        row = self._db.execute("SELECT acknowledged FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        return row is None or row[0] is not None

    def alerts(self, types: Collection[AlertType], since: float, until: float, *, history: bool = False) -> list[Alert]:
        marks = ", ".join("?" * len(types))
        rows = self._db.execute(
            "SELECT body FROM alerts WHERE time >= ? AND time < ? AND (source != 'history' OR ?) "
            f"AND type IN ({marks}) ORDER BY time, seq",
            (since, until, history, *(each.value for each in types)),
        ).fetchall()
        found = []
        for (body,) in rows:
            with contextlib.suppress(ValueError):
                found.append(Alert.from_json(body))
        return found

    def add_deliveries(self, alert_seq: int, deliveries: Iterable[NewDelivery], now: float) -> None:
        rank = self._db.execute("SELECT priority FROM alerts WHERE seq = ?", (alert_seq,)).fetchone()[0]
        insert_deliveries(self._db, alert_seq, rank, deliveries, now, working=self._working)

    def hasten(self, channel: str, batch: str, now: float) -> None:
        self._db.execute(
            "UPDATE deliveries SET due = ? WHERE channel = ? AND batch = ? AND batch != '' AND state = 'pending'",
            (now, channel, batch),
        )

    def fates(self, alert_id: str) -> dict[tuple[str, str], set[DeliveryState]]:
        rows = self._db.execute(
            "SELECT d.channel, d.target, d.state FROM alerts a JOIN deliveries d ON d.alert = a.seq WHERE a.id = ?",
            (alert_id,),
        ).fetchall()
        found: dict[tuple[str, str], set[DeliveryState]] = {}
        for channel, target, state in rows:
            found.setdefault((channel, target), set()).add(DeliveryState(state))
        return found

    def together(self, alert_id: str) -> list[str]:
        rows = self._db.execute(_TOGETHER, (alert_id,)).fetchall()
        return [row[0] for row in rows]

    def dead_targets(self) -> set[tuple[str, str]]:
        rows = self._db.execute("SELECT channel, target FROM targets WHERE disabled != ''").fetchall()
        return {(channel, target) for channel, target in rows}

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
        rows = self._db.execute("SELECT channel FROM channels WHERE disabled != ''").fetchall()
        return {row[0] for row in rows}

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

    def resolve(self, alert_id: str, now: float) -> None:
        row = self._db.execute("SELECT seq FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        if row is None:
            return
        self._db.execute("UPDATE alerts SET acknowledged = coalesce(acknowledged, ?) WHERE seq = ?", (now, row[0]))
        # What waits for the end of quiet hours goes all the same: else only its end would be told.
        self._db.execute(
            "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', detail = 'resolved', settled = ?, "
            "batch = '' WHERE alert = ? AND state IN ('pending', 'held') AND reason = 'escalated'",
            (now, row[0]),
        )

    def snooze(self, alert_id: str, until: float, now: float) -> bool:
        row = self._db.execute("SELECT seq FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        if row is None:
            return False
        self._db.execute(
            "UPDATE deliveries SET due = ?, promised = ?, expires = ? + expires - promised, batch = '' "
            "WHERE alert = ? AND state = 'pending'",
            (until, until, until, row[0]),
        )
        again = [
            NewDelivery(f"{key}_{int(until)}", channel, target, "", until, until, until + lives, bool(silent), thread)
            for key, channel, target, lives, silent, thread in self._db.execute(_SNOOZABLE, (row[0],)).fetchall()
        ]
        self.add_deliveries(row[0], again, now)
        return True

    def retry_dead(self, numbers: Collection[int] | None, now: float, time_to_live: float) -> int:
        again = [
            (state.value, disabled, now, now + time_to_live, number)
            for number, disabled in self._db.execute(_DEAD_AND_DISABLED).fetchall()
            if numbers is None or number in numbers
            for state in (DeliveryState.HELD if disabled else DeliveryState.PENDING,)
        ]
        self._db.executemany(
            "UPDATE deliveries SET state = ?, outcome = '', detail = ?, due = ?, expires = ?, answers = 0, "
            "settled = NULL WHERE seq = ?",
            again,
        )
        return len(again)


# Those of one message are settled in the same moment.
_TOGETHER = """
SELECT DISTINCT o.id FROM alerts a
JOIN deliveries d ON d.alert = a.seq AND d.state = 'delivered'
JOIN deliveries g ON g.channel = d.channel AND g.target = d.target AND g.state = 'digested' AND g.settled = d.settled
JOIN alerts o ON o.seq = g.alert
WHERE a.id = ?
"""

_DEAD_AND_DISABLED = """
SELECT d.seq, c.disabled || t.disabled
FROM deliveries d JOIN channels c ON c.channel = d.channel
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE d.state IN ('dead', 'expired')
"""

INSERT_ALERT = (
    "INSERT INTO alerts (id, type, kind, priority, time, symbol, strategy, run, source, body, state, reason, "
    "stored, due, files) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)

# Each address once: of an alert that was snoozed before, only the first delivery, and none where one is on its way.
# What arrived in one message with others arrived.
_SNOOZABLE = """
SELECT key, channel, target, expires - promised, silent, thread FROM deliveries d
WHERE alert = ? AND state IN ('delivered', 'digested') AND NOT EXISTS (
    SELECT 1 FROM deliveries o WHERE o.alert = d.alert AND o.channel = d.channel AND o.target = d.target
    AND (o.state IN ('pending', 'held') OR (o.state IN ('delivered', 'digested') AND o.seq < d.seq))
)
"""


def alert_row(alert: Alert, state: AlertState, reason: str, now: float, due: float = 0.0) -> tuple[Any, ...]:
    """The columns of :data:`INSERT_ALERT`."""
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
        str(reason),
        now,
        due,
        len(alert.attachments),
    )
