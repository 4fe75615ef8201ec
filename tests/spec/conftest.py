"""What other people published about their services, in machine-readable form: ours must agree with it.

The files are not ours to pass on, so a plain clone does not have them and these tests are skipped, which is said. Where
they are is ``BT_ALERTS_SPECS``, else ``shared/specs`` beside the clone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

import pytest

SPECS = Path(os.environ.get("BT_ALERTS_SPECS") or Path(__file__).resolve().parents[3] / "shared" / "specs")


class Spec(Protocol):
    """Reads one of the files."""

    def __call__(self, name: str) -> Any: ...


@pytest.fixture(scope="session")
def spec() -> Spec:
    """``spec("telegram-bot-api.json")``: the file as JSON."""

    def read(name: str) -> Any:
        file = SPECS / name
        if not file.is_file():
            pytest.skip(
                f"the published specification {name} is not here: set BT_ALERTS_SPECS to the folder that has it"
            )
        return json.loads(file.read_text(encoding="utf-8"))

    return read
