"""Reads the figures of watches from a running strategy: account, positions, bars and indicators.

A reading is asked once a bar, costs a few look-ups, and changes nothing: the simulated broker is never made to keep a
position that it does not have, because the order in which it adds them up would change the last digit of its value.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
from collections.abc import Callable, Mapping
from typing import Any

from bt_alerts.compose import duration, money, number
from bt_alerts.hooks.gate import bar_number
from bt_alerts.hooks.levels import figures
from bt_alerts.hooks.levels.words import percent
from bt_alerts.hooks.seam import bt
from bt_alerts.settings import sentences
from bt_alerts.settings.conditions import as_number
from bt_alerts.settings.watches import WatchLevel

_DAY = 86_400.0


class Account:
    """The account of a run, asked at most once a bar, however many watches want to know."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._simulated = isinstance(broker, bt.brokers.BackBroker)
        self._first: object = None
        self._value: float | None = None
        self._cash: float | None = None

    def turn(self, asker: object) -> None:
        """A strategy has a bar. The first that ever asked begins the bar for all of them."""
        if self._first is None:
            self._first = asker
        if asker is self._first:
            self._value = self._cash = None

    @property
    def value(self) -> float:
        """What the account is worth."""
        if self._value is None:
            self._value = float(self._broker.getvalue())
        return self._value

    @property
    def cash(self) -> float:
        """Its free cash."""
        if self._cash is None:
            self._cash = float(self._broker.getcash())
        return self._cash

    def position(self, data: Any) -> tuple[float, float]:
        """Size and average price of what is held of a feed."""
        held = self._broker.positions.get(data) if self._simulated else self._broker.getposition(data)
        return (0.0, 0.0) if held is None else (float(held.size), float(held.price))

    def worth(self, data: Any) -> float:
        """What the position of a feed is worth at its last close; below 0 for a short one."""
        size = self.position(data)[0] if len(data) else 0.0
        if not size:
            return 0.0
        try:
            multiplier = float(self._broker.getcommissioninfo(data).p.mult)
        except AttributeError:  # a broker that knows of none
            multiplier = 1.0
        return size * float(data.close[0]) * multiplier


