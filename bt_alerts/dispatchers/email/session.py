"""One connection to a mail server: :class:`smtplib.SMTP` on sockets that keep a deadline.

The timeout of :mod:`smtplib` is per read: a server that sends a byte a second is never too slow for it. Here the
sockets ask the clock before each operation (see :mod:`bt_alerts.dispatchers.deadline`), so no thread watches.

This module imports ``requests``, by way of those sockets; it is imported on first use.
"""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bt_alerts.dispatchers.deadline import Call, _addresses, _Socket, current
from bt_alerts.dispatchers.email.answers import Progress, quoted

#: Seconds that QUIT may take; nobody waits for it gladly.
MAX_QUIT = 1.0


class Offer(NamedTuple):
    """What a server says that it takes.

    Args:
        size: bytes of a message; 0 where it does not say.
        utf8: addresses that are not ASCII (SMTPUTF8).
    """

    size: int
    utf8: bool


class Composed(NamedTuple):
    """A message ready to go.

    Args:
        content: its bytes; lines end with CRLF.
        utf8: it needs SMTPUTF8.
    """

    content: bytes
    utf8: bool = False


@contextlib.contextmanager
def deadline(call: Call) -> Iterator[None]:
    """What this thread does inside ends with ``call``."""
    before, current.call = current.call, call
    try:
        yield
    finally:
        current.call = before


class _Utf8(str):
    """Text that smtplib sends as UTF-8 (RFC 4616) where it would send ASCII."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("utf-8", "surrogateescape")


class Session(smtplib.SMTP):
    """One connection, open and greeted.

    Args:
        host: name of the server.
        port: its port.
        progress: told how far it gets; another one for each message.
        implicit: what to trust where TLS begins with the first byte; None where it does not.
    """

    def __init__(self, host: str, port: int, progress: Progress, implicit: ssl.SSLContext | None) -> None:
        self.progress = progress
        #: When it was used last, on the monotonic clock.
        self.used = 0.0
        self._implicit = implicit
        self._no: smtplib.SMTPAuthenticationError | None = None
        # Left to itself smtplib would look up this machine's name, which can take as long as it likes.
        super().__init__(host, port, local_hostname="localhost")
        local = str(self._socket.getsockname()[0]).partition("%")[0]
        self.local_hostname = f"[IPv6:{local}]" if ":" in local else f"[{local}]"

    # Opening it ------------------------------------------------------------------------------------

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        call = current.call or Call(time.monotonic() + 30.0)
        error = OSError("no address")
        places = _addresses(host, port, call)
        for number, (family, kind, protocol, _, address) in enumerate(places):
            self.progress.stage = "connect"
            sock: socket.socket = _Socket(family, kind, protocol)
            try:
                # One address of several that leads nowhere must not cost all the time.
                sock.settimeout(call.left() / (len(places) - number))
                sock.connect(address)
                if self._implicit is not None:
                    self.progress.stage = "tls"
                    sock = self._implicit.wrap_socket(sock, server_hostname=host)
            except OSError as exc:
                sock.close()
                error = exc
            else:
                self.progress.stage = "greeting"
                return sock
        raise error

    def log_in(self, username: str, password: str) -> None:
        """Log in by the first way that server and smtplib both know. Raises as :meth:`smtplib.SMTP.login`."""
        self.progress.stage = "login"
        try:
            self.login(_Utf8(username), _Utf8(password))
        except smtplib.SMTPServerDisconnected:
            # It tries the next way after a no, and some servers hang up then: the no is what matters.
            if self._no is None:
                raise
            raise self._no from None

    def auth(self, *args: Any, **how: Any) -> tuple[int, bytes]:
        """As that of the parent; a refusal is remembered."""
        try:
            return super().auth(*args, **how)
        except smtplib.SMTPAuthenticationError as exc:
            self._no = exc
            raise

    def auth_plain(self, challenge: Any = None) -> str:
        """As that of the parent, in UTF-8."""
        return _Utf8(super().auth_plain(challenge))

    def auth_cram_md5(self, challenge: Any = None) -> Any:
        """As that of the parent, in UTF-8."""
        said = super().auth_cram_md5(challenge)
        return said if said is None else _Utf8(said)

    # What it knows ---------------------------------------------------------------------------------

    @property
    def _socket(self) -> socket.socket:
        assert self.sock is not None
        return self.sock

    @property
    def offer(self) -> Offer:
        """What the server takes."""
        size = self.esmtp_features.get("size", "")
        return Offer(int(size) if size.isascii() and size.isdigit() else 0, self.has_extn("smtputf8"))

    @property
    def is_on_this_machine(self) -> bool:
        """The other end is, too."""
        return ipaddress.ip_address(str(self._socket.getpeername()[0]).partition("%")[0]).is_loopback

    # Using it --------------------------------------------------------------------------------------

    def transaction(self, sender: str, recipient: str, message: Composed) -> str:
        """MAIL, RCPT and DATA; what the server said last. Raises ``SMTPResponseException`` where it says no."""
        options = ["SMTPUTF8", "BODY=8BITMIME"] if message.utf8 else []
        if self.has_extn("size"):
            options.append(f"SIZE={len(message.content)}")
        self.progress.stage = "sender"
        self.expect(self.mail(sender, options))
        self.progress.stage = "recipient"
        self.expect(self.rcpt(recipient))
        self.progress.stage = "message"
        return self.expect(self.data(message.content))

    def send(self, s: Any) -> None:
        """As that of the parent; notes when the message is written."""
        super().send(s)
        if not isinstance(s, str):  # commands are text: this was the message, with its final dot
            self.progress.written = True

    @staticmethod
    def expect(answer: tuple[int, bytes]) -> str:
        """What was said. Raises ``SMTPResponseException`` where it was no."""
        if not 200 <= answer[0] < 300:
            raise smtplib.SMTPResponseException(*answer)
        return quoted(*answer)

    def agrees(self, command: str, seconds: float) -> bool:
        """Whether the server takes ``command`` within ``seconds``, and within the current call."""
        until = time.monotonic() + seconds
        if current.call is not None:
            until = min(until, current.call.deadline)
        with deadline(Call(until)):
            try:
                return 200 <= self.docmd(command)[0] < 300
            except (OSError, ValueError):
                return False

    def bye(self) -> None:
        """Say so, and close."""
        if self.sock is not None:
            self.agrees("QUIT", MAX_QUIT)
        self.close()
