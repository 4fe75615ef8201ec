"""Webhooks: what leaves the program, how it is signed, and what each answer means."""

from __future__ import annotations

import base64
import datetime as dt
import threading
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, arguments
from bt_alerts.dispatchers.webhook import WebhookDispatcher, verify_signature
from bt_alerts.testing import FakeService, FaultServer
from bt_alerts.testing.canary import shown_by
from bt_alerts.testing.faults import dribbles_body

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret of 32 bytes, yes!").decode()
NOW = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)

# The vector of Standard Webhooks 1.0.0.
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_TIME = 1614265330


def deliver(webhook: WebhookDispatcher, alert: Alert | None = None, context: Context | None = None) -> object:
    alert = alert or Alert.make("hello", title="Title")
    return webhook.deliver(alert, webhook.targets()[0], context or Context(key="msg_1"))


def failure(webhook: WebhookDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(webhook)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_it_sends_the_alert_as_a_standard_webhook(service: FakeService) -> None:
    alert = Alert.make("Prix: 150 €", title="BUY", kind="order.completed", symbol="AAPL", time=NOW, data={"price": 1.5})
    context = Context(key="msg_7", late=dt.timedelta(minutes=11), silent=True, now=NOW + dt.timedelta(minutes=11))
    receipt = WebhookDispatcher(service.url + "/hook").deliver(
        alert, WebhookDispatcher(service.url + "/hook").targets()[0], context
    )
    sent = service.requests[0]
    assert (sent.method, sent.path) == ("POST", "/hook")
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["webhook-id"] == "msg_7"
    assert sent.headers["webhook-timestamp"] == str(int(context.now.timestamp()))
    assert "webhook-signature" not in sent.headers
    message = sent.json()
    assert (message["type"], message["timestamp"]) == ("alert.order.completed", "2026-05-01T12:00:00+00:00")
    data = message["data"]
    assert (data["late_seconds"], data["silent"]) == (660.0, True)
    del data["late_seconds"], data["silent"]
    assert Alert.from_dict(data) == alert
    assert receipt.id == "msg_7"


def test_every_attempt_has_the_same_id_and_its_own_timestamp(service: FakeService) -> None:
    webhook = WebhookDispatcher(service.url, secret=SECRET)
    for attempt in (1, 2):
        deliver(webhook, context=Context(key="msg_1", attempt=attempt, now=NOW + dt.timedelta(seconds=attempt)))
    first, second = (request.headers for request in service.requests)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 1
    assert first["webhook-signature"] != second["webhook-signature"]
    assert WebhookDispatcher.repeat_unknown


def test_paths_of_this_machine_are_not_sent(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(b"picture")
    picture = Attachment.from_path(tmp_path / "chart.png")
    deliver(WebhookDispatcher(service.url), Alert.make("x", attachments=[picture]))
    assert service.requests[0].json()["data"]["attachments"] == [
        {"name": "chart.png", "content_type": "image/png", "size": 7, "sha256": picture.sha256}
    ]
    assert str(tmp_path).encode() not in service.requests[0].body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "put"])
def test_the_method_can_be_chosen(service: FakeService, method: str) -> None:
    deliver(WebhookDispatcher(service.url, method=method))
    assert service.requests[0].method == method.upper()


@pytest.mark.parametrize("method", ["GET", "DELETE", "", "POST "])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method must be one of POST, PUT, PATCH"):
        WebhookDispatcher("https://host/x", method=method)


def test_headers_of_the_user_are_sent_and_cannot_replace_the_signature(service: FakeService) -> None:
    headers = {"Authorization": "Bearer abc", "Webhook-Id": "mine", "content-type": "application/vnd.x+json"}
    deliver(WebhookDispatcher(service.url, headers=headers))
    sent = service.requests[0].headers
    assert (sent["authorization"], sent["webhook-id"]) == ("Bearer abc", "msg_1")
    assert sent["content-type"] == "application/vnd.x+json"


def test_name_and_password_of_a_url_are_sent_as_basic_authorization(service: FakeService) -> None:
    deliver(WebhookDispatcher(service.url.replace("//", "//me:word%21@")))
    assert service.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:word!").decode()


