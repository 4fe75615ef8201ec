"""Materiality, and levels that are told when they are crossed and again only after the number was back."""

from __future__ import annotations

import decimal
import math
from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW, Remembered

from bt_alerts.rules.material import LEVEL_REMEMBERED, AtLeast, Level
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed

NO_NUMBERS = (None, math.nan, math.inf, -math.inf, 10**400, "much", "", True, [5], {"pnl": 5}, "\ud800")
AT_LEAST = AtLeast(name="small", field="pnl", least=25.0)


@pytest.mark.parametrize(
    ("pnl", "passes"),
    [
        (25, True),
        (24.99, False),
        (-25, True),
        (-24.99, False),
        (0, False),
        ("-30.5", True),
        (decimal.Decimal(3), False),
    ],
)
def test_what_is_about_too_little_is_not_told_whatever_its_sign(state: Remembered, pnl: object, passes: bool) -> None:
    found = AT_LEAST(alert(data={"pnl": pnl}), Plan(), state, NOW)
    assert found == (Plan() if passes else suppressed(Reason.IMMATERIAL, "small"))


@pytest.mark.parametrize("pnl", NO_NUMBERS)
def test_an_alert_without_that_number_passes(state: Remembered, pnl: object) -> None:
    assert AT_LEAST(alert(data={"pnl": pnl}), Plan(), state, NOW) == Plan()
    assert AT_LEAST(alert(), Plan(), state, NOW) == Plan()


def test_a_field_deeper_down_counts(state: Remembered) -> None:
    deep = AtLeast(name="small", field="trade.pnl", least=25.0)
    assert isinstance(deep(alert(data={"trade": {"pnl": 1}}), Plan(), state, NOW), Verdict)


def test_what_is_critical_is_told_however_little_it_is_about(state: Remembered) -> None:
    assert AT_LEAST(alert(priority="critical", data={"pnl": 1}), Plan(), state, NOW) == Plan()


# Levels ----------------------------------------------------------------------------------------------

DEEP = Level(name="deep", field="drawdown", level=10.0, back=8.0, rising=True, key=("strategy",))
LOW = Level(name="low", field="margin", level=20.0, back=30.0, rising=False, key=("strategy",))


def said(level: Level, state: Remembered, *values: object, now: float = NOW, **fields: Any) -> list[str]:
    """What becomes of alerts with these numbers: ``told``, or the reason why not."""
    found = []
    for value in values:
        result = level(alert(data={level.field: value}, **fields), Plan(), state, now)
        found.append("told" if result == Plan() else result.reason.value if isinstance(result, Verdict) else "?")
    return found


def test_a_level_is_told_when_it_is_crossed_and_again_only_after_it_was_back(state: Remembered) -> None:
    assert said(DEEP, state, 5, 10, 12, 9, 8, 10, 7.9, 9.9, 10.1) == [
        "immaterial", "told", "same-level", "same-level", "same-level", "same-level", "immaterial", "immaterial",
        "told",
    ]  # fmt: skip


def test_a_level_that_is_crossed_downwards(state: Remembered) -> None:
    assert said(LOW, state, 50, 20, 10, 25, 30, 19, 30.1, 19) == [
        "immaterial", "told", "same-level", "same-level", "same-level", "same-level", "immaterial", "told",
    ]  # fmt: skip


def test_a_level_that_is_its_own_way_back(state: Remembered) -> None:
    same = Level(name="deep", field="x", level=10.0, back=10.0, rising=True, key=("strategy",))
    assert said(same, state, 10, 10, 9.99, 10, 11) == ["told", "same-level", "immaterial", "told", "same-level"]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_an_alert_without_the_number_passes_and_changes_nothing(state: Remembered, value: object) -> None:
    said(DEEP, state, 12)
    before = dict(state.kept)
    assert said(DEEP, state, value) == ["told"]
    assert state.kept == before


def test_levels_are_told_apart_by_their_key(state: Remembered) -> None:
    assert said(DEEP, state, 12, strategy="a") == said(DEEP, state, 12, strategy="b") == ["told"]
    assert said(DEEP, state, 12, strategy="a", symbol="other") == ["same-level"]


def test_a_critical_alert_is_told_at_every_level_and_changes_none(state: Remembered) -> None:
    assert said(DEEP, state, 5, 12, 13, priority="critical") == ["told"] * 3
    assert state.kept == {}


def test_a_clock_that_went_back_makes_no_difference(state: Remembered) -> None:
    assert said(DEEP, state, 12) == ["told"]
    assert said(DEEP, state, 12, 5, 12, now=NOW - 86_400) == ["same-level", "immaterial", "told"]


def test_a_level_is_known_as_long_as_alerts_about_it_come_and_a_year(state: Remembered) -> None:
    said(DEEP, state, 12)
    for year in range(1, 5):
        now = NOW + year * (LEVEL_REMEMBERED - 1)
        state.forget(now)
        assert said(DEEP, state, 12, now=now) == ["same-level"]
    state.forget(now + LEVEL_REMEMBERED)
    assert state.kept == {}


@given(
    values=st.lists(st.floats(-20, 20), max_size=40), level=st.floats(-10, 10), gap=st.floats(0, 5), up=st.booleans()
)
def test_between_two_that_are_told_the_number_was_back(values: list[float], level: float, gap: float, up: bool) -> None:
    state, sign = Remembered(), 1.0 if up else -1.0
    rule = Level(name="l", field="x", level=sign * level, back=sign * (level - gap), rising=up, key=("kind",))
    found = said(rule, state, *(sign * value for value in values))
    beyond = False
    for value, word in zip(values, found, strict=True):
        assert (word == "told") is (not beyond and value >= level)
        beyond = word == "told" or (beyond and value >= level - gap)
        assert (word == "same-level") <= beyond


def test_in_words() -> None:
    assert AT_LEAST.words == "not told where pnl is less than 25, whatever its sign"
    assert DEEP.words == "told when drawdown >= 10, and again after drawdown < 8, for each strategy"
    assert LOW.words == "told when margin <= 20, and again after margin > 30, for each strategy"
