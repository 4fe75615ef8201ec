"""Rules, alerts and times of every sort, for what must hold whatever somebody writes into the settings."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

from hypothesis import strategies as st
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert, AlertType, Priority, Source, as_utc
from bt_alerts.hours import DAY, Hours, Moment
from bt_alerts.kinds import Setting
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.batching import BatchSettings
from bt_alerts.rules.escalation import Escalation, Step
from bt_alerts.rules.inhibit import Inhibit
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.material import AtLeast, Level
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.rules.quiet import DIGEST, EACH, RECORD, Digest, Quiet
from bt_alerts.rules.reports import Report
from bt_alerts.rules.route import Route
from bt_alerts.rules.stage import Reason
from bt_alerts.rules.throttle import OncePerBar, Throttle
from bt_alerts.rules.when import ANY, Comparison, When

CHANNELS = ("phone", "chat", "desk")
KINDS = (
    "order.completed",
    "trade.closed",
    "signal",
    "error",
    "custom",
    "data.disconnected",
    "data.live",
    "data.silent",
)
SYMBOLS = ("AAPL", "BTC-USD", "")
ODD_VALUES = (
    None, math.nan, math.inf, -math.inf, 10**400, -(2**63), True, "", "12.5", "inf", "\ud800", {"a": {"b": None}},
    [1, [2, [math.nan]]], "x" * 9000, 0.0, -0.0, 5, 1e308,
)  # fmt: skip


class Uncopied(RuleState):
    """A memory that keeps the very things that it is given, as no store does."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[Any, float | None]] = {}

    def get(self, rule: str, key: str) -> Any:
        return self.kept.get((rule, key), (None, None))[0]

    def put(self, rule: str, key: str, value: Any, until: float | None = None) -> None:
        self.kept[rule, key] = value, until

    def drop(self, rule: str, key: str) -> None:
        self.kept.pop((rule, key), None)

    def items(self, rule: str) -> list[tuple[str, Any]]:
        return [(key, value) for (owner, key), (value, _) in self.kept.items() if owner == rule]

    def forget(self, now: float) -> None:
        self.kept = {k: v for k, v in self.kept.items() if v[1] is None or v[1] > now}


def restarted(state: Remembered) -> Remembered:
    """What a process knows that is started again: what was written down, and nothing else."""
    written = json.dumps([[rule, key, value, until] for (rule, key), (value, until) in state.kept.items()])
    again = Remembered()
    again.kept = {(rule, key): (value, until) for rule, key, value, until in json.loads(written)}
    return again


# ------------------------------------------------------------------------------------------ what is drawn

channels_of = st.lists(st.sampled_from(CHANNELS), unique=True, max_size=3)
numbers = st.one_of(st.floats(-20, 20), st.integers(-20, 20))
data_of = st.fixed_dictionaries(
    {},
    optional={
        "pnl": st.one_of(numbers, st.sampled_from(ODD_VALUES)),
        "order": st.one_of(st.integers(0, 3), st.sampled_from(ODD_VALUES)),
        "resolves": st.sampled_from([True, False, None, "yes"]),
        "deep": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(ODD_VALUES)),
    },
)
hours_of = st.builds(
    lambda begin, length, zone, days: Hours(begin * 1800, (begin + length) * 1800, zone, days),
    st.integers(0, 47),
    st.integers(1, 48),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.one_of(st.just(frozenset(range(7))), st.frozensets(st.integers(0, 6), min_size=1)),
)
moments = st.builds(Moment, st.integers(0, 48).map(lambda half: half * 1800), st.sampled_from(["UTC", "Asia/Kolkata"]))
keys = st.lists(
    st.sampled_from(["kind", "symbol", "strategy", "title", "data.order", "data.deep.a"]), min_size=1, max_size=3
).map(tuple)
kinds = st.lists(st.sampled_from([*KINDS, "data.*", "*"]), max_size=2).map(tuple)
whens = st.one_of(
    st.just(ANY),
    st.builds(
        When,
        types=st.frozensets(st.sampled_from([AlertType.ORDER, AlertType.CUSTOM]), max_size=2),
        kinds=kinds,
        priority=st.sampled_from([None, None, Priority.LOW, Priority.HIGH]),
        symbols=st.lists(st.sampled_from(["AAPL", "BTC*", "?*"]), max_size=2).map(tuple),
        data=st.lists(
            st.builds(
                Comparison, st.sampled_from(["pnl", "deep.a"]), st.sampled_from(["<", ">=", "!="]), numbers.map(float)
            ),
            max_size=1,
        ).map(tuple),
        hours=st.lists(hours_of, max_size=1).map(tuple),
    ),
)


