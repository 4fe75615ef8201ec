"""What a simulation says is what would have happened: held against the real planner and couriers, over real sockets.

Each scenario is lived through twice: by a process with a SQLite file, a journal and HTTP to servers of this machine,
whose clock is moved from one event to the next; and by the simulator. Every alert's fate must be the same: which rule
suppressed it, where it went, when it arrived, in which digest, after how many attempts.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alerts_kit import Clock
from fidelity_kit import TELEGRAM_GROUP, fates, live, services, simulated_fates
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bt_alerts.alert import Alert, Source, derived_id
from bt_alerts.settings import load
from bt_alerts.simulate import Outage, simulate

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def unix(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


#: An ordinary week, both changes of the clocks in Berlin, and a leap day.
BEGINNINGS = {
    "an ordinary week": unix("2026-06-09T12:00+00:00"),
    "clocks go forward": unix("2026-03-28T12:00+00:00"),
    "clocks go back": unix("2026-10-24T12:00+00:00"),
    "a leap day": unix("2028-02-28T12:00+00:00"),
}

# Alerts ------------------------------------------------------------------------------------------------

KINDS = [
    ("order.completed", "order", "medium"),
    ("order.partial", "order", "low"),
    ("order.submitted", "order", "info"),
    ("order.rejected", "order", "high"),
    ("trade.closed", "trade", "medium"),
    ("data.disconnected", "data", "high"),
    ("data.silent", "data", "high"),
    ("data.live", "data", "low"),
    ("error", "error", "critical"),
    ("custom", "custom", "low"),
    ("risk.drawdown", "risk", "high"),
]


@st.composite
def alerts(draw: st.DrawFn, begin: float) -> list[Alert]:
    """A few days of a strategy's life: bursts, repeats, big and small trades, a feed that comes and goes."""
    gaps = st.one_of(st.just(0.0), st.floats(0.5, 90), st.floats(60, 4 * HOUR), st.floats(HOUR, 14 * HOUR))
    at, found = begin, []
    for n in range(draw(st.integers(4, 22))):
        at += round(draw(gaps), 2)
        kind, type_, priority = draw(st.sampled_from(KINDS))
        symbol = draw(st.sampled_from(["AAPL", "MSFT", "BTC-USD"]))
        text = draw(st.sampled_from(["one", "two"]))
        data: dict[str, Any] = {"pnl": draw(st.sampled_from([-900.0, -20.0, 4.0, 75.0, 1_200.0]))}
        if kind.startswith("order."):
            data["order"] = draw(st.integers(1, 3))
        if kind == "risk.drawdown":
            data["drawdown"] = draw(st.floats(1, 20))
        found.append(
            Alert.make(
                f"{kind} of {symbol}: {text}",
                title=f"{symbol} {text}",
                type=type_,
                kind=kind,
                priority=draw(st.sampled_from([priority, priority, "critical", "low"])),
                time=at,
                bar_time=draw(st.sampled_from([None, at - at % DAY])),
                symbol=symbol,
                strategy=draw(st.sampled_from(["Trend", "Pairs"])),
                run="run",
                source=Source.LIVE,
                data=data,
                thread=f"feed:{symbol}" if kind.startswith("data.") else "",
                action=draw(st.sampled_from(["", "", f"fill-{n % 4}"])),
                dedupe_key=draw(st.sampled_from([None, None, None, f"key-{n % 3}"])),
                channels=draw(st.sampled_from([(), (), (), ("phone",)])),
                id=derived_id(at, str(n)),
            )
        )
    return found


# Settings ----------------------------------------------------------------------------------------------

