"""What is refused before Streamlit hears of it, and what every answer says.

A page of another site could otherwise use the browser of somebody who may open the dashboard: by a name of its own that
leads to this machine (DNS rebinding), by a socket, or by a frame that is laid over with something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: Nothing frames it, and no address of it is told to others.
HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
UPLOADS = "/_stcore/upload_file"  # nobody is asked for a file


class Doorkeeper:
    """ASGI middleware.

    Args:
        app: what comes behind it.
        hosts: names by which it may be asked; None for any, where a password guards it.
    """

    def __init__(self, app: App, hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let it in, or refuse it."""
        if scope["type"] == "http" and (refused := self._why_not(scope)):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": refused.encode()})
        elif scope["type"] == "websocket" and self._why_not(scope):
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)

    def _why_not(self, scope: Message) -> str:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
        name = (urlsplit(f"//{host}").hostname or "").lower() if _is_plain(host) else ""
        if not name or (self._hosts is not None and name not in self._hosts):
            return "The dashboard does not answer to this name.\n"
        if scope["type"] == "websocket" and origin and urlsplit(origin).netloc.lower() != host.lower():
            return "Pages of other sites cannot use the dashboard.\n"
        return "The dashboard takes no files.\n" if UPLOADS in scope["path"] else ""


def _is_plain(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return False
    return not (parts.username or parts.password or parts.path or parts.query or parts.fragment)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in HEADERS if name not in known]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sent
