"""Channels: where alerts go. Add one, fill it in, try it, see what it would send, turn it off, remove it."""

from __future__ import annotations

import importlib
import inspect
import re
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from bt_alerts.dashboard import parts, saving
from bt_alerts.dashboard.draft import Draft
from bt_alerts.dashboard.form import Form, as_label
from bt_alerts.dashboard.house import House, NoStore, house
from bt_alerts.dashboard.parts import Cell
from bt_alerts.delivery.health import channel_health, took
from bt_alerts.delivery.preview import NOTHING, CannotPreview, previews
from bt_alerts.delivery.report import ChannelTest
from bt_alerts.dispatchers.registry import UnknownChannelType, channel_types, dispatcher_class
from bt_alerts.errors import SettingsError, StoreError
from bt_alerts.examples import example
from bt_alerts.kinds import KINDS
from bt_alerts.manager import AlertManager
from bt_alerts.settings.fields import as_list, is_secret
from bt_alerts.settings.models import ChannelSettings, channel_model

#: Keys of every channel that stand at the end of its form.
COMMON = ("rate_limit", "timeout", "fallback", "charts", "enable_batching", "batch_size", "batch_timeout")
_STATES = {"ok": Cell("● ok", "good"), "failing": Cell("▲ failing", "warn"), "disabled": Cell("■ disabled", "bad")}


def show() -> None:
    """Draw it."""
    st.title("Channels")
    parts.show_told()
    draft = saving.draft()
    if draft is None:
        _of_environment(house())
        return
    saving.bar(draft)
    if not saving.readable(draft):
        return
    here = house()
    blocks = draft.at("alerts")
    form = Form(draft, _offers(blocks))
    health = _health(here)
    names = list(blocks) if isinstance(blocks, dict) else []
    form.told_of("alerts")
    for name in names:
        with st.container(border=True):
            _channel(here, form, name, health.get(name, {}))
    if not names:
        st.info("There is no channel yet: alerts are recorded, and nothing is sent.", icon=":material/inbox:")
    _add(form, names)
    _only_in_environment(draft, names)


def _offers(blocks: Any) -> dict[str, dict[str, str]]:
    names = blocks if isinstance(blocks, dict) else {}
    return {"fallback": dict.fromkeys(names, "")}


def _health(here: House) -> Mapping[str, Mapping[str, Any]]:
    """How channels do; nothing where there is no store to ask."""
    try:
        rates = {name: float(channel.rate_limit) for name, channel in here.settings.channels.items()}
        return here.fresh("health", lambda outbox: channel_health(outbox, rates, time.time()), seconds=2.0)
    except (NoStore, StoreError, SettingsError):
        return {}


# ------------------------------------------------------------------------------------------------ one channel


def _channel(here: House, form: Form, name: str, health: Mapping[str, Any]) -> None:
    draft = form.draft
    block = draft.at("alerts", name)
    given = block if isinstance(block, dict) else {}
    channel_type = str(given.get("type", name))
    st.subheader(parts.escaped(name), anchor=False)
    known = draft.checked.settings.alerts.get(name) if draft.checked.settings is not None else None
    parts.line(*_standing(channel_type, known, health, given))
    try:
        model = channel_model(channel_type)
    except UnknownChannelType:
        form.told("alerts", name)
        _remove(form, name)
        return
    form.field(model, "enabled", ("alerts", name))
    open_, what = st.session_state.get("channel", ("", ""))
    with st.container(horizontal=True):
        for word, icon in (("Edit", "edit"), ("Test", "send"), ("Preview", "visibility")):
            shown = open_ == name and what == word
            if word == "Test":
                _test_button(here, draft, name)
                continue
            st.button(
                "Close" if shown else word, icon=f":material/{'close' if shown else icon}:", key=f"{word} {name}",
                help=as_label(f"{word} {name}"), on_click=_open, args=("", "") if shown else (name, word),
            )  # fmt: skip
        _remove(form, name)
    _tested(name)
    if open_ == name and what == "Edit":
        _edit(form, name, model)
    elif open_ == name:
        _preview(draft, name)
    else:
        form.told("alerts", name)


