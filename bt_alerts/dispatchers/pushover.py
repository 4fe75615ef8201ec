"""Pushover: notifications on phones and desktops (https://pushover.net/api).

Levels. A medium alert is sent at the channel's ``priority``. Critical goes at 2 (repeated until somebody acknowledges),
high at 1 or more, low at -1 or less, info at -2. A silent delivery goes at -1 or less, unless the alert is critical.

Pushover takes no idempotency key, so a message whose outcome is unknown is sent again: a repeat is better than a loss.
"""

from __future__ import annotations

import functools
import html as html_text
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    News,
    Receipt,
    Suggested,
    Target,
    register_secrets_in,
    several,
)
from bt_alerts.dispatchers.http import Answer, HttpClient, HttpDispatcher, raise_for_status, retry_after
from bt_alerts.render.text import shorten

#: Every built-in sound and what it is. An account can have sounds of its own, so other names are taken too.
SOUNDS: Mapping[str, str] = {
    "pushover": "Pushover's own, the default",
    "bike": "Bike bell",
    "bugle": "Bugle",
    "cashregister": "Cash register",
    "classical": "Classical music",
    "cosmic": "Cosmic",
    "falling": "Falling",
    "gamelan": "Gamelan",
    "incoming": "Incoming",
    "intermission": "Intermission",
    "magic": "Magic",
    "mechanical": "Mechanical",
    "pianobar": "Piano bar",
    "siren": "Siren",
    "spacealarm": "Space alarm",
    "tugboat": "Tug boat",
    "alien": "Alien alarm, long",
    "climb": "Climb, long",
    "persistent": "Persistent, long",
    "echo": "Pushover echo, long",
    "updown": "Up and down, long",
    "vibrate": "Vibration only",
    "none": "Silence",
}

#: What each priority does.
PRIORITIES: Mapping[str, str] = {
    "-2": "no notification, only the number on the icon",
    "-1": "quiet: no sound, no vibration",
    "0": "as the phone is set, the default",
    "1": "high: passes the phone's quiet hours, shown in red",
    "2": "emergency: repeated until somebody acknowledges it",
}

MAX_MESSAGE, MAX_TITLE, MAX_URL, MAX_URL_TITLE = 1024, 250, 512, 100
MAX_PICTURE = 5_242_880
MIN_RETRY, MAX_EXPIRE = 30, 10_800  # seconds, of an emergency
PAUSE = 5.0  # seconds; "retry no sooner" after trouble on their side
MAX_CONNECTIONS = 2
ASK_EVERY = 15.0  # seconds between questions about a receipt; Pushover allows one every 5


