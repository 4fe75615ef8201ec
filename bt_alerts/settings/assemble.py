"""From a merged tree to :class:`Settings`: every check there is, and every fault told at once."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from bt_alerts import calendars
from bt_alerts.alert import AlertType
from bt_alerts.dispatchers.registry import UnknownChannelType, channel_types
from bt_alerts.kinds import KINDS, data_of
from bt_alerts.outbox.postgres_address import is_postgres, taken_apart
from bt_alerts.outbox.postgres_address import problem as postgres_problem
from bt_alerts.render import templates
from bt_alerts.settings import sentences
from bt_alerts.settings.block import Block
from bt_alerts.settings.environment import state_folder
from bt_alerts.settings.fields import as_list, block_in_list, choices, member_of, plain
from bt_alerts.settings.layers import KeyPath, Layer, find, printable
from bt_alerts.settings.models import ChannelSettings, Delivery, Settings, Templates, Watch, channel_model
from bt_alerts.settings.rule_checks import check_rules

log = logging.getLogger("bt_alerts.settings")
B = TypeVar("B", bound=Block)

MEMORY = "memory"
_warned: set[Path] = set()
_logged: set[str] = set()


def assemble(
    layer: Layer, environ: Mapping[str, str], file: Path | None, *, now: float, log_warnings: bool = True
) -> Settings:
    """Check a merged tree and make the settings of it.

    Args:
        layer: everything that was given, the strongest on top.
        environ: where the user's state folder is looked up.
        file: the YAML file, beside which the store is put.
        now: by which the windows of rules are judged, in Unix seconds.
        log_warnings: log what works and may not be what was meant, once; the settings have it anyway.

    Raises:
        SettingsError: with every problem.
    """
    _hint_misplaced(layer)
    top = {key: value for key, value in layer.tree.items() if key != "alerts"}
    settings = _validated(Settings, top, (), layer)
    _check_left_out(Settings, (), layer)
    _check_events(layer)
    channels = _channels(layer)
    _check_fallbacks(layer)
    _check_rules(layer, now)
    if settings is not None:
        _check_templates(settings.templates, channels, layer)
        if not log_warnings:  # somebody looks: only then is the library of exchanges worth its time
            _check_exchanges(settings.watch, layer)
    store = _store(layer, any(channel.enabled for channel in channels.values()), environ, file)
    if settings is not None and settings.delivery.worker != "thread" and store == MEMORY:
        layer.problem(
            ("delivery", "worker"),
            f"`{settings.delivery.worker}` needs a store on disk, because another process delivers: write `store: "
            "alerts.db`, or `worker: thread`",
        )
    layer.raise_problems()
    assert settings is not None  # otherwise there was a problem
    _warn_of_readable_credentials(layer, channels, settings)
    settings = settings.model_copy(update={"alerts": channels, "store": store})
    settings._warnings = _warnings(layer, log_warnings)
    return settings


def _check_rules(layer: Layer, now: float) -> None:
    alerts = layer.tree.get("alerts")
    blocks = {n: b if isinstance(b, dict) else {} for n, b in alerts.items()} if isinstance(alerts, dict) else {}
    types = {name: str(block.get("type", name)) for name, block in blocks.items()}
    check_rules(layer, types, [name for name, block in blocks.items() if _is_enabled(block)], now)


def _warnings(layer: Layer, log_them: bool) -> tuple[str, ...]:
    found = sorted(layer.warned, key=lambda warned: warned.line)
    for warned in found:
        if log_them and warned.log and warned.text not in _logged:
            _logged.add(warned.text)
            log.warning("%s", warned.text)
    return tuple(warned.text for warned in found)


# ------------------------------------------------------------------------------------------- the models


def _validated(model: type[B], block: dict[str, Any], at: KeyPath, layer: Layer) -> B | None:
    try:
        return model.model_validate(block)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    for error in errors:
        place = _existing(error["loc"], block)
        missing = error["loc"][len(place) :]
        if error["type"] == "missing" and len(missing) == 1:
            layer.problem((*at, *place, *missing), f"missing; write `{missing[0]}:`")
        elif error["type"] == "extra_forbidden":
            owner = _owner(model, place)
            layer.problem((*at, *place), sentences.unknown_key(str(place[-1]), _writable(owner), owner.later))
        else:
            annotation, limits = _field(model, place)
            value = _at(block, place)
            in_text = isinstance(value, str) and bool(missing) and isinstance(missing[0], int)
            if choices(member_of(annotation)) and (in_text or isinstance(place[-1], int)):  # one of a list of words
                annotation, value = member_of(annotation), as_list(value)[missing[0]] if in_text else value
            layer.problem((*at, *place), sentences.wrong_value(error, annotation, limits, value))
    return None


def _check_left_out(model: type[Block], at: KeyPath, layer: Layer) -> None:
    """A key without a value counts as not given; one that does not exist is a slip all the same."""
    for path in list(layer.origins):
        if path[: len(at)] != at or len(path) == len(at) or find(layer.tree, path) is not None:
            continue
        try:
            owner = plain(_field(model, path[len(at) : -1])[0])
        except KeyError:  # in a block that is unknown itself
            continue
        if owner is ChannelSettings:  # each channel is checked by the model of its type
            continue
        key = path[-1]
        if isinstance(owner, type) and issubclass(owner, Block) and key not in _writable(owner) | owner.later:
            layer.problem(path, sentences.unknown_key(str(key), _writable(owner)))


def _existing(loc: tuple[int | str, ...], block: Any) -> KeyPath:
    """The part of pydantic's location that is a place in the settings; the rest names members of a union."""
    place: KeyPath = ()
    for key in loc:
        known = key in block if isinstance(block, dict) else isinstance(block, list) and key in range(len(block))
        if not known:
            break
        block = block[key]
        place = (*place, key)
    return place


