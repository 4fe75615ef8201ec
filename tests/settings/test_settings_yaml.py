"""YAML is read as text: what a person typed is what arrives."""

from __future__ import annotations

import pytest
from settings_loading import loaded, problems


def pager(value: str, key: str = "numbers") -> str:
    needed = "" if key == "numbers" else "    numbers: [1]\n"
    return f"alerts:\n  pager:\n    token: tttt\n{needed}    {key}: {value}\n"


@pytest.mark.parametrize(
    ("written", "arrives"),
    [
        ("[+4917012345]", ["+4917012345"]),
        ("+4917012345", ["+4917012345"]),
        ("[22:00, NO, on]", ["22:00", "NO", "on"]),
        ("[007, 1e3, 0x1F, 1_000]", ["007", "1e3", "0x1F", "1_000"]),
        ("[2026-01-02]", ["2026-01-02"]),
        ('["null", "~"]', ["null", "~"]),
        ("a, b ,c,", ["a", "b", "c"]),
        ("[yes, null, ~, x]", ["yes", "x"]),
    ],
)
def test_a_text_stays_as_it_was_typed(alerts_yaml, written, arrives):
    settings = loaded(alerts_yaml(pager(written)))
    assert settings.alerts["pager"].build().given["numbers"] == arrives


def test_a_union_of_number_and_text_keeps_a_plus_and_leading_zeros(alerts_yaml):
    settings = loaded(alerts_yaml(pager("[-100123, +49170, 007, '@me', 12]", "chats")))
    assert settings.alerts["pager"].build().given["chats"] == [-100123, "+49170", "007", "@me", 12]


@pytest.mark.parametrize(("word", "setting"), [("on", "on"), ("ON", "on"), ("off", "off"), ("Silent", "silent")])
def test_on_and_off_are_words(alerts_yaml, word, setting):
    assert loaded(alerts_yaml(f"events:\n  signal: {word}\n")).events["signal"] == setting


@pytest.mark.parametrize("word", ["true", "True", "on", "yes", "1", "Y"])
def test_every_word_for_yes_turns_a_channel_on(alerts_yaml, word):
    assert loaded(alerts_yaml(f"alerts: {{console: {{enabled: {word}}}}}\n")).alerts["console"].enabled is True


@pytest.mark.parametrize("word", ["false", "off", "No", "0"])
def test_every_word_for_no_turns_a_channel_off(alerts_yaml, word):
    assert loaded(alerts_yaml(f"alerts: {{console: {{enabled: {word}}}}}\n")).alerts["console"].enabled is False


@pytest.mark.parametrize("nothing", ["", "null", "~", "Null", "# a comment"])
def test_nothing_means_not_given(alerts_yaml, nothing):
    text = (
        f"mode: {nothing}\nstore: {nothing}\nevents: {nothing}\ndelivery:\n  max_retries: {nothing}\nrules: {nothing}\n"
    )
    settings = loaded(alerts_yaml(text))
    assert (settings.mode, settings.store, settings.delivery.max_retries) == ("auto", "memory", 3)


def test_an_empty_channel_block_is_a_channel_with_its_defaults(alerts_yaml):
    assert loaded(alerts_yaml("alerts:\n  console:\n")).alerts["console"].enabled


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "null\n", "\ufeff"])
def test_an_empty_file_is_no_settings(alerts_yaml, text):
    settings = loaded(alerts_yaml(text))
    assert settings.alerts == {}
    assert settings.store == "memory"


def test_a_byte_order_mark_is_no_part_of_the_first_key(alerts_yaml):
    assert loaded(alerts_yaml("\ufeffmode: record\n")).mode == "record"


def test_anchors_aliases_and_merges_work(alerts_yaml):
    settings = loaded(
        alerts_yaml("""
        alerts:
          a: &base
            type: pager
            token: first
            numbers: &who [1, 2]
            volume: 3
          b:
            <<: *base
            volume: 4
          c: {type: pager, token: third, numbers: *who}
        """)
    )
    b = settings.alerts["b"].build().given
    assert (b["token"], b["volume"], b["numbers"]) == ("first", 4.0, ["1", "2"])
    assert settings.alerts["c"].build().given["numbers"] == ["1", "2"]


def test_of_several_merged_blocks_the_first_wins(alerts_yaml):
    settings = loaded(
        alerts_yaml("""
        alerts:
          a: &a {type: pager, token: first, numbers: [1]}
          b: &b {type: pager, token: second, numbers: [2], volume: 4}
          c:
            <<: [*a, *b]
        """)
    )
    c = settings.alerts["c"].build().given
    assert (c["token"], c["numbers"], c["volume"]) == ("first", ["1"], 4.0)


def test_an_alias_bomb_is_refused_at_once(alerts_yaml):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{n}: &{n} [{','.join(['*' + chr(ord(n) - 1)] * 9)}]" for n in "bcdefghij"]
    (told,) = problems(alerts_yaml("\n".join(lines)))
    assert "too many values or levels" in told


