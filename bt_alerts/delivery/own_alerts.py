"""What bt_alerts tells of itself: an alert that is lost, a channel, a worker or a store that does not work.

Of a loss, and of a channel that is disabled, the other channels tell, because there it is read. What ends a trouble has
its thread, so that services show both together.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from typing import Any

from bt_alerts.alert import Alert, Priority, derived_id
from bt_alerts.kinds import KINDS

LOST = "delivery.lost"


def loss_of(
    alert: Alert, channel: str, channels: Collection[str], reason: str, *, expired: bool, now: float
) -> Alert | None:
    """The alert that tells of a loss; None where nobody is to be told.

    Where there is no other channel, one that expired, and was not refused, is told on the same one: it may work again.
    What is of little weight is only among the dead letters.

    Args:
        alert: what was not delivered.
        channel: on which channel.
        channels: names of all that are enabled.
        reason: why, in words.
        expired: it is only that its time ran out.
        now: Unix seconds.
    """
    others = [name for name in channels if name != channel] or (list(channels) if expired else [])
    if alert.kind == LOST or alert.priority < Priority.MEDIUM or not others:
        return None
    kind = KINDS[LOST]
    return Alert.make(
        f"{alert.title}\n{reason}\nAll of them: bt-alerts dead list",
        title=f"Channel {channel} could not deliver an alert",
        type=kind.type,
        kind=kind.name,
        priority=max(kind.priority, alert.priority),  # it stands for what was lost
        time=now,
        channels=others,
        data={"channel": channel, "reason": reason, "alert": alert.id},
        id=derived_id(now, kind.name, channel, alert.id),
    )


def disabled_of(channel: str, label: str, channels: Collection[str], reason: str, *, now: float) -> Alert:
    """The alert that tells that a channel, or one address of it, does not work any more.

    Args:
        channel: the channel's name.
        label: what may be shown of the address; empty where it is the whole channel.
        channels: names of all that are enabled.
        reason: why, in words.
        now: Unix seconds.
    """
    title = f"Channel {channel} cannot reach {label} any more" if label else f"Channel {channel} is disabled"
    # The channel's other addresses work, so it can tell of the one that does not.
    others = [name for name in channels if name != channel or label]
    kind = KINDS["channel.disabled"]
    return Alert.make(
        f"{reason}\nWhat waits for it is held, and goes on when its settings are mended and it is tested: "
        f"bt-alerts test {channel}",
        title=title,
        type=kind.type,
        kind=kind.name,
        priority=kind.priority,
        time=now,
        channels=others or None,
        data={"channel": channel, "address": label, "reason": reason},
        id=derived_id(now, kind.name, channel, label),
    )


def rule_broken(rule: str, fault: str, alert: Alert | None, *, now: float) -> Alert:
    """A rule failed.

    Args:
        rule: its name.
        fault: the kind of the exception.
        alert: what it failed on; None where it was no alert.
        now: Unix seconds.
    """
    what = (
        f"It failed with {fault} on {alert.title!r}, which went on without it."
        if alert is not None
        else (f"What it decided failed with {fault}.")
    )
    return _own(
        "rule.broken",
        f"The rule {rule} does not work",
        f"{what} What went wrong is in the log.\nUntil it is mended, alerts pass it: nothing is lost.",
        time=now,
        data={"rule": rule, "alert": alert.id if alert is not None else ""},
        id=derived_id(now, "rule.broken", rule),
    )


def worker_died(reason: str) -> Alert:
    """The worker that delivers is gone."""
    text = f"{reason}\nNothing is lost: alerts wait in the journal, and are delivered when there is a worker again."
    return _of_this_machine("worker.died", "The worker that delivers alerts is gone", text, data={"reason": reason})


def worker_recovered() -> Alert:
    """There is a worker again."""
    return _of_this_machine("worker.recovered", "There is a worker again", "What waited is being delivered.")


def store_trouble(reason: str) -> Alert:
    """The store cannot be written."""
    return _of_this_machine("outbox.trouble", "bt_alerts cannot write its store", reason)


def store_recovered() -> Alert:
    """The store can be written again."""
    text = "The store can be written again. What was accepted meanwhile is in it, or on its way."
    return _of_this_machine("outbox.recovered", "bt_alerts can write its store again", text)


def of_settings(kind: str, title: str, text: str) -> Alert:
    """The settings were read again, or cannot be."""
    return _own(kind, title, text)


def _of_this_machine(kind: str, title: str, text: str, **more: Any) -> Alert:
    return _own(kind, title, text, thread=f"{kind.partition('.')[0]}:{platform.node()}", **more)


def _own(kind: str, title: str, text: str, **more: Any) -> Alert:
    known = KINDS[kind]
    return Alert.make(text, title=title, type=known.type, kind=kind, priority=known.priority, **more)
