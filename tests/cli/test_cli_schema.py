"""``bt-alerts schema``: to standard output, or whole into a file."""

from __future__ import annotations

import json

import pytest

from bt_alerts.settings.schema import schema


def test_it_prints_the_schema_and_nothing_else(run):
    done = run("schema")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == schema()


def test_it_writes_a_file_that_replaces_the_one_before(run, tmp_path):
    file = tmp_path / "alerts.schema.json"
    file.write_text(json.dumps({"title": "Settings of bt_alerts", "of": "an older version"}))
    done = run("schema", file)
    assert done.code == 0
    assert f"# yaml-language-server: $schema={file}" in done.out
    assert json.loads(file.read_text(encoding="utf-8")) == schema()
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.schema.json"]


def test_a_file_that_cannot_be_written_is_said(run, tmp_path):
    done = run("schema", tmp_path / "none" / "alerts.schema.json")
    assert (done.code, done.out) == (1, "")
    assert "cannot be written" in done.err


@pytest.mark.parametrize("name", ["alerts.yaml", "alerts.yml", "schema", "alerts.json.yaml"])
def test_only_a_name_of_a_json_file_is_taken(run, tmp_path, name):
    settings = tmp_path / name
    settings.write_text("alerts: {console: {}}\n")
    done = run("schema", settings)
    assert (done.code, done.out) == (2, "")
    assert f"{settings} does not end in .json" in done.said
    assert settings.read_text() == "alerts: {console: {}}\n"


@pytest.mark.parametrize("theirs", ["of somebody else", "", "[1, 2]", '{"title": "Prices"}'])
def test_a_file_that_is_no_schema_of_ours_stays_as_it_is(run, tmp_path, theirs):
    file = tmp_path / "prices.json"
    file.write_text(theirs)
    done = run("schema", file)
    assert (done.code, done.out) == (1, "")
    assert "is no schema of bt_alerts, and stays as it is" in done.said
    assert file.read_text() == theirs
