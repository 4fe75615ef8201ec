"""How an alert looks: put into words by templates, the same in every channel, in the markup of each.

A :class:`Look` belongs to one channel: its templates, the reader's time zone, what must not be seen on a locked phone.
:meth:`Look.view` gives the parts of an alert to services that have places for them (title, fields, colour), and
:meth:`Look.pages` one text, cut into messages where the service's limit asks for it.

A template's own text is the service's markup; what it inserts is escaped, so an alert can neither break the markup nor
add any. A template that fails costs nothing but itself: the built-in one takes its place, and the receipt says so.
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
from bt_alerts.render.text import shorten, split

Escape = Callable[[str], str]

#: What a message leaves out for a phone that others can see.
PRIVACY = ("off", "hide_amounts", "percent_only")
HIDDEN = "•••"
_AMOUNT = re.compile(r"(?<![\w.,#:])[-+−]?\d[\d,]*(?:\.\d+)?(?![\w:])(\s?%)?")

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


def without_amounts(text: str, privacy: str) -> str:
    """A text with its amounts hidden as ``privacy``, one of :data:`PRIVACY`, asks for."""
    if privacy == "off":
        return text
    keep = privacy == "percent_only"
    return _AMOUNT.sub(lambda found: found[0] if keep and found[1] else HIDDEN, text)


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
        position = without_amounts(position, self.privacy)
        rows = (("Symbol", alert.symbol), ("Strategy", alert.strategy), ("Position", position))
        return tuple(row for row in rows if row[1])

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """The rest of the alert's data, likewise."""
        told = _TOLD_BY_HOOKS if self.alert.kind.startswith(_HOOKS) else _TOLD
        rows = (
            _row(key, value)
            for key, value in self.alert.data.items()
            if key not in told and value not in (None, "", [], {})
        )
        shown = itertools.islice(rows, MOST_DETAILS)
        return tuple((label, without_amounts(value, self.privacy)) for label, value in shown)

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
        around = size(_joined(title, bare, footer)) + 2
        if around > limit // 2:  # a template or a title so long that no room is left for what it is about
            title, bare, footer, around = escape(shorten(facts["title"], limit // 8)), "", "", limit // 2
        chunks = split(facts["message"], limit - around, lambda text: size(escape(text)))
        (_, first, _), _ = self._render(alert, {**facts, "message": chunks[0]}, escape, kit)
        if not bare.strip() or size(_joined(title, first, footer)) > limit:
            first = _joined(bare, escape(chunks[0]))
        return [_joined(title, first), *map(escape, chunks[1:-1]), _joined(escape(chunks[-1]), footer)]

    # What templates know ---------------------------------------------------------------------------

    def _facts(self, alert: Alert, late: str) -> dict[str, Any]:
        style = alert.priority.style
        return {
            "emoji": style.emoji,
            "colour": style.colour,
            "priority": alert.priority.value,
            "type": alert.type.value,
            "kind": alert.kind,
            "title": self._hidden(alert.title),
            "message": self._hidden(alert.message) if alert.message.strip() else "",
            "symbol": alert.symbol,
            "strategy": alert.strategy,
            "run": alert.run,
            "source": alert.source.value,
            "time": self.when(alert.bar_time or alert.time),
            "late": late,
            "id": alert.id,
            "data": _Data(self._hidden_data(alert.data)),
        }

    def when(self, moment: dt.datetime) -> str:
        """A time as the reader's clock shows it: ``2026-03-02 15:30 CET``."""
        local = moment.astimezone(zone_named(self.zone))
        return f"{local:%Y-%m-%d %H:%M} {local.tzname() or self.zone}"

    def _hidden(self, text: str) -> str:
        return without_amounts(text, self.privacy)

    def _hidden_data(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.privacy == "off":
            return data
        keep = "percent" if self.privacy == "percent_only" else "\0"
        return {k: HIDDEN if isinstance(v, int | float) and keep not in k else v for k, v in data.items()}

    # Templates -------------------------------------------------------------------------------------

    def _render(
        self, alert: Alert, facts: Mapping[str, Any], escape: Escape, kit: str
    ) -> tuple[tuple[str, str, str], str]:
        parts, note = [], ""
        for part in templates.PARTS:
            source = self._own(alert, part)
            if source is not None:
                try:
                    parts.append(templates.rendered(source, escape, facts))
                    continue
                except Exception as exc:  # whatever a template does, the alert goes out
                    reason = f"{type(exc).__name__}: {exc}"
                    note = f"the built-in {part} was used, because the template of the settings failed: {reason}"
            parts.append(templates.rendered(templates.built_in(kit, part), escape, facts))
        title, message, footer = (part.strip("\n") for part in parts)
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
