"""Inputs made from the models of the settings, so that what is declared once serves the file and the form alike.

A value goes into the draft as text, as it stands in the file, and what is empty is taken out. What is wrong with it is
said beneath its input, in the words of ``bt-alerts check``. An input whose key the environment gives cannot be changed.

No credential is ever sent to the browser: see :meth:`Form._secret`. Nor is the environment: ``${NAME}`` can be typed
where a credential belongs, which is not shown, and nowhere else.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from bt_alerts.dashboard import parts
from bt_alerts.dashboard.draft import Draft
from bt_alerts.dashboard.hidden import reference, secret_text
from bt_alerts.dashboard.parts import Cell
from bt_alerts.errors import SettingsError
from bt_alerts.redact import register_secret
from bt_alerts.settings.block import Block
from bt_alerts.settings.fields import as_list, block_in_list, choices, is_secret, member_of, plain
from bt_alerts.settings.file import Finding, literal
from bt_alerts.settings.layers import KeyPath, dotted
from bt_alerts.settings.reference import setting_row

#: Said where ``${NAME}`` is typed into an input that shows what it holds.
ONLY_IN_FILE = "`${…}` can be typed only where a credential belongs; write the value itself, or edit the file"

_YES, _NO = {"true", "yes", "on", "1", "y", "t"}, {"false", "no", "off", "0", "n", "f"}


_ACTIVE = re.compile(r"[\\*\[\]$<~]|(?<!\w)_|_(?!\w)|:(?=\w)")


def as_label(text: str) -> str:
    """Text as a widget's label, which is Markdown for the eye and plain for the ear: so few backslashes as can be."""
    return _ACTIVE.sub(lambda found: f"\\{found[0]}", " ".join(text.replace("`", "").split()))


class Field(NamedTuple):
    """One key of a block, as an input shows it."""

    path: KeyPath
    annotation: Any
    label: str
    help: str
    default: str
    required: bool
    offers: Mapping[str, str]


