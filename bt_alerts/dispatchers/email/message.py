"""An alert as an email: a text part, an HTML part with its pictures inside, and files beside them.

Layout (RFC 2046, RFC 2387): mixed( alternative( text, related( HTML, pictures ) ), files ). The HTML loads nothing from
anywhere, runs nothing, and follows the reader's light or dark mode.

A template of the user is HTML, as its own text is the service's markup everywhere; its line ends become line breaks
unless it has paragraphs or tables. The text part is what a reader sees of that.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import re
from collections.abc import Iterable, Sequence
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import format_datetime
from html.parser import HTMLParser
from typing import NamedTuple

from bt_alerts.alert import Attachment, Priority
from bt_alerts.dispatchers.email.headers import MAX_NAME, Mailbox, Ready, encoded, message_id, one_line, written
from bt_alerts.render import templates
from bt_alerts.render.look import View, labelled
from bt_alerts.render.text import shorten

MAX_SUBJECT, MAX_PREVIEW = 250, 120
#: Bytes of one file that is attached; services take 20 to 35 MB a message, and base64 adds a third.
MAX_FILE = 25_000_000
#: Pictures that every reader of mail shows inside a message.
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif"})

_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
_BLOCK = re.compile(r"<(?:p|div|table|tr|ul|ol|li|pre|h[1-6])\b", re.IGNORECASE)


class File(NamedTuple):
    """A file that goes along, read already."""

    name: str
    content_type: str
    content: bytes

    @property
    def is_picture(self) -> bool:
        """It is shown inside the message."""
        return self.content_type in PICTURES


def read_files(attachments: Sequence[Attachment]) -> tuple[tuple[File, ...], list[str]]:
    """The files that can go along, and a sentence for each that cannot."""
    files, notes = [], []
    for each in attachments:
        name = shorten(one_line(re.split(r"[/\\]", each.name)[-1]), MAX_NAME) or "file"
        try:
            content = each.read() if each.size <= MAX_FILE else b""
        except (OSError, ValueError) as exc:  # the latter for a path that can be none
            why = getattr(exc, "strerror", None) or str(exc)
            notes.append(f"sent without {name}: it cannot be read ({why})")
            continue
        if max(each.size, len(content)) > MAX_FILE:
            notes.append(f"sent without {name}: it is larger than {MAX_FILE:,} bytes")
        else:
            files.append(File(name, _content_type(each.content_type), content))
    return tuple(files), notes


def _content_type(told: str) -> str:
    kind = told.partition(";")[0].strip().lower()
    # Parts of these two types must not be in base64 (RFC 2046 §5), and nothing else keeps a file as it is.
    fits = re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", kind) and not kind.startswith(("message/", "multipart/"))
    return kind if fits else "application/octet-stream"


def escape(text: str) -> str:
    """Make an alert's text safe in HTML; its line ends stay line ends."""
    return html.escape(_line_ends(text)).replace("\n", "<br>")


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """One alert as an email, the same for all who get it.

    Args:
        view: the alert's parts, made with :func:`escape`.
        sender: who it is from.
        to: recipients, as are ``cc``; who gets a blind copy is in no header.
        reply_to: where answers go; empty means to the sender.
        date: the time of sending, aware.
        replies_to: Message-IDs of earlier emails of the thread, oldest first.
        files: what goes along.
    """

    view: View
    sender: Mailbox
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    date: dt.datetime
    replies_to: tuple[str, ...] = ()
    files: tuple[File, ...] = ()

    @property
    def id(self) -> str:
        """The Message-ID."""
        return message_id(self.view.alert.id, self.sender)

    @property
    def needs_utf8(self) -> bool:
        """An address in the headers needs SMTPUTF8."""
        return any(box.needs_utf8 for box in (self.sender, *self.to, *self.cc, *self.reply_to))

    def with_files(self, files: Iterable[File]) -> Letter:
        """The same with these files instead."""
        return dataclasses.replace(self, files=tuple(files))

    def message(self, *, utf8: bool = False) -> EmailMessage:
        """The message; ``bytes()`` of it go over the wire.

        Args:
            utf8: for SMTPUTF8; without it the addresses that need it are left out of the headers.
        """
        policy: Policy = (SMTPUTF8 if utf8 else SMTP).clone(cte_type="7bit")
        message = EmailMessage(policy=policy)
        for name, value in self._headers(utf8):
            message[name] = Ready(name, value)
        pictures = [(f"{number}.{self.id[1:-1]}", file) for number, file in enumerate(self.files) if file.is_picture]
        message.set_content(self.text())
        message.add_alternative(self.page(pictures), subtype="html")
        if pictures:
            self._put_inside(message, pictures)
        for file in self.files:
            if not file.is_picture:
                main, sub = file.content_type.split("/")
                params = {"charset": "utf-8"} if main == "text" and _is_utf8(file.content) else {}
                message.add_attachment(file.content, main, sub, filename=file.name, params=params)
        return message

    @staticmethod
    def _put_inside(message: EmailMessage, pictures: Sequence[tuple[str, File]]) -> None:
        page = message.get_body(("html",))
        assert isinstance(page, EmailMessage)
        for cid, file in pictures:
            main, sub = file.content_type.split("/")
            page.add_related(file.content, main, sub, cid=f"<{cid}>", filename=file.name, disposition="inline")
        page.set_param("type", "text/html")  # RFC 2387 §3.1

    def _headers(self, utf8: bool) -> list[tuple[str, str]]:
        urgent = self.view.alert.priority >= Priority.HIGH
        to, cc = written(self.to, utf8=utf8), written(self.cc, utf8=utf8)
        replies = list(dict.fromkeys(each for each in self.replies_to if _ID.fullmatch(each)))
        found = [
            ("From", written([self.sender], utf8=utf8)),
            ("To", to or ("" if cc else "undisclosed-recipients:;")),
            ("Cc", cc),
            ("Reply-To", written(self.reply_to, utf8=utf8)),
            ("Subject", encoded("Subject", self.subject)),
            ("Date", format_datetime(self.date)),
            ("Message-ID", self.id),
            ("In-Reply-To", replies[-1] if replies else ""),
            ("References", "\r\n ".join(replies)),
            ("Auto-Submitted", "auto-generated"),  # RFC 3834: no machine is to answer this
            ("X-Auto-Response-Suppress", "OOF, AutoReply"),  # the same for Exchange
            ("Importance", "high" if urgent else ""),
            ("X-Priority", "1" if urgent else ""),  # the same for Thunderbird and Apple Mail
        ]
        return [(name, value) for name, value in found if value]

    @property
    def subject(self) -> str:
        """The title, and how late it is."""
        late = f" ({self.view.late})" if self.view.late else ""
        title = one_line(_text_of(self.view.title)) or self.view.alert.type.value.capitalize()
        return shorten(title, MAX_SUBJECT - len(late)) + late

    def text(self) -> str:
        """The text part."""
        view = self.view
        parts = [_text_of(view.title), _text_of(view.message), labelled(view.fields), labelled(view.details)]
        text = "\n\n".join(part for part in [*parts, _text_of(view.footer)] if part.strip())
        return text.encode("utf-8", "replace").decode()

    def page(self, pictures: Sequence[tuple[str, File]] = ()) -> str:
        """The HTML part.

        Args:
            pictures: Content-ID and file of each picture in it.
        """
        from markupsafe import Markup

        view = self.view
        first_lines = " ".join(_text_of(view.message).split()) or labelled(view.fields).replace("\n", " · ")
        facts = {
            "subject": self.subject,
            "preview": shorten(first_lines, MAX_PREVIEW),
            "filler": Markup("&#847;&zwnj;&nbsp;" * 60),  # keeps the rest of the page out of the list of messages
            "colour": view.colour,
            "title": Markup(_with_breaks(view.title)),
            "message": Markup(_with_breaks(view.message)),
            "plain": not _BLOCK.search(view.message),
            "footer": Markup(_with_breaks(view.footer)),
            "tables": [view.fields, view.details],
            "pictures": [{"cid": cid, "name": file.name} for cid, file in pictures],
        }
        page = templates.rendered(templates.built_in("email", "page"), escape, facts)
        return page.encode("utf-8", "replace").decode()


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _with_breaks(markup: str) -> str:
    return markup if _BLOCK.search(markup) else _line_ends(markup).replace("\n", "<br>")


def _text_of(markup: str) -> str:
    reader = _Reader(keeps_lines=not _BLOCK.search(markup))
    reader.feed(_line_ends(markup))
    reader.close()
    return "".join(reader.seen).strip("\n")


class _Reader(HTMLParser):
    """Collects what a reader sees of a little HTML."""

    def __init__(self, keeps_lines: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self._keeps_lines = keeps_lines
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br" or _BLOCK.match(f"<{tag}"):
            self.seen.append("\n")
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        link = self._links.pop() if tag == "a" and self._links else ""
        if link and link not in self.seen[-1:]:
            self.seen.append(f" ({link})")

    def handle_data(self, data: str) -> None:
        self.seen.append(data if self._keeps_lines else re.sub(r"[ \t]*\n\s*", " ", data))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
