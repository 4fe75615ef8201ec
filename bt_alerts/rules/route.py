"""Routing: to the channels that the alert names, or those of the first route that takes it, or all.

Routes are read top-down. One with ``continue`` adds its channels and lets the next ones look too. What no route takes
goes to all channels: an alert that nobody thought of is not lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bt_alerts.alert import Alert
from bt_alerts.outbox.base import RuleState
from bt_alerts.rules.base import Aim
from bt_alerts.rules.stage import Note, Plan, Reason, Stage, Verdict, recorded, suppressed

#: The word for every channel.
ALL = "all"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route(Aim):
    """One route.

    Args:
        to: channels by name, or else by type; ``all`` for all, empty for none.
        goes_on: the next routes have a look too.
    """

    to: tuple[str, ...] = ()
    goes_on: bool = False

    @property
    def words(self) -> str:
        to = f"to {', '.join(self.to)}" if self.to else "nowhere"
        return f"{to}; the next routes have a look too" if self.goes_on else to


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """Choose channels. With none left the alert is recorded.

    Args:
        enabled: names of the channels, in order.
        types: the type of each, by name.
        routes: in order.
    """

    enabled: tuple[str, ...]
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    routes: Sequence[Route] = ()
    name: str = "route"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        notes: list[Note] = []
        if alert.channels:
            asked = self._named(alert.channels)
        else:
            asked = set()
            takers = self._takers(alert, now)
            for route in takers:
                asked |= self._named(route.to)
                notes.append(Note(Reason.ROUTED, route.name, about=", ".join(route.to) or "nowhere"))
            if not takers:
                asked = set(self.enabled)
            elif not any(route.to for route in takers):
                return recorded(Reason.NOWHERE, takers[-1].name)
        wanted = [name for name in self.enabled if name in asked]
        heard = tuple(name for name in wanted if name not in plan.muted)
        if not heard:
            return suppressed(Reason.MUTED) if wanted else recorded(Reason.NO_CHANNEL)
        return plan.noted(*notes, channels=heard) if notes else dataclasses.replace(plan, channels=heard)

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each route its name, and why it did not take an alert."""
        if alert.channels:
            return [(route.name, "the alert names its channels itself") for route in self.routes]
        takers = self._takers(alert, now)
        last = takers[-1] if takers and not takers[-1].goes_on else None
        told, found = False, []
        for route in self.routes:
            reason = route.why_not(alert, now)
            found.append((route.name, f"{last.name} took it before" if told and last else reason))
            told = told or route is last
        return found

    def _takers(self, alert: Alert, now: float) -> list[Route]:
        takers = []
        for route in self.routes:
            if not route.why_not(alert, now):
                takers.append(route)
                if not route.goes_on:
                    break
        return takers

    def _named(self, words: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for word in words:
            if word in self.enabled:
                found.add(word)
            elif word == ALL:
                found.update(self.enabled)
            else:
                found.update(name for name in self.enabled if self.types.get(name) == word)
        return found


def route(enabled: tuple[str, ...], types: Mapping[str, str] | None = None, routes: Sequence[Route] = ()) -> Stage:
    """The stage that chooses channels."""
    return Routing(enabled, dict(types or {}), tuple(routes))
