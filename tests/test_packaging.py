"""What users install: the source archive, the wheel, and the program that comes out of it.

They are built from a copy of the working tree, and installed in an environment that has nothing else.
"""

from __future__ import annotations

import configparser
import csv
import email
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEFTOVERS = ("__pycache__", ".ipynb_checkpoints", "*.py[cod]", "*.egg-info", "*_cache", ".hypothesis", "bt_alerts_demo")
PARTS = (".ci", "benchmarks", "bt_alerts", "docs", "notebooks", "strategies", "tests")
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "SECURITY.md")


def run(*command: object, cwd: Path) -> str:
    """The output of a command that must succeed."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree without anything that a build or a test run left behind."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    copy.mkdir()
    for name in (*PAGES, "setup.cfg", "pyproject.toml", ".env.example", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name)
    for name in PARTS:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*LEFTOVERS))
    return copy


def build(source: Path, into: Path, *what: str) -> Path:
    """Builds one archive from ``source`` with the tools of this environment."""
    run(sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", into, source, cwd=into)
    (built,) = [path for path in into.iterdir() if path.suffix in {".whl", ".gz"}]
    return built


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as it is made from the working tree."""
    return build(tree, tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive."""
    return build(tree, tmp_path_factory.mktemp("sdist"), "--sdist")


def files_of(wheel: Path) -> set[str]:
    """What a wheel installs, its own records aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_under(folder: Path) -> set[str]:
    """The files below ``folder``, named from its parent, without what a run leaves behind."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    }


@pytest.mark.packaging
def test_the_wheel_holds_the_package_whole_and_nothing_else(tree: Path, wheel: Path) -> None:
    inside, wanted = files_of(wheel), files_under(tree / "bt_alerts")
    assert {"missing": sorted(wanted - inside), "too much": sorted(inside - wanted)} == {"missing": [], "too much": []}
    assert "bt_alerts/py.typed" in inside


@pytest.mark.packaging
def test_the_metadata_says_licence_readme_and_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        facts = email.message_from_bytes(archive.read(name))
    assert facts["License-Expression"] == "GPL-3.0-or-later"
    assert facts["License"] is None
    assert not [line for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    assert facts["Description-Content-Type"] == "text/markdown"
    assert "bt_alerts" in facts.get_payload()
    assert facts["Requires-Python"] == ">=3.11"
    assert facts["Version"] == installed_version()


def installed_version() -> str:
    facts: dict[str, str] = {}
    exec((ROOT / "bt_alerts" / "_version.py").read_text(encoding="utf-8"), facts)
    return facts["__version__"]


@pytest.mark.packaging
def test_the_source_archive_holds_what_its_readers_need(tree: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {*PAGES, "setup.cfg", "pyproject.toml"}.union(*(files_under(tree / part) for part in PARTS))
    assert sorted(wanted - inside) == []


@pytest.mark.packaging
def test_the_source_archive_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4
        archive.extractall(tmp_path, **safely)
    (source,) = tmp_path.iterdir()
    (tmp_path / "dist").mkdir()
    assert files_of(build(source, tmp_path / "dist", "--wheel")) == files_of(wheel)


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel and what it requires: no extra, no working tree."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=True)
    folder = home / ("Scripts" if os.name == "nt" else "bin")
    run(folder / "python", "-m", "pip", "install", "--quiet", wheel, cwd=home)
    return folder


@pytest.mark.packaging
def test_the_installed_demo_runs_without_extras_and_leaves_a_history(commands: Path, tmp_path: Path) -> None:
    run(commands / "bt-alerts", "demo", cwd=tmp_path)
    tables = list((tmp_path / "bt_alerts_demo").rglob("*history*.csv"))
    assert tables, "bt-alerts demo left no history .csv in bt_alerts_demo/"
    with tables[0].open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) > 0


@pytest.mark.packaging
def test_the_installed_package_is_a_program(commands: Path, tmp_path: Path) -> None:
    assert "demo" in run(commands / "python", "-m", "bt_alerts", "--help", cwd=tmp_path)
    assert installed_version() in run(
        commands / "python", "-c", "import bt_alerts; print(bt_alerts.__version__)", cwd=tmp_path
    )


@pytest.mark.packaging
def test_every_public_name_and_channel_type_can_be_loaded_without_extras(commands: Path, tmp_path: Path) -> None:
    program = """
        import bt_alerts
        from importlib.metadata import entry_points
        for name in bt_alerts.__all__:
            getattr(bt_alerts, name)
        ours = [found for found in entry_points(group="bt_alerts.dispatchers")]
        assert ours
        for found in ours:
            found.load()
    """
    run(commands / "python", "-c", textwrap.dedent(program), cwd=tmp_path)


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"backtrader", "jinja2", "matplotlib", "numpy", "pandas", "pydantic", "requests", "rich", "typer", "yaml"}
    program = f"import sys, bt_alerts; print(*sorted({heavy} & set(sys.modules)))"
    assert run(sys.executable, "-c", program, cwd=ROOT).split() == []


def test_the_lowest_versions_are_read_from_the_declaration() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    declared = settings["options"]["install_requires"].split()
    found = importlib.util.spec_from_file_location("matrix", ROOT / ".ci" / "matrix.py")
    assert found is not None
    assert found.loader is not None
    matrix = importlib.util.module_from_spec(found)
    sys.modules[found.name] = matrix
    found.loader.exec_module(matrix)
    lowest = matrix.lowest_versions(ROOT / "setup.cfg")
    assert {line.partition(",")[0].replace(">=", "==") for line in declared} <= set(lowest)
    assert all(">" not in line for line in lowest)
