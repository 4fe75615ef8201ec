"""The lines of a journal: an alert with when it is due, or something that somebody asked for.

``{"alert": {…}, "due": 0}`` · ``{"acknowledge": id}`` · ``{"snooze": id, "until": t}`` · ``{"mute": {…}, "until": t}``
· ``{"retry": [numbers] or null}`` · ``{"closed": true}``
· ``{"remember": key, "value": …}``
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from bt_alerts.alert import Alert, safe_text


@dataclasses.dataclass(frozen=True, slots=True)
class Accepted:
    """An alert that ``emit`` accepted; ``due`` in Unix seconds, 0 for now."""

    alert: Alert
    due: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledged:
    """Somebody has seen an alert."""

    id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Snoozed:
    """Somebody wants an alert again, later."""

    id: str
    until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Muted:
    """Somebody wants quiet; ``until`` in the past ends a mute."""

    selector: Mapping[str, str]
    until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Retried:
    """Somebody wants dead letters delivered after all: those of these ``numbers``, or all (None)."""

    numbers: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """The last line of a process that ended as it should."""


@dataclasses.dataclass(frozen=True, slots=True)
class Remembered:
    """What a live run has seen, for its next start to find; a ``value`` (plain JSON) of None forgets it."""

    key: str
    value: Any


Entry = Accepted | Acknowledged | Snoozed | Muted | Retried | Closed | Remembered


def encode(entry: Entry) -> bytes:
    """One line, without its newline."""
    match entry:
        case Accepted(alert, due):
            due = float(due) if math.isfinite(due) else 0.0
            return f'{{"alert":{alert.to_json()},"due":{due!r}}}'.encode("utf-8", "replace")
        case Acknowledged(id_):
            return json.dumps({"acknowledge": id_}).encode()
        case Snoozed(id_, until):
            return json.dumps({"snooze": id_, "until": until}).encode()
        case Muted(selector, until):
            return json.dumps({"mute": dict(selector), "until": until}).encode()
        case Retried(numbers):
            return json.dumps({"retry": numbers}).encode()
        case Closed():
            return b'{"closed":true}'
        case Remembered(key, value):
            return json.dumps({"remember": key, "value": value}).encode()


def decode(line: bytes) -> Entry:
    """Read a line. Raises ``ValueError`` where it is none of ours."""
    try:
        return _decode(json.loads(line))
    except Exception as exc:  # whatever it is that a damaged line sets off, the next line must have its turn
        raise ValueError(f"not an entry of a journal: {type(exc).__name__}") from exc


def _decode(row: Any) -> Entry:
    if "alert" in row:
        return Accepted(Alert.from_dict(row["alert"]), _time(row.get("due", 0.0)))
    if "acknowledge" in row:
        return Acknowledged(_name(row["acknowledge"]))
    if "snooze" in row:
        return Snoozed(_name(row["snooze"]), _time(row["until"]))
    if "mute" in row:
        return Muted({str(k): _name(v, 200) for k, v in row["mute"].items()}, _time(row["until"]))
    if "retry" in row:
        return Retried(None if row["retry"] is None else _numbers(row["retry"]))
    if "closed" in row:
        return Closed()
    if "remember" in row:
        return Remembered(_name(row["remember"]), row.get("value"))
    raise ValueError("an entry of a newer version")


def _name(value: Any, limit: int = 500) -> str:
    """What every store takes as a key: one line that it refuses would keep back all that come after it."""
    return safe_text(value, limit)


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
        raise ValueError("no numbers")
    return tuple(value)


def _time(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError("no time")
    return float(value)
