"""Changes single values in the text of a YAML file, and leaves every other byte as a person wrote it.

The text is not written anew from what was read: the place of a value is looked up, and that place alone is replaced.
So comments, order, indentation, quotes, anchors and line endings elsewhere stay. Values are text, as for
:mod:`bt_alerts.settings.yaml_source`: ``on`` is the word, ``22:00`` the time as written, ``${NAME}`` a reference.

Every change is read back before it is returned. Where the text would mean anything but what was asked (because the
value is shared through an anchor, say), the change is refused with a sentence, and the text stays as it was.

A member of a list that moves takes its own text along: its comments, and those right above it. When it is removed,
they go with it.

What it does not do: it keeps no comment that stands inside a block which is removed as a whole.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from bt_alerts.errors import SettingsError
from bt_alerts.settings.layers import KeyPath, dotted, find
from bt_alerts.settings.yaml_places import BLOCK_SCALARS, Node, Plain, is_merge, parsed, values
from bt_alerts.settings.yaml_write import as_written, flow_text, lines_of_block, lines_of_entry, scalar_text


class CannotChange(SettingsError):
    """The text is valid, and this change of it is not possible without touching something else."""


# --------------------------------------------------------------------------------------------- changing


def put(text: str, keys: KeyPath, value: Any, shown: str) -> str:
    """``text`` with ``value`` at ``keys``; blocks on the way are made where they are missing.

    Args:
        text: YAML.
        keys: the way to it: keys of blocks, and numbers of members of lists (as many as there are: one more).
        value: text, a number, a truth value, a list or a mapping; ``${`` in text begins a reference.
        shown: name of the file, for errors.

    Raises:
        SettingsError: where ``text`` is no YAML, or this cannot be done without changing something else.
        TypeError: where the value cannot be written.
    """
    value = as_written(value)
    return _verified(_Text(text, shown).put(keys, value), _with(values(text, shown), keys, value), keys, shown)


def remove(text: str, keys: KeyPath, shown: str) -> str:
    """``text`` without what stands at ``keys``; the same text where nothing does.

    Raises:
        SettingsError: as for :func:`put`.
    """
    return _verified(_Text(text, shown).remove(keys), _without(values(text, shown), keys), keys, shown)


def _verified(text: str, meant: Any, keys: KeyPath, shown: str) -> str:
    try:
        right = _meaning(values(text, shown)) == _meaning(meant)
    except SettingsError:
        right = False
    if not right:
        told = "this is written in a way that cannot be changed alone (is it shared by an anchor?)"
        raise CannotChange([f"{shown}: {dotted(keys)}: {told}; change it in the YAML itself"])
    return text


def _meaning(tree: Any) -> Any:
    """A tree for comparing: an empty block or list says as little as no value."""
    if isinstance(tree, dict):
        return {key: _meaning(member) for key, member in tree.items()} or None
    if isinstance(tree, list):
        return [_meaning(member) for member in tree] or None
    return tree


def _with(tree: Any, keys: KeyPath, value: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        members = list(tree or [])
        members[key : key + 1] = [_with(members[key] if key < len(members) else None, rest, value)]
        return members
    return {**(tree or {}), key: _with((tree or {}).get(key), rest, value)}


def _without(tree: Any, keys: KeyPath) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        if not isinstance(tree, list) or not 0 <= key < len(tree):
            return tree
        return [*tree[:key], *([_without(tree[key], rest)] if rest else []), *tree[key + 1 :]]
    if not isinstance(tree, dict) or key not in tree:
        return tree
    if rest:
        return {**tree, key: _without(tree[key], rest)}
    return {name: member for name, member in tree.items() if name != key}


class _Text:
    """A text and its places; every change gives a new text."""

    def __init__(self, text: str, shown: str) -> None:
        self.text = text
        self.shown = shown
        self.root = parsed(text, shown)
        self.newline = "\r\n" if "\r\n" in text else "\n"

    def put(self, keys: KeyPath, value: Any) -> str:
        above, number, rest = self._walk(keys)
        if above is None:  # nothing but comments yet
            return self._after(len(self.text), lines_of_block(_nested(rest, value)))
        if number is None:
            return self._added(above, rest, value)
        if not rest:
            return self._replaced(above, number, keys, value)
        _, node = above.entries[number]
        if not node.empty:
            raise self._cannot(keys[: len(keys) - len(rest)], "one value stands here, and no block or list")
        return self._rewritten(above, number, _nested(rest, value))

    def remove(self, keys: KeyPath) -> str:
        above, number, rest = self._walk(keys)
        if above is None or number is None or rest:
            return self.text
        key, node = above.entries[number]
        if above.flow:
            if len(above.entries) == 1:
                return self._span(above.start, above.end, "[]" if above.kind == "list" else "{}")
            if number + 1 < len(above.entries):
                following = above.entries[number + 1]
                return self._span((key or node).start, (following[0] or following[1]).start, "")
            return self._span(above.entries[number - 1][1].end, node.end, "")
        if len(above.entries) == 1 and len(keys) > 1 and (above.kind == "list" or not self._own_line(above, number)):
            outer, at, _ = self._walk(keys[:-1])
            assert outer is not None
            assert at is not None
            return self._rewritten(outer, at, [] if above.kind == "list" else {})
        start, end = self._place(above, number)
        if node.kind != "text":
            end = self._below(end, above.column + 1)
        if self._own_line(above, number):
            first = self._line_start(start)
            first = self._above(first) if above.kind == "list" else first
            return self._span(first, min(self._line_end(end) + 1, len(self.text)), "")
        following_start = self._place(above, number + 1)[0] if number + 1 < len(above.entries) else self._line_end(end)
        between = self.text[end:following_start]
        return self._span(start, end if "#" in between else following_start, "")

    # --------------------------------------------------------------------------------------------- finding

    def _walk(self, keys: KeyPath) -> tuple[Node | None, int | None, KeyPath]:
        """The innermost collection on the way, the entry in it, and the keys that lead on from there."""
        if self.root is None or self.root.empty:
            return None, None, keys
        above = self.root
        for depth, key in enumerate(keys):
            if above.kind == "text" or (above.kind == "list") is not isinstance(key, int):
                what = {"text": "one value", "list": "a list", "block": "a block of keys"}[above.kind]
                raise self._cannot(keys[:depth], f"{what} stands here, so there is no `{key}` in it")
            number = above.find(key)
            rest = keys[depth + 1 :]
            if number is None:
                if isinstance(key, int) and key != len(above.entries):
                    raise self._cannot(keys[: depth + 1], f"the list has {len(above.entries)} members")
                return above, None, keys[depth:]
            node = above.entries[number][1]
            if not rest or node.empty:
                return above, number, rest
            above = node
        return above, None, ()

    def _cannot(self, keys: KeyPath, why: str) -> CannotChange:
        where = f"{self.shown}: {dotted(keys)}" if keys else self.shown
        return CannotChange([f"{where}: {why}; change it in the YAML itself"])

    def _place(self, above: Node, number: int) -> tuple[int, int]:
        """Where an entry of a block in lines begins (with its key or dash), and where it ends."""
        key, node = above.entries[number]
        if key is not None:
            return key.start, max(node.end, key.end)
        if number == 0:
            return above.start, node.end
        line = self._line_start(node.start)
        while line > above.start and not self._dash(line, above.column):
            line = self._line_start(line - 1)
        return line + above.column, node.end

    def _dash(self, line: int, column: int) -> bool:
        return not self.text[line : line + column].strip() and self.text[line + column : line + column + 1] == "-"

    def _own_line(self, above: Node, number: int) -> bool:
        start = self._place(above, number)[0]
        return not self.text[self._line_start(start) : start].strip()

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """The end of the line, in front of its line break."""
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end

    def _comment(self, at: int) -> str:
        """The comment that follows on the same line, with the spaces before it."""
        rest = self.text[at : self._line_end(at)].rstrip("\r")
        return rest.rstrip() if rest.lstrip().startswith("#") else ""

    # --------------------------------------------------------------------------------------------- writing

    def _span(self, start: int, end: int, new: str) -> str:
        return self.text[:start] + new + self.text[end:]

    def _after(self, at: int, lines: list[str]) -> str:
        """``lines`` beneath the line in which ``at`` is."""
        end = self._line_end(at)
        new = "".join(line + self.newline for line in lines)
        if end < len(self.text):
            return self._span(end + 1, end + 1, new)
        return self.text + (self.newline if self.text and not self.text.endswith("\n") else "") + new

    def _below(self, at: int, column: int) -> int:
        """The end of the comments that follow at once and are indented at least so far: they belong to the block."""
        end = self._line_end(at)
        while end < len(self.text):
            line = self.text[end + 1 : self._line_end(end + 1)]
            if not line.strip().startswith("#") or len(line) - len(line.lstrip(" ")) < column:
                break
            end = self._line_end(end + 1)
        return end

    def _added(self, above: Node, rest: KeyPath, value: Any) -> str:
        key = None if isinstance(rest[0], int) else str(rest[0])
        value = _nested(rest[1:], value)
        if above.flow:
            new = flow_text(value) if key is None else f"{scalar_text(key, key=True)}: {flow_text(value)}"
            if above.entries:
                return self._span(above.entries[-1][1].end, above.entries[-1][1].end, f", {new}")
            return self._span(above.end - 1, above.end, new + self.text[above.end - 1])
        lines = lines_of_entry(key, value, above.column)
        if len(lines) > 1 and self._spaced(above):
            lines.insert(0, "")
        return self._after(self._below(above.end, max(above.column, 1)), lines)

    def _spaced(self, above: Node) -> bool:
        """Whether empty lines stand between the entries."""
        number = len(above.entries) - 1
        start = self._place(above, number)[0]
        before = self._place(above, number - 1)[1] if number else start
        return any(not line.strip() for line in self.text[before:start].split("\n")[1:-1])

    def _replaced(self, above: Node, number: int, keys: KeyPath, value: Any) -> str:
        node = above.entries[number][1]
        if node.kind == "text" and isinstance(value, str) and not node.alias:
            if node.text == value and not node.empty:
                return self.text
            if node.start != node.end and node.style not in BLOCK_SCALARS:
                return self._span(node.start, node.end, scalar_text(value, node.style, flow=above.flow))
        if node.kind == "block" and isinstance(value, dict) and value and node.entries and not node.alias:
            return self._same_keys(node, keys, value)
        if node.kind == "list" and isinstance(value, list) and value and node.entries and not node.alias:
            return self._same_members(node, keys, value)
        return self._rewritten(above, number, value)

    def _same_keys(self, node: Node, keys: KeyPath, value: dict[str, Any]) -> str:
        text = self.text
        for name, member in value.items():
            text = _Text(text, self.shown).put((*keys, name), member)
        for key, _ in node.entries:
            if key is not None and key.text not in value and not is_merge(key):
                text = _Text(text, self.shown).remove((*keys, key.text))
        return text

    def _same_members(self, node: Node, keys: KeyPath, value: list[Any]) -> str:
        old = [Plain(self.shown).of(member) for _, member in node.entries]
        if node.flow or all(isinstance(member, str) for member in (*old, *value)):
            kept = [n for n, member in enumerate(old) if member in value]
            if [old[n] for n in kept] == value:  # some were taken out, and that is all
                text = self.text
                for n in sorted(set(range(len(old))) - set(kept), reverse=True):
                    text = _Text(text, self.shown).remove((*keys, n))
                return text
        text, left = self._in_order(node, keys, old, value)
        for n, member in enumerate(value):
            text = _Text(text, self.shown).put((*keys, n), member)
        for n in range(left - 1, len(value) - 1, -1):
            text = _Text(text, self.shown).remove((*keys, n))
        return text

    def _in_order(self, node: Node, keys: KeyPath, old: list[Any], value: list[Any]) -> tuple[str, int]:
        """The text with the members that stay where they will stand, and how many there are then."""
        order = _order(old, value)
        if node.flow or order == list(range(len(old))) or not all(self._own_line(node, n) for n in range(len(old))):
            return self.text, len(old)
        if not self.text.endswith("\n"):
            return _Text(self.text + self.newline, self.shown)._in_order(node, keys, old, value)
        places = [self._lines_of(node, n) for n in range(len(old))]
        members = [
            "".join(line + self.newline for line in lines_of_entry(None, value[at], node.column))
            if n is None
            else self.text[slice(*places[n])]
            for at, n in enumerate(order)
        ]
        # what stands between members, empty lines mostly, stays where it is; of what is too much, the comments do
        between = [self.text[end:start] for (_, end), (start, _) in itertools.pairwise(places)]
        gaps = ["", *between][: len(order)] + [""] * (len(order) - len(places))
        rest = [gap for gap in between[max(len(order) - 1, 0) :] if gap.strip()]
        moved = "".join(gap + member for gap, member in zip(gaps, members, strict=True)) + "".join(rest)
        text = self.text[: places[0][0]] + moved + self.text[places[-1][1] :]
        try:
            meant = [value[at] if n is None else old[n] for at, n in enumerate(order)]
            right = find(values(text, self.shown), keys) == meant
        except SettingsError:
            right = False  # an anchor that stands behind its alias now, say
        return (text, len(order)) if right else (self.text, len(old))

    def _lines_of(self, above: Node, number: int) -> tuple[int, int]:
        """The lines of a member of a list: from the comments right above it to those that are in it."""
        start, end = self._place(above, number)
        if above.entries[number][1].kind != "text":
            end = self._below(end, above.column + 1)
        return self._above(self._line_start(start)), min(self._line_end(end) + 1, len(self.text) + 1)

    def _above(self, line: int) -> int:
        """Where the comments begin that stand right above a line."""
        while line and self.text[self._line_start(line - 1) : line].strip().startswith("#"):
            line = self._line_start(line - 1)
        return line

    def _rewritten(self, above: Node, number: int, value: Any) -> str:
        """The entry anew, in its place; the comment on its line stays."""
        key, node = above.entries[number]
        if above.flow:
            gap = " " if node.start == node.end and key is not None else ""
            return self._span(node.start, node.end, gap + flow_text(value))
        start, end = self._place(above, number)
        lines = lines_of_entry(None if key is None else key.text, value, above.column)
        lines[0] = lines[0][above.column :]
        if node.empty and node.start == node.end:  # `console:` and perhaps a comment, on this line and beneath it
            text = self.text
            if lines[1:]:
                text = self._after(self._below(node.end, above.column + 1), lines[1:])
            return text[: node.end] + lines[0][node.end - start :] + text[node.end :]
        comment = self._comment(node.end)
        if node.kind != "text" and not node.flow and not node.alias:
            comment = self._comment(self.text.index(":", key.end) + 1) if key is not None else ""
            return self._span(start, end, self.newline.join([lines[0] + comment, *lines[1:]]))
        return self._span(start, end + len(comment), self.newline.join([lines[0] + comment, *lines[1:]]))


def _order(old: list[Any], value: list[Any]) -> list[int | None]:
    """Which of the old members is to stand in which place: the equal one, else the likest; None for a new one."""
    order: list[int | None] = [None] * len(value)
    for n in range(min(len(old), len(value))):
        order[n] = n if old[n] == value[n] else None
    free = [n for n in range(len(old)) if n >= len(value) or order[n] is None]
    for equal in (True, False):
        for n, member in enumerate(value):
            alike = {i: (_alike(old[i], member), i == n) for i in free if order[n] is None}
            best = max(alike, key=alike.__getitem__, default=None)
            if best is not None and (old[best] == member if equal else any(alike[best])):
                order[n] = best
                free.remove(best)
    return order


def _alike(old: Any, new: Any) -> float:
    """How much two members of a list have in common."""
    if old == new:
        return math.inf
    both = isinstance(old, dict) and isinstance(new, dict)
    return len([key for key in old if key in new and new[key] == old[key]]) if both else 0


def _nested(keys: KeyPath, value: Any) -> Any:
    for key in reversed(keys):
        value = [value] if isinstance(key, int) else {str(key): value}
    return value
