"""A ``requests`` adapter whose every call ends by one deadline, and which knows how far a request got.

The timeout of ``requests`` is per read: a server that sends a byte a second is never too slow for it. Here each socket
operation may take only what is left of the call's total, from the name lookup to the last byte of the body. No thread
watches; the socket itself asks the clock.

What it records on the :class:`Call` decides the class of a failure: a request that was never written completely was
never processed and can be sent again; one that was written may have arrived.

This module imports ``requests``; :mod:`bt_alerts.dispatchers.http` imports it on first use.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

import urllib3
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

#: Seconds after which an idle connection is not used again: routers forget it silently, and a request written into the
#: void would cost the whole timeout and leave its outcome unknown.
KEEP_IDLE = 30.0
#: Bytes of a body that are sent together with its head.
AT_ONCE = 65_536


class Call:
    """One request on one thread: when it must be over, and how far it got."""

    __slots__ = ("connected", "deadline", "error", "fresh", "sent")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.again()

    def again(self) -> None:
        """Forget how far the first try got; the deadline stays."""
        self.connected = False  # there is a connection, TLS included
        self.sent = False  # the whole request was handed to the kernel
        self.fresh = False  # a new connection was opened for it
        self.error: OSError | None = None  # what the network said, before the libraries wrap it

    def left(self) -> float:
        """Seconds left. Raises ``TimeoutError`` where there are none."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the deadline of this call has passed")
        return seconds


class _Current(threading.local):
    call: Call | None = None


current = _Current()


class _Clocked:
    """Gives each blocking operation of a socket what is left of the current call."""

    def recv_into(self, *args: Any) -> int:
        self._limit()
        return super().recv_into(*args)  # type: ignore[misc,no-any-return]

    def recv(self, *args: Any) -> bytes:
        self._limit()
        return super().recv(*args)  # type: ignore[misc,no-any-return]

    def send(self, *args: Any) -> int:
        self._limit()
        return super().send(*args)  # type: ignore[misc,no-any-return]

    def sendall(self, *args: Any) -> None:
        self._limit()
        super().sendall(*args)  # type: ignore[misc]

    def _limit(self) -> None:
        if current.call is not None:
            self.settimeout(current.call.left())  # type: ignore[attr-defined]


class _Socket(_Clocked, socket.socket):
    pass


class _TlsSocket(_Clocked, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        self._limit()  # the time that connecting took is gone
        super().do_handshake(block)


def _addresses(host: str, port: int, call: Call) -> list[Any]:
    """``getaddrinfo`` within the deadline: the C library cannot be interrupted, so it runs beside us."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as exc:
            found.append(exc)

    try:
        thread = threading.Thread(target=look_up, name="bt_alerts-dns", daemon=True)
        thread.start()
        thread.join(call.left())
    except RuntimeError:  # no new threads while the interpreter shuts down, when last alerts are still flushed
        look_up()
    if not found:
        raise TimeoutError("the name lookup took too long")
    if isinstance(found[0], Exception):
        raise found[0]
    return list(found[0])


class _Tracked:
    """Opens clocked sockets, and tells the current call how far its request got."""

    last_used = 0.0
    _held: list[bytes] | None = None

    def _new_conn(self: Any) -> socket.socket:
        call = current.call or Call(time.monotonic() + 30.0)
        call.fresh = True
        host = self._dns_host.strip("[]")
        error: OSError = OSError("no address")
        addresses = _addresses(host, self.port, call)
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = _Socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # A share for each: an address that leads nowhere must not cost the others their time.
                sock.settimeout(call.left() / (len(addresses) - number))
                if self.source_address:
                    sock.bind(self.source_address)
                sock.connect(address)
            except OSError as exc:
                sock.close()
                error = exc
            else:
                sys.audit("http.client.connect", self, self.host, self.port)
                return sock
        raise error

    def connect(self: Any) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except OSError as exc:
            _remember(exc)
            raise
        if current.call is not None:
            current.call.connected = True

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if current.call is not None:
            current.call.connected = self.sock is not None
        self._held = []
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            self._let_go()
        except OSError as exc:
            _remember(exc)
            raise
        finally:
            self._held = None
        self.last_used = time.monotonic()
        if current.call is not None:
            current.call.sent = True

    def send(self: Any, data: Any) -> None:
        """Hold back the head of a request until there is its body: both go in one packet, and wake the service once."""
        if self._held is not None and type(data) is bytes and len(data) <= AT_ONCE:
            self._held.append(data)
        else:
            self._let_go()
            super().send(data)  # type: ignore[misc]

    def _let_go(self: Any) -> None:
        held, self._held = self._held, None  # first: sending may connect, and a proxy is greeted by the same way
        if held:
            super().send(b"".join(held))  # type: ignore[misc]


def _remember(exc: OSError) -> None:
    if current.call is not None and current.call.error is None:
        current.call.error = exc


class _Connection(_Tracked, HTTPConnection):
    pass


class _TlsConnection(_Tracked, HTTPSConnection):
    pass


class _FreshPool:
    def _get_conn(self: Any, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        if connection.sock is not None and time.monotonic() - connection.last_used > KEEP_IDLE:
            connection.close()  # it opens again when it is used
        return connection


class _Pool(_FreshPool, HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(_FreshPool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class DeadlineAdapter(HTTPAdapter):
    """The adapter; safe to share between threads.

    Args:
        ca_file: PEM file, or folder, of the certificate authorities to trust instead of those of ``certifi``.
        connections: how many idle connections to keep a host.

    Raises:
        OSError: where ``ca_file`` cannot be read or holds no certificate.
    """

    def __init__(self, ca_file: str | None = None, connections: int = 16) -> None:
        self._context = create_urllib3_context()
        self._context.sslsocket_class = _TlsSocket
        trusted = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._context.load_verify_locations(**({"capath": trusted} if os.path.isdir(trusted) else {"cafile": trusted}))
        self._pools: dict[tuple[str, ...], Any] = {}
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **kwargs)
        self._use_our_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **({} if known else {"ssl_context": self._context, **kwargs}))
        if not known:
            self._use_our_pools(manager)
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """A pool for each host and proxy: looking it up anew is a fifth of what a request costs."""
        key = (request.url[:6], request.url.partition("://")[2].partition("/")[0], *(proxies or {}).values())
        pool = self._pools.get(key)
        if pool is None or pool.pool is None:  # it was closed because there are many others
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[key] = pool
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        url = super().request_url(request, proxies) if proxies else request.path_url
        return str(url)

    def build_response(self, req: Any, resp: Any) -> Any:
        """The answer as it is: nobody here asks for its cookies or its encoding, which cost as much as reading it."""
        return resp

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context holds the authorities already; loading them again for each connection costs 15 ms."""
        conn.cert_reqs = "CERT_REQUIRED"

    @staticmethod
    def _use_our_pools(manager: urllib3.PoolManager) -> None:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
