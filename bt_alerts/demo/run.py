"""What ``bt-alerts demo`` does: a backtest that records, then a live feed whose alerts arrive, all on this machine.

It reads no settings and no environment, so it cannot send anything to anybody: its one channel is a webhook to a
receiver on 127.0.0.1, signed with a secret that is made up for the occasion. It writes into one folder, and replaces
nothing there but the files of an earlier demo.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import os
import secrets
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bt_alerts.alert import as_utc, utcnow
from bt_alerts.compose import money
from bt_alerts.demo import prices
from bt_alerts.demo.feed import replay
from bt_alerts.demo.receiver import Delivery, Receiver
from bt_alerts.demo.strategy import DemoStrategy
from bt_alerts.hooks.attach import attach
from bt_alerts.hooks.seam import bt
from bt_alerts.render.progress import slow_progress
from bt_alerts.settings import Settings, load
from bt_alerts.simulate import Simulation

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.manager import AlertManager
    from bt_alerts.outbox.base import Ledger

CASH = 100_000.0
SHOWN = 12  # alerts of the backtest
BACKFILL, LIVE = 120, 80  # bars of the live part: those before it, and those that come as one watches
CHARTED = 250  # bars
FEWEST = 60  # bars: with fewer the strategy does nothing

_MARK = "# Made by `bt-alerts demo`"
_SETTINGS = f"{_MARK}, which replaces the files of this folder each time it runs.\nstore: alerts.db\nmode: record\n"
_FILES = ("alerts.db", "alerts.db-wal", "alerts.db-shm", "alerts.yaml", "history.csv", "chart.png")
_FOLDERS = ("alerts.db.journal", "alerts.db.files")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why and what to do."""

    def __init__(self, text: str, *, wrong_use: bool = False) -> None:
        super().__init__(text)
        self.wrong_use = wrong_use


def run_demo(symbol: str, source: str, folder: Path, *, pause: float, console: Console) -> bool:
    """Run it all and print what happens.

    Args:
        symbol: a share.
        source: ``bundled`` or ``yahoo``.
        folder: where its files go.
        pause: seconds between two bars of the live part.
        console: where to print.

    Returns:
        Whether everything went as promised.

    Raises:
        DemoFailed: there are no prices, or the folder cannot be used.
    """
    symbol = symbol.upper()
    frame = _prices(symbol, source)
    _prepare(folder)
    show = _Show(console)
    same = _backtest(show, frame, symbol, folder)
    with _straight_to_loopback():
        arrived = _live(show, frame, symbol, folder, pause)
    _goodbye(show, folder)
    return same and arrived


# ------------------------------------------------------------------------------------------------ before it begins


def _prices(symbol: str, source: str) -> pd.DataFrame:
    if source == "bundled":
        try:
            return prices.load(symbol)
        except ValueError as exc:
            raise DemoFailed(f"{exc} Any other share comes with --source yahoo.", wrong_use=True) from None
    try:
        frame = prices.yahoo(symbol)
    except (ImportError, ValueError) as exc:
        raise DemoFailed(str(exc), wrong_use=True) from None
    except Exception as exc:  # a network has many ways to fail, and yfinance passes them all on
        raise DemoFailed(f"Yahoo could not be asked for {symbol}: {type(exc).__name__}: {exc}") from None
    if len(frame) < FEWEST:
        raise DemoFailed(f"Yahoo has only {len(frame)} bars of {symbol}: the demo needs {FEWEST}.", wrong_use=True)
    return frame


def _prepare(folder: Path) -> None:
    """Make the folder, or clear that of an earlier demo. Anybody else's folder is left alone."""
    settings = folder / "alerts.yaml"
    try:
        if folder.exists() and any(folder.iterdir()):
            ours = settings.is_file() and settings.read_text("utf-8", "replace").startswith(_MARK)
            if not ours:
                raise DemoFailed(
                    f"{folder} has files in it that no demo made: name another folder with --folder.", wrong_use=True
                )
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        settings.write_text(_SETTINGS, encoding="utf-8")
    except OSError as exc:
        raise DemoFailed(f"The folder {folder} cannot be used: {exc.strerror or exc}.", wrong_use=True) from None


