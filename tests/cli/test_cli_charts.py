"""``check`` says why pictures that were asked for will not come."""

from __future__ import annotations

import sys

PHONE = "  phone:\n    type: pushover\n    app_token: {0}\n    user_key: {0}\n    charts: dark\n".format("a" * 30)


def checked(run, tmp_path, text):
    file = tmp_path / "alerts.yaml"
    file.write_text(f"alerts:\n{text}")
    file.chmod(0o600)
    done = run("check", "-c", file)
    assert done.code == 0
    return done.said


def test_a_type_that_takes_no_pictures_is_named(run, tmp_path):
    text = PHONE + "  console:\n    charts: light\n  off:\n    type: console\n    charts: light\n    enabled: false\n"
    said = checked(run, tmp_path, text)
    assert "console: charts are light, but console takes no pictures." in said
    assert said.count("takes no pictures") == 1
    assert "pip install" not in said


def test_missing_matplotlib_is_told_once(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = checked(run, tmp_path, PHONE + PHONE.replace("phone", "tablet"))
    assert said.count('pip install "bt-alerts[charts]"') == 1


def test_without_charts_nothing_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = checked(run, tmp_path, PHONE.replace("dark", "off"))
    assert "pip install" not in said
    assert "pictures" not in said
