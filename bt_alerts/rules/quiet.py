"""Quiet hours and scheduled digests: what is not urgent waits on a channel, and goes when its time has come.

Both are about one message on one channel: quiet hours hold it until they end, a digest until its next time. What waits
for the same moment goes in one message. Nothing is held in a place of its own: it is planned like everything else, with
a later due time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bt_alerts.alert import Alert
from bt_alerts.hours import FAR, Hours, Moment, is_open, open_at
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Aim, Rule
from bt_alerts.rules.stage import Batch, Note, Plan, Reason, Verdict, suppressed
from bt_alerts.rules.when import hours_words, moment_words

DIGEST, EACH, RECORD = "digest", "each", "record"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quiet(Aim):
    """Hours in which a channel is quiet.

    Args:
        channels: which; empty for all.
        hours: when.
        then: what becomes of what came: ``digest`` puts it into one message at their end, ``each`` sends one after the
            other then, ``record`` leaves it in the history.
    """

    channels: frozenset[str] = frozenset()
    hours: tuple[Hours, ...] = ()
    then: str = DIGEST

    @property
    def words(self) -> str:
        become = {DIGEST: "one message at their end", EACH: "sent one by one at their end", RECORD: "kept, not sent"}
        hours = " or ".join(map(hours_words, self.hours))
        return f"{_on(self.channels)}quiet {hours}: {become.get(self.then, self.then)}"

    def ends(self, channel: str, at: float) -> float | None:
        """Until when a channel is quiet, in Unix seconds; None where it is not."""
        if self.channels and channel not in self.channels:
            return None
        ends = open_at(self.hours, at)
        return None if ends is None else min(ends, at + FAR)


def _on(channels: frozenset[str]) -> str:
    return f"{', '.join(sorted(channels))}: " if channels else ""


@dataclasses.dataclass(frozen=True, slots=True)
class QuietHours:
    """All quiet hours together: what one of them lets go can be in another.

    Args:
        rules: in the order of settings; the first that is open counts.
    """

    rules: Sequence[Quiet]
    name: str = "quiet hours"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        about = [rule for rule in self.rules if not rule.why_not(alert, max(now, plan.due))]
        if not about:
            return plan
        left, batches, notes = [], dict(plan.batches), []
        for channel in plan.channels:
            waits = batches.get(channel)
            at = max(now, plan.due, waits.due if waits is not None else 0.0)
            rule, until = (None, at) if channel in plan.at_once else _held(about, channel, at)
            if rule is None:
                left.append(channel)
            elif rule.then == RECORD:
                notes.append(Note(Reason.QUIET_RECORD, rule.name, channel))
            else:
                alone = rule.then == EACH or alert.attachments or alert.kind.startswith("report.")
                gathers = "" if alone else f"quiet:{rule.name}:{int(until)}"
                batches[channel] = Batch(gathers, until, reason=Reason.QUIET_HOURS)
                notes.append(Note(Reason.QUIET_HOURS, rule.name, channel, until))
                left.append(channel)
        if notes and not left:
            return suppressed(Reason.QUIET_RECORD, notes[-1].rule)
        return plan.noted(*notes, channels=tuple(left), batches=batches) if notes else plan

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each rule its name, and why it is not about an alert."""
        return [
            (rule.name, rule.why_not(alert, now) or ("" if is_open(rule.hours, now) else "it is outside its hours"))
            for rule in self.rules
        ]


def _held(rules: Sequence[Quiet], channel: str, at: float) -> tuple[Quiet | None, float]:
    """By which rule and until when a channel is quiet at a time; only hours in which an alert comes record it."""
    held, latest = None, at + FAR
    while at < latest:
        found = next(((rule, ends) for rule in rules if (ends := rule.ends(channel, at)) is not None), None)
        if found is None:
            break
        rule, at = found
        if held is None or rule.then != RECORD:
            held = rule
        if held.then == RECORD:
            break
    return held, at


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Digest(Rule):
    """What goes in one message at set times.

    Args:
        channels: which; empty for all.
        at: the times.
    """

    channels: frozenset[str] = frozenset()
    at: tuple[Moment, ...] = ()

    @property
    def words(self) -> str:
        return f"{_on(self.channels)}one message at {' or '.join(map(moment_words, self.at))}"

    def judge(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        if alert.attachments or alert.kind.startswith("report."):  # a list brings no files along
            return plan
        batches, notes = dict(plan.batches), []
        for channel in plan.channels:
            if channel in plan.at_once or channel in batches or (self.channels and channel not in self.channels):
                continue
            # One that comes in the very second of a digest waits for the next: that one may be on its way.
            due = min(moment.next(max(now, plan.due)) for moment in self.at)
            batches[channel] = Batch(f"digest:{self.name}:{int(due)}", due, reason=Reason.DIGEST)
            notes.append(Note(Reason.DIGEST, self.name, channel, due))
        return plan.noted(*notes, batches=batches) if notes else plan
