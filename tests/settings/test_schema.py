"""What the loader takes, the schema takes, read as an editor reads it; what it is made to refuse, both refuse."""

from __future__ import annotations

import io
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from settings_loading import loaded, problems
from test_docs import blocks
from test_settings_random import configs as wild_configs
from test_settings_rules_random import CHANNELS
from test_settings_rules_random import configs as rule_configs

from bt_alerts.dispatchers.base import arguments
from bt_alerts.dispatchers.pushover import SOUNDS
from bt_alerts.dispatchers.registry import BUILT_IN, dispatcher_class
from bt_alerts.errors import SettingsError
from bt_alerts.kinds import KINDS
from bt_alerts.settings import Delivery, Settings, load, template
from bt_alerts.settings.fields import as_list, choices, duration, is_union
from bt_alerts.settings.models import ChannelSettings, History, Watch, channel_model
from bt_alerts.settings.schema import schema

ROOT = Path(__file__).parents[2]
MADE = schema(BUILT_IN)
CALM = hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def read(text: str) -> Any:
    """A file as an editor reads it: YAML 1.2, and what JSON has no type for is text."""
    tree = YAML(typ="safe", pure=True).load(io.StringIO(text))
    return json.loads(json.dumps({} if tree is None else tree, default=str))


def refused(tree: Any, made: dict[str, Any] = MADE) -> list[str]:
    """Where the schema objects, and to what."""
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(made).iter_errors(tree)]


# The committed one -------------------------------------------------------------------------------------


def test_it_is_valid_itself():
    Draft202012Validator.check_schema(MADE)


def test_the_one_of_the_documentation_is_up_to_date():
    kept = json.loads((ROOT / "docs" / "schema.json").read_text(encoding="utf-8"))
    assert kept == MADE, "run: bt-alerts schema docs/schema.json"


def test_a_third_partys_channel_type_is_in_it():
    made = schema()
    Draft202012Validator.check_schema(made)
    assert refused({"alerts": {"pager": {"token": "t", "level": "LOUD", "depth": 2, "chats": [1, "a"]}}}, made) == []
    assert refused({"alerts": {"pager": {"volum": 3}}}, made) != []
    assert refused({"alerts": {"pager": {"depth": 3}}}, made) != []
    assert refused({"alerts": {"gone": {}}}, made) != []


# What is in the documentation -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_block_of_the_documentation_is_taken(text):
    assert refused(read(text)) == []


def test_the_template_is_taken():
    assert refused(read(template())) == []


