"""One delivery to Slack: its requests, within one time for all of them, and what is to be said about it afterwards."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from bt_alerts.alert import Attachment
from bt_alerts.dispatchers.base import PASSING, DeliveryFailed, Failure
from bt_alerts.dispatchers.http import Answer, HttpClient, raise_for_status
from bt_alerts.dispatchers.slack import api as slack_api
from bt_alerts.dispatchers.slack.blocks import Message
from bt_alerts.redact import MASK

MAX_FILE = 50 * 1024**2  # bytes; Slack takes 1 GB, but not within the seconds of a delivery

_JSON = {"Content-Type": "application/json; charset=utf-8"}


class Talk:
    """Speaks to one webhook or one channel.

    Args:
        http: the client.
        api_url: address of the Web API.
        token: of the bot; empty for a webhook.
        address: of the webhook, or id of the channel.
        timeout: seconds for all requests together.
        others: as in :func:`slack_api.judge`.

    Attributes:
        thread: ``ts`` of the message that replies and files go below; empty for none.
        ts: of the first message that was taken.
        notes: what a person should know.
        wait: seconds that Slack asked to wait before the next message.
    """

    def __init__(
        self, http: HttpClient, api_url: str, *, token: str, address: str, timeout: float, others: bool
    ) -> None:
        self._http, self._api_url, self._token, self._address = http, api_url, token, address
        self._timeout, self._others = timeout, others
        self._until = time.monotonic() + timeout
        self._channel = ""
        self._begun = False
        self.thread = self.ts = ""
        self.notes: list[str] = []
        self.wait = 0.0

    def post(self, messages: Sequence[Message], *, broadcast: bool) -> None:
        """Post an alert. What of it waits for the next attempt stands in the error's progress.

        Args:
            messages: of the alert.
            broadcast: the first is shown in the channel too, where it is a reply.
        """
        left = list(messages)
        if not self._begun:
            self._open(left.pop(0), broadcast)
        while left:
            try:
                self._post_one(left[0], False)
            except DeliveryFailed as failed:
                if failed.failure in PASSING:
                    parts = [[message.rich, message.plain] for message in left]
                    failed.progress = {"ts": self.ts, "thread": self.thread, "channel": self._channel, "left": parts}
                    raise
                self._left_out(f"the last {len(left)} parts" if len(left) > 1 else "the last part", failed)
                return
            left.pop(0)

    def go_on(self, progress: Mapping[str, Any]) -> list[Message]:
        """Go on with what an earlier attempt left: its messages."""
        self._begun = True
        self.ts, self.thread, self._channel = progress["ts"], progress["thread"], progress["channel"]
        return [Message(rich, plain) for rich, plain in progress["left"]]

    def _open(self, message: Message, broadcast: bool) -> None:
        answer = self._post_one(message, broadcast)
        self._begun = True
        if self._token:
            self.ts, self._channel = slack_api.value(answer, "ts"), slack_api.value(answer, "channel")
            self.thread = self.thread or self.ts

    def _post_one(self, message: Message, broadcast: bool) -> Answer:
        """Post one message, without what Slack refuses of it."""
        fields = message.rich
        url, headers = self._address, _JSON
        if self._token:
            url, headers = f"{self._api_url}/api/chat.postMessage", _JSON | self._bearer()
        while True:
            where: dict[str, Any] = {"channel": self._address} if self._token else {}
            if self.thread:
                where |= {"thread_ts": self.thread} | ({"reply_broadcast": True} if broadcast else {})
            body = json.dumps({**where, **fields}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            answer = self._ask(url, data=body, headers=headers)
            word = slack_api.error_word(answer)
            if word in slack_api.BLOCKS_REFUSED and fields is message.rich:
                self.notes.append(f"sent as plain text, because Slack refused the blocks ({word})")
                fields = message.plain
            elif word in slack_api.THREAD_REFUSED and self.thread:
                self.notes.append(f"sent outside its thread, because Slack refused that ({word})")
                self.thread = ""
            else:
                slack_api.judge(answer, others=self._others)
                return answer

    # Files: an address is asked for, takes the bytes, and what was stored is shown in the thread. --------

    def upload(self, attachments: Sequence[Attachment]) -> None:
        """Show files below the message; what cannot be is noted."""
        stored = []
        for attachment in attachments:
            name = attachment.name or "file"
            try:
                stored.append({"id": self._store(name, content_of(attachment)), "title": name})
            except (DeliveryFailed, ValueError) as exc:
                self._left_out(name, exc)
        if stored:
            # A channel can be set by its name; files want its id, which stood in the answer.
            where = {"channel_id": self._channel or self._address, "thread_ts": self.thread}
            try:
                self.call("files.completeUploadExternal", {"files": json.dumps(stored), **where})
            except DeliveryFailed as failed:
                self._left_out(", ".join(each["title"] for each in stored), failed)

    def _store(self, name: str, content: bytes) -> str:
        """Give a file's bytes to Slack, and return the file's id."""
        said = self.call("files.getUploadURLExternal", {"filename": name, "length": str(len(content))}).json()
        url, file_id = said.get("upload_url"), said.get("file_id")
        if not isinstance(url, str) or not isinstance(file_id, str) or not is_safe(url, self._api_url):
            raise ValueError("Slack gave no safe address for it")
        with hidden(url):  # which lets in whoever knows it, so it gets no token of ours
            raise_for_status(self._ask(url, data=content, headers={"Content-Type": "application/octet-stream"}))
        return file_id

    def call(self, method: str, fields: Mapping[str, str]) -> Answer:
        """Call a method of the Web API. Raises :class:`DeliveryFailed`."""
        given = {name: value for name, value in fields.items() if value}
        answer = self._ask(f"{self._api_url}/api/{method}", data=given, headers=self._bearer())
        slack_api.judge(answer, others=self._others)
        return answer

    def _ask(self, url: str, **what: Any) -> Answer:
        left = self._until - time.monotonic()
        if left <= 0:
            told = f"nothing was left of the {self._timeout:g} s of timeout"
            raise DeliveryFailed(Failure.RETRY, told, answered=False)
        return self._http.request("POST", url, timeout=left, **what)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _left_out(self, what: str, reason: Exception) -> None:
        self.notes.append(f"{what} could not be sent: {reason}")
        self.wait = max(self.wait, getattr(reason, "retry_after", None) or 0.0)


def content_of(attachment: Attachment) -> bytes:
    """The bytes of a file. Raises ``ValueError`` with a reason where it cannot go."""
    try:
        content = attachment.read() if attachment.size <= MAX_FILE else b""
    except (OSError, ValueError) as exc:  # the latter where the path can be none
        raise ValueError(f"it cannot be read ({getattr(exc, 'strerror', None) or exc})") from None
    if max(attachment.size, len(content)) > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE:,} bytes")
    if not content:
        raise ValueError("it is empty")
    return content


def is_safe(url: str, api_url: str) -> bool:
    """Whether bytes may be posted to where Slack says: over https, or to the very host that was asked."""
    try:
        there, here = urlsplit(url), urlsplit(api_url)
        known = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        return bool(there.hostname) and "@" not in there.netloc and (known or there.scheme == "https")
    except ValueError:
        return False


class _Hiding(logging.Filter):
    """Hides the path of the upload that this thread makes.

    Such an address is a secret for seconds only, and there is another for each file: too many to register.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        path = getattr(self.of_thread, "path", "")
        if path:
            record.msg, record.args = record.getMessage().replace(path, MASK), None
        return True


_hiding = _Hiding()


@contextlib.contextmanager
def hidden(url: str) -> Iterator[None]:
    """While this lasts, no log line of this thread shows the path of ``url``."""
    logger = logging.getLogger("urllib3.connectionpool")
    if _hiding not in logger.filters:
        logger.addFilter(_hiding)
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    _hiding.of_thread.path = path if len(path) > len("/upload") else ""
    try:
        yield
    finally:
        _hiding.of_thread.path = ""
