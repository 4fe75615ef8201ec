"""Calls: Twilio rings and a voice reads a critical alert (https://www.twilio.com/docs/voice/api/call-resource).

An alert below ``min_priority`` makes no call. Its receipt says "not called" in the note and ``called: false`` in the
facts, and used alone ``send_*`` returns False; to keep such alerts from the channel altogether, route by priority.

Twilio takes no idempotency key. A call whose outcome is unknown is made again: to be called twice is better than not
to be called.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers import phone
from bt_alerts.dispatchers.base import About, Context, Credential, DeliveryFailed, Env, Failure, News, Receipt, Target
from bt_alerts.dispatchers.http import HttpDispatcher
from bt_alerts.dispatchers.twilio import FIRST_QUESTION, TwilioAccount, why_not
from bt_alerts.render.text import shorten

MAX_TWIML = 4000
MAX_REPEAT = 10
_VOICE = re.compile(r"[A-Za-z0-9][\w.\-]{0,99}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class VoiceDispatcher(HttpDispatcher):
    """Calls each number and reads the alert.

    Raises:
        ValueError: where an argument cannot be right; the text shows no number and no credential.
    """

    type: ClassVar[str] = "voice"
    rate: ClassVar[int] = 5
    repeats_cost: ClassVar[bool] = True
    kit = "voice"
    preview_answer: ClassVar[Mapping[str, Any]] = {"sid": f"CA{'0' * 32}"}

    def __init__(
        self,
        account_sid: Annotated[
            str | None, Env("TWILIO_ACCOUNT_SID"), About("AC… from the start page of the Twilio console")
        ] = None,
        auth_token: Annotated[
            str | None, Credential(), Env("TWILIO_AUTH_TOKEN"), About("auth token from the same page")
        ] = None,
        from_number: Annotated[
            str | None, Env("TWILIO_FROM_NUMBER"), About("number of Twilio in E.164 that calls come from")
        ] = None,
        to: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("VOICE_TO"),
            About("phone numbers in E.164, such as +447700900123; each is called by itself"),
        ] = None,
        *,
        enabled: Annotated[bool, About("false calls nobody")] = True,
        min_priority: Annotated[
            Priority | str, About("least priority that is worth a call: critical, high, medium, low or info")
        ] = Priority.CRITICAL,
        voice: Annotated[str, About("Twilio's name of a voice, such as Polly.Joanna")] = "alice",
        language: Annotated[str, About("language of the voice, such as en-GB")] = "en-US",
        repeat: Annotated[int, About("how often the text is read, 1 to 10")] = 2,
        status_poll: Annotated[bool, About("ask Twilio whether somebody answered, for up to an hour")] = True,
        rate_limit: Annotated[int, About("calls a minute; 0 means no limit")] = 5,
        api_url: Annotated[
            str, About("address of the service, for proxies, tests and Twilio's other regions")
        ] = "https://api.twilio.com",
        timeout: Annotated[float, About("seconds for one request in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        try:
            self.min_priority = Priority(min_priority)
        except ValueError:
            raise ValueError("min_priority must be critical, high, medium, low or info") from None
        if not 1 <= repeat <= MAX_REPEAT:
            raise ValueError(f"repeat must be 1 to {MAX_REPEAT}, not {repeat}")
        if not _VOICE.fullmatch(voice):
            raise ValueError("voice must be the name of a voice, such as alice or Polly.Joanna")
        if not _LANGUAGE.fullmatch(language):
            raise ValueError("language must be a language and a country, such as en-US")
        self.voice, self.language, self.repeat, self.status_poll = voice, language, repeat, status_poll
        self._account = TwilioAccount(account_sid, auth_token, api_url)
        self._from = phone.number(from_number, "from_number") if (from_number or "").strip() else ""
        self._numbers = phone.numbers(to)

    def missing(self) -> str:
        unset = [*self._account.unset]
        unset += [] if self._from else ["from_number (TWILIO_FROM_NUMBER)"]
        unset += [] if self._numbers else ["to (VOICE_TO)"]
        return f"set {', '.join(unset)} to make calls through Twilio" if unset else ""

    def targets(self) -> Sequence[Target]:
        return [] if self.missing() else phone.as_targets(self._numbers)

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        if alert.priority < self.min_priority:
            note = f"not called: only alerts of priority {self.min_priority} or more are (min_priority)"
            return Receipt(note=note, facts={"called": False})
        view = self.view(alert, context)
        parts = [spoken(part, self.language) for part in (view.title, view.message, view.footer)]
        text = ".\n".join(part for part in parts if part) or "An alert without text"
        form = {"To": target.address, "From": self._from, "Twiml": self._twiml(text)}
        try:
            said = self._account.create(self.http, "Calls", form, self.timeout)
        except DeliveryFailed as failed:
            # A phone may have rung: such a call counts as an answer, so there is an end to repeating.
            failed.answered = failed.answered or failed.failure is Failure.UNKNOWN
            raise
        return Receipt(said["sid"], view.note, {"called": True}, follow_up=FIRST_QUESTION if self.status_poll else None)

    #: A test that makes no call would show nothing.
    test_priority: ClassVar[Priority] = Priority.CRITICAL

    def check(self, target: Target) -> Receipt:
        """Ask whether the account is active; calls nobody."""
        return self._account.check(self.http, self.timeout)

    def follow_up(self, receipt: Receipt) -> News | None:
        if not receipt.id:
            return None
        said, again = self._account.news(self.http, "Calls", receipt.id, self.timeout)
        status = str(said.get("status"))[:40]
        facts = {name: said[name] for name in ("status", "duration", "price") if isinstance(said.get(name), str)}
        if status == "completed":
            return News(f"answered, by a person or a voicemail, for {said.get('duration') or '?'} s", facts=facts)
        if status in _NOT_ANSWERED:
            reason = f": {why_not(said)}" if status == "failed" and said.get("error_code") else ""
            return News(f"{_NOT_ANSWERED[status]}{reason}", failed=True, facts=facts)
        return News(f"the call is under way ({status})", again=again, facts=facts)

    def send(self, alert: Alert, context: Context | None = None) -> bool:
        return super().send(alert, context) and alert.priority >= self.min_priority

    def _twiml(self, text: str) -> str:
        """What Twilio is to do: wait for the phone to reach the ear, then read. As long as its limit allows."""
        lengths = range(1, min(len(text), MAX_TWIML) + 1)
        fits = bisect.bisect_right(lengths, MAX_TWIML, key=lambda length: len(self._say(shorten(text, length))))
        return self._say(shorten(text, fits))

    def _say(self, text: str) -> str:
        how = f"language={quoteattr(self.language)} loop={quoteattr(str(self.repeat))} voice={quoteattr(self.voice)}"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<Response><Pause length="1" /><Say {how}>{escape(text)}</Say></Response>'
        )


_NOT_ANSWERED = {
    "busy": "not answered: the line was busy",
    "no-answer": "not answered: nobody picked up",
    "failed": "the call failed",
    "canceled": "the call was cancelled before it was answered",
}

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SIGN = re.compile(r"(?<![\w.)\]])([-−+])(?=\d)")
_LINK = re.compile(r"https?://\S+")
_ARROW = re.compile(r"\s*(?:->|=>|→|⇒)\s*")
_BETWEEN = re.compile(r"(?<=\S) +[·•] +")
_NOT_READ = re.compile(r"[_`~|\\^•·\ufe0e\ufe0f\u20e3]+|(?<!\d)\*+|\*+(?!\d)")


def spoken(text: str, language: str = "en-US") -> str:
    """``text`` as a voice is to read it: no emoji, markup or links, and numbers without what makes it stumble.

    Args:
        text: as it is read with the eyes.
        language: of the voice; signs and arrows become words in English only.
    """
    english = language.lower().startswith("en")
    text = _LINK.sub("link", unicodedata.normalize("NFC", text))
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    if english:
        text = _SIGN.sub(lambda found: "plus " if found[1] == "+" else "minus ", text)
    text = _ARROW.sub(" to " if english else ", ", text)
    text = _NOT_READ.sub(" ", _BETWEEN.sub(", ", text))
    text = "".join(char for char in text if char in "\n\t" or not _silent(char))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _silent(char: str) -> bool:
    """Emoji, skin tones, joiners, control codes, and what no XML may hold. Marks of money and mathematics are read."""
    return unicodedata.category(char) in {"So", "Sk", "Cc", "Cf", "Cs", "Co", "Cn"} and char not in "°©®™"
