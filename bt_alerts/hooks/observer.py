"""``AlertObserver``: marks on the price chart where alerts were made; and the mixin for a user's own observers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.hooks.analyzer import tell
from bt_alerts.hooks.capture import capture_of
from bt_alerts.hooks.guard import never_raises
from bt_alerts.hooks.lines import KeepsLines
from bt_alerts.hooks.seam import bt


class AlertObserver(bt.Observer):  # type: ignore[misc]  # Backtrader has no types
    """Marks alerts on the chart of their feed: ``cerebro.addobservermulti(AlertObserver)`` makes one a feed.

    Lines: ``entry`` and ``exit`` (fills), ``problem`` (rejected, margin, expired, cancelled), ``note`` (signals and the
    strategy's own alerts). Each holds the price at which the mark is drawn, NaN on bars without one.
    """

    lines = ("entry", "exit", "problem", "note")
    plotinfo = dict(plot=True, subplot=False, plotlinelabels=True, plotname="Alerts")  # noqa: RUF012 - Backtrader's form
    plotlines = dict(  # noqa: RUF012 - Backtrader's form
        entry=dict(marker="^", markersize=9.0, color="#2b9348", fillstyle="full", ls=""),
        exit=dict(marker="v", markersize=9.0, color="#d9480f", fillstyle="full", ls=""),
        problem=dict(marker="x", markersize=9.0, color="#d92626", fillstyle="full", ls=""),
        note=dict(marker="*", markersize=9.0, color="#1c7ed6", fillstyle="full", ls=""),
    )

    _AWAY = 0.012  # of the price: how far from the bar a mark is drawn

    def start(self) -> None:
        with never_raises("the observer started"):
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
        feed = self.data
        mine = {what for i, what in capture.marks if self._owner.datas[i] is feed}
        capture.marks = [mark for mark in capture.marks if self._owner.datas[mark[0]] is not feed]
        low, high = feed.low[0], feed.high[0]
        if "entry" in mine:
            self.lines.entry[0] = low * (1 - self._AWAY)
        if "exit" in mine:
            self.lines.exit[0] = high * (1 + self._AWAY)
        if "problem" in mine:
            self.lines.problem[0] = high * (1 + 2 * self._AWAY)
        if "note" in mine:
            self.lines.note[0] = low * (1 - 2 * self._AWAY)


class AlertingObserver(KeepsLines):
    """Mixin for a user's own observer: ``class Mine(AlertingObserver, bt.Observer)`` gives it ``self.alert(...)``."""

    def alert(
        self,
        message: object,
        *,
        title: object = "",
        type: AlertType | str | None = None,
        priority: Priority | str | None = None,
        channels: Sequence[str] | str | None = None,
        **data: Any,
    ) -> Alert | None:
        """Tell something; see :meth:`bt_alerts.Notifier.alert`."""
        owner: Any = self
        return tell(owner._owner, message, title or self.__class__.__name__, type, priority, channels, data)
