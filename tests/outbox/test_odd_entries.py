"""Odd text in what a journal holds: no line may keep back all that come behind it, whatever store it goes to."""

from __future__ import annotations

from typing import Any

import pytest

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.outbox.base import AlertState, Outbox
from bt_alerts.outbox.entries import Accepted, Acknowledged, Muted, Remembered, Snoozed, decode, encode
from bt_alerts.rules.mute import mute_key

T0 = 1_800_000_000.0
WEIRD = ["a\0b", "\ud800", "\U0001f600" * 3_000]


@pytest.mark.parametrize("weird", WEIRD, ids=["nul", "surrogate", "long"])
def test_whatever_somebody_asks_for_is_something_that_the_store_takes(outbox: Outbox, weird: str) -> None:
    lines = [
        encode(Acknowledged(weird)),
        encode(Snoozed(weird, T0)),
        encode(Muted({"symbol": weird, "strategy": weird, "channel": weird}, T0 + 9)),
        encode(Remembered(weird, {"at": weird})),
    ]
    with outbox.transaction() as tx:
        for entry in map(decode, lines):
            match entry:
                case Acknowledged(id_):
                    tx.acknowledge(id_, T0)
                case Snoozed(id_, until):
                    tx.snooze(id_, until, T0)
                case Muted(selector, until):
                    tx.state.put("mute", mute_key(selector), until, until=until)
                case Remembered(key, value):
                    tx.state.put("seen", key, value)


@pytest.mark.parametrize("field", ["id", "kind", "run", "action", "dedupe_key", "thread"])
@pytest.mark.parametrize("weird", [*WEIRD, 7], ids=["nul", "surrogate", "long", "number"])
def test_an_alert_out_of_a_journal_is_one_that_the_store_takes(outbox: Outbox, field: str, weird: Any) -> None:
    entry = decode(encode(Accepted(Alert.make("x").replace(**{field: weird}))))
    assert isinstance(entry, Accepted)
    with outbox.transaction() as tx:
        assert tx.add_alert(entry.alert, AlertState.WAITING) is not None
        tx.state.put("duplicate", str(entry.alert.dedupe_key), entry.alert.id)


def test_words_of_a_newer_version_do_not_keep_back_what_comes_behind() -> None:
    row = Alert.make("x").to_dict()
    newer = Alert.from_dict(row | {"type": "regime", "priority": "urgent"})
    assert (newer.type, newer.priority, newer.kind) == (AlertType.CUSTOM, Priority.HIGH, "custom")
    with pytest.raises(ValueError, match="3 is not a valid"):
        Alert.from_dict(row | {"type": 3})
