"""The capture: sits on one strategy, whatever hook put it there, and takes what happens to it.

It wraps the strategy's own ``_notify``, ``_start`` and ``_stop`` on the *instance*. That is the robust place: a user who
overrides ``notify_order`` without ``super()``, or raises in it, or never calls ``super().__init__()``, changes nothing
here, and the strategy's class, lines and parameters stay as they are. There is one capture a strategy, so the mixin, the
analyzer and ``attach`` together still make one alert an event.

In a backtest it keeps snapshots and makes no alert until the run ends or somebody looks.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.snapshot import Batch, order_snap, trade_snap
from bt_alerts.hooks.translate import Translator, bar_time
from bt_alerts.kinds import KINDS, Setting, setting_of

if TYPE_CHECKING:
    from bt_alerts.hooks.session import Session

ATTRIBUTE = "_bt_alerts_capture"
_WRAPPED = ("_start", "_notify", "_stop")
_GUARDED = ("_next", "_oncepost", "_next_open", "_oncepost_open", "notify_timer")


def capture_of(strategy: Any) -> Capture:
    """The capture of a strategy; made where there is none."""
    found: Capture | None = strategy.__dict__.get(ATTRIBUTE)
    if found is None:
        found = Capture(strategy)
        strategy.__dict__[ATTRIBUTE] = found
    return found


class Capture:
    """Takes what happens to one strategy in one run."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.session: Session | None = None
        self.name = type(strategy).__name__
        self.translator: Translator | None = None
        #: In a backtest: batches and alerts, in order, until somebody looks.
        self.log: list[Batch | Alert | Signalled] = []
        #: Marks of the current bar for observers: (index of the feed, what); None where nobody observes.
        self.marks: list[tuple[int, str]] | None = None
        self.value_begin = 0.0
        self._index: dict[int, int] = {}
        self._plain_notify: Callable[..., None] = lambda **_: None
        self._listening = False
        self._told: dict[tuple[str, str, float], int] = {}
        self._quick = False
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.stopped = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        # A strategy may be pickled by an optimisation; this side of it stays behind.
        return _nothing, ()

    # Putting it on -----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take orders and trades from now on; harmless to call again."""
        if self._listening:
            return
        self._listening = True
        plain = type(self.strategy)
        self._plain_notify = functools.partial(plain._notify, self.strategy)
        self.strategy.__dict__.update(_start=self._on_start, _notify=self._on_notify, _stop=self._on_stop)

    def _take_off(self) -> None:
        for name in (*_WRAPPED, *_GUARDED):
            self.strategy.__dict__.pop(name, None)
        self._listening = False

    def join(self) -> Session:
        """Find the session of the strategy's Cerebro and take part in its run."""
        if self.session is None:
            from bt_alerts.hooks.session import session_of

            session = session_of(self.strategy.cerebro)
            self.session = session
            self._index = {id(data): i for i, data in enumerate(self.strategy.datas)}
            self._quick = bool(self.strategy.cerebro.p.quicknotify)
            session.join(self)
            if self._listening and not session.guarded:
                self._guard_methods()
        return self.session

    def _guard_methods(self) -> None:
        """Without a guard around ``run()``, errors are caught where Backtrader calls the strategy."""
        for name in _GUARDED:
            plain = getattr(type(self.strategy), name)
            bound = functools.partial(plain, self.strategy)
            self.strategy.__dict__[name] = functools.partial(self._guarded, bound)

    def _guarded(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except BaseException as exc:
            if self.session is not None:
                self.session.failed(exc)
            raise

    # What Backtrader calls ---------------------------------------------------------------------------

    def _on_start(self) -> None:
        with never_raises("a strategy started"):
            self.join()
        try:
            type(self.strategy)._start(self.strategy)
        except BaseException as exc:
            if self.session is not None and not self.session.guarded:
                self.session.failed(exc)
            raise
        with never_raises("a strategy started"):
            self.join().started(self)

    def _on_notify(self, qorders: Any = (), qtrades: Any = ()) -> None:
        strategy = self.strategy
        if self._quick:
            if qorders or qtrades:
                self._take(qorders, qtrades)
        elif strategy._orderspending or strategy._tradespending:
            self._take(strategy._orderspending, strategy._tradespending)
        session = self.session
        if session is not None and session.immediate and not qorders:
            with never_raises("a bar arrived"):
                session.bar(self)
        self._plain_notify(qorders=qorders, qtrades=qtrades)

    def _on_stop(self) -> None:
        try:
            type(self.strategy)._stop(self.strategy)
        except BaseException as exc:
            if self.session is not None and not self.session.guarded:
                self.session.failed(exc)
            raise
        self.finish()

    def finish(self, why: str = "") -> None:
        """The strategy stopped, or was stopped by ``why``."""
        if self.stopped:
            return
        self.stopped = True
        with never_raises("a strategy stopped"):
            self.join().stopped(self, why)
        self._take_off()

    # Taking ------------------------------------------------------------------------------------------

    def _take(self, orders: Any, trades: Any) -> None:
        with never_raises("an order or trade was notified"):
            index = self._index
            batch = Batch(
                0.0,
                [order_snap(order, index) for order in orders if not order.params.simulated],
                [trade_snap(trade, index) for trade in trades],
            )
            session = self.session or self.join()
            if self.marks is not None:
                self._mark(batch)
            if session.immediate:
                for alert in self._translate(batch, session.now()):
                    self._counts[alert.type.value, alert.priority.value] += 1
                    session.emit(alert)
            else:
                self.log.append(batch)

    def _mark(self, batch: Batch) -> None:
        assert self.marks is not None
        for order in batch.orders:
            if order.status in (3, 4):
                self.marks.append((order.data, "entry" if order.isbuy else "exit"))
            elif order.status >= 5:
                self.marks.append((order.data, "problem"))

    def _translate(self, batch: Batch, now: Any) -> list[Alert]:
        session = self.session or self.join()
        assert self.translator is not None
        return self.translator.batch(batch, lambda i: session.source(self.strategy.datas[i], order=True), now)

    def say(
        self,
        alert: Alert,
        *,
        data: Any = None,
        deliver: Callable[[Alert], object] | None = None,
        keep: Callable[[Alert], object] | None = None,
    ) -> Alert | None:
        """Something was told from inside the strategy: stamp it with the bar it was told on, and pass it on.

        Args:
            alert: what was told.
            data: the feed that it is about; the first one where it is None.
            deliver: takes a live alert, in place of the session's manager.
            keep: takes an alert of a backtest, in place of this capture's own log.

        Returns:
            The alert as it was passed on; None where its kind of event is off.
        """
        session = self.join()
        if setting_of(alert.kind, session.events) is Setting.OFF:
            return None
        alert = self.stamp(alert, data)
        if self.marks is not None:
            feed = self._feed(data)
            self.marks.append((self._index.get(id(feed), 0), "note"))
        if session.immediate:
            self._counts[alert.type.value, alert.priority.value] += 1
            (deliver or session.emit)(alert)
        elif keep is not None:
            keep(alert)
        else:
            self.log.append(alert)
        return alert

    def stamp(self, alert: Alert, data: Any = None) -> Alert:
        """Add what is known here: strategy, run, symbol, bar, and whether the bar is live."""
        session = self.join()
        feed = self._feed(data)
        assert self.translator is not None
        i = self._index.get(id(feed), 0)
        when = feed.datetime[0] if feed is not None and len(feed) else 0.0
        bar = bar_time(when)
        symbol = alert.symbol or (self.translator.symbols[i] if self.translator.symbols else "")
        count = self._told.get((alert.kind, symbol, when), 0)
        self._told = {k: v for k, v in self._told.items() if k[2] == when}
        self._told[alert.kind, symbol, when] = count + 1
        source = session.source(feed) if feed is not None else Source.HISTORY
        key = alert.dedupe_key or (f"{self.name}|{symbol}|{alert.kind}|{bar.isoformat()}|{count}" if bar else None)
        return alert.replace(
            time=(session.now() or bar or alert.time),
            bar_time=bar,
            symbol=symbol,
            strategy=alert.strategy or self.name,
            run=session.run,
            source=source,
            dedupe_key=key,
        )

    def signalled(self, data: Any) -> None:
        """An order made on this bar of the feed is made by a signal."""
        self.join()
        feed = self._feed(data)
        if self.translator is not None and feed is not None and len(feed):
            self.log_signal(self._index.get(id(feed), 0), feed.datetime[0])

    def log_signal(self, i: int, when: float) -> None:
        """Remember a signal for the orders that follow it."""
        session = self.session
        assert self.translator is not None
        if session is not None and session.immediate:
            self.translator.signalled(i, when)
        else:
            self.log.append(Signalled((i, when)))  # in its place among the batches

    def symbol_of(self, feed: Any) -> str:
        """The name of a feed of this strategy."""
        self.join()
        assert self.translator is not None
        i = self._index.get(id(feed))
        return self.translator.symbols[i] if i is not None else str(getattr(feed, "_name", ""))

    def _feed(self, data: Any) -> Any:
        if data is None:
            return self.strategy.datas[0] if self.strategy.datas else None
        return data

    # Looking -----------------------------------------------------------------------------------------

    def collect(self) -> list[Alert]:
        """Turn what was kept so far into alerts, in order, and forget it."""
        log, self.log = self.log, []
        alerts: list[Alert] = []
        for entry in log:
            if isinstance(entry, Batch):
                alerts += self._translate(entry, None)
            elif isinstance(entry, Alert):
                alerts.append(entry)
            elif self.translator is not None:
                self.translator.signalled(*entry)
        self._counts.update((alert.type.value, alert.priority.value) for alert in alerts)
        return alerts

    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many alerts were made, by type and priority."""
        session = self.session
        if session is not None and not session.optimising:
            session.manager.look()  # so that what was kept becomes alerts in the store, once
        else:
            self.collect()
        return self._counts

    @property
    def suppressed(self) -> int:
        """How many alerts of this run a rule held back."""
        session = self.session
        return 0 if session is None or session.optimising else session.manager.suppressed(session.run)


class Signalled(tuple[int, float]):
    """In a backtest's log: a signal was told on this bar of this feed."""


def _nothing() -> None:
    return None


def own_alert(
    message: object,
    *,
    kind: str,
    title: object,
    type: Any,
    priority: Any,
    channels: Any,
    symbol: object = "",
    data: Mapping[str, Any] | None = None,
) -> Alert:
    """An alert that a user's code asks for. What is wrong with its words is said in the log, not raised."""
    known = KINDS[kind]
    try:
        return Alert.make(message, title=title, type=type or known.type, kind=kind,
                          priority=priority or known.priority, channels=channels, symbol=symbol, data=data)  # fmt: skip
    except ValueError as exc:
        from bt_alerts.hooks.guard import log

        log.error("%s; the alert is kept as %s, %s", exc, known.type.value, known.priority.value)
        return Alert.make(message, title=title, type=known.type, kind=kind, priority=known.priority,
                          channels=channels, symbol=symbol, data=data)  # fmt: skip
