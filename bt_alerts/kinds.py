"""Every kind of event that Backtrader's hooks can tell of, with what happens to it unless settings say otherwise.

``on``: delivered. ``silent``: delivered without sound. ``record``: kept, not delivered. ``off``: not made.

Several kinds can tell of one action (an exit fill completes an order, closes a trade and closes a position). They share
an ``action``, and only the first of them that is ``on`` or ``silent`` is delivered; see :mod:`bt_alerts.rules.action`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from bt_alerts.alert import Alert, AlertType, Priority


class Setting(enum.StrEnum):
    """What happens to a kind of event."""

    ON = "on"
    SILENT = "silent"
    RECORD = "record"
    OFF = "off"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event: its alert type and priority, its setting by default, and a sentence for people."""

    name: str
    type: AlertType
    priority: Priority
    setting: Setting
    about: str


def _kinds() -> dict[str, Kind]:
    t, p, s = AlertType, Priority, Setting
    rows = [
        ("order.submitted", t.ORDER, p.INFO, s.RECORD, "an order went to the broker"),
        ("order.accepted", t.ORDER, p.INFO, s.RECORD, "the broker took an order"),
        ("order.partial", t.ORDER, p.LOW, s.ON, "a part of an order was filled"),
        ("order.completed", t.ORDER, p.MEDIUM, s.ON, "an order was filled"),
        ("order.canceled", t.ORDER, p.LOW, s.ON, "an order was cancelled"),
        ("order.expired", t.ORDER, p.LOW, s.ON, "an order ran out of time"),
        ("order.margin", t.ORDER, p.HIGH, s.ON, "an order failed for want of cash"),
        ("order.rejected", t.ORDER, p.HIGH, s.ON, "the broker refused an order"),
        ("trade.opened", t.TRADE, p.INFO, s.RECORD, "a trade began"),
        ("trade.closed", t.TRADE, p.MEDIUM, s.ON, "a trade ended, with its profit and why"),
        ("position.opened", t.POSITION, p.INFO, s.RECORD, "a position was opened"),
        ("position.closed", t.POSITION, p.INFO, s.RECORD, "a position was closed"),
        ("signal", t.SIGNAL, p.MEDIUM, s.ON, "the strategy called self.signal(...)"),
        (
            "signal.status",
            t.SIGNAL,
            p.INFO,
            s.RECORD,
            "a signal was executed, rejected, expired or cancelled",
        ),
        ("custom", t.CUSTOM, p.MEDIUM, s.ON, "the strategy called self.alert(...)"),
        ("strategy.started", t.STRATEGY, p.INFO, s.ON, "a run began"),
        ("strategy.armed", t.STRATEGY, p.LOW, s.ON, "a strategy went live: account, symbols, channels"),
        ("strategy.stopped", t.STRATEGY, p.LOW, s.ON, "a run ended, with its summary"),
        ("strategy.restarted", t.STRATEGY, p.LOW, s.ON, "a strategy is back, with what changed while it was away"),
        ("data.live", t.DATA, p.LOW, s.ON, "a feed is live"),
        ("data.delayed", t.DATA, p.LOW, s.RECORD, "a feed delivers delayed or historical bars"),
        ("data.disconnected", t.DATA, p.HIGH, s.ON, "a feed lost its connection"),
        ("data.other", t.DATA, p.LOW, s.RECORD, "a feed reported another state"),
        ("data.held", t.DATA, p.HIGH, s.ON, "a live feed yields bars that do not count as live"),
        ("data.silent", t.DATA, p.HIGH, s.ON, "a live feed yields no bars"),
        ("data.resumed", t.DATA, p.LOW, s.ON, "a feed that was silent yields bars again"),
        ("store.message", t.STORE, p.LOW, s.RECORD, "the broker's store said something"),
        ("error", t.ERROR, p.CRITICAL, s.ON, "an exception left the strategy"),
        ("interrupted", t.STRATEGY, p.HIGH, s.ON, "somebody pressed Ctrl-C, or the process was told to end"),
        ("channel.disabled", t.HEALTH, p.HIGH, s.ON, "a channel refused its credentials or its address is gone"),
        ("delivery.lost", t.HEALTH, p.HIGH, s.ON, "a channel could not deliver an alert, and gave it up"),
        ("settings.changed", t.HEALTH, p.INFO, s.RECORD, "the settings were changed and read again"),
        ("settings.broken", t.HEALTH, p.HIGH, s.ON, "the settings were changed and cannot be used; the old ones stay"),
        ("rule.broken", t.HEALTH, p.HIGH, s.ON, "a rule failed; alerts pass it until it is mended"),
        ("process.died", t.HEALTH, p.CRITICAL, s.ON, "the process of a strategy ended without closing anything"),
        ("worker.died", t.HEALTH, p.HIGH, s.ON, "the worker that delivers is gone, and alerts wait"),
        ("worker.recovered", t.HEALTH, p.MEDIUM, s.ON, "there is a worker again, and what waited is delivered"),
        ("outbox.trouble", t.HEALTH, p.HIGH, s.ON, "the store cannot be written; alerts wait in memory"),
        ("outbox.recovered", t.HEALTH, p.LOW, s.ON, "the store can be written again"),
        ("command", t.HEALTH, p.INFO, s.RECORD, "somebody asked for something in a chat; kept, and never sent"),
        ("report.daily", t.PERFORMANCE, p.LOW, s.ON, "the report of a day: return, trades, positions, drawdown"),
        ("report.weekly", t.PERFORMANCE, p.LOW, s.ON, "the report of a week, likewise"),
        ("log.critical", t.ERROR, p.CRITICAL, s.ON, "a logger that `AlertHandler` listens to said something critical"),
        ("log.error", t.ERROR, p.HIGH, s.ON, "the same of an error"),
        ("log.warning", t.ERROR, p.MEDIUM, s.ON, "the same of a warning"),
        ("log.info", t.ERROR, p.LOW, s.ON, "the same of anything else"),
        ("direct.trade", t.TRADE, p.MEDIUM, s.ON, "send_alert(...) was called"),
        ("direct.signal", t.SIGNAL, p.MEDIUM, s.ON, "send_strategy_signal(...) was called"),
        ("direct.error", t.ERROR, p.HIGH, s.ON, "send_error_alert(...) was called"),
        ("direct.market", t.MARKET, p.LOW, s.ON, "send_market_update(...) was called"),
        ("direct.custom", t.CUSTOM, p.MEDIUM, s.ON, "send_custom_alert(...) was called"),
    ]
    rows += _watches()
    return {row[0]: Kind(*row) for row in rows}


