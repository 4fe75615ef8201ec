"""``bt-alerts dashboard``: the dashboard in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bt_alerts.cli.shell import WRONG_USE, Config, Stop, say

PORT = 8501


def dashboard(
    *,
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; any but this machine's own needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Which port.")] = PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file, for https.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    config: Config = None,
) -> None:
    """Show the dashboard: is everything alive, what was told, did it arrive. Ctrl-C ends it."""
    from bt_alerts.dashboard.serve import CannotServe, serve

    if config is not None and not config.exists():
        raise Stop(WRONG_USE, f"There is no file {config}: `bt-alerts init {config}` writes one.")
    try:
        serve(config, address, port, browser=browser, certificate=certificate, key=key, ready=_ready)
    except CannotServe as exc:
        raise Stop(WRONG_USE, str(exc)) from None


def _ready(url: str) -> None:
    say(f"The dashboard: {url}")
    say("It runs until Ctrl-C. It reads the store; strategies and workers go on without it.")
