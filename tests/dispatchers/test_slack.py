"""Slack: what leaves the program, and what each of the service's answers means."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import slack_reader
from slack_sdk import WebClient
from slack_sdk.models.blocks import Block
from slack_sdk.webhook import WebhookClient

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.slack import SlackDispatcher
from bt_alerts.dispatchers.slack import api as slack_api
from bt_alerts.dispatchers.slack.blocks import escape, unescape
from bt_alerts.dispatchers.slack.talk import MAX_FILE, is_safe
from bt_alerts.redact import redact
from bt_alerts.render.look import Look
from bt_alerts.testing import FakeService, Received, poison

TOKEN = "xoxb-" + "7" * 11 + "-" + "token" * 5
CHANNEL, TS, ROOT = "C0123456789", "1503435956.000247", "1503435000.000100"
HOOK = "/services/T0TEAM0000/B0HOOK0000/" + "hook" * 6
TOOK = {"ok": True, "channel": CHANNEL, "ts": TS, "message": {"text": "x", "ts": "1.0"}}
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
LONG = "".join(f"{number:05} & <more> words\n" for number in range(1_200))


@pytest.fixture
def api(service: FakeService) -> FakeService:
    service.answer(200, TOOK)
    place = {"ok": True, "upload_url": f"{service.url}/upload/v1/secret-place?key=abc", "file_id": "F123ABC456"}
    service.on(path="/api/files.getUploadURLExternal").answer(200, place)
    service.on(path="/upload/*").answer(200, "OK - 12")
    service.on(path="/services/*").answer(200, "ok")
    return service


def bot(api: FakeService, **options: Any) -> SlackDispatcher:
    return SlackDispatcher(**{"bot_token": TOKEN, "channel_ids": CHANNEL, "api_url": api.url, **options})


def hook(api: FakeService, **options: Any) -> SlackDispatcher:
    return SlackDispatcher(f"{api.url}{HOOK}", api_url=api.url, **options)


def deliver(dispatcher: SlackDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def failure(dispatcher: SlackDispatcher, alert: Alert | None = None) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert)
    return caught.value


def posted(api: FakeService) -> list[dict[str, Any]]:
    return [request.json() for request in api.requests if "json" in request.headers["content-type"]]


def trade(message: str = "Price: 150.50", **more: Any) -> Alert:
    data = {"alpha": 150.5, "position_size": 10, "position_price": 150.5}
    when = dt.datetime(2026, 5, 1, 9, 30, tzinfo=dt.UTC)
    kind = {"title": "BUY AAPL", "type": "order", "symbol": "AAPL", "strategy": "Momentum"}
    return Alert.make(message, **{**kind, "time": when, "data": data, "id": "a1", **more})


def bare_marks(text: str) -> list[str]:
    """What would be taken for formatting, besides the bold names that are ours."""
    ours = re.sub(r"^\*([^*\n]+)\*(?=\n| )", r"\1", text, flags=re.MULTILINE)
    return [found[0] for found in slack_reader.FORMATS.finditer(ours)]


def file(tmp_path: Path, name: str = "chart.png", content: bytes = b"\x89PNG picture") -> Attachment:
    (tmp_path / name).write_bytes(content)
    return Attachment.from_path(tmp_path / name)


# ---------------------------------------------------------------------------------------- what is sent


def test_a_message_has_the_blocks_of_an_alert_in_their_order(api: FakeService) -> None:
    receipt = deliver(bot(api), trade())
    request = api.requests[0]
    assert (request.method, request.path) == ("POST", "/api/chat.postMessage")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json; charset=utf-8"

    def plain(text: str) -> dict[str, Any]:
        return {"type": "plain_text", "text": text, "emoji": False}

    def bold(text: str) -> dict[str, Any]:
        return {"type": "mrkdwn", "text": text, "verbatim": True}

    fields = [bold("*Symbol*\nAAPL"), bold("*Strategy*\nMomentum"), bold("*Position*\nlong 10 at 150.50")]
    when = "2026-05-01 09:30 UTC"
    assert request.json() == {
        "channel": CHANNEL,
        "text": "🟡 BUY AAPL\nPrice: 150.50",
        "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "🟡 BUY AAPL", "emoji": True}}],
        "attachments": [
            {
                "color": "#f2c200",
                "fallback": "🟡 BUY AAPL",
                "blocks": [
                    {"type": "section", "text": plain("Price: 150.50"), "expand": True},
                    {"type": "section", "fields": fields},
                    {"type": "context", "elements": [plain("🟡 medium"), plain("order"), plain(when)]},
                    {"type": "section", "text": bold("*Alpha:* 150.50")},
                    {"type": "context", "elements": [plain("Alert a1")]},
                ],
            }
        ],
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert receipt == Receipt(id=TS)


def test_a_webhook_gets_the_same_without_channel_and_token(api: FakeService) -> None:
    receipt = deliver(hook(api), trade())
    deliver(bot(api), trade())
    by_hook, by_bot = posted(api)
    assert api.requests[0].path == HOOK
    assert "authorization" not in api.requests[0].headers
    assert by_hook == {name: value for name, value in by_bot.items() if name != "channel"}
    assert receipt == Receipt(id="")


def test_webhooks_and_channels_can_be_set_together(api: FakeService) -> None:
    urls = f"{api.url}{HOOK}, {api.url}/services/T0TEAM0000/B1/other,{api.url}{HOOK}"
    dispatcher = SlackDispatcher(urls, TOKEN, f"{CHANNEL}, C2", api_url=api.url)
    labels = [target.label for target in dispatcher.targets()]
    assert [label.rstrip("0123456789abcdef") for label in labels[:2]] == ["webhook #", "webhook #"]
    assert labels[2:] == [f"channel {CHANNEL}", "channel C2"]
    assert len(set(labels)) == 4
    assert dispatcher.send_custom_alert("x")
    assert [request.path for request in api.requests] == [
        HOOK,
        "/services/T0TEAM0000/B1/other",
        "/api/chat.postMessage",
        "/api/chat.postMessage",
    ]
    assert [sent["channel"] for sent in posted(api)[2:]] == [CHANNEL, "C2"]


@pytest.mark.parametrize("priority", list(Priority))
def test_the_bar_has_the_colour_of_the_priority(api: FakeService, priority: Priority) -> None:
    deliver(bot(api), trade(priority=priority))
    sent = posted(api)[0]
    assert sent["attachments"][0]["color"] == priority.style.colour
    assert sent["blocks"][0]["text"]["text"] == f"{priority.style.emoji} BUY AAPL"


def test_times_are_of_the_reader_s_zone_and_a_late_message_says_so(api: FakeService) -> None:
    dispatcher = bot(api)
    dispatcher.look = Look(zone="Europe/Berlin")
    deliver(dispatcher, trade(), late=dt.timedelta(minutes=11))
    shown = slack_reader.shown(posted(api)[0])
    assert "2026-05-01 11:30 CEST" in shown
    assert "⏱ 11 min late\nPrice: 150.50" in shown


def test_an_alert_of_a_title_only_has_no_empty_block(api: FakeService) -> None:
    deliver(bot(api), Alert.make(" \n ", title="Up"))
    slack_reader.assert_accepted(posted(api)[0])


@pytest.mark.parametrize("name", poison.TEXTS)
def test_no_text_becomes_markup_or_a_mention(api: FakeService, name: str) -> None:
    text = poison.TEXTS[name][:5_000]
    data = {"note": text, text[:50]: "x"}
    deliver(bot(api), Alert.make(text, title=f"T {text}", symbol=text, strategy=text, data=data))
    for sent in posted(api):
        slack_reader.assert_accepted(sent)
        for part in slack_reader.texts(sent):
            if part["type"] == "mrkdwn":
                assert bare_marks(part["text"]) == []


@pytest.mark.parametrize("text", ["<!channel>", "&lt;!here&gt;", "&amp;lt;", "a & b < c > d", "<@U1|x> <#C1>", "&&&"])
def test_escaped_text_is_shown_as_it_was(text: str) -> None:
    slack_reader.assert_escaped(escape(text))
    assert unescape(escape(text)) == text


def test_values_that_look_like_formatting_lose_the_bold_name_and_not_themselves(api: FakeService) -> None:
    odd = {"a": "*x*", "b": "_x_", "c": "~x~", "d": "`x`", "e": "> x", "f": ":boom:", "g": "1\n> 2", "h": "＊x＊"}
    for value in odd.values():
        deliver(bot(api), Alert.make("x", symbol=value, data={"v": value}))
        fields = next(block["fields"] for block in slack_reader.blocks(posted(api)[-1]) if "fields" in block)
        details = slack_reader.blocks(posted(api)[-1])[-2]["text"]
        assert [fields[0]["type"], details["type"]] == ["plain_text", "plain_text"], value
        assert (unescape(fields[0]["text"]), unescape(details["text"])) == (f"Symbol\n{value}", f"V: {value}")


def test_a_template_of_the_user_is_markup_and_what_it_inserts_is_not(api: FakeService) -> None:
    dispatcher = bot(api)
    dispatcher.look = Look(
        own={"order": {"message": "*{{ message }}* <https://x.example|chart>", "footer": "_{{ id }}_"}}
    )
    deliver(dispatcher, trade(message="<!channel> & more"))
    bar = posted(api)[0]["attachments"][0]["blocks"]
    text = "*&lt;!channel&gt; &amp; more* <https://x.example|chart>"
    assert bar[0]["text"] == {"type": "mrkdwn", "text": text, "verbatim": True}
    assert bar[-1]["elements"] == [{"type": "mrkdwn", "text": "_a1_", "verbatim": True}]


def test_a_long_message_through_a_template_of_the_user_keeps_its_markup_whole(api: FakeService) -> None:
    dispatcher = bot(api)
    dispatcher.look = Look(own={"all": {"message": "*{{ message }}*"}})
    deliver(dispatcher, trade(message=LONG[:7_000]))
    texts = [text["text"] for sent in posted(api) for text in slack_reader.texts(sent)]
    pieces = [text for text in texts if "words" in text]
    assert "".join(pieces).replace("*", "") == escape(LONG[:7_000])
    assert pieces[0].count("*") in {0, 2}


def test_a_template_that_fails_is_named_in_the_receipt(api: FakeService) -> None:
    dispatcher = bot(api)
    dispatcher.look = Look(own={"all": {"title": "{{ nothing.at.all }}"}})
    assert "the built-in title was used" in deliver(dispatcher).note


@pytest.mark.parametrize(("size", "whole"), [(147, True), (149, False), (300, False)])
def test_a_title_that_no_header_holds_stands_below_it_as_well(api: FakeService, size: int, whole: bool) -> None:
    title = ("👨‍👩‍👧 & " * 99)[:size].strip() if not whole else "t" * size
    deliver(bot(api), Alert.make("body", title=title))
    sent = posted(api)[0]
    slack_reader.assert_accepted(sent)
    assert f"🟡 {title}" in slack_reader.shown(sent)
    assert (len(slack_reader.blocks(sent)) == 4) is whole


# ------------------------------------------------------------------------------------- long messages


@pytest.mark.parametrize("make", [bot, hook])
def test_a_long_message_goes_in_parts_and_nothing_is_lost(api: FakeService, make: Any) -> None:
    deliver(make(api), trade(message=LONG))
    sent = posted(api)
    assert len(sent) == 5
    for message in sent:
        slack_reader.assert_accepted(message)
    pieces = [text["text"] for message in sent for text in slack_reader.texts(message) if "words" in text["text"]]
    assert "".join(map(unescape, pieces)).strip() == LONG.strip()
    assert "part 1 of 5" in slack_reader.shown(sent[0])
    assert slack_reader.shown(sent[-1]).startswith("🟡 BUY AAPL · part 5 of 5")
    assert slack_reader.shown(sent[-1]).endswith("Alert a1")


def test_parts_follow_in_the_thread_of_the_first(api: FakeService) -> None:
    assert deliver(bot(api), trade(message=LONG)).id == TS
    assert [message.get("thread_ts") for message in posted(api)] == [None, TS, TS, TS, TS]
    deliver(bot(api), trade(message=LONG), replies_to=(ROOT, TS))
    assert [message.get("thread_ts") for message in posted(api)[5:]] == [ROOT] * 5
    assert [message.get("reply_broadcast") for message in posted(api)[5:]] == [True, None, None, None, None]
    deliver(hook(api), trade(message=LONG), replies_to=(ROOT, TS))
    assert [message.get("thread_ts") for message in posted(api)[10:]] == [None] * 5


def test_a_part_that_is_refused_for_now_is_what_the_next_attempt_goes_on_with(api: FakeService) -> None:
    limited = {"ok": False, "error": "ratelimited"}
    told = {"ok": True, "channel": "C0123456789", "ts": TS}
    third = api.on(where=lambda request: b"part 3" in request.body)
    third.answer(429, limited, {"Retry-After": "9"}).answer(200, told)
    made = trade(message=LONG)
    failed = failure(bot(api), made)
    assert (failed.failure, failed.retry_after, len(api.requests)) == (Failure.RETRY_AFTER, 9, 3)
    progress = json.loads(json.dumps(failed.progress))  # the store keeps it as JSON
    receipt = deliver(bot(api), made, attempt=2, progress=progress)
    assert (receipt.id, receipt.note) == (TS, "")
    assert [body["thread_ts"] for body in posted(api)[1:]] == [TS] * 5
    parts = [f"part {number}".encode() for number in (2, 3, 3, 4, 5)]
    assert all(part in request.body for part, request in zip(parts, api.requests[1:], strict=True))


def test_a_part_that_is_refused_for_good_is_noted(api: FakeService) -> None:
    refused = {"ok": False, "error": "msg_too_long"}
    api.on(where=lambda request: b"part 3" in request.body).answer(200, refused)
    receipt = deliver(bot(api), trade(message=LONG))
    assert receipt.id == TS
    assert receipt.note.startswith("the last 3 parts could not be sent: ")


def test_the_first_part_that_is_refused_is_a_failure(api: FakeService) -> None:
    api.answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "9"})
    api.answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "9"})
    deliver(bot(api))
    failed = failure(bot(api), trade(message=LONG))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 9)


# ---------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("setting", [False, True])
@pytest.mark.parametrize("priority", ["medium", "critical"])
def test_a_reply_is_shown_in_the_channel_too_unless_it_is_silent(
    api: FakeService, priority: str, setting: bool, silent: bool
) -> None:
    deliver(bot(api, broadcast_replies=setting), trade(priority=priority), replies_to=(ROOT, TS), silent=silent)
    sent = posted(api)[0]
    assert sent["thread_ts"] == ROOT
    assert sent.get("reply_broadcast", False) is (setting and (not silent or priority == "critical"))


@pytest.mark.parametrize("replies_to", [(), ("", ""), ("no id", TS), ("1\n", TS), ("1e9", TS)])
def test_what_is_no_message_id_is_not_replied_to(api: FakeService, replies_to: tuple[str, ...]) -> None:
    deliver(bot(api), replies_to=replies_to)
    assert {"thread_ts", "reply_broadcast"} & posted(api)[0].keys() == set()


@pytest.mark.parametrize("word", sorted(slack_api.THREAD_REFUSED))
def test_where_the_thread_is_refused_the_message_goes_into_the_channel(service: FakeService, word: str) -> None:
    service.answer(200, {"ok": False, "error": word}).answer(200, TOOK)
    receipt = deliver(bot(service), replies_to=(ROOT, ROOT))
    assert [sent.get("thread_ts") for sent in posted(service)] == [ROOT, None]
    assert receipt == Receipt(TS, f"sent outside its thread, because Slack refused that ({word})")


# ------------------------------------------------------------------------------------ refused blocks


@pytest.mark.parametrize("word", sorted(slack_api.BLOCKS_REFUSED))
@pytest.mark.parametrize("make", [bot, hook])
def test_where_blocks_are_refused_the_same_goes_as_plain_text(service: FakeService, make: Any, word: str) -> None:
    refusal, took = ((200, {"ok": False, "error": word}), TOOK) if make is bot else ((400, word), "ok")
    service.answer(*refusal).answer(200, took)
    receipt = deliver(make(service), trade(message="Price: *1* & <!here>", data={"alpha": "a*b", "beta": 1.5}))
    rich, plain = posted(service)
    assert {"blocks", "attachments"} & plain.keys() == set()
    assert plain["mrkdwn"] is False
    assert plain["text"].split("\n") == [
        "🟡 BUY AAPL",
        "Price: *1* &amp; &lt;!here&gt;",
        "Symbol: AAPL",
        "Strategy: Momentum",
        "🟡 medium · order · 2026-05-01 09:30 UTC",
        "Alpha: a*b",
        "Beta: 1.50",
        "Alert a1",
    ]
    assert rich.get("channel") == plain.get("channel")
    assert receipt.note == f"sent as plain text, because Slack refused the blocks ({word})"


def test_blocks_and_thread_refused_in_turn_still_arrive(service: FakeService) -> None:
    service.answer(200, {"ok": False, "error": "thread_not_found"}).answer(
        200, {"ok": False, "error": "invalid_blocks"}
    )
    service.answer(200, TOOK)
    assert deliver(bot(service), replies_to=(ROOT, ROOT)).id == TS
    assert len(service.requests) == 3


def test_plain_text_that_is_refused_too_is_not_sent_a_third_time(service: FakeService) -> None:
    messages = {"messages": ["[ERROR] must be shorter [json-pointer:/blocks/0/text]"]}
    service.answer(200, {"ok": False, "error": "invalid_blocks", "response_metadata": messages})
    failed = failure(bot(service))
    assert (failed.failure, len(service.requests)) == (Failure.PERMANENT, 2)
    assert "invalid_blocks; [ERROR] must be shorter" in failed.reason


# ------------------------------------------------------------------------------------------- files


def test_files_go_in_three_steps_into_the_thread_of_the_message(api: FakeService, tmp_path: Path) -> None:
    attachments = [file(tmp_path), file(tmp_path, "notes.txt", b"text")]
    receipt = deliver(bot(api), trade(attachments=attachments))
    assert [request.path for request in api.requests] == [
        "/api/chat.postMessage",
        *["/api/files.getUploadURLExternal", "/upload/v1/secret-place"] * 2,
        "/api/files.completeUploadExternal",
    ]
    asked, stored, _, _, shown = api.requests[1:]
    assert asked.form() == {"filename": "chart.png", "length": "12"}
    assert (stored.body, stored.query) == (b"\x89PNG picture", {"key": "abc"})
    assert "authorization" not in stored.headers
    form = shown.form()
    assert (form["channel_id"], form["thread_ts"]) == (CHANNEL, TS)
    titles = [{"id": "F123ABC456", "title": name} for name in ("chart.png", "notes.txt")]
    assert json.loads(form["files"]) == titles
    assert receipt == Receipt(TS)


def test_files_of_a_reply_go_into_its_thread_and_by_the_channel_s_id(api: FakeService, tmp_path: Path) -> None:
    deliver(bot(api, channel_ids="#alerts"), trade(attachments=[file(tmp_path)]), replies_to=(ROOT, ROOT))
    assert posted(api)[0]["channel"] == "#alerts"
    form = api.requests[-1].form()
    assert (form["channel_id"], form["thread_ts"]) == (CHANNEL, ROOT)


@pytest.mark.parametrize("step", ["getUploadURLExternal", "upload", "completeUploadExternal"])
@pytest.mark.parametrize("wrong", [(200, {"ok": False, "error": "file_uploads_disabled"}), (500, ""), (403, "no")])
def test_a_file_that_is_refused_does_not_hold_back_the_text(
    api: FakeService, tmp_path: Path, step: str, wrong: tuple[int, Any]
) -> None:
    api.on(path=f"*{step}*").answer(*wrong)
    receipt = deliver(bot(api), trade(attachments=[file(tmp_path)]))
    assert receipt.id == TS
    if (step, wrong[0]) == ("upload", 200):  # where bytes go it is the status that counts
        assert receipt.note == ""
    else:
        assert receipt.note.startswith("chart.png could not be sent: ")


def test_a_missing_scope_for_files_is_named(api: FakeService, tmp_path: Path) -> None:
    refusal = {"ok": False, "error": "missing_scope", "needed": "files:write", "provided": "chat:write"}
    api.on(path="*getUpload*").answer(200, refusal)
    assert "lacks the scope files:write: add it" in deliver(bot(api), trade(attachments=[file(tmp_path)])).note


def test_a_file_that_cannot_be_read_or_is_too_large_does_not_hold_back_the_others(
    api: FakeService, tmp_path: Path
) -> None:
    gone, empty, good = file(tmp_path, "gone.png"), file(tmp_path, "empty.png", b""), file(tmp_path, "good.png")
    large = file(tmp_path, "large.png")
    with (tmp_path / "large.png").open("r+b") as opened:
        opened.truncate(MAX_FILE + 1)
    (tmp_path / "gone.png").unlink()
    receipt = deliver(bot(api), trade(attachments=[gone, empty, large, good]))
    assert receipt.note.split("; ") == [
        "gone.png could not be sent: it cannot be read (No such file or directory)",
        "empty.png could not be sent: it is empty",
        "large.png could not be sent: it is larger than 52,428,800 bytes",
    ]
    assert json.loads(api.requests[-1].form()["files"]) == [{"id": "F123ABC456", "title": "good.png"}]


@pytest.mark.parametrize(
    "url",
    ["http://elsewhere.example/upload", "ftp://x/y", "//x/y", "", "https://", "https://a@b/c", "http://[", None, 7],
)
def test_bytes_go_to_no_address_that_is_not_safe(api: FakeService, tmp_path: Path, url: Any) -> None:
    api.on(path="*getUpload*").answer(200, {"ok": True, "upload_url": url, "file_id": "F1"})
    receipt = deliver(bot(api), trade(attachments=[file(tmp_path)]))
    assert receipt.note == "chart.png could not be sent: Slack gave no safe address for it"
    assert len(api.requests) == 2


def test_bytes_go_over_https_or_to_the_host_that_was_asked() -> None:
    assert is_safe("https://files.slack.com/upload/v1/ABC", "https://slack.com")
    assert is_safe("http://127.0.0.1:9/upload", "http://127.0.0.1:9")
    assert not is_safe("http://127.0.0.1:8/upload", "http://127.0.0.1:9")


def test_where_bytes_go_is_in_no_log_line_and_no_failure(
    api: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
    alert = trade(attachments=[file(tmp_path)])
    deliver(bot(api), alert)
    api.on(path="/upload/*").answer(404, "unknown: secret-place")
    note = deliver(bot(api), alert).note
    lines = [f"{record.getMessage()} {record.msg} {record.args}" for record in caplog.records]
    assert any("/api/files.getUpload" in line for line in lines), "nothing was looked at"
    assert [line for line in lines if "secret-place" in line or "key=abc" in line] == []
    assert "chart.png could not be sent" in note


def test_a_webhook_takes_no_files_and_says_so_where_somebody_attached_one(api: FakeService, tmp_path: Path) -> None:
    alert = trade(attachments=[file(tmp_path)])
    assert deliver(hook(api), alert).note == (
        "sent without its files: a webhook takes none; set bot_token and channel_ids"
    )
    assert deliver(hook(api), alert.replace(bars={"time": []})).note == ""  # a chart of ours
    assert deliver(hook(api), trade()).note == ""
    assert len(api.requests) == 3


def test_text_and_files_share_one_time(api: FakeService, tmp_path: Path) -> None:
    gate = threading.Event()
    api.on(path="*getUpload*").answer(200, {}, gate=gate)
    receipt = deliver(bot(api, timeout=4.0), trade(attachments=[file(tmp_path), file(tmp_path, "b.png")]))
    gate.set()
    assert receipt.id == TS
    assert "chart.png could not be sent" in receipt.note
    assert "b.png could not be sent: nothing was left of the 4 s of timeout" in receipt.note
    assert len(api.requests) == 2


# ------------------------------------------------------------------------------------------ answers

WRONG_TOKEN = ["invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope"]
DEAD = ["channel_not_found", "not_in_channel", "is_archived", "restricted_action_read_only_channel"]


@pytest.mark.parametrize("word", WRONG_TOKEN)
def test_it_handles_a_wrong_token(service: FakeService, word: str) -> None:
    service.answer(200, {"ok": False, "error": word, "needed": "chat:write", "provided": "x"})
    failed = failure(bot(service))
    assert (failed.failure, failed.dead_target) == (Failure.AUTH, False)
    assert ("lacks the scope chat:write" if word == "missing_scope" else "bot_token") in failed.reason


def test_a_wrong_token_does_not_silence_the_webhooks_beside_it(service: FakeService) -> None:
    service.answer(200, {"ok": False, "error": "invalid_auth"})
    service.on(path="/services/*").answer(200, "ok")
    dispatcher = bot(service, webhook_urls=f"{service.url}{HOOK}")
    webhook, channel = dispatcher.targets()
    with pytest.raises(DeliveryFailed) as caught:
        dispatcher.deliver(trade(), channel, Context(key="k"))
    assert (caught.value.failure, caught.value.dead_target) == (Failure.PERMANENT, True)
    dispatcher.deliver(trade(), webhook, Context(key="k"))


@pytest.mark.parametrize("word", DEAD)
def test_it_handles_a_channel_that_will_never_work(service: FakeService, word: str) -> None:
    service.answer(200, {"ok": False, "error": word})
    failed = failure(bot(service))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)
    assert f"({word})" in failed.reason
    assert word != "not_in_channel" or "/invite" in failed.reason


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (404, "no_service"),
        (404, "no_team"),
        (410, "channel_is_archived"),
        (404, "channel_not_found"),
        (403, "invalid_token"),
        (403, "action_prohibited"),
        (410, ""),
    ],
)
def test_it_handles_a_webhook_that_will_never_work(service: FakeService, status: int, word: str) -> None:
    service.answer(status, word)
    failed = failure(hook(service))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)
    assert word in failed.reason


@pytest.mark.parametrize(
    ("answer", "kind", "wait"),
    [
        ((429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"}), Failure.RETRY_AFTER, 30),
        ((200, {"ok": False, "error": "rate_limited"}, {"Retry-After": "7"}), Failure.RETRY_AFTER, 7),
        ((200, {"ok": False, "error": "ratelimited"}), Failure.RETRY, None),
        ((429, "rate_limited", {"Retry-After": "2"}), Failure.RETRY_AFTER, 2),
        ((503, {"ok": False, "error": "service_unavailable"}), Failure.RETRY, None),
        ((200, {"ok": False, "error": "request_timeout"}), Failure.RETRY, None),
        ((200, {"ok": False, "error": "team_added_to_org"}), Failure.RETRY, None),
        ((500, "rollup_error"), Failure.RETRY, None),
        ((200, {"ok": False, "error": "internal_error"}), Failure.UNKNOWN, None),
        ((200, {"ok": False, "error": "fatal_error"}), Failure.UNKNOWN, None),
        ((200, {"ok": False, "error": "msg_too_long"}), Failure.TOO_LARGE, None),
        ((200, {"ok": False, "error": "no_text"}), Failure.PERMANENT, None),
        ((200, {"ok": False, "error": "some_new_word"}), Failure.PERMANENT, None),
        ((400, "user_not_found_in_some_new_way"), Failure.PERMANENT, None),
        ((200, {"ok": False}), Failure.PERMANENT, None),
        ((200, "<html>Please log in</html>"), Failure.UNKNOWN, None),
        ((200, ""), Failure.UNKNOWN, None),
        ((200, {}), Failure.UNKNOWN, None),
        ((200, '{"ok": 1}'), Failure.UNKNOWN, None),
        ((200, "okay"), Failure.UNKNOWN, None),
    ],
)
def test_it_handles_answers_by_slack_s_own_words(
    service: FakeService, answer: Any, kind: Failure, wait: float | None
) -> None:
    service.answer(*answer)
    for dispatcher in (bot(service), hook(service)):
        failed = failure(dispatcher)
        assert (failed.failure, failed.retry_after, failed.dead_target) == (kind, wait, False)
        assert failed.answered


def test_an_answer_longer_than_is_read_still_says_that_the_message_was_taken(service: FakeService) -> None:
    # Slack quotes the message with six bytes for each letter of most scripts.
    service.answer(200, {**TOOK, "message": {"text": "ц" * 20_000, "ts": TS}})
    assert deliver(bot(service)).id == TS


# -------------------------------------------------------------------------------------------- check


def test_a_check_of_a_channel_asks_whose_token_it_is(service: FakeService) -> None:
    answer = {"ok": True, "url": "https://x.slack.com/", "team": "X", "user": "alerts", "bot_id": "B1", "team_id": "T1"}
    service.answer(200, answer, {"X-OAuth-Scopes": "chat:write,files:write"})
    dispatcher = bot(service)
    receipt = dispatcher.check(dispatcher.targets()[0])
    assert receipt.facts == {"team": "X", "user": "alerts", "url": "https://x.slack.com/", "bot_id": "B1"}
    assert (
        receipt.note
        == f"the token is good; whether the bot may write in channel {CHANNEL} shows with the first message"
    )
    assert [request.path for request in service.requests] == ["/api/auth.test"]
    assert service.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_check_names_a_scope_that_the_app_lacks(service: FakeService) -> None:
    service.answer(200, {"ok": True}, {"X-OAuth-Scopes": "chat:write"})
    dispatcher = bot(service)
    assert "need the scope files:write" in dispatcher.check(dispatcher.targets()[0]).note
    service.answer(200, {"ok": True}, {"X-OAuth-Scopes": "users:read, files:write"})
    with pytest.raises(DeliveryFailed, match="lacks the scope chat:write") as caught:
        dispatcher.check(dispatcher.targets()[0])
    assert caught.value.failure is Failure.AUTH


def test_a_check_of_a_webhook_posts_nothing_and_says_so(service: FakeService) -> None:
    for url, words in (
        (f"{service.url}{HOOK}", "not Slack's own"),
        (f"https://hooks.slack.com{HOOK}", "without posting"),
    ):
        dispatcher = SlackDispatcher(url)
        assert words in dispatcher.check(dispatcher.targets()[0]).note
    assert service.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/workflows/T0TEAM0000/A0/1/abc",
        "https://hooks.slack.com/triggers/T0TEAM0000/1/abc",
        "https://hooks.slack.com/",
        "https://hooks.slack.com/services/T0TEAM0000/B0HOOK0000",
        f"http://hooks.slack.com{HOOK}",
    ],
)
def test_a_check_finds_an_address_of_slack_that_is_no_incoming_webhook(url: str) -> None:
    dispatcher = SlackDispatcher(url)
    with pytest.raises(DeliveryFailed, match="is no incoming webhook") as caught:
        dispatcher.check(dispatcher.targets()[0])
    assert caught.value.dead_target
    assert dispatcher.test_connection() is False


# ------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {},
            "set webhook_urls (SLACK_WEBHOOK_URLS), or bot_token (SLACK_BOT_TOKEN) and channel_ids (SLACK_CHANNEL_IDS) "
            "to send to Slack",
        ),
        ({"bot_token": TOKEN}, "set channel_ids (SLACK_CHANNEL_IDS) to send to Slack"),
        ({"channel_ids": "C1"}, "set bot_token (SLACK_BOT_TOKEN) to send to Slack"),
        ({"bot_token": TOKEN, "channel_ids": ["C1"]}, ""),
        ({"webhook_urls": f"https://hooks.slack.com{HOOK}"}, ""),
    ],
)
def test_it_says_what_is_missing(given: dict[str, Any], said: str) -> None:
    dispatcher = SlackDispatcher(**given)
    assert dispatcher.missing() == said
    assert (len(dispatcher.targets()) == 0) is bool(said)


def test_half_a_bot_beside_webhooks_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = SlackDispatcher(f"https://hooks.slack.com{HOOK}", bot_token=TOKEN)
    assert "bot_token is not used, because channel_ids is not set" in caplog.text
    assert len(dispatcher.targets()) == 1
    SlackDispatcher(f"https://hooks.slack.com{HOOK}", channel_ids="C1")
    assert "channel_ids is not used, because bot_token is not set" in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"webhook_urls": "hooks.slack.com/services/x"},
            "webhook_urls must be https://hooks.slack.com/services/…: number 1",
        ),
        ({"webhook_urls": ["https://ok.example/x", "https://bad host/"]}, "webhook_urls must be .* number 2"),
        ({"webhook_urls": "https://[::1/x"}, "webhook_urls must"),
        ({"bot_token": "xoxb 1"}, "bot_token must be"),
        ({"channel_ids": TOKEN}, "channel_ids must be ids"),
        ({"bot_token": "xoxb-é"}, "bot_token must be"),
        ({"channel_ids": "C1, https://hooks.slack.com/x"}, "channel_ids must be ids such as C0123456789: number 2"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SlackDispatcher(**given)


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(SlackDispatcher)}
    assert list(known)[:3] == ["webhook_urls", "bot_token", "channel_ids"]
    assert {name: argument.env for name, argument in known.items() if argument.env} == {
        "webhook_urls": "SLACK_WEBHOOK_URLS",
        "bot_token": "SLACK_BOT_TOKEN",
        "channel_ids": "SLACK_CHANNEL_IDS",
    }
    assert [name for name, argument in known.items() if argument.credential] == ["webhook_urls", "bot_token"]


def test_each_part_of_a_webhook_s_address_and_of_a_token_is_secret() -> None:
    SlackDispatcher(
        "https://hooks.slack.com/services/T9TEAM9999/B9HOOK9999/" + "p4th" * 6, "xoxb-98765432101-" + "q" * 24
    )
    shown = redact(f"/services/T9TEAM9999 B9HOOK9999 {'p4th' * 6} 98765432101 {'q' * 24} services xoxb")
    assert shown == "/services/••• ••• ••• ••• ••• services xoxb"


def test_a_preview_names_every_step_and_sends_nothing(api: FakeService, tmp_path: Path) -> None:
    dispatcher = bot(api)
    alert = trade(attachments=[file(tmp_path)])
    requests = dispatcher.preview(alert, dispatcher.targets()[0], Context(key="k"))
    assert [request.line.split("/")[-1] for request in requests] == [
        "chat.postMessage",
        "files.getUploadURLExternal",
        "given-by-slack",
        "files.completeUploadExternal",
    ]
    assert "BUY AAPL" in requests[0].body
    assert api.requests == []


# --------------------------------------------------------------------------------- Slack's own SDK


def requests_of(api: FakeService, act: Any) -> list[Received]:
    before = len(api.requests)
    act()
    return api.requests[before:]


def test_a_message_is_what_slack_s_own_sdk_sends(api: FakeService) -> None:
    ours = requests_of(api, lambda: deliver(bot(api), trade(), replies_to=(ROOT, ROOT)))[0]
    fields = ours.json()
    fields["blocks"] = Block.parse_all(fields["blocks"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the SDK warns where notifications would have no text
        client = WebClient(TOKEN, base_url=f"{api.url}/api/")
        theirs = requests_of(api, lambda: client.chat_postMessage(**fields))[0]
    assert (theirs.method, theirs.path) == (ours.method, ours.path)
    assert theirs.headers["authorization"] == ours.headers["authorization"]
    assert {**theirs.json(), "reply_broadcast": True} == ours.json()


def test_a_webhook_s_message_is_what_slack_s_own_sdk_sends(api: FakeService) -> None:
    ours = requests_of(api, lambda: deliver(hook(api), trade()))[0]
    client = WebhookClient(f"{api.url}{HOOK}")
    theirs = requests_of(api, lambda: client.send_dict(ours.json()))[0]
    assert (theirs.method, theirs.path, theirs.json()) == (ours.method, ours.path, ours.json())


def test_a_file_is_uploaded_as_slack_s_own_sdk_does(api: FakeService, tmp_path: Path) -> None:
    picture = file(tmp_path)
    ours = requests_of(api, lambda: deliver(bot(api), trade(attachments=[picture])))[1:]
    client = WebClient(TOKEN, base_url=f"{api.url}/api/")
    api.on(path="*completeUpload*").answer(200, {"ok": True, "files": [{"id": "F123ABC456", "title": "chart.png"}]})

    def upload() -> None:
        client.files_upload_v2(
            file=picture.path, filename="chart.png", title="chart.png", channel=CHANNEL, thread_ts=TS
        )

    theirs = requests_of(api, upload)
    assert [request.path for request in theirs] == [request.path for request in ours]
    assert theirs[0].form() == ours[0].form()
    assert (theirs[1].body, theirs[1].query) == (ours[1].body, ours[1].query)
    assert decoded(theirs[2]) == decoded(ours[2])


def decoded(request: Received) -> dict[str, Any]:
    form = request.form()
    return {**form, "files": json.loads(form["files"])}
