"""What a stage of the pipeline is, and the named reasons for its decisions.

A stage is a pure function ``(alert, plan, state, now) -> Plan | Verdict``. It returns the plan, perhaps changed, for
the next stage; or a verdict, which ends the matter. It remembers only through ``state`` and knows only the time it is
given, so the same stage runs live, in a test and over ten simulated years.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import AlertState, RuleState


class Reason(enum.StrEnum):
    """Why an alert was not delivered."""

    HISTORY = "history"
    MODE_RECORD = "mode-record"
    EVENT_RECORD = "event-record"
    TOLD_BY_ACTION = "told-by-action"
    DUPLICATE = "duplicate"
    MUTED = "muted"
    NO_CHANNEL = "no-channel"

    @property
    def words(self) -> str:
        """The reason as a sentence."""
        return _WORDS[self]


_WORDS = {
    Reason.HISTORY: "it was made on an old bar, so it is recorded and never sent",
    Reason.MODE_RECORD: "`mode: record` sends nothing",
    Reason.EVENT_RECORD: "its kind of event is set to `record`",
    Reason.TOLD_BY_ACTION: "another alert told of the same action",
    Reason.DUPLICATE: "the same event was told before",
    Reason.MUTED: "somebody muted it",
    Reason.NO_CHANNEL: "no channel is configured and enabled for it",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """A message that an alert shares with others.

    Args:
        name: of the batch; its part before the colon says what gathers: ``fills``, ``similar`` or ``batch``.
        due: when it goes, in Unix seconds.
        full: it goes now, with everything that waits for it.
    """

    name: str
    due: float
    full: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with an alert, so far.

    Args:
        channels: names of the channels; empty until routing.
        muted: channels that somebody muted.
        silent: without sound.
        due: not before this time, in Unix seconds.
        batches: the batch that it goes with, by channel; it goes alone on those that are not named.
    """

    channels: tuple[str, ...] = ()
    muted: frozenset[str] = frozenset()
    silent: bool = False
    due: float = 0.0
    batches: Mapping[str, Batch] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The alert is not delivered: recorded as a matter of course, or suppressed by a rule."""

    state: AlertState
    reason: Reason


Stage = Callable[[Alert, Plan, RuleState, float], "Plan | Verdict"]


def recorded(reason: Reason) -> Verdict:
    """Kept in the history; nobody wanted it sent."""
    return Verdict(AlertState.RECORDED, reason)


def suppressed(reason: Reason) -> Verdict:
    """Kept in the history; a rule held it back."""
    return Verdict(AlertState.SUPPRESSED, reason)
