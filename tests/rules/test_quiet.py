"""Quiet hours and digests: what waits on which channel, until when, and in which message."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from alerts_kit import alert
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_kit import CHANNELS, hours_of, moments
from rules_kit import Remembered

from bt_alerts.alert import Attachment, Priority
from bt_alerts.hours import FAR, is_open, read_hours, read_moment
from bt_alerts.rules.quiet import DIGEST, EACH, RECORD, Digest, Quiet, QuietHours
from bt_alerts.rules.stage import Batch, Note, Plan, Reason, Verdict, suppressed
from bt_alerts.rules.when import When

PICTURE = Attachment("equity.png", "image/png", "0" * 64, 5)


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


NOON, NIGHT, MORNING = at("2027-01-15T12:00"), at("2027-01-15T23:00"), at("2027-01-16T07:00")  # of a Friday


def quiet(hours: str = "22:00-07:00", *channels: str, then: str = DIGEST, name: str = "night", **more: Any) -> Quiet:
    return Quiet(name=name, channels=frozenset(channels), hours=(read_hours(hours),), then=then, **more)


def planned(*rules: Quiet | Digest, now: float = NIGHT, plan: Plan | None = None, **fields: Any) -> Plan | Verdict:
    """What becomes of an alert for phone and chat, by digests and then by quiet hours."""
    decided: Plan | Verdict = plan or Plan(channels=("phone", "chat"))
    made, state = alert(**fields), Remembered()
    for rule in rules:
        if isinstance(rule, Digest) and isinstance(decided, Plan):
            decided = rule(made, decided, state, now)
    assert isinstance(decided, Plan)
    decided = QuietHours([rule for rule in rules if isinstance(rule, Quiet)])(made, decided, state, now)
    assert state.kept == {}, "nothing is held in a place of its own"
    return decided


def held(name: str, until: float) -> Batch:
    return Batch(f"quiet:{name}:{int(until)}" if name else "", until, reason=Reason.QUIET_HOURS)


def batches(decided: Plan | Verdict) -> dict[str, Batch]:
    assert isinstance(decided, Plan)
    return dict(decided.batches)


# Quiet hours -----------------------------------------------------------------------------------------


def test_what_comes_in_quiet_hours_waits_for_their_end_and_goes_in_one_message() -> None:
    decided = planned(quiet())
    assert batches(decided) == {"phone": held("night", MORNING), "chat": held("night", MORNING)}
    assert isinstance(decided, Plan)
    assert decided.trail[0] == Note(Reason.QUIET_HOURS, "night", "phone", MORNING)
    assert batches(planned(quiet(), now=NIGHT + 3600)) == batches(decided), "with what came before"


def test_at_any_other_time_and_at_their_very_end_nothing_waits() -> None:
    assert planned(quiet(), now=NOON) == planned(quiet(), now=MORNING) == Plan(channels=("phone", "chat"))
    assert batches(planned(quiet(), now=MORNING - 0.1)) != {}


def test_only_the_channels_that_they_name_are_quiet() -> None:
    assert batches(planned(quiet("22:00-07:00", "phone"))) == {"phone": held("night", MORNING)}


@pytest.mark.parametrize(
    ("priority", "through", "waits"),
    [
        ("critical", Priority.CRITICAL, False),
        ("high", Priority.CRITICAL, True),
        ("high", Priority.HIGH, False),
        ("critical", None, True),
    ],
)
def test_the_urgent_is_let_through(priority: str, through: Priority | None, waits: bool) -> None:
    assert bool(batches(planned(quiet(through=through), priority=priority))) is waits


def test_each_goes_by_itself_and_so_does_what_brings_a_file() -> None:
    assert batches(planned(quiet(then=EACH)))["phone"] == held("", MORNING)
    assert batches(planned(quiet(), attachments=[PICTURE]))["phone"] == held("", MORNING)
    assert batches(planned(quiet(), kind="report.daily"))["phone"] == held("", MORNING)


def test_record_leaves_it_in_the_history_on_the_channels_that_are_quiet() -> None:
    assert planned(quiet(then=RECORD)) == suppressed(Reason.QUIET_RECORD, "night")
    partly = planned(quiet("22:00-07:00", "phone", then=RECORD))
    assert partly == Plan(channels=("chat",))
    assert isinstance(partly, Plan)
    assert partly.trail == (Note(Reason.QUIET_RECORD, "night", "phone"),)


def test_a_channel_for_each_way_at_the_same_time() -> None:
    decided = planned(quiet("22:00-07:00", "phone", then=EACH, name="a"), quiet("22:00-08:00", "chat", name="b"))
    assert batches(decided) == {"phone": held("", MORNING), "chat": held("b", MORNING + 3600)}


def test_the_first_that_is_open_counts_and_what_it_lets_go_is_held_by_the_next() -> None:
    rules = quiet("22:00-07:00", name="a"), quiet("06:00-09:00", name="b"), quiet("09:00-10:00", name="c")
    assert batches(planned(*rules))["phone"] == held("c", at("2027-01-16T10:00"))
    assert batches(planned(*rules, now=at("2027-01-16T06:30")))["phone"] == held("c", at("2027-01-16T10:00"))


def test_what_waits_is_not_sent_into_hours_that_record_but_after_them() -> None:
    night, weekend = quiet("22:00-07:00", name="night"), quiet("00:00-24:00 sat sun", then=RECORD, name="weekend")
    monday = at("2027-01-18T07:00")
    assert batches(planned(night, weekend))["phone"] == held("night", monday), "it came on Friday evening"
    assert planned(night, weekend, now=at("2027-01-16T12:00")) == suppressed(Reason.QUIET_RECORD, "weekend")
    assert planned(weekend, night, now=at("2027-01-16T23:00")) == suppressed(Reason.QUIET_RECORD, "weekend")


def test_a_channel_that_is_always_quiet_does_not_wait_in_a_circle() -> None:
    decided = planned(quiet("08:00-20:00", name="day"), quiet("20:00-08:00", name="evening"))
    assert NIGHT + FAR <= batches(decided)["phone"].due <= NIGHT + FAR + 86_400
    assert batches(planned(quiet("always")))["phone"].due == NIGHT + FAR


def test_what_is_for_a_time_is_asked_about_that_time() -> None:
    later = Plan(channels=("phone",), due=NIGHT)
    assert batches(planned(quiet(), now=NOON, plan=later))["phone"] == held("night", MORNING)
    after = Plan(channels=("phone",), due=MORNING + 60)
    assert planned(quiet(), plan=after) == after, "by then they are over"


def test_what_must_not_wait_does_not() -> None:
    plan = Plan(channels=("phone", "chat"), at_once=frozenset({"phone"}), silent=True)
    decided = planned(quiet(), plan=plan)
    assert batches(decided) == {"chat": held("night", MORNING)}
    assert isinstance(decided, Plan)
    assert (decided.channels, decided.silent) == (("phone", "chat"), True)
    kept = planned(quiet(then=RECORD), plan=plan)
    assert isinstance(kept, Plan)
    assert kept.channels == ("phone",)


def test_no_channel_at_all_is_no_matter_of_quiet_hours() -> None:
    nobody = Plan(channels=())
    assert planned(quiet(), plan=nobody) == planned(quiet(then=RECORD), plan=nobody) == nobody


def test_what_they_are_not_about_does_not_wait() -> None:
    assert batches(planned(quiet(when=When(kinds=("signal",))), kind="error")) == {}
    assert batches(planned(quiet(when=When(kinds=("signal",))), kind="signal")) != {}


def test_why_a_rule_did_not_hold_an_alert() -> None:
    stage = QuietHours([quiet(), quiet("12:00-13:00", name="lunch")])
    assert stage.explained(alert(), NIGHT) == [("night", ""), ("lunch", "it is outside its hours")]
    assert stage.explained(alert(priority="critical"), NIGHT)[0][1].endswith("passes this rule by")


@settings(max_examples=60)
@given(
    rules=st.lists(
        st.builds(
            Quiet,
            name=st.sampled_from("ab"),
            channels=st.sampled_from([frozenset[str](), frozenset({"phone"})]),
            hours=st.lists(hours_of, min_size=1, max_size=2).map(tuple),
            then=st.sampled_from([DIGEST, EACH, RECORD]),
        ),
        max_size=4,
    ),
    now=st.integers(0, 14 * 96).map(lambda quarter: at("2027-03-21") + quarter * 900.0),
    due=st.sampled_from([0.0, at("2027-03-28T00:30"), at("2027-04-02T12:00")]),
)
def test_nothing_goes_to_a_channel_while_it_is_quiet_and_nothing_waits_that_need_not(
    rules: list[Quiet], now: float, due: float
) -> None:
    plan = Plan(channels=CHANNELS, due=due)
    decided = planned(*rules, now=now, plan=plan)
    for channel in CHANNELS:
        about = [rule for rule in rules if not rule.channels or channel in rule.channels]
        first = max(now, due)
        open_now = [rule for rule in about if is_open(rule.hours, first)]
        if isinstance(decided, Verdict) or channel not in decided.channels:
            assert open_now[0].then == RECORD
            continue
        goes = decided.batches[channel].due if channel in decided.batches else first
        assert (goes > first) is bool(open_now)
        if goes < first + FAR:
            assert not any(is_open(rule.hours, goes) for rule in about)
            assert all(any(is_open(rule.hours, when) for rule in about) for when in halves(first, goes))


def halves(first: float, last: float) -> list[float]:
    """Every half hour between two times, and a moment before the last."""
    steps = itertools.takewhile(lambda when: when < last, (first + step * 1800 for step in range(2000)))
    return [*steps, last - 0.1] if last > first else []


# Digests ---------------------------------------------------------------------------------------------


def digest(text: str = "18:00", *channels: str, name: str = "evening", **more: Any) -> Digest:
    more = {"through": Priority.HIGH, **more}
    return Digest(name=name, channels=frozenset(channels), at=(read_moment(text),), **more)


def gathered(name: str, due: float) -> Batch:
    return Batch(f"digest:{name}:{int(due)}", due, reason=Reason.DIGEST)


EVENING = at("2027-01-15T18:00")


def test_what_comes_goes_in_one_message_at_the_next_time() -> None:
    decided = planned(digest(), now=NOON)
    assert batches(decided) == {"phone": gathered("evening", EVENING), "chat": gathered("evening", EVENING)}
    assert batches(planned(digest(), now=EVENING - 1)) == batches(decided)
    assert batches(planned(digest(), now=EVENING))["phone"].due == EVENING + 86_400, "that one may be on its way"


def test_of_several_times_the_next_one_counts() -> None:
    rule = Digest(name="d", at=(read_moment("18:00"), read_moment("13:00 sat"), read_moment("12:30 fri")))
    assert [batches(planned(rule, now=now))["chat"].due for now in (NOON, NOON + 1800, EVENING)] == [
        NOON + 1800, EVENING, at("2027-01-16T13:00"),
    ]  # fmt: skip


@pytest.mark.parametrize("urgent", ["critical", "high"])
def test_the_urgent_does_not_wait_for_a_digest(urgent: str) -> None:
    assert batches(planned(digest(), now=NOON, priority=urgent)) == {}
    assert batches(planned(digest(through=None), now=NOON, priority=urgent)) != {}


def test_what_a_list_cannot_bring_along_goes_by_itself() -> None:
    assert batches(planned(digest(), now=NOON, attachments=[PICTURE])) == {}
    assert batches(planned(digest(), now=NOON, kind="report.weekly")) == {}


def test_the_first_digest_takes_it_on_each_channel() -> None:
    decided = planned(digest("18:00", "phone", name="a"), digest("20:00", name="b"), now=NOON)
    assert batches(decided) == {"phone": gathered("a", EVENING), "chat": gathered("b", EVENING + 7200)}


def test_what_is_for_a_time_goes_with_the_digest_after_it() -> None:
    plan = Plan(channels=("phone",), due=EVENING + 60)
    assert batches(planned(digest(), now=NOON, plan=plan))["phone"].due == EVENING + 86_400


def test_what_must_not_wait_is_in_no_digest() -> None:
    plan = Plan(channels=("phone", "chat"), at_once=frozenset({"phone"}))
    assert set(batches(planned(digest(), now=NOON, plan=plan))) == {"chat"}


def test_a_digest_whose_time_is_in_quiet_hours_waits_for_their_end() -> None:
    decided = planned(digest("23:30"), quiet("22:00-07:00", "phone"), now=NOON)
    assert batches(decided) == {"phone": held("night", MORNING), "chat": gathered("evening", at("2027-01-15T23:30"))}


def test_what_comes_in_quiet_hours_for_a_digest_after_them_waits_for_that_only() -> None:
    assert batches(planned(digest("08:00"), quiet()))["phone"] == gathered("evening", MORNING + 3600)


def test_a_digest_whose_time_is_in_hours_that_record_stays_in_the_history() -> None:
    assert planned(digest("23:30"), quiet(then=RECORD), now=NOON) == suppressed(Reason.QUIET_RECORD, "night")


@given(moment=moments, now=st.floats(at("2027-03-20"), at("2027-04-05")), due=st.sampled_from([0.0, at("2027-04-01")]))
def test_a_digest_is_later_than_what_it_gathers_and_within_a_day_or_so(moment: Any, now: float, due: float) -> None:
    found = batches(planned(Digest(name="d", at=(moment,)), now=now, plan=Plan(channels=("phone",), due=due)))
    assert 0 < found["phone"].due - max(now, due) <= 25 * 3600


def test_in_words() -> None:
    assert quiet("22:00-07:00 Europe/Berlin", "phone", then=EACH).words == (
        "phone: quiet 22:00-07:00 Europe/Berlin: sent one by one at their end"
    )
    assert digest("18:00 mon-fri").words == "one message at 18:00 UTC mon-fri"