@contextlib.contextmanager
def _straight_to_loopback() -> Iterator[None]:
    """Whatever proxy the environment sets: what goes to 127.0.0.1 does not leave this machine."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = ",".join(filter(None, (before or os.environ.get("NO_PROXY"), "127.0.0.1")))
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


# ------------------------------------------------------------------------------------------------------ a backtest


class _Plain(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """The rules of the demo's strategy, with nothing of bt_alerts in it."""

    params = tuple(getattr(DemoStrategy, "params")._getitems())  # noqa: B009 - made by Backtrader's metaclass
    __init__ = DemoStrategy.__init__
    next = DemoStrategy.next

    def signal(self, *_: Any, **__: Any) -> None:
        """Says nothing."""


class _Watch(bt.Analyzer):  # type: ignore[misc]  # backtrader has no types
    """Tells how far a run is, and counts its fills with no help of ours."""

    params = (("progress", None), ("of", 0), ("every", 25))

    def start(self) -> None:
        self.fills = 0

    def notify_order(self, order: Any) -> None:
        self.fills += order.status == order.Completed

    def next(self) -> None:
        if len(self.strategy) % self.p.every == 0:
            self.p.progress(len(self.strategy), self.p.of)


def _engine(strategy: type, feed: Any, progress: Callable[[int, int], None], of: int, every: int = 25) -> Any:
    cerebro = bt.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(strategy)
    cerebro.addanalyzer(_Watch, _name="watch", progress=progress, of=of, every=every)
    cerebro.broker.setcash(CASH)
    return cerebro


def _backtest(show: _Show, frame: pd.DataFrame, symbol: str, folder: Path) -> bool:
    show.heading("1", "A backtest records, and sends nothing")
    show.line(f"{len(frame):,} daily bars of {symbol}, {frame.index[0]:%Y-%m-%d} to {frame.index[-1]:%Y-%m-%d}.")
    feeds = [bt.feeds.PandasData(dataname=frame, name=symbol, timeframe=bt.TimeFrame.Days) for _ in range(2)]
    with slow_progress("backtest without alerts") as progress:
        plain = _engine(_Plain, feeds[0], progress, len(frame))
        plain.run()
    with slow_progress("backtest with alerts") as progress:
        alerted = _engine(DemoStrategy, feeds[1], progress, len(frame))
        manager = attach(alerted, _own_settings(folder, mode="record"))
        (strategy,) = alerted.run()
    with manager:
        simulation = manager.simulate()
        show.counts(simulation)
        show.line(f"The last {min(SHOWN, len(simulation.told))} that would have reached your phone:")
        show.messages(simulation)
        manager.export(folder / "history.csv")
        drawn = _draw(frame, manager, symbol, folder)
    without, with_ = plain.broker.getvalue(), alerted.broker.getvalue()
    same = bool(without == with_)
    show.verdict(same, f"Without alerts the backtest ends at {money(without)}, with them at {money(with_)}.")
    fills = strategy.analyzers.watch.fills
    recorded = sum(row.alert.kind == "order.completed" for row in simulation.alerts)
    show.verdict(fills == recorded, f"{recorded} of its {fills} fills are recorded.")
    show.line(f"Wrote {folder / 'history.csv'}{drawn}")
    return same and fills == recorded


def _draw(frame: pd.DataFrame, manager: AlertManager, symbol: str, folder: Path) -> str:
    from bt_alerts.render.chart import chart

    title = f"{symbol}: what would have reached your phone"
    try:
        path = chart(frame.tail(CHARTED), manager.alerts(), folder / "chart.png", title)
    except ImportError:
        return '. A chart too, after: pip install "bt-alerts[charts]"'
    return f" and {path}"


