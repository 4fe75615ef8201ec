"""What every outbox does, on disk and in memory: one suite, and both ledgers are looked at after each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alerts_kit import alert
from outbox_kit import SENT, T0, again, claim, new, plan, settle, state_of

from bt_alerts.alert import Alert, AlertType, Priority, Source
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import AlertState, DeliveryState, Outbox, Settlement
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.rules.stage import Reason


class Checked:
    """Passes calls on, and looks at both ledgers after each."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outbox, name)
        if not callable(found) or name in {"ledger", "rows", "transaction"}:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            assert self._outbox.ledger().balanced, name
            return result

        return call


@pytest.fixture
def outbox(outbox: Outbox) -> Any:
    return Checked(outbox)


#: For what PostgreSQL has otherwise, see test_postgres.py.
on_sqlite = pytest.mark.parametrize("outbox", ["sqlite", "memory"], indirect=True)


# Planning --------------------------------------------------------------------------------------------


def test_a_planned_alert_is_in_both_ledgers(outbox: Any) -> None:
    plan(outbox, "a", "b")
    ledger = outbox.ledger()
    assert (ledger.accepted, ledger.planned, ledger.created) == (1, 1, 2)
    assert ledger.deliveries["pending"] == 2


def test_an_alert_is_kept_once(outbox: Any) -> None:
    made = alert()
    with outbox.transaction() as tx:
        assert tx.add_alert(made, AlertState.RECORDED, Reason.HISTORY) is not None
        assert tx.add_alert(made, AlertState.RECORDED) is None
    assert outbox.record([made, alert()], Reason.HISTORY) == 1
    assert outbox.ledger().recorded == 2
    assert outbox.ledger().reasons == {"history": 2}


def test_a_transaction_that_fails_leaves_nothing(outbox: Any) -> None:
    def fail() -> None:
        with outbox.transaction() as tx:
            seq = tx.add_alert(alert(), AlertState.WAITING)
            tx.add_deliveries(seq, [new(alert(), "a")], T0)
            tx.state.put("rule", "key", 1)
            tx.set_position("journal", 5)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert outbox.ledger().accepted == outbox.ledger().created == 0
    assert outbox.position("journal") == 0
    with outbox.transaction() as tx:
        assert tx.state.get("rule", "key") is None


@on_sqlite
def test_a_transaction_that_the_database_has_ended_is_not_gone_on_with(outbox: Any) -> None:
    def go_on() -> None:
        with outbox.transaction() as tx:
            tx.add_alert(alert(), AlertState.RECORDED)
            outbox._outbox._db.execute("ROLLBACK")  # as SQLite does where the disk is full
            tx.set_position("journal", 5)

    with pytest.raises(StoreError, match="could not go on"):
        go_on()
    assert outbox.position("journal") == 0


def test_rule_state_is_remembered_until_it_may_be_forgotten(outbox: Any) -> None:
    with outbox.transaction() as tx:
        tx.state.put("r", "a", {"x": [1]}, until=T0 + 1)
        tx.state.put("r", "b", 2)
        tx.state.put("r", "b", 3)
        tx.state.put("other", "a", 4)
    with outbox.transaction() as tx:
        tx.state.forget(T0)
        assert dict(tx.state.items("r")) == {"a": {"x": [1]}, "b": 3}
        tx.state.forget(T0 + 1)
        assert dict(tx.state.items("r")) == {"b": 3}
        tx.state.drop("r", "b")
        assert (tx.state.get("r", "b"), tx.state.get("other", "a")) == (None, 4)


def test_positions_are_kept_and_forgotten(outbox: Any) -> None:
    with outbox.transaction() as tx:
        assert tx.position("j") == 0
        tx.set_position("j", 7)
        assert tx.position("j") == 7
    assert outbox.position("j") == 7
    with outbox.transaction() as tx:
        tx.set_position("j", -1)
    assert outbox.position("j") == 0


