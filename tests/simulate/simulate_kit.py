"""A made-up simulation of any size, as the engine would write it: the same seed gives the same rows."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Sequence

from bt_alerts import Alert, Priority
from bt_alerts.simulate.result import Simulation
from bt_alerts.simulate.rows import Bite, SimulatedAlert, SimulatedDelivery, SimulatedMessage

DAY = 86_400.0
START = dt.datetime(2014, 1, 2, 14, 30, tzinfo=dt.UTC).timestamp()
TYPES = {"phone": "pushover", "chat": "telegram", "sms": "sms", "desk": "slack"}
SYMBOLS = ("IBM", "AAPL", "ORCL")

#: Kind, type, priority, title and text.
HAPPENINGS = (
    ("order.completed", "order", "medium", "BUY {s} filled", "Bought 10 at {p:.2f}, worth {v:,.2f}\nPosition: long 10"),
    (
        "trade.closed",
        "trade",
        "medium",
        "{s} closed: {g:+.2f}",
        "Sold 10 at {p:.2f} (stop)\nProfit {g:+.2f} · held 9 bars",
    ),
    ("order.partial", "order", "low", "BUY {s}: part filled", "2 of 10 at {p:.2f}"),
    ("signal", "signal", "medium", "BUY signal: {s}", "sma_fast crossed above sma_slow at {p:.2f}"),
    ("direct.market", "market", "low", "{s} moves {g:+.1f} %", "Now {p:.2f}"),
    ("strategy.started", "strategy", "info", "Trend began", "3 symbols, 100,000 at the start"),
    ("data.silent", "data", "high", "{s}: no bars", "Nothing came for 15 min"),
    ("error", "error", "critical", "Trend crashed", "ZeroDivisionError: division by zero\nin next(), line 41"),
)
WEIGHTS = (20, 20, 12, 18, 22, 1, 3, 0.5)


def an_alert(
    kind: str = "order.completed", time: float = START, priority: str = "medium", title: str = "A title", **more: object
) -> Alert:
    fields: dict[str, object] = {"symbol": "IBM", "strategy": "Trend", **more}
    message = fields.pop("message", "A text")
    return Alert.make(message, kind=kind, time=time, priority=priority, title=title, **fields)  # type: ignore[arg-type]


def phone(alerts: Sequence[Alert], *, channel: str = "phone", zone: str = "UTC", **more: object) -> Simulation:
    """Each alert as a message of its own, at once."""
    rows = tuple(SimulatedAlert(alert, "planned", "", "", ()) for alert in alerts)
    messages, deliveries = [], []
    for n, alert in enumerate(alerts):
        time = alert.time.timestamp()
        messages.append(a_message(time + 1, [alert], channel=channel))
        deliveries.append(a_delivery(alert, time, n, channel=channel, settled=time + 1))
    times = [alert.time.timestamp() for alert in alerts] or [START]
    return Simulation(
        rows,
        tuple(deliveries),
        tuple(messages),
        began=min(times),
        ended=max(times),
        zone=zone,
        **more,  # type: ignore[arg-type]
    )


def a_message(
    time: float, alerts: Sequence[Alert], *, channel: str = "phone", batch: str = "", **more: object
) -> SimulatedMessage:
    first = alerts[0]
    fields: dict[str, object] = {
        "title": first.title if len(alerts) == 1 else f"{len(alerts)} alerts that waited",
        "text": first.message if len(alerts) == 1 else "\n".join(alert.title for alert in alerts),
        "priority": max(alert.priority for alert in alerts),
        "silent": False,
        "late": 0.0,
        "units": 1,
        "cost": 0.0,
        **more,
    }
    ids = tuple(alert.id for alert in alerts)
    return SimulatedMessage(
        time=time,
        channel=channel,
        type=TYPES.get(channel, "webhook"),
        target="you",
        alerts=ids,
        batch=batch,
        **fields,  # type: ignore[arg-type]
    )


def a_delivery(
    alert: Alert,
    created: float,
    message: int | None,
    *,
    channel: str = "phone",
    state: str = "delivered",
    **more: object,
) -> SimulatedDelivery:
    fields: dict[str, object] = {
        "outcome": "delivered" if message is not None else "",
        "detail": "200 OK" if message is not None else "",
        "reason": "",
        "due": created,
        "settled": created,
        "attempts": 1,
        "silent": False,
        **more,
    }
    return SimulatedDelivery(
        alert=alert.id,
        channel=channel,
        target="you",
        state=state,
        created=created,
        message=message,
        **fields,  # type: ignore[arg-type]
    )


def decade(
    messages: int = 1200,
    years: float = 10,
    *,
    seed: int = 7,
    zone: str = "America/New_York",
    config: str = "alerts.yaml",
    cooldown: bool = True,
    name: str = "TrendFollower",
) -> Simulation:
    """A run with about so many messages: fills, signals and trouble; suppressions, quiet hours, digests and limits."""
    chance = random.Random(seed)
    rows: list[SimulatedAlert] = []
    deliveries: list[SimulatedDelivery] = []
    sent: list[SimulatedMessage] = []
    night: list[tuple[Alert, float]] = []
    ended = START + years * 365.25 * DAY
    moments = sorted(
        START + chance.random() * (ended - START) for _ in range(int(messages / (1.42 if cooldown else 1.8)))
    )
    for moment in moments:
        if len(sent) >= messages:
            break
        burst = chance.random() < 0.08
        at = _in_the_session(moment, chance) if chance.random() < 0.8 else moment
        kind, about, priority, title, text = chance.choices(HAPPENINGS, WEIGHTS)[0]
        symbol = chance.choice(SYMBOLS)
        for part in range(chance.randint(4, 9) if burst else 1):
            figures = {
                "s": symbol,
                "p": chance.uniform(20, 200),
                "v": chance.uniform(100, 9000),
                "g": chance.gauss(4, 60),
            }
            alert = Alert.make(
                text.format(**figures), title=title.format(**figures), kind=kind, type=about, priority=priority,
                time=at + part * 60, symbol=symbol, strategy=name,
                data={"pnl": figures["g"]} if kind == "trade.closed" else {},
                id=str(uuid.UUID(int=chance.getrandbits(128))),
            )  # fmt: skip
            _one(alert, part, chance, (rows, deliveries, sent, night), cooldown)
    order = sorted(range(len(sent)), key=lambda n: sent[n].time)
    place = {old: new for new, old in enumerate(order)}
    moved = [_moved(row, place) for row in deliveries]
    bites = (
        Bite("phone", "10,000 messages a month (Pushover)", START + 90 * DAY, 2, 2_460, "2014-04: 12,400 of 10,000"),
        Bite(
            "chat",
            "20 messages a minute to a group (Telegram)",
            START + 200 * DAY,
            11,
            74,
            "2014-07-21 14:31: 38 of 20",
        ),
    )
    return Simulation(
        tuple(sorted(rows, key=lambda row: row.alert.time)), tuple(moved), tuple(sent[n] for n in order), bites,
        began=START, ended=ended, zone=zone, name=name, config=config,
    )  # fmt: skip


_Written = tuple[list[SimulatedAlert], list[SimulatedDelivery], list[SimulatedMessage], list[tuple[Alert, float]]]


def _in_the_session(moment: float, chance: random.Random) -> float:
    """Half past two to nine in the evening UTC on a weekday, most of it at the beginning and the end."""
    day = dt.datetime.fromtimestamp(moment, dt.UTC).replace(hour=14, minute=30, second=0, microsecond=0)
    day -= dt.timedelta(days=max(0, day.weekday() - 4))
    return day.timestamp() + chance.betavariate(0.6, 0.8) * 6.5 * 3600


def _one(alert: Alert, part: int, chance: random.Random, written: _Written, cooldown: bool) -> None:
    at, (rows, deliveries, sent, night) = alert.time.timestamp(), written
    if cooldown and part > 1 and alert.priority <= Priority.MEDIUM:
        rows.append(SimulatedAlert(alert, "suppressed", "duplicate", "cooldown 1", ("cooldown 1: told 3 min ago",)))
        return
    if alert.kind == "strategy.started":
        rows.append(SimulatedAlert(alert, "recorded", "event-record", "events", ()))
        return
    rows.append(SimulatedAlert(alert, "planned", "", "", ("routes: default",)))
    hour = alert.time.hour
    if (hour >= 22 or hour < 6) and alert.priority < Priority.HIGH:
        night.append((alert, at))
        return
    if night:
        _digest(night, sent, deliveries)
        night.clear()
    sms = alert.priority >= Priority.HIGH
    for channel in ["phone", *(["chat"] if chance.random() < 0.3 else []), *(["sms"] if sms else [])]:
        late = 660.0 if chance.random() < 0.01 else 0.0
        came = at + chance.expovariate(0.5) + late
        deliveries.append(
            a_delivery(alert, at, len(sent), channel=channel, settled=came, reason="retry" if late else "")
        )
        paid = {"units": 2, "cost": 0.0158} if channel == "sms" else {}
        silent = alert.priority <= Priority.LOW
        sent.append(a_message(came, [alert], channel=channel, late=late, silent=silent, **paid))


def _digest(
    night: list[tuple[Alert, float]], sent: list[SimulatedMessage], deliveries: list[SimulatedDelivery]
) -> None:
    first = min(at for _, at in night)
    morning = first + (7 * 3600 - first % DAY) % DAY
    for alert, at in night:
        deliveries.append(
            a_delivery(alert, at, len(sent), state="digested", settled=morning, due=morning, reason="quiet-hours")
        )
    sent.append(
        a_message(
            morning,
            [alert for alert, _ in night],
            batch="quiet:2014",
            title=f"While it was quiet: {len(night)} alert{'s' * (len(night) > 1)}",
        )
    )


def _moved(row: SimulatedDelivery, place: dict[int, int]) -> SimulatedDelivery:
    import dataclasses

    return row if row.message is None else dataclasses.replace(row, message=place[row.message])
