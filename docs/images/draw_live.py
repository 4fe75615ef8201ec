"""Draws ``docs/images/live.png`` and ``live-phone-dark.png``: the live page, as a browser shows it.

    python docs/images/draw_live.py

An emitter tells of a morning to a Pusher of this machine, as in the page's tests. Needs Chromium.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests"

#: Name, width, height, dark, and pixels of the screen for each of CSS.
PICTURES = (("live", 1440, 860, False, 1), ("live-phone-dark", 390, 1000, True, 2))


def main() -> None:
    """Draw both."""
    sys.path[:0] = [str(TESTS), str(TESTS / "live")]
    from browser import browsing
    from live_kit import KEY, address, emitting, morning, served
    from pusher_server import PusherServer

    with PusherServer(KEY) as server, served() as page, browsing() as browser:
        tabs = []
        for name, width, height, dark, scale in PICTURES:
            tab = browser.open(width, height=height, dark=dark, scale=scale, url=address(page, server))
            tab.page.clock.set_fixed_time(dt.datetime(2026, 5, 20, 9, 1, tzinfo=dt.UTC))
            tabs.append((name, tab))
        server.wait_for_pages(len(PICTURES))
        with emitting(server) as emitter:
            morning(emitter)
        for name, tab in tabs:
            tab.page.wait_for_selector("#account div")
            tab.page.evaluate(
                "document.querySelector('#state').textContent = 'Live on executor-7'"
            )  # and not this port
            tab.page.screenshot(path=HERE / f"{name}.png")


if __name__ == "__main__":
    main()
