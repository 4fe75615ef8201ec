"""Batching: similar alerts that come close together go in one message that lists them. Never a critical one.

Three things gather, for each channel by itself. *Fills*: the parts in which one order is filled. *Storms*: the same
error again and again; the first few go at once, the rest as "+37 similar". *Batches*: whatever is alike, where the
settings ask for it. What gathers is planned like everything else, for the end of its window; nothing leaves the ledger.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.stage import Batch, Note, Plan, Reason, Stage, Verdict

FILLS_WINDOW = 5.0  # seconds in which the parts of one order gather
FILLS_MOST = 100  # parts in one message
STORM_FREE = 3  # alike in one window that go at once
STORM_WINDOW = 60.0  # seconds; twice as long each time that the storm goes on
STORM_LONGEST = 960.0
STORM_MOST = 500  # in one message

BATCHING = "batching_stage"

_LAST_PART = ("order.completed", "trade.closed")  # either can tell of the fill that completes an order
_TROUBLE = frozenset({AlertType.ERROR, AlertType.DATA, AlertType.STORE, AlertType.HEALTH})
_NUMBERS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class BatchSettings:
    """What one channel gathers.

    Args:
        enabled: whether whatever is alike gathers.
        size: so many go as soon as they are together.
        timeout: seconds that the first of them waits at most.
    """

    enabled: bool = False
    size: int = 10
    timeout: float = 5.0


NO_BATCHES = BatchSettings()


def batching(channels: Mapping[str, BatchSettings]) -> Stage:
    """Decide for each channel of the plan whether the alert waits for its like.

    Args:
        channels: settings by the channel's name; those of one that is not named are the defaults.
    """
    chosen = dict(channels)

    def batching_stage(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        brings_files = alert.attachments or alert.kind.startswith("report.")  # and a list brings none along
        if alert.priority is Priority.CRITICAL or plan.due > now or brings_files:
            return plan
        batches = {
            name: batch
            for name in plan.channels
            if name not in plan.batches and name not in plan.at_once
            if (batch := _batch(alert, name, chosen.get(name, NO_BATCHES), state, now)) is not None
        }
        if not batches:
            return plan
        notes = [Note(Reason.BATCH, channel=name, until=batch.due) for name, batch in batches.items()]
        return plan.noted(*notes, batches={**plan.batches, **batches})

    batching_stage.__name__ = BATCHING
    return batching_stage


def _batch(alert: Alert, channel: str, settings: BatchSettings, state: RuleState, now: float) -> Batch | None:
    order = alert.data.get("order") if alert.kind in ("order.partial", *_LAST_PART) else None
    if order is not None:
        return _fill(alert, _key("fills", channel, alert.run, alert.strategy, str(order)), state, now)
    if settings.enabled:
        key = _key("batch", channel, alert.kind, alert.strategy)
        return _gather(key, alert.id, state, now, size=settings.size, timeout=settings.timeout)
    if alert.type in _TROUBLE:
        return _storm(alert, channel, state, now)
    return None


def _fill(alert: Alert, key: str, state: RuleState, now: float) -> Batch | None:
    """A part waits for the others; the last one takes those that wait along."""
    if alert.kind == "order.partial":
        return _gather(key, alert.id, state, now, size=FILLS_MOST, timeout=FILLS_WINDOW)
    open_one = _open(state, key, now)
    if open_one is None:
        return None
    state.drop("batch", key)
    return Batch(open_one["name"], now, full=True)


def _storm(alert: Alert, channel: str, state: RuleState, now: float) -> Batch | None:
    """The first few go at once; the rest at the end of a window, which grows while the storm goes on."""
    alike = (alert.kind, alert.strategy, alert.symbol, _NUMBERS.sub("#", alert.title))
    key = _key("similar", channel, *alike)
    storm = state.get("storm", key)
    if storm is None or now >= storm["until"] + storm["window"] or now < storm["since"]:
        storm = {"since": now, "until": now + STORM_WINDOW, "window": STORM_WINDOW, "n": 0}
    elif now >= storm["until"]:  # it goes on
        gathered = storm["n"] > STORM_FREE
        window = min(STORM_LONGEST, storm["window"] * 2) if gathered else STORM_WINDOW
        storm = {"since": now, "until": now + window, "window": window, "n": STORM_FREE if gathered else 0}
    storm["n"] += 1
    state.put("storm", key, storm, until=storm["until"] + storm["window"])
    if storm["n"] <= STORM_FREE:
        return None
    return _gather(key, alert.id, state, now, size=STORM_MOST, timeout=storm["until"] - now)


def _gather(key: str, first: str, state: RuleState, now: float, *, size: int, timeout: float) -> Batch:
    """Join the batch that is open, or open one, which is called after its ``first``: a burst fills several at once."""
    batch = _open(state, key, now) or {"name": f"{key}:{first}", "since": now, "due": now + timeout, "n": 0}
    batch["n"] += 1
    full = batch["n"] >= size
    if full:
        state.drop("batch", key)
    else:
        state.put("batch", key, batch, until=batch["due"])
    return Batch(batch["name"], now if full else batch["due"], full=full)


def _open(state: RuleState, key: str, now: float) -> dict[str, Any] | None:
    batch: dict[str, Any] | None = state.get("batch", key)
    return None if batch is None or not batch["since"] <= now < batch["due"] else batch


def _key(how: str, channel: str, *alike: str) -> str:
    return f"{how}:{hashlib.sha256(repr((channel, *alike)).encode()).hexdigest()[:16]}"
