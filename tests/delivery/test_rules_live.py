"""Rules that act by themselves, in a whole manager: escalations, reports, what is withdrawn, and rules that change."""

from __future__ import annotations

import threading
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

    def begin(
        phone: str, duty: str, now: Clock = clock, /, *, fallback: str | None = None, **rules: Any
    ) -> AlertManager:
        channels = {"phone": webhook(phone, fallback=fallback), "duty": webhook(duty)}
        config = {"alerts": channels, **rules, "delivery": {"flush_timeout": 5, **rules.get("delivery", {})}}
        manager = AlertManager(config, store=str(tmp_path / "store.db"), clock=now)
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


class Interrupted(Clock):
    """Lets something happen at the planner's nth look at it."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.looks, self.then = 0, lambda: None

    def __call__(self) -> float:
        if threading.current_thread().name == "bt_alerts planner" and self.looks:
            self.looks -= 1
            if not self.looks:
                self.then()
        return self.now


@pytest.mark.parametrize("looks", range(1, 7))
def test_an_acknowledgement_at_the_last_moment_counts(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService, looks: int
) -> None:
    interrupted = Interrupted(clock.now)
    manager = begin(service.url, other.url, interrupted, routes=TO_PHONE, escalation=CALL)
    made = alert(title="down", priority="critical", time=clock())
    manager.emit(made)
    rest(manager)

    def late() -> None:
        assert manager.acknowledge(made.id)
        interrupted.advance(300)

    interrupted.looks, interrupted.then = looks, late
    until(lambda: (manager.flush(0), not interrupted.looks)[1])
    rest(manager)
    assert titles(other) == []


def test_what_resolves_it_goes_to_everybody_who_was_called_and_ends_it(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    lost = alert(title="lost", kind="data.disconnected", type="data", priority="critical", thread="f", time=clock())
    manager.emit(lost)
    ahead(manager, clock, 301)
    manager.emit(alert(title="back", kind="data.live", type="data", priority="low", thread="f", time=clock()))
    rest(manager)
    assert (titles(service), titles(other)) == (["lost", "back"], ["lost", "back"])
    ahead(manager, clock, 3_600)
    assert titles(other) == ["lost", "back"]
    assert next(manager.outbox.rows("SELECT acknowledged FROM alerts WHERE id = ?", (lost.id,)))[0] is not None


def test_who_was_called_hears_that_it_is_over_also_after_the_last_step(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    once = [{"when": {"priority": "high"}, "steps": [{"after": "5m", "to": "duty"}]}]
    night = [{"channels": "phone", "hours": "00:00-06:00"}]
    clock.now -= clock.now % 86_400 - 3_600
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=once, quiet_hours=night)
    feed = {"type": "data", "time": clock()}
    lost = alert(title="lost", kind="data.disconnected", priority="critical", thread="f", symbol="A", **feed)
    slow = alert(title="slow", kind="data.silent", priority="high", thread="s", symbol="B", **feed)
    for each in (lost, slow):
        manager.emit(each)
    ahead(manager, clock, 3_600)
    assert (titles(service), titles(other)) == (["lost"], ["lost"])
    for thread in ("f", "s"):
        manager.emit(alert(title=thread, kind="data.live", type="data", priority="low", thread=thread, time=clock()))
    rest(manager)
    assert (titles(service), titles(other)) == (["lost", "f"], ["lost", "f"])
    ahead(manager, clock, 5 * 3_600)
    assert titles(service)[2:] == ["2 alerts that waited"], (
        "who was not called reads in the morning that it was, and is over"
    )


def test_a_damaged_memory_of_what_goes_further_keeps_back_nothing(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    manager.emit(alert(title="down", priority="critical", time=clock()))
    rest(manager)
    with manager.outbox.transaction() as tx:
        for key, value in (("one", 3), ("two", {"at": "soon"}), ("three", None)):
            tx.state.put("escalation", key, value)
    ahead(manager, clock, 300)
    assert titles(other) == ["down"]


def test_what_cannot_be_delivered_goes_further_at_once(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(400)
    manager = begin(service.url, other.url, routes=TO_PHONE, escalation=CALL)
    manager.emit(alert(title="down", priority="critical", time=clock()))
    until(lambda: (rest(manager), "down" in titles(other))[1])
    assert manager.ledger().balanced


def test_what_another_channel_has_waits_its_time(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(400)
    manager = begin(
        service.url,
        other.url,
        escalation=[{"when": {"priority": "critical"}, "steps": [{"after": "5m", "to": "duty"}]}],
    )
    manager.emit(alert(title="down", priority="critical", time=clock()))
    until(lambda: (rest(manager), len(titles(other)) == 2)[1])
    assert sorted(titles(other)) == ["Channel phone could not deliver an alert", "down"]
    ahead(manager, clock, 300)
    assert titles(other)[2:] == ["down"]


def test_a_step_after_the_time_to_live_is_sent_all_the_same(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    late = [{"when": {"priority": "critical"}, "steps": [{"after": "2d", "to": "duty"}]}]
    manager = begin(
        service.url,
        other.url,
        routes=TO_PHONE,
        escalation=late,
        delivery={"time_to_live": "10m"},
        history={"keep": "1d"},
    )
    manager.emit(alert(title="down", priority="critical", time=clock()))
    ahead(manager, clock, 86_400 + 3_600)
    assert manager.outbox.prune(clock() + 1, 100).alerts == 0, "what goes further is no history yet"
    ahead(manager, clock, 86_400)
    assert titles(other) == ["down"]
    assert manager.ledger().deliveries["expired"] == 0


def test_what_goes_further_and_fails_over_to_who_had_it_before_is_told_again(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(400)  # whom the step calls; it stands in for itself at the channel that told first
    manager = begin(
        service.url,
        other.url,
        fallback="duty",
        routes=[{"to": "duty"}],
        escalation=[{"when": {"priority": "critical"}, "steps": [{"after": "5m", "to": "phone"}]}],
    )
    manager.emit(alert(title="down", priority="critical", time=clock()))
    ahead(manager, clock, 300)
    assert titles(other) == ["down", "down"]
    assert manager.ledger().balanced


def test_an_address_that_is_gone_has_the_same_stand_in_as_its_channel(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(410)
    manager = begin(service.url, other.url, fallback="duty", routes=TO_PHONE)
    for title in ("first", "second"):
        manager.emit(alert(title=title, priority="critical", time=clock()))
        rest(manager)
    assert [title for title in titles(other) if title in {"first", "second"}] == ["first", "second"]
    manager.mute(channel="duty", until=clock() + 60)
    manager.emit(alert(title="third", priority="critical", time=clock()))
    rest(manager)
    assert "third" not in titles(other), "a mute holds for a stand-in too"
    assert manager.ledger().deliveries["held"] == 1
    assert manager.ledger().balanced


def test_the_news_of_a_loss_is_as_urgent_as_what_was_lost(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    service.answer(400)
    night = [{"channels": "duty", "hours": "00:00-23:59"}]
    clock.now -= clock.now % 86_400 - 3_600
    manager = begin(service.url, other.url, routes=TO_PHONE, quiet_hours=night)
    manager.emit(alert(title="down", priority="critical", time=clock()))
    until(lambda: (rest(manager), bool(titles(other)))[1])
    assert titles(other) == ["Channel phone could not deliver an alert"]


def test_who_acknowledges_a_digest_has_seen_all_of_it(
    begin: Begin, clock: Clock, service: FakeService, other: FakeService
) -> None:
    clock.now -= clock.now % 86_400 - 3_600
    manager = begin(
        service.url,
        other.url,
        routes=TO_PHONE,
        quiet_hours=[{"channels": "phone", "hours": "00:00-06:00"}],
        escalation=[{"when": {"priority": "high"}, "steps": [{"after": "10m", "to": "duty"}]}],
    )
    made = [alert(title=title, priority="high", time=clock()) for title in ("one", "two")]
    for each in made:
        manager.emit(each)
    ahead(manager, clock, 5 * 3_600)
    assert titles(service) == ["2 alerts that waited"]
    manager.acknowledge(made[0].id)
    ahead(manager, clock, 3_600)
    assert titles(other) == []
    seen = [row[0] for row in manager.outbox.rows("SELECT acknowledged FROM alerts ORDER BY seq")]
    assert None not in seen


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
    until(lambda: next(manager.outbox.rows("SELECT count(*) FROM deliveries WHERE ask_at > ?", (clock(),))) == (1,))
    manager.acknowledge(made.id)
    assert manager.drained(20), "or the service is asked once more before it is read"
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
