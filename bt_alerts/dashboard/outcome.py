"""What *Simulate* shows of one simulation or of two: figures, timelines, phones, what differs, the report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from bt_alerts.dashboard import embed, parts
from bt_alerts.dashboard.timelines import Bar, timelines
from bt_alerts.simulate import Simulation, figures
from bt_alerts.simulate.compare import Comparison
from bt_alerts.simulate.report import moment, report, tiles
from bt_alerts.simulate.svg import channel_series

SHOWN = 100  # differences in the table
MESSAGES = 25  # in the tables of both phones
REPORT = 3_000_000  # bytes of messages in the report's phones


def one(base: Simulation) -> None:
    """Under the rules as they are."""
    st.subheader("What the phone would have got")
    st.markdown(f"{parts.escaped(figures.sentence(base))}")
    parts.tiles({tile["words"]: tile["figure"] for tile in tiles(base.headline)})
    _timelines([base])
    what = _view(["Phone", "Not sent", "Report"])
    if what == "Phone":
        _phones([base])
    elif what == "Not sent":
        _not_sent([base])
    elif what == "Report":
        _report(lambda: report(base, REPORT), "simulation")


def two(both: Comparison) -> None:
    """Under the rules as they are, and as somebody tries them."""
    st.subheader("What the phone would have got")
    st.markdown(parts.escaped(figures.capital(both.sentence)))
    a, b = both.a.headline, both.b.headline
    pairs = {
        "messages": (a.messages, b.messages),
        "with sound": (a.loud, b.loud),
        "with sound at night": (a.at_night, b.at_night),
        "alerts kept back by a rule": (a.suppressed, b.suppressed),
    }
    parts.tiles({f"{words}, not {was:,}" if was != now else words: f"{now:,}" for words, (was, now) in pairs.items()})
    _timelines([both.a, both.b])
    what = _view(["Figures", "Differences", "Phone", "Not sent", "Report"])
    if what == "Figures":
        parts.table(
            ["", *(f"#{label}" for label in both.labels), "#Difference"],
            [[row.words, row.a, row.b, row.difference] for row in both.figures],
            about="Figures of both",
        )
    elif what == "Differences":
        _differences(both)
    elif what == "Phone":
        _phones([both.a, both.b])
    elif what == "Not sent":
        _not_sent([both.a, both.b])
    elif what == "Report":
        _report(lambda: both.report(REPORT), "comparison")


def _view(views: list[str]) -> str:
    chosen = st.segmented_control(
        "Show", views, default=views[0], key=f"view {len(views)}", label_visibility="collapsed"
    )
    return chosen or views[0]


def _timelines(simulations: Sequence[Simulation]) -> None:
    made = timelines(simulations)
    if not made.most:
        return
    colours = alt.Scale(domain=list(made.channels), range=[each.colour for each in channel_series(made.channels)])
    years = made.ends[1] - made.ends[0] > dt.timedelta(days=3 * 365)
    axis = alt.Axis(format="%Y", tickCount="year") if years else alt.Axis()
    for one, bars in zip(simulations, made.bars, strict=True):
        last = one is simulations[-1]
        st.markdown(f"**{parts.escaped(one.config)}**, messages a {made.unit}")
        ends = [Bar(end, end, bars[0].channel, 0, 0, 0) for end in made.ends] if bars else []  # the same for both
        chart = (
            alt.Chart(pd.DataFrame([*bars, *ends], columns=list(Bar._fields)))
            .mark_rect()
            .encode(
                x=alt.X("time:T", title=None, axis=axis),
                x2="until:T",
                y2="top:Q",
                y=alt.Y("above:Q", title=None, scale=alt.Scale(domain=[0, made.most]), axis=alt.Axis(tickMinStep=1)),
                color=alt.Color(
                    "channel:N", title=None, scale=colours, legend=alt.Legend(orient="bottom") if last else None
                ),
                tooltip=[alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), "channel:N", "messages:Q"],
            )
            .properties(height=190 if last else 150, description=f"{one.config}: messages a {made.unit}, by channel")
        )
        st.altair_chart(chart)


def _differences(both: Comparison) -> None:
    if not both.differences:
        st.caption("Every alert has the same fate.")
        return
    parts.table(
        ["When", "Alert", *both.labels],
        [[both.moment(row), row.alert.title, row.a, row.b] for row in both.differences[:SHOWN]],
        about="Alerts with another fate",
    )
    if len(both.differences) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(both.differences):,}.")
    st.download_button(
        "Download all as CSV",
        both.differences_frame().to_csv(index=False).encode(),
        file_name="differences.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _phones(simulations: Sequence[Simulation]) -> None:
    labels = [one.config for one in simulations] if len(simulations) > 1 else [""]
    for column, one, label in zip(st.columns(len(simulations)), simulations, labels, strict=True):
        with column:
            if label:
                st.markdown(f"**{parts.escaped(label)}**")
            if not one.messages:
                st.caption("Nothing would have come.")
                continue
            parts.table(
                ["When", "Message", "-Channel"],
                [
                    [
                        moment(one, row.time),
                        row.title + (" (no sound)" if row.silent else ""),
                        row.channel,
                    ]
                    for row in one.messages[: -MESSAGES - 1 : -1]
                ],
                about=f"The newest messages {label}",
            )
            if len(one.messages) > MESSAGES:
                st.caption(f"The newest {MESSAGES} of {len(one.messages):,}; the report has more.")


def _not_sent(simulations: Sequence[Simulation]) -> None:
    counts = [one.reasons for one in simulations]
    reasons = sorted({word for each in counts for word in each}, key=lambda word: -max(c.get(word, 0) for c in counts))
    if not reasons:
        st.caption("Everything was sent.")
        return
    labels = [f"#{one.config}" for one in simulations] if len(simulations) > 1 else ["#Alerts"]
    parts.table(
        ["Because", *labels],
        [[figures.capital(word), *(f"{each[word]:,}" if word in each else "" for each in counts)] for word in reasons],
        about="Why alerts were not sent",
    )


def _report(make: Callable[[], str], name: str) -> None:
    html = make()
    st.download_button(
        f"Download the report ({len(html) / 1024:,.0f} KB)",
        html.encode(),
        file_name=f"{name}.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )
    embed.frame(html, title=f"Report of the {name}", height=860, key=f"report {name}")
