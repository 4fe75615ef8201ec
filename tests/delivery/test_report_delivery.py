"""A report on its way: its files are made at the time of delivery, for the services that take them, and cost nothing
where they cannot be."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from alerts_kit import Clock, alert, rest
from mail_server import MailServer

from bt_alerts import AlertManager
from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context, Dispatcher, Receipt, Target
from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.render.drawer import KEPT_FOR, Drawer
from bt_alerts.summary import summary
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
DAY = 86_400.0


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time for a picture."""
    monkeypatch.setitem(Drawer.__init__.__kwdefaults__, "deadline", 60.0)  # type: ignore[arg-type]


def report(clock: Clock, trades: int = 3, name: str = "evening") -> Alert:
    since = clock() - DAY
    started = alert(kind="strategy.started", strategy="Sma", run="r", data={"value": 54_321.0}, time=since - 60)
    closed = [
        alert(
            kind="trade.closed", strategy="Sma", symbol="AAPL", time=since + 3600 * (i + 1),
            data={"pnlcomm": 777.5 - 500 * i, "pnl": 780.0 - 500 * i, "entry_price": 12.25, "exit_price": 13.75},
        )
        for i in range(trades)
    ]  # fmt: skip
    how: dict[str, Any] = {"name": name, "period": "daily", "zone": "Europe/Berlin"}
    return summary(closed, before=[started], since=since, until=clock(), now=clock(), **how)


class Shelf(Dispatcher):
    """Keeps what it is handed, with the content of the files."""

    type = "shelf"

    def __init__(self) -> None:
        self.got: list[tuple[Alert, list[str]]] = []

    def targets(self) -> Sequence[Target]:
        return [Target("one", "one")]

    def check(self, target: Target) -> Receipt:
        return Receipt()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        self.got.append((alert, [file.name for file in alert.attachments]))
        return Receipt()


class Album(Shelf):
    takes_pictures: ClassVar[bool] = True


class Archive(Album):
    takes_files: ClassVar[bool] = True


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def post(server: MailServer, **more: Any) -> dict[str, Any]:
    return {
        "type": "email", "host": "127.0.0.1", "port": server.port, "use_tls": False, "rate_limit": 0,
        "from_address": "alerts@example.com", "to": "boss@example.com", **more,
    }  # fmt: skip


def test_a_report_reaches_an_inbox_with_its_three_files_and_others_without(
    manage: Manage, clock: Clock, mail: MailServer, service: FakeService
) -> None:
    pytest.importorskip("matplotlib")
    manager = manage(mail=post(mail), hook=service.url)
    told = report(clock)
    manager.emit(told)
    rest(manager)
    (got,) = mail.requests
    parts = {part.get_filename(): part for part in got.message.walk() if part.get_filename()}
    assert list(parts) == ["equity.png", "report.pdf", "trades.csv"]
    assert parts["equity.png"].get_content().startswith(b"\x89PNG")
    assert parts["report.pdf"].get_content().startswith(b"%PDF-")
    rows = list(csv.DictReader(io.StringIO(parts["trades.csv"].get_content())))
    assert [float(row["pnlcomm"]) for row in rows] == [777.5, 277.5, -222.5]
    assert [part.get_content_type() for part in parts.values()] == ["image/png", "application/pdf", "text/csv"]
    assert "Realised +832.50 (+1.53 %), after commission" in got.text
    assert "Report:" not in got.text  # the details are for the files, not for the reader
    (hooked,) = service.requests
    assert "attachments" not in hooked.json()["data"]
    assert hooked.json()["data"]["data"]["report"]["net"] == 832.5
    assert manager.ledger().balanced


def test_amounts_that_are_hidden_are_in_no_part_of_the_mail(manage: Manage, clock: Clock, mail: MailServer) -> None:
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("matplotlib")
    manager = AlertManager(
        {"alerts": {"mail": post(mail)}, "privacy": "hide_amounts"}, store="memory", clock=clock
    )  # fmt: skip
    with manager:
        manager.emit(report(clock))
        rest(manager)
    (got,) = mail.requests
    files = {part.get_filename(): part.get_content() for part in got.message.walk() if part.get_filename()}
    assert len(files) == 3
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(files["report.pdf"])).pages]
    for text in (got.text, got.html, files["trades.csv"], *pages):
        for amount in ("777.5", "277.5", "222.5", "832.5", "54,321", "54321", "12.25", "13.75", "1.53"):
            assert amount not in text


def test_a_service_of_pictures_gets_the_picture_and_one_of_text_nothing(manage: Manage, clock: Clock) -> None:
    pytest.importorskip("matplotlib")
    manager = manage()
    shelves = {"text": Shelf(), "album": Album(), "archive": Archive()}
    for name, shelf in shelves.items():
        manager.add_channel(name, shelf)
    manager.emit(report(clock))
    rest(manager)
    names = {name: shelf.got[0][1] for name, shelf in shelves.items()}
    assert names == {"text": [], "album": ["equity.png"], "archive": ["equity.png", "report.pdf", "trades.csv"]}


def test_files_come_without_charts_and_do_not_bring_charts_along(manage: Manage, clock: Clock) -> None:
    pytest.importorskip("matplotlib")
    manager, archive = manage(), Archive()
    manager.add_channel("archive", archive)
    bars = {"time": [60, 120], **{name: [1.0, 2.0] for name in ("open", "high", "low", "close")}}
    manager.emit(alert(title="with bars").replace(bars=bars))
    manager.emit(report(clock, 1))
    manager.emit(report(clock, 0, "empty"))
    rest(manager)
    assert sorted(len(names) for _, names in archive.got) == [0, 0, 3]


def test_files_that_cannot_be_made_cost_no_text(
    manage: Manage, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bt_alerts.render.drawer.python_command", lambda: ["/nowhere/python"])
    monkeypatch.setattr("bt_alerts.render.report_files.trades_csv", lambda told: 1 / 0)
    manager, archive = manage(), Archive()
    manager.add_channel("archive", archive)
    manager.emit(report(clock))
    rest(manager)
    ((got, names),) = archive.got
    assert names == []
    assert got.message.startswith("Realised +832.50")
    assert "no trades.csv of" in caplog.text


def test_only_services_that_take_any_file_say_so() -> None:
    import importlib

    found = {}
    for name, place in BUILT_IN.items():
        module, _, class_name = place.partition(":")
        cls = getattr(importlib.import_module(module), class_name)
        found[name] = cls.takes_pictures, cls.takes_files
    assert {name for name, (_, files) in found.items() if files} == {"apprise", "discord", "email", "slack", "telegram"}
    assert {name for name, (pictures, files) in found.items() if pictures and not files} == {"pushover"}


def test_old_files_of_reports_are_tidied_away_with_pictures(tmp_path: Path) -> None:
    import os

    drawer = Drawer(tmp_path)
    names = ["a" * 64 + ending for ending in (".png", ".pdf", ".csv")]
    for name in [*names, "mine.csv", "b" * 64]:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1.0, 1.0))
    drawer._keep(b"x", "trades.csv", "text/csv")
    drawer.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.stat().st_mtime < KEPT_FOR) == ["b" * 64, "mine.csv"]
