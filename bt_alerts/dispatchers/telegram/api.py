"""The Bot API: one chat's requests within one attempt, the ways round a refusal, and what an answer means.

The texts of refusals are those of the API's own server (github.com/tdlib/telegram-bot-api): they have no other code.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.base import PASSING, DeliveryFailed, Failure
from bt_alerts.dispatchers.http import MAX_RETRY_AFTER, Answer, HttpClient, raise_for_status, retry_after
from bt_alerts.dispatchers.telegram.markup import without_markup
from bt_alerts.redact import redact
from bt_alerts.render.text import shorten

MAX_PHOTO, MAX_FILE = 10 * 1024**2, 50 * 1024**2  # bytes
MAX_ALBUM = 10
PHOTOS = ("image/jpeg", "image/png", "image/webp")
#: The message itself is refused, and no retry will help it.
REFUSED = (Failure.PERMANENT, Failure.TOO_LARGE)

#: What a description has in it; the class; whether the address will never work; what to do about it.
REFUSALS: tuple[tuple[str, Failure, bool, str], ...] = (
    (
        "chat not found|chat_id is empty|peer_id_invalid|user not found",
        Failure.PERMANENT,
        True,
        "does not know this chat: write to the bot first, or add it to the group or channel, and check chat_ids",
    ),
    (
        "thread not found|topic_deleted|topic_id_invalid",
        Failure.PERMANENT,
        True,
        "does not know this topic: check the number after the colon in chat_ids",
    ),
    ("topic_closed", Failure.PERMANENT, False, "says that the topic is closed: open it, or make the bot an admin"),
    (
        "rights|_forbidden|chat_restricted",
        Failure.PERMANENT,
        False,
        "does not let the bot send this there: change its permissions in the chat",
    ),
    ("too long|too_long|too large|too big", Failure.TOO_LARGE, False, "says that the message is too large"),
)

_TAKEN = re.compile(rb'\s*\{\s*"ok"\s*:\s*true\b')
_MESSAGE_ID = re.compile(rb'"message_id"\s*:\s*(\d+)')
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One message of an alert.

    Args:
        name: what a person calls it.
        method: of the API.
        fields: its own ones.
        files: parts of a multipart body: file name, bytes, content type.
    """

    name: str
    method: str
    fields: Mapping[str, Any]
    files: Mapping[str, tuple[str, bytes, str]] = dataclasses.field(default_factory=dict)


