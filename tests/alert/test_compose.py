"""Numbers are shown with the decimals they have, and what a strategy hands over never raises."""

from __future__ import annotations

import pytest

from bt_alerts import compose


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (150.5, "150.50"), (1505.0, "1,505"), (1.0871, "1.0871"), (147.123, "147.123"), (0.0000123, "0.0000123"),
        (587.7164283, "587.72"), (1.08714283, "1.0871"), (0.926946123, "0.9269"), (-0.3, "-0.30"), (0, "0"),
        (float("nan"), "nan"), (float("inf"), "inf"), (None, "–"), (3.0099999999999998, "3.01"),
    ],
)  # fmt: skip
def test_a_number_has_the_decimals_of_its_tick(value: float, shown: str) -> None:
    assert compose.number(value) == shown


@pytest.mark.parametrize(
    "made",
    [
        lambda: compose.market_update("A", 10.0, None),  # type: ignore[arg-type]
        lambda: compose.market_update("A", "1", "2"),  # type: ignore[arg-type]
        lambda: compose.trade_call("BUY", "A", "150", "10"),  # type: ignore[arg-type]
        lambda: compose.trade_call("BUY", "A", None, object()),  # type: ignore[arg-type]
        lambda: compose.signal("S", "BUY", "A", 5),  # type: ignore[arg-type]
        lambda: compose.error("E", "m", 7),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_the_wrong_kind_are_told_and_not_raised(made) -> None:
    assert made().message


def test_the_percentage_is_computed_where_it_is_not_given() -> None:
    assert "Change: +1.50 (+1.01 %)" in compose.market_update("A", 150.5, 1.5).message
