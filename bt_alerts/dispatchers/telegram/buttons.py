"""The buttons below a message: what they say, and what Telegram sends back when one is pressed."""

from __future__ import annotations

import dataclasses
import re

from bt_alerts.alert import Alert
from bt_alerts.render.text import shorten, split

MAX_BUTTON = 64  # bytes of callback data
SNOOZE = 3600  # seconds, of the button
MUTE = 86_400  # seconds, of the button


@dataclasses.dataclass(frozen=True, slots=True)
class Button:
    """What a button below a message asks for.

    Args:
        action: ``"ack"``, ``"snooze"`` or ``"mute"``.
        of: the alert's id, for ``mute`` the symbol.
        seconds: of a snooze.
    """

    action: str
    of: str
    seconds: int = 0


def button_data(button: Button) -> str:
    """What Telegram sends back when a button is pressed: ``ack:<id>``, ``snooze:<id>:3600``, ``mute:<symbol>``.

    A symbol that does not fit into 64 bytes is shortened. To find out which symbol is meant, compare the data that this
    function makes of each one.

    Raises:
        ValueError: where the id does not fit.
    """
    data = f"{button.action}:{button.of}" + (f":{button.seconds}" if button.action == "snooze" else "")
    if button.action == "mute":
        return split(data, MAX_BUTTON, _bytes)[0]
    if _bytes(data) > MAX_BUTTON:
        raise ValueError(f"button data must be at most {MAX_BUTTON} bytes: the id of the alert is too long")
    return data


def read_button(data: str) -> Button | None:
    """The other way round; None for what is no data of ours, because any app can send anything."""
    action, _, of = data.partition(":")
    if action == "snooze":
        of, _, seconds = of.rpartition(":")
        return Button(action, of, int(seconds)) if of and re.fullmatch(r"[0-9]{1,8}", seconds) else None
    return Button(action, of) if action in {"ack", "mute"} and of else None


def keyboard(alert: Alert) -> list[list[dict[str, str]]]:
    """The rows of buttons below an alert."""
    rows = [[("✅ Acknowledge", Button("ack", alert.id)), ("💤 Snooze 1 h", Button("snooze", alert.id, SNOOZE))]]
    if alert.symbol.strip():
        rows.append([(f"🔇 Mute {shorten(alert.symbol, 30)} 1 day", Button("mute", alert.symbol))])
    try:
        return [[{"text": text, "callback_data": button_data(button)} for text, button in row] for row in rows]
    except ValueError:  # somebody's own long id: the message is worth more than its buttons
        return []


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
