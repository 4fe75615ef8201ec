"""``watch: {levels: [...]}``: what is read, and every mistake at its line."""

from __future__ import annotations

from typing import get_args

import pytest
from settings_loading import loaded, problems

from bt_alerts.alert import Priority
from bt_alerts.settings.conditions import read_condition
from bt_alerts.settings.reference import settings_rows
from bt_alerts.settings.watches import WATCHES, WatchLevel, WatchName, Window, read_window, watch


def test_levels_are_read_from_a_file(alerts_yaml):
    levels = loaded(
        alerts_yaml("""
        watch:
          levels:
            - watch: Drawdown
              above: 10 %
              back: 8
              priority: HIGH
            - {watch: price, symbol: AAPL, above: 200, back: 198}
            - {watch: move, symbol: "*", above: 5, within: 1D}
            - {watch: indicator, condition: "rsi>70"}
            - {watch: time_in_trade, above: 5d}
            - {watch: time_in_trade, above: 5, unit: bars}
            - {watch: performance, below: -10}
        """)
    ).watch.levels
    assert levels == [
        watch("drawdown", above=10, back=8, priority=Priority.HIGH),
        watch("price", symbol="AAPL", above=200, back=198),
        watch("move", above=5, within="1d"),
        watch("indicator", condition="rsi > 70"),
        watch("time_in_trade", above=5 * 86_400),
        watch("time_in_trade", above=5, unit="bars"),
        watch("performance", below=-10),
    ]
    assert levels[0].priority is Priority.HIGH
    assert [level.over_at for level in levels] == [8, 198, 4, 70, 0, 0, -8]
    assert [level.name("AAPL" if level.about.of_feed else "") for level in levels] == [
        "drawdown above 10",
        "price AAPL above 200",
        "move AAPL above 5 within 1d",
        "indicator AAPL rsi > 70",
        "time_in_trade AAPL above 5 d",
        "time_in_trade AAPL above 5 bars",
        "performance below -10",
    ]


def test_every_mistake_is_told_at_its_line(alerts_yaml):
    told = problems(
        alerts_yaml("""
        watch:
          levels:
            - watch: drawdwn
              above: 3
            - watch: drawdown
            - watch: drawdown
              above: 10
              back: 12
            - {watch: margin, above: 4}
            - watch: price
              above: much
              below: 3
              crosses: 4
            - watch: losses
              above: 3
              symbol: AAPL
            - watch: indicator
              above: 3
            - watch: indicator
              condition: rsi = 3
            - watch: indicator
              condition: a > b
              back: 3
            - {watch: move, above: 5, within: soon}
            - watch: time_in_trade
              above: five days
            - above: 3
            - watch: volume
              above: 3
              within: 3d
              wthin: 3
            - {watch: drawdown, above: 0, priority: loud}
            - {watch: time_in_trade, unit: money, above: 5}
            - {watch: milestone, every: 10, back: 5}
            - {watch: margin, below: 20, back: 15}
            - drawdown
            - watch: losses
              above: 3
              whitin:
        """)
    )
    names = ", ".join(WATCHES)
    sides = "a name or a number on each side of one of >=, <=, >, <, crosses above, crosses below"
    assert [line.removeprefix("alerts.yaml:") for line in told] == [
        f"3: watch.levels[0].watch: write one of {names}, not `drawdwn`; did you mean `drawdown`?",
        "5: watch.levels[1]: `drawdown` needs a level: write `above: 10`",
        "8: watch.levels[2].back: write 10 or less, not `12`: it is where this is over again",
        "9: watch.levels[3].above: `margin` takes `below:`, not `above:`",
        "11: watch.levels[4].above: write a number, not `much`",
        "13: watch.levels[4].crosses: `below:` is given as well; write a watch for each of them",
        "16: watch.levels[5].symbol: `losses` is not of one feed; remove `symbol:`",
        "18: watch.levels[6].above: `indicator` has its level in its condition; remove `above:`",
        "20: watch.levels[7].condition: write a condition such as `rsi > 70` or `sma_fast crosses above sma_slow`: "
        + sides,
        "23: watch.levels[8].back: `a > b` is over when it is true no longer; remove `back:`",
        "24: watch.levels[9].within: write a time such as 30m, 4h, 1d (a second to a year), or a number of bars "
        "such as `20 bars`",
        "26: watch.levels[10].above: write a duration such as 30s, 15m, 12h, 90d, or a number of seconds",
        "27: watch.levels[11].watch: missing; write `watch:`",
        "30: watch.levels[12].within: the average of a volume is over bars; write a number of them such as `20 bars`",
        "31: watch.levels[12].wthin: unknown key; did you mean `within`?",
        "32: watch.levels[13].above: write a number above 0, not `0`",
        "32: watch.levels[13].priority: write one of critical, high, medium, low, info, not `loud`",
        "33: watch.levels[14].unit: `time_in_trade` is in time or bars",
        "34: watch.levels[15].back: a milestone is never over; remove `back:`",
        "35: watch.levels[16].back: write 20 or more, not `15`: it is where this is over again",
        "36: watch.levels[17]: write a block of keys beneath it, not `drawdown`",
        "39: watch.levels[18].whitin: unknown key; did you mean `within`?",
    ]


