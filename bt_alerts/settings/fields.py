"""From a constructor's annotation to a type that can be read from text, and to words for a person.

Settings arrive as text, from YAML and from the environment, so a list may also be one line separated by commas, a
word may be written in any case, and the text of a credential becomes a ``SecretStr``.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, SecretStr

from bt_alerts.dispatchers.base import Credential


@dataclasses.dataclass(frozen=True, slots=True)
class Also:
    """What may be written in a file beside what the type says, where a validator makes the type of it.

    Args:
        annotation: the type of that.
    """

    annotation: Any


_CANONICAL_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)


def readable(annotation: Any, credential: bool = False) -> Any:
    """The type by which a model reads a constructor argument, ``None`` excluded.

    Args:
        annotation: as the constructor has it.
        credential: the text of it is secret.
    """
    annotation, credential = _unwrapped(annotation, credential)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(by_word(args))]
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return Annotated[annotation, BeforeValidator(by_word(list(annotation)))]
    if origin in (typing.Union, types.UnionType):
        return _readable_union([a for a in args if a is not type(None)], credential)
    base = origin or annotation
    if base in _LISTS:
        member = readable(args[0], credential) if args else readable(str, credential)
        return Annotated[list[member], BeforeValidator(as_list)]  # type: ignore[valid-type]  # made at run time
    if base is dict or (inspect.isclass(base) and issubclass(base, Mapping)):
        return dict[str, readable(args[1] if len(args) == 2 else str, credential)]  # type: ignore[misc]
    if annotation is str:
        return Annotated[SecretStr, BeforeValidator(_as_text)] if credential else str
    return annotation if inspect.isclass(annotation) else Any


def _readable_union(members: list[Any], credential: bool) -> Any:
    lists = [m for m in members if (typing.get_origin(m) or m) in _LISTS]
    if lists:  # "one address, or several" is a list
        return readable(lists[0], credential)
    if len(members) == 1:
        return readable(members[0], credential)
    union = functools.reduce(operator.or_, (readable(m, credential) for m in members))
    if str in members and (int in members or float in members):
        return Annotated[union, BeforeValidator(_number_if_canonical)]
    return union


def _unwrapped(annotation: Any, credential: bool) -> tuple[Any, bool]:
    while typing.get_origin(annotation) is Annotated:
        credential = credential or any(isinstance(note, Credential) for note in annotation.__metadata__)
        annotation = annotation.__origin__
    return annotation, credential


def as_list(value: Any) -> Any:
    """A validator's first step: a list of what may also be one text with commas, or one value."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float | SecretStr) and not isinstance(value, bool) else value