def _at(tree: Any, place: KeyPath) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def _owner(model: type[Block], place: KeyPath) -> type[Block]:
    owner = plain(_field(model, place[:-1])[0])
    assert isinstance(owner, type)
    assert issubclass(owner, Block)
    return owner


def _writable(model: type[Block]) -> set[str]:
    return model.known_keys().keys() - ({"name"} if issubclass(model, ChannelSettings) else set())


def _field(model: type[BaseModel], place: KeyPath) -> tuple[Any, list[Any]]:
    """The type and the limits of what stands at ``place``; of the whole field where that is in a list of values."""
    annotation: Any = model
    limits: list[Any] = []
    for key in place:
        within = plain(annotation)
        if not (isinstance(within, type) and issubclass(within, Block)):
            member = block_in_list(within)
            if member is not None:
                annotation, limits = member, []
            elif typing.get_origin(within) is dict:
                annotation = typing.get_args(within)[1]
            continue
        field = within.model_fields[within.known_keys()[str(key)]]
        annotation, limits = field.annotation, field.metadata
    return annotation, limits


# ------------------------------------------------------------------------------------------ the top level


def _hint_misplaced(layer: Layer) -> None:
    """Keys that stand one level too high."""
    for key in [str(path[0]) for path in layer.origins if len(path) == 1]:
        if key in Settings.model_fields or key in Settings.later:
            continue
        if key in channel_types():
            layer.problem((key,), f"channels stand under `alerts:`; write `alerts:` and below it `{key}:`")
        elif key in Delivery.model_fields:
            layer.problem((key,), f"this stands under `delivery:`; write `delivery:` and below it `{key}:`")


def _check_events(layer: Layer) -> None:
    for kind in [str(path[1]) for path in layer.origins if path[:1] == ("events",) and len(path) == 2]:
        if kind not in KINDS:
            near = sentences.nearest(kind, KINDS)
            hint = f"did you mean `{near}`?" if near else f"use one of {', '.join(KINDS)}"
            layer.problem(("events", kind), f"unknown kind of event; {hint}")


# ----------------------------------------------------------------------------------------------- channels


def _channels(layer: Layer) -> dict[str, ChannelSettings]:
    channels = {}
    alerts = layer.tree.get("alerts", {})
    if not isinstance(alerts, dict):
        layer.problem(("alerts",), "write one block a channel beneath it, such as `console:`")
        return {}
    for name, block in alerts.items():
        channel = _channel(name, block, layer)
        if channel is not None:
            channels[name] = channel
    return channels


def _channel(name: str, block: Any, layer: Layer) -> ChannelSettings | None:
    at: KeyPath = ("alerts", name)
    if not (name.strip() and name.isprintable()):
        layer.problem(at, "a channel needs a name of printable characters")
        return None
    if not isinstance(block, dict):
        layer.problem(at, "write a block of keys beneath it, such as `enabled: true`")
        return None
    model = _model(name, block, layer)
    if model is None:
        return None
    if "name" in block and "name" not in model.taken:
        layer.problem((*at, "name"), "a channel is named by its block; rename the block and remove this key")
    channel = _validated(model, {**block, "name": name, "type": block.get("type", name)}, at, layer)
    _check_left_out(model, at, layer)
    if _is_enabled(block):
        _check_required(model, block, at, layer)
        if channel is not None and not any(path[:2] == at for path in layer.told):
            _check_by_making(channel, at, layer)
        elif "api_url" in model.known_keys():
            _check_address(block.get("api_url"), at, layer)
    return channel


