"""``bt-alerts init``: a file to fill in, and the schema by which an editor helps with that."""

from __future__ import annotations

import json
import os
import stat

from bt_alerts.settings import load, template
from bt_alerts.settings.schema import schema


def test_init_writes_a_private_file_that_works(run, tmp_path):
    before = os.umask(0o000)
    try:
        done = run("init")
    finally:
        os.umask(before)
    file = tmp_path / "alerts.yaml"
    assert done.code == 0
    assert "bt-alerts check -c alerts.yaml" in done.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text("utf-8") == "# yaml-language-server: $schema=alerts.schema.json\n" + template()
    assert list(load(file).channels) == ["console"]
    assert run("check", "-c", file).code == 0


def test_init_takes_a_name(run, tmp_path):
    assert run("init", "mine.yaml").code == 0
    assert (tmp_path / "mine.yaml").exists()


def test_init_never_overwrites(run, tmp_path):
    file = tmp_path / "alerts.yaml"
    file.write_text("store: mine.db\n")
    done = run("init")
    assert done.code == 1
    assert "was not changed" in done.err
    assert file.read_text() == "store: mine.db\n"


def test_init_does_not_follow_a_link_that_leads_nowhere(run, tmp_path):
    (tmp_path / "alerts.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert run("init").code == 1
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_init_says_that_a_folder_is_missing(run):
    done = run("init", "no/where/alerts.yaml")
    assert done.code == 1
    assert "There is no folder no/where" in done.err


def test_init_writes_the_schema_that_its_first_line_names(run, tmp_path):
    run("init")
    assert json.loads((tmp_path / "alerts.schema.json").read_text("utf-8")) == json.loads(json.dumps(schema()))
    (tmp_path / "alerts.yaml").unlink()
    assert run("init").code == 0  # a schema of ours is written again


def test_init_without_a_schema(run, tmp_path):
    run("init", "--no-schema")
    assert (tmp_path / "alerts.yaml").read_text("utf-8") == template()
    assert not (tmp_path / "alerts.schema.json").exists()


def test_init_leaves_a_file_that_is_no_schema_of_ours(run, tmp_path):
    theirs = tmp_path / "alerts.schema.json"
    theirs.write_text('{"title": "mine"}')
    done = run("init")
    assert done.code == 0
    assert "is no schema of bt_alerts, and stays as it is" in done.said
    assert theirs.read_text() == '{"title": "mine"}'
    assert (tmp_path / "alerts.yaml").read_text("utf-8") == template()


def test_init_that_is_refused_writes_no_schema(run, tmp_path):
    (tmp_path / "alerts.yaml").write_text("store: memory\n")
    assert run("init").code == 1
    assert not (tmp_path / "alerts.schema.json").exists()


def test_questions_need_a_terminal(run, tmp_path):
    done = run("init", "-i")
    assert done.code == 2
    assert "needs a terminal" in done.err
    assert list(tmp_path.iterdir()) == []
