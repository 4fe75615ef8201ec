"""Email: what arrives in a mailbox, read by the parser of the standard library, and what is settled by recipient."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import re
import sys
import time
from collections.abc import Iterator
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mail_server import MailServer, Seen

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.email import EmailDispatcher
from bt_alerts.dispatchers.email.headers import Mailbox, _written, encoded, mailboxes, message_id, written
from bt_alerts.dispatchers.email.message import MAX_FILE, File, Letter, escape
from bt_alerts.render.look import Look
from bt_alerts.testing import poison

NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def dispatcher_for(server: MailServer, **options: Any) -> EmailDispatcher:
    plain = {"use_tls": False, "from_address": "Alerts <alerts@example.com>", "to": "anna@example.com", "timeout": 10}
    return EmailDispatcher("localhost", server.port, **{**plain, **options})


def deliver(dispatcher: EmailDispatcher, alert: Alert | None = None, number: int = 0, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[number], Context(key="k", **{"now": NOW, **context}))


def deliver_all(dispatcher: EmailDispatcher, alert: Alert) -> None:
    for number in range(len(dispatcher.targets())):
        deliver(dispatcher, alert, number)


def failure(dispatcher: EmailDispatcher, alert: Alert | None = None, number: int = 0) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert, number)
    return caught.value


def attached(tmp_path: Path, **files: bytes) -> list[Attachment]:
    """Files named like the arguments, an underscore for the dot."""
    found = []
    for name, content in files.items():
        path = tmp_path / name.replace("_", ".")
        path.write_bytes(content)
        found.append(Attachment.from_path(path))
    return found


def letter(alert: Alert | None = None, look: Look | None = None, **options: Any) -> Letter:
    view = (look or Look()).view(alert or Alert.make("hello", title="Title"), escape=escape, kit="email")
    box = Mailbox("", "alerts@example.com")
    return Letter(view, **{"sender": box, "to": (box,), "cc": (), "reply_to": (), "date": NOW, **options})


# ----------------------------------------------------------------------------------------- headers


def test_it_has_the_headers_of_a_good_message(mail: MailServer) -> None:
    dispatcher = dispatcher_for(
        mail,
        to="Anna Müller <anna@example.com>, bob@example.com",
        cc=['"Doe, John" <john@example.com>'],
        reply_to="desk@example.com",
    )
    alert = Alert.make("Price: 150", title="BUY AAPL")
    receipt = deliver(dispatcher, alert)
    message = mail.requests[0].message
    assert {name: str(value) for name, value in message.items() if not name.startswith(("Content", "MIME"))} == {
        "From": "Alerts <alerts@example.com>",
        "To": "Anna Müller <anna@example.com>, bob@example.com",
        "Cc": '"Doe, John" <john@example.com>',
        "Reply-To": "desk@example.com",
        "Subject": "🟡 BUY AAPL",
        "Date": "Wed, 20 May 2026 12:00:00 +0000",
        "Message-ID": f"<{alert.id}@example.com>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
    }
    assert [address.addr_spec for address in message["To"].addresses] == ["anna@example.com", "bob@example.com"]
    assert receipt.id == f"<{alert.id}@example.com>"
    assert receipt.facts == {"answer": "250 2.0.0 Ok: queued as 00000001"}


def test_every_recipient_is_a_target_and_sees_to_and_cc_but_no_blind_copy(mail: MailServer) -> None:
    dispatcher = dispatcher_for(
        mail, to="anna@example.com,bob@example.com", cc="carl@example.com", bcc="eve@example.com"
    )
    assert [target.label for target in dispatcher.targets()] == [
        "anna@example.com",
        "bob@example.com",
        "carl@example.com",
        "eve@example.com",
    ]
    deliver_all(dispatcher, Alert.make("x"))
    assert [sent.recipient for sent in mail.requests] == [target.address for target in dispatcher.targets()]
    for sent in mail.requests:
        assert (str(sent.message["To"]), str(sent.message["Cc"])) == (
            "anna@example.com, bob@example.com",
            "carl@example.com",
        )
        assert b"eve" not in sent.content
        assert sent.sender == "alerts@example.com"
    assert len({str(sent.message["Message-ID"]) for sent in mail.requests}) == 1


def test_an_address_in_two_fields_gets_one_message(mail: MailServer) -> None:
    dispatcher = dispatcher_for(
        mail, to="anna@example.com", cc="Anna@Example.com", bcc="anna@example.com, bob@b.example"
    )
    assert [target.address for target in dispatcher.targets()] == ["anna@example.com", "bob@b.example"]


def test_blind_copies_alone_have_recipients_that_nobody_sees(mail: MailServer) -> None:
    deliver(dispatcher_for(mail, to=None, bcc="eve@example.com"))
    assert str(mail.requests[0].message["To"]) == "undisclosed-recipients:;"
    assert b"eve@" not in mail.requests[0].content


def test_the_message_id_is_the_same_for_every_attempt_and_another_for_another_alert(mail: MailServer) -> None:
    dispatcher, alert = dispatcher_for(mail), Alert.make("x")
    mail.answers["DATA"] = "451 4.3.0 later"
    failure(dispatcher, alert)
    mail.answers.clear()
    ids = [deliver(dispatcher, alert, attempt=2).id, deliver(dispatcher, alert, attempt=3).id]
    assert ids == [f"<{alert.id}@example.com>"] * 2
    assert [str(sent.message["Message-ID"]) for sent in mail.requests] == ids
    assert deliver(dispatcher, Alert.make("x")).id != ids[0]


@pytest.mark.parametrize(
    ("alert_id", "sender", "domain"),
    [
        ("a" * 400, "a@example.com", "example.com"),
        ("x>\r\nBcc: eve@evil.example", "a@example.com", "example.com"),
        ("", "a@münchen.example", "xn--mnchen-3ya.example"),
        ("id", "a@[192.0.2.1]", "192.0.2.1"),
        ("id", "a@[IPv6:2001:db8::1]", "bt-alerts.invalid"),
    ],
)
def test_a_message_id_is_one_whatever_it_is_made_of(alert_id: str, sender: str, domain: str) -> None:
    found = message_id(alert_id, Mailbox("", sender))
    assert re.fullmatch(rf"<[A-Za-z0-9-]{{1,64}}@{re.escape(domain)}>", found)


def test_a_thread_is_told_by_the_ids_of_its_first_and_last_message(mail: MailServer) -> None:
    dispatcher = dispatcher_for(mail)
    first = deliver(dispatcher, Alert.make("opened", thread="t"))
    second = deliver(dispatcher, Alert.make("more", thread="t"), replies_to=(first.id, first.id))
    deliver(dispatcher, Alert.make("closed", thread="t"), replies_to=(first.id, second.id))
    told = [(sent.message["In-Reply-To"], sent.message["References"]) for sent in mail.requests]
    assert told == [(None, None), (first.id, first.id), (second.id, f"{first.id} {second.id}")]


@pytest.mark.parametrize("odd", ["", "12345", "<a@b>\r\nX-A: 1", "<a b@c>", "a@b", "<<a@b>", "<ä@b>", "\0"])
def test_what_is_no_message_id_is_not_replied_to(mail: MailServer, odd: str) -> None:
    deliver(dispatcher_for(mail), replies_to=(odd, "<good@example.com>"))
    assert str(mail.requests[0].message["References"]) == "<good@example.com>"


def test_urgent_alerts_say_so_and_no_others(mail: MailServer) -> None:
    for priority in Priority:
        deliver(dispatcher_for(mail), Alert.make("x", priority=priority))
    told = [(sent.message["Importance"], sent.message["X-Priority"]) for sent in mail.requests]
    assert told == [("high", "1"), ("high", "1"), (None, None), (None, None), (None, None)]


def test_a_late_message_says_so_in_its_subject_and_its_text(mail: MailServer) -> None:
    deliver(dispatcher_for(mail), late=dt.timedelta(minutes=11))
    assert str(mail.requests[0].message["Subject"]) == "🟡 Title (⏱ 11 min late)"
    assert mail.requests[0].text.splitlines()[:4] == ["🟡 Title", "", "⏱ 11 min late", "hello"]


def decoded(value: str) -> str:
    """By the older of the two parsers, which takes a header alone."""
    return str(make_header(decode_header(value)))


@pytest.mark.parametrize("text", poison.TEXTS.values(), ids=poison.TEXTS)
def test_no_subject_ends_its_header_or_is_taken_for_another_text(text: str) -> None:
    alert = Alert.make("x", title=text)
    sent = bytes(letter(alert).message())
    message = email.message_from_bytes(sent, policy=email.policy.default)
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", f"🟡 {alert.title}").strip()
    seen = str(message["Subject"])
    if len(clean) <= 250:
        assert seen == clean
    else:
        assert clean.startswith(seen.removesuffix("…").rstrip())
        assert len(seen) > 240 or text == poison.TEXTS["one endless cluster"]
    assert set(message) >= {"Date", "Message-ID"}
    assert not {"Bcc", "X-Injected"} & set(message)
    assert all(len(line) <= 78 for line in sent.split(b"\r\n"))


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_any_text_comes_back_from_a_header(text: str) -> None:
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    value = encoded("Subject", text)
    lines = f"Subject: {value}".split("\r\n")
    assert decoded(value.replace("\r\n", "")) == clean
    assert value.isascii()
    assert all(line.startswith(" ") for line in lines[1:])
    assert all(len(line) <= 78 for line in lines)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=12))
@settings(max_examples=100)
def test_any_name_comes_back_with_its_address(names: list[str]) -> None:
    clean = [" ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", name).split()) for name in names]
    boxes = [Mailbox(name, f"user{number}@example.com") for number, name in enumerate(clean)]
    raw = f"To: {written(boxes, utf8=False)}\r\n\r\n"
    message = email.message_from_string(raw, policy=email.policy.default)
    found = message["To"].addresses
    assert [address.addr_spec for address in found] == [box.address for box in boxes]
    # The newer parser puts a space between two encoded words of a name, as no reader of mail does.
    assert ["".join(address.display_name.split()) for address in found] == ["".join(name.split()) for name in clean]
    for box in boxes:
        if box.name:
            assert decoded(_written(box).replace("\r\n", "")) == f"{box.name} <{box.address}>"
    assert all(len(line) <= 78 for line in raw.split("\r\n"))


# ----------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("anna@example.com", [("", "anna@example.com")]),
        (" Anna <anna@example.com> ", [("Anna", "anna@example.com")]),
        ('"Doe, John" <j@example.com>,b@example.com', [("Doe, John", "j@example.com"), ("", "b@example.com")]),
        (["a@example.com", "A@EXAMPLE.com", ""], [("", "a@example.com")]),
        ("<a@example.com>", [("", "a@example.com")]),
        ("o'neil+x=y@sub.example.co.uk", [("", "o'neil+x=y@sub.example.co.uk")]),
        ("root@localhost", [("", "root@localhost")]),
        ("jürgen@müller.example", [("", "jürgen@müller.example")]),
        ("a@[192.0.2.1]", [("", "a@[192.0.2.1]")]),
        (None, []),
        ("", []),
    ],
)
def test_addresses_are_read(given: Any, found: list[tuple[str, str]]) -> None:
    assert [tuple(box) for box in mailboxes("to", given)] == found


@pytest.mark.parametrize(
    "odd",
    [
        "anna",
        "@example.com",
        "anna@",
        "anna@@example.com",
        "anna example@example.com",
        "anna@exa mple.com",
        "anna@example.com\r\nBcc: eve@evil.example",
        "Anna\r\nBcc: eve@evil.example <anna@example.com>",
        "anna@example.com\r\nRCPT TO:<eve@evil.example>",
        "anna@example.com; bob@example.com",
        "Anna <anna@example.com> <bob@example.com>",
        "Anna <anna@example.com",
        ".anna@example.com",
        "an..na@example.com",
        "anna@example..com",
        "anna@-example.com",
        "an\0na@example.com",
        f"{'x' * 65}@example.com",
        f"{'ü' * 33}@example.com",
        f"a@{'x.' * 130}example",
    ],
)
@pytest.mark.parametrize("place", ["to", "cc", "bcc", "reply_to", "from_address"])
def test_what_is_no_address_is_refused_by_the_name_of_its_setting(place: str, odd: str) -> None:
    with pytest.raises(ValueError, match=rf"^{place}( \(number \d\))? must "):
        EmailDispatcher("mail.example.com", **{place: odd})


def test_the_longest_address_is_taken() -> None:
    longest = f"{'x' * 64}@{'y' * 60}.{'y' * 60}.{'z' * 59}.example"
    assert len(longest) == 254
    assert mailboxes("to", longest)[0].address == longest


def test_an_address_of_another_alphabet_is_sent_where_the_server_takes_it(mail: MailServer) -> None:
    deliver(dispatcher_for(mail, to="Jürgen <jürgen@müller.example>"))
    sent = mail.requests[0]
    assert sent.recipient == "jürgen@müller.example"
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(sent.options)
    assert "jürgen@müller.example".encode() in sent.content
    assert sent.text.startswith("🟡 Title")


def test_one_address_that_the_server_cannot_take_ends_alone() -> None:
    with MailServer(utf8=False) as mail:
        dispatcher = dispatcher_for(mail, to=["anna@example.com", "jürgen@example.com"])
        deliver(dispatcher)
        assert str(mail.requests[0].message["To"]) == "anna@example.com"
        failed = failure(dispatcher, number=1)
        assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)
        assert failed.reason.startswith("jürgen@example.com has letters that are not ASCII")
        failed = failure(dispatcher_for(mail, from_address="jürgen@example.com"))
        assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, False)
        assert failed.reason.startswith("from_address has letters")


# ----------------------------------------------------------------------------------------- text and HTML


ALERT = Alert.make(
    "Bought 10 <AAPL> & more\nat 150.50",
    title='BUY "AAPL" <now>',
    time="2026-03-02T14:30",
    symbol="AAPL",
    strategy="Sma & Cross",
    data={"price": 150.5, "note": "<b>x</b>"},
)


def test_the_text_part_has_everything(mail: MailServer) -> None:
    deliver(dispatcher_for(mail), ALERT)
    assert mail.requests[0].text == (
        '🟡 BUY "AAPL" <now>\n\nBought 10 <AAPL> & more\nat 150.50\n\nSymbol: AAPL\nStrategy: Sma & Cross\n\n'
        "Price: 150.50\nNote: <b>x</b>\n\n2026-03-02 14:30 UTC · Sma & Cross"
    )


def test_the_html_part_has_the_same_and_shows_markup_as_text(mail: MailServer) -> None:
    deliver(dispatcher_for(mail), ALERT)
    page = Seen(mail.requests[0].html)
    for words in ('🟡 BUY "AAPL" <now>', "Bought 10 <AAPL> & more\nat 150.50", "Sma & Cross", "150.50", "<b>x</b>"):
        assert words in page.text
    assert page.faults == []
    assert {"b", "now", "aapl"} & set(page.tags) == set()


def test_text_comes_before_html_so_that_the_richer_one_is_shown(mail: MailServer) -> None:
    deliver(dispatcher_for(mail))
    message = mail.requests[0].message
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert {part.get_content_charset() for part in message.iter_parts()} == {"utf-8"}


TAGS = {"html", "head", "meta", "title", "style", "body", "div", "table", "tr", "td", "h1", "img", "br"}
LOADS = {"src", "href", "background", "srcset", "action", "data"}


@pytest.mark.parametrize("text", poison.TEXTS.values(), ids=poison.TEXTS)
def test_no_text_makes_a_page_load_or_run_anything(text: str) -> None:
    alert = Alert.make(text, title=text, symbol=text, strategy=text, data={text[:60]: text, "list": [text]})
    page = Seen(letter(alert).page([("cid", File(text, "image/png", PNG))]))
    assert page.faults == []
    assert set(page.tags) <= TAGS
    assert [(tag, name) for tag, name, _ in page.attributes if name.startswith("on")] == []
    sources = [value for _, name, value in page.attributes if name in LOADS]
    assert sources == ["cid:cid"]
    assert [value for _, name, value in page.attributes if "url(" in value or ("://" in value and name != "alt")] == []


def test_the_page_fits_a_phone_and_follows_the_dark_mode() -> None:
    page = letter().page()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert '<meta name="color-scheme" content="light dark">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "max-width:600px" in page
    assert re.findall(r"url\(|@import|https?:", page) == []


@pytest.mark.parametrize("priority", Priority)
def test_the_bar_has_the_colour_of_the_priority(priority: Priority) -> None:
    assert f"border-left:6px solid {priority.style.colour}" in letter(Alert.make("x", priority=priority)).page()


def test_the_list_of_messages_shows_the_beginning_of_the_text() -> None:
    page = letter(Alert.make("Bought 10\nat 150.50 " + "x" * 300, title="BUY")).page()
    hidden = re.search(r'<div style="display:none[^>]*>([^<&]*)', page)
    assert hidden is not None
    assert hidden[1].startswith("Bought 10 at 150.50 xxx")
    assert len(hidden[1]) == 120
    assert "Symbol: AAPL" in letter(Alert.make("", title="x", symbol="AAPL")).page().partition("<table")[0]


def test_a_message_without_text_is_complete(mail: MailServer) -> None:
    deliver(dispatcher_for(mail), Alert.make(" ", title="Up", time="2026-03-02T14:30"))
    assert mail.requests[0].text == "🟡 Up\n\n2026-03-02 14:30 UTC"
    assert Seen(mail.requests[0].html).faults == []


@given(st.text(max_size=400))
@example("one\r\ntwo\rthree\n\nfour")
@settings(max_examples=200)
def test_any_text_comes_back_from_both_parts(text: str) -> None:
    alert = Alert.make(text, title="Title")
    message = email.message_from_bytes(bytes(letter(alert).message()), policy=email.policy.default)
    plain, page = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert page is not None
    wanted = re.sub(r"\r\n?", "\n", alert.message).strip("\n") if alert.message.strip() else ""
    assert wanted in re.sub(r"\r\n?", "\n", plain.get_content())
    assert wanted in re.sub(r"\r\n?", "\n", Seen(page.get_content()).text)


# ------------------------------------------------------------------------------------- templates of the user


def test_a_template_is_used_in_both_parts_and_what_it_inserts_is_escaped() -> None:
    look = Look(
        {"all": {"title": "T: {{ title }}", "message": "{{ message }}\nfor {{ symbol }} & co", "footer": "end"}}
    )
    made = letter(Alert.make("a < b\nc", title="<x>", symbol="AAPL"), look)
    assert made.text().startswith("T: <x>\n\na < b\nc\nfor AAPL & co\n\n")
    assert made.text().endswith("\n\nend")
    assert "T: &lt;x&gt;</h1>" in made.page()
    assert "a &lt; b<br>c<br>for AAPL & co</div>" in made.page()
    assert made.subject == "T: <x>"


def test_a_template_may_have_markup_and_the_text_part_says_what_it_shows() -> None:
    chart = '<p>See <a href="https://x.example/1?a=1&amp;b=2">the chart</a> &amp;\n  more</p>'
    own = f"<p>{{{{ title }}}}</p>\n{chart}{{{{ message }}}}"
    made = letter(Alert.make("one\ntwo", title="T"), Look({"all": {"message": own}}))
    assert "<p>See <a href=" in made.page()
    assert made.text() == "\n\n".join(
        ["🟡 T", "T \nSee the chart (https://x.example/1?a=1&b=2) & moreone\ntwo", made.text().splitlines()[-1]]
    )


def test_a_template_that_fails_is_told_in_the_receipt(mail: MailServer) -> None:
    dispatcher = dispatcher_for(mail)
    dispatcher.look = Look({"all": {"title": "{{ 1 / 0 }}"}})
    assert "the built-in title was used" in deliver(dispatcher).note
    assert str(mail.requests[0].message["Subject"]) == "🟡 Title"


@pytest.mark.parametrize("title", ["", "  ", "\n\r\n", "a\r\nBcc: eve@evil.example\r\n\r\nbody", "{{ '\\ud83d' }}"])
def test_no_template_of_a_title_ends_the_header(title: str) -> None:
    made = letter(look=Look({"all": {"title": title}}))
    message = email.message_from_bytes(bytes(made.message()), policy=email.policy.default)
    assert str(message["Subject"]).strip()
    assert message["Bcc"] is None
    assert message.get_body(("plain",)) is not None


# ----------------------------------------------------------------------------------------- files


def test_a_picture_is_shown_inside_and_files_are_beside(mail: MailServer, tmp_path: Path) -> None:
    files = attached(tmp_path, chart_png=PNG, trades_csv="a,b\n1,ü\n".encode(), report_pdf=b"%PDF-1.7 \x00\xff")
    receipt = deliver(dispatcher_for(mail), Alert.make("x", attachments=files))
    message = mail.requests[0].message
    assert message.get_content_type() == "multipart/mixed"
    body, csv, pdf = message.iter_parts()
    assert body.get_content_type() == "multipart/alternative"
    text, related = body.iter_parts()
    assert (text.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
    assert related.get_param("type") == "text/html"
    page, picture = related.iter_parts()
    cid = picture["Content-ID"]
    assert f'src="cid:{cid[1:-1]}" alt="chart.png"' in page.get_content()
    assert (picture.get_content_type(), picture.get_content_disposition()) == ("image/png", "inline")
    assert [(part.get_filename(), part.get_content_type()) for part in (csv, pdf)] == [
        ("trades.csv", "text/csv"),
        ("report.pdf", "application/pdf"),
    ]
    assert [part.get_content_disposition() for part in (csv, pdf)] == ["attachment"] * 2
    assert [part.get_payload(decode=True) for part in (picture, csv, pdf)] == [
        PNG,
        "a,b\n1,ü\n".encode(),
        b"%PDF-1.7 \x00\xff",
    ]
    assert csv.get_content_charset() == "utf-8"
    assert receipt.note == ""


def test_two_pictures_have_ids_of_their_own(mail: MailServer, tmp_path: Path) -> None:
    deliver(dispatcher_for(mail), Alert.make("x", attachments=attached(tmp_path, a_png=PNG, b_png=PNG)))
    ids = [part["Content-ID"] for part in mail.requests[0].message.walk() if part["Content-ID"]]
    assert len(set(ids)) == 2
    assert re.findall(r'src="cid:([^"]+)"', mail.requests[0].html) == [each[1:-1] for each in ids]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Übersicht – März.csv", "Übersicht – März.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.csv", "a.csv"),
        ('a"; x="b.csv', 'a"; x="b.csv'),
        ("a\r\nX-Injected: yes\r\n\r\nb.csv", "a X-Injected: yes b.csv"),
        ("🚀" * 200 + ".csv", None),
        ("", "file"),
    ],
)
def test_any_name_of_a_file_comes_back(mail: MailServer, tmp_path: Path, name: str, shown: str | None) -> None:
    (file,) = attached(tmp_path, a_csv=b"1")
    named = Attachment(name, file.content_type, file.sha256, file.size, file.path)
    deliver(dispatcher_for(mail), Alert.make("x", attachments=[named]))
    (part,) = mail.requests[0].message.iter_attachments()
    assert part.get_payload(decode=True) == b"1"
    assert part.get_filename() == shown if shown else set(part.get_filename() or "") == {"🚀", "…"}
    assert mail.requests[0].message["X-Injected"] is None


@pytest.mark.parametrize(
    "kind", ["message/rfc822", "multipart/mixed", "nonsense", "a/b\r\nX-Injected: yes", "", "a/b/c"]
)
def test_an_odd_type_of_a_file_is_a_stream_of_bytes(mail: MailServer, tmp_path: Path, kind: str) -> None:
    (file,) = attached(tmp_path, a_eml=b"From: x\r\n\r\nbody")
    odd = Attachment("a.eml", kind, file.sha256, file.size, file.path)
    deliver(dispatcher_for(mail), Alert.make("x", attachments=[odd]))
    (part,) = mail.requests[0].message.iter_attachments()
    assert (part.get_content_type(), part.get_payload(decode=True)) == (
        "application/octet-stream",
        b"From: x\r\n\r\nbody",
    )


def test_a_file_that_is_gone_or_too_large_stays_and_the_text_goes(mail: MailServer, tmp_path: Path) -> None:
    gone, large, good = attached(tmp_path, gone_png=PNG, large_csv=b"", good_csv=b"1")
    (tmp_path / "gone.png").unlink()
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    receipt = deliver(dispatcher_for(mail), Alert.make("text", attachments=[gone, large, good]))
    assert receipt.note == (
        "sent without gone.png: it cannot be read (No such file or directory); "
        "sent without large.csv: it is larger than 25,000,000 bytes"
    )
    assert [part.get_filename() for part in mail.requests[0].message.iter_attachments()] == ["good.csv"]
    assert "text" in mail.requests[0].text


def test_what_is_more_than_the_server_takes_is_left_out_the_largest_first(tmp_path: Path) -> None:
    with MailServer(size=200_000) as mail:
        files = attached(tmp_path, big_csv=b"x" * 160_000, small_csv=b"y" * 60_000, chart_png=PNG * 100)
        receipt = deliver(dispatcher_for(mail), Alert.make("x", attachments=files))
        assert receipt.note == "sent without big.csv: the message would be larger than the server takes"
        assert [part.get_filename() for part in mail.requests[0].message.walk() if part.get_filename()] == [
            "chart.png",
            "small.csv",
        ]
        assert f"SIZE={len(mail.requests[0].content)}" in mail.requests[0].options
        assert mail.connections == 1


def test_a_text_that_is_more_than_the_server_takes_is_too_large() -> None:
    with MailServer(size=1000) as mail:
        failed = failure(dispatcher_for(mail))
        assert failed.failure is Failure.TOO_LARGE
        assert re.search(r"the message has [\d,]+ bytes, and the mail server takes 1,000", failed.reason)


@pytest.mark.parametrize("command", ["MAIL", "DATA"])
@pytest.mark.parametrize("answer", ["552 5.3.4 message too big", "552 too much mail data", "554 5.2.3 too long"])
def test_a_message_that_is_refused_for_its_size_is_sent_again_without_files(
    mail: MailServer, tmp_path: Path, command: str, answer: str
) -> None:
    answers = iter([answer, "250 fine"])
    mail.answers[command] = lambda: next(answers)
    alert = Alert.make("x", attachments=attached(tmp_path, a_png=PNG, b_csv=b"1"))
    receipt = deliver(dispatcher_for(mail), alert)
    assert receipt.note == f"sent without its files: localhost:{mail.port} says that the message is too large: {answer}"
    assert [part.get_filename() for part in mail.requests[0].message.walk() if part.get_filename()] == []
    assert len(mail.requests) == 1
    mail.answers[command] = answer
    assert failure(dispatcher_for(mail), alert).failure is Failure.TOO_LARGE
    assert failure(dispatcher_for(mail)).failure is Failure.TOO_LARGE


# ----------------------------------------------------------------------------------------- settings


def test_what_is_missing_is_said_by_name() -> None:
    assert EmailDispatcher("").missing() == (
        "set host (SMTP_HOST) and from_address (SMTP_FROM_EMAIL) and to (EMAIL_TO) to send email"
    )
    assert EmailDispatcher("m", username="anna", from_address="a@b.c", to="a@b.c").missing() == (
        "set password (SMTP_PASSWORD) to send email"
    )
    assert EmailDispatcher("m", password="pw", from_address="a@b.c", to="a@b.c").missing() == (
        "set username (SMTP_USERNAME) to send email"
    )
    assert EmailDispatcher("m", from_address="a@b.c", bcc="a@b.c").missing() == ""
    assert EmailDispatcher("m", to="a@b.c").targets() == []


def test_the_sender_is_the_username_where_that_is_an_address() -> None:
    assert EmailDispatcher("m", username="me@example.com", password="pw", to="a@b.c").sender == ("", "me@example.com")
    assert EmailDispatcher("m", username="me", password="pw", to="a@b.c").sender is None


@pytest.mark.parametrize(
    ("arguments_given", "said"),
    [
        ({"host": "smtp://mail.example.com"}, "host must"),
        ({"host": "mail.example.com:587"}, "host must be a name such as smtp.example.com; the port stands in port"),
        ({"host": "mail.example.com/x"}, "host must"),
        ({"host": "anna@mail.example.com"}, "host must"),
        ({"host": "a b"}, "host must"),
        ({"host": "m", "port": 0}, "port must"),
        ({"host": "m", "port": 70_000}, "port must"),
        ({"host": "m", "port": 465, "use_tls": False}, "use_tls must"),
        ({"host": "m", "implicit_tls": True, "use_tls": False}, "use_tls must"),
        ({"host": "m", "from_address": "a@b.c, d@e.f"}, "from_address must be one address, not 2"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_name(arguments_given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(said)}"):
        EmailDispatcher(**arguments_given)


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(EmailDispatcher)}
    assert list(known)[:11] == (
        ["host", "port", "username", "password", "from_address", "to", "cc", "bcc", "reply_to", "use_tls", "rate_limit"]
    )
    assert [name for name, argument in known.items() if argument.credential] == ["password"]
    assert {argument.env for argument in known.values() if argument.env} == {
        f"SMTP_{name}" for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "FROM_EMAIL")
    } | {"EMAIL_TO"}
    assert all(argument.about for argument in known.values())


def test_the_environment_alone_is_a_configuration(monkeypatch: pytest.MonkeyPatch, mail: MailServer) -> None:
    for name, value in {
        "EMAIL_NOTIFICATIONS_ENABLED": "true",
        "SMTP_HOST": "localhost",
        "SMTP_PORT": "465",
        "SMTP_USERNAME": "anna@example.com",
        "SMTP_PASSWORD": "pass word",
        "SMTP_FROM_EMAIL": "Alerts <alerts@example.com>",
        "EMAIL_TO": "bob@example.com, Carl <carl@example.com>",
    }.items():
        monkeypatch.setenv(name, value)
    with AlertManager(store="memory") as manager:
        channel = manager.channels["email"]
        dispatcher = channel.dispatcher
        assert isinstance(dispatcher, EmailDispatcher)
        assert [target.address for target in dispatcher.targets()] == ["bob@example.com", "carl@example.com"]
        assert dispatcher.sender == ("Alerts", "alerts@example.com")
        assert dispatcher.implicit_tls
        assert dispatcher.timeout == 60.0


# ----------------------------------------------------------------------------------------- previews


def test_a_preview_shows_headers_text_and_names_of_files(tmp_path: Path) -> None:
    dispatcher = EmailDispatcher(
        "mail.example.com", from_address="Alerts <alerts@example.com>", to="anna@example.com", bcc="eve@example.com"
    )
    alert = Alert.make("hello\nworld", title="Überschrift", attachments=attached(tmp_path, chart_png=PNG, a_csv=b"1"))
    (shown,) = dispatcher.preview(alert, dispatcher.targets()[1], Context(key="k", now=NOW))
    assert shown.line == "SMTP mail.example.com:587, from alerts@example.com to eve@example.com"
    assert shown.headers["Subject"] == "🟡 Überschrift"
    assert shown.headers["To"] == "anna@example.com"
    assert "Bcc" not in shown.headers
    assert shown.body.startswith("🟡 Überschrift\n\nhello\nworld\n")
    assert "[file chart.png: image/png, 264 bytes]" in shown.body
    assert re.search(r"\[text/html, [\d,]+ bytes\]", shown.body)


# ------------------------------------------------------------------------------------- with a manager


def test_one_refused_recipient_holds_up_nobody_and_a_passing_refusal_is_sent_again(
    mail: MailServer, tmp_path: Path
) -> None:
    told: list[str] = []

    def once() -> str:
        told.append("451 4.3.0 later" if not told else "250 2.1.5 Ok")
        return told[-1]

    mail.answers["RCPT bob@example.com"] = "550 5.1.1 no such user"
    mail.answers["RCPT carl@example.com"] = once
    channel = {
        "host": "localhost",
        "port": mail.port,
        "use_tls": False,
        "from_address": "alerts@example.com",
        "to": ["anna@example.com", "bob@example.com", "carl@example.com"],
    }
    config = {"alerts": {"email": channel}, "delivery": {"retry_delay": 0.05}}
    with AlertManager(config, store=str(tmp_path / "alerts.db")) as manager:
        manager.send_custom_alert("hello", "Title")
        until = time.monotonic() + 10
        states: dict[str, str] = {}
        while "pending" in states.values() or len(states) < 3:
            assert time.monotonic() < until, states
            time.sleep(0.02)
            rows = [row for row in manager.get_recent_deliveries(20) if row["title"] == "Title"]
            states = {row["target"]: row["state"] for row in rows}
    assert states == {"anna@example.com": "delivered", "bob@example.com": "held", "carl@example.com": "delivered"}
    ours = [sent for sent in mail.requests if str(sent.message["Subject"]) == "🟡 Title"]
    assert sorted(sent.recipient for sent in ours) == ["anna@example.com", "carl@example.com"]
    assert len({str(sent.message["Message-ID"]) for sent in ours}) == 1
    assert told[0].startswith("451")


def test_importing_it_does_not_import_what_only_sending_needs() -> None:
    import subprocess

    code = "import sys, bt_alerts.dispatchers.email; print({'requests', 'smtplib', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
