"""Six hours of bad weather: services down, busy, ill or silent, a locked store, crashes, a clock that is set.

Time is told, chance is seeded, everything else is real: journal, store, planner, rules, couriers. After every step the
store is compared with what the services know. It says at the end what happened. (Ids are new each time and waits depend
on them, so a seed repeats the weather and not every step.)
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import random
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from alerts_kit import Clock, alert, run_python

from bt_alerts.alert import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.planner import Planner
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, Receipt, Target
from bt_alerts.errors import StoreError
from bt_alerts.outbox import journal as journals
from bt_alerts.outbox.entries import Accepted, encode
from bt_alerts.outbox.journal import Journal
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.batching import NO_BATCHES, BatchSettings
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.pipeline import RuleSettings

START = 1_800_000_000.0
HOUR = 3_600.0
SIX_HOURS = 6 * HOUR
TIME_TO_LIVE = {"all": HOUR, "market": 300.0}
LONGEST_MEMORY = 3 * HOUR  # an action is remembered for an hour, and two more when the clock was set back in it
ALWAYS_REMEMBERED = 24  # storms and batches: so many kinds of alert that are alike, by channel
STORE_RETRY = 0.5  # seconds after which the engine tries again
SPREAD = 48 * 1024  # bytes by which what our code holds may differ from one moment to the next
WEATHER = ["fair"] * 6 + ["down", "busy", "ill", "silent"]


class Killed(BaseException):
    """The process ends here, and nothing of it cleans up."""


@dataclasses.dataclass
class Happened:
    """What happened, and what must agree with the store. Kept as numbers, so that it does not look like a leak."""

    alerts: int = 0
    forgotten: int = 0
    forgotten_deliveries: int = 0
    steps: int = 0
    arrivals: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    may_repeat: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @property
    def repeated(self) -> int:
        return sum(times - 1 for times in self.arrivals.values())


class Service(Dispatcher):
    """A service with two addresses, whose weather changes by itself."""

    type = "service"
    timeout = 30.0

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._chance = random.Random(f"{world.seed} {name}")
        self.weather, self.until = "fair", 0.0
        self.free_at: dict[str, float] = {}

    def targets(self) -> list[Target]:
        self._world.may_be_killed(0.002)
        return [Target(f"{self._name} {number}", str(number)) for number in range(2)]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        world, key = self._world, hash(context.key)
        self.change(world.elapsed)
        assert world.clock() >= self.free_at.get(target.key, 0.0), "a 429 waits exactly as told"
        world.may_be_killed(0.004)
        world.happened.counts[self.weather] += 1
        match self.weather:
            case "down":
                raise DeliveryFailed(Failure.RETRY, "nobody there", answered=False)
            case "busy" if self._chance.random() < 0.7:
                wait = self._chance.choice([1.0, 20.0, 90.0, 400.0])
                self.free_at[target.key] = world.clock() + wait
                raise DeliveryFailed(Failure.RETRY_AFTER, "too many", retry_after=wait)
            case "ill" if self._chance.random() < 0.7:
                raise DeliveryFailed(Failure.RETRY, "an error of ours")
            case "silent":
                world.pass_time(self.timeout)
                if self._chance.random() < 0.5:
                    world.happened.arrivals[key] += 1
                world.happened.may_repeat[key] += 1
                raise DeliveryFailed(Failure.UNKNOWN, "no answer", answered=False)
        if self._chance.random() < 0.01:
            raise DeliveryFailed(Failure.PERMANENT, "this one I do not take")
        world.happened.arrivals[key] += 1
        if world.dies(0.004):
            world.happened.may_repeat[key] += 1
            raise Killed
        return Receipt("id")

    def change(self, elapsed: float) -> None:
        while elapsed >= self.until:
            self.weather = self._chance.choice(WEATHER)
            self.until += self._chance.choice([30.0, 120.0, 600.0])


class World:
    """A machine with a store, and a process on it that delivers."""

    def __init__(self, folder: Path, seed: int, alerts: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = Clock(START)
        self.elapsed = 0.0  # seconds that really went by, whatever the clock says
        self.ahead = 0.0  # seconds by which the clock was set forward in all
        self.every = SIX_HOURS / alerts
        self.happened = Happened()
        self.calm = False
        self.emitted: collections.deque[float] = collections.deque()
        self._folder = folder
        self._services = {name: Service(self, name) for name in ("chat", "mail", "phone")}
        self.open()

    def open(self) -> None:
        self.outbox = SqliteOutbox(self._folder / "store.db", busy=0.0)
        assert self.outbox.journals is not None
        self.journal = Journal(self.outbox.journals)
        settings = {
            "chat": Channel("chat", self._services["chat"], rate=30, batches=BatchSettings(True, 5, 20.0)),
            "mail": Channel("mail", self._services["mail"]),
            "phone": Channel("phone", self._services["phone"], rate=20, fallback="mail", batches=NO_BATCHES),
        }
        self.planner = Planner(self.outbox, RuleSettings(), settings, time_to_live=TIME_TO_LIVE, clock=self.clock)
        self.couriers = [
            Courier(
                self.outbox,
                channel,
                settings,
                owner=self.journal.owner,
                retry=RetrySettings(),
                time_to_live=TIME_TO_LIVE,
                clock=self.clock,
            )
            for channel in settings.values()
        ]
        self.planner.adopt()

    # Chance ------------------------------------------------------------------------------------------

    def dies(self, chance: float) -> bool:
        return not self.calm and self.chance.random() < chance

    def may_be_killed(self, chance: float) -> None:
        if self.dies(chance):
            raise Killed

    def kill(self) -> None:
        self.happened.counts["crashes"] += 1
        calm, self.calm = self.calm, True  # not again while it starts
        self.outbox.close()
        journals._let_go(self.journal._fd)
        self.open()
        self.calm = calm

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.elapsed += seconds

    def set_clock(self, seconds: float) -> None:
        self.happened.counts["clock set"] += 1
        self.ahead += seconds
        self.clock.advance(seconds)
        if seconds < 0:
            for service in self._services.values():
                service.free_at.clear()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else writes into the store."""
        with contextlib.closing(sqlite3.connect(self.outbox.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    # Six hours ---------------------------------------------------------------------------------------

    def live(self) -> Iterator[None]:
        """Let the time go by; stops after each step."""
        emit_at = trouble_at = 0.0
        while self.elapsed < SIX_HOURS:
            if self.elapsed >= emit_at:
                emit_at = self.elapsed + self.chance.expovariate(1 / self.every)
                self.emit()
            if self.elapsed >= trouble_at:
                trouble_at = self.elapsed + self.chance.uniform(60, 900)
                self.trouble()
            self.work()
            yield
            until = min(emit_at, trouble_at, SIX_HOURS) - self.elapsed
            self.pass_time(max(0.001, min(until, self.next_due())))
        self.calm = True
        for service in self._services.values():
            service.weather, service.until = "fair", float("inf")
        while (wait := self.next_due()) < float("inf"):
            self.pass_time(max(0.0, wait))
            self.work()
            yield

    def emit(self) -> None:
        """One alert, or a burst of them."""
        for _ in range(self.chance.choice([1, 1, 1, 6])):
            self.happened.alerts += 1
            self.emitted.append(self.elapsed)
            n = self.happened.alerts
            made = alert(
                f"number {n}",
                time=self.clock(),
                priority=self.chance.choice(["critical", "high", "medium", "low"]),
                type=self.chance.choice(["signal", "market", "error", "order"]),
                symbol=self.chance.choice(["AAPL", "MSFT"]),
                dedupe_key=self.chance.choice([None, f"bar {n}"]),
                action=self.chance.choice(["", f"action {n}"]),
            )
            self.journal.append(encode(Accepted(made, self.chance.choice([0.0, 0.0, 0.0, self.clock() + 600]))))

    def trouble(self) -> None:
        match self.chance.choice(["locked", "killed", "clock", "forget", "forget"]):
            case "locked":
                self.happened.counts["locked"] += 1
                with self.locked():
                    self.work()
            case "killed":
                self.kill()
            case "clock":
                jump = self.chance.choice([HOUR, -HOUR, 30.0, -30.0])
                self.set_clock(jump if abs(self.ahead + jump) <= HOUR + 300 else -jump)
            case "forget":
                pruned = self.outbox.prune(time.time() + 60, 200)
                self.happened.forgotten += pruned.alerts
                self.happened.forgotten_deliveries += pruned.deliveries

    def work(self) -> None:
        """What the engine's threads do when they are woken."""
        try:
            with contextlib.suppress(StoreError):
                self.planner.drain(self.journal)
                for courier in self.couriers:
                    while courier.deliver_one():
                        pass
        except Killed:
            self.kill()

    def next_due(self) -> float:
        """Seconds until somebody has something to do again."""
        dues = [self.outbox.next_due(courier.channel.name, self.clock()) for courier in self.couriers]
        waits = [due - self.clock() for due in dues if due is not None]
        if any(courier._open is not None for courier in self.couriers):
            waits.append(STORE_RETRY)
        return max(STORE_RETRY if self.elapsed < SIX_HOURS else 0.0, min(waits, default=float("inf")))

    # What always holds -------------------------------------------------------------------------------

    def check(self) -> None:
        happened = self.happened
        happened.steps += 1
        ledger = self.outbox.ledger()
        assert ledger.balanced
        lines, _ = self.journal.read(self.outbox.position(self.journal.name), 1_000)
        died = next(self.outbox.rows("SELECT count(*) FROM alerts WHERE kind = 'process.died'"))[0]
        assert ledger.accepted + len(lines) >= happened.alerts, "lost"
        assert ledger.accepted + len(lines) - happened.alerts <= happened.counts["crashes"]
        assert died <= happened.counts["crashes"]
        (left,) = next(self.outbox.rows("SELECT count(*) FROM deliveries"))
        assert ledger.created == left + happened.forgotten_deliveries
        sent = ledger.deliveries["delivered"]
        assert sent <= len(happened.arrivals), "the store says that it arrived"
        if self.elapsed >= SIX_HOURS:  # they forget when they plan
            return
        while self.emitted and self.emitted[0] < self.elapsed - LONGEST_MEMORY - 2 * self.every:
            self.emitted.popleft()
        (live,) = next(self.outbox.rows("SELECT count(*) FROM rule_state WHERE rule != 'duplicate'"))
        assert live <= ALWAYS_REMEMBERED + 2 * len(self.emitted), "rules remember what is over"

    def check_arrivals(self) -> None:
        for key, times in self.happened.arrivals.items():
            assert times <= 1 + self.happened.may_repeat[key]


def held() -> int:
    """Bytes that our own code holds."""
    gc.collect()
    found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/bt_alerts/*")])
    return sum(trace.size for trace in found.traces)


def soak(folder: Path, seed: int, alerts: int) -> str:
    """Live through six hours, and say what happened. Raises where anything does not hold."""
    world = World(folder, seed, alerts)
    samples: list[tuple[float, int]] = []
    tracemalloc.start()
    try:
        for _ in world.live():
            world.check()
            if world.elapsed < SIX_HOURS and world.elapsed >= (len(samples) + 1) * SIX_HOURS / 20:
                samples.append((world.elapsed, held()))
    finally:
        tracemalloc.stop()
    world.check_arrivals()
    happened, ledger = world.happened, world.outbox.ledger()
    first = max(size for at, size in samples if at <= SIX_HOURS / 2)
    second = max(size for at, size in samples if at > SIX_HOURS / 2)
    assert second <= first + SPREAD, samples
    assert ledger.deliveries["pending"] == ledger.deliveries["held"] == ledger.waiting == 0
    world.set_clock(15 * 86_400.0)
    world.planner.drain(world.journal)
    world.emit()
    world.planner.drain(world.journal)
    (left,) = next(world.outbox.rows("SELECT count(*) FROM rule_state WHERE until <= ?", (world.clock(),)))
    assert left == 0
    world.outbox.close()
    journals._let_go(world.journal._fd)
    ends = ", ".join(f"{n:,} {state}" for state, n in ledger.deliveries.items() if n)
    counts = ", ".join(f"{n:,} × {what}" for what, n in sorted(happened.counts.items()))
    return (
        f"six hours, seed {seed}: {happened.alerts:,} alerts, {ledger.created:,} deliveries ({ends}), "
        f"{happened.steps:,} steps, {happened.repeated} repeated of {sum(happened.may_repeat.values())} whose "
        f"outcome was unknown; our code held at most "
        f"{first / 1024:,.0f} kB in the first half and {second / 1024:,.0f} kB in the second; {counts}"
    )


ALONE = """
import logging, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split("|")
from test_soak import soak
logging.getLogger("bt_alerts").setLevel(logging.CRITICAL + 1)
print(soak(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
"""


@pytest.mark.parametrize(
    ("seed", "alerts"),
    [
        (1, 50),
        *(pytest.param(seed, 1_000, marks=pytest.mark.long) for seed in (2, 3, 4, 5)),
    ],
)
def test_six_hours_of_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int, alerts: int) -> None:
    """In a process of its own: what other tests left running would count for memory that our code holds."""
    here = Path(__file__).parent
    said = run_python(ALONE, f"{here.parent}|{here}", tmp_path, seed, alerts, timeout=1800)
    with capsys.disabled():
        print(f"\n{said.strip()}")