def test_an_unreadable_line_is_kept_and_counted(outbox: Any) -> None:
    with outbox.transaction() as tx:
        tx.unreadable("j", 3, b"\xff\x00junk")
    assert list(outbox.rows("SELECT journal, position, line FROM unreadable")) == [("j", 3, b"\xff\x00junk")]
    assert outbox.ledger().unreadable == 1


# Claiming --------------------------------------------------------------------------------------------


def test_the_most_urgent_is_claimed_first_and_among_equals_the_oldest(outbox: Any) -> None:
    made = [plan(outbox, "a", priority=p) for p in ("low", "high", "low", "critical", "high")]
    order = []
    while (claimed := claim(outbox)) is not None:
        order.append(claimed.alert.id)
        settle(outbox, claimed)
    assert order == [made[i].id for i in (3, 1, 4, 0, 2)]


def test_a_claim_knows_the_delivery(outbox: Any) -> None:
    made = plan(outbox, "a/x", message="text", priority="high")
    claimed = claim(outbox)
    assert claimed is not None
    assert claimed.alert == made
    assert (claimed.channel, claimed.target, claimed.attempts, claimed.answers) == ("a", "x", 0, 0)
    assert (claimed.promised, claimed.expires) == (T0, T0 + 1000)


def test_a_target_is_leased_to_one_and_others_wait(outbox: Any) -> None:
    plan(outbox, "a/x")
    plan(outbox, "a/x")
    plan(outbox, "a/y")
    first, second = claim(outbox), claim(outbox, owner="you")
    assert [c and c.target for c in (first, second)] == ["x", "y"]
    assert claim(outbox) is None
    assert outbox.next_due("a", T0) == T0 + 30
    settle(outbox, first)
    third = claim(outbox)
    assert third is not None
    assert third.target == "x"


def test_a_lease_that_ran_out_can_be_taken_and_the_first_owners_word_no_longer_counts(outbox: Any) -> None:
    made = plan(outbox, "a")
    mine = claim(outbox, lease=30)
    assert claim(outbox, owner="you", now=T0 + 29) is None
    theirs = claim(outbox, owner="you", now=T0 + 30)
    assert theirs is not None
    assert not settle(outbox, mine, Settlement(DeliveryState.DEAD, "permanent"), now=T0 + 31)
    assert state_of(outbox, made) == ["pending"]
    assert settle(outbox, theirs, owner="you", now=T0 + 32)
    assert state_of(outbox, made) == ["delivered"]
    assert not settle(outbox, theirs, owner="you")


def test_the_leases_of_a_dead_owner_are_given_back(outbox: Any) -> None:
    plan(outbox, "a/x", "a/y")
    claim(outbox, owner="dead")
    claim(outbox, owner="alive")
    outbox.release("dead")
    assert claim(outbox) is not None
    assert claim(outbox) is None


def test_nothing_is_claimed_before_it_is_due(outbox: Any) -> None:
    plan(outbox, "a", due=T0 + 60)
    assert claim(outbox, now=T0 + 59) is None
    assert outbox.next_due("a", T0) == T0 + 60
    assert outbox.next_due("nowhere", T0) is None
    assert claim(outbox, now=T0 + 60) is not None


def test_pacing_lets_a_burst_through_and_then_one_by_one(outbox: Any) -> None:
    for _ in range(8):
        plan(outbox, "a", due=0)
    plan(outbox, "a/other", due=0)

    def sent(now: float) -> int:
        n = 0
        while (claimed := claim(outbox, rate=6, now=now)) is not None:
            settle(outbox, claimed, now=now)
            n += 1
        return n

    assert sent(T0) == 5 + 1  # each target has a bucket of its own, and one of six tokens is for critical alerts
    assert outbox.next_due("a", T0) == pytest.approx(T0 + 10)
    assert sent(T0 + 9.9) == 0
    assert sent(T0 + 10) == 1
    assert sent(T0 + 20) == 1
    assert sent(T0 - 3600) == 0  # a clock that went back: what was used is used, but tokens come back from now on
    assert sent(T0 - 3590) == 1


