"""How alerts look: the same everywhere, in each service's markup, by the user's own templates where there are some."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.alert import Alert, Priority
from bt_alerts.render.look import Look
from bt_alerts.render.templates import problems

ALERT = Alert.make(
    "Bought 10 at 150.50 (+3.20 %)",
    title="BUY <AAPL>",
    kind="order.completed",
    type="order",
    priority=Priority.HIGH,
    time="2026-03-02T14:30",
    symbol="AAPL",
    strategy="Sma",
    data={"position_size": 10, "position_price": 150.5, "commission": 1.25},
)


def test_an_alert_has_emoji_title_message_and_the_time_in_the_readers_zone() -> None:
    view = Look(zone="Europe/Berlin").view(ALERT)
    assert (view.title, view.message) == ("🟠 BUY <AAPL>", "Bought 10 at 150.50 (+3.20 %)")
    assert view.footer == "2026-03-02 15:30 CET · Sma"


def test_a_late_message_says_how_late_before_anything_else() -> None:
    assert Look().view(ALERT, "⏱ 11 min late").message.startswith("⏱ 11 min late\nBought")


def test_symbol_strategy_and_position_have_places_of_their_own_and_the_rest_is_listed() -> None:
    view = Look().view(ALERT)
    assert dict(view.fields) == {"Symbol": "AAPL", "Strategy": "Sma", "Position": "long 10 at 150.50"}
    assert dict(view.details) == {"Commission of this order": "1.25"}


def test_what_the_message_tells_already_is_not_listed_again_but_a_strategys_own_data_is() -> None:
    filled = ALERT.replace(
        data={"status": "completed", "size": 10, "duration_seconds": 277_200, "close_reason": "stop"}
    )
    assert dict(Look().view(filled).details) == {"Held": "3 d 5 h", "Closed by": "stop"}
    own = Alert.make("x", kind="custom", data={"status": "armed", "size": 10, "when": {"a": 1}})
    assert dict(Look().view(own).details) == {"Status": "armed", "Size": "10", "When": '{"a": 1}'}


def test_what_a_template_inserts_is_escaped_and_what_it_says_itself_is_markup() -> None:
    look = Look({"order": {"title": "<b>{{ title }}</b>"}})
    assert look.view(ALERT, escape=html.escape).title == "<b>BUY &lt;AAPL&gt;</b>"


@pytest.mark.parametrize("key", ["order.completed", "order", "all"])
def test_a_template_is_of_a_kind_a_type_or_all(key: str) -> None:
    assert Look({key: {"message": "{{ symbol }}"}}).view(ALERT).message == "AAPL"


def test_the_finer_template_wins() -> None:
    look = Look({"all": {"message": "all"}, "order": {"message": "order"}, "order.completed": {"message": "filled"}})
    assert look.view(ALERT).message == "filled"


def test_a_template_that_fails_is_replaced_by_the_built_in_one_and_told() -> None:
    view = Look({"all": {"title": "{{ 1 / 0 }}"}}).view(ALERT)
    assert view.title == "🟠 BUY <AAPL>"
    assert "ZeroDivisionError" in view.note


def test_a_template_cannot_leave_its_sandbox() -> None:
    view = Look({"all": {"message": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}}).view(ALERT)
    assert "SecurityError" in view.note
    assert view.message == ALERT.message


def test_data_that_this_alert_lacks_reads_as_nothing() -> None:
    assert Look({"all": {"message": "x{{ data.pnl }}y"}}).view(ALERT).message == "xy"


def test_an_alert_is_no_template() -> None:
    alert = Alert.make("{{ 7 * 7 }}{% raw %}", title="{{ id }}")
    view = Look().view(alert)
    assert (view.title, view.message) == ("🟡 {{ id }}", "{{ 7 * 7 }}{% raw %}")


@pytest.mark.parametrize(
    ("privacy", "message", "position"),
    [
        ("hide_amounts", "Bought ••• at ••• (•••)", "long ••• at •••"),
        ("percent_only", "Bought ••• at ••• (+3.20 %)", "long ••• at •••"),
    ],
)
def test_a_locked_phone_shows_no_amounts(privacy: str, message: str, position: str) -> None:
    view = Look(privacy=privacy).view(ALERT)
    assert view.message == message
    assert dict(view.fields)["Position"] == position
    assert dict(view.details)["Commission of this order"] == "•••"
    assert Look({"all": {"message": "{{ data.commission }}"}}, privacy=privacy).view(ALERT).message == "•••"


@given(st.text(max_size=400), st.integers(60, 120))
def test_pages_fit_and_recombine_to_the_message(text: str, limit: int) -> None:
    alert = Alert.make(text, title="T")
    look = Look({"all": {"footer": ""}})
    pages = look.pages(alert, limit=limit, escape=html.escape)
    assert all(len(page) <= limit for page in pages)
    joined = html.unescape("".join(pages).removeprefix("🟡 T").removeprefix("\n"))
    assert joined.strip("\n") == (alert.message.strip("\n") if alert.message.strip() else "")


def test_a_template_longer_than_the_limit_does_not_cost_the_message() -> None:
    pages = Look({"all": {"title": "x" * 500}}).pages(ALERT, limit=100)
    assert all(len(page) <= 100 for page in pages)
    assert ALERT.message in "".join(pages)


def test_a_check_names_what_a_template_may_say() -> None:
    assert problems("{{ title }} {{ data.pnl }}", frozenset({"pnl"})) == []
    (told,) = problems("{{ titel }}")
    assert told.startswith("there is no `titel`; did you mean `title`? known: colour, data, emoji")
    assert problems("{{ data.pln }}", frozenset({"pnl"})) == [
        "there is no `data.pln`; did you mean `data.pnl`? known: data.pnl"
    ]
    assert problems("{% if late %}") == [
        "line 1: Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or 'endif'. "
        "The innermost block that needs to be closed is 'if'."
    ]
