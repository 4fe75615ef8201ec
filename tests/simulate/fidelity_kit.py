"""The real thing, driven by a clock: a real SQLite file, a real journal, real sockets. Only time is simulated.

What a simulation says is held against what this did. It is written without a look at the simulator: it knows the
engine's own order (what is in the journal is planned, then the rules hear the time, then couriers deliver) and nothing
of how the simulator gets there.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from alerts_kit import Clock
from postgres_server import free_ports

from bt_alerts.alert import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.own_alerts import disabled_of, loss_of
from bt_alerts.delivery.planner import Planner
from bt_alerts.outbox.entries import Accepted, Acknowledged, Entry, encode
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.settings import Settings
from bt_alerts.simulate import Outage, Simulation

TELEGRAM_GROUP = 20  # messages a minute to a group, as Telegram documents


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class LoopbackService:
    """One channel's service: answers by the clock, and can be gone altogether.

    Args:
        clock: Unix seconds.
        outages: when it does not take messages.
        limit: messages a minute; 0 for any number.
    """

    def __init__(self, clock: Clock, outages: Sequence[Outage], limit: int = 0) -> None:
        self._clock = clock
        self._outages = list(outages)
        self._limit = limit
        self._taken: collections.deque[float] = collections.deque()
        #: What it took: when, and the text.
        self.messages: list[tuple[float, str]] = []
        self._server: _Server | None = None
        self.port = 0
        self.look()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _outage(self) -> Outage | None:
        return next((each for each in self._outages if each.covers(self._clock())), None)

    def look(self) -> None:
        """Come or go, as the time wants it."""
        outage = self._outage()
        gone = self.port != 0 and outage is not None and outage.status == 0
        if gone and self._server is not None:
            self.close()
        elif not gone and self._server is None:
            service = self

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.0"  # no connection is kept: the next one finds out whether it is there

                def do_POST(self) -> None:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    status, headers, answer = service.answer(self.headers.get("Content-Type", ""), body)
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

                def log_message(self, *_: object) -> None:
                    pass

            self.port = self.port or next(free_ports())  # stays free while it is gone
            self._server = _Server(("127.0.0.1", self.port), Handler)
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What it says to one request."""
        now = self._clock()
        outage = self._outage()
        if outage is not None:
            wait = {"Retry-After": f"{outage.retry_after:.3f}"} if outage.retry_after else {}
            return outage.status, wait, b"{}"
        while self._taken and self._taken[0] <= now - 60.0:
            self._taken.popleft()
        if self._limit and len(self._taken) >= self._limit:
            return 429, {"Retry-After": f"{self._taken[0] + 60.0 - now:.3f}"}, b"{}"
        self._taken.append(now)
        self.messages.append((now, _text_of(kind, body)))
        return 200, {}, b'{"status": 1, "request": "r", "ok": true, "result": {"message_id": 7}}'

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _text_of(kind: str, body: bytes) -> str:
    if "json" in kind:
        said = json.loads(body)
        return str(said.get("text") or said.get("data", said)["title"])
    return dict(parse_qsl(body.decode())).get("title", "")


@dataclasses.dataclass
class Life:
    """One process after the other over one store: each makes everything anew, as a restart does."""

    folder: Path
    settings: Settings
    clock: Clock
    services: Mapping[str, LoopbackService]

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        settings, delivery = self.settings, self.settings.delivery
        self.outbox = SqliteOutbox(self.folder / "alerts.db")
        assert self.outbox.journals is not None
        self.journal = Journal(self.outbox.journals)
        self.channels: dict[str, Channel] = {
            name: Channel(
                name,
                settings.dispatcher(name),
                rate=float(channel.rate_limit),
                fallback=channel.fallback or "",
                batches=channel.batches(delivery),
                fingerprint="same",
            )
            for name, channel in settings.channels.items()
        }
        self.planner = Planner(
            self.outbox, settings.rule_settings(), self.channels, time_to_live=delivery.time_to_live, clock=self.clock
        )
        self.couriers = [
            Courier(
                self.outbox,
                channel,
                self.channels,
                owner=self.journal.owner,
                retry=RetrySettings(delivery.max_retries, delivery.retry_delay, delivery.retry_backoff),
                time_to_live=delivery.time_to_live,
                fail_fast=delivery.fail_fast,
                on_disabled=self._on_disabled,
                on_lost=self._on_lost,
                clock=self.clock,
            )
            for channel in self.channels.values()
        ]

    def emit(self, entry: Entry) -> None:
        """What a strategy, a person or the manager says."""
        self.journal.append(encode(entry))

    def _on_disabled(self, channel: Channel, reason: str, label: str) -> None:
        self.emit(Accepted(disabled_of(channel.name, label, list(self.channels), reason, now=self.clock())))

    def _on_lost(self, channel: Channel, alert: Alert, reason: str, expired: bool) -> None:
        told = loss_of(alert, channel.name, list(self.channels), reason, expired=expired, now=self.clock())
        if told is not None:
            self.emit(Accepted(told))

    def restart(self) -> None:
        """End without a goodbye, and begin again."""
        for channel in self.channels.values():
            channel.dispatcher.close()
        self.journal.abandon()
        self.outbox.close()
        self._begin()
        self.planner.adopt()

    def go(self) -> float | None:
        """Do all there is to do now; returns when there is something again."""
        while True:
            for service in self.services.values():
                service.look()
            busy = self.planner.drain(self.journal) > 0
            alarm = self.planner.tick()
            for courier in self.couriers:
                while courier.deliver_one():
                    busy = True
            if not busy:
                dues = [self.outbox.next_due(name, self.clock()) for name in self.channels]
                times = [time for time in (alarm, *dues) if time is not None]
                return min(times, default=None)

    def close(self) -> None:
        for channel in self.channels.values():
            channel.dispatcher.close()
        self.journal.abandon()
        self.outbox.close()


