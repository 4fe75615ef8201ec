"""The one value that everything passes: what happened, in plain and safe data.

An :class:`Alert` is immutable. Its text is made safe *when it is built* (NUL bytes, lone surrogates, size), and its
``data`` is turned into plain JSON values, so that no journal, store, template or service behind it needs to. Building
one never raises because of what a strategy put into it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import hashlib
import json
import math
import os
import re
import time as _time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

UTC = dt.UTC
E = TypeVar("E", bound=enum.StrEnum)

MAX_TITLE = 500
MAX_MESSAGE = 32_768
MAX_TEXT_IN_DATA = 8_192
MAX_ITEMS_IN_DATA = 1_000
MAX_DEPTH_IN_DATA = 8


class AlertType(enum.StrEnum):
    """What an alert is about."""

    SIGNAL = "signal"
    ORDER = "order"
    TRADE = "trade"
    POSITION = "position"
    ERROR = "error"
    MARKET = "market"
    ACCOUNT = "account"
    DATA = "data"
    STORE = "store"
    STRATEGY = "strategy"
    RISK = "risk"
    PRICE = "price"
    PERFORMANCE = "performance"
    HEALTH = "health"
    MILESTONE = "milestone"
    CUSTOM = "custom"

    @classmethod
    def _missing_(cls, value: object) -> AlertType | None:
        return _by_lowered_value(cls, value)


class Priority(enum.StrEnum):
    """How urgent an alert is; ordered, so that ``Priority.HIGH > Priority.LOW``.

    Attributes:
        rank: 4 for critical down to 0 for info: what stores and queues sort by.
    """

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    rank: int  # a plain attribute, because rules compare priorities again and again for every alert

    @classmethod
    def _missing_(cls, value: object) -> Priority | None:
        if isinstance(value, str) and value.strip().lower() == "normal":
            return cls.MEDIUM
        return _by_lowered_value(cls, value)

    @property
    def style(self) -> PriorityStyle:
        """Colour, emoji and each service's own level: the row of :data:`PRIORITY_STYLES`."""
        return PRIORITY_STYLES[self]

    def __lt__(self, other: str) -> bool:
        return self.rank < (other.rank if other.__class__ is Priority else Priority(other).rank)

    def __le__(self, other: str) -> bool:
        return self.rank <= (other.rank if other.__class__ is Priority else Priority(other).rank)

    def __gt__(self, other: str) -> bool:
        return self.rank > (other.rank if other.__class__ is Priority else Priority(other).rank)

    def __ge__(self, other: str) -> bool:
        return self.rank >= (other.rank if other.__class__ is Priority else Priority(other).rank)


for _rank, _priority in enumerate(reversed(Priority)):
    _priority.rank = _rank

#: The name that the product's first documents gave it.
AlertPriority = Priority


@dataclasses.dataclass(frozen=True, slots=True)
class PriorityStyle:
    """How one priority looks, the same in every channel."""

    colour: str
    emoji: str
    pushover: int
    terminal: str


#: The one table of how a priority looks and what each service calls it.
PRIORITY_STYLES: dict[Priority, PriorityStyle] = {
    Priority.CRITICAL: PriorityStyle(colour="#d92626", emoji="🔴", pushover=2, terminal="bold red"),
    Priority.HIGH: PriorityStyle(colour="#f08c00", emoji="🟠", pushover=1, terminal="dark_orange"),
    Priority.MEDIUM: PriorityStyle(colour="#f2c200", emoji="🟡", pushover=0, terminal="yellow"),
    Priority.LOW: PriorityStyle(colour="#2b9348", emoji="🟢", pushover=-1, terminal="green"),
    Priority.INFO: PriorityStyle(colour="#1c7ed6", emoji="ℹ️", pushover=-2, terminal="blue"),
}


def _by_lowered_value(cls: type[E], value: object) -> E | None:
    if not isinstance(value, str):
        return None
    wanted = value.strip().lower()
    return next((member for member in cls if member.value == wanted), None)


