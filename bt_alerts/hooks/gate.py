"""The gate: is a bar history or live? What it holds back is counted, and silence is never the failure.

A bar is live only if its feed says LIVE *and* the bar is young: some stores say LIVE at the start and then deliver old
candles. A resampled or replayed clone never reports a status of its own, so it is judged by its source. Orders of a
real broker pass in any case. A live feed whose bars keep being held while they arrive at the pace of the market (a
wrong time zone, a store that never says LIVE) is itself worth an alert.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bt_alerts.alert import Source
from bt_alerts.hooks.seam import bt

YOUNG = 3.0  # timeframes: how old a bar may be and still count as live
SLACK = 90.0  # seconds on top, for clocks that differ and feeds that deliver late
REAL_PACE = 3  # held bars in a row, at the market's pace, before the gate speaks up

Override = str | Mapping[str, str]  # auto, always or never; or one of them by symbol


def check_override(live: Override) -> None:
    """Raises ``ValueError`` where ``live`` is none that the gate knows."""
    words = {"every feed": live} if isinstance(live, str) else live
    for symbol, word in words.items():
        if word not in ("auto", "always", "never"):
            raise ValueError(f"live={word!r} for {symbol}: use auto, always or never")


_SECONDS = {
    bt.TimeFrame.Ticks: 1.0,
    bt.TimeFrame.MicroSeconds: 1.0,
    bt.TimeFrame.Seconds: 1.0,
    bt.TimeFrame.Minutes: 60.0,
    bt.TimeFrame.Days: 86_400.0,
    bt.TimeFrame.Weeks: 7 * 86_400.0,
    bt.TimeFrame.Months: 31 * 86_400.0,
    bt.TimeFrame.Years: 366 * 86_400.0,
}


def timeframe_seconds(data: Any) -> float:
    """Length of a feed's bars, in seconds."""
    return _SECONDS.get(data._timeframe, 86_400.0) * max(1, data._compression or 1)


def source_feed(data: Any) -> Any:
    """The feed that a clone repeats; a feed that is none is its own."""
    while getattr(data, "_clone", False):
        data = data.data
    return data


def bar_number(lines: Any) -> float:
    """Time of the current bar of a feed or strategy as Backtrader's float (days); 0 where there is none."""
    try:
        when = float(lines.lines.datetime[0]) if len(lines) else 0.0
    except IndexError:  # at the end of a run with exactbars=1 a feed has thrown its last bar away
        return 0.0
    return when if math.isfinite(when) else 0.0


def feed_names(feeds: Iterable[Any]) -> list[str]:
    """What alerts call each feed: all differ, and none is empty."""
    names: list[str] = []
    for i, data in enumerate(feeds):
        name = str(getattr(data, "_name", "") or getattr(source_feed(data), "_name", "") or f"data{i}")
        if name in names:  # two timeframes of one instrument
            name += f" {data._compression} {bt.TimeFrame.getname(data._timeframe, data._compression)}"
        while name in names:
            name += "'"
        names.append(name)
    return names


@dataclasses.dataclass(slots=True)
class _Watched:
    """What the gate remembers of one feed."""

    bars: int = 0
    held: int = 0
    last_arrival: float = 0.0
    last_time: float = 0.0
    at_pace: int = 0
    spoken: bool = False


class Gate:
    """Judges the feeds of one run.

    Args:
        override: ``auto``, ``always`` or ``never``, or one of them by symbol.
        clock: Unix seconds.
    """

    def __init__(self, override: Override, clock: Callable[[], float]) -> None:
        self._override = override
        self._clock = clock
        self._watched: dict[int, _Watched] = {}

    def live_run(self, feeds: Iterable[tuple[str, Any]]) -> bool:
        """Whether anything in this run can be live; ``feeds`` are symbols and feeds."""
        words = [(self.word(symbol), data) for symbol, data in feeds]
        return any(word == "always" or (word == "auto" and source_feed(data).islive()) for word, data in words)

    def word(self, symbol: str) -> str:
        """The override of a feed; ``auto`` where there is none."""
        return self._override if isinstance(self._override, str) else self._override.get(symbol, "auto")

    def judge(self, data: Any, symbol: str, real_broker: bool = False) -> Source:
        """Whether what happens on the feed's current bar is live.

        Args:
            data: the feed.
            symbol: its name.
            real_broker: it comes from a broker that is no simulation: it is happening now.
        """
        word = self.word(symbol)
        if word != "auto":
            return Source.LIVE if word == "always" else Source.HISTORY
        if real_broker:
            return Source.LIVE
        return Source.LIVE if self._status_live(data) and self._young(data) else Source.HISTORY

    def _status_live(self, data: Any) -> bool:
        feed = source_feed(data)
        return bool(feed.islive()) and getattr(feed, "_laststatus", None) == feed.LIVE

    def _young(self, data: Any) -> bool:
        when = _bar_seconds(data)
        return when is not None and self._clock() - when <= YOUNG * timeframe_seconds(data) + SLACK

    def on_bar(self, data: Any, symbol: str) -> str:
        """A bar may have arrived. Returns a sentence where the gate must speak up, else nothing."""
        when = _bar_seconds(data)
        if when is None or getattr(data, "_clone", False) or not data.islive():
            return ""
        seen = self._watched.setdefault(id(data), _Watched())
        if when == seen.last_time:
            return ""
        now = self._clock()
        seen.bars += 1
        gap, step = now - seen.last_arrival, when - seen.last_time
        seen.last_arrival, seen.last_time = now, when
        if self.word(symbol) != "auto":
            return ""
        if self.judge(data, symbol) is Source.LIVE:
            seen.at_pace = 0
            return ""
        seen.held += 1
        # History comes as fast as it can be read. Bars that arrive as far apart as they are dated are the market's.
        real_pace = seen.bars > 1 and gap >= 0.5 * min(step, 2 * timeframe_seconds(data))
        seen.at_pace = seen.at_pace + 1 if real_pace else 0
        if seen.at_pace < REAL_PACE or seen.spoken:
            return ""
        seen.spoken = True
        if not self._status_live(data):
            return (
                f"{symbol} delivers bars as they happen but does not say LIVE, so nothing made on them is sent. If "
                f"this feed is live, pass live={{{symbol!r}: 'always'}} to attach()."
            )
        hours = (now - when) / 3600
        return (
            f"{symbol} says LIVE, but its bars are {hours:.1f} hours old, so nothing made on them is sent. A wrong "
            f"time zone is the usual cause: set tz= of the feed, or pass live={{{symbol!r}: 'always'}} to attach()."
        )

    def arrived(self, data: int) -> float:
        """When the last bar of a live feed came, by the feed's ``id()``, in Unix seconds; 0 for never."""
        seen = self._watched.get(data)
        return 0.0 if seen is None else seen.last_arrival

    @property
    def held(self) -> int:
        """How many bars were held back so far."""
        return sum(seen.held for seen in self._watched.values())


def _bar_seconds(data: Any) -> float | None:
    """The current bar's time in Unix seconds; None before the first bar."""
    when = bar_number(data)
    return (when - 719_163) * 86_400 if when else None
