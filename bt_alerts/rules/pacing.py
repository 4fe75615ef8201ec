"""Pacing: a token bucket for each target, so that no service is sent more a minute than it takes.

The bucket holds one minute's worth: a burst of that size passes, then tokens come back evenly.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket after a request: whether it was granted, what is left, and when the next token comes."""

    granted: bool
    tokens: float | None
    not_before: float


def take(tokens: float | None, since: float, rate: float, now: float) -> Bucket:
    """Take one token.

    Args:
        tokens: what was left at ``since``; None for a bucket never used, which is full.
        since: Unix seconds.
        rate: tokens a minute, and the bucket's size; 0 for no limit.
        now: Unix seconds; a clock that went back refills nothing.
    """
    if rate <= 0:
        return Bucket(True, None, 0.0)
    filled = rate if tokens is None else min(rate, tokens + max(0.0, now - since) * rate / 60.0)
    if filled >= 1.0 - 1e-9:
        return Bucket(True, filled - 1.0, 0.0)
    return Bucket(False, filled, now + (1.0 - filled) * 60.0 / rate)
