"""Microsoft Teams: an Adaptive Card in a chat or channel, through a workflow that starts when a webhook request comes.

An answer of 202 says that the workflow was started; whether it posted the card, only its run history tells. There is no
idempotency key: a message whose outcome is unknown is sent again, because a repeat is better than a loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts.alert import Alert
from bt_alerts.dispatchers import simple
from bt_alerts.dispatchers.base import About, Context, Credential, Env, Failure, Receipt, Target, register_secrets_in
from bt_alerts.dispatchers.http import Answer, raise_for_status
from bt_alerts.render.look import Escape
from bt_alerts.render.markdown import escape, paragraphs

MAX_CARD = 27_000  # bytes; one of more than about 28 KB is taken and then not posted
#: Colours of a card, by the rank of the priority.
COLOURS = ("accent", "good", "warning", "warning", "attention")
CARD = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4"}

Urls = Annotated[str | Sequence[str] | None, Credential(), Env("TEAMS_WEBHOOK_URLS"), About("URLs of the workflows")]


class TeamsDispatcher(simple.SimpleDispatcher):
    """Starts each workflow. Raises ``ValueError`` where a URL cannot be one; the text does not show it."""

    type: ClassVar[str] = "teams"
    rate: ClassVar[int] = 30
    escape: Escape = staticmethod(escape)

    def __init__(
        self,
        webhook_urls: Urls = None,
        *,
        enabled: simple.Enabled = True,
        rate_limit: simple.RateLimit = 30,
        timeout: simple.Timeout = 30.0,
        ca_file: simple.CaFile = None,
    ) -> None:
        self.set_up(webhook_urls, enabled, rate_limit, timeout, ca_file)
        for number, url in enumerate(self.addresses, start=1):
            if re.match(r"https?://[^/]*\.office(365)?\.com[:/]", url):
                turned_off = "is an Office 365 connector, which Microsoft turned off; make a workflow in Teams"
                raise ValueError(f"webhook_urls must be URLs of workflows: number {number} {turned_off}")
            signed = re.fullmatch(r"https?://[^/\s?]+(/\S*[?&]sig=([^&\s]+)\S*)", url)
            if signed is None:
                raise ValueError(
                    f"webhook_urls must have a sig=…: number {number} has none; in a shell, put it in quotes"
                )
            register_secrets_in(signed.groups())

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        view = self.view(alert, context)
        title = _block(view.title, weight="Bolder", size="Medium", color=COLOURS[alert.priority.rank])
        facts = [{"title": escape(name), "value": escape(value)} for name, value in view.fields]
        footer = _block(view.footer, size="Small", isSubtle=True)
        note = ""
        text, room = view.message, MAX_CARD - len(simple.in_json(_message([title, {"facts": facts}, footer])))
        if _size(text) > room:  # a page is cut before it is escaped
            page = self.pages(alert, context, max(room, 1000) - _size("…"), _size)[0]
            text = page.removeprefix(f"{view.title}\n") + "…"
            note = "shortened: a card takes 28 KB"
        body = [title, _block(text), {"type": "FactSet", "facts": facts}, footer]
        self.post(target.address, _message([part for part in body if part.get("text") or part.get("facts")]))
        return Receipt(note=simple.notes(alert, view, note))

    def check(self, target: Target) -> Receipt:
        """Nothing is asked, because every request starts the workflow."""
        return Receipt(note="the URL has the form of a workflow's; only a message shows whether it works")

    def raise_for_answer(self, answer: Answer) -> None:
        if answer.status in {401, 403}:
            raise self.refused(answer, f"refused the sig of webhook_urls; copy the URL again: {answer.excerpt()}")
        if answer.status == 404:
            reason = f"has no such workflow: it was deleted or turned off; set webhook_urls: {answer.excerpt()}"
            raise answer.failed(Failure.PERMANENT, reason, dead_target=True)
        raise_for_status(answer)


def _message(body: Sequence[dict[str, Any]]) -> dict[str, Any]:
    content = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": {**CARD, "body": body},
    }
    return {"type": "message", "attachments": [content]}


def _block(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": paragraphs(text), "wrap": True, **style}


def _size(text: str) -> int:
    return len(simple.in_json(_block(text)))
