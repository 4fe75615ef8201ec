"""What gathers into one message, and what never does. Time is an argument."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from alerts_kit import alert
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert
from bt_alerts.digest import digest
from bt_alerts.rules.batching import STORM_FREE, STORM_LONGEST, STORM_WINDOW, BatchSettings, batching
from bt_alerts.rules.stage import Batch, Plan

ON = BatchSettings(enabled=True, size=3, timeout=5.0)


def batch_of(
    state: Remembered, made: Alert, now: float = NOW, *, settings: BatchSettings | None = None, plan: Plan | None = None
) -> Batch | None:
    stage = batching({} if settings is None else {"a": settings})
    result = stage(made, plan or Plan(channels=("a",)), state, now)
    assert isinstance(result, Plan)
    return result.batches.get("a")


def test_nothing_waits_unless_the_settings_ask_for_it(state: Remembered) -> None:
    assert batch_of(state, alert()) is None


def test_what_is_alike_waits_for_others_until_the_window_ends(state: Remembered) -> None:
    first = batch_of(state, alert("one"), settings=ON)
    second = batch_of(state, alert("two"), NOW + 4, settings=ON)
    assert first is not None
    assert second is not None
    assert (first.name, first.due, first.full) == (second.name, NOW + 5, False)
    later = batch_of(state, alert("three"), NOW + 5, settings=ON)
    assert later is not None
    assert later.name != first.name
    assert later.due == NOW + 10


def test_a_batch_that_is_full_goes_at_once_and_the_next_alert_opens_another(state: Remembered) -> None:
    batches = [batch_of(state, alert(), NOW + i, settings=ON) for i in range(4)]
    names = [batch.name for batch in batches if batch is not None]
    assert names[0] == names[1] == names[2] != names[3]
    assert [(batch.full, batch.due) for batch in batches if batch is not None] == [
        (False, NOW + 5), (False, NOW + 5), (True, NOW + 2), (False, NOW + 8),
    ]  # fmt: skip


def test_what_is_not_alike_and_what_is_for_another_channel_does_not_wait_together(state: Remembered) -> None:
    both = batching({"a": ON, "b": ON})(alert(kind="signal"), Plan(channels=("a", "b")), state, NOW)
    assert isinstance(both, Plan)
    other = batch_of(state, alert(kind="order.canceled"), settings=ON)
    assert other is not None
    assert len({both.batches["a"].name, both.batches["b"].name, other.name}) == 3


@pytest.mark.parametrize("made", [{"priority": "critical"}, {"priority": "critical", "kind": "order.partial"}])
def test_a_critical_alert_waits_for_nothing(state: Remembered, made: dict[str, Any]) -> None:
    assert batch_of(state, alert(data={"order": 7}, **made), settings=ON) is None


def test_an_alert_for_a_time_is_not_moved_to_another(state: Remembered) -> None:
    assert batch_of(state, alert(), settings=ON, plan=Plan(channels=("a",), due=NOW + 60)) is None


def test_a_clock_that_went_back_opens_a_new_batch(state: Remembered) -> None:
    batch_of(state, alert(), settings=ON)
    again = batch_of(state, alert(), NOW - 3600, settings=ON)
    assert again is not None
    assert again.due == NOW - 3595


def fill(order: int, size: float, price: float, kind: str = "order.partial") -> Alert:
    data = {"order": order, "fill_size": size, "fill_price": price}
    return alert("Bought", title="BUY AAPL", kind=kind, type="order", data=data, run="r", strategy="s")


def test_the_parts_of_one_order_are_one_message_and_the_last_takes_them_along(state: Remembered) -> None:
    parts = [batch_of(state, fill(7, 100, 10.0), NOW + i) for i in range(2)]
    other = batch_of(state, fill(8, 100, 10.0), NOW)
    last = batch_of(state, fill(7, 50, 11.0, "order.completed"), NOW + 2)
    assert parts[0] is not None
    assert parts[1] is not None
    assert other is not None
    assert last == Batch(parts[0].name, NOW + 2, full=True)
    assert parts[0].name == parts[1].name != other.name
    assert batch_of(state, fill(9, 50, 11.0, "order.completed"), NOW) is None, "filled at once: nothing to wait for"


def test_the_message_of_an_order_in_parts_tells_their_sum_and_average() -> None:
    told = digest([fill(7, 100, 10.0), fill(7, 300, 12.0, "order.completed")], "fills:x:1")
    assert told.title == "BUY AAPL (2 parts)"
    assert told.message.splitlines()[-1] == "2 parts: 400 at 11.50 on average"


def trouble(number: int = 0) -> Alert:
    return alert(f"timeout after {number} s", title=f"Feed error {number}", type="error", kind="direct.error")


def test_a_storm_of_errors_is_told_a_few_times_and_then_as_so_many_similar(state: Remembered) -> None:
    batches = [batch_of(state, trouble(i), NOW + i) for i in range(40)]
    assert batches[:STORM_FREE] == [None] * STORM_FREE
    rest = {(batch.name, batch.due) for batch in batches[STORM_FREE:] if batch is not None}
    assert len(rest) == 1
    ((name, due),) = rest
    assert due == NOW + STORM_WINDOW
    told = digest([trouble(1)] * 30 + [trouble(i) for i in range(7)], name)
    assert told.title == "+37 similar: Feed error 1"
    assert told.message.splitlines()[0] == "31 × timeout after 1 s"


def test_a_storm_that_goes_on_is_told_more_and_more_rarely(state: Remembered) -> None:
    dues = [batch.due for i in range(0, 4000, 2) if (batch := batch_of(state, trouble(i), NOW + i)) is not None]
    ends = sorted(set(dues))
    gaps = [round(b - a) for a, b in itertools.pairwise(ends)]
    assert gaps == [120, 240, 480, 960, 960, 960, 960]
    assert max(gaps) == STORM_LONGEST


def test_after_a_calm_a_storm_begins_anew(state: Remembered) -> None:
    for i in range(10):
        batch_of(state, trouble(i), NOW + i)
    assert batch_of(state, trouble(), NOW + 10 * STORM_WINDOW) is None


def test_the_memory_of_batches_ends_with_them(state: Remembered) -> None:
    for i in range(50):
        batch_of(state, trouble(i), NOW + i)
        batch_of(state, alert(), NOW + i, settings=ON)
        batch_of(state, fill(i, 1, 1.0), NOW + i)
    assert len(state.kept) > 3
    state.forget(NOW + 10 * STORM_LONGEST)
    assert state.kept == {}


def test_a_burst_that_fills_several_batches_is_as_many_messages(state: Remembered) -> None:
    settings = BatchSettings(enabled=True, size=10, timeout=5.0)
    found = [batch_of(state, Alert.make(str(i), kind="k"), settings=settings) for i in range(35)]
    names = [batch.name for batch in found if batch is not None]
    assert [names.count(name) for name in dict.fromkeys(names)] == [10, 10, 10, 5]
