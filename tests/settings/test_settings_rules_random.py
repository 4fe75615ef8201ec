"""Whatever rules the models take: checking them ends, and what is left of them loads and can be used."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bt_alerts.alert import AlertType, Priority
from bt_alerts.errors import SettingsError
from bt_alerts.kinds import KINDS
from bt_alerts.rules.pipeline import build
from bt_alerts.settings import inspect

CHANNELS = """
alerts:
  phone: {type: console}
  desk: {type: console}
  mail: {type: webhook, urls: "https://a.test"}
  spare: {type: console, enabled: false}
  ntfy: {topics: abc, enabled: false}
"""
ZONES = ["", " Europe/Berlin", " America/New_York", " Asia/Kathmandu", " Australia/Lord_Howe", " Africa/Casablanca"]
DAYS = ["", " mon", " sat-mon", " mon wed fri"]
times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
hours = st.one_of(
    st.just("always"),
    st.tuples(times, times, st.sampled_from(ZONES), st.sampled_from(DAYS))
    .filter(lambda parts: parts[0] != parts[1])
    .map(lambda parts: f"{parts[0]}-{parts[1]}{parts[2]}{parts[3]}"),
)
moments = st.builds("{}{}{}".format, times, st.sampled_from(ZONES), st.sampled_from(DAYS))
priorities = st.sampled_from([word.value for word in Priority])
fields = st.sampled_from(["pnl", "mine", "context.depth", "size"])
comparisons = st.builds(
    "{} {} {}".format, fields, st.sampled_from(["<", ">=", "==", "!="]), st.integers(-9, 9)
)  # fmt: skip


def some(word: st.SearchStrategy[str], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(word, min_size=least, max_size=3)


def block(needed: Mapping[str, Any], **maybe: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict(needed), optional=maybe)


whens = block(
    {},
    type=some(st.sampled_from(list(map(str, AlertType)))),
    kind=some(st.sampled_from([*KINDS, "mine", "trade.*", "*"])),
    priority=priorities, symbol=some(st.sampled_from(["BTC*", "A"])), strategy=some(st.just("x*")),
    source=some(st.sampled_from(["live", "direct", "history"])), data=some(comparisons), hours=some(hours),
)  # fmt: skip
every = {"when": whens}
through = {**every, "through": st.one_of(priorities, st.just("none"))}
words = st.sampled_from(["phone", "desk", "console", "webhook", "all", "spare", "ntfy"])
keys = {"key": some(st.sampled_from(["kind", "symbol", "data.mine", "run"]), 1)}
spans = st.sampled_from(["0001-01-01", "2026-11-20T23:59", "2026-12-24T18:00+01:00", "2027-03-28", "9999-12-31"])
seconds = st.sampled_from(["30s", "15m", "3 h", "90d", "1.5"])
numbers = st.floats(-1e6, 1e6)
configs = block(
    {},
    mode=st.sampled_from(["auto", "send", "record"]),
    routes=some(block({"to": some(words)}, **every, **{"continue": st.booleans()})),
    rules=block(
        {},
        maintenance=some(block({}, **through, hours=some(hours), until=spans, **{"from": spans})),
        inhibit=some(block({"cause": whens, "ends": whens}, **through, longest=seconds, equal=keys["key"])),
        at_least=some(block({"field": fields, "least": st.floats(0.001, 1e6)}, **through)),
        levels=some(block({"field": fields}, **through, **keys, above=numbers, below=numbers, back=numbers)),
        once_per_bar=some(block({}, **through, **keys)),
        repeats=some(block({"within": seconds}, **through, **keys)),
        cooldown=some(block({"every": seconds}, **through, **keys, most=st.integers(1, 9))),
    ),
    quiet_hours=some(block({"hours": some(hours, 1)}, **through, channels=some(words),
                           then=st.sampled_from(["digest", "each", "record"]))),
    digests=some(block({"at": some(moments, 1)}, **through, channels=some(words),
                       report=st.sampled_from(["daily", "weekly"]))),
    escalation=some(block({"steps": st.lists(block({"after": seconds, "to": some(words, 1)}), min_size=1, max_size=3)},
                          **every, repeat=st.integers(0, 3))),
)  # fmt: skip


@hypothesis_settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(config=configs, now=st.floats(0, 4e9))
def test_whatever_models_take_is_checked_and_built(tmp_path, config, now):
    """Only sentences of the checks refuse it; without what these name it loads, and every rule has words."""
    path = tmp_path / "rules.yaml"
    tree = {**yaml.safe_load(CHANNELS), **config}
    for _ in range(9):
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        path.chmod(0o600)
        refused: list[str] = []
        try:
            settings = inspect(path, environ={}, now=now)
        except SettingsError as exc:
            refused = exc.problems
        if not refused:
            break
        assert all(problem.startswith(f"{path}:") for problem in refused)
        assert not [problem for problem in refused if "write one of" in problem]
        _without_what(tree, refused)
    made = settings.rule_settings()
    assert build(made)
    lists = (
        made.routes, made.maintenance, made.inhibit, made.noise, made.quiet, made.digests, made.escalation
    )  # fmt: skip
    for rule in itertools.chain(*lists):
        assert rule.words
        assert rule.about
    assert all(report.words for report in made.reports)


def _without_what(tree: Any, problems: list[str]) -> None:
    """Take away the rules that problems are about."""
    paths = [problem.split(": ")[1].partition("]")[0].split("[") for problem in problems]
    for blocks, number in sorted({(path, int(place)) for path, place in paths}, reverse=True):
        rules = tree
        for key in blocks.split("."):
            rules = rules[key]
        del rules[number]
