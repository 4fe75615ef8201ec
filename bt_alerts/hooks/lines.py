"""Keeps a mixin from changing the lines of the class that it is mixed into.

Backtrader adds the lines of every base but the first to those that it finds through the class itself. With a plain
mixin in front, ``class S(Notifier, bt.Strategy)``, it finds Strategy's lines both ways, and each is there twice. Python
calls ``__init_subclass__`` in between, while Backtrader's metaclass is still at work: an empty set of lines put there
leaves just those of the bases behind the mixin, which are the lines of the plain class.
"""

from __future__ import annotations

from typing import Any

from bt_alerts.hooks.seam import bt


class KeepsLines:
    """Base of the mixins. It has no metaclass, no parameters and no lines, so it stands before or behind any class."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        first = cls.__bases__[0]
        if issubclass(first, KeepsLines) and not hasattr(first, "lines") and hasattr(cls, "lines"):
            cls.lines = bt.lineseries.Lines
