"""Recording a run for a simulation: whole, the same results as without alerts, and sent to nobody."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import pandas as pd
import pytest

from bt_alerts import Alert, Notifier, attach
from bt_alerts.alert import Source
from bt_alerts.hooks.record import engine_of, is_strategy, record
from bt_alerts.settings import load
from bt_alerts.testing import FakeService

STRATEGIES = Path(__file__).parents[2] / "strategies"
EXAMPLES = sorted(path.stem for path in STRATEGIES.glob("*.py"))


def example(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STRATEGIES))
        return importlib.import_module(name)


def results(engine: Any) -> tuple[float, int]:
    return engine.broker.getvalue(), len(engine.broker.orders)


def prices(n: int = 60, step: dt.timedelta = dt.timedelta(days=1)) -> pd.DataFrame:
    closes = [100 + (number * 7) % 23 for number in range(n)]
    index = pd.DatetimeIndex([dt.datetime(2024, 1, 1) + step * number for number in range(n)], name="datetime")
    rows = {"open": closes, "high": [c + 1 for c in closes], "low": [c - 1 for c in closes], "close": closes}
    return pd.DataFrame({**rows, "volume": 1_000.0}, index=index, dtype=float)


class Turns(bt.Strategy):
    """In on odd bars, out on even ones."""

    def next(self) -> None:
        if len(self) % 2 and not self.position:
            self.buy()
        elif self.position:
            self.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_recorded_run_has_the_results_that_it_has_without_alerts(name: str) -> None:
    made: Callable[[], Any] = example(name).cerebro
    plain, recorded = made(), made()
    plain.run()
    alerts = record(recorded, load({"store": "memory"}))
    assert results(recorded) == results(plain)
    assert [alert.time for alert in alerts] == sorted(alert.time for alert in alerts)
    assert {alert.source for alert in alerts} == {Source.HISTORY}
    kinds = {alert.kind for alert in alerts}
    assert kinds >= {"strategy.started", "order.submitted", "order.completed", "strategy.stopped"}
    assert len({alert.symbol for alert in alerts if alert.symbol}) == (2 if name == "pairs" else 1)


def test_what_the_settings_do_not_want_is_made_all_the_same():
    """So that other settings can be tried on the same run."""
    tried = {"store": "memory", "events": {"trade.closed": "off", "order.submitted": "off"}}
    alerts = record(engine_of(Turns, {"AAA": prices()}), load(tried))
    assert {"trade.closed", "order.submitted", "order.completed"} <= {alert.kind for alert in alerts}


def test_the_watches_of_the_settings_are_in_the_record():
    levels = [{"watch": "price", "symbol": "AAA", "crosses": 110}]
    with_watches = record(engine_of(Turns, {"AAA": prices()}), load({"store": "memory", "watch": {"levels": levels}}))
    without = record(engine_of(Turns, {"AAA": prices()}), load({"store": "memory"}))

    def watched(alerts: list[Alert]) -> int:
        return sum(alert.kind.startswith("watch.") for alert in alerts)

    assert watched(with_watches) > 0
    assert watched(without) == 0


def test_nothing_is_sent_and_nothing_is_kept(service: FakeService, tmp_path: Path) -> None:
    """Whatever the settings say of channels, rules and where alerts go."""
    tried = load(
        {
            "store": str(tmp_path / "alerts.db"),
            "mode": "send",
            "alerts": {"hook": {"type": "webhook", "urls": service.url}},
            "routes": [{"when": {"type": "order"}, "to": "hook"}],
            "rules": {"maintenance": [{"hours": "00:00-23:59"}]},
            "quiet_hours": [{"channels": "hook", "hours": "22:00-07:00"}],
            "digests": [{"at": "18:00", "channels": "hook"}],
            "escalation": [{"steps": [{"after": "1m", "to": "hook"}]}],
        }
    )
    assert record(engine_of(Turns, {"AAA": prices()}), tried)
    assert service.requests == []
    assert not (tmp_path / "alerts.db").exists()


def test_what_a_strategy_raises_comes_out():
    class Breaks(bt.Strategy):
        def next(self) -> None:
            raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        record(engine_of(Breaks, {"AAA": prices()}), load({"store": "memory"}))


def test_a_cerebro_with_alerts_is_refused(service: FakeService) -> None:
    """Its manager is a real one: what a simulation asks for must not go there."""
    engine = engine_of(Turns, {"AAA": prices()})
    live = attach(engine, {"alerts": {"hook": {"type": "webhook", "urls": service.url}}}, store="memory", mode="send")
    try:
        with pytest.raises(ValueError, match=r"leave attach\(\.\.\.\) out"):
            record(engine, load({"store": "memory"}))
    finally:
        live.close(timeout=0)
    assert service.requests == []


def test_one_strategy_may_be_recorded_again():
    engine = engine_of(Turns, {"AAA": prices()})
    first, second = (record(engine, load({"store": "memory"})) for _ in range(2))
    assert [alert.title for alert in first] == [alert.title for alert in second]


def test_progress_has_a_beginning_and_an_end():
    told: list[tuple[int, int]] = []
    record(engine_of(Turns, {"AAA": prices(5)}), load({"store": "memory"}), lambda done, of: told.append((done, of)))
    assert told == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("step", "timeframe", "compression"),
    [
        (dt.timedelta(days=1), bt.TimeFrame.Days, 1),
        (dt.timedelta(days=7), bt.TimeFrame.Days, 1),
        (dt.timedelta(hours=1), bt.TimeFrame.Minutes, 60),
        (dt.timedelta(minutes=5), bt.TimeFrame.Minutes, 5),
        (dt.timedelta(seconds=15), bt.TimeFrame.Seconds, 15),
    ],
)
def test_bars_are_as_long_as_the_step_between_them(step: dt.timedelta, timeframe: int, compression: int) -> None:
    engine = engine_of(Turns, {"AAA": prices(step=step)})
    (data,) = engine.datas
    assert (data.p.timeframe, data.p.compression) == (timeframe, compression)
    alerts = record(engine, load({"store": "memory"}))
    times = {alert.bar_time or alert.time for alert in alerts}
    assert min(times) >= dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert len(times) > 20


def test_one_bar_is_one_of_a_day():
    (data,) = engine_of(Turns, {"AAA": prices(1)}).datas
    assert (data.p.timeframe, data.p.compression) == (bt.TimeFrame.Days, 1)


def test_only_strategies_of_somebodys_own_are_strategies():
    class Mine(Notifier, bt.Strategy):
        pass

    assert [is_strategy(value) for value in (Mine, Turns, bt.Strategy, bt.Cerebro, Mine.__name__, None)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
