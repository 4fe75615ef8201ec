"""The log of deliveries as facts: a record of ``bt_alerts.courier`` for each settlement, to be taken apart.

The facts are attributes of the record. Their names begin with ``bt_``, so that they meet none of logging's own. No
address is among them, only what may be shown of it, and all of it passes :func:`~bt_alerts.redact.redact`. A formatter
that writes them as JSON is in docs/health.md.
"""

from __future__ import annotations

import logging
from typing import Any

from bt_alerts.delivery.channel import Channel
from bt_alerts.outbox.base import Claim, Settlement
from bt_alerts.redact import redact


def tell(log: logging.Logger, channel: Channel, claim: Claim, settlement: Settlement, took: float) -> None:
    """Log a settlement at INFO, with its facts.

    Args:
        log: where to.
        channel: whose delivery it is; its dispatcher knows what may be shown of the address.
        claim: what was tried.
        settlement: what became of it.
        took: seconds.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    known = facts(claim, settlement, label=_label(channel, claim.target), took=took)
    where = f"{known['bt_channel']} {known['bt_target']}".rstrip()
    why = f": {known['bt_detail']}" if known["bt_detail"] else ""
    log.info("%s: %s, %s in %.3f s%s", where, known["bt_outcome"], known["bt_state"], took, why, extra=known)


def facts(claim: Claim, settlement: Settlement, *, label: str, took: float) -> dict[str, Any]:
    """For ``extra=`` of a log call.

    Args:
        claim: what was tried.
        settlement: what became of it.
        label: what may be shown of the address.
        took: seconds.
    """
    return {
        "bt_channel": claim.channel,
        "bt_target": redact(label),
        "bt_alert": claim.alert.id,
        "bt_delivery": claim.key,
        "bt_attempt": claim.attempts + int(settlement.attempted),
        "bt_outcome": settlement.outcome,
        "bt_state": settlement.state.value,
        "bt_detail": redact(settlement.detail),
        "bt_took": took,
    }


def _label(channel: Channel, key: str) -> str:
    try:
        return next((target.label for target in channel.dispatcher.targets() if target.key == key), "")
    except Exception:  # a dispatcher's own fault, told where it costs something
        return ""
