"""Settings: models made from the dispatchers' signatures, read from YAML, the environment and arguments.

Promises: argument before environment before file before default; every fault is told at once, each in a sentence with
its place and what to write instead; no output shows a credential. This package imports pydantic, so it is imported
where settings are needed and not before. :mod:`bt_alerts.settings.reference` lists every setting there is.
"""

from __future__ import annotations

from importlib import resources

from bt_alerts.settings.load import CONFIG_VARIABLE, ConfigManager, inspect, load, reread
from bt_alerts.settings.models import ChannelSettings, Delivery, Settings

__all__ = [
    "CONFIG_VARIABLE",
    "ChannelSettings",
    "ConfigManager",
    "Delivery",
    "Settings",
    "inspect",
    "load",
    "reread",
    "template",
]


def template() -> str:
    """The commented ``alerts.yaml`` that ``bt-alerts init`` writes."""
    return resources.files(__name__).joinpath("template.yaml").read_text(encoding="utf-8")
