"""The console: what a terminal shows, and what it must not be made to do."""

from __future__ import annotations

import datetime as dt
import io
import subprocess
import sys

import pytest

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure
from bt_alerts.dispatchers.console import ConsoleDispatcher

CONTEXT = Context(key="k")
TIME = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)


class Terminal(io.TextIOWrapper):
    """A terminal with an encoding of its own."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


def deliver(alert: Alert, context: Context = CONTEXT) -> None:
    console = ConsoleDispatcher()
    console.deliver(alert, console.targets()[0], context)


def test_it_writes_to_stderr_and_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    deliver(Alert.make("Price: 150\nSize: 10", title="BUY AAPL", time=TIME))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "2026-05-01 12:00:00 🟡 BUY AAPL\n  Price: 150\n  Size: 10\n"


def test_it_can_write_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert ConsoleDispatcher(stream="stdout").send_custom_alert("hello")
    shown = capsys.readouterr()
    assert "hello" in shown.out
    assert shown.err == ""


def test_another_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="stream must be one of stderr, stdout"):
        ConsoleDispatcher(stream="printer")


def test_control_codes_of_the_terminal_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    deliver(Alert.make("a\x1b[2Jb\x9b1mc\x07", title="\x1b]0;owned\x07"))
    assert "\x1b[2J" not in terminal.shown()
    assert "\x1b]0" not in terminal.shown()
    assert "\x07" not in terminal.shown()
    assert "\x9b" not in terminal.shown()


@pytest.mark.parametrize("priority", list(Priority))
def test_a_terminal_shows_the_colour_of_each_priority(priority: Priority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    deliver(Alert.make("x", priority=priority))
    codes = {"critical": "1;31m", "high": "38;5;208m", "medium": "33m", "low": "32m", "info": "34m"}
    assert f"\x1b[{codes[priority]}" in terminal.shown()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "koi8-r", "utf-16"])
def test_what_a_terminal_cannot_show_is_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(encoding)
    monkeypatch.setattr(sys, "stderr", terminal)
    deliver(Alert.make("價格 é 🚀 done", title="🇩🇪"))
    assert "done" in terminal.shown()


@pytest.mark.parametrize("term", ["dumb", "unknown", "", "no-such-terminal"])
def test_odd_terminals_are_written_to(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "0")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    deliver(Alert.make("done"))
    assert "done" in terminal.shown()


def test_a_process_without_stderr_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(DeliveryFailed, match="no stderr") as caught:
        deliver(Alert.make("x"))
    assert caught.value.failure is Failure.PERMANENT


def test_a_pipe_that_nobody_reads_is_a_failure_and_no_crash() -> None:
    code = (
        "import os, sys\n"
        "from bt_alerts.dispatchers.console import ConsoleDispatcher\n"
        "read, write = os.pipe(); os.close(read)\n"
        "sys.stderr = os.fdopen(write, 'w', buffering=1)\n"
        "print(ConsoleDispatcher().send_custom_alert('x' * 100_000))\n"
        "sys.stderr = None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "False\n"


def test_a_check_of_the_console_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert ConsoleDispatcher().test_connection()
    assert capsys.readouterr() == ("", "")
