"""Simulate, Performance and Live: what they read of a real store, and what each says."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, webhook
from streamlit.testing.v1 import AppTest

from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Source
from bt_alerts.dashboard import measuring, streaming, trying
from bt_alerts.dashboard.timelines import timelines
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.settings import load
from bt_alerts.settings.file import SettingsFile
from bt_alerts.simulate import simulate

TOKEN, USER = "a" + "zGDORePK8gMaC0QOYAMyEEuzJnyUi", "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
SETTINGS = f"""store: alerts.db
alerts:
  phone: {{type: pushover, app_token: {TOKEN}, user_key: {USER}}}   # mine
rules:
  cooldown:
    - name: ${{COOLDOWN_NAME:-once}}
      every: 1h   # not more often
      when: {{kind: direct.market}}
delivery:
  max_retries: 7
"""
NOW = 1_800_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    path.chmod(0o600)
    return path


def happened(n: int, *, kind: str = "signal", run: str = "a-run", every: float = 60.0, **more: Any) -> list[Alert]:
    return [
        Alert.make("A *text*", kind=kind, time=NOW + every * i, title=f"<b>{kind}</b> {i}", run=run, **more)
        for i in range(n)
    ]


# ---------------------------------------------------------------------------------------------------- simulate


def test_the_text_has_the_rules_alone_and_no_comment(file: Path) -> None:
    text = trying.text_of(trying.in_file(file))
    assert "cooldown" in text
    assert "every: 1h" in text
    assert not any(word in text for word in (TOKEN, USER, "phone", "max_retries", "# not", "mine"))


def test_what_is_as_it_was_means_the_settings_as_they_are(file: Path) -> None:
    tried = trying.check(file, trying.text_of(trying.in_file(file)))
    assert (tried.errors, tried.settings and tried.settings.hash) == ([], load(file).hash)


def test_a_changed_rule_is_in_the_settings_that_are_tried(file: Path) -> None:
    tried = trying.check(file, "rules:\n  cooldown:\n    - every: 2h\n      when: {kind: signal}\n")
    assert tried.settings is not None
    (rule,) = tried.settings.rules.cooldown
    assert rule.every == 7200.0
    assert tried.settings.delivery.max_retries == 7
    assert file.read_text(encoding="utf-8") == SETTINGS


HOURS = """alerts: {console: {}}
quiet_hours:
  - hours: 12:00-13:00   # noon
  - name: night of ${A} desk   # mine
    hours: 22:00-07:00
  - name: night of ${B} desk
    hours: 23:00-06:00
