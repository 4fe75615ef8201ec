"""The pages Channels and Rules: what is shown of a settings file, what is changed in it, and what never leaves it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from google.protobuf.text_format import MessageToString
from streamlit.testing.v1 import AppTest

from bt_alerts.dashboard.draft import Draft
from bt_alerts.dashboard.hidden import MASK, reference, shown_tree
from bt_alerts.dashboard.views import rules
from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.settings import load, template
from bt_alerts.testing import FakeService

TOKEN, USER, PATH, BEARER, TYPED = (f"{word}-{os.urandom(9).hex()}" for word in ("tok", "usr", "pth", "brr", "typ"))
SECRETS = (TOKEN, USER, PATH, BEARER, TYPED)
SETTINGS = f"""\
# Mine.
store: alerts.db
alerts:
  phone:
    type: pushover  # the phone
    app_token: {TOKEN}
    user_key: {USER}
    priority: 1
  hook:
    type: webhook
    urls: [http://127.0.0.1:9/{PATH}]
    headers:
      Authorization: Bearer {BEARER}
routes:
  - {{name: loud, when: {{priority: high}}, to: [phone, hook]}}
  - to: hook  # the rest
rules:
  cooldown:
    - every: 15m
events:
  order.partial: record
"""


def _page(name: str) -> None:
    import importlib

    import streamlit as st

    name = st.session_state.get("page", name)
    importlib.import_module(f"bt_alerts.dashboard.views.{name}").show()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alerts.yaml"
    path.write_text(SETTINGS)
    path.chmod(0o600)
    monkeypatch.setattr(sys, "argv", ["app.py", str(path)])
    return path


def opened(name: str) -> AppTest:
    app = AppTest.from_function(_page, args=(name,), default_timeout=60).run()
    assert not app.exception
    return app


def sent(app: AppTest) -> str:
    """Everything that the browser gets."""
    assert not app.exception
    return "\n".join(MessageToString(element.proto, as_utf8=True) for element in _elements(app._tree))


def _elements(block):
    if getattr(block, "proto", None) is not None:
        yield block
    for child in getattr(block, "children", {}).values():
        yield from _elements(child)


def field(app: AppTest, kind: str, label: str):
    (found,) = [each for each in getattr(app, kind) if each.label.startswith(label)]
    return found


def edit(app: AppTest, name: str) -> AppTest:
    return app.button(key=f"Edit {name}").click().run()


def save(app: AppTest) -> AppTest:
    return app.button(key="save").click().run()


# ------------------------------------------------------------------------------------------------ credentials


@pytest.mark.parametrize("name", ["phone", "hook"])
def test_no_credential_is_sent_to_the_browser(file: Path, name: str):
    app = edit(opened("channels"), name)
    seen = sent(app) + sent(app.button(key=f"Preview {name}").click().run())
    assert "set in the file" in seen
    assert "leave it empty to keep" in seen
    assert not [secret for secret in SECRETS if secret in seen]


def test_a_credential_that_was_typed_is_not_sent_back_before_or_after_it_is_saved(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "text_input", "App token").input(TYPED).run()
    assert field(app, "text_input", "App token").value == ""
    seen = sent(app)
    assert "set, not saved yet" in seen
    assert f"app_token: {MASK} (new)" in seen
    seen += sent(save(app)) + sent(app.run()) + sent(opened("channels"))
    assert TYPED not in seen
    assert TOKEN not in seen
    assert load(file).alerts["phone"].app_token.get_secret_value() == TYPED


def test_an_empty_input_leaves_a_credential_as_it_is_and_a_button_removes_it(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "text_input", "App token").input("   ").run()
    assert not app.session_state["draft"].changed
    next(button for button in app.button if "app" in button.label).click().run()
    assert app.session_state["draft"].at("alerts", "phone", "app_token") is None
    assert "set app_token (PUSHOVER_APP_TOKEN)" in sent(app)


def test_a_credential_with_a_dollar_is_taken_as_it_is(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "text_input", "App token").input("a${b}cdefgh").run()
    save(app)
    assert load(file).alerts["phone"].app_token.get_secret_value() == "a${b}cdefgh"


def test_a_reference_is_written_as_one_and_its_name_shown(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", TYPED)
    app = edit(opened("channels"), "phone")
    field(app, "text_input", "App token").input("${MY_TOKEN}").run()
    save(app)
    assert "app_token: ${MY_TOKEN}" in file.read_text()
    assert "${MY_TOKEN}" in sent(app)
    assert TYPED not in sent(app)


def test_a_differences_values_are_shown_only_where_a_model_knows_that_they_are_no_credentials():
    tree = {
        "store": "postgresql://me:hunter22@db/alerts",
        "alerts": {
            "phone": {"type": "pushover", "app_token": "secret1", "user_key": ["secret2"], "app_tokn": "secret3",
                      "priority": "1", "url": "https://me:secret4@example.com"},
            "hook": {"type": "webhook", "headers": {"X-Key": "secret5"}, "urls": ["${URLS:-secret6}"]},
            "odd": {"type": "unheard-of", "token": "secret7"},
        },
        "watch": {"ping_url": "https://example.com/secret8", "levels": [{"watch": "drawdown", "above": "10"}]},
        "unknown": {"password": "secret9"},
    }  # fmt: skip
    shown = shown_tree(tree)
    assert "secret" not in str(shown)
    assert "hunter22" not in str(shown)
    assert shown["alerts"]["phone"]["priority"] == "1"
    assert shown["alerts"]["hook"]["urls"] == ["${URLS:-…}"]
    assert shown["watch"]["levels"] == [{"watch": "drawdown", "above": "10"}]


def test_a_reference_is_a_text_that_is_nothing_else():
    assert reference("${A}") == "${A}"
    assert reference("${keyring:phone}") == "${keyring:phone}"
    assert reference("x${A}") == reference("${A}${B}") == reference(None) == ""


# ------------------------------------------------------------------------------------------------ saving


def test_a_change_is_saved_with_comments_mode_and_the_version_before(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "selectbox", "Priority").select("-1").run()
    assert file.read_text() == SETTINGS, "nothing is written before it is saved"
    assert "Unsaved changes" in sent(app)
    save(app)
    assert file.read_text() == SETTINGS.replace("priority: 1", "priority: -1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.with_name("alerts.yaml.previous").read_text() == SETTINGS
    assert "Unsaved changes" not in sent(app)
    assert app.success[0].value == "Saved. Running strategies and workers take it within seconds."


def test_what_is_wrong_is_told_at_its_field_and_keeps_it_from_being_saved(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "text_input", "Timeout").input("soon").run()
    assert "✕ write a number above 0, at most 3600, not `soon`" in sent(app)
    assert app.button(key="save").disabled
    field(app, "text_input", "Timeout").input("").run()
    assert not app.session_state["draft"].changed, "what is empty is taken out"


def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "selectbox", "Priority").select("2").run()
    file.write_text(SETTINGS + "mode: record\n")
    assert "changed by somebody else" in sent(app.run())
    save(app)
    assert file.read_text() == SETTINGS + "mode: record\n"
    assert "by somebody else" in sent(app)
    app.button(key="discard").click().run()
    assert app.session_state["draft"].at("mode") == "record"


def test_the_draft_stays_from_page_to_page(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "selectbox", "Priority").select("2").run()
    app.session_state["page"] = "rules"
    assert "Unsaved changes" in sent(app.run())
    app.session_state["page"] = "channels"
    assert field(app.run(), "selectbox", "Priority").value == "2"


def test_a_file_that_is_no_yaml_is_told_with_its_line_on_both_pages(file: Path):
    file.write_text(f"alerts:\n  phone: [\n# {TOKEN}\n")
    for name in ("channels", "rules"):
        seen = sent(opened(name))
        assert "alerts.yaml:" in seen
        assert "Mend this line in an editor" in seen
        assert TOKEN not in seen


def test_settings_that_are_wrong_are_shown_as_they_are_and_can_be_mended(file: Path):
    file.write_text(SETTINGS.replace("priority: 1", "priority: loud").replace("every: 15m", "evry: 15m"))
    app = edit(opened("channels"), "phone")
    assert field(app, "selectbox", "Priority").value == "loud"
    assert app.error
    field(app, "selectbox", "Priority").select("1").run()
    app.session_state["page"] = "rules"
    app.session_state["section"] = "Noise"
    app.run()
    next(button for button in app.button if button.label == "Edit").click().run()
    next(button for button in app.button if "evry" in button.label).click().run()
    field(app, "text_input", "Every").input("15m").run()
    assert not app.error
    save(app)
    assert load(file).rules.cooldown[0].every == 900.0


def test_without_a_file_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.delenv("BT_ALERTS_CONFIG", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PUSHOVER_NOTIFICATIONS_ENABLED", "true")
    monkeypatch.setenv("PUSHOVER_APP_TOKEN", TOKEN)
    monkeypatch.setenv("PUSHOVER_USER_KEY", USER)
    seen = sent(opened("channels")) + sent(opened("rules"))
    assert "bt-alerts init" in seen
    assert "pushover" in seen
    assert TOKEN not in seen
    assert USER not in seen


# ------------------------------------------------------------------------------------------------ channels


def test_what_the_environment_gives_cannot_be_changed(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PUSHOVER_APP_TOKEN", TYPED)
    app = edit(opened("channels"), "phone")
    token = field(app, "text_input", "App token")
    assert token.disabled
    assert token.placeholder == "set by the environment: PUSHOVER_APP_TOKEN"
    assert TYPED not in sent(app)


def test_a_channel_is_added_filled_in_turned_off_and_removed(file: Path):
    app = opened("channels")
    field(app, "selectbox", "Type").select("ntfy")
    field(app, "text_input", "Name").input("club")
    next(button for button in app.button if button.label == "Add").click().run()
    assert "NTFY_TOPICS" in sent(app)
    assert app.button(key="save").disabled
    field(app, "text_input", "Topics").input(TYPED).run()
    save(app)
    assert [topic.get_secret_value() for topic in load(file).alerts["club"].topics] == [TYPED]
    app.toggle[-1].set_value(False).run()
    assert app.session_state["draft"].at("alerts", "club", "enabled") == "false"
    [button for button in app.button if button.label == "Remove it"][-1].click().run()
    save(app)
    assert file.read_text() == SETTINGS


@pytest.mark.parametrize("channel_type", sorted(BUILT_IN))
def test_every_type_has_a_form_in_which_everything_is_labelled(file: Path, channel_type: str):
    file.write_text(f"alerts:\n  mine:\n    type: {channel_type}\n    enabled: false\n")
    app = edit(opened("channels"), "mine")
    assert not app.exception
    inputs = [*app.text_input, *app.selectbox, *app.multiselect, *app.toggle]
    assert len(inputs) > 8
    assert all(each.label for each in inputs)


def test_pushovers_priorities_and_sounds_are_offered_with_what_they_are(file: Path):
    app = edit(opened("channels"), "phone")
    assert "1: high: passes the phone's quiet hours, shown in red" in field(app, "selectbox", "Priority").options
    assert "siren: Siren" in field(app, "selectbox", "Sound").options
    assert len(field(app, "selectbox", "Sound").options) == 1 + 23


def test_the_test_button_says_what_the_service_answered(file: Path):
    with FakeService() as service:
        file.write_text(f"store: alerts.db\nalerts:\n  hook:\n    type: webhook\n    urls: {service.url}/{PATH}\n")
        service.on().answer(410, body="gone").answer(204)
        app = opened("channels").button(key="Test hook").click().run()
        assert "✕ Failed" in sent(app)
        assert "(HTTP 410)" in sent(app)
        app.button(key="Test hook").click().run()
        assert "✓ Arrived" in sent(app)
        assert PATH not in sent(app)
        assert len(service.requests) == 2


def test_what_is_not_saved_cannot_be_tried(file: Path):
    app = edit(opened("channels"), "phone")
    field(app, "selectbox", "Priority").select("2").run()
    assert app.button(key="Test phone").disabled


# ------------------------------------------------------------------------------------------------ rules


def at(app: AppTest, section: str) -> AppTest:
    app.session_state["section"] = section
    return app.run()


def press(app: AppTest, label: str, number: int = 0) -> AppTest:
    return [button for button in app.button if button.label == label][number].click().run()


def test_rules_are_shown_in_the_words_of_check(file: Path):
    seen = "\n".join(each.value for each in at(opened("rules"), "Routes").markdown)
    assert "high and above; to phone, hook" in seen
    assert "every alert; to hook" in seen


def test_a_rule_is_changed_moved_and_removed(file: Path):
    app = at(opened("rules"), "Routes")
    press(app, "Edit")
    field(app, "multiselect", "To").set_value(["phone"]).run()
    field(app, "selectbox", "Priority").select("critical").run()
    press(app, "Down")
    assert [route["to"] for route in app.session_state["draft"].at("routes")] == ["hook", ["phone"]]
    assert app.button(key="save").disabled, "nothing gets to the second route any more"
    press(app, "Remove")
    save(app)
    (route,) = load(file).routes
    assert (route.name, route.to, route.when.priority) == ("loud", ["phone"], "critical")


@pytest.mark.parametrize(
    ("section", "blocks"),
    [("Watches", rules.LEVELS), ("Routes", rules.ROUTES), *(("Noise", each) for each in rules.NOISE),
     ("Quiet hours", rules.QUIET), ("Digests and reports", rules.DIGESTS), ("Escalation", rules.ESCALATION)],
    ids=lambda each: getattr(each, "path", None) and ".".join(each.path),
)  # fmt: skip
def test_a_new_block_is_right_from_the_beginning_and_can_be_edited(file: Path, section: str, blocks: rules.Blocks):
    file.write_text("alerts:\n  console:\n")
    app = at(opened("rules"), section)
    app.button(key=f"add {blocks.path}").click().run()
    assert not app.exception
    assert not app.error
    assert not [each for each in [*app.text_input, *app.selectbox, *app.multiselect, *app.toggle] if not each.label]
    assert rules.in_words(blocks, 0, app.session_state["draft"].at(*blocks.path, 0))[1]
    save(app)
    assert not Draft(file).checked.errors


def test_what_happens_to_an_event_is_chosen_and_given_back(file: Path):
    app = at(opened("rules"), "Events")
    assert field(app, "selectbox", "order.partial").value == "record"
    field(app, "selectbox", "order.completed").select("silent").run()
    field(app, "selectbox", "order.partial").select("").run()
    save(app)
    assert load(file).events == {"order.completed": "silent"}
    assert "under `events` holds from the next start" in app.success[0].value


def test_nothing_but_what_was_changed_is_changed_in_the_commented_file(file: Path):
    file.write_text(template())
    app = at(opened("rules"), "Routes")
    press(app, "Add to Routes")
    press(app, "Remove", -1)
    assert file.read_text() == template()
    assert not app.exception


# ---------------------------------------------------------------------------------------- what a visitor may type


MAIL = "alerts:\n  mail: {type: email, host: h.test, from_address: a@b.test, to: [c@d.test, 'x@${HELD}']}\n"


def test_what_the_environment_holds_is_not_shown_by_typing_its_name(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_KEY", TYPED)
    monkeypatch.setenv("HELD", "held.test")
    file.write_text(MAIL)
    app = edit(opened("channels"), "mail")
    assert "held.test" not in sent(app), "the label of a target"
    field(app, "text_input", "Host").input("${SOME_KEY}").run()
    assert "edit the file" in sent(app)
    field(app, "multiselect", "To").set_value(["c@d.test", "${SOME_KEY}@x.test"]).run()
    assert "edit the file" in sent(app)
    assert not app.session_state["draft"].changed
    field(app, "multiselect", "To").set_value(["x@${HELD}"]).run()
    assert app.session_state["draft"].at("alerts", "mail", "to") == ["x@${HELD}"]
    assert TYPED not in sent(app)


def test_a_reference_typed_where_an_ordinary_field_hides_a_credential_is_taken_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOME_KEY", TYPED)
    file.write_text(MAIL.replace("h.test", "'https://me:pass@h.test'").replace("x@${HELD}", "y@d.test"))
    app = edit(opened("channels"), "mail")
    field(app, "text_input", "Host").input("${SOME_KEY}").run()
    assert app.session_state["draft"].at("alerts", "mail", "host") == "$${SOME_KEY}"
    assert TYPED not in sent(app)


def test_a_channels_name_is_no_markdown_while_it_is_tried(file: Path, monkeypatch: pytest.MonkeyPatch):
    import streamlit as st

    said: list[str] = []
    spinner = st.spinner
    monkeypatch.setattr(st, "spinner", lambda text: (said.append(text), spinner(text))[1])
    name = "![](http://127.0.0.1:9/x.png)"
    file.write_text(f"store: memory\nalerts:\n  '{name}': {{type: console}}\n")
    opened("channels").button(key=f"Test {name}").click().run()
    assert len(said) == 1
    assert name not in said[0]
    assert "](" not in said[0]
