"""Addresses and headers of an email: read from settings, checked, and encoded for the wire (RFC 5322, RFC 2047).

Headers are encoded here and not by the policies of :mod:`email`: those take a text that looks like an encoded word for
one, and some versions of them break long lists of addresses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from email.header import Header
from email.policy import Policy
from typing import NamedTuple

from bt_alerts.render.text import shorten

MAX_NAME = 120
#: RFC 5321 §4.5.3.1: octets of the part before the @, and of the whole.
MAX_LOCAL, MAX_ADDRESS = 64, 254

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_ADDRESS = re.compile(
    r"(?P<local>[^\x00-\x20\x7f\s\"(),.:;<>@\[\\\]]+(?:\.[^\x00-\x20\x7f\s\"(),.:;<>@\[\\\]]+)*)"
    rf"@(?P<domain>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.IPv]+\])"
)
_MAILBOX = re.compile(r"(?:(?P<name>[^<>]*?)\s*<(?P<inside>[^<>]*)>|(?P<bare>[^<>]*))")
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # outside quotes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_WORD = r"[!-~]{1,60}"
_AS_IT_IS = re.compile(rf"{_WORD}(?: {_WORD})*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,60}"
_PHRASE = re.compile(rf"{_ATOM}(?: {_ATOM})*")


class Mailbox(NamedTuple):
    """An address and the name that stands before it."""

    name: str
    address: str

    @property
    def needs_utf8(self) -> bool:
        """Only servers with SMTPUTF8 (RFC 6531) take it."""
        return not self.address.isascii()

    @property
    def domain(self) -> str:
        """What follows the @, in ASCII."""
        domain = self.address.rpartition("@")[2].strip("[]").replace(":", ".")
        try:
            return domain.encode("idna").decode()
        except UnicodeError:
            return "bt-alerts.invalid"


def mailboxes(argument: str, given: str | Sequence[str] | None) -> tuple[Mailbox, ...]:
    """Read ``a@b.example`` or ``Name <a@b.example>``, one, several, or one text with commas; repeats are left out.

    Args:
        argument: what an objection is to name.
        given: the addresses.

    Raises:
        ValueError: where one is no address that mail can be sent to.
    """
    several = [given] if isinstance(given, str) else given or ()
    texts = [part.strip() for text in several for part in _COMMA.split(str(text)) if part.strip()]
    found: dict[str, Mailbox] = {}
    for number, text in enumerate(texts, start=1):
        box = _mailbox(text, argument if len(texts) == 1 else f"{argument} (number {number})")
        found.setdefault(box.address.lower(), box)
    return tuple(found.values())


def _mailbox(text: str, place: str) -> Mailbox:
    match = _MAILBOX.fullmatch(text)
    inside = None if match is None else match["bare"] if match["inside"] is None else match["inside"].strip()
    parts = _ADDRESS.fullmatch(inside or "")
    if match is None or parts is None or _CONTROL.search(text):
        raise ValueError(f"{place} must be an address such as anna@example.com or Anna <anna@example.com>")
    if len(parts["local"].encode("utf-8", "replace")) > MAX_LOCAL:
        raise ValueError(f"{place} must have at most {MAX_LOCAL} bytes before the @ (RFC 5321)")
    if len(parts[0].encode("utf-8", "replace")) > MAX_ADDRESS:
        raise ValueError(f"{place} must have at most {MAX_ADDRESS} bytes (RFC 5321)")
    name = match["name"] or ""
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(shorten(name.strip(), MAX_NAME), parts[0])


def message_id(alert_id: str, sender: Mailbox) -> str:
    """``<alert@domain of the sender>``: the same for every attempt and every recipient."""
    fits = re.fullmatch(r"[A-Za-z0-9-]{1,64}", alert_id)
    local = alert_id if fits else hashlib.sha256(alert_id.encode("utf-8", "replace")).hexdigest()[:32]
    return f"<{local}@{sender.domain}>"


def one_line(text: str) -> str:
    """``text`` without line ends and control characters."""
    return _CONTROL.sub(" ", text).strip()


def encoded(name: str, text: str) -> str:
    """The value of header ``name``: as it is where ASCII does, else in encoded words, folded."""
    text = one_line(text)
    plain = _AS_IT_IS.fullmatch(text) and "=?" not in text
    safe = text.encode("utf-8", "replace").decode()
    return Header(safe, "us-ascii" if plain else "utf-8", header_name=name).encode(linesep="\r\n")


def written(boxes: Iterable[Mailbox], *, utf8: bool) -> str:
    """The value of an address header; without ``utf8`` the addresses that need it are left out."""
    return ",\r\n ".join(_written(box) for box in boxes if utf8 or not box.needs_utf8)


def _written(box: Mailbox) -> str:
    if not box.name:
        return box.address
    plain = _PHRASE.fullmatch(box.name) and "=?" not in box.name
    name = box.name if plain else Header(box.name, "utf-8", header_name="Reply-To").encode(linesep="\r\n")
    return f"{name}\r\n <{box.address}>" if len(name) + len(box.address) > 60 else f"{name} <{box.address}>"


class Ready(str):
    """A header that is encoded and folded already; policies of :mod:`email` write one with a name as it says."""

    name: str

    def __new__(cls, name: str, value: str) -> Ready:
        header = super().__new__(cls, value)
        header.name = name
        return header

    def fold(self, *, policy: Policy) -> str:
        """The lines of this header."""
        return f"{self.name}: {self}{policy.linesep}"
