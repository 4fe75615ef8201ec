"""The circuit breaker by itself. Time is an argument."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW

from bt_alerts.rules.breaker import CLOSED, FIRST_REST, LONGEST_REST, THRESHOLD, Breaker, BreakerState, failed


def after(times: int, now: float = NOW, *, sick: bool = True) -> Breaker:
    breaker = CLOSED
    for _ in range(times):
        breaker = failed(breaker, now, "key", sick=sick)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert after(THRESHOLD - 1).state(NOW) is BreakerState.CLOSED
    opened = after(THRESHOLD)
    assert opened.state(NOW) is BreakerState.OPEN
    assert NOW + 0.9 * FIRST_REST <= opened.open_until <= NOW + FIRST_REST


def test_a_service_that_only_asks_for_a_pause_does_not_open_it() -> None:
    assert after(50, sick=False).state(NOW) is BreakerState.CLOSED


def test_when_its_rest_is_over_one_probe_decides() -> None:
    opened = after(THRESHOLD)
    later = opened.open_until
    assert opened.state(later) is BreakerState.HALF_OPEN
    again = failed(opened, later, "key", sick=True)
    assert again.state(later) is BreakerState.OPEN
    assert 1.5 * (opened.open_until - NOW) < again.open_until - later


@given(st.integers(0, 200), st.text(max_size=30))
def test_its_rest_grows_and_has_an_end(times: int, key: str) -> None:
    breaker, now, rests = after(THRESHOLD), NOW, []
    for _ in range(times):
        rests.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = failed(breaker, now, key, sick=True)
    assert all(0.9 * FIRST_REST <= rest <= LONGEST_REST + 1e-6 for rest in rests)
    assert all(second >= 0.9 * first for first, second in itertools.pairwise(rests))
