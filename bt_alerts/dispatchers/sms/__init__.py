"""Text messages (SMS) by Twilio, Vonage or AWS SNS; several are tried one after the other.

A message is paid by the segment, so its text is spelled in the alphabet of 160 characters a segment where it can be
(``gsm.py``), is cut to ``max_segments``, and what is spent in a day and in a month can be capped
(``cap.py``). Files stay behind: a text message has no place for them.

None of the three takes an idempotency key. A message whose outcome is unknown is not sent by another provider, which
would surely repeat it; the courier sends it again, because a repeat is better than a loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers import phone
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    News,
    Receipt,
    Target,
)
from bt_alerts.dispatchers.http import HttpDispatcher
from bt_alerts.dispatchers.sms import cap as sms_cap
from bt_alerts.dispatchers.sms import gsm
from bt_alerts.dispatchers.sms.aws import AwsSns
from bt_alerts.dispatchers.sms.providers import Provider, Twilio, Vonage, left, send_by_the_first
from bt_alerts.dispatchers.twilio import TwilioAccount
from bt_alerts.render.text import shorten

PROVIDERS = ("twilio", "vonage", "aws_sns")
MOST_SEGMENTS = 10  # the providers take 1,600 characters
SHORTEST_TITLE = 40  # characters of a title that stay, however long its message is


class SmsDispatcher(HttpDispatcher):
    """Sends text messages to each number.

    Raises:
        ValueError: where an argument cannot be right; the text shows no number and no credential.
    """

    type: ClassVar[str] = "sms"
    rate: ClassVar[int] = 5
    repeats_cost: ClassVar[bool] = True
    kit = "sms"
    preview_answer: ClassVar[Mapping[str, Any]] = {
        "sid": f"SM{'0' * 32}",
        "messages": [{"status": "0", "message-id": "0"}],
    }

    def __init__(  # noqa: PLR0917 - the promised order of arguments
        self,
        provider: Annotated[
            str | Sequence[str],
            About("twilio, vonage or aws_sns; with several, each is tried where the one before fails"),
        ] = "twilio",
        account_sid: Annotated[
            str | None, Env("TWILIO_ACCOUNT_SID"), About("AC… from the start page of the Twilio console")
        ] = None,
        auth_token: Annotated[
            str | None, Credential(), Env("TWILIO_AUTH_TOKEN"), About("auth token from the same page")
        ] = None,
        from_number: Annotated[
            str | Sequence[str] | None,
            Env("TWILIO_FROM_NUMBER"),
            About(
                "number in E.164, Messaging Service (MG…) or name that messages come from; one for all providers, or "
                "one for each in their order"
            ),
        ] = None,
        to: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("SMS_TO"),
            About("phone numbers in E.164, such as +447700900123; each is delivered by itself"),
        ] = None,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 5,
        *,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        api_key: Annotated[str | None, Credential(), Env("VONAGE_API_KEY"), About("API key of Vonage")] = None,
        api_secret: Annotated[str | None, Credential(), Env("VONAGE_API_SECRET"), About("API secret of Vonage")] = None,
        aws_region: Annotated[
            str | None, Env("AWS_REGION"), About("region of AWS SNS; its credentials are those that boto3 finds")
        ] = None,
        one_segment: Annotated[bool, About("every message is shortened to one segment")] = False,
        max_segments: Annotated[int, About("segments of the longest message, 1 to 10; it is shortened to them")] = 3,
        keep_unicode: Annotated[
            bool, About("quotes, dashes, arrows, accents and emoji stay as they are, at up to three times the price")
        ] = False,
        daily_segments: Annotated[int, About("segments a day (UTC) after which alerts wait; 0 means no cap")] = 0,
        monthly_segments: Annotated[int, About("segments a month (UTC) after which alerts wait; 0 means no cap")] = 0,
        price_per_segment: Annotated[float, About("money for one segment; needed by the next two")] = 0.0,
        daily_cost: Annotated[float, About("money a day (UTC) after which alerts wait; 0 means no cap")] = 0.0,
        monthly_cost: Annotated[float, About("money a month (UTC) after which alerts wait; 0 means no cap")] = 0.0,
        status_poll: Annotated[bool, About("ask Twilio whether the message arrived, for up to an hour")] = True,
        api_url: Annotated[
            str | Sequence[str] | None,
            About("base address of the provider, for proxies and tests; with several one for each, in their order"),
        ] = None,
        timeout: Annotated[float, About("seconds for one delivery in total, shared by its providers")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        if not 1 <= max_segments <= MOST_SEGMENTS:
            raise ValueError(f"max_segments must be 1 to {MOST_SEGMENTS}, not {max_segments}")
        self.max_segments = 1 if one_segment else max_segments
        self.keep_unicode, self.status_poll = keep_unicode, status_poll
        self.cap = sms_cap.Cap(
            _cap("daily", daily_segments, daily_cost, price_per_segment, self.max_segments),
            _cap("monthly", monthly_segments, monthly_cost, price_per_segment, self.max_segments),
        )
        if self.cap != sms_cap.Cap():
            self.concurrent = 1  # two at the same time would not see what the other spends
        names = _providers(provider)
        senders = _for_each("from_number", from_number, names, share=True)
        urls = _for_each("api_url", api_url, names, share=False)
        self._numbers = phone.numbers(to)
        self._providers: list[Provider] = []
        for name, sender, url in zip(names, senders, urls, strict=True):
            if name == "twilio":
                self._providers.append(Twilio(TwilioAccount(account_sid, auth_token, url), sender))
            elif name == "vonage":
                self._providers.append(Vonage(api_key, api_secret, sender, url))
            else:
                self._providers.append(AwsSns(aws_region, sender, url))

    def missing(self) -> str:
        unset = [name for provider in self._providers for name in provider.unset]
        unset += [] if self._numbers else ["to (SMS_TO)"]
        titles = " and ".join(provider.title for provider in self._providers)
        return f"set {', '.join(dict.fromkeys(unset))} to send text messages through {titles}" if unset else ""

    def targets(self) -> Sequence[Target]:
        return [] if self.missing() else phone.as_targets(self._numbers)

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        view = self.view(alert, context)
        text = self._text(view.title, "\n".join(part for part in (view.message, view.footer) if part.strip()))
        own = context.memory.get(target.key, {})
        reached = self.cap.reached(context.memory, own, context.now, gsm.segments(text))
        note = view.note
        if reached is not None and alert.priority is not Priority.CRITICAL:
            if reached.told(own):
                wait = max(1.0, (reached.until - context.now).total_seconds())
                reason = f"the cap of the {reached.of} is reached ({reached.segments} segments)"
                raise DeliveryFailed(Failure.RETRY_AFTER, reason, retry_after=wait, answered=False, digest=True)
            notice = self._spelled(f"{reached.text}.\n{text}")
            # One segment of UCS-2 would end before it has told until when.
            text = gsm.shortened(notice, 1 if gsm.is_gsm(notice) else 2)
            note = f"sent as the message that tells that the cap of the {reached.of} is reached"
            own = {**own, "told": reached.mark}
        try:
            receipt = send_by_the_first(self._providers, self.http, target.address, text, self.timeout)
        except DeliveryFailed as failed:
            # Each of these may have been sent and paid, so they count as answers: there is an end to repeating.
            failed.answered = failed.answered or failed.failure is Failure.UNKNOWN
            raise
        counted = max(gsm.segments(text), int(receipt.facts.get("segments", 0)))
        return Receipt(
            receipt.id,
            "; ".join(part for part in (note, receipt.note, phone.left_behind(alert)) if part),
            {**receipt.facts, "segments": counted, "encoding": gsm.encoding(text)},
            remember=sms_cap.remembered(own, context.now, counted),
            follow_up=receipt.follow_up if self.status_poll else None,
        )

    def check(self, target: Target) -> Receipt:
        """Ask every provider whether the credentials work; sends nothing."""
        until = time.monotonic() + self.timeout
        found = [provider.check(self.http, left(until)) for provider in self._providers]
        facts = {key: value for receipt in found for key, value in receipt.facts.items()}
        return Receipt(note="; ".join(receipt.note for receipt in found if receipt.note), facts=facts)

    def follow_up(self, receipt: Receipt) -> News | None:
        name = receipt.facts.get("provider")
        sender = next((provider for provider in self._providers if provider.name == name), None)
        return sender.news(self.http, receipt.id, self.timeout) if sender is not None else None

    def _text(self, title: str, message: str) -> str:
        title, message = self._spelled(title).strip(), self._spelled(message).strip()
        if message:  # a title that takes all the room would leave none for what it is about
            one = gsm.EACH_GSM if gsm.is_gsm(title + message) else gsm.EACH_UCS2
            title = shorten(
                title, max(SHORTEST_TITLE, one * self.max_segments // 2), "..." if gsm.is_gsm(title) else "…"
            )
        text = self._spelled("\n".join(part for part in (title, message) if part))
        return gsm.shortened(text or "(an alert without text)", self.max_segments)

    def _spelled(self, text: str) -> str:
        return text if self.keep_unicode else gsm.economical(text)


def _providers(given: str | Sequence[str]) -> list[str]:
    parts = given.split(",") if isinstance(given, str) else list(given)
    names = [str(part).strip().lower().replace("-", "_") for part in parts]
    names = list(dict.fromkeys("vonage" if name == "nexmo" else name for name in names if name))
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown or not names:
        raise ValueError(
            f"provider must be one or several of {', '.join(PROVIDERS)}, not {(unknown or ['nothing'])[0]!r}"
        )
    return names


def _for_each(argument: str, given: str | Sequence[str] | None, names: Sequence[str], *, share: bool) -> list[str]:
    """One value for each provider: as many as there are, none, or (``share``) one for all."""
    parts = given.split(",") if isinstance(given, str) else list(given or [])
    values = [str(part).strip() for part in parts]
    if len(values) == len(names):
        return values
    if not values or (share and len(values) == 1):
        return (values or [""]) * len(names)
    raise ValueError(f"{argument} must have one value for each of {', '.join(names)}, in this order, not {len(values)}")


def _cap(period: str, segments: int, cost: float, price: float, most: int) -> int:
    """A cap in segments, from one in segments, one in money, or the lower of both."""
    if segments < 0 or cost < 0 or price < 0:
        raise ValueError(f"{period}_segments, {period}_cost and price_per_segment must be 0 or more")
    if cost and not price:
        raise ValueError(f"price_per_segment must be set where {period}_cost is: it is what a segment costs")
    caps = [segments] if segments else []
    caps += [math.floor(cost / price + 1e-9)] if cost else []
    if caps and min(caps) < most:
        raise ValueError(
            f"{period}_segments and {period}_cost must allow one message: {min(caps)} segments are less than the "
            f"{most} that one can have; lower max_segments, or raise the cap"
        )
    return min(caps, default=0)
