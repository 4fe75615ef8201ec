"""``bt-alerts schema``: the JSON Schema by which an editor completes and checks a settings file."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bt_alerts.cli.shell import FAILED, WRONG_USE, Stop, say


def schema(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file to write; standard output unless given.")
    ] = None,
) -> None:
    """Write the JSON Schema of the settings, of every channel type that is installed; editors complete by it."""
    if file is None:
        sys.stdout.write(_text())
        return
    if file.suffix != ".json":  # most likely the settings file itself, with its credentials
        raise Stop(WRONG_USE, f"{file} does not end in .json: name a file for the schema, such as alerts.schema.json.")
    if not may_replace(file):
        raise Stop(FAILED, f"{file} is no schema of bt_alerts, and stays as it is: name another file.")
    try:
        write_schema(file)
    except OSError as exc:
        raise Stop(FAILED, f"{file} cannot be written: {exc.strerror or exc}.") from None
    say(f"Wrote {file}. At the top of your settings file an editor looks for it by this line:")
    say(f"# yaml-language-server: $schema={file}")


def write_schema(path: Path) -> None:
    """Write the schema, whole or not at all. Raises ``OSError`` where it cannot be written."""
    from bt_alerts.simulate.page_file import write

    write(path, _text())


def _text() -> str:
    from bt_alerts.settings.schema import schema as made

    return json.dumps(made(), indent=2) + "\n"


def may_replace(path: Path) -> bool:
    """Whether nothing stands there but, perhaps, a schema of ours."""
    if not os.path.lexists(path):
        return True
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(json.loads(path.read_text(encoding="utf-8")).get("title") == "Settings of bt_alerts")
    return False
