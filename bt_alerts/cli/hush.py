"""``bt-alerts ack``, ``snooze``, ``mute``, ``unmute`` and ``mutes``: what a person answers to alerts.

Each writes an entry into a journal of its own and plans it at once, as :meth:`bt_alerts.AlertManager.acknowledge` and
its kin do, so it works beside a strategy or a worker that delivers and where nobody does. None of them delivers
anything: what is to be called off could be on its way before it is.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bt_alerts.alert import AlertType
from bt_alerts.cli.shell import (
    WRONG_USE,
    Column,
    Config,
    Stop,
    existing_store,
    known_channels,
    load_settings,
    plan,
    say,
    show_table,
    the_alert,
)
from bt_alerts.compose import duration as words_for

if TYPE_CHECKING:
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.settings import Settings

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="Its number in `history`, its id or the first 6 characters of it, or `last`."),
]
Symbol = Annotated[str | None, typer.Option("--symbol", help="This symbol.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="This strategy.")]
Type = Annotated[str | None, typer.Option("--type", help="This alert type, such as order or signal.")]
Channel = Annotated[str | None, typer.Option("--channel", help="This channel.")]


# ------------------------------------------------------------------------------------------------- one alert


def ack(id: Id, config: Config = None) -> None:
    """Say that somebody has seen an alert: what is still pending of it is cancelled."""
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        found = the_alert(outbox, id, sent=True)
        before, escalates = _deliveries(outbox, found.id), _escalates(outbox, found.id)
    plan(settings, lambda manager: manager.acknowledge(found.id))
    with existing_store(settings) as outbox:
        after, goes_on = _deliveries(outbox, found.id), _escalates(outbox, found.id)
    again = "" if found.acknowledged is None else f" It was acknowledged before, {_when(found.acknowledged)}."
    say(f"Acknowledged: {found}.{again}")
    stopped = [name for seq, (name, state) in before.items() if state in _WAITING and after[seq][1] == "cancelled"]
    if stopped:
        say(f"Cancelled {len(stopped)} pending {'delivery' if len(stopped) == 1 else 'deliveries'}: {_list(stopped)}.")
    if escalates and not goes_on:
        say("It goes to nobody else: its escalation has ended.")
    elif not stopped:
        say("Nothing of it was pending.")


def snooze(
    id: Id,
    when: Annotated[str, typer.Argument(metavar="TIME|DURATION", help="When: 30m, 2h, 1d, or 2026-01-31T15:30, UTC.")],
    config: Config = None,
) -> None:
    """Deliver an alert again later; what is pending of it waits until then."""
    until = _time(when)
    settings = load_settings(config)
    with existing_store(settings) as outbox:
        found = the_alert(outbox, id, sent=True)
    plan(settings, lambda manager: manager.snooze(found.id, until))
    with existing_store(settings) as outbox:
        again = [name for name, state in _deliveries(outbox, found.id).values() if state in _WAITING]
    say(f"Snoozed until {_when(until)}: {found}.")
    say(f"It comes again on {_list(again)}." if again else "It was sent nowhere, so it comes nowhere again.")


_WAITING = frozenset({"pending", "held"})


def _deliveries(outbox: Outbox, alert: str) -> dict[int, tuple[str, str]]:
    """The channel and state of each delivery of an alert, by number."""
    rows = outbox.rows(
        "SELECT d.seq, d.channel, t.label, d.state FROM deliveries d JOIN alerts a ON a.seq = d.alert "
        "JOIN targets t ON t.channel = d.channel AND t.target = d.target WHERE a.id = ? ORDER BY d.seq",
        (alert,),
    )
    return {seq: (f"{channel} ({label})" if label else channel, state) for seq, channel, label, state in rows}


def _escalates(outbox: Outbox, alert: str) -> bool:
    """Whether it goes further unless somebody acknowledges it."""
    return bool(list(outbox.rows("SELECT 1 FROM rule_state WHERE rule = 'escalation' AND key = ?", (alert,))))


# ------------------------------------------------------------------------------------------------------ mutes


def mute(
    *,
    symbol: Symbol = None,
    strategy: Strategy = None,
    type: Type = None,
    channel: Channel = None,
    duration: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 1d.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Until when: 2026-01-31T15:30, UTC.")
    ] = None,
    config: Config = None,
) -> None:
    """Send nothing of what matches everything that is named, until a time; it is recorded all the same."""
    if (duration is None) == (until is None):
        raise Stop(WRONG_USE, "Say how long: --for 2h, or --until 2026-01-31T15:30.")
    end = _duration(duration) + time.time() if duration is not None else _moment(until or "")
    settings = load_settings(config)
    selector = _selector(settings, symbol, strategy, type, channel)
    if not selector:
        raise Stop(WRONG_USE, f"Say what: {_OPTIONS}. To send nothing at all write `mode: record` in the settings.")
    if channel is not None:
        known_channels(settings, [channel])
    with existing_store(settings):
        pass
    plan(settings, lambda manager: manager.mute(until=end, **selector))
    say(f"Muted {_words(selector)} until {_when(end)}.")


def unmute(
    *,
    symbol: Symbol = None,
    strategy: Strategy = None,
    type: Type = None,
    channel: Channel = None,
    all: Annotated[bool, typer.Option("--all", help="Whatever is muted.")] = False,
    config: Config = None,
) -> None:
    """End a mute before its time: name what `mutes` shows, or --all."""
    from bt_alerts.delivery.standing import mutes as mutes_of

    settings = load_settings(config)
    selector = _selector(settings, symbol, strategy, type, channel)
    if bool(selector) == all:
        raise Stop(WRONG_USE, f"Say what, as `bt-alerts mutes` shows it: {_OPTIONS}; or --all.")
    with existing_store(settings) as outbox:
        muted = [each for each, _ in mutes_of(outbox, time.time())]
    if not all and selector not in muted:
        there = f"Muted are: {'; '.join(map(_words, muted))}." if muted else "Nothing is."
        raise Stop(WRONG_USE, f"There is no mute of {_words(selector)}. {there}")
    ended = muted if all else [selector]
    if ended:
        plan(settings, *(lambda manager, each=each: manager.mute(until=0.0, **each) for each in ended))
    for each in ended:
        say(f"{_words(each)} is muted no more.")
    if not ended:
        say("Nothing is muted.")


def mutes(config: Config = None) -> None:
    """Show what is muted, and until when."""
    from bt_alerts.delivery.standing import mutes as mutes_of

    settings = load_settings(config)
    with existing_store(settings) as outbox:
        found = mutes_of(outbox, time.time())
    if not found:
        say("Nothing is muted.")
        return
    now = time.time()
    show_table(
        [Column("muted"), Column("until", whole=True), Column("for", 60, whole=True)],
        [[_words(selector), _when(until), words_for(until - now)] for selector, until in found],
    )


_OPTIONS = "--symbol, --strategy, --type, --channel, or several of them"


def _selector(
    settings: Settings, symbol: str | None, strategy: str | None, type: str | None, channel: str | None
) -> dict[str, str]:
    if type is not None:
        try:
            type = AlertType(type.lower()).value
        except ValueError:
            raise Stop(WRONG_USE, f"There is no type {type!r}. Use one of {', '.join(AlertType)}.") from None
    given = {"symbol": symbol, "strategy": strategy, "type": type, "channel": channel}
    return {name: value for name, value in given.items() if value}


def _words(selector: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in selector.items())


# ----------------------------------------------------------------------------------------------------- pieces


def _time(text: str) -> float:
    """A time to come, from a duration or a time."""
    return time.time() + _duration(text) if re.search(r"\d\s*[a-z]+$", text.strip().lower()) else _moment(text)


def _duration(text: str) -> float:
    from bt_alerts.settings.fields import duration

    example = f"{text!r} is no duration: write 30m, 2h or 1d, always with its unit."
    try:
        seconds = float(duration(text))
    except ValueError:
        raise Stop(WRONG_USE, example) from None
    if text.strip().replace(".", "", 1).isdigit() or not 0 < seconds < _CENTURY:
        raise Stop(WRONG_USE, example)
    return seconds


def _moment(text: str) -> float:
    from bt_alerts.outbox.history import seconds

    try:
        when = seconds(text)
    except ValueError:
        raise Stop(
            WRONG_USE, f"{text!r} is no time: write 2026-01-31T15:30 (UTC), or a duration such as 30m, 2h or 1d."
        ) from None
    if when <= time.time():
        raise Stop(WRONG_USE, f"{text!r} has passed: give a time that is to come.")
    return when


_CENTURY = 100 * 365 * 86_400.0


def _when(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC"


def _list(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
