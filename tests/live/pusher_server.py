"""Pusher on this machine: takes signed HTTP requests as the service does, and passes their events on to sockets.

It speaks version 7 of the protocol (https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/)
as far as a page that listens to public channels needs it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from bt_alerts.testing import FakeService, Received


class PusherServer:
    """Use it as a context manager.

    Args:
        key: of the one app it knows.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.service = FakeService()
        #: Names of the events that were passed on, in order.
        self.passed: list[str] = []
        self._listening: list[tuple[ServerConnection, str]] = []
        self._changed = threading.Condition()
        self._server = serve(self._talk, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Of the sockets."""
        return int(self._server.socket.getsockname()[1])

    @property
    def api_url(self) -> str:
        """Where events are sent to."""
        return self.service.url

    def hang_up(self) -> None:
        """Every socket dies, without a word."""
        with self._changed:
            listening, self._listening = self._listening, []
        for socket, _ in listening:
            socket.socket.close()

    def wait_for_pages(self, count: int = 1) -> None:
        """Wait until so many channels are listened to."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._listening) >= count, 30)

    def say(self, channel: str, name: str, data: Any) -> None:
        """Pass an event on that nobody sent."""
        self._pass_on(channel, name, json.dumps(data))

    def __enter__(self) -> Self:
        self.service.__enter__()
        self.service.on("POST").answer(200, self._take)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self.service.close()

    def _take(self, request: Received) -> dict[str, Any]:
        body = request.json()
        for event in body.get("batch") or [{**body, "channel": channel} for channel in body["channels"]]:
            self._pass_on(event["channel"], event["name"], event["data"])
        return {}

    def _pass_on(self, channel: str, name: str, data: str) -> None:
        with self._changed:
            sockets = [socket for socket, wanted in self._listening if wanted == channel]
            self.passed.append(name)
        for socket in sockets:
            with contextlib.suppress(ConnectionClosed, OSError):
                socket.send(json.dumps({"event": name, "channel": channel, "data": data}))

    def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        if not socket.request.path.startswith(f"/app/{self.key}?"):
            self._tell(socket, "pusher:error", {"code": 4001, "message": "Could not find app by key"})
            socket.close(4001)
            return
        self._tell(socket, "pusher:connection_established", json.dumps({"socket_id": "1.1", "activity_timeout": 120}))
        with contextlib.suppress(ConnectionClosed, OSError):
            for frame in socket:
                said = json.loads(frame)
                if said["event"] == "pusher:ping":
                    self._tell(socket, "pusher:pong", "{}")
                elif said["event"] == "pusher:subscribe":
                    channel = said["data"]["channel"]
                    answer = {"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"}
                    with self._changed:  # who was told that it listens misses nothing
                        socket.send(json.dumps(answer))
                        self._listening.append((socket, channel))
                        self._changed.notify_all()
        with self._changed:
            self._listening = [known for known in self._listening if known[0] is not socket]

    def _tell(self, socket: ServerConnection, name: str, data: Any) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            socket.send(json.dumps({"event": name, "data": data}))
