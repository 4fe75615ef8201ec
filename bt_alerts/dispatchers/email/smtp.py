"""Sends through one mail server, over connections that are kept for many messages.

Promises
--------
*It ends.* A call takes at most ``timeout`` seconds in total, from the name lookup to the last byte of the answer.

*TLS is required.* Unless it is turned off, nothing follows the first EHLO but STARTTLS, the certificate is verified,
and the server is asked again what it can do. A name and password never go over a connection without TLS, but to this
machine.

*Every failure has a class.* What was not written to its final dot was not taken and can be sent again; what was written
and not answered may have arrived. See :mod:`bt_alerts.dispatchers.email.answers`.

*No secret leaves.* No exception of :mod:`smtplib` is attached to ours, neither as its cause nor as its context.

A connection that the server closed while it was idle is opened again, once. This module is imported on first use.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from bt_alerts.dispatchers.base import DeliveryFailed, Failure
from bt_alerts.dispatchers.deadline import Call, _TlsSocket
from bt_alerts.dispatchers.email.answers import Progress, meaning
from bt_alerts.dispatchers.email.session import Composed, Offer, Session, deadline

Tls = Literal["starttls", "implicit", "none"]
T = TypeVar("T")

#: Connections at once; the strictest large service (Microsoft 365) allows three an account.
MAX_CONNECTIONS = 2
#: Seconds after which an idle connection is closed. Servers wait five minutes, routers forget earlier.
KEEP_IDLE = 60.0
#: Seconds of idleness after which a connection is asked whether it is still there, and how long that may take.
TRUST_IDLE, MAX_NOOP = 2.0, 5.0


class SmtpClient:
    """Sends to one server; safe to use from several threads and after a fork.

    Args:
        host: its name; the certificate must be for it.
        port: its port.
        username: to log in with, as is ``password``; empty for a server that asks for none.
        tls: ``starttls``, ``implicit`` (from the first byte) or ``none``.
        ca_file: PEM file, or folder, of the certificate authorities to trust instead of the system's.
        keep_idle: seconds that an unused connection is kept.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        username: str = "",
        password: str = "",
        tls: Tls = "starttls",
        ca_file: str | None = None,
        keep_idle: float = KEEP_IDLE,
    ) -> None:
        self._host, self._port, self._tls, self._ca_file, self._keep_idle = host, port, tls, ca_file, keep_idle
        self._username, self._password = username, password
        self._trusted: ssl.SSLContext | None = None
        self._kept = _Kept(keep_idle)

    def send(self, sender: str, recipient: str, compose: Callable[[Offer], Composed], timeout: float) -> str:
        """Send one message to one recipient.

        Args:
            sender: address that a bounce goes to.
            recipient: address.
            compose: makes the message for what the server takes; it may raise :class:`DeliveryFailed`.
            timeout: seconds for everything together.

        Returns:
            What the server said when it took the message.

        Raises:
            DeliveryFailed: where it did not.
        """
        return self._run(lambda session: session.transaction(sender, recipient, compose(session.offer)), timeout)

    def check(self, timeout: float) -> Offer:
        """Connect and log in anew, and send nothing. Raises :class:`DeliveryFailed`."""

        def greet(session: Session) -> Offer:
            session.expect(session.noop())
            offer = session.offer
            session.bye()
            return offer

        return self._run(greet, timeout, anew=True)

    def close(self) -> None:
        """Close the idle connections. A later message opens new ones."""
        kept, self._kept = self._kept, _Kept(self._keep_idle)
        kept.close()

    def _run(self, act: Callable[[Session], T], timeout: float, *, anew: bool = False) -> T:
        if self._kept.pid != os.getpid():  # a forked child must not write to its parent's sockets
            self._kept = _Kept(self._keep_idle)
        kept = self._kept
        call = Call(time.monotonic() + timeout)
        if not kept.turns.acquire(timeout=max(timeout, 0.0)):
            reason = f"{self._host}:{self._port}: all of our {MAX_CONNECTIONS} connections are busy"
            raise DeliveryFailed(Failure.RETRY, reason, answered=False)
        try:
            with deadline(call):
                session = None if anew else kept.take()
                done, failed, again = self._attempt(kept, session, act, call, timeout)
                # A kept connection that was closed before it had the message: a new one will do, as nothing was
                # processed. Anything else is for the courier to decide.
                if again and session is not None and call.deadline > time.monotonic():
                    done, failed, _ = self._attempt(kept, None, act, call, timeout)
        finally:
            kept.turns.release()
        # Raised here and not in a handler: inside it would hold the exception of smtplib as its context.
        if failed is not None:
            raise failed
        return done  # type: ignore[return-value]  # None only with a failure

    def _attempt(
        self, kept: _Kept, session: Session | None, act: Callable[[Session], T], call: Call, timeout: float
    ) -> tuple[T | None, DeliveryFailed | None, bool]:
        """What came of it; else why not, and whether the connection was lost before it had the message."""
        progress = Progress()
        try:
            session = session or self._open(progress)
            session.progress = progress
            done = act(session)
        except Exception as exc:
            failed = meaning(exc, progress, f"{self._host}:{self._port}", call.deadline, timeout)
            usable = session is not None and session.sock is not None and _is_no(exc)
            lost = not usable and not progress.written
        except BaseException:
            if session is not None:
                session.close()
            raise
        else:
            kept.give(session)
            return done, None, False
        if session is not None:
            if usable and session.agrees("RSET", timeout):
                kept.give(session)
            else:
                session.close()
        return None, failed, lost

    def _open(self, progress: Progress) -> Session:
        trusted = None if self._tls == "none" else self._trust()
        session = Session(self._host, self._port, progress, trusted if self._tls == "implicit" else None)
        try:
            session.ehlo_or_helo_if_needed()
            if self._tls == "starttls":
                progress.stage = "tls"
                session.starttls(context=trusted)
                session.ehlo_or_helo_if_needed()
            if self._username:
                if self._tls == "none" and not session.is_on_this_machine:
                    reason = "username and password are not sent without TLS: set use_tls: true, or leave them out"
                    raise DeliveryFailed(Failure.AUTH, reason, answered=False)
                session.log_in(self._username, self._password)
            progress.stage = "ready"
        except BaseException:
            session.close()
            raise
        return session

    def _trust(self) -> ssl.SSLContext:
        if self._trusted is None:
            file, folder = self._ca_file, None
            if file is not None and os.path.isdir(file):
                file, folder = None, file
            said = ""
            try:
                context = ssl.create_default_context(cafile=file, capath=folder)
            except OSError as exc:
                said = exc.strerror or str(exc)
            if said:
                reason = f"the certificate authorities to trust cannot be read; check ca_file: {said}"
                raise DeliveryFailed(Failure.RETRY, reason, answered=False)
            context.sslsocket_class = _TlsSocket
            self._trusted = context
        return self._trusted


