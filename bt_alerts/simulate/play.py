"""Simulating a run under some settings: channels become simulated ones, the run is played, and its rows are read."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source, as_utc
from bt_alerts.delivery.channel import Channel
from bt_alerts.dispatchers.console import ConsoleDispatcher
from bt_alerts.hours import Moment, read_moment
from bt_alerts.outbox.entries import Accepted, Acknowledged
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.stage import Note
from bt_alerts.simulate.result import Simulation
from bt_alerts.simulate.rows import SimulatedAlert, SimulatedDelivery, SimulatedMessage
from bt_alerts.simulate.services import Outage, SimulatedDispatcher, World
from bt_alerts.simulate.timeline import Timed, Timeline

if TYPE_CHECKING:
    from bt_alerts.dispatchers.base import Dispatcher
    from bt_alerts.settings import Settings

#: What stands for a channel where none is configured.
PHONE = "phone"

#: Seconds after which nobody acknowledges anything any more: a year.
LATEST = 366 * 86_400.0

#: After how many seconds somebody acknowledges an alert; None where nobody does.
Acknowledges = Callable[[Alert], float | None]


def simulate(
    alerts: Iterable[Alert],
    settings: Settings,
    *,
    dispatchers: Mapping[str, Dispatcher] | None = None,
    outages: Sequence[Outage] = (),
    latency: Mapping[str, float] | None = None,
    prices: Mapping[str, float] | None = None,
    limits: bool = True,
    acknowledges: Acknowledges = lambda alert: None,
    close: str | None = None,
    name: str = "",
    config: str = "",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Simulation:
    """Play a run's alerts through rules, digests, limits and deliveries as if it had been live.

    Args:
        alerts: a recorded run.
        settings: what to try: channels, routes, rules and all the rest.
        dispatchers: those of the channels by name, in place of the ones that settings make.
        outages: when which channel is away.
        latency: seconds from a request to the phone, by channel's name or type; what is usual otherwise.
        prices: of a unit (a message, a segment), by channel's name or type.
        limits: whether services refuse what is more than they document.
        acknowledges: after how many seconds somebody acknowledges an alert.
        close: when the market closes, such as ``16:00 America/New_York``. Bars of a day that say midnight are complete
            then. Without it they count at midnight UTC.
        name: of the run or its strategy, for the report.
        config: how the settings are called, for the report.
        progress: told how many alerts of how many were played.

    Returns:
        What would have reached the phones, and what would not, and why.

    Raises:
        ValueError: where ``close`` is no time, a channel in ``outages``, ``latency`` or ``prices`` is not there, or
            ``acknowledges`` gives something that is no time to come.
    """
    real = _dispatchers(settings, dispatchers)
    world = World(
        {name: each.type for name, each in real.items()},
        outages=outages,
        latency=latency,
        prices=prices,
        own_prices=_own_prices(settings),
        limits=limits,
    )
    closing = None if close is None else read_moment(close)
    told = sorted((_at_close(alert, closing) for alert in alerts), key=lambda alert: alert.time)
    channels = _channels(settings, real, world)
    delivery = settings.delivery
    timeline = Timeline(
        dataclasses.replace(settings.rule_settings(), mode="auto" if settings.mode == "record" else settings.mode),
        channels,
        world,
        retry=RetrySettings(delivery.max_retries, delivery.retry_delay, delivery.retry_backoff),
        time_to_live=delivery.time_to_live,
        fail_fast=delivery.fail_fast,
        concurrency=delivery.concurrency,
    )
    entries: list[Timed] = []
    for alert in told:
        at = alert.time.timestamp()
        entries.append((at, Accepted(alert.replace(source=Source.LIVE))))
        seen = acknowledges(alert)
        if seen is not None:
            if not 0 <= seen <= LATEST:
                raise ValueError(f"acknowledges: write seconds from 0 to {LATEST:,.0f}, or None, not {seen!r}")
            entries.append((at + seen, Acknowledged(alert.id)))
    try:
        with _in_silence():
            timeline.play(entries, lambda done: progress(done, len(entries)))
        return _read(
            timeline.outbox,
            world,
            began=told[0].time.timestamp() if told else 0.0,
            ended=told[-1].time.timestamp() if told else 0.0,
            zone=settings.templates.timezone,
            name=name or _name(told),
            config=config or (settings.file.name if settings.file is not None else ""),
        )
    finally:
        timeline.outbox.close()


class _Silence(logging.Filter):
    """What is logged of a delivery that fails in a simulation is no news. Other threads may be delivering for real."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "simulates", False)  # it is asked on the thread that logs


#: One for all, that stays: to take it away while another thread logs would let that one's lines through.
_silence = _Silence()


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    for name in ("courier", "planner", "store"):
        logging.getLogger(f"bt_alerts.{name}").addFilter(_silence)
    before = getattr(_silence.here, "simulates", False)
    _silence.here.simulates = True
    try:
        yield
    finally:
        _silence.here.simulates = before


