"""Each rule by itself, each reason, and what follows a failure. Time is an argument."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import NOW, Remembered

from bt_alerts.alert import Alert, Source
from bt_alerts.errors import StoreError
from bt_alerts.kinds import KINDS, Setting, setting_of
from bt_alerts.outbox.base import AlertState
from bt_alerts.rules import outcome, pacing, pipeline
from bt_alerts.rules.action import one_message_an_action
from bt_alerts.rules.duplicate import duplicates
from bt_alerts.rules.events import events
from bt_alerts.rules.explain import title_of
from bt_alerts.rules.mute import mute_key, mutes
from bt_alerts.rules.origin import history, mode
from bt_alerts.rules.outcome import Attempt, RetrySettings, after, backoff
from bt_alerts.rules.pipeline import RuleSettings, build, decide
from bt_alerts.rules.route import route
from bt_alerts.rules.stage import Plan, Reason, RuleState, Verdict


def reason(result: Plan | Verdict) -> Reason | None:
    return result.reason if isinstance(result, Verdict) else None


# Stages ----------------------------------------------------------------------------------------------


def test_mode_record_records_everything(state: Remembered) -> None:
    assert mode("record")(alert(), Plan(), state, NOW) == Verdict(AlertState.RECORDED, Reason.MODE_RECORD)
    assert mode("auto")(alert(), Plan(), state, NOW) == mode("send")(alert(), Plan(), state, NOW) == Plan()


def test_what_was_made_on_an_old_bar_is_sent_under_mode_send_only(state: Remembered) -> None:
    old = alert(source=Source.HISTORY)
    assert reason(history("auto")(old, Plan(), state, NOW)) is Reason.HISTORY
    assert reason(history("send")(old, Plan(), state, NOW)) is None
    assert reason(history("auto")(alert(source=Source.LIVE), Plan(), state, NOW)) is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (Setting.ON, Plan()),
        (Setting.SILENT, Plan(silent=True)),
        (Setting.RECORD, Verdict(AlertState.RECORDED, Reason.EVENT_RECORD)),
        (Setting.OFF, Verdict(AlertState.RECORDED, Reason.EVENT_RECORD)),
    ],
)
def test_each_setting_of_an_event(state: Remembered, setting: Setting, expected: Plan | Verdict) -> None:
    assert events({"custom": setting})(alert(), Plan(), state, NOW) == expected


def test_an_event_nobody_set_has_its_default_and_an_unknown_one_is_on(state: Remembered) -> None:
    stage = events({})
    assert reason(stage(alert(kind="order.submitted"), Plan(), state, NOW)) is Reason.EVENT_RECORD
    assert stage(alert(kind="order.completed"), Plan(), state, NOW) == Plan()
    assert stage(alert(kind="my.own"), Plan(), state, NOW) == Plan()
    assert {setting_of(name, {}) for name in KINDS} <= set(Setting)


def test_an_event_that_was_told_is_a_duplicate_until_it_is_forgotten(state: Remembered) -> None:
    keyed = alert(dedupe_key="k")
    assert duplicates(keyed, Plan(), state, NOW) == Plan()
    again = duplicates(alert(dedupe_key="k"), Plan(), state, NOW + 5)
    assert again == Verdict(AlertState.SUPPRESSED, Reason.DUPLICATE)
    assert duplicates(alert(dedupe_key="other"), Plan(), state, NOW) == Plan()
    state.forget(NOW + 14 * 86_400)
    assert duplicates(alert(dedupe_key="k"), Plan(), state, NOW) == Plan()


def test_a_fill_is_never_a_duplicate(state: Remembered) -> None:
    for _ in range(3):
        assert duplicates(alert(), Plan(), state, NOW) == Plan()


def test_the_first_teller_of_an_action_is_told(state: Remembered) -> None:
    assert one_message_an_action(alert(action="fill-1"), Plan(), state, NOW) == Plan()
    second = one_message_an_action(alert(action="fill-1"), Plan(), state, NOW)
    assert second == Verdict(AlertState.RECORDED, Reason.TOLD_BY_ACTION)
    assert one_message_an_action(alert(action="fill-2"), Plan(), state, NOW) == Plan()
    assert one_message_an_action(alert(), Plan(), state, NOW) == Plan()


@pytest.mark.parametrize(
    ("selector", "quiet"),
    [
        ({"symbol": "AAPL"}, True),
        ({"symbol": "MSFT"}, False),
        ({"strategy": "S"}, True),
        ({"type": "order"}, True),
        ({"type": "trade"}, False),
        ({"symbol": "AAPL", "type": "order"}, True),
        ({"symbol": "AAPL", "type": "trade"}, False),
    ],
)
def test_a_mute_is_quiet_for_what_matches_everything_it_names(
    state: Remembered, selector: Mapping[str, str], quiet: bool
) -> None:
    state.mute(NOW + 60, **selector)
    told = alert(symbol="AAPL", strategy="S", type="order")
    assert (reason(mutes(told, Plan(), state, NOW)) is Reason.MUTED) is quiet
    assert mutes(told, Plan(), state, NOW + 60) == Plan()


def test_a_mute_of_a_channel_takes_that_channel_away(state: Remembered) -> None:
    state.mute(NOW + 60, channel="phone", symbol="AAPL")
    stages = [mutes, route(("phone", "chat"))]
    assert decide(stages, alert(symbol="AAPL"), state, NOW).channels == ("chat",)  # type: ignore[union-attr]
    assert decide(stages, alert(symbol="MSFT"), state, NOW).channels == ("phone", "chat")  # type: ignore[union-attr]
    only = decide(stages, alert(symbol="AAPL", channels=["phone"]), state, NOW)
    assert only == Verdict(AlertState.SUPPRESSED, Reason.MUTED)


def test_equal_mutes_are_one() -> None:
    assert mute_key({"type": "order", "symbol": "A"}) == mute_key({"symbol": "A", "type": "order", "strategy": ""})


def test_routing_takes_named_channels_or_all(state: Remembered) -> None:
    stage = route(("a", "b"))
    assert stage(alert(), Plan(), state, NOW) == Plan(channels=("a", "b"))
    assert stage(alert(channels=["b", "unknown"]), Plan(), state, NOW) == Plan(channels=("b",))
    nowhere = Verdict(AlertState.RECORDED, Reason.NO_CHANNEL)
    assert stage(alert(channels=["unknown"]), Plan(), state, NOW) == nowhere
    assert route(())(alert(), Plan(), state, NOW) == nowhere


# The pipeline ----------------------------------------------------------------------------------------


def test_what_passes_is_planned_with_its_time(state: Remembered) -> None:
    result = decide(build(RuleSettings(channels=("a",))), alert(), state, NOW, due=NOW + 60)
    assert result == Plan(channels=("a",), due=NOW + 60)


def test_a_rule_that_raises_is_passed_over_and_named(state: Remembered, caplog: pytest.LogCaptureFixture) -> None:
    def broken(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        raise ZeroDivisionError

    class Nameless:
        def __call__(self, *_: Any) -> Plan | Verdict:
            raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        result = decide([broken, Nameless(), route(("a",))], alert(), state, NOW)
    assert result == Plan(channels=("a",))
    assert "the rule broken failed; the alert" in caplog.text
    assert "goes on without it" in caplog.text


def test_a_fault_of_the_store_is_no_fault_of_a_rule(state: Remembered) -> None:
    def full(alert: Alert, plan: Plan, state: RuleState, now: float) -> Plan | Verdict:
        raise StoreError("full")

    with pytest.raises(StoreError):
        decide([full], alert(), state, NOW)


def test_the_pipeline_reads_in_this_order() -> None:
    assert [title_of(stage) for stage in build(RuleSettings())] == [
        "mode", "history", "events", "scheduled", "duplicates", "mutes", "feed disconnected", "one message an action",
        "route", "resolves", "batching", "escalation",
    ]  # fmt: skip
    assert pipeline.log.name == "bt_alerts.rules"


# What follows a failure ------------------------------------------------------------------------------


def failed(failure: str, **more: Any) -> Attempt:
    fields = {
        "retry_after": None, "answered": True, "number": 1, "answers": 1, "key": "k", "expires": NOW + 86_400,
        "repeat_unknown": True,
    }  # fmt: skip
    return Attempt(failure, **(fields | more))


@pytest.mark.parametrize("failure", ["permanent", "too-large", "auth"])
def test_what_will_never_work_is_given_up_at_once(failure: str) -> None:
    assert after(failed(failure), RetrySettings(), NOW).word == "dead"


@pytest.mark.parametrize("seconds", [0.25, 1.0, 37.0, 5_000.0])
def test_a_wait_that_was_told_is_kept_exactly_and_by_the_whole_target(seconds: float) -> None:
    told = after(failed("retry-after", retry_after=seconds, number=50, answers=50), RetrySettings(), NOW)
    assert (told.word, told.due, told.hold_target) == ("again", NOW + seconds, NOW + seconds)


@pytest.mark.parametrize("told", [None, 0.0])
def test_a_wait_of_nothing_is_a_wait_of_our_own(told: float | None) -> None:
    assert after(failed("retry-after", retry_after=told), RetrySettings(), NOW).due > NOW


def test_a_wait_beyond_the_time_to_live_ends_it_at_once_and_still_holds_the_target() -> None:
    told = after(failed("retry-after", retry_after=60.0, expires=NOW + 60), RetrySettings(), NOW)
    assert (told.word, told.hold_target) == ("expired", NOW + 60)


def test_max_retries_counts_answers_only() -> None:
    settings = RetrySettings(max_retries=3)
    assert [after(failed("retry", answers=n), settings, NOW).word for n in (1, 3, 4)] == ["again", "again", "dead"]
    away = failed("retry", answered=False, answers=9, number=99)
    assert after(away, settings, NOW).word == "again"
    assert after(failed("retry", answers=1), RetrySettings(max_retries=0), NOW).word == "dead"


def test_a_service_that_cannot_be_reached_is_tried_until_the_time_to_live_ends() -> None:
    settings, now, tries = RetrySettings(), NOW, 0
    while (step := after(failed("retry", answered=False, number=tries + 1), settings, now)).word == "again":
        now, tries = step.due, tries + 1
    assert step.word == "expired"
    assert NOW + 86_400 - outcome.LONGEST_WAIT <= now < NOW + 86_400
    assert 280 < tries < 600


def test_an_unknown_outcome_is_repeated_where_the_channel_says_so() -> None:
    assert after(failed("unknown-outcome", answered=False), RetrySettings(), NOW).word == "again"
    assert after(failed("unknown-outcome", repeat_unknown=False), RetrySettings(), NOW).word == "dead"


@given(number=st.integers(1, 10_000), delay=st.floats(0, 86_400), factor=st.floats(1, 100), key=st.text(max_size=20))
def test_backoff_is_bounded_and_repeats(number: int, delay: float, factor: float, key: str) -> None:
    settings = RetrySettings(retry_delay=delay, retry_backoff=factor)
    wait = backoff(number, settings, key)
    step = min(max(outcome.LONGEST_WAIT, delay), delay * factor ** min(number - 1, 60))
    assert step / 2 <= wait <= step
    assert wait == backoff(number, settings, key)


def test_backoff_grows_and_differs_between_deliveries() -> None:
    waits = [backoff(n, RetrySettings(), "k") for n in range(1, 8)]
    assert all(later > earlier for earlier, later in zip(waits, waits[2:], strict=False))
    assert len({backoff(1, RetrySettings(), f"k{i}") for i in range(50)}) > 40


def test_no_setting_asks_in_a_circle() -> None:
    settings = RetrySettings(retry_delay=0.0)
    assert after(failed("retry", answered=False, number=11), settings, NOW).due >= NOW + 1


# Pacing ----------------------------------------------------------------------------------------------


def test_a_bucket_lets_a_minutes_worth_through_and_then_one_every_interval() -> None:
    tokens, since, sent = None, NOW, []
    now = NOW
    while len(sent) < 25:
        bucket = pacing.take(tokens, since, 20, now)
        tokens, since = bucket.tokens, now
        if bucket.granted:
            sent.append(now)
        else:
            assert now < bucket.not_before <= now + 3.0001
            now = bucket.not_before
    assert sent[:20] == [NOW] * 20
    assert [s - NOW for s in sent[20:]] == pytest.approx([3, 6, 9, 12, 15])


@given(rate=st.integers(1, 600), gaps=st.lists(st.floats(-100, 100), max_size=60))
def test_a_bucket_never_holds_more_than_it_may(rate: int, gaps: list[float]) -> None:
    tokens, since, now = None, NOW, NOW
    for gap in gaps:
        now += gap
        bucket = pacing.take(tokens, since, rate, now)
        assert bucket.tokens is not None
        assert -1e-6 <= bucket.tokens <= rate
        tokens, since = bucket.tokens, now


@given(
    rate=st.integers(1, 600),
    gaps=st.lists(st.floats(0, 10), max_size=60),
    pace=st.floats(pacing.SLOWEST, 1),
    critical=st.booleans(),
)
def test_a_bucket_that_refuses_says_a_later_time_and_grants_at_it(
    rate: int, gaps: list[float], pace: float, critical: bool
) -> None:
    """Where it said "now", whoever waits with a clock that is told the time would wait for ever."""
    tokens, since, now = 0.0, NOW, NOW
    for gap in gaps:
        now += gap
        bucket = pacing.take(tokens, since, rate, now, pace=pace, critical=critical)
        if not bucket.granted:
            assert bucket.not_before > now
            now = bucket.not_before
            bucket = pacing.take(tokens, since, rate, now, pace=pace, critical=critical)
            assert bucket.granted
        assert bucket.tokens is not None
        tokens, since = bucket.tokens, now
        refused = pacing.take(tokens, since, rate, now, pace=pace, critical=critical)
        assert refused.granted or refused.not_before > now


@given(missing=st.floats(1e-9, 1e-6), rate=st.integers(1, 60))
def test_a_bucket_lacks_nothing_that_no_clock_could_wait_for(missing: float, rate: int) -> None:
    bucket = pacing.take(1.0 - missing, NOW, rate, NOW)
    assert bucket.granted or bucket.not_before > NOW


def test_no_rate_is_no_limit() -> None:
    assert pacing.take(None, NOW, 0, NOW) == pacing.Bucket(True, None, 0.0)


@pytest.mark.parametrize("told", [-5.0, 0.0, math.nan])
def test_a_wait_that_is_none_is_our_own_backoff(told: float) -> None:
    tried = Attempt("retry-after", told, True, 1, 1, "k", NOW + 1e5, True)
    assert outcome.after(tried, RetrySettings(), NOW).due >= NOW + 0.5


def test_less_than_one_message_a_minute_is_one_now_and_then() -> None:
    first = pacing.take(None, 0.0, 0.5, NOW)
    assert first.granted
    second = pacing.take(first.tokens, NOW, 0.5, NOW)
    assert (second.granted, second.not_before) == (False, NOW + 120)
    assert pacing.take(second.tokens, NOW, 0.5, NOW + 120).granted
