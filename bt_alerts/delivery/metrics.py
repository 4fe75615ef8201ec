"""Prometheus metrics of a store, read when somebody scrapes. Needs the extra ``metrics`` (prometheus_client).

What it promises: counters only ever grow, whatever retention forgets and whoever retries a dead letter; a store that
cannot be read just now costs the figures and not the scrape (``bt_alerts_up`` is 0); labels are names of channels, what
may be shown of an address, host and pid, never a credential. It listens on 127.0.0.1 unless told otherwise: there is no
password, so put a proxy in front of it before others may come.

Every process that serves a store's metrics tells the same figures: scrape one of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise ImportError('Metrics need prometheus_client: pip install "bt-alerts[metrics]"') from None

from bt_alerts._version import __version__
from bt_alerts.delivery.health import channel_health, process_health
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import AlertState, DeliveryState, Outbox
from bt_alerts.redact import redact

log = logging.getLogger("bt_alerts.metrics")

FINAL = (
    DeliveryState.DELIVERED, DeliveryState.DIGESTED, DeliveryState.FAILED_OVER, DeliveryState.EXPIRED,
    DeliveryState.CANCELLED, DeliveryState.DEAD,
)  # fmt: skip
_QUANTILES = (("0.5", "p50"), ("0.95", "p95"))


def serve_metrics(
    port: int,
    outbox: Outbox,
    channels: Iterable[str] = (),
    *,
    address: str = "127.0.0.1",
    clock: Callable[[], float] = time.time,
) -> Callable[[], None]:
    """Serve ``http://address:port/metrics`` from a thread of its own.

    Args:
        port: where; 0 for any that is free.
        outbox: the store.
        channels: names of what is configured, so that a channel which was never used is there too.
        address: which interface.
        clock: Unix seconds.

    Returns:
        What ends it.

    Raises:
        OSError: where the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(StoreCollector(outbox, channels, clock=clock))
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise OSError(exc.errno, f"{reason} ({address}:{port}); choose another port or address") from None
    log.info("metrics are at http://%s:%d/metrics", address, server.server_port)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

    return stop


