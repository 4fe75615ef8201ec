"""What services do in a simulation: answers, outages, limits and quotas, prices, latencies, spending caps."""

from __future__ import annotations

import calendar
import collections
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock
from fidelity_kit import LoopbackService, fates, live, simulated_fates
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bt_alerts import Alert
from bt_alerts.alert import Source
from bt_alerts.dispatchers.base import Target
from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.settings import load
from bt_alerts.simulate import Outage, Simulation, simulate
from bt_alerts.simulate.services import DAY, MONTH, OK, SERVICES, TOO_MANY, Limit, Service, World

START = dt.datetime(2026, 6, 9, 12, tzinfo=dt.UTC).timestamp()
WEBHOOK: dict[str, Any] = {"type": "webhook", "urls": "http://127.0.0.1:9/hook", "rate_limit": 0}
EMAIL: dict[str, Any] = {
    "type": "email",
    "host": "mail.example.com",
    "from_address": "bot@example.com",
    "to": "a@example.com",
    "rate_limit": 0,
}
PUSHOVER: dict[str, Any] = {"type": "pushover", "app_token": "a" * 30, "user_key": "u" * 30, "rate_limit": 0}
SMS: dict[str, Any] = {
    "type": "sms",
    "account_sid": f"AC{'0' * 32}",
    "auth_token": "b" * 32,
    "from_number": "+15005550006",
    "to": "+447700900123",
    "rate_limit": 0,
    "status_poll": False,
}


def unix(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def alert(time: float = START, text: str = "text", **more: Any) -> Alert:
    fields: dict[str, Any] = {"title": "title", "symbol": "AAPL", "strategy": "Trend", "run": "run", **more}
    return Alert.make(text, time=time, **fields)


def play(
    alerts: Sequence[Alert], channels: Mapping[str, Any], *, delivery: Mapping[str, Any] | None = None, **how: Any
) -> Simulation:
    config = {"store": "memory", "alerts": dict(channels), "delivery": dict(delivery or {})}
    return simulate(alerts, load(config), **how)


# Answers and outages -------------------------------------------------------------------------------------


def test_every_type_has_its_service():
    assert set(SERVICES) == set(BUILT_IN)


@pytest.mark.parametrize("channel", [WEBHOOK, EMAIL], ids=["http", "smtp"])
@pytest.mark.parametrize(
    ("status", "wait", "state", "outcome"),
    [
        (0, 0, "delivered", "sent"),
        (503, 0, "delivered", "sent"),
        (429, 90, "delivered", "sent"),
        (503, 90, "delivered", "sent"),
        (400, 0, "dead", "permanent"),
        (401, 0, "held", "auth"),
        (403, 0, "held", "auth"),
        (410, 0, "held", "permanent"),
    ],
)
def test_an_outage_is_what_its_status_means(
    channel: dict[str, Any], status: int, wait: float, state: str, outcome: str
) -> None:
    outage = Outage("it", START - 5, START + 20, status, wait)
    retry = {"max_retries": 8, "retry_delay": 5, "retry_backoff": 1}
    told = alert()
    simulation = play([told], {"it": channel}, outages=[outage], latency={"it": 0}, delivery=retry)
    (found,) = [row for row in simulation.deliveries if row.alert == told.id]
    assert (found.state, found.outcome) == (state, outcome)
    if state != "delivered":
        assert found.message is None
        assert ("channel.disabled" in {row.alert.kind for row in simulation.alerts}) is (state == "held")
    elif wait:
        assert (found.attempts, found.settled) == (2, START + wait)
    else:
        assert found.attempts > 1
        assert found.settled is not None
        assert found.settled >= START + 20


def test_an_outage_is_over_when_it_ends():
    times = [START - 1, START, START + 59.9, START + 60]
    told = play(
        [alert(at, dedupe_key=str(at)) for at in times],
        {"it": WEBHOOK},
        outages=[Outage("it", START, START + 60, 400)],
        latency={"it": 0},
    )
    assert [row.state for row in told.deliveries] == ["delivered", "dead", "dead", "delivered"]


@pytest.mark.parametrize("named", ["b", "webhook"])
def test_an_outage_is_of_a_channel_or_of_all_of_a_type(named: str) -> None:
    channels = {"a": WEBHOOK, "b": {**WEBHOOK, "urls": "http://127.0.0.1:9/b"}, "c": EMAIL}
    told = play([alert()], channels, outages=[Outage(named, START - 1, START + 1, 400)])
    lost = {row.channel for row in told.deliveries if row.state == "dead"}
    assert lost == ({"b"} if named == "b" else {"a", "b"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Outage("it", START, START - 1), "ends before it begins"),
        (lambda: Outage("it", START, START), "ends before it begins"),
        (lambda: Outage("it", "2026-06-09", "yesterday"), "'yesterday' is no time"),
        (lambda: Outage("it", None, START), "None is no time: write"),  # type: ignore[arg-type]
        (lambda: Outage("it", float("nan"), START), "nan is no time"),
        (lambda: Outage("it", START, START + 1, 200), "write 0 for no answer, or one from 300 to 599"),
        (lambda: Outage("it", START, START + 1, 429, -1), "write seconds, or 0"),
        (lambda: play([], {"it": WEBHOOK}, outages=[Outage("its", 1, 2)]), "no channel 'its' in these settings: there"),
        (lambda: play([], {"it": WEBHOOK}, latency={"its": 1}), "latency: there is no channel 'its'"),
        (lambda: play([], {"it": WEBHOOK}, latency={"it": -1}), "latency of it: write a number from 0 to 86,400"),
        (lambda: play([], {"it": WEBHOOK}, latency={"it": float("inf")}), "write a number from 0 to 86,400, not inf"),
        (lambda: play([], {"it": WEBHOOK}, latency={"it": "soon"}), "write a number from 0 to 86,400, not 'soon'"),
        (lambda: play([], {"it": WEBHOOK}, prices={"it": float("nan")}), "prices of it: write a number"),
        (lambda: play([], {}, outages=[Outage("it", 1, 2)]), "there is phone, console"),
        (lambda: play([alert()], {}, acknowledges=lambda a: -1.0), "acknowledges: write seconds from 0 to"),
        (lambda: play([alert()], {}, acknowledges=lambda a: float("nan")), "acknowledges: write seconds from 0 to"),
        (lambda: play([alert()], {}, close="noon"), "`noon` has no time in front"),
    ],
)
def test_what_can_be_none_is_refused_in_a_sentence(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as failed:
        make()
    assert words in str(failed.value)


def test_times_of_a_built_in_type_that_is_not_there_may_be_told():
    """One table of one's own latencies and prices, for all settings."""
    assert play([alert()], {"it": WEBHOOK}, latency={"sms": 3}, prices={"sms": 0.1}).messages


# Limits --------------------------------------------------------------------------------------------------


class SmallWorld(World):
    """A world in which a service takes very little."""

    def __init__(self, *limits: Limit) -> None:
        super().__init__({"it": "webhook"})
        self._small = Service(limits=limits)

    def service(self, type_: str) -> Service:
        return self._small


def begins(per: float | str, now: float) -> float:
    """When what counts began, by the documentation of limits."""
    if not isinstance(per, str):
        return now - per
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day.replace(day=1) if per == MONTH else day).timestamp() - 1e-6


