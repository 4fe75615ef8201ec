"""Simulate: what the phone would have got of a run, with the rules as they are and as one tries them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import streamlit as st

from bt_alerts.alert import Alert
from bt_alerts.dashboard import outcome, parts, reading, saving, trying
from bt_alerts.dashboard.house import House, house
from bt_alerts.dashboard.trying import Tried
from bt_alerts.errors import SettingsError
from bt_alerts.outbox import history
from bt_alerts.outbox.history import Query
from bt_alerts.settings import Settings
from bt_alerts.simulate import Outage, Simulation, figures, simulate
from bt_alerts.simulate.play import PHONE, is_midnight

MOST = 20_000  # alerts that are played, the newest
AT_ONCE = 1_500  # alerts that are played without being asked
KEPT = 6  # simulations of a visitor that are kept
PROPOSALS = 4
TRIAL = "The trial"
SPANS = {"24 hours": 86_400.0, "7 days": 604_800.0, "30 days": 2_592_000.0}
SEEN = {"nobody": None, "after 1 minute": 60.0, "after 5 minutes": 300.0, "after 30 minutes": 1800.0,
        "after 4 hours": 14_400.0}  # fmt: skip
STYLE = "<style>.st-key-rules_text textarea { font-family: monospace; font-size: .88rem; tab-size: 2 }</style>"
AWAY = {"1 hour": 3600.0, "4 hours": 14_400.0, "1 day": 86_400.0, "1 week": 604_800.0}


class Choice(NamedTuple):
    """What is played: how it is called, its query, how many alerts it has, and where it begins, in Unix seconds."""

    label: str
    run: str | None
    seconds: float
    alerts: int
    first: float


def show() -> None:
    """Draw it."""
    st.title("Simulate")
    parts.show_told()
    here = house()
    choice = _choice(here)
    if choice is None:
        return
    how = _conditions(here, choice)
    tried = _rules(here)
    if how is None:
        return
    _results(here, choice, how, tried)


# ------------------------------------------------------------------------------------------------ what is played


def _choice(here: House) -> Choice | None:
    version = reading.version(here.outbox)[0]
    runs = here.fresh("runs", reading.runs, seconds=30.0, version=version)
    if not version:
        st.info(
            "There is nothing to play yet. Run a strategy with `attach(cerebro)`, a backtest too: it is then offered "
            "here.",
            icon=":material/inbox:",
        )
        return None
    made = [
        Choice(
            f"{run.strategies or 'no strategy'} · {parts.when(run.first, here.zone)} · {run.alerts:,} alerts · "
            f"{'backtest' if run.backtest else 'live'}",
            run.id,
            0.0,
            run.alerts,
            run.first,
        )
        for run in runs
    ]
    now = time.time()
    made += [
        Choice(f"Everything of the last {name}", None, seconds, 0, now - seconds) for name, seconds in SPANS.items()
    ]
    place = st.selectbox(
        "Run", range(len(made)), format_func=lambda i: made[i].label, key="played", help="Runs that the store has"
    )
    chosen = made[place or 0]
    if chosen.run is None:
        query = Query(since=now // 60 * 60 - chosen.seconds, limit=MOST)
        chosen = chosen._replace(
            alerts=here.fresh(f"count {chosen.label}", lambda outbox: history.count(outbox, query), version=version)
        )
    return chosen


def _alerts(here: House, choice: Choice) -> list[Alert]:
    since = time.time() // 60 * 60 - choice.seconds if choice.run is None else None
    return list(history.alerts(here.outbox, Query(run=choice.run, since=since, limit=MOST)))


# -------------------------------------------------------------------------------------------------- conditions


def _conditions(here: House, choice: Choice) -> dict[str, Any] | None:
    """What the simulation takes for granted, as its arguments; None where something of it is wrong."""
    names = list(here.settings.channels) or [PHONE]
    with st.expander("Conditions", icon=":material/tune:"):
        left, right = st.columns(2)
        limits = left.toggle("Services refuse more than they document", value=True, key="limits")
        seen = right.selectbox("Acknowledged by", list(SEEN), format_func=_seen, key="seen")
        close = left.text_input(
            "The market closes at",
            key="close",
            placeholder="16:00 America/New_York",
            help="Bars of a day say midnight. With this they count when the market closes",
        ).strip()
        away = right.selectbox("Cannot be reached", ["none", *names], key="away", help="An outage of this channel")
        outages: tuple[tuple[str, str, float], ...] = ()
        if away != "none":
            since = left.text_input(
                "The outage begins", value=time.strftime("%Y-%m-%dT%H:%M", time.gmtime(choice.first)), key="away_since"
            )
            lasts = right.selectbox("and lasts", list(AWAY), key="away_lasts")
            outages = ((away, since.strip(), AWAY[lasts]),)
        st.markdown("Seconds from the request to the phone; empty for what is usual")
        columns = st.columns(min(4, len(names)))
        latency = tuple(
            (name, float(seconds))
            for number, name in enumerate(names)
            if (
                seconds := columns[number % len(columns)].number_input(
                    parts.escaped(name), 0.0, 3600.0, None, 0.5, key=f"latency {name}", placeholder="usual"
                )
            )
            is not None
        )
    how = {"limits": limits, "seen": SEEN[seen], "close": close, "outages": outages, "latency": latency}
    try:
        _arguments(how)
    except (ValueError, OverflowError) as exc:
        st.error(parts.escaped(f"{exc}."))
        return None
    return how


def _seen(word: str) -> str:
    return word if word == "nobody" else f"somebody, {word}"


def _arguments(how: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`bt_alerts.simulate.simulate` takes them. Raises ``ValueError`` where a time is none."""
    from bt_alerts.hours import read_moment
    from bt_alerts.simulate.services import unix

    if how["close"]:
        read_moment(how["close"])
    outages = []
    for channel, since, seconds in how["outages"]:
        begins = unix(since)
        outages.append(Outage(channel, begins, begins + seconds))
    return {
        "limits": how["limits"],
        "acknowledges": lambda alert: how["seen"],
        "close": how["close"] or None,
        "outages": outages,
        "latency": dict(how["latency"]),
    }


