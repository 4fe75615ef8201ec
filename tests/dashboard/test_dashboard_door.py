"""Who may see the dashboard: this machine, or who knows the password; and what it never does."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from browser import Tab
from dashboard_kit import PATIENCE, cell, free_port, opened, served, settled

from bt_alerts import AlertManager
from bt_alerts.dashboard.serve import PASSWORD, CannotServe, check, options, password

Pages = Callable[..., Tab]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "alerts.yaml"
    file.write_text("store: alerts.db\nalerts:\n  console:\n    enabled: false\n", encoding="utf-8")
    with AlertManager(str(file)) as manager:
        manager.send_custom_alert("For your eyes only", title="Hidden thing")
    return file


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bt_alerts", "dashboard", "--no-browser", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=environment or None, check=False
    )


# Where it may listen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7"])
def test_an_address_that_others_can_reach_is_refused_without_a_password(address: str) -> None:
    with pytest.raises(CannotServe, match="needs a password"):
        check(address, free_port(), guarded=False)


def test_with_a_password_it_may_listen_for_others() -> None:
    check("0.0.0.0", free_port(), guarded=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_this_machine_needs_no_password(address: str) -> None:
    check(address, free_port(), guarded=False)


def test_a_port_that_somebody_has_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotServe, match="another with --port"):
        check("127.0.0.1", taken.getsockname()[1], guarded=False)


def test_an_address_of_nobody_is_told() -> None:
    with pytest.raises(CannotServe, match="no address of this machine"):
        check("no.such.host.invalid", 8501, guarded=False)


def test_the_command_refuses_in_a_sentence(settings: Path) -> None:
    done = run("-c", str(settings), "--address", "0.0.0.0", "--port", str(free_port()))
    assert done.returncode == 2
    assert f"set {PASSWORD}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_settings_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run("-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "bt-alerts init" in done.stderr


# Passwords -------------------------------------------------------------------------------------------


def test_a_password_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    assert password() == ""
    made, file = secrets.token_hex(8), tmp_path / "password"
    file.write_text(f"{made}\n", encoding="utf-8")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(file))
    assert password() == made
    monkeypatch.setenv(PASSWORD, "direct-" + made)
    assert password() == "direct-" + made


@pytest.mark.parametrize("content", ["", "short"])
def test_an_empty_or_short_password_is_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "password"
    file.write_text(content, encoding="utf-8")
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(file))
    with pytest.raises(CannotServe, match=r"empty file|too short"):
        password()


def test_a_password_file_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{PASSWORD}_FILE", str(tmp_path / "none"))
    with pytest.raises(CannotServe, match="cannot be read"):
        password()


def test_who_does_not_know_the_password_sees_nothing(settings: Path, pages: Pages) -> None:
    made = secrets.token_hex(8)
    with served(settings, **{PASSWORD: made}) as url:
        tab = pages(1440)
        opened(tab, url, "bt_alerts")
        field = tab.page.get_by_role("textbox", name="Password")
        field.fill("not " + made)
        field.press("Enter")
        tab.page.get_by_text("That is not the password.").wait_for()
        tab.page.goto(f"{url}/history")
        field.wait_for()
        settled(tab)
        assert b"Hidden thing" not in tab.received
        assert made.encode() not in tab.received  # neither is the right one told
        field.fill(made)
        field.press("Enter")
        tab.page.get_by_role("heading", name="History", exact=True).wait_for()
        cell(tab, "Hidden thing")
        assert b"Hidden thing" in tab.received
        assert made.encode() not in tab.received


# What it never does ----------------------------------------------------------------------------------


@pytest.fixture
def dashboard(settings: Path) -> Iterator[str]:
    with served(settings) as url:
        yield url


def test_a_page_of_another_site_cannot_use_it(dashboard: str) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    stream = dashboard.replace("http", "ws") + "/_stcore/stream"
    with connect(stream, origin=dashboard, subprotocols=["streamlit"], proxy=None):  # type: ignore[arg-type,list-item]
        pass
    for origin in ("http://evil.example", "http://localhost:1", dashboard.replace("127.0.0.1", "localhost")):
        with pytest.raises(InvalidStatus), connect(stream, origin=origin, proxy=None):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "", "a@127.0.0.1", "["]
)
def test_by_another_name_it_does_not_answer(dashboard: str, host: str) -> None:
    """A name of somebody else's can lead to this machine."""
    for path in ("/", "/_stcore/stream", "/_stcore/health"):
        answer = requests.get(dashboard + path, headers={"Host": host}, timeout=30)
        assert answer.status_code in {400, 403}
        assert "bt_alerts" not in answer.text


def test_it_takes_no_files(dashboard: str) -> None:
    path = f"{dashboard}/_stcore/upload_file/a/b"
    assert requests.put(path, data=b"x" * 1000, timeout=30).status_code == 403


def test_nobody_can_put_it_into_a_frame(dashboard: str) -> None:
    answer = requests.get(dashboard, timeout=30)
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_store_that_is_made_anew_is_the_one_that_is_shown(settings: Path, dashboard: str, pages: Pages) -> None:
    tab = pages(1440)
    opened(tab, dashboard, "Overview")
    newest = tab.page.get_by_role("table", name="The newest alerts")
    newest.get_by_text("Hidden thing").wait_for()
    for file in settings.parent.glob("alerts.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    tab.page.get_by_text(re.compile("There is no store")).first.wait_for()
    with AlertManager(str(settings)) as manager:
        manager.send_custom_alert("Another life", title="Reborn")
    newest.get_by_text("Reborn").wait_for()
    newest.get_by_text("Hidden thing").wait_for(state="detached")
    tab.page.locator(".bta-tiles div", has_text="alerts ever").get_by_text("1", exact=True).wait_for()


def test_it_asks_no_other_host_and_shows_no_traceback(dashboard: str, pages: Pages) -> None:
    tab = pages(1440)
    for path, title in (("", "Overview"), ("/history", "History")):
        opened(tab, f"{dashboard}{path}", title)
    assert tab.hosts == {dashboard.removeprefix("http://")}
    chosen = options("127.0.0.1", 8501, browser=False)
    assert chosen["client_showErrorDetails"] == "none"
    assert chosen["browser_gatherUsageStats"] is False


def test_settings_that_break_while_it_runs_are_told_and_taken_again_when_mended(
    settings: Path, dashboard: str, pages: Pages
) -> None:
    tab = pages(1440)
    opened(tab, dashboard, "Overview")
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right + "mdoe: auto\n", encoding="utf-8")
    tab.page.get_by_text("The settings cannot be used just now.").first.wait_for()
    tab.page.get_by_text(re.compile("mdoe: unknown key")).first.wait_for()
    settings.write_text(right, encoding="utf-8")
    tab.page.reload()
    tab.page.get_by_role("table", name="The newest alerts").get_by_text("Hidden thing").wait_for()
