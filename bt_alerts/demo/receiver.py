"""The other end of the demo's webhook: a small server on this machine that checks each request as a receiver should.

It listens on 127.0.0.1 only, on a free port, while the ``with`` block lasts. A request whose Standard Webhooks
signature holds is kept in :attr:`Receiver.received` and answered 204; one whose signature does not hold is kept too,
marked so, and answered 401. It drops no repeats: ``webhook_id`` is the same in each repeat of one delivery, and whoever
acts on alerts has to look at it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import http.server
import json
import logging
import threading
from collections.abc import Callable
from typing import Any, Self

from bt_alerts.alert import utcnow
from bt_alerts.dispatchers.webhook import verify_signature

log = logging.getLogger(__name__)

#: Longest body that is read, bytes.
MAX_BODY = 1_048_576


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One request.

    Args:
        received: when it came, aware UTC.
        event: the message's type, ``"alert.order.completed"``, or ``"bt_alerts.check"`` of a connection test.
        alert: the alert's fields; empty where it carried none.
        genuine: whether the signature holds.
        webhook_id: its idempotency key, empty where it had none.
    """

    received: dt.datetime
    event: str
    alert: dict[str, Any]
    genuine: bool
    webhook_id: str


class Receiver:
    """``with Receiver(secret) as receiver:`` listens at ``receiver.url``.

    Args:
        secret: the signing secret of the channel, ``"whsec_…"``.
        on_delivery: called with each :class:`Delivery` once it is answered, in the thread of its request.

    Raises:
        ValueError: a secret that is none.
    """

    def __init__(self, secret: str, on_delivery: Callable[[Delivery], object] | None = None) -> None:
        verify_signature(b"", {}, secret)  # a wrong secret is told here, not in the thread of each request
        self.received: list[Delivery] = []
        self._secret = secret
        self._on_delivery = on_delivery
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10.0  # of the socket, so that a client that stalls does not keep its thread

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                log.debug(format, *args)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="demo-receiver", daemon=True
        )

    @property
    def url(self) -> str:
        """Where to send to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: http.server.BaseHTTPRequestHandler) -> None:
        length = request.headers.get("Content-Length", "")
        if not length.isdecimal():
            request.send_error(411)
            return
        if int(length) > MAX_BODY:
            request.send_error(413)
            return
        body = request.rfile.read(int(length))
        headers = {name.lower(): value for name, value in request.headers.items()}
        message = _object_in(body)
        alert = message.get("data")
        delivery = Delivery(
            received=utcnow(),
            event=str(message.get("type", "")),
            alert=alert if isinstance(alert, dict) else {},
            genuine=verify_signature(body, headers, self._secret),
            webhook_id=headers.get("webhook-id", ""),
        )
        self.received.append(delivery)
        request.send_response_only(204 if delivery.genuine else 401)
        request.end_headers()
        if self._on_delivery is not None:
            try:
                self._on_delivery(delivery)
            except Exception:
                log.exception("on_delivery failed")


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
