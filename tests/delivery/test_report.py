"""The report of an alert: what became of it on each address, with the audit trail, as text, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from alerts_kit import alert, rest
from store_kit import BUSY, DEAD, SENT, T0, attempt, plan

from bt_alerts import AlertManager, DeliveryReport
from bt_alerts.delivery.report import report_of
from bt_alerts.outbox.base import AlertState, DeliveryState, NewDelivery, Outbox, Settlement
from bt_alerts.rules.stage import Note, Reason
from bt_alerts.testing import FakeService

Manage = Callable[..., AlertManager]


def reported(outbox: Outbox, alert_id: str) -> DeliveryReport:
    report = report_of(outbox, alert_id, attempts=True)
    assert report is not None
    return report


def test_a_report_has_each_address_and_every_attempt(outbox: Outbox) -> None:
    made = plan(outbox, "phone", "mail", title="Order filled")
    attempt(outbox, "phone", BUSY, took=1.5)
    attempt(outbox, "phone", SENT, now=T0 + 6, owner="78-you")
    report = reported(outbox, made.id)
    phone, mail = report.results
    assert (report.title, report.state, report.time) == ("Order filled", "planned", made.time)
    assert (phone.channel, phone.target, phone.state, phone.success) == ("phone", "label", "delivered", True)
    assert (phone.attempts, phone.detail, phone.service_id, phone.outcome) == (2, "HTTP 200", "m1", "sent")
    assert phone.latency == pytest.approx(6.25)
    assert phone.created is not None
    assert phone.settled is not None
    assert (phone.created.timestamp(), phone.settled.timestamp()) == (T0, T0 + 6.25)
    first, second = phone.trail
    assert (first.time.timestamp(), first.took, first.outcome, first.owner) == (T0, 1.5, "retry", "77-me")
    assert (second.time.timestamp(), second.outcome, second.detail, second.owner) == (
        T0 + 6,
        "sent",
        "HTTP 200",
        "78-you",
    )
    assert (mail.state, mail.attempts, mail.latency, mail.settled, mail.trail) == ("pending", 0, None, None, ())
    assert (report.success, report.success_rate) == (False, 50.0)
    assert list(report.channels) == ["phone", "mail"]


def test_a_report_says_in_words_what_rules_decided(outbox: Outbox) -> None:
    made = alert(title="<b>Late</b>")
    notes = [Note(Reason.ROUTED, "<i>nights</i>", about="phone"), Note(Reason.QUIET_HOURS, "night", "phone", T0 + 60)]
    newer = ["a reason of a newer version"]
    with outbox.transaction() as tx:
        seq = tx.add_alert(made, AlertState.WAITING)
        assert seq is not None
        due = T0 + 60
        wait = NewDelivery("k", "phone", "t", "label", due, due, due + 1e5, reason=Reason.QUIET_HOURS)
        tx.add_deliveries(seq, [wait], T0)
        tx.decide(seq, AlertState.PLANNED, trail=[*(note.to_list() for note in notes), newer])
    report = reported(outbox, made.id)
    assert list(report.trail) == [
        "a route chose its channels (<i>nights</i>; phone)",
        "it waits for the end of quiet hours (night; phone), 2027-01-15 08:01:00 UTC",
    ]
    assert report.results[0].reason == "quiet-hours"
    assert "phone label: pending (not tried) [it waits for the end of quiet hours]" in str(report)
    assert "  it waits for the end of quiet hours (night; phone), 2027-01-15 08:01:00 UTC" in str(report).splitlines()
    row = json.loads(report.to_json())
    assert (row["rule"], row["trail"], row["results"][0]["reason"]) == ("", list(report.trail), "quiet-hours")
    html = report._repr_html_()
    assert "&lt;i&gt;nights&lt;/i&gt;; phone" in html
    assert "it waits for the end of quiet hours</div>" in html
    assert "<i>" not in html


def test_a_report_names_the_rule_that_suppressed(outbox: Outbox) -> None:
    made = alert()
    with outbox.transaction() as tx:
        seq = tx.add_alert(made, AlertState.WAITING)
        assert seq is not None
        tx.decide(seq, AlertState.SUPPRESSED, Reason.COOLDOWN, "calm")
    report = reported(outbox, made.id)
    assert (report.rule, list(report.trail)) == ("calm", [])
    assert report.summary == "suppressed, one of its kind was told a short time ago (calm)"


def test_attempts_are_read_only_where_they_are_asked_for(outbox: Outbox) -> None:
    made = plan(outbox, "phone")
    attempt(outbox, "phone")
    report = report_of(outbox, made.id)
    assert report is not None
    assert report.results[0].trail == ()
    assert report_of(outbox, "unknown") is None


def test_latency_counts_from_when_it_was_to_go(outbox: Outbox) -> None:
    made = plan(outbox, "phone", at=T0 + 3600)
    attempt(outbox, "phone", now=T0 + 3601)
    assert reported(outbox, made.id).results[0].latency == pytest.approx(1.25)


def test_what_is_held_is_not_at_its_end(outbox: Outbox) -> None:
    made = plan(outbox, "phone")
    wrong = Settlement(DeliveryState.HELD, "auth", "HTTP 401", answered=True, disable_channel="wrong key")
    attempt(outbox, "phone", wrong)
    report = reported(outbox, made.id)
    assert (report.results[0].state, report.results[0].settled, report.results[0].latency) == ("held", None, None)
    assert report.summary == "0 of 1 arrived, 1 still to go"


def test_what_went_to_the_fallback_has_arrived(outbox: Outbox) -> None:
    made = plan(outbox, "phone")
    instead = NewDelivery(f"{made.id}-sms", "sms", "t", "•••77", T0, T0, T0 + 99)
    attempt(outbox, "phone", Settlement(DeliveryState.FAILED_OVER, "retry", "HTTP 500", instead=[instead]))
    assert not reported(outbox, made.id).success
    attempt(outbox, "sms")
    report = reported(outbox, made.id)
    assert [result.state for result in report.results] == ["failed-over", "delivered"]
    assert (report.success, report.success_rate) == (True, 100.0)
    assert "1 of 1 arrived" in str(report)


def test_what_went_in_one_message_has_arrived(outbox: Outbox) -> None:
    first, second = plan(outbox, "phone"), plan(outbox, "phone")
    (seq,) = next(iter(outbox.rows("SELECT max(seq) FROM deliveries")))
    attempt(outbox, "phone", Settlement(DeliveryState.DELIVERED, "sent", digested=[seq]))
    assert reported(outbox, first.id).success
    report = reported(outbox, second.id)
    assert (report.results[0].state, report.success) == ("digested", True)


def test_a_report_is_json(outbox: Outbox) -> None:
    made = plan(outbox, "phone", title="Ordre exécuté")
    attempt(outbox, "phone", DEAD)
    text = reported(outbox, made.id).to_json()
    row = json.loads(text)
    assert "exécuté" in text
    assert (row["alert_id"], row["success"], row["success_rate"]) == (made.id, False, 0.0)
    (result,) = row["results"]
    assert (result["state"], result["detail"]) == ("dead", "HTTP 400: no such chat")
    assert result["created"] == "2027-01-15T08:00:00+00:00"
    assert result["trail"][0]["time"] == "2027-01-15T08:00:00+00:00"
    assert result["trail"][0]["owner"] == "77-me"


def test_a_report_reads_as_sentences(outbox: Outbox) -> None:
    made = plan(outbox, "phone/anna", "mail", title="Order\x1b[31m filled\nnow")
    attempt(outbox, "phone", BUSY)
    attempt(outbox, "mail")
    assert str(reported(outbox, made.id)).splitlines() == [
        f"Order�[31m filled now ({made.id}): 1 of 2 arrived, 1 still to go",
        "  phone label anna: pending (after 1 attempt): HTTP 503",
        "    08:00:00 retry in 0.25 s by 77-me: HTTP 503",
        "  mail label: delivered in 0.25 s (after 1 attempt, at 2027-01-15 08:00:00 UTC): HTTP 200",
        "    08:00:00 sent in 0.25 s by 77-me: HTTP 200",
    ]


def test_a_report_says_why_nothing_was_sent(outbox: Outbox) -> None:
    made = alert(title="Old bar")
    outbox.record([made], Reason.HISTORY)
    report = reported(outbox, made.id)
    assert (report.state, report.results, report.success) == ("recorded", [], True)
    assert str(report) == f"Old bar ({made.id}): recorded, it was made on an old bar, so it is recorded and never sent"
    assert "nothing is planned for it" in str(DeliveryReport("x", "accepted", "", ()))


def test_what_nobody_has_decided_about_has_not_arrived(outbox: Outbox) -> None:
    made = alert()
    with outbox.transaction() as tx:
        tx.add_alert(made, AlertState.WAITING)
    report = reported(outbox, made.id)
    assert (report.state, report.results, report.success) == ("waiting", [], False)


def test_an_acknowledgement_is_in_the_report(outbox: Outbox) -> None:
    made = plan(outbox, "phone", "mail")
    attempt(outbox, "phone")
    with outbox.transaction() as tx:
        tx.acknowledge(made.id, T0 + 60)
    report = reported(outbox, made.id)
    assert report.acknowledged is not None
    assert report.acknowledged.timestamp() == T0 + 60
    assert [result.state for result in report.results] == ["delivered", "cancelled"]
    assert "acknowledged at 2027-01-15 08:01 UTC" in str(report)


def test_a_notebook_shows_a_report_and_takes_nothing_for_markup(outbox: Outbox) -> None:
    made = plan(outbox, "phone", title="<script>alert(1)</script>", label="<b>you</b>")
    attempt(outbox, "phone", Settlement(DeliveryState.DEAD, "permanent", "<img src=x>", answered=True))
    html = reported(outbox, made.id)._repr_html_()
    assert "&lt;script&gt;" in html
    for raw in ("<script", "<img", "<b>you"):
        assert raw not in html
    assert "<details><summary>attempts</summary>" in html
    assert "0 of 1 arrived" in html
    assert "<table" not in DeliveryReport("x", "recorded", "history", ())._repr_html_()


def test_a_manager_gives_the_whole_trail(manage: Manage, service: FakeService) -> None:
    service.answer(503).answer(200)
    manager = manage(hook=service.url, delivery={"retry_delay": 0})
    made = alert(title="twice")
    manager.emit(made)
    rest(manager)
    report = manager.report(made.id)
    assert report is not None
    assert [each.outcome for each in report.results[0].trail] == ["retry", "sent"]
    assert all(each.owner for each in report.results[0].trail)
