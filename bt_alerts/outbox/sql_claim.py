"""Claiming in SQL: which delivery of a channel is next, and when there will be one.

One target after the other is looked at, each through an index, so that a store with a million alerts, or a target
with a hundred thousand that wait, answers as fast as an empty one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from typing import Any

from bt_alerts.alert import Alert, Priority
from bt_alerts.outbox.base import Claim
from bt_alerts.outbox.sql_db import Cursor, Db
from bt_alerts.rules import pacing
from bt_alerts.rules.breaker import Breaker, BreakerState

log = logging.getLogger("bt_alerts.store")

#: Seconds by which clocks of several machines may differ. What was written for later than that after "now" was written
#: before a clock went back, and its waits count no more.
CLOCK_SLACK = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One address of a channel, as its row tells. Times are Unix seconds.

    Args:
        name: hash of the address.
        leased_until: another has it.
        paced_until: only critical alerts go there.
        blocked_until: nothing goes there.
        breaker: its circuit breaker.
        tokens: of its bucket, None for one never used.
        tokens_at: when they were counted.
        pace: part of its rate that it takes just now.
    """

    name: str
    leased_until: float
    paced_until: float
    blocked_until: float
    breaker: Breaker
    tokens: float | None
    tokens_at: float
    pace: float


def targets(db: Db, channel: str, now: float) -> list[Target]:
    """The addresses of a channel."""
    return [_target(row, now) for row in db.execute(_TARGETS, (channel,)).fetchall()]


def target(db: Db, channel: str, name: str, now: float) -> Target | None:
    """One address, its row locked; None where another has locked it."""
    row = db.execute(_TARGET, (channel, name)).fetchone()
    return None if row is None else _target(row, now)


def _target(row: tuple[Any, ...], now: float) -> Target:
    (name, leased_until, leased_at, paced_until, not_before, open_until, held_at, failures, trips, tokens, tokens_at,
     pace, channel_not_before, channel_held_at) = row  # fmt: skip
    latest = now + CLOCK_SLACK
    held = 0.0 if held_at > latest else max(not_before, open_until)
    return Target(
        name=name,
        leased_until=0.0 if leased_at > latest else leased_until,
        paced_until=0.0 if tokens_at > latest else paced_until,
        blocked_until=max(held, 0.0 if channel_held_at > latest else channel_not_before),
        breaker=Breaker(failures, trips, 0.0 if held_at > latest else open_until),
        tokens=tokens,
        tokens_at=min(tokens_at, now),
        pace=pace,
    )


# Claiming --------------------------------------------------------------------------------------------


def claim(
    db: Db, channel: str, owner: str, now: float, *, lease: float, rate: float, hand_over: Priority | None
) -> Claim | None:
    """See :meth:`bt_alerts.outbox.base.Outbox.claim`."""
    while True:
        try:
            return _claim(db, channel, owner, now, lease=lease, rate=rate, hand_over=hand_over)
        except _UnreadableError as exc:
            log.error("channel %s: what the store holds of an alert cannot be read; it is a dead letter now", channel)
            db.execute(_BURY, (now, exc.seq))
            db.execute(f"{GIVE_BACK} channel = ? AND target = ?", (channel, exc.target))


def _claim(
    db: Db, channel: str, owner: str, now: float, *, lease: float, rate: float, hand_over: Priority | None
) -> Claim | None:
    for name in _most_urgent_first(db, channel, now, hand_over):
        found = target(db, channel, name, now)
        if found is None or found.leased_until > now:
            continue  # another worker was quicker
        chosen = _choose(db, channel, found, now, hand_over)
        if chosen is None or not (found.blocked_until > now or _pay(db, channel, found, chosen[1], rate=rate, now=now)):
            continue
        db.execute(
            "UPDATE targets SET owner = ?, leased_at = ?, leased_until = ? WHERE channel = ? AND target = ?",
            (owner, now, now + lease, channel, name),
        )
        return _claimed(db, channel, found, chosen[0], now)
    return None


class _UnreadableError(Exception):
    """What the store holds of an alert is damaged; it must not keep back all that come behind it."""

    def __init__(self, seq: int, target: str) -> None:
        self.seq, self.target = seq, target


