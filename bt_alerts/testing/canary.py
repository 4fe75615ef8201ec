"""Puts a canary where a credential is, and looks for it wherever something is shown."""

from __future__ import annotations

import base64
import logging
import random
import string
import traceback
from collections.abc import Iterable
from urllib.parse import quote

LETTERS_AND_DIGITS = string.ascii_letters + string.digits


def fresh_canary(*names: str, length: int = 30, alphabet: str = LETTERS_AND_DIGITS) -> str:
    """A credential, another for each test: what is once known to be secret stays hidden in this process.

    Args:
        names: what it is for; equal names give an equal credential.
        length: characters.
        alphabet: of which characters; the first is a letter where there is one.
    """
    chosen = random.Random("/".join(names)).choices(alphabet, k=length)
    letter = next((char for char in chosen if char.isalpha()), chosen[0])
    return letter + "".join(chosen[1:])


def found_in(text: str, canaries: Iterable[str]) -> list[str]:
    """Those of ``canaries`` that stand in ``text``, as they are, as in a URL, or in base64."""
    return [canary for canary in canaries if any(form in text for form in _forms(canary))]


def _forms(canary: str) -> set[str]:
    encoded = base64.b64encode(canary.encode()).decode().rstrip("=")[:-1]
    return {canary, quote(canary), quote(canary, safe=""), encoded}


def shown_by(failed: BaseException) -> str:
    """Everything that an exception says about itself, and what those that hang on it say."""
    seen: list[str] = []
    waiting: list[BaseException | None] = [failed]
    while waiting:
        exc = waiting.pop()
        if exc is not None:
            lines = traceback.TracebackException.from_exception(exc, capture_locals=False).format()
            seen += [str(exc), repr(exc), repr(exc.args), repr(vars(exc)), *lines]
            waiting += [exc.__cause__, exc.__context__]
    return "\n".join(seen)


def logged(records: Iterable[logging.LogRecord]) -> str:
    """Everything that log records hold."""
    return "\n".join(f"{r.getMessage()} {r.msg} {r.args} {r.exc_text} {r.exc_info}" for r in records)
