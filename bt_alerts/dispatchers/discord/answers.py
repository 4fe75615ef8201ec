"""What Discord's answers mean, by its own codes (https://discord.com/developers/docs/topics/opcodes-and-status-codes)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bt_alerts.dispatchers.base import DeliveryFailed, Failure
from bt_alerts.dispatchers.http import MAX_RETRY_AFTER, Answer, raise_for_status, retry_after

BANNED = 3600.0  # seconds to wait where Cloudflare does not say how long

INVALID_FORM, UNKNOWN_WEBHOOK, WRONG_TOKEN = 50035, 10015, 50027
TOO_LARGE = (40005, 50045)
TOO_FAST = (20016, 20028, 20029, 40062)
#: Messages that are not taken as they are, and what somebody who set up a webhook can do about it.
REFUSED: Mapping[int, str] = {
    10003: "does not know the thread: set another thread_id",
    20009: "refused the message as explicit content",
    40067: "wants a tag on every post of this forum, which a webhook cannot choose: make tags optional there",
    50006: "refused the message as empty: a template gave no text",
    50013: "does not let the webhook post: look at the permissions of its channel",
    200000: "blocked the message: a rule of the server's AutoMod forbids its words",
    220001: "takes posts only in this forum: set thread_name, or the thread_id of a post",
    220003: "opens posts in forums only: remove thread_name",
    240000: "blocked the message: it has a link that Discord takes for harmful",
}

_ID = re.compile(r"[0-9]{1,20}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?")


class InvalidForm(DeliveryFailed):
    """Discord did not take the shape of a message; its words may be fine."""


def raise_for(answer: Answer, *, alone: bool) -> None:
    """Raise :class:`DeliveryFailed` unless Discord took the message.

    Args:
        answer: of a request to a webhook.
        alone: the channel has this one webhook; one wrong URL of several must not silence the others, so then only its
            own target ends.
    """
    said = answer.json()
    code = said["code"] if answer.status >= 400 and isinstance(said.get("code"), int) else -1
    told = f"(HTTP {answer.status}): {answer.excerpt()}"
    if answer.status == 429 or code in TOO_FAST:
        raise _too_fast(answer, said)
    if code == UNKNOWN_WEBHOOK or (answer.status == 404 and code == 0):
        gone = f"does not know this webhook, so it was deleted: make another and set webhook_urls {told}"
        raise answer.failed(Failure.PERMANENT, gone, dead_target=True)
    if code == WRONG_TOKEN or answer.status == 401 or (answer.status == 403 and code == 0):
        wrong = f"refused the token of this webhook: copy its URL again into webhook_urls {told}"
        raise answer.failed(Failure.AUTH if alone else Failure.PERMANENT, wrong, dead_target=not alone)
    if code in TOO_LARGE:
        raise answer.failed(Failure.TOO_LARGE, f"says that the message is too large {told}")
    if code == INVALID_FORM:
        raise InvalidForm(Failure.PERMANENT, f"{answer.host} refused the form of the message {told}")
    if code in REFUSED or (answer.status == 403 and code > 0):  # about this message, not about the credentials
        words = REFUSED.get(code, "does not take this message")
        raise answer.failed(Failure.PERMANENT, f"{words} {told}", dead_target=answer.status == 404)
    raise_for_status(answer)
    if answer.status == 200 and not _ID.fullmatch(str(said.get("id"))):
        other = "answered, but not as Discord does: is there a proxy or a login page?"
        raise answer.failed(Failure.UNKNOWN, other)


def exhausted_for(answer: Answer) -> float:
    """Seconds for which the webhook takes nothing more; 0 where it does."""
    told = answer.headers.get("X-RateLimit-Reset-After", "")
    exhausted = answer.headers.get("X-RateLimit-Remaining") == "0" and _SECONDS.fullmatch(told)
    return min(float(told), MAX_RETRY_AFTER) if exhausted else 0.0


def _too_fast(answer: Answer, said: Mapping[str, Any]) -> DeliveryFailed:
    header = retry_after(answer.headers, answer.now)
    if not said:
        told = "bars this machine for a while, because too many of its requests were refused (a ban by Cloudflare)"
        return answer.failed(Failure.RETRY_AFTER, told, retry_after=header or BANNED)
    body: Any = said.get("retry_after")  # with the fractions that the header lacks
    wait = float(min(body, MAX_RETRY_AFTER)) if isinstance(body, int | float) and body > 0 else header
    told = f"says that there were too many messages (HTTP {answer.status}): {answer.excerpt()}"
    return answer.failed(Failure.RETRY_AFTER if wait else Failure.RETRY, told, retry_after=wait or None)
