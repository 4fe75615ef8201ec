"""The whole way in a real browser: from a settings file without a channel to an acknowledged alert and a calmer rule.

What the browser received on the way is written down, every byte of it, and no credential is among them.
"""

from __future__ import annotations

import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from alerts_kit import until
from browser import Tab
from dashboard_kit import PATIENCE, cell, choose, opened, served, settled

from bt_alerts import AlertManager
from bt_alerts.testing import FakeService

BEGIN = """\
# The settings of a trader who writes comments.
store: alerts.db   # beside this file

alerts:
  # Nothing is sent yet.
  console:
    enabled: false
"""


def type_into(tab: Tab, label: str, text: str) -> None:
    field = tab.page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Enter")
    settled(tab)


def save(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Save", exact=True).click()
    tab.page.get_by_text("Saved.").first.wait_for()


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_from_no_channel_to_an_acknowledged_alert_and_a_calmer_rule(
    tmp_path: Path, pages: Callable[..., Tab], width: int, dark: bool
) -> None:
    settings = tmp_path / "alerts.yaml"
    settings.write_text(BEGIN, encoding="utf-8")
    settings.chmod(0o644)
    secret, signing = secrets.token_hex(12), secrets.token_hex(12)
    with FakeService() as service, served(settings) as url:
        tab = pages(width, dark=dark)
        page = tab.page

        # A channel is added, filled in and saved.
        opened(tab, f"{url}/channels", "Channels")
        choose(tab, "Type", "webhook")
        page.get_by_label("Name", exact=True).fill("desk")
        page.get_by_role("button", name="Add", exact=True).click()
        urls = page.get_by_role("textbox", name="Urls")
        urls.wait_for()
        page.get_by_text("must be given").or_(page.get_by_text("missing")).first.wait_for()  # told at once
        assert page.get_by_role("button", name="Save", exact=True).is_disabled()
        type_into(tab, "Urls", f"{service.url}/in/{secret}")
        type_into(tab, "Secret", signing)
        save(tab)
        text = settings.read_text(encoding="utf-8")
        assert text.startswith(BEGIN.rstrip("\n"))  # every comment, and every line, is where it was
        assert f"{service.url}/in/{secret}" in text
        assert stat.S_IMODE(settings.stat().st_mode) == 0o600
        before = settings.with_name("alerts.yaml.previous")
        assert before.read_text(encoding="utf-8") == BEGIN
        assert stat.S_IMODE(before.stat().st_mode) == 0o600

        # It is tested against a service that fails, and then works.
        service.on(path=f"/in/{secret}").answer(401, "who are you?").answer(200, "thanks")
        page.get_by_role("button", name="Send a test through desk").or_(
            page.get_by_role("button", name="Test", exact=True).last
        ).first.click()
        page.get_by_text("✕ Failed").wait_for()
        page.get_by_text("HTTP 401").first.wait_for()
        page.get_by_role("button", name="Send a test through desk").or_(
            page.get_by_role("button", name="Test", exact=True).last
        ).first.click()
        page.get_by_text("✓ Arrived").wait_for()

        # An alert comes while somebody looks, and is acknowledged.
        opened(tab, f"{url}/history", "History")
        with AlertManager(str(settings)) as manager:
            manager.send_market_update("IBM", 120.0, 1.2, 1.0)
            cell(tab, "IBM")
            for number in range(5):
                manager.send_market_update("IBM", 121.0 + number, 1.0, 0.8)
            manager.send_error_alert("Feed", "no bar for ten minutes")
            cell(tab, "Error: Feed")
            assert manager.flush(20)
        choose(tab, "Open an alert", "Error: Feed")
        page.get_by_role("button", name="Acknowledge", exact=True).click()
        page.get_by_text("Acknowledged 2").or_(page.get_by_text("Acknowledged 1")).or_(
            page.get_by_text("Acknowledged 0")
        ).first.wait_for()

        # A rule is changed, and the simulation shows what that would have done.
        opened(tab, f"{url}/simulate", "Simulate")
        page.get_by_text("What the phone would have got").wait_for()
        tiles = page.locator(".bta-tiles").first
        until(lambda: "7" in tiles.inner_text(), timeout=PATIENCE)  # six of the market, and the error
        opened(tab, f"{url}/rules", "Rules")
        page.get_by_text("Noise", exact=True).click()
        page.get_by_role("button", name="Add to Cooldown").click()
        type_into(tab, "Every", "ten minutes")
        page.get_by_text("write a duration").first.wait_for()
        assert page.get_by_role("button", name="Save", exact=True).is_disabled()
        type_into(tab, "Every", "10m")
        save(tab)
        assert "cooldown" in settings.read_text(encoding="utf-8")
        opened(tab, f"{url}/simulate", "Simulate")
        until(lambda: "messages from 7 alerts" in tiles.inner_text(), timeout=PATIENCE)
        assert tiles.locator("b").first.inner_text() == "2"
        assert not tab.scrolls_across()

        # And nothing that is secret ever came to the browser.
        received = tab.received
        assert b"no bar for ten minutes" in received
        assert secret.encode() not in received
        assert signing.encode() not in received
        assert tab.unread == []
        assert tab.hosts == {url.removeprefix("http://")}
