import datetime as dt
import gzip
import sys
import types
from importlib import resources

import backtrader as bt
import pandas as pd
import pytest

from bt_alerts.demo import prices

PACKED = resources.files("bt_alerts.demo").joinpath("prices.csv.gz").read_bytes()


def test_five_shares_are_bundled():
    assert prices.symbols() == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert sum(len(prices.load(symbol)) for symbol in prices.symbols()) == 12_154


def test_the_file_is_small_and_carries_no_time_of_its_making():
    assert len(PACKED) < 600_000
    assert PACKED[4:8] == b"\0\0\0\0"


def test_its_source_and_licence_are_beside_it():
    text = resources.files("bt_alerts.demo").joinpath("prices.LICENSE.txt").read_text("utf-8")
    for words in (
        "Quandl WIKI Prices",
        "public domain",
        "bokeh_sampledata",
        "Copyright (c) Bokeh Contributors",
        "AS IS",
    ):
        assert words in text


def test_a_frame_is_shaped_as_backtrader_wants_it():
    frame = prices.load("IBM")
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert frame.index.name == "datetime"
    assert frame.index.tz is None
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique


@pytest.mark.parametrize("symbol", prices.symbols())
def test_every_bar_is_possible(symbol):
    frame = prices.load(symbol)
    assert not frame.isna().any().any()
    assert (frame["high"] >= frame[["open", "close", "low"]].max(axis=1)).all()
    assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
    assert (frame > 0).all().all()


@pytest.mark.parametrize(("symbol", "day"), [("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18")])
def test_no_price_jumps_at_a_split(symbol, day):
    frame = prices.load(symbol)
    at = frame.index.get_loc(day)
    assert frame["close"].iloc[at] / frame["close"].iloc[at - 1] == pytest.approx(1, abs=0.15)


def test_prices_and_volumes_are_in_shares_of_the_last_day():
    close, volume = prices.load("AAPL")["close"], prices.load("AAPL")["volume"]
    assert close.iloc[-1] == 430.47  # as traded
    assert close.iloc[0] == pytest.approx(130.31 / 4, abs=1e-4)  # two splits of 2:1 ahead
    assert volume.iloc[0] == 9_616_100 * 4


@pytest.mark.parametrize(
    ("start", "end"),
    [("2010-01-04", "2010-12-31"), (dt.date(2010, 1, 4), dt.datetime(2010, 12, 31)), ("2010", "2010")],
)
def test_both_ends_are_included(start, end):
    frame = prices.load("msft", start, end)
    assert (frame.index[0].date(), frame.index[-1].date()) == (dt.date(2010, 1, 4), dt.date(2010, 12, 31))
    assert len(frame) == 252


def test_what_was_loaded_can_be_changed_without_harm():
    mine = prices.load("FB")
    mine.iloc[:] = 0
    assert prices.load("FB")["close"].iloc[0] > 0


def test_an_unknown_symbol_is_told_with_those_there_are_and_the_nearest():
    with pytest.raises(ValueError, match=r"AAPL, FB, GOOG, IBM, MSFT.*Did you mean GOOG"):
        prices.load("GOOGL")
    with pytest.raises(ValueError, match=r"there are AAPL, FB, GOOG, IBM, MSFT\.$"):
        prices.feed("ZZZ")


def test_an_empty_span_is_told_with_the_span_there_is():
    with pytest.raises(ValueError, match=r"FB between 2001-01-01 and 2001-12-31.*2012-05-18 to 2013-03-01"):
        prices.load("FB", "2001-01-01", "2001-12-31")


def test_a_feed_runs_under_its_symbol():
    engine = bt.Cerebro()
    data = engine.adddata(prices.feed("fb"))
    engine.run()
    assert (data._name, len(data), data.close[0]) == ("FB", 196, 27.78)
    assert data.datetime.date(0) == dt.date(2013, 3, 1)


def test_yahoo_without_yfinance_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(ImportError, match=r'pip install "bt-alerts\[data\]"'):
        prices.yahoo("AAPL")


def yfinance_that_gives(monkeypatch, frame):
    """A module in yfinance's place: nothing of its network can be had here, only the shape of its answer."""
    asked = {}

    def download(tickers, start=None, end=None, *, interval, auto_adjust, progress):
        asked.update(tickers=tickers, start=start, end=end, auto_adjust=auto_adjust, progress=progress)
        return frame

    module = types.ModuleType("yfinance")
    module.download = download
    monkeypatch.setitem(sys.modules, "yfinance", module)
    return asked


def yahoo_frame(columns):
    index = pd.DatetimeIndex(["2024-01-02", "2024-01-03"], name="Date")
    return pd.DataFrame([[3.0, 4.0, 1.0, 2.0, 100], [4.0, 5.0, 2.0, 3.0, 200]], index=index, columns=columns)


NAMES = ["Close", "High", "Low", "Open", "Volume"]


@pytest.mark.parametrize(
    "columns", [NAMES, pd.MultiIndex.from_product([NAMES, ["AAPL"]], names=["Price", "Ticker"])], ids=["flat", "multi"]
)
def test_yahoo_gives_the_shape_of_load(monkeypatch, columns):
    asked = yfinance_that_gives(monkeypatch, yahoo_frame(columns))
    frame = prices.yahoo("AAPL", dt.date(2024, 1, 2), "2024-01-03")
    assert list(frame.columns) == list(prices.load("IBM").columns)
    assert (frame.columns.names, frame.index.name) == ([None], "datetime")
    assert frame.iloc[0].tolist() == [2.0, 4.0, 1.0, 3.0, 100]
    assert asked == {
        "tickers": "AAPL",
        "start": "2024-01-02",
        "end": "2024-01-04",  # yfinance leaves its end out
        "auto_adjust": True,
        "progress": False,
    }


def test_yahoo_without_a_start_asks_for_everything(monkeypatch):
    asked = yfinance_that_gives(monkeypatch, yahoo_frame(NAMES))
    prices.yahoo("AAPL")
    assert (asked["start"], asked["end"]) == ("1950-01-01", None)


def test_yahoo_that_gives_nothing_is_an_error(monkeypatch):
    yfinance_that_gives(monkeypatch, pd.DataFrame(columns=NAMES))
    with pytest.raises(ValueError, match="Yahoo gave no daily bars of 'NOPE'"):
        prices.yahoo("NOPE")


def test_the_file_unpacks_to_plain_text():
    head = gzip.decompress(PACKED).decode("ascii").splitlines()[:2]
    assert head == ["symbol,date,open,high,low,close,volume", "AAPL,2000-03-01,29.64,33.015,29.625,32.5775,38464400"]
