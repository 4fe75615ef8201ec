"""The known live stores with their habits: what is sent, what is only recorded, what is said when it goes wrong."""

from __future__ import annotations

from types import SimpleNamespace

import backtrader as bt
import pytest
from hooks_kit import kinds, of, one
from stores_kit import BinanceBroker, CCXTBroker, Day, Remote, Store

from bt_alerts import Notifier


class EachBar(Notifier, bt.Strategy):
    """Tells of every bar."""

    def next(self):
        self.alert(f"{self.data.datetime.datetime(0):%H:%M}")


ROUND_TRIP = {8: lambda s: s.buy(size=10), 10: lambda s: s.close()}
LIMIT = {8: lambda s: s.buy(size=10, price=90, exectype=bt.Order.Limit)}
ENTRY, EXIT = ("order.completed", "BUY AAA filled"), ("order.completed", "AAA closed: +20")


def heard(told, *prefixes):
    """What a person got, by kind and title."""
    return [(alert["kind"], alert["title"]) for alert in told if alert["kind"].startswith(prefixes or "")]


def sent_and_held(told, stored):
    """How many of :class:`EachBar`'s alerts were sent, and how many were recorded as history."""
    held = [alert for alert in of(stored, "custom") if alert.source.value == "history"]
    return len(heard(told, "custom")), len(held)


def day(**how):
    """Five old bars, then live: how Interactive Brokers, Oanda, Alpaca and Binance begin."""
    return Day(**how).status("DELAYED").old(5).status("LIVE")


# Interactive Brokers ---------------------------------------------------------------------------------


def test_ib_says_nothing_of_a_break_but_to_the_store_so_silence_is_told_and_what_is_filled_in_is_held():
    it = day().live(3).ib_says(id=-1, errorCode=1100, errorMsg="Connectivity between IB and TWS has been lost.")
    it.nothing(30).ib_says(id=-1, errorCode=1102, errorMsg="Connectivity restored - data maintained.")
    told, stored = it.status("DELAYED").old(20).status("LIVE").live(4).run(strategy=EachBar)
    assert sent_and_held(told, stored) == (3 + 4, 5 + 20)
    assert heard(told, "data", "store") == [
        ("data.live", "AAA: live"), ("data.silent", "AAA: no bars for 30 min"), ("data.live", "AAA: live"),
    ]  # fmt: skip
    assert [alert.message.split(" ", 1)[0] for alert in of(stored, "store.message")] == ["<error", "<error"]
    assert "Bars held back as history: 25" in one(stored, "strategy.stopped").message


def test_ib_store_messages_can_be_told_and_those_of_good_news_left_out():
    it = day().live(1).ib_says(id=-1, errorCode=2104, errorMsg="Market data farm connection is OK:usfarm")
    it.ib_says(id=-1, errorCode=1100, errorMsg="Connectivity between IB and TWS has been lost.").live(1)
    told, stored = it.run()
    assert (heard(told, "store"), len(of(stored, "store.message"))) == ([], 2)


def test_ib_fields_that_are_called_as_our_own_arguments_stop_nobody():
    it = day().live(1).ib_says("updateNewsBulletin", msgId=1, msgType=1, message="halted", origExchange="NYSE").live(2)
    told, stored = it.run(strategy=EachBar)
    assert sent_and_held(told, stored) == (3, 5)
    assert "halted" in one(stored, "store.message").message


def test_ib_order_in_two_lots_is_one_message_and_its_commission_is_in_the_profit():
    told, stored = day().live(8).run(Remote("submit accept fill:0.4 fill:0.6", fee=1.0), steps=ROUND_TRIP)
    assert heard(told, "order", "trade", "position") == [
        ("order.partial", "BUY AAA filled (2 parts)"), ("order.partial", "AAA closed: +16 (2 parts)"),
    ]  # fmt: skip
    assert kinds(stored, "position", "trade") == ["position.opened", "trade.opened", "trade.closed", "position.closed"]


def test_ib_order_that_is_made_bigger_at_the_broker_is_filled_beyond_its_size_and_nothing_of_it_is_lost():
    broker = Remote("submit accept some:1 some:0.8 last:0.7")
    steps = {8: lambda s: s.buy(size=10), 10: lambda s: s.sell(size=10)}
    told, stored = day().live(8).run(broker, steps=steps)
    assert heard(told, "order", "trade") == [
        ("order.partial", "BUY AAA filled (3 parts)"), ("order.partial", "AAA closed: +50 (3 parts)"),
    ]  # fmt: skip
    assert [alert.data["fill_size"] for alert in of(stored, "order.partial")] == [10, 8, 10, 8]
    assert [alert.data["filled"] for alert in of(stored, "order.completed")] == [25, 25]
    assert kinds(stored, "position") == ["position.opened", "position.closed"]


