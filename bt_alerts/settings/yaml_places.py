"""Where in a YAML text each value stands, and what it says.

Scalars stay text, as for :mod:`bt_alerts.settings.yaml_source`, which reads settings; here nothing is filled in.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import yaml

from bt_alerts.errors import SettingsError
from bt_alerts.settings.layers import MAX_DEPTH, MAX_VALUES
from bt_alerts.settings.yaml_source import NOTHING, composed

BLOCK_SCALARS = ("|", ">")
_WRAPPERS = (yaml.StreamStartEvent, yaml.DocumentStartEvent)
_BEFORE_BLOCK = re.compile(r"(?:[&!]\S*|\s|#[^\n]*)*")


@dataclasses.dataclass(slots=True)
class Node:
    """A value and its place. ``entries`` are the members of a block (with keys) or of a list (without)."""

    start: int
    end: int  # of the last character that belongs to it: no comment after it
    column: int
    kind: str = "text"  # or "block", "list"
    text: str = ""
    style: str | None = None
    flow: bool = False  # written in brackets
    alias: bool = False
    entries: list[tuple[Node | None, Node]] = dataclasses.field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether it counts as not given."""
        return self.kind == "text" and self.style is None and self.text in NOTHING

    def find(self, key: str | int) -> int | None:
        """The number of the entry with this key; None where there is none."""
        if self.kind == "list" and isinstance(key, int):
            return key if 0 <= key < len(self.entries) else None
        if self.kind == "block" and isinstance(key, str):
            for number, (name, _) in enumerate(self.entries):
                if name is not None and name.text == key and not is_merge(name):
                    return number
        return None


def is_merge(key: Node) -> bool:
    """Whether this key is ``<<``, which takes in another block."""
    return key.style is None and key.text == "<<"


def parsed(text: str, shown: str) -> Node | None:
    """The tree of places; None where the text holds no value.

    Raises:
        SettingsError: where it is no YAML.
    """
    return None if composed(text, shown) is None else _Places(text, shown).node()


class _Places:
    """Makes the tree of places from the parser's events: unlike its nodes, these know where an alias stands."""

    def __init__(self, text: str, shown: str) -> None:
        self._text = text
        self._shown = shown
        self._events: Iterator[Any] = iter(yaml.parse(text, yaml.BaseLoader))
        self._anchors: dict[str, Node] = {}
        self._end = 0  # of the collection that ended last

    def node(self) -> Node | None:
        """The next value with all that is in it; None where the collection around it ends."""
        event: Any = next(event for event in self._events if not isinstance(event, _WRAPPERS))
        node = Node(event.start_mark.index, event.end_mark.index, event.start_mark.column)
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionEndEvent):
            self._end = node.end
            return None
        if isinstance(event, yaml.AliasEvent):
            same = self._anchors.get(str(anchor))
            if same is None:
                line = self._text.count("\n", 0, node.start) + 1
                raise SettingsError([f"{self._shown}:{line}: an alias stands inside of what it names; remove it"])
            return dataclasses.replace(same, start=node.start, end=node.end, column=node.column, alias=True)
        if isinstance(event, yaml.ScalarEvent):
            node.text, node.style = event.value, event.style or None
            if event.style in BLOCK_SCALARS:
                node.end = node.start + len(self._text[node.start : node.end].rstrip())
        else:
            self._members(node, event)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _members(self, node: Node, event: Any) -> None:
        node.flow = event.flow_style
        if not node.flow:
            found = _BEFORE_BLOCK.match(self._text, node.start)  # an anchor can stand in front of it
            assert found is not None
            node.start = found.end()
            node.column = node.start - self._text.rfind("\n", 0, node.start) - 1
        members: list[Node] = []
        while (member := self.node()) is not None:
            members.append(member)
        if isinstance(event, yaml.SequenceStartEvent):
            node.kind = "list"
            node.entries = [(None, member) for member in members]
        else:
            node.kind = "block"
            node.entries = list(zip(members[::2], members[1::2], strict=True))
        node.end = self._end if node.flow else members[-1].end


class Plain:
    """From places to plain values, as the loader reads them: aliases and merged blocks filled in."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._count = 0

    def of(self, node: Node | None, depth: int = 0) -> Any:
        """The plain value of a place."""
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise SettingsError([f"{self._shown}: too many values or levels (do aliases repeat each other?)"])
        if node is None or node.empty:
            return None
        if node.kind == "text":
            return node.text
        if node.kind == "list":
            return [self.of(member, depth + 1) for _, member in node.entries]
        block: dict[str, Any] = {}
        for key, value in node.entries:
            if key is not None and is_merge(key):
                for merged in [member for _, member in value.entries] if value.kind == "list" else [value]:
                    taken = self.of(merged, depth + 1)
                    block = {**taken, **block} if isinstance(taken, dict) else block
        for key, value in node.entries:
            if key is not None and not is_merge(key):
                block[key.text] = self.of(value, depth + 1)
        return block


def values(text: str, shown: str) -> Any:
    """Everything that ``text`` says, as text, lists and mappings; None where it says nothing.

    Args:
        text: YAML.
        shown: name of the file, for errors.

    Raises:
        SettingsError: where it is no YAML.
    """
    return Plain(shown).of(parsed(text, shown))