class Source(enum.StrEnum):
    """Where an alert was made: on an old bar, on a live one, or by a direct call outside any run."""

    HISTORY = "history"
    LIVE = "live"
    DIRECT = "direct"


# --------------------------------------------------------------------------------------------- ids


class _Uuid7:
    """Version-7 UUIDs (RFC 9562 §5.7, method 2): they sort by time, and strictly within a process."""

    def __init__(self) -> None:
        self._reseed()

    def _reseed(self) -> None:
        self._pid = os.getpid()
        self._ms = 0
        self._counter = 0
        self._node = int.from_bytes(os.urandom(5), "big")

    def __call__(self) -> str:
        if os.getpid() != self._pid:  # after a fork two processes must not count on in step
            self._reseed()
        ms = _time.time_ns() // 1_000_000
        if ms > self._ms:
            self._ms = ms
            self._counter = 0
        else:  # the same millisecond, or a clock that went back: stay in order
            self._counter += 1
        count = self._counter
        if count > 0x3FFFFFF:
            self._ms += 1
            self._counter = count = 0
        return (
            f"{self._ms >> 16:08x}-{self._ms & 0xFFFF:04x}-7{count >> 14:03x}"
            f"-{0x8000 | (count & 0x3FFF):04x}-{self._node:010x}{os.getpid() & 0xFF:02x}"
        )


new_id = _Uuid7()


def derived_id(at: float, *what: str) -> str:
    """A version-7 UUID that is the same for the same time (Unix seconds) and words: of an alert that rules decide on.

    A simulation that is repeated gives the same, and what is decided twice is one alert.
    """
    random = hashlib.sha256("\0".join(what).encode("utf-8", "replace")).hexdigest()
    ms = max(0, int(at * 1000)) & 0xFFFFFFFFFFFF
    variant = 0x8000 | (int(random[3:7], 16) & 0x3FFF)
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{random[:3]}-{variant:04x}-{random[7:19]}"


# ------------------------------------------------------------------------------------- safe values


def safe_text(value: object, limit: int = MAX_MESSAGE) -> str:
    """Return ``value`` as text that every store and service takes.

    NUL bytes go, lone surrogates become U+FFFD, and what is longer than ``limit`` characters is cut and says so.
    """
    text = value if type(value) is str else _text_of(value)
    if len(text) > limit:
        cut = len(text)
        tail = f"… [cut: {cut:,} characters]"
        text = text[: limit - len(tail)] + tail
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def plain(value: object, _depth: int = 0, _seen: frozenset[int] = frozenset()) -> Any:
    """Return ``value`` as plain JSON data; never raises.

    NaN and NaT become ``None``, infinities ``"inf"`` and ``"-inf"``, times ISO 8601 text, ``Decimal`` its digits,
    numpy scalars and arrays their Python values, cycles ``"<cycle>"``, and anything unknown its ``repr``.
    """
    kind = type(value)
    if kind is str:
        return safe_text(value, MAX_TEXT_IN_DATA)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else _huge_int(value)  # type: ignore[operator]  # narrowed by kind
    if kind is float:
        if math.isfinite(value):  # type: ignore[arg-type]  # narrowed by kind
            return value
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")  # type: ignore[arg-type,operator]
    try:
        return _plain_object(value, _depth, _seen)
    except Exception:
        return f"<{kind.__name__} that cannot be shown>"


def _huge_int(value: Any) -> str:
    return f"<integer of {value.bit_length()} bits>"


def _plain_object(value: Any, depth: int, seen: frozenset[int]) -> Any:  # noqa: PLR0911 - one return a kind of value
    if isinstance(value, enum.Enum):
        return plain(value.value, depth, seen)
    if type(value).__name__ in {"NaTType", "NAType"}:  # pandas' missing values; NaT calls itself a datetime
        return None
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, str | int | float):  # subclasses, numpy.float64 among them
        base = str if isinstance(value, str) else float if isinstance(value, float) else int
        return plain(base(value))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _plain_container(value, depth, seen)
    if isinstance(value, bytes | bytearray):
        return safe_text(bytes(value[:MAX_TEXT_IN_DATA]).decode("utf-8", "replace"), MAX_TEXT_IN_DATA)
    to_list = getattr(value, "tolist", None)  # numpy scalars and arrays, pandas series
    if callable(to_list) and getattr(value, "size", 0) is not None:
        if getattr(value, "size", 1) > MAX_ITEMS_IN_DATA:
            return f"<{type(value).__name__} of {value.size:,} values>"
        return plain(to_list(), depth + 1, seen)
    if type(value).__name__ == "Decimal":
        return plain(float(value)) if not value.is_finite() else str(value)
    return safe_text(repr(value), 500)