def ends(per: float | str, now: float, counted: Sequence[float]) -> float:
    if not isinstance(per, str):
        return min(counted) + per
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = calendar.monthrange(day.year, day.month)[1] - day.day + 1 if per == MONTH else 1
    return (day + dt.timedelta(days=days)).timestamp()


TARGETS = [Target("-100", "group"), Target("77", "person")]
LIMITS = st.builds(
    Limit,
    st.integers(1, 4),
    st.sampled_from([1.0, 60.0, 7_200.0, DAY, MONTH]),
    st.sampled_from(["so many", "so few"]),
    each=st.booleans(),
    only=st.sampled_from(["", "-"]),
)


@hypothesis_settings(max_examples=150)
@given(
    st.lists(LIMITS, min_size=1, max_size=3, unique=True),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.4, 1.0, 30.0, 3_600.0, 86_400.0, 9 * 86_400.0]), st.integers(0, 1)),
        max_size=40,
    ),
    st.sampled_from(["2026-06-29T23:59:58", "2027-02-27T12:00", "2028-02-28T23:00", "2026-12-31T23:59"]),
)
def test_limits_are_those_of_a_slow_count(limits: list[Limit], steps: list[tuple[float, int]], began: str) -> None:
    """Against every message taken so far, counted anew each time; bites as well."""
    world = SmallWorld(*limits)
    now = unix(began + "+00:00")
    taken: list[tuple[float, Target]] = []
    refused: list[tuple[float, Limit, str]] = []
    for number, (step, which) in enumerate(steps):
        now += step
        world.now, target = now, TARGETS[which]
        expected: tuple[int, float] = (OK, 0.0)
        for limit in limits:
            if not target.address.startswith(limit.only):
                continue
            counted = [
                at
                for at, to in taken
                if at > begins(limit.per, now)
                and to.address.startswith(limit.only)
                and (to == target or not limit.each)
            ]
            if len(counted) >= limit.most:
                expected = TOO_MANY, ends(limit.per, now, counted) - now
                refused.append((now, limit, f"key {number}"))
                break
        status, wait = world.status("it", "webhook", target, f"key {number}")
        assert (status, round(wait, 3)) == (expected[0], round(expected[1], 3))
        if status == OK:
            taken.append((now, target))
    by_limit = collections.defaultdict(list)
    for at, limit, _ in refused:
        by_limit[limit].append(at)
    assert len(world.bites) == len(by_limit)
    for bite, (limit, times) in zip(world.bites, by_limit.items(), strict=True):
        days = collections.Counter(_named(limit, at) for at in times)
        assert (bite.limit, bite.first, bite.over, bite.times) == (limit.words, times[0], len(times), len(days))
        assert bite.worst.endswith(f": {max(days.values())} more than {limit.most}")


