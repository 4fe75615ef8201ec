"""History: find an alert, see its whole life, and answer it."""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.dashboard import parts, reading
from bt_alerts.dashboard.guard import live
from bt_alerts.dashboard.house import House, house
from bt_alerts.dashboard.parts import Cell
from bt_alerts.delivery.health import took
from bt_alerts.delivery.report import ChannelResult, DeliveryReport, report_of, why
from bt_alerts.outbox import history
from bt_alerts.outbox.base import AlertState
from bt_alerts.outbox.history import FORMATS, Query

PAGE = 200  # alerts that are shown
ANY = "any"
SNOOZES = {"15 minutes": 900.0, "1 hour": 3600.0, "4 hours": 14_400.0, "until tomorrow, 24 hours": 86_400.0}
SPANS = {
    "all time": 0.0,
    "last hour": 3600.0,
    "last 24 hours": 86_400.0,
    "last 7 days": 604_800.0,
    "last 30 days": 2_592_000.0,
}


def show() -> None:
    """Draw it."""
    st.title("History")
    parts.show_told()
    query = _filters(house())
    _list(query)
    _one()
    st.subheader("Export")
    _export(query)


# -------------------------------------------------------------------------------------------------- filters


def _filters(here: House) -> Query:
    text = st.text_input(
        "Search", placeholder="words of a title, a message, a symbol …", key="search", icon=":material/search:"
    )
    with st.expander("Filters", icon=":material/filter_list:"):
        known = here.fresh("choices", reading.choices, seconds=60.0, version=reading.version(here.outbox)[0])
        columns = st.columns(4)
        span = columns[0].selectbox("When", SPANS, key="span")
        type_ = columns[1].selectbox("Type", [ANY, *AlertType], key="type")
        at_least = columns[2].selectbox("Priority at least", [ANY, *Priority], key="priority")
        state = columns[3].selectbox("What became of it", [ANY, *AlertState], key="state")
        below = st.columns(3)
        symbol = below[0].selectbox("Symbol", [ANY, *known.symbols], key="symbol")
        strategy = below[1].selectbox("Strategy", [ANY, *known.strategies], key="strategy")
        run = below[2].text_input("Run", key="run", help="The id of a run, or `last`").strip()
    seconds = SPANS[span]
    return Query(
        type=_given(type_),
        symbol=_given(symbol),
        strategy=_given(strategy),
        run=run or None,
        since=time.time() - seconds if seconds else None,
        priority=_given(at_least),
        text=text or "",
        state=_given(state),
    )


def _given(value: str) -> str | None:
    return None if value == ANY else str(value)


# ----------------------------------------------------------------------------------------------------- list


@live(0.7)
def _list(query: Query) -> None:
    here = house()
    version = reading.version(here.outbox)
    words = repr((st.session_state["span"], query.text, *(getattr(query, name) for name in _NAMED)))
    found, fates = here.fresh(f"list {words}", functools.partial(_found, query), seconds=10.0, version=version)
    if not found:
        _empty(here, query)
        return
    frame = pd.DataFrame(
        {
            "When": [parts.when(alert.time, here.zone, seconds=True) for _, alert, _ in found],
            "Priority": [parts.urgency(alert.priority) for _, alert, _ in found],
            "Alert": [alert.title for _, alert, _ in found],
            "Symbol": [alert.symbol for _, alert, _ in found],
            "Strategy": [alert.strategy for _, alert, _ in found],
            "What became of it": [fates.get(seq) or parts.fate(decision) for seq, _, decision in found],
            "Seen": ["✓" if decision["acknowledged"] is not None else "" for _, _, decision in found],
        }
    )
    ids = [alert.id for _, alert, _ in found]
    key = f"list-{ids[0]}-{len(ids)}"
    st.dataframe(
        frame,
        hide_index=True,
        height=min(420, 38 + 35 * len(frame)),
        selection_mode="single-row",
        on_select=lambda: _select(ids, st.session_state[key].selection.rows),
        key=key,
    )
    st.caption(
        f"The newest {PAGE:,} that match; the export has all."
        if len(found) == PAGE
        else f"{len(found):,} alert{'s' if len(found) != 1 else ''}."
    )
    names = {alert.id: f"{seq} · {parts.when(alert.time, here.zone)} · {alert.title}" for seq, alert, _ in found}
    # It keeps its key, so that a list which somebody has open stays open when an alert comes.
    st.selectbox(
        "Open an alert",
        list(names),
        index=None,
        format_func=lambda id_: names.get(id_, id_),
        placeholder="Choose one here, or a row above",
        key="chosen",
        on_change=lambda: _open(st.session_state["chosen"]),
    )


