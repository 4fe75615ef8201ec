"""A rule to try for a noisy key, made of what the data show, as YAML to be pasted into the settings.

*Of low priority:* ``events`` makes them silent, or keeps them in the history only where they are silent already.
*Bursts of fills*, which one wants to know of: gathering, which loses none. *Other bursts:* a cooldown, with the
shortest usual time that halves them. *Many a day:* a daily digest. *One by one, about an amount:* ``at_least`` with the
amount that halves them. *Bar after bar:* a cooldown of a week. Each says what it would have saved, counted on these
alerts alone; play the run again with it to be sure. Nothing is proposed against critical alerts.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, Priority
from bt_alerts.compose import figure, number
from bt_alerts.kinds import KINDS
from bt_alerts.redact import redact
from bt_alerts.simulate.figures import Noise, local, rate_words, zone_of

FEW = 5  # alerts; below it there is nothing to be tuned
SELDOM = 1 / 7  # a day; what comes one by one and more seldom is no noise
BURST = 7200.0  # seconds; what needs longer to be halved comes all day long
WEEK = 7 * 86_400.0  # seconds
EVENING = "18:00"

#: The times that are proposed, by their seconds; what needs longer than a day comes bar after bar.
TIMES = {
    60.0: "1m",
    300.0: "5m",
    900.0: "15m",
    1800.0: "30m",
    3600.0: "1h",
    7200.0: "2h",
    14_400.0: "4h",
    28_800.0: "8h",
    43_200.0: "12h",
    86_400.0: "1d",
}
_WORDS = {"1m": "a minute", "1h": "an hour", "1d": "a day"}
_FILLS = frozenset({"order.completed", "order.partial", "trade.closed", "direct.trade"})
_AMOUNTS = ("pnlcomm", "pnl", "change_percent", "value", "size")  # what an alert is about, the most telling first
_BATCH = 10  # alerts in one message, as `batch_size` has it


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """A rule to try.

    Args:
        rule: YAML that can be pasted into the settings; empty where nothing is proposed.
        why: what it would do, or why there is none, in words.
        saved: of the key's alerts that came, how many would not have.
    """

    rule: str
    why: str
    saved: int = 0


def propose(
    noise: Noise, *, strategies: Collection[str] = (), symbols: Collection[str] = (), zone: str = "UTC"
) -> Proposal:
    """The rule to try for one key.

    Args:
        noise: the key and what it sent.
        strategies: all of the run; the rule names the strategy only where there are several.
        symbols: that this kind of alert has in the run; ``events`` settings are for all of them.
        zone: of the reader, for what goes at a time of the day.
    """
    told = noise.told
    urgent = max((alert.priority for alert in told), default=Priority.INFO)
    if len(told) < FEW:
        return Proposal("", "Too few to tune.")
    if urgent is Priority.CRITICAL:
        return Proposal("", "Critical: no rule should hold these back. Look at what causes them.")
    about = _about(noise, len(strategies) > 1)
    bursts = _against_bursts(noise, about)
    days = (told[-1].time - told[0].time).total_seconds() / 86_400 or 1.0
    if bursts is None and len(told) / days < SELDOM:
        return Proposal("", f"Seldom ({rate_words(len(told) / days)}): no noise.")
    if urgent <= Priority.LOW and noise.key.kind in KINDS and (len(symbols) <= 1 or bursts is None):
        return _event(noise, urgent, len(symbols))
    if bursts is not None:
        return bursts
    evening = _digest(told, about, zone) if urgent <= Priority.MEDIUM else _cooldown(told, about)
    small = _at_least(told, about)
    again = _bar_after_bar(noise, about)
    return evening or small or again or Proposal("", "They come one by one: no rule would halve them.")


def _about(noise: Noise, name_strategy: bool) -> dict[str, Any]:
    when: dict[str, Any] = {"kind": noise.key.kind}
    if noise.key.symbol:
        when["symbol"] = literal(redact(noise.key.symbol))
    if noise.key.strategy and name_strategy:
        when["strategy"] = literal(redact(noise.key.strategy))
    return when


# ----------------------------------------------------------------------------------------------- each of them


def _event(noise: Noise, urgent: Priority, symbols: int) -> Proposal:
    kind = noise.key.kind
    everywhere = f", on all {symbols} symbols" if symbols > 1 else ""
    if urgent is Priority.INFO or noise.silent * 2 >= noise.messages:
        why = (
            f"Of low priority, and many. Kept in the history and not sent{everywhere}: {len(noise.told):,} fewer here."
        )
        return Proposal(f"events: {_flow({kind: 'record'})}\n", why, len(noise.told))
    why = f"Of low priority, and many. They still come, without sound{everywhere}."
    return Proposal(f"events: {_flow({kind: 'silent'})}\n", why)


def _against_bursts(noise: Noise, about: Mapping[str, Any]) -> Proposal | None:
    if noise.key.kind in _FILLS and max(alert.priority for alert in noise.told) >= Priority.MEDIUM:
        return _gathering(noise.told)
    return _cooldown(noise.told, about, BURST)


def _cooldown(told: Sequence[Alert], about: Mapping[str, Any], longest: float = math.inf) -> Proposal | None:
    every = halving(told, passing)
    if every is None or every > longest:
        return None
    saved = len(told) - passing(told, every)
    rule = f"rules:\n  cooldown:\n    - {_flow({'when': about, 'every': TIMES[every]})}\n"
    return Proposal(rule, f"They come in bursts. At most one {_often(every)}: {saved:,} fewer.", saved)


def _bar_after_bar(noise: Noise, about: Mapping[str, Any]) -> Proposal | None:
    """What is told on one daily bar after another, as if it were news; each fill is some."""
    told = noise.told
    saved = len(told) - passing(told, WEEK)
    if noise.key.kind in _FILLS or saved * 2 < len(told):
        return None
    rule = f"rules:\n  cooldown:\n    - {_flow({'when': about, 'every': '7d'})}\n"
    return Proposal(rule, f"They come bar after bar. At most one a week: {saved:,} fewer.", saved)


def _gathering(told: Sequence[Alert]) -> Proposal | None:
    every = halving(told, gathered)
    if every is None or every > BURST:
        return None
    saved = len(told) - gathered(told, every)
    rule = f"delivery: {_flow({'enable_batching': True, 'batch_timeout': TIMES[every]})}\n"
    why = f"They come in bursts. Gathered, at most one message {_often(every)} and none lost: {saved:,} fewer."
    return Proposal(rule, why, saved)


def _digest(told: Sequence[Alert], about: Mapping[str, Any], zone: str) -> Proposal | None:
    wall = zone_of(zone)
    days = len({local(alert.time.timestamp(), wall).date() for alert in told})
    if days * 2 > len(told):
        return None
    rule = f"digests:\n  - {_flow({'when': about, 'at': f'{EVENING} {zone}'})}\n"
    why = f"They come all day long. One message in the evening, and none lost: {len(told) - days:,} fewer."
    return Proposal(rule, why, len(told) - days)


def _at_least(told: Sequence[Alert], about: Mapping[str, Any]) -> Proposal | None:
    for field in _AMOUNTS:
        amounts = sorted(abs(amount) for alert in told if (amount := figure(alert.data.get(field))) is not None)
        if len(amounts) < len(told) * 0.9:
            continue
        least = _round(amounts[len(amounts) // 2])
        saved = sum(amount < least for amount in amounts)
        if least > 0 and saved >= len(told) / 4:  # where nearly all are alike, none is of less weight
            rule = f"rules:\n  at_least:\n    - {_flow({'when': about, 'field': field, 'least': least})}\n"
            why = f"They come one by one. Without those whose {field} is below {number(least)}: {saved:,} fewer."
            return Proposal(rule, why, saved)
    return None


# ------------------------------------------------------------------------------------------- what they would do


def halving(alerts: Sequence[Alert], left: Callable[[Sequence[Alert], float], int]) -> float | None:
    """The shortest usual time, in seconds, that leaves at most half of them; None where none up to a day does."""
    return next((every for every in TIMES if left(alerts, every) * 2 <= len(alerts)), None)


def passing(alerts: Sequence[Alert], every: float) -> int:
    """How many pass a cooldown of so many seconds: each that comes so long after the last that passed."""
    n, last = 0, -math.inf
    for alert in alerts:
        time = alert.time.timestamp()
        if time - last >= every:
            n, last = n + 1, time
    return n


def gathered(alerts: Sequence[Alert], wait: float) -> int:
    """How many messages there are where the first alert of each waits so many seconds for others."""
    n, inside, goes = 0, 0, -math.inf
    for alert in alerts:
        time = alert.time.timestamp()
        if time > goes or inside == _BATCH:
            n, inside, goes = n + 1, 0, time + wait
        inside += 1
    return n


def literal(text: str) -> str | list[str]:
    """A glob that matches this text alone; a list of it where settings would read commas as several."""
    escaped = re.sub(r"([*?[])", r"[\1]", text)
    return [escaped] if "," in text else escaped


def _round(amount: float) -> float:
    """To two figures, as a person would write it."""
    if amount <= 0 or not math.isfinite(amount):
        return 0.0
    rounded = round(amount, 1 - math.floor(math.log10(amount)))
    return int(rounded) if rounded == int(rounded) else rounded


def _often(every: float) -> str:
    written = TIMES[every]
    return _WORDS.get(written, f"every {written[:-1]} {'minutes' if written.endswith('m') else 'hours'}")


def _flow(mapping: Mapping[str, object]) -> str:
    import yaml

    made: str = yaml.safe_dump(dict(mapping), default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return made.strip()
