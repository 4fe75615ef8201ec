"""The figures of a simulation: what its tables, its notebook display, its report and a comparison all show.

Pure arithmetic over the rows, so that every place tells the same number. Days and hours are those of the clocks on the
wall in the simulation's zone. A wait is the time from the event to the phone: from when a delivery was planned (for an
escalation, when it was its turn) to when the message arrived.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import statistics
import zoneinfo
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bt_alerts.alert import Alert, Priority
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.simulate.result import Simulation
    from bt_alerts.simulate.rows import SimulatedAlert, SimulatedDelivery

HOUR = 3600.0
DAY = 86_400.0
NIGHT_BEGINS, NIGHT_ENDS = 22, 7  # hours on the wall in which a message wakes somebody

#: Why something did not go at once, in words.
WAITS = {
    "quiet-hours": "quiet hours",
    "quiet": "quiet hours",
    "digest": "kept for a digest",
    "batch": "gathered with others",
    "fills": "parts of one order gathered",
    "similar": "alike, gathered",
    "scheduled": "scheduled for a time",
    "escalation": "nobody acknowledged it in time",
    "escalated": "nobody acknowledged it in time",
    "failed-over": "another channel could not deliver it",
    "pacing": "the channel's rate limit",
    "rate-limit": "the channel's rate limit",
    "retry": "tried again",
    "outage": "the service was away",
    "breaker": "the service was away",
}


def zone_of(name: str) -> dt.tzinfo:
    """The zone of this name, UTC where the system knows none of it."""
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (ValueError, OSError, LookupError):
        return dt.UTC


def local(when: float, zone: dt.tzinfo) -> dt.datetime:
    """Unix seconds as the clock on the wall."""
    return dt.datetime.fromtimestamp(when, zone)


def reason_words(word: str) -> str:
    """A reason of the pipeline as a sentence; the word itself where a newer version wrote it."""
    from bt_alerts.rules.stage import Reason

    try:
        return Reason(word).words
    except ValueError:
        return word.replace("-", " ")


def capital(words: str) -> str:
    """Words of a rule as they begin a line of a page, without the marks of code."""
    return words[:1].upper() + words[1:].replace("`", "")


def wait_words(word: str) -> str:
    """Why something was held, in words."""
    return WAITS.get(word.partition(":")[0]) or reason_words(word)


# ------------------------------------------------------------------------------------------ headline


@dataclasses.dataclass(frozen=True, slots=True)
class BusiestHour:
    """The 60 minutes with the most messages.

    Args:
        began: when they began, in the simulation's zone; None without messages.
        messages: how many.
    """

    began: dt.datetime | None
    messages: int


@dataclasses.dataclass(frozen=True, slots=True)
class Headline:
    """What one reads first.

    Args:
        alerts: made by the strategy.
        messages: that services took.
        days: of the run, one at least.
        busiest: its busiest hour.
        at_night: messages with sound from 22:00 to 07:00.
        loud: messages with sound.
        digests: messages of more than one alert.
        suppressed: alerts that a rule kept back.
        recorded: alerts that nobody wanted sent.
        held: deliveries that did not go at once.
        lost: deliveries that expired, died or were cancelled.
        late: messages that came more than a minute after they should have.
        bites: limits that were reached.
        cost: of all messages.
        one_time_of_day: alerts have the time of daily bars, so their hours say nothing.
    """

    alerts: int
    messages: int
    days: float
    busiest: BusiestHour
    at_night: int
    loud: int
    digests: int
    suppressed: int
    recorded: int
    held: int
    lost: int
    late: int
    bites: int
    cost: float
    one_time_of_day: bool

    @property
    def a_day(self) -> float:
        """Messages a day."""
        return self.messages / self.days


def headline(simulation: Simulation) -> Headline:
    """The headline figures."""
    zone = zone_of(simulation.zone)
    states = collections.Counter(row.state for row in simulation.alerts)
    ends = collections.Counter(row.state for row in simulation.deliveries)
    return Headline(
        alerts=len(simulation.alerts),
        messages=len(simulation.messages),
        days=max(1.0, (simulation.ended - simulation.began) / DAY),
        busiest=busiest_hour(simulation),
        at_night=sum(at_night(local(row.time, zone)) for row in simulation.messages if not row.silent),
        loud=sum(not row.silent for row in simulation.messages),
        digests=sum(len(row.alerts) > 1 for row in simulation.messages),
        suppressed=states["suppressed"],
        recorded=states["recorded"],
        held=sum(bool(row.reason) for row in simulation.deliveries),
        lost=ends["expired"] + ends["dead"] + ends["cancelled"],
        late=sum(row.late > 60 for row in simulation.messages),
        bites=len(simulation.bites),
        cost=sum(row.cost for row in simulation.messages),
        one_time_of_day=one_time_of_day(simulation),
    )


def one_time_of_day(simulation: Simulation) -> bool:
    """Whether nearly all alerts were made at one minute of the day, as those of daily bars are."""
    minutes = collections.Counter(int(row.alert.time.timestamp() % DAY // 60) for row in simulation.alerts)
    usual = sum(n for _, n in minutes.most_common(2))  # two of UTC are one on the wall: in summer, and in winter
    return minutes.total() >= 5 and usual >= 0.9 * minutes.total()


def at_night(when: dt.datetime) -> bool:
    """Whether somebody sleeps then."""
    return when.hour >= NIGHT_BEGINS or when.hour < NIGHT_ENDS


def span_words(seconds: float) -> str:
    """The length of a run: ``"10 years"``, ``"7 months"``, ``"12 days"``, ``"5 hours"``."""
    days = seconds / DAY
    for length, name in ((365.25, "year"), (30.44, "month"), (1.0, "day")):
        if days >= length * 1.5 or (name == "day" and days >= 1):
            n = round(days / length)
            return f"{n:,} {name}{'s' if n != 1 else ''}"
    hours = max(1, round(seconds / HOUR))
    return f"{hours} hour{'s' if hours != 1 else ''}"


def rate_words(a_day: float) -> str:
    """How often: ``"0.5 a day"``, ``"3 a month"``, ``"2 a year"``."""
    if a_day >= 0.25 or a_day == 0:
        return f"{a_day:,.0f} a day" if a_day >= 10 else f"{a_day:.1f} a day"
    if a_day * 30.44 >= 1:
        return f"{a_day * 30.44:.1f} a month"
    return f"{a_day * 365.25:.1f} a year"


def count(n: int, noun: str) -> str:
    """``"1 message"``, ``"1,204 messages"``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def sentence(simulation: Simulation) -> str:
    """The result in one sentence, plain text."""
    figures = headline(simulation)
    if not figures.alerts:
        return "This run has no alerts, so there is nothing that could have been sent."
    span = span_words(simulation.ended - simulation.began)
    one = span.startswith("1 ")
    where = f"In one {span.split(' ', 1)[1]}" if one else f"In {span}"
    if not figures.messages:
        return f"{where} this strategy would have sent nothing to your phone, of {count(figures.alerts, 'alert')}."
    used = len({row.channel for row in simulation.messages})
    to = "to your phone" if used == 1 else f"on {used} channels"
    said = f"{where} this strategy would have sent {count(figures.messages, 'message')} {to}: "
    if simulation.ended - simulation.began >= DAY:
        said += f"{rate_words(figures.a_day)}, "
    said += f"{figures.busiest.messages:,} in the busiest hour"
    if figures.one_time_of_day:
        return f"{said}."
    return f"{said}, {figures.at_night or 'none'}{' with sound' if figures.at_night else ''} at night."


