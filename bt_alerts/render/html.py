"""What a notebook shows: an alert as a card, a manager as a summary with its latest alerts. Readable light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from bt_alerts.alert import Alert

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager

_LATEST = 10


def alert_card(alert: Alert) -> str:
    """One alert, with its priority's colour at the side."""
    style = alert.priority.style
    about = " · ".join(
        escape(word) for word in (alert.symbol, alert.strategy, alert.kind, f"{alert.time:%Y-%m-%d %H:%M} UTC") if word
    )
    return (
        f'<div style="border-left:4px solid {style.colour};padding:4px 10px;margin:4px 0;max-width:46em">'
        f"<b>{style.emoji} {escape(alert.title)}</b>"
        f'<div style="white-space:pre-wrap">{escape(alert.message)}</div>'
        f'<div style="opacity:.65;font-size:85%">{about}</div></div>'
    )


def manager_card(manager: AlertManager) -> str:
    """A manager: what it recorded and delivered, its channels, and the latest alerts."""
    from bt_alerts.outbox.history import Query

    figures = manager.get_statistics()
    health = manager.get_channel_health()
    by_type = ", ".join(f"{escape(name)} {n:,}" for name, n in sorted(figures["by_type"].items())) or "none yet"
    rows = [
        ("Alerts", f"{figures['alerts']:,} ({by_type})"),
        ("Recorded, not sent", f"{figures['recorded']:,}"),
        ("Delivered", f"{figures['deliveries']['delivered']:,}"),
        ("Pending", f"{figures['deliveries']['pending']:,}"),
    ]
    channels = ", ".join(f"{escape(name)}: {escape(state['status'])}" for name, state in health.items())
    rows.append(("Channels", channels or "none: nothing is sent"))
    latest = manager.alerts(Query(limit=_LATEST))
    return (
        '<div style="max-width:60em"><b>bt_alerts</b>'
        + table(rows)
        + (f"<b>Latest {len(latest)}</b>" if latest else "")
        + "".join(alert_card(alert) for alert in reversed(latest))
        + "</div>"
    )


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; both are HTML already."""
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:.65;padding-right:1em">{name}</td>'
        f'<td style="text-align:left">{value}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"
