"""What people ask in a chat: who may, what they are told, what it does, and that it happens once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, until
from bot_kit import ANNA, CHAT, READER, STRANGER, TOKEN, Bot, Desk, no_token_in_logs  # noqa: F401 - a fixture
from store_kit import SENT, attempt

from bt_alerts import Alert, AlertManager
from bt_alerts.alert import Attachment, Source
from bt_alerts.delivery.channel import Channel
from bt_alerts.delivery.commands import COMMANDS, listed
from bt_alerts.delivery.planner import Planner
from bt_alerts.delivery.pollers import ASKED_IN, MOST_ASKED, MOST_REFUSED, Pollers
from bt_alerts.dispatchers.base import Context
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.outbox.base import AlertState, NewDelivery, Outbox, Process
from bt_alerts.outbox.entries import Acknowledged, Entry, Muted, encode
from bt_alerts.outbox.history import Query, alerts
from bt_alerts.outbox.journal import MemoryJournal
from bt_alerts.render.drawer import Drawer
from bt_alerts.render.look import HIDDEN, Look
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.summary import summary
from bt_alerts.testing import FakeService


@pytest.fixture
def bot(service: FakeService) -> Bot:
    bot = Bot(service)
    service.on("POST", "*/getMe").answer(200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "DeskBot"}})
    return bot


class Room(Desk):
    """A desk with a reader, whose entries reach the store at once, as the planner would have them there."""

    def __init__(self, outbox: Outbox, service: FakeService, clock: Clock) -> None:
        super().__init__(outbox, service, clock)
        self.journal = MemoryJournal()
        self.planner = Planner(outbox, RuleSettings(), self.channels, clock=clock)
        self.dispatcher = TelegramDispatcher(
            TOKEN, CHAT, listen_to=[ANNA], readers=[READER], api_url=service.url, rate_limit=0
        )
        self.channels["tg"] = Channel("tg", self.dispatcher)

    def ask(self, entry: Entry) -> bool:
        self.journal.append(encode(entry))
        self.planner.drain(self.journal)
        return super().ask(entry)

    def tell(self, message: str, delivered: bool = False, **fields: Any) -> Alert:
        """An alert in the store."""
        alert = Alert.make(message, time=fields.pop("time", self.clock()), **fields)
        with self.outbox.transaction() as tx:
            seq = tx.add_alert(alert, AlertState.PLANNED if delivered else AlertState.RECORDED)
            if delivered and seq is not None:
                key, now = self.dispatcher.targets()[0].key, self.clock()
                tx.add_deliveries(seq, [NewDelivery(alert.id, "tg", key, "", now, now, 1e12)], now)
        if delivered:
            attempt(self.outbox, "tg", SENT, now=self.clock())
        return alert

    def trail(self) -> list[dict[str, Any]]:
        rows = self.outbox.rows("SELECT body, state FROM alerts WHERE kind = 'command' ORDER BY seq")
        found = []
        for body, state in rows:
            assert state == "recorded"
            found.append(json.loads(body)["data"])
        return found


@pytest.fixture
def room(outbox: Outbox, bot: Bot, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr("bt_alerts.delivery.pollers.LEAST", 60.0)  # a busy machine may take seconds for one step
    return Room(outbox, bot.service, clock)


def asked(room: Room, bot: Bot, text: str, who: int = ANNA, **message: Any) -> str:
    """What the bot answers; empty where it answers nothing."""
    before = len(bot.said())
    bot.write(text, who, **message)
    room.poller().step()
    return "\n".join(bot.said()[before:])


# Who may ----------------------------------------------------------------------------------------------------


def test_who_is_listed_commands_who_reads_asks_and_a_stranger_gets_no_answer(room: Room, bot: Bot) -> None:
    room.plan("alert-one")
    assert "AAPL is muted for 1 h" in asked(room, bot, "/mute AAPL 1h", ANNA)
    assert "pending" in asked(room, bot, "/status", READER)
    assert asked(room, bot, "/status", STRANGER) == ""
    assert "may read here, but not command" in asked(room, bot, "/ack alert-one", READER)
    assert asked(room, bot, "/ack alert-one", STRANGER) == ""
    assert room.asked == [Muted({"symbol": "AAPL"}, room.clock() + 3600)]
    assert room.health()["ignored"] == 2
    assert [(each["user"], each["command"], each["allowed"], each["outcome"]) for each in room.trail()] == [
        ("7", "/mute AAPL 1h", True, "done"),
        ("9", "/status", True, "answered"),
        ("8", "/status", False, "ignored"),
        ("9", "/ack alert-one", False, "refused"),
        ("8", "/ack alert-one", False, "ignored"),
    ]


def test_a_reader_presses_no_button_and_sees_none_where_nobody_commands(room: Room, bot: Bot) -> None:
    room.plan("a1")
    bot.press("ack:a1", READER)
    room.poller().step()
    assert room.asked == []
    assert room.health()["ignored"] == 1
    only = TelegramDispatcher(TOKEN, CHAT, readers=READER, api_url=bot.service.url)
    assert only.listens
    only.deliver(Alert.make("x"), only.targets()[0], Context(key="k", buttons=True))
    assert "reply_markup" not in bot.calls("sendMessage")[-1]


def test_only_ids_of_users_can_read() -> None:
    with pytest.raises(ValueError, match="readers must be ids of users"):
        TelegramDispatcher(TOKEN, CHAT, readers="@anna")


def test_help_and_the_menu_show_what_there_is(room: Room, bot: Bot) -> None:
    for command in COMMANDS:
        assert command == "start" or f"/{command}" in asked(room, bot, "/help")
    of_reader = asked(room, bot, "/start", READER)
    assert "/status" in of_reader
    assert "/mute" not in of_reader
    menu = bot.calls("setMyCommands")[0]["commands"]
    assert [(each["command"], each["description"]) for each in menu] == listed()


def test_the_menu_is_shown_once_and_its_refusal_does_no_harm(room: Room, bot: Bot) -> None:
    bot.service.on("POST", "*/setMyCommands").answer(
        400, {"ok": False, "error_code": 400, "description": "Bad Request"}
    )
    poller = room.poller()
    for _ in range(3):
        bot.write("/help")
        poller.step()
    assert len(bot.said()) == 3
    assert len(bot.calls("setMyCommands")) == 1


def test_strangers_fill_neither_the_store_nor_the_log(room: Room, bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    poller = room.poller()
    for number in range(1, MOST_REFUSED + 31):
        bot.write("/status", STRANGER, number)
    poller.step()
    assert room.health()["ignored"] == MOST_REFUSED + 30
    assert len(room.trail()) == MOST_REFUSED
    assert sum(f"user {STRANGER} may not command" in record.getMessage() for record in caplog.records) == 1
    assert bot.said() == []


def test_who_asks_too_often_is_not_answered_until_a_minute_later(room: Room, bot: Bot) -> None:
    poller = room.poller()
    for number in range(1, MOST_ASKED + 6):
        bot.write("/mute AAPL 1h", ANNA, number)
    bot.write("/help", READER, 99)
    poller.step()
    assert len(bot.said()) == MOST_ASKED + 1
    assert len(room.asked) == MOST_ASKED
    assert room.health()["ignored"] == 5
    room.clock.advance(ASKED_IN)
    bot.write("/help", ANNA, 100)
    poller.step()
    assert len(bot.said()) == MOST_ASKED + 2


# How it is written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "/mute AAPL 1h",
        "  /mute\u00a0 AAPL\t1h ",
        "/MUTE\nAAPL 60m",
        "/mute AAPL 1 h",
        "/mute@DeskBot AAPL",
        "/mute_AAPL",
    ],
)
def test_spaces_case_and_the_name_of_the_bot_do_not_matter(room: Room, bot: Bot, text: str) -> None:
    assert "AAPL is muted for 1 h" in asked(room, bot, text)
    assert room.asked == [Muted({"symbol": "AAPL"}, room.clock() + 3600)]


def test_in_a_group_another_bots_commands_are_passed_over(room: Room, bot: Bot) -> None:
    group = {"chat": {"id": CHAT, "type": "supergroup"}}
    for text in ("/status@OtherBot", "/weather", "/status@OtherBot", "hello", "status", "//status", "/"):
        assert asked(room, bot, text, **group) == ""
    assert len(bot.calls("getMe")) == 1
    assert room.trail() == []
    assert room.health()["ignored"] == 0
    assert "/help" in asked(room, bot, "/weather@deskbot", **group)
    assert "Status at" in asked(room, bot, "/status", message_thread_id=77, is_topic_message=True, **group)
    call = bot.calls("sendMessage")[-1]
    assert (call["chat_id"], call["message_thread_id"]) == (CHAT, 77)
    assert call["reply_parameters"]["allow_sending_without_reply"] is True


def test_a_name_that_cannot_be_learned_is_asked_for_again(room: Room, bot: Bot) -> None:
    me = bot.service.on("POST", "*/getMe")
    me.answer(502, b"")
    me.answer(200, {"ok": True, "result": {"username": "DeskBot"}})
    bot.write("/help@DeskBot")
    poller = room.poller()
    poller.step()
    assert bot.said() == []
    poller.step()
    assert len(bot.said()) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"forward_origin": {"type": "user"}},
        {"sender_chat": {"id": CHAT}},
        {"via_bot": {"id": 3}},
        {"from": {"id": ANNA, "is_bot": True}},
        {"from": {"id": str(ANNA)}},
        {"chat": {}},
        {"message_id": "5"},
    ],
)
def test_what_is_not_written_by_the_person_asks_for_nothing(room: Room, bot: Bot, message: dict[str, Any]) -> None:
    bot.write("/mute AAPL 1h", **message)
    room.poller().step()
    assert room.asked == []
    assert bot.said() == []
    assert room.poller().step() != 0.0


def test_what_is_edited_asks_for_nothing(room: Room, bot: Bot) -> None:
    bot.write("/mute AAPL 1h", number=11)
    bot.updates = [{"update_id": 11, "edited_message": bot.updates[0]["message"]}]
    room.poller().step()
    assert room.asked == []
    assert bot.said() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/foo", "I do not know /foo. /help"),
        ("/mute AAPL soon", "AAPL soon is muted for 1 h"),
        ("/mute AAPL 15", "with its unit"),
        ("/mute AAPL 0h", "with its unit"),
        ("/mute AAPL 1.2.3h", "with its unit"),
        ("/mute AAPL 999999d", "with its unit"),
        ("/ack", "/last shows"),
        ("/ack a b", "/last shows"),
        ("/ack nosuchalert", "There is no alert nosuchalert"),
        ("/ack x", "6 characters are enough"),
        ("/last many", "Write /last"),
        ("/last 0", "Write /last"),
        ("/chart", "/chart AAPL"),
        ("/chart NOPE", "There is no alert of NOPE"),
        ("/unmute", "Nothing is muted"),
        ("/mute", "Nothing is muted"),
        ("/last", "No alert was delivered yet"),
        ("/positions", "No open position"),
        ("/pnl", "no trade closed"),
        ("/health", "All is well"),
    ],
)
def test_every_mistake_and_every_empty_store_has_a_sentence(room: Room, bot: Bot, text: str, words: str) -> None:
    assert words in asked(room, bot, text)


# Once -------------------------------------------------------------------------------------------------------


def test_a_replayed_update_does_nothing_twice_also_after_a_restart(room: Room, bot: Bot) -> None:
    room.plan("alert-one")
    bot.forgets = False
    bot.write("/ack alert-one", number=11)
    bot.write("/mute AAPL 1h", number=12)
    bot.write("/status", number=13)
    bot.updates = [*bot.updates, *bot.updates]  # and twice in one answer
    poller = room.poller()
    assert poller.step() == 0.0
    room.clock.advance(5)
    for again in (poller, room.poller(), room.poller()):
        assert again.step() != 0.0
    assert room.asked == [Acknowledged("alert-one"), Muted({"symbol": "AAPL"}, room.clock() - 5 + 3600)]
    assert len(bot.said()) == 3
    assert len(room.trail()) == 3


class Killed(BaseException):
    """The process is gone."""


def test_what_a_crash_cut_off_is_done_once_and_kept_once(room: Room, bot: Bot) -> None:
    def die(entry: Entry) -> bool:
        raise Killed

    bot.write("/mute AAPL 1h", number=11)
    with pytest.raises(Killed):
        room.poller("dead", die).step()
    room.outbox.release("dead")
    for _ in range(2):
        room.poller().step()
    assert room.asked == [Muted({"symbol": "AAPL"}, room.clock() + 3600)]
    assert [each["command"] for each in room.trail()] == ["/mute AAPL 1h"]


def test_of_two_that_heard_the_same_one_answers(room: Room, bot: Bot) -> None:
    one, two = room.poller("one"), room.poller("two")
    one.step()
    bot.forgets = False
    bot.write("/mute AAPL 1h", number=11)
    room.clock.advance(60)
    two.step()
    room.outbox.release("two")
    one.step()
    assert len(room.asked) == len(bot.said()) == len(room.trail()) == 1


def test_an_answer_that_cannot_be_made_is_no_reason_to_hear_it_for_ever(
    room: Room, bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    with room.outbox.transaction() as tx:
        tx.state.put("mute", "no JSON", 9e9)
    assert "cannot be answered" in asked(room, bot, "/mute")
    assert room.poller().step() != 0.0
    assert room.trail()[0]["outcome"] == "failed"


@pytest.mark.parametrize(
    "word", ["a\x00bcdefg", "\ud800abcdef", "9" * 15, "9" * 400, "%_%_%_%", "'; DROP TABLE alerts"]
)
def test_no_word_keeps_the_store_from_answering(room: Room, bot: Bot, word: str) -> None:
    for command in ("ack", "chart", "mute", "unmute", "last", "positions", "status"):
        assert asked(room, bot, f"/{command} {word}"), command
    assert "failed" not in {each["outcome"] for each in room.trail()}


def test_an_answer_that_does_not_arrive_changes_nothing(room: Room, bot: Bot) -> None:
    bot.service.on("POST", "*/sendMessage").answer(403, {"ok": False, "error_code": 403, "description": "blocked"})
    bot.write("/mute AAPL 1h")
    poller = room.poller()
    assert poller.step() == 0.0
    poller.step()
    assert len(room.asked) == len(bot.said()) == 1


# What is told -----------------------------------------------------------------------------------------------


def fill(
    room: Room, size: float, price: float, *, symbol: str = "AAPL", strategy: str = "SmaCross", **data: Any
) -> None:
    held = {"position_size": size, "position_price": price, **data}
    kind = "trade.closed" if "pnlcomm" in data else "order.completed"
    type_ = "trade" if "pnlcomm" in data else "order"
    room.tell(
        "x", type=type_, kind=kind, symbol=symbol, strategy=strategy, data=held, action=f"{symbol}{len(str(data))}"
    )


def trading(room: Room) -> None:
    for strategy in ("SmaCross", "Rsi"):
        room.tell(
            "x", type="strategy", kind="strategy.started", strategy=strategy, run="r", data={"value": 10_000.0},
            time=room.clock() - 600,
        )  # fmt: skip
    fill(room, 10, 150.25)
    fill(room, -3, 7.5, symbol="7203", strategy="Rsi")
    fill(room, 0, 0.0, symbol="MSFT", pnlcomm=123.45, pnl=125.0)


def test_positions_and_profit_are_those_of_the_alerts(room: Room, bot: Bot) -> None:
    trading(room)
    text = asked(room, bot, "/positions", READER)
    assert "AAPL long 10 at 150.25 (SmaCross)" in text
    assert "7203 short 3 at 7.50 (Rsi)" in text
    assert "MSFT" not in text
    text = asked(room, bot, "/pnl", READER)
    for period in ("Today", "Seven days", "Thirty days"):
        assert f"{period}: +123.45 (+1.23 %), 1 closed, 1 won, 0 lost" in text


def test_alerts_of_a_backtest_count_only_where_they_are_sent(room: Room, bot: Bot) -> None:
    room.tell("x", type="order", kind="order.completed", symbol="OLD", strategy="S", source=Source.HISTORY,
              data={"position_size": 1.0, "position_price": 5.0})  # fmt: skip
    assert "No open position" in asked(room, bot, "/positions")
    sends = Pollers(room.outbox, room.channels, room.ask, owner="one", history=True, clock=room.clock)
    listener = room.dispatcher.listener()
    assert listener is not None
    bot.write("/positions")
    sends.poller(listener.name).step()
    assert "OLD long 1" in bot.said()[-1]


@pytest.mark.parametrize("privacy", ["hide_amounts", "percent_only"])
def test_privacy_holds_in_every_answer(room: Room, bot: Bot, privacy: str) -> None:
    trading(room)
    told = room.tell("bought", delivered=True, title="BUY 42 AAPL at 987.65", symbol="AAPL")
    with_bars(room)
    room.dispatcher.look = Look(privacy=privacy)
    answers = {
        text: asked(room, bot, text) for text in ("/positions", "/pnl", "/last", "/status", "/chart AAPL", "/health")
    }
    for secret in ("150.25", "123.45", "987.65", "42 AAPL", "10 at", "7.50", "101.5"):
        for text, said in answers.items():
            assert secret not in said, text
    assert f"AAPL long {HIDDEN} at {HIDDEN}" in answers["/positions"]
    assert "7203 short" in answers["/positions"]
    assert ("+1.23 %" in answers["/pnl"]) is (privacy == "percent_only")
    assert "BUY" in answers["/last"]
    assert "BUY" in asked(room, bot, f"/ack {told.id}")
    assert "987.65" not in bot.said()[-1]


def test_status_tells_strategies_feeds_processes_channels_and_mutes(room: Room, bot: Bot) -> None:
    trading(room)
    ended = {"type": "strategy", "kind": "process.died", "data": {"strategies": ["Rsi"]}}
    room.tell("x", **ended)
    room.tell("x", type="data", kind="data.disconnected", symbol="ES1", strategy="SmaCross")
    now = room.clock()
    room.outbox.check_in(Process("1-x", "worker", {"pid": 4711, "host": "h"}, now - 500, now - 400, None))
    room.plan("waiting")
    room.outbox.enable_channel("tg", "")
    asked(room, bot, "/mute AAPL 2h")
    text = asked(room, bot, "/status")
    assert "✅ SmaCross: running since" in text
    assert "❌ Rsi: died since" in text
    assert "⚠️ ES1 (SmaCross): without a connection since" in text
    assert "❌ worker process 4711: no sign of life for 7 min" in text
    assert "channel tg: 1 pending, 0 dead letters" in text
    assert "🔇 AAPL for 2 h" in text
    assert "2 problems: see /health" in text
    assert "ended without a goodbye" in asked(room, bot, "/health")


def test_last_shows_what_arrived_with_ids_that_acknowledge(room: Room, bot: Bot) -> None:
    first = room.tell("one", delivered=True, title="First <b>& bold</b>", symbol="AAPL")
    second = room.tell("two", delivered=True, title="Second")
    room.plan("not-yet")
    text = asked(room, bot, "/last")
    assert text.index("Second") < text.index("First")
    assert "not-yet" not in text
    assert asked(room, bot, "/last 1").count("/ack_") == 1
    assert "/ack_1" in text
    assert "Acknowledged: 🟡 First" in asked(room, bot, "/ack_1")
    assert "Acknowledged: 🟡 Second" in asked(room, bot, "/ack last")
    assert "/ack_" not in asked(room, bot, "/last")
    assert "(it was before)" in asked(room, bot, f"/ack {first.id}")
    assert room.asked[:2] == [Acknowledged(first.id), Acknowledged(second.id)]


def test_an_id_that_could_be_of_several_is_not_guessed(room: Room, bot: Bot) -> None:
    room.plan("abcdef-one", "abcdef-two")
    assert "Several alerts" in asked(room, bot, "/ack abcdef")
    assert "Acknowledged" in asked(room, bot, "/ack abcdef-o")
    assert room.asked == [Acknowledged("abcdef-one")]


def test_a_mute_finds_the_symbol_as_alerts_have_it_and_ends(room: Room, bot: Bot) -> None:
    room.plan("a1", symbol="BRK.B USD")
    assert "BRK.B USD is muted for 2 d" in asked(room, bot, "/mute brk.b usd 2d")
    assert "known yet" in asked(room, bot, "/mute NOPE 30m")
    assert "🔇 NOPE" in asked(room, bot, "/mute")
    assert "BRK.B USD is muted no more" in asked(room, bot, "/unmute Brk.b uSd")
    assert room.asked[-1] == Muted({"symbol": "BRK.B USD"}, 0.0)
    assert "XYZ is not muted" in asked(room, bot, "/unmute XYZ")
    assert asked(room, bot, "/unmute").count("muted no more") == 1
    assert "Nothing is muted" in asked(room, bot, "/unmute")


def with_bars(room: Room) -> Alert:
    times = [room.clock() - 60 * i for i in range(9, 0, -1)]
    column = [101.5 + i for i in range(9)]
    bars: dict[str, list[Any]] = {"time": list(times), **dict.fromkeys(("open", "high", "low", "close"), column)}
    alert = Alert.make("x", title="SELL", symbol="AAPL", time=room.clock()).replace(bars=bars)
    with room.outbox.transaction() as tx:
        tx.add_alert(alert, AlertState.RECORDED)
    return alert


def test_a_chart_is_the_newest_picture_or_the_bars_in_words(room: Room, bot: Bot, tmp_path: Path) -> None:
    room.plan("a1", symbol="MSFT")
    assert "No alert of MSFT has a picture" in asked(room, bot, "/chart msft")
    with_bars(room)
    text = asked(room, bot, "/chart aapl")
    assert "Open, high, low, close" in text
    assert "109.50 109.50 109.50 109.50" in text
    (tmp_path / "mine.png").write_bytes(b"\x89PNG made up")
    room.tell("x", symbol="AAPL", attachments=[Attachment.from_path(tmp_path / "mine.png")])
    assert "Open, high" not in asked(room, bot, "/chart AAPL")
    until(lambda: [r for r in bot.service.requests if r.path.endswith("/sendPhoto")])
    (tmp_path / "mine.png").unlink()
    assert "AAPL" in asked(room, bot, "/chart AAPL")  # its text at least


# What is kept -----------------------------------------------------------------------------------------------


def test_commands_are_no_alerts_to_anybody(room: Room, bot: Bot) -> None:
    asked(room, bot, "/help")
    assert room.trail()
    assert "No alert yet." in asked(room, bot, "/status")
    (kept,) = list(room.outbox.rows("SELECT seq, id FROM alerts WHERE kind = 'command' ORDER BY seq LIMIT 1"))
    for one in kept:
        assert "There is no alert" in asked(room, bot, f"/ack {one}")
    assert "No alert was delivered yet" in asked(room, bot, "/last")
    assert next(iter(room.outbox.rows("SELECT count(*) FROM deliveries")))[0] == 0


def test_what_looks_like_a_secret_is_not_kept(room: Room, bot: Bot) -> None:
    asked(room, bot, f"/ack {TOKEN}")
    assert TOKEN not in json.dumps(room.trail())


# In a manager -----------------------------------------------------------------------------------------------


def test_a_whole_manager_answers_mutes_and_keeps_it(
    manage: Callable[..., AlertManager], service: FakeService, bot: Bot
) -> None:
    bot.wait = 2
    block = {"type": "telegram", "bot_token": TOKEN, "chat_ids": [CHAT], "api_url": service.url, "rate_limit": 0}
    manager = manage(tg={**block, "listen_to": [ANNA], "readers": [READER], "enabled": True})
    manager.send_custom_alert("look", title="Look here")
    until(lambda: list(manager.outbox.rows("SELECT 1 FROM deliveries WHERE state = 'delivered'")))
    bot.write("/last", READER, 11)
    until(lambda: any("Look here" in text and "/ack_" in text for text in bot.said()))
    bot.write("/ack_1", ANNA, 12)
    bot.write("/mute AAPL 1h", ANNA, 13)
    until(lambda: list(manager.outbox.rows("SELECT 1 FROM rule_state WHERE rule = 'mute'")))
    until(lambda: list(manager.outbox.rows("SELECT 1 FROM alerts WHERE acknowledged IS NOT NULL")))
    manager.emit(Alert.make("quiet", symbol="AAPL", id="quiet"))
    until(lambda: list(manager.outbox.rows("SELECT 1 FROM alerts WHERE id = 'quiet' AND state = 'suppressed'")))
    until(lambda: len(bot.said()) == 4)
    trail = manager.history(type="health")
    assert [each["command"] for each in trail["data"]] == ["/last", "/ack 1", "/mute AAPL 1h"]
    assert manager.outbox.ledger().balanced
    assert not [text for text in bot.said() if "Asked for" in text]


def test_what_was_asked_while_nobody_listened_is_answered_once_after_the_start(
    manage: Callable[..., AlertManager], service: FakeService, bot: Bot
) -> None:
    bot.wait, bot.forgets = 2, False
    block = {"type": "telegram", "bot_token": TOKEN, "chat_ids": [CHAT], "api_url": service.url, "listen_to": [ANNA]}
    manager = manage(tg=block)
    manager.start()
    bot.write("/mute AAPL 1h", ANNA, 11)
    until(lambda: len(bot.said()) == 1)
    manager.close(timeout=5)
    bot.write("/mute", ANNA, 12)
    second = manage(tg=block)
    second.start()
    until(lambda: len(bot.said()) == 2, timeout=20)
    assert "🔇 AAPL for 1 h" in bot.said()[-1]
    heard = len(bot.calls("getUpdates"))
    until(lambda: len(bot.calls("getUpdates")) > heard + 1)
    assert len(bot.said()) == 2
    assert list(second.outbox.rows("SELECT count(*) FROM alerts WHERE kind = 'command'")) == [(2,)]


def test_a_chart_is_drawn_as_the_channel_draws_them(
    manage: Callable[..., AlertManager], service: FakeService, bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Drawer.__init__.__kwdefaults__, "deadline", 60.0)  # type: ignore[arg-type]
    bot.wait = 2
    block = {"type": "telegram", "bot_token": TOKEN, "chat_ids": [CHAT], "api_url": service.url, "rate_limit": 0}
    manager = manage(tg={**block, "readers": [READER], "charts": "dark"})
    column = [101.5 + i for i in range(30)]
    times = [int(manager.clock()) - 60 * i for i in range(30, 0, -1)]
    bars: dict[str, list[Any]] = {"time": list(times), **dict.fromkeys(("open", "high", "low", "close"), column)}
    manager.emit(Alert.make("x", title="Kept", symbol="AAPL", channels=["nowhere"]).replace(bars=bars))
    until(lambda: list(manager.outbox.rows("SELECT 1 FROM alerts")))
    assert not service.requests or not bot.calls("sendMessage")
    bot.write("/chart AAPL", READER)
    until(lambda: [each for each in service.requests if each.path.endswith("/sendPhoto")], timeout=60)
    (photo,) = [each for each in service.requests if each.path.endswith("/sendPhoto")]
    assert b"\x89PNG" in photo.body
    assert "Kept" in bot.said()[0]
    assert "Open, high" not in bot.said()[0]


def test_commands_are_not_counted_in_reports(room: Room, bot: Bot) -> None:
    asked(room, bot, "/help")
    told = list(alerts(room.outbox, Query()))
    assert [alert.kind for alert in told] == ["command"]
    now = room.clock()
    report = summary(told, name="r", period="daily", since=now - 9, until=now + 9, zone="UTC", now=now)
    assert report.data["report"]["alerts"] == {}


def test_a_command_kind_that_is_on_is_sent_to_nobody(tmp_path: Path, service: FakeService, bot: Bot) -> None:
    bot.wait = 2
    block = {"type": "telegram", "bot_token": TOKEN, "chat_ids": [CHAT], "api_url": service.url, "rate_limit": 0}
    config = {"alerts": {"tg": {**block, "listen_to": [ANNA]}}, "events": {"command": "on"}}
    with AlertManager(config, store=str(tmp_path / "store.db")) as manager:
        manager.start()
        bot.write("/help")
        until(bot.said)
        assert manager.flush(5)
        assert next(iter(manager.outbox.rows("SELECT count(*) FROM deliveries")))[0] == 0
    assert len(bot.said()) == 1


def test_what_commands_write_are_these_entries_alone(room: Room, bot: Bot) -> None:
    """Nothing that a strategy or a broker would hear of."""
    room.plan("alert-one")
    for name in COMMANDS:
        for words in ("", " AAPL", " AAPL 1h", " alert-one", " last", " 3"):
            asked(room, bot, f"/{name}{words}")
            room.clock.advance(ASKED_IN)
    assert {type(entry) for entry in room.asked} == {Muted, Acknowledged}
