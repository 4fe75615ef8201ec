"""The frame around every page: who may see it, where one can go, and what is said where there is nothing to see."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import threading
import time
from collections.abc import Callable

import streamlit as st

from bt_alerts.dashboard import parts
from bt_alerts.dashboard.guard import guarded, live
from bt_alerts.dashboard.house import NoStore, house
from bt_alerts.dashboard.serve import password
from bt_alerts.errors import SettingsError, StoreError

#: Module, title and icon of each page, in the order of the menu.
PAGES = (
    ("overview", "Overview", ":material/monitor_heart:"),
    ("history", "History", ":material/history:"),
    ("live", "Live", ":material/stream:"),
    ("channels", "Channels", ":material/send:"),
    ("rules", "Rules", ":material/rule:"),
    ("simulate", "Simulate", ":material/fast_forward:"),
    ("performance", "Performance", ":material/speed:"),
)
#: What can be used while the settings are wrong, and is there to mend them.
MENDS = frozenset({"channels", "rules"})
PAUSE = 1.0  # seconds that a wrong password costs, for all who try


def show() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="bt_alerts", page_icon="🔔", layout="wide", initial_sidebar_state="auto")
    st.html(parts.STYLE)
    inside = _may_enter()
    pages = [
        st.Page(_page(name) if inside else _door, title=title, icon=icon, url_path=name, default=name == "overview")
        for name, title, icon in PAGES
    ]
    st.navigation(pages, position="top" if inside else "hidden").run()


def _page(name: str) -> Callable[[], None]:
    def draw() -> None:
        with guarded():
            if name not in MENDS and not _has_store():
                _wait_for_store()
                return
            importlib.import_module(f"bt_alerts.dashboard.views.{name}").show()

    draw.__name__ = name
    return draw


def _has_store() -> bool:
    try:
        return house().outbox is not None
    except (NoStore, SettingsError, StoreError):
        return False


@live(2.0)
def _wait_for_store() -> None:
    """Say what is missing until it is there."""
    _ = house().outbox
    st.rerun()


# ------------------------------------------------------------------------------------------------ password

_trying = threading.Lock()


def _may_enter() -> bool:
    wanted = password()
    return not wanted or st.session_state.get("let_in") == _token(wanted)


def _door() -> None:
    """Ask for the password, in place of any page."""
    st.title("bt_alerts")
    with st.form("door", border=False):
        given = st.text_input("Password", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Open", type="primary")
    if not asked:
        return
    wanted = _token(password())
    with _trying:  # one at a time, so that many guesses at once are not quicker
        right = hmac.compare_digest(_token(given), wanted)
        time.sleep(0.0 if right else PAUSE)
    if right:
        st.session_state["let_in"] = wanted
        st.rerun()
    st.error("That is not the password.")


def _token(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
