"""``bt-alerts dead``: what was given up, once more or for good."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from bt_alerts.alert import Alert
from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Config,
    Stop,
    complain,
    delivering,
    errors,
    existing_store,
    load_settings,
    plan,
    say,
    show_table,
    shown,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bt_alerts.outbox.base import Outbox

app = typer.Typer(
    help="Alerts that could not be delivered: list them, deliver them after all, or give them up for good.",
    no_args_is_help=True,
)

Numbers = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Numbers that `dead list` shows.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command("list")
def list_(config: Config = None) -> None:
    """Show what was given up or expired, oldest first."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        letters = list(outbox.dead_letters())
    if not letters:
        say("There are no dead letters.")
        return
    show_table(
        [Column("number", right=True, whole=True), Column("given up", 70, whole=True), Column("channel"),
         Column("target", 120), Column("state", 100), Column("tries", 100, right=True), Column("title"),
         Column("answer")],
        [
            [str(letter.number), f"{dt.datetime.fromtimestamp(letter.settled, dt.UTC):%Y-%m-%d %H:%M}", letter.channel,
             letter.label, letter.state.value, str(letter.attempts), letter.alert.title, letter.detail]
            for letter in letters
        ],
    )  # fmt: skip
    say(f"{len(letters):,} dead letter{'s' if len(letters) != 1 else ''}. Deliver them: bt-alerts dead retry --all")


@app.command()
def retry(
    numbers: Numbers = None,
    all: All = False,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until they arrive.")] = 30.0,
    config: Config = None,
) -> None:
    """Deliver dead letters after all. Done (0) only if each arrived."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        chosen = _chosen(outbox, numbers, all)
        if not chosen:
            return
    plan(settings, lambda manager: manager.retry_dead(None if all else chosen))
    with delivering(settings) as manager, errors().status("Delivering …"):
        manager.start()
        wait_until(lambda: all_settled(manager.outbox, chosen), wait)
        rows = _deliveries(manager.outbox, chosen)
    show_table(
        [
            Column("number", right=True, whole=True),
            Column("channel"),
            Column("title"),
            Column("state"),
            Column("answer"),
        ],
        [
            [str(number), channel, title, shown(state, "green" if state == "delivered" else "red"), detail]
            for number, channel, title, state, detail in rows
        ],
    )
    left = {channel for _, channel, _, state, _ in rows if state == "pending"}
    for channel in sorted(left - set(settings.channels)):
        complain(f"The channel {channel} is not enabled in these settings, so this command cannot deliver to it.")
    if any(state != "delivered" for *_, state, _ in rows):
        raise typer.Exit(FAILED)


@app.command()
def purge(
    numbers: Numbers = None,
    all: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Give dead letters up for good. They stay in the history, and in the ledger as cancelled."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        chosen = _chosen(outbox, numbers, all)
        if not chosen:
            return
        count = f"{len(chosen):,} dead letter{'s' if len(chosen) != 1 else ''}"
        if not yes and not typer.confirm(f"Give up {count} for good?"):
            raise Stop(FAILED, "Nothing was changed.")
        outbox.purge_dead(chosen)
    say(f"Gave up {count}.")


def _chosen(outbox: Outbox, numbers: Sequence[int] | None, all: bool) -> list[int]:
    if bool(numbers) == all:
        raise Stop(WRONG_USE, "Give the numbers that `bt-alerts dead list` shows, or --all.")
    there = [letter.number for letter in outbox.dead_letters()]
    if all:
        if not there:
            say("There are no dead letters.")
        return there
    missing = [str(number) for number in numbers or () if number not in there]
    if missing:
        raise Stop(WRONG_USE, f"No dead letter has the number {', '.join(missing)}. Nothing was changed.")
    return sorted(set(numbers or ()))


def all_settled(outbox: Outbox, numbers: Collection[int]) -> bool:
    """Whether none of these deliveries is pending."""
    return all(state != "pending" for *_, state, _ in _deliveries(outbox, numbers))


def _deliveries(outbox: Outbox, numbers: Collection[int]) -> list[tuple[int, str, str, str, str]]:
    rows = outbox.rows(
        "SELECT d.seq, d.channel, a.body, d.state, d.detail FROM deliveries d "
        "JOIN alerts a ON a.seq = d.alert WHERE d.seq BETWEEN ? AND ? ORDER BY d.seq",
        (min(numbers), max(numbers)),
    )
    wanted = set(numbers)
    return [
        (number, channel, Alert.from_json(body).title, state, detail)
        for number, channel, body, state, detail in rows
        if number in wanted
    ]
