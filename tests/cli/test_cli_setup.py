"""``check``, ``test`` and ``send``: against real stores and a real service on this machine."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import types

import pytest

from bt_alerts.kinds import KINDS
from bt_alerts.outbox.sqlite import SqliteOutbox

# ----------------------------------------------------------------------------------------------------------- check


def test_check_shows_channels_store_and_every_kind_and_sends_nothing(run, settings, service, tmp_path):
    file = settings(f"""
        store: alerts.db
        alerts:
          hook: {{type: webhook, urls: "{service.url}/secret-path-123456", fallback: console}}
          console: {{}}
          pushover: {{enabled: false}}
        events: {{order.completed: silent, signal: on}}
        """)
    done = run("check", "-c", file)
    assert done.code == 0
    assert done.err == ""
    for kind in KINDS:
        assert kind in done.out
    for words in (f"hook webhook yes {service.url}", "set app_token", "made with the first alert"):
        assert words in done.said
    assert "order.completed silent * on" in done.said  # changed, and what it was
    assert "signal on the strategy" in done.said  # set to what it is anyway
    assert service.requests == []
    assert not (tmp_path / "alerts.db").exists()


def test_check_without_any_settings(run):
    done = run("check")
    assert done.code == 0
    assert "nothing is sent" in done.out
    assert "in memory" in done.out
    assert "alerts.yaml" not in done.out


def test_check_says_that_a_settings_file_lies_there_unread(run, settings):
    file = settings("alerts: {console: {}}\n")
    done = run("check")
    assert done.code == 0
    assert "./alerts.yaml is here: name it with -c alerts.yaml, or set BT_ALERTS_CONFIG" in done.said
    assert "No channel is enabled" in done.said, "it is still not read"
    assert "is here" not in run("check", "-c", file).said


def test_check_opens_the_store(run, webhook):
    assert run("send", "hello", "-c", webhook).code == 0
    assert "in order, alerts: 1" in run("check", "-c", webhook).out


def test_check_says_that_the_store_cannot_be_made(run, settings, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("check", "-c", settings("store: file/alerts.db\nalerts: {console: {}}\n"))
    assert done.code == 2
    assert "cannot be made" in done.err


RULES = """
    store: alerts.db
    alerts:
      phone: {type: console}
      spare: {type: console, enabled: false}
    routes:
      - {name: losses, when: {type: trade, data: pnl < -500, symbol: BTC*}, to: phone, continue: true}
      - {when: {priority: high}, to: [phone, spare]}
    rules:
      maintenance: [{hours: "02:00-03:00 sun", when: {type: store}}]
      inhibit: [{cause: {kind: store.message}, ends: {kind: data.live}, when: {kind: order.*}}]
      at_least: [{field: size, least: 3}]
      levels: [{field: pnl, above: 3, back: 2}]
      once_per_bar: [{when: {type: signal}}]
      repeats: [{within: 1h, key: data.order}]
      cooldown: [{every: 15m, most: 3}]
    quiet_hours:
      - {name: night, channels: phone, hours: "22:00-07:00 Europe/Berlin", then: each}
    digests:
      - {at: "07:30 mon-fri", channels: console}
      - {at: "18:00 sun", report: weekly}
    escalation:
      - {steps: [{after: 5m, to: phone}], repeat: 2}
