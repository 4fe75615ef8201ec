"""What people do to the bot's messages: the Bot API's ``getUpdates``, and the answers to a button.

An update is read into who said it and what is asked for; who may is a list of ids, and nobody else is answered. Only
kinds of updates that :data:`READERS` has are asked for, each with a function that reads it.

It keeps nothing: which update was the last one is the business of :mod:`bt_alerts.delivery.pollers`, and so are pauses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bt_alerts.dispatchers.base import DeliveryFailed, Failure, Heard, Wish
from bt_alerts.dispatchers.http import Answer, HttpClient
from bt_alerts.dispatchers.telegram.api import description, judge
from bt_alerts.dispatchers.telegram.buttons import MUTE, Button, read_button

LIMIT = 50  # updates at once; each brings its message along
MOST = 8 * 1024**2  # bytes of an answer: a message of 4,096 characters, and the one it replies to, fifty times
MARGIN = 10.0  # seconds that an answer may take beside the wait
ANSWERING = 10.0  # seconds for each part of an answer
MAX_ANSWER_TEXT = 200  # characters


class Updates:
    """Hears the presses of one bot's buttons; a :class:`~bt_alerts.dispatchers.base.Listener`.

    Args:
        http: the client.
        api_url: address of the API.
        token: of the bot.
        users: ids of the people who may press.
    """

    def __init__(self, http: HttpClient, api_url: str, token: str, users: Collection[int]) -> None:
        self._http = http
        self._base = f"{api_url}/bot{token}"
        self._users = frozenset(str(user) for user in users)
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
        return heard

    def may(self, heard: Heard) -> bool:
        """Only who is listed."""
        return heard.who in self._users

    def answer(self, heard: Heard, text: str) -> None:
        """Show the text to who pressed, and take the button away from under the message."""
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
READERS: Mapping[str, Callable[[int, Mapping[str, Any]], Heard]] = {"callback_query": _pressed}
