"""What the pages that change settings have in common: the visitor's draft, and the bar that saves or discards it."""

from __future__ import annotations

import streamlit as st

from bt_alerts.dashboard import parts
from bt_alerts.dashboard.draft import Draft
from bt_alerts.dashboard.house import house
from bt_alerts.errors import SettingsError

#: Blocks that a running strategy goes on without until its next start; the rest it reads within seconds.
_NEXT_START = ("store", "mode", "events", "delivery", "watch", "env_file", "history")
# Streamlit does not take what is typed as a password when Tab leads to the button that shows it: so there is none.
STYLE = """<style>
[data-testid="stTextInput"] button:is([aria-label="Show password"], [aria-label="Hide password"]) { display: none }
[data-testid="stMainBlockContainer"] *:has(> .st-key-bar) { position: sticky; top: 3.75rem; z-index: 90 }
.st-key-bar { padding: .5rem 0; background: Canvas; background: var(--st-background-color, Canvas) }
</style>"""


def draft() -> Draft | None:
    """This visitor's draft, or None where there is no settings file; that is said.

    Raises:
        SettingsError: where the file cannot be read.
    """
    path = house().file
    if path is None:
        st.info(
            "These settings come from the environment alone, so there is no file to change. "
            "`bt-alerts init alerts.yaml` writes one; then start `bt-alerts dashboard -c alerts.yaml`.",
            icon=":material/description:",
        )
        return None
    known: Draft | None = st.session_state.get("draft")
    if known is None or known.path != path:
        known = st.session_state["draft"] = Draft(path)
    known.keep_up()
    return known


def readable(changing: Draft) -> bool:
    """Whether there are blocks to show; where the file is no YAML just now, it is said what to do."""
    try:
        _ = changing.tree
    except SettingsError:
        st.info("Mend this line in an editor. Until then there is nothing that could be shown here.")
        st.button("Read it again", icon=":material/refresh:", on_click=changing.discard)
        return False
    return True


def bar(changing: Draft) -> None:
    """What is wrong, what is not saved yet, and the buttons for it."""
    st.html(STYLE)
    errors, warnings = changing.checked.errors, changing.checked.warnings
    if "saved" in st.session_state and not changing.changed:
        st.success(st.session_state["saved"], icon=":material/check:")
    if changing.changed:
        st.session_state.pop("saved", None)
        with st.container(key="bar", horizontal=True, vertical_alignment="center"):
            st.markdown("**Unsaved changes**", width="content")
            if st.button("Save", type="primary", icon=":material/save:", disabled=bool(errors), key="save"):
                _save(changing)
            if st.button("Discard", icon=":material/undo:", key="discard"):
                changing.discard()
                parts.told("", "Everything is as the file has it.")
                st.rerun()
        if changing.overtaken:
            st.warning(
                "The file was changed by somebody else meanwhile, so this cannot be saved. Discard it, and make your "
                "change once more."
            )
    if errors:
        what = "This keeps it from being saved" if changing.changed else "These settings cannot be used"
        st.error(f"{what}:", icon=":material/error:")
        parts.sentences(finding.sentence for finding in errors)
    if warnings:
        with st.expander(f"{len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}", icon=":material/info:"):
            parts.sentences(finding.sentence for finding in warnings)
    if changing.changed:
        with st.expander("What will be changed in the file", icon=":material/difference:"):
            _difference(changing)


def _difference(changing: Draft) -> None:
    try:
        shown = changing.difference()
    except SettingsError:
        return
    st.code(shown or "Nothing that may be shown here.", language="diff", wrap_lines=True)
    st.caption("Comments stay as they are. The version before is kept beside the file.")


def _save(changing: Draft) -> None:
    late = [name for name in _NEXT_START if changing.at(name) != changing.was(name)]
    try:
        changing.save()
    except SettingsError as exc:
        parts.told(" ".join(f"{problem}." for problem in exc.problems), "")
    else:
        done = "Saved. Running strategies and workers take it within seconds."
        if late:
            named = ", ".join(f"`{name}`" for name in late)
            done = f"Saved. What stands under {named} holds from the next start of each strategy and worker on."
        st.session_state["saved"] = done
    st.rerun()