"""


def test_check_lists_every_rule_in_words(run, settings):
    done = run("check", "-c", settings(RULES))
    assert done.code == 0
    for words in (
        "maintenance 1 rules.maintenance store, below critical not told 02:00-03:00 UTC sun",
        "inhibit 1 rules.inhibit order.*, below critical not told from store.message to data.live, 12 h at most",
        "at_least 1 rules.at_least every alert, below critical not told where size is less than 3, whatever its sign",
        "levels 1 rules.levels every alert, below critical told when pnl >= 3, and again after pnl < 2, for each kind,",
        "once_per_bar 1 rules.once_per_bar signal, below critical one on each bar for each kind, symbol and strategy",
        "repeats 1 rules.repeats every alert, below critical one in 1 h for each order",
        "cooldown 1 rules.cooldown every alert, below critical 3 in 15 min for each kind, symbol and strategy",
        "losses routes trade, BTC*, pnl < -500 to phone; the next routes have a look too",
        "route 2 routes high and above to phone, spare",
        "escalation 1 escalation every alert after 5 min to phone; 2 times again",
        "digests 1 digests every alert, below high phone: one message at 07:30 UTC mon-fri",
        "night quiet_hours every alert, below critical phone: quiet 22:00-07:00 Europe/Berlin: sent one by one",
        "digests 2 digests a weekly report at 18:00 UTC sun",
    ):
        assert words in done.said


def test_check_shows_warnings_with_their_lines_and_is_strict_where_it_is_asked(run, settings):
    file = settings(RULES)
    done = run("check", "-c", file)
    assert (done.code, done.err) == (0, "")  # shown where they are looked for, not logged as well
    assert f"{file}:7: routes[1].to[1]: the channel `spare` is not enabled" in done.out
    assert f"{file}:17: quiet_hours[0].hours: on Sunday" in done.out
    assert "the clocks go forward in it: it is 8 h long instead of 9 h" in done.out
    done = run("check", "--strict", "-c", file)
    assert done.code == 1
    assert "Warnings: 2 (`--strict`)." in done.err
    done = run("check", "--strict", "-c", settings("alerts: {console: {}}\n"))
    assert (done.code, done.err) == (0, "")


def test_check_tells_mistakes_of_rules_with_their_lines(run, settings):
    file = settings("alerts: {console: {}}\nroutes:\n  - to: phone\n  - to: all\n    when: {kind: order.filled}\n")
    done = run("check", "-c", file)
    assert done.code == 2
    assert f"{file}:3: routes[0].to: there is no channel `phone`; use one of console, all" in done.err
    assert f"{file}:5: routes[1].when.kind: there is no kind of event `order.filled`" in done.err


def test_other_commands_log_warnings_and_go_on(run, settings):
    file = settings("alerts: {console: {}, spare: {type: console, enabled: false}}\nroutes:\n  - to: [all, spare]\n")
    done = run("test", "-c", file)
    assert done.code == 0
    assert "the channel `spare` is not enabled, so nothing goes there" in done.err


def test_check_online_asks_each_service(run, webhook, service):
    assert run("check", "--online", "-c", webhook).code == 0
    assert [request.json()["type"] for request in service.requests] == ["bt_alerts.check"]


def test_check_online_says_what_a_service_refuses(run, webhook, service):
    service.answer(401, "no such user")
    done = run("check", "--online", "-c", webhook)
    assert done.code == 1
    assert "401" in done.out


# ------------------------------------------------------------------------------------------------------------ test


def test_test_sends_one_alert_and_says_so(run, webhook, service):
    done = run("test", "-c", webhook)
    assert done.code == 0
    assert "hook" in done.out
    assert "arrived" in done.out
    assert "ms" in done.out
    assert [request.json()["type"] for request in service.requests] == ["alert.test"]


def test_test_tries_the_named_channels_only(run, settings, service):
    file = settings(f"""
        store: alerts.db
        alerts:
          one: {{type: webhook, urls: "{service.url}/1"}}
          two: {{type: webhook, urls: "{service.url}/2"}}
        """)
    assert run("test", "two", "-c", file).code == 0
    assert [request.path for request in service.requests] == ["/2"]
    assert run("test", "-c", file).code == 0
    assert [request.path for request in service.requests] == ["/2", "/1", "/2"]


def test_test_fails_where_one_fails_and_gives_the_reason(run, settings, service):
    file = settings(f"""
        store: alerts.db
        alerts:
          good: {{type: webhook, urls: "{service.url}"}}
          bad: {{type: webhook, urls: "http://127.0.0.1:1/"}}
        """)
    done = run("test", "-c", file)
    assert done.code == 1
    assert "good" in done.out
    assert "arrived" in done.out
    assert "failed" in done.out
    assert "connection refused" in done.said


def test_test_of_an_unknown_or_disabled_channel_is_wrong_use(run, settings):
    file = settings("store: alerts.db\nalerts: {console: {}, pushover: {enabled: false}}\n")
    for name, words in (("phone", "There is no channel 'phone'. Use one of console."), ("pushover", "is not enabled")):
        done = run("test", name, "-c", file)
        assert done.code == 2
        assert words in done.err


@pytest.mark.parametrize("command", [["test"], ["send", "hello"]])
def test_without_a_channel_a_sentence_says_what_to_do(run, command):
    done = run(*command)
    assert done.code == 2
    assert "bt-alerts init" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["test"], ["send", "hello"], ["test", "phone"], ["preview", "phone"], ["history"]])
def test_without_settings_the_sentence_names_the_file_that_lies_there(run, settings, command):
    settings("alerts: {phone: {type: console}}\n")
    done = run(*command)
    assert done.code in {1, 2}
    assert "./alerts.yaml is here: name it with -c alerts.yaml, or set BT_ALERTS_CONFIG" in done.said


def test_a_channel_that_works_again_gets_what_was_held_for_it(run, webhook, service):
    service.answer(401, "wrong key")
    assert run("send", "first", "-c", webhook).code == 1
    run("worker", "--once", "-c", webhook)  # `send` can be through before it is decided who hears of the refusal
    assert run("health", "-c", webhook).code == 1  # disabled
    service.answer(200)
    done = run("test", "-c", webhook)
    assert done.code == 0
    assert "2 of 2 alerts that waited" in done.out  # the other one says that the channel was disabled
    kinds = {request.json()["data"]["kind"] for request in service.requests[-2:]}
    assert kinds == {"direct.custom", "channel.disabled"}
    assert run("health", "-c", webhook).code == 0


# ------------------------------------------------------------------------------------------------------------ send


def test_send_goes_through_the_store(run, webhook, service, tmp_path):
    done = run("send", "the [bold]message[/bold]", "--title", "A title", "--priority", "high", "-c", webhook)
    assert done.code == 0
    assert "delivered" in done.out
    sent = service.requests[0].json()["data"]
    assert (sent["title"], sent["message"], sent["priority"]) == ("A title", "the [bold]message[/bold]", "high")
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    ledger = outbox.ledger()
    outbox.close()
    assert (ledger.accepted, ledger.planned, ledger.deliveries["delivered"]) == (1, 1, 1)
    assert list((tmp_path / "alerts.db.journal").iterdir()) == []


def test_send_to_named_channels(run, settings, service):
    file = settings(f"""
        store: alerts.db
        alerts:
          one: {{type: webhook, urls: "{service.url}/1"}}
          two: {{type: webhook, urls: "{service.url}/2"}}
          three: {{type: webhook, urls: "{service.url}/3"}}
        """)
    assert run("send", "x", "--channel", "one", "--channel", "three", "-c", file).code == 0
    assert sorted(request.path for request in service.requests) == ["/1", "/3"]


def test_send_is_done_only_if_it_arrived_everywhere(run, settings, service, tmp_path, monkeypatch):
    file = settings(f"""
        store: alerts.db
        alerts:
          good: {{type: webhook, urls: "{service.url}"}}
          bad: {{type: webhook, urls: "http://127.0.0.1:1/"}}
        delivery: {{retry_delay: 60}}
        """)

    def now():  # the wait is over when one has it, however long the machine takes for that
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(tmp_path / "alerts.db")) as db:
            return float(db.execute("SELECT count(*) FROM deliveries WHERE state = 'delivered'").fetchone()[0])
        return 0.0

    monkeypatch.setattr("bt_alerts.cli.shell.time", types.SimpleNamespace(monotonic=now, sleep=time.sleep))
    done = run("send", "x", "--wait", "0.5", "-c", file)
    assert done.code == 1
    assert "delivered" in done.out
    assert "pending" in done.out
    assert "goes with the next process" in done.err
    assert len(service.requests) == 1


def test_send_that_is_refused_for_good_fails_and_says_why(run, webhook, service):
    service.answer(400, "no thanks")
    done = run("send", "x", "-c", webhook)
    assert done.code == 1
    assert "dead" in done.out
    assert "400" in done.out
    assert "bt-alerts dead list" in done.err


def test_send_says_that_nothing_was_to_be_sent(run, settings):
    done = run("send", "x", "-c", settings("store: alerts.db\nmode: record\nalerts: {console: {}}\n"))
    assert done.code == 1
    assert "Nothing was sent: `mode: record` sends nothing." in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--priority", "urgent"], "use one of critical, high, medium, low, info"),
        (["--type", "[bold]"], "'[bold]' is not an alert type"),
        (["--channel", "phone"], "There is no channel 'phone'. Use one of hook."),
    ],
)
def test_send_with_wrong_words_is_2_and_sends_nothing(run, webhook, service, options, words):
    done = run("send", "x", *options, "-c", webhook)
    assert done.code == 2
    assert words in done.err
    assert service.requests == []


def test_send_takes_what_an_earlier_process_left(run, webhook, service, tmp_path):
    service.answer(503).answer(200)
    assert run("send", "first", "--wait", "0", "-c", webhook).code == 1
    assert run("send", "second", "-c", webhook).code == 0
    titles = {request.json()["data"]["message"] for request in service.requests}
    assert "second" in titles


def test_send_while_another_process_has_the_store_is_1_and_loses_nothing(run, webhook, service, tmp_path):
    assert run("send", "first", "-c", webhook).code == 0
    other = sqlite3.connect(tmp_path / "alerts.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    done = run("send", "second", "--wait", "0.1", "-c", webhook)
    other.execute("ROLLBACK")
    other.close()
    assert done.code == 1
    assert "goes with the next process" in done.err
    assert run("send", "third", "-c", webhook).code == 0
    assert {"first", "second", "third"} <= {request.json()["data"]["message"] for request in service.requests}
