"""Failover before anything is sent: where a channel is disabled, its fallback takes what is urgent.

What fails only while it is sent is handed over by whoever sends it; see :mod:`bt_alerts.delivery.courier`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bt_alerts.rules.stage import Batch, Plan, Reason


def stand_ins(
    channels: Sequence[str], disabled: Collection[str], fallbacks: Mapping[str, str]
) -> dict[str, Reason | None]:
    """The channels that an urgent alert goes to; with a reason, those that it would not have gone to by itself.

    Args:
        channels: where it is to go, in order.
        disabled: channels that do not work.
        fallbacks: by channel, where what is urgent goes instead.
    """
    found: dict[str, Reason | None] = {}
    for name in channels:
        other = fallbacks.get(name) if name in disabled else None
        if other is None:
            found[name] = None
        elif other not in channels:
            found.setdefault(other, Reason.FAILED_OVER)
        else:
            found.setdefault(other, None)
    return found


def wait_of(plan: Plan, channel: str, now: float, failed_over: Reason | None) -> tuple[Batch, Reason | None]:
    """What an alert waits for on a channel, and why it waits or goes there; None where it goes at once, by itself.

    Args:
        plan: where and when.
        channel: one of those that it goes to.
        now: Unix seconds.
        failed_over: why it goes there.
    """
    batch = plan.batches.get(channel, Batch("", plan.due, reason=Reason.SCHEDULED))
    return batch, batch.reason if batch.due > now or batch.name else failed_over
