"""How channels, their addresses and the processes that deliver do, and what is wrong in sentences. Reads only.

Every figure comes through an index, with a million alerts in the store too: counts from covering indexes, latencies and
the last error from the latest 1,000 attempts of a channel. Counts go back to the first day of the store: what retention
forgot is in them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bt_alerts.alert import as_utc
from bt_alerts.outbox.base import DeliveryState, Outbox, Process
from bt_alerts.outbox.sql_claim import CLOCK_SLACK
from bt_alerts.rules.breaker import Breaker, BreakerState

LATEST = 1000  # attempts of a channel that latencies and the last error are taken from
SILENT_AFTER = 60.0  # seconds after its last sign of life when a process counts as gone
REMEMBERED = 86_400.0  # seconds for which a dead letter, or a process that is gone, is a problem
OVERDUE_AFTER = 600.0  # seconds that something may wait before that is a problem
FINE = frozenset({"sent", "acknowledged"})  # outcomes after which a channel works
FAILED = (DeliveryState.DEAD, DeliveryState.EXPIRED, DeliveryState.FAILED_OVER)
LISTENING = "listening"  # the rule state of what people answer through channels: see delivery/pollers.py


def channel_health(
    outbox: Outbox, channels: Mapping[str, float] | Iterable[str], now: float
) -> dict[str, dict[str, Any]]:
    """Health by channel: those that are given and those that the store knows.

    Args:
        outbox: the store.
        channels: names of what is configured, with each one's messages a minute (0 for no limit) where it is known.
        now: Unix seconds.

    Returns:
        For each channel

        * ``status`` (ok, failing, disabled) and ``disabled``, the reason;
        * ``sent`` (messages), ``digested`` (alerts that went in another one's message), ``failed`` (dead, expired,
          failed over), ``success_rate`` (percent) and ``deliveries``, all of them by state;
        * ``queue``, ``held``, and ``oldest_pending``: when what waits longest should have arrived; what is scheduled
          for later does not wait;
        * ``dead_letters``, and ``dead_lately``: those of the last 24 hours;
        * ``last_outcome``, ``last_error``, ``last_error_at``;
        * ``breaker`` (closed, half-open, open: the worst of its addresses), ``breaker_until`` and
          ``breaker_addresses`` ("1 of 2 addresses");
        * ``held_until``, ``paced_until``, ``rate`` and ``rate_now`` (messages a minute to one address; None where there
          is no limit, or it is not known);
        * ``latency_p50``, ``latency_p95`` (seconds from the plan to the service's answer, retries included),
          ``answer_p50`` and ``answer_p95`` (seconds that the service took);
        * ``ignored``: how often somebody answered through it who may not; ``deaf``: why nobody hears answers just now;
        * ``targets``: label, breaker, reason and waits of each address.

    Raises:
        StoreError: where the store cannot be read.
    """
    rates = channels if isinstance(channels, Mapping) else dict.fromkeys(channels, None)
    addresses = _addresses(outbox, now)
    pruned = _pruned(outbox)
    lately = _dead_lately(outbox, now)
    health = {name: _blank() for name in rates}
    for name, disabled, not_before, held_at, oldest, *numbers in outbox.rows(_CHANNELS, (now,)):
        counts = dict(zip(DeliveryState, numbers, strict=True))
        for state, n in pruned.get(name, {}).items():
            counts[state] += n
        targets = addresses.get(name, [])
        held = 0.0 if held_at > now + CLOCK_SLACK else not_before
        health[name] = _blank() | _counts(counts) | _attempts(outbox, name) | {
            "disabled": disabled,
            "oldest_pending": as_utc(oldest),
            "held_until": _later(now, held, *(each["held_until"] for each in targets)),
            "paced_until": _later(now, *(each["paced_until"] for each in targets)),
            "dead_lately": lately.get(name, 0),
            "targets": targets,
        }  # fmt: skip
    for told in (json.loads(value) for (value,) in outbox.rows(_LISTENING, (LISTENING,))):
        for name in health.keys() & set(told.get("channels", ())):
            health[name] |= {"ignored": told.get("ignored", 0), "deaf": told.get("trouble", "")}
    for name, channel in health.items():
        rate = rates.get(name) or None
        paces = [each["pace"] for each in channel["targets"]]
        channel["rate"], channel["rate_now"] = rate, None if rate is None else rate * min(paces, default=1.0)
        channel.update(_breaker(channel["targets"]))
        channel["status"] = _status(channel)
    return health


def _status(state: Mapping[str, Any]) -> str:
    if state["disabled"]:
        return "disabled"
    unwell = state["breaker"] != BreakerState.CLOSED or any(each["disabled"] for each in state["targets"])
    return "failing" if unwell or state["last_outcome"] not in {"", *FINE} else "ok"


def _blank() -> dict[str, Any]:
    none = ("last_error_at", "oldest_pending", "held_until", "paced_until", "latency_p50", "latency_p95", "answer_p50",
            "answer_p95")  # fmt: skip
    return (
        {
            "status": "ok",
            "disabled": "",
            "last_error": "",
            "last_outcome": "",
            "dead_lately": 0,
            "targets": [],
            "ignored": 0,
            "deaf": "",
        }
        | _counts(dict.fromkeys(DeliveryState, 0))
        | dict.fromkeys(none)
    )


def _counts(counts: Mapping[DeliveryState, int]) -> dict[str, Any]:
    failed = sum(counts[state] for state in FAILED)
    arrived = counts[DeliveryState.DELIVERED] + counts[DeliveryState.DIGESTED]
    return {
        "sent": counts[DeliveryState.DELIVERED],
        "digested": counts[DeliveryState.DIGESTED],
        "failed": failed,
        "success_rate": 100.0 * arrived / (arrived + failed) if arrived + failed else 100.0,
        "queue": counts[DeliveryState.PENDING],
        "held": counts[DeliveryState.HELD],
        "dead_letters": counts[DeliveryState.DEAD] + counts[DeliveryState.EXPIRED],
        "deliveries": {state.value: n for state, n in counts.items()},
    }


def _attempts(outbox: Outbox, channel: str) -> dict[str, Any]:
    """Latencies, last outcome and last error, of the latest attempts."""
    last, error, error_at = "", "", None
    latencies, answers = [], []
    for outcome, detail, started, took, tried_by, latency in outbox.rows(_LATEST, (channel, LATEST)):
        last = last or outcome
        if outcome not in FINE and error_at is None:
            error, error_at = detail or outcome, as_utc(started + took)
        if outcome == "sent" and (tried_by or took):  # not what the service told of it later on
            answers.append(took)
            latencies.append(took if latency is None else latency)
    return {
        "last_outcome": last,
        "last_error": error,
        "last_error_at": error_at,
        "latency_p50": percentile(latencies, 0.50),
        "latency_p95": percentile(latencies, 0.95),
        "answer_p50": percentile(answers, 0.50),
        "answer_p95": percentile(answers, 0.95),
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which a share of all is; None where there are none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


# Addresses -------------------------------------------------------------------------------------------


def _addresses(outbox: Outbox, now: float) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for (
        channel,
        label,
        disabled,
        failures,
        trips,
        open_until,
        not_before,
        held_at,
        paced_until,
        tokens_at,
        pace,
    ) in outbox.rows(_TARGETS):
        went_back = held_at > now + CLOCK_SLACK  # it was written down before a clock was set back: see sql_claim.py
        breaker = Breaker(failures, trips, 0.0 if went_back else open_until)
        state = breaker.state(now)
        found.setdefault(channel, []).append({
            "label": label,
            "disabled": disabled,
            "breaker": state.value,
            "breaker_until": as_utc(breaker.open_until) if state is BreakerState.OPEN else None,
            "failures": failures,
            "held_until": _later(now, 0.0 if went_back else not_before),
            "paced_until": _later(now, 0.0 if tokens_at > now + CLOCK_SLACK else paced_until),
            "pace": pace,
        })  # fmt: skip
    return found


def _breaker(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The worst of its addresses."""
    worst = max((each["breaker"] for each in targets), key=_WORSE.index, default=BreakerState.CLOSED.value)
    same = [each for each in targets if each["breaker"] == worst]
    some = worst != BreakerState.CLOSED and len(targets) > 1
    return {
        "breaker": worst,
        "breaker_until": max((each["breaker_until"] for each in same if each["breaker_until"]), default=None),
        "breaker_addresses": f"{len(same)} of {len(targets)} addresses" if some else "",
    }


_WORSE = [BreakerState.CLOSED.value, BreakerState.HALF_OPEN.value, BreakerState.OPEN.value]


def _later(now: float, *times: float | dt.datetime | None) -> dt.datetime | None:
    """The latest of these, where it is still to come."""
    seconds = [each.timestamp() if isinstance(each, dt.datetime) else each or 0.0 for each in times]
    latest = max(seconds, default=0.0)
    return as_utc(latest) if latest > now else None


# Processes -------------------------------------------------------------------------------------------


def process_health(processes: Iterable[Process], now: float) -> list[dict[str, Any]]:
    """The processes that live, and those that are gone without a goodbye and that no other took the place of.

    Args:
        processes: all that the store knows, see :meth:`~bt_alerts.outbox.base.Outbox.processes`.
        now: Unix seconds.

    Returns:
        For each ``role``, ``pid``, ``host``, ``alive`` (a sign of life in the last 60 s), ``started``, ``seen`` and
        ``about``. One is gone for 24 hours; then it is forgotten here.
    """
    running = [each for each in processes if each.ended is None and each.seen > now - REMEMBERED]
    shown = [each for each in running if _alive(each, now) or not any(_replaces(other, each) for other in running)]
    return [
        {
            "role": each.role,
            "pid": each.about.get("pid"),
            "host": each.about.get("host", ""),
            "alive": _alive(each, now),
            "started": as_utc(each.started),
            "seen": as_utc(each.seen),
            "about": dict(each.about),
        }
        for each in shown
    ]


def _alive(process: Process, now: float) -> bool:
    return process.seen > now - SILENT_AFTER


def _replaces(other: Process, gone: Process) -> bool:
    def same(process: Process) -> tuple[Any, ...]:
        return process.role, *(str(process.about.get(name)) for name in ("host", "channels", "strategies"))

    return other is not gone and same(other) == same(gone) and other.started >= gone.seen


# What is wrong ---------------------------------------------------------------------------------------


def problems(
    channels: Mapping[str, Mapping[str, Any]],
    processes: Iterable[Mapping[str, Any]],
    now: float,
    *,
    patience: float = OVERDUE_AFTER,
) -> list[str]:
    """What somebody has to look at, a sentence each; empty where all is well.

    Args:
        channels: of :func:`channel_health`.
        processes: of :func:`process_health`.
        now: Unix seconds.
        patience: seconds that a delivery may wait beyond the time when it should have arrived.
    """
    found: list[str] = []
    for name, state in channels.items():
        found += _of_channel(name, state, now, patience)
    for each in processes:
        if not each["alive"]:
            silent = spell(now - each["seen"].timestamp())
            where = f" on {each['host']}" if each["host"] else ""
            found.append(
                f"The {each['role']} process {each['pid'] or ''}{where} ended without a goodbye: no sign of life for "
                f"{silent}. Start it again.".replace("  ", " ")
            )
    return found


def _of_channel(name: str, state: Mapping[str, Any], now: float, patience: float) -> Iterable[str]:
    if state["disabled"]:
        yield f"{name} is disabled: {state['disabled']}. Mend its settings, then: bt-alerts test {name}"
        return
    for each in state["targets"]:
        if each["disabled"]:
            mend = f"Mend it, then: bt-alerts test {name}"
            yield f"{name} cannot reach {each['label']} any more: {each['disabled']}. {mend}"
    if state["breaker"] != BreakerState.CLOSED:
        which = f" ({state['breaker_addresses']})" if state["breaker_addresses"] else ""
        until = state["breaker_until"]
        when = f"it is left alone until {until:%H:%M:%S} UTC" if until else "it is being tried again"
        yield f"{name}: the service fails again and again{which}, {when}. Its last error: {state['last_error']}"
    elif state["status"] == "failing" and state["last_outcome"] not in {"", *FINE}:
        yield f"{name}: the last attempt failed: {state['last_error']}"
    if state["deaf"]:
        yield f"{name} does not hear its buttons or commands: {state['deaf']}"
    if state["dead_lately"]:
        letters = "1 dead letter" if state["dead_lately"] == 1 else f"{state['dead_lately']:,} dead letters"
        yield f"{name}: {letters} in the last 24 hours: bt-alerts dead list"
    oldest = state["oldest_pending"]
    if oldest is not None and now - oldest.timestamp() > patience:
        waits = spell(now - oldest.timestamp())
        yield f"{name}: {state['queue']:,} pending, and the oldest should have arrived {waits} ago."


def spell(seconds: float) -> str:
    """A time in words, as long as a person wants to know it: 40 s, 12 min, 3 h, 2 days."""
    for size, unit in ((172_800.0, "days"), (7200.0, "h"), (120.0, "min")):
        if seconds >= size:
            return f"{seconds / _UNITS[unit]:,.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def took(seconds: float | None) -> str:
    """How long a delivery took: milliseconds while all is well, hours after an outage."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)  # a clock was set back meanwhile
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else spell(seconds)


_UNITS = {"days": 86_400.0, "h": 3600.0, "min": 60.0}


# Questions to the store ------------------------------------------------------------------------------


def _pruned(outbox: Outbox) -> dict[str, dict[DeliveryState, int]]:
    """What retention forgot, by channel."""
    found: dict[str, dict[DeliveryState, int]] = {}
    for channel, state, n in outbox.rows(_PRUNED):
        found.setdefault(channel, {})[DeliveryState(state)] = n
    return found


def _dead_lately(outbox: Outbox, now: float) -> dict[str, int]:
    found: dict[str, int] = {}
    for channel, settled in outbox.rows(_DEAD):
        if settled is not None and settled > now - REMEMBERED:
            found[channel] = found.get(channel, 0) + 1
    return found


# Each state is counted by itself: a seek in the index and a run along it, which is quicker than grouping.
_COUNTS = ",\n       ".join(
    f"(SELECT count(*) FROM deliveries d WHERE d.channel = c.channel AND d.state = '{state.value}')"
    for state in DeliveryState
)
_CHANNELS = f"""
SELECT c.channel, c.disabled, c.not_before, c.held_at,
       (SELECT min(d.promised) FROM deliveries d
        WHERE d.channel = c.channel AND d.state = 'pending' AND d.promised <= ?),
       {_COUNTS}
FROM channels c ORDER BY c.channel
"""

_TARGETS = """
SELECT channel, label, disabled, failures, trips, open_until, not_before, held_at, paced_until, tokens_at, pace
FROM targets ORDER BY channel, label, target
"""

_LATEST = """
SELECT p.outcome, p.detail, p.started, p.took, p.owner,
       d.settled - CASE WHEN d.promised > d.created THEN d.promised ELSE d.created END
FROM attempts p JOIN deliveries d ON d.seq = p.delivery
WHERE p.channel = ? ORDER BY p.seq DESC LIMIT ?
"""

_PRUNED = "SELECT reason, state, n FROM pruned WHERE ledger = 'deliveries' AND reason != ''"

_LISTENING = "SELECT value FROM rule_state WHERE rule = ?"

_DEAD = "SELECT channel, settled FROM deliveries WHERE state IN ('dead', 'expired') ORDER BY seq DESC LIMIT 1000"

#: What reads the store, for the test that no statement scans a table.
STATEMENTS = {
    "channels": (_CHANNELS, (0.0,)),
    "targets": (_TARGETS, ()),
    "latest": (_LATEST, ("a", LATEST)),
    "pruned": (_PRUNED, ()),
    "listening": (_LISTENING, (LISTENING,)),
    "dead": (_DEAD, ()),
}
