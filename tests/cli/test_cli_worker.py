"""`bt-alerts worker`: one go, wrong use, and the files that run it as a service. Its life is in tests/delivery."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts_kit import ROOT, alert, webhook

from bt_alerts import AlertManager
from bt_alerts.cli import app
from bt_alerts.delivery.serve import Ending, serve_once
from bt_alerts.delivery.worker import Duty
from bt_alerts.errors import StoreError
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.testing import FakeService

DEPLOY = ROOT / "docs" / "deploy"
Run = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path, service: FakeService) -> Path:
    return written(tmp_path, hook=webhook(service.url))


def written(folder: Path, store: str = "alerts.db", delivery: dict[str, Any] | None = None, **channels: Any) -> Path:
    file = folder / "alerts.json"
    settings = {"store": str(folder / store), "delivery": {"worker": "external", **(delivery or {})}}
    file.write_text(json.dumps({**settings, "alerts": channels}))
    file.chmod(0o600)
    return file


def emit(config: Path, *titles: str, **fields: Any) -> None:
    """Alerts of a process that has ended, and that nobody delivered."""
    manager = AlertManager(str(config))
    for title in titles:
        assert manager.emit(alert(title=title, **fields))
    manager.close(timeout=0)


# One go ----------------------------------------------------------------------------------------------


def test_once_delivers_what_is_due_and_says_so(run: Run, config: Path, service: FakeService) -> None:
    emit(config, "one", "two", "three")
    done = run("worker", "-c", config, "--once")
    assert done.code == 0, done.said
    assert [request.json()["data"]["title"] for request in service.requests] == ["one", "two", "three"]
    assert re.search(r"hook\s+3\s+0\s+0\s+0", done.out)
    assert run("worker", "-c", config, "--once").code == 0  # nothing to do is no failure


def test_once_does_not_wait_for_what_is_due_later(run: Run, config: Path, service: FakeService) -> None:
    manager = AlertManager(str(config))
    manager.emit(alert(title="tomorrow"), due=manager.clock() + 86_400)
    manager.close(timeout=0)
    done = run("worker", "-c", config, "--once")
    assert done.code == 0
    assert re.search(r"hook\s+0\s+0\s+0\s+1", done.out)
    assert service.requests == []


@pytest.mark.parametrize(("status", "counts"), [(400, "0 1 0"), (401, "0 [12] 0"), (503, "0 0 1")])
def test_once_fails_where_something_did_not_arrive(
    run: Run, config: Path, service: FakeService, status: int, counts: str
) -> None:
    service.answer(status)
    emit(config, "refused")
    done = run("worker", "-c", config, "--once")
    assert done.code == 1
    assert re.search(f"hook {counts} ".replace(" ", r"\s+"), done.out), done.out
    assert ("dead letters" in done.err) is (status != 503)


def test_once_needs_no_external_in_the_settings(run: Run, tmp_path: Path, service: FakeService) -> None:
    config = written(tmp_path, delivery={"worker": "thread"}, hook=webhook(service.url))
    AlertManager(str(config)).close()
    journal = tmp_path / "alerts.db.journal"
    from bt_alerts.outbox.entries import Accepted, encode
    from bt_alerts.outbox.journal import Journal

    left = Journal(journal)
    left.append(encode(Accepted(alert(title="left"))))
    left.close()
    assert run("worker", "-c", config, "--once").code == 0
    assert [request.json()["data"]["title"] for request in service.requests] == ["left"]


def test_another_store_can_be_named(run: Run, tmp_path: Path, config: Path, service: FakeService) -> None:
    emit(config, "in the other one")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = written(elsewhere, hook=webhook(service.url))
    assert run("worker", "-c", other, "--once", "--store", tmp_path / "alerts.db").code == 0
    assert len(service.requests) == 1
    assert not (elsewhere / "alerts.db").exists()


def test_as_many_addresses_at_once_as_are_asked_for(run: Run, tmp_path: Path, service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)

    def open_when_three_hang() -> None:
        service.wait_for(3, timeout=30)
        time.sleep(0.3)  # time for a fourth, which there must not be
        gate.set()

    threading.Thread(target=open_when_three_hang, daemon=True).start()
    config = written(tmp_path, hook=webhook(*(f"{service.url}/{i}" for i in range(6))))
    emit(config, "to six")
    assert run("worker", "-c", config, "--once", "--concurrency", 3).code == 0
    assert service.most_at_once == 3
    assert len(service.requests) == 6


def test_the_signals_of_the_program_are_its_own_again(run: Run, config: Path) -> None:
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run("worker", "-c", config, "--once").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# Wrong use -------------------------------------------------------------------------------------------


def test_without_channels_it_says_what_to_do(run: Run, tmp_path: Path) -> None:
    config = written(tmp_path)
    done = run("worker", "-c", config)
    assert done.code == 2
    assert "No channel is configured and enabled: `bt-alerts init`" in done.said


def test_without_a_store_on_disk_it_says_what_to_do(run: Run, tmp_path: Path, service: FakeService) -> None:
    config = written(tmp_path, delivery={"worker": "thread"}, hook=webhook(service.url))
    done = run("worker", "-c", config, "--store", "memory")
    assert done.code == 2
    assert "write `store: alerts.db` in" in done.said
    done = run("worker")
    assert done.code == 2
    assert "A worker needs a store" in done.said


def test_a_store_of_a_newer_version_is_refused(run: Run, tmp_path: Path, config: Path) -> None:
    import sqlite3

    SqliteOutbox(tmp_path / "alerts.db").close()
    with sqlite3.connect(tmp_path / "alerts.db") as db:
        db.execute("PRAGMA user_version = 999")
    done = run("worker", "-c", config)
    assert done.code == 2
    assert "written by a newer bt_alerts (schema 999" in done.said
    assert "pip install -U bt-alerts" in done.said


def test_a_store_that_is_upgraded_under_a_worker_is_left_alone(tmp_path: Path, config: Path) -> None:
    import sqlite3

    manager = AlertManager(str(config))
    with sqlite3.connect(tmp_path / "alerts.db") as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreError, match=r"newer bt_alerts \(schema 999, .* `pip install -U bt-alerts`"):
        serve_once(AlertManager.for_worker(manager.settings, Duty()), Ending())
    for act in (manager.outbox.transaction().__enter__, lambda: manager.outbox.lead("a", 0.0, 1.0)):
        with pytest.raises(StoreError, match="newer bt_alerts"):
            act()


def test_a_store_that_cannot_be_written_ends_one_go_at_once(run: Run, tmp_path: Path, config: Path) -> None:
    import sqlite3

    SqliteOutbox(tmp_path / "alerts.db").close()
    other = sqlite3.connect(tmp_path / "alerts.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = run("worker", "-c", config, "--once")
    other.close()
    assert done.code == 1
    assert "locked" in done.said


def test_journals_that_are_not_ours_to_read_are_said(
    run: Run, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(config, "left")
    access = os.access  # of which root has all
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).suffix != ".journal" and access(path, mode))
    done = run("worker", "-c", config)
    assert done.code == 2
    assert "run the worker as the user that they run as" in done.said


@pytest.mark.parametrize(
    ("option", "value"), [("--concurrency", 0), ("--concurrency", 65), ("--metrics-port", 0), ("--metrics-port", 70000)]
)
def test_numbers_out_of_range_are_refused(run: Run, config: Path, option: str, value: int) -> None:
    done = run("worker", "-c", config, option, value)
    assert done.code == 2
    assert option in done.said


def test_metrics_without_their_extra_name_it(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bt_alerts.delivery.metrics", None)
    done = run("worker", "-c", config, "--once", "--metrics-port", 9464)
    assert done.code == 2
    assert 'pip install "bt-alerts[metrics]"' in done.said


def test_settings_with_which_strategies_deliver_themselves_are_mentioned(tmp_path: Path, service: FakeService) -> None:
    config = written(tmp_path, delivery={"worker": "thread"}, hook=webhook(service.url))
    process = subprocess.Popen(
        [sys.executable, "-m", "bt_alerts", "worker", "-c", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert b"delivers for hook through" in process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "worker: external" in err.decode()


# As a service ----------------------------------------------------------------------------------------


def known_commands() -> set[str]:
    return {command.name or "" for command in app.registered_commands}


def checked(command: list[str]) -> None:
    """The command line is one of ours, and takes its options."""
    program, name, *options = command
    assert Path(program).name == "bt-alerts"
    assert name in known_commands()
    result = subprocess.run(
        [sys.executable, "-m", "bt_alerts", name, "--help"], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    for option in options:
        assert not option.startswith("-") or re.search(rf"(?<![\w-]){option}\b", result.stdout), option


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "bt-alerts-worker.service", encoding="utf-8")
    return parser


def test_the_unit_runs_a_command_that_exists_and_ends_it_gracefully() -> None:
    service = unit()["Service"]
    checked(service["ExecStart"].split())
    assert (service["KillSignal"], service["Restart"]) == ("SIGTERM", "always")
    from bt_alerts.settings.models import Delivery

    assert int(service["TimeoutStopSec"]) > Delivery().flush_timeout + 10
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "bt-alerts-worker.service").read_text("utf-8")
    program = tmp_path / "bt-alerts"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    copy = tmp_path / "bt-alerts-worker.service"
    copy.write_text(text.replace("/opt/bt-alerts/venv/bin/bt-alerts", str(program)))
    result = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    about_it = [line for line in result.stderr.splitlines() if "bt-alerts" in line]
    assert (result.returncode, about_it) == (0, [])


def test_the_compose_file_runs_commands_that_exist() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    assert set(services) == {"postgres", "worker"}
    worker = services["worker"]
    checked(worker["command"])
    test = worker["healthcheck"]["test"]
    assert test[0] == "CMD"
    checked(test[1:])
    assert services["postgres"]["healthcheck"]["test"][1] == "pg_isready"
    assert worker["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert worker["stop_signal"] == "SIGTERM"
    assert "bt-alerts[postgres]" in worker["build"]["dockerfile_inline"]
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "postgres" in extras["options.extras_require"]
