"""Draws ``docs/images/alert-chart.png`` and ``alert-chart-dark.png``: the pictures that a phone got in a live run.

    python docs/images/draw_charts.py

The run is one of bundled prices that come as if they were live; the pictures are taken from the requests to a Pushover
that stands on this machine. Needs the extra ``charts``.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import backtrader as bt

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices
from bt_alerts.demo.feed import replay
from bt_alerts.testing import FakeService

HERE = Path(__file__).parent
BACKFILL = 70  # bars


class Breakout(Notifier, bt.Strategy):
    """Buys above the highest of twenty days, with a stop and a target."""

    def __init__(self) -> None:
        self.highest = bt.ind.Highest(self.data.high(-1), period=20)

    def next(self) -> None:
        close = self.data.close[0]
        if not self.position and len(self) > BACKFILL and close > self.highest[0]:
            self.buy_bracket(
                size=100, exectype=bt.Order.Market, stopprice=round(0.955 * close, 2), limitprice=round(1.07 * close, 2)
            )


def pictures(charts: str) -> dict[str, bytes]:
    """What arrives on the phone: pictures by title."""
    frame = prices.load("AAPL", start="2012-01-03", end="2012-09-28").round(2)
    feed = replay(frame, backfill=BACKFILL, name="AAPL")
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(Breakout)
    cerebro.broker.setcash(100_000)

    def clock() -> float:
        when = bt.num2date(feed.datetime[0]) if len(feed) else frame.index[0].to_pydatetime()
        return when.replace(hour=20, minute=1, tzinfo=dt.UTC).timestamp()

    with FakeService() as service:
        service.answer(200, {"status": 1, "request": "r"})
        block = {"app_token": "a" * 30, "user_key": "u" * 30, "api_url": service.url, "rate_limit": 0, "charts": charts}
        settings: dict[str, Any] = {"alerts": {"pushover": block}, "templates": {"timezone": "America/New_York"}}
        settings["delivery"] = {"time_to_live": 31_536_000}  # the year goes by in a second
        with attach(cerebro, {**settings, "store": "memory"}, live="always", clock=clock) as manager:
            cerebro.run()
            manager.flush(60)
        found = {}
        for request in service.requests:
            parts = request.parts() if "multipart" in request.headers.get("content-type", "") else {}
            if "attachment" in parts:
                found[request.form()["title"]] = parts["attachment"][2]
        return found


def main() -> None:
    """Draw both."""
    for name, charts, wanted in (("alert-chart", "light", "BUY"), ("alert-chart-dark", "dark", "closed")):
        made = pictures(charts)
        title = next(title for title in made if wanted in title)
        (HERE / f"{name}.png").write_bytes(made[title])
        print(f"{name}.png: {title} ({len(made[title]):,} bytes; of {', '.join(made)})")


if __name__ == "__main__":
    main()
