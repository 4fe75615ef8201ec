"""Every setting as a row, made from the models and the dispatchers' signatures; and ``docs/settings.md`` from them.

``python -m bt_alerts.settings.reference docs/settings.md`` writes the tables anew between their markers.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bt_alerts.dispatchers.registry import BUILT_IN, UnknownChannelType, channel_types
from bt_alerts.kinds import KINDS
from bt_alerts.settings.block import Block
from bt_alerts.settings.environment import enabled_name
from bt_alerts.settings.fields import block_in_list, in_words, plain
from bt_alerts.settings.models import ChannelSettings, Delivery, History, Settings, Templates, Watch, channel_model
from bt_alerts.settings.rules import WhenBlock


class SettingRow(NamedTuple):
    """One setting.

    Args:
        key: its place, ``alerts.pushover.priority``.
        type: what to write, in words.
        default: what holds where it is not given; empty where nothing does.
        env: the environment variable that gives it, if any.
        about: what it is for.
    """

    key: str
    type: str
    default: str
    env: str
    about: str


BATCHES = ("enable_batching", "batch_size", "batch_timeout")


def settings_rows(types: Iterable[str] | None = None) -> list[SettingRow]:
    """Every setting there is.

    Args:
        types: channel types to list; every one that is installed unless given.

    Returns:
        The rows in the order of the file; a channel type that cannot be loaded has none.
    """
    rows = [*_top(), *_rules(), *_fields(Delivery, "delivery"), *_fields(History, "history"), *_watch()]
    rows += [
        SettingRow(f"events.{kind.name}", "on, silent, record or off", kind.setting.value, "", kind.about)
        for kind in KINDS.values()
    ]
    for key in ("type", "enabled", "rate_limit", "fallback", "timeout", "charts", *BATCHES):
        row = setting_row(f"alerts.<name>.{key}", ChannelSettings, key)
        rows.append(row._replace(default="the type's" if key in {"rate_limit", "timeout"} else row.default))
    for channel_type in channel_types() if types is None else types:
        rows += _channel(channel_type)
    return rows


def _top() -> Iterator[SettingRow]:
    for key in ("store", "mode", "privacy", "env_file"):
        row = setting_row(key, Settings, key)
        yield row._replace(default="see below") if key == "store" else row
    for key in Templates.known_keys():
        row = setting_row(f"templates.{key}", Templates, key)
        yield row._replace(type="blocks of templates") if key == "channels" else row


def _rules() -> Iterator[SettingRow]:
    for key in ("routes", "rules", "quiet_hours", "digests", "escalation"):
        yield setting_row(key, Settings, key)
        annotation = Settings.model_fields[key].annotation
        member = block_in_list(annotation)
        yield from _fields(plain(annotation), key) if member is None else _fields(member, f"{key}[]")
    yield from _fields(WhenBlock, "when")


def _watch() -> Iterator[SettingRow]:
    for row in _fields(Watch, "watch"):
        if row.key == "watch.sessions":
            yield row._replace(type="a block of `SYMBOL: hours` lines")
        else:
            yield row._replace(type=f"{row.type}, secret") if row.key == "watch.ping_url" else row


def _fields(model: Any, prefix: str) -> Iterator[SettingRow]:
    for key, name in model.known_keys().items():
        within = plain(model.model_fields[name].annotation)
        if within is WhenBlock:  # it stands in every rule, and has a table of its own
            yield setting_row(f"{prefix}.{key}", model, key)._replace(type="a block as `when` below")
            continue
        yield setting_row(f"{prefix}.{key}", model, key)
        member = block_in_list(within)
        if member is not None:
            yield from _fields(member, f"{prefix}.{key}[]")
        if isinstance(within, type) and issubclass(within, Block):
            yield from _fields(within, f"{prefix}.{key}")


def _channel(channel_type: str) -> list[SettingRow]:
    try:
        model = channel_model(channel_type)
    except UnknownChannelType:
        return []
    prefix = f"alerts.{channel_type}"
    enabled = setting_row(f"{prefix}.enabled", model, "enabled")._replace(env=enabled_name(channel_type))
    rows = [enabled, *(setting_row(f"{prefix}.{key}", model, key) for key in ("rate_limit", "timeout"))]
    credentials = {argument.name for argument in model.arguments if argument.credential}
    for argument in model.arguments:
        if argument.name in ChannelSettings.model_fields:
            continue
        row = setting_row(f"{prefix}.{argument.name}", model, argument.name)
        if argument.name in credentials:
            row = row._replace(type=f"{row.type}, secret")
        rows.append(row._replace(default="required") if argument.required else row)
    return rows


def setting_row(shown: str, model: Any, key: str) -> SettingRow:
    """One key of a model as a row.

    Args:
        shown: what to call its place.
        model: of the block.
        key: as it is written in settings.
    """
    field = model.model_fields[model.known_keys()[key]]
    extra = field.json_schema_extra
    env = str(extra.get("env", "")) if isinstance(extra, dict) else ""
    default = "" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return SettingRow(shown, in_words(field.annotation, field.metadata), default, env, field.description or "")


def _default(value: Any) -> str:
    if value is None or isinstance(value, Block):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, dict) and all(isinstance(each, float) for each in value.values()):
        return ", ".join(f"{key}: {each:g}" for key, each in value.items())
    if isinstance(value, list | dict):
        return "" if not value else ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)


# ------------------------------------------------------------------------------------------------- the page


def markdown_table(rows: Iterable[SettingRow]) -> str:
    """The rows as a Markdown table."""
    lines = ["| key | write | default | environment | what for |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        env = f"`{row.env}`" if row.env else ""
        cells = (f"`{row.key}`", row.type, row.default, env, row.about)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def page_with_rows(page: str) -> str:
    """``page`` with the section of each channel type and each table between its marks made anew."""
    rows = settings_rows(BUILT_IN)

    def table(match: re.Match[str]) -> str:
        prefixes = match[1].split()
        chosen = [row for row in rows if any(row.key == p or row.key.startswith(f"{p}.") for p in prefixes)]
        return f"<!-- settings: {match[1]} -->\n{markdown_table(chosen)}\n<!-- end -->"

    sections = "\n\n".join(_section(channel_type) for channel_type in sorted(BUILT_IN))
    page = re.sub(
        r"(<!-- a section for each channel type -->\n).*?(<!-- end of channel types -->)",
        lambda found: f"{found[1]}{sections}\n{found[2]}",
        page,
        flags=re.DOTALL,
    )
    return re.sub(r"<!-- settings: (.+?) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def _section(channel_type: str) -> str:
    page = f"[channels/{channel_type}.md](channels/{channel_type}.md)"
    return f"### `{channel_type}`\n\n{page}\n\n<!-- settings: alerts.{channel_type} -->\n<!-- end -->"


if __name__ == "__main__":
    _target = Path(sys.argv[1])
    _target.write_text(page_with_rows(_target.read_text(encoding="utf-8")), encoding="utf-8")
