"""Figures of *Performance*: how long deliveries took, how they ended, what they cost. Knows no Streamlit.

Numbers in the store go up with time, so that the first row of a span is found by halving, and nothing older is read.
How deliveries ended is counted of all of them, up to :data:`MOST`. Times are of every so many, spread over the span, so
that there are :data:`TIMED` at most. What was looked at is said with the figures.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bt_alerts.alert import Alert
from bt_alerts.delivery.health import percentile
from bt_alerts.dispatchers.sms import cap as sms_cap
from bt_alerts.outbox.base import DeliveryState, Outbox
from bt_alerts.settings import Settings

MOST = 400_000  # deliveries that are counted, the newest
TIMED = 40_000  # deliveries, answers and alerts whose times are read
SLOWEST = 20
STEPS = (60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0)  # seconds of one point of a chart
POINTS = 62  # of a chart, at most
ARRIVED = (DeliveryState.DELIVERED, DeliveryState.DIGESTED)
FAILED = (DeliveryState.DEAD, DeliveryState.EXPIRED, DeliveryState.FAILED_OVER)

Shares = tuple[float | None, float | None, float | None]  # p50, p95 and p99 in seconds; None where there are none


class Counted(NamedTuple):
    """How many deliveries of a channel, planned in one step of the chart, ended so; and how often they were retried."""

    channel: str
    state: str
    step: int
    n: int
    retries: int


class Timed(NamedTuple):
    """How long one took, in seconds: a delivery from its plan to the answer, or the service for its answer."""

    channel: str
    at: float  # Unix seconds
    took: float


class Slow(NamedTuple):
    """A delivery that took long: its alert's number, the channel, when it was planned, seconds, attempts."""

    alert: int
    channel: str
    at: float
    took: float
    attempts: int


