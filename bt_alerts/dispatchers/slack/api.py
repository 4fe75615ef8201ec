"""What Slack's answers mean, by its own words.

The Web API says most errors with HTTP 200 and ``{"ok": false, "error": "channel_not_found"}``, a webhook with a status
and the bare word. The words of both stand in one table, because none means two things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.http import Answer, raise_for_status, retry_after

#: The message is refused for its blocks: the same is sent without any.
BLOCKS_REFUSED = {
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_blocks_too_long",
    "invalid_payload",
    "invalid_attachments",
    "too_many_attachments",
    "attachment_payload_limit_exceeded",
}
#: There is no such thread, or none can be there: the message goes into the channel.
THREAD_REFUSED = {
    "cannot_reply_to_message",
    "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked",
    "thread_not_found",
    "invalid_thread_ts",
    "cant_broadcast_message",
}

#: Words, the class, whether the address will never work again, and what to do about it.
_MEANING: tuple[tuple[str, Failure, bool, str], ...] = (
    (
        "invalid_auth not_authed token_revoked token_expired account_inactive not_allowed_token_type is_bot",
        Failure.AUTH,
        False,
        "does not take bot_token: copy the Bot User OAuth Token (xoxb-…) of your app again",
    ),
    (
        "missing_scope",
        Failure.AUTH,
        False,
        "says that the app lacks {scope}: add it under OAuth & Permissions and install the app again",
    ),
    (
        "accesslimited app_access_restricted enterprise_is_restricted two_factor_setup_required",
        Failure.AUTH,
        False,
        "does not let this app in from here: ask an admin of the workspace",
    ),
    (
        "channel_not_found invalid_channel user_not_found team_not_found",
        Failure.PERMANENT,
        True,
        "does not know this channel: check channel_ids, and invite the bot with /invite where the channel is private",
    ),
    (
        "not_in_channel no_permission",
        Failure.PERMANENT,
        True,
        "says that the bot is not in this channel: write /invite and its name there",
    ),
    ("is_archived channel_is_archived", Failure.PERMANENT, True, "says that this channel is archived: set another one"),
    (
        "no_service no_service_id no_active_hooks no_team team_disabled invalid_token",
        Failure.PERMANENT,
        True,
        "does not know this webhook any more: make a new one and set it in webhook_urls",
    ),
    (
        "restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel action_prohibited "
        "posting_to_general_channel_denied posting_to_channel_denied ekm_access_denied access_denied "
        "messages_tab_disabled",
        Failure.PERMANENT,
        True,
        "does not let the app write there: ask an admin of the workspace, or set another channel",
    ),
    (
        "msg_too_long msg_blocks_too_long too_many_attachments attachment_payload_limit_exceeded",
        Failure.TOO_LARGE,
        False,
        "says that the message is too large",
    ),
    ("ratelimited rate_limited message_limit_exceeded", Failure.RETRY, False, "says that there were too many messages"),
    ("service_unavailable request_timeout rollup_error", Failure.RETRY, False, "is in trouble"),
    ("team_added_to_org org_login_required", Failure.RETRY, False, "is moving this workspace to an organization"),
    (
        "internal_error fatal_error",
        Failure.UNKNOWN,
        False,
        "failed on the way, and the message may have arrived",
    ),
)
MEANING: Mapping[str, tuple[Failure, bool, str]] = {
    word: (failure, dead, told) for words, failure, dead, told in _MEANING for word in words.split()
}

_WORD = re.compile(r"[a-z][a-z0-9_]{1,79}")
# The answer quotes the message, each letter of some scripts as six bytes, so it can be longer than what is read of it.
_TAKEN = re.compile(rb'\s*(?:\{\s*"ok"\s*:\s*true\b|ok\s*$)')
_VALUES = {
    name: re.compile(rb'"%s"\s*:\s*"(%s)"' % (name.encode(), form))
    for name, form in {"ts": rb"[0-9][0-9.]{0,39}", "channel": rb"[A-Z0-9]{2,30}"}.items()
}
TS = re.compile(r"[0-9][0-9.]{0,39}")


def error_word(answer: Answer) -> str:
    """Slack's word for what went wrong; empty where nothing did, or somebody else answers."""
    if _TAKEN.match(answer.body):
        return ""
    said = answer.json().get("error") or answer.body[:100].decode("utf-8", "replace").strip()
    return said if isinstance(said, str) and _WORD.fullmatch(said) else ""


def value(answer: Answer, name: str) -> str:
    """``"ts"`` or ``"channel"`` of the message that was taken; empty where it is not told."""
    found = _VALUES[name].search(answer.body) if _TAKEN.match(answer.body) else None
    return found[1].decode() if found else ""


def judge(answer: Answer, *, others: bool) -> None:
    """Raise what an answer means; one that took the message passes.

    Args:
        answer: of the Web API, a webhook or the place of a file.
        others: the channel has webhooks too, which a wrong token must not silence: only the target ends.
    """
    if 200 <= answer.status < 300 and _TAKEN.match(answer.body):
        return
    word = error_word(answer)
    if word in MEANING:
        failure, dead, told = MEANING[word]
        if failure is Failure.AUTH and others:
            failure, dead = Failure.PERMANENT, True
        reason = f"{told.format(scope=_scope(answer))} ({word})"
        wait = retry_after(answer.headers, answer.now) if failure is Failure.RETRY else None
        if wait:
            raise answer.failed(Failure.RETRY_AFTER, reason, retry_after=wait)
        raise answer.failed(failure, reason, dead_target=dead)
    if answer.status == 410:
        raise answer.failed(Failure.PERMANENT, "says that this address is gone for good (HTTP 410)", dead_target=True)
    raise_for_status(answer)
    if answer.json().get("ok") is False:
        raise answer.failed(Failure.PERMANENT, f"refused this: {word or answer.excerpt()}{_details(answer)}")
    raise answer.failed(Failure.UNKNOWN, "answered, but not as Slack does: is there a proxy or a login page?")


def _scope(answer: Answer) -> str:
    needed = answer.json().get("needed")
    return f"the scope {needed}" if isinstance(needed, str) and re.fullmatch(r"[\w:,. -]+", needed) else "a scope"


def _details(answer: Answer) -> str:
    """What Slack adds for developers, such as the path to a block."""
    more = answer.json().get("response_metadata")
    said = more.get("messages") if isinstance(more, dict) else None
    return "".join(f"; {text}" for text in said[:3] if isinstance(text, str))[:300] if isinstance(said, list) else ""
