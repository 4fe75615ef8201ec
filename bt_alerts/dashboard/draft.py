"""The settings file as a visitor is changing it: read, checked on every change, shown as a difference, saved.

Each visitor has one draft, which stays while they go from page to page. Nothing is written before :meth:`Draft.save`.
What is shown of it (:meth:`Draft.difference`) has no credential: a value is shown only where the models know its key
and say that it is none.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.emitter import Emitter
from yaml.representer import SafeRepresenter
from yaml.resolver import BaseResolver
from yaml.serializer import Serializer

from bt_alerts.dashboard.hidden import MASK, shown_tree
from bt_alerts.errors import SettingsError
from bt_alerts.settings.dotenv import DotEnv, read_dotenv
from bt_alerts.settings.environment import Environment, environment_layer
from bt_alerts.settings.file import Checked, Finding, SettingsFile
from bt_alerts.settings.layers import KeyPath, Origin, find, from_mapping
from bt_alerts.settings.stamps import stamp
from bt_alerts.settings.yaml_places import values


class Draft:
    """A settings file and what is to become of it. Its ``repr`` shows no values.

    Args:
        path: the file; one that does not exist begins empty.

    Raises:
        SettingsError: where it exists and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Goes up when what is shown must be taken from the file anew; part of every widget's key.
        self.version = 0
        self._read()

    def _read(self) -> None:
        self._stamp = stamp(self.path)
        self.file = SettingsFile(self.path)
        self._tree: tuple[str, Any] = ("", None)
        self._checked: tuple[str, Checked] | None = None
        self.before: Any = None
        self.version += 1
        with contextlib.suppress(SettingsError):  # told by check()
            self.before = self.tree

    @property
    def changed(self) -> bool:
        """Whether there is anything to save."""
        return self.file.changed

    @property
    def overtaken(self) -> bool:
        """Whether somebody else changed the file since it was read."""
        return stamp(self.path) != self._stamp and self.file.overtaken

    def keep_up(self) -> None:
        """Read the file again where it changed and nothing of this draft would be lost."""
        if self.overtaken and not self.changed:
            self._read()

    def discard(self) -> None:
        """Begin again with what the file holds now."""
        self._read()

    # What it says ------------------------------------------------------------------------------------

    @property
    def tree(self) -> Any:
        """Everything it says, as text, lists and mappings; references as they are written.

        Raises:
            SettingsError: where it is no YAML.
        """
        if self._tree[1] is None or self._tree[0] != self.file.text:
            found = values(self.file.text, self.file.shown)
            self._tree = (self.file.text, found if isinstance(found, dict) else {})
        return self._tree[1]

    def at(self, *path: str | int) -> Any:
        """What is written there; None where nothing is."""
        return find(self.tree, path)

    def was(self, *path: str | int) -> Any:
        """What was written there when the file was read."""
        return find(self.before, path)

    @property
    def checked(self) -> Checked:
        """What ``bt-alerts check`` says of it as it is now."""
        if self._checked is None or self._checked[0] != self.file.text:
            self._checked = (self.file.text, self.file.check())
        return self._checked[1]

    def findings(self, *path: str | int) -> list[Finding]:
        """What is wrong with this key and with all within it, and what may not be meant so."""
        return [finding for finding in self.checked.findings if finding.path[: len(path)] == path]

    def overridden(self) -> Mapping[KeyPath, str]:
        """What the environment says in place of the file: where it stands, by key."""
        return dict(self._from_environment())

    def _from_environment(self) -> Iterator[tuple[KeyPath, str]]:
        layer = environment_layer(Environment(os.environ, self._dotenv()), from_mapping(self.tree, Origin("file")))
        for path, origin in layer.origins.items():
            if not isinstance(find(layer.tree, path), dict):
                yield path, origin.label.removeprefix("environment: ")

    def _dotenv(self) -> DotEnv | None:
        name = self.tree.get("env_file")
        if not isinstance(name, str) or "${" in name:
            return None
        try:
            return read_dotenv(self.path.parent / os.path.expanduser(name), name)
        except (SettingsError, FileNotFoundError):  # told by check()
            return None

    # What is to become of it -------------------------------------------------------------------------

    def put(self, value: Any, *path: str | int) -> None:
        """Write a value; None takes out what is there. Blocks that are empty then go as well."""
        if value is not None:
            self.file.set(value, *path)
            return
        self.file.remove(*path)
        for end in range(len(path) - 1, 0, -1):
            above = path[:end]
            if isinstance(above[-1], int) or self.at(*above) or self.was(*above) is not None or above[0] == "alerts":
                break
            self.file.remove(*above)

    def difference(self) -> str:
        """What a save would change, as a unified difference of what may be shown."""
        shown, was = shown_tree(self.tree), shown_tree(self.before or {})
        _tell_new(shown, self.tree, self.before)
        lines = difflib.unified_diff(_lines(was), _lines(shown), "as it is", "as it will be", lineterm="", n=2)
        return "\n".join(lines)

    def save(self) -> None:
        """Put it in the file's place.

        Raises:
            SettingsError: as :meth:`SettingsFile.save`; the file is as it was then.
        """
        self.file.save()
        self._read()

    def __repr__(self) -> str:
        return f"<Draft of {self.file!r}>"


# ------------------------------------------------------------------------------------------- differences


def _tell_new(shown: Any, now: Any, was: Any) -> None:
    """Say of a credential that was changed that it was: behind its mask nobody sees it."""
    for key in shown if isinstance(shown, dict) else range(len(shown)):
        before = find(was, (key,))
        if isinstance(shown[key], dict | list):
            _tell_new(shown[key], now[key], before)
        elif shown[key] == MASK and now[key] != before:
            shown[key] = f"{MASK} (new)"


class _Plain(Emitter, Serializer, SafeRepresenter, BaseResolver):
    """Writes text without quotes wherever it can be, as people write settings."""

    def __init__(self, stream: Any, **_: Any) -> None:
        Emitter.__init__(self, stream, allow_unicode=True, width=10_000)
        Serializer.__init__(self)
        SafeRepresenter.__init__(self, default_flow_style=False, sort_keys=False)
        BaseResolver.__init__(self)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _lines(tree: Any) -> list[str]:
    return yaml.dump(tree, Dumper=_Plain).splitlines() if tree else []
