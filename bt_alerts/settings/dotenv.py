"""Reads a ``.env`` file: ``NAME=value`` lines, strictly, without a dependency.

A line is empty, a ``# comment``, or ``NAME=value`` with an optional ``export`` in front. A value in single quotes is
taken as it stands; in double quotes ``\\n``, ``\\t``, ``\\"``, ``\\$`` and ``\\\\`` are understood; without quotes
it ends at `` #``. Nothing is expanded. No problem quotes a value.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from bt_alerts.errors import SettingsError
from bt_alerts.settings.stamps import Stamp, stamp
from bt_alerts.settings.yaml_source import read_text

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


@dataclasses.dataclass(frozen=True, slots=True)
class DotEnv:
    """What a ``.env`` file gives. Its ``repr`` shows no values."""

    path: Path
    shown: str
    values: dict[str, str] = dataclasses.field(repr=False)
    lines: dict[str, int]
    stamp: Stamp = None


def read_dotenv(path: Path, shown: str) -> DotEnv:
    """Read a ``.env`` file.

    Raises:
        FileNotFoundError: where there is none.
        SettingsError: where it cannot be read, or lines of it cannot be understood; every such line is named.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    before = stamp(path)
    for number, line in enumerate(read_text(path, shown).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"{shown}:{number}: write `NAME=value`")
            continue
        name, raw = match.groups()
        value = _unquoted(raw)
        if value is None:
            problems.append(f"{shown}:{number}: {name}: the quote is not closed on this line, or text follows it")
        elif name in values:
            problems.append(f"{shown}:{number}: {name}: given twice (first on line {lines[name]}); keep one")
        else:
            values[name], lines[name] = value, number
    if problems:
        raise SettingsError(problems)
    return DotEnv(path, shown, values, lines, before)


def _unquoted(raw: str) -> str | None:
    if raw.startswith('"'):
        match = _DOUBLE.fullmatch(raw)
        return match and re.sub(r"\\(.)", lambda m: _ESCAPED.get(m[1], m[1]), match[1])
    if raw.startswith("'"):
        match = _SINGLE.fullmatch(raw)
        return match and match[1]
    return re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].strip()
