"""How alerts look: the same everywhere, in each service's markup, by the user's own templates where there are some."""

from __future__ import annotations

import datetime as dt
import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_alerts.alert import Alert, Priority
from bt_alerts.digest import digest
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


PARTS = [
    "",
    "{{ message }}",
    "{{ title }}",
    "{{ message|replace('m', 'mmm') }}",
    "Late: {{ late }}\n<b>{{ message }}</b>",
    "{% if not message %}{{ 'y' * 90 }}{% endif %}",
    "{% if message %}<i>{{ message|replace('m', '&') }}</i>{% endif %}",
    "  \n",
    "{{ nope }}",
]


@given(
    st.tuples(*[st.sampled_from(PARTS)] * 3),
    st.integers(0, 900),
    st.integers(0, 500),
    st.integers(80, 400),
)
def test_pages_fit_whatever_the_templates(parts: tuple[str, str, str], length: int, titles: int, limit: int) -> None:
    alert = Alert.make("m" * length, title="&" * titles)
    look = Look({"all": dict(zip(("title", "message", "footer"), parts, strict=True))})
    assert all(len(page) <= limit for page in look.pages(alert, "late", limit=limit, escape=html.escape))


@given(st.integers(1, 900), st.integers(1, 500), st.integers(80, 400))
def test_a_template_that_lengthens_the_message_does_not_send_it_twice(lines: int, titles: int, limit: int) -> None:
    look = Look({"all": {"message": "From us:\n{{ message|replace('\n', '\n> ') }}"}})
    pages = look.pages(Alert.make("m\n" * lines, title="&" * titles), limit=limit, escape=html.escape)
    assert "".join(pages).replace("From us", "").count("m") - "".join(pages).count("&amp;") in {lines, lines + 1}


def test_one_page_does_not_say_what_stood_on_the_one_before() -> None:
    look = Look({"all": {"message": "> {{ message|replace('\n', '\n> ') }}", "footer": "end"}})
    pages = look.pages(Alert.make("line\n" * 700), limit=4096)
    assert "".join(pages).count("line") == 700
    assert pages[-1].endswith("end")


def test_a_title_of_markup_leaves_the_first_page_within_its_limit() -> None:
    alert = Alert.make("m" * 5000, title="&" * 500)
    pages = Look().pages(alert, limit=4096, escape=html.escape)
    assert max(map(len, pages)) <= 4096
    assert sum(page.count("m") for page in pages) - sum(page.count("&amp;") for page in pages) == 5000


@pytest.mark.parametrize(
    ("zone", "moment", "seen"),
    [("Asia/Tokyo", dt.datetime.max, "9999-12-31 23:59 UTC"), ("America/New_York", dt.datetime.min, "01-01 00:00 UTC")],
)
def test_a_time_that_has_no_local_form_is_shown_in_utc(zone: str, moment: dt.datetime, seen: str) -> None:
    assert Look(zone=zone).view(Alert.make("x", bar_time=moment)).time.endswith(seen)


def test_a_template_of_spaces_says_nothing() -> None:
    view = Look({"all": {"message": "  \n ", "title": " "}}).view(ALERT)
    assert (view.title, view.message) == ("", "")


def test_the_note_of_a_template_that_failed_is_one_line() -> None:
    assert "\n" not in Look({"all": {"title": "{% if %}"}}).view(ALERT).note


def test_a_digest_lists_titles_with_the_symbol_where_they_lack_it_and_no_times() -> None:
    alerts = [Alert.make("x", title="BUY AAPL", symbol="AAPL"), Alert.make("y", title="Stop moved", symbol="MSFT")]
    assert digest(alerts).message == "BUY AAPL\nStop moved (MSFT)"
    assert digest([*alerts, ALERT]).message == "🟠 BUY <AAPL>\n🟡 BUY AAPL\n🟡 Stop moved (MSFT)"


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