def test_a_critical_alert_may_use_the_reserve_of_a_bucket(outbox: Any) -> None:
    for _ in range(6):
        plan(outbox, "a")
    while (claimed := claim(outbox, rate=6)) is not None:
        settle(outbox, claimed)
    urgent = plan(outbox, "a", priority=Priority.CRITICAL)
    assert outbox.next_due("a", T0) == T0
    claimed = claim(outbox, rate=6)
    assert claimed is not None
    assert claimed.alert == urgent
    settle(outbox, claimed)
    plan(outbox, "a", priority=Priority.CRITICAL)
    assert claim(outbox, rate=6) is None  # the reserve is used up too
    assert outbox.next_due("a", T0) == pytest.approx(T0 + 10)


def test_a_service_that_says_too_many_is_sent_less_and_slowly_more_again(outbox: Any) -> None:
    for _ in range(40):
        plan(outbox, "a")
    settle(outbox, claim(outbox, rate=60), again(T0 + 1, slow_down=True))
    assert claim(outbox, rate=60, now=T0 + 1) is None  # the bucket is empty, and fills half as fast
    settle(outbox, claim(outbox, rate=60, now=T0 + 14), now=T0 + 14)
    assert claim(outbox, rate=60, now=T0 + 15) is None
    assert claim(outbox, rate=60, now=T0 + 16) is not None


def test_what_is_not_attempted_takes_no_token(outbox: Any) -> None:
    for _ in range(5):
        plan(outbox, "a")
    expired = Settlement(DeliveryState.EXPIRED, "expired", attempted=False)
    for _ in range(4):
        settle(outbox, claim(outbox, rate=1), expired)
    settle(outbox, claim(outbox, rate=1))
    assert outbox.ledger().deliveries["expired"] == 4


# Settling --------------------------------------------------------------------------------------------


def test_an_attempt_is_written_down(outbox: Any) -> None:
    made = plan(outbox, "a")
    claimed = claim(outbox)
    assert claimed is not None
    outbox.settle(claimed, again(T0 + 5), "me", started=T0, now=T0 + 1.5)
    outbox.settle(
        claim(outbox, now=T0 + 5), Settlement(DeliveryState.DELIVERED, "sent", service_id="m1", facts={"left": 3}),
        "me", started=T0 + 5, now=T0 + 6,
    )  # fmt: skip
    rows = list(outbox.rows("SELECT outcome, detail, took, service_id, facts FROM attempts ORDER BY seq"))
    assert rows == [("retry", "busy", 1.5, "", "{}"), ("sent", "", 1.0, "m1", '{"left": 3}')]
    assert list(outbox.rows("SELECT attempts, answers FROM deliveries")) == [(2, 1)]
    assert state_of(outbox, made) == ["delivered"]


def test_a_retry_waits_and_holds_its_target_so_that_nothing_overtakes_it(outbox: Any) -> None:
    first = plan(outbox, "a/x")
    plan(outbox, "a/x")
    other = plan(outbox, "a/y")
    settle(outbox, claim(outbox), again(T0 + 7))
    claimed = claim(outbox, now=T0 + 6)
    assert claimed is not None
    assert claimed.alert.id == other.id
    assert claim(outbox, now=T0 + 6) is None
    retried = claim(outbox, now=T0 + 7)
    assert retried is not None
    assert (retried.alert.id, retried.attempts, retried.answers) == (first.id, 1, 1)


def test_a_channel_can_be_held_until_its_quota_is_back(outbox: Any) -> None:
    plan(outbox, "a/x", "a/y")
    settle(outbox, claim(outbox), Settlement(DeliveryState.DELIVERED, "sent", hold_channel=T0 + 100))
    assert claim(outbox, now=T0 + 99) is None
    assert outbox.next_due("a", T0) == T0 + 100
    assert claim(outbox, now=T0 + 100) is not None


