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
    body: Any
    headers: Mapping[str, str]
    gate: threading.Event | None

    def encoded(self, received: Received) -> tuple[str, bytes]:
        """The content type and the bytes that answer ``received``."""
        body = self.body(received) if callable(self.body) else self.body
        if isinstance(body, str):
            return "text/plain; charset=utf-8", body.encode()
        if isinstance(body, bytes):
            return "application/octet-stream", body
        return "application/json", json.dumps(body).encode()


class Answers:
    """Answers in the order in which they are programmed; the last one is given again and again."""

    def __init__(self) -> None:
        self._programming = threading.Lock()
        self._waiting: collections.deque[_Programmed] = collections.deque()
        self._current = _Programmed(200, {}, {}, None)

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
            body: bytes, text, anything that JSON can hold, or a function that is given the :class:`Received` request
                and returns one of these.
            headers: more headers.
            gate: hold the answer back until this event is set.
        """
        with self._programming:
            self._waiting.append(_Programmed(status, body, headers or {}, gate))
        return self

    def _next(self) -> _Programmed:
        with self._programming:
            if self._waiting:
                self._current = self._waiting.popleft()
            return self._current


class FakeService(Answers):
    """An HTTP service on 127.0.0.1 with programmed answers; use it as a context manager.

    Before any answer is programmed, every request is answered 200 with ``{}``.

    Args:
        ssl_context: serve https with this server context.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        #: Every request so far, in order.
        self.requests: list[Received] = []
        #: The largest number of requests that were being answered at the same time.
        self.most_at_once = 0
        #: Set when the service closes: what an answer waits for that never comes.
        self.over = threading.Event()
        self._at_once = 0
        self._changed = threading.Condition()
        self._routes: list[tuple[Callable[[Received], bool], Answers]] = []
        self._server = _Server(self, ssl_context)
        self._scheme = "https" if ssl_context else "http"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        host = "localhost" if self._scheme == "https" else "127.0.0.1"
        return f"{self._scheme}://{host}:{self.port}"

    def on(self, method: str = "*", path: str = "*", *, where: Callable[[Received], bool] | None = None) -> Answers:
        """Some requests have answers of their own; those of the service itself are for all the others.

        ::

            service.on("POST", "/v1/files").answer(201, {"id": "f1"})
            service.on("PUT", "/upload/*").answer(204)
            service.on(where=lambda request: b"picture" in request.body).answer(413)

        Args:
            method: such as ``"POST"``; ``"*"`` is any.
            path: without the query; ``*`` in it stands for any text.
            where: whether a request is meant.

        Returns:
            What to program. Where several fit a request, the one asked for last is taken.
        """
        answers = Answers()

        def fits(received: Received) -> bool:
            right_path = fnmatch.fnmatchcase(received.path, path)
            return method in {"*", received.method} and right_path and (where is None or where(received))

        with self._changed:
            self._routes.insert(0, (fits, answers))
        return answers

    def wait_for(self, count: int, timeout: float = 15.0) -> list[Received]:
        """Wait until ``count`` requests came, and return all. Raises ``TimeoutError`` where they do not come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came within {timeout:g} s")
            return list(self.requests)

    def hang_up(self) -> None:
        """End every connection, as a server does with those that were idle for long; new ones are taken."""
        self._server.close_connections()

    def close(self) -> None:
        """Stop, and end every connection."""
        self.over.set()
        while self._thread.is_alive():
            with contextlib.suppress(OSError):  # wakes the thread that waits for a connection
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            self._thread.join(1.0)
        self._server.server_close()
        self._server.close_connections()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                connection, address = self._server.get_request()
            except OSError:  # a client that was gone at once
                continue
            if self.over.is_set():
                connection.close()
            else:
                self._server.process_request(connection, address)

    def _take(self, received: Received) -> _Programmed:
        with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
            routes = list(self._routes)
        return next((answers for fits, answers in routes if fits(received)), self)._next()

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
            kind, content = programmed.encoded(received)
        finally:
            service._busy(-1)
        self.send_response(programmed.status)
        for name, value in {"Content-Type": kind, **programmed.headers}.items():
            self.send_header(name, value)
        bodiless = programmed.status < 200 or programmed.status in {204, 304} or self.command == "HEAD"
        if not bodiless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(content)
        if programmed.status < 200:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are in the journal."""
