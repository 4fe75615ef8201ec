"""The report of one alert: what became of it on each address, when, and every attempt with its answer. Reads only.

The attempts are the audit trail: who tried, when, how long it took and what the service said. They are kept as long as
the alert is. How channels do on the whole is in health.py, and figures over everything in statistics.py.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from bt_alerts.alert import Alert, as_utc
from bt_alerts.outbox.base import AlertState, DeliveryState, Outbox
from bt_alerts.rules.explain import told
from bt_alerts.rules.stage import Note, Reason

ARRIVED = frozenset({DeliveryState.DELIVERED, DeliveryState.DIGESTED})
OPEN = frozenset({DeliveryState.PENDING, DeliveryState.HELD})


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, or one later answer of the service to the question what became of the message.

    Args:
        time: when it began.
        took: seconds until the answer was written down.
        outcome: the word for it: sent, retry, retry-after, permanent, auth, too-large, unknown-outcome …
        detail: what the service said, in words.
        owner: the process that tried; empty for a later answer.
        service_id: the service's id of the message.
    """

    time: dt.datetime
    took: float
    outcome: str
    detail: str
    owner: str
    service_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelResult:
    """What became of an alert on one target of one channel.

    Args:
        channel: the channel's name.
        target: what may be shown of the address.
        state: pending, delivered, dead …
        success: whether it arrived, by itself or in one message with others.
        attempts: how often it was tried.
        detail: the last answer, in words.
        latency: seconds from when it was to go (its plan, or the time that it was scheduled for) to its end; None while
            it is not settled.
        service_id: the service's id of the message.
        outcome: the word for the last attempt.
        created: when it was planned.
        due: not before; moves with each retry. None once it is settled.
        settled: when it arrived or was given up.
        trail: every attempt, oldest first, where the report was asked for them.
        reason: why it waits, or goes there: the name of a :class:`~bt_alerts.rules.stage.Reason`; mostly empty.
    """

    channel: str
    target: str
    state: str
    success: bool
    attempts: int
    detail: str
    latency: float | None
    service_id: str
    outcome: str = ""
    created: dt.datetime | None = None
    due: dt.datetime | None = None
    settled: dt.datetime | None = None
    trail: Sequence[Attempt] = ()
    reason: str = ""

    def __str__(self) -> str:
        where = f"{self.channel} {self.target}".rstrip()
        tries = f"after {self.attempts} attempt{'' if self.attempts == 1 else 's'}" if self.attempts else "not tried"
        when = f", at {self.settled:%Y-%m-%d %H:%M:%S} UTC" if self.settled else ""
        took = f" in {self.latency:.3g} s" if self.success and self.latency is not None else ""
        said = f": {self.detail}" if self.detail else ""
        reason = f" [{why(self.reason)}]" if self.reason else ""
        return printable(f"{where}: {self.state}{took} ({tries}{when}){said}{reason}")


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of one alert so far.

    Args:
        alert_id: the alert's id.
        state: recorded, suppressed or planned; waiting where nobody has decided yet; accepted where that was not asked.
        reason: why it was not planned.
        results: one for each delivery, in the order of their plan; those of a fallback come after what they replace.
        title: the alert's.
        time: when it happened.
        acknowledged: when somebody said that they have seen it.
        rule: which rule gave the reason, as settings call it; empty for what is always there.
        trail: what rules had to say about it, in words; empty for an alert that an older version decided about.
    """

    alert_id: str
    state: str
    reason: str
    results: Sequence[ChannelResult]
    title: str = ""
    time: dt.datetime | None = None
    acknowledged: dt.datetime | None = None
    rule: str = ""
    trail: Sequence[str] = ()

    @property
    def success(self) -> bool:
        """Whether it arrived wherever it was to go, there or at the fallback.

        An alert that nobody was to get has no delivery that failed; one that waits for a decision has not arrived.
        """
        return self.state != AlertState.WAITING and all(result.success for result in self._final)

    @property
    def success_rate(self) -> float:
        """Percent of deliveries that arrived, there or at the fallback; 100 where there are none."""
        final = self._final
        return 100.0 * sum(result.success for result in final) / len(final) if final else 100.0

    @property
    def channels(self) -> dict[str, list[ChannelResult]]:
        """The results by channel."""
        found: dict[str, list[ChannelResult]] = {}
        for result in self.results:
            found.setdefault(result.channel, []).append(result)
        return found

    @property
    def _final(self) -> list[ChannelResult]:
        """Without those that another delivery of this report took the place of."""
        return [result for result in self.results if result.state != DeliveryState.FAILED_OVER]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; times are ISO 8601 text."""
        row = dataclasses.asdict(self) | {"success": self.success, "success_rate": self.success_rate}
        plain: dict[str, Any] = json.loads(json.dumps(row, default=_plain))
        return plain

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        lines = [printable(f"{self.title or 'alert'} ({self.alert_id}): {self.summary}")]
        lines += [f"  {printable(each)}" for each in self.trail]
        for result in self.results:
            lines.append(f"  {result}")
            for each in result.trail:
                by = f" by {each.owner}" if each.owner else ""
                said = f"{each.time:%H:%M:%S} {each.outcome} in {each.took:.3g} s{by}: {each.detail}"
                lines.append("    " + printable(said.removesuffix(": ")))
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """The report in a few words."""
        if self.results:
            final = self._final
            pending = sum(result.state in OPEN for result in final)
            arrived = f"{sum(result.success for result in final)} of {len(final)} arrived"
            seen = f", acknowledged at {self.acknowledged:%Y-%m-%d %H:%M} UTC" if self.acknowledged else ""
            return arrived + (f", {pending} still to go" if pending else "") + seen
        by = f" ({self.rule})" if self.rule else ""
        return f"{self.state}, {why(self.reason)}{by}" if self.reason else f"{self.state}; nothing is planned for it"

    def _repr_html_(self) -> str:
        from bt_alerts.render.report_card import report_card

        return report_card(self)


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

    def _repr_html_(self) -> str:
        from bt_alerts.render.report_card import test_card

        return test_card(self)


