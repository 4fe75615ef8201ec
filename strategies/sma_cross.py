"""Moving-average cross: in when the fast average crosses above the slow one, out when it crosses below.

Run it with ``python strategies/sma_cross.py``: a backtest on bundled prices, then what it would have told you. Nothing
here knows about alerts but the last lines: ``attach`` is enough to be told of every order and trade.
"""

import backtrader as bt

from bt_alerts import attach
from bt_alerts.demo import prices


class SmaCross(bt.Strategy):
    params = (("fast", 20), ("slow", 50))

    def __init__(self):
        fast = bt.indicators.SMA(period=self.p.fast)
        slow = bt.indicators.SMA(period=self.p.slow)
        self.cross = bt.indicators.CrossOver(fast, slow)

    def next(self):
        if self.cross > 0 and not self.position:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()


STRATEGY = SmaCross


def cerebro() -> bt.Cerebro:
    """A loaded engine, without alerts."""
    engine = bt.Cerebro()
    engine.adddata(prices.feed("IBM", "2004-01-01", "2012-12-31"))
    engine.addstrategy(SmaCross)
    engine.broker.setcash(100_000)
    engine.broker.setcommission(0.001)
    engine.addsizer(bt.sizers.PercentSizer, percents=90)
    return engine


if __name__ == "__main__":
    engine = cerebro()
    alerts = attach(engine)
    engine.run()
    print(f"Final value: {engine.broker.getvalue():,.2f}")
    print(alerts.history()[["time", "type", "symbol", "title"]].tail(20).to_string(index=False))
