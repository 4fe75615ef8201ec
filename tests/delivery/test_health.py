"""Health by channel, address and process, on every kind of store, and that a full store is not scanned for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import rest
from store_kit import BUSY, DEAD, SENT, T0, attempt, plan

from bt_alerts import Alert, AlertManager
from bt_alerts.delivery.health import STATEMENTS, channel_health, problems, process_health
from bt_alerts.delivery.statistics import recent_deliveries, statistics
from bt_alerts.outbox.base import DeliveryState, Outbox, Process, Settlement
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules import breaker
from bt_alerts.rules.breaker import Breaker
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]
HELD = Settlement(DeliveryState.HELD, "auth", "HTTP 401", answered=True, disable_channel="the key is wrong")


def health(outbox: Outbox, channel: str = "phone", *, now: float = T0 + 10, rate: float = 0.0) -> dict[str, Any]:
    return channel_health(outbox, {channel: rate}, now)[channel]


def wrong(outbox: Outbox, now: float = T0 + 10, **more: Any) -> list[str]:
    channels = channel_health(outbox, {"phone": 0.0}, now)
    return problems(channels, process_health(outbox.processes(), now), now, **more)


# Channels --------------------------------------------------------------------------------------------


def test_a_channel_that_was_never_used_is_well(outbox: Outbox) -> None:
    found = health(outbox)
    assert (found["status"], found["success_rate"], found["breaker"]) == ("ok", 100.0, "closed")
    assert (found["sent"], found["queue"], found["oldest_pending"], found["latency_p50"]) == (0, 0, None, None)
    assert wrong(outbox) == []


def test_a_channel_is_counted(outbox: Outbox) -> None:
    for _ in range(5):
        plan(outbox, "phone", "mail")
    for what in (SENT, DEAD, SENT, BUSY):
        attempt(outbox, "phone", what)
    found = health(outbox)
    assert (found["sent"], found["failed"], found["queue"], found["dead_letters"]) == (2, 1, 2, 1)
    assert found["success_rate"] == pytest.approx(200 / 3)
    assert found["last_error"] == "HTTP 503"
    assert found["last_error_at"].timestamp() == T0 + 0.25
    assert found["deliveries"] == {**dict.fromkeys(map(str, DeliveryState), 0), "delivered": 2, "dead": 1, "pending": 2}
    assert found["status"] == "failing"
    assert health(outbox, "mail")["queue"] == 5
    assert wrong(outbox) == [
        "phone: the last attempt failed: HTTP 503",
        "phone: 1 dead letter in the last 24 hours: bt-alerts dead list",
    ]
    attempt(outbox, "phone", SENT, now=T0 + 20)
    assert health(outbox)["status"] == "ok"
    assert wrong(outbox, now=T0 + 2 * 86_400, patience=1e9) == [], "an old dead letter is no news"


def test_latencies_are_of_the_latest_thousand_attempts(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bt_alerts.delivery.health.LATEST", 20)
    for took in [99.0] * 5 + [1.0] * 10 + [2.0] * 9 + [50.0]:
        plan(outbox, "phone")
        attempt(outbox, "phone", took=took)
    found = health(outbox)
    assert (found["answer_p50"], found["answer_p95"]) == (2.0, 50.0)
    assert (found["latency_p50"], found["latency_p95"]) == (2.0, 50.0)


def test_latency_counts_the_retries_and_an_answer_does_not(outbox: Outbox) -> None:
    plan(outbox, "phone")
    attempt(outbox, "phone", BUSY)
    attempt(outbox, "phone", SENT, now=T0 + 60)
    found = health(outbox)
    assert (found["latency_p50"], found["answer_p50"]) == (60.25, 0.25)


def test_what_a_service_tells_later_is_no_attempt(outbox: Outbox) -> None:
    plan(outbox, "phone")
    attempt(outbox, "phone", dataclasses.replace(SENT, ask_at=T0 + 1))
    question = outbox.claim_question("phone", T0 + 2, 30.0)
    assert question is not None
    outbox.settle_question(question, Settlement(DeliveryState.DELIVERED, "acknowledged", "by anna"), T0 + 2)
    found = health(outbox)
    assert (found["status"], found["last_outcome"], found["last_error"]) == ("ok", "acknowledged", "")
    assert found["answer_p50"] == 0.25
    last = statistics(outbox, T0 + 60)["per_hour"][-1]
    assert (last["sent"], last["failed"]) == (1, 0)


def test_what_is_scheduled_does_not_wait(outbox: Outbox) -> None:
    plan(outbox, "phone", at=T0 + 86_400)
    assert (health(outbox)["queue"], health(outbox)["oldest_pending"]) == (1, None)
    plan(outbox, "phone", now=T0 + 1)
    plan(outbox, "phone", now=T0 + 5)
    assert health(outbox)["oldest_pending"].timestamp() == T0 + 1
    assert wrong(outbox, now=T0 + 600) == []
    assert wrong(outbox, now=T0 + 782) == ["phone: 3 pending, and the oldest should have arrived 13 min ago."]
    assert wrong(outbox, now=T0 + 782, patience=900) == []


def test_a_disabled_channel_says_why(outbox: Outbox) -> None:
    plan(outbox, "phone")
    plan(outbox, "phone")
    attempt(outbox, "phone", HELD)
    found = health(outbox)
    assert (found["status"], found["disabled"], found["held"], found["queue"]) == ("disabled", "the key is wrong", 2, 0)
    assert wrong(outbox) == ["phone is disabled: the key is wrong. Mend its settings, then: bt-alerts test phone"]


def test_a_disabled_address_is_told_by_its_label(outbox: Outbox) -> None:
    plan(outbox, "phone/anna", "phone/ben")
    attempt(outbox, "phone", dataclasses.replace(DEAD, disable_target="the chat is gone"))
    attempt(outbox, "phone", SENT)
    found = health(outbox)
    assert [(each["label"], each["disabled"]) for each in found["targets"]] == [
        ("label anna", "the chat is gone"), ("label ben", "")
    ]  # fmt: skip
    assert found["status"] == "failing"
    assert "phone cannot reach label anna any more: the chat is gone" in wrong(outbox)[0]


def test_the_breaker_of_a_channel_is_the_worst_of_its_addresses(outbox: Outbox) -> None:
    plan(outbox, "phone/anna", "phone/ben")
    sick = Breaker(failures=4)
    after = breaker.failed(sick, T0, "key", sick=True)
    attempt(outbox, "phone", dataclasses.replace(BUSY, breaker=after))
    attempt(outbox, "phone", SENT)
    found = health(outbox)
    assert (found["breaker"], found["breaker_addresses"]) == ("open", "1 of 2 addresses")
    assert found["breaker_until"].timestamp() == pytest.approx(after.open_until)
    assert [each["breaker"] for each in found["targets"]] == ["open", "closed"]
    assert found["status"] == "failing"
    assert (
        "phone: the service fails again and again (1 of 2 addresses), it is left alone until 08:00:" in wrong(outbox)[0]
    )
    later = health(outbox, now=after.open_until + 1)
    assert (later["breaker"], later["breaker_until"]) == ("half-open", None)
    assert "it is being tried again" in wrong(outbox, now=after.open_until + 1)[0]


def test_waits_and_pace_are_told(outbox: Outbox) -> None:
    for _ in range(3):
        plan(outbox, "phone")
    slow = dataclasses.replace(BUSY, outcome="retry-after", hold_target=T0 + 99, slow_down=True)
    attempt(outbox, "phone", slow)
    found = health(outbox, rate=30.0)
    assert found["held_until"].timestamp() == T0 + 99
    assert (found["rate"], found["rate_now"], found["paced_until"]) == (30.0, 15.0, None)
    assert health(outbox, now=T0 + 100)["held_until"] is None
    assert outbox.claim("phone", "me", T0 + 100, 30.0, 1.0) is not None
    outbox.release("me")
    assert outbox.claim("phone", "me", T0 + 101, 30.0, 1.0) is None
    assert health(outbox, now=T0 + 101)["paced_until"].timestamp() > T0 + 110


def test_waits_from_before_a_clock_went_back_count_no_more(outbox: Outbox) -> None:
    plan(outbox, "phone")
    attempt(outbox, "phone", dataclasses.replace(BUSY, hold_target=T0 + 99, breaker=Breaker(9, 2, T0 + 99)))
    found = health(outbox, now=T0 - 7200)
    assert (found["held_until"], found["breaker"]) == (None, "half-open")


def test_what_retention_forgot_stays_counted(outbox: Outbox) -> None:
    with outbox._write() as db:  # type: ignore[attr-defined]
        db.execute("INSERT INTO pruned (ledger, state, reason, n) VALUES ('deliveries', 'delivered', 'phone', 7)")
    plan(outbox, "phone")
    attempt(outbox, "phone")
    assert (health(outbox)["sent"], health(outbox)["success_rate"]) == (8, 100.0)


def test_a_manager_knows_the_rates(manage: Manage) -> None:
    manager = manage(hook={"type": "webhook", "urls": "http://127.0.0.1:9/", "rate_limit": 12})
    assert manager.get_channel_health()["hook"]["rate"] == 12.0


# Processes -------------------------------------------------------------------------------------------


def check_in(outbox: Outbox, owner: str, seen: float, *, started: float = T0, ended: float | None = None) -> None:
    about = {"pid": int(owner), "host": "desk", "channels": ["phone"]}
    outbox.check_in(Process(owner, "worker", about, started, seen, ended))


def test_a_process_without_a_sign_of_life_is_gone(outbox: Outbox) -> None:
    check_in(outbox, "1", T0)
    assert [each["alive"] for each in process_health(outbox.processes(), T0 + 59)] == [True]
    (gone,) = process_health(outbox.processes(), T0 + 300)
    assert (gone["alive"], gone["pid"], gone["host"], gone["role"]) == (False, 1, "desk", "worker")
    assert wrong(outbox, now=T0 + 300) == [
        "The worker process 1 on desk ended without a goodbye: no sign of life for 5 min. Start it again."
    ]
    assert wrong(outbox, now=T0 + 90_000) == [], "a day later nobody waits for it"


def test_a_process_that_said_goodbye_or_was_replaced_is_not_missed(outbox: Outbox) -> None:
    check_in(outbox, "1", T0, ended=T0)
    assert process_health(outbox.processes(), T0 + 300) == []
    check_in(outbox, "2", T0 + 10)
    check_in(outbox, "3", T0 + 300, started=T0 + 5)
    assert [each["pid"] for each in process_health(outbox.processes(), T0 + 300)] == [3, 2], "both were there at a time"
    check_in(outbox, "4", T0 + 300, started=T0 + 20)
    assert [each["pid"] for each in process_health(outbox.processes(), T0 + 300)] == [4, 3]
    assert wrong(outbox, now=T0 + 300) == []


# Statistics ------------------------------------------------------------------------------------------


def test_statistics_of_everything(outbox: Outbox) -> None:
    for kind in ("order", "order", "trade"):
        plan(outbox, "phone", type=kind, priority="high")
    outbox.record([Alert.make("x", type="market", priority="low")], "history")
    attempt(outbox, "phone", SENT)
    attempt(outbox, "phone", DEAD)
    attempt(outbox, "phone", BUSY)
    figures = statistics(outbox, T0)
    assert figures["alerts"] == 4
    assert figures["by_type"] == {"order": 2, "trade": 1, "market": 1}
    assert figures["by_priority"] == {"high": 3, "low": 1}
    assert (figures["planned"], figures["recorded"], figures["reasons"]) == (3, 1, {"history": 1})
    assert figures["suppressed_by_reason"] == {}
    assert (figures["deliveries"]["delivered"], figures["deliveries"]["dead"]) == (1, 1)
    assert (figures["success_rate"], figures["latency_p50"]) == (50.0, 0.25)


def test_suppressed_by_reason_counts_what_is_pruned_too(outbox: Outbox) -> None:
    from alerts_kit import alert

    from bt_alerts.outbox.base import AlertState

    with outbox.transaction() as tx:
        tx.add_alert(alert(), AlertState.SUPPRESSED, "muted")
        tx.add_alert(alert(), AlertState.SUPPRESSED, "duplicate")
    with outbox._write() as db:  # type: ignore[attr-defined]
        db.execute("INSERT INTO pruned (ledger, state, reason, n) VALUES ('alerts', 'suppressed', 'muted', 4)")
    assert statistics(outbox, T0)["suppressed_by_reason"] == {"muted": 5, "duplicate": 1}


def test_deliveries_an_hour_over_the_last_day(outbox: Outbox) -> None:
    for hours, what in ((30, SENT), (23, SENT), (2, DEAD), (0, SENT), (0, SENT)):
        plan(outbox, "phone", now=T0 - hours * 3600)
        attempt(outbox, "phone", what, now=T0 - hours * 3600)
    rows = statistics(outbox, T0 + 60)["per_hour"]
    assert len(rows) == 24
    assert rows[-1]["hour"].timestamp() == T0
    assert [(i, row["sent"], row["failed"]) for i, row in enumerate(rows) if row["sent"] or row["failed"]] == [
        (0, 1, 0), (21, 0, 1), (23, 2, 0)
    ]  # fmt: skip


def test_the_newest_deliveries_come_first(outbox: Outbox) -> None:
    for title in ("one", "two", "three"):
        plan(outbox, "phone", title=title, kind="own")
    attempt(outbox, "phone", SENT)
    rows = recent_deliveries(outbox, 2)
    assert [(row["title"], row["state"]) for row in rows] == [("three", "pending"), ("two", "pending")]
    first = recent_deliveries(outbox, 9)[-1]
    assert (first["title"], first["kind"], first["channel"], first["target"]) == ("one", "own", "phone", "label")
    assert (first["outcome"], first["detail"], first["attempts"], first["service_id"]) == ("sent", "HTTP 200", 1, "m1")
    assert first["settled"].timestamp() == T0 + 0.25
    assert rows[0]["settled"] is None


def test_a_manager_adds_what_is_in_memory(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    manager.send_custom_alert("x")
    rest(manager)
    figures = manager.get_statistics()
    assert (figures["in_memory"], figures["lost"], figures["deliveries"]["delivered"]) == (0, 0, 1)
    assert sum(row["sent"] for row in figures["per_hour"]) == 1


# A full store ----------------------------------------------------------------------------------------

MANY = 100_000
_FILL = (
    "INSERT INTO channels (channel) SELECT 'c' || n FROM four",
    "INSERT INTO targets (channel, target, label) SELECT 'c' || n, 't', 'label' FROM four",
    "INSERT INTO alerts (seq, id, type, kind, priority, time, symbol, strategy, run, source, body, state, reason, "
    "stored) SELECT n, 'id' || n, 'order', 'own', 2, n, '', '', 'r', 'live', '{}', 'planned', '', n FROM many",
    "INSERT INTO deliveries (seq, key, alert, channel, target, priority, silent, due, promised, created, expires, "
    "state, settled) SELECT n, 'k' || n, n, 'c' || (n % 4), 't', 2, 0, n, n, n, n + 9, "
    f"CASE WHEN n > {MANY} - 100 THEN 'pending' WHEN n % 50 = 0 THEN 'dead' ELSE 'delivered' END, n + 1 FROM many",
    "INSERT INTO attempts (delivery, channel, owner, started, took, outcome, detail, service_id, facts) "
    "SELECT n, 'c' || (n % 4), 'me', n, 0.5, CASE WHEN n % 50 = 0 THEN 'permanent' ELSE 'sent' END, '', '', '{}' "
    "FROM many",
)
_MANY = {
    "sqlite": f"WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {MANY}), "
    "four (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM four WHERE n < 3) ",
    "postgres": f"WITH many (n) AS (SELECT generate_series(1, {MANY})), four (n) AS (SELECT generate_series(0, 3)) ",
}


def filled(outbox: Outbox, dialect: str) -> None:
    with outbox._write() as db:  # type: ignore[attr-defined]
        for statement in _FILL:
            db.execute(_MANY[dialect] + statement)


def check_figures(outbox: Outbox) -> None:
    found = channel_health(outbox, [], MANY + 60.0)
    assert list(found) == ["c0", "c1", "c2", "c3"]
    assert sum(each["sent"] for each in found.values()) == (MANY - 100) * 49 // 50
    assert sum(each["queue"] for each in found.values()) == 100
    assert (found["c0"]["answer_p50"], found["c0"]["last_outcome"]) == (0.5, "permanent")
    assert found["c0"]["oldest_pending"].timestamp() == MANY - 96


def test_health_of_a_full_sqlite_store_stays_on_indexes(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "s.db")
    filled(outbox, "sqlite")
    small = {"SCAN c", "SCAN targets"}  # a row for each channel and each address
    for name, (statement, values) in STATEMENTS.items():
        for *_, step in outbox.rows(f"EXPLAIN QUERY PLAN {statement}", values):
            assert not step.startswith("SCAN") or "USING" in step or step in small, (name, step)
    counting = [row[-1] for row in outbox.rows(f"EXPLAIN QUERY PLAN {STATEMENTS['channels'][0]}", (0.0,))]
    assert sum("USING COVERING INDEX deliveries_by_state" in step for step in counting) == len(DeliveryState)
    check_figures(outbox)
    outbox.close()


def test_health_of_a_full_postgres_store_stays_on_indexes(postgres_dsn: str, tmp_path: Path) -> None:
    import psycopg

    outbox = PostgresOutbox(postgres_dsn, tmp_path)
    filled(outbox, "postgres")
    with psycopg.connect(postgres_dsn, autocommit=True) as db:
        db.execute("SET search_path TO bt_alerts")
        for table in ("alerts", "deliveries", "attempts", "targets", "channels"):
            db.execute(f"VACUUM ANALYZE {table}".encode())  # as the server does by itself, some time later
        for name, (statement, values) in STATEMENTS.items():
            for (step,) in db.execute(f"EXPLAIN {statement}".replace("?", "%s").encode(), values):
                large = any(f"Seq Scan on {table}" in step for table in ("alerts", "deliveries", "attempts"))
                assert not large, (name, step)
    check_figures(outbox)
    outbox.close()


def test_statements_run_in_memory_too() -> None:
    outbox = MemoryOutbox()
    filled(outbox, "sqlite")
    check_figures(outbox)
