"""What fits into a text message (SMS), and what it costs: the GSM 7-bit alphabet, segments, and plain spellings.

A message is paid by the segment. One of the GSM 7-bit alphabet (3GPP TS 23.038 §6.2.1) has 160 characters a segment,
any other, in UCS-2, 70: one typographic quote can triple the price. :func:`economical` spells such characters
with those of the alphabet, where that leaves no other and costs no more.

Several segments are joined by a header in each, which leaves 153 characters, or 67. A character of the extension table
counts twice, as does one beyond the basic plane in UCS-2, and is not divided between two segments.
"""

from __future__ import annotations

import bisect
import functools
import re
import unicodedata

from bt_alerts.render.text import shorten

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
ALPHABET = BASIC | EXTENSION

#: Characters of a segment: alone, and as one of several.
ONE_GSM, EACH_GSM = 160, 153
ONE_UCS2, EACH_UCS2 = 70, 67


def is_gsm(text: str) -> bool:
    """Whether every character is one of the GSM 7-bit alphabet."""
    return ALPHABET.issuperset(text)


def encoding(text: str) -> str:
    """``"GSM-7"`` or ``"UCS-2"``: how a text is sent."""
    return "GSM-7" if is_gsm(text) else "UCS-2"


def segments(text: str) -> int:
    """How many segments a text is sent and paid as; 0 where it is empty."""
    gsm = is_gsm(text)
    sizes = [2 if char in EXTENSION else 1 for char in text] if gsm else [1 + (char > "\uffff") for char in text]
    if sum(sizes) <= (ONE_GSM if gsm else ONE_UCS2):
        return min(1, len(sizes))
    each = EACH_GSM if gsm else EACH_UCS2
    count, used = 1, 0
    for size in sizes:
        if used + size > each:
            count, used = count + 1, 0
        used += size
    return count


def shortened(text: str, most: int) -> str:
    """``text`` in at most ``most`` segments; what is cut off at its end is replaced by an ellipsis of its alphabet."""
    if segments(text) <= most:
        return text
    ellipsis = "..." if is_gsm(text) else "…"
    lengths = range(1, min(len(text), most * ONE_GSM) + 1)
    fits = bisect.bisect_right(lengths, most, key=lambda length: segments(shorten(text, length, ellipsis)))
    return shorten(text, fits, ellipsis)


def economical(text: str) -> str:
    """``text`` as :func:`spelled` where that is all GSM and takes no more segments; else as it is."""
    plain = spelled(text)
    return plain if is_gsm(plain) and segments(plain) <= segments(text) else text


# ------------------------------------------------------------------------------------------ spelling

_SPELLINGS = {
    **dict.fromkeys("“”„‟«»″〝〞¨❝❞", '"'),
    **dict.fromkeys("‘’‚‛‹›′`´ʼʹˈʻʽ❛❜", "'"),
    **dict.fromkeys("‐‑‒–—―−⁃⸺", "-"),
    **dict.fromkeys("•·∙●▪■◆◦‣⁎∗★☆✱✳", "*"),
    **dict.fromkeys("→➔➜➡⟶▶►", "->"),
    **dict.fromkeys("←⬅⟵◀◄", "<-"),
    **dict.fromkeys("↔⟷", "<->"),
    **dict.fromkeys("⇒⟹", "=>"),
    **dict.fromkeys("↑⬆↗⤴▲△🔺🔼📈", "(up)"),
    **dict.fromkeys("↓⬇↘⤵▼▽🔻🔽📉", "(down)"),
    **dict.fromkeys("✓✔✅☑", "OK"),
    **dict.fromkeys("✗✘✖❌", "X"),
    **dict.fromkeys("⚠❗❕‼", "(!)"),
    **dict.fromkeys("❓❔", "?"),
    **{"🔴": "(red)", "🟠": "(orange)", "🟡": "(yellow)", "🟢": "(green)", "🔵": "(blue)", "ℹ": "(i)"},
    **{"…": "...", "‰": "/1000", "‱": "/10000", "÷": "/", "⁄": "/", "∕": "/", "×": "x", "✕": "x", "±": "+/-"},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "≡": "=", "∞": "inf", "√": "sqrt", "¬": "not ", "°": "deg"},
    **{"∆": "Δ", "∑": "Σ", "∏": "Π", "µ": "u", "¢": "c", "©": "(c)", "®": "(R)", "™": "(TM)", "¦": "|"},
    **{"₿": "BTC", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY", "₫": "VND", "₴": "UAH", "₦": "NGN", "₪": "ILS"},
    **{"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ħ": "h", "Ħ": "H"},
    **{"ı": "i", "œ": "oe", "Œ": "OE", "ŋ": "ng", "Ŋ": "Ng", "ŧ": "t", "Ŧ": "T", "ə": "e", "ẞ": "SS"},
    **dict.fromkeys("\u2028\u2029\x85\v", "\n"),
    **{"\t": " ", "。": ".", "、": ",", "∼": "~", "˜": "~", "‗": "_", "∣": "|"},
}
_GREEK = re.compile(r"(?<![\u0370-\u03ff])[α-ω](?![\u0370-\u03ff])")  # alone it is a symbol, together a word
_BETWEEN = re.compile(r"(?<=\S) +[·•∙] +")  # in a line it separates, and a star would multiply
_SUPERSCRIPTS = re.compile(r"[⁰¹²³⁴-⁹⁺⁻]+")
_DIGIT_BEFORE_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")


def spelled(text: str) -> str:
    """``text`` with what GSM lacks spelled in other characters: ``“→ 2½ %”`` is ``"-> 2 1/2 %"``, an emoji its name.

    What has no such spelling, as the letters of most scripts, is left as it is.
    """
    if is_gsm(text):
        return text.replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _GREEK.sub(lambda found: unicodedata.name(found[0]).rsplit(" ", 1)[-1].lower(), text)
    text = _BETWEEN.sub(", ", text)
    # Or 10² would be 102, and 1½ 11/2.
    text = _SUPERSCRIPTS.sub(lambda found: "^" + unicodedata.normalize("NFKD", found[0]), text)
    text = _DIGIT_BEFORE_FRACTION.sub(" ", text)
    return "".join([char if char in ALPHABET else _spelling(char) for char in text])


@functools.lru_cache(maxsize=4096)
def _spelling(char: str) -> str:
    if char in _SPELLINGS:
        return _SPELLINGS[char]
    category = unicodedata.category(char)
    if category in {"Mn", "Me", "Cf", "Cc", "Sk"}:  # accents, joiners, direction marks, skin tones
        return ""
    if category == "Zs":
        return " "
    decomposed = unicodedata.normalize("NFKD", char)
    if decomposed != char:
        plain = "".join(part if part in ALPHABET else _spelling(part) for part in decomposed)
        circled = unicodedata.decomposition(char).startswith("<circle>")
        return char if not is_gsm(plain) else f"({plain})" if circled else plain
    name = unicodedata.name(char, "").lower()
    if name.startswith("regional indicator symbol letter "):  # two of them are a flag: DE
        return name[-1].upper()
    return f":{name.replace(' ', '_')}:" if name and category[0] in "SP" else char
