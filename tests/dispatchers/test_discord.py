"""Discord: what leaves the program, and what each of the service's answers means."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from discord_reader import LINK, assert_within_limits, payload, read, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from timeouts_kit import request_timeouts

from bt_alerts._version import __version__
from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.discord import DiscordDispatcher
from bt_alerts.dispatchers.discord.message import escape
from bt_alerts.redact import redact
from bt_alerts.render.look import Look
from bt_alerts.testing import FakeService, faults

ID, TOKEN = "1400123456789012345", "tOkEn-0f_A-w3bh00k" * 3
URL = f"https://discord.com/api/webhooks/{ID}/{TOKEN}"
OTHER = f"https://discord.com/api/webhooks/1400999999999999999/{'other' * 10}"
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
TOOK = {"id": "1503381912345678901", "channel_id": "1400000000000000001"}
INVALID = {"message": "Invalid Form Body", "code": 50035, "errors": {"embeds": {"0": {"title": {"_errors": []}}}}}


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(200, TOOK)


def discord(api: FakeService, urls: Any = URL, **options: Any) -> DiscordDispatcher:
    return DiscordDispatcher(urls, api_url=api.url, **options)


def deliver(dispatcher: DiscordDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(**{"key": "msg_1", "now": NOW, **context}))


def failure(dispatcher: DiscordDispatcher, alert: Alert | None = None, **context: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher, alert, **context)
    return caught.value


def embed(api: FakeService, number: int = -1) -> dict[str, Any]:
    (found,) = payload(api.requests[number])["embeds"]
    return dict(found)


# ---------------------------------------------------------------------------------------- what is sent


def test_an_alert_is_an_embed_with_fields_and_colour(api: FakeService) -> None:
    alert = Alert.make(
        "Price: 150.50\nSize: 10",
        title="BUY AAPL",
        time=dt.datetime(2026, 5, 1, 14, 30, tzinfo=dt.UTC),
        symbol="AAPL",
        strategy="Sma_Cross",
        data={"position_size": 10, "position_price": 150.5},
    )
    receipt = deliver(discord(api), alert)
    sent = api.requests[0]
    assert (sent.method, sent.path, sent.query) == ("POST", f"/api/v10/webhooks/{ID}/{TOKEN}", {"wait": "true"})
    assert sent.headers["user-agent"] == f"DiscordBot (bt_alerts, {__version__})"
    assert sent.headers["content-type"] == "application/json"
    assert sent.json() == {
        "embeds": [
            {
                "title": "🟡 BUY AAPL",
                "description": "Price: 150.50\nSize: 10",
                "color": 0xF2C200,
                "fields": [
                    {"name": "Symbol", "value": "AAPL", "inline": True},
                    {"name": "Strategy", "value": "Sma\\_Cross", "inline": True},
                    {"name": "Position", "value": "long 10 at 150.50", "inline": True},
                ],
                # A footer has no markup, so a backslash there would be seen.
                "footer": {"text": "2026-05-01 14:30 UTC · Sma_Cross"},
            }
        ],
        "allowed_mentions": {"parse": []},
    }
    assert (receipt.id, receipt.note, receipt.hold_target_until) == (TOOK["id"], "", None)


def test_each_priority_has_its_colour(api: FakeService) -> None:
    for priority in Priority:
        deliver(discord(api), Alert.make("x", priority=priority))
    colours = [embed(api, number)["color"] for number in range(5)]
    assert colours == [0xD92626, 0xF08C00, 0xF2C200, 0x2B9348, 0x1C7ED6]


def test_a_silent_delivery_notifies_nobody(api: FakeService) -> None:
    deliver(discord(api), silent=True)
    deliver(discord(api))
    assert [payload(request).get("flags") for request in api.requests] == [4096, None]


def test_a_template_that_fails_is_noted_and_the_alert_goes(api: FakeService) -> None:
    dispatcher = discord(api)
    dispatcher.look = Look({"all": {"title": "{{ titel }}"}})
    receipt = deliver(dispatcher)
    assert receipt.note.startswith("the built-in title was used")
    assert b"Title" in api.requests[0].body


def test_a_late_message_says_how_late(api: FakeService) -> None:
    deliver(discord(api), late=dt.timedelta(minutes=11))
    assert embed(api)["description"] == "⏱ 11 min late\nhello"


def test_an_alert_without_text_is_its_title(api: FakeService) -> None:
    deliver(discord(api), Alert.make(" ", title="Up"))
    assert "description" not in embed(api)
    assert embed(api)["title"] == "🟡 Up"


def test_the_users_templates_and_time_zone_are_obeyed(api: FakeService) -> None:
    dispatcher = discord(api)
    dispatcher.look = Look({"all": {"title": "**{{ title }}**", "footer": "{{ time }}"}}, zone="Asia/Tokyo")
    deliver(dispatcher, Alert.make("x" * 9000, title="a*b", time=NOW))
    assert embed(api, 0)["title"] == "**a\\*b**"
    assert embed(api, -1)["footer"] == {"text": "2026-05-20 21:00 JST"}
    assert "".join(embed(api, number)["description"] for number in range(3)) == "x" * 9000


def test_a_preview_shows_every_message_and_sends_nothing(api: FakeService) -> None:
    dispatcher = discord(api)
    shown = dispatcher.preview(Alert.make("word " * 2000), dispatcher.targets()[0], Context(key="k"))
    assert [request.line.partition("?")[0] for request in shown] == [
        f"POST {api.url}/api/v10/webhooks/{ID}/{TOKEN}"
    ] * 3
    assert api.requests == []


# ---------------------------------------------------------------------------------------- threads and forums


def test_a_message_goes_to_the_thread_that_is_set(api: FakeService) -> None:
    deliver(discord(api, thread_id="1400000000000000007"))
    assert api.requests[0].query == {"wait": "true", "thread_id": "1400000000000000007"}


def test_a_forum_gets_one_post_an_alert_however_long(api: FakeService) -> None:
    deliver(discord(api, thread_name="Alerts"), Alert.make("x" * 9000))
    assert [payload(request).get("thread_name") for request in api.requests] == ["Alerts", None, None]
    assert [request.query.get("thread_id") for request in api.requests] == [None, *[TOOK["channel_id"]] * 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thread_id": "1", "thread_name": "x"}, "thread_id and thread_name cannot both be set"),
        ({"thread_id": "general"}, "thread_id must be a number"),
        ({"thread_name": "🚀" * 51}, "thread_name has 102 characters: Discord takes 100"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DiscordDispatcher(URL, **options)


# ---------------------------------------------------------------------------------------- long texts


def test_a_long_text_goes_on_in_further_messages(api: FakeService) -> None:
    text = "\n".join(f"line {number} with some words" for number in range(500))
    receipt = deliver(discord(api), Alert.make(text, title="Long", symbol="AAPL"))
    embeds = [embed(api, number) for number in range(len(api.requests))]
    assert "".join(found["description"] for found in embeds) == text
    assert [sorted(found) for found in embeds] == [
        ["color", "description", "fields", "title"],
        *[["color", "description"]] * (len(embeds) - 2),
        ["color", "description", "footer"],
    ]
    assert len(embeds) == -(-len(text) // 4096)
    assert (receipt.id, receipt.note) == (TOOK["id"], "")


def limited(remaining: str, reset_after: str = "1.25") -> dict[str, str]:
    return {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset-After": reset_after}


LONG = Alert.make("".join(f"{number:05}" for number in range(2400)), title="Long")  # 12,000 characters


def test_where_discord_asks_to_wait_the_next_attempt_sends_only_what_is_left(service: FakeService) -> None:
    service.answer(200, TOOK, limited("1")).answer(200, {**TOOK, "id": "2"}, limited("0", "1.5"))
    service.answer(200, {**TOOK, "id": "3"}, limited("4"))
    dispatcher = discord(service)
    failed = failure(dispatcher, LONG)
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 1.5)
    assert len(service.requests) == 2, "no request is made that would be answered 429"
    progress = json.loads(json.dumps(failed.progress))  # the store keeps it as JSON
    receipt = deliver(discord(service), LONG, attempt=2, late=dt.timedelta(minutes=3), progress=progress)
    assert "".join(embed(service, number)["description"] for number in range(3)) == LONG.message
    assert (receipt.id, receipt.note) == (TOOK["id"], "")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(500, {}, Failure.RETRY), (429, {"message": "slow", "retry_after": 0.5}, Failure.RETRY_AFTER)],
)
def test_a_later_message_that_fails_for_now_is_sent_without_the_earlier_ones(
    service: FakeService, status: int, body: Any, kind: Failure
) -> None:
    service.answer(200, TOOK).answer(status, body).answer(200, {**TOOK, "id": "3"})
    dispatcher = discord(service)
    failed = failure(dispatcher, LONG)
    assert failed.failure is kind
    assert deliver(dispatcher, LONG, progress=failed.progress).id == TOOK["id"]
    assert "".join(embed(service, number)["description"] for number in (0, 2, 3)) == LONG.message


def test_what_is_left_of_a_delivery_is_not_taken_for_a_digest_that_has_grown(service: FakeService) -> None:
    service.answer(200, TOOK, limited("0")).answer(200, TOOK)
    dispatcher = discord(service)
    failed = failure(dispatcher, LONG)
    deliver(dispatcher, LONG.replace(message="a digest that has grown"), progress=failed.progress)
    assert embed(service)["description"] == "a digest that has grown"


def test_a_later_message_that_is_refused_for_good_is_noted(service: FakeService) -> None:
    service.answer(200, TOOK).answer(400, {"message": "Message was blocked by AutoMod", "code": 200000})
    receipt = deliver(discord(service), LONG)
    assert receipt.id == TOOK["id"]
    assert receipt.note.startswith("the last 2 of its messages were not taken: ")
    assert "AutoMod" in receipt.note


def test_all_messages_of_a_delivery_share_one_timeout(service: FakeService) -> None:
    service.answer(200, lambda _: time.sleep(0.4) or TOOK)
    failed = failure(discord(service, timeout=1.0), Alert.make("x" * 32_000))
    assert len(service.requests) <= 3
    assert failed.failure in {Failure.RETRY, Failure.UNKNOWN}


# ---------------------------------------------------------------------------------------- limits

#: What counts more than once, joins, or vanishes.
PIECES = [
    "a",
    " ",
    "\n",
    "*",
    "_",
    "\\",
    "`",
    ":x:",
    "1. ",
    "> ",
    "https://a.example/b_c",
    "🚀",
    "👨‍👩‍👧‍👦",
    "é",
    "\t",
    "<@1>",
]


def texts(most: int) -> st.SearchStrategy[str]:
    """Texts about as long as ``most``, of one piece or of all kinds."""
    short = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
    sizes = st.integers(0, most) | st.integers(max(0, most - 3), most)
    return st.builds(lambda piece, size: (piece * size)[:size], short, sizes)


@settings(max_examples=40)
@given(
    message=texts(9_000) | texts(32_768),
    title=texts(500),
    names=st.tuples(texts(100), texts(200)),
    footer=st.just("") | texts(3000),
)
def test_the_largest_alerts_obey_every_limit_and_lose_nothing(
    message: str, title: str, names: tuple[str, str], footer: str
) -> None:
    data = {"position_size": 1e15, "position_price": 1e-9}
    alert = Alert.make(message, title=title, symbol=names[0], strategy=names[1], data=data)
    dispatcher = DiscordDispatcher(URL)
    if footer:
        dispatcher.look = Look({"all": {"footer": "{% raw %}" + footer + "{% endraw %}"}})
    context = Context(key="k", late=dt.timedelta(hours=3))
    sent = [json.loads(request.body) for request in dispatcher.preview(alert, dispatcher.targets()[0], context)]
    for each in sent:
        assert_within_limits(each)
    shown = "".join(seen(each["embeds"][0].get("description", "")) for each in sent)
    assert "".join(alert.message.split()) in "".join(shown.split())


@pytest.mark.parametrize(("footer", "boundary"), [("", 4096), ("f" * 3000, 6000 - 2048)])
def test_each_limit_is_used_to_the_last_character_and_no_further(footer: str, boundary: int) -> None:
    dispatcher = DiscordDispatcher(URL)
    if footer:
        dispatcher.look = Look({"all": {"footer": footer}})
    counts = []
    for size in range(boundary - 300, boundary + 2):
        alert = Alert.make("a" * size, title="T")
        requests = dispatcher.preview(alert, dispatcher.targets()[0], Context(key="k"))
        for request in requests:
            assert_within_limits(json.loads(request.body))
        counts.append(len(requests))
    assert counts[0] == 1
    assert sum(count > 1 for count in counts) in range(1, 2 + len("🟡 T") + 1), "a message more than is needed"


# ---------------------------------------------------------------------------------------- markup


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("*b* _i_ __u__ ~~s~~ ||x||", r"\*b\* \_i\_ \_\_u\_\_ \~\~s\~\~ \|\|x\|\|"),
        ("`code` \\", r"\`code\` \\"),
        ("@everyone @here a@b.example", r"\@everyone \@here a@b.example"),
        ("<@80351110224678912> <#1> <t:1:R>", r"\<@80351110224678912> \<#1> \<t\:1:R>"),
        (":rocket: at 12:30", r"\:rocket: at 12:30"),
        ("[click](https://evil.example)", r"\[click](https://evil.example)"),
        ("see https://x.example/a_b*c, now", "see https://x.example/a_b*c, now"),
        ("https://x.example/a_b<@1>", r"https\://x.example/a\_b\<@1>"),
        ("# a\n- b\n> c\n1. d\n  * e\n-# f", "\\# a\n\\- b\n\\> c\n1\\. d\n  \\* e\n\\-# f"),
        ("-5.2 % or 1.5", r"\-5.2 % or 1.5"),
    ],
)
def test_markup_of_a_text_is_disarmed(text: str, sent: str) -> None:
    assert escape(text) == sent
    assert seen(sent) == text


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from([*PIECES, *"~|[]()#+-.<>@/", "@everyone", "http://", "https://b.example"])).map("".join)
)
def test_nothing_that_a_text_holds_acts(text: str) -> None:
    sent = escape(text)
    assert seen(sent) == text
    # What is left when links and disarmed signs are taken out is what could act.
    bare = "¤".join(part for number, part in enumerate(LINK.split(sent)) if number % 2 == 0)
    bare = re.sub(r"\\[^0-9A-Za-z\s]", "¤", bare)
    assert re.search(r"[*_~`|<\[\\]|@(everyone|here)|:[\w+-]+:|^[ \t]*([-+#>]|[0-9]+\.)", bare, re.MULTILINE) is None


# ---------------------------------------------------------------------------------------- files


def with_files(tmp_path: Path, *names: str, content: bytes = b"\x89PNG picture") -> Alert:
    for name in names:
        (tmp_path / name).write_bytes(content)
    return Alert.make("with files", attachments=[Attachment.from_path(tmp_path / name) for name in names])


def test_files_go_with_the_message_and_the_first_picture_into_the_embed(api: FakeService, tmp_path: Path) -> None:
    receipt = deliver(discord(api), with_files(tmp_path, "log.txt", "my chart.png", "b.jpg"))
    parts = api.requests[0].parts()
    assert sorted(parts) == ["files[0]", "files[1]", "files[2]", "payload_json"]
    assert parts["files[0]"][:2] == ("log.txt", "text/plain")
    assert parts["files[1]"] == ("my_chart.png", "image/png", b"\x89PNG picture")
    assert embed(api)["image"] == {"url": "attachment://my_chart.png"}
    assert payload(api.requests[0])["allowed_mentions"] == {"parse": []}
    assert receipt.note == ""


def test_files_go_with_the_first_of_several_messages(api: FakeService, tmp_path: Path) -> None:
    deliver(discord(api), with_files(tmp_path, "chart.png").replace(message="x" * 9000))
    assert [b"filename=" in request.body for request in api.requests] == [True, False, False]
    assert ["image" in embed(api, number) for number in range(3)] == [True, False, False]


def test_more_than_ten_files_and_those_that_are_too_large_stay(api: FakeService, tmp_path: Path) -> None:
    alert = with_files(tmp_path, *(f"{number}.txt" for number in range(11)))
    (tmp_path / "big.bin").write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    big = Attachment.from_path(tmp_path / "big.bin")
    receipt = deliver(discord(api), alert.replace(attachments=(big, *alert.attachments)))
    assert len(api.requests[0].parts()) == 1 + 10
    assert receipt.note == (
        "sent without big.bin: it is larger than 10,485,760 bytes; sent without 10.txt: a message takes 10 files"
    )


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (413, "<html>413 Request Entity Too Large</html>"),
        (413, {"message": "Request entity too large", "code": 40005}),
        (400, {"message": "File uploaded exceeds the maximum size", "code": 50045}),
    ],
)
def test_files_that_are_refused_stay_and_the_text_goes(
    service: FakeService, tmp_path: Path, status: int, answer: Any
) -> None:
    service.answer(status, answer).answer(200, TOOK)
    receipt = deliver(discord(service), with_files(tmp_path, "chart.png"))
    assert receipt.note.startswith("sent without its files: 127.0.0.1")
    assert [b"filename=" in request.body for request in service.requests] == [True, False]
    assert "image" not in embed(service)


def test_a_refused_form_is_sent_again_as_plain_text(service: FakeService) -> None:
    service.answer(400, INVALID).answer(200, TOOK)
    text = "*bold* and " + "words " * 500
    receipt = deliver(discord(service, timeout=5), Alert.make(text, title="Title"), silent=True)
    assert receipt.note.startswith("sent as plain text: 127.0.0.1")
    assert "Invalid Form Body" in receipt.note
    plain = [payload(request) for request in service.requests[1:]]
    assert all(set(each) == {"content", "allowed_mentions", "flags"} for each in plain)
    shown = "".join(read(request) for request in service.requests[1:])
    assert shown.startswith("🟡 Title\n*bold* and words")
    assert shown.count("words") == 500


def test_a_form_that_is_refused_with_its_files_goes_without(service: FakeService, tmp_path: Path) -> None:
    service.answer(400, INVALID).answer(400, INVALID).answer(200, TOOK)
    receipt = deliver(discord(service), with_files(tmp_path, "a.png"))
    assert [len(request.body) > 0 and b"filename=" in request.body for request in service.requests] == [
        True,
        True,
        False,
    ]
    assert payload(service.requests[-1])["content"].endswith("UTC")
    assert receipt.note.count("Invalid Form Body") == 2


def test_a_form_that_is_refused_in_every_way_is_given_up(service: FakeService) -> None:
    service.answer(400, INVALID)
    failed = failure(discord(service))
    assert (failed.failure, len(service.requests)) == (Failure.PERMANENT, 2)


def test_a_fallback_has_only_the_time_that_is_left(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    service.answer(400, lambda _: time.sleep(0.2) or INVALID).answer(200, TOOK)
    dispatcher = discord(service)
    given = request_timeouts(monkeypatch, dispatcher.http)
    assert deliver(dispatcher).note.startswith("sent as plain text: ")
    first, second = given
    assert first <= dispatcher.timeout
    assert second <= first - 0.2


# ---------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (limited("0", "1.25"), 1.25),
        (limited("1", "1.25"), None),
        ({"X-RateLimit-Remaining": "0"}, None),
        (limited("0", "0"), None),
        (limited("0", "soon"), None),
        (limited("0", "1e9"), None),
        (limited("0", "999999999"), 86_400.0),
    ],
)
def test_an_exhausted_webhook_is_held_before_a_429_comes(
    service: FakeService, headers: dict[str, str], seconds: float | None
) -> None:
    service.answer(200, TOOK, headers)
    until = deliver(discord(service)).hold_target_until
    assert until == (None if seconds is None else pytest.approx(NOW.timestamp() + seconds, abs=0.5))


@pytest.mark.parametrize(
    ("body", "header", "wait"),
    [
        ({"message": "You are being rate limited.", "retry_after": 64.57, "global": False}, "65", 64.57),
        ({"message": "You are being rate limited.", "retry_after": 0.3, "global": True}, "1", 0.3),
        ({"message": "x", "retry_after": None}, "65", 65.0),
        ({"message": "x", "retry_after": "soon"}, "65", 65.0),
        ({"message": "x"}, "", None),
        ("error code: 1015", "1800", 1800.0),
        ("<html>banned</html>", "", 3600.0),
    ],
)
def test_a_429_waits_as_the_body_says_then_as_the_header_says(
    service: FakeService, body: Any, header: str, wait: float | None
) -> None:
    service.answer(429, body, {"Retry-After": header})
    failed = failure(discord(service))
    assert failed.failure is (Failure.RETRY if wait is None else Failure.RETRY_AFTER)
    assert failed.retry_after == wait
    assert ("Cloudflare" in failed.reason) is isinstance(body, str)


@pytest.mark.parametrize("code", [20016, 20028, 20029, 40062])
def test_other_limits_of_rate_are_no_refusal(service: FakeService, code: int) -> None:
    service.answer(400, {"message": "slow mode", "code": code, "retry_after": 2})
    failed = failure(discord(service))
    assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 2.0)


@pytest.mark.parametrize(
    ("status", "body", "meaning", "words"),
    [
        (
            404,
            {"message": "Unknown Webhook", "code": 10015},
            (Failure.PERMANENT, True),
            "make another and set webhook_urls",
        ),
        (404, {"message": "404: Not Found", "code": 0}, (Failure.PERMANENT, True), "was deleted"),
        (404, "<html>not here</html>", (Failure.PERMANENT, False), "does not know this address"),
        (404, {"message": "Unknown Channel", "code": 10003}, (Failure.PERMANENT, True), "set another thread_id"),
        (401, {"message": "Invalid Webhook Token", "code": 50027}, (Failure.AUTH, False), "webhook_urls"),
        (401, {"message": "401: Unauthorized", "code": 0}, (Failure.AUTH, False), "webhook_urls"),
        (403, {"message": "403: Forbidden", "code": 0}, (Failure.AUTH, False), "webhook_urls"),
        (403, {"message": "Missing Permissions", "code": 50013}, (Failure.PERMANENT, False), "permissions"),
        (403, {"message": "internal network error", "code": 40333}, (Failure.PERMANENT, False), "network error"),
        (400, {"message": "no", "code": 220001}, (Failure.PERMANENT, False), "set thread_name"),
        (400, {"message": "no", "code": 220003}, (Failure.PERMANENT, False), "remove thread_name"),
        (400, {"message": "no", "code": 40067}, (Failure.PERMANENT, False), "make tags optional"),
        (400, {"message": "no", "code": 200000}, (Failure.PERMANENT, False), "AutoMod"),
        (400, {"message": "no", "code": 240000}, (Failure.PERMANENT, False), "harmful"),
        (400, {"message": "Cannot send an empty message", "code": 50006}, (Failure.PERMANENT, False), "empty"),
        (400, {"message": "something new", "code": 99}, (Failure.PERMANENT, False), "something new"),
        (400, {"message": "x", "code": [1]}, (Failure.PERMANENT, False), "refused"),
        (413, {"message": "x", "code": 40005}, (Failure.TOO_LARGE, False), "too large"),
        (500, {"message": "x", "code": 0}, (Failure.RETRY, False), "in trouble"),
        (502, "", (Failure.RETRY, False), "in trouble"),
    ],
)
def test_an_answer_means_what_its_code_says(
    service: FakeService, status: int, body: Any, meaning: tuple[Failure, bool], words: str
) -> None:
    service.answer(status, body)
    failed = failure(discord(service))
    assert (failed.failure, failed.dead_target) == meaning
    assert words in failed.reason


def test_one_wrong_url_of_several_ends_only_its_own_target(service: FakeService) -> None:
    service.answer(401, {"message": "Invalid Webhook Token", "code": 50027})
    failed = failure(discord(service, [URL, OTHER]))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)


@pytest.mark.parametrize("body", ["<html>Please log in</html>", b"", {}, {"id": None}, {"id": "x"}])
def test_a_200_that_is_not_discord_s_leaves_the_outcome_unknown(service: FakeService, body: Any) -> None:
    service.answer(200, body)
    assert failure(discord(service)).failure is Failure.UNKNOWN


def test_an_answer_without_a_message_is_success_without_an_id(service: FakeService) -> None:
    service.answer(204)
    assert deliver(discord(service)).id == ""


def test_a_lost_answer_is_sent_again_because_a_repeat_is_better_than_a_loss() -> None:
    assert DiscordDispatcher.repeat_unknown
    with faults.FaultServer(faults.resets_instead_of_an_answer) as server:
        assert failure(DiscordDispatcher(URL, api_url=server.url)).failure is Failure.UNKNOWN


def test_a_check_asks_for_the_webhook_and_posts_nothing(service: FakeService) -> None:
    service.answer(200, {"id": ID, "type": 1, "name": "Trading", "channel_id": "7", "token": TOKEN})
    dispatcher = discord(service)
    assert dispatcher.check(dispatcher.targets()[0]).facts == {"name": "Trading", "channel_id": "7"}
    assert (service.requests[0].method, service.requests[0].path) == ("GET", f"/api/v10/webhooks/{ID}/{TOKEN}")
    service.answer(404, {"message": "Unknown Webhook", "code": 10015})
    assert dispatcher.test_connection() is False


# ---------------------------------------------------------------------------------------- settings and secrets


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"https://discord.com/api/v9/webhooks/{ID}/{TOKEN}",
        f"https://canary.discord.com/api/webhooks/{ID}/{TOKEN}/",
        f"https://discordapp.com/api/webhooks/{ID}/{TOKEN}/slack",
    ],
)
def test_a_url_as_people_copy_it_is_used_in_version_10(api: FakeService, url: str) -> None:
    deliver(discord(api, url))
    assert api.requests[0].path == f"/api/v10/webhooks/{ID}/{TOKEN}"


def test_without_api_url_the_host_of_the_webhook_is_asked() -> None:
    assert DiscordDispatcher(URL).targets()[0].address == f"https://discord.com/api/v10/webhooks/{ID}/{TOKEN}"


@pytest.mark.parametrize(
    "url",
    [
        "https://discord.com/channels/1/2",
        f"https://discord.com/api/webhooks/{ID}",
        f"https://discord.com/api/webhooks/general/{TOKEN}",
        f"https://discord.com/api/webhooks/{ID}/{TOKEN}?thread_id=5",
        f"discord.com/api/webhooks/{ID}/{TOKEN}",
        f"ftp://discord.com/api/webhooks/{ID}/{TOKEN}",
    ],
)
def test_what_is_no_webhook_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"webhook_urls must be like .*: number 2 is not; copy it from") as caught:
        DiscordDispatcher([URL, url])
    assert TOKEN not in str(caught.value)


def test_several_webhooks_are_targets_of_their_own(api: FakeService) -> None:
    dispatcher = discord(api, f"{URL}, {OTHER},{URL}")
    assert [target.label for target in dispatcher.targets()] == ["webhook …2345", "webhook …9999"]
    assert dispatcher.send_custom_alert("x")
    assert [request.path.split("/")[4] for request in api.requests] == [ID, "1400999999999999999"]


def test_every_part_of_a_url_is_secret(service: FakeService) -> None:
    service.answer(400, {"message": f"no {URL} and {TOKEN} and {ID}", "code": 99})
    failed = failure(discord(service))
    for part in (URL, TOKEN, ID):
        assert part not in failed.reason
        assert part not in redact(f"POST /api/v10/webhooks/{ID}/{TOKEN}?wait=true")


def test_without_urls_it_says_what_to_set() -> None:
    assert DiscordDispatcher().missing() == "set webhook_urls (DISCORD_WEBHOOK_URLS) to send to Discord"
    assert DiscordDispatcher("").targets() == []


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(DiscordDispatcher)}
    assert next(iter(known)) == "webhook_urls"
    assert (known["webhook_urls"].env, known["webhook_urls"].credential) == ("DISCORD_WEBHOOK_URLS", True)
    assert {"enabled", "timeout", "ca_file", "api_url", "rate_limit", "thread_id", "thread_name"} <= set(known)
