"""The password: who may see anything, and the page that asks for it."""

from __future__ import annotations

import collections
import hashlib
import hmac
import threading
import time

import streamlit as st

from bt_alerts.dashboard.serve import password

PAUSE = 1.0  # seconds that a wrong password costs, for all who try from one address
_trying: collections.defaultdict[str, threading.Lock] = collections.defaultdict(threading.Lock)


def may_enter() -> bool:
    """Whether this visitor gave the password, or needs none."""
    wanted = password()
    return not wanted or st.session_state.get("let_in") == _token(wanted)


def ask() -> None:
    """Ask for it, in place of any page."""
    st.title("bt_alerts")
    with st.form("door", border=False):
        given = st.text_input("Password", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Open", type="primary")
    if not asked:
        return
    wanted = _token(password())
    with _trying[str(st.context.ip_address)]:  # one at a time, so that many guesses at once are not quicker
        right = hmac.compare_digest(_token(given), wanted)
        time.sleep(0.0 if right else PAUSE)
    if right:
        st.session_state["let_in"] = wanted
        st.rerun()
    st.error("That is not the password.")


def _token(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