def _plain_container(value: Any, depth: int, seen: frozenset[int]) -> Any:
    if id(value) in seen:
        return "<cycle>"
    if depth >= MAX_DEPTH_IN_DATA:
        return f"<{type(value).__name__} nested too deep>"
    inside = seen | {id(value)}
    members = list(value.items() if isinstance(value, Mapping) else value)
    most = MAX_ITEMS_IN_DATA if len(members) <= MAX_ITEMS_IN_DATA else MAX_ITEMS_IN_DATA - 1  # one says what is cut
    more = len(members) - most
    shown = members[:most]
    if isinstance(value, Mapping):
        safe = {safe_text(k, 200): plain(v, depth + 1, inside) for k, v in shown}
        return safe if more <= 0 else {**safe, "…": f"{more:,} more"}
    listed = [plain(v, depth + 1, inside) for v in shown]
    return listed if more <= 0 else [*listed, f"… {more:,} more"]


def as_utc(when: dt.datetime | float | int | str | None) -> dt.datetime | None:
    """Return an aware UTC time; a naive one is taken as UTC, a number as Unix seconds, text as ISO 8601."""
    if when is None:
        return None
    if isinstance(when, int | float):
        return dt.datetime.fromtimestamp(when, UTC)
    if isinstance(when, str):
        try:
            when = dt.datetime.fromisoformat(when)
        except ValueError:
            raise ValueError(f"{when!r} is no time: write it as 2026-01-31 or 2026-01-31T15:30") from None
    if when.tzinfo is None:
        return when.replace(tzinfo=UTC)
    return when.astimezone(UTC)


def unix(when: dt.datetime | float | str) -> float:
    """A time as Unix seconds, read as :func:`as_utc` reads it."""
    moment = as_utc(when)
    assert moment is not None
    return moment.timestamp()


def _moment(when: object) -> dt.datetime | None:
    """As :func:`as_utc`, for whatever a strategy hands over: what is no time is none, and nothing is raised."""
    if when is None:
        return None
    try:
        known = isinstance(when, dt.datetime | int | float | str)
        moment = as_utc(when if known else str(when))  # type: ignore[arg-type]  # numpy's times read as ISO 8601
        return moment if moment is not None and isinstance(moment.year, int) else None  # the year of NaT is NaN
    except (ValueError, OverflowError, OSError, TypeError, AttributeError):
        return None


def utcnow() -> dt.datetime:
    """The time now, aware and in UTC."""
    return dt.datetime.now(UTC)


# -------------------------------------------------------------------------------------- attachment

