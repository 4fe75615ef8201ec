"""Each strategy of ``strategies/`` on bundled prices has a report, and its figures are those of the tables."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bt_alerts.demo import prices
from bt_alerts.hooks.record import record
from bt_alerts.settings import Settings, load
from bt_alerts.simulate import Simulation, simulate

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "strategies").glob("*.py"))


def settings() -> Settings:
    """The first settings of the page about simulations, which are those of its pictures."""
    import yaml

    page = (ROOT / "docs" / "simulate.md").read_text("utf-8")
    found = re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return load(yaml.safe_load(found[1]), environ={})


@pytest.fixture(params=NAMES)
def strategy(request: pytest.FixtureRequest) -> Iterator[Any]:
    name = f"simulated_{request.param}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "strategies" / f"{request.param}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Backtrader looks a strategy's module up when it is made
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def simulated(module: Any) -> Simulation:
    chosen = settings()
    return simulate(record(module.cerebro(), chosen), chosen, close=prices.CLOSE, name=module.STRATEGY.__name__)


def test_its_report_is_written_and_says_what_the_tables_say(strategy: Any, tmp_path: Path) -> None:
    simulation = simulated(strategy)
    page = html.unescape(simulation.to_html(tmp_path / "report.html").read_text("utf-8"))
    alerts, messages = simulation.alerts_frame(), simulation.messages_frame()
    tiles = re.findall(r'<div class="tile"><b>([^<]*)</b><span>([^<]*)</span>', page)
    figures = {words: figure for figure, words in tiles}

    assert strategy.STRATEGY.__name__ in re.search(r"<title>([^<]*)</title>", page)[1]  # type: ignore[index]
    assert figures[f"messages from {len(alerts):,} alerts"] == f"{len(messages):,}"
    suppressed = int((alerts["state"] == "suppressed").sum())
    assert f"<b>{suppressed:,}</b><span>kept back by a rule</span>" in page
    digests = int((messages["alerts"] > 1).sum())
    assert f"<b>{digests:,}</b><span>of them digest" in page.replace("of them a digest", "of them digest")
    for name, n in messages["channel"].value_counts().items():
        assert f"<bdi>{name}</bdi> {n:,}</li>" in page
    for words, n in simulation.reasons.items():
        assert words[1:].replace("`", "") in page
        assert f">{n:,}</td>" in page

    assert set(messages["channel"]) == {"phone", "desk"}
    assert simulation.per_day()["messages"].sum() == len(messages)
    # What is of trouble is on the phone when the market closes, and the rest on the desk two hours later.
    hours = messages.groupby("channel")["time"].agg(lambda times: set(times.dt.hour))
    assert hours["phone"] == {16}
    assert hours["desk"] <= {16, 18}


def test_daily_bars_that_end_with_the_market_are_one_time_of_the_day_in_summer_and_in_winter(strategy: Any) -> None:
    simulation = simulated(strategy)
    assert len({row.alert.time.hour for row in simulation.alerts}) == 2  # of UTC
    assert simulation.headline.one_time_of_day
    assert "at night" not in repr(simulation)
    assert "on 2 channels" in repr(simulation)
