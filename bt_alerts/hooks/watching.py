"""Watches over the levels of one strategy's run: once a bar it reads their figures, and tells what changed.

It works alike in a backtest (recorded as history), live, and in an optimisation (counted). A watch that raises is said
once, in the log and as an alert, and left out; the strategy goes on. What is of the account or of a feed is told by the
first strategy of a run for all of them; what is of a strategy (its trades, its indicators) by each.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bt_alerts.alert import Alert, Source, safe_text
from bt_alerts.hooks.gate import source_feed
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.levels.level import Change, Level, State, milestone, step
from bt_alerts.hooks.levels.words import shown, title
from bt_alerts.hooks.readings import Losses, Place, Reading, UnknownName, reading
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.snapshot import TradeSnap
from bt_alerts.kinds import KINDS, Setting, setting_of
from bt_alerts.redact import redact
from bt_alerts.settings.watches import WatchLevel

if TYPE_CHECKING:
    from bt_alerts.hooks.capture import Capture

_OF_POSITION = frozenset({"position_drawdown", "position_risk", "time_in_trade", "exposure"})


@dataclasses.dataclass(slots=True)
class Probe:
    """One watch on one feed, or on the account, with where it stands.

    Args:
        watch: what was asked for.
        reading: reads its figure.
        data: the feed.
        symbol: what alerts call it; empty for a watch of the account.
        name: of this level in every run.
        level: where it is told and where it is over.
    """

    watch: WatchLevel
    reading: Reading
    data: Any
    symbol: str
    name: str
    level: Level
    state: State | None = None
    steps: int = 0

    def look(self, value: float) -> Change | None:
        """Whether a figure is worth telling."""
        if self.watch.watch == "milestone":
            self.steps, told = milestone(value, self.watch.level, self.steps)
            return Change.CROSSED if told else None
        if self.state is None:
            if math.isnan(value):
                return None
            # A crossing is an event: on which side the first bar finds it is none.
            self.state = State(self.crossing and self.level.reached(value), value)
        self.state, change = step(self.level, value, self.state)
        return None if change is Change.RECOVERED and self.one_way else change

    @property
    def crossing(self) -> bool:
        """It tells of an event, not of a state."""
        return self.watch.key == "crosses" or self.one_way

    @property
    def one_way(self) -> bool:
        """An event in one direction."""
        return self.watch.watch == "indicator" and self.watch.parsed.crossing


class Watching:
    """The watches of one strategy.

    Args:
        capture: the strategy's.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._waiting: list[WatchLevel] = []
        self._probes: list[Probe] = []
        self._names: set[str] = set()
        self._losses: list[Losses] = []

    def add(self, watch: WatchLevel) -> None:
        """Watch this too, from the next bar on."""
        self._waiting.append(watch)

    def took(self, trades: Iterable[TradeSnap], told: Iterable[Alert]) -> None:
        """Trades were notified; ``told`` is what became of the same events, for brokers that tell of no trades."""
        if not self._losses and not any(watch.watch == "losses" for watch in self._waiting):
            return
        if self._waiting:
            self._begin()
        ended = [trade.pnlcomm for trade in trades if trade.closed]
        by_action = {alert.action: float(alert.data["pnlcomm"]) for alert in told if "pnlcomm" in alert.data}
        for pnl in ended or by_action.values():
            for losses in self._losses:
                losses.trade(pnl)

    def bar(self) -> None:
        """A bar came, and the broker has done its part."""
        if self._waiting:
            self._begin()
        self._capture.join().account.turn(self)
        broken: list[Probe] = []
        for probe in self._probes:
            try:
                value = probe.reading.read()
                change = None if value is None else probe.look(value)
                if change is not None and value is not None:
                    self._tell(probe, value, change)
            except Exception as exc:
                broken.append(probe)
                self._broken(probe.watch, probe.name, exc, probe.data)
        for probe in broken:
            self._probes.remove(probe)

    # Beginning ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        for watch in waiting:
            try:
                self._probe(watch)
            except UnknownName as exc:
                if not self._known_elsewhere(watch):
                    self._broken(watch, watch.name(), exc, None)
            except Exception as exc:
                self._broken(watch, watch.name(), exc, None)

    def _probe(self, watch: WatchLevel) -> None:
        capture = self._capture
        session, strategy = capture.join(), capture.strategy
        feeds = self._feeds(watch)
        pattern = watch.symbol
        chosen = {name: data for name, data in feeds.items() if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not chosen:
            self._warn(watch, feeds)
            return
        if not watch.about.of_feed:
            chosen = {"": next(iter(feeds.values()))}
        elif watch.watch == "indicator" and (watch.symbol == "*" or not _of_a_line(watch, strategy)):
            named = (name.rpartition(".")[0] for name in watch.parsed.names)
            symbol = next((name for name in named if name in chosen), next(iter(chosen)))
            chosen = {symbol: chosen[symbol]}
        for symbol, data in chosen.items():
            name = watch.name(symbol)
            if name not in self._names:
                made = reading(watch, Place(strategy, session.account, capture.value_begin, data, feeds))
                self._names.add(name)
                self._probes.append(Probe(watch, made, data, symbol, name, _level(watch)))
                if isinstance(made, Losses):
                    self._losses.append(made)

    def _feeds(self, watch: WatchLevel) -> dict[str, Any]:
        """The feeds that a watch can be of, by symbol: a clone repeats its source, unless it is named or traded on."""
        session = self._capture.join()
        datas = self._capture.strategy.datas
        named = {session.symbol(data): data for data in datas}
        simulated = isinstance(self._capture.strategy.broker, bt.brokers.BackBroker)
        if watch.symbol in named or (simulated and watch.watch in _OF_POSITION):
            return named
        return {
            symbol: data
            for symbol, data in named.items()
            if source_feed(data) is data or not any(source_feed(data) is other for other in datas)
        }

    def _known_elsewhere(self, watch: WatchLevel) -> bool:
        """Whether another strategy of the run has what a condition names: then it is meant for that one."""
        session = self._capture.join()
        for other in session.captures:
            if other is not self._capture:
                datas = other.strategy.datas
                feeds = {session.symbol(data): data for data in datas}
                try:
                    reading(watch, Place(other.strategy, session.account, None, datas[0], feeds))
                except UnknownName:
                    continue
                return True
        return False

    def _warn(self, watch: WatchLevel, feeds: Iterable[str]) -> None:
        session = self._capture.join()
        if not session.optimising and watch.symbol not in session.unknown_symbols:
            session.unknown_symbols.add(watch.symbol)
            log.warning(
                "a watch of `%s` names the symbol %r, but there are only the feeds %s; it is left out",
                watch.watch, watch.symbol, ", ".join(feeds) or "none",
            )  # fmt: skip

    # Telling -----------------------------------------------------------------------------------------

    def _tell(self, probe: Probe, value: float, change: Change) -> None:
        watch, over = probe.watch, change is Change.RECOVERED
        resolves = over and not probe.crossing
        kind = f"watch.{watch.watch}" + (".back" if resolves else "")
        events = self._capture.join().events
        if Setting.OFF in (setting_of(kind, events), setting_of(f"watch.{watch.watch}", events)):
            return  # nobody is told of the end of what nobody was told of
        worst = probe.state.worst if resolves and probe.state is not None else math.nan
        lines = [f"{probe.reading.words()}."]
        if resolves and math.isfinite(worst) and watch.watch != "losses":
            lines.append(f"At its {'highest' if probe.level.rising else 'lowest'}: {shown(watch, worst)}.")
        elif resolves and watch.watch == "losses":
            lines.append(f"{shown(watch, worst)} trades in a row had lost.")
        data: dict[str, Any] = {
            "watch": watch.watch,
            "value": value,
            "level": None if math.isnan(watch.level) else watch.level,
            "back": None if math.isnan(watch.over_at) or probe.one_way or watch.key == "every" else watch.over_at,
            "unit": watch.unit_of_level if watch.watch != "indicator" else "",
            **probe.reading.facts(),
        }
        if resolves:
            data |= {"resolves": True, "worst": worst}
        known = KINDS[kind]
        self._pass_on(
            Alert.make(
                "\n".join(lines),
                title=title(watch, probe.symbol, value, change, gone=probe.reading.gone),
                type=known.type,
                kind=kind,
                priority=known.priority if resolves else watch.priority or known.priority,
                data={key: fact for key, fact in data.items() if fact not in (None, "")},
            ),
            probe.data,
            probe.symbol,
            probe.name,
            of_strategy=watch.of_strategy,
        )

    def _pass_on(self, alert: Alert, data: Any, symbol: str, name: str, *, of_strategy: bool) -> None:
        capture = self._capture
        session = capture.join()
        strategy = capture.name if of_strategy else ", ".join(each.name for each in session.captures)
        feeds = capture.strategy.datas
        if not symbol:  # the account's: live as soon as any feed is
            data = next((feed for feed in feeds if session.source(feed) is Source.LIVE), data)
        thread = f"watch:{strategy}:{name}"
        alert = capture.stamp(alert.replace(strategy=safe_text(strategy, 200), dedupe_key=thread), data)
        bar = "" if alert.bar_time is None else alert.bar_time.isoformat()
        key = f"{strategy}|{symbol}|{alert.kind}|{bar}|{name}"
        alert = alert.replace(
            symbol=symbol, thread=safe_text(thread, 500), dedupe_key=safe_text(key, 500) if bar else None
        )
        if capture.marks is not None:
            capture.marks.append((next((i for i, feed in enumerate(feeds) if feed is data), 0), "note"))
        capture.pass_on(alert)

    def _broken(self, watch: WatchLevel, name: str, exc: Exception, data: Any) -> None:
        """A watch cannot go on: say so once."""
        session = self._capture.join()
        what = redact(safe_text(exc)) or type(exc).__name__
        reason = what if isinstance(exc, UnknownName) else f"{type(exc).__name__}: {what}"
        if not session.optimising:
            frames = "" if isinstance(exc, UnknownName) else "\n" + redact("".join(traceback.format_exception(exc)))
            log.error("the watch `%s` is left out, the strategy goes on: %s%s", name, reason, frames.rstrip())
        known = KINDS["watch.broken"]
        if setting_of(known.name, session.events) is Setting.OFF:
            return
        with never_raises("a watch failed"):
            self._pass_on(
                Alert.make(
                    f"{reason.rstrip('.')}{'' if reason.endswith('?') else '.'}\nEverything else is watched as before.",
                    title=f"Not watched: {name}",
                    type=known.type,
                    kind=known.name,
                    priority=known.priority,
                    data={"watch": watch.watch, "reason": reason},
                ),
                data,
                "",
                name,
                of_strategy=True,
            )


def _of_a_line(watch: WatchLevel, strategy: Any) -> bool:
    """Whether a condition names a line of the feed that it is of, such as ``close``."""
    aliases = strategy.datas[0].getlinealiases()
    return any(name in aliases and name not in strategy.__dict__ for name in watch.parsed.names)


def _level(watch: WatchLevel) -> Level:
    if watch.watch == "indicator":
        condition = watch.parsed
        strict = condition.operator not in (">=", "<=")
        at = condition.level
        if at is None:
            return Level(0.0, 0.0, condition.rising, strict)
        return Level(at, watch.over_at, condition.rising, strict)
    return Level(watch.level, watch.over_at, watch.key != "below")