def _dispatchers(settings: Settings, given: Mapping[str, Dispatcher] | None) -> dict[str, Dispatcher]:
    """Whose messages are simulated, by channel."""
    made = {name: (given or {}).get(name) or settings.dispatcher(name) for name in settings.channels}
    made.update({name: each for name, each in (given or {}).items() if name not in made})  # added while it ran
    return made or {PHONE: ConsoleDispatcher()}


def _own_prices(settings: Settings) -> dict[str, float]:
    found = {name: getattr(channel, "price_per_segment", 0.0) for name, channel in settings.channels.items()}
    return {name: float(price) for name, price in found.items() if price}


def _channels(settings: Settings, real: Mapping[str, Dispatcher], world: World) -> dict[str, Channel]:
    limited = settings.delivery.enable_rate_limiting
    made: dict[str, Channel] = {}
    for name, dispatcher in real.items():
        simulated, channel = SimulatedDispatcher(name, dispatcher, world), settings.channels.get(name)
        if channel is None:
            made[name] = Channel(name, simulated, rate=float(dispatcher.rate))
        else:
            made[name] = Channel(
                name,
                simulated,
                rate=float(channel.rate_limit) if limited else 0.0,
                fallback=channel.fallback or "",
                batches=channel.batches(settings.delivery),
            )
    return made


def is_midnight(alert: Alert) -> bool:
    """Whether an alert was made on a bar that says midnight, and so is of a whole day."""
    when = alert.time
    return alert.bar_time in {None, when} and not (when.hour or when.minute or when.second)


def _at_close(alert: Alert, closing: Moment | None) -> Alert:
    if closing is None or not is_midnight(alert):
        return alert
    return alert.replace(time=as_utc(closing.on(alert.time.date())))


def _name(alerts: Sequence[Alert]) -> str:
    return ", ".join(sorted({alert.strategy for alert in alerts if alert.strategy}))


# What came of it ---------------------------------------------------------------------------------------


def _read(outbox: MemoryOutbox, world: World, **about: Any) -> Simulation:
    alerts = []
    for body, state, reason, rule, trail in outbox.rows(
        "SELECT body, state, reason, rule, trail FROM alerts ORDER BY time, seq"
    ):
        notes = [note for row in json.loads(trail or "[]") if (note := Note.from_list(row)) is not None]
        words = tuple(_spelled(note) for note in notes)
        alerts.append(SimulatedAlert(Alert.from_json(body), state, reason, rule, words))
    deliveries = [_delivery(row) for row in outbox.rows(_DELIVERIES)]
    gathered: dict[int, list[str]] = {}
    batches: dict[int, str] = {}
    for row, found in zip(outbox.rows("SELECT batch FROM deliveries ORDER BY seq"), deliveries, strict=True):
        if found.message is not None:
            gathered.setdefault(found.message, []).append(found.alert)
            batches[found.message] = batches.get(found.message) or row[0]
    for channel, target, key, created in outbox.rows(_AT_ONCE):
        world.waited(channel, target, key, created)
    messages = tuple(
        _complete(message, gathered.get(number, []), batches.get(number, ""))
        for number, message in enumerate(world.messages)
    )
    return Simulation(tuple(alerts), tuple(deliveries), messages, world.bites, **about)


def _complete(message: SimulatedMessage, alerts: list[str], batch: str) -> SimulatedMessage:
    if not alerts:
        return message
    return dataclasses.replace(message, alerts=tuple(alerts), batch=batch if len(alerts) > 1 else "")


def _delivery(row: tuple[Any, ...]) -> SimulatedDelivery:
    (alert, channel, label, state, outcome, detail, reason, created, due, settled, attempts, silent, number) = row
    arrived = state in {"delivered", "digested"} and str(number).isdigit()
    return SimulatedDelivery(
        alert, channel, label, state, outcome, detail, reason, created, due, settled, attempts, bool(silent),
        int(number) if arrived else None,
    )  # fmt: skip


def _spelled(note: Note) -> str:
    if note.until is None:
        return note.words
    return f"{note.words}, until {dt.datetime.fromtimestamp(note.until, dt.UTC):%Y-%m-%d %H:%M} UTC"


#: What was to go as soon as it was planned.
_AT_ONCE = "SELECT channel, target, key, created FROM deliveries WHERE reason = '' ORDER BY seq"

_DELIVERIES = """
SELECT a.id, d.channel, t.label, d.state, d.outcome, d.detail, d.reason, d.created, d.due, d.settled, d.attempts,
       d.silent, d.service_id
FROM deliveries d JOIN alerts a ON a.seq = d.alert JOIN targets t ON t.channel = d.channel AND t.target = d.target
ORDER BY d.seq
"""
