"""What MkDocs cannot do by itself with Markdown that is also read where the code is hosted.

*Pages from outside docs/.* README, CHANGELOG, CONTRIBUTING and SECURITY become pages, so nothing is written twice.

*Links out of docs/.* A link to a file that the site has leads there; one to a file that it has not becomes the file's
name. A link to a file that does not exist stays, so that a strict build refuses it.

*Drawings.* An SVG of ours is put into the page itself, so that it follows the page's light and dark colours.

*Long names in tables* may be broken where their parts end.

*Docstrings.* They are written for a terminal: roles such as ``:class:`` and the ``::`` before code are taken out.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
#: What a file outside docs/ is called in the site.
COPIED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
_ORIGIN = {name: origin for origin, name in COPIED.items()}

_FENCE = re.compile(r"^( *(?:`{3,}|~{3,}))", re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_DRAWING = re.compile(r'<img alt="(?P<alt>[^"]*)" src="(?P<src>[^":]+\.svg)"\s*/?>')
_CELL = re.compile(r"(?<=<td><code>)[\w.]{12,}(?=</code>)")
_ROLE = re.compile(r":(?:class|meth|func|data|mod|attr|exc):<code>~?(?P<name>[^<]+)</code>")


def on_files(files: Files, *, config: Any) -> Files:
    for origin, name in COPIED.items():
        files.append(File.generated(config, name, content=(ROOT / origin).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    here = page.file.src_uri
    origin = _ORIGIN.get(here) or f"docs/{here}"

    def moved(link: re.Match[str]) -> str:
        path = link["path"]
        if ":" in path:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        name = COPIED.get(target) or target.removeprefix("docs/")
        inside = target in COPIED or target.startswith("docs/")
        for found in (name, f"{name}/README.md") if inside else ():
            if files.get_file_from_path(found):
                there = posixpath.relpath(found, posixpath.dirname(here) or ".")
                return f"{link['image']}[{link['text']}]({there}{link['anchor'] or ''})"
        if not (ROOT / target).exists():
            return link[0]
        text = link["text"].strip("`")
        return f"`{text}`" if text.strip("/") in target else f"{link['text']} (`{target}`)"

    # Fences come in pairs, and split() gives them too: text, fence, code, fence, and so on.
    parts = enumerate(_FENCE.split(markdown))
    return "".join(part if at % 4 else _LINK.sub(moved, part) for at, part in parts)


def on_page_content(html: str, *, page: Any, config: Any, files: Files) -> str:
    def drawn(image: re.Match[str]) -> str:
        # By now the address is that of the built page.
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.dest_uri), image["src"]))
        found = files.get_file_from_path(path)
        named = f'<svg role="img" aria-label="{image["alt"]}" '
        return found.content_string.replace("<svg ", named, 1) if found else image[0]

    html = _DRAWING.sub(drawn, html)
    html = html.replace("<p>::</p>", "").replace("::</p>", ":</p>")
    html = _ROLE.sub(lambda role: f"<code>{role['name'].rpartition('.')[2]}</code>", html)
    return _CELL.sub(lambda cell: re.sub(r"(?<=[._])(?=\w)", "<wbr>", cell[0]), html)
