"""``bt-alerts init --interactive`` in a real pseudo terminal, against services on this machine."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import stat
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bt_alerts.errors import SettingsError
from bt_alerts.settings import load
from bt_alerts.settings.file import SettingsFile
from bt_alerts.testing import FakeService

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no pseudo terminals")

#: A keyring of the kind that the library lets anybody add: a JSON file.
BACKEND = """
import json, os
from pathlib import Path
from keyring.backend import KeyringBackend

class Folder(KeyringBackend):
    priority = 1

    @property
    def _file(self):
        return Path(os.environ["TEST_KEYRING"])

    def _all(self):
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service}/{username}")

    def set_password(self, service, username, password):
        self._file.write_text(json.dumps({**self._all(), f"{service}/{username}": password}))

    def delete_password(self, service, username):
        kept = self._all()
        del kept[f"{service}/{username}"]
        self._file.write_text(json.dumps(kept))
"""


class Terminal:
    """A person at a terminal: waits for a question, answers it, and has read everything that was shown."""

    def __init__(self, *arguments: object, env: dict[str, str]) -> None:
        self._shown = io.StringIO()
        command = ["-m", "bt_alerts", "init", "--interactive", *map(str, arguments)]
        self._program = pexpect.spawn(
            sys.executable, command, env=env, encoding="utf-8", timeout=30, dimensions=(60, 160), echo=True
        )
        self._program.logfile_read = self._shown

    def answer(self, question: str, text: str) -> None:
        self._program.expect_exact(question)
        self._program.sendline(text)

    def reads(self, text: str) -> None:
        self._program.expect_exact(text)

    def interrupt(self, question: str) -> None:
        self._program.expect_exact(question)
        self._program.sendintr()

    def end(self) -> int:
        self._program.expect(pexpect.EOF)
        self._program.close()
        return int(self._program.exitstatus)

    def kill(self) -> None:
        self._program.kill(signal.SIGKILL)
        self._program.close()

    @property
    def shown(self) -> str:
        return self._shown.getvalue()


@pytest.fixture
def keyring_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring in a file, for this process and those it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "folder_keyring.py").write_text(textwrap.dedent(BACKEND))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "folder_keyring.Folder")
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "keyring.json"))
    keyring = pytest.importorskip("keyring")
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    return tmp_path / "keyring.json"


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened = []

    def open_one(*arguments: object, **variables: str) -> Terminal:
        env = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {**os.environ, "NO_COLOR": "1", **variables}
        opened.append(Terminal(*arguments, env=env))
        return opened[-1]

    yield open_one
    for each in opened:
        each.kill()


def everything_in(folder: Path, secret: str) -> list[str]:
    """The files that hold ``secret``."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes())


@pytest.fixture
def address(service: FakeService) -> str:
    """A webhook's address, which is a secret."""
    service.on().answer(204, "")
    return f"{service.url}/{secrets.token_hex(12)}"


def test_a_channel_is_set_up_and_its_test_arrives(terminal, service, address, tmp_path) -> None:
    it = terminal()
    it.answer("Which channels?", "webhook")
    it.answer("Name of this channel: [webhook]", "hook")
    it.answer("Where? [file]", "file")
    it.answer("urls", "nonsense")
    it.reads("is not an http:// or https:// address")
    it.answer("more of", "")
    it.answer("urls", address)
    it.answer("more of", "")
    it.answer("Write hook into alerts.yaml?", "y")
    it.answer("Send a test alert through hook now?", "")
    it.reads("arrived")
    assert it.end() == 0
    file = tmp_path / "alerts.yaml"
    secret = address.rpartition("/")[2]
    assert "Test alert of bt_alerts" in service.requests[-1].body.decode()
    assert service.requests[-1].path == f"/{secret}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().splitlines()[0] == "# yaml-language-server: $schema=alerts.schema.json"
    assert json.loads((tmp_path / "alerts.schema.json").read_text())["title"] == "Settings of bt_alerts"
    assert list(load(file).channels) == ["hook"]
    assert secret not in it.shown
    assert everything_in(tmp_path, secret) == ["alerts.yaml"]


