"""What "backtest your alerts" gives back: the phone of a run, as rows, tables, a notebook display, a report and CSV.

A :class:`Simulation` is immutable and holds plain rows; every table is made when it is asked for. Two of them, of the
same run under two settings, are put side by side by :func:`bt_alerts.simulate.compare.compare`.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bt_alerts.alert import Alert
from bt_alerts.simulate import figures, frames
from bt_alerts.simulate.figures import BusiestHour, Headline
from bt_alerts.simulate.rows import Bite, SimulatedAlert, SimulatedDelivery, SimulatedMessage

if TYPE_CHECKING:
    import pandas as pd

    from bt_alerts.simulate.compare import Comparison


@dataclasses.dataclass(frozen=True)
class Simulation:
    """What the phone of a run would have shown.

    Args:
        alerts: what became of each, in the order of their times.
        deliveries: of each alert to each address.
        messages: that the services took, in the order in which they came.
        bites: where limits and quotas of services would bite.
        began: when the run began, in Unix seconds.
        ended: when it ended.
        zone: the time zone in which days and hours are counted and times are shown.
        name: of the run or its strategy.
        config: how the settings are called.
    """

    alerts: tuple[SimulatedAlert, ...]
    deliveries: tuple[SimulatedDelivery, ...]
    messages: tuple[SimulatedMessage, ...]
    bites: tuple[Bite, ...] = ()
    began: float = 0.0
    ended: float = 0.0
    zone: str = "UTC"
    name: str = ""
    config: str = ""

    # What is asked most ------------------------------------------------------------------------------

    @property
    def told(self) -> tuple[Alert, ...]:
        """The alerts that reached somebody, in the order of their times."""
        reached = {row.alert for row in self.deliveries if row.message is not None}
        return tuple(row.alert for row in self.alerts if row.alert.id in reached)

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many alerts were not sent, by reason in words."""
        found = collections.Counter(row.reason for row in self.alerts if row.reason)
        return {figures.reason_words(word): n for word, n in found.most_common()}

    @property
    def headline(self) -> Headline:
        """The figures that one reads first."""
        return figures.headline(self)

    def busiest_hour(self) -> BusiestHour:
        """The 60 minutes with the most messages: when they began, and how many."""
        return figures.busiest_hour(self)

    # Tables ------------------------------------------------------------------------------------------

    def frame(self) -> pd.DataFrame:
        """The same as :meth:`alerts_frame`."""
        return frames.alerts(self)

    def alerts_frame(self) -> pd.DataFrame:
        """One row an alert: time, type, kind, priority, symbol, strategy, title, whether it was told, on which
        channels, silently, its state, the reason in words, the rule that decided, the trail of all rules, id."""
        return frames.alerts(self)

    def deliveries_frame(self) -> pd.DataFrame:
        """One row an alert and address: alert's id, channel, target, state, outcome, detail, why it waited, created,
        due, settled, arrived, attempts, silent, and the number of its message."""
        return frames.deliveries(self)

    def messages_frame(self) -> pd.DataFrame:
        """One row a message: time, channel, type, target, title, text, priority, how many alerts, silent, late in
        seconds, what gathered them, units, cost."""
        return frames.messages(self)

    def per_day(self) -> pd.DataFrame:
        """Messages by day, channel and priority; days without any are left out."""
        return frames.per_day(self)

    def suppressed(self) -> pd.DataFrame:
        """What was not sent: state, reason, rule, n, and the reason in words. The most first."""
        return frames.suppressed(self)

    def held(self) -> pd.DataFrame:
        """What did not go at once: channel, reason, n, and the seconds that it took: median, longest."""
        return frames.held(self)

    def waits(self) -> pd.DataFrame:
        """From the event to the phone: channel, priority, n, and the seconds: median, p95, longest."""
        return frames.waits(self)

    def noisiest(self, n: int = 10) -> pd.DataFrame:
        """The keys (kind, symbol, strategy) with the most messages: alerts, messages, a rule to try as YAML that can be
        pasted into the settings, why, and how many of them it would have saved."""
        return frames.noisiest(self, n)

    def limits(self) -> pd.DataFrame:
        """Where limits and quotas of services would bite: channel, limit, first, times, over, worst."""
        return frames.bites(self)

    # Files -------------------------------------------------------------------------------------------

    def to_html(self, path: str | Path) -> Path:
        """Write the report: one file, which needs no network and no program but a browser.

        Args:
            path: of the file.

        Raises:
            OSError: where it cannot be written; no half file is left.
        """
        from bt_alerts.simulate.report import write

        return write(self, path)

    def to_csv(self, path: str | Path) -> Path:
        """Write what became of everything.

        Args:
            path: a file that ends in ``.csv`` gets one row an alert and address, with the alerts that were not sent; a
                folder gets a file for each table.

        Raises:
            ValueError: where the file has another ending.
            OSError: where it cannot be written; no half file is left.
        """
        return frames.to_csv(self, path)

    def compare(self, other: Simulation) -> Comparison:
        """This one beside another of the same run."""
        from bt_alerts.simulate.compare import compare

        return compare(self, other)

    # Looking at it -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        return True  # it is a result, also where nothing was sent

    def __str__(self) -> str:
        return figures.sentence(self)

    def __repr__(self) -> str:
        return f"<Simulation: {self}>"

    def _repr_html_(self) -> str:
        from bt_alerts.simulate.card import simulation_card

        return simulation_card(self)
