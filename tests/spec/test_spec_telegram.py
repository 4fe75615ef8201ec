"""Every method, field and type that goes to Telegram is one of the Bot API's own specification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.base import Context
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.testing import FakeService, Received


class Spec(Protocol):
    def __call__(self, name: str) -> Any: ...


@pytest.fixture
def bot_api(spec: Spec) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec("telegram-bot-api.json")
    return found


PLAIN = {"Integer": int, "String": str, "Boolean": bool, "Float": float}


def objections(api: Mapping[str, Any], value: Any, kind: str, at: str) -> list[str]:
    """Why a value is not of a type of the specification; nothing where it is."""
    if kind.startswith("Array of "):
        if not isinstance(value, list):
            return [f"{at} is no list"]
        return [each for n, item in enumerate(value) for each in objections(api, item, kind[9:], f"{at}[{n}]")]
    if kind in PLAIN:
        return [] if type(value) is PLAIN[kind] else [f"{at} is {value!r} and no {kind}"]
    if not isinstance(value, dict):
        return [f"{at} is {value!r} and no {kind}"]
    return fields_objections(api, value, api["types"][kind]["fields"], at)


def fields_objections(
    api: Mapping[str, Any], given: Mapping[str, Any], fields: list[dict[str, Any]], at: str
) -> list[str]:
    known = {field["name"]: field for field in fields}
    found = [f"{at}.{name} does not exist" for name in given if name not in known]
    found += [f"{at}.{name} is missing" for name, field in known.items() if field["required"] and name not in given]
    for name in given.keys() & known.keys():
        ways = [objections(api, given[name], kind, f"{at}.{name}") for kind in known[name]["types"]]
        if all(ways):
            found += ways[0]
    return found


def read(request: Received, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a request. Those of a form are text: a plain one as such, any other one as JSON."""
    if "json" in request.headers["content-type"]:
        return dict(request.json())
    types = {field["name"]: field["types"] for field in fields}
    text = {name for name, value in request.form().items() if types.get(name) == ["String"] or value.startswith("@")}
    form = {name: value if name in text else json.loads(value) for name, value in request.form().items()}
    parts = request.parts()
    attached = {name for name, (filename, _, _) in parts.items() if filename is not None}
    named = {item["media"].removeprefix("attach://") for item in form.get("media", [])}
    assert named <= attached, "an album names a file that is not there"
    # A file that a field is: the type of the specification is InputFile or text.
    return form | dict.fromkeys(attached - named, "a file")


def everything_that_is_sent(service: FakeService, folder: Path) -> None:
    """Deliver alerts of every sort, with every setting."""

    def files(*names: str) -> list[Attachment]:
        for name in names:
            (folder / name).write_bytes(b"content")
        return [Attachment.from_path(folder / name) for name in names]

    settings: list[dict[str, Any]] = [
        {},
        {
            "parse_mode": "MarkdownV2",
            "protect_content": True,
            "disable_notification": True,
            "disable_web_page_preview": False,
        },
        {"parse_mode": ""},
    ]
    for options in settings:
        dispatcher = TelegramDispatcher("1:a", ["-100123:77", "@my_channel", 5], api_url=service.url, **options)
        for target in dispatcher.targets():
            dispatcher.check(target)
            for names in ((), ("one.png",), ("one.png", "two.png"), ("trades.csv",), ("one.png", "trades.csv")):
                for buttons in (False, True):
                    for message in ("short", "long " * 1500):
                        alert = Alert.make(message, title="T", symbol="AAPL", attachments=files(*names))
                        context = Context(key="k", buttons=buttons, silent=buttons, replies_to=("4",) * buttons)
                        dispatcher.deliver(alert, target, context)


def test_everything_that_is_sent_is_in_the_specification(
    bot_api: Mapping[str, Any], service: FakeService, tmp_path: Path
) -> None:
    service.answer(200, {"ok": True, "result": {"message_id": 7}})
    everything_that_is_sent(service, tmp_path)
    used: dict[str, set[str]] = {}
    found: list[str] = []
    for request in service.requests:
        name = request.path.rpartition("/")[2]
        method = bot_api["methods"][name]
        given = read(request, method.get("fields", []))
        used.setdefault(name, set()).update(given)
        found += fields_objections(bot_api, given, method.get("fields", []), name)
    assert found == []
    assert used.keys() == {"getMe", "getChat", "sendMessage", "sendPhoto", "sendMediaGroup", "sendDocument"}
    every = {"chat_id", "message_thread_id", "disable_notification", "protect_content", "reply_parameters"}
    assert used["sendMessage"] == every | {"text", "parse_mode", "link_preview_options", "reply_markup"}
    assert used["sendPhoto"] == every | {"photo", "caption", "parse_mode", "reply_markup"}
    assert used["sendMediaGroup"] == every | {"media"}
    assert used["sendDocument"] == every | {"document"}


