"""A real mail server on this machine (aiosmtpd) that answers as told and writes down what it got."""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Answer = str | Callable[[], str]


@dataclasses.dataclass(frozen=True)
class Mail:
    """One message as it arrived, and by what envelope."""

    sender: str
    recipient: str
    options: tuple[str, ...]
    content: bytes
    connection: int
    secure: bool

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        return str(self._part("plain").get_content()).replace("\r\n", "\n").removesuffix("\n")

    @property
    def html(self) -> str:
        return str(self._part("html").get_content())

    def _part(self, kind: str) -> EmailMessage:
        part = self.message.get_body((kind,))
        assert isinstance(part, EmailMessage), f"there is no {kind} part"
        return part


class MailServer:
    """Takes mail; a context manager.

    Args:
        tls: certificate for STARTTLS; without it none is offered.
        implicit: certificate for TLS from the first byte.
        login: the only name and password that are let in, and without which no mail is taken.
        size: the largest message; None says nothing.
        utf8: SMTPUTF8 is offered.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        size: int | None = 33_554_432,
        utf8: bool = True,
    ) -> None:
        self.requests: list[Mail] = []
        self.logins: list[tuple[str, str]] = []
        #: NOOP, RSET and QUIT, as they came.
        self.commands: list[str] = []
        self.connections = 0
        #: What is answered instead, by command: "MAIL", "RCPT", "RCPT anna@example.com", "DATA" or "NOOP".
        self.answers: dict[str, Answer] = {}
        #: Recipients that are refused are written down too, as a message without content.
        self.notes_refusals = False
        self.refusal = "535 5.7.8 Error: authentication failed"
        self.settings: dict[str, Any] = {
            "hostname": "mail.test",
            "tls_context": tls,
            "require_starttls": tls is not None,
            "auth_required": login is not None,
            "auth_require_tls": False,
            "authenticator": self._authenticate,
            "data_size_limit": size,
            "enable_SMTPUTF8": utf8,
        }
        self._login, self._implicit = login, implicit
        self._protocols: list[_Protocol] = []
        # Asyncio sets TCP_NODELAY where a socket says that it is of TCP; without it each answer takes 40 ms.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'smtps' if implicit else 'starttls' if tls else 'smtp'}://localhost:{self.port}"
        self.loop = asyncio.new_event_loop()
        logging.getLogger("mail").setLevel(logging.CRITICAL)  # its log is its own

    def __enter__(self) -> Self:
        serving = self.loop.create_server(self._protocol, sock=self._listener, ssl=self._implicit)
        self._server = self.loop.run_until_complete(serving)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

        def stop() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.002, self.loop.stop)

        self.loop.call_soon_threadsafe(stop)
        self._thread.join(5)
        self._listener.close()

    def hang_up(self, *, first_say: bytes = b"") -> None:
        """Close all connections."""
        done = threading.Event()

        def close() -> None:
            for protocol in self._protocols:
                transport = protocol.transport
                if transport is not None:
                    transport.write(first_say)
                    transport.close()
            self._protocols.clear()
            self.loop.call_later(0.005, done.set)

        self.loop.call_soon_threadsafe(close)
        assert done.wait(30)

    def stop_listening(self) -> None:
        """Take no new connections."""
        self.loop.call_soon_threadsafe(self._server.close)
        time.sleep(0.05)

    def _protocol(self) -> _Protocol:
        self.connections += 1
        self._protocols.append(_Protocol(self, self.connections))
        return self._protocols[-1]

    def _authenticate(self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        self.logins.append(given)
        refused = AuthResult(success=False, handled=False, message=self.refusal)
        return AuthResult(success=True) if given == self._login else refused

    async def _told(self, command: str, argument: str = "") -> str | None:
        told = self.answers.get(f"{command} {argument}", self.answers.get(command))
        if callable(told):
            told = await asyncio.get_running_loop().run_in_executor(None, told)
        return told

    # Hooks of aiosmtpd -----------------------------------------------------------------------------

    async def handle_MAIL(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        envelope.mail_from, envelope.mail_options = address, options
        told = await self._told("MAIL")
        if told and not told.startswith("2"):
            envelope.mail_from = None
        return told or "250 2.1.0 Ok"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if self.notes_refusals and f"RCPT {address}" in self.answers:
            self.requests.append(Mail(str(envelope.mail_from), address, (), b"", server.number, False))
        told = await self._told("RCPT", address)
        if not told or told.startswith("2"):
            envelope.rcpt_tos.append(address)
        return told or "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        told = await self._told("DATA")
        if told and not told.startswith("2"):
            return told
        content = envelope.original_content
        assert content is not None
        for recipient in envelope.rcpt_tos:
            options = tuple(envelope.mail_options)
            secure = session.ssl is not None or self._implicit is not None
            self.requests.append(Mail(str(envelope.mail_from), recipient, options, content, server.number, secure))
        return told or f"250 2.0.0 Ok: queued as {len(self.requests):08X}"

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, argument: str) -> str:
        self.commands.append("NOOP")
        return await self._told("NOOP") or "250 2.0.0 Ok"

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> str:
        self.commands.append("RSET")
        return "250 2.0.0 Ok"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        self.commands.append("QUIT")
        return "221 2.0.0 Bye"


class _Protocol(SMTP):
    def __init__(self, server: MailServer, number: int) -> None:
        self.number = number
        super().__init__(server, loop=server.loop, **server.settings)


# ------------------------------------------------------------------------------------------- reading


class Seen(HTMLParser):
    """What is in a page: its tags in their order, its attributes, and the text that a reader sees."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        elif tag == "br":
            self.texts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not {"style", "title", "script"} & set(self.open):
            self.texts.append(data)
