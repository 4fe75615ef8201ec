"""``AlertManager``: the one object a user holds.

It accepts alerts (:meth:`AlertManager.emit` is all that runs on a strategy's thread), starts the engine that plans and
delivers them when the first is accepted, and answers questions about what became of them. A backtest never starts the
engine: it only records.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime as dt
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from bt_alerts import compose
from bt_alerts.alert import Alert, AlertType, Attachment, Priority, Source, as_utc, safe_text, unix
from bt_alerts.delivery import own_alerts
from bt_alerts.delivery.health import channel_health
from bt_alerts.delivery.intake import Intake
from bt_alerts.delivery.report import ChannelTest, DeliveryReport, TargetTest, report_of
from bt_alerts.delivery.statistics import recent_deliveries, statistics
from bt_alerts.errors import StoreError
from bt_alerts.kinds import Setting
from bt_alerts.outbox import history
from bt_alerts.outbox.base import GRACE, AlertState, DeliveryState, Ledger, Outbox
from bt_alerts.outbox.entries import Acknowledged, Muted, Remembered, Retried, Snoozed
from bt_alerts.outbox.history import Query
from bt_alerts.outbox.journal import CHILD, OWN, SHARED, WORKER, AnyJournal, Journal
from bt_alerts.redact import redact
from bt_alerts.render.figures import Health, Statistics
from bt_alerts.rules.stage import Reason

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.delivery.channel import Channel
    from bt_alerts.delivery.engine import AnyEngine
    from bt_alerts.delivery.handover import Handover
    from bt_alerts.delivery.planner import Planner
    from bt_alerts.delivery.worker import Duty, Presence, WorkerRounds
    from bt_alerts.dispatchers.base import Dispatcher
    from bt_alerts.outbox.bell import Bell
    from bt_alerts.render.drawer import Drawer
    from bt_alerts.rules.pipeline import RuleSettings
    from bt_alerts.settings import Settings
    from bt_alerts.simulate import Outage, Simulation

log = logging.getLogger("bt_alerts")

#: What of the settings says who hears what and when; it can change while the program runs.
RULES = ("routes", "rules", "quiet_hours", "digests", "escalation")
CHART_BARS = 60  # that the picture of an alert shows
RECALL_SECONDS = 5.0  # how long a background thread waits for the planner to have read everything
RUNS_NOT_LOOKED_AT = 8  # backtests whose Cerebro is kept alive for somebody to look at their alerts


class AlertSource(Protocol):
    """A backtest that keeps snapshots: a session of the hooks."""

    @property
    def ended(self) -> bool:
        """The run is over: nothing more will come."""

    def collect(self) -> list[Alert]:
        """The alerts that were not made yet."""


class AlertManager:
    """Accepts, keeps and delivers alerts.

    Args:
        config: path of a YAML file, a mapping, a settings object or a ``ConfigManager``; None for the environment and
            ``$BT_ALERTS_CONFIG``. With no configuration at all nothing is sent and the store is in memory.
        clock: Unix seconds; for tests and replays.
        overrides: top-level settings: ``store=``, ``mode=``, ``alerts=``, ``events=``, ``delivery=`` …

    Raises:
        SettingsError: where the settings are wrong; every error at once.
        StoreError: where the store cannot be used.
    """

    def __init__(self, config: Any = None, *, clock: Callable[[], float] = time.time, **overrides: Any) -> None:
        from bt_alerts.settings import load

        settings = load(config, overrides=overrides)
        self._open(settings, _open_store(settings), clock)

    @classmethod
    def for_run(cls, config: Any = None, **overrides: Any) -> AlertManager:
        """As the constructor, but a store that cannot be used does not stop a strategy from starting.

        The alerts are then kept in memory and delivered from there, and every channel is told why.
        """
        from bt_alerts.settings import load

        clock = overrides.pop("clock", time.time)
        settings = load(config, overrides=overrides)
        manager = cls.__new__(cls)
        try:
            manager._open(settings, _open_store(settings), clock)
        except StoreError as exc:
            log.error("%s. Until then alerts are kept in memory only", exc)
            from bt_alerts.outbox.memory import MemoryOutbox

            manager._open(settings, MemoryOutbox(), clock)
            manager._intake.trouble = str(exc)
        return manager

    @classmethod
    def for_worker(
        cls,
        settings: Settings,
        duty: Duty | None = None,
        *,
        concurrency: int | None = None,
        delivers: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> AlertManager:
        """A manager that delivers in this process whatever ``delivery.worker`` says: in a worker, or for one command.

        Args:
            settings: of what it delivers.
            duty: whose alerts besides its own; None for nobody's.
            concurrency: in place of ``delivery.concurrency``.
            delivers: False only plans: whoever else is there delivers, or the next one.
            clock: Unix seconds.

        Raises:
            StoreError: where the store cannot be used.
        """
        manager = cls.__new__(cls)
        manager._open(settings, _open_store(settings), clock, _Here(duty, concurrency, delivers))
        return manager

    def _open(self, settings: Settings, outbox: Outbox, clock: Callable[[], float], here: _Here | None = None) -> None:
        from bt_alerts.delivery.reload import Reloader, listen_to_sighup

        self.settings = settings
        self._here = here
        self._rounds: WorkerRounds | None = None
        #: Who delivers: ``thread``, ``process`` or ``external``. Where nothing is sent, nobody else is needed for it.
        local = here is not None or outbox.journals is None or settings.mode == "record"
        self.worker: str = "thread" if local else settings.delivery.worker
        self.clock = clock
        self.mode: str = settings.mode
        self.events: Mapping[str, Setting] = dict(settings.events)
        self._channels: dict[str, Channel] = _channels(settings)
        self._intake = Intake(
            outbox,
            self._channels,
            self._make_engine,
            durable=settings.delivery.durability == "fsync",
            flavour=_flavour(self.worker, here, outbox),
            quiet=settings.mode == "record",
        )
        self._lock = threading.RLock()
        self._sources: list[AlertSource] = []
        self._kept: list[Alert] = []
        self._disabled_for: dict[str, str] = {}
        self._created: dict[str, Alert] = {}
        self._closers: list[Callable[[], None]] = []
        self._strategy: weakref.ref[Any] | None = _made_in()
        self._drawer: Drawer | None = None
        self._planner: Planner | None = None  # where this process plans
        self._presence: Presence | None = None  # where this process delivers
        self._reloader = Reloader(settings, self._take_settings, self._tell_broken_settings)
        listen_to_sighup()
        self.closed = False
        self._gave_up_at = -1  # how far the journal went when a flush gave up
        _living.add(self)
        if _captured is not None:
            _captured.append(self)

    # Accepting ---------------------------------------------------------------------------------------

    def emit(self, alert: Alert, *, due: float = 0.0) -> bool:
        """Accept an alert. All that runs on the strategy's thread: one line is appended to the journal.

        Args:
            alert: what happened.
            due: Unix seconds before which it is not delivered.

        Returns:
            True where it is kept such that it survives ``kill -9``; False where the disk takes nothing just now and it
            waits in memory. Never raises, never waits for a network or a database.
        """
        return self._intake.accept(alert, due)

    def _make_engine(self, journal: AnyJournal) -> AnyEngine:
        if self.worker != "thread" and isinstance(journal, Journal):
            return self._hand_over(journal)
        from bt_alerts.delivery.courier import Courier
        from bt_alerts.delivery.engine import Engine
        from bt_alerts.delivery.planner import Planner
        from bt_alerts.delivery.pollers import Pollers
        from bt_alerts.delivery.retention import Retention
        from bt_alerts.delivery.worker import Presence, WorkerRounds
        from bt_alerts.rules.outcome import RetrySettings

        outbox, delivery, keep = self.outbox, self.settings.delivery, self.settings.history.keep
        retry = RetrySettings(delivery.max_retries, delivery.retry_delay, delivery.retry_backoff)
        planner = self._planner = Planner(
            outbox,
            self._rules,
            self._channels,
            time_to_live=delivery.time_to_live,
            clock=self.clock,
        )

        here = self._here
        served = self._channels if here is None or here.delivers else {}
        about = {"channels": list(served)}
        rounds: Presence | None = None
        if here is not None and here.duty is not None:
            rounds = self._rounds = WorkerRounds(outbox, planner, journal.owner, here.duty, about, clock=self.clock)
        elif isinstance(journal, Journal):
            rounds = Presence(outbox, journal.owner, "strategy", about, clock=self.clock)

        self._presence = rounds
        pollers: Pollers | None = None
        if self.mode != "record" and (here is None or here.duty is not None):  # not for one command
            pollers = Pollers(
                outbox,
                self._channels,
                self._intake.ask,
                owner=journal.owner,
                history=self.mode == "send",
                draw=self._drawn_for,
                clock=self.clock,
            )

        def courier(channel: Channel) -> Courier:
            return Courier(
                outbox,
                channel,
                self._channels,
                owner=journal.owner,
                retry=retry,
                time_to_live=delivery.time_to_live,
                fail_fast=delivery.fail_fast,
                on_disabled=self._on_disabled,
                on_lost=self._on_lost,
                drawer=self._drawer_for(channel),
                clock=self.clock,
            )

        return Engine(
            outbox,
            journal,
            planner,
            served,
            courier,
            parallel=delivery.parallel,
            concurrency=delivery.concurrency if here is None or here.concurrency is None else here.concurrency,
            on_store_trouble=self._intake.in_trouble,
            catch_up=self._intake.catch_up,
            tidy=self._expire_unserved,
            look=self._reloader.look if self.settings.files else None,
            rounds=rounds,
            bell=self._bell(),
            retention=None if keep is None else Retention(outbox, keep, clock=self.clock),
            pollers=pollers,
            clock=self.clock,
        )

    def _bell(self) -> Bell | None:
        """What others ring who want something delivered: a worker's, or that of a file that the shell answers in too.

        On a server a strategy listens to nobody: that would cost a connection for each. It looks by itself instead.
        """
        if self._rounds is not None:
            return self._rounds.bell
        return self.outbox.bell() if self._here is None and self.outbox.local else None

    @property
    def _rules(self) -> RuleSettings:
        """What the rules need of the settings; mode and events may have been changed since."""
        return dataclasses.replace(self.settings.rule_settings(), mode=self.mode, events=self.events)

    def _hand_over(self, journal: Journal) -> Handover:
        """What stands in the engine's place where a worker elsewhere delivers."""
        from bt_alerts.delivery.engine import Engine
        from bt_alerts.delivery.handover import Handover, Keeper, WorkerWatch
        from bt_alerts.delivery.keeper import ChildKeeper, Orders
        from bt_alerts.delivery.planner import Planner
        from bt_alerts.delivery.worker import Presence

        outbox, intake = self.outbox, self._intake
        feeder: Engine | None = None
        keeper: Keeper
        if self.worker == "process":
            orders = Orders(self.settings, journal.owner)
            keeper = ChildKeeper(orders, self._on_worker_died, self._on_worker_recovered)
        else:
            keeper = WorkerWatch(
                outbox,
                lambda: isinstance(intake.engine, Handover) and intake.engine.behind(),
                self._on_worker_died,
                self._on_worker_recovered,
                clock=self.clock,
            )
            if not outbox.local:
                feeder = Engine(
                    outbox,
                    journal,
                    Planner(outbox, self._rules, {}, decides=False),
                    {},
                    lambda channel: None,  # type: ignore[arg-type, return-value]  # there is no channel to make one for
                    on_store_trouble=intake.in_trouble,
                    catch_up=intake.catch_up,
                    rounds=Presence(outbox, journal.owner, "strategy", clock=self.clock),
                    ring=outbox.bell().ring,
                    clock=self.clock,
                )
        return Handover(
            outbox, journal, self._channels, keeper, feeder=feeder, catch_up=intake.catch_up, clock=self.clock
        )

    def _on_worker_died(self, reason: str, through_store: bool) -> None:
        tell: Callable[[Alert], object] = self.emit if through_store else self._intake.tell_past_store
        tell(own_alerts.worker_died(reason))

    def _on_worker_recovered(self) -> None:
        self.emit(own_alerts.worker_recovered())

    @property
    def chart_bars(self) -> int:
        """How many bars a live alert brings along for its picture; 0 where no channel shows charts."""
        shown = self.mode != "record" and any(channel.shows_charts for channel in list(self._channels.values()))
        return CHART_BARS if shown else 0

    def _drawer_for(self, channel: Channel) -> Drawer | None:
        if not (channel.dispatcher.takes_pictures or channel.dispatcher.takes_files):
            return None
        from bt_alerts.render.drawer import Drawer

        with self._lock:
            if self._drawer is None:
                self._drawer = Drawer(self.outbox.attachments)
            return self._drawer

    def _drawn_for(self, channel: Channel, alert: Alert) -> Attachment | None:
        drawer, look = self._drawer_for(channel), channel.dispatcher.look
        if drawer is None:
            return None
        return drawer.draw(alert, dark=channel.charts == "dark", zone=look.zone, privacy=look.privacy)

    def _on_disabled(self, channel: Channel, reason: str, label: str) -> None:
        """A channel, or one address of it, does not work any more: say so on the others."""
        what = f"{channel.name} {label}".rstrip()
        if self._disabled_for.get(what) == reason:
            return
        self._disabled_for[what] = reason
        told = own_alerts.disabled_of(channel.name, label, list(self._channels), reason, now=self.clock())
        log.error("%s: %s", told.title, reason)
        self.emit(told)

    def _on_lost(self, channel: Channel, alert: Alert, reason: str, expired: bool) -> None:
        self._tell_lost(channel.name, alert, reason, expired)

    def _expire_unserved(self) -> None:
        """What waits for a channel that was taken out of the settings must not wait for ever, and not end unseen."""
        now = self.clock()
        alive = [each for each in self.outbox.processes() if each.ended is None and now - each.seen < GRACE]
        served = {*self._channels, *(name for each in alive for name in each.about.get("channels", ()))}
        for channel, alert in self.outbox.expire(served, now):
            log.error("channel %s is not configured here, and %r was not delivered in its time", channel, alert.title)
            self._tell_lost(channel, alert, "Its time to live ended, and nobody delivers for this channel.", True)

    def _tell_lost(self, channel: str, alert: Alert, reason: str, expired: bool) -> None:
        """Say on the other channels that an alert is lost."""
        told = own_alerts.loss_of(alert, channel, list(self._channels), reason, expired=expired, now=self.clock())
        if told is not None:
            self.emit(told)

    def _works_again(self, channel: str) -> None:
        for what in [what for what in self._disabled_for if what.split(" ")[0] == channel]:
            del self._disabled_for[what]

    # Settings that change ----------------------------------------------------------------------------

    def reload(self) -> Settings:
        """Read the files that the settings came from again; channels, rules, templates and privacy are those of now on.

        It happens by itself when a file changes. Store, mode, events, delivery and watch stay until the next start.

        Raises:
            SettingsError: where they cannot be used; everything is left as it was.
        """
        return self._reloader.reload()

    def _take_settings(self, new: Settings) -> None:
        old = self.settings
        same_look = (new.templates, new.privacy) == (old.templates, old.privacy)
        changed = [name for name, given in new.channels.items() if not same_look or old.channels.get(name) != given]
        gone = [name for name in old.channels if name not in new.channels]
        as_before = new.model_copy(update={"delivery": old.delivery})
        made = _channels(as_before, changed)  # before anything is changed: it can raise
        self.settings = old.model_copy(
            update={name: getattr(new, name) for name in ("alerts", "templates", "privacy", *RULES)}
        )
        if self._planner is not None:
            self._planner.change(self._rules)
        for name in gone:
            self._channels.pop(name, None)
        for name, channel in made.items():
            self._channels[name] = channel
            self._works_again(name)
            if self._intake.engine is not None:
                self._intake.engine.change_channel(name)
        if self._presence is not None:
            self._presence.serve(self._channels)
        other = [name for name in RULES if getattr(new, name) != getattr(old, name)]
        if made or gone or other:
            words = "; ".join(
                [f"channel {name} changed" for name in made]
                + [f"channel {name} ended" for name in gone]
                + [f"{name} changed" for name in other]
            )
            log.info("settings were read again: %s", words)
            self.emit(own_alerts.of_settings("settings.changed", "Settings were read again", words))

    def _tell_broken_settings(self, reason: str) -> None:
        text = f"{reason}\nThe settings from before stay in use."
        self.emit(own_alerts.of_settings("settings.broken", "The changed settings cannot be used", text))

    # Backtests ---------------------------------------------------------------------------------------

    def add_source(self, source: AlertSource) -> None:
        """Something keeps snapshots of a backtest, and makes alerts of them when somebody looks."""
        if source not in self._sources:
            self._sources.append(source)

    def keep(self, alert: Alert) -> None:
        """Keep an alert of a backtest until the run ends or somebody looks."""
        self._kept.append(alert)

    def look(self) -> None:
        """Somebody looks: turn what backtests kept into alerts, and store them in bulk."""
        with self._lock:
            alerts, self._kept = self._kept, []
            for source in self._sources:
                alerts += source.collect()
            self._sources = [source for source in self._sources if not source.ended]
            if alerts:
                try:
                    self.outbox.record(alerts, Reason.HISTORY)
                except StoreError:
                    self._kept = alerts  # still there for the next look
                    raise

    def run_ended(self) -> None:
        """A backtest ended. A store on disk gets its alerts now; one in memory when somebody looks."""
        if self.outbox.journals is not None or self._kept or len(self._sources) > RUNS_NOT_LOOKED_AT:
            try:
                self.look()
            except StoreError as exc:
                log.error("%s. The alerts of this run are still in memory", exc)

    # The promised calls ------------------------------------------------------------------------------

    def send_alert(
        self, action: str, symbol: str, price: float, size: float | None = None, *, wait: float | None = None
    ) -> bool:
        """A trade: shows the value (price × size).

        Args:
            action: ``"BUY"``, ``"SELL"`` …
            symbol: what was traded.
            price: per unit.
            size: units.
            wait: seconds to wait for the delivery.

        Returns:
            Whether it was accepted; with ``wait``, whether it arrived everywhere.
        """
        return self._send(compose.trade_call(action, symbol, price, size), wait)

    def send_strategy_signal(
        self,
        strategy: str,
        signal: str,
        symbol: str,
        conditions: Sequence[str] | Mapping[str, Any] | None = None,
        *,
        wait: float | None = None,
    ) -> bool:
        """What a strategy saw, and why. Returns as :meth:`send_alert`."""
        return self._send(compose.signal(strategy, signal, symbol, conditions), wait)

    def send_error_alert(
        self,
        error_type: str,
        message: str,
        context: Mapping[str, Any] | str | None = None,
        *,
        wait: float | None = None,
    ) -> bool:
        """An error; high priority. Returns as :meth:`send_alert`."""
        return self._send(compose.error(error_type, message, context), wait)

    def send_market_update(
        self,
        symbol: str,
        price: float,
        change: float,
        change_percent: float | None = None,
        volume: float | None = None,
        *,
        wait: float | None = None,
    ) -> bool:
        """A price change; low priority; the percentage is computed where it is not given. Returns as ``send_alert``."""
        return self._send(compose.market_update(symbol, price, change, change_percent, volume), wait)

    def send_custom_alert(
        self, message: str, title: str = "Trading Alert", *, wait: float | None = None, **fields: Any
    ) -> bool:
        """Any text. ``fields`` are those of :meth:`bt_alerts.Alert.make`. Returns as :meth:`send_alert`."""
        if not fields:
            return self._send(compose.custom(message, title), wait)
        return self._send(Alert.make(message, title=title, kind="direct.custom", **fields), wait)

    def _send(self, alert: Alert, wait: float | None) -> bool:
        kept = self._inside_a_strategy(alert)
        if kept is not None:
            return True
        accepted = self.emit(alert)
        if wait is None:
            return accepted
        report = self._ended(alert.id, wait)
        return report is not None and bool(report.results) and report.success

    def _ended(self, alert_id: str, timeout: float) -> DeliveryReport | None:
        """Wait until nothing of this alert is pending, whatever else waits; its report then, or after ``timeout``."""

        def done() -> bool:
            report = report_of(self.outbox, alert_id)
            if report is None or report.state == AlertState.WAITING:
                return False
            return all(result.state != DeliveryState.PENDING for result in report.results)

        engine = self._intake.engine
        if engine is not None and not self.closed:
            engine.wait_until(done, timeout)
        try:
            return report_of(self.outbox, alert_id, attempts=True)
        except StoreError:
            return None

    def gated(self, alert: Alert) -> bool:
        """Treat an alert like those of the hooks where a strategy's method is calling; elsewhere False, and nothing."""
        return self._inside_a_strategy(alert) is not None

    def _inside_a_strategy(self, alert: Alert) -> Alert | None:
        """Called from a strategy's method, an alert is gated like those of the hooks: a backtest sends nothing."""
        strategy = _strategy_here()
        if strategy is None and self._strategy is not None:  # "or" would ask a strategy for its truth, which is a line
            strategy = self._strategy()
        if strategy is None:
            return None
        from bt_alerts.hooks.capture import capture_of
        from bt_alerts.hooks.guard import never_raises
        from bt_alerts.hooks.session import session_of

        capture = capture_of(strategy)
        if capture.stopped:
            return None
        with never_raises("a manager was called inside a strategy"):
            session_of(strategy.cerebro, self)
            keep = self.emit if self.mode == "send" else self.keep
            return capture.say(alert, deliver=self.emit, keep=keep) or alert
        return alert

    def create_alert(  # noqa: PLR0917 - promised names
        self,
        alert_type: AlertType | str = AlertType.CUSTOM,
        priority: Priority | str = Priority.MEDIUM,
        title: str = "",
        message: str = "",
        channels: Sequence[Any] = (),
        symbol: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> Alert:
        """Make an alert and keep it until :meth:`trigger_alert`. No channels means all.

        Raises:
            ValueError: where type or priority is no known word.
        """
        alert = Alert.make(
            message,
            title=title,
            type=alert_type,
            kind=f"created.{AlertType(alert_type).value}",
            priority=priority,
            channels=[str(getattr(channel, "value", channel)) for channel in channels],
            symbol=symbol,
            data=data,
        )
        self._created[alert.id] = alert
        return alert

    def trigger_alert(self, alert_id: str | Alert) -> bool:
        """Send an alert made by :meth:`create_alert`; True where it was accepted.

        Raises:
            KeyError: where there is no such alert.
        """
        key = alert_id.id if isinstance(alert_id, Alert) else alert_id
        if key not in self._created:
            raise KeyError(f"there is no alert {key!r}: create_alert() returns the alert, use its .id")
        # It happens now: counted from when it was made, it would be late, or past its time to live.
        return self._send(self._created.pop(key).replace(time=as_utc(self.clock())), None)

    def send_notification(self, alert: Alert, *, timeout: float = 30.0) -> DeliveryReport:
        """Send an alert and wait until it is delivered, or ``timeout`` seconds. Inside a strategy it does not wait.

        What did not arrive by then is tried on, so it must not be sent again.
        """
        kept = self._inside_a_strategy(alert)
        if kept is not None:
            return DeliveryReport(kept.id, "recorded" if kept.source is Source.HISTORY else "accepted", "", ())
        self.emit(alert)
        return self._ended(alert.id, timeout) or DeliveryReport(alert.id, "waiting", "", ())

    def schedule_alert(self, alert: Alert, at: dt.datetime | float | str) -> bool:
        """Send an alert at a time: aware, naive UTC, Unix seconds, or ISO 8601 text."""
        when = as_utc(at)
        assert when is not None
        return self.emit(alert, due=when.timestamp())

    def acknowledge(self, alert_id: str) -> bool:
        """Somebody has seen it: what is still pending of it is cancelled."""
        return self._intake.ask(Acknowledged(alert_id))

    def snooze(self, alert_id: str, until: dt.datetime | float | str) -> bool:
        """Tell it again at a time."""
        return self._intake.ask(Snoozed(alert_id, unix(until)))

    def retry_dead(self, numbers: Collection[int] | None = None) -> bool:
        """Deliver after all what was given up or came too late.

        Args:
            numbers: of the dead letters, as ``bt-alerts dead list`` shows them; all where it is left out. A number that
                names none is passed over.
        """
        return self._intake.ask(Retried(None if numbers is None else tuple(numbers)))

    def mute(
        self,
        *,
        until: dt.datetime | float | str,
        symbol: str = "",
        strategy: str = "",
        type: AlertType | str = "",
        channel: str = "",
    ) -> bool:
        """Quiet until a time, for what matches everything that is given; a time in the past ends a mute.

        Raises:
            ValueError: where nothing is named: muting everything is ``mode: record``.
        """
        word = AlertType(type).value if type else ""
        chosen = {"symbol": symbol, "strategy": strategy, "type": word, "channel": channel}
        selector = {name: value for name, value in chosen.items() if value}
        if not selector:
            raise ValueError(
                "name a symbol, strategy, type or channel to mute; to send nothing at all use mode='record'"
            )
        return self._intake.ask(Muted(selector, unix(until)))

    # Channels ----------------------------------------------------------------------------------------

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The enabled channels by name."""
        return self._channels

    def add_channel(self, name: str, dispatcher: Dispatcher, *, rate: float | None = None, fallback: str = "") -> None:
        """Deliver through one more channel from now on.

        Raises:
            ValueError: where the name is taken, or where another process delivers (``delivery.worker``).
        """
        from bt_alerts.delivery.channel import Channel
        from bt_alerts.rules.batching import BatchSettings

        if name in self._channels:
            raise ValueError(f"there is a channel {name!r} already: give the new one another name")
        if self.worker != "thread":
            raise ValueError(
                f"the channel {name!r} cannot be added while the program runs, because another process delivers: "
                f"configure it under `alerts:`, or write `delivery: {{worker: thread}}` in place of {self.worker}"
            )
        delivery = self.settings.delivery
        self._channels[name] = Channel(
            name,
            dispatcher,
            dispatcher.rate if rate is None else rate,
            fallback,
            fingerprint=",".join(target.key for target in dispatcher.targets()),
            batches=BatchSettings(delivery.enable_batching, delivery.batch_size, delivery.batch_timeout),
        )
        if self._intake.engine is not None:
            self._intake.engine.add_channel(name)

    def test_channel(self, name: Any) -> ChannelTest:
        """Send a test alert through one channel now, past the store, and say what the service answered."""
        from bt_alerts.dispatchers.base import Context, DeliveryFailed, Receipt, delivery_key

        name = str(getattr(name, "value", name))
        channel = self._channels.get(name)
        if channel is None:
            known = ", ".join(self._channels) or "none"
            return ChannelTest(name, (), f"there is no enabled channel {name!r}; enabled are: {known}")
        missing = channel.dispatcher.missing()
        if missing:
            return ChannelTest(name, (), missing)
        alert = Alert.make(
            "If you can read this, alerts from your strategies will arrive here.",
            title="Test alert of bt_alerts",
            type=AlertType.HEALTH,
            kind="test",
            priority=channel.dispatcher.test_priority,
        )
        results = []
        for target in channel.dispatcher.targets():
            begun = time.perf_counter()
            try:
                receipt = channel.dispatcher.deliver(
                    alert, target, Context(key=delivery_key(alert.id, name, target.key))
                )
            except DeliveryFailed as failed:
                results.append(TargetTest(target.label, False, failed.reason, time.perf_counter() - begun))
            except Exception as exc:
                fault = f"the dispatcher failed: {type(exc).__name__}: {redact(safe_text(exc))}"
                results.append(TargetTest(target.label, False, fault, time.perf_counter() - begun))
            else:
                took = time.perf_counter() - begun
                told = receipt if isinstance(receipt, Receipt) else Receipt()
                results.append(TargetTest(target.label, True, told.note or "delivered", took, told.id))
        result = ChannelTest(name, results)
        if result.success:  # it works: what was held for it may go
            self._works_again(name)
            with contextlib.suppress(StoreError):
                self.outbox.enable_channel(name, "")
                self.outbox.enable_channel(name, channel.fingerprint)
            if self._intake.engine is not None:
                self._intake.engine.wake()
        return result

    test_notification_channel = test_channel

    def test_all_connections(self) -> dict[str, bool]:
        """Check every channel's credentials, without sending where the service allows."""
        return {name: _works(channel) for name, channel in list(self._channels.items())}

    def arm(self, alert_of: Callable[[Mapping[str, bool]], Alert]) -> None:
        """A strategy went live: check the channels in the background, then say so."""
        _, engine = self._intake.begin()

        def check_and_tell() -> None:
            self.emit(alert_of(self.test_all_connections()))

        engine.run_soon(check_and_tell)

    # What live runs see ------------------------------------------------------------------------------

    def remember(self, key: str, value: Any) -> bool:
        """Keep something for the next start of a live run to find: plain JSON; None forgets it. Never raises."""
        return self._intake.ask(Remembered(key, value))

    def recall(self, use: Callable[[Mapping[str, Any] | None], None]) -> None:
        """Hand over, on a thread of its own, all that was remembered; None where the store cannot be read."""
        _, engine = self._intake.begin()

        def read() -> None:
            found: dict[str, Any] | None = None
            if engine.drained(RECALL_SECONDS):  # a process that was killed left its last lines in its journal
                with contextlib.suppress(StoreError):
                    rows = self.outbox.rows("SELECT key, value FROM rule_state WHERE rule = ?", ("seen",))
                    found = {key: json.loads(value) for key, value in rows}
            use(found)

        engine.run_soon(read)

    def trouble(self) -> str:
        """Why alerts are not handled just now; "" where a line has just gone through journal and planner to the store.

        Takes up to :data:`RECALL_SECONDS`. The sentence has no details: it may be shown to others.
        """
        written = self._intake.ask(Remembered("heartbeat", self.clock()))
        engine = self._intake.engine
        if self._intake.trouble or not written:
            return "the store of alerts cannot be written"
        if engine is None or not engine.drained(RECALL_SECONDS):
            return "alerts are not planned: the planner does not answer, or the store is locked"
        return ""

    # Questions ---------------------------------------------------------------------------------------

    def history(
        self,
        *,
        type: AlertType | str | None = None,
        symbol: str | None = None,
        strategy: str | None = None,
        run: str | None = None,
        since: dt.datetime | float | str | None = None,
        until: dt.datetime | float | str | None = None,
        priority: Priority | str | None = None,
        limit: int | None = None,
        text: str = "",
        why: bool = False,
    ) -> pd.DataFrame:
        """The alerts as a DataFrame, oldest first; columns are the fields of :class:`~bt_alerts.Alert`.

        A progress bar shows where it takes longer than a second.

        Args:
            type: an alert type.
            symbol: a symbol.
            strategy: a strategy's name.
            run: a run's id, or ``"last"``.
            since: not before; a time, Unix seconds or ISO 8601 text; naive times are UTC.
            until: before.
            priority: at least this.
            limit: the newest so many.
            text: words that it has somewhere, in any order.
            why: with the columns ``state``, ``reason`` and ``rule``: what was decided about each, and by which rule.
        """
        from bt_alerts.render.progress import slow_progress

        query = Query(type, symbol, strategy, run, since, until, priority, limit, text)
        with slow_progress("reading the history") as progress:
            return history.frame(self._settled_outbox(), query, why=why, progress=progress)

    def alerts(self, query: Query | None = None) -> list[Alert]:
        """As :meth:`history`, as alerts."""
        return list(history.alerts(self._settled_outbox(), query or Query()))

    def export(
        self,
        path: str | Path,
        query: Query | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        why: bool = False,
    ) -> Path:
        """Write the history to a file; ``.json``, ``.jsonl``, ``.csv`` or ``.parquet`` name the format.

        A progress bar shows where it takes longer than a second. With ``why`` there are the columns ``state``,
        ``reason`` and ``rule`` too.

        Raises:
            ValueError: where the ending is none of these.
            OSError: where the file cannot be written.
        """
        from bt_alerts.render.progress import slow_progress

        outbox = self._settled_outbox()
        if progress is not None:
            return history.export(outbox, query or Query(), path, progress, why=why)
        with slow_progress(f"exporting to {Path(path).name}") as shown:
            return history.export(outbox, query or Query(), path, shown, why=why)

    def _settled_outbox(self) -> Outbox:
        """The store with everything in it that was accepted by now."""
        self._intake.after_fork()
        self.look()
        engine = self._intake.engine
        if engine is not None and not self.closed:
            engine.drained(5.0)
        return self.outbox

    @property
    def outbox(self) -> Outbox:
        """The store."""
        return self._intake.outbox

    def ledger(self) -> Ledger:
        """Both ledgers, counted from the rows themselves."""
        return self._settled_outbox().ledger()

    def suppressed(self, run: str) -> int:
        """How many alerts of a run a rule held back."""
        rows = self.outbox.rows("SELECT count(*) FROM alerts WHERE run = ? AND state = 'suppressed'", (run,))
        return int(next(rows)[0])

    def report(self, alert_id: str) -> DeliveryReport | None:
        """What became of an alert so far, with every attempt; None where there is no such alert, or not any more."""
        return report_of(self._settled_outbox(), alert_id, attempts=True)

    def get_channel_health(self) -> dict[str, dict[str, Any]]:
        """Health by channel: counts, success_rate (percent), last_error in words, breaker, queue, latencies (seconds).

        Every key is explained at :func:`bt_alerts.delivery.health.channel_health`.
        """
        rates = {name: channel.rate for name, channel in list(self._channels.items())}
        return Health(channel_health(self._settled_outbox(), rates, self.clock()))

    def get_statistics(self) -> dict[str, Any]:
        """Totals: alerts by type and priority, both ledgers, deliveries an hour, success rate in percent, latency.

        Every key is explained at :func:`bt_alerts.delivery.statistics.statistics`; ``in_memory`` and ``lost`` are of
        this process: alerts that wait in memory because the disk takes nothing, and those that there was no room for.
        """
        figures = statistics(self._settled_outbox(), self.clock())
        return Statistics({**figures, "in_memory": self._intake.in_memory, "lost": self._intake.lost})

    def get_recent_deliveries(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest deliveries, newest first."""
        return recent_deliveries(self._settled_outbox(), limit)

    def simulate(
        self,
        *,
        run: str | None = "last",
        config: Any = None,
        events: Mapping[str, str] | None = None,
        outages: Sequence[Outage] = (),
        latency: Mapping[str, float] | None = None,
        prices: Mapping[str, float] | None = None,
        limits: bool = True,
        acknowledges: Callable[[Alert], float | None] = lambda alert: None,
        close: str | None = None,
    ) -> Simulation:
        """Backtest the alerts: play a recorded run through rules and couriers, and see what the phone would have got.

        Watches need bars, which a recorded run has no more: their alerts are replayed as they were recorded.

        Args:
            run: a run's id; ``"last"`` for the newest; None for everything in the store.
            config: settings to try in place of the manager's own: a path, a mapping, or a settings object.
            events: the ``events:`` settings to try.
            outages: when which channel is away.
            latency: seconds from a request to the phone, by channel's name or type.
            prices: of a message (or segment of one), by channel's name or type.
            limits: whether services refuse what is more than they document.
            acknowledges: after how many seconds somebody acknowledges an alert; None where nobody does.
            close: when the market closes, such as ``16:00 America/New_York``: bars of a day are complete then.

        Raises:
            SettingsError: where ``config`` is wrong.
            ValueError: where there is no such run, a word in ``events`` is none, or a channel in ``outages``,
                ``latency`` or ``prices`` is not there.
        """
        from bt_alerts.render.progress import slow_progress
        from bt_alerts.settings import load
        from bt_alerts.settings.fields import by_word
        from bt_alerts.simulate import simulate

        settings = self.settings if config is None else load(config)
        chosen = self.events if config is None else settings.events
        if events is not None:
            chosen = {kind: by_word(list(Setting))(word) for kind, word in events.items()}
            for kind, word in chosen.items():
                if word not in list(Setting):
                    raise ValueError(f"events: {kind} is {word!r}: write one of {', '.join(Setting)}")
        settings = settings.model_copy(update={"events": dict(chosen)})
        own = {name: channel.dispatcher for name, channel in self._channels.items()} if config is None else None
        alerts = self.alerts(Query(run=run))
        if not alerts and run not in {None, "last"}:
            raise ValueError(
                f'there is no run {run!r} in the store: history()["run"] has the ids; "last" is the newest'
            )
        with slow_progress("simulating") as progress:
            return simulate(
                alerts,
                settings,
                dispatchers=own,
                outages=outages,
                latency=latency,
                prices=prices,
                limits=limits,
                acknowledges=acknowledges,
                close=close,
                progress=progress,
            )

    # Life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to deliver now, what an earlier process left among it; otherwise the first alert begins it."""
        self._intake.begin()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything accepted is planned and what is due is delivered.

        Args:
            timeout: seconds; ``delivery.flush_timeout`` where it is left out.

        Returns:
            Whether nothing is left pending. What is left is sent at the next start.
        """
        engine = self._intake.engine
        if engine is None or self._intake.forked:
            return True
        settled = engine.flush(self.settings.delivery.flush_timeout if timeout is None else timeout)
        if timeout is None:
            self._gave_up_at = -1 if settled else self._said
        return settled

    @property
    def _said(self) -> int:
        """How far the journal goes."""
        journal = self._intake.journal
        return 0 if journal is None else journal.end()

    def drained(self, timeout: float = 0.0) -> bool:
        """Wait until the store has everything that was accepted by now; False after ``timeout`` seconds."""
        engine = self._intake.engine
        return not self._intake.in_memory and (engine is None or engine.drained(timeout))

    def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for something that planning or delivering brings about; False after ``timeout`` seconds.

        ``done`` is called whenever something may have changed, and at least every quarter of a second.
        """
        engine = self._intake.engine
        return done() if engine is None or self.closed else engine.wait_until(done, timeout)

    @property
    def at_rest(self) -> bool:
        """The store has everything that was accepted here, and a worker has looked at everything that is its duty."""
        return self._intake.engine is not None and self._intake.engine.at_rest

    @property
    def leads(self) -> bool:
        """This is a worker, and of several the one that plans."""
        return self._rounds is not None and self._rounds.leads

    def orphaned(self) -> None:
        """In a child that delivers: its parent is gone."""
        if self._rounds is not None and self._intake.engine is not None:
            self._rounds.orphaned()
            self._intake.engine.wake()

    def left_to_do(self) -> int:
        """How many deliveries are pending on our channels, and one more where not everything is planned."""
        try:
            pending = self.outbox.pending(tuple(self._channels), self.clock())[0]
        except StoreError:
            return 1
        return pending if self.at_rest else pending + 1

    def on_close(self, call: Callable[[], None]) -> None:
        """Call something when the manager is closed."""
        self._closers.append(call)

    def close(self, timeout: float | None = None, *, flush: bool = True) -> None:
        """Store what is kept, deliver what is due within ``timeout`` seconds, end the threads. May be called again.

        Without ``flush`` nothing more is begun; what is under way has that long to end.
        """
        with self._lock:
            if self.closed or self._intake.forked:
                return
            self.closed = True
        for call in self._closers:
            with contextlib.suppress(Exception):
                call()
        self.run_ended()
        if timeout is None:  # the end of a run has waited that long already: nobody waits for the same again
            timeout = 0.0 if flush and self._said == self._gave_up_at else self.settings.delivery.flush_timeout
        self._intake.close(timeout, flush=flush)
        for channel in list(self._channels.values()):
            with contextlib.suppress(Exception):
                channel.dispatcher.close()
        if self._drawer is not None:
            with contextlib.suppress(Exception):
                self._drawer.close()
        if self.outbox.journals is not None:  # one in memory stays readable
            with contextlib.suppress(Exception):
                self.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(self._channels) or "no channels"
        return f"<AlertManager {self.outbox.name}: {names}; mode {self.mode}>"

    def _repr_html_(self) -> str:
        from bt_alerts.render.html import manager_card

        return manager_card(self)


# ------------------------------------------------------------------------------------ the default one

_default: AlertManager | None = None
_default_lock = threading.Lock()


def configure(config: Any = None, **overrides: Any) -> AlertManager:
    """Make the manager that this process uses by default, for scripts and for strategies without ``attach``.

    Takes what :class:`AlertManager` takes; an earlier default is closed.
    """
    global _default
    manager = AlertManager(config, **overrides)
    with _default_lock:
        before, _default = _default, manager
    if before is not None:
        before.close()
    return manager


def default_manager() -> AlertManager:
    """The manager of this process: made by :func:`configure`, or from the environment where nobody called it.

    Wrong settings do not stop a strategy: they are said in the log, and alerts are recorded in memory.
    """
    global _default  # noqa: PLW0603 - see configure
    with _default_lock:
        if _default is None or _default.closed:
            try:
                _default = AlertManager.for_run()
            except ValueError as exc:
                log.error("alerts are recorded in memory only, because the settings are wrong:\n%s", exc)
                _default = AlertManager({})
            _default._strategy = None  # made inside the first strategy that asks, but not for it alone
        return _default


#: While :func:`bt_alerts.testing.capture_alerts` is at work: the managers made since.
_captured: list[AlertManager] | None = None

#: Managers to flush when the process ends.
_living: weakref.WeakSet[AlertManager] = weakref.WeakSet()


def _new_locks() -> None:
    """In a forked child: whoever held a lock is not there to give it back."""
    global _default_lock  # noqa: PLW0603 - see above
    _default_lock = threading.Lock()
    for manager in list(_living):
        manager._lock = threading.RLock()
        manager._kept = []  # the parent's to store
        manager._intake.new_locks()
        manager._reloader.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_locks)


@atexit.register
def _close_all() -> None:
    for manager in list(_living):
        try:
            manager.close()
        except Exception:
            log.exception("a manager could not be closed")


# --------------------------------------------------------------------------------------------- pieces


class _Here(NamedTuple):
    """A manager that delivers in this process whatever settings say."""

    duty: Duty | None
    concurrency: int | None
    delivers: bool = True


def _flavour(worker: str, here: _Here | None, outbox: Outbox) -> str:
    """Who drains the journal of this process."""
    if here is not None and here.duty is not None:
        return WORKER
    if worker == "process":
        return CHILD
    return SHARED if worker == "external" and outbox.local else OWN


def _open_store(settings: Settings) -> Outbox:
    if _captured is not None:
        from bt_alerts.outbox.memory import MemoryOutbox

        return MemoryOutbox()
    from bt_alerts.settings.store import open_store

    return open_store(settings)


def _channels(settings: Settings, names: Iterable[str] | None = None) -> dict[str, Channel]:
    from bt_alerts.delivery.channel import Channel

    if _captured is not None:
        return {}
    limited = settings.delivery.enable_rate_limiting
    return {
        name: Channel(
            name=name,
            dispatcher=settings.dispatcher(name),
            rate=float(channel.rate_limit) if limited else 0.0,
            fallback=channel.fallback or "",
            fingerprint=settings.hash,
            charts="" if channel.charts == "off" else channel.charts,
            batches=channel.batches(settings.delivery),
        )
        for name, channel in settings.channels.items()
        if names is None or name in names
    }


def _works(channel: Channel) -> bool:
    try:
        return channel.dispatcher.test_connection()
    except Exception as exc:
        log.error("channel %s cannot be checked: %s: %s", channel.name, type(exc).__name__, redact(safe_text(exc)))
        return False


def _strategy_here() -> Any:
    """The Backtrader strategy in whose method we were called, if Backtrader is in use at all."""
    import sys

    if "backtrader" not in sys.modules and "backtrader_next" not in sys.modules:
        return None
    from bt_alerts.hooks.session import strategy_here

    return strategy_here()


def _made_in() -> weakref.ref[Any] | None:
    strategy = _strategy_here()
    return None if strategy is None else weakref.ref(strategy)
