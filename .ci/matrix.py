"""Runs the tests on every CPython that this machine has, and once more on the lowest dependencies that are allowed.

Each interpreter gets an environment of its own in ``.matrix/<version>/``; it is made again only when ``setup.cfg`` or
``pyproject.toml`` changed. The output of a run is kept beside it in ``log.txt``. Arguments are handed to pytest. A
table closes the run, and the exit code is 1 if anything in it failed. Only the standard library is used here.
"""

from __future__ import annotations

import configparser
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MATRIX = ROOT / ".matrix"
LOWEST_PYTHON = (3, 11)
NAMES = [f"python3.{minor}" for minor in range(11, 16)]
TOLD_ABOUT = ("backtrader", "pandas", "numpy", "pydantic", "typer")

_WHO_ARE_YOU = """
import ensurepip, json, platform, sys, sysconfig, venv
print(json.dumps({
    "version": sys.version_info[:3],
    "standard": sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "final": sys.version_info.releaselevel == "final",
    "path": sys.executable,
}))
"""
_WHAT_HAVE_YOU = """
import importlib.metadata, sys
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in sys.argv[1:]))
"""


@dataclasses.dataclass
class Row:
    """One line of the table."""

    name: str
    python: str
    result: str = "not run"
    tests: str = ""
    seconds: float = 0.0
    versions: str = ""

    @property
    def failed(self) -> bool:
        return self.result != "passed"


def interpreters() -> dict[tuple[int, int], Path]:
    """The CPythons of this machine that are new enough, one for each minor version, the newest patch of each."""
    found: dict[tuple[int, int], tuple[tuple[int, ...], Path]] = {}
    for candidate in _candidates():
        answer = _ask(candidate)
        if answer is None or not answer["standard"] or not answer["final"]:
            continue
        version = tuple(answer["version"])
        minor = (version[0], version[1])
        if minor >= LOWEST_PYTHON and (minor not in found or version > found[minor][0]):
            found[minor] = (version, Path(answer["path"]))
    return {minor: path for minor, (_, path) in sorted(found.items())}


def _candidates() -> Iterator[str]:
    yield getattr(sys, "_base_executable", sys.executable)
    for folder in os.get_exec_path():
        for name in NAMES:
            if path := shutil.which(name, path=folder):
                yield path
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield from map(str, sorted(Path(answer.stdout.strip()).glob("versions/*/bin/python")))


def _ask(python: str) -> dict[str, object] | None:
    """What ``python`` says about itself; None where it does not run (a shim of a version that is not selected)."""
    try:
        answer = subprocess.run([python, "-c", _WHO_ARE_YOU], capture_output=True, text=True, check=False, timeout=30)
        return json.loads(answer.stdout) if answer.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def lowest_versions(setup_cfg: Path = ROOT / "setup.cfg") -> list[str]:
    """``name==version`` for every ``name>=version`` of the dependencies and of the extras that users install."""
    settings = configparser.ConfigParser()
    settings.read(setup_cfg, encoding="utf-8")
    lines = settings["options"]["install_requires"].splitlines()
    for extra in ("apprise", "aws", "charts", "data", "metrics", "parquet", "postgres"):
        lines += settings["options.extras_require"].get(extra, "").splitlines()
    pairs = (re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*>=\s*([0-9][0-9.]*)", line) for line in lines)
    return [f"{pair[1]}=={pair[2]}" for pair in pairs if pair]


def prepare(python: Path, home: Path, constraints: list[str]) -> Path:
    """An environment in ``home`` with the working tree and everything the tests need; returns its interpreter."""
    inside = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    facts = b"".join((ROOT / name).read_bytes() for name in ("setup.cfg", "pyproject.toml"))
    wanted = hashlib.sha256(facts + repr((str(python), constraints)).encode()).hexdigest()
    stamp = home / "stamp.txt"
    if stamp.exists() and stamp.read_text() == wanted and inside.exists():
        return inside
    _run([str(python), "-m", "venv", "--clear", str(home)])
    command = [str(inside), "-m", "pip", "install", "--quiet", "--editable", ".[all,test]"]
    if constraints:
        pins = home / "lowest.txt"
        pins.write_text("\n".join(constraints) + "\n")
        command += ["--constraint", str(pins)]
    _run(command)
    stamp.write_text(wanted)
    return inside


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def examine(row: Row, python: Path, constraints: list[str], arguments: list[str]) -> None:
    """Prepares one environment, runs the tests in it, and writes down in ``row`` how it went."""
    home = MATRIX / row.name
    started = time.monotonic()
    print(f"{row.name}: preparing {home.relative_to(ROOT)} with {row.python}", flush=True)
    try:
        inside = prepare(python, home, constraints)
        asked = subprocess.run([inside, "-c", _WHAT_HAVE_YOU, *TOLD_ABOUT], capture_output=True, text=True, check=True)
        row.versions = asked.stdout.strip()
        print(f"{row.name}: testing with {row.versions}", flush=True)
        done = subprocess.run(
            [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output = done.stdout
        row.result = "passed" if done.returncode == 0 else f"failed ({done.returncode})"
        row.tests = output.strip().splitlines()[-1].strip("= ") if output.strip() else "no output"
    except (RuntimeError, subprocess.SubprocessError, OSError) as problem:
        output, row.result = str(problem), "not installed"
    row.seconds = time.monotonic() - started
    home.mkdir(parents=True, exist_ok=True)
    (home / "log.txt").write_text(output, encoding="utf-8")
    if row.failed:
        print("\n".join(output.splitlines()[-60:]), flush=True)
    print(f"{row.name}: {row.result} {row.tests}", flush=True)


def table(rows: list[Row]) -> str:
    """The results, aligned for a terminal."""
    cells = [("environment", "python", "result", "tests", "took", "versions")]
    cells += [(r.name, r.python, r.result, r.tests, f"{r.seconds:.0f} s", r.versions) for r in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def main(arguments: list[str]) -> int:
    """Runs it all; 0 if every environment passed."""
    found = interpreters()
    if not found:
        print("Python 3.11 or newer is needed, with its venv module.", file=sys.stderr)
        return 1
    plan = [(f"{major}.{minor}", path, []) for (major, minor), path in found.items()]
    lowest = min(found)
    plan.append((f"{lowest[0]}.{lowest[1]}-lowest", found[lowest], lowest_versions()))
    rows = []
    for name, python, constraints in plan:
        answer = _ask(str(python)) or {}
        row = Row(name, ".".join(map(str, answer.get("version", ()))))
        rows.append(row)
        examine(row, python, constraints, arguments)
    print("\n" + table(rows))
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
