"""``AlertObserver``: marks on the price chart where alerts were made; and the mixin for a user's own observers."""

from __future__ import annotations

from typing import Any

from bt_alerts.hooks.capture import capture_of
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.tells import Tells


class AlertObserver(bt.Observer):  # type: ignore[misc]  # Backtrader has no types
    """Marks alerts on the chart of their feed: ``cerebro.addobservermulti(AlertObserver)`` makes one a feed.

    Lines: ``buy`` and ``sell`` (fills), ``problem`` (rejected, margin, expired), ``note`` (signals and the
    strategy's own alerts). Each holds the price at which the mark is drawn, NaN on bars without one.
    """

    lines = ("buy", "sell", "problem", "note")
    plotinfo = {"plot": True, "subplot": False, "plotlinelabels": True, "plotname": "Alerts"}  # noqa: RUF012 - Backtrader's
    plotlines = {  # noqa: RUF012 - Backtrader's form
        "buy": {"marker": "^", "markersize": 9.0, "color": "#2b9348", "fillstyle": "full", "ls": ""},
        "sell": {"marker": "v", "markersize": 9.0, "color": "#d9480f", "fillstyle": "full", "ls": ""},
        "problem": {"marker": "x", "markersize": 9.0, "color": "#d92626", "fillstyle": "full", "ls": ""},
        "note": {"marker": "*", "markersize": 9.0, "color": "#1c7ed6", "fillstyle": "full", "ls": ""},
    }

    _AWAY = 0.012  # of the price: how far from the bar a mark is drawn

    def __init__(self) -> None:
        # Not in start(): Backtrader does not start the observers that addobservermulti made.
        with never_raises("the observer was made"):
            capture = capture_of(self._owner)
            capture.listen()
            if capture.marks is None:
                capture.marks = []

    def next(self) -> None:
        with never_raises("the observer drew"):
            self._draw()

    def _draw(self) -> None:
        capture = capture_of(self._owner)
        if not capture.marks:
            return
        feeds = {id(feed) for feed in self.datas}  # one, or all where it was added by addobserver
        seen = [(self._owner.datas[i], what) for i, what in capture.marks]
        capture.marks = [mark for mark, (feed, _) in zip(capture.marks, seen, strict=True) if id(feed) not in feeds]
        mine = {what for feed, what in seen if feed is self.data}
        lines: Any = self.lines
        low, high = self.data.low[0], self.data.high[0]
        if "buy" in mine:
            lines.buy[0] = low * (1 - self._AWAY)
        if "sell" in mine:
            lines.sell[0] = high * (1 + self._AWAY)
        if "problem" in mine:
            lines.problem[0] = high * (1 + 2 * self._AWAY)
        if "note" in mine:
            lines.note[0] = low * (1 - 2 * self._AWAY)


class AlertingObserver(Tells):
    """Mixin for a user's own observer: ``class Mine(AlertingObserver, bt.Observer)`` gives it ``self.alert(...)``."""
