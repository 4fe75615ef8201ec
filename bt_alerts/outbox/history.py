"""The history: queries, a DataFrame, and exports that stream: a million alerts take no more memory than a few."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bt_alerts.alert import FIELDS, Alert, AlertType, Priority, unix
from bt_alerts.compose import no_formula
from bt_alerts.outbox.base import AlertState, Outbox

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".json", ".jsonl", ".csv", ".parquet")
PAGE = 1_000
#: What was decided about an alert, as further columns where somebody asks for them.
DECISION = ("state", "reason", "rule")
SHORTEST = 6  # characters of an id


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """Which alerts. Everything left out matches.

    Args:
        type: an alert type.
        symbol: a symbol.
        strategy: a strategy's name.
        run: id of a run; ``"last"`` for the newest.
        since: not before; a time, ISO 8601 text, or Unix seconds.
        until: before.
        priority: at least this.
        limit: the newest so many.
        text: words that the alert has somewhere, in any order and of any case (of letters beyond ASCII only on
            PostgreSQL).
        state: what was decided: waiting, recorded, suppressed or planned.
    """

    type: AlertType | str | None = None
    symbol: str | None = None
    strategy: str | None = None
    run: str | None = None
    since: dt.datetime | float | str | None = None
    until: dt.datetime | float | str | None = None
    priority: Priority | str | None = None
    limit: int | None = None
    text: str = ""
    state: AlertState | str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """As SQL. Raises ``ValueError`` where a word or time is none."""
        terms: list[str] = []
        values: list[Any] = []
        if self.type is not None:
            terms.append("type = ?")
            values.append(_word(AlertType, self.type, "type"))
        for column in ("symbol", "strategy"):
            wanted = getattr(self, column)
            if wanted is not None:
                terms.append(f"{column} = ?")
                values.append(wanted)
        if self.run is not None:
            if self.run == "last":
                terms.append("run = (SELECT max(run) FROM alerts)")
            else:
                terms.append("run = ?")
                values.append(self.run)
        for value, sign in ((self.since, ">="), (self.until, "<")):
            if value is not None:
                terms.append(f"time {sign} ?")
                values.append(seconds(value))
        if self.priority is not None:
            terms.append("priority >= ?")
            values.append(Priority(_word(Priority, self.priority, "priority")).rank)
        if self.state is not None:
            terms.append("state = ?")
            values.append(_word(AlertState, self.state, "state"))
        for word in self.text.split():
            terms.append("lower(body) LIKE lower(?) ESCAPE '!'")
            values.append(f"%{_in_json(word)}%")
        return (" AND ".join(terms) or "1 = 1", values)


def _in_json(word: str) -> str:
    """As it stands in the body of an alert, with what ``LIKE`` takes for a joker."""
    written = json.dumps(word, ensure_ascii=False)[1:-1]
    return "".join(f"!{char}" if char in "!%_" else char for char in written)


def _word(words: Any, value: Any, what: str) -> str:
    try:
        return str(words(value).value)
    except ValueError:
        raise ValueError(f"{value!r} is no {what}: use one of {', '.join(w.value for w in words)}") from None


def seconds(value: dt.datetime | float | str) -> float:
    """A time in Unix seconds. Raises ``ValueError`` where it is none."""
    try:
        return unix(float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() and len(value) > 8
                    else value)  # fmt: skip
    except ValueError:
        raise ValueError(f"{value!r} is no time: write it as 2026-01-31 or 2026-01-31T15:30") from None


def count(outbox: Outbox, query: Query) -> int:
    """How many alerts match; ``limit`` at most, and then no more of them are looked at."""
    where, values = query.where()
    if query.limit is None:
        return int(next(outbox.rows(f"SELECT count(*) FROM alerts WHERE {where}", values))[0])
    bounded = f"SELECT count(*) FROM (SELECT 1 FROM alerts WHERE {where} LIMIT ?) AS found"
    return int(next(outbox.rows(bounded, [*values, max(0, query.limit)]))[0])


def alerts(outbox: Outbox, query: Query) -> Iterator[Alert]:
    """Those that match, oldest first."""
    for row in _rows(outbox, query, "body"):
        yield Alert.from_json(row[0])


def newest(outbox: Outbox, query: Query, most: int) -> list[tuple[int, Alert, dict[str, Any]]]:
    """Those that match, newest first and ``most`` of them: number, alert, and what was decided about it.

    What was decided has :data:`DECISION`, and ``acknowledged`` in Unix seconds.
    """
    where, values = query.where()
    rows = outbox.rows(
        f"SELECT seq, body, state, reason, rule, acknowledged FROM alerts WHERE {where} "
        "ORDER BY time DESC, seq DESC LIMIT ?",
        [*values, max(0, most)],
    )
    names = (*DECISION, "acknowledged")
    return [(seq, Alert.from_json(body), dict(zip(names, rest, strict=True))) for seq, body, *rest in rows]


def decided(outbox: Outbox, query: Query) -> Iterator[tuple[Alert, dict[str, Any]]]:
    """Those that match with :data:`DECISION`, ``trail``, what rules had to say, and ``seq``, the number in a store."""
    for body, *decision in _rows(outbox, query, "body, state, reason, rule, trail, seq"):
        yield Alert.from_json(body), dict(zip((*DECISION, "trail", "seq"), decision, strict=True))


class Named(NamedTuple):
    """An alert that somebody named: its id, itself as JSON, and when it was acknowledged, in Unix seconds."""

    id: str
    body: str
    acknowledged: float | None


def named(outbox: Outbox, word: str, most: int = 2, *, commands: bool = True) -> list[Named]:
    """The alerts that a person means by a word, the newest first.

    Args:
        outbox: the store.
        word: an id, a number in this store, or the beginning of an id, :data:`SHORTEST` characters at least.
        most: of those with the same beginning.
        commands: what somebody asked for in a chat counts too, which is kept as an alert.
    """
    ways: list[tuple[str, list[Any]]] = [("id = ?", [word])]
    if is_number(word):
        ways.append(("seq = ?", [int(word)]))
    if len(word) >= SHORTEST:
        ways.append(("substr(id, 1, ?) = ?", [len(word), word]))
    among = "" if commands else " AND kind != 'command'"
    sql = f"SELECT id, body, acknowledged FROM alerts WHERE %s{among} ORDER BY seq DESC LIMIT ?"
    tried = ([Named(*row) for row in outbox.rows(sql % where, [*values, most])] for where, values in ways)
    return next((found for found in tried if found), [])


def is_number(word: str) -> bool:
    """Whether a word can be an alert's number in a store."""
    return re.fullmatch("[1-9][0-9]{0,14}", word) is not None


