"""Every Python block of README and docs runs, every YAML block is valid settings, every link to a file exists."""

from __future__ import annotations

import base64
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from bt_alerts.cli import app
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.settings import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")


def blocks(language: str) -> list[object]:
    found = []
    for page in PAGES:
        for i, match in enumerate(BLOCK.finditer(page.read_text("utf-8"))):
            # The server runs in test_the_receiver_of_the_documentation_takes_a_signed_alert.
            if match[1] == language and "serve_forever" not in match[2]:
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}-{i}"))
    return found


#: Nothing of a test leaves this machine: a block that calls a real service meets a proxy where nobody listens.
NOWHERE = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
#: What a reader brings along.
GIVEN = "app_token, user_key = 'a' * 30, 'u' * 30\n"


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_of_the_documentation_runs(code: str, tmp_path: Path) -> None:
    environment = {**os.environ, **NOWHERE, "NO_COLOR": "1"}
    command = [sys.executable, "-c", GIVEN + code]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_receiver_of_the_documentation_takes_a_signed_alert() -> None:
    page = (ROOT / "docs" / "channels" / "webhook.md").read_text("utf-8")
    code = next(match[2] for match in BLOCK.finditer(page) if "serve_forever" in match[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "8000" in code
    secret = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code.replace("8000", str(port))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as it:
        try:
            dispatcher = WebhookDispatcher([f"http://127.0.0.1:{port}/"], secret=secret)
            deadline = time.monotonic() + 20
            while not dispatcher.send_custom_alert("hello", "From the documentation"):
                assert time.monotonic() < deadline, "the receiver never took it"
            assert it.stdout is not None
            assert it.stdout.readline().strip() == "From the documentation"
        finally:
            it.kill()


#: Addresses that say themselves what they are.
URLS = {
    "DISCORD_WEBHOOK_URLS": "https://discord.com/api/webhooks/1/x",
    "TEAMS_WEBHOOK_URLS": "https://a.logic.azure.com/x?sig=x",
}


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_block_of_the_documentation_is_valid_settings(text: str, tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    names = re.findall(r"\$\{(\w+)\}", text)
    load(file, environ={n: URLS.get(n, "https://example.org/") if "URL" in n else "x" * 32 for n in names})


def commands() -> list[object]:
    """Every call of ours in a shell block, up to the next command of the shell."""
    found = []
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text("utf-8")):
            for line in match[2].splitlines() if match[1] in {"bash", "powershell", "dockerfile"} else ():
                words = shlex.split(re.sub(r"\$\([^)]*\)", "X", line).replace("\\", "/"), comments=True)
                for i, word in enumerate(words):
                    if Path(word).name == "bt-alerts" and (i == 0 or words[i - 1] in {"|", "||", "&&", "CMD"}):
                        end = (at for at in range(i, len(words)) if re.fullmatch(r"\|+|&&|;|>.*", words[at]))
                        arguments = words[i + 1 : next(end, len(words))]
                        found.append(pytest.param(arguments, id=f"{page.relative_to(ROOT)}-{' '.join(arguments)}"))
    return found


@pytest.mark.parametrize("arguments", commands())
def test_a_command_of_the_documentation_is_understood(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    name, rest = "bt-alerts", arguments
    while hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    command.make_context(name, rest)  # raises for options that there are not, and where something is missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


def test_the_tests_that_the_promises_name_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", page)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []
