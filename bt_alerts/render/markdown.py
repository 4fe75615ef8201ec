"""Text for services that read CommonMark, such as the cards of Microsoft Teams.

Only what would change is escaped, because some of their apps show the backslash.
"""

from __future__ import annotations

import re

_MARKUP = re.compile(
    r"[*`\[]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it means nothing
    r"|~(?=~)"
    r"|\\(?=[!-/:-@\[-`{-~])"
    r"|<(?=\S)"
    r"|&(?=#?\w+;)"
    r"|(?<=\{)\{"  # {{DATE(…)}} of a card
    r"|^[-+](?=\s|-|$)|^#(?=#*(?:\s|$))|^>",
    re.MULTILINE,
)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_NUMBERED = re.compile(r"^([0-9]{1,9})([.)])(?=\s|$)", re.MULTILINE)


def escape(text: str) -> str:
    """``text`` so that a reader sees it as it is. Indents become no-break spaces, for others make code of a line."""
    indented = _INDENT.sub(lambda found: "\N{NO-BREAK SPACE}" * len(found[0]), text)
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", indented))


def paragraphs(text: str) -> str:
    """Each line of ``text`` as a paragraph, because lines that follow each other are joined."""
    return text.replace("\n", "\n\n")
