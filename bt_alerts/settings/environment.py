"""The environment as a source of settings, and the user's state folder.

A variable's value can stand in a file that ``NAME_FILE`` names. A real variable comes before one of the ``.env`` file.
An empty variable counts as not set.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bt_alerts.dispatchers.registry import UnknownChannelType, channel_types
from bt_alerts.errors import SettingsError
from bt_alerts.settings import keyring, sentences
from bt_alerts.settings.dotenv import DotEnv
from bt_alerts.settings.layers import KeyPath, Layer, Origin, printable
from bt_alerts.settings.models import Delivery, channel_model
from bt_alerts.settings.stamps import Stamp, stamp
from bt_alerts.settings.yaml_source import read_text, shown_path

_YES = {"1", "true", "t", "yes", "y", "on"}
_NO = {"0", "false", "f", "no", "n", "off"}


class Variable(NamedTuple):
    """A variable that is set."""

    value: str
    origin: Origin


class Environment:
    """Variables by name. What cannot be read is noted in ``problems`` and counts as not set.

    Args:
        environ: the real environment.
        dotenv: the ``.env`` file beneath it, if any.
    """

    def __init__(self, environ: Mapping[str, str], dotenv: DotEnv | None = None) -> None:
        self._environ = environ
        self._dotenv = dotenv
        self.problems: dict[str, str] = {}
        #: The files that ``NAME_FILE`` variables named so far, as they were before they were read.
        self.files: dict[Path, Stamp] = {}

    def text(self, name: str) -> str | None:
        """The plain value of ``name``, for ``${NAME}``; None where it is not set.

        Raises:
            SettingsError: where it is of the system's keyring, and that cannot be read.
        """
        if name in self._environ:
            return self._environ[name]
        if name.startswith(keyring.PREFIX):
            return keyring.kept(name.removeprefix(keyring.PREFIX))
        return self._dotenv.values.get(name) if self._dotenv else None

    def get(self, name: str) -> Variable | None:
        """The value of ``name``, or the content of the file that ``NAME_FILE`` names; stripped."""
        found = self._in(self._environ, name, lambda n: Origin(f"environment: {n}", kind="environment", literal=False))
        dotenv = self._dotenv
        if found is None and dotenv is not None and name not in self.problems:

            def origin(name: str) -> Origin:
                line = dotenv.lines[name]
                return Origin(f"{dotenv.shown}:{line}: {name}", kind="env_file", file=dotenv.path)

            found = self._in(dotenv.values, name, origin)
        return found

    def _in(self, variables: Mapping[str, str], name: str, origin: Any) -> Variable | None:
        value = variables.get(name, "").strip()
        file = variables.get(f"{name}_FILE", "").strip()
        if value and file:
            self.problems[name] = origin(name).sentence((), f"{name}_FILE is set too; keep one of the two")
            return None
        if value:
            return Variable(value, origin(name))
        if not file:
            return None
        place = origin(f"{name}_FILE")
        path = Path(os.path.abspath(os.path.expanduser(file)))
        self.files.setdefault(path, stamp(path))
        try:
            content = read_text(Path(os.path.expanduser(file)), shown_path(file)).strip()
        except FileNotFoundError:
            problem = f"there is no file {shown_path(file)}"
        except SettingsError as exc:
            problem = exc.problems[0]
        else:
            if content:
                return Variable(content, place)
            problem = f"the file {shown_path(file)} is empty"
        self.problems[name] = place.sentence((), problem)
        return None


def enabled_name(channel_type: str) -> str:
    """The variable that turns a channel type on: ``PUSHOVER_NOTIFICATIONS_ENABLED``."""
    return f"{re.sub(r'[^A-Za-z0-9]', '_', channel_type).upper()}_NOTIFICATIONS_ENABLED"


def environment_layer(environment: Environment, configured: Layer) -> Layer:
    """What the environment says about the delivery and about channels.

    A variable goes to the block of its channel type. Where several blocks have that type it goes to the one that is
    named like the type, and to none where no block is. Where no block has that type, a channel named like the type is
    made if its ``…_NOTIFICATIONS_ENABLED`` is true.

    Args:
        environment: the variables.
        configured: file and arguments together: the blocks there are.
    """
    layer = Layer()
    for key, field in Delivery.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and isinstance(configured.tree.get("delivery", {}), dict):
            _put(layer, environment, ("delivery", key), str(field.json_schema_extra["env"]))
    blocks = configured.tree.get("alerts", {})
    for channel_type in channel_types() if isinstance(blocks, dict) else ():
        name = _block_of(channel_type, blocks)
        flag = enabled_name(channel_type)
        if name is None or not isinstance(blocks.get(name, {}), dict):
            continue
        if name not in blocks and not _is_on(environment, flag, layer):
            continue
        if name in blocks and _type_of(name, blocks[name]) != channel_type:
            if environment.get(flag) is not None:
                told = f"the channel `{printable(name)}` is of another type; give that block another name"
                layer.found.append((0, f"environment: {flag}: {told}"))
            continue
        _put(layer, environment, ("alerts", name, "enabled"), flag)
        _put_arguments(layer, environment, name, channel_type)
    layer.found += [(0, problem) for problem in environment.problems.values()]
    return layer


def _put(layer: Layer, environment: Environment, path: KeyPath, name: str) -> None:
    found = environment.get(name)
    if found is not None:
        layer.put(path, found.value, found.origin)


def _put_arguments(layer: Layer, environment: Environment, name: str, channel_type: str) -> None:
    try:
        arguments = channel_model(channel_type).arguments
    except UnknownChannelType:
        return  # told where the channel's block is read
    for argument in arguments:
        if argument.env:
            _put(layer, environment, ("alerts", name, argument.name), argument.env)


def _type_of(name: str, block: Any) -> str:
    return str(block.get("type", name)) if isinstance(block, dict) else name


def _block_of(channel_type: str, blocks: Mapping[str, Any]) -> str | None:
    """The block that variables of a type belong to: the type itself where there is none, None where it is unclear."""
    named = [name for name, block in blocks.items() if _type_of(name, block) == channel_type]
    if channel_type in named or not named:
        return channel_type
    return named[0] if len(named) == 1 else None


def _is_on(environment: Environment, flag: str, layer: Layer) -> bool:
    found = environment.get(flag)
    if found is None or found.value.lower() in _NO:
        return False
    if found.value.lower() not in _YES:
        told = f"write true or false, not {sentences.shown(found.value)}"
        layer.found.append((0, found.origin.sentence((), told)))
        return False
    return True


def state_folder(environ: Mapping[str, str]) -> Path:
    """The user's folder for data that should outlive a restart.

    Raises:
        RuntimeError: where the user has no home folder.
    """
    if os.name == "nt":
        local = environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "bt_alerts"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "bt_alerts"
    chosen = environ.get("XDG_STATE_HOME", "")
    return (Path(chosen) if os.path.isabs(chosen) else Path.home() / ".local" / "state") / "bt_alerts"
