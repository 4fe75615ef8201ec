"""What an answer of a mail server means, and what no answer means.

Codes are those of RFC 5321 §4.2 and RFC 4954 §6, the finer ones (``5.1.1``) those of RFC 3463: 4yz is passing, 5yz is
not. What the server says is quoted, because its own words are what a person can look up.
"""

from __future__ import annotations

import dataclasses
import re
import smtplib
import socket
import ssl
import time
from typing import Literal

from bt_alerts.dispatchers.base import DeliveryFailed, Failure
from bt_alerts.dispatchers.http import _words
from bt_alerts.redact import redact
from bt_alerts.render.text import shorten

Stage = Literal["connect", "greeting", "tls", "login", "ready", "sender", "recipient", "message"]

MAX_QUOTE = 200
#: Seconds to wait where a server greylists (RFC 6647) and does not say for how long; most do for five minutes.
GREYLISTED = 300.0

_FINER = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")
_TOLD = re.compile(r"(?:again|back|retry|wait)\D{0,25}?(\d{1,5}) ?(s|m)(?:ec|in)?", re.IGNORECASE)
_TOO_LARGE = {"5.3.4", "5.2.3"}
_LOGIN_FIRST = {530, 534, 535, 538}
_OF_THE_SENDER = {"5.1.7", "5.1.8"}  # the other 5.1.x are about the recipient's address

_REFUSED: dict[str, str] = {
    "connect": "does not serve this machine",
    "greeting": "does not serve this machine",
    "ready": "refused a command",
    "sender": "refused from_address",
    "recipient": "refused the recipient",
    "message": "refused the message",
}


@dataclasses.dataclass(slots=True)
class Progress:
    """How far an attempt got.

    Args:
        stage: what was asked for last.
        written: the whole message was handed to the kernel, its final dot included.
    """

    stage: Stage = "connect"
    written: bool = False


def quoted(code: int, said: bytes | str) -> str:
    """An answer on one line, not too long."""
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    return shorten(redact(f"{code} {' '.join(text.split())}".strip()), MAX_QUOTE)


def meaning(exc: Exception, progress: Progress, host: str, deadline: float, timeout: float) -> DeliveryFailed:
    """What an exception of an attempt means.

    Args:
        exc: from :mod:`smtplib`, from a socket, or a :class:`DeliveryFailed`, which is returned as it is.
        progress: how far the attempt got.
        host: for texts.
        deadline: when the attempt had to be over, on the monotonic clock.
        timeout: seconds that it had.
    """
    if isinstance(exc, DeliveryFailed):
        return exc
    if isinstance(exc, smtplib.SMTPResponseException) and 400 <= exc.smtp_code < 600 and _is_an_answer(exc):
        return _refused(host, progress.stage, exc.smtp_code, quoted(exc.smtp_code, exc.smtp_error))
    if isinstance(exc, smtplib.SMTPNotSupportedError) and progress.stage == "tls":
        # Somebody on the way may have cut it out of the answer, and elsewhere it is there again: so it is tried again.
        reason = f"{host} does not offer TLS (STARTTLS), and without it nothing is sent: is the port right?"
        return DeliveryFailed(Failure.RETRY, reason, answered=False)
    connected = not isinstance(exc, smtplib.SMTPServerDisconnected)
    if isinstance(exc, smtplib.SMTPException) and connected and progress.stage == "login":
        reason = f"{host} offers no way to log in that is known here (PLAIN, LOGIN, CRAM-MD5): is the port right?"
        return DeliveryFailed(Failure.AUTH, reason)
    if isinstance(exc, smtplib.SMTPException | ValueError) and not isinstance(exc, ssl.SSLError) and connected:
        if progress.written:
            reason = f"{host} answered with something that is not SMTP: the message may have arrived"
            return DeliveryFailed(Failure.UNKNOWN, reason)
        return DeliveryFailed(Failure.RETRY, f"{host} answered with something that is not SMTP: is the port right?")
    return _no_answer(exc, progress, host, deadline, timeout)