def test_an_alias_of_itself_is_refused(alerts_yaml):
    (told,) = problems(alerts_yaml("events: &e {signal: *e}\n"))
    assert told.startswith("alerts.yaml:1: too many values or levels")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\nb: 2\n", "alerts.yaml:2:2: broken YAML: "),
        ("mode: auto: x\n", "alerts.yaml:1:11: broken YAML: a second `:` on the line"),
        ("alerts:\n\tconsole:\n", "alerts.yaml:2:1: broken YAML: a tab is used for indentation; use spaces"),
        ("store: 'x\n", "broken YAML: a quote is not closed"),
        ("store: *hunter2\n", "alerts.yaml:1:8: broken YAML: a value that begins with `*` must stand in quotes"),
        ("a: 1\n---\nb: 2\n", "alerts.yaml:2:1: broken YAML: a second document begins here; remove the `---`"),
        ("store: %x\n", "a value that begins with this character must stand in quotes"),
        ("a: \x07\n", "alerts.yaml:1:4: broken YAML: the character U+0007 is not allowed; remove it"),
        ('a: "\\U00110000"\n', "broken YAML"),
        ("[" * 5000, "broken YAML: nested too deep"),
        ("alerts: {pushover: {app_token: ${X}}}\n", "in quotes"),
    ],
)
@pytest.mark.usefixtures("uncollected")
def test_broken_yaml_is_one_sentence_with_its_place(alerts_yaml, text, told):
    (problem,) = problems(alerts_yaml(text))
    assert told in problem
    assert "\n" not in problem
    assert "hunter2" not in problem


def test_a_key_given_twice_is_an_error_that_names_both_lines(alerts_yaml):
    assert problems(alerts_yaml("mode: auto\nstore: memory\nmode: send\n")) == [
        "alerts.yaml:3: mode: given twice (first on line 1); keep one"
    ]


def test_a_key_that_is_no_text_is_refused(alerts_yaml):
    (told,) = problems(alerts_yaml("events:\n  ? [a]\n  : on\n"))
    assert told == "alerts.yaml:1: events: a key on line 2 is no plain text; write `key: value`"


def test_a_tag_is_refused_and_never_run(alerts_yaml):
    (told,) = problems(alerts_yaml("store: !!python/object/apply:os.system [x]\nmode: !env X\n"), environ={})[1:]
    assert told == "alerts.yaml:2: mode: YAML tags (`!name`) are not used here; remove it, or write `${NAME}`"


@pytest.mark.parametrize(("text", "what"), [("- a\n", "a list"), ("just text\n", "one value")])
def test_the_top_must_be_a_block(alerts_yaml, text, what):
    assert problems(alerts_yaml(text)) == [
        f"alerts.yaml:1: write a block of keys such as `alerts:` at the top, not {what}"
    ]


def test_variables_are_filled_in(alerts_yaml):
    config = alerts_yaml("""
        alerts:
          pager:
            token: ${TOKEN}
            numbers: ["${A}", "x${B:-2}y", "$${A}", $A, "${EMPTY:-d}"]
            volume: ${VOLUME:-}
            copy: "${NONE:-}"
        """)
    given = loaded(config, environ={"TOKEN": "tttt", "A": "one", "EMPTY": ""}).alerts["pager"].build().given
    assert given["token"] == "tttt"
    assert given["numbers"] == ["one", "x2y", "${A}", "$A", "d"]
    assert (given["volume"], given["copy"]) == (0.5, "")


def test_a_variable_that_is_not_set_is_named_with_file_line_and_key(alerts_yaml):
    told = problems(alerts_yaml("mode: auto\nalerts:\n  pager:\n    token: ${PAGER}\n    numbers: [1]\n"))
    assert told == [
        "alerts.yaml:4: alerts.pager.token: the variable PAGER is not set; set it, or write `${PAGER:-}` "
        "to leave it empty"
    ]


@pytest.mark.parametrize("text", ["${", "${1x}", "${A", "${A:-${B}}", "${}"])
def test_a_reference_that_makes_no_sense_is_told_without_its_text(alerts_yaml, text):
    (told,) = problems(alerts_yaml(f"alerts:\n  pager:\n    numbers: [1]\n    token: 'hunter2{text}'\n"))
    assert told.startswith("alerts.yaml:4: alerts.pager.token: ")
    assert "hunter2" not in told


def test_values_from_variables_are_not_taken_for_yaml(alerts_yaml):
    config = alerts_yaml("alerts: {pager: {token: '${T}', numbers: [1]}}\n")
    token = "]: {*x, ~ # ${NOT}"
    assert loaded(config, environ={"T": token}).alerts["pager"].build().given["token"] == token


def test_files_that_cannot_be_read(alerts_yaml, tmp_path):
    alerts_yaml("")
    assert problems("missing.yaml") == ["there is no file missing.yaml: create it with `bt-alerts init missing.yaml`"]
    (tmp_path / "folder").mkdir()
    assert problems("folder") == ["folder: this is a folder; name the file in it"]
    (tmp_path / "latin.yaml").write_bytes(b"mode: auto\nstore: caf\xe9\n")
    assert problems("latin.yaml") == ["latin.yaml:2: not UTF-8 text; save the file as UTF-8"]
    (tmp_path / "huge.yaml").write_bytes(b"#" * 1_000_001)
    assert problems("huge.yaml") == ["huge.yaml: larger than 1,000,000 bytes; this is no settings file"]
    assert problems("a\0b") == ["a\\x00b: cannot be read: no file can have this name"]
    assert problems("x" * 300)[0].endswith(": cannot be read: File name too long")
    assert problems("latin.yaml/x")[0].startswith("there is no file latin.yaml/x")


def test_a_file_without_permission(alerts_yaml, tmp_path):
    import os

    path = tmp_path / "closed.yaml"
    path.write_text("mode: auto\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert problems("closed.yaml") == ["closed.yaml: cannot be read: Permission denied"]


@pytest.mark.parametrize("config", [5, b"alerts.yaml", ["alerts.yaml"], object()])
def test_anything_else_is_refused(config):
    (told,) = problems(config)
    assert told == f"config: give a path, a mapping, Settings or a ConfigManager, not {type(config).__name__}"
