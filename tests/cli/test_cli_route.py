"""``bt-alerts route``: where an alert goes, which rule decided so, and what was decided when it came."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bt_alerts import AlertManager
from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.cli.route import read_alert
from bt_alerts.cli.shell import Stop
from bt_alerts.outbox.base import AlertState
from bt_alerts.rules.explain import Overlay, explain
from bt_alerts.rules.pipeline import RuleSettings, build
from bt_alerts.settings import load

Run = Callable[..., Any]
NOW = 1_800_000_000.0
RULES = """
store: alerts.db
alerts:
  phone: {type: webhook, urls: "http://127.0.0.1:9/x", rate_limit: 0, fallback: chat}
  chat: {type: webhook, urls: "http://127.0.0.1:9/y", rate_limit: 0}
routes:
  - {name: losses, when: {data: "pnl < -500"}, to: [phone]}
  - {name: orders, when: {type: order}, to: [chat]}
rules:
  cooldown: [{name: calm, every: 1h, when: {symbol: BTC}}]
quiet_hours: [{name: night, hours: 22:00-07:00, channels: phone}]
escalation: [{name: call, when: {priority: critical}, steps: [{after: 5m, to: phone}]}]
"""
ORDER = json.dumps({"message": "Sold 3", "kind": "order.completed", "symbol": "BTC"})


@pytest.fixture
def file(settings: Callable[[str], Path]) -> Path:
    return settings(RULES)


@pytest.fixture
def manager(file: Path) -> Iterator[AlertManager]:
    """Plans, and never delivers."""
    made = AlertManager.for_worker(load(file), delivers=False)
    yield made
    made.close(timeout=0.0)


def emit(manager: AlertManager, **fields: Any) -> Alert:
    made = Alert.make(fields.pop("message", "Sold 3"), **fields)
    assert manager.emit(made)
    assert manager.drained(10.0)
    return made


# An alert as JSON ------------------------------------------------------------------------------------


def test_a_line_a_channel_says_where_an_alert_would_go(run: Run, file: Path) -> None:
    done = run("route", '{"message": "x"}', "-c", file, "--at", "2026-01-31T23:00")
    assert done.code == 0
    assert done.out.splitlines() == [
        "phone: at 2026-02-01 07:00:00 UTC; in one message with what else waits until then; it waits for the end of "
        "quiet hours",
        "chat: at once",
    ]
    assert not file.with_name("alerts.db").exists()  # nothing was made


def test_explain_names_the_rule_that_matched_and_why_the_others_did_not(run: Run, file: Path) -> None:
    done = run("route", "--explain", ORDER, "-c", file, "--at", "2026-01-31T12:00")
    assert "as if it came at 2026-01-31 12:00:00 UTC, with nothing that rules remember, because there is no store" in (
        done.said
    )
    assert "orders yes it is about the alert" in done.said
    assert "losses no it has no pnl pnl < -500" in done.said
    assert "a route chose its channels (orders; chat)" in done.said
    assert "call no its priority is medium, below critical" in done.said
    assert "What matched: orders. chat: at once" in done.said


def test_an_alert_of_a_known_kind_has_its_type_and_priority(run: Run, file: Path) -> None:
    row = json.loads(run("route", '{"kind": "error"}', "--json", "-c", file).out)["alert"]
    assert (row["type"], row["priority"], row["message"]) == ("error", "critical", "an exception left the strategy")


def test_standard_input_and_rows_of_the_history_are_read(run: Run, file: Path, manager: AlertManager) -> None:
    made = emit(manager, type="order", symbol="BTC", dedupe_key="k", action="a", channels=["chat"])
    row = run("history", "--json", "--why", "-c", file).out
    assert (json.loads(row)["state"], json.loads(row)["rule"]) == ("planned", "")
    done = run("route", "-", "--json", "-c", file, answer=row)
    assert json.loads(done.out)["alert"]["id"] == made.id
    assert json.loads(done.out)["now"]["reason"] == "cooldown"  # and it is no duplicate of itself


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "This is no JSON: Expecting property name enclosed in double quotes at character 2."),
        ("[1]", "This JSON is no object: write one alert, such as {"),
        ("{}", "An alert needs a message, a title or a kind: {"),
        ('{"message": "x", "prio": "high"}', "An alert has no field 'prio'."),
        ('{"message": "x", "prioritiy": "high"}', "Did you mean priority?"),
        ('{"message": "x", "priority": "urgent"}', "'urgent' is no priority. Use one of critical, high, medium"),
        ('{"message": "x", "type": "sms"}', "'sms' is no type. Use one of signal, order"),
        ('{"message": "x", "source": "paper"}', "'paper' is no source. Use one of history, live, direct."),
        ('{"message": "x", "data": [1]}', 'data is an object, such as {"pnl": -620.5}.'),
        ('{"message": "x", "channels": {"a": 1}}', 'channels is a list of names, such as ["phone"].'),
        ('{"message": "x", "time": "soon"}', "time: 'soon' is no time. Write it as 2026-01-31T15:30."),
        ('{"message": "x", "bar_time": true}', "bar_time: 'True' is no time."),
        ('{"message": "x", "attachments": [{"a": 1}]}', "attachments is not what an alert has there."),
        ('{"message": "x", "attachments": 3}', "attachments is not what an alert has there."),
        ("[" * 100_000, "This JSON is nested too deep."),
    ],
)
@pytest.mark.usefixtures("uncollected")
def test_what_is_no_alert_gets_a_sentence(run: Run, file: Path, text: str, sentence: str) -> None:
    done = run("route", "-", "-c", file, answer=text)
    assert done.code == 2
    assert sentence in done.said


@pytest.mark.parametrize("when", ["soon", "9" * 30, "9999-12-01", "-1", ""])
def test_a_time_that_is_none_gets_a_sentence(run: Run, file: Path, when: str) -> None:
    done = run("route", '{"message": "x"}', "--at", when, "-c", file)
    assert done.code == 2
    assert "is no time. Write it as 2026-01-31T15:30." in done.said


@pytest.mark.parametrize(
    "field",
    [
        "message", "title", "type", "kind", "priority", "symbol", "data", "channels", "source", "time", "bar_time",
        "thread", "attachments", "dedupe_key", "id",
    ],
)  # fmt: skip
def test_an_odd_value_makes_an_alert_or_a_sentence(field: str) -> None:
    stages = build(RuleSettings(channels=("a",)))
    for value in (None, True, 3, 1.5, 1e300, "", "x", [], [1], {}, {"a": {"b": []}}, "\ud800", "x" * 100_000):
        with contextlib.suppress(Stop):  # nothing else
            made = read_alert(json.dumps({"title": "t", field: value}), NOW)
            assert explain(stages, made, Overlay(), NOW).steps


def test_without_settings_it_goes_nowhere_and_says_why(run: Run) -> None:
    done = run("route", '{"message": "x"}')
    assert done.code == 0
    assert "Nowhere. It is recorded: no channel is configured and enabled for it." in done.said


# An alert of the store -------------------------------------------------------------------------------


def test_both_what_was_decided_then_and_what_would_be_now_are_shown(
    run: Run, settings: Callable[[str], Path], file: Path, manager: AlertManager
) -> None:
    emit(manager, type="order", symbol="BTC")
    second = emit(manager, type="order", symbol="BTC", message="Sold 4")
    settings(RULES.replace("to: [chat]", "to: [phone]"))
    done = run("route", second.id[:-2], "--explain", "-c", file, "--at", "2026-01-31T12:00")
    assert (
        f"What was decided about 'Order' ({second.id}) when it came suppressed by calm: one of its kind was told"
        in (done.said)
    )
    assert "a short time ago (cooldown)" in done.said
    done = run("route", second.id, "--explain", "-c", file)
    assert "its own time, and nothing had come before it" in done.said
    assert "a route chose its channels (orders; phone)" in done.said


def test_deliveries_escalation_and_acknowledgement_are_shown(run: Run, file: Path, manager: AlertManager) -> None:
    made = emit(manager, priority="critical", title="The feed is gone")
    done = run("route", "last", "-c", file)
    assert "phone http://127.0.0.1:9: pending (not tried)" in done.said
    assert "goes further unless somebody acknowledges it: call, step 1, at 20" in done.said
    assert "it goes further where nobody acknowledges it" not in done.said  # that is for --explain
    assert "it goes further where nobody acknowledges it (call; phone), 20" in run("route", "last", "--explain",
                                                                                   "-c", file).said  # fmt: skip
    assert run("ack", made.id, "-c", file).code == 0
    done = run("route", made.id, "-c", file)
    assert "acknowledged at 20" in done.said
    assert "phone http://127.0.0.1:9: cancelled" in done.said
    assert "goes further" not in done.said


def test_deliveries_of_a_channel_that_has_no_settings_any_more_are_shown(
    run: Run, settings: Callable[[str], Path], file: Path, manager: AlertManager
) -> None:
    made = emit(manager, channels=["phone"])
    settings(RULES.replace("phone:", "pager:").replace("to: [phone]", "to: [chat]").replace("to: phone", "to: chat")
             .replace("channels: phone", "channels: chat"))  # fmt: skip
    done = run("route", made.id, "-c", file)
    assert done.code == 0, done.err
    assert "phone http://127.0.0.1:9: pending" in done.said
    assert "Nowhere. It is recorded: no channel is configured and enabled for it." in done.said


def test_an_alert_that_nobody_decided_about_is_decided_by_what_rules_remember_now(
    run: Run, file: Path, manager: AlertManager
) -> None:
    emit(manager, type="order", symbol="BTC")
    waits = Alert.make("another", type="order", symbol="BTC")
    with manager.outbox.transaction() as tx:
        tx.add_alert(waits, AlertState.WAITING)
    done = run("route", waits.id, "--json", "-c", file)
    row = json.loads(done.out)
    assert (row["then"], row["now"]["reason"], row["now"]["rule"]) == (None, "cooldown", "calm")
    assert "nobody has decided about it yet" in row["now"]["supposing"]


def test_a_row_from_before_there_were_trails_is_shown_without_one(run: Run, file: Path, manager: AlertManager) -> None:
    made = emit(manager, type="order")
    with sqlite3.connect(file.with_name("alerts.db")) as db:
        db.execute("UPDATE alerts SET trail = '', rule = ''")
    done = run("route", made.id, "--explain", "--json", "-c", file)
    assert json.loads(done.out)["then"]["trail"] == []
    assert run("route", made.id, "--explain", "-c", file).code == 0


def test_an_id_that_is_none_gets_a_sentence(run: Run, file: Path, manager: AlertManager) -> None:
    emit(manager)
    for given, sentence in (
        ("abc", "'abc' is too short: give at least 6 characters of an id, its number, or `last`."),
        ("ffffff", "There is no alert 'ffffff'. `bt-alerts history` shows the numbers, with --json the ids; `last` is"),
    ):
        done = run("route", given, "-c", file)
        assert done.code == 2
        assert sentence in done.said


def test_last_is_the_newest_whether_or_not_it_was_sent(run: Run, file: Path, manager: AlertManager) -> None:
    emit(manager, title="sent")
    emit(manager, title="kept", kind="order.submitted", type="order")
    assert "What was decided about 'kept'" in run("route", "last", "-c", file).said


def test_an_id_without_a_store_says_what_is_missing(run: Run, file: Path) -> None:
    done = run("route", "last", "-c", file)
    assert done.code == 1
    assert "There is no store" in done.said


# The store is only read ------------------------------------------------------------------------------


def test_nothing_changes_and_a_locked_store_is_read(run: Run, file: Path, manager: AlertManager) -> None:
    made = emit(manager, type="order", kind="order.completed", symbol="BTC")
    store = file.with_name("alerts.db")
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = hashlib.sha256(store.read_bytes()).hexdigest()
    holder.execute("BEGIN IMMEDIATE")
    for given in (made.id, ORDER):
        for more in ((), ("--explain",), ("--json",), ("--at", "2026-01-31T12:00")):
            done = run("route", given, *more, "-c", file)
            assert done.code == 0, done.err
    assert json.loads(run("route", ORDER, "--json", "-c", file).out)["now"]["rule"] == "calm"  # the memory is read
    holder.execute("ROLLBACK")
    holder.close()
    assert hashlib.sha256(store.read_bytes()).hexdigest() == before


def test_a_store_that_cannot_be_read_is_said_and_the_answer_given_without_it(run: Run, file: Path) -> None:
    file.with_name("alerts.db").write_bytes(b"no database at all, whatever it says " * 100)
    done = run("route", ORDER, "-c", file)
    assert done.code == 0
    assert done.out.splitlines() == ["chat: at once"]
    assert "alerts.db" in done.err


def test_what_an_alert_says_is_text(run: Run, file: Path) -> None:
    text = json.dumps({"title": "[red]x", "kind": "\x1b[31mk", "symbol": "\u202eA", "type": "order"})
    done = run("route", text, "--explain", "-c", file)
    assert "\x1b[31m" not in done.out
    assert "\u202e" not in done.out


def test_every_type_and_priority_is_taken(run: Run, file: Path) -> None:
    for word in AlertType:
        assert run("route", json.dumps({"title": "t", "type": word.value}), "-c", file).code == 0
    for priority in Priority:
        assert run("route", json.dumps({"title": "t", "priority": priority.value.upper()}), "-c", file).code == 0
