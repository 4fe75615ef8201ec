"""``bt-alerts health``: how channels, processes and ledgers do, once or again and again. It reads and writes nothing.

Done (0) where all is well, else 1, so that a monitor or a container's health check can call it. With ``--watch`` the
table is drawn anew in its place, and a store that cannot be read just now is said there and asked again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from bt_alerts.cli.journals import journal_words, unread
from bt_alerts.cli.shell import (
    FAILED,
    INTERRUPTED,
    Column,
    Config,
    complain,
    existing_store,
    load_settings,
    output,
    shown,
    store_sentence,
    table_of,
    why_not,
)
from bt_alerts.errors import StoreError

if TYPE_CHECKING:
    from bt_alerts.outbox.base import Ledger, Outbox
    from bt_alerts.settings import Settings


@dataclasses.dataclass(frozen=True)
class Health:
    """What was found at one look."""

    store: str
    channels: Mapping[str, Mapping[str, Any]]
    processes: Sequence[Mapping[str, Any]]
    ledger: Ledger
    journals: tuple[int, int]
    problems: Sequence[str]
    now: float


def health(
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often with --watch.")] = 2.0,
    oldest: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="How long a delivery may wait before that is a failure.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look.")] = False,
    config: Config = None,
) -> None:
    """Show how channels and workers do and whether every alert is accounted for. Done (0) only if all is well."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        if watch:
            _watch(settings, outbox, every, oldest * 60.0, as_json=as_json)
        try:
            found = _look(settings, outbox, oldest * 60.0)
        except StoreError as exc:  # settings and command are right: it failed, and may not the next time
            complain(store_sentence(exc))
            raise typer.Exit(FAILED) from None
    if as_json:
        _print_json(found)
    else:
        output().print(_page(found), soft_wrap=False)
    if found.problems:
        raise typer.Exit(FAILED)


def _watch(settings: Settings, outbox: Outbox, every: float, patience: float, *, as_json: bool) -> None:
    """Look until Ctrl-C. A terminal is drawn over; into a pipe or a file each look goes below the one before."""
    console = output()
    live = Live(console=console, auto_refresh=False, vertical_overflow="crop") if console.is_terminal else None
    try:
        with contextlib.nullcontext() if live is None or as_json else live:
            while True:
                try:
                    found = _look(settings, outbox, patience)
                except StoreError as exc:
                    _draw(console, None if as_json else live, shown(store_sentence(exc, ends=False), "red"))
                else:
                    if as_json:
                        _print_json(found)
                    else:
                        when = dt.datetime.fromtimestamp(found.now, dt.UTC)
                        said = Text(f"{when:%Y-%m-%d %H:%M:%S} UTC, every {every:g} s; Ctrl-C ends it", "dim")
                        _draw(console, live, Group(said, _page(found)))
                time.sleep(every)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _draw(console: Console, live: Live | None, what: RenderableType) -> None:
    if live is None:
        console.print(what)
        console.file.flush()
    else:
        live.update(what, refresh=True)


# What there is to see --------------------------------------------------------------------------------


def _look(settings: Settings, outbox: Outbox, patience: float) -> Health:
    from bt_alerts.delivery.health import channel_health, problems, process_health

    now = time.time()
    limited = settings.delivery.enable_rate_limiting
    rates = {name: float(channel.rate_limit) if limited else 0.0 for name, channel in settings.channels.items()}
    channels = channel_health(outbox, rates, now)
    processes = process_health(outbox.processes(), now)
    ledger = outbox.ledger()
    wrong = problems(channels, processes, now, patience=patience)
    if not ledger.balanced:
        wrong.append("A ledger does not balance: please report it, with the output of `bt-alerts health --json`.")
    return Health(outbox.name, channels, processes, ledger, unread(outbox), wrong, now)


