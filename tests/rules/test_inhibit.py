"""Inhibition: while a cause is known, its consequences are not told; never longer than it may be an excuse."""

from __future__ import annotations

from typing import Any

import pytest
from alerts_kit import alert
from rules_kit import NOW, Remembered

from bt_alerts.rules.base import Rule
from bt_alerts.rules.inhibit import DISCONNECTED, Inhibit
from bt_alerts.rules.stage import Plan, Reason, suppressed
from bt_alerts.rules.when import ANY, When, read_comparison

BROKER = Inhibit(
    name="broker away",
    when=When(kinds=("order.rejected",)),
    cause=When(kinds=("store.down",)),
    ends=When(kinds=("store.up",)),
    equal=("symbol",),
    longest=3600.0,
)


def told(rule: Rule, state: Remembered, kind: str, now: float = NOW, **fields: Any) -> bool:
    state.forget(now)
    return rule(alert(kind=kind, **fields), Plan(), state, now) == Plan()


def test_consequences_are_not_told_from_the_cause_to_its_end(state: Remembered) -> None:
    kinds = ("order.rejected", "store.down", "order.rejected", "custom", "store.up", "order.rejected")
    assert [told(BROKER, state, kind) for kind in kinds] == [True, True, False, True, True, True]
    told(BROKER, state, "store.down")
    verdict = BROKER(alert(kind="order.rejected"), Plan(), state, NOW)
    assert verdict == suppressed(Reason.INHIBITED, "broker away")


def test_a_cause_is_no_excuse_for_ever_unless_it_is_told_again(state: Remembered) -> None:
    told(BROKER, state, "store.down")
    assert not told(BROKER, state, "order.rejected", NOW + 3599)
    assert told(BROKER, state, "order.rejected", NOW + 3600)
    told(BROKER, state, "store.down", NOW + 4000)
    assert not told(BROKER, state, "order.rejected", NOW + 7000)


def test_cause_end_and_consequence_are_of_the_same(state: Remembered) -> None:
    told(BROKER, state, "store.down", symbol="A")
    assert told(BROKER, state, "order.rejected", symbol="B")
    told(BROKER, state, "store.up", symbol="B")
    assert not told(BROKER, state, "order.rejected", symbol="A")


@pytest.mark.parametrize("back", [1, 3600, 86_400])
def test_a_clock_that_went_back_silences_nobody(state: Remembered, back: float) -> None:
    told(BROKER, state, "store.down")
    assert told(BROKER, state, "order.rejected", NOW - back)


def test_what_is_critical_is_told_whatever_its_cause(state: Remembered) -> None:
    told(BROKER, state, "store.down")
    assert told(BROKER, state, "order.rejected", priority="critical")


def test_a_critical_cause_is_one_too(state: Remembered) -> None:
    told(BROKER, state, "store.down", priority="critical")
    assert not told(BROKER, state, "order.rejected")


def test_causes_are_told_even_where_the_rule_is_about_every_alert(state: Remembered) -> None:
    rule = Inhibit(
        name="r", when=ANY, cause=When(kinds=("a",)), ends=When(kinds=("b",)), equal=("symbol",), longest=9.0
    )
    assert [told(rule, state, kind) for kind in ("a", "a", "c", "b", "c")] == [True, True, False, True, True]


def test_the_end_counts_where_the_cause_names_it_too(state: Remembered) -> None:
    wide = Inhibit(
        name="r", cause=When(kinds=("data.*",)), ends=When(kinds=("data.live",)), when=When(kinds=("custom",)),
        equal=("symbol",), longest=3600.0,
    )  # fmt: skip
    kinds = ("data.live", "custom", "data.disconnected", "custom", "data.live", "custom")
    assert [told(wide, state, kind) for kind in kinds] == [True, True, True, False, True, True]


def test_cause_and_end_of_one_kind_are_told_apart_by_their_data(state: Remembered) -> None:
    rule = Inhibit(
        name="r", cause=When(data=(read_comparison("away == true"),)),
        ends=When(data=(read_comparison("away == false"),)),
        when=When(kinds=("custom",)), equal=("symbol",), longest=3600.0,
    )  # fmt: skip
    found = [told(rule, state, "custom", data=data) for data in ({"away": True}, {}, {"away": False}, {})]
    assert found == [True, False, True, True]


def test_an_end_that_nobody_is_told_of_is_one_all_the_same(state: Remembered) -> None:
    told(BROKER, state, "store.down")
    BROKER.overhear(alert(kind="store.down"), state, NOW)
    BROKER.overhear(alert(kind="custom"), state, NOW)
    assert not told(BROKER, state, "order.rejected")
    BROKER.overhear(alert(kind="store.up"), state, NOW)
    assert told(BROKER, state, "order.rejected")
    BROKER.overhear(alert(kind="store.down"), state, NOW)
    assert told(BROKER, state, "order.rejected"), "a cause that nobody was told of explains nothing"


@pytest.mark.parametrize("value", [None, float("nan"), {"a": [None]}, 10**400, "\ud800"])
def test_any_value_can_be_what_they_have_in_common(state: Remembered, value: object) -> None:
    rule = Inhibit(
        name="r", when=When(kinds=("c",)), cause=When(kinds=("a",)), ends=When(kinds=("b",)), equal=("data.x",),
        longest=60.0,
    )  # fmt: skip
    told(rule, state, "a", data={"x": value})
    assert not told(rule, state, "c", data={"x": value})
    assert told(rule, state, "c", data={"x": "other"})


@pytest.mark.parametrize("kind", ["data.silent", "data.delayed", "data.held"])
def test_a_feed_that_lost_its_connection_is_not_told_to_be_silent(state: Remembered, kind: str) -> None:
    told(DISCONNECTED, state, "data.disconnected", symbol="A")
    assert not told(DISCONNECTED, state, kind, NOW + 11 * 3600, symbol="A", priority="high")
    assert told(DISCONNECTED, state, kind, NOW + 11 * 3600, symbol="A", priority="critical")
    assert told(DISCONNECTED, state, kind, symbol="B")
    assert told(DISCONNECTED, state, kind, NOW + 12 * 3600, symbol="A")


@pytest.mark.parametrize("kind", ["data.live", "data.resumed"])
def test_a_feed_that_is_back_and_falls_silent_is_told(state: Remembered, kind: str) -> None:
    told(DISCONNECTED, state, "data.disconnected", symbol="A")
    told(DISCONNECTED, state, kind, symbol="A")
    assert told(DISCONNECTED, state, "data.silent", symbol="A")


def test_in_words() -> None:
    assert BROKER.words == "not told from store.down to store.up, 1 h at most, for each symbol"
