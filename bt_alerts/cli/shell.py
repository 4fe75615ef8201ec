"""What the commands share: sentences and exit codes, settings and store, tables, and the options with one meaning."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from bt_alerts.errors import SettingsError, StoreError
from bt_alerts.outbox.postgres_address import is_postgres
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager
    from bt_alerts.outbox.base import Outbox
    from bt_alerts.settings import Settings

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Settings file; otherwise the one that $BT_ALERTS_CONFIG names."
    ),
]


class Stop(Exception):
    """Ends a command with sentences on standard error and an exit code."""

    def __init__(self, code: int, *sentences: str) -> None:
        super().__init__(*sentences)
        self.code = code
        self.sentences = sentences


# ----------------------------------------------------------------------------------------- sentences and exit codes


class Commands(TyperGroup):
    """The commands, and around each of them what turns an exception into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, _ClickException, BrokenPipeError):
            raise
        except Stop as stop:
            raise _ended(stop.code, *stop.sentences) from None
        except SettingsError as exc:
            raise _ended(WRONG_USE, *exc.problems) from None
        except StoreError as exc:
            raise _ended(FAILED if exc.passing else WRONG_USE, store_sentence(exc)) from None
        except KeyboardInterrupt:
            raise _ended(INTERRUPTED, "Interrupted.") from None
        except Exception as exc:
            lines = [f"bt-alerts failed, and should not have: {type(exc).__name__}: {exc}"]
            if ctx.params.get("verbose"):
                lines += traceback.format_exc().splitlines()
            else:
                lines.append("Run it again as `bt-alerts --verbose …` to see where, and please report it.")
            raise _ended(FAILED, *lines) from None


#: Click's own base of wrong uses: newer versions of typer carry a Click of their own, older ones import it.
_ClickException: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def _ended(code: int, *sentences: str) -> typer.Exit:
    for sentence in sentences:
        complain(sentence)
    return typer.Exit(code)


def store_sentence(exc: StoreError, *, ends: bool = True) -> str:
    """Why a store cannot be used; a command that ends with it does not try again, but a person can."""
    return _sentence(str(exc).replace("it is tried again", "try again later") if ends else str(exc))


def _sentence(text: str) -> str:
    first = text.split(maxsplit=1)[:1]
    text = text[:1].upper() + text[1:] if first and first[0].isalpha() else text  # alerts.db is not Alerts.db
    return text + ("" if text.endswith((".", "!", "?")) else ".")


class _Log(logging.Handler):
    """The log as lines on standard error, without tracebacks unless they are asked for."""

    verbose = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and not self.verbose:
            return
        text = record.getMessage()
        if self.verbose and record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        complain(text, style="" if record.levelno < logging.WARNING else "yellow")


_log = _Log()


def show_log(verbose: bool) -> None:
    """Show warnings of bt_alerts on standard error; with ``verbose`` everything."""
    _log.verbose = verbose
    logger = logging.getLogger("bt_alerts")
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    if _log not in logger.handlers:
        logger.addHandler(_log)


# --------------------------------------------------------------------------------------------------------- output


def output() -> Console:
    """Standard output. Made for each use, because test runners replace the stream."""
    return Console(file=sys.stdout, highlight=False, emoji=False)


def errors() -> Console:
    """Standard error."""
    return Console(file=sys.stderr, highlight=False, emoji=False)


def say(text: str | Text, style: str = "") -> None:
    """A line on standard output."""
    output().print(shown(text, style), soft_wrap=True)


def complain(text: str, style: str = "red") -> None:
    """A line on standard error; no credential gets there."""
    errors().print(shown(redact(text), style), soft_wrap=True)


#: Characters that change the direction of what follows them: an alert could make a table say something else.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def shown(value: object, style: str = "") -> Text:
    """``value`` for a terminal: no markup, no control codes."""
    if isinstance(value, Text):
        return value
    text = "" if value is None else str(value)
    safe = "".join(
        "�" if char in _TURNING or (unicodedata.category(char) == "Cc" and char not in "\n\t") else char
        for char in text
    )
    return Text(safe, style=style)


class Column(NamedTuple):
    """A column of a table.

    Args:
        name: its heading.
        from_width: it is left out on terminals that have fewer columns.
        right: it holds numbers.
        whole: it is never wrapped.
    """

    name: str
    from_width: int = 0
    right: bool = False
    whole: bool = False


