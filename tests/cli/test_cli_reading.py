"""``history``, ``export`` and ``backup``: what they show, and that everything that looks only reads."""

from __future__ import annotations

import csv
import json
import unicodedata

import pytest

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import AlertState, NewDelivery
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Note, Reason

#: What a strategy, a broker or somebody's news feed may put into an alert.
POISON = [
    "[red]not markup[/red]", "[/]",
    "[/nothing", "[link=file:///etc/passwd]click", "\x1b[31mred\x1b[0m\x07", "nul\0byte",
    "\u202eright to left\u202c", "مرحبا", "👩\u200d👩\u200d👧 🇩🇪 ℹ️", "\ud800 lone", "tab\tcr\rlf\nend", "x" * 5000,
    "=HYPERLINK()", "",
]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    yield outbox
    outbox.close()


@pytest.fixture
def config(settings):
    return settings("store: alerts.db\n")


def fill(outbox, count=3, **fields):
    alerts = [Alert.make(f"message {i}", title=f"title {i}", **fields) for i in range(count)]
    outbox.record(alerts, "history")
    return alerts


# --------------------------------------------------------------------------------------------------------- history


def test_history_shows_the_newest_oldest_first(run, store, config):
    fill(store, 60)
    done = run("history", "-c", config)
    assert done.code == 0
    rows = [line for line in done.out.splitlines() if "title" in line][1:]
    assert len(rows) == 50
    assert "title 10" in rows[0]
    assert "title 59" in rows[-1]
    assert "The newest 50 of 60; --limit shows more." in done.out
    assert "60 alerts." in run("history", "--limit", 100, "-c", config).out


def test_why_shows_what_was_decided_and_by_which_rule(run, store, config, tmp_path):
    with store.transaction() as tx:
        seq = tx.add_alert(Alert.make("m", title="Sold"), AlertState.WAITING)
        tx.decide(seq, AlertState.SUPPRESSED, Reason.COOLDOWN, "calm")
        seq = tx.add_alert(Alert.make("m", title="Bought"), AlertState.WAITING)
        trail = [Note(Reason.DIGEST, "evening", "phone").to_list()]
        due = NewDelivery("k", "phone", "t", "t", 1.0, 1.0, 2e9, reason=Reason.FAILED_OVER)
        tx.add_deliveries(seq, [due], 1.0)
        tx.decide(seq, AlertState.PLANNED, trail=trail)
    done = run("history", "--why", "-c", config)
    assert "Sold suppressed calm one of its kind was told a short time ago" in done.said
    assert (
        "Bought planned it waits for a digest (evening; phone); the channel that it was for could not deliver it"
        in done.said
    )
    row = json.loads(run("history", "--json", "--why", "-c", config).out.splitlines()[0])
    assert (row["title"], row["state"], row["reason"], row["rule"]) == ("Sold", "suppressed", "cooldown", "calm")
    assert "state" not in json.loads(run("history", "--json", "-c", config).out.splitlines()[0])
    assert run("export", tmp_path / "a.csv", "--why", "-c", config).code == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [(row["state"], row["rule"]) for row in csv.DictReader(file)] == [
            ("suppressed", "calm"),
            ("planned", ""),
        ]


def test_history_does_not_count_to_the_end_of_years(run, store, config, monkeypatch):
    monkeypatch.setattr("bt_alerts.cli.reading.COUNTED", 30)
    fill(store, 60)
    assert "The newest 10 of 30 or more; --limit shows more." in run("history", "--limit", 10, "-c", config).out
    assert "The newest 40 of 41 or more; --limit shows more." in run("history", "--limit", 40, "-c", config).out
    assert "60 alerts." in run("history", "--limit", 60, "-c", config).out


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        (["--type", "error"], ["e"]),
        (["--type", "ERROR"], ["e"]),
        (["--symbol", "IBM"], ["s"]),
        (["--strategy", "Cross"], ["t"]),
        (["--run", "r1"], ["r"]),
        (["--priority", "high"], ["e", "p"]),
        (["--since", "2030-01-01"], ["f"]),
        (["--until", "2001-01-01T12:00"], ["o"]),
        (["--priority", "high", "--type", "error"], ["e"]),
    ],
    ids="-".join,
)
def test_history_filters(run, store, config, options, titles):
    store.record(
        [
            Alert.make("", title="e", type="error", priority="high"),
            Alert.make("", title="s", symbol="IBM"),
            Alert.make("", title="t", strategy="Cross"),
            Alert.make("", title="r", run="r1"),
            Alert.make("", title="p", priority="critical"),
            Alert.make("", title="f", time="2031-05-05"),
            Alert.make("", title="o", time="2000-05-05"),
        ],
        "history",
    )
    rows = [json.loads(line) for line in run("history", "--json", *options, "-c", config).out.splitlines()]
    assert [row["title"] for row in rows] == titles


@pytest.mark.parametrize("command", [["history"], ["history", "--json"], ["export", "x.csv"]], ids=" ".join)
@pytest.mark.parametrize(
    "wrong",
    [
        ["--type", "oder", "'oder' is no type: use one of signal, order"],
        ["--priority", "[red]", "'[red]' is no priority"],
        ["--since", "yesterday", "'yesterday' is no time: write it as 2026-01-31"],
        ["--until", "[/]", "'[/]' is no time"],
    ],
    ids="-".join,
)
def test_wrong_words_are_2(run, store, config, command, wrong):
    option, word, sentence = wrong
    done = run(*command, option, word, "-c", config)
    assert done.code == 2
    assert sentence in done.err
    assert done.out == ""


