"""The watch: looks at the feeds of a live run from a thread of its own, because a feed without bars holds the strategy.

It begins when the first feed goes live (with session hours: with the run) and ends with the run. It sleeps until the
next bar is overdue, and once a minute it leaves a sign of life for the next start to find. What the strategy's thread
leaves behind are times; nothing of Backtrader is touched here.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping

from bt_alerts.alert import Alert, Source, as_utc
from bt_alerts.compose import duration
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.silence import News, Sight, Watched, look
from bt_alerts.hours import EXAMPLE
from bt_alerts.kinds import KINDS

SIGN_EVERY = 60.0  # seconds between two signs of life
SHORTEST = 0.05  # seconds: it never looks more often


class Watch:
    """Watches the feeds of one run.

    Args:
        feeds: how each is watched, by a key of its own.
        arrived: when the last bar of a feed came, by its key, in Unix seconds; 0 for never.
        tell: takes what there is to tell.
        sign: called every :data:`SIGN_EVERY` seconds.
        clock: Unix seconds.
    """

    def __init__(
        self,
        feeds: Mapping[int, Watched],
        arrived: Callable[[int], float],
        tell: Callable[[Watched, News], object],
        sign: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        #: Something was told to be silent: the next bar is to wake this thread.
        self.anxious = False
        self._feeds = feeds
        self._arrived = arrived
        self._tell = tell
        self._sign = sign
        self._clock = clock
        self._sights: dict[int, Sight] = {}
        self._live: dict[int, float] = {}  # when a feed went live, or began to be expected
        self._back: dict[int, float] = {}  # when it was told that it is live
        self._down: dict[int, float] = {}  # when it was told to be disconnected
        self._bell = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def begin(self) -> None:
        """The run begins: feeds with session hours should yield bars, also before they say anything."""
        for key, feed in self._feeds.items():
            if feed.given:
                self.expects(key)

    # What the strategy's thread says -----------------------------------------------------------------

    def expects(self, key: int) -> None:
        """From now on a feed should yield bars."""
        if key in self._feeds and key not in self._live:
            self._live[key] = self._clock()
            self._begin_thread()

    def live(self, key: int, told: bool) -> None:
        """A feed says that it is live; ``told`` where somebody hears of it."""
        if key in self._feeds:
            self._live[key] = now = self._clock()
            if told:
                self._back[key] = now
            self._down.pop(key, None)
            self._begin_thread()
            self.wake()

    def disconnected(self, key: int) -> None:
        """Somebody hears that a feed lost its connection."""
        self._down.setdefault(key, self._clock())

    def wake(self) -> None:
        """Look now."""
        if os.getpid() == self._pid:  # in a forked child nobody waits, and the bell may be somebody else's
            self._bell.set()

    def end(self) -> None:
        """The run is over."""
        self._ended = True
        self.wake()

    # The thread --------------------------------------------------------------------------------------

    def _begin_thread(self) -> None:
        if self._thread is None and not self._ended and os.getpid() == self._pid:
            self._thread = threading.Thread(target=self._run, name="bt_alerts watch", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as exc:  # the interpreter ends, or the system has no threads left
                log.error("the feeds cannot be watched (%s); nobody will be told when one goes silent", exc)

    def _run(self) -> None:
        sign_at = 0.0
        while not self._ended:
            self._bell.clear()
            wait = SIGN_EVERY
            with never_raises("feeds were watched", "it is tried again"):
                if time.monotonic() >= sign_at:
                    sign_at = time.monotonic() + SIGN_EVERY
                    self._sign()
                due = self.look()
                wait = SIGN_EVERY if due is None else min(SIGN_EVERY, due - self._clock())
            self._bell.wait(max(SHORTEST, wait))

    def look(self) -> float | None:
        """Look at every feed and tell what there is; returns when to look again, in Unix seconds."""
        now = self._clock()
        dues: list[float] = []
        anxious = False
        for key, feed in self._feeds.items():
            began = self._live.get(key, 0.0)
            if not began or self._ended:
                continue
            before = self._sights.get(key, Sight())
            down = self._down.get(key, 0.0)
            sight = dataclasses.replace(
                before, last=max(began, self._arrived(key)), down=down, back=self._back.get(key, 0.0)
            )
            after, news, due = look(feed, sight, now)
            self._sights[key] = after
            if down and not after.down and self._down.get(key) == down:
                del self._down[key]
            anxious = anxious or (after.told is not None and not after.seen)
            if due is not None:
                dues.append(due)
            if news is not None:
                self._tell(feed, news)
        self.anxious = anxious
        return min(dues, default=None)


def alert_of(feed: Watched, news: News, *, run: str, now: float) -> Alert:
    """The alert that tells of a feed that went silent, or came back."""
    known = KINDS[news.kind]
    silent = news.kind == "data.silent"
    long = duration(news.seconds)
    if silent:
        title = f"{feed.symbol}: no bars for {long}"
        text = f"A bar of {feed.symbol} is expected every {duration(max(1.0, feed.length))}."
        if not feed.given:
            text += f'\nIf this market is closed now, say when it is open: watch: {{session: "{EXAMPLE}"}}'
    else:
        title, text = f"{feed.symbol}: bars again", f"The feed of {feed.symbol} was silent for {long}."
    return Alert.make(
        text,
        title=title,
        type=known.type,
        kind=known.name,
        priority=known.priority,
        time=now,
        symbol=feed.symbol,
        run=run,
        source=Source.LIVE,
        data={"status": news.kind.partition(".")[2], "seconds": news.seconds, "since": as_utc(news.since)},
        thread=f"feed:{feed.symbol}",
    )
