"""The page about rules says what the code does: its stages in their order, and each reason in its words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bt_alerts.rules.explain import title_of
from bt_alerts.rules.pipeline import build
from bt_alerts.rules.stage import Reason
from bt_alerts.settings import load

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")

#: One rule of each kind, called as its stage is called on the page.
EVERYTHING = {
    "alerts": {"console": {}},
    "store": "memory",
    "rules": {
        "maintenance": [{"name": "maintenance", "hours": "03:00-04:00"}],
        "inhibit": [{"name": "inhibit", "cause": {"kind": "error"}, "ends": {"kind": "data.live"}}],
        "at_least": [{"name": "at_least", "field": "pnl", "least": 5}],
        "levels": [{"name": "levels", "field": "heat", "above": 5, "when": {"kind": "custom"}}],
        "once_per_bar": [{"name": "once_per_bar"}],
        "repeats": [{"name": "repeats", "within": "1h"}],
        "cooldown": [{"name": "cooldown", "every": "1h"}],
    },
    "quiet_hours": [{"hours": "22:00-07:00"}],
    "digests": [{"name": "digests", "at": "18:00"}, {"at": "08:00", "report": "daily"}],
    "escalation": [{"when": {"kind": "error"}, "steps": [{"after": "5m", "to": "console"}]}],
}


def table(name: str) -> list[list[str]]:
    """The cells of a table of the page, without its head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()[2:]]


def test_the_page_has_every_stage_in_the_order_in_which_an_alert_passes_them() -> None:
    stages = build(load(EVERYTHING, environ={}).rule_settings())
    # What explanations call by several words, settings write with underlines.
    assert [row[0].replace("_", " ") for row in table("stages")] == [title_of(stage) for stage in stages]


def test_the_page_has_every_reason_with_its_words() -> None:
    assert [(row[0], row[1]) for row in table("reasons")] == [(f"`{reason.value}`", reason.words) for reason in Reason]


@pytest.mark.parametrize("block", ["routes", "quiet_hours", "digests", "escalation", *EVERYTHING["rules"]])
def test_the_page_has_a_section_for_every_block(block: str) -> None:
    assert re.search(rf"^##+ {block}$", PAGE, re.MULTILINE)
