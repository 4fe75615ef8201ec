"""``AlertHandler``: what a program logs becomes alerts; no loops, nothing from a backtest, nothing raised."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock as StillClock
from alerts_kit import rest, run_python, until, webhook
from hooks_kit import Clock, Told, delivered, engine, feed, live_feed, live_script

from bt_alerts import Alert, AlertHandler, AlertManager, Dispatcher, attach, configure
from bt_alerts import manager as managers
from bt_alerts.dispatchers.base import Context, Receipt, Target
from bt_alerts.redact import MASK, register_secret
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]


@pytest.fixture
def manage(tmp_path: Path, clock: StillClock) -> Iterator[Manage]:
    """Make a manager on the test's one store, with a channel for each address, and top-level settings."""
    made: list[AlertManager] = []

    def manage(*urls: str, **settings: Any) -> AlertManager:
        channels = {f"hook{number}": webhook(url) for number, url in enumerate(urls)}
        made.append(AlertManager({"alerts": channels}, store=str(tmp_path / "store.db"), clock=clock, **settings))
        return made[-1]

    yield manage
    for manager in made:
        manager.close(timeout=0)


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of a strategy, which nothing listens to yet."""
    logger = logging.getLogger("mine.strategy")
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def sent(service: FakeService) -> list[dict[str, Any]]:
    return [request.json()["data"] for request in service.requests]


def handled(handler: logging.Handler, message: object, *args: object) -> None:
    """An error, past the logger: pytest's own handler reads the text of what it gets."""
    handler.handle(logging.LogRecord("mine", logging.ERROR, __file__, 1, message, args, None))


def told(manager: AlertManager) -> list[Alert]:
    """Alerts of the log in the store, in order."""
    assert manager.drained(60)
    return [alert for alert in manager.alerts() if alert.kind.startswith("log.")]


# ------------------------------------------------------------------------------------------- what it makes


@pytest.mark.parametrize(
    ("level", "kind", "priority"),
    [
        (logging.CRITICAL, "log.critical", "critical"),
        (logging.ERROR, "log.error", "high"),
        (35, "log.warning", "medium"),
        (logging.WARNING, "log.warning", "medium"),
        (logging.INFO, "log.info", "low"),
        (logging.DEBUG, "log.info", "low"),
    ],
)
def test_a_record_reaches_the_service(  # noqa: PLR0917 - what pytest hands in
    manage: Manage, service: FakeService, log: logging.Logger, level: int, kind: str, priority: str
) -> None:
    manager = manage(service.url)
    log.addHandler(AlertHandler(manager, logging.DEBUG))
    log.log(level, "order %d refused\nbecause the market is closed", 7, extra={"symbol": "AAPL", "strategy": "Cross"})
    rest(manager)
    (data,) = sent(service)
    assert (data["kind"], data["priority"], data["type"]) == (kind, priority, "error")
    assert data["title"] == "mine.strategy: order 7 refused"
    assert data["message"] == "order 7 refused\nbecause the market is closed"
    assert (data["symbol"], data["strategy"]) == ("AAPL", "Cross")
    assert data["data"]["logger"] == "mine.strategy"
    assert data["data"]["place"].startswith("test_logging_bridge.py, line ")


