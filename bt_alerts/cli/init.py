"""``bt-alerts init``: a settings file to fill in, or (``--interactive``) one that is filled in by answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bt_alerts.cli.shell import FAILED, INTERRUPTED, WRONG_USE, Stop, complain, say

if TYPE_CHECKING:
    from bt_alerts.cli.interview import Interview

SCHEMA = "alerts.schema.json"
#: By this line an editor completes and checks the file.
HEADER = f"# yaml-language-server: $schema={SCHEMA}\n"
_BEGIN = """\
# Settings of bt_alerts. `bt-alerts check` says what is wrong with them and sends nothing.
# Where alerts and deliveries are kept, beside this file.
store: alerts.db

# One block a channel.
alerts:
"""


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("alerts.yaml"),
    interactive: Annotated[
        bool,
        typer.Option(
            "-i", "--interactive", help="Ask for channels and credentials, and add them to FILE if it exists."
        ),
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema/--no-schema", help=f"Write {SCHEMA} beside it, by which editors complete it.")
    ] = True,
) -> None:
    """Write a settings file to fill in. It is readable by you alone, and no file is overwritten."""
    if interactive:
        _ask(file, schema)
        return
    from bt_alerts.settings import template

    header = schema and _may_write_schema(file.with_name(SCHEMA))
    _write_new(file, (HEADER if header else "") + template())
    if header:
        _write_schema(file.with_name(SCHEMA))
    say(f"Wrote {file}. Its console channel works as it is. Next:")
    for number, (command, why) in enumerate(
        (
            (f"bt-alerts check -c {file}", "is everything right?"),
            (f"bt-alerts test -c {file}", "does a test alert arrive?"),
            (f'attach(cerebro, "{file}")', "in your program, before cerebro.run()"),
        ),
        start=1,
    ):
        say(Text.assemble(f"  {number}. ", (command, "bold"), f"\n     {why}"))
    say(f"Fill in a channel such as pushover, then check and test again. BT_ALERTS_CONFIG={file} saves typing -c.")


def _write_new(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        told = "name another file, or add channels to it with --interactive"
        raise Stop(FAILED, f"{file} exists already and was not changed: {told}.") from None
    except FileNotFoundError:
        raise Stop(FAILED, f"There is no folder {file.parent}: make it first.") from None
    except OSError as exc:
        raise Stop(FAILED, f"{file} cannot be written: {exc.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.chmod(file, 0o600)  # whatever the umask took away
            stream.write(text)
    except OSError as exc:
        file.unlink(missing_ok=True)
        raise Stop(FAILED, f"{file} cannot be written: {exc.strerror}.") from None


# ----------------------------------------------------------------------------------------------------- the schema


def _may_write_schema(path: Path) -> bool:
    from bt_alerts.cli.schema import may_replace

    if may_replace(path):
        return True
    say(f"{path} is no schema of bt_alerts, and stays as it is; --no-schema leaves the schema out.", "yellow")
    return False


def _write_schema(path: Path) -> None:
    from bt_alerts.cli.schema import write_schema

    try:
        write_schema(path)
    except OSError as exc:
        complain(f"{path} cannot be written: {exc.strerror}. `bt-alerts schema {path}` writes it later.", "yellow")


# --------------------------------------------------------------------------------------------------- interactively


def _ask(path: Path, schema: bool) -> None:
    if not sys.stdin.isatty():
        raise Stop(
            WRONG_USE,
            "--interactive asks questions, so it needs a terminal: run it in one, or run `bt-alerts init` without it "
            "and fill in the file.",
        )
    from bt_alerts.cli.interview import Interview
    from bt_alerts.settings.file import SettingsFile

    file = SettingsFile(path)
    header = False
    if not path.exists():
        if not path.parent.is_dir():
            raise Stop(FAILED, f"There is no folder {path.parent}: make it first.")
        header = schema and _may_write_schema(path.with_name(SCHEMA))
        file.replace_text((HEADER if header else "") + _BEGIN)
    interview = Interview(file, os.environ)
    try:
        channels = interview.run()
    except (KeyboardInterrupt, EOFError):
        raise Stop(INTERRUPTED, "Interrupted. Nothing was written, and nothing that you typed was kept.") from None
    if not channels:
        say("Nothing was written.")
        return
    if header:
        _write_schema(path.with_name(SCHEMA))
    say(f"Wrote {path}; only you can read it.")
    for variable in interview.variables:
        say(f"Set the variable {variable} wherever your program runs: the file takes it from there.", "yellow")
    _offer_tests(interview, channels)
    say(
        f'Next: attach(cerebro, "{path}") in your program, before cerebro.run(). `bt-alerts check -c {path}` shows all.'
    )


def _offer_tests(interview: Interview, channels: Sequence[str]) -> None:
    from bt_alerts.cli.interview import yes
    from bt_alerts.cli.setup import send_tests
    from bt_alerts.settings import load

    settings = load(interview.file.path, environ=interview.environ)
    arrived = True
    try:
        for name in channels:
            if yes(f"Send a test alert through {name} now?"):
                arrived = send_tests(settings, [name]) and arrived
    except EOFError:
        return
    if not arrived:
        raise typer.Exit(FAILED)
