"""A whole page of ours within a page of the dashboard: the report of a simulation, the live page.

It stands in a frame that scrolls by itself, and its own policy goes on counting there: it runs its one script and loads
nothing. What is new is handed to the page that is open already, so nothing flickers and its place is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

#: `data.html` makes the frame anew where it changes; `data.events` goes to the live page within.
_SCRIPT = """
export default function ({ data, parentElement }) {
  let frame = parentElement.querySelector("iframe");
  const own = data.events !== null; // the live page: it is spoken to, and is as high as what it shows
  const fit = () => {
    const high = own ? frame.contentDocument?.body?.scrollHeight : 0;
    if (high) frame.style.height = `${high + 2}px`;
  };
  const tell = () => {
    if (!own || !frame.contentWindow?.btAlertsLive) return;
    const said = JSON.stringify(data.events);
    if (frame.told !== said) frame.contentWindow.btAlertsLive.show(data.events);
    frame.told = said;
    fit();
  };
  if (!frame || frame.given !== data.html) {
    frame?.remove();
    frame = document.createElement("iframe");
    frame.given = data.html;
    frame.title = data.title;
    frame.style.cssText = `display: block; width: 100%; height: ${data.height}px; border: 0; border-radius: .5rem`;
    // Not as srcdoc, in which a link to a place on the page would lead to the dashboard.
    frame.src = URL.createObjectURL(new Blob([data.html], { type: "text/html" }));
    parentElement.append(frame);
    if (own) new ResizeObserver(fit).observe(frame);
  }
  frame.onload = () => {
    URL.revokeObjectURL(frame.src);
    tell();
  };
  tell();
}
"""


def frame(html: str, *, title: str, height: int, key: str, events: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Show a page.

    Args:
        html: the page; one of ours, whose policy is in it. Nothing of an alert stands in it as markup.
        title: what it is, for who hears it.
        height: in pixels.
        key: of this frame.
        events: what the live page is to show.
    """
    data = {"html": html, "title": title, "height": height, "events": None if events is None else list(events)}
    component = st.components.v2.component("bt_alerts.frame", html="<div></div>", js=_SCRIPT, isolate_styles=False)
    component(data=data, key=key)
