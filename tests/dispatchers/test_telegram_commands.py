"""How answers to commands are written in Telegram: markup, pages, files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from telegram_reader import marked, read

from bt_alerts.alert import Attachment
from bt_alerts.dispatchers.base import Command, DeliveryFailed, Heard
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.testing import FakeService

TOKEN = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-made-up"
NASTY = "<b>bold</b> & _under_ *star* [x](y) `code` ||s|| \\ 1. - ! | {a} /ack_1a2b &amp; > #"
MODES = ["HTML", "MarkdownV2", "Markdown", "", None]


def said(service: FakeService, text: str, mode: str | None = "HTML", *files: Attachment, **more: Any) -> list[Any]:
    """What is sent for an answer."""
    service.answer(200, lambda _: {"ok": True, "result": {"message_id": 40 + len(service.requests)}})
    listener = TelegramDispatcher(TOKEN, 5, listen_to=7, parse_mode=mode, api_url=service.url, **more).listener()
    assert listener is not None
    reply = {"chat": -5, "message": 11, "fields": {"message_thread_id": 77}, "named": ""}
    listener.answer(Heard(1, "7", None, reply, Command("last")), text, files)
    return list(service.requests)


@pytest.mark.parametrize("mode", MODES)
def test_no_text_breaks_the_markup(service: FakeService, mode: str | None) -> None:
    (request,) = said(service, f"{NASTY}\n{NASTY}", mode)
    call = request.json()
    shown = read(call["text"], call.get("parse_mode", ""))
    assert shown == f"{NASTY}\n{NASTY}"
    bold = marked(call["text"], call.get("parse_mode", ""))
    assert (("Bold", NASTY) in bold) is bool(mode)
    assert call["chat_id"] == -5
    assert call["message_thread_id"] == 77
    assert call["reply_parameters"] == {"message_id": 11, "allow_sending_without_reply": True}
    assert call["link_preview_options"] == {"is_disabled": True}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("char", ["_", "📈", "п", "&"])
def test_a_long_answer_goes_in_pages_and_makes_one_sound(service: FakeService, mode: str | None, char: str) -> None:
    text = "heading\n" + "\n".join(f"{number:03} {char * 90}" for number in range(120))
    calls = [request.json() for request in said(service, text, mode)]
    assert len(calls) > 1
    pages = [read(call["text"], call.get("parse_mode", "")) for call in calls]
    assert all(len(page.encode("utf-16-le")) // 2 <= 4096 for page in pages)
    assert "".join(pages).replace("\n", "") == text.replace("\n", "")
    assert ["disable_notification" in call for call in calls] == [False] + [True] * (len(calls) - 1)


def test_markup_that_is_refused_goes_as_plain_text(service: FakeService) -> None:
    refused = {"ok": False, "error_code": 400, "description": "Bad Request: can't parse entities"}
    answers = service.on("POST", "*/sendMessage")
    answers.answer(400, refused)
    answers.answer(200, {"ok": True, "result": {"message_id": 1}})
    with pytest.raises(DeliveryFailed, match="as plain text"):
        said(service, "one\n<two>")
    assert "parse_mode" not in service.requests[-1].json()
    assert service.requests[-1].json()["text"] == "one\n<two>"


def test_a_picture_follows_and_one_that_is_gone_is_said(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"made up")
    file = Attachment.from_path(tmp_path / "a.png")
    assert [request.path.rpartition("/")[2] for request in said(service, "here", "HTML", file)] == [
        "sendMessage",
        "sendPhoto",
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(DeliveryFailed, match=r"without a\.png"):
        said(service, "here", "HTML", file)


def test_answers_can_be_protected_as_messages_are(service: FakeService) -> None:
    (request,) = said(service, "here", protect_content=True)
    assert request.json()["protect_content"] is True