def _most_urgent_first(db: Db, channel: str, now: float, hand_over: Priority | None) -> list[str]:
    """The targets for which there is something to do, by what is most urgent there."""
    free = [each for each in targets(db, channel, now) if each.leased_until <= now]
    if len(free) == 1:
        return [free[0].name]
    found = [(chosen, each.name) for each in free if (chosen := _choose(db, channel, each, now, hand_over)) is not None]
    return [name for (_, _), name in sorted(found, key=lambda pair: (-pair[0][1], pair[0][0]))]


def _choose(db: Db, channel: str, at: Target, now: float, hand_over: Priority | None) -> tuple[int, int] | None:
    """What is next for a target: number and rank of the delivery; None where there is nothing to do."""
    due = (channel, at.name, now, now + CLOCK_SLACK, now + CLOCK_SLACK)
    row: Cursor
    if at.blocked_until > now:  # not to be sent, but to be given up: it has somewhere else to go, or expires first
        row = db.execute(f"{_DUE} AND expires <= ? ORDER BY expires LIMIT 1", (*due, at.blocked_until))
        if hand_over is not None and at.breaker.state(now) is BreakerState.OPEN:
            urgent = db.execute(_URGENT, (channel, at.name, hand_over.rank, now)).fetchone()
            if urgent is not None:
                return tuple(urgent)
    elif at.breaker.state(now) is BreakerState.HALF_OPEN and at.breaker.wants_another:
        row = db.execute(f"{_DUE} ORDER BY attempts, priority DESC, seq LIMIT 1", due)
    elif at.paced_until > now:
        row = db.execute(f"{_DUE} AND priority >= ? {_ORDER}", (*due, Priority.CRITICAL.rank))
    else:
        row = db.execute(f"{_DUE} {_ORDER}", due)
    found: tuple[int, int] | None = row.fetchone()
    return found


def _pay(db: Db, channel: str, at: Target, rank: int, *, rate: float, now: float) -> bool:
    """Take a token of the target's bucket; where there is none, note when the next one comes."""
    critical = rank >= Priority.CRITICAL.rank
    bucket = pacing.take(at.tokens, at.tokens_at, rate, now, pace=at.pace, critical=critical)
    wait = bucket.not_before
    paced, blocked = (0.0, wait) if critical else (wait, 0.0)
    db.execute(
        "UPDATE targets SET tokens = ?, tokens_at = ?, paced_until = ?, "
        "not_before = CASE WHEN ? > 0 THEN ? ELSE not_before END, held_at = CASE WHEN ? > 0 THEN ? ELSE held_at END, "
        "open_until = CASE WHEN ? > 0 THEN ? ELSE open_until END WHERE channel = ? AND target = ?",
        # As we saw it: what a clock that went back had made void must not come to life with a new `tokens_at`.
        (bucket.tokens, now, paced or at.paced_until, blocked, blocked, blocked, now, blocked, at.breaker.open_until,
         channel, at.name),
    )  # fmt: skip
    return bucket.granted


def _claimed(db: Db, channel: str, at: Target, seq: int, now: float) -> Claim:
    batch = db.execute("SELECT batch FROM deliveries WHERE seq = ?", (seq,)).fetchone()[0]
    # The oldest leads, so that a repeat after a crash has the same key. What is to be given up goes by itself.
    if batch and at.blocked_until <= now:
        leader, all_silent = db.execute(_LEADER, (channel, at.name, batch)).fetchone()
        seq = seq if leader is None else leader  # None: it was cancelled just now, and so counts as under way
    else:
        all_silent = None
    (key, body, promised, expires, silent, attempts, answers, thread, progress, reason) = db.execute(
        _CLAIMED, (seq,)
    ).fetchone()
    try:
        alert = Alert.from_json(body)
    except ValueError:
        raise _UnreadableError(seq, at.name) from None
    return Claim(
        seq=seq,
        key=key,
        channel=channel,
        target=at.name,
        alert=alert,
        promised=promised,
        expires=expires,
        silent=bool(silent if all_silent is None else all_silent),
        attempts=attempts,
        answers=answers,
        replies_to=_replies_to(db, channel, at.name, thread),
        memory=_memory(db, channel),
        batch=batch,
        held_until=at.blocked_until,
        breaker=at.breaker,
        progress=_known(progress),
        leased_at=now,
        reason=reason,
    )


