"""Credentials in the system's keyring: ``${keyring:NAME}`` in a settings file stands for what is kept there.

The keyring is that of the user who runs the program (macOS Keychain, Windows Credential Locker, Secret Service,
KWallet), reached by the library of that name, which the extra ``keyring`` installs. An entry has the service
``bt_alerts`` and the name of the reference, so ``keyring set bt_alerts NAME`` makes one as well.

Promises: what is read here is masked wherever it could be shown, and where nothing can be read the sentence says what
to do. It is read when settings load, and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from bt_alerts.errors import SettingsError
from bt_alerts.redact import register_secret

SERVICE = "bt_alerts"
#: What a reference begins with, in place of the name of a variable.
PREFIX = "keyring:"


def kept(name: str) -> str | None:
    """The secret of that name; None where there is none.

    Raises:
        SettingsError: where there is no keyring that can be read.
    """
    secret = _asked(lambda library: library.get_password(SERVICE, name))
    register_secret(secret)
    return secret


def keep(name: str, secret: str) -> None:
    """Keep a secret, in place of one of that name.

    Raises:
        SettingsError: where there is no keyring that takes it.
    """
    register_secret(secret)
    _asked(lambda library: library.set_password(SERVICE, name, secret))


def forget(name: str) -> None:
    """Remove a secret; nothing happens where there is none.

    Raises:
        SettingsError: where there is no keyring that can be changed.
    """
    if kept(name) is not None:
        _asked(lambda library: library.delete_password(SERVICE, name))


def problem() -> str:
    """Why the keyring cannot be used, and what to do; empty where it can."""
    try:
        kept("probe")
    except SettingsError as exc:
        return exc.problems[0]
    return ""


def _library() -> ModuleType:
    try:
        import keyring
    except ImportError:
        missing = "the system's keyring needs a library: pip install 'bt-alerts[keyring]'"
    else:
        return keyring
    raise SettingsError([missing])


def _asked(call: Callable[[Any], str | None]) -> str | None:
    """What the library answers; backends raise what they like, and their words can hold what they keep."""
    library = _library()
    try:
        return call(library)
    except Exception as exc:
        reason = type(exc).__name__
    todo = "unlock it or start one (`keyring diagnose` shows which are found), or keep the credential in a variable"
    raise SettingsError([f"the system's keyring cannot be used ({reason}); {todo}"])
