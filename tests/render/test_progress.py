"""The bar of long work: none for short work, rich's on a terminal, the browser's in a notebook."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bt_alerts.render import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """What one step of ten makes of this stream."""
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with progress.slow_progress("simulating") as told:
        told(1, 10)
    return stderr.getvalue()


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 60)  # on a busy machine nothing is short
    assert drawn(Terminal(), monkeypatch) == ""


def test_long_work_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1)
    assert "simulating" in drawn(Terminal(), monkeypatch)


def test_a_log_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1)
    assert drawn(io.StringIO(), monkeypatch) == ""


def test_a_notebook_shows_the_bar_while_it_lasts(tmp_path: Path) -> None:
    cells = (
        "from bt_alerts.render import progress\nprogress.PATIENCE = -1\n"
        "bar = progress.slow_progress('<b>reading')\ntold = bar.__enter__()\ntold(3, 1000)",
        "told(4, 1000); told(1000, 1000)",
        "_ = bar.__exit__(None, None, None)",
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel():
        shown = []
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
            (output,) = notebook.cells[0].outputs
            shown.append(dict(output["data"]))
    assert 'value="3" max="1000"' in shown[0]["text/html"]
    assert "&lt;b&gt;reading: 3 of 1,000" in shown[0]["text/html"]
    assert 'value="1000"' in shown[1]["text/html"]  # the last is shown, however soon it comes
    assert shown[2] == {"text/html": "", "text/plain": ""}
    assert [cell.outputs for cell in notebook.cells[1:]] == [[], []]
