"""Draws ``docs/images/dashboard*.png``: the dashboard over a trading day, as a browser shows it.

    python docs/images/draw_dashboard.py

A day is made up, planned and delivered to a service of this machine. Needs Chromium.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Source
from bt_alerts.testing import FakeService

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests"

#: Name, page, its title, width, height, dark, and pixels of the screen for each of CSS.
PICTURES = (
    ("dashboard", "", "Overview", 1440, 1250, False, 1),
    ("dashboard-history", "/history", "History", 1440, 1000, True, 1),
    ("dashboard-rules", "/rules", "Rules", 1440, 900, False, 1),
    ("dashboard-phone-dark", "/history", "History", 390, 844, True, 2),
    ("dashboard-phone", "", "Overview", 390, 844, False, 2),
)
SETTINGS = """\
store: alerts.db
alerts:
  phone:
    type: webhook
    urls: {url}/phone
    rate_limit: 0
  desk:
    type: webhook
    urls: {url}/desk
    rate_limit: 0
rules:
  cooldown:
    - when: {{type: market}}
      every: 15m
quiet_hours:
  - channels: phone
    hours: {quiet} UTC
    through: high
delivery:
  max_retries: 1
"""


def day(now: dt.datetime) -> list[Alert]:
    """What three strategies told in a day."""
    dice = random.Random(4)
    told: list[Alert] = []

    def tell(ago: float, title: str, message: str, **fields: Any) -> None:
        told.append(
            Alert.make(message, title=title, time=now - dt.timedelta(minutes=ago), source=Source.LIVE, **fields)
        )

    for strategy, symbol in (("SmaCross", "IBM"), ("Breakout", "MSFT"), ("Pairs", "KO")):
        tell(1430, f"{strategy} started", "live", kind="strategy.started", type="strategy", strategy=strategy, run="r1")
        tell(1429, f"{symbol} is live", "", kind="data.live", type="data", strategy=strategy, symbol=symbol, run="r1")
        for ago in sorted(dice.sample(range(5, 1400), 24), reverse=True):
            side = dice.choice(("BUY", "SELL"))
            size, price = dice.choice((10, 25, 50)), dice.uniform(90, 190)
            tell(ago, f"{side} {symbol} filled", f"{size} at {price:.2f}", kind="order.completed", type="order",
                 symbol=symbol, strategy=strategy, run="r1")  # fmt: skip
        for ago in dice.sample(range(5, 1400), 12):
            tell(ago, f"{symbol} {dice.uniform(-3, 3):+.1f} %", "since the open", kind="direct.market", type="market",
                 symbol=symbol, strategy=strategy, priority="low", run="r1")  # fmt: skip
    tell(44, "KO: no bar for 12 minutes", "The feed is silent", kind="data.silent", type="data", symbol="KO",
         strategy="Pairs", priority="high", run="r1")  # fmt: skip
    tell(3, "Stop hit: MSFT", "Sold 25 at 171.20, -212.50 after commission. Held for 3 h 20 min", kind="trade.closed",
         type="trade", symbol="MSFT", strategy="Breakout", priority="high", run="r1")  # fmt: skip
    return sorted(told, key=lambda alert: alert.time)


def main() -> None:
    """Draw all of them."""
    sys.path[:0] = [str(TESTS), str(TESTS / "dashboard")]
    from browser import browsing
    from dashboard_kit import choose, opened, served

    with tempfile.TemporaryDirectory() as folder, FakeService() as service:
        settings = Path(folder) / "alerts.yaml"
        now = dt.datetime.now(dt.UTC)
        quiet = f"{now + dt.timedelta(hours=8):%H}:00-{now + dt.timedelta(hours=16):%H}:00"  # not while it is drawn
        settings.write_text(SETTINGS.format(url=service.url, quiet=quiet), encoding="utf-8")
        settings.chmod(0o600)
        with AlertManager(str(settings)) as manager:
            for alert in day(now):
                manager.emit(alert)
            manager.flush(60)
            service.on(path="/desk").answer(503, "maintenance").answer(404, "gone")
            manager.send_error_alert("Broker", "margin call of 1,250.00", {"account": "paper"})
            manager.flush(20)
            with served(settings) as url, browsing() as browser:
                for name, path, title, width, height, dark, scale in PICTURES:
                    tab = browser.open(width, height=height, dark=dark, scale=scale)
                    opened(tab, url + path, title)
                    if title == "History":
                        choose(tab, "Open an alert", "Stop hit: MSFT")
                    if title == "Rules":
                        tab.page.get_by_text("Quiet hours", exact=True).click()
                    time.sleep(3)
                    tab.page.screenshot(path=str(HERE / f"{name}.png"))


if __name__ == "__main__":
    main()
