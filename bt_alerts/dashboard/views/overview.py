"""Overview: is everything alive, what came lately, and what waits or was given up."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import streamlit as st

from bt_alerts.dashboard import parts, reading
from bt_alerts.dashboard.guard import live
from bt_alerts.dashboard.house import House, house
from bt_alerts.dashboard.parts import Cell
from bt_alerts.delivery import standing
from bt_alerts.delivery.health import channel_health, problems, process_health, took
from bt_alerts.delivery.report import why
from bt_alerts.delivery.standing import Standing
from bt_alerts.outbox.history import Query, newest

if TYPE_CHECKING:
    from bt_alerts.outbox.base import Outbox

LATEST = 10


def show() -> None:
    """Draw it."""
    st.title("Overview")
    parts.show_told()
    _now()
    st.subheader("Given up")
    _dead()


@live(2.0)
def _now() -> None:
    """All that moves by itself."""
    here, now = house(), time.time()
    version = reading.version(here.outbox)
    health = here.fresh("health", lambda outbox: _health(here, outbox, now), seconds=2.0)
    processes = process_health(here.outbox.processes(), now)
    _verdict(here, health, processes, now)
    runs, feeds = here.fresh("standing", _standing, seconds=30.0, version=version[0])
    left, right = st.columns(2)
    with left:
        st.subheader("Strategies")
        empty = "No strategy has run live yet: `attach(cerebro)` makes one tell. Backtests are under **History**."
        _stand(here, "Strategy", runs, empty)
        st.subheader("Feeds")
        _stand(here, "Feed", feeds, "No live feed has told anything yet.")
    with right:
        st.subheader("Channels")
        _channels(health, now)
        st.subheader("Workers")
        _processes(processes)
    st.subheader("Alerts an hour")
    _chart(here, version, now)
    st.subheader("Last alerts")
    _latest(here)
    st.subheader("On their way")
    _pending(here)


def _health(here: House, outbox: Outbox, now: float) -> Mapping[str, Mapping[str, Any]]:
    rates = {name: float(channel.rate_limit) for name, channel in here.settings.channels.items()}
    return channel_health(outbox, rates, now)


def _verdict(
    here: House, health: Mapping[str, Mapping[str, Any]], processes: Sequence[Mapping[str, Any]], now: float
) -> None:
    found = problems(health, processes, now)
    ledger = here.fresh("ledger", lambda outbox: outbox.ledger(), seconds=5.0)
    if not ledger.balanced:
        found.append("A ledger does not balance: please report it, with the output of `bt-alerts health --json`.")
    if found:
        st.warning(
            f"{len(found)} {'thing needs' if len(found) == 1 else 'things need'} a look", icon=":material/warning:"
        )
        parts.sentences(found)
    else:
        st.success("All is well", icon=":material/check_circle:")
    muted = standing.mutes(here.outbox, now)
    for selector, until in muted:
        what = ", ".join(f"{name} {value}" for name, value in selector.items())
        said = f"Muted: {what}, until {parts.when(until, here.zone)}"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(parts.escaped(said), icon=":material/notifications_off:")
            if st.button("End it", key=f"unmute {what}", help=parts.escaped(f"End the mute of {what}")):
                parts.told(_end_mute(here, selector), f"{what} is muted no more.")
                st.rerun()
    delivered = sum(each["sent"] + each["digested"] for each in health.values())
    queued = sum(each["queue"] + each["held"] for each in health.values())
    parts.tiles(
        {
            "alerts ever": f"{ledger.accepted:,}",
            "deliveries that arrived": f"{delivered:,}",
            "on their way": f"{queued:,}",
            "given up": f"{sum(each['dead_letters'] for each in health.values()):,}",
        }
    )


def _end_mute(here: House, selector: Mapping[str, str]) -> str:
    return here.ask(lambda manager: manager.mute(until=0.0, **selector))


def _standing(outbox: Outbox) -> tuple[list[Standing], list[Standing]]:
    now = time.time()
    runs = standing.strategies(outbox, now)
    return runs, standing.feeds(outbox, now, runs=runs)


def _stand(here: House, what: str, found: Sequence[Standing], empty: str) -> None:
    if not found:
        st.caption(empty)
        return
    parts.table(
        [what, "State", "-Since"],
        [
            [
                each.name if each.name == each.strategy or not each.strategy else f"{each.name} ({each.strategy})",
                Cell(f"{'●' if each.good else '▲'} {each.word}", "good" if each.good else "warn"),
                parts.when(each.since, here.zone),
            ]
            for each in found
        ],
        about=f"How each {what.lower()} stands",
    )


def _channels(health: Mapping[str, Mapping[str, Any]], now: float) -> None:
    if not health:
        st.caption("No channel is configured: alerts are recorded, and nothing is sent. Add one under **Channels**.")
        return
    styles = {"ok": ("● ", "good"), "failing": ("▲ ", "warn")}
    rows = []
    for name, each in health.items():
        mark, style = styles.get(each["status"], ("■ ", "bad"))
        rate = f"{each['success_rate']:.1f} %" if each["sent"] + each["failed"] else ""
        rows.append([name, Cell(mark + each["status"], style), f"{each['sent']:,}", rate, f"{each['queue']:,}",
                     took(each["latency_p50"])])  # fmt: skip
    parts.table(["Channel", "State", "#Sent", "#Success", "#Queue", "#-Median"], rows, about="How channels do")


def _processes(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        st.caption("No strategy and no worker uses this store just now.")
        return
    parts.table(
        ["Process", "#-Pid", "State", "Last seen"],
        [
            [
                f"{each['role']} on {each['host']}" if each["host"] else each["role"],
                each["pid"] or "",
                Cell("● alive", "good") if each["alive"] else Cell("■ gone", "bad"),
                parts.ago(each["seen"]),
            ]
            for each in found
        ],
        about="Processes that deliver or make alerts",
    )


def _chart(here: House, version: Any, now: float) -> None:
    hours = here.fresh("hours", lambda outbox: reading.alerts_by_hour(outbox, now), seconds=60.0, version=version[0])
    if not any(hour.sent + hour.not_sent for hour in hours):
        st.caption("None in the last 24 hours.")
        return
    rows = [
        {"hour": f"{dt.datetime.fromtimestamp(hour.begin, here.zone):%H:%M}", "alerts": count, "what": what}
        for hour in hours
        for what, count in (("sent", hour.sent), ("not sent", hour.not_sent))
    ]
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar()
    shown = chart.encode(
        x=alt.X("hour:O", sort=None, title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("alerts:Q", title=None, axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("what:N", title=None, sort=["sent", "not sent"], legend=alt.Legend(orient="top")),
        tooltip=["hour", "what", "alerts"],
    )
    st.altair_chart(shown.properties(height=230))


def _latest(here: House) -> None:
    found = newest(here.outbox, Query(), LATEST)
    if not found:
        st.caption('None yet. `bt-alerts send "Hello"` sends one through every channel.')
        return
    fates = reading.fates(here.outbox, [seq for seq, *_ in found])
    parts.table(
        ["When", "-Priority", "Alert", "-Symbol", "What became of it"],
        [
            [
                parts.when(alert.time, here.zone),
                parts.urgency(alert.priority),
                alert.title,
                alert.symbol,
                fates.get(seq) or parts.fate(decision),
            ]
            for seq, alert, decision in found
        ],
        about="The newest alerts",
    )


def _pending(here: House) -> None:
    total, found = reading.pending(here.outbox, LATEST)
    if not found:
        st.caption("Nothing waits.")
        return
    if total > len(found):
        st.caption(f"The first {len(found)} of {total:,}.")
    parts.table(
        ["Channel", "-To", "Alert", "Due", "#-Tries", "Why"],
        [
            [
                each.channel,
                each.label,
                each.title,
                _due(here, each),
                each.attempts,
                each.detail or why(each.reason),
            ]
            for each in found
        ],
        about="Deliveries that wait",
    )


def _due(here: House, each: reading.Waiting) -> str:
    if each.state == "held":
        return "held"
    return parts.when(each.due, here.zone, seconds=True) if each.due > time.time() else "now"


# ------------------------------------------------------------------------------------------------- dead letters


_ASKED = "deliver all"


@live(5.0)
def _dead() -> None:
    here = house()
    total, letters = reading.dead(here.outbox, LATEST)
    if not letters:
        st.session_state.pop(_ASKED, None)
        st.caption("There are no dead letters: everything arrived, or still can.")
        return
    if len(letters) < total:
        st.caption(f"The newest {len(letters)} of {total:,}.")
    parts.table(
        ["#Number", "-Given up", "Channel", "Alert", "Answer"],
        [
            [each.number, parts.when(each.settled, here.zone), each.channel, each.title, each.detail or each.state]
            for each in letters
        ],
        about="Dead letters",
    )
    what = f"{total:,} dead letter{'s' if total != 1 else ''}"
    if st.button("Deliver all", icon=":material/replay:"):
        st.session_state[_ASKED] = True
    if not st.session_state.get(_ASKED):
        return
    # Not in a popover: that stays where it opened when the page above it grows.
    st.markdown(f"Send {what} after all, however old?")
    with st.container(horizontal=True):
        if st.button("Deliver them", type="primary"):
            parts.told(here.ask(lambda manager: manager.retry_dead()), f"Pending again: {what}.")
            del st.session_state[_ASKED]
            st.rerun()
        if st.button("Leave them"):
            del st.session_state[_ASKED]
            st.rerun(scope="fragment")
