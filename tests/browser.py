"""A headless Chromium for tests of pages, started through Playwright, which writes down all that a page received.

    def test_it(pages):
        tab = pages(390, dark=True)
        tab.page.goto(url)                              # Playwright's own page
        assert SECRET.encode() not in tab.received
        assert tab.hosts == {"127.0.0.1:8501"} and tab.complaints == []

There is one browser for a module of tests and a fresh profile for each tab. It resolves no names but localhost: what a
page asks of another host is written down and fails. A machine without Chromium skips these tests; where `CI` or
`BT_ALERTS_CI` is set they fail instead. While the browser is there, Playwright keeps an event loop on this thread:
`asyncio.run` cannot be used in the same module.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, WebSocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost")
TIMEOUT = 60.0  # seconds that a browser on a busy machine may take for one answer
OWN = ("data:", "blob:", "about:", "chrome:")  # addresses that leave no browser


class Missing(Exception):
    """This machine has no browser that could be used."""


class Tab:
    """One open page, :attr:`page`, and what came to it; of popups and of pages before it as well."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: Addresses asked for, those of sockets and what a policy forbade too, in order.
        self.requests: list[str] = []
        #: Errors and warnings, of the console and uncaught.
        self.complaints: list[str] = []
        #: Answers whose bytes could not be had, by address: empty where :attr:`received` is everything.
        self.unread: list[str] = []
        self._parts: list[bytes] = []
        self._coming: list[Request] = []
        page.context.on("request", self._sent)
        page.context.on("requestfinished", self._answered)
        page.context.on("requestfailed", self._over)
        page.context.on(
            "console", lambda said: self._complain(said.text) if said.type in {"error", "warning"} else None
        )
        page.context.on("weberror", lambda error: self._complain(str(error.error)))
        page.on("websocket", self._connected)

    @property
    def received(self) -> bytes:
        """Every byte so far: heads and bodies of answers, and frames of sockets. Waits for answers that are coming."""
        for _ in range(100):
            if self._coming:
                self.page.wait_for_timeout(20)
        self.unread += [request.url for request in self._coming if request.url not in self.unread]
        return b"\n".join(self._parts)

    @property
    def hosts(self) -> set[str]:
        """Who was asked, with the port; ``""`` is a file."""
        return {urlsplit(address).netloc for address in self.requests}

    def scrolls_across(self) -> bool:
        """Whether the page is wider than its window."""
        found = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return bool(found)

    def wait(self, expression: str) -> None:
        """Wait until an expression is true; Playwright's own way would need ``eval``, which a page's policy forbids."""
        deadline = time.monotonic() + TIMEOUT
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"it did not come: {expression}"
            self.page.wait_for_timeout(20)

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _asked(self, address: str) -> None:
        self.requests += [] if address.startswith(OWN) else [address]

    def _sent(self, request: Request) -> None:
        self._asked(request.url)
        self._coming.append(request)

    def _over(self, request: Request) -> None:
        with contextlib.suppress(ValueError):  # one of before the listening began
            self._coming.remove(request)

    def _answered(self, request: Request) -> None:
        from playwright.sync_api import Error

        try:
            response = request.response()
            if response is None or request.url.startswith(OWN):
                return
            self._parts += [f"{name}: {value}".encode() for name, value in response.all_headers().items()]
            if not 300 <= response.status < 400:  # a redirect has no body
                self._parts.append(response.body())
        except Error:
            self.unread.append(request.url)
        finally:
            self._over(request)

    def _connected(self, socket: WebSocket) -> None:
        self._asked(socket.url)
        socket.on(
            "framereceived", lambda frame: self._parts.append(frame if isinstance(frame, bytes) else frame.encode())
        )


class Chromium:
    """A running browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def open(
        self, width: int = 1440, *, height: int = 900, dark: bool = False, scale: float = 1, url: str | None = None
    ) -> Tab:
        """A tab of a profile of its own, at ``url`` if given.

        Args:
            width: of the window in CSS pixels.
            height: of the window in CSS pixels.
            dark: whether the reader prefers dark pages.
            scale: pixels of the screen for each of CSS.
            url: where to go at once.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
            accept_downloads=True,
        )
        context.set_default_timeout(TIMEOUT * 1000)
        tab = Tab(context.new_page())
        if url is not None:
            tab.page.goto(url)
        return tab


@contextlib.contextmanager
def browsing() -> Iterator[Chromium]:
    """A browser, ended at the end. Raises :class:`Missing`."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("Playwright is not installed: pip install playwright") from None
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise Missing("this machine has no Chromium: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET), timeout=TIMEOUT * 1000)
        try:
            yield Chromium(browser)
        finally:
            browser.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(browsing())
        except Missing as exc:
            if os.environ.get("CI") or os.environ.get("BT_ALERTS_CI"):
                raise
            pytest.skip(str(exc))
        yield browser


@pytest.fixture
def pages(chromium: Chromium) -> Iterator[Callable[..., Tab]]:
    """``pages(width, dark=…, url=…)`` opens a tab; see :meth:`Chromium.open`."""
    opened: list[Tab] = []

    def open_(width: int = 1440, **options: object) -> Tab:
        opened.append(chromium.open(width, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for tab in opened:
        tab.page.context.close()
