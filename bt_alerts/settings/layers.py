"""One source of settings as a plain tree, with where every key was written; and how two sources become one.

Nothing here knows what a key means. A value that is ``None`` was not given and is left out, but the place where its
key stands is remembered, because that is the line to point at when the value is missed.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bt_alerts.errors import SettingsError

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 30
MAX_VALUES = 20_000
MAX_NAME_SHOWN = 60
_QUOTED = re.compile(r"`[^`]+`|(?<!\w)'[^']+'")
_SURELY = 8  # characters; what is shorter is looked for in quotes alone, where no word of the sentence itself stands


def dotted(path: KeyPath) -> str:
    """``alerts.webhook.urls[0]``: a path as a person reads it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + printable(part)
    return text


def find(tree: Any, path: KeyPath) -> Any:
    """What stands at a path; None where nothing does."""
    for key in path:
        if isinstance(key, int):
            tree = tree[key] if isinstance(tree, list) and 0 <= key < len(tree) else None
        else:
            tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def printable(text: str, limit: int = MAX_NAME_SHOWN) -> str:
    """``text`` on one line, with what cannot be shown escaped, cut at ``limit`` characters."""
    safe = text if text.isprintable() else ascii(text)[1:-1]
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a key was written.

    Args:
        label: how the place begins a sentence: ``alerts.yaml:12``, ``config``, ``environment: PUSHOVER_APP_TOKEN``.
        path: the key this origin was recorded for.
        kind: ``file``, ``config``, ``argument``, ``environment`` or ``env_file``.
        line: line in the file, 0 where there is none.
        file: the file it stands in, if any.
        literal: the value itself stands there, not a ``${NAME}``.
    """

    label: str
    path: KeyPath = ()
    kind: str = "config"
    line: int = 0
    file: Path | None = None
    literal: bool = True

    def sentence(self, path: KeyPath, text: str) -> str:
        """``text`` about the key at ``path``, with the place in front."""
        if self.kind == "argument":
            return f"{self.label} {dotted(path)}: {text}"
        if not path or (path == self.path and self.kind in {"environment", "env_file"}):
            return f"{self.label}: {text}"
        return f"{self.label}: {dotted(path)}: {text}"


class Told(str):
    """A sentence about a setting that knows what it is about, for whoever shows it beside that setting.

    Args:
        sentence: all of it, with its place in front.
        path: the key.
        line: in the file, 0 where there is none.
        said: the sentence without its place.
    """

    def __init__(self, sentence: str, path: KeyPath = (), line: int = 0, said: str = "") -> None:
        self.path = path
        self.line = line
        self.said = said or sentence

    def __new__(cls, sentence: str, *_about: object) -> Told:
        return super().__new__(cls, sentence)


class Warned(NamedTuple):
    """Something that works and may not be what was meant.

    Args:
        line: in the file, 0 where there is none.
        text: the sentence, with its place in front.
        log: whether it is logged where the settings are loaded; the rest is shown to whoever asks.
    """

    line: int
    text: str
    log: bool


@dataclasses.dataclass(slots=True)
class Layer:
    """A tree of settings and what is known about it. Its ``repr`` shows no values: credentials may be among them."""

    tree: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    origins: dict[KeyPath, Origin] = dataclasses.field(default_factory=dict, repr=False)
    found: list[tuple[int, str]] = dataclasses.field(default_factory=list, repr=False)
    filled: set[KeyPath] = dataclasses.field(default_factory=set, repr=False)  # where `${NAME}` was replaced
    hides: bool = False  # no sentence quotes what was filled in there
    told: set[KeyPath] = dataclasses.field(default_factory=set, repr=False)
    warned: list[Warned] = dataclasses.field(default_factory=list, repr=False)

    def origin(self, path: KeyPath) -> Origin:
        """Where ``path``, or else the nearest key above it, was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return Origin("config")

    def problem(self, path: KeyPath, text: str) -> None:
        """Note that the key at ``path`` is wrong; a second fault of one key is not told."""
        if path not in self.told:
            origin, text = self.origin(path), self._without_references(path, text)
            self.told.add(path)
            self.found.append((origin.line, Told(origin.sentence(path, text), path, origin.line, text)))

    def warn(self, path: KeyPath, text: str, *, log: bool = True) -> None:
        """Note that the key at ``path`` works, and may not do what was meant."""
        origin, text = self.origin(path), self._without_references(path, text)
        told = Told(origin.sentence(path, text), path, origin.line, text)
        self.warned.append(Warned(origin.line, told, log))

    def _without_references(self, path: KeyPath, text: str) -> str:
        """A sentence that quotes nothing that ``${NAME}`` stands for, in the key at ``path`` and the block it is in."""
        if not self.hides:
            return text
        values = [
            printable(value, len(value) * 10)
            for at in self.filled
            if not self.origin(at).literal and (at[:-1] == path[:-1] or _within(at, path))
            if isinstance(value := _at(self.tree, at), str) and value
        ]
        whole = {word for value in values for word in (value, *re.split(r"[\s,]+", value))}

        def quoted(found: re.Match[str]) -> str:
            mark, words = found[0][0], found[0][1:-1].removesuffix("…")
            part = len(words) >= _SURELY and any(words in value for value in values)
            return f"{mark}${{…}}{mark}" if part or words in whole else found[0]

        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _SURELY:
                text = text.replace(value, "${…}")
        return _QUOTED.sub(quoted, text)

    def put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set a value beneath blocks that are made where they are missing."""
        block = self.tree
        for depth, key in enumerate(path[:-1], 1):
            block = block.setdefault(str(key), {})
            self.origins.setdefault(path[:depth], dataclasses.replace(origin, path=path[:depth]))
        block[str(path[-1])] = value
        self.origins[path] = dataclasses.replace(origin, path=path)

    def raise_problems(self) -> None:
        """Raise everything that was noted, in the order of the file's lines.

        Raises:
            SettingsError: where anything was noted.
        """
        if self.found:
            raise SettingsError([text for _, text in sorted(self.found, key=lambda problem: problem[0])])


def _within(path: KeyPath, other: KeyPath) -> bool:
    """Whether one of two is in the other."""
    end = min(len(path), len(other))
    return path[:end] == other[:end]


def merge(below: Layer, above: Layer) -> Layer:
    """Both layers as one: blocks are joined key by key, and everywhere else ``above`` wins."""
    joined = Layer(origins=dict(below.origins), found=[*below.found, *above.found], told=below.told | above.told)
    joined.filled = below.filled | above.filled
    for path, origin in above.origins.items():
        given = _at(above.tree, path)
        joins = isinstance(given, dict) and isinstance(_at(below.tree, path), dict)
        if path not in below.origins or (given is not None and not joins):
            joined.origins[path] = origin
    joined.tree = _joined(below.tree, above.tree)
    return joined


def _joined(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    tree = dict(below)
    for key, value in above.items():
        old = tree.get(key)
        tree[key] = _joined(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return tree


def _at(tree: Any, path: KeyPath) -> Any:
    """What stands there; None where nothing was given."""
    try:
        for key in path:
            tree = tree[key]
    except (KeyError, IndexError, TypeError):
        return None
    return tree


def is_channel(path: KeyPath) -> bool:
    """Whether ``path`` is a channel's block. An empty one (``console:``) is a channel with its defaults."""
    return len(path) == 2 and path[0] == "alerts"


