"""Repeats, cooldowns and once per bar: of alerts that share a key one is told, and for a while no other."""

from __future__ import annotations

from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert, Priority
from bt_alerts.rules.stage import Plan, Reason, Verdict, suppressed
from bt_alerts.rules.throttle import SAME_KIND, SAME_TEXT, OncePerBar, Throttle

COOLDOWN = Throttle(name="calm", seconds=60.0, key=SAME_KIND, reason=Reason.COOLDOWN)
REPEATS = Throttle(name="same", seconds=60.0, key=SAME_TEXT, reason=Reason.REPEATED)
ONCE = OncePerBar(name="bar")


def told(rule: Throttle | OncePerBar, state: Remembered, now: float = NOW, **fields: Any) -> bool:
    state.forget(now)
    return rule(alert(**{"kind": "signal", **fields}), Plan(), state, now) == Plan()


def test_one_is_told_and_no_other_until_the_time_is_over(state: Remembered) -> None:
    assert [told(COOLDOWN, state, NOW + at) for at in (0, 1, 59.9, 60, 61, 119, 120)] == [
        True, False, False, True, False, False, True,
    ]  # fmt: skip


def test_the_time_counts_from_the_first_that_was_told_and_not_from_those_that_were_not(state: Remembered) -> None:
    assert told(COOLDOWN, state)
    assert not any(told(COOLDOWN, state, NOW + at) for at in range(1, 60))
    assert told(COOLDOWN, state, NOW + 60)


def test_so_many_are_told_as_the_settings_say(state: Remembered) -> None:
    three = Throttle(name="calm", seconds=60.0, most=3, key=SAME_KIND, reason=Reason.COOLDOWN)
    assert [told(three, state, NOW + at) for at in (0, 10, 20, 30, 59, 60)] == [True, True, True, False, False, True]


def test_what_does_not_share_the_key_does_not_wait(state: Remembered) -> None:
    assert told(COOLDOWN, state, symbol="A")
    assert told(COOLDOWN, state, symbol="B")
    assert told(COOLDOWN, state, symbol="A", kind="error")
    assert not told(COOLDOWN, state, symbol="A", message="another text")


def test_repeats_are_the_same_text(state: Remembered) -> None:
    assert told(REPEATS, state, message="one")
    assert told(REPEATS, state, message="two")
    assert not told(REPEATS, state, message="one")
    verdict = REPEATS(alert("one", kind="signal"), Plan(), state, NOW)
    assert verdict == suppressed(Reason.REPEATED, "same")


def test_each_rule_remembers_for_itself(state: Remembered) -> None:
    other = Throttle(name="other", seconds=60.0, key=SAME_KIND, reason=Reason.COOLDOWN)
    assert told(COOLDOWN, state)
    assert told(other, state)


@pytest.mark.parametrize("value", [None, [1, {"a": None}], {"a": 1}, 10**400, "\ud800", float("nan"), "", True])
def test_any_value_can_tell_alerts_apart(state: Remembered, value: object) -> None:
    rule = Throttle(name="calm", seconds=60.0, key=("data.x", "data.x.a"), reason=Reason.COOLDOWN)
    assert told(rule, state, data={"x": value})
    assert not told(rule, state, NOW + 1, data={"x": value})
    assert told(rule, state, data={"x": "something else"})


def test_what_is_critical_is_told_and_starts_nothing(state: Remembered) -> None:
    assert told(COOLDOWN, state, priority="critical")
    assert told(COOLDOWN, state, priority="critical")
    assert told(COOLDOWN, state)
    strict = Throttle(name="calm", seconds=60.0, key=SAME_KIND, reason=Reason.COOLDOWN, through=None)
    assert not told(strict, state, priority="critical")


@pytest.mark.parametrize("back", [0.5, 30, 3600, 400 * 86_400])
def test_a_clock_that_went_back_silences_nobody(state: Remembered, back: float) -> None:
    assert told(COOLDOWN, state)
    assert told(COOLDOWN, state, NOW - back)
    assert not told(COOLDOWN, state, NOW - back + 59)
    assert told(COOLDOWN, state, NOW - back + 60)


@given(
    gaps=st.lists(st.integers(0, 50), max_size=30),
    most=st.integers(1, 3),
    seconds=st.integers(1, 100),
)
def test_in_each_such_time_so_many_are_told_and_no_more(gaps: list[int], most: int, seconds: int) -> None:
    state, rule = Remembered(), Throttle(name="r", seconds=seconds, most=most, key=SAME_KIND, reason=Reason.COOLDOWN)
    now, begin, count = NOW, NOW - 1000, 0
    for gap in gaps:
        now += gap
        over = now - begin >= seconds
        assert told(rule, state, now) is (over or count < most)
        if over:
            begin, count = now, 0
        count += 1


def test_the_memory_ends_with_the_time(state: Remembered) -> None:
    for number in range(20):
        told(COOLDOWN, state, NOW, symbol=str(number))
    assert len(state.kept) == 20
    state.forget(NOW + 60)
    assert state.kept == {}


# Once per bar ----------------------------------------------------------------------------------------


def test_one_is_told_on_each_bar_whatever_the_clock_says(state: Remembered) -> None:
    assert told(ONCE, state, bar_time=1000.0)
    assert not told(ONCE, state, NOW + 86_400, bar_time=1000.0)
    assert told(ONCE, state, NOW - 86_400, bar_time=1060.0)
    assert not told(ONCE, state, NOW - 90_000, bar_time=1060.0)
    assert told(ONCE, state, bar_time=1060.0, symbol="other")
    verdict = ONCE(alert(kind="signal", bar_time=1060.0), Plan(), state, NOW)
    assert verdict == suppressed(Reason.ONCE_PER_BAR, "bar")


def test_what_was_made_on_no_bar_passes(state: Remembered) -> None:
    assert told(ONCE, state)
    assert told(ONCE, state)
    assert state.kept == {}


def test_a_bar_is_known_again_after_the_alert_went_through_a_store(state: Remembered) -> None:
    made = alert(kind="signal", bar_time=1234.567891)
    assert ONCE(made, Plan(), state, NOW) == Plan()
    assert isinstance(ONCE(Alert.from_json(made.to_json()), Plan(), state, NOW), Verdict)


def test_in_words() -> None:
    assert COOLDOWN.words == "one in 1 min for each kind, symbol and strategy"
    assert Throttle(name="r", seconds=7200, most=3, key=("kind",), reason=Reason.COOLDOWN).words == (
        "3 in 2 h for each kind"
    )
    assert ONCE.words == "one on each bar for each kind, symbol and strategy"
    assert COOLDOWN.through is Priority.CRITICAL
