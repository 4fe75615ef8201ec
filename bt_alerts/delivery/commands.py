"""What people ask in a chat, and what they are told: ``/status``, ``/positions``, ``/mute AAPL 1h`` and their kin.

Promises
--------
*The store alone.* Every answer is made of what the store has. No strategy is asked, none is waited for, and nothing
here knows an order: to mute, to end a mute and to acknowledge are entries of a journal, as from a button or the shell.

*Discreet.* Prices, sizes and profits are shown as ``privacy`` wants them in messages. How many alerts wait or failed is
no amount, and is shown.

*Short.* A list has so many lines at most, and says what it leaves out.

It knows no service: a listener reads what was said into a :class:`~bt_alerts.dispatchers.base.Command`, and says the
answer. Who may ask, how often, and that it happens once is the business of :mod:`bt_alerts.delivery.pollers`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bt_alerts import summary
from bt_alerts.alert import Alert, Source, as_utc
from bt_alerts.compose import duration as spelt
from bt_alerts.compose import number, signed
from bt_alerts.delivery import standing
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.health import channel_health, problems, process_health, spell
from bt_alerts.dispatchers.base import Command
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.entries import Acknowledged, Entry, Muted
from bt_alerts.outbox.history import SHORTEST, named
from bt_alerts.render.look import Look, without_amounts
from bt_alerts.render.text import shorten
from bt_alerts.settings.fields import duration

MUTE = 3600.0  # seconds of a mute that does not say how long
LONGEST_MUTE = 100 * 366 * 86_400.0  # seconds
LAST, MOST_LAST = 5, 20  # alerts that /last shows
MOST_LINES = 20  # of a list
MOST_BARS = 5  # that /chart shows as text


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What comes of a command.

    Args:
        text: what to say, plain; the first of several lines is a heading.
        entries: what goes into the journal.
        chart: the alert whose picture goes along where it can be drawn, or that has one.
        bars: what is said in place of that picture where there is none.
        outcome: one word for the audit trail: ``answered``, ``done``, ``nothing``, ``wrong``, ``refused``, ``unknown``.
    """

    text: str
    entries: tuple[Entry, ...] = ()
    chart: Alert | None = None
    bars: str = ""
    outcome: str = "answered"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is made of.

    Args:
        arguments: the words behind the command.
        outbox: the store.
        channels: the enabled ones by name.
        look: of the channel that was asked: its zone and its privacy.
        history: alerts of old bars count too (``mode: send``).
        may_write: who asks may command; else only read.
        now: Unix seconds.
    """

    arguments: Sequence[str]
    outbox: Outbox
    channels: Mapping[str, Channel]
    look: Look
    history: bool
    may_write: bool
    now: float

    def discreet(self, text: str, symbol: str = "") -> str:
        """A text with its amounts hidden, where they are to be."""
        return without_amounts(text, self.look.privacy, symbol)

    def moment(self, at: dt.datetime | float) -> str:
        """A time as the reader's clock shows it."""
        return self.look.when(at if isinstance(at, dt.datetime) else dt.datetime.fromtimestamp(at, dt.UTC))

    def ago(self, at: dt.datetime | float) -> str:
        """How long that was ago."""
        return f"{spell(self.now - (at.timestamp() if isinstance(at, dt.datetime) else at))} ago"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A command: what runs it, how it is written, what it is for, and whether it changes something."""

    run: Callable[[Asked], Answer]
    usage: str
    about: str
    writes: bool = False


def answer(command: Command, asked: Asked) -> Answer:
    """What comes of a command; nothing is written here.

    Args:
        command: what was said.
        asked: what the answer is made of.

    Raises:
        StoreError: where the store cannot be read.
    """
    known = COMMANDS.get(command.name)
    if known is None:
        return Answer(f"I do not know /{command.name}. /help lists what I know.", outcome="unknown")
    if known.writes and not asked.may_write:
        return Answer("You may read here, but not command. /help lists what you can ask.", outcome="refused")
    return known.run(asked)


def listed(*, writes: bool = True) -> list[tuple[str, str]]:
    """The commands with what they are for, as a menu has them; without ``writes`` those that only read."""
    return [(name, each.about) for name, each in COMMANDS.items() if each.about and (writes or not each.writes)]


# ------------------------------------------------------------------------------------------ what only reads


def _help(asked: Asked) -> Answer:
    known = [each for each in COMMANDS.values() if each.about and (asked.may_write or not each.writes)]
    lines = ["What you can ask", *(f"{each.usage} – {each.about}" for each in known)]
    return Answer("\n".join([*lines, "None of them touches an order."]))


def _status(asked: Asked) -> Answer:
    lines = [f"Status at {asked.moment(asked.now)}"]
    runs = standing.strategies(asked.outbox, asked.now, history=asked.history)
    lines += _strategies(asked, runs) or ["No strategy has told anything yet."]
    lines += _feeds(asked, runs)
    for each in process_health(asked.outbox.processes(), asked.now):
        seen = "alive" if each["alive"] else f"no sign of life for {spell(asked.now - each['seen'].timestamp())}"
        lines.append(f"{'✅' if each['alive'] else '❌'} {each['role']} process {each['pid'] or ''}: {seen}")
    health = channel_health(asked.outbox, list(asked.channels), asked.now)
    for name, state in health.items():
        mark = {"ok": "✅", "failing": "⚠️"}.get(state["status"], "❌")
        lines.append(f"{mark} channel {name}: {_counts(state)}")
    found = len(_problems(asked, health))
    lines += [f"{found} {'problem' if found == 1 else 'problems'}: see /health"] if found else []
    lines += _muted(asked)
    last = _latest(asked)
    lines.append(f"Last alert {asked.ago(last.time)}: {_titled(asked, last)}" if last else "No alert yet.")
    return Answer("\n".join(lines))


def _health(asked: Asked) -> Answer:
    health = channel_health(asked.outbox, list(asked.channels), asked.now)
    found = _problems(asked, health)
    lines = ["Something needs a look" if found else "All is well", *_some(found)]
    for name, state in health.items():
        took = state["latency_p95"]
        speed = f", most within {number(round(took, 1))} s" if took is not None else ""
        lines.append(f"{name}: {state['sent']:,} arrived, {_counts(state)}{speed}")
        if state["ignored"]:
            lines.append(f"{name}: {state['ignored']:,} times somebody asked who may not, or too often")
    return Answer("\n".join(lines))


def _counts(state: Mapping[str, Any]) -> str:
    held = f", {state['held']:,} held" if state["held"] else ""
    word = "" if state["status"] == "ok" else f"{state['status']}, "
    letters = f"{state['dead_letters']:,} dead {'letter' if state['dead_letters'] == 1 else 'letters'}"
    return f"{word}{state['queue']:,} pending{held}, {letters}"


def _problems(asked: Asked, health: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return problems(health, process_health(asked.outbox.processes(), asked.now), asked.now)


def _strategies(asked: Asked, runs: Sequence[standing.Standing]) -> list[str]:
    return _some(
        f"{'✅' if each.good else '❌'} {each.name}: {each.word} since {asked.moment(each.since)}" for each in runs
    )


def _feeds(asked: Asked, runs: Sequence[standing.Standing]) -> list[str]:
    return _some(
        f"{'✅' if each.good else '⚠️'} {each.name}{f' ({each.strategy})' if each.strategy else ''}: "
        f"{each.word} since {asked.moment(each.since)}"
        for each in standing.feeds(asked.outbox, asked.now, history=asked.history, runs=runs)
    )


def _positions(asked: Asked) -> Answer:
    alerts = _alerts(asked, standing.MONEY, asked.now - standing.OPENED_BEFORE)
    held = _report(asked, alerts, asked.now - standing.OPENED_BEFORE)["positions"]
    if not held:
        return Answer("No open position, as far as alerts tell.")
    lines = []
    for each in held:
        at = f" at {number(each['price'])}" if each["price"] else ""
        text = asked.discreet(f"{each['symbol']} {each['direction']} {number(abs(each['size']))}{at}", each["symbol"])
        by = f" ({each['strategy']})" if each["strategy"] else ""
        lines.append(f"{text}{by}, since {asked.moment(dt.datetime.fromisoformat(each['since']))}")
    return Answer("\n".join(["Open positions, as alerts told them", *_some(lines)]))


def _pnl(asked: Asked) -> Answer:
    alerts = _alerts(asked, standing.MONEY, asked.now - standing.OPENED_BEFORE)
    here = summary.local(asked.now, asked.look.zone)
    today = here.replace(hour=0, minute=0, second=0, microsecond=0)
    periods = {"Today": today, "Seven days": today - dt.timedelta(days=6), "Thirty days": today - dt.timedelta(days=29)}
    lines = ["Realised profit, after commission"]
    for name, since in periods.items():
        report = _report(asked, alerts, since.timestamp())
        lines.append(f"{name}: {_result(asked, report)}")
        several = [each for each in report["by_strategy"] if each["closed"]]
        if name == "Today" and len(several) > 1:
            lines += _some(f"  {each['strategy'] or 'no strategy'}: {_result(asked, each)}" for each in several)
    return Answer("\n".join([*lines, "What is open counts for nothing here."]))


def _result(asked: Asked, of: Mapping[str, Any]) -> str:
    if not of["closed"]:
        return "no trade closed"
    net = signed(of["net"]) + summary.in_percent(of["return_percent"])
    return asked.discreet(f"{net}, {summary.trades_in_words(of)}")


def _report(asked: Asked, alerts: Sequence[Alert], since: float) -> Mapping[str, Any]:
    """The figures of a period that began at ``since`` and ends now."""
    return standing.report(alerts, since, asked.now, asked.look.zone)


def _last(asked: Asked) -> Answer:
    wanted = asked.arguments[0] if asked.arguments else str(LAST)
    if not re.fullmatch("[0-9]{1,4}", wanted) or not int(wanted):
        return Answer(f"Write /last, or /last 10 for ten alerts; {MOST_LAST} at most.", outcome="wrong")
    found: dict[str, str] = {}
    for seq, id_, body, settled, acknowledged in asked.outbox.rows(_DELIVERED, (min(int(wanted), MOST_LAST) * 20,)):
        if id_ not in found and len(found) < min(int(wanted), MOST_LAST):
            seen = " ✓" if acknowledged is not None else f" · /ack_{seq}"
            found[id_] = f"{asked.moment(settled)} · {_titled(asked, Alert.from_json(body))}{seen}"
    if not found:
        return Answer("No alert was delivered yet.", outcome="nothing")
    return Answer("\n".join(["The last that arrived, newest first", *found.values()]))


def _chart(asked: Asked) -> Answer:
    if not asked.arguments:
        return Answer("Write which: /chart AAPL", outcome="wrong")
    word = " ".join(asked.arguments)
    symbol = _symbol(asked, word)
    if symbol is None:
        return Answer(f"There is no alert of {word}.", outcome="nothing")
    for body, source in asked.outbox.rows(_PICTURES, (standing.LOOK_BACK, symbol, '%"bars":%')):
        alert = Alert.from_json(body)
        pictures = [file for file in alert.attachments if file.content_type.startswith("image/")]
        if (alert.bars or pictures) and (asked.history or source != Source.HISTORY.value):
            text = f"{symbol}, {asked.moment(alert.bar_time or alert.time)}: {_titled(asked, alert)}"
            return Answer(text, chart=alert, bars=_bars(asked, alert))
    text = f"No alert of {symbol} has a picture. Channels with `charts: light` in their settings keep bars for one."
    return Answer(text, outcome="nothing")


def _bars(asked: Asked, alert: Alert) -> str:
    """The last bars as text, for where they cannot be drawn."""
    bars = alert.bars or {}
    columns = [list(bars.get(name) or ())[-MOST_BARS:] for name in ("time", "open", "high", "low", "close")]
    lines = []
    for when, *prices in zip(*columns, strict=False):
        shown = " ".join(number(price) if isinstance(price, int | float) else "–" for price in prices)
        at = as_utc(when)
        lines.append(f"{asked.moment(at) if at is not None else '–'}: {asked.discreet(shown)}")
    return "\n".join(["Open, high, low, close", *lines]) if lines else ""


# ------------------------------------------------------------------------------------------- what writes


def _mute(asked: Asked) -> Answer:
    if not asked.arguments:
        return Answer("\n".join(_muted(asked) or ["Nothing is muted. Write /mute AAPL 1h"]), outcome="answered")
    name, seconds = _how_long(asked.arguments)
    if seconds is None or not 0 < seconds < LONGEST_MUTE:
        return Answer("Write how long with its unit: /mute AAPL 30m, 2h or 1d", outcome="wrong")
    symbol = _symbol(asked, name)
    doubt = "" if symbol is not None else ". No alert of it is known yet: is it spelt so?"
    name = shorten(symbol or name, 100)
    return Answer(
        f"{name} is muted for {spelt(seconds)}{doubt}", (Muted({"symbol": name}, asked.now + seconds),), outcome="done"
    )


def _how_long(words: Sequence[str]) -> tuple[str, float | None]:
    """The symbol, and seconds; None where what should say how long does not."""
    for count in (2, 1):  # "1 h" and "1h"
        tail = "".join(words[-count:]).lower()
        if len(words) > count and re.fullmatch(r"(?:[0-9.]+[a-z]+)+", tail):
            try:
                return " ".join(words[:-count]), float(duration(tail))
            except ValueError:
                if count == 1:
                    return " ".join(words[:-1]), None
    if len(words) > 1 and re.fullmatch(r"[0-9.]+", words[-1]):
        return " ".join(words[:-1]), None
    return " ".join(words), MUTE


def _unmute(asked: Asked) -> Answer:
    there = standing.mutes(asked.outbox, asked.now)
    word = " ".join(asked.arguments)
    ended = [each for each, _ in there if not word or word.casefold() in (name.casefold() for name in each.values())]
    if word and not ended:
        # Written all the same: a mute of a moment ago may still be on its way into the store.
        symbol = _symbol(asked, word) or shorten(word, 100)
        return Answer(f"{symbol} is not muted", (Muted({"symbol": symbol}, 0.0),), outcome="nothing")
    if not ended:
        return Answer("Nothing is muted", outcome="nothing")
    text = "\n".join(f"{_words(each)} is muted no more" for each in ended)
    return Answer(text, tuple(Muted(each, 0.0) for each in ended), outcome="done")


def _ack(asked: Asked) -> Answer:
    if len(asked.arguments) != 1:
        return Answer("Write which: /ack and the number that /last shows, or /ack last", outcome="wrong")
    word = asked.arguments[0]
    if word.lower() == "last":
        word = next((row[1] for row in asked.outbox.rows(_DELIVERED, (1,))), word)
    found = named(asked.outbox, word, commands=False)
    if not found:
        text = f"There is no alert {shorten(word, 40)}. /last shows numbers; of an id {SHORTEST} characters are enough."
        return Answer(text, outcome="nothing")
    if len(found) > 1:
        return Answer(f"Several alerts begin with {word}: give more of the id.", outcome="wrong")
    id_, body, acknowledged = found[0]
    again = "" if acknowledged is None else " (it was before)"
    text = f"Acknowledged{again}: {_titled(asked, Alert.from_json(body))}"
    return Answer(text, (Acknowledged(id_),), outcome="done")


# -------------------------------------------------------------------------------------------------- pieces


def _muted(asked: Asked) -> list[str]:
    return _some(
        f"🔇 {_words(each)} for {spelt(until - asked.now)}" for each, until in standing.mutes(asked.outbox, asked.now)
    )


def _words(selector: Mapping[str, str]) -> str:
    return ", ".join(value if name == "symbol" else f"{name} {value}" for name, value in selector.items())


def _titled(asked: Asked, alert: Alert) -> str:
    title = alert.title if not alert.symbol or alert.symbol in alert.title else f"{alert.title} ({alert.symbol})"
    return f"{alert.priority.style.emoji} {asked.discreet(shorten(title, 120), alert.symbol)}".strip()


def _some(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return found if len(found) <= MOST_LINES else [*found[:MOST_LINES], f"… and {len(found) - MOST_LINES:,} more"]


def _symbol(asked: Asked, word: str) -> str | None:
    """A symbol as alerts have it, whatever its case; None where none of the latest is of it."""
    rows = list(asked.outbox.rows(_SYMBOL, (standing.LOOK_BACK, word.lower(), word)))
    return str(rows[0][0]) if rows else None


def _latest(asked: Asked) -> Alert | None:
    for body, source in asked.outbox.rows(_NEWEST):
        if asked.history or source != Source.HISTORY.value:
            return Alert.from_json(body)
    return None


def _alerts(asked: Asked, kinds: Iterable[str], since: float) -> list[Alert]:
    return standing.alerts(asked.outbox, kinds, since, history=asked.history)


_LATELY = "seq > (SELECT coalesce(max(seq), 0) FROM alerts) - ?"
_DELIVERED = """
SELECT a.seq, a.id, a.body, d.settled, a.acknowledged FROM deliveries d JOIN alerts a ON a.seq = d.alert
WHERE d.state IN ('delivered', 'digested') AND d.settled IS NOT NULL ORDER BY d.seq DESC LIMIT ?
"""
_PICTURES = f"""
SELECT body, source FROM alerts
WHERE {_LATELY} AND symbol = ? AND (files > 0 OR body LIKE ?) ORDER BY seq DESC LIMIT 50
"""
_SYMBOL = f"""
SELECT symbol FROM alerts WHERE {_LATELY} AND lower(symbol) = ?
ORDER BY CASE WHEN symbol = ? THEN 0 ELSE 1 END, seq DESC LIMIT 1
"""
_NEWEST = "SELECT body, source FROM alerts WHERE kind != 'command' ORDER BY seq DESC LIMIT 100"


#: By name, in the order in which a person reads them; without a text it is in no list.
COMMANDS: Mapping[str, Known] = {
    "status": Known(_status, "/status", "is everything alive? strategies, feeds, channels, mutes"),
    "positions": Known(_positions, "/positions", "what is open"),
    "pnl": Known(_pnl, "/pnl", "realised profit of today, seven and thirty days"),
    "last": Known(_last, "/last 5", "the newest alerts that arrived, with numbers for /ack"),
    "health": Known(_health, "/health", "how the channels do, and what needs a look"),
    "chart": Known(_chart, "/chart AAPL", "the newest picture of a symbol"),
    "mute": Known(_mute, "/mute AAPL 1h", "send nothing of a symbol for a time", writes=True),
    "unmute": Known(_unmute, "/unmute AAPL", "end a mute; without a symbol, all", writes=True),
    "ack": Known(_ack, "/ack 12", "say that you have seen an alert", writes=True),
    "help": Known(_help, "/help", "what you can ask"),
    "start": Known(_help, "/start", ""),
}