def rule(kind: type[Any], name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, name=st.sampled_from([f"{name} 1", f"{name} 2"]), when=whens, **fields)


some_channels = channels_of.map(frozenset)
levels = st.tuples(numbers.map(float), st.floats(0, 5), st.booleans()).flatmap(
    lambda given: rule(
        Level,
        "levels",
        field=st.just("pnl"),
        level=st.just(given[0]),
        back=st.just(given[0] - given[1] if given[2] else given[0] + given[1]),
        rising=st.just(given[2]),
        key=keys,
    )
)
noise = st.one_of(
    rule(AtLeast, "at_least", field=st.sampled_from(["pnl", "deep.a"]), least=st.floats(0.1, 20)),
    levels,
    rule(OncePerBar, "once_per_bar", key=keys),
    rule(
        Throttle, "cooldown", seconds=st.floats(1, 7200), most=st.integers(1, 3), key=keys,
        reason=st.sampled_from([Reason.COOLDOWN, Reason.REPEATED]),
    ),
)  # fmt: skip
routes = rule(
    Route, "route", to=st.lists(st.sampled_from([*CHANNELS, "all", "unknown"]), min_size=1, max_size=2).map(tuple),
    goes_on=st.booleans(), through=st.none(),
)  # fmt: skip
escalations = rule(
    Escalation, "escalation", through=st.none(), repeat=st.integers(0, 2),
    steps=st.lists(
        st.builds(
            Step, st.floats(1, 4000), st.lists(st.sampled_from([*CHANNELS, "gone"]), min_size=1, max_size=2).map(tuple)
        ),
        min_size=1, max_size=3,
    ).map(tuple),
)  # fmt: skip


def few(what: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(what, max_size=2).map(tuple)


#: Any valid rules, each of which lets through what it lets through by default.
rule_settings = st.builds(
    RuleSettings,
    events=st.dictionaries(st.sampled_from(KINDS), st.sampled_from([Setting.ON, Setting.SILENT])),
    channels=st.just(CHANNELS),
    types=st.just(dict.fromkeys(CHANNELS, "console")),
    batches=st.dictionaries(st.sampled_from(CHANNELS), st.builds(BatchSettings, st.booleans(), st.integers(2, 4))),
    routes=few(routes),
    maintenance=few(rule(Maintenance, "maintenance", hours=st.lists(hours_of, max_size=1).map(tuple))),
    inhibit=few(rule(Inhibit, "inhibit", cause=whens, ends=whens, equal=keys, longest=st.floats(1, 9000))),
    noise=few(noise),
    quiet=few(
        rule(
            Quiet, "quiet_hours", channels=some_channels, hours=st.lists(hours_of, min_size=1, max_size=2).map(tuple),
            then=st.sampled_from([DIGEST, EACH, RECORD]),
        )
    ),
    digests=few(
        rule(
            Digest, "digests", channels=some_channels, at=st.lists(moments, min_size=1, max_size=2).map(tuple),
            through=st.just(Priority.HIGH),
        )
    ),
    reports=few(st.builds(Report, st.sampled_from(["a", "b"]), st.just("daily"), moments, st.just(()))),
    escalation=few(escalations),
)  # fmt: skip


@st.composite
def alerts(draw: st.DrawFn, priority: Priority | None = None) -> Alert:
    """An alert of any sort, with an id of its own; of one priority, or of any."""
    number = draw(st.integers(0, 2**64))
    return Alert.make(
        draw(st.sampled_from(["one", "two 2", "\ud800"])),
        id=f"alert-{number}",
        title=draw(st.sampled_from(["a title", "another 7"])),
        kind=draw(st.sampled_from(KINDS)),
        type=draw(st.sampled_from(list(AlertType))),
        priority=priority or draw(st.sampled_from(list(Priority))),
        time=as_utc(NOW),
        bar_time=draw(st.sampled_from([None, NOW, NOW + 60])),
        symbol=draw(st.sampled_from(SYMBOLS)),
        strategy=draw(st.sampled_from(["", "Trend"])),
        run="run",
        source=Source.LIVE,
        action=draw(st.sampled_from(["", "", "fill 1"])),
        thread=draw(st.sampled_from(["", "feed"])),
        data=draw(data_of),
    )


#: Seconds between two events. Clocks go back too, by a little and by much.
gaps = st.one_of(st.floats(0, 4000), st.sampled_from([0.0, 3600.0, DAY, 8 * DAY, -1.0, -3600.0, -40 * DAY, 400 * DAY]))
BEGIN = dt.datetime(2027, 3, 27, 12, tzinfo=dt.UTC).timestamp()  # the day before clocks change
