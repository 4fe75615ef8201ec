"""Draws ``docs/images/report.png`` and ``report-page.png``: what a weekly report of a run on bundled prices brings.

    python docs/images/draw_report.py

Needs the extra ``charts``. The page is the first of ``report.pdf``, drawn as a picture.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import backtrader as bt

from bt_alerts import attach
from bt_alerts.demo import prices
from bt_alerts.render import report_picture
from bt_alerts.render.report_files import shown
from bt_alerts.summary import summary

HERE = Path(__file__).parent
WEEK = dt.datetime(2012, 7, 23, 4, tzinfo=dt.UTC)  # a Monday's midnight in New York
CLOSING = dt.timedelta(hours=20)  # 16:00 there


class Rebound(bt.Strategy):
    """Buys a share that closed lower, and sells it a day later."""

    def next(self) -> None:
        for data in self.datas:
            if self.getposition(data).size:
                self.close(data)
            elif data.close[0] < data.close[-1]:
                self.buy(data, size=int(15_000 / data.close[0]))


def main() -> None:
    """Draw both."""
    cerebro = bt.Cerebro(stdstats=False)
    for symbol in prices.symbols():
        frame = prices.load(symbol, start="2012-06-04", end="2012-07-27").round(2)
        frame.index = frame.index + CLOSING
        cerebro.adddata(bt.feeds.PandasData(dataname=frame), name=symbol)
    cerebro.addstrategy(Rebound)
    cerebro.broker.setcash(100_000)
    cerebro.broker.setcommission(0.0005)
    with attach(cerebro, store="memory") as manager:
        cerebro.run()
        alerts = manager.alerts()
    begin, end = WEEK.timestamp(), (WEEK + dt.timedelta(days=7)).timestamp()
    report = summary(
        [alert for alert in alerts if alert.time.timestamp() >= begin],
        before=[alert for alert in alerts if alert.time.timestamp() < begin],
        name="week",
        period="weekly",
        since=begin,
        until=end,
        zone="America/New_York",
        now=end,
    )
    told = shown(report.data["report"])
    (HERE / "report.png").write_bytes(report_picture.report_png(told))
    report_picture.first_page(told).savefig(HERE / "report-page.png", dpi=75)
    print(f"{report.title}\n{report.message}")


if __name__ == "__main__":
    main()
