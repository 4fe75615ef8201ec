"""Whatever is written into settings, loading says so or works; it never fails in another way."""

from __future__ import annotations

import contextlib

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_alerts.errors import SettingsError
from bt_alerts.kinds import KINDS
from bt_alerts.settings import ChannelSettings, Delivery, Settings, load

CALM = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
KNOWN = [
    *Settings.model_fields, *Delivery.model_fields, *ChannelSettings.model_fields,
    "console", "pager", "pushover", "webhook", "token", "numbers", "headers", "keys", "chats", "<<", *list(KINDS)[:3],
]  # fmt: skip
keys = st.one_of(st.sampled_from(KNOWN), st.text(max_size=8))
words = st.one_of(
    st.text(max_size=12), st.sampled_from(["on", "auto", "memory", "console", "1", "-1", "${X}", "~", "a,b"])
)
trees = st.recursive(
    words, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)), max_leaves=25
)
configs = st.dictionaries(keys, trees, max_size=6)


def only_settings_errors(config, **how):
    with contextlib.suppress(SettingsError):
        load(config, environ={}, **how)


@CALM
@given(configs)
def test_a_mapping_never_raises_anything_else(config):
    only_settings_errors(config)


@CALM
@given(configs)
def test_an_argument_never_raises_anything_else(config):
    only_settings_errors({}, overrides=config)


@CALM
@given(configs)
def test_a_yaml_file_never_raises_anything_else(tmp_path, config):
    path = tmp_path / "random.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8", errors="replace")
    only_settings_errors(path)


@CALM
@given(st.binary(max_size=60))
def test_any_bytes_never_raise_anything_else(tmp_path, content):
    path = tmp_path / "random.yaml"
    path.write_bytes(content)
    only_settings_errors(path)


@CALM
@given(st.text(alphabet="abAB:-[]{}#&*!|>'\"%@`,? \n\t$~<\\", max_size=60))
def test_any_punctuation_never_raises_anything_else(tmp_path, text):
    path = tmp_path / "random.yaml"
    path.write_text(text, encoding="utf-8")
    only_settings_errors(path)


VARIABLES = [
    "PAGER_TOKEN", "PAGER_TOKEN_FILE", "PAGER_NOTIFICATIONS_ENABLED", "PAGER_CHATS", "PAGER_VOLUME",
    "NOTIFICATION_MAX_RETRIES", "BT_ALERTS_CONFIG",
]  # fmt: skip


@CALM
@given(st.dictionaries(st.sampled_from(VARIABLES), words))
def test_any_environment_never_raises_anything_else(environ):
    with contextlib.suppress(SettingsError):
        load(environ=environ)
