"""A bot as its service shows it, and pollers on one store, for the tests of what people say in a chat."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alerts_kit import Clock

from bt_alerts import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.health import channel_health
from bt_alerts.delivery.pollers import Poller, Pollers
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.outbox.base import AlertState, NewDelivery, Outbox
from bt_alerts.outbox.entries import Entry
from bt_alerts.testing import FakeService, Received

TOKEN = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-made-up"
CHAT, ANNA, STRANGER, READER = -1001234567890, 7, 8, 9


@pytest.fixture(autouse=True)
def no_token_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """For every test of a module that imports it."""
    caplog.set_level(logging.DEBUG)
    yield
    assert TOKEN not in caplog.text
    assert TOKEN.partition(":")[2] not in caplog.text


class Bot:
    """The Bot API: keeps updates until they are confirmed, and lets a question wait until there is one."""

    def __init__(self, service: FakeService, wait: float = 0.0) -> None:
        self.service = service
        self.wait = wait
        self.updates: list[Any] = []
        self.forgets = True
        self.asking = self.most_asking = 0
        self._changed = threading.Condition()
        service.answer(200, lambda _: {"ok": True, "result": {"message_id": len(service.requests)}})
        service.on("POST", "*/getUpdates").answer(200, self._updates)

    def _updates(self, request: Received) -> Any:
        offset = request.json().get("offset", 0)
        with self._changed:
            self.asking += 1
            self.most_asking = max(self.asking, self.most_asking)
            if self.forgets:
                self.updates = [each for each in self.updates if each.get("update_id", offset) >= offset]
            self._changed.wait_for(lambda: self.updates or self.service.over.is_set(), self.wait)
            self.asking -= 1
            return {"ok": True, "result": self.updates}

    def press(self, data: str, who: int = ANNA, number: int = 0, **message: Any) -> None:
        """Somebody presses a button of a message."""
        with self._changed:
            number = number or 100 + len(self.service.requests)
            query = {
                "id": f"q{number}",
                "from": {"id": who, "is_bot": False, "first_name": "Anna"},
                "message": {"message_id": 5, "date": 1, "chat": {"id": CHAT, "type": "group"}, **message},
                "chat_instance": "1",
                "data": data,
            }
            self.updates = [*self.updates, {"update_id": number, "callback_query": query}]
            self._changed.notify_all()

    def calls(self, method: str) -> list[dict[str, Any]]:
        return [json.loads(r.body) for r in list(self.service.requests) if r.path.endswith(f"/{method}")]

    def write(self, text: str, who: int = ANNA, number: int = 0, **message: Any) -> None:
        """Somebody writes to the bot, by itself where nothing else is said."""
        with self._changed:
            number = number or 100 + len(self.service.requests) + len(self.updates)
            sent = {
                "message_id": number,
                "date": 1,
                "from": {"id": who, "is_bot": False, "first_name": "Anna"},
                "chat": {"id": who, "type": "private"},
                "text": text,
                **message,
            }
            self.updates = [*self.updates, {"update_id": number, "message": sent}]
            self._changed.notify_all()

    def said(self) -> list[str]:
        """What the bot wrote."""
        return [call["text"] for call in self.calls("sendMessage")]


class Desk:
    """Pollers on one store, as several processes would have them, and what they put into their journals."""

    def __init__(self, outbox: Outbox, service: FakeService, clock: Clock) -> None:
        self.outbox, self.clock = outbox, clock
        self.asked: list[Entry] = []
        self.dispatcher = TelegramDispatcher(TOKEN, CHAT, listen_to=[ANNA], api_url=service.url)
        self.channels = {"tg": Channel("tg", self.dispatcher, 0.0, "")}

    def ask(self, entry: Entry) -> bool:
        self.asked.append(entry)
        return True

    def poller(self, owner: str = "one", ask: Callable[[Entry], bool] | None = None) -> Poller:
        pollers = Pollers(self.outbox, self.channels, ask or self.ask, owner=owner, clock=self.clock)
        listener = self.dispatcher.listener()
        assert listener is not None
        return pollers.poller(listener.name)

    def plan(self, *ids: str, symbol: str = "AAPL") -> None:
        with self.outbox.transaction() as tx:
            for id_ in ids:
                seq = tx.add_alert(Alert.make("x", id=id_, symbol=symbol), AlertState.PLANNED)
                assert seq is not None
                key = self.dispatcher.targets()[0].key
                tx.add_deliveries(seq, [NewDelivery(id_, "tg", key, "", 0.0, 0.0, 1e12)], 0.0)

    def health(self) -> dict[str, Any]:
        return channel_health(self.outbox, ["tg"], self.clock())["tg"]