def _as_text(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


def _number_if_canonical(value: Any) -> Any:
    if isinstance(value, str) and _CANONICAL_NUMBER.fullmatch(value):  # "+49170" and "007" stay text
        return float(value) if "." in value else int(value)
    return value


def by_word(allowed: Iterable[Any]) -> Callable[[Any], Any]:
    """A validator's first step: the allowed value that ``value`` names, whatever its case."""
    words = {str(getattr(choice, "value", choice)).casefold(): choice for choice in allowed}

    def find(value: Any) -> Any:
        text = value if isinstance(value, str) else str(value) if isinstance(value, int) else None
        return value if text is None else words.get(str(text).strip().casefold(), value)

    return find


def plain(annotation: Any) -> Any:
    """The type itself, without ``Annotated`` and without ``| None``."""
    annotation, _ = _unwrapped(annotation, False)
    members = [a for a in typing.get_args(annotation) if a is not type(None)] if is_union(annotation) else []
    return plain(members[0]) if len(members) == 1 else annotation


def block_in_list(annotation: Any) -> type[BaseModel] | None:
    """The block that each member of a list is; None for a list of values, and for every other type."""
    annotation = plain(annotation)
    if typing.get_origin(annotation) not in (list, tuple):
        return None
    member = plain(typing.get_args(annotation)[0])
    return member if inspect.isclass(member) and issubclass(member, BaseModel) else None


def member_of(annotation: Any) -> Any:
    """The type of a list's members; None for what is no list."""
    annotation = plain(annotation)
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else None


# --------------------------------------------------------------------------------------------- words


def choices(annotation: Any) -> list[str]:
    """The words of a ``Literal`` or an enum; empty for every other type."""
    annotation, _ = _unwrapped(annotation, False)
    if typing.get_origin(annotation) is Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return [str(member.value) for member in annotation]
    members = [a for a in typing.get_args(annotation) if a is not type(None)]
    return choices(members[0]) if is_union(annotation) and len(members) == 1 else []


def is_union(annotation: Any) -> bool:
    """Whether this is ``A | B``."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def is_secret(annotation: Any) -> bool:
    """Whether a credential is anywhere in this type."""
    return annotation is SecretStr or any(is_secret(a) for a in typing.get_args(annotation))


def in_words(annotation: Any, limits: Iterable[Any] = ()) -> str:
    """``a whole number, 0 or more``: what to write for a field of this type.

    Args:
        annotation: the type as a model has it.
        limits: the field's metadata, with ``ge``, ``gt`` and ``le``.
    """
    if _is_duration(annotation, limits):
        return "a duration (30s, 15m, 12h, 90d)" + _limit_words(limits, _short_duration)
    return _base_words(annotation) + _limit_words(limits)


def _is_duration(annotation: Any, limits: Iterable[Any]) -> bool:
    if any(getattr(note, "func", None) is duration for note in (*limits, *getattr(annotation, "__metadata__", ()))):
        return True
    return is_union(annotation) and any(_is_duration(member, ()) for member in typing.get_args(annotation))


def _short_duration(value: float) -> str:
    unit = next(unit for unit in ("d", "h", "m", "s") if (value and value % UNITS[unit] == 0) or unit == "s")
    return f"{value / UNITS[unit]:g}{unit}"


def _base_words(annotation: Any) -> str:
    annotation, _ = _unwrapped(annotation, False)
    words = choices(annotation)
    if words:
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if is_union(annotation):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        return " or ".join(_base_words(member) for member in members)
    base = typing.get_origin(annotation) or annotation
    if block_in_list(annotation) is not None:
        return "a list of blocks of keys, each beginning with `- `"
    if base is list:
        words = choices(typing.get_args(annotation)[0]) if typing.get_args(annotation) else []
        return f"one or several of {', '.join(words)}" if words else "a list, or one line separated by commas"
    if base is dict:
        return "a block of `name: value` lines"
    if inspect.isclass(base) and issubclass(base, BaseModel):
        return "a block of keys beneath it"
    plain = {str: "text", SecretStr: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return plain.get(base, f"a {getattr(base, '__name__', 'value')}")


def _digits(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _limit_words(limits: Iterable[Any], shown: Callable[[float], str] = _digits) -> str:
    found = {name: getattr(limit, name) for limit in limits for name in ("ge", "gt", "le") if hasattr(limit, name)}
    low, high = found.get("ge"), found.get("le")
    if low is not None and high is not None:
        return f" from {shown(low)} to {shown(high)}"
    if "gt" in found:
        return f" above {shown(found['gt'])}" + (f", at most {shown(high)}" if high is not None else "")
    if low is not None:
        return f", {shown(low)} or more"
    return "" if high is None else f", at most {shown(high)}"


#: Seconds of each unit of a duration.
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w|)")


def duration(value: Any) -> Any:
    """Seconds, from a number or from text such as ``90d``, ``12h``, ``15m``, ``30s``, ``1h 30m``.

    Raises:
        ValueError: where it is text and no duration.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError("write a duration such as 30s, 15m, 12h, 90d, or a number of seconds")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


#: A field in seconds that can be written as ``15m``.
Seconds = Annotated[float, BeforeValidator(duration)]