def busiest_hour(simulation: Simulation) -> BusiestHour:
    """The 60 minutes with the most messages; the first of them where there are several."""
    times = sorted(row.time for row in simulation.messages)
    most, began, oldest = 0, 0.0, 0
    for newest, time in enumerate(times):
        while times[oldest] <= time - HOUR:
            oldest += 1
        if newest - oldest + 1 > most:
            most, began = newest - oldest + 1, times[oldest]
    return BusiestHour(local(began, zone_of(simulation.zone)) if most else None, most)


# ------------------------------------------------------------------------------------------ by time

Counts = dict[dt.date, "collections.Counter[tuple[str, Priority]]"]


def per_day(simulation: Simulation) -> Counts:
    """``{day: {(channel, priority): messages}}``, in order, only days that have any."""
    zone = zone_of(simulation.zone)
    found: Counts = {}
    for row in sorted(simulation.messages, key=lambda row: row.time):
        found.setdefault(local(row.time, zone).date(), collections.Counter())[row.channel, row.priority] += 1
    return found


def hour_of_week(simulation: Simulation) -> list[list[int]]:
    """Messages by weekday (0 is Monday) and hour: 7 lists of 24."""
    zone = zone_of(simulation.zone)
    counts = [[0] * 24 for _ in range(7)]
    for row in simulation.messages:
        when = local(row.time, zone)
        counts[when.weekday()][when.hour] += 1
    return counts


# ------------------------------------------------------------------------------------ what did not go


@dataclasses.dataclass(frozen=True, slots=True)
class Suppressed:
    """Alerts that were not sent for one reason by one rule."""

    state: str
    reason: str
    rule: str
    n: int
    words: str


