"""What a notebook shows of health, statistics and a channel's test: tables in which nothing becomes markup."""

from __future__ import annotations

import json
from collections.abc import Callable

from alerts_kit import alert, rest

from bt_alerts import AlertManager
from bt_alerts.delivery.report import ChannelTest, TargetTest
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]
EVIL = "<img src=x onerror=y>"


def test_health_is_a_table_and_stays_a_mapping(manage: Manage, service: FakeService, other: FakeService) -> None:
    service.answer(400, EVIL)
    manager = manage(hook=service.url, fine=other.url)
    manager.emit(alert("hello"))
    rest(manager)
    health = manager.get_channel_health()
    html = health._repr_html_()  # type: ignore[attr-defined]
    assert "<b>hook</b>" in html
    assert "0.0 %" in html
    assert "100.0 %" in html
    assert health["hook"]["last_error"]
    assert "<img" not in html
    assert EVIL not in html
    assert isinstance(health, dict)
    assert health == dict(health)
    assert json.loads(json.dumps(health, default=str)).keys() == {"hook", "fine"}
    assert "nothing is sent" in AlertManager({}).get_channel_health()._repr_html_()  # type: ignore[attr-defined]


def test_statistics_are_a_table_and_stay_a_mapping(manage: Manage, service: FakeService) -> None:
    manager = manage(hook=service.url)
    for n in range(3):
        manager.emit(alert("hello", type="risk", kind=f"custom.{n}"))
    rest(manager)
    statistics = manager.get_statistics()
    html = statistics._repr_html_()  # type: ignore[attr-defined]
    assert "risk 3" in html
    assert "delivered 3" in html
    assert "100.0 %" in html
    assert isinstance(statistics, dict)
    assert statistics["alerts"] == 3


def test_a_test_of_a_channel_says_in_words_what_came_back(manage: Manage, service: FakeService) -> None:
    service.answer(403, "no entry")
    failed = manage(hook=service.url).test_channel("hook")
    assert not failed
    assert "does not work" in failed._repr_html_()
    html = ChannelTest(EVIL, [TargetTest(EVIL, True, EVIL, 0.25)], problem=EVIL)._repr_html_()
    assert "<img" not in html
    assert "0.25 s" in html
    assert "works" in ChannelTest("hook", [TargetTest("a", True, "delivered", 0.1)])._repr_html_()
