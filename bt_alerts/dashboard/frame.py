"""The frame around every page: who may see it, where one can go, and what is said where there is nothing to see."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import streamlit as st

from bt_alerts.dashboard import door, parts
from bt_alerts.dashboard.guard import guarded, live
from bt_alerts.dashboard.house import NoStore, house
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


def show() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="bt_alerts", page_icon="🔔", layout="wide", initial_sidebar_state="auto")
    st.html(parts.STYLE)
    inside = door.may_enter()
    pages = [
        st.Page(_page(name) if inside else door.ask, title=title, icon=icon, url_path=name, default=name == "overview")
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
