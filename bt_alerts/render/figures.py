"""What a notebook shows of plain figures: health by channel, and statistics. They stay the mappings that they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from html import escape
from typing import Any

from bt_alerts.render.html import table

_CELL = 'style="text-align:left;vertical-align:top;padding-right:1em"'
_SOFT = "opacity:.65;font-size:85%"
#: Column of a channel's health, and its key.
_HEALTH = {
    "status": "status", "sent": "sent", "failed": "failed", "success": "success_rate", "waiting": "queue",
    "took (median)": "latency_p50", "took (95 %)": "latency_p95", "last error": "last_error",
}  # fmt: skip
_COLOURS = {"ok": "#2e7d32", "failing": "#b26a00", "disabled": "#c62828"}


class Health(dict[str, dict[str, Any]]):
    """Health by channel, as a table: a row for each channel."""

    def _repr_html_(self) -> str:
        head = "".join(f"<th {_CELL}>{name}</th>" for name in ("channel", *_HEALTH))
        rows = "".join(
            f"<tr><td {_CELL}><b>{escape(name)}</b></td>"
            + "".join(f"<td {_CELL}>{_health_cell(state, key)}</td>" for key in _HEALTH.values())
            + "</tr>"
            for name, state in self.items()
        )
        return f"<table><tr>{head}</tr>{rows}</table>" if rows else "No channel is configured: nothing is sent."


class Statistics(dict[str, Any]):
    """Totals, as a table: a row for each figure, those of a mapping in words."""

    def _repr_html_(self) -> str:
        rows = [(escape(name.replace("_", " ")), _words(name, value)) for name, value in self.items()]
        return table((name, words) for name, words in rows if words)


def _health_cell(state: Mapping[str, Any], key: str) -> str:
    if key == "status":
        word, why = str(state["status"]), str(state.get("disabled") or "")
        more = f'<div style="{_SOFT}">{escape(why)}</div>' if why else ""
        return f'<span style="color:{_COLOURS.get(word, "inherit")}">{escape(word)}</span>{more}'
    return _words(key, state.get(key))


def _words(name: str, value: Any) -> str:
    """A figure as HTML; nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key))} {_words('', n)}" for key, n in value.items() if n)
    if isinstance(value, list):  # messages by the hour, the newest last
        hours = [(row["hour"], row["sent"], row["failed"]) for row in value if row["sent"] or row["failed"]]
        return ", ".join(
            f"{hour:%H:%M} {sent:,}" + (f" ({failed:,} failed)" if failed else "") for hour, sent, failed in hours
        )
    if isinstance(value, float):
        unit = {"success_rate": " %"}.get(name, " s" if name.startswith("latency") else "")
        return f"{value:,.3g}{unit}" if unit != " %" else f"{value:.1f} %"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
