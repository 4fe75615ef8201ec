"""An alert as Discord shows it: embeds within every limit, Markdown disarmed, files. Pure, but for reading the files.

The limits are those of https://discord.com/developers/docs/resources/message#embed-object-embed-limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.simple import fitted
from bt_alerts.render.look import View

MAX_CONTENT, MAX_TITLE, MAX_DESCRIPTION, MAX_FOOTER = 2000, 256, 4096, 2048
MAX_FIELDS, MAX_FIELD_NAME, MAX_FIELD_VALUE = 25, 256, 1024
MAX_EMBEDS = 6000  # all texts in the embeds of one message together
MAX_FILES, MAX_FILE = 10, 10 * 1024 * 1024
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif")  # what an embed can show
SHORT = 40  # characters of a field that stands beside another

Embed = dict[str, Any]
File = tuple[str, bytes, str]

# A link is shown as it is, and a backslash would be a part of it; one that runs into a "<" is made plain text instead.
_MARKUP = re.compile(
    r"(?P<link>https?://[A-Za-z0-9][^\s<]*[^\s<.,:;\"'\]](?=[.,:;\"'\]]*(?:\s|$)))"
    r"|[\\*_~`|<\[]|@(?=everyone|here)|:(?=//|[\w+-]+:)"
)
_LINE_START = re.compile(r"^([ \t]*(?:[0-9]+(?=\.))?)([-+#>.])", re.MULTILINE)


def escape(text: str) -> str:
    """``text`` so that Discord shows it as it is: no formatting, no mention, no emoji made of ``:words:``."""
    disarmed = _MARKUP.sub(lambda found: found["link"] or f"\\{found[0]}", text)
    return _LINE_START.sub(r"\1\\\2", disarmed)


def size(text: str) -> int:
    """How much of a limit a text takes, in UTF-16 units: the most that "characters" can mean."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def frame(view: View, footer: str) -> tuple[Embed, dict[str, str], int]:
    """What stands around the text: the first embed's parts, the last one's footer, and the room left for text.

    Args:
        view: the alert with its markup escaped.
        footer: without escaping, because Discord has no markup there.
    """
    rows = [
        (fitted(escape(name), MAX_FIELD_NAME, size), fitted(escape(value), MAX_FIELD_VALUE, size))
        for name, value in view.fields
    ]
    rows = [row for row in rows if row[0].strip() and row[1].strip()][:MAX_FIELDS]
    title, footer = fitted(view.title, MAX_TITLE, size), fitted(footer, MAX_FOOTER, size)
    first: Embed = {"title": title} if title.strip() else {}
    if rows:
        first["fields"] = [{"name": n, "value": v, "inline": size(v) <= SHORT} for n, v in rows]
    used = size(title) + size(footer) + sum(size(name) + size(value) for name, value in rows)
    return first, {"text": footer} if footer.strip() else {}, min(MAX_DESCRIPTION, MAX_EMBEDS - used)


def embeds(view: View, first: Embed, footer: dict[str, str], texts: Sequence[str]) -> list[Embed]:
    """One embed for each of the texts; one without text where there is none."""
    colour = int(view.colour.lstrip("#"), 16)
    found: list[Embed] = [{"color": colour, "description": text} for text in texts if text.strip()]
    found = found or [{"color": colour}]
    found[0] |= first
    if footer:
        found[-1]["footer"] = footer
    return found


def files(alert: Alert) -> tuple[dict[str, File], list[str]]:
    """The attachments as fields of a form, and why one is missing."""
    found: dict[str, File] = {}
    notes = []
    for attachment in alert.attachments:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", attachment.name)[-100:] or "file"
        if len(found) == MAX_FILES:
            notes.append(f"sent without {name}: a message takes {MAX_FILES} files")
            continue
        try:
            content = attachment.read() if attachment.size <= MAX_FILE else b""
        except (OSError, ValueError) as exc:  # the latter where the path can be none
            notes.append(f"sent without {name}: it cannot be read ({getattr(exc, 'strerror', None) or exc})")
            continue
        if max(attachment.size, len(content)) > MAX_FILE:
            notes.append(f"sent without {name}: it is larger than {MAX_FILE:,} bytes")
            continue
        kind = attachment.content_type
        kind = kind if re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind, re.ASCII) else "application/octet-stream"
        found[f"files[{len(found)}]"] = (name, content, kind)
    return found, notes


def picture(found: dict[str, File]) -> str:
    """The name of the first file that an embed can show; empty where there is none."""
    return next((name for name, _, kind in found.values() if name.lower().endswith(PICTURES) and "image/" in kind), "")
