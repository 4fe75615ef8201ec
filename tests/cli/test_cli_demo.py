"""``bt-alerts demo``, end to end: what it shows and leaves, and that nothing goes anywhere but to its own receiver."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bt_alerts.alert import Alert, utcnow
from bt_alerts.demo import run as demo
from bt_alerts.demo.receiver import Delivery
from bt_alerts.outbox.base import Ledger
from bt_alerts.testing import FakeService


def start(*arguments: str, home: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    how = ["-c", code] if code else ["-m", "bt_alerts"]
    return subprocess.run(
        [sys.executable, *how, *arguments],
        cwd=home,
        env={**os.environ, "COLUMNS": "80", "PATH": os.path.dirname(sys.executable), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def somebody() -> FakeService:
    """Somebody's proxy, webhook and Pushover, all of which the demo must leave alone."""
    with FakeService() as service:
        yield service


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, somebody: FakeService) -> tuple[Path, str]:
    """The demo, run twice in one folder, as somebody would whose environment is full of channels."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "bt_alerts_demo"
    mine = home / "mine.yaml"
    mine.write_text(f"store: mine.db\nalerts: {{hook: {{type: webhook, urls: '{somebody.url}'}}}}\n")
    hostile = {
        "BT_ALERTS_CONFIG": str(mine),
        "WEBHOOK_NOTIFICATIONS_ENABLED": "true",
        "WEBHOOK_URLS": somebody.url,
        "PUSHOVER_NOTIFICATIONS_ENABLED": "true",
        "PUSHOVER_APP_TOKEN": "a" * 30,
        "PUSHOVER_USER_KEY": "u" * 30,
        "HTTP_PROXY": somebody.url,
        "http_proxy": somebody.url,
    }
    for symbol in ("fb", "goog"):
        done = start("demo", "--fast", "--symbol", symbol, home=home, **hostile)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert sorted(path.name for path in home.iterdir()) == ["bt_alerts_demo", "mine.yaml"]
    return folder, done.stdout


def test_it_fits_on_80_columns_without_a_terminal(ran):
    _, shown = ran
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown


def test_it_says_what_happened(ran):
    _, shown = ran
    for words in ("A backtest records, and sends nothing", "617        125", "GOOG closed: +5,297.27", "balances"):
        assert words in shown
    for event in ("connection check", "strategy.armed", "data.live", "signal", "order.completed", "trade.closed"):
        assert event in shown
    assert "✗" not in shown
    assert shown.count("ms   ✓") >= 8


def test_the_backtest_is_the_same_with_and_without(ran):
    _, shown = ran
    assert "Without alerts the backtest ends at 180,208.85, with them at 180,208.85." in shown


def test_it_leaves_a_history_a_chart_and_a_store(ran):
    folder, shown = ran
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 617
    assert {row["source"] for row in rows} == {"history"}
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    with sqlite3.connect(folder / "alerts.db") as db:
        (sent,) = db.execute("SELECT count(*) FROM deliveries WHERE state = 'delivered'").fetchone()
    db.close()
    assert f"{sent} of {sent} alerts arrived" in shown


def test_its_settings_open_its_store(ran, run):
    folder, _ = ran
    assert run("health", "-c", folder / "alerts.yaml").code == 0
    assert "trade.closed" in run("history", "--type", "trade", "-c", folder / "alerts.yaml").out


@pytest.mark.parametrize(
    ("started", "on_path", "called"),
    [
        ("bin/bt-alerts", True, "bt-alerts"),
        ("bin/bt-alerts", False, "bin/bt-alerts"),
        ("/elsewhere/my bin/bt-alerts", False, '"/elsewhere/my bin/bt-alerts"'),
        ("/some/bt_alerts/__main__.py", False, "bin/python -m bt_alerts"),
    ],
)
def test_what_next_names_the_program_as_it_can_be_called(monkeypatch, tmp_path, started, on_path, called):
    program = tmp_path / "bin" / "bt-alerts"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent if on_path else tmp_path))
    monkeypatch.setattr(sys, "argv", [started, "demo"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    out = io.StringIO()
    demo._goodbye(demo._Show(Console(file=out, width=80)), Path("d"))
    assert f"  {called} history -c d/alerts.yaml\n" in out.getvalue()
    assert f"  {called} init\n" in out.getvalue()


def test_nobody_else_hears_of_it(ran, somebody):
    assert somebody.requests == []


def test_it_works_without_matplotlib(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from bt_alerts.cli import main; main()"
    done = start("demo", "--fast", "--folder", "d", "--symbol", "fb", home=tmp_path, code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'pip install "bt-alerts[charts]"' in done.stdout
    assert not (tmp_path / "d" / "chart.png").exists()


def test_it_leaves_a_folder_alone_that_it_did_not_make(run, tmp_path):
    (tmp_path / "alerts.db").write_text("mine")
    (tmp_path / "alerts.yaml").write_text("store: alerts.db\n")
    done = run("demo", "--fast", "--folder", tmp_path)
    assert done.code == 2
    assert "no demo made" in done.err
    assert (tmp_path / "alerts.db").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_2(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("demo", "--folder", tmp_path / "file" / "d")
    assert done.code == 2
    assert "cannot be used" in done.err


def test_an_unknown_share_is_2_and_says_which_there_are(run, tmp_path):
    done = run("demo", "--symbol", "GOOD")
    assert done.code == 2
    assert "Did you mean GOOG?" in done.err
    assert list(tmp_path.iterdir()) == []


def test_yahoo_without_yfinance_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    done = run("demo", "--source", "yahoo")
    assert done.code == 2
    assert 'pip install "bt-alerts[data]"' in done.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"genuine": False}, "A signature did not hold"),
        ({"missing": True}, "0 of 1 alerts arrived"),
        ({"recorded": 7}, "does not balance"),
    ],
)
def test_whatever_goes_wrong_fails_it(change, said):
    alert = Alert.make("x", title="[bold]x").to_dict()
    delivery = Delivery(utcnow(), "alert.custom", alert, change.get("genuine", True), "msg_1")
    check = Delivery(utcnow(), "bt_alerts.check", {}, True, "msg_2")
    ledger = Ledger(3, change.get("recorded", 2), 0, 1, 0, 1, {"delivered": 1}, {})
    out = io.StringIO()
    show = demo._Show(Console(file=out, width=80))
    show.arrived(delivery)
    passed = demo._summary(show, [check] if "missing" in change else [check, delivery], ledger)
    assert passed is (not change)
    assert said in out.getvalue()
    assert "[bold]x" in out.getvalue()
