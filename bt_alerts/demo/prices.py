"""Daily bars of real shares, bundled, so that the demo and the example strategies run without a network.

AAPL, FB, GOOG, IBM and MSFT, from 1 March 2000 (FB and GOOG: from their first day) to 1 March 2013, split-adjusted:
bars before a split inside the period are divided by it, so that no price jumps. Dividends are left alone. A backtest on
five shares that are known to have survived says nothing about a strategy; these bars are for showing alerts.

How ``prices.csv.gz`` was made: ``stocks.csv.gz`` of bokeh_sampledata 2026.1 (Quandl WIKI Prices, public domain; see
``prices.LICENSE.txt``) has raw prices. Its ``adj_close / close`` doubles at a 2:1 split and moves by 11 % at most at a
dividend: where it rose by half or more, earlier prices were divided by the split and volumes multiplied; gzip, mtime 0.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import gzip
import io
from importlib import resources
from typing import Any

import pandas as pd

from bt_alerts.hooks.seam import bt

Day = dt.date | str | None

#: When the exchanges of these shares close.
CLOSE = "16:00 America/New_York"
COLUMNS = ["open", "high", "low", "close", "volume"]


def symbols() -> list[str]:
    """The bundled symbols, in alphabetical order."""
    return list(_frames())


def load(symbol: str, start: Day = None, end: Day = None) -> pd.DataFrame:
    """The daily bars of one share.

    Args:
        symbol: one of :func:`symbols`, in any case.
        start: first day, a date or ``"2010-01-31"``; None for the first there is.
        end: last day, included; None for the last there is.

    Returns:
        One row a trading day: index ``datetime`` (naive), columns open, high, low, close in dollars, volume in shares.

    Raises:
        ValueError: an unknown symbol, or no bar between the two days.
    """
    known = _frames()
    frame = known.get(symbol.upper())
    if frame is None:
        near = difflib.get_close_matches(symbol.upper(), known, n=1, cutoff=0.4)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"No bundled prices of {symbol!r}: there are {', '.join(known)}.{guess}")
    wanted = frame.loc[_edge(start) : _edge(end)]
    if wanted.empty:
        first, last = frame.index[0], frame.index[-1]
        raise ValueError(
            f"No bar of {symbol.upper()} between {start or 'the start'} and {end or 'the end'}: "
            f"the bundled ones run from {first:%Y-%m-%d} to {last:%Y-%m-%d}."
        )
    return wanted.copy()


def feed(symbol: str, start: Day = None, end: Day = None) -> Any:
    """The same bars as a ``bt.feeds.PandasData``, named after the symbol; raises as :func:`load` does."""
    return bt.feeds.PandasData(dataname=load(symbol, start, end), name=symbol.upper(), timeframe=bt.TimeFrame.Days)


def yahoo(symbol: str, start: Day = None, end: Day = None) -> pd.DataFrame:
    """Daily bars from Yahoo Finance, shaped as :func:`load` gives them; needs the extra ``data`` and a network.

    Prices are adjusted for splits *and* dividends (``auto_adjust`` of yfinance), unlike the bundled ones.

    Args:
        symbol: as Yahoo writes it, such as ``"AAPL"`` or ``"BTC-USD"``.
        start: first day; None for the first there is.
        end: last day, included; None for today.

    Raises:
        ImportError: yfinance is not installed.
        ValueError: Yahoo gave no bars.
    """
    try:
        import yfinance
    except ImportError as missing:
        raise ImportError('Prices from Yahoo need yfinance: pip install "bt-alerts[data]"') from missing
    # Without a start yfinance gives a month only; its end is excluded, ours is not.
    span = {"start": f"{pd.Timestamp(start or '1950-01-01'):%Y-%m-%d}"}
    if end is not None:
        span["end"] = f"{pd.Timestamp(end) + pd.Timedelta(days=1):%Y-%m-%d}"
    frame = yfinance.download(symbol, **span, interval="1d", auto_adjust=True, progress=False)
    if frame is None or frame.empty:
        raise ValueError(f"Yahoo gave no daily bars of {symbol!r} between {start or 'the start'} and {end or 'today'}.")
    if isinstance(frame.columns, pd.MultiIndex):  # (Price, Ticker), even where one symbol is asked for
        frame.columns = frame.columns.get_level_values(0)
    frame = frame.rename(columns=str.lower)[COLUMNS].dropna()
    frame.columns.name = None
    frame.index = frame.index.tz_localize(None).rename("datetime")
    return frame


def _edge(day: Day) -> Any:
    # pandas takes "2010" for the whole year at either end, but no plain date.
    return pd.Timestamp(day) if isinstance(day, dt.date) else day


@functools.cache
def _frames() -> dict[str, pd.DataFrame]:
    packed = resources.files("bt_alerts.demo").joinpath("prices.csv.gz").read_bytes()
    bars = pd.read_csv(io.BytesIO(gzip.decompress(packed)), parse_dates=["date"])
    bars = bars.rename(columns={"date": "datetime"}).set_index("datetime")
    return {str(symbol): bars.loc[bars["symbol"] == symbol, COLUMNS] for symbol in sorted(bars["symbol"].unique())}
