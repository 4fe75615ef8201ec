"""Credentials change while a strategy runs: the files are read again, and one that cannot be used changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert, python, until

from bt_alerts import AlertManager
from bt_alerts.delivery import engine, reload
from bt_alerts.errors import SettingsError
from bt_alerts.settings import load
from bt_alerts.testing import FakeService

Begin = Callable[..., AlertManager]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOOK_EVERY", 0.02)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    made: list[AlertManager] = []

    def begin(config: Any = None, **overrides: Any) -> AlertManager:
        manager = AlertManager(tmp_path / "alerts.yaml" if config is None else config, **overrides)
        made.append(manager)
        manager.start()
        return manager

    yield begin
    for manager in made:
        manager.close(timeout=0)


def write(tmp_path: Path, text: str, name: str = "alerts.yaml") -> None:
    """As a careful editor does it: a new file in the old one's place."""
    fresh = tmp_path / f"{name}.new"
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(tmp_path / name)


def hook(service: FakeService, token: str, more: str = "") -> str:
    return (
        f"alerts:\n  hook:\n    type: webhook\n    urls: '{service.url}'\n    rate_limit: 0\n"
        f"    headers: {{Authorization: Bearer {token}}}\n{more}"
    )


def tokens(service: FakeService) -> list[str]:
    return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in service.requests]


def told(manager: AlertManager, kind: str) -> list[str]:
    return [each.message for each in manager.alerts() if each.kind == kind]


