"""The capture: sits on one strategy, whatever hook put it there, and takes what happens to it.

It wraps the strategy's own ``_notify``, ``_start`` and ``_stop`` on the *instance*. That is the robust place: a user
who overrides ``notify_order`` without ``super()``, or raises in it, or never calls ``super().__init__()``, changes
nothing here, and the strategy's class, lines and parameters stay as they are. There is one capture a strategy, so the
mixin, the analyzer and ``attach`` together still make one alert an event.

In a backtest it keeps snapshots and makes no alert until the run ends or somebody looks.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bt_alerts.alert import Alert
from bt_alerts.hooks.bars import last_bars, wants_picture
from bt_alerts.hooks.gate import bar_number
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.snapshot import CANCELED, COMPLETED, PARTIAL, Batch, order_snap, trade_snap
from bt_alerts.hooks.translate import Translator, bar_time
from bt_alerts.kinds import Setting, setting_of

if TYPE_CHECKING:
    from bt_alerts.hooks.session import Session
    from bt_alerts.hooks.watching import Watching
    from bt_alerts.settings.watches import WatchLevel

ATTRIBUTE = "_bt_alerts_capture"
_WRAPPED = ("_start", "_notify", "_stop")
#: Where Backtrader enters a strategy. A session without a guard around ``run()`` catches errors there.
_ENTRANCES = (
    "_once", "_next", "_oncepost", "_next_open", "_oncepost_open", "_addnotification",
    "notify_timer", "notify_data", "notify_store",
)  # fmt: skip


def capture_of(strategy: Any) -> Capture:
    """The capture of a strategy; made where there is none."""
    found: Capture | None = strategy.__dict__.get(ATTRIBUTE)
    if found is None:
        found = strategy.__dict__[ATTRIBUTE] = Capture(strategy)
    return found


class Signalled(NamedTuple):
    """In a backtest's log: a signal was told on this bar of this feed."""

    data: int
    when: float
    signal: str


