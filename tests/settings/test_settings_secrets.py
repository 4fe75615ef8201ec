"""No credential in any repr, dump, log line, hash or error."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import traceback

import pytest
from settings_loading import loaded, problems

from bt_alerts.errors import SettingsError
from bt_alerts.settings import ConfigManager, load
from bt_alerts.settings import assemble as assemble_module

CANARY = "cAnArY-7f3a"
WITH_CANARY = {
    "alerts": {
        "pager": {"token": CANARY, "numbers": [1], "keys": [CANARY, CANARY + "2"], "headers": {"X": CANARY}},
        "pushover": {"app_token": CANARY, "user_key": CANARY},
        "webhook": {"urls": f"https://hooks.test/{CANARY}", "secret": None},
    }
}


def test_no_output_of_settings_shows_a_credential(caplog):
    caplog.set_level(logging.DEBUG)
    manager = ConfigManager(copy.deepcopy(WITH_CANARY), delivery={"max_retries": 1})
    settings = manager.settings
    shown = [
        repr(settings), str(settings), repr(settings.alerts), str(settings.alerts["pager"]),
        repr(settings.model_dump()), settings.model_dump_json(), repr(settings.model_dump(by_alias=True)),
        settings.hash, repr(manager), repr(vars(manager)["_settings"]), repr(manager.get("alerts")),
        repr(settings._sources), repr(settings.alerts["pager"].build()), repr(dict(settings)),
    ]  # fmt: skip
    assert not [text for text in shown if CANARY in text]
    assert CANARY not in caplog.text
    assert settings.alerts["pager"].build().given["keys"] == [CANARY, CANARY + "2"]


@pytest.mark.parametrize(
    "block",
    [
        {"token": [CANARY], "numbers": [1]},
        {"token": {CANARY: CANARY}, "numbers": [1]},
        {"token": CANARY, "headers": CANARY, "numbers": [1]},
        {"token": CANARY, "headers": [CANARY], "numbers": [1]},
        {"token": CANARY, "keys": {"a": CANARY}, "numbers": [1]},
        {"token": CANARY, "keys": [[CANARY]], "numbers": [1]},
        {"tokn": CANARY, "numbers": [1]},
        {"token": CANARY, "numbers": [1], "volume": "x"},
        CANARY,
        [CANARY],
        {"token": "refused-token", "numbers": [1]},
    ],
)
def test_no_error_shows_a_credential(block):
    with pytest.raises(SettingsError) as caught:
        load({"alerts": {"pager": block}}, environ={})
    for text in (str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))):
        shown = text.split("\nbt_alerts.errors.", 1)[-1]  # the traceback quotes this test's own source
        assert CANARY not in shown
        assert "refused-token" not in shown
    assert caught.value.__context__ is None


def test_no_error_about_the_environment_shows_a_credential(tmp_path):
    environ = {"PAGER_NOTIFICATIONS_ENABLED": "1", "PAGER_TOKEN": CANARY, "PAGER_VOLUME": "x"}
    assert CANARY not in str(problems(None, environ=environ))


def test_the_hash_follows_the_configuration_and_its_credentials():
    settings = loaded(WITH_CANARY)
    assert settings.hash == loaded(copy.deepcopy(WITH_CANARY)).hash
    assert len(settings.hash) == 64
    changed = copy.deepcopy(WITH_CANARY)
    changed["alerts"]["pager"]["token"] = CANARY + "x"
    assert loaded(changed).hash != settings.hash
    assert loaded(WITH_CANARY, {"events": {"signal": "off"}}).hash != settings.hash
    assert loaded(WITH_CANARY, {"delivery": {"fail_fast": True}}).hash != settings.hash
    first, second = {"alerts": {"a": {"type": "console"}, "b": {"type": "console"}}}, {}
    second["alerts"] = dict(reversed(first["alerts"].items()))
    assert loaded(first).hash == loaded(second).hash


def test_the_hash_is_the_same_in_another_process():
    code = (
        "from bt_alerts.settings import load; pushover = {'app_token': 'tttt', 'user_key': 'uuuu'};"
        "print(load({'store': 'memory', 'alerts': {'pushover': pushover}}, environ={}).hash)"
    )
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert run[0].stdout == run[1].stdout != ""


@pytest.fixture
def fresh_warnings(monkeypatch):
    monkeypatch.setattr(assemble_module, "_warned", set())


@pytest.mark.usefixtures("fresh_warnings")
class TestAFileThatEverybodyCanRead:
    TEXT = "alerts: {pager: {token: cAnArY-7f3a, numbers: [1]}}\n"

    def test_is_warned_of_once(self, alerts_yaml, tmp_path, caplog):
        config = alerts_yaml(self.TEXT)
        (tmp_path / config).chmod(0o644)
        loaded(config)
        loaded(config)
        (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert f"chmod 600 {tmp_path / config}" in record.getMessage()
        assert CANARY not in record.getMessage()

    def test_is_fine_where_it_is_private(self, alerts_yaml, caplog):
        loaded(alerts_yaml(self.TEXT))
        assert not caplog.records

    def test_is_fine_where_its_credentials_stand_elsewhere(self, alerts_yaml, tmp_path, caplog):
        config = alerts_yaml("alerts: {pager: {token: '${T}', numbers: [1]}}\n")
        (tmp_path / config).chmod(0o644)
        loaded(config, environ={"T": "tttt"})
        assert not caplog.records

    def test_counts_lists_and_env_files_too(self, alerts_yaml, tmp_path, caplog):
        (tmp_path / "x.env").write_text("PAGER_TOKEN=tttt\n")
        (tmp_path / "x.env").chmod(0o644)
        config = alerts_yaml("env_file: x.env\nalerts: {pager: {numbers: [1], keys: [kkkk]}}\n")
        (tmp_path / config).chmod(0o644)
        loaded(config)
        assert len(caplog.records) == 2
