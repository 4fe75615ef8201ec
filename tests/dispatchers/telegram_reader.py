"""What a reader in Telegram sees of a text: asked of Telegram's own parser, which needs no account and no network.

It is in TDLib (``pip install tdjson``). Where that is not installed, our own reading takes its place, and nothing here
can tell that Telegram would refuse a text.
"""

from __future__ import annotations

import json
from typing import Any

from bt_alerts.dispatchers.telegram.markup import without_markup

try:
    import tdjson
except ImportError:  # no wheel for this machine
    tdjson = None

MODES = {"HTML": {"@type": "textParseModeHTML"}, "MarkdownV2": {"@type": "textParseModeMarkdown", "version": 2}}


def parsed(text: str, parse_mode: str) -> dict[str, Any]:
    """``{"text": …, "entities": […]}``, or ``{"@type": "error", "message": …}`` where Telegram refuses the text."""
    if parse_mode not in MODES:
        return {"text": text, "entities": []}
    if tdjson is None:
        return {"text": without_markup(text, parse_mode), "entities": []}
    request = {"@type": "parseTextEntities", "text": text, "parse_mode": MODES[parse_mode]}
    found: dict[str, Any] = json.loads(tdjson.td_execute(json.dumps(request).encode()))
    return found


def read(text: str, parse_mode: str) -> str:
    """The text that is shown. Raises ``AssertionError`` where Telegram refuses it."""
    found = parsed(text, parse_mode)
    assert found.get("@type") != "error", f"{found.get('message')}: {text[:300]!r}"
    shown: str = found["text"]
    return shown


def marked(text: str, parse_mode: str) -> list[tuple[str, str]]:
    """What is set off, and how: ``[("Bold", "🟡 BUY AAPL")]``."""
    found = parsed(text, parse_mode)
    units = found["text"].encode("utf-16-le")
    return [
        (
            entity["type"]["@type"].removeprefix("textEntityType"),
            units[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le"),
        )
        for entity in found["entities"]
    ]


if tdjson is not None:
    tdjson.td_execute(json.dumps({"@type": "setLogVerbosityLevel", "new_verbosity_level": 0}).encode())
