"""A self-contained page: a template, the one style sheet and the one script, in a file that needs no network.

The page's policy lets run only the script whose hash it names, and load nothing: were there markup from an alert in it,
for all our escaping, it could do nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bt_alerts._version import __version__
from bt_alerts.simulate.phone import embedded

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, facts: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The HTML of a page.

    Args:
        template: name of its file.
        facts: what the template shows, escaped where it is no :class:`markupsafe.Markup`.
        data: what the script reads, by the id of its element.
    """
    from markupsafe import Markup

    css, js = _text("report.css"), _text("report.js")
    policy = (
        f"default-src 'none'; script-src {hashed(js)}; style-src {hashed(css)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    blocks = [(name, Markup(embedded(value))) for name, value in data.items()]
    return (
        _environment()
        .get_template(template)
        .render(**facts, css=Markup(css), js=Markup(js), policy=policy, data_blocks=blocks, version=__version__)
    )


def write(path: str | Path, text: str) -> Path:
    """Write a page whole or not at all. Raises ``OSError``."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def hashed(text: str) -> str:
    """The source expression of a page's policy that allows this script or style and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.lru_cache(maxsize=8)
def _text(name: str) -> str:
    return (importlib.resources.files("bt_alerts.simulate") / "page" / name).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    import jinja2

    loader = jinja2.FunctionLoader(_text)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
