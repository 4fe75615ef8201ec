"""The circuit breaker: a target whose service fails again and again is left alone for a while, and then tried with one.

*Closed*: everything goes. *Open*: nothing does; what is urgent takes the fallback. *Half-open*: the wait is over, and
one delivery is the probe: it arrives and closes the breaker, or fails and opens it for twice as long.
"""

from __future__ import annotations

import dataclasses
import enum

from bt_alerts.rules.jitter import share

THRESHOLD = 5  # failures in a row that open it
FIRST_REST = 30.0  # seconds that it is open at first
OTHER_PROBE = 4  # every so many probes are made with another message than the first in order
LONGEST_REST = 300.0  # seconds: how late a message can be because of the breaker, once the service is back


class BreakerState(enum.StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclasses.dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one target.

    Args:
        failures: attempts in a row that did not arrive.
        trips: how often in a row it opened; 0 while it is closed.
        open_until: Unix seconds.
    """

    failures: int = 0
    trips: int = 0
    open_until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """The state at a time, in Unix seconds."""
        if not self.trips:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    @property
    def wants_another(self) -> bool:
        """Whether the next probe is another message than the first in order: that one may be what is wrong.

        Order is what a message of this kind costs, so it happens only now and then.
        """
        return self.trips > 0 and self.trips % OTHER_PROBE == 0


#: After a delivery, or an answer that is about the message alone: the service works.
CLOSED = Breaker()


def failed(before: Breaker, now: float, key: str, *, sick: bool) -> Breaker:
    """After a delivery that did not arrive.

    Args:
        before: the breaker until now.
        now: Unix seconds.
        key: of the delivery; the jitter comes from it.
        sick: whether it tells that the service is unwell; one that asks for a pause is not.
    """
    failures = before.failures + 1
    if not sick or (not before.trips and failures < THRESHOLD):
        return dataclasses.replace(before, failures=failures)
    trips = before.trips + 1
    rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(trips - 1, 30))
    return Breaker(failures, trips, now + rest * (0.9 + 0.1 * share(key, trips)))
