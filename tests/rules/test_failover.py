"""Failover before anything is sent: the stand-in of a channel that is disabled, and what an alert waits for there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW

from bt_alerts.rules.failover import stand_ins, wait_of
from bt_alerts.rules.stage import Batch, Plan, Reason

OVER = Reason.FAILED_OVER


@pytest.mark.parametrize(
    ("channels", "disabled", "fallbacks", "expected"),
    [
        (["phone"], [], {"phone": "chat"}, {"phone": None}),
        (["phone"], ["phone"], {"phone": "chat"}, {"chat": OVER}),
        (["phone"], ["phone"], {}, {"phone": None}),  # it waits there until that is mended
        (["phone"], ["chat"], {"phone": "chat"}, {"phone": None}),
        (["phone", "chat"], ["phone"], {"phone": "chat"}, {"chat": None}),  # it would have gone there anyway, and once
        (["chat", "phone"], ["phone"], {"phone": "chat"}, {"chat": None}),
        (["a", "b"], ["a", "b"], {"a": "c", "b": "c"}, {"c": OVER}),
        (["a", "b"], ["a"], {"a": "c"}, {"c": OVER, "b": None}),
        ([], ["a"], {"a": "c"}, {}),
    ],
)
def test_a_stand_in_takes_what_a_disabled_channel_cannot(
    channels: list[str], disabled: list[str], fallbacks: dict[str, str], expected: dict[str, Reason | None]
) -> None:
    assert stand_ins(channels, disabled, fallbacks) == expected


names = st.sampled_from("abcd")


@given(
    channels=st.lists(names, unique=True, min_size=1),
    disabled=st.frozensets(names),
    fallbacks=st.dictionaries(names, names),
)
def test_an_alert_always_goes_somewhere_and_to_each_channel_once(
    channels: list[str], disabled: frozenset[str], fallbacks: dict[str, str]
) -> None:
    found = stand_ins(channels, disabled, fallbacks)
    assert found
    assert {name for name in channels if name not in disabled} <= set(found)
    assert all((why is OVER) == (name not in channels) for name, why in found.items())


def test_what_it_waits_for_comes_before_why_it_goes_there() -> None:
    held = Batch("quiet:night:1", NOW + 60, reason=Reason.QUIET_HOURS)
    plan = Plan(channels=("phone", "chat"), batches={"phone": held})
    assert wait_of(plan, "phone", NOW, None) == (held, Reason.QUIET_HOURS)
    assert wait_of(plan, "phone", NOW, OVER) == (held, Reason.QUIET_HOURS)
    assert wait_of(plan, "chat", NOW, None) == (Batch("", 0.0, reason=Reason.SCHEDULED), None)
    assert wait_of(plan, "chat", NOW, OVER)[1] is OVER


def test_what_is_for_a_time_says_so_until_then() -> None:
    plan = Plan(channels=("phone",), due=NOW + 60)
    assert wait_of(plan, "phone", NOW, None) == (Batch("", NOW + 60, reason=Reason.SCHEDULED), Reason.SCHEDULED)
    assert wait_of(plan, "phone", NOW + 60, None)[1] is None


def test_a_batch_that_is_full_and_goes_now_is_still_one() -> None:
    full = Batch("batch:x:1", NOW, full=True)
    assert wait_of(Plan(channels=("phone",), batches={"phone": full}), "phone", NOW, OVER) == (full, Reason.BATCH)