# One by one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "mode: SEND",
        "mode: ${MODE:-auto}",
        "mode:",
        "alerts: {console: , pager1: {type: console}}",
        "alerts: {console: {type: webhook, urls: 'https://a.test', headers: {X: 1}, method: PUT}}",
        "alerts: {console: {type: ~, charts: true}}",
        "alerts: {telegram: {bot_token: '1234567:x', chat_ids: -100123, readers: '7, 8'}}",
        f"alerts: {{pushover: {{app_token: {'a' * 30}, user_key: '{'b' * 30}, {'c' * 30}', sound: mine}}}}",
        "alerts: {console: {enabled: '${ON:-false}', rate_limit: '30', timeout: 2.5, batch_timeout: 1m 30s}}",
        "events: {order.completed: on, order.rejected: Silent, data.live: off}",
        "delivery: {time_to_live: 2d, parallel: yes, max_retries: '5', retry_delay: 0.5, batch_timeout: 30s}",
        "delivery: {time_to_live: {all: 1d, market: 900}, worker: Thread}",
        "history: {keep: 90d}",
        "watch: {session: 09:30-16:00 America/New_York mon-fri, sessions: {A: always}, ping_every: 60}",
        "watch: {levels: [{watch: drawdown, above: 10%}, {watch: time_in_trade, above: 5d}, {watch: price, below: 9}]}",
        "rules: {cooldown: [{every: 600, key: 'symbol, kind', when: {type: order, priority: high}}]}",
        "rules: {cooldown: [{every: 10m, key: [symbol], when: {type: 'ORDER, trade', hours: 22:00-07:00}}]}",
        "rules: {maintenance: [{from: 2026-12-24, until: 2026-12-25T18:00}]}",
        "digests: [{at: 22:00}]",
        "alerts: {console: }\nroutes: [{to: [], continue: false, when: {kind: order.*}}, {to: console}]",
        "alerts: {console: }\nescalation: [{steps: [{after: 5m, to: console}], repeat: 1}]",
        "templates: {timezone: Europe/Berlin, channels: {all: {trade: '{{ title }}', order.completed: {title: x}}}}",
    ],
)  # fmt: skip
def test_what_the_loader_takes_the_schema_takes(alerts_yaml, text):
    loaded(alerts_yaml(text))
    assert refused(read(text)) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("mod: auto", "$"),
        ("mode: sned", "$.mode"),
        ("privacy: all", "$.privacy"),
        ("x-own: {a: 1}", "$"),
        ("alerts: {console: {colour: red}}", "$.alerts.console"),
        ("alerts: {pushover: {enabled: false, priorty: 1}}", "$.alerts.pushover"),
        ("alerts: {pushover: {enabled: false, priority: loud}}", "$.alerts.pushover.priority"),
        ("alerts: {pushover: {enabled: false, sound: [siren]}}", "$.alerts.pushover.sound"),
        ("alerts: {phone: {type: pushover, enabled: false, retry: often}}", "$.alerts.phone.retry"),
        ("alerts: {phone: {enabled: false}}", "$.alerts.phone"),
        ("alerts: {phone: }", "$.alerts.phone"),
        ("alerts: {phone: {type: fax}}", "$.alerts.phone.type"),
        ("alerts: {console: {type: slack, stream: stdout, enabled: false}}", "$.alerts.console"),
        ("alerts: {console: {name: x}}", "$.alerts.console"),
        ("alerts: {console: {enabled: maybe}}", "$.alerts.console.enabled"),
        ("alerts: {console: {rate_limit: -1}}", "$.alerts.console.rate_limit"),
        ("alerts: {console: {charts: blue}}", "$.alerts.console.charts"),
        ("alerts: [console]", "$.alerts"),
        ("events: {order.complete: on}", "$.events"),
        ("events: {order.completed: loud}", "$.events.order.completed"),
        ("delivery: {max_retries: 1001}", "$.delivery.max_retries"),
        ("delivery: {batch_timeout: 5 parsecs}", "$.delivery.batch_timeout"),
        ("delivery: {time_to_live: {markets: 1d}}", "$.delivery.time_to_live"),
        ("delivery: {worker: postman}", "$.delivery.worker"),
        ("history: {keep: for ever}", "$.history.keep"),
        ("watch: {levels: [{watch: weather, above: 1}]}", "$.watch.levels[0].watch"),
        ("watch: {levels: [{watch: drawdown, above: much}]}", "$.watch.levels[0].above"),
        ("routes: [{when: {type: order}}]", "$.routes[0]"),
        ("routes: {to: console}", "$.routes"),
        ("rules: {cooldown: [{every: 1m, when: {priority: urgent}}]}", "$.rules.cooldown[0].when.priority"),
        ("rules: {cooldown: [{every: 1m, when: {type: [orders]}}]}", "$.rules.cooldown[0].when.type"),
        ("rules: {cooldown: [{every: 1m, when: {type: 'order, orders'}}]}", "$.rules.cooldown[0].when.type"),
        ("rules: {cooldown: [{when: {type: order}}]}", "$.rules.cooldown[0]"),
        ("quiet_hours: [{hours: 22:00-07:00, through: everything}]", "$.quiet_hours[0].through"),
        ("digests: [{at: [], report: monthly}]", "$.digests[0].report"),
        ("templates: {channels: {all: {trades: x}}}", "$.templates.channels.all"),
        ("templates: {channels: {all: {trade: {body: x}}}}", "$.templates.channels.all.trade"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_by_both(alerts_yaml, text, place):
    assert problems(alerts_yaml(text))
    told = refused(read(text))
    assert any(each.replace("['", ".").replace("']", "").startswith(place) for each in told), told


# What an editor shows ----------------------------------------------------------------------------------------


def test_words_and_sounds_are_offered_with_what_they_are():
    sound = MADE["$defs"]["channel.pushover"]["properties"]["sound"]
    offered = {each["const"]: each["description"] for each in sound["anyOf"] if "const" in each}
    assert offered == dict(SOUNDS)
    assert MADE["properties"]["mode"]["anyOf"][0] == {"enum": ["auto", "send", "record"]}
    assert MADE["properties"]["events"]["properties"].keys() == KINDS.keys()
    assert MADE["$defs"]["channel"]["properties"]["type"]["anyOf"][0] == {"enum": sorted(BUILT_IN)}
    assert MADE["$defs"]["Quiet"]["properties"]["hours"]["examples"]


def properties_of(made: Any) -> Iterator[tuple[str, Any]]:
    for key, value in made.items() if isinstance(made, dict) else ():
        if key == "properties":
            yield from value.items()
        yield from properties_of(value)
    for each in made if isinstance(made, list) else ():
        yield from properties_of(each)


def test_every_key_says_what_it_is_for():
    silent = [key for key, form in properties_of(MADE) if not form.get("description") and "if" not in form]
    assert set(silent) <= {"type"}  # of a condition


@pytest.mark.parametrize("channel_type", sorted(BUILT_IN))
def test_a_credential_is_write_only_and_has_no_default(channel_type):
    shown = MADE["$defs"][f"channel.{channel_type}"]["properties"]
    credentials = {each.name for each in arguments(dispatcher_class(channel_type)) if each.credential}
    assert {key for key, form in shown.items() if form.get("writeOnly")} == credentials
    assert [key for key in credentials if "default" in shown[key] or "examples" in shown[key]] == []
    assert MADE["$defs"]["Watch"]["properties"]["ping_url"]["writeOnly"]


def test_defaults_are_those_of_the_models():
    shown = MADE["$defs"]["Delivery"]["properties"]
    defaults = {key: form["default"] for key, form in shown.items()}
    assert Delivery.model_validate(defaults) == Delivery()


# Whatever the models take -------------------------------------------------------------------------------------


def some_case(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word, word.upper(), word.title(), f"  {word} ", f"${{GIVEN:-{word}}}"])


