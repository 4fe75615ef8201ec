"""``charts:``, a key that every channel has; and what `check` says where no picture can come of it."""

from __future__ import annotations

import pytest
from settings_loading import loaded, problems

PUSHOVER = {"type": "pushover", "app_token": "a" * 30, "user_key": "u" * 30}


@pytest.mark.parametrize(
    ("given", "charts"),
    [
        ({}, "off"),
        ({"charts": "dark"}, "dark"),
        ({"charts": "Light"}, "light"),
        ({"charts": True}, "light"),
        ({"charts": "true"}, "light"),
        ({"charts": "on"}, "light"),
        ({"charts": False}, "off"),
        ({"charts": "no"}, "off"),
    ],
    ids=str,
)
def test_it_is_off_light_or_dark(given, charts):
    assert loaded({"alerts": {"phone": {**PUSHOVER, **given}}}).channels["phone"].charts == charts


def test_a_wrong_word_is_told_with_the_right_ones():
    (problem,) = problems({"alerts": {"phone": {**PUSHOVER, "charts": "blue"}}})
    assert "alerts.phone.charts: write one of off, light, dark, not `blue`" in problem


def test_a_file_may_say_it(tmp_path):
    file = tmp_path / "alerts.yaml"
    file.write_text("alerts:\n  console:\n    charts: off\n  other:\n    type: console\n    charts: on\n")
    assert {name: channel.charts for name, channel in loaded(file).channels.items()} == {
        "console": "off",
        "other": "light",
    }
