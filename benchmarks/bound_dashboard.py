"""The dashboard over a full store, in a real browser: how soon each page can be used, and when an alert is seen."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absent import Unavailable
from bound_store import _make
from kit import Row
from measuring import Run

ALERTS = (100_000, 5_000)
TESTS = Path(__file__).resolve().parent.parent / "tests"
DRAWN = "[data-testid=stApp][data-test-script-state=notRunning]"


def dashboard(run: Run) -> Iterator[Row]:
    """Each page of the dashboard, and an alert that comes while somebody looks."""
    sys.path[:0] = [str(TESTS), str(TESTS / "dashboard")]
    try:
        from browser import Missing, browsing
        from dashboard_kit import served

        from bt_alerts.dashboard.frame import PAGES
    except ImportError as exc:
        yield Row("a page of the dashboard with 100,000 alerts", None, skipped=f"{exc}")
        return
    count = run.pick(*ALERTS)
    _make(run.folder / "dashboard.db", count, 1, run.say)
    settings = run.folder / "dashboard.yaml"
    settings.write_text(
        "store: dashboard.db\nalerts:\n  phone:\n    type: webhook\n    urls: http://127.0.0.1:9/x\n", encoding="utf-8"
    )
    settings.chmod(0o600)
    try:
        with served(settings) as url, browsing() as browser:
            yield from _pages(run, browser.open(1440).page, url, PAGES, count)
            yield _seen(run, browser.open(1440).page, url, settings)
    except Missing as exc:
        raise Unavailable(str(exc)) from None


def _pages(run: Run, page: Any, url: str, pages: Any, count: int) -> Iterator[Row]:
    page.goto(url)
    page.locator(DRAWN).wait_for()
    took: dict[str, list[float]] = {title: [] for _, title, _ in pages}
    for _ in range(run.pick(5, 2)):
        for _, title, _ in pages:
            run.say(f"the page {title}")
            began = time.perf_counter()
            page.get_by_role("link", name=title).click()
            page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
            page.locator(DRAWN).wait_for()
            took[title].append(time.perf_counter() - began)
    for title, seconds in took.items():
        yield Row(
            f"{title} with {count:,} alerts: from the click until it is drawn, seconds",
            statistics.median(seconds),
            "s",
            most=2.0,
            figures=f"slowest {max(seconds):.2f}",
        )


def _seen(run: Run, page: Any, url: str, settings: Path) -> Row:
    """From ``emit`` in another process's program until the browser shows it, without a click."""
    from bt_alerts import AlertManager

    page.goto(f"{url}/history")
    page.locator("[data-testid=stDataFrame] td").first.wait_for(state="attached")
    waits = []
    with AlertManager(str(settings)) as manager:
        for number in range(run.pick(10, 3)):
            run.say("an alert that comes")
            title = f"Seen {number}"
            began = time.perf_counter()
            manager.send_custom_alert("look", title=title)
            page.locator("[data-testid=stDataFrame] td", has_text=title).first.wait_for(state="attached")
            waits.append(time.perf_counter() - began)
        manager.close(timeout=0)
    return Row(
        "from emit until History shows it by itself, seconds",
        statistics.median(waits),
        "s",
        most=2.0,
        figures=f"slowest {max(waits):.2f}",
    )