class Reading:
    """One figure of one watch."""

    def read(self) -> float | None:
        """Take in this bar; the figure, or None where it is not known."""
        raise NotImplementedError

    def words(self) -> str:
        """What there is behind the figure, for the text of an alert."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """The same as data."""
        return {}

    @property
    def gone(self) -> bool:
        """The position that it is about is closed."""
        return False


# ------------------------------------------------------------------------------------------ the account


class _OfAccount(Reading):
    def __init__(self, watch: WatchLevel, account: Account) -> None:
        self._account = account
        self._money = watch.unit_of_level == "money"


class _Drawdown(_OfAccount):
    def __init__(self, watch: WatchLevel, account: Account, begin: float | None) -> None:
        super().__init__(watch, account)
        self._figure = figures.Drawdown(begin)

    def read(self) -> float | None:
        self._figure.feed(self._account.value)
        return self._figure.money if self._money else self._figure.percent

    def words(self) -> str:
        return f"Account {money(self._figure.value)} of a peak of {money(self._figure.peak)}"

    def facts(self) -> dict[str, Any]:
        return {"account": self._figure.value, "peak": self._figure.peak}


class _DailyLoss(_OfAccount):
    def __init__(self, watch: WatchLevel, account: Account, begin: float | None, day: Callable[[], object]) -> None:
        super().__init__(watch, account)
        self._figure = figures.DailyLoss(begin)
        self._day = day

    def read(self) -> float | None:
        self._figure.feed(self._day(), self._account.value)
        return self._figure.money if self._money else self._figure.percent

    def words(self) -> str:
        return f"Account {money(self._figure.value)}, {money(self._figure.before)} when the day began"

    def facts(self) -> dict[str, Any]:
        return {"account": self._figure.value, "before": self._figure.before}


class _Return(_OfAccount):
    def __init__(self, watch: WatchLevel, account: Account, begin: float | None) -> None:
        super().__init__(watch, account)
        self._figure = figures.Return(begin)

    def read(self) -> float | None:
        self._figure.feed(self._account.value)
        return self._figure.money if self._money else self._figure.percent

    def words(self) -> str:
        return f"Account {money(self._figure.value)}, {money(self._figure.begin)} at the start"

    def facts(self) -> dict[str, Any]:
        return {"account": self._figure.value, "before": self._figure.begin}


class _Exposure(_OfAccount):
    def __init__(self, watch: WatchLevel, account: Account, feeds: list[Any]) -> None:
        super().__init__(watch, account)
        self._feeds = feeds
        self._worth = 0.0

    def read(self) -> float | None:
        self._worth = sum(abs(self._account.worth(data)) for data in self._feeds)
        return _of_account(self._worth, self._account.value)

    def words(self) -> str:
        return f"Positions worth {money(self._worth)} on an account of {money(self._account.value)}"

    def facts(self) -> dict[str, Any]:
        return {"size": self._worth, "account": self._account.value}


class _Margin(_OfAccount):
    def read(self) -> float | None:
        return figures.share(self._account.cash, self._account.value) or 0.0

    def words(self) -> str:
        return f"Cash {money(self._account.cash)} on an account of {money(self._account.value)}"

    def facts(self) -> dict[str, Any]:
        return {"cash": self._account.cash, "account": self._account.value}


def _of_account(worth: float, account: float) -> float:
    """Positions as a share of the account; of one that is worth nothing they are more than any share."""
    share = figures.share(worth, account)
    return (math.inf if worth else 0.0) if share is None else share


class Losses(Reading):
    """Trades in a row that lost; told of each trade when it ends."""

    def __init__(self) -> None:
        self._figure = figures.Streak()

    def trade(self, pnl: float) -> None:
        """A trade ended with this net profit."""
        self._figure.trade(pnl)

    def read(self) -> float | None:
        return float(self._figure.count)

    def words(self) -> str:
        return f"Lost {money(self._figure.lost)} in them" if self._figure.count else "The last trade did not lose"

    def facts(self) -> dict[str, Any]:
        return {"change": -self._figure.lost}


# ----------------------------------------------------------------------------------------- the positions


class _OfPosition(Reading):
    def __init__(self, watch: WatchLevel, account: Account, data: Any) -> None:
        self._watch, self._account, self._data = watch, account, data
        self._held = figures.Held()

    def read(self) -> float | None:
        data = self._data
        if not len(data):
            return None
        size, price = self._account.position(data)
        self._held.feed(size, price, float(data.close[0]), bar_number(data) * _DAY, len(data))
        return self._value()

    def _value(self) -> float | None:
        held = self._held
        if self._watch.watch == "time_in_trade":
            return float(held.bars) if self._watch.unit_of_level == "bars" else held.seconds
        if self._watch.watch == "position_risk":
            return _of_account(abs(self._account.worth(self._data)), self._account.value)
        return held.drawdown

    def words(self) -> str:
        held = self._held
        if not held.size:
            return "The position was closed"
        text = f"{'Long' if held.size > 0 else 'Short'} {number(abs(held.size))} at {number(held.entry_price)}"
        if self._watch.watch == "position_risk":
            worth = abs(self._account.worth(self._data))
            return f"{text}, worth {money(worth)} of an account of {money(self._account.value)}"
        if self._watch.watch == "position_drawdown":
            return f"{text}: best {number(held.best)}, now {number(held.price)}"
        return f"{text}, now {number(held.price)}" + (f", for {duration(held.seconds)}" if held.seconds else "")

    def facts(self) -> dict[str, Any]:
        held = self._held
        if not held.size:
            return {}
        return {
            "size": held.size, "entry_price": held.entry_price, "price": held.price, "best": held.best,
            "seconds": held.seconds, "bars": held.bars,
        }  # fmt: skip

    @property
    def gone(self) -> bool:
        return not self._held.size


# --------------------------------------------------------------------------------------------- the bars


class _Price(Reading):
    def __init__(self, data: Any) -> None:
        self._data = data
        self._price = 0.0

    def read(self) -> float | None:
        if not len(self._data):
            return None
        self._price = float(self._data.close[0])
        return self._price

    def words(self) -> str:
        return f"Close {number(self._price)}"

    def facts(self) -> dict[str, Any]:
        return {"price": self._price}


class _Move(Reading):
    def __init__(self, watch: WatchLevel, data: Any) -> None:
        self._data, self._name = data, watch.watch
        self._figure = figures.Move(watch.window)

    def read(self) -> float | None:
        data = self._data
        if not len(data):
            return None
        self._figure.feed(len(data), bar_number(data) * _DAY, float(data.close[0]))
        change = self._figure.percent
        if change is None:
            return None
        return abs(change) if self._name == "move" else change if self._name == "rise" else -change

    def words(self) -> str:
        change = percent(self._figure.percent or 0.0)
        sign = "" if change.startswith("−") or change == "0 %" else "+"
        return f"From {number(self._figure.before)} to {number(self._figure.price)}, {sign}{change}"

    def facts(self) -> dict[str, Any]:
        return {"price": self._figure.price, "from": self._figure.before, "change": self._figure.percent}


class _Volume(Reading):
    def __init__(self, watch: WatchLevel, data: Any) -> None:
        self._data = data
        self._figure = figures.Volume(watch.window.bars)
        self._bars = watch.window.bars

    def read(self) -> float | None:
        if not len(self._data):
            return None
        volume = float(self._data.volume[0])
        self._figure.feed(len(self._data), volume if volume > 0 else 0.0)  # NaN is none
        return self._figure.times

    def words(self) -> str:
        average = number(round(self._figure.average or 0.0))
        return f"Volume {number(self._figure.volume)}, on average of {self._bars} bars {average}"

    def facts(self) -> dict[str, Any]:
        return {"volume": self._figure.volume, "average": self._figure.average}


class _Indicator(Reading):
    def __init__(self, watch: WatchLevel, strategy: Any, data: Any, feeds: Mapping[str, Any]) -> None:
        self._condition = condition = watch.parsed
        self._left, self._right = (_side(side, strategy, data, feeds) for side in (condition.left, condition.right))
        self._values = (0.0, 0.0)

    def read(self) -> float | None:
        left, right = self._left(), self._right()
        if left is None or right is None:
            return None
        self._values = left, right
        return left if self._condition.level is not None else left - right

    def words(self) -> str:
        condition, values = self._condition, self._values
        sides = zip((condition.left, condition.right), values, strict=True)
        return ", ".join(f"{name} {number(value)}" for name, value in sides if as_number(name) is None)

    def facts(self) -> dict[str, Any]:
        return {"condition": str(self._condition), "left": self._values[0], "right": self._values[1]}


class UnknownName(ValueError):
    """A condition names something that the strategy does not have."""


def _side(side: str, strategy: Any, data: Any, feeds: Mapping[str, Any]) -> Callable[[], float | None]:
    """How one side of a condition is read: a number, an attribute of the strategy, or a line of a feed.

    Raises:
        UnknownName: where it is none of them.
    """
    constant = as_number(side)
    if constant is not None:
        return lambda: constant
    # `close` is a method of every strategy, so a line of the feed comes before all that is not the strategy's own.
    if side not in strategy.__dict__ and side in data.getlinealiases():
        line = getattr(data.lines, side)
        return lambda: _number(side, line)
    feed, _, name = side.rpartition(".")
    if feed in feeds and name in feeds[feed].getlinealiases():
        line = getattr(feeds[feed].lines, name)
        return lambda: _number(side, line)
    get = operator.attrgetter(side)
    try:
        get(strategy)
    except AttributeError:
        raise UnknownName(_what_there_is(side, strategy, data)) from None
    return lambda: _number(side, get(strategy))


def _number(side: str, found: Any) -> float | None:
    if found is None:  # not there yet
        return None
    if isinstance(found, bt.lineroot.LineRoot):
        try:
            return float(found[0]) if len(found) else None
        except IndexError:
            return None
    if isinstance(found, numbers.Real):
        return float(found)
    raise UnknownName(f"`{side}` is no indicator, no line and no number, but a {type(found).__name__}")


def _what_there_is(side: str, strategy: Any, data: Any) -> str:
    own = [
        name
        for name, value in strategy.__dict__.items()
        if isinstance(value, bt.lineroot.LineRoot) and not name.startswith(("_", "data", "line"))
    ]
    near = sentences.nearest(side, own)
    hint = f"did you mean `{near}`?" if near else f"it has {', '.join(own)}" if own else "it has no indicators"
    lines = ", ".join(data.getlinealiases())
    return f"{type(strategy).__name__} has no `{side}`; {hint}" + ("" if near else f", and its feeds have {lines}")


# ---------------------------------------------------------------------------------------------- making


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a watch looks.

    Args:
        strategy: whose run it is.
        account: the run's.
        begin: what the account was worth when the run began.
        data: the feed that it is of; the first one for a watch of the account.
        feeds: the feeds that count, by symbol.
    """

    strategy: Any
    account: Account
    begin: float | None
    data: Any
    feeds: Mapping[str, Any]

    def day(self) -> object:
        """The date of the current bar, in the time of its feed."""
        return self.data.num2date(bar_number(self.strategy)).date()


