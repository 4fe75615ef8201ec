"""What every outbox does in trouble, be it a service or a clock: breaker, hand-over, probe, leases, batches."""

from __future__ import annotations

import dataclasses
import math

import pytest
from alerts_kit import alert
from outbox_kit import SENT, T0, again, claim, plan, settle

from bt_alerts.alert import Priority
from bt_alerts.outbox.base import GRACE, AlertState, Done, Outbox, Process
from bt_alerts.outbox.sql import SqlOutbox
from bt_alerts.rules.breaker import OTHER_PROBE, Breaker, BreakerState

HOUR = 3600.0


def trip(outbox: Outbox, until: float, trips: int = 1) -> None:
    """The most urgent delivery fails, and the breaker opens."""
    failed = again(T0 + 1, breaker=Breaker(5, trips, until))
    settle(outbox, claim(outbox), failed)


def test_nothing_is_claimed_while_the_breaker_is_open_and_the_state_is_kept(outbox: Outbox) -> None:
    plan(outbox, "a")
    trip(outbox, T0 + 30)
    assert claim(outbox, now=T0 + 29) is None
    assert outbox.next_due("a", T0 + 2) == T0 + 30
    probe = claim(outbox, now=T0 + 30)
    assert probe is not None
    assert probe.breaker.state(T0 + 30) is BreakerState.HALF_OPEN
    assert claim(outbox, now=T0 + 31, owner="you") is None, "one probe at a time"
    settle(outbox, probe, again(T0 + 31, breaker=Breaker()), now=T0 + 31)
    closed = claim(outbox, now=T0 + 31)
    assert closed is not None
    assert closed.breaker == Breaker()


def test_what_is_urgent_is_claimed_to_be_handed_over_while_the_breaker_is_open(outbox: Outbox) -> None:
    plan(outbox, "a", priority=Priority.HIGH)
    plan(outbox, "a", priority=Priority.LOW)
    trip(outbox, T0 + 30)
    assert claim(outbox, now=T0 + 0.5) is None
    urgent = outbox.claim("a", "me", T0 + 0.5, 30.0, 0.0, hand_over=Priority.HIGH)
    assert urgent is not None
    assert (urgent.alert.priority, urgent.held_until) == (Priority.HIGH, T0 + 30)


def test_now_and_then_the_probe_is_what_was_tried_least(outbox: Outbox) -> None:
    first = plan(outbox, "a", priority=Priority.HIGH)
    other = plan(outbox, "a", priority=Priority.LOW)
    trip(outbox, T0 + 30, OTHER_PROBE)
    probe = claim(outbox, now=T0 + 30)
    assert probe is not None
    assert probe.alert.id == other.id
    settle(outbox, probe, SENT, now=T0 + 30)
    assert first.id != other.id


def test_a_clock_that_went_back_holds_nothing_up(outbox: Outbox) -> None:
    """A lease, a retry's wait, a hold and an open breaker, all from the time before it was set back."""
    plan(outbox, "a/retried", "a/leased", "a/held", "a/open", due=0)
    for what in (again(T0 + 10), None, again(T0 + 10, hold_channel=None), again(T0, breaker=Breaker(5, 1, T0 + 30))):
        claimed = claim(outbox, now=T0)
        if what is not None:
            settle(outbox, claimed, what, now=T0)
    assert claim(outbox, now=T0) is None
    earlier = T0 - HOUR
    found = [claim(outbox, now=earlier + i, owner="you") for i in range(5)]
    assert sum(each is not None for each in found) == 4


def test_a_hold_from_before_a_clock_went_back_does_not_come_to_life_again(outbox: Outbox) -> None:
    plan(outbox, "a", due=0)
    settle(outbox, claim(outbox, now=T0), again(T0 + 1800), now=T0)
    earlier = T0 - HOUR
    settle(outbox, claim(outbox, now=earlier), again(earlier + 1), now=earlier)
    assert claim(outbox, now=earlier + 1) is not None


def test_a_lease_that_ran_out_settles_nothing_though_the_same_process_has_the_next(outbox: Outbox) -> None:
    plan(outbox, "a")
    first, second = claim(outbox, now=T0), claim(outbox, now=T0 + 60)
    assert not settle(outbox, first, again(T0 + 61), now=T0 + 61)
    assert claim(outbox, now=T0 + 62) is None, "the second is still under way"
    assert settle(outbox, second, now=T0 + 63)


