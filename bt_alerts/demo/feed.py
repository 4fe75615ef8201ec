"""A live feed that follows a script: bars, states, silence and crashes in a known order, for the demo and for tests.

To Backtrader it is a live feed (``islive()``, states through ``put_notification``, ``None`` while there is no bar); it
works alone, beside others, under ``resampledata`` and ``replaydata``, with ``exactbars`` and with ``qcheck``, and plays
from the start again in every ``cerebro.run()``. It connects to nothing. A script is a sequence of steps::

    ("status", "DELAYED")                  a state, by Backtrader's name; what follows goes to notify_data with it
    ("bar", when, open, high, low, close, volume)     when: naive is UTC; None asks the feed's clock
    ("wait",)  or  ("wait", 3)             no bar for one round of cerebro, or three
    ("pause", 0.5)                         no bar for half a second; cerebro's loop goes on
    ("call", function)                     call it, between two bars
    ("raise", exception)                   the feed breaks

A state is told before the strategy sees the next bar. Between two states put a ``("wait",)`` where the strategy must
find the feed *in* the first: without one both are delivered in one go. As in every feed, a state equal to the last is
dropped, and a feed begins as CONNECTED.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bt_alerts.hooks.seam import bt

Step = Sequence[Any]
Clock = Callable[[], dt.datetime]

#: How many arguments each word of a script takes: at least, at most.
WORDS = {"status": (1, None), "bar": (5, 7), "wait": (0, 1), "pause": (1, 1), "call": (1, 1), "raise": (1, 1)}

#: What the numbers of a bar are; the last two may be left out.
LINES = ("open", "high", "low", "close", "volume", "openinterest")

#: Two bars dated by the clock are at least this far apart, however fast they come.
APART = dt.timedelta(milliseconds=1)


class ScriptedFeed(bt.feed.DataBase):  # type: ignore[misc]  # backtrader has no types
    """Plays ``script``; see the module's docstring.

    Params (besides those of every Backtrader feed):
        script: the steps.
        clock: what time it is to this feed: dates the bars that have no date, and is what a resampler believes.
            Without one it is always the time of the last bar.
        on_bar: called with the feed after each bar was loaded, before the strategy sees it.

    Raises:
        ValueError: a step that is none, at construction.
        TypeError: an unknown parameter.
    """

    params = (("script", ()), ("clock", None), ("on_bar", None))

    def __init__(self, **unknown: Any) -> None:
        if unknown:  # Backtrader has taken the params out, and would drop the rest without a word
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(unknown)}.")
        super().__init__()
        # A tuple and an index, not an iterator: an optimisation pickles its feeds, and a feed may run twice.
        self._script: tuple[Step, ...] = tuple(_checked(step, self.p.clock is not None) for step in self.p.script)
        self._rewind()

    def _rewind(self) -> None:
        self._at = 0
        self._now: dt.datetime | None = None  # time of the last bar, naive UTC
        self._round = 0
        self._may_sleep = True
        self._silent_in = -1
        self._silent_for = 0
        self._due: float | None = None

    def start(self) -> None:
        super().start()
        self._rewind()

    def islive(self) -> bool:
        """True: cerebro neither preloads nor runs vectorised."""
        return True

    def haslivedata(self) -> bool:
        """Whether something can be had now; cerebro then lets no feed wait."""
        return self._at < len(self._script) and self._script[self._at][0] not in {"wait", "pause"}

    def do_qcheck(self, onoff: bool, qlapse: float) -> None:
        # Cerebro calls this once a round before it asks for bars. It can ask twice in a round (again where another feed
        # gave a bar), and a ("wait",) has to outlast that.
        self._round += 1
        self._may_sleep = onoff
        super().do_qcheck(onoff, qlapse)

    def clone(self, **kwargs: Any) -> Any:
        clone = super().clone(**kwargs)
        clone._timeoffset = self._timeoffset  # its resampler asks the clone what time it is
        return clone

    def _timeoffset(self) -> dt.timedelta:
        """How far this feed's time is from the computer's.

        Whenever no bar comes, a resampler to less than a day closes what is over *by the wall clock*. In a script of
        old bars everything would be, and each wait would cut a bar short.
        """
        now = _naive_utc(self.p.clock()) if self.p.clock else self._now
        return now - _naive_utc(dt.datetime.now(dt.UTC)) if now else dt.timedelta(0)

    def _load(self) -> bool | None:
        while self._at < len(self._script):
            word, *given = self._script[self._at]
            if (word == "wait" and self._silent(*given)) or (word == "pause" and self._paused(*given)):
                return None
            self._at += 1  # before the step: one that raises is over too
            if word == "status":
                name, *details = given
                self.put_notification(self._NOTIFNAMES.index(name), *details)
            elif word == "call":
                given[0]()
            elif word == "raise":
                raise given[0]
            elif word == "bar":
                self._set_bar(*given)
                return True
        return False

    def _silent(self, rounds: int = 1) -> bool:
        # With cerebro's `oldsync` nobody tells of rounds: then each question is one.
        if self._round != self._silent_in or self._round == 0:
            self._silent_in = self._round
            self._silent_for += 1
            if self._silent_for <= rounds and self._qcheck:
                time.sleep(self._qcheck)  # as a feed does that waits for its queue
        if self._silent_for <= rounds:
            return True
        self._silent_in, self._silent_for = -1, 0
        return False

    def _paused(self, seconds: float) -> bool:
        if self._due is None:
            self._due = time.monotonic() + seconds
        if self._may_sleep:
            time.sleep(max(0.0, min(self._due - time.monotonic(), self.p.qcheck or 0.05)))
        if time.monotonic() < self._due:
            return True
        self._due = None
        return False

    def _set_bar(self, when: dt.datetime | None, *numbers: float) -> None:
        stamp = _naive_utc(when or self.p.clock())
        if when is None and self._now is not None:
            stamp = max(stamp, self._now + APART)
        self._now = stamp
        self.lines.datetime[0] = bt.date2num(stamp)
        for line, number in zip(LINES, (*numbers, 0.0, 0.0), strict=False):
            getattr(self.lines, line)[0] = number
        if self.p.on_bar:
            self.p.on_bar(self)


def replay(
    frame: pd.DataFrame,
    *,
    backfill: int = 100,
    name: str = "",
    pause: float = 0.0,
    clock: Clock | None = None,
    timeframe: int = bt.TimeFrame.Days,
    compression: int = 1,
    **params: Any,
) -> ScriptedFeed:
    """A feed that goes live in the middle of ``frame``: DELAYED, the first bars, LIVE, the rest.

    Args:
        frame: index of times, columns open, high, low, close, volume; as :func:`bt_alerts.demo.prices.load` gives it.
        backfill: how many bars come before LIVE.
        pause: seconds before each bar after LIVE.
        clock: with one the bars are dated anew: each live one when it comes, those before it one timeframe apart up to
            now. The gate takes no bar for live that is years old. Without one they keep their dates.
        timeframe: of the bars, as Backtrader counts them; also how far apart the backfilled ones are dated.
        compression: bars of how many such units.
        **params: further params of :class:`ScriptedFeed`.
    """
    old, live = frame.iloc[:backfill], frame.iloc[backfill:]
    if clock is not None:
        old = shift_to_now(old, timeframe, clock, compression)
    rest: list[Step] = []
    for bar in bars(live, dated=clock is None):
        rest += [("pause", pause), bar] if pause else [bar]
    script = [("status", "DELAYED"), *bars(old), ("status", "LIVE"), *rest]
    return ScriptedFeed(script=script, clock=clock, name=name, timeframe=timeframe, compression=compression, **params)


def bars(frame: pd.DataFrame, dated: bool = True) -> list[Step]:
    """The rows of ``frame`` as steps of a script; not dated, they take the time of the feed's clock."""
    numbers = frame[["open", "high", "low", "close", "volume"]].astype(float).to_numpy().tolist()
    times = [when.to_pydatetime() if dated else None for when in frame.index]
    return [("bar", when, *row) for when, row in zip(times, numbers, strict=True)]


