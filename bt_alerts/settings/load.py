"""Loads settings: argument before environment before file before default.

The environment alone is a configuration. No file is looked for in the current folder: what is not named is not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bt_alerts.errors import SettingsError
from bt_alerts.redact import MASK
from bt_alerts.settings.assemble import absolute, assemble
from bt_alerts.settings.dotenv import DotEnv, read_dotenv
from bt_alerts.settings.environment import Environment, environment_layer
from bt_alerts.settings.layers import Layer, Origin, from_mapping, merge
from bt_alerts.settings.models import Settings, masked
from bt_alerts.settings.stamps import Stamp, stamp
from bt_alerts.settings.yaml_source import YamlFile, shown_path

#: The variable that names the settings file where none is given.
CONFIG_VARIABLE = "BT_ALERTS_CONFIG"


@dataclasses.dataclass(frozen=True, slots=True)
class _Sources:
    """What settings were made from, so that arguments can be added to them later."""

    config: Layer
    arguments: Layer
    file: Path | None
    dotenv: DotEnv | None
    files: Mapping[Path, Stamp] = dataclasses.field(default_factory=dict)


def load(
    config: Any = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Load, merge and check settings.

    Args:
        config: path of a YAML file, a mapping, :class:`Settings`, a :class:`ConfigManager`, or None for the file that
            ``$BT_ALERTS_CONFIG`` names, if any.
        overrides: top-level keys given as arguments; blocks are joined key by key with what stands below them.
        environ: the environment; the process's own unless given.

    Returns:
        Settings with the store's absolute path (or ``"memory"``) filled in.

    Raises:
        SettingsError: with every problem, each with its place and what to write instead.
    """
    try:
        return _load(config, overrides, os.environ if environ is None else environ, time.time(), log_warnings=True)
    except SettingsError as exc:
        raise exc.with_traceback(None) from None  # its sentences say all; our own lines would only push them away


def inspect(
    config: Any = None, *, environ: Mapping[str, str] | None = None, now: float | None = None, text: str | None = None
) -> Settings:
    """Load settings for somebody who looks at their ``warnings``; these are not logged.

    Args:
        config: as for :func:`load`.
        environ: the environment; the process's own unless given.
        now: by which the windows of rules are judged, in Unix seconds; the present unless given.
        text: what the file named by ``config`` is to hold: it is read in place of the file, which need not exist.
            No sentence quotes what ``${NAME}`` stands for then: it may be shown to others than who set it.

    Raises:
        SettingsError: with every problem.
    """
    at = time.time() if now is None else now
    return _load(config, None, os.environ if environ is None else environ, at, log_warnings=False, text=text)


def _load(
    config: Any,
    overrides: Mapping[str, Any] | None,
    environ: Mapping[str, str],
    now: float,
    *,
    log_warnings: bool,
    text: str | None = None,
) -> Settings:
    if isinstance(config, ConfigManager):
        config = config.settings
    arguments = from_mapping(overrides or {}, Origin("argument", kind="argument"))
    if isinstance(config, Settings):
        if not arguments.tree and not arguments.found:
            return config
        sources = _sources_of(config)
        if "env_file" in arguments.tree:
            dotenv = _dotenv_named_by(arguments, environ)
            sources = dataclasses.replace(sources, dotenv=dotenv or sources.dotenv)
        sources = dataclasses.replace(sources, arguments=merge(sources.arguments, arguments))
    else:
        sources = _read(config, arguments, environ, text)
    return _settings(sources, environ, now, log_warnings=log_warnings, hides=text is not None)


def _settings(
    sources: _Sources,
    environ: Mapping[str, str],
    now: float | None = None,
    *,
    log_warnings: bool = True,
    hides: bool = False,
) -> Settings:
    given = merge(sources.config, sources.arguments)
    environment = Environment(environ, sources.dotenv)
    from_environment = environment_layer(environment, given)
    everything = merge(merge(sources.config, from_environment), sources.arguments)
    everything.hides = hides
    at = time.time() if now is None else now
    settings = assemble(everything, environ, sources.file, now=at, log_warnings=log_warnings)
    settings._sources = dataclasses.replace(sources, files={**environment.files, **sources.files})
    return settings


