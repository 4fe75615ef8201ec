"""What is said where there is nothing to show: settings that are wrong just now, a store that is not there or away."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator

import streamlit as st

from bt_alerts.dashboard import parts
from bt_alerts.dashboard.door import may_enter
from bt_alerts.dashboard.house import NoStore
from bt_alerts.errors import SettingsError, StoreError
from bt_alerts.redact import redact

log = logging.getLogger("bt_alerts.dashboard")


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Say what is wrong in place of what the block would have drawn."""
    try:
        yield
    except SettingsError as exc:
        st.error("The settings cannot be used just now. Mend them, or look at **Rules** and **Channels**.")
        parts.sentences(exc.problems)
    except NoStore as exc:
        st.info(parts.escaped(str(exc)), icon=":material/inbox:")
    except StoreError as exc:
        st.error(parts.escaped(f"{exc}."), icon=":material/database_off:")
    except ValueError as exc:  # of a row that is damaged, or of a newer version
        log.error("a page could not be drawn: %s: %s", type(exc).__name__, redact(exc))
        st.error(
            "Something in the store cannot be read: a row is damaged, or of a newer version. The log says more.",
            icon=":material/database_off:",
        )


def live(seconds: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A part of a page that draws itself anew every so many seconds, without the rest. Guarded, as pages are."""

    def decorate(draw: Callable[..., None]) -> Callable[..., None]:
        @st.fragment(run_every=seconds)
        @functools.wraps(draw)
        def drawn(*arguments: object) -> None:
            if not may_enter():  # the password was changed meanwhile
                st.rerun()
            with guarded():
                draw(*arguments)

        @functools.wraps(draw)
        def placed(*arguments: object) -> None:
            # On a slow machine Streamlit can take a part away that was just to be drawn anew, and put it back by its
            # number among its neighbours, in the place of the one below. Here it has no neighbour below, and the box
            # is never empty, so that it stays.
            with st.container():
                st.empty()
                drawn(*arguments)

        return placed

    return decorate
