"""Who is measured, each in a process of its own: ``python peers.py ROLE '{"option": …}'``.

A process is asked by lines of JSON and answers by lines of JSON, so that no two of them share an interpreter, and the
one that measures never disturbs. Every sender takes the same alerts, one call each, and tells how long each call took;
what it has not sent by then it sends in its own way. It is set as its documentation says for this use; where a setting
is in doubt, as it does best. :class:`kit.Child` starts one and asks it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sqlite3
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absent import Unavailable

if TYPE_CHECKING:
    from bt_alerts.alert import Alert

PATIENCE = 120.0  # seconds that anybody may take to finish


# ---------------------------------------------------------------------------------------- what is sent


def some_alerts(count: int, first: int = 0) -> list[Alert]:
    """Alerts as the hooks make them, numbered so that the service knows them apart."""
    from bt_alerts.alert import Alert, AlertType, Source

    return [
        Alert.make(
            f"Bought 10 at 150.50, worth 1,505\nPosition: long 10 at 150.50 (bench-{number})",
            title="BUY AAPL filled",
            type=AlertType.ORDER,
            kind="order.completed",
            symbol="AAPL",
            strategy="SmaCross",
            run="benchmark",
            source=Source.LIVE,
            data={"order": number, "side": "buy", "size": 10, "price": 150.5, "commission": 1.5},
        )
        for number in range(first, first + count)
    ]


def body_of(alert: Alert) -> bytes:
    """What a peer that renders nothing itself posts; of the size that our webhook's body has."""
    return json.dumps(
        {"type": f"alert.{alert.kind}", "timestamp": alert.time.isoformat(), "data": alert.to_dict()}
    ).encode()


# --------------------------------------------------------------------------------------------- senders


class Sender:
    """Takes alerts and sends them to ``url``. The options are those of :class:`Ours`; others ignore what they lack."""

    def __init__(self, url: str = "", store: str = "", **options: Any) -> None:
        self.url, self.store, self.options = url, store, options
        self.accepted = 0
        self.done = 0
        self.open()

    def open(self) -> None: ...

    def accept(self, alert: Alert) -> object:
        """One call, as a strategy would make it."""
        raise NotImplementedError

    def finish(self, timeout: float) -> bool:
        """Wait until everything accepted is sent."""
        deadline = time.monotonic() + timeout
        while self.done < self.accepted and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.done >= self.accepted

    def close(self) -> None: ...

    # What it is asked --------------------------------------------------------------------------------

    def do_accept(self, count: int, first: int = 0, pause: float = 0.0) -> dict[str, Any]:
        """Seconds of each call; ``pause`` seconds between two, as bars come."""
        took, taken = [], 0
        for alert in some_alerts(count, first):
            began = time.perf_counter()
            said = self.accept(alert)
            took.append(time.perf_counter() - began)
            taken += said is not False
            if pause:
                time.sleep(pause)
        self.accepted += count
        return {"took": took, "taken": taken}

    def do_send(self, count: int, first: int = 0) -> dict[str, Any]:
        """Seconds from the first call until everything is sent."""
        alerts = some_alerts(count, first)
        self.accepted += count
        began = time.monotonic()
        for alert in alerts:
            self.accept(alert)
        finished = self.finish(PATIENCE)
        return {"seconds": time.monotonic() - began, "began": began, "finished": finished}

    def do_finish(self, timeout: float = PATIENCE) -> dict[str, Any]:
        return {"finished": self.finish(timeout)}

    def do_cpu(self) -> dict[str, Any]:
        return {"seconds": time.process_time()}


class Ours(Sender):
    """bt_alerts. Options: ``worker`` (of ``delivery:``), ``channels`` (urls by name), ``begin`` (start at once)."""

    def open(self) -> None:
        from bt_alerts import AlertManager

        urls = self.options.get("channels") or ({"phone": self.url} if self.url else {})
        worker = self.options.get("worker", "thread")
        settings = {
            "store": self.store,
            "alerts": {name: {"type": "webhook", "urls": [url]} for name, url in urls.items()},
            "delivery": {"enable_rate_limiting": False, "worker": worker},
        }
        self.began = time.monotonic()
        try:
            self.manager = AlertManager(settings)
            if self.options.get("begin", True):
                self.manager.start()
        except (ValueError, NotImplementedError, ImportError, AttributeError) as exc:
            if worker == "thread":
                raise
            raise Unavailable(f"worker: {worker} cannot be used yet ({str(exc).splitlines()[0]})") from None
        if worker != "thread" and any("courier" in thread.name for thread in threading.enumerate()):
            self.manager.close(0)
            raise Unavailable(f"worker: {worker} is not built yet: a thread of the strategy's process delivers")
        self.accept = self.manager.emit  # type: ignore[method-assign]

    def finish(self, timeout: float) -> bool:
        return self.manager.flush(timeout)

    def close(self) -> None:
        self.manager.close(1.0)

    def do_ledger(self) -> dict[str, Any]:
        ledger = self.manager.ledger()
        return {"accepted": ledger.accepted, "waiting": ledger.waiting, "deliveries": dict(ledger.deliveries)}

    def do_one(self, first: int) -> dict[str, Any]:
        """One alert to every channel: seconds until all have it, and those of the slowest request."""
        (alert,) = some_alerts(1, first)
        began = time.time()
        self.manager.emit(alert)
        self.manager.flush(PATIENCE)
        rows = self.manager.outbox.rows(
            "SELECT d.settled, t.started, t.took FROM alerts a JOIN deliveries d ON d.alert = a.seq "
            "JOIN attempts t ON t.delivery = d.seq WHERE a.id = ? AND d.state = 'delivered'",
            (alert.id,),
        )
        found = list(rows)
        return {
            "delivered": len(found),
            "total": max((row[0] for row in found), default=float("nan")) - began,
            "slowest": max((row[2] for row in found), default=float("nan")),
        }

    def do_began(self) -> dict[str, Any]:
        return {"began": self.began}


