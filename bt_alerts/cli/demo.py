"""``bt-alerts demo``: everything once, on this machine, without an account."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from bt_alerts.cli.shell import FAILED, WRONG_USE, Stop, output


class Prices(enum.StrEnum):
    """Where the demo's prices come from."""

    BUNDLED = "bundled"
    YAHOO = "yahoo"


def demo(
    symbol: Annotated[str, typer.Option(help="A share. Bundled are AAPL, FB, GOOG, IBM and MSFT.")] = "GOOG",
    source: Annotated[
        Prices, typer.Option(help="bundled: no network is needed. yahoo: downloads prices, needs yfinance.")
    ] = Prices.BUNDLED,
    folder: Annotated[Path, typer.Option(help="Where its files go. Those of an earlier demo are replaced.")] = Path(
        "bt_alerts_demo"
    ),
    fast: Annotated[bool, typer.Option("--fast", help="Do not pause between the bars of the live part.")] = False,
) -> None:
    """Run a strategy with alerts: first a backtest, then live. Nothing leaves this machine."""
    from bt_alerts.demo.run import DemoFailed, run_demo

    try:
        passed = run_demo(symbol, source.value, folder, pause=0.0 if fast else 0.08, console=output())
    except DemoFailed as failed:
        raise Stop(WRONG_USE if failed.wrong_use else FAILED, str(failed)) from None
    if not passed:
        raise typer.Exit(FAILED)
