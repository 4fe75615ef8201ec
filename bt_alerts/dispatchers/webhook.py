"""Webhooks: alerts as JSON to addresses of your own, signed as Standard Webhooks 1.0.0 says (standardwebhooks.com).

The body is ``{"type": "alert.order.completed", "timestamp": …, "data": {the alert}}``; :func:`verify_signature` is for
the receiver. ``webhook-id`` is the same for every attempt of a delivery: a receiver that has seen it drops the repeat,
which is why an attempt whose outcome is unknown is sent again.

What an answer means: 2xx took it. 410 ends the address. 401 and 403 mean wrong headers or a wrong secret and stop the
channel, so that a hundred alerts are not refused one by one; of several addresses they end only the one. 408, 425, 429
and 5xx are tried again, after ``Retry-After`` where it is told. Any other 4xx is permanent, because a retry would send
the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import collections
import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from bt_alerts.alert import Alert, utcnow
from bt_alerts.dispatchers.base import About, Context, Credential, Env, Failure, Receipt, Target, register_secrets_in
from bt_alerts.dispatchers.http import Answer, HttpDispatcher, raise_for_status

METHODS = ("POST", "PUT", "PATCH")
#: Seconds that the timestamp of a message may be off, either way; the reference library's tolerance.
TOLERANCE = 300.0

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class WebhookDispatcher(HttpDispatcher):
    """Sends every alert to each URL.

    Raises:
        ValueError: where a URL, the method, a header or the secret cannot be right; the text shows none of them.
    """

    type: ClassVar[str] = "webhook"
    rate: ClassVar[int] = 20

    def __init__(  # noqa: PLR0917 - the promised order of arguments
        self,
        urls: Annotated[
            str | Sequence[str],
            Credential(),
            Env("WEBHOOK_URLS"),
            About("http(s) addresses; each is delivered by itself"),
        ],
        method: Annotated[str, About("POST, PUT or PATCH")] = "POST",
        headers: Annotated[Mapping[str, str] | None, Credential(), About("more headers, such as Authorization")] = None,
        timeout: Annotated[float, About("seconds for one request in total")] = 30.0,
        secret: Annotated[
            str | Sequence[str] | None,
            Credential(),
            About("whsec_… that signs the body; several while the receiver changes from one to the next"),
        ] = None,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 20,
        *,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.method = str(method).upper()
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        self._urls = _addresses(urls)
        self._targets = _targets(self._urls)
        self._headers = _checked_headers(headers or {})
        self._secrets = _keys(secret)

    def missing(self) -> str:
        return "" if self._urls else "set urls (WEBHOOK_URLS) to send to webhooks"

    def targets(self) -> Sequence[Target]:
        return self._targets

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        late = None if context.late is None else context.late.total_seconds()
        data = {**self.look.discreet(alert).to_dict(), "late_seconds": late, "silent": context.silent}
        if alert.attachments:  # their paths are of this machine
            data["attachments"] = [
                {"name": a.name, "content_type": a.content_type, "size": a.size, "sha256": a.sha256}
                for a in alert.attachments
            ]
        message = {"type": f"alert.{alert.kind}", "timestamp": alert.time.isoformat(), "data": data}
        return self._post(target, message, context.key, context.now)

    def check(self, target: Target) -> Receipt:
        """Send a signed message of type ``bt_alerts.check``, because no other request tells whether one is taken."""
        now = utcnow()
        message = {"type": "bt_alerts.check", "timestamp": now.isoformat(), "data": {}}
        return self._post(target, message, f"msg_check_{secrets.token_hex(12)}", now)

    def raise_for_answer(self, answer: Answer) -> None:
        if answer.status == 410:
            raise answer.failed(
                Failure.PERMANENT, "says that this address is gone for good (HTTP 410)", dead_target=True
            )
        if answer.status in {401, 403} and len(self._urls) > 1:  # one wrong address must not silence the others
            reason = f"refused the headers or the secret (HTTP {answer.status}): {answer.excerpt()}"
            raise answer.failed(Failure.PERMANENT, reason, dead_target=True)
        raise_for_status(answer)

    def _post(self, target: Target, message: Mapping[str, Any], key: str, now: dt.datetime) -> Receipt:
        # Serialised once: what is signed is what is sent.
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        stamp = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/json",
            **self._headers,
            "webhook-id": key,
            "webhook-timestamp": stamp,
        }
        if self._secrets:
            headers["webhook-signature"] = " ".join(_signature(secret, key, stamp, body) for secret in self._secrets)
        answer = self.request(self.method, target.address, data=body, headers=headers)
        return Receipt(id=key, facts={"status": answer.status})


# ------------------------------------------------------------------------------------------ signatures


def verify_signature(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    now: dt.datetime | float | None = None,
) -> bool:
    """Whether a message that a receiver got is from us, unchanged, and fresh.

    Args:
        body: the raw bytes as they came, before any JSON is read.
        headers: of the request; their names in any case.
        secret: ``whsec_…``, or several while it is being changed.
        now: aware time or Unix seconds; default is the clock.

    Returns:
        False where a header is missing, no signature fits, or the timestamp is more than :data:`TOLERANCE` off.

    Raises:
        ValueError: where ``secret`` is none.
    """
    keys = _keys(secret)
    if not keys:
        raise ValueError("a secret is needed to verify a webhook")
    found = {name.lower(): value for name, value in headers.items()}
    stamp = found.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 15):
        return False
    clock = time.time() if now is None else now.timestamp() if isinstance(now, dt.datetime) else float(now)
    if abs(clock - int(stamp)) > TOLERANCE:
        return False
    wanted = [_signature(key, found.get("webhook-id", ""), stamp, body).encode() for key in keys]
    given = [part.encode("utf-8", "replace") for part in found.get("webhook-signature", "").split(" ")]
    # Every pair is compared, so that time does not tell which one fitted.
    return sum(hmac.compare_digest(one, other) for one in wanted for other in given) > 0


def _signature(secret: bytes, key: str, stamp: str, body: bytes) -> str:
    digest = hmac.new(secret, b"%s.%s.%s" % (key.encode("utf-8", "replace"), stamp.encode(), body), hashlib.sha256)
    return "v1," + base64.b64encode(digest.digest()).decode()


def _keys(secret: str | Sequence[str] | None) -> list[bytes]:
    given = [secret] if isinstance(secret, str) else list(secret or ())
    texts = [text for several in given for text in re.split(r"[\s,]+", several.strip())]
    register_secrets_in([*texts, *(text.removeprefix("whsec_") for text in texts)])
    return [_key(text) for text in texts if text]


def _key(text: str) -> bytes:
    if text.startswith("whsk_"):
        raise ValueError("secret is an asymmetric key (whsk_): only whsec_ secrets are supported")
    encoded = text.removeprefix("whsec_").rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("secret is not valid: it must be whsec_ followed by base64 of 24 to 64 random bytes")
    return key


# ------------------------------------------------------------------------------- what the user gave us


def _addresses(urls: str | Sequence[str]) -> list[str]:
    # A URL may hold commas itself, so a list in one text is cut only where the next one begins.
    texts = re.split(r"[,\s]+(?=https?://)", urls.strip(), flags=re.IGNORECASE) if isinstance(urls, str) else urls
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    for number, url in enumerate(found, start=1):
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or re.search(r"[\s\x00-\x1f\x7f]", url):
            raise ValueError(f"webhook URL number {number} is not an http:// or https:// address")
        _register_parts(url)
    return found


def _register_parts(url: str) -> None:
    """A token is a part of the URL, and logs show parts: the path without the host, a password by itself."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    pieces = [*parts.path.split("/"), *re.split(r"[&=]", parts.query)]
    # "webhooks" in a path is a word, "T0K3N-9f" is not; hiding words would make every other text unreadable.
    pieces = [piece for piece in pieces if len(piece) >= 20 or (len(piece) >= 8 and re.search(r"\d", piece))]
    pieces += [target if len(target) >= 8 else "", parts.password or ""]
    register_secrets_in([url, *pieces, *map(unquote, pieces)])


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for number, (name, value) in enumerate(headers.items(), start=1):
        text = str(value).strip()
        if not _HEADER.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) or not _is_latin_1(text):
            raise ValueError(f"header number {number} cannot be sent: HTTP takes one line of Latin-1 text")
        # "Bearer abc" is secret, and so is "abc" alone in a receiver's error text.
        register_secrets_in([text, *(part for part in text.split() if len(part) >= 8)])
        found[name] = text
    return found


def _is_latin_1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _targets(urls: Sequence[str]) -> list[Target]:
    origins = [_origin(url) for url in urls]
    shared = {origin for origin, count in collections.Counter(origins).items() if count > 1}
    return [
        Target(url, f"{origin} #{Target(url).key[:6]}" if origin in shared else origin)
        for url, origin in zip(urls, origins, strict=True)
    ]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
