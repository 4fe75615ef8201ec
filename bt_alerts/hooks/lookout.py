"""The lookout: what a live run watches over besides its events. A backtest and an optimisation have none.

A feed that goes silent (:mod:`bt_alerts.hooks.watch`), what changed at the broker while a strategy was away
(:mod:`bt_alerts.hooks.seen`), and a machine that is gone (:mod:`bt_alerts.delivery.heartbeat`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source
from bt_alerts.calendars import CalendarError, Exchange, check, read_session
from bt_alerts.hooks.away import Report
from bt_alerts.hooks.gate import source_feed, timeframe_seconds
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.seen import Memory
from bt_alerts.hooks.silence import News, Watched, watched
from bt_alerts.hooks.watch import Watch, alert_of
from bt_alerts.hours import Openings
from bt_alerts.kinds import KINDS, Setting, setting_of

if TYPE_CHECKING:
    from bt_alerts.delivery.heartbeat import Heartbeat
    from bt_alerts.hooks.capture import Capture
    from bt_alerts.hooks.gate import Gate
    from bt_alerts.hooks.session import Session

#: Ends of a run that somebody wanted.
_AS_TOLD = {"KeyboardInterrupt", "SystemExit", "GeneratorExit"}


class Lookout:
    """Of one live run of a session.

    Args:
        session: whose run it is.
        gate: knows when bars came.
    """

    def __init__(self, session: Session, gate: Gate) -> None:
        self._session = session
        self._run = session.run
        self._manager = session.manager
        self._gate = gate
        self._memories: dict[str, Memory] = {}  # by strategy
        self._look_again = False  # an order was notified, and a broker may tell its position a little later
        self.watch = Watch(self._feeds(), gate.arrived, self._tell_of_feed, self._sign, self._manager.clock)
        self.watch.begin()
        self._heartbeat = self._begin_to_ping()
        self._ended = 0.0  # by the clock that only goes forward

    # A run -------------------------------------------------------------------------------------------

    def started(self, capture: Capture, *, simulated: bool) -> None:
        """A strategy started: what it sees at its broker is compared with what was seen last, and kept from now on."""
        with never_raises("what was seen last was looked for", "nothing is told of what changed meanwhile"):
            memory = Memory(
                capture.strategy,
                capture.name,
                self._session.symbol,
                simulated=simulated,
                remember=self._manager.remember,
                tell=functools.partial(self._tell_of_restart, capture.name),
                zone=self._manager.settings.templates.timezone,
                clock=self._manager.clock,
            )
            self._memories[capture.name] = memory
            memory.start(self._manager.recall)

    def took(self, capture: Capture, orders: Any) -> None:
        """Orders of a strategy were notified."""
        memory = self._memories.get(capture.name)
        if memory is not None and orders:
            memory.note(orders)
            self._look_again = True
            self._look()

    def bar(self) -> None:
        """A bar may have arrived. On every bar: two comparisons."""
        if self.watch.anxious:
            self.watch.wake()
        if self._look_again:
            self._look_again = False
            self._look()

    def armed(self) -> None:
        """The first live bar came: what somebody said is live, is."""
        for data in self._session.cerebro.datas:
            if self._gate.word(self._session.symbol(data)) == "always":
                self.watch.expects(id(data))

    def status(self, data: Any, kind: str) -> None:
        """A feed told its state, which became an alert of this kind."""
        heard = setting_of(kind, self._session.events) in (Setting.ON, Setting.SILENT)
        if kind == "data.live":
            self.watch.live(id(data), heard)
        elif kind == "data.disconnected" and heard:
            self.watch.disconnected(id(data))

    def stopped(self, capture: Capture, why: str) -> None:
        """A strategy stopped."""
        memory = self._memories.get(capture.name)
        if memory is not None:
            memory.end(why)

    def end(self, why: str) -> None:
        """The run is over: as it should be, or by ``why``."""
        self.watch.end()
        self._ended = time.monotonic()
        if self._heartbeat is not None:
            self._heartbeat.end("" if why in _AS_TOLD else why)

    def wait(self) -> None:
        """Wait for the last ping; together with what was waited for since the end, ``flush_timeout`` at most."""
        if self._heartbeat is not None:
            from bt_alerts.delivery.heartbeat import LAST_SECONDS

            longest = min(LAST_SECONDS, self._manager.settings.delivery.flush_timeout)
            self._heartbeat.wait(max(0.0, self._ended + longest - time.monotonic()))

    # The pieces --------------------------------------------------------------------------------------

    def _feeds(self) -> dict[int, Watched]:
        settings, feeds = self._manager.settings.watch, {}
        for data in self._session.cerebro.datas:
            symbol = self._session.symbol(data)
            if source_feed(data) is data and data.islive() and self._gate.word(symbol) != "never":
                session = _session(settings.sessions.get(symbol, settings.session))
                feeds[id(data)] = watched(
                    symbol, timeframe_seconds(data), settings.silence, session, self._manager.clock()
                )
        symbols = {feed.symbol for feed in feeds.values()}
        for unknown in settings.sessions.keys() - symbols:
            log.warning("watch.sessions names %r; the live feeds are %s", unknown, ", ".join(sorted(symbols)) or "none")
        return feeds

    def _begin_to_ping(self) -> Heartbeat | None:
        settings = self._manager.settings.watch
        if settings.ping_url is None or self._manager.mode == "record":
            return None
        from bt_alerts.delivery.heartbeat import Heartbeat

        about = ", ".join(self._session.symbol(data) for data in self._session.cerebro.datas)
        heartbeat = Heartbeat(
            settings.ping_url.get_secret_value(), self._manager.trouble, every=settings.ping_every, about=about
        )
        heartbeat.start()
        return heartbeat

    def _look(self) -> None:
        with never_raises("the broker was asked for positions", "the next start compares with those from before"):
            for memory in self._memories.values():  # of all strategies: they may share an account
                memory.look()

    def _sign(self) -> None:
        for memory in list(self._memories.values()):
            memory.sign()

    def _tell_of_feed(self, feed: Watched, news: News) -> None:
        if setting_of(news.kind, self._session.events) is not Setting.OFF:
            self._manager.emit(alert_of(feed, news, run=self._run, now=self._manager.clock()))

    def _tell_of_restart(self, strategy: str, report: Report) -> None:
        known = KINDS["strategy.restarted"]
        if setting_of(known.name, self._session.events) is not Setting.OFF:
            alert = Alert.make(
                report.text,
                title=report.title,
                type=known.type,
                kind=known.name,
                priority=report.priority,
                time=self._manager.clock(),
                strategy=strategy,
                run=self._run,
                source=Source.LIVE,
                data=report.data,
            )
            self._manager.emit(alert)


def _session(texts: Sequence[str]) -> list[Openings]:
    """When a feed yields bars; empty, as where nobody said, where the sessions of an exchange cannot be known."""
    session = [read_session(text) for text in texts]
    try:
        for each in session:
            if isinstance(each, Exchange):
                check(each.code)
    except CalendarError as exc:
        _say_once(f"{exc}. Until then its feeds are watched as if no session were set")
        return []
    return session


@functools.cache
def _say_once(text: str) -> None:
    log.warning("watch.session: %s", text)
