"""Sessions of an exchange: holidays, half days and clocks that change, against the library's own calendars."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import zoneinfo

import pytest
from alerts_kit import run_python
from hooks_kit import MINUTE, Clock, Scripted, engine, kinds, live_feed, live_script, webhook

from bt_alerts import attach, calendars, hours
from bt_alerts.calendars import CalendarError, CalendarMissing, Exchange, read_session
from bt_alerts.errors import SettingsError
from bt_alerts.hooks import lookout
from bt_alerts.hooks.session import ATTRIBUTE
from bt_alerts.hooks.silence import Sight, look, watched
from bt_alerts.hours import DAY, WEEKDAYS, read_hours
from bt_alerts.settings.load import inspect, load
from bt_alerts.testing import FakeService

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's, of the newest pandas

NEW_YORK = Exchange("XNYS")
HOUR = 3600.0


def at(text: str, zone: str = "America/New_York") -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def opened(code: str, day: str, zone: str = "America/New_York") -> list[str]:
    """The windows of a day, by the clocks on the wall."""
    found = hours.windows([read_session(code)], at(day, zone), at(day, zone) + DAY)
    tz = zoneinfo.ZoneInfo(zone)
    return [f"{dt.datetime.fromtimestamp(a, tz):%H:%M}-{dt.datetime.fromtimestamp(b, tz):%H:%M}" for a, b in found]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2024-11-27", ["09:30-16:00"]),
        ("2024-11-28", []),  # Thanksgiving
        ("2024-11-29", ["09:30-13:00"]),
        ("2024-12-24", ["09:30-13:00"]),
        ("2024-12-25", []),
        ("2024-03-29", []),  # Good Friday
        ("2024-03-08", ["09:30-16:00"]),
        ("2024-03-11", ["09:30-16:00"]),  # the clocks were put forward meanwhile
        ("2025-01-09", []),  # a day of mourning, announced eleven days before
        ("2026-11-26", []),
        ("2026-12-31", ["09:30-16:00"]),
        ("2027-01-04", ["09:30-16:00"]),  # the year after
    ],
)
def test_new_york_is_open_when_it_was(day: str, expected: list[str]) -> None:
    assert opened("XNYS", day) == opened("NYSE", day) == expected


def test_a_break_at_noon_is_no_session() -> None:
    assert opened("XHKG", "2025-06-03", "Asia/Hong_Kong") == ["09:30-12:00", "13:00-16:00"]


def test_futures_that_open_on_sunday_evening_are_open_then() -> None:
    sunday = at("2025-01-05T20:00", "America/Chicago")
    assert hours.open_seconds([Exchange("CMES")], sunday, sunday + HOUR) == HOUR


def test_days_that_the_library_does_not_know_yet_are_open_at_the_usual_hours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calendars._windows.cache_clear()
    calendars._say_once.cache_clear()
    known = calendars._known("XSHG").last
    assert known is not None
    later = known + dt.timedelta(days=10)
    monday = later + dt.timedelta(days=(7 - later.weekday()) % 7)
    assert opened("XSHG", monday.isoformat(), "Asia/Shanghai") == ["09:30-15:00"]
    assert opened("XSHG", (monday - dt.timedelta(days=1)).isoformat(), "Asia/Shanghai") == []
    told = [record.getMessage() for record in caplog.records if record.name == "bt_alerts.calendars"]
    assert len(told) == 1
    assert f"the holidays of XSHG are known until {known}" in told[0]
    assert "pip install -U exchange_calendars" in told[0]


@pytest.mark.parametrize(("code", "length", "seconds"), [("XNYS", 60, 60), ("XNYS", DAY, 6.5 * HOUR)])
def test_a_bar_of_a_day_is_one_of_a_usual_session(code: str, length: float, seconds: float) -> None:
    for since in ("2024-10-15", "2025-01-01", "2025-10-20"):  # each with holidays, half days, and clocks that change
        assert hours.bar_seconds([Exchange(code)], length, at(since)) == seconds


def due(feed_length: float, last: str, silence: float = 3) -> str:
    """When a feed of New York falls silent whose last bar came then."""
    feed = watched("AAA", feed_length, silence, [NEW_YORK], at(last))
    _, news, again = look(feed, Sight(last=at(last)), at(last) + 1)
    assert news is None
    assert again is not None
    return f"{dt.datetime.fromtimestamp(again, zoneinfo.ZoneInfo('America/New_York')):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("last", "silent"),
    [
        ("2024-11-26T15:59", "2024-11-27 09:32"),
        ("2024-11-27T16:00", "2024-11-29 09:33"),  # over Thanksgiving
        ("2024-11-29T12:59", "2024-12-02 09:32"),  # a half day: the afternoon is no silence
        ("2024-12-24T13:00", "2024-12-26 09:33"),
        ("2024-03-08T16:00", "2024-03-11 09:33"),
        ("2024-12-31T16:00", "2025-01-02 09:33"),  # the sessions of two years
    ],
)
def test_minute_bars_are_missed_in_sessions_only(last: str, silent: str) -> None:
    assert due(60, last) == silent


def test_daily_bars_over_a_long_weekend_are_no_silence_and_one_missing_in_a_session_is() -> None:
    feed = watched("AAA", DAY, 1.5, [NEW_YORK], at("2025-01-16"))
    friday = Sight(last=at("2025-01-17T16:05"))  # Monday, 20 January, is Martin Luther King's day
    sight, news, _ = look(feed, friday, at("2025-01-21T16:04"))
    assert news is None
    assert look(feed, Sight(last=at("2025-01-21T16:05")), at("2025-01-22T16:04"))[1] is None
    told = look(feed, sight, at("2025-01-22T12:46"))[1]  # Tuesday's bar never came
    assert told is not None
    assert told.kind == "data.silent"
    plain = watched("AAA", DAY, 1.5, [read_hours("09:30-16:00 America/New_York mon-fri")])
    assert look(plain, friday, at("2025-01-21T16:04"))[1] is not None, "hours alone would have told it on Tuesday"


# --------------------------------------------------------------------------------------------- how it is written


def test_a_code_is_read_and_not_looked_up() -> None:
    assert read_session(" XNYS ") == Exchange("XNYS")
    assert read_session("09:30-16:00 UTC") == read_hours("09:30-16:00 UTC")
    assert load({"watch": {"session": "XNYS, 18:00-20:00 UTC"}}, environ={}).watch.session == [
        "XNYS",
        "18:00-20:00 UTC",
    ]


@pytest.mark.parametrize("text", ["xnys", "alway", "X", "9to5"])
def test_what_is_neither_hours_nor_a_code_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"write hours such as 09:30-16:00.*the code of an exchange in capitals"):
        read_session(text)


def test_check_knows_the_exchanges() -> None:
    assert inspect({"watch": {"session": "XNYS"}}, environ={}).warnings == ()
    with pytest.raises(SettingsError, match=r"watch\.session: there is no exchange XNYC; did you mean XNYS\?"):
        inspect({"watch": {"session": "XNYC"}}, environ={})
    with pytest.raises(SettingsError, match=r"watch\.sessions\.AAPL: there is no exchange Q0Q0; write a code such as"):
        inspect({"watch": {"sessions": {"AAPL": "Q0Q0"}}}, environ={})


def test_settings_and_a_backtest_leave_the_library_alone() -> None:
    printed = run_python(
        """
        import sys
        import backtrader as bt
        from bt_alerts import attach
        from bt_alerts.demo import prices

        cerebro = bt.Cerebro()
        cerebro.adddata(prices.feed("AAPL", end="2000-04-01"))
        cerebro.addstrategy(bt.Strategy)
        with attach(cerebro, {"store": "memory", "watch": {"session": "XNYS"}}):
            cerebro.run()
        print("exchange_calendars" in sys.modules)
        """
    )
    assert printed.strip() == "False"


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch):
    calendars._known.cache_clear()
    lookout._say_once.cache_clear()
    monkeypatch.setitem(sys.modules, calendars.LIBRARY, None)
    monkeypatch.setattr(calendars, "installed", lambda: False)
    yield
    calendars._known.cache_clear()


@pytest.mark.usefixtures("without_library")
def test_without_the_library_check_says_what_to_install() -> None:
    with pytest.raises(CalendarMissing, match="pip install 'bt-alerts"):
        calendars.check("XNYS")
    (warning,) = inspect({"watch": {"session": "XNYS"}}, environ={}).warnings
    assert "watch.session: sessions of an exchange need the library exchange_calendars" in warning
    assert "pip install 'bt-alerts[calendars]'. Until then its feeds are watched as if no session were set" in warning


# ----------------------------------------------------------------------------------------------------- in a run


def feeds_of_a_run(session: str) -> list[object]:
    """How the feeds of a live run with this session are watched."""
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 2)), strategy=Scripted)
    with FakeService() as service, attach(cerebro, webhook(service, watch={"session": session}), clock=clock):
        cerebro.run()
        return list(cerebro.__dict__[ATTRIBUTE].lookout.watch._feeds.values())


def test_a_live_run_is_watched_by_the_sessions_of_the_exchange() -> None:
    (feed,) = feeds_of_a_run("XNYS")
    assert feed.hours == (NEW_YORK,)
    assert feed.given
    assert feed.allowed == 3 * MINUTE.total_seconds()


@pytest.mark.usefixtures("without_library")
def test_without_the_library_a_run_goes_on_as_without_a_session_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "bt_alerts.hooks"):
        feeds = [feed for _ in range(2) for feed in feeds_of_a_run("XNYS")]
    assert [(feed.hours, feed.given) for feed in feeds] == [((hours.ALWAYS,), False)] * 2
    told = [record.getMessage() for record in caplog.records if "watch.session" in record.getMessage()]
    assert len(told) == 1
    assert "pip install 'bt-alerts[calendars]'. Until then its feeds are watched as if no session were set" in told[0]


def test_an_exchange_that_there_is_not_stops_no_run(caplog: pytest.LogCaptureFixture) -> None:
    (feed,) = feeds_of_a_run("Q1Q1")
    assert not feed.given
    assert "there is no exchange Q1Q1" in caplog.text


def test_a_thanksgiving_without_bars_is_quiet() -> None:
    """The whole way: a live run whose feed is quiet over a holiday, and silent in the session after it."""
    clock = Clock(dt.datetime(2024, 11, 27, 20, 50))  # ten to four in New York
    script = live_script(clock, 9)
    cerebro_of: list[object] = []
    told: list[int] = []

    def pass_(until: dt.datetime) -> None:
        clock.time = until
        cerebro_of[0].__dict__[ATTRIBUTE].lookout.watch.look()
        told.append(0)

    script += [("wait",), ("call", lambda: pass_(dt.datetime(2024, 11, 29, 14, 31)))]  # Friday, one minute open
    script += [("wait",), ("call", lambda: pass_(dt.datetime(2024, 11, 29, 14, 34)))]
    cerebro = engine(live_feed(clock, *script), strategy=Scripted)
    cerebro_of.append(cerebro)
    with (
        FakeService() as service,
        attach(cerebro, webhook(service, watch={"session": "XNYS"}), clock=clock) as manager,
    ):
        cerebro.run()
        assert manager.flush(10)
        alerts = manager.alerts()
    silent = [alert for alert in alerts if alert.kind == "data.silent"]
    assert len(told) == 2
    assert kinds(silent) == ["data.silent"]
    assert silent[0].time == dt.datetime(2024, 11, 29, 14, 34, tzinfo=dt.UTC)


def test_a_session_that_cannot_be_read_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    library = calendars._library()
    calendars._known.cache_clear()

    def broken(*_: object, **__: object) -> None:
        raise TypeError("incompatible")

    monkeypatch.setattr(library, "get_calendar", broken)
    with pytest.raises(CalendarError, match=r"the sessions of XNYS cannot be read \(incompatible\): pip install -U"):
        calendars.check("XNYS")
    monkeypatch.undo()
    calendars._known.cache_clear()
    assert calendars._known("XNYS").usual.days == WEEKDAYS.days