@contextlib.contextmanager
def services(
    names: Sequence[str], clock: Clock, outages: Sequence[Outage], limits: Mapping[str, int]
) -> Iterator[dict[str, LoopbackService]]:
    """A service for each channel."""
    made = {
        name: LoopbackService(clock, [each for each in outages if each.channel == name], limits.get(name, 0))
        for name in names
    }
    try:
        yield made
    finally:
        for service in made.values():
            service.close()


def live(
    folder: Path,
    settings: Settings,
    clock: Clock,
    services: Mapping[str, LoopbackService],
    alerts: Sequence[Alert],
    *,
    acknowledges: Callable[[Alert], float | None] = lambda alert: None,
    restarts: Sequence[float] = (),
    afterwards: float = 8 * 86_400.0,
) -> Life:
    """Live through a run, and what comes of it afterwards; the reports of the days after are left out.

    Args:
        folder: for the store.
        settings: with channels at the services.
        clock: is moved.
        services: by channel.
        alerts: in order.
        acknowledges: after how many seconds somebody acknowledges an alert.
        restarts: when the process ends and another begins, in Unix seconds.
        afterwards: seconds after the last alert in which it goes on.
    """
    coming: list[tuple[float, Entry | None]] = [(alert.time.timestamp(), Accepted(alert)) for alert in alerts]
    coming += [
        (alert.time.timestamp() + seen, Acknowledged(alert.id))
        for alert in alerts
        if (seen := acknowledges(alert)) is not None
    ]
    last = max(at for at, _ in coming)
    coming += [(at, None) for at in restarts]
    coming.sort(key=lambda pair: pair[0])
    life = Life(folder, settings, clock, services)
    due = life.go()
    while True:
        at = min([time for time in (due, coming[0][0] if coming else None) if time is not None], default=None)
        if at is None or (not coming and at > last + afterwards):
            return life
        stuck = at <= clock.now and not (coming and coming[0][0] <= clock.now)
        clock.now = max(clock.now + (0.001 if stuck else 0.0), at)
        while coming and coming[0][0] <= clock.now:
            _, entry = coming.pop(0)
            if entry is None:
                life.restart()
            else:
                life.emit(entry)
        due = life.go()


# What became of it -------------------------------------------------------------------------------------


def fates(life: Life) -> dict[str, Any]:
    """What became of every alert, from the store of the real thing."""
    found: dict[str, Any] = {
        id_: (state, reason, rule, [])
        for id_, state, reason, rule in life.outbox.rows("SELECT id, state, reason, rule FROM alerts")
    }
    rows = life.outbox.rows(
        "SELECT a.id, d.channel, d.state, d.outcome, d.reason, d.attempts, d.settled, d.due, d.silent "
        "FROM deliveries d JOIN alerts a ON a.seq = d.alert"
    )
    for id_, channel, state, outcome, reason, attempts, settled, due, silent in rows:
        found[id_][3].append((channel, state, outcome, reason, attempts, _round(settled), _round(due), bool(silent)))
    return {id_: (*fate[:3], sorted(fate[3])) for id_, fate in found.items()}


def simulated_fates(simulation: Simulation) -> dict[str, Any]:
    """The same, from a simulation."""
    found: dict[str, Any] = {row.alert.id: (row.state, row.reason, row.rule, []) for row in simulation.alerts}
    for row in simulation.deliveries:
        found[row.alert][3].append((
            row.channel, row.state, row.outcome, row.reason, row.attempts, _round(row.settled), _round(row.due),
            row.silent,
        ))  # fmt: skip
    return {id_: (*fate[:3], sorted(fate[3])) for id_, fate in found.items()}


def _round(time: float | None) -> float:
    return -1.0 if time is None else round(time, 2)
