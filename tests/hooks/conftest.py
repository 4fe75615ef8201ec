"""Every test has a default manager of its own, and none hears of the machine's environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from bt_alerts import configure
from bt_alerts.hooks import guard
from bt_alerts.hooks.watch import Watch


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "our_code_fails: something of ours is broken on purpose")


@pytest.fixture(autouse=True)
def own_default_manager(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for name in list(os.environ):
        if name.startswith(("BT_ALERTS", "PUSHOVER", "WEBHOOK", "CONSOLE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(guard, "_seen", set())
    manager = configure({})
    yield
    manager.close()


@pytest.fixture(autouse=True)
def one_look_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tests make the watch look here and now; in a run nobody but its own thread does."""
    lock, look = threading.Lock(), Watch.look

    def looks(watch: Watch) -> float | None:
        with lock:
            return look(watch)

    monkeypatch.setattr(Watch, "look", looks)


@pytest.fixture(autouse=True)
def nothing_of_ours_failed(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """What goes wrong in the hooks is logged and never raised, so a test has to look into the log."""
    yield
    if "our_code_fails" not in request.keywords:
        failed = [r.getMessage() for when in ("setup", "call") for r in caplog.get_records(when) if "failed" in r.msg]
        assert failed == []
