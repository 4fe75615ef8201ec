"""What to do after an attempt: done, again when, or never. Pure, and the same in a backtest of alerts.

``max_retries`` counts answers: a service that answered that often with a passing failure has had its chance. A service
that cannot be reached is tried until the alert's time to live ends. Backoff is exponential with jitter, and the jitter
comes from a hash of the delivery, so it repeats.
"""

from __future__ import annotations

import dataclasses

from bt_alerts.rules.jitter import share

LONGEST_WAIT = 300.0  # seconds between two tries, unless the first wait is set to more
EAGER_TRIES = 10  # after so many, a second at least


@dataclasses.dataclass(frozen=True, slots=True)
class RetrySettings:
    """``delivery:`` settings. Times in seconds."""

    max_retries: int = 3
    retry_delay: float = 1.0
    retry_backoff: float = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt, as the rule sees it.

    Args:
        failure: class of the failure, as in ``dispatchers.base.Failure``.
        retry_after: seconds that the service asked for.
        answered: the service answered.
        number: which attempt of this delivery it was, from 1.
        answers: how many attempts were answered with a failure, this one included.
        key: the delivery's idempotency key.
        expires: end of the time to live, in Unix seconds.
        repeat_unknown: whether the channel sends again after an unknown outcome.
    """

    failure: str
    retry_after: float | None
    answered: bool
    number: int
    answers: int
    key: str
    expires: float
    repeat_unknown: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Next:
    """What follows: ``again`` at ``due``, or an end with its word ("dead", "expired")."""

    word: str
    due: float = 0.0
    hold_target: float | None = None


def backoff(number: int, settings: RetrySettings, key: str) -> float:
    """Seconds to wait after attempt ``number``: between half and the whole of the exponential step."""
    longest = max(LONGEST_WAIT, settings.retry_delay)
    step = min(longest, settings.retry_delay * settings.retry_backoff ** min(number - 1, 60))
    return step * (0.5 + share(key, number) / 2)


def after(attempt: Attempt, settings: RetrySettings, now: float) -> Next:
    """Decide what follows a failed attempt."""
    if attempt.failure in ("permanent", "too-large", "auth"):
        return Next("dead")
    if attempt.failure == "unknown-outcome" and not attempt.repeat_unknown:
        return Next("dead")
    if attempt.answered and attempt.failure != "retry-after" and attempt.answers > settings.max_retries:
        return Next("dead")
    told = attempt.retry_after or 0.0
    if attempt.failure == "retry-after" and told > 0.0:  # "wait 0 s", or less, would be asking in a circle
        due = now + told
    else:
        due = now + backoff(attempt.number, settings, attempt.key)
        if attempt.number > EAGER_TRIES:  # whatever is set, a service that is away for hours is not asked in a circle
            due = max(due, now + 1.0)
    if due >= attempt.expires:  # the wait still holds for what comes behind
        return Next("expired", hold_target=due)
    # The wait is the target's, not only this message's: what comes behind it must not overtake it.
    return Next("again", due=due, hold_target=due)
