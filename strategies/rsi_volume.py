"""RSI with volume: buys a sell-off that many took part in, and sells when the price has recovered.

Run it with ``python strategies/rsi_volume.py``. It shows ``self.signal``: the strategy says *why* before the order goes
out, with its conditions and indicators, and bt_alerts follows that signal to its fill.
"""

import backtrader as bt

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices


class RsiVolume(Notifier, bt.Strategy):
    params = (("period", 5), ("oversold", 25), ("recovered", 60), ("busy", 1.1), ("longest", 30))

    def __init__(self):
        self.rsi = bt.indicators.RSI(period=self.p.period, safediv=True)
        self.volume_ratio = self.data.volume / bt.indicators.SMA(self.data.volume, period=20)
        self.bought = 0

    def next(self):
        reading = {"rsi": round(self.rsi[0], 1), "volume_ratio": round(self.volume_ratio[0], 2)}
        if not self.position and self.rsi < self.p.oversold and self.volume_ratio > self.p.busy:
            self.signal(
                "BUY",
                conditions=[f"RSI below {self.p.oversold}", f"volume {self.volume_ratio[0]:.1f} times its average"],
                confidence=min(100.0, 100.0 * self.volume_ratio[0] / 3),
                indicators=reading,
            )
            self.bought = len(self)
            self.buy()
        elif self.position and (self.rsi > self.p.recovered or len(self) - self.bought >= self.p.longest):
            why = f"RSI above {self.p.recovered}" if self.rsi > self.p.recovered else f"held {self.p.longest} bars"
            self.signal("SELL", conditions=[why], indicators=reading)
            self.close()


STRATEGY = RsiVolume


def cerebro() -> bt.Cerebro:
    """A loaded engine, without alerts."""
    engine = bt.Cerebro()
    engine.adddata(prices.feed("MSFT", "2004-01-01", "2012-12-31"))
    engine.addstrategy(RsiVolume)
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