def test_urls_come_as_one_text_too_and_may_hold_commas() -> None:
    webhook = WebhookDispatcher(" https://a.example/x?ids=1,2 ,http://b.example/y\nHTTPS://c.example")
    assert [target.address for target in webhook.targets()] == [
        "https://a.example/x?ids=1,2",
        "http://b.example/y",
        "HTTPS://c.example",
    ]


def test_labels_show_no_path() -> None:
    webhook = WebhookDispatcher(
        ["https://me:pw@a.example:8443/one", "https://b.example/two", "https://b.example/three"]
    )
    labels = [target.label for target in webhook.targets()]
    assert labels[0] == "https://a.example:8443"
    assert [label[:19] for label in labels[1:]] == ["https://b.example #"] * 2
    assert labels[1] != labels[2]


@pytest.mark.parametrize(
    "url", ["ftp://canary.example", "canary", "http://", "https://[canary", "http://h:99999/canary", "http://h/ca nary"]
)
def test_what_is_no_http_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="webhook URL number 1 is not an http:// or https:// address") as caught:
        WebhookDispatcher([url])
    assert "canary" not in shown_by(caught.value)


@pytest.mark.parametrize("headers", [{"X-A": "a\nb"}, {"X A": "b"}, {"X-A": "€uro"}, {"": "x"}])
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header number 1 cannot be sent"):
        WebhookDispatcher("https://host/x", headers=headers)


def test_without_urls_it_says_what_to_set() -> None:
    assert WebhookDispatcher([]).missing() == "set urls (WEBHOOK_URLS) to send to webhooks"


def test_a_check_sends_a_signed_message_of_its_own_type(service: FakeService) -> None:
    webhook = WebhookDispatcher(service.url, secret=SECRET)
    assert webhook.test_connection()
    sent = service.requests[0]
    assert sent.json()["type"] == "bt_alerts.check"
    assert verify_signature(sent.body, sent.headers, SECRET)
    service.answer(404)
    assert webhook.test_connection() is False


# ---------------------------------------------------------------------------------------- signatures


def test_the_vector_of_standard_webhooks_verifies() -> None:
    assert verify_signature(VECTOR_BODY, VECTOR, SECRET, VECTOR_TIME)


def test_the_official_library_verifies_what_we_sign(service: FakeService) -> None:
    deliver(WebhookDispatcher(service.url, secret=SECRET), Alert.make("價格 🚀 \u2028 <&>", priority=Priority.HIGH))
    sent = service.requests[0]
    assert standardwebhooks.Webhook(SECRET).verify(sent.body, sent.headers) == sent.json()
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OTHER_SECRET).verify(sent.body, sent.headers)


def test_we_verify_what_the_official_library_signs() -> None:
    body = '{"é": 1}'
    signature = standardwebhooks.Webhook(SECRET).sign("msg_1", NOW, body)
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(NOW.timestamp())),
        "Webhook-Signature": signature,
    }
    assert verify_signature(body.encode(), headers, SECRET, NOW)


@pytest.mark.parametrize("as_text", [True, False])
def test_while_a_secret_is_changed_both_sign(service: FakeService, as_text: bool) -> None:
    both = f"{SECRET} {OTHER_SECRET}" if as_text else [SECRET, OTHER_SECRET]
    deliver(WebhookDispatcher(service.url, secret=both))
    sent = service.requests[0]
    for secret in (SECRET, OTHER_SECRET):
        assert verify_signature(sent.body, sent.headers, secret)
        assert standardwebhooks.Webhook(secret).verify(sent.body, sent.headers)


def test_a_secret_without_padding_or_prefix_is_the_same_secret() -> None:
    assert OTHER_SECRET.endswith("=")
    headers = {**VECTOR}
    assert verify_signature(VECTOR_BODY, headers, SECRET.removeprefix("whsec_"), VECTOR_TIME)
    signed = standardwebhooks.Webhook(OTHER_SECRET).sign(VECTOR["webhook-id"], NOW, VECTOR_BODY.decode())
    headers |= {"webhook-signature": signed, "webhook-timestamp": str(int(NOW.timestamp()))}
    assert verify_signature(VECTOR_BODY, headers, OTHER_SECRET.rstrip("="), NOW)


