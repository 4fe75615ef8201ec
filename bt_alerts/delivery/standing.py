"""How strategies and feeds stand by what each said of itself last, what is held, and what is muted. Reads only.

The same answers serve the chat (:mod:`bt_alerts.delivery.commands`) and the dashboard. They are made of alerts:
nobody is asked, and a strategy that never told anything is not known here.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bt_alerts import summary
from bt_alerts.alert import Alert
from bt_alerts.outbox.base import Outbox

LOOK_BACK = 100_000  # of the newest alerts that are looked at
OPENED_BEFORE = 90 * 86_400.0  # seconds for which an open position, a strategy or a feed is known by its alerts


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What a strategy or a feed said of itself last.

    Args:
        name: of the strategy, or the feed's symbol.
        strategy: whose feed it is; the same name for a strategy.
        word: how it stands: running, live, ended, silent …
        good: whether nobody has to look.
        since: when it said so.
    """

    name: str
    strategy: str
    word: str
    good: bool
    since: dt.datetime


_BEGAN = {"strategy.started": "running", "strategy.armed": "live", "strategy.restarted": "running again"}
_ENDED = {"strategy.stopped": "ended", "error": "ended by an error", "interrupted": "was interrupted"}
_FEEDS = {
    "data.live": "live",
    "data.resumed": "live again",
    "data.delayed": "delayed",
    "data.disconnected": "without a connection",
    "data.held": "yields bars that do not count as live",
    "data.silent": "silent",
}
_GOOD_FEEDS = frozenset({"data.live", "data.resumed"})
#: What :mod:`bt_alerts.summary` reads of positions and profits.
MONEY = (
    "order.partial",
    "order.completed",
    "position.opened",
    "position.closed",
    "trade.closed",
    "strategy.started",
    "strategy.stopped",
    "strategy.restarted",
    "process.died",
)


def strategies(outbox: Outbox, now: float, *, history: bool = False) -> list[Standing]:
    """How each strategy stands that told something in the last 90 days, by name.

    Args:
        outbox: the store.
        now: Unix seconds.
        history: those of backtests too.

    Raises:
        StoreError: where the store cannot be read.
    """
    last: dict[str, tuple[str, Alert]] = {}
    for alert in alerts(outbox, [*_BEGAN, *_ENDED, "process.died"], now - OPENED_BEFORE, history=history):
        if alert.kind == "process.died":
            for name in alert.data.get("strategies") or ():
                last[str(name)] = "died", alert
        elif alert.strategy:
            last[alert.strategy] = (_BEGAN | _ENDED)[alert.kind], alert
    return [
        Standing(name, name, word, alert.kind in _BEGAN, alert.time) for name, (word, alert) in sorted(last.items())
    ]


def feeds(
    outbox: Outbox, now: float, *, history: bool = False, runs: Sequence[Standing] | None = None
) -> list[Standing]:
    """How each feed stands that told something in the last 90 days. Errors as above.

    Args:
        outbox: the store.
        now: Unix seconds.
        history: those of backtests too.
        runs: what :func:`strategies` found, where that is known already.
    """
    runs = strategies(outbox, now, history=history) if runs is None else runs
    last = {
        (alert.strategy, alert.symbol): alert for alert in alerts(outbox, _FEEDS, now - OPENED_BEFORE, history=history)
    }
    over = {each.name: each.since for each in runs if not each.good}
    found = []
    for (strategy, symbol), alert in sorted(last.items()):
        word, good, since = _FEEDS[alert.kind], alert.kind in _GOOD_FEEDS, alert.time
        if strategy in over and over[strategy] >= since:  # a feed says nothing more when its run ends
            word, good, since = "ended with its run", False, over[strategy]
        found.append(Standing(symbol or "feed", strategy, word, good, since))
    return found


def report(told: Sequence[Alert], since: float, now: float, zone: str) -> Mapping[str, Any]:
    """The figures of a period, as :func:`bt_alerts.summary.summary` has them.

    Args:
        told: alerts of the kinds in :data:`MONEY`, oldest first; those before ``since`` tell what was held then.
        since: when the period began, in Unix seconds.
        now: when it ends, in Unix seconds.
        zone: name of the time zone in which its days are counted.
    """
    split = next((i for i, alert in enumerate(told) if alert.time.timestamp() >= since), len(told))
    made = summary.summary(
        told[split:],
        name="asked",
        period="daily",
        since=since,
        until=now,
        zone=zone,
        now=now,
        before=told[:split],
    )
    figures: Mapping[str, Any] = made.data["report"]
    return figures


def mutes(outbox: Outbox, now: float) -> list[tuple[dict[str, str], float]]:
    """What is muted, and until when in Unix seconds; what ends first is first."""
    rows = outbox.rows("SELECT key, value FROM rule_state WHERE rule = 'mute'")
    found = [(json.loads(key), float(json.loads(value))) for key, value in rows]
    return sorted(((selector, until) for selector, until in found if until > now), key=lambda each: each[1])


def alerts(outbox: Outbox, kinds: Iterable[str], since: float, *, history: bool = False) -> list[Alert]:
    """Those of these kinds, oldest first; those of backtests only where somebody wants them.

    Args:
        outbox: the store.
        kinds: names of kinds.
        since: not before; Unix seconds.
        history: those of backtests too.
    """
    names = list(kinds)
    marks = ", ".join("?" * len(names))
    live = "" if history else " AND source != 'history'"
    sql = f"SELECT body FROM alerts WHERE time >= ? AND kind IN ({marks}){live} ORDER BY time, seq"
    found: collections.deque[Alert] = collections.deque(maxlen=LOOK_BACK)
    for (body,) in outbox.rows(sql, (since, *names)):
        try:
            found.append(Alert.from_json(body))
        except ValueError:  # damaged, or of a newer version
            continue
    return list(found)
