"""What can be said about a rule without any alert: which kinds, fields and alerts its ``when`` can be about at all.

Every answer is on the safe side: "never" and "the same" are certain, and what cannot be decided here is taken to work.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from bt_alerts.alert import AlertType, Priority
from bt_alerts.kinds import KINDS, data_of
from bt_alerts.rules.when import Comparison, When, fits
from bt_alerts.settings import sentences

_WILD = frozenset("*?[")
#: What kinds of our own begin with. Strategies have signals of many kinds, so these are not among them.
_FAMILIES = frozenset(kind.partition(".")[0] + "." for kind in KINDS if "." in kind) - {"signal."}
_SLIP = 0.85  # how alike a word must be to a known kind to be a slip; a program can have kinds of its own
_SLIP_OF_FIELD = 0.75
#: Fields that any alert can have.
_ANYWHERE = frozenset({"resolves"})


# --------------------------------------------------------------------------------------------------- kinds


def kind_problem(word: str) -> str:
    """What is wrong with the name of a kind; empty where nothing is, or where it can be one of the user's own."""
    folded = word.casefold()
    if fits_any(word):
        return ""
    own = _family(folded)
    told = f"there is no kind of event {sentences.shown(word)}"
    if _WILD & set(word):
        return f"{told}; use one of {', '.join(own)}" if own else ""
    near = difflib.get_close_matches(folded, KINDS, n=1, cutoff=_SLIP)
    if near:
        return f"{told}; did you mean `{near[0]}`?"
    return f"{told}; use one of {', '.join(own)}" if own else ""


def fits_any(word: str) -> list[str]:
    """The known kinds that a word, which may have ``*``, names."""
    return [kind for kind in KINDS if fits(kind, (word,))]


def _family(folded: str) -> list[str]:
    """The kinds of the family that a word names; none where it can be the user's own."""
    prefix = folded.partition(".")[0] + "."
    return [kind for kind in KINDS if kind.startswith(prefix)] if "." in folded and prefix in _FAMILIES else []


def known_kinds(words: Sequence[str]) -> list[str] | None:
    """The kinds that words name; None where it could be some of the user's own too."""
    found: list[str] = []
    for word in words:
        named = fits_any(word)
        if not named or (_WILD & set(word) and not _family(word.casefold())):
            return None
        found += named
    return list(dict.fromkeys(found))


def excluded_type(when: When) -> AlertType | None:
    """A type of its kinds, where all of these are of other types than the named ones; None where they go together."""
    kinds = known_kinds(when.kinds) if when.kinds and when.types else None
    if not kinds or any(KINDS[kind].type in when.types for kind in kinds):
        return None
    return KINDS[kinds[0]].type


def field_problem(path: str, whens: Sequence[When]) -> str:
    """What is wrong with a field of the data of alerts that any of these is about; empty where nothing is."""
    field = path.partition(".")[0]
    each = [known_fields(when) for when in whens]
    known = frozenset[str]().union(*(fields for fields in each if fields is not None))
    if None in each or field in known:
        return ""
    told = f"alerts of this kind have no field {sentences.shown(field)}"
    certain = all(when.kinds for when in whens)  # of a type alone a program can make alerts with data of its own
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.6 if certain else _SLIP_OF_FIELD)
    if near:
        return f"{told}; did you mean `{near[0]}`?"
    return f"{told}; use one of {', '.join(sorted(known))}" if certain else ""


def known_fields(when: When) -> frozenset[str] | None:
    """The fields that data of these alerts has, as far as they are our own; None where that is not known."""
    types = set(when.types)
    if when.kinds:
        kinds = known_kinds(when.kinds)
        if kinds is None:
            return None
        sources = [kind for kind in kinds if not types or KINDS[kind].type in types]
    else:
        sources = [*(word.value for word in types), *(kind for kind in KINDS if KINDS[kind].type in types)]
    fields = [data_of(source) for source in sources]
    known = [each for each in fields if each is not None]
    return _ANYWHERE.union(*known) if known and len(known) == len(fields) else None


