"""Backtest your alerts: play a recorded run through the real rules, in bar time; see what the phone would have got.

The first form: events, duplicates, one message an action and routing, which are the rules there are. Nothing is sent,
and nothing in the store changes; the rules' memory lives as long as the simulation.
"""

from bt_alerts.simulate.replay import Outcome, Simulation, simulate

__all__ = ["Outcome", "Simulation", "simulate"]