def _watches() -> list[tuple[str, AlertType, Priority, Setting, str]]:
    """A kind for each watch, and one that tells that it is over."""
    t, p = AlertType, Priority
    watches = [
        ("drawdown", t.RISK, p.HIGH, "the account fell from its peak"),
        ("position_drawdown", t.RISK, p.MEDIUM, "a position fell back from its best price"),
        ("daily_loss", t.RISK, p.HIGH, "the account lost in one day"),
        ("exposure", t.RISK, p.HIGH, "the positions together became a large share of the account"),
        ("position_risk", t.RISK, p.HIGH, "one position became a large share of the account"),
        ("losses", t.RISK, p.HIGH, "trades lost in a row"),
        ("margin", t.RISK, p.HIGH, "free cash became a small share of the account"),
        ("time_in_trade", t.RISK, p.MEDIUM, "a position has been open for long"),
        ("performance", t.PERFORMANCE, p.MEDIUM, "the return since the start reached a level"),
        ("milestone", t.MILESTONE, p.LOW, "the return since the start made another step"),
        ("price", t.PRICE, p.MEDIUM, "a price reached or crossed a level"),
        ("move", t.MARKET, p.MEDIUM, "a price moved far in a time, up or down"),
        ("rise", t.MARKET, p.MEDIUM, "a price rose far in a time"),
        ("fall", t.MARKET, p.MEDIUM, "a price fell far in a time"),
        ("volume", t.MARKET, p.MEDIUM, "the volume is a multiple of its average"),
        ("indicator", t.MARKET, p.MEDIUM, "a condition between indicators became true"),
    ]
    rows = []
    for name, type_, priority, about in watches:
        rows.append((f"watch.{name}", type_, priority, Setting.ON, f"{about} (`watch.levels`)"))
        if name != "milestone":
            rows.append((f"watch.{name}.back", type_, p.LOW, Setting.ON, f"`watch.{name}` is over"))
    rows.append(("watch.broken", t.HEALTH, p.HIGH, Setting.ON, "a watch cannot go on and was left out"))
    return rows


#: Every kind by name, in the order in which `bt-alerts check` lists them.
KINDS: dict[str, Kind] = _kinds()


_ORDER = (
    "order side size order_type price parent info status filled fill_size fill_price value commission position_size "
    "position_price close_reason pnl pnlcomm part_pnl trade_commission entry_price exit_price duration_seconds "
    "stop_price target_price trade direction trade_price trade_size bars"
)
_DATA: dict[AlertType, str] = {
    AlertType.ORDER: _ORDER,
    AlertType.POSITION: _ORDER,
    AlertType.TRADE: f"{_ORDER} action",  # send_alert(...) makes trades too
    AlertType.DATA: "status reason bars seconds since",
    AlertType.STORE: "message",
    AlertType.STRATEGY: (
        "symbols value parameters value_begin value_end bars trades won pnlcomm why account channels away_seconds "
        "last_sign ended changed positions orders"
    ),
    AlertType.HEALTH: "channel address reason alert pid host strategies last_seen",
    AlertType.ERROR: "exception what traceback error_type context logger level place",
    AlertType.MARKET: "price change change_percent volume",
}
#: Of kinds whose type strategies use with data of their own.
_DATA_OF_KIND = {
    "report.daily": "report",
    "report.weekly": "report",
    "command": "user command allowed outcome channel",
}
_WATCH = (
    "watch value level back unit resolves worst peak account before price change from within average volume condition "
    "left right entry_price best size seconds bars cash reason"
)
_DATA_OF_KIND |= {kind: _WATCH for kind in KINDS if kind.startswith("watch.")}


def data_of(alert: str) -> frozenset[str] | None:
    """The keys that ``data`` of an alert can have.

    Args:
        alert: a kind, an alert type, or ``"all"``.

    Returns:
        None where it can have any, because strategies give it data of their own.
    """
    known = KINDS.get(alert)
    word = known.type.value if known and alert not in _DATA_OF_KIND else alert
    keys = {kind.value: text.split() for kind, text in _DATA.items()}
    keys |= {kind: text.split() for kind, text in _DATA_OF_KIND.items()}
    return frozenset(keys[word]) if word in keys else None


#: Kinds that tell of the end of what an earlier alert of the same thread told of.
RESOLVING = frozenset({"data.live", "data.resumed", "worker.recovered", "outbox.recovered"})


def resolves(alert: Alert) -> bool:
    """Whether an alert ends what an earlier one of its thread told of; ``data={"resolves": True}`` says so as well."""
    return bool(alert.thread) and (alert.kind in RESOLVING or alert.data.get("resolves") is True)


def setting_of(kind: str, events: Mapping[str, Setting]) -> Setting:
    """What happens to ``kind`` under these settings; a kind of the user's own is ``on``."""
    if kind in events:
        return events[kind]
    known = KINDS.get(kind)
    return known.setting if known else Setting.ON
