"""ATR breakout: buys a new high of the last weeks, with a stop and a target that the volatility sets.

Run it with ``python strategies/atr_breakout.py``. Its bracket of three orders makes one message on entry and one on
exit, and the exit says whether the stop or the target ended the trade. ``notify_order`` is overridden without
``super()``, as people do: bt_alerts hears of every order all the same.
"""

import backtrader as bt

from bt_alerts import Notifier, attach
from bt_alerts.demo import prices


class AtrBreakout(Notifier, bt.Strategy):
    params = (("channel", 40), ("atr", 14), ("stop", 2.0), ("target", 4.0), ("risk", 0.01))

    def __init__(self):
        self.highest = bt.indicators.Highest(self.data.high, period=self.p.channel)
        self.range = bt.indicators.ATR(period=self.p.atr)
        self.bracket = []

    def notify_order(self, order):
        if not order.alive():
            self.bracket = [other for other in self.bracket if other.ref != order.ref]

    def next(self):
        close = self.data.close[0]
        if self.position or self.bracket or close <= self.highest[-1]:
            return
        stop, target = close - self.p.stop * self.range[0], close + self.p.target * self.range[0]
        # So many shares that the stop costs `risk` of the account, and no more than the account can pay.
        size = int(min(self.broker.getvalue() * self.p.risk / (close - stop), self.broker.getcash() * 0.9 / close))
        self.signal(
            "BUY",
            conditions=[f"close above the high of {self.p.channel} bars"],
            stop_loss=round(stop, 2),
            take_profit=round(target, 2),
            indicators={"atr": round(self.range[0], 2), "high": self.highest[-1]},
        )
        self.bracket = self.buy_bracket(size=size, exectype=bt.Order.Market, stopprice=stop, limitprice=target)


STRATEGY = AtrBreakout


def cerebro() -> bt.Cerebro:
    """A loaded engine, without alerts."""
    engine = bt.Cerebro()
    engine.adddata(prices.feed("IBM", "2004-01-01", "2012-12-31"))
    engine.addstrategy(AtrBreakout)
    engine.broker.setcash(100_000)
    engine.broker.setcommission(0.001)
    return engine


if __name__ == "__main__":
    engine = cerebro()
    alerts = attach(engine)
    engine.run()
    print(f"Final value: {engine.broker.getvalue():,.2f}")
    print(alerts.history()[["time", "type", "symbol", "title"]].tail(20).to_string(index=False))
