"""Keeps secrets out of everything that is written down.

A dispatcher tells this module its credentials when it is made; from then on :func:`redact` replaces them in any text,
and a filter on the loggers of the HTTP libraries does the same to the URLs that those log at DEBUG. There is one
registry a process, because a secret of one channel must not leak through another's error text either.
"""

from __future__ import annotations

import logging
import re
import threading
from urllib.parse import quote

MASK = "•••"
_MIN_LENGTH = 4  # shorter "secrets" would turn ordinary words into dots

_LONGEST_WORD = 20  # characters
_BETWEEN_WORDS = re.compile(r"[\s,]+")
_USER_INFO = re.compile(r"://[^/?#\s]+@")
_RUN = re.compile(r"[A-Za-z0-9]{8,}")
_HEX = re.compile(r"[A-Fa-f0-9]{12,}")
_MOST_BESIDE_LETTERS = 5  # digits: `orders2026` is a word
_MOST_ALONE = 11  # digits: `1764000000` is a time
_MIXED = re.compile(r"[A-Za-z][0-9]+[A-Za-z]|[0-9][A-Za-z]+[0-9]")  # `console2` is a word

_lock = threading.Lock()
_secrets: set[str] = set()
_pattern: re.Pattern[str] | None = None


def register_secret(secret: str | None) -> None:
    """Never show ``secret`` again, neither as it is nor as it looks inside a URL."""
    global _pattern  # noqa: PLW0603 - the compiled form of the one registry
    if not secret or len(secret) < _MIN_LENGTH:
        return
    with _lock:
        forms = {secret, quote(secret), quote(secret, safe="")}
        if forms <= _secrets:
            return
        _secrets.update(forms)
        _pattern = None  # compiled when it is next needed: secrets come many at a time
    _guard_http_loggers()


def redact(text: object) -> str:
    """``text`` with every registered secret replaced by dots."""
    shown = text if isinstance(text, str) else str(text)
    if not _secrets:
        return shown
    return (_pattern or _compiled()).sub(MASK, shown)


def without_user(text: str) -> str:
    """``text`` with user and password of the addresses in it replaced by dots."""
    return _USER_INFO.sub(f"://{MASK}@", text)


def harmless(text: str) -> bool:
    """Whether this can hardly be a credential that stands in the wrong place: short words, few digits at letters."""
    if any(len(word) > _LONGEST_WORD for word in _BETWEEN_WORDS.split(text)):
        return False
    return not any(_random(run) for run in _RUN.findall(text))


def _random(run: str) -> bool:
    digits = sum(map(str.isdigit, run))
    if digits == len(run):
        return digits > _MOST_ALONE
    return digits > _MOST_BESIDE_LETTERS or bool(_MIXED.search(run) or (digits and _HEX.fullmatch(run)))


def _compiled() -> re.Pattern[str]:
    global _pattern  # noqa: PLW0603 - as above
    with _lock:
        longest_first = sorted(_secrets, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))
        return _pattern


class _RedactingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:
            return True
        shown = redact(message)
        if shown != message:
            record.msg, record.args = shown, None
        return True


_filter = _RedactingFilter()
_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "requests", "apprise", "bt_alerts")


def _guard_http_loggers() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _filter not in logger.filters:
            logger.addFilter(_filter)