# ---------------------------------------------------------------------------------------------- comparisons


def contradiction(comparisons: Sequence[Comparison]) -> tuple[int, Comparison] | None:
    """The first comparison that cannot be true with those before it, by its place, and one of these."""
    for place, last in enumerate(comparisons):
        before = [each for each in comparisons[:place] if each.field == last.field]
        if before and _impossible([*before, last]):
            return place, next((each for each in before if _impossible([each, last])), before[-1])
    return None


def _impossible(comparisons: Iterable[Comparison]) -> bool:
    """Whether no value of one field makes all of them true."""
    numbers = [(each.sign, each.value) for each in comparisons if isinstance(each.value, float)]
    texts = [(each.sign, each.value.casefold()) for each in comparisons if isinstance(each.value, str)]
    return _no_number(numbers) or _no_text(texts) or bool(numbers and any(_no_numeral(*text) for text in texts))


def _no_numeral(sign: str, text: str) -> bool:
    """Whether a text must be what no number looks like."""
    try:
        float(text)
    except ValueError:
        return sign == "=="
    return False


def _no_text(texts: Iterable[tuple[str, str]]) -> bool:
    equal = {text for sign, text in texts if sign == "=="}
    return len(equal) > 1 or bool(equal & {text for sign, text in texts if sign == "!="})


def _no_number(numbers: Iterable[tuple[str, float]]) -> bool:
    """Whether the interval that they leave is empty."""
    low, low_in, high, high_in = -math.inf, False, math.inf, False
    never: set[float] = set()
    for sign, value in numbers:
        if sign == "!=":
            never.add(value)
        if sign in {">", ">=", "=="} and (value, sign == ">") > (low, not low_in):
            low, low_in = value, sign != ">"
        if sign in {"<", "<=", "=="} and (value, sign != "<") < (high, high_in):
            high, high_in = value, sign != "<"
    if low == high:
        return not (low_in and high_in) or low in never
    return low > high


# --------------------------------------------------------------------------------------------- two of them


def covers(first: When, second: When) -> bool:
    """Whether every alert that the second is about is one that the first is about, for certain."""
    priority = first.priority is None or (second.priority is not None and second.priority >= first.priority)
    return (
        priority
        and _all_in(second.types, first.types)
        and _all_in(map(str.casefold, second.kinds), map(str.casefold, first.kinds))
        and _all_in(map(str.casefold, second.symbols), map(str.casefold, first.symbols))
        and _all_in(map(str.casefold, second.strategies), map(str.casefold, first.strategies))
        and _all_in(second.sources, first.sources)
        and set(first.data) <= set(second.data)
        and _all_in(second.hours, first.hours)
    )


def _all_in(inner: Iterable[object], outer: Iterable[object]) -> bool:
    """Whether a part that names ``inner`` is within one that names ``outer``; one that names nothing is about all."""
    few, many = set(inner), set(outer)
    return not many or (bool(few) and few <= many)


def never_both(first: When, second: When) -> bool:
    """Whether no alert can be one that both are about, for certain."""
    return (
        _apart(first.types, second.types)
        or _apart(first.sources, second.sources)
        or any(
            _apart(map(str.casefold, one), map(str.casefold, other))
            for one, other in (
                (first.kinds, second.kinds), (first.symbols, second.symbols), (first.strategies, second.strategies)
            )
            if not any(_WILD & set(word) for word in (*one, *other))
        )
        or contradiction([*first.data, *second.data]) is not None
    )  # fmt: skip


def _apart(one: Iterable[object], other: Iterable[object]) -> bool:
    these, those = set(one), set(other)
    return bool(these) and bool(those) and not these & those


def empty_range(least: Priority | None, through: Priority | None) -> bool:
    """Whether everything of ``least`` priority or above is let through."""
    return least is not None and through is not None and least >= through