def reread(settings: Settings, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the files that settings came from again; what was given in Python stays.

    Raises:
        SettingsError: with every problem.
    """
    environ = os.environ if environ is None else environ
    if not isinstance(settings._sources, _Sources):
        raise SettingsError(["config: these settings came from no file, so there is nothing to read again"])
    sources = settings._sources
    if sources.file is not None:
        with contextlib.suppress(OSError):
            if not sources.file.read_bytes().strip():  # an editor is about to write it, or somebody slipped
                raise SettingsError([f"{shown_path(sources.file)}: the file is empty"])
        return _settings(_read(sources.file, sources.arguments, environ), environ)
    if sources.dotenv is not None:  # by its path then: the current folder can be another one now
        path = sources.dotenv.path
        files = {path: stamp(path)}
        try:
            sources = dataclasses.replace(sources, dotenv=read_dotenv(path, sources.dotenv.shown), files=files)
        except FileNotFoundError:
            raise SettingsError([f"there is no file {shown_path(path)}; create it, or remove `env_file`"]) from None
    return _settings(sources, environ)


def _sources_of(settings: Settings) -> _Sources:
    if not isinstance(settings._sources, _Sources):
        raise SettingsError(
            ["config: arguments can only be added to settings that were loaded; use bt_alerts.settings.load()"]
        )
    return settings._sources


def _read(config: Any, arguments: Layer, environ: Mapping[str, str], text: str | None = None) -> _Sources:
    prefix = ""
    if config is None:
        config = environ.get(CONFIG_VARIABLE, "").strip() or {}
        prefix = f"environment: {CONFIG_VARIABLE}: " if config else ""
    if isinstance(config, Mapping):
        layer = from_mapping(config, Origin("config"))
        dotenv = _dotenv_named_by(merge(layer, arguments), environ)
        return _Sources(layer, arguments, None, dotenv, _stamped(dotenv))
    if not isinstance(config, str | os.PathLike):
        what = type(config).__name__
        raise SettingsError([f"config: give a path, a mapping, Settings or a ConfigManager, not {what}"])
    shown = shown_path(config)
    path = Path(os.path.abspath(os.path.expanduser(os.fsdecode(config))))
    source = None
    before = stamp(path)
    try:
        source = YamlFile(path, shown, text)
    except FileNotFoundError:
        problem = f"{prefix}there is no file {shown}: create it with `bt-alerts init {shown}`"
    if source is None:
        raise SettingsError([problem])
    dotenv = _dotenv_of_file(source, arguments, environ)
    layer = source.layer(lambda name: Environment(environ, dotenv).text(name))
    return _Sources(layer, arguments, path, dotenv, {path: before, **_stamped(dotenv)})


def _stamped(dotenv: DotEnv | None) -> dict[Path, Stamp]:
    return {} if dotenv is None else {dotenv.path: dotenv.stamp}


def _dotenv_of_file(source: YamlFile, arguments: Layer, environ: Mapping[str, str]) -> DotEnv | None:
    named = source.env_file(environ.get)
    below = Layer()
    if named is not None:
        name, line, literal = named
        origin = Origin(f"{source.shown}:{line}", kind="file", line=line, file=source.path, literal=literal)
        below.put(("env_file",), name, origin)
    return _dotenv_named_by(merge(below, arguments), environ)


def _dotenv_named_by(layer: Layer, environ: Mapping[str, str]) -> DotEnv | None:
    """The ``.env`` file that ``env_file`` names. A wrong type is left to the models to tell."""
    name = layer.tree.get("env_file")
    if not isinstance(name, str) or not name:
        return None
    origin = layer.origin(("env_file",))
    path, problem = absolute(name, layer, ("env_file",))
    if not problem:
        try:
            return read_dotenv(path, shown_path(name) if origin.literal else "env_file")
        except FileNotFoundError:
            which = shown_path(path) if origin.literal else "that `${…}` names"
            problem = f"there is no file {which}; create it, or remove `env_file`"
    raise SettingsError([origin.sentence(("env_file",), problem if origin.literal else problem.replace(name, "${…}"))])


class ConfigManager:
    """Settings together with where they come from, so that they can be read again.

    Args:
        path: what :func:`load` takes as ``config``.
        overrides: top-level keys that win over the environment and the file.

    Raises:
        SettingsError: with every problem.
    """

    def __init__(self, path: Any = None, **overrides: Any) -> None:
        self._config = path
        self._overrides = overrides
        self._settings = load(path, overrides=overrides)

    @property
    def settings(self) -> Settings:
        """The settings as last read."""
        return self._settings

    def reload(self) -> Settings:
        """Read file and environment again. Where that fails, the settings stay as they were.

        Raises:
            SettingsError: with every problem.
        """
        self._settings = load(self._config, overrides=self._overrides)
        return self._settings

    def get(self, key: str, default: Any = None) -> Any:
        """One value by its path, ``get("alerts.pushover.priority")``; credentials are masked.

        Args:
            key: keys joined by dots; a key may itself have dots (``events.order.completed``).
            default: what to return where there is no such key or it has no value.
        """
        found = _find(masked(self._settings.model_dump(by_alias=True, warnings=False), MASK), key.split("."))
        return default if found is None else found

    def __repr__(self) -> str:
        where = self._settings.file
        return f"<ConfigManager {where or 'without a file'}: {len(self._settings.channels)} channels>"


def _find(tree: Any, keys: list[str]) -> Any:
    if not keys:
        return tree
    if isinstance(tree, dict):
        for end in range(len(keys), 0, -1):
            name = ".".join(keys[:end])
            if name in tree:
                found = _find(tree[name], keys[end:])
                if found is not None:
                    return found
    return None