def test_a_channel_is_added_to_a_file_that_keeps_its_comments(terminal, service, address, tmp_path) -> None:
    file = tmp_path / "alerts.yaml"
    before = "# mine\nalerts:\n  console:  # here\n    enabled: on\n# the end\n"
    file.write_text(before)
    it = terminal()
    it.answer("Which channels?", "14, console")
    it.answer("Name of this channel: [webhook]", "")
    it.answer("Where?", "2")
    it.answer("urls", address)
    it.answer("more of", "y")
    it.answer("Which?", "method")
    it.answer("method", "FETCH")
    it.reads("method: must be one of POST, PUT, PATCH")
    it.answer("method", "PUT")
    it.answer("Name of this channel: [console-2]", "")
    it.answer("more of", "")
    it.answer("Write webhook, console-2 into alerts.yaml?", "")
    it.answer("Send a test alert through webhook now?", "n")
    it.answer("Send a test alert through console-2 now?", "n")
    assert it.end() == 0
    lines = file.read_text().splitlines()
    assert [line for line in before.splitlines() if line not in lines] == []
    assert load(file).dispatcher("webhook").method == "PUT"
    assert (tmp_path / "alerts.yaml.previous").read_text() == before
    assert not (tmp_path / "alerts.schema.json").exists()


def test_what_the_service_refuses_is_said_and_asked_for_again(terminal, service, tmp_path) -> None:
    good, bad = (f"{number}:{secrets.token_urlsafe(26)[:35]}" for number in (123456, 654321))
    service.on(path=f"/bot{bad}/getMe").answer(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
    service.on(path=f"/bot{good}/getMe").answer(200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "b"}})
    service.on(path="*/getChat").answer(200, {"ok": True, "result": {"id": 7, "type": "private"}})
    it = terminal()
    it.answer("Which channels?", "telegram")
    for token in (bad, good):
        it.answer("Name of this channel", "") if token == bad else None
        it.answer("Where?", "file") if token == bad else None
        it.answer("bot_token", token)
        it.answer("chat_ids", "7" if token == bad else "")  # what was answered before is kept
        it.answer("listen_to", "")
        it.answer("readers", "")
        it.answer("more of", "y" if token == bad else "")
        if token == bad:
            it.answer("Which?", "api_url")
            it.answer("api_url", service.url)
            it.answer("Change your answers?", "y")
    it.answer("Write telegram", "y")
    it.answer("Send a test", "n")
    assert it.end() == 0
    assert "Unauthorized" in it.shown
    assert load(tmp_path / "alerts.yaml").dispatcher("telegram") is not None
    assert everything_in(tmp_path, bad) == []
    assert good not in it.shown + bad
    assert bad not in it.shown


# ---------------------------------------------------------------------------------------- where credentials are kept


def test_a_credential_can_stay_in_the_keyring(terminal, keyring_env, service, address, tmp_path) -> None:
    it = terminal()
    it.answer("Which channels?", "webhook")
    it.answer("Name", "")
    it.answer("Where? [keyring]", "")
    it.answer("urls", address)
    it.answer("more of", "")
    it.answer("Write webhook", "")
    it.answer("Send a test", "y")
    assert it.end() == 0
    file = tmp_path / "alerts.yaml"
    assert "urls: ${keyring:webhook.urls}" in file.read_text()
    assert json.loads(keyring_env.read_text()) == {"bt_alerts/webhook.urls": address}
    assert everything_in(tmp_path, address.rpartition("/")[2]) == ["keyring.json"]
    assert service.requests[-1].path == f"/{address.rpartition('/')[2]}"
    settings = load(file)
    assert address not in repr(settings)
    assert address not in str(settings.model_dump())
    (target,) = settings.dispatcher("webhook").targets()
    assert target.address == address


@pytest.mark.parametrize("place", ["keyring", "environment"])
def test_a_credential_that_is_taken_out_again_was_never_given(terminal, keyring_env, service, tmp_path, place) -> None:
    token = f"tk_{secrets.token_hex(12)}"
    service.on(path="*/auth").answer(401, {"code": 40101})
    service.on(path="/v1/health").answer(200, {"healthy": True})
    it = terminal()
    it.answer("Which channels?", "ntfy")
    it.answer("Name", "")
    it.answer("Where?", place)
    it.answer("topics", secrets.token_hex(8))
    it.answer("token", token)
    it.answer("more of", "y")
    it.answer("Which?", "api_url")
    it.answer("api_url", service.url)
    it.answer("Change your answers?", "y")
    it.answer("topics", "")
    it.answer("token", "-")
    it.answer("more of", "")  # and it still goes to the server that was named
    it.answer("Write ntfy", "y")
    it.answer("Send a test", "n")
    assert it.end() == 0
    assert everything_in(tmp_path, token) == []
    assert "NTFY_TOKEN" not in it.shown.partition("Write ntfy")[2]
    assert [request.path for request in service.requests][-1] == "/v1/health"