def shift_to_now(
    frame: pd.DataFrame, timeframe: int, clock: Clock, compression: int = 1, live: int = 0
) -> pd.DataFrame:
    """``frame`` dated anew, one timeframe between two bars, the last one now (naive UTC).

    Args:
        frame: bars; only their index changes.
        timeframe: Backtrader's, from ``bt.TimeFrame.Seconds`` to ``bt.TimeFrame.Years``.
        clock: asked once.
        compression: of how many such units a bar is.
        live: so many bars at the end are dated *after* now, for a script that is to play them as time goes on.
    """
    unit = _length(timeframe) * compression
    now = _naive_utc(clock()).replace(microsecond=0)
    last = len(frame) - 1 - live
    index = pd.DatetimeIndex([now + (row - last) * unit for row in range(len(frame))], name=frame.index.name)
    return frame.set_axis(index)


def _length(timeframe: int) -> dt.timedelta:
    frames = bt.TimeFrame
    lengths = {
        frames.Seconds: dt.timedelta(seconds=1),
        frames.Minutes: dt.timedelta(minutes=1),
        frames.Days: dt.timedelta(days=1),
        frames.Weeks: dt.timedelta(weeks=1),
        frames.Months: dt.timedelta(days=30),
        frames.Years: dt.timedelta(days=365),
    }
    if timeframe not in lengths:
        raise ValueError(f"Bars of the timeframe {frames.TName(timeframe)} have no length to date them by.")
    return lengths[timeframe]


def _naive_utc(when: dt.datetime) -> dt.datetime:
    """Backtrader's own idea of a time."""
    return when if when.tzinfo is None else when.astimezone(dt.UTC).replace(tzinfo=None)


def _checked(step: Step, has_clock: bool) -> Step:
    word, *given = step if step else ("",)
    if word not in WORDS:
        raise ValueError(f"A script has no step {word!r}: there are {', '.join(WORDS)}.")
    least, most = WORDS[word]
    if len(given) < least or (most is not None and len(given) > most):
        raise ValueError(f"The step {tuple(step)!r} does not have the arguments of {word!r}.")
    names = bt.feed.DataBase._NOTIFNAMES
    if word == "status" and given[0] not in names:
        raise ValueError(f"Backtrader has no state {given[0]!r}: there are {', '.join(names)}.")
    if word == "bar" and given[0] is None and not has_clock:
        raise ValueError("A bar without a time needs the feed's clock.")
    return tuple(step)
