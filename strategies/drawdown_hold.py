"""Buy and hold, with a drawdown alert: puts a part of the cash to work each year, and says how deep it is under water.

Run it with ``python strategies/drawdown_hold.py``. It shows ``self.alert``: any text, at any place, with a type, a
priority and data of its own. Each depth is told once, and again only after the account has made a new high.
"""

import backtrader as bt

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices


class Hold(Notifier, bt.Strategy):
    params = (("steps", (10, 20, 30)), ("part", 0.5))

    def __init__(self):
        self.peak = 0.0
        self.told = 0
        self.year = None

    def next(self):
        year = self.data.datetime.date(0).year
        if year != self.year:
            self.year = year
            size = int(self.broker.getcash() * self.p.part / self.data.close[0])
            if size:
                self.buy(size=size)
        self.watch(self.broker.getvalue())

    def watch(self, value):
        if value >= self.peak:
            self.peak, self.told = value, 0
            return
        drawdown = 100 * (1 - value / self.peak)
        passed = max((step for step in self.p.steps if drawdown >= step), default=0)
        if passed > self.told:
            self.told = passed
            self.alert(
                f"{drawdown:.1f} % below the high of {self.peak:,.0f}: the account is worth {value:,.0f}",
                title=f"Drawdown passed {passed} %",
                type="risk",
                priority="high",
                drawdown=round(drawdown, 2),
            )


STRATEGY = Hold


def cerebro() -> bt.Cerebro:
    """A loaded engine, without alerts."""
    engine = bt.Cerebro()
    engine.adddata(prices.feed("GOOG", "2004-08-19", "2012-12-31"))
    engine.addstrategy(Hold)
    engine.broker.setcash(100_000)
    engine.broker.setcommission(0.001)
    return engine


if __name__ == "__main__":
    engine = cerebro()
    alerts = attach(engine)
    engine.run()
    print(f"Final value: {engine.broker.getvalue():,.2f}")
    print(alerts.history()[["time", "type", "symbol", "title"]].tail(20).to_string(index=False))