def test_clocks_that_differ_a_little_are_not_taken_for_one_that_went_back(outbox: Outbox) -> None:
    plan(outbox, "a/x", "a/y", due=0)
    claim(outbox, now=T0)
    settle(outbox, claim(outbox, now=T0), again(T0 + 10), now=T0)
    assert claim(outbox, now=T0 - 30, owner="you") is None


def test_one_worker_leads_until_its_lease_ends_or_it_gives_it_back(outbox: Outbox) -> None:
    assert outbox.lead("one", T0, 30)
    assert outbox.lead("one", T0 + 20, 30)
    assert not outbox.lead("two", T0 + 49, 30)
    assert outbox.lead("two", T0 + 50, 30)
    outbox.release("two")
    assert outbox.lead("one", T0 + 51, 30)
    assert outbox.lead("two", T0 - HOUR, 30), "a clock that went back does not leave everyone without a planner"


def test_processes_say_that_they_live_and_that_they_end(outbox: Outbox) -> None:
    outbox.check_in(Process("a", "strategy", {"pid": 1}, T0, T0))
    outbox.check_in(Process("b", "worker", {"pid": 2}, T0 + 1, T0 + 1))
    outbox.check_in(Process("a", "strategy", {"pid": 1, "strategies": ["S"]}, T0, T0 + 60, ended=T0 + 60))
    found = outbox.processes()
    assert [(p.owner, p.role, p.seen, p.ended) for p in found] == [
        ("b", "worker", T0 + 1, None), ("a", "strategy", T0 + 60, T0 + 60),
    ]  # fmt: skip
    assert found[1].about == {"pid": 1, "strategies": ["S"]}
    outbox.check_in(Process("c", "worker", {}, T0 + 31 * 86_400, T0 + 31 * 86_400))
    assert [p.owner for p in outbox.processes()] == ["c"]


def test_what_an_attempt_did_already_comes_back_with_the_next(outbox: Outbox) -> None:
    plan(outbox, "a")
    settle(outbox, claim(outbox), again(T0 + 1, progress={"first": "m1", "left": ["page 2"]}))
    settle(outbox, claim(outbox, now=T0 + 1), again(T0 + 2), now=T0 + 1)
    claimed = claim(outbox, now=T0 + 2)
    assert claimed is not None
    assert claimed.progress == {"first": "m1", "left": ["page 2"]}


def test_alerts_wait_for_a_planner_in_the_order_in_which_they_came(outbox: Outbox) -> None:
    made = [alert(f"{i}") for i in range(3)]
    with outbox.transaction() as tx:
        for i, each in enumerate(made):
            tx.add_alert(each, AlertState.WAITING, due=T0 + i)
    assert outbox.ledger().waiting == 3
    with outbox.transaction() as tx:
        found = tx.waiting(2)
        assert [(each.id, due) for _, each, due in found] == [(made[0].id, T0), (made[1].id, T0 + 1)]
        for seq, _, _ in found:
            tx.decide(seq, AlertState.RECORDED, "history")
    with outbox.transaction() as tx:
        assert [each.id for _, each, _ in tx.waiting(10)] == [made[2].id]


@pytest.mark.parametrize("told", [math.inf, math.nan, 1e13, -1.0])
@pytest.mark.parametrize("what", ["hold_channel", "hold_target"])
def test_no_service_holds_a_channel_for_ever(outbox: Outbox, told: float, what: str) -> None:
    plan(outbox, "a")
    plan(outbox, "a", expires=T0 + 40 * 24 * HOUR)
    settle(outbox, claim(outbox), dataclasses.replace(SENT, **{what: told}))
    due = outbox.next_due("a", T0)
    assert due is not None
    assert due <= T0 + 33 * 24 * HOUR
    assert settle(outbox, claim(outbox, now=max(T0 + 1, due)), now=max(T0 + 1, due))


def test_what_waits_for_a_channel_that_nobody_serves_expires_and_is_told_once(outbox: Outbox) -> None:
    gone = plan(outbox, "gone", expires=T0 + HOUR)
    plan(outbox, "gone", "a", expires=T0 + 3 * HOUR)
    assert outbox.expire(["a"], T0 + HOUR + GRACE - 1) == [], "its own process may only be starting"
    assert [(channel, each.id) for channel, each in outbox.expire(["a"], T0 + HOUR + GRACE)] == [("gone", gone.id)]
    assert outbox.expire(["a"], T0 + HOUR + GRACE) == []
    assert len(outbox.expire(["a"], T0 + 9 * HOUR)) == 1, "the courier of a channel that has one sees to it"
    assert outbox.ledger().deliveries["expired"] == 2


