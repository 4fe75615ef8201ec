"""The session: what one Cerebro has to do with alerts, over all its runs and strategies.

It hangs on the Cerebro as an attribute and is pickled with it for an optimisation; manager, captures and gate stay
behind then, because an optimisation only counts.
"""

from __future__ import annotations

import datetime as dt
import functools
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Priority, Source, new_id, safe_text
from bt_alerts.compose import money, signed
from bt_alerts.hooks import account
from bt_alerts.hooks.capture import Capture
from bt_alerts.hooks.crash import words_of
from bt_alerts.hooks.gate import Gate, Override, bar_number, feed_names
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.lookout import Lookout
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.translate import Translator, bar_time
from bt_alerts.kinds import KINDS, Setting, setting_of
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.hooks.readings import Account
    from bt_alerts.manager import AlertManager
    from bt_alerts.settings.watches import WatchLevel

ATTRIBUTE = "_bt_alerts"


def session_of(cerebro: Any, manager: AlertManager | None = None) -> Session:
    """The session of a Cerebro; made where there is none, with ``manager`` or the process-wide default."""
    found: Session | None = cerebro.__dict__.get(ATTRIBUTE)
    if found is None:
        found = Session(cerebro, manager)
    return found


class Session:
    """Everything about alerts of one Cerebro. It puts itself on the Cerebro; :meth:`leave` takes it off.

    Args:
        cerebro: the Cerebro.
        manager: takes the alerts; the process-wide default where None.
        live: the gate's override.
        guarded: something around ``run()`` sees how each run ends.
        watches: levels to watch in every strategy, besides those of the settings.
    """

    def __init__(
        self,
        cerebro: Any,
        manager: AlertManager | None = None,
        live: Override = "auto",
        guarded: bool = False,
        watches: Sequence[WatchLevel] = (),
    ) -> None:
        self.cerebro = cerebro
        self.live = live
        self.guarded = guarded
        self.events: dict[str, Setting] = {}
        self._watches = tuple(watches)
        #: Symbols that watches name and no feed has: each is said once.
        self.unknown_symbols: set[str] = set()
        self._given = manager
        self._manager: AlertManager | None = None
        self._strategies: list[Any] | None = None  # Cerebro's own list, new for every run
        self._warned = False
        self._reset()
        cerebro.__dict__[ATTRIBUTE] = self
        cerebro.adddatacb(self.on_data)
        cerebro.addstorecb(self.on_store)

    def leave(self) -> None:
        """Leave the Cerebro as it was."""
        self.cerebro.__dict__.pop(ATTRIBUTE, None)
        self.cerebro.datacbs.remove(self.on_data)
        self.cerebro.storecbs.remove(self.on_store)

    def _reset(self) -> None:
        self.run = ""
        self.captures: list[Capture] = []
        self.immediate = False
        self.live_run = False
        self.gate: Gate | None = None
        self.lookout: Lookout | None = None  # in a live run
        self._account: Account | None = None
        self._names: dict[int, str] = {}
        self._armed = False
        self._ended = True

    def __getstate__(self) -> dict[str, Any]:
        return {
            "cerebro": self.cerebro,
            "events": self.events,
            "live": self.live,
            "guarded": self.guarded,
            "_watches": self.levels,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _given=None, _manager=None, _strategies=None, _warned=False, unknown_symbols=set())
        self._reset()

    @property
    def optimising(self) -> bool:
        """In an optimisation nothing is sent and nothing is stored: counts stay in the analyzers."""
        return bool(self.cerebro._dooptimize)

    @property
    def manager(self) -> AlertManager:
        """Takes the alerts."""
        if self._manager is None:
            from bt_alerts.manager import default_manager

            self._manager = self._given or default_manager()
            self.events = dict(self._manager.events)
        return self._manager

    @property
    def levels(self) -> tuple[WatchLevel, ...]:
        """What is watched in every strategy: the settings' levels, and those given with them."""
        manager = self._given if self.optimising else self.manager  # an optimisation does not ask for the default one
        return self._watches if manager is None else (*manager.settings.watch.levels, *self._watches)

    @property
    def account(self) -> Account:
        """What watches read of the account of this run."""
        if self._account is None:
            from bt_alerts.hooks.readings import Account

            self._account = Account(self.cerebro.broker)
        return self._account

    # A run -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A run begins."""
        if self.captures and not self.optimising:
            with never_raises("alerts of the run before were stored"):
                self.manager.look()
        self._reset()
        self._ended = False
        self.run = new_id()
        names = feed_names(self.cerebro.datas)
        self._names = {id(data): name for data, name in zip(self.cerebro.datas, names, strict=True)}
        clock = time.time
        if not self.optimising:
            self._manager = None  # the default one can be another than before
            clock = self.manager.clock
            self.manager.add_source(self)
            self._warn_of_names()
        self.gate = Gate(self.live, clock)
        self.live_run = self.gate.live_run(zip(names, self.cerebro.datas, strict=True))
        self.immediate = not self.optimising and (self.live_run or self.manager.mode == "send")
        if self.guarded:
            self._begin_lookout()

    def _begin_lookout(self) -> None:
        """Watch over a live run whose bars and end are seen here."""
        if self.immediate and self.live_run and self.lookout is None and self.gate is not None:
            with never_raises("the watch over a live run began", "nobody is told of a feed that goes silent"):
                self.lookout = Lookout(self, self.gate)

    def _warn_of_names(self) -> None:
        for i, data in enumerate(self.cerebro.datas):
            name = self._names[id(data)]
            if name == f"data{i}" and not self._warned:
                self._warned = True
                log.warning("a data feed has no name, so alerts call it %r: cerebro.adddata(feed, name='AAPL')", name)
        for symbol in () if isinstance(self.live, str) else set(self.live) - set(self._names.values()):
            log.warning("live= names %r, but there are only the feeds %s", symbol, ", ".join(self._names.values()))

    def join(self, capture: Capture) -> None:
        """A strategy takes part."""
        strategies = getattr(self.cerebro, "runningstrats", None)
        if self._ended or strategies is not self._strategies:
            just_begun = self.guarded and not self._ended and not self.captures
            if not just_begun:
                self.end()  # a run without a guard, that an exception ended; or the one before in an optimisation
                self.begin()
            self._strategies = strategies
        capture.run = self.run
        strategy = capture.strategy
        kind = type(strategy).__name__
        same = sum(type(other.strategy).__name__ == kind for other in self.captures)
        capture.name = f"{kind}-{same + 1}" if same else kind
        capture.translator = Translator(
            capture.name,
            self.run,
            [self.symbol(data) for data in strategy.datas],
            events=self.events,
            multiplier=functools.partial(_multiplier, strategy),
            by_signal=isinstance(strategy, bt.SignalStrategy),
        )
        self.captures.append(capture)
        for level in self.levels:
            if capture is self.captures[0] or level.of_strategy:
                capture.watch(level)

    def symbol(self, data: Any) -> str:
        """What alerts call a feed."""
        return self._names.get(id(data)) or str(getattr(data, "_name", ""))

    def end(self, why: str = "") -> None:
        """The run is over: as it should be, or by ``why``."""
        if self._ended:
            return
        self._ended = True
        for capture in self.captures:
            capture.finish(why)
        if self.optimising:
            return
        with never_raises("a run ended"):
            if self.lookout is not None:
                self.lookout.end(why)
            if self.immediate:
                self.manager.flush()
            else:
                self.manager.run_ended()
            if self.lookout is not None:
                self.lookout.wait()

    @property
    def ended(self) -> bool:
        """The run is over."""
        return self._ended

    def collect(self) -> list[Alert]:
        """The alerts of a backtest that were not made yet."""
        alerts: list[Alert] = []
        for capture in self.captures:
            told = capture.collect()
            # What was told before the first bar happened, in a backtest, when the first bar did.
            first = self._first_bar or min((a.bar_time for a in told if a.bar_time is not None), default=None)
            alerts += [alert.replace(time=first) if alert.bar_time is None and first else alert for alert in told]
        if len(self.captures) > 1:
            alerts.sort(key=lambda alert: alert.time)
        return alerts

    @property
    def _first_bar(self) -> dt.datetime | None:
        """The first bar of the feeds; None where they keep none that old (``exactbars``)."""
        if self.cerebro._exactbars >= 1:
            return None
        with never_raises("the first bar was looked for"):
            times = [data.lines.datetime.array[0] for data in self.cerebro.datas if len(data.lines.datetime.array)]
            return bar_time(min(times, default=0.0))
        return None

    # What the hooks ask ------------------------------------------------------------------------------

    def now(self) -> dt.datetime | None:
        """The clock's time in a live run; None in a backtest, where the bar's time counts."""
        if not (self.immediate and self.live_run):
            return None
        return dt.datetime.fromtimestamp(self.manager.clock(), dt.UTC)

    def source(self, data: Any, *, order: bool = False) -> Source:
        """Whether what happens on a feed's current bar is live."""
        if self.gate is None or not self.live_run or data is None:
            return Source.HISTORY
        return self.gate.judge(data, self.symbol(data), real_broker=order and self._real_broker)

    @property
    def _real_broker(self) -> bool:
        return not isinstance(self.cerebro.broker, bt.brokers.BackBroker)

    def bar(self, capture: Capture) -> None:
        """A bar may have arrived; only in a run that can be live."""
        if capture is not self.captures[0] or self.gate is None or not self.live_run:
            return
        for data in self.cerebro.datas:
            symbol = self.symbol(data)
            complaint = self.gate.on_bar(data, symbol)
            if complaint:
                self._tell("data.held", f"{symbol}: nothing is sent", complaint, symbol=symbol)
            elif not self._armed and self.source(data) is Source.LIVE:
                self._arm()
        if self.lookout is not None:
            self.lookout.bar()

    # What it tells by itself -------------------------------------------------------------------------

    def _tell(
        self,
        kind: str,
        title: str,
        text: str,
        *,
        symbol: str = "",
        strategy: str = "",
        priority: Priority | None = None,
        data: Mapping[str, Any] | None = None,
        action: str = "",
        thread: str = "",
    ) -> None:
        if setting_of(kind, self.events) is Setting.OFF:
            return
        known = KINDS[kind]
        bar = self._latest_bar()
        alert = Alert.make(
            text,
            title=title,
            type=known.type,
            kind=kind,
            priority=priority or known.priority,
            time=self.now() or bar,
            bar_time=bar,
            symbol=symbol,
            strategy=strategy,
            run=self.run,
            source=Source.LIVE if self.live_run else Source.HISTORY,
            data=data,
            action=action,
            thread=thread,
        )
        if self.captures:
            next((c for c in self.captures if c.name == strategy), self.captures[0]).pass_on(alert)
        elif self.immediate:
            self.manager.emit(alert)
        elif not self.optimising:
            self.manager.keep(alert)

    def _latest_bar(self) -> dt.datetime | None:
        return bar_time(max((bar_number(capture.strategy) for capture in self.captures), default=0.0))

    def started(self, capture: Capture) -> None:
        """A strategy started."""
        strategy = capture.strategy
        broker = strategy.broker
        self._begin_lookout()
        if self.lookout is not None:
            self.lookout.started(capture, simulated=not self._real_broker)
        # Not the simulated broker, which has none yet: being asked makes it look for a bar that is not there.
        if capture.translator is not None and self._real_broker:
            with never_raises("the broker was asked for positions"):
                for i, data in enumerate(strategy.datas):
                    held = broker.getposition(data)
                    if held.size:
                        capture.translator.holds(i, held.size, held.price)
        capture.value_begin = value = broker.getvalue()
        symbols = [self.symbol(data) for data in strategy.datas]
        self._tell(
            "strategy.started",
            f"{capture.name} started",
            f"Symbols: {', '.join(symbols)}\nAccount: {account.label(self.cerebro, self.live_run)}, value "
            f"{money(value)}",
            strategy=capture.name,
            data={"symbols": symbols, "value": value, "parameters": dict(strategy.p._getkwargs())},
        )

    def stopped(self, capture: Capture, why: str = "") -> None:
        """A strategy stopped: the run's summary."""
        if self.lookout is not None:
            self.lookout.stopped(capture, why)
        if capture.value_begin is not None:
            self._summarise(capture, capture.value_begin, why)
        if not self.guarded and not self.optimising and all(c.stopped for c in self.captures):
            self.end()

    def _summarise(self, capture: Capture, begin: float, why: str) -> None:
        strategy = capture.strategy
        end = strategy.broker.getvalue()
        trades = [t for group in strategy._trades.values() for of in group.values() for t in of if t.status == t.Closed]
        won = sum(t.pnlcomm > 0 for t in trades)
        pnl = sum(t.pnlcomm for t in trades)
        change = f" ({100 * (end / begin - 1):+.2f} %)".replace("-", "−") if begin else ""
        lines = [f"Value {money(begin)} → {money(end)}{change}", f"Bars: {len(strategy):,}"]
        if trades:
            lines.append(f"Trades: {len(trades)} closed, {won} won, net {signed(pnl)}")
        if self.gate is not None and self.gate.held:
            lines.append(f"Bars held back as history: {self.gate.held:,}")
        self._tell(
            "strategy.stopped",
            f"{capture.name} stopped" + (f" by {why}" if why else ""),
            "\n".join(lines),
            strategy=capture.name,
            priority=Priority.HIGH if why else None,
            action=self._crash if why else "",
            data={
                "value_begin": begin,
                "value_end": end,
                "bars": len(strategy),
                "trades": len(trades),
                "won": won,
                "pnlcomm": pnl,
                "why": why,
            },
        )

    @property
    def _crash(self) -> str:
        """The action that a crash and the end of the strategies that it stopped have in common."""
        return f"{self.run}:crash"

    def _arm(self) -> None:
        """The first live bar: say once that the strategy is armed, and whether each channel answers."""
        self._armed = True
        if self.lookout is not None:
            self.lookout.armed()
        names = ", ".join(capture.name for capture in self.captures)
        label = account.label(self.cerebro, self.live_run)
        symbols = list(self._names.values())
        bar, now, run = self._latest_bar(), self.now(), self.run

        def alert_of(answers: Mapping[str, bool]) -> Alert:
            channels = ", ".join(f"{name} {'✓' if ok else '✗ does not answer'}" for name, ok in answers.items())
            known = KINDS["strategy.armed"]
            return Alert.make(
                f"Account: {label}\nSymbols: {', '.join(symbols)}\nChannels: {channels or 'none'}",
                title=f"{names} is armed",
                type=known.type,
                kind=known.name,
                priority=known.priority if all(answers.values()) else Priority.HIGH,
                time=now,
                bar_time=bar,
                strategy=names,
                run=run,
                source=Source.LIVE,
                data={"account": label, "symbols": symbols, "channels": dict(answers)},
            )

        if setting_of("strategy.armed", self.events) is not Setting.OFF:
            self.manager.arm(alert_of)

    def on_data(self, data: Any, status: int, /, *args: Any, **kwargs: Any) -> None:
        """Backtrader's data notification. A feed may call its own arguments whatever it likes."""
        if self._ended:
            return
        with never_raises("a data feed notified"):
            word = data._getstatusname(status)
            kind = {
                data.LIVE: "data.live",
                data.DELAYED: "data.delayed",
                data.DISCONNECTED: "data.disconnected",
                data.CONNBROKEN: "data.disconnected",
                data.NOTSUBSCRIBED: "data.disconnected",  # it will never have a bar
                data.NOTSUPPORTED_TF: "data.disconnected",
            }.get(status, "data.other")
            symbol = self.symbol(data)
            text = f"The feed of {symbol} says {word}."
            if args:
                text += " " + redact(", ".join(map(safe_text, args)))
            thread = f"feed:{symbol}"  # that it is back answers that it went
            self._tell(kind, f"{symbol}: {word.lower()}", text, symbol=symbol, data={"status": word}, thread=thread)
            if self.lookout is not None:
                self.lookout.status(data, kind)

    def on_store(self, message: Any, /, *args: Any, **kwargs: Any) -> None:
        """Backtrader's store notification; its arguments may have any name, such as ``message``."""
        if self._ended:
            return
        with never_raises("a store notified"):
            words = [redact(safe_text(word)) for word in (message, *args)]
            self._tell("store.message", "Message of the store", " ".join(words), data={"message": words[0]})

    def failed(self, exc: BaseException) -> None:
        """An exception is on its way out of the run: keep it first."""
        if self._ended:
            return
        with never_raises("an exception was recorded"):
            strategy = self._culprit(exc)
            name = type(exc).__name__
            if isinstance(exc, KeyboardInterrupt | SystemExit | GeneratorExit):
                word = "Ctrl-C was pressed." if isinstance(exc, KeyboardInterrupt) else "The program was told to end."
                title = f"{strategy or 'The run'} was interrupted"
                self._tell("interrupted", title, word, strategy=strategy, action=self._crash)
            else:
                crash = words_of(exc)
                self._tell(
                    "error",
                    f"{strategy or 'The run'} crashed: {name}",
                    crash.text,
                    strategy=strategy,
                    data={"exception": name, "what": crash.what, "traceback": crash.traceback},
                    action=self._crash,
                )
        self.end(type(exc).__name__)

    def _culprit(self, exc: BaseException) -> str:
        """The strategy in whose method it happened; the class's name where it happened while it was made."""
        found = ""
        step = exc.__traceback__
        while step is not None:
            owner = step.tb_frame.f_locals.get("self")
            if isinstance(owner, bt.Strategy):
                found = next((c.name for c in self.captures if c.strategy is owner), type(owner).__name__)
            step = step.tb_next
        return found or (self.captures[0].name if len(self.captures) == 1 else "")


def _multiplier(strategy: Any, data: int) -> float:
    """Value of one point: 1 for shares, the contract's for futures; 1 where a broker knows of none."""
    try:
        return float(strategy.broker.getcommissioninfo(strategy.datas[data]).p.mult)
    except Exception:
        return 1.0


def strategy_here(start: int = 2) -> Any:
    """The strategy in whose method the caller runs, as Backtrader's ``findowner`` looks for it; None outside one."""
    frame = sys._getframe(start)
    while frame is not None:
        for name in ("self", "_obj"):  # a method; Backtrader's metaclass, while the strategy is made
            owner = frame.f_locals.get(name)
            if isinstance(owner, bt.Strategy):
                return owner
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends at None
    return None
