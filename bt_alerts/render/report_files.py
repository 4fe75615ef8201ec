"""What goes along with a report: ``equity.png``, ``report.pdf`` and ``trades.csv``, and what privacy leaves of them.

Privacy is kept in one place: :func:`shown` makes the report that a reader may see, and nothing else is drawn or
written. Amounts are money, prices and sizes; counts, names and times are none.

``percent_only``: no amount is left, and the curve shows percent. ``hide_amounts``: no percentage is left either, and
the curve is a line without a scale.

The two that are drawn are made by the drawing process (:mod:`bt_alerts.render.report_picture`). The table needs nothing
installed, so it goes along wherever files do.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.compose import no_formula
from bt_alerts.summary import local

PICTURE, DOCUMENT, TABLE = "equity.png", "report.pdf", "trades.csv"
CONTENT_TYPES = {PICTURE: "image/png", DOCUMENT: "application/pdf", TABLE: "text/csv"}

COLUMNS = (
    "time", "strategy", "symbol", "direction", "result", "size", "entry_price", "exit_price", "pnl", "trade_commission",
    "pnlcomm", "account_percent", "duration_seconds", "close_reason",
)  # fmt: skip
_AMOUNTS = frozenset({
    "net", "commission", "value_begin", "value_end", "drawdown", "size", "price", "entry_price", "exit_price", "pnl",
    "trade_commission", "pnlcomm",
})  # fmt: skip
_PERCENTAGES = frozenset({"return_percent", "drawdown_percent", "account_percent"})


def report_of(alert: Alert) -> Mapping[str, Any] | None:
    """The report that an alert tells of, where it has files; one without a closed trade has none."""
    report = alert.data.get("report") if alert.kind.startswith("report.") else None
    return report if isinstance(report, Mapping) and report.get("closed") else None


def shown(report: Mapping[str, Any], privacy: str = "off") -> dict[str, Any]:
    """The report as a reader may see it.

    Args:
        report: of :func:`~bt_alerts.summary.summary`.
        privacy: one of :data:`~bt_alerts.render.look.PRIVACY`.

    Returns:
        The same without what is hidden, and with the ``scale`` of its curve: ``money``, ``percent`` or nothing.
    """
    begin = report["value_begin"]
    if privacy == "off":
        return {**report, "scale": "money"}
    hidden = _AMOUNTS if privacy == "percent_only" else _AMOUNTS | _PERCENTAGES
    times, values = zip(*report["equity"], strict=True)
    if privacy == "percent_only" and begin is not None and begin > 0:
        scale, values = "percent", tuple(100 * (value / begin - 1) for value in values)
    else:
        low, high = min(values), max(values)
        scale, values = "", tuple((value - low) / ((high - low) or 1.0) for value in values)
    left = _without(report, hidden)
    equity = [list(point) for point in zip(times, values, strict=True)]
    return {**left, "equity": equity, "scale": scale}


def _without(value: Any, hidden: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(member, hidden) for key, member in value.items() if key not in hidden}
    if isinstance(value, list):
        return [_without(member, hidden) for member in value]
    return value


def trades_csv(report: Mapping[str, Any]) -> bytes:
    """The trades as a table, times in the report's zone; a column that privacy hides is left out.

    Args:
        report: of :func:`shown`.
    """
    trades: Sequence[Mapping[str, Any]] = report["trades"]
    known = set().union(*(trade.keys() for trade in trades))
    columns = [name for name in COLUMNS if name in known]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, extrasaction="ignore")
    writer.writeheader()
    for trade in trades:
        row = {name: no_formula("" if trade.get(name) is None else trade[name]) for name in columns}
        row["time"] = local(dt.datetime.fromisoformat(trade["time"]).timestamp(), report["zone"]).isoformat()
        writer.writerow(row)
    return table.getvalue().encode("utf-8", "replace")
