"""Telegram: a bot writes to people, groups, channels and topics (Bot API 10.1, https://core.telegram.org/bots/api).

*One alert is one message* where it fits, with its picture above it. A longer text goes in several, and files follow as
replies to the first; only the first makes a sound.

*What Telegram refuses costs as little as possible*, in the same attempt and within the same ``timeout``: markup that it
cannot parse is taken off, a picture that it does not take is left out, a group that became a supergroup is followed to
its new id. The receipt says so.

*Unknown outcome.* The Bot API takes no idempotency key, so a message whose answer was lost is sent again: a repeat is
better than a loss. Of an alert that takes several, the next attempt goes on after those that were taken; what Telegram
refuses for good is named in the receipt, and the history has it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Listener,
    Receipt,
    Target,
    mark_of,
    register_secrets_in,
    several,
)
from bt_alerts.dispatchers.http import Answer, HttpDispatcher
from bt_alerts.dispatchers.telegram.api import REFUSED, Step, Talk, judge, reply_to, result, uploads, with_caption
from bt_alerts.dispatchers.telegram.buttons import Button, button_data, keyboard, read_button
from bt_alerts.dispatchers.telegram.markup import escape_html, escape_markdown, length
from bt_alerts.dispatchers.telegram.updates import Updates, Voice
from bt_alerts.render.look import as_is

__all__ = ["Button", "TelegramDispatcher", "button_data", "read_button"]

MAX_TEXT, MAX_CAPTION = 4096, 1024

#: Each word of settings: what the API is told, what makes text safe, the templates. ``Markdown`` is the API's older
#: language, in which not every text can be written, so the newer one takes its place.
_MARKDOWN = ("MarkdownV2", escape_markdown, "telegram_markdownv2")
PARSE_MODES = {
    "html": ("HTML", escape_html, "telegram_html"),
    "markdownv2": _MARKDOWN,
    "markdown": _MARKDOWN,
    "": ("", as_is, "default"),
}
_USER = re.compile(r"[1-9]\d{0,15}", re.ASCII)
_CHAT = re.compile(r"(?:-?[1-9]\d{0,15}|@[A-Za-z]\w{3,31})(?::[1-9]\d{0,9})?", re.ASCII)


class TelegramDispatcher(HttpDispatcher):
    """Sends through a Telegram bot.

    Raises:
        ValueError: where an argument cannot be right.
    """

    type: ClassVar[str] = "telegram"
    rate: ClassVar[int] = 30
    takes_pictures: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True
    preview_answer: ClassVar[Mapping[str, Any]] = {"ok": True, "result": {"message_id": 1}}

    def __init__(
        self,
        bot_token: Annotated[
            str | None, Credential(), Env("TELEGRAM_BOT_TOKEN"), About("token of the bot, as @BotFather gave it")
        ],
        chat_ids: Annotated[
            str | int | Sequence[str | int] | None,
            Env("TELEGRAM_CHAT_IDS"),
            About("chat ids, `-100…:77` for a topic, or `@channel`; each is delivered by itself"),
        ],
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 30,
        parse_mode: Annotated[str | None, About("HTML, MarkdownV2, or empty for plain text")] = "HTML",
        *,
        disable_web_page_preview: Annotated[bool, About("false shows a preview of the first link")] = True,
        disable_notification: Annotated[bool, About("true makes no sound, whatever the alert")] = False,
        silent_below: Annotated[str | None, About("alerts below this priority make no sound")] = None,
        protect_content: Annotated[bool, About("true forbids to forward and save the messages")] = False,
        listen_to: Annotated[
            str | int | Sequence[str | int] | None,
            Env("TELEGRAM_LISTEN_TO"),
            About("ids of the users whose buttons and commands are obeyed; without any, no buttons are shown"),
        ] = None,
        readers: Annotated[
            str | int | Sequence[str | int] | None,
            Env("TELEGRAM_READERS"),
            About("ids of the users who may ask, such as `/status`, and change nothing"),
        ] = None,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        api_url: Annotated[str, About("address of the service, for proxies and tests")] = "https://api.telegram.org",
        timeout: Annotated[float, About("seconds for one alert in total, its files included")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self._token = (bot_token or "").strip()
        # The part after the colon is the secret one, and error texts show parts.
        register_secrets_in([self._token, self._token.partition(":")[2]])
        if not re.fullmatch(r"[\w:.-]*", self._token, re.ASCII):
            raise ValueError("bot_token must look like 123456:ABC-def…: digits, a colon, and letters, digits, _ and -")
        if (parse_mode or "").strip().lower() not in PARSE_MODES:
            raise ValueError(f"parse_mode must be HTML, MarkdownV2, Markdown or empty, not {parse_mode!r}")
        self._chats = _chats(chat_ids)
        self._users, self._readers = _users(listen_to, "listen_to"), _users(readers, "readers")
        self._names: dict[str, str] = {}
        self.listens = bool((self._users or self._readers) and self._token)
        self.parse_mode, self.escape, self.kit = PARSE_MODES[(parse_mode or "").strip().lower()]
        self.silent_below = _priority(silent_below) if silent_below else Priority.INFO
        self.disable_web_page_preview, self.protect_content = disable_web_page_preview, protect_content
        self.disable_notification, self.rate_limit = disable_notification, rate_limit
        self.enabled, self.timeout, self.ca_file = enabled, timeout, ca_file
        self.api_url = api_url.rstrip("/")

    def missing(self) -> str:
        names = [("bot_token (TELEGRAM_BOT_TOKEN)", self._token), ("chat_ids (TELEGRAM_CHAT_IDS)", self._chats)]
        unset = [name for name, value in names if not value]
        return f"set {' and '.join(unset)} to send through Telegram" if unset else ""

    def targets(self) -> Sequence[Target]:
        return [Target(chat, _label(chat)) for chat in self._chats] if self._token else []

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        talk = self._talk(target, context.memory)
        if self._readers and not self._users:  # nobody's buttons are obeyed
            context = dataclasses.replace(context, buttons=False)
        talk.every, talk.opening = self._every(alert, target, context), _opening(alert, context)
        note = self.view(alert, context).note  # a template of the user that failed
        files, left_out = uploads(alert)
        talk.notes += [note] * bool(note) + left_out
        done, pages = _progress(alert, context.progress)
        if done:
            talk.go_on(str(context.progress["first"]))
        else:
            pages = [page for page in self.pages(alert, context, MAX_TEXT, self._length) if page.strip()]
            pages = pages or [self.escape(alert.kind)]  # Telegram takes no message without text
        names = range(done + 1, done + len(pages) + 1)
        texts = [self._text(page, f"page {n} of {done + len(pages)}") for n, page in zip(names, pages, strict=True)]
        first = [] if done else [texts.pop(0)]
        if files and first and not texts and self._can_be_caption(pages[0], files[0], talk.opening):
            self._send_below(talk, files.pop(0), *first)
        elif first:
            talk.send(*first)
        for number, step in enumerate(texts, start=len(first)):
            try:
                talk.follow(step)
            except DeliveryFailed as failed:
                left = pages[number:]
                failed.progress = {"of": mark_of(alert), "first": talk.first, "done": done + number, "left": left}
                raise
        for step in files:
            talk.follow(step)
        hold = context.now.timestamp() + talk.wait if talk.wait else None
        return Receipt(talk.first, "; ".join(talk.notes), hold_target_until=hold, remember=_new_chat(talk))

    def listener(self) -> Listener | None:
        """What hears presses of the buttons, and commands."""
        if not self.listens:
            return None
        fields = {"protect_content": True} if self.protect_content else {}
        voice = Voice(self.parse_mode, self.escape, self.timeout, fields)
        return Updates(self.http, self.api_url, self._token, self._users, self._readers, voice=voice, names=self._names)

    def check(self, target: Target) -> Receipt:
        """Ask who the bot is and whether it sees the chat; sends nothing, so its right to write stays unknown."""
        talk = self._talk(target, {})
        answer = talk.call("getMe", {})
        judge(answer)
        chat = result(talk.ask("getChat", {}))
        facts = {"bot": result(answer).get("username"), "chat": chat.get("title") or chat.get("username")}
        known = {name: str(value) for name, value in facts.items() if value}
        return Receipt(note="; ".join(talk.notes), facts=known, remember=_new_chat(talk))

    def raise_for_answer(self, answer: Answer) -> None:
        judge(answer)

    def _talk(self, target: Target, memory: Mapping[str, Mapping[str, Any]]) -> Talk:
        chat: int | str = target.address.partition(":")[0]
        chat = chat if str(chat).startswith("@") else int(chat)
        moved = memory.get(target.key, {}).get("chat_id")
        base = f"{self.api_url}/bot{self._token}"
        return Talk(self.http, base, moved if type(moved) is int else chat, self.timeout)

    def _every(self, alert: Alert, target: Target, context: Context) -> dict[str, Any]:
        """The fields of all messages of an alert."""
        hushed = alert.priority < self.silent_below or (context.silent and alert.priority is not Priority.CRITICAL)
        fields = {
            "message_thread_id": int(target.address.partition(":")[2] or 0),
            "disable_notification": self.disable_notification or hushed,
            "protect_content": self.protect_content,
        }
        return {name: value for name, value in fields.items() if value}

    def _length(self, text: str) -> int:
        return length(text, self.parse_mode)

    def _mode(self) -> dict[str, str]:
        return {"parse_mode": self.parse_mode} if self.parse_mode else {}

    def _text(self, page: str, name: str) -> Step:
        # Off unless asked for: the preview of a link in an error's text would be larger than the alert.
        preview = {"link_preview_options": {"is_disabled": True}} if self.disable_web_page_preview else {}
        return Step(name, "sendMessage", {"text": page, **self._mode(), **preview})

    def _can_be_caption(self, page: str, files: Step, opening: Mapping[str, Any]) -> bool:
        """Whether a text can stand below files. An album takes no buttons."""
        takes = {"sendPhoto"} if "reply_markup" in opening else {"sendPhoto", "sendMediaGroup"}
        return files.method in takes and self._length(page) <= MAX_CAPTION

    def _send_below(self, talk: Talk, files: Step, text: Step) -> None:
        """Send pictures with the text below them, or the text alone where they are refused."""
        try:
            talk.send(with_caption(files, {"caption": text.fields["text"], **self._mode()}))
        except DeliveryFailed as failed:
            if failed.dead_target or failed.failure not in REFUSED:
                raise
            talk.notes.append(f"sent without {files.name}: {failed.reason}")
            talk.send(text)


def _opening(alert: Alert, context: Context) -> dict[str, Any]:
    """The fields of an alert's first message alone: what it answers, and its buttons."""
    fields: dict[str, Any] = {}
    last = context.replies_to[-1] if context.replies_to else ""
    if re.fullmatch(r"[0-9]{1,18}", last):
        fields["reply_parameters"] = reply_to(last)
    if context.buttons and (rows := keyboard(alert)):
        fields["reply_markup"] = {"inline_keyboard": rows}
    return fields


