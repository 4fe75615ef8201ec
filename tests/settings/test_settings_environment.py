"""The environment as a source: channels of its own, files that hold secrets, and a .env file."""

from __future__ import annotations

import pytest
from settings_loading import loaded, problems

from bt_alerts.settings import load

PAGER = {"PAGER_TOKEN": "tttt", "PAGER_NUMBERS": "1, 2"}


def test_the_environment_alone_is_a_configuration():
    settings = loaded(environ={"PAGER_NOTIFICATIONS_ENABLED": "true", **PAGER, "NOTIFICATION_FAIL_FAST": "yes"})
    assert settings.channels["pager"].build().given["numbers"] == ["1", "2"]
    assert settings.delivery.fail_fast is True


@pytest.mark.parametrize("flag", [None, "", "false", "0", "off"])
def test_a_channel_of_the_environment_needs_its_flag(flag):
    environ = PAGER if flag is None else {**PAGER, "PAGER_NOTIFICATIONS_ENABLED": flag}
    assert loaded(environ=environ).alerts == {}


def test_promised_names_reach_pushover_and_webhook():
    settings = loaded(
        environ={
            "PUSHOVER_NOTIFICATIONS_ENABLED": "true",
            "PUSHOVER_APP_TOKEN": "app-token",
            "PUSHOVER_USER_KEY": "user-key",
            "WEBHOOK_NOTIFICATIONS_ENABLED": "1",
            "WEBHOOK_URLS": "https://a.test/x, https://b.test/y",
        }
    )
    assert len(settings.alerts["pushover"].build().targets()) == 1
    assert len(settings.alerts["webhook"].build().targets()) == 2


def test_every_promised_delivery_name():
    delivery = loaded(
        environ={
            "NOTIFICATION_MAX_RETRIES": "7",
            "NOTIFICATION_RETRY_DELAY": "0.25",
            "NOTIFICATION_PARALLEL_DELIVERY": "no",
            "NOTIFICATION_FAIL_FAST": "on",
        }
    ).delivery
    assert (delivery.max_retries, delivery.retry_delay, delivery.parallel, delivery.fail_fast) == (7, 0.25, False, True)


def test_the_flag_overrides_the_file(alerts_yaml):
    config = alerts_yaml("alerts: {pager: {token: t, numbers: [1], enabled: true}}\n")
    assert loaded(config, environ={"PAGER_NOTIFICATIONS_ENABLED": "false"}).channels == {}
    config = alerts_yaml("alerts: {pager: {token: t, numbers: [1], enabled: false}}\n")
    assert list(loaded(config, environ={"PAGER_NOTIFICATIONS_ENABLED": "true"}).channels) == ["pager"]


def test_values_go_to_the_only_block_of_the_type(alerts_yaml):
    config = alerts_yaml("alerts: {phone: {type: pager, numbers: [1], token: from-file}}\n")
    settings = loaded(config, environ={"PAGER_TOKEN": "from-environment", "PAGER_NOTIFICATIONS_ENABLED": "true"})
    assert list(settings.alerts) == ["phone"]
    assert settings.alerts["phone"].build().given["token"] == "from-environment"


def test_of_several_blocks_the_one_named_like_the_type_is_meant(alerts_yaml):
    config = alerts_yaml(
        "alerts: {pager: {numbers: [1], token: f}, other: {type: pager, numbers: [1], token: from-file}}\n"
    )
    settings = loaded(config, environ=PAGER)
    assert settings.alerts["pager"].build().given["token"] == "tttt"
    assert settings.alerts["other"].build().given["token"] == "from-file"


def test_of_several_blocks_with_other_names_none_is_meant(alerts_yaml):
    config = alerts_yaml("alerts: {a: &a {type: pager, numbers: [1], token: from-file}, b: *a}\n")
    settings = loaded(config, environ={**PAGER, "PAGER_NOTIFICATIONS_ENABLED": "true"})
    assert [c.build().given["token"] for c in settings.alerts.values()] == ["from-file", "from-file"]


