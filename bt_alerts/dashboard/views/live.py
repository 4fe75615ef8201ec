"""Live: the live page of Pusher's events, fed from the store, for those who have no Pusher."""

from __future__ import annotations

import streamlit as st

from bt_alerts import live_page
from bt_alerts.dashboard import embed, parts, streaming
from bt_alerts.dashboard.guard import live
from bt_alerts.dashboard.house import house

HEIGHT = 1400


def show() -> None:
    """Draw it."""
    st.title("Live")
    here = house()
    runs = here.fresh("live runs", streaming.live_runs, seconds=5.0, version=streaming.newest(here.outbox))
    if not runs:
        st.info(
            "No strategy has run live with this store yet. Add `attach(cerebro)` to one and start it on a live feed; "
            "what it does is here a second later. A backtest is under **History** and **Simulate**.",
            icon=":material/stream:",
        )
        _wait()
        return
    chosen = runs[0]
    if len(runs) > 1:
        labels = {run.id: f"{run.strategies or 'no strategy'} · {parts.when(run.first, here.zone)}" for run in runs}
        known = st.selectbox(
            "Run",
            ["", *labels],
            format_func=lambda id_: labels.get(id_, "the newest"),
            key="live_run",
        )
        chosen = next((run for run in runs if run.id == known), runs[0])
    _page(chosen.id, chosen is runs[0])


@live(2.0)
def _wait() -> None:
    """Look again until there is a run."""
    here = house()
    if here.fresh("live runs", streaming.live_runs, seconds=5.0, version=streaming.newest(here.outbox)):
        st.rerun()


@live(1.0)
def _page(run: str, follow: bool) -> None:
    here = house()
    version = streaming.newest(here.outbox)
    told = here.fresh(
        f"live {run}",
        lambda outbox: streaming.told(outbox, run, here.settings),
        seconds=60.0,
        version=version,
    )
    if follow:
        runs = here.fresh("live runs", streaming.live_runs, seconds=5.0, version=version)
        if runs and runs[0].id != run and not st.session_state.get("live_run"):
            st.rerun()
    said = [told.strategies or "No strategy", f"last event {parts.ago(told.last)}" if told.last else "no event yet"]
    if told.valued is not None:  # it is no alert of its own, and can be old
        said.append(f"account of {parts.when(told.valued, here.zone)}")
    if told.alerts > streaming.MOST:
        said.append(f"the newest {streaming.MOST:,} alerts of {told.alerts:,}")
    st.caption(parts.escaped(f"{', '.join(said)}."))
    scheme = st.context.theme.type
    page = live_page.embedded([], scheme=scheme if scheme in live_page.SCHEMES else None)
    embed.frame(page, title="What happens live", height=HEIGHT, key=f"live-{run}", events=told.events)
