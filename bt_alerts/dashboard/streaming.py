"""What the live page is told of a run, from the store: the events that a Pusher channel would have sent.

Pusher gets what rules let through. Here one sees what the strategy did, so that a muted fill moves a position too; what
tells of the same action a second time is left out. Account updates are no alerts: what is known of the account is what
the newest alert says of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from bt_alerts import live_page
from bt_alerts.alert import Alert, Source
from bt_alerts.dashboard import reading
from bt_alerts.dashboard.reading import Run
from bt_alerts.dispatchers.pusher.events import shaped
from bt_alerts.kinds import Setting, setting_of
from bt_alerts.outbox.base import Outbox
from bt_alerts.render.look import Look
from bt_alerts.rules.stage import Reason
from bt_alerts.settings import Settings

MOST = 2_000  # of the newest alerts of a run
#: Recorded only, unless settings say otherwise, and yet an event of its own.
ALWAYS = frozenset({"signal.status"})
_AGAIN = (Reason.TOLD_BY_ACTION, Reason.DUPLICATE)
_EQUITY = ("account", "value_end", "value")  # where an alert says what the account is worth
_OF_ACCOUNT = frozenset({"strategy.started", "strategy.stopped", "strategy.armed"})  # whose `value` is the account's


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What the page is to show.

    Args:
        events: as :func:`bt_alerts.live_page.embedded` takes them.
        alerts: that the run has in all.
        strategies: whose run it is.
        last: when the newest event was, in Unix seconds; None without any.
        valued: when the account was worth what is shown; None where nothing is.
    """

    events: Sequence[dict[str, Any]]
    alerts: int
    strategies: str
    last: float | None
    valued: float | None


def newest(outbox: Outbox) -> int:
    """The number of the newest alert, which changes when there is another."""
    return int(next(iter(outbox.rows("SELECT coalesce(max(seq), 0) FROM alerts")))[0])


def live_runs(outbox: Outbox) -> list[Run]:
    """The newest runs that were live, the newest first."""
    return sorted((run for run in reading.runs(outbox) if not run.backtest), key=lambda run: -run.last)


def told(outbox: Outbox, run: str, settings: Settings) -> Told:
    """The events of a run, the oldest first.

    Args:
        outbox: the store.
        run: its id.
        settings: which kinds are recorded only, and how numbers and times are written.
    """
    found = [(Alert.from_json(body), reason) for body, reason in outbox.rows(_ALERTS, (run, MOST))][::-1]
    count = int(next(iter(outbox.rows(_HOW_MANY, (run,))))[0])
    shown = [alert for alert, reason in found if reason not in _AGAIN and _is_event(alert, settings)]
    look = Look({}, settings.templates.timezone, settings.privacy)
    events = list(live_page.events(shown, look))
    worth = account(alert for alert, _ in found) if settings.privacy == "off" else []
    names = sorted({alert.strategy for alert in shown if alert.strategy})
    last = max((alert.time.timestamp() for alert in shown), default=None)
    valued = worth[0]["time"].timestamp() if worth else None
    events += [{**each, "time": each["time"].isoformat()} for each in worth]
    return Told(events, count, ", ".join(names), last, valued)


def _is_event(alert: Alert, settings: Settings) -> bool:
    if alert.source is Source.HISTORY:
        return False
    return alert.kind in ALWAYS or setting_of(alert.kind, settings.events) not in {Setting.RECORD, Setting.OFF}


def account(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """The newest that is known of the account, as its event with a time; none where nothing is."""
    newest: dict[str, Any] = {}
    for alert in alerts:
        names = _EQUITY if alert.kind in _OF_ACCOUNT else _EQUITY[:1]
        worth = next((value for name in names if (value := _amount(alert.data.get(name))) is not None), None)
        if worth is not None and alert.source is not Source.HISTORY:
            newest = {"equity": worth, "timestamp": alert.time}
    return (
        [{"event": "account-update", "data": shaped("account-update", newest), "time": newest["timestamp"]}]
        if newest
        else []
    )


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


_ALERTS = "SELECT body, reason FROM alerts WHERE run = ? ORDER BY seq DESC LIMIT ?"
_HOW_MANY = "SELECT count(*) FROM alerts WHERE run = ?"