def test_what_another_process_is_sending_does_not_expire_beside_it(outbox: Outbox) -> None:
    plan(outbox, "elsewhere", expires=T0 + 10)
    assert claim(outbox, "elsewhere", now=T0 + 9, lease=GRACE + 30) is not None
    assert outbox.expire(["a"], T0 + GRACE + 11) == []
    assert len(outbox.expire(["a"], T0 + GRACE + 40)) == 1


def test_a_claim_whose_answer_was_lost_is_given_back_and_no_other(outbox: Outbox) -> None:
    plan(outbox, "a/1", "a/2")
    lost, kept = claim(outbox, now=T0 + 1), claim(outbox, now=T0 + 2)
    assert lost is not None
    assert kept is not None
    outbox.unclaim("a", "me", T0 + 1)
    assert outbox.unclaim("a", "me", T0 + 3) is None
    again_ = claim(outbox, now=T0 + 4)
    assert again_ is not None
    assert (again_.target, again_.key) == (lost.target, lost.key)
    assert settle(outbox, kept, now=T0 + 5)
    assert not settle(outbox, lost, now=T0 + 5), "the one that was given back"


def test_an_alert_that_cannot_be_read_keeps_nothing_back(outbox: Outbox) -> None:
    damaged, good = plan(outbox, "a"), plan(outbox, "a")
    assert isinstance(outbox, SqlOutbox)
    with outbox._write() as db:
        db.execute("UPDATE alerts SET body = '{\"id\":' WHERE id = ?", (damaged.id,))
    claimed = claim(outbox)
    assert claimed is not None
    assert claimed.alert.id == good.id
    assert settle(outbox, claimed)
    (letter,) = outbox.dead_letters()
    assert (letter.alert.title, letter.detail) == ("unreadable", "what the store holds of this alert cannot be read")


def test_a_thousand_alerts_that_cannot_be_read_keep_nothing_back(outbox: Outbox) -> None:
    assert isinstance(outbox, SqlOutbox)
    for _ in range(1_200):
        plan(outbox, "a")
    with outbox._write() as db:
        db.execute("UPDATE alerts SET body = ''")
    good = plan(outbox, "a")
    claimed = claim(outbox)
    assert claimed is not None
    assert claimed.alert.id == good.id


def test_a_damaged_alert_that_waits_for_a_planner_keeps_nothing_back(outbox: Outbox) -> None:
    assert isinstance(outbox, SqlOutbox)
    made = [alert(), alert()]
    with outbox.transaction() as tx:
        for each in made:
            tx.add_alert(each, AlertState.WAITING)
    with outbox._write() as db:
        db.execute("UPDATE alerts SET body = '{' WHERE id = ?", (made[0].id,))
    with outbox.transaction() as tx:
        assert [each.id for _, each, _ in tx.waiting(10)] == [made[1].id]
    assert outbox.ledger().recorded == 1


def test_what_is_kept_of_a_service_and_damaged_undoes_no_settlement(outbox: Outbox) -> None:
    assert isinstance(outbox, SqlOutbox)
    plan(outbox, "a")
    plan(outbox, "a")
    first = claim(outbox)
    assert first is not None
    with outbox._write() as db:
        db.execute("UPDATE targets SET memory = '{'")
        db.execute("UPDATE deliveries SET progress = '[' WHERE seq != ?", (first.seq,))
    done = Done(first, SENT, T0, T0)
    settled, second = outbox.settle_and_claim(done, "me", T0 + 1, 30.0, 0.0)
    assert settled
    assert second is not None
    assert (second.memory, second.progress) == ({second.target: {}}, {})


def test_a_settlement_whose_answer_was_lost_is_known_for_ours_when_it_is_repeated(outbox: Outbox) -> None:
    plan(outbox, "a")
    claimed = claim(outbox)
    assert settle(outbox, claimed, now=T0 + 1)
    assert settle(outbox, claimed, now=T0 + 1), "it is written, and whoever settles it must tell of it"
    assert not settle(outbox, claimed, now=T0 + 2)
