"""The files of a report: a picture, a document and a table that tell what the report does, and no more than privacy."""

from __future__ import annotations

import datetime as dt
import io
import logging
import re
import struct
import sys
from pathlib import Path

import pandas as pd
import pytest

from bt_alerts.alert import Alert
from bt_alerts.render import report_files
from bt_alerts.render.drawer import Drawer
from bt_alerts.render.drawing_process import MISSING
from bt_alerts.summary import summary

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # a symbol in Chinese
SINCE = dt.datetime(2026, 2, 2, 5, tzinfo=dt.UTC).timestamp()  # midnight in New York
DAY = 86_400.0
NAMES = ["equity.png", "report.pdf", "trades.csv"]
SYMBOLS = ("AAPL", "BTC/USDT", "=cmd|' /C calc'!A0", "贵州茅台", "$a$ \\frac{", "")


def report(trades=7, period="daily", value=100_000.0, strategies=("Sma",), positions=1, **more):
    alerts, before = [], []
    for strategy in strategies:
        data = {} if value is None else {"value": value}
        before.append(Alert.make("x", kind="strategy.started", type="strategy", strategy=strategy, run="r", data=data))
    length = DAY if period == "daily" else 7 * DAY
    for i in range(trades):
        data = {
            "pnl": 137.19 * ((i * 7) % 5 - 1.7), "pnlcomm": 137.19 * ((i * 7) % 5 - 1.7) - 2.5, "trade_commission": 2.5,
            "side": "sell" if i % 2 else "buy", "fill_size": 31.5, "entry_price": 228.4 + i / 7, "exit_price": 219.44,
            "duration_seconds": 4000 * i, "close_reason": "stop",
        }  # fmt: skip
        where = {"symbol": SYMBOLS[i % len(SYMBOLS)], "strategy": strategies[i % len(strategies)]}
        when = SINCE + length * (i + 1) / (trades + 2)
        alerts.append(Alert.make("x", kind="trade.closed", type="trade", time=when, data=data, action=str(i), **where))
    for i in range(positions):
        held = {"position_size": 1234.5, "position_price": 567.25}
        alerts.append(
            Alert.make("x", kind="position.opened", strategy="Sma", symbol=f"P{'QRSTUVWXYZ'[i]}", time=SINCE, data=held)
        )
    how = {"name": "evening", "zone": "America/New_York", "now": SINCE + length, **more}
    return summary(alerts, before=before, period=period, since=SINCE, until=SINCE + length, **how)


def shown(alert, privacy="off"):
    return report_files.shown(alert.data["report"], privacy)


def table(content):
    return pd.read_csv(io.BytesIO(content), keep_default_na=False)


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def pages_of(pdf):
    pypdf = pytest.importorskip("pypdf")
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**how):
        made.append(Drawer(tmp_path / "files", **how))
        return made[-1]

    yield make
    for drawer in made:
        drawer.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    drawer = Drawer(tmp_path_factory.mktemp("files"))
    yield drawer
    drawer.close()


@pytest.fixture(scope="module")
def pictures():
    pytest.importorskip("matplotlib")
    from bt_alerts.render import report_picture

    return report_picture


# --------------------------------------------------------------------------------------------------- the table


def test_the_table_read_back_has_the_trades_as_they_were():
    alert = report(9, strategies=("Sma", "Rsi"))
    frame, trades = table(report_files.trades_csv(shown(alert))), alert.data["report"]["trades"]
    assert list(frame) == list(report_files.COLUMNS)
    assert len(frame) == 9
    for name in ("size", "entry_price", "exit_price", "pnl", "pnlcomm", "trade_commission", "account_percent"):
        assert list(frame[name]) == [trade[name] for trade in trades]
    times = [dt.datetime.fromisoformat(when) for when in frame["time"]]
    assert times == [dt.datetime.fromisoformat(trade["time"]) for trade in trades]
    assert {when.utcoffset() for when in times} == {dt.timedelta(hours=-5)}


def test_no_cell_of_the_table_is_a_formula():
    frame = table(report_files.trades_csv(shown(report(6))))
    assert list(frame["symbol"])[2] == "'=cmd|' /C calc'!A0"
    assert [str(cell) for cell in frame["symbol"] if str(cell).startswith(("=", "+", "-", "@"))] == []


# --------------------------------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("privacy", ["off", "percent_only", "hide_amounts"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"trades": 1, "value": None, "positions": 0},
        {"trades": 300, "period": "weekly"},
        {"value": 3.0},  # it all was lost, and more
        {"value": 4e9},
    ],
)
def test_the_picture_is_one_of_the_size_that_pictures_of_alerts_have(pictures, how, privacy, dark):
    assert size_of(pictures.report_png(shown(report(**how), privacy), dark=dark)) == (900, 560)