def _model(name: str, block: dict[str, Any], layer: Layer) -> type[ChannelSettings] | None:
    """The model of the block's type; None where there is none, or where the type was not understood already."""
    at: KeyPath = ("alerts", name)
    channel_type = block.get("type", name)
    if (*at, "type") in layer.told:
        return None
    if not isinstance(channel_type, str):
        layer.problem((*at, "type"), f"write one of {', '.join(channel_types())}")
        return None
    try:
        return channel_model(channel_type)
    except UnknownChannelType as exc:
        told = sentences.without(printable(str(exc), 600), channel_type)
    if "type" not in block:
        told += ("" if told.endswith("?") else ".") + " A channel with a name of its own needs `type:`"
    layer.problem((*at, "type") if "type" in block else at, told)
    return None


def _is_enabled(block: dict[str, Any]) -> bool:
    try:
        return TypeAdapter(bool).validate_python(block.get("enabled", True))
    except ValidationError:
        return False


def _check_required(model: type[ChannelSettings], block: dict[str, Any], at: KeyPath, layer: Layer) -> None:
    for argument in model.arguments:
        if argument.required and argument.name not in block:
            ways = f"write `{argument.name}:`" + (f", or set {argument.env}" if argument.env else "")
            layer.problem((*at, argument.name), f"missing; {ways}")


def _check_by_making(channel: ChannelSettings, at: KeyPath, layer: Layer) -> None:
    """Only the constructor knows what goes together, and only the dispatcher which credentials it needs."""
    dispatcher, problem = channel.attempt()
    problem = sentences.without(problem, find(layer.tree, at))
    if dispatcher is None:
        about = re.match(r"`?(\w+)`? (must .*)", problem, re.DOTALL)
        if about and about[1] in channel.taken:
            layer.problem((*at, about[1]), about[2])
        else:
            layer.problem(at, problem)
        return
    _check_address(getattr(dispatcher, "api_url", None), at, layer)
    authorities = getattr(dispatcher, "ca_file", None)
    if isinstance(authorities, str) and authorities and not os.access(authorities, os.R_OK):
        layer.problem((*at, "ca_file"), f"{sentences.named(authorities)} cannot be read; name a PEM file")
    try:
        missing = dispatcher.missing()
    finally:
        with contextlib.suppress(Exception):
            dispatcher.close()
    if missing:
        given = {name for name, attribute in channel.taken.items() if attribute in channel.model_fields_set}
        ways = [
            f"`{argument.name}:`" + (f" ({argument.env})" if argument.env else "")
            for argument in channel.arguments
            if argument.credential
            and argument.name not in given
            and not (argument.name in missing and argument.env in missing)
        ]
        layer.problem(at, missing.rstrip(".") + (f"; not given: {', '.join(ways)}" if ways else ""))


def _check_address(address: object, at: KeyPath, layer: Layer) -> None:
    if isinstance(address, str) and address and not re.match(r"https?://[^/\s]", address):
        layer.problem((*at, "api_url"), "write an address that begins with https:// (or http://)")


def _check_fallbacks(layer: Layer) -> None:
    alerts = layer.tree.get("alerts")
    blocks = {n: b for n, b in alerts.items() if isinstance(b, dict)} if isinstance(alerts, dict) else {}
    to = {name: block["fallback"] for name, block in blocks.items() if isinstance(block.get("fallback"), str)}
    for name, fallback in to.items():
        path: KeyPath = ("alerts", name, "fallback")
        if fallback not in blocks:
            near = sentences.nearest(fallback, blocks)
            hint = f"did you mean `{near}`?" if near else f"use one of {', '.join(printable(b) for b in blocks)}"
            layer.problem(path, f"there is no channel {sentences.shown(fallback)}; {hint}")
        elif fallback == name:
            layer.problem(path, "a channel cannot be its own fallback; name another channel")
        else:
            _check_loop(name, to, layer)


def _check_exchanges(watch: Watch, layer: Layer) -> None:
    """Whether the sessions of exchanges can be known; without them a run goes on as if none were set."""
    sessions: dict[KeyPath, list[str]] = {("watch", "session"): watch.session}
    sessions |= {("watch", "sessions", symbol): texts for symbol, texts in watch.sessions.items()}
    for place, texts in sessions.items():
        for session in map(calendars.read_session, texts):
            if not isinstance(session, calendars.Exchange):
                continue
            try:
                calendars.check(session.code)
            except calendars.CalendarMissing as exc:
                layer.warn(place, f"{exc}. Until then its feeds are watched as if no session were set", log=False)
            except calendars.CalendarError as exc:
                layer.problem(place, str(exc))


