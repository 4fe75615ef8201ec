"""What a locked phone shows: no amount, however it is written and wherever it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context
from bt_alerts.dispatchers.pushover import PushoverDispatcher
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.render.look import Look, without_amounts

TRADE = Alert.make(
    "Sold at 87,654.25",
    title="X closed: 87654.25",
    kind="trade.closed",
    type="trade",
    symbol="BTC-28MAR25",
    data={
        "pnlcomm": -94.07,
        "won": False,
        "change_percent": 2.5,
        "nested": {"price": 12.5, "deep": [{"size": 7}]},
        "levels": [150.5, "at 99.25"],
        "text": "at 87654.25",
    },
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("12000USDT", "•••"),
        ("EUR150", "•••"),
        ("100k", "•••"),
        ("10x", "•••"),
        ("price:150.5", "price:•••"),
        ("AAPL,150.5,10", "AAPL,•••"),
        ("1.5k", "•••"),
        ("1.000,50", "•••"),
        ("1 000,50", "•••"),
        ("1'000.50", "•••"),
        ("1.23e-05", "•••"),
        ("$150.5; US$150; 150€; -€3; €-3", "•••; US•••; •••; •••; •••"),
        ("100-200 1/2 #42", "•••-••• •••/••• #•••"),
        ("AAPL150.5", "AAPL•••"),
        ("_150", "_•••"),
        ("٣٤", "•••"),
    ],
)
@pytest.mark.parametrize("privacy", ["hide_amounts", "percent_only"])
def test_an_amount_is_hidden_in_whatever_form(text: str, seen: str, privacy: str) -> None:
    assert without_amounts(text, privacy) == seen


@pytest.mark.parametrize(
    "text",
    ["BTC2", "ES1!", "AAPL2", "SPY250321C00450000", "at 14:30, 9:05:10", "2026-03-02", "2026-03-02T14:30:05+00:00"],
)
def test_symbols_dates_and_times_of_day_are_left(text: str) -> None:
    assert without_amounts(text, "hide_amounts") == text


def test_the_alerts_own_symbol_is_left_whatever_its_form_but_never_a_part_of_a_number() -> None:
    assert without_amounts("BUY 6E at 6E5", "hide_amounts", "6E") == "BUY 6E at •••"
    assert without_amounts("BUY 7203 at 7203.50", "hide_amounts", "7203") == "BUY 7203 at •••"
    assert without_amounts("5 of 5", "hide_amounts", "5") == "••• of •••"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("+3.20 % and 12,5%", "+3.20 % and 12,5%"),
        ("1,234.5%", "1,234.5%"),
        ("AAPL,150.5,10%", "AAPL,•••"),
        ("$5%", "•••"),
        ("10 150%", "•••"),
    ],
)
def test_a_percentage_is_left_where_it_alone_stands_before_the_sign(text: str, seen: str) -> None:
    assert without_amounts(text, "percent_only") == seen


@given(
    st.text(st.sampled_from("0123456789.,:;-+ %$€kxAbe_'’()/T\n"), max_size=40),
    st.sampled_from(["hide_amounts", "percent_only"]),
)
def test_hiding_twice_hides_no_more(text: str, privacy: str) -> None:
    once = without_amounts(text, privacy)
    assert without_amounts(once, privacy) == once


@given(
    st.floats(min_value=0.001, max_value=1e9, allow_nan=False), st.sampled_from([" ", ":", "=", "(", "@", ", ", "-"])
)
def test_no_digit_of_a_number_is_seen(value: float, before: str) -> None:
    for form in (f"{value}", f"{value:,.2f}", f"{value:e}", f"{value:_.3f}", f"{value:.0f}kg"):
        assert not any(char.isdigit() for char in without_amounts(f"x{before}{form} y", "hide_amounts"))


@pytest.mark.parametrize(
    ("template", "seen"),
    [
        ("{{ data.pnlcomm|money }}", "•••"),
        ("{{ data.pnlcomm|number }} {{ data.pnlcomm|round(1) }} {{ '%.1f' % data.pnlcomm }}", "••• ••• •••"),
        ("{{ 'P' ~ data.pnlcomm }}", "P-•••"),
        ("{{ '{:.1f}'.format(data.pnlcomm) }}", "•••"),
        ("{{ data.pnlcomm|safe }} {{ data.pnlcomm|e }}", "••• •••"),
        ("{% if data.pnlcomm > 0 %}up{% else %}down{% endif %}", "down"),
        ("{% if data.won %}won{% else %}lost{% endif %} {{ data.won }}", "lost False"),
        ("{{ data.levels|join(' ') }} {{ data.nested.price }} {{ data.text }}", "••• at ••• ••• at •••"),
        ("{{ data.nested }}", "{'price': '•••', 'deep': [{'size': '•••'}]}"),
        ("{{ message }}", "Sold at •••"),
    ],
)
def test_a_template_computes_with_numbers_and_shows_none(template: str, seen: str) -> None:
    view = Look({"all": {"message": template}}, privacy="hide_amounts").view(TRADE)
    assert (view.message, view.note) == (seen, "")


def test_a_template_shows_percentages_with_percent_only() -> None:
    template = "{{ data.change_percent|round(1) }} {{ data.change_percent|number }} {{ data.pnlcomm }}"
    assert Look({"all": {"message": template}}, privacy="percent_only").view(TRADE).message == "2.5 2.50 •••"


def test_a_template_shows_what_is_no_amount() -> None:
    look = Look(
        {"all": {"message": "{{ colour }} {{ time }} {{ late }} {{ symbol }} {{ id }}"}}, privacy="hide_amounts"
    )
    off = Look(look.own)
    assert look.view(TRADE, "⏱ 11 min late").message == off.view(TRADE, "⏱ 11 min late").message


def test_details_are_hidden_to_their_depth() -> None:
    details = dict(Look(privacy="hide_amounts").view(TRADE).details)
    assert details["Nested"] == '{"price": "•••", "deep": [{"size": "•••"}]}'
    assert (details["Levels"], details["Won"]) == ("•••, at •••", "no")


def test_a_webhook_obeys_privacy() -> None:
    dispatcher = WebhookDispatcher("http://127.0.0.1:1/hook")
    dispatcher.look = Look(privacy="hide_amounts")
    (request,) = dispatcher.preview(TRADE, dispatcher.targets()[0], Context(key="k"))
    told = json.loads(request.body)["data"]
    assert (told["title"], told["message"]) == ("X closed: •••", "Sold at •••")
    assert told["data"]["pnlcomm"] == "•••"
    assert told["data"]["won"] is False
    assert told["data"]["nested"] == {"price": "•••", "deep": [{"size": "•••"}]}
    assert told["symbol"] == "BTC-28MAR25"


def test_pushover_shows_no_amount_where_an_alert_has_a_title_only() -> None:
    dispatcher = PushoverDispatcher("a" * 30, "u" * 30)
    dispatcher.look = Look(privacy="hide_amounts")
    (request,) = dispatcher.preview(TRADE.replace(id="x", message=""), dispatcher.targets()[0], Context(key="k"))
    assert "87654" not in request.body
