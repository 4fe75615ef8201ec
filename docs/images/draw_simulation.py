"""Draws ``docs/images/simulation.png`` and its companions: the report of a simulation, as a browser shows it.

    python docs/images/draw_simulation.py [FOLDER]

Each strategy of ``strategies/`` is run on bundled prices and played through the first settings of ``docs/simulate.md``;
the comparison has the second ones too. With a folder the reports of all of them, and pictures of the whole of each, are
written there too. Needs Chromium.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bt_alerts.demo import prices
from bt_alerts.hooks.record import record
from bt_alerts.settings import Settings, load
from bt_alerts.simulate import Simulation, simulate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHOWN = "pairs"

#: Name, strategy, and what the browser is: width, height, scheme, and pixels for each of them.
PICTURES = (
    ("simulation", SHOWN, 1280, 1240, "light", 1),
    ("simulation-dark", "atr_breakout", 1280, 1240, "dark", 1),
    ("simulation-phone", SHOWN, 390, 1100, "light", 2),
    ("simulation-compared", "compared", 1280, 1500, "light", 1),
)


def settings_of(folder: Path) -> list[Settings]:
    """The settings that the page about simulations shows, as files of the names that it gives them."""
    page = (ROOT / "docs" / "simulate.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found = []
    for name, text in zip(("alerts.yaml", "calm.yaml"), blocks, strict=True):
        file = folder / name
        file.write_text(text, "utf-8")
        file.chmod(0o600)
        found.append(load(file, environ={}))
    return found


def simulated(name: str, settings: Settings, others: Sequence[Settings] = ()) -> list[Simulation]:
    """A strategy's run on bundled prices, under these settings and others."""
    spec = importlib.util.spec_from_file_location(f"drawn_{name}", ROOT / "strategies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Backtrader looks a strategy's module up when it is made
    spec.loader.exec_module(module)
    alerts, title = record(module.cerebro(), settings), module.STRATEGY.__name__
    return [simulate(alerts, each, close=prices.CLOSE, name=title) for each in (settings, *others)]


def main(folder: Path | None) -> None:
    """Draw them."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import browsing

    with tempfile.TemporaryDirectory() as made, browsing() as browser:
        pages = folder or Path(made)
        pages.mkdir(parents=True, exist_ok=True)
        settings, *others = settings_of(Path(made))
        names = [path.stem for path in sorted((ROOT / "strategies").glob("*.py"))]
        for name in names:
            first, second = simulated(name, settings, others)
            first.to_html(pages / f"{name}.html")
            print(f"{name}: {first!r}")
            if name == SHOWN:
                first.compare(second).to_html(pages / "compared.html")
        wanted = [(HERE / f"{picture}.png", *rest, False) for picture, *rest in PICTURES]
        if folder is not None:
            wanted += [(folder / f"{name}-{width}.png", name, width, 900, scheme, 1, True)
                       for name in names for width, scheme in ((1280, "light"), (390, "dark"))]  # fmt: skip
        for file, *rest in wanted:
            name, width, height, scheme, scale, whole = rest
            address = (pages / f"{name}.html").as_uri()
            page = browser.open(width, height=height, dark=scheme == "dark", scale=scale, url=address).page
            page.evaluate("document.documentElement.style.scrollbarWidth = 'none'")
            page.evaluate("document.querySelectorAll('.lock').forEach((lock) => (lock.style.scrollbarWidth = 'none'))")
            page.wait_for_selector(".note, .empty")
            page.screenshot(path=file, full_page=whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
