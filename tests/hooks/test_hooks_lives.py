"""The life of an order in what its broker says of it: late answers, second ends, an order that lives again."""

from __future__ import annotations

import pytest
from hooks_kit import kinds, of, one

from bt_alerts.alert import Source
from bt_alerts.hooks.snapshot import Batch, OrderSnap
from bt_alerts.hooks.translate import STATUS, Translator

ORDER = OrderSnap(738_000.0, 1, 0, 0, True, 10, 100.0, 2, 738_000.0, 0, 1, 0)


def life(*answers, translator=None, order=ORDER):
    """The alerts of an order that goes through ``answers``: a status, and after a colon how much is filled so far."""
    translator = translator or Translator("S", "run", ["AAA"])
    alerts = []
    for answer in answers:
        word, _, filled = answer.partition(":")
        done = {"filled": float(filled), "fill_price": order.price} if filled else {}
        snap = order._replace(status=STATUS.index(word), **done)
        alerts += translator.batch(Batch([snap], []), lambda i: Source.LIVE, None)
    return alerts


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ("submitted rejected accepted canceled", "submitted rejected accepted canceled"),
        (
            "submitted rejected accepted rejected accepted expired",
            "submitted rejected accepted rejected accepted expired",
        ),
        ("submitted margin accepted completed:10", "submitted margin accepted completed"),
        ("submitted rejected completed:10 canceled:10", "submitted rejected completed"),
        ("submitted rejected partial:4 canceled:4", "submitted rejected partial canceled"),
        ("submitted rejected submitted rejected canceled expired margin", "submitted rejected"),
        ("submitted canceled rejected accepted expired", "submitted canceled"),
        ("submitted expired accepted canceled", "submitted expired"),
        ("completed:10 submitted accepted canceled:10", "completed"),
        ("submitted canceled partial:4 completed:10 accepted", "submitted canceled partial completed"),
        ("submitted rejected:3 rejected:3", "submitted partial rejected"),
    ],
)
def test_an_order_ends_once_but_one_that_was_refused_can_live_again(answers, told):
    assert kinds(life(*answers.split()), "order") == [f"order.{word}" for word in told.split()]


def test_an_order_that_lives_again_says_so_once():
    first, second = of(life("submitted", "accepted", "rejected", "accepted", "accepted"), "order.accepted")
    assert "alive again" not in first.message
    assert second.message.endswith("\nIt was refused before, and is alive again.")


def test_what_was_ended_by_a_refusal_is_not_after_the_order_lives_again():
    translator = Translator("S", "run", ["AAA"])
    child = ORDER._replace(ref=2, isbuy=False, parent=1, oco=2)
    other = child._replace(ref=3, oco=3)
    life("submitted", "rejected", translator=translator)
    assert "was rejected" in one(life("canceled", translator=translator, order=child), "order.canceled").message
    life("accepted", translator=translator)
    assert "was rejected" not in one(life("canceled", translator=translator, order=other), "order.canceled").message


def test_fills_beyond_the_size_are_told_and_are_in_the_position():
    alerts = life("partial:10", "partial:18", "completed:25")
    first, second = of(alerts, "order.partial")
    assert first.message.startswith("Bought 10 of 10 at 100")
    assert second.message == "Bought 8 at 100, worth 800\nPosition: long 18 at 100"
    assert one(alerts, "order.completed").data["position_size"] == 25


def test_an_order_that_was_made_bigger_and_its_exit_leave_nothing():
    translator = Translator("S", "run", ["AAA"])
    life("partial:10", "partial:18", "completed:25", translator=translator)
    sold = life("completed:-25", translator=translator, order=ORDER._replace(ref=2, isbuy=False, size=-25, price=110.0))
    assert one(sold, "order.completed").title == "AAA closed: +250"
    assert kinds(sold, "position") == ["position.closed"]