# ------------------------------------------------------------------------------------------------------- rules


def _rules(here: House) -> Tried | None:
    """The text area; what is tried, or None where it is what the settings are."""
    try:
        written = trying.in_file(here.file)
        as_is = trying.text_of(written)
    except SettingsError as exc:
        parts.sentences(exc.problems)
        return None
    if "rules_text" not in st.session_state:  # a widget's own is forgotten while another page is shown
        st.session_state["rules_text"] = st.session_state.get("tried_text", as_is)
    st.html(STYLE)
    with st.container(border=True):
        st.subheader("Rules", anchor=False)
        text = st.text_area(
            "Change rules here, as they stand in the settings file",
            key="rules_text",
            height=max(160, min(420, 40 + 24 * (2 + st.session_state["rules_text"].count("\n")))),
            placeholder="rules:\n  cooldown:\n    - every: 1h\n      when: {type: signal}",
            help="Ctrl+Enter, or leave the field: it is checked and played",
        )
        st.session_state["tried_text"] = text
        tried = trying.check(here.file, text)
        if tried.errors:
            st.error("This cannot be played yet:", icon=":material/error:")
            parts.sentences(f"{error}." for error in tried.errors)
        elif tried.warnings:
            parts.sentences(f"{warning}." for warning in tried.warnings)
        with st.container(horizontal=True):
            same = text.strip() == as_is.strip()
            st.button(
                "Begin again with the file",
                icon=":material/undo:",
                key="again",
                disabled=same,
                on_click=lambda: st.session_state.update(rules_text=as_is),
            )
            if st.button(
                "Take them into Rules",
                icon=":material/edit_note:",
                key="take",
                disabled=same or bool(tried.errors) or here.file is None,
                help="As an unsaved change of the settings, to be looked at and saved there",
            ):
                _take(tried)
        st.caption(
            "Events, routes, rules, quiet hours, digests, escalation and the batching of delivery. Nothing is written. "
            "Watches need bars, which a recorded run has no more: to change one, use "
            "`bt-alerts simulate --strategy FILE:CLASS`."
        )
    return None if same else tried


def _take(tried: Tried) -> None:
    """Put what is tried into the visitor's draft."""
    draft = saving.draft()
    if draft is None:
        return
    try:
        trying.put_blocks(draft.put, trying.blocks(draft.tree), tried.tree)
    except SettingsError as exc:
        parts.told(" ".join(f"{problem}." for problem in exc.problems), "")
    else:
        draft.version += 1
        parts.told("", "They stand in Rules now, as a change that is not saved yet.")
    st.rerun()


