"""What a formatter finds on the record of a settlement."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Sequence

import pytest
from store_kit import BUSY, SENT, T0, plan

from bt_alerts.alert import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.logs import tell
from bt_alerts.dispatchers.base import Context, Dispatcher, Receipt, Target
from bt_alerts.outbox.base import Outbox
from bt_alerts.redact import register_secret

log = logging.getLogger("bt_alerts.courier")


class Phone(Dispatcher):
    """A service with one address."""

    type = "phone"
    broken = False

    def targets(self) -> Sequence[Target]:
        if self.broken:
            raise RuntimeError("no targets just now")
        return [Target("anna", "anna@•••")]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        return Receipt()


def test_a_settlement_is_a_record_with_its_facts(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Phone()
    (target,) = dispatcher.targets()
    made = plan(outbox, f"phone/{target.key}")
    claim = outbox.claim("phone", "me", T0, 30.0, 0.0)
    assert claim is not None
    with caplog.at_level(logging.INFO, "bt_alerts.courier"):
        tell(log, Channel("phone", dispatcher), claim, SENT, 0.25)
    (record,) = caplog.records
    assert record.getMessage() == "phone anna@•••: sent, delivered in 0.250 s: HTTP 200"
    assert {name: value for name, value in vars(record).items() if name.startswith("bt_")} == {
        "bt_channel": "phone",
        "bt_target": "anna@•••",
        "bt_alert": made.id,
        "bt_delivery": claim.key,
        "bt_attempt": 1,
        "bt_outcome": "sent",
        "bt_state": "delivered",
        "bt_detail": "HTTP 200",
        "bt_took": 0.25,
    }


def test_the_record_has_no_secret_and_costs_nothing_where_nobody_reads_it(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    secret = secrets.token_hex(12)
    register_secret(secret)
    dispatcher = Phone()
    dispatcher.broken = True
    plan(outbox, "phone/gone")
    claim = outbox.claim("phone", "me", T0, 30.0, 0.0)
    assert claim is not None
    channel, settlement = Channel("phone", dispatcher), dataclasses.replace(BUSY, detail=f"POST /{secret}")
    with caplog.at_level(logging.WARNING, "bt_alerts.courier"):
        tell(log, channel, claim, settlement, 0.25)
    assert caplog.records == []
    with caplog.at_level(logging.INFO, "bt_alerts.courier"):
        tell(log, channel, claim, settlement, 0.25)
    assert caplog.records[0].getMessage() == "phone: retry, pending in 0.250 s: POST /•••"
    assert secret not in repr(vars(caplog.records[0]))
