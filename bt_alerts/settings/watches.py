"""What to watch: one block of ``watch: {levels: [...]}``, and the same from Python by :func:`watch`.

A watch is reached at its level and over at ``back``, on the other side; between the two nothing is told again. Nothing
here knows how a figure is read: that is the work of :mod:`bt_alerts.hooks.watching`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from bt_alerts.alert import Priority
from bt_alerts.compose import duration as in_words
from bt_alerts.errors import SettingsError
from bt_alerts.settings import sentences
from bt_alerts.settings.block import Block
from bt_alerts.settings.conditions import EXAMPLE, Condition, read_condition
from bt_alerts.settings.fields import Also, Seconds, by_word, duration

WatchName = Literal[
    "drawdown", "position_drawdown", "daily_loss", "exposure", "position_risk", "losses", "margin", "time_in_trade",
    "performance", "milestone", "price", "move", "rise", "fall", "volume", "indicator",
]  # fmt: skip
UnitName = Literal["percent", "money", "time", "bars"]
Unit = UnitName | Literal["times", "losses", "price"]


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """One watch.

    Args:
        about: what its figure is.
        units: of its level; the first where none is given.
        takes: the keys by which its level can be given.
        of_feed: it is of each feed, and ``symbol:`` says of which.
        within: its window where none is given; empty where it has none.
        slack: which part of the level ``back`` is away from it where it is not given.
        signed: its level may be 0 or less.
    """

    about: str
    units: tuple[Unit, ...] = ("percent",)
    takes: tuple[str, ...] = ("above",)
    of_feed: bool = False
    within: str = ""
    slack: float = 0.2
    signed: bool = False


#: Every watch by name.
WATCHES: dict[str, About] = {
    "drawdown": About("how far the account is below its peak of the run", ("percent", "money")),
    "position_drawdown": About("how far the price is behind the best one since a position was opened", of_feed=True),
    "daily_loss": About("what the account lost since the last bar of the day before", ("percent", "money")),
    "exposure": About("what all positions are worth, long and short added up, as a share of the account"),
    "position_risk": About("what one position is worth, as a share of the account", of_feed=True),
    "losses": About("trades in a row that lost money", ("losses",), slack=1.0),
    "margin": About("free cash, as a share of the account", takes=("below",)),
    "time_in_trade": About("how long a position is open", ("time", "bars"), of_feed=True, slack=1.0),
    "performance": About("the return since the run began", ("percent", "money"), ("above", "below"), signed=True),
    "milestone": About("the return since the run began, step by step", ("percent", "money"), ("every",)),
    "price": About("the close", ("price",), ("above", "below", "crosses"), of_feed=True, slack=0.005, signed=True),
    "move": About("by how much the price moved within a time, up or down", of_feed=True, within="1d"),
    "rise": About("by how much the price rose within a time", of_feed=True, within="1d"),
    "fall": About("by how much the price fell within a time", of_feed=True, within="1d"),
    "volume": About(
        "the volume as a multiple of its average over the bars before", ("times",), of_feed=True, within="20 bars"
    ),
    "indicator": About(f"a condition, such as `{EXAMPLE}`", takes=(), of_feed=True, signed=True),
}
_LEVELS = ("above", "below", "crosses", "every")
_BARS = re.compile(r"(\d+)\s*bars?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """How far back a figure looks: so many seconds, or so many bars."""

    seconds: float = 0.0
    bars: int = 0


def read_window(text: str) -> Window:
    """Read ``1d``, ``4h`` or ``20 bars``.

    Raises:
        ValueError: with what to write instead.
    """
    found = _BARS.fullmatch(text.strip())
    try:
        window = Window(bars=int(found[1])) if found else Window(seconds=float(duration(text)))
    except ValueError:
        window = Window()
    if not (1 <= window.bars <= 10_000 or 1 <= window.seconds <= 31_536_000):
        raise ValueError("write a time such as 30m, 4h, 1d (a second to a year), or a number of bars such as `20 bars`")
    return window


_Level = Annotated[float, Also(Seconds), Also(Annotated[str, Field(pattern=r"^\s*[-+]?[0-9.]+\s*%\s*$")])]


class WatchLevel(Block):
    """One watch: which figure, at which level it is told, and when it is over."""

    watch: Annotated[WatchName, BeforeValidator(by_word(WATCHES))] = Field(
        description="what is watched, see watches.md"
    )
    unit: Annotated[UnitName | None, BeforeValidator(by_word(["percent", "money", "time", "bars"]))] = Field(
        default=None, description="of the level: percent or money; for time_in_trade, time or bars"
    )
    symbol: str = Field(default="*", description="the feed, or several by `*`; for watches of a price or a position")
    within: str | None = Field(default=None, description="the time that it is about: 4h, 1d, or `20 bars`")
    condition: str | None = Field(
        default=None, description=f"for indicator: `{EXAMPLE}`, `sma_fast crosses above sma_slow`"
    )
    above: _Level | None = Field(default=None, description="told when the figure reaches this or more")
    below: _Level | None = Field(default=None, description="told when the figure reaches this or less")
    crosses: _Level | None = Field(default=None, description="for price: told each time that it gets to the other side")
    every: _Level | None = Field(default=None, description="for milestone: told at each further step of this size")
    back: _Level | None = Field(
        default=None, description="over when the figure is back here; a fifth of the level away unless given"
    )
    priority: Annotated[Priority | None, BeforeValidator(by_word(list(Priority)))] = Field(
        default=None, description="critical, high, medium, low or info; each watch has its own"
    )

    # What goes together ------------------------------------------------------------------------------

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: UnitName | None, info: ValidationInfo) -> UnitName | None:
        about = _about(info)
        if value is not None and about is not None and value not in about.units:
            what = f"is in {' or '.join(about.units)}" if len(about.units) > 1 else "has one unit only; remove this"
            raise ValueError(f"`{info.data['watch']}` {what}")
        return value

    @field_validator("symbol")
    @classmethod
    def _of_a_feed(cls, value: str, info: ValidationInfo) -> str:
        about = _about(info)
        if about is not None and not about.of_feed:
            raise ValueError(f"`{info.data['watch']}` is not of one feed; remove `symbol:`")
        if not value.strip():
            raise ValueError("write the name of a feed, or `*` for all of them")
        return value.strip()

    @field_validator("within")
    @classmethod
    def _window(cls, value: str | None, info: ValidationInfo) -> str | None:
        about = _about(info)
        if value is None or about is None:
            return value
        if not about.within:
            raise ValueError(f"`{info.data['watch']}` looks at no time before; remove `within:`")
        window = read_window(value)
        if info.data["watch"] == "volume" and not window.bars:
            raise ValueError("the average of a volume is over bars; write a number of them such as `20 bars`")
        return value.strip().lower()

    @field_validator("condition")
    @classmethod
    def _readable(cls, value: str | None, info: ValidationInfo) -> str | None:
        about = _about(info)
        if value is None or about is None:
            return value
        if info.data["watch"] != "indicator":
            raise ValueError(f"`{info.data['watch']}` has no condition; remove it, or write `watch: indicator`")
        return str(read_condition(value))

    @field_validator(*_LEVELS, "back", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        unit = info.data.get("unit") or next(iter(about.units), "") if (about := _about(info)) is not None else ""
        if unit == "time":
            return duration(value)
        return value.strip().removesuffix("%").rstrip() if unit == "percent" else value

    @field_validator(*_LEVELS)
    @classmethod
    def _fitting(cls, value: float | None, info: ValidationInfo) -> float | None:
        about = _about(info)
        if value is None or about is None:
            return value
        name, key = info.data["watch"], str(info.field_name)
        if not about.takes:
            raise ValueError(f"`{name}` has its level in its condition; remove `{key}:`")
        if key not in about.takes:
            raise ValueError(f"`{name}` takes {' or '.join(f'`{word}:`' for word in about.takes)}, not `{key}:`")
        other = next((word for word in _LEVELS if word != key and info.data.get(word) is not None), None)
        if other is not None:
            raise ValueError(f"`{other}:` is given as well; write a watch for each of them")
        if value <= 0 and (not about.signed or key == "every"):
            raise ValueError(f"write a number above 0, not `{value:g}`")
        return value

    @field_validator("back")
    @classmethod
    def _on_its_side(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None or _about(info) is None:
            return value
        if info.data["watch"] == "indicator":
            condition = read_condition(info.data["condition"]) if info.data.get("condition") else None
            if condition is None:
                return value
            if condition.crossing or condition.level is None:
                raise ValueError(f"`{condition}` is over when it is true no longer; remove `back:`")
            level, rising = condition.level, condition.rising
        else:
            key = next((word for word in _LEVELS if info.data.get(word) is not None), None)
            if key == "every":
                raise ValueError("a milestone is never over; remove `back:`")
            if key is None:
                return value
            level, rising = info.data[key], key != "below"
        if (value > level) if rising else (value < level):
            side = "less" if rising else "more"
            raise ValueError(f"write {level:g} or {side}, not `{value:g}`: it is where this is over again")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        about = WATCHES[self.watch]
        if self.watch == "indicator":
            if self.condition is None:
                raise ValueError(f"a watch of an indicator needs `condition:`, such as `condition: {EXAMPLE}`")
        elif all(getattr(self, key) is None for key in about.takes):
            ways = " or ".join(f"`{key}: {'5d' if about.units[0] == 'time' else 10}`" for key in about.takes)
            raise ValueError(f"`{self.watch}` needs a level: write {ways}")
        return self

    # What follows ------------------------------------------------------------------------------------

    @property
    def about(self) -> About:
        """What is known of this watch."""
        return WATCHES[self.watch]

    @property
    def of_strategy(self) -> bool:
        """It is of a strategy's own trades or indicators, so each strategy of a run has its own."""
        return self.watch in ("losses", "indicator")

    @property
    def key(self) -> str:
        """Which of the keys gives the level; empty for an indicator."""
        return next((key for key in _LEVELS if getattr(self, key) is not None), "")

    @property
    def level(self) -> float:
        """The level; NaN for a condition between two lines."""
        if self.watch == "indicator":
            number = self.parsed.level
            return math.nan if number is None else number
        return float(getattr(self, self.key))

    @property
    def over_at(self) -> float:
        """Where it is over: ``back``, or a sensible part of the level away from it."""
        if self.back is not None:
            return self.back
        if self.watch == "indicator" or self.key == "crosses":
            return self.level
        slack = self.about.slack * abs(self.level)
        return self.level + slack if self.key == "below" else self.level - slack

    @property
    def unit_of_level(self) -> Unit:
        """The unit of the level."""
        return self.unit or self.about.units[0]

    @property
    def window(self) -> Window:
        """How far back it looks."""
        return read_window(self.within or self.about.within)

    @property
    def parsed(self) -> Condition:
        """The condition of an indicator."""
        return read_condition(self.condition or "")

    def name(self, symbol: str = "") -> str:
        """What this watch is called: the same in every run of the same settings."""
        if self.watch == "indicator":
            words = ["indicator", symbol, str(self.condition)]
        else:
            level = in_words(self.level) if self.unit_of_level == "time" else f"{self.level:g}"
            words = [self.watch, symbol, self.key, level]
        words += [self.unit or "", f"within {self.within}" if self.within else ""]
        return " ".join(word for word in words if word)


