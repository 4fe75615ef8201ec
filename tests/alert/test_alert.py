"""An alert takes whatever a strategy puts into it, and is the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import multiprocessing
import os
import pickle
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_alerts import Alert, AlertType, Priority
from bt_alerts.alert import FIELDS, MAX_MESSAGE, Attachment, new_id, plain


class Colour(enum.Enum):
    RED = "red"
    NESTED = (1, 2)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Unlistable:
    size = 3

    def tolist(self) -> list[Any]:
        raise RuntimeError("no")


class Recursive:
    def __repr__(self) -> str:
        return repr(self)


class Text(str):
    __slots__ = ()


def cycle() -> list[Any]:
    found: list[Any] = [1]
    found.append({"again": found})
    return found


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ODD: list[Any] = [
    *(float("nan"), float("inf"), -float("inf"), -0.0, 1e308, 5e-324),
    *(np.float64("nan"), np.float32(1.5), np.int64(7), np.bool_(True), np.str_("x"), np.datetime64("2026-01-02")),
    *(np.datetime64("NaT"), np.timedelta64(5, "s"), np.array([1.0, np.nan]), np.zeros((2, 2)), np.arange(5000)),
    *(np.array([]), np.array(3.0), np.array([object()], dtype=object), np.void(b"ab"), np.complex128(1j)),
    *(pd.Timestamp("2026-01-02 03:04", tz="Asia/Tokyo"), pd.NaT, pd.NA, pd.Series([1.0, None]), pd.Timedelta("1D")),
    *(pd.DataFrame({"a": [1]}), pd.Index(["a"]), pd.Period("2026-01")),
    *(decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal("Infinity")),
    *(dt.date(2026, 1, 2), dt.time(3, 4), dt.timedelta(days=2), dt.datetime.min, dt.datetime.max),
    *(Colour.RED, Colour.NESTED, Priority.HIGH, Unshowable(), Unlistable(), Recursive(), Unshowable, Text("sub")),
    *(2**63, -(2**63), 10**5000, True, None, 1 + 2j, ..., range(3), object(), b"\xff\x00", bytearray(b"x")),
    *("\ud800", "a\0b", "\udfff\ud800", "😀", "=1+1", "\u2028", "x" * 100_000, cycle(), nested(50), nested(5000)),
    *({1, 2}, frozenset({"a"}), {"k": {1: 2, None: 3}}, memoryview(b"ab"), iter([1])),
]
odd = st.integers(0, len(ODD) - 1).map(lambda i: ODD[i])  # by number, because Hypothesis shows what it samples from
values = st.recursive(
    odd | st.none() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())) | st.binary()
    | st.datetimes() | st.datetimes(timezones=st.timezones()) | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=12,
)  # fmt: skip


@given(data=st.dictionaries(st.text(st.characters(exclude_categories=())) | st.integers(), values, max_size=5))
@settings(max_examples=150)
def test_anything_in_data_becomes_strict_json_and_comes_back_equal(data: dict[Any, Any]) -> None:
    made = Alert.make("x", data=data)
    line = made.to_json()
    json.dumps(json.loads(line), allow_nan=False)
    line.encode("utf-8")
    assert "\n" not in line
    assert Alert.from_json(line) == made
    assert Alert.from_json(line.encode()) == made


@given(message=values, title=values, symbol=values, strategy=values)
@settings(max_examples=100)
def test_any_value_can_be_the_text(message: Any, title: Any, symbol: Any, strategy: Any) -> None:
    if isinstance(title, np.ndarray | pd.Series | pd.DataFrame | pd.Index) or title is pd.NA:
        title = [title]
    made = Alert.make(message, title=title, symbol=symbol, strategy=strategy)
    made.to_json().encode("utf-8")
    assert "\0" not in made.message + made.title + made.symbol
    assert Alert.from_json(made.to_json()) == made


def test_a_message_of_ten_megabytes_is_cut_and_says_so() -> None:
    made = Alert.make("x" * 10_000_000)
    assert len(made.message) == MAX_MESSAGE
    assert made.message.endswith("… [cut: 10,000,000 characters]")
    assert Alert.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (float("inf"), "inf"),
        (-np.float64("inf"), "-inf"),
        (np.float64(1.5), 1.5),
        (np.int32(7), 7),
        (np.array([1, 2]), [1, 2]),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        (pd.Series([1.0, float("nan")]), [1.0, None]),
        (decimal.Decimal("1.10"), "1.10"),
        (decimal.Decimal("NaN"), None),
        (Colour.RED, "red"),
        (10**30, "<integer of 100 bits>"),
        (b"\xff", "\ufffd"),
        ("a\0b\ud800", "ab\ufffd"),
        (dt.timedelta(minutes=1), 60.0),
        (Unshowable(), "<Unshowable that cannot be shown>"),
        (Unlistable(), "<Unlistable that cannot be shown>"),
        (np.arange(5000), "<ndarray of 5,000 values>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_become_plain(value: Any, shown: Any) -> None:
    assert plain(value) == shown


@pytest.mark.usefixtures("uncollected")
def test_a_cycle_and_deep_nesting_end() -> None:
    assert plain(cycle()) == [1, {"again": "<cycle>"}]
    assert "nested too deep" in json.dumps(plain(nested(100_000)))


def test_every_field_survives_the_trip() -> None:
    made = Alert.make(
        "text", title="t", type="risk", kind="risk.drawdown", priority="critical", symbol="AAPL", strategy="S",
        time=dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone(dt.timedelta(hours=9))),
        bar_time=dt.datetime(2026, 1, 2), run="r", data={"a": [1, {"b": None}]}, channels=["one", "two"], action="a",
        dedupe_key="k", attachments=[Attachment("n", "image/png", "0" * 64, 3, "p")], thread="S:AAPL",
    ).replace(bars={"time": [1], "close": [2.5]})  # fmt: skip
    again = Alert.from_json(made.to_json())
    assert again == made
    assert again.time.utcoffset() == dt.timedelta(0)
    assert {f.name for f in dataclasses.fields(Alert)} == {*FIELDS, "bars"}
    assert "bars" not in made.to_dict(), "bars are for a picture: no webhook and no table has a use for them"
    assert pickle.loads(pickle.dumps(made)) == made


def test_fields_of_a_newer_version_are_ignored() -> None:
    row = Alert.make("x").to_dict() | {"colour": "red"}
    assert Alert.from_dict(row).message == "x"


@pytest.mark.parametrize("line", ["[]", "3", "{}", '{"id": "x"}', "not json", '{"id":1,"type":"nope"}'])
def test_a_line_that_is_no_alert_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Alert.from_json(line)


def test_times_are_utc_and_a_naive_one_is_taken_as_utc() -> None:
    assert Alert.make("x", time=dt.datetime(2026, 1, 2)).time == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert Alert.make("x", time=0.0).time.year == 1970
    assert Alert.make("x", time="2026-01-02T03:00:00+09:00").time.hour == 18


# ------------------------------------------------------------------------------------------------ ids


def test_ids_sort_by_time_and_are_unique_across_threads() -> None:
    found: list[list[str]] = [[] for _ in range(8)]

    def make(mine: list[str]) -> None:
        mine.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [one for mine in found for one in mine]
    assert len(set(every)) == len(every)
    assert all(mine == sorted(mine) for mine in found)


def test_ids_go_on_in_order_where_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**18]
    monkeypatch.setattr("bt_alerts.alert._time.time_ns", lambda: now[0])
    make = type(new_id)()
    before = [make() for _ in range(3)]
    now[0] -= 10**12
    after = [make() for _ in range(3)]
    assert before + after == sorted(before + after)


def test_an_id_is_a_version_7_uuid_of_now() -> None:
    import time
    import uuid

    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) / 1000 - time.time()) < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_ids_of_a_forked_child_are_its_own() -> None:
    new_id()
    context = multiprocessing.get_context("fork")
    results: Any = context.SimpleQueue()

    def child() -> None:
        results.put([new_id() for _ in range(500)])

    processes = [context.Process(target=child) for _ in range(3)]
    for process in processes:
        process.start()
    mine = [new_id() for _ in range(500)]
    every = mine + [one for _ in processes for one in results.get()]
    for process in processes:
        process.join()
    assert len(set(every)) == len(every)


# ---------------------------------------------------------------------------------------------- words


def test_priorities_are_ordered() -> None:
    assert sorted(Priority) == [Priority.INFO, Priority.LOW, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL]
    assert Priority.HIGH > Priority.LOW
    assert max(Priority.LOW, Priority.MEDIUM) is Priority.MEDIUM
    assert Priority.HIGH >= "normal"
    assert Priority("Normal") is Priority.MEDIUM
    assert Priority(" HIGH ") is Priority.HIGH


@pytest.mark.parametrize("wrong", ["urgent", "", None, 3, Unshowable])
def test_a_wrong_priority_lists_the_words(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is not an alert priority: use one of critical, high, medium, low, info"):
        Alert.make("x", priority=wrong)


def test_a_wrong_type_lists_the_words() -> None:
    with pytest.raises(ValueError, match="'sms' is not an alert type: use one of signal, order, trade,"):
        Alert.make("x", type="sms")
    assert Alert.make("x", type="ORDER").type is AlertType.ORDER


def test_an_alert_cannot_be_changed_and_a_copy_can_differ() -> None:
    made = Alert.make("x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.message = "y"  # type: ignore[misc]
    assert made.replace(message="y").message == "y"
    assert made.alert_id == made.id


@pytest.mark.parametrize("many", [list(range(2000)), dict.fromkeys(range(2000))], ids=["list", "dict"])
def test_many_members_are_cut_once(many: Any) -> None:
    made = Alert.make("x", data={"many": many})
    assert Alert.from_json(made.to_json()) == made


@pytest.mark.parametrize("field", ["kind", "run", "action", "dedupe_key", "channels"])
def test_a_lone_surrogate_in_any_field_can_be_written(field: str) -> None:
    Alert.make("x", **{field: "\ud800"}).to_json().encode("utf-8")


@pytest.mark.parametrize(
    "fields",
    [
        {"time": pd.NaT},
        {"bar_time": pd.NaT},
        {"time": float("nan")},
        {"bar_time": dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=9)))},
        {"bar_time": np.datetime64("2026-01-02")},
        {"data": pd.Series([1.0])},
        {"title": np.array([1, 2])},
    ],
    ids=str,
)
def test_an_odd_time_or_value_does_not_raise(fields: dict[str, Any]) -> None:
    made = Alert.make("x", **fields)
    assert Alert.from_json(made.to_json()) == made


@pytest.mark.parametrize("kind", ["image/png\r\nX-Injected: yes", "", "picture", "a/b/c"])
def test_what_an_attachment_says_of_itself_can_begin_no_header(kind: str) -> None:
    attachment = Attachment("a\r\nX: y.png", kind, "0" * 64, 1)
    assert attachment.content_type == "application/octet-stream"
    assert attachment.name == "a X: y.png"
    assert Attachment("ü.csv", "text/csv; charset=utf-8", "0" * 64, 1).content_type == "text/csv; charset=utf-8"