_NAMED = ("type", "symbol", "strategy", "run", "priority", "state")


def _found(query: Query, outbox: Any) -> tuple[list[tuple[int, Alert, dict[str, Any]]], dict[int, str]]:
    found = history.newest(outbox, query, PAGE)
    return found, reading.fates(outbox, [seq for seq, *_ in found])


def _select(ids: list[str], rows: list[int]) -> None:
    if rows:
        st.session_state["chosen"] = ids[rows[0]]
        _open(ids[rows[0]])


def _open(id_: str | None) -> None:
    if id_ is not None:
        st.session_state["open"] = id_


def _empty(here: House, query: Query) -> None:
    if reading.version(here.outbox)[0]:
        st.info("No alert matches. Take away a filter, or a word of the search.", icon=":material/search_off:")
    else:
        st.info(
            'There is no alert yet. Run a strategy with these settings, or send one: `bt-alerts send "Hello"`.',
            icon=":material/inbox:",
        )


# ---------------------------------------------------------------------------------------------- one alert


@live(0.7)
def _one() -> None:
    id_ = st.session_state.get("open")
    if id_ is None:
        st.caption("Open an alert to see what rules decided, where it went and what was answered, and to answer it.")
        return
    here = house()
    row = next(iter(here.outbox.rows("SELECT seq, body FROM alerts WHERE id = ?", (id_,))), None)
    report = report_of(here.outbox, id_, attempts=True)
    if row is None or report is None:
        st.info("This alert is not in the store any more.")
        return
    alert = Alert.from_json(row[1])
    with st.container(border=True):
        st.subheader(parts.escaped(f"{alert.priority.style.emoji} {alert.title}"), anchor=False)
        if alert.message:
            st.text(alert.message)
        _answer(here, alert, report)
        _facts(here, alert, row[0], report)
        _decided(report)
        _deliveries(here, report)


def _answer(here: House, alert: Alert, report: DeliveryReport) -> None:
    seen, snooze, again = st.columns([1, 2, 1], vertical_alignment="bottom")
    if report.acknowledged is None:
        if seen.button("Acknowledge", icon=":material/check:", key="acknowledge", help="What is pending is cancelled"):
            _do(here.ask(lambda manager: manager.acknowledge(alert.id)), "Acknowledged.")
    else:
        seen.markdown(f":material/check: Acknowledged {parts.escaped(parts.when(report.acknowledged, here.zone))}")
    with snooze.container(horizontal=True, vertical_alignment="bottom"):
        span = st.selectbox("For how long", list(SNOOZES), key="snooze")
        if st.button("Snooze", icon=":material/snooze:", help="It comes again then, and what is pending waits"):
            until = time.time() + SNOOZES[span]
            _do(here.ask(lambda manager: manager.snooze(alert.id, until)), f"Snoozed for {span}.")
        if alert.symbol and st.button(
            f"Mute {parts.escaped(alert.symbol)}",
            icon=":material/notifications_off:",
            key="mute",
            help="Nothing of this symbol is sent for as long; it is recorded all the same",
        ):
            ends = time.time() + SNOOZES[span]
            _do(here.ask(lambda manager: manager.mute(symbol=alert.symbol, until=ends)), f"Muted {alert.symbol}.")
    if again.button("Send again", icon=":material/replay:", key="resend", help="Once more, to where it went"):
        _do(here.ask(lambda manager: manager.snooze(alert.id, time.time())), "It is sent again.")