def test_a_block_of_another_type_with_that_name_is_told(alerts_yaml):
    told = problems(alerts_yaml("alerts: {pager: {type: console}}\n"), environ={"PAGER_NOTIFICATIONS_ENABLED": "true"})
    assert told == [
        "environment: PAGER_NOTIFICATIONS_ENABLED: the channel `pager` is of another type; give that block another name"
    ]


def test_a_block_may_be_called_as_another_type_where_the_environment_asks_for_none(alerts_yaml):
    settings = loaded(alerts_yaml("alerts: {pager: {type: console}}\n"), environ={})
    assert settings.alerts["pager"].type == "console"


def test_a_wrong_block_is_told_even_where_the_environment_could_replace_it():
    environ = {"PAGER_NOTIFICATIONS_ENABLED": "true", "NOTIFICATION_FAIL_FAST": "true", **PAGER}
    assert len(problems({"alerts": {"pager": "on"}, "delivery": "fast"}, environ=environ)) == 2
    assert len(problems({"alerts": "pager"}, environ=environ)) == 1


def test_wrong_values_name_the_variable():
    told = problems(
        None,
        environ={
            "PAGER_NOTIFICATIONS_ENABLED": "true",
            **PAGER,
            "PAGER_VOLUME": "loud",
            "NOTIFICATION_MAX_RETRIES": "-1",
            "CONSOLE_NOTIFICATIONS_ENABLED": "maybe",
        },
    )
    assert sorted(told) == [
        "environment: CONSOLE_NOTIFICATIONS_ENABLED: write true or false, not `maybe`",
        "environment: NOTIFICATION_MAX_RETRIES: write a whole number from 0 to 1000, not `-1`",
        "environment: PAGER_VOLUME: write a number, not `loud`",
    ]


def test_an_enabled_channel_without_its_credential_names_the_variable():
    (told,) = problems(None, environ={"PAGER_NOTIFICATIONS_ENABLED": "true", "PAGER_NUMBERS": "1"})
    assert told == (
        "environment: PAGER_NOTIFICATIONS_ENABLED: alerts.pager.token: missing; write `token:`, or set PAGER_TOKEN"
    )


def test_pushover_names_key_and_variable_of_what_is_missing(alerts_yaml):
    (told,) = problems(alerts_yaml("alerts:\n  pushover:\n    app_token: abcdef\n"))
    assert told == "alerts.yaml:2: alerts.pushover: set user_key (PUSHOVER_USER_KEY) to send through Pushover"


