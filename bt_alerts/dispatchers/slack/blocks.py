"""An alert as Slack messages: its header, then blocks beside a bar in the colour of its priority.

*What an alert says is plain text* (``plain_text`` objects), so neither asterisks nor ``:names:`` nor lines that begin
with ``>`` become anything else; Slack's ``mrkdwn`` has no way to escape those. A template of the user is ``mrkdwn``,
with what it inserts escaped. Everywhere ``&``, ``<`` and ``>`` are escaped, which disarms ``<!channel>``, ``<@U1>`` and
links.

*Nothing is cut off.* A long message takes several sections, and more messages where one cannot hold them.

Limits are those of https://docs.slack.dev/reference/block-kit. How Slack counts is not told, so text is measured as it
is sent, escaped and in UTF-16 units; what all blocks of a message may have together is known from experience only.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from bt_alerts.render.look import View
from bt_alerts.render.text import shorten, split

MAX_HEADER, MAX_SECTION, MAX_FIELD = 150, 3_000, 2_000
MAX_BLOCKS = 50 - 2  # two are the header and what part it is
MAX_TOTAL = 10_000  # of the blocks of a message as JSON; msg_blocks_too_long was seen from 11,000 of text on
MAX_FALLBACK = 1_000

#: Whatever ``mrkdwn`` could take for formatting: marks, their full-width forms, emoji by name, quotes.
_FORMATS = re.compile(r"[*_~`＊＿～｀]|:(?!\d\d?:)[^\s:]+:|^\s*[>＞]", re.MULTILINE)

Block = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message to Slack, without what says where it goes.

    Args:
        rich: the fields with blocks.
        plain: the fields that say the same without any, for a service that refuses blocks.
    """

    rich: dict[str, Any]
    plain: dict[str, Any]


