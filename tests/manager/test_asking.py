"""What a person answers from another process reaches the strategy's own couriers at once."""

from __future__ import annotations

import time
from pathlib import Path

from alerts_kit import webhook

from bt_alerts import AlertManager
from bt_alerts.asking import ask
from bt_alerts.testing import FakeService


def test_an_alert_that_somebody_wants_again_goes_at_once(tmp_path: Path) -> None:
    with FakeService() as service:
        settings = {"store": str(tmp_path / "alerts.db"), "alerts": {"hook": webhook(service.url)}}
        with AlertManager(settings) as manager:
            manager.send_custom_alert("Look", title="Look")
            assert manager.flush(10)
            id_ = manager.history().iloc[-1]["id"]
            assert ask(manager.settings, lambda other: other.snooze(id_, time.time())) == ""
            service.wait_for(2, timeout=15)  # half of what the couriers wait until they look by themselves
            assert manager.flush(10)
            report = manager.report(id_)
            assert report is not None
            assert [result.state for result in report.results] == ["delivered", "delivered"]


def test_dead_letters_that_somebody_wants_after_all_go_at_once(tmp_path: Path) -> None:
    with FakeService() as service:
        service.answer(404, "gone")
        settings = {
            "store": str(tmp_path / "alerts.db"),
            "alerts": {"hook": webhook(service.url)},
            "delivery": {"time_to_live": {"all": 500}},
        }
        with AlertManager(settings) as manager:
            for title in ("one", "two"):
                assert not manager.send_custom_alert("Nobody took me", title=title, wait=10)
            one, two = manager.outbox.dead_letters()
            got = len(service.requests)
            service.answer(200)
            assert ask(manager.settings, lambda other: other.retry_dead([two.number, 77])) == ""
            service.wait_for(got + 1, timeout=15)
            assert manager.flush(10)
            assert [letter.number for letter in manager.outbox.dead_letters()] == [one.number]
            asked = time.time()
            assert ask(manager.settings, lambda other: other.retry_dead()) == ""
            service.wait_for(got + 2, timeout=15)
            assert manager.flush(10)
            assert not list(manager.outbox.dead_letters())
            ((expires,),) = manager.outbox.rows("SELECT expires FROM deliveries WHERE seq = ?", (one.number,))
            assert abs(expires - asked - 500) < 30