def test_a_changed_file_is_used_for_the_next_alert(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    manager.emit(alert())
    service.wait_for(1)
    write(tmp_path, hook(service, "second-token"))
    until(lambda: told(manager, "settings.changed") == ["channel hook changed"])
    manager.emit(alert())
    service.wait_for(2)
    assert tokens(service) == ["first-token", "second-token"]


def test_what_was_held_for_wrong_credentials_goes_with_the_right_ones(
    begin: Begin, tmp_path: Path, service: FakeService
) -> None:
    service.answer(401)
    write(tmp_path, hook(service, "wrong-token"))
    manager = begin()
    manager.emit(alert("wait for me"))
    until(lambda: manager.ledger().deliveries["held"] > 0)
    service.answer(200)
    write(tmp_path, hook(service, "right-token"))
    until(lambda: "wait for me" in [r.json()["data"]["message"] for r in service.requests if "right" in str(r.headers)])
    until(lambda: manager.ledger().deliveries["held"] == 0)


@pytest.mark.parametrize("broken", ["alerts: [", "alerts: {hook: {type: webhok}}", "mode: sideways"])
def test_a_broken_file_keeps_the_old_settings_and_says_so_once(
    begin: Begin, tmp_path: Path, service: FakeService, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    write(tmp_path, broken)
    service.wait_for(1)
    (said,) = told(manager, "settings.broken")
    assert "alerts.yaml" in said
    assert said.endswith("The settings from before stay in use.")
    assert service.requests[0].json()["data"]["title"] == "The changed settings cannot be used"
    assert tokens(service) == ["first-token"]
    write(tmp_path, broken + "\n")
    manager.emit(alert())
    service.wait_for(2)
    assert "cannot be used, the old ones stay" in caplog.text
    write(tmp_path, hook(service, "third-token"))
    until(lambda: told(manager, "settings.changed"))
    assert len(told(manager, "settings.broken")) <= 2


def test_a_file_that_vanishes_keeps_the_old_settings(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    (tmp_path / "alerts.yaml").unlink()
    service.wait_for(1)
    assert tokens(service) == ["first-token"]
    assert told(manager, "settings.broken")


def test_files_of_the_environment_are_looked_at_too(
    begin: Begin, tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeService() as second:
        write(tmp_path, service.url, "urls")
        write(tmp_path, "NOTIFICATION_MAX_RETRIES=2\n", ".env")
        monkeypatch.setenv("WEBHOOK_URLS_FILE", str(tmp_path / "urls"))
        monkeypatch.setenv("WEBHOOK_NOTIFICATIONS_ENABLED", "true")
        manager = begin({"env_file": str(tmp_path / ".env")}, store="memory")
        assert set(manager.settings.files) == {tmp_path / "urls", tmp_path / ".env"}
        manager.emit(alert())
        service.wait_for(1)
        write(tmp_path, second.url, "urls")
        until(lambda: told(manager, "settings.changed"))
        manager.emit(alert())
        second.wait_for(1)


def test_channels_come_and_go(begin: Begin, tmp_path: Path, service: FakeService, other: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    write(tmp_path, f"alerts:\n  second:\n    type: webhook\n    urls: '{other.url}'\n")
    until(lambda: told(manager, "settings.changed") == ["channel second changed; channel hook ended"])
    manager.emit(alert())
    other.wait_for(1)
    assert service.requests == []
    assert list(manager.channels) == ["second"]


def test_an_unchanged_channel_keeps_its_connections(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    before = manager.channels["hook"].dispatcher
    write(tmp_path, hook(service, "first-token", "  console: {}\n"))
    until(lambda: told(manager, "settings.changed") == ["channel console changed"])
    assert manager.channels["hook"].dispatcher is before


def test_templates_and_privacy_change_too(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    write(tmp_path, hook(service, "first-token", "privacy: hide_amounts\n"))
    until(lambda: told(manager, "settings.changed"))
    assert manager.channels["hook"].dispatcher.look.privacy == "hide_amounts"


def test_a_refusal_of_the_old_credentials_does_not_stop_the_new_ones(
    begin: Begin, tmp_path: Path, service: FakeService
) -> None:
    gate = threading.Event()
    service.on(where=lambda request: "old-token" in str(request.headers)).answer(401, gate=gate)
    write(tmp_path, hook(service, "old-token"))
    manager = begin()
    manager.emit(alert("under way"))
    service.wait_for(1)
    write(tmp_path, hook(service, "new-token"))
    until(lambda: told(manager, "settings.changed"))
    gate.set()
    until(lambda: "under way" in [r.json()["data"]["message"] for r in service.requests if "new" in str(r.headers)])
    until(lambda: manager.ledger().deliveries["delivered"] >= 1)
    assert manager.get_channel_health()["hook"]["disabled"] == ""
    assert manager.ledger().deliveries["held"] == 0


def test_a_channel_that_was_taken_out_sends_nothing_of_its_backlog(
    begin: Begin, tmp_path: Path, service: FakeService
) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)
    write(tmp_path, hook(service, "first-token", "  console: {}\n"))
    manager = begin()
    for number in range(20):
        manager.emit(alert(str(number), channels=["hook"]))
    service.wait_for(1)
    until(lambda: manager.ledger().deliveries["pending"] == 20)
    write(tmp_path, "alerts:\n  console: {}\n")
    until(lambda: told(manager, "settings.changed"))
    gate.set()
    until(lambda: manager.ledger().deliveries["pending"] == 19)
    manager.emit(alert("to the console"))
    until(lambda: manager.ledger().deliveries["delivered"] >= 2)
    assert len(service.requests) == 1


def test_a_file_that_is_being_written_is_read_when_that_is_over(
    begin: Begin, tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    look = reload.Reloader.look
    monkeypatch.setattr(reload.Reloader, "look", lambda self: looks.append(look(self)))
    monkeypatch.setattr(engine, "LOOK_EVERY", 3600.0)
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    until(lambda: looks)  # it looks once by itself
    reloader = manager._reloader
    assert reloader is not None
    for _ in range(10):  # as an editor does that saves in place
        (tmp_path / "alerts.yaml").write_text("")
        reloader.look()
        (tmp_path / "alerts.yaml").write_text(hook(service, "second-token"))
        reloader.look()
    assert told(manager, "settings.changed") == []
    reloader.look()
    until(lambda: "channel hook changed" in told(manager, "settings.changed"))
    assert told(manager, "settings.broken") == []
    assert list(manager.channels) == ["hook"]


def test_an_empty_file_ends_no_channel(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    write(tmp_path, "\n")
    service.wait_for(1)
    (said,) = told(manager, "settings.broken")
    assert "the file is empty" in said


def test_a_change_between_loading_and_beginning_is_seen(tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    settings = load(tmp_path / "alerts.yaml")
    write(tmp_path, hook(service, "second-token"))
    with AlertManager(settings) as manager:
        manager.start()
        until(lambda: told(manager, "settings.changed"))


def test_settings_that_could_not_be_used_are_tried_again(
    begin: Begin, tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "TRY_AGAIN", 0.05)
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    write(tmp_path, hook(service, "second-token", "env_file: .env\n"))
    until(lambda: told(manager, "settings.broken"))
    write(tmp_path, "A=b\n", ".env")
    until(lambda: told(manager, "settings.changed"))


def test_a_dispatcher_that_fails_to_close_keeps_nobody_up(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    manager.emit(alert())
    service.wait_for(1)

    def fail() -> None:
        raise OSError("no")

    manager.channels["hook"].dispatcher.close = fail  # type: ignore[method-assign]
    write(tmp_path, hook(service, "second-token"))
    until(lambda: told(manager, "settings.changed"))
    manager.emit(alert())
    service.wait_for(2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_changes_too(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = begin()
    with manager._reloader._lock:
        child = os.fork()
        if child == 0:
            write(tmp_path, hook(service, "child-token"))
            with contextlib.suppress(BaseException):
                os._exit(0 if manager.reload().channels else 3)
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_can_be_asked_for(begin: Begin, tmp_path: Path, service: FakeService) -> None:
    write(tmp_path, hook(service, "first-token"))
    manager = AlertManager(tmp_path / "alerts.yaml")
    write(tmp_path, hook(service, "second-token"))
    assert manager.reload().channels["hook"]
    write(tmp_path, "alerts: [")
    with pytest.raises(SettingsError):
        manager.reload()
    manager.emit(alert(title="mine"))
    service.wait_for(1)
    assert set(tokens(service)) == {"second-token"}
    manager.close(timeout=0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_sighup_reads_them_again_where_there_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text("alerts: {console: {}}\n")
    script = """
        import os, sys
        from bt_alerts import AlertManager
        manager = AlertManager(sys.argv[1])
        manager.start()
        print("ready", flush=True)
        for _ in sys.stdin:
            print(manager.get_statistics()["by_type"], flush=True)
        """
    process = python(script, tmp_path / "alerts.yaml", stdin=-1, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (tmp_path / "alerts.yaml").unlink()
    os.kill(process.pid, signal.SIGHUP)

    def asked() -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x\n")
        process.stdin.flush()
        return process.stdout.readline()

    until(lambda: b"health" in asked())
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, "SIGHUP did not end it"
    assert b"the changed settings cannot be used" in err
