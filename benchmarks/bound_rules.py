"""All rules at once: how fast alerts pass them, what they remember, and how long ten years take to simulate."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterator
from typing import Any

from bound_store import _channel, _plan
from kit import Row
from measuring import Run

from bt_alerts.alert import Alert, Source
from bt_alerts.outbox.base import RuleState
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules import pipeline
from bt_alerts.rules.stage import Tick
from bt_alerts.settings import Settings, load
from bt_alerts.simulate import simulate

ALERTS = (100_000, 10_000)
BEGIN = 1_500_000_000.0
SETTINGS: dict[str, Any] = {
    "store": "memory",
    "alerts": {name: {"type": "console"} for name in ("phone", "chat", "desk")},
    "routes": [
        {"when": {"type": "trade", "data": "pnl < -500"}, "to": "all"},
        {"when": {"symbol": "BTC*"}, "to": "phone", "continue": True},
        {"when": {"type": "order"}, "to": "desk"},
        {"when": {"priority": "high"}, "to": ["phone", "chat"]},
        {"to": "chat"},
    ],
    "rules": {
        "maintenance": [{"hours": "03:00-05:00 America/New_York sun"}],
        "inhibit": [{"when": {"kind": "custom"}, "cause": {"kind": "error"}, "ends": {"kind": "order.completed"}}],
        "at_least": [{"when": {"type": "trade"}, "field": "pnl", "least": 1}],
        "levels": [{"when": {"type": "risk"}, "field": "drawdown", "above": 10, "back": 8}],
        "once_per_bar": [{"when": {"type": "signal"}}],
        "repeats": [{"within": "10m"}],
        "cooldown": [{"when": {"type": "market"}, "every": "5m"}],
    },
    "quiet_hours": [
        {"channels": "phone", "hours": "22:00-07:00 Europe/Berlin", "through": "high"},
        {"channels": "desk", "hours": "18:00-08:00 Europe/Berlin mon-fri"},
    ],
    "digests": [
        {"at": "18:00 Europe/Berlin", "channels": "chat", "through": "medium"},
        {"report": "weekly", "at": "22:00 mon", "channels": "chat"},
    ],
    "escalation": [{"when": {"priority": "critical"}, "steps": [{"after": "10m", "to": "phone"}]}],
}
#: One rule of every kind, on two channels.
ONE_EACH: dict[str, Any] = {
    **SETTINGS,
    "alerts": {name: {"type": "console"} for name in ("phone", "chat")},
    "routes": [{"when": {"type": "order"}, "to": "chat"}],
    "quiet_hours": SETTINGS["quiet_hours"][:1],
}
_KINDS = (
    ("order.completed", "order"), ("order.partial", "order"), ("trade.closed", "trade"), ("signal", "signal"),
    ("direct.market", "market"), ("error", "error"), ("custom", "custom"), ("risk.drawdown", "risk"),
)  # fmt: skip
_PRIORITIES = ("critical", "high", "medium", "medium", "low", "low", "info")


class Memory(RuleState):
    """What rules remember, in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, tuple[Any, float | None]]] = {}
        self._ends: list[tuple[float, str, str]] = []

    def __len__(self) -> int:
        return sum(map(len, self._values.values()))

    def get(self, rule: str, key: str) -> Any:
        found = self._values.get(rule, {}).get(key)
        return None if found is None else found[0]

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self._values.setdefault(rule, {})[key] = value, until
        if until is not None:
            heapq.heappush(self._ends, (until, rule, key))

    def drop(self, rule: str, key: str) -> None:
        self._values.get(rule, {}).pop(key, None)

    def items(self, rule: str) -> list[tuple[str, Any]]:
        return [(key, value) for key, (value, _) in self._values.get(rule, {}).items()]

    def forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, rule, key = heapq.heappop(self._ends)
            _, until = self._values.get(rule, {}).get(key, (None, None))
            if until is not None and until <= now:
                self.drop(rule, key)


def _alerts(count: int, every: float) -> Iterator[Alert]:
    """A mixture of everything, one each so many seconds."""
    dice = random.Random(7)
    for number in range(count):
        kind, type_ = dice.choice(_KINDS)
        at = BEGIN + number * every
        yield Alert.make(
            f"message {number % 50}",
            title=f"{kind} {number % 20}",
            kind=kind,
            type=type_,
            priority=dice.choice(_PRIORITIES),
            time=at,
            bar_time=at - at % 300,
            symbol=dice.choice(("AAPL", "MSFT", "BTC-USD")),
            strategy="Trend",
            run="run",
            source=Source.LIVE,
            action=f"fill-{number // 3}" if number % 4 == 0 else "",
            dedupe_key=f"bar-{number}" if number % 3 == 0 else None,
            data={"pnl": dice.uniform(-1000, 1000), "drawdown": dice.uniform(0, 20), "order": number % 40},
        )


def _through_all(settings: Settings, alerts: list[Alert]) -> tuple[float, Memory]:
    """Seconds of processor time that all alerts took, and what rules remember then."""
    stages, state = pipeline.build(settings.rule_settings()), Memory()
    began = time.process_time()
    for start in range(0, len(alerts), 40):  # as the planner reads them
        batch = alerts[start : start + 40]
        now = batch[0].time.timestamp()
        state.forget(now)
        wakes = pipeline.wakes(stages, state, now)
        if wakes is not None and wakes <= now:
            pipeline.hear(stages, Tick(), state, now)
        for alert in batch:
            pipeline.decide(stages, alert, state, alert.time.timestamp())
    return time.process_time() - began, state


def rules(run: Run) -> Iterator[Row]:
    """The rules alone, then with the store around them, then a whole simulation."""
    settings, count = load(SETTINGS), run.pick(*ALERTS)
    run.say("alerts through all rules")
    alerts = list(_alerts(count, every=35 * 86_400 / count))  # what is told twice is remembered for two weeks
    for told, tried, most in (
        ("one rule of every kind, two channels", load(ONE_EACH), 5.0),
        ("five routes, two quiet hours, three channels", settings, None),
    ):
        took = min(_through_all(tried, alerts)[0] for _ in range(run.pick(3, 1)))
        stages = len(pipeline.build(tried.rule_settings()))
        yield Row(
            f"100,000 alerts through all rules ({told}), seconds",
            took * 100_000 / count,
            "s",
            most=most,
            figures=f"{stages} stages, {count / took:,.0f} alerts a second",
        )
    run.say("what rules remember")
    half, whole = (_through_all(settings, alerts[:n])[1] for n in (count // 2, count))
    yield Row(
        "values that rules remember after twice as many alerts",
        len(whole) / len(half),
        most=1.1,
        figures=f"{len(half):,} after {count // 2:,}, {len(whole):,} after {count:,}",
    )
    run.say("planning with all rules")
    some = alerts[: run.pick(6000, 2000)]
    outbox = SqliteOutbox(run.folder / "rules.db")
    channels = {name: _channel(f"http://127.0.0.1:9/{name}") for name in settings.channels}
    seconds = _plan(outbox, channels, some, settings.rule_settings())
    outbox.close()
    yield Row("alerts planned a second with all rules and three channels, SQLite", len(some) / seconds, "/s")
    run.say("simulating ten years")
    decade = list(_alerts(run.pick(10_000, 1_000), every=365.25 * 86_400 * 10 / run.pick(10_000, 1_000)))
    began = time.perf_counter()
    simulation = simulate(decade, settings)
    took = time.perf_counter() - began
    yield Row(
        f"ten years with {len(decade):,} alerts simulated, seconds",
        took,
        "s",
        figures=f"{len(simulation.messages):,} messages on three channels",
    )
