"""The one import of Backtrader. ``backtrader_next`` has an import name of its own and is near enough to stand in."""

from __future__ import annotations

import sys
from typing import Any

bt: Any
if "backtrader_next" in sys.modules and "backtrader" not in sys.modules:
    import backtrader_next as bt  # type: ignore[import-not-found,no-redef]  # optional, and untyped
else:
    import backtrader as bt

__all__ = ["bt"]
