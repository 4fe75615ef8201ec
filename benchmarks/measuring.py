"""One run of the benchmarks: where its files are, how long it measures, and what it found for the plot."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absent import Unavailable
from kit import Child, Row, Service


@dataclasses.dataclass
class Run:
    """What every measurement is given.

    Args:
        folder: for its files; removed at the end.
        service: on loopback.
        quick: fewer repetitions and a smaller store.
        say: tells what is being done.
        cache: a folder for what is slow to make; it stays.
    """

    folder: Path
    service: Service
    quick: bool
    say: Callable[[str], None]
    cache: Path
    series: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def pick(self, full: int, quick: int) -> int:
        """How many."""
        return quick if self.quick else full

    def found(self, plot: str, name: str, value: Any) -> None:
        """Keep a figure for the plot and the JSON."""
        self.series.setdefault(plot, {})[name] = value

    @contextlib.contextmanager
    def children(self, **wanted: tuple[str, dict[str, Any]]) -> Iterator[tuple[dict[str, Child], dict[str, str]]]:
        """Processes by name, and why others cannot be had."""
        started: dict[str, Child] = {}
        missing: dict[str, str] = {}
        try:
            for name, (role, options) in wanted.items():
                try:
                    started[name] = Child(role, **options)
                except Unavailable as exc:
                    missing[name] = str(exc)
            yield started, missing
        finally:
            for child in started.values():
                with contextlib.suppress(Exception):
                    child.close()


def turns(names: list[str], number: int) -> list[str]:
    """In another order each round: whoever goes first finds a colder machine."""
    return names[number % len(names) :] + names[: number % len(names)]


Measurement = Callable[[Run], Iterator[Row]]
