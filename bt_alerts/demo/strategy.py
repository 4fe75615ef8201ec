"""The strategy of ``bt-alerts demo``: a moving-average cross whose trades end at a stop or a target."""

from __future__ import annotations

from typing import Any

from bt_alerts.hooks.notifier import Notifier
from bt_alerts.hooks.seam import bt


class DemoStrategy(Notifier, bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """In when the fast average crosses above the slow one; a bracket of ``stop`` and ``target`` ATRs gets out."""

    params = (("fast", 8), ("slow", 21), ("stop", 1.5), ("target", 3.0), ("part", 0.5))

    def __init__(self) -> None:
        averages = bt.indicators.SMA(period=self.p.fast), bt.indicators.SMA(period=self.p.slow)
        self.cross = bt.indicators.CrossOver(*averages)
        self.atr = bt.indicators.ATR()
        self.bracket: list[Any] = []

    def next(self) -> None:
        self.bracket = [order for order in self.bracket if order.alive()]
        if self.cross <= 0 or self.position or self.bracket:
            return
        close, atr = self.data.close[0], self.atr[0]
        stop, target = close - self.p.stop * atr, close + self.p.target * atr
        self.signal(
            "BUY",
            conditions=[f"the average of {self.p.fast} bars crossed above that of {self.p.slow}"],
            stop_loss=round(stop, 2),
            take_profit=round(target, 2),
            indicators={"atr": round(atr, 2)},
        )
        size = int(self.broker.getvalue() * self.p.part / close)
        self.bracket = self.buy_bracket(size=size, exectype=bt.Order.Market, stopprice=stop, limitprice=target)
