"""What somebody in Teams sees of a card: its Markdown, read by a library that nobody here wrote."""

from __future__ import annotations

import html
import logging
import re
from typing import Any

from markdown_it import MarkdownIt

from bt_alerts.testing import Received

logging.getLogger("markdown_it").setLevel(logging.INFO)
MARKDOWN = MarkdownIt("commonmark", {"html": False})
PARAGRAPHS = re.compile(r"</p>\n<p>")


def shown(text: str) -> str:
    """``text`` as a card shows it; fails where anything in it is more than a paragraph."""
    rendered = MARKDOWN.render(text).strip()
    inside = PARAGRAPHS.sub("\n", rendered.removeprefix("<p>").removesuffix("</p>"))
    assert re.search("<[a-z/]", inside) is None, f"markup in {inside[:200]!r}"
    return html.unescape(inside).replace("\N{NO-BREAK SPACE}", " ")


def body(request: Received) -> list[dict[str, Any]]:
    """The blocks of a card."""
    (attachment,) = request.json()["attachments"]
    return list(attachment["content"]["body"])
