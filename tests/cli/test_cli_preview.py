"""``bt-alerts preview``: what would be sent, word for word, and nothing sent."""

from __future__ import annotations

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


def test_an_unknown_channel_is_told(run, pushover):
    done = run("preview", "fone", "-c", pushover)
    assert (done.code, "There is no channel 'fone'. Use one of phone." in done.said) == (2, True)


@pytest.mark.parametrize("word", [*AlertType, *KINDS])
def test_examples_have_the_data_that_templates_know(word):
    alert = example(str(word))
    assert alert.data.keys() <= (data_of(alert.kind) or alert.data.keys())
    assert word in {alert.kind, alert.type}