def test_ib_lots_of_one_second_at_one_price_are_fills_of_their_own():
    _, stored = day().live(8).run(Remote("submit accept fill:0.5 some:0.5 some:0.5 last:0.5"), steps=LIMIT)
    assert one(stored, "order.completed").data["position_size"] == 20
    assert len(of(stored, "order.partial")) == 3


def test_ib_order_that_was_inactive_lives_again_and_its_end_is_told():
    told, stored = day().live(8).run(Remote("submit accept reject accept cancel"), steps=LIMIT)
    assert heard(told, "order") == [
        ("order.rejected", "BUY order rejected: AAA"), ("order.canceled", "BUY order cancelled: AAA"),
    ]  # fmt: skip
    again = of(stored, "order.accepted")[1]
    assert again.message == "BUY 10 AAA, limit at 90\nIt was refused before, and is alive again."


def test_ib_order_that_is_refused_lives_again_and_is_refused_again_is_told_both_times():
    told, _ = day().live(8).run(Remote("submit reject accept reject"), steps=LIMIT)
    assert heard(told, "order") == [("order.rejected", "BUY order rejected: AAA")] * 2


def test_ib_says_cancelled_of_an_order_that_it_refused_and_it_ends_once():
    told, _ = day().live(8).run(Remote("submit reject cancel"), steps=LIMIT)
    assert heard(told, "order") == [("order.rejected", "BUY order rejected: AAA")]


@pytest.mark.parametrize(
    ("answers", "told", "open_"),
    [
        ("submit accept reject", "order.rejected", False),
        ("submit accept reject accept", "order.rejected", True),
        ("submit accept some:1", "order.partial", True),
    ],
)
def test_an_order_that_lives_is_remembered_as_open(answers, told, open_, tmp_path):
    store = str(tmp_path / "alerts.db")
    day().live(8).until(told, passing=True).run(Remote(answers), steps=LIMIT, store=store)
    later = Remote()
    later.get_orders_open = list
    _, stored = day().live(2).run(later, store=store)
    assert ("buy 10 AAA limit 90: no longer open" in one(stored, "strategy.restarted").message) is open_


def test_ib_without_a_subscription_is_told():
    told, _ = Day().status("DELAYED", "NOTSUBSCRIBED").run()
    assert heard(told, "data") == [("data.disconnected", "AAA: notsubscribed")]


# bt-ccxt-store ---------------------------------------------------------------------------------------


def test_ccxt_without_fromdate_says_live_at_once_and_all_but_the_newest_candles_are_held():
    told, stored = Day(dated=-1).status("LIVE").old(20).live(4).run(strategy=EachBar)
    assert sent_and_held(told, stored) == (3 + 4, 17)


def test_ccxt_with_fromdate_holds_them_all():
    told, stored = Day(dated=-1).status("DELAYED").old(20).status("LIVE").live(4).run(strategy=EachBar)
    assert sent_and_held(told, stored) == (4, 20)


def test_ccxt_tells_of_no_trades_so_positions_come_from_filled_orders():
    told, stored = day(dated=-1).live(8).run(CCXTBroker(), steps=ROUND_TRIP)
    assert heard(told, "order", "trade", "position") == [ENTRY, EXIT]
    assert kinds(stored, "position", "trade") == ["position.opened", "position.closed"]
    assert one(stored, "position.closed").data["pnlcomm"] == 20


def test_ccxt_executes_a_fill_again_at_each_poll_and_the_order_is_no_bigger_for_it():
    polls = ([(0.4, 100.0)], "open"), ([(0.4, 100.0), (0.6, 100.0)], "open"), ([(0.4, 100.0), (0.6, 100.0)], "closed")
    told, stored = day(dated=-1).live(9).run(CCXTBroker(*polls), steps={8: lambda s: s.buy(size=10)})
    assert heard(told, "order") == [ENTRY]
    filled = one(stored, "order.completed").data
    assert (filled["filled"], filled["fill_price"], filled["position_size"]) == (10, 100, 10)


@pytest.mark.parametrize("numbered", [True, False])
def test_ccxt_counts_each_fill_once_also_of_a_part_and_its_price_is_the_average(numbered):
    fills = [(0.2, 100.0), (0.3, 110.0)]
    polls = (fills[:1], "open"), (fills[:1], "open"), (fills, "open"), (fills, "canceled")
    it = day(dated=-1).live(9).until("order.partial", passing=True)
    _, stored = it.run(CCXTBroker(*polls, numbered=numbered), steps=LIMIT)
    part = one(stored, "order.partial").data
    assert (part["filled"], part["fill_price"], part["position_size"]) == (5, 106, 5)


