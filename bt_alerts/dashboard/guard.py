"""What is said where there is nothing to show: settings that are wrong just now, a store that is not there or away."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import streamlit as st

from bt_alerts.dashboard import parts
from bt_alerts.dashboard.house import NoStore
from bt_alerts.errors import SettingsError, StoreError


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


def live(seconds: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A part of a page that draws itself anew every so many seconds, without the rest. Guarded, as pages are."""

    def decorate(draw: Callable[..., None]) -> Callable[..., None]:
        @st.fragment(run_every=seconds)
        @functools.wraps(draw)
        def drawn(*arguments: object) -> None:
            with guarded():
                draw(*arguments)

        return drawn

    return decorate
