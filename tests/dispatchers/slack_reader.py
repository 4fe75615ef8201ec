"""What Slack would say to a message, asked of the models of its own SDK, and what a reader sees of it."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from slack_sdk.models.blocks import Block

MAX_BLOCKS, MAX_TEXT = 50, 40_000
#: What ``mrkdwn`` shows as something else than it is; "_" inside a word is none of it.
FORMATS = re.compile(r"(?<!\w)([*_~`])(?=\S)[^\n]*?\S\1(?!\w)|^(?:&gt;|>)|:[a-z_+-]+:|<[^>]*>", re.MULTILINE)


def blocks(sent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All blocks of a message, in the order of their showing."""
    return [*sent.get("blocks", []), *(block for bar in sent.get("attachments", []) for block in bar["blocks"])]


def texts(sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The text objects of a message's blocks."""
    for block in blocks(sent):
        yield from [block["text"]] if "text" in block else []
        yield from block.get("fields", [])
        yield from block.get("elements", [])


def shown(sent: Mapping[str, Any]) -> str:
    """What a reader sees; markup that somebody's template put there is left as it is."""
    if not sent.get("blocks"):
        return html.unescape(sent["text"])  # with blocks, "text" is for notifications
    lines = "\n".join(html.unescape(text["text"]) + ("\0" if is_piece(text, sent) else "") for text in texts(sent))
    return lines.replace("\0\n", "").replace("\0", "")


def is_piece(text: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether a text goes on in the next block."""
    sections = blocks(sent)
    pairs = itertools.pairwise(sections)
    return any(one.get("text") is text and "expand" in one and "expand" in other for one, other in pairs)


def assert_accepted(sent: Mapping[str, Any]) -> None:
    """Raise where Slack's own models refuse a block, or a limit that they do not know is not kept."""
    for group in [sent.get("blocks", []), *(bar["blocks"] for bar in sent.get("attachments", []))]:
        parsed = Block.parse_all(group)
        assert [block.type for block in parsed] == [block["type"] for block in group]
        for model, given in zip(parsed, group, strict=True):
            model.validate_json()
            assert model.to_dict() == given
        assert len(group) <= MAX_BLOCKS
    for block in blocks(sent):
        assert len(block.get("fields", [])) <= 10
        assert all(1 <= len(field["text"]) <= 2000 for field in block.get("fields", []))
    for text in texts(sent):
        assert 1 <= units(text["text"]) <= 3000
        assert_escaped(text["text"])
        assert text["type"] == "plain_text" or text["verbatim"] is True
    assert units("".join(text["text"] for text in texts(sent))) <= 10_500
    assert sent["text"].strip()
    assert len(sent["text"]) <= MAX_TEXT
    assert_escaped(sent["text"])
    assert {"link_names", "parse"} & sent.keys() == set()
    assert (sent["unfurl_links"], sent["unfurl_media"]) == (False, False)


def assert_escaped(text: str) -> None:
    assert "<" not in text
    assert ">" not in text
    assert re.search(r"&(?!(amp|lt|gt);)", text) is None


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