def _do(problem: str, done: str) -> None:
    parts.told(problem, done)
    st.rerun()


def _facts(here: House, alert: Alert, seq: int, report: DeliveryReport) -> None:
    facts = [
        ("Happened", parts.when(alert.time, here.zone, seconds=True)),
        ("Priority", parts.urgency(alert.priority)),
        ("Type", f"{alert.type.value} · {alert.kind}"),
        ("Symbol", alert.symbol),
        ("Strategy", alert.strategy),
        ("Run", alert.run),
        ("Source", alert.source.value),
        ("Number, id", f"{seq} · {alert.id}"),
    ]
    facts += [(key, str(value)) for key, value in alert.data.items() if not isinstance(value, dict | list)]
    parts.table(["", ""], [row for row in facts if row[1]], about="The alert")


def _decided(report: DeliveryReport) -> None:
    st.markdown("**What rules decided**")
    by = f" (by {report.rule})" if report.rule else ""
    verdict = {"planned": "To be sent", "waiting": "Not decided yet"}.get(report.state, report.state.capitalize())
    st.markdown(parts.escaped(f"{verdict}{': ' + why(report.reason) if report.reason else ''}{by}."))
    if report.trail:
        parts.sentences(report.trail)


_WAITS = frozenset({"pending", "held"})


def _deliveries(here: House, report: DeliveryReport) -> None:
    if not report.results:
        return
    st.markdown("**Where it went**")
    for each in report.results:
        style = "good" if each.success else "warn" if each.state in _WAITS else "bad"
        rows = [[each.channel, each.target, Cell(each.state, style), took(each.latency), each.service_id, _said(each)]]
        parts.table(
            ["Channel", "-To", "State", "#Took", "-Message id", "Answer"], rows, about=f"Delivery by {each.channel}"
        )
        if each.trail:
            parts.table(
                ["#Attempt", "At", "#Took", "Outcome", "Answer", "-By"],
                [
                    [i, parts.when(attempt.time, here.zone, seconds=True), took(attempt.took), attempt.outcome,
                     attempt.detail, attempt.owner]
                    for i, attempt in enumerate(each.trail, 1)
                ],
                about=f"Attempts by {each.channel}",
            )  # fmt: skip


def _said(each: ChannelResult) -> str:
    return ": ".join(filter(None, [why(each.reason) if each.reason else "", each.detail]))


# ------------------------------------------------------------------------------------------------- export


def _export(query: Query) -> None:
    here = house()
    ending = (
        st.segmented_control("Format", [name.lstrip(".") for name in FORMATS], default="csv", key="format") or "csv"
    )
    if st.button("Make the file", icon=":material/description:", key="export"):
        bar = st.progress(0.0, "Reading …")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"alerts.{ending}"
            try:
                history.export(here.outbox, query, path, functools.partial(_moved, bar), why=True)
            except ValueError as exc:
                bar.empty()
                st.error(parts.escaped(f"{exc}."))
                return
            st.session_state["file"] = (path.name, path.read_bytes())
        bar.empty()
    if "file" in st.session_state:
        name, content = st.session_state["file"]
        stamp = dt.datetime.now(here.zone).strftime("%Y-%m-%d")
        st.download_button(
            f"Download {name} ({len(content) / 1024:,.0f} KB)",
            content,
            file_name=name.replace("alerts", f"alerts-{stamp}"),
            icon=":material/download:",
            on_click="ignore",
        )


def _moved(bar: Any, done: int, of: int) -> None:
    bar.progress(min(1.0, done / of) if of else 1.0, f"{done:,} of {of:,} alerts")
