"""Facts about the tree itself: who may import whom, what must be said where, and what must not be in any file."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bt_alerts"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lowest floor first: a module imports from its own floor and from those below it. The house's front door, __init__.py
# and __main__.py, stands above them all.
FLOORS = (
    {"_version", "alert", "channels", "kinds", "errors", "redact", "compose", "digest", "examples", "summary"}
    | {"hours", "calendars"},
    {"dispatchers", "rules", "outbox", "render", "settings"},
    {"delivery"},
    {"manager"},
    {"hooks", "aio", "simulate", "live_page", "pusher_emitter", "logging_bridge", "asking"},
    {"cli", "demo", "dashboard", "testing"},
    {"__init__", "__main__"},
)
MAY_IMPORT_BACKTRADER = {"hooks", "demo"}
IMPURE = {"asyncio", "random", "requests", "secrets", "socket", "sqlite3", "subprocess", "threading", "time"}


def part(path: Path) -> str:
    """The part of the house that a module belongs to: ``outbox`` for ``bt_alerts/outbox/sqlite.py``."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def floor(name: str) -> int:
    """The number of a part's floor."""
    for number, names in enumerate(FLOORS):
        if name in names:
            return number
    raise AssertionError(f"bt_alerts/{name} has no floor yet: give it one in {Path(__file__).name}")


def is_only_for_types(node: ast.AST) -> bool:
    """``if TYPE_CHECKING:``, whose body never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(path: Path, late: bool) -> Iterator[str]:
    """The modules that ``path`` imports, relative ones spelt out; with ``late``, those inside functions as well."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (name.name for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = list(path.relative_to(ROOT).with_suffix("").parts[: -child.level]) if child.level else []
                base = ".".join([*package, *([child.module] if child.module else [])])
                yield from (f"{base}.{name.name}" for name in child.names)
            elif late or not (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_only_for_types(child)):
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def parts_imported(path: Path, late: bool) -> set[str]:
    """The parts of the house that a module imports."""
    names = {f"{name}.__init__".split(".")[1] for name in imports(path, late) if name.split(".")[0] == "bt_alerts"}
    known = set().union(*FLOORS) | {part(module) for module in MODULES}
    return {name if name in known else "__init__" for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_from_a_floor_above_it(path: Path) -> None:
    mine = floor(part(path))
    assert sorted(name for name in parts_imported(path, late=False) if floor(name) > mine) == []


def test_dispatchers_and_outbox_do_not_know_each_other() -> None:
    for one, other in (("dispatchers", "outbox"), ("outbox", "dispatchers")):
        meddling = [path.name for path in MODULES if part(path) == one and other in parts_imported(path, late=True)]
        assert meddling == []


def test_backtrader_is_imported_by_the_hooks_and_the_demo_alone() -> None:
    names = re.compile(r"backtrader(_next)?(\.|$)")
    importing = {part(path) for path in MODULES if any(names.match(name) for name in imports(path, late=True))}
    assert importing - MAY_IMPORT_BACKTRADER == set()


def test_rules_have_no_clock_no_chance_and_no_way_out() -> None:
    found = {
        f"{path.name}: {name}"
        for path in MODULES
        if part(path) == "rules"
        for name in imports(path, late=True)
        if name.split(".")[0] in IMPURE
    }
    assert found == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_public_module_says_what_it_is_for(path: Path) -> None:
    if any(name.startswith("_") and name != "__init__.py" for name in path.relative_to(PACKAGE).parts):
        pytest.skip("a private module")
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert said
    assert len(said) > 20, f"a docstring that says nothing: {said!r}"


def test_the_changelog_knows_this_version() -> None:
    version = re.search(r'__version__ = "(.+)"', (PACKAGE / "_version.py").read_text(encoding="utf-8"))
    assert version is not None
    headings = re.findall(r"^## \[?([0-9][^\s\]]*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == version[1]


def test_every_channel_type_of_ours_is_declared_twice_alike() -> None:
    from bt_alerts.dispatchers.registry import BUILT_IN, GROUP

    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings["options.entry_points"][GROUP].strip().splitlines()
    declared = dict(re.split(r"\s*=\s*", line.strip()) for line in lines)
    assert declared == BUILT_IN


# ------------------------------------------------------------------------------------------- what files must not hold


def text_files() -> list[Path]:
    """The files that version control has, or would take; without it, those of the source archive."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        files = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        folders = (".ci", "benchmarks", "bt_alerts", "docs", "notebooks", "strategies", "tests")
        files = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return [path for path in files if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


HOME = re.compile(
    r"(?<![\w.~-])/(?:home|Users)/(?!\.\.\.|…|<)[\w.-]+"  # a person's folder
    r"|(?<![\w.~-])/(?:root|work|workspace|workspaces|build|builds)/[\w.-]"  # the administrator's, or a build machine's
    r"|\b[A-Za-z]:\\{1,2}Users\\{1,2}\w",
)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/" + "home/ada/main", True),
        ("file:///" + "Users/ada/main", True),
        ('"/' + 'root/x"', True),
        ("C:" + "\\Users\\ada", True),
        ("/" + "workspace/main", True),
        ("https://example.com/" + "home/ada", False),
        ("~/" + "work/main", False),
        ("/var/lib/bt_alerts", False),
    ],
)
def test_a_machine_path_is_recognised(line: str, found: bool) -> None:
    assert bool(HOME.search(line)) is found


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if HOME.search(line)
    ]
    assert places == []
