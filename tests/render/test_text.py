"""Cutting text: to the limit, between the characters that a reader sees, and without losing any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.render.text import shorten, split

CLUSTERS = {
    "accent": "e\u0301",
    "several marks": "a\u0308\u0323\u0301",
    "family": "👨\u200d👩\u200d👧\u200d👦",
    "skin tone": "👍\U0001f3fd",
    "profession with skin tone": "👩\U0001f3fe\u200d🚀",
    "variation selector": "ℹ\ufe0f",
    "keycap": "1\ufe0f\u20e3",
    "flag": "🇩🇪",
    "flag of tags": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "hangul jamo": "\u1112\u1161\u11ab",
    "hangul syllable and tail": "\uac00\u11ab",
    "devanagari vowel": "कि",
    "thai": "กำ"[:1] + "\u0e34",
    "thai vowel that is a letter": "ก\u0e33",
    "devanagari conjunct": "क\u094dष",
    "arabic number sign": "\u06001",
    "line end": "\r\n",
}

texts = st.text(st.sampled_from([*"ab \n\r", *"".join(CLUSTERS.values()), "🇫", "🇷", "한"]), max_size=60)


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS.keys())
def test_a_cluster_is_never_cut(cluster: str) -> None:
    for before in range(3):
        text = "x" * before + cluster * 5
        for limit in range(len(cluster), len(text)):
            for part in split(text, limit):
                assert part.replace("x", "").replace(cluster, "") == ""


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS.keys())
def test_shortening_never_cuts_a_cluster(cluster: str) -> None:
    text = cluster * 5
    for limit in range(len(cluster) + 1, len(text)):
        assert shorten(text, limit).removesuffix("…").replace(cluster, "") == ""


def test_flags_are_cut_between_pairs_counted_from_their_first() -> None:
    assert split("a🇩🇪🇫🇷🇮🇹", 4) == ["a🇩🇪", "🇫🇷🇮🇹"]


@given(texts, st.integers(1, 20))
def test_parts_recombine_and_keep_the_limit(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts) or parts == [""]


@given(st.text(max_size=100), st.integers(1, 20))
def test_parts_of_any_text_recombine_and_keep_the_limit(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(len(part) <= limit for part in parts)


@given(texts, st.integers(0, 20))
def test_a_short_text_keeps_the_limit(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or short.endswith("…") or limit <= 1


def test_what_fits_is_left_alone() -> None:
    assert shorten("exactly", 7) == "exactly"
    assert split("exactly", 7) == ["exactly"]
    assert split("", 7) == [""]


def test_parts_end_at_lines_and_words_where_they_can() -> None:
    assert split("first line\nsecond line", 14) == ["first line\n", "second line"]
    assert split("some more words", 12) == ["some more ", "words"]


def test_a_cluster_longer_than_the_limit_is_cut_rather_than_kept_for_ever() -> None:
    zalgo = "a" + "\u0301" * 5000
    assert "".join(split(zalgo, 100)) == zalgo
    assert len(shorten(zalgo, 100)) <= 100


def test_parts_of_no_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="the limit must be 1 or more"):
        split("text", 0)


@given(st.text(max_size=60), st.integers(4, 30))
def test_parts_can_be_measured_in_bytes(text: str, limit: int) -> None:
    parts = split(text, limit, lambda part: len(part.encode("utf-8", "surrogatepass")))
    assert "".join(parts) == text
    assert all(len(part.encode("utf-8", "surrogatepass")) <= limit for part in parts if len(part) > 1)
