"""Prometheus metrics, scraped over loopback and read by prometheus_client's own parser."""

from __future__ import annotations

import dataclasses
import errno
import secrets
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, alert, until
from prometheus_client.parser import text_string_to_metric_families
from store_kit import BUSY, DEAD, SENT, T0, attempt, plan

from bt_alerts.delivery.metrics import serve_metrics
from bt_alerts.delivery.statistics import statistics
from bt_alerts.outbox.base import AlertState, NewDelivery, Outbox, Process
from bt_alerts.outbox.postgres import PostgresOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.redact import register_secret
from bt_alerts.rules.breaker import Breaker
from bt_alerts.rules.stage import Reason

Scraped = dict[tuple[Any, ...], float]
Scrape = Callable[..., Scraped]


@pytest.fixture
def serve() -> Iterator[Callable[..., Scrape]]:
    """Serve the metrics of a store on a free port; gives what scrapes them."""
    stops = []

    def serve(outbox: Outbox, clock: Callable[[], float], channels: tuple[str, ...] = ()) -> Scrape:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            try:
                stops.append(serve_metrics(port, outbox, channels, clock=clock))
                break
            except OSError as exc:  # somebody else was faster
                if exc.errno != errno.EADDRINUSE:
                    raise
        return lambda: read(fetch(port))

    yield serve
    for stop in stops:
        stop()


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def read(text: str) -> Scraped:
    """``{(name without bt_alerts_, value of each label, by their names …): figure}``; each series is there once."""
    found: Scraped = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name.removeprefix("bt_alerts_"), *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def test_deliveries_are_counted_by_why_they_wait_or_go_elsewhere(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    clock = Clock(T0)
    with outbox.transaction() as tx:
        seq = tx.add_alert(alert(), AlertState.WAITING)
        assert seq is not None
        for n, (channel, reason) in enumerate([("phone", Reason.DIGEST), ("phone", Reason.DIGEST), ("mail", "")]):
            tx.add_deliveries(seq, [NewDelivery(f"k{n}", channel, "t", "t", T0, T0, T0 + 1e5, reason=reason)], T0)
        tx.decide(seq, AlertState.PLANNED)
    scrape = serve(outbox, clock)
    found = {key: n for key, n in scrape().items() if key[0] == "deliveries_by_reason_total"}
    assert found == {("deliveries_by_reason_total", "phone", "digest"): 2}
    assert statistics(outbox, T0)["deliveries_by_reason"] == {"digest": 2}
    with outbox.transaction() as tx:
        tx.acknowledge(next(outbox.rows("SELECT id FROM alerts"))[0], T0)
    assert outbox.prune(T0 + 1e9, 10).deliveries == 3
    assert scrape()["deliveries_by_reason_total", "phone", "digest"] == 2  # it never counts back


def test_a_scrape_tells_what_the_store_holds(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    clock = Clock(T0 + 10)
    for _ in range(4):
        plan(outbox, "phone/anna", "mail")
    outbox.record([alert()], "history")
    with outbox.transaction() as tx:
        tx.add_alert(alert(), AlertState.WAITING)
    for what in (SENT, DEAD, BUSY):
        attempt(outbox, "phone", what)
    outbox.check_in(Process("1-a", "worker", {"pid": 1, "host": "desk"}, T0, T0 + 7))
    found = serve(outbox, clock, ("phone", "spare"))()
    assert found["up",] == 1
    assert (found["deliveries_total", "phone", "delivered"], found["deliveries_total", "phone", "dead"]) == (1, 1)
    assert (found["deliveries_total", "spare", "delivered"], found["pending", "spare"]) == (0, 0)
    assert (found["alerts_total", "", "planned"], found["alerts_total", "history", "recorded"]) == (4, 1)
    assert ("alerts_total", "", "waiting") not in found
    assert found["alerts_waiting",] == 1
    assert (found["pending", "phone"], found["pending", "mail"]) == (2, 4)
    assert (found["oldest_pending_seconds", "phone"], found["oldest_pending_seconds", "spare"]) == (10, 0)
    assert (found["dead_letters", "phone"], found["held", "phone"]) == (1, 0)
    assert found["delivery_answer_seconds", "phone", "0.5"] == 0.25
    assert found["delivery_latency_seconds", "phone", "0.95"] == 0.25
    assert ("delivery_latency_seconds", "mail", "0.5") not in found, "nothing was sent there"
    assert (found["breaker_open", "phone", "label anna"], found["channel_disabled", "phone"]) == (0, 0)
    assert found["worker_last_seen_seconds", "desk", "1", "worker"] == 3
    assert (found["processes", "worker"], found["processes", "strategy"]) == (1, 0)


def test_trouble_is_seen_at_the_next_scrape(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    clock = Clock(T0)
    scrape = serve(outbox, clock)
    plan(outbox, "phone/anna", "phone/ben")
    outbox.check_in(Process("1-a", "worker", {"pid": 1, "host": "desk"}, T0, T0))
    assert scrape()["processes", "worker"] == 1
    attempt(outbox, "phone", dataclasses.replace(BUSY, breaker=Breaker(5, 1, T0 + 600), slow_down=True))
    attempt(outbox, "phone", dataclasses.replace(DEAD, disable_channel="wrong key", disable_target="gone"))
    clock.advance(300)
    found = scrape()
    assert (found["breaker_open", "phone", "label anna"], found["breaker_open", "phone", "label ben"]) == (1, 0)
    assert (found["target_disabled", "phone", "label ben"], found["channel_disabled", "phone"]) == (1, 1)
    assert found["pace_ratio", "phone", "label anna"] == 0.5
    assert (found["processes", "worker"], found["worker_last_seen_seconds", "desk", "1", "worker"]) == (0, 300)


def counters(found: Scraped) -> Scraped:
    return {key: value for key, value in found.items() if key[0].endswith("_total")}


def test_counters_only_ever_grow(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    scrape = serve(outbox, Clock(T0))
    for what in (SENT, SENT, DEAD):
        plan(outbox, "phone")
        attempt(outbox, "phone", what)
    before = counters(scrape())
    assert before["deliveries_total", "phone", "dead"] == 1
    with outbox.transaction() as tx:
        assert tx.retry_dead(None, T0, 1e5) == 1
    assert counters(scrape()) == before, "on its way again, it was dead once"
    attempt(outbox, "phone", DEAD)
    assert counters(scrape())["deliveries_total", "phone", "dead"] == 2
    before = counters(scrape())
    assert outbox.prune(4e9, 100)
    assert next(iter(outbox.rows("SELECT count(*) FROM deliveries"))) == (0,)
    assert counters(scrape()) == before, "what retention forgot was there"
    plan(outbox, "phone")
    attempt(outbox, "phone", SENT)
    assert counters(scrape())["deliveries_total", "phone", "delivered"] == 3


def test_a_worker_that_starts_anew_knows_what_retention_forgot(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    plan(outbox, "phone")
    attempt(outbox, "phone")
    with outbox._write() as db:  # type: ignore[attr-defined]
        db.execute("INSERT INTO pruned (ledger, state, reason, n) VALUES ('deliveries', 'delivered', 'phone', 7)")
        db.execute("INSERT INTO pruned (ledger, state, reason, n) VALUES ('alerts', 'planned', '', 7)")
    found = serve(outbox, Clock(T0))()
    assert (found["deliveries_total", "phone", "delivered"], found["alerts_total", "", "planned"]) == (8, 8)


def test_two_addresses_that_look_alike_are_two_series(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    plan(outbox, "phone/a", label="https://•••")
    with outbox._write() as db:  # type: ignore[attr-defined]
        db.execute("INSERT INTO targets (channel, target, label) VALUES ('phone', 'b', 'https://••• a')")
    found = serve(outbox, Clock(T0))()
    assert {key[2] for key in found if key[0] == "breaker_open"} == {"https://••• a", "https://••• a #2"}


def test_no_secret_is_in_a_scrape(outbox: Outbox, serve: Callable[..., Scrape]) -> None:
    secret = secrets.token_hex(12)
    plan(outbox, "phone", label=f"https://example.org/{secret}")
    attempt(outbox, "phone", dataclasses.replace(DEAD, detail=f"POST /{secret} refused", disable_target=secret))
    register_secret(secret)
    found = serve(outbox, Clock(T0))()
    assert found["target_disabled", "phone", "https://example.org/•••"] == 1
    assert secret not in repr(found)


def test_a_store_that_cannot_be_read_costs_the_figures_and_not_the_scrape(
    tmp_path: Path, serve: Callable[..., Scrape], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bt_alerts.outbox.sqlite.BUSY_SECONDS", 0.05)
    outbox = SqliteOutbox(tmp_path / "s.db")
    plan(outbox, "phone")
    outbox.close()
    scrape = serve(outbox, Clock(T0))
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("UPDATE channels SET not_before = 0")
    found = scrape()
    assert found["up",] == 0
    assert {key[0] for key in found} == {"up", "build_info"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is locked by another process" in caplog.text
    other.close()
    assert scrape()["up",] == 1


def test_a_server_that_is_away_costs_the_figures_and_not_the_scrape(
    own_postgres: Any, tmp_path: Path, serve: Callable[..., Scrape]
) -> None:
    outbox = PostgresOutbox(own_postgres.fresh_database(), tmp_path)
    plan(outbox, "phone")
    scrape = serve(outbox, Clock(T0))
    assert scrape()["pending", "phone"] == 1
    own_postgres.stop()
    assert scrape()["up",] == 0
    own_postgres.start()
    until(lambda: scrape()["up",] == 1, timeout=30)
    outbox.close()


def test_a_port_that_is_taken_is_a_sentence(outbox: Outbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"in use \(127\.0\.0\.1:{port}\); choose another port") as caught:
            serve_metrics(port, outbox)
    assert caught.value.errno


def test_an_ended_server_gives_its_port_back(outbox: Outbox) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        stop = serve_metrics(port, outbox)
        assert "bt_alerts_up 1.0" in fetch(port)
        stop()
    with pytest.raises(OSError, match="refused"):
        fetch(port)


def test_without_the_extra_a_sentence_says_what_to_install() -> None:
    script = "import sys; sys.modules['prometheus_client'] = None; import bt_alerts.delivery.metrics"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith('ImportError: Metrics need prometheus_client: pip install "bt-alerts[metrics]"')
