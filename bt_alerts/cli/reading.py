"""Commands that only read the store: ``history``, ``export`` and ``backup``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bt_alerts.cli.journals import mention_journals
from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Config,
    Stop,
    existing_store,
    load_settings,
    say,
    show_table,
    shown,
)

if TYPE_CHECKING:
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.outbox.history import Query

COUNTED = 100_000  # alerts; what goes on for years is not counted to its end for one line of text

#: By which `ack`, `snooze` and `route` take an alert, as `/ack` in a chat.
_NUMBER = Column("no.", right=True, whole=True)

# One meaning each, for `history` and `export`.
Type = Annotated[str | None, typer.Option("--type", help="Only this alert type, such as order or signal.")]
Symbol = Annotated[str | None, typer.Option("--symbol", help="Only this symbol.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="Only this strategy.")]
Run = Annotated[str | None, typer.Option("--run", help="Only this run, by its id; `last` is the newest.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Not before: 2026-01-31 or 2026-01-31T15:30, UTC.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]
AtLeast = Annotated[str | None, typer.Option("--priority", help="At least: critical, high, medium, low or info.")]
Words = Annotated[str, typer.Option("--search", metavar="WORDS", help="Has these words somewhere, in any order.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest so many.")]
Why = Annotated[bool, typer.Option("--why", help="What was decided about each, why, and by which rule.")]


# ----------------------------------------------------------------------------------------------- history and export


def history(
    *,
    type: Type = None,
    symbol: Symbol = None,
    strategy: Strategy = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    priority: AtLeast = None,
    search: Words = "",
    limit: Limit = 50,
    why: Why = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, every field.")] = False,
    config: Config = None,
) -> None:
    """Show the alerts, oldest first. Times are UTC."""
    from bt_alerts.outbox import history as store
    from bt_alerts.outbox.history import Query

    settings = load_settings(config)
    query = _checked(Query(type, symbol, strategy, run, since, until, priority, limit, search))
    with existing_store(settings) as outbox:
        if as_json:
            for alert, decision in store.decided(outbox, query):
                sys.stdout.write(_json_line(alert.to_dict() | {n: decision[n] for n in store.DECISION if why}))
            return
        alerts = list(store.decided(outbox, query))
        most = max(COUNTED, len(alerts) + 1)
        matching = store.count(outbox, dataclasses.replace(query, limit=most))
        if alerts and why:
            show_table(
                [_NUMBER, Column("time", 60, whole=True), Column("priority", 125, whole=True),
                 Column("kind", 105, whole=True), Column("symbol", 140), Column("title"),
                 Column("state", 90, whole=True), Column("rule", 90), Column("why")],
                _why_rows(outbox, alerts),
            )  # fmt: skip
        elif alerts:
            show_table(
                [_NUMBER, Column("time", whole=True), Column("priority", 60, whole=True),
                 Column("kind", 105, whole=True), Column("symbol", 140), Column("strategy", 160),
                 Column("title"), Column("message", 125)],
                [_alert_row(alert, decision["seq"]) for alert, decision in alerts],
            )  # fmt: skip
        say(_how_many(len(alerts), matching, most))
        if gone := outbox.forgotten():
            say(f"{gone:,} older alert{'s were' if gone != 1 else ' was'} pruned; the ledger still counts them.", "dim")
        mention_journals(outbox)


def _checked(query: Query) -> Query:
    """The query, or the end of the command where one of its words or times is none."""
    try:
        query.where()
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    return query


def _alert_row(alert: Alert, number: int) -> list[object]:
    style = alert.priority.style.terminal
    lines = alert.message.strip().splitlines()
    message = shown(lines[0] if lines else "")
    message.truncate(200, overflow="ellipsis")
    return [
        number,
        f"{alert.time:%Y-%m-%d %H:%M:%S}",
        shown(alert.priority.value, style),
        alert.kind,
        alert.symbol,
        alert.strategy,
        alert.title,
        message,
    ]


def _why_rows(outbox: Outbox, alerts: Sequence[tuple[Alert, Mapping[str, Any]]]) -> Iterator[list[object]]:
    from bt_alerts.delivery.report import in_words, why

    elsewhere = _reasons_of_deliveries(outbox, [alert.id for alert, _ in alerts])
    for alert, decision in alerts:
        said = [why(decision["reason"])] if decision["reason"] else in_words(decision["trail"])
        also = [why(reason) for reason in elsewhere.get(alert.id, ())]
        yield [
            decision["seq"],
            f"{alert.time:%Y-%m-%d %H:%M:%S}",
            shown(alert.priority.value, alert.priority.style.terminal),
            alert.kind,
            alert.symbol,
            alert.title,
            decision["state"],
            decision["rule"],
            "; ".join([*said, *(words for words in also if not any(words in each for each in said))]),
        ]


def _reasons_of_deliveries(outbox: Outbox, ids: Sequence[str]) -> dict[str, list[str]]:
    """Why something of an alert waits or goes elsewhere, by the alert's id; a fallback is known only there."""
    found: dict[str, list[str]] = {}
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        for id_, reason in outbox.rows(f"{_REASONS} AND a.id IN ({marks}) ORDER BY d.seq", some):
            if reason not in found.setdefault(id_, []):
                found[id_].append(reason)
    return found


_AT_ONCE = 500
_REASONS = "SELECT a.id, d.reason FROM deliveries d JOIN alerts a ON a.seq = d.alert WHERE d.reason != ''"


def _how_many(shown_now: int, matching: int, most: int) -> str:
    if not matching:
        return "No alert matches."
    if shown_now < matching:
        more = "" if matching < most else " or more"
        return f"The newest {shown_now:,} of {matching:,}{more}; --limit shows more."
    return f"{matching:,} alert{'s' if matching != 1 else ''}."


def _json_line(row: dict[str, Any]) -> str:
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return json.dumps(row, ensure_ascii=not utf8) + "\n"


def export(
    file: Annotated[Path, typer.Argument(help="Ends in .json, .jsonl, .csv or .parquet, which names the format.")],
    *,
    type: Type = None,
    symbol: Symbol = None,
    strategy: Strategy = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    priority: AtLeast = None,
    search: Words = "",
    limit: Limit = None,
    why: Why = False,
    config: Config = None,
) -> None:
    """Write the alerts to a file. Everything unless filters say less; a file that is there is replaced."""
    from bt_alerts.outbox import history as store
    from bt_alerts.outbox.history import Query
    from bt_alerts.render.progress import slow_progress

    settings = load_settings(config)
    query = _checked(Query(type, symbol, strategy, run, since, until, priority, limit, search))
    with existing_store(settings) as outbox:
        try:
            with slow_progress(f"exporting to {file.name}") as progress:
                store.export(outbox, query, file, progress, why=why)
        except ValueError as exc:
            raise Stop(WRONG_USE, f"{exc}.") from None
        except OSError as exc:
            raise Stop(FAILED, f"{file} cannot be written: {exc.strerror or exc}.") from None
        found = store.count(outbox, query)
        say(f"Wrote {found:,} alert{'s' if found != 1 else ''} to {file}.")
        mention_journals(outbox)


# ---------------------------------------------------------------------------------------------------------- backup


def backup(
    file: Annotated[Path, typer.Argument(help="The copy; it must not exist yet.")],
    config: Config = None,
) -> None:
    """Copy the store while it is in use."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        outbox.backup(file)
        say(f"Copied {outbox.name} to {file}.")
        if outbox.attachments is not None and outbox.attachments.is_dir():
            say(f"Attachments are files of their own: copy the folder {outbox.attachments} too.")
        mention_journals(outbox)
