"""Telegram: what leaves the program, and what each of the Bot API's answers means."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from telegram_reader import marked, parsed, read

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.telegram import Button, TelegramDispatcher, button_data, read_button
from bt_alerts.dispatchers.telegram.api import MAX_FILE, MAX_PHOTO
from bt_alerts.dispatchers.telegram.markup import escape_html, escape_markdown, length, without_markup
from bt_alerts.redact import redact
from bt_alerts.render.look import Look
from bt_alerts.settings import load
from bt_alerts.testing import FakeService, Received
from bt_alerts.testing.poison import TEXTS

TOKEN = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-made-up"
CHAT = -1001234567890
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
BAR = dt.datetime(2026, 5, 1, 14, 30, tzinfo=dt.UTC)


def took(number: int = 77) -> dict[str, Any]:
    return {"ok": True, "result": {"message_id": number, "date": 1, "chat": {"id": CHAT}}}


def refused(code: int, words: str, **parameters: Any) -> dict[str, Any]:
    more = {"parameters": parameters} if parameters else {}
    return {"ok": False, "error_code": code, "description": words, **more}


@pytest.fixture
def api(service: FakeService) -> FakeService:
    """Takes everything; the ids of messages count from 1."""
    return service.answer(200, lambda _: took(len(service.requests)))


def telegram(api: FakeService, **options: Any) -> TelegramDispatcher:
    return TelegramDispatcher(**{"bot_token": TOKEN, "chat_ids": CHAT, "api_url": api.url, **options})


def deliver(dispatcher: TelegramDispatcher, alert: Alert | str = "hello", **context: Any) -> Receipt:
    alert = Alert.make(alert, title="Title") if isinstance(alert, str) else alert
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def failure(dispatcher: TelegramDispatcher, alert: Alert | str = "hello", **context: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert, **context)
    return caught.value


def methods(api: FakeService) -> list[str]:
    return [request.path.rpartition("/")[2] for request in api.requests]


def sent(request: Received) -> dict[str, Any]:
    """The fields of a request, those of a form as the API reads them."""
    if "json" in request.headers["content-type"]:
        return dict(request.json())
    plain = {"text", "caption", "parse_mode"}
    return {name: value if name in plain else json.loads(value) for name, value in request.form().items()}


# ---------------------------------------------------------------------------------------- what is sent


def test_it_sends_the_fields_of_the_api(api: FakeService) -> None:
    alert = Alert.make("Price: 150.5 < 151", title="BUY AAPL", bar_time=BAR, strategy="SmaCross")
    receipt = deliver(telegram(api), alert)
    request = api.requests[0]
    assert (request.method, request.path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert request.json() == {
        "chat_id": CHAT,
        "text": "<b>🟡 BUY AAPL</b>\nPrice: 150.5 &lt; 151\n<i>2026-05-01 14:30 UTC · SmaCross</i>",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    assert receipt == Receipt(id="1")


@pytest.mark.parametrize("word", ["MarkdownV2", "Markdown", "markdown", " MARKDOWNV2 "])
def test_markdown_is_the_newer_one_whichever_word_asks_for_it(api: FakeService, word: str) -> None:
    deliver(telegram(api, parse_mode=word), Alert.make("150.5 (+2 %)", title="BUY", bar_time=BAR))
    assert api.requests[0].json()["text"] == "*🟡 BUY*\n150\\.5 \\(\\+2 %\\)\n_2026\\-05\\-01 14:30 UTC_"
    assert api.requests[0].json()["parse_mode"] == "MarkdownV2"


@pytest.mark.parametrize("word", ["", None])
def test_no_parse_mode_sends_plain_text(api: FakeService, word: str | None) -> None:
    deliver(telegram(api, parse_mode=word), Alert.make("a < b", title="*BUY*", bar_time=BAR))
    assert api.requests[0].json()["text"] == "🟡 *BUY*\na < b\n2026-05-01 14:30 UTC"
    assert "parse_mode" not in api.requests[0].json()


@pytest.mark.parametrize("mode", ["HTML", "MarkdownV2"])
def test_title_and_footer_are_set_off_and_nothing_else(api: FakeService, mode: str) -> None:
    alert = Alert.make(TEXTS["MarkdownV2"] + TEXTS["HTML"], title="_*<b>", strategy="My_Strategy*", bar_time=BAR)
    deliver(telegram(api, parse_mode=mode), alert)
    text = api.requests[0].json()["text"]
    found = [(kind, words) for kind, words in marked(text, mode) if kind in {"Bold", "Italic", "Code", "TextUrl"}]
    assert found == [("Bold", "🟡 _*<b>"), ("Italic", "2026-05-01 14:30 UTC · My_Strategy*")]


@pytest.mark.parametrize(
    ("chat", "fields", "label"),
    [
        (f"{CHAT}:77", {"chat_id": CHAT, "message_thread_id": 77}, f"chat {CHAT}, topic 77"),
        ("@my_channel", {"chat_id": "@my_channel"}, "@my_channel"),
        ("@my_forum:5", {"chat_id": "@my_forum", "message_thread_id": 5}, "@my_forum, topic 5"),
        (4_503_599_627_370_495, {"chat_id": 4_503_599_627_370_495}, "chat 4503599627370495"),
    ],
)
def test_a_chat_can_be_a_number_a_name_or_a_topic(
    api: FakeService, chat: str | int, fields: dict[str, Any], label: str
) -> None:
    dispatcher = telegram(api, chat_ids=chat)
    deliver(dispatcher)
    body = api.requests[0].json()
    assert {name: body.get(name) for name in ("chat_id", "message_thread_id") if name in body} == fields
    assert dispatcher.targets()[0].label == label


def test_several_chats_are_targets_of_their_own(api: FakeService) -> None:
    dispatcher = telegram(api, chat_ids=f"{CHAT}, @my_channel,{CHAT}, {CHAT}:77")
    assert [target.address for target in dispatcher.targets()] == [str(CHAT), "@my_channel", f"{CHAT}:77"]
    assert dispatcher.send_custom_alert("x")
    assert [request.json()["chat_id"] for request in api.requests] == [CHAT, "@my_channel", CHAT]
    assert len(telegram(api, chat_ids=[CHAT, "@my_channel", -5]).targets()) == 3


@pytest.mark.parametrize(
    "chat", ["my_channel", "0", "+49170", "-100:", ":5", "-100:x", "@ab", "@a-b-c-d", TOKEN, "1e9"]
)
def test_what_is_no_chat_is_refused_and_not_shown(chat: str) -> None:
    with pytest.raises(ValueError, match=r"^chat_ids must be numbers .* number 2 is none of them") as caught:
        TelegramDispatcher(TOKEN, ["@fine_channel", chat])
    assert chat not in str(caught.value).replace("-1001234567890:77", "").replace("-1001234567890", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parse_mode": "BBCode"}, "^parse_mode must be HTML, MarkdownV2, Markdown or empty, not 'BBCode'"),
        ({"silent_below": "loud"}, "^silent_below must be one of critical, high, medium, low, info, not 'loud'"),
        ({"bot_token": "123/../getMe"}, "^bot_token must look like"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TelegramDispatcher(**{"bot_token": TOKEN, "chat_ids": CHAT, **options})


def test_a_preview_of_links_is_shown_where_it_is_asked_for(api: FakeService) -> None:
    deliver(telegram(api, disable_web_page_preview=False), "https://example.org")
    assert "link_preview_options" not in api.requests[0].json()


def test_content_can_be_protected(api: FakeService, tmp_path: Path) -> None:
    deliver(telegram(api, protect_content=True), with_files(tmp_path, "notes.csv"))
    assert [sent(request)["protect_content"] for request in api.requests] == [True, True]


@pytest.mark.parametrize(
    ("options", "silent", "heard"),
    [
        ({}, False, "critical high medium low info"),
        ({"silent_below": "High"}, False, "critical high"),
        ({"silent_below": "critical"}, False, "critical"),
        ({}, True, "critical"),
        ({"disable_notification": True}, False, ""),
    ],
)
def test_what_makes_a_sound(api: FakeService, options: dict[str, Any], silent: bool, heard: str) -> None:
    dispatcher = telegram(api, **options)
    for priority in Priority:
        deliver(dispatcher, Alert.make("x", priority=priority), silent=silent)
    found = [p.value for p, r in zip(Priority, api.requests, strict=True) if "disable_notification" not in r.json()]
    assert found == heard.split()


def test_a_late_message_says_how_late(api: FakeService) -> None:
    deliver(telegram(api, parse_mode=""), late=dt.timedelta(minutes=11))
    assert api.requests[0].json()["text"].startswith("🟡 Title\n⏱ 11 min late\nhello\n")


def test_a_text_of_all_4096_characters_is_one_message_whatever_its_markup_takes(api: FakeService) -> None:
    room = 4096 - len("🟡 Title\n\n2026-05-01 14:30 UTC") - 1  # the emoji counts as two
    for mode, marks in (("HTML", 0), ("MarkdownV2", len("**__"))):
        alert = Alert.make(("<.&>" * 1024)[: room - marks], title="Title", bar_time=BAR)
        deliver(telegram(api, parse_mode=mode), alert)
    shown = [read(request.json()["text"], request.json()["parse_mode"]) for request in api.requests]
    assert [length(text, "") for text in shown] == [4096, 4092]


@pytest.mark.parametrize("mode", ["HTML", "MarkdownV2", ""])
def test_a_longer_text_goes_in_several_of_which_the_first_makes_a_sound(api: FakeService, mode: str) -> None:
    message = "".join(f"{n} <b>&amp; *_[x](y)_* 🚀\n" for n in range(400))
    receipt = deliver(telegram(api, parse_mode=mode), Alert.make(message, title="Long"))
    bodies = [request.json() for request in api.requests]
    texts = [read(body["text"], mode) for body in bodies]
    assert "".join(texts).removeprefix("🟡 Long\n").startswith(message.rstrip())
    assert len(texts) == 3
    assert max(length(text, "") for text in texts) <= 4096
    assert ["disable_notification" in body for body in bodies] == [False, True, True]
    assert receipt == Receipt(id="1")


def test_a_page_of_white_space_alone_is_not_sent(api: FakeService) -> None:
    deliver(telegram(api), Alert.make("before" + " " * 9000 + "after"))
    assert all(request.json()["text"].strip() for request in api.requests)
    assert "after" in api.requests[-1].json()["text"]


def test_templates_that_give_nothing_still_give_a_message(api: FakeService) -> None:
    dispatcher = telegram(api)
    dispatcher.look = Look(own={"all": {"title": "", "message": " ", "footer": ""}})
    deliver(dispatcher, Alert.make("x", kind="order.completed"))
    assert api.requests[0].json()["text"] == "order.completed"


def test_the_messages_of_a_thread_answer_the_one_before(api: FakeService) -> None:
    dispatcher = telegram(api)
    opened = deliver(dispatcher, "opened")
    deliver(dispatcher, "x" * 5000, replies_to=(opened.id, "41"))
    wanted = {"message_id": 41, "allow_sending_without_reply": True}
    assert [request.json().get("reply_parameters") for request in api.requests] == [None, wanted, None]


@pytest.mark.parametrize("id", ["", "no id", "-1", "²", "9" * 5000, "4\n"])
def test_what_is_no_id_is_not_replied_to(api: FakeService, id: str) -> None:
    deliver(telegram(api), replies_to=(id,))
    assert "reply_parameters" not in api.requests[0].json()


# ---------------------------------------------------------------------------------------- markup


@given(some.text(max_size=200) | some.sampled_from(sorted(TEXTS.values(), key=len)[:-8]))
@settings(max_examples=300)
def test_what_is_escaped_is_read_as_it_was(text: str) -> None:
    text = Alert.make(text).message  # without NUL, as every alert is
    for mode, escape in (("HTML", escape_html), ("MarkdownV2", escape_markdown)):
        assert read(escape(text), mode) == text
        assert without_markup(escape(text), mode) == text


PIECES = [
    "a",
    "🚀",
    "<b>",
    "</b>",
    '<a href="u">',
    "</a>",
    "<x y>",
    "&amp;",
    "&nbsp;",
    "\\.",
    "*",
    "_",
    "`",
    "|",
    "[",
    "](",
    ")",
    "\n",
    ">",
]


@given(some.lists(some.sampled_from(PIECES), max_size=12).map("".join), some.sampled_from(["HTML", "MarkdownV2"]))
@settings(max_examples=1000)
def test_no_text_is_longer_than_we_count(text: str, mode: str) -> None:
    found = parsed(text, mode)
    if found.get("@type") != "error":
        assert len(found["text"].encode("utf-16-le")) // 2 <= length(text, mode)
    assert length(without_markup(text, mode), "") <= length(text, mode)


@pytest.mark.parametrize(
    ("mode", "template", "plain"),
    [
        ("HTML", "<b>{{ emoji }} {{ title }}", "🟡 A <b>\n1 < 2 & 3\nend"),
        ("HTML", "<h1 class='x'>{{ title }}</h1><br/>", "A <b>\n1 < 2 & 3\nend"),
        ("HTML", "if 1 <2 and 3> 2: {{ title }}", "if 1 <2 and 3> 2: A <b>\n1 < 2 & 3\nend"),
        ("MarkdownV2", "*{{ title }} a.b", "A <b> a.b\n1 < 2 & 3\nend"),
    ],
)
def test_markup_that_telegram_refuses_goes_as_plain_text(
    service: FakeService, mode: str, template: str, plain: str
) -> None:
    words = "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\""
    service.on(where=lambda request: "parse_mode" in request.json()).answer(400, refused(400, words))
    service.answer(200, took())
    dispatcher = telegram(service, parse_mode=mode)
    dispatcher.look = Look(own={"all": {"title": template, "footer": "end"}})
    receipt = deliver(dispatcher, Alert.make("1 < 2 & 3", title="A <b>"))
    assert service.requests[1].json()["text"] == plain
    assert "parse_mode" not in service.requests[1].json()
    assert receipt.note == f"sent as plain text, because Telegram refused the markup: {words}"


def test_a_later_page_whose_markup_is_refused_goes_as_plain_text_too(service: FakeService) -> None:
    service.on(where=lambda request: "<u>" in request.json()["text"]).answer(400, refused(400, "can't parse entities"))
    service.answer(200, took())
    dispatcher = telegram(service)
    dispatcher.look = Look(own={"all": {"footer": "<u>the end"}})
    receipt = deliver(dispatcher, "<x> " * 1500)
    assert methods(service) == ["sendMessage"] * 3
    assert service.requests[2].json()["text"].endswith("<x> \nthe end")
    assert "plain text" in receipt.note


def test_a_template_that_fails_is_told(api: FakeService) -> None:
    dispatcher = telegram(api)
    dispatcher.look = Look(own={"all": {"title": "{{ nonsense }}"}})
    assert "the built-in title was used" in deliver(dispatcher).note


# ---------------------------------------------------------------------------------------- buttons


def test_buttons_are_shown_only_where_somebody_listens(api: FakeService) -> None:
    alert = Alert.make("x", symbol="AAPL")
    deliver(telegram(api), alert)
    deliver(telegram(api), alert, buttons=True)
    deliver(telegram(api), Alert.make("x" * 5000), buttons=True)
    bodies = [request.json() for request in api.requests]
    assert ["reply_markup" in body for body in bodies] == [False, True, True, False]
    assert bodies[1]["reply_markup"] == {
        "inline_keyboard": [
            [
                {"text": "✅ Acknowledge", "callback_data": f"ack:{alert.id}"},
                {"text": "💤 Snooze 1 h", "callback_data": f"snooze:{alert.id}:3600"},
            ],
            [{"text": "🔇 Mute AAPL 1 day", "callback_data": "mute:AAPL"}],
        ]
    }
    assert len(bodies[2]["reply_markup"]["inline_keyboard"]) == 1


@given(
    some.builds(Button, some.just("ack"), some.text(min_size=1, max_size=15))
    | some.builds(Button, some.just("snooze"), some.text(min_size=1, max_size=12), some.integers(0, 99_999_999))
    | some.builds(Button, some.just("mute"), some.text(min_size=1, max_size=14))
)
def test_what_a_button_says_is_understood_again(button: Button) -> None:
    assert len(button_data(button).encode("utf-8", "replace")) <= 64
    assert read_button(button_data(button)) == button


def test_a_long_symbol_is_shortened_between_characters(api: FakeService) -> None:
    deliver(telegram(api), Alert.make("x", symbol="👨‍👩‍👧" * 20), buttons=True)
    data = api.requests[0].json()["reply_markup"]["inline_keyboard"][1][0]["callback_data"]
    assert data == "mute:" + "👨‍👩‍👧" * 3
    assert len(data.encode()) <= 64


def test_an_id_that_no_button_can_hold_costs_the_buttons_and_not_the_message(api: FakeService) -> None:
    deliver(telegram(api), Alert.make("x", id="i" * 60), buttons=True)
    assert "reply_markup" not in api.requests[0].json()
    with pytest.raises(ValueError, match="at most 64 bytes"):
        button_data(Button("ack", "i" * 61))


@pytest.mark.parametrize(
    "data",
    ["", "ack", "ack:", "mute:", "snooze:id", "snooze:id:", "snooze::5", "snooze:id:-5", "snooze:id:9e9", "rm:x"],
)
def test_what_is_no_data_of_ours_is_nothing(data: str) -> None:
    assert read_button(data) is None


# ---------------------------------------------------------------------------------------- pictures, files


def with_files(tmp_path: Path, *names: str, message: str = "with files", size: int = 20) -> Alert:
    for name in names:
        (tmp_path / name).write_bytes(f"{name} ".encode().ljust(size, b"."))
    return Alert.make(message, title="Title", attachments=[Attachment.from_path(tmp_path / name) for name in names])


def test_a_picture_has_the_text_below_it(api: FakeService, tmp_path: Path) -> None:
    alert = with_files(tmp_path, "chart.png")
    receipt = deliver(telegram(api), alert, buttons=True, replies_to=("5",))
    assert methods(api) == ["sendPhoto"]
    assert api.requests[0].parts()["photo"] == ("chart.png", "image/png", b"chart.png ..........")
    fields = sent(api.requests[0])
    assert (fields["chat_id"], fields["parse_mode"]) == (CHAT, "HTML")
    assert fields["caption"].startswith("<b>🟡 Title</b>\nwith files\n<i>")
    assert fields["reply_parameters"] == {"message_id": 5, "allow_sending_without_reply": True}
    assert len(fields["reply_markup"]["inline_keyboard"]) == 1
    assert receipt == Receipt(id="1")


def test_a_picture_follows_a_longer_text_as_a_silent_reply(api: FakeService, tmp_path: Path) -> None:
    receipt = deliver(telegram(api), with_files(tmp_path, "chart.png", message="x" * 1024))
    assert methods(api) == ["sendMessage", "sendPhoto"]
    assert sent(api.requests[1]) == {
        "chat_id": CHAT,
        "disable_notification": True,
        "reply_parameters": {"message_id": 1, "allow_sending_without_reply": True},
    }
    assert receipt.id == "1"


def test_several_pictures_are_an_album(service: FakeService, tmp_path: Path) -> None:
    service.answer(200, {"ok": True, "result": [{"message_id": 8}, {"message_id": 9}]})
    receipt = deliver(telegram(service), with_files(tmp_path, "one.png", "two.jpg"))
    assert methods(service) == ["sendMediaGroup"]
    first, second = sent(service.requests[0])["media"]
    assert first["caption"].startswith("<b>🟡 Title</b>")
    assert (first["parse_mode"], second) == ("HTML", {"type": "photo", "media": "attach://photo1"})
    parts = service.requests[0].parts()
    assert [parts[f"photo{n}"][:2] for n in range(2)] == [("one.png", "image/png"), ("two.jpg", "image/jpeg")]
    assert receipt.id == "8"


def test_an_album_takes_no_buttons_so_the_text_goes_first(api: FakeService, tmp_path: Path) -> None:
    deliver(telegram(api), with_files(tmp_path, "one.png", "two.png"), buttons=True)
    assert methods(api) == ["sendMessage", "sendMediaGroup"]
    assert ["reply_markup" in sent(request) for request in api.requests] == [True, False]


def test_an_album_has_ten_pictures_at_most(api: FakeService, tmp_path: Path) -> None:
    deliver(telegram(api), with_files(tmp_path, *(f"{n}.png" for n in range(11))))
    assert methods(api) == ["sendMediaGroup", "sendPhoto"]
    assert [len(request.parts()) for request in api.requests] == [2 + 10, 4]


def test_other_files_are_documents(api: FakeService, tmp_path: Path) -> None:
    deliver(telegram(api), with_files(tmp_path, "trades.csv", "chart.png", "report.pdf", "moving.gif"))
    assert methods(api) == ["sendPhoto", "sendDocument", "sendDocument", "sendDocument"]
    names = [request.parts()["document"][:2] for request in api.requests[1:]]
    assert names == [("trades.csv", "text/csv"), ("report.pdf", "application/pdf"), ("moving.gif", "image/gif")]
    assert sent(api.requests[1])["reply_parameters"]["message_id"] == 1


@pytest.mark.parametrize(("size", "method"), [(MAX_PHOTO, "sendPhoto"), (MAX_PHOTO + 1, "sendDocument")])
def test_a_picture_of_more_than_ten_megabytes_is_a_document(
    api: FakeService, tmp_path: Path, size: int, method: str
) -> None:
    deliver(telegram(api), with_files(tmp_path, "chart.png", size=size))
    assert methods(api)[-1] == method


def test_a_file_that_cannot_go_is_named(api: FakeService, tmp_path: Path) -> None:
    alert = with_files(tmp_path, "large.csv", "gone.csv", "good.csv")
    large, gone, good = alert.attachments
    (tmp_path / "gone.csv").unlink()
    large = Attachment(large.name, large.content_type, large.sha256, MAX_FILE + 1, large.path)
    receipt = deliver(telegram(api), alert.replace(attachments=(large, gone, good)))
    assert methods(api) == ["sendMessage", "sendDocument"]
    assert receipt.note == (
        "sent without large.csv: it is larger than 52,428,800 bytes; sent without gone.csv: No such file or directory"
    )


def test_a_file_smuggles_nothing_into_the_request(api: FakeService, tmp_path: Path) -> None:
    (good,) = with_files(tmp_path, "a.csv").attachments
    odd = Attachment("..\\../x/a.csv", "text/csv\r\nX-Injected: yes", good.sha256, good.size, good.path)
    nameless = Attachment("/", "text/csv", good.sha256, good.size, good.path)
    deliver(telegram(api), Alert.make("x", attachments=[odd, nameless]))
    assert api.requests[1].parts()["document"][:2] == ("a.csv", "application/octet-stream")
    assert api.requests[2].parts()["document"][:2] == ("file", "text/csv")
    assert b"X-Injected" not in api.requests[1].body


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (400, "Bad Request: not enough rights to send photos to the chat"),
        (400, "Bad Request: message caption is too long"),
        (413, "Request Entity Too Large"),
    ],
)
@pytest.mark.parametrize("names", [("one.png",), ("one.png", "two.png")])
def test_a_picture_that_is_refused_stays_and_the_text_goes(
    service: FakeService, tmp_path: Path, names: Sequence[str], status: int, words: str
) -> None:
    service.answer(status, refused(status, words)).answer(200, took())
    receipt = deliver(telegram(service), with_files(tmp_path, *names), replies_to=("5",))
    assert methods(service)[1:] == ["sendMessage"]
    assert sent(service.requests[1])["reply_parameters"]["message_id"] == 5
    assert receipt.note.startswith(f"sent without {', '.join(names)}: ")
    assert words in receipt.note
    assert receipt.id == "77"


def test_a_refused_caption_goes_as_plain_text_with_its_pictures(service: FakeService, tmp_path: Path) -> None:
    service.answer(400, refused(400, "Bad Request: can't parse entities: no")).answer(200, took())
    receipt = deliver(telegram(service), with_files(tmp_path, "one.png", "two.png"))
    assert methods(service) == ["sendMediaGroup", "sendMediaGroup"]
    first = sent(service.requests[1])["media"][0]
    assert first["caption"].startswith("🟡 Title\nwith files\n")
    assert "parse_mode" not in first
    assert "plain text" in receipt.note


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_picture_that_may_go_later_is_not_given_up(service: FakeService, tmp_path: Path, status: int) -> None:
    service.answer(status, refused(status, "Not now"))
    assert failure(telegram(service), with_files(tmp_path, "chart.png")).failure not in {Failure.PERMANENT}
    assert len(service.requests) == 1


# ---------------------------------------------------------------------------------------- several messages


@pytest.mark.parametrize(
    "trouble", [refused(500, "Internal Server Error"), refused(429, "Too Many Requests: retry after 9", retry_after=9)]
)
def test_a_later_message_that_fails_for_now_is_what_the_next_attempt_goes_on_with(
    service: FakeService, tmp_path: Path, trouble: dict[str, Any]
) -> None:
    text = "".join(f"{number:05}" for number in range(2000))
    service.answer(200, took()).answer(trouble["error_code"], trouble).answer(200, took(78))
    made = with_files(tmp_path, "a.csv", message=text)
    failed = failure(telegram(service), made)
    assert methods(service) == ["sendMessage", "sendMessage"]
    progress = json.loads(json.dumps(failed.progress))  # the store keeps it as JSON
    receipt = deliver(telegram(service), made, attempt=2, late=dt.timedelta(minutes=3), progress=progress)
    assert methods(service) == ["sendMessage", "sendMessage", "sendMessage", "sendMessage", "sendDocument"]
    assert (receipt.id, receipt.note) == ("77", "")
    texts = [sent(service.requests[number])["text"] for number in (0, 2, 3)]
    assert text in "".join(texts)
    assert sent(service.requests[2])["disable_notification"] is True


def test_what_is_left_of_an_alert_is_not_taken_for_that_of_a_digest_that_has_grown(service: FakeService) -> None:
    service.answer(200, took()).answer(500, refused(500, "Internal Server Error")).answer(200, took(78))
    failed = failure(telegram(service), "x" * 9000)
    assert deliver(telegram(service), "y" * 100, progress=failed.progress).id == "78"
    assert "y" * 100 in sent(service.requests[2])["text"]


def test_a_later_message_that_is_refused_for_good_is_noted(service: FakeService) -> None:
    service.answer(200, took()).answer(400, refused(400, "Bad Request: message is too long")).answer(200, took(78))
    receipt = deliver(telegram(service), "x" * 9000)
    assert receipt.id == "77"
    assert receipt.note.startswith("sent without page 2 of 3: ")


def test_a_later_message_that_is_refused_keeps_none_of_the_others_back(service: FakeService, tmp_path: Path) -> None:
    service.on(path="*/sendDocument").answer(400, refused(400, "Bad Request: file must be non-empty")).answer(
        200, took()
    )
    service.answer(200, took())
    receipt = deliver(telegram(service), with_files(tmp_path, "a.csv", "b.csv"))
    assert methods(service) == ["sendMessage", "sendDocument", "sendDocument"]
    assert "sent without a.csv" in receipt.note
    assert "b.csv" not in receipt.note


def test_a_chat_that_wants_a_pause_amid_an_alert_gets_it(service: FakeService) -> None:
    words = "Too Many Requests: retry after 9"
    service.answer(200, took()).answer(429, refused(429, words, retry_after=9))
    failed = failure(telegram(service), "x" * 9000)
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 9)


def test_all_messages_of_an_alert_share_one_timeout(service: FakeService) -> None:
    def slow(_: Received) -> dict[str, Any]:
        time.sleep(1.2)
        return took()

    service.answer(200, took()).answer(200, slow)
    failed = failure(telegram(service, timeout=4.0), "x" * 30_000)  # all eight of them take 8.4 s
    assert failed.progress is not None
    assert 1 <= failed.progress["done"] <= 4


# ---------------------------------------------------------------------------------------- migration

NEW = -1009876543210
MOVED = refused(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=NEW)


def test_a_group_that_became_a_supergroup_is_followed_at_once(service: FakeService) -> None:
    service.on(where=lambda request: request.json()["chat_id"] == -5).answer(400, MOVED)
    service.answer(200, took())
    dispatcher = telegram(service, chat_ids=-5)
    receipt = deliver(dispatcher, "x" * 5000, replies_to=("4",))
    bodies = [request.json() for request in service.requests]
    assert [body["chat_id"] for body in bodies] == [-5, NEW, NEW]
    assert ["reply_parameters" in body for body in bodies] == [True, False, False]  # 4 is another message there
    assert receipt.remember == {"chat_id": NEW}
    assert str(NEW) in receipt.note


def test_the_new_id_is_used_from_then_on(service: FakeService) -> None:
    service.on(where=lambda request: request.json()["chat_id"] == -5).answer(400, MOVED)
    service.answer(200, took())
    dispatcher = telegram(service, chat_ids="-5:77")
    memory = {dispatcher.targets()[0].key: {"chat_id": NEW}, "another": {"chat_id": 1}}
    assert deliver(dispatcher, memory=memory) == Receipt(id="77")
    assert service.requests[0].json()["chat_id"] == NEW
    assert dispatcher.send_custom_alert("used alone")
    assert dispatcher.send_custom_alert("used alone")
    assert [request.json()["chat_id"] for request in service.requests[1:]] == [-5, NEW, NEW]


def test_chats_that_name_each_other_are_not_followed_for_ever(service: FakeService) -> None:
    service.answer(400, MOVED)
    assert failure(telegram(service)).failure is Failure.PERMANENT
    assert len(service.requests) == 2


# ---------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("status", "words", "wanted", "dead", "advice"),
    [
        (400, "Bad Request: chat not found", Failure.PERMANENT, True, "check chat_ids"),
        (400, "Bad Request: chat_id is empty", Failure.PERMANENT, True, "check chat_ids"),
        (400, "Bad Request: PEER_ID_INVALID", Failure.PERMANENT, True, "check chat_ids"),
        (400, "Bad Request: message thread not found", Failure.PERMANENT, True, "topic"),
        (400, "Bad Request: TOPIC_CLOSED", Failure.PERMANENT, False, "open it"),
        (
            400,
            "Bad Request: not enough rights to send text messages to the chat",
            Failure.PERMANENT,
            False,
            "permissions",
        ),
        (400, "Bad Request: need administrator rights in the channel chat", Failure.PERMANENT, False, "permissions"),
        (400, "Bad Request: have no rights to send a message", Failure.PERMANENT, False, "permissions"),
        (400, "Bad Request: CHAT_WRITE_FORBIDDEN", Failure.PERMANENT, False, "permissions"),
        (400, "Bad Request: message is too long", Failure.TOO_LARGE, False, "too large"),
        (400, "Bad Request: MESSAGE_TOO_LONG", Failure.TOO_LARGE, False, "too large"),
        (413, "Request Entity Too Large", Failure.TOO_LARGE, False, "too large"),
        (400, "Bad Request: something new", Failure.PERMANENT, False, "something new"),
        (401, "Unauthorized", Failure.AUTH, False, "bot_token"),
        (401, "Unauthorized: invalid token specified", Failure.AUTH, False, "@BotFather"),
        (404, "Not Found", Failure.AUTH, False, "bot_token"),
        (403, "Forbidden: bot was blocked by the user", Failure.PERMANENT, True, "unblock it"),
        (403, "Forbidden: user is deactivated", Failure.PERMANENT, True, "unblock it"),
        (403, "Forbidden: bot can't initiate conversation with a user", Failure.PERMANENT, True, "unblock it"),
        (403, "Forbidden: bot was kicked from the supergroup chat", Failure.PERMANENT, True, "add it to the chat"),
        (403, "Forbidden: bot is not a member of the channel chat", Failure.PERMANENT, True, "add it to the chat"),
        (403, "Forbidden: the group chat was deleted", Failure.PERMANENT, True, "add it to the chat"),
        (409, "Conflict: terminated by other getUpdates request", Failure.PERMANENT, False, "HTTP 409"),
        (500, "Internal Server Error", Failure.RETRY, False, "trouble"),
        (502, "Bad Gateway", Failure.RETRY, False, "trouble"),
    ],
)
def test_each_refusal_has_its_class_and_says_what_to_do(  # noqa: PLR0917 - a table
    service: FakeService, status: int, words: str, wanted: Failure, dead: bool, advice: str
) -> None:
    service.answer(status, refused(status, words))
    failed = failure(telegram(service))
    assert (failed.failure, failed.dead_target) == (wanted, dead)
    assert words in failed.reason
    assert advice in failed.reason
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("parameters", "header", "wait"), [({"retry_after": 7}, "9", 7.0), ({}, "9", 9.0), ({"retry_after": "x"}, "9", 9.0)]
)
def test_a_429_waits_as_the_body_tells_and_else_the_header(
    service: FakeService, parameters: dict[str, Any], header: str, wait: float
) -> None:
    body = refused(429, "Too Many Requests: retry after 7", **parameters)
    service.answer(429, body, headers={"Retry-After": header})
    failed = failure(telegram(service))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, wait)


def test_a_429_that_tells_no_time_is_left_to_the_courier(service: FakeService) -> None:
    service.answer(429, refused(429, "Too Many Requests"))
    failed = failure(telegram(service))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY, None)


@pytest.mark.parametrize(
    "words", ["message to be replied not found", "reply message not found", "replied message not found"]
)
def test_a_message_whose_thread_was_deleted_is_not_lost(service: FakeService, words: str) -> None:
    service.answer(400, refused(400, f"Bad Request: {words}")).answer(200, took())
    assert deliver(telegram(service), replies_to=("5",)).id == "77"
    assert "reply_parameters" not in service.requests[1].json()


@pytest.mark.parametrize("body", ["<html>Please log in</html>", "", "[1]", "1", {"result": {"message_id": 5}}])
def test_a_200_that_is_not_telegram_s_leaves_the_outcome_unknown(service: FakeService, body: Any) -> None:
    service.answer(200, body)
    failed = failure(telegram(service))
    assert (failed.failure, failed.answered) == (Failure.UNKNOWN, True)


def test_a_yes_that_is_too_long_to_be_read_is_still_a_yes(service: FakeService) -> None:
    service.answer(200, {"ok": True, "result": {"message_id": 5, "text": "🚀" * 4096, "reply_to_message": "🚀" * 4096}})
    assert deliver(telegram(service)) == Receipt(id="5")


def test_a_repeat_is_better_than_a_loss() -> None:
    assert TelegramDispatcher.repeat_unknown is True


# ---------------------------------------------------------------------------------------- check, preview, settings


def test_a_check_asks_who_the_bot_is_and_whether_it_sees_the_chat(service: FakeService) -> None:
    service.on(path="*/getMe").answer(200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "my_bot"}})
    service.on(path="*/getChat").answer(200, {"ok": True, "result": {"id": CHAT, "type": "group", "title": "Desk"}})
    dispatcher = telegram(service, chat_ids=f"{CHAT}:77")
    receipt = dispatcher.check(dispatcher.targets()[0])
    assert receipt == Receipt(facts={"bot": "my_bot", "chat": "Desk"})
    assert [(m, r.json()) for m, r in zip(methods(service), service.requests, strict=True)] == [
        ("getMe", {}),
        ("getChat", {"chat_id": CHAT}),
    ]


@pytest.mark.parametrize(
    ("method", "status", "words", "wanted"),
    [
        ("getMe", 401, "Unauthorized", Failure.AUTH),
        ("getChat", 400, "Bad Request: chat not found", Failure.PERMANENT),
    ],
)
def test_a_check_says_what_is_wrong(
    service: FakeService, method: str, status: int, words: str, wanted: Failure
) -> None:
    service.answer(200, {"ok": True, "result": {}})
    service.on(path=f"*/{method}").answer(status, refused(status, words))
    dispatcher = telegram(service)
    with pytest.raises(DeliveryFailed) as caught:
        dispatcher.check(dispatcher.targets()[0])
    assert (caught.value.failure, dispatcher.test_connection()) == (wanted, False)


def test_a_check_follows_a_group_too(service: FakeService) -> None:
    service.on(path="*/getChat", where=lambda request: request.json()["chat_id"] == -5).answer(400, MOVED)
    service.answer(200, {"ok": True, "result": {}})
    dispatcher = telegram(service, chat_ids=-5)
    receipt = dispatcher.check(dispatcher.targets()[0])
    assert (receipt.remember, receipt.note) == ({"chat_id": NEW}, f"the group is now {NEW}: set that in chat_ids")


def test_a_preview_shows_every_request_and_hides_the_token(api: FakeService, tmp_path: Path) -> None:
    dispatcher = telegram(api)
    alert = with_files(tmp_path, "chart.png", message="x" * 5000)
    shown = dispatcher.preview(alert, dispatcher.targets()[0], Context(key="k"))
    assert api.requests == []
    lines = [redact(request.line).rpartition("/bot")[2] for request in shown]
    assert lines == ["•••/sendMessage", "•••/sendMessage", "•••/sendPhoto"]
    assert "[file photo: chart.png, image/png, 20 bytes]" in shown[2].body


def test_the_secret_half_of_the_token_is_hidden_by_itself() -> None:
    TelegramDispatcher("99:half-of-a-token-made-up", CHAT)
    assert redact("no such token: half-of-a-token-made-up") == "no such token: •••"


def test_without_credentials_it_says_what_to_set() -> None:
    dispatcher = TelegramDispatcher("", None)
    assert dispatcher.targets() == []
    assert dispatcher.missing() == (
        "set bot_token (TELEGRAM_BOT_TOKEN) and chat_ids (TELEGRAM_CHAT_IDS) to send through Telegram"
    )


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(TelegramDispatcher)}
    assert list(known)[:4] == ["bot_token", "chat_ids", "rate_limit", "parse_mode"]
    assert {name: argument.env for name, argument in known.items() if argument.env} == {
        "bot_token": "TELEGRAM_BOT_TOKEN",
        "chat_ids": "TELEGRAM_CHAT_IDS",
        "listen_to": "TELEGRAM_LISTEN_TO",
        "readers": "TELEGRAM_READERS",
    }
    assert [name for name, argument in known.items() if argument.credential] == ["bot_token"]


def test_the_environment_alone_is_a_configuration() -> None:
    environ = {
        "TELEGRAM_NOTIFICATIONS_ENABLED": "true",
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_IDS": f"{CHAT}:77,@my_channel,-5",
    }
    channel = load(None, environ=environ).channels["telegram"]
    assert (channel.rate_limit, channel.timeout) == (30, 30.0)
    assert [target.address for target in channel.build().targets()] == [f"{CHAT}:77", "@my_channel", "-5"]
