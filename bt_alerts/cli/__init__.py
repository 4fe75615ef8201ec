"""The command line: ``bt-alerts`` and ``python -m bt_alerts``.

Exit codes: 0 done, 1 something failed, 2 wrong use or wrong settings, 130 Ctrl-C. Answers go to standard output,
complaints to standard error, each a plain sentence and never a traceback. Commands that only read start no delivery and
make no store. What an alert says is never taken for markup or for control codes of the terminal.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Annotated

import typer

from bt_alerts._version import __version__
from bt_alerts.cli import (
    dashboard,
    dead,
    demo,
    health,
    hush,
    init,
    keeping,
    preview,
    reading,
    route,
    schema,
    setup,
    simulate,
    worker,
)
from bt_alerts.cli.shell import Commands, say, show_log

app = typer.Typer(
    name="bt-alerts",
    cls=Commands,
    help="The alert layer for Backtrader. Start with `bt-alerts demo`; it needs no account.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"bt-alerts {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the whole log, and where an unexpected error came from.")
    ] = False,
) -> None:
    show_log(verbose)


_START, _RUN, _LOOK, _HUSH, _MEND = "Set up", "Run", "Look", "Answer", "Mend"

app.command("demo", rich_help_panel=_START)(demo.demo)
app.command("init", rich_help_panel=_START)(init.init)
app.command("check", rich_help_panel=_START)(setup.check)
app.command("preview", rich_help_panel=_START)(preview.preview)
app.command("test", rich_help_panel=_START)(setup.try_channels)
app.command("send", rich_help_panel=_START)(setup.send)
app.command("schema", rich_help_panel=_START)(schema.schema)
app.command("worker", rich_help_panel=_RUN)(worker.worker)
app.command("dashboard", rich_help_panel=_LOOK)(dashboard.dashboard)
app.command("simulate", rich_help_panel=_LOOK)(simulate.simulate)
app.command("history", rich_help_panel=_LOOK)(reading.history)
app.command("route", rich_help_panel=_LOOK)(route.route)
app.command("export", rich_help_panel=_LOOK)(reading.export)
app.command("health", rich_help_panel=_LOOK)(health.health)
app.command("backup", rich_help_panel=_LOOK)(reading.backup)
app.command("ack", rich_help_panel=_HUSH)(hush.ack)
app.command("snooze", rich_help_panel=_HUSH)(hush.snooze)
app.command("mute", rich_help_panel=_HUSH)(hush.mute)
app.command("unmute", rich_help_panel=_HUSH)(hush.unmute)
app.command("mutes", rich_help_panel=_HUSH)(hush.mutes)
app.add_typer(dead.app, name="dead", rich_help_panel=_MEND)
app.command("prune", rich_help_panel=_MEND)(keeping.prune)
app.command("migrate", rich_help_panel=_MEND)(keeping.migrate)


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a sign shows a question mark
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")
    app(prog_name="bt-alerts")
