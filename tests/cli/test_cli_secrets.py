"""A canary stands where each credential is; services quote it back at us. No command says it, whatever happens."""

from __future__ import annotations

import pytest

from bt_alerts.testing import FakeService

CANARY = "CANARY7f3a9b2c5d8e1f4a6b"
COMMANDS = [
    ["check"], ["check", "--online"], ["test"], ["send", "hello", "--wait", "0.2"], ["history"], ["history", "--json"],
    ["health"], ["health", "--json"], ["dead", "list"], ["dead", "retry", "--all", "--wait", "0.2"],
    ["export", "out.jsonl"], ["preview", "hook"], ["preview", "pushover", "--type", "error"],
    ["test", "nobody"], ["send", "x", "--channel", "nobody"],
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 400, 401, 503])
def test_no_command_says_a_credential(run, settings, tmp_path, status):
    secret = "whsec_" + CANARY * 2
    with FakeService() as service:
        service.answer(status, f'{{"status": 0, "errors": ["{CANARY} and {secret} are wrong"], "user": "{CANARY}"}}')
        file = settings(f"""
            store: alerts.db
            alerts:
              hook:
                type: webhook
                urls: "{service.url}/{CANARY}?token={CANARY}"
                headers: {{Authorization: Bearer {CANARY}}}
                secret: {secret}
              gone: {{type: webhook, urls: "http://user:{CANARY}@127.0.0.1:1/{CANARY}"}}
              pushover: {{app_token: {CANARY}abcdef, user_key: {CANARY}ghijkl, api_url: "{service.url}"}}
            delivery: {{max_retries: 0, retry_delay: 0.05, flush_timeout: 1}}
            """)
        for command in COMMANDS:
            done = run("--verbose", *command, "-c", file)  # the whole log as well
            assert CANARY not in done.out + done.err, command
        assert any(CANARY in request.path + str(request.headers) for request in service.requests), "nothing was tried"
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert [path.name for path in kept if CANARY.encode() in path.read_bytes()] == []


def test_a_wrong_credential_is_not_quoted(run, settings):
    for text in (
        f"alerts: {{hook: {{type: webhook, urls: 'ftp://{CANARY}'}}}}",
        f"alerts: {{hook: {{type: webhook, urls: 'http://x.example/', secret: 'whsec_{CANARY}!!'}}}}",
        f"alerts: {{pushover: {{app_token: [{CANARY}], user_key: {{a: {CANARY}}}}}}}",
    ):
        done = run("check", "-c", settings(text))
        assert done.code == 2
        assert CANARY not in done.said


def test_help_shows_no_environment(run, monkeypatch):
    monkeypatch.setenv("PUSHOVER_APP_TOKEN", CANARY)
    monkeypatch.setenv("WEBHOOK_SECRET", CANARY)
    for command in ([], ["check"], ["test"], ["health"], ["demo"], ["send"]):
        assert CANARY not in run(*command, "--help").said