"""


@pytest.fixture
def desks(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("A", "a")
    monkeypatch.setenv("B", "b")
    file.write_text(HOURS, encoding="utf-8")
    return file


def taken(file: Path, text: str) -> str:
    """What the file is when the text was taken into it."""
    tried = trying.check(file, text)
    assert not tried.errors
    candidate = SettingsFile(file)
    trying.put_blocks(candidate.set, trying.blocks(trying.in_file(file)), tried.tree)
    return candidate.text


def test_what_is_masked_goes_back_to_its_own_rule(desks: Path) -> None:
    text = trying.text_of(trying.in_file(desks))
    assert trying.MASK in text
    assert taken(desks, text.replace("  - hours: 12:00-13:00\n", "")) == HOURS.replace(
        "  - hours: 12:00-13:00   # noon\n", ""
    )
    new = taken(desks, text.replace("22:00", "21:00"))
    assert new == HOURS.replace("22:00", "21:00")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("22:00", "21:00").replace("23:00", "20:00"),
        lambda text: text.replace("- hours: 12:00-13:00", f"- hours: 12:00-13:00\n    name: {trying.MASK}"),
        lambda text: f"digests:\n  - name: {trying.MASK}\n    at: 18:00\n{text}",
    ],
)
def test_no_mask_is_taken_for_a_value(desks: Path, change: Callable[[str], str]) -> None:
    (error, *_) = trying.check(desks, change(trying.text_of(trying.in_file(desks)))).errors
    assert "write the value itself" in error


def test_a_reference_may_move_and_not_be_made(desks: Path) -> None:
    desks.write_text(HOURS.replace("night of ${A} desk", "${A:-x}"), encoding="utf-8")
    text = trying.text_of(trying.in_file(desks))
    assert "${A:-x}" in taken(desks, text.replace("  - hours: 12:00-13:00\n", ""))
    (error,) = trying.check(desks, text.replace("${A:-…}", "${B}")).errors
    assert "only where the file has it" in error


def test_an_empty_text_takes_all_rules_away(file: Path) -> None:
    tried = trying.check(file, "\n")
    assert tried.settings is not None
    assert not tried.settings.rules.cooldown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n  cooldown:\n    - every: soon\n", "Line 3: rules.cooldown[0].every"),
        ("rules:\n  cooldwn: []\n", "Line 2: rules.cooldwn"),
        ("rules: [\n", "broken YAML"),
        ("- 1\n", "Write blocks such as"),
        ("events: {}\nalerts:\n  x: {type: console}\n", "Line 2: `alerts` cannot be tried here"),
        ("delivery:\n  batch_size: 3\n  max_retries: 1\n", "Line 3: of `delivery`, only"),
        ("env_file: /etc/x\n", "Line 1: `env_file` cannot be tried here"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    tried = trying.check(file, text)
    assert tried.settings is None
    assert any(said in error for error in tried.errors), tried.errors


def test_a_variable_of_the_environment_cannot_be_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "kept to oneself")
    for name in ("${SOMEBODYS_PASSWORD}", "x ${SOMEBODYS_PASSWORD}"):
        tried = trying.check(file, f"rules:\n  cooldown:\n    - name: {name}\n      every: 1h\n")
        assert tried.settings is None
        assert [error[:7] for error in tried.errors] == ["Line 3:"]


def test_a_proposal_is_added_to_what_is_there() -> None:
    text = "rules:\n  cooldown:\n    - every: 1h # mine\n"
    rule = "rules:\n  cooldown:\n    - {when: {kind: signal}, every: 5m}\n"
    more = trying.added(text, rule)
    assert "- every: 1h # mine\n" in more
    assert trying.added(more, rule) == more  # not twice
    assert trying.check(None, trying.added(more, "events: {signal: record}\n")).errors == []
    assert trying.check(None, trying.added("", "delivery: {enable_batching: true, batch_timeout: 5m}\n")).errors == []


def test_what_was_tried_is_taken_over_and_comments_stay(file: Path) -> None:
    text = trying.text_of(trying.in_file(file))
    tried = trying.check(file, trying.added(text, "events: {signal: record}\n"))
    draft = SettingsFile(file)
    trying.put_blocks(draft.set, trying.blocks(trying.in_file(file)), tried.tree)
    assert "every: 1h   # not more often" in draft.text
    assert "${COOLDOWN_NAME:-once}" in draft.text
    assert draft.get("events") == {"signal": "record"}
    assert draft.check().settings is not None


def test_timelines_share_a_scale_and_count_every_message(file: Path) -> None:
    alerts = happened(30, every=600.0)
    base = simulate(alerts, load(file))
    fewer = trying.check(file, "rules:\n  cooldown:\n    - every: 2h\n")
    assert fewer.settings is not None
    tried = simulate(alerts, fewer.settings)
    made = timelines([base, tried])
    assert made.unit == "hour"
    assert [sum(bar.messages for bar in bars) for bars in made.bars] == [len(base), len(tried)]
    assert len(tried) < len(base)
    assert made.most == max(bar.top for bars in made.bars for bar in bars)
    assert timelines([simulate(happened(30, every=86_400.0), load(file))]).unit == "day"


# ------------------------------------------------------------------------------------------------- performance


def deliver(manager: AlertManager, clock: Any, *, title: str = "An alert") -> None:
    manager.send_custom_alert("text", title)
    assert manager.flush(30)
    clock.advance(60)


def test_performance_counts_what_arrived_and_what_did_not(
    manage: Callable[..., AlertManager], service: Any, clock: Any
) -> None:
    with manage(hook=service.url, delivery={"max_retries": 0}) as manager:
        began = clock()
        deliver(manager, clock)
        service.answer(status=400)
        deliver(manager, clock, title="Lost")
        found = measuring.measure(manager.outbox, began - 60, clock() + 60)
        figures = found.figures()
        assert (figures.deliveries, figures.states["delivered"], figures.states["dead"]) == (2, 1, 1)
        assert figures.success == 50.0
        assert found.channels == ["hook"]
        assert len(found.latencies) == len(found.answers) == len(found.slowest) == 1
        assert sum(sum(point.states.values()) for point in found.points()) == 2
        assert len(found.lags) == 2
        assert found.whole
        assert measuring.titles(manager.outbox, [each.alert for each in found.slowest]) == {1: "An alert"}
        later = measuring.measure(manager.outbox, clock() + 3600, clock() + 7200)
        assert (later.figures().deliveries, later.answers, later.lags) == (0, [], [])


def test_a_long_time_is_bounded_and_says_so(manage: Callable[..., AlertManager], service: Any, clock: Any) -> None:
    with manage(hook=service.url) as manager:
        began = clock()
        for _ in range(4):
            deliver(manager, clock)
        found = measuring.measure(manager.outbox, began - 60, clock() + 60, most=3)
        assert (found.figures().deliveries, found.whole) == (3, False)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_step_of_a_chart_holds_what_was_planned_in_it(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, service: Any
) -> None:
    """On PostgreSQL too, where a cast to a whole number rounds, and a sum of such numbers is none."""
    where = request.getfixturevalue("postgres_dsn") if store == "postgres" else str(tmp_path / "s.db")
    began = time.time() // 3600 * 3600
    clock = Clock(began)
    with AlertManager({"alerts": {"hook": webhook(service.url)}}, store=where, clock=clock) as manager:
        for wait in (0.0, 50.0, 9.0, 1.0, 240.0):  # at 0, 50, 59, 60 and 300 seconds
            clock.advance(wait)
            manager.send_custom_alert(f"after {wait}")
            assert manager.flush(30)
        found = measuring.measure(manager.outbox, began, began + 3600)
        counts = [(point.at - found.since, point.states["delivered"]) for point in found.points()]
        assert (found.step, counts) == (60.0, [(0.0, 3), (60.0, 1), (300.0, 1)])
        assert [type(each.n) is int and type(each.retries) is int for each in found.counted] == [True] * 3
        assert len(found.slowest) == 5


def test_cost_is_what_the_service_said_last_else_an_estimate() -> None:
    rows = [  # the newest first
        ("sms", 2, '{"price": "-0.0150", "price_unit": "usd", "status": "delivered"}'),
        ("sms", 2, '{"price": "-0.0090", "price_unit": "usd", "status": "sent"}'),
        ("sms", 2, '{"segments": 2}'),
        ("sms", 1, '{"segments": 3}'),
        ("sms", 3, '{"segments": "much", "price": "nan"}'),
        ("sms", 4, "no JSON"),
    ]
    (paid,) = measuring._paid(iter(rows), {"sms": 0.01}).values()
    assert (paid.segments, paid.named, round(paid.estimated, 6)) == (5, {"USD": 0.015}, 0.03)


def test_caps_tell_how_much_is_spent(tmp_path: Path) -> None:
    settings = load({
        "alerts": {
            "sms": {
                "account_sid": "AC" + 32 * "0", "auth_token": 32 * "0", "from_number": "+15005550006",
                "to": "+447700900123", "daily_segments": 50, "price_per_segment": 0.01, "monthly_cost": 2,
            }
        }
    })  # fmt: skip
    store = MemoryOutbox()
    try:
        now = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
        assert measuring.caps(store, settings, now) == [("sms", "day", 0, 50), ("sms", "month", 0, 200)]
    finally:
        store.close()


# -------------------------------------------------------------------------------------------------------- live


def live(kind: str, **more: Any) -> Alert:
    data = more.pop("data", {})
    return Alert.make(
        "text", kind=kind, run="run-1", strategy="Cross", symbol="IBM", source=Source.LIVE, data=data, **more
    )


def told(manager: AlertManager, *alerts: Alert, mode: str = "auto") -> streaming.Told:
    for alert in alerts:
        manager.emit(alert)
    assert manager.flush(30)
    settings = load({"mode": mode, "alerts": {"console": {}}})
    (run,) = streaming.live_runs(manager.outbox)
    return streaming.told(manager.outbox, run.id, settings)


def test_live_shows_the_promised_events_each_once(manage: Callable[..., AlertManager], service: Any) -> None:
    opening = {"side": "buy", "filled": 10, "position_size": 10, "position_price": 100.0, "ticket": 7}
    with manage(hook=service.url) as manager:
        found = told(
            manager,
            live("strategy.started", type="strategy", data={"value": 100_000.0}),
            live("signal", type="signal", data={"signal": "BUY", "price": 100.0}),
            live("order.completed", type="order", data=opening),
            live("position.opened", type="position", data=opening),  # the same action, recorded only
            live("error", type="error", data={"exception": "ZeroDivisionError"}),
            Alert.make("old", kind="signal", type="signal", run="run-1", source=Source.HISTORY, data={"signal": "BUY"}),
        )
    names = [event["event"] for event in found.events]
    assert names == ["strategy-status", "trading-signal", "position-opened", "error", "account-update"]
    assert found.events[-1]["data"]["equity"] == 100_000.0
    assert found.events[2]["data"]["ticket"] == 7
    assert (found.strategies, found.alerts) == ("Cross", 6)
    assert found.valued is not None


def test_what_is_muted_is_seen_live_all_the_same(manage: Callable[..., AlertManager], service: Any) -> None:
    with manage(hook=service.url) as manager:
        assert manager.mute(symbol="IBM", until=manager.clock() + 3600)
        found = told(manager, live("signal", type="signal", data={"signal": "SELL", "price": 1.0}))
        assert [event["event"] for event in found.events] == ["trading-signal"]
        assert not service.requests


# --------------------------------------------------------------------------------------------------- the pages


def page(monkeypatch: pytest.MonkeyPatch, file: Path, name: str) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["app.py", str(file)])
    script = f"import bt_alerts.dashboard.views.{name} as view\nview.show()\n"
    return AppTest.from_string(script, default_timeout=120).run()


def all_text(shown: AppTest) -> str:
    kinds = (shown.title, shown.subheader, shown.markdown, shown.caption, shown.info, shown.error)
    html = [each.proto.body for each in shown.get("html")]
    return "\n".join([*(str(each.value) for kind in kinds for each in kind), *html])


@pytest.fixture
def filled(file: Path) -> Path:
    with AlertManager(str(file), mode="record") as manager:
        for alert in happened(12, kind="signal", source=Source.HISTORY):
            manager.emit(alert)
        assert manager.flush(30)
    return file


def test_simulate_plays_the_run_and_then_the_changed_rules(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(monkeypatch, filled, "simulate")
    assert not shown.exception
    assert "would have sent 12 messages" in all_text(shown)
    shown.text_area(key="rules_text").set_value("rules:\n  cooldown:\n    - every: 5m\n").run()
    assert not shown.exception
    assert "The trial sends 3 messages where alerts\\.yaml sends 12" in all_text(shown)
    kept = shown.session_state["simulated"]
    made = list(kept.values())
    shown.run()
    assert [one is two for one, two in zip(made, kept.values(), strict=True)] == [True, True]  # not played again


def test_a_long_run_is_played_when_somebody_asks(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bt_alerts.dashboard.views.simulate.AT_ONCE", 5)
    shown = page(monkeypatch, filled, "simulate")
    assert "would have sent" not in all_text(shown)
    shown.button(key="play").click().run()
    assert "would have sent 12 messages" in all_text(shown)
    shown.run()
    assert "would have sent 12 messages" in all_text(shown)


def test_an_outage_is_a_condition_that_counts(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(monkeypatch, filled, "simulate")
    shown.selectbox(key="away").set_value("phone").run()
    shown.text_input(key="away_since").set_value("then").run()
    assert "is no time" in all_text(shown).replace("\\", "")
    shown.text_input(key="away_since").set_value(dt.datetime.fromtimestamp(NOW - 60, dt.UTC).isoformat()).run()
    shown.selectbox(key="away_lasts").set_value("4 hours").run()
    assert not shown.exception
    tiles = "".join(each.proto.body for each in shown.get("html"))
    assert "more than a minute late" in tiles


def test_simulate_says_what_is_wrong_with_the_rules(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(monkeypatch, filled, "simulate")
    shown.text_area(key="rules_text").set_value("rules:\n  cooldown:\n    - every: soon\n").run()
    assert "Line 3" in all_text(shown)
    assert "would have sent 12 messages" in all_text(shown)


def test_a_proposal_is_one_click_and_taken_into_the_draft(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(monkeypatch, filled, "simulate")
    (button, *_) = [each for each in shown.button if each.label == "Try it"]
    button.click().run()
    assert "signal" in shown.text_area(key="rules_text").value
    assert "The trial sends" in all_text(shown)
    shown.button(key="take").click().run()
    assert not shown.exception
    assert shown.session_state["draft"].changed
    assert filled.read_text(encoding="utf-8") == SETTINGS


@pytest.mark.parametrize(
    ("name", "says"), [("performance", "Nothing was delivered"), ("live", "No strategy has run live")]
)
def test_what_is_empty_says_what_to_do(filled: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    shown = page(monkeypatch, filled, name)
    assert not shown.exception
    assert says in all_text(shown)


def test_simulate_without_a_run_says_what_to_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AlertManager(str(file), mode="record").close()
    assert "There is nothing to play yet" in all_text(page(monkeypatch, file, "simulate"))
