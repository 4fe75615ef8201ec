"""The replay: alerts of a run go through the pipeline as if each had happened live at its own time."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules import pipeline
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.rules.stage import Plan

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What would have become of one alert.

    Args:
        alert: the alert.
        told: whether it would have been delivered.
        channels: to which channels.
        silent: without sound.
        reason: why it would not have been delivered, in words.
    """

    alert: Alert
    told: bool
    channels: tuple[str, ...]
    silent: bool
    reason: str


class MemoryState(RuleState):
    """What rules remember during a simulation."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], tuple[Any, float | None]] = {}

    def get(self, rule: str, key: str) -> Any:
        """The value, or None."""
        return self._values.get((rule, key), (None, None))[0]

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        """Remember ``value``."""
        self._values[rule, key] = (value, until)

    def drop(self, rule: str, key: str) -> None:
        """Forget a value."""
        self._values.pop((rule, key), None)

    def items(self, rule: str) -> list[tuple[str, Any]]:
        """Everything that one rule remembers."""
        return [(key, value) for (of, key), (value, _) in self._values.items() if of == rule]

    def forget(self, now: float) -> None:
        """Drop what may be forgotten."""
        self._values = {k: v for k, v in self._values.items() if v[1] is None or v[1] > now}


@dataclasses.dataclass(frozen=True, slots=True)
class Simulation:
    """What the phone of a run would have shown."""

    outcomes: tuple[Outcome, ...]

    @property
    def messages(self) -> tuple[Outcome, ...]:
        """Those that would have been delivered."""
        return tuple(outcome for outcome in self.outcomes if outcome.told)

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many were not delivered, by reason."""
        return collections.Counter(outcome.reason for outcome in self.outcomes if not outcome.told)

    def frame(self) -> pd.DataFrame:
        """One row an alert: time, kind, priority, symbol, title, told, channels, silent, reason."""
        import pandas as pd

        rows = [
            {
                "time": outcome.alert.time,
                "kind": outcome.alert.kind,
                "priority": outcome.alert.priority.value,
                "symbol": outcome.alert.symbol,
                "title": outcome.alert.title,
                "told": outcome.told,
                "channels": ", ".join(outcome.channels),
                "silent": outcome.silent,
                "reason": outcome.reason,
            }
            for outcome in self.outcomes
        ]
        columns = ["time", "kind", "priority", "symbol", "title", "told", "channels", "silent", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        days = {outcome.alert.time.date() for outcome in self.messages}
        return (
            f"<Simulation: {len(self.messages):,} of {len(self.outcomes):,} alerts would have been messages, "
            f"on {len(days):,} days>"
        )

    def _repr_html_(self) -> str:
        from bt_alerts.render.html import alert_card, table

        rows = [("Messages", f"{len(self.messages):,} of {len(self.outcomes):,} alerts")]
        rows += [(escape(f"Not sent: {reason}"), f"{n:,}") for reason, n in sorted(self.reasons.items())]
        latest = self.messages[-10:]
        cards = "".join(alert_card(outcome.alert) for outcome in reversed(latest))
        return f"<div><b>What the phone would have shown</b>{table(rows)}{cards}</div>"


def simulate(alerts: Iterable[Alert], settings: RuleSettings) -> Simulation:
    """Play alerts through the rules in the order of their times.

    Args:
        alerts: a recorded run.
        settings: mode, events and the names of the channels.
    """
    stages = pipeline.build(settings)
    state = MemoryState()
    outcomes = []
    for alert in sorted(alerts, key=lambda alert: alert.time):
        as_live = alert.replace(source=Source.LIVE)
        decision = pipeline.decide(stages, as_live, state, alert.time.timestamp())
        if isinstance(decision, Plan):
            outcomes.append(Outcome(alert, True, decision.channels, decision.silent, ""))
        else:
            outcomes.append(Outcome(alert, False, (), False, decision.reason.words))
    return Simulation(tuple(outcomes))