_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9!#$&^_.+-]+/[a-zA-Z0-9!#$&^_.+-]+(; *[a-zA-Z0-9_-]+=[a-zA-Z0-9_.-]+)*")


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with an alert. A type that is none becomes ``application/octet-stream``, a name one line.

    Args:
        name: file name shown to the reader.
        content_type: MIME type such as ``image/png``.
        sha256: hex digest of the bytes; the store keeps the file under this name.
        size: bytes.
        path: where the bytes are; filled in by :meth:`from_path` and by the store.
    """

    name: str
    content_type: str
    sha256: str
    size: int
    path: str = ""

    def __post_init__(self) -> None:
        # Both end up in headers of requests and mails, where a line break would begin another header.
        if not _MEDIA_TYPE.fullmatch(self.content_type):
            object.__setattr__(self, "content_type", "application/octet-stream")
        object.__setattr__(self, "name", " ".join(safe_text(self.name, 200).split()) or "file")

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], name: str | None = None) -> Self:
        """Describe the file at ``path``. Raises ``OSError`` where it cannot be read."""
        import mimetypes

        file = Path(path)
        content = file.read_bytes()
        kind = mimetypes.guess_type(name or file.name)[0] or "application/octet-stream"
        return cls(name or file.name, kind, hashlib.sha256(content).hexdigest(), len(content), str(file.resolve()))

    def read(self) -> bytes:
        """The bytes. Raises ``OSError`` where the file is gone."""
        return Path(self.path).read_bytes()


# ------------------------------------------------------------------------------------------- alert


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that happened. Build it with :meth:`make`, which makes every field safe.

    Args:
        id: version-7 UUID; sorts by time; belongs to one run.
        type: what it is about.
        kind: the finer event, ``"order.completed"``; what the ``events:`` settings name.
        priority: how urgent.
        title: one line of plain text.
        message: the text, plain, several lines allowed.
        time: when it happened, aware UTC: the bar's time where ``source`` is history, else the clock's.
        bar_time: time of the bar it was made on, aware UTC; None outside a run.
        symbol: name of the data feed, empty where it concerns none.
        strategy: name of the strategy, empty outside a run.
        run: id of the ``cerebro.run()``, empty outside one.
        source: made on an old bar, on a live one, or by a direct call.
        data: plain JSON details.
        channels: channels asked for by the caller; none means those that routing picks.
        action: what this alert shares with others that tell of one action (one fill), so a person gets one message.
        dedupe_key: equal for the same event of a restarted strategy; None where a repeat is a new event (a fill).
        attachments: files.
        thread: what this alert shares with the earlier and later ones about one thing (a trade from its opening to its
            end, a feed that went and came back); services that have threads or replies show them together.
        bars: the last bars before it, for a picture: ``{"time": […], "open": […], …}``; None where none is drawn.
    """

    id: str
    type: AlertType
    kind: str
    priority: Priority
    title: str
    message: str
    time: dt.datetime
    bar_time: dt.datetime | None = None
    symbol: str = ""
    strategy: str = ""
    run: str = ""
    source: Source = Source.DIRECT
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] = ()
    action: str = ""
    dedupe_key: str | None = None
    attachments: tuple[Attachment, ...] = ()
    thread: str = ""
    bars: Mapping[str, list[Any]] | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def make(
        cls,
        message: object,
        *,
        title: object = "",
        type: AlertType | str = AlertType.CUSTOM,
        kind: str = "",
        priority: Priority | str = Priority.MEDIUM,
        time: dt.datetime | float | str | None = None,
        bar_time: dt.datetime | float | str | None = None,
        symbol: object = "",
        strategy: object = "",
        run: str = "",
        source: Source = Source.DIRECT,
        data: Mapping[str, Any] | None = None,
        channels: Iterable[str] | str | None = None,
        action: str = "",
        dedupe_key: str | None = None,
        attachments: Iterable[Attachment] = (),
        thread: str = "",
        id: str | None = None,
    ) -> Alert:
        """Build an alert from anything a strategy may hand over.

        Raises:
            ValueError: where ``type`` or ``priority`` is no known word; the message lists the words.
        """
        alert_type = type if type.__class__ is AlertType else _word(AlertType, type, "type")
        wanted = (channels,) if isinstance(channels, str) else (channels or ())
        line = "" if title is None else safe_text(title, MAX_TITLE).replace("\n", " ")
        details = {} if data is None else plain(data)
        return cls(
            id=id or new_id(),
            type=alert_type,
            kind=safe_text(kind, 100) or alert_type.value,
            priority=priority if priority.__class__ is Priority else _word(Priority, priority, "priority"),
            title=line or alert_type.value.capitalize(),
            message=safe_text(message),
            time=_moment(time) or utcnow(),
            bar_time=_moment(bar_time),
            symbol=safe_text(symbol, 100),
            strategy=safe_text(strategy, 200),
            run=safe_text(run, 100),
            source=source,
            data=details if isinstance(details, dict) else {"value": details},
            channels=tuple(safe_text(name, 100) for name in wanted),
            action=safe_text(action, 500),
            dedupe_key=None if dedupe_key is None else safe_text(dedupe_key, 500),
            attachments=tuple(attachments),
            thread=safe_text(thread, 500),
        )

    @property
    def alert_id(self) -> str:
        """The same as :attr:`id`."""
        return self.id

    def replace(self, **changes: Any) -> Alert:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; fields that are empty are left out."""
        row: dict[str, Any] = {
            "id": self.id,
            "type": self.type.value,
            "kind": self.kind,
            "priority": self.priority.value,
            "title": self.title,
            "message": self.message,
            "time": self.time.isoformat(),
            "source": self.source.value,
        }
        if self.bar_time is not None:
            row["bar_time"] = self.bar_time.isoformat()
        if self.symbol:
            row["symbol"] = self.symbol
        if self.strategy:
            row["strategy"] = self.strategy
        if self.run:
            row["run"] = self.run
        if self.data:
            row["data"] = self.data
        if self.channels:
            row["channels"] = list(self.channels)
        if self.action:
            row["action"] = self.action
        if self.dedupe_key is not None:
            row["dedupe_key"] = self.dedupe_key
        if self.attachments:
            row["attachments"] = [dataclasses.asdict(a) for a in self.attachments]
        if self.thread:
            row["thread"] = self.thread
        return row

    def to_json(self) -> str:
        """One line of JSON; :meth:`from_json` gives back an equal alert, its bars included."""
        row = self.to_dict()
        return _ENCODE(row if self.bars is None else {**row, "bars": self.bars})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Alert:
        """Build from :meth:`to_dict`. Fields of a newer version are ignored; of its words, a type becomes ``custom``
        and a priority ``high``: an alert that nobody here can read would keep back all that come behind it.

        Raises:
            ValueError: where a field that every alert has is missing or of the wrong kind.
        """
        try:
            return cls(
                id=safe_text(row["id"], 500),  # not all come from make(): replace() takes anything
                type=_known(row["type"], AlertType.CUSTOM),
                kind=safe_text(row.get("kind") or row["type"], 100),
                priority=_known(row["priority"], Priority.HIGH),
                title=safe_text(row["title"], MAX_TITLE),
                message=safe_text(row["message"]),
                time=as_utc(row["time"]) or utcnow(),
                bar_time=as_utc(row.get("bar_time")),
                symbol=safe_text(row.get("symbol") or ""),
                strategy=safe_text(row.get("strategy") or ""),
                run=safe_text(row.get("run") or "", 100),
                source=Source(row.get("source", "direct")),
                data=plain(row.get("data") or {}),
                channels=tuple(safe_text(name, 100) for name in row.get("channels") or ()),
                action=safe_text(row.get("action") or "", 500),
                dedupe_key=None if row.get("dedupe_key") is None else safe_text(row["dedupe_key"], 500),
                attachments=tuple(Attachment(**a) for a in row.get("attachments") or ()),
                thread=safe_text(row.get("thread") or "", 500),
                bars=row.get("bars"),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not an alert: {exc!r} is missing or wrong") from exc

    @classmethod
    def from_json(cls, line: str | bytes) -> Alert:
        """Build from :meth:`to_json`. Raises ``ValueError`` where the line is no alert."""
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("not an alert: expected a JSON object")
        return cls.from_dict(row)

    def _repr_html_(self) -> str:
        from bt_alerts.render.html import alert_card

        return alert_card(self)


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode

#: Columns of ``history()``, in order.
FIELDS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Alert) if f.name != "bars")


def _known(word: object, other: E) -> E:
    """The member of this name; ``other`` for a word of a newer version."""
    try:
        return type(other)(word)  # type: ignore[arg-type]  # what is no word raises
    except ValueError:
        if not isinstance(word, str) or not word:
            raise
        return other


def _word(cls: type[E], value: object, what: str) -> E:
    try:
        return cls(value)  # type: ignore[arg-type]  # anything may be asked for; what is no word raises
    except ValueError:
        words = ", ".join(member.value for member in cls)
        raise ValueError(f"{value!r} is not an alert {what}: use one of {words}") from None
