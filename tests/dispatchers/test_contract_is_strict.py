"""The contract turns red where a dispatcher breaks one of its promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from beacon import Beacon
from broken_dispatchers import SEEN_BY

HERE = Path(__file__).parent
OPTIONS = ["-q", "-rA", "--tb=line", "--show-capture=no", "-p", "no:cacheprovider", "-o", "python_classes=Broken*"]


def test_each_broken_promise_is_seen() -> None:
    sound = f"Broken{Beacon.__name__}::test_an_alert_arrives"
    broken = [f"Broken{kind.__name__}::{test}" for kind, test in SEEN_BY]
    nodes = [f"{HERE / 'broken_dispatchers.py'}::{id}" for id in (sound, *broken)]
    command = [sys.executable, "-m", "pytest", *OPTIONS, *nodes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=HERE.parents[1])
    ended = set(re.findall(r"^(PASSED|FAILED|ERROR) \S+\.py::(\S+)", done.stdout, re.MULTILINE))
    assert [id for id in broken if not ended & {("FAILED", id), ("ERROR", id)}] == [], done.stdout[-3000:]
    assert ("PASSED", sound) in ended
