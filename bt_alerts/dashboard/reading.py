"""Questions of the dashboard to the store. Each is one short read that an index answers, and knows no Streamlit."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import Outbox

HOUR = 3600.0


def version(outbox: Outbox) -> tuple[Any, ...]:
    """What changes when an alert came, was planned or was tried."""
    return next(iter(outbox.rows(_VERSION)))


class Hour(NamedTuple):
    """The alerts of an hour: when it began, in Unix seconds, how many were sent, and how many were not."""

    begin: float
    sent: int
    not_sent: int


def alerts_by_hour(outbox: Outbox, now: float, hours: int = 24) -> list[Hour]:
    """How many alerts came in each of the last hours, the oldest first; those of backtests do not count.

    Args:
        outbox: the store.
        now: Unix seconds; its hour is the last.
        hours: how many.
    """
    first = (now // HOUR - hours + 1) * HOUR
    counts: collections.Counter[tuple[int, bool]] = collections.Counter()
    for time, state in outbox.rows(_HOURS, (first, now + HOUR)):
        counts[int((time - first) // HOUR), state == "planned"] += 1
    return [Hour(first + i * HOUR, counts[i, True], counts[i, False]) for i in range(hours)]


class Waiting(NamedTuple):
    """A delivery that has not arrived yet: where to, of what, since and until when in Unix seconds, and why."""

    channel: str
    label: str
    title: str
    state: str
    due: float
    expires: float
    attempts: int
    detail: str
    reason: str


def pending(outbox: Outbox, most: int = 50) -> tuple[int, list[Waiting]]:
    """What is pending or held: how many deliveries, and those that are due first."""
    total = int(next(iter(outbox.rows(_HOW_MANY)))[0])
    rows = outbox.rows(_PENDING, (most,))
    return total, [Waiting(channel, label, Alert.from_json(body).title, *rest) for channel, label, body, *rest in rows]


class Dead(NamedTuple):
    """A delivery that was given up, or expired: its number, when in Unix seconds, where to, of what, and the answer."""

    number: int
    settled: float | None
    channel: str
    title: str
    state: str
    detail: str


def dead(outbox: Outbox, most: int = 50) -> tuple[int, list[Dead]]:
    """How many dead letters there are, and the newest of them."""
    total = int(next(iter(outbox.rows(_HOW_MANY_DEAD)))[0])
    rows = outbox.rows(_DEAD, (most,))
    return total, [
        Dead(seq, settled, channel, Alert.from_json(body).title, state, detail)
        for seq, settled, channel, body, state, detail in rows
    ]


def fates(outbox: Outbox, numbers: Sequence[int]) -> dict[int, str]:
    """What became of the deliveries of some alerts, in words, by the alerts' numbers."""
    if not numbers:
        return {}
    counts: dict[int, collections.Counter[str]] = {}
    marks = ", ".join("?" * len(numbers))
    for alert, state, n in outbox.rows(_FATES.format(marks=marks), numbers):
        counts.setdefault(alert, collections.Counter())[state] += n
    return {alert: words(count) for alert, count in counts.items()}


def words(count: collections.Counter[str]) -> str:
    """``2 delivered, 1 pending``; the number is left out where there is one of one kind."""
    if len(count) == 1 and count.total() == 1:
        return next(iter(count))
    return ", ".join(f"{n:,} {state}" for state, n in sorted(count.items()))


class Choices(NamedTuple):
    """Words that a filter offers."""

    symbols: list[str]
    strategies: list[str]


def choices(outbox: Outbox, latest: int = 20_000) -> Choices:
    """Symbols and strategies of the newest alerts."""
    symbols: set[str] = set()
    strategies: set[str] = set()
    for symbol, strategy in outbox.rows(_CHOICES, (latest,)):
        symbols.add(symbol)
        strategies.add(strategy)
    return Choices(sorted(symbols - {""}), sorted(strategies - {""}))


class Run(NamedTuple):
    """A run of the store: its id, strategy, how many alerts it has, and of when, in Unix seconds."""

    id: str
    strategies: str
    alerts: int
    first: float
    last: float
    backtest: bool


def runs(outbox: Outbox, most: int = 100) -> list[Run]:
    """The newest runs that have alerts."""
    found = []
    for run, strategies, alerts, first, last, old in outbox.rows(_RUNS, (most,)):
        found.append(Run(run, strategies or "", alerts, first, last, bool(old)))
    return found


_VERSION = """
SELECT (SELECT coalesce(max(seq), 0) FROM alerts), (SELECT coalesce(max(seq), 0) FROM deliveries),
       (SELECT coalesce(max(seq), 0) FROM attempts), (SELECT count(*) FROM deliveries WHERE state = 'pending')
"""
_HOURS = "SELECT time, state FROM alerts WHERE time >= ? AND time < ? AND source != 'history'"
_HOW_MANY = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'held')"
_PENDING = """
SELECT d.channel, t.label, a.body, d.state, d.due, d.expires, d.attempts, d.detail, d.reason
FROM (SELECT * FROM deliveries WHERE state IN ('pending', 'held') ORDER BY due, seq LIMIT ?) d
JOIN alerts a ON a.seq = d.alert JOIN targets t ON t.channel = d.channel AND t.target = d.target
ORDER BY d.due, d.seq
"""
_HOW_MANY_DEAD = "SELECT count(*) FROM deliveries WHERE state IN ('dead', 'expired')"
_DEAD = """
SELECT d.seq, d.settled, d.channel, a.body, d.state, d.detail FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.state IN ('dead', 'expired') ORDER BY d.seq DESC LIMIT ?
"""
_FATES = "SELECT alert, state, count(*) FROM deliveries WHERE alert IN ({marks}) GROUP BY alert, state"
_CHOICES = """
SELECT DISTINCT symbol, strategy FROM alerts WHERE seq > (SELECT coalesce(max(seq), 0) FROM alerts) - ?
"""
_RUNS = """
SELECT run, max(strategy), count(*), min(time), max(time), min(CASE WHEN source = 'history' THEN 1 ELSE 0 END)
FROM alerts WHERE run != '' GROUP BY run ORDER BY run DESC LIMIT ?
"""
