"""A browser that the tests of pages share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser_kit import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if os.name == "nt":
        pytest.skip("the browser is spoken to over pipes of POSIX")
    from browser_kit import browsing, program

    if program() is None:
        pytest.skip("this machine has no Chromium")
    with browsing() as browser:
        yield browser
