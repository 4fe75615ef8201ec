"""Argument before environment before file before default, for every single value."""

from __future__ import annotations

import itertools

import pytest
from settings_loading import loaded, problems

from bt_alerts.errors import SettingsError
from bt_alerts.settings import ConfigManager, Settings, load

DEFAULT, FILE, ENVIRONMENT, ARGUMENT = 3, 4, 5, 6


@pytest.mark.parametrize(("file", "environment", "argument"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("as_mapping", [False, True])
def test_the_strongest_that_is_given_wins(alerts_yaml, as_mapping, file, environment, argument):
    config = alerts_yaml(f"delivery: {{max_retries: {FILE}}}\n" if file else "mode: record\n")
    if as_mapping:
        config = {"delivery": {"max_retries": FILE}} if file else {"mode": "record"}
    settings = load(
        config,
        overrides={"delivery": {"max_retries": ARGUMENT}} if argument else {},
        environ={"NOTIFICATION_MAX_RETRIES": str(ENVIRONMENT)} if environment else {},
    )
    expected = ARGUMENT if argument else ENVIRONMENT if environment else FILE if file else DEFAULT
    assert settings.delivery.max_retries == expected


PAGER = "alerts: {pager: {token: from-file, numbers: [1], volume: 1, repeat: 1}}\n"


def test_a_channels_values_follow_the_same_order(alerts_yaml):
    settings = load(
        alerts_yaml(PAGER),
        overrides={"alerts": {"pager": {"volume": 3}}},
        environ={"PAGER_TOKEN": "from-environment", "PAGER_VOLUME": "2", "PAGER_REPEAT": "2"},
    )
    given = settings.alerts["pager"].build().given
    assert (given["token"], given["volume"], given["repeat"]) == ("from-environment", 3.0, 2)


def test_an_argument_joins_blocks_and_replaces_lists(alerts_yaml):
    settings = loaded(
        alerts_yaml(PAGER + "events: {signal: off, custom: off}\n"),
        {"alerts": {"pager": {"numbers": [7, 8]}, "console": {}}, "events": {"signal": "silent"}},
    )
    assert settings.alerts["pager"].build().given["numbers"] == ["7", "8"]
    assert list(settings.channels) == ["pager", "console"]
    assert settings.events == {"signal": "silent", "custom": "off"}


def test_an_argument_of_none_is_not_given(alerts_yaml):
    assert loaded(alerts_yaml("mode: record\n"), {"mode": None}).mode == "record"


def test_an_argument_of_none_takes_no_blame_for_what_the_file_says(alerts_yaml):
    (told,) = problems(alerts_yaml("mode: sned\n"), {"mode": None})
    assert told.startswith("alerts.yaml:1: mode: ")


def test_the_environment_fills_in_a_channel_that_an_argument_names():
    settings = loaded(None, {"alerts": {"phone": {"type": "pager", "numbers": [1]}}}, {"PAGER_TOKEN": "tttt"})
    assert settings.alerts["phone"].build().given["token"] == "tttt"


def test_nothing_at_all_sends_nothing_and_keeps_nothing(alerts_yaml):
    alerts_yaml("alerts: {console: {}}\n")  # in the current folder, but nobody named it
    settings = loaded()
    assert (settings.alerts, settings.store, settings.mode, settings.file) == ({}, "memory", "auto", None)


def test_the_variable_names_the_file(alerts_yaml, tmp_path):
    alerts_yaml("mode: record\n")
    path = str(tmp_path / "alerts.yaml")
    assert loaded(environ={"BT_ALERTS_CONFIG": path}).mode == "record"
    assert loaded({}, environ={"BT_ALERTS_CONFIG": path}).mode == "auto"
    assert problems(None, environ={"BT_ALERTS_CONFIG": "gone.yaml"}) == [
        "environment: BT_ALERTS_CONFIG: there is no file gone.yaml: create it with `bt-alerts init gone.yaml`"
    ]


def test_settings_and_managers_are_taken_as_configuration(alerts_yaml):
    settings = loaded(alerts_yaml("delivery: {max_retries: 4}\n"), {"mode": "record"})
    assert load(settings) is settings
    changed = loaded(settings, {"delivery": {"retry_delay": 9}})
    assert (changed.mode, changed.delivery.max_retries, changed.delivery.retry_delay) == ("record", 4, 9.0)
    assert settings.delivery.retry_delay == 1.0
    manager = ConfigManager("alerts.yaml", mode="send")
    assert load(manager).mode == "send"
    assert loaded(manager, {"mode": "record"}).mode == "record"


def test_arguments_added_later_still_win_over_the_environment():
    environ = {"NOTIFICATION_MAX_RETRIES": "5"}
    settings = loaded({}, {"delivery": {"max_retries": 6}}, environ)
    assert loaded(settings, {"mode": "record"}, environ).delivery.max_retries == 6


def test_settings_made_by_hand_work_but_take_no_arguments():
    settings = Settings(mode="record")
    assert load(settings) is settings
    (told,) = problems(settings, {"mode": "send"})
    assert told.startswith("config: arguments can only be added to settings that were loaded")


def test_a_config_manager_reads_again(alerts_yaml):
    manager = ConfigManager(alerts_yaml("mode: record\n"))
    alerts_yaml("mode: send\n")
    assert manager.settings.mode == "record"
    assert manager.reload().mode == "send"
    assert manager.settings.mode == "send"
    alerts_yaml("mode: nonsense\n")
    with pytest.raises(SettingsError, match="write one of auto, send, record, not `nonsense`"):
        manager.reload()
    assert manager.settings.mode == "send"


def test_a_config_manager_gives_single_values(alerts_yaml):
    manager = ConfigManager(alerts_yaml(PAGER + "events: {order.completed: silent}\n"))
    assert manager.get("alerts.pager.volume") == 1.0
    assert manager.get("alerts.pager.repeat", 9) == 1
    assert manager.get("alerts.pager.rate_limit") == 7
    assert manager.get("events.order.completed") == "silent"
    assert manager.get("delivery.max_retries") == 3
    assert manager.get("alerts.pager.nothing", "default") == "default"
    assert manager.get("mode.deeper") is None
    assert manager.get("alerts.pager.token") == "•••"
