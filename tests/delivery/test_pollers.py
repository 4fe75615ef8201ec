"""What people answer: buttons that are pressed, who may, what is heard twice, and what a service says instead."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from alerts_kit import Clock, until, webhook
from bot_kit import ANNA, CHAT, STRANGER, TOKEN, Bot, Desk, no_token_in_logs  # noqa: F401 - a fixture

from bt_alerts import AlertManager
from bt_alerts.delivery.health import problems
from bt_alerts.delivery.pollers import (
    ASK_AGAIN,
    CONFLICT_PAUSE,
    COUNTS_FOR,
    LEASE,
    LEAST,
    LONGEST_PAUSE,
)
from bt_alerts.dispatchers.http import MAX_ANSWER
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.outbox.base import Outbox
from bt_alerts.outbox.entries import Acknowledged, Entry, Muted, Snoozed
from bt_alerts.testing import FakeService


@pytest.fixture
def bot(service: FakeService) -> Bot:
    return Bot(service)


@pytest.fixture
def desk(outbox: Outbox, bot: Bot, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("bt_alerts.delivery.pollers.LEAST", 60.0)  # a busy machine may take seconds for one step
    return Desk(outbox, bot.service, clock)


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


# Presses ----------------------------------------------------------------------------------------------------


def test_a_press_becomes_an_entry_and_is_answered(desk: Desk, bot: Bot) -> None:
    desk.plan("a1", "a2")
    bot.press("ack:a1", number=11)
    bot.press("snooze:a2:3600", number=12)
    bot.press("mute:AAPL", number=13)
    assert desk.poller().step() == 0.0
    now = desk.clock()
    assert desk.asked == [Acknowledged("a1"), Snoozed("a2", now + 3600), Muted({"symbol": "AAPL"}, now + 86_400)]
    assert bot.calls("answerCallbackQuery") == [
        {"callback_query_id": "q11", "text": "Acknowledged"},
        {"callback_query_id": "q12", "text": "It comes again in 1 h"},
        {"callback_query_id": "q13", "text": "AAPL is muted for 1 d"},
    ]
    gone = {"chat_id": CHAT, "message_id": 5, "reply_markup": {"inline_keyboard": []}}
    assert bot.calls("editMessageReplyMarkup") == [gone] * 3
    assert bot.calls("getUpdates") == [{"timeout": 10, "limit": 50, "allowed_updates": ["callback_query", "message"]}]


def test_a_mute_leaves_the_other_buttons_and_is_of_the_whole_symbol(desk: Desk, bot: Bot) -> None:
    symbol = "A very long symbol, of which a button has no room for more than the beginning"
    desk.plan("a1", symbol=symbol)
    first = [{"text": "ack", "callback_data": "ack:a1"}]
    short = f"mute:{symbol[:59]}"
    keyboard = {"inline_keyboard": [first, [{"text": "mute", "callback_data": short}]]}
    bot.press(short, reply_markup=keyboard)
    desk.poller().step()
    assert desk.asked == [Muted({"symbol": symbol}, desk.clock() + 86_400)]
    assert bot.calls("editMessageReplyMarkup")[0]["reply_markup"] == {"inline_keyboard": [first]}


def test_an_alert_that_is_not_known_is_said_to_be_so(desk: Desk, bot: Bot) -> None:
    bot.press("ack:gone")
    desk.poller().step()
    assert desk.asked == []
    assert bot.calls("answerCallbackQuery")[0]["text"] == "This alert is not known here any more"


def test_a_press_that_cannot_be_answered_counts_all_the_same(desk: Desk, bot: Bot) -> None:
    desk.plan("a1")
    too_old = {"ok": False, "error_code": 400, "description": "Bad Request: query is too old"}
    bot.service.on("POST", "*/answerCallbackQuery").answer(400, too_old)
    same = {"ok": False, "error_code": 400, "description": "Bad Request: message is not modified"}
    bot.service.on("POST", "*/editMessageReplyMarkup").answer(400, same)
    bot.press("ack:a1")
    assert desk.poller().step() == 0.0
    assert desk.asked == [Acknowledged("a1")]
    assert len(bot.calls("editMessageReplyMarkup")) == 1


# Who may ----------------------------------------------------------------------------------------------------


def test_a_stranger_is_ignored_counted_and_told_once(desk: Desk, bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    desk.plan("a1")
    poller = desk.poller()
    for number in (11, 12, 13):
        bot.press("ack:a1", STRANGER, number)
        poller.step()
    assert desk.asked == []
    assert bot.calls("answerCallbackQuery") == bot.calls("editMessageReplyMarkup") == []
    assert desk.health()["ignored"] == 3
    assert told(caplog, f"user {STRANGER} may not command it") == 1
    assert poller.step() is not None
    assert bot.calls("getUpdates")[-1]["offset"] == 14


def test_without_a_list_nobody_listens_and_no_button_is_shown(service: FakeService) -> None:
    dispatcher = TelegramDispatcher(TOKEN, CHAT, api_url=service.url)
    assert not dispatcher.listens
    assert dispatcher.listener() is None


@pytest.mark.parametrize("wrong", ["@anna", -5, "0", TOKEN, ["7", "anna"]])
def test_only_ids_of_users_can_be_listed(wrong: Any) -> None:
    with pytest.raises(ValueError, match="listen_to must be ids of users") as caught:
        TelegramDispatcher(TOKEN, CHAT, listen_to=wrong)
    assert TOKEN not in str(caught.value)


# Once -------------------------------------------------------------------------------------------------------


def test_what_comes_again_does_nothing_twice(desk: Desk, bot: Bot) -> None:
    desk.plan("a1")
    bot.forgets = False
    bot.press("snooze:a1:3600", number=11)
    poller = desk.poller()
    assert poller.step() == 0.0
    desk.clock.advance(5)
    assert poller.step() != 0.0
    assert desk.poller().step() != 0.0
    assert desk.asked == [Snoozed("a1", desk.clock() - 5 + 3600)]
    assert len(bot.calls("answerCallbackQuery")) == 1


def test_a_restart_goes_on_where_the_last_one_ended(desk: Desk, bot: Bot) -> None:
    desk.plan("a1")
    mute = {"text": "mute", "callback_data": "mute:AAPL"}
    bot.press("ack:a1", number=11, reply_markup={"inline_keyboard": [[mute]]})
    desk.poller().step()
    assert bot.calls("editMessageReplyMarkup")[0]["reply_markup"] == {"inline_keyboard": []}
    desk.poller().step()
    assert [call.get("offset") for call in bot.calls("getUpdates")] == [None, 12]


def test_after_a_week_of_silence_the_service_may_count_anew(desk: Desk, bot: Bot) -> None:
    desk.plan("a1", "a2")
    bot.press("ack:a1", number=1_000)
    desk.poller().step()
    desk.clock.advance(COUNTS_FOR)
    bot.updates = []  # it keeps none for longer than a day
    bot.press("ack:a2", number=3)
    desk.poller().step()
    assert desk.asked == [Acknowledged("a1"), Acknowledged("a2")]


class Killed(BaseException):
    """The process is gone."""


def test_what_a_crash_left_between_store_and_journal_is_handed_on_once(desk: Desk, bot: Bot) -> None:
    desk.plan("a1", "a2")

    def die(entry: Entry) -> bool:
        raise Killed

    bot.press("snooze:a1:60", number=11)
    bot.press("ack:a2", number=12)
    with pytest.raises(Killed):
        desk.poller("dead", die).step()
    desk.outbox.release("dead")
    desk.clock.advance(61)  # too late to snooze: it would be told at once
    for _ in range(2):
        desk.poller().step()
    assert desk.asked == [Acknowledged("a2")]
    assert bot.calls("getUpdates")[-1]["offset"] == 13


def test_of_two_processes_one_listens_and_the_other_takes_over(desk: Desk, bot: Bot) -> None:
    one, two = desk.poller("one"), desk.poller("two")
    assert one.step() is not None
    assert two.step() == ASK_AGAIN
    assert len(bot.calls("getUpdates")) == 1
    desk.clock.advance(LEASE)
    assert two.step() != ASK_AGAIN
    assert one.step() == ASK_AGAIN
    desk.outbox.release("two")
    assert one.step() != ASK_AGAIN


def test_one_that_stood_still_while_another_listened_does_nothing_twice(desk: Desk, bot: Bot) -> None:
    """Both heard the same press: the store tells the second one that it was heard."""
    desk.plan("a1")
    one, two = desk.poller("one"), desk.poller("two")
    one.step()
    bot.forgets = False
    bot.press("ack:a1", number=11)
    desk.clock.advance(LEASE)
    two.step()
    desk.outbox.release("two")
    one.step()
    assert desk.asked == [Acknowledged("a1")]


# What a service says instead --------------------------------------------------------------------------------


def test_a_wrong_token_ends_the_listening_and_is_told_once(
    desk: Desk, bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = {"ok": False, "error_code": 401, "description": "Unauthorized"}
    bot.service.on("POST", "*/getUpdates").answer(401, unknown)
    desk.plan("a1")
    assert desk.poller().step() is None
    assert told(caplog, "does not know bot_token") == 1
    assert "does not know bot_token" in desk.health()["deaf"]
    assert any(
        "does not hear its buttons or commands: " in each for each in problems({"tg": desk.health()}, [], desk.clock())
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Conflict: terminated by other getUpdates request", "another program listens to this bot"),
        ("Conflict: can't use getUpdates method while webhook is active", "delete it with deleteWebhook"),
    ],
)
def test_a_conflict_is_told_once_and_tried_again_slowly(
    desk: Desk, bot: Bot, caplog: pytest.LogCaptureFixture, said: str, words: str
) -> None:
    answers = bot.service.on("POST", "*/getUpdates")
    answers.answer(409, {"ok": False, "error_code": 409, "description": said})
    answers.answer(409, {"ok": False, "error_code": 409, "description": said})
    answers.answer(200, {"ok": True, "result": []})
    desk.plan("a1")
    poller = desk.poller()
    assert [poller.step(), poller.step()] == [CONFLICT_PAUSE] * 2
    assert told(caplog, words) == 1
    assert words in desk.health()["deaf"]
    assert poller.step() != CONFLICT_PAUSE
    assert desk.health()["deaf"] == ""
    assert told(caplog, "hears buttons and commands again") == 1


def test_a_429_is_waited_for_exactly_and_by_everybody(desk: Desk, bot: Bot) -> None:
    wait = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 170}}
    bot.service.on("POST", "*/getUpdates").answer(429, wait)
    assert desk.poller().step() == 170.0
    desk.clock.advance(169)
    assert desk.poller("two").step() == ASK_AGAIN


def test_a_service_that_is_away_is_asked_with_growing_pauses(
    desk: Desk, bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    bot.service.on("POST", "*/getUpdates").answer(502, b"")
    poller = desk.poller()
    assert [poller.step() for _ in range(8)] == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    assert told(caplog, "does not hear buttons or commands") == 1
    bot.service.on("POST", "*/getUpdates").answer(200, {"ok": True, "result": []})
    poller.step()
    bot.service.on("POST", "*/getUpdates").answer(502, b"")
    assert poller.step() == 1


def test_nobody_there_is_a_failure_that_passes(desk: Desk, bot: Bot) -> None:
    poller = desk.poller()
    bot.service.close()
    assert poller.step() == 1


def test_a_service_that_does_not_wait_is_not_asked_all_the_time(desk: Desk) -> None:
    assert (desk.poller().step() or 0.0) > 0.0
    assert LEAST > 0.5  # for a desk it is longer


def test_updates_that_cannot_be_read_are_passed_over(desk: Desk, bot: Bot) -> None:
    desk.plan("a1")
    bot.updates = [
        {"update_id": 11},
        {"update_id": 12, "callback_query": None},
        {"update_id": 13, "callback_query": {"id": "q", "from": {"id": "7"}, "data": "ack:a1"}},
        {"update_id": 14, "callback_query": {"id": "q", "from": {"id": ANNA}, "data": ["ack:a1"]}},
        {"update_id": 15, "callback_query": {"id": 5, "from": {"id": ANNA}, "data": "ack:a1"}},
        {"update_id": 16, "callback_query": {"id": "q", "from": {"id": ANNA}, "data": "rm -rf"}},
        {"update_id": 17, "message": {"text": "hello"}},
        {"no": "number"},
        "junk",
    ]
    bot.forgets = False
    poller = desk.poller()
    bot.press("ack:a1", number=18, reply_markup={"inline_keyboard": [["x"], "y", [{}]]})
    assert poller.step() == 0.0
    assert desk.asked == [Acknowledged("a1")]
    poller.step()
    assert bot.calls("getUpdates")[-1]["offset"] == 19
    assert desk.health()["ignored"] == 0


@pytest.mark.parametrize("answer", [{}, {"ok": True}, {"ok": True, "result": {}}, {"ok": True, "result": [{}]}, b"["])
def test_an_answer_that_cannot_be_confirmed_is_not_asked_for_at_once(desk: Desk, bot: Bot, answer: Any) -> None:
    bot.service.on("POST", "*/getUpdates").answer(200, answer)
    assert desk.poller().step() == 1


def test_presses_below_long_messages_are_read_whole(desk: Desk, bot: Bot) -> None:
    desk.plan("a1")
    for number in range(11, 31):
        bot.press("mute:A", number=number, text="п" * 4096)
    bot.press("ack:a1", number=31)
    desk.poller().step()
    assert desk.asked[-1] == Acknowledged("a1")
    assert len(json.dumps(bot.updates)) > 5 * MAX_ANSWER


# In a manager -----------------------------------------------------------------------------------------------


def telegram(service: FakeService, **more: Any) -> dict[str, Any]:
    block = {"type": "telegram", "bot_token": TOKEN, "chat_ids": [CHAT], "api_url": service.url, "rate_limit": 0}
    return {**block, "listen_to": [ANNA], **more}


def state(manager: AlertManager, channel: str) -> str:
    rows = manager.outbox.rows("SELECT state, detail FROM deliveries WHERE channel = ?", (channel,))
    return " ".join(next(rows, ("", "")))


def acknowledged(manager: AlertManager) -> bool:
    rows = manager.outbox.rows("SELECT id FROM alerts WHERE acknowledged IS NOT NULL")
    return next(rows, None) is not None


def pressed(bot: Bot) -> str:
    """What the first button of the first message says."""
    until(lambda: bot.calls("sendMessage"), timeout=20)
    data: str = bot.calls("sendMessage")[0]["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    return data


def test_a_press_acknowledges_and_cancels_what_is_pending(
    manage: Callable[..., AlertManager], service: FakeService, other: FakeService
) -> None:
    bot = Bot(service, wait=5)
    other.answer(503)
    manager = manage(tg=telegram(service), hook=other.url)
    manager.send_custom_alert("look")
    until(lambda: "503" in state(manager, "hook"))  # nothing of it is under way any more
    assert state(manager, "hook").startswith("pending")
    bot.press(pressed(bot))
    until(lambda: acknowledged(manager))
    assert state(manager, "hook") == "cancelled acknowledged"
    until(lambda: bot.calls("editMessageReplyMarkup"))
    assert bot.calls("answerCallbackQuery")[0]["text"] == "Acknowledged"


def test_the_end_does_not_wait_for_a_question_that_is_under_way(
    manage: Callable[..., AlertManager], service: FakeService
) -> None:
    service.answer(200, {"ok": True, "result": {"message_id": 1}})
    gate = threading.Event()
    update = {"update_id": 1, "callback_query": {"id": "q", "from": {"id": ANNA}, "data": "mute:AAPL"}}
    service.on("POST", "*/getUpdates").answer(200, {"ok": True, "result": [update]}, gate=gate)
    before = set(threading.enumerate())  # a poller of another test may have a question under way still
    manager = manage(tg=telegram(service))
    manager.start()
    service.wait_for(1)
    (poller,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "bt_alerts poller"]
    manager.close(timeout=5)
    assert poller.is_alive(), "it was waited for"
    gate.set()
    poller.join(10)
    assert not poller.is_alive()
    assert len(service.requests) == 1, "what came too late is left for the next time"


def test_settings_that_change_are_followed(manage: Callable[..., AlertManager], service: FakeService) -> None:
    bot = Bot(service, wait=5)
    manager = manage(hook=webhook(service.url))
    manager.start()
    manager.add_channel("tg", TelegramDispatcher(TOKEN, CHAT, listen_to=ANNA, api_url=service.url))
    until(lambda: bot.calls("getUpdates"))


def test_a_child_that_delivers_listens(tmp_path: Any, service: FakeService) -> None:
    bot = Bot(service, wait=5)
    config = {"alerts": {"tg": telegram(service)}, "delivery": {"worker": "process"}}
    with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
        manager.send_custom_alert("look")
        bot.press(pressed(bot))
        until(lambda: acknowledged(manager), timeout=20)


def test_of_several_workers_one_listens(tmp_path: Any, service: FakeService) -> None:
    bot = Bot(service, wait=1)
    file, store = tmp_path / "worker.json", str(tmp_path / "store.db")
    settings = {"alerts": {"tg": telegram(service)}, "delivery": {"worker": "external"}, "store": store}
    file.write_text(json.dumps(settings))
    file.chmod(0o600)
    command = [sys.executable, "-m", "bt_alerts", "worker", "-c", str(file)]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        with AlertManager(settings) as manager:
            manager.send_custom_alert("look")
            bot.press(pressed(bot))
            until(lambda: acknowledged(manager), timeout=20)
            until(lambda: len(manager.outbox.processes()) == 2, timeout=20)
            asked = len(bot.calls("getUpdates"))
            until(lambda: len(bot.calls("getUpdates")) > asked + 2, timeout=20)
            assert bot.most_asking == 1
    finally:
        for worker in workers:
            worker.terminate()
        assert [worker.wait(30) for worker in workers] == [0, 0]


def test_nobody_listens_where_nothing_is_sent(tmp_path: Any, service: FakeService) -> None:
    config = {"alerts": {"tg": telegram(service)}, "mode": "record"}
    before = set(threading.enumerate())
    with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
        manager.send_custom_alert("look")
        assert manager.flush(5)
        assert not [t for t in set(threading.enumerate()) - before if t.name == "bt_alerts poller"]
    assert service.requests == []
