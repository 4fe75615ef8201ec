"""Reads a YAML file of settings as text values, with the line of every key.

Plain YAML turns ``on`` into a boolean, ``22:00`` into 1320, drops the plus of ``+49…`` and makes the ticker ``NO``
false. So scalars stay text here and the models give them their types. An empty value, ``null`` or ``~`` means "not
given". ``${NAME}`` and ``${NAME:-default}`` are replaced, and ``${keyring:NAME}`` by what the system's keyring has;
``$${`` stands for ``${``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bt_alerts.errors import SettingsError
from bt_alerts.settings.layers import MAX_DEPTH, MAX_VALUES, KeyPath, Layer, Origin, Told, is_channel, printable

#: Gives the value of a variable, or None where it is not set.
Lookup = Callable[[str], str | None]

MAX_BYTES = 1_000_000
#: What counts as "not given" where it stands without quotes.
NOTHING = {"", "~", "null", "Null", "NULL"}
_REFERENCE = re.compile(r"\$\$\{|\$\{(keyring:[^}\s]+)\}|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_TEMPLATE = re.compile(r"[:-][ \t]+\{[{%]")
_QUOTED = 'put the template in quotes: `"{{ title }}"`'
_PLAIN_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", "!")
_TAG_PREFIX = "tag:yaml.org,2002:"

#: What PyYAML says, and what to do about it. Its own words can quote the file, and with it a password.
_ADVICE = (
    ("mapping values are not allowed", "a second `:` on the line, or wrong indentation; put the value in quotes"),
    ("'\\t'", "a tab is used for indentation; use spaces"),
    ("undefined alias", "a value that begins with `*` must stand in quotes"),
    ("expected a single document", "a second document begins here; remove the `---`"),
    ("scanning a quoted scalar", "a quote is not closed"),
    ("found unknown escape", "a `\\` in double quotes must be doubled; or use single quotes"),
    ("could not find expected ':'", "a `:` is missing after a key"),
    ("flow", "a `[` or `{` is not closed; put a value with such a character, or with `${…}` inside braces, in quotes"),
    ("cannot start any token", "a value that begins with this character must stand in quotes"),
    ("block mapping", "the indentation does not match the lines above"),
    ("block collection", "the indentation does not match the lines above"),
)


def read_text(path: Path, shown: str) -> str:
    """The text of a small UTF-8 file; see :func:`read_content` for what is raised."""
    return as_text(read_content(path, shown), shown)


def read_content(path: Path, shown: str) -> bytes:
    """The content of a small file.

    Args:
        path: the file.
        shown: its name as the user wrote it.

    Raises:
        FileNotFoundError: where there is none; the caller knows what to advise.
        SettingsError: where it cannot be read.
    """
    if os.path.isdir(path):
        raise SettingsError([f"{shown}: this is a folder; name the file in it"])
    reason = ""
    content = b""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(shown) from None
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
    except ValueError:  # a NUL in the name
        reason = "no file can have this name"
    if reason:
        raise SettingsError([f"{shown}: cannot be read: {reason}"])
    if len(content) > MAX_BYTES:
        raise SettingsError([f"{shown}: larger than {MAX_BYTES:,} bytes; this is no settings file"])
    return content


def as_text(content: bytes, shown: str) -> str:
    """The text that UTF-8 bytes are.

    Raises:
        SettingsError: where they are none.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
    raise SettingsError([f"{shown}:{line}: not UTF-8 text; save the file as UTF-8"])


class YamlFile:
    """A YAML file that was parsed but not yet filled in.

    Args:
        path: the file.
        shown: its name as the user wrote it.
        text: what is to be read in place of the file's content.

    Raises:
        FileNotFoundError: where there is no file.
        SettingsError: where it cannot be read or is broken YAML.
    """

    def __init__(self, path: Path, shown: str, text: str | None = None) -> None:
        self.path = path
        self.shown = shown
        self._root = composed(read_text(path, shown) if text is None else text, shown)

    def env_file(self, lookup: Lookup) -> tuple[str, int, bool] | None:
        """What ``env_file:`` names, its line, and whether it stands there as it is.

        It is needed before anything else can be filled in.
        """
        if isinstance(self._root, yaml.MappingNode):
            for key, value in self._root.value:
                if key.value == "env_file" and isinstance(value, yaml.ScalarNode):
                    filled = _fill(value.value, lookup)
                    if filled.text and not filled.problem and not _is_nothing(value):
                        return filled.text, key.start_mark.line + 1, not filled.used
        return None

    def layer(self, lookup: Lookup) -> Layer:
        """The settings, with every ``${NAME}`` replaced.

        Raises:
            SettingsError: where the top is no block of keys, or aliases multiply without end.
        """
        return _Builder(self, lookup).build(self._root)


def composed(text: str, shown: str) -> yaml.Node | None:
    """The nodes of a YAML text; None where it has none.

    Raises:
        SettingsError: where it is no YAML, with line and column and what to do, and without a word of the text.
    """
    where, advice = f"{shown}:1:1", "check indentation, quotes and brackets"
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.BaseLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        if mark is not None:
            where = f"{shown}:{mark.line + 1}:{mark.column + 1}"
        said = f"{exc.context} {exc.problem}"
        advice = next((advice for word, advice in _ADVICE if word in said), advice)
        if mark is not None and _TEMPLATE.search("".join(text.split(chr(10))[mark.line : mark.line + 1])):
            advice = _QUOTED
    except yaml.reader.ReaderError as exc:
        before = text[: exc.position]
        where = f"{shown}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        code = exc.character if isinstance(exc.character, int) else ord(exc.character)
        advice = f"the character U+{code:04X} is not allowed; remove it"
    except RecursionError:
        advice = "nested too deep for settings"
    except (yaml.YAMLError, ValueError, OverflowError):
        pass
    else:
        return node
    line = int(where.removeprefix(shown).split(":")[1])
    raise SettingsError([Told(f"{where}: broken YAML: {advice}", (), line, f"broken YAML: {advice}")])


