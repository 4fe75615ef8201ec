"""Rules: what is watched, where alerts go, what is not told, when it is quiet, and what goes further."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st
from pydantic import ValidationError

from bt_alerts.dashboard import parts, saving
from bt_alerts.dashboard.draft import Draft
from bt_alerts.dashboard.form import Field, Form, as_label
from bt_alerts.dispatchers.registry import UnknownChannelType
from bt_alerts.kinds import KINDS, Kind, Setting
from bt_alerts.rules.base import KEY_FIELDS
from bt_alerts.settings import models, rules
from bt_alerts.settings.block import Block
from bt_alerts.settings.layers import KeyPath
from bt_alerts.settings.watches import WATCHES, WatchLevel

CHANGED = "what is set in the file"


class Blocks(NamedTuple):
    """A list of blocks: where it stands, the model of each, what it is for, and a block to begin with."""

    path: KeyPath
    model: type[Block]
    title: str
    about: str
    start: Mapping[str, Any]


def _noise(key: str, model: type[Block], title: str, start: Mapping[str, Any]) -> Blocks:
    about = rules.Rules.model_fields[key].description or ""
    return Blocks(("rules", key), model, title, about, start)


LEVELS = Blocks(("watch", "levels"), WatchLevel, "Levels", "told when a figure reaches its level, and when it is over",
                {"watch": "drawdown", "above": "10"})  # fmt: skip
ROUTES = Blocks(("routes",), rules.RouteBlock, "Routes",
                "which alerts go where, read top-down; what none takes goes to all channels",
                {"when": {"priority": "high"}, "to": "all"})  # fmt: skip
NOISE = (
    _noise("maintenance", rules.MaintenanceBlock, "Maintenance", {"hours": "22:00-23:00 sat"}),
    _noise("inhibit", rules.InhibitBlock, "Inhibit",
           {"cause": {"kind": "data.disconnected"}, "ends": {"kind": "data.live"}, "when": {"type": "data"}}),
    _noise("at_least", rules.AtLeastBlock, "At least", {"field": "pnlcomm", "least": "10"}),
    _noise("levels", rules.LevelBlock, "Levels of an alert's number", {"field": "pnlcomm", "above": "100"}),
    _noise("once_per_bar", rules.OncePerBarBlock, "Once per bar", {"when": {"type": "signal"}}),
    _noise("repeats", rules.RepeatsBlock, "Repeats", {"within": "1h"}),
    _noise("cooldown", rules.CooldownBlock, "Cooldown", {"every": "15m"}),
)  # fmt: skip
QUIET = Blocks(("quiet_hours",), rules.QuietBlock, "Quiet hours", "when which channel is quiet",
               {"hours": "22:00-07:00"})  # fmt: skip
DIGESTS = Blocks(("digests",), rules.DigestBlock, "Digests and reports",
                 "what goes in one message at set times, and reports", {"at": "18:00"})  # fmt: skip
ESCALATION = Blocks(("escalation",), rules.EscalationBlock, "Escalation",
                    "what goes further unless somebody acknowledges it",
                    {"when": {"priority": "critical"}, "steps": [{"after": "10m", "to": "all"}]})  # fmt: skip


def show() -> None:
    """Draw it."""
    st.title("Rules")
    parts.show_told()
    draft = saving.draft()
    if draft is None:
        return
    saving.bar(draft)
    if not saving.readable(draft):
        return
    form = Form(draft, _offers(draft))
    section = st.segmented_control(
        "Section", list(SECTIONS), default="Watches", key="section", label_visibility="collapsed"
    )
    SECTIONS[section or "Watches"](form)


def _offers(draft: Draft) -> dict[str, dict[str, str]]:
    """Words that are offered for keys: channels and their types, kinds of event, what tells alerts apart."""
    blocks = draft.at("alerts")
    channels = {
        name: str(block.get("type", name)) if isinstance(block, dict) else name
        for name, block in (blocks.items() if isinstance(blocks, dict) else ())
    }
    names = {"all": "every channel"} | dict.fromkeys([*channels, *channels.values()], "")
    apart = dict.fromkeys(KEY_FIELDS, "")
    kinds = {name: kind.about.replace("`", "") for name, kind in KINDS.items()}
    watches = {name: about.about.replace("`", "") for name, about in WATCHES.items()}
    return {
        "to": names, "channels": {name: about for name, about in names.items() if name != "all"}, "kind": kinds,
        "key": apart, "equal": apart, "watch": watches,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- sections


def _watches(form: Form) -> None:
    _list(form, LEVELS)
    st.subheader("Feeds and this machine", anchor=False)
    for key in models.Watch.known_keys():
        if key != "levels":
            form.field(models.Watch, key, ("watch",))
    form.strangers(models.Watch.known_keys(), ("watch",))


def _of(*lists: Blocks) -> Callable[[Form], None]:
    def draw(form: Form) -> None:
        for blocks in lists:
            _list(form, blocks)
        if lists is NOISE:
            form.strangers(rules.Rules.known_keys(), ("rules",))

    return draw


def _events(form: Form) -> None:
    """What happens to each kind of event."""
    st.caption("on: delivered · silent: delivered without sound · record: kept, not delivered · off: not made")
    types = list(dict.fromkeys(kind.type for kind in KINDS.values()))
    chosen = st.selectbox("Show", [CHANGED, *types, "all"], 1, key="events")
    held = form.draft.at("events")
    given = held if isinstance(held, dict) else {}
    shown = [
        kind for kind in KINDS.values() if chosen in ("all", kind.type) or (chosen == CHANGED and kind.name in given)
    ]
    if not shown:
        st.caption("None.")
    half = -(-len(shown) // 2)
    for column, kinds in zip(st.columns(2), (shown[:half], shown[half:]), strict=True):
        with column:
            for kind in kinds:
                form.value(_event_field(kind))
    form.strangers(KINDS, ("events",))


def _event_field(kind: Kind) -> Field:
    return Field(
        path=("events", kind.name),
        annotation=Setting,
        label=as_label(f"{kind.name}: {kind.about}"),
        help="",
        default=kind.setting.value,
        required=False,
        offers={},
    )


SECTIONS: Mapping[str, Callable[[Form], None]] = {
    "Watches": _watches,
    "Routes": _of(ROUTES),
    "Noise": _of(*NOISE),
    "Quiet hours": _of(QUIET),
    "Digests and reports": _of(DIGESTS),
    "Escalation": _of(ESCALATION),
    "Events": _events,
}


# ------------------------------------------------------------------------------------------ lists of blocks


def _list(form: Form, blocks: Blocks) -> None:
    draft, path = form.draft, blocks.path
    st.subheader(blocks.title, anchor=False)
    st.caption(blocks.about.replace("`", ""))
    held = draft.at(*path)
    if held is not None and not isinstance(held, list):
        form.told_of(*path)
        form.remove_button(f"Remove what stands under {path[-1]}", path)
        return
    for number, raw in enumerate(held or []):
        with st.container(border=True):
            _block(form, blocks, number, raw)
    st.button(
        f"Add to {blocks.title}", icon=":material/add:", key=f"add {path}", on_click=_add,
        args=(form, blocks, len(held or [])),
    )  # fmt: skip


def _add(form: Form, blocks: Blocks, number: int) -> None:
    form.add(blocks.path, blocks.start)
    form.open((*blocks.path, number))


def _block(form: Form, blocks: Blocks, number: int, raw: Any) -> None:
    here = (*blocks.path, number)
    open_ = form.is_open(here)
    named, words = in_words(blocks, number, raw)
    st.markdown(f"**{parts.escaped(named)}**" + (f"  \n{parts.escaped(words)}" if words else ""))
    if not open_:
        form.told(*here)
    with st.container(horizontal=True):
        st.button(
            "Close" if open_ else "Edit", icon=f":material/{'close' if open_ else 'edit'}:", key=f"edit {here}",
            help=as_label(f"Edit {named}"), on_click=form.open, args=(None if open_ else here,),
        )  # fmt: skip
        form.arrange(blocks.path, number, named)
    if open_:
        form.told_of(*here)
        if isinstance(raw, dict) or raw is None:
            form.block(blocks.model, here)


def in_words(blocks: Blocks, number: int, raw: Any) -> tuple[str, str]:
    """What a block is called, and what it does as ``bt-alerts check`` says it; nothing where it is not finished."""
    place = f"{blocks.path[-1]} {number + 1}"
    if not isinstance(raw, dict):
        return place, ""
    named = str(raw.get("name") or raw.get("watch") or place)
    try:
        made = blocks.model.model_validate(_without_nothing(raw))
    except (ValidationError, UnknownChannelType):
        return named, ""
    return named, _words(made, number + 1)


def _words(block: Block, number: int) -> str:
    if isinstance(block, WatchLevel):
        return f"{block.name(block.symbol if block.about.of_feed else '')}: {block.about.about.replace('`', '')}"
    if isinstance(block, rules.DigestBlock) and block.report:
        return "; ".join(report.words for report in block.reports(number))
    if isinstance(block, rules.QuietBlock | rules.DigestBlock | rules.EscalationBlock):
        rule: Any = block.rule(number, _as_named)
    else:
        rule = block.rule(number)  # type: ignore[attr-defined]  # every other block of a list has it
    return "; ".join(filter(None, [rule.about, rule.words]))


def _as_named(words: Sequence[str]) -> frozenset[str]:
    return frozenset(words)


def _without_nothing(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A block without the keys that nothing was written behind."""
    return {
        key: _without_nothing(value) if isinstance(value, Mapping) else value
        for key, value in raw.items()
        if value is not None
    }
