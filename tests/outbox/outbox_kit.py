"""Plans and settles without an engine, so that a test says what happens when."""

from __future__ import annotations

from typing import Any

from alerts_kit import alert

from bt_alerts import Alert
from bt_alerts.outbox.base import AlertState, Claim, DeliveryState, NewDelivery, Outbox, Settlement

T0 = 1_800_000_000.0
SENT = Settlement(DeliveryState.DELIVERED, "sent", answered=True)


def plan(
    outbox: Outbox, *deliveries: str, due: float = T0, expires: float = T0 + 1000, now: float = T0, **fields: Any
) -> Alert:
    """Keep an alert with a delivery for each ``"channel"`` or ``"channel/target"``."""
    made = alert(**fields)
    with outbox.transaction() as tx:
        seq = tx.add_alert(made, AlertState.WAITING)
        assert seq is not None
        tx.add_deliveries(seq, [new(made, each, due=due, expires=expires) for each in deliveries], now)
        tx.decide(seq, AlertState.PLANNED)
    return made


def new(made: Alert, where: str, *, due: float = T0, expires: float = T0 + 1000) -> NewDelivery:
    channel, _, target = where.partition("/")
    target = target or "t"
    return NewDelivery(
        f"{made.id}-{channel}-{target}", channel, target, f"label {target}", due, due, expires, thread=made.thread
    )


def claim(
    outbox: Outbox, channel: str = "a", *, now: float = T0, owner: str = "me", lease: float = 30.0, rate: float = 0.0
) -> Claim | None:
    return outbox.claim(channel, owner, now, lease, rate)


def settle(
    outbox: Outbox, claimed: Claim | None, what: Settlement = SENT, *, owner: str = "me", now: float = T0
) -> bool:
    assert claimed is not None
    return outbox.settle(claimed, what, owner, started=now, now=now)


def state_of(outbox: Outbox, made: Alert) -> list[str]:
    rows = outbox.rows(
        "SELECT d.state FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE a.id = ? ORDER BY d.seq", (made.id,)
    )
    return [row[0] for row in rows]


def again(due: float, **more: Any) -> Settlement:
    return Settlement(DeliveryState.PENDING, "retry", "busy", due=due, answered=True, hold_target=due, **more)
