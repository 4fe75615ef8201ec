"""``bt-alerts route``: where an alert goes and when, and which rule decided so.

Of an alert in the store it shows what was decided then, and what the settings of now would decide. Of one that is made
up, as JSON, only that. Nothing is changed: the store is only read, and need not be there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bt_alerts.cli.shell import (
    WRONG_USE,
    Column,
    Config,
    Stop,
    complain,
    existing_store,
    load_settings,
    say,
    show_table,
    shown,
    store_sentence,
    the_alert,
)
from bt_alerts.errors import StoreError

if TYPE_CHECKING:
    from bt_alerts.alert import Alert
    from bt_alerts.delivery.report import DeliveryReport
    from bt_alerts.outbox.base import Outbox, RuleState
    from bt_alerts.rules.explain import Explanation, Step
    from bt_alerts.settings import Settings

_EXAMPLE = """{"message": "Sold 100 AAPL", "kind": "order.completed", "symbol": "AAPL"}"""
_STYLES = {"acted": "cyan", "ended it": "yellow", "failed": "red", "not asked": "dim"}


def route(
    alert: Annotated[
        str,
        typer.Argument(
            metavar="ALERT_ID|JSON|-",
            help="An alert's number in `history`, its id or the first 6 characters of that, or `last`; or an alert as "
            "JSON; - reads that from standard input.",
        ),
    ],
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each rule did, and why.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="As if it came then: 2026-01-31T15:30, UTC.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything.")] = False,
    config: Config = None,
) -> None:
    """Show where an alert goes and when; with --explain, which rule decided so and why the others did not."""
    settings = load_settings(config)
    when = None if at is None else _time(at, "--at")
    text = sys.stdin.read() if alert.strip() == "-" else alert
    if alert.strip() == "-" or text.lstrip().startswith(("{", "[")):
        found = _of_json(settings, text, when)
    else:
        found = _of_store(settings, text, when)
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict()) + "\n")
        return
    if found.then is not None:
        _show_then(found.then, found.goes_further, whole=explain)
    _show_now(found, whole=explain)


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What there is to show.

    Args:
        alert: the alert.
        now: what the settings of now decide.
        supposing: under which assumption, in words.
        then: what was decided when it came; None where it never came, or nobody has decided about it yet.
        goes_further: when it goes further unless somebody acknowledges it, in words; empty where it does not.
    """

    alert: Alert
    now: Explanation
    supposing: str
    then: DeliveryReport | None = None
    goes_further: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "alert": self.alert.to_dict(),
            "then": None if self.then is None else self.then.to_dict() | {"goes_further": self.goes_further},
            "now": self.now.to_dict() | {"supposing": self.supposing},
        }


# -------------------------------------------------------------------------------------------- an alert of the store


def _of_store(settings: Settings, given: str, at: float | None) -> _Answer:
    from bt_alerts.alert import Alert
    from bt_alerts.delivery.report import report_of
    from bt_alerts.outbox.recall import Recalled
    from bt_alerts.rules.explain import Overlay, clock

    with existing_store(settings) as outbox:
        id_ = the_alert(outbox, given).id
        body, due = next(iter(outbox.rows("SELECT body, due FROM alerts WHERE id = ?", (id_,))))
        found, report = Alert.from_json(body), report_of(outbox, id_)
        undecided = report is not None and report.state == "waiting"
        state: RuleState = Overlay()
        if at is not None:
            state = Recalled(outbox, at, without=id_)
            supposing = f"as if it came at {clock(at)}, with what rules remember now"
            due = max(due, 0.0) if due > at else 0.0
        elif undecided:
            at, supposing = time.time(), "with what rules remember now, because nobody has decided about it yet"
            state = Recalled(outbox, at, without=id_)
        else:
            at = found.time.timestamp()  # what rules remembered then is not kept
            supposing = f"as if it came at {clock(at)}, its own time, and nothing had come before it"
        explanation = _explained(settings, found, state, at, due=due, disabled=_disabled(outbox))
        further = _goes_further(outbox, id_)
    return _Answer(found, explanation, supposing, None if undecided else report, further)


def _goes_further(outbox: Outbox, id_: str) -> str:
    from bt_alerts.rules.explain import clock

    rows = outbox.rows("SELECT value FROM rule_state WHERE rule = 'escalation' AND key = ?", (id_,))
    for (value,) in list(rows):
        waits = json.loads(value)
        return f"{waits['rule']}, step {int(waits['turn']) + 1}, at {clock(float(waits['at']))}"
    return ""