def test_a_value_can_stand_in_a_file(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("  from-a-file\n")
    settings = loaded(
        environ={"PAGER_NOTIFICATIONS_ENABLED": "1", "PAGER_NUMBERS": "1", "PAGER_TOKEN_FILE": str(secret)}
    )
    assert settings.alerts["pager"].build().given["token"] == "from-a-file"


def test_a_file_that_cannot_give_the_value_is_named(tmp_path):
    on = {"PAGER_NOTIFICATIONS_ENABLED": "1", "PAGER_NUMBERS": "1"}
    gone, empty, bad = tmp_path / "gone", tmp_path / "empty", tmp_path / "bad"
    empty.write_text("\n")
    bad.write_bytes(b"\xff")
    expected = {
        gone: f"environment: PAGER_TOKEN_FILE: there is no file {gone}",
        empty: f"environment: PAGER_TOKEN_FILE: the file {empty} is empty",
        tmp_path: f"environment: PAGER_TOKEN_FILE: {tmp_path}: this is a folder; name the file in it",
        bad: f"environment: PAGER_TOKEN_FILE: {bad}:1: not UTF-8 text; save the file as UTF-8",
    }
    for path, told in expected.items():
        assert told in problems(None, environ={**on, "PAGER_TOKEN_FILE": str(path)})


def test_a_value_given_both_ways_is_told(tmp_path):
    told = problems(None, environ={"PAGER_NOTIFICATIONS_ENABLED": "1", **PAGER, "PAGER_TOKEN_FILE": "x"})
    assert "environment: PAGER_TOKEN: PAGER_TOKEN_FILE is set too; keep one of the two" in told


def test_a_log_file_variable_is_not_read_for_a_reference(alerts_yaml, tmp_path):
    config = alerts_yaml("store: ${LOG:-memory}\n")
    assert loaded(config, environ={"LOG_FILE": str(tmp_path / "alerts.yaml")}).store == "memory"


def test_a_broken_package_of_somebody_else_harms_nobody_who_does_not_use_it():
    assert loaded({"alerts": {"console": {}}}, environ=PAGER).channels.keys() == {"console"}


ENV = """
# a comment
export PAGER_NOTIFICATIONS_ENABLED=true
PAGER_TOKEN='to#ken "x"'   # not part of it
PAGER_NUMBERS="+491, +492"
PAGER_VOLUME = 3 # loud
EMPTY=
ESCAPED="a\\nb\\$"
"""


def test_an_env_file_is_read_where_it_is_named(alerts_yaml, tmp_path):
    (tmp_path / "prod.env").write_text(ENV)
    settings = loaded(alerts_yaml("env_file: prod.env\n"))
    given = settings.alerts["pager"].build().given
    assert (given["token"], given["numbers"], given["volume"]) == ('to#ken "x"', ["+491", "+492"], 3.0)
    assert loaded(alerts_yaml("mode: auto\n")).alerts == {}


def test_the_real_environment_comes_before_the_env_file(alerts_yaml, tmp_path):
    (tmp_path / "prod.env").write_text(ENV)
    config = alerts_yaml("env_file: ${WHICH}.env\nalerts: {pager: {copy: '${ESCAPED}${EMPTY}'}}\n")
    given = loaded(config, environ={"WHICH": "prod", "PAGER_VOLUME": "9"}).alerts["pager"].build().given
    assert (given["volume"], given["copy"]) == (9.0, "a\nb$")


def test_an_env_file_is_relative_to_the_settings_file(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "x.env").write_text("NOTIFICATION_MAX_RETRIES=8\n")
    (tmp_path / "conf" / "a.yaml").write_text("env_file: x.env\n")
    monkeypatch.chdir(tmp_path)
    assert loaded("conf/a.yaml").delivery.max_retries == 8
    assert loaded({"env_file": "conf/x.env"}).delivery.max_retries == 8
    assert loaded({}, {"env_file": "conf/x.env"}).delivery.max_retries == 8
    assert loaded(loaded({}), {"env_file": "conf/x.env"}).delivery.max_retries == 8


def test_an_env_file_may_begin_with_a_byte_order_mark(alerts_yaml, tmp_path):
    (tmp_path / "x.env").write_bytes(b"\xef\xbb\xbfNOTIFICATION_MAX_RETRIES=8\r\n")
    assert loaded(alerts_yaml("env_file: x.env\n")).delivery.max_retries == 8


def test_a_missing_env_file_is_told_with_its_place(alerts_yaml, tmp_path):
    (told,) = problems(alerts_yaml("mode: auto\nenv_file: gone.env\n"))
    assert told == f"alerts.yaml:2: env_file: there is no file {tmp_path}/gone.env; create it, or remove `env_file`"
    assert problems({}, {"env_file": "gone.env"})[0].startswith("argument env_file: there is no file")


def test_every_wrong_line_of_an_env_file_is_told_without_its_value(alerts_yaml, tmp_path):
    (tmp_path / "x.env").write_text('hunter2\nA=\'hunter2\nB=1\nB=hunter2\nC="x" hunter2\n')
    assert problems(alerts_yaml("env_file: x.env\n")) == [
        "x.env:1: write `NAME=value`",
        "x.env:2: A: the quote is not closed on this line, or text follows it",
        "x.env:4: B: given twice (first on line 3); keep one",
        "x.env:5: C: the quote is not closed on this line, or text follows it",
    ]


def test_a_wrong_value_of_an_env_file_is_told_with_its_line(alerts_yaml, tmp_path):
    (tmp_path / "x.env").write_text("\nNOTIFICATION_RETRY_DELAY=soon\n")
    assert problems(alerts_yaml("env_file: x.env\n")) == [
        "x.env:2: NOTIFICATION_RETRY_DELAY: write a number from 0 to 86400, not `soon`"
    ]


def test_the_processs_own_environment_is_used_unless_another_is_given(monkeypatch):
    monkeypatch.setenv("NOTIFICATION_MAX_RETRIES", "11")
    assert load({}).delivery.max_retries == 11
