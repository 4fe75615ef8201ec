"""Several alerts as one message: what waited, what is alike, the rest of a storm, the parts of an order."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence

from bt_alerts.alert import Alert, safe_text
from bt_alerts.compose import figure, number, shown


def digest(alerts: Sequence[Alert], batch: str = "") -> Alert:
    """Several alerts as one that lists them, the newest last; it takes the place of the first.

    Their times are left out: the reader's zone is not known here, and what a title says is what counts. Emoji tell only
    how the alerts differ, since a text message pays for each.

    Args:
        alerts: oldest first, two or more.
        batch: what gathered them, as in :mod:`bt_alerts.rules.batching`; empty for what waited for its service.
    """
    first = alerts[0]
    title, lines = _DIGESTS.get(batch.partition(":")[0], _waited)(alerts)
    symbols = {alert.symbol for alert in alerts}
    return first.replace(
        title=title,
        message=safe_text("\n".join(lines)),
        priority=max(alert.priority for alert in alerts),
        symbol=first.symbol if len(symbols) == 1 else "",
        data={"alerts": [alert.id for alert in alerts[:100]]},
        attachments=(),
        thread=first.thread if len({alert.thread for alert in alerts}) == 1 else "",
        bars=None,
    )


def _waited(alerts: Sequence[Alert]) -> tuple[str, list[str]]:
    """The most urgent first: a service that takes little text shows the beginning."""
    return f"{len(alerts)} alerts that waited", _titles(sorted(alerts, key=lambda alert: -alert.priority.rank))


def _titles(alerts: Sequence[Alert]) -> list[str]:
    mixed = len({alert.priority for alert in alerts}) > 1
    return [
        (f"{alert.priority.style.emoji} " if mixed else "")
        + alert.title
        + (f" ({alert.symbol})" if alert.symbol and alert.symbol not in alert.title else "")
        for alert in alerts
    ]


def _alike(alerts: Sequence[Alert]) -> tuple[str, list[str]]:
    """Whatever is alike: what differs is listed; the same line more than once is counted."""
    titles = {alert.title for alert in alerts}
    lines = _counted([alert.message.split("\n", 1)[0] or alert.title for alert in alerts])
    if len(titles) == 1:
        return f"{len(alerts)} × {alerts[0].title}", lines
    return f"{len(alerts)} alerts: {alerts[0].kind.replace('.', ' ')}", _counted(_titles(alerts))


def _similar(alerts: Sequence[Alert]) -> tuple[str, list[str]]:
    """The rest of a storm, whose first alerts went at once."""
    lines = _counted([alert.message.split("\n", 1)[0] or alert.title for alert in alerts])
    more = [f"… and {len(lines) - STORM_LINES} others"] if len(lines) > STORM_LINES else []
    return f"+{len(alerts)} similar: {alerts[0].title}", lines[:STORM_LINES] + more


def _fills(alerts: Sequence[Alert]) -> tuple[str, list[str]]:
    """The parts of one order: the newest tells how it stands, and before it what each part brought."""
    sizes = [(figure(alert.data.get("fill_size")), figure(alert.data.get("fill_price"))) for alert in alerts]
    parts = [(size, price) for size, price in sizes if size and price is not None]
    last = alerts[-1]
    lines = last.message.split("\n")
    total = sum(size for size, _ in parts)
    if total:
        average = sum(size * price for size, price in parts) / total
        lines += [f"{len(alerts)} parts: {number(total)} at {shown(average)} on average"]
    return f"{last.title} ({len(alerts)} parts)", lines


def _counted(lines: Sequence[str]) -> list[str]:
    return [f"{n} × {line}" if n > 1 else line for line, n in collections.Counter(lines).items()]


STORM_LINES = 10  # different lines that the message of a storm shows
_DIGESTS: Mapping[str, Callable[[Sequence[Alert]], tuple[str, list[str]]]] = {
    "fills": _fills,
    "similar": _similar,
    "batch": _alike,
}
