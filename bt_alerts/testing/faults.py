"""A raw-socket server for what no server does on purpose: silence, resets, one byte a second.

::

    with FaultServer(faults.resets_instead_of_an_answer, faults.answers) as server:
        dispatcher = WebhookDispatcher(server.url)

The behaviours here speak HTTP where they speak at all. One of your own is a function of the accepted socket and the
server.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Behaviour = Callable[[socket.socket, "FaultServer"], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class FaultServer:
    """Gives each accepted connection to the next of ``behaviours``; the last one serves all that follow.

    Args:
        behaviours: what to do with a connection.
        ok: the bytes that a behaviour sends where it answers properly.
    """

    def __init__(self, *behaviours: Behaviour, ok: bytes = OK) -> None:
        self.behaviours = list(behaviours)
        self.ok = ok
        #: The requests that were read whole, head and body.
        self.requests: list[bytes] = []
        #: How many connections were accepted.
        self.connections = 0
        #: Set when the server closes: what a behaviour waits for that does nothing.
        self.over = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            behave = self.behaviours[min(self.connections, len(self.behaviours) - 1)]
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(behave, sock), daemon=True).start()

    def _serve(self, behave: Behaviour, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            behave(sock, self)

    def read_request(self, sock: socket.socket) -> bytes:
        """One request with its body; empty where the client ended."""
        got = b""
        while b"\r\n\r\n" not in got:
            more = sock.recv(65536)
            if not more:
                return b""
            got += more
        head, _, rest = got.partition(b"\r\n\r\n")
        body = bytearray(rest)
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(body) < length:
            more = sock.recv(65536)
            if not more:
                return b""
            body += more
        self.requests.append(head + b"\r\n\r\n" + bytes(body))
        return self.requests[-1]


def reset(sock: socket.socket) -> None:
    """End with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answers(sock: socket.socket, server: FaultServer) -> None:
    """A well-behaved server."""
    while server.read_request(sock):
        sock.sendall(server.ok)


def never_answers(sock: socket.socket, server: FaultServer) -> None:
    """Takes the request, and that was all."""
    server.read_request(sock)
    server.over.wait()


def never_reads(sock: socket.socket, server: FaultServer) -> None:
    """Accepts and does nothing at all."""
    server.over.wait()


def resets_instead_of_an_answer(sock: socket.socket, server: FaultServer) -> None:
    server.read_request(sock)
    reset(sock)


def resets_in_mid_body(sock: socket.socket, server: FaultServer) -> None:
    server.read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    reset(sock)


def ends_in_mid_body(sock: socket.socket, server: FaultServer) -> None:
    server.read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    sock.close()


def dribbles_headers(sock: socket.socket, server: FaultServer) -> None:
    """A byte every 50 ms, so that no single read is slow."""
    server.read_request(sock)
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000:
        sock.sendall(bytes([byte]))
        if server.over.wait(0.05):
            return


def dribbles_body(sock: socket.socket, server: FaultServer) -> None:
    server.read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        sock.sendall(b"x")
        if server.over.wait(0.05):
            return


def answers_once_then_closes(sock: socket.socket, server: FaultServer) -> None:
    """Keeps the connection open as it should, and closes it while it is idle."""
    server.read_request(sock)
    sock.sendall(server.ok)
    sock.close()


def answers_once_then_resets_the_next(sock: socket.socket, server: FaultServer) -> None:
    """Takes a second request on the kept-alive connection and ends without an answer."""
    server.read_request(sock)
    sock.sendall(server.ok)
    server.read_request(sock)
    reset(sock)


def answers_once_then_is_gone(sock: socket.socket, server: FaultServer) -> None:
    """Half-open: the first request is answered, then nothing, as behind a router that forgot the connection."""
    server.read_request(sock)
    sock.sendall(server.ok)
    server.read_request(sock)
    server.over.wait()


def speaks_no_http(sock: socket.socket, server: FaultServer) -> None:
    server.read_request(sock)
    sock.sendall(b"220 mail.example.com ESMTP ready\r\n")
    sock.close()


def speaks_no_tls(sock: socket.socket, server: FaultServer) -> None:
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    sock.close()


def dribbles_the_handshake(sock: socket.socket, server: FaultServer) -> None:
    """A TLS record that never gets complete."""
    sock.recv(65536)
    sock.sendall(b"\x16\x03\x03\x40\x00")
    while not server.over.wait(0.05):
        sock.sendall(b"\x02")
