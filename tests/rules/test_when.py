"""``when:``: which alerts a rule is about, and the words for why it is not about one."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW

from bt_alerts.alert import Alert, AlertType, Priority, Source
from bt_alerts.hours import DAY, Hours, Moment, read_hours
from bt_alerts.rules.base import Aim, for_each, key_of
from bt_alerts.rules.when import (
    ANY,
    Comparison,
    When,
    as_number,
    field_of,
    hours_words,
    moment_words,
    read_comparison,
)

MADE = {
    "type": "order", "kind": "order.completed", "priority": "medium", "symbol": "BTC-USD", "strategy": "SmaCross",
    "source": Source.LIVE, "data": {"pnl": -600, "order_type": "Limit"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("when", "why_not"),
    [
        (When(), ""),
        (When(types=frozenset({AlertType.TRADE, AlertType.ORDER})), ""),
        (When(types=frozenset({AlertType.TRADE})), "its type is order"),
        (When(kinds=("trade.*", "ORDER.*")), ""),
        (When(kinds=("order",)), "its kind is order.completed"),
        (When(priority=Priority.MEDIUM), ""),
        (When(priority=Priority.HIGH), "its priority is medium, below high"),
        (When(symbols=("eth*", "btc*")), ""),
        (When(symbols=("BTC",)), "its symbol is BTC-USD"),
        (When(symbols=("BTC?USD",)), ""),
        (When(strategies=("smacross",)), ""),
        (When(strategies=("Trend*",)), "its strategy is SmaCross"),
        (When(sources=frozenset({Source.LIVE})), ""),
        (When(sources=frozenset({Source.DIRECT})), "its source is live"),
        (When(data=(read_comparison("pnl < -500"), read_comparison("order_type == limit"))), ""),
        (When(data=(read_comparison("pnl < -500"), read_comparison("size > 1"))), "it has no size"),
        (When(hours=(read_hours("07:00-09:00"), read_hours("12:00-13:00"))), ""),
        (When(hours=(read_hours("09:00-10:00"),)), "it is outside the hours of this rule"),
        (When(hours=(read_hours("07:00-09:00 sat"),)), "it is outside the hours of this rule"),
    ],
)
def test_everything_that_is_named_must_hold_and_of_several_any_one(when: When, why_not: str) -> None:
    assert f"{dt.datetime.fromtimestamp(NOW, dt.UTC):%a %H:%M}" == "Fri 08:00"
    assert when.why_not(alert(**MADE), NOW) == why_not
    assert when.matches(alert(**MADE), NOW) is (why_not == "")


def test_what_an_alert_does_not_have_is_said() -> None:
    assert When(symbols=("AAPL",)).why_not(alert(), NOW) == "it has no symbol"
    assert When(strategies=("S",)).why_not(alert(), NOW) == "it is of no strategy"


# Comparisons -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pnl < -500", Comparison("pnl", "<", -500.0)),
        ("pnl<-500", Comparison("pnl", "<", -500.0)),
        ("context.depth >= 1_000", Comparison("context.depth", ">=", 1000.0)),
        ("change > 2 %", Comparison("change", ">", 2.0)),
        ("order = 7", Comparison("order", "==", 7.0)),
        ("side != 'short sale'", Comparison("side", "!=", "short sale")),
        ("limit == inf", Comparison("limit", "==", "inf")),
    ],
)
def test_a_comparison_is_read(text: str, expected: Comparison) -> None:
    assert read_comparison(text) == expected
    assert read_comparison(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "pnl", "pnl <", "< 5", "pnl < many", "pnl > nan", "pnl =< 5", "pnl => 5", "pnl === 5"]
)
def test_what_is_no_comparison_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a field, a sign and a value|only numbers are less or more"):
        read_comparison(text)


@pytest.mark.parametrize(
    ("text", "data", "why_not"),
    [
        ("pnl < -500", {"pnl": -500.5}, ""),
        ("pnl < -500", {"pnl": -500}, "pnl is -500, and not < -500"),
        ("pnl < -500", {}, "it has no pnl"),
        ("pnl < 5", {"pnl": 0}, ""),
        ("note != x", {"note": ""}, ""),
        ("pnl < -500", {"pnl": None}, "it has no pnl"),
        ("pnl < -500", {"pnl": math.nan}, "it has no pnl"),  # which an alert keeps as nothing
        ("pnl < -500", {"pnl": True}, "pnl is no number"),
        ("pnl < -500", {"pnl": "much"}, "pnl is no number"),
        ("pnl < -500", {"pnl": [1]}, "pnl is no number"),
        ("pnl != 5", {"pnl": "much"}, "pnl is no number"),
        ("size > 1234567", {"size": 1}, "size is 1, and not > 1234567"),
        ("a.b.c == 5", {"a": {"b": {"c": 5}}}, ""),
        ("a.b.c == 5", {"a": {"b": 5}}, "it has no a.b.c"),
        ("a.b.c == 5", {"a.b.c": 5}, "it has no a.b.c"),
        ("side == SHORT", {"side": "Short"}, ""),
        ("side != long", {"side": "Long"}, "side is Long, and not != long"),
        ("live == true", {"live": True}, ""),
    ],
)
def test_a_comparison_holds_where_the_field_is_there_and_fits(text: str, data: dict[str, Any], why_not: str) -> None:
    assert read_comparison(text).why_not(alert(data=data).data) == why_not


def test_a_decimal_is_a_number_though_an_alert_keeps_it_as_text() -> None:
    import decimal

    made = alert(data={"pnl": decimal.Decimal("-600.10")})
    assert made.data["pnl"] == "-600.10"
    assert read_comparison("pnl < -500").why_not(made.data) == ""
    assert read_comparison("order == 7").why_not({"order": "7"}) == "", "as brokers give ids"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0), (-0.5, -0.5), ("12.5", 12.5), (True, None), (None, None), ("", None), ("nan", None), ("inf", None),
        (math.nan, None), (math.inf, None), (10**400, None), ([5], None), ({}, None), ("\ud800", None),
    ],
)  # fmt: skip
def test_only_finite_numbers_are_numbers(value: object, number: float | None) -> None:
    assert as_number(value) == number


@given(
    data=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.sampled_from("abc"), inner)),
    ),
    sign=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    value=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1)),
)
def test_no_value_of_an_alert_makes_a_comparison_fail(data: Any, sign: str, value: float | str) -> None:
    if isinstance(value, str):
        sign = "=="
    found = Comparison("a.b", sign, value).why_not(alert(data={"a": data}).data)
    assert isinstance(found, str)


def test_what_stands_at_a_path() -> None:
    assert field_of({"a": {"b": 0}}, "a.b") == 0
    assert field_of({"a": [0]}, "a.0") is None
    assert field_of({}, "a") is None


# Words -----------------------------------------------------------------------------------------------


def test_a_when_in_words() -> None:
    assert ANY.words == When(types=frozenset()).words == "every alert"
    when = When(
        types=frozenset({AlertType.TRADE, AlertType.ORDER}),
        priority=Priority.HIGH,
        symbols=("BTC*", "ETH*"),
        strategies=("Trend",),
        data=(read_comparison("pnl < -500"),),
        hours=(read_hours("22:00-07:00 Europe/Berlin sat mon-wed"),),
    )
    assert when.words == (
        "order or trade, high and above, BTC* or ETH*, strategy Trend, pnl < -500, "
        "22:00-07:00 Europe/Berlin mon-wed sat"
    )
    assert When(priority=Priority.CRITICAL).words == "critical"


def test_times_in_words() -> None:
    assert hours_words(Hours(0, DAY)) == "00:00-24:00 UTC"
    assert moment_words(Moment(27_000, "Europe/Berlin", frozenset(range(5)))) == "07:30 Europe/Berlin mon-fri"


# What rules are about, and by what they tell alerts apart ---------------------------------------------


def test_what_is_as_urgent_as_a_rule_lets_through_passes_it_by() -> None:
    aim = Aim(name="r", when=When(kinds=("custom",)), through=Priority.HIGH)
    assert aim.why_not(alert(kind="custom", priority="high"), NOW) == "its priority is high, which passes this rule by"
    assert aim.why_not(alert(kind="custom", priority="critical"), NOW) != ""
    assert aim.why_not(alert(kind="custom", priority="medium"), NOW) == ""
    assert aim.about == "custom, below high"
    assert Aim(name="r").through is Priority.CRITICAL
    everything = Aim(name="r", through=None)
    assert everything.why_not(alert(priority="critical"), NOW) == ""
    assert everything.about == "every alert"


def test_alerts_share_a_key_where_they_are_the_same_in_all_its_fields() -> None:
    def key(rule: str = "r", **fields: Any) -> str:
        return key_of(rule, alert(**fields), ("symbol", "data.order"))

    assert key(symbol="A", data={"order": 1}) == key(symbol="A", title="other", data={"order": 1, "more": 2})
    different = [
        key(symbol="A", data={"order": 1}), key(symbol="A", data={"order": 2}), key(symbol="B", data={"order": 1}),
        key(symbol="A"), key(rule="s", symbol="A", data={"order": 1}), key(symbol="A1", data={"order": ""}),
        key(symbol="A", data={"order": {"1": 1}}), key(symbol="A", data={"order": 10**400}),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


@given(symbol=st.text(), order=st.one_of(st.none(), st.floats(), st.text(), st.lists(st.none())))
def test_a_key_is_the_same_after_the_alert_went_through_a_store(symbol: str, order: Any) -> None:
    made = alert(symbol=symbol, data={"order": order})
    fields = ("symbol", "data.order", "data.order.deeper", "priority", "type")
    again = Alert.from_json(made.to_json())
    assert key_of("r", made, fields) == key_of("r", again, fields)


def test_what_tells_apart_in_words() -> None:
    assert for_each(("kind",)) == "for each kind"
    assert for_each(("kind", "symbol", "data.order")) == "for each kind, symbol and order"
