"""What is told of the time that a strategy was away. Pure: what was seen last and what is there now, in; words out."""

from __future__ import annotations

import datetime as dt

from bt_alerts.alert import Priority
from bt_alerts.hooks.away import Before, Now, Report, report, unreadable

LAST = dt.datetime(2024, 6, 3, 10, 0, tzinfo=dt.UTC).timestamp()
NOW = LAST + 3 * 3600 + 12 * 60

AAPL = {"size": 100.0, "price": 150.5}


def order(*, ref=17, id="", symbol="MSFT", side="buy", size=50.0, price=310.0, type="limit"):
    return {"ref": ref, "id": id, "symbol": symbol, "side": side, "size": size, "price": price, "type": type}


def told(before=None, orders=(), now=None, open_=(), *, ended="stopped", last=LAST, **more) -> Report:
    why = {"why_no_positions": "it is asleep", "why_no_orders": "this broker does not tell them"}
    elsewhere = more.pop("elsewhere", False)
    seen = Before(before or {}, list(orders), last, ended, elsewhere)
    there = Now(now if now is not None or more.pop("silent", False) else {}, open_, **why, **more)
    return report("SmaCross", seen, there, NOW, "Europe/Berlin")


def test_nothing_changed():
    found = told({"AAPL": AAPL}, [order()], {"AAPL": AAPL}, [order(ref=1)])
    assert found.title == "SmaCross is back after 3 h 12 min"
    assert found.text == "Nothing changed while it was away. Position: AAPL 100 at 150.50.\nOpen orders: 1."
    assert found.priority is Priority.LOW
    assert found.data["changed"] is False


def test_positions_that_were_closed_opened_changed_and_turned():
    before = {"A": AAPL, "B": AAPL, "C": AAPL, "E": AAPL}
    now = {"B": {**AAPL, "size": 150.0}, "C": {**AAPL, "size": -20.0}, "D": AAPL, "E": {"size": 100.0, "price": 7.0}}
    found = told(before, (), now)
    assert found.text.splitlines() == [
        "A: 100 → 0 (closed while away)",
        "B: 100 → 150 (changed while away)",
        "C: 100 → -20 (turned while away)",
        "D: 0 → 100 (opened while away)",
    ]
    assert found.priority is Priority.HIGH
    first = found.data["positions"][0]
    assert first == {
        "symbol": "A", "before": 100.0, "after": 0.0, "price_before": 150.5, "price_after": None, "change": "closed",
    }  # fmt: skip


def test_orders_that_are_gone_and_orders_that_are_new():
    found = told({}, [order(id="x1"), order(id="x2", price=300.0)], {}, [order(id="x2", price=300.0), order(id="x9")])
    assert found.text.splitlines() == [
        "order x1 buy 50 MSFT limit 310: no longer open",
        "order x9 buy 50 MSFT limit 310: open, and not seen before",
    ]
    assert [(o["id"], o["change"]) for o in found.data["orders"]] == [("x1", "gone"), ("x9", "new")]
    assert found.priority is Priority.HIGH


def test_without_ids_an_order_is_known_by_what_it_is():
    assert told({}, [order(ref=17)], {}, [order(ref=1)]).data["changed"] is False
    assert told({}, [order(ref=17)], {}, [order(ref=17, price=311.0)]).data["changed"] is True
    two = told({}, [order(ref=17), order(ref=18)], {}, [order(ref=1)])
    assert two.text == "order 18 buy 50 MSFT limit 310: no longer open"


def test_an_order_of_no_feed_of_the_strategy_is_none_of_its_business():
    assert told({}, [], {}, [order(symbol="", id="x")]).data["changed"] is False
    assert told({}, [order(id="x")], {}, [order(symbol="", id="x")]).data["changed"] is False


def test_a_run_that_was_not_ended():
    found = told({"AAPL": AAPL}, (), {"AAPL": AAPL}, ended="")
    first, second = found.text.splitlines()
    assert first == "It was not ended properly; its last sign was at 2024-06-03 12:00:00 CEST."
    assert second.startswith("Nothing changed")
    assert found.priority is Priority.HIGH
    assert found.data["last_sign"] == "2024-06-03 10:00:00 UTC"


def test_a_run_that_crashed():
    assert told({}, (), {}, ended="KeyError").text.startswith("The run before was ended by KeyError.\n")


def test_another_process_that_runs_the_same():
    assert told({}, (), {}, ended="", elsewhere=True).text.startswith("Another process seems to run the same strategy")


def test_a_broker_that_cannot_say_is_said():
    found = told({"AAPL": AAPL}, [order()], None, None, silent=True)
    assert found.text.splitlines() == [
        "Positions are not known: it is asleep. When last seen: AAPL 100 at 150.50.",
        "Open orders are not known: this broker does not tell them. When last seen: order 17 buy 50 MSFT limit 310.",
    ]
    assert found.priority is Priority.MEDIUM
    assert told({"AAPL": AAPL}, (), {"AAPL": AAPL}, None).priority is Priority.LOW  # there were no orders to ask for


def test_the_simulated_broker_begins_anew_and_that_is_no_alarm():
    found = told({"AAPL": AAPL}, [order()], {}, [], simulated=True)
    assert found.text.splitlines() == [
        "Backtrader's simulated broker begins anew with every run. What it had:",
        "AAPL: 100 → 0",
        "order 17 buy 50 MSFT limit 310: open before",
    ]
    assert found.priority is Priority.LOW


def test_a_run_of_whose_end_nothing_is_known_is_not_said_to_have_died():
    found = told({"AAPL": AAPL}, (), {}, ended="", last=0.0)
    assert (found.title, found.text) == ("SmaCross is back", "AAPL: 100 → 0 (closed while away)")


def test_a_store_that_cannot_be_read():
    found = unreadable("SmaCross")
    assert "could not be read" in found.text
    assert found.data == {"changed": None}
