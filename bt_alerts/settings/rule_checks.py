"""What no model of a single rule can see: whether the channels exist, whether a rule can ever match, what overlaps.

*Problems* refuse the settings, as every other mistake does. *Warnings* do not: the rules do what they say, and that may
not be what was meant. Both are told at the line of the very key. Nothing here changes a rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bt_alerts.alert import Priority, Source
from bt_alerts.hours import read_hours, read_moment
from bt_alerts.rules.maintenance import Maintenance
from bt_alerts.rules.quiet import RECORD
from bt_alerts.rules.route import ALL
from bt_alerts.rules.when import ANY, Comparison, When, clock
from bt_alerts.settings import rule_logic, rule_times, sentences
from bt_alerts.settings.layers import KeyPath, Layer, dotted, printable
from bt_alerts.settings.rules import (
    NONE,
    AtLeastBlock,
    CooldownBlock,
    DigestBlock,
    EscalationBlock,
    InhibitBlock,
    LevelBlock,
    MaintenanceBlock,
    OncePerBarBlock,
    QuietBlock,
    RepeatsBlock,
    RouteBlock,
    RuleBlock,
    ThroughBlock,
    named,
)

#: Where lists of rules stand, their models, and what a rule without a name is called.
_LISTS: Mapping[KeyPath, tuple[type[RuleBlock], str]] = {
    ("routes",): (RouteBlock, "route"),
    ("rules", "maintenance"): (MaintenanceBlock, "maintenance"),
    ("rules", "inhibit"): (InhibitBlock, "inhibit"),
    ("rules", "at_least"): (AtLeastBlock, "at_least"),
    ("rules", "levels"): (LevelBlock, "levels"),
    ("rules", "once_per_bar"): (OncePerBarBlock, "once_per_bar"),
    ("rules", "repeats"): (RepeatsBlock, "repeats"),
    ("rules", "cooldown"): (CooldownBlock, "cooldown"),
    ("quiet_hours",): (QuietBlock, "quiet_hours"),
    ("digests",): (DigestBlock, "digests"),
    ("escalation",): (EscalationBlock, "escalation"),
}


def check_rules(layer: Layer, types: Mapping[str, str], enabled: Collection[str], now: float) -> None:
    """Note every problem and every warning of the rules. What a model has refused already is passed over.

    Args:
        layer: the settings, merged; it takes the notes.
        types: the type of each channel by name, enabled or not.
        enabled: names of the enabled ones.
        now: by which windows are judged, in Unix seconds.
    """
    _Checks(layer, types, enabled, now).all()


@dataclasses.dataclass(frozen=True, slots=True)
class _Placed:
    """One rule, where it stands, and which alerts it is about."""

    at: KeyPath
    block: Any
    name: str
    when: When


class _Checks:
    def __init__(self, layer: Layer, types: Mapping[str, str], enabled: Collection[str], now: float) -> None:
        self.layer = layer
        self.now = now
        self.types = types
        self.enabled = {name: kind for name, kind in types.items() if name in enabled}
        self.rules = {at: list(self._read(at, model, word)) for at, (model, word) in _LISTS.items()}

    def _read(self, at: KeyPath, model: type[RuleBlock], word: str) -> Iterator[_Placed]:
        given: Any = self.layer.tree
        for key in at:
            given = given.get(key) if isinstance(given, dict) else None
        for place, each in enumerate(given if isinstance(given, list) else []):
            try:
                block = model.model_validate(each)
            except ValidationError:  # told where the models are checked
                continue
            yield _Placed((*at, place), block, block.called(word, place + 1), block.about())

    def all(self) -> None:
        """Every question, in the order of the blocks."""
        for at, rules in self.rules.items():
            for rule in rules:
                self._when((*rule.at, "when"), rule.block.when)
                self._through(rule)
                for key in ("to", "channels"):
                    self._channels((*rule.at, key), getattr(rule.block, key, ()))
                for key in ("key", "equal", "field"):
                    self._fields(rule, key)
                if at in _ASKED:
                    _ASKED[at](self, rule)
        together: dict[str | int, list[_Placed]] = {}
        for at, rules in self.rules.items():  # the rules under `rules:` share what they remember
            together.setdefault(at[0], []).extend(rules)
        for rules in together.values():
            self._names(rules)
        self._hidden(self.rules["routes",], "remove it, or write `continue: true` there")
        self._hidden(self.rules["escalation",], "or remove it")
        self._overlaps()

    # ------------------------------------------------------------------------------------------ every rule

    def _names(self, rules: Iterable[_Placed]) -> None:
        seen: dict[str, _Placed] = {}
        for rule in sorted(rules, key=lambda rule: rule.block.name is not None):
            given = rule.block.name is not None
            if given and not rule.name.strip():
                self.layer.problem((*rule.at, "name"), "write a name, or remove the key: a name is not needed")
            elif given and rule.name in seen:
                told = f"{self._where(seen[rule.name])} has this name already; write another"
                self.layer.problem((*rule.at, "name"), told)
            else:
                seen[rule.name] = rule

    def _when(self, at: KeyPath, block: Any) -> None:
        """What a ``when`` names that does not exist, or never comes together."""
        if block is None:
            return
        when: When = block.when()
        for place, word in enumerate(block.kind):
            problem = rule_logic.kind_problem(word)
            if problem:
                self.layer.problem(self._member((*at, "kind"), place), problem)
        other = rule_logic.excluded_type(when)
        if other is not None:
            kinds = ", ".join(block.kind)
            told = f"this never matches: {printable(kinds)} is of type {other.value}; write that, or remove `type:`"
            self.layer.problem((*at, "type"), told)
        self._comparisons(at, when)
        if when.sources == {Source.HISTORY} and self.layer.tree.get("mode", "auto") == "auto":
            told = "this never matches: alerts of old bars get to no rule unless `mode: send`; write live, or remove it"
            self.layer.problem((*at, "source"), told)

    def _comparisons(self, at: KeyPath, when: When) -> None:
        for place, comparison in enumerate(when.data):
            self._field(self._member((*at, "data"), place), comparison.field, [when])
        found = rule_logic.contradiction(when.data)
        if found is not None:
            place, before = found
            last: Comparison = when.data[place]
            told = f"this never matches: {before} and {last} are never true together; write a rule for each"
            self.layer.problem(self._member((*at, "data"), place), printable(told, 300))

    def _field(self, at: KeyPath, path: str, whens: Sequence[When]) -> None:
        problem = rule_logic.field_problem(path, whens)
        if problem:
            self.layer.problem(at, problem)

    def _fields(self, rule: _Placed, key: str) -> None:
        """The fields of alerts' data that a rule names besides those of its ``when``."""
        given = getattr(rule.block, key, None)
        whens = [rule.when]
        if isinstance(rule.block, InhibitBlock):
            whens += [rule.block.cause.when(), rule.block.ends.when()]
        if isinstance(given, str):
            self._field((*rule.at, key), given, whens)
        for place, word in enumerate(given if isinstance(given, list) else []):
            if word.startswith("data."):
                self._field(self._member((*rule.at, key), place), word.removeprefix("data."), whens)

    def _through(self, rule: _Placed) -> None:
        block = rule.block
        if not isinstance(block, ThroughBlock | DigestBlock) or getattr(block, "report", None):
            return
        if block.through == NONE:
            wait = isinstance(block, DigestBlock) or (isinstance(block, QuietBlock) and block.then != RECORD)
            told = "wait" if wait else "can be held back for good"
            self.layer.warn((*rule.at, "through"), f"even critical alerts {told}; `through: critical` lets these pass")
            return
        through, least = Priority(block.through), rule.when.priority
        if not rule_logic.empty_range(least, through):
            return
        higher = next((word.value for word in Priority if least and word.rank == least.rank + 1), NONE)
        given = "through" in block.model_fields_set
        above = "critical alerts" if through is Priority.CRITICAL else f"alerts of {through.value} priority and above"
        told = f"this never matches: {above} pass the rule by"
        told += "" if given else f" (`through: {through.value}` is the default)"
        path: KeyPath = (*rule.at, "through") if given else (*rule.at, "when", "priority")
        self.layer.problem(path, f"{told}, and it is about none below {least}; write `through: {higher}`")

    # ------------------------------------------------------------------------------------------ channels

    def _channels(self, at: KeyPath, words: Sequence[str], *, step: bool = False) -> None:
        for place, word in enumerate(words):
            path = self._member(at, place)
            if word == ALL or word in self.enabled or word in self.enabled.values():
                continue
            if word in self.types:
                told = f"the channel {sentences.named(word)} is not enabled, so nothing goes there; "
                self.layer.warn(path, told + "write `enabled: true` in its block")
            elif word not in self.types.values():
                self.layer.problem(path, self._no_channel(word))
            elif step:
                self.layer.problem(path, f"no channel of type {sentences.named(word)} is enabled; name one that is")
            else:
                self.layer.warn(path, f"no channel of type {sentences.named(word)} is enabled, so nothing goes there")

    def _no_channel(self, word: str) -> str:
        told = f"there is no channel {sentences.shown(word)}"
        if not self.types:
            return f"{told}; write its block under `alerts:`"
        known = list(dict.fromkeys([*self.types, *self.types.values(), ALL]))
        near = sentences.nearest(word, known)
        return f"{told}; " + (f"did you mean `{near}`?" if near else f"use one of {', '.join(map(printable, known))}")

    # ------------------------------------------------------------------------------------------ single blocks

    def _level(self, rule: _Placed) -> None:
        block: LevelBlock = rule.block
        if (level := block.above if block.above is not None else block.below) is None:
            self.layer.problem(rule.at, "write `above:` or `below:`: the level that is told when it is reached")
        elif block.above is not None and block.below is not None:
            self.layer.problem((*rule.at, "below"), "`above:` is given as well; write a rule for each of them")
        elif block.back is not None and (block.back > level if block.above is not None else block.back < level):
            side = "less" if block.above is not None else "more"
            told = f"write {level:g} or {side}, not `{block.back:g}`: it is told again after the number was back there"
            self.layer.problem((*rule.at, "back"), told)

    def _inhibit(self, rule: _Placed) -> None:
        cause, ends = rule.block.cause.when(), rule.block.ends.when()
        for key, part in (("cause", cause), ("ends", ends)):
            self._when((*rule.at, key), getattr(rule.block, key))
            if rule_logic.covers(part, rule.when):
                told = f"this never matches: whatever it is about is its `{key}:` itself, and that is always told"
                self.layer.problem((*rule.at, key), f"{told}; narrow this, with `kind:` for one")
        if rule_logic.covers(cause, ends):
            self.layer.problem((*rule.at, "ends"), "every end would be a cause again; write what tells them apart")

    def _maintenance(self, rule: _Placed) -> None:
        block: MaintenanceBlock = rule.block
        window: Maintenance = block.rule(0)
        if not block.hours and block.begins is None and block.until is None:
            self.layer.problem(rule.at, "write `hours:`, or `from:` and `until:`; without them it would never end")
        elif window.begins is not None and window.ends is not None and window.ends <= window.begins:
            self.layer.problem(
                (*rule.at, "until"), f"write a time after `from:`, which is {printable(block.begins or '')}"
            )
        elif rule_times.never_opens(window):
            self.layer.problem(
                (*rule.at, "hours"), "this never matches: none of these hours is from `from:` to `until:`"
            )
        elif block.until is None and window.hours and rule_times.open_all_week(window.hours, self.now):
            self.layer.problem((*rule.at, "hours"), "these hours never end; write hours that do, or `until:`")
        elif window.ends is not None and window.ends <= self.now:
            self.layer.warn((*rule.at, "until"), "this window is over; remove it")
        elif block.hours and rule.when.hours and rule_times.apart_all_week(window.hours, rule.when.hours):
            told = "this never matches: these hours are all outside the `hours:` of the window"
            self.layer.problem((*rule.at, "when", "hours"), told)
        else:
            end = self.now + rule_times.AHEAD
            start = max(self.now, window.begins or self.now)
            self._clocks((*rule.at, "hours"), block.hours, start, min(end, window.ends or end))

    def _quiet(self, rule: _Placed) -> None:
        if rule_times.open_all_week(tuple(map(read_hours, rule.block.hours)), self.now):
            told = "these hours never end, so nothing would ever be sent; write hours that end, or `enabled: false`"
            self.layer.problem((*rule.at, "hours"), told)
            return
        self._clocks((*rule.at, "hours"), rule.block.hours, self.now, self.now + rule_times.AHEAD)

    def _clocks(self, at: KeyPath, hours: Sequence[str], start: float, end: float) -> None:
        for place, text in enumerate(hours):
            told = rule_times.changes(read_hours(text), start, end) if start < end else ""
            if told:
                self.layer.warn(self._member(at, place), told, log=False)

    def _digest(self, rule: _Placed) -> None:
        block: DigestBlock = rule.block
        for place, text in enumerate(block.at):
            moment = read_moment(text)
            path = self._member((*rule.at, "at"), place)
            if block.report == "weekly" and len(moment.days) != 1:
                told = (
                    f"a weekly report is made on one day; write it, such as {clock(moment.seconds)} {moment.zone} mon"
                )
                self.layer.problem(path, told)
            odd = rule_times.odd_days(moment, self.now, self.now + rule_times.AHEAD)
            if odd:
                self.layer.warn(path, odd, log=False)
        for key in ("when", "through"):
            if block.report is not None and key in block.model_fields_set:
                self.layer.problem((*rule.at, key), "a report gathers no alerts; remove this, or `report:`")

    def _escalation(self, rule: _Placed) -> None:
        told: dict[str, int] = {}
        for number, step in enumerate(rule.block.steps):
            at: KeyPath = (*rule.at, "steps", number, "to")
            self._channels(at, step.to, step=True)
            reached: set[str] = set()
            for place, word in enumerate(step.to):
                names = named([word], self.enabled)
                again = sorted(names & told.keys())
                if again and names <= told.keys():
                    one = f"{sentences.named(again[0])} is told in step {told[again[0]] + 1} already; "
                    several = f"all that {sentences.named(word)} names are told in the steps before; "
                    already = one if names == {word} else several
                    how = "name another channel, or write `repeat:` to go through all steps again"
                    self.layer.problem(self._member(at, place), already + how)
                reached |= names
            told |= dict.fromkeys(reached - told.keys(), number)

    # ------------------------------------------------------------------------------------------ two of them

    def _hidden(self, rules: Sequence[_Placed], otherwise: str) -> None:
        """Of rules of which the first takes an alert, those that no alert gets to."""
        for place, rule in enumerate(rules):
            for before in rules[:place]:
                if not getattr(before.block, "goes_on", False) and rule_logic.covers(before.when, rule.when):
                    everything = "every alert" if before.when == ANY else "all of these"
                    told = f"no alert gets here: {self._where(before)} takes {everything}; move this above it, "
                    self.layer.problem(rule.at, told + otherwise)
                    break

    def _overlaps(self) -> None:
        quiet, windows = self.rules["quiet_hours",], self.rules["rules", "maintenance"]
        hours = [tuple(map(read_hours, each.block.hours)) for each in quiet]
        week = [rule_times.week(each, self.now) for each in hours]
        for place, second in enumerate(quiet):
            for other, first in enumerate(quiet[:place]):
                channels = self._shared(first.block.channels, second.block.channels)
                if channels is None or not _meet(first, second):
                    continue
                span = rule_times.common(week[other], week[place])
                if span is not None:
                    on = f" on {', '.join(map(printable, channels))}" if channels else ""
                    when = rule_times.span_words(span, hours[place][0].zone)
                    told = f"{self._where(first)} is quiet then too{on}, {when}; the first of them counts while both "
                    self.layer.warn((*second.at, "hours"), f"{told}are open")
                    break
        windows = [each for each in windows if each.block.hours or each.block.begins or each.block.until]
        for place, second in enumerate(windows):
            for first in windows[:place]:
                if not _meet(first, second):
                    continue
                window: Maintenance = second.block.rule(0)
                span = rule_times.maintenance_overlap(first.block.rule(0), window, self.now)
                if span is not None:
                    zone = window.hours[0].zone if window.hours else "UTC"
                    told = f"{self._where(first)} is open then too, {rule_times.span_words(span, zone)}"
                    key = "hours" if window.hours else "from" if window.begins is not None else "until"
                    self.layer.warn((*second.at, key), f"{told}; one of them is enough there")
                    break

    def _shared(self, first: Sequence[str], second: Sequence[str]) -> list[str] | None:
        """The channels of both; empty for all of them, None for none."""
        if not first and not second:
            return []
        every = frozenset(self.enabled)
        shared = (named(first, self.enabled) if first else every) & (named(second, self.enabled) if second else every)
        return sorted(shared) or None

    # ------------------------------------------------------------------------------------------ places

    def _member(self, at: KeyPath, place: int) -> KeyPath:
        """Where the member of a list stands; the list's own place where it is one line of text."""
        return (*at, place) if (*at, place) in self.layer.origins else at

    def _where(self, rule: _Placed) -> str:
        line = self.layer.origin(rule.at).line
        hidden = self.layer.hides and not self.layer.origin((*rule.at, "name")).literal
        said = rule.block.name is not None and not hidden
        called = sentences.named(rule.name) if said else dotted(rule.at)
        return f"{called} on line {line}" if line else called


#: What is asked of the rules of one list besides.
_ASKED: Mapping[KeyPath, Callable[[_Checks, _Placed], None]] = {
    ("rules", "levels"): _Checks._level,
    ("rules", "inhibit"): _Checks._inhibit,
    ("rules", "maintenance"): _Checks._maintenance,
    ("quiet_hours",): _Checks._quiet,
    ("digests",): _Checks._digest,
    ("escalation",): _Checks._escalation,
}


def _meet(first: _Placed, second: _Placed) -> bool:
    """Whether one alert can be in both windows."""
    (low, high), (other_low, other_high) = (_priorities(each) for each in (first, second))
    if max(low, other_low) >= min(high, other_high):
        return False
    return not rule_logic.never_both(first.when, second.when)


def _priorities(rule: _Placed) -> tuple[int, int]:
    """From which rank on a rule is about alerts, and from which on not any more."""
    least, through = rule.when.priority, rule.block.passes()
    return (0 if least is None else least.rank), (len(Priority) if through is None else through.rank)
