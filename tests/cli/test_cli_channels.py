"""Every channel type in one file, tried through the command line against services on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from mail_server import MailServer

from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.settings import load
from bt_alerts.testing import FakeService, poison

CANARY = "CANARY7f3a9b2c5d8e1f4a6b"
#: The name of each channel in the file, so that a test can find its row.
CHANNELS = sorted(set(BUILT_IN) - {"console"})


@pytest.fixture
def services() -> Iterator[FakeService]:
    """One server that answers as each service does, by the path that is its own."""
    with FakeService() as service:
        service.on("POST", "/bot*/sendMessage").answer(200, {"ok": True, "result": {"message_id": 77}})
        service.on("POST", "/api/chat.postMessage").answer(200, {"ok": True, "channel": "C1", "ts": "1700.000100"})
        service.on("POST", "/services/*").answer(200, "ok")
        service.on("POST", "/api/webhooks/*").answer(200, {"id": "1098", "channel_id": "1"})
        service.on("POST", "/api/v10/webhooks/*").answer(200, {"id": "1098", "channel_id": "1"})
        service.on("POST", "/1/messages.json").answer(200, {"status": 1, "request": "push-1"})
        service.on("POST", "/*/Messages.json").answer(201, {"sid": "SM" + "a" * 32, "status": "queued"})
        service.on("POST", "/*/Calls.json").answer(201, {"sid": "CA" + "b" * 32, "status": "queued"})
        service.on("POST", "/v2/enqueue").answer(202, {"status": "success", "dedup_key": "inc-1"})
        service.on("POST", "/apps/*").answer(200, {})
        service.on("POST", "/workflows/*").answer(202)
        service.on("POST", "/ntfy/").answer(200, {"id": "ntfy-1", "event": "message"})
        yield service


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailServer]:
    import ssl

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(certificate)
    with MailServer(tls=certificate, login=("bot", f"{CANARY}mail")) as server:
        yield server


@pytest.fixture
def everything(tmp_path: Path, services: FakeService, mail: MailServer) -> Path:
    """A settings file with a channel of every type; each credential has the canary in it."""
    url = services.url
    path = tmp_path / "alerts.yaml"
    text = f"""
        store: alerts.db
        delivery: {{max_retries: 0, retry_delay: 0.05, flush_timeout: 5}}
        alerts:
          apprise: {{urls: "json://user:{CANARY}@127.0.0.1:{services.port}/apprise"}}
          discord: {{webhook_urls: "{url}/api/webhooks/1234567/{CANARY}"}}
          email:
            host: localhost
            port: {mail.port}
            username: bot
            password: {CANARY}mail
            from_address: Bot <bot@example.com>
            to: you@example.com
            ca_file: {tmp_path}/ca.pem
          ntfy: {{api_url: "{url}/ntfy", topics: "{CANARY}", token: "tk_{CANARY}"}}
          pagerduty: {{api_url: "{url}", routing_key: "{CANARY[:20]}{"0" * 12}"}}
          pusher: {{api_url: "{url}", app_id: "3", key: "k{CANARY}", secret: "s{CANARY}", cluster: eu}}
          pushover: {{api_url: "{url}", app_token: {CANARY}abcdef, user_key: {CANARY}ghijkl}}
          slack: {{api_url: "{url}", bot_token: "xoxb-{CANARY}", channel_ids: C1}}
          sms: &twilio
            api_url: "{url}"
            account_sid: AC{"1" * 32}
            auth_token: {CANARY}twilio
            from_number: "+15005550006"
            to: "+15005550009"
          teams: {{webhook_urls: "{url}/workflows/1/invoke?sig={CANARY}"}}
          telegram: {{api_url: "{url}", bot_token: "1234567:{CANARY}", chat_ids: "42"}}
          voice: {{<<: *twilio, min_priority: info}}
          webhook: {{urls: "{url}/hook/{CANARY}"}}
        """
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    path.chmod(0o600)
    return path


def test_the_file_has_a_channel_of_every_type(everything: Path) -> None:
    assert sorted(load(everything).channels) == CHANNELS


def test_the_test_of_all_channels_is_a_table_of_what_each_service_answered(run, everything, services, mail) -> None:
    done = run("test", "-c", everything)
    assert done.code == 0, done.said
    for name in CHANNELS:
        (row,) = [line for line in done.out.splitlines() if line.split()[:1] == [name]]
        assert "arrived" in row, row
        assert " ms" in row, row
    for message_id in ("77", "1700.000100", "1098", "push-1", "SM" + "a" * 20, "CA" + "b" * 20, "ntfy-1"):
        assert message_id in done.said
    assert len(mail.requests) == 1
    assert mail.requests[0].secure
    assert CANARY not in done.out + done.err


@pytest.mark.parametrize(
    ("path", "status", "body", "channel", "told"),
    [
        ("/bot*/sendMessage", 401, {"ok": False, "description": "Unauthorized"}, "telegram", "bot_token"),
        ("/api/chat.postMessage", 200, {"ok": False, "error": "not_in_channel"}, "slack", "invite"),
        ("/api/webhooks/*", 404, {"message": "Unknown Webhook", "code": 10015}, "discord", "webhook"),
        ("/1/messages.json", 400, {"status": 0, "token": "invalid", "errors": ["x"]}, "pushover", "app_token"),
        ("/*/Messages.json", 401, {"code": 20003, "message": "Authenticate"}, "sms", "auth_token"),
        ("/v2/enqueue", 400, {"status": "invalid event", "errors": ["bad key"]}, "pagerduty", "bad key"),
        ("/apps/*", 401, b"Invalid signature", "pusher", "secret"),
        ("/ntfy/", 403, {"code": 40301, "http": 403, "error": "forbidden"}, "ntfy", "token"),
        ("/hook/*", 410, b"", "webhook", "gone for good"),
    ],
)
def test_one_that_fails_says_what_to_do_and_the_others_arrive(  # noqa: PLR0917 - fixtures and cases
    run, everything, services, path, status, body, channel, told
) -> None:
    services.on("POST", path).answer(status, body)
    services.on("POST", path.replace("/api/webhooks", "/api/v10/webhooks")).answer(status, body)
    done = run("test", "-c", everything)
    assert done.code == 1
    (failed,) = [line for line in done.out.splitlines() if line.split()[:1] == [channel]]
    assert "failed" in failed
    assert told in done.said
    assert done.out.count("arrived") == len(CHANNELS) - 1
    assert CANARY not in done.out + done.err


def test_a_mail_server_that_refuses_the_password_is_told(run, everything, mail, tmp_path) -> None:
    everything.write_text(everything.read_text().replace(f"password: {CANARY}mail", f"password: {CANARY}old"))
    done = run("test", "email", "-c", everything)
    assert done.code == 1
    assert "password" in done.said
    assert CANARY not in done.out + done.err


POISON = [
    "lone surrogates", "right to left", "bidi controls", "only emoji", "control codes", "HTML", "MarkdownV2", "Slack",
    "Discord", "Jinja", "terminal markup", "header injection",
]  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_an_odd_text_goes_through_every_channel(run, everything, services, mail, name) -> None:
    text = poison.TEXTS[name]
    done = run("send", text, "--title", text.splitlines()[0], "--wait", "20", "-c", everything)
    assert done.code == 0, done.said
    assert done.out.count("delivered") == len(CHANNELS)
    assert "\x1b]" not in done.out
    assert "\u202e" not in done.out
    assert len(mail.requests) == 1
    assert CANARY not in done.out + done.err


def test_a_text_of_a_hundred_thousand_characters_goes_through_every_channel(run, everything, services) -> None:
    done = run("send", "0123456789 " * 10_000, "--wait", "30", "-c", everything)
    assert done.code == 0, done.said


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_no_command_says_a_credential_of_any_channel(run, everything, services, tmp_path, status) -> None:
    services.on("*", "/*").answer(status, f'{{"error": "{CANARY}", "message": "{CANARY}abcdef", "ok": false}}')
    for command in (["check"], ["check", "--online"], ["test"], ["send", "x", "--wait", "3"], ["health"], ["history"],
                    ["dead", "list"], ["export", "out.jsonl"], *(["preview", name] for name in CHANNELS)):  # fmt: skip
        done = run("--verbose", *command, "-c", everything)
        assert CANARY not in done.out + done.err, command
    assert any(CANARY in str(request) for request in services.requests), "nothing was tried"
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != everything]
    assert [path.name for path in kept if CANARY.encode() in path.read_bytes()] == []
