"""A store of each kind, and deliveries in it without an engine, so that a test says what happened when."""

from __future__ import annotations

from typing import Any

from alerts_kit import alert

from bt_alerts import Alert
from bt_alerts.outbox.base import AlertState, Claim, DeliveryState, NewDelivery, Outbox, Settlement

T0 = 1_800_000_000.0
SENT = Settlement(DeliveryState.DELIVERED, "sent", "HTTP 200", service_id="m1", answered=True)
DEAD = Settlement(DeliveryState.DEAD, "permanent", "HTTP 400: no such chat", answered=True)
BUSY = Settlement(DeliveryState.PENDING, "retry", "HTTP 503", due=T0 + 5, answered=True)


def plan(
    outbox: Outbox, *places: str, now: float = T0, at: float | None = None, label: str = "label", **fields: Any
) -> Alert:
    """Keep an alert with a delivery for each ``"channel"`` or ``"channel/target"``, to go at ``at``."""
    made = alert(**fields)
    when = now if at is None else at
    with outbox.transaction() as tx:
        seq = tx.add_alert(made, AlertState.WAITING)
        assert seq is not None
        new = []
        for place in places:
            channel, _, target = place.partition("/")
            key, shown = f"{made.id}-{place}", f"{label} {target}".strip()
            new.append(NewDelivery(key, channel, target or "t", shown, when, when, when + 1e5, thread=made.thread))
        tx.add_deliveries(seq, new, now)
        tx.decide(seq, AlertState.PLANNED)
    return made


def attempt(
    outbox: Outbox, channel: str, what: Settlement = SENT, *, now: float = T0, took: float = 0.25, owner: str = "77-me"
) -> Claim:
    """Claim what is next and settle it."""
    claim = outbox.claim(channel, owner, now, 30.0, 0.0)
    assert claim is not None
    assert outbox.settle(claim, what, owner, started=now, now=now + took)
    return claim
