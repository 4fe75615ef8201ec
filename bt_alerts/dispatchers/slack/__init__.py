"""Slack: by incoming webhooks, by a bot token and channel ids, or both (https://docs.slack.dev).

*A bot can more than a webhook.* It answers in threads, sends files, and knows the ids of its messages. A reply in a
thread alerts nobody who did not write there, so it is shown in the channel as well, unless the delivery is silent or
``broadcast_replies`` is false. The parts of a long message follow in its thread, and so do files. Slack has no way to
send a first message without sound.

*What Slack refuses costs as little as possible*, in the same attempt and within the same ``timeout``: where it refuses
blocks the message goes as plain text, where it refuses the thread into the channel, and a file never holds the text
back. The receipt says so.

*Unknown outcome.* Neither way takes an idempotency key, so a message whose answer was lost is sent again: a repeat is
better than a loss. Of an alert in several parts, the next attempt goes on after those that were taken; what Slack
refuses for good is named in the receipt, and the history has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    Receipt,
    Target,
    log,
    mark_of,
    register_secrets_in,
    several,
)
from bt_alerts.dispatchers.http import HttpDispatcher
from bt_alerts.dispatchers.slack import api as slack_api
from bt_alerts.dispatchers.slack import blocks as slack_blocks
from bt_alerts.dispatchers.slack.blocks import MAX_SECTION, Message
from bt_alerts.dispatchers.slack.talk import Talk
from bt_alerts.render.look import Escape, View

WEBHOOK = re.compile(r"/services/[^/]+/[^/]+/[^/]+", re.ASCII)
SLACK = re.compile(r"hooks\.slack(-gov)?\.com", re.IGNORECASE)
_CHANNEL = re.compile(r"(?!xox)[#@]?[\w.-]{1,80}")  # and no token


class SlackDispatcher(HttpDispatcher):
    """Sends to Slack's channels.

    Raises:
        ValueError: where an argument cannot be right; the text shows no secret.
    """

    type: ClassVar[str] = "slack"
    rate: ClassVar[int] = 60  # one a second and channel, says Slack; more is answered with how long to wait
    takes_pictures: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True
    kit: str = "slack"
    escape: Escape = staticmethod(slack_blocks.escape)
    preview_answer: ClassVar[Mapping[str, Any]] = {
        "ok": True,
        "ts": "1503435956.000247",
        "upload_url": "https://files.slack.com/upload/v1/given-by-slack",
        "file_id": "F123ABC456",
    }

    def __init__(
        self,
        webhook_urls: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("SLACK_WEBHOOK_URLS"),
            About("https://hooks.slack.com/services/…, or several: each is delivered by itself"),
        ] = None,
        bot_token: Annotated[
            str | None,
            Credential(),
            Env("SLACK_BOT_TOKEN"),
            About("token of your app's bot, xoxb-…; needs channel_ids"),
        ] = None,
        channel_ids: Annotated[
            str | Sequence[str] | None,
            Env("SLACK_CHANNEL_IDS"),
            About("C0123456789, or several: each is delivered by itself; needs bot_token"),
        ] = None,
        *,
        broadcast_replies: Annotated[
            bool, About("false shows replies in their thread only, not in the channel")
        ] = True,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 60,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        api_url: Annotated[str, About("address of the Web API, for proxies and tests")] = "https://slack.com",
        timeout: Annotated[float, About("seconds for one alert in total, files included")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self._webhooks = _addresses(webhook_urls)
        self._token = (bot_token or "").strip()
        # "xoxb-1234-5678-…": error texts show parts.
        parts = [part for part in self._token.split("-") if len(part) >= 10]
        register_secrets_in([self._token, self._token.partition("-")[2], *parts])
        if not re.fullmatch(r"[\w.-]*", self._token, re.ASCII):
            raise ValueError("bot_token must be the one word that begins with xoxb-")
        self._channels = _channels(channel_ids)
        if bool(self._token) != bool(self._channels) and self._webhooks:
            unused, needed = ("bot_token", "channel_ids") if self._token else ("channel_ids", "bot_token")
            log.warning("slack: %s is not used, because %s is not set: only webhooks get alerts", unused, needed)
        self.broadcast_replies, self.rate_limit = broadcast_replies, rate_limit
        self.enabled, self.timeout, self.ca_file = enabled, timeout, ca_file
        self.api_url = api_url.rstrip("/")

    def missing(self) -> str:
        names = [("bot_token (SLACK_BOT_TOKEN)", self._token), ("channel_ids (SLACK_CHANNEL_IDS)", self._channels)]
        unset = [name for name, value in names if not value]
        if self._webhooks or not unset:
            return ""
        other = "webhook_urls (SLACK_WEBHOOK_URLS), or " if len(unset) == 2 else ""
        return f"set {other}{' and '.join(unset)} to send to Slack"

    def targets(self) -> Sequence[Target]:
        hooks = [Target(url, f"webhook #{Target(url).key[:6]}") for url in self._webhooks]
        return hooks + [Target(channel, f"channel {channel}") for channel in self._channels if self._token]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        talk = self._talk(target)
        if context.progress.get("of") == mark_of(alert):
            messages = talk.go_on(context.progress)
        else:
            view = self.view(alert, context)
            messages = slack_blocks.messages(
                view,
                self._pieces(view, alert, context),
                markup=self._has_own("message", alert),
                footer_markup=self._has_own("footer", alert),
            )
            talk.notes += [view.note] * bool(view.note)  # a template of the user that failed
        try:
            return self._post(talk, messages, alert, target, context)
        except DeliveryFailed as failed:
            if failed.progress is not None:
                failed.progress = {"of": mark_of(alert), **failed.progress}
            raise

    def _post(self, talk: Talk, messages: Sequence[Message], alert: Alert, target: Target, context: Context) -> Receipt:
        if _is_webhook(target):
            talk.post(messages, broadcast=False)
            # A chart of ours is drawn for whoever can show it, so only what somebody attached is missed.
            if any(not (alert.bars and each.content_type.startswith("image/")) for each in alert.attachments):
                talk.notes.append("sent without its files: a webhook takes none; set bot_token and channel_ids")
        else:
            first = context.replies_to[0] if context.replies_to else ""
            talk.thread = talk.thread or (first if slack_api.TS.fullmatch(first) else "")
            hushed = context.silent and alert.priority is not Priority.CRITICAL
            talk.post(messages, broadcast=self.broadcast_replies and not hushed)
            talk.upload(alert.attachments)
        until = context.now.timestamp() + talk.wait if talk.wait else None
        return Receipt(talk.ts, "; ".join(talk.notes), hold_target_until=until)

    def check(self, target: Target) -> Receipt:
        """Ask whose token it is and what it may do. Of a webhook only the address is looked at: nothing is posted."""
        if _is_webhook(target):
            return _checked_webhook(target)
        answer = self._talk(target).call("auth.test", {})
        granted = {scope.strip() for scope in answer.headers.get("X-OAuth-Scopes", "").split(",")} - {""}
        if granted and "chat:write" not in granted:
            told = "lacks the scope chat:write: add it under OAuth & Permissions and install the app again"
            raise answer.failed(Failure.AUTH, f"says that the app {told}")
        note = f"the token is good; whether the bot may write in {target.label} shows with the first message"
        if granted and "files:write" not in granted:
            note += "; pictures and files need the scope files:write, which the app lacks"
        said = answer.json()
        names = ("team", "user", "url", "bot_id")
        return Receipt(note=note, facts={name: said[name] for name in names if isinstance(said.get(name), str)})

    def _talk(self, target: Target) -> Talk:
        return Talk(
            self.http,
            self.api_url,
            token="" if _is_webhook(target) else self._token,
            address=target.address,
            timeout=self.timeout,
            others=bool(self._webhooks),
        )

    def _has_own(self, part: str, alert: Alert) -> bool:
        """Whether a part of the message comes from a template of the user, which is mrkdwn."""
        return any(part in self.look.own.get(key, {}) for key in (alert.kind, alert.type.value, "all"))

    def _pieces(self, view: View, alert: Alert, context: Context) -> list[str]:
        """The message in sections. A long one is cut before it is put into markup."""
        if slack_blocks.length(view.message) <= MAX_SECTION:
            return [view.message]
        pieces = self.pages(alert, context, MAX_SECTION, slack_blocks.length)
        # The title stands in the header and the footer at the end, each in a block of its own.
        pieces[0] = pieces[0].removeprefix(view.title).removeprefix("\n")
        pieces[-1] = pieces[-1].removesuffix(view.footer).removesuffix("\n")
        return pieces


def _is_webhook(target: Target) -> bool:
    return "://" in target.address


def _checked_webhook(target: Target) -> Receipt:
    parts = urlsplit(target.address)
    note = "a webhook cannot be asked without posting: only its address was looked at"
    if not SLACK.fullmatch(parts.hostname or ""):
        return Receipt(note=f"{note}, and that is not Slack's own")
    if parts.scheme != "https" or not WEBHOOK.fullmatch(parts.path):
        told = "is no incoming webhook of Slack: copy https://hooks.slack.com/services/T…/B…/… into webhook_urls"
        raise DeliveryFailed(Failure.PERMANENT, f"{target.label} {told}", dead_target=True, answered=False)
    return Receipt(note=note)


# ------------------------------------------------------------------------------------- what the user gave us


def _addresses(urls: str | Sequence[str] | None) -> list[str]:
    texts = re.split(r"[,\s]+", urls) if isinstance(urls, str) else urls or ()
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    for number, url in enumerate(found, start=1):
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not url.isprintable() or re.search(r"\s", url):
            raise ValueError(
                f"webhook_urls must be https://hooks.slack.com/services/…: number {number} is no such address"
            )
        # Errors and logs show parts: the path without the host, the token by itself.
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        pieces = re.split(r"[/?&=]", target)
        # "services" is a word, "T0123ABCD" is not; hiding words would make every other text unreadable.
        pieces = [piece for piece in pieces if len(piece) >= 16 or (len(piece) >= 8 and re.search(r"\d", piece))]
        pieces += [target if target.count("/") > 1 else "", parts.password or ""]
        register_secrets_in([url, *pieces, *map(unquote, pieces)])
    return found


def _channels(channel_ids: str | Sequence[str] | None) -> list[str]:
    found = several(channel_ids)
    for number, channel in enumerate(found, start=1):
        if not _CHANNEL.fullmatch(channel):  # not quoted, because it may be a secret in the wrong place
            raise ValueError(f"channel_ids must be ids such as C0123456789: number {number} is none")
    return found
