"""Every bound of the delivery engine, measured side by side with what others do.

    python benchmarks/run.py                     # all of it, about seven minutes
    python benchmarks/run.py --quick             # fewer repetitions and a smaller store, about a minute
    python benchmarks/run.py --only latency      # one measurement; may be given several times
    python benchmarks/run.py --json results.json # and every figure as JSON
    python benchmarks/run.py --write             # and the table and the plot into docs/

Everybody who is measured has a process of its own and takes turns with the others, so that a machine with other work
disturbs all alike; medians and ratios count. The service that they send to is one process on loopback. It ends with 1
where a bound is missed, and says which. A bound that could not be measured is said too.

The first full run makes a store with a million alerts (about a minute and 1.5 GB) in the folder for temporary files,
and later ones use it again; ``--fresh`` makes it anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bound_dashboard
import bound_emit
import bound_loss
import bound_rules
import bound_send
import bound_store
from kit import PAGE, PICTURE, Row, Service, machine, markdown, shown, write_into_page
from measuring import Measurement, Run
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

MEASUREMENTS: dict[str, Measurement] = {
    "emit": bound_emit.measured,
    "throughput": bound_send.throughput,
    "parallel": bound_send.parallel,
    "latency": bound_send.latency,
    "idle": bound_send.idle,
    "planner": bound_store.planner,
    "rules": bound_rules.rules,
    "million": bound_store.million,
    "export": bound_store.export,
    "dashboard": bound_dashboard.dashboard,
    "loss": bound_loss.loss,
    "answers": bound_loss.answers,
}


def measured(names: Sequence[str], *, quick: bool, fresh: bool, console: Console) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and the series for the plot."""
    cache = Path(tempfile.gettempdir()) / "bt_alerts_benchmarks"
    if fresh:
        shutil.rmtree(cache, ignore_errors=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="bt_alerts_bench_") as folder,
        Service() as service,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("measuring", total=len(names))
        run = Run(Path(folder), service, quick, lambda what: progress.update(task, description=what), cache)
        for name in names:
            began = time.monotonic()
            try:
                rows += MEASUREMENTS[name](run)
            except Exception as exc:  # the others are wanted all the same
                reason = f"{type(exc).__name__}: {exc}"
                rows.append(Row(name, None, failed=True, figures=reason[-600:]))
            progress.advance(task)
            progress.console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s[/dim]")
    return rows, run.series


def as_json(rows: Sequence[Row], series: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "machine": machine(),
        "quick": quick,
        "rows": [
            {"what": row.what, "value": row.value, "unit": row.unit, "most": row.most, "least": row.least,
             "verdict": row.verdict, "figures": row.figures}
            for row in rows
        ],
        "series": series,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and a smaller store")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="this measurement; again for more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--write", action="store_true", help="write the table and the plot into docs/")
    parser.add_argument("--fresh", action="store_true", help="make the big store anew")
    wanted = parser.parse_args(arguments)
    if wanted.write and wanted.only:
        parser.error("--write needs all measurements: leave out --only")
    console = Console()
    names = [name for name in MEASUREMENTS if not wanted.only or name in wanted.only]
    rows, series = measured(names, quick=wanted.quick, fresh=wanted.fresh, console=Console(stderr=True))
    console.print(shown("The delivery engine", rows))
    if wanted.json:
        wanted.json.write_text(json.dumps(as_json(rows, series, quick=wanted.quick), indent=1), encoding="utf-8")
    if wanted.write:
        from picture import draw

        write_into_page("delivery", f"Measured on {machine()}.\n\n{markdown(rows)}", PAGE)
        draw(series, PICTURE)
    missed = [row for row in rows if row.out_of_bounds]
    for row in missed:
        why = f"it failed: {row.figures}" if row.failed else f"{row.shown}, and {row.bound} is wanted"
        console.print(f"[bold red]out of bounds:[/bold red] {row.what}: {why}")
    unknown = [row for row in rows if row.skipped and row.bound]
    for row in unknown:
        console.print(f"[yellow]not measured:[/yellow] {row.what}: {row.skipped}")
    if not missed:
        console.print("Every bound that was measured is kept." if unknown else "Every bound is kept.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
