"""The companies that send text messages, behind one small seam: :class:`Provider`.

Each judges its own answers. A :class:`~bt_alerts.dispatchers.base.DeliveryFailed` of the classes in :data:`NOT_SENT`
means that the message surely did not go, so that another provider may send it: :func:`send_by_the_first`.
"""

from __future__ import annotations

import abc
import base64
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bt_alerts.dispatchers import phone
from bt_alerts.dispatchers.base import DeliveryFailed, Failure, News, Receipt, register_secrets_in
from bt_alerts.dispatchers.http import Answer, HttpClient, raise_for_status
from bt_alerts.dispatchers.sms.gsm import is_gsm
from bt_alerts.dispatchers.twilio import FIRST_QUESTION, TwilioAccount, message_news

#: Classes after which the message may go by another provider, those with most hope first.
NOT_SENT = (Failure.RETRY, Failure.RETRY_AFTER, Failure.PERMANENT, Failure.AUTH)
NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_SHORT_CODE = re.compile(r"[0-9]{3,6}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")


class Provider(abc.ABC):
    """One company. Its constructor takes what the settings give it and the base address of the service.

    Attributes:
        name: in settings.
        title: for persons.
        sender: what messages come from: a number, a name, or what else the company knows.
        unset: the settings that it still needs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sender: str
    unset: list[str]

    @abc.abstractmethod
    def send(self, http: HttpClient, to: str, text: str, timeout: float) -> Receipt:
        """Send ``text`` to one number within ``timeout`` seconds. Raises :class:`DeliveryFailed`."""

    @abc.abstractmethod
    def check(self, http: HttpClient, timeout: float) -> Receipt:
        """See whether the credentials work; nothing is sent. Raises :class:`DeliveryFailed`."""

    def news(self, http: HttpClient, message_id: str, timeout: float) -> News | None:
        """What became of a message; None where the company does not tell."""
        return None


def checked_sender(sender: str, *, service: bool = False) -> str:
    """A number, a short code, a name of at most 11 letters and digits, (``service``) a Messaging Service, or none."""
    sender = "" if sender.strip() in {"-", "none"} else sender.strip()
    if not sender or _SHORT_CODE.fullmatch(sender) or (service and _SERVICE.fullmatch(sender)):
        return sender
    if sender.startswith("MG") and len(sender) > 11:
        wrong = "MG and 32 letters and digits" if service else "a number or a name for every provider but twilio"
        raise ValueError(f"from_number must be {wrong}; with several providers give one for each, in their order")
    return sender if NAME.fullmatch(sender) else phone.number(sender, "from_number")


class Twilio(Provider):
    """https://www.twilio.com/docs/messaging/api/message-resource"""

    name = "twilio"
    title = "Twilio"

    def __init__(self, account: TwilioAccount, sender: str) -> None:
        self.account = account
        self.sender = checked_sender(sender, service=True)
        self.unset = account.unset + ([] if self.sender else ["from_number (TWILIO_FROM_NUMBER)"])

    def send(self, http: HttpClient, to: str, text: str, timeout: float) -> Receipt:
        sender = "MessagingServiceSid" if _SERVICE.fullmatch(self.sender) else "From"
        said = self.account.create(http, "Messages", {"To": to, sender: self.sender, "Body": text}, timeout)
        counted = said.get("num_segments")
        facts = {"segments": int(counted)} if isinstance(counted, str) and re.fullmatch(r"[0-9]{1,2}", counted) else {}
        return Receipt(said["sid"], facts=facts, follow_up=FIRST_QUESTION)

    def check(self, http: HttpClient, timeout: float) -> Receipt:
        return self.account.check(http, timeout)

    def news(self, http: HttpClient, message_id: str, timeout: float) -> News | None:
        return message_news(*self.account.news(http, "Messages", message_id, timeout))


