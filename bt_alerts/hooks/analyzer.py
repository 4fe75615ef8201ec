"""``AlertAnalyzer``: alerts by ``cerebro.addanalyzer(AlertAnalyzer)`` or ``btrun --analyzer``; and the mixin for a
user's own analyzers.

The analyzer puts the capture on its strategy and holds the counts. In an optimisation the counts are all there is: they
travel back with the analyzer. No attribute begins with ``data``, because Backtrader clears those.
"""

from __future__ import annotations

import collections
from typing import Any

from bt_alerts.alert import Priority
from bt_alerts.hooks.capture import Capture, capture_of
from bt_alerts.hooks.gate import check_override
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.seam import bt
from bt_alerts.hooks.session import session_of
from bt_alerts.hooks.tells import Tells


class AlertAnalyzer(bt.Analyzer):  # type: ignore[misc]  # Backtrader has no types
    """Records the alerts of a strategy and counts them.

    Params:
        live: the gate's override, ``auto``, ``always`` or ``never``, or a mapping by symbol.
    """

    params = (("live", "auto"),)

    def create_analysis(self) -> None:
        self.rets: dict[str, Any] = {}
        self._capture: Capture | None = None
        self._asked = False
        check_override(self.p.live)
        with never_raises("the analyzer was made"):
            self._capture = capture_of(self.strategy)
            self._capture.listen()
            if self.p.live != "auto":
                session_of(self.strategy.cerebro).live = self.p.live

    # Backtrader calls these on every bar, through two levels each; here they have nothing to do.
    def _prenext(self) -> None: ...
    def _nextstart(self) -> None: ...
    def _next(self) -> None: ...
    def _notify_cashvalue(self, cash: float, value: float) -> None: ...
    def _notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None: ...
    def _notify_order(self, order: Any) -> None: ...
    def _notify_trade(self, trade: Any) -> None: ...

    def get_analysis(self) -> dict[str, Any]:
        """Counts of the run: ``by_type``, ``by_priority``, ``suppressed`` and the ``run``'s id.

        Backtrader asks every analyzer at the end of every run, whether or not a writer prints the answer. Alerts are
        made from snapshots when somebody looks, and nobody has looked yet: then the mapping is handed over unfilled,
        and the next caller fills that same mapping.
        """
        capture = self._capture
        if capture is not None:
            first, self._asked = not self._asked, True
            session = capture.session
            optimising = session is not None and session.optimising
            nobody_reads = first and capture.stopped and not capture.strategy.cerebro.runwriters
            if optimising or not nobody_reads:
                with never_raises("the analysis was asked for"):
                    self._count(capture)
            if optimising and capture.stopped:
                self._capture = None  # a thousand runs must not be kept alive by their counts
        return self.rets

    def _count(self, capture: Capture) -> None:
        counts = capture.counts()
        by_priority = collections.Counter({p.value: 0 for p in Priority})
        by_type: collections.Counter[str] = collections.Counter()
        for (type_, priority), times in counts.items():
            by_type[type_] += times
            by_priority[priority] += times
        self.rets.update(
            by_type=dict(by_type), by_priority=dict(by_priority), suppressed=capture.suppressed, run=capture.run
        )

    def __getstate__(self) -> dict[str, Any]:
        # On the way back from an optimisation: counts only.
        if self._capture is not None:
            with never_raises("the analysis was asked for"):
                self._count(self._capture)
        return {**self.__dict__, "_capture": None, "strategy": None}


class AlertingAnalyzer(Tells):
    """Mixin for a user's own analyzer: ``class Mine(AlertingAnalyzer, bt.Analyzer)`` gives it ``self.alert(...)``."""