def test_levels_are_a_list(alerts_yaml):
    told = "watch.levels: write a list of blocks of keys, each beginning with `- `, not"
    assert problems(alerts_yaml("watch:\n  levels: {watch: drawdown, above: 10}\n")) == [
        f"alerts.yaml:2: {told} a block of keys"
    ]
    assert problems({"watch": {"levels": "drawdown"}}) == [f"config: {told} `drawdown`"]


@pytest.mark.parametrize("name", WATCHES)
def test_every_watch_needs_its_level(name):
    (told,) = problems({"watch": {"levels": [{"watch": name}]}})
    assert "needs a level: write `" in told or "needs `condition:`" in told
    good = {"condition": "rsi > 70"} if name == "indicator" else {WATCHES[name].takes[0]: 10}
    level = loaded({"watch": {"levels": [{"watch": name, **good}]}}).watch.levels[0]
    assert isinstance(level, WatchLevel)


def test_the_names_are_those_of_the_table_and_each_key_has_a_row():
    assert set(get_args(WatchName)) == set(WATCHES)
    rows = {row.key: row for row in settings_rows([])}
    assert {f"watch.levels[].{key}" for key in WatchLevel.model_fields} <= rows.keys()
    assert rows["watch.levels[].unit"].type == "one of percent, money, time, bars"
    assert rows["watch.levels"].type.startswith("a list of blocks")


@pytest.mark.parametrize(
    ("text", "window"),
    [("1d", Window(86_400)), ("4h", Window(14_400)), ("20 bars", Window(bars=20)), ("90", Window(90))],
)
def test_a_window_is_a_time_or_a_number_of_bars(text, window):
    assert read_window(text) == window


@pytest.mark.parametrize("text", ["", "soon", "0", "0 bars", "2y", "-3d", "99999 bars"])
def test_another_window_is_refused(text):
    with pytest.raises(ValueError, match="write a time such as 30m"):
        read_window(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("rsi > 70", "rsi > 70"),
        ("rsi>=70", "rsi >= 70"),
        ("  30 < rsi ", "30 < rsi"),
        ("fast Crosses  Above slow", "fast crosses above slow"),
        ("macd.macd<macd.signal", "macd.macd < macd.signal"),
        ("BTC/USDT.close > -1.5e3", "BTC/USDT.close > -1.5e3"),
    ],
)
def test_a_condition_is_read(text, read):
    assert str(read_condition(text)) == read


@pytest.mark.parametrize("text", ["", "rsi", "rsi >", "> 70", "1 > 2", "a == b", "a b > 3", "a > b > c", "rsi[0] > 70",
                                  "__import__('os') > 1", "a crosses b"])  # fmt: skip
def test_what_is_no_condition_is_refused_with_advice(text):
    with pytest.raises(ValueError, match="write a condition such as `rsi > 70`"):
        read_condition(text)
