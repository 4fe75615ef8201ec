"""How an alert looks: put into words by templates, the same in every channel, in the markup of each.

A :class:`Look` belongs to one channel: its templates, the reader's time zone, what must not be seen on a locked phone.
:meth:`Look.view` gives the parts of an alert to services that have places for them (title, fields, colour), and
:meth:`Look.pages` one text, cut into messages where the service's limit asks for it.

A template's own text is the service's markup; what it inserts is escaped, so an alert can neither break the markup nor
add any. A template that fails costs nothing but itself: the built-in one takes its place, and the receipt says so.

Privacy hides every number in title, message, fields and data, at the moment when it is shown: a template still computes
with the true one. What has the form of a symbol, a date or a time of day is left.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
import json
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.compose import duration, number, shown
from bt_alerts.render import templates
from bt_alerts.render.templates import Percent, Shown
from bt_alerts.render.text import shorten, split

Escape = Callable[[str], str]

#: What a message leaves out for a phone that others can see.
PRIVACY = ("off", "hide_amounts", "percent_only")
HIDDEN = "•••"
_CURRENCY = "USDT|USDC|USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|HKD|SGD|SEK|NOK|DKK|PLN|INR|BRL|ZAR|KRW|MXN|TRY|Rs|kr"
_SIGN, _MONEY, _SPACE = "[-+−–]", "[$€£¥₹₽₩₿₺¢]", "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}]"
_TOKENS = rf"""
    (?P<moment> (?<![\w.,:]) (?:
        [12]\d{{3}}-[01]\d-[0-3]\d (?: T[0-2]\d:[0-5]\d (?: :[0-5]\d (?:\.\d+)? )? (?: Z | [+-]\d\d:\d\d )? )?
        | [0-2]?\d:[0-5]\d (?: :[0-5]\d )?
    ) (?! [\w:%] | [.,]\d ) )
    | (?P<amount>
        (?: (?<!\w){_SIGN} )? (?: (?<!\w)(?i:{_CURRENCY}) )? (?: {_MONEY}{_SPACE}? )? (?: (?<!\w){_SIGN} )?
        \d (?: \d | [.,'’_]\d | {_SPACE}\d{{3}}(?!\d) )* (?: [eE]{_SIGN}\d+ )? \w* {_MONEY}?
    ) (?P<percent> \s?% )?
    | (?P<glued> (?P<letters> [^\W\d_]+ ) \d\w* (?: [.,'’]\d\w* )+ )  # AAPL150.5
    | [^\W\d_]\w*  # BTC2, ES1!: whatever begins with a letter
"""
_PERCENTAGE = re.compile(rf"{_SIGN}?(?:\d+(?:[.,]\d+)?|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?)")

MOST_DETAILS = 24
MAX_DETAIL = 300


#: Keys of an alert's data that are told by its other parts, or mean something to programs alone.
_TOLD = {"position_size", "position_price"}
_TOLD_BY_HOOKS = _TOLD | {"status", "filled", "size", "side", "parent", "trade", "traceback"}
_HOOKS = ("order.", "trade.", "position.", "error")
_LABELS = {
    "order": "Order number",
    "fill_size": "Filled",
    "commission": "Commission of this order",
    "trade_commission": "Commission",
    "close_reason": "Closed by",
    "pnl": "Profit before commission",
    "pnlcomm": "Profit",
    "part_pnl": "Profit of this part",
    "entry_price": "Entry",
    "exit_price": "Exit",
    "stop_price": "Stop",
    "target_price": "Target",
}


def as_is(text: str) -> str:
    """The escaping of a service that has no markup."""
    return text


@functools.lru_cache(maxsize=256)
def _tokens(symbol: str) -> re.Pattern[str]:
    # A symbol of few digits alone could be any amount.
    known = re.search(r"\d", symbol) and (re.search(r"[^\W\d_]", symbol) or len(symbol) >= 4)
    own = rf"(?<![\w.,]) (?i:{re.escape(symbol)}) (?! \w | [.,]\d ) |" if known else ""
    return re.compile(own + _TOKENS, re.VERBOSE)


def without_amounts(text: str, privacy: str, symbol: str = "") -> str:
    """A text with its amounts hidden.

    Args:
        text: what may have some.
        privacy: one of :data:`PRIVACY`.
        symbol: of the alert; it is left, whatever its form.
    """
    if privacy == "off":
        return text

    def hidden(found: re.Match[str]) -> str:
        if found["amount"] is not None:
            percentage = found["percent"] and _PERCENTAGE.fullmatch(found["amount"])
            return found[0] if percentage and privacy == "percent_only" else HIDDEN
        return found["letters"] + HIDDEN if found["glued"] else found[0]

    return _tokens(symbol.strip()).sub(hidden, text)


def hidden(value: Any, privacy: str, symbol: str = "", key: str = "") -> Any:
    """A value with its amounts hidden, those inside it too; what is true or false stays.

    Args:
        value: of an alert's data, or what a template made of it.
        privacy: as in :func:`without_amounts`, as is ``symbol``.
        key: what the data call it: numbers of a ``…percent`` are percentages.
    """
    if privacy == "off" or value is None or isinstance(value, bool | Shown):
        return value
    if isinstance(value, int | float):
        return value if privacy == "percent_only" and (isinstance(value, Percent) or "percent" in key) else HIDDEN
    if isinstance(value, Mapping):
        return {
            without_amounts(str(name), privacy, symbol): hidden(member, privacy, symbol, str(name))
            for name, member in value.items()
        }
    if isinstance(value, list | tuple):
        return [hidden(member, privacy, symbol, key) for member in value]
    return without_amounts(str(value), privacy, symbol)


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """An alert ready to be shown.

    Args:
        alert: which one.
        title: one line with the emoji of its priority, in the service's markup, as are the next two.
        message: begins with how late it is, where it is late.
        footer: when it happened and to which strategy.
        time: the bar's time, else the alert's, in the reader's zone.
        late: ``"⏱ 11 min late"``, or nothing.
        note: why a template of the user was not used; empty where all went well.
        privacy: one of :data:`PRIVACY`.
    """

    alert: Alert
    title: str
    message: str
    footer: str
    time: str
    late: str
    note: str = ""
    privacy: str = "off"

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Names and values worth a place of their own: symbol, strategy, position. Plain text, not escaped."""
        alert = self.alert
        held, price = alert.data.get("position_size"), alert.data.get("position_price")
        position = ""
        if isinstance(held, int | float) and held:
            side = "long" if held > 0 else "short"
            position = f"{side} {number(abs(held))}" + (f" at {number(price)}" if price else "")
        position = without_amounts(position, self.privacy, alert.symbol)
        rows = (("Symbol", alert.symbol), ("Strategy", alert.strategy), ("Position", position))
        return tuple(row for row in rows if row[1])

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """The rest of the alert's data, likewise."""
        told = _TOLD_BY_HOOKS if self.alert.kind.startswith(_HOOKS) else _TOLD
        if self.alert.kind.startswith("report."):
            told = told | {"report"}  # the message tells it, and its files do
        rows = (
            _row(without_amounts(key, self.privacy), hidden(value, self.privacy, self.alert.symbol, key))
            for key, value in self.alert.data.items()
            if key not in told and value not in (None, "", [], {})
        )
        return tuple(itertools.islice(rows, MOST_DETAILS))

    @property
    def colour(self) -> str:
        """The colour of the priority as ``#rrggbb``."""
        return self.alert.priority.style.colour


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How one channel shows alerts.

    Args:
        own: the user's templates, ``{alert type, kind or "all": {"title" | "message" | "footer": text}}``.
        zone: name of the reader's time zone.
        privacy: one of :data:`PRIVACY`.
    """

    own: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    zone: str = "UTC"
    privacy: str = "off"

    def view(self, alert: Alert, late: str = "", *, escape: Escape = as_is, kit: str = "default") -> View:
        """The parts of an alert.

        Args:
            alert: which one.
            late: how late it is, in words; empty where it is in time.
            escape: makes text safe in the service's markup; a function, not a method, because what it makes is kept.
            kit: name of the built-in set of templates.
        """
        facts = self._facts(alert, late)
        parts, note = self._render(alert, facts, escape, kit)
        return View(alert, *parts, time=facts["time"], late=late, note=note, privacy=self.privacy)

    def pages(
        self,
        alert: Alert,
        late: str = "",
        *,
        limit: int,
        escape: Escape = as_is,
        kit: str = "default",
        size: Callable[[str], int] = len,
    ) -> list[str]:
        """The whole alert as text in as few messages of at most ``limit`` as it takes.

        The message is cut before it is put into markup, so none is ever broken; the pieces joined give it exactly.
        Why a template of the user was not used is told by :attr:`View.note` of :meth:`view`.

        Args:
            alert: as in :meth:`view`, as are ``late``, ``escape`` and ``kit``.
            limit: greatest size of one message.
            size: how the service counts, such as characters or bytes; the size of a joined text must not be more than
                the sum of its parts.
        """
        facts = self._facts(alert, late)
        parts, _ = self._render(alert, facts, escape, kit)
        page = _joined(*parts)
        if size(page) <= limit:
            return [page]
        (title, bare, footer), _ = self._render(alert, {**facts, "message": ""}, escape, kit)
        around = size(_joined(title, bare, footer)) + 3  # with the ends of lines between them
        if around > limit // 2:  # a template or a title so long that no room is left for what it is about
            title, bare, footer, around = _fitting(facts["title"], limit // 4, escape, size), "", "", limit // 4 + 3
        chunks = split(facts["message"], max(1, limit - around), lambda text: size(escape(text)))
        (_, first, _), _ = self._render(alert, {**facts, "message": Shown(chunks[0])}, escape, kit)
        if not bare.strip() or size(_joined(title, first)) > limit:
            first = _joined(bare, escape(chunks[0]))
        pages = [_joined(title, first), *map(escape, chunks[1:])]
        with_footer = _joined(pages[-1], footer)
        return [*pages[:-1], with_footer] if size(with_footer) <= limit else [*pages, footer]

    # What templates know ---------------------------------------------------------------------------

    def _facts(self, alert: Alert, late: str) -> dict[str, Any]:
        style = alert.priority.style
        message = without_amounts(alert.message, self.privacy, alert.symbol) if alert.message.strip() else ""
        facts = {
            "emoji": style.emoji,
            "colour": style.colour,
            "priority": alert.priority.value,
            "type": alert.type.value,
            "kind": alert.kind,
            "title": without_amounts(alert.title, self.privacy, alert.symbol),
            "message": message,
            "symbol": alert.symbol,
            "strategy": alert.strategy,
            "run": alert.run,
            "source": alert.source.value,
            "time": self.when(alert.bar_time or alert.time),
            "late": late,
            "id": alert.id,
        }
        percentages = {
            key: Percent(value)
            for key, value in alert.data.items()
            if self.privacy == "percent_only" and "percent" in key
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        return {**{name: Shown(fact) for name, fact in facts.items()}, "data": _Data({**alert.data, **percentages})}

    def when(self, moment: dt.datetime) -> str:
        """A time as the reader's clock shows it: ``2026-03-02 15:30 CET``."""
        try:
            local = moment.astimezone(zone_named(self.zone))
        except OverflowError:  # in the first or the last hours that there are
            return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or 'UTC'}"
        return f"{local:%Y-%m-%d %H:%M} {local.tzname() or self.zone}"

    def discreet(self, alert: Alert) -> Alert:
        """The alert as privacy shows it, for services that take it as data."""
        if self.privacy == "off":
            return alert
        title, message = (without_amounts(text, self.privacy, alert.symbol) for text in (alert.title, alert.message))
        return alert.replace(title=title, message=message, data=hidden(alert.data, self.privacy, alert.symbol))

    # Templates -------------------------------------------------------------------------------------

    def _render(
        self, alert: Alert, facts: Mapping[str, Any], escape: Escape, kit: str
    ) -> tuple[tuple[str, str, str], str]:
        parts, note = [], ""
        hide = functools.partial(hidden, privacy=self.privacy, symbol=alert.symbol)
        for part in templates.PARTS:
            source = self._own(alert, part)
            if source is not None:
                try:
                    from bt_alerts.render import sandbox

                    parts.append(sandbox.rendered(source, escape, facts, None if self.privacy == "off" else hide))
                    continue
                except Exception as exc:  # whatever a template does, the alert goes out
                    reason = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
                    note = f"the built-in {part} was used, because the template of the settings failed: {reason}"
            parts.append(templates.rendered(templates.built_in(kit, part), escape, facts))
        title, message, footer = (part.strip("\n") if part.strip() else "" for part in parts)
        return (title, message, footer), note

    def _own(self, alert: Alert, part: str) -> str | None:
        """The user's template for a part: of the kind, else of the type, else of all."""
        found = (self.own.get(key, {}).get(part) for key in (alert.kind, alert.type.value, "all"))
        return next((source for source in found if source is not None), None)


#: How a dispatcher without settings shows alerts.
PLAIN = Look()


class _Data(dict[str, Any]):
    """An alert's data; what this one lacks reads as nothing, since not every alert of a type has every key."""

    def __missing__(self, key: str) -> None:
        return None


@functools.lru_cache(maxsize=64)
def zone_named(name: str) -> dt.tzinfo:
    """The time zone of a name such as ``Europe/Berlin``. Raises ``ZoneInfoNotFoundError`` where there is none."""
    return dt.UTC if name.upper() == "UTC" else zoneinfo.ZoneInfo(name)


def _joined(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _fitting(text: str, room: int, escape: Escape, size: Callable[[str], int]) -> str:
    """As much of ``text`` as fits when it is escaped."""
    length = min(len(text), room)
    while length and size(escape(shorten(text, length))) > room:
        length -= max(1, length // 8)
    return escape(shorten(text, length))


def _detail(value: Any) -> str:
    if isinstance(value, Mapping | list):
        if isinstance(value, list) and not any(isinstance(member, Mapping | list) for member in value):
            return shorten(", ".join(shown(member) for member in value), MAX_DETAIL)
        return shorten(json.dumps(value, ensure_ascii=False, default=str), MAX_DETAIL)
    return shorten("yes" if value is True else "no" if value is False else shown(value), MAX_DETAIL)


def _row(key: str, value: Any) -> tuple[str, str]:
    if key == "duration_seconds" and isinstance(value, int | float):
        return "Held", duration(value)
    return _LABELS.get(key) or key.replace("_", " ").strip().capitalize(), _detail(value)


def labelled(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values as lines of text."""
    return "\n".join(f"{name}: {value}" for name, value in pairs)
