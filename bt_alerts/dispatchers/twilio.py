"""One account of Twilio (https://www.twilio.com/docs/usage/api): its requests, and what its error codes mean.

The account's own JSON holds its ``auth_token``, so no body that came with a success is ever quoted.
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import re
from collections.abc import Mapping
from typing import Any

from bt_alerts.dispatchers.base import DeliveryFailed, Failure, News, Receipt, register_secrets_in
from bt_alerts.dispatchers.http import Answer, HttpClient, raise_for_status

API = "https://api.twilio.com"
FIRST_QUESTION = 15.0  # seconds after which it is asked what became of a message
LAST_QUESTION = 3600.0  # seconds after which it is not asked any more
RARELY = 1200.0  # seconds, the longest wait between two questions

_P, _A, _L = Failure.PERMANENT, Failure.AUTH, Failure.TOO_LARGE
#: What an error code of a refused request means; a code that is not here is judged by its status.
REFUSED: Mapping[int, tuple[Failure, str]] = {
    20003: (_A, "refused account_sid and auth_token: copy both from the start page of the Twilio console"),
    20005: (_A, "says that the account is not active: look at the Twilio console"),
    20404: (_A, "does not know account_sid: copy it from the start page of the Twilio console"),
    21201: (_P, "was given no number to call"),
    21210: (_P, "says that from_number is not verified: buy it, or verify it in the Twilio console"),
    21211: (_P, "says that this is no phone number"),
    21212: (_P, "says that from_number is no number to send from: choose one of your Twilio numbers"),
    21214: (_P, "cannot reach this number"),
    21215: (_P, "may not call this country: allow it in the console under Voice, Geo permissions"),
    21217: (_P, "says that this is no phone number"),
    21219: (_P, "calls only verified numbers with a trial account: verify this one, or upgrade the account"),
    21266: (_P, "does not send from a number to itself: choose another from_number"),
    21408: (_P, "may not send to this country: allow it in the console under Messaging, Geo permissions"),
    21602: (_P, "was given no text"),
    21603: (_P, "was given no from_number"),
    21606: (_P, "says that from_number cannot send text messages, or is not of this account: choose another"),
    21608: (_P, "sends only to verified numbers with a trial account: verify this one, or upgrade the account"),
    21610: (_P, "may not write to this number: its owner answered STOP. Only START sent from it changes that"),
    21612: (_P, "has no way from this from_number to this number: choose another from_number"),
    21614: (_P, "says that this number takes no text messages"),
    21617: (_L, "says that the text is too long"),
    21658: (_L, "says that the text is too long"),
    21659: (_P, "says that from_number is not one of its numbers: choose one of your Twilio numbers"),
    21660: (_P, "says that from_number belongs to another account"),
    21703: (_P, "found no number in this Messaging Service: add one to it in the console"),
    21704: (_P, "found no number in this Messaging Service: add one to it in the console"),
}
#: Codes after which an address is not used any more.
DEAD = frozenset({21211, 21214, 21217, 21610, 21614})

#: Why a message that was taken did not arrive.
NOT_ARRIVED: Mapping[int, str] = {
    21610: "its owner answered STOP",
    30001: "too many messages were waiting: send fewer",
    30002: "the account was suspended",
    30003: "the phone is off, out of reach, or takes no messages",
    30004: "the phone or its network blocks messages from this sender",
    30005: "the number is unknown or not in use",
    30006: "it is a landline, or its network cannot be reached",
    30007: "the network filtered it as spam: register the sender, and avoid links",
    30008: "the network gave no reason",
    30032: "the toll-free number is not verified: verify it in the console",
    30034: "the number is not registered for messages from programs (A2P 10DLC): register it in the console",
    30036: "it waited longer than its validity period",
    30410: "the network did not answer in time",
}
_SID = re.compile(r"[A-Za-z0-9]{1,64}")


class TwilioAccount:
    """An account, by the names of the settings.

    Raises:
        ValueError: where ``account_sid`` can be none.
    """

    def __init__(self, account_sid: str | None, auth_token: str | None, api_url: str = "") -> None:
        self.sid = (account_sid or "").strip()
        token = (auth_token or "").strip()
        if not re.fullmatch(r"[A-Za-z0-9]*", self.sid):
            raise ValueError("account_sid must be AC and 32 letters and digits, as the start page of the console shows")
        self.api_url = (api_url or API).rstrip("/")
        encoded = base64.b64encode(f"{self.sid}:{token}".encode("utf-8", "replace")).decode()
        register_secrets_in([token, encoded] if token else [])
        self._headers = {"Authorization": f"Basic {encoded}"}
        self.unset = [
            name
            for name, value in (
                ("account_sid (TWILIO_ACCOUNT_SID)", self.sid),
                ("auth_token (TWILIO_AUTH_TOKEN)", token),
            )
            if not value
        ]

    def create(self, http: HttpClient, kind: str, form: Mapping[str, str], timeout: float) -> dict[str, Any]:
        """Make a message or a call.

        Args:
            http: the client that sends.
            kind: ``"Messages"`` or ``"Calls"``.
            form: its fields.
            timeout: seconds in total.

        Returns:
            What Twilio tells of it; its ``sid`` is text.

        Raises:
            DeliveryFailed: where it was not taken, or that is not known.
        """
        answer = self._ask(http, "POST", f"/{kind}.json", timeout, form)
        said = answer.json()
        if not (isinstance(said.get("sid"), str) and said["sid"]):
            raise answer.failed(Failure.UNKNOWN, "answered, but not as Twilio does: is there a proxy or a login page?")
        return said

    def check(self, http: HttpClient, timeout: float) -> Receipt:
        """See whether the account can be used. Raises :class:`DeliveryFailed`."""
        answer = self._ask(http, "GET", ".json", timeout)
        status = answer.json().get("status")
        if status in {"suspended", "closed"}:
            raise answer.failed(Failure.AUTH, f"says that the account is {status}: look at the Twilio console")
        if not isinstance(status, str):
            raise answer.failed(Failure.RETRY, "answered, but not as Twilio does: is there a proxy or a login page?")
        return Receipt(facts={"status": status[:40]})

    def news(self, http: HttpClient, kind: str, sid: str, timeout: float) -> tuple[dict[str, Any], float | None]:
        """What Twilio tells now of a message or a call, and the seconds after which to ask again while it is under way.

        Raises:
            DeliveryFailed: where it does not tell, or ``sid`` is none.
        """
        if not _SID.fullmatch(sid):
            raise DeliveryFailed(Failure.PERMANENT, "the id of the message is none of Twilio", answered=False)
        answer = self._ask(http, "GET", f"/{kind}/{sid}.json", timeout)
        said = answer.json()
        made, told = _when(said.get("date_created")), _when(answer.headers.get("Date"))
        # Twilio's clock set both; the time that has passed is the next wait, so the waits double.
        age = ((told or answer.now) - made).total_seconds() if made else LAST_QUESTION
        return said, None if age >= LAST_QUESTION else min(max(age, FIRST_QUESTION), RARELY)

    def _ask(
        self, http: HttpClient, method: str, path: str, timeout: float, form: Mapping[str, str] | None = None
    ) -> Answer:
        url = f"{self.api_url}/2010-04-01/Accounts/{self.sid}{path}"
        answer = http.request(method, url, timeout=timeout, data=form, headers=self._headers)
        raise_for_twilio(answer)
        return answer


def error_of(said: Mapping[str, Any]) -> tuple[int, str]:
    """The code and the words of an error, in the old form and in that of RFC 9457; 0 where there is none."""
    code = said.get("code")
    words = next((said[key] for key in ("message", "detail", "title") if isinstance(said.get(key), str)), "")
    return code if isinstance(code, int) and 0 < code < 10**6 else 0, words[:200]


def raise_for_twilio(answer: Answer) -> None:
    """Raise what an answer of Twilio means, unless it is a success."""
    code, said = error_of(answer.json()) if 400 <= answer.status < 500 else (0, "")
    if code == 63038:  # the limit is one of 24 hours, and Twilio does not say when they end
        raise answer.failed(
            Failure.RETRY_AFTER, f"says that the account's messages of the day are used up: {said}", retry_after=3600.0
        )
    if code not in REFUSED:
        raise_for_status(answer)
        return
    failure, words = REFUSED[code]
    raise answer.failed(failure, f"{words} (Twilio error {code}: {said})", dead_target=code in DEAD)


def why_not(said: Mapping[str, Any]) -> str:
    """Why a message did not arrive, in words."""
    code = said.get("error_code")
    if not isinstance(code, int):
        return "Twilio gives no reason"
    words = NOT_ARRIVED.get(code) or str(said.get("error_message") or f"see https://www.twilio.com/docs/errors/{code}")
    return f"{words[:200]} (Twilio error {code})"


def message_news(said: Mapping[str, Any], again: float | None) -> News:
    """What became of a text message: :meth:`TwilioAccount.news` in words."""
    status = str(said.get("status"))[:40]
    facts = {
        name: said[name] for name in ("status", "error_code", "price", "price_unit", "num_segments") if said.get(name)
    }
    facts = {name: value for name, value in facts.items() if isinstance(value, str | int)}
    if status in {"delivered", "read", "received"}:
        return News("delivered to the phone", facts=facts)
    if status in {"undelivered", "failed", "canceled"}:
        return News(f"the message was not delivered: {why_not(said)}", failed=True, facts=facts)
    what = "the network has it" if status == "sent" else f"under way ({status})"
    return News(what if again else f"{what}, and has not confirmed that it arrived", again=again, facts=facts)


def _when(text: object) -> dt.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(str(text)).astimezone(dt.UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