def _own_settings(folder: Path, **more: Any) -> Settings:
    # Not from the environment: somebody's real channels may be in it.
    return load({"store": str(folder / "alerts.db"), **more}, environ={})


# ------------------------------------------------------------------------------------------------------------ live


def _live(show: _Show, frame: pd.DataFrame, symbol: str, folder: Path, pause: float) -> bool:
    import requests  # noqa: F401 - here, so that the first delivery does not wait for it

    live = min(LIVE, len(frame) // 2)
    bars = frame.tail(BACKFILL + live)
    show.heading("2", "Live, the same strategy sends")
    show.line(f"The last {live} bars come as if they happened now; each alert goes by HTTP to a receiver on 127.0.0.1.")
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    with Receiver(secret, on_delivery=show.arrived) as receiver:
        webhook = {"urls": receiver.url, "secret": secret, "rate_limit": 0}
        settings = _own_settings(folder, alerts={"webhook": webhook})
        with show.watching(len(bars)) as advance:
            feed = replay(bars, backfill=len(bars) - live, name=symbol, pause=pause, clock=utcnow)
            cerebro = _engine(DemoStrategy, feed, lambda done, of: advance(done), len(bars), every=1)
            with attach(cerebro, settings) as manager:
                cerebro.run()
                manager.flush(10.0)
                ledger = manager.ledger()
            show.wait_for(receiver.received)
    return _summary(show, receiver.received, ledger)


def _summary(show: _Show, received: Sequence[Delivery], ledger: Ledger) -> bool:
    ids = {delivery.webhook_id for delivery in received if delivery.alert}
    sent = ledger.deliveries["delivered"]
    genuine = all(delivery.genuine for delivery in received)
    waits = [wait for delivery in received if (wait := _milliseconds(delivery)) is not None]
    typical = f", half of them within {statistics.median(waits):.0f} ms" if waits else ""
    arrived = bool(ids) and sent == len(ids) == ledger.created
    show.line()
    show.verdict(arrived, f"{len(ids)} of {ledger.created} alerts arrived{typical}.")
    show.verdict(genuine, "Every signature held." if genuine else "A signature did not hold.")
    recorded = f"{ledger.accepted:,} alerts = {ledger.recorded:,} recorded + {ledger.planned:,} sent"
    show.verdict(ledger.balanced, f"The ledger {'balances' if ledger.balanced else 'does not balance'}: {recorded}.")
    return arrived and genuine and ledger.balanced


def _milliseconds(delivery: Delivery) -> float | None:
    """From when the alert was made to when the receiver had it."""
    made = as_utc(delivery.alert.get("time"))
    return None if made is None else 1000.0 * (delivery.received - made).total_seconds()


def _goodbye(show: _Show, folder: Path) -> None:
    show.heading("3", "What next")
    program, settings = _program(), folder / "alerts.yaml"
    for command, why in (
        (f"{program} history -c {settings}", "everything that happened just now"),
        (f"{program} health -c {settings}", "how the channel did, and whether every alert is accounted for"),
        (f"{program} init", "a settings file for your own channels"),
        ('attach(cerebro, "alerts.yaml")', "the one line for your own strategy; see README.md"),
    ):
        show.command(command, why)


def _program() -> str:
    """By what the command is called again: its name, or the path of what runs now where no folder of PATH has it."""
    if shutil.which("bt-alerts"):
        return "bt-alerts"
    installed = Path(sys.argv[0]).stem == "bt-alerts"
    path = os.path.abspath(sys.argv[0] if installed else sys.executable)
    with contextlib.suppress(ValueError):  # on another drive
        near = os.path.relpath(path)
        if os.path.dirname(near) and not near.startswith(os.pardir):
            path = near
    return (f'"{path}"' if " " in path else path) + ("" if installed else " -m bt_alerts")


# ------------------------------------------------------------------------------------------------- what it looks like


class _Show:
    """Prints the demo: 80 columns are enough, and nothing that an alert says is taken for markup."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._arrived = 0
        self._title = min(36, max(12, console.width - 43))  # columns for a title

    def heading(self, figure: str, words: str) -> None:
        self._console.print(Text.assemble("\n", (f" {figure} ", "bold reverse"), (f" {words}", "bold")))

    def line(self, words: str = "") -> None:
        self._console.print(Text(words))

    def verdict(self, good: bool, words: str) -> None:
        self._console.print(Text.assemble(("✓ ", "green") if good else ("✗ ", "bold red"), words))

    def command(self, command: str, why: str) -> None:
        self._console.print(Text.assemble("  ", (command, "bold cyan"), f"\n      {why}"), soft_wrap=True)

    def table(self, table: Table) -> None:
        self._console.print("", table, "")

    def counts(self, simulation: Simulation) -> None:
        """How many alerts of each type there were, and how many would have been messages."""
        made = collections.Counter(row.alert.type.value for row in simulation.alerts)
        told = collections.Counter(alert.type.value for alert in simulation.told)
        table = _table(("type", "left"), ("recorded", "right"), ("messages", "right"))
        for name, count in made.most_common():
            table.add_row(Text(name), f"{count:,}", f"{told[name]:,}" if told[name] else "–")
        table.add_row(Text("all", "bold"), f"{made.total():,}", Text(f"{told.total():,}", "bold"))
        self.table(table)

    def messages(self, simulation: Simulation) -> None:
        """The last of them."""
        wide = self._console.width >= 70
        table = _table(("bar", "left"), ("priority", "left"), ("title", "left"), *([("", "left")] if wide else []))
        for alert in simulation.told[-SHOWN:]:
            about = Text(next(iter(alert.message.splitlines()), ""), "dim", no_wrap=True, overflow="ellipsis")
            priority = Text(alert.priority.value, alert.priority.style.terminal)
            title = Text(alert.title, no_wrap=True, overflow="ellipsis")
            table.add_row(f"{alert.time:%Y-%m-%d}", priority, title, *([about] if wide else []))
        self.table(table)

    @contextlib.contextmanager
    def watching(self, bars: int) -> Iterator[Callable[[int], None]]:
        """A progress bar below what arrives, on a terminal."""
        self._console.print(Text(f"\n  {'event':<19}{'title':<{self._title}}{'after':>8}   signature", "bold"))
        columns = TextColumn("  bars"), BarColumn(bar_width=30), TextColumn("{task.completed}/{task.total}")
        bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        task = bar.add_task("bars", total=bars)
        with bar:
            yield lambda done: bar.update(task, completed=done)

    def arrived(self, delivery: Delivery) -> None:
        """One delivery; called from the receiver's threads."""
        alert = delivery.alert
        after = _milliseconds(delivery)
        event = delivery.event.removeprefix("alert.") if alert else "connection check"
        title = Text(str(alert.get("title", "does the receiver answer?")))
        title.truncate(self._title - 1, overflow="ellipsis", pad=True)
        line = Text.assemble(
            f"  {event:<19.18}",
            (title.plain, "" if alert else "dim"),
            f"{'' if after is None else f'{after:,.0f} ms':>9}   ",
            ("✓", "green") if delivery.genuine else ("✗ does not hold", "bold red"),
        )
        with self._lock:
            self._console.print(line, no_wrap=True, overflow="ellipsis")
            self._arrived += 1

    def wait_for(self, received: Sequence[Delivery]) -> None:
        """Until each of them is printed: the sender knows of an answer before the receiver has printed it."""
        deadline = time.monotonic() + 2.0
        while self._arrived < len(received) and time.monotonic() < deadline:
            time.sleep(0.01)


def _table(*columns: tuple[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, side in columns:
        table.add_column(name, justify=side)
    return table