# ---------------------------------------------------------------------------------------------------- an alert as JSON


def _of_json(settings: Settings, text: str, at: float | None) -> _Answer:
    from bt_alerts.rules.explain import clock

    when = time.time() if at is None else at
    made = read_alert(text, when)
    with _memory(settings, made, when) as (state, disabled, remembered):
        explanation = _explained(settings, made, state, when, disabled=disabled)
    return _Answer(made, explanation, f"as if it came at {clock(when)}, with {remembered}")


@contextlib.contextmanager
def _memory(settings: Settings, alert: Alert, now: float) -> Iterator[tuple[RuleState, frozenset[str], str]]:
    """What rules remember, which channels are disabled, and that in words; nothing where there is no store to read."""
    from bt_alerts.outbox.recall import Recalled
    from bt_alerts.rules.explain import Overlay

    nothing = "nothing that rules remember"
    with contextlib.ExitStack() as stack:
        try:
            outbox = stack.enter_context(existing_store(settings))
            disabled = _disabled(outbox)
        except Stop:
            yield Overlay(), frozenset(), f"{nothing}, because there is no store"
            return
        except StoreError as exc:
            complain(store_sentence(exc), "yellow")
            yield Overlay(), frozenset(), f"{nothing}, because the store cannot be read"
            return
        yield Recalled(outbox, now, without=alert.id), disabled, "what rules remember now"


def read_alert(text: str, at: float) -> Alert:
    """An alert from JSON: the fields of :meth:`bt_alerts.Alert.make`, of which a message, a title or a kind is enough.

    A row of ``bt-alerts history --json`` is one too. Ends the command with a sentence where it is none.

    Args:
        text: a JSON object.
        at: when it happened where the object does not say so, in Unix seconds.
    """
    from bt_alerts.alert import Alert, AlertType, Attachment, Priority, Source
    from bt_alerts.kinds import KINDS
    from bt_alerts.outbox.history import DECISION

    row = _object(text)
    row = {name: value for name, value in row.items() if value is not None and name not in DECISION}
    for name in row:
        if name not in _FIELDS:
            raise Stop(WRONG_USE, _unknown(name))
    if not any(str(row.get(name, "")).strip() for name in ("message", "title", "kind")):
        raise Stop(WRONG_USE, f"An alert needs a message, a title or a kind: {_EXAMPLE}.")
    kind = KINDS.get(str(row.get("kind", "")))
    if kind is not None:
        row = {"type": kind.type.value, "priority": kind.priority.value, "message": kind.about, **row}
    readers: dict[str, Callable[[Any], Any]] = {
        "type": lambda value: _word("type", value, AlertType),
        "priority": lambda value: _word("priority", value, Priority),
        "source": lambda value: Source(_word("source", value, Source)),
        "time": lambda value: _time(value, "time"),
        "bar_time": lambda value: _time(value, "bar_time"),
        "data": _data,
        "channels": _channels,
        "attachments": lambda value: [Attachment(**each) for each in value],
    }
    fields: dict[str, Any] = {name: str(value) if name in _TEXTS else value for name, value in row.items()}
    for name, read in readers.items():
        if name in fields:
            try:
                fields[name] = read(fields[name])
            except TypeError:
                raise Stop(WRONG_USE, f"{name} is not what an alert has there.") from None
    return Alert.make(fields.pop("message", ""), **{"time": at, **fields})


_TEXTS = ("message", "title", "kind", "symbol", "strategy", "run", "action", "dedupe_key", "thread", "id")
_FIELDS = (
    "message", "title", "type", "kind", "priority", "symbol", "strategy", "data", "channels", "source", "time",
    "bar_time", "run", "action", "dedupe_key", "thread", "attachments", "id",
)  # fmt: skip


def _object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as exc:
        reason = f"{exc.msg} at character {exc.pos + 1}" if isinstance(exc, json.JSONDecodeError) else "it is no text"
        raise Stop(WRONG_USE, f"This is no JSON: {reason}. Write an object such as {_EXAMPLE}.") from None
    except RecursionError:
        raise Stop(WRONG_USE, "This JSON is nested too deep.") from None
    if not isinstance(row, dict):
        raise Stop(WRONG_USE, f"This JSON is no object: write one alert, such as {_EXAMPLE}.")
    return row


