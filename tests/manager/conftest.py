"""Services on this machine, and managers that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, webhook

from bt_alerts import AlertManager
from bt_alerts.testing import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def other() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manage(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., AlertManager]]:
    """Make a manager on the test's one store, with a channel for each keyword."""
    made: list[AlertManager] = []

    def manage(*, delivery: dict[str, Any] | None = None, **channels: Any) -> AlertManager:
        blocks = {name: webhook(block) if isinstance(block, str) else block for name, block in channels.items()}
        manager = AlertManager(
            {"alerts": blocks, "delivery": {"flush_timeout": 5, **(delivery or {})}},
            store=str(tmp_path / "store.db"),
            clock=clock,
        )
        made.append(manager)
        return manager

    yield manage
    for manager in made:
        manager.close(timeout=0)
