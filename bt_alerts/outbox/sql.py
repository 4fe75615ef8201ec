"""The outbox in SQL, as SQLite and PostgreSQL have it in common; sqlite.py and postgres.py bring the connection.

Claiming is in sql_claim.py, settling in sql_settle.py, planning in sql_planning.py; here is the rest.
"""

from __future__ import annotations

import abc
import contextlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, Priority, plain, safe_text
from bt_alerts.outbox import sql_claim, sql_settle
from bt_alerts.outbox.base import (
    GRACE,
    AlertState,
    Claim,
    DeadLetter,
    DeliveryState,
    Done,
    Ledger,
    NewDelivery,
    Outbox,
    Process,
    Pruned,
    Question,
    Settlement,
    Transaction,
)
from bt_alerts.outbox.sql_db import Db
from bt_alerts.outbox.sql_planning import INSERT_ALERT, SqlTransaction, alert_row
from bt_alerts.outbox.sql_settle import MAX_DETAIL, hand_over

PROCESSES_KEPT = 30 * 86_400.0  # seconds for which a process that is gone is remembered
LARGEST_BATCH = 500  # deliveries in one message


class SqlOutbox(Outbox):
    """A store that speaks SQL."""

    @abc.abstractmethod
    def _write(self) -> contextlib.AbstractContextManager[Db]:
        """A transaction that writes. Raises :class:`~bt_alerts.errors.StoreError` where that cannot be."""

    def _alone(self) -> contextlib.AbstractContextManager[Db]:
        """The same, while nobody else plans or changes many deliveries at once."""
        return self._write()

    @abc.abstractmethod
    def _read(self) -> contextlib.AbstractContextManager[Db]:
        """A connection for a short read."""

    @abc.abstractmethod
    def _snapshot(self) -> contextlib.AbstractContextManager[Db]:
        """A connection whose reads all see one moment."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._alone() as db:
            yield SqlTransaction(db)

    def record(self, alerts: Iterable[Alert], reason: str) -> int:
        now = time.time()
        with self._write() as db:
            rows = (alert_row(alert, AlertState.RECORDED, reason, now) for alert in alerts)
            return max(0, db.executemany(INSERT_ALERT, rows).rowcount)

    # Delivering --------------------------------------------------------------------------------------

    def claim(
        self,
        channel: str,
        owner: str,
        now: float,
        lease: float,
        rate: float,
        *,
        hand_over: Priority | None = None,
    ) -> Claim | None:
        with self._write() as db:
            return sql_claim.claim(db, channel, owner, now, lease=lease, rate=rate, hand_over=hand_over)

    def settle(self, claim: Claim, settlement: Settlement, owner: str, started: float, now: float) -> bool:
        with self._alone() if settlement.touches_others else self._write() as db:
            return sql_settle.settle(db, claim, settlement, owner, started=started, now=now)

    def unclaim(self, channel: str, owner: str, leased_at: float) -> None:
        with self._write() as db:
            where = "channel = ? AND owner = ? AND leased_at = ?"
            db.execute(f"{sql_claim.GIVE_BACK} {where}", (channel, owner, leased_at))

    def settle_and_claim(
        self, done: Done, owner: str, now: float, lease: float, rate: float, *, hand_over: Priority | None = None
    ) -> tuple[bool, Claim | None]:
        with self._alone() if done.settlement.touches_others else self._write() as db:
            settled = sql_settle.settle(db, done.claim, done.settlement, owner, started=done.started, now=done.ended)
            channel = done.claim.channel
            return settled, sql_claim.claim(db, channel, owner, now, lease=lease, rate=rate, hand_over=hand_over)

    def gathered(self, claim: Claim, now: float) -> list[tuple[int, Alert]]:
        with self._read() as db:
            rows = db.execute(_GATHERED, (claim.channel, claim.target, claim.batch, now, claim.seq)).fetchall()
        found = []
        for seq, body in rows:
            with contextlib.suppress(ValueError):  # what is damaged goes by itself, and is buried then
                found.append((seq, Alert.from_json(body)))
        return found

    def claim_question(self, channel: str, now: float, lease: float) -> Question | None:
        with self._read() as db:  # first: there is hardly ever one, and a write would wait for others
            if db.execute(_QUESTION, (channel, now)).fetchone() is None:
                return None
        with self._write() as db:
            row = db.execute(f"{_QUESTION} /* FOR UPDATE OF d SKIP LOCKED */", (channel, now)).fetchone()
            if row is None:
                return None
            db.execute("UPDATE deliveries SET ask_at = ? WHERE seq = ?", (now + lease, row[0]))
            others = db.execute(_IN_THE_SAME, (channel, row[1], row[3])).fetchall() if row[3] else []
            said = db.execute("SELECT facts FROM attempts WHERE delivery = ? ORDER BY seq", (row[0],)).fetchall()
        facts: dict[str, Any] = {}
        for (each,) in said:
            facts |= json.loads(each)
        digested = {seq: Alert.from_json(body) for seq, body in others}
        return Question(
            row[0], channel, row[1], Alert.from_json(row[2]), row[3], facts, row[4] or now, digested,
            acknowledged=row[5] is not None,
        )  # fmt: skip

    def settle_question(
        self,
        question: Question,
        settlement: Settlement,
        now: float,
        *,
        acknowledged: bool = False,
        not_arrived: Mapping[int, Sequence[NewDelivery]] | None = None,
    ) -> list[int]:
        done, detail = settlement, safe_text(settlement.detail, MAX_DETAIL)
        with self._alone() as db:
            db.execute(
                "INSERT INTO attempts (delivery, channel, started, took, outcome, detail, service_id, facts) "
                "VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                (question.seq, question.channel, now, done.outcome, detail, question.service_id,
                 json.dumps(plain(done.facts))),
            )  # fmt: skip
            db.execute(
                "UPDATE deliveries SET outcome = ?, detail = ?, ask_at = ? WHERE seq = ?",
                (done.outcome, detail, done.ask_at, question.seq),
            )
            of = {question.seq: question.alert, **question.digested}
            for alert in of.values() if acknowledged else ():
                SqlTransaction(db).acknowledge(alert.id, now)
            lost = []
            for seq, instead in (not_arrived or {}).items():
                alert_seq = db.execute("SELECT alert FROM deliveries WHERE seq = ?", (seq,)).fetchone()[0]
                taken = hand_over(db, alert_seq, seq, of[seq].priority.rank, instead, now)
                state = DeliveryState.FAILED_OVER if taken else DeliveryState.DEAD
                db.execute(
                    "UPDATE deliveries SET state = ?, outcome = ?, detail = ?, ask_at = NULL, settled = ? "
                    "WHERE seq = ?",
                    (state.value, done.outcome, detail, now, seq),
                )
                if not taken:
                    lost.append(seq)
        return lost

    def expire(self, but: Collection[str], now: float) -> list[tuple[str, Alert]]:
        with self._read() as db:  # first: there is hardly ever one, and a write would wait for others
            known = [row[0] for row in db.execute("SELECT channel FROM channels").fetchall()]
            unserved = [
                channel
                for channel in known
                if channel not in but and db.execute(f"{_OVERDUE_OF} LIMIT 1", (channel, now - GRACE, now)).fetchone()
            ]
        if not unserved:
            return []
        gone = []
        with self._alone() as db:
            for channel in unserved:
                for seq, alert in db.execute(_OVERDUE_OF, (channel, now - GRACE, now)).fetchall():
                    if not db.execute(_EXPIRE, (now, seq)).rowcount:
                        continue  # a courier elsewhere was quicker
                    body = db.execute("SELECT body FROM alerts WHERE seq = ?", (alert,)).fetchone()[0]
                    gone.append((channel, _readable(body)))
        return gone

    def next_due(self, channel: str, now: float) -> float | None:
        with self._read() as db:
            due = sql_claim.next_due(db, channel, now, leases=True)
            asked: float | None = db.execute(_NEXT_QUESTION, (channel,)).fetchone()[0]
        return min((each for each in (due, asked) if each is not None), default=None)

    def pending(self, channels: Sequence[str], now: float) -> tuple[int, float | None]:
        count, times = 0, []
        with self._read() as db:
            for channel in channels:
                count += db.execute(_PENDING, (channel,)).fetchone()[0]
                times.append(sql_claim.next_due(db, channel, now, leases=False))
        return count, min((due for due in times if due is not None), default=None)

    # Life of channels, processes and dead letters ----------------------------------------------------

    def position(self, journal: str) -> int:
        with self._read() as db:
            row = db.execute("SELECT position FROM journals WHERE journal = ?", (journal,)).fetchone()
        return int(row[0]) if row else 0

    def release(self, owner: str) -> None:
        with self._write() as db:
            db.execute(f"{sql_claim.GIVE_BACK} owner = ?", (owner,))
            db.execute("DELETE FROM leases WHERE owner = ?", (owner,))

    def hold(self, name: str, owner: str, now: float, lease: float) -> bool:
        with self._write() as db:
            db.execute(
                "INSERT INTO leases (name, owner, leased_at, leased_until) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO "
                "UPDATE SET owner = excluded.owner, leased_at = excluded.leased_at, "
                "leased_until = excluded.leased_until WHERE leases.owner = excluded.owner "
                "OR leases.leased_until <= excluded.leased_at OR leases.leased_at > ?",
                (name, owner, now, now + lease, now + sql_claim.CLOCK_SLACK),
            )
            row = db.execute("SELECT owner FROM leases WHERE name = ?", (name,)).fetchone()
        return row is not None and row[0] == owner

    def check_in(self, process: Process) -> None:
        with self._write() as db:
            db.execute("DELETE FROM processes WHERE seen < ?", (process.seen - PROCESSES_KEPT,))
            db.execute(
                "INSERT INTO processes (owner, role, about, started, seen, ended) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (owner) DO UPDATE SET about = excluded.about, seen = excluded.seen, "
                "ended = excluded.ended",
                (process.owner, process.role, json.dumps(plain(process.about)), process.started, process.seen,
                 process.ended),
            )  # fmt: skip

    def processes(self) -> list[Process]:
        rows = self.rows("SELECT owner, role, about, started, seen, ended FROM processes ORDER BY started DESC, owner")
        return [Process(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows]

    def dead_letters(self, numbers: Collection[int] | None = None) -> Iterator[DeadLetter]:
        for number, state, channel, label, attempts, detail, settled, body in self.rows(_DEAD):
            if numbers is None or number in numbers:
                yield DeadLetter(
                    number, DeliveryState(state), channel, label, attempts, detail, settled, _readable(body)
                )

    def purge_dead(self, numbers: Collection[int] | None) -> int:
        with self._alone() as db:
            gone = [
                row
                for row in db.execute("SELECT seq FROM deliveries WHERE state IN ('dead', 'expired')").fetchall()
                if numbers is None or row[0] in numbers
            ]
            db.executemany(
                "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', detail = 'purged' WHERE seq = ?",
                gone,
            )
        return len(gone)

    def enable_channel(self, channel: str, fingerprint: str) -> None:
        with self._alone() as db:
            known = db.execute("SELECT fingerprint FROM channels WHERE channel = ?", (channel,)).fetchone()
            if known is not None and known[0] == fingerprint:
                return
            db.execute(
                "INSERT INTO channels (channel, fingerprint) VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET "
                "fingerprint = excluded.fingerprint, disabled = '', not_before = 0",
                (channel, fingerprint),
            )
            db.execute(
                "UPDATE targets SET disabled = '', not_before = 0, paced_until = 0, failures = 0, trips = 0, "
                "open_until = 0, pace = 1 WHERE channel = ?",
                (channel,),
            )
            db.execute(
                "UPDATE deliveries SET state = 'pending', detail = '' WHERE channel = ? AND state = 'held'", (channel,)
            )

    def disabled(self) -> dict[str, str]:
        return dict(self.rows("SELECT channel, disabled FROM channels WHERE disabled != ''"))

    # Counting and forgetting -------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        with self._snapshot() as db:
            return ledger_of(db)

    def prune(self, before: float, most: int) -> Pruned:
        # Found without keeping anybody waiting: where much that is old is held, looking takes longer than pruning.
        found = [row[0] for row in self.rows(f"{_OLD} AND {_HISTORY} ORDER BY a.stored LIMIT ?", (before, most))]
        pruned = Pruned()
        if found:
            with self._alone() as db:
                for first in range(0, len(found), 500):
                    now = self._prune(db, found[first : first + 500])
                    pruned = Pruned(*(a + b for a, b in zip(pruned, now, strict=True)))
        return pruned

    def _prune(self, db: Db, found: Sequence[int]) -> Pruned:
        of = f"IN ({', '.join('?' * len(found))})"
        db.execute(f"SELECT seq FROM deliveries WHERE alert {of} ORDER BY seq /* FOR UPDATE */", found).fetchall()
        rows = db.execute(f"SELECT a.seq FROM alerts a WHERE a.seq {of} AND {_HISTORY}", found).fetchall()
        seqs = [row[0] for row in rows]
        if not seqs:
            return Pruned()
        of = f"IN ({', '.join('?' * len(seqs))})"
        db.execute(f"{_COUNT_DELIVERIES.format(of=of)} {_ADD_UP}", seqs)
        db.execute(f"{_COUNT_ALERTS.format(of=of)} {_ADD_UP}", seqs)
        db.execute(f"{_COUNT_REASONS.format(of=of)} {_ADD_UP}", seqs)
        attempts = db.execute(
            f"DELETE FROM attempts WHERE delivery IN (SELECT seq FROM deliveries WHERE alert {of})", seqs
        ).rowcount
        deliveries = db.execute(f"DELETE FROM deliveries WHERE alert {of}", seqs).rowcount
        return Pruned(db.execute(f"DELETE FROM alerts WHERE seq {of}", seqs).rowcount, deliveries, attempts)

    def forgotten(self) -> int:
        with self._read() as db:
            gone = db.execute("SELECT coalesce(sum(n), 0) FROM pruned WHERE ledger = 'alerts'").fetchone()
        return int(gone[0])

    def attached(self, before: float = 0.0) -> Iterator[str]:
        for (body,) in self.rows(f"{_WITH_FILES} AND NOT (a.stored < ? AND {_HISTORY})", (before,)):
            yield from (file["sha256"] for file in json.loads(body).get("attachments", ()))

    def prunable(self, before: float) -> Pruned:
        return Pruned(*next(iter(self.rows(_COUNT_PRUNABLE, (before,)))))


def ledger_of(db: Db) -> Ledger:
    """Count both ledgers, on a connection whose reads all see one moment."""
    alerts = db.execute("SELECT state, reason, count(*) FROM alerts GROUP BY state, reason").fetchall()
    sent = db.execute("SELECT state, channel, count(*) FROM deliveries GROUP BY channel, state").fetchall()
    accepted = db.execute("SELECT count(*) FROM alerts").fetchone()[0]
    created = db.execute("SELECT count(*) FROM deliveries").fetchone()[0]
    pruned = db.execute("SELECT ledger, state, reason, n FROM pruned").fetchall()
    unreadable = db.execute("SELECT count(*) FROM unreadable").fetchone()[0]
    gone = {name: [row[1:] for row in pruned if row[0] == name] for name in ("alerts", "deliveries")}
    alerts, sent = alerts + gone["alerts"], sent + gone["deliveries"]
    states, reasons = _summed(alerts, 0), _summed(alerts, 1)
    reasons.pop("", None)
    return Ledger(
        accepted=accepted + sum(n for _, _, n in gone["alerts"]),
        recorded=states.get("recorded", 0),
        suppressed=states.get("suppressed", 0),
        planned=states.get("planned", 0),
        waiting=states.get("waiting", 0),
        created=created + sum(n for _, _, n in gone["deliveries"]),
        deliveries={state.value: _summed(sent, 0).get(state.value, 0) for state in DeliveryState},
        reasons=reasons,
        unreadable=unreadable,
    )


def _summed(rows: Iterable[Sequence[Any]], column: int) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row[column]] = sums.get(row[column], 0) + int(row[2])
    return sums


_GATHERED = f"""
SELECT d.seq, a.body FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.target = ? AND d.state = 'pending' AND d.batch = ? AND d.batch != '' AND d.expires > ?
  AND d.seq != ?
