"""The history: which alerts, as a table, and as files."""

from __future__ import annotations

import csv
import datetime as dt
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from alerts_kit import alert

from bt_alerts.alert import FIELDS, Alert, AlertType, Attachment, Priority
from bt_alerts.outbox import history
from bt_alerts.outbox.base import AlertState, Outbox
from bt_alerts.outbox.history import Query
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Reason

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def fill(outbox: Outbox) -> list[Alert]:
    made = [
        alert(
            f"{i}", time=DAY + dt.timedelta(days=i), symbol=symbol, strategy=strategy, type=type_, priority=p, run=run
        )
        for i, (symbol, strategy, type_, p, run) in enumerate(
            [
                ("AAPL", "one", "order", "high", "run1"),
                ("AAPL", "two", "trade", "low", "run1"),
                ("MSFT", "one", "order", "critical", "run2"),
                ("", "", "custom", "medium", ""),
                ("AAPL", "one", "error", "info", "run2"),
            ]
        )
    ]
    outbox.record(made, Reason.HISTORY)
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), "01234"),
        (Query(type="order"), "02"),
        (Query(type=AlertType.ERROR), "4"),
        (Query(symbol="AAPL"), "014"),
        (Query(symbol=""), "3"),
        (Query(text="aapl run1"), "01"),
        (Query(text="%"), ""),
        (Query(text="run_"), ""),
        (Query(state="recorded"), "01234"),
        (Query(state=AlertState.PLANNED), ""),
        (Query(strategy="one"), "024"),
        (Query(run="run1"), "01"),
        (Query(run="last"), "24"),
        (Query(since="2026-01-03"), "234"),
        (Query(until="2026-01-03"), "01"),
        (Query(since=DAY + dt.timedelta(days=1), until=(DAY + dt.timedelta(days=3)).timestamp()), "12"),
        (Query(since=str(int(DAY.timestamp()) + 86_400 * 4)), "4"),
        (Query(priority="high"), "02"),
        (Query(priority=Priority.INFO), "01234"),
        (Query(symbol="AAPL", strategy="one", type="order"), "0"),
        (Query(limit=2), "34"),
        (Query(limit=99), "01234"),
        (Query(limit=0), ""),
        (Query(limit=-1), ""),
        (Query(symbol="AAPL", limit=2), "14"),
    ],
    ids=str,
)
def test_a_query_finds_its_alerts_oldest_first(outbox: Outbox, query: Query, found: str) -> None:
    fill(outbox)
    assert "".join(a.message for a in history.alerts(outbox, query)) == found
    assert history.count(outbox, query) == len(found)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (Query(type="sms"), "'sms' is no type: use one of signal, order"),
        (Query(priority="urgent"), "'urgent' is no priority: use one of critical, high"),
        (Query(since="yesterday"), "'yesterday' is no time: write it as 2026-01-31"),
    ],
)
def test_a_wrong_word_gets_the_sentence(outbox: Outbox, query: Query, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        list(history.alerts(outbox, query))


def test_pages_neither_repeat_nor_skip_alerts_of_one_moment(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 7)
    made = [alert(i, time=DAY) for i in range(50)]
    outbox.record(made, Reason.HISTORY)
    assert list(history.alerts(outbox, Query())) == made
    assert list(history.alerts(outbox, Query(limit=20))) == made[-20:]


# As a table ------------------------------------------------------------------------------------------


def test_the_frame_has_the_fields_of_an_alert(outbox: Outbox) -> None:
    made = fill(outbox)
    table = history.frame(outbox, Query())
    assert list(table.columns) == list(FIELDS)
    assert len(table) == 5
    for name in ("time", "bar_time"):
        assert isinstance(table[name].dtype, pd.DatetimeTZDtype)
        assert str(table[name].dt.tz) == "UTC"
    assert table["priority"].tolist() == ["high", "low", "critical", "medium", "info"]
    assert {type(value) for name in ("type", "priority", "source") for value in table[name]} == {str}
    assert table["time"].iloc[1] == pd.Timestamp("2026-01-02", tz="UTC")
    assert table["id"].tolist() == [a.id for a in made]
    assert table[table.priority == "high"].symbol.tolist() == ["AAPL"]


def test_the_frame_of_an_empty_history_has_the_same_columns(outbox: Outbox) -> None:
    table = history.frame(outbox, Query())
    assert table.empty
    assert list(table.columns) == list(FIELDS)
    assert isinstance(table["time"].dtype, pd.DatetimeTZDtype)


# As files --------------------------------------------------------------------------------------------


def rich(outbox: Outbox) -> list[Alert]:
    made = [
        alert("plain", time=DAY),
        alert(
            'quotes " and, commas\nand lines 😀', time=DAY + dt.timedelta(days=1), bar_time=DAY, data={"a": [1, None]},
            channels=["x"], dedupe_key="k", attachments=[Attachment("n", "image/png", "0" * 64, 1, "p")], symbol="A",
        ),
    ]  # fmt: skip
    outbox.record(made, Reason.HISTORY)
    return made


def test_json_and_jsonl_give_back_equal_alerts(outbox: Outbox, tmp_path: Path) -> None:
    made = rich(outbox)
    rows = json.loads(history.export(outbox, Query(), tmp_path / "a.json").read_text("utf-8"))
    assert [Alert.from_dict(row) for row in rows] == made
    lines = history.export(outbox, Query(), tmp_path / "a.JSONL").read_text("utf-8").splitlines()
    assert [Alert.from_json(line) for line in lines] == made


def test_csv_has_every_field_of_every_alert(outbox: Outbox, tmp_path: Path) -> None:
    made = rich(outbox)
    with history.export(outbox, Query(), tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(FIELDS)
    assert [row["message"] for row in rows] == [a.message for a in made]
    assert json.loads(rows[1]["data"]) == {"a": [1, None]}
    assert rows[0]["bar_time"] == rows[0]["data"] == ""
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_a_formula_in_csv_is_text(outbox: Outbox, tmp_path: Path, text: str) -> None:
    outbox.record([alert(text, title=text, symbol=text)], Reason.HISTORY)
    with history.export(outbox, Query(), tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name][0] for name in ("message", "title", "symbol")] == ["'"] * 3
    assert row["message"] == "'" + text


def test_parquet_keeps_times_as_times(outbox: Outbox, tmp_path: Path) -> None:
    made = rich(outbox)
    table = pq.read_table(history.export(outbox, Query(), tmp_path / "a.parquet")).to_pylist()
    assert [row["time"] for row in table] == [a.time for a in made]
    assert [row["bar_time"] for row in table] == [None, DAY]
    assert json.loads(table[1]["data"]) == {"a": [1, None]}
    assert list(table[0]) == list(FIELDS)


def test_what_was_decided_comes_along_where_it_is_asked_for(outbox: Outbox, tmp_path: Path) -> None:
    made = [alert("kept", time=DAY), alert("hushed", time=DAY + dt.timedelta(days=1))]
    with outbox.transaction() as tx:
        for each, decision in zip(
            made, [(AlertState.RECORDED, Reason.HISTORY), (AlertState.SUPPRESSED, Reason.COOLDOWN, "calm")], strict=True
        ):
            seq = tx.add_alert(each, AlertState.WAITING)
            assert seq is not None
            tx.decide(seq, *decision)
    expected = [("recorded", "history", ""), ("suppressed", "cooldown", "calm")]
    paths = {ending: history.export(outbox, Query(), tmp_path / f"a{ending}", why=True) for ending in history.FORMATS}
    rows: dict[str, list[dict[str, Any]]] = {
        ".json": json.loads(paths[".json"].read_text("utf-8")),
        ".jsonl": [json.loads(line) for line in paths[".jsonl"].read_text("utf-8").splitlines()],
        ".csv": list(csv.DictReader(paths[".csv"].read_text("utf-8").splitlines())),
        ".parquet": pq.read_table(paths[".parquet"]).to_pylist(),
    }
    for found in rows.values():
        assert [tuple(row[name] for name in history.DECISION) for row in found] == expected
    assert [Alert.from_dict(row) for row in rows[".json"]] == made  # what is more than an alert is passed over
    table = history.frame(outbox, Query(), why=True)
    assert list(table.columns) == [*FIELDS, "state", "reason", "rule"]
    assert list(table[list(history.DECISION)].itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("ending", history.FORMATS)
def test_an_empty_history_is_a_valid_file(outbox: Outbox, tmp_path: Path, ending: str) -> None:
    path = history.export(outbox, Query(), tmp_path / f"a{ending}")
    read: dict[str, Any] = {
        ".json": lambda: json.loads(path.read_text()),
        ".jsonl": lambda: path.read_text().splitlines(),
        ".csv": lambda: list(csv.DictReader(path.open())),
        ".parquet": lambda: pq.read_table(path).to_pylist(),
    }
    assert read[ending]() == []


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.csv.gz"])
def test_an_unknown_ending_lists_the_known_ones(outbox: Outbox, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"names no format: end it in \.json, \.jsonl, \.csv, \.parquet"):
        history.export(outbox, Query(), tmp_path / name)
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize("ending", history.FORMATS)
def test_a_file_that_cannot_be_written_leaves_no_half_file(outbox: Outbox, tmp_path: Path, ending: str) -> None:
    rich(outbox)
    (tmp_path / "file").write_text("")
    (tmp_path / f"taken{ending}").mkdir()
    for path in (tmp_path / "file" / f"a{ending}", tmp_path / "nowhere" / f"a{ending}", tmp_path / f"taken{ending}"):
        with pytest.raises(OSError, match=r".+"):
            history.export(outbox, Query(), path)
    assert not list(tmp_path.glob("**/*.part"))


def test_an_export_that_is_interrupted_leaves_the_file_that_was_there(outbox: Outbox, tmp_path: Path) -> None:
    rich(outbox)
    path = tmp_path / "a.json"
    path.write_text("before")

    def interrupted(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.export(outbox, Query(), path, interrupted)
    assert [file.name for file in tmp_path.glob("a.json*")] == ["a.json"]
    assert path.read_text() == "before"


def test_progress_ends_at_the_whole(outbox: Outbox, tmp_path: Path) -> None:
    fill(outbox)
    seen: list[tuple[int, int]] = []
    history.export(outbox, Query(limit=3), tmp_path / "a.json", lambda done, of: seen.append((done, of)))
    assert seen[-1] == (3, 3)


@pytest.mark.parametrize(
    ("ending", "limit"), [(".csv", 20_000), (".parquet", 20_000), (".json", 4_000), (".jsonl", 4_000)]
)
def test_exporting_many_takes_little_memory(big: SqliteOutbox, tmp_path: Path, ending: str, limit: int) -> None:
    history.export(big, Query(limit=10), tmp_path / f"warm{ending}")
    tracemalloc.start()
    path = history.export(big, Query(limit=limit), tmp_path / f"big{ending}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 100_000
    assert peak < 450 * limit + 3_000_000  # an alert in memory takes 2 kB


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteOutbox]:
    made = SqliteOutbox(tmp_path_factory.mktemp("big") / "s.db")
    first = alert("something happened", data={"price": 1.5, "why": "x" * 200})
    made.record((first.replace(id=f"{i:032}", symbol=f"S{i}") for i in range(20_000)), Reason.HISTORY)
    yield made
    made.close()