def _progress(alert: Alert, progress: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many pages an earlier attempt has sent, and those that it left."""
    return (int(progress["done"]), list(progress["left"])) if progress.get("of") == mark_of(alert) else (0, [])


def _new_chat(talk: Talk) -> dict[str, Any] | None:
    return {"chat_id": talk.chat} if talk.moved else None


# ------------------------------------------------------------------------------------- what the user gave us


def _chats(chat_ids: str | int | Sequence[str | int] | None) -> list[str]:
    found = several([chat_ids] if isinstance(chat_ids, int) else chat_ids)
    for number, chat in enumerate(found, start=1):
        if not _CHAT.fullmatch(chat):  # not quoted, because it may be the token in the wrong place
            raise ValueError(
                "chat_ids must be numbers such as -1001234567890, with a topic -1001234567890:77, or @channel: "
                f"number {number} is none of them"
            )
    return found


def _users(given: str | int | Sequence[str | int] | None, argument: str) -> list[int]:
    found = several([given] if isinstance(given, int) else given)
    for number, user in enumerate(found, start=1):
        if not _USER.fullmatch(user):  # not quoted, because it may be the token in the wrong place
            raise ValueError(
                f"{argument} must be ids of users, such as 123456789; names, groups and channels cannot command: "
                f"number {number} is none"
            )
    return [int(user) for user in found]


def _priority(word: str) -> Priority:
    try:
        return Priority(word)
    except ValueError:
        raise ValueError(f"silent_below must be one of {', '.join(Priority)}, not {word!r}") from None


def _label(chat: str) -> str:
    name, _, topic = chat.partition(":")
    return (name if name.startswith("@") else f"chat {name}") + (f", topic {topic}" if topic else "")
