"""Pacing: a token bucket for each target, so that no service is sent more a minute than it takes.

The bucket holds one minute's worth: a burst of that size passes, then tokens come back evenly. A tenth of it is a
reserve that only critical alerts may use. A service that says "too many" is sent half as much from then on, and each
message that it takes brings a little of it back.
"""

from __future__ import annotations

import dataclasses

RESERVE = 0.1  # part of the bucket that is kept for critical alerts
SLOWEST = 1 / 16  # part of its rate that a target is left with at least
RECOVERY = 0.05  # part of its rate that each message brings back
GRAIN = 1e-6  # seconds: what is missing for so short a time is there, because "now" as a number knows no shorter one


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket after a request: whether it was granted, what is left, and when the next token comes."""

    granted: bool
    tokens: float | None
    not_before: float


def take(
    tokens: float | None, since: float, rate: float, now: float, *, pace: float = 1.0, critical: bool = True
) -> Bucket:
    """Take one token.

    Args:
        tokens: what was left at ``since``; None for a bucket never used, which is full.
        since: Unix seconds.
        rate: tokens a minute, and the bucket's size; 0 for no limit.
        now: Unix seconds; a clock that went back refills nothing.
        pace: part of the rate at which tokens come back just now.
        critical: whether the reserve may be used.
    """
    if rate <= 0:
        return Bucket(True, None, 0.0)
    refill = rate * pace / 60.0
    full = max(1.0, rate)  # of a service that takes less than one a minute, the bucket holds one all the same
    filled = full if tokens is None else min(full, tokens + max(0.0, now - since) * refill)
    wanted = 1.0 if critical else 1.0 + _reserve(rate)
    if filled >= wanted - refill * GRAIN:
        return Bucket(True, max(0.0, filled - 1.0), 0.0)
    return Bucket(False, filled, now + (wanted - filled) / refill)


def _reserve(rate: float) -> float:
    return float(int(max(1.0, rate * RESERVE))) if rate >= 4 else 0.0  # of three a minute, none can be spared


def slower(pace: float) -> float:
    """The pace after a service said "too many"."""
    return max(SLOWEST, pace / 2.0)


def faster(pace: float) -> float:
    """The pace after a message that was taken."""
    return min(1.0, pace + RECOVERY)