def test_ccxt_fills_of_one_moment_and_one_price_are_two_where_their_ids_are():
    fills = [(0.5, 100.0), (0.5, 100.0)]
    broker = CCXTBroker((fills, "open"), (fills, "closed"))
    _, stored = day(dated=-1).live(9).run(broker, steps={8: lambda s: s.buy(size=10)})
    assert one(stored, "order.completed").data["filled"] == 10


def test_ccxt_order_that_was_made_bigger_at_the_exchange_is_filled_beyond_its_size():
    polls = ([(1.0, 100.0)], "open"), ([(1.0, 100.0), (1.5, 100.0)], "closed")
    _, stored = day(dated=-1).live(9).run(CCXTBroker(*polls), steps={8: lambda s: s.buy(size=10)})
    assert one(stored, "order.completed").data["position_size"] == 25


def test_ccxt_says_cancelled_of_an_order_of_which_a_part_was_filled():
    polls = ([(0.4, 100.0)], "open"), ([], "canceled")
    it = day(dated=-1).live(9).until("order.partial", passing=True)
    told, stored = it.run(CCXTBroker(*polls), steps=LIMIT)
    assert heard(told, "order") == [
        ("order.partial", "BUY AAA partly filled"),
        ("order.canceled", "BUY order cancelled: AAA"),
    ]
    assert one(stored, "position.opened").data["position_size"] == 4


def test_ccxt_feed_that_gives_up_raises_and_the_crash_is_told():
    it = day(dated=-1).live(2).breaks(ConnectionError("exchange did not answer"))
    with pytest.raises(ConnectionError):
        it.run()
    assert one(it.stored, "error").title == "Scripted crashed: ConnectionError"


@pytest.mark.parametrize("broker", [CCXTBroker, BinanceBroker])
def test_a_broker_that_begins_each_run_with_no_positions_has_not_closed_them(broker, tmp_path):
    store = str(tmp_path / "alerts.db")
    day(dated=-1).live(6).run(broker(), steps={7: lambda s: s.buy(size=10)}, store=store)
    _, stored = day(dated=-1).live(6).run(broker(), store=store)
    back = one(stored, "strategy.restarted")
    assert (back.data["changed"], back.priority.value) == (False, "medium")
    assert "Positions are not known" in back.message
    assert "When last seen: AAA 10 at" in back.message


# Oanda -----------------------------------------------------------------------------------------------


def test_oanda_breaks_fills_the_gap_and_is_live_again():
    it = day().live(3).status("CONNBROKEN", "DELAYED").old(2).status("LIVE").live(3)
    told, stored = it.run(strategy=EachBar)
    assert sent_and_held(told, stored) == (6, 7)
    assert heard(told, "data") == [
        ("data.live", "AAA: live"), ("data.disconnected", "AAA: connbroken"), ("data.live", "AAA: live"),
    ]  # fmt: skip


def test_oanda_gives_up_and_the_feed_ends():
    told, stored = day().live(3).status("CONNBROKEN", "DISCONNECTED").run()
    assert heard(told, "data")[1:] == [
        ("data.disconnected", "AAA: connbroken"), ("data.disconnected", "AAA: disconnected"),
    ]  # fmt: skip
    assert kinds(stored, "strategy.stopped") == ["strategy.stopped"]


def test_oanda_says_exceptions_and_transactions_to_the_store_and_they_are_recorded():
    it = day().live(1).says(ConnectionError("GET /v1/accounts/1 failed"))
    it.says("Received TRADE_CLOSE for unknown order", {"id": 7, "units": 100, "message": "x"}).live(1)
    told, stored = it.run()
    first, second = of(stored, "store.message")
    assert (heard(told, "store"), first.message) == ([], "GET /v1/accounts/1 failed")
    assert "'units': 100" in second.message


def test_oanda_position_that_is_there_already_is_no_fill_and_its_end_is_told_with_the_profit():
    broker = Remote(positions={"AAA": (10, 100.0)}, store=Store(practice=True))
    it = day().do(lambda: broker.tell_what_is_held(it.cerebro.datas[0])).live(8)
    told, stored = it.run(broker, steps={9: lambda s: s.close()})
    assert heard(told, "order", "trade") == [("trade.closed", "AAA closed: +90")]
    assert "PAPER (Remote)" in one(stored, "strategy.started").message


