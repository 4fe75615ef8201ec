"""Silence: does a feed yield bars as it should? Pure: what is known of a feed, and the time, in; what to tell out.

Only time in session hours counts. A feed whose lost connection was told already is not told of again, and what comes
back, from that or from silence, is told once: by ``data.live`` where the feed says that it is live again, else by
``data.resumed``. Bars that fill the gap come before it says so, and for that it has :data:`LEAST` seconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from bt_alerts import hours
from bt_alerts.hours import DAY, Openings

LEAST = 60.0  # seconds: what is shorter is no silence, whatever the timeframe, and no delay in saying LIVE


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """One feed, as it is watched.

    Args:
        symbol: what alerts call it.
        length: of its bars, in seconds.
        allowed: seconds in session hours without a bar before it is silence; infinite to tell nothing.
        hours: the session.
        given: somebody said what the session is; else it is a guess, and an alert says so.
    """

    symbol: str
    length: float
    allowed: float
    hours: tuple[Openings, ...]
    given: bool


def watched(
    symbol: str, length: float, factor: float, session: Sequence[Openings], now: float | None = None
) -> Watched:
    """How a feed is watched.

    Args:
        symbol: what alerts call it.
        length: of its bars, in seconds.
        factor: how many bars may be missing; 0 tells nothing.
        session: when it should yield bars; empty where nobody said. Then intraday bars are expected at any time, and
            those of a day or longer on weekdays.
        now: Unix seconds; how long a usual day is counts from the quarter of a year before it.
    """
    open_ = tuple(session) or ((hours.WEEKDAYS if length >= DAY else hours.ALWAYS),)
    bar = hours.bar_seconds(open_, length) if now is None else hours.bar_seconds(open_, length, now - 91 * DAY)
    allowed = max(LEAST, factor * bar) if factor else math.inf
    return Watched(symbol, length, allowed, open_, bool(session))


@dataclasses.dataclass(slots=True)
class Sight:
    """What is known of one feed. Times are Unix seconds, 0 for never.

    Args:
        last: when its last bar came, or when it began to be watched: silence counts from there.
        down: when its lost connection was told; 0 where it is not down.
        back: when it was told that it is live again.
        seen: when the first bar came that was seen while it was silent or down.
        told: the ``last`` of the silence that was told; None where there is none.
    """

    last: float = 0.0
    down: float = 0.0
    back: float = 0.0
    seen: float = 0.0
    told: float | None = None


class News(NamedTuple):
    """What to tell of a feed."""

    kind: str  # data.silent or data.resumed
    since: float  # of its last bar before the silence
    seconds: float  # how long it is silent, or was


def look(feed: Watched, sight: Sight, now: float) -> tuple[Sight, News | None, float | None]:
    """Look at one feed.

    Returns:
        What is known now, what to tell if anything, and when to look again; None where only a bar changes anything.
    """
    news = None
    away = max(sight.told or 0.0, sight.down)
    if away:
        if sight.last <= away:
            return dataclasses.replace(sight, seen=0.0), None, None
        if sight.back <= away:
            seen = sight.seen or sight.last
            if now < seen + LEAST:
                return dataclasses.replace(sight, seen=seen), None, seen + LEAST
            since = sight.told or sight.down
            news = News("data.resumed", since, seen - since)
    sight = dataclasses.replace(sight, told=None, down=0.0, seen=0.0)
    if not sight.last or math.isinf(feed.allowed):
        return sight, news, None
    due = hours.after(feed.hours, sight.last, feed.allowed)
    if due is None or now < due:
        return sight, news, due
    if news is None:  # else that comes first, and this at the next look
        news = News("data.silent", sight.last, now - sight.last)
        return dataclasses.replace(sight, told=sight.last), news, None
    return sight, news, now
