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
