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
        rules: the routes, in order.
        reached: the enabled channels that each of them names.
    """

    enabled: tuple[str, ...]
    types: Mapping[str, str]
    rules: Sequence[Route] = ()
    reached: Sequence[frozenset[str]] = ()
    name: str = "route"

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        notes: list[Note] = []
        if alert.channels:
            asked = named(alert.channels, self.enabled, self.types)
        elif takers := self._takers(alert, now):
            asked = frozenset().union(*(channels for _, channels in takers))
            if not asked:
                return recorded(Reason.NOWHERE, takers[-1][0].name)
            notes = [Note(Reason.ROUTED, route.name, about=", ".join(route.to) or "nowhere") for route, _ in takers]
        else:
            asked = frozenset(self.enabled)
        wanted = [name for name in self.enabled if name in asked]
        heard = tuple(name for name in wanted if name not in plan.muted)
        if not heard:
            return suppressed(Reason.MUTED) if wanted else recorded(Reason.NO_CHANNEL)
        return plan.noted(*notes, channels=heard)

    def explained(self, alert: Alert, now: float) -> list[tuple[str, str]]:
        """Of each route its name, and why it did not take an alert."""
        if alert.channels:
            return [(route.name, "the alert names its channels itself") for route in self.rules]
        taken, found = "", []
        for route, channels in zip(self.rules, self.reached, strict=True):
            reason = _why_not(route, channels, alert, now)
            found.append((route.name, taken or reason))
            if not (taken or reason or route.goes_on):
                taken = f"{route.name} took it before"
        return found

    def _takers(self, alert: Alert, now: float) -> list[tuple[Route, frozenset[str]]]:
        takers = []
        for route, channels in zip(self.rules, self.reached, strict=True):
            if not _why_not(route, channels, alert, now):
                takers.append((route, channels))
                if not route.goes_on:
                    break
        return takers


def _why_not(route: Route, channels: frozenset[str], alert: Alert, now: float) -> str:
    """Why a route does not take an alert. One to nowhere but channels that are turned off must not swallow it."""
    if route.to and not channels:
        return f"{', '.join(route.to)} is not enabled"
    return route.why_not(alert, now)


def named(words: Sequence[str], enabled: tuple[str, ...], types: Mapping[str, str]) -> frozenset[str]:
    """The enabled channels that words name: by name, or else by type; ``all`` for all."""
    found: set[str] = set()
    for word in words:
        if word in enabled:
            found.add(word)
        elif word == ALL:
            found.update(enabled)
        else:
            found.update(name for name in enabled if types.get(name) == word)
    return frozenset(found)


def route(enabled: tuple[str, ...], types: Mapping[str, str] | None = None, routes: Sequence[Route] = ()) -> Stage:
    """The stage that chooses channels."""
    kinds = dict(types or {})
    return Routing(enabled, kinds, tuple(routes), tuple(named(each.to, enabled, kinds) for each in routes))
