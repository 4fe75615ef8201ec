"""The chart: what is marked where, what it is drawn with, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from bt_alerts.alert import Alert
from bt_alerts.demo import prices
from bt_alerts.render import chart as module
from bt_alerts.render.chart import chart

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def frame():
    return prices.load("GOOG").tail(200)


def bar(frame, i, kind, type="order", **fields):
    return Alert.make("x", title="x", type=type, kind=kind, bar_time=frame.index[i], **fields)


def placed(frame, *alerts):
    found = module._place(frame, alerts)
    return {name: sorted(bars) for name, bars in found.marks.items() if bars}, found


def test_each_kind_of_event_gets_its_mark(frame):
    marks, found = placed(
        frame,
        bar(frame, 10, "signal", "signal"),
        bar(frame, 11, "order.completed"),
        bar(frame, 20, "trade.closed", "trade", data={"close_reason": "stop", "pnlcomm": -12.5}),
        bar(frame, 30, "order.rejected"),
        bar(frame, 40, "error", "error"),
        bar(frame, 50, "custom", "custom"),
        bar(frame, 60, "order.submitted"),
        bar(frame, 70, "strategy.stopped", "strategy"),
    )
    assert marks == {"note": [10, 50], "entry": [11], "exit": [20], "problem": [30, 40]}
    assert found.results == [(20, -12.5)]
    assert found.held == [(11, 20, -12.5)]


def test_one_action_is_one_mark(frame):
    closed = {"close_reason": "target", "pnlcomm": 3.0}
    marks, found = placed(
        frame,
        bar(frame, 5, "trade.closed", "trade", data=closed, action="a"),
        bar(frame, 5, "order.completed", data=closed, action="a"),
        bar(frame, 5, "order.canceled", action="a"),  # the bracket's other half
    )
    assert marks == {"exit": [5]}
    assert len(found.results) == 1


def test_a_part_that_was_sold_ends_no_trade_and_a_reversal_begins_another(frame):
    part = {"close_reason": "manual", "pnlcomm": 5.0, "position_size": 4}
    turned = {"close_reason": "signal", "pnlcomm": 9.0, "position_size": -4}
    end = {"close_reason": "stop", "pnlcomm": -2.0}
    marks, found = placed(
        frame,
        bar(frame, 1, "order.completed"),
        bar(frame, 5, "order.completed", data=part),
        bar(frame, 8, "trade.closed", "trade", data=turned),
        bar(frame, 9, "trade.closed", "trade", data=end),
    )
    assert marks == {"entry": [1], "exit": [5, 8, 9]}
    assert found.held == [(1, 8, 9.0), (8, 9, -2.0)]


def test_what_is_outside_the_bars_is_left_out(frame):
    day = pd.Timedelta(days=1)
    times = [frame.index[0] - day, frame.index[-1] + 30 * day, frame.index[3] + pd.Timedelta(hours=5)]
    marks, _ = placed(frame, *(Alert.make("x", type="signal", bar_time=when.to_pydatetime()) for when in times))
    assert marks == {"note": [3]}


def test_what_was_opened_before_the_first_bar_was_held_from_there(frame):
    day = frame.index[0].to_pydatetime()
    profit = {"close_reason": "stop", "pnlcomm": 1.0}
    for before, held in (("order.completed", [(0, 9, 1.0)]), ("trade.closed", [])):
        early = Alert.make("x", type="order", kind=before, bar_time=day - pd.Timedelta(days=9))
        marks, found = placed(frame, early, bar(frame, 9, "trade.closed", "trade", data=profit))
        assert (marks, found.held) == ({"exit": [9]}, held)


def test_what_has_no_bar_is_placed_by_its_time(frame):
    marks, _ = placed(frame, Alert.make("x", type="signal", time=frame.index[7].to_pydatetime()))
    assert marks == {"note": [7]}


@pytest.mark.parametrize(("bars", "dark"), [(1, False), (2, True), (200, False), (2000, True)])
def test_any_number_of_bars_is_drawn(tmp_path, bars, dark):
    frame = prices.load("GOOG").tail(bars)
    alerts = [bar(frame, i, "order.completed") for i in range(0, len(frame), 7)]
    path = chart(frame, alerts, tmp_path / "chart.png", "A title", dark=dark)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (1200, 700)
    assert len(content) < 200_000


@pytest.mark.parametrize("unit", ["min", "s"])
def test_bars_of_any_length_are_drawn(tmp_path, frame, unit):
    times = pd.date_range("2026-01-01 22:58", periods=len(frame), freq=f"1{unit}", tz="Europe/Berlin")
    chart(frame.set_index(times), [], tmp_path / "chart.svg")
    assert "<svg" in (tmp_path / "chart.svg").read_text()


def test_flat_prices_and_missing_volume_are_no_trouble(tmp_path, frame):
    flat = frame.assign(open=5.0, high=5.0, low=5.0, close=5.0)
    chart(flat.drop(columns="volume"), [bar(flat, 1, "order.completed")], tmp_path / "a.png")
    chart(flat.assign(volume=float("nan")), [bar(flat, 1, "order.completed")], tmp_path / "b.png")


def test_a_title_is_no_formula_and_no_markup(tmp_path, frame):
    chart(frame, [], tmp_path / "chart.png", r"$\frac{1$ [bold] \undefined{" + "x" * 500 + "\nsecond\0line")


def test_it_leaves_the_programs_own_matplotlib_alone(tmp_path):
    code = (
        "import sys; from bt_alerts.demo import prices; from bt_alerts.render.chart import chart\n"
        f"chart(prices.load('FB'), [], {str(tmp_path / 'chart.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_what_cannot_be_drawn_is_said(tmp_path, frame):
    with pytest.raises(ValueError, match="no bars"):
        chart(frame.iloc[:0], [], tmp_path / "chart.png")
    with pytest.raises(ValueError, match="no column low, close"):
        chart(frame[["open", "high"]], [], tmp_path / "chart.png")


def test_without_matplotlib_it_says_what_to_install(tmp_path, frame, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"bt-alerts\[charts\]"):
        chart(frame, [], tmp_path / "chart.png")