def _is_an_answer(exc: smtplib.SMTPResponseException) -> bool:
    return isinstance(exc.smtp_error, bytes)  # text is smtplib's own complaint


def _refused(host: str, stage: Stage, code: int, said: str) -> DeliveryFailed:
    found = _FINER.search(said)
    finer = found[1] if found else ""
    if stage == "tls":
        return DeliveryFailed(Failure.RETRY, f"{host} cannot begin TLS now: {said}", answered=False)
    if code < 500:
        wait = _told_wait(said, finer)
        if wait:
            return DeliveryFailed(Failure.RETRY_AFTER, f"{host} wants us to come back later: {said}", retry_after=wait)
        what = "cannot check the login now" if stage == "login" else "cannot take the message now"
        return DeliveryFailed(Failure.RETRY, f"{host} {what}: {said}")
    if stage == "login":
        return DeliveryFailed(Failure.AUTH, f"{host} refused the login; check username and password: {said}")
    if code in _LOGIN_FIRST:
        reason = f"{host} wants a login or TLS first; set username and password, and use_tls: {said}"
        return DeliveryFailed(Failure.AUTH, reason)
    full = stage == "recipient" or finer.startswith("5.2.")  # 552 is said of a full mailbox, too
    if finer in _TOO_LARGE or (code == 552 and not full):
        return DeliveryFailed(Failure.TOO_LARGE, f"{host} says that the message is too large: {said}")
    gone = stage in ("recipient", "message") and finer.startswith("5.1.") and finer not in _OF_THE_SENDER
    return DeliveryFailed(Failure.PERMANENT, f"{host} {_REFUSED[stage]}: {said}", dead_target=gone)


def _told_wait(said: str, finer: str) -> float:
    told = _TOLD.search(said)
    if told:
        return float(told[1]) * (60.0 if told[2] in "mM" else 1.0)
    return GREYLISTED if finer == "4.7.1" or re.search("gr[ea]y.?list", said, re.IGNORECASE) else 0.0


def _no_answer(exc: Exception, progress: Progress, host: str, deadline: float, timeout: float) -> DeliveryFailed:
    root, had = _root(exc), f"{round(timeout, 1):g} s"
    late = isinstance(root, TimeoutError) or time.monotonic() >= deadline
    ended = "connection closed" if root is None else _words(root)
    when = f"within {had}" if late else f"before the connection ended ({ended})"
    if progress.written:
        reason = f"{host} was sent the message but did not answer {when}: it may have arrived"
        return DeliveryFailed(Failure.UNKNOWN, reason, answered=False)
    if isinstance(root, ssl.SSLCertVerificationError):
        reason = f"{host} cannot be trusted: its certificate is not valid: {root.verify_message or root.reason}"
    elif isinstance(root, ssl.SSLError):
        reason = f"{host} cannot be reached safely: TLS failed ({root.reason or ended}); is the port right?"
    elif isinstance(root, socket.gaierror):
        reason = f"{host} cannot be found: {ended}; is this machine online?"
    elif progress.stage == "connect":
        reason = f"{host} does not answer: {f'no connection within {had}' if late else ended}"
    elif progress.stage in ("greeting", "tls", "login"):
        begun = {"greeting": "greet us", "tls": "begin TLS", "login": "answer the login"}[progress.stage]
        reason = f"{host} did not {begun} {when}" + ("; is the port right?" if progress.stage == "greeting" else "")
    else:
        reason = f"{host} did not take the whole message {when}"
    return DeliveryFailed(Failure.RETRY, reason, answered=False)


def _root(exc: BaseException | None) -> OSError | None:
    """What the network said: smtplib raises its own exception while it handles that."""
    while exc is not None:
        if isinstance(exc, OSError) and not isinstance(exc, smtplib.SMTPException):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None
