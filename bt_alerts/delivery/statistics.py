"""Figures over everything that the store holds, and the newest deliveries. Reads only.

The ledgers count from the store's first day; types and priorities are those of the alerts that are still kept. They are
for a person or a notebook: with a million alerts they take a second, where health.py takes a tenth of one.
"""

from __future__ import annotations

import json
from typing import Any

from bt_alerts.alert import Priority, as_utc
from bt_alerts.delivery.health import LATEST, percentile
from bt_alerts.outbox.base import DeliveryState, Ledger, Outbox

HOURS = 24
MOST = 200_000  # attempts that are looked at for the last 24 hours


def statistics(outbox: Outbox, now: float) -> dict[str, Any]:
    """Totals, both ledgers, deliveries an hour, success rate and latency.

    Args:
        outbox: the store.
        now: Unix seconds.

    Returns:
        ``alerts``, ``by_type``, ``by_priority``; the ledger of the alerts as ``recorded``, ``suppressed``, ``planned``,
        ``waiting``, with ``reasons`` why something was not sent, and ``suppressed_by_reason`` what a rule held back;
        the ledger of the ``deliveries`` by state; ``deliveries_by_reason``, those still kept that waited, or went
        elsewhere or further, as ``{reason: n}``; ``success_rate`` in percent; ``latency_p50`` and
        ``latency_p95`` in seconds from the plan to the service's answer, of the latest 1,000; and ``per_hour``, one
        ``{"hour", "sent", "failed"}`` (messages, and attempts that failed) for each of the last 24, oldest first.
    """
    ledger = outbox.ledger()
    by_type: dict[str, int] = {}
    by_priority: dict[str, int] = {}
    words = {priority.rank: priority.value for priority in Priority}
    for kind, rank, n in outbox.rows("SELECT type, priority, count(*) FROM alerts GROUP BY type, priority"):
        by_type[kind] = by_type.get(kind, 0) + n
        by_priority[words[rank]] = by_priority.get(words[rank], 0) + n
    latencies = [row[0] for row in outbox.rows(_LATENCIES, (LATEST,)) if row[0] is not None]
    return {
        "alerts": ledger.accepted,
        "by_type": by_type,
        "by_priority": by_priority,
        "recorded": ledger.recorded,
        "suppressed": ledger.suppressed,
        "planned": ledger.planned,
        "waiting": ledger.waiting,
        "reasons": dict(ledger.reasons),
        "suppressed_by_reason": _suppressed(outbox),
        "deliveries": dict(ledger.deliveries),
        "deliveries_by_reason": dict(outbox.rows(_BY_REASON)),
        "success_rate": success_rate(ledger),
        "latency_p50": percentile(latencies, 0.50),
        "latency_p95": percentile(latencies, 0.95),
        "per_hour": _per_hour(outbox, now),
    }


def success_rate(ledger: Ledger) -> float:
    """Percent of the settled deliveries that arrived, some of them in one message; 100 where none is."""
    arrived = sum(ledger.deliveries[state] for state in (DeliveryState.DELIVERED, DeliveryState.DIGESTED))
    failed = sum(ledger.deliveries[state] for state in ("dead", "expired", "failed-over"))
    return 100.0 * arrived / (arrived + failed) if arrived + failed else 100.0


def _suppressed(outbox: Outbox) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason, n in [*outbox.rows(_SUPPRESSED), *outbox.rows(_SUPPRESSED_AND_PRUNED)]:
        found[reason] = found.get(reason, 0) + n
    return found


def _per_hour(outbox: Outbox, now: float) -> list[dict[str, Any]]:
    first = (now // 3600 - HOURS + 1) * 3600
    hours: list[dict[str, Any]] = [{"hour": as_utc(first + 3600 * i), "sent": 0, "failed": 0} for i in range(HOURS)]
    for ended, outcome, by in outbox.rows(_ATTEMPTS, (MOST,)):
        if ended < first:
            break  # they are written in the order of time
        index = int((ended - first) // 3600)
        if index < HOURS and by:
            hours[index]["sent" if outcome == "sent" else "failed"] += 1
    return hours


def recent_deliveries(outbox: Outbox, limit: int) -> list[dict[str, Any]]:
    """The newest deliveries, newest first.

    Returns:
        For each ``alert_id``, ``kind``, ``title``, ``channel``, ``target`` (what may be shown of the address),
        ``state``, ``outcome``, ``detail``, ``attempts``, ``created``, ``settled`` and ``service_id``.
    """
    found = []
    for alert_id, kind, body, channel, target, state, outcome, detail, attempts, *times, service_id in outbox.rows(
        _RECENT, (limit,)
    ):
        created, settled = map(as_utc, times)
        found.append({
            "alert_id": alert_id, "kind": kind, "title": json.loads(body).get("title", ""), "channel": channel,
            "target": target, "state": state, "outcome": outcome, "detail": detail, "attempts": attempts,
            "created": created, "settled": settled, "service_id": service_id,
        })  # fmt: skip
    return found


_RECENT = """
SELECT a.id, a.kind, a.body, d.channel, t.label, d.state, d.outcome, d.detail, d.attempts, d.created, d.settled,
       d.service_id
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
ORDER BY d.seq DESC LIMIT ?
"""

_LATENCIES = """
SELECT d.settled - CASE WHEN d.promised > d.created THEN d.promised ELSE d.created END
FROM (SELECT delivery, seq FROM attempts WHERE outcome = 'sent' AND owner != '' ORDER BY seq DESC LIMIT ?) p
JOIN deliveries d ON d.seq = p.delivery
"""

_ATTEMPTS = """
SELECT started + took, outcome, owner FROM attempts
WHERE seq > (SELECT coalesce(max(seq), 0) FROM attempts) - ? ORDER BY seq DESC
"""

_BY_REASON = "SELECT reason, count(*) FROM deliveries WHERE reason != '' GROUP BY reason ORDER BY reason"
_SUPPRESSED = "SELECT reason, count(*) FROM alerts WHERE state = 'suppressed' GROUP BY reason"
_SUPPRESSED_AND_PRUNED = "SELECT reason, n FROM pruned WHERE ledger = 'alerts' AND state = 'suppressed'"