class BareSession(Sender):
    """The least that sending costs: ``requests.Session().post`` in a loop; nothing is kept, nothing is tried again."""

    def open(self) -> None:
        import requests

        self.session = requests.Session()

    def accept(self, alert: Alert) -> object:
        answer = self.session.post(
            self.url, data=body_of(alert), headers={"Content-Type": "application/json"}, timeout=30
        )
        answer.raise_for_status()
        answer.json()
        self.done += 1
        return True


class InMemoryQueue(Sender):
    """The standard library's QueueHandler and QueueListener around such a session."""

    def open(self) -> None:
        import logging.handlers

        import requests

        session, sender = requests.Session(), self

        class Post(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                with contextlib.suppress(requests.RequestException):
                    alert: Alert = record.__dict__["alert"]
                    session.post(
                        sender.url, data=body_of(alert), headers={"Content-Type": "application/json"}, timeout=30
                    ).raise_for_status()
                sender.done += 1

        lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.logger = logging.Logger("bench")
        self.logger.addHandler(logging.handlers.QueueHandler(lines))
        self.listener = logging.handlers.QueueListener(lines, Post())
        if self.url:
            self.listener.start()

    def accept(self, alert: Alert) -> object:
        self.logger.error("%s\n%s", alert.title, alert.message, extra={"alert": alert})
        return True


class Apprise(Sender):
    """Apprise's ``notify()`` to a JSON address. Option: ``retry`` (``?retry=`` of its address)."""

    def open(self) -> None:
        try:
            import apprise
        except ImportError:
            raise Unavailable('Apprise is not installed: pip install "bt-alerts[bench]"') from None
        self.service = apprise.Apprise()
        for url in (self.options.get("channels") or {"phone": self.url}).values():
            if url:
                self.service.add(url.replace("http://", "json://") + (self.options.get("more") or ""))

    def accept(self, alert: Alert) -> object:
        self.done += 1
        return bool(self.service.notify(title=alert.title, body=alert.message))

    def do_one(self, first: int) -> dict[str, Any]:
        (alert,) = some_alerts(1, first)
        began = time.perf_counter()
        said = self.accept(alert)
        return {"delivered": int(bool(said)), "total": time.perf_counter() - began}


class AlgoTradeKit(Sender):
    """AlgoTradeKit's WebhookNotifier: a queue in memory and a thread of its own. It paces itself, ten a second."""

    def open(self) -> None:
        try:
            from AlgoTradeKit.notify import WebhookNotifier
        except ImportError:
            raise Unavailable('AlgoTradeKit is not installed: pip install "bt-alerts[bench]"') from None
        url = self.url or "http://127.0.0.1:9/"  # nobody listens there: then the call is measured, not the delivery
        self.notifier = WebhookNotifier({"bench": url}, timeout=self.options.get("timeout", 5))

    def accept(self, alert: Alert) -> object:
        return bool(self.notifier.send_text(f"{alert.title}\n{alert.message}", wait=False))

    def finish(self, timeout: float) -> bool:
        """It does not tell; the service does."""
        prefix = self.url.split("/", 3)[3]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.url.removesuffix(prefix)}arrivals/{prefix}") as answer:
                if len({number for _, number in json.load(answer)}) >= self.accepted:
                    return True
            time.sleep(0.02)
        return False

    def close(self) -> None:
        self.notifier.close(timeout=0.1)


class Huey(Sender):
    """SqliteHuey with a task that posts by ``requests.Session`` and is tried again; one worker thread, here."""

    def open(self) -> None:
        try:
            import huey
        except ImportError:
            raise Unavailable('huey is not installed: pip install "bt-alerts[bench]"') from None
        import requests

        session = requests.Session()
        app = huey.SqliteHuey("bench", filename=self.store, results=False, fsync=False)  # as durable as ours

        @app.task(retries=1000, retry_delay=1)
        def post(url: str, body: bytes) -> None:
            session.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=30).raise_for_status()
            self.done += 1

        self.post = post
        self.consumer = None
        if self.url:
            # Its own default waits 0.1 s and more for a task; this is as quick as it can be set.
            self.consumer = app.create_consumer(
                workers=1, periodic=False, initial_delay=0.001, max_delay=0.001, check_worker_health=False
            )
            self.consumer.start()

    def accept(self, alert: Alert) -> object:
        self.post(self.url, body_of(alert))
        return True

    def close(self) -> None:
        if self.consumer is not None:
            self.consumer.stop(graceful=False)


