"""``bt-alerts schema``: to standard output, or whole into a file."""

from __future__ import annotations

import json

from bt_alerts.settings.schema import schema


def test_it_prints_the_schema_and_nothing_else(run):
    done = run("schema")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == schema()


def test_it_writes_a_file_that_replaces_the_one_before(run, tmp_path):
    file = tmp_path / "alerts.schema.json"
    file.write_text("of an older version")
    done = run("schema", file)
    assert done.code == 0
    assert f"# yaml-language-server: $schema={file}" in done.out
    assert json.loads(file.read_text(encoding="utf-8")) == schema()
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.schema.json"]


def test_a_file_that_cannot_be_written_is_said(run, tmp_path):
    done = run("schema", tmp_path / "none" / "alerts.schema.json")
    assert (done.code, done.out) == (1, "")
    assert "cannot be written" in done.err
