"""How strategies and feeds stand, by what each said of itself last."""

from __future__ import annotations

from typing import Any

import pytest
from alerts_kit import alert

from bt_alerts.alert import Source
from bt_alerts.delivery import standing
from bt_alerts.outbox.base import Outbox

T0 = 1_700_000_000.0


def said(kind: str, at: float, **fields: Any) -> Any:
    given = {"strategy": "Trend", "run": "r", "source": Source.LIVE, **fields}
    return alert(kind, kind=kind, time=T0 + at, **given)


@pytest.fixture
def now() -> float:
    return T0 + 3600


def test_a_strategy_stands_as_it_said_last(outbox: Outbox, now: float) -> None:
    outbox.record([said("strategy.started", 0), said("strategy.armed", 5), said("error", 60)], "mode")
    outbox.record([said("strategy.started", 10, strategy="Other")], "mode")
    outbox.record([said("strategy.started", 20, strategy="Tested", source=Source.HISTORY)], "mode")
    found = [(each.name, each.word, each.good) for each in standing.strategies(outbox, now)]
    assert found == [("Other", "running", True), ("Trend", "ended by an error", False)]
    assert "Tested" in [each.name for each in standing.strategies(outbox, now, history=True)]


def test_a_process_that_died_takes_its_strategies_along(outbox: Outbox, now: float) -> None:
    outbox.record(
        [said("strategy.started", 0), said("process.died", 9, strategy="", data={"strategies": ["Trend"]})], ""
    )
    assert [(each.name, each.word) for each in standing.strategies(outbox, now)] == [("Trend", "died")]


def test_a_feed_is_live_until_its_run_ends(outbox: Outbox, now: float) -> None:
    outbox.record([said("strategy.started", 0), said("data.live", 1, symbol="IBM")], "mode")
    assert [(each.name, each.word, each.good) for each in standing.feeds(outbox, now)] == [("IBM", "live", True)]
    outbox.record([said("strategy.stopped", 600)], "mode")
    assert [(each.name, each.word, each.good) for each in standing.feeds(outbox, now)] == [
        ("IBM", "ended with its run", False)
    ]
    outbox.record([said("strategy.started", 700), said("data.live", 701, symbol="IBM")], "mode")
    assert [each.word for each in standing.feeds(outbox, now)] == ["live"]