ROUTES = [
    [{"when": {"type": "trade", "data": "pnl < -500"}, "to": "all"}, {"when": {"type": "order"}, "to": "phone"}],
    [{"when": {"priority": "high"}, "to": "phone", "continue": True}, {"to": "chat"}],
    [{"when": {"symbol": "BTC*"}, "to": []}, {"when": {"hours": "08:00-20:00 Europe/Berlin mon-fri"}, "to": "hook"}],
]
RULES: dict[str, list[list[dict[str, Any]]]] = {
    "cooldown": [[{"every": "1h"}], [{"when": {"type": "order"}, "every": "2h", "most": 2, "key": "symbol"}]],
    "repeats": [[{"within": "6h"}], [{"within": "1d", "key": "title", "through": "none"}]],
    "once_per_bar": [[{"key": "symbol"}]],
    "at_least": [[{"field": "pnl", "least": 50}]],
    "levels": [[{"when": {"kind": "risk.drawdown"}, "field": "drawdown", "above": 10, "back": 8, "key": "symbol"}]],
    "maintenance": [[{"hours": "03:00-05:00 America/New_York"}]],
    "inhibit": [[{"when": {"kind": "custom"}, "cause": {"kind": "error"}, "ends": {"kind": "trade.closed"}}]],
}
QUIET = [
    [{"channels": "phone", "hours": "22:00-07:00 Europe/Berlin", "through": "high"}],
    [
        {"hours": "00:30-03:30 Europe/Berlin", "then": "each"},
        {"channels": "chat", "hours": "02:00-06:00 Europe/Berlin"},
    ],
    [{"channels": ["hook", "phone"], "hours": "20:00-06:30 UTC", "then": "record", "when": {"type": "order"}}],
]
DIGESTS = [
    [{"at": "18:00 Europe/Berlin", "through": "medium"}],
    [
        {
            "at": ["02:30 Europe/Berlin", "14:00 UTC mon-fri"],
            "channels": "chat",
            "through": "none",
            "when": {"type": "trade"},
        }
    ],
]
ESCALATION = [
    [{"when": {"priority": "high"}, "steps": [{"after": "10m", "to": "hook"}, {"after": "1h", "to": "phone"}]}],
    [{"when": {"type": "data"}, "steps": [{"after": "2m", "to": "chat"}], "repeat": 2}],
]


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    def some(choices: Sequence[Any]) -> Any:
        return draw(st.sampled_from([None, *choices]))

    begin = BEGINNINGS[draw(st.sampled_from(sorted(BEGINNINGS)))]
    names = draw(st.sampled_from([("phone",), ("phone", "chat"), ("hook", "phone", "chat")]))
    config: dict[str, Any] = {
        "routes": some(ROUTES),
        "rules": {name: draw(st.sampled_from(choices)) for name, choices in RULES.items() if draw(st.booleans())},
        "quiet_hours": some(QUIET),
        "digests": some(DIGESTS),
        "escalation": some(ESCALATION),
        "events": draw(st.sampled_from([{}, {"order.submitted": "silent", "custom": "record"}])),
        "delivery": {
            "max_retries": draw(st.integers(0, 2)),
            "retry_delay": draw(st.sampled_from([1, 20])),
            "fail_fast": draw(st.booleans()),
            "enable_batching": draw(st.booleans()),
            "batch_timeout": 30,
            "time_to_live": draw(st.sampled_from(["1d", "2h", {"all": "12h", "order": "10m"}])),
        },
    }
    outages = []
    for name in names:
        for _ in range(draw(st.integers(0, 2))):
            since = begin + draw(st.integers(0, 48)) * HOUR
            long = draw(st.sampled_from([5 * MINUTE, 2 * HOUR, DAY]))
            status = draw(st.sampled_from([0, 500, 503, 429, 400, 401]))
            wait = 90.0 if status == 429 else 0.0
            outages.append(Outage(name, since, since + long, status, wait))
    told = draw(alerts(begin))
    return {
        "begin": begin,
        "names": names,
        "config": {key: value for key, value in config.items() if value},
        "rate": draw(st.sampled_from([0, 2])),
        "fallback": draw(st.booleans()),
        "outages": outages,
        "alerts": told,
        "seen": {alert.id: draw(st.sampled_from([None, None, 30.0, 15 * MINUTE])) for alert in told},
        "restarts": [begin + draw(st.integers(0, 60)) * HOUR + 7.5 for _ in range(draw(st.integers(0, 2)))],
    }


