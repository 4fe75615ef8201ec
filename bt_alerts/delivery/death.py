"""What is told of a process that ended without a goodbye: killed, out of memory, or crashed in native code.

Its journal says what was at work in it. A process whose strategies had all ended before is not missed.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import uuid

from bt_alerts.alert import Alert, as_utc
from bt_alerts.kinds import KINDS
from bt_alerts.outbox.entries import Accepted, decode
from bt_alerts.outbox.journal import WORKER, DeadJournal

ENDS = frozenset({"strategy.stopped", "error", "interrupted"})  # kinds after which a strategy is not at work any more
_LINES = 500


def death_of(journal: DeadJournal, seen: float) -> Alert | None:
    """The alert that a process died; None where it said goodbye, or where nothing was at work in it.

    Its id is the same whoever makes it, so that it is told once.

    Args:
        journal: what the process left.
        seen: its last sign of life that is known, in Unix seconds.
    """
    if not journal.died or journal.flavour == WORKER:
        return None
    strategies, ended = _strategies(journal)
    if ended and not strategies:
        return None
    pid, host = journal.owner.partition("-")[0], platform.node()
    what = ", ".join(strategies)
    title = f"{'Strategy ' if len(strategies) == 1 else 'Strategies '}{what} died" if strategies else "A program died"
    moment = as_utc(seen)
    assert moment is not None
    kind = KINDS["process.died"]
    text = (
        f"Process {pid} on {host} ended without closing anything: it was killed, ran out of memory, or crashed. Its "
        f"last sign of life was at {moment:%Y-%m-%d %H:%M:%S} UTC. Nobody looks after its orders and positions until "
        "it is started again."
    )
    return Alert.make(
        text,
        title=title,
        type=kind.type,
        kind=kind.name,
        priority=kind.priority,
        time=moment,
        strategy=strategies[0] if len(strategies) == 1 else "",
        action=f"died:{journal.owner}",
        dedupe_key=f"died:{journal.owner}",
        id=_id(journal),
        data={"pid": int(pid) if pid.isdigit() else pid, "host": host, "strategies": strategies, "last_seen": seen},
    )


def _strategies(journal: DeadJournal) -> tuple[list[str], bool]:
    """The strategies that were at work, as far as the journal tells, and whether any had ended."""
    running: dict[str, None] = {}
    ended, position = False, 0
    while True:
        lines, position = journal.read(position, _LINES)
        if not lines:
            return list(running), ended
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = decode(line)
                if not isinstance(entry, Accepted) or not entry.alert.strategy:
                    continue
                if entry.alert.kind in ENDS:
                    running.pop(entry.alert.strategy, None)
                    ended = True
                else:
                    running[entry.alert.strategy] = None


def _id(journal: DeadJournal) -> str:
    """Like those of other alerts sorted by time, and the same for everybody who finds the journal."""
    moment = f"{int(journal.seen * 1000) & 0xFFFFFFFFFFFF:012x}"
    return str(uuid.UUID(moment + hashlib.sha256(journal.owner.encode()).hexdigest()[:20]))
