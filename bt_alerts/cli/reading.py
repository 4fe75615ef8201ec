"""Commands that only read the store: ``history``, ``export``, ``health`` and ``backup``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Config,
    Stop,
    complain,
    existing_store,
    load_settings,
    say,
    show_table,
    shown,
    why_not,
)

if TYPE_CHECKING:
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.base import Ledger, Outbox
    from bt_alerts.outbox.history import Query

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
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest so many.")]


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
    limit: Limit = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, every field.")] = False,
    config: Config = None,
) -> None:
    """Show the alerts, oldest first. Times are UTC."""
    from bt_alerts.outbox import history as store
    from bt_alerts.outbox.history import Query

    settings = load_settings(config)
    query = _checked(Query(type, symbol, strategy, run, since, until, priority, limit))
    with existing_store(settings) as outbox:
        if as_json:
            for alert in store.alerts(outbox, query):
                sys.stdout.write(_json_line(alert.to_dict()))
            return
        alerts = list(store.alerts(outbox, query))
        matching = store.count(outbox, dataclasses.replace(query, limit=None))
        if alerts:
            show_table(
                [Column("time", whole=True), Column("priority", whole=True), Column("kind", 105, whole=True),
                 Column("symbol", 140), Column("strategy", 160), Column("title"), Column("message", 125)],
                [_alert_row(alert) for alert in alerts],
            )  # fmt: skip
        say(_how_many(len(alerts), matching))
        _mention_journals(outbox)


def _checked(query: Query) -> Query:
    """The query, or the end of the command where one of its words or times is none."""
    try:
        query.where()
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    return query


def _alert_row(alert: Alert) -> list[object]:
    style = alert.priority.style.terminal
    lines = alert.message.strip().splitlines()
    message = shown(lines[0] if lines else "")
    message.truncate(200, overflow="ellipsis")
    return [
        f"{alert.time:%Y-%m-%d %H:%M:%S}",
        shown(alert.priority.value, style),
        alert.kind,
        alert.symbol,
        alert.strategy,
        alert.title,
        message,
    ]


def _how_many(shown_now: int, matching: int) -> str:
    if not matching:
        return "No alert matches."
    if shown_now < matching:
        return f"The newest {shown_now:,} of {matching:,}; --limit shows more."
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
    limit: Limit = None,
    config: Config = None,
) -> None:
    """Write the alerts to a file. Everything unless filters say less; a file that is there is replaced."""
    from bt_alerts.outbox import history as store
    from bt_alerts.outbox.history import Query
    from bt_alerts.render.progress import slow_progress

    settings = load_settings(config)
    query = _checked(Query(type, symbol, strategy, run, since, until, priority, limit))
    with existing_store(settings) as outbox:
        try:
            with slow_progress(f"exporting to {file.name}") as progress:
                store.export(outbox, query, file, progress)
        except ValueError as exc:
            raise Stop(WRONG_USE, f"{exc}.") from None
        except OSError as exc:
            raise Stop(FAILED, f"{file} cannot be written: {exc.strerror or exc}.") from None
        found = store.count(outbox, query)
        say(f"Wrote {found:,} alert{'s' if found != 1 else ''} to {file}.")
        _mention_journals(outbox)


# ---------------------------------------------------------------------------------------------------------- health


def health(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Config = None,
) -> None:
    """Show how the channels do and whether every alert is accounted for. Done (0) only if all is well."""
    from bt_alerts.delivery.report import channel_health

    settings = load_settings(config)
    with existing_store(settings) as outbox:
        channels = channel_health(outbox, list(settings.channels))
        ledger = outbox.ledger()
        files, unread = _journals(outbox)
    well = ledger.balanced and all(state["status"] == "ok" for state in channels.values())
    if as_json:
        sys.stdout.write(
            _json_line({"store": settings.store, "ok": well, **_health_row(channels, ledger, files, unread)})
        )
    else:
        _show_health(channels, ledger, files, unread)
    if not well:
        raise typer.Exit(FAILED)


def _health_row(channels: dict[str, dict[str, Any]], ledger: Ledger, files: int, unread: int) -> dict[str, Any]:
    plain = {
        name: {key: value.isoformat() if isinstance(value, dt.datetime) else value for key, value in state.items()}
        for name, state in channels.items()
    }
    return {
        "channels": plain,
        "ledger": {**dataclasses.asdict(ledger), "balanced": ledger.balanced},
        "journals": {"files": files, "unread_bytes": unread},
    }


def _show_health(channels: dict[str, dict[str, Any]], ledger: Ledger, files: int, unread: int) -> None:
    if channels:
        show_table(
            [Column("channel"), Column("status"), Column("sent", right=True), Column("failed", right=True),
             Column("success", right=True, whole=True), Column("queue", right=True), Column("held", 90, right=True),
             Column("oldest pending", 110, whole=True), Column("median", 70, right=True, whole=True),
             Column("95 %", 70, right=True, whole=True)],
            [_health_cells(name, state) for name, state in channels.items()],
        )  # fmt: skip
    else:
        say("No channel is configured, and none was used.")
    for name, state in channels.items():
        if state["disabled"]:
            say(f"{name} is disabled: {state['disabled']}", "red")
            say(f"  Mend its settings, then: bt-alerts test {name}")
        elif state["last_error"]:
            say(f"{name}: the last error was at {state['last_error_at']:%Y-%m-%d %H:%M:%S} UTC: {state['last_error']}")
    alerts = {name: getattr(ledger, name) for name in ("recorded", "suppressed", "planned", "waiting")}
    say(_ledger_line("Alerts", ledger.accepted, "accepted", alerts))
    say(_ledger_line("Deliveries", ledger.created, "created", ledger.deliveries))
    for reason, count in sorted(ledger.reasons.items(), key=lambda item: -item[1]):
        say(f"  {count:,} not sent: {why_not(reason)}")
    if ledger.unreadable:
        say(f"{ledger.unreadable:,} lines of journals were unreadable; they are kept in the store.", "yellow")
    say(_journal_words(files, unread) or "Journals: everything is in the store.")


def _health_cells(name: str, state: dict[str, Any]) -> list[object]:
    style = {"ok": "green", "failing": "yellow"}.get(state["status"], "bold red")
    oldest = state["oldest_pending"]
    return [
        name,
        shown(state["status"], style),
        f"{state['sent']:,}",
        f"{state['failed']:,}",
        f"{state['success_rate']:.1f} %",
        f"{state['queue']:,}",
        f"{state['held']:,}",
        f"{oldest:%Y-%m-%d %H:%M:%S}" if oldest else "",
        _milliseconds(state["latency_p50"]),
        _milliseconds(state["latency_p95"]),
    ]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:,.0f} ms"


def _ledger_line(what: str, total: int, word: str, parts: Any) -> Text:
    balanced = total == sum(parts.values())
    terms = " + ".join(f"{count:,} {name}" for name, count in parts.items() if count) or "0"
    verdict = ("✓ balanced", "green") if balanced else ("✗ does not balance", "bold red")
    return Text.assemble(f"{what}: {total:,} {word} {'=' if balanced else '≠'} {terms}  ", verdict)


def _journals(outbox: Outbox) -> tuple[int, int]:
    """How many journals hold lines that are not in the store yet, and how many bytes. Nothing is opened or locked."""
    files = unread = 0
    for path in sorted(outbox.journals.glob("*.jsonl")) if outbox.journals is not None else ():
        try:
            left = path.stat().st_size - outbox.position(path.stem)
        except OSError:  # drained and removed meanwhile
            continue
        if left > 0:
            files, unread = files + 1, unread + left
    return files, unread


def _journal_words(files: int, unread: int) -> str:
    if not files:
        return ""
    which = "1 journal holds" if files == 1 else f"{files:,} journals hold"
    return (
        f"{which} {unread:,} bytes of alerts that are not in the store yet: a running process is about to put them "
        "there, or the next one that delivers will."
    )


def _mention_journals(outbox: Outbox) -> None:
    words = _journal_words(*_journals(outbox))
    if words:
        complain(words, style="yellow")


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
        _mention_journals(outbox)
