"""What rules remember grows with the keys that are alive, not with the alerts that came."""

from __future__ import annotations

from pathlib import Path

from planner_kit import Desk

from bt_alerts.outbox.entries import Acknowledged

RULES = """
rules:
  cooldown: [{every: 1h, when: {type: market}}]
  repeats: [{within: 6h}]
  once_per_bar: [{when: {type: signal}}]
  levels: [{when: {type: risk}, field: drawdown, above: 10, back: 8}]
  inhibit: [{when: {type: custom}, cause: {type: store}, ends: {type: health}}]
escalation:
  - {when: {priority: critical}, steps: [{after: 10m, to: chat}]}
delivery: {enable_batching: true}
"""
TYPES = ("market", "signal", "risk", "custom", "error", "order", "store")
SYMBOLS = ("AAPL", "MSFT", "BTC-USD")


def remembered(desk: Desk) -> int:
    return int(next(desk.outbox.rows("SELECT count(*) FROM rule_state"))[0])


def live(desk: Desk, alerts: int) -> None:
    """Alerts of a few keys, one every ten minutes; each third critical one is acknowledged."""
    for number in range(alerts):
        desk.clock.advance(600)
        kind = TYPES[number % len(TYPES)]
        made = desk.emit(
            message=f"{kind} {number % 5}",
            type=kind,
            kind=kind,
            symbol=SYMBOLS[number % 3],
            priority="critical" if number % 11 == 0 else "medium",
            bar_time=desk.clock(),
            action=f"fill-{number}",
            dedupe_key=f"bar-{number}",
            data={"drawdown": number % 20},
        )
        if number % 33 == 0:
            desk.take(Acknowledged(made.id))
        desk.planner.tick()


def test_what_rules_remember_stops_growing_when_no_new_key_comes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RULES)
    day = 144  # alerts; what was told once on a bar is known for two weeks
    live(desk, 16 * day)
    before = remembered(desk)
    live(desk, 16 * day)
    assert desk.outbox.ledger().accepted == 32 * day
    assert before > 14 * day
    assert abs(remembered(desk) - before) <= 20
    desk.clock.advance(400 * 86_400)
    desk.emit(message="after a year")
    assert remembered(desk) <= 5
    desk.outbox.close()
