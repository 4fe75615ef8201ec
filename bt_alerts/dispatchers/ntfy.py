"""ntfy: push notifications from ntfy.sh or a server of your own (https://docs.ntfy.sh/publish/#publish-as-json).

Whoever knows a topic of ntfy.sh reads it, so topics are secrets. ntfy takes no idempotency key: a message whose outcome
is unknown is sent again, because a repeat is better than a loss.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

from bt_alerts.alert import Alert
from bt_alerts.dispatchers import simple
from bt_alerts.dispatchers.base import About, Context, Credential, Env, Failure, Receipt, Target, register_secrets_in
from bt_alerts.dispatchers.http import Answer, raise_for_status
from bt_alerts.render.text import shorten

MAX_TITLE, MAX_MESSAGE = 250, 4096  # characters, bytes
#: ntfy's names for the emoji that it shows before a title, by the rank of the priority.
TAGS = ("information_source", "green_circle", "yellow_circle", "orange_circle", "red_circle")

Topics = Annotated[str | Sequence[str] | None, Credential(), Env("NTFY_TOPICS"), About("topics to send to")]


class NtfyDispatcher(simple.SimpleDispatcher):
    """Sends to each topic. Raises ``ValueError`` where one cannot be a topic; the text does not show it."""

    type: ClassVar[str] = "ntfy"
    rate: ClassVar[int] = 60
    kit = "ntfy"

    def __init__(
        self,
        topics: Topics = None,
        *,
        api_url: Annotated[str, About("address of the server")] = "https://ntfy.sh",
        token: Annotated[str | None, Credential(), Env("NTFY_TOKEN"), About("access token, tk_…")] = None,
        username: Annotated[str | None, About("instead of a token, together with password")] = None,
        password: Annotated[str | None, Credential(), About("of the user")] = None,
        click: Annotated[str | None, About("address that a tap on the notification opens")] = None,
        enabled: simple.Enabled = True,
        rate_limit: simple.RateLimit = 60,
        timeout: simple.Timeout = 30.0,
        ca_file: simple.CaFile = None,
    ) -> None:
        self.set_up(topics, enabled, rate_limit, timeout, ca_file)
        if not all(re.fullmatch(r"[-_A-Za-z0-9]{1,64}", topic) for topic in self.addresses):
            raise ValueError("topics must be names of 1 to 64 letters, digits, - and _, without the server's address")
        pair = base64.b64encode(f"{username}:{password or ''}".encode("utf-8", "replace")).decode()
        register_secrets_in(pair if username else None)
        credentials = f"Bearer {token}" if token else f"Basic {pair}" if username else ""
        self.headers = {"Authorization": credentials} if credentials else {}
        self.api_url, self.click = api_url.rstrip("/"), click

    def label(self, target: Target) -> str:
        return f"topic {target.address[:3]}…"

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        view = self.view(alert, context)
        rank = alert.priority.rank
        message = {
            "topic": target.address,
            "title": shorten(view.title, MAX_TITLE),
            # The bytes of the JSON are counted as well, so the text is measured as it stands in there.
            "message": simple.fitted(
                f"{view.message}\n{view.footer}".strip(), MAX_MESSAGE, lambda text: len(simple.in_json(text))
            ),
            "priority": min(rank + 1, 2) if context.silent else rank + 1,
            "tags": [TAGS[rank]],
            "click": self.click or "",
        }
        answer = self.post(f"{self.api_url}/", message, self.headers)
        found = answer.json().get("id")
        if not found:
            raise answer.failed(Failure.UNKNOWN, "answered, but not as ntfy does: look at api_url")
        return Receipt(str(found), simple.notes(alert, view))

    def check(self, target: Target) -> Receipt:
        """Ask whether the credentials may read the topic; without any, whether the server is well."""
        path = f"{target.address}/auth" if self.headers else "v1/health"
        self.request("GET", f"{self.api_url}/{path}", headers=self.headers)
        return Receipt()

    def raise_for_answer(self, answer: Answer) -> None:
        if answer.json().get("code") == 42908:
            midnight = answer.now.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1)
            wait = (midnight - answer.now).total_seconds()
            raise answer.failed(Failure.RETRY_AFTER, "takes no more messages until midnight UTC", retry_after=wait)
        if answer.status == 401:
            raise answer.failed(Failure.AUTH, "refused the credentials: look at token, or username and password")
        if answer.status == 403:
            raise self.refused(answer, "does not open this topic to the token or user: look at its access rights")
        raise_for_status(answer)
