"""The blocks ``routes:``, ``rules:``, ``quiet_hours:``, ``digests:`` and ``escalation:``, and the rules made of them.

A rule that has no name of its own is called by its block and its place, from 1: ``cooldown 2``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bt_alerts.alert import AlertType, Priority, Source, unix
from bt_alerts.hours import EXAMPLE, MOMENT_EXAMPLE, read_hours, read_moment
from bt_alerts.rules import base, quiet, route
from bt_alerts.rules.escalation import Escalation, Step
from bt_alerts.rules.inhibit import Inhibit
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.material import AtLeast, Level
from bt_alerts.rules.reports import Report
from bt_alerts.rules.route import Route
from bt_alerts.rules.stage import Reason
from bt_alerts.rules.throttle import SAME_KIND, SAME_TEXT, OncePerBar, Throttle
from bt_alerts.rules.when import ANY, When, read_comparison
from bt_alerts.settings.block import Block
from bt_alerts.settings.fields import Seconds, as_list, by_word

NONE = "none"


def _each(check: Callable[[str], object]) -> Any:
    """A text that a function can read; what that objects to is what a person is told."""

    def checked(value: str) -> str:
        check(value)
        return value

    return AfterValidator(checked)


def _key_field(value: str) -> None:
    if value not in base.KEY_FIELDS and not (value.startswith("data.") and value[5:]):
        raise ValueError(f"`{value[:60]}` is no field to tell alerts apart by: use {', '.join(base.KEY_FIELDS)} or "
                         "data.… such as data.order")  # fmt: skip


def _moment(value: str) -> None:
    try:
        unix(value)
    except ValueError:
        raise ValueError(f"`{value[:60]}` is no time: write 2026-12-24 or 2026-12-24T18:00+01:00") from None


Words = Annotated[list[str], BeforeValidator(as_list)]
OneOrMore = Annotated[Words, Field(min_length=1)]
PriorityWord = Annotated[Priority, BeforeValidator(by_word(list(Priority)))]
TypeWord = Annotated[AlertType, BeforeValidator(by_word(list(AlertType)))]
SourceWord = Annotated[Source, BeforeValidator(by_word(list(Source)))]
HoursText = Annotated[str, _each(read_hours), Field(examples=[EXAMPLE])]
MomentText = Annotated[str, _each(read_moment), Field(examples=[MOMENT_EXAMPLE])]
TimeText = Annotated[str, _each(_moment), Field(examples=["2026-12-24T18:00+01:00"])]
_THROUGH = [*(word.value for word in Priority), NONE]
Through = Annotated[Literal["critical", "high", "medium", "low", "info", "none"], BeforeValidator(by_word(_THROUGH))]
Keys = Annotated[list[Annotated[str, _each(_key_field)]], BeforeValidator(as_list), Field(min_length=1)]
Then = Annotated[
    Literal["digest", "each", "record"], BeforeValidator(by_word([quiet.DIGEST, quiet.EACH, quiet.RECORD]))
]
Period = Annotated[Literal["daily", "weekly"], BeforeValidator(by_word(["daily", "weekly"]))]


class WhenBlock(Block):
    """Which alerts a rule is about: everything that is named must hold."""

    type: Annotated[list[TypeWord], BeforeValidator(as_list)] = Field(
        default_factory=list, description="alert types, any of them"
    )
    kind: Words = Field(default_factory=list, description="kinds of event, any of them; `order.*` for several")
    priority: PriorityWord | None = Field(default=None, description="at least")
    symbol: Words = Field(default_factory=list, description="names of feeds, any of them; `BTC*` for several")
    strategy: Words = Field(default_factory=list, description="names of strategies, any of them; may have `*`")
    source: Annotated[list[SourceWord], BeforeValidator(as_list)] = Field(
        default_factory=list, description="live, direct (a call outside any run) or history (under `mode: send`)"
    )
    data: Annotated[list[Annotated[str, _each(read_comparison)]], BeforeValidator(as_list)] = Field(
        default_factory=list, description="comparisons with the alert's data, all of them, such as `pnl < -500`"
    )
    hours: Annotated[list[HoursText], BeforeValidator(as_list)] = Field(
        default_factory=list, description=f"weekdays and hours, such as {EXAMPLE}; any of them"
    )

    def when(self) -> When:
        """As rules have it."""
        return When(
            types=frozenset(self.type),
            kinds=tuple(self.kind),
            priority=self.priority,
            symbols=tuple(self.symbol),
            strategies=tuple(self.strategy),
            sources=frozenset(self.source),
            data=tuple(map(read_comparison, self.data)),
            hours=tuple(map(read_hours, self.hours)),
        )


class RuleBlock(Block):
    """What every rule has."""

    name: str | None = Field(default=None, description="what history and explanations call it; its place otherwise")
    when: WhenBlock | None = Field(default=None, description="which alerts it is about; all where it is left out")

    def about(self) -> When:
        """Which alerts it is about."""
        return ANY if self.when is None else self.when.when()

    def called(self, block: str, number: int) -> str:
        """What to call it, as the rule of this number in its block."""
        return self.name or f"{block} {number}"


class ThroughBlock(RuleBlock):
    """A rule that lets something through."""

    through: Through = Field(
        default="critical", description="from this priority on alerts pass the rule by; none: no alert does"
    )

    def passes(self) -> Priority | None:
        """From which priority on alerts pass the rule by."""
        return None if self.through == NONE else Priority(self.through)

    def common(self, block: str, number: int) -> dict[str, Any]:
        """What the rule made of it is to be given."""
        return {"name": self.called(block, number), "when": self.about(), "through": self.passes()}


class RouteBlock(RuleBlock):
    """One route: read top-down, the first that takes an alert decides."""

    to: Words = Field(description="channels by name or type, `all`, or `[]` for none")
    goes_on: bool = Field(
        default=False, alias="continue", description="the channels are added, and the next routes have a look too"
    )

    def rule(self, number: int) -> Route:
        """As rules have it."""
        return Route(
            name=self.called("route", number), when=self.about(), through=None, to=tuple(self.to), goes_on=self.goes_on
        )


class CooldownBlock(ThroughBlock):
    """After one of its kind was told, no other for a while."""

    every: Annotated[Seconds, Field(gt=0, le=31_536_000)] = Field(description="how long")
    most: int = Field(default=1, ge=1, le=100_000, description="so many are told in that time")
    key: Keys = Field(default=list(SAME_KIND), description="what those of a kind have in common")

    def rule(self, number: int) -> Throttle:
        """As rules have it."""
        return Throttle(
            **self.common("cooldown", number),
            seconds=self.every,
            most=self.most,
            key=tuple(self.key),
            reason=Reason.COOLDOWN,
        )


class RepeatsBlock(ThroughBlock):
    """The same again, within a time, is not told."""

    within: Annotated[Seconds, Field(gt=0, le=31_536_000)] = Field(description="how long one that was told counts")
    key: Keys = Field(default=list(SAME_TEXT), description="what makes two alerts the same; the whole text otherwise")

    def rule(self, number: int) -> Throttle:
        """As rules have it."""
        common = self.common("repeats", number)
        return Throttle(**common, seconds=self.within, key=tuple(self.key), reason=Reason.REPEATED)


class OncePerBarBlock(ThroughBlock):
    """One of a kind on each bar."""

    key: Keys = Field(default=list(SAME_KIND), description="what those of a kind have in common")

    def rule(self, number: int) -> OncePerBar:
        """As rules have it."""
        return OncePerBar(**self.common("once_per_bar", number), key=tuple(self.key))


class AtLeastBlock(ThroughBlock):
    """What is about less is not told."""

    field: str = Field(description="a field of the alert's data, such as pnl, pnlcomm, size or value")
    least: Annotated[float, Field(gt=0)] = Field(description="what it must be at least, whatever its sign")

    def rule(self, number: int) -> AtLeast:
        """As rules have it."""
        return AtLeast(**self.common("at_least", number), field=self.field, least=self.least)


class LevelBlock(ThroughBlock):
    """A level with hysteresis: told when crossed, and again only after the number was back."""

    field: str = Field(description="a field of the alert's data")
    above: float | None = Field(default=None, description="told when it rises to this")
    below: float | None = Field(default=None, description="told when it falls to this")
    back: float | None = Field(
        default=None, description="and again only after it was back beyond this; the level itself otherwise"
    )
    key: Keys = Field(default=list(SAME_KIND), description="what alerts about one level have in common")

    def rule(self, number: int) -> Level:
        """As rules have it."""
        rising = self.above is not None
        level = self.above if self.above is not None else self.below or 0.0
        return Level(
            **self.common("levels", number),
            field=self.field,
            level=level,
            back=level if self.back is None else self.back,
            rising=rising,
            key=tuple(self.key),
        )


class InhibitBlock(ThroughBlock):
    """While a cause is known, what follows from it is not told."""

    cause: WhenBlock = Field(description="the alert that tells of the cause")
    ends: WhenBlock = Field(description="the alert that tells of its end")
    equal: Keys = Field(default=["symbol"], description="in what cause, end and consequence are the same")
    longest: Annotated[Seconds, Field(gt=0, le=31_536_000)] = Field(
        default=43_200.0, description="after how long the cause is no excuse any more"
    )

    def rule(self, number: int) -> Inhibit:
        """As rules have it."""
        return Inhibit(
            **self.common("inhibit", number),
            cause=self.cause.when(),
            ends=self.ends.when(),
            equal=tuple(self.equal),
            longest=self.longest,
        )


class MaintenanceBlock(ThroughBlock):
    """Times in which alerts are expected and nobody is told."""

    hours: Annotated[list[HoursText], BeforeValidator(as_list)] = Field(
        default_factory=list, description=f"hours of the week, such as {EXAMPLE}"
    )
    begins: TimeText | None = Field(default=None, alias="from", description="not before: 2026-12-24T18:00, UTC")
    until: TimeText | None = Field(default=None, description="not from then on")

    def rule(self, number: int) -> Maintenance:
        """As rules have it."""
        return Maintenance(
            **self.common("maintenance", number),
            hours=tuple(map(read_hours, self.hours)),
            begins=None if self.begins is None else unix(self.begins),
            ends=None if self.until is None else unix(self.until),
        )


class Rules(Block):
    """What is not told at all. Each alert is asked in this order."""

    maintenance: list[MaintenanceBlock] = Field(default_factory=list, description="windows in which nobody is told")
    inhibit: list[InhibitBlock] = Field(default_factory=list, description="what is not told while its cause is known")
    at_least: list[AtLeastBlock] = Field(default_factory=list, description="what is about less is not told")
    levels: list[LevelBlock] = Field(
        default_factory=list, description="told when a number crosses a level, and again only after it was back"
    )
    once_per_bar: list[OncePerBarBlock] = Field(default_factory=list, description="one of a kind on each bar")
    repeats: list[RepeatsBlock] = Field(default_factory=list, description="the same again is not told")
    cooldown: list[CooldownBlock] = Field(
        default_factory=list, description="after one of its kind was told, no other for a while"
    )

    def noise(self) -> tuple[base.Rule, ...]:
        """Those that stand behind one another in the pipeline."""
        blocks: Iterable[Sequence[Any]] = (
            self.at_least, self.levels, self.once_per_bar, self.repeats, self.cooldown,
        )  # fmt: skip
        return tuple(block.rule(number) for each in blocks for number, block in enumerate(each, 1))


class QuietBlock(ThroughBlock):
    """Hours in which channels are quiet."""

    channels: Words = Field(default_factory=list, description="which, by name or type; all where it is left out")
    hours: Annotated[list[HoursText], BeforeValidator(as_list), Field(min_length=1)] = Field(
        description="when, such as 22:00-07:00 Europe/Berlin, or several"
    )
    then: Then = Field(
        default="digest",
        description="what becomes of what came: digest (one message at their end), each (one after the other then) or "
        "record (only in the history)",
    )

    def rule(self, number: int, channels: Callable[[Sequence[str]], frozenset[str]]) -> quiet.Quiet:
        """As rules have it."""
        return quiet.Quiet(
            **self.common("quiet_hours", number),
            channels=channels(self.channels),
            hours=tuple(map(read_hours, self.hours)),
            then=self.then,
        )


class DigestBlock(ThroughBlock):
    """What goes in one message at set times, or (``report``) a summary of the time before."""

    at: Annotated[list[MomentText], BeforeValidator(as_list), Field(min_length=1)] = Field(
        description=f"when, such as {MOMENT_EXAMPLE}, or several"
    )
    channels: Words = Field(default_factory=list, description="which, by name or type; all where it is left out")
    through: Through = Field(
        default="high", description="from this priority on alerts do not wait for it; none: every alert does"
    )
    report: Period | None = Field(
        default=None, description="make a report (daily or weekly) in place of gathering alerts"
    )

    def rule(self, number: int, channels: Callable[[Sequence[str]], frozenset[str]]) -> quiet.Digest:
        """As rules have it, where it gathers alerts."""
        return quiet.Digest(
            **self.common("digests", number),
            channels=channels(self.channels),
            at=tuple(map(read_moment, self.at)),
        )

    def reports(self, number: int) -> Iterable[Report]:
        """As rules have it, where it makes reports."""
        name = self.called("digests", number)
        for place, text in enumerate(self.at):
            own = name if len(self.at) == 1 else f"{name}.{place + 1}"
            yield Report(own, self.report or "daily", read_moment(text), tuple(self.channels))


class StepBlock(Block):
    """One step of an escalation."""

    after: Annotated[Seconds, Field(gt=0, le=31_536_000)] = Field(
        description="how long nobody acknowledged it, since the step before"
    )
    to: OneOrMore = Field(description="channels by name or type")


class EscalationBlock(RuleBlock):
    """What goes further unless somebody acknowledges it."""

    steps: Annotated[list[StepBlock], Field(min_length=1)] = Field(description="where it goes next, in order")
    repeat: int = Field(default=0, ge=0, le=1000, description="how often all steps are gone through again")

    def rule(self, number: int, channels: Callable[[Sequence[str]], frozenset[str]]) -> Escalation:
        """As rules have it."""
        return Escalation(
            name=self.called("escalation", number),
            when=self.about(),
            through=None,
            steps=tuple(Step(step.after, tuple(sorted(channels(step.to)))) for step in self.steps),
            repeat=self.repeat,
        )


def named(words: Sequence[str], types: dict[str, str]) -> frozenset[str]:
    """The channels that words name, by name or else by type; a word that names none stays as it is.

    Args:
        words: names and types; ``all`` for all.
        types: the type of each enabled channel, by name.
    """
    # A word that names none must not vanish: a rule for no channel in particular is one for all.
    return frozenset().union(*(route.named([word], tuple(types), types) or {word} for word in words))


def namer(types: dict[str, str]) -> Callable[[Sequence[str]], frozenset[str]]:
    """:func:`named` for these channels."""
    return functools.partial(named, types=types)