class StoreCollector(Collector):
    """Reads the store at each scrape. For a registry of your own, where your program serves metrics already.

    Args:
        outbox: the store.
        channels: names of what is configured.
        clock: Unix seconds.
    """

    def __init__(self, outbox: Outbox, channels: Iterable[str] = (), *, clock: Callable[[], float] = time.time) -> None:
        self._outbox = outbox
        self._channels = list(channels)
        self._clock = clock
        self._lock = threading.Lock()
        #: By counter: what the store said last, and what was told.
        self._seen: dict[tuple[str, ...], tuple[int, int]] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: the store is not read before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        try:
            with self._lock:  # two scrapes at once would count what each saw of the other
                found = list(self._figures())
        except StoreError as exc:
            log.warning("metrics: %s", redact(exc))
            found = []
        except Exception as exc:  # a fault of ours must not look like a dead worker
            log.error("metrics could not be read: %s: %s", type(exc).__name__, redact(exc))
            found = []
        yield _gauge("up", "Whether the store could be read.", [(), ((), bool(found))])
        build = _gauge("build_info", "The version that serves these metrics.", [("version",), ((__version__,), 1)])
        yield from (build, *found)

    def _figures(self) -> Iterator[Metric]:
        now = self._clock()
        health = channel_health(self._outbox, self._channels, now)
        processes = process_health(self._outbox.processes(), now)
        alerts = self._counted(_ALERTS, _ALERTS_PRUNED)
        waiting = sum(n for (state, _), n in alerts.items() if state == AlertState.WAITING)
        yield self._counter(
            "alerts", "Alerts by what was decided about them, since the first day of the store.",
            ("state", "reason"), {key: n for key, n in alerts.items() if key[0] != AlertState.WAITING},
        )  # fmt: skip
        yield self._counter(
            "deliveries", "Deliveries by how they ended, since the first day of the store.", ("channel", "state"),
            {(name, end.value): state["deliveries"][end] for name, state in health.items() for end in FINAL},
        )  # fmt: skip
        yield self._counter(
            "deliveries_by_reason", "Deliveries that waited, or went elsewhere or further, by why.",
            ("channel", "reason"), self._counted(_BY_REASON, _REASONS_PRUNED),
        )  # fmt: skip
        yield _gauge("alerts_waiting", "Alerts that nobody has decided about yet.", [(), ((), waiting)])
        yield from _of_channels(health, now)
        yield from _of_targets(health)
        yield from _of_processes(processes, now)

    def _counted(self, *statements: str) -> dict[tuple[str, ...], int]:
        found: dict[tuple[str, ...], int] = {}
        for statement in statements:
            for one, other, n in self._outbox.rows(statement):
                found[one, other] = found.get((one, other), 0) + n
        return found

    def _counter(self, name: str, says: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> Metric:
        """A counter. What the store has less of than before (a dead letter on its way again) does not count back."""
        family = CounterMetricFamily(f"bt_alerts_{name}", says, labels=labels)
        gone = {key[1:]: 0 for key in self._seen if key[0] == name}
        for key, n in {**gone, **counts}.items():
            before, told = self._seen.get((name, *key), (0, 0))
            told += max(0, n - before)
            self._seen[name, *key] = n, told
            family.add_metric(key, told)
        return family


Samples = list[Any]  # the names of the labels, then (values of the labels, figure) for each


def _gauge(name: str, says: str, samples: Samples) -> Metric:
    labels, *rows = samples
    family = GaugeMetricFamily(f"bt_alerts_{name}", says, labels=labels)
    for values, figure in rows:
        family.add_metric([str(value) for value in values], float(figure))
    return family


def _of_channels(health: Mapping[str, Mapping[str, Any]], now: float) -> Iterator[Metric]:
    def each(of: Callable[[Mapping[str, Any]], float]) -> Samples:
        return [("channel",), *(((name,), of(state)) for name, state in health.items())]

    def age(state: Mapping[str, Any]) -> float:
        oldest = state["oldest_pending"]
        return 0.0 if oldest is None else max(0.0, now - oldest.timestamp())

    yield _gauge("pending", "Deliveries that are to be sent.", each(lambda state: state["queue"]))
    yield _gauge("held", "Deliveries that wait for a channel to be mended.", each(lambda state: state["held"]))
    yield _gauge("dead_letters", "Deliveries that were given up or expired.", each(lambda state: state["dead_letters"]))
    yield _gauge("oldest_pending_seconds", "How long ago the oldest pending one should have arrived.", each(age))
    yield _gauge("channel_disabled", "Whether the channel is disabled.", each(lambda state: bool(state["disabled"])))
    for what, says in (
        ("latency", "From the plan to the service's answer, of the latest 1,000 attempts."),
        ("answer", "What the service took to answer, of the latest 1,000 attempts."),
    ):
        rows = [
            ((name, quantile), state[f"{what}_{key}"])
            for name, state in health.items()
            for quantile, key in _QUANTILES
            if state[f"{what}_{key}"] is not None
        ]
        yield _gauge(f"delivery_{what}_seconds", says, [("channel", "quantile"), *rows])


def _of_targets(health: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    named = [
        ((name, label), target)
        for name, state in health.items()
        for label, target in zip(_labels(state["targets"]), state["targets"], strict=True)
    ]

    def each(of: Callable[[Mapping[str, Any]], float]) -> Samples:
        return [("channel", "target"), *((names, of(target)) for names, target in named)]

    yield _gauge("breaker_open", "Whether the address is left alone because its service fails again and again.",
                 each(lambda target: target["breaker"] != "closed"))  # fmt: skip
    yield _gauge("target_disabled", "Whether the address will not work again.",
                 each(lambda target: bool(target["disabled"])))  # fmt: skip
    yield _gauge("pace_ratio", "Part of its rate that the address takes just now.", each(lambda target: target["pace"]))


def _labels(targets: Iterable[Mapping[str, Any]]) -> list[str]:
    """What may be shown of each address: two that look alike are numbered, or the scrape would be refused."""
    seen: dict[str, int] = {}
    labels = []
    for target in targets:
        label = redact(target["label"])
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return labels


def _of_processes(processes: Iterable[Mapping[str, Any]], now: float) -> Iterator[Metric]:
    last: dict[tuple[str, ...], float] = {}
    alive = {"strategy": 0, "worker": 0}
    for each in processes:
        key = (each["role"], str(each["host"]), str(each["pid"] or ""))
        age = max(0.0, now - each["seen"].timestamp())
        last[key] = min(age, last.get(key, age))
        alive[each["role"]] = alive.get(each["role"], 0) + int(each["alive"])
    yield _gauge("processes", "Processes that gave a sign of life in the last minute.",
                 [("role",), *(((role,), n) for role, n in alive.items())])  # fmt: skip
    yield _gauge("worker_last_seen_seconds", "How long ago a process gave its last sign of life.",
                 [("role", "host", "pid"), *last.items()])  # fmt: skip


_ALERTS = "SELECT state, reason, count(*) FROM alerts GROUP BY state, reason"
_BY_REASON = "SELECT channel, reason, count(*) FROM deliveries WHERE reason != '' GROUP BY channel, reason"
_ALERTS_PRUNED = "SELECT state, reason, n FROM pruned WHERE ledger = 'alerts'"
_REASONS_PRUNED = "SELECT state, reason, n FROM pruned WHERE ledger = 'reasons'"