def _named(limit: Limit, at: float) -> str:
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    if limit.per == MONTH:
        return f"{when:%Y-%m}"
    return f"{when:%Y-%m-%d}" if limit.per == DAY or float(limit.per) > 3_600 else f"{when:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2028-02-29T12:00", "2028-03-01T00:00"),
        ("2027-02-15T12:00", "2027-03-01T00:00"),
        ("2026-12-31T23:59", "2027-01-01T00:00"),
        ("2026-06-01T00:00", "2026-07-01T00:00"),
    ],
)
def test_a_month_ends_when_it_ends(now: str, until: str) -> None:
    world = SmallWorld(Limit(1, MONTH, "one a month"))
    world.now = unix(now + "+00:00")
    assert world.status("it", "webhook", TARGETS[0], "a") == (OK, 0.0)
    assert world.status("it", "webhook", TARGETS[0], "b") == (TOO_MANY, unix(until + "+00:00") - world.now)
    world.now = unix(until + "+00:00")
    assert world.status("it", "webhook", TARGETS[0], "b") == (OK, 0.0)


def test_what_is_asked_to_come_later_comes_then_and_is_taken():
    """A wait with many digits must not be rounded to a moment at which it is refused again."""
    alerts = [alert(START + n * 0.14998, text=f"text {n}", dedupe_key=str(n)) for n in range(23)]
    chat = {"type": "telegram", "bot_token": "1:" + "A" * 35, "chat_ids": "-100200", "rate_limit": 0}
    told = play(alerts, {"chat": chat}, latency={"chat": 0})
    assert {row.state for row in told.deliveries} == {"delivered"}
    assert max(row.attempts for row in told.deliveries) == 2
    assert [message.time for message in told.messages[:20]] == [each.time.timestamp() for each in alerts[:20]]
    (bite,) = told.bites
    assert (bite.channel, bite.limit) == ("chat", "20 messages a minute to a group (Telegram)")
    assert bite.over == 3  # of which one was refused: the others were not sent while the service asked to wait
    assert bite.first == alerts[20].time.timestamp()
    assert play(alerts, {"chat": chat}, limits=False).bites == ()


def test_servers_of_ones_own_have_no_limits_of_others():
    alerts = [alert(START + n, text=f"{n}", dedupe_key=str(n)) for n in range(255)]
    for server, bites in (("https://ntfy.example.com", 0), ("https://ntfy.sh", 1)):
        ntfy = {"type": "ntfy", "topics": "mine", "api_url": server, "rate_limit": 0}
        assert len(play(alerts, {"it": ntfy}).bites) == bites


def test_the_month_of_pushover_is_used_up():
    """10,100 messages in June and the first of July: the quota bites, and begins anew with the month."""
    june = [alert(unix("2026-06-02T00:00+00:00") + 4_000 * n, text=f"{n}", dedupe_key=f"june {n}") for n in range(505)]
    july = alert(unix("2026-07-01T00:00:01+00:00"), dedupe_key="july")
    users = [f"{n:02}".rjust(30, "u") for n in range(20)]
    told = play([*june, july], {"phone": {**PUSHOVER, "user_key": users}})
    july_begins = unix("2026-07-01T00:00+00:00")
    in_june = [message for message in told.messages if message.time < july_begins]
    assert len(in_june) == 10_000
    (bite,) = told.bites
    assert (bite.channel, bite.limit, bite.times) == ("phone", "10,000 messages a month (Pushover)", 1)
    assert bite.first == june[500].time.timestamp()
    ids, late = {each.id for each in june}, {each.id for each in june[500:]}
    past = [row for row in told.deliveries if row.alert in late]
    # And what is told of those that were lost, on the same channel, because there is no other.
    others = [row for row in told.deliveries if row.alert not in ids and row.created < july_begins]
    past += [row for row in others if row.attempts or not row.reason]  # refused, or never tried because of that
    assert (len([row for row in past if row.alert in late]), bite.over) == (100, len(past))
    assert bite.worst == f"2026-06: {len(past)} more than 10,000"
    assert sum(message.alerts == (july.id,) for message in told.messages) == 20


