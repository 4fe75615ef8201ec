"""Record a run for a simulation: a backtest whose alerts are kept in memory and sent to nobody.

Kinds of event that settings turn off are made here all the same, so that other settings can be tried on the same run.
Results of the backtest are what they are without alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert
from bt_alerts.hooks.attach import attach
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.session import ATTRIBUTE

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.settings import Settings

CASH = 100_000.0
COMMISSION = 0.001
PERCENT = 90  # of the cash that an order without a size uses
DAY = 86_400.0  # seconds


def engine_of(strategy: type[Any], frames: Mapping[str, pd.DataFrame]) -> Any:
    """A Cerebro with a strategy and prices, and with the usual: cash, a commission, orders of nearly all the cash.

    Args:
        strategy: the class.
        frames: prices by symbol: one row a bar, with a datetime index and the columns open, high, low, close, volume.
    """
    engine = bt.Cerebro(stdstats=False)
    for symbol, frame in frames.items():
        timeframe, compression = _timeframe(frame)
        engine.adddata(bt.feeds.PandasData(dataname=frame, name=symbol, timeframe=timeframe, compression=compression))
    engine.addstrategy(strategy)
    engine.broker.setcash(CASH)
    engine.broker.setcommission(commission=COMMISSION)
    engine.addsizer(bt.sizers.PercentSizer, percents=PERCENT / max(1, len(frames)))
    return engine


def _timeframe(frame: pd.DataFrame) -> tuple[int, int]:
    """How long a bar is, from the step that most bars take; Backtrader takes every bar for one of a day otherwise."""
    steps = frame.index.to_series().diff().dt.total_seconds().dropna()
    usual = float(steps.median()) if len(steps) else DAY
    if usual >= DAY or usual <= 0:
        return bt.TimeFrame.Days, 1
    if usual % 60:
        return bt.TimeFrame.Seconds, max(1, round(usual))
    return bt.TimeFrame.Minutes, round(usual / 60)


def is_strategy(value: object) -> bool:
    """Whether something is a strategy class of somebody's own."""
    return isinstance(value, type) and issubclass(value, bt.Strategy) and value.__module__ != bt.Strategy.__module__


def record(
    engine: Any, settings: Settings, progress: Callable[[int, int], None] = lambda done, of: None
) -> list[Alert]:
    """Run a backtest and return its alerts, oldest first.

    Args:
        engine: a loaded Cerebro.
        settings: of which the watches count.
        progress: told at the beginning and at the end.

    Raises:
        ValueError: where alerts are attached to the engine already, which might send.
        Exception: whatever the strategy raises.
    """
    from bt_alerts.settings.rules import Rules

    if engine.__dict__.get(ATTRIBUTE) is not None:
        raise ValueError("alerts are attached to this Cerebro already: leave attach(...) out where it is made")
    nobody = {"alerts": {}, "routes": [], "rules": Rules(), "quiet_hours": [], "digests": [], "escalation": []}
    quiet = settings.model_copy(update={**nobody, "store": "memory", "mode": "record", "events": {}, "env_file": None})
    progress(0, 1)
    with attach(engine, quiet) as manager:
        engine.run()
        alerts = manager.alerts()
    progress(1, 1)
    return alerts