def _unknown(name: str) -> str:
    from bt_alerts.settings.sentences import nearest

    near = nearest(name, _FIELDS)
    known = ", ".join(_FIELDS)
    return f"An alert has no field {name[:60]!r}." + (f" Did you mean {near}?" if near else f" It can have {known}.")


def _word(field: str, value: object, words: Any) -> str:
    known = [word.value for word in words]
    word = str(value).strip().lower()
    if word not in known:
        raise Stop(WRONG_USE, f"{str(value)[:60]!r} is no {field}. Use one of {', '.join(known)}.")
    return word


def _time(value: object, what: str) -> float:
    from bt_alerts.outbox.history import seconds

    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        at = seconds(value)
        dt.datetime.fromtimestamp(at + 800 * 86_400.0, dt.UTC)  # rules look ahead
    except (ValueError, OverflowError, OSError):
        raise Stop(WRONG_USE, f"{what}: {str(value)[:60]!r} is no time. Write it as 2026-01-31T15:30.") from None
    return at


def _data(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Stop(WRONG_USE, """data is an object, such as {"pnl": -620.5}.""")
    return value


def _channels(value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Stop(WRONG_USE, """channels is a list of names, such as ["phone"].""")
    return names


# --------------------------------------------------------------------------------------------------- deciding


def _explained(
    settings: Settings, alert: Alert, state: RuleState, now: float, *, due: float = 0.0, disabled: frozenset[str]
) -> Explanation:
    from bt_alerts.rules import explain, pipeline

    enabled = settings.channels
    fallbacks = {name: channel.fallback for name, channel in enabled.items() if channel.fallback in enabled}
    return explain.explain(
        pipeline.build(settings.rule_settings()),
        alert,
        state,
        now,
        due,
        disabled=disabled,
        fallbacks={name: other for name, other in fallbacks.items() if other is not None},
    )


def _disabled(outbox: Outbox) -> frozenset[str]:
    return frozenset(name for (name,) in outbox.rows("SELECT channel FROM channels WHERE disabled != ''"))


# --------------------------------------------------------------------------------------------------- showing


def _show_then(report: DeliveryReport, goes_further: str, *, whole: bool) -> None:
    from bt_alerts.delivery.report import why

    say(f"What was decided about {report.title!r} ({report.alert_id}) when it came", "bold")
    by = f" by {report.rule}" if report.rule else ""
    because = f": {why(report.reason)} ({report.reason})" if report.reason else ""
    say(f"  {report.state}{by}{because}")
    for each in report.trail if whole else ():
        say(f"  {each}")
    for result in report.results:
        say(f"  {result}")
    if report.acknowledged is not None:
        say(f"  acknowledged at {report.acknowledged:%Y-%m-%d %H:%M:%S} UTC")
    if goes_further:
        say(f"  goes further unless somebody acknowledges it: {goes_further}")
    say("")


def _show_now(found: _Answer, *, whole: bool) -> None:
    decided = found.now
    if found.then is not None or whole:
        say("What the settings of now decide", "bold")
        say(f"  {found.supposing}", "dim")
    if whole:
        _show_steps(decided)
        matched = dict.fromkeys(rule for rule in (*(note.rule for note in decided.trail), decided.rule) if rule)
        if matched:
            say(f"What matched: {', '.join(matched)}.")
    if decided.reason is not None:
        say(f"Nowhere. {decided.summary}")
    for going in decided.goes:
        say(f"{going.channel}: {going.words}")


def _show_steps(decided: Explanation) -> None:
    rows = [row for step in decided.steps for row in _step_rows(step)]
    columns = [Column("rule"), Column("", whole=True), Column("reason", 90, whole=True), Column("why"),
               Column("is about", 120), Column("does", 160)]  # fmt: skip
    show_table(columns, rows)


def _step_rows(step: Step) -> Iterator[list[object]]:
    style = _STYLES.get(step.did.value, "")
    alone = len(step.looks) == 1 and step.looks[0].rule == step.stage
    reasons = ", ".join(dict.fromkeys(reason.value for reason in step.reasons))
    about, does = (step.looks[0].about, step.looks[0].does) if alone else ("", "")
    yield [step.stage, shown(step.did.value, style), reasons, step.words, about, does]
    for look in () if alone else step.looks:
        yield [
            f"  {look.rule}",
            shown("no" if look.why_not else "yes", "dim" if look.why_not else style),
            "",
            look.why_not or "it is about the alert",
            look.about,
            look.does,
        ]
