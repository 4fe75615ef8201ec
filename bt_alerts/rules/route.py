"""Routing: to the channels that the alert names, or those of the first route that takes it, or all.

Routes are read top-down. One with ``continue`` adds its channels and lets the next ones look too. What no route takes
goes to all channels: an alert that nobody thought of is not lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


class Way(NamedTuple):
    """A route, with what is known of it beforehand.

    Args:
        route: as settings have it.
        channels: the enabled channels that it names.
        note: what it says when it takes an alert.
    """

    route: Route
    channels: frozenset[str]
    note: Note


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """Choose channels. With none left the alert is recorded.

    Args:
        enabled: names of the channels, in order.
        types: the type of each, by name.
        ways: the routes, in order.
    """

    enabled: tuple[str, ...]
    types: Mapping[str, str]
    ways: Sequence[Way] = ()
    name: str = "route"

    @property
    def rules(self) -> list[Route]:
        """The routes, in order."""
        return [way.route for way in self.ways]

    def __call__(self, alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        """The stage."""
        notes: list[Note] = []
        if alert.channels:
            asked = named(alert.channels, self.enabled, self.types)
        elif taken := self._taken(alert, max(now, plan.due)):
            asked = taken[0].channels if len(taken) == 1 else frozenset().union(*(way.channels for way in taken))
            if not asked:
                return recorded(Reason.NOWHERE, taken[-1].route.name)
            notes = [way.note for way in taken]
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
            return [(way.route.name, "the alert names its channels itself") for way in self.ways]
        taken, found = "", []
        for way in self.ways:
            reason = _why_not(way, alert, now)
            found.append((way.route.name, taken or reason))
            if not (taken or reason or way.route.goes_on):
                taken = f"{way.route.name} took it before"
        return found

    def _taken(self, alert: Alert, now: float) -> list[Way]:
        taken = []
        for way in self.ways:
            if not _why_not(way, alert, now):
                taken.append(way)
                if not way.route.goes_on:
                    break
        return taken


def _why_not(way: Way, alert: Alert, now: float) -> str:
    """Why a route does not take an alert. One to nowhere but channels that are turned off must not swallow it."""
    route, channels, _ = way
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
    ways = [
        Way(
            each,
            named(each.to, enabled, kinds),
            Note(Reason.ROUTED, each.name, about=", ".join(each.to) or "nowhere"),
        )
        for each in routes
    ]
    return Routing(enabled, kinds, ways)