def test_a_disabled_channel_holds_what_waits_and_what_comes(outbox: Any) -> None:
    outbox.enable_channel("a", "one")
    made = [plan(outbox, "a/x", "b"), plan(outbox, "a/y")]
    settle(outbox, claim(outbox), Settlement(DeliveryState.HELD, "auth", "no", disable_channel="wrong token"))
    made.append(plan(outbox, "a/x"))
    assert [state_of(outbox, m) for m in made] == [["held", "pending"], ["held"], ["held"]]
    assert outbox.disabled() == {"a": "wrong token"}
    with outbox.transaction() as tx:
        assert tx.disabled() == {"a"}
    assert claim(outbox) is None
    assert outbox.next_due("a", T0) is None
    outbox.enable_channel("a", "one")  # the same configuration mends nothing
    assert outbox.disabled() == {"a": "wrong token"}
    outbox.enable_channel("a", "two")
    assert outbox.disabled() == {}
    for _ in range(3):
        settle(outbox, claim(outbox, owner="me"))
    assert [state_of(outbox, m) for m in made] == [["delivered", "pending"], ["delivered"], ["delivered"]]


def test_of_a_disabled_channel_with_a_fallback_only_what_is_not_urgent_is_held(outbox: Any) -> None:
    plan(outbox, "a", priority="critical")
    made = [plan(outbox, "a", priority=p) for p in ("high", "medium")]
    done = Settlement(DeliveryState.FAILED_OVER, "auth", disable_channel="no", hold_below=Priority.HIGH)
    settle(outbox, claim(outbox), done)
    assert [state_of(outbox, m) for m in made] == [["pending"], ["held"]]


def test_a_dead_target_is_held_alone(outbox: Any) -> None:
    first, second = plan(outbox, "a/x", "a/y"), plan(outbox, "a/x")
    claimed = claim(outbox)
    settle(outbox, claimed, Settlement(DeliveryState.HELD, "permanent", "gone", disable_target="gone"))
    third = plan(outbox, "a/x", "a/y")
    assert [state_of(outbox, m) for m in (first, second, third)] == [["held", "pending"], ["held"], ["held", "pending"]]
    assert outbox.disabled() == {}


def test_a_fallback_takes_its_place(outbox: Any) -> None:
    made = plan(outbox, "a")
    done = Settlement(DeliveryState.FAILED_OVER, "permanent", instead=(new(made, "b"),))
    settle(outbox, claim(outbox), done)
    assert state_of(outbox, made) == ["failed-over", "pending"]
    settle(outbox, claim(outbox, "b"))
    assert state_of(outbox, made) == ["failed-over", "delivered"]


def test_a_fallback_that_has_the_alert_already_gets_it_once(outbox: Any) -> None:
    made = plan(outbox, "a", "b")
    settle(outbox, claim(outbox), Settlement(DeliveryState.FAILED_OVER, "permanent", instead=(new(made, "b"),)))
    assert state_of(outbox, made) == ["failed-over", "pending"]


def test_fail_fast_cancels_the_alerts_other_deliveries_and_not_its_own_retry(outbox: Any) -> None:
    made, other = plan(outbox, "a", "b", "c"), plan(outbox, "b")
    settle(outbox, claim(outbox), again(T0 + 1, cancel_others=True))
    assert state_of(outbox, made) == ["pending", "cancelled", "cancelled"]
    assert state_of(outbox, other) == ["pending"]


@pytest.mark.parametrize("outcome", [again(T0 + 5), Settlement(DeliveryState.DEAD, "permanent")])
def test_what_was_acknowledged_while_it_was_under_way_stays_cancelled(outbox: Any, outcome: Settlement) -> None:
    made = plan(outbox, "a")
    claimed = claim(outbox)
    with outbox.transaction() as tx:
        assert tx.acknowledge(made.id, T0)
    assert settle(outbox, claimed, outcome)
    assert state_of(outbox, made) == ["cancelled"]
    assert claim(outbox, now=T0 + 10) is None


