"""The rows of a simulation: alerts, deliveries, messages, and where a service's limit would bite.

Plain values, as the engine writes them and the result shows them. All times are Unix seconds, all lengths of time are
seconds. Text is as it came from the strategy: whoever shows it escapes and redacts it.
"""

from __future__ import annotations

import dataclasses

from bt_alerts.alert import Alert, Priority


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedAlert:
    """What became of one alert.

    Args:
        alert: as recorded.
        state: recorded, suppressed or planned.
        reason: word of :class:`bt_alerts.rules.stage.Reason`, empty where it was planned.
        rule: name of the rule that decided, empty for none.
        trail: what each rule that had a say did, in words.
    """

    alert: Alert
    state: str
    reason: str
    rule: str
    trail: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedDelivery:
    """One alert to one address.

    Args:
        alert: id of the alert.
        channel: name of the channel.
        target: label of the address.
        state: delivered, digested, failed-over, expired, cancelled, dead, pending or held.
        outcome: word of the last attempt.
        detail: its answer in words.
        reason: why it did not go at once (quiet-hours, digest, batch, scheduled, escalation …); empty where it did.
        created: when it was planned.
        due: when it was to go.
        settled: when it ended; None where it did not.
        attempts: how often it was tried.
        silent: without sound.
        message: index into the messages, where it arrived.
    """

    alert: str
    channel: str
    target: str
    state: str
    outcome: str
    detail: str
    reason: str
    created: float
    due: float
    settled: float | None
    attempts: int
    silent: bool
    message: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """One message that a service took.

    Args:
        time: when it arrived.
        channel: name of the channel.
        type: the channel's type, such as pushover.
        target: label of the address.
        title: one line.
        text: the message.
        priority: the highest of its alerts.
        alerts: ids of its alerts; more than one is a digest.
        silent: without sound.
        late: seconds after it should have arrived.
        batch: empty where it is alone; its part before the colon says what gathered: fills, similar, batch, quiet or
            digest.
        units: what the service counts: 1, or the segments of a text message.
        cost: in the currency of the price table; 0 where it is free.
    """

    time: float
    channel: str
    type: str
    target: str
    title: str
    text: str
    priority: Priority
    alerts: tuple[str, ...]
    silent: bool
    late: float
    batch: str
    units: int
    cost: float


@dataclasses.dataclass(frozen=True, slots=True)
class Bite:
    """Where a limit or quota of a service would bite.

    Args:
        channel: name of the channel.
        limit: in words, such as ``10,000 messages a month (Pushover)``.
        first: when first.
        times: periods in which it bit.
        over: messages past it.
        worst: the worst period in words, such as ``2024-03: 12,400 of 10,000``.
    """

    channel: str
    limit: str
    first: float
    times: int
    over: int
    worst: str