# Alpaca ----------------------------------------------------------------------------------------------


def test_alpaca_fill_that_overtakes_the_answer_to_the_order_is_told_once_and_leaves_no_open_order(tmp_path):
    store = str(tmp_path / "alerts.db")
    broker = Remote("accept fill submit accept")
    told, _ = day().live(8).run(broker, steps={8: lambda s: s.buy(size=10)}, store=store)
    assert heard(told, "order") == [ENTRY]
    _, stored = day().live(2).run(Remote(positions={"AAA": (10, 107.0)}), store=store)
    assert one(stored, "strategy.restarted").data["changed"] is False


def test_alpaca_says_rejected_of_an_order_that_was_cancelled():
    told, _ = day().live(8).run(Remote("submit accept cancel reject"), steps=LIMIT)
    assert heard(told, "order") == [("order.canceled", "BUY order cancelled: AAA")]


def test_alpaca_goes_quiet_after_the_first_part():
    it = day().live(8).until("order.partial", passing=True)
    told, stored = it.run(Remote("submit accept fill:0.4"), steps={8: lambda s: s.buy(size=10)})
    assert heard(told, "order") == [("order.partial", "BUY AAA partly filled")]
    assert one(stored, "position.opened").data["position_size"] == 4


def test_alpaca_refusal_is_told_and_why_is_with_the_store():
    it = day().live(4).says(ValueError("insufficient buying power")).live(2)
    told, stored = it.run(Remote("reject"), steps=ROUND_TRIP)
    assert heard(told, "order") == [("order.rejected", "BUY order rejected: AAA")]
    assert one(stored, "store.message").message == "insufficient buying power"


@pytest.mark.parametrize(("live", "sent"), [("auto", 0), ({"AAA": "always"}, 6)])
def test_bars_in_the_time_of_the_exchange_are_held_and_that_is_told(live, sent):
    it = Day().status("LIVE").live(6, behind=240)
    told, stored = it.run(strategy=EachBar, live=live)
    assert len(heard(told, "custom")) == sent
    held = heard(told, "data.held")
    assert held == ([] if sent else [("data.held", "AAA: nothing is sent")])
    if held:
        assert "its bars are 4.0 hours old" in one(stored, "data.held").message


# Binance ---------------------------------------------------------------------------------------------


def test_binance_order_that_comes_completed_at_once_is_one_message_and_a_position():
    told, stored = day(dated=-1).live(8).run(BinanceBroker(), steps=ROUND_TRIP)
    assert heard(told, "order", "trade", "position") == [ENTRY, EXIT]
    assert kinds(stored, "position", "trade") == ["position.opened", "position.closed"]


def test_binance_hands_over_one_object_twice_and_its_fill_is_told_once():
    broker = BinanceBroker()

    def both() -> None:
        (order,) = broker.open
        broker.report(order, 0.4, 90.0)
        broker.report(order, 0.6, 90.0)

    told, stored = day(dated=-1).live(4).do(both).live(3).run(broker, steps=LIMIT)
    assert heard(told, "order") == [ENTRY]
    assert one(stored, "order.accepted").message == "BUY 10 AAA, limit at 90"
    assert one(stored, "order.completed").data["fill_size"] == 10


def test_binance_says_nothing_when_its_socket_is_dead_so_silence_is_told_and_its_end():
    told, _ = day(dated=-1).live(3).nothing(10).live(1).nothing(1, told="data.resumed").live(2).run()
    assert heard(told, "data") == [
        ("data.live", "AAA: live"), ("data.silent", "AAA: no bars for 10 min"), ("data.resumed", "AAA: bars again"),
    ]  # fmt: skip


def test_binance_refusal_is_an_exception_in_the_strategy_and_told_as_a_crash():
    def refuse(*_, **__):
        raise RuntimeError("APIError(code=-2010): Account has insufficient balance")

    broker = BinanceBroker()
    broker.buy = refuse
    it = day(dated=-1).live(8)
    with pytest.raises(RuntimeError):
        it.run(broker, steps=ROUND_TRIP)
    assert "insufficient balance" in one(it.stored, "error").message


@pytest.mark.parametrize(("testnet", "label"), [(True, "PAPER (BinanceBroker)"), (False, "REAL (BinanceBroker)")])
def test_binance_testnet_is_no_real_money(testnet, label):
    store = SimpleNamespace(binance=SimpleNamespace(testnet=testnet))
    _, stored = day().live(1).run(BinanceBroker(store))
    assert f"Account: {label}" in one(stored, "strategy.started").message