def test_what_arrived_while_it_was_cancelled_is_counted_as_delivered(outbox: Any) -> None:
    made = plan(outbox, "a")
    claimed = claim(outbox)
    with outbox.transaction() as tx:
        tx.acknowledge(made.id, T0)
    settle(outbox, claimed)
    assert state_of(outbox, made) == ["delivered"]


@pytest.mark.parametrize(
    "facts",
    [{1j: "x"}, {"x": float("nan")}, {"x": object()}, {"x": b"\xff"}, {"x": {1, 2}}],
    ids=["key", "nan", "object", "bytes", "set"],
)
def test_whatever_a_dispatcher_says_a_sent_message_is_settled(outbox: Any, facts: dict[Any, Any]) -> None:
    made = plan(outbox, "a")
    done = Settlement(DeliveryState.DELIVERED, "sent", "\ud800 odd \0" + "x" * 10_000, service_id="\udfff", facts=facts)
    assert settle(outbox, claim(outbox), done)
    assert state_of(outbox, made) == ["delivered"]


# What people ask for ---------------------------------------------------------------------------------


def test_acknowledging_cancels_what_is_pending_or_held(outbox: Any) -> None:
    made = plan(outbox, "a", "b", "c")
    settle(outbox, claim(outbox, "a"))
    settle(outbox, claim(outbox, "b"), Settlement(DeliveryState.HELD, "auth", disable_channel="no"))
    with outbox.transaction() as tx:
        assert tx.acknowledge(made.id, T0)
        assert tx.acknowledge(made.id, T0 + 5)
        assert not tx.acknowledge("unknown", T0)
    assert state_of(outbox, made) == ["delivered", "cancelled", "cancelled"]
    assert list(outbox.rows("SELECT acknowledged FROM alerts")) == [(T0,)]


def test_snoozing_tells_again_what_was_told_and_puts_off_what_was_not(outbox: Any) -> None:
    made = plan(outbox, "a", "b")
    settle(outbox, claim(outbox, "a"))
    with outbox.transaction() as tx:
        assert tx.snooze(made.id, T0 + 500, T0)
        assert not tx.snooze("unknown", T0, T0)
    assert state_of(outbox, made) == ["delivered", "pending", "pending"]
    assert [claim(outbox, c, now=T0 + 499) for c in "ab"] == [None, None]
    for channel in "ab":
        claimed = claim(outbox, channel, now=T0 + 500)
        assert claimed is not None
        assert (claimed.promised, claimed.expires) == (T0 + 500, T0 + 1500)
        settle(outbox, claimed, now=T0 + 500)


def test_snoozing_again_and_again_tells_each_address_once(outbox: Any) -> None:
    made = plan(outbox, "a/x", "a/y")
    for _ in range(2):
        settle(outbox, claim(outbox))
    for until in (100, 200):  # a second snooze before the first is over replaces it
        with outbox.transaction() as tx:
            tx.snooze(made.id, T0 + until, T0)
    assert outbox.pending(["a"], T0)[0] == 2
    for _ in range(2):
        assert claim(outbox, now=T0 + 199) is None
        settle(outbox, claim(outbox, now=T0 + 200), now=T0 + 200)
    with outbox.transaction() as tx:  # and a third after it
        tx.snooze(made.id, T0 + 300, T0 + 201)
    assert outbox.pending(["a"], T0)[0] == 2


def test_snoozing_for_a_channel_that_is_disabled_is_held(outbox: Any) -> None:
    made = plan(outbox, "a")
    settle(outbox, claim(outbox))
    plan(outbox, "a")
    settle(outbox, claim(outbox), Settlement(DeliveryState.HELD, "auth", disable_channel="no"))
    with outbox.transaction() as tx:
        tx.snooze(made.id, T0 + 1, T0)
    assert state_of(outbox, made) == ["delivered", "held"]


