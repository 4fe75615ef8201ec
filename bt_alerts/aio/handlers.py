"""Dispatchers made from the arguments that users of an ``AsyncNotificationManager`` were promised.

Each is the dispatcher of its service with another way to be made; whatever else that dispatcher's constructor takes
(``api_url``, ``timeout``, ``ca_file`` …) can be given here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from bt_alerts.dispatchers.base import Credential, Dispatcher, arguments, register_secrets_in
from bt_alerts.dispatchers.email import EmailDispatcher
from bt_alerts.dispatchers.sms import SmsDispatcher
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.dispatchers.webhook import WebhookDispatcher

#: Names that people give these keys elsewhere, with the constructor's own.
_EMAIL = {
    "server": "host", "smtp_server": "host", "smtp_host": "host", "smtp_port": "port", "user": "username",
    "smtp_username": "username", "smtp_user": "username", "smtp_password": "password", "from": "from_address",
    "from_email": "from_address", "sender": "from_address", "to_email": "to", "to_emails": "to", "to_address": "to",
    "to_addresses": "to", "recipients": "to", "tls": "use_tls", "use_ssl": "implicit_tls",
}  # fmt: skip
_SMS = {
    "from": "from_number", "sender": "from_number", "to_number": "to", "to_numbers": "to", "phone_numbers": "to",
    "recipients": "to", "sid": "account_sid", "token": "auth_token", "region": "aws_region",
}  # fmt: skip


class TelegramHandler(TelegramDispatcher):
    """Sends through a Telegram bot.

    Args:
        bot_token: as @BotFather gave it.
        chat_id: one chat, or several.
        rate_limit: messages a minute to each chat; 0 means no limit.
        more: what else :class:`~bt_alerts.dispatchers.telegram.TelegramDispatcher` takes.

    Raises:
        ValueError: where an argument cannot be right.
    """

    def __init__(
        self,
        bot_token: Annotated[str, Credential()],
        chat_id: str | int | Sequence[str | int],
        rate_limit: int = 30,
        **more: Any,
    ) -> None:
        super().__init__(bot_token, chat_id, rate_limit, **more)


class EmailHandler(EmailDispatcher):
    """Sends email.

    Args:
        smtp_config: ``host``, ``port``, ``username``, ``password``, ``from_address``, ``to`` …: the arguments of
            :class:`~bt_alerts.dispatchers.email.EmailDispatcher`, which has other names for some
            (``smtp_server``, ``from_email``, ``recipients`` …).
        more: as in ``smtp_config``.

    Raises:
        ValueError: where a key is unknown or a value cannot be right.
    """

    def __init__(self, smtp_config: Mapping[str, Any], **more: Any) -> None:
        super().__init__(**_taken(EmailDispatcher, "smtp_config", smtp_config, _EMAIL, more))


class SMSHandler(SmsDispatcher):
    """Sends text messages.

    Args:
        provider_config: ``provider``, ``account_sid``, ``auth_token``, ``from_number``, ``to`` …: the arguments of
            :class:`~bt_alerts.dispatchers.sms.SmsDispatcher`, which has other names for some (``from``,
            ``to_numbers`` …).
        more: as in ``provider_config``.

    Raises:
        ValueError: where a key is unknown or a value cannot be right.
    """

    def __init__(self, provider_config: Mapping[str, Any], **more: Any) -> None:
        super().__init__(**_taken(SmsDispatcher, "provider_config", provider_config, _SMS, more))


class WebhookHandler(WebhookDispatcher):
    """Posts JSON to an address of your own.

    Args:
        webhook_url: one address, or several.
        more: what else :class:`~bt_alerts.dispatchers.webhook.WebhookDispatcher` takes.

    Raises:
        ValueError: where an argument cannot be right.
    """

    def __init__(self, webhook_url: Annotated[str | Sequence[str], Credential()], **more: Any) -> None:
        super().__init__(webhook_url, **more)


def _taken(
    dispatcher: type[Dispatcher], what: str, config: Mapping[str, Any], aliases: Mapping[str, str], more: dict[str, Any]
) -> dict[str, Any]:
    """The constructor's arguments that a mapping gives. Raises ``ValueError``; no value is quoted."""
    if not isinstance(config, Mapping):
        raise ValueError(f"{what} must be a mapping such as {{'to': …}}, not a {type(config).__name__}")
    own = {argument.name: argument.credential for argument in arguments(dispatcher)}
    taken: dict[str, Any] = {}
    for key, value in [*config.items(), *more.items()]:
        name = aliases.get(key, key)
        if name not in own:
            raise ValueError(f"{what} has no key {str(key)[:40]!r}: what it can have is {', '.join(own)}")
        if name in taken:
            raise ValueError(f"{what} gives {name} twice: leave one of them out")
        if own[name]:
            register_secrets_in(value)
        taken[name] = value
    if lacking := [a.name for a in arguments(dispatcher) if a.required and a.name not in taken]:
        raise ValueError(f"{what} lacks {' and '.join(lacking)}")
    return taken
