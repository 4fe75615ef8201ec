"""A memory for the rules of one test."""

from __future__ import annotations

import pytest
from rules_kit import Remembered


@pytest.fixture
def state() -> Remembered:
    return Remembered()
