"""The one import of Backtrader. ``backtrader_next`` has an import name of its own and is near enough to stand in."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_NEXT = "backtrader_next" in sys.modules and "backtrader" not in sys.modules

bt: Any = importlib.import_module("backtrader_next" if _NEXT else "backtrader")