class Form:
    """Inputs for the blocks of a draft.

    Args:
        draft: what they change.
        offers: words that are offered for a key, each with what it is; others are taken too.
    """

    def __init__(self, draft: Draft, offers: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.draft = draft
        self._offers = offers or {}
        self._locked = draft.overridden()

    def key(self, *path: str | int) -> str:
        """A widget's key: what was typed there is forgotten when the draft is read anew."""
        return f"{self.draft.version}:{dotted(path)}"

    # Blocks ------------------------------------------------------------------------------------------

    def block(self, model: type[Block], path: KeyPath, keys: Iterable[str] | None = None) -> None:
        """An input for each key of a block, and what stands in it that is no key."""
        known = model.known_keys()
        for key in known if keys is None else keys:
            self.field(model, key, path)
        if keys is None:
            self.strangers(known, path)

    def strangers(self, known: Iterable[str], path: KeyPath) -> None:
        """Keys that nobody knows: they are wrong, and can only be taken out."""
        held = self.draft.at(*path)
        for key in sorted(held.keys() - set(known)) if isinstance(held, dict) else ():
            self.told(*path, key)
            self.remove_button(f"Remove {key}", (*path, key))

    def field(self, model: type[Block], key: str, path: KeyPath, offers: Mapping[str, str] | None = None) -> None:
        """The input for one key of a block."""
        field = model.model_fields[model.known_keys()[key]]
        row = setting_row(key, model, key)
        about = row.about
        named = key.replace("_", " ").capitalize()
        env = f" It can be given as `{row.env}` in the environment." if row.env else ""
        self.value(
            Field(
                path=(*path, key),
                annotation=field.annotation,
                label=as_label(f"{named}: {about}" if about else named),
                help=f"Write {parts.escaped(row.type)}; `{key}` in the file.{env}",
                default=row.default,
                required=field.is_required(),
                offers=self._offers.get(key, {}) if offers is None else offers,
            )
        )

    def value(self, field: Field) -> None:
        """The input for one value, by its type."""
        kind = plain(field.annotation)
        raw = self.draft.at(*field.path)
        within = kind if inspect.isclass(kind) and issubclass(kind, Block) else None
        if field.path in self._locked:
            st.text_input(
                field.label, key=f"{self.key(*field.path)}!", disabled=True, help=field.help,
                placeholder=f"set by the environment: {self._locked[field.path]}",
            )  # fmt: skip
        elif is_secret(field.annotation) or _holds_secret(raw):
            self._secret(field, raw)
        elif within is not None:
            self._inner(field, within)
            return
        elif (member := block_in_list(field.annotation)) is not None and issubclass(member, Block):
            self._inner_list(field, member)
            return
        elif typing.get_origin(kind) is dict:
            self._pairs(field, typing.get_args(kind)[1])
        elif typing.get_origin(kind) is list:
            self._list(field, raw)
        elif isinstance(raw, list | dict):
            st.markdown(f"**{field.label}**")
            self.remove_button("Remove what stands there", field.path)
        elif "${" in (raw or ""):
            self._text(field, raw)
        elif choices(field.annotation) or field.offers:
            self._choice(field, raw)
        elif kind is bool:
            self._bool(field, raw)
        else:
            self._text(field, raw)
        self.told(*field.path)

    def told(self, *path: str | int) -> None:
        """What is wrong with a key, beneath its input."""
        self._say(self.draft.findings(*path))

    def told_of(self, *path: str | int) -> None:
        """What is wrong with a block as a whole; what is wrong in it is said at its keys."""
        self._say(finding for finding in self.draft.findings(*path) if finding.path == path)

    def _say(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            mark, style = ("✕", "bad") if finding.level == "error" else ("▲", "warn")
            parts.line(Cell(f"{mark} {finding.said}", style))

    # Single values -----------------------------------------------------------------------------------

    def _text(self, field: Field, raw: str | None) -> None:
        key = self.key(*field.path)
        st.text_input(
            field.label, raw or "", key=key, help=field.help, placeholder=field.default,
            on_change=self._take_text, args=(field, key),
        )  # fmt: skip

    def _choice(self, field: Field, raw: str | None) -> None:
        key = self.key(*field.path)
        words = choices(field.annotation) or list(field.offers)
        known = {word.casefold(): word for word in words}.get((raw or "").casefold())
        if raw and known is None:
            words = [raw, *words]  # wrong, or the reader's own: shown as it is
        if not field.required:
            words = ["", *words]  # what was chosen can be given back
        nothing = f"{field.default} (default)" if field.default else "not given"
        chosen = known or raw or ""
        st.selectbox(
            field.label, words, words.index(chosen) if chosen in words else None, key=key, help=field.help,
            format_func=lambda word: f"{word}: {field.offers[word]}" if field.offers.get(word) else word or nothing,
            placeholder="choose",
            accept_new_options=bool(field.offers), on_change=self._take_text, args=(field, key),
        )  # fmt: skip

    def _bool(self, field: Field, raw: str | None) -> None:
        word = (raw or field.default).casefold()
        if word not in _YES | _NO:
            words = field._replace(annotation=typing.Literal["true", "false"])
            self._choice(words, raw)  # not given is a third answer; and what was written is no answer at all
            return
        key = self.key(*field.path)
        st.toggle(
            field.label, word in _YES, key=key, help=field.help, on_change=self._take_bool, args=(field, key)
        )  # fmt: skip

    def _take_text(self, field: Field, key: str) -> None:
        text = (st.session_state[key] or "").strip()
        if not self._refers(field, [text]):
            self.write(text or None, *field.path)

    def _refers(self, field: Field, texts: Iterable[str]) -> bool:
        """Whether one of them would show what the environment holds; then that is said, and nothing changes."""
        held = self.draft.at(*field.path)
        known = [held, *(held if isinstance(held, list) else as_list(held) or [] if isinstance(held, str) else [])]
        if not any("${" in text and text not in known for text in texts):
            return False
        parts.told(f"{field.path[-1]}: " + ONLY_IN_FILE, "")
        self.draft.version += 1
        return True

    def _take_bool(self, field: Field, key: str) -> None:
        word = "true" if st.session_state[key] else "false"
        given = self.draft.was(*field.path) is not None or word != field.default
        self.write(word if given else None, *field.path)

    # Several values ----------------------------------------------------------------------------------

    def _list(self, field: Field, raw: Any) -> None:
        key = self.key(*field.path)
        held = [str(member) for member in as_list(raw) or []] if not isinstance(raw, dict) else []
        words = choices(member_of(field.annotation)) or list(field.offers)
        st.multiselect(
            field.label, list(dict.fromkeys([*held, *words])), held, key=key, help=field.help,
            format_func=lambda word: f"{word}: {field.offers[word]}" if field.offers.get(word) else word,
            placeholder=field.default or ("choose" if words else "type, and press Enter"),
            accept_new_options=not choices(member_of(field.annotation)),
            on_change=self._take_list, args=(field, key, raw),
        )  # fmt: skip

    def _take_list(self, field: Field, key: str, raw: Any) -> None:
        members = [word.strip() for word in st.session_state[key] if word.strip()]
        one_line = not any("," in member for member in members) and (
            isinstance(raw, str) or (raw is None and len(members) == 1)
        )
        value = ", ".join(members) if one_line and members else members
        if self._refers(field, members):
            return
        self.write(value if members or field.required else None, *field.path)

    def _pairs(self, field: Field, annotation: Any) -> None:
        """Keys of the user's own, each with a value."""
        st.markdown(field.label, help=field.help)
        held = self.draft.at(*field.path)
        for name in held if isinstance(held, dict) else ():
            self.value(field._replace(path=(*field.path, name), annotation=annotation, label=as_label(name),
                                       default="", required=True))  # fmt: skip
            if not is_secret(annotation) or not held[name]:  # one that is set has a button of its own
                self.remove_button(f"Remove {name}", (*field.path, name))
        key = f"{self.key(*field.path)}+"
        st.text_input(
            as_label(f"New name for {field.path[-1]}"), key=key, placeholder="type, and press Enter",
            on_change=self._take_name, args=(field, key),
        )  # fmt: skip

    def _take_name(self, field: Field, key: str) -> None:
        name = st.session_state[key].strip()
        if name and self.draft.at(*field.path, name) is None:
            self.write("", *field.path, name)
        self.draft.version += 1

    # Blocks within -----------------------------------------------------------------------------------

    def _inner(self, field: Field, model: type[Block]) -> None:
        """A block within a block."""
        held = self.draft.at(*field.path)
        with st.expander(field.label, expanded=field.required):
            if isinstance(held, str | list):
                self.remove_button("Remove what stands there", field.path)
            self.block(model, field.path)
        self.told_of(*field.path)

    def _inner_list(self, field: Field, model: type[Block]) -> None:
        """Blocks within a block, in their order."""
        st.markdown(field.label, help=field.help)
        held = self.draft.at(*field.path)
        for number, _ in enumerate(held if isinstance(held, list) else ()):
            with st.container(border=True):
                st.markdown(f"**{number + 1}.**")
                self.block(model, (*field.path, number))
                with st.container(horizontal=True):
                    self.arrange(field.path, number, f"{field.path[-1]} {number + 1}")
        last = held[-1] if isinstance(held, list) and held else {}
        st.button(
            as_label(f"Add to {field.path[-1]}"), icon=":material/add:", key=f"{self.key(*field.path)}+",
            on_click=self.add, args=(field.path, dict(last)),
        )  # fmt: skip

    # Lists of blocks ---------------------------------------------------------------------------------

    def open(self, path: KeyPath | None) -> None:
        """Edit this block from now on, and no other; None for none."""
        st.session_state["open block"] = path

    def is_open(self, path: KeyPath) -> bool:
        """Whether this block is edited."""
        return bool(st.session_state.get("open block") == path)

    def arrange(self, path: KeyPath, number: int, named: str) -> None:
        """Buttons that move a block in its list, or take it out."""
        count = len(self.draft.at(*path))
        for word, icon, step in (("Up", "arrow_upward", -1), ("Down", "arrow_downward", 1)):
            st.button(
                word, icon=f":material/{icon}:", key=f"{self.key(*path, number)}:{word}",
                help=as_label(f"Move {named}"),
                disabled=not 0 <= number + step < count, on_click=self._move, args=(path, number, step),
            )  # fmt: skip
        self.remove_button("Remove", (*path, number), help_=as_label(f"Remove {named}"))

    def add(self, path: KeyPath, value: Mapping[str, Any]) -> None:
        """One more block at the end of a list."""
        held = self.draft.at(*path)
        self.write(value, *path, len(held) if isinstance(held, list) else 0)
        self.draft.version += 1

    def _move(self, path: KeyPath, number: int, step: int) -> None:
        held = list(self.draft.at(*path))
        held.insert(number + step, held.pop(number))
        self.write(held, *path)
        if self.is_open((*path, number)):
            self.open((*path, number + step))
        self.draft.version += 1

    def remove_button(self, label: str, path: KeyPath, help_: str | None = None) -> None:
        """A button that takes out what stands there."""
        st.button(
            parts.escaped(label), icon=":material/delete:", key=f"{self.key(*path)}-", help=help_,
            on_click=self.take_out, args=(path,),
        )  # fmt: skip

    def take_out(self, path: KeyPath) -> None:
        """Take out what stands there; what is left of a list counts anew."""
        self.write(None, *path)
        if isinstance(path[-1], int):
            self.open(None)
        self.draft.version += 1

    # Credentials -------------------------------------------------------------------------------------

    def _secret(self, field: Field, raw: Any) -> None:
        """An input that is always empty: what is typed goes into the draft, and only whether there is one is shown."""
        held = (
            raw if isinstance(raw, list) else as_list(raw) if typing.get_origin(plain(field.annotation)) is list else []
        )
        if typing.get_origin(plain(field.annotation)) is dict:
            self._pairs(field, typing.get_args(plain(field.annotation))[1])
            return
        several = typing.get_origin(plain(field.annotation)) is list
        typed = st.session_state.get(f"typed {self.key(*field.path)}", 0)
        key = f"{self.key(*field.path)}#{typed}"  # another each time, so that it begins empty again
        adds = several and bool(held) and not (len(held) == 1 and reference(held[0]))
        st.text_input(
            field.label, key=key, type="password", help=field.help, autocomplete="new-password",
            placeholder="adds one more" if adds else "leave it empty to keep what is there" if raw else "",
            on_change=self._take_secret, args=(field, key, list(held or []) if adds else None),
        )  # fmt: skip
        if several and len(held or []) > 1:
            for number, member in enumerate(held):
                self._standing(member, self.draft.was(*field.path, number), (*field.path, number), f"{number + 1}: ")
        else:
            self._standing(raw, self.draft.was(*field.path), field.path)

    def _standing(self, raw: Any, was: Any, path: KeyPath, number: str = "") -> None:
        if raw in (None, "", [], {}):
            st.caption("not set")
            return
        named = reference(raw).replace("`", "")
        words = f"taken from `{named}`" if named else "set in the file" if raw == was else "set, not saved yet"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{number}{words}")
            self.remove_button(f"Remove {number.rstrip(': ') or path[-1]}", path)

    def _take_secret(self, field: Field, key: str, others: Sequence[Any] | None) -> None:
        text = st.session_state[key].strip()
        if not text:
            return
        if not reference(text):
            register_secret(text)
            text = literal(text)
        elif not is_secret(field.annotation):  # what stands in an ordinary field is shown, once no credential is in it
            text = literal(text)
        self.write(text if others is None else [*others, text], *field.path)
        counter = f"typed {self.key(*field.path)}"
        st.session_state[counter] = st.session_state.get(counter, 0) + 1

    # -------------------------------------------------------------------------------------------------

    def write(self, value: Any, *path: str | int) -> None:
        """Put a value into the draft. What cannot be changed alone stays as it is, and that is said."""
        try:
            self.draft.put(value, *path)
        except SettingsError as exc:
            parts.told(" ".join(f"{problem}." for problem in exc.problems), "")
            self.draft.version += 1


def _holds_secret(raw: Any) -> bool:
    """Whether a credential stands where none should."""
    return any(isinstance(member, str) and secret_text(member) for member in (raw if isinstance(raw, list) else [raw]))
