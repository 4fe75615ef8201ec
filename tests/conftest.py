"""What every test starts from: no settings of this machine, no manager of the test before; long ones on request."""

from __future__ import annotations

import collections
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from alerts_kit import Clock, webhook
from browser import chromium, pages  # noqa: F401 - fixtures
from postgres_server import PostgresServer

from bt_alerts import AlertManager, redact
from bt_alerts import manager as managers
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.testing import FakeService

# A shell ignores Ctrl-C for what it starts in the background, and the programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine may take its time for an example. Continuous integration always tries the same ones, so that no change
# is refused for what it did not touch; everywhere else they are new ones each time.
hypothesis.settings.register_profile(
    "bt_alerts",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI") or os.environ.get("BT_ALERTS_CI")),
    print_blob=True,
)
hypothesis.settings.load_profile("bt_alerts")

FOREIGN = re.compile(r"BT_ALERTS_CONFIG|.*_NOTIFICATIONS_ENABLED|.*_proxy|NOTIFICATION_.*|PG[A-Z]+", re.IGNORECASE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("BT_ALERTS_LONG") != "1":
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: set BT_ALERTS_LONG=1, or use `make kill`"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much the contract of the dispatchers looked at: one test of it has many cases."""
    counted: collections.Counter[str] = collections.Counter()
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "contract":
                counted[value[0]] += max(1, value[1])
    if counted:
        terminalreporter.write_line(f"DispatcherContract: {len(counted)} dispatchers, {counted.total():,} cases")


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers as secret must not be masked in the next one."""
    monkeypatch.setattr(redact, "_secrets", set())
    monkeypatch.setattr(redact, "_pattern", None)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that runs in this process decides what is shown of the log; the next test hears all of it again."""
    logger = logging.getLogger("bt_alerts")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def uncollected() -> Iterator[None]:
    """For what nests until Python says stop: what other tests left cannot be finalised down there, and would fail."""
    from bt_alerts.testing.http_contract import uncollected as held_off

    with held_off():
        yield


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


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """A store of each kind, whose ledgers balance in the end."""
    made: Outbox
    if request.param == "postgres":
        made = PostgresOutbox(request.getfixturevalue("postgres_dsn"), tmp_path / "journals")
    else:
        made = SqliteOutbox(tmp_path / "s.db") if request.param == "sqlite" else MemoryOutbox()
    yield made
    assert made.ledger().balanced
    made.close()


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One real server for each worker that asks; it is shared, so a test that stops it takes `own_postgres`."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database."""
    dsn = postgres.fresh_database()
    yield dsn
    postgres.release(dsn)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, which it may stop and kill."""
    with PostgresServer() as server:
        yield server
