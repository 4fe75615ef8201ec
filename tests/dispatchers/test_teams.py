"""Microsoft Teams: what leaves the program, and what each answer of a workflow means."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teams_reader import MARKDOWN, body, shown

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt, arguments
from bt_alerts.dispatchers.teams import TeamsDispatcher
from bt_alerts.redact import redact
from bt_alerts.render.look import Look
from bt_alerts.render.markdown import escape, paragraphs
from bt_alerts.testing import FakeService

SIG = "dCh3vR-x8sUq0M_signature_bXw9Zk2p"
PATH = f"/workflows/4f2e/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sig={SIG}"
NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def api(service: FakeService) -> FakeService:
    return service.answer(202)


def teams(api: FakeService, **options: Any) -> TeamsDispatcher:
    return TeamsDispatcher(api.url + PATH, **options)


def deliver(dispatcher: TeamsDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title", time=NOW)
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(**{"key": "msg_1", "now": NOW, **context}))


def failure(dispatcher: TeamsDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_it_posts_an_adaptive_card(api: FakeService) -> None:
    alert = Alert.make("Price: 150\nSize: 10", title="BUY AAPL", time=NOW, symbol="AAPL", strategy="Sma_Cross_")
    receipt = deliver(teams(api), alert)
    sent = api.requests[0]
    assert (sent.method, sent.path, sent.query["sig"]) == ("POST", PATH.partition("?")[0], SIG)
    assert sent.query["sp"] == "/triggers/manual/run"
    assert sent.headers["content-type"] == "application/json"
    assert sent.json() == {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        {
                            "type": "TextBlock",
                            "text": "🟡 BUY AAPL",
                            "wrap": True,
                            "weight": "Bolder",
                            "size": "Medium",
                            "color": "warning",
                        },
                        {"type": "TextBlock", "text": "Price: 150\n\nSize: 10", "wrap": True},
                        {
                            "type": "FactSet",
                            "facts": [
                                {"title": "Symbol", "value": "AAPL"},
                                {"title": "Strategy", "value": "Sma_Cross\\_"},
                            ],
                        },
                        {
                            "type": "TextBlock",
                            "text": "2026-05-20 12:00 UTC · Sma_Cross\\_",
                            "wrap": True,
                            "size": "Small",
                            "isSubtle": True,
                        },
                    ],
                },
            }
        ],
    }
    assert (receipt.id, receipt.note) == ("", "")


def test_each_priority_has_its_colour(api: FakeService) -> None:
    for priority in Priority:
        deliver(teams(api), Alert.make("x", priority=priority))
    colours = [body(api.requests[number])[0]["color"] for number in range(5)]
    assert colours == ["attention", "warning", "warning", "good", "accent"]


def test_a_template_that_fails_is_noted_and_the_alert_goes(api: FakeService) -> None:
    dispatcher = teams(api)
    dispatcher.look = Look({"all": {"title": "{{ titel }}"}})
    receipt = deliver(dispatcher)
    assert receipt.note.startswith("the built-in title was used")
    assert b"Title" in api.requests[0].body


def test_a_late_message_says_how_late(api: FakeService) -> None:
    deliver(teams(api), late=dt.timedelta(minutes=11))
    assert body(api.requests[-1])[1]["text"] == "⏱ 11 min late\n\nhello"


def test_what_is_empty_is_left_out(api: FakeService) -> None:
    deliver(teams(api), Alert.make("", title="Up", time=NOW))
    assert [part["text"] for part in body(api.requests[-1])] == ["🟡 Up", "2026-05-20 12:00 UTC"]


def test_files_are_left_out_and_the_receipt_says_so(api: FakeService, tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(b"\x89PNG")
    receipt = deliver(teams(api), Alert.make("x", attachments=[Attachment.from_path(tmp_path / "chart.png")]))
    assert receipt.note == "sent without its files: this channel takes text only"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("*b* _i_ [t](https://e.example) `c`", r"\*b\* \_i\_ \[t](https://e.example) \`c\`"),
        ("snake_case 2 < 3 & 4 > 3", "snake_case 2 < 3 & 4 > 3"),
        ("<at>All</at> &amp; C:\\Users \\*", r"\<at>All\</at> \&amp; C:\Users \\\*"),
        ("{{DATE(2026-01-01T00:00:00Z)}}", r"{\{DATE(2026-01-01T00:00:00Z)}}"),
        ("# a\n- b\n1. c\n> d\n-5.2\n---", "\\# a\n\\- b\n1\\. c\n\\> d\n-5.2\n\\---"),
        ("  if x:\n\treturn", "\N{NO-BREAK SPACE}" * 2 + "if x:\n" + "\N{NO-BREAK SPACE}return"),
    ],
)
def test_markdown_of_a_text_is_disarmed_where_it_would_act(text: str, sent: str) -> None:
    assert escape(text) == sent
    assert shown(paragraphs(sent)).split() == text.split()


PIECES = [
    *"*_`[]()<>#+-=~|\\!.:&;{}\n \t1a",
    *(
        "**",
        "~~",
        "```",
        "1. ",
        "- ",
        "    ",
        "&lt;",
        "<b>",
        "https://e.example/a_b*",
        "🚀",
        "a_b",
        "---",
        "]: x",
        "{{TIME(",
    ),
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_a_reader_of_commonmark_shows_the_text_as_it_is(text: str) -> None:
    def lines(some: str) -> list[str]:
        return [" ".join(line.split()) for line in some.split("\n") if line.strip()]

    sent = paragraphs(escape(text))
    assert lines(shown(sent)) == lines(text)
    assert re.search(r"\{\{(DATE|TIME)\(", sent) is None
    assert {token.type for token in MARKDOWN.parse(sent)} <= {"paragraph_open", "inline", "paragraph_close"}


@settings(max_examples=30)
@given(
    piece=st.lists(
        st.sampled_from(["a", "*", "\\", '"', "\n", "é", "🚀", "5 ", "👨‍👩‍👧‍👦"]), min_size=1, max_size=3
    ).map("".join),
    size=st.integers(8_000, 32_768),
    title=st.sampled_from(["a", "*", "🚀"]),
)
def test_the_largest_alerts_fit_into_a_card(piece: str, size: int, title: str) -> None:
    alert = Alert.make((piece * size)[:size], title=title * 500, symbol="*" * 100, strategy="🚀" * 200)
    with FakeService() as service:
        service.answer(202)
        note = deliver(teams(service), alert, late=dt.timedelta(hours=1)).note
    sent = service.requests[0]
    assert len(sent.body) <= 28 * 1000
    text = body(service.requests[-1])[1]["text"]
    read = "".join(shown(text).removeprefix("⏱ 1 h late").split())
    if note:
        assert note == "shortened: a card takes 28 KB"
        assert len(sent.body) > 20_000, "the room is used"
        assert read.endswith("…")
        assert "".join(alert.message.split()).startswith(read.removesuffix("…"))
    else:
        assert read == "".join(alert.message.split())


# ---------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_means_that_the_workflow_was_started(service: FakeService, status: int) -> None:
    service.answer(status, "1")
    assert deliver(teams(service)) == Receipt()


@pytest.mark.parametrize(
    ("status", "meaning", "dead", "words"),
    [
        (400, Failure.PERMANENT, False, "refused the message"),
        (401, Failure.AUTH, False, "refused the sig of webhook_urls"),
        (403, Failure.AUTH, False, "refused the sig of webhook_urls"),
        (404, Failure.PERMANENT, True, "deleted or turned off"),
        (408, Failure.RETRY, False, "waited too long"),
        (413, Failure.TOO_LARGE, False, "too large"),
        (429, Failure.RETRY_AFTER, False, "too many"),
        (502, Failure.RETRY, False, "in trouble"),
    ],
)
def test_an_answer_means_what_its_status_says(
    service: FakeService, status: int, meaning: Failure, dead: bool, words: str
) -> None:
    said = {"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "why"}}
    service.answer(status, said, {"Retry-After": "12"} if status == 429 else None)
    failed = failure(teams(service))
    assert (failed.failure, failed.dead_target) == (meaning, dead)
    assert words in failed.reason
    assert "WorkflowTriggerIsNotEnabled" in failed.reason
    assert failed.retry_after == (12.0 if status == 429 else None)


def test_one_wrong_url_of_several_ends_only_its_own_target(service: FakeService) -> None:
    service.answer(401)
    dispatcher = TeamsDispatcher([service.url + PATH, service.url + PATH + "2"])
    failed = failure(dispatcher)
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)
    assert len({target.label for target in dispatcher.targets()}) == 2


def test_a_check_starts_nothing_and_says_that_it_cannot_know(api: FakeService) -> None:
    dispatcher = teams(api)
    assert "only a message shows whether it works" in dispatcher.check(dispatcher.targets()[0]).note
    assert dispatcher.test_connection()
    assert api.requests == []


# ---------------------------------------------------------------------------------------- settings and secrets


@pytest.mark.parametrize(
    "url",
    [
        f"https://contoso.webhook.office.com/webhookb2/1@2/IncomingWebhook/{SIG}/3",
        f"https://outlook.office.com/webhook/1@2/IncomingWebhook/{SIG}/3",
        f"https://outlook.office365.com/webhook/1@2/IncomingWebhook/{SIG}?sig=x",
    ],
)
def test_an_old_connector_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^webhook_urls must be URLs of workflows: number 2 is .* make a workflow"
    ) as e:
        TeamsDispatcher(["https://a.logic.azure.com" + PATH, url])
    assert SIG not in str(e.value)


@pytest.mark.parametrize("url", ["https://a.logic.azure.com" + PATH.partition("&")[0], f"a.logic.azure.com{PATH}", "x"])
def test_a_url_that_lost_its_end_in_a_shell_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^webhook_urls must have a sig=…: number 1 has none; in a shell") as caught:
        TeamsDispatcher(url)
    assert SIG not in str(caught.value)


def test_the_url_is_a_secret(service: FakeService) -> None:
    service.answer(400, f"no {SIG} of {PATH}")
    dispatcher = teams(service)
    text = failure(dispatcher).reason + repr(dispatcher) + redact(f'"POST {PATH} HTTP/1.1" 400')
    assert SIG not in text
    assert "/workflows/4f2e" not in text


def test_without_urls_it_says_what_to_set() -> None:
    assert TeamsDispatcher().missing() == "set webhook_urls (TEAMS_WEBHOOK_URLS) to send to teams"


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(TeamsDispatcher)}
    assert list(known) == ["webhook_urls", "enabled", "rate_limit", "timeout", "ca_file"]
    assert (known["webhook_urls"].env, known["webhook_urls"].credential) == ("TEAMS_WEBHOOK_URLS", True)
    assert all(argument.about for argument in known.values())
