"""Rules that are tried on *Simulate*: the blocks that one may change there, checked as ``bt-alerts check`` does.

What is tried holds no credential and can reach none: it is made of the blocks of rules alone, values that are not to be
seen are masked and put back unseen, and ``${NAME}`` stays where the file has it and cannot be written anew. Nothing is
written, and nothing here knows Streamlit.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bt_alerts.dashboard.hidden import MASK, shown_tree
from bt_alerts.errors import SettingsError
from bt_alerts.settings import Settings
from bt_alerts.settings.file import SettingsFile
from bt_alerts.settings.layers import KeyPath, Told, dotted, find
from bt_alerts.settings.yaml_places import parsed, values

#: What can be tried. Watches are not among it: they need bars, which a recorded run has no more.
BLOCKS = ("events", "routes", "rules", "quiet_hours", "digests", "escalation")
BATCHING = ("enable_batching", "batch_size", "batch_timeout")  # the keys of `delivery` that can be tried
ONLY_IN_FILE = "${…} can be tried only where the file has it: write the value itself"
ONLY_MASKED = f"it is not clear what {MASK} stands for here: write the value itself, or change this rule on Rules"
_HERE = "rules"  # what the text is called in sentences

Put = Callable[..., None]


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """What came of a text.

    Args:
        errors: what is wrong with it, in sentences that begin with the line.
        warnings: what may not be meant so.
        tree: its blocks, with what was masked put back.
        settings: all settings with these blocks; None where there is an error.
    """

    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tree: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    settings: Settings | None = dataclasses.field(default=None, repr=False)


def blocks(tree: Any) -> dict[str, Any]:
    """Those blocks of a tree of settings that can be tried."""
    found = {name: tree[name] for name in BLOCKS if isinstance(tree, dict) and tree.get(name)}
    delivery = {name: value for name in BATCHING if (value := find(tree, ("delivery", name))) is not None}
    return found | ({"delivery": delivery} if delivery else {})


def text_of(tree: Any) -> str:
    """Those blocks as YAML, with what nobody is to see masked."""
    page = _page()
    for name, value in blocks(shown_tree(tree)).items():
        page.set(value, name)
    return page.text


def in_file(path: Path | None) -> Any:
    """What a settings file says; nothing where there is none.

    Raises:
        SettingsError: where it cannot be read, or is no YAML.
    """
    file = _page() if path is None else SettingsFile(path)
    return values(file.text, file.shown) or {}


def check(path: Path | None, text: str, environ: Mapping[str, str] | None = None) -> Tried:
    """Check settings whose rules are those of a text.

    Args:
        path: the settings file; None where all comes from the environment.
        text: the blocks.
        environ: the environment; the process's own unless given.
    """
    try:
        tree = values(text, _HERE) or {}
        lines = _Lines(text)
        written = in_file(path)
    except SettingsError as exc:
        return Tried([_with_line(problem) for problem in exc.problems])
    errors = _strange(tree, lines)
    if errors:
        return Tried(errors)
    seen = blocks(shown_tree(written))
    restored = {name: _restored(value, seen.get(name), written.get(name)) for name, value in tree.items()}
    own = {text for _, text in _texts(blocks(written))}
    errors = [
        f"{lines.before(where)}{ONLY_MASKED if MASK in value else ONLY_IN_FILE}"
        for where, value in _texts(restored)
        if value not in own and ("${" in value or MASK in value)
    ]
    if errors:
        return Tried(errors)
    file = _page() if path is None else SettingsFile(path)
    try:
        put_blocks(_writer(file), blocks(written), restored)
    except SettingsError as exc:
        return Tried([f"{problem}" for problem in exc.problems])
    checked = file.check(environ)
    found: dict[str, list[str]] = {"error": [], "warning": []}
    for each in checked.findings:
        mine = bool(each.path) and each.path[0] in tree
        if mine:
            found[each.level].append(f"{lines.before(each.path)}{dotted(each.path)}: {each.said}")
        elif each.level == "error":
            found[each.level].append(each.sentence)
    return Tried(found["error"], found["warning"], restored, checked.settings)


def put_blocks(put: Put, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Tell ``put(value, *path)`` of each value that differs, so that what stays keeps its comments; None takes out.

    Raises:
        SettingsError: as ``put`` does.
    """
    for name in (*BLOCKS, "delivery"):
        _put(put, before.get(name), after.get(name), (name,))


