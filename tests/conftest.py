"""What every test starts from: no settings of this machine, no manager of the test before; long ones on request."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bt_alerts import manager as managers

FOREIGN = re.compile(r"BT_ALERTS_CONFIG|.*_NOTIFICATIONS_ENABLED|.*_proxy|NOTIFICATION_.*", re.IGNORECASE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("BT_ALERTS_LONG") != "1":
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: set BT_ALERTS_LONG=1, or use `make kill`"))


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if FOREIGN.fullmatch(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    before, managers._default = managers._default, None
    if before is not None:
        before.close(timeout=0)