class Talk:
    """The requests of one attempt to one chat: what is learned on the way, and the time that is left.

    Args:
        http: the client.
        base: address of the API with the token.
        chat: id or ``@name``.
        timeout: seconds for all requests together.
    """

    def __init__(self, http: HttpClient, base: str, chat: int | str, timeout: float) -> None:
        self._http, self._base, self._until = http, base, time.monotonic() + timeout
        self.chat = chat
        self.moved = False
        #: Fields of every message, and of the first one alone.
        self.every: Mapping[str, Any] = {}
        self.opening: Mapping[str, Any] = {}
        #: Id of the first message that was taken.
        self.first = ""
        self.notes: list[str] = []
        #: Seconds that the chat asked to be left alone.
        self.wait: float | None = None
        self._begun = False
        self._gave_up = False

    def send(self, step: Step) -> None:
        """Send a message. Raises :class:`DeliveryFailed`."""
        fields = {**self.every, **step.fields}
        if not self._begun:
            fields |= self.opening
        else:
            fields["disable_notification"] = True  # one alert, one sound
            if step.files and self.first:
                fields["reply_parameters"] = reply_to(self.first)
        answer = self.ask(step.method, fields, step.files)
        self._begun = True
        found = _MESSAGE_ID.search(answer.body)
        self.first = self.first or (found[1].decode() if found else "")

    def go_on(self, first: str) -> None:
        """Go on with an alert whose first message, of this id, was taken by an earlier attempt."""
        self.first, self._begun = first, True

    def follow(self, step: Step) -> None:
        """Send a file that belongs to a message that was taken, or a page; what is refused for good is noted.

        A page that is refused for now raises: the next attempt goes on with it. A file is not worth that.
        """
        if self._gave_up:
            self.notes.append(f"sent without {step.name}")
            return
        try:
            self.send(step)
        except DeliveryFailed as failed:
            if not step.files and failed.failure in PASSING:
                raise
            self.notes.append(f"sent without {step.name}: {failed.reason}")
            self.wait = failed.retry_after
            self._gave_up = failed.failure not in REFUSED

    def ask(self, method: str, fields: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> Answer:
        """Call a method for the chat; where its refusal names a way round, take it. Raises :class:`DeliveryFailed`."""
        fields = {"chat_id": self.chat, **fields}
        while True:
            answer = self.call(method, fields, files)
            changed = self._way_round(answer, fields) if 400 <= answer.status < 500 else None
            if changed is None:
                judge(answer)
                return answer
            fields = changed

    def call(self, method: str, fields: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> Answer:
        """Call a method as it is; the answer may be a refusal. Raises :class:`DeliveryFailed` where there is none."""
        left = round(self._until - time.monotonic(), 2)
        if left <= 0:
            raise DeliveryFailed(Failure.RETRY, f"no time was left to call {method}", answered=False)
        url = f"{self._base}/{method}"
        if files:  # nested fields are JSON text there
            form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
            return self._http.request("POST", url, timeout=left, data=form, files=files)
        body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        return self._http.request("POST", url, timeout=left, data=body, headers={"Content-Type": "application/json"})

    def _way_round(self, answer: Answer, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        said, words = answer.json(), description(answer)
        chat = _object(said.get("parameters")).get("migrate_to_chat_id")
        if type(chat) is int and not self.moved:
            self.chat, self.moved = chat, True
            self.notes.append(f"the group is now {chat}: set that in chat_ids")
            # Ids of messages are those of the old chat: in the new one they are of others.
            return {**_without("reply_parameters", fields), "chat_id": chat}
        if "can't parse" in words and (plain := _plain(fields)) != fields:
            self.notes.append(f"sent as plain text, because Telegram refused the markup: {words}")
            return plain
        if re.search("repl.* not found", words) and "reply_parameters" in fields:
            return _without("reply_parameters", fields)
        return None


def reply_to(message: str) -> dict[str, Any]:
    """The field that makes a message a reply, also where the other one was deleted."""
    return {"message_id": int(message), "allow_sending_without_reply": True}


# ------------------------------------------------------------------------------- what an answer means


def judge(answer: Answer) -> None:
    """Raise what an answer means; return where it is a success."""
    said = answer.json()
    taken = 200 <= answer.status < 300
    # A long answer is not read to its end, and one that broke off after "ok" was still a yes.
    if taken and (said.get("ok") is True or _TAKEN.match(answer.body)):
        return
    if said.get("ok") is not False:
        raise_for_status(answer)
        raise answer.failed(Failure.UNKNOWN, "answered, but not as the Bot API does: is there a proxy or a login page?")
    code = said.get("error_code")
    status = code if taken and type(code) is int else answer.status
    words = description(answer)
    if status == 429:
        wait = _seconds(_object(said.get("parameters")).get("retry_after")) or retry_after(answer.headers, answer.now)
        failure = Failure.RETRY_AFTER if wait else Failure.RETRY
        raise answer.failed(failure, f"says that there were too many messages: {words}", retry_after=wait or None)
    if status in {401, 404}:
        raise answer.failed(Failure.AUTH, f"does not know bot_token ({words}): copy it again from @BotFather")
    if status == 403:
        advice = "does not let the bot write to this chat: unblock it, or add it to the chat again"
        raise answer.failed(Failure.PERMANENT, f"{advice} ({words})", dead_target=True)
    for signs, failure, dead, advice in REFUSALS:
        if 400 <= status < 500 and re.search(signs, words.lower()):
            raise answer.failed(failure, f"{advice} ({words})", dead_target=dead)
    if status != 400:
        raise_for_status(answer)
    raise answer.failed(Failure.PERMANENT, f"refused the message: {words}")


def description(answer: Answer) -> str:
    """What the API says, as one line of at most 300 characters."""
    return shorten(redact(" ".join(str(answer.json().get("description") or f"HTTP {answer.status}").split())), 300)


def result(answer: Answer) -> Mapping[str, Any]:
    """The object that a method returned; empty where it was none."""
    return _object(answer.json().get("result"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(told: Any) -> float | None:
    # min() first: an integer can be too large for a float.
    return float(min(told, MAX_RETRY_AFTER)) if type(told) in {int, float} and told > 0 else None


# ---------------------------------------------------------------------------------------------- files


def uploads(alert: Alert) -> tuple[list[Step], list[str]]:
    """The files of an alert, pictures first and together; and a note for each that is left out."""
    found: dict[str, list[tuple[str, bytes, str]]] = {"photo": [], "document": []}
    left_out = []
    for file in alert.attachments:
        try:
            content = _content(file)
        except (OSError, ValueError) as exc:  # the latter where the path can be none
            left_out.append(f"sent without {file.name}: {getattr(exc, 'strerror', None) or exc}")
            continue
        name = file.name.replace("\\", "/").rpartition("/")[2].strip() or "file"
        kind = file.content_type if _CONTENT_TYPE.fullmatch(file.content_type) else "application/octet-stream"
        found["photo" if kind in PHOTOS and len(content) <= MAX_PHOTO else "document"].append((name, content, kind))
    photos = found["photo"]
    albums = [_photos(photos[start : start + MAX_ALBUM]) for start in range(0, len(photos), MAX_ALBUM)]
    return [*albums, *(Step(file[0], "sendDocument", {}, {"document": file}) for file in found["document"])], left_out


def with_caption(step: Step, caption: Mapping[str, Any]) -> Step:
    """The same files with a text below them; an album shows that of its first picture."""
    if "media" not in step.fields:
        return dataclasses.replace(step, fields={**step.fields, **caption})
    first, *others = step.fields["media"]
    return dataclasses.replace(step, fields={"media": [{**first, **caption}, *others]})


def _content(file: Attachment) -> bytes:
    content = file.read() if file.size <= MAX_FILE else b""
    if max(file.size, len(content)) > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE:,} bytes")
    return content


def _photos(files: list[tuple[str, bytes, str]]) -> Step:
    if len(files) == 1:
        return Step(files[0][0], "sendPhoto", {}, {"photo": files[0]})
    parts = {f"photo{number}": file for number, file in enumerate(files)}
    media = [{"type": "photo", "media": f"attach://{part}"} for part in parts]
    return Step(", ".join(name for name, _, _ in files), "sendMediaGroup", {"media": media}, parts)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same message without markup."""
    changed = _without("parse_mode", fields)
    for name in {"text", "caption"} & changed.keys():
        changed[name] = without_markup(changed[name], fields.get("parse_mode", ""))
    if isinstance(changed.get("media"), list):  # an item has a field of that name as well
        changed["media"] = [_plain(item) for item in changed["media"]]
    return changed


def _without(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
