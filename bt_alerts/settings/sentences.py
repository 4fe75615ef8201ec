"""What is wrong with a value and what to write instead, in a person's words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bt_alerts.redact import MASK, harmless, redact
from bt_alerts.settings.fields import choices, in_words, is_secret
from bt_alerts.settings.layers import printable

MAX_SHOWN = 60


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that ``word`` is most likely a slip of, or nothing."""
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:MAX_SHOWN].lower().replace("-", "_"), lowered, n=1)
    return lowered[near[0]] if near else ""


def unknown_key(key: str, known: Collection[str], later: Collection[str] = ()) -> str:
    """``unknown key; did you mean `priority`?``"""
    if key in later:
        return f"`{key}:` is not available in this version; remove it"
    near = nearest(key, known)
    if near:
        return f"unknown key; did you mean `{near}`?"
    return f"unknown key; remove it, or use one of {', '.join(sorted(known))}" if known else "unknown key; remove it"


def wrong_value(error: Mapping[str, Any], annotation: Any, limits: Collection[Any], value: Any) -> str:
    """What to write instead of ``value``, which is not shown where it is a credential.

    Args:
        error: one of pydantic's errors; only its type and context are used.
        annotation: the type of the field.
        limits: the field's metadata.
        value: what was given.
    """
    if error["type"] in {"value_error", "assertion_error"}:
        return without(redact(error["ctx"]["error"]), value)
    told = f"write {in_words(annotation, limits)}"
    if error["type"] == "too_short":
        return f"{told}; it is empty, and needs one at least"
    if is_secret(annotation):
        return told
    told += f", not {shown(value)}"
    near = nearest(value, choices(annotation)) if isinstance(value, str) else ""
    return f"{told}; did you mean `{near}`?" if near else told


def shown(value: Any) -> str:
    """A wrong value as it may stand in a sentence."""
    if isinstance(value, Mapping):
        return "a block of keys"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        if not harmless(value):
            return f"`{MASK}` ({len(value)} characters)"
        return named(value) if value else "an empty text"
    if isinstance(value, bool | int | float):
        return f"`{printable(str(value), MAX_SHOWN)}`"
    return f"a {type(value).__name__}"


def named(text: str) -> str:
    """A name that stands somewhere else too, as it may stand in a sentence."""
    return f"`{printable(redact(text), MAX_SHOWN)}`"


def without(told: str, value: Any) -> str:
    """A sentence without what of a value could be a credential."""
    for text in _texts(value):
        for part in (text, *re.split(r"[\s,]+", text)):
            if part and not harmless(part):
                told = told.replace(part, MASK)
    return told


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for member in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(member)
