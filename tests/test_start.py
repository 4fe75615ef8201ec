"""The five-minute start, done as the page says: its commands are read from the page and run in a fresh environment.

Nothing leaves this machine but the installation: ``ntfy.sh`` is a server here, behind a proxy that the environment
names, with a certificate that the environment trusts. So commands and answers are those of the page, letter by letter.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_packaging import tree, wheel  # noqa: F401 - fixtures: the wheel is made once

from bt_alerts.testing import FakeService

pexpect = pytest.importorskip("pexpect")
trustme = pytest.importorskip("trustme")

PAGE = (Path(__file__).parents[1] / "docs" / "start.md").read_text("utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ANSWERS = re.findall(r"^\| `(.+?)` \| (.+?) \|$", PAGE, re.MULTILINE)


class _Tunnel(socketserver.StreamRequestHandler):
    """``CONNECT`` to any host leads to the one server."""

    def handle(self) -> None:
        asked = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", self.server.leads_to)) as other:  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(other, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, other)
            back.join(10)


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


@pytest.fixture
def ntfy(tmp_path: Path) -> Iterator[tuple[FakeService, dict[str, str]]]:
    """ntfy.sh on this machine, and the variables by which a program finds it there."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("ntfy.sh").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        FakeService(ssl_context=context) as service,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Tunnel) as proxy,
    ):
        proxy.daemon_threads = True
        proxy.leads_to, proxy.asked = service.port, []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        service.on("GET", "/v1/health").answer(200, {"healthy": True})
        service.on("POST", "/").answer(200, {"id": "made-up"})
        yield (
            service,
            {
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
                "NO_PROXY": "",
                "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"),
            },
        )
        proxy.shutdown()
        assert set(proxy.asked) == {"ntfy.sh:443"}  # type: ignore[attr-defined]


def test_the_page_has_what_is_done_here() -> None:
    assert [block for block in BLOCKS if "pip install" in block] == BLOCKS[:1]
    assert sum("--interactive" in block for block in BLOCKS) == 1
    assert len(BLOCKS) == 5
    assert len(ANSWERS) == 8


@pytest.mark.packaging
@pytest.mark.skipif(os.name == "nt", reason="the page's commands are those of a POSIX shell")
def test_the_five_minute_start_ends_with_a_delivered_test_alert(wheel: Path, ntfy, tmp_path: Path) -> None:  # noqa: F811
    service, network = ntfy
    home = tmp_path / "home"
    home.mkdir()
    proxies = re.compile(r".*_proxy|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV", re.IGNORECASE)
    around = {name: value for name, value in os.environ.items() if not proxies.fullmatch(name)} | {"COLUMNS": "160"}
    topic = ""
    said = ""
    for block in BLOCKS:
        if "pip install" in block:
            assert "pip install bt-alerts\n" in block
            of_this_tree = block.replace("pip install bt-alerts", f"pip install --quiet '{wheel}'")
            said = _run(of_this_tree, home, dict(os.environ))
        elif "--interactive" in block:
            assert topic
            said = _answer(block, topic, home, around | network)
        else:
            said = _run(block, home, around | network)
        if "secrets" in block:
            topic = said.strip()
        if "test -c" in block:
            assert "arrived" in said  # and the command ended well
    sent = [json.loads(request.body) for request in service.requests if request.method == "POST"]
    assert [(each["topic"], each["title"]) for each in sent] == [(topic, sent[0]["title"])] * 2
    assert "Test alert of bt_alerts" in sent[0]["title"]
    assert (home / "alerts.yaml").stat().st_mode & 0o077 == 0


def _activated(block: str) -> str:
    """A person's shell keeps the environment that the first block activated."""
    return f"set -e\n[ ! -e .venv ] || . .venv/bin/activate\n{block}"


def _run(block: str, home: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", _activated(block)], cwd=home, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _answer(block: str, topic: str, home: Path, environment: dict[str, str]) -> str:
    """Run a block in a terminal, and answer as the table of the page says."""
    shown = io.StringIO()
    with pexpect.spawn(
        "bash", ["-c", _activated(block)], cwd=str(home), env=environment, encoding="utf-8", timeout=60,
        dimensions=(60, 160),
    ) as terminal:  # fmt: skip
        terminal.logfile_read = shown
        for question, answer in ANSWERS:
            terminal.expect_exact(question)
            typed = {"Enter": ""}.get(answer, topic if answer.startswith("the topic") else answer.strip("`"))
            terminal.sendline(typed)
        terminal.expect(pexpect.EOF)
    assert terminal.exitstatus == 0, shown.getvalue()
    assert "arrived" in shown.getvalue()
    assert topic not in shown.getvalue()
    return shown.getvalue()