def show_table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as the terminal allows; rows have a cell for each column, shown or not."""
    output().print(table_of(columns, rows))


def table_of(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> RenderableType:
    """That table, with an empty line above and below."""
    width = output().width
    kept = [i for i, column in enumerate(columns) if width >= column.from_width]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i in kept:
        column = columns[i]
        table.add_column(
            column.name, justify="right" if column.right else "left", no_wrap=column.whole, overflow="fold"
        )
    for row in rows:
        table.add_row(*(shown(row[i]) for i in kept))
    return Group("", table, "")


# ---------------------------------------------------------------------------------------------- settings and store


def load_settings(config: Path | None) -> Settings:
    """The settings of ``-c``, of ``$BT_ALERTS_CONFIG``, or of the environment alone."""
    from bt_alerts.settings import load

    return load(config)


@contextlib.contextmanager
def existing_store(settings: Settings) -> Iterator[Outbox]:
    """The store to read from; there must be one."""
    if settings.store == "memory":
        raise Stop(FAILED, _nothing_kept(settings))
    if not is_postgres(settings.store) and not Path(settings.store).exists():
        raise Stop(
            FAILED,
            f"There is no store {settings.store} yet: the first run of a strategy with these settings makes it, or "
            "`bt-alerts send`.",
        )
    from bt_alerts.settings.store import open_store

    outbox = open_store(settings)
    try:
        yield outbox
    finally:
        outbox.close()


def _nothing_kept(settings: Settings) -> str:
    if settings.file is not None:
        return f"These settings keep alerts in memory only: write `store: alerts.db` in {settings.file}."
    if unread := unread_file(settings):
        return f"There are no settings, so there is no store: {unread}"
    return "There are no settings, so there is no store: name a settings file with -c, or set $BT_ALERTS_CONFIG."


# ------------------------------------------------------------------------------------------------------- one alert

SHOWN = 5  # ids that are shown of those that an id could mean


class Found(NamedTuple):
    """An alert: what to call it, and when it was acknowledged, in Unix seconds."""

    id: str
    title: str
    acknowledged: float | None

    def __str__(self) -> str:
        return f"{self.title} ({self.id})"


def the_alert(outbox: Outbox, given: str, *, sent: bool = False) -> Found:
    """The one alert that is meant. Ends the command where it is none, or could be several.

    Args:
        outbox: the store.
        given: its id, the first characters of it, its number in the store, or ``last``.
        sent: ``last`` is the newest that was to be sent; else the newest of all.
    """
    from bt_alerts.alert import Alert
    from bt_alerts.outbox.history import SHORTEST, is_number, named

    given = given.strip()
    if given.lower() == "last":
        among = "WHERE state = 'planned' " if sent else ""
        rows = list(outbox.rows(f"SELECT id FROM alerts {among}ORDER BY seq DESC LIMIT 1"))
        if not rows:
            raise Stop(WRONG_USE, f"No alert was {'sent' if sent else 'kept'} yet, so there is no last one.")
        given = str(rows[0][0])
    found = named(outbox, given, most=SHOWN + 1)
    if not found and len(given) < SHORTEST and not is_number(given):
        ways = f"at least {SHORTEST} characters of an id, its number, or `last`"
        raise Stop(WRONG_USE, f"{given!r} is too short: give {ways}.")
    if not found:
        newest = "the newest alert that was sent" if sent else "the newest alert"
        raise Stop(
            WRONG_USE,
            f"There is no alert {given!r}. `bt-alerts history` shows the numbers, with --json the ids; `last` is "
            f"{newest}.",
        )
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        ids = ", ".join(each.id for each in found[:SHOWN])
        raise Stop(WRONG_USE, f"Several alerts begin with {given!r}: {ids}{more}. Give more of the id.")
    id_, body, acknowledged = found[0]
    return Found(id_, Alert.from_json(body).title, acknowledged)


@contextlib.contextmanager
def delivering(settings: Settings) -> Iterator[AlertManager]:
    """A manager for one command. At the end it does not wait for what the command itself has not waited for."""
    from bt_alerts.manager import AlertManager

    manager = AlertManager.for_worker(settings)
    try:
        yield manager
    finally:
        manager.close(timeout=0.0)


def plan(settings: Settings, *wishes: Callable[[AlertManager], bool]) -> None:
    """Write down what is asked for, and see it into the store. Ends the command where that cannot be."""
    from bt_alerts.asking import ask

    problem = ask(settings, *wishes)
    if problem:
        raise Stop(FAILED, problem)


def known_channels(settings: Settings, names: Sequence[str]) -> list[str]:
    """The enabled channels of these names, or all. Ends the command where one is not there."""
    enabled = list(settings.channels)
    for name in names:
        if name in enabled:
            continue
        if name in settings.alerts:
            raise Stop(WRONG_USE, f"The channel {name} is not enabled: write `enabled: true` in its block.")
        there = ", ".join(enabled)
        raise Stop(
            WRONG_USE,
            f"There is no channel {name!r}." + (f" Use one of {there}." if there else f" {no_channel(settings)}"),
        )
    if not enabled:
        raise Stop(WRONG_USE, no_channel(settings))
    return list(dict.fromkeys(names)) or enabled


def no_channel(settings: Settings) -> str:
    """That nothing can be sent, and what to do."""
    if unread := unread_file(settings):
        return f"No channel is configured and enabled: {unread}"
    return (
        "No channel is configured and enabled: `bt-alerts init` writes a settings file to fill in; name it with -c, or "
        "set $BT_ALERTS_CONFIG."
    )


def unread_file(settings: Settings) -> str:
    """Of a settings file that lies here and was not named; empty where there is none. It is not read."""
    if settings.file is not None or not Path("alerts.yaml").is_file():
        return ""
    return "./alerts.yaml is here: name it with -c alerts.yaml, or set BT_ALERTS_CONFIG=alerts.yaml."


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until ``done``, or for so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def why_not(reason: str) -> str:
    """Why an alert was not sent, in words."""
    from bt_alerts.rules.stage import Reason

    try:
        return Reason(reason).words
    except ValueError:
        return reason or "a rule held it back"
