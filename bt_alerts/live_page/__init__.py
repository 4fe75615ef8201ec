"""The live page: signals, positions, the account, strategies and errors as they happen, in a browser.

Its files stand here, because the dashboard shows the same page, fed from the outbox (:func:`embedded`).
``docs/live/`` publishes them together with Pusher's own script, for those who have Pusher.

What an event says is put on the page as text and never as markup; the page's policy forbids the rest. Secrets of this
process are masked. It asks nobody for anything: what is shown is what was given.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.pusher.events import events_of
from bt_alerts.redact import redact
from bt_alerts.render.look import Look
from bt_alerts.simulate.page_file import hashed
from bt_alerts.simulate.phone import embedded as as_json

SCHEMES = ("light", "dark")


def events(alerts: Iterable[Alert], look: Look | None = None) -> Iterator[dict[str, Any]]:
    """What a Pusher channel would have said of these alerts, as :func:`embedded` takes it.

    Args:
        alerts: the oldest first; all of them, for what became of a signal is recorded and told to nobody. What several
            tell is on the page once.
        look: zone, templates and privacy; those of a channel with no settings by default.
    """
    look = look or Look()
    for alert in alerts:
        for event in events_of(alert, look.view(alert), hide=look.privacy != "off"):
            yield {"event": event.name, "data": event.data, "time": alert.time.isoformat()}


def embedded(events: Sequence[Mapping[str, Any]], *, scheme: str | None = None) -> str:
    """The page with these events in it: one HTML text that loads nothing and connects to nobody.

    Args:
        events: ``{"event": name, "data": {...}, "time": ISO 8601}``, the oldest first.
        scheme: ``"light"`` or ``"dark"``; as the reader's system has it by default.

    Raises:
        ValueError: where the scheme is another.
    """
    if scheme not in {None, *SCHEMES}:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, or None, not {scheme!r}")
    css, js = _file("live.css"), _file("live.js")
    parts = {
        "script-src 'self'; style-src 'self'": f"script-src {hashed(js)}; style-src {hashed(css)}",
        "connect-src wss: ws://127.0.0.1:* ws://localhost:*": "connect-src 'none'",
        '<link rel="stylesheet" href="live.css">': f"<style>{css}</style>",
        '<script src="live.js"></script>': f"<script>{js}</script>",
        '<html lang="en">': f'<html lang="en" data-scheme="{scheme}">' if scheme else '<html lang="en">',
        # Last, since nothing is looked for in what came from events.
        '<script src="pusher.min.js"></script>': (
            f'<script type="application/json" id="events">{redact(as_json(list(events)))}</script>'
        ),
    }
    html = _file("index.html")
    for mark, part in parts.items():
        html = html.replace(mark, part)
    return html


@functools.lru_cache(maxsize=4)
def _file(name: str) -> str:
    return (importlib.resources.files("bt_alerts.live_page") / name).read_text(encoding="utf-8")
