"""Backtest your alerts: play a recorded run through the real rules and couriers, in bar time; see what the phone shows.

Nothing is sent, and nothing in a store changes. ``play.py`` begins it, ``timeline.py`` runs it, ``services.py`` stands
for everything outside; ``result.py`` is what comes of it.
"""

from bt_alerts.simulate.compare import Comparison, compare
from bt_alerts.simulate.play import simulate
from bt_alerts.simulate.result import Simulation
from bt_alerts.simulate.services import Outage

__all__ = ["Comparison", "Outage", "Simulation", "compare", "simulate"]
