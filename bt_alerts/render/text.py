"""Text for services: cut to their limits between the characters that a reader sees, and put together the same way.

A "character" of a reader is a grapheme cluster (Unicode Standard Annex 29): a letter with its accents, a flag of two
regional indicators, a family of emoji joined by zero-width joiners. The rules here are those of the annex as far as
:mod:`unicodedata` tells; where it does not, they join rather than cut.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Callable

_ZWJ = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)  # the flags of Scotland and Wales
_REGIONAL = range(0x1F1E6, 0x1F200)
_VOWELS_AM = "\u0e33\u0eb3"  # letters to Unicode's categories, and a part of the letter before them to a Thai or a Lao
_VIRAMAS = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d"  # they join two consonants of an Indic script into one
_PREPENDED = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2\u0d4e"  # signs over what follows them


def shorten(text: str, limit: int, ellipsis: str = "…") -> str:
    """``text`` in at most ``limit`` characters, ``ellipsis`` included where something was cut off."""
    if len(text) <= limit:
        return text
    room = limit - len(ellipsis)
    if room <= 0:
        return text[: _boundary(text, 0, limit)] if limit > 0 else ""
    return text[: _boundary(text, 0, room)].rstrip() + ellipsis


def split(text: str, limit: int, size: Callable[[str], int] = len) -> list[str]:
    """Parts of at most ``limit`` that joined give ``text`` exactly.

    Each part ends at a line's end, else at a space, where one stands in its second half; else between two clusters.

    Args:
        text: what is too long.
        limit: the greatest size of a part.
        size: how a text is measured; what is added to a text must not make it smaller.

    Raises:
        ValueError: where ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError(f"cannot split text into parts of {limit} characters: the limit must be 1 or more")
    parts = []
    start = 0
    while start < len(text) and (furthest := _furthest(text, start, limit, size)) < len(text):
        end = _good_end(text, start, furthest)
        parts.append(text[start:end])
        start = end
    if start < len(text) or not parts:
        parts.append(text[start:])
    return parts


def _furthest(text: str, start: int, limit: int, size: Callable[[str], int]) -> int:
    """Where a part that begins at ``start`` must end; one character at least, so that it goes on."""
    if size is len:
        return min(len(text), start + limit)
    most = min(len(text), start + limit)
    ends = range(start + 1, most + 1)
    return start + max(1, bisect.bisect_right(ends, limit, key=lambda end: size(text[start:end])))


def _good_end(text: str, start: int, furthest: int) -> int:
    for mark in "\n ":
        found = text.rfind(mark, (start + furthest) // 2, furthest)
        if found > start and _is_break(text, found + 1, start):
            return found + 1
    return _boundary(text, start, furthest)


def _boundary(text: str, start: int, furthest: int) -> int:
    """The last place at or before ``furthest`` where a cluster ends; ``furthest`` where one alone is longer."""
    at = furthest
    while at > start and not _is_break(text, at, start):
        at -= 1
    return at if at > start else furthest


def _is_break(text: str, at: int, start: int) -> bool:
    """Whether a reader sees two characters on the two sides of ``at``."""
    if at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":
        return False
    if before in "\r\n" or after in "\r\n":
        return True
    if _extends(after) or before == _ZWJ or before in _PREPENDED:
        return False
    if before in _VIRAMAS and unicodedata.category(after) == "Lo":
        return False
    if ord(before) in _REGIONAL and ord(after) in _REGIONAL:
        first = at - 1
        while first > start and ord(text[first - 1]) in _REGIONAL:
            first -= 1
        return (at - first) % 2 == 0  # they pair up from the left
    return not _hangul_joins(ord(before), ord(after))


def _extends(char: str) -> bool:
    """Combining marks, variation selectors, joiners, skin tones and tags belong to what stands before them."""
    if char < "\u0300":
        return False
    return (
        char in "\u200c\u200d"
        or char in _VOWELS_AM
        or unicodedata.category(char)[0] == "M"
        or ord(char) in _SKIN_TONES
        or ord(char) in _TAGS
    )


def _hangul_joins(before: int, after: int) -> bool:
    if not 0x1100 <= before <= 0xD7A3:
        return False
    leads = 0x1100 <= before <= 0x115F
    syllable = 0xAC00 <= before <= 0xD7A3
    if leads:
        return 0x1100 <= after <= 0x11A7 or 0xAC00 <= after <= 0xD7A3
    if 0x1160 <= before <= 0x11A7 or (syllable and (before - 0xAC00) % 28 == 0):
        return 0x1160 <= after <= 0x11FF
    return (syllable or 0x11A8 <= before <= 0x11FF) and 0x11A8 <= after <= 0x11FF
