"""The names of arguments and the words of errors are those of Slack's published methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bt_alerts.alert import Alert, Attachment, utcnow
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure
from bt_alerts.dispatchers.http import Answer
from bt_alerts.dispatchers.slack import SlackDispatcher
from bt_alerts.dispatchers.slack import api as slack_api
from bt_alerts.testing import FakeService

Spec = Callable[[str], Any]

METHODS = ("chat.postMessage", "files.getUploadURLExternal", "files.completeUploadExternal", "auth.test")
TS = "1503435956.000247"
#: Said by webhooks, which have no such file, or by the Web API without being listed.
OF_WEBHOOKS = {
    "action_prohibited",
    "channel_is_archived",
    "invalid_payload",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "posting_to_general_channel_denied",
    "rollup_error",
    "team_disabled",
    "user_not_found",
}
NOT_LISTED = {"cant_broadcast_message", "invalid_attachments", "invalid_thread_ts", "msg_too_long", "thread_not_found"}


def method(spec: Spec, name: str) -> dict[str, Any]:
    found: dict[str, Any] = spec(f"slack-methods/{name}.json")
    return found


def answer(body: str, status: int = 200) -> Answer:
    kind = {"Content-Type": "application/json"}
    return Answer(status, kind, body.encode(), complete=True, host="slack.com", now=utcnow())


def outcome(body: str) -> DeliveryFailed | None:
    try:
        slack_api.judge(answer(body), others=False)
    except DeliveryFailed as failed:
        return failed
    return None


def test_every_argument_that_is_sent_is_one_of_its_method(spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(b"picture")
    alert = Alert.make("text", title="Title", attachments=[Attachment.from_path(tmp_path / "chart.png")])
    with FakeService() as service:
        place = {"upload_url": f"{service.url}/upload/v1/abc", "file_id": "F1"}
        service.answer(200, {"ok": True, "channel": "C0123456789", "ts": TS, **place})
        service.on(where=lambda request: b'"blocks":' in request.body).answer(
            200, {"ok": False, "error": "invalid_blocks"}
        )
        dispatcher = SlackDispatcher(bot_token="xoxb-1", channel_ids="C0123456789", api_url=service.url)
        target = dispatcher.targets()[0]
        dispatcher.deliver(alert, target, Context(key="k", replies_to=(TS, TS)))
        dispatcher.check(target)
        sent: dict[str, set[str]] = {}
        for request in service.requests:
            if request.path.startswith("/api/"):
                is_json = "json" in request.headers.get("content-type", "")
                fields = request.json() if is_json else request.form() if request.body else {}
                sent.setdefault(request.path.removeprefix("/api/"), set()).update(fields)
    assert set(sent) == set(METHODS)
    for name, fields in sent.items():
        known = method(spec, name)["args"]
        assert fields - known.keys() == set(), name
        assert {key for key, about in known.items() if about["required"]} - fields == set(), name
    assert {"thread_ts", "reply_broadcast", "text", "blocks", "attachments", "mrkdwn"} <= sent["chat.postMessage"]


def test_every_word_that_is_known_is_one_of_slack_s(spec: Spec) -> None:
    listed = {word for name in METHODS for word in method(spec, name)["errors"]}
    ours = slack_api.MEANING.keys() | slack_api.BLOCKS_REFUSED | slack_api.THREAD_REFUSED
    assert ours - listed - OF_WEBHOOKS == NOT_LISTED


def test_every_word_of_slack_has_a_class_and_what_passes_is_tried_again(spec: Spec) -> None:
    found: dict[str, Failure] = {}
    for name in METHODS:
        for word in method(spec, name)["errors"]:
            failed = outcome(json.dumps({"ok": False, "error": word}))
            assert failed is not None, word
            assert word in failed.reason, word
            found[word] = failed.failure
    passing = {word for word, kind in found.items() if kind in {Failure.RETRY, Failure.UNKNOWN}}
    assert passing == {
        "fatal_error",
        "internal_error",
        "message_limit_exceeded",
        "org_login_required",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
    about_tokens = {word for word in found if word.startswith(("token_", "invalid_auth", "not_authed", "account_"))}
    assert {found[word] for word in about_tokens} == {Failure.AUTH}
    assert len(about_tokens) == 5


@pytest.mark.parametrize("name", METHODS)
def test_the_published_examples_are_understood(spec: Spec, name: str) -> None:
    examples = method(spec, name)["response"]["examples"]
    assert len(examples) >= 2
    for example in examples:
        failed = outcome(example)
        assert (failed is None) is json.loads(example)["ok"], example
        if failed is None and name == "chat.postMessage":
            assert slack_api.value(answer(example), "ts") == json.loads(example)["ts"] == TS
            assert slack_api.value(answer(example), "channel") == json.loads(example)["channel"]