def settings_of(scenario: dict[str, Any], urls: dict[str, str]) -> Any:
    """The settings of a scenario, with channels at these services."""
    names, rate = scenario["names"], scenario["rate"]
    own = {
        "phone": {"type": "pushover", "app_token": "a" * 30, "user_key": "u" * 30},
        "chat": {"type": "telegram", "bot_token": "123456:" + "A" * 35, "chat_ids": "-100200"},
        "hook": {"type": "webhook", "urls": urls.get("hook", "")},
    }
    blocks = {}
    for name in names:
        block = {**own[name], "rate_limit": rate}
        if name != "hook":
            block["api_url"] = urls[name]
        blocks[name] = block
    if scenario["fallback"] and len(names) > 1:
        blocks[names[0]]["fallback"] = names[1]
    config = _only_of(names, scenario["config"])
    return load({**config, "store": "memory", "mode": "send", "alerts": blocks})


def _only_of(names: Sequence[str], value: Any) -> Any:
    """Rules that name channels which are not there name those that are."""
    if isinstance(value, dict):
        return {key: _only_of(names, each) if key not in {"to", "channels"} else _named(names, each)
                for key, each in value.items()}  # fmt: skip
    if not isinstance(value, list):
        return value
    found = [_only_of(names, each) for each in value]
    steps = [each for each in found if isinstance(each, dict) and "after" in each]
    return found[:1] if len({str(step["to"]) for step in steps}) < len(steps) else found  # a circle is refused


def _named(names: Sequence[str], given: Any) -> Any:
    wanted = given if isinstance(given, list) else [given]
    return [name for name in wanted if name in names or name == "all"] or ([] if given == [] else [names[0]])


# The test ----------------------------------------------------------------------------------------------


def compare(scenario: dict[str, Any], restarts: Sequence[float] = ()) -> tuple[dict[str, Any], dict[str, Any], Any]:
    clock = Clock(scenario["begin"] - HOUR)
    seen = scenario["seen"]
    limits = {"chat": TELEGRAM_GROUP}
    with tempfile.TemporaryDirectory() as folder, services(scenario["names"], clock, scenario["outages"], limits) as at:
        tried = settings_of(scenario, {name: service.url for name, service in at.items()})
        simulation = simulate(
            scenario["alerts"],
            tried,
            outages=scenario["outages"],
            latency=dict.fromkeys(scenario["names"], 0.0),
            acknowledges=lambda alert: seen.get(alert.id),
        )
        life = live(
            Path(folder),
            tried,
            clock,
            at,
            scenario["alerts"],
            acknowledges=lambda alert: seen.get(alert.id),
            restarts=restarts,
        )
        try:
            real = fates(life)
            sent = {name: service.messages for name, service in at.items()}
        finally:
            life.close()
    return real, simulated_fates(simulation), (sent, simulation)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_every_alert_has_the_fate_that_the_simulation_said(scenario: dict[str, Any]) -> None:
    real, simulated, (sent, simulation) = compare(scenario, scenario["restarts"])
    for state, reason, _, deliveries in real.values():
        event(f"alert {state} {reason}")
        for _, ended, _, why, *_ in deliveries:
            event(f"delivery {ended} {why}")
    assert simulated == real
    for name, messages in sent.items():
        shown = [(round(message.time, 2), message.title) for message in simulation.messages if message.channel == name]
        assert [time for time, _ in shown] == [round(time, 2) for time, _ in messages]
        for (_, title), (_, text) in zip(shown, messages, strict=True):
            assert title.strip() in text or text.strip() in title or _plain(title) == _plain(text)


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isalnum())
