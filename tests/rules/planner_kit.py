"""A real planner on a real SQLite file with settings from YAML, a clock that is told the time, and no courier."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alerts_kit import Clock, alert
from rules_kit import NOW

from bt_alerts.alert import Alert, as_utc
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.planner import Planner
from bt_alerts.outbox.base import DeliveryState, Settlement
from bt_alerts.outbox.entries import Accepted, Entry
from bt_alerts.outbox.recall import Recalled
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules import pipeline
from bt_alerts.rules.base import Rule
from bt_alerts.rules.explain import Explanation, explain
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.rules.stage import Note, Stage
from bt_alerts.settings import load

CHANNELS = """
store: alerts.db
alerts:
  phone: {type: webhook, urls: "http://127.0.0.1:9/phone", rate_limit: 0, fallback: chat}
  chat: {type: webhook, urls: "http://127.0.0.1:9/chat", rate_limit: 0}
"""


@dataclasses.dataclass(frozen=True)
class Stored:
    """What the store says of one alert: the decision, and (channel, due, reason) of each delivery."""

    state: str
    reason: str
    rule: str
    trail: list[Note]
    deliveries: list[tuple[str, float, str]]

    @property
    def reasons(self) -> set[str]:
        """Every named reason, wherever it stands."""
        return {self.reason, *(note.reason for note in self.trail), *(reason for *_, reason in self.deliveries)} - {""}


class Desk:
    """A planner and its store.

    Args:
        folder: where the settings file and the store are.
        rules: YAML beside the two channels ``phone`` (its fallback is ``chat``) and ``chat``.
        more: rules that no settings can ask for.
        planner: the planner's class.
    """

    def __init__(
        self, folder: Path, rules: str = "", *, more: Sequence[Rule] = (), planner: type[Planner] = Planner
    ) -> None:
        self.file = folder / "alerts.yaml"
        self.file.write_text(CHANNELS + textwrap.dedent(rules), encoding="utf-8")
        self.file.chmod(0o600)
        settings = load(self.file)
        self.clock = Clock(NOW)
        self.outbox = SqliteOutbox(settings.store)
        self.channels = {
            name: Channel(
                name, settings.dispatcher(name), fallback=each.fallback or "", batches=each.batches(settings.delivery)
            )
            for name, each in settings.channels.items()
        }
        plain = settings.rule_settings()
        self.settings: RuleSettings = dataclasses.replace(plain, noise=(*plain.noise, *more))
        self.planner = planner(self.outbox, self.settings, self.channels, clock=self.clock)

    @property
    def stages(self) -> list[Stage]:
        return pipeline.build(self.settings)

    def make(self, **fields: Any) -> Alert:
        return alert(**{"time": as_utc(self.clock()), **fields})

    def emit(self, *, due: float = 0.0, **fields: Any) -> Alert:
        """An alert comes, and is decided about."""
        made = self.make(**fields)
        self.take(Accepted(made, due))
        return made

    def take(self, *entries: Entry) -> None:
        self.planner.take(entries)

    def explain(self, made: Alert, due: float = 0.0) -> Explanation:
        """What would be decided now."""
        disabled = [name for (name,) in self.outbox.rows("SELECT channel FROM channels WHERE disabled != ''")]
        fallbacks = {name: channel.fallback for name, channel in self.channels.items() if channel.fallback}
        return explain(
            self.stages,
            made,
            Recalled(self.outbox, self.clock()),
            self.clock(),
            due,
            disabled=disabled,
            fallbacks=fallbacks,
        )

    def stored(self, made: Alert) -> Stored:
        """What was decided."""
        row = next(self.outbox.rows("SELECT state, reason, rule, trail FROM alerts WHERE id = ?", (made.id,)))
        trail = [note for note in map(Note.from_list, json.loads(row[3] or "[]")) if note is not None]
        deliveries = self.outbox.rows(
            "SELECT d.channel, d.due, d.reason FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE a.id = ? "
            "ORDER BY d.seq",
            (made.id,),
        )
        return Stored(*row[:3], trail, list(deliveries))

    def memory(self) -> list[tuple[Any, ...]]:
        """Everything that rules remember."""
        return list(self.outbox.rows("SELECT rule, key, value, until FROM rule_state ORDER BY rule, key"))

    def disable(self, name: str) -> None:
        """A channel refuses its credentials."""
        self.emit(title="the last one", channels=[name])
        claim = self.outbox.claim(name, "me", self.clock(), 30.0, 0.0)
        assert claim is not None
        refused = Settlement(DeliveryState.HELD, "auth", "HTTP 401", disable_channel="HTTP 401")
        assert self.outbox.settle(claim, refused, "me", started=self.clock(), now=self.clock())

    def close(self) -> None:
        self.outbox.close()