@dataclasses.dataclass(slots=True)
class _Filled:
    text: str
    used: bool = False
    problem: str = ""


def _fill(text: str, lookup: Lookup) -> _Filled:
    filled = _Filled(text)

    def value_of(match: re.Match[str]) -> str:
        kept, name, default = match.groups()
        if match.group() == "$${":
            return "${"
        if kept is not None:
            return _from_keyring(kept, filled, lookup)
        if name is None:
            filled.problem = "a `${` without a name and `}`; write `${NAME}`, or `$${` for the characters themselves"
            return ""
        if default is not None and "${" in default:
            filled.problem = f"`${{{name}:-…}}` has another `${{` as its default; write the default as it is"
            return ""
        filled.used = True
        value = lookup(name)
        if default is not None:
            return value or default
        if value is None:
            filled.problem = f"the variable {name} is not set; set it, or write `${{{name}:-}}` to leave it empty"
            return ""
        return value

    if "${" in text:
        filled.text = _REFERENCE.sub(value_of, text)
    return filled


def reference(text: str) -> tuple[str, str] | None:
    """What a text that is nothing but a reference names, ``NAME`` or ``keyring:NAME``, and its default."""
    found = _REFERENCE.fullmatch(text.strip())
    name = found and (found[1] or found[2])
    return (name, found[3] or "") if found and name else None


def _from_keyring(name: str, filled: _Filled, lookup: Lookup) -> str:
    filled.used = True
    try:
        value = lookup(name)
    except SettingsError as exc:
        filled.problem = exc.problems[0]
        return ""
    if value is None:
        entry = name.removeprefix("keyring:")
        filled.problem = (
            f"the keyring has no `{printable(entry)}`; put it in by `keyring set bt_alerts {printable(entry)}`"
        )
    return value or ""


def _is_nothing(node: yaml.ScalarNode) -> bool:
    return node.style is None and node.value in NOTHING


class _Builder:
    def __init__(self, source: YamlFile, lookup: Lookup) -> None:
        self._source = source
        self._lookup = lookup
        self._count = 0
        self._layer = Layer(origins={(): Origin(source.shown, kind="file", file=source.path)})

    def build(self, root: yaml.Node | None) -> Layer:
        if isinstance(root, yaml.MappingNode):
            self._layer.tree = self._block(root, ())
        elif root is not None and not (isinstance(root, yaml.ScalarNode) and _is_nothing(root)):
            what = "a list" if isinstance(root, yaml.SequenceNode) else "one value"
            line = root.start_mark.line + 1
            told = f"{self._source.shown}:{line}: write a block of keys such as `alerts:` at the top, not {what}"
            raise SettingsError([told])
        return self._layer

    def _mark(self, path: KeyPath, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        origin = Origin(f"{self._source.shown}:{line}", path, "file", line, self._source.path)
        self._layer.origins[path] = origin

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            line = self._layer.origin(path[:2]).label
            raise SettingsError([f"{line}: too many values or levels (do aliases repeat each other?)"])
        if not (node.tag in _PLAIN_TAGS or node.tag.startswith(_TAG_PREFIX)):
            self._layer.problem(path, "YAML tags (`!name`) are not used here; remove it, or write `${NAME}`")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._block(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._list(node, path)
        return self._text(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _text(self, node: yaml.ScalarNode, path: KeyPath) -> str | None:
        if _is_nothing(node):
            return None
        filled = _fill(node.value, self._lookup)
        if filled.used:
            self._layer.origins[path] = dataclasses.replace(self._layer.origin(path), path=path, literal=False)
            self._layer.filled.add(path)
        if filled.problem:
            self._layer.problem(path, filled.problem)
            return None
        return None if filled.used and not filled.text else filled.text

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        members: list[Any] = []
        for member in node.value:
            place = (*path, len(members))
            self._mark(place, member)
            value = self._value(member, place)
            if value is not None:
                members.append(value)
        return members

    def _block(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        block: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key, value in node.value:  # `<<` first: the block's own keys win over what they merge in
            if _is_merge(key):
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    taken = self._value(merged, path)
                    if isinstance(taken, dict):
                        block = {**taken, **block}
                    else:
                        self._layer.problem((*path, "<<"), "`<<` takes an alias (`*name`) of a block of keys")
        for key, value in node.value:
            if _is_merge(key):
                continue
            if not isinstance(key, yaml.ScalarNode):
                told = f"a key on line {key.start_mark.line + 1} is no plain text; write `key: value`"
                self._layer.problem(path, _QUOTED if isinstance(key, yaml.MappingNode) and key.flow_style else told)
                continue
            name = key.value
            place = (*path, name)
            if name in seen:
                self._mark(place, key)
                self._layer.problem(place, f"given twice (first on line {seen[name]}); keep one")
                continue
            seen[name] = key.start_mark.line + 1
            self._mark(place, key)
            given = self._value(value, place)
            if given is None and is_channel(place) and place not in self._layer.told:
                given = {}
            if given is None:
                block.pop(name, None)
            else:
                block[name] = given
        return block


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.style is None and key.value == "<<"


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as the user wrote it, on one line."""
    return printable(os.fsdecode(path), limit=300)
