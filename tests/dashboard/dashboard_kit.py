"""A dashboard in a process of its own, as a user starts it, and what its tests do in a browser."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from alerts_kit import until

if TYPE_CHECKING:
    from browser import Tab

PATIENCE = 60.0  # seconds that a busy machine may take


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(settings: Path, **environment: str) -> Iterator[str]:
    """The address of a dashboard with these settings, which ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "bt_alerts", "dashboard", "-c", str(settings), "--no-browser", "--port", str(port)]
    log = settings.parent / "dashboard.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        wait_for_health(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for_health(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    def healthy() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        address = f"http://127.0.0.1:{port}/_stcore/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.read() == b"ok")
        return False

    until(healthy, timeout=PATIENCE)


def opened(tab: Tab, url: str, title: str) -> None:
    """Go there, and wait until the page is drawn."""
    tab.page.goto(url)
    tab.page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
    settled(tab)


def settled(tab: Tab) -> None:
    """Wait until nothing is being drawn any more."""
    tab.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def cell(tab: Tab, text: str) -> None:
    """Wait for a cell of the list of alerts; it is painted, and told to screen readers."""
    tab.page.locator("[data-testid=stDataFrame] td", has_text=text).first.wait_for(state="attached")


def choose(tab: Tab, label: str, words: str) -> None:
    """Choose of a list by typing a part of a word that stands there."""
    from playwright.sync_api import TimeoutError

    option = tab.page.get_by_role("option", name=words).first
    for _ in range(10):  # what moves just then, an expander that opens for one, closes the list
        tab.page.get_by_label(label, exact=True).focus()
        tab.page.keyboard.press("ArrowDown")
        tab.page.keyboard.press("ControlOrMeta+A")
        tab.page.keyboard.type(words)
        with contextlib.suppress(TimeoutError):
            option.click(timeout=3000)
            break
        tab.page.keyboard.press("Escape")
    settled(tab)