def test_dead_letters_can_be_sent_again_or_given_up(outbox: Any) -> None:
    made = [plan(outbox, "a") for _ in range(3)]
    for _ in made:
        settle(outbox, claim(outbox), Settlement(DeliveryState.DEAD, "permanent", "no"))
    numbers = [letter.number for letter in outbox.dead_letters()]
    with outbox.transaction() as tx:
        assert tx.retry_dead(numbers[:1], T0 + 9, 100) == 1
    assert outbox.purge_dead(numbers[1:2]) == 1
    assert [state_of(outbox, m) for m in made] == [["pending"], ["cancelled"], ["dead"]]
    settle(outbox, claim(outbox, now=T0 + 9))


# Counting and reading --------------------------------------------------------------------------------


def test_pending_says_how_many_and_when_the_next_try_is(outbox: Any) -> None:
    assert outbox.pending([], T0) == (0, None)
    assert outbox.pending(["a"], T0) == (0, None)
    plan(outbox, "a", due=T0 + 10)
    plan(outbox, "b", due=T0 + 5)
    assert outbox.pending(["a", "b"], T0) == (2, T0 + 5)
    claim(outbox, "b", now=T0 + 6)
    assert outbox.pending(["b"], T0) == (1, T0 + 5)  # under way: its next try is now


def test_the_ledger_counts_every_state(outbox: Any) -> None:
    ends = [s for s in DeliveryState if s is not DeliveryState.PENDING]
    for end in ends:
        plan(outbox, "a")
        settle(outbox, claim(outbox), Settlement(end, end.value))
    outbox.record([alert()], Reason.HISTORY)
    with outbox.transaction() as tx:
        tx.add_alert(alert(), AlertState.SUPPRESSED, Reason.MUTED)
    ledger = outbox.ledger()
    assert {name: n for name, n in ledger.deliveries.items() if n} == {end.value: 1 for end in ends}
    assert (ledger.accepted, ledger.recorded, ledger.suppressed) == (len(ends) + 2, 1, 1)


def test_a_reader_that_stops_in_the_middle_holds_nobody_up(outbox: Any) -> None:
    outbox.record([alert() for _ in range(1_200)], Reason.HISTORY)
    reading = outbox.rows("SELECT id FROM alerts")
    next(reading)
    import threading

    thread = threading.Thread(target=plan, args=(outbox, "a"))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert len(list(reading)) == 1_199


def test_wrong_sql_is_a_store_error(outbox: Any) -> None:
    with pytest.raises(StoreError):
        list(outbox.rows("SELECT nothing FROM nowhere"))


@on_sqlite
def test_a_backup_of_a_live_store_is_whole_and_opens(outbox: Any, tmp_path: Path) -> None:
    made = plan(outbox, "a")
    with outbox.transaction() as tx:
        tx.set_position("j", 9)
    outbox.backup(tmp_path / "copy.db")
    plan(outbox, "a")
    copy = SqliteOutbox(tmp_path / "copy.db")
    assert (copy.ledger().accepted, copy.position("j")) == (1, 9)
    assert state_of(copy, made) == ["pending"]
    copy.close()
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="a backup never overwrites"):
        outbox.backup(tmp_path / "copy.db")