def _open(name: str, what: str) -> None:
    st.session_state["channel"] = (name, what)


def _standing(
    channel_type: str, channel: ChannelSettings | None, health: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    """What is known of a channel, in a few words each."""
    said: list[str] = [channel_type]
    if channel is not None and not channel.enabled:
        said.append("off")
    elif health:
        said.append(_STATES.get(health["status"], str(health["status"])))
        if health["disabled"]:
            said.append(str(health["disabled"]))
    if channel is not None:
        dispatcher, _ = channel.attempt()
        if dispatcher is not None:
            labels = [target.label for target in dispatcher.targets()]
            dispatcher.close()
            shown = "${…}" if _refers(given, type(channel)) else ", ".join(labels)
            said += [f"to {shown}"] if labels else []
        said.append(f"{channel.rate_limit} a minute" if channel.rate_limit else "no limit")
    return said


def _refers(given: Mapping[str, Any], model: type[ChannelSettings]) -> bool:
    """Whether what is no credential comes from ``${NAME}``: a target would be called by it, in full."""
    fields = {key: model.model_fields[name].annotation for key, name in model.known_keys().items()}
    texts = [
        text
        for key, value in given.items()
        if not is_secret(fields.get(key))
        for text in (value.values() if isinstance(value, dict) else as_list(value) or ())
    ]
    return any("${" in str(text) for text in texts)


def _edit(form: Form, name: str, model: type[ChannelSettings]) -> None:
    path = ("alerts", name)
    form.told_of(*path)
    basic, advanced = _keys(model)
    offers = {a.name: a.suggested for a in model.arguments}
    for key in basic:
        form.field(model, key, path, offers.get(key))
    with st.expander("More", icon=":material/tune:"):
        for key in (*COMMON, *advanced):
            form.field(model, key, path, offers.get(key))
    form.strangers(model.known_keys(), path)


def _keys(model: type[ChannelSettings]) -> tuple[list[str], list[str]]:
    """The keys of a type that everyone needs, and the rest: what is given by its name alone, and is no credential."""
    parameters = inspect.signature(inspect.unwrap(model.dispatcher_class.__init__)).parameters
    basic: list[str] = []
    advanced: list[str] = []
    for argument in model.arguments:
        if argument.name in ChannelSettings.model_fields:
            continue
        by_name = parameters[argument.name].kind is inspect.Parameter.KEYWORD_ONLY
        needed = argument.required or argument.credential or argument.env or not by_name
        (basic if needed else advanced).append(argument.name)
    return basic, advanced


def _remove(form: Form, name: str) -> None:
    with st.popover("Remove", icon=":material/delete:", help=as_label(f"Remove {name}")):
        st.markdown(
            f"Take **{parts.escaped(name)}** with all that is set for it out of the file? It goes with **Save**."
        )
        st.button(
            "Remove it", type="primary", key=f"{form.key('alerts', name)}-", on_click=form.take_out,
            args=(("alerts", name),),
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------- test, preview


def _test_button(here: House, draft: Draft, name: str) -> None:
    why = "Save first: what is tried is what stands in the file." if draft.changed else ""
    if st.button(
        "Test",
        icon=":material/send:",
        key=f"Test {name}",
        disabled=bool(why),
        help=why or as_label(f"Send a test through {name}"),
    ):
        with st.spinner(f"Sending a test through {parts.escaped(name)} …"):
            st.session_state["tested"] = _try(here, name)


def _try(here: House, name: str) -> ChannelTest:
    try:
        manager = AlertManager.for_worker(here.settings, delivers=False)
    except (SettingsError, StoreError) as exc:
        return ChannelTest(name, (), str(exc))
    try:
        return manager.test_channel(name)
    finally:
        manager.close(timeout=0.0)


def _tested(name: str) -> None:
    test: ChannelTest | None = st.session_state.get("tested")
    if test is None or test.channel != name:
        return
    if not test.results:
        parts.line(Cell("✕ It could not be sent", "bad"), test.problem or "it has no target")
    for each in test.results:
        wait = took(each.latency)
        if each.success:
            note = [] if each.reason == "delivered" else [each.reason]
            parts.line(Cell("✓ Arrived", "good"), each.target, wait, *note)
        else:
            parts.line(Cell("✕ Failed", "bad"), each.target, wait, each.reason)


def _preview(draft: Draft, name: str) -> None:
    words = list(KINDS)
    chosen = st.selectbox(
        "Example alert", words, words.index("trade.closed"), key=f"example {name}",
        format_func=lambda word: f"{word}: {KINDS[word].about}".replace("`", ""),
    )  # fmt: skip
    settings = draft.checked.settings
    if settings is None:
        st.info("It can be shown as soon as nothing is wrong with the settings.")
        return
    try:
        found = previews(settings, name, example(chosen))
    except (CannotPreview, SettingsError) as exc:
        st.warning(parts.escaped(str(exc)))
        return
    for each in found:
        parts.line(f"To {each.to}")
        if not each.requests:
            st.caption(NOTHING)
        for request in each.requests:
            st.code("\n".join([request.line, *request.headers, "", request.body]), language=None, wrap_lines=True)


# -------------------------------------------------------------------------------------------------- add


def _add(form: Form, names: list[str]) -> None:
    st.subheader("Add a channel", anchor=False)
    with st.form("add", border=True, clear_on_submit=True):
        chosen = st.selectbox("Type", channel_types(), None, format_func=_about_type, placeholder="choose a service")
        named = st.text_input("Name", placeholder="the type, unless you give another")
        if not st.form_submit_button("Add", icon=":material/add:"):
            return
    name = named.strip() or chosen or ""
    if not chosen:
        st.error("Choose a type.")
    elif name in names:
        st.error(parts.escaped(f"There is a channel {name} already: give this one another name."))
    else:
        block = {"enabled": "true"} if name == chosen else {"type": chosen, "enabled": "true"}
        form.write(block, "alerts", name)
        _open(name, "Edit")
        st.rerun()


def _about_type(channel_type: str) -> str:
    """A type and what it is, in a line."""
    try:
        found = dispatcher_class(channel_type)
    except UnknownChannelType:
        return channel_type
    text = inspect.getdoc(importlib.import_module(found.__module__)) or inspect.getdoc(found) or ""
    about = re.sub(r"\s*\(\S+\)|\s+\([^()]*https?:[^()]*\)", "", text.partition("\n\n")[0].replace("\n", " "))
    return f"{channel_type}: {about.rstrip('.')}"


# ---------------------------------------------------------------------------------------------- environment


def _of_environment(here: House) -> None:
    _table(here.settings.alerts)


def _only_in_environment(draft: Draft, names: list[str]) -> None:
    settings = draft.checked.settings
    others = {name: each for name, each in settings.alerts.items() if name not in names} if settings else {}
    if others:
        st.subheader("From the environment", anchor=False)
        st.caption("These stand in no file: their variables turn them on.")
        _table(others)


def _table(channels: Mapping[str, ChannelSettings]) -> None:
    if not channels:
        st.caption("No channel is configured.")
        return
    rows = []
    for name, channel in channels.items():
        dispatcher, problem = channel.attempt()
        labels = ", ".join(target.label for target in dispatcher.targets()) if dispatcher is not None else ""
        missing = dispatcher.missing() if dispatcher is not None else problem
        rows.append([name, channel.type, "on" if channel.enabled else "off", labels, missing])
    parts.table(["Channel", "-Type", "State", "To", "Missing"], rows, about="Channels of the environment")
