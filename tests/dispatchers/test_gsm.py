"""Segments and spellings of text messages. Oracles: the codec of gsm0338, and the counts of Twilio's own calculator."""

from __future__ import annotations

import sys

import gsm0338
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.dispatchers.sms import gsm
from bt_alerts.testing.poison import TEXTS

CODEC = gsm0338.Codec()
EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def septets(text: str) -> int:
    """What the other codec makes of a text: its septets, or none where a character is not in the alphabet."""
    return len(CODEC.encode(text)[0])


def in_the_codec(char: str) -> bool:
    try:
        return CODEC.decode(CODEC.encode(char)[0])[0] == char
    except UnicodeError:
        return False


def test_the_alphabet_is_that_of_another_codec() -> None:
    found = {char for char in EVERY_CHARACTER if in_the_codec(char)}
    assert found - {"\x1b"} == gsm.ALPHABET  # the escape alone is no character
    assert len(gsm.BASIC) == 127
    assert {char for char in gsm.ALPHABET if septets(char) == 2} == gsm.EXTENSION


@given(st.text(st.sampled_from(sorted(gsm.ALPHABET)), max_size=700))
def test_one_segment_holds_what_160_septets_hold(text: str) -> None:
    count = gsm.segments(text)
    assert (count <= 1) == (septets(text) <= 160)
    assert count <= 1 or count >= septets(text) / 153


# Counted by the calculator that Twilio publishes (sms-segments-calculator 1.2).
@pytest.mark.parametrize(
    ("text", "encoding", "segments"),
    [
        ("a" * 160, "GSM-7", 1),
        ("a" * 161, "GSM-7", 2),
        ("a" * 306, "GSM-7", 2),
        ("a" * 307, "GSM-7", 3),
        ("€" * 80, "GSM-7", 1),
        ("€" * 81, "GSM-7", 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 3),  # the escape is not divided from its character
        ("a" * 151 + "€" + "a" * 153, "GSM-7", 2),
        ("é€" * 60, "GSM-7", 2),
        ("д" * 70, "UCS-2", 1),
        ("д" * 71, "UCS-2", 2),
        ("д" * 134, "UCS-2", 2),
        ("д" * 135, "UCS-2", 3),
        ("🚀" * 35, "UCS-2", 1),
        ("🚀" * 36, "UCS-2", 2),
        ("🚀" * 66, "UCS-2", 2),
        ("🚀" * 67, "UCS-2", 3),  # 134 units, but 67 is odd
        ("a`b", "UCS-2", 1),
        ("a\tb", "UCS-2", 1),
    ],
)
def test_segments_are_counted_as_twilio_does(text: str, encoding: str, segments: int) -> None:
    assert (gsm.encoding(text), gsm.segments(text)) == (encoding, segments)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("“BUY” – it’s ‘on’ — «now» …", '"BUY" - it\'s \'on\' - "now" ...'),
        ("−5 ± 2 × 3 ÷ 4 ≤ 5 ≥ 6 ≠ 7 ≈ 8", "-5 +/- 2 x 3 / 4 <= 5 >= 6 != 7 ~ 8"),
        ("→ ← ↔ ⇒ ▲ ▼ 📈 📉", "-> <- <-> => (up) (down) (up) (down)"),
        ("• one\n• two", "* one\n* two"),
        ("Profit 94.07 · 4.12 % • 3·5", "Profit 94.07, 4.12 %, 3*5"),
        ("✅ filled ❌ rejected ⚠️ margin 🔴", "OK filled X rejected (!) margin (red)"),
        ("🚀 to the 🌕", ":rocket: to the :full_moon_symbol:"),
        ("👩🏾‍🚀 🇩🇪 1️⃣", ":woman::rocket: DE 1"),
        ("10² 10⁻²³ m³ H₂O", "10^2 10^-23 m^3 H2O"),
        ("1½ ½ 3¾", "1 1/2 1/2 3 3/4"),
        ("① №5 ㎏ ﬁ Ⅳ", "(1) No5 kg fi IV"),
        ("5‰ 20°C 3µs", "5/1000 20degC 3us"),
        ("β=1.2 σ, Δ and ∆", "beta=1.2 sigma, Δ and Δ"),
        ("žluťoučký kůň, Łódź, ışık", "zlutoucky kun, Lodz, isik"),
        ("a\u0301 e\u0301 u\u0308", "a é ü"),
        ("₿ ₹500 £5 €5 ¥5", "BTC INR500 £5 €5 ¥5"),
        ("a\u00a0b\u2009c\td", "a b c d"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("x\u200by\ufeffz\x07", "xyz"),
        ("`code`", "'code'"),
    ],
)
def test_what_gsm_lacks_is_spelled_in_its_characters(text: str, spelled: str) -> None:
    assert gsm.spelled(text) == spelled
    assert gsm.is_gsm(spelled)


@pytest.mark.parametrize("text", ["Цена 150", "価格は150円です", "ราคาขึ้น", "Καλημέρα", "السعر 150"])
def test_another_script_stays_as_it_is(text: str) -> None:
    assert gsm.economical(f"“{text}” …") == f"“{text}” …"


@given(st.text(max_size=400))
def test_a_spelling_never_costs_more(text: str) -> None:
    found = gsm.economical(text)
    assert gsm.segments(found) <= gsm.segments(text)
    assert gsm.is_gsm(found) or found == text
    assert gsm.economical(found) == found


@given(st.text(sorted(gsm.ALPHABET - {"\r"}), max_size=400))
def test_what_is_gsm_already_is_not_changed(text: str) -> None:
    assert gsm.economical(text) == text


def test_a_spelling_that_would_cost_more_is_not_taken() -> None:
    assert gsm.economical("🤷" * 60) == "🤷" * 60  # 2 segments; by name it would be 3


def test_every_character_is_spelled_in_gsm_or_left() -> None:
    for char in EVERY_CHARACTER:
        found = gsm.economical(char)
        assert found == char or gsm.is_gsm(found)


@pytest.mark.parametrize("most", [1, 2, 3, 10])
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_long_text_keeps_its_beginning(name: str, most: int) -> None:
    text = TEXTS[name].encode("utf-8", "replace").decode()[:3000] * 3
    found = gsm.shortened(text, most)
    assert gsm.segments(found) <= most
    if found != text:
        ellipsis = "..." if gsm.is_gsm(text) else "…"
        assert found.endswith(ellipsis)
        assert text.startswith(found.removesuffix(ellipsis).rstrip())


def test_a_shortened_text_uses_the_room() -> None:
    assert gsm.shortened("a" * 1000, 1) == "a" * 157 + "..."
    assert gsm.shortened("a" * 1000, 3) == "a" * 456 + "..."
    assert gsm.shortened("д" * 1000, 1) == "д" * 69 + "…"
    assert gsm.segments(gsm.shortened("€" * 1000, 2)) == 2
    assert gsm.shortened("👨‍👩‍👧‍👦" * 40, 1) == "👨‍👩‍👧‍👦" * 6 + "…"  # no family is divided