class Capture:
    """Takes what happens to one strategy in one run."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.name = type(strategy).__name__
        self.run = ""
        self.session: Session | None = None
        self.translator: Translator | None = None
        #: In a backtest: what happened, in order, until somebody looks.
        self.log: list[Batch | Alert | Signalled] = []
        #: Marks of the current bar for observers: (index of the feed, what); None where nobody observes.
        self.marks: list[tuple[int, str]] | None = None
        #: What the account was worth when the strategy started; None before.
        self.value_begin: float | None = None
        self.stopped = False
        #: What looks at levels on every bar; None where there are none.
        self.watching: Watching | None = None
        self._listening = False
        self._quick = False
        self._plain_notify: Callable[..., None] = lambda **_: None
        self._index: dict[int, int] = {}
        self._leaders: Mapping[int, int] = {}
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self._pictured = ""  # the action whose bars were taken: only the first alert of one is sent
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        # A strategy may be pickled by an optimisation; this side of it stays behind.
        return _nothing, ()

    # Putting it on -----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take orders and trades from now on; harmless to call again."""
        if self._listening:
            return
        self._listening = True
        self._plain_notify = functools.partial(type(self.strategy)._notify, self.strategy)
        self.strategy.__dict__.update(_start=self._on_start, _notify=self._on_notify, _stop=self._on_stop)

    def _take_off(self) -> None:
        for name in (*_WRAPPED, *_ENTRANCES):
            self.strategy.__dict__.pop(name, None)
        self._listening = False

    def join(self) -> Session:
        """Find the session of the strategy's Cerebro and take part in its run."""
        if self.session is None:
            from bt_alerts.hooks.session import session_of

            strategy = self.strategy
            self._index = {id(data): i for i, data in enumerate(strategy.datas)}
            self._leaders = getattr(strategy.broker, "_ocos", {})
            self._quick = bool(strategy.cerebro.p.quicknotify)
            session = session_of(strategy.cerebro)
            session.join(self)
            self.session = session
            if self._listening and not session.guarded:
                for name in _ENTRANCES:
                    bound = functools.partial(getattr(type(strategy), name), strategy)
                    strategy.__dict__[name] = functools.partial(self._entered, bound)
        return self.session

    def _entered(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except BaseException as exc:
            self._failed(exc)
            raise

    def _failed(self, exc: BaseException) -> None:
        if self.session is not None and not self.session.guarded:
            self.session.failed(exc)

    # What Backtrader calls ---------------------------------------------------------------------------

    def _on_start(self) -> None:
        with never_raises("a strategy started"):
            self.join()
        self._entered(type(self.strategy)._start, self.strategy)
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
        if self.watching is not None and not qorders:
            with never_raises("levels were watched", "the levels of this bar are not told"):
                self.watching.bar()
        self._plain_notify(qorders=qorders, qtrades=qtrades)

    def _on_stop(self) -> None:
        self._entered(type(self.strategy)._stop, self.strategy)
        self.finish()

    def finish(self, why: str = "") -> None:
        """The strategy stopped, or was stopped by ``why``."""
        if self.stopped:
            return
        self.stopped = True
        with never_raises("a strategy stopped"):
            self.join().stopped(self, why)
        self._take_off()

    def watch(self, level: WatchLevel) -> None:
        """Watch a level from the next bar on."""
        if self.watching is None:
            from bt_alerts.hooks.watching import Watching

            self.watching = Watching(self)
        self.watching.add(level)

    # Taking ------------------------------------------------------------------------------------------

    def _take(self, orders: Any, trades: Any) -> None:
        batch = Batch([], [])
        with never_raises("an order or trade was notified"):
            session = self.session or self.join()
            for order in orders:
                with never_raises("an order was notified"):
                    if not order.params.simulated:
                        batch.orders.append(order_snap(order, self._index, self._leaders))
            batch.trades.extend(trade_snap(trade, self._index) for trade in trades)
            if self.marks is not None:
                self._mark(self.marks, batch)
            told = self._translate(batch) if session.immediate else []
            if session.immediate:
                for alert in told:
                    self.pass_on(alert)
                if session.lookout is not None:
                    session.lookout.took(self, orders)
            else:
                self.log.append(batch)
            if self.watching is not None:
                self.watching.took(batch.trades, told)

    def _mark(self, marks: list[tuple[int, str]], batch: Batch) -> None:
        for order in batch.orders:
            if order.status in (PARTIAL, COMPLETED):
                marks.append((order.data, "buy" if order.isbuy else "sell"))
            elif order.status > CANCELED:  # a cancel is mostly a bracket's sibling, and nobody's problem
                marks.append((order.data, "problem"))

    def _translate(self, batch: Batch) -> list[Alert]:
        session, datas = self.join(), self.strategy.datas
        assert self.translator is not None
        return self.translator.batch(batch, lambda i: session.source(datas[i], order=True), session.now())

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
            self.marks.append((self._index.get(id(self._feed(data)), 0), "note"))
        self.pass_on(alert, deliver, keep)
        return alert

    def pass_on(
        self,
        alert: Alert,
        deliver: Callable[[Alert], object] | None = None,
        keep: Callable[[Alert], object] | None = None,
    ) -> None:
        """Emit an alert at once in a live run; keep it in a backtest."""
        session = self.join()
        if not session.immediate and keep is None:
            self.log.append(alert)  # counted when it is collected
            return
        self._counts[alert.type.value, alert.priority.value] += 1
        if session.immediate:
            (deliver or session.manager.emit)(self._with_bars(session, alert))
        elif keep is not None:
            keep(alert)

    def _with_bars(self, session: Session, alert: Alert) -> Alert:
        """An alert that will be sent to a channel with charts, with what its picture is drawn from."""
        count = session.manager.chart_bars
        if not count or (alert.action and alert.action == self._pictured) or not wants_picture(alert, session.events):
            return alert
        with never_raises("bars were taken for a picture", "this alert has no picture"):
            feed = next((data for data in self.strategy.datas if session.symbol(data) == alert.symbol), None)
            bars = None if feed is None else last_bars(feed, count)
            if bars is not None:
                self._pictured = alert.action
                return alert.replace(bars=bars)
        return alert

    def stamp(self, alert: Alert, data: Any = None) -> Alert:
        """Add what is known here: strategy, run, symbol, bar, and whether the bar is live."""
        session = self.join()
        feed = self._feed(data)
        when = (bar_number(feed) if feed is not None else 0.0) or bar_number(self.strategy)
        bar = bar_time(when)
        symbol = alert.symbol or session.symbol(feed)
        key = alert.dedupe_key
        if key is None and bar is not None:
            before, count = self._told.get((alert.kind, symbol), (when, 0))
            count = count + 1 if before == when else 1
            self._told[alert.kind, symbol] = when, count
            key = f"{self.name}|{symbol}|{alert.kind}|{bar.isoformat()}|{count}"
        return alert.replace(
            time=session.now() or bar or alert.time,
            bar_time=bar,
            symbol=symbol,
            strategy=alert.strategy or self.name,
            run=self.run,
            source=session.source(feed),
            dedupe_key=key,
        )

    def signalled(self, data: Any, signal: str) -> None:
        """An order made on this bar of the feed is made by a signal, the alert of this id."""
        session, feed = self.join(), self._feed(data)
        told = Signalled(self._index.get(id(feed), 0), bar_number(feed), signal)
        if not session.immediate:
            self.log.append(told)  # in its place among the batches
        elif self.translator is not None:
            self.translator.signalled(*told)

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
                alerts += self._translate(entry)
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
        return 0 if session is None or session.optimising else session.manager.suppressed(self.run)


def _nothing() -> None:
    return None