ORDER BY d.seq LIMIT {LARGEST_BATCH}
"""

_IN_THE_SAME = """
SELECT d.seq, a.body FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.target = ? AND d.state = 'digested' AND d.service_id = ? ORDER BY d.seq
"""

_NEXT_QUESTION = "SELECT min(ask_at) FROM deliveries WHERE channel = ? AND ask_at IS NOT NULL"

_OVERDUE_OF = """
SELECT seq, alert FROM deliveries d
WHERE channel = ? AND state = 'pending' AND expires <= ? AND NOT EXISTS (
    SELECT 1 FROM targets t WHERE t.channel = d.channel AND t.target = d.target AND t.leased_until > ?
)
ORDER BY seq"""
_EXPIRE = """
UPDATE deliveries SET state = 'expired', outcome = 'expired', settled = ?,
    detail = 'its time to live ended, and nobody delivers for its channel'
WHERE seq = ? AND state = 'pending'"""

_QUESTION = """
SELECT d.seq, d.target, a.body, d.service_id, d.settled, a.acknowledged
FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.channel = ? AND d.ask_at <= ? AND d.ask_at IS NOT NULL ORDER BY d.ask_at LIMIT 1"""

_PENDING = "SELECT count(*) FROM deliveries WHERE channel = ? AND state = 'pending'"

_DEAD = """
SELECT d.seq, d.state, d.channel, t.label, d.attempts, d.detail, d.settled, a.body
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE d.state IN ('dead', 'expired') ORDER BY d.seq
"""

_OLD = "SELECT a.seq FROM alerts a WHERE a.stored < ?"

# Waiting, pending, held and asked-about is not history yet, nor is what went in one message with what is asked about.
_HISTORY = """a.state != 'waiting' AND NOT EXISTS (
    SELECT 1 FROM rule_state r WHERE r.rule = 'escalation' AND r.key = a.id
) AND NOT EXISTS (
    SELECT 1 FROM deliveries d WHERE d.alert = a.seq AND (
        d.state IN ('pending', 'held') OR d.ask_at IS NOT NULL OR (d.state = 'digested' AND EXISTS (
            SELECT 1 FROM deliveries l WHERE l.channel = d.channel AND l.ask_at IS NOT NULL AND l.target = d.target
            AND l.service_id = d.service_id AND l.service_id != ''))))"""

_WITH_FILES = "SELECT a.body FROM alerts a WHERE a.files > 0"

_COUNT_PRUNABLE = f"""
WITH old AS ({_OLD} AND {_HISTORY})
SELECT (SELECT count(*) FROM old),
       (SELECT count(*) FROM deliveries d JOIN old ON old.seq = d.alert),
       (SELECT count(*) FROM attempts p JOIN deliveries d ON d.seq = p.delivery JOIN old ON old.seq = d.alert)
"""

_COUNT_ALERTS = """
INSERT INTO pruned (ledger, state, reason, n)
SELECT 'alerts', state, reason, count(*) FROM alerts WHERE seq {of} GROUP BY state, reason"""
_COUNT_DELIVERIES = """
INSERT INTO pruned (ledger, state, reason, n)
SELECT 'deliveries', state, channel, count(*) FROM deliveries WHERE alert {of} GROUP BY state, channel"""
_COUNT_REASONS = """
INSERT INTO pruned (ledger, state, reason, n)
SELECT 'reasons', channel, reason, count(*) FROM deliveries WHERE alert {of} AND reason != ''
GROUP BY channel, reason"""
_ADD_UP = "ON CONFLICT (ledger, state, reason) DO UPDATE SET n = pruned.n + excluded.n"


def _readable(body: str) -> Alert:
    """The alert; where the store holds none that can be read, one that says so."""
    try:
        return Alert.from_json(body)
    except ValueError:
        return Alert.make("What the store holds of this alert cannot be read.", title="unreadable")
