"""What people say to the bot: the Bot API's ``getUpdates``, and the answers to a button and to a command.

An update is read into who said it and what is asked for; who may is a list of ids, and nobody else is answered. Only
kinds of updates that :data:`READERS` has are asked for, each with a function that reads it.

A message asks for something where it begins with a slash: ``/status``, in a group also ``/status@the_bot``. What is
forwarded, written by a bot or in the name of a group, and what is edited afterwards asks for nothing.

It keeps nothing: which update was the last one is the business of :mod:`bt_alerts.delivery.pollers`, and so are pauses.
The bot's name, which never changes, is asked for once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.base import Command, DeliveryFailed, Failure, Heard, Wish
from bt_alerts.dispatchers.http import Answer, HttpClient
from bt_alerts.dispatchers.telegram.api import Step, Talk, description, judge, reply_to, result, uploads
from bt_alerts.dispatchers.telegram.buttons import MUTE, Button, read_button
from bt_alerts.dispatchers.telegram.markup import length
from bt_alerts.render.look import Escape, as_is
from bt_alerts.render.text import shorten, split

LIMIT = 50  # updates at once; each brings its message along
MOST = 8 * 1024**2  # bytes of an answer: a message of 4,096 characters, and the one it replies to, fifty times
MARGIN = 10.0  # seconds that an answer may take beside the wait
ANSWERING = 10.0  # seconds for each part of an answer
MAX_ANSWER_TEXT = 200  # characters, of the answer to a button
MAX_TEXT = 4096  # characters, of a message
MAX_ABOUT = 256  # characters about a command in the menu

_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?:\s+(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """How answers to commands are written.

    Args:
        parse_mode: ``"HTML"``, ``"MarkdownV2"`` or empty.
        escape: makes text safe in it.
        timeout: seconds for one answer in total.
        fields: of every message.
    """

    parse_mode: str = ""
    escape: Escape = as_is
    timeout: float = 30.0
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Updates:
    """Hears what people say to one bot; a :class:`~bt_alerts.dispatchers.base.Listener`.

    Args:
        http: the client.
        api_url: address of the API.
        token: of the bot.
        users: ids of the people who may command.
        readers: ids of those who may ask for what changes nothing.
        voice: how commands are answered.
        names: the bot's name by its account, once it is known; outlives this object.
    """

    def __init__(
        self,
        http: HttpClient,
        api_url: str,
        token: str,
        users: Collection[int],
        readers: Collection[int] = (),
        *,
        voice: Voice | None = None,
        names: dict[str, str] | None = None,
    ) -> None:
        self._http = http
        self._base = f"{api_url}/bot{token}"
        self._users = frozenset(str(user) for user in users)
        self._readers = frozenset(str(user) for user in readers)
        self._voice = voice or Voice()
        self._names = {} if names is None else names
        self.name = f"telegram-{hashlib.sha256(token.encode()).hexdigest()[:16]}"

    def hear(self, after: int, wait: float) -> Sequence[Heard]:
        """See :class:`~bt_alerts.dispatchers.base.Listener`."""
        fields: dict[str, Any] = {"timeout": int(wait), "limit": LIMIT, "allowed_updates": list(READERS)}
        if after:
            fields["offset"] = after
        answer = self._call("getUpdates", fields, wait + MARGIN, MOST)
        if answer.status == 409 or answer.json().get("error_code") == 409:
            raise answer.failed(Failure.PERMANENT, _conflict(description(answer)))
        judge(answer)
        updates = answer.json().get("result")
        if not isinstance(updates, list):  # it broke off, or it is no list
            raise answer.failed(Failure.RETRY, "sent updates that cannot be read")
        heard = [each for update in updates if (each := _heard(update)) is not None]
        if updates and not heard:  # without a number they cannot be confirmed, and would come again at once
            raise answer.failed(Failure.RETRY, "sent updates without a number")
        return [self._ours(each) for each in heard]

    def may(self, heard: Heard) -> bool:
        """Only who is listed."""
        return heard.who in self._users

    def may_read(self, heard: Heard) -> bool:
        """Only who is listed, as one or the other."""
        return heard.who in self._users or heard.who in self._readers

    def began(self, commands: Sequence[tuple[str, str]]) -> None:
        """Show the commands in the menu where people write to the bot."""
        menu = [{"command": name, "description": shorten(about, MAX_ABOUT)} for name, about in commands]
        judge(self._call("setMyCommands", {"commands": menu}, ANSWERING))

    def answer(self, heard: Heard, text: str, files: Sequence[Attachment] = ()) -> None:
        """Show the text to who pressed, and take the button away from under the message; or reply to a command."""
        if heard.command is not None:
            self._reply(heard, text, files)
            return
        query = {"callback_query_id": heard.reply["query"], "text": text[:MAX_ANSWER_TEXT]}
        failure: DeliveryFailed | None = None
        try:
            judge(self._call("answerCallbackQuery", query, ANSWERING))
        except DeliveryFailed as failed:  # it is too old to be answered, and its buttons go all the same
            failure = failed
        if "message" in heard.reply:
            changed = self._call("editMessageReplyMarkup", heard.reply["message"], ANSWERING)
            if "not modified" not in description(changed):  # two people pressed
                judge(changed)
        if failure is not None:
            raise failure

    def _reply(self, heard: Heard, text: str, files: Sequence[Attachment]) -> None:
        voice, where = self._voice, heard.reply
        talk = Talk(self._http, self._base, where["chat"], voice.timeout)
        talk.every, talk.opening = {**voice.fields, **where["fields"]}, {"reply_parameters": reply_to(where["message"])}
        mode = {"parse_mode": voice.parse_mode} if voice.parse_mode else {}
        # Measured as it is sent, with room for the marks of the heading.
        pages = split(text, MAX_TEXT - 16, lambda part: length(voice.escape(part), voice.parse_mode))
        steps, left_out = uploads(Alert.make("", attachments=files))
        for number, page in enumerate(pages):
            shown = voice.escape(page) if number else self._with_heading(page)
            fields = {"text": shown, "link_preview_options": {"is_disabled": True}, **mode}
            talk.send(Step(f"page {number + 1}", "sendMessage", fields))
        for step in steps:
            talk.follow(step)
        if left_out or talk.notes:
            raise DeliveryFailed(Failure.PERMANENT, "; ".join([*left_out, *talk.notes]))

    def _with_heading(self, page: str) -> str:
        first, end, rest = page.partition("\n")
        mark = {"HTML": ("<b>", "</b>"), "MarkdownV2": ("*", "*")}.get(self._voice.parse_mode, ("", ""))
        escape = self._voice.escape
        return f"{mark[0]}{escape(first)}{mark[1]}{end}{escape(rest)}" if rest and first.strip() else escape(page)

    def _ours(self, heard: Heard) -> Heard:
        """What names a bot is read only where it names ours; the name is asked for when one is needed."""
        named = heard.reply.get("named", "")
        if not named:
            return heard
        if self.name not in self._names:
            answer = self._call("getMe", {}, ANSWERING)
            judge(answer)
            self._names[self.name] = str(result(answer).get("username") or "")
        return heard if named.lower() == self._names[self.name].lower() else Heard(heard.number)

    def _call(self, method: str, fields: Mapping[str, Any], seconds: float, most: int = 64 * 1024) -> Answer:
        body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        head = {"Content-Type": "application/json"}
        return self._http.request("POST", f"{self._base}/{method}", timeout=seconds, data=body, headers=head, most=most)


def _conflict(words: str) -> str:
    if "webhook" in words.lower():
        return (
            "sends what is pressed to a webhook of this bot, so nothing is heard here: delete it with deleteWebhook, "
            f"or use a bot of its own for alerts ({words})"
        )
    return (
        "says that another program listens to this bot: end that one, or use a bot of its own for alerts; of programs "
        f"of bt_alerts those on one store take turns, those on several must not share a bot ({words})"
    )


# ------------------------------------------------------------------------------------- reading an update


def _heard(update: Any) -> Heard | None:
    """What an update says; None where it has not even a number."""
    number = _object(update).get("update_id")
    if type(number) is not int:
        return None
    for kind, read in READERS.items():
        if kind in update:
            try:
                return read(number, _object(update[kind]))
            except (ValueError, TypeError, LookupError, AttributeError):  # whatever a damaged one sets off
                break
    return Heard(number)


def _pressed(number: int, query: Mapping[str, Any]) -> Heard:
    """A button was pressed."""
    who = _object(query.get("from")).get("id")
    if type(who) is not int:
        return Heard(number)
    data = query.get("data")
    button = read_button(data) if isinstance(data, str) else None
    if button is None or not isinstance(query.get("id"), str):
        return Heard(number, str(who))
    message = _object(query.get("message"))
    chat, below = _object(message.get("chat")).get("id"), message.get("message_id")
    rows = _rows(message)
    reply: dict[str, Any] = {"query": query["id"]}
    if type(chat) is int and type(below) is int:
        # Who mutes a symbol may still want to acknowledge this alert; otherwise nothing is left to press.
        left = [row for row in rows if not any(each.get("callback_data") == data for each in row)]
        left = left if button.action == "mute" else []
        reply["message"] = {"chat_id": chat, "message_id": below, "reply_markup": {"inline_keyboard": left}}
    return Heard(number, str(who), _wish(button, rows), reply)


def _written(number: int, message: Mapping[str, Any]) -> Heard:
    """A message was written."""
    sender, text, chat = _object(message.get("from")), message.get("text"), _object(message.get("chat"))
    found = _COMMAND.fullmatch(text.strip()) if isinstance(text, str) else None
    who, where, below = sender.get("id"), chat.get("id"), message.get("message_id")
    if found is None or type(who) is not int or type(where) is not int or type(below) is not int:
        return Heard(number)
    # Forwarded, it says what somebody else said; of a group or a channel, nobody knows who wrote it.
    if sender.get("is_bot") or message.keys() & {"forward_origin", "forward_date", "sender_chat", "via_bot"}:
        return Heard(number)
    word, named, rest = found.groups(default="")
    name, _, argument = word.partition("_")  # a tap can only send /ack_1a2b3c4d
    command = Command(
        name.lower(), (*filter(None, [argument]), *rest.split()), bool(named) or chat.get("type") == "private"
    )
    topic = message.get("message_thread_id")
    fields = {"message_thread_id": topic} if type(topic) is int and message.get("is_topic_message") else {}
    reply = {"chat": where, "message": below, "fields": fields, "named": named}
    return Heard(number, str(who), None, reply, command)


def _wish(button: Button, rows: Sequence[Sequence[Mapping[str, Any]]]) -> Wish:
    if button.action != "mute":
        return Wish(button.action, button.of, seconds=button.seconds)
    others = [read_button(str(each.get("callback_data", ""))) for row in rows for each in row]
    alert = next((each.of for each in others if each is not None and each.action == "ack"), "")
    return Wish("mute", alert, button.of, MUTE)


def _rows(message: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    rows = _object(message.get("reply_markup")).get("inline_keyboard")
    return [[_object(each) for each in row] for row in rows if isinstance(row, list)] if isinstance(rows, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


#: What reads each kind of update; no other kind is asked for.
READERS: Mapping[str, Callable[[int, Mapping[str, Any]], Heard]] = {"callback_query": _pressed, "message": _written}