@on_sqlite
def test_a_backup_that_cannot_be_made_leaves_nothing(outbox: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/copy\.db"):
        outbox.backup(tmp_path / "file" / "copy.db")
    plan(outbox, "a")  # the store goes on
    assert settle(outbox, claim(outbox), SENT)


# Threads, memory, digests, questions -----------------------------------------------------------------


def sent_as(service_id: str, **more: Any) -> Settlement:
    return Settlement(DeliveryState.DELIVERED, "sent", service_id=service_id, answered=True, **more)


def test_a_claim_knows_the_first_and_the_last_message_of_its_thread(outbox: Any) -> None:
    for number, thread in enumerate(["trade 1", "trade 1", "", "trade 2", "trade 1"]):
        plan(outbox, "a", thread=thread)
        settle(outbox, claim(outbox), sent_as(f"m{number}"), now=T0 + number)
    plan(outbox, "a", "a/other", thread="trade 1")
    claimed = claim(outbox, now=T0 + 9)
    assert claimed.replies_to == ("m0", "m4")
    settle(outbox, claimed, sent_as("m5"), now=T0 + 9)
    assert claim(outbox, now=T0 + 9).replies_to == (), "another address has a thread of its own"


def test_a_message_that_was_not_delivered_is_nothing_to_reply_to(outbox: Any) -> None:
    plan(outbox, "a", thread="t")
    settle(outbox, claim(outbox), Settlement(DeliveryState.DEAD, "permanent", service_id="m0"))
    plan(outbox, "a", thread="t")
    assert claim(outbox).replies_to == ()


def test_what_a_dispatcher_wants_remembered_comes_with_every_later_claim_of_the_channel(outbox: Any) -> None:
    plan(outbox, "a/x", "a/y", "b/x")
    settle(outbox, claim(outbox), sent_as("1", remember={"chat": -100, "day": {"spent": 3}}))
    assert claim(outbox).memory == {"x": {"chat": -100, "day": {"spent": 3}}}
    assert claim(outbox, "b").memory == {}
    plan(outbox, "a/x")
    settle(outbox, claim(outbox, now=T0 + 1), sent_as("2"))
    plan(outbox, "a/x")
    assert claim(outbox, now=T0 + 2).memory["x"]["chat"] == -100, "a receipt that asks for nothing changes nothing"


def test_deliveries_that_gather_go_together_when_they_are_due(outbox: Any) -> None:
    made = [plan(outbox, "a") for _ in range(3)]
    critical = plan(outbox, "a", priority=Priority.CRITICAL)
    settle(outbox, claim(outbox))
    wait = Settlement(DeliveryState.PENDING, "retry-after", due=T0 + 60, answered=True, batch="held")
    for _ in made:
        settle(outbox, claim(outbox), wait)
    assert state_of(outbox, critical) == ["delivered"]
    assert claim(outbox, now=T0 + 59) is None
    claimed = claim(outbox, now=T0 + 60)
    assert claimed.batch
    others = outbox.gathered(claimed, T0 + 60)
    assert [alert_.id for _, alert_ in others] == [each.id for each in made[1:]]
    settle(outbox, claimed, sent_as("d", digested=[seq for seq, _ in others]), now=T0 + 61)
    assert [state_of(outbox, each) for each in made] == [["delivered"], ["digested"], ["digested"]]


def test_a_service_is_asked_later_what_became_of_a_message(outbox: Any) -> None:
    made = plan(outbox, "a", "b")
    settle(outbox, claim(outbox), sent_as("m", ask_at=T0 + 30, facts={"receipt": "r"}))
    assert outbox.next_due("a", T0) == T0 + 30
    assert outbox.claim_question("a", T0 + 29, 10) is None
    question = outbox.claim_question("a", T0 + 30, 10)
    assert (question.service_id, question.facts, question.alert.id) == ("m", {"receipt": "r"}, made.id)
    assert outbox.claim_question("a", T0 + 39, 10) is None, "somebody asks already"
    outbox.settle_question(question, sent_as("m", ask_at=T0 + 60, facts={"asked": 1}), T0 + 31)
    question = outbox.claim_question("a", T0 + 60, 10)
    assert question.facts == {"receipt": "r", "asked": 1}
    outbox.settle_question(question, sent_as("m"), T0 + 61, acknowledged=True)
    assert outbox.next_due("a", T0) is None
    assert state_of(outbox, made) == ["delivered", "cancelled"], "who has seen it needs no other channel"
    (row,) = outbox.rows("SELECT acknowledged FROM alerts")
    assert row == (T0 + 61,)


def test_a_message_that_did_not_arrive_after_all_is_a_dead_letter_or_goes_elsewhere(outbox: Any) -> None:
    first, second = plan(outbox, "a"), plan(outbox, "a/other")
    for _ in range(2):
        settle(outbox, claim(outbox), sent_as("m", ask_at=T0))
    told = Settlement(DeliveryState.DELIVERED, "not-arrived", "switched off")
    question = outbox.claim_question("a", T0, 10)
    outbox.settle_question(question, told, T0, not_arrived={question.seq: (new(first, "b"),)})
    question = outbox.claim_question("a", T0, 10)
    outbox.settle_question(question, told, T0, not_arrived={question.seq: ()})
    assert (state_of(outbox, first), state_of(outbox, second)) == (["failed-over", "pending"], ["dead"])
    assert outbox.claim_question("a", T0 + 99, 10) is None


def test_what_went_in_one_message_shares_its_fate(outbox: Any) -> None:
    made = [plan(outbox, "a") for _ in range(3)]
    wait = Settlement(DeliveryState.PENDING, "retry-after", due=T0 + 60, answered=True, batch="held")
    for _ in made:
        settle(outbox, claim(outbox), wait)
    claimed = claim(outbox, now=T0 + 60)
    others = [seq for seq, _ in outbox.gathered(claimed, T0 + 60)]
    settle(outbox, claimed, sent_as("d", digested=others, ask_at=T0 + 90), now=T0 + 61)
    question = outbox.claim_question("a", T0 + 90, 10)
    assert [each.id for each in question.digested.values()] == [each.id for each in made[1:]]
    gone = dict.fromkeys((question.seq, *question.digested), ())
    told = Settlement(DeliveryState.DELIVERED, "not-arrived")
    outbox.settle_question(question, told, T0 + 91, not_arrived=gone)
    assert [state_of(outbox, each) for each in made] == [["dead"]] * 3


def test_a_digest_is_led_by_its_oldest_so_that_a_repeat_has_the_same_key(outbox: Any) -> None:
    plan(outbox, "a", priority=Priority.LOW)
    wait = Settlement(DeliveryState.PENDING, "retry-after", due=T0 + 60, answered=True, batch="held")
    settle(outbox, claim(outbox), wait)
    first = claim(outbox, now=T0 + 60, lease=10)
    plan(outbox, "a", priority=Priority.HIGH)  # the first process dies before it settles, and another batch meanwhile
    settle(outbox, claim(outbox, now=T0 + 71, owner="other"), wait, owner="other")
    again_ = claim(outbox, now=T0 + 71, owner="other")
    assert again_.key == first.key
    assert len(outbox.gathered(again_, T0 + 71)) == 1


@on_sqlite
def test_the_next_question_is_found_without_reading_every_delivery(outbox: Any) -> None:
    sql = "EXPLAIN QUERY PLAN SELECT min(ask_at) FROM deliveries WHERE channel = ? AND ask_at IS NOT NULL"
    assert "deliveries_to_ask" in str(list(outbox.rows(sql, ("a",))))


def test_a_planner_reads_alerts_of_a_time_and_those_of_old_bars_on_request_only(outbox: Outbox) -> None:
    with outbox.transaction() as tx:
        for at, kind, source in (
            (10.0, "trade", Source.LIVE),
            (20.0, "trade", Source.HISTORY),
            (30.0, "error", Source.LIVE),
        ):
            tx.add_alert(Alert.make("x", title=f"{at:g}", type=kind, time=at, source=source), AlertState.RECORDED)
        read = [[each.title for each in tx.alerts([AlertType.TRADE], 0.0, 25.0, history=old)] for old in (False, True)]
        assert read == [["10"], ["10", "20"]]
        assert tx.alerts([AlertType.TRADE], 11.0, 20.0, history=True) == []
