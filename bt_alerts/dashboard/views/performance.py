"""Performance: how long deliveries take, how many arrive, what they cost."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping

import altair as alt
import pandas as pd
import streamlit as st

from bt_alerts.compose import number
from bt_alerts.dashboard import measuring, parts
from bt_alerts.dashboard.guard import live
from bt_alerts.dashboard.house import House, house
from bt_alerts.dashboard.measuring import Figures, Measured
from bt_alerts.dashboard.parts import Cell
from bt_alerts.delivery.health import took
from bt_alerts.outbox.base import DeliveryState

SPANS = {"1 hour": 3600.0, "24 hours": 86_400.0, "7 days": 604_800.0, "30 days": 2_592_000.0}
ALL = "all channels"
EVERY = 10.0  # seconds after which it is read again
GOOD, FAIR = 99.0, 90.0  # percent that arrived
#: How deliveries end, in the words and the colours of the chart, from the bottom to the top.
ENDS = {
    "arrived": (("delivered", "digested"), "#2f9e77"),
    "failed over": (("failed-over",), "#c9a227"),
    "expired": (("expired",), "#e07b39"),
    "dead": (("dead",), "#c2413b"),
    "still open": (("pending", "held"), "#3b7dd8"),
    "cancelled": (("cancelled",), "#8c8c8c"),
}


def show() -> None:
    """Draw it."""
    st.title("Performance")
    span = st.segmented_control("Over the last", list(SPANS), default="24 hours", key="over") or "24 hours"
    _all(span)


@live(EVERY)
def _all(span: str) -> None:
    here = house()
    until = time.time()
    prices = measuring.prices(here.settings)
    found = here.fresh(
        f"measured {span}",
        lambda outbox: measuring.measure(outbox, until - SPANS[span], until, prices),
        seconds=EVERY - 1,
    )
    if not found.counted and not found.answers:
        st.info(
            "Nothing was delivered in this time. Choose a longer one above, or send something: "
            '`bt-alerts send "Hello"`, or the test button under **Channels**.',
            icon=":material/inbox:",
        )
        _money(here, found)
        return
    _tiles(found)
    _channels(found)
    chosen = st.selectbox("Charts and deliveries of", [ALL, *found.channels], key="of")
    shown = found.of(chosen) if chosen in found.channels else found
    _charts(here, shown)
    _slowest(here, shown)
    _money(here, found)
    _looked_at(found)


def _tiles(found: Measured) -> None:
    figures, lag = found.figures(), measuring.shares(found.lags)
    parts.tiles(
        {
            "deliveries planned": f"{figures.deliveries:,}",
            "of the ended ones arrived": _percent(figures.success),
            "half within, from the plan to the answer": took(figures.latency[0]) or "–",
            "95 % within": took(figures.latency[1]) or "–",
            "until half of the alerts are in the store": took(lag[0]) or "–",
            "until 95 % of them are": took(lag[1]) or "–",
        }
    )


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return (
        f"{share:.0f} %" if share in {0.0, 100.0} else f"{min(share, 99.99):.2f} %" if share > 99 else f"{share:.1f} %"
    )


def _channels(found: Measured) -> None:
    st.subheader("Channels")
    rows = [_row(name, found.of(name).figures()) for name in found.channels]
    parts.table(
        ["Channel", "#Deliveries", "#Arrived", "#p50", "#p95", "#p99", "#-Service p50", "#-Service p95", "#-Retries"],
        [row[:9] for row in rows],
        about="Deliveries by channel",
    )
    bad = [row for row in rows if any(row[9:])]
    if bad:
        st.markdown("**What did not arrive**")
        parts.table(
            ["Channel", "#Dead", "#Expired", "#Failed over", "#-Cancelled", "#Open"],
            [[row[0], *row[9:]] for row in bad],
            about="Deliveries that did not arrive, by channel",
        )
    st.caption(
        "p50, p95, p99: so many percent took no longer, from the plan (or the time that it was planned for) to the "
        "answer, retries included. Service: how long the service took for its answer."
    )


def _row(name: str, figures: Figures) -> list[object]:
    success, states = figures.success, figures.states
    style = "" if success is None else "good" if success >= GOOD else "warn" if success >= FAIR else "bad"
    open_ = sum(states.get(state, 0) for state in (DeliveryState.PENDING, DeliveryState.HELD))
    counts = [states.get(state, 0) for state in ("dead", "expired", "failed-over", "cancelled")]
    return [
        name,
        f"{figures.deliveries:,}",
        Cell(_percent(success), style),
        *map(took, figures.latency),
        *map(took, figures.answer[:2]),
        f"{figures.retries:,}",
        *(f"{n:,}" if n else "" for n in counts),
        f"{open_:,}" if open_ else "",
    ]


def _charts(here: House, found: Measured) -> None:
    points = found.points()
    if not points:
        return
    wall = [pd.Timestamp(point.at, unit="s", tz="UTC").tz_convert(str(here.zone)).tz_localize(None) for point in points]
    left, right = st.columns(2)
    with left:
        st.subheader("How long it took")
        rows = [
            {"time": at, "seconds": value, "what": what}
            for at, point in zip(wall, points, strict=True)
            for what, value in (("95 % within", point.p95), ("half within", point.p50))
            if value is not None
        ]
        if rows:
            st.altair_chart(_latencies(pd.DataFrame(rows)))
        else:
            st.caption("Nothing arrived in this time.")
    with right:
        st.subheader("How it ended")
        ends = {word: [_n(point.states, of) for point in points] for word, (of, _) in ENDS.items()}
        ends = {word: counts for word, counts in ends.items() if any(counts)}
        st.bar_chart(
            pd.DataFrame({"time": wall, **ends}),
            x="time",
            y=list(ends),
            color=[ENDS[word][1] for word in ends],
            height=240,
            x_label="",
            y_label="deliveries",
        )


def _latencies(frame: pd.DataFrame) -> alt.Chart:
    """Lines with points, so that one hour with deliveries is seen too."""
    colours = alt.Scale(domain=["95 % within", "half within"], range=["#e07b39", "#3b7dd8"])
    lines = alt.Chart(frame, height=240).mark_line(point=True)
    chart: alt.Chart = lines.encode(
        x=alt.X("time:T", title=None),
        y=alt.Y("seconds:Q", title="seconds"),
        color=alt.Color("what:N", title=None, scale=colours, legend=alt.Legend(orient="bottom")),
        tooltip=[alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "what:N", "seconds:Q"],
    )
    return chart


def _n(states: Mapping[str, int], words: tuple[str, ...]) -> int:
    return sum(states.get(word, 0) for word in words)


def _slowest(here: House, found: Measured) -> None:
    if not found.slowest:
        return
    st.subheader("The slowest")
    titles = measuring.titles(here.outbox, [each.alert for each in found.slowest])
    parts.table(
        ["#Took", "Alert", "Channel", "#-Attempts", "Planned"],
        [
            [
                took(each.took),
                titles.get(each.alert, f"number {each.alert}"),
                each.channel,
                each.attempts,
                parts.when(each.at, here.zone, seconds=True),
            ]
            for each in found.slowest
        ],
        about="The deliveries that took longest",
    )


# ------------------------------------------------------------------------------------------------------- money


def _money(here: House, found: Measured) -> None:
    caps = measuring.caps(here.outbox, here.settings, dt.datetime.now(dt.UTC))
    if not found.paid and not caps:
        return
    st.subheader("What it cost")
    if found.paid:
        parts.table(
            ["Channel", "#Segments", "#Price", "#Estimate"],
            [
                [
                    name,
                    f"{paid.segments:,}" if paid.segments else "",
                    ", ".join(f"{number(round(sum_, 4))} {unit}".strip() for unit, sum_ in paid.named.items()),
                    f"about {number(round(paid.estimated, 4))}" if paid.estimated else "",
                ]
                for name, paid in found.paid.items()
            ],
            about="Cost by channel",
        )
        st.caption("Price: what the service said. Estimate: segments without one, times the price of the settings.")
    for cap in caps:
        share = min(1.0, cap.spent / cap.most)
        st.progress(
            share,
            f"{parts.escaped(cap.channel)}: {cap.spent:,} of {cap.most:,} segments of this {cap.of} (UTC)"
            + ("; alerts wait for the next" if share >= 1 else ""),
        )


def _looked_at(found: Measured) -> None:
    said = f"{sum(each.n for each in found.counted):,} deliveries counted"
    if not found.whole:
        said += ", the newest of this time"
    said += f"; times of {len(found.latencies):,} of them"
    if found.every > 1:
        said += f", one of every {found.every}, spread over it"
    st.caption(f"{said}. Read again every {EVERY:.0f} seconds.")