def _check_templates(given: Templates, channels: Mapping[str, ChannelSettings], layer: Layer) -> None:
    """A template that cannot work is told now, not when its first alert comes at night."""
    words = {"all", *(word.value for word in AlertType), *KINDS}
    names = {"all", *channels, *channel_types()}
    for channel, by_alert in given.channels.items():
        at: KeyPath = ("templates", "channels", channel)
        if channel not in names:
            layer.problem(at, _no_such("channel", channel, names))
        for alert, parts in by_alert.items():
            if alert not in words:
                layer.problem((*at, alert), _no_such("kind of alert", alert, words))
                continue
            for part, source in parts.model_dump(exclude_none=True).items():
                for told in templates.problems(source, data_of(alert)):
                    place: KeyPath = (*at, alert, part)
                    layer.problem(place if place in layer.origins else place[:-1], told)


def _no_such(what: str, given: str, known: set[str]) -> str:
    near = sentences.nearest(given, known)
    hint = f"did you mean `{near}`?" if near else f"use one of {', '.join(sorted(known))}"
    return f"there is no {what} {sentences.shown(given)}; {hint}"


def _check_loop(name: str, to: Mapping[str, str], layer: Layer) -> None:
    chain = [name]
    while (following := to.get(chain[-1])) is not None and following not in chain:
        chain.append(following)
    if following == name and len(chain) > 1 and name == min(chain):  # told once for the whole loop
        told = " → ".join(printable(link) for link in [*chain, name])
        layer.problem(("alerts", name, "fallback"), f"fallbacks go in a circle ({told}); remove one of them")


# -------------------------------------------------------------------------------------------------- store


def _store(layer: Layer, needed: bool, environ: Mapping[str, str], file: Path | None) -> str:
    given = layer.tree.get("store")
    if given is not None:
        return _given_store(given, layer) if isinstance(given, str) else MEMORY
    if not needed:
        return MEMORY
    if file is not None:
        return os.path.abspath(file.with_name(f"{file.stem}.db"))
    try:
        return str(state_folder(environ) / "alerts.db")
    except RuntimeError:
        layer.problem(("store",), "there is no home folder to keep it in; give the path of a file, or `memory`")
        return MEMORY


def _given_store(given: str, layer: Layer) -> str:
    text = given.strip()
    problem = ""
    if text.lower() in {MEMORY, ":memory:"}:
        return MEMORY
    if is_postgres(text):
        problem = postgres_problem(text)
        if not problem:
            return taken_apart(text).url
    elif not text or "\0" in text or re.match(r"\w+://", text):
        problem = "write the path of a file, `postgresql://user@host/database`, or `memory`"
    else:
        path, problem = absolute(text, layer, ("store",))
        if not problem and os.path.isdir(path):
            problem = f"{sentences.named(text)} is a folder; name a file in it"
        if not problem:
            return str(path)
    layer.problem(("store",), problem)
    return MEMORY


def absolute(text: str, layer: Layer, key: KeyPath) -> tuple[Path, str]:
    """The path that ``text`` means: relative to the file it was written in, else to the current folder.

    Returns:
        The absolute path, and what is wrong with it, if anything.
    """
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        return Path(text), f"there is no home folder for {sentences.named(text)}; write the path in full"
    origin = layer.origin(key)
    folder = origin.file.parent if origin.kind == "file" and origin.file is not None else Path()
    return Path(os.path.abspath(folder / expanded)), ""


# -------------------------------------------------------------------------------------------- permissions


def _warn_of_readable_credentials(layer: Layer, channels: Mapping[str, ChannelSettings], settings: Settings) -> None:
    secret: set[KeyPath] = {("store",)} if settings.store_secrets else set()
    secret |= {
        ("alerts", name, argument.name)
        for name, channel in channels.items()
        for argument in channel.arguments
        if argument.credential
    } | {("watch", "ping_url")}
    files = {
        origin.file
        for path, origin in layer.origins.items()
        if path[:3] in secret and origin.literal and origin.file is not None and find(layer.tree, path)
    }
    for file in sorted(files - _warned):
        if _world_readable(file):
            _warned.add(file)
            log.warning("%s holds credentials and every user of this machine can read it: chmod 600 %s", file, file)


def _world_readable(file: Path) -> bool:
    try:
        return os.name != "nt" and bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