def suppressed(simulation: Simulation) -> list[Suppressed]:
    """What was not sent, why and by which rule; the most first."""
    found = collections.Counter((row.state, row.reason, row.rule) for row in simulation.alerts if row.reason)
    return [
        Suppressed(state, reason, redact(rule), n, redact(reason_words(reason)))
        for (state, reason, rule), n in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """Deliveries of one channel that did not go at once, for one reason. Times in seconds."""

    channel: str
    reason: str
    n: int
    median: float
    longest: float
    words: str


def held(simulation: Simulation) -> list[Held]:
    """What did not go at once, and how long it took to its end; what never ended counts to the end of the run."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in simulation.deliveries:
        if row.reason:
            end = _arrival(simulation, row)
            end = end if end is not None else row.settled if row.settled is not None else simulation.ended
            found.setdefault((row.channel, row.reason), []).append(max(0.0, end - row.created))
    rows = [
        Held(channel, reason, len(times), statistics.median(times), max(times), wait_words(reason))
        for (channel, reason), times in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.n, row.channel, row.reason))


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """From the event to the phone, on one channel at one priority. Times in seconds."""

    channel: str
    priority: Priority
    n: int
    median: float
    p95: float
    longest: float


def waits(simulation: Simulation) -> list[Wait]:
    """From the event to the phone, by channel and priority: the urgent first."""
    priorities = {row.alert.id: row.alert.priority for row in simulation.alerts}
    found: dict[tuple[str, Priority], list[float]] = {}
    for row in simulation.deliveries:
        arrived = _arrival(simulation, row)
        if arrived is not None:
            priority = priorities.get(row.alert, Priority.MEDIUM)
            found.setdefault((row.channel, priority), []).append(max(0.0, arrived - row.created))
    rows = []
    for (channel, priority), times in found.items():
        times.sort()
        p95 = times[min(len(times) - 1, -(-len(times) * 95 // 100) - 1)]  # nearest rank: a wait that there was
        rows.append(Wait(channel, priority, len(times), statistics.median(times), p95, times[-1]))
    return sorted(rows, key=lambda row: (row.channel, -row.priority.rank))


def _arrival(simulation: Simulation, row: SimulatedDelivery) -> float | None:
    return None if row.message is None else simulation.messages[row.message].time


# ------------------------------------------------------------------------------------------ noise


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """What noise is counted by."""

    kind: str
    symbol: str
    strategy: str

    @classmethod
    def of(cls, alert: Alert) -> Key:
        """The key of an alert."""
        return cls(alert.kind, alert.symbol, alert.strategy)


@dataclasses.dataclass(frozen=True, slots=True)
class Noise:
    """One key and what it sent.

    Args:
        key: kind, symbol and strategy.
        alerts: so many there were.
        messages: in so many messages they came.
        silent: of these, so many had no sound.
        told: those that came, in the order of their times.
    """

    key: Key
    alerts: int
    messages: int
    silent: int
    told: tuple[Alert, ...]


def noise(simulation: Simulation, most: int) -> list[Noise]:
    """The keys with the most messages; a digest counts once for each key in it."""
    made: collections.Counter[Key] = collections.Counter()
    rows: dict[str, SimulatedAlert] = {}
    for row in simulation.alerts:
        made[Key.of(row.alert)] += 1
        rows[row.alert.id] = row
    sent: collections.Counter[Key] = collections.Counter()
    silent: collections.Counter[Key] = collections.Counter()
    told: dict[Key, dict[str, Alert]] = {}
    for message in simulation.messages:
        keys = set()
        for identity in message.alerts:
            if identity in rows:
                alert = rows[identity].alert
                key = Key.of(alert)
                keys.add(key)
                told.setdefault(key, {})[identity] = alert
        for key in keys:
            sent[key] += 1
            silent[key] += message.silent
    ranked = sorted(sent.items(), key=lambda item: (-item[1], dataclasses.astuple(item[0])))[:most]
    return [
        Noise(key, made[key], n, silent[key], tuple(sorted(told[key].values(), key=lambda alert: alert.time)))
        for key, n in ranked
    ]


def channels(simulation: Simulation) -> dict[str, str]:
    """``{channel: its type}`` of the messages and deliveries, by name."""
    types = {row.channel: row.type for row in simulation.messages}
    for row in simulation.deliveries:
        types.setdefault(row.channel, "")
    return dict(sorted(types.items()))


def priorities(simulation: Simulation) -> Sequence[Priority]:
    """The priorities of the messages, the most urgent first."""
    return sorted({row.priority for row in simulation.messages}, key=lambda priority: -priority.rank)