def _rows(outbox: Outbox, query: Query, columns: str) -> Iterator[tuple[Any, ...]]:
    """Keyset pages, so that no read lasts longer than a page."""
    where, values = query.where()
    last: tuple[float, int] = (-1e18, 0)
    if query.limit is not None:
        newest = outbox.rows(
            f"SELECT time, seq FROM alerts WHERE {where} ORDER BY time DESC, seq DESC LIMIT 1 OFFSET ?",
            [*values, max(0, query.limit - 1)],
        )
        first = next(iter(newest), None) if query.limit > 0 else (1e18, 0)
        if first is not None:
            last = (first[0], first[1] - 1)
    while True:
        page = list(
            outbox.rows(
                f"SELECT time, seq, {columns} FROM alerts WHERE {where} AND (time, seq) > (?, ?) "
                "ORDER BY time, seq LIMIT ?",
                [*values, *last, PAGE],
            )
        )
        for row in page:
            yield row[2:]
        if len(page) < PAGE:
            return
        last = page[-1][:2]


def frame(
    outbox: Outbox, query: Query, *, why: bool = False, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """A DataFrame with the columns of :class:`~bt_alerts.Alert`, one row an alert, oldest first.

    With ``why`` it has those of :data:`DECISION` too; ``progress`` is called with how many are read, of how many.
    """
    import pandas as pd

    found = _found(outbox, query, why)
    if progress is not None:
        found = _counted(found, count(outbox, query), progress)
    more = DECISION if why else ()
    rows = [
        [*(getattr(alert, name) for name in FIELDS), *(decision[name] for name in more)] for alert, decision in found
    ]
    table = pd.DataFrame(rows, columns=[*FIELDS, *more])
    for name in ("time", "bar_time"):
        table[name] = pd.to_datetime(table[name], utc=True)
    for name in ("type", "priority", "source"):
        table[name] = table[name].map(str).astype("str" if len(table) else "object")
    return table


Row = tuple[Alert, Mapping[str, Any]]


def _found(outbox: Outbox, query: Query, why: bool) -> Iterator[Row]:
    return decided(outbox, query) if why else ((alert, {}) for alert in alerts(outbox, query))


def export(
    outbox: Outbox,
    query: Query,
    path: str | Path,
    progress: Callable[[int, int], None] = lambda done, of: None,
    *,
    why: bool = False,
) -> Path:
    """Write those that match to a file; its ending names the format.

    Args:
        outbox: the store.
        query: which.
        path: ends in ``.json``, ``.jsonl``, ``.csv`` or ``.parquet``.
        progress: called with how many are done, of how many.
        why: with :data:`DECISION` as further columns.

    Raises:
        ValueError: where the ending is none of these.
        OSError: where the file cannot be written; no half file is left.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path.name!r} names no format: end it in {', '.join(FORMATS)}")
    total = count(outbox, query)
    rows = _counted(_found(outbox, query, why), total, progress)
    part = path.with_name(path.name + ".part")
    try:
        _WRITERS[ending](part, rows, DECISION if why else ())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _counted(rows: Iterable[Row], total: int, progress: Callable[[int, int], None]) -> Iterator[Row]:
    next_tick = time.monotonic() + 0.1
    for i, row in enumerate(rows, 1):
        yield row
        if time.monotonic() >= next_tick:
            progress(i, total)
            next_tick = time.monotonic() + 0.1
    progress(total, total)


def _full(alert: Alert) -> dict[str, Any]:
    """Every field, so that each row of a table has each column."""
    row = alert.to_dict()
    return {name: row.get(name) for name in FIELDS}


def _line(alert: Alert, decision: Mapping[str, str], more: Sequence[str]) -> str:
    if not more:
        return alert.to_json()
    extra = json.dumps({name: decision[name] for name in more}, ensure_ascii=False, separators=(",", ":"))
    return f"{alert.to_json()[:-1]},{extra[1:]}"


def _write_json(path: Path, rows: Iterable[Row], more: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in rows:
            file.write(separator + _line(*row, more))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_jsonl(path: Path, rows: Iterable[Row], more: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_line(*row, more) + "\n")


def _flat(alert: Alert, decision: Mapping[str, str], more: Sequence[str]) -> dict[str, Any]:
    row = _full(alert) | {name: decision[name] for name in more}
    for name in ("data", "channels", "attachments"):
        row[name] = json.dumps(row[name], ensure_ascii=False) if row[name] else ""
    return {name: "" if value is None else value for name, value in row.items()}


def _write_csv(path: Path, rows: Iterable[Row], more: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*FIELDS, *more])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: no_formula(value) for name, value in _flat(*row, more).items()})


def _write_parquet(path: Path, rows: Iterable[Row], more: Sequence[str]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError('Parquet needs pyarrow: pip install "bt-alerts[parquet]"') from None
    times = {"time", "bar_time"}
    columns = [pa.field(n, pa.timestamp("us", tz="UTC") if n in times else pa.string()) for n in (*FIELDS, *more)]
    schema = pa.schema(columns)
    with pq.ParquetWriter(str(path), schema) as writer:
        page: list[dict[str, Any]] = []

        def flush() -> None:
            if page:
                writer.write_batch(pa.RecordBatch.from_pylist(page, schema=schema))
                page.clear()

        for alert, decision in rows:
            page.append(_flat(alert, decision, more) | {"time": alert.time, "bar_time": alert.bar_time})
            if len(page) >= PAGE:
                flush()
        flush()


_WRITERS: dict[str, Callable[[Path, Iterable[Row], Sequence[str]], None]] = {
    ".json": _write_json,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