def test_listening_and_answering_are_in_the_specification(bot_api: Mapping[str, Any], service: FakeService) -> None:
    buttons = [[{"text": "a", "callback_data": "ack:a1"}], [{"text": "m", "callback_data": "mute:AAPL"}]]
    message = {"message_id": 5, "date": 1, "chat": {"id": -5, "type": "group"}}
    query = {"id": "q", "from": {"id": 7, "is_bot": False, "first_name": "Anna"}, "chat_instance": "c"}
    written = {**message, "from": query["from"], "text": "/last@Desk"}
    assert objections(bot_api, written, "Message", "message") == []
    updates = [
        {"update_id": 10, "message": written},
        {"update_id": 11, "callback_query": {**query, "data": "ack:a1", "message": message}},
        {
            "update_id": 12,
            "callback_query": {
                **query,
                "data": "mute:AAPL",
                "message": {**message, "reply_markup": {"inline_keyboard": buttons}},
            },
        },
    ]
    names = {name: {f["name"] for f in bot_api["types"][name]["fields"]} for name in ("Update", "CallbackQuery")}
    assert all(update.keys() <= names["Update"] for update in updates)
    assert {*query, "data", "message"} <= names["CallbackQuery"]
    assert objections(bot_api, {**message, "reply_markup": {"inline_keyboard": buttons}}, "Message", "message") == []
    service.answer(200, {"ok": True, "result": True})
    service.on("POST", "*/getUpdates").answer(200, {"ok": True, "result": updates})
    service.on("POST", "*/getMe").answer(200, {"ok": True, "result": {"username": "Desk"}})
    service.on("POST", "*/sendMessage").answer(200, {"ok": True, "result": {"message_id": 1}})
    listener = TelegramDispatcher("1:a", 5, listen_to=7, api_url=service.url).listener()
    assert listener is not None
    listener.began([("status", "x" * 300), ("help", "what you can ask")])
    for heard in listener.hear(10, 10.0):
        assert listener.may(heard)
        listener.answer(heard, "x" * 500)
    found, used = [], set()
    for request in service.requests:
        name = request.path.rpartition("/")[2]
        used.add(name)
        found += fields_objections(bot_api, request.json(), bot_api["methods"][name].get("fields", []), name)
    assert found == []
    assert used == {
        "getUpdates", "answerCallbackQuery", "editMessageReplyMarkup", "getMe", "setMyCommands", "sendMessage",
    }  # fmt: skip
    buttons_answered = [request for request in service.requests if request.path.endswith("/answerCallbackQuery")]
    assert all(len(request.json()["text"]) <= 200 for request in buttons_answered)
    menu = next(request.json() for request in service.requests if request.path.endswith("/setMyCommands"))
    assert all(len(each["description"]) <= 256 for each in menu["commands"])


def test_what_answers_are_read_for_is_in_the_specification(bot_api: Mapping[str, Any]) -> None:
    def names(kind: str) -> set[str]:
        return {field["name"] for field in bot_api["types"][kind]["fields"]}

    assert {"retry_after", "migrate_to_chat_id"} <= names("ResponseParameters")
    assert "message_id" in names("Message")
    assert "username" in names("User")
    assert {"title", "username"} <= names("ChatFullInfo")
    returns = {name: bot_api["methods"][name]["returns"] for name in ("sendMessage", "sendPhoto", "sendMediaGroup")}
    assert returns == {"sendMessage": ["Message"], "sendPhoto": ["Message"], "sendMediaGroup": ["Array of Message"]}


def test_the_limits_are_those_of_the_specification(bot_api: Mapping[str, Any]) -> None:
    def about(method: str, name: str) -> str:
        fields = bot_api["methods"][method]["fields"]
        return str(next(field["description"] for field in fields if field["name"] == name))

    assert "1-4096 characters after entities parsing" in about("sendMessage", "text")
    assert "0-1024 characters after entities parsing" in about("sendPhoto", "caption")
    assert "2-10 items" in about("sendMediaGroup", "media")
    assert "10 MB" in about("sendPhoto", "photo")
    data = next(f for f in bot_api["types"]["InlineKeyboardButton"]["fields"] if f["name"] == "callback_data")
    assert "1-64 bytes" in data["description"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"chat_id": 5, "text": "x", "nonsense": 1}, "sendMessage.nonsense does not exist"),
        ({"chat_id": 5}, "sendMessage.text is missing"),
        ({"chat_id": 5, "text": 6}, "sendMessage.text is 6 and no String"),
        ({"chat_id": 5, "text": "x", "reply_parameters": {}}, "sendMessage.reply_parameters.message_id is missing"),
    ],
)
def test_these_tests_would_notice(bot_api: Mapping[str, Any], given: dict[str, Any], wanted: str) -> None:
    fields = bot_api["methods"]["sendMessage"]["fields"]
    assert fields_objections(bot_api, given, fields, "sendMessage") == [wanted]