class Vonage(Provider):
    """https://developer.vonage.com/en/api/sms: formerly Nexmo. It answers 200 and says in the body what is wrong."""

    name = "vonage"
    title = "Vonage"
    #: The ``status`` of a message.
    MEANING: ClassVar[Mapping[str, tuple[Failure, str]]] = {
        "1": (Failure.RETRY, "says that there were too many messages"),
        "2": (Failure.PERMANENT, "misses a field"),
        "3": (Failure.PERMANENT, "says that a field is wrong: look at from_number and to"),
        "4": (Failure.AUTH, "refused api_key and api_secret: copy both from the Vonage dashboard"),
        "5": (Failure.RETRY, "is in trouble"),
        "6": (Failure.PERMANENT, "cannot send to this number"),
        "7": (Failure.PERMANENT, "may not write to this number: it is barred"),
        "8": (Failure.AUTH, "says that the account is barred: look at the Vonage dashboard"),
        "9": (Failure.RETRY_AFTER, "says that the account has no money left: top it up"),
        "10": (Failure.RETRY, "says that there are too many connections"),
        "11": (Failure.AUTH, "says that the account may not use the SMS API: switch it on in the dashboard"),
        "12": (Failure.TOO_LARGE, "says that the text is too long"),
        "14": (Failure.AUTH, "wants signed requests: allow api_secret in the dashboard, under SMS settings"),
        "15": (Failure.PERMANENT, "does not take from_number as a sender in this country"),
        "29": (Failure.PERMANENT, "sends only to verified numbers with a trial account: verify this one"),
        "32": (Failure.AUTH, "takes either a signature or api_secret"),
        "33": (Failure.PERMANENT, "says that this number is not in use any more"),
    }
    DEAD: ClassVar[frozenset[str]] = frozenset({"7", "33"})

    def __init__(self, api_key: str | None, api_secret: str | None, sender: str, api_url: str = "") -> None:
        self._key, self._secret = (api_key or "").strip(), (api_secret or "").strip()
        encoded = base64.b64encode(f"{self._key}:{self._secret}".encode("utf-8", "replace")).decode()
        register_secrets_in([self._key, self._secret, encoded])
        self._basic = {"Authorization": f"Basic {encoded}"}
        self.sender = checked_sender(sender)
        self.api_url = (api_url or "https://rest.nexmo.com").rstrip("/")
        needs = {"api_key (VONAGE_API_KEY)": self._key, "api_secret (VONAGE_API_SECRET)": self._secret}
        needs["from_number (TWILIO_FROM_NUMBER)"] = self.sender
        self.unset = [name for name, value in needs.items() if not value]

    def send(self, http: HttpClient, to: str, text: str, timeout: float) -> Receipt:
        form = {"from": self.sender.removeprefix("+"), "to": to.removeprefix("+"), "text": text}
        form |= {} if is_gsm(text) else {"type": "unicode"}
        form |= {"api_key": self._key, "api_secret": self._secret}
        answer = http.request("POST", f"{self.api_url}/sms/json", timeout=timeout, data=form)
        raise_for_status(answer)
        parts = answer.json().get("messages")
        parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
        if not parts:
            raise answer.failed(Failure.UNKNOWN, "answered, but not as Vonage does: is there a proxy or a login page?")
        refused = [part for part in parts if str(part.get("status")) != "0"]
        if len(refused) == len(parts):
            raise self._refusal(answer, refused[0])
        taken = next(part for part in parts if str(part.get("status")) == "0")
        # What is on its way cannot be called back, so it is not sent again either.
        note = (
            f"{len(refused)} of {len(parts)} segments were refused: {self._refusal(answer, refused[0]).reason}"
            if refused
            else ""
        )
        return Receipt(str(taken.get("message-id") or ""), note, {"segments": len(parts)})

    def check(self, http: HttpClient, timeout: float) -> Receipt:
        # Not in the query, where the service's page shows them: proxies write down addresses.
        answer = http.request("GET", f"{self.api_url}/account/get-balance", timeout=timeout, headers=self._basic)
        raise_for_status(answer)
        value = answer.json().get("value")
        return Receipt(facts={"balance": value} if isinstance(value, int | float) and abs(value) < 1e9 else {})

    def _refusal(self, answer: Answer, part: Mapping[str, Any]) -> DeliveryFailed:
        status, said = str(part.get("status"))[:20], str(part.get("error-text") or "")[:200]
        failure, words = self.MEANING.get(status, (Failure.PERMANENT, "refused the message"))
        wait = 3600.0 if failure is Failure.RETRY_AFTER else None
        reason = f"{words} (Vonage status {status}: {said})"
        return answer.failed(failure, reason, retry_after=wait, dead_target=status in self.DEAD)


# -------------------------------------------------------------------------------- one after the other


def send_by_the_first(providers: Sequence[Provider], http: HttpClient, to: str, text: str, timeout: float) -> Receipt:
    """Send by the first provider that takes the message, as long as it is sure that none before did.

    Args:
        providers: in their order.
        http: the client that sends.
        to: the number.
        text: the message.
        timeout: seconds in total. What is left is shared by those that are left, so that one that hangs leaves time.

    Returns:
        Its receipt; the note says which others failed and why.

    Raises:
        DeliveryFailed: where none takes it, or the outcome of one is unknown, or the number is dead: nobody writes
            around a STOP.
    """
    until = time.monotonic() + timeout
    failures: list[tuple[Provider, DeliveryFailed]] = []
    for position, provider in enumerate(providers):
        try:
            receipt = provider.send(http, to, text, left(until) / (len(providers) - position))
        except DeliveryFailed as failed:
            failures.append((provider, failed))
            if failed.failure not in NOT_SENT or failed.dead_target:
                break
        else:
            notes = [f"sent through {provider.title}", *_reasons(failures)] if failures else []
            note = "; ".join([*notes, *([receipt.note] if receipt.note else [])])
            facts = {"provider": provider.name, **receipt.facts}
            return Receipt(receipt.id, note, facts, follow_up=receipt.follow_up)
    raise _together(failures)


def left(until: float) -> float:
    """Seconds until a monotonic time, never quite none."""
    return max(until - time.monotonic(), 0.01)


def _reasons(failures: Sequence[tuple[Provider, DeliveryFailed]]) -> list[str]:
    return [f"{provider.title} failed: {failed.reason}" for provider, failed in failures]


def _together(failures: Sequence[tuple[Provider, DeliveryFailed]]) -> DeliveryFailed:
    """What the failures of all providers mean: the last word where there was one, else the one with most hope."""
    last = failures[-1][1]
    if len(failures) == 1:
        return last
    kinds = [failed.failure for _, failed in failures]
    final = last.failure not in NOT_SENT or last.dead_target
    kind = last.failure if final else next(each for each in NOT_SENT if each in kinds)
    waits = [failed.retry_after for _, failed in failures if failed.retry_after]
    return DeliveryFailed(
        kind,
        "; ".join(_reasons(failures)),
        retry_after=min(waits) if kind is Failure.RETRY_AFTER else None,
        answered=any(failed.answered for _, failed in failures if failed.failure is kind),
        dead_target=last.dead_target,
    )
