"""``bt-alerts simulate``: backtest your alerts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
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

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.alert import Alert
    from bt_alerts.settings import Settings
    from bt_alerts.simulate import Outage, Simulation

BUNDLED = "IBM"
_TIMES = ("datetime", "date", "time", "timestamp")
_PRICES = ("open", "high", "low", "close")
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
        typer.Option("--acknowledge", metavar="SECONDS", min=0, help="Somebody acknowledges each alert after so long."),
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

    settings = load_settings(config)
    other = load_settings(compare) if compare is not None else None
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
        if data:
            raise Stop(WRONG_USE, "--data gives prices for --strategy: name the strategy too.")
        alerts, name = _recorded(settings, run or "last"), f"run {run or 'last'}"
    else:
        if run is not None:
            raise Stop(WRONG_USE, "--run plays a recorded run and --strategy makes one: give one of the two.")
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
                results.append(
                    play(alerts, each, name=name, config=shown.name if shown else "", progress=progress, **how)
                )
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

    with existing_store(settings) as outbox:
        try:
            alerts = list(history.alerts(outbox, Query(run=run)))
        except ValueError as exc:
            raise Stop(WRONG_USE, f"{exc}.") from None
    if not alerts:
        raise Stop(
            FAILED,
            f"There is no run {run!r} in the store. `bt-alerts history --json` shows the ids of runs; to make one, use "
            "--strategy FILE:CLASS.",
        )
    if settings.watch.levels:
        complain("A recorded run has no bars, so watches are replayed as they were recorded. To change one, use "
                 "--strategy FILE:CLASS.", style="yellow")  # fmt: skip
    return alerts


def _made(given: str, files: list[Path], settings: Settings) -> tuple[list[Alert], str]:
    from bt_alerts.demo import prices
    from bt_alerts.hooks.record import engine_of, record

    module, strategy = _strategy(given)
    own = getattr(module, "cerebro", None)
    if not files and callable(own) and getattr(module, "STRATEGY", None) is strategy:
        engine = own()
    else:
        frames = {path.stem: _prices(path) for path in files} or {BUNDLED: prices.load(BUNDLED)}
        engine = engine_of(strategy, frames)
    try:
        alerts = record(engine, settings)
    except Exception as exc:
        raise Stop(FAILED, f"The backtest of {given} failed: {type(exc).__name__}: {exc}.") from None
    return alerts, strategy.__name__


def _strategy(given: str) -> tuple[Any, type[Any]]:
    """The module and the class that ``FILE:CLASS`` names; the class may be left out where there is one."""
    from bt_alerts.hooks.record import is_strategy

    file, _, name = given.rpartition(":") if given.endswith(".py") is False and ":" in given else (given, "", "")
    path = Path(file)
    if not path.is_file():
        raise Stop(WRONG_USE, f"There is no file {file}: write --strategy FILE:CLASS, such as strategies/mine.py:Mine.")
    spec = importlib.util.spec_from_file_location(f"_simulated_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Stop(WRONG_USE, f"{file} is no Python file: write --strategy FILE:CLASS.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Backtrader looks a strategy's module up when it is made
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        raise Stop(FAILED, f"{file} cannot be imported: {type(exc).__name__}: {exc}.") from None
    finally:
        sys.path.pop(0)
    found = {key: value for key, value in vars(module).items() if is_strategy(value) and value.__module__ == spec.name}
    if name in found:
        return module, found[name]
    chosen = getattr(module, "STRATEGY", None)
    if not name and isinstance(chosen, type) and is_strategy(chosen):
        return module, chosen
    if not name and len(found) == 1:
        return module, next(iter(found.values()))
    known = ", ".join(found) or "none"
    raise Stop(WRONG_USE, f"{file} has no strategy {name!r}: there are {known}." if name else
               f"{file} has several strategies ({known}): write --strategy {file}:CLASS.")  # fmt: skip


def _prices(path: Path) -> pd.DataFrame:
    """One row a bar: index ``datetime``, columns open, high, low, close, volume."""
    import pandas as pd

    if not path.is_file():
        raise Stop(WRONG_USE, f"There is no file {path}.")
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError) as exc:
        raise Stop(WRONG_USE, f"{path} cannot be read as CSV: {exc}.") from None
    frame = frame.rename(columns=lambda column: str(column).strip().lower())
    when = next((name for name in _TIMES if name in frame.columns), None)
    missing = [name for name in _PRICES if name not in frame.columns]
    if when is None or missing:
        wants = ", ".join([*([] if when else ["date (or datetime)"]), *missing])
        raise Stop(WRONG_USE, f"{path} lacks the columns {wants}: it needs a time, open, high, low, close and volume.")
    try:
        frame.index = pd.DatetimeIndex(pd.to_datetime(frame[when], utc=True).dt.tz_localize(None), name="datetime")
        prices = frame[[*_PRICES]].astype(float)
        prices["volume"] = frame["volume"].astype(float) if "volume" in frame.columns else 0.0
    except (ValueError, TypeError) as exc:
        raise Stop(WRONG_USE, f"{path} has something that is no time or no number: {exc}.") from None
    prices = prices.dropna().sort_index()
    if prices.empty:
        raise Stop(WRONG_USE, f"{path} has no bars.")
    return prices


# ---------------------------------------------------------------------------------------------------- options


def _latencies(texts: list[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        try:
            found[name] = float(seconds)
        except ValueError:
            raise Stop(WRONG_USE, f"--latency {text}: write CHANNEL=SECONDS, such as phone=2.5.") from None
        if not 0 <= found[name] < 86_400:
            raise Stop(WRONG_USE, f"--latency {text}: write seconds from 0 to 86,400.")
    return found


def _check_close(text: str | None) -> None:
    from bt_alerts.hours import read_moment

    try:
        read_moment(text or "00:00")
    except ValueError as exc:
        raise Stop(WRONG_USE, f"--close: {exc}.") from None


def _outage(text: str) -> Outage:
    from bt_alerts.simulate import Outage
    from bt_alerts.simulate.services import unix

    name, _, times = text.partition("=")
    since, _, until = times.partition("/")
    try:
        outage = Outage(name, unix(since), unix(until))
    except (ValueError, AssertionError):
        raise Stop(
            WRONG_USE, f"--outage {text}: write CHANNEL=SINCE/UNTIL, such as phone=2012-03-01T08:00/2012-03-01T12:00."
        ) from None
    if unix(outage.since) >= unix(outage.until):
        raise Stop(WRONG_USE, f"--outage {text}: it ends before it begins.")
    return outage


def _check_channels(how: Mapping[str, Any], *tried: Settings | None) -> None:
    """A slip in a channel's name would be an outage that never was."""
    known = {word for each in tried if each is not None for name, c in each.channels.items() for word in (name, c.type)}
    named = {*how["latency"], *(outage.channel for outage in how["outages"])}
    for name in sorted(named - known - ({"phone", "console"} if not known else set())):
        there = ", ".join(sorted(known)) or "none, so use `phone`"
        raise Stop(WRONG_USE, f"There is no channel {name!r} in these settings: there is {there}.")


# ------------------------------------------------------------------------------------------------------- output


def _show(results: list[Simulation]) -> None:
    for result in results:
        say("")
        if len(results) > 1:
            say(result.config, "bold")
        say(repr(result).removeprefix("<Simulation: ").removesuffix(">"))
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
        [f"{dt.datetime.fromtimestamp(message.time, zone):%Y-%m-%d %H:%M}", message.channel, message.title]
        for message in result.messages[-_LATEST:]
    ]
    show_table([Column("latest messages", whole=True), Column("channel", whole=True), Column("title")], rows)


def _write(results: list[Simulation], html: Path | None, csv: Path | None) -> None:
    result: Any = results[0] if len(results) == 1 else results[0].compare(results[1])
    try:
        if html is not None:
            say(f"Wrote {result.to_html(html)}.")
        if csv is not None:
            say(f"Wrote {results[0].to_csv(csv)}.")
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    except OSError as exc:
        raise Stop(FAILED, f"{html or csv} cannot be written: {exc.strerror or exc}.") from None