def _replies_to(db: Db, channel: str, name: str, thread: str) -> tuple[str, ...]:
    if not thread:
        return ()
    ends = (db.execute(f"{_IN_THREAD} {order} LIMIT 1", (channel, name, thread)).fetchone() for order in _ENDS)
    return tuple(dict.fromkeys(row[0] for row in ends if row is not None))


def _memory(db: Db, channel: str) -> dict[str, Any]:
    rows = db.execute("SELECT target, memory FROM targets WHERE channel = ? AND memory != ''", (channel,)).fetchall()
    return {name: _known(memory) for name, memory in rows}


def _known(text: str) -> dict[str, Any]:
    """What was kept; nothing where it is damaged, because that must not undo the settlement that it is read after."""
    with contextlib.suppress(ValueError):
        found = json.loads(text or "{}")
        return found if isinstance(found, dict) else {}
    return {}


# What is next ----------------------------------------------------------------------------------------


def next_due(db: Db, channel: str, now: float, *, leases: bool) -> float | None:
    """When a channel next has something to deliver, in Unix seconds; None where nothing is pending.

    Args:
        db: the connection.
        channel: the channel's name.
        now: Unix seconds.
        leases: whether to wait for leases too, or to count what is in flight as being tried now.
    """
    times = []
    for each in targets(db, channel, now):
        due = _next_at(db, channel, each, now)
        if due is not None:
            times.append(max(due, each.leased_until) if leases else due)
    return min(times, default=None)


def _next_at(db: Db, channel: str, at: Target, now: float) -> float | None:
    where = (channel, at.name)
    first: float | None = db.execute(_FIRST_DUE, where).fetchone()[0]
    if first is None:
        return None
    if at.blocked_until > now:
        expiring = db.execute(f"{_FIRST_DUE} AND expires <= ?", (*where, at.blocked_until)).fetchone()[0]
        return float(min(expiring if expiring is not None else at.blocked_until, max(first, at.blocked_until)))
    if at.paced_until > now:
        urgent = db.execute(f"{_FIRST_DUE} AND priority >= ?", (*where, Priority.CRITICAL.rank)).fetchone()[0]
        return float(min(urgent if urgent is not None else at.paced_until, max(first, at.paced_until)))
    return float(first)


_TARGETS = """
SELECT t.target, t.leased_until, t.leased_at, t.paced_until, t.not_before, t.open_until, t.held_at, t.failures, t.trips,
       t.tokens, t.tokens_at, t.pace, c.not_before, c.held_at
FROM targets t JOIN channels c ON c.channel = t.channel
WHERE t.channel = ?"""
_TARGET = f"{_TARGETS} AND t.target = ? /* FOR UPDATE OF t SKIP LOCKED */"

_DUE = """
SELECT seq, priority FROM deliveries
WHERE channel = ? AND target = ? AND state = 'pending'
  AND (due <= ? OR tried > ? OR (batch != '' AND created > ?))"""
_ORDER = "ORDER BY priority DESC, seq LIMIT 1"

# One that has been tried does not wait for its next try.
_URGENT = """
SELECT seq, priority FROM deliveries
WHERE channel = ? AND target = ? AND state = 'pending' AND priority >= ? AND (due <= ? OR attempts > 0)
ORDER BY priority DESC, seq LIMIT 1
"""

_LEADER = """
SELECT min(seq), min(silent) FROM deliveries WHERE channel = ? AND target = ? AND state = 'pending' AND batch = ?
  AND batch != ''
"""

_CLAIMED = """
SELECT d.key, a.body, d.promised, d.expires, d.silent, d.attempts, d.answers, d.thread, d.progress, d.reason
FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE d.seq = ?
"""

_BURY = """
UPDATE deliveries SET state = 'dead', outcome = 'unreadable', settled = ?, batch = '',
    detail = 'what the store holds of this alert cannot be read'
WHERE seq = ?
"""
#: Gives back the targets that what follows it names.
GIVE_BACK = "UPDATE targets SET owner = NULL, leased_until = 0, leased_at = 0 WHERE"

_IN_THREAD = """
SELECT service_id FROM deliveries
WHERE channel = ? AND target = ? AND thread = ? AND thread != '' AND service_id != '' AND state = 'delivered'
ORDER BY settled
"""
_ENDS = ("ASC", "DESC")

_FIRST_DUE = "SELECT min(due) FROM deliveries WHERE channel = ? AND target = ? AND state = 'pending'"