# ------------------------------------------------------------------------------------------------------ results


def _results(here: House, choice: Choice, how: Mapping[str, Any], tried: Tried | None) -> None:
    if not choice.alerts:
        st.info("There is no alert in this time. Choose a run, or a longer time.", icon=":material/search_off:")
        return
    settings = here.settings
    other = tried.settings if tried is not None and tried.settings is not None else None
    if other is not None and other.hash == settings.hash:
        other = None
    wanted = [each for each in (settings, other) if each is not None]
    missing = [each for each in wanted if _key(choice, how, each) not in _kept()]
    if missing and choice.alerts > AT_ONCE:
        n = min(choice.alerts, MOST)
        if not st.button(f"Play {n:,} alerts", type="primary", icon=":material/play_arrow:", key="play"):
            st.caption(f"That takes about {max(1, round(n * len(missing) / 400))} seconds.")
            missing_base = _key(choice, how, settings) not in _kept()
            if missing_base:
                return
            other = None
    if choice.alerts > MOST:
        st.caption(f"The newest {MOST:,} of {choice.alerts:,} alerts.")
    base = _played(here, choice, how, settings, _called(here))
    if base is None:
        return
    if how["close"] == "" and any(is_midnight(row.alert) for row in base.alerts[:50]):
        st.caption(
            "Bars of a day say midnight UTC, and so these messages do: say under *Conditions* when the market closes."
        )
    changed = _played(here, choice, how, other, TRIAL) if other is not None else None
    if changed is None:
        outcome.one(base)
    else:
        outcome.two(base.compare(changed))
    _proposals(changed or base)


def _called(here: House) -> str:
    return here.file.name if here.file is not None else "the environment"


def _key(choice: Choice, how: Mapping[str, Any], settings: Settings) -> tuple[Any, ...]:
    return choice.run or choice.label, choice.alerts, repr(sorted(how.items())), settings.hash


def _kept() -> dict[tuple[Any, ...], Simulation]:
    found: dict[tuple[Any, ...], Simulation] = st.session_state.setdefault("simulated", {})
    return found


def _played(here: House, choice: Choice, how: Mapping[str, Any], settings: Settings, called: str) -> Simulation | None:
    """The simulation, which is made once for a visitor."""
    kept, key = _kept(), _key(choice, how, settings)
    if key not in kept:
        bar = st.progress(0.0, parts.escaped(f"Playing {called} …"))
        try:
            made = simulate(
                _alerts(here, choice), settings, name=choice.label, config=called, progress=_moving(bar, called),
                **_arguments(how),
            )  # fmt: skip
        except (ValueError, SettingsError) as exc:
            st.error(parts.escaped(f"{exc}."))
            return None
        finally:
            bar.empty()
        kept[key] = made
        for old in list(kept)[:-KEPT]:
            del kept[old]
    return kept[key]


def _moving(bar: Any, called: str) -> Callable[[int, int], None]:
    """Tells the browser of it ten times a second, not for each alert."""
    last = 0.0

    def moved(done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.1:
            last = now
            bar.progress(min(1.0, done / of) if of else 1.0, parts.escaped(f"Playing {called}: {done:,} of {of:,}"))

    return moved


def _proposals(simulation: Simulation) -> None:
    rows = simulation.noisiest(2 * PROPOSALS).to_dict("records")
    st.subheader("To try")
    shown: set[str] = set()
    for row in rows:
        if not row["rule"] or row["rule"] in shown or len(shown) == PROPOSALS:
            continue
        shown.add(row["rule"])
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            about = " ".join(filter(None, (row["kind"], row["symbol"])))
            st.markdown(
                f"**{parts.escaped(about)}**, {figures.count(row['messages'], 'message')}. {parts.escaped(row['why'])}"
            )
            st.button(
                "Try it",
                icon=":material/science:",
                key=f"try {row['rule']}",
                help=parts.escaped(row["rule"]),
                on_click=functools.partial(_try, row["rule"]),
            )
    if not shown:
        st.caption("There is no rule that would halve any of these.")


def _try(rule: str) -> None:
    try:
        st.session_state["rules_text"] = trying.added(st.session_state.get("rules_text", ""), rule)
    except SettingsError as exc:
        parts.told(" ".join(f"{problem}." for problem in exc.problems), "")
