"""What is told when an alert is lost or a channel stops working: on the other channels, because there it is read."""

from __future__ import annotations

from collections.abc import Collection

from bt_alerts.alert import Alert, Priority, derived_id
from bt_alerts.kinds import KINDS

KIND = "delivery.lost"


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
    if alert.kind == KIND or alert.priority < Priority.MEDIUM or not others:
        return None
    kind = KINDS[KIND]
    return Alert.make(
        f"{alert.title}\n{reason}\nAll of them: bt-alerts dead list",
        title=f"Channel {channel} could not deliver an alert",
        type=kind.type,
        kind=kind.name,
        priority=kind.priority,
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