def escape(text: str) -> str:
    """``text`` as Slack shows it unchanged: only these three characters, as its reference says."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    """The text that :func:`escape` made ``text`` of."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def length(text: str) -> int:
    """UTF-16 units: at least as many as the characters that Slack can count."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def messages(view: View, pieces: Sequence[str], *, markup: bool = False, footer_markup: bool = False) -> list[Message]:
    """The messages of an alert, in their order.

    Args:
        view: the alert's parts, escaped with :func:`escape`.
        pieces: the text of the message, each of at most :data:`MAX_SECTION`.
        markup: ``pieces`` are in ``mrkdwn``; else they are plain.
        footer_markup: the same of the footer.
    """
    title = " ".join(unescape(view.title).split()) or view.alert.type.value
    style = view.alert.priority.style
    told = (f"{style.emoji} {view.alert.priority.value}", view.alert.type.value, view.time)
    blocks = [
        *([] if _fits(title) else map(_section, _cut(title))),  # a header cannot hold it, so it stands below as well
        *(_section(piece, markup) for piece in pieces if piece.strip()),
        *_fields(view.fields),
        _context([_plain(escape(word)) for word in told]),
        *_details(view.details),
        *([_context([_text(view.footer, footer_markup)])] if view.footer.strip() else []),
    ]
    parts = _packed(blocks)
    header = _fitted(title, MAX_HEADER)
    fallback = _fitted(f"{title}\n{unescape(view.message)}".strip(), MAX_FALLBACK)
    made = []
    for number, part in enumerate(parts, start=1):
        which = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
        if number > 1:
            fallback = f"{header} · {which}"
            top = [_context([_plain(fallback, emoji=True)])]
        else:
            top = [
                {"type": "header", "text": _plain(header, emoji=True)},
                *([_context([_plain(which)])] if which else []),
            ]
        made.append(_message(top, fallback, {"color": view.colour, "fallback": header, "blocks": part}, markup))
    return made


def _message(top: list[Block], fallback: str, bar: dict[str, Any], markup: bool) -> Message:
    links = {"unfurl_links": False, "unfurl_media": False}
    words = "\n".join(_words([*top, *bar["blocks"]]))
    # Beside blocks, "text" is for notifications. Without any it would be shown above the bar, as a second title.
    rich = {"text": fallback, "blocks": top, "attachments": [bar], **links}
    return Message(rich, {"text": words, "mrkdwn": markup, **links})


def _packed(blocks: Iterable[Block]) -> list[list[Block]]:
    """Blocks in as few messages as hold them, in their order."""
    parts: list[list[Block]] = [[]]
    total = 0
    for block in blocks:
        size = length(json.dumps(block, ensure_ascii=False))
        if parts[-1] and (len(parts[-1]) >= MAX_BLOCKS or total + size > MAX_TOTAL):
            parts.append([])
            total = 0
        parts[-1].append(block)
        total += size
    return parts


def _words(blocks: Iterable[Block]) -> list[str]:
    """The texts of blocks as they are sent, without the asterisks that are ours."""
    found = []
    for block in blocks:
        if "text" in block:
            found.append(block["text"]["text"] if "expand" in block else _bare(block["text"]))
        found += [_bare(field).replace("\n", ": ", 1) for field in block.get("fields", ())]
        if "elements" in block:
            found.append(" · ".join(element["text"] for element in block["elements"]))
    return found


def _bare(text: Block) -> str:
    return str(text["text"]).replace("*", "") if text["type"] == "mrkdwn" else str(text["text"])


# ------------------------------------------------------------------------------------------- the blocks


def _plain(text: str, *, emoji: bool = False) -> Block:
    return {"type": "plain_text", "text": text, "emoji": emoji}


def _text(text: str, markup: bool) -> Block:
    # Verbatim: a channel's name and a mention that somebody's data spells out stay what they are.
    return {"type": "mrkdwn", "text": text, "verbatim": True} if markup else _plain(text)


def _section(text: str, markup: bool = False) -> Block:
    return {"type": "section", "text": _text(text, markup), "expand": True}


def _context(elements: list[Block]) -> Block:
    return {"type": "context", "elements": elements}


def _fields(pairs: Sequence[tuple[str, str]]) -> list[Block]:
    fields = []
    for name, value in pairs:
        bold = not _FORMATS.search(f"{name}\n{value}")
        label = f"*{escape(name)}*" if bold else escape(name)
        fields.append(_text(f"{label}\n{_fitted(value, MAX_FIELD - length(label) - 1)}", bold))
    return [{"type": "section", "fields": fields[start : start + 10]} for start in range(0, len(fields), 10)]


def _details(pairs: Sequence[tuple[str, str]]) -> list[Block]:
    """Names and values as lines; names are bold where nothing in a section could be taken for formatting."""
    sections: list[list[tuple[str, str]]] = []
    total = MAX_SECTION
    for name, value in pairs:
        shown = (_fitted(" ".join(name.split()) or "–", MAX_SECTION // 3), _fitted(value, MAX_SECTION // 2))
        size = sum(map(length, shown)) + len("*: *\n")
        if total + size > MAX_SECTION:
            sections.append([])
            total = 0
        sections[-1].append(shown)
        total += size
    return [_lines(section) for section in sections]


def _lines(pairs: Sequence[tuple[str, str]]) -> Block:
    lines = [f"{name}: {value}" for name, value in pairs]
    if any(_FORMATS.search(unescape(f"{name}\n{value}")) for name, value in pairs):
        return {"type": "section", "text": _plain("\n".join(lines))}
    return {"type": "section", "text": _text("\n".join(f"*{name}:* {value}" for name, value in pairs), True)}


# ----------------------------------------------------------------------------------------------- limits


def _fits(title: str) -> bool:
    return length(escape(title)) <= MAX_HEADER


def _cut(text: str) -> list[str]:
    return [escape(part) for part in split(text, MAX_SECTION, lambda part: length(escape(part)))]


def _fitted(text: str, limit: int) -> str:
    """``text`` escaped, in at most ``limit``; cut between two characters of a reader, never inside an escape."""
    short = shorten(text, limit)
    while (over := length(escape(short)) - limit) > 0:
        short = shorten(text, min(len(short), limit) - max(1, over // 5))
    return escape(short)
