"""``AsyncNotificationManager``: the face of an ``AlertManager`` for programs that run on asyncio.

Promises
--------
*The same engine.* A notification becomes an alert in the outbox, and is planned, sent, retried and counted there like
any other. Nothing is kept here but the ids of those that are not settled yet, because they are counted.

*The loop is never blocked.* Accepting appends a line to a journal, as it does on a strategy's thread. Whatever reads
the store, a file or the network does so on other threads.

*Accepted is accepted.* ``send_notification`` returns when the alert is kept; from then on neither a cancelled task
nor, with a store on disk, the end of the process loses it. What raises a
:class:`~bt_alerts.errors.NotificationError` without a ``report`` was not accepted at all.

*Back-pressure.* When ``max_queue_size`` alerts wait to be settled, sending raises; nothing is dropped.

It is for one event loop, and for any number of tasks in it.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from bt_alerts.aio.words import NotificationPriority, NotificationType, alert_of
from bt_alerts.alert import Alert, Priority
from bt_alerts.delivery.health import channel_health
from bt_alerts.delivery.report import ChannelResult, DeliveryReport, report_of
from bt_alerts.dispatchers.base import Dispatcher
from bt_alerts.errors import (
    InvalidNotificationError,
    NetworkError,
    NotificationError,
    QueueFullError,
    RateLimitError,
    StoreError,
)
from bt_alerts.manager import AlertManager
from bt_alerts.outbox.base import DeliveryState
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.redact import redact
from bt_alerts.rules.stage import Reason
from bt_alerts.settings.load import CONFIG_VARIABLE

log = logging.getLogger("bt_alerts.aio")

T = TypeVar("T")

PATIENCE = 0.05  # seconds that a status, which is not awaited, may wait for the store
LOOK = 1.0  # seconds for which one look waits for something to be settled
GATHER = 0.005  # seconds between two looks, in which more is settled
READERS = 4  # threads
MINUTE = 60.0  # seconds over which the rate is taken
LATEST = 1_000  # settled alerts over which the error rate is taken
CHUNK = 500  # ids in one question to the store

#: What the constructor's own arguments are unless they are given.
_DEFAULTS = {
    "max_queue_size": 1000,
    "batch_size": 10,
    "batch_timeout": 5.0,
    "max_retries": 3,
    "retry_delay": 1.0,
    "enable_batching": False,
}


class AsyncNotificationManager:
    """Sends notifications from a running event loop; ``async with`` starts and stops it.

    Args:
        max_queue_size: alerts that may wait to be settled; with more, sending raises.
        batch_size: with ``enable_batching``: so many alerts that are alike go as soon as they are together.
        batch_timeout: with ``enable_batching``: seconds that the first of them waits for others.
        max_retries: failed answers after which a delivery is given up.
        retry_delay: seconds before the first retry.
        enable_batching: alerts that are alike and come close together go in one message; never critical ones.
        config: path of a YAML file, a mapping, a settings object or a ``ConfigManager``, whose channels are there
            besides those of :meth:`add_handler`; None for the environment and ``$BT_ALERTS_CONFIG``. Its ``delivery:``
            counts for each argument above that has its default.
        store: path of the SQLite file, or ``"memory"``. Without it and without ``config`` nothing is written to a disk,
            so what is pending when the process ends is lost.
        clock: Unix seconds; for tests.
        overrides: other top-level settings.

    Raises:
        SettingsError: where the settings are wrong; every error at once.
        StoreError: where the store cannot be used.
    """

    def __init__(
        self,
        max_queue_size: int = 1000,
        batch_size: int = 10,
        batch_timeout: float = 5.0,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        *,
        enable_batching: bool = False,
        config: Any = None,
        store: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
        **overrides: Any,
    ) -> None:
        given = {
            "max_queue_size": max_queue_size,
            "batch_size": batch_size,
            "batch_timeout": batch_timeout,
            "max_retries": max_retries,
            "retry_delay": retry_delay,
            "enable_batching": enable_batching,
        }
        delivery = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
        delivery |= overrides.pop("delivery", None) or {}
        if delivery:
            overrides["delivery"] = delivery
        if store is not None:
            overrides["store"] = os.fspath(store)
        elif config is None and not os.environ.get(CONFIG_VARIABLE):
            overrides["store"] = "memory"
        #: The manager behind it. Its methods read the store and may wait: call them by ``asyncio.to_thread``.
        self.manager = AlertManager(config, clock=clock, **overrides)
        self._limit = self.manager.settings.delivery.max_queue_size
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Task[bool] | None = None
        self._closed = False
        self._started = clock()
        self._threads = concurrent.futures.ThreadPoolExecutor(READERS, "bt_alerts aio")
        self._lock = threading.Lock()  # for what follows; never held while anything waits
        #: Alerts that are not known to be settled, by id: whether accepting them is through.
        self._open: dict[str, bool] = {}
        #: When each of the latest alerts was settled, and whether anything of it failed.
        self._settled: collections.deque[tuple[float, bool]] = collections.deque()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._reads: dict[str, concurrent.futures.Future[Any]] = {}
        self._known: dict[str, Any] = {}
        self._bind(None)

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._one_look = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self._accepting: set[asyncio.Future[None]] = set()
        with self._lock:
            self._waiting.clear()

    # Channels ----------------------------------------------------------------------------------------

    def add_handler(self, dispatcher: Dispatcher, *, name: str | None = None, fallback: str = "") -> str:
        """Deliver through one more channel from now on.

        Args:
            dispatcher: such as a ``TelegramHandler`` or any other dispatcher.
            name: of the channel; the dispatcher's type unless given, the second of a type gets ``-2`` behind it.
            fallback: the channel that takes over critical and high alerts that this one cannot deliver.

        Returns:
            The channel's name.

        Raises:
            ValueError: where the name is taken, or the dispatcher lacks what it needs to send.
            TypeError: where it is no dispatcher.
        """
        if not isinstance(dispatcher, Dispatcher):
            raise TypeError(f"add_handler takes a dispatcher such as TelegramHandler(...), not {type(dispatcher)!r}")
        if lacking := dispatcher.missing():
            raise ValueError(lacking)
        if name is None:
            names = [dispatcher.type, *(f"{dispatcher.type}-{n}" for n in range(2, len(self.manager.channels) + 3))]
            name = next(each for each in names if each not in self.manager.channels)
        limited = self.manager.settings.delivery.enable_rate_limiting
        rate = float(getattr(dispatcher, "rate_limit", dispatcher.rate)) if limited else 0.0
        self.manager.add_channel(name, dispatcher, rate=rate, fallback=fallback)
        return name

    # Life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to deliver, also what an earlier process left in the store. May be called again.

        Raises:
            NotificationError: where it was stopped, or runs in another event loop.
        """
        loop = _running_loop()
        if self._closed:
            raise NotificationError(_STOPPED)
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise NotificationError(_OTHER_LOOP)
            self._bind(loop)
        await self._in_thread(self.manager.start)

    async def stop(self, timeout: float | None = None) -> bool:
        """Take nothing more, deliver what is pending, and end. May be called again.

        Args:
            timeout: seconds to wait for deliveries; ``delivery.flush_timeout`` where it is left out.

        Returns:
            Whether nothing is left pending. What is left in a store on disk is delivered at the next start.
        """
        loop = _running_loop()
        if self._loop is not loop and self._loop is not None and not self._loop.is_closed():
            raise NotificationError(_OTHER_LOOP)
        if self._stopping is None:
            if self._loop is not loop:
                self._bind(loop)
            self._closed = True
            self._stopping = loop.create_task(self._stop(timeout))
        elif self._stopping.get_loop() is not loop:
            return self._stopping.done() and not self._stopping.cancelled() and self._stopping.result()
        return await asyncio.shield(self._stopping)  # whoever waits may be cancelled: it goes on

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _stop(self, timeout: float | None) -> bool:
        if self._accepting:  # their callers were told nothing yet, or were cancelled: both count on it
            await asyncio.wait(self._accepting)
        # On the loop's own threads: asyncio.run() waits for those, even where this task is cancelled.
        delivered = await asyncio.to_thread(self._close, timeout)
        self._answer_waiting(None)
        return delivered

    def _close(self, timeout: float | None) -> bool:
        seconds = self.manager.settings.delivery.flush_timeout if timeout is None else timeout
        delivered = self.manager.flush(seconds)
        for name, read in (("queue", self._look), ("channels", self.manager.get_channel_health)):
            try:
                self._known[name] = read()
            except StoreError as exc:
                log.info("%s", exc)
        self._reads.clear()
        self.manager.close(timeout=0)
        self._threads.shutdown(wait=False)
        if self._open and self.manager.outbox.journals is None:
            log.error(
                "%d notifications were not delivered within %g s and are lost, because the store is in memory: give "
                'store="notifications.db" to have them delivered at the next start',
                len(self._open),
                seconds,
            )
        return delivered

    # Sending -----------------------------------------------------------------------------------------

    async def send_notification(
        self,
        channel: str | None = None,
        message: object = None,
        priority: NotificationPriority | Priority | str = NotificationPriority.NORMAL,
        attachments: Iterable[Any] | str | os.PathLike[str] | None = None,
        *,
        notification_type: NotificationType | str = NotificationType.INFO,
        title: str | None = None,
        data: Mapping[str, Any] | None = None,
        source: str | None = None,
        channels: Iterable[str] | None = None,
        symbol: str | None = None,
        wait: float | None = None,
    ) -> DeliveryReport:
        """Send a notification.

        Args:
            channel: the name or type of a channel; with neither this nor ``channels``, it goes to all.
            message: the text.
            priority: low, normal (which is medium), high, urgent (which is critical) …
            attachments: paths of files.
            notification_type: what it is about.
            title: one line.
            data: plain details.
            source: who says it, such as the name of a strategy.
            channels: names or types of channels.
            symbol: what it is about, such as ``"AAPL"``.
            wait: seconds to wait for the delivery; without it, this returns once the notification is accepted.

        Returns:
            Without ``wait`` a report of state ``"accepted"``, with the ``alert_id`` to ask by later (``"waiting"``
            where the disk takes nothing just now, and it is kept in memory until it does). With ``wait``, what became
            of it by then; what is still pending is tried on, so it must not be sent again.

        Raises:
            InvalidNotificationError: where it cannot be sent as it is written; it is a ``ValueError`` too.
            QueueFullError: where ``max_queue_size`` alerts wait already.
            RateLimitError: with ``wait``: given up, because the service took too few messages.
            NetworkError: with ``wait``: given up, because the service could not be reached, or failed.
            NotificationError: with ``wait``: refused for another reason, or held until the channel is mended; without:
                this manager does not run. The three above are such too.
        """
        given = {
            "channel": channel,
            "message": message,
            "priority": priority,
            "attachments": attachments,
            "notification_type": notification_type,
            "title": title,
            "data": data,
            "source": source,
            "channels": channels,
            "symbol": symbol,
        }
        self._check()
        (report,) = await self._accept([await self._read(given)])
        if wait is None:
            return report
        (report,) = await self._after(wait, [report])
        if failure := _failure(report):
            raise failure
        return report

    async def send_batch_notification(
        self, notifications: Iterable[Mapping[str, Any]], *, wait: float | None = None
    ) -> list[DeliveryReport]:
        """Send several notifications: all are accepted, or none.

        Args:
            notifications: mappings of :meth:`send_notification`'s arguments, ``wait`` excepted.
            wait: seconds to wait for all of the deliveries.

        Returns:
            A report for each, in order, as of :meth:`send_notification`. One that failed raises nothing here.

        Raises:
            InvalidNotificationError: where one of them cannot be sent as it is written; the text says which.
            QueueFullError: where there is no room for all of them.
            NotificationError: where this manager does not run.
        """
        self._check()
        alerts = []
        for number, given in enumerate(notifications, start=1):
            try:
                alerts.append(await self._read(given))
            except InvalidNotificationError as exc:
                raise InvalidNotificationError(f"notification {number} of the batch: {exc}") from None
        reports = await self._accept(alerts)
        return reports if wait is None else await self._after(wait, reports)

    async def _read(self, given: Mapping[str, Any]) -> Alert:
        if not isinstance(given, Mapping):
            raise InvalidNotificationError(f"it must be a mapping of its arguments, not a {type(given).__name__}")
        types = {name: channel.dispatcher.type for name, channel in list(self.manager.channels.items())}
        if not types and self.manager.mode != "record":
            raise InvalidNotificationError("there is no channel to send it through: add_handler(...) one first")
        read = functools.partial(alert_of, given, types, self._clock())
        return await self._in_thread(read) if given.get("attachments") else read()

    async def _accept(self, alerts: Sequence[Alert]) -> list[DeliveryReport]:
        """Accept all or none."""
        await self._make_room(len(alerts))
        self._check()  # time has passed
        # No await from the count of the room to here, so nobody else has taken it.
        outside = [alert for alert in alerts if not self.manager.gated(alert)]
        with self._lock:
            self._open.update((alert.id, False) for alert in outside)
        reports = {alert.id: DeliveryReport(alert.id, "accepted", "", ()) for alert in alerts}
        emit = functools.partial(self._emit, outside, reports)
        if any(alert.attachments for alert in outside) or self.manager.settings.delivery.durability == "fsync":
            emitting = _running_loop().run_in_executor(self._threads, emit)
            self._accepting.add(emitting)
            emitting.add_done_callback(self._accepting.discard)
            await asyncio.shield(emitting)  # a cancelled caller cannot take back what may be written already
        else:
            emit()
        return list(reports.values())

    def _emit(self, alerts: Iterable[Alert], reports: dict[str, DeliveryReport]) -> None:
        for alert in alerts:
            log.debug("accepting %s for %s", alert.id, ", ".join(alert.channels) or "all channels")
            if not self.manager.emit(alert):
                reports[alert.id] = DeliveryReport(alert.id, "waiting", "", ())
            with self._lock:
                self._open[alert.id] = True

    async def _make_room(self, wanted: int) -> None:
        if wanted > self._limit:
            raise QueueFullError(
                f"{wanted} notifications are more than max_queue_size={self._limit}: send them in several batches"
            )
        if len(self._open) + wanted <= self._limit:
            return
        async with self._one_look:  # the store is asked once for all that wait here
            if len(self._open) + wanted > self._limit:
                await self._in_thread(self._look)
        if len(self._open) + wanted > self._limit:
            raise QueueFullError(
                f"nothing was accepted, because {len(self._open)} notifications wait to be delivered already and "
                f"max_queue_size is {self._limit}: wait and send it again; get_channel_statistics() tells what is "
                "slow"
            )

    # Waiting -----------------------------------------------------------------------------------------

    async def _after(self, wait: float, reports: Sequence[DeliveryReport]) -> list[DeliveryReport]:
        """What became of alerts by the time that they are settled, or after ``wait`` seconds."""
        futures = {report.alert_id: _running_loop().create_future() for report in reports}
        with self._lock:
            self._waiting.update(futures)
        if self._watcher is None or self._watcher.done():
            self._watcher = _running_loop().create_task(self._watch())
        try:
            if futures:
                await asyncio.wait(futures.values(), timeout=wait)
        finally:
            with self._lock:
                for id_ in futures:
                    self._waiting.pop(id_, None)
        return await self._in_thread(lambda: list(map(self._report, reports)))

    def _report(self, known: DeliveryReport) -> DeliveryReport:
        """What the store says of an alert now; that it waits where the store does not have it, or cannot be read."""
        try:
            found = report_of(self.manager.outbox, known.alert_id, attempts=True)
        except StoreError as exc:
            log.info("%s", exc)
            found = None
        return found or dataclasses.replace(known, state="waiting")

    async def _watch(self) -> None:
        """One for all that wait, so that however many do, one thread does."""
        while self._waiting and not self.manager.closed:
            try:
                self._answer_waiting(await self._in_thread(self._next_settled))
            except Exception as exc:
                log.debug("what is waited for cannot be looked up: %s", redact(exc))
                await asyncio.sleep(LOOK)
            await asyncio.sleep(GATHER)

    def _next_settled(self) -> set[str]:
        found: set[str] = set()

        def any_settled() -> bool:
            with self._lock:
                ids = list(self._waiting)
            found.update(self._settled_of(ids))
            return bool(found) or not ids

        self.manager.wait_until(any_settled, LOOK)
        return found

    def _answer_waiting(self, ids: Collection[str] | None) -> None:
        """These are settled; None for all, because nothing will be any more."""
        with self._lock:
            futures = [self._waiting.pop(id_, None) for id_ in (list(self._waiting) if ids is None else ids)]
        for future in futures:
            if future is not None and not future.done():
                future.set_result(None)

    # Questions ---------------------------------------------------------------------------------------

    def get_queue_status(self) -> dict[str, Any]:
        """``queue_size``, ``max_queue_size``, ``processing_rate`` and ``error_rate`` of what this manager accepted.

        The size counts what is accepted and not settled; the rate what was settled a second, over the last minute; the
        errors are in percent, of the latest 1,000 settled. Where the store does not answer within 50 ms, it is what is
        known so far.
        """
        self._fresh("queue", self._look)
        with self._lock:
            now = self._clock()
            recent = sum(settled > now - MINUTE for settled, _ in self._settled)
            latest = [failed for _, failed in list(self._settled)[-LATEST:]]
        return {
            "queue_size": len(self._open),
            "max_queue_size": self._limit,
            "processing_rate": recent / max(1.0, min(MINUTE, now - self._started)),
            "error_rate": 100.0 * sum(latest) / len(latest) if latest else 0.0,
        }

    def get_channel_statistics(self) -> dict[str, dict[str, Any]]:
        """``{channel: {sent, failed, success_rate (percent), queue, last_error, latency_p50 (seconds) …}}``.

        As :meth:`bt_alerts.AlertManager.get_channel_health`: of everything in the store. Where that does not answer
        within 50 ms, it is what was known before, and at first nothing but zeros.
        """
        known = dict(self._fresh("channels", self.manager.get_channel_health) or {})
        if unknown := [name for name in list(self.manager.channels) if name not in known]:
            known |= channel_health(MemoryOutbox(), unknown, self._clock())
        return known

    def _fresh(self, name: str, read: Callable[[], Any]) -> Any:
        """What ``read`` finds, or where the store is slow what it found before."""
        running = self._reads.get(name)
        if running is None and not self._closed:
            running = self._reads[name] = self._threads.submit(read)
            concurrent.futures.wait([running], PATIENCE)
        if running is not None and running.done():
            self._reads.pop(name, None)
            if running.exception() is None:
                self._known[name] = running.result()
            else:
                log.debug("%s: what was known before is shown: %s", name, redact(running.exception()))
        return self._known.get(name)

    def _look(self) -> None:
        """Ask the store which of the open alerts are settled."""
        with self._lock:
            ids = [id_ for id_, accepted in self._open.items() if accepted]
        try:
            drained = self.manager.drained()  # before the question: what is missing then will not come any more
            settled = self._settled_of(ids)
            gone = set(ids) - settled.keys() - self._in_store(ids) if drained else set()
        except StoreError as exc:
            log.debug("what waits cannot be counted: %s", redact(exc))
            return
        with self._lock:
            # Another look may have found the same in the meantime.
            news = [what for id_, what in settled.items() if self._open.pop(id_, None)]
            for id_ in gone:
                self._open.pop(id_, None)
            self._settled.extend(sorted(news))
            outdated = self._clock() - MINUTE
            while len(self._settled) > LATEST and self._settled[0][0] < outdated:
                self._settled.popleft()

    def _settled_of(self, ids: Sequence[str]) -> dict[str, tuple[float, bool]]:
        """When each of these alerts was settled, and whether anything of it failed; others are left out."""
        return {id_: (when, bool(failed)) for id_, when, failed in self._rows(_SETTLED, ids)}

    def _in_store(self, ids: Sequence[str]) -> set[str]:
        return {row[0] for row in self._rows(_THERE, ids)}

    def _rows(self, sql: str, ids: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        for begin in range(0, len(ids), CHUNK):
            part = ids[begin : begin + CHUNK]
            yield from self.manager.outbox.rows(sql.format(ids=",".join("?" * len(part))), part)

    def enable_debug_mode(self) -> None:
        """Log everything that bt_alerts does, to the program's own log handlers, or else to standard error."""
        logger = logging.getLogger("bt_alerts")
        logger.setLevel(logging.DEBUG)
        if not logger.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logger.addHandler(handler)
        log.debug("%r", self)

    # Pieces ------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise where it does not run here."""
        loop = _running_loop()
        if self._closed:
            raise NotificationError(_STOPPED)
        if self._loop is None:
            raise NotificationError(_NOT_STARTED)
        if self._loop is not loop:
            raise NotificationError(_OTHER_LOOP)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await _running_loop().run_in_executor(self._threads, call)
        except RuntimeError as exc:
            if "shutdown" not in str(exc):
                raise
            return await asyncio.to_thread(call)  # it was stopped meanwhile, and somebody still asks

    def __repr__(self) -> str:
        state = "stopped" if self._closed else "not started" if self._loop is None else "running"
        names = ", ".join(self.manager.channels) or "no channels"
        return f"<AsyncNotificationManager {state}: {names}; {len(self._open)} of {self._limit} waiting>"


async def initialize_notification_manager(
    *, handlers: Iterable[Dispatcher] = (), **arguments: Any
) -> AsyncNotificationManager:
    """Make and start an :class:`AsyncNotificationManager`; await its ``stop()`` at the end.

    Args:
        handlers: dispatchers to add.
        arguments: those of :class:`AsyncNotificationManager`.

    Raises:
        ValueError: where settings or a handler cannot be used.
        StoreError: where the store cannot be used.
    """
    manager = AsyncNotificationManager(**arguments)
    try:
        for handler in handlers:
            manager.add_handler(handler)
        await manager.start()
    except BaseException:
        await manager.stop(timeout=0)
        raise
    return manager


def _failure(report: DeliveryReport) -> NotificationError | None:
    """What to raise for an alert of which something will not arrive as things are."""
    if report.reason == Reason.NO_CHANNEL:
        return NotificationError("it was sent nowhere, because its channel is gone", report)
    failed = [result for result in report.results if result.state in _FAILED_STATES]
    if not failed:
        return None
    words = {result.trail[-1].outcome if result.trail else result.outcome for result in failed}
    kind = RateLimitError if words == {"retry-after"} else NetworkError if words <= _PASSING else NotificationError
    said = "; ".join(f"{result.channel}: {_why(result)}" for result in failed)
    held = any(result.state == DeliveryState.HELD for result in failed)
    return kind(redact(f"not delivered: {said}.{_HELD if held else ''}"), report)


def _why(result: ChannelResult) -> str:
    """Why it was given up, and what the service last answered where that is something else."""
    told, answer = result.detail or result.state, result.trail[-1].detail if result.trail else ""
    return told if not answer or answer in told else f"{told} ({answer})"


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NotificationError(
            "no asyncio event loop is running here: await it in a coroutine, and run that with asyncio.run(...)"
        ) from None


_STOPPED = "this AsyncNotificationManager was stopped and takes nothing more: make a new one"
_NOT_STARTED = "this AsyncNotificationManager was not started: await its start() first, or use `async with`"
_OTHER_LOOP = "this AsyncNotificationManager runs in another event loop: make one for each loop"

_HELD = " It is held, and goes when the channel is mended."
_FAILED_STATES = frozenset({DeliveryState.DEAD, DeliveryState.EXPIRED, DeliveryState.HELD})
#: How attempts end that another time may have been luckier.
_PASSING = frozenset({"retry", "retry-after", "unknown-outcome", "circuit-open", "expired"})

_SETTLED = """
SELECT a.id, coalesce(max(d.settled), max(a.stored)),
       sum(CASE WHEN d.state IN ('dead', 'expired', 'held') THEN 1 ELSE 0 END)
FROM alerts a LEFT JOIN deliveries d ON d.alert = a.seq
WHERE a.id IN ({ids}) AND a.state <> 'waiting'
GROUP BY a.id
HAVING sum(CASE WHEN d.state = 'pending' THEN 1 ELSE 0 END) = 0
"""

_THERE = "SELECT id FROM alerts WHERE id IN ({ids})"