def test_a_keyring_that_has_no_such_entry_or_cannot_be_used_is_told(tmp_path, keyring_env, monkeypatch) -> None:
    import keyring

    file = tmp_path / "alerts.yaml"
    file.write_text("alerts:\n  webhook:\n    urls: ${keyring:hook}\n")
    with pytest.raises(SettingsError, match=r"yaml:3: alerts.webhook.urls: the keyring has no `hook`; put it"):
        load(file)
    monkeypatch.setattr(keyring.core, "_keyring_backend", __import__("keyring.backends.fail").backends.fail.Keyring())
    with pytest.raises(SettingsError, match=r"the system's keyring cannot be used \(NoKeyringError\); unlock it or"):
        load(file)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"needs a library: pip install 'bt-alerts\[keyring\]'"):
        load(file)


def test_a_credential_can_stay_in_a_variable(terminal, service, address, tmp_path) -> None:
    it = terminal()
    it.answer("Which channels?", "webhook")
    it.answer("Name", "my hook")
    it.answer("Where?", "environment")
    it.answer("urls", address)
    it.answer("more of", "")
    it.answer("Write my hook", "")
    it.reads("Set the variable MY_HOOK_URLS")
    it.answer("Send a test", "y")
    it.reads("arrived")
    assert it.end() == 0
    assert "urls: ${MY_HOOK_URLS}" in (tmp_path / "alerts.yaml").read_text()
    assert everything_in(tmp_path, address.rpartition("/")[2]) == []
    assert load(tmp_path / "alerts.yaml", environ={"MY_HOOK_URLS": address}).channels


def test_a_variable_that_is_set_already_is_taken(terminal, service, address, tmp_path) -> None:
    it = terminal(WEBHOOK_URLS=address)
    it.answer("Which channels?", "webhook")
    it.answer("Name", "")
    it.reads("urls: taken from the variable WEBHOOK_URLS, which is set")
    it.answer("more of", "")
    it.answer("Write webhook", "")
    it.answer("Send a test", "y")
    it.reads("arrived")
    assert it.end() == 0
    assert everything_in(tmp_path, address.rpartition("/")[2]) == []


# ---------------------------------------------------------------------------------------------------- stopping


STEPS: list[Any] = ["Which channels?", "Name", "Where?", "urls", "more of", "Write webhook"]


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
def test_ctrl_c_anywhere_leaves_nothing(terminal, keyring_env, address, tmp_path, step) -> None:
    answers = ["webhook", "", "keyring", address, "", ""]
    before = sorted(tmp_path.rglob("*"))
    it = terminal()
    for question, text in list(zip(STEPS, answers, strict=True))[:step]:
        it.answer(question, text)
    it.interrupt(STEPS[step])
    assert it.end() == 130
    assert "Nothing was written" in it.shown
    assert sorted(tmp_path.rglob("*")) == before
    assert address not in it.shown


def test_no_to_the_last_question_writes_nothing(terminal, address, tmp_path) -> None:
    it = terminal()
    for question, text in zip(STEPS, ["webhook", "", "file", address, "", "n"], strict=True):
        it.answer(question, text)
    assert it.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_mistakes_is_not_asked_about(terminal, tmp_path) -> None:
    (tmp_path / "alerts.yaml").write_text("stor: x\n")
    it = terminal()
    assert it.end() == 2
    assert "did you mean `store`?" in it.shown


def test_the_keyring_is_as_before_where_the_file_cannot_be_saved(keyring_env, tmp_path) -> None:
    from bt_alerts.cli.interview import Interview
    from bt_alerts.settings import keyring

    keyring.keep("old", "before-1234")
    file = SettingsFile(tmp_path / "alerts.yaml")
    file.set("x", "no such key")
    interview = Interview(file, {})
    interview._to_keep = {"old": "after-1234", "new": "other-1234"}
    with pytest.raises(SettingsError):
        interview._save()
    assert json.loads(keyring_env.read_text()) == {"bt_alerts/old": "before-1234"}
