"""Pieces that several pages show. What an alert or a service said is shown as text, never as Markdown or HTML."""

from __future__ import annotations

import datetime as dt
import html
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from bt_alerts.alert import Priority
from bt_alerts.delivery.health import spell
from bt_alerts.delivery.report import why

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~:$&^=@])")

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 4.5rem; padding-bottom: 4rem; max-width: 80rem }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem } }
.bta-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem }
.bta-tiles div { border: 1px solid color-mix(in srgb, currentColor 20%, transparent); border-radius: .5rem;
  padding: .6rem .9rem }
.bta-tiles b { display: block; font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums }
table.bta { width: 100%; border-collapse: collapse; font-size: .92rem; margin: 0 }
table.bta th { text-align: left; font-weight: 600; opacity: .75; padding: .3rem .6rem .3rem 0; white-space: nowrap }
table.bta td { padding: .35rem .6rem .35rem 0; vertical-align: top; overflow-wrap: anywhere }
table.bta tr + tr td, table.bta tbody tr td { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent) }
table.bta td.n, table.bta th.n { text-align: right; padding-right: 1.1rem; font-variant-numeric: tabular-nums;
  white-space: nowrap }
.bta-good { color: #15803d } .bta-bad { color: #c02626 } .bta-warn { color: #a15c00 } .bta-dim { opacity: .7 }
@media (prefers-color-scheme: dark) {
  .bta-good { color: #4ade80 } .bta-bad { color: #ff8a8a } .bta-warn { color: #fbbf24 } }
@media (max-width: 640px) { table.bta .wide { display: none } }
</style>"""


def escaped(text: object) -> str:
    """As Markdown that says this, without links, pictures or signs; for what can be no HTML, such as a heading."""
    plain = " ".join(str(text).split()).replace(":material/", ":material\u200b/")
    return _MARKDOWN.sub(r"\\\1", plain)


def sentences(found: Iterable[str]) -> None:
    """Sentences below each other."""
    st.html(f"<ul>{''.join(f'<li>{html.escape(each)}</li>' for each in found)}</ul>")


def tiles(figures: Mapping[str, str]) -> None:
    """Large figures side by side, by what each counts; on a phone two in a row."""
    st.html(
        '<div class="bta-tiles">'
        + "".join(f"<div><b>{html.escape(value)}</b>{html.escape(name)}</div>" for name, value in figures.items())
        + "</div>"
    )


def line(*words: str) -> None:
    """A line of words, each with the colour of its :class:`Cell` if it is one."""
    st.html(f"<div>{' · '.join(map(_coloured, words))}</div>")


class Cell(str):
    """Text of a table's cell with a colour: ``good``, ``bad``, ``warn`` or ``dim``."""

    style: str

    def __new__(cls, text: object, style: str = "") -> Cell:
        """Make it."""
        made = super().__new__(cls, text)
        made.style = style
        return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, about: str) -> None:
    """A table that reads well on a phone.

    Args:
        columns: headings; one that begins with ``#`` holds numbers, one with ``-`` is left out on a phone.
        rows: cells of each row.
        about: what it shows, for who hears it.
    """
    kinds = [("n " if "#" in name[:2] else "") + ("wide" if "-" in name[:2] else "") for name in columns]
    head = "".join(
        f'<th scope="col" class="{kind}">{html.escape(name.lstrip("#-"))}</th>'
        for name, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, kinds))}</tr>" for row in rows)
    label = html.escape(about)
    st.html(f'<table class="bta" aria-label="{label}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _cell(value: object, kind: str) -> str:
    return f'<td class="{kind}">{_coloured(value)}</td>'


def _coloured(value: object) -> str:
    text = html.escape(str(value))
    return f'<span class="bta-{value.style}">{text}</span>' if isinstance(value, Cell) and value.style else text


# ------------------------------------------------------------------------------------------------- words


def when(at: dt.datetime | float | None, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """A time as the reader's clock shows it; without the day where that is today."""
    if at is None:
        return ""
    moment = (dt.datetime.fromtimestamp(at, dt.UTC) if isinstance(at, int | float) else at).astimezone(zone)
    clock = moment.strftime("%H:%M:%S" if seconds else "%H:%M")
    return clock if moment.date() == dt.datetime.now(zone).date() else f"{moment:%Y-%m-%d} {clock}"


def ago(at: dt.datetime | float) -> str:
    """How long that was ago."""
    return f"{spell(max(0.0, time.time() - (at if isinstance(at, int | float) else at.timestamp())))} ago"


def urgency(priority: Priority) -> str:
    """A priority's emoji and word."""
    return f"{priority.style.emoji} {priority.value}".strip()


def fate(decision: Mapping[str, Any]) -> str:
    """What was decided about an alert, in words."""
    reason = why(decision["reason"])
    return {
        "waiting": "not decided yet",
        "recorded": f"recorded: {reason}" if reason else "recorded",
        "suppressed": f"not sent: {reason}",
        "planned": "sent",
    }.get(str(decision["state"]), str(decision["state"]))


def told(problem: str, done: str) -> None:
    """Say at the next drawing what came of a click."""
    st.session_state["told"] = (problem, done)


def show_told() -> None:
    """What came of the last click."""
    problem, done = st.session_state.pop("told", ("", ""))
    if problem:
        st.error(escaped(problem))
    elif done:
        st.toast(escaped(done), icon=":material/check:")