@pytest.mark.parametrize("off", [-301, 301])
def test_a_timestamp_that_is_too_old_or_too_new_does_not_verify(off: int) -> None:
    assert not verify_signature(VECTOR_BODY, VECTOR, SECRET, VECTOR_TIME + off)
    assert verify_signature(VECTOR_BODY, VECTOR, SECRET, VECTOR_TIME + off // abs(off) * 299)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "-1"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF="},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v1,é"},
    ],
)
def test_a_changed_header_does_not_verify(change: dict[str, str]) -> None:
    assert not verify_signature(VECTOR_BODY, {**VECTOR, **change}, SECRET, VECTOR_TIME)


def test_a_changed_body_a_missing_header_and_another_secret_do_not_verify() -> None:
    assert not verify_signature(VECTOR_BODY + b" ", VECTOR, SECRET, VECTOR_TIME)
    assert not verify_signature(VECTOR_BODY, {}, SECRET, VECTOR_TIME)
    assert not verify_signature(VECTOR_BODY, VECTOR, OTHER_SECRET, VECTOR_TIME)


def test_one_good_signature_among_others_is_enough() -> None:
    headers = {**VECTOR, "webhook-signature": f"v1,xyz v1a,abc {VECTOR['webhook-signature']}"}
    assert verify_signature(VECTOR_BODY, headers, [OTHER_SECRET, SECRET], VECTOR_TIME)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_cana ry!!", "canary?", "whsk_Y2FuYXJ5", "whsec_*canary*"])
def test_a_bad_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="secret is") as caught:
        WebhookDispatcher("https://host/x", secret=secret)
    assert "canary" not in shown_by(caught.value)
    assert secret[6:] == "" or secret not in shown_by(caught.value)


def test_verifying_without_a_secret_is_an_error() -> None:
    with pytest.raises(ValueError, match="a secret is needed"):
        verify_signature(VECTOR_BODY, VECTOR, "", VECTOR_TIME)


# ---------------------------------------------------------------------------------------- answers


def test_410_ends_the_address(service: FakeService) -> None:
    service.answer(410)
    failed = failure(WebhookDispatcher(service.url))
    assert (failed.failure, failed.dead_target) == (Failure.PERMANENT, True)


def test_a_body_that_never_ends_does_not_undo_the_status() -> None:
    with FaultServer(dribbles_body) as server:
        deliver(WebhookDispatcher(server.url, timeout=3.0))


def test_settings_learn_the_arguments_from_the_signature() -> None:
    known = {argument.name: argument for argument in arguments(WebhookDispatcher)}
    assert known["urls"].required
    assert known["urls"].env == "WEBHOOK_URLS"
    assert {name for name, argument in known.items() if argument.credential} == {"urls", "headers", "secret"}
    assert (known["timeout"].default, known["rate_limit"].default, known["method"].default) == (30.0, 20, "POST")


# ---------------------------------------------------------------------------------------- secrets


def test_ordinary_words_of_a_path_are_not_hidden_everywhere() -> None:
    from bt_alerts.redact import redact

    WebhookDispatcher("https://host.example/services/webhooks/alerts")
    assert redact("see the webhooks page of your services") == "see the webhooks page of your services"


def test_the_receiver_of_the_documentation_takes_what_we_sign(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs/channels/webhook.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code.rpartition("HTTPServer(")[0], names)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    with HTTPServer(("127.0.0.1", 0), names["Receiver"]) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        signed = WebhookDispatcher(url, secret=SECRET)
        deliver(signed)
        deliver(signed)
        assert signed.test_connection()
        assert failure(WebhookDispatcher(url)).failure is Failure.AUTH
        signed.close()
        server.shutdown()
    assert capsys.readouterr().out == "Title\n"


@pytest.mark.parametrize("status", [401, 403])
def test_one_address_of_several_that_refuses_the_headers_does_not_silence_the_others(
    service: FakeService, status: int
) -> None:
    service.on("POST", "/wrong").answer(status)
    dispatcher = WebhookDispatcher([f"{service.url}/wrong", f"{service.url}/right"])
    wrong, right = dispatcher.targets()
    with pytest.raises(DeliveryFailed) as caught:
        dispatcher.deliver(Alert.make("x"), wrong, Context(key="k"))
    assert (caught.value.failure, caught.value.dead_target) == (Failure.PERMANENT, True)
    assert dispatcher.deliver(Alert.make("x"), right, Context(key="k")).id == "k"
