"""Email, through any mail server that takes it by SMTP (RFC 5321, RFC 6409).

Every recipient is a target of his own: he gets his own copy, with the same headers and the same Message-ID as all
others, so one address that is refused or slow holds up nobody, and each is retried by itself. A blind copy is in no
header.

SMTP takes no idempotency key, so a message whose outcome is unknown is sent again: a repeat is better than a loss. The
Message-ID is the same each time, by which many servers and readers recognise the repeat.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTPUTF8
from typing import TYPE_CHECKING, Annotated, ClassVar

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Dispatcher,
    Env,
    Failure,
    Receipt,
    Request,
    Target,
    register_secrets_in,
)
from bt_alerts.dispatchers.email import message as email_message
from bt_alerts.dispatchers.email.headers import Mailbox, mailboxes
from bt_alerts.dispatchers.email.message import Letter, read_files
from bt_alerts.render.look import Escape

if TYPE_CHECKING:
    from bt_alerts.dispatchers.email.session import Composed, Offer
    from bt_alerts.dispatchers.email.smtp import SmtpClient

IMPLICIT_TLS_PORT = 465


class EmailDispatcher(Dispatcher):
    """Sends email.

    Raises:
        ValueError: where an argument cannot be right.
    """

    type: ClassVar[str] = "email"
    rate: ClassVar[int] = 10
    takes_pictures: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True
    concurrent: int = 2  # connections that the strictest services allow, and that the client opens
    kit = "email"
    escape: Escape = staticmethod(email_message.escape)

    def __init__(  # noqa: PLR0917 - the promised order of arguments
        self,
        host: Annotated[str, Env("SMTP_HOST"), About("name of the mail server, such as smtp.example.com")],
        port: Annotated[
            int, Env("SMTP_PORT"), About("587 with STARTTLS, 465 with TLS from the first byte, 25 for a relay")
        ] = 587,
        username: Annotated[
            str | None, Env("SMTP_USERNAME"), About("to log in with; none for a server that asks for none")
        ] = None,
        password: Annotated[
            str | None, Credential(), Env("SMTP_PASSWORD"), About("of the username, often an app password")
        ] = None,
        from_address: Annotated[
            str | None,
            Env("SMTP_FROM_EMAIL"),
            About("sender, as `a@example.com` or `Name <a@example.com>`; the username where that is an address"),
        ] = None,
        to: Annotated[
            str | Sequence[str] | None, Env("EMAIL_TO"), About("recipients; each is delivered by itself")
        ] = None,
        cc: Annotated[str | Sequence[str] | None, About("recipients of a copy, seen by all")] = None,
        bcc: Annotated[str | Sequence[str] | None, About("recipients of a blind copy, seen by nobody")] = None,
        reply_to: Annotated[str | Sequence[str] | None, About("where answers go instead of to the sender")] = None,
        use_tls: Annotated[
            bool, About("false sends in clear, and never a password unless the server is on this machine")
        ] = True,
        rate_limit: Annotated[int, About("messages a minute, one for each recipient; 0 means no limit")] = 10,
        *,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        implicit_tls: Annotated[
            bool | None, About("TLS from the first byte, not by STARTTLS; by itself only on port 465")
        ] = None,
        timeout: Annotated[float, About("seconds for one message in total; servers may examine it first")] = 60.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        self.host, self.port, self.use_tls = _checked_host(host), port, use_tls
        if not 1 <= port <= 65_535:
            raise ValueError(f"port must be from 1 to 65535, not {port}")
        self.implicit_tls = port == IMPLICIT_TLS_PORT if implicit_tls is None else implicit_tls
        if self.implicit_tls and not use_tls:
            raise ValueError("use_tls must be true on port 465 and with implicit_tls: nothing is said there in clear")
        self.username, self._password = (username or "").strip(), password or ""
        _register(self.username, self._password)
        self.to, self.cc, self.bcc = mailboxes("to", to), mailboxes("cc", cc), mailboxes("bcc", bcc)
        self.reply_to = mailboxes("reply_to", reply_to)
        self.sender = _sender(from_address, self.username)

    def missing(self) -> str:
        unset = [
            name
            for name, value in (
                ("host (SMTP_HOST)", self.host),
                ("username (SMTP_USERNAME)", self.username or not self._password),
                ("password (SMTP_PASSWORD)", self._password or not self.username),
                ("from_address (SMTP_FROM_EMAIL)", self.sender),
                ("to (EMAIL_TO)", self.to or self.cc or self.bcc),
            )
            if not value
        ]
        return f"set {' and '.join(unset)} to send email" if unset else ""

    def targets(self) -> Sequence[Target]:
        found: dict[str, Target] = {}
        for box in () if self.missing() else (*self.to, *self.cc, *self.bcc):
            found.setdefault(box.address.lower(), Target(box.address, box.address))
        return list(found.values())

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        until = time.monotonic() + self.timeout
        letter, notes = self._letter(alert, context)
        try:
            return self._hand_over(letter, target, notes, until)
        except DeliveryFailed as failed:
            if failed.failure is not Failure.TOO_LARGE or not letter.files:
                raise
            notes = [*notes, f"sent without its files: {failed.reason}"]
        return self._hand_over(letter.with_files(()), target, notes, until)

    def check(self, target: Target) -> Receipt:
        """Connect, begin TLS, log in and leave; nothing is sent."""
        offer = self.client.check(self.timeout)
        return Receipt(facts={"largest_message": offer.size, "other_alphabets": offer.utf8})

    def preview(self, alert: Alert, target: Target, context: Context) -> list[Request]:
        letter, _ = self._letter(alert, context)
        line = f"SMTP {self.host}:{self.port}, from {letter.sender.address} to {target.address}"
        message = BytesParser(_class=EmailMessage, policy=SMTPUTF8).parsebytes(bytes(letter.message(utf8=True)))
        headers = {name: str(value) for name, value in message.items()}
        text = message.get_body(("plain",))
        body = "" if text is None else text.get_content().replace("\r\n", "\n").strip("\n")
        named = [f"[{part.get_content_type()}, {_size(part):,} bytes]" for part in message.walk() if _is_page(part)]
        named += [f"[file {file.name}: {file.content_type}, {len(file.content):,} bytes]" for file in letter.files]
        return [Request(line, headers, "\n".join([body, "", *named]))]

    def close(self) -> None:
        """Close idle connections."""
        client = self.__dict__.get("_client")
        if client is not None:
            client.close()

    @property
    def client(self) -> SmtpClient:
        """The client; made on first use, because what it imports is heavy."""
        client = self.__dict__.get("_client")
        if client is None:
            from bt_alerts.dispatchers.email.smtp import SmtpClient

            made = SmtpClient(
                self.host,
                self.port,
                username=self.username,
                password=self._password,
                tls="none" if not self.use_tls else "implicit" if self.implicit_tls else "starttls",
                ca_file=self.ca_file,
            )
            client = self.__dict__.setdefault("_client", made)
        return client  # type: ignore[no-any-return]

    def _letter(self, alert: Alert, context: Context) -> tuple[Letter, list[str]]:
        """The email, and what is to be said about it."""
        view = self.view(alert, context)
        files, notes = read_files(alert.attachments)
        sender = self.sender or Mailbox("", "nobody@bt-alerts.invalid")
        letter = Letter(
            view,
            sender,
            self.to,
            self.cc,
            self.reply_to,
            date=context.now,
            replies_to=context.replies_to,
            files=files,
        )
        return letter, [view.note, *notes] if view.note else notes

    def _hand_over(self, letter: Letter, target: Target, notes: Sequence[str], until: float) -> Receipt:
        sent = letter

        def compose(offer: Offer) -> Composed:
            nonlocal sent
            sent, composed = _fitted(letter, target, offer)
            return composed

        left = max(0.0, until - time.monotonic())
        said = self.client.send(letter.sender.address, target.address, compose, left)
        out = [file.name for file in letter.files if file not in sent.files]
        notes = [*notes, *(f"sent without {name}: the message would be larger than the server takes" for name in out)]
        return Receipt(letter.id, "; ".join(notes), {"answer": said})


def _fitted(letter: Letter, target: Target, offer: Offer) -> tuple[Letter, Composed]:
    """The email without the files that are too much for the server, the largest first."""
    from bt_alerts.dispatchers.email.session import Composed

    if not offer.utf8 and not letter.sender.address.isascii():
        reason = "from_address has letters that are not ASCII, and the mail server does not take those (SMTPUTF8)"
        raise DeliveryFailed(Failure.PERMANENT, reason)
    if not offer.utf8 and not target.address.isascii():
        reason = f"{target.label} has letters that are not ASCII, and the mail server does not take those (SMTPUTF8)"
        raise DeliveryFailed(Failure.PERMANENT, reason, dead_target=True)
    utf8 = letter.needs_utf8 or not target.address.isascii()
    while True:
        content = bytes(letter.message(utf8=utf8 and offer.utf8))
        if not offer.size or len(content) <= offer.size:
            return letter, Composed(content, utf8 and offer.utf8)
        if not letter.files:
            reason = f"the message has {len(content):,} bytes, and the mail server takes {offer.size:,}"
            raise DeliveryFailed(Failure.TOO_LARGE, reason)
        largest = max(letter.files, key=lambda file: len(file.content))
        letter = letter.with_files(file for file in letter.files if file is not largest)


def _checked_host(host: str) -> str:
    host = host.strip()
    if host.count(":") == 1:
        raise ValueError("host must be a name such as smtp.example.com; the port stands in port")
    if re.search(r"[\s/@\x00-\x1f\x7f]", host):
        raise ValueError("host must be a name such as smtp.example.com, without a scheme, a name or a path")
    return host


def _sender(from_address: str | None, username: str) -> Mailbox | None:
    boxes = mailboxes("from_address", from_address)
    if len(boxes) > 1:
        raise ValueError(f"from_address must be one address, not {len(boxes)}")
    if boxes or not username:
        return boxes[0] if boxes else None
    try:
        return mailboxes("username", username)[0]
    except ValueError:
        return None  # a login that is no address


def _register(username: str, password: str) -> None:
    """The password is secret, and so is what AUTH makes of it (RFC 4616), which a server could quote."""
    forms = [password, f"\0{username}\0{password}"] if password else []
    encoded = [base64.b64encode(form.encode("utf-8", "surrogateescape")).decode() for form in forms]
    register_secrets_in([*forms[:1], *encoded])


def _is_page(part: EmailMessage) -> bool:
    return part.get_content_type() == "text/html" and not part.is_attachment()


def _size(part: EmailMessage) -> int:
    content = part.get_payload(decode=True)
    return len(content) if isinstance(content, bytes) else 0
