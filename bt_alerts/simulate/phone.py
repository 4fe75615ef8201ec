"""The phone of a report: every message as data that the page's script shows, a page of them at a time.

Text comes from alerts and so from anywhere: it goes in as JSON, in which nothing can end the element that holds it, and
the script puts it on the page as text and never as markup. Secrets of this process are masked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Priority, safe_text
from bt_alerts.redact import redact
from bt_alerts.simulate import figures

if TYPE_CHECKING:
    from bt_alerts.simulate.result import Simulation
    from bt_alerts.simulate.rows import SimulatedMessage

MAX_BYTES = 12_000_000  # of one phone; what browsers open and search without being felt
MAX_TEXT = 1_000  # characters of a message that are shown
MAX_INSIDE = 50  # alerts of a digest that are listed

#: Colour and drawing of each channel type.
ICONS: Mapping[str, tuple[str, str]] = {
    "apprise": ("#5b6b7b", "link"),
    "console": ("#30363d", "prompt"),
    "discord": ("#5865f2", "chat"),
    "email": ("#2f7de1", "mail"),
    "ntfy": ("#338574", "bell"),
    "pagerduty": ("#058c32", "bolt"),
    "pusher": ("#4b2aa8", "link"),
    "pushover": ("#2386dd", "bell"),
    "slack": ("#611f69", "hash"),
    "sms": ("#248a3d", "chat"),
    "teams": ("#4b53bc", "people"),
    "telegram": ("#1c93d1", "plane"),
    "voice": ("#248a3d", "call"),
    "webhook": ("#5b6b7b", "link"),
}
_OTHER = ("#5b6b7b", "bell")


def phone_data(simulation: Simulation, limit: int = MAX_BYTES) -> dict[str, Any]:
    """What the script shows, the newest message first, as many as fit in ``limit`` bytes of JSON.

    Times are seconds of the clock on the wall, so that the page needs no time zones. A row is ``[time, channel,
    priority, title, text, target, silent, late, gathered by, [[time, title], …], more]``: texts are places in
    ``strings``, since many are said often.
    """
    names = list(figures.channels(simulation))
    types = figures.channels(simulation)
    strings = _Strings()
    zone = figures.zone_of(simulation.zone)
    titles = {row.alert.id: (row.alert.time.timestamp(), row.alert.title) for row in simulation.alerts}

    def wall(when: float) -> int:
        moment = figures.local(when, zone)
        offset = moment.utcoffset()
        return int(when + (offset.total_seconds() if offset else 0))

    def row(message: SimulatedMessage) -> list[Any]:
        inside = message.alerts if len(message.alerts) > 1 else ()
        known = [titles[identity] for identity in inside[:MAX_INSIDE] if identity in titles]
        return [
            wall(message.time),
            names.index(message.channel),
            message.priority.rank,
            strings.place(shown(message.title, 300)),
            strings.place(shown(message.text, MAX_TEXT)),
            strings.place(shown(message.target, 100)),
            int(message.silent),
            round(message.late),
            strings.place(message.batch.partition(":")[0]),
            [[wall(time), strings.place(shown(title, 300))] for time, title in known],
            len(inside) - len(known),
        ]

    rows: list[list[Any]] = []
    size = 0
    for message in sorted(simulation.messages, key=lambda message: -message.time):
        before = strings.size
        made = row(message)
        size += len(_ENCODE(made)) + 1 + strings.size - before
        if size > limit:
            break
        rows.append(made)
    return {
        "channels": [
            dict(
                zip(
                    ("name", "type", "colour", "icon"), (shown(name, 100), types[name], *icon(types[name])), strict=True
                )
            )
            for name in names
        ],
        "priorities": [
            {"name": priority.value, "colour": priority.style.colour, "emoji": priority.style.emoji}
            for priority in sorted(Priority, key=lambda priority: priority.rank)
        ],
        "strings": strings.all,
        "rows": rows,
        "of": len(simulation.messages),
    }


class _Strings:
    """Texts, each once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.size = 0  # bytes as JSON
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Where ``text`` stands."""
        if text not in self._places:
            self._places[text] = len(self.all)
            self.all.append(text)
            self.size += len(embedded(text).encode()) + 1
        return self._places[text]


def icon(channel_type: str) -> tuple[str, str]:
    """Colour and drawing of a channel type."""
    return ICONS.get(channel_type, _OTHER)


def shown(text: str, most: int) -> str:
    """Text as it may be shown: secrets masked before it is cut, so that no half of one is left."""
    return safe_text(redact(text), most)


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def embedded(value: Any) -> str:
    """JSON that may stand inside a ``<script>`` element: nothing in it is markup (HTML standard, 4.12.1.3)."""
    text = _ENCODE(value)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
