"""Phone numbers as the ITU's E.164 writes them: plus, country's code, the rest. They are personal: never shown."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Target, register_secrets_in

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_BETWEEN = re.compile(r"[\s().\-/\u2010-\u2015]")
EXAMPLE = "+447700900123"


def number(text: object, argument: str) -> str:
    """One number without spaces, dashes and brackets.

    Args:
        text: as somebody wrote it.
        argument: its name, for the error.

    Raises:
        ValueError: where it is none. The text does not show the number.
    """
    written = str(text).strip()
    found = _BETWEEN.sub("", written)
    if _E164.fullmatch(found) and "(0)" not in written:
        return found
    wanted = f"{argument} must be written as {EXAMPLE}"
    if "(0)" in written:
        raise ValueError(f"{wanted}: leave out the (0)")
    if found.isascii() and found.isdigit():
        if found.startswith("00"):
            raise ValueError(f"{wanted}: a plus instead of the 00")
        raise ValueError(
            f"{wanted}: there is no plus. Outside of quotes some YAML readers drop it: write it in quotes, and a "
            "number that begins with 0 with its country's code instead"
        )
    raise ValueError(f"{wanted}: a plus, the country's code and the number, 7 to 15 digits")


def numbers(value: object, argument: str = "to") -> list[str]:
    """Several numbers, as a list or as one text with commas, each once; they are registered as secrets."""
    several: Sequence[object] = [] if value is None else [value]
    if isinstance(value, str):
        several = re.split(r"[,;\n]", value)
    elif isinstance(value, Sequence):
        several = value
    register_secrets_in([str(each) for each in several])
    found = list(dict.fromkeys(number(each, argument) for each in several if str(each).strip()))
    register_secrets_in([form for each in found for form in (each, each.removeprefix("+"))])
    return found


def as_targets(found: Sequence[str]) -> list[Target]:
    """A target for each number, with its last four digits to tell it by."""
    ends = collections.Counter(each[-4:] for each in found)
    return [
        Target(each, f"…{each[-4:]}" if ends[each[-4:]] == 1 else f"…{each[-4:]} #{Target(each).key[:6]}")
        for each in found
    ]


def left_behind(alert: Alert) -> str:
    """What a receipt says of files, which no message by phone has a place for; empty where there are none."""
    return f"sent without its {len(alert.attachments)} file(s)" if alert.attachments else ""
