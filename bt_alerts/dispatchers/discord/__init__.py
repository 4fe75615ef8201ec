"""Discord: messages in a channel through its webhooks (https://discord.com/developers/docs/resources/webhook).

An alert is an embed: colour, title, text, fields, footer and its first picture. Text that is too long for one embed
goes on in further messages. Where Discord asks to wait between two of them, the rest is kept for the next attempt.

Limits are obeyed before they are met: an answer that tells that no message is left holds the webhook back for as long
as it says. A webhook that was deleted (10015) is not used again, because Discord restricts those who go on.

A webhook takes no idempotency key, so a message whose outcome is unknown is sent again: a repeat is better than a loss.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts._version import __version__
from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    Receipt,
    Target,
    late_text,
    mark_of,
    register_secrets_in,
)
from bt_alerts.dispatchers.discord import answers
from bt_alerts.dispatchers.discord import message as shape
from bt_alerts.dispatchers.http import Answer, HttpDispatcher
from bt_alerts.render.look import Escape
from bt_alerts.render.text import split

HEADERS = {"User-Agent": f"DiscordBot (bt_alerts, {__version__})"}
SILENT = 4096  # the flag SUPPRESS_NOTIFICATIONS

_URL = re.compile(r"(https?://[^/\s?#]+)/api(?:/v\d+)?/webhooks/(\d+)/([\w-]+)(?:/(?:slack|github))?/?", re.ASCII)
_ID = re.compile(r"[0-9]{1,20}")


@dataclasses.dataclass(slots=True)
class Work:
    """One delivery: what is still to be sent, and what is known of what was taken."""

    messages: list[dict[str, Any]]
    files: dict[str, shape.File]
    notes: list[str]
    taken: int = 0
    id: str = ""
    thread: str = ""


class DiscordDispatcher(HttpDispatcher):
    """Sends to the channels of one or more webhooks.

    Raises:
        ValueError: where an argument cannot be right; the text shows no URL.
    """

    type: ClassVar[str] = "discord"
    rate: ClassVar[int] = 30
    takes_pictures: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True
    preview_answer: ClassVar[Mapping[str, Any]] = {"id": "1", "channel_id": "2"}
    escape: Escape = staticmethod(shape.escape)

    def __init__(
        self,
        webhook_urls: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("DISCORD_WEBHOOK_URLS"),
            About("URLs of the webhooks; each is delivered by itself"),
        ] = None,
        *,
        thread_id: Annotated[str | None, About("post into this thread of the webhook's channel")] = None,
        thread_name: Annotated[str | None, About("open a post of this name in a forum for every alert")] = None,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 30,
        api_url: Annotated[str | None, About("takes the place of https://discord.com, for proxies and tests")] = None,
        timeout: Annotated[float, About("seconds for one delivery in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        if thread_id and thread_name:
            raise ValueError("thread_id and thread_name cannot both be set: a message goes to a post or opens one")
        if thread_id and not _ID.fullmatch(str(thread_id)):
            raise ValueError("thread_id must be a number: turn on developer mode, and copy it from the thread's menu")
        if thread_name and shape.size(thread_name) > 100:
            raise ValueError(f"thread_name has {shape.size(thread_name)} characters: Discord takes 100")
        self.enabled, self.rate_limit, self.timeout, self.ca_file = enabled, rate_limit, timeout, ca_file
        self.thread_id, self.thread_name = str(thread_id or ""), thread_name or ""
        self._targets = _targets(webhook_urls, (api_url or "").rstrip("/"))

    def missing(self) -> str:
        return "" if self._targets else "set webhook_urls (DISCORD_WEBHOOK_URLS) to send to Discord"

    def targets(self) -> Sequence[Target]:
        return self._targets

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        began = time.monotonic()
        # A later message that fails must not make the next attempt repeat the first: that one sends what is left.
        work = _left(alert, context.progress) or self._work(alert, context)
        while True:
            try:
                answer = self._post(target, work, context.silent, began + self.timeout - time.monotonic())
            except DeliveryFailed as failed:
                if not work.taken:
                    self._fall_back(work, failed, alert, context)
                elif isinstance(failed, answers.InvalidForm) and "embeds" in work.messages[0]:
                    rest = "".join(message["embeds"][0].get("description", "") for message in work.messages)
                    work.messages = [{"content": part} for part in split(rest, shape.MAX_CONTENT, shape.size)]
                    work.notes.append(f"its end was sent as plain text: {failed.reason}")
                elif failed.failure in {Failure.RETRY, Failure.RETRY_AFTER, Failure.UNKNOWN}:
                    failed.progress = _progress(alert, work)
                    raise
                else:
                    work.notes.append(f"the last {len(work.messages)} of its messages were not taken: {failed.reason}")
                    return Receipt(work.id, "; ".join(work.notes))
                continue
            _took(work, answer)
            wait = answers.exhausted_for(answer)
            if not work.messages:
                until = context.now.timestamp() + time.monotonic() - began + wait if wait else None
                return Receipt(work.id, "; ".join(work.notes), hold_target_until=until)
            if wait:
                more = f"took one message and lets the other {len(work.messages)} of this alert wait"
                paused = answer.failed(Failure.RETRY_AFTER, more, retry_after=wait)
                paused.progress = _progress(alert, work)
                raise paused

    def check(self, target: Target) -> Receipt:
        """Ask Discord about the webhook; posts nothing."""
        said = self.request("GET", target.address, headers=HEADERS).json()
        return Receipt(facts={key: said[key] for key in ("name", "channel_id") if isinstance(said.get(key), str)})

    def raise_for_answer(self, answer: Answer) -> None:
        answers.raise_for(answer, alone=len(self._targets) == 1)

    def _work(self, alert: Alert, context: Context) -> Work:
        view = self.view(alert, context)
        plain = self.look.view(alert, late_text(context.late), kit=self.kit)
        first, footer, room = shape.frame(view, plain.footer)
        texts = [view.message]
        if shape.size(view.message) > room:
            texts = self.pages(alert, context, room, shape.size)
            texts[0] = texts[0].removeprefix(f"{view.title}\n")  # title and footer have places of their own
            texts[-1] = texts[-1].removesuffix(f"\n{view.footer}")
        messages: list[dict[str, Any]] = [{"embeds": [each]} for each in shape.embeds(view, first, footer, texts)]
        files, notes = shape.files(alert)
        return Work(messages, files, [view.note, *notes] if view.note else notes)

    def _post(self, target: Target, work: Work, silent: bool, left: float) -> Answer:
        if left <= 0:
            late = f"the {self.timeout:g} s of one delivery (timeout) ended before all its messages were sent"
            raise DeliveryFailed(Failure.RETRY, late, answered=False)
        message = {**work.messages[0], "allowed_mentions": {"parse": []}}
        if silent:
            message["flags"] = SILENT
        thread = self.thread_id or (self.thread_name and work.thread)
        if self.thread_name and not thread:
            message["thread_name"] = self.thread_name
        picture = shape.picture(work.files)
        if picture and "embeds" in message:
            message["embeds"] = [{**message["embeds"][0], "image": {"url": f"attachment://{picture}"}}]
        how: dict[str, Any] = {"params": {"wait": "true", **({"thread_id": thread} if thread else {})}, "timeout": left}
        text = json.dumps(message, ensure_ascii=False)
        if work.files:
            form = {"payload_json": text}
            return self.request("POST", target.address, data=form, files=work.files, headers=HEADERS, **how)
        headers = {**HEADERS, "Content-Type": "application/json"}
        return self.request("POST", target.address, data=text.encode("utf-8", "replace"), headers=headers, **how)

    def _fall_back(self, work: Work, failed: DeliveryFailed, alert: Alert, context: Context) -> None:
        """Change what is sent to what may be taken; raises ``failed`` where there is nothing to change."""
        if isinstance(failed, answers.InvalidForm) and "embeds" in work.messages[0]:
            pages = self.pages(alert, context, shape.MAX_CONTENT, shape.size)
            work.messages = [{"content": page} for page in pages if page.strip()] or [{"content": "…"}]
            work.notes.append(f"sent as plain text: {failed.reason}")
        elif work.files and (isinstance(failed, answers.InvalidForm) or failed.failure is Failure.TOO_LARGE):
            work.files = {}
            work.notes.append(f"sent without its files: {failed.reason}")
        else:
            raise failed


def _took(work: Work, answer: Answer) -> None:
    """A message is out. Where the first one opened a post in a forum, the others go there."""
    said = answer.json()
    work.id = work.id or str(said.get("id") or "")
    work.thread = work.thread or str(said.get("channel_id") or work.id)
    work.taken, work.messages, work.files = work.taken + 1, work.messages[1:], {}


def _progress(alert: Alert, work: Work) -> dict[str, Any]:
    """What the next attempt goes on with; its files went with the first message."""
    kept = {name: value for name, value in dataclasses.asdict(work).items() if name != "files"}
    return {"of": mark_of(alert), **kept}


def _left(alert: Alert, progress: Mapping[str, Any]) -> Work | None:
    """What an earlier attempt left; None where there was none, or of another text."""
    if progress.get("of") != mark_of(alert):
        return None
    return Work(files={}, **{name: value for name, value in progress.items() if name != "of"})


def _targets(urls: str | Sequence[str] | None, api_url: str) -> list[Target]:
    texts = urls.split(",") if isinstance(urls, str) else urls or ()
    found = []
    for number, text in enumerate(filter(None, map(str.strip, texts)), start=1):
        parts = _URL.fullmatch(text)
        if parts is None:
            where = "copy it from Server settings → Integrations → Webhooks"
            raise ValueError(
                f"webhook_urls must be like https://discord.com/api/webhooks/1234/abcd: number {number} is not; {where}"
            )
        host, id, token = parts.groups()
        # Without a version, Discord answers as it did in version 6, where waits are in milliseconds.
        address = f"{api_url or host}/api/v10/webhooks/{id}/{token}"
        register_secrets_in([text, address, f"{id}/{token}", token, id])
        found.append(Target(address, f"webhook …{id[-4:]}"))
    return list(dict.fromkeys(found))
