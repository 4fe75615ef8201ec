"""Email passes the contract of every dispatcher: in clear to this machine, and with TLS required."""

from __future__ import annotations

import base64
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from mail_server import Mail, MailServer, Seen

from bt_alerts.dispatchers.email import EmailDispatcher
from bt_alerts.dispatchers.email.message import MAX_FILE
from bt_alerts.testing import DispatcherContract

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


class TestEmailContract(DispatcherContract):
    many_targets = takes_pictures = True
    picture_limit = MAX_FILE
    timeout = 0.8  # a login and its answers take several turns
    trust: str | None = None
    use_tls = False

    @contextlib.contextmanager
    def serve(self) -> Iterator[MailServer]:
        with MailServer(login=("anna", self.secret("password"))) as server:
            server.notes_refusals = True
            yield server

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> EmailDispatcher:
        place = urlsplit(url)
        return EmailDispatcher(
            place.hostname or "",
            place.port or 25,
            "anna",
            self.secret("password"),
            from_address="Alerts <alerts@example.com>",
            to=addresses or "boss@example.com",
            use_tls=self.use_tls,
            **{"ca_file": self.trust, **settings},
        )

    def texts(self, requests: Sequence[Mail]) -> list[str]:
        return [mail.text for mail in requests if mail.content]

    def address(self, number: int) -> str:
        return f"user{number}@example.com"

    def assert_valid(self, request: Mail) -> None:
        message = request.message
        assert [part.defects for part in message.walk() if part.defects] == []
        assert [name for name, value in message.items() if getattr(value, "defects", ())] == []
        assert all(len(line) <= 78 for line in request.content.split(b"\r\n") if not line.startswith(b"Subject"))
        assert b"\n" not in request.content.replace(b"\r\n", b"")
        assert request.content.isascii()
        names = [name.lower() for name in message]
        assert len(set(names)) == len(names)
        assert not {"bcc", "x-injected", "x-a"} & set(names)

    def assert_markup(self, request: Mail) -> None:
        """The HTML part shows what the text part does."""
        page = Seen(request.html)
        assert page.faults == []
        assert "script" not in page.tags
        shown = _bare(page.text)
        assert [line for line in request.text.splitlines()[:40] if _bare(line) not in shown] == []

    def shows_picture(self, request: Mail, content: bytes) -> bool:
        return any(part.get_payload(decode=True) == content for part in request.message.walk())

    def troubles(self, service: MailServer, address: str) -> Mapping[str, Callable[[], object]]:
        gate = threading.Event()

        def hang() -> str:
            gate.wait(0.4)
            return "451 too late"

        def says(answer: Any) -> Callable[[], object]:
            return lambda: service.answers.update({f"RCPT {address}": answer})

        return {
            "unknown": says("550 5.1.1 no such user"),
            "full": says("452 4.2.2 mailbox full"),
            "closing": says("421 4.3.2 closing"),
            "silent": says(hang),
        }

    @contextlib.contextmanager
    def unfriendly(self, said: str) -> Iterator[dict[str, str]]:
        quoted = [said, base64.b64encode(f"\0anna\0{said}".encode()).decode(), base64.b64encode(said.encode()).decode()]
        with contextlib.ExitStack() as stack:
            found = {"closed port": "smtp://127.0.0.1:9"}
            for command in ("MAIL", "RCPT", "DATA"):
                for code in (451, 421, 535, 550):
                    server = stack.enter_context(MailServer(login=("anna", said)))
                    server.answers[command] = f"{code} not for {' '.join(quoted)}"
                    found[f"{code} to {command}"] = server.url
            for code in (454, 535):
                server = stack.enter_context(MailServer(login=("otto", said)))
                server.refusal = f"{code} 5.7.8 wrong: {' '.join(quoted)}"
                found[f"{code} to AUTH"] = server.url
            yield found


class TestEmailContractOverTls(TestEmailContract):
    use_tls = True
    # The texts are the same, and those who fail do it before TLS.
    test_no_text_breaks_it = test_no_text_in_its_data_breaks_it = None  # type: ignore[assignment]
    test_a_long_text_is_split_or_shortened = test_no_character_is_cut = None  # type: ignore[assignment]
    test_a_long_title_keeps_its_beginning = test_a_late_alert_says_how_late = None  # type: ignore[assignment]
    test_a_file_that_cannot_be_sent_does_not_keep_the_text_back = None  # type: ignore[assignment]
    test_no_credential_is_shown = None  # type: ignore[assignment]

    @pytest.fixture(autouse=True)
    def certificate(self, ca_file: str, authority: trustme.CA) -> None:
        self.trust, self.server_context = ca_file, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server_context)

    @contextlib.contextmanager
    def serve(self) -> Iterator[MailServer]:
        with MailServer(tls=self.server_context, login=("anna", self.secret("password"))) as server:
            server.notes_refusals = True
            yield server


def _bare(text: str) -> str:
    """Without white space, and without the colons that the text part has where the page has a table."""
    return "".join(text.replace(":", "").split())
