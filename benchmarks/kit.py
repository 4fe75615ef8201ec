"""What the benchmarks have in common: rows with a bound, the machine in words, a service, and processes to ask."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from absent import Unavailable
from rich.table import Table

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
PICTURE = HERE.parent / "docs" / "images" / "performance.png"
OUT = "OUT OF BOUNDS"


# ------------------------------------------------------------------------------------------------ rows


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        what: what was measured.
        value: the median, or whatever ``what`` says; None where there is none.
        unit: of ``value``.
        most: the highest value that we allow ourselves.
        least: the lowest.
        figures: what it was computed from.
        skipped: why it could not be measured.
        goal: the bound is wanted later, and missing it is no failure yet.
        failed: it was tried and went wrong, which is as bad as a missed bound.
    """

    what: str
    value: float | None
    unit: str = "×"
    most: float | None = None
    least: float | None = None
    figures: str = ""
    skipped: str = ""
    goal: bool = False
    failed: bool = False

    @property
    def out_of_bounds(self) -> bool:
        """Whether a bound of today is missed. One that cannot be measured here is not missed, but said."""
        return self.failed or self.verdict == OUT

    @property
    def verdict(self) -> str:
        """In words."""
        if self.failed:
            return "FAILED"
        if self.value is None:
            return f"not measured: {self.skipped}" if self.skipped else ""
        if self.most is None and self.least is None:
            return ""
        low = self.least is not None and self.value < self.least
        high = self.most is not None and self.value > self.most
        if low or high:
            return "not yet" if self.goal else OUT
        return "within"

    @property
    def bound(self) -> str:
        if self.most is not None:
            return f"≤ {_plain(self.most)} {self.unit}"
        return "" if self.least is None else f"≥ {_plain(self.least)} {self.unit}"

    @property
    def shown(self) -> str:
        return "" if self.value is None else f"{_plain(self.value)} {self.unit}"


def _plain(value: float) -> str:
    """Three figures, and no more decimals than they need."""
    if math.isfinite(value) and (value == int(value) or abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def shown(title: str, rows: Sequence[Row]) -> Table:
    """The table for the terminal."""
    table = Table(title=f"{title} ({machine()})")
    for name in ("measured", "value", "bound", "", "figures"):
        table.add_column(name, overflow="fold")
    for row in rows:
        style = "bold red" if row.out_of_bounds else "yellow" if row.value is None else None
        table.add_row(row.what, row.shown, row.bound, row.verdict, row.figures, style=style)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table for the documentation."""
    lines = [
        "| measured | value | bound | | figures |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {row.what} | {row.shown} | {row.bound} | {row.verdict} | {row.figures} |" for row in rows]
    return "\n".join(lines) + "\n"


def write_into_page(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between ``<!-- table: NAME -->`` and ``<!-- end -->``."""
    mark = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    if not mark.search(before):
        raise SystemExit(f"{page.name} has no place for the table {name!r}")
    page.write_text(mark.sub(lambda found: f"{found[1]}{text}{found[2]}", before), encoding="utf-8")


def machine() -> str:
    """The machine, named by cores and memory alone."""
    cores = os.cpu_count()
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else float("nan")
    )
    return f"{cores} cores, {memory:.0f} GiB of memory, CPython {sys.version.split()[0]}"


# --------------------------------------------------------------------------------------------- numbers


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def micros(values: Sequence[float]) -> str:
    """Median and 99th percentile of seconds, in microseconds."""
    return f"{percentile(values, 0.5) * 1e6:,.1f} µs, p99 {percentile(values, 0.99) * 1e6:,.1f} µs"


def median_ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of pairs that were measured right after each other: what disturbs one disturbs both."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


# ------------------------------------------------------------------------------------------- processes


class Service:
    """``service.py`` in a process of its own.

    Args:
        port: where it listens; 0 for any.
        hang: it reads and never answers.
    """

    def __init__(self, port: int = 0, *, hang: bool = False) -> None:
        command = [sys.executable, str(HERE / "service.py"), str(port), *(["hang"] if hang else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def arrivals(self, path: str) -> list[tuple[float, int]]:
        """When (``time.monotonic()``) which alert arrived under a path, in order."""
        with urllib.request.urlopen(f"{self.url}/arrivals/{path}", timeout=30) as answer:
            return [(when, number) for when, number in json.load(answer)]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Child:
    """A process of ``peers.py`` that does what it is asked, by lines of JSON.

    Args:
        role: what it is, see :data:`peers.ROLES`.
        options: arguments of the role.

    Raises:
        Unavailable: where the role cannot be had here.
    """

    def __init__(self, role: str, **options: Any) -> None:
        self.role = role
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when it dies
        command = [sys.executable, str(HERE / "peers.py"), role, json.dumps(options)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )
        self.pid = self._process.pid
        hello = self.answer()
        if "unavailable" in hello:
            self.close()
            raise Unavailable(hello["unavailable"])

    def tell(self, do: str, **options: Any) -> None:
        """Ask for something without waiting for it; :meth:`answer` does."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise RuntimeError(f"the process {self.role} ended:\n{self._said.read()[-3000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Have something done."""
        self.tell(do, **options)
        return self.answer()

    def kill(self) -> None:
        """As ``kill -9``."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end as it should; kill it where that takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
