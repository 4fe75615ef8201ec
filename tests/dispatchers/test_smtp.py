"""The line to a mail server: TLS, logins, kept connections, deadlines, and what each answer means.

Servers that behave are aiosmtpd; those that do not are raw sockets that speak SMTP up to a point.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from alerts_kit import until
from mail_server import MailServer
from timeouts_kit import handshake_timeouts

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt
from bt_alerts.dispatchers.email import EmailDispatcher, smtp
from bt_alerts.dispatchers.email.session import Composed
from bt_alerts.dispatchers.email.smtp import SmtpClient
from bt_alerts.testing.faults import Behaviour, FaultServer, reset

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
PASSWORD = "correct horse 9 battery"
LOGIN = ("anna", PASSWORD)
MESSAGE = b"Subject: x\r\n\r\n.\r\nhello\r\n"
STARTTLS = b"250-mail.test\r\n250 STARTTLS\r\n"


def server_context(authority: trustme.CA, *names: str, **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1")), **more).configure_cert(context)
    return context


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def email_to(port: int, **options: Any) -> EmailDispatcher:
    usual = {"from_address": "alerts@example.com", "to": "anna@example.com", "use_tls": False, "timeout": 10}
    return EmailDispatcher(**{"host": "localhost", "port": port, **usual, **options})


def deliver(dispatcher: EmailDispatcher, alert: Alert | None = None) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="k"))


def failure(dispatcher: EmailDispatcher, alert: Alert | None = None) -> DeliveryFailed:
    with contextlib.closing(dispatcher), pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, DeliveryFailed)
    return caught.value


def brief(failed: DeliveryFailed) -> tuple[Failure, bool, bool]:
    return failed.failure, failed.answered, failed.dead_target


# ----------------------------------------------------------------------------------------- TLS


def test_it_begins_tls_asks_again_what_the_server_can_and_logs_in(certificate: ssl.SSLContext, ca_file: str) -> None:
    with MailServer(tls=certificate, login=LOGIN) as mail:
        mail.settings["auth_require_tls"] = True  # so AUTH stands in the second answer alone
        dispatcher = email_to(mail.port, username="anna", password=PASSWORD, use_tls=True, ca_file=ca_file)
        deliver(dispatcher)
        dispatcher.close()
        assert mail.logins == [LOGIN]
        assert [sent.secure for sent in mail.requests] == [True]


def test_it_speaks_tls_from_the_first_byte_where_that_is_wanted(certificate: ssl.SSLContext, ca_file: str) -> None:
    with MailServer(implicit=certificate, login=LOGIN) as mail:
        options = {"use_tls": True, "implicit_tls": True, "ca_file": ca_file}
        dispatcher = email_to(mail.port, username="anna", password=PASSWORD, **options)
        deliver(dispatcher)
        dispatcher.close()
        assert mail.logins == [LOGIN]
        assert [sent.secure for sent in mail.requests] == [True]
    assert [EmailDispatcher("m", port).implicit_tls for port in (25, 465, 587)] == [False, True, False]


def test_a_server_without_tls_gets_neither_password_nor_message() -> None:
    with MailServer(login=LOGIN) as mail:
        failed = failure(email_to(mail.port, username="anna", password=PASSWORD, use_tls=True))
        assert brief(failed) == (Failure.RETRY, False, False)
        assert failed.reason.startswith(f"localhost:{mail.port} does not offer TLS (STARTTLS)")
        assert (mail.logins, mail.requests) == ([], [])


def test_a_server_that_refuses_to_begin_tls_gets_nothing(certificate: ssl.SSLContext) -> None:
    talk = speaks(EHLO=b"250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", STARTTLS=b"454 4.7.0 not now\r\n")
    with FaultServer(talk) as server:
        failed = failure(email_to(server.port, username="anna", password=PASSWORD, use_tls=True))
        assert brief(failed) == (Failure.RETRY, False, False)
        assert "cannot begin TLS now: 454 4.7.0 not now" in failed.reason
        assert [line.split()[0] for line in server.requests] == [b"ehlo", b"STARTTLS"]


def test_what_was_said_before_tls_counts_for_nothing_after_it(certificate: ssl.SSLContext, ca_file: str) -> None:
    heard: list[bytes] = []

    def injects(sock: socket.socket, server: FaultServer) -> None:
        """Puts an answer behind the one to STARTTLS, where no certificate vouches for it."""
        sock.sendall(b"220 mail.test\r\n")
        read_line(sock)
        sock.sendall(b"250-mail.test\r\n250 STARTTLS\r\n")
        read_line(sock)
        sock.sendall(b"220 go\r\n250-evil\r\n250-AUTH PLAIN\r\n250 SIZE 1\r\n")
        secure = certificate.wrap_socket(sock, server_side=True)
        heard.append(read_line(secure))
        secure.sendall(b"250-mail.test\r\n250 SIZE 0\r\n")
        speaks(greets=False)(secure, server)

    with FaultServer(injects) as server:
        deliver(email_to(server.port, use_tls=True, ca_file=ca_file))
    assert heard[0].startswith(b"ehlo ")


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unknown", "self-signed certificate|unable to get local issuer certificate"),
        ("wrong host", "Hostname mismatch"),
        ("expired", "certificate has expired"),
    ],
)
def test_a_certificate_that_is_not_good_is_said_clearly(
    authority: trustme.CA, ca_file: str, kind: str, said: str, implicit: bool
) -> None:
    old = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    context = {
        "unknown": lambda: server_context(trustme.CA()),
        "wrong host": lambda: server_context(authority, "elsewhere.example"),
        "expired": lambda: server_context(authority, not_before=old, not_after=old + dt.timedelta(days=1)),
    }[kind]()
    with MailServer(login=LOGIN, **{"implicit" if implicit else "tls": context}) as mail:
        options = {"use_tls": True, "implicit_tls": implicit, "ca_file": ca_file}
        failed = failure(email_to(mail.port, username="anna", password=PASSWORD, **options))
        assert brief(failed) == (Failure.RETRY, False, False)
        assert failed.reason.startswith(f"localhost:{mail.port} cannot be trusted: its certificate is not valid: ")
        assert any(words in failed.reason for words in said.split("|"))
        assert (mail.logins, mail.requests) == ([], [])


def test_without_a_ca_file_the_system_decides(certificate: ssl.SSLContext, ca_file: str, monkeypatch: Any) -> None:
    with MailServer(tls=certificate) as mail:
        assert "cannot be trusted" in failure(email_to(mail.port, use_tls=True)).reason
        monkeypatch.setenv("SSL_CERT_FILE", ca_file)  # where OpenSSL looks
        deliver(email_to(mail.port, use_tls=True))


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_cannot_be_read_is_said_by_name(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content, encoding="ascii")
    failed = failure(email_to(9, use_tls=True, ca_file=str(file)))
    assert brief(failed) == (Failure.RETRY, False, False)
    assert "check ca_file" in failed.reason


def test_tls_in_the_wrong_way_is_said(certificate: ssl.SSLContext, ca_file: str) -> None:
    with MailServer(tls=certificate) as mail:
        failed = failure(email_to(mail.port, use_tls=True, implicit_tls=True, ca_file=ca_file))
        assert brief(failed) == (Failure.RETRY, False, False)
        assert "TLS failed" in failed.reason
        assert "is the port right?" in failed.reason
    with MailServer(implicit=certificate) as mail:
        failed = failure(email_to(mail.port, use_tls=True, ca_file=ca_file, timeout=3))
        assert failed.reason == f"localhost:{mail.port} did not greet us within 3 s; is the port right?"


def test_no_password_goes_in_clear_to_another_machine() -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.77", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but its own")
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("this machine has no address but its own")
    with FaultServer(speaks(EHLO=b"250-mail.test\r\n250 AUTH PLAIN\r\n")) as server:
        server._listener.close()
        server._listener = socket.create_server((outside, 0))
        server.port = server._listener.getsockname()[1]
        threading.Thread(target=server._accept, daemon=True).start()
        failed = failure(email_to(server.port, host=outside, username="anna", password=PASSWORD))
        assert brief(failed) == (Failure.AUTH, False, False)
        assert failed.reason == "username and password are not sent without TLS: set use_tls: true, or leave them out"
        assert not [line for line in server.requests if b"AUTH" in line.upper()]
        deliver(email_to(server.port, host=outside))  # without a login it may


# ----------------------------------------------------------------------------------------- logins


@pytest.mark.parametrize("password", [PASSWORD, "grüße–🚀", " spaces ", "x" * 300])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_any_password_comes_whole(password: str, mechanism: str) -> None:
    with MailServer(login=("änna", password)) as mail:
        mail.settings["auth_exclude_mechanism"] = {"PLAIN": ["LOGIN"], "LOGIN": ["PLAIN"]}[mechanism]
        deliver(email_to(mail.port, username="änna", password=password))
        assert mail.logins == [("änna", password)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("535 5.7.8 Username and Password not accepted", Failure.AUTH),
        ("534 5.7.9 Application-specific password required", Failure.AUTH),
        ("538 5.7.11 Encryption required", Failure.AUTH),
        ("530 5.7.0 Authentication required", Failure.AUTH),
        ("550 5.7.1 too many failed logins", Failure.AUTH),
        ("454 4.7.0 Temporary authentication failure", Failure.RETRY),
        ("421 4.7.0 Too many login attempts", Failure.RETRY),
    ],
)
def test_a_refused_login_stops_the_channel_unless_it_is_passing(answer: str, expected: Failure) -> None:
    with MailServer(login=LOGIN) as mail:
        mail.refusal = answer
        failed = failure(email_to(mail.port, username="anna", password="wrong one"))
        assert brief(failed) == (expected, True, False)
        assert failed.reason.endswith(answer)
        assert ("check username and password" in failed.reason) is (expected is Failure.AUTH)
        assert mail.requests == []


def test_a_server_that_hangs_up_after_a_refused_login_has_refused_it() -> None:
    def refuses(sock: socket.socket, line: bytes) -> None:
        sock.sendall(b"535 5.7.8 wrong\r\n")
        sock.close()

    with FaultServer(speaks(EHLO=b"250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n", AUTH=refuses)) as server:
        failed = failure(email_to(server.port, username="anna", password=PASSWORD))
        assert failed.failure is Failure.AUTH
        assert "535 5.7.8 wrong" in failed.reason


@pytest.mark.parametrize("offer", [b"250 mail.test\r\n", b"250-mail.test\r\n250 AUTH XOAUTH2 GSSAPI\r\n"])
def test_a_server_that_offers_no_known_login_is_said(offer: bytes) -> None:
    with FaultServer(speaks(EHLO=offer)) as server:
        failed = failure(email_to(server.port, username="anna", password=PASSWORD))
        assert brief(failed) == (Failure.AUTH, True, False)
        assert "offers no way to log in that is known here" in failed.reason


@pytest.mark.parametrize("challenge", [b"334 \xff\xfe!!\r\n", b"334\r\n" * 9, b"999 what\r\n", b"hello\r\n"])
def test_a_login_that_is_answered_with_nonsense_is_no_crash(challenge: bytes) -> None:
    with FaultServer(speaks(EHLO=b"250-mail.test\r\n250 AUTH CRAM-MD5\r\n", AUTH=challenge)) as server:
        failed = failure(email_to(server.port, username="anna", password=PASSWORD, timeout=0.3))
        assert failed.failure in {Failure.RETRY, Failure.AUTH}


@pytest.mark.parametrize(
    "answer", ["530 5.7.0 Must issue a STARTTLS command first", "530 5.5.1 Authentication Required"]
)
@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_wants_a_login_first_stops_the_channel(mail: MailServer, command: str, answer: str) -> None:
    mail.answers[command] = answer
    failed = failure(email_to(mail.port))
    assert brief(failed) == (Failure.AUTH, True, False)
    assert "wants a login or TLS first; set username and password, and use_tls" in failed.reason


# ----------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("command", "answer", "expected", "dead"),
    [
        ("MAIL", "451 4.3.0 try later", Failure.RETRY, False),
        ("MAIL", "452 4.3.1 Insufficient system storage", Failure.RETRY, False),
        ("MAIL", "553 5.7.1 Sender address rejected: not owned by user", Failure.PERMANENT, False),
        ("MAIL", "550 5.1.8 Bad sender", Failure.PERMANENT, False),
        ("MAIL", "555 5.5.4 Unsupported option", Failure.PERMANENT, False),
        ("MAIL", "421 4.3.2 closing", Failure.RETRY, False),
        ("RCPT", "450 4.2.1 mailbox busy", Failure.RETRY, False),
        ("RCPT", "452 4.2.2 mailbox full", Failure.RETRY, False),
        ("RCPT", "550 5.1.1 no such user", Failure.PERMANENT, True),
        ("RCPT", "550-5.1.1 no such user\r\n550 5.1.1 see the manual", Failure.PERMANENT, True),
        ("RCPT", "553 5.1.3 bad address", Failure.PERMANENT, True),
        ("RCPT", "551 5.1.6 moved", Failure.PERMANENT, True),
        ("RCPT", "556 5.1.10 null MX", Failure.PERMANENT, True),
        ("RCPT", "550 5.1.7 bad sender", Failure.PERMANENT, False),
        ("RCPT", "550 no", Failure.PERMANENT, False),
        ("RCPT", "554 5.7.1 Relay access denied", Failure.PERMANENT, False),
        ("RCPT", "552 5.2.2 over quota", Failure.PERMANENT, False),
        ("RCPT", "552 mailbox full", Failure.PERMANENT, False),
        ("RCPT", "552 5.3.4 too big", Failure.TOO_LARGE, False),
        ("DATA", "451 4.7.1 later", Failure.RETRY_AFTER, False),
        ("DATA", "451 4.3.0 later", Failure.RETRY, False),
        ("DATA", "554 5.7.1 spam", Failure.PERMANENT, False),
        ("DATA", "550 5.1.1 no such user", Failure.PERMANENT, True),
        ("DATA", "552 5.2.2 over quota", Failure.PERMANENT, False),
        ("DATA", "552 too much mail data", Failure.TOO_LARGE, False),
        ("DATA", "554 5.3.4 too much", Failure.TOO_LARGE, False),
    ],
)
def test_each_answer_has_its_class(mail: MailServer, command: str, answer: str, expected: Failure, dead: bool) -> None:
    mail.answers[command] = answer
    failed = failure(email_to(mail.port))
    assert brief(failed) == (expected, True, dead)
    assert answer.split("\r\n", maxsplit=1)[0].replace("-", " ", 1) in failed.reason
    assert (failed.retry_after == 300.0) is (expected is Failure.RETRY_AFTER)


@pytest.mark.parametrize("code", [*range(400, 600, 23), 420, 422, 599])
@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_4yz_is_passing_and_5yz_is_not(mail: MailServer, command: str, code: int) -> None:
    mail.answers[command] = f"{code} no"
    found = failure(email_to(mail.port)).failure
    if code < 500:
        assert found is Failure.RETRY
    else:
        assert found in {Failure.PERMANENT, Failure.TOO_LARGE, Failure.AUTH}


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        ("450 4.7.1 Greylisted, see http://postgrey.example/", 300),
        ("451 4.7.1 Please try again later", 300),
        ("450 4.2.0 Greylisted, please try again in 60 seconds", 60),
        ("451 4.3.0 greylisting in action, come back in 5 minutes", 300),
        ("450 4.7.0 retry after 90s", 90),
        ("451 4.7.1 wait 2 min", 120),
    ],
)
def test_a_server_that_greylists_is_asked_again_when_it_says(mail: MailServer, answer: str, wait: float) -> None:
    mail.answers["RCPT"] = answer
    failed = failure(email_to(mail.port))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, wait)


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"554 5.7.1 your address is on a list\r\n", Failure.PERMANENT),
        (b"421 4.3.2 too many connections\r\n", Failure.RETRY),
        (b"450 busy\r\n", Failure.RETRY),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Failure.RETRY),
        (b"220" + b"-x\r\n220" * 3 + b"x" * 20_000, Failure.RETRY),
        (b"+OK POP3 ready\r\n", Failure.RETRY),
        (b"\r\n", Failure.RETRY),
        (b"\xff\xfe\x00\x01\r\n", Failure.RETRY),
    ],
)
def test_each_greeting_has_its_class(greeting: bytes, expected: Failure) -> None:
    with FaultServer(speaks(greeting=greeting)) as server:
        failed = failure(email_to(server.port))
        assert (failed.failure, failed.dead_target) == (expected, False)
        assert failed.reason.startswith(f"localhost:{server.port} ")


def test_an_answer_is_quoted_on_one_line_and_not_at_length(mail: MailServer) -> None:
    mail.answers["RCPT"] = "\r\n".join([f"550-{'5.7.1 go away ' * 20}"] * 20 + ["550 5.7.1 end"])
    reason = failure(email_to(mail.port)).reason
    assert "\n" not in reason
    assert len(reason) < 300


# ----------------------------------------------------------------------------------------- no answer


def read_line(sock: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"\n"):
        more = sock.recv(1)
        if not more:
            return b""
        got += more
    return got


Act = bytes | Callable[[socket.socket, bytes], None]


def speaks(*, greeting: Act = b"220 mail.test\r\n", greets: bool = True, **own: Act) -> Behaviour:
    """A mail server that does at a command what is told: sends bytes, or whatever a function does to the socket.

    ``END`` is the final dot. The lines that came are in the server's ``requests``.
    """
    usual = {"EHLO": b"250-mail.test\r\n250 SIZE 0\r\n", "AUTH": b"235 in\r\n", "DATA": b"354 go\r\n"}

    def do(act: Act, sock: socket.socket, line: bytes) -> None:
        if callable(act):
            act(sock, line)
        else:
            sock.sendall(act)

    def behave(sock: socket.socket, server: FaultServer) -> None:
        if greets:
            do(greeting, sock, b"")
        while line := read_line(sock):
            server.requests.append(line)
            word = line.split()[0].decode().upper()
            act = own.get(word, usual.get(word, b"250 2.0.0 Ok\r\n"))
            do(act, sock, line)
            if word == "DATA" and act == usual["DATA"]:
                got = b""
                while not got.endswith(b"\r\n.\r\n"):
                    more = sock.recv(65536)
                    if not more:
                        return
                    got += more
                server.requests.append(got)
                do(own.get("END", b"250 2.0.0 Ok: queued\r\n"), sock, b"")

    return behave


def hangs_up(sock: socket.socket, line: bytes) -> None:
    sock.close()


def resets(sock: socket.socket, line: bytes) -> None:
    reset(sock)


def falls_silent(sock: socket.socket, line: bytes) -> None:
    time.sleep(20)
    sock.close()


def dribbles(sock: socket.socket, line: bytes) -> None:
    """A byte every 20 ms, so that no single read is slow; 26 s in all."""
    for byte in b"250-and another line\r\n" * 60:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


WAYS: dict[str, Act] = {"hangs up": hangs_up, "resets": resets, "silence": falls_silent, "dribbles": dribbles}
TIME = {"hangs up": 5.0, "resets": 5.0, "silence": 0.3, "dribbles": 0.3}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"])
def test_without_an_answer_before_the_final_dot_it_is_tried_again(stage: str, way: str) -> None:
    own: dict[str, Any] = {"EHLO": b"250-mail.test\r\n250 AUTH PLAIN\r\n", stage: WAYS[way]}
    with FaultServer(speaks(**own)) as server:
        began = time.monotonic()
        failed = failure(email_to(server.port, username="anna", password=PASSWORD, timeout=TIME[way]))
        assert time.monotonic() - began < 15
        assert brief(failed) == (Failure.RETRY, False, False)
        said = "within 0.3 s" if TIME[way] < 1 else "connection (closed|reset)"
        assert re.search(said, failed.reason)
        assert "may have arrived" not in failed.reason


@pytest.mark.parametrize("way", WAYS)
def test_without_an_answer_after_the_final_dot_the_outcome_is_unknown(way: str) -> None:
    with FaultServer(speaks(END=WAYS[way])) as server:
        began = time.monotonic()
        failed = failure(email_to(server.port, timeout=max(3.0, TIME[way])))
        assert time.monotonic() - began < 15
        assert brief(failed) == (Failure.UNKNOWN, False, False)
        assert failed.reason.endswith("it may have arrived")
        assert server.connections == 1
    assert EmailDispatcher.repeat_unknown


@pytest.mark.parametrize("answer", [b"hello\r\n", b"354 more?\r\n", b"\r\n", b"x" * 9000 + b"\r\n"])
def test_nonsense_after_the_final_dot_leaves_the_outcome_unknown(answer: bytes) -> None:
    with FaultServer(speaks(END=answer)) as server:
        failed = failure(email_to(server.port))
        assert brief(failed) == (Failure.UNKNOWN, True, False)


def test_a_message_that_was_written_in_part_is_sent_again(tmp_path: Path) -> None:
    def reads_a_little(sock: socket.socket, line: bytes) -> None:
        sock.sendall(b"354 go\r\n")
        sock.recv(1000)
        reset(sock)

    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(8_000_000))
    alert = Alert.make("x", attachments=[Attachment.from_path(file)])
    with FaultServer(speaks(DATA=reads_a_little)) as server:
        failed = failure(email_to(server.port), alert)
        assert brief(failed) == (Failure.RETRY, False, False)
        assert "did not take the whole message" in failed.reason


def test_answers_that_are_out_of_step_do_not_make_a_message_of_nothing() -> None:
    """An answer too many would be taken for that to the next command, and the last of all for a yes."""
    with FaultServer(speaks(MAIL=b"250 Ok\r\n250 Ok\r\n")) as server:
        failed = failure(email_to(server.port, timeout=1))
        assert failed.failure in {Failure.RETRY, Failure.UNKNOWN}


def test_a_handshake_that_never_ends_ends(ca_file: str) -> None:
    def handshake(sock: socket.socket, line: bytes) -> None:
        sock.sendall(b"220 go\r\n")
        sock.recv(65536)
        sock.sendall(b"\x16\x03\x03\x40\x00")
        for _ in range(1000):
            sock.sendall(b"\x02")
            time.sleep(0.02)
        sock.close()

    with FaultServer(speaks(EHLO=STARTTLS, STARTTLS=handshake)) as server:
        began = time.monotonic()
        failed = failure(email_to(server.port, use_tls=True, ca_file=ca_file, timeout=1.5))
        assert time.monotonic() - began < 15
        assert brief(failed) == (Failure.RETRY, False, False)


def test_a_handshake_has_only_the_time_that_is_left(ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(sock: socket.socket, line: bytes) -> None:
        time.sleep(1.2)
        sock.sendall(b"220 go\r\n")
        sock.recv(65536)
        sock.close()

    given = handshake_timeouts(monkeypatch)
    with FaultServer(speaks(EHLO=STARTTLS, STARTTLS=slowly)) as server:
        assert brief(failure(email_to(server.port, use_tls=True, ca_file=ca_file))) == (Failure.RETRY, False, False)
    (seconds,) = given
    assert seconds is not None
    assert seconds <= 10 - 1.2


def test_a_server_that_is_not_there_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failed = failure(email_to(port))
    assert brief(failed) == (Failure.RETRY, False, False)
    assert failed.reason == f"localhost:{port} does not answer: connection refused"
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failed = failure(email_to(25, host="no-such-host.invalid"))
    assert brief(failed) == (Failure.RETRY, False, False)
    assert failed.reason.startswith("no-such-host.invalid:25 cannot be found: Name or service not known")


def test_a_name_that_takes_too_long_to_look_up_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10))
    began = time.monotonic()
    failed = failure(email_to(25, host="mail.example.com", timeout=0.2))
    assert time.monotonic() - began < 5
    over.set()
    assert brief(failed) == (Failure.RETRY, False, False)
    assert failed.reason == "mail.example.com:25 does not answer: no connection within 0.2 s"


def test_one_address_that_leads_nowhere_does_not_cost_all_the_time(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):  # a full queue: a further connection is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(OSError):
                waiting.connect(full.getsockname())
        places = [("127.0.0.2", full.getsockname()[1]), ("127.0.0.1", mail.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        deliver(email_to(mail.port, timeout=6))
    assert len(mail.requests) == 1


def test_it_does_not_look_up_the_name_of_this_machine(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("getfqdn", "gethostbyname", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, lambda *_: pytest.fail("a lookup that no deadline ends"))
    with FaultServer(speaks()) as server:
        deliver(email_to(server.port))
        assert server.requests[0] in (b"ehlo [127.0.0.1]\r\n", b"ehlo [IPv6:::1]\r\n")


# ------------------------------------------------------------------------------------- kept connections


def test_many_messages_go_over_one_connection(
    certificate: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "TRUST_IDLE", 60.0)  # no NOOP, however long the machine makes a pause
    with MailServer(tls=certificate, login=LOGIN) as mail:
        dispatcher = email_to(mail.port, username="anna", password=PASSWORD, use_tls=True, ca_file=ca_file)
        for _ in range(20):
            deliver(dispatcher)
        assert (mail.connections, len(mail.logins), len(mail.requests)) == (1, 1, 20)
        dispatcher.close()
        until(lambda: mail.commands == ["QUIT"])  # closing waits for the answer, but not for long


def test_a_refusal_does_not_cost_the_connection(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "TRUST_IDLE", 60.0)
    dispatcher = email_to(mail.port)
    for command in ("MAIL", "RCPT", "DATA"):
        mail.answers = {command: "550 5.7.1 no"}
        with pytest.raises(DeliveryFailed):
            deliver(dispatcher)
    mail.answers = {}
    deliver(dispatcher)
    assert mail.connections == 1
    assert mail.commands == ["RSET"] * 3


@pytest.mark.parametrize("first_say", [b"", b"421 4.4.2 idle for too long\r\n"])
@pytest.mark.parametrize("asked_first", [True, False])
def test_a_connection_that_was_closed_while_idle_is_opened_again(
    mail: MailServer, first_say: bytes, asked_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "TRUST_IDLE", 0.0 if asked_first else 9.0)
    dispatcher = email_to(mail.port)
    deliver(dispatcher)
    mail.hang_up(first_say=first_say)
    deliver(dispatcher)
    assert (mail.connections, len(mail.requests)) == (2, 2)


def test_a_connection_that_leads_nowhere_any_more_is_given_up_soon(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "TRUST_IDLE", 0.0)
    monkeypatch.setattr(smtp, "MAX_NOOP", 0.2)
    dispatcher = email_to(mail.port, timeout=10)
    deliver(dispatcher)
    gate = threading.Event()
    mail.answers["NOOP"] = lambda: "250 late" if gate.wait(20) else "250 very late"
    began = time.monotonic()
    deliver(dispatcher)
    gate.set()
    assert time.monotonic() - began < 8
    assert (mail.connections, len(mail.requests)) == (2, 2)


def test_a_server_that_always_hangs_up_is_not_asked_in_a_circle(mail: MailServer) -> None:
    dispatcher = email_to(mail.port)
    deliver(dispatcher)
    mail.answers["MAIL"] = "421 4.3.2 closing"
    assert failure(dispatcher).failure is Failure.RETRY
    assert mail.connections == 2


def test_a_message_that_was_written_is_not_written_again_by_itself() -> None:
    taken: list[bytes] = []

    def first_yes_then_gone(sock: socket.socket, line: bytes) -> None:
        taken.append(line)
        if len(taken) == 1:
            sock.sendall(b"250 2.0.0 Ok\r\n")
        else:
            sock.close()

    with FaultServer(speaks(END=first_yes_then_gone)) as server:
        dispatcher = email_to(server.port)
        deliver(dispatcher)
        assert failure(dispatcher).failure is Failure.UNKNOWN
        assert (len(taken), server.connections) == (2, 1)


def test_an_idle_connection_is_closed_after_a_while() -> None:
    for keep_idle in (0.2, 3.0):  # the longer one where the machine stalled between the two messages
        with MailServer() as mail:
            client = SmtpClient("localhost", mail.port, tls="none", keep_idle=keep_idle)
            for _ in range(2):
                client.send("a@example.com", "b@example.com", lambda offer: Composed(MESSAGE), 5)
            both_over_one = mail.connections == 1
            if both_over_one:
                until(lambda: mail.commands == ["QUIT"])
                client.send("a@example.com", "b@example.com", lambda offer: Composed(MESSAGE), 5)
                assert mail.connections == 2
            client.close()
        if both_over_one:
            break
    assert both_over_one
    assert mail.requests[0].content == MESSAGE


def test_closing_says_goodbye_and_leaves_no_thread(mail: MailServer) -> None:
    dispatcher, before = email_to(mail.port), set(threading.enumerate())
    deliver(dispatcher)
    assert set(threading.enumerate()) - before != set()
    dispatcher.close()
    dispatcher.close()
    until(lambda: mail.commands == ["QUIT"])
    for each in set(threading.enumerate()) - before:
        each.join(20)
        assert not each.is_alive()
    deliver(dispatcher)
    assert mail.connections == 2


def test_a_connection_in_use_is_closed_when_it_comes_back_after_close(mail: MailServer) -> None:
    gate = threading.Event()
    mail.answers["DATA"] = lambda: "250 ok" if gate.wait(30) else "451 late"
    dispatcher = email_to(mail.port)
    work = threading.Thread(target=deliver, args=(dispatcher,))
    work.start()
    while not mail.connections:
        time.sleep(0.01)
    time.sleep(0.1)
    dispatcher.close()
    gate.set()
    work.join()
    until(lambda: mail.commands == ["QUIT"])


def test_two_connections_at_most_are_open_at_once(mail: MailServer) -> None:
    gate, open_at_once = threading.Event(), []

    def wait() -> str:
        open_at_once.append(1)
        gate.wait(30)
        return "250 ok"

    mail.answers["DATA"] = wait
    dispatcher = email_to(mail.port, timeout=30)
    threads = [threading.Thread(target=deliver, args=(dispatcher,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(open_at_once) >= 2)
    time.sleep(0.1)
    assert len(open_at_once) == 2
    hurried = copy.copy(dispatcher)  # with the same connections, and a time of its own
    hurried.timeout = 0.1
    with pytest.raises(DeliveryFailed) as caught:
        deliver(hurried)
    failed = caught.value
    assert brief(failed) == (Failure.RETRY, False, False)
    assert "connections are busy" in failed.reason
    gate.set()
    for thread in threads:
        thread.join()
    assert (mail.connections, len(mail.requests)) == (2, 6)
    dispatcher.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "TRUST_IDLE", 60.0)
    dispatcher = email_to(mail.port)
    deliver(dispatcher)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            deliver(dispatcher)
            dispatcher.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    deliver(dispatcher)
    assert [sent.connection for sent in mail.requests] == [1, 2, 1]
    until(lambda: mail.commands == ["QUIT"])


# ----------------------------------------------------------------------------------------- checks


def test_a_check_logs_in_anew_and_sends_nothing(certificate: ssl.SSLContext, ca_file: str) -> None:
    with MailServer(tls=certificate, login=LOGIN, size=5000) as mail:
        dispatcher = email_to(mail.port, username="anna", password=PASSWORD, use_tls=True, ca_file=ca_file)
        for _ in range(2):
            receipt = dispatcher.check(dispatcher.targets()[0])
        assert receipt.facts == {"largest_message": 5000, "other_alphabets": True}
        assert (mail.connections, mail.requests) == (2, [])
        until(lambda: mail.commands == ["NOOP", "QUIT"] * 2)
        assert dispatcher.test_connection() is True
    with MailServer(tls=certificate, login=("anna", "another")) as mail:
        dispatcher = email_to(mail.port, username="anna", password=PASSWORD, use_tls=True, ca_file=ca_file)
        with pytest.raises(DeliveryFailed, match="refused the login") as caught:
            dispatcher.check(dispatcher.targets()[0])
        assert caught.value.failure is Failure.AUTH
        assert dispatcher.test_connection() is False
