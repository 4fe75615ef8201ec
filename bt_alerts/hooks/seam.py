"""The one import of Backtrader. ``backtrader_next`` has an import name of its own and is near enough to stand in.

A process has one of them: whichever was imported when the hooks are; Backtrader where that was both or none.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_NEXT = "backtrader_next" in sys.modules and "backtrader" not in sys.modules

bt: Any = importlib.import_module("backtrader_next" if _NEXT else "backtrader")


def other_engine(thing: object) -> str:
    """What to do where something is made by the engine that was not taken; empty where it is not."""
    taken, other = ("backtrader_next", "backtrader") if _NEXT else ("backtrader", "backtrader_next")
    if not any(kind.__module__.partition(".")[0] == other for kind in type(thing).__mro__):
        return ""
    return (
        f". It is one of {other}, and bt_alerts took {taken}: write `import {other}` above what imports bt_alerts, "
        f"and do not import {taken} in the same program"
    )
