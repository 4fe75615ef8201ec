"""The figures that watches hold against their levels, each a small object that is fed numbers bar by bar.

``None`` is a figure that is not known yet: no bar so long ago, no account value, no position.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable

from bt_alerts.settings.watches import Window

_ROUNDING = 0.01  # seconds: times of bars come as days in floating point


def share(part: float, whole: float) -> float | None:
    """``part`` as a percentage of ``whole``; None where the whole is nothing."""
    return 100.0 * part / whole if whole > 0 else None


class Drawdown:
    """How far a value is below the highest one so far.

    Args:
        begin: the first value; None where the first one fed is.
    """

    def __init__(self, begin: float | None = None) -> None:
        self.peak = begin or 0.0
        self.value = self.peak

    def feed(self, value: float) -> None:
        """The value of this bar."""
        self.value = value
        self.peak = max(self.peak, value)

    @property
    def money(self) -> float:
        """The distance in money."""
        return self.peak - self.value

    @property
    def percent(self) -> float | None:
        """The distance in percent of the peak."""
        return share(self.money, self.peak)


class DailyLoss:
    """What a value lost since the last bar of the day before.

    Args:
        begin: the value before the first bar.
    """

    def __init__(self, begin: float | None = None) -> None:
        self.before = self.value = begin or 0.0
        self._day: Hashable = None

    def feed(self, day: Hashable, value: float) -> None:
        """The value of this bar, and the day of it."""
        if day != self._day:
            self._day = day
            self.before = self.value or value
        self.value = value

    @property
    def money(self) -> float:
        """The loss in money; below 0 for a gain."""
        return self.before - self.value

    @property
    def percent(self) -> float | None:
        """The loss in percent of the value that the day began with."""
        return share(self.money, self.before)


class Return:
    """What a value won since the beginning.

    Args:
        begin: the value before the first bar.
    """

    def __init__(self, begin: float | None = None) -> None:
        self.begin = self.value = begin or 0.0

    def feed(self, value: float) -> None:
        """The value of this bar. A broker that does not know its account at the start begins with its first word."""
        self.begin = self.begin or value
        self.value = value

    @property
    def money(self) -> float:
        """The gain in money."""
        return self.value - self.begin

    @property
    def percent(self) -> float | None:
        """The gain in percent of the value at the beginning."""
        return share(self.money, self.begin)


class Streak:
    """Trades in a row that lost."""

    def __init__(self) -> None:
        self.count = 0
        self.lost = 0.0

    def trade(self, pnl: float) -> None:
        """A trade ended with this net profit; one without any ends the row."""
        if pnl < 0:
            self.count += 1
            self.lost -= pnl
        else:
            self.count, self.lost = 0, 0.0


class Move:
    """How far a price moved within a window, against the price at its beginning.

    The beginning is the last bar that is as old as the window or older: on a Monday, a day ago is Friday's close.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._bars: collections.deque[tuple[int, float, float]] = collections.deque()
        self.price = 0.0
        self.before: float | None = None

    def feed(self, number: int, when: float, price: float) -> None:
        """A bar: its number, its time in seconds, its close. A bar that is still being made may come again."""
        bars = self._bars
        if bars and bars[-1][0] == number:
            bars.pop()
        bars.append((number, when, price))
        window, self.price = self._window, price

        def old(bar: tuple[int, float, float]) -> bool:
            return number - bar[0] >= window.bars if window.bars else when - bar[1] >= window.seconds - _ROUNDING

        while len(bars) > 1 and old(bars[1]):
            bars.popleft()
        self.before = bars[0][2] if old(bars[0]) else None

    @property
    def percent(self) -> float | None:
        """The change in percent, with its sign."""
        return None if self.before is None else share(self.price - self.before, self.before)


class Volume:
    """The volume of a bar as a multiple of the average of the bars before it.

    Args:
        bars: how many bars the average is over; before there are as many it is not known.
    """

    def __init__(self, bars: int) -> None:
        self._before: collections.deque[float] = collections.deque(maxlen=bars)
        self._sum = 0.0
        self._number = 0
        self.volume = 0.0

    def feed(self, number: int, volume: float) -> None:
        """A bar: its number and its volume. A bar that is still being made may come again."""
        if self._number and number != self._number:
            if len(self._before) == self._before.maxlen:
                self._sum -= self._before[0]
            self._before.append(self.volume)
            self._sum += self.volume
        self._number, self.volume = number, volume

    @property
    def average(self) -> float | None:
        """The average of the bars before."""
        return self._sum / len(self._before) if len(self._before) == self._before.maxlen else None

    @property
    def times(self) -> float | None:
        """The volume as a multiple of it."""
        average = self.average
        return self.volume / average if average is not None and average > 0 else None


@dataclasses.dataclass(slots=True)
class Held:
    """A position as it is seen bar by bar: since when it is held, and what its best price was."""

    size: float = 0.0
    entry_price: float = 0.0
    price: float = 0.0
    best: float = 0.0
    since: float = 0.0
    now: float = 0.0
    first: int = 0
    number: int = 0

    def feed(self, size: float, entry_price: float, price: float, when: float, number: int) -> None:
        """What is held on this bar.

        Args:
            size: below 0 for a short position.
            entry_price: its average price.
            price: the close.
            when: time of the bar in seconds.
            number: of the bar.
        """
        if size and size * self.size <= 0:  # new, or turned round
            self.since, self.first, self.best = when, number, entry_price
        self.size, self.entry_price, self.price, self.now, self.number = size, entry_price, price, when, number
        if size:
            self.best = max(self.best, price) if size > 0 else min(self.best, price)

    @property
    def drawdown(self) -> float:
        """How far the price is behind the best one, in percent of that; 0 where nothing is held."""
        if not self.size:
            return 0.0
        behind = self.best - self.price if self.size > 0 else self.price - self.best
        return share(behind, abs(self.best)) or 0.0

    @property
    def seconds(self) -> float:
        """How long it is held; 0 where nothing is."""
        return self.now - self.since if self.size else 0.0

    @property
    def bars(self) -> int:
        """Likewise, in bars."""
        return self.number - self.first if self.size else 0
