"""A service on this machine that answers as told and writes down what it got."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fnmatch
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """One request that a :class:`FakeService` got.

    Args:
        method: such as ``"POST"``.
        path: without the query.
        query: fields of the query.
        headers: by lower-case name.
        body: raw bytes.
        connection: number of the connection it came over, from 1; equal where a connection was kept alive.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        """The fields of a form, url-encoded or multipart (without its files)."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            return dict(parse_qsl(self.body.decode(), keep_blank_values=True))
        return {name: content.decode() for name, (filename, _, content) in self.parts().items() if filename is None}

    def parts(self) -> dict[str, tuple[str | None, str, bytes]]:
        """The parts of a multipart body: ``{name: (filename, content type, bytes)}``."""
        import email.parser
        import email.policy

        head = f"Content-Type: {self.headers.get('content-type', '')}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        found: dict[str, tuple[str | None, str, bytes]] = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            found[str(name)] = (
                part.get_filename(),
                part.get_content_type(),
                bytes(part.get_payload(decode=True) or b""),
            )
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Programmed:
    status: int
    body: bytes
    headers: Mapping[str, str]
    gate: threading.Event | None


class FakeService:
    """An HTTP service on 127.0.0.1 with programmed answers; use it as a context manager.

    Answers are given in the order in which they were programmed; the last one is given again and again. Before any is
    programmed, every request is answered 200 with ``{}``.

    Args:
        ssl_context: serve https with this server context.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        #: Every request so far, in order.
        self.requests: list[Received] = []
        #: The largest number of requests that were being answered at the same time.
        self.most_at_once = 0
        self._at_once = 0
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Programmed] = collections.deque()
        self._current = _Programmed(200, b"{}", {"Content-Type": "application/json"}, None)
        self._server = _Server(self, ssl_context)
        self._scheme = "https" if ssl_context else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        host = "localhost" if self._scheme == "https" else "127.0.0.1"
        return f"{self._scheme}://{host}:{self.port}"

    def answer(
        self,
        status: int = 200,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
        *,
        gate: threading.Event | None = None,
    ) -> Self:
        """Program the next answer.

        Args:
            status: 100 to 599.
            body: bytes, text, or anything that JSON can hold.
            headers: more headers.
            gate: hold the answer back until this event is set.
        """
        kind = "application/json"
        if isinstance(body, str):
            body, kind = body.encode(), "text/plain; charset=utf-8"
        elif isinstance(body, bytes):
            kind = "application/octet-stream"
        else:
            body = json.dumps(body).encode()
        with self._changed:
            self._waiting.append(_Programmed(status, body, {"Content-Type": kind, **(headers or {})}, gate))
        return self

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Received]:
        """Wait until ``count`` requests came, and return all. Raises ``TimeoutError`` where they do not come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came within {timeout:g} s")
            return list(self.requests)

    def close(self) -> None:
        """Stop, and end every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, received: Received) -> _Programmed:
        with self._changed:
            self.requests.append(received)
            if self._waiting:
                self._current = self._waiting.popleft()
            self._changed.notify_all()
            return self._current

    def _busy(self, change: int) -> None:
        with self._changed:
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, service: FakeService, ssl_context: ssl.SSLContext | None) -> None:
        self.service = service
        self.ssl_context = ssl_context
        self.numbers: dict[Any, int] = {}
        self.open: list[socket.socket] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is not None:  # the handshake is for the connection's own thread
            sock = self.ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self.open.append(sock)
        self.numbers[address] = len(self.open)
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what many tests are about, and no news."""

    def close_connections(self) -> None:
        for sock in self.open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        received = Received(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            connection=self.server.numbers[self.client_address],
        )
        service = self.server.service
        service._busy(+1)
        try:
            programmed = service._take(received)
            if programmed.gate is not None:
                programmed.gate.wait(30)
        finally:
            service._busy(-1)
        self.send_response(programmed.status)
        for name, value in programmed.headers.items():
            self.send_header(name, value)
        bodiless = programmed.status < 200 or programmed.status in {204, 304} or self.command == "HEAD"
        if not bodiless:
            self.send_header("Content-Length", str(len(programmed.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(programmed.body)
        if programmed.status < 200:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are in the journal."""
