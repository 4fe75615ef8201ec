"""What a member of a Discord server sees of a request, and what Discord would refuse. The limits are written down here
from its documentation, so that a wrong one in the dispatcher is found."""

from __future__ import annotations

import json
import re
from typing import Any

from bt_alerts.testing import Received

# As Discord's app finds a link, and what a backslash may stand before.
LINK = re.compile(r"((?:https?|steam)://[^\s<]+[^<.,:;\"'\]\s])")
ESCAPED = re.compile(r"\\([^0-9A-Za-z\s])")
SEEN = r"\1"


def payload(request: Received) -> dict[str, Any]:
    """The JSON of a message, alone or beside its files."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        return dict(json.loads(request.form()["payload_json"]))
    return dict(request.json())


def seen(text: str) -> str:
    """``text`` without the backslashes that only disarm; in a link they would be a part of it."""
    parts = LINK.split(text)
    return "".join(part if number % 2 else ESCAPED.sub(SEEN, part) for number, part in enumerate(parts))


def read(request: Received) -> str:
    """Title and text, whether as an embed or as plain content."""
    sent = payload(request)
    parts = [sent.get("content", "")]
    for embed in sent.get("embeds", []):
        parts += [embed.get("title", ""), embed.get("description", "")]
    return "\n".join(seen(part) for part in parts if part)


def units(text: str) -> int:
    """Characters as JavaScript counts them, the most that anybody counts; Discord measures trimmed text."""
    return len(text.strip().encode("utf-16-le")) // 2


def assert_within_limits(sent: dict[str, Any], files: int = 0) -> None:
    """Every limit of a webhook's message that Discord's documentation gives."""
    embeds = sent.get("embeds", [])
    assert sent.get("content") or embeds, "nothing to show"
    assert units(sent.get("content", "")) <= 2000
    assert len(embeds) <= 10
    assert files <= 10
    total = 0
    for embed in embeds:
        fields = embed.get("fields", [])
        shown = [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
        assert [units(text) <= most for text, most in zip(shown, (256, 4096, 2048), strict=True)] == [True] * 3
        assert len(fields) <= 25
        for field in fields:
            assert 1 <= units(field["name"]) <= 256
            assert 1 <= units(field["value"]) <= 1024
        for name in ("title", "description"):
            assert name not in embed or embed[name].strip(), f"an empty {name} is refused"
        assert 0 <= embed["color"] <= 0xFFFFFF
        assert set(embed) <= {"title", "description", "fields", "footer", "color", "image"}
        total += sum(map(units, [*shown, *(text for field in fields for text in (field["name"], field["value"]))]))
    assert total <= 6000
    assert 1 <= len(sent.get("thread_name", "x")) <= 100
    assert sent["allowed_mentions"] == {"parse": []}
    assert set(sent) <= {"content", "embeds", "allowed_mentions", "flags", "thread_name"}
