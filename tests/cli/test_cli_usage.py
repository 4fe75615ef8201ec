"""Exit codes and sentences that every command has, and what the command line costs to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bt_alerts import __version__
from bt_alerts.cli import setup
from bt_alerts.testing import FakeService

#: Every command that reads settings, as one would call it.
COMMANDS = [
    ["check"], ["test"], ["send", "hello"], ["history"], ["history", "--json"], ["export", "out.csv"], ["health"],
    ["health", "--json"], ["backup", "copy.db"], ["dead", "list"], ["dead", "retry", "--all"],
    ["dead", "purge", "--all", "--yes"],
]  # fmt: skip
#: Those that only read the store.
READING = [c for c in COMMANDS if c[0] not in {"check", "test", "send"}]


def named(command: list[str]) -> str:
    return "-".join(command)


def test_the_version(run):
    done = run("--version")
    assert (done.code, done.out) == (0, f"bt-alerts {__version__}\n")


def test_without_a_command_the_help_is_shown(run):
    done = run()
    assert "Usage" in done.out + done.err
    assert "demo" in done.out + done.err


@pytest.mark.parametrize("command", [["demo"], ["init"], ["dead"], *COMMANDS], ids=named)
def test_every_command_explains_itself(run, command):
    words = command[:2] if command[0] == "dead" else command[:1]
    for option in ("--help", "-h"):
        done = run(*words, option)
        assert done.code == 0
        assert "Usage" in done.out


@pytest.mark.parametrize(
    "command",
    [["frobnicate"], ["history", "--frobnicate"], ["send"], ["history", "--limit", "0"], ["history", "--limit", "[/x]"],
     ["send", "x", "--wait", "-1"], ["dead", "retry", "one"], ["demo", "--source", "moon"]],
    ids=named,
)  # fmt: skip
def test_wrong_use_is_2(run, command):
    done = run(*command)
    assert done.code == 2
    assert done.err
    assert done.out == ""


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_wrong_settings_are_all_told_and_2(run, settings, command):
    file = settings("""
        mode: sometimes
        alerts:
          hook: {type: webhok, urls: "http://127.0.0.1:1"}
        events: {order.complete: on}
        """)
    done = run(*command, "-c", file)
    assert done.code == 2
    assert len(done.err.splitlines()) == 3
    for place in ("mode", "alerts.hook.type", "events.order.complete"):
        assert place in done.err


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_settings_file_that_is_not_there_is_2(run, command, tmp_path):
    done = run(*command, "--config", "nowhere.yaml")
    assert done.code == 2
    assert "there is no file nowhere.yaml" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_the_environment_names_the_settings_file(run, command, monkeypatch):
    monkeypatch.setenv("BT_ALERTS_CONFIG", "elsewhere.yaml")
    assert "elsewhere.yaml" in run(*command).err


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_store_that_is_none_is_2(run, webhook, tmp_path, command):
    (tmp_path / "alerts.db").write_bytes(b"this is no database, and long enough to be looked at" * 20)
    done = run(*command, "-c", webhook)
    assert done.code == 2
    assert "is not a database of bt_alerts" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", READING, ids=named)
def test_reading_makes_no_store_and_sends_nothing(run, webhook, tmp_path, service, command):
    done = run(*command, "-c", webhook)
    assert done.code == 1
    assert "There is no store" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.yaml"]
    assert service.requests == []


@pytest.mark.parametrize("command", READING, ids=named)
def test_reading_what_was_kept_in_memory_says_so(run, settings, command):
    done = run(*command, "-c", settings("store: memory\n"))
    assert done.code == 1
    assert "in memory only" in done.err


def test_our_own_fault_is_a_sentence_without_secrets_and_1(run, webhook, monkeypatch):
    from bt_alerts.redact import register_secret

    def broken(*_: object) -> None:
        register_secret("CANARY-5151")
        raise RuntimeError("cannot go on with CANARY-5151")

    monkeypatch.setattr(setup, "_store_words", broken)
    done = run("check", "-c", webhook)
    assert done.code == 1
    assert "RuntimeError: cannot go on with •••" in done.err
    loud = run("--verbose", "check", "-c", webhook)
    assert "Traceback" in loud.err
    assert "CANARY" not in done.err + loud.err


def test_a_log_line_is_a_sentence_too(run, settings, tmp_path):
    file = settings("alerts:\n  pushover: {app_token: abcdefghijklmnopqrstuvwxyz0123, user_key: k12345678901234}\n")
    file.chmod(0o644)
    done = run("check", "-c", file)
    assert "chmod 600" in done.err
    assert "abcdefghij" not in done.said


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bt_alerts", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_is_130_and_no_traceback(webhook: Path, service: FakeService) -> None:
    gate = threading.Event()
    service.answer(200, gate=gate)
    with start("send", "hello", "-c", webhook) as process:
        service.wait_for(1, timeout=20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    gate.set()
    assert process.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in out + err


def test_it_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys; import bt_alerts.cli\n"
        "heavy = {'pandas', 'numpy', 'backtrader', 'matplotlib', 'requests', 'pydantic', 'yaml', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_a_terminal_without_our_signs_shows_question_marks(webhook: Path, service: FakeService) -> None:
    with start("send", "⏱ 収益 🚀", "--title", "🚀", "-c", webhook, PYTHONIOENCODING="ascii") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    with start("history", "-c", webhook, PYTHONIOENCODING="ascii") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "?" in out


def test_a_reader_that_leaves_early_is_no_fault(
    settings: Callable[[str], Path], tmp_path: Path, service: FakeService
) -> None:
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.sqlite import SqliteOutbox

    outbox = SqliteOutbox(tmp_path / "alerts.db")
    outbox.record((Alert.make("x" * 500) for _ in range(2000)), "history")
    outbox.close()
    file = settings("store: alerts.db\n")
    with start("history", "--json", "--limit", 2000, "-c", file) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=20)
    assert "Traceback" not in err
