"""The report of a day or a week: its figures are those of a plain recomputation, and its words say what they mean."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Sequence
from typing import Any

import backtrader as bt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_alerts import attach
from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.demo import prices
from bt_alerts.kinds import KINDS, Setting, data_of
from bt_alerts.summary import MOST_POINTS, MOST_TRADES, drawdown, summary, thinned

SINCE = dt.datetime(2026, 3, 2, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0
counter = itertools.count()


def started(value: float = 100_000.0, strategy: str = "Sma", run: str = "r1", at: float = -3600.0) -> Alert:
    return happened("strategy.started", at, strategy=strategy, run=run, data={"value": value})


def happened(kind: str, at: float, **more: Any) -> Alert:
    known = KINDS[kind]
    return Alert.make("x", kind=kind, type=known.type, priority=known.priority, time=SINCE + at, **more)


def closed(profit: float, at: float = 60.0, strategy: str = "Sma", symbol: str = "AAPL", **more: Any) -> Alert:
    data = {"pnl": profit + 1, "pnlcomm": profit, "trade_commission": 1.0, "side": "sell", **more}
    action = f"{strategy}:{next(counter)}"
    return happened("trade.closed", at, strategy=strategy, symbol=symbol, run="r1", data=data, action=action)


def filled(kind: str, at: float, size: float | None, *, strategy: str = "Sma", thread: str = "", **data: Any) -> Alert:
    held = {} if size is None else {"position_size": size, "position_price": 50.0}
    return happened(kind, at, strategy=strategy, symbol="AAPL", data={**held, **data}, thread=thread)


def made(alerts: Sequence[Alert], before: Sequence[Alert] = (), **more: Any) -> Alert:
    how = {"name": "evening", "period": "daily", "since": SINCE, "until": SINCE + DAY, "zone": "UTC", **more}
    return summary(alerts, before=before, now=SINCE + DAY, **how)


def figures(alerts: Sequence[Alert], before: Sequence[Alert] = (), **more: Any) -> dict[str, Any]:
    return dict(made(alerts, before, **more).data["report"])


# ------------------------------------------------------------------------------------------------ the alert itself


def test_it_is_an_alert_of_low_priority_that_is_the_same_for_the_same_period() -> None:
    alert = made([closed(5.0)], [started()])
    assert (alert.type, alert.kind, alert.priority) == (AlertType.PERFORMANCE, "report.daily", Priority.LOW)
    assert alert.dedupe_key == made([]).dedupe_key == f"report:evening:{SINCE + DAY}"
    assert made([], name="other").dedupe_key != alert.dedupe_key
    assert alert.time.timestamp() == SINCE + DAY
    assert alert.strategy == "Sma"


def test_its_kinds_are_on_and_templates_know_what_they_have() -> None:
    for period in ("daily", "weekly"):
        kind = f"report.{period}"
        assert made([], period=period).kind == kind
        assert KINDS[kind].setting is Setting.ON
        assert data_of(kind) == set(made([closed(1.0)], period=period).data)


def test_what_is_no_period_or_no_zone_is_said() -> None:
    with pytest.raises(ValueError, match="'monthly' is no period of a report: write daily or weekly"):
        made([], period="monthly")
    for zone in ("Mars/Base", "Europe", "../etc", ""):
        with pytest.raises(ValueError, match="there is no time zone"):
            made([], zone=zone)


def test_all_that_files_need_is_plain_json_and_survives_the_journal() -> None:
    alert = made([started(at=1), *(closed(i % 7 - 3.0, at=60 + i) for i in range(3000))])
    assert json.loads(json.dumps(alert.data, allow_nan=False)) == alert.data
    assert Alert.from_json(alert.to_json()).data == alert.data


# ------------------------------------------------------------------------------------------------------- the words


def test_the_words_of_a_day() -> None:
    before = [started(), started(50_000.0, "Rsi", "r2")]
    alerts = [
        closed(600.0, 60),
        closed(-150.0, 120, "Rsi", "MSFT"),
        closed(-300.0, 180),
        filled("position.opened", 240, 10.0),
        happened("error", 300),
        happened("data.disconnected", 301),
        happened("order.rejected", 302),
    ]
    alert = made(alerts, before, zone="Europe/Berlin")
    assert alert.title == "Daily report 2026-03-03: +150 (+0.10 %)"
    assert alert.message.split("\n") == [
        "Realised +150 (+0.10 %), after commission",
        "Trades: 3 closed, 1 won, 2 lost",
        "Best: AAPL +600 (+0.40 %)",
        "Worst: AAPL −300 (−0.20 %)",
        "Largest drawdown: 450 (0.30 %)",
        "Rsi: −150 (−0.30 %), 1 closed, 0 won, 1 lost",
        "Sma: +300 (+0.30 %), 2 closed, 1 won, 1 lost",
        "Total: +150 (+0.10 %)",
        "Open: AAPL long 10 at 50",
        "Alerts: 1 critical, 2 high, 3 medium, 1 info · 1 error · 1 feed trouble · 1 order refused",
        "From 2026-03-02 01:00 to 2026-03-03 01:00 CET",
    ]


def test_without_a_trade_it_says_so_in_few_words() -> None:
    alert = made([happened("order.accepted", 5, strategy="Sma")], [started()])
    assert alert.title == "Daily report 2026-03-02: no trade closed"
    assert alert.message.split("\n") == [
        "No trade was closed.",
        "Open positions: none",
        "Alerts: 1 info · no errors",
        "From 2026-03-02 00:00 to 2026-03-03 00:00 UTC",
    ]


def test_a_week_is_named_by_its_days_and_a_day_by_the_one_that_is_over() -> None:
    week = made([], period="weekly", until=SINCE + 7 * DAY)
    assert week.title.startswith("Weekly report 2026-03-02 to 2026-03-08: ")
    evening = made([], since=SINCE - 7 * 3600, until=SINCE + 17 * 3600)
    assert evening.title.startswith("Daily report 2026-03-02: ")


@pytest.mark.parametrize(
    ("since", "until"),
    [((2026, 3, 29), (2026, 3, 30)), ((2026, 10, 25), (2026, 10, 26)), ((2028, 2, 29), (2028, 3, 1))],
)
def test_a_day_on_which_clocks_change_and_a_leap_day_are_days(
    since: tuple[int, int, int], until: tuple[int, int, int]
) -> None:
    import zoneinfo

    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    begin, end = (dt.datetime(*day, tzinfo=berlin).timestamp() for day in (since, until))
    alert = made([], since=begin, until=end, zone="Europe/Berlin")
    assert alert.title == f"Daily report {dt.date(*since)}: no trade closed"
    assert f"From {dt.date(*since)} 00:00 to {dt.date(*until)} 00:00" in alert.message


# ------------------------------------------------------------------------------------------------- what is counted


def test_percentages_need_the_value_of_a_start() -> None:
    report = figures([closed(100.0), closed(-50.0, at=90)])
    assert (report["net"], report["drawdown"]) == (50.0, 50.0)
    assert report["return_percent"] is report["drawdown_percent"] is report["value_begin"] is None
    assert [value for _, value in report["equity"]] == [0.0, 100.0, 50.0, 50.0]
    assert "%" not in made([closed(100.0)]).message


def test_the_value_is_that_of_the_last_start_with_the_trades_closed_since() -> None:
    before = [started(at=-9000), closed(1000.0, -8000), started(5000.0, at=-5000), closed(500.0, -4000)]
    report = figures([closed(110.0, 60)], before)
    assert (report["value_begin"], report["value_end"], report["return_percent"]) == (5500.0, 5610.0, 2.0)
    # A start in the middle of the period tells the value then: what was earned before is in it.
    report = figures([closed(110.0, 60), started(5610.0, run="r2", at=90), closed(-10.0, 120)], before)
    assert (report["value_begin"], report["value_end"]) == (5500.0, 5600.0)


def test_strategies_of_one_run_share_its_account() -> None:
    both = [started(1000.0, "A"), started(1000.0, "B")]
    report = figures([closed(10.0, strategy="A"), closed(20.0, strategy="B")], both)
    assert (report["value_begin"], report["return_percent"]) == (1000.0, 3.0)
    assert [each["return_percent"] for each in report["by_strategy"]] == [1.0, 2.0]
    apart = [started(1000.0, "A"), started(1000.0, "B", run="r2")]
    assert figures([closed(10.0, strategy="A")], apart)["value_begin"] == 2000.0
    ended = [*apart, happened("strategy.stopped", -60, strategy="B", run="r2")]
    assert figures([closed(10.0, strategy="A")], ended)["value_begin"] == 1000.0
    died = [*apart, happened("process.died", -60, data={"strategies": ["B"]})]
    assert figures([closed(10.0, strategy="A")], died)["value_begin"] == 1000.0


def test_a_broker_that_tells_of_no_trades_is_counted_by_its_positions_and_none_twice() -> None:
    exit_ = {"pnl": 11.0, "pnlcomm": 10.0, "side": "sell"}
    told = [
        happened(kind, 60, strategy="Sma", data=exit_, action="fill 1") for kind in ("trade.closed", "position.closed")
    ]
    assert figures(told)["closed"] == 1
    assert figures(told[1:])["closed"] == 1
    assert figures([*told, *told])["closed"] == 1  # the same fill
    stray = closed(5.0).replace(action="")
    assert figures([stray, stray])["closed"] == 2


def test_what_is_held_follows_every_fill() -> None:
    opened = filled("position.opened", -100, 10.0)
    assert figures([], [opened])["positions"] == [
        {
            "strategy": "Sma", "symbol": "AAPL", "direction": "long", "size": 10.0, "price": 50.0,
            "since": opened.time.isoformat(),
        }
    ]  # fmt: skip
    added = filled("order.completed", 10, 15.0)
    (held,) = figures([added], [opened])["positions"]
    assert (held["size"], held["since"]) == (15.0, opened.time.isoformat())
    turned = filled("trade.closed", 20, -5.0, pnlcomm=1.0)
    (held,) = figures([added, turned], [opened])["positions"]
    assert (held["direction"], held["since"]) == ("short", turned.time.isoformat())
    assert figures([added, turned, filled("position.closed", 30, None, pnlcomm=2.0)], [opened])["positions"] == []


def test_positions_of_one_symbol_under_several_tradeids_are_apart() -> None:
    one, two = (f"Sma:AAPL:{tradeid}:2026-03-02T10:00:00+00:00" for tradeid in (1, 2))
    fills = [filled("position.opened", 1, 10.0, thread=one), filled("position.opened", 2, 20.0, thread=two)]
    ended = filled("position.closed", 3, None, thread=two.replace("10:00", "11:00"), pnlcomm=0.0)
    assert [held["size"] for held in figures(fills)["positions"]] == [10.0, 20.0]
    assert [held["size"] for held in figures([*fills, ended])["positions"]] == [10.0]


def test_what_changed_while_a_strategy_was_away_is_held() -> None:
    moves = [{"symbol": "AAPL", "after": 0.0}, {"symbol": "MSFT", "after": -3.0, "price_after": 7.0}]
    back = happened("strategy.restarted", 5, strategy="Sma", data={"positions": moves})
    (held,) = figures([filled("position.opened", 1, 10.0), back])["positions"]
    assert (held["symbol"], held["size"], held["price"]) == ("MSFT", -3.0, 7.0)
    left = happened(
        "position.closed", 9, strategy="Sma", symbol="MSFT", data={"pnlcomm": 1.0}, thread="Sma:MSFT:0:before"
    )
    assert figures([back, left])["positions"] == []


def test_what_is_no_figure_stops_nothing() -> None:
    odd = [
        closed(1.0).replace(data={"pnlcomm": value})
        for value in (None, "inf", "NaN", "much", [], {}, True, 1e308, -1e308)
    ]
    odd.append(happened("strategy.started", 1, strategy="Sma", data={"value": "unknown"}))
    odd.append(happened("strategy.restarted", 1, strategy="Sma", data={"positions": "?"}))
    odd.append(happened("process.died", 1, data={"strategies": None}))
    odd.append(filled("position.opened", 1, 1.0).replace(data={"position_size": "many"}))
    report = figures([*odd, closed(2.0)])
    assert (report["closed"], report["net"], report["positions"]) == (1, 2.0, [])


def test_reports_do_not_count_themselves() -> None:
    assert figures([made([]), made([closed(1.0)])])["alerts"] == {}


# ------------------------------------------------------------------------------------------------------- how much


def test_too_many_trades_are_left_out_of_the_details_and_counted() -> None:
    alerts = [closed(float(i % 11 - 5), at=i / 100) for i in range(MOST_TRADES + 500)]
    report = figures(alerts, [started()])
    assert (report["closed"], len(report["trades"]), report["trades_left_out"]) == (1500, MOST_TRADES, 500)
    assert report["trades"][-1]["pnlcomm"] == alerts[-1].data["pnlcomm"]
    assert (report["equity_points"], len(report["equity"])) == (1502, MOST_POINTS)
    assert report["net"] == sum(alert.data["pnlcomm"] for alert in alerts)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=400), st.integers(4, 60))
@settings(max_examples=60)
def test_a_thinned_curve_keeps_its_ends_and_its_extremes_in_order(values: list[float], most: int) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= most or len(kept) == len(points) <= most
    assert set(kept) <= set(points)
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {value for _, value in kept}


# ------------------------------------------------------------------------------------------ against a recomputation

TRADE = st.tuples(st.sampled_from(["A", "B", "C"]), st.floats(-500, 500).map(lambda value: round(value, 2)))


@given(st.lists(TRADE, max_size=60), st.integers(0, 60), st.floats(20_000, 1e7).map(lambda value: round(value, 2)))
@settings(max_examples=80)
def test_the_figures_are_those_of_a_plain_recomputation(
    trades: list[tuple[str, float]], first: int, value: float
) -> None:
    alerts = [closed(profit, at=10.0 * (i - first), strategy=name) for i, (name, profit) in enumerate(trades)]
    begins = [started(value, name, at=-10_000) for name in ("A", "B", "C")]
    report = figures(alerts[first:], [*begins, *alerts[:first]])
    old, profits = [profit for _, profit in trades[:first]], [profit for _, profit in trades[first:]]

    near = pytest.approx
    begin = value + sum(old)
    curve = [begin + sum(profits[:i]) for i in range(len(profits) + 1)]
    falls = [max(curve[: i + 1]) - curve[i] for i in range(len(curve))]
    assert report["net"] == near(sum(profits), abs=1e-6)
    assert (report["value_begin"], report["value_end"]) == (near(begin), near(curve[-1]))
    assert report["return_percent"] == near(100 * sum(profits) / begin, abs=1e-9)
    assert (report["closed"], report["won"]) == (len(profits), sum(profit > 0 for profit in profits))
    assert report["lost"] == sum(profit < 0 for profit in profits)
    assert [equity for _, equity in report["equity"]] == near([*curve, curve[-1]])
    assert report["drawdown"] == near(max(falls), abs=1e-6)
    percents = [100 * fall / max(curve[: i + 1]) for i, fall in enumerate(falls)]
    assert report["drawdown_percent"] == near(max(percents), abs=1e-9)
    assert [trade["pnlcomm"] for trade in report["trades"]] == profits
    for key, which in (("best", max), ("worst", min)):
        assert (report[key] or {}).get("pnlcomm") == (which(profits) if profits else None)
    for each in report["by_strategy"]:
        own = [profit for name, profit in trades[first:] if name == each["strategy"]]
        assert (each["net"], each["closed"]) == (near(sum(own), abs=1e-6), len(own))


@given(st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=50))
def test_a_drawdown_is_the_deepest_fall_from_any_value_to_a_later_one(values: list[float]) -> None:
    pairs = itertools.combinations(values, 2)
    assert drawdown(values)[0] == max([0.0, *(before - after for before, after in pairs)])


def test_the_order_of_trades_closed_in_one_moment_is_no_drawdown() -> None:
    report = figures([closed(-500.0), closed(700.0), closed(-50.0, at=90)], [started()])
    assert [value for _, value in report["equity"]] == [100_000.0, 100_200.0, 100_150.0, 100_150.0]
    assert report["drawdown"] == 50.0
    assert report["closed"] == 3


def test_a_fall_from_nothing_has_no_percentage() -> None:
    assert drawdown([0.0, -5.0]) == (5.0, None)
    assert drawdown([10.0, 5.0, 20.0, 5.0]) == (15.0, 75.0)


class Cross(bt.Strategy):
    """Long above an average, short below: every exit is a reversal."""

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(self.data.close, bt.ind.SMA(self.data.close, period=10))

    def next(self) -> None:
        if self.cross[0]:
            self.order_target_size(target=10 if self.cross[0] > 0 else -10)


def test_the_report_of_a_real_run_has_the_figures_that_backtrader_counted() -> None:
    cerebro = bt.Cerebro(stdstats=False)
    frame = prices.load("AAPL", start="2012-01-03", end="2012-06-29")
    cerebro.adddata(bt.feeds.PandasData(dataname=frame), name="AAPL")
    cerebro.addstrategy(Cross)
    cerebro.broker.setcash(20_000)
    cerebro.broker.setcommission(0.001)
    with attach(cerebro, store="memory") as manager:
        (strategy,) = cerebro.run()
        alerts = manager.alerts()
    ended = next(alert for alert in alerts if alert.kind == "strategy.stopped")
    begin, end = alerts[0].time.timestamp(), alerts[-1].time.timestamp() + DAY
    report = figures(alerts, since=begin, until=end)
    assert report["closed"] == ended.data["trades"] > 5
    assert (report["won"], report["net"]) == (ended.data["won"], pytest.approx(ended.data["pnlcomm"]))
    assert report["value_begin"] == 20_000
    (held,) = report["positions"]
    assert (held["size"], held["price"]) == (strategy.position.size, pytest.approx(strategy.position.price))
