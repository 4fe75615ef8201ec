"""The planner on journals that others left, and on lines that it cannot plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert

from bt_alerts import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.planner import BATCH, Planner
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.outbox import journal as journals
from bt_alerts.outbox.base import Outbox, Transaction
from bt_alerts.outbox.entries import Accepted, encode
from bt_alerts.outbox.journal import SHARED, Journal
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.pipeline import RuleSettings

CHANNELS = {"hook": Channel("hook", WebhookDispatcher(["http://127.0.0.1:9/x"]))}


def write(journal: Journal, *titles: str) -> None:
    for title in titles:
        journal.append(encode(Accepted(alert(title=title))))


def planned(outbox: Outbox) -> list[str]:
    """The titles of what is to be delivered, in the order in which it goes."""
    rows = outbox.rows("SELECT a.body FROM deliveries d JOIN alerts a ON a.seq = d.alert ORDER BY d.seq")
    return [Alert.from_json(body).title for (body,) in rows]


def test_what_a_dead_strategy_had_fed_goes_before_what_it_left_in_its_journal(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "s.db")
    assert outbox.journals is not None
    journal = Journal(outbox.journals, flavour=SHARED)
    write(journal, "1", "2", "3")
    Planner(outbox, RuleSettings(), {}, decides=False).drain(journal)
    write(journal, "4", "5")
    journals._let_go(journal._fd)
    Planner(outbox, RuleSettings(), CHANNELS).adopt()
    assert planned(outbox)[:5] == ["1", "2", "3", "4", "5"]
    outbox.close()


def test_a_line_that_cannot_be_planned_keeps_back_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox, journal = MemoryOutbox(), Journal(tmp_path)
    planner = Planner(outbox, RuleSettings(), CHANNELS)
    original = Planner.plan

    def plan(self: Any, tx: Transaction, made: Alert, due: float, now: float) -> None:
        original(self, tx, made, due, now)
        if "odd" in made.title:
            raise UnicodeError("somebody's own kind of text")

    monkeypatch.setattr(Planner, "plan", plan)
    titles = [f"{i}" for i in range(2 * BATCH)]
    write(journal, *titles[:5], "odd", *titles[5:], "odd too")
    assert planner.drain(journal) == len(titles) + 2
    assert planned(outbox) == titles
    ledger = outbox.ledger()
    assert (ledger.accepted, ledger.unreadable, ledger.waiting) == (len(titles), 2, 0)
    assert ledger.balanced
    assert "kept in the store, in `unreadable`" in caplog.text
    journal.close()


def test_a_journal_that_is_drained_costs_no_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, journal = MemoryOutbox(), Journal(tmp_path)
    planner = Planner(outbox, RuleSettings(), CHANNELS)
    write(journal, "1")
    assert planner.drain(journal) == 1
    with monkeypatch.context() as patch:
        patch.setattr(MemoryOutbox, "transaction", lambda self: pytest.fail("there is nothing to plan"))
        assert planner.drain(journal) == 0
    write(journal, "2")
    assert planner.drain(journal) == 1
    assert planned(outbox) == ["1", "2"]
    journal.close()