_MAKERS: dict[str, Callable[[WatchLevel, Place], Reading]] = {
    "drawdown": lambda watch, at: _Drawdown(watch, at.account, at.begin),
    "daily_loss": lambda watch, at: _DailyLoss(watch, at.account, at.begin, at.day),
    "performance": lambda watch, at: _Return(watch, at.account, at.begin),
    "milestone": lambda watch, at: _Return(watch, at.account, at.begin),
    "exposure": lambda watch, at: _Exposure(watch, at.account, list(at.feeds.values())),
    "margin": lambda watch, at: _Margin(watch, at.account),
    "losses": lambda _watch, _at: Losses(),
    "position_drawdown": lambda watch, at: _OfPosition(watch, at.account, at.data),
    "position_risk": lambda watch, at: _OfPosition(watch, at.account, at.data),
    "time_in_trade": lambda watch, at: _OfPosition(watch, at.account, at.data),
    "price": lambda _watch, at: _Price(at.data),
    "move": lambda watch, at: _Move(watch, at.data),
    "rise": lambda watch, at: _Move(watch, at.data),
    "fall": lambda watch, at: _Move(watch, at.data),
    "volume": lambda watch, at: _Volume(watch, at.data),
    "indicator": lambda watch, at: _Indicator(watch, at.strategy, at.data, at.feeds),
}


def reading(watch: WatchLevel, at: Place) -> Reading:
    """What reads the figure of a watch.

    Raises:
        UnknownName: where a condition names something that is not there.
    """
    return _MAKERS[watch.watch](watch, at)
