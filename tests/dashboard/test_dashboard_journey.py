"""The whole way in a real browser: from a settings file without a channel to an acknowledged alert and a calmer rule.

What the browser received on the way is written down, every byte of it, and no credential is among them.
"""

from __future__ import annotations

import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alerts_kit import until
from browser import Tab
from dashboard_kit import PATIENCE, cell, choose, opened, served, settled

from bt_alerts import AlertManager
from bt_alerts.testing import FakeService

if TYPE_CHECKING:
    from playwright.sync_api import Locator

BEGIN = """\
# The settings of a trader who writes comments.
store: alerts.db   # beside this file

alerts:
  # Nothing is sent yet.
  console:
    enabled: false
"""


def type_into(tab: Tab, label: str, text: str, then: Locator) -> None:
    """Type it, and wait for what it brings about: what is typed while a page is drawn can be lost with the old one."""
    field = tab.page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Enter")
    then.wait_for()
    settled(tab)


def save(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Save", exact=True).click()
    tab.page.get_by_text("Saved.").first.wait_for()


class Journey:
    """One visitor's way; each step leaves the browser where the next one begins."""

    def __init__(self, tab: Tab, url: str, settings: Path, service: FakeService) -> None:
        self.tab, self.page, self.url, self.settings, self.service = tab, tab.page, url, settings, service
        self.secret, self.signing = secrets.token_hex(12), secrets.token_hex(12)

    def add_a_channel(self) -> None:
        opened(self.tab, f"{self.url}/channels", "Channels")
        choose(self.tab, "Type", "webhook: ")
        self.page.get_by_role("textbox", name="Name", exact=True).fill("desk")
        self.page.get_by_role("button", name="Add", exact=True).click()
        self.page.get_by_text("This keeps it from being saved").wait_for()  # an address is missing, and said so at once
        self.cannot_save()
        kept = self.page.get_by_text("set, not saved yet")
        type_into(self.tab, "Urls", f"{self.service.url}/in/{self.secret}", kept.first)
        type_into(self.tab, "Secret", self.signing, kept.nth(1))
        save(self.tab)
        text = self.settings.read_text(encoding="utf-8")
        assert text.startswith(BEGIN)  # every comment, and every line, is where it was
        assert f"{self.service.url}/in/{self.secret}" in text
        before = self.settings.with_name("alerts.yaml.previous")
        assert before.read_text(encoding="utf-8") == BEGIN
        assert [stat.S_IMODE(file.stat().st_mode) for file in (self.settings, before)] == [0o600, 0o600]

    def test_it_until_it_works(self) -> None:
        self.service.on(path=f"/in/{self.secret}").answer(401, "who are you?").answer(200, "thanks")
        button = self.page.get_by_role("button", name="Test", exact=True).last  # it stands last in the file
        button.click()
        self.page.get_by_text("✕ Failed").wait_for()
        self.page.get_by_text("HTTP 401").first.wait_for()
        button.click()
        self.page.get_by_text("✓ Arrived").wait_for()

    def see_an_alert_come_and_acknowledge_it(self) -> None:
        opened(self.tab, f"{self.url}/history", "History")
        with AlertManager(str(self.settings)) as manager:
            manager.send_market_update("IBM", 120.0, 1.2, 1.0)
            cell(self.tab, "IBM")  # nobody reloaded the page
            for number in range(5):
                manager.send_market_update("IBM", 121.0 + number, 1.0, 0.8)
            manager.send_error_alert("Feed", "no bar for ten minutes")
            cell(self.tab, "Error: Feed")
            assert manager.flush(20)
            choose(self.tab, "Open an alert", "Error: Feed")
            self.page.get_by_role("button", name="Acknowledge", exact=True).click()
            self.page.get_by_text(re.compile("^Acknowledged [0-9]|check.*Acknowledged [0-9]")).first.wait_for()
            error = manager.history(type="error").iloc[-1]["id"]
            report = manager.report(error)
            assert report is not None
            assert report.acknowledged is not None

    def cannot_save(self) -> None:
        until(self.page.get_by_role("button", name="Save", exact=True).is_disabled, timeout=PATIENCE)

    def would_have_got(self, messages: str) -> None:
        opened(self.tab, f"{self.url}/simulate", "Simulate")
        self.page.get_by_text("What the phone would have got").wait_for()
        tiles = self.page.locator(".bta-tiles").first
        until(lambda: "messages from 7 alerts" in tiles.inner_text(), timeout=PATIENCE)
        until(lambda: tiles.locator("b").first.inner_text() == messages, timeout=PATIENCE)

    def add_a_rule(self) -> None:
        opened(self.tab, f"{self.url}/rules", "Rules")
        self.page.get_by_role("radio", name="Noise").click(force=True)
        self.page.get_by_role("button", name="Add to Cooldown").click()
        type_into(self.tab, "Every", "ten minutes", self.page.get_by_text("write a duration").first)
        self.cannot_save()
        type_into(self.tab, "Every", "10m", self.page.get_by_text("one in 10 min").first)
        save(self.tab)
        assert "cooldown" in self.settings.read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_from_no_channel_to_an_acknowledged_alert_and_a_calmer_rule(
    tmp_path: Path, pages: Callable[..., Tab], width: int, dark: bool
) -> None:
    settings = tmp_path / "alerts.yaml"
    settings.write_text(BEGIN, encoding="utf-8")
    settings.chmod(0o644)
    with FakeService() as service, served(settings) as url:
        tab = pages(width, dark=dark)
        way = Journey(tab, url, settings, service)
        way.add_a_channel()
        way.test_it_until_it_works()
        way.see_an_alert_come_and_acknowledge_it()
        way.would_have_got("7")  # six of the market, and the error
        way.add_a_rule()
        way.would_have_got("2")
        assert not tab.scrolls_across()
        received = tab.received
        assert b"no bar for ten minutes" in received
        assert way.secret.encode() not in received
        assert way.signing.encode() not in received
        assert [address for address in tab.unread if "/static/" not in address] == []
        assert tab.hosts == {url.removeprefix("http://")}
