"""A channel's settings are the constructor's arguments, of ours and of a third party's type alike."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings

import pytest
from settings_loading import loaded, problems

from bt_alerts.errors import SettingsError

PAGER = {"token": "tttt", "numbers": ["1"]}


def pager(**more):
    return loaded({"alerts": {"pager": {**PAGER, **more}}}).alerts["pager"]


def test_text_becomes_what_the_signature_says():
    given = pager(
        chats="5,@x", keys="k1,k2", headers={"A": "b"}, level="LOUD", depth="2", volume="3", repeat="4", vibrate="no",
        copy="me", api_url="http://proxy",
    ).build().given  # fmt: skip
    assert given == {
        "token": "tttt", "numbers": ["1"], "chats": [5, "@x"], "keys": ["k1", "k2"], "headers": {"A": "b"},
        "level": "Loud", "depth": 2, "volume": 3.0, "repeat": 4, "vibrate": False, "copy": "me",
        "api_url": "http://proxy",
    }  # fmt: skip


def test_what_is_not_given_is_left_to_the_constructor():
    given = pager().build().given
    assert (given["chats"], given["keys"], given["level"], given["volume"]) == ((), None, "quiet", 0.5)


def test_common_keys_have_the_types_defaults():
    channel = pager()
    assert (channel.name, channel.type, channel.enabled, channel.rate_limit, channel.fallback) == (
        "pager", "pager", True, 7, None,
    )  # fmt: skip
    assert pager(rate_limit=0).rate_limit == 0
    assert loaded({"alerts": {"webhook": {"urls": "https://a.test"}}}).alerts["webhook"].rate_limit == 20


def test_a_channels_name_is_its_block():
    channel = loaded({"alerts": {"night phone": {"type": "pager", **PAGER}}}).alerts["night phone"]
    assert (channel.name, channel.type) == ("night phone", "pager")


def test_the_timeout_reaches_a_dispatcher_that_does_not_ask_for_it():
    assert pager(timeout="4").build().timeout == 4.0
    assert pager().build().timeout == 30.0
    webhook = loaded({"alerts": {"webhook": {"urls": "https://a.test", "timeout": 5}}}).alerts["webhook"]
    assert webhook.build().timeout == 5.0


def test_a_disabled_channel_needs_no_credentials_and_is_built_disabled():
    off = {"enabled": "no"}
    settings = loaded({"alerts": {"pager": {**PAGER, **off}, "console": off, "webhook": off}})
    assert settings.channels == {}
    assert settings.alerts["pager"].build().enabled is False
    assert settings.alerts["console"].build().enabled is False
    with pytest.raises(SettingsError, match=r"alerts\.webhook: `urls` must be given"):
        settings.alerts["webhook"].build()


def test_each_build_is_a_new_dispatcher():
    channel = pager()
    assert channel.build() is not channel.build()


def test_the_constructors_objection_is_told_at_the_key(alerts_yaml):
    config = alerts_yaml("alerts:\n  pager:\n    token: tttt\n    numbers: [1]\n    volume: 12\n")
    assert problems(config) == ["alerts.yaml:5: alerts.pager.volume: must be 11 or less, not 12.0"]
    config = alerts_yaml("alerts:\n  pushover:\n    app_token: tttt\n    user_key: uuuu\n    priority: 9\n")
    assert problems(config) == ["alerts.yaml:5: alerts.pushover.priority: must be -2, -1, 0, 1 or 2, not 9"]


def test_build_turns_an_objection_into_a_settings_error():
    channel = loaded({"alerts": {"pager": {**PAGER, "volume": 12, "enabled": False}}}).alerts["pager"]
    with pytest.raises(SettingsError, match=r"alerts\.pager: volume must be 11 or less") as caught:
        channel.build()
    assert caught.value.__context__ is None


def test_a_constructor_that_crashes_is_told_not_passed_on():
    (told,) = problems({"alerts": {"pager": {**PAGER, "token": "crash-in-constructor"}}})
    assert told == "config: alerts.pager: PagerDispatcher cannot be made: RuntimeError: ••• crashed"


def test_what_a_dispatcher_misses_is_told_with_keys_and_variables(alerts_yaml):
    config = alerts_yaml("alerts:\n  pager:\n    token: tttt\n")
    assert problems(config) == ["alerts.yaml:2: alerts.pager: add somebody to call; not given: `keys:`, `headers:`"]
    config = alerts_yaml("alerts:\n  pager:\n    numbers: [1]\n    token:\n")
    assert problems(config) == ["alerts.yaml:4: alerts.pager.token: missing; write `token:`, or set PAGER_TOKEN"]


def test_settings_cannot_be_changed():
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        pager().enabled = False


def test_numbers_in_a_mapping_are_taken_for_text():
    given = loaded({"alerts": {"pager": {"token": 12345, "numbers": 49}}}).alerts["pager"].build().given
    assert (given["token"], given["numbers"]) == ("12345", ["49"])


def test_settings_survive_pickling_and_copying():
    settings = loaded({"alerts": {"pager": PAGER, "console": {}}})
    for again in (pickle.loads(pickle.dumps(settings)), copy.deepcopy(settings)):
        assert again.hash == settings.hash
        assert again.alerts["pager"].build().given["token"] == "tttt"
        assert loaded(again, {"mode": "send"}).mode == "send"


def test_a_dump_of_every_type_is_clean_json():
    settings = loaded(
        {
            "alerts": {
                "console": {},
                "pager": PAGER,
                "pushover": {"app_token": "tttt", "user_key": "uuuu"},
                "webhook": {"urls": "https://a.test", "headers": {"X": "y"}},
            }
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dump = json.loads(settings.model_dump_json())
    assert dump["alerts"]["pushover"]["priority"] == 0
    assert dump["alerts"]["webhook"]["headers"] == {"X": "**********"}


def test_importing_the_package_does_not_import_pydantic():
    code = "import sys, bt_alerts, bt_alerts.dispatchers.pushover; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
