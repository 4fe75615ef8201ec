"""``bt-alerts simulate``: backtest your alerts."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bt_alerts.cli.shell import (
    FAILED,
    WRONG_USE,
    Column,
    Stop,
    complain,
    existing_store,
    load_settings,
    say,
    show_table,
)
from bt_alerts.redact import redact

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.alert import Alert
    from bt_alerts.settings import Settings
    from bt_alerts.simulate import Outage, Simulation

BUNDLED = "IBM"
_TIMES = ("datetime", "timestamp", "date", "time")
_PRICES = ("open", "high", "low", "close")
_UNIX = {"ns": 1e17, "us": 1e14, "ms": 1e11, "s": 1e8}  # from which number on it counts these since 1970
_SYMBOLS = ("symbol", "ticker")
_LATEST = 8  # messages that are shown


def simulate(
    *,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="Settings to try; otherwise those of $BT_ALERTS_CONFIG."),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="A recorded run by its id; `last` for the newest.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", metavar="FILE:CLASS", help="Make a run of this strategy first, by a backtest."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="FILE.csv", help="Prices for --strategy; may be given again. Bundled otherwise."
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="Other settings to put beside these, on the same run."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report there.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row for each alert and address there.")
    ] = None,
    latency: Annotated[
        list[str] | None,
        typer.Option("--latency", metavar="CHANNEL=SECONDS", help="From the request to the phone; may be given again."),
    ] = None,
    outage: Annotated[
        list[str] | None,
        typer.Option(
            "--outage", metavar="CHANNEL=SINCE/UNTIL", help="A time in which a channel cannot be reached; may be again."
        ),
    ] = None,
    acknowledge: Annotated[
        float | None,
        typer.Option("--acknowledge", metavar="SECONDS", help="Somebody acknowledges each alert after so long."),
    ] = None,
    close: Annotated[
        str | None,
        typer.Option(
            "--close",
            metavar="TIME",
            help="When the market closes, such as '16:00 America/New_York': bars of a day are complete then.",
        ),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits/--no-limits", help="Services refuse what is more than they document.")
    ] = True,
) -> None:
    """Backtest your alerts: play a run through these settings, and see what the phone would have shown."""
    from bt_alerts.demo import prices
    from bt_alerts.render.progress import slow_progress
    from bt_alerts.simulate import simulate as play
    from bt_alerts.simulate.play import is_midnight

    _check_use(run, strategy, data)
    _check_files(html, csv)
    settings = load_settings(config)
    other = load_settings(compare) if compare is not None else None
    _check_acknowledge(acknowledge)
    how: dict[str, Any] = {
        "latency": _latencies(latency or []),
        "outages": [_outage(text) for text in outage or []],
        "limits": limits,
        "acknowledges": lambda alert: acknowledge,
        "close": close,
    }
    _check_channels(how, settings, other)
    _check_close(close)
    if strategy is None:
        run = "last" if run is None else run
        alerts, name = _recorded(settings, run), f"run {run}"
    else:
        alerts, name = _made(strategy, data or [], settings)
        how["close"] = close or (None if data else prices.CLOSE)
    if other is not None and other.watch.levels != settings.watch.levels:
        _complain_of_watches(strategy)
    if how["close"] is None and any(map(is_midnight, alerts)):
        complain("Bars of a day say midnight (UTC), and so the messages do. To have them when the market closes: "
                 f"--close '{prices.CLOSE}'", style="yellow")  # fmt: skip
    results = []
    for each, shown in [(settings, config), (other, compare)]:
        if each is not None:
            with slow_progress("simulating") as progress:
                named = shown.name if shown else ""
                results.append(play(alerts, each, name=name, config=named, progress=progress, **_for(each, how)))
    _show(results)
    _write(results, html, csv)


def _complain_of_watches(strategy: str | None) -> None:
    also = "" if strategy else " To change a watch, make the run anew: use --strategy FILE:CLASS."
    complain(
        f"The two settings have different watches. Both are played on the alerts of the same run.{also}", style="yellow"
    )


# ---------------------------------------------------------------------------------------------------- the run


def _recorded(settings: Settings, run: str) -> list[Alert]:
    from bt_alerts.outbox import history
    from bt_alerts.outbox.history import Query

    try:
        with existing_store(settings) as outbox:
            alerts = list(history.alerts(outbox, Query(run=run)))
    except Stop as stop:
        raise Stop(stop.code, *stop.sentences, "To make a run now, use --strategy FILE:CLASS.") from None
    if not alerts:
        there = "There is no run in the store yet" if run == "last" else f"There is no run {run!r} in the store"
        raise Stop(
            FAILED,
            f"{there}. `bt-alerts history --json` shows the ids of runs; to make one, use --strategy FILE:CLASS.",
        )
    if settings.watch.levels:
        complain("A recorded run has no bars, so watches are replayed as they were recorded. To change one, use "
                 "--strategy FILE:CLASS.", style="yellow")  # fmt: skip
    return alerts


def _made(given: str, files: list[Path], settings: Settings) -> tuple[list[Alert], str]:
    from bt_alerts.demo import prices
    from bt_alerts.hooks.record import engine_of, record

    file, name = _file_and_class(given)
    frames = _frames(files)
    with _importable(file.resolve().parent):
        module, strategy = _strategy(file, name)
        own = getattr(module, "cerebro", None)
        try:
            if not files and callable(own) and getattr(module, "STRATEGY", None) is strategy:
                engine = own()
            else:
                engine = engine_of(strategy, frames or {BUNDLED: prices.load(BUNDLED)})
            alerts = record(engine, settings)
        except (Exception, SystemExit) as exc:
            raise Stop(FAILED, f"The backtest of {given} failed: {_words(exc)}.") from None
    if not alerts:
        raise Stop(FAILED, f"The backtest of {given} made no alerts: there is nothing to simulate.")
    return alerts, strategy.__name__


def _words(exc: BaseException) -> str:
    """What went wrong in somebody else's program, in one line."""
    said = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {said}".rstrip(".: ")


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """A strategy imports what lies beside it, as `python FILE` would: also while it runs."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # it may have changed the path itself
            sys.path.remove(str(folder))


def _file_and_class(given: str) -> tuple[Path, str]:
    """What ``FILE:CLASS`` names; the class may be left out."""
    file, _, name = (given, "", "") if given.endswith(".py") else given.rpartition(":")
    path = Path(file or given)
    if not path.is_file():
        raise Stop(
            WRONG_USE,
            f"There is no file {file or given}: write --strategy FILE:CLASS, such as strategies/mine.py:Mine.",
        )
    return path, name if file else ""


def _strategy(path: Path, name: str) -> tuple[Any, type[Any]]:
    """The module and the class; where none is named, the one that there is."""
    from bt_alerts.hooks.record import is_strategy

    spec = importlib.util.spec_from_file_location(f"_simulated_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Stop(WRONG_USE, f"{path} is no Python file: write --strategy FILE:CLASS.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Backtrader looks a strategy's module up when it is made
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise Stop(FAILED, f"{path} cannot be imported: {_words(exc)}.") from None
    found = {key: value for key, value in vars(module).items() if is_strategy(value)}
    if name in found:
        return module, found[name]
    own = {value.__name__: value for value in found.values() if value.__module__ == spec.name}
    known = ", ".join(own) or "none"
    if name:
        raise Stop(WRONG_USE, f"{path} has no strategy {name!r}: there are {known}.")
    chosen: Any = getattr(module, "STRATEGY", None)
    if is_strategy(chosen):
        return module, chosen
    if len(own) == 1:
        return module, next(iter(own.values()))
    if not own:
        raise Stop(WRONG_USE, f"{path} has no strategy: write a class that inherits bt.Strategy.")
    raise Stop(WRONG_USE, f"{path} has several strategies ({known}): write --strategy {path}:CLASS.")


# -------------------------------------------------------------------------------------------------- the prices


def _frames(files: list[Path]) -> dict[str, pd.DataFrame]:
    """Prices by symbol, which is the file's name."""
    frames: dict[str, pd.DataFrame] = {}
    for path in files:
        if path.stem in frames:
            raise Stop(
                WRONG_USE, f"--data {path}: there is another file {path.stem}, and files are named after their symbols."
            )
        frames[path.stem] = _prices(path)
    return frames