def test_nothing_that_matches_is_no_failure(run, store, config):
    assert (run("history", "-c", config).code, run("history", "-c", config).out) == (0, "No alert matches.\n")
    assert run("history", "--json", "-c", config).out == ""


@pytest.mark.parametrize("columns", [20, 40, 80, 132, 250])
def test_history_prints_whatever_an_alert_says(run, store, config, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    poisoned = [Alert.make(text, title=text, symbol=text, strategy=text, data={"x": text}) for text in POISON]
    store.record(poisoned, "history")
    done = run("history", "-c", config)
    assert (done.code, done.err) == (0, "")
    assert f"{len(POISON)} alerts." in done.out
    assert {char for char in done.out if unicodedata.category(char) == "Cc"} == {"\n"}
    assert "\u202e" not in done.out
    rows = [json.loads(line) for line in run("history", "--json", "-c", config).out.splitlines()]
    assert [row["title"] for row in rows] == [alert.title for alert in poisoned]


def test_markup_is_shown_and_not_obeyed(run, store, config):
    store.record([Alert.make("[bold]loud[/bold]", title="[red]sold[/red]")], "history")
    assert "[red]sold[/red]" in run("history", "-c", config).out
    assert "[bold]loud[/bold]" in run("history", "-c", config).out


def test_a_narrow_terminal_gets_fewer_columns(run, store, config, monkeypatch):
    fill(store, 2, symbol="IBM", strategy="Cross")
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run("history", "-c", config).out.splitlines()
        assert max(map(len, lines)) <= columns
        assert ("strategy" in lines[1]) is (columns == 200)
        assert "no." in lines[1].split(), "`ack` and `snooze` take it"
        assert "title" in lines[1].split()
        lines = run("history", "--why", "-c", config).out.splitlines()
        assert max(map(len, lines)) <= columns
        assert {"no.", "title", "why"} <= set(lines[1].split())


def test_no_color_is_respected(run, store, config, monkeypatch):
    fill(store, priority="critical")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("history", "-c", config).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31" not in run("history", "-c", config).out


# ---------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv"])
def test_export_writes_what_matches(run, store, config, tmp_path, ending):
    fill(store, 5)
    fill(store, 2, type="error")
    done = run("export", f"out.{ending}", "--type", "error", "-c", config)
    assert (done.code, done.out) == (0, f"Wrote 2 alerts to out.{ending}.\n")
    text = (tmp_path / f"out.{ending}").read_text("utf-8")
    rows = {
        "json": lambda: json.loads(text),
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "csv": lambda: list(csv.DictReader(text.splitlines())),
    }[ending]()
    assert [row["type"] for row in rows] == ["error", "error"]


def test_export_without_filters_is_everything(run, store, config):
    fill(store, 130)
    assert "Wrote 130 alerts" in run("export", "all.jsonl", "-c", config).out


def test_export_of_an_unknown_format_is_2(run, store, config, tmp_path):
    done = run("export", "out.xlsx", "-c", config)
    assert done.code == 2
    assert "names no format" in done.err
    assert not (tmp_path / "out.xlsx").exists()


def test_export_to_where_nothing_can_be_written_is_1(run, store, config):
    done = run("export", "no/where/out.csv", "-c", config)
    assert done.code == 1
    assert "cannot be written" in done.err


# -------------------------------------------------------------------------------------------------------- only read


def test_what_waits_in_a_journal_is_told_and_left_there(run, store, config, tmp_path):
    fill(store, 1)
    folder = tmp_path / "alerts.db.journal"
    folder.mkdir()
    (folder / "4194304-abcdef.jsonl").write_text("x" * 99 + "\n")
    for command in (["health"], ["history"], ["export", "x.csv"], ["backup", "y.db"]):
        done = run(*command, "-c", config)
        assert done.code == 0
        assert "1 journal holds 100 bytes of alerts" in done.said
    assert json.loads(run("health", "--json", "-c", config).out)["journals"] == {"files": 1, "unread_bytes": 100}
    assert (folder / "4194304-abcdef.jsonl").exists()


def test_reading_delivers_nothing(run, webhook, service, tmp_path):
    service.answer(503)
    assert run("send", "x", "--wait", "0", "-c", webhook).code == 1
    before = len(service.requests)
    for command in (["health"], ["history"], ["export", "x.csv"], ["dead", "list"], ["check"], ["backup", "y.db"]):
        run(*command, "-c", webhook)
    assert len(service.requests) == before


# ---------------------------------------------------------------------------------------------------------- backup


def test_backup_copies_a_store_in_use(run, store, config, tmp_path):
    fill(store, 7)
    assert run("backup", "copy.db", "-c", config).code == 0
    copy = SqliteOutbox(tmp_path / "copy.db")
    assert copy.ledger().accepted == 7
    copy.close()


def test_backup_never_overwrites(run, store, config, tmp_path):
    (tmp_path / "copy.db").write_text("mine")
    done = run("backup", "copy.db", "-c", config)
    assert done.code == 2
    assert done.err.startswith("copy.db exists: ")
    assert "never overwrites" in done.err
    assert (tmp_path / "copy.db").read_text() == "mine"