def _about(info: ValidationInfo) -> About | None:
    """The watch that a key belongs to; None where that itself is wrong."""
    return WATCHES.get(info.data.get("watch", ""))


def watch(
    name: WatchName,
    *,
    above: float | str | None = None,
    below: float | str | None = None,
    crosses: float | None = None,
    every: float | None = None,
    back: float | str | None = None,
    symbol: str = "*",
    within: str | float | None = None,
    condition: str | None = None,
    unit: UnitName | None = None,
    priority: Priority | str | None = None,
) -> WatchLevel:
    """A watch for ``attach(cerebro, watches=[...])`` or for ``self.watch(...)`` in a strategy.

    Args:
        name: what is watched, such as ``"drawdown"``, ``"price"``, ``"indicator"``.
        above: told when the figure reaches this or more, in the unit of the watch; for ``time_in_trade`` seconds or a
            time such as ``"5d"``.
        below: told when it reaches this or less.
        crosses: told each time that a price gets to the other side.
        every: told at each further step of this size, for ``milestone``.
        back: where it is over; a part of the level away from it where it is left out.
        symbol: the feed, or several by ``*``.
        within: the time that it is about: ``"4h"``, seconds, or ``"20 bars"``.
        condition: for ``indicator``, such as ``"rsi > 70"``.
        unit: ``"percent"`` or ``"money"``; ``"time"`` or ``"bars"`` for ``time_in_trade``.
        priority: in place of the watch's own.

    Raises:
        SettingsError: where these do not go together; every error at once.
    """
    given = {
        "above": above, "below": below, "crosses": crosses, "every": every, "back": back, "within": within,
        "condition": condition, "unit": unit, "priority": priority,
    }  # fmt: skip
    block: dict[str, Any] = {"watch": name, **{key: value for key, value in given.items() if value is not None}}
    if symbol != "*":
        block["symbol"] = symbol
    try:
        return WatchLevel.model_validate(block)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    told = []
    for error in errors:
        key = str(error["loc"][0]) if error["loc"] else ""
        field = WatchLevel.model_fields.get(key)
        words = sentences.wrong_value(
            error, field.annotation if field else None, field.metadata if field else [], block.get(key)
        )
        told.append(f"watch({name!r}){f', {key}' if key not in ('', 'watch') else ''}: {words}")
    raise SettingsError(told)