def _prices(path: Path) -> pd.DataFrame:
    """One row a bar: index ``datetime``, columns open, high, low, close, volume."""
    import pandas as pd

    if not path.is_file():
        raise Stop(WRONG_USE, f"There is no file {path}.")
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError) as exc:
        raise Stop(WRONG_USE, f"{path} cannot be read as CSV: {_words(exc)}.") from None
    frame.columns = pd.Index([str(column).strip().lower() for column in frame.columns])
    when = next((name for name in _TIMES if name in frame.columns), None)
    missing = [name for name in _PRICES if name not in frame.columns]
    if when is None or missing:
        wants = ", ".join([*([] if when else ["date (or datetime)"]), *missing])
        raise Stop(WRONG_USE, f"{path} lacks the columns {wants}: it needs a time, open, high, low, close and volume.")
    if frame.columns.has_duplicates:
        raise Stop(WRONG_USE, f"{path} has two columns of one name: leave one.")
    try:
        times = _times(frame, when)
        columns = {name: pd.to_numeric(frame[name]).astype(float) for name in _PRICES}
        columns["volume"] = pd.to_numeric(frame["volume"]).astype(float).fillna(0.0) if "volume" in frame else 0.0
    except (ValueError, TypeError, OverflowError) as exc:
        raise Stop(WRONG_USE, f"{path} has something that is no time or no number: {_words(exc)}.") from None
    bars = pd.DataFrame(columns, index=frame.index)
    whole = times.notna() & bars.apply(lambda column: column.abs() < math.inf).all(axis="columns")
    if not whole.all():
        complain(f"{path}: {int((~whole).sum()):,} rows without a time or a price are left out.", style="yellow")
    bars = bars[whole].set_axis(pd.DatetimeIndex(times[whole], name="datetime")).sort_index()
    if bars.empty:
        raise Stop(WRONG_USE, f"{path} has no bars.")
    twice = bars.index[bars.index.duplicated()]
    if len(twice):
        several = " Give each symbol a file of its own." if set(_SYMBOLS) & set(frame.columns) else ""
        raise Stop(WRONG_USE, f"{path} has two bars of {twice[0]}: leave one.{several}")
    return bars


