"""The timeline: a run's alerts through the real planner and the real couriers, in bar time.

Events happen in the order of their times: an alert comes, the rules want to hear that time passed, a delivery is due,
the service has answered. At the same moment answers come first, then alerts, then time, then deliveries. Between two
events nothing happens, so ten years take as long as their events.

The store is the one in memory, which is the same SQL as on disk. What is simulated is the clock and the services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bt_alerts.alert import Alert
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.courier import Courier
from bt_alerts.delivery.own_alerts import disabled_of, loss_of
from bt_alerts.delivery.planner import Planner
from bt_alerts.outbox.entries import Accepted, Entry
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.rules.outcome import RetrySettings
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.simulate.services import World

LONGEST = 8 * 86_400.0  # seconds after the last alert for which what waits is played on: a weekly digest
AFTERWARDS = 86_400.0  # seconds after the last alert in which reports are still made
MOST_AT_ONCE = 40  # alerts of one moment that are planned together
STUCK = 1e-3  # seconds after which a delivery is tried again that was due and could not be claimed

Timed = tuple[float, Entry]


class _Hand:
    """A courier, and when the service answers what it has under way."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.busy_until: float | None = None


class Timeline:
    """Plays one run.

    Args:
        rules: what the rules need of the settings.
        channels: simulated channels by name.
        world: everything outside; it has the clock.
        retry: ``delivery:`` settings.
        time_to_live: seconds by alert type.
        fail_fast: the first failure of an alert cancels its other channels.
        concurrency: how many addresses of a channel are served at the same time.
    """

    def __init__(
        self,
        rules: RuleSettings,
        channels: Mapping[str, Channel],
        world: World,
        *,
        retry: RetrySettings | None = None,
        time_to_live: Mapping[str, float] | None = None,
        fail_fast: bool = False,
        concurrency: int = 4,
    ) -> None:
        self.outbox = MemoryOutbox()
        self._world = world
        self._channels = channels
        self._planner = Planner(self.outbox, rules, channels, time_to_live=time_to_live, clock=world.clock)
        #: What couriers told meanwhile.
        self._news: list[Entry] = []
        #: When the rules want to hear that time passed.
        self._alarm: float | None = None
        #: When a channel next has something to do; channels that are not there are to be asked.
        self._dues: dict[str, float | None] = {}
        #: Channels whose couriers are to look now.
        self._rung: set[str] = set()
        self._hands: dict[str, list[_Hand]] = {}
        for name, channel in channels.items():
            self._hands[name] = [
                _Hand(
                    Courier(
                        self.outbox,
                        channel,
                        channels,
                        owner=f"simulation {name} {n}",
                        retry=retry or RetrySettings(),
                        time_to_live=time_to_live,
                        fail_fast=fail_fast,
                        on_disabled=self._on_disabled,
                        on_lost=self._on_lost,
                        clock=world.clock,
                    )
                )
                for n in range(channel.at_once(concurrency))
            ]

    def _on_disabled(self, channel: Channel, reason: str, label: str) -> None:
        told = disabled_of(channel.name, label, list(self._channels), reason, now=self._world.now)
        self._news.append(Accepted(told))

    def _on_lost(self, channel: Channel, alert: Alert, reason: str, expired: bool) -> None:
        told = loss_of(alert, channel.name, list(self._channels), reason, expired=expired, now=self._world.now)
        if told is not None:
            self._news.append(Accepted(told))

    def play(self, entries: Iterable[Timed], moved: Callable[[int], None] = lambda done: None) -> None:
        """Play entries, and afterwards what is still to come of them.

        Args:
            entries: what happens when, in Unix seconds and in order.
            moved: told how many entries were played.
        """
        waiting = sorted(entries, key=lambda entry: entry[0])
        done, last = 0, waiting[-1][0] if waiting else 0.0
        while True:
            times = self._times()
            if done < len(waiting):
                times.append(waiting[done][0])
            elif not (self._news or any(self._pending())) and (self._alarm is None or self._alarm > last + AFTERWARDS):
                break
            now = min(times, default=last + LONGEST + 1.0)
            if done == len(waiting) and now > last + LONGEST:
                break
            world = self._world
            world.now = max(world.now, now)
            self._settle()
            arrived = [entry for at, entry in waiting[done : done + MOST_AT_ONCE] if at <= world.now]
            done += len(arrived)
            self._plan(arrived)
            self._deliver()
            moved(done)

    def _times(self) -> list[float]:
        """When something happens by itself."""
        times = [] if self._alarm is None else [self._alarm]
        if self._news or self._rung:
            times.append(self._world.now)
        for name, hands in self._hands.items():
            times += [hand.busy_until for hand in hands if hand.busy_until is not None]
            if any(hand.busy_until is None for hand in hands):
                due = self._due(name)
                if due is not None:
                    times.append(due)
        return times

    def _due(self, name: str) -> float | None:
        if name not in self._dues:
            due = self.outbox.next_due(name, self._world.now)
            # What is due and could not be claimed just now is tried again a little later.
            self._dues[name] = None if due is None else max(due, self._world.now + STUCK)
        return self._dues[name]

    def _pending(self) -> Iterator[bool]:
        for name, hands in self._hands.items():
            yield any(hand.busy_until is not None for hand in hands)
            yield self._due(name) is not None

    def _settle(self) -> None:
        for name, hands in self._hands.items():
            for hand in hands:
                if hand.busy_until is not None and hand.busy_until <= self._world.now:
                    self._answered(name, hand)

    def _answered(self, name: str, hand: _Hand) -> None:
        hand.busy_until = None
        hand.courier.settle()
        self._rung |= {name, hand.courier.handed_over} & self._hands.keys()

    def _plan(self, arrived: Sequence[Entry]) -> None:
        """Plan what came, and what couriers told; let the rules know that time passed, where they want to."""
        told, self._news = [*self._news, *arrived], []
        if told:
            self._planner.take(told)
        ticked = self._alarm is not None and self._alarm <= self._world.now
        self._alarm = self._planner.tick()
        if told or ticked:  # as the engine does: what is new may concern any of them
            self._rung |= self._hands.keys()

    def _deliver(self) -> None:
        """Whoever has nothing under way takes what is due, until there is no more."""
        now = self._world.now
        for name, hands in self._hands.items():
            due = self._dues.get(name)
            if name in self._rung or (due is not None and due <= now):
                self._rung.discard(name)
                for hand in hands:
                    while hand.busy_until is None and self._begin(name, hand):
                        pass
                self._rung.discard(name)
                self._dues.pop(name, None)

    def _begin(self, name: str, hand: _Hand) -> bool:
        """Try the next delivery; its answer comes after as long as the service takes."""
        world = self._world
        found = hand.courier.deliver_next()
        took, world.took = world.took, 0.0
        if found:
            hand.busy_until = world.now + took
            if not took:
                self._answered(name, hand)
        return found
