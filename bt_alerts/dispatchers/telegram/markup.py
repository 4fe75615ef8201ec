"""Telegram's two markup languages: made safe, taken off again, and measured.

The rules are those of https://core.telegram.org/bots/api#formatting-options. A mode is ``"HTML"``, ``"MarkdownV2"`` or
empty for plain text.
"""

from __future__ import annotations

import html
import re

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
# Only what is written like a tag: "profit < 5 and loss > 3" is text.
_TAG = re.compile(r"""</?[A-Za-z][\w-]*(?:\s+[\w-]+\s*=\s*(?:"[^"]*"|'[^']*'|[\w.-]+))*\s*/?>""")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")  # Telegram knows no other names
_RESERVED = re.compile(r"([_*\[\]()~`>#+\-=|{}.!\\])")
_ESCAPED = re.compile(r"\\([\x01-\x7e])")
_MARK = re.compile(_ESCAPED.pattern + r"|[*_~`]|\|\|")


def escape_html(text: str) -> str:
    """``text`` as HTML shows it, also inside the quotes of a link's address."""
    return text.translate(_HTML)


def escape_markdown(text: str) -> str:
    """``text`` as MarkdownV2 shows it, wherever it stands: every reserved character may be escaped everywhere."""
    return _RESERVED.sub(r"\\\1", text)


def without_markup(text: str, parse_mode: str) -> str:
    """What remains for a reader when Telegram refused the markup; nothing that was escaped is lost.

    Args:
        text: in the markup of ``parse_mode``.
        parse_mode: which one it is.
    """
    if parse_mode == "HTML":
        return _ENTITY.sub(lambda found: html.unescape(found[0]), _TAG.sub("", text))
    return _MARK.sub(lambda found: found[1] or "", text) if parse_mode else text


def length(text: str, parse_mode: str) -> int:
    """``text`` as Telegram counts it against 4,096 or 1,024, or a little more: what a reader sees, the markup not.

    Its server counts code points, its apps UTF-16 units, which are never fewer: these are taken. The marks of
    MarkdownV2 are counted, because inside code they are text. Raw text has a limit of its own, 32,768 bytes, eight
    times 4,096.
    """
    shown = _ESCAPED.sub(r"\1", text) if parse_mode == "MarkdownV2" else without_markup(text, parse_mode)
    return max(len(shown.encode("utf-16-le", "replace")) // 2, -(-len(text.encode("utf-8", "replace")) // 8))
