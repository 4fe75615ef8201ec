"""For what sends past the manager, such as a live page: may it, from inside a strategy?

It is gated as the alerts of the hooks are: a backtest and an optimisation send nothing, old bars of a live run neither.
Where the strategy has alerts as well, their session answers, with its ``mode`` and its ``live``; else the gate alone.
Nothing is put on the Cerebro.
"""

from __future__ import annotations

import time
from typing import Any

from bt_alerts.alert import Source
from bt_alerts.hooks.gate import Gate, feed_names
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.session import ATTRIBUTE, Session


def goes_out(strategy: Any, *, symbol: str = "", order: bool = False, run: bool = False) -> bool:
    """Whether what a strategy tells now is live.

    Args:
        strategy: whose bar it is.
        symbol: name of the feed that it is about; the first one where none has it.
        order: it is of an order or the account, which a real broker has whatever its feeds say.
        run: it is of the whole run, which can be live before the first bar.
    """
    cerebro = strategy.cerebro
    if getattr(cerebro, "_dooptimize", False):
        return False
    feed = next((data for data in strategy.datas if data._name == symbol), next(iter(strategy.datas), None))
    session: Session | None = cerebro.__dict__.get(ATTRIBUTE)
    if session is not None and session.gate is not None:
        if session.manager.mode != "auto":
            return session.manager.mode == "send"
        return session.live_run if run else session.source(feed, order=order) is Source.LIVE
    gate = Gate("auto", time.time)
    if not gate.live_run(zip(feed_names(cerebro.datas), cerebro.datas, strict=True)):
        return False
    real = order and not isinstance(cerebro.broker, bt.brokers.BackBroker)
    return run or (feed is not None and gate.judge(feed, symbol, real_broker=real) is Source.LIVE)