def written(annotation: Any, notes: Any = ()) -> st.SearchStrategy[Any]:
    """What a person may write for a type, as numbers or as text."""
    notes = list(notes)
    while typing.get_origin(annotation) is typing.Annotated:
        notes += [part for note in annotation.__metadata__ for part in getattr(note, "metadata", [note])]
        annotation = annotation.__origin__
    functions = [getattr(note, "func", None) for note in notes]
    limits = {name: getattr(note, name) for note in notes for name in ("ge", "gt", "le") if hasattr(note, name)}
    low, high = limits.get("ge", limits.get("gt", -1e6) + 0.01), limits.get("le", 1e6)
    if is_union(annotation):
        return st.one_of([written(each, notes) for each in typing.get_args(annotation) if each is not type(None)])
    if words := choices(annotation):
        return st.sampled_from(words).flatmap(some_case)
    if typing.get_origin(annotation) is list:
        members = st.lists(written(typing.get_args(annotation)[0]), max_size=3)
        one_line = members.map(lambda each: ", ".join(map(str, each)))
        return st.one_of(members, one_line) if as_list in functions else members
    if typing.get_origin(annotation) is dict:
        return st.dictionaries(st.sampled_from(["A", "b c"]), written(typing.get_args(annotation)[1]), max_size=2)
    if annotation is bool:
        return st.sampled_from([True, False, "yes", "No", "ON", "off", 1, 0, "${GIVEN:-true}"])
    if annotation is int:
        return st.integers(int(low), int(high)).flatmap(lambda number: st.sampled_from([number, str(number)]))
    if annotation is float:
        numbers = st.floats(low, high).map(lambda number: round(number, 2))
        texts = st.sampled_from(["12h", "2h 5s", " 1 H 30min", "1.5 h"]) if duration in functions else st.nothing()
        return st.one_of(numbers, numbers.map(str), texts)
    return st.one_of(st.text("abc-./:@", min_size=1, max_size=9), st.integers(-99, 99), st.just("${GIVEN}"))


def filled(model: Any, without: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    fields = {key: model.model_fields[name] for key, name in model.known_keys().items() if key not in without}
    return st.fixed_dictionaries(
        {}, optional={key: st.none() | written(field.annotation, field.metadata) for key, field in fields.items()}
    )


CHANNEL = st.sampled_from(sorted(BUILT_IN)).flatmap(
    lambda word: filled(channel_model(word), without=("name", "type", "enabled", "fallback", "batch_size")).map(
        lambda block: {**block, "type": word, "enabled": False}
    )
)
WHOLE = st.fixed_dictionaries(
    {},
    optional={
        "mode": written(Settings.model_fields["mode"].annotation, Settings.model_fields["mode"].metadata),
        "privacy": written(Settings.model_fields["privacy"].annotation, Settings.model_fields["privacy"].metadata),
        "alerts": st.dictionaries(st.sampled_from(["one", "two", "3"]), CHANNEL, max_size=3),
        "events": st.dictionaries(
            st.sampled_from(list(KINDS)), st.sampled_from(["on", "silent", "record", "off"]).flatmap(some_case)
        ),
        "delivery": filled(Delivery, without=("time_to_live", "worker")),
        "history": filled(History),
        "watch": filled(Watch, without=("session", "sessions", "ping_url", "levels", "silence")),
    },
)


@CALM
@given(WHOLE)
def test_whatever_the_models_take_both_take(tmp_path, tree):
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    path.chmod(0o600)
    told: list[str] = []
    try:
        load(path, environ={"GIVEN": ""})
    except SettingsError as exc:
        told = exc.problems
    assert told == []
    assert refused(read(path.read_text(encoding="utf-8"))) == []


@CALM
@given(rule_configs)
def test_whatever_rules_the_models_take_the_schema_takes(config):
    assert refused(read(yaml.safe_dump({**yaml.safe_load(CHANNELS), **config}))) == []


@CALM
@given(wild_configs)
def test_of_anything_at_all_what_the_loader_takes_the_schema_takes(tmp_path, config):
    path = tmp_path / "wild.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8", errors="replace")
    try:
        load(path, environ={})
    except SettingsError:
        return
    assert refused(read(path.read_text(encoding="utf-8")), schema()) == []


def test_a_channel_model_has_no_key_that_the_schema_lacks():
    for channel_type in BUILT_IN:
        keys = channel_model(channel_type).known_keys().keys() - {"name"}
        assert MADE["$defs"][f"channel.{channel_type}"]["properties"].keys() == keys
    assert ChannelSettings.known_keys().keys() - {"name"} <= keys
