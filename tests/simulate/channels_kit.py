"""A channel of every type at services of this machine, and one of another package: simulated, none sends anything."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SID, TOKEN = f"AC{'0' * 32}", "b" * 32

#: A type of another package, which connects wherever it can: when it is made, asked and used.
THIRD_PARTY = """
import socket
from bt_alerts.dispatchers.base import Dispatcher, Receipt, Target
from bt_alerts.dispatchers.webhook import WebhookDispatcher


class CarrierPigeon(Dispatcher):
    type = "pigeon"

    def __init__(self, port: int) -> None:
        self.port = port

    def targets(self):
        return [Target("the loft", "the loft")]

    def deliver(self, alert, target, context):
        socket.create_connection(("127.0.0.1", self.port)).close()
        return Receipt()

    check = deliver


class OwnWebhook(WebhookDispatcher):
    '''Says that it is one of ours, and sends by itself.'''

    def deliver(self, alert, target, context):
        port = int(target.address.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
        return Receipt()
"""


class Listener:
    """Counts who connects to it, and hangs up."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # its thread would wait on, later perhaps at somebody else's socket
        self._server.close()


def every_type(port: int) -> dict[str, dict[str, Any]]:
    """Settings of a channel of each type, whose service listens at a port of this machine."""
    url = f"http://127.0.0.1:{port}"
    twilio = {"account_sid": SID, "auth_token": TOKEN, "from_number": "+15005550006"}
    vonage = {"api_key": "abcd1234", "api_secret": "s" * 16}
    sms = {"type": "sms", "to": "+447700900123", "rate_limit": 0}
    return {
        "console": {"type": "console"},
        "pushover": {"type": "pushover", "app_token": "a" * 30, "user_key": ["u" * 30, "v" * 30], "api_url": url},
        "telegram": {
            "type": "telegram",
            "bot_token": "123456:" + "A" * 35,
            "chat_ids": ["-100200", "77"],
            "api_url": url,
        },
        "discord": {"type": "discord", "webhook_urls": f"{url}/api/webhooks/1234567890/{'t' * 60}"},
        "slack": {"type": "slack", "webhook_urls": f"{url}/services/T00000000/B00000000/{'x' * 24}"},
        "slack_bot": {"type": "slack", "bot_token": f"xoxb-{'1' * 20}", "channel_ids": "C0123456789", "api_url": url},
        "teams": {"type": "teams", "webhook_urls": f"{url}/workflows/{'f' * 32}/triggers?sig={'s' * 43}"},
        "ntfy": {"type": "ntfy", "topics": "alerts", "api_url": url},
        "twilio": {**sms, **twilio, "provider": "twilio", "api_url": url},
        "vonage": {**sms, **vonage, "provider": "vonage", "from_number": "Alerts", "api_url": url},
        "aws": {**sms, "provider": "aws_sns", "aws_region": "eu-central-1", "api_url": url},
        "all_three": {
            **sms,
            **vonage,
            **twilio,
            "provider": "aws_sns,vonage,twilio",
            "aws_region": "eu-central-1",
            "api_url": [url, url, url],
        },
        "voice": {"type": "voice", **twilio, "to": "+447700900123", "min_priority": "low", "api_url": url},
        "email": {
            "type": "email",
            "host": "127.0.0.1",
            "port": port,
            "use_tls": False,
            "from_address": "bot@example.com",
            "to": ["a@example.com", "b@example.com"],
        },
        "pusher": {"type": "pusher", "app_id": "1", "key": "k" * 20, "secret": "s" * 20, "api_url": url},
        "pagerduty": {"type": "pagerduty", "routing_key": "R" * 32, "api_url": url},
        "webhook": {"type": "webhook", "urls": url},
        "apprise": {"type": "apprise", "urls": f"json://127.0.0.1:{port}/"},
        "pigeon": {"type": "pigeon", "port": port},
    }


def install_third_party(folder: Path) -> Path:
    """A package with a channel type of its own, as pip would put it there; gives the folder for the path."""
    site = folder / "site"
    info = site / "carrier_pigeon-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "carrier_pigeon.py").write_text(THIRD_PARTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier-pigeon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bt_alerts.dispatchers]\npigeon = carrier_pigeon:CarrierPigeon\n")
    return site