def _print_json(found: Health) -> None:
    row = {
        "store": found.store,
        "ok": not found.problems,
        "problems": found.problems,
        "channels": found.channels,
        "processes": found.processes,
        "ledger": {**dataclasses.asdict(found.ledger), "balanced": found.ledger.balanced},
        "journals": dict(zip(("files", "unread_bytes"), found.journals, strict=True)),
    }
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(row, ensure_ascii=not utf8, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _page(found: Health) -> Group:
    return Group(*_parts(found))


def _parts(found: Health) -> Iterator[RenderableType]:
    ledger = found.ledger
    if found.channels:
        yield table_of(_CHANNELS, [_cells(name, state, found.now) for name, state in found.channels.items()])
    else:
        yield Text("No channel is configured, and none was used.")
    if found.processes:
        yield table_of(_PROCESSES, [_process_cells(each, found.now) for each in found.processes])
    for sentence in found.problems:
        yield shown(sentence, "red")
    for name, state in found.channels.items():
        if state["last_error"] and not any(state["last_error"] in sentence for sentence in found.problems):
            yield shown(f"{name}: the last error was at {state['last_error_at']:%Y-%m-%d %H:%M:%S} UTC: "
                        f"{state['last_error']}")  # fmt: skip
    alerts = {name: getattr(ledger, name) for name in ("recorded", "suppressed", "planned", "waiting")}
    yield _ledger_line("Alerts", ledger.accepted, "accepted", alerts)
    yield _ledger_line("Deliveries", ledger.created, "created", ledger.deliveries)
    for reason, count in sorted(ledger.reasons.items(), key=lambda item: -item[1]):
        yield shown(f"  {count:,} not sent: {why_not(reason)}")
    if ledger.unreadable:
        yield Text(f"{ledger.unreadable:,} lines of journals were unreadable; they are kept in the store.", "yellow")
    yield Text(journal_words(*found.journals) or "Journals: everything is in the store.")


_CHANNELS = (
    Column("channel"), Column("status", whole=True), Column("sent", right=True, whole=True),
    Column("failed", right=True, whole=True), Column("success", right=True, whole=True),
    Column("queue", right=True, whole=True), Column("held", 100, right=True, whole=True),
    Column("waits for", 90, right=True, whole=True), Column("breaker", 110), Column("now", 150),
    Column("median", 80, right=True, whole=True), Column("95 %", 80, right=True, whole=True),
)  # fmt: skip
_PROCESSES = (
    Column("process"), Column("pid", right=True, whole=True), Column("host", 70), Column("state"),
    Column("last seen", right=True, whole=True), Column("since", 90, whole=True),
)  # fmt: skip


def _cells(name: str, state: Mapping[str, Any], now: float) -> list[object]:
    from bt_alerts.delivery.health import spell, took

    oldest, until = state["oldest_pending"], state["breaker_until"]
    breaker = " ".join(filter(None, [state["breaker"], state["breaker_addresses"]]))
    return [
        name,
        shown(state["status"], {"ok": "green", "failing": "yellow"}.get(state["status"], "bold red")),
        f"{state['sent']:,}",
        f"{state['failed']:,}",
        f"{state['success_rate']:.1f} %" if state["sent"] + state["failed"] else "",
        f"{state['queue']:,}",
        f"{state['held']:,}",
        spell(now - oldest.timestamp()) if oldest else "",
        breaker + (f" until {until:%H:%M:%S}" if until else ""),
        _pace(state),
        took(state["latency_p50"]),
        took(state["latency_p95"]),
    ]


def _pace(state: Mapping[str, Any]) -> str:
    if state["held_until"] and state["breaker"] == "closed":
        return f"asked to wait until {state['held_until']:%H:%M:%S}"
    if state["paced_until"]:
        return f"paced until {state['paced_until']:%H:%M:%S}"
    if state["rate_now"] is not None and state["rate_now"] < state["rate"]:
        return f"{state['rate_now']:.3g} of {state['rate']:.3g} a minute"
    return ""


def _process_cells(each: Mapping[str, Any], now: float) -> list[object]:
    from bt_alerts.delivery.health import spell

    return [
        each["role"],
        str(each["pid"] or ""),
        each["host"],
        shown("alive", "green") if each["alive"] else shown("gone", "bold red"),
        f"{spell(now - each['seen'].timestamp())} ago",
        f"{each['started']:%Y-%m-%d %H:%M:%S}",
    ]


def _ledger_line(what: str, total: int, word: str, parts: Mapping[str, int]) -> Text:
    balanced = total == sum(parts.values())
    terms = " + ".join(f"{count:,} {name}" for name, count in parts.items() if count) or "0"
    verdict = ("✓ balanced", "green") if balanced else ("✗ does not balance", "bold red")
    return Text.assemble(f"{what}: {total:,} {word} {'=' if balanced else '≠'} {terms}  ", verdict)
