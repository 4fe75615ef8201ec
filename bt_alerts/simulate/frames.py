"""A simulation as tables: pandas DataFrames, and the CSV files made of them.

Times are aware, in the simulation's zone; lengths of time are seconds. Text is as it was recorded, with the secrets of
this process masked. In a CSV, text that a spreadsheet would run as a formula gets a quote in front.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts.compose import no_formula
from bt_alerts.redact import redact
from bt_alerts.simulate import figures
from bt_alerts.simulate.proposals import propose

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.simulate.result import Simulation
    from bt_alerts.simulate.rows import SimulatedDelivery


def alerts(simulation: Simulation) -> pd.DataFrame:
    """One row an alert."""
    reached: dict[str, list[SimulatedDelivery]] = {}
    for delivery in simulation.deliveries:
        if delivery.message is not None:
            reached.setdefault(delivery.alert, []).append(delivery)
    rows = []
    for row in simulation.alerts:
        alert, got = row.alert, reached.get(row.alert.id, [])
        rows.append(
            {
                "time": alert.time.timestamp(),
                "type": alert.type.value,
                "kind": alert.kind,
                "priority": alert.priority.value,
                "symbol": redact(alert.symbol),
                "strategy": redact(alert.strategy),
                "title": redact(alert.title),
                "told": bool(got),
                "channels": ", ".join(dict.fromkeys(delivery.channel for delivery in got)),
                "silent": bool(got) and all(delivery.silent for delivery in got),
                "state": row.state,
                "reason": redact(figures.reason_words(row.reason)) if row.reason else "",
                "rule": redact(row.rule),
                "trail": redact("; ".join(row.trail)),
                "id": alert.id,
            }
        )
    columns = "time type kind priority symbol strategy title told channels silent state reason rule trail id"
    return _frame(simulation, rows, columns)


def deliveries(simulation: Simulation) -> pd.DataFrame:
    """One row an alert and address."""
    rows = [
        {
            "alert": row.alert,
            "channel": row.channel,
            "target": redact(row.target),
            "state": row.state,
            "outcome": row.outcome,
            "detail": redact(row.detail),
            "reason": row.reason,
            "created": row.created,
            "due": row.due,
            "settled": row.settled,
            "arrived": None if row.message is None else simulation.messages[row.message].time,
            "attempts": row.attempts,
            "silent": row.silent,
            "message": row.message,
        }
        for row in simulation.deliveries
    ]
    columns = "alert channel target state outcome detail reason created due settled arrived attempts silent message"
    frame = _frame(simulation, rows, columns)
    frame["message"] = frame["message"].astype("Int64")
    return frame


def messages(simulation: Simulation) -> pd.DataFrame:
    """One row a message that a service took; its number is what ``deliveries`` names."""
    rows = [
        {
            "time": row.time,
            "channel": row.channel,
            "type": row.type,
            "target": redact(row.target),
            "title": redact(row.title),
            "text": redact(row.text),
            "priority": row.priority.value,
            "alerts": len(row.alerts),
            "silent": row.silent,
            "late": row.late,
            "batch": row.batch.partition(":")[0],
            "units": row.units,
            "cost": row.cost,
        }
        for row in simulation.messages
    ]
    columns = "time channel type target title text priority alerts silent late batch units cost"
    return _frame(simulation, rows, columns)


def per_day(simulation: Simulation) -> pd.DataFrame:
    """Messages by day, channel and priority; only what there was."""
    rows = [
        {"day": day, "channel": channel, "priority": priority.value, "messages": n}
        for day, counts in figures.per_day(simulation).items()
        for (channel, priority), n in sorted(counts.items(), key=lambda item: (item[0][0], -item[0][1].rank))
    ]
    frame = _frame(simulation, rows, "day channel priority messages")
    frame["day"] = frame["day"].astype("datetime64[ns]")
    return frame


def suppressed(simulation: Simulation) -> pd.DataFrame:
    """What was not sent, by reason and rule."""
    rows = [
        {"state": row.state, "reason": row.reason, "rule": row.rule, "n": row.n, "words": row.words}
        for row in figures.suppressed(simulation)
    ]
    return _frame(simulation, rows, "state reason rule n words")


def held(simulation: Simulation) -> pd.DataFrame:
    """What did not go at once, by channel and reason; seconds."""
    rows = [
        {"channel": row.channel, "reason": row.reason, "n": row.n, "median": row.median, "longest": row.longest}
        for row in figures.held(simulation)
    ]
    return _frame(simulation, rows, "channel reason n median longest")


def waits(simulation: Simulation) -> pd.DataFrame:
    """From the event to the phone, by channel and priority; seconds."""
    rows = [
        {
            "channel": row.channel,
            "priority": row.priority.value,
            "n": row.n,
            "median": row.median,
            "p95": row.p95,
            "longest": row.longest,
        }
        for row in figures.waits(simulation)
    ]
    return _frame(simulation, rows, "channel priority n median p95 longest")


def noisiest(simulation: Simulation, most: int) -> pd.DataFrame:
    """The keys with the most messages, each with a rule to try."""
    symbols: dict[str, set[str]] = {}
    for row in simulation.alerts:
        symbols.setdefault(row.alert.kind, set()).add(row.alert.symbol)
    strategies = {row.alert.strategy for row in simulation.alerts}
    rows = []
    for noise in figures.noise(simulation, most):
        proposal = propose(noise, strategies=strategies, symbols=symbols[noise.key.kind], zone=simulation.zone)
        rows.append(
            {
                "kind": noise.key.kind,
                "symbol": redact(noise.key.symbol),
                "strategy": redact(noise.key.strategy),
                "alerts": noise.alerts,
                "messages": noise.messages,
                "rule": proposal.rule,
                "why": proposal.why,
                "saved": proposal.saved,
            }
        )
    return _frame(simulation, rows, "kind symbol strategy alerts messages rule why saved")


def bites(simulation: Simulation) -> pd.DataFrame:
    """Where a limit or quota of a service would bite."""
    rows = [
        {
            "channel": row.channel,
            "limit": row.limit,
            "first": row.first,
            "times": row.times,
            "over": row.over,
            "worst": row.worst,
        }
        for row in simulation.bites
    ]
    return _frame(simulation, rows, "channel limit first times over worst")


# -------------------------------------------------------------------------------------------- making them

_TIMES = frozenset({"time", "created", "due", "settled", "arrived", "first"})


def _frame(simulation: Simulation, rows: list[dict[str, Any]], columns: str) -> pd.DataFrame:
    import pandas as pd

    zone = figures.zone_of(simulation.zone)
    frame = pd.DataFrame(rows, columns=columns.split())
    for name in _TIMES.intersection(frame.columns):
        moments = [None if row[name] is None else dt.datetime.fromtimestamp(row[name], dt.UTC) for row in rows]
        frame[name] = pd.Series(pd.to_datetime(moments, utc=True), index=frame.index).dt.tz_convert(zone)
    return frame


# ---------------------------------------------------------------------------------------------- CSV

#: The files of a folder, and what each of them is made by.
FILES: Mapping[str, Callable[[Simulation], pd.DataFrame]] = {
    "alerts": alerts,
    "deliveries": deliveries,
    "messages": messages,
    "per_day": per_day,
    "suppressed": suppressed,
    "held": held,
    "waits": waits,
    "noisiest": lambda simulation: noisiest(simulation, 10),
    "limits": bites,
}


def fates(simulation: Simulation) -> pd.DataFrame:
    """One row an alert and address, and one for each alert that has none: what became of everything."""
    left, right = alerts(simulation), deliveries(simulation)
    left = left[[name for name in left.columns if name not in {"channels", "silent", "trail"}]]
    wanted = ["channel", "target", "state", "reason", "outcome", "created", "arrived", "attempts", "silent", "message"]
    right = right[["alert", *wanted]].rename(columns={"state": "delivery", "reason": "waited_for"})
    table = left.merge(right, how="left", left_on="id", right_on="alert").drop(columns="alert")
    return table.astype({"attempts": "Int64", "silent": "boolean"})  # where there is no delivery there is no figure


def to_csv(simulation: Simulation, path: str | Path) -> Path:
    """Write :func:`fates` to a file that ends in ``.csv``, every table to a folder."""
    path = Path(path)
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return _write(path, fates(simulation))
    if path.suffix and not path.is_dir():
        raise ValueError(f"{path.name!r}: end the file in .csv, or name a folder, which gets a file for each table")
    path.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        _write(path / f"{name}.csv", make(simulation))
    return path


def _write(path: Path, frame: pd.DataFrame) -> Path:
    import csv

    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(frame.columns)
            for row in frame.itertuples(index=False, name=None):
                writer.writerow(_cells(row))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _cells(row: Iterable[Any]) -> list[Any]:
    import pandas as pd

    return [
        no_formula(value) if isinstance(value, str) else "" if value is None or pd.isna(value) else value
        for value in row
    ]