def report_of(outbox: Outbox, alert_id: str, *, attempts: bool = False) -> DeliveryReport | None:
    """What became of an alert; None where the store does not have it (yet), or has forgotten it.

    Args:
        outbox: the store.
        alert_id: the alert's id.
        attempts: with every attempt.

    Raises:
        StoreError: where the store cannot be read.
    """
    found = next(iter(outbox.rows(_ALERT, (alert_id,))), None)
    if found is None:
        return None
    state, reason, rule, trail, acknowledged, body = found
    trails: dict[int, list[Attempt]] = {}
    for seq, started, *rest in outbox.rows(_ATTEMPTS, (alert_id,)) if attempts else ():
        trails.setdefault(seq, []).append(Attempt(_utc(started), *rest))
    results = []
    for row in outbox.rows(_RESULTS, (alert_id,)):
        seq, channel, target, where, tried, detail, latency, service_id, outcome, created, due, settled, because = row
        if where in OPEN:
            settled = latency = None  # what is held was tried, and is not at its end
        times = _utc(created), _utc(due) if settled is None else None, as_utc(settled)
        arrived, attempted = where in ARRIVED, tuple(trails.get(seq, ()))
        results.append(
            ChannelResult(
                channel, target, where, arrived, tried, detail, latency, service_id, outcome, *times, attempted, because
            )
        )
    alert = Alert.from_json(body)
    seen, said = as_utc(acknowledged), in_words(trail)
    return DeliveryReport(alert_id, state, reason, results, alert.title, alert.time, seen, rule, said)


def why(reason: str) -> str:
    """Why an alert was not planned, in words."""
    try:
        return Reason(reason).words
    except ValueError:
        return reason


def in_words(trail: str) -> list[str]:
    """What rules had to say, from the store's JSON; what a newer version wrote is left out."""
    notes = [Note.from_list(row) for row in json.loads(trail or "[]")]
    return [told(note) for note in notes if note is not None]


def printable(text: str) -> str:
    """One line that cannot move a terminal's cursor."""
    return "".join(char if char.isprintable() or char == "\u200d" else "�" for char in " ".join(text.split()))


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


_ALERT = "SELECT state, reason, rule, trail, acknowledged, body FROM alerts WHERE id = ?"

_RESULTS = """
SELECT d.seq, d.channel, t.label, d.state, d.attempts, d.detail,
       d.settled - CASE WHEN d.promised > d.created THEN d.promised ELSE d.created END,
       d.service_id, d.outcome, d.created, d.due, d.settled, d.reason
FROM deliveries d JOIN alerts a ON a.seq = d.alert
JOIN targets t ON t.channel = d.channel AND t.target = d.target
WHERE a.id = ? ORDER BY d.seq
"""

_ATTEMPTS = """
SELECT p.delivery, p.started, p.took, p.outcome, p.detail, p.owner, p.service_id
FROM attempts p JOIN deliveries d ON d.seq = p.delivery JOIN alerts a ON a.seq = d.alert
WHERE a.id = ? ORDER BY p.seq
"""
