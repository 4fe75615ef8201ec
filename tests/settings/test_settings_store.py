"""Where the store is when nobody says, and what a relative path is relative to."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from settings_loading import loaded, problems

from bt_alerts.redact import redact
from bt_alerts.settings import ConfigManager, Settings

CONSOLE = {"alerts": {"console": {}}}


def test_a_relative_store_is_beside_its_file(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("store: data/x.db\n")
    monkeypatch.chdir(tmp_path)
    assert loaded("conf/a.yaml").store == str(tmp_path / "conf" / "data" / "x.db")
    assert loaded(Path("conf/a.yaml")).store == str(tmp_path / "conf" / "data" / "x.db")


def test_a_store_given_in_python_is_relative_to_the_current_folder(alerts_yaml, tmp_path):
    config = alerts_yaml("store: from-file.db\n")
    assert loaded(config, {"store": "x.db"}).store == str(tmp_path / "x.db")
    assert loaded({"store": Path("y.db")}).store == str(tmp_path / "y.db")


def test_the_home_folder_is_filled_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded({"store": "~/x.db"}).store == str(tmp_path / "x.db")
    assert "there is no home folder for `~nobody-here/x.db`" in problems({"store": "~nobody-here/x.db"})[0]


def test_without_a_store_it_is_named_after_the_file(alerts_yaml, tmp_path):
    config = tmp_path / alerts_yaml("alerts: {console: {}}\n")
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")  # the fixture goes back
    assert loaded(config).store == str(tmp_path / "alerts.db")


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="the folder of Linux")
def test_without_store_and_file_it_is_in_the_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded(CONSOLE).store == str(tmp_path / ".local/state/bt_alerts/alerts.db")
    assert loaded(CONSOLE, environ={"XDG_STATE_HOME": "/xdg"}).store == "/xdg/bt_alerts/alerts.db"
    assert loaded(CONSOLE, environ={"XDG_STATE_HOME": "relative"}).store.startswith(str(tmp_path))
    assert not (tmp_path / ".local").exists()


def test_without_an_enabled_channel_nothing_is_kept(alerts_yaml):
    assert loaded(alerts_yaml("alerts: {console: {enabled: false}}\n")).store == "memory"
    assert loaded({"events": {"signal": "on"}}).store == "memory"


@pytest.mark.parametrize("word", ["memory", "Memory", ":memory:", " memory "])
def test_memory_can_be_asked_for(word):
    assert loaded({**CONSOLE, "store": word}).store == "memory"


@pytest.mark.parametrize("store", ["sqlite:///x.db", "mysql://h/db", "a\0b", " "])
def test_what_is_no_path_is_refused(store):
    (told,) = problems({}, {"store": store})
    assert told == "argument store: write the path of a file, `postgresql://user@host/database`, or `memory`"


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgres://u:p%40ss%2Fword@h:1/db", "postgres://u@h:1/db"),
        ("POSTGRESQL://u:pass:word@[::1]:5432,other/db", "postgresql://u@[::1]:5432,other/db"),
        ("postgresql://h/db?user=u&password=secret%20word&sslmode=require", "postgresql://h/db?user=u&sslmode=require"),
        ("postgresql://u@/db?host=/run/postgresql", "postgresql://u@/db?host=/run/postgresql"),
    ],
)
def test_a_database_on_postgresql_is_named_without_its_password(store, shown):
    settings = loaded({"store": store})
    assert settings.store == Settings(store=store).store == shown
    again = pickle.loads(pickle.dumps(settings)).model_copy()
    secrets = [*again.store_secrets.values()]
    assert again.store_secrets == Settings(store=store).store_secrets
    assert secrets in ([], ["p@ss/word"], ["pass:word"], ["secret word"])
    everything = [settings, settings.model_dump(), ConfigManager({"store": store}).get("store"), settings.store]
    for secret in secrets:
        assert not any(form in f"{each!r} {each}" for each in everything for form in (secret, quote(secret, safe="")))
        assert secret not in redact(f"what a driver says: {store} {secret}")


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("postgresql+psycopg://u:hidden@h/db", "without the name of a driver"),
        ("postgresql://u:hid@den@h/db", "percent-encoded"),
        ("postgresql://u:hid/den@h/db", "percent-encoded"),
        ("postgresql://u:hid%zzden@h/db", "percent-encoded"),
        ("postgresql://u:hidden@h:port/db", "percent-encoded"),
        ("postgresql://u:hidden@h", "name the database"),
    ],
)
def test_an_address_that_cannot_be_is_told_and_not_shown(store, told):
    (problem,) = problems({"store": store})
    assert told in problem
    assert "hid" not in problem + repr(Settings(store=store))


def test_a_file_with_the_password_of_the_store_must_not_be_readable_for_all(alerts_yaml, caplog):
    path = Path(alerts_yaml("store: postgresql://u:hidden@h/db\nalerts: {console: {}}\n"))
    path.chmod(0o644)
    loaded(path)
    assert "holds credentials and every user of this machine can read it" in caplog.text


def test_a_folder_is_no_store(tmp_path):
    (told,) = problems({"store": str(tmp_path)})
    assert told.endswith("is a folder; name a file in it")
