"""The session: what one Cerebro has to do with alerts, over all its runs and strategies.

It hangs on the Cerebro as an attribute and is pickled with it for an optimisation; manager, captures and gate stay
behind then, because an optimisation only counts.
"""

from __future__ import annotations

import datetime as dt
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Priority, Source, new_id, utcnow
from bt_alerts.compose import number
from bt_alerts.hooks import account
from bt_alerts.hooks.capture import Capture
from bt_alerts.hooks.gate import Gate, Override, source_feed
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.translate import Translator, bar_time, signed
from bt_alerts.kinds import KINDS, Setting, setting_of
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager

ATTRIBUTE = "_bt_alerts"


def session_of(cerebro: Any, manager: AlertManager | None = None) -> Session:
    """The session of a Cerebro; made where there is none, with ``manager`` or the process-wide default."""
    found: Session | None = cerebro.__dict__.get(ATTRIBUTE)
    if found is None:
        found = Session(cerebro, manager)
        cerebro.__dict__[ATTRIBUTE] = found
    return found


class Session:
    """Everything about alerts of one Cerebro.

    Args:
        cerebro: the Cerebro.
        manager: takes the alerts; the process-wide default where None.
        live: the gate's override.
    """

    def __init__(self, cerebro: Any, manager: AlertManager | None = None, live: Override = "auto") -> None:
        self.cerebro = cerebro
        self._manager = manager
        self.live = live
        self.guarded = False
        self._strategies: list[Any] | None = None  # Cerebro's own list, new for every run
        self._reset()
        self.events: Mapping[str, Setting] = manager.events if manager is not None else {}
        cerebro.adddatacb(self.on_data)
        cerebro.addstorecb(self.on_store)

    def _reset(self) -> None:
        self.run = ""
        self.captures: list[Capture] = []
        self.immediate = False
        self.gate: Gate | None = None
        self._armed = False
        self._failure: BaseException | None = None
        self._ended = True

    def __getstate__(self) -> dict[str, Any]:
        return {"cerebro": self.cerebro, "events": dict(self.events), "live": self.live, "guarded": self.guarded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _manager=None, _strategies=None)
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

            self._manager = default_manager()
            self.events = self._manager.events
        return self._manager

    # A run -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A run begins."""
        self._reset()
        self.run = new_id()
        self._ended = False
        manager_clock: Callable[[], float] | None = None
        if not self.optimising:
            manager_clock = self.manager.clock
            self.manager.add_source(self.collect)
        import time

        self.gate = Gate(self.live, manager_clock or time.time)
        datas = {name: data for name, data in zip(self.symbols(), self.cerebro.datas, strict=False)}
        live = self.gate.live_run(datas)
        self.immediate = not self.optimising and (live or self.manager.mode == "send")
        self.live_run = live

    def join(self, capture: Capture) -> None:
        """A strategy takes part."""
        strategies = getattr(self.cerebro, "runningstrats", None)
        if self._strategies is not strategies or self._ended:
            if not self.guarded or self._ended or self.captures:
                if self.captures and not self._ended:
                    self.end()  # a run without a guard, that an exception ended
                self.begin()
            self._strategies = strategies
        kind = type(capture.strategy).__name__
        same = sum(type(other.strategy).__name__ == kind for other in self.captures)
        capture.name = f"{kind}-{same + 1}" if same else kind
        strategy = capture.strategy
        capture.translator = Translator(
            capture.name,
            self.run,
            self.symbols(strategy.datas),
            events=self.events,
            multipliers=_multipliers(strategy),
            by_signal=isinstance(strategy, bt.SignalStrategy),
        )
        self.captures.append(capture)

    def symbols(self, datas: Any = None) -> list[str]:
        """A name for each feed; one without a name is called by its number, and said so once."""
        names: list[str] = []
        for i, data in enumerate(self.cerebro.datas if datas is None else datas):
            name = str(getattr(data, "_name", "") or "")
            if not name and getattr(data, "_clone", False):
                name = str(getattr(source_feed(data), "_name", "") or "")
            if not name:
                name = f"data{i}"
                if not self._ended and not data.__dict__.get("_bt_alerts_unnamed"):
                    data.__dict__["_bt_alerts_unnamed"] = True
                    log.warning(
                        "data feed %d has no name, so alerts call it %r: pass name='AAPL' to cerebro.adddata()", i, name
                    )
            while name in names:  # two timeframes of one instrument
                timeframe = bt.TimeFrame.getname(data._timeframe, data._compression)
                name = f"{name} {data._compression} {timeframe}" if f"{timeframe}" not in name else f"{name}'"
            names.append(name)
        return names

    def end(self) -> None:
        """The run is over, however it ended."""
        if self._ended:
            return
        self._ended = True
        why = type(self._failure).__name__ if self._failure is not None else ""
        for capture in self.captures:
            capture.finish(why)
        if self.optimising:
            return
        with never_raises("a run ended"):
            if self.immediate:
                self.manager.flush()
            else:
                self.manager.run_ended()

    def collect(self) -> list[Alert]:
        """The alerts of a backtest that were not made yet."""
        alerts: list[Alert] = []
        for capture in self.captures:
            told = capture.collect()
            # What was told before the first bar happened, in a backtest, when the first bar did.
            first = next((alert.bar_time for alert in told if alert.bar_time is not None), None)
            alerts += [alert.replace(time=first) if alert.bar_time is None and first else alert for alert in told]
        if len(self.captures) > 1:
            alerts.sort(key=lambda alert: alert.time)
        return alerts

    # What the hooks ask ------------------------------------------------------------------------------

    def now(self) -> dt.datetime | None:
        """The clock's time where alerts are made as things happen; None in a backtest."""
        if not self.immediate or not self.live_run:
            return None
        return dt.datetime.fromtimestamp(self.manager.clock(), dt.UTC)

    def source(self, data: Any, *, order: bool = False) -> Source:
        """Whether what happens on a feed's current bar is live."""
        if self.gate is None or not self.live_run:
            return Source.HISTORY
        real = order and not isinstance(self.cerebro.broker, bt.brokers.BackBroker)
        return self.gate.judge(data, self._symbol(data), real_broker=real)

    def _symbol(self, data: Any) -> str:
        for name, known in zip(self.symbols(), self.cerebro.datas, strict=False):
            if known is data:
                return name
        return str(getattr(data, "_name", ""))

    def emit(self, alert: Alert) -> None:
        """Pass an alert on."""
        self.manager.emit(alert)

    def bar(self, capture: Capture) -> None:
        """A bar may have arrived; only in a run that can be live."""
        if capture is not self.captures[0] or self.gate is None:
            return
        for name, data in zip(self.symbols(), self.cerebro.datas, strict=False):
            complaint = self.gate.on_bar(data, name)
            if complaint:
                self._tell("data.held", f"{name}: nothing is sent", complaint, symbol=name, live=True)
            elif not self._armed and self.live_run and self.source(data) is Source.LIVE:
                self._arm()

    # What it tells by itself -------------------------------------------------------------------------

    def _tell(
        self,
        kind: str,
        title: str,
        text: str,
        *,
        symbol: str = "",
        strategy: str = "",
        live: bool | None = None,
        priority: Priority | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        if setting_of(kind, self.events) is Setting.OFF or (self.optimising and not self.captures):
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
            source=Source.LIVE if (self.live_run if live is None else live) else Source.HISTORY,
            data=data,
        )
        if self.immediate:
            self.emit(alert)
        elif self.captures:
            next((c for c in self.captures if c.name == strategy), self.captures[0]).log.append(alert)
        elif not self.optimising:
            self.manager.keep(alert)

    def _latest_bar(self) -> dt.datetime | None:
        times = [data.datetime[0] for data in self.cerebro.datas if len(data)]
        return bar_time(max(times)) if times else None

    def started(self, capture: Capture) -> None:
        """A strategy started."""
        strategy = capture.strategy
        broker = strategy.broker
        if self.live_run:
            with never_raises("the broker was asked for positions"):
                for i, data in enumerate(strategy.datas):
                    held = broker.getposition(data)
                    if held.size and capture.translator is not None:
                        capture.translator.holds(i, held.size, held.price)
        capture.value_begin = broker.getvalue()
        symbols = self.symbols(strategy.datas)
        self._tell(
            "strategy.started",
            f"{capture.name} started",
            f"Symbols: {', '.join(symbols)}\nAccount: {account.label(self.cerebro, self.live_run)}, value "
            f"{number(capture.value_begin)}",
            strategy=capture.name,
            data={"symbols": symbols, "value": capture.value_begin, "parameters": dict(strategy.p._getkwargs())},
        )

    def stopped(self, capture: Capture, why: str = "") -> None:
        """A strategy stopped: the run's summary."""
        strategy = capture.strategy
        begin, end = capture.value_begin, strategy.broker.getvalue()
        trades = [t for group in strategy._trades.values() for of in group.values() for t in of if t.status == t.Closed]
        won = sum(t.pnlcomm > 0 for t in trades)
        pnl = sum(t.pnlcomm for t in trades)
        change = f" ({100 * (end / begin - 1):+.2f} %)".replace("-", "−") if begin else ""
        lines = [f"Value {number(begin)} → {number(end)}{change}", f"Bars: {len(strategy):,}"]
        if trades:
            lines.append(f"Trades: {len(trades)} closed, {won} won, net {signed(pnl)}")
        if self.gate is not None and self.live_run and self.gate.held:
            lines.append(f"Bars held back as history: {self.gate.held:,}")
        data = {
            "value_begin": begin,
            "value_end": end,
            "bars": len(strategy),
            "trades": len(trades),
            "won": won,
            "pnlcomm": pnl,
            "why": why,
        }
        title = f"{capture.name} stopped" + (f" by {why}" if why else "")
        self._tell("strategy.stopped", title, "\n".join(lines), strategy=capture.name, data=data,
                   priority=Priority.HIGH if why else None)  # fmt: skip
        if not self.guarded and not self.optimising and all(c.stopped for c in self.captures):
            self.end()

    def _arm(self) -> None:
        """The first live bar: say once that the strategy is armed, and whether each channel answers."""
        self._armed = True
        names = ", ".join(capture.name for capture in self.captures)
        label = account.label(self.cerebro, self.live_run)
        symbols = self.symbols()
        bar, run = self._latest_bar(), self.run

        def alert_of(answers: Mapping[str, bool]) -> Alert:
            channels = ", ".join(f"{name} {'✓' if ok else '✗ does not answer'}" for name, ok in answers.items())
            return Alert.make(
                f"Account: {label}\nSymbols: {', '.join(symbols)}\nChannels: {channels or 'none'}",
                title=f"{names} is armed",
                type=KINDS["strategy.armed"].type,
                kind="strategy.armed",
                priority=KINDS["strategy.armed"].priority if all(answers.values()) else Priority.HIGH,
                bar_time=bar,
                strategy=names,
                run=run,
                source=Source.LIVE,
                data={"account": label, "symbols": symbols, "channels": dict(answers)},
            )

        self.manager.arm(alert_of)

    def on_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
        """Backtrader's data notification."""
        with never_raises("a data feed notified"):
            if self._ended and not self.guarded:
                return
            word = data._getstatusname(status)
            kind = {
                data.LIVE: "data.live",
                data.DELAYED: "data.delayed",
                data.DISCONNECTED: "data.disconnected",
                data.CONNBROKEN: "data.disconnected",
            }.get(status, "data.other")
            symbol = self._symbol(data)
            text = f"The feed of {symbol} says {word}."
            if args:
                text += " " + redact(", ".join(map(str, args)))
            self._tell(kind, f"{symbol}: {word.lower()}", text, symbol=symbol, data={"status": word})

    def on_store(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """Backtrader's store notification."""
        with never_raises("a store notified"):
            if self._ended and not self.guarded:
                return
            words = [redact(message), *(redact(a) for a in args)]
            self._tell("store.message", "Message of the store", " ".join(words), data={"message": words[0]})

    def failed(self, exc: BaseException) -> None:
        """An exception is on its way out of the run: keep it first."""
        if self._failure is exc:
            return
        self._failure = exc
        with never_raises("an exception was recorded"):
            if self._ended:
                self.begin()
            strategy = self._culprit(exc)
            if isinstance(exc, KeyboardInterrupt | SystemExit | GeneratorExit):
                word = "Ctrl-C was pressed" if isinstance(exc, KeyboardInterrupt) else "The program was told to end"
                self._tell("interrupted", f"{strategy or 'The run'} was interrupted", f"{word}.", strategy=strategy)
            else:
                frames = traceback.format_exception(type(exc), exc, exc.__traceback__, limit=-12)
                text = redact("".join(frames))[-6000:]
                self._tell(
                    "error",
                    f"{strategy or 'The run'} crashed: {type(exc).__name__}",
                    f"{redact(exc) or type(exc).__name__}\n\n{text}",
                    strategy=strategy,
                    data={"exception": type(exc).__name__, "what": redact(exc), "traceback": text},
                )
            if not self.guarded:
                self.end()

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


def _multipliers(strategy: Any) -> dict[int, float]:
    found = {}
    for i, data in enumerate(strategy.datas):
        try:
            found[i] = float(strategy.broker.getcommissioninfo(data).p.mult)
        except Exception:
            found[i] = 1.0
    return found


def strategy_here(start: int = 2) -> Any:
    """The strategy in whose method the caller runs, as Backtrader's own ``findowner`` looks for it; None outside one."""
    frame = sys._getframe(start)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, bt.Strategy):
            return owner
        made = frame.f_locals.get("_obj")
        if isinstance(made, bt.Strategy):
            return made
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends at None
    return None

