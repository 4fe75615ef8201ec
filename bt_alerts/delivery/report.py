"""What became of things: the report of one alert, the health of channels, statistics, recent deliveries. Reads only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from bt_alerts.alert import as_utc
from bt_alerts.outbox.base import Outbox


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelResult:
    """What became of an alert on one target of one channel.

    Args:
        channel: the channel's name.
        target: what may be shown of the address.
        state: pending, delivered, dead …
        success: whether it was delivered.
        attempts: how often it was tried.
        detail: the last answer, in words.
        latency: seconds from the plan to the service's answer; None while it is not settled.
        service_id: the service's id of the message.
    """

    channel: str
    target: str
    state: str
    success: bool
    attempts: int
    detail: str
    latency: float | None
    service_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of one alert so far."""

    alert_id: str
    state: str
    reason: str
    results: Sequence[ChannelResult]

    @property
    def success(self) -> bool:
        """Whether every delivery arrived; an alert that nobody was to get has none that failed."""
        return all(result.success for result in self.results)

    @property
    def success_rate(self) -> float:
        """Percent of deliveries that arrived; 100 where there are none."""
        return 100.0 * sum(r.success for r in self.results) / len(self.results) if self.results else 100.0

    def to_json(self) -> str:
        """The report as JSON."""
        row = dataclasses.asdict(self) | {"success": self.success, "success_rate": self.success_rate}
        return json.dumps(row, ensure_ascii=False)


@dataclasses.dataclass(frozen=True, slots=True)
class TargetTest:
    """One target of a channel's test."""

    target: str
    success: bool
    reason: str
    latency: float
    service_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelTest:
    """The test of one channel."""

    channel: str
    results: Sequence[TargetTest]
    problem: str = ""

    @property
    def success(self) -> bool:
        """Whether every target took the test."""
        return not self.problem and bool(self.results) and all(result.success for result in self.results)

    def __bool__(self) -> bool:
        return self.success


_REPORT = """
SELECT d.channel, t.label, d.state, d.attempts, d.detail, d.settled - d.created, d.service_id
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE a.id = ? ORDER BY d.seq
"""


def report_of(outbox: Outbox, alert_id: str) -> DeliveryReport | None:
    """What became of an alert; None where the store does not have it (yet)."""
    found = next(iter(outbox.rows("SELECT state, reason FROM alerts WHERE id = ?", (alert_id,))), None)
    if found is None:
        return None
    results = [
        ChannelResult(channel, target, state, state == "delivered", attempts, detail, latency, service_id)
        for channel, target, state, attempts, detail, latency, service_id in outbox.rows(_REPORT, (alert_id,))
    ]
    return DeliveryReport(alert_id, found[0], found[1], results)


_HEALTH = """
SELECT c.channel,
       coalesce(sum(d.state = 'delivered'), 0), coalesce(sum(d.state IN ('dead', 'expired', 'failed-over')), 0),
       coalesce(sum(d.state = 'pending'), 0), coalesce(sum(d.state = 'held'), 0),
       min(CASE WHEN d.state = 'pending' THEN d.created END), c.disabled, c.not_before
FROM channels c LEFT JOIN deliveries d ON d.channel = c.channel
GROUP BY c.channel
"""

_LAST_ERROR = """
SELECT p.detail, p.started FROM attempts p JOIN deliveries d ON d.seq = p.delivery
WHERE d.channel = ? AND p.outcome != 'sent' ORDER BY p.seq DESC LIMIT 1
"""

_LAST_OUTCOME = """
SELECT p.outcome FROM attempts p JOIN deliveries d ON d.seq = p.delivery
WHERE d.channel = ? ORDER BY p.seq DESC LIMIT 1
"""

_LATENCIES = """
SELECT p.took FROM attempts p JOIN deliveries d ON d.seq = p.delivery
WHERE d.channel = ? AND p.outcome = 'sent' ORDER BY p.seq DESC LIMIT 1000
"""


def channel_health(outbox: Outbox, channels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Health by channel: counts, success rate in percent, last error in words, queue, latencies in seconds."""
    health: dict[str, dict[str, Any]] = {name: _blank() for name in channels}
    for name, sent, failed, pending, held, oldest, disabled, _not_before in list(outbox.rows(_HEALTH)):
        took = sorted(row[0] for row in outbox.rows(_LATENCIES, (name,)))
        error = next(iter(outbox.rows(_LAST_ERROR, (name,))), None)
        last = next(iter(outbox.rows(_LAST_OUTCOME, (name,))), ("",))[0]
        health[name] = _blank() | {
            "status": "disabled" if disabled else "failing" if last not in ("", "sent") else "ok",
            "sent": sent,
            "failed": failed,
            "success_rate": 100.0 * sent / (sent + failed) if sent + failed else 100.0,
            "last_error": error[0] if error else "",
            "last_error_at": as_utc(error[1]) if error else None,
            "disabled": disabled,
            "queue": pending,
            "held": held,
            "oldest_pending": as_utc(oldest),
            "latency_p50": _percentile(took, 0.50),
            "latency_p95": _percentile(took, 0.95),
        }
    return health


def _blank() -> dict[str, Any]:
    return {
        "status": "ok", "sent": 0, "failed": 0, "success_rate": 100.0, "last_error": "", "last_error_at": None,
        "disabled": "", "queue": 0, "held": 0, "oldest_pending": None, "latency_p50": None, "latency_p95": None,
    }  # fmt: skip


def _percentile(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


_RECENT = """
SELECT a.id, a.kind, a.body ->> '$.title', d.channel, t.label, d.state, d.outcome, d.detail, d.attempts, d.created,
       d.settled, d.service_id
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
{where} ORDER BY d.seq DESC LIMIT ?
"""
_RECENT_NAMES = (
    "alert_id", "kind", "title", "channel", "target", "state", "outcome", "detail", "attempts", "created", "settled",
    "service_id",
)  # fmt: skip


def recent_deliveries(outbox: Outbox, limit: int, *, dead: bool = False) -> list[dict[str, Any]]:
    """The newest deliveries, newest first; with ``dead`` only dead letters and expired ones."""
    where = "WHERE d.state IN ('dead', 'expired')" if dead else ""
    return list(_as_dicts(outbox.rows(_RECENT.format(where=where), (limit,))))


def _as_dicts(rows: Iterator[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        found = dict(zip(_RECENT_NAMES, row, strict=True))
        found["created"], found["settled"] = as_utc(found["created"]), as_utc(found["settled"])
        yield found