class PushoverDispatcher(HttpDispatcher):
    """Sends through Pushover.

    An alert can choose for itself with ``data={"pushover": {"sound": ..., "url": ..., "url_title": ...}}``.

    Raises:
        ValueError: where an argument cannot be right.
    """

    type: ClassVar[str] = "pushover"
    takes_pictures: ClassVar[bool] = True

    def __init__(
        self,
        app_token: Annotated[
            str | None, Credential(), Env("PUSHOVER_APP_TOKEN"), About("token of your application at pushover.net")
        ] = None,
        user_key: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("PUSHOVER_USER_KEY"),
            About("user or group key, or several: each is delivered by itself"),
        ] = None,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        priority: Annotated[int, About("-2 to 2, of a medium alert"), Suggested(PRIORITIES)] = 0,
        sound: Annotated[
            str | None, About("name of a sound; none is the choice of the phone's owner"), Suggested(SOUNDS)
        ] = None,
        *,
        device: Annotated[str | Sequence[str] | None, About("only these devices of the user")] = None,
        retry: Annotated[int, About("seconds between repeats of a critical alert, 30 or more")] = 60,
        expire: Annotated[int, About("seconds after which a critical alert stops repeating, at most 10800")] = 3600,
        ttl: Annotated[
            int | None, About("seconds after which the phone deletes the message; never if critical")
        ] = None,
        html: Annotated[bool, About("first line bold and in the colour of the priority")] = False,
        monospace: Annotated[bool, About("message in a fixed-width font")] = False,
        url: Annotated[str | None, About("link below every message")] = None,
        url_title: Annotated[str | None, About("text of the link")] = None,
        api_url: Annotated[str, About("address of the service, for proxies and tests")] = "https://api.pushover.net",
        timeout: Annotated[float, About("seconds for one request in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        if html and monospace:
            raise ValueError("html and monospace cannot both be set: Pushover takes one of them")
        if ttl is not None and ttl <= 0:
            raise ValueError(f"ttl must be a positive number of seconds, not {ttl}")
        if url and len(url) > MAX_URL:
            raise ValueError(f"url has {len(url)} characters: Pushover takes {MAX_URL}")
        self.enabled, self.timeout, self.ca_file = enabled, timeout, ca_file
        self.api_url = api_url.rstrip("/")
        self.device = ",".join(several(device))
        self.retry = min(max(int(retry), MIN_RETRY), MAX_EXPIRE)
        self.expire = min(max(int(expire), MIN_RETRY), MAX_EXPIRE)
        self.ttl, self.html, self.monospace, self.url, self.url_title = ttl, html, monospace, url, url_title
        self.set_credentials(app_token, user_key)
        self.set_priority(priority)
        self.set_sound(sound)

    def set_credentials(self, app_token: str | None, user_key: str | Sequence[str] | None) -> None:
        """Use another application token and other user keys from now on."""
        register_secrets_in(app_token)
        self._token = (app_token or "").strip()
        self._users = several(user_key)
        register_secrets_in([self._token, *self._users])

    def set_priority(self, priority: int) -> None:
        """Send medium alerts at this level. Raises ``ValueError`` outside -2 to 2."""
        if priority not in range(-2, 3):
            raise ValueError(f"priority must be -2, -1, 0, 1 or 2, not {priority!r}")
        self.priority = priority

    def set_sound(self, sound: str | None) -> None:
        """Play this sound; None leaves it to the phone's owner. :data:`SOUNDS` lists the built-in ones."""
        self.sound = sound

    def missing(self) -> str:
        names = [("app_token (PUSHOVER_APP_TOKEN)", self._token), ("user_key (PUSHOVER_USER_KEY)", self._users)]
        unset = [name for name, value in names if not value]
        return f"set {' and '.join(unset)} to send through Pushover" if unset else ""

    def targets(self) -> Sequence[Target]:
        return [Target(key, f"user …{key[-4:]}") for key in self._users] if self._token else []

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        asked = time.monotonic()
        fields = self._fields(alert, target, context)
        picture, note = _picture(alert)
        try:
            return self._receipt(self._post("messages.json", fields, picture), note)
        except DeliveryFailed as failed:
            if not picture or (failed.failure is not Failure.TOO_LARGE and "attachment" not in failed.reason):
                raise
            note = f"sent without its picture: {failed.reason}"
        left = self.timeout - (time.monotonic() - asked)
        return self._receipt(self._post("messages.json", fields, timeout=left), note)

    def check(self, target: Target) -> Receipt:
        """Ask whether token and user key belong together; sends nothing."""
        found = self._post("users/validate.json", {"user": target.address, "device": self.device}).json()
        return Receipt(id=str(found.get("request", "")), facts={"devices": found.get("devices", [])})

    def follow_up(self, receipt: Receipt) -> News | None:
        """Whether somebody acknowledged a critical alert; nobody is told so where its repeats ended without that."""
        said = self.receipt_status(str(receipt.facts.get("receipt", "")))
        if said.get("acknowledged"):
            by = f"user …{str(said.get('acknowledged_by', ''))[-4:]}"
            facts = {"acknowledged_at": said.get("acknowledged_at"), "acknowledged_by": by}
            return News(f"acknowledged on the phone by {by}", acknowledged=True, facts=facts)
        if said.get("expired"):
            return News("nobody acknowledged it before its repeats ended")
        return News("delivered, not acknowledged yet", again=ASK_EVERY)

    def withdraw(self, receipt: Receipt) -> News | None:
        """Stop repeating a critical alert that somebody acknowledged elsewhere."""
        self.cancel_receipt(str(receipt.facts.get("receipt", "")))
        return News("its repeats were ended: it was acknowledged elsewhere")

    def receipt_status(self, receipt: str) -> dict[str, Any]:
        """Who acknowledged a critical alert and when, as Pushover tells; ask at most every 5 seconds."""
        return self._get(f"receipts/{_checked(receipt)}.json").json()

    def cancel_receipt(self, receipt: str) -> None:
        """Stop repeating a critical alert."""
        self._post(f"receipts/{_checked(receipt)}/cancel.json", {})

    def sounds(self) -> dict[str, str]:
        """Every sound of this account and what it is, its own ones too."""
        return dict(self._get("sounds.json").json().get("sounds", {}))

    def raise_for_answer(self, answer: Answer) -> None:
        said = answer.json()
        if answer.status >= 500:
            wait = max(PAUSE, retry_after(answer.headers, answer.now) or 0.0)
            raise answer.failed(Failure.RETRY_AFTER, f"is in trouble (HTTP {answer.status})", retry_after=wait)
        reset = _number(answer.headers.get("X-Limit-App-Reset"))
        if answer.status == 429 and reset:
            until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(reset))
            wait = max(PAUSE, reset - answer.now.timestamp())
            raise answer.failed(
                Failure.RETRY_AFTER, f"says that the month's messages are used up until {until}", retry_after=wait
            )
        errors = _sentences(said.get("errors"))
        if said.get("token") == "invalid":
            raise answer.failed(Failure.AUTH, f"does not know app_token: {errors}")
        if said.get("user") == "invalid":
            # One wrong key of several must not silence the others, so then only its own target ends.
            if len(self._users) == 1:
                raise answer.failed(Failure.AUTH, f"does not know user_key: {errors}")
            raise answer.failed(Failure.PERMANENT, f"does not know this user key: {errors}", dead_target=True)
        if errors and answer.status == 400:
            raise answer.failed(Failure.PERMANENT, f"refused the message: {errors}")
        raise_for_status(answer)
        if said.get("status") != 1:
            if said:
                raise answer.failed(Failure.PERMANENT, f"refused the message: {errors or answer.excerpt()}")
            raise answer.failed(
                Failure.UNKNOWN, "answered, but not as Pushover does: is there a proxy or a login page?"
            )

    def _send(self, alert: Alert, *, sound: str | None = None, **how: Any) -> bool:
        if sound is not None:
            alert = alert.replace(data={**alert.data, "pushover": {"sound": sound}})
        return super()._send(alert, **how)

    def _level(self, priority: Priority, silent: bool) -> int:
        own = priority.style.pushover
        level = max(own, self.priority) if own > 0 else min(own, self.priority) if own < 0 else self.priority
        return min(level, -1) if silent and priority is not Priority.CRITICAL else level

    def _fields(self, alert: Alert, target: Target, context: Context) -> dict[str, Any]:
        view = self.view(alert, context)
        level = self._level(alert.priority, context.silent)
        own = alert.data.get("pushover")
        own = own if isinstance(own, Mapping) else {}
        url = str(own.get("url") or self.url or "")
        fields = {
            "user": target.address,
            "message": self._message(view.message or self.look.discreet(alert).title, alert.priority),
            "title": shorten(view.title, MAX_TITLE),
            "priority": level,
            "timestamp": int(alert.time.timestamp()),
            "sound": own.get("sound") or self.sound,
            "device": self.device,
            "url": url if len(url) <= MAX_URL else "",
            "url_title": shorten(str(own.get("url_title") or self.url_title or ""), MAX_URL_TITLE),
            "html": 1 if self.html else "",
            "monospace": 1 if self.monospace else "",
        }
        fields |= {"retry": self.retry, "expire": self.expire} if level == 2 else {"ttl": self.ttl}
        return {name: value for name, value in fields.items() if value not in ("", None)}

    def _message(self, text: str, priority: Priority) -> str:
        if not self.html:
            return shorten(text, MAX_MESSAGE)
        limit = MAX_MESSAGE
        while True:  # escaping makes it longer, and a cut through "&amp;" would show
            first, _, rest = html_text.escape(shorten(text, limit), quote=False).partition("\n")
            shown = f'<b><font color="{priority.style.colour}">{first}</font></b>' + (f"\n{rest}" if rest else "")
            if len(shown) <= MAX_MESSAGE:
                return shown
            limit -= max(1, (len(shown) - MAX_MESSAGE) // 5)

    def _receipt(self, answer: Answer, note: str) -> Receipt:
        said = answer.json()
        quota = {name: _number(answer.headers.get(f"X-Limit-App-{name}")) for name in ("Limit", "Remaining", "Reset")}
        facts: dict[str, Any] = {f"quota_{name.lower()}": value for name, value in quota.items() if value is not None}
        if said.get("receipt"):
            facts["receipt"] = said["receipt"]
        used_up = quota["Remaining"] is not None and quota["Remaining"] <= 0
        return Receipt(
            str(said.get("request", "")),
            note,
            facts,
            hold_until=quota["Reset"] if used_up else None,
            follow_up=ASK_EVERY if said.get("receipt") else None,
        )

    def _post(self, path: str, fields: Mapping[str, Any], picture: Any = None, timeout: float | None = None) -> Answer:
        return self._ask("POST", path, timeout, data={"token": self._token, **fields}, files=picture)

    def _get(self, path: str) -> Answer:
        return self._ask("GET", path, params={"token": self._token})

    def _ask(self, method: str, path: str, timeout: float | None = None, **what: Any) -> Answer:
        _, turns = _line(self.api_url, self.ca_file, os.getpid())
        until = time.monotonic() + (self.timeout if timeout is None else max(timeout, 0.0))
        if not turns.acquire(timeout=until - time.monotonic()):
            raise DeliveryFailed(Failure.RETRY, "both connections that Pushover allows are busy", answered=False)
        try:
            return self.request(method, f"{self.api_url}/1/{path}", timeout=until - time.monotonic(), **what)
        finally:
            turns.release()

    @property
    def http(self) -> HttpClient:
        """The client that all channels of this process share: Pushover allows two connections together."""
        own: HttpClient | None = self.__dict__.get("_http")  # of a preview
        return own or _line(self.api_url, self.ca_file, os.getpid())[0]


@functools.lru_cache(maxsize=8)
def _line(api_url: str, ca_file: str | None, pid: int) -> tuple[HttpClient, threading.Semaphore]:
    return HttpClient(ca_file=ca_file, connections=MAX_CONNECTIONS), threading.BoundedSemaphore(MAX_CONNECTIONS)


def _picture(alert: Alert) -> tuple[dict[str, Any] | None, str]:
    """The first picture of an alert as a multipart field; else why the text goes alone."""
    found = next((a for a in alert.attachments if a.content_type.startswith("image/")), None)
    if found is None:
        return None, ""
    try:
        content = found.read() if found.size <= MAX_PICTURE else b""
    except (OSError, ValueError) as exc:  # the latter where the path can be none
        return None, f"sent without its picture: it cannot be read ({getattr(exc, 'strerror', None) or exc})"
    if max(found.size, len(content)) > MAX_PICTURE:
        return None, f"sent without its picture: it is larger than {MAX_PICTURE:,} bytes"
    return {"attachment": (found.name, content, found.content_type)}, ""


def _sentences(errors: object) -> str:
    """What Pushover says is wrong, in the list that it promises or in whatever stands in between and answers."""
    said = errors if isinstance(errors, list) else [errors] if errors else []
    return shorten(", ".join(str(error) for error in said), 300)


def _checked(receipt: str) -> str:
    if not (receipt.isascii() and receipt.isalnum()):
        raise ValueError("a Pushover receipt has letters and digits only")
    return receipt


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None
