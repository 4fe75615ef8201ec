"""``bt-alerts preview``: what would be sent, word for word, and nothing sent."""

from __future__ import annotations

import base64
import secrets

import pytest

from bt_alerts.alert import AlertType
from bt_alerts.examples import example
from bt_alerts.kinds import KINDS, data_of

TOKEN = "tokentokentokentokentokentoken"


@pytest.fixture
def pushover(settings, service):
    return settings(f"""
        alerts:
          phone: {{type: pushover, app_token: {TOKEN}, user_key: {"u" * 30}, api_url: "{service.url}"}}
        templates: {{timezone: Europe/Berlin}}
        """)


def test_a_preview_shows_the_request_with_its_secrets_masked_and_sends_nothing(run, pushover, service):
    done = run("preview", "phone", "-c", pushover)
    assert done.code == 0
    lines = [line.strip() for line in done.out.splitlines()]
    assert f"POST {service.url}/1/messages.json" in lines
    assert "Content-Type: application/x-www-form-urlencoded" in lines
    assert "token: •••" in lines
    assert "title: 🟠 AAPL closed: −94.07" in lines
    assert TOKEN not in done.out
    assert service.requests == []


def test_a_body_is_shown_as_it_would_be_sent(run, settings, service):
    file = settings(f"alerts: {{hook: {{type: webhook, urls: '{service.url}/x'}}}}")
    shown = run("preview", "hook", "--type", "error", "-c", file).out
    assert '"title": "TrendFollower crashed: ZeroDivisionError"' in shown
    assert "POST •••" in shown, "the address of a webhook is a secret"
    assert "webhook-id: msg_" in shown
    assert service.requests == []


@pytest.mark.parametrize("word", ["order", "trade.closed", "market", "milestone", "data.live"])
def test_every_type_and_kind_has_an_example(run, pushover, word):
    assert run("preview", "phone", "--type", word, "-c", pushover).code == 0


def test_it_can_be_late(run, pushover):
    assert "⏱ 11 min late" in run("preview", "phone", "--late", "11", "-c", pushover).out


def test_an_unknown_type_is_told_with_those_there_are(run, pushover):
    done = run("preview", "phone", "--type", "trad", "-c", pushover)
    assert done.code == 2
    assert "there is no type or kind of alert 'trad': use one of signal, order, trade" in done.said


def test_a_channel_that_is_not_enabled_shows_what_it_would_send(run, settings, service):
    keys = f"app_token: {TOKEN}, user_key: {'u' * 30}, api_url: '{service.url}'"
    file = settings(f"alerts: {{phone: {{type: pushover, enabled: false, {keys}}}}}")
    done = run("preview", "phone", "-c", file)
    assert done.code == 0
    assert "title: 🟠 AAPL closed: −94.07" in done.out
    assert service.requests == []


def test_what_is_missing_is_said_of_a_channel_that_is_not_enabled(run, settings):
    file = settings("alerts: {phone: {type: pushover, enabled: false}, chat: {type: telegram, enabled: false}}")
    phone, chat = run("preview", "phone", "-c", file), run("preview", "chat", "-c", file)
    assert (phone.code, "The channel phone cannot send: set app_token (PUSHOVER_APP_TOKEN)" in phone.said) == (1, True)
    assert (chat.code, chat.said) == (2, "alerts.chat: `bot_token` and `chat_ids` must be given")


def test_an_unknown_channel_is_told(run, pushover):
    done = run("preview", "fone", "-c", pushover)
    assert (done.code, "There is no channel 'fone'. Use one of phone." in done.said) == (2, True)


@pytest.mark.parametrize("word", [*AlertType, *KINDS])
def test_examples_have_the_data_that_templates_know(word):
    alert = example(str(word))
    assert alert.data.keys() <= (data_of(alert.kind) or alert.data.keys())
    assert word in {alert.kind, alert.type}


@pytest.mark.parametrize(
    "channel",
    [
        "{type: webhook, urls: 'https://me:PASSWORD@hook.test/x'}",
        "{type: ntfy, topics: mine, api_url: 'https://me:PASSWORD@ntfy.test'}",
    ],
)
def test_user_and_password_are_not_shown_as_base64_either(run, settings, channel):
    password = secrets.token_hex(9)
    done = run("preview", "x", "-c", settings(f"alerts: {{x: {channel.replace('PASSWORD', password)}}}"))
    assert done.code == 0
    assert "Authorization: Basic •••" in done.out
    assert base64.b64encode(f"me:{password}".encode()).decode() not in done.out
    assert password not in done.out