# Latencies, addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [None, {"it": 7.0}, {"email": 7.0}])
def test_latencies_are_usual_ones_a_little_more_or_less_and_always_the_same(latency: Any) -> None:
    alerts = [alert(START + 600 * n, text=f"{n}", dedupe_key=str(n), id=f"alert-{n}") for n in range(60)]
    told = play(alerts, {"it": EMAIL}, latency=latency)
    usual = 7.0 if latency else SERVICES["email"].latency
    took = [m.time - a.time.timestamp() for m, a in zip(told.messages, alerts, strict=True)]
    assert all(0.7 * usual <= each <= 1.3 * usual for each in took)
    assert max(took) - min(took) > 0.3 * usual
    assert play(alerts, {"it": EMAIL}, latency=latency) == told


def test_each_address_of_a_channel_gets_its_own():
    told = play([alert()], {"phone": {**PUSHOVER, "user_key": ["u" * 30, "v" * 30]}, "mail": EMAIL})
    assert sorted((m.channel, m.target) for m in told.messages) == [
        ("mail", "a@example.com"),
        ("phone", "user …uuuu"),
        ("phone", "user …vvvv"),
    ]


def test_a_call_that_is_not_worth_one_is_on_nobodys_phone():
    voice = {**{k: v for k, v in SMS.items() if k != "status_poll"}, "type": "voice"}
    told = play([alert(priority="medium"), alert(priority="critical")], {"it": voice}, latency={"it": 0})
    assert [message.priority for message in told.messages] == ["critical"]
    assert sorted(row.message is None for row in told.deliveries) == [False, True]
    assert [each.priority for each in told.told] == ["critical"]


# Text messages: segments, prices, caps -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "asked", "price"),
    [
        ({}, None, SERVICES["sms"].price),
        ({"price_per_segment": 0.05}, None, 0.05),
        ({"price_per_segment": 0.05}, {"it": 0.5}, 0.5),
        ({"price_per_segment": 0.05}, {"sms": 0.25}, 0.25),
        ({"price_per_segment": 0.05}, {"sms": 0.25, "it": 0.0}, 0.0),
    ],
)
@pytest.mark.parametrize("provider", ["twilio", "vonage", "aws_sns"])
def test_a_text_message_is_paid_by_the_segment(provider: str, own: Any, asked: Any, price: float) -> None:
    channel = {**SMS, **own, "provider": provider, "max_segments": 3, "aws_region": "eu-central-1"}
    channel |= {"api_key": "abcd1234", "api_secret": "s" * 16}
    texts = ["short", "x" * 200, "y" * 1_000]
    alerts = [alert(START + n, text=text, dedupe_key=text) for n, text in enumerate(texts)]
    told = play(alerts, {"it": channel}, prices=asked)
    assert [message.units for message in told.messages] == [1, 2, 3]
    assert [message.cost for message in told.messages] == pytest.approx([price, 2 * price, 3 * price])


class Twilio(LoopbackService):
    """Answers as Twilio does."""

    def answer(self, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, headers, said = super().answer(kind, body)
        return status, headers, b'{"sid": "SM%s"}' % (b"0" * 32) if status == OK else said


@pytest.mark.parametrize("cap", [{"daily_segments": 5}, {"daily_cost": 0.26, "price_per_segment": 0.05}])
def test_the_cap_of_a_channel_holds_as_it_does_live(cap: dict[str, Any], tmp_path: Path) -> None:
    """Six messages of two segments at noon, then one that is critical: some go, one tells of the cap, and the rest
    comes as a digest in the morning."""
    alerts = [
        alert(START + 60 * n, text=f"{n} " + "x" * 180, priority="critical" if n == 6 else "medium", dedupe_key=str(n))
        for n in range(7)
    ]
    clock = Clock(START - 60)
    service = Twilio(clock, [])
    try:
        channel = {**SMS, **cap, "max_segments": 2, "api_url": service.url}
        tried = load({"store": "memory", "mode": "send", "alerts": {"it": channel}})
        told = simulate(alerts, tried, latency={"it": 0})
        life = live(tmp_path, tried, clock, {"it": service}, [each.replace(source=Source.LIVE) for each in alerts])
        try:
            assert simulated_fates(told) == fates(life)
        finally:
            life.close()
    finally:
        service.close()
    assert [round(message.time) for message in told.messages] == [round(at) for at, _ in service.messages]
    today = [m for m in told.messages if m.time < unix("2026-06-10T00:00+00:00") and m.priority != "critical"]
    assert sum(m.units for m in today) <= 5 + 1  # and one that tells of it
    digest = told.messages[-1]
    assert digest.time == unix("2026-06-10T00:00+00:00")
    assert len(digest.alerts) > 1
