"""The template loads as it is, and the documentation names every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from settings_loading import loaded

from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.kinds import KINDS
from bt_alerts.settings import ChannelSettings, Delivery, Settings, template
from bt_alerts.settings.dotenv import read_dotenv
from bt_alerts.settings.reference import page_with_rows, settings_rows
from bt_alerts.settings.rules import RouteBlock, WhenBlock

ROOT = Path(__file__).parents[2]
ROWS = settings_rows(BUILT_IN)
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_template_loads_where_the_environment_is_empty(alerts_yaml, tmp_path):
    settings = loaded(alerts_yaml(template()))
    assert list(settings.channels) == ["console"]
    promised = {"console", "discord", "email", "pushover", "slack", "sms", "telegram", "webhook"}
    assert set(settings.alerts) == promised
    assert settings.store == str(tmp_path / "alerts.db")


def test_the_template_shows_the_defaults(alerts_yaml):
    settings = loaded(alerts_yaml(template()))
    assert settings.delivery == Delivery()
    assert settings.mode == Settings().mode


def test_the_template_is_ready_for_the_promised_variables(alerts_yaml):
    settings = loaded(
        alerts_yaml(template()),
        environ={
            "PUSHOVER_NOTIFICATIONS_ENABLED": "true",
            "PUSHOVER_APP_TOKEN": "tttt",
            "PUSHOVER_USER_KEY": "uuuu",
            "WEBHOOK_NOTIFICATIONS_ENABLED": "true",
            "WEBHOOK_URLS": "https://a.test,https://b.test",
            "TELEGRAM_NOTIFICATIONS_ENABLED": "true",
            "TELEGRAM_BOT_TOKEN": "1234567:tttt",
            "TELEGRAM_CHAT_IDS": "-100123,42",
            "SLACK_NOTIFICATIONS_ENABLED": "true",
            "SLACK_BOT_TOKEN": "xoxb-tttt",
            "SLACK_CHANNEL_IDS": "C01,C02",
            "DISCORD_NOTIFICATIONS_ENABLED": "true",
            "DISCORD_WEBHOOK_URLS": "https://discord.com/api/webhooks/1/tttt",
            "EMAIL_NOTIFICATIONS_ENABLED": "true",
            "SMTP_HOST": "mail.example.com",
            "SMTP_PORT": "465",
            "SMTP_FROM_EMAIL": "Bot <bot@example.com>",
            "EMAIL_TO": "a@example.com,b@example.com",
            "SMS_NOTIFICATIONS_ENABLED": "true",
            "TWILIO_ACCOUNT_SID": "AC" + 32 * "1",
            "TWILIO_AUTH_TOKEN": "tttt",
            "TWILIO_FROM_NUMBER": "+15005550006",
            "SMS_TO": "+15005550009",
        },
    )
    numbers = {name: len(settings.dispatcher(name).targets()) for name in settings.channels}
    assert numbers == {
        "console": 1, "discord": 1, "email": 2, "pushover": 1, "slack": 2, "sms": 1, "telegram": 2, "webhook": 2
    }  # fmt: skip
    assert settings.alerts["email"].model_dump()["port"] == 465


def test_the_template_has_every_delivery_key():
    for key in Delivery.model_fields:
        assert f"\n  {key}: " in template()


def test_the_env_example_can_be_read_and_has_every_variable(tmp_path):
    example = read_dotenv(ROOT / ".env.example", ".env.example")
    assert {row.env for row in ROWS if row.env} == set(example.values)
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    assert loaded({"env_file": str(tmp_path / ".env")}).alerts == {}


def test_there_is_a_row_for_every_key():
    keys = {row.key for row in ROWS}
    assert {"store", "mode", "env_file"} <= keys
    assert {f"delivery.{key}" for key in Delivery.model_fields} <= keys
    assert {f"events.{kind}" for kind in KINDS} <= keys
    assert {f"alerts.<name>.{key}" for key in ChannelSettings.model_fields if key != "name"} <= keys
    assert {"alerts.pushover.app_token", "alerts.webhook.urls", "alerts.console.enabled"} <= keys
    assert len(keys) == len(ROWS)


def test_a_row_says_what_to_write():
    row = next(row for row in ROWS if row.key == "delivery.max_retries")
    assert row[1:4] == ("a whole number from 0 to 1000", "3", "NOTIFICATION_MAX_RETRIES")
    row = next(row for row in ROWS if row.key == "alerts.webhook.urls")
    assert row[1:4] == ("a list, or one line separated by commas, secret", "required", "WEBHOOK_URLS")
    assert all(row.about for row in ROWS)


def test_a_third_partys_type_has_rows_too():
    rows = {row.key: row for row in settings_rows()}
    assert rows["alerts.pager.volume"].env == "PAGER_VOLUME"
    assert rows["alerts.pager.copy"].type == "text"
    assert not [key for key in rows if key.startswith("alerts.gone")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_the_page_names_every_key(row):
    assert f"`{row.key}`" in PAGE


def test_the_page_is_up_to_date():
    assert page_with_rows(PAGE) == PAGE, "run: python -m bt_alerts.settings.reference docs/settings.md"


def test_the_page_names_what_is_not_available():
    listed = PAGE.partition("## Not in this version")[2]
    later = Settings.later | {f"delivery.{key}" for key in Delivery.later}
    assert set(re.findall(r"`([\w.]+)`", listed)) == later


def test_there_is_a_row_for_every_key_of_every_rule():
    keys = {row.key for row in ROWS}
    assert {f"when.{key}" for key in WhenBlock.known_keys()} <= keys
    assert {f"routes[].{key}" for key in RouteBlock.known_keys()} <= keys
    assert {"rules.maintenance[].from", "rules.inhibit[].cause", "escalation[].steps[].to", "digests[].report"} <= keys
    assert not [key for key in keys if ".when." in key]


def test_the_rules_of_the_page_load(alerts_yaml):
    example = re.search(r"### Rules\n.*?```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    settings = loaded(alerts_yaml(example[1]))
    assert len(settings.routes) == 2
    assert settings.rule_settings().quiet[0].channels == {"phone"}
