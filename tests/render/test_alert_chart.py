"""The picture of an alert: what is marked and named, that it can be read, and what is not told on it."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import random
import subprocess
import sys

import pytest

from bt_alerts.alert import Alert
from bt_alerts.render import alert_chart as module
from bt_alerts.render.alert_chart import alert_chart, levels_of, marks_of, spread
from bt_alerts.render.drawing import theme
from bt_alerts.render.look import Look

pytest.importorskip("matplotlib")

BEGIN = dt.datetime(2026, 3, 2, 14, 0, tzinfo=dt.UTC)


def bars(count=60, *, step=300.0, price=100.0, seed=1, volume=True, begin=BEGIN):
    chance, close = random.Random(seed), price
    rows = {"time": [int(begin.timestamp() + i * step) for i in range(count)]}
    rows |= {name: [] for name in ("open", "high", "low", "close", *(["volume"] if volume else []))}
    for _ in range(count):
        opened, close = close, close * (1 + chance.gauss(0, 0.002))
        edge = 0.001 * close * chance.random()
        values = opened, max(opened, close) + edge, min(opened, close) - edge, close, chance.randint(0, 5000)
        for name, value in zip(list(rows)[1:], values, strict=False):
            rows[name].append(value)
    return rows


def made(kind="order.completed", title="BUY AAPL filled", *, rows=None, at=-1, type="order", **data):
    rows = bars() if rows is None else rows
    alert = Alert.make(
        "x", title=title, type=type, kind=kind, symbol="AAPL", strategy="SmaCross", bar_time=rows["time"][at],
        time="2026-03-02T19:05", data=data,
    )  # fmt: skip
    return alert.replace(bars=rows)


def entry(rows=None, **data):
    rows = bars() if rows is None else rows
    price = round(rows["close"][-1], 2) or rows["close"][-1]
    levels = {"stop_price": price * 0.99, "target_price": price * 1.02}
    return made(rows=rows, **{"side": "buy", "fill_price": price, "size": 12_345, "value": 999_999.0, **levels, **data})


def closed(rows=None, begun=20, **data):
    rows = bars() if rows is None else rows
    price = rows["low"][-1]
    told = {
        "side": "sell", "close_reason": "stop", "exit_price": price, "stop_price": price, "fill_price": price,
        "target_price": price * 1.03, "entry_price": rows["close"][begun], "pnlcomm": -52.3, "pnl": -50.0,
        "duration_seconds": rows["time"][-1] - rows["time"][begun],
    }  # fmt: skip
    return made("trade.closed", "AAPL closed: −52.30", rows=rows, type="trade", **{**told, **data})


def figure(alert, *, dark=False, **look):
    return module._figure(alert, theme(dark), Look(**look))


def texts(drawn):
    """Everything that is written, as ``(text, box in pixels)``."""
    from matplotlib.text import Text

    drawn.canvas.draw()
    found = [text for text in drawn.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_bbox_patch() or text).get_window_extent() for text in found]
    return [(text.get_text(), box) for text, box in zip(found, boxes, strict=True)]


def words(alert, **how):
    return [text for text, _ in texts(figure(alert, **how))]


def pixels(content):
    from matplotlib.image import imread

    return imread(io.BytesIO(content), format="png")


def names(data):
    return [(level.name, round(level.price, 2)) for level in levels_of(data)]


# ------------------------------------------------------------------------------------------------- what is told


def test_it_is_a_png_of_a_phones_width_light_or_dark():
    light, dark = (pixels(alert_chart(entry(), dark=dark)) for dark in (False, True))
    assert light.shape[:2] == dark.shape[:2] == (560, 900)
    assert light[5, 5].min() > 0.95
    assert dark[5, 5][:3].max() < 0.15


def test_the_same_alert_gives_the_same_picture():
    alert = entry()
    assert alert_chart(alert) == alert_chart(alert)


def test_an_entry_shows_entry_stop_and_target():
    alert = entry(stop_price=97.5, target_price=101.25)
    price = alert.data["fill_price"]
    assert [name for name, _ in names(alert.data)] == ["entry", "stop", "target"]
    written = words(alert)
    assert f"entry {price:.2f}" in written
    assert {"stop 97.50", "target 101.25"} <= set(written)
    assert "BUY" in written


def test_an_exit_shows_where_it_began_and_what_was_hit():
    alert = closed()
    assert [name for name, _ in names(alert.data)] == ["stop hit", "entry", "target"]
    here, begun = marks_of(alert, module._bars(alert, "UTC"))
    assert (here.bar, here.side, begun.bar, begun.side) == (59, "sell", 20, "buy")
    assert {"BUY", "SELL"} <= set(words(alert))


def test_a_stop_that_slipped_has_a_line_beside_the_price_that_was_got():
    price = closed().data["stop_price"]
    assert names(closed(exit_price=price - 1).data)[0] == ("stop hit", round(price - 1, 2))
    assert ("stop", round(price, 2)) in names(closed(exit_price=price - 1).data)


@pytest.mark.parametrize(("why", "name"), [("target", "target hit"), ("manual", "exit"), ("signal", "exit")])
def test_other_exits(why, name):
    assert names(closed(close_reason=why).data)[0][0] == name


@pytest.mark.parametrize(
    ("data", "side", "told"),
    [
        ({"action": "BUY", "price": 100.0, "stop_loss": 99.0, "take_profit": 10}, "buy", ["price", "stop", "target"]),
        ({"action": "sell", "entry_price": 100.5, "price": 100.0}, "sell", ["entry"]),
        ({"action": "CLOSE", "price": 100.0}, "", ["price"]),
        ({"signal": "LONG"}, "buy", []),
    ],
    ids=str,
)  # fmt: skip
def test_a_signal(data, side, told):
    alert = made("signal", "signal", type="signal", **data)
    assert [mark.side for mark in marks_of(alert, module._bars(alert, "UTC"))] == [side]
    assert [level.name for level in levels_of(alert.data)] == told
    alert_chart(alert)


def test_a_trade_that_no_order_told_of():
    short = {"direction": "short", "trade_price": 100.0}
    opened, ended = (
        made("trade.opened", type="trade", **short),
        made("trade.closed", type="trade", pnlcomm=1.0, **short),
    )
    for alert, side, price in ((opened, "sell", 100.0), (ended, "buy", None)):
        assert [(mark.side, mark.price) for mark in marks_of(alert, module._bars(alert, "UTC"))] == [(side, price)]


def test_it_is_marked_at_its_own_bar_and_at_the_last_where_that_is_not_known():
    alert = entry()
    for when, bar in ((alert.bars["time"][7], 7), (alert.bars["time"][7] + 100, 7), (1, 59), (None, 59)):
        moment = None if when is None else dt.datetime.fromtimestamp(when, dt.UTC)
        moved = alert.replace(bar_time=moment)
        assert marks_of(moved, module._bars(moved, "UTC"))[0].bar == bar


def test_a_trade_that_began_before_the_first_bar_has_one_mark():
    assert len(marks_of(closed(duration_seconds=10_000_000), module._bars(closed(), "UTC"))) == 1


# ------------------------------------------------------------------------------------------ what is not told


@pytest.mark.parametrize("alert", [entry(), closed(), closed(part_pnl=77.5, position_size=500)], ids=lambda a: a.kind)
def test_no_size_and_no_amount_is_on_it_and_with_privacy_none_in_the_title(alert):
    prices = {f"{value:,.2f}" for name, value in alert.data.items() if "price" in name}
    axis = set(words(alert.replace(title="", data={})))
    for privacy, told in (("off", {alert.title}), ("hide_amounts", set()), ("percent_only", set())):
        written = set(words(alert, privacy=privacy)) - axis
        amounts = {text for text in written if any(figure.isdigit() for figure in text)}
        unknown = {text for text in amounts if text.split()[-1] not in prices} - told
        assert not {text for text in unknown if "52.30" in text or "12,345" in text or "999" in text or "77.5" in text}
        assert ("52.30" in " ".join(written)) is (privacy == "off" and alert.kind == "trade.closed")


# ------------------------------------------------------------------------------------------ that it can be read


def overlapping(boxes):
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@pytest.mark.parametrize("seed", range(6))
def test_no_words_are_on_top_of_others_or_outside(seed):
    chance = random.Random(seed)
    price = 10 ** chance.uniform(-6, 6)
    rows = bars(chance.choice([2, 9, 60, 200]), price=price, seed=seed, step=chance.choice([1, 60, 3600, 86_400]))
    last = rows["close"][-1]

    def near():
        return last * (1 + chance.gauss(0, 0.003))

    alerts = [
        entry(rows, stop_price=near(), target_price=near()),
        entry(rows, side="sell", stop_price=near(), target_price=last * 0.5),
        closed(rows, begun=chance.randrange(len(rows["time"])), stop_price=near(), target_price=near()),
        made("signal", "An extremely long title " * 12, rows=rows, type="signal", action="BUY", price=last),
    ]
    for alert in alerts:
        drawn = texts(figure(alert, zone="America/New_York"))
        assert overlapping(drawn) == []
        outside = [
            text for text, box in drawn if box.x0 < 0 or box.x1 > module.WIDTH or box.y0 < 0 or box.y1 > module.HEIGHT
        ]
        assert outside == []


@pytest.mark.parametrize("seed", range(50))
def test_labels_are_moved_apart_in_order_and_no_farther_than_needed(seed):
    chance = random.Random(seed)
    places = [chance.choice([chance.random(), 0.5, 0.0, 1.0]) for _ in range(chance.randrange(6))]
    moved = spread(places, 0.1, 0.05)
    assert all(0.05 - 1e-9 <= place <= 0.95 + 1e-9 for place in moved)
    for (a, x), (b, y) in itertools.combinations(zip(places, moved, strict=True), 2):
        assert abs(x - y) >= 0.1 - 1e-9
        assert a == b or (a < b) == (x < y)
    apart = all(abs(a - b) >= 0.1 for a, b in itertools.combinations(places, 2))
    if apart and all(0.05 <= place <= 0.95 for place in places):
        assert moved == pytest.approx(places)


def test_a_price_far_away_is_named_at_the_edge_and_leaves_the_bars_their_height():
    written = words(entry(target_price=5000.0, stop_price=1.0))
    assert "target 5,000 ↑" in written
    assert "stop 1 ↓" in written
    (low, high), (near_low, near_high) = (
        figure(entry(target_price=target)).axes[0].get_ylim() for target in (5000.0, None)
    )
    assert high - low == pytest.approx(near_high - near_low, rel=0.35)


def test_a_fill_price_that_makes_no_sense_leaves_the_bars_their_height():
    low, high = figure(entry(fill_price=9e9, stop_price=None, target_price=None)).axes[0].get_ylim()
    rows = bars()
    assert high - low < 2 * (max(rows["high"]) - min(rows["low"]))


def test_times_are_the_readers_except_of_daily_bars():
    assert "14:30" in words(entry(bars(step=60)), zone="UTC")
    there = words(entry(bars(step=60)), zone="America/New_York")
    assert "09:30" in there
    assert any("2026-03-02 14:05 EST" in text for text in there)
    midnight = BEGIN.replace(hour=0)
    daily = entry(bars(step=86_400, begin=midnight))
    assert words(daily, zone="America/New_York")[:8] == words(daily, zone="UTC")[:8]
    assert any("daily bars" in text for text in words(daily))


@pytest.mark.parametrize("form", ["iso", "unix"])
def test_times_may_be_text_or_numbers(form):
    rows = bars(5)
    if form == "iso":
        rows = {**rows, "time": [dt.datetime.fromtimestamp(t, dt.UTC).isoformat() for t in rows["time"]]}
    alert_chart(made(rows=rows))


# ------------------------------------------------------------------------------------------------- odd bars


@pytest.mark.parametrize("count", [1, 2, 60, 261, 2000])
def test_any_number_of_bars_is_drawn(count):
    assert len(alert_chart(entry(bars(count)))) < 150_000


@pytest.mark.parametrize("volume", [True, False])
def test_what_a_feed_lacks_is_left_out(volume):
    rows = bars(volume=volume)
    rows["high"][3] = rows["close"][5] = rows["open"][7] = None
    rows["open"][-1] = rows["low"][-1] = None
    axes = figure(entry(rows)).axes
    assert len(axes) == (2 if volume else 1)
    alert_chart(entry(rows))


def test_closes_alone_are_a_line():
    rows = bars()
    rows |= dict.fromkeys(("open", "high", "low"), [None] * 60)
    assert len(figure(entry(rows)).axes[0].lines) >= 1
    alert_chart(entry(rows))


def test_prices_that_do_not_move_and_prices_below_nothing():
    flat = {**bars(5), **dict.fromkeys(("open", "high", "low", "close"), [5.0] * 5)}
    alert_chart(made(rows=flat, side="buy", fill_price=5.0))
    alert_chart(made(rows={**flat, **dict.fromkeys(("open", "high", "low", "close"), [-37.63] * 5)}, side="sell"))


def test_a_title_is_no_formula():
    assert r"\$\frac{1\$" in words(entry().replace(title=r"$\frac{1$"))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (None, "no bars"),
        ({"time": []}, "no bars"),
        ({"time": [1, 2], "open": [1], "high": [1], "low": [1], "close": [1]}, "not as many prices"),
        ({"time": [1], "open": [None], "high": [None], "low": [None], "close": [None]}, "no prices"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_said(rows, why):
    with pytest.raises(ValueError, match=why):
        alert_chart(entry().replace(bars=rows))


def test_it_leaves_the_programs_own_matplotlib_alone():
    code = (
        "import sys; from bt_alerts import Alert; from bt_alerts.render.alert_chart import alert_chart\n"
        "row = [1.0, 2.0]\n"
        "bars = {'time': [0, 60], 'open': row, 'high': row, 'low': row, 'close': row}\n"
        "alert_chart(Alert.make('x').replace(bars=bars)); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
