"""The benchmarks run, judge as they say, and say so with their exit code. No figure is asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def kit() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import kit

        yield kit
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_one_measurement_runs_and_its_exit_code_says_whether_its_bounds_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--only", "parallel"]
    done = subprocess.run(
        [*command, "--json", str(file)], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    found = json.loads(file.read_text(encoding="utf-8"))
    assert all(row["value"] > 0 for row in found["rows"]), done.stdout + done.stderr
    assert [row["most"] for row in found["rows"]] == [1.15]
    missed = [row for row in found["rows"] if row["verdict"] in {"OUT OF BOUNDS", "FAILED"}]
    assert done.returncode == bool(missed)
    assert found["series"]["four channels"]["bt_alerts"] > 0.2, "four services that take 200 ms each"


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [
        (1.0, {"most": 1.0}, "within"),
        (1.01, {"most": 1.0}, "OUT OF BOUNDS"),
        (0.75, {"least": 0.75}, "within"),
        (0.74, {"least": 0.75}, "OUT OF BOUNDS"),
        (0.74, {"least": 0.75, "goal": True}, "not yet"),
        (3.0, {}, ""),
        (float("inf"), {"most": 1.0}, "OUT OF BOUNDS"),
    ],
)
def test_a_figure_is_judged_by_its_bound(kit: ModuleType, value: float, bound: dict[str, Any], verdict: str) -> None:
    row = kit.Row("it", value, **bound)
    assert row.verdict == verdict
    assert row.out_of_bounds is (verdict == "OUT OF BOUNDS")
    assert kit.shown("all", [row]).row_count == 1


def test_what_failed_is_out_of_bounds_and_what_is_not_here_is_only_said(kit: ModuleType) -> None:
    assert kit.Row("it", None, failed=True).out_of_bounds
    absent = kit.Row("it", None, most=1.0, skipped="it is not installed")
    assert not absent.out_of_bounds
    assert absent.verdict == "not measured: it is not installed"


def test_a_table_is_written_between_its_marks_and_nowhere_else(kit: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: a -->\nold\n<!-- end -->\nmiddle\n<!-- table: b -->\n<!-- end -->\n")
    kit.write_into_page("a", kit.markdown([kit.Row("it", 2.0, most=3.0)]), page)
    text = page.read_text()
    assert "old" not in text
    assert "| it | 2 × | ≤ 3 × | within |  |\n<!-- end -->\nmiddle\n<!-- table: b -->\n<!-- end -->\n" in text
    with pytest.raises(SystemExit, match="no place for the table 'c'"):
        kit.write_into_page("c", "", page)
