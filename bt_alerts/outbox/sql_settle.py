"""Settling in SQL: what became of a claim, and what that means for its target, its channel and its companions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from bt_alerts.alert import Priority, plain, safe_text
from bt_alerts.outbox.base import Claim, DeliveryState, NewDelivery, Settlement
from bt_alerts.outbox.sql_claim import CLOCK_SLACK
from bt_alerts.outbox.sql_db import Db
from bt_alerts.rules import pacing

MAX_DETAIL = 2_000  # characters kept of what a service said
LONGEST_HOLD = 32 * 86_400.0  # seconds: a quota of a month; who says more says nonsense, and is asked again after it

#: States of a delivery whose address has the alert, or can still get it.
_TAKEN = {DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DELIVERED, DeliveryState.DIGESTED}


def settle(db: Db, claim: Claim, done: Settlement, owner: str, *, started: float, now: float) -> bool:
    """See :meth:`bt_alerts.outbox.base.Outbox.settle`."""
    target = db.execute(_TARGET, (claim.channel, claim.target)).fetchone()
    if target is None or (target[0], target[1]) != (owner, claim.leased_at):
        # Another took over after our lease ran out: its word counts. Or this is written, and only the answer was lost.
        row = db.execute("SELECT tried FROM deliveries WHERE seq = ?", (claim.seq,)).fetchone()
        return row is not None and row[0] == now
    delivery = db.execute(_DELIVERY, (claim.seq,)).fetchone()
    if delivery is None:  # cancelled while it was under way, and then forgotten with its alert
        _settle_target(db, claim, done, target, started=started, now=now)
        return False
    # What a service says can be anything, and a settlement that fails is a message sent twice.
    detail, service_id = safe_text(done.detail, MAX_DETAIL), safe_text(done.service_id, MAX_DETAIL)
    if done.attempted:
        db.execute(
            "INSERT INTO attempts (delivery, channel, owner, started, took, outcome, detail, service_id, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (claim.seq, claim.channel, owner, started, max(0.0, now - started), done.outcome, detail, service_id,
             json.dumps(plain(done.facts))),
        )  # fmt: skip
    if done.instead:
        done = _handed_over(db, claim, done, delivery, now)
    _settle_delivery(db, claim, done, delivery, detail=detail, service_id=service_id, now=now)
    _settle_target(db, claim, done, target, started=started, now=now)
    if hold := _until(done.hold_channel, now):
        db.execute("UPDATE channels SET not_before = ?, held_at = ? WHERE channel = ?", (hold, now, claim.channel))
    if done.disable_channel:
        reason = safe_text(done.disable_channel, MAX_DETAIL)
        db.execute("UPDATE channels SET disabled = ? WHERE channel = ?", (reason, claim.channel))
    if done.disable_channel or done.disable_target:
        _hold(db, claim, done)
    if done.apart:
        db.execute(
            "UPDATE deliveries SET batch = '', due = ? WHERE channel = ? AND target = ? AND batch = ? AND batch != '' "
            "AND state = 'pending'",
            (done.due, claim.channel, claim.target, claim.batch),
        )
    if done.cancel_others:
        db.execute(
            "UPDATE deliveries SET state = 'cancelled', outcome = 'cancelled', settled = ?, "
            "detail = 'another channel failed first, and fail_fast is on' "
            "WHERE alert = ? AND state = 'pending' AND seq != ?",
            (now, delivery[0], claim.seq),
        )
    return True


def _handed_over(db: Db, claim: Claim, done: Settlement, row: tuple[Any, ...], now: float) -> Settlement:
    """Plan what takes a delivery's place; the settlement says what that makes of it."""
    alert, state = row[:2]
    if state == DeliveryState.CANCELLED:  # acknowledged while it was under way: nobody else is to be told
        return dataclasses.replace(done, state=DeliveryState.CANCELLED, instead=())
    taken = hand_over(db, alert, claim.seq, claim.alert.priority.rank, done.instead, now)
    return done if taken else dataclasses.replace(done, state=DeliveryState.DEAD)


def hand_over(db: Db, alert: int, seq: int, rank: int, instead: Sequence[NewDelivery], now: float) -> bool:  # noqa: PLR0917
    """Plan what takes the place of delivery ``seq``; False where that was given up before, and so nobody has it."""
    insert_deliveries(db, alert, rank, instead, now)
    all_of_it = db.execute("SELECT key, state FROM deliveries WHERE alert = ? AND seq != ?", (alert, seq))
    states = dict(all_of_it.fetchall())
    theirs = {states.get(new.key) for new in instead}
    # The alert may have been there before; where that ended elsewhere, somebody else has it, or nobody.
    return bool(theirs & _TAKEN or (DeliveryState.FAILED_OVER in theirs and _TAKEN & set(states.values())))


def _settle_delivery(
    db: Db, claim: Claim, done: Settlement, row: tuple[Any, ...], *, detail: str, service_id: str, now: float
) -> None:
    # Somebody may have cancelled or held it while it was under way: it arrived all the same, or that stands.
    _, state, outcome, due, progress, tried = row
    if state == DeliveryState.PENDING or done.state in (DeliveryState.DELIVERED, DeliveryState.FAILED_OVER):
        state, outcome = done.state.value, done.outcome
    if tried > now + CLOCK_SLACK:  # the clock went back since: the wait of that time is over
        due = done.due
    if done.progress is not None:
        progress = json.dumps(plain(done.progress))
    db.execute(
        "UPDATE deliveries SET state = ?, outcome = ?, detail = ?, due = ?, settled = ?, service_id = ?, tried = ?, "
        "attempts = attempts + ?, answers = answers + ?, ask_at = ?, batch = ?, progress = ? WHERE seq = ?",
        (state, outcome, detail, max(due, done.due), None if state == DeliveryState.PENDING else now,
         service_id, now, int(done.attempted), int(done.answered), done.ask_at, done.batch, progress, claim.seq),
    )  # fmt: skip
    if done.digested:
        db.executemany(
            "UPDATE deliveries SET state = 'digested', outcome = 'digested', detail = ?, settled = ?, "
            "service_id = ? WHERE seq = ? AND state IN ('pending', 'held')",
            [(f"went in one message with alert {claim.alert.id}", now, service_id, seq) for seq in done.digested],
        )