class BareSqlite(Sender):
    """The least that keeping costs: an insert and a commit of the alert's JSON (WAL, synchronous NORMAL)."""

    def open(self) -> None:
        self.db = sqlite3.connect(self.store, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS alerts (seq INTEGER PRIMARY KEY, body TEXT)")

    def accept(self, alert: Alert) -> object:
        body = alert.to_json()
        self.db.execute("BEGIN")
        self.db.execute("INSERT INTO alerts (body) VALUES (?)", (body,))
        self.db.execute("COMMIT")
        return True


# ------------------------------------------------------------------------------------------ others


class Settler:
    """Somebody else who works in the same store: claims and settles so many deliveries a second.

    Option: ``store``, ``count`` (deliveries to have).
    """

    def __init__(self, store: str, count: int) -> None:
        from bt_alerts.delivery.channel import Channel
        from bt_alerts.dispatchers.webhook import WebhookDispatcher
        from bt_alerts.outbox.base import AlertState
        from bt_alerts.outbox.sqlite import SqliteOutbox

        self.outbox = SqliteOutbox(store)
        channel = Channel("elsewhere", WebhookDispatcher("http://127.0.0.1:9/elsewhere"))
        alerts = some_alerts(count, 1_000_000)
        for start in range(0, count, 200):
            with self.outbox.transaction() as tx:
                for alert in alerts[start : start + 200]:
                    seq = tx.add_alert(alert, AlertState.PLANNED)
                    assert seq is not None
                    now = time.time()
                    tx.add_deliveries(seq, channel.deliveries(alert, now=now, time_to_live=86_400.0), now)

    def do_settle(self, rate: float) -> dict[str, Any]:
        """Settle until the next line comes."""
        from bt_alerts.outbox.base import DeliveryState, Settlement
        from bt_alerts.rules.breaker import CLOSED

        settled, began = 0, time.monotonic()
        while asked.empty():
            claim = self.outbox.claim("elsewhere", "bench", time.time(), 60.0, 0.0)
            assert claim is not None, "there were too few deliveries to settle"
            done = Settlement(DeliveryState.DELIVERED, "sent", answered=True, breaker=CLOSED)
            settled += self.outbox.settle(claim, done, "bench", time.time(), time.time())
            time.sleep(max(0.0, began + settled / rate - time.monotonic()))
        return {"settled": settled, "seconds": time.monotonic() - began}

    def do_stop(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.outbox.close()


class Locker:
    """Somebody else who holds the database locked. Option: ``store``."""

    def __init__(self, store: str) -> None:
        self.db = sqlite3.connect(store, isolation_level=None, timeout=30)

    def do_lock(self) -> dict[str, Any]:
        self.db.execute("BEGIN IMMEDIATE")
        return {}

    def do_unlock(self) -> dict[str, Any]:
        self.db.execute("COMMIT")
        return {}

    def close(self) -> None:
        self.db.close()


class Exporter:
    """Exports a store. Options: ``store``, ``file``."""

    def __init__(self, store: str, file: str) -> None:
        self.store, self.file = store, file

    def do_export(self) -> dict[str, Any]:
        from bt_alerts.outbox import history
        from bt_alerts.outbox.sqlite import SqliteOutbox

        began = time.monotonic()
        outbox = SqliteOutbox(self.store)
        history.export(outbox, history.Query(), self.file)
        outbox.close()
        return {"seconds": time.monotonic() - began, "mb": most_memory(), "bytes": os.path.getsize(self.file)}

    def close(self) -> None: ...


def most_memory() -> float:
    """The most that this process ever had in memory, in MB (10⁶ bytes)."""
    with contextlib.suppress(OSError):  # what getrusage tells on Linux is never less than the parent had
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6


ROLES: dict[str, Callable[..., Any]] = {
    "bt_alerts": Ours,
    "requests.Session": BareSession,
    "QueueHandler": InMemoryQueue,
    "Apprise": Apprise,
    "AlgoTradeKit": AlgoTradeKit,
    "huey": Huey,
    "sqlite3": BareSqlite,
    "settler": Settler,
    "locker": Locker,
    "exporter": Exporter,
}

#: Lines of whoever asks, as they come; None at their end.
asked: queue.Queue[str | None] = queue.Queue()


def listen() -> None:
    for line in sys.stdin:
        asked.put(line)
    asked.put(None)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print is not for whoever asks
    logging.lastResort = None  # a service that is down is said thousands of times

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        role = ROLES[sys.argv[1]](**json.loads(sys.argv[2]))
    except Unavailable as exc:
        answer({"unavailable": str(exc)})
        return
    answer({"pid": os.getpid()})
    threading.Thread(target=listen, daemon=True).start()
    while (line := asked.get()) is not None:
        wanted = json.loads(line)
        answer(getattr(role, f"do_{wanted.pop('do')}")(**wanted))
    role.close()
    os._exit(0)  # some of them would wait for what can never be sent


if __name__ == "__main__":
    main()
