"""Overview: is everything alive, what came lately, and what waits or was given up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from bt_alerts.dashboard import parts, reading
from bt_alerts.dashboard.house import House, house
from bt_alerts.dashboard.parts import Cell
from bt_alerts.delivery import standing
from bt_alerts.delivery.health import channel_health, problems, process_health
from bt_alerts.delivery.report import why
from bt_alerts.outbox.history import Query, newest
from bt_alerts.rules.expiry import ALL, DAY

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


@st.fragment(run_every=2.0)
def _now() -> None:
    """All that moves by itself."""
    here, now = house(), time.time()
    version = reading.version(here.outbox)
    health = here.fresh("health", lambda outbox: _health(here, outbox, now), seconds=2.0)
    _verdict(here, health, now)
    left, right = st.columns(2)
    with left:
        st.subheader("Strategies")
        _standing(here, "strategies", version, "No strategy has told anything yet. Add `attach(cerebro)` to one.")
        st.subheader("Feeds")
        _standing(here, "feeds", version, "No live feed has told anything yet.")
    with right:
        st.subheader("Channels")
        _channels(health, now)
        st.subheader("Workers")
        _processes(here, now)
    st.subheader("Alerts an hour")
    _chart(here, version, now)
    st.subheader("Last alerts")
    _latest(here)
    st.subheader("On their way")
    _pending(here)


def _health(here: House, outbox: Outbox, now: float) -> Mapping[str, Mapping[str, Any]]:
    rates = {name: float(channel.rate_limit) for name, channel in here.settings.channels.items()}
    return channel_health(outbox, rates, now)


def _verdict(here: House, health: Mapping[str, Mapping[str, Any]], now: float) -> None:
    found = problems(health, process_health(here.outbox.processes(), now), now)
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
        st.info(
            parts.escaped(f"Muted: {what}, until {parts.when(until, here.zone)}"), icon=":material/notifications_off:"
        )
    tiles = st.columns(4)
    delivered = sum(each["sent"] + each["digested"] for each in health.values())
    queued = sum(each["queue"] + each["held"] for each in health.values())
    tiles[0].metric("Alerts", f"{ledger.accepted:,}", border=True, help="Everything that the store ever took")
    tiles[1].metric("Delivered", f"{delivered:,}", border=True, help="Deliveries that arrived, alone or with others")
    tiles[2].metric("On their way", f"{queued:,}", border=True, help="Pending, or held until a channel works again")
    tiles[3].metric("Given up", f"{sum(each['dead_letters'] for each in health.values()):,}", border=True)


def _standing(here: House, what: str, version: Any, empty: str) -> None:
    ask = {"strategies": standing.strategies, "feeds": standing.feeds}[what]
    found = here.fresh(what, lambda outbox: ask(outbox, time.time()), seconds=30.0, version=version[0])
    if not found:
        st.caption(empty)
        return
    parts.table(
        [what[:-1].capitalize(), "State", "-Since"],
        [
            [
                each.name if each.name == each.strategy or not each.strategy else f"{each.name} ({each.strategy})",
                Cell(f"{'●' if each.good else '▲'} {each.word}", "good" if each.good else "warn"),
                parts.when(each.since, here.zone),
            ]
            for each in found
        ],
        about=f"How {what} stand",
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
                     parts.took(each["latency_p50"])])  # fmt: skip
    parts.table(["Channel", "State", "#Sent", "#Success", "#Queue", "#-Median"], rows, about="How channels do")


def _processes(here: House, now: float) -> None:
    found = process_health(here.outbox.processes(), now)
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
    frame = pd.DataFrame(
        {
            "hour": [
                pd.Timestamp(hour.begin, unit="s", tz="UTC").tz_convert(str(here.zone)).tz_localize(None)
                for hour in hours
            ],
            "sent": [hour.sent for hour in hours],
            "not sent": [hour.not_sent for hour in hours],
        }
    )
    st.bar_chart(frame, x="hour", y=["sent", "not sent"], height=200, x_label="", y_label="alerts")


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
    total, found = reading.pending(here.outbox)
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
                "held" if each.state == "held" else parts.when(each.due, here.zone, seconds=True),
                each.attempts,
                each.detail or why(each.reason),
            ]
            for each in found
        ],
        about="Deliveries that wait",
    )


# ------------------------------------------------------------------------------------------------- dead letters


def _dead() -> None:
    here = house()
    total, letters = reading.dead(here.outbox)
    if not letters:
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
    if st.button(f"Deliver all {total:,} after all", icon=":material/replay:"):
        life = here.settings.delivery.time_to_live.get(ALL, DAY)
        count = here.write(lambda outbox: outbox.retry_dead(None, time.time(), life))
        parts.told("", f"{count:,} dead letters are pending again.")
        st.rerun()
