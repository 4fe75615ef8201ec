"""``ack``, ``snooze``, ``mute``, ``unmute`` and ``mutes``: beside who delivers, where nobody does, and wrong use."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import until

from bt_alerts import Alert, AlertManager
from bt_alerts.outbox.base import AlertState, NewDelivery, Outbox
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.testing import FakeService

LATER = "2100-01-31T15:30"


@pytest.fixture
def store(tmp_path: Path, webhook: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    yield outbox
    assert outbox.ledger().balanced
    outbox.close()


def plan(outbox: Outbox, id_: str, *targets: str, due: float | None = None) -> None:
    """An alert with a delivery to each of some addresses."""
    now = time.time()
    with outbox.transaction() as tx:
        seq = tx.add_alert(Alert.make("body", title=f"title of {id_}", id=id_, symbol="AAPL"), AlertState.PLANNED)
        assert seq is not None
        each = [NewDelivery(f"{id_}{t}", "hook", t, t, due or now, now, now + 9e4) for t in targets]
        tx.add_deliveries(seq, each, now)


def states(outbox: Outbox, id_: str) -> list[str]:
    rows = outbox.rows(
        "SELECT d.state FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE a.id = ? ORDER BY d.seq", (id_,)
    )
    return [row[0] for row in rows]


# ------------------------------------------------------------------------------------------------------------- ack


def test_ack_says_what_it_stopped_and_delivers_nothing(run, store, webhook, service):
    plan(store, "0198-aaaa-1", "desk", "phone")
    plan(store, "0198-bbbb-2", "desk")
    done = run("ack", "0198-a", "-c", webhook)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "Acknowledged: title of 0198-aaaa-1 (0198-aaaa-1).",
        "Cancelled 2 pending deliveries: hook (desk), hook (phone).",
    ]
    assert states(store, "0198-aaaa-1") == ["cancelled", "cancelled"]
    assert states(store, "0198-bbbb-2") == ["pending"]
    assert service.requests == []
    again = run("ack", "0198-aaaa-1", "-c", webhook)
    assert again.code == 0
    assert "It was acknowledged before" in again.out
    assert "Nothing of it was pending." in again.out
    assert list((store.journals or Path()).iterdir()) == []


def test_ack_last_is_the_newest_that_was_sent(run, store, webhook):
    plan(store, "first-id", "desk")
    plan(store, "second-id", "desk")
    store.record([Alert.make("of a backtest", id="third-id")], "history")
    assert "(second-id)" in run("ack", "last", "-c", webhook).out
    assert states(store, "first-id") == ["pending"]


def test_ack_and_snooze_take_the_number_that_history_and_a_chat_show(run, store, webhook):
    store.record([Alert.make("of a backtest", id="0198-first")], "history")
    plan(store, "0198-second", "desk")
    numbers = [line.split()[0] for line in run("history", "-c", webhook).out.splitlines() if "title of" in line]
    assert numbers == ["2"]
    assert "Acknowledged: title of 0198-second (0198-second)." in run("ack", "2", "-c", webhook).out
    assert states(store, "0198-second") == ["cancelled"]
    plan(store, "2", "desk")  # somebody's own id comes before a number
    assert "title of 2 (2)" in run("snooze", "2", "1h", "-c", webhook).out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing-like-it", "There is no alert 'nothing-like-it'."),
        ("3", "There is no alert '3'. `bt-alerts history` shows the numbers"),
        ("0198", "'0198' is too short: give at least 6 characters of an id, its number, or `last`."),
        ("0198-aa", "Several alerts begin with '0198-aa': 0198-aab, 0198-aaa. Give more of the id."),
    ],
)
def test_an_id_that_means_no_alert_or_several_is_wrong_use(run, store, webhook, given, words):
    plan(store, "0198-aaa", "desk")
    plan(store, "0198-aab", "desk")
    for command in (["ack", given], ["snooze", given, "1h"]):
        done = run(*command, "-c", webhook)
        assert (done.code, done.out) == (2, "")
        assert words in done.said
    assert states(store, "0198-aaa") == ["pending"]


def test_there_may_be_no_last_one_and_no_store(run, webhook, tmp_path):
    assert run("ack", "last", "-c", webhook).code == 1
    assert not (tmp_path / "alerts.db").exists()
    SqliteOutbox(tmp_path / "alerts.db").close()
    done = run("ack", "last", "-c", webhook)
    assert done.code == 2
    assert "No alert was sent yet" in done.err


@pytest.mark.parametrize("worker", ["thread", "process"])
def test_ack_works_while_another_delivers(run, webhook, service, tmp_path, worker):
    service.answer(503)
    delivery = {"worker": worker, "retry_delay": 60}
    config = {"alerts": {"hook": {"type": "webhook", "urls": [service.url]}}, "delivery": delivery}
    with AlertManager(config, store=str(tmp_path / "alerts.db")) as manager:
        manager.send_custom_alert("look", title="Look")
        until(lambda: service.requests and manager.ledger().deliveries["pending"] == 1, timeout=20)
        done = run("ack", "last", "-c", webhook)
        assert done.code == 0, done.said
        assert "Cancelled 1 pending delivery: hook (" in done.out
        assert manager.ledger().deliveries["cancelled"] == 1
        assert manager.flush(10)


def test_ack_ends_an_escalation(run, settings, service, other, tmp_path):
    config = settings(f"""
        store: alerts.db
        alerts:
          hook: {{type: webhook, urls: "{service.url}"}}
          boss: {{type: webhook, urls: "{other.url}"}}
        routes: [{{to: hook}}]
        escalation: [{{steps: [{{after: 10m, to: boss}}]}}]
        """)
    assert run("send", "look", "--priority", "critical", "-c", config).code == 0
    done = run("ack", "last", "-c", config)
    assert (done.code, done.err) == (0, "")
    assert "It goes to nobody else: its escalation has ended." in done.out
    assert "Nothing of it was pending." in run("ack", "last", "-c", config).out
    assert other.requests == []


def test_ack_and_mute_on_a_server(run, settings, tmp_path, postgres_dsn):
    config = settings(f"store: {postgres_dsn}\n")
    with contextlib.closing(PostgresOutbox(postgres_dsn, tmp_path / "state")) as outbox:
        plan(outbox, "0198-aaaa-1", "desk")
        done = run("ack", "0198-aa", "-c", config)
        assert (done.code, done.err) == (0, "")
        assert "Cancelled 1 pending delivery: hook (desk)." in done.out
        assert states(outbox, "0198-aaaa-1") == ["cancelled"]
        assert run("mute", "--symbol", "AAPL", "--for", "1h", "-c", config).code == 0
        assert "symbol AAPL" in run("mutes", "-c", config).out


# ---------------------------------------------------------------------------------------------------------- snooze


@pytest.mark.parametrize(("when", "seconds"), [("30m", 1800), ("2h", 7200), ("1h 30m", 5400), ("1d", 86_400)])
def test_snooze_moves_what_is_pending(run, store, webhook, when, seconds):
    plan(store, "some-alert", "desk")
    before = time.time()
    done = run("snooze", "some-alert", when, "-c", webhook)
    assert (done.code, done.err) == (0, "")
    assert "It comes again on hook (desk)." in done.out
    (due,) = next(store.rows("SELECT due FROM deliveries"))
    assert before + seconds <= due <= time.time() + seconds


def test_snooze_until_a_time_delivers_again_what_was_delivered(run, webhook, service, tmp_path):
    assert run("send", "look", "-c", webhook).code == 0
    done = run("snooze", "last", LATER, "-c", webhook)
    assert (done.code, done.err) == (0, "")
    assert "Snoozed until 2100-01-31 15:30 UTC" in done.out
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    when = dt.datetime(2100, 1, 31, 15, 30, tzinfo=dt.UTC).timestamp()
    assert list(outbox.rows("SELECT state, due FROM deliveries ORDER BY seq"))[1:] == [("pending", when)]
    outbox.close()
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("2020-01-31", "has passed"),
        ("tomorrow", "is no time: write 2026-01-31T15:30"),
        ("30", "is no time"),
        ("0m", "is no duration"),
        ("5 parsecs", "is no duration"),
    ],
)
def test_a_time_that_is_none_is_wrong_use(run, store, webhook, when, words):
    plan(store, "some-alert", "desk")
    done = run("snooze", "some-alert", when, "-c", webhook)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


# ----------------------------------------------------------------------------------------------------------- mutes


def sent(webhook: Path, symbol: str, service: FakeService) -> int:
    """How many more messages leave for an alert of a symbol."""
    before = len(service.requests)
    with AlertManager(str(webhook)) as manager:
        manager.emit(Alert.make("x", symbol=symbol))
        manager.flush(10)
    return len(service.requests) - before


def test_a_mute_holds_until_it_ends(run, store, webhook, service):
    assert "Nothing is muted." in run("mutes", "-c", webhook).out
    done = run("mute", "--symbol", "AAPL", "--until", LATER, "-c", webhook)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == "Muted symbol AAPL until 2100-01-31 15:30 UTC."
    assert run("mute", "--type", "Order", "--channel", "hook", "--for", "2h", "-c", webhook).code == 0
    shown = run("mutes", "-c", webhook).said
    assert shown.index("type order, channel hook") < shown.index("symbol AAPL 2100-01-31 15:30 UTC")
    assert "1 h 59 min" in shown
    assert (sent(webhook, "AAPL", service), sent(webhook, "IBM", service)) == (0, 1)
    done = run("unmute", "--symbol", "AAPL", "-c", webhook)
    assert (done.code, done.out.strip()) == (0, "symbol AAPL is muted no more.")
    assert sent(webhook, "AAPL", service) == 1
    assert "type order, channel hook is muted no more." in run("unmute", "--all", "-c", webhook).out
    assert "Nothing is muted." in run("mutes", "-c", webhook).out


def test_a_mute_reaches_a_strategy_that_runs(run, webhook, service):
    with AlertManager(str(webhook)) as manager:
        manager.emit(Alert.make("x", symbol="AAPL"))
        manager.flush(10)
        assert run("mute", "--symbol", "AAPL", "--for", "1h", "-c", webhook).code == 0
        manager.emit(Alert.make("y", symbol="AAPL"))
        manager.flush(10)
        assert manager.ledger().suppressed == 1
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mute", "--symbol", "AAPL"], "Say how long"),
        (["mute", "--symbol", "AAPL", "--for", "1h", "--until", LATER], "Say how long"),
        (["mute", "--for", "1h"], "Say what: --symbol, --strategy, --type, --channel"),
        (["mute", "--symbol", "", "--for", "1h"], "Say what"),
        (["mute", "--symbol", "AAPL", "--for", "90"], "'90' is no duration"),
        (["mute", "--symbol", "AAPL", "--until", "2020-01-01"], "has passed"),
        (["mute", "--type", "nonsense", "--for", "1h"], "There is no type 'nonsense'. Use one of signal, order"),
        (["mute", "--channel", "nowhere", "--for", "1h"], "There is no channel 'nowhere'. Use one of hook"),
        (["unmute"], "Say what, as `bt-alerts mutes` shows it"),
        (["unmute", "--all", "--symbol", "AAPL"], "Say what"),
        (["unmute", "--symbol", "AAPL"], "There is no mute of symbol AAPL. Muted are: strategy Sma."),
    ],
)
def test_wrong_use_of_mutes(run: Any, store: Any, webhook: Path, arguments: list[str], words: str) -> None:
    assert run("mute", "--strategy", "Sma", "--for", "1h", "-c", webhook).code == 0
    done = run(*arguments, "-c", webhook)
    assert (done.code, done.out) == (2, "")
    assert words in done.said


def test_without_settings_there_is_nothing_to_answer_to(run: Callable[..., Any]) -> None:
    for command in (["ack", "last"], ["snooze", "last", "1h"], ["mute", "--symbol", "A", "--for", "1h"], ["mutes"]):
        assert run(*command).code == 1
