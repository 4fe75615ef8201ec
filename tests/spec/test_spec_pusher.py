"""The official examples of signatures: Pusher's documentation and its Python library, and Standard Webhooks."""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

import pytest

from bt_alerts.dispatchers.pusher import PusherDispatcher
from bt_alerts.dispatchers.pusher.api import request_for, signed, with_query
from bt_alerts.dispatchers.webhook import verify_signature
from bt_alerts.testing import FakeService


class Spec(Protocol):
    def __call__(self, name: str) -> Any: ...


def test_the_worked_example_of_the_documentation(spec: Spec) -> None:
    """Its string to sign, its MD5 and its signature."""
    pusher = spec("vectors.json")["pusher"]
    given, known = pusher["trigger_docs_example"], pusher["credentials"]
    query = signed(
        known["key"],
        known["secret"],
        given["method"],
        given["path"],
        given["body"].encode(),
        now=float(given["auth_timestamp"]),
    )
    assert query["body_md5"] == given["body_md5"]
    assert query["auth_signature"] == given["auth_signature"]
    unsigned = given["string_to_sign"].rpartition("\n")[2]
    assert with_query("", query) == "?" + "&".join(
        sorted([*unsigned.split("&"), f"auth_signature={given['auth_signature']}"])
    )


@pytest.mark.parametrize("which", ["sdk_python_get", "sdk_python_post"])
def test_the_examples_of_the_python_library(spec: Spec, which: str) -> None:
    given = spec("vectors.json")["pusher"][which]
    method, path, joined = given["string_to_sign"].split("\n")
    asked = {"foo": "bar"} if "foo=bar" in joined else None
    query = signed("key", "secret", method, path, given.get("body", "").encode(), now=1000, params=asked)
    assert query["auth_signature"] == given["auth_signature"]
    assert query["body_md5"] in joined


def test_names_of_parameters_are_signed_in_lower_case_and_sorted(spec: Spec) -> None:
    given = spec("vectors.json")["pusher"]["sdk_python_get"]
    query = signed("key", "secret", "get", "/some/obscure/api", b"", now=1000.4, params={"FOO": "bar"})
    assert query["auth_signature"] == given["auth_signature"]


def test_the_event_of_the_documentation_is_sent_as_its_example_is_signed(spec: Spec) -> None:
    """The same event with our spaces: what arrives is signed as it is, by the example's credentials."""
    pusher = spec("vectors.json")["pusher"]
    given, known = pusher["trigger_docs_example"], pusher["credentials"]
    wanted: dict[str, Any] = json.loads(given["body"])
    what, body = request_for("project-3", [("foo", wanted["data"])])
    assert (what, json.loads(body)) == ("events", wanted)
    with FakeService() as service:
        dispatcher = PusherDispatcher(known["app_id"], known["key"], known["secret"], api_url=service.url)
        dispatcher.send_custom_alert("hello")
        sent = service.requests[0]
    query = dict(sent.query)
    signature = query.pop("auth_signature")
    again = signed(known["key"], known["secret"], "POST", sent.path, sent.body, now=float(query["auth_timestamp"]))
    assert (sent.path, again) == (given["path"], {**query, "auth_signature": signature})


def test_the_vector_of_standard_webhooks(spec: Spec) -> None:
    given = spec("vectors.json")["standard_webhooks"]
    body, headers = given["body"].encode(), {name: given[name] for name in given if name.startswith("webhook-")}
    now = float(given["webhook-timestamp"])
    assert verify_signature(body, headers, given["secret"], now) is True
    wrong = {**headers, "webhook-signature": given["invalid_signature_used_in_tests"]}
    assert verify_signature(body, wrong, given["secret"], now) is False
    assert verify_signature(body + b" ", headers, given["secret"], now) is False
    assert verify_signature(body, headers, given["secret"], now + 301) is False
    assert base64.b64decode(given["webhook-signature"].removeprefix("v1,"))
