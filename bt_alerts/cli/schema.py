"""``bt-alerts schema``: the JSON Schema by which an editor completes and checks a settings file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bt_alerts.cli.shell import FAILED, Stop, say


def schema(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file to write; standard output unless given.")
    ] = None,
) -> None:
    """Write the JSON Schema of the settings, of every channel type that is installed; editors complete by it."""
    from bt_alerts.settings.schema import schema as made
    from bt_alerts.simulate.page_file import write

    text = json.dumps(made(), indent=2) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    try:
        write(file, text)
    except OSError as exc:
        raise Stop(FAILED, f"{file} cannot be written: {exc.strerror or exc}.") from None
    say(f"Wrote {file}. At the top of your settings file an editor looks for it by this line:")
    say(f"# yaml-language-server: $schema={file}")
