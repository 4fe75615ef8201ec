"""What a notebook shows of a delivery report: a row for each address, its attempts folded away below it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bt_alerts.delivery.report import Attempt, ChannelResult, ChannelTest, DeliveryReport

_COLOURS = {"delivered": "#2e7d32", "digested": "#2e7d32", "pending": "#b26a00", "held": "#b26a00"}
_FAILED = "#c62828"
_CELL = 'style="text-align:left;vertical-align:top;padding-right:1em"'


def report_card(report: DeliveryReport) -> str:
    """A report as HTML that is readable light and dark; nothing that an alert or a service said is taken for markup."""
    rows = "".join(_row(result) for result in report.results)
    head = "".join(f"<th {_CELL}>{name}</th>" for name in ("channel", "address", "state", "took", "tries", "answer"))
    return (
        f'<div style="max-width:60em"><b>{escape(report.title or "Alert")}</b> · {escape(report.summary)}'
        + _said(report.trail)
        + (f"<table><tr>{head}</tr>{rows}</table>" if rows else "")
        + f'<div style="opacity:.65;font-size:85%">{escape(report.alert_id)}</div></div>'
    )


def test_card(test: ChannelTest) -> str:
    """The test of a channel: whether each address took it, and what the service said."""
    cells = [("address", "result", "took", "answer")] + [
        (result.target, "arrived" if result.success else "failed", f"{result.latency:.3g} s", result.reason)
        for result in test.results
    ]
    rows = "".join("<tr>" + "".join(f"<td {_CELL}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    colour = _COLOURS["delivered"] if test.success else _FAILED
    word = "works" if test.success else "does not work"
    said = f"<div>{escape(test.problem)}</div>" if test.problem else ""
    return (
        f'<div style="max-width:60em"><b>{escape(test.channel)}</b> <span style="color:{colour}">{word}</span>{said}'
        + (f"<table>{rows}</table>" if test.results else "")
        + "</div>"
    )


def _row(result: ChannelResult) -> str:
    from bt_alerts.delivery.report import why

    colour = _COLOURS.get(result.state, _FAILED)
    answer = escape(result.detail) + _trail(result.trail)
    reason = f'<div style="opacity:.65;font-size:85%">{escape(why(result.reason))}</div>' if result.reason else ""
    cells = (
        escape(result.channel),
        escape(result.target),
        f'<span style="color:{colour}">{escape(result.state)}</span>{reason}',
        "" if result.latency is None else f"{result.latency:.3g} s",
        str(result.attempts),
        answer,
    )
    return "<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in cells) + "</tr>"


def _said(trail: Sequence[str]) -> str:
    """What rules had to say."""
    lines = "".join(f"<li>{escape(each)}</li>" for each in trail)
    return f'<ul style="opacity:.8;margin:.2em 0">{lines}</ul>' if lines else ""


def _trail(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return ""
    lines = "".join(
        f"<li>{each.time:%Y-%m-%d %H:%M:%S} UTC, {each.took:.3g} s: {escape(each.outcome)} {escape(each.detail)}</li>"
        for each in attempts
    )
    return f"<details><summary>attempts</summary><ol>{lines}</ol></details>"
