"""Bars that live alerts bring along for their picture, and the picture on its way to a phone."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import statistics
import sys
import time

import backtrader as bt
import pandas as pd
import pytest
from hooks_kit import (
    MINUTE,
    MONDAY,
    ROUND_TRIP,
    Clock,
    Exchange,
    Scripted,
    Told,
    engine,
    feed,
    live_feed,
    live_script,
    of,
    one,
    run,
)  # fmt: skip

from bt_alerts import AlertManager, Notifier, attach
from bt_alerts.alert import Alert, Attachment, Source
from bt_alerts.hooks import bars as module
from bt_alerts.hooks.bars import last_bars
from bt_alerts.hooks.snapshot import Batch, OrderSnap
from bt_alerts.hooks.translate import Translator
from bt_alerts.render.drawer import Drawer
from bt_alerts.testing import FakeService

NAN = float("nan")


def pushover(service=None, **more):
    """A configuration whose only channel takes pictures, with charts on."""
    url = {} if service is None else {"api_url": service.url}
    block = {"app_token": "a" * 30, "user_key": "u" * 30, "rate_limit": 0, "charts": "light", **url, **more}
    return {"alerts": {"pushover": block}, "store": "memory"}


BRACKET = {
    12: lambda s: s.signal("BUY", stop_loss=s.data.close[0] - 8, take_profit=s.data.close[0] + 3),
    13: lambda s: s.buy_bracket(
        size=10, price=200, stopprice=s.data.close[0] - 8, limitprice=s.data.close[0] + 3
    ),
}  # fmt: skip


def live_run(config, *, steps=BRACKET, live=20, backfill=10, strategy=Told, **how):
    """A run that goes live, and its alerts."""
    clock = Clock()
    cerebro = engine(
        live_feed(clock, *live_script(clock, live, backfill=backfill)), strategy=strategy, steps=steps, **how
    )
    with FakeService() as service:
        service.answer(200, {"status": 1, "request": "r"})
        for block in config["alerts"].values():
            if "app_token" in block:
                block.setdefault("api_url", service.url)
        manager = attach(cerebro, config, clock=clock)
        cerebro.run()
        assert manager.flush(20)
        alerts = manager.alerts()
        manager.close()
    return alerts


def with_bars(alerts):
    return [alert.kind for alert in alerts if alert.bars is not None]


# ------------------------------------------------------------------------------------------- which alerts have bars


def test_the_one_alert_of_each_action_that_is_sent_has_bars():
    alerts = live_run(pushover())
    assert with_bars(alerts) == ["signal", "order.completed", "trade.closed"]
    assert len(one(alerts, "signal").bars["time"]) == 12


def test_what_is_recorded_only_has_none_and_the_next_teller_has_them():
    config = pushover() | {"events": {"trade.closed": "record", "signal": "off"}}
    alerts = live_run(config)
    assert with_bars(alerts) == ["order.completed", "order.completed"]


@pytest.mark.parametrize(
    "config",
    [
        pushover(charts="off"),
        pushover(charts=False),
        pushover(enabled=False),
        pushover() | {"mode": "record"},
        {"alerts": {"console": {"charts": "dark"}}, "store": "memory"},  # takes no pictures
    ],
    ids=str,
)
def test_without_a_channel_that_shows_charts_nothing_is_taken(config, monkeypatch, capsys):
    monkeypatch.setattr(module, "wants_picture", None)
    monkeypatch.setattr(module, "last_bars", None)
    alerts = live_run(config)
    assert len(of(alerts, "order.completed")) == 2
    assert with_bars(alerts) == []


def test_bars_that_are_history_are_not_taken():
    alerts = live_run(pushover(), backfill=16, steps=BRACKET)
    assert [alert.source.value for alert in of(alerts, "signal")] == ["history"]
    assert one(alerts, "signal").bars is None


@pytest.mark.parametrize("how", [{}, {"mode": "send"}], ids=str)
def test_a_backtest_takes_none_and_its_results_are_the_same(how):
    results = []
    for charts in ("off", "light"):
        with FakeService() as service:
            service.answer(200, {"status": 1, "request": "r"})
            cerebro = engine(feed(range(100, 130)), steps=ROUND_TRIP, commission=0.001)
            manager = attach(cerebro, pushover(service, charts=charts), **how)
            cerebro.run()
            alerts = manager.alerts()
            manager.close()
            assert manager._drawer is None or manager._drawer._process is None
        assert with_bars(alerts) == []
        results.append((cerebro.broker.getvalue(), [(a.kind, a.title, a.message) for a in alerts]))
    assert results[0] == results[1]


def test_an_optimisation_takes_none(monkeypatch):
    monkeypatch.setattr(AlertManager, "chart_bars", property(lambda self: pytest.fail("asked")))
    cerebro = engine(feed(), strategy=None)
    cerebro.optstrategy(Scripted, steps=[ROUND_TRIP, {}])
    with attach(cerebro, pushover()):
        cerebro.run(maxcpus=1)


@pytest.mark.our_code_fails
def test_a_feed_whose_bars_cannot_be_taken_costs_the_picture_alone(monkeypatch, caplog):
    monkeypatch.setattr("bt_alerts.hooks.capture.last_bars", lambda feed, count: 1 / 0)
    alerts = live_run(pushover())
    assert len(of(alerts, "order.completed")) == 2
    assert with_bars(alerts) == []
    assert "the strategy goes on, this alert has no picture" in caplog.text


def test_a_symbol_that_is_no_feed_has_no_bars():
    class Other(Notifier, bt.Strategy):
        def next(self):
            if len(self) == 12:
                self.alert("up", type="signal", symbol="SPY")
                self.alert("up", type="signal")
                self.alert("a custom one")

    alerts = live_run(pushover(), strategy=Other, steps=None)
    assert {alert.symbol: alert.bars is not None for alert in of(alerts, "custom") if alert.type == "signal"} == {
        "SPY": False, "AAA": True,
    }  # fmt: skip
    assert len(with_bars(alerts)) == 1


def test_an_order_of_a_real_broker_has_bars():
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 6)), steps={5: lambda s: s.buy(size=1)})
    cerebro.broker = Exchange()
    config = pushover(api_url="http://127.0.0.1:9") | {"delivery": {"flush_timeout": 0.2}}
    alerts = run(cerebro, config, clock=clock)
    assert len(one(alerts, "order.completed").bars["time"]) >= 5


# ------------------------------------------------------------------------------------------------ what is taken


class Taking(bt.Strategy):
    params = (("count", 60), ("feed", 0))

    def __init__(self):
        self.taken = {}
        self.average = bt.ind.SMA(self.data, period=2)

    def prenext(self):
        self.next()

    def next(self):
        data = self.datas[self.p.feed]
        if len(data):
            self.taken[len(data)] = last_bars(data, self.p.count), data.datetime.datetime(0)


def taken(*feeds, change=lambda cerebro: None, **how):
    """``{number of the bar: (bars, time of the last)}``."""
    params = {name: how.pop(name) for name in ("count", "feed") if name in how}
    cerebro = engine(*feeds, strategy=None, **how)
    cerebro.addstrategy(Taking, **params)
    change(cerebro)
    (strategy,) = cerebro.run()
    return strategy.taken


def unix(when):
    return int(when.replace(tzinfo=dt.UTC).timestamp())


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"preload": False}, {"exactbars": -2}], ids=str)
def test_the_last_bars_up_to_the_current_one(how):
    closes = [100.0 + i % 5 + 0.25 for i in range(90)]
    for number, (bars, when) in taken(feed(closes, step=MINUTE), count=20, **how).items():
        assert bars["close"] == closes[max(0, number - 20) : number]
        assert bars["time"][-1] == unix(when)
        assert {len(column) for column in bars.values()} == {min(20, number)}
        assert bars["open"][1:] == bars["close"][:-1]
        assert bars["high"][-1] >= bars["close"][-1] >= bars["low"][-1]
        assert bars["volume"][-1] == 1000


def test_with_exactbars_there_are_as_many_as_the_run_keeps():
    closes = [100.0 + i for i in range(40)]
    found = taken(feed(closes), exactbars=1)
    for number, (bars, when) in found.items():
        kept = len(bars["close"])
        assert 1 <= kept <= 3
        assert bars["close"] == closes[number - kept : number]
        assert bars["time"][-1] == unix(when)
        assert all(type(value) in (int, float) for column in bars.values() for value in column)


@pytest.mark.parametrize("method", ["resampledata", "replaydata"])
@pytest.mark.parametrize("exactbars", [False, 1])
def test_feeds_of_another_timeframe(method, exactbars):
    source = feed(range(100, 160), step=MINUTE)
    cerebro = bt.Cerebro(stdstats=False, exactbars=exactbars)
    cerebro.adddata(source, name="AAA")
    getattr(cerebro, method)(source, timeframe=bt.TimeFrame.Minutes, compression=5)
    cerebro.addstrategy(Taking, feed=1)
    (strategy,) = cerebro.run()
    assert strategy.taken
    for number, (bars, when) in strategy.taken.items():
        assert bars["time"][-1] == unix(when)
        assert bars["time"] == sorted(set(bars["time"]))
        assert len(bars["close"]) == (number if not exactbars else len(bars["time"]))
        assert bars["high"][-1] >= bars["low"][-1]


def test_before_the_first_bar_there_are_none():
    assert last_bars(feed(), 60) is None


def frame(**columns):
    index = pd.DatetimeIndex([MONDAY + i * MINUTE for i in range(4)])
    rows = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0, **columns}
    return bt.feeds.PandasData(dataname=pd.DataFrame(rows, index=index), timeframe=bt.TimeFrame.Minutes)


@pytest.mark.parametrize(
    ("columns", "name", "expected"),
    [
        ({"volume": 0.0}, "volume", None),
        ({"volume": NAN}, "volume", None),
        ({"volume": [0.5, NAN, 0.25, 0.125]}, "volume", [0.5, None, 0.25, 0.125]),
        ({"volume": [5e9 + 0.4] * 4}, "volume", [5_000_000_000] * 4),
        ({"high": [2.0, NAN, float("inf"), 2.5]}, "high", [2.0, None, None, 2.5]),
        ({"close": [0.1 + 0.2, 0.3, 1 / 3, 100 / 3]}, "close", [0.3, 0.3, 0.33333, 33.33333]),
        ({"close": [1 / 3e9] * 4}, "close", [3.333333e-10] * 4),
        ({"close": [1e8 / 3] * 4}, "close", [33333330.0] * 4),
        ({"close": [-37.63] * 4}, "close", [-37.63] * 4),
        ({"close": [0.0] * 4}, "close", [0.0] * 4),
        ({"close": [1.1, 2.2, 3.3, NAN]}, "close", [1.1, 2.2, 3.3, None]),
    ],
    ids=str,
)
def test_odd_numbers(columns, name, expected):
    bars, _ = taken(frame(**columns))[4]
    assert bars.get(name) == (expected and [value and pytest.approx(value, rel=1e-6) for value in expected])
    back = Alert.from_json(Alert.make("x").replace(bars=bars).to_json())
    assert back.bars == bars


def test_they_are_short_in_the_journal_and_not_in_what_a_webhook_or_the_history_shows():
    alert = one(live_run(pushover(), live=90, backfill=60), "signal")
    assert "bars" not in alert.to_dict()
    bars, _ = taken(feed([100 / 3 * 1.001**i for i in range(200)], step=MINUTE))[200]
    assert len(bars["close"]) == 60
    assert len(Alert.make("x").replace(bars=bars).to_json()) < 4_500


def test_sixty_bars_are_taken_as_slices_and_not_value_by_value():
    took = {"slices": [], "one by one": []}

    class Timing(bt.Strategy):
        def next(self):
            if len(self) > 100:
                began = time.perf_counter()
                last_bars(self.data, 60)
                taken = time.perf_counter()
                for line in ("open", "high", "low", "close", "volume", "datetime"):
                    [round(getattr(self.data, line)[-i], 10) for i in range(60)]
                took["slices"].append(taken - began)
                took["one by one"].append(time.perf_counter() - taken)

    engine(feed([100 / 3 * 1.001**i for i in range(400)]), strategy=Timing).run()
    assert statistics.median(took["slices"]) < statistics.median(took["one by one"])


# ------------------------------------------------------------------------------------------- stop and target


def test_an_entry_and_an_exit_of_a_bracket_tell_where_its_stop_and_target_are():
    alerts = run(
        engine(
            feed(range(100, 130)), steps={5: lambda s: s.buy_bracket(size=1, price=200, stopprice=90, limitprice=110)}
        )
    )
    bought, sold = of(alerts, "order.completed")
    levels = {"stop_price": 90, "target_price": 110}
    assert bought.data["side"] == "buy"
    assert bought.data.items() >= levels.items()
    assert sold.data.items() >= {**levels, "close_reason": "target"}.items()
    assert one(alerts, "trade.closed").data.items() >= levels.items()


def test_without_a_bracket_and_for_a_child_that_was_cancelled_before_there_are_none():
    alerts = run(engine(feed(), steps=ROUND_TRIP))
    assert not any("stop_price" in alert.data for alert in alerts)


def test_the_child_of_a_bracket_that_was_cancelled_before_is_not_told():
    translator = Translator("S", "run", ["AAA"])
    parent = OrderSnap(738_000.0, 1, 2, 0, True, 10, 100.0, 2, 738_000.0, 0, 1, 0)
    stop = parent._replace(ref=2, isbuy=False, exectype=3, price=90.0, parent=1, oco=2)
    target = stop._replace(ref=3, exectype=2, price=110.0, oco=3)
    filled = parent._replace(status=4, filled=10, fill_price=100.0)

    def told(*orders):
        alerts = translator.batch(Batch(list(orders), []), lambda i: Source.LIVE, None)
        return alerts[-1].data

    told(parent, stop, target)
    told(stop._replace(status=5))
    data = told(filled)
    assert data.get("target_price") == 110
    assert "stop_price" not in data
    # What is cancelled when the position is left, is cancelled by that.
    assert told(target._replace(status=5), stop._replace(status=4, filled=10, fill_price=90.0))["target_price"] == 110


# ------------------------------------------------------------------------------------------ on its way to a phone


PNG = b"\x89PNG\r\n\x1a\n"


def messages(service):
    """``{title: picture}`` of what Pushover got."""
    found = {}
    for request in service.requests:
        if request.path.endswith("messages.json"):
            parts = request.parts() if "multipart" in request.headers["content-type"] else {}
            found[request.form()["title"]] = parts.get("attachment")
    return found


def sent(service, *, settings=None, **more):
    """A live run on Pushover: the manager, and what arrived."""
    service.answer(200, {"status": 1, "request": "r"})
    clock = Clock()
    cerebro = engine(live_feed(clock, *live_script(clock, 20, backfill=10)), strategy=Told, steps=BRACKET)
    manager = attach(cerebro, pushover(service, **more) | (settings or {}), clock=clock)
    cerebro.run()
    assert manager.flush(20)
    return manager, messages(service)


def test_a_phone_gets_the_picture_and_the_strategys_process_never_imports_matplotlib(service, monkeypatch):
    pytest.importorskip("matplotlib")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    manager, got = sent(service)
    manager.close()
    pictures = {title: part for title, part in got.items() if part is not None}
    assert [title.split(" ", 1)[1] for title in pictures] == ["BUY signal: AAA", "BUY AAA filled", "AAA closed: +20"]
    for name, kind, content in pictures.values():
        assert (name, kind) == ("AAA.png", "image/png")
        assert content.startswith(PNG)
        assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (900, 560)
        assert len(content) < 100_000
    assert len({content for _, _, content in pictures.values()}) == 3
    assert "matplotlib" not in sys.modules


def test_the_text_goes_where_drawing_fails(service, monkeypatch, caplog):
    broken = [sys.executable, "-c", "raise SystemExit"]
    monkeypatch.setattr("bt_alerts.render.drawer.python_command", lambda: broken)
    with caplog.at_level(logging.WARNING):
        manager, got = sent(service)
    manager.close()
    assert len(got) == 7
    assert set(got.values()) == {None}
    lines = [record.getMessage() for record in caplog.records if record.name == "bt_alerts.charts"]
    assert len(lines) == 2
    assert "without pictures for 60 s" in lines[1]


def test_it_goes_in_time_where_drawing_hangs(service, monkeypatch):
    code = "import os, time; os.write(1, b'R' + bytes(4)); time.sleep(60)"
    monkeypatch.setattr("bt_alerts.render.drawer.python_command", lambda: [sys.executable, "-c", code])
    monkeypatch.setattr("bt_alerts.render.drawer.Drawer", functools.partial(Drawer, deadline=0.5))
    began = time.monotonic()
    manager, got = sent(service)
    manager.close()
    assert len(got) == 7
    assert set(got.values()) == {None}
    assert time.monotonic() - began < 30


def test_theme_time_zone_and_privacy_reach_the_picture(service, monkeypatch):
    asked = []
    monkeypatch.setattr("bt_alerts.render.drawer.Drawer.draw", lambda self, alert, **how: asked.append(how))
    more = {"privacy": "hide_amounts", "templates": {"timezone": "Europe/Berlin"}}
    manager, _ = sent(service, charts="dark", settings=more)
    manager.close()
    assert asked == [{"dark": True, "zone": "Europe/Berlin", "privacy": "hide_amounts"}] * 3


def test_a_file_of_the_alert_itself_comes_first(service, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    given = []
    monkeypatch.setattr(
        "bt_alerts.dispatchers.pushover.PushoverDispatcher.deliver", lambda self, a, t, c: given.append(a)
    )
    file = tmp_path / "mine.png"
    file.write_bytes(PNG)
    row = [1.0, 2.0]
    bars = {"time": [0, 60], **dict.fromkeys(("open", "high", "low", "close"), row)}
    with AlertManager(pushover(service)) as manager:
        manager.emit(Alert.make("x", symbol="AAA", attachments=[Attachment.from_path(file)]).replace(bars=bars))
        assert manager.flush(20)
    assert [attachment.name for attachment in given[0].attachments] == ["mine.png", "AAA.png"]


def test_the_store_keeps_the_bars_so_that_a_later_process_can_draw(service, tmp_path):
    pytest.importorskip("matplotlib")
    service.answer(200, {"status": 1, "request": "r"})
    row = [1.0, 2.0]
    bars = {"time": [0, 60], **dict.fromkeys(("open", "high", "low", "close"), row)}
    config = pushover(service) | {"store": str(tmp_path / "alerts.db")}
    clock = Clock()
    manager = AlertManager(config, clock=clock)
    manager.emit(Alert.make("x", title="one", symbol="AAA").replace(bars=bars), due=clock() + 60)
    manager.close(timeout=0)
    assert not service.requests
    clock.time += MINUTE
    with AlertManager(config, clock=clock) as manager:
        manager.start()
        service.wait_for(1)
        assert manager.flush(20)
        assert manager.alerts()[0].bars == bars
    (picture,) = messages(service).values()
    (file,) = (tmp_path / "alerts.db.files").iterdir()
    assert picture[2] == file.read_bytes()
    assert picture[2].startswith(PNG)