class Paid(NamedTuple):
    """What a channel's messages cost: segments, money that the service named by currency, and what is estimated.

    ``estimated`` is of the segments whose price the service has not named: times the price of the settings.
    """

    segments: int
    named: Mapping[str, float]
    estimated: float


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Of one channel, or of all together. ``success`` is in percent of what ended; None where nothing did."""

    states: Mapping[str, int]
    retries: int
    latency: Shares
    answer: Shares

    @property
    def deliveries(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def success(self) -> float | None:
        """Percent of what ended that arrived, alone or with others."""
        arrived, failed = (sum(self.states.get(word, 0) for word in words) for words in (ARRIVED, FAILED))
        return 100.0 * arrived / (arrived + failed) if arrived + failed else None


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What was read of a span.

    Args:
        since: its begin, in Unix seconds.
        step: seconds of one point of a chart.
        counted: of all deliveries that were planned in it.
        latencies: from the plan (or the time that it was planned for) to the answer that took the message.
        answers: how long services took to take a message.
        lags: seconds from ``emit`` until a live alert was in the store.
        slowest: deliveries, the slowest first.
        paid: by channel; only of those that cost.
        every: so many deliveries stand behind one of ``latencies``.
        whole: whether all deliveries of the span were counted.
    """

    since: float
    step: float
    counted: Sequence[Counted]
    latencies: Sequence[Timed]
    answers: Sequence[Timed]
    lags: Sequence[float]
    slowest: Sequence[Slow]
    paid: Mapping[str, Paid]
    every: int
    whole: bool

    @property
    def channels(self) -> list[str]:
        """Those that have anything here, by name."""
        return sorted({each.channel for each in self.counted} | {each.channel for each in self.answers})

    def of(self, channel: str) -> Measured:
        """The same of one channel alone."""
        return dataclasses.replace(
            self,
            counted=[each for each in self.counted if each.channel == channel],
            latencies=[each for each in self.latencies if each.channel == channel],
            answers=[each for each in self.answers if each.channel == channel],
            slowest=[each for each in self.slowest if each.channel == channel],
        )

    def figures(self) -> Figures:
        """All in one row."""
        states: collections.Counter[str] = collections.Counter()
        for each in self.counted:
            states[each.state] += each.n
        latency, answer = ([each.took for each in timed] for timed in (self.latencies, self.answers))
        return Figures(states, sum(each.retries for each in self.counted), shares(latency), shares(answer))

    def points(self) -> list[Point]:
        """What charts show: one for each step in which anything was planned, the oldest first."""
        states: dict[int, collections.Counter[str]] = {}
        for each in self.counted:
            states.setdefault(each.step, collections.Counter())[each.state] += each.n
        took: dict[int, list[float]] = {}
        for one in self.latencies:
            took.setdefault(int((one.at - self.since) // self.step), []).append(one.took)
        return [
            Point(self.since + step * self.step, *shares(took.get(step, []))[:2], states[step])
            for step in sorted(states)
        ]


class Point(NamedTuple):
    """A step of a chart: when it begins in Unix seconds, two latencies in seconds, and deliveries by state."""

    at: float
    p50: float | None
    p95: float | None
    states: Mapping[str, int]


def shares(values: Iterable[float]) -> Shares:
    """p50, p95 and p99."""
    ordered = sorted(values)
    return percentile(ordered, 0.50), percentile(ordered, 0.95), percentile(ordered, 0.99)


def measure(
    outbox: Outbox, since: float, until: float, prices: Mapping[str, float] | None = None, most: int = MOST
) -> Measured:
    """Read a span.

    Args:
        outbox: the store.
        since: Unix seconds.
        until: Unix seconds.
        prices: of a segment, by channel, where settings name one.
        most: deliveries that are counted, the newest.
    """
    step = next((step for step in STEPS if (until - since) / step <= POINTS), STEPS[-1])
    since = since // step * step
    delivery, n = _span(outbox, "deliveries", "created", since)
    attempt, tried = _span(outbox, "attempts", "started", since)
    whole = n <= most
    delivery += max(0, n - most)
    every, each_answer = -(-min(n, most) // TIMED) or 1, -(-tried // TIMED) or 1
    return Measured(
        since,
        step,
        [Counted(*row) for row in outbox.rows(_COUNTED, (since, step, delivery, since))],
        [Timed(*row) for row in outbox.rows(_LATENCIES, (delivery, since, every))],
        [Timed(*row) for row in outbox.rows(_ANSWERS, (attempt, each_answer))],
        [max(0.0, lag) for (lag,) in outbox.rows(_LAGS, (since, until, TIMED))],
        [Slow(*row) for row in outbox.rows(_SLOWEST, (delivery, since, SLOWEST))],
        _paid(outbox.rows(_COSTS, (attempt, TIMED)), prices or {}),
        every,
        whole,
    )


def _span(outbox: Outbox, table: str, column: str, since: float) -> tuple[int, int]:
    """The number from which on rows are of ``since`` and later, and how many there are at most.

    A clock that was set back blurs it by a few rows.
    """
    lowest, highest = next(iter(outbox.rows(f"SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) FROM {table}")))
    low, high = int(lowest), int(highest) + 1
    sql = f"SELECT {column} FROM {table} WHERE seq >= ? ORDER BY seq LIMIT 1"
    while low < high:
        middle = (low + high) // 2
        row = next(iter(outbox.rows(sql, (middle,))), None)
        if row is not None and row[0] < since:
            low = middle + 1
        else:
            high = middle
    return low, int(highest) + 1 - low


def titles(outbox: Outbox, numbers: Sequence[int]) -> dict[int, str]:
    """Titles of alerts, by their numbers."""
    if not numbers:
        return {}
    marks = ", ".join("?" * len(numbers))
    rows = outbox.rows(f"SELECT seq, body FROM alerts WHERE seq IN ({marks})", list(numbers))
    return {int(seq): Alert.from_json(body).title for seq, body in rows}


# ------------------------------------------------------------------------------------------------------ money


def prices(settings: Settings) -> dict[str, float]:
    """What a segment costs, by channel, where the settings say so."""
    found = {name: getattr(channel, "price_per_segment", 0.0) for name, channel in settings.channels.items()}
    return {name: float(price) for name, price in found.items() if price}


class Capped(NamedTuple):
    """What a channel spent of a cap: of a day or a month (UTC), in segments."""

    channel: str
    of: str
    spent: int
    most: int


def caps(outbox: Outbox, settings: Settings, now: dt.datetime) -> list[Capped]:
    """The caps that settings name, and how much of each is spent."""
    found = []
    for name in settings.channels:
        cap = getattr(settings.dispatcher(name), "cap", None)
        if isinstance(cap, sms_cap.Cap) and cap != sms_cap.Cap():
            memories = [_json(memory) for (memory,) in outbox.rows(_MEMORIES, (name,))]
            for of, most in (("day", cap.day), ("month", cap.month)):
                if most:
                    found.append(Capped(name, of, sum(_spent(memory, of, now) for memory in memories), most))
    return found


def _spent(memory: Mapping[str, Any], of: str, now: dt.datetime) -> int:
    spent = memory.get(f"{of}_segments")
    return spent if memory.get(of) == sms_cap.period(of, now) and isinstance(spent, int) else 0


def _paid(rows: Iterable[tuple[Any, ...]], prices: Mapping[str, float]) -> dict[str, Paid]:
    """A service names the price after it took the message, and may name it again: the last word counts."""
    said: dict[tuple[str, int], dict[str, Any]] = {}
    for channel, delivery, facts in rows:  # the newest first
        known = said.setdefault((channel, delivery), {})
        known.update({name: value for name, value in _json(facts).items() if name not in known})
    segments: collections.Counter[str] = collections.Counter()
    named: dict[str, dict[str, float]] = {}
    estimated: dict[str, float] = {}
    for (channel, _), facts in said.items():
        counted = _number(facts.get("num_segments", facts.get("segments"))) or 0.0
        segments[channel] += int(counted)
        price = _number(facts.get("price"))
        if price is not None:
            unit = str(facts.get("price_unit") or "")[:8].upper()
            named.setdefault(channel, {}).setdefault(unit, 0.0)
            named[channel][unit] += abs(price)
        elif channel in prices:
            estimated[channel] = estimated.get(channel, 0.0) + counted * prices[channel]
    channels = sorted({channel for channel, _ in said})
    return {name: Paid(segments[name], named.get(name, {}), estimated.get(name, 0.0)) for name in channels}


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e9 else None  # nan is not


# A cast rounds on PostgreSQL, and not every SQLite has floor().
_COUNTED = """
SELECT channel, state, CAST(x AS INTEGER) - CASE WHEN CAST(x AS INTEGER) > x THEN 1 ELSE 0 END, count(*),
       CAST(sum(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS INTEGER)
FROM (SELECT channel, state, attempts, (created - ?) / ? AS x FROM deliveries WHERE seq >= ? AND created >= ?) AS steps
GROUP BY 1, 2, 3
"""
_TOOK = "settled - CASE WHEN promised > created THEN promised ELSE created END"
_TAKEN = "seq >= ? AND created >= ? AND state IN ('delivered', 'digested') AND settled IS NOT NULL"
_LATENCIES = f"SELECT channel, created, {_TOOK} FROM deliveries WHERE {_TAKEN} AND seq % ? = 0"
_SLOWEST = f"""
SELECT alert, channel, created, {_TOOK} AS took, attempts FROM deliveries WHERE {_TAKEN} ORDER BY took DESC LIMIT ?
"""
_ANSWERS = """
SELECT channel, started, took FROM attempts WHERE seq >= ? AND owner != '' AND outcome = 'sent' AND seq % ? = 0
"""
_LAGS = """
SELECT stored - time FROM alerts WHERE time >= ? AND time < ? AND source != 'history' ORDER BY time DESC LIMIT ?
"""
_COSTS = """
SELECT channel, delivery, facts FROM attempts
WHERE seq >= ? AND (facts LIKE '%"price"%' OR facts LIKE '%segments"%') ORDER BY seq DESC LIMIT ?
"""
_MEMORIES = "SELECT memory FROM targets WHERE channel = ? AND memory != ''"
