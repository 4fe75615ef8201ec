"""``bt-alerts dead``: dead letters are listed, delivered after all, or given up; the ledger balances throughout."""

from __future__ import annotations

import re
import time

import pytest

from bt_alerts.outbox.base import DeliveryState
from bt_alerts.outbox.sqlite import SqliteOutbox


@pytest.fixture
def ledger(tmp_path):
    def count():
        outbox = SqliteOutbox(tmp_path / "alerts.db")
        found = outbox.ledger()
        outbox.close()
        assert found.balanced
        return {state: n for state, n in found.deliveries.items() if n}

    return count


@pytest.fixture
def dead(run, webhook, service):
    """Three alerts that the service refused."""
    service.answer(400, "not [bold]now[/bold]")
    for name in ("one", "two", "three"):
        assert run("send", name, "--title", f"[red]{name}", "-c", webhook).code == 1
    return webhook


def messages(service):
    return [request.json()["data"]["message"] for request in service.requests]


def test_none_is_no_failure(run, webhook):
    run("send", "x", "-c", webhook)
    for command in (["list"], ["retry", "--all"], ["purge", "--all"]):
        done = run("dead", *command, "-c", webhook)
        assert (done.code, done.out) == (0, "There are no dead letters.\n")


def test_they_are_listed(run, dead, ledger):
    done = run("dead", "list", "-c", dead)
    assert done.code == 0
    for words in ("[red]one", "[red]two", "[red]three", "400", "hook", "3 dead letters"):
        assert words in done.out
    assert ledger() == {"dead": 3}


def test_they_are_delivered_after_all_under_the_same_key(run, dead, service, ledger):
    first = {request.json()["data"]["message"]: request.headers["webhook-id"] for request in service.requests}
    service.answer(200)
    done = run("dead", "retry", "--all", "-c", dead)
    assert done.code == 0
    assert done.out.count("delivered") == 3
    again = {r.json()["data"]["message"]: r.headers["webhook-id"] for r in service.requests[-3:]}
    assert again == first
    assert ledger() == {"delivered": 3}


def test_one_of_them(run, dead, service, ledger):
    service.answer(200)
    number = re.search(r"(\d+) .*\[red\]two", run("dead", "list", "-c", dead).out)[1]
    assert run("dead", "retry", number, "-c", dead).code == 0
    assert messages(service)[3:] == ["two"]
    assert ledger() == {"dead": 2, "delivered": 1}


def test_one_that_is_refused_again_is_dead_again_and_1(run, dead, service, ledger):
    service.answer(400, "still not")
    done = run("dead", "retry", "--all", "-c", dead)
    assert done.code == 1
    assert "still not" in done.out or "400" in done.out
    assert ledger() == {"dead": 3}


def test_answers_are_counted_anew_and_attempts_go_on(run, settings, service, tmp_path, ledger):
    file = settings(f"""
        store: alerts.db
        alerts:
          hook: {{type: webhook, urls: "{service.url}", rate_limit: 0}}
        delivery: {{max_retries: 1, retry_delay: 0.05}}
        """)
    service.answer(503)
    assert run("send", "x", "-c", file).code == 1
    assert len(service.requests) == 2
    assert run("dead", "retry", "--all", "-c", file).code == 1
    assert len(service.requests) == 4
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    (letter,) = outbox.dead_letters()
    outbox.close()
    assert letter.attempts == 4


def test_an_expired_one_gets_a_new_time_to_live(run, dead, service, tmp_path, ledger):
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    with outbox._write() as db:
        db.execute("UPDATE deliveries SET state = 'expired', expires = 1000")
    before = time.time()
    with outbox.transaction() as tx:
        assert tx.retry_dead(None, before, 3600.0) == 3
    assert {row[0] for row in outbox.rows("SELECT expires FROM deliveries")} == {before + 3600.0}
    assert list(outbox.dead_letters()) == []
    outbox.close()
    service.answer(200)
    assert run("send", "x", "-c", dead).code == 0
    assert sorted(messages(service)[3:]) == ["one", "three", "two", "x"]


def test_on_a_disabled_channel_they_are_held(run, dead, service, tmp_path, ledger):
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    with outbox._write() as db:
        db.execute("UPDATE channels SET disabled = 'wrong key'")
    with outbox.transaction() as tx:
        assert tx.retry_dead(None, time.time(), 3600.0) == 3
    outbox.close()
    assert ledger() == {DeliveryState.HELD: 3}


def test_numbers_that_are_none_change_nothing(run, dead, ledger):
    for command in ("retry", "purge"):
        done = run("dead", command, "1", "77", "88", "-c", dead)
        assert done.code == 2
        assert "77, 88" in done.err
    assert ledger() == {"dead": 3}


@pytest.mark.parametrize("command", ["retry", "purge"])
@pytest.mark.parametrize("what", [[], ["1", "--all"]], ids=["neither", "both"])
def test_either_numbers_or_all(run, dead, ledger, command, what):
    done = run("dead", command, *what, "-c", dead)
    assert done.code == 2
    assert "or --all" in done.err
    assert ledger() == {"dead": 3}


def test_giving_up_asks_first(run, dead, ledger):
    for answer in ("n\n", "", "perhaps\n"):
        assert run("dead", "purge", "--all", "-c", dead, answer=answer).code == 1
        assert ledger() == {"dead": 3}
    done = run("dead", "purge", "--all", "-c", dead, answer="y\n")
    assert done.code == 0
    assert "Gave up 3 dead letters." in done.out
    assert ledger() == {"cancelled": 3}


def test_giving_up_without_a_question(run, dead, service, ledger):
    assert run("dead", "purge", "--all", "--yes", "-c", dead).code == 0
    assert ledger() == {"cancelled": 3}
    assert "no dead letters" in run("dead", "list", "-c", dead).out
    assert len(run("history", "--json", "-c", dead).out.splitlines()) == 3  # they stay in the history


def test_a_channel_that_is_gone_is_told(run, dead, settings, ledger):
    file = settings("store: alerts.db\nalerts: {console: {}}\n")
    done = run("dead", "retry", "--all", "--wait", "0", "-c", file)
    assert done.code == 1
    assert "The channel hook is not enabled in these settings" in done.err
    assert ledger() == {"pending": 3}
