"""What the tests of the command line share: a clean environment, a settings file, and a way to run a command."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bt_alerts.cli import app
from bt_alerts.testing import FakeService


@dataclasses.dataclass
class Done:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams, without the line breaks of tables."""
        return " ".join((self.out + " " + self.err).split())


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test; a wide terminal."""
    for name in list(os.environ):
        if name.startswith(("BT_ALERTS", "NOTIFICATION_", "WEBHOOK_", "PUSHOVER_", "CONSOLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """Run a command in this process. A traceback is never an answer."""

    def command(*arguments: object, answer: str = "") -> Done:
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        stdin = io.TextIOWrapper(io.BytesIO(answer.encode()))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _stdin(stdin):
            try:
                app([str(argument) for argument in arguments], prog_name="bt-alerts")
            except SystemExit as end:
                code = end.code
        done = Done(int(str(code or 0)), out.getvalue(), err.getvalue())
        if "--verbose" not in arguments:
            assert "Traceback" not in done.out + done.err
        return done

    return command


@contextlib.contextmanager
def _stdin(stream: io.TextIOWrapper) -> Iterator[None]:
    import sys

    before, sys.stdin = sys.stdin, stream
    try:
        yield
    finally:
        sys.stdin = before


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Path]:
    """Write ``alerts.yaml`` and give its path."""

    def write(text: str) -> Path:
        path = tmp_path / "alerts.yaml"
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def webhook(settings: Callable[[str], Path], service: FakeService) -> Path:
    """Settings with one webhook, ``hook``, at the service; two refusals are the end of a message."""
    return settings(f"""
        store: alerts.db
        alerts:
          hook: {{type: webhook, urls: "{service.url}", rate_limit: 0}}
        delivery: {{max_retries: 0, retry_delay: 0.05}}
        """)