def test_dark_is_another_picture_than_light(pictures):
    told = shown(report())
    assert pictures.report_png(told) != pictures.report_png(told, dark=True)


def test_no_words_of_the_picture_are_over_others_or_over_the_edge(pictures):
    for how in ({}, {"trades": 900, "period": "weekly", "value": 98_765_432.0}, {"trades": 2, "value": None}):
        for privacy in ("off", "percent_only", "hide_amounts"):
            boxes = words_of(pictures, shown(report(**how), privacy))
            for i, (text, box) in enumerate(boxes):
                assert box.x0 >= 0, text
                assert box.x1 <= 900, text
                over = [other for other, place in boxes[i + 1 :] if box.overlaps(place)]
                assert over == [], text


def words_of(pictures, told):
    """The words of the picture, and where they are."""
    from matplotlib.text import Text

    kept = []
    real = pictures.new_figure
    pictures.new_figure = lambda *how: kept.append(real(*how)) or kept[-1]
    try:
        pictures.report_png(told)
    finally:
        pictures.new_figure = real
    (figure,) = kept
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts if _is_drawn(text, figure)]


def _is_drawn(text, figure):
    """Ticks outside of the axes have words that are not drawn."""
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if text in (tick.label1, tick.label2):
                    on = tick.label1.get_visible() and text is tick.label1
                    return on and limits[0] <= tick.get_loc() <= limits[1]
    return True


def test_the_document_opens_and_has_the_figures_and_the_trades(pictures):
    alert = report(60, period="weekly", strategies=("Sma", "Rsi"))
    told = alert.data["report"]
    first, *others = pages_of(pictures.report_pdf(shown(alert)))
    assert "Weekly report 2026-02-02 to 2026-02-08" in first
    assert f"{told['return_percent']:+.2f} %".replace("-", "−") in first
    for words in (
        "Realised equity",
        "Drawdown",
        "Trades closed",
        "Largest drawdown",
        "1,234.50",
        "567.25",
        "Sma",
        "Rsi",
    ):
        assert words in first
    assert len(others) == 2
    text = "\n".join(others)
    assert text.count("2026-02-0") == 60
    assert "stop" in text
    assert "219.44" in text
    assert "3 of 3" in others[-1]


def test_a_document_of_very_many_trades_has_few_pages_and_says_where_the_rest_is(pictures):
    pages = pages_of(pictures.report_pdf(shown(report(1200, period="weekly"))))
    assert len(pages) == 6
    assert "The newest 230 of 1,200 trades; trades.csv has 1,000." in pages[-1]
    assert "1,000 of 1,202 points" in pages[0]


def test_a_first_page_with_all_that_there_can_be_ends_above_its_number(pictures):
    names = tuple("ABCDEFGHI")
    (page, *_) = [pictures.first_page(shown(report(1200, period="weekly", strategies=names, positions=9)))]
    renderer = page.canvas.get_renderer()
    lowest = min(text.get_window_extent(renderer).y0 for text in page.texts)
    assert lowest > 1169 - 1142 + 12
    words = " ".join(text.get_text() for text in page.texts)
    assert "… and 4 more" in words


def test_the_same_report_is_the_same_file(pictures):
    told = shown(report())
    assert pictures.report_pdf(told) == pictures.report_pdf(told)


# ----------------------------------------------------------------------------------------------------------- privacy

#: Every amount of money, price and size that the report of these tests has, however it is rounded.
AMOUNTS = re.compile(r"\d{3,}(?:,\d{3})*\.\d|\d,\d{3}|\d{1,3}\.\d\d(?! ?%)|1234|567\.2|31\.5|228|219|137")


@pytest.mark.parametrize("privacy", ["percent_only", "hide_amounts"])
def test_no_amount_is_in_a_file_where_amounts_are_hidden(pictures, privacy):
    told = shown(report(9, strategies=("Sma", "Rsi")), privacy)
    written = report_files.trades_csv(told).decode()
    texts = [*pages_of(pictures.report_pdf(told)), *(text for text, _ in words_of(pictures, told))]
    for text in texts:
        bare = re.sub(r"2026-\d\d-\d\d( \d\d:\d\d)?|\d\d:\d\d", "", text)
        assert AMOUNTS.findall(bare) == []
    columns = set(table(written.encode()).columns)
    hidden = {"size", "entry_price", "exit_price", "pnl", "pnlcomm", "trade_commission"}
    assert columns & hidden == set()
    assert ("account_percent" in columns) is (privacy == "percent_only")
    assert any("%" in text for text in texts) is (privacy == "percent_only")
    assert [word for word in ("137", "228", "219", "1234", "31.5") if word in written] == []


