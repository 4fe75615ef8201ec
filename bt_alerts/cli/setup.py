"""Commands to try settings: ``check``, ``test`` and ``send``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Config,
    Stop,
    complain,
    delivering,
    errors,
    known_channels,
    load_settings,
    say,
    show_table,
    shown,
    unread_file,
    wait_until,
    why_not,
)
from bt_alerts.errors import StoreError
from bt_alerts.kinds import KINDS, setting_of
from bt_alerts.outbox.postgres_address import is_postgres

if TYPE_CHECKING:
    from bt_alerts.delivery.report import DeliveryReport
    from bt_alerts.manager import AlertManager
    from bt_alerts.rules.base import Aim
    from bt_alerts.settings import ChannelSettings, Settings


# ---------------------------------------------------------------------------------------------------------- check


def check(
    config: Config = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask each service whether it takes the credentials.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail (1) where there are warnings too.")] = False,
) -> None:
    """Show what the settings mean, what is missing and what may not be meant so. Sends nothing."""
    from bt_alerts.settings import inspect

    settings = inspect(config)
    say(f"Settings: {settings.file or 'the environment alone'}")
    if unread := unread_file(settings):
        say(f"Not read: {unread}", "yellow")
    if settings.alerts:
        show_table(
            [Column("channel"), Column("type", 60), Column("on"), Column("targets"), Column("a minute", 90, right=True),
             Column("fallback", 110), Column("missing")],
            [_channel_row(name, channel) for name, channel in settings.alerts.items()],
        )  # fmt: skip
    for words in _chart_problems(settings):
        say(words, "yellow")
    if not settings.channels:
        say("No channel is enabled: alerts are recorded, and nothing is sent.", "yellow")
    rules = list(_rule_rows(settings))
    if rules:
        show_table([Column("rule"), Column("stands in", 100), Column("about"), Column("what it does")], rules)
    for words in settings.warnings:
        say(words, "yellow")
    say(f"Mode: {settings.mode}")
    say(f"Store: {_store_words(settings)}")
    show_table(
        [Column("event", whole=True), Column("set to"), Column("default", 100), Column("told when", 60)],
        [_kind_row(name, settings) for name in KINDS],
    )
    answered = not online or _all_answer(settings)
    if strict and settings.warnings:
        complain(f"Warnings: {len(settings.warnings)} (`--strict`).")
    if not answered or (strict and settings.warnings):
        raise typer.Exit(FAILED)


def _channel_row(name: str, channel: ChannelSettings) -> list[object]:
    dispatcher, problem = channel.attempt()
    labels, missing = "", problem
    if dispatcher is not None:
        labels = ", ".join(target.label for target in dispatcher.targets())
        missing = dispatcher.missing()
        dispatcher.close()
    rate = f"{channel.rate_limit}" if channel.rate_limit else "no limit"
    on = shown("yes", "green") if channel.enabled else shown("no", "dim")
    return [name, channel.type, on, labels, rate, channel.fallback or "", shown(missing, "yellow")]


def _rule_rows(settings: Settings) -> Iterator[list[object]]:
    """Every rule that is configured, in the order in which an alert passes them."""
    made, blocks = settings.rule_settings(), settings.rules
    noise = [
        f"rules.{name}"
        for name in ("at_least", "levels", "once_per_bar", "repeats", "cooldown")
        for _ in getattr(blocks, name)
    ]
    placed: list[tuple[str, Aim]] = [
        *(("rules.maintenance", rule) for rule in made.maintenance),
        *(("rules.inhibit", rule) for rule in made.inhibit),
        *zip(noise, made.noise, strict=True),
        *(("routes", rule) for rule in made.routes),
        *(("escalation", rule) for rule in made.escalation),
        *(("digests", rule) for rule in made.digests),
        *(("quiet_hours", rule) for rule in made.quiet),
    ]
    for block, rule in placed:
        yield [rule.name, block, rule.about, rule.words]
    for report in made.reports:
        yield [report.name, "digests", "", report.words]


def _chart_problems(settings: Settings) -> Iterator[str]:
    """Why pictures that were asked for will not come."""
    from bt_alerts.render.drawing_process import MISSING, has_matplotlib

    asked = [channel for channel in settings.channels.values() if channel.charts != "off"]
    for channel in asked:
        if not channel.dispatcher_class.takes_pictures:
            yield f"{channel.name}: charts are {channel.charts}, but {channel.type} takes no pictures."
    if asked and not has_matplotlib():
        yield f"{MISSING}. Until then alerts go without pictures."


def _store_words(settings: Settings) -> str:
    """The store in a sentence. Raises ``StoreError`` where it cannot be used."""
    if settings.store == "memory":
        return "in memory, gone with the process"
    path = Path(settings.store)
    if not is_postgres(settings.store) and not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise Stop(WRONG_USE, f"The store {path} cannot be made: {folder} is no folder that you may write to.")
        return f"{path} (made with the first alert)"
    from bt_alerts.settings.store import open_store

    outbox = open_store(settings)
    try:
        return f"{outbox.name}, in order, alerts: {outbox.ledger().accepted:,}"
    finally:
        outbox.close()


def _kind_row(name: str, settings: Settings) -> list[object]:
    kind = KINDS[name]
    word = setting_of(name, settings.events)
    changed = word is not kind.setting
    style = {"on": "green", "silent": "cyan", "record": "", "off": "dim"}[word.value]
    setting = shown(f"{word.value}{' *' if changed else ''}", f"bold {style}" if changed else style)
    return [name, setting, kind.setting.value if changed else "", kind.about]


def _all_answer(settings: Settings) -> bool:
    from bt_alerts.dispatchers.base import DeliveryFailed

    rows: list[list[object]] = []
    works = True
    with errors().status("Asking the services …"):
        for name in settings.channels:
            dispatcher = settings.dispatcher(name)
            for target in dispatcher.targets():
                try:
                    answer, style = dispatcher.check(target).note or "works", "green"
                except DeliveryFailed as failed:
                    works, answer, style = False, failed.reason, "red"
                rows.append([name, target.label, shown(answer, style)])
            dispatcher.close()
    show_table([Column("channel"), Column("target"), Column("answer")], rows)
    return works


# ----------------------------------------------------------------------------------------------------------- test


def try_channels(
    channels: Annotated[
        list[str] | None, typer.Argument(metavar="[CHANNEL]...", help="Names of channels; all where it is left out.")
    ] = None,
    config: Config = None,
) -> None:
    """Send a test alert through each channel now, and show what the service answered."""
    settings = load_settings(config)
    if not send_tests(settings, known_channels(settings, channels or [])):
        raise typer.Exit(FAILED)


def send_tests(settings: Settings, names: Sequence[str]) -> bool:
    """Send a test alert through each of these channels and show what the service answered: True where all arrived."""
    rows: list[list[object]] = []
    with delivering(settings) as manager:
        results = []
        for name in names:
            with errors().status(Text(f"Testing {name} …")):
                results.append(manager.test_channel(name))
        for result in results:
            if not result.results:
                rows.append([result.channel, "", shown("failed", "red"), "", "", result.problem or "it has no target"])
            for target in result.results:
                word = shown("arrived", "green") if target.success else shown("failed", "red")
                took = f"{1000 * target.latency:,.0f} ms"
                reason = "" if target.success and target.reason == "delivered" else target.reason
                rows.append([result.channel, target.target, word, took, target.service_id, reason])
        show_table(
            [Column("channel"), Column("target"), Column("result"), Column("took", 60, right=True, whole=True),
             Column("message id", 110), Column("answer")],
            rows,
        )  # fmt: skip
        _deliver_what_waited(manager, [result.channel for result in results if result.success])
    return all(result.success for result in results)


def _deliver_what_waited(manager: AlertManager, channels: list[str]) -> None:
    """A channel that was disabled works again: what was held for it goes now."""
    waiting = manager.outbox.pending(channels, manager.clock())[0] if channels else 0
    if waiting:
        manager.start()
        wait_until(lambda: manager.outbox.pending(channels, manager.clock())[0] == 0, 30.0)
        left = manager.outbox.pending(channels, manager.clock())[0]
        say(f"{waiting - left} of {waiting} alerts that waited for these channels were delivered too.")


# ----------------------------------------------------------------------------------------------------------- send


def send(
    message: Annotated[str, typer.Argument(help="The text.")],
    *,
    title: Annotated[str, typer.Option(help="One line above it.")] = "Trading Alert",
    priority: Annotated[str, typer.Option(help="critical, high, medium, low or info.")] = "medium",
    channel: Annotated[
        list[str] | None, typer.Option(help="Name of a channel; may be given again. All where it is left out.")
    ] = None,
    type: Annotated[str, typer.Option(help="An alert type, such as custom, market or error.")] = "custom",
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until it arrives.")] = 30.0,
    config: Config = None,
) -> None:
    """Send an alert as a strategy would: stored first, then delivered. Done (0) only if it arrived everywhere."""
    from bt_alerts.alert import Alert
    from bt_alerts.delivery.report import report_of

    try:
        alert = Alert.make(
            message, title=title, priority=priority, type=type, kind="direct.custom", channels=channel or ()
        )
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    settings = load_settings(config)
    known_channels(settings, channel or [])
    with delivering(settings) as manager, errors().status("Sending …"):
        began = time.monotonic()
        manager.emit(alert)
        report: DeliveryReport | None = None

        def settled() -> bool:
            nonlocal report
            with contextlib.suppress(StoreError):  # locked just now: the alert is in the journal
                report = report_of(manager.outbox, alert.id)
            if report is None or report.state == "waiting":
                return False
            return all(result.state != "pending" for result in report.results)

        wait_until(settled, wait)
        took = time.monotonic() - began
    if report is None:
        raise Stop(FAILED, f"It was accepted, but not planned within {took:.0f} s: it goes with the next process.")
    if not report.results:
        raise Stop(FAILED, f"Nothing was sent: {why_not(report.reason)}.")
    show_table(
        [Column("channel"), Column("target"), Column("state"), Column("took", 60, right=True, whole=True),
         Column("message id", 110), Column("answer")],
        _report_rows(report),
    )  # fmt: skip
    if any(result.state == "pending" for result in report.results):
        complain(f"Not everything arrived within {wait:g} s. What is pending goes with the next process that delivers.")
    if not report.success:
        raise typer.Exit(FAILED)


def _report_rows(report: DeliveryReport) -> Iterator[list[object]]:
    for result in report.results:
        style = "green" if result.success else "yellow" if result.state == "pending" else "red"
        took = "" if result.latency is None else f"{1000 * result.latency:,.0f} ms"
        yield [result.channel, result.target, shown(result.state, style), took, result.service_id, result.detail]
