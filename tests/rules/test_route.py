"""Routing: to the channels that the alert names, or those of the first route that takes it, or all."""

from __future__ import annotations

from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW, Remembered

from bt_alerts.rules.mute import mutes
from bt_alerts.rules.pipeline import decide
from bt_alerts.rules.route import Route, Routing, named, route
from bt_alerts.rules.stage import Note, Plan, Reason, Verdict, recorded, suppressed
from bt_alerts.rules.when import When

ENABLED = ("phone", "chat", "mail")
TYPES = {"phone": "pushover", "chat": "telegram", "mail": "email"}


def to(*channels: str, name: str = "r", symbol: str = "", goes_on: bool = False) -> Route:
    when = When(symbols=(symbol,)) if symbol else When()
    return Route(name=name, when=when, through=None, to=channels, goes_on=goes_on)


def routed(*routes: Route, muted: tuple[str, ...] = (), **fields: Any) -> Plan | Verdict:
    return route(ENABLED, TYPES, routes)(alert(**fields), Plan(muted=frozenset(muted)), Remembered(), NOW)


def channels(decided: Plan | Verdict) -> tuple[str, ...]:
    assert isinstance(decided, Plan)
    return decided.channels


def test_the_first_route_that_takes_it_decides() -> None:
    routes = to("chat", name="a", symbol="BTC*"), to("mail", name="b", symbol="BTC-USD"), to("phone", name="c")
    decided = routed(*routes, symbol="BTC-USD")
    assert channels(decided) == ("chat",)
    assert isinstance(decided, Plan)
    assert decided.trail == (Note(Reason.ROUTED, "a", about="chat"),)
    assert channels(routed(*routes, symbol="ETH")) == ("phone",)


def test_what_no_route_takes_goes_to_all() -> None:
    assert channels(routed(to("chat", symbol="BTC*"), symbol="ETH")) == ENABLED
    assert channels(routed()) == ENABLED


def test_one_that_goes_on_adds_its_channels_to_those_of_the_next() -> None:
    routes = (
        to("mail", name="a", symbol="BTC*", goes_on=True),
        to("phone", name="b", symbol="BTC*"),
        to("chat", name="c"),
    )
    decided = routed(*routes, symbol="BTC")
    assert channels(decided) == ("phone", "mail"), "in the order of the channels"
    assert isinstance(decided, Plan)
    assert [note.rule for note in decided.trail] == ["a", "b"]
    assert channels(routed(*routes, symbol="ETH")) == ("chat",)
    assert channels(routed(to("mail", goes_on=True))) == ("mail",), "it was taken: it does not go to all"


def test_a_route_to_nowhere_records_it_and_names_itself() -> None:
    assert routed(to(name="noise")) == recorded(Reason.NOWHERE, "noise")
    assert channels(routed(to(name="noise", goes_on=True), to("chat"))) == ("chat",)
    assert channels(routed(to("chat", goes_on=True), to(name="noise"))) == ("chat",)


def test_a_route_to_channels_that_are_turned_off_takes_nothing() -> None:
    assert channels(routed(to("pager", name="off"), to("chat"))) == ("chat",)
    assert channels(routed(to("pager", name="off"))) == ENABLED
    assert channels(routed(to("pager", "mail"))) == ("mail",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("chat",), ("chat",)),
        (("telegram",), ("chat",)),
        (("all",), ENABLED),
        (("email", "phone", "email"), ("phone", "mail")),
    ],
)
def test_channels_are_named_by_name_or_type(words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert channels(routed(to(*words))) == expected
    assert channels(routed(to("phone"), channels=list(words))) == expected, "an alert passes the routes by"


def test_a_name_comes_before_a_type_of_the_same_word() -> None:
    assert named(["email"], ("email", "mail"), {"email": "webhook", "mail": "email"}) == {"email"}
    assert named(["all"], ("all", "mail"), {}) == {"all"}
    assert named(["", "nobody"], ENABLED, TYPES) == frozenset()


def test_an_alert_for_a_channel_that_is_turned_off_is_for_nobody() -> None:
    assert routed(channels=["pager"]) == recorded(Reason.NO_CHANNEL)
    assert routed(to("phone"), channels=["pager"]) == recorded(Reason.NO_CHANNEL)
    assert route(())(alert(), Plan(), Remembered(), NOW) == recorded(Reason.NO_CHANNEL)


def test_a_muted_channel_hears_nothing_and_the_others_do() -> None:
    both = to("phone", goes_on=True, name="a"), to("chat", name="b")
    assert channels(routed(*both, muted=("phone",))) == ("chat",)
    assert routed(*both, muted=("phone", "chat")) == suppressed(Reason.MUTED)
    assert channels(routed(muted=("chat",))) == ("phone", "mail")
    assert routed(muted=("phone",), channels=["phone"]) == suppressed(Reason.MUTED)


def test_a_mute_of_a_channel_for_one_symbol(state: Remembered) -> None:
    state.mute(NOW + 60, channel="phone", symbol="AAPL")
    stages = [mutes, route(ENABLED, TYPES, [to("phone", "chat")])]
    assert channels(decide(stages, alert(symbol="AAPL"), state, NOW)) == ("chat",)
    assert channels(decide(stages, alert(symbol="MSFT"), state, NOW)) == ("phone", "chat")


def test_why_a_route_did_not_take_an_alert() -> None:
    stage = route(
        ENABLED,
        TYPES,
        [to("pager", name="off"), to("chat", name="btc", symbol="BTC"), to("mail", name="all of it"), to(name="z")],
    )
    assert isinstance(stage, Routing)
    assert stage.explained(alert(symbol="ETH"), NOW) == [
        ("off", "pager is not enabled"), ("btc", "its symbol is ETH"), ("all of it", ""),
        ("z", "all of it took it before"),
    ]  # fmt: skip
    own = stage.explained(alert(channels=["chat"]), NOW)
    assert {why for _, why in own} == {"the alert names its channels itself"}


word = st.sampled_from([*ENABLED, *TYPES.values(), "all", "off"])


@given(
    routes=st.lists(
        st.builds(
            lambda to_, symbol, on: to(*to_, symbol=symbol, goes_on=on),
            st.lists(word, min_size=1),
            st.sampled_from(["", "A", "B"]),
            st.booleans(),
        ),
        max_size=5,
    ),
    symbol=st.sampled_from(["A", "B", ""]),
)
def test_routes_that_name_channels_lose_no_alert(routes: list[Route], symbol: str) -> None:
    assert set(channels(routed(*routes, symbol=symbol))) <= set(ENABLED)
    assert channels(routed(*routes, symbol=symbol))


def test_in_words() -> None:
    assert to("chat", "mail").words == "to chat, mail"
    assert to(goes_on=True).words == "nowhere; the next routes have a look too"