def test_what_is_handed_to_the_drawing_process_has_no_hidden_amount():
    whole = report(5).data["report"]
    for privacy in ("percent_only", "hide_amounts"):
        told = repr(report_files.shown(whole, privacy))
        assert [amount for amount in (whole["net"], whole["value_begin"], 567.25, 1234.5) if repr(amount) in told] == []
    assert "100.0" not in repr(report_files.shown(report(5, value=None).data["report"], "percent_only")["equity"])


def test_a_curve_in_percent_is_that_of_the_money():
    alert = report()
    for (_, value), (_, percent) in zip(
        alert.data["report"]["equity"], shown(alert, "percent_only")["equity"], strict=True
    ):
        assert percent == pytest.approx(100 * (value / 100_000 - 1))


# --------------------------------------------------------------------------------------------------------- the drawer


def test_a_report_has_three_files_each_under_its_hash(pictures, shared):
    files = shared.report(report())
    assert [file.name for file in files] == NAMES
    assert [file.content_type for file in files] == ["image/png", "application/pdf", "text/csv"]
    picture, document, written = (file.read() for file in files)
    assert picture == pictures.report_png(shown(report()))
    assert document.startswith(b"%PDF-")
    assert written == report_files.trades_csv(shown(report()))
    assert [Path(file.path).suffix for file in files] == [".png", ".pdf", ".csv"]
    assert [len(file.read()) for file in files] == [file.size for file in files]


def test_for_a_service_of_pictures_there_is_the_picture_alone(pictures, shared):
    assert [file.name for file in shared.report(report(), files=False)] == NAMES[:1]


def test_several_channels_share_what_was_made(pictures, shared):
    alert = report()
    light, again, dark = shared.report(alert), shared.report(alert), shared.report(alert, dark=True)
    assert light == again
    assert light[0] != dark[0]
    assert light[1:] == dark[1:]
    assert shared.report(alert, privacy="hide_amounts")[1] != light[1]


@pytest.mark.parametrize(
    "alert",
    [
        report(0),
        Alert.make("x", kind="custom", data={"report": {"closed": 1}}),
        Alert.make("x", kind="report.daily", data={"alerts": []}),  # of a digest that began with a report
        Alert.make("x", kind="report.daily", data={"report": "none"}),
    ],
)
def test_what_has_no_trade_and_what_is_no_report_has_no_files(shared, alert, caplog):
    assert shared.report(alert) == ()
    assert caplog.records == []


def test_a_report_that_cannot_be_read_costs_its_files_and_a_line(shared, caplog):
    assert shared.report(Alert.make("x", title="Odd", kind="report.daily", data={"report": {"closed": 3}})) == ()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "no files of 'Odd': KeyError: 'value_begin'"


def test_without_matplotlib_the_table_goes(make, caplog):
    said = MISSING.encode()
    answer = f"import os, struct, time; os.write(1, struct.pack('>cI', b'X', {len(said)}) + {said!r}); time.sleep(60)"
    drawer = make(command=[sys.executable, "-c", answer])
    with caplog.at_level(logging.WARNING):
        assert [file.name for file in drawer.report(report())] == ["trades.csv"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "bt_alerts.charts"]
    assert "no equity.png of " in line
    assert 'pip install "bt-alerts[charts]"' in line


def test_a_drawing_that_hangs_costs_what_is_drawn_within_one_deadline(make):
    ready = "import os, struct, sys, time; os.write(1, struct.pack('>cI', b'R', 0)); time.sleep(60)"
    drawer = make(command=[sys.executable, "-c", ready], deadline=0.6)
    assert [file.name for file in drawer.report(report())] == ["trades.csv"]
    assert drawer._failures + bool(drawer._rest_until) <= 1  # the second drawing had no time left to begin


def test_a_disk_that_takes_nothing_costs_the_files(tmp_path, caplog):
    (tmp_path / "files").write_text("no folder")
    drawer = Drawer(tmp_path / "files", command=[sys.executable, "-c", ""])
    assert drawer.report(report()) == ()
    drawer.close()
    assert drawer.report(report()) == ()
    assert any("no trades.csv of" in record.getMessage() for record in caplog.records)