def _is_no(exc: Exception) -> bool:
    """The server refused something, or we did, and the connection goes on."""
    if isinstance(exc, smtplib.SMTPResponseException):
        return 400 <= exc.smtp_code < 600 and exc.smtp_code != 421 and isinstance(exc.smtp_error, bytes)
    return isinstance(exc, DeliveryFailed)


class _Kept:
    """The connections of one client in one process."""

    def __init__(self, keep_idle: float) -> None:
        self.pid = os.getpid()
        self.turns = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._keep_idle = keep_idle
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._over = False
        self._timer: threading.Timer | None = None

    def take(self) -> Session | None:
        """An idle connection that is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                session = self._idle.pop()
            idle = time.monotonic() - session.used
            if idle < self._keep_idle and (idle < TRUST_IDLE or session.agrees("NOOP", MAX_NOOP)):
                return session
            session.close()

    def give(self, session: Session) -> None:
        """Keep a connection for the next message, unless it is closed by now."""
        session.used = time.monotonic()
        with self._lock:
            keep = not self._over and session.sock is not None
            if keep:
                self._idle.append(session)
                self._watch()
        if not keep:
            session.bye()

    def close(self) -> None:
        """Close those that are idle, and keep none from now on."""
        with self._lock:
            self._over = True
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
        for session in idle:
            if self.pid == os.getpid():
                session.bye()
            else:
                session.close()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._keep_idle, self._close_old)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # no new threads while the interpreter shuts down
                self._timer = None

    def _close_old(self) -> None:
        latest = time.monotonic() - self._keep_idle
        with self._lock:
            old = [session for session in self._idle if session.used <= latest]
            self._idle = [session for session in self._idle if session.used > latest]
            self._timer = None
            if self._idle:
                self._watch()
        for session in old:
            session.bye()