def _settle_target(db: Db, claim: Claim, done: Settlement, row: tuple[Any, ...], *, started: float, now: float) -> None:
    _, _, not_before, open_until, held_at, pace, tokens = row
    if held_at > now + CLOCK_SLACK:  # from before the clock went back: a new wait must not bring the old one to life
        not_before = open_until = 0.0
    dead = safe_text(done.disable_target, MAX_DETAIL)
    breaker, held = done.breaker, _until(done.hold_target, now)
    if breaker is None:
        failures, trips = claim.breaker.failures, claim.breaker.trips
    else:
        failures, trips, open_until = breaker.failures, breaker.trips, breaker.open_until
    if held or (breaker is not None and breaker.trips):
        held_at = now
    if done.state is DeliveryState.DELIVERED:
        pace = pacing.faster(pace)
    elif done.slow_down:
        pace, tokens = pacing.slower(pace), None if tokens is None else 0.0
    if not done.attempted and tokens is not None and claim.held_until <= started:
        tokens += 1.0  # nothing was sent; what was claimed to be given up had paid none
    db.execute(
        "UPDATE targets SET owner = NULL, leased_until = 0, leased_at = 0, failures = ?, trips = ?, open_until = ?, "
        "not_before = ?, held_at = ?, pace = ?, tokens = ?, disabled = CASE WHEN ? != '' THEN ? ELSE disabled END, "
        "memory = CASE WHEN ? THEN ? ELSE memory END WHERE channel = ? AND target = ?",
        (failures, trips, open_until, max(not_before, held), held_at, pace, tokens,
         dead, dead, done.remember is not None,
         json.dumps(plain(done.remember)) if done.remember is not None else "", claim.channel, claim.target),
    )  # fmt: skip


def _until(told: float | None, now: float) -> float:
    """How long to wait by what a service told, in Unix seconds; 0 for no wait, and for what is no time."""
    return min(told, now + LONGEST_HOLD) if told is not None and told > now else 0.0


def _hold(db: Db, claim: Claim, done: Settlement) -> None:
    """What waits for a channel or target that will not work is held, not lost: it goes on with new settings."""
    which = "" if done.disable_channel else " AND target = ?"
    below = len(Priority) if done.hold_below is None else done.hold_below.rank
    reason = safe_text(done.disable_channel or done.disable_target, MAX_DETAIL)
    values = (reason, claim.channel, below)
    db.execute(
        "UPDATE deliveries SET state = 'held', detail = ? WHERE channel = ? AND state = 'pending' "
        f"AND priority < ?{which}",
        values if done.disable_channel else (*values, claim.target),
    )


def insert_deliveries(
    db: Db,
    alert_seq: int,
    rank: int,
    deliveries: Iterable[NewDelivery],
    now: float,
    *,
    working: set[tuple[str, str]] | None = None,
) -> None:
    """Plan deliveries of an alert; those of a disabled channel or address are held.

    ``working`` keeps channels and addresses that were found not to be disabled in this transaction.
    """
    for new in deliveries:
        held = "" if working and (new.channel, new.target) in working else _make_target(db, new)
        if working is not None and not held:
            working.add((new.channel, new.target))
        state = DeliveryState.HELD if held else DeliveryState.PENDING
        db.execute(
            "INSERT INTO deliveries (key, alert, channel, target, priority, silent, due, promised, created, "
            "expires, state, detail, thread, batch, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (new.key, alert_seq, new.channel, new.target, rank, int(new.silent), new.due, new.promised, now,
             new.expires, state.value, held, new.thread, new.batch, new.reason),
        )  # fmt: skip


def _make_target(db: Db, new: NewDelivery) -> str:
    """Make the rows of a channel and an address, where there are none; returns why it is disabled, or nothing."""
    db.execute("INSERT INTO channels (channel) VALUES (?) ON CONFLICT DO NOTHING", (new.channel,))
    db.execute(
        "INSERT INTO targets (channel, target, label) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (new.channel, new.target, new.label),
    )
    held: str = db.execute(_DISABLED, (new.channel, new.target)).fetchone()[0]
    if held:  # somebody may just be setting it free: then wait for that, or else this one would be held for ever
        held = db.execute(f"{_DISABLED} /* FOR SHARE */", (new.channel, new.target)).fetchone()[0]
    return held


_TARGET = """
SELECT owner, leased_at, not_before, open_until, held_at, pace, tokens FROM targets
WHERE channel = ? AND target = ? /* FOR UPDATE */
"""

_DELIVERY = "SELECT alert, state, outcome, due, progress, tried FROM deliveries WHERE seq = ? /* FOR NO KEY UPDATE */"

_DISABLED = """
SELECT c.disabled || t.disabled FROM channels c JOIN targets t ON t.channel = c.channel
WHERE t.channel = ? AND t.target = ?"""
