"""``prune`` and ``migrate``: how long a store is kept, and where."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bt_alerts.cli.journals import mention_journals
from bt_alerts.cli.shell import FAILED, WRONG_USE, Column, Config, Stop, complain, existing_store, say, show_table

if TYPE_CHECKING:
    from bt_alerts.delivery.retention import Swept
    from bt_alerts.outbox.base import Outbox, Pruned
    from bt_alerts.outbox.migrate import Copied
    from bt_alerts.settings import Settings

# ----------------------------------------------------------------------------------------------------------- prune


def prune(
    *,
    keep: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Keep this long: 90d, 12h. Otherwise `history.keep` of the settings."),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Forget what was stored before: 2026-01-31 or 2026-01-31T15:30, UTC."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="In place of the `store:` of the settings.")
    ] = None,
    config: Config = None,
) -> None:
    """Forget old alerts and give their space back. What waits, is pending or held stays; ledgers count what went."""
    from bt_alerts.delivery import retention
    from bt_alerts.settings import load

    settings = load(config, overrides={} if store is None else {"store": store})
    until = _until(settings, keep, before, time.time())
    with existing_store(settings) as outbox:
        mention_journals(outbox)
        going = outbox.prunable(until)
        files = retention.sweep(outbox, time.time(), before=until, remove=False)
        if not going.alerts and not (files and files.files):
            say(f"There is nothing to forget from before {_shown(until)}: it is gone already, or pending.")
            return
        say(f"Stored before {_shown(until)}:")
        # A server does not give space back: it uses it again.
        _show(going, files, _about(outbox, going) if outbox.local else None, "would go" if dry_run else "goes")
        if dry_run:
            return
        if not yes and not typer.confirm(f"Forget {_counted(going.alerts, 'alert')} for good?"):
            raise Stop(FAILED, "Nothing was changed.")
        gone = _prune(outbox, until, going)
        say("Done:")
        _show(gone.rows, gone.files, gone.freed if outbox.local else None, "went")
        if outbox.local:
            say(f"The store takes {_size(gone.after)}; it was {_size(gone.before)}.")
        else:
            say(f"The store takes {_size(gone.after)}; what is free in it the server uses for what comes next.")


def _until(settings: Settings, keep: str | None, before: str | None, now: float) -> float:
    """Before which time alerts go, in Unix seconds."""
    from bt_alerts.outbox.history import seconds
    from bt_alerts.settings.fields import duration

    if keep is not None and before is not None:
        raise Stop(WRONG_USE, "Give --keep or --before, not both.")
    try:
        if before is not None:
            until = seconds(before)
            if until > now:
                raise Stop(WRONG_USE, f"{before!r} has yet to come: give a time that is past.")
            return until
        kept = settings.history.keep if keep is None else float(duration(keep))
    except ValueError as exc:
        sentence = str(exc)
        raise Stop(WRONG_USE, sentence[:1].upper() + sentence[1:] + ".") from None
    if kept is None:
        raise Stop(
            WRONG_USE, "Say what to keep: --keep 90d, --before 2026-01-31, or `history: {keep: 90d}` in the settings."
        )
    if keep is not None and keep.strip().replace(".", "", 1).isdigit():  # 90 alone would be seconds, and all but gone
        raise Stop(WRONG_USE, f"{keep!r} lacks a unit: write 90d for days, 12h for hours.")
    if not 0 < kept <= now:
        raise Stop(WRONG_USE, f"Nothing can be kept for {keep!r}: write a duration such as 90d or 12h.")
    return now - kept


class _Gone(NamedTuple):
    """What went, and the bytes of the store."""

    rows: Pruned
    files: Swept | None
    before: int
    after: int

    @property
    def freed(self) -> int:
        return max(0, self.before - self.after)


def _prune(outbox: Outbox, until: float, going: Pruned) -> _Gone:
    from bt_alerts.delivery import retention
    from bt_alerts.outbox.base import Pruned
    from bt_alerts.render.progress import slow_progress

    before = outbox.size().total
    gone = Pruned()
    with slow_progress("forgetting") as progress:
        for gone in retention.prune(outbox, until):
            progress(min(gone.alerts, going.alerts), going.alerts)
    with slow_progress("giving space back") as progress:
        most = 0
        for spare in retention.give_back(outbox):
            most = max(most, spare)
            progress(most - spare, most)
    files = retention.sweep(outbox, time.time())
    return _Gone(gone, files, before, outbox.size().total)


def _about(outbox: Outbox, going: Pruned) -> int:
    """About how many bytes will be free: alerts are much alike."""
    size = outbox.size()
    alerts = next(iter(outbox.rows("SELECT count(*) FROM alerts")))[0]
    return round((size.total - size.spare) * going.alerts / alerts) + size.spare if alerts else size.spare


def _show(rows: Pruned, files: Swept | None, freed: int | None, what: str) -> None:
    sure = what == "went"
    attachments = "not looked at" if files is None else f"{files.files:,} ({_size(files.size)})"
    show_table(
        [Column("", whole=True), Column(what, right=True, whole=True)],
        [
            ["alerts", f"{rows.alerts:,}"],
            ["deliveries", f"{rows.deliveries:,}"],
            ["attempts", f"{rows.attempts:,}"],
            ["attachments", attachments],
            *([] if freed is None else [["space in the store", f"{'' if sure else 'about '}{_size(freed)}"]]),
        ],
    )
    if files is None:
        complain("Attachments stay for now: journals may hold alerts that have some of them.", style="yellow")


def _shown(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M} UTC"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what if count == 1 else what.removesuffix('y') + 'ies' if what.endswith('y') else what + 's'}"


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000 or unit == "MB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:,.1f} {unit}"


# --------------------------------------------------------------------------------------------------------- migrate

_STORE = "A file, or postgresql://user@host:port/database; a password is better kept in PGPASSWORD or ~/.pgpass."


def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help=_STORE)],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; it must be new or empty.")],
) -> None:
    """Copy a whole store into another, check the copy, and leave the first as it is. Nothing may use it meanwhile."""
    from bt_alerts.outbox import migrate as migration
    from bt_alerts.outbox.postgres_address import is_postgres, taken_apart
    from bt_alerts.render.progress import slow_progress
    from bt_alerts.settings.environment import state_folder

    try:
        folder = state_folder(os.environ) / "postgres"
    except RuntimeError:
        raise Stop(WRONG_USE, "There is no home folder to keep journals in: set HOME or XDG_STATE_HOME.") from None
    with slow_progress("copying") as progress:
        copied = migration.migrate(source, target, folder, progress)
    _show_copy(copied, taken_apart(target).url if is_postgres(target) else str(Path(target).expanduser().absolute()))


def _show_copy(copied: Copied, where: str) -> None:
    show_table(
        [Column("table"), Column("rows", right=True, whole=True)],
        [[name, f"{count:,}"] for name, count in copied.rows.items() if count],
    )
    if copied.attachments:
        say(f"Copied too: {_counted(copied.attachments, 'attachment')}.")
    if copied.journals:
        say(f"Copied too: {_counted(copied.journals, 'journal')}; whoever first uses the copy delivers what is in it.")
    ledger = copied.ledger
    say(
        f"The copy is the same: rows, checksums and both ledgers ({_counted(ledger.accepted, 'alert')}, "
        f"{_counted(ledger.created, 'delivery')})."
    )
    if not ledger.balanced:
        complain("The ledgers do not balance, in the original neither.", style="yellow")
    say(f"To use it write in your settings file: store: {where}")
    say(f"{copied.source} is as it was. Do not use both: what is pending would be delivered twice.")
