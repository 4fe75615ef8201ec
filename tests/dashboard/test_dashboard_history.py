"""Overview and history in a real browser: alerts as they come, their whole life, answers to them, files of them."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alerts_kit import until
from browser import Tab
from dashboard_kit import cell, choose, opened, served

from bt_alerts import AlertManager
from bt_alerts.dashboard.frame import PAGES
from bt_alerts.testing import FakeService

Pages = Callable[..., Tab]


class Kept:
    """A dashboard, its store, and the service that its channel sends to."""

    def __init__(self, folder: Path, service: FakeService) -> None:
        self.service = service
        self.file = folder / "alerts.yaml"
        self.file.write_text(
            f"store: alerts.db\nalerts:\n  hook:\n    type: webhook\n    urls: ['{service.url}/in']\n"
            "    rate_limit: 0\ndelivery:\n  max_retries: 0\n",
            encoding="utf-8",
        )
        self.file.chmod(0o600)
        self.url = ""


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[Kept]:
    with FakeService() as service:
        kept = Kept(folder, service)
        with served(kept.file) as kept.url:
            yield kept


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with keeping(tmp_path_factory.mktemp("dashboard")) as kept:
        yield kept


def test_without_a_store_it_says_what_to_do(tmp_path: Path, pages: Pages) -> None:
    settings = tmp_path / "alerts.yaml"
    settings.write_text("store: alerts.db\nalerts: {}\n", encoding="utf-8")
    with served(settings) as url:
        tab = pages(1440)
        tab.page.goto(url)
        tab.page.get_by_text(re.compile("There is no store .* yet. The first run")).wait_for()


def test_an_alert_is_there_by_itself_and_its_whole_life_can_be_read(kept: Kept, pages: Pages) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_custom_alert("First of all", title="Begin")
        assert manager.drained(10)
        tab = pages(1440)
        opened(tab, f"{kept.url}/history", "History")
        cell(tab, "Begin")
        manager.send_error_alert("Feed", "no bar <b>for</b> ![x](http://127.0.0.1:9/x.png)", {"symbol": "ZZZ"})
        cell(tab, "Error: Feed")  # nobody reloaded the page
    choose(tab, "Open an alert", "Error: Feed")
    tab.page.get_by_text("no bar <b>for</b> ![x](http://127.0.0.1:9/x.png)").wait_for()  # as text, not as a picture
    row = tab.page.get_by_role("table", name="Delivery by hook").get_by_role("row").nth(1)
    row.get_by_text("delivered").wait_for()
    attempts = tab.page.get_by_role("table", name="Attempts by hook").get_by_role("row")
    attempts.nth(1).get_by_text("sent").wait_for()  # it is drawn after the one above
    assert attempts.count() == 2
    assert {host for host in tab.hosts if host} == {kept.url.removeprefix("http://")}


def test_an_alert_is_acknowledged_sent_again_and_snoozed_with_the_keyboard(kept: Kept, pages: Pages) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_custom_alert("Look at me", title="Look")
        assert manager.flush(10)
        alert = manager.history().iloc[-1]["id"]
        got = len(kept.service.requests)
        tab = pages(1440)
        opened(tab, f"{kept.url}/history", "History")
        choose(tab, "Open an alert", "Look")
        again = tab.page.get_by_role("button", name="Send again")
        again.focus()
        tab.page.keyboard.press("Enter")
        tab.page.get_by_text("It is sent again.").wait_for()
        kept.service.wait_for(got + 1)
        button = tab.page.get_by_role("button", name="Acknowledge", exact=True)
        button.focus()
        tab.page.keyboard.press("Enter")
        tab.page.get_by_text(re.compile("Acknowledged [0-9]")).wait_for()
        report = manager.report(alert)
        assert report is not None
        assert report.acknowledged is not None
        tab.page.get_by_role("button", name="Snooze", exact=True).click()
        tab.page.get_by_text("Snoozed for 15 minutes.").wait_for()
        until(lambda: "pending" in {each.state for each in manager.report(alert).results})  # type: ignore[union-attr]


def test_a_symbol_is_muted_from_its_alert_and_the_mute_is_ended(kept: Kept, pages: Pages) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_alert("BUY", "HUSH", 10.0, 1)
        assert manager.drained(10)
    tab = pages(1440)
    opened(tab, f"{kept.url}/history", "History")
    choose(tab, "Open an alert", "BUY HUSH")
    tab.page.get_by_role("button", name="Mute HUSH").click()
    tab.page.get_by_text("Muted HUSH.").wait_for()
    with AlertManager(str(kept.file)) as manager:
        assert manager.send_alert("SELL", "HUSH", 11.0, 1)
        assert manager.drained(10)
        muted = manager.history(symbol="HUSH", why=True).iloc[-1]
        assert (muted["state"], muted["reason"]) == ("suppressed", "muted")
    opened(tab, kept.url, "Overview")
    tab.page.get_by_text("Muted: symbol HUSH, until").wait_for()
    tab.page.get_by_role("button", name="End it").click()
    tab.page.get_by_text("symbol HUSH is muted no more.").wait_for()
    with AlertManager(str(kept.file)) as manager:
        manager.send_alert("SELL", "HUSH", 12.0, 1)
        assert manager.drained(10)
        assert manager.history(symbol="HUSH", why=True).iloc[-1]["state"] == "planned"


def test_words_and_filters_find_alerts(kept: Kept, pages: Pages) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_alert("SELL", "QQQX", 12.5, 3)
        manager.send_custom_alert("A 100% needle_in hay", title="Straw")
        assert manager.drained(10)
    tab = pages(1440)
    opened(tab, f"{kept.url}/history", "History")
    search = tab.page.get_by_role("textbox", name="Search")
    search.fill("HAY 100%")
    search.press("Enter")
    tab.page.get_by_text("1 alert.", exact=True).wait_for()
    cell(tab, "Straw")
    search.fill("100%hay")
    search.press("Enter")
    tab.page.get_by_text("No alert matches. Take away a filter").wait_for()
    search.fill("")
    search.press("Enter")
    cell(tab, "SELL QQQX")
    tab.page.get_by_text("Filters").click()
    choose(tab, "Symbol", "QQQX")
    tab.page.get_by_text("1 alert.", exact=True).wait_for()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_what_is_found_is_downloaded_as_a_file(kept: Kept, pages: Pages, tmp_path: Path, ending: str) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_custom_alert(f"In a file {ending}", title=f"File{ending}")
        assert manager.drained(10)
    tab = pages(1440)
    opened(tab, f"{kept.url}/history", "History")
    tab.page.get_by_role("textbox", name="Search").fill(f"File{ending}")
    tab.page.get_by_role("textbox", name="Search").press("Enter")
    tab.page.get_by_text("1 alert.", exact=True).wait_for()
    tab.page.get_by_role("radio", name=ending, exact=True).or_(
        tab.page.get_by_role("button", name=ending, exact=True)
    ).click()
    tab.page.get_by_role("button", name="Make the file").click()
    with tab.page.expect_download() as coming:
        tab.page.get_by_role("button", name=re.compile("Download alerts")).click()
    path = tmp_path / "download"
    coming.value.save_as(path)
    assert coming.value.suggested_filename.endswith(f".{ending}")
    text = path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines())) if ending == "csv" else list(map(json.loads, text.splitlines()))
    assert [(row["title"], row["state"]) for row in rows] == [(f"File{ending}", "planned")]


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Kept]:
    """One of its own, whose dead letters are counted."""
    with keeping(tmp_path) as kept:
        yield kept


def test_what_was_given_up_is_told_and_delivered_after_all(refused: Kept, pages: Pages) -> None:
    kept = refused
    kept.service.on(path="/in").answer(404, "gone")
    with AlertManager(str(kept.file)) as manager:
        assert not manager.send_custom_alert("Nobody took me", title="Lost", wait=10)
    tab = pages(1440)
    opened(tab, kept.url, "Overview")
    dead = tab.page.get_by_role("table", name="Dead letters")
    dead.get_by_text("Lost", exact=True).wait_for()
    tab.page.get_by_text(re.compile("things? needs? a look")).wait_for()
    question = tab.page.get_by_text("Send 1 dead letter after all")
    tab.page.get_by_role("button", name="Deliver all").click()
    question.wait_for()
    tab.page.get_by_role("button", name="Leave them").click()
    question.wait_for(state="detached")
    tab.page.get_by_role("button", name="Deliver all").click()
    question.wait_for()
    tab.page.wait_for_timeout(6_000)  # longer than the page takes to draw itself anew: the question stays
    tab.page.get_by_role("button", name="Deliver them").click()
    tab.page.get_by_text("Pending again: 1 dead letter.").wait_for()
    tab.page.get_by_text("There are no dead letters").wait_for()
    got = len(kept.service.requests)
    with AlertManager(str(kept.file)) as manager:
        manager.start()
        kept.service.wait_for(got + 1)
    assert len(kept.service.requests) == got + 1


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_every_screen(kept: Kept, pages: Pages, width: int, dark: bool) -> None:
    with AlertManager(str(kept.file)) as manager:
        manager.send_custom_alert("Shown at every width", title="Width")
    tab = pages(width, dark=dark)
    for name, title, _ in PAGES:
        opened(tab, f"{kept.url}/{'' if name == 'overview' else name}", title)
        assert not tab.scrolls_across(), title
        ground = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.match(/[0-9]+/g)"
        tab.wait(f"{ground}.slice(0, 3).reduce((a, b) => +a + +b) {'<' if dark else '>='} 3 * 128")
