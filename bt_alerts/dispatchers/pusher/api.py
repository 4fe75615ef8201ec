"""The HTTP interface of Pusher Channels: how a request is signed, what it holds, and what an answer means.

A request is signed as "Authentication" of the service's HTTP reference says: the query carries the key, a timestamp
that may be 600 s off, the MD5 of the body, and an HMAC-SHA256 of method, path and all of these. The body is serialised
once, so that what is signed is what is sent; its bytes are those that the service's own Python library makes.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.http import Answer, raise_for_status
from bt_alerts.render.text import shorten

#: Bytes of one event's data. The service says "10 KB", which this is in either reading.
MAX_DATA = 10_000
#: Events of one request.
MAX_BATCH = 10
MAX_CHANNEL = 164
#: Seconds that a clock may be off.
MAX_SKEW = 600.0
#: Seconds until a used-up quota is tried again; the service does not tell.
QUOTA_PAUSE = 900.0

#: What is cut where an event is too large, in this order: lists of details first, then texts.
_CUT = ("context", "indicators", "data", "reason", "message", "title")
_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]+")


class Event(NamedTuple):
    """One event: its name and its data."""

    name: str
    data: Mapping[str, Any]


class TooLarge(ValueError):
    """An event that no shortening makes fit."""


# ------------------------------------------------------------------------------------------- requests


def signed(
    key: str, secret: str, method: str, path: str, body: bytes, *, now: float, params: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The query of a request, with its signature.

    Args:
        key: of the app.
        secret: of the app; it is never sent.
        method: such as ``"POST"``.
        path: without host and query.
        body: the bytes that will be sent.
        now: Unix seconds.
        params: the request's own parameters.
    """
    query = {name.lower(): value for name, value in (params or {}).items()}
    query |= {
        "auth_key": key,
        "auth_timestamp": f"{now:.0f}",
        "auth_version": "1.0",
        "body_md5": hashlib.md5(body, usedforsecurity=False).hexdigest(),
    }
    joined = "&".join(f"{name}={query[name]}" for name in sorted(query))  # not URL-escaped, as the service says
    wanted = f"{method.upper()}\n{path}\n{joined}".encode("utf-8", "replace")
    query["auth_signature"] = hmac.new(secret.encode("utf-8", "replace"), wanted, hashlib.sha256).hexdigest()
    return query


def with_query(url: str, query: Mapping[str, str]) -> str:
    """``url`` with a query, sorted by name."""
    return f"{url}?{urlencode(sorted(query.items()))}"


def checked_channel(name: str) -> str:
    """``name`` if it can be a channel's; raises ``ValueError`` that does not begin with the argument's name."""
    if not _CHANNEL.fullmatch(name) or len(name) > MAX_CHANNEL:
        raise ValueError(
            f"must have letters, digits and _ - = @ , . ; only, so that the channel's name has at most {MAX_CHANNEL}"
        )
    if name.startswith("private-encrypted-"):
        raise ValueError("must not begin with private-encrypted-: events are not encrypted here")
    return name


def request_for(channel: str, data: Sequence[tuple[str, str]]) -> tuple[str, bytes]:
    """The last part of the path and the body that send some events, each a name and its encoded data."""
    if len(data) == 1:
        name, text = data[0]
        return "events", _bytes({"name": name, "channels": [channel], "data": text})
    return "batch_events", _bytes({"batch": [{"channel": channel, "name": name, "data": text} for name, text in data]})


def _bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


# ------------------------------------------------------------------------------------------------ size


def encoded(event: Event, limit: int = MAX_DATA) -> tuple[str, bool]:
    """An event's data as JSON of at most ``limit`` bytes, and whether something was cut for it.

    Raises:
        TooLarge: where it is too large even so.
    """
    data = dict(event.data)
    text = _compact(data)
    if _size(text) <= limit:
        return text, False
    for field in _CUT:
        whole = data.get(field)
        if isinstance(whole, str | Mapping | list) and whole:
            low, high = 0, len(whole) - 1
            while low < high:
                middle = (low + high + 1) // 2
                fits = _size(_compact({**data, field: _first(whole, middle)})) <= limit
                low, high = (middle, high) if fits else (low, middle - 1)
            data[field] = _first(whole, low)
            text = _compact(data)
            if _size(text) <= limit:
                return text, True
    raise TooLarge(f"the event {event.name} has {_size(text):,} bytes of data; Pusher takes 10 KB")


def _first(whole: str | Mapping[str, Any] | list[Any], count: int) -> Any:
    """The first ``count`` characters or members, and a sign that there were more."""
    if isinstance(whole, str):
        return shorten(whole, max(count, 1))
    more = f"{len(whole) - count:,} more"
    if isinstance(whole, list):
        return [*whole[:count], f"… {more}"]
    return {**dict(list(whole.items())[:count]), "…": more}


def _compact(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


# --------------------------------------------------------------------------------------------- answers


def raise_for_answer(answer: Answer) -> None:
    """Raise :class:`~bt_alerts.dispatchers.base.DeliveryFailed` unless the service took it."""
    said = answer.excerpt()
    told = f": {said}" if said else ""
    over_quota = bool(re.search(r"quota|limit", said, re.IGNORECASE)) and "too large" not in said.lower()
    if answer.status == 401:
        off = _skew(answer)
        if off > MAX_SKEW - 10 or "timestamp" in said.lower():
            by = f", which is {off:,.0f} s off" if off > 30 else ""
            raise answer.failed(
                Failure.RETRY, f"refused the time of this machine's clock{by}: turn on time synchronisation (NTP){told}"
            )
        raise answer.failed(
            Failure.AUTH,
            f"refused the signature: check key (WE_V2_PUSHER_KEY) and secret (WE_V2_PUSHER_SECRET){told}",
        )
    if answer.status in {403, 413} and over_quota:  # its pages name either status for a quota that is used up
        raise answer.failed(Failure.RETRY_AFTER, f"says that the app's quota is used up{told}", retry_after=QUOTA_PAUSE)
    if answer.status == 403:
        raise answer.failed(Failure.AUTH, f"says that the app is disabled: look at it in the dashboard{told}")
    if answer.status == 404:
        raise answer.failed(
            Failure.AUTH,
            f"does not know this app: check app_id (WE_V2_PUSHER_APP_ID) and cluster (WE_V2_PUSHER_CLUSTER){told}",
        )
    raise_for_status(answer)
    if answer.complete and answer.body.strip() and not answer.body.lstrip().startswith(b"{"):
        raise answer.failed(Failure.UNKNOWN, "answered, but not as Pusher does: is there a proxy or a login page?")


def _skew(answer: Answer) -> float:
    """Seconds between our clock and the one of the service, as its answer's date tells; 0 where it has none."""
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    theirs = theirs if theirs.tzinfo is not None else theirs.replace(tzinfo=dt.UTC)
    return abs((theirs - answer.now).total_seconds())
