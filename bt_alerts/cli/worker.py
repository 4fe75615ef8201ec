"""``bt-alerts worker``: a process of its own that delivers for any number of strategies through the same store."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Config,
    Stop,
    complain,
    errors,
    no_channel,
    say,
    show_table,
    shown,
)
from bt_alerts.errors import StoreError

if TYPE_CHECKING:
    from bt_alerts.delivery.serve import Done
    from bt_alerts.manager import AlertManager
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.settings import Settings


def worker(
    config: Config = None,
    *,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="In place of the `store:` of the settings.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Deliver what is due now, say what became of it, and end.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=64, help="Addresses of one channel served at the same time.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on this port of 127.0.0.1.")
    ] = None,
) -> None:
    """Deliver for every strategy on this store that leaves it to a worker. Ctrl-C or SIGTERM ends it gracefully."""
    from bt_alerts.delivery.serve import Ending, serve, serve_once
    from bt_alerts.delivery.worker import Duty
    from bt_alerts.manager import AlertManager

    settings = _settings(config, store)
    manager = AlertManager.for_worker(settings, Duty(), concurrency=concurrency)
    _check_journals(manager.outbox)
    with _metrics(metrics_port, manager), Ending() as ending:
        if once:
            try:
                done = serve_once(manager, ending)
            finally:
                manager.close(flush=False)
            raise typer.Exit(_report(done))
        _greet(settings, manager)
        with _status(manager) as tell:
            serve(manager, ending, tell)
    say("The worker has ended. What is pending goes on with the next one.")


def _settings(config: Path | None, store: str | None) -> Settings:
    from bt_alerts.settings import load

    settings = load(config, overrides={} if store is None else {"store": store})
    if settings.store == "memory":
        where = f"in {settings.file}" if settings.file is not None else "in a settings file, and name it with -c"
        raise Stop(
            WRONG_USE,
            f"A worker needs a store that strategies write to, and these settings keep alerts in memory: write "
            f"`store: alerts.db` {where}, or give --store.",
        )
    if not settings.channels:
        raise Stop(WRONG_USE, no_channel(settings))
    return settings


def _check_journals(outbox: Outbox) -> None:
    """Without the right to read them, a worker would find nothing to do and seem to be well."""
    folder = outbox.journals
    if folder is not None and folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Stop(
            WRONG_USE,
            f"This user may not read and write the journals in {folder}, where strategies leave their alerts: run the "
            "worker as the user that they run as.",
        )


def _greet(settings: Settings, manager: AlertManager) -> None:
    say(f"Worker {os.getpid()} delivers for {', '.join(manager.channels)} through {manager.outbox.name}.")
    if settings.delivery.worker == "thread":
        complain(
            "Strategies with these settings deliver by themselves. To leave it to this worker write `delivery: "
            "{worker: external}` in the settings that they use.",
            style="yellow",
        )


# --------------------------------------------------------------------------------------------------------- status


@contextlib.contextmanager
def _status(manager: AlertManager) -> Iterator[Callable[[], None] | None]:
    """On a terminal a line that says how it goes; elsewhere nothing, because somebody keeps what is printed."""
    if not sys.stderr.isatty():
        yield None
        return
    with Live(console=errors(), auto_refresh=False, transient=True) as live:

        def tell() -> None:
            live.update(shown(_line(manager), "dim"), refresh=True)

        yield tell


def _line(manager: AlertManager) -> str:
    try:
        pending = manager.outbox.pending(tuple(manager.channels), manager.clock())[0]
    except StoreError as exc:
        return str(exc)
    role = "plans and delivers" if manager.leads else "delivers; another worker plans"
    return f"{role} · {pending:,} pending · Ctrl-C ends"


# ----------------------------------------------------------------------------------------------------------- once


def _report(done: list[Done]) -> int:
    """Show what one go came to; the exit code."""
    show_table(
        [Column("channel"), Column("delivered", right=True), Column("failed", right=True),
         Column("tried again later", right=True), Column("due later", right=True)],
        [[each.channel, f"{each.delivered:,}", shown(f"{each.failed:,}", "red" if each.failed else ""),
          shown(f"{each.waiting:,}", "yellow" if each.waiting else ""), f"{each.later:,}"] for each in done],
    )  # fmt: skip
    if any(each.failed for each in done):
        complain(
            "What failed is among the dead letters (`bt-alerts dead list`), or held because its channel is disabled "
            "(`bt-alerts health`)."
        )
    return FAILED if any(each.failed or each.waiting for each in done) else 0


# -------------------------------------------------------------------------------------------------------- metrics


@contextlib.contextmanager
def _metrics(port: int | None, manager: AlertManager) -> Iterator[None]:
    """Serve metrics while the worker works."""
    if port is None:
        yield
        return
    try:
        from bt_alerts.delivery.metrics import serve_metrics
    except ImportError:
        raise Stop(WRONG_USE, 'Metrics need an extra: pip install "bt-alerts[metrics]".') from None
    try:
        stop = serve_metrics(port, manager.outbox, list(manager.channels))
    except ImportError:
        raise Stop(WRONG_USE, 'Metrics need an extra: pip install "bt-alerts[metrics]".') from None
    except OSError as exc:
        raise Stop(FAILED, f"Port {port} cannot be used for metrics: {exc.strerror or exc}.") from None
    try:
        yield
    finally:
        stop()
