"""What of a settings file may be shown in a browser: what the models know, and say that it is no credential."""

from __future__ import annotations

import inspect
import typing
from typing import Any

from bt_alerts.dispatchers.registry import UnknownChannelType
from bt_alerts.outbox.postgres_address import is_postgres
from bt_alerts.redact import MASK, redact, without_user
from bt_alerts.settings import yaml_source
from bt_alerts.settings.block import Block
from bt_alerts.settings.fields import is_secret, plain
from bt_alerts.settings.layers import KeyPath
from bt_alerts.settings.models import Settings, channel_model

__all__ = ["MASK", "reference", "secret_text", "shown_tree"]


def reference(text: object) -> str:
    """``${NAME}``, where a text is nothing but that; empty for everything else. A default is not shown."""
    found = yaml_source.reference(text) if isinstance(text, str) else None
    if found is None:
        return ""
    name, default = found
    return "${" + name + (":-…}" if default else "}")


def secret_text(text: str) -> bool:
    """Whether a credential stands in a text that should have none: a known one, or that of an address."""
    return without_user(redact(text)) != text


def shown_tree(tree: Any) -> Any:
    """A copy of a tree of settings with a mask in place of everything that nobody is to see."""
    return _shown(tree, Settings, ())


def _shown(value: Any, annotation: Any, path: KeyPath) -> Any:
    """The copy of one value. ``annotation`` is None where no model knows it."""
    known = None if annotation is None else plain(annotation)
    if isinstance(value, dict):
        return {
            key: _shown(member, _member(known, key, value, (*path, key)), (*path, key)) for key, member in value.items()
        }
    if isinstance(value, list):
        inner = typing.get_args(known)[0] if typing.get_origin(known) in (list, tuple) else known
        return [_shown(member, inner, (*path, number)) for number, member in enumerate(value)]
    if not isinstance(value, str):
        return value
    if reference(value):
        return reference(value)
    hidden = known is None or is_secret(annotation) or "${" in value or secret_text(value)
    return MASK if hidden or (path == ("store",) and is_postgres(value)) else value


def _member(known: Any, key: str, block: dict[str, Any], path: KeyPath) -> Any:
    if len(path) == 2 and path[0] == "alerts":
        inside = block.get(key)
        named = inside.get("type", key) if isinstance(inside, dict) else key
        try:
            return channel_model(str(named))
        except UnknownChannelType:
            return None
    if inspect.isclass(known) and issubclass(known, Block):
        attribute = known.known_keys().get(key)
        return None if attribute is None else known.model_fields[attribute].annotation
    if typing.get_origin(known) is dict:
        return typing.get_args(known)[1]
    return None