def _put(put: Put, before: Any, after: Any, path: KeyPath) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before and after:
        for key in [*before, *(key for key in after if key not in before)]:
            _put(put, before.get(key), after.get(key), (*path, key))
    else:
        put(after, *path)


def added(text: str, rule: str) -> str:
    """A text with a proposed rule in it: at the end of its list, or in the place of a value.

    Args:
        text: the blocks; it must be YAML.
        rule: YAML of :class:`bt_alerts.simulate.proposals.Proposal`.

    Raises:
        SettingsError: where the text is no YAML.
    """
    page = _page()
    page.replace_text(text)
    for path, value in _leaves(values(rule, _HERE)):
        if isinstance(value, list):
            known = page.get(*path, default=[])
            if not known:
                page.set(value, *path)
            for member in value if known else ():
                if member not in known:
                    page.set(member, *path, len(known))
        else:
            page.set(value, *path)
    return page.text


def _leaves(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _page() -> SettingsFile:
    return SettingsFile(os.devnull)  # an empty one that nobody saves


def _writer(file: SettingsFile) -> Put:
    def put(value: Any, *path: str | int) -> None:
        file.set(value, *path)

    return put


# ---------------------------------------------------------------------------------------------- what is wrong


def _strange(tree: Any, lines: _Lines) -> list[str]:
    if not isinstance(tree, dict):
        return ["Write blocks such as `rules:`, `routes:` or `quiet_hours:`, as they stand in the settings file"]
    can = ", ".join(f"`{name}`" for name in (*BLOCKS, "delivery"))
    errors = [
        f"{lines.before((name,))}`{name}` cannot be tried here: there are {can}"
        for name in tree
        if name not in (*BLOCKS, "delivery")
    ]
    delivery = tree.get("delivery")
    for name in delivery if isinstance(delivery, dict) else ():
        if name not in BATCHING:
            can = ", ".join(f"`{key}`" for key in BATCHING)
            errors.append(f"{lines.before(('delivery', name))}of `delivery`, only {can} can be tried here")
    return errors


def _texts(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _texts(value, (*path, key))
    elif isinstance(tree, str):
        yield path, tree


def _restored(value: Any, shown: Any, written: Any) -> Any:
    """``value`` with what is as it was shown as it is written. What could be one or another stays as it was shown."""
    if value == shown:
        return written
    if isinstance(value, dict):
        return {key: _restored(member, find(shown, (key,)), find(written, (key,))) for key, member in value.items()}
    if isinstance(value, list):
        pairs = _paired(value, shown, written) if isinstance(shown, list) else {}
        places: list[KeyPath] = [(pairs.get(n, len(shown or ())),) for n in range(len(value))]
        return [_restored(each, find(shown, at), find(written, at)) for each, at in zip(value, places, strict=True)]
    return value


def _paired(value: Sequence[Any], shown: Sequence[Any], written: Sequence[Any]) -> dict[int, int]:
    """Which member of a list is which of those that were shown: the equal one, wherever it stands now."""
    pairs: dict[int, int] = {}
    for n, member in enumerate(value):
        if n in pairs:
            continue
        here = [i for i, each in enumerate(value) if each == member]
        there = [i for i, each in enumerate(shown) if each == member]
        if len(here) == len(there) or (there and all(written[i] == written[there[0]] for i in there)):
            pairs |= zip(here, there if len(here) == len(there) else there[:1] * len(here), strict=True)
    hidden = [i for i in range(len(shown)) if i not in pairs.values() and _hides(shown[i])]
    changed = [n for n in range(len(value)) if n not in pairs and _hides(value[n])]
    if len(hidden) == len(changed) == 1:  # one was edited, so there is no doubt which
        pairs[changed[0]] = hidden[0]
    return pairs


def _hides(tree: Any) -> bool:
    return any(MASK in text or "${" in text for _, text in _texts([tree]))


class _Lines:
    """In which line of a text something stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = parsed(text, _HERE)

    def before(self, path: KeyPath) -> str:
        """``"Line 3: "``, of the nearest that is there; nothing where nothing is."""
        node, start = self._root, -1
        for key in path:
            number = None if node is None else node.find(key)
            if node is None or number is None:
                break
            name, node = node.entries[number]
            start = node.start if name is None else name.start
        return "" if start < 0 else f"Line {self._text.count(chr(10), 0, start) + 1}: "


def _with_line(problem: str) -> str:
    return f"Line {problem.line}: {problem.said}" if isinstance(problem, Told) and problem.line else problem
