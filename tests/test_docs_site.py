"""The documentation as a site: it builds without a warning, needs no network, and says what the code does."""

from __future__ import annotations

import ast
import html.parser
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Tab

import bt_alerts
import bt_alerts.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

pytest.importorskip("mkdocs", reason="needs the extra `docs`")

#: MkDocs in a process that reaches nobody.
BUILD = """
import socket, sys
from mkdocs.__main__ import cli

def refuse(*args, **kwargs):
    raise AssertionError("the build asked the network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""


class Page(html.parser.HTMLParser):
    """What a page of the site loads, the text that is read on it, and what of that is no code."""

    LOADING = frozenset({"script", "img", "iframe", "source", "video", "audio", "embed", "object"})
    CODE = frozenset({"code", "pre", "script", "style"})
    LINKS = frozenset({"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = self.prose = ""
        self._code = 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._code += tag in self.CODE
        given = {name: value or "" for name, value in attrs}
        if tag in self.LOADING:
            self.loaded += [given.get("src", ""), given.get("srcset", ""), given.get("data", "")]
        elif tag == "link" and set(given.get("rel", "").split()) & self.LINKS:
            self.loaded.append(given.get("href", ""))
        self.loaded += re.findall(r"url\(([^)]*)\)", given.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in self.CODE

    def handle_data(self, data: str) -> None:
        self.text += data
        self.prose += "" if self._code else data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of the build is a failure."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def written(site: Path) -> list[Path]:
    """The pages that are made of Markdown; the live page is a program of its own."""
    return [page for page in sorted(site.rglob("*.html")) if page.parent.name != "live"]


# ----------------------------------------------------------------------------------------------- the site


def test_every_page_of_the_navigation_is_built(site: Path) -> None:
    import yaml

    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [value]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    named = list(pages(settings["nav"]))
    assert len(named) == len(set(named)) > 40
    built = {name.replace("README.md", "index.md").removesuffix(".md") + ".html" for name in named}
    assert {page.relative_to(site).as_posix() for page in written(site)} == built | {"404.html"}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    far = re.compile(r"\s*[\"']?(?:[a-z]+:)?//", re.IGNORECASE)
    loaded = {page.name: [one for one in Page(page).loaded if far.match(one)] for page in written(site)}
    assert {name: found for name, found in loaded.items() if found} == {}
    styles = [
        style
        for style in site.rglob("*.css")
        if re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text("utf-8"))
    ]
    assert styles == []


def test_what_pages_load_is_there(site: Path) -> None:
    missing = []
    for page in written(site):
        for one in Page(page).loaded:
            name = one.partition("?")[0].partition("#")[0]
            if name and not name.startswith(("data:", "/")) and not (page.parent / name).exists():
                missing.append(f"{page.name}: {one}")
    assert missing == []


def test_links_to_files_that_the_site_has_not_are_names(site: Path) -> None:
    page = (site / "simulate.html").read_text("utf-8")
    assert "<code>tests/simulate/test_fidelity.py</code>" in page
    assert "../tests" not in page
    home = (site / "index.html").read_text("utf-8")
    assert 'href="own-dispatcher.html"' in home + (site / "contributing.html").read_text("utf-8")
    assert 'src="images/chart.png"' in home


def test_no_program_and_no_placeholder_is_published(site: Path) -> None:
    assert [file.name for file in site.rglob("*.py*")] == []
    articles = {
        page.name: page.read_text("utf-8").partition("<article")[2].partition("</article")[0] for page in written(site)
    }
    said = {name: re.sub(r"<[^>]*>|\s+", " ", html) for name, html in articles.items() if name != "404.html"}
    assert [name for name, text in said.items() if len(" ".join(text.split())) < 400] == []


def test_no_markdown_is_left_in_what_is_read(site: Path) -> None:
    left = re.compile(r"^[-*] \S.*|\| ?---.*|^\|.*|\]\(.*|^#+ .*|\*\*[^*\n]+\*\*|^```.*|`[^`\n]+`", re.MULTILINE)
    found = {page.name: left.findall(Page(page).prose) for page in written(site)}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_flow_is_drawn_in_the_page(site: Path) -> None:
    assert "<svg role=" in (site / "concepts.html").read_text("utf-8")


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    shown = "".join(page.read_text("utf-8") for page in (site / "api").glob("*.html"))
    names = [f"bt_alerts.{name}" for name in bt_alerts.__all__ if name not in {"__version__", "AlertPriority"}]
    names += [f"bt_alerts.testing.{name}" for name in bt_alerts.testing.__all__]
    assert [name for name in names if f'id="{name}"' not in shown] == []
    assert "AlertPriority" in shown


def test_no_role_of_a_docstring_is_shown(site: Path) -> None:
    shown = {
        page.name: re.findall(r":(?:class|meth|func|mod|data|attr):|::\s", Page(page).text)
        for page in (site / "api").glob("*.html")
    }
    assert {name: found for name, found in shown.items() if found} == {}


# ------------------------------------------------------------------------------------------ in a browser


def test_opened_from_a_disk_it_can_be_searched_and_asks_nobody(site: Path, pages: Callable[..., Tab]) -> None:
    tab = pages(1440, url=(site / "index.html").as_uri())
    tab.page.locator(".md-search__input").click()
    tab.page.keyboard.type("dead letter")
    found = tab.page.locator(".md-search-result__item h1")
    found.get_by_text("Reliability", exact=True).first.wait_for()
    assert tab.hosts == {""}
    assert tab.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_follows_the_colours_of_the_system(site: Path, pages: Callable[..., Tab], dark: bool) -> None:
    tab = pages(1440, dark=dark, url=(site / "concepts.html").as_uri())
    light = "getComputedStyle(document.querySelector({!r})).{}.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => +a + +b)"
    ground, flow = light.format("body", "backgroundColor"), light.format("svg.flow", "color")
    tab.wait(f"{ground} < 200 && {flow} > 400" if dark else f"{ground} >= 200 && {flow} <= 400")


def test_no_page_is_wider_than_a_phone(site: Path, pages: Callable[..., Tab]) -> None:
    tab = pages(390)
    wide = []
    for page in written(site):
        if page.name == "404.html":  # shown by a server alone, whatever was asked for: its addresses begin with "/"
            continue
        tab.page.goto(page.as_uri())
        wide += [page.name] * tab.scrolls_across()
    assert wide == []
    assert tab.hosts == {""}
    assert tab.complaints == []


# ------------------------------------------------------------------------------------- what the pages say


def code_of(page: str) -> list[str]:
    return re.findall(r"^```py(?:thon)?\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_dispatcher_of_the_documentation_passes_the_contract(tmp_path: Path) -> None:
    dispatcher, contract = code_of("own-dispatcher.md")[:2]
    body = dispatcher[dispatcher.index("class ") :]
    assert sum(1 for line in body.splitlines() if line.strip()) <= 40
    (tmp_path / "foghorn.py").write_text(dispatcher, "utf-8")
    (tmp_path / "test_foghorn.py").write_text(contract, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_foghorn.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 60


def test_the_package_of_the_documentation_brings_its_channel_type(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    project = re.search(
        r"^```toml\n(.*?)^```", (DOCS / "own-dispatcher.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert project is not None
    (tmp_path / "pyproject.toml").write_text(project[1], "utf-8")
    (tmp_path / "foghorn.py").write_text(code_of("own-dispatcher.md")[0], "utf-8")
    (tmp_path / "test_foghorn.py").write_text(code_of("own-dispatcher.md")[1], "utf-8")
    (tmp_path / "alerts.yaml").write_text("alerts: {foghorn: {token: made-up}}\n", "utf-8")
    for command in (
        ["-c", "import setuptools; setuptools.setup()", "-q", "egg_info"],  # what pip asks for, without a network
        ["-m", "bt_alerts", "check", "-c", "alerts.yaml"],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"foghorn +foghorn +yes +harbour home", done.stdout)


def sentences_of_the_source() -> str:
    """Every text in the source; what is filled in when it runs is left out."""
    found = []
    for module in sorted((ROOT / "bt_alerts").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\0".join(found)


def test_every_sentence_that_the_questions_quote_is_one_that_is_said() -> None:
    quoted = re.findall(r"^> (.+)$", (DOCS / "faq.md").read_text("utf-8"), re.MULTILINE)
    assert len(quoted) > 40
    said = sentences_of_the_source()
    for sentence in quoted:
        parts = [part.strip() for part in sentence.split("…") if re.search(r"\w", part)]
        assert max(map(len, parts)) >= 15, f"nothing in it is fixed: {sentence}"
        assert [part for part in parts if part not in said] == [], sentence


@pytest.mark.parametrize("number", range(1, 9))
def test_each_promise_names_a_test_that_holds_it(number: int) -> None:
    page = (DOCS / "reliability.md").read_text("utf-8")
    assert re.search(rf"^{number}\. \*\*", page, re.MULTILINE)
    rows = re.findall(rf"^\| {number} \|.*$", page, re.MULTILINE)
    assert rows
    assert [row for row in rows if not named_in(row)] == []


@pytest.mark.parametrize("page", ["reliability.md", "security.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = named_in((DOCS / page).read_text("utf-8"))
    assert len(named) > 8
    assert [name for name in named if not list(ROOT.glob(name))] == []


def test_each_claim_about_security_names_its_test() -> None:
    page = (DOCS / "security.md").read_text("utf-8")
    rows = [
        row
        for row in re.findall(r"^\| .*$", page, re.MULTILINE)
        if not row.startswith(("| what |", "| who |", "| ---"))
    ]
    assert len(rows) > 20
    assert [row for row in rows if not named_in(row)] == []


def named_in(text: str) -> list[str]:
    return re.findall(r"`((?:tests|bt_alerts/testing|benchmarks)/[\w/.*]*)`", text)
