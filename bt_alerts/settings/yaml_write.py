"""How values are written into a YAML file: without quotes wherever they are read back as they are.

Values are text, as for :mod:`bt_alerts.settings.yaml_source`. Where they go is decided in
:mod:`bt_alerts.settings.yaml_edit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from bt_alerts.settings.yaml_source import NOTHING

INDENT = 2  # spaces of a new block


def as_written(value: Any) -> Any:
    """A Python value as it stands in a settings file: text, a list or a mapping of these.

    Raises:
        TypeError: where there is no way to write it.
    """
    value = getattr(value, "value", value) if hasattr(type(value), "__members__") else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): as_written(member) for key, member in value.items() if member is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_written(member) for member in value if member is not None]
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"settings hold text, numbers, true and false, lists and blocks, not {type(value).__name__}")


def scalar_text(text: str, style: str | None = None, *, key: bool = False, flow: bool = False) -> str:
    """``text`` so that it is read back as it is, without quotes where it can be and none were there."""
    if style == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    if style != '"' and text not in NOTHING and not (key and text == "<<") and _is_plain(text, key, flow):
        return text
    quoted: str = yaml.dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.rstrip("\n")


def _is_plain(text: str, key: bool, flow: bool) -> bool:
    """Whether it needs no quotes: on a line of its own; with ``flow``, or as a key, in brackets too."""
    if not text.isprintable():
        return False
    inner = f"{text}: x" if key else f"k: {text}"
    try:
        for written in (inner, f"{{{inner}}}")[: 1 + (flow or key)]:
            node: Any = yaml.compose(written, yaml.BaseLoader)
            ((name, value),) = node.value
            if any(not isinstance(part, yaml.ScalarNode) or part.style is not None for part in (name, value)):
                return False
            if (name.value, value.value) != ((text, "x") if key else ("k", text)):
                return False
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        return False
    return True


def flow_text(value: Any) -> str:
    """A value in brackets, on one line."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{scalar_text(key, key=True)}: {flow_text(member)}" for key, member in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(flow_text, value)) + "]"
    return scalar_text(value, flow=True)


def lines_of_entry(key: str | None, value: Any, indent: int) -> list[str]:
    """An entry of a block (or, without a key, of a list) as lines."""
    head = " " * indent + ("-" if key is None else f"{scalar_text(key, key=True)}:")
    if isinstance(value, dict) and value:
        inside = [line for name, member in value.items() for line in lines_of_entry(name, member, indent + INDENT)]
        if key is None:
            return [f"{head} {inside[0].lstrip(' ')}", *inside[1:]]
        return [head, *inside]
    if isinstance(value, list) and key is not None and any(isinstance(member, dict) for member in value):
        return [head, *(line for member in value for line in lines_of_entry(None, member, indent + INDENT))]
    return [f"{head} {scalar_text(value) if isinstance(value, str) else flow_text(value)}"]


def lines_of_block(value: dict[str, Any]) -> list[str]:
    """A block as lines."""
    return [line for key, member in value.items() for line in lines_of_entry(key, member, 0)]