def test_below_its_level_nothing_is_made(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    manager = manage(service.url)
    log.addHandler(AlertHandler(manager))
    log.warning("not this")
    log.error("this")
    assert [alert.message for alert in told(manager)] == ["this"]


def test_an_exception_is_told_with_where_it_happened_and_its_traceback(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    log.addHandler(AlertHandler(manager))
    try:
        {}["AAPL"]
    except KeyError:
        log.exception("no price")
    (alert,) = told(manager)
    lines = alert.message.splitlines()
    assert lines[:2] == ["no price", "KeyError: 'AAPL'"]
    assert lines[2].startswith("test_logging_bridge.py, line ")
    assert lines[2].endswith('{}["AAPL"]')
    assert alert.data["exception"] == "KeyError"
    assert alert.data["traceback"].startswith("Traceback (most recent call last):")
    assert alert.data["traceback"].rstrip().endswith("KeyError: 'AAPL'")


def test_a_formatter_makes_the_message(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    handler = AlertHandler(manager)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    log.addHandler(handler)
    log.error("no %s", "price")
    (alert,) = told(manager)
    assert (alert.title, alert.message) == ("mine.strategy: no price", "[ERROR] no price")


def test_a_feed_and_a_strategy_are_named_by_their_names(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    log.addHandler(AlertHandler(manager))
    log.error("odd", extra={"symbol": feed(name="MSFT"), "strategy": None})
    log.error("odder", extra={"symbol": None, "strategy": Clock()})
    assert [(alert.symbol, alert.strategy) for alert in told(manager)] == [("MSFT", ""), ("", "Clock")]


def test_secrets_are_in_no_part_of_it(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    secret = secrets.token_hex(12)
    register_secret(secret)
    manager = manage(service.url)
    log.addHandler(AlertHandler(manager))
    try:
        raise ConnectionError(f"https://example.org/{secret}")
    except ConnectionError:
        log.exception("no answer of %s", secret, extra={"symbol": secret}, stack_info=True)
    rest(manager)
    assert secret.encode() not in service.requests[0].body
    assert sent(service)[0]["title"] == f"mine.strategy: no answer of {MASK}"


def test_channels_and_events_are_respected(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    manager = manage(service.url, service.url + "/other", events={"log.critical": "off"})
    log.addHandler(AlertHandler(manager, channels="hook1"))
    log.critical("off")
    log.error("on")
    rest(manager)
    assert [(request.path, request.json()["data"]["message"]) for request in service.requests] == [("/other", "on")]
    assert len(told(manager)) == 1


def test_a_storm_of_one_record_is_gathered(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    manager = manage(service.url, delivery={"enable_batching": True})
    log.addHandler(AlertHandler(manager))
    for number in range(60):
        log.error("order %d refused", number)
    rest(manager)
    assert len(told(manager)) == 60
    assert 1 <= len(service.requests) < 10


# ----------------------------------------------------------------------------------------------- no loops


class Complaining(Dispatcher):
    """A user's own channel, that logs an error whenever it delivers."""

    type = "complaining"
    delivered = 0

    def targets(self) -> list[Target]:
        return [Target("one", "one")]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        Complaining.delivered += 1
        logging.getLogger("mine.strategy").error("the channel does not work: %s", alert.title)
        return Receipt()


def test_what_a_channel_logs_while_it_delivers_makes_no_alert(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    manager.add_channel("mine", Complaining())
    log.addHandler(AlertHandler(manager))
    log.error("once")
    rest(manager)
    assert Complaining.delivered == 1
    assert [alert.message for alert in told(manager)] == ["once"]


@pytest.mark.parametrize(
    "name", ["bt_alerts", "bt_alerts.courier", "urllib3.connectionpool", "requests", "noise.of.it"]
)
def test_what_these_log_is_passed_by(manage: Manage, name: str) -> None:
    manager = manage()
    handler = AlertHandler(manager, ignore=["noise"])
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        logger.error("not an alert")
    finally:
        logger.removeHandler(handler)
    assert told(manager) == []


def test_names_that_only_begin_alike_are_told(manage: Manage) -> None:
    manager = manage()
    handler = AlertHandler(manager)
    logger = logging.getLogger("requests_of_mine")
    logger.addHandler(handler)
    try:
        logger.error("an alert")
    finally:
        logger.removeHandler(handler)
    assert [alert.title for alert in told(manager)] == ["requests_of_mine: an alert"]


def test_at_the_root_with_every_level_a_failing_channel_makes_no_loop(manage: Manage, service: FakeService) -> None:
    service.answer(500)
    manager = manage(service.url, delivery={"max_retries": 0})
    root, handler = logging.getLogger(), AlertHandler(manager, logging.DEBUG)
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        logging.getLogger("mine").error("once")
        rest(manager)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert [alert.message for alert in told(manager)] == ["once"]


def test_what_is_logged_while_an_alert_is_made_makes_none(manage: Manage, log: logging.Logger) -> None:
    class Chatty:
        def __str__(self) -> str:
            log.error("somebody reads me")
            return "chatty"

    manager = manage()
    handler = AlertHandler(manager)
    log.addHandler(handler)
    handled(handler, "I am %s", Chatty())
    assert [alert.message for alert in told(manager)] == ["I am chatty"]


# --------------------------------------------------------------------------------------------- never raises


@pytest.mark.our_code_fails  # a formatter, which is the user's
def test_what_cannot_be_formatted_is_told_all_the_same(manage: Manage) -> None:
    class Unreadable:
        def __str__(self) -> str:
            raise ValueError("no")

        __repr__ = __str__

    manager = manage()
    handler = AlertHandler(manager)
    handled(handler, "%d orders", "three")
    handled(handler, Unreadable())
    handler.setFormatter(logging.Formatter("%(nothing)s"))
    handled(handler, "plain")
    messages = [alert.message for alert in told(manager)]
    assert messages[0] == "%d orders ('three',)"
    assert messages[1].startswith("<Unreadable that cannot be shown>")
    assert messages[2] == "plain"


@pytest.mark.our_code_fails
def test_a_manager_that_fails_stops_nobody(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.addHandler(AlertHandler(object()))  # type: ignore[arg-type]  # a slip of the user
    log.error("still going")
    assert "Traceback" not in capsys.readouterr().err


def test_a_closed_handler_takes_nothing_and_leaves_the_manager_alone(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    handler = AlertHandler(manager)
    log.addHandler(handler)
    handler.close()
    log.error("too late")
    assert told(manager) == []
    assert not manager.closed


def test_threads_lose_nothing(manage: Manage, log: logging.Logger) -> None:
    manager = manage()
    log.addHandler(AlertHandler(manager))
    threads = [
        threading.Thread(target=lambda n=n: [log.error("%d of thread %d", i, n) for i in range(50)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({alert.message for alert in told(manager)}) == 400


def test_threads_do_not_wait_for_each_other(manage: Manage) -> None:
    """One whose text takes for ever to be made holds no lock that another needs."""
    manager = manage()
    handler = AlertHandler(manager)
    begun, over = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            begun.set()
            over.wait(30)
            return "slow"

    slow = threading.Thread(target=lambda: handled(handler, "%s", Slow()))
    slow.start()
    assert begun.wait(10)
    handled(handler, "quick")
    assert [alert.message for alert in told(manager)] == ["quick"]
    over.set()
    slow.join()
    assert len(told(manager)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_tells_as_well(tmp_path: Path) -> None:
    with FakeService() as service:
        printed = run_python(
            """
            import logging, os, sys
            from bt_alerts import AlertHandler, AlertManager

            channel = {"type": "webhook", "urls": sys.argv[1], "rate_limit": 0}
            manager = AlertManager({"alerts": {"hook": channel}, "store": sys.argv[2]})
            log = logging.getLogger("mine")
            log.addHandler(AlertHandler(manager))
            log.error("the parent")
            manager.flush(20)
            child = os.fork()
            if child == 0:
                log.error("the child")
                os._exit(0 if manager.flush(20) else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            manager.close()
            """,
            service.url,
            tmp_path / "alerts.db",
        )
        assert printed.strip() == "0"
        assert sorted(data["message"] for data in sent(service)) == ["the child", "the parent"]


# --------------------------------------------------------------------------------------------- the gate


def logs(log: logging.Logger) -> dict[int, Callable[[Any], None]]:
    return {3: lambda strategy: log.error("bar %d", len(strategy))}


def test_a_backtest_records_and_sends_nothing(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    manager = manage(service.url)
    log.addHandler(AlertHandler(manager))
    cerebro = engine(feed(name="AAPL"), strategy=Told, steps=logs(log))
    cerebro.run()
    rest(manager)
    assert service.requests == []
    (alert,) = told(manager)
    assert (alert.source.value, alert.symbol, alert.strategy) == ("history", "AAPL", "Told")
    assert alert.bar_time is not None


@pytest.mark.parametrize("attached", [True, False])
def test_what_a_feed_logs_in_a_backtest_is_not_sent(
    manage: Manage, service: FakeService, log: logging.Logger, attached: bool
) -> None:
    manager = manage(service.url)
    log.addHandler(AlertHandler(manager))
    cerebro = engine(feed(name="AAPL"))
    start = cerebro.datas[0].start

    def complain() -> None:
        log.error("the file is old")
        start()

    cerebro.datas[0].start = complain
    if attached:
        attach(cerebro, manager.settings, store="memory")
    cerebro.run()
    manager.run_ended()
    rest(manager)
    assert service.requests == []
    assert [(alert.message, alert.source.value) for alert in told(manager)] == [("the file is old", "history")]


def test_a_live_run_sends_what_is_logged_on_a_live_bar(service: FakeService, log: logging.Logger) -> None:
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 3), name="AAPL"), strategy=Told, steps={5: logs(log)[3]})
    with attach(cerebro, {"alerts": {"hook": webhook(service.url)}, "store": "memory"}, clock=clock) as manager:
        log.addHandler(AlertHandler(manager))
        cerebro.run()
        assert manager.flush(10)
    (data,) = [data for data in delivered(service) if data["kind"] == "log.error"]
    assert (data["title"], data["symbol"], data["strategy"]) == ("mine.strategy: bar 5", "AAPL", "Told")
    assert data["source"] == "live"


@pytest.mark.parametrize("processes", [1, 2])
def test_an_optimisation_makes_nothing(
    manage: Manage, service: FakeService, log: logging.Logger, processes: int
) -> None:
    manager = manage(service.url, mode="send")
    log.addHandler(AlertHandler(manager))
    cerebro = engine(feed(), strategy=None)
    cerebro.optstrategy(Logging, period=range(3))
    cerebro.run(maxcpus=processes)
    manager.run_ended()
    rest(manager)
    assert service.requests == []
    assert told(manager) == []


class Logging(Told):
    """Logs an error on every bar."""

    params = (("period", 1),)

    def next(self) -> None:
        logging.getLogger("mine.strategy").error("bar %d", len(self))


def test_a_queue_listener_tells_outside_of_a_run(manage: Manage, service: FakeService, log: logging.Logger) -> None:
    manager = manage(service.url)
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    log.addHandler(logging.handlers.QueueHandler(lines))
    listener = logging.handlers.QueueListener(lines, AlertHandler(manager), respect_handler_level=True)
    listener.start()
    try:
        raise RuntimeError("gone")
    except RuntimeError:
        log.exception("no feed")
    listener.stop()
    rest(manager)
    (data,) = sent(service)
    assert data["title"] == "mine.strategy: no feed"
    assert "RuntimeError: gone" in data["message"]


# -------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    "how", [{"class": "bt_alerts.AlertHandler"}, {"()": "bt_alerts.AlertHandler", "ignore": ["x"]}]
)
def test_it_is_configured_as_a_mapping(service: FakeService, log: logging.Logger, how: dict[str, Any]) -> None:
    manager = configure({"alerts": {"hook": webhook(service.url)}, "store": "memory"})
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
        "handlers": {"alerts": {**how, "level": "WARNING", "formatter": "short"}},
        "loggers": {log.name: {"handlers": ["alerts"]}},
    }
    logging.config.dictConfig(config)
    log.info("no")
    log.warning("yes")
    rest(manager)
    assert [data["message"] for data in sent(service)] == ["WARNING yes"]


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(managers, "_default", None)
    yield
    if managers._default is not None:
        managers._default.close(timeout=0)


@pytest.mark.usefixtures("no_default")
def test_the_default_manager_is_made_at_the_first_record(log: logging.Logger) -> None:
    handler = AlertHandler()
    log.addHandler(handler)
    assert managers._default is None
    log.error("first")
    made = managers._default
    assert made is not None
    assert [alert.message for alert in told(made)] == ["first"]
    made.close()
    log.error("at the end of the program")
    assert managers._default is made, "at the end of a process no manager is begun any more"


@pytest.mark.usefixtures("no_default")
def test_what_is_logged_while_the_default_manager_is_made_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library says meanwhile, on a logger of its own, must not ask for the manager that is being made."""
    begun = threading.Event()
    root, handler = logging.getLogger(), AlertHandler(level=logging.DEBUG)
    monkeypatch.setenv("BT_ALERTS_CONFIG", "there-is-no-such-file.yaml")
    root.addHandler(handler)
    own = logging.getLogger("bt_alerts")

    def warn(record: logging.LogRecord) -> bool:
        logging.getLogger("py.warnings").warning("while it is made")
        begun.set()
        return True

    own.addFilter(warn)
    thread = threading.Thread(target=managers.default_manager, daemon=True)
    try:
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        own.removeFilter(warn)
        root.removeHandler(handler)
    assert begun.is_set(), "the settings were wrong, and that was logged"
    until(lambda: managers._default is not None)
