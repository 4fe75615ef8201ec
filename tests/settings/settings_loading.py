"""Loads settings away from the machine's own environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bt_alerts.errors import SettingsError
from bt_alerts.settings import Settings, load


def problems(config: Any, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> list:
    """What loading complains about."""
    with pytest.raises(SettingsError) as caught:
        load(config, overrides=overrides, environ=environ or {})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "pydantic" not in str(caught.value)
    return caught.value.problems


def loaded(config: Any = None, overrides: Any = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Load without the real environment."""
    return load(config, overrides=overrides, environ=environ or {})
