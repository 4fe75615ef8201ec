"""What a strategy's thread does when the disk had no room for a while."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from alerts_kit import alert

from bt_alerts.delivery.intake import AT_ONCE, Intake
from bt_alerts.outbox.entries import Accepted, decode
from bt_alerts.outbox.sqlite import SqliteOutbox


class Nobody:
    def __getattr__(self, name: str) -> Any:
        return lambda *a, **k: None


def test_a_strategy_does_not_write_what_waited_for_room(tmp_path: Path) -> None:
    intake = Intake(SqliteOutbox(tmp_path / "s.db"), {}, lambda journal: Nobody(), durable=True)  # type: ignore[arg-type, return-value]
    journal, _ = intake.begin()
    real, wrote = journal.append, []

    def full(line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal.append = full  # type: ignore[method-assign]
    for i in range(AT_ONCE + 1):
        assert not intake.accept(alert(i))
    journal.append = lambda line: (wrote.append(line), real(line))[1]  # type: ignore[method-assign, func-returns-value]
    assert not intake.accept(alert("last"))
    assert wrote == [], "that is the engine's"
    assert intake.catch_up()
    told = [entry.alert.message for entry in map(decode, wrote) if isinstance(entry, Accepted)]
    assert told[: AT_ONCE + 2] == [*map(str, range(AT_ONCE + 1)), "last"]
    assert intake.accept(alert("after"))