def from_mapping(mapping: Mapping[Any, Any], origin: Origin) -> Layer:
    """A mapping given in Python as a layer.

    Raises:
        SettingsError: where it is nested without end, or far larger than settings are.
    """
    layer = Layer(origins={(): origin})
    counted = 0

    def copy(value: Any, path: KeyPath) -> Any:
        nonlocal counted
        counted += 1
        if len(path) > MAX_DEPTH or counted > MAX_VALUES:
            raise SettingsError([origin.sentence(path[:3], "nested too deep or too large for settings")])
        layer.origins[path] = dataclasses.replace(origin, path=path)
        if isinstance(value, Mapping):
            return block(value, path)
        if isinstance(value, list | tuple | set | frozenset):
            return [copy(member, (*path, n)) for n, member in enumerate(value) if member is not None]
        if isinstance(value, os.PathLike):
            return os.fsdecode(value)
        return value

    def block(members: Mapping[Any, Any], path: KeyPath) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, value in members.items():
            if not isinstance(key, str):
                layer.problem((*path, printable(str(key))), "a key must be text")
                continue
            name = str(getattr(key, "value", key))
            place = (*path, name)
            if value is not None:
                copied[name] = copy(value, place)
            elif is_channel(place):
                copied[name] = copy({}, place)
            else:
                layer.origins[place] = dataclasses.replace(origin, path=place)
        return copied

    layer.tree = block(mapping, ())
    return layer
