"""Where the store is when nobody says, and what a relative path is relative to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from settings_loading import loaded, problems

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
    assert problems({}, {"store": store}) == ["argument store: write the path of a file, or `memory`"]


@pytest.mark.parametrize("store", ["postgresql://h/db", "postgres://h/db", "postgresql+psycopg://h/db"])
def test_postgresql_is_for_later(store):
    (told,) = problems({"store": store})
    assert told == (
        "config: store: `postgresql://` is not available in this version; write the path of a file, or `memory`"
    )


def test_a_folder_is_no_store(tmp_path):
    (told,) = problems({"store": str(tmp_path)})
    assert told.endswith("is a folder; name a file in it")
