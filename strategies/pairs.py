"""Pairs: sells the share that ran ahead and buys the one that stayed behind, until they are level again.

Run it with ``python strategies/pairs.py``. Two data feeds, one strategy: each alert names the share that it is about,
and ``self.signal(..., data=...)`` says which one is meant.
"""

import backtrader as bt

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices


class Pairs(Notifier, bt.Strategy):
    params = (("period", 60), ("enter", 2.0), ("leave", 0.3), ("stake", 0.4))

    def __init__(self):
        ratio = self.data0.close / self.data1.close
        mean = bt.indicators.SMA(ratio, period=self.p.period)
        self.zscore = (ratio - mean) / bt.indicators.StdDev(ratio, period=self.p.period)

    def next(self):
        z = self.zscore[0]
        if not self.getposition(self.data0).size:
            if abs(z) > self.p.enter:
                dear, cheap = (self.data0, self.data1) if z > 0 else (self.data1, self.data0)
                self.open_leg("SELL", dear, z)
                self.open_leg("BUY", cheap, z)
        elif abs(z) < self.p.leave:
            self.alert(f"z-score back at {z:+.2f}: closing both legs", title="Pair is level", type="position", zscore=z)
            for leg in self.datas:
                self.close(data=leg)

    def open_leg(self, side, leg, z):
        size = int(self.broker.getvalue() * self.p.stake / leg.close[0])
        self.signal(side, conditions=[f"z-score of the ratio {z:+.2f}"], indicators={"zscore": round(z, 2)}, data=leg)
        (self.buy if side == "BUY" else self.sell)(data=leg, size=size)


STRATEGY = Pairs


def cerebro() -> bt.Cerebro:
    """A loaded engine, without alerts."""
    engine = bt.Cerebro()
    for symbol in ("MSFT", "IBM"):
        engine.adddata(prices.feed(symbol, "2004-01-01", "2012-12-31"))
    engine.addstrategy(Pairs)
    engine.broker.setcash(100_000)
    engine.broker.setcommission(0.001)
    return engine


if __name__ == "__main__":
    engine = cerebro()
    alerts = attach(engine)
    engine.run()
    print(f"Final value: {engine.broker.getvalue():,.2f}")
    print(alerts.history()[["time", "type", "symbol", "title"]].tail(20).to_string(index=False))
