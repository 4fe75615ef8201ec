"""Rules that act by themselves, in a whole manager: escalations, reports, what is withdrawn, and rules that change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, ahead, alert, rest, until, webhook

from bt_alerts import AlertManager
from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context, Dispatcher, News, Receipt, Target
from bt_alerts.testing import FakeService

Begin = Callable[..., AlertManager]


@pytest.fixture
def begin(tmp_path: Path, clock: Clock) -> Iterator[Begin]:
    """Make a manager with two channels, ``phone`` and ``duty``, and with rules; the store is the test's one."""
    made: list[AlertManager] = []

    def begin(phone: str, duty: str, **rules: Any) -> AlertManager:
        config = {"alerts": {"phone": webhook(phone), "duty": webhook(duty)}, "delivery": {"flush_timeout": 5}, **rules}
        manager = AlertManager(config, store=str(tmp_path / "store.db"), clock=clock)
        made.append(manager)
        manager.start()
        return manager

    yield begin
    for manager in made:
        manager.close(timeout=0)


CALL = [{"when": {"priority": "critical"}, "steps": [{"after": "5m", "to": "duty"}], "repeat": 1}]
TO_PHONE = [{"to": "phone"}]


def titles(service: FakeService) -> list[str]:
    return [request.json()["data"]["title"] for request in service.requests]


def test_what_nobody_acknowledges_goes_further_without_another_alert(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    manager.emit(alert(title="down", priority="critical", time=clock()))
    rest(manager)
    ahead(manager, clock, 299)
    assert (titles(service), titles(other)) == (["down"], [])
    ahead(manager, clock, 1)
    assert titles(other) == ["down"]
    assert other.requests[0].json()["data"]["message"].endswith("Nobody acknowledged it within 5 min.")
    ahead(manager, clock, 300)
    assert titles(other) == ["down", "down"], "once more, as `repeat` says"
    ahead(manager, clock, 86_400)
    assert titles(other) == ["down", "down"]
    assert manager.ledger().balanced


def test_an_acknowledgement_ends_it(begin: Begin, clock: Clock, service: FakeService, other: FakeService) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    made = alert(title="down", priority="critical", time=clock())
    manager.emit(made)
    rest(manager)
    assert manager.acknowledge(made.id)
    ahead(manager, clock, 3_600)
    assert titles(other) == []


def test_who_snoozes_it_has_that_long(begin: Begin, clock: Clock, service: FakeService, other: FakeService) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    made = alert(title="down", priority="critical", time=clock())
    manager.emit(made)
    rest(manager)
    manager.snooze(made.id, clock() + 1_800)
    ahead(manager, clock, 1_799)
    assert titles(other) == []
    ahead(manager, clock, 1)
    assert titles(service) == ["down", "down"]
    assert titles(other) == ["down"]


def test_what_resolves_it_goes_to_everybody_who_was_called_and_ends_it(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    lost = alert(title="lost", kind="data.disconnected", type="data", priority="critical", thread="f", time=clock())
    manager.emit(lost)
    rest(manager)
    ahead(manager, clock, 301)
    manager.emit(alert(title="back", kind="data.live", type="data", priority="low", thread="f", time=clock()))
    rest(manager)
    assert (titles(service), titles(other)) == (["lost", "back"], ["lost", "back"])
    ahead(manager, clock, 3_600)
    assert titles(other) == ["lost", "back"]
    assert next(manager.outbox.rows("SELECT acknowledged FROM alerts WHERE id = ?", (lost.id,)))[0] is not None


def test_what_cannot_be_delivered_goes_further_at_once(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(400)
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    manager.emit(alert(title="down", priority="critical", time=clock()))
    until(lambda: (rest(manager), "down" in titles(other))[1])
    assert manager.ledger().balanced


class Ringing(Dispatcher):
    """A service that calls until somebody answers."""

    type = "ringing"

    def __init__(self) -> None:
        self.withdrawn: list[str] = []
        self.asked = 0

    def targets(self) -> Sequence[Target]:
        return [Target("one", "one")]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        return Receipt("call-1", follow_up=15.0)

    def follow_up(self, receipt: Receipt) -> News | None:
        self.asked += 1
        return News("it rings", again=15.0)

    def withdraw(self, receipt: Receipt) -> News | None:
        self.withdrawn.append(receipt.id)
        return News("it does not ring any more")


def test_what_was_acknowledged_elsewhere_does_not_go_on_ringing(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    manager = begin(service.url, other.url)
    ringing = Ringing()
    manager.add_channel("ringing", ringing)
    made = alert(priority="critical", time=clock(), channels=["ringing"])
    manager.emit(made)
    rest(manager)
    clock.advance(15)
    until(lambda: (manager.flush(0), ringing.asked == 1)[1])
    manager.acknowledge(made.id)
    clock.advance(15)
    until(lambda: (manager.flush(0), bool(ringing.withdrawn))[1])
    assert (ringing.asked, ringing.withdrawn) == (1, ["call-1"])
    ahead(manager, clock, 600)
    assert (ringing.asked, ringing.withdrawn) == (1, ["call-1"])


def test_a_report_comes_at_its_time_without_any_alert(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    clock.now = 1_780_000_000.0 - 1_780_000_000.0 % 86_400 + 3_600
    manager = begin(
        service.url, other.url, digests=[{"report": "daily", "at": "18:00", "channels": "duty", "name": "evening"}]
    )
    until(lambda: (manager.flush(1), next(manager.outbox.rows("SELECT count(*) FROM rule_state"))[0] == 1)[1])
    ahead(manager, clock, 17 * 3_600 - 1)
    assert titles(other) == []
    ahead(manager, clock, 1)
    until(lambda: (rest(manager), len(titles(other)) == 1)[1])
    assert titles(service) == []
    ahead(manager, clock, 86_400)
    until(lambda: (rest(manager), len(titles(other)) == 2)[1])


def test_rules_of_a_changed_file_are_used_from_the_next_alert_on(
    tmp_path: Path, service: FakeService, other: FakeService
) -> None:
    file = tmp_path / "alerts.yaml"

    def write(to: str) -> None:
        fresh = tmp_path / "fresh.yaml"
        fresh.write_text(
            f"store: alerts.db\nroutes:\n  - {{to: {to}}}\nalerts:\n"
            f"  phone: {{type: webhook, urls: '{service.url}', rate_limit: 0}}\n"
            f"  duty: {{type: webhook, urls: '{other.url}', rate_limit: 0}}\n"
        )
        fresh.replace(file)

    write("phone")
    with AlertManager(file) as manager:
        manager.emit(alert(title="before"))
        assert manager.flush(10)
        write("duty")
        manager.reload()
        manager.emit(alert(title="after"))
        assert manager.flush(10)
    assert titles(service)[0] == "before"
    assert "after" in titles(other)
    assert "after" not in titles(service)
