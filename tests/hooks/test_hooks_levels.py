"""Levels with hysteresis and the figures that are held against them: pure, over plain numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.hooks.levels.figures import DailyLoss, Drawdown, Held, Move, Return, Streak, Volume, share
from bt_alerts.hooks.levels.level import Change, Level, State, milestone, step
from bt_alerts.hooks.levels.words import percent, title
from bt_alerts.settings.watches import Window, watch

CROSSED, RECOVERED = Change.CROSSED, Change.RECOVERED


def changes(level, values):
    """What each value did."""
    state, found = State(), []
    for value in values:
        state, change = step(level, value, state)
        found.append(change)
    return found


def test_a_level_is_told_when_it_is_reached_and_over_when_the_value_is_back():
    found = changes(Level(10, 8), [9, 10, 12, 9, 8.1, 8, 9, 10.5])
    assert found == [None, CROSSED, None, None, None, RECOVERED, None, CROSSED]


def test_below_is_the_same_the_other_way_round():
    found = changes(Level(20, 25, rising=False), [30, 20, 15, 24, 25, 22, 19])
    assert found == [None, CROSSED, None, None, RECOVERED, None, CROSSED]


def test_a_strict_level_is_reached_beyond_it_only():
    assert changes(Level(70, 70, strict=True), [70, 70.1, 70]) == [None, CROSSED, RECOVERED]
    assert changes(Level(70, 70), [70, 69]) == [CROSSED, RECOVERED]


def test_no_number_changes_nothing():
    assert changes(Level(10, 8), [math.nan, 11, math.nan, 7, math.nan]) == [None, CROSSED, None, RECOVERED, None]


numbers = st.floats(-1e6, 1e6) | st.just(math.nan) | st.integers(-3, 3).map(float)
levels = st.builds(
    lambda at, gap, rising, strict: Level(at, at - gap if rising else at + gap, rising, strict),
    st.floats(-100, 100) | st.just(0.0), st.floats(0, 50) | st.just(0.0), st.booleans(), st.booleans(),
)  # fmt: skip


@given(levels, st.lists(numbers, max_size=60))
def test_it_never_flaps(level, values):
    state, told = State(), []
    for value in values:
        before = state
        state, change = step(level, value, state)
        if change is CROSSED:
            assert level.reached(value)
        elif change is RECOVERED:
            assert level.over(value)
            assert not level.reached(value)
            assert (before.worst >= level.at) if level.rising else (before.worst <= level.at)
        if change is not None:
            told.append(change)
        # Whatever came, the state is one that the value allows.
        if not math.isnan(value):
            assert state.crossed or not level.reached(value)
            assert not (state.crossed and level.over(value))
    # Told and over take turns: between two alerts of one kind stands one of the other.
    assert told == [CROSSED, RECOVERED] * (len(told) // 2) + [CROSSED] * (len(told) % 2)


@given(st.floats(1, 100), st.floats(0.5, 20), st.lists(st.floats(-1, 1), min_size=1, max_size=80))
def test_what_moves_less_than_the_gap_is_told_once(at, gap, steps):
    values = [at, *(at + gap * 0.49 * step for step in steps)]
    assert [change for change in changes(Level(at, at - gap), values) if change] == [CROSSED]


@given(st.floats(0.5, 50), st.lists(st.floats(-500, 500), max_size=50))
def test_each_milestone_is_told_once_and_in_order(every, values):
    reached, told = 0, []
    for value in values:
        reached, new = milestone(value, every, reached)
        if new:
            told.append(reached)
            assert value >= reached * every * (1 - 1e-6)
    assert told == sorted(set(told))
    assert all(step > 0 for step in told)


def test_a_milestone_counts_whole_steps():
    assert milestone(29.9, 10, 1) == (2, True)
    assert milestone(15, 10, 2) == (2, False)
    assert milestone(30, 10, 2) == (3, True)
    assert milestone(0.3, 0.1, 2) == (3, True)  # 0.3 / 0.1 is a little below 3
    assert milestone(math.nan, 10, 2) == (2, False)


# ------------------------------------------------------------------------------------------- figures


def test_drawdown_is_counted_from_the_peak():
    figure = Drawdown(100.0)
    found = []
    for value in (90, 120, 108, 121, 60.5):
        figure.feed(value)
        found.append((figure.percent, figure.money))
    assert found == [(10, 10), (0, 0), (10, 12), (0, 0), (50, 60.5)]


def test_of_an_account_that_is_nothing_no_share_is_known():
    assert share(1, 0) is None
    assert share(1, -5) is None
    figure = Drawdown()
    figure.feed(0.0)
    assert figure.percent is None


def test_a_day_begins_with_the_last_value_of_the_day_before():
    figure = DailyLoss(1000.0)
    found = []
    for day, value in [(1, 990), (1, 950), (2, 931), (2, 969), (3, 969)]:
        figure.feed(day, value)
        found.append(figure.percent)
    assert found == pytest.approx([1, 5, 2, -2, 0])
    assert figure.money == 0


def test_a_return_begins_with_the_first_value_that_is_known():
    figure = Return(None)
    assert figure.percent is None
    figure.feed(0.0)
    assert figure.percent is None
    figure.feed(200.0)
    figure.feed(210.0)
    assert (figure.percent, figure.money) == (5, 10)


def test_a_row_of_losses_ends_with_a_trade_that_does_not_lose():
    figure = Streak()
    found = []
    for pnl in (-1, -2, 5, -1, 0, -3):
        figure.trade(pnl)
        found.append((figure.count, figure.lost))
    assert found == [(1, 1), (2, 3), (0, 0), (1, 1), (0, 0), (1, 3)]


def test_a_move_is_against_the_last_price_that_is_as_old_as_the_window():
    day = 86_400.0
    figure = Move(Window(seconds=day))
    found = []
    for number, (when, price) in enumerate([(0, 100), (day, 110), (1.5 * day, 99), (4 * day, 110)], 1):
        figure.feed(number, when, price)
        found.append(figure.percent)
    assert found == [None, pytest.approx(10), pytest.approx(-1), pytest.approx(100 * 11 / 99)]


def test_a_move_over_bars_and_a_bar_that_comes_again():
    figure = Move(Window(bars=2))
    found = []
    for number, price in [(1, 100), (2, 150), (3, 110), (3, 120), (4, 165)]:
        figure.feed(number, number, price)
        found.append(figure.percent)
    assert found == [None, None, pytest.approx(10), pytest.approx(20), pytest.approx(10)]


@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(1, 100)), min_size=1, max_size=40), st.floats(0.5, 10))
def test_a_move_is_what_a_look_at_all_bars_finds(bars, seconds):
    figure = Move(Window(seconds=seconds))
    when, seen = 0.0, []
    for number, (gap, price) in enumerate(bars, 1):
        when += gap
        figure.feed(number, when, price)
        seen.append((when, price))
        old = [price for at, price in seen if when - at >= seconds - 0.01]
        assert figure.before == (old[-1] if old else None)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(1, 8))
def test_volume_is_against_the_average_of_the_bars_before(volumes, bars):
    figure = Volume(bars)
    for number, volume in enumerate(volumes, 1):
        figure.feed(number, volume / 2)  # the bar while it is made
        figure.feed(number, volume)
        before = volumes[max(0, number - 1 - bars) : number - 1]
        average = sum(before) / bars if len(before) == bars else None
        assert figure.average == (None if average is None else pytest.approx(average))
        assert figure.times == (pytest.approx(volume / average) if average else None)


def test_a_position_is_held_since_it_was_opened_or_turned_round():
    held = Held()
    found = []
    bars = [(0, 0, 50), (10, 50, 55), (10, 50, 60), (20, 54, 54), (-5, 54, 50), (-5, 54, 52), (0, 0, 40)]
    for number, (size, entry, price) in enumerate(bars, 1):
        held.feed(size, entry, price, 100.0 * number, number)
        found.append((held.bars, held.seconds, round(held.drawdown, 2)))
    assert found == [(0, 0, 0), (0, 0, 0), (1, 100, 0), (2, 200, 10), (0, 0, 0), (1, 100, 4), (0, 0, 0)]


# --------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.34, "12.3 %"), (9.96, "9.96 %"), (10, "10 %"), (-0.001, "0 %"), (-5.5, "−5.5 %"), (1234.5, "1,234.5 %")],
)
def test_a_percentage_is_short(value, shown):
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("made", "value", "told", "over"),
    [
        (watch("drawdown", above=10), 12.3, "Drawdown 12.3 % (level 10 %)", "Drawdown back at 12.3 % (level 10 %)"),
        (watch("drawdown", above=500, unit="money"), 600, "Drawdown 600 (level 500)", None),
        (watch("price", above=200, back=198), 200.45, "AAPL above 200: 200.45", "AAPL back below 198: 200.45"),
        (watch("price", below=200, back=205), 199, "AAPL below 200: 199", "AAPL back above 205: 199"),
        (watch("price", crosses=200), 201, "AAPL crossed above 200: 201", "AAPL crossed below 200: 201"),
        (watch("losses", above=3), 3, "3 losses in a row (level 3)", "The losing streak is over"),
        (watch("milestone", every=10), 31, "Milestone: +30 % since the start", None),
        (watch("fall", above=5, within="4h"), 6.1, "AAPL fell 6.1 % within 4h (level 5 %)", None),
        (watch("volume", above=3), 3.44, "AAPL: volume 3.44 × (level 3 ×)", None),
        (watch("indicator", condition="rsi>70"), 71, "AAPL: rsi > 70", "AAPL: no longer rsi > 70"),
        (watch("time_in_trade", above="5d"), 450_000, "AAPL: in trade for 5 d 5 h (level 5 d)", None),
        (watch("performance", below=-10), -12, "Return −12 % (level −10 %)", None),
    ],
)
def test_a_title_says_what_happened(made, value, told, over):
    symbol = "AAPL" if made.about.of_feed else ""
    assert title(made, symbol, value, CROSSED) == told
    if over is not None:
        assert title(made, symbol, value, RECOVERED) == over


def test_a_position_that_was_closed_is_called_so():
    assert title(watch("time_in_trade", above="5d"), "AAPL", 0, RECOVERED, gone=True) == "AAPL: position closed"
