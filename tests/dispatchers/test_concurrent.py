"""One address that hangs delays no other of its channel, whatever the service; and who must be served one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert, rest, until

from bt_alerts import AlertManager
from bt_alerts.dispatchers.email import EmailDispatcher
from bt_alerts.dispatchers.email.smtp import MAX_CONNECTIONS
from bt_alerts.dispatchers.sms import SmsDispatcher
from bt_alerts.testing import FakeService, Received

DISCORD = "https://discord.com/api/webhooks/123456789012345{}/" + "a" * 68
SLACK = {"ok": True, "ts": "1.2", "channel": "C1"}


def to_second(word: str) -> Callable[[Received], bool]:
    """Whether a request is for the second address."""
    return lambda received: word.encode() in received.body or word in received.path or word in str(received.query)


#: Settings of a channel with two addresses, what a request for the first has in it, and what the service answers.
CHANNELS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "webhook": ({"urls": ["{url}/first", "{url}/second"]}, "first", {}),
    "telegram": (
        {"bot_token": "123456:" + "a" * 35, "chat_ids": "111111, 222222"},
        "111111",
        {"ok": True, "result": {"message_id": 1, "chat": {"id": 1}}},
    ),
    "discord": ({"webhook_urls": [DISCORD.format(1), DISCORD.format(2)]}, "1234567890123451", {"id": "7"}),
    "slack": ({"bot_token": "xoxb-" + "1" * 20, "channel_ids": ["C0000000001", "C0000000002"]}, "C0000000001", SLACK),
    "pushover": (
        {"app_token": "a" * 30, "user_key": ["u" * 30, "v" * 30]},
        "u" * 30,
        {"status": 1, "request": "r", "receipt": "c" * 30},
    ),
    "pagerduty": (
        {"routing_key": ["1" * 32, "2" * 32]},
        "1" * 32,
        {"status": "success", "message": "ok", "dedup_key": "k"},
    ),
    "sms": (
        {
            "account_sid": "AC" + "0" * 32,
            "auth_token": "t" * 32,
            "from_number": "+15005550006",
            "to": "+4915112345671, +4915112345672",
            "status_poll": False,
        },
        "4915112345671",
        {"sid": "SM" + "0" * 32, "status": "queued"},
    ),
    "voice": (
        {
            "account_sid": "AC" + "0" * 32,
            "auth_token": "t" * 32,
            "from_number": "+15005550006",
            "to": "+4915112345671, +4915112345672",
        },
        "4915112345671",
        {"sid": "CA" + "0" * 32, "status": "queued"},
    ),
}


@pytest.fixture
def gate(service: FakeService) -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_address_that_hangs_delays_no_other_of_its_channel(
    channel: str, tmp_path: Path, service: FakeService, gate: threading.Event
) -> None:
    keys, first, answer = CHANNELS[channel]
    filled = {
        name: [each.replace("{url}", service.url) for each in value] if isinstance(value, list) else value
        for name, value in keys.items()
    }
    if channel != "webhook":
        filled["api_url"] = service.url
    service.answer(200, answer)
    service.on(where=to_second(first)).answer(200, answer, gate=gate)
    block = {"type": channel, "rate_limit": 0, **filled}
    config = {"alerts": {"it": block}, "delivery": {"flush_timeout": 5}}
    manager = AlertManager(config, store=str(tmp_path / "store.db"))
    assert len(manager.channels["it"].dispatcher.targets()) == 2
    for number in range(3):
        manager.emit(alert(f"number {number}", priority="critical"))

    def delivered() -> int:
        rows = manager.outbox.rows("SELECT count(*) FROM deliveries WHERE state = 'delivered'")
        return int(next(rows)[0])

    until(lambda: delivered() == 3)  # to the second address, while the first has not answered once
    gate.set()
    rest(manager)
    assert delivered() == 6
    manager.close()


def test_a_cap_is_kept_by_serving_one_number_at_a_time() -> None:
    account = {"account_sid": "AC" + "0" * 32, "auth_token": "t" * 32, "from_number": "+15005550006"}
    assert SmsDispatcher(**account, to="+4915112345671").concurrent == 0
    assert SmsDispatcher(**account, to="+4915112345671", daily_segments=10).concurrent == 1


def test_email_opens_as_many_connections_as_its_client_allows() -> None:
    assert EmailDispatcher.concurrent == MAX_CONNECTIONS