def _times(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """When each bar was, naive UTC; a time without a zone is left as it is."""
    import pandas as pd

    given = frame[name]
    if name == "date" and "time" in frame.columns:
        given = given.astype(str) + " " + frame["time"].astype(str)
    if pd.api.types.is_numeric_dtype(given):
        largest = float(given.abs().max())
        unit = next((unit for unit, least in _UNIX.items() if largest >= least), None)
        if unit is None:  # 20120131
            found = pd.to_datetime(given.astype("Int64").astype("string"), format="%Y%m%d", utc=True)
        else:
            found = pd.to_datetime(given, unit=unit, utc=True)
    else:
        found = pd.to_datetime(given, utc=True)
    return found.dt.tz_localize(None)


# ---------------------------------------------------------------------------------------------------- options


def _latencies(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, seconds = text.rpartition("=")
        try:
            found[name] = float(seconds)
        except ValueError:
            raise Stop(WRONG_USE, f"--latency {text}: write CHANNEL=SECONDS, such as phone=2.5.") from None
        if not 0 <= found[name] < 86_400:
            raise Stop(WRONG_USE, f"--latency {text}: write seconds from 0 to 86,400.")
    return found


def _check_close(text: str | None) -> None:
    from bt_alerts.hours import read_moment

    if text is None:
        return
    try:
        read_moment(text)
    except ValueError:
        raise Stop(
            WRONG_USE, f"--close {text!r} is no time of the day: write one such as '16:00 America/New_York'."
        ) from None


def _check_use(run: str | None, strategy: str | None, data: list[Path] | None) -> None:
    if data and strategy is None:
        raise Stop(WRONG_USE, "--data gives prices for --strategy: name the strategy too.")
    if run is not None and strategy is not None:
        raise Stop(WRONG_USE, "--run plays a recorded run and --strategy makes one: give one of the two.")


def _check_files(html: Path | None, csv: Path | None) -> None:
    """Before the work, not after it."""
    if html is not None and (html.suffix.lower() not in {".html", ".htm"} or html.is_dir()):
        raise Stop(WRONG_USE, f"--html {html}: name a file that ends in .html.")
    if csv is not None and csv.suffix and csv.suffix.lower() != ".csv" and not csv.is_dir():
        raise Stop(WRONG_USE, f"--csv {csv}: end the file in .csv, or name a folder, which gets a file for each table.")
    for option, path in (("--html", html), ("--csv", csv)):
        if path is not None and not path.absolute().parent.is_dir():
            raise Stop(WRONG_USE, f"{option} {path}: there is no folder {path.parent}: make it first.")


def _check_acknowledge(seconds: float | None) -> None:
    from bt_alerts.simulate.play import LATEST

    if seconds is not None and not 0 <= seconds <= LATEST:
        raise Stop(WRONG_USE, f"--acknowledge {seconds:g}: write seconds from 0 to {LATEST:,.0f}.")


def _outage(text: str) -> Outage:
    from bt_alerts.simulate import Outage
    from bt_alerts.simulate.services import unix

    name, _, times = text.rpartition("=")
    since, _, until = times.partition("/")
    try:
        begins, ends = unix(since), unix(until)
    except (ValueError, OverflowError):
        raise Stop(
            WRONG_USE, f"--outage {text}: write CHANNEL=SINCE/UNTIL, such as phone=2012-03-01T08:00/2012-03-01T12:00."
        ) from None
    if begins >= ends:
        raise Stop(WRONG_USE, f"--outage {text}: it ends before it begins.")
    return Outage(name, begins, ends)


def _check_channels(how: Mapping[str, Any], *tried: Settings | None) -> None:
    """A slip in a channel's name would be an outage that never was."""
    known = set().union(*(_words_of(each) for each in tried if each is not None))
    named = {*how["latency"], *(outage.channel for outage in how["outages"])}
    for name in sorted(named - known):
        raise Stop(WRONG_USE, f"There is no channel {name!r} in these settings: there is {', '.join(sorted(known))}.")


def _words_of(settings: Settings) -> set[str]:
    """What a channel can be called: its name, or its type."""
    from bt_alerts.simulate.play import PHONE

    return {word for name, channel in settings.channels.items() for word in (name, channel.type)} or {PHONE}


def _for(settings: Settings, how: Mapping[str, Any]) -> dict[str, Any]:
    """What of the options is about the channels of these settings: the other ones may have others."""
    words = _words_of(settings)
    return {
        **how,
        "latency": {name: seconds for name, seconds in how["latency"].items() if name in words},
        "outages": [outage for outage in how["outages"] if outage.channel in words],
    }


# ------------------------------------------------------------------------------------------------------- output


def _show(results: list[Simulation]) -> None:
    for result in results:
        say("")
        if len(results) > 1:
            say(result.config, "bold")
        say(str(result))
        if result.reasons:
            rows = [[f"{n:,}", words] for words, n in result.reasons.items()]
            show_table([Column("not sent", right=True, whole=True), Column("because")], rows)
        for row in result.bites:
            say(f"{row.channel}: {row.limit} would not have been enough {row.times:,} times ({row.worst}).", "yellow")
    if len(results) == 1 and results[0].messages:
        _show_latest(results[0])


def _show_latest(result: Simulation) -> None:
    import datetime as dt
    import zoneinfo

    zone = zoneinfo.ZoneInfo(result.zone)
    rows = [
        [f"{dt.datetime.fromtimestamp(message.time, zone):%Y-%m-%d %H:%M}", message.channel, redact(message.title)]
        for message in result.messages[-_LATEST:]
    ]
    show_table([Column("latest messages", whole=True), Column("channel", whole=True), Column("title")], rows)


def _write(results: list[Simulation], html: Path | None, csv: Path | None) -> None:
    result: Any = results[0] if len(results) == 1 else results[0].compare(results[1])
    for path, write in ((html, result.to_html), (csv, results[0].to_csv)):
        if path is None:
            continue
        try:
            say(f"Wrote {write(path)}.")
        except OSError as exc:
            raise Stop(FAILED, f"{path} cannot be written: {exc.strerror or exc}.") from None
